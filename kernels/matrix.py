"""A float32 matrix in one or more blocks of memory, its rows numbered through.

    block 0   rows starts[0] … starts[1] − 1, row i at origins[0] + i · strides[0]
    block 1   rows starts[1] … starts[2] − 1, row i at origins[1] + i · strides[1]
    …

An origin is where row 0 would lie if its block began with it, so the number of a
row in the matrix gives its address.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .compile import inline
from .native import Layout


class _Place(NamedTuple):
    origin: int
    """Where row 0 lies, or would lie."""
    stride: int
    """Bytes from the start of a row to the start of the next."""


class Strided(_Place):
    """Where the rows of one array lie, for kernels, and the array itself, which lives as long."""

    array: np.ndarray

    @classmethod
    def of(cls, array: np.ndarray) -> "Strided":
        """The rows of an array, which are contiguous."""
        rows = cls(array.ctypes.data, array.strides[0])
        rows.array = array
        return rows

    @classmethod
    def held(cls, origin: int, stride: int, array: np.ndarray) -> "Strided":
        """Rows in an array whose row 0 is not the array's first."""
        rows = cls(origin, stride)
        rows.array = array
        return rows


@inline
def row_at(rows, number):
    """Where a row of ``Strided`` rows begins."""
    return rows.origin + number * rows.stride


class _Addresses(NamedTuple):
    starts: np.ndarray
    """(blocks + 1,): the first row of each block; last the number of rows."""
    origins: np.ndarray
    strides: np.ndarray


class Matrix(_Addresses):
    """Where the rows are, for kernels (all int64), and the blocks themselves, which live as long."""

    blocks: Sequence[np.ndarray]

    @property
    def is_float32(self) -> bool:
        """Whether there are rows, of float32; else they have to be fetched, or are of another type."""
        return len(self.blocks) > 0 and self.blocks[0].dtype == np.float32

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self.starts[-1])

    def runs(self, start: int, stop: int) -> Iterator[tuple[int, int, Strided]]:
        """Rows from ``start`` to ``stop`` as (start, stop, rows of a block), each within its block."""
        if len(self.blocks) == 1:
            if start < stop:
                yield start, stop, Strided.held(int(self.origins[0]), int(self.strides[0]), self.blocks[0])
            return
        first = int(np.searchsorted(self.starts, start, "right")) - 1
        for block in range(max(first, 0), len(self.origins)):
            begin, end = max(start, int(self.starts[block])), min(stop, int(self.starts[block + 1]))
            if begin >= end:
                break
            origin, stride = int(self.origins[block]), int(self.strides[block])
            yield begin, end, Strided.held(origin, stride, self.blocks[block])

    def batches(self) -> Iterator[list[tuple[int, int, Strided]]]:
        """All rows at once, as ``direct.search`` reads them."""
        yield list(self.runs(0, self.rows))


def of(blocks: Sequence[np.ndarray]) -> Matrix:
    """The matrix of float32 blocks with contiguous rows of one width; none but the only one is empty."""
    if len(blocks) == 1:  # the usual case, in a few steps
        places = np.array([0, len(blocks[0]), blocks[0].ctypes.data, blocks[0].strides[0]], np.int64)
        matrix = Matrix(places[:2], places[2:3], places[3:])
        matrix.blocks = blocks
        return matrix
    starts, count = [0, *itertools.accumulate(map(len, blocks))], len(blocks)
    strides = [block.strides[0] for block in blocks]
    origins = [block.ctypes.data - starts[i] * strides[i] for i, block in enumerate(blocks)]
    places = np.array([*starts, *origins, *strides], np.int64)
    matrix = Matrix(places[: count + 1], places[count + 1 : -count], places[-count:])
    matrix.blocks = blocks
    return matrix


LAYOUT = Layout(lambda: Matrix(*np.zeros((3, 1), np.int64)))
read = LAYOUT.read
"""In compiled code: the matrix whose record was written down at an address."""


@inline
def address(matrix, row):
    """Where a row begins."""
    low, high = 0, len(matrix.origins)
    while high - low > 1:
        middle = (low + high) >> 1
        if matrix.starts[middle] <= row:
            low = middle
        else:
            high = middle
    return matrix.origins[low] + row * matrix.strides[low]
