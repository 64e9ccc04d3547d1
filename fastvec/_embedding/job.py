"""One call of ``embed``: the requests to send, the matrix to fill, and which rows have arrived."""

from __future__ import annotations

import hashlib
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from fastvec.models import Model

from .errors import EmbeddingError, Matrix, counted, shown
from .sizes import Size
from .texts import Batch, accepted, check

_FLOAT = np.dtype(np.float32)
_BLOCK = 512  # texts that are read, and looked up in a cache, at a time

Stored = Callable[[Sequence[bytes]], dict[bytes, Matrix]]


class Job:
    """The state of a call. Any thread may place rows; everything else is done by the thread that plans."""

    def __init__(
        self,
        texts: Iterable[str],
        model: Model,
        out: Matrix | None,
        width: int | None,
        dtype: np.dtype[Any] = _FLOAT,
    ) -> None:
        self._dtype = dtype
        self._texts = accepted(texts, model)
        self._model = model
        listed = len(self._texts) if isinstance(self._texts, list) else None
        check_out(out, listed, width, dtype)
        self.total = listed if out is None else len(out)
        self.done = 0  # texts whose row has arrived, or will be copied from an equal text's row
        self.brought, self.stored = 0, 0  # rows from the server, and from the cache
        self.stopped = False  # whether no more requests are to be sent
        self._caller_out = out
        self.matrix = out  # None until the first row arrives
        self._met = 0  # texts read so far
        self._received = bytearray(listed or 0)  # for each position: has its own row arrived?
        self._firsts: dict[bytes, int] = {}  # digest of a text -> its first position
        self._repeats, self._sources = array("q"), array("q")  # later positions, and their first ones
        self._refused: list[_Refused] = []
        self._lock = threading.Lock()
        self._closed = False

    def requests(self, room: Callable[[], Size], stored: Stored) -> Iterator[Batch | None]:
        """The fewest requests for the texts that are neither repeated nor ``stored``, in order.

        After every block of texts it yields None, so that the caller can do something else in between.
        """
        batch = Batch(self._model)
        for block in self._blocks():
            fresh = self._meet(block)
            known = stored([digest for _, _, digest in fresh])
            hits = [(row, known[digest]) for row, _, digest in fresh if digest in known]
            self.place([row for row, _ in hits], [vector for _, vector in hits], stored=True)
            for row, text, digest in fresh:
                if digest in known:
                    continue
                if not batch.has_room(text, room()):
                    yield batch
                    batch = Batch(self._model)
                batch.add(text, row, digest)
            yield None
        if len(batch):
            yield batch

    def _blocks(self) -> Iterator[list[str]]:
        if isinstance(self._texts, list):
            while self._met < len(self._texts):
                yield self._texts[self._met : self._met + _BLOCK]
            return
        while block := list(islice(self._texts, _BLOCK)):
            check(block, self._met, self._model)
            if self.total is not None and self._met + len(block) > self.total:
                raise ValueError(f"there are more texts than the {self.total} rows of out")
            self._received.extend(bytes(len(block)))
            yield block

    def _meet(self, block: list[str]) -> list[tuple[int, str, bytes]]:
        """Position, text and digest of each text that occurs for the first time."""
        fresh = []
        for position, text in enumerate(block, self._met):
            digest = hashlib.sha256(text.encode()).digest()
            first = self._firsts.setdefault(digest, position)
            if first == position:
                fresh.append((position, text, digest))
            else:
                self._repeats.append(position)
                self._sources.append(first)
        self._met += len(block)
        with self._lock:
            self.done += len(block) - len(fresh)
        return fresh

    def place(self, rows: Sequence[int], vectors: Sequence[Matrix], *, stored: bool = False) -> None:
        """Write checked vectors of one width to their rows."""
        if not rows:
            return
        with self._lock:
            if self._closed:
                return  # the matrix has been returned to the caller
            matrix = self._with_room(max(rows) + 1, vectors[0].size)
            for row, vector in zip(rows, vectors, strict=True):
                matrix[row] = vector
                self._received[row] = True
            self.done += len(rows)
            self.brought += 0 if stored else len(rows)
            self.stored += len(rows) if stored else 0

    def refuse(self, rows: Sequence[int], why: str, cause: BaseException | None) -> None:
        """Note texts that the server refuses; the work on the others continues."""
        with self._lock:
            self._refused += [_Refused(row, why, cause) for row in rows]

    def refused_rows(self) -> list[int]:
        """The first position of each refused text."""
        with self._lock:
            return sorted(refused.row for refused in self._refused)

    def _with_room(self, rows: int, width: int) -> Matrix:
        if self.matrix is None:
            self.matrix = np.empty((rows if self.total is None else self.total, width), self._dtype)
        elif self.matrix.shape[1] != width:
            raise ValueError(
                f"out has {self.matrix.shape[1]} columns, but model {self._model.name!r} answers {width}"
            )
        elif rows > len(self.matrix):
            # The system moves large blocks of memory without copying; an eighth more room makes this rare.
            self.matrix.resize((rows + rows // 8, width), refcheck=False)
        return self.matrix

    def stop(self) -> None:
        """Send no more requests; answers that are on their way still count."""
        self.stopped = True

    def finish(self) -> None:
        """Complete the matrix after every row has arrived; raise if texts were refused."""
        if self._refused:
            raise self._refusal()
        if self.total is not None and self._met < self.total:
            raise ValueError(f"there are {self._met} texts, fewer than the {self.total} rows of out")
        with self._lock:
            self._closed = True
            self._copy_repeats()
            self.total = self._met

    def _refusal(self) -> EmbeddingError:
        """One error for all texts that were refused."""
        first = min(self._refused)
        positions = self.positions(self.refused_rows())
        others = "" if len({refused.why for refused in self._refused}) == 1 else ", the first for this reason"
        count = self._met - len(positions)
        rest = f"; the rows of the other {counted(count)} are in its .vectors" if count else ""
        error = EmbeddingError(f"{first.why} (texts at {shown(positions)}{others}{rest})", positions)
        error.__cause__ = first.cause
        error.reason, error.finished = f"{first.why}{others}", True
        return error

    def abandon(self) -> None:
        """Leave everything as it is: answers that arrive later are not written."""
        self.stopped = True
        with self._lock:
            self._closed = True

    def fail(self, error: EmbeddingError) -> None:
        """Store the rows that have arrived in attributes of ``error``."""
        if isinstance(self._texts, list):
            for block in self._blocks():  # some may repeat a text whose row has arrived
                self._meet(block)
        self.abandon()
        error.positions = self.positions([*error.positions, *self.refused_rows()])
        received = self._copy_repeats()
        if self._caller_out is not None and len(received) < len(self._caller_out):
            received = np.pad(received, (0, len(self._caller_out) - len(received)))
        if self.matrix is not None and self._caller_out is None:
            if received.any():
                self.matrix[~received] = np.nan if self._dtype.kind == "f" else 0
            else:
                self.matrix = None
        error.received, error.vectors = received, self.matrix

    def _copy_repeats(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Copy received rows to the other positions of their texts; return which positions are filled."""
        received = np.frombuffer(bytes(self._received), np.bool_).copy()
        matrix = self.matrix
        if matrix is None:
            return received
        if self._caller_out is None and len(matrix) != len(received):
            matrix.resize((len(received), matrix.shape[1]), refcheck=False)
        repeats = np.frombuffer(self._repeats, np.int64)
        sources = np.frombuffer(self._sources, np.int64)
        arrived = received[sources]
        repeats, sources = repeats[arrived], sources[arrived]
        for start in range(0, len(repeats), 4096):  # in blocks, so that temporary copies stay small
            matrix[repeats[start : start + 4096]] = matrix[sources[start : start + 4096]]
        received[repeats] = True
        return received

    def positions(self, rows: Sequence[int]) -> list[int]:
        """All positions read so far of the texts whose first positions are ``rows``."""
        chosen = np.isin(np.frombuffer(self._sources, np.int64), rows)
        repeated: list[int] = np.frombuffer(self._repeats, np.int64)[chosen].tolist()
        return sorted({*rows, *repeated})


@dataclass(frozen=True, order=True)
class _Refused:
    """A text that the server refuses."""

    row: int
    why: str = field(compare=False)
    cause: BaseException | None = field(compare=False)


def check_out(out: Matrix | None, rows: int | None, width: int | None, dtype: np.dtype[Any] = _FLOAT) -> None:
    """Raise if ``out`` cannot take ``rows`` rows of ``width`` columns (None: not known yet)."""
    if out is None:
        return
    if not isinstance(out, np.ndarray):
        raise ValueError(f"out must be a NumPy array, not {type(out).__name__}")
    fits = out.ndim == 2 and rows in (None, out.shape[0])
    fits = fits and (out.shape[1] == width if width else out.shape[1] > 0)
    if out.dtype != dtype or not fits:
        wanted = f"({'n' if rows is None else rows}, {width or 'dims'})"
        raise ValueError(f"out must be {dtype} of shape {wanted}, not {out.dtype} of shape {out.shape}")
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError("out must be C-contiguous and writeable")
