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

from . import direct, log, metrics, rows, simd
from .compile import inline, kernel, specialized
from .log import COUNT, STALE
from .matrix import Matrix, address
from .topk import push, sort

_AHEAD = 3
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
def exact(metric, q, q_squares, x, dims):
    """The exact score of a query and a row, at their addresses."""
    total = direct.accumulate_row(metric, q, x, dims)
    return metrics.score(metric, total, q_squares, rows.sum_of_squares(x, dims))


@inline
def exact_interval(metric, originals, state, q, row, lower, upper):
    """The exact score as both ends of a row's interval; notes a row that is outside the one given."""
    query, dims = originals.queries + q * originals.stride, originals.dims
    score = exact(metric, query, originals.squares[q], address(originals.vectors, row), dims)
    if not lower <= score <= upper:
        state.cursor[STALE] = row
    return score, score


@inline
def rank(metric, originals, q, entries, log_rows, lower, upper, best, ranked):
    """Fill a heap with the k best of a query's ``entries``, places in the arrays of a log; best ends first.

    An entry with equal ends was scored before, unless they are 0. Return the size of the heap, how many
    entries were taken, and a row outside its interval, or −1.
    """
    query, dims, k = originals.queries + q * originals.stride, originals.dims, len(best)
    falling = np.empty(len(entries))
    for place in range(len(entries)):
        falling[place] = upper[entries[place]]
        push(falling, entries, place, falling[place], entries[place])
    sort(falling, entries, len(entries))
    size = np.int64(0)
    for place in range(len(entries)):
        z = entries[place]
        if size == k and upper[z] < best[0]:
            return size, place, -1
        if place + _AHEAD < len(entries):
            ahead = address(originals.vectors, log_rows[entries[place + _AHEAD]])
            prefetch_bytes(ahead, 4 * dims)
        row, score = log_rows[z], lower[z]
        if score < upper[z] or score == 0.0:
            score = exact(metric, query, originals.squares[q], address(originals.vectors, row), dims)
            if not lower[z] <= score <= upper[z]:
                return size, place + 1, row
        size = push(best, ranked, size, score, row)
    return size, len(entries), -1


@inline
def prefetch_bytes(at, count):
    """Ask for memory: rows are taken in any order, and the processor cannot guess which is next."""
    for line in range(at, at + count, 64):
        simd.prefetch(line)


@inline
def shorten(metric, originals, state):
    """Drop beaten entries; raise the thresholds of queries that keep too many by exact scores.

    A query whose threshold that hardly raises leaves: its intervals separate too little.
    """
    if log.drop_beaten(state):
        _sharpen(metric, originals, state, log.limit(state))
        if log.drop_beaten(state):
            log.let_go(state, log.limit(state))
            log.drop_beaten(state)
    log.compacted(state)


@inline
def _sharpen(metric, originals, state, limit):
    """Exact scores for the k most promising entries of every query that keeps more than ``limit``.

    The least of them is a threshold: k rows score no less.
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
        least = np.inf
        for at in places[q]:
            ends = exact_interval(
                metric, originals, state, q, state.row[at], state.lower[at], state.upper[at]
            )
            least = min(least, ends[0])
        state.root[q] = max(state.root[q], least)


@specialized
def finish(metric: str) -> Callable[..., None]:
    """The kernel that ends a scan: it drops what the last thresholds beat."""

    @kernel
    def finish_log(originals, state):
        shorten(metric, originals, state)

    return finish_log
