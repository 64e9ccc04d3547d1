"""Some texts of a batch, and what has become of them: the tree of halves."""

from __future__ import annotations

from collections.abc import Sequence

from .clients import Encoding
from .refusals import Kind
from .server import Server
from .sizes import Size
from .texts import Batch


class Part:
    """Some texts of the batch, asked for in one request; it ends when each has its row or is refused."""

    def __init__(
        self, batch: Batch, above: Part | None = None, first: bool = True, trial: bool = False
    ) -> None:
        self.batch = batch
        self.size = Size(len(batch), batch.tokens)
        self.first = first  # of this talk, as large as it was planned
        self.trial = trial  # larger than all that were taken, where such have failed
        self.tries = 0  # requests that were refused
        self.malformed = 0  # answers that were
        self.mixed = False  # these texts came out bad in an answer in which others did not
        self.encoding: Encoding | None = None  # to try, other than the server's
        self.doubted = False  # that was tried
        self.wake = 0.0
        self.answers = 0  # of the server, when this was first sent
        # The same when the whole batch was, and refusals of a busy server; and how many met these texts.
        self.taken: int = above.taken if above else 0
        self.busy: int = above.busy if above else 0
        self.met: int = above.met if above else 0
        self.halved: Kind | None = None  # why
        self.asked_in: Encoding = "base64"
        self.refused_in: set[Encoding] = set()
        self._above, self._open = above, 0
        self._largest, self._whole = Size(0, 0), True

    def split(self, places: Sequence[int]) -> list[Part]:
        """Parts that end before these places, and the rest."""
        bounds = zip([0, *places], [*places, len(self.batch)], strict=True)
        first = self.first and self.halved is None
        parts = [Part(self.batch.part(range(*each)), self, first) for each in bounds]
        self._open = len(parts)
        for part in parts:
            part.mixed = self.mixed
        return parts

    def only(self, numbers: list[int]) -> None:
        """Go on with some of the texts: the others have their rows."""
        self.mixed = self.mixed or len(numbers) < len(self.batch)
        self.batch = self.batch.part(numbers)
        self.size = Size(len(self.batch), self.batch.tokens)

    def end(self, server: Server, taken: Size, whole: bool) -> None:
        """All texts are dealt with, in requests of at most ``taken``; not ``whole`` if some were refused."""
        part: Part | None = self
        while part is not None:
            part._largest = Size(*map(max, part._largest, taken))
            part._whole = part._whole and whole
            part._open -= 1
            if part._open > 0:
                return
            # What was refused in one encoding and taken in another says nothing about sizes.
            if part._evident() and part._whole and server.encoding in part.refused_in:
                lasting, busy = part.halved is Kind.CONTENT, part.halved is Kind.BUSY
                server.sizes.learn(part.size, part._largest, lasting=lasting, busy=busy)
            if part.halved is not None and part.halved is not Kind.CONTENT:
                part._largest = part.size  # it might have been taken: nothing for the parts above to learn
            taken, whole, part = part._largest, part._whole, part._above

    def _evident(self) -> bool:
        """Whether it was halved, and not for a trouble that may have been met by chance."""
        if self.halved in (None, Kind.CONTENT, Kind.SLOW) or self.tries > 1 or self.malformed > 1:
            return self.halved is not None
        return self._above is not None and self._above.halved not in (None, Kind.CONTENT)
