"""Exact scores on the device, in the contract's order of summation, and the ranking by them.

A warp scores a row. Its lanes are the 32 lanes of the contract's sums and are folded in its
order (``kernels/rows.py``); products of float32 are exact in float64, so that fusing them
with a sum changes nothing, and squares of differences, which are not, are never fused. So a
score has the processor's bits.

    score_lists   every candidate of every query; a score outside the interval that its codes
                  prove says that the row is not what was encoded
    pass_rows     every row, for queries that the scan could not narrow down: chunk by chunk,
                  what beats the k-th best so far goes to the query's list
    rank          lists, and what was best before, to the k best by score, then by number
"""

import functools
import math
from typing import Any

from numba import cuda, types

from .. import bound, metrics
from . import intrinsics
from .excluded import is_excluded
from .intrinsics import inline, kernel, product, sum_of_lanes
from .layout import CHANGED_ROW
from .terms import unit_scale

cosine_error = inline(bound.cosine_error.py_func)

THREADS = 32 if intrinsics.SIMULATED else 128


@inline
def sums(differences, queries, q, vectors, x, dims, lane):
    """A metric's sum over a query and a row, which begin at q and x, and the row's Σ x²."""
    total, squares = 0.0, 0.0
    for d in range(lane, dims, 32):
        a, b = types.float64(queries[q + d]), types.float64(vectors[x + d])
        if differences:
            rest = a - b
            total += product(rest, rest)
        else:
            total += a * b
        squares += b * b
    return sum_of_lanes(total), sum_of_lanes(squares)


@inline
def sum_of_squares(queries, q, dims, lane):
    """Σ q² of a query."""
    total = 0.0
    for d in range(lane, dims, 32):
        a = types.float64(queries[q + d])
        total += a * a
    return sum_of_lanes(total)


@functools.cache
def score_lists(metric: str) -> Any:
    """The kernel that writes the exact scores of all candidates; a row of blocks a query.

    ``encoded_…`` are of the rows, ``query_…`` of the queries; see ``layout.py``.
    """
    differences = metrics.TABLE[metric].differences

    @kernel
    def score(
        queries,
        query_stride,
        vectors,
        stride,
        dims,
        query_scale,
        query_error,
        query_norm,
        encoded_scale,
        encoded_error,
        encoded_norm,
        whole,
        capacity,
        state,
        found_rows,
        found_scores,
        exact,
    ):
        lane, q = types.int64(cuda.laneid), types.int64(cuda.blockIdx.y)
        warps = types.int64(cuda.gridDim.x) * (cuda.blockDim.x >> 5)
        z = types.int64(cuda.blockIdx.x) * (cuda.blockDim.x >> 5) + (cuda.threadIdx.x >> 5)
        size = min(types.int64(state[q]), capacity)
        if z < size:
            q_squares = sum_of_squares(queries, q * query_stride, dims, lane)
            q_scale, q_error = types.float64(query_scale[q]), types.float64(query_error[q])
        while z < size:
            place = q * capacity + z
            row = types.int64(found_rows[place])
            total, squares = sums(differences, queries, q * query_stride, vectors, row * stride, dims, lane)
            value = metrics.score(metric, total, q_squares, squares)
            if lane == 0:
                exact[place] = value
                error, norm = types.float64(encoded_error[row]), encoded_norm[row]
                unit = unit_scale(encoded_scale[row], error, norm, whole[row])
                cosine = types.float64(found_scores[place]) * (q_scale * unit)
                both = cosine_error(q_error, error)
                lower, upper = metrics.interval(metric, cosine, both, query_norm[q], norm)
                if not lower <= value <= upper:
                    cuda.atomic.min(state, len(state) + CHANGED_ROW, row)
            z += warps

    return score


@functools.cache
def pass_rows(metric: str) -> Any:
    """The kernel that scores rows ``first`` to ``last`` for some queries of ``numbers``, a list each.

    Rows come in rising order: one that only equals the k-th ``best`` that is ``held`` is beaten by
    its number. A list has room for the whole chunk.
    """
    differences = metrics.TABLE[metric].differences

    @kernel
    def score(
        numbers,
        queries,
        query_stride,
        m,
        vectors,
        stride,
        dims,
        first,
        last,
        k,
        margin,
        closed,
        words,
        excluded,
        held,
        best,
        capacity,
        sizes,
        found_rows,
        exact,
    ):
        lane, own = types.int64(cuda.laneid), types.int64(cuda.blockIdx.y)
        q = types.int64(numbers[own])
        warps = types.int64(cuda.gridDim.x) * (cuda.blockDim.x >> 5)
        row = first + types.int64(cuda.blockIdx.x) * (cuda.blockDim.x >> 5) + (cuda.threadIdx.x >> 5)
        q_squares = sum_of_squares(queries, q * query_stride, dims, lane)
        least = -math.inf
        if held:
            least = best[own * k + k - 1]
        while row < last:
            shut = margin[row] == -math.inf
            if words > 0:
                shut = shut or (closed[q * words + (row >> 5)] >> (row & 31)) & 1 != 0
            if not shut and not is_excluded(excluded, m, q, row):
                total, squares = sums(
                    differences, queries, q * query_stride, vectors, row * stride, dims, lane
                )
                value = metrics.score(metric, total, q_squares, squares)
                if lane == 0 and value > least:
                    slot = own * capacity + cuda.atomic.add(sizes, own, 1)
                    found_rows[slot], exact[slot] = row, value
            row += warps

    return score


@kernel
def rank(k, capacity, state, found_rows, exact, held, before, rows_before, best, scores, rows):
    """The k best of each query's list, and of what was ``before`` if it is ``held``; a block a query.

    Whoever is beaten by fewer than k knows its place; no two have the same. Places that nobody
    takes hold −inf and −1. ``best`` are float64, ``scores`` the same as float32.
    """
    of_scores = cuda.shared.array(THREADS, types.float64)
    of_rows = cuda.shared.array(THREADS, types.int32)
    q, thread = types.int64(cuda.blockIdx.x), types.int64(cuda.threadIdx.x)
    size = min(types.int64(state[q]), capacity)
    count = size + (k if held else 0)
    for place in range(thread, k, THREADS):
        best[q * k + place], scores[q * k + place] = -math.inf, types.float32(-math.inf)
        rows[q * k + place] = -1
    cuda.syncthreads()
    for base in range(0, count, THREADS):
        mine, row, beaten = -math.inf, types.int64(-1), types.int64(0)
        if base + thread < size:
            place = q * capacity + base + thread
            mine, row = exact[place], types.int64(found_rows[place])
        elif base + thread < count:
            place = q * k + base + thread - size
            mine, row = before[place], rows_before[place]
        for tile in range(0, count, THREADS):
            cuda.syncthreads()
            of_rows[thread] = -1
            if tile + thread < size:
                place = q * capacity + tile + thread
                of_scores[thread], of_rows[thread] = exact[place], found_rows[place]
            elif tile + thread < count:
                place = q * k + tile + thread - size
                of_scores[thread], of_rows[thread] = before[place], rows_before[place]
            cuda.syncthreads()
            for other in range(min(THREADS, count - tile)):
                theirs, number = of_scores[other], of_rows[other]
                if number >= 0 and (theirs > mine or (theirs == mine and number < row)):
                    beaten += 1
        if row >= 0 and beaten < k:
            best[q * k + beaten], scores[q * k + beaten] = mine, types.float32(mine)
            rows[q * k + beaten] = row
