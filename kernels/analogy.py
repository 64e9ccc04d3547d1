"""Analogies: the 3CosAdd target of a question, and 3CosMul scores of all rows.

A question is two lists of row numbers, stored as in a sparse matrix: question i has
``rows[offsets[i]:middle[i]]`` as positive and ``rows[middle[i]:offsets[i + 1]]`` as
negative inputs. Two products of a question are never fused with a sum.
"""

from typing import NamedTuple

import numpy as np

from . import metrics, rows, simd, threads
from .compile import inline, kernel
from .filters import Exclusions, excluded
from .matrix import Matrix, address
from .topk import Heaps, merge, new_heaps, push

_ROWS = 32
"""Rows of a block: one vector of float64."""

_QUESTIONS = 8192
"""Questions that are answered in one pass over the rows."""

_EPSILON = 0.001
"""3CosMul's denominator never vanishes (Levy and Goldberg 2014, section 6)."""


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


def multiply(
    questions: Questions,
    vectors: Matrix,
    dims: int,
    allowed: np.ndarray,
    exclusions: Exclusions,
    scores: np.ndarray,
    indices: np.ndarray,
    num_threads: int,
) -> None:
    """Write the ranking of each question by 3CosMul over all rows.

    Threads share the rows. The cosines of a block of rows with all input words are
    computed once, however many questions they serve.
    """
    for first in range(0, len(scores), _QUESTIONS):
        last = min(first + _QUESTIONS, len(scores))
        filters = (allowed, exclusions.part(first, last))
        found = _rank_group(questions.part(first, last), vectors, dims, filters, scores.shape[1], num_threads)
        merge(found, np.arange(first, last), scores, indices)


def _rank_group(
    questions: Questions,
    vectors: Matrix,
    dims: int,
    filters: tuple[np.ndarray, Exclusions],
    k: int,
    num_threads: int,
) -> list[Heaps]:
    words, place = np.unique(questions.rows, return_inverse=True)
    numbered = questions._replace(rows=place.reshape(-1))

    def part(run: tuple[int, int]) -> Heaps:
        heaps = new_heaps(len(questions.middle), min(k, run[1] - run[0]))
        for begin, end, *block in vectors.runs(*run):
            _rank_products(begin, end, *block, numbered, words, vectors, dims, *filters, *heaps)
        return heaps

    return threads.run(part, rows.split(vectors.rows, num_threads), num_threads)


@kernel
def _rank_products(
    start, stop, origin, stride, questions, words, vectors, dims, allowed, exclusions, best, ranked, sizes
):
    # halves[w, j] = (1 + cosine of word w and row j) / 2, so that a block of rows lies in the lanes.
    halves = np.empty((len(words), _ROWS))
    squares = np.empty(len(words))
    for w in range(len(words)):
        squares[w] = rows.sum_of_squares(address(vectors, words[w]), dims)
    for block in range(start, stop, _ROWS):
        count = min(_ROWS, stop - block)
        for j in range(count):
            x = origin + (block + j) * stride
            own = rows.sum_of_squares(x, dims)
            for w in range(len(words)):
                product = rows.dot(address(vectors, words[w]), x, dims)
                halves[w, j] = (1.0 + metrics.score("cosine", product, squares[w], own)) / 2.0
        for i in range(len(sizes)):
            bits = _may_enter(questions, i, halves, count, best[i], sizes[i])
            while bits != 0:
                j = simd.trailing_zeros(bits)
                bits &= bits - 1
                row = block + j
                if (len(allowed) > 0 and not allowed[row]) or excluded(exclusions, i, row):
                    continue
                score = _product(questions, i, halves[:, j])
                sizes[i] = push(best[i], ranked[i], sizes[i], score, row)


@inline
def _may_enter(questions, i, halves, count, best, size):
    """Bits of the rows of a block whose score can reach the worst in a question's heap.

    In the lanes and without a division: above ≥ root · (below + ε), where the two sides'
    roundings, three of relative size 2⁻⁵³ against the score's two, are paid for by 2⁻⁴⁰.
    """
    every = (1 << count) - 1
    if size < best.shape[0]:
        return every
    line = 8 * halves.shape[1]
    above, below = simd.broadcast_wide(1.0), simd.broadcast_wide(1.0)
    for z in range(questions.offsets[i], questions.middle[i]):
        factor = simd.load_wide(halves.ctypes.data + questions.rows[z] * line)
        above = simd.mul_wide(above, factor)
    for z in range(questions.middle[i], questions.offsets[i + 1]):
        factor = simd.load_wide(halves.ctypes.data + questions.rows[z] * line)
        below = simd.mul_wide(below, factor)
    root = simd.broadcast_wide(best[0] * (1.0 - 2.0**-40))
    reach = simd.mul_wide(root, simd.add_wide(below, simd.broadcast_wide(_EPSILON)))
    return simd.at_least_wide(above, reach) & every


@inline
def _product(questions, i, halves):
    """Π((1 + c⁺)/2) / (Π((1 + c⁻)/2) + ε), factors in the order given, never fused."""
    above, below = 1.0, 1.0
    for z in range(questions.offsets[i], questions.middle[i]):
        above *= halves[questions.rows[z]]
    for z in range(questions.middle[i], questions.offsets[i + 1]):
        below *= halves[questions.rows[z]]
    return above / (below + _EPSILON)
