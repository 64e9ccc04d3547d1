"""Exact scores on the device, in the contract's order of summation, and the ranking by them.

A warp scores a row. Its lanes are the 32 lanes of the contract's sums and are folded in its
order (``kernels/rows.py``); products of float32 are exact in float64, so that fusing them
with a sum changes nothing, and squares of differences, which are not, are never fused. So a
score has the processor's bits.

    score_lists   scores every candidate of every query; a score outside the interval that its codes
                  prove says that the row is not what was encoded
    pass_rows     scores every row, for queries that the scan could not narrow down: span by span,
                  what beats the k-th best so far goes to the query's list
    rank          makes of lists, and of an earlier ranking, the k best by score, then by number
"""

import functools
import math
from typing import Any

from numba import cuda, types

from .. import bound, metrics
from .excluded import is_excluded
from .layout import CHANGED_ROW
from .operations import inline, kernel, sum_of_lanes
from .terms import unit_scale

cosine_error = inline(bound.cosine_error.py_func)

THREADS = 128
"""The number of threads in a block."""


@inline
def sums(metric, matrices, q, row, lane):
    """A metric's sum over query ``q`` and a row, and the row's Σ x²."""
    queries, vectors = matrices.queries.values, matrices.vectors.values
    of_query, of_row = q * matrices.queries.stride, row * matrices.vectors.stride
    total, squares = 0.0, 0.0
    for d in range(lane, matrices.dims, 32):
        a, b = types.float64(queries[of_query + d]), types.float64(vectors[of_row + d])
        total = metrics.accumulate(metric, total, a, b)
        squares += b * b
    return sum_of_lanes(total), sum_of_lanes(squares)


@inline
def sum_of_squares(matrices, q, lane):
    """Σ q² of query ``q``."""
    queries, of_query = matrices.queries.values, q * matrices.queries.stride
    total = 0.0
    for d in range(lane, matrices.dims, 32):
        a = types.float64(queries[of_query + d])
        total += a * a
    return sum_of_lanes(total)


@functools.cache
def score_lists(metric: str) -> Any:
    """The kernel that writes the exact scores of all candidates; a row of blocks for each query.

    ``asked`` is what was measured of the queries, ``encoded`` what was measured of the rows; the scores are
    written to ``exact``, in float64.
    """

    @kernel
    def score(matrices, asked, encoded, lists, exact, wrong):
        lane, q = types.int64(cuda.laneid), types.int64(cuda.blockIdx.y)
        warps = types.int64(cuda.gridDim.x) * (cuda.blockDim.x >> 5)
        z = types.int64(cuda.blockIdx.x) * (cuda.blockDim.x >> 5) + (cuda.threadIdx.x >> 5)
        size = min(types.int64(lists.lengths[q]), lists.capacity)
        if z < size:
            q_squares = sum_of_squares(matrices, q, lane)
            q_scale, q_error = types.float64(asked.scale[q]), types.float64(asked.error[q])
        while z < size:
            place = q * lists.capacity + z
            row = types.int64(lists.rows[place])
            total, squares = sums(metric, matrices, q, row, lane)
            value = metrics.score(metric, total, q_squares, squares)
            if lane == 0:
                exact[place] = value
                error, norm = types.float64(encoded.error[row]), encoded.norm[row]
                unit = unit_scale(encoded.scale[row], error, norm, encoded.full_norm[row])
                cosine = types.float64(lists.scores[place]) * (q_scale * unit)
                both = cosine_error(q_error, error)
                lower, upper = metrics.interval(metric, cosine, both, asked.norm[q], norm)
                if not lower <= value <= upper:
                    cuda.atomic.min(wrong, CHANGED_ROW, row)
            z += warps

    return score


@functools.cache
def pass_rows(metric: str) -> Any:
    """The kernel that scores a span of rows for the queries in ``numbers``, a list for each of them.

    Rows come in rising order: a row whose score only equals the k-th best of the spans before has the
    larger number, so it is beaten. ``best`` are those scores, if they are ``held``. A list has room for
    the whole span.
    """

    @kernel
    def score(numbers, matrices, span, filters, k, held, best, lists, exact):
        lane, place = types.int64(cuda.laneid), types.int64(cuda.blockIdx.y)
        q = types.int64(numbers[place])
        warps = types.int64(cuda.gridDim.x) * (cuda.blockDim.x >> 5)
        row = span.first + types.int64(cuda.blockIdx.x) * (cuda.blockDim.x >> 5) + (cuda.threadIdx.x >> 5)
        q_squares = sum_of_squares(matrices, q, lane)
        closed, words = filters.closed.bits, filters.closed.words
        least = -math.inf
        if held:
            least = best[place * k + k - 1]
        while row < span.last:
            shut = filters.margin[row] == -math.inf
            if words > 0:
                shut = shut or (closed[q * words + (row >> 5)] >> (row & 31)) & 1 != 0
            if not shut and not is_excluded(filters.excluded, q, row):
                total, squares = sums(metric, matrices, q, row, lane)
                value = metrics.score(metric, total, q_squares, squares)
                if lane == 0 and value > least:
                    slot = place * lists.capacity + cuda.atomic.add(lists.lengths, place, 1)
                    lists.rows[slot], exact[slot] = row, value
            row += warps

    return score


@kernel
def rank(k, lists, exact, held, before, into):
    """The k best of each query's list, by their ``exact`` scores, and of the ranking ``before`` if ``held``.

    Each query has a block. A candidate's rank is the number of better ones; no two have the same.
    """
    of_scores = cuda.shared.array(THREADS, types.float64)
    of_rows = cuda.shared.array(THREADS, types.int32)
    q, thread, capacity = types.int64(cuda.blockIdx.x), types.int64(cuda.threadIdx.x), lists.capacity
    size = min(types.int64(lists.lengths[q]), capacity)
    count = size + (k if held else 0)
    for place in range(thread, k, THREADS):
        into.best[q * k + place], into.scores[q * k + place] = -math.inf, types.float32(-math.inf)
        into.rows[q * k + place] = -1
    cuda.syncthreads()
    for base in range(0, count, THREADS):
        score, row, better = -math.inf, types.int64(-1), types.int64(0)
        if base + thread < size:
            place = q * capacity + base + thread
            score, row = exact[place], types.int64(lists.rows[place])
        elif base + thread < count:
            place = q * k + base + thread - size
            score, row = before.best[place], before.rows[place]
        for tile in range(0, count, THREADS):
            cuda.syncthreads()
            of_rows[thread] = -1
            if tile + thread < size:
                place = q * capacity + tile + thread
                of_scores[thread], of_rows[thread] = exact[place], lists.rows[place]
            elif tile + thread < count:
                place = q * k + tile + thread - size
                of_scores[thread], of_rows[thread] = before.best[place], before.rows[place]
            cuda.syncthreads()
            for other in range(min(THREADS, count - tile)):
                rival, number = of_scores[other], of_rows[other]
                if number >= 0 and (rival > score or (rival == score and number < row)):
                    better += 1
        if row >= 0 and better < k:
            into.best[q * k + better], into.scores[q * k + better] = score, types.float32(score)
            into.rows[q * k + better] = row
