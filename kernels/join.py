"""Pairs of rows that reach a score: blocks of left rows are the queries of a scan over the right rows.

    left rows, a block at a time    packed as queries
      right rows, run by run        of the same rows, those from the block's first on
        hits in a log               by a threshold that never moves  [scan.py]
          exact scores              some thousands at a time: pairs that reach the score

Threads share the blocks of left rows. A score has the same bits in both directions: products and squared
differences do not depend on the order of the two rows, and every sum has one order. So each pair is scored
once. Metrics without a bound have no hits: all their pairs get exact scores.

Groups of connected rows form a forest: each row has a parent, none has one above itself, so the root of a
tree is its lowest row. A pair whose rows have the same root connects nothing new, and is not scored. A thread
may look for roots while another one unites trees: what it finds were ancestors, so two rows with the same
one are connected.
"""

import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from . import direct, filters, log, metrics, refine, rows, scan, threads
from .compile import inline, kernel, specialized
from .direction import Direction
from .log import COUNT
from .matrix import Matrix, address, row_at
from .micro.record import MicroKernel
from .rescore import grouped
from .screen import Basis
from .tiles import CHUNK

_LEFT = 1024
"""Left rows of a block, at most; a block is scanned by one thread."""
_BLOCKS = 4
"""Blocks for each thread that are joined before their pairs are handed over."""
_ENTRIES, _PAIRS, _LEAST_PAIRS = 1 << 22, 1 << 22, 1 << 16
"""Hits that the logs of all threads may hold, and pairs of all blocks that are joined at a time; and pairs
that a block may have in any case."""
_SCORED = 1 << 16
"""Pairs that are scored in one call of a kernel, at most."""
_PACE_WORK = 1 << 27
"""Exact multiply-adds that take some hundredths of a second."""

_NO_FOREST = np.empty(0, np.int64)


class Left(NamedTuple):
    """A block of left rows."""

    numbers: np.ndarray
    """int64: rising numbers of the rows."""
    rows: np.ndarray
    """float32 (rows, dims), contiguous rows."""
    start: int
    """Where the right rows to be joined with them begin, as a source counts them."""


class Join(NamedTuple):
    """Left rows, right rows, and which pairs of them are sought."""

    left: Callable[[int, int], Left]
    """``left(first, last)`` returns those of the left rows."""
    lefts: int
    right: scan.Source
    rights: int
    vectors: Matrix
    """The float32 rows of the right side."""
    allowed: np.ndarray
    """bool, a right row each; empty if all are allowed."""
    itself: bool
    """Whether both sides are the same rows: then only pairs whose left row is the lower one are sought."""
    metric: str
    dims: int
    least: np.float32
    root: float
    """Below every float64 that rounds to ``least`` or more, but not by a whole float32."""
    changed: Callable[[int], Exception]
    """The error for a row that is not the one that was encoded."""
    record: MicroKernel
    basis: Basis | None
    direction: Direction | None
    num_threads: int


class Found(NamedTuple):
    """Pairs with their scores."""

    left: np.ndarray
    """int64; while a block is joined, int32 places in it."""
    right: np.ndarray
    score: np.ndarray


class _Sought(NamedTuple):
    """Of one block, what decides which pairs are kept."""

    numbers: np.ndarray
    itself: bool
    least: np.float32
    forest: np.ndarray
    """Pairs of rows with the same root are left out; empty: none are."""


def pairs(join: Join) -> Iterator[Found]:
    """All pairs, by their left and then by their right rows, in parts of bounded size.

    A block that has too many pairs is cut into smaller ones; a single left row may have any number.
    """
    full = _left_rows(join)
    at, height, group = 0, full, _BLOCKS * join.num_threads
    most = max(_LEAST_PAIRS, _PAIRS // group)
    while at < join.lefts and join.rights > 0:
        ends = range(at, min(join.lefts, at + height * group), height)
        tasks = [(first, min(first + height, join.lefts), most) for first in ends]
        done = threads.run(lambda task: _of_block(join, *task), tasks, join.num_threads)
        for (_, last, _), found in zip(tasks, done, strict=True):
            if found is None:
                height = max(1, height // 4)
                break
            at = last
            if len(found.left):
                yield found
        else:
            if all(found is not None and 8 * len(found.left) < most for found in done):
                height = min(full, 2 * height)


def unite(join: Join, forest: np.ndarray) -> None:
    """Unite the trees of rows that are pairs, in a forest of the int64 parent of each row."""
    lock = threading.Lock()

    def part(task: tuple[int, int]) -> None:
        for numbers, found in _found(join, *task, forest):
            with lock:
                _unite(numbers, found.left, found.right, forest)

    height = _left_rows(join)
    tasks = [(first, min(first + height, join.lefts)) for first in range(0, join.lefts, height)]
    threads.run(part, tasks, join.num_threads)


def roots(forest: np.ndarray) -> np.ndarray:
    """The root of each row's tree."""
    found = forest.copy()
    _find_roots(found)
    return found


def own_scores(vectors: Matrix, metric: str, dims: int, num_threads: int) -> np.ndarray:
    """The float32 score of each row with itself."""
    scores = np.empty(vectors.rows, np.float32)
    parts, score_rows = rows.blocks(vectors.rows, 4 * dims, num_threads), _score_rows(metric)
    threads.run(lambda part: score_rows(*part, vectors, dims, scores), parts, num_threads, vectors)
    return scores


def _left_rows(join: Join) -> int:
    """How many left rows a block has: enough blocks for all threads, and whole tiles in each."""
    tile, room = join.record.tile_queries, _room(join)
    most = scan.range_queries(join.record, _LEFT, join.dims, min(_LEFT, room // CHUNK))
    if join.metric not in metrics.BOUNDED:
        most = max(1, min(most, _most_scored(join)))
    share = -(-join.lefts // (2 * _BLOCKS * join.num_threads))
    return max(1, min(most, -(-share // tile) * tile))


def _room(join: Join) -> int:
    return max(1 << 18, min(log.CAPACITY, _ENTRIES // join.num_threads))


def _most_scored(join: Join) -> int:
    """How many pairs are scored in one call of a kernel."""
    return max(64, min(_SCORED, _PACE_WORK // join.dims))


def _of_block(join: Join, first: int, last: int, most: int) -> Found | None:
    """The pairs of a block of left rows, in order; None if there are more than ``most``, and several rows."""
    parts, total, numbers = [], 0, _NO_FOREST
    for numbers, found in _found(join, first, last, _NO_FOREST):  # noqa: B007
        total += len(found.left)
        if total > most and last - first > 1:
            return None
        parts.append(Found(*(array.copy() for array in found)))
    if not parts:
        return Found(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    place, right, score = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    order = grouped(place, len(numbers)).order  # the right rows of each left row rise already
    return Found(numbers[place[order]], right[order], score[order])


def _found(join: Join, first: int, last: int, forest: np.ndarray) -> Iterator[tuple[np.ndarray, Found]]:
    """The numbers of a block's left rows, and some of its pairs at a time; the next overwrite them."""
    left = join.left(first, last)
    squares = np.empty(len(left.rows))
    bad = rows.all_squares(left.rows, squares, 1)
    if bad >= 0:
        raise join.changed(int(left.numbers[bad]))
    originals = refine.originals(left.rows, squares, join.vectors, join.dims)
    sought = _Sought(left.numbers, join.itself, join.least, forest)
    score = _score_hits if join.metric in metrics.BOUNDED else _score_all
    for found in score(join, left, originals, sought):
        yield left.numbers, found


def _score_hits(join: Join, left: Left, originals: refine.Originals, sought: _Sought) -> Iterator[Found]:
    """Pairs among the hits of a scan."""
    record, total = join.record, join.rights - left.start
    asked = scan.packed(originals, record, record.tile_queries, 1, join.basis, join.direction)
    none = filters.Exclusions.none(len(left.rows))
    walk = scan.RangeWalk(asked, none, originals, join.root, join.metric, record, total)
    room, score_run = _empty(_most_scored(join)), _score_run(join.metric)
    for state in walk.over(join.right(left.start, join.rights)):
        count = int(state.cursor[COUNT])
        for start in range(0, count, len(room.left)):
            end = min(start + len(room.left), count)
            kept, stale = score_run(start, end, state, originals, sought, room)
            if stale >= 0:
                raise join.changed(stale)
            if kept:
                yield Found(*(array[:kept] for array in room))


def _score_all(join: Join, left: Left, originals: refine.Originals, sought: _Sought) -> Iterator[Found]:
    """Pairs among all pairs."""
    most = _most_scored(join)
    height = max(1, most // len(left.rows))
    room, score_block = _empty(height * len(left.rows)), _score_block(join.metric)
    begin = int(left.numbers[0]) if join.itself else 0
    for start, stop, block in join.vectors.runs(begin, join.vectors.rows):
        for at in range(start, stop, height):
            threads.check()
            end = min(at + height, stop)
            kept, stale = score_block(at, end, block, originals, join.allowed, sought, room)
            if stale >= 0:
                raise join.changed(stale)
            if kept:
                yield Found(*(array[:kept] for array in room))
            threads.advance(end - at, join.vectors.rows - begin)


def _empty(size: int) -> Found:
    return Found(np.empty(size, np.int32), np.empty(size, np.int64), np.empty(size, np.float32))


@specialized
def _score_run(metric: str) -> Callable[..., tuple[int, int]]:
    @kernel
    def score_run(start, stop, state, originals, sought, found):
        """Score entries of a log; return how many pairs reach the score, and a changed row, or −1."""
        numbers, itself, forest, dims = sought.numbers, sought.itself, sought.forest, originals.dims
        kept = 0
        for z in range(start, stop):
            if z + refine.AHEAD < stop:
                refine.prefetch_bytes(address(originals.vectors, state.row[z + refine.AHEAD]), 4 * dims)
            q, row = np.int64(state.query[z]), state.row[z]
            if itself and row <= numbers[q]:
                continue
            if len(forest) > 0 and _root(forest, numbers[q]) == _root(forest, row):
                continue
            query, x = originals.queries + q * originals.stride, address(originals.vectors, row)
            score = refine.exact(metric, query, originals.squares[q], x, dims)
            if not state.lower[z] <= score <= state.upper[z]:
                return kept, row
            if np.float32(score) >= sought.least:
                found.left[kept], found.right[kept] = q, row
                found.score[kept] = np.float32(score) + np.float32(0.0)
                kept += 1
        return kept, -1

    return score_run


@specialized
def _score_block(metric: str) -> Callable[..., tuple[int, int]]:
    @kernel
    def score_block(start, stop, block, originals, allowed, sought, found):
        """Score some right rows with all left rows; return as ``score_run`` does."""
        numbers, itself, forest, dims = sought.numbers, sought.itself, sought.forest, originals.dims
        kept, m = 0, len(numbers)
        for row in range(start, stop):
            if len(allowed) > 0 and not allowed[row]:
                continue
            x = row_at(block, row)
            squares = rows.sum_of_squares(x, dims)
            if not squares < np.inf:
                return kept, row
            for first in range(0, m, 4):
                if itself and row <= numbers[first]:
                    break
                count, q = min(4, m - first), _four(originals, first, m - 1)
                totals = direct.accumulate_row(metric, q, x, dims)
                for z in range(count):
                    number = numbers[first + z]
                    if itself and row <= number:
                        break
                    score = metrics.score(metric, totals[z], originals.squares[first + z], squares)
                    if np.float32(score) < sought.least:
                        continue
                    if len(forest) == 0 or _root(forest, number) != _root(forest, row):
                        found.left[kept], found.right[kept] = first + z, row
                        found.score[kept] = np.float32(score) + np.float32(0.0)
                        kept += 1
        return kept, -1

    return score_block


@specialized
def _score_rows(metric: str) -> Callable[..., None]:
    @kernel
    def score_rows(start, stop, vectors, dims, scores):
        for row in range(start, stop):
            x = address(vectors, row)
            squares = rows.sum_of_squares(x, dims)
            score = metrics.score(metric, direct.accumulate_row(metric, x, x, dims), squares, squares)
            scores[row] = np.float32(score) + np.float32(0.0)

    return score_rows


@inline
def _four(originals, first, last):
    """Where four left rows lie; beyond the last, where the last one lies."""
    at, stride = originals.queries, originals.stride
    return (
        at + first * stride,
        at + min(first + 1, last) * stride,
        at + min(first + 2, last) * stride,
        at + min(first + 3, last) * stride,
    )


@inline
def _root(forest, row):
    while forest[row] != row:
        row = forest[row]
    return row


@kernel
def _unite(numbers, left, right, forest):
    """Unite the trees of pairs; rows that are met become children of the root."""
    for z in range(len(left)):
        first, second = numbers[left[z]], right[z]
        a, b = _root(forest, first), _root(forest, second)
        low, high = min(a, b), max(a, b)
        forest[high] = low
        _lead(forest, first, low)
        _lead(forest, second, low)


@inline
def _lead(forest, row, root):
    """Make a row and those above it children of the root."""
    while row != root:
        above = forest[row]
        forest[row], row = root, above


@kernel
def _find_roots(forest):
    """Make every row a child of its root: parents are lower, and come first."""
    for row in range(len(forest)):
        forest[row] = forest[forest[row]]
