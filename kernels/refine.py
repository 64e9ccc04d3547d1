"""Exact scores for entries of a log: best first at the end of a search, and a few where a log is full.

The entries of a query are taken by falling upper end. Each gets its exact score, in the contract's
order of summation, and goes into a heap of the k best; the walk stops at the first whose upper end is
strictly below the k-th exact score: it and all after it are beaten by k rows. Every exact score must
lie in the interval that was proved for it; one that does not says that the vectors are no longer those
that were encoded.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from . import direct, log, metrics, simd
from .compile import inline, kernel, specialized
from .log import COUNT, STALE
from .matrix import Matrix, address
from .topk import push, sift

AHEAD = 3
"""Entries to ask memory for before they are scored."""


class _Originals(NamedTuple):
    queries: int
    stride: int
    squares: np.ndarray
    vectors: Matrix
    dims: int


class Originals(_Originals):
    """The float32 rows behind codes: where queries and vectors are, and how many columns are used.

    The address of the queries is in ``queries``, Σ q² of each in ``squares``; ``held`` is the array.
    """

    held: np.ndarray

    def part(self, first: int) -> "Originals":
        """Those of the queries from ``first`` on."""
        return originals(self.held[first:], self.squares[first:], self.vectors, self.dims)


def originals(queries: np.ndarray, squares: np.ndarray, vectors: Matrix, dims: int) -> Originals:
    """The record of queries with contiguous rows, Σ q² of each, and vectors; all at least ``dims`` wide."""
    record = Originals(queries.ctypes.data, queries.strides[0], squares, vectors, dims)
    record.held = queries
    return record


@inline
def at_hand(originals):
    """Whether the rows are in memory; if not, a scan raises thresholds by the lower ends of intervals."""
    return len(originals.vectors.origins) > 0


@inline
def exact(metric, q, q_squares, x, dims):
    """The exact score of a query and a row, at their addresses."""
    total, x_squares = direct.sum_and_squares(metric, q, x, dims)
    return metrics.score(metric, total, q_squares, x_squares)


@inline
def checked(score, lower, upper, row, cursor):
    """The exact score of a row; notes a row that is outside its interval."""
    if not lower <= score <= upper:
        cursor[STALE] = row
    return score


@inline
def rank(metric, originals, q, entries, log_rows, lower, upper, best, ranked):
    """Fill a heap with the k best of a query's ``entries``, places in the arrays of a log; best ends first.

    An entry with equal ends was scored before, unless they are 0. Return the size of the heap, how many
    entries were taken, and a row outside its interval, or −1.
    """
    query, dims, k = originals.queries + q * originals.stride, originals.dims, len(best)
    count = len(entries)
    rising = np.empty(count)  # of −upper: the best entry is the root of a heap
    for place in range(count):
        rising[place] = -upper[entries[place]]
    for place in range(count // 2 - 1, -1, -1):
        sift(rising, entries, place, count, rising[place], entries[place])
    size, asked = np.int64(0), 0
    for place in range(count):
        while asked < min(count, place + 1 + AHEAD):
            asked += 1
            last = count - asked  # behind the heap, entries taken from it are kept in their order
            z = entries[0]
            sift(rising, entries, np.int64(0), last, rising[last], entries[last])
            entries[last] = z
            prefetch_bytes(address(originals.vectors, log_rows[z]), 4 * dims)
        z = entries[count - 1 - place]
        if size == k and upper[z] < best[0]:
            return size, place, -1
        row, score = log_rows[z], lower[z]
        if score < upper[z] or score == 0.0:
            score = exact(metric, query, originals.squares[q], address(originals.vectors, row), dims)
            if not lower[z] <= score <= upper[z]:
                return size, place + 1, row
        size = push(best, ranked, size, score, row)
    return size, count, -1


@inline
def prefetch_bytes(at, count):
    """Ask for memory: rows are taken in any order, and the processor cannot guess which is next."""
    for line in range(at, at + count, 64):
        simd.prefetch(line)


@inline
def shorten(metric, originals, state):
    """Drop beaten entries; raise the thresholds of queries that keep too many by exact scores.

    A query whose threshold that hardly raises leaves: its intervals separate too little. Then others leave
    with it, whose exact scores would take longer than theirs in the direct pass.
    """
    if log.drop_beaten(state):
        _sharpen(metric, originals, state, log.limit(state))
        if log.drop_beaten(state):
            log.let_go(state, log.limit(state))
            log.drop_beaten(state)
    log.let_more_go(state)
    log.compacted(state)


@inline
def _sharpen(metric, originals, state, limit):
    """Exact scores for the k most promising entries of every query that keeps more than ``limit``.

    The least of them is a threshold: k rows score no less. Lower ends serve where rows are not at hand.
    """
    m, k = len(state.live), state.floor.shape[1]
    middles, places, sizes = np.empty((m, k)), np.empty((m, k), np.int64), np.zeros(m, np.int64)
    for z in range(state.cursor[COUNT]):
        owner = np.int64(state.query[z])
        if state.live[owner] > limit:
            middle = state.lower[z] + state.upper[z]
            if sizes[owner] < k or middle > middles[owner, 0]:
                sizes[owner] = push(middles[owner], places[owner], sizes[owner], middle, z)
    for q in range(m):
        if state.live[q] <= limit:
            continue
        query, least = originals.queries + q * originals.stride, np.inf
        for at in places[q]:
            row, score = state.row[at], state.lower[at]
            if at_hand(originals):
                x = address(originals.vectors, row)
                score = exact(metric, query, originals.squares[q], x, originals.dims)
                checked(score, state.lower[at], state.upper[at], row, state.cursor)
            least = min(least, score)
        state.root[q] = max(state.root[q], least)


@specialized
def finish(metric: str) -> Callable[..., None]:
    """The kernel that ends a scan: it drops what the last thresholds beat."""

    @kernel
    def finish_log(originals, state):
        shorten(metric, originals, state)

    return finish_log
