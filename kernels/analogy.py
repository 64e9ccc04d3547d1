"""Analogies: the input rows of each question, and its 3CosAdd target. (3CosMul: ``cosmul.py``.)

A question adds rows and subtracts others, of the matrix that is searched or of another one. The numbers of
all are stored as in a sparse matrix: question i adds the rows ``numbers[offsets[i]:middle[i]]`` and
subtracts the rows ``numbers[middle[i]:offsets[i + 1]]``.
"""

from typing import NamedTuple

import numpy as np

from . import rows, simd, threads
from .compile import kernel
from .matrix import Matrix, address


class InputRows(NamedTuple):
    """See the module's text; all int64."""

    offsets: np.ndarray
    middle: np.ndarray
    numbers: np.ndarray

    def part(self, first: int, last: int) -> "InputRows":
        """Those of the questions from ``first`` to ``last``."""
        begin, end = self.offsets[first], self.offsets[last]
        return InputRows(
            self.offsets[first : last + 1] - begin, self.middle[first:last] - begin, self.numbers[begin:end]
        )


def targets(inputs: InputRows, vectors: Matrix, dims: int, num_threads: int) -> tuple[np.ndarray, int]:
    """Σ unit(positive) − Σ unit(negative), summed in float64 in the order given, as float32.

    Return them, and the number of an input row that is not finite, or −1.
    """
    result = np.empty((len(inputs.middle), dims), np.float32)
    parts = rows.blocks(len(result), 4 * dims, num_threads)
    bad = threads.run(lambda part: _sum_units(*part, inputs, vectors, dims, result), parts, num_threads)
    return result, max(bad, default=-1)


@kernel
def _sum_units(start, stop, inputs, vectors, dims, result):
    total = np.empty(dims)
    for i in range(start, stop):
        total[:] = 0.0
        for z in range(inputs.offsets[i], inputs.offsets[i + 1]):
            x = address(vectors, inputs.numbers[z])
            squares = rows.sum_of_squares(x, dims)
            if not squares < np.inf:
                return inputs.numbers[z]
            if squares == 0.0:
                continue  # a zero row points nowhere
            norm = np.sqrt(squares)
            for d in range(dims):
                unit = np.float64(simd.load_scalar(x + 4 * d)) / norm
                total[d] = total[d] + unit if z < inputs.middle[i] else total[d] - unit
        for d in range(dims):
            result[i, d] = np.float32(total[d])
    return -1
