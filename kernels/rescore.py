"""Survivors to exact answers.

The survivors of a query are taken by falling upper end. Each gets its exact score, in
the contract's order of summation, and goes into a heap of the k best; the walk stops at
the first whose upper end is strictly below the k-th exact score: it and all behind it
are beaten by k rows. Every exact score must lie in the interval that was proved for it;
one that does not says that the vectors are no longer those that were encoded.
"""

from collections.abc import Callable

import numpy as np

from . import direct, metrics, rows, simd, threads
from .compile import inline, kernel, specialized
from .log import Survivors
from .matrix import Matrix, address
from .topk import publish, push, sort

_AHEAD = 3
"""Survivors to ask memory for before they are scored."""


def rescore(
    survivors: Survivors,
    queries: np.ndarray,
    vectors: Matrix,
    dims: int,
    metric: str,
    scores: np.ndarray,
    indices: np.ndarray,
    num_threads: int,
) -> tuple[int, int]:
    """Write the ranking of every query that has not left the scan.

    ``queries`` is float32 with contiguous rows; they and those of ``vectors`` have at least ``dims``.
    Return how many rows were scored exactly, and the first row outside its interval, or −1.
    """
    m = len(queries)
    order, offsets = _group(survivors.query, m)
    source = (queries.ctypes.data, queries.strides[0], vectors, dims)

    def part(run: tuple[int, int]) -> tuple[int, int]:
        count = 0
        for some in threads.paced(*run, 1, work):
            more, stale = _rescore_queries(metric)(*some, survivors, order, offsets, *source, scores, indices)
            count += more
            if stale >= 0:
                return count, stale
        return count, -1

    work = (dims + 256) * (len(order) / max(1, m))  # scored, and sorted before
    parts = rows.split(m, 4 * num_threads if m > 4 * num_threads else 1)
    done = threads.run(part, parts, num_threads, queries)
    return sum(count for count, _ in done), max(row for _, row in done)


def rescore_range(
    survivors: Survivors,
    queries: np.ndarray,
    vectors: Matrix,
    dims: int,
    metric: str,
    least: np.float32,
    num_threads: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """The survivors whose score as float32 is at least ``least``, ranked for each query.

    Return offsets (m + 1,), scores, indices, and the first row outside its interval, or −1.
    """
    m = len(queries)
    order, offsets = _group(survivors.query, m)
    source = (queries.ctypes.data, queries.strides[0], vectors, dims)
    scores, indices = np.empty(len(order), np.float32), np.empty(len(order), np.int64)
    counts = np.zeros(m + 1, np.int64)

    def part(run: tuple[int, int]) -> int:
        found = (scores, indices, counts)
        for some in threads.paced(*run, 1, work):
            changed: int = _rescore_ranges(metric)(*some, survivors, order, offsets, *source, least, *found)
            if changed >= 0:
                return changed
        return -1

    work = (dims + 256) * (len(order) / max(1, m))  # scored, and sorted before
    parts = rows.split(m, 4 * num_threads if m > 4 * num_threads else 1)
    changed = max(threads.run(part, parts, num_threads, queries), default=-1)
    ends: np.ndarray = np.cumsum(counts)
    # Each query's answers stand at the front of its survivors: close the gaps.
    kept = np.arange(ends[-1]) + np.repeat(offsets[:-1] - ends[:-1], counts[1:])
    return ends, scores[kept], indices[kept], changed


@specialized
def _rescore_ranges(metric: str) -> Callable[..., int]:
    @kernel
    def rescore_ranges(
        start,
        stop,
        survivors,
        order,
        offsets,
        queries,
        q_stride,
        vectors,
        dims,
        least,
        scores,
        indices,
        counts,
    ):
        for q in range(start, stop):
            first, last = offsets[q], offsets[q + 1]
            best, size = np.empty(last - first), np.int64(0)
            squares = rows.sum_of_squares(queries + q * q_stride, dims)
            for z in order[first:last]:
                row = survivors.row[z]
                score = _exact(metric, queries + q * q_stride, squares, address(vectors, row), dims)
                if not survivors.lower[z] <= score <= survivors.upper[z]:
                    return row
                if np.float32(score) >= least:
                    size = push(best, indices[first:last], size, score, row)
            sort(best, indices[first:last], size)
            publish(best, indices[first:last], size, scores[first:last], indices[first:last])
            counts[q + 1] = size
        return -1

    return rescore_ranges


def _group(query: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Entries of query i are ``order[offsets[i]:offsets[i + 1]]``."""
    offsets, order = np.zeros(m + 1, np.int64), np.empty(len(query), np.int64)
    np.cumsum(np.bincount(query, minlength=m), out=offsets[1:])
    _count_up(query, offsets.copy(), order)
    return order, offsets


@kernel
def _count_up(query, place, order):
    """The second half of a counting sort: the next entry of query i goes to ``place[i]``."""
    for z in range(len(query)):
        order[place[query[z]]] = z
        place[query[z]] += 1


@specialized
def _rescore_queries(metric: str) -> Callable[..., tuple[int, int]]:
    @kernel
    def rescore_queries(
        start, stop, survivors, order, offsets, queries, q_stride, vectors, dims, scores, indices
    ):
        k = scores.shape[1]
        best, ranked = np.empty(k), np.empty(k, np.int64)
        count = 0
        for q in range(start, stop):
            if survivors.left[q]:
                continue
            mine = order[offsets[q] : offsets[q + 1]]
            upper = survivors.upper[mine]
            _sort_falling(upper, mine)
            squares = rows.sum_of_squares(queries + q * q_stride, dims)
            size = np.int64(0)
            for place in range(len(mine)):
                z = mine[place]
                if size == k and survivors.upper[z] < best[0]:
                    break
                if place + _AHEAD < len(mine):
                    _prefetch(address(vectors, survivors.row[mine[place + _AHEAD]]), dims)
                row = survivors.row[z]
                score = _exact(metric, queries + q * q_stride, squares, address(vectors, row), dims)
                count += 1
                if not survivors.lower[z] <= score <= survivors.upper[z]:
                    return count, row
                size = push(best, ranked, size, score, row)
            sort(best, ranked, size)
            publish(best, ranked, size, scores[q], indices[q])
        return count, -1

    return rescore_queries


@inline
def _sort_falling(upper, entries):
    """Order a query's entries by upper end, largest first."""
    for size in range(len(upper)):
        push(upper, entries, size, upper[size], entries[size])
    sort(upper, entries, len(upper))


@inline
def _prefetch(x, dims):
    """Ask for a row: survivors lie anywhere, and the processor cannot guess where."""
    for at in range(x, x + 4 * dims, 64):
        simd.prefetch(at)


@inline
def _exact(metric, q, q_squares, x, dims):
    total = direct.accumulate_row(metric, q, x, dims)
    return metrics.score(metric, total, q_squares, rows.sum_of_squares(x, dims))
