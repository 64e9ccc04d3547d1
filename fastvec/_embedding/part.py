"""Parts of a batch, in the tree that halving makes, and what happened to them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from .clients import Encoding
from .refusals import Kind
from .server import Server
from .sizes import Size
from .texts import Batch


class Part:
    """Texts of a batch that are sent in one request; the part ends when each has its row or is refused."""

    def __init__(
        self, batch: Batch, above: Part | None = None, first: bool = True, trial: bool = False
    ) -> None:
        self.batch = batch
        self.size = Size(len(batch), batch.tokens)
        self.first = first  # whether it has the size that was planned, and its texts were not halved
        self.trial = trial  # whether it is larger than all requests that were answered, and such have failed
        self.tries = 0  # requests that were refused
        self.malformed = 0  # malformed answers
        self.mixed = False  # whether these texts had bad rows in an answer whose other rows were good
        self.encoding: Encoding | None = None  # to try instead of the server's
        self.doubted = False  # whether another encoding was tried
        self.wake = 0.0
        self.answers = 0  # of the server, when this part was first sent
        # Answers of the server, and its refusals because it was busy, when the batch was first sent; and the
        # number of such refusals of these texts.
        self.taken: int = above.taken if above else 0
        self.busy: int = above.busy if above else 0
        self.met: int = above.met if above else 0
        self.halved: Kind | None = None  # the kind of refusal that led to halving
        self.asked_in: Encoding = "base64"
        self.refused_in: set[Encoding] = set()
        self._above, self._open = above, 0
        self._largest, self._all_taken = Size(0, 0), True

    def split(self, places: Sequence[int]) -> list[Part]:
        """The parts between these places."""
        borders = itertools.pairwise([0, *places, len(self.batch)])
        first = self.first and self.halved is None
        parts = [Part(self.batch.part(range(start, stop)), self, first) for start, stop in borders]
        self._open = len(parts)
        for part in parts:
            part.mixed = self.mixed
        return parts

    def only(self, numbers: list[int]) -> None:
        """Continue with only these texts: the others have their rows."""
        self.mixed = self.mixed or len(numbers) < len(self.batch)
        self.batch = self.batch.part(numbers)
        self.size = Size(len(self.batch), self.batch.tokens)

    def end(self, server: Server, taken: Size, all_taken: bool) -> None:
        """End the part: its texts were accepted in requests of at most ``taken``, or not all of them were."""
        part: Part | None = self
        while part is not None:
            part._largest = part._largest.at_least(taken)
            part._all_taken = part._all_taken and all_taken
            part._open -= 1
            if part._open > 0:
                return
            # If texts were refused in one encoding and accepted in another, that says nothing about sizes.
            if part._evident() and part._all_taken and server.encoding in part.refused_in:
                lasting, busy = part.halved is Kind.CONTENT, part.halved is Kind.BUSY
                server.sizes.learn(part.size, part._largest, lasting=lasting, busy=busy)
            if part.halved is not None and part.halved is not Kind.CONTENT:
                part._largest = part.size  # it might have been accepted: the parts above learn nothing
            taken, all_taken, part = part._largest, part._all_taken, part._above

    def _evident(self) -> bool:
        """Whether it was halved, and not because of a fault that may have been met by chance."""
        if self.halved in (None, Kind.CONTENT, Kind.SLOW) or self.tries > 1 or self.malformed > 1:
            return self.halved is not None
        return self._above is not None and self._above.halved not in (None, Kind.CONTENT)
