"""The pass over all float32 rows: no codes, O(k) memory a query.

It finishes what the bound on codes cannot narrow down, and is the quickest way where
there is too little work to pay for encoding. Rows go by in blocks that stay in cache
while all queries pass. A pair of query and row gets its exact score, in float64, unless
a float32 product of the two shows that it cannot enter the query's heap.

Why the product may decide: ``bound.py``, (11). Where most rows get through, products are left out.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from . import cost, matrix, metrics, rows, simd, threads
from .compile import inline, kernel, named, specialized
from .filters import Filters, excluded
from .lanes import FLOAT32, INT8, Values, row_sums
from .matrix import Matrix, Strided, row_at
from .topk import Heaps, merge, publish, push, sort, threshold

_ROWS_BYTES, _HEAPS_BYTES = 1 << 18, 1 << 26
_AHEAD_BYTES = 6144
"""How far ahead memory is asked for where a row is read only once."""
_SHARE = 1 << 18
"""Values of the rows that a thread takes at once: helpers may come late."""
_NO_MORE, _SOME_LEFT, _ANSWERED = -1, -2, -3
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


class Stream(Protocol):
    """Rows that are brought into memory in batches, one after another, in the order of their numbers."""

    @property
    def rows(self) -> int:
        """The number of rows."""

    def batches(self) -> Iterable[Sequence[tuple[int, int, Strided]]]:
        """Batches of runs, as ``Matrix.runs`` yields them."""


EXACT, PAIRS, RUNS = range(3)
"""Places in ``Part.counts``: pairs of the last block that got their exact score, all its pairs; past runs."""


def search(
    chosen: np.ndarray,
    queries: np.ndarray,
    vectors: "Matrix | Stream",
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
    alone = share_queries or not cost.sharing_rows_pays(n, m, dims)
    sharing = 1 if alone else num_threads  # threads for the same queries
    step = height * max(1, _SHARE // (height * dims))
    pass_rows, origin, stride = _pass_rows(metric), queries.ctypes.data, queries.strides[0]

    def pass_part(task: tuple[int, int, np.ndarray, Heaps, Part]) -> int:
        first, last, left, heaps, part = task
        outcome = _NO_MORE
        for place, (start, stop, block) in enumerate(runs):
            for begin, end in threads.paced(start, stop, step, pair * (last - first), n):
                final = int(end == finish)
                share = left, place, stop, step, end - begin
                outcome = pass_rows(*share, height, block, part, dims, filters, heaps, scores, indices, final)
                if outcome >= 0:
                    return outcome
                if outcome == _NO_MORE:
                    break
        return outcome

    def state(first: int, last: int) -> tuple[Heaps, Part]:
        squares, counts = np.empty(last - first), np.array([0, 1, 0], np.int64)
        part = Part(chosen[first:last], origin, stride, squares, counts)
        return Heaps.empty(last - first, min(k, n)), part

    # Who passes over all rows alone ranks them in the call that sees the last ones.
    finish = n if sharing == 1 and isinstance(vectors, Matrix) else -1
    states = [[state(first, last) for _ in range(sharing)] for first, last in query_parts]
    for runs in vectors.batches():
        tasks = []
        for (first, last), several in zip(query_parts, states, strict=True):
            left = np.array([start for start, _, _ in runs], np.int64)  # the first rows that no thread took
            tasks += [(first, last, left, *one) for one in several]
        outcomes = threads.run(pass_part, tasks, num_threads, queries)
        bad = rows.first_bad(outcomes)
        if bad >= 0:
            return bad
    if finish == n and all(outcome == _ANSWERED for outcome in outcomes):
        return -1
    for (first, last), several in zip(query_parts, states, strict=True):
        merge([heaps for heaps, _ in several], chosen[first:last], scores, indices)
    return -1


@specialized
def pair_score(metric: str) -> Callable[..., float]:
    """The kernel for the score of one row of a matrix with another, as it is published."""

    @kernel
    def pair_score(vectors_at, row, other, dims):
        """The score rounded to float32, or NaN if a row is not finite."""
        vectors = matrix.read(vectors_at)
        q, x = matrix.address(vectors, row), matrix.address(vectors, other)
        squares, x_squares = rows.sum_of_squares(q, dims), rows.sum_of_squares(x, dims)
        if not (squares < np.inf and x_squares < np.inf):
            return np.nan
        score = metrics.score(metric, accumulate_row(metric, q, x, dims), squares, x_squares)
        return np.float64(np.float32(score) + np.float32(0.0))

    return pair_score


@specialized
def _pass_rows(metric: str) -> Callable[..., int]:
    bounded = metric in metrics.BOUNDED  # float32 products are those of float32 rows
    int8 = metric not in metrics.TABLE

    @kernel
    def pass_rows(
        left, place, stop, step, most, height, block, part, dims, filters, heaps, scores, indices, final
    ):
        """Pass over some ``most`` rows, in shares of ``step`` rows from the first that is left, by ``left``.

        Return a row that is not finite, ``_NO_MORE`` if none was left, or ``_SOME_LEFT``. If these rows are
        the ``final`` ones, publish the rankings, and return ``_ANSWERED``.
        """
        numbers, q_squares = part.numbers, part.squares
        best, ranked, sizes = heaps
        allowed, exclusions = filters.allowed, filters.exclusions
        exact, pairs = part.counts[EXACT], part.counts[PAIRS]
        m = len(numbers)
        worst, x_squares, alone = np.empty(m), np.empty(height), np.empty(height, np.float32)
        for i in range(m):
            if part.counts[RUNS] == 0:
                q_squares[i] = rows.sum_of_squares(row_at(part, numbers[i]), dims)
            worst[i] = threshold(heaps, i)
        only, error, ahead = row_at(part, numbers[0]), float_error(dims), 1 + _AHEAD_BYTES // (4 * dims)
        at, taken, outcome = left.ctypes.data + 8 * place, 0, _SOME_LEFT
        while taken < most:
            start = simd.fetch_add(at, step)
            if start >= stop:
                outcome = _NO_MORE
                break
            share, taken = min(start + step, stop), taken + step
            for first in range(start, share, height):
                end = min(first + height, share)
                screen = bounded and 2 * exact < pairs
                for row in range(first, end):
                    if len(allowed) == 0 or allowed[row]:
                        x, squares = row_at(block, row), np.float32(0.0)
                        if screen and m > 1:
                            squares = float_products(x, x, dims)
                        elif screen:  # with the product of the only query, in one read of the row
                            if row + ahead < share:
                                for line in range(0, 4 * dims, 64):
                                    simd.prefetch_near(x + ahead * block.stride + line)
                            alone[row - first], squares = float_products((only, x), x, dims)
                        x_squares[row - first] = squares
                        if not _in_range(squares):
                            if int8:
                                x_squares[row - first] = rows.sum_of_int8_squares(x, dims)
                            else:
                                x_squares[row - first] = rows.sum_of_squares(x, dims)
                            if not x_squares[row - first] < np.inf:
                                simd.fetch_add(at, stop)  # nobody takes more
                                return row
                pairs, exact = (end - first) * m, 0
                for i in range(0, m, 4):
                    # Four queries share the loads of a row; the last are repeated.
                    count, q = min(4, m - i), _four_addresses(part, i)
                    for row in range(first, end):
                        if len(allowed) > 0 and not allowed[row]:
                            continue
                        x, squares = row_at(block, row), x_squares[row - first]
                        # Bit z is set while query i + z may need its exact score.
                        bits = (1 << count) - 1
                        if bounded and screen:  # Numba 0.60 leaves out a branch for a constant alone
                            if m == 1:
                                product = alone[row - first]
                                products = (product, product, product, product)
                            elif count > 1:
                                products = float_products(q, x, dims)
                            else:
                                product = float_products(q[0], x, dims)
                                products = (product, product, product, product)
                            for z in range(count):
                                if (
                                    upper_end(metric, products[z], q_squares[i + z], squares, error)
                                    < worst[i + z]
                                ):
                                    bits &= ~(1 << z)
                            if bits == 0:
                                continue
                            squares = rows.sum_of_squares(x, dims)
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
        if final:
            for i in range(m):
                sort(best[i], ranked[i], sizes[i])
                publish(best[i], ranked[i], sizes[i], scores[numbers[i]], indices[numbers[i]])
            return _ANSWERED
        return outcome

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
def float_error(dims):
    """e of (11) in ``bound.py``."""
    return (dims / 32 + 10) * 1.01 * 2.0**-24


@inline
def _in_range(squares):
    """Whether Σ x² in float32 is as near as (11) says; never for a row that is not finite."""
    return np.float32(2.0**-60) < squares < np.float32(2.0**100)


@inline
def upper_end(metric, product, q_squares, x_squares, error):
    """What a pair's score is at most, by its float32 product and the row's Σ x², which may be float32's."""
    x_norm = np.sqrt(x_squares * (1.0 - error))
    length = np.sqrt(q_squares) * x_norm
    if not 2.0**-80 < length < 2.0**120:
        return np.inf
    cosine = np.float64(product) / length
    return metrics.interval(metric, cosine, 2.1 * error, np.sqrt(q_squares), x_norm)[1]


def accumulate_row(metric, q, x, dims):
    """The exact sum of a metric over a query and a row; for a tuple of queries, a tuple of sums."""


def _sums_of(name: str, x_values: Values) -> Callable[..., float]:
    @inline
    def step(total, q, x):
        return metrics.accumulate(name, total, q, x)

    sums = row_sums(simd.f64x32, step, FLOAT32, x_values)

    def accumulate_row(metric, q, x, dims):
        return sums(q, x, dims)

    return accumulate_row


def sum_and_squares(metric, q, x, dims):
    """The exact sum of a metric over a query and a row, and Σ x² of the row."""


def _of_products(metric, q, x, dims):
    return rows.dot((q, x), x, dims)  # in one read of the row


def _of_others(metric, q, x, dims):
    return accumulate_row(metric, q, x, dims), rows.sum_of_squares(x, dims)


def _of_int8(metric, q, x, dims):
    return accumulate_row(metric, q, x, dims), rows.sum_of_int8_squares(x, dims)


class _Reads(NamedTuple):
    """How a metric reads rows."""

    accumulate_row: Callable[..., float]
    sum_and_squares: Callable[..., tuple[float, float]]


_READS = {
    name: _Reads(_sums_of(name, FLOAT32), _of_products if metrics.adds_products(name) else _of_others)
    for name in metrics.TABLE
}
_READS |= {metrics.of_int8(name): _Reads(_sums_of(name, INT8), _of_int8) for name in metrics.TABLE}
for _stub in (accumulate_row, sum_and_squares):
    named(_stub, _READS, _stub.__name__)
