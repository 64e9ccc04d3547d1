"""How large a request a server accepts: as documented, and as its answers have shown."""

from __future__ import annotations

from typing import NamedTuple

from .._forks import ProcessLock

_STREAK = 4  # accepted requests of the largest size before a larger one is tried again
_LONGEST_STREAK = 1024
_SIMILAR = 0.75


class Size(NamedTuple):
    """The number of a request's texts, and an upper limit of their tokens."""

    texts: int
    tokens: int

    def within(self, room: Size) -> bool:
        return self.texts <= room.texts and self.tokens <= room.tokens

    def at_least(self, other: Size) -> Size:
        """The least size within which both are."""
        return Size(max(self.texts, other.texts), max(self.tokens, other.tokens))


class Sizes:
    """The largest size of requests; shared by all threads.

    If a request is refused for good, but all its texts are accepted in smaller requests, the server has a
    limit, which stays. It is a limit of texts, unless a request of as many texts has been accepted; then it
    is a limit of tokens. If the failure may pass (a time-out, a busy server), the limit is doubled after some
    requests of that size were accepted, and after twice as many each time that this was too soon.
    """

    def __init__(self, most: Size) -> None:
        self._documented = self._most = most
        self._guessed = False  # whether it is a guess that the limit is one of texts
        self._passing: int | None = None  # a limit of texts that may pass
        self._troubled = False  # whether there was ever such a limit
        self._streak, self._needed = 0, _STREAK
        self._largest = Size(0, 0)  # the most texts and the most tokens accepted so far, in any requests
        self._lock = ProcessLock()

    @property
    def room(self) -> Size:
        """The largest size that a request may have."""
        most, passing = self._most, self._passing
        return most if passing is None else Size(min(most.texts, passing), most.tokens)

    def taken(self, size: Size) -> None:
        """Note that a request of a size was answered."""
        with self._lock.here:
            self._largest = self._largest.at_least(size)
            if self._passing is None or size.texts < self._passing:
                return
            self._streak += 1
            if self._streak >= self._needed:
                self._streak = 0
                self._passing = 2 * self._passing if 2 * self._passing < self._most.texts else None

    def trial(self, size: Size) -> bool:
        """Whether a request is larger than all that were answered, and such have failed."""
        return self._troubled and size.texts > self._largest.texts

    def similar_taken(self, size: Size) -> bool:
        """Whether requests nearly as large were answered, so that a refusal is unlikely to be due to size."""
        return Size(int(_SIMILAR * size.texts), int(_SIMILAR * size.tokens)).within(self._largest)

    def learn(self, refused: Size, taken: Size, *, lasting: bool, busy: bool) -> None:
        """Note that all texts of a refused request were accepted in requests of at most ``taken``.

        ``lasting``: the request was refused for good. ``busy``: the server was busy; if it has accepted
        requests as large, the size was not the reason.
        """
        with self._lock.here:
            if not refused.within(self.room):
                return  # the limit is known already
            by_texts = refused.texts > self._largest.texts
            by_tokens = refused.tokens > self._largest.tokens
            if busy and not (by_texts or by_tokens):
                return
            if not lasting or not (by_texts or by_tokens):
                if self._troubled:
                    self._needed = min(2 * self._needed, _LONGEST_STREAK)
                self._passing, self._streak, self._troubled = taken.texts, 0, True
            elif by_texts:
                self._guessed = by_tokens
                self._most = Size(min(self._most.texts, taken.texts), self._most.tokens)
            else:
                texts = self._documented.texts if self._guessed else self._most.texts
                self._guessed = False
                self._most = Size(texts, min(self._most.tokens, taken.tokens))
