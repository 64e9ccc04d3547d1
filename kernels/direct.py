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
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from . import metrics, rows, simd, threads
from .compile import inline, kernel, named, specialized
from .filters import Filters, excluded
from .lanes import row_sums
from .matrix import Matrix, row_at
from .topk import Heaps, merge, push, threshold

_ROWS_BYTES, _HEAPS_BYTES = 1 << 18, 1 << 26
_PACE_WORK = 1 << 27
"""Exact multiply-adds that take some hundredths of a second."""


class Part(NamedTuple):
    """Queries that pass over rows together, and what one run of rows leaves to the next.

    It does not hold the matrix of queries: ``threads.run`` does.
    """

    numbers: np.ndarray
    """int64: which rows of the matrix of queries these are."""
    origin: int
    stride: int
    """Where that matrix lies, as in ``matrix.Strided``, whose cost small calls would feel."""
    squares: np.ndarray
    """float64: Σ q² of each query, after the first run."""
    counts: np.ndarray
    """int64, at the places that follow."""


EXACT, PAIRS, RUNS = range(3)
"""Places in ``Part.counts``: pairs of the last block that got their exact score, all its pairs; past runs."""


def search(
    chosen: np.ndarray,
    queries: np.ndarray,
    vectors: Matrix,
    dims: int,
    metric: str,
    filters: Filters,
    scores: np.ndarray,
    indices: np.ndarray,
    num_threads: int,
) -> int:
    """Write the ranking of the queries numbered ``chosen``; the other arguments are those of ``rescore``.

    Return the first row of the vectors that is not finite, or −1.
    """
    m, k, n = len(chosen), scores.shape[1], vectors.rows
    height = max(1, _ROWS_BYTES // (4 * dims))
    pair = dims + 32 * k.bit_length()  # its products, and a place in a heap
    most = max(4, min(_PACE_WORK // (height * pair), _HEAPS_BYTES // (16 * max(1, min(k, n)))))
    share_queries = m >= 32 * num_threads
    query_parts = rows.split(m, max(-(-m // most), num_threads if share_queries else 1))
    row_parts = rows.split(n, 1 if share_queries or n * dims * m < 1 << 18 else num_threads)
    pass_rows, origin, stride = _pass_rows(metric), queries.ctypes.data, queries.strides[0]

    def pass_part(task: tuple[tuple[int, int], tuple[int, int]]) -> tuple[Heaps, int]:
        (first, last), (start, stop) = task
        heaps = Heaps.empty(last - first, min(k, stop - start))
        squares, counts = np.empty(last - first), np.array([0, 1, 0])
        part = Part(chosen[first:last], origin, stride, squares, counts)
        for begin, end, block in vectors.runs(start, stop):
            for run in threads.paced(begin, end, height, pair * (last - first), stop - start):
                bad = pass_rows(*run, height, block, part, dims, filters, heaps)
                if bad >= 0:
                    return heaps, bad
        return heaps, -1

    tasks = [(q, r) for q in query_parts for r in row_parts]
    done = threads.run(pass_part, tasks, num_threads, queries)
    for group, (first, last) in enumerate(query_parts):
        parts = done[group * len(row_parts) : (group + 1) * len(row_parts)]
        merge([heaps for heaps, _ in parts], chosen[first:last], scores, indices)
    return rows.first_bad(bad for _, bad in done)


@specialized
def _pass_rows(metric: str) -> Callable[..., int]:
    bounded = metric in metrics.BOUNDED

    @kernel
    def pass_rows(start, stop, height, block, part, dims, filters, heaps):
        numbers, q_squares = part.numbers, part.squares
        best, ranked, sizes = heaps
        allowed, exclusions = filters.allowed, filters.exclusions
        exact, pairs = part.counts[EXACT], part.counts[PAIRS]
        worst, x_squares = np.empty(len(numbers)), np.empty(height)
        for i in range(len(numbers)):
            if part.counts[RUNS] == 0:
                q_squares[i] = rows.sum_of_squares(row_at(part, numbers[i]), dims)
            worst[i] = threshold(heaps, i)
        error = (dims / 32 + 10) * 1.01 * 2.0**-24
        for first in range(start, stop, height):
            end = min(first + height, stop)
            for row in range(first, end):
                if len(allowed) == 0 or allowed[row]:
                    x_squares[row - first] = rows.sum_of_squares(row_at(block, row), dims)
                    if not x_squares[row - first] < np.inf:
                        return row
            screen = bounded and 2 * exact < pairs
            pairs, exact = (end - first) * len(numbers), 0
            for i in range(0, len(numbers), 4):
                # Four queries share the loads of a row; the last are repeated.
                count, q = min(4, len(numbers) - i), _four_addresses(part, i)
                for row in range(first, end):
                    if len(allowed) > 0 and not allowed[row]:
                        continue
                    x, squares = row_at(block, row), x_squares[row - first]
                    # Bit z is set while query i + z may need its exact score.
                    bits = (1 << count) - 1
                    if screen:
                        if count > 1:
                            products = float_products(q, x, dims)
                        else:
                            product = float_products(q[0], x, dims)
                            products = (product, product, product, product)
                        for z in range(count):
                            if _below(metric, products[z], q_squares[i + z], squares, error, worst[i + z]):
                                bits &= ~(1 << z)
                        if bits == 0:
                            continue
                    if bits & (bits - 1) != 0:
                        totals = accumulate_row(metric, q, x, dims)
                    else:
                        total = accumulate_row(metric, q[simd.trailing_zeros(bits)], x, dims)
                        totals = (total, total, total, total)
                    for z in range(count):
                        if bits >> z & 1 == 0:
                            continue
                        exact += 1
                        score = metrics.score(metric, totals[z], q_squares[i + z], squares)
                        if score < worst[i + z] or excluded(exclusions, numbers[i + z], row):
                            continue
                        sizes[i + z] = push(best[i + z], ranked[i + z], sizes[i + z], score, row)
                        if sizes[i + z] == best.shape[1]:
                            worst[i + z] = best[i + z, 0]
        part.counts[EXACT], part.counts[PAIRS] = exact, pairs
        part.counts[RUNS] += 1
        return -1

    return pass_rows


@inline
def _four_addresses(part, i):
    """Where the queries ``numbers[i]`` to ``numbers[i + 3]`` lie; past the last, where the last one lies."""
    numbers, last = part.numbers, len(part.numbers) - 1
    return (
        row_at(part, numbers[i]),
        row_at(part, numbers[min(i + 1, last)]),
        row_at(part, numbers[min(i + 2, last)]),
        row_at(part, numbers[min(i + 3, last)]),
    )


@inline
def _multiply_add(total, q, x):
    return simd.multiply_add(q, x, total)


float_products = row_sums(simd.f32x32, _multiply_add)
"""Σ q·x in float32, of one query or several with a row."""


@inline
def _below(metric, product, q_squares, x_squares, error, worst):
    """Whether a pair's float32 product proves its score to be below the worst of a heap."""
    lengths = np.sqrt(q_squares * x_squares)
    if not 2.0**-80 < lengths < 2.0**120:
        return False
    cosine = np.float64(product) / lengths
    upper = metrics.interval(metric, cosine, error, np.sqrt(q_squares), np.sqrt(x_squares))[1]
    return upper < worst


def accumulate_row(metric, q, x, dims):
    """The exact sum of a metric over a query and a row; for a tuple of queries, a tuple of sums."""


def _sums_of(name: str) -> Callable[..., float]:
    @inline
    def step(total, q, x):
        return metrics.accumulate(name, total, q, x)

    sums = row_sums(simd.f64x32, step)

    def accumulate_row(metric, q, x, dims):
        return sums(q, x, dims)

    return accumulate_row


named(accumulate_row, {name: SimpleNamespace(sums=_sums_of(name)) for name in metrics.TABLE}, "sums")
