"""Rows that kernels cannot read where they are: in a file that is not mapped, or of a narrower dtype.

They are fetched: brought into memory as float32, exactly, a few at a time. Rows of a file are read in the
order of their places (``kernels/reading.py``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import FileError
from .ordinary import Held, mapping

Array = NDArray[Any]

_PIECE_BYTES = 1 << 24
CUT_SHORT = "cut short since it was opened; restore it from a copy"
READS_AT = hasattr(os, "preadv")
"""Whether this system reads at a place of a file; if not, files are mapped."""


class Fetched(Protocol):
    """Rows that are fetched. An array of NumPy made of them has their own dtype."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]

    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice) -> Fetched: ...
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array: ...

    @property
    def nbytes(self) -> int:
        """Bytes of the rows, wherever they are."""

    def fetch(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """The rows with these numbers."""


class ArrayRows:
    """Rows of an array in memory or mapped into it, of a dtype whose values float32 holds."""

    def __init__(self, array: Array) -> None:
        self._array = array
        self.shape, self.dtype, self.nbytes = array.shape, array.dtype, array.nbytes

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, rows: slice) -> ArrayRows:
        return ArrayRows(self._array[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self._array, dtype) if copy else np.asarray(self._array, dtype)

    def fetch(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """As in ``Fetched``."""
        return np.take(self._array, numbers, axis=0).astype(np.float32, copy=False)


class FileRows:
    """Rows of a file, from byte ``offset`` on."""

    def __init__(self, file: Held, offset: int, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self._file, self._offset, self.shape, self.dtype = file, offset, shape, dtype
        self.width = shape[1] * dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """As in ``Fetched``."""
        return len(self) * self.width

    def __getitem__(self, rows: slice) -> FileRows:
        start, stop, _ = rows.indices(len(self))
        shape = max(0, stop - start), self.shape[1]
        return FileRows(self._file, self._offset + start * self.width, shape, self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        rows = np.empty(self.shape, self.dtype)
        self._read(rows, 0)
        return rows if dtype is None else rows.astype(dtype, copy=False)

    def ask_for(self) -> None:
        """Let the system read the rows into its memory, without waiting for it."""
        self._file.ask_for(self._offset, self.nbytes)

    def fetch(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """As in ``Fetched``."""
        return self.take(numbers).astype(np.float32, copy=False)

    def take(self, numbers: NDArray[np.int64]) -> Array:
        """The rows with these numbers, in their own dtype."""
        from ..kernels import reading

        rows = np.empty((len(numbers), self.shape[1]), self.dtype)
        if not len(rows):
            return rows
        order = None if (numbers[1:] > numbers[:-1]).all() else np.argsort(numbers, kind="stable")
        ranked = np.ascontiguousarray(numbers if order is None else numbers[order])

        def read(first: int, last: int) -> None:
            self._read(rows[first:last], int(ranked[first]))

        reading.read_rows(self._file.descriptor, self._offset, ranked, rows.view(np.uint8), read)
        if order is None:
            return rows
        found = np.empty_like(rows)
        found[order] = rows
        return found

    def _read(self, rows: Array, first: int) -> None:
        """Read rows from number ``first`` on."""
        room, at = memoryview(rows.reshape(-1).view(np.uint8)), self._offset + first * self.width
        for start in range(0, len(room), _PIECE_BYTES):
            piece = room[start : start + _PIECE_BYTES]
            if self._file.read_at(piece, at + start) < len(piece):
                raise FileError(self._file.path, CUT_SHORT)


class Windows:
    """Codes in a file, of which those of some rows at a time are mapped, where all have too many addresses.

    A slice is mapped when NumPy makes an array of it, and unmapped with that array.
    """

    def __init__(self, file: Held, offset: int, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self._rows, self._file, self._offset = FileRows(file, offset, shape, dtype), file, offset
        self.shape, self.dtype, self.strides = shape, dtype, (self._rows.width, dtype.itemsize)
        self.nbytes = self._rows.nbytes

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Windows:
        start, stop, _ = rows.indices(len(self))
        place = self._offset + start * self.strides[0]
        return Windows(self._file, place, (max(0, stop - start), self.shape[1]), self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if not len(self):
            return np.empty(self.shape, self.dtype)
        with self._file.file() as file:
            if os.fstat(file.fileno()).st_size < self._offset + self.nbytes:
                raise FileError(self._file.path, CUT_SHORT)
            with mapping(self._file.path):
                return np.memmap(file, self.dtype, "r", self._offset, self.shape).view(np.ndarray)

    def take(self, numbers: NDArray[np.int64], axis: int, out: Array, mode: str) -> Array:
        """The rows with these numbers, read into ``out``: what ``np.take`` calls."""
        out[:] = self._rows.take(numbers)
        return out


class Stream:
    """Blocks of rows, numbered through, for passes over all of them (``direct.Stream``)."""

    def __init__(self, blocks: tuple[Fetched, ...]) -> None:
        self._blocks = blocks
        self.rows = sum(map(len, blocks))

    def batches(self) -> Iterator[list[tuple[int, int, Any]]]:
        """As in ``direct.Stream``."""
        from ..kernels.matrix import Strided

        for first, rows in self.runs():
            origin = rows.ctypes.data - first * rows.strides[0]
            yield [(first, first + len(rows), Strided.held(origin, rows.strides[0], rows))]

    def runs(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Runs of rows, with the number of the first; each in memory only until the next."""
        base = 0
        for block in self._blocks:
            step = max(1, _PIECE_BYTES // (4 * block.shape[1]))
            for start in range(0, len(block), step):
                yield base + start, np.ascontiguousarray(block[start : start + step], np.float32)
            base += len(block)
