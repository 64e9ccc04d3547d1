"""The whole search for a few queries in one call of compiled code: encode, scan, rank.

What a search takes besides its scan is then a few microseconds: rows and memory are written down once and
passed as addresses (``native.py``), and a thread keeps its memory for the next search. Threads share the
rows; each ranks its own, and their exact rankings are merged.
"""

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import direction, encode, log, matrix, refine, scan, scorers, screen, threads, topk
from .compile import inline, kernel, specialized
from .filters import Exclusions
from .log import COUNT, LIMIT, PASSED, SEEN, STALE
from .micro.record import MicroKernel
from .native import Layout, Native
from .rows import split, sum_of_squares
from .tiles import PANEL

CODES_AT_ONCE = 1 << 28
"""Bytes of codes that one call may read for all of its queries; it is not interrupted."""
MOST_PIECES = 8
"""Pieces of rows: each is searched by itself, and finds its own thresholds."""
_KEPT_BYTES, _KEPT_SIZES = 1 << 23, 4
"""The largest log of hits whose memory a thread keeps, and how many sizes of memory it keeps."""
_EXCLUDED = 16
"""Rows for a query that memory has room to exclude."""


class Outcome(NamedTuple):
    """What a search did."""

    scores: np.ndarray
    """float32 (m, k), and int64: the answers."""
    indices: np.ndarray
    left: np.ndarray
    """bool (m,): queries that the scan could not finish, whose answers are missing; empty if there are none.
    Without a screen, no exact scores help where the log is full (to have less to compile for a first search):
    ``scan`` may finish them."""
    candidates: int
    rescored: int
    screened: int
    passed: int
    stale: int
    """A row that is not the one that was encoded, or −1."""


class Ready(NamedTuple):
    """A piece of rows, written down for any number of searches."""

    start: int
    stop: int
    rows: Native
    """Without a filter: that is in ``Whole``."""
    basis: screen.Basis | None
    """Of the screen, if the rows are searched by one."""
    along: direction.Direction | None
    """Of the codes, if they have one; then there is no screen."""


class Whole(NamedTuple):
    """What the pieces have in common."""

    vectors: matrix.Matrix
    allowed: np.ndarray
    """As in ``scan.Rows``."""


class _Memory(NamedTuple):
    """What one thread needs for a search."""

    queries: np.ndarray
    squares: np.ndarray
    exclusions: Exclusions
    """Room for a few runs of a few rows."""
    coder: encode.Room | screen.Basis
    """What queries are encoded with: memory, or the basis of a screen."""
    state: log.State
    cursor: np.ndarray
    """Of the state, as it begins."""
    heaps: topk.Heaps
    left: np.ndarray
    counts: np.ndarray
    """int64: candidates, rescored, screened, passed, stale, how many queries are left."""
    scores: np.ndarray
    indices: np.ndarray


def _example(by_screen: bool) -> _Memory:
    basis = screen.measured(np.zeros((1, 64), np.float32))
    return _new_memory(1, 1, 1, 0, basis if by_screen else encode.room_for(1, 1))


def _example_rows() -> scan.Rows:
    return scan.rows_of(encode.empty(0, 1), 0)


def _example_screen() -> screen.Rows:
    rows = _example_rows()
    return screen.Rows(rows, np.empty(0, np.float32), 0.0, 0.0, 0.0, rows, screen.NO_LEADING, 0.0)


_ROWS, _SCREEN = Layout(_example_rows), Layout(_example_screen)
_EXCLUSIONS = Layout(lambda: Exclusions.of_runs(np.zeros(2, np.int64), np.empty(0, np.int64)))
_WHOLE = Layout(lambda: Whole(matrix.Matrix(*np.zeros((3, 1), np.int64)), np.empty(0, np.bool_)))
_MEMORY, _SCREEN_MEMORY = Layout(lambda: _example(False)), Layout(lambda: _example(True))


def ready(
    piece: scan.Piece,
    known: Ready | None,
    basis: screen.Basis | None,
    along: direction.Direction | None,
) -> Ready:
    """A piece written down; it is searched by its screen if it has one.

    What is ``known`` is used again if only rows were appended since, in the room of the same arrays.
    """
    own_basis = None if piece.screened is None else basis
    if known is not None and known.basis is own_basis:
        rows: Any = known.rows.record if own_basis is None else known.rows.record.fine
        if rows.error is piece.rows.error and rows.base == piece.rows.base:
            return known._replace(start=piece.start, stop=piece.stop)
    rows = _ROWS.of(piece.rows) if own_basis is None else _SCREEN.of(piece.screened)
    return Ready(piece.start, piece.stop, rows, own_basis, along)


def whole(vectors: matrix.Matrix, allowed: np.ndarray) -> Native:
    """``Whole``, written down."""
    return _WHOLE.of(Whole(vectors, allowed))


def search(
    pieces: Sequence[Ready],
    whole: Native,
    queries: np.ndarray,
    k: int,
    metric: str,
    record: MicroKernel,
    exclusions: Exclusions,
    num_threads: int,
) -> Outcome:
    """The ranking of each query, float32 (m, dims), among rows that are ready, in one piece or several."""
    (m, dims), one = queries.shape, pieces[0]
    excluded = _nothing() if len(exclusions.rows) == 0 else None  # None: copied to each thread's memory
    if len(exclusions.mask) > 0 or len(exclusions.rows) > _EXCLUDED * m:
        excluded = _EXCLUSIONS.of(exclusions)

    def part(ready: Ready, first: int, last: int, publish: int) -> Any:
        coding = ready.basis or ready.along
        size = m, dims, k, 1 << (m * (last - first)).bit_length(), id(coding)
        own = _taken(size, coding)
        memory = own.native.record
        memory.queries[:], hidden = queries, excluded or own.exclusions
        if ready.along is not None:
            direction.fill(own.room, memory.queries, record.levels, ready.along)
        if excluded is None:
            memory.exclusions.offsets[:] = exclusions.offsets
            memory.exclusions.rows[: len(exclusions.rows)] = exclusions.rows
        search_few = (_search_by_codes if ready.basis is None else _search_by_screen)(metric)
        at = (ready.rows.at, whole.at, hidden.at, scorers.scorer(record.name), record.levels, own.native.at)
        if not search_few(first, last, *at, publish):
            raise encode.changed()
        *counts, left = memory.counts.tolist()
        leaves = memory.left.copy() if left else _NONE_LEFT
        if publish:
            found: Any = Outcome(memory.scores.copy(), memory.indices.copy(), leaves, *counts)
        else:
            found = topk.Heaps(*(array.copy() for array in memory.heaps)), leaves, counts
        _give_back(own, size)
        return found

    if num_threads == 1 and len(pieces) == 1:
        outcome: Outcome = part(one, one.start, one.stop, 1)
        return outcome
    rows = sum(piece.stop - piece.start for piece in pieces)
    runs = [
        (piece, piece.start + first, piece.start + last, 0)
        for piece in pieces
        for first, last in split(
            piece.stop - piece.start, -(-num_threads * (piece.stop - piece.start) // rows), PANEL
        )
    ]
    done = threads.run(lambda run: part(*run), runs, num_threads)
    scores, indices = np.empty((m, k), np.float32), np.empty((m, k), np.int64)
    topk.merge([heaps for heaps, _, _ in done], np.arange(m), scores, indices)
    left = np.logical_or.reduce([leaves for _, leaves, _ in done if len(leaves)] or [_NONE_LEFT])
    *numbers, stale = zip(*(counts for _, _, counts in done), strict=True)
    candidates, rescored, screened, passed = map(sum, numbers)
    return Outcome(scores, indices, left, candidates, rescored, screened, passed, max(stale))


_NONE_LEFT = np.empty(0, np.bool_)


@functools.cache
def _nothing() -> Native:
    """No exclusions, of so few queries."""
    return _EXCLUSIONS.of(Exclusions.none(scan.FEW))


class _Own(NamedTuple):
    """Memory of one thread, written down."""

    native: Native
    exclusions: Native
    room: encode.Room
    """Where queries are encoded if codes have a direction."""
    coding: "_Coding"
    keep: bool
    """Whether it is small enough to be kept."""


_Coding = screen.Basis | direction.Direction | None
"""What rows are coded with, besides themselves."""


class _Kept(threading.local):
    """What a thread keeps: one piece of memory of each of the last few sizes."""

    def __init__(self) -> None:
        self.memory: dict[tuple[int, ...], _Own] = {}


_kept = _Kept()


_Size = tuple[int, int, int, int, int]
"""Queries, dimensions, neighbors, the most hits, and the ``id`` of the coding."""


def _taken(size: _Size, coding: _Coding) -> _Own:
    """Memory of this size; what a thread keeps is used by one search at a time.

    A signal's handler may search while a search of its thread is under way: it finds nothing kept.
    """
    own = _kept.memory.pop(size, None)
    if own is not None:
        return own
    m, dims, k, hits, _ = size
    by_screen, along = isinstance(coding, screen.Basis), None
    room = encode.room_for(m, dims)
    if isinstance(coding, direction.Direction):
        along, room = coding, encode.room_for(m, direction.width(dims, coding))
    coder: Any = coding if by_screen else direction.full(room) if along else room
    memory = _new_memory(m, dims, k, hits, coder)
    layout = _SCREEN_MEMORY if by_screen else _MEMORY
    keep = log.nbytes(memory.state) <= _KEPT_BYTES
    return _Own(layout.of(memory), _EXCLUSIONS.of(memory.exclusions), room, coding, keep)


def _give_back(own: _Own, size: _Size) -> None:
    """Keep memory of one search for the next of its size."""
    kept = _kept.memory
    if own.keep:
        kept[size] = own  # it holds what it is coded with, so nothing else has its id
        if len(kept) > _KEPT_SIZES:
            kept.pop(next(iter(kept)), None)


def _new_memory(m: int, dims: int, k: int, hits: int, coder: encode.Room | screen.Basis) -> _Memory:
    state = log.new_state(m, m, k, hits)
    return _Memory(
        np.empty((m, dims), np.float32),
        np.empty(m),
        Exclusions.of_runs(np.zeros(m + 1, np.int64), np.empty(_EXCLUDED * m, np.int64)),
        coder,
        state,
        state.cursor.copy(),
        topk.Heaps.empty(m, k),
        np.zeros(m, np.bool_),
        np.zeros(6, np.int64),
        np.empty((m, k), np.float32),
        np.empty((m, k), np.int64),
    )


_read_rows, _read_screen, _read_exclusions = _ROWS.read, _SCREEN.read, _EXCLUSIONS.read
_read_whole = _WHOLE.read
_read_memory, _read_screen_memory = _MEMORY.read, _SCREEN_MEMORY.read


@specialized
def _search_by_codes(metric: str) -> Callable[..., bool]:
    @kernel
    def search_by_codes(start, stop, rows_at, whole_at, exclusions_at, scorer, levels, memory_at, publish):
        rows, whole = _read_rows(rows_at), _read_whole(whole_at)
        exclusions, memory = _read_exclusions(exclusions_at), _read_memory(memory_at)
        codes = scan.Rows(
            rows.codes, rows.base, rows.scale, rows.error, rows.norm, rows.whole, whole.allowed, rows.ids
        )
        originals = _originals(memory, whole.vectors)
        if not _begin(originals, memory):
            return False
        state, room = memory.state, memory.coder
        encode.encode_few(originals, levels, room)
        queries = room.queries
        reached = scan.walk_codes(
            scorer, metric, "stop", start, stop, codes, queries, exclusions, originals, state
        )
        for q in range(len(memory.left)):
            memory.left[q] = reached < stop
        _rank(metric, originals, state, memory, publish)
        return True

    return search_by_codes


@specialized
def _search_by_screen(metric: str) -> Callable[..., bool]:
    @kernel
    def search_by_screen(start, stop, rows_at, whole_at, exclusions_at, scorer, levels, memory_at, publish):
        rows, whole = _read_screen(rows_at), _read_whole(whole_at)
        exclusions, memory = _read_exclusions(exclusions_at), _read_screen_memory(memory_at)
        coarse, codes = _of_allowed(rows.coarse, whole.allowed), _of_allowed(rows.fine, whole.allowed)
        limits = rows.skew, rows.most, rows.most_leading
        rows = screen.Rows(coarse, rows.slack, *limits, codes, rows.leading, rows.leading_skew)
        originals = _originals(memory, whole.vectors)
        if not _begin(originals, memory):
            return False
        state = memory.state
        queries = screen.encode_few(originals, levels, memory.coder)
        reached = scan.walk_screen(scorer, metric, start, stop, rows, queries, exclusions, originals, state)
        if reached < stop:
            fine = queries.whole.fine
            scan.walk_codes(
                scorer, metric, "sharpen", reached, stop, codes, fine, exclusions, originals, state
            )
        refine.shorten(metric, originals, state)
        _rank(metric, originals, state, memory, publish)
        return True

    return search_by_screen


@inline
def _of_allowed(rows, allowed):
    """Rows of which only those ``allowed`` may be returned."""
    return scan.Rows(rows.codes, rows.base, rows.scale, rows.error, rows.norm, rows.whole, allowed, rows.ids)


@inline
def _originals(memory, vectors):
    queries = memory.queries
    return refine.Originals(
        queries.ctypes.data, queries.strides[0], memory.squares, vectors, queries.shape[1]
    )


@inline
def _begin(originals, memory):
    """Make memory as it is before a search; return whether all queries are finite."""
    log.begin(memory.state, memory.cursor)
    for q in range(len(memory.left)):
        memory.left[q], memory.heaps.sizes[q] = False, 0
        squares = sum_of_squares(originals.queries + q * originals.stride, originals.dims)
        if not squares < np.inf:
            return False
        memory.squares[q] = squares
    return True


@inline
def _rank(metric, originals, state, memory, publish):
    """The exact ranking of each query among the survivors, published if that is asked for."""
    total, stale, scored = state.cursor[COUNT], state.cursor[STALE], 0
    query, row, lower, upper = state.query, state.row, state.lower, state.upper
    entries, left, finished = np.empty(total, np.int64), memory.left, 0
    for q in range(len(left)):
        size = 0
        for z in range(total):
            if query[z] == q and upper[z] >= state.root[q]:
                entries[size] = z
                size += 1
        if state.left[q] or size > state.cursor[LIMIT]:
            left[q] = True
        if left[q]:
            continue
        finished += 1
        best, ranked = memory.heaps.scores[q], memory.heaps.rows[q]
        kept, taken, outside = refine.rank(
            metric, originals, q, entries[:size], row, lower, upper, best, ranked
        )
        memory.heaps.sizes[q] = kept
        scored, stale = scored + taken, max(stale, outside)
        if publish:
            topk.sort(best, ranked, kept)
            topk.publish(best, ranked, kept, memory.scores[q], memory.indices[q])
    counts = memory.counts
    counts[0], counts[1], counts[2] = total, scored, state.cursor[SEEN]
    counts[3], counts[4], counts[5] = state.cursor[PASSED], stale, len(left) - finished
