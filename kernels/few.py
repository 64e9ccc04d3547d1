"""The whole search for a few queries in one call of compiled code: encode, scan, rank.

What a search takes besides its scan is then a few microseconds. Threads share the rows; each ranks its own,
and their exact rankings are merged.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from . import encode, log, refine, scan, screen, threads, topk
from .compile import inline, kernel, specialized
from .filters import Exclusions
from .log import COUNT, LIMIT, PASSED, SEEN, STALE
from .micro.record import MicroKernel
from .refine import Originals
from .rows import split
from .tiles import PANEL

CODES_AT_ONCE = 1 << 28
"""Bytes of codes that one call may read for all of its queries; it is not interrupted."""


class Outcome(NamedTuple):
    """What a search did."""

    left: np.ndarray
    """bool (m,): queries that the scan could not finish; their answers are not written. Without a screen, no
    exact scores help where the log is full (to have less to compile for a first search): ``scan`` may finish
    them."""
    candidates: int
    rescored: int
    screened: int
    passed: int
    stale: int
    """A row that is not the one that was encoded, or −1."""


def search(
    piece: scan.Piece,
    originals: Originals,
    metric: str,
    record: MicroKernel,
    exclusions: Exclusions,
    basis: screen.Basis | None,
    scores: np.ndarray,
    indices: np.ndarray,
    num_threads: int,
) -> Outcome:
    """Write the ranking of each query among the rows of a piece."""
    m, k, count = len(originals.squares), scores.shape[1], piece.stop - piece.start
    none = scores[:0], indices[:0]
    by_screen = basis is not None and piece.screened is not None
    rows: scan.Rows | screen.Rows = piece.screened if by_screen else piece.rows  # type: ignore[assignment]
    search_few = (_search_by_screen if by_screen else _search_by_codes)(record.name, metric)

    def part(run: tuple[int, int], scores: np.ndarray, indices: np.ndarray) -> _Part:
        found = _Part(topk.Heaps.empty(m, k), np.zeros(m, np.bool_), np.zeros(5, np.int64))
        dims, state = originals.dims, log.new_state(m, m, k, m * (run[1] - run[0]))
        room = encode.room_for(m, dims) if basis is None or not by_screen else screen.room_for(m, dims, basis)
        search_few(*run, rows, originals, exclusions, record.levels, room, state, found, scores, indices)
        return found

    if num_threads == 1:
        whole = part((piece.start, piece.stop), scores, indices)
        return Outcome(whole.left, *whole.counts.tolist())
    runs = [(piece.start + first, piece.start + last) for first, last in split(count, num_threads, PANEL)]
    done = threads.run(lambda run: part(run, *none), runs, num_threads, originals.held)
    topk.merge([part.heaps for part in done], np.arange(m), scores, indices)
    counts = np.sum([part.counts for part in done], axis=0)
    counts[4] = max(part.counts[4] for part in done)
    return Outcome(np.logical_or.reduce([part.left for part in done]), *counts.tolist())


class _Part(NamedTuple):
    """What one thread found."""

    heaps: topk.Heaps
    left: np.ndarray
    counts: np.ndarray
    """int64: candidates, rescored, screened, passed, stale."""


@specialized
def _search_by_codes(micro_kernel: str, metric: str) -> Callable[..., None]:
    @kernel
    def search_by_codes(start, stop, rows, originals, exclusions, levels, room, state, part, scores, indices):
        encode.encode_few(originals, levels, room)
        queries = room.queries
        reached = scan.walk_codes(
            micro_kernel, metric, "stop", start, stop, rows, queries, exclusions, originals, state
        )
        part.left[:] = reached < stop
        _rank(metric, originals, state, part, scores, indices)

    return search_by_codes


@specialized
def _search_by_screen(micro_kernel: str, metric: str) -> Callable[..., None]:
    @kernel
    def search_by_screen(
        start, stop, rows, originals, exclusions, levels, room, state, part, scores, indices
    ):
        screen.encode_few(originals, levels, room)
        queries = room.queries
        reached = scan.walk_screen(
            micro_kernel, metric, start, stop, rows, queries, exclusions, originals, state
        )
        if reached < stop:
            fine = queries.fine
            codes = rows.fine
            scan.walk_codes(
                micro_kernel, metric, "sharpen", reached, stop, codes, fine, exclusions, originals, state
            )
        refine.shorten(metric, originals, state)
        _rank(metric, originals, state, part, scores, indices)

    return search_by_screen


@inline
def _rank(metric, originals, state, part, scores, indices):
    """The exact ranking of each query among the survivors, published if there is room for it."""
    total, stale, scored = state.cursor[COUNT], state.cursor[STALE], 0
    query, row, lower, upper = state.query, state.row, state.lower, state.upper
    entries = np.empty(total, np.int64)
    for q in range(len(part.left)):
        size = 0
        for z in range(total):
            if query[z] == q and upper[z] >= state.root[q]:
                entries[size] = z
                size += 1
        if state.left[q] or size > state.cursor[LIMIT]:
            part.left[q] = True
        if part.left[q]:
            continue
        best, ranked = part.heaps.scores[q], part.heaps.rows[q]
        kept, taken, outside = refine.rank(
            metric, originals, q, entries[:size], row, lower, upper, best, ranked
        )
        part.heaps.sizes[q] = kept
        scored, stale = scored + taken, max(stale, outside)
        if len(scores) > 0:
            topk.sort(best, ranked, kept)
            topk.publish(best, ranked, kept, scores[q], indices[q])
    counts = part.counts
    counts[0], counts[1], counts[2] = total, scored, state.cursor[SEEN]
    counts[3], counts[4] = state.cursor[PASSED], stale
