"""Analogies: questions, and the 3CosAdd target of each. (3CosMul: ``cosmul.py``.)

A question is two lists of row numbers, of the matrix that is searched or of another one,
stored as in a sparse matrix: question i has
``rows[offsets[i]:middle[i]]`` as positive and ``rows[middle[i]:offsets[i + 1]]`` as
negative inputs.
"""

from typing import NamedTuple

import numpy as np

from . import rows, simd, threads
from .compile import kernel
from .matrix import Matrix, address


class Questions(NamedTuple):
    """See the module's text; all int64."""

    offsets: np.ndarray
    middle: np.ndarray
    rows: np.ndarray

    def part(self, first: int, last: int) -> "Questions":
        """Some of the questions."""
        begin, end = self.offsets[first], self.offsets[last]
        return Questions(
            self.offsets[first : last + 1] - begin, self.middle[first:last] - begin, self.rows[begin:end]
        )


def targets(questions: Questions, vectors: Matrix, dims: int, num_threads: int) -> tuple[np.ndarray, int]:
    """Σ unit(positive) − Σ unit(negative), summed in float64 in the order given, as float32.

    Return them, and an input row that is not finite, or −1.
    """
    result = np.empty((len(questions.middle), dims), np.float32)
    parts = rows.blocks(len(result), 4 * dims, num_threads)
    bad = threads.run(lambda part: _sum_units(*part, questions, vectors, dims, result), parts, num_threads)
    return result, max(bad, default=-1)


@kernel
def _sum_units(start, stop, questions, vectors, dims, result):
    total = np.empty(dims)
    for i in range(start, stop):
        total[:] = 0.0
        for z in range(questions.offsets[i], questions.offsets[i + 1]):
            x = address(vectors, questions.rows[z])
            squares = rows.sum_of_squares(x, dims)
            if not squares < np.inf:
                return questions.rows[z]
            if squares == 0.0:
                continue  # a zero row points nowhere
            norm = np.sqrt(squares)
            for d in range(dims):
                unit = np.float64(simd.load_scalar(x + 4 * d)) / norm
                total[d] = total[d] + unit if z < questions.middle[i] else total[d] - unit
        for d in range(dims):
            result[i, d] = np.float32(total[d])
    return -1
