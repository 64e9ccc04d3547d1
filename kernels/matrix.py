"""A float32 matrix in one or more blocks of memory, its rows numbered through.

    block 0   rows starts[0] … starts[1] − 1, row i at origins[0] + i · strides[0]
    block 1   rows starts[1] … starts[2] − 1, row i at origins[1] + i · strides[1]
    …

An origin is where row 0 would lie if its block reached down to it, so the number of a
row in the whole gives its address.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .compile import inline


class _Addresses(NamedTuple):
    starts: np.ndarray
    """(blocks + 1,): the first row of each block; last the number of rows."""
    origins: np.ndarray
    strides: np.ndarray


class Matrix(_Addresses):
    """Where the rows are, for kernels (all int64), and the blocks themselves, which live as long."""

    blocks: Sequence[np.ndarray]

    @property
    def rows(self) -> int:
        """Their number."""
        return int(self.starts[-1])

    def runs(self, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
        """Rows from ``start`` to ``stop`` as (start, stop, origin, stride), each within a block."""
        first = int(np.searchsorted(self.starts, start, "right")) - 1
        for block in range(max(first, 0), len(self.origins)):
            begin, end = max(start, int(self.starts[block])), min(stop, int(self.starts[block + 1]))
            if begin >= end:
                break
            yield begin, end, int(self.origins[block]), int(self.strides[block])


def of(blocks: Sequence[np.ndarray]) -> Matrix:
    """The matrix of float32 blocks with contiguous rows of one width; none but the only one is empty."""
    starts = np.array([0, *itertools.accumulate(map(len, blocks))], np.int64)
    strides = np.array([block.strides[0] for block in blocks], np.int64)
    addresses = np.array([block.ctypes.data for block in blocks], np.int64)
    origins = addresses if len(blocks) == 1 else addresses - starts[:-1] * strides
    matrix = Matrix(starts, origins, strides)
    matrix.blocks = blocks
    return matrix


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
