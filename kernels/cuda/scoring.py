"""Exact scores on the device, of candidates or of all rows, and the ranking by them: the launches.

The kernels are in ``exact.py``.
"""

import numpy as np

from . import device, exact
from .layout import Filters, Lists, Matrices, Ranking, Span
from .walk import Outcome, Walk
from .workspace import ranking

BLOCKS = 16
"""The number of blocks on a multiprocessor that score."""


def score_candidates(walk: Walk) -> None:
    """Queue the exact scores of all candidates, and their ranking."""
    space, m = walk.space, walk.m
    kernel = exact.score_lists(walk.batch.metric)
    walk.stream.queue(
        kernel,
        (_blocks(m), m),
        exact.THREADS,
        _matrices(walk),
        space.measured,
        walk.encoded,
        space.lists,
        space.exact,
        space.state.wrong,
    )
    _rank(walk, m, space.lists, False, space.answer, space.answer)


def answers(walk: Walk, outcome: Outcome) -> tuple[np.ndarray, np.ndarray]:
    """Scores float32 (m, k) and row numbers int64 (m, k), including those of the queries that left."""
    shape = (walk.m, walk.batch.k)
    scores, rows = outcome.scores.reshape(shape), outcome.rows.reshape(shape)
    if outcome.left.any():
        scores[outcome.left], rows[outcome.left] = _of_all_rows(walk, np.flatnonzero(outcome.left))
    return scores, rows


def _of_all_rows(walk: Walk, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and row numbers for the queries with these numbers, from the exact scores of all rows."""
    space, k, stream, count = walk.space, walk.batch.k, walk.stream, len(numbers)
    capacity = space.lists.capacity  # ranking takes the square of what may be in a list
    firsts = range(0, walk.rows.n, capacity)
    lengths, chosen = stream.send(np.zeros((len(firsts), count), np.int32)), stream.send(numbers)
    best, other = (ranking(count * k) for _ in range(2))
    kernel, grid = exact.pass_rows(walk.batch.metric), (_blocks(count), count)
    matrices, filters = _matrices(walk), Filters(walk.terms.margin, walk.closed, walk.excluded)
    for part, first in enumerate(firsts):
        span, held = Span(first, min(first + capacity, walk.rows.n)), part > 0
        lists = space.lists._replace(lengths=lengths[part])
        stream.queue(
            kernel,
            grid,
            exact.THREADS,
            chosen,
            matrices,
            span,
            filters,
            k,
            held,
            other.best,
            lists,
            space.exact,
        )
        _rank(walk, count, lists, held, other, best)
        best, other = other, best
    scores, rows = stream.fetch(other.scores), stream.fetch(other.rows)
    return scores.reshape(count, k), rows.reshape(count, k)


def _rank(walk: Walk, m: int, lists: Lists, held: bool, before: Ranking, into: Ranking) -> None:
    """Queue the ranking of m lists, and of the ranking ``before`` if it is ``held``."""
    walk.stream.queue(exact.rank, m, exact.THREADS, walk.batch.k, lists, walk.space.exact, held, before, into)


def _matrices(walk: Walk) -> Matrices:
    return Matrices(walk.queries, walk.rows.vectors, walk.batch.dims)


def _blocks(queries: int) -> int:
    """The number of blocks that score the rows of each query."""
    return max(1, BLOCKS * device.processors() // queries)
