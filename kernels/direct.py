"""The pass over all float32 rows: no codes, O(k) memory a query.

It finishes what the bound on codes cannot narrow down, and is the quickest way where
there is too little work to pay for encoding. Rows go by in blocks that stay in cache
while all queries pass. A pair of query and row gets its exact score, in float64, unless
a float32 product of the two shows that it cannot enter the query's heap.

Why the product may decide: of rows of n dimensions it is summed in 32 lanes and then a
tree, so with u = 2⁻²⁴ it errs by at most (n/32 + 6) · 1.01 u · Σ|q·x| ≤ that · ‖q‖ ‖x‖,
as long as ‖q‖ ‖x‖ is so far from float32's limits that nothing overflows and what
underflows is negligible. So the cosine is known within (n/32 + 10) · 1.01 u, and the
metric's interval holds; only a row whose upper end is strictly below the heap's worst
is passed over. Where most rows get through, the products are left out.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from . import metrics, rows, simd, threads
from .compile import inline, kernel, specialized
from .filters import Exclusions, excluded
from .matrix import Matrix
from .topk import Heaps, merge, new_heaps, push

_ROWS_BYTES, _HEAPS_BYTES = 1 << 18, 1 << 26
_PACE_WORK = 1 << 27
"""Exact multiply-adds that take some hundredths of a second."""


class Progress(NamedTuple):
    """What a run of rows leaves to the next one of its part."""

    squares: np.ndarray
    """float64: Σ q² of each query, once there."""
    counts: np.ndarray
    """int64: of the last block, pairs that needed their exact score and all; whether ``squares`` is there."""


def search(
    chosen: np.ndarray,
    queries: np.ndarray,
    vectors: Matrix,
    dims: int,
    metric: str,
    allowed: np.ndarray,
    exclusions: Exclusions,
    scores: np.ndarray,
    indices: np.ndarray,
    num_threads: int,
) -> int:
    """Write the ranking of the queries numbered ``chosen``; the rest as in ``rescore``.

    Return the first row of the vectors that is not finite, or −1.
    """
    m, k, n = len(chosen), scores.shape[1], vectors.rows
    height = max(1, _ROWS_BYTES // (4 * dims))
    pair = dims + 32 * k.bit_length()  # its products, and a place in a heap
    most = max(4, min(_PACE_WORK // (height * pair), _HEAPS_BYTES // (16 * max(1, min(k, n)))))
    share_queries = m >= 32 * num_threads
    query_parts = rows.split(m, max(-(-m // most), num_threads if share_queries else 1))
    row_parts = rows.split(n, 1 if share_queries or n * dims * m < 1 << 18 else num_threads)

    def part(task: tuple[tuple[int, int], tuple[int, int]]) -> tuple[Heaps, int]:
        (first, last), (start, stop) = task
        heaps = new_heaps(last - first, min(k, stop - start))
        mine = (chosen[first:last], queries.ctypes.data, queries.strides[0])
        progress = Progress(np.empty(last - first), np.array([0, 1, 0]))
        for begin, end, *block in vectors.runs(start, stop):
            for run in threads.paced(begin, end, height, pair * (last - first), stop - start):
                bad = _pass_rows(metric)(
                    *run, height, *mine, *block, dims, allowed, exclusions, progress, *heaps
                )
                if bad >= 0:
                    return heaps, bad
        return heaps, -1

    done = threads.run(part, [(q, r) for q in query_parts for r in row_parts], num_threads)
    for group, (first, last) in enumerate(query_parts):
        parts = done[group * len(row_parts) : (group + 1) * len(row_parts)]
        merge([heaps for heaps, _ in parts], chosen[first:last], scores, indices)
    return rows.first_bad(bad for _, bad in done)


@specialized
def _pass_rows(metric: str) -> Callable[..., int]:
    bounded = metric in metrics.BOUNDED

    @kernel
    def pass_rows(
        start,
        stop,
        height,
        chosen,
        queries,
        q_stride,
        vectors,
        x_stride,
        dims,
        allowed,
        exclusions,
        progress,
        best,
        ranked,
        sizes,
    ):
        q_squares, worst = progress.squares, np.full(len(chosen), -np.inf)
        through, tried, begun = progress.counts[0], progress.counts[1], progress.counts[2] == 1
        for i in range(len(chosen)):
            if not begun:
                q_squares[i] = rows.sum_of_squares(queries + chosen[i] * q_stride, dims)
            if sizes[i] == best.shape[1]:
                worst[i] = best[i, 0]
        x_squares = np.empty(height)
        error = (dims / 32 + 10) * 1.01 * 2.0**-24
        for block in range(start, stop, height):
            count = min(height, stop - block)
            for j in range(count):
                if len(allowed) == 0 or allowed[block + j]:
                    x_squares[j] = rows.sum_of_squares(vectors + (block + j) * x_stride, dims)
                    if not x_squares[j] < np.inf:
                        return block + j
            screen = 2 * through < tried
            tried, through = count * len(chosen), 0
            for i in range(0, len(chosen), 4):
                # Four queries share the loads of a row; the last are repeated.
                some = min(4, len(chosen) - i)
                q = _four_addresses(queries, q_stride, chosen, i)
                for j in range(count):
                    row = block + j
                    if len(allowed) > 0 and not allowed[row]:
                        continue
                    x = vectors + row * x_stride
                    left = (1 << some) - 1
                    if bounded and screen:
                        products = _four_products(q, x, dims) if some > 1 else _one_product(q, x, dims)
                        for z in range(some):
                            squares = (q_squares[i + z], x_squares[j])
                            if _below(metric, products[z], squares, error, worst[i + z]):
                                left &= ~(1 << z)
                        if left == 0:
                            continue
                    if left & (left - 1) == 0:
                        total = accumulate_row(metric, q[simd.trailing_zeros(left)], x, dims)
                        totals = (total, total, total, total)
                    else:
                        totals = _accumulate_four(metric, q, x, dims)
                    for z in range(some):
                        if left >> z & 1 == 0:
                            continue
                        through += 1
                        score = metrics.score(metric, totals[z], q_squares[i + z], x_squares[j])
                        if score < worst[i + z] or excluded(exclusions, chosen[i + z], row):
                            continue
                        sizes[i + z] = push(best[i + z], ranked[i + z], sizes[i + z], score, row)
                        if sizes[i + z] == best.shape[1]:
                            worst[i + z] = best[i + z, 0]
        progress.counts[0], progress.counts[1], progress.counts[2] = through, tried, 1
        return -1

    return pass_rows


@inline
def _below(metric, product, squares, error, worst):
    """Whether a pair's float32 product proves its score to be below the worst of a heap."""
    lengths = np.sqrt(squares[0] * squares[1])
    if not 2.0**-80 < lengths < 2.0**120:
        return False
    cosine = np.float64(product) / lengths
    upper = metrics.interval(metric, cosine, error, np.sqrt(squares[0]), np.sqrt(squares[1]))[1]
    return upper < worst


@inline
def _one_product(q, x, dims):
    """The float32 product of the first of four queries and a row, in the place of all four."""
    total, whole = simd.zero(), dims - dims % 32
    for at in range(0, 4 * whole, 128):
        total = simd.multiply_add(simd.load(q[0] + at), simd.load(x + at), total)
    if whole < dims:
        at, rest = 4 * whole, dims - whole
        total = simd.multiply_add(simd.load_first(q[0] + at, rest), simd.load_first(x + at, rest), total)
    product = simd.tree_sum_narrow(total)
    return product, product, product, product


@inline
def _four_products(q, x, dims):
    """The float32 products of four queries and a row."""
    a, b, c, d = simd.zero(), simd.zero(), simd.zero(), simd.zero()
    whole = dims - dims % 32
    for at in range(0, 4 * whole, 128):
        row = simd.load(x + at)
        a = simd.multiply_add(simd.load(q[0] + at), row, a)
        b = simd.multiply_add(simd.load(q[1] + at), row, b)
        c = simd.multiply_add(simd.load(q[2] + at), row, c)
        d = simd.multiply_add(simd.load(q[3] + at), row, d)
    if whole < dims:
        at, rest = 4 * whole, dims - whole
        row = simd.load_first(x + at, rest)
        a = simd.multiply_add(simd.load_first(q[0] + at, rest), row, a)
        b = simd.multiply_add(simd.load_first(q[1] + at, rest), row, b)
        c = simd.multiply_add(simd.load_first(q[2] + at, rest), row, c)
        d = simd.multiply_add(simd.load_first(q[3] + at, rest), row, d)
    return (
        simd.tree_sum_narrow(a),
        simd.tree_sum_narrow(b),
        simd.tree_sum_narrow(c),
        simd.tree_sum_narrow(d),
    )


@inline
def accumulate_row(metric, q, x, dims):
    """The exact sum of a metric over a row of queries and a row of vectors."""
    total = simd.zero_wide()
    whole = dims - dims % 32
    for d in range(0, whole, 32):
        a, b = simd.widen(simd.load(q + 4 * d)), simd.widen(simd.load(x + 4 * d))
        total = metrics.accumulate(metric, total, a, b)
    if whole < dims:
        rest = dims - whole
        a, b = (
            simd.widen(simd.load_first(q + 4 * whole, rest)),
            simd.widen(simd.load_first(x + 4 * whole, rest)),
        )
        total = metrics.accumulate(metric, total, a, b)
    return simd.tree_sum(total)


@inline
def _four_addresses(queries, q_stride, chosen, i):
    last = len(chosen) - 1
    return (
        queries + chosen[i] * q_stride,
        queries + chosen[min(i + 1, last)] * q_stride,
        queries + chosen[min(i + 2, last)] * q_stride,
        queries + chosen[min(i + 3, last)] * q_stride,
    )


@inline
def _accumulate_four(metric, q, x, dims):
    """``accumulate_row`` of four queries: the same sums in the same order."""
    a, b, c, d = simd.zero_wide(), simd.zero_wide(), simd.zero_wide(), simd.zero_wide()
    whole = dims - dims % 32
    for at in range(0, 4 * whole, 128):
        row = simd.widen(simd.load(x + at))
        a = metrics.accumulate(metric, a, simd.widen(simd.load(q[0] + at)), row)
        b = metrics.accumulate(metric, b, simd.widen(simd.load(q[1] + at)), row)
        c = metrics.accumulate(metric, c, simd.widen(simd.load(q[2] + at)), row)
        d = metrics.accumulate(metric, d, simd.widen(simd.load(q[3] + at)), row)
    if whole < dims:
        at, rest = 4 * whole, dims - whole
        row = simd.widen(simd.load_first(x + at, rest))
        a = metrics.accumulate(metric, a, simd.widen(simd.load_first(q[0] + at, rest)), row)
        b = metrics.accumulate(metric, b, simd.widen(simd.load_first(q[1] + at, rest)), row)
        c = metrics.accumulate(metric, c, simd.widen(simd.load_first(q[2] + at, rest)), row)
        d = metrics.accumulate(metric, d, simd.widen(simd.load_first(q[3] + at, rest)), row)
    return simd.tree_sum(a), simd.tree_sum(b), simd.tree_sum(c), simd.tree_sum(d)
