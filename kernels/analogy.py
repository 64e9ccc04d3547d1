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
from .topk import publish, push, sort

_ROWS = 64
_EPSILON = 0.001
"""3CosMul's denominator never vanishes (Levy and Goldberg 2014, section 6)."""


class Questions(NamedTuple):
    """See the module's text; all int64."""

    offsets: np.ndarray
    middle: np.ndarray
    rows: np.ndarray


def targets(questions: Questions, vectors: np.ndarray, dims: int, num_threads: int) -> np.ndarray:
    """Σ unit(positive) − Σ unit(negative), summed in float64 in the order given, as float32."""
    result = np.empty((len(questions.middle), dims), np.float32)
    source = (questions, vectors.ctypes.data, vectors.strides[0], dims, result)
    parts = rows.blocks(len(result), 4 * dims, num_threads)
    threads.run(lambda part: _sum_units(*part, *source), parts, num_threads)
    return result


@kernel
def _sum_units(start, stop, questions, vectors, stride, dims, result):
    total = np.empty(dims)
    for i in range(start, stop):
        total[:] = 0.0
        for z in range(questions.offsets[i], questions.offsets[i + 1]):
            x = vectors + questions.rows[z] * stride
            squares = rows.sum_of_squares(x, dims)
            if squares == 0.0:
                continue  # a zero row points nowhere
            norm = np.sqrt(squares)
            for d in range(dims):
                unit = np.float64(simd.load_scalar(x + 4 * d)) / norm
                total[d] = total[d] + unit if z < questions.middle[i] else total[d] - unit
        for d in range(dims):
            result[i, d] = np.float32(total[d])


def multiply(
    questions: Questions,
    vectors: np.ndarray,
    dims: int,
    allowed: np.ndarray,
    exclusions: Exclusions,
    scores: np.ndarray,
    indices: np.ndarray,
    num_threads: int,
) -> None:
    """Write the ranking of each question by 3CosMul over all rows."""
    source = (vectors.ctypes.data, vectors.strides[0], dims, len(vectors))

    def part(run: tuple[int, int]) -> None:
        first, last = run
        begin, end = questions.offsets[first], questions.offsets[last]
        words, place = np.unique(questions.rows[begin:end], return_inverse=True)
        mine = Questions(
            questions.offsets[first : last + 1] - begin,
            questions.middle[first:last] - begin,
            place.reshape(-1),
        )
        cut = exclusions.part(first, last)
        _rank_products(mine, words, *source, allowed, cut, scores[first:last], indices[first:last])

    m = len(questions.middle)
    threads.run(part, rows.split(m, max(num_threads, -(-m // 1024))), num_threads)


@kernel
def _rank_products(questions, words, vectors, stride, dims, n, allowed, exclusions, scores, indices):
    m, k = scores.shape
    best, ranked, sizes = np.empty((m, k)), np.empty((m, k), np.int64), np.zeros(m, np.int64)
    cosines = np.empty((_ROWS, len(words)))
    squares = np.empty(len(words))
    for w in range(len(words)):
        squares[w] = rows.sum_of_squares(vectors + words[w] * stride, dims)
    for block in range(0, n, _ROWS):
        count = min(_ROWS, n - block)
        for j in range(count):
            x = vectors + (block + j) * stride
            own = rows.sum_of_squares(x, dims)
            for w in range(len(words)):
                product = rows.dot(vectors + words[w] * stride, x, dims)
                cosines[j, w] = metrics.score("cosine", product, squares[w], own)
        for i in range(m):
            for j in range(count):
                row = block + j
                if len(allowed) > 0 and not allowed[row]:
                    continue
                score = _product(questions, i, cosines[j])
                if sizes[i] == k and score < best[i, 0]:
                    continue
                if not excluded(exclusions, i, row):
                    sizes[i] = push(best[i], ranked[i], sizes[i], score, row)
    for i in range(m):
        sort(best[i], ranked[i], sizes[i])
        publish(best[i], ranked[i], sizes[i], scores[i], indices[i])


@inline
def _product(questions, i, cosines):
    """Π((1 + c⁺)/2) / (Π((1 + c⁻)/2) + 0.001), factors in the order given."""
    above, below = 1.0, 1.0
    for z in range(questions.offsets[i], questions.middle[i]):
        above *= (1.0 + cosines[questions.rows[z]]) / 2.0
    for z in range(questions.middle[i], questions.offsets[i + 1]):
        below *= (1.0 + cosines[questions.rows[z]]) / 2.0
    return above / (below + _EPSILON)
