"""Thresholds before a scan: exact scores of k rows that are likely to be near.

A scan whose thresholds rise only as its rows go by lets several times as many rows pass the screen as one
that knows its thresholds from the start. Likely rows are found by their screen codes alone:

    few queries     the best estimates among all rows, whose integer scores are kept for the scan itself
    many queries    the neighbors of the pivots that are nearest to a query; pivots are rows, spread
                    evenly, whose neighbors were estimated when the rows were encoded

The k best of them, by their full codes, get their exact scores. The least of these is a threshold,
because k rows score no less.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from . import log, metrics, micro, refine, scorers, screen, simd, threads
from .bound import cosine_error
from .compile import inline, kernel, specialized
from .encode import SPARE_ROWS
from .filters import Exclusions, excluded
from .log import COUNT, State
from .matrix import address
from .micro.record import MicroKernel
from .refine import Originals
from .rows import split
from .tiles import CHUNK, PANEL, aligned_scores, log_tile, row_terms, upper_ends
from .topk import push

_WORK = 1 << 29
"""Multiply-adds that take less than a tenth of a second."""
_LIKELY = 1
"""How many times as many rows are likely by leading codes, which tell less."""
_PROBES = 8
"""Pivots whose neighbors are looked at, at least."""


class Pivots(NamedTuple):
    """Rows, spread evenly over a block, and which rows of the block are nearest to each."""

    rows: NamedTuple
    """``scan.Rows`` of their screen codes."""
    neighbors: np.ndarray
    """int32 (pivots, neighbors): row numbers within the block."""


def _room(k):
    """Estimates to keep for each query."""
    return k + min(3 * k, 96)


_room_of = inline(_room)


@inline
def raise_root(scorer, metric, rows, queries, originals, state, q, likely):
    """Raise a query's threshold by the exact scores of the k best, by full codes, of ``likely`` rows.

    Their lower ends serve where rows are not at hand.
    """
    fine, k = rows.fine, state.floor.shape[1]
    codes, stride, width = fine.codes.ctypes.data, fine.codes.strides[0], queries.codes.shape[1]
    query, score = queries.codes.ctypes.data + q * width, np.empty(16, np.int32)
    middles, best, size = np.empty(k), np.empty(k, np.int64), np.int64(0)
    lower, upper = np.empty(len(likely)), np.empty(len(likely))
    for z in range(len(likely)):
        refine.prefetch_bytes(codes + likely[z] * stride, width)
    for z in range(len(likely)):
        i, target = likely[z], score.ctypes.data
        scorers.call_row(scorer, codes + i * stride, stride, 1, query, width, queries.correction[q], target)
        cosine = np.float64(score[0]) * (queries.scale[q] * np.float64(fine.scale[i]))
        error = cosine_error(queries.error[q], np.float64(fine.error[i]))
        lower[z], upper[z] = metrics.interval(metric, cosine, error, queries.norm[q], fine.norm[i])
        size = push(middles, best, size, lower[z] + upper[z], z)
    if size < k:
        return
    if not refine.at_hand(originals):
        for z in best:
            lower[best[0]] = min(lower[best[0]], lower[z])
        state.root[q] = max(state.root[q], lower[best[0]])
        return
    for z in best:
        at = address(originals.vectors, fine.base + likely[z])
        refine.prefetch_bytes(at, 4 * originals.dims)
    asked, least = originals.queries + q * originals.stride, np.inf
    for z in best:
        row = fine.base + likely[z]
        at = address(originals.vectors, row)
        exact = refine.exact(metric, asked, originals.squares[q], at, originals.dims)
        least = min(least, refine.checked(exact, lower[z], upper[z], row, state.cursor))
    state.root[q] = max(state.root[q], least)


class Likely(NamedTuple):
    """Heaps of the best estimates of a few queries."""

    best: np.ndarray
    rows: np.ndarray
    sizes: np.ndarray


@inline
def likely_rows(state, by_leading):
    """Empty heaps."""
    m, most = len(state.root), _room_of(state.floor.shape[1])
    if by_leading:
        most *= _LIKELY
    return Likely(np.empty((m, most)), np.empty((m, most), np.int64), np.zeros(m, np.int64))


@inline
def offer_rows(chunk, count, q, scores, weights, scale, margin, likely, ends):
    """Upper ends of a chunk of rows by their integer scores with a query; offer their estimates.

    ``weights`` are P, that of margins in upper ends, and that in estimates. Estimates are divided by P, so
    that they are of one unit whatever rows they come from.
    """
    power, weight, other = weights
    best, rows, most = likely.best[q], likely.rows[q], likely.best.shape[1]
    size = likely.sizes[q]
    threshold = simd.broadcast16(np.float32(best[0] * power) if size == most else np.float32(-np.inf))
    upper, middle = simd.broadcast16(weight), simd.broadcast16(other)
    for group in range(0, count, 16):
        at = 4 * group
        s, e = simd.load16(scale.ctypes.data + at), simd.load16(margin.ctypes.data + at)
        here, above, between = scores.ctypes.data + at, simd.mul16(e, upper), simd.mul16(e, middle)
        bits = upper_ends(here, s, above, between, threshold, ends.ctypes.data + at)
        while bits != 0:
            j = group + simd.trailing_zeros(bits)
            bits &= bits - 1
            if j < count and margin[j] > -np.inf:
                value = np.float64(np.float32(scores[j]) * scale[j] + margin[j] * other) / power
                size = push(best, rows, size, value, chunk + j)
                if size == most:
                    threshold = simd.broadcast16(np.float32(best[0] * power))
    likely.sizes[q] = size


@inline
def from_likely(scorer, metric, rows, queries, exclusions, originals, state, q, likely, by_leading):
    """Raise a query's threshold by the likely rows, of leading codes by those that all codes find likely."""
    size, numbers = likely.sizes[q], likely.rows[q]
    if by_leading:
        k = state.floor.shape[1]
        most = k + min(k // 2 + 2, 96)
        size = best_by_screen(scorer, metric, rows.coarse, queries.coarse, q, numbers, size, most)
    size = _without_excluded(rows, exclusions, q, numbers, size)
    raise_root(scorer, metric, rows, queries.fine, originals, state, q, numbers[:size])


@inline
def best_by_screen(scorer, metric, coarse, packed, q, likely, count, most):
    """Of ``count`` row numbers, keep those of the best estimates by the screen; return how many."""
    codes, stride, width = coarse.codes.ctypes.data, coarse.codes.strides[0], packed.codes.shape[1]
    query, estimates, score = packed.codes.ctypes.data + q * width, np.empty(count), np.empty(16, np.int32)
    for z in range(count):
        refine.prefetch_bytes(codes + likely[z] * stride, width)
    for z in range(count):
        i, target = likely[z], score.ctypes.data
        scorers.call_row(scorer, codes + i * stride, stride, 1, query, width, packed.correction[q], target)
        cosine = np.float64(score[0]) * packed.scale[q] * np.float64(coarse.scale[i])
        estimates[z] = metrics.interval(metric, cosine, 0.0, packed.norm[q], coarse.norm[i])[1]
    least, size = -np.inf, np.int64(0)
    if count > most:  # a heap, as np.partition takes seconds to compile
        values, places, kept = np.empty(most), np.empty(most, np.int64), np.int64(0)
        for z in range(count):
            kept = push(values, places, kept, estimates[z], z)
        least = values[0]
    for z in range(count):
        if estimates[z] >= least:
            likely[size] = likely[z]
            size += 1
    return size


@inline
def _without_excluded(rows, exclusions, q, likely, size):
    kept = np.int64(0)
    for z in range(size):
        if not excluded(exclusions, q, rows.fine.base + likely[z]):
            likely[kept] = likely[z]
            kept += 1
    return kept


class Nearest(NamedTuple):
    """Heaps of the best estimates of m queries."""

    values: np.ndarray
    rows: np.ndarray
    sizes: np.ndarray


def nearest(
    rows: NamedTuple, count: int, queries: screen.ScreenQueries, most: int, metric: str, record: MicroKernel
) -> Nearest:
    """The ``most`` of ``count`` rows of a screen that are nearest to each query, by estimates."""
    m, lanes = len(queries.tail), len(queries.coarse.correction)
    heaps = Nearest(np.empty((m, most)), np.zeros((m, most), np.int64), np.zeros(m, np.int64))
    state = log.with_room(m, lanes, 0, _HITS + record.tile_rows * record.tile_queries)
    step = max(PANEL, _WORK // (m * queries.coarse.codes.shape[1]) // PANEL * PANEL)
    for start in range(0, count, step):
        threads.check()
        stop = min(start + step, count)
        _nearest(record.name, metric)(
            start, stop, rows, queries, state, heaps, record.tile_rows, record.tile_queries
        )
    return heaps


def nearest_in_parts(
    rows: NamedTuple,
    count: int,
    queries: screen.ScreenQueries,
    most: int,
    metric: str,
    record: MicroKernel,
    num_threads: int,
) -> np.ndarray:
    """``nearest`` by several threads, each for some of the queries; only the numbers of the rows."""

    def part(run: tuple[int, int]) -> np.ndarray:
        return nearest(rows, count, queries.part(*run), most, metric, record).rows

    parts = split(len(queries.tail), num_threads, record.tile_queries)
    return np.concatenate(threads.run(part, parts, num_threads))


_HITS = 2048


@specialized
def _nearest(micro_kernel: str, metric: str) -> Callable[..., None]:
    @kernel
    def nearest_tiles(start, stop, rows, queries, state, heaps, tile_rows, tile_queries):
        micro.begin(micro_kernel)
        coarse = queries.coarse
        width, m = coarse.codes.shape[1], len(coarse.scale)
        codes, stride = rows.codes.ctypes.data, rows.codes.strides[0]
        scale, margin = np.empty(CHUNK + SPARE_ROWS, np.float32), np.empty(CHUNK + SPARE_ROWS, np.float32)
        scores = aligned_scores(tile_rows * tile_queries)
        for chunk in range(start, stop, CHUNK):
            count = min(CHUNK, stop - chunk)
            power = row_terms(metric, chunk, count, rows, scale, margin)[0]
            for q in range(m):
                full = heaps.sizes[q] == heaps.values.shape[1]
                state.threshold[q] = heaps.values[q, 0] * power if full else -np.inf
                state.weight[q] = screen.estimate_weight(metric, queries, q, power)
            for panel in range(0, count, PANEL):
                end = min(panel + PANEL, count)
                for q in range(0, len(coarse.correction), tile_queries):
                    packed = coarse.packed.ctypes.data + q * width
                    corrections, lanes = coarse.correction.ctypes.data + 4 * q, min(tile_queries, m - q)
                    for r in range(panel, end, tile_rows):
                        at, blocks = codes + (chunk + r) * stride, (lanes + 15) // 16
                        micro.tile(
                            micro_kernel,
                            at,
                            stride,
                            packed,
                            blocks,
                            width // 4,
                            corrections,
                            scores.ctypes.data,
                        )
                        for lane in range(0, lanes, 16):
                            log_tile(
                                chunk,
                                r,
                                end,
                                q,
                                lane,
                                tile_rows,
                                4 * tile_queries,
                                scale,
                                margin,
                                scores,
                                state,
                            )
                        if state.cursor[COUNT] >= _HITS:
                            _push_estimates(chunk, power, scale, margin, state, heaps)
            _push_estimates(chunk, power, scale, margin, state, heaps)
        micro.end(micro_kernel)

    return nearest_tiles


@inline
def _push_estimates(chunk, power, scale, margin, state, heaps):
    """Empty the log of hits into the heaps; raise thresholds."""
    most = heaps.values.shape[1]
    for z in range(state.cursor[COUNT]):
        q, j = np.int64(state.query[z]), state.row[z] - chunk
        if margin[j] == -np.inf:
            continue
        value = np.float64(np.float32(state.score[z]) * scale[j] + margin[j] * state.weight[q]) / power
        size = push(heaps.values[q], heaps.rows[q], heaps.sizes[q], value, state.row[z])
        heaps.sizes[q] = size
        if size == most:
            state.threshold[q] = heaps.values[q, 0] * power
    state.cursor[COUNT] = 0


def from_pivots(
    rows: screen.Rows,
    pivots: Pivots,
    queries: screen.ScreenQueries,
    exclusions: Exclusions,
    originals: Originals,
    state: State,
    metric: str,
    record: MicroKernel,
) -> None:
    """Raise the thresholds of a scan by the neighbors of the pivots nearest to each query."""
    count, width = pivots.neighbors.shape
    probes = max(_PROBES, -(-4 * _room(state.floor.shape[1]) // width))
    if probes > count:
        return
    heaps = nearest(pivots.rows, count, queries, probes, metric, record)
    m = len(queries.tail)
    step = max(1, _WORK // (probes * width * (queries.coarse.codes.shape[1] + 256)))
    for first in range(0, m, step):
        threads.check()
        last, scorer = min(first + step, m), scorers.scorer(record.name)
        _from_pivots(metric)(first, last, rows, pivots, heaps, queries, exclusions, originals, state, scorer)


@specialized
def _from_pivots(metric: str) -> Callable[..., None]:
    @kernel
    def seeds_from_pivots(start, stop, rows, pivots, heaps, queries, exclusions, originals, state, scorer):
        coarse, packed = rows.coarse, queries.coarse
        lists = heaps.rows.shape[1] * pivots.neighbors.shape[1]
        likely, slots = np.empty(lists, np.int64), np.empty(_slots_for(lists), np.int64)
        most = _room_of(state.floor.shape[1])
        for q in range(start, stop):
            count = np.int64(0)
            slots[:] = -1
            for z in range(heaps.sizes[q]):
                for i in pivots.neighbors[heaps.rows[q, z]]:
                    closed = len(coarse.allowed) > 0 and not coarse.allowed[coarse.base + i]
                    if not closed and _is_new(slots, np.int64(i)):
                        likely[count] = i
                        count += 1
            size = best_by_screen(scorer, metric, coarse, packed, q, likely, count, most)
            size = _without_excluded(rows, exclusions, q, likely, size)
            raise_root(scorer, metric, rows, queries.fine, originals, state, q, likely[:size])

    return seeds_from_pivots


@inline
def _slots_for(count):
    """Slots of a hash table that holds ``count`` numbers, a power of two."""
    size = 64
    while size < 2 * count:
        size *= 2
    return size


@inline
def _is_new(slots, number):
    """Enter a row number into a hash table of free slots (−1); return whether it was not there."""
    at = (number * 0x9E3779B1 >> 8) & (len(slots) - 1)
    while slots[at] != -1:
        if slots[at] == number:
            return False
        at = (at + 1) & (len(slots) - 1)
    slots[at] = number
    return True
