"""How much a server takes in one request: as documented, and as its answers have shown since."""

from __future__ import annotations

from typing import NamedTuple

from .._forks import ProcessLock

_STREAK = 4  # full requests that a server takes before a larger one is tried again
_LONGEST_STREAK = 1024
_SIMILAR = 0.75


class Size(NamedTuple):
    """Texts of a request, and what bounds their tokens."""

    texts: int
    tokens: int

    def within(self, room: Size) -> bool:
        return self.texts <= room.texts and self.tokens <= room.tokens


class Sizes:
    """What to keep requests to; shared by all threads.

    A request that is refused for good, and whose texts are all taken in smaller ones, shows a limit, which
    stays. Of texts or of tokens? Of texts, unless a request of as many texts has been taken; then of tokens.
    If the request failed in a way that may pass (a time-out, a busy server), the limit found is doubled
    after some requests of that size were taken, and after twice as many each time that this was too soon.
    """

    def __init__(self, most: Size) -> None:
        self._documented = self._most = most
        self._guessed = False  # that the limit found is one of texts
        self._passing: int | None = None  # a number of texts
        self._troubled = False  # that there was ever such a limit
        self._streak, self._needed = 0, _STREAK
        self._largest = Size(0, 0)  # taken so far; not of one request
        self._lock = ProcessLock()

    @property
    def room(self) -> Size:
        """What a request may hold."""
        most, passing = self._most, self._passing
        return most if passing is None else Size(min(most.texts, passing), most.tokens)

    def taken(self, size: Size) -> None:
        """A request was answered."""
        with self._lock:
            self._largest = Size(*map(max, self._largest, size))
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
        """Whether requests nearly as large were answered, so that a refusal is hardly about size."""
        return Size(int(_SIMILAR * size.texts), int(_SIMILAR * size.tokens)).within(self._largest)

    def learn(self, refused: Size, taken: Size, *, lasting: bool, busy: bool) -> None:
        """All texts of a refused request were taken in requests of at most ``taken``.

        ``lasting`` if it was refused for good; ``busy`` if by a busy server, which did not mean its size if
        it has taken as much.
        """
        with self._lock:
            if not refused.within(self.room):
                return  # known already; what was taken was as small for that reason
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
