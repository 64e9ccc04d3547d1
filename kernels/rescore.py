"""Survivors to exact answers.

The survivors of a query get their exact scores best first, until none can win any more (``refine.rank``).
Where each query is to get many rows, those that will most likely be reached are scored before, row after row:
rows then come from memory in their order, and once for several queries.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from . import ranking, refine, rows, threads
from .compile import kernel, specialized
from .log import Survivors
from .matrix import address
from .refine import Originals
from .topk import publish, push, sort

_DEEP, _MANY = 32, 1 << 14
"""Rows that each query gets, and survivors of all, from which on these are scored in the order of rows."""
_BINS = 1 << 16
"""Runs of rows that survivors are sorted into, at most."""


class Groups(NamedTuple):
    """Survivors by query: those of query i are ``order[offsets[i]:offsets[i + 1]]``."""

    order: np.ndarray
    offsets: np.ndarray


def rescore(
    survivors: Survivors,
    originals: Originals,
    metric: str,
    scores: np.ndarray,
    indices: np.ndarray,
    num_threads: int,
) -> tuple[int, int]:
    """Write the ranking of every query that has not left the scan.

    Return how many rows were scored exactly, and the first row outside its interval, or −1.
    """
    m = len(scores)
    groups = grouped(survivors.query, m)
    if scores.shape[1] >= _DEEP and len(survivors.row) >= _MANY:
        stale = _score_by_row(survivors, groups, originals, metric, scores.shape[1], num_threads)
        if stale >= 0:
            return 0, stale

    def part(run: tuple[int, int]) -> tuple[int, int]:
        count = 0
        for piece in threads.paced(*run, 1, work):
            more, stale = _rescore_queries(metric)(*piece, survivors, groups, originals, scores, indices)
            count += more
            if stale >= 0:
                return count, stale
        return count, -1

    work = _work(survivors, m, originals.dims)
    done = threads.run(part, _parts(m, num_threads), num_threads, originals.held)
    return sum(count for count, _ in done), max(row for _, row in done)


def rescore_range(
    survivors: Survivors, originals: Originals, m: int, metric: str, least: np.float32, num_threads: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """The survivors whose score as float32 is at least ``least``, ranked for each of m queries.

    Return offsets (m + 1,), scores, indices, and the first row outside its interval, or −1.
    """
    groups = grouped(survivors.query, m)
    size = len(groups.order)
    scores, indices, counts = np.empty(size, np.float32), np.empty(size, np.int64), np.zeros(m + 1, np.int64)

    def part(run: tuple[int, int]) -> int:
        ranked = (scores, indices, counts)
        for piece in threads.paced(*run, 1, work):
            stale: int = _rescore_ranges(metric)(*piece, survivors, groups, originals, least, *ranked)
            if stale >= 0:
                return stale
        return -1

    work = _work(survivors, m, originals.dims)
    stale = max(threads.run(part, _parts(m, num_threads), num_threads, originals.held), default=-1)
    ends: np.ndarray = np.cumsum(counts)
    # Each query's answers stand at the front of its survivors: close the gaps.
    kept = np.arange(ends[-1]) + np.repeat(groups.offsets[:-1] - ends[:-1], counts[1:])
    return ends, scores[kept], indices[kept], stale


def _score_by_row(
    survivors: Survivors, groups: Groups, originals: Originals, metric: str, k: int, num_threads: int
) -> int:
    """Exact scores, as both ends of their intervals, for survivors that will most likely be reached.

    Return the first row outside its interval, or −1.
    """
    likely = np.zeros(len(survivors.row), np.bool_)
    m = len(groups.offsets) - 1
    threads.run(
        lambda run: _mark_likely(*run, k, survivors, groups, likely), _parts(m, num_threads), num_threads
    )
    chosen = np.flatnonzero(likely)
    shift = max(0, int(originals.vectors.rows).bit_length() - _BINS.bit_length() + 1)
    bins = (survivors.row[chosen] >> shift).astype(np.int32)
    order = chosen[grouped(bins, (originals.vectors.rows >> shift) + 1).order]
    return _score(order, survivors, originals, metric, num_threads)


def _score(
    order: np.ndarray, survivors: Survivors, originals: Originals, metric: str, num_threads: int
) -> int:
    """Exact scores, as both ends of their intervals, for the survivors at these places.

    Return the first row outside its interval, or −1.
    """

    def part(run: tuple[int, int]) -> int:
        for piece in threads.paced(*run, 1, originals.dims + 256):
            stale: int = _score_entries(metric)(*piece, order, survivors, originals)
            if stale >= 0:
                return stale
        return -1

    parts = _parts(len(order), num_threads)
    return max(threads.run(part, parts, num_threads, originals.held), default=-1)


def score_pairs(
    query: np.ndarray, row: np.ndarray, originals: Originals, metric: str, num_threads: int
) -> tuple[np.ndarray, int]:
    """The exact float64 scores of pairs, of query ``query[i]`` and row ``row[i]``.

    Also a row that is not finite, or −1.
    """
    size = len(row)
    lower, upper = np.full(size, -np.inf), np.full(size, np.inf)  # nothing is known about any score
    pairs = Survivors(
        query.astype(np.int32), row.astype(np.int64), lower, upper, np.empty(0, np.bool_), -1, 0, 0
    )
    bad = _score(np.arange(size), pairs, originals, metric, num_threads)  # NaN lies in no interval
    return lower, bad


@kernel
def _mark_likely(start, stop, k, survivors, groups, likely):
    """Mark the survivors whose upper end reaches the k-th largest middle of their query's intervals."""
    lowest = np.full(1, -np.inf)
    for q in range(start, stop):
        entries = groups.order[groups.offsets[q] : groups.offsets[q + 1]]
        size, least = len(entries), -np.inf
        if size > k:
            middles = np.empty(size + ranking.BLOCK)
            for place in range(size):
                z = entries[place]
                middles[place] = (survivors.lower[z] + survivors.upper[z]) / 2.0 + 0.0  # no −0.0
            least = ranking.best(lowest, middles, size, k)[0]
        for z in entries:
            likely[z] = survivors.upper[z] >= least


@specialized
def _score_entries(metric: str) -> Callable[..., int]:
    @kernel
    def score_entries(start, stop, order, survivors, originals):
        lower, upper, dims = survivors.lower, survivors.upper, originals.dims
        for place in range(start, stop):
            if place + refine.AHEAD < stop:
                ahead = address(originals.vectors, survivors.row[order[place + refine.AHEAD]])
                refine.prefetch_bytes(ahead, 4 * dims)
            z = order[place]
            if lower[z] < upper[z] or lower[z] == 0.0:
                q, row = np.int64(survivors.query[z]), survivors.row[z]
                query, x = originals.queries + q * originals.stride, address(originals.vectors, row)
                score = refine.exact(metric, query, originals.squares[q], x, dims)
                if not lower[z] <= score <= upper[z]:
                    return row
                lower[z], upper[z] = score, score
        return -1

    return score_entries


def _work(survivors: Survivors, m: int, dims: int) -> float:
    """Multiply-adds for a query: its survivors are scored, and sorted before."""
    return (dims + 256) * (len(survivors.row) / max(1, m))


def _parts(m: int, num_threads: int) -> list[tuple[int, int]]:
    return rows.split(m, 4 * num_threads if m > 4 * num_threads > 4 else 1)


@specialized
def _rescore_ranges(metric: str) -> Callable[..., int]:
    @kernel
    def rescore_ranges(start, stop, survivors, groups, originals, least, scores, indices, counts):
        for q in range(start, stop):
            first, last = groups.offsets[q], groups.offsets[q + 1]
            best, size = np.empty(last - first), np.int64(0)
            query = originals.queries + q * originals.stride
            squares = originals.squares[q]
            for z in groups.order[first:last]:
                row = survivors.row[z]
                x = address(originals.vectors, row)
                score = refine.exact(metric, query, squares, x, originals.dims)
                if not survivors.lower[z] <= score <= survivors.upper[z]:
                    return row
                if np.float32(score) >= least:
                    size = push(best, indices[first:last], size, score, row)
            sort(best, indices[first:last], size)
            publish(best, indices[first:last], size, scores[first:last], indices[first:last])
            counts[q + 1] = size
        return -1

    return rescore_ranges


def grouped(query: np.ndarray, m: int) -> Groups:
    """Entries by query, those of each in the order in which they are."""
    offsets, order = np.zeros(m + 1, np.int64), np.empty(len(query), np.int64)
    np.cumsum(np.bincount(query, minlength=m), out=offsets[1:])
    _count_up(query, offsets.copy(), order)
    return Groups(order, offsets)


@kernel
def _count_up(query, place, order):
    """The second half of a counting sort: the next entry of query i goes to ``place[i]``."""
    for z in range(len(query)):
        order[place[query[z]]] = z
        place[query[z]] += 1


@specialized
def _rescore_queries(metric: str) -> Callable[..., tuple[int, int]]:
    @kernel
    def rescore_queries(start, stop, survivors, groups, originals, scores, indices):
        k = scores.shape[1]
        best, ranked = np.empty(k), np.empty(k, np.int64)
        count = 0
        for q in range(start, stop):
            if survivors.left[q]:
                continue
            entries = groups.order[groups.offsets[q] : groups.offsets[q + 1]]
            row, lower, upper = survivors.row, survivors.lower, survivors.upper
            size, scored, stale = refine.rank(metric, originals, q, entries, row, lower, upper, best, ranked)
            count += scored
            if stale >= 0:
                return count, stale
            sort(best, ranked, size)
            publish(best, ranked, size, scores[q], indices[q])
        return count, -1

    return rescore_queries
