"""Tiles of integer scores, compared with thresholds; hits to a log; survivors out of it.

    rows, 2,048 at a time     float32 terms of each row (a row that is filtered out, or past
      |                       the end, gets a margin of −inf, so it never passes)
      panels of 128 rows      stay in the second-level cache while all queries pass
        tiles                 scores by the micro-kernel, one compare for 16 queries
          hits                (query, row, integer score) appended to one log
    every 2,048 hits          the log is drained: thresholds rise (``log.py``)

Why each test is safe: ``bound.py``.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from . import log, metrics, micro, simd, threads
from .compile import inline, kernel, specialized
from .encode import SPARE_ROWS, Encoded, Queries, pack, padded, unit_scale
from .filters import Exclusions
from .log import State, Survivors
from .micro.record import MicroKernel
from .rows import split

_CHUNK, _PANEL = 2048, 128
_FEW = 2
"""Queries that are scanned row by row, at most."""
_PACE_WORK = 1 << 29
"""Multiply-adds that take less than a tenth of a second, of the direct pass."""

_ALL, _CONSECUTIVE = np.empty(0, np.bool_), np.empty(0, np.int64)


class Rows(NamedTuple):
    """Encoded rows as a kernel sees them; ``base`` is the number of the first in the whole."""

    codes: np.ndarray
    """uint8 (rows, width), of one type for kernels whether it may be written to or not."""
    base: int
    scale: np.ndarray
    error: np.ndarray
    norm: np.ndarray
    whole: np.ndarray
    allowed: np.ndarray
    """bool a row of the whole, or empty if all are allowed."""
    ids: np.ndarray
    """Numbers in the whole of rows that are not consecutive, else empty."""


Source = Callable[[int, int], Iterator[tuple[int, int, Rows]]]
"""``source(start, stop)`` yields (first, last + 1, rows) that together are those rows of the whole."""


def scan(
    n: int,
    source: Source,
    queries: np.ndarray,
    k: int,
    metric: str,
    record: MicroKernel,
    exclusions: Exclusions,
    num_threads: int,
    *,
    encoded: bool,
) -> Survivors:
    """All rows of n that may be among the k best of each query (float32, all finite).

    ``encoded`` says that the source may be walked by every thread at no cost.
    """
    (m, dims), most = queries.shape, log.queries_at_once(k)
    by_row = m <= _FEW or most < 16
    least = max(1, min(most, _FEW)) if by_row else min(record.tile_queries, most // 16 * 16)
    packed = pack(queries, record.levels, 0 if by_row else record.tile_queries, num_threads)
    step, most = _steps(record, m, dims, least, most)
    share_queries = encoded and m >= 2 * num_threads * record.tile_queries
    # Threads share the queries where each gets some tiles of them: one threshold a query.
    query_parts = split(m, max(-(-m // most), num_threads if share_queries else 1), least)
    row_parts = split(n, 1 if share_queries else num_threads, _PANEL)
    kernel_of = _scan_rows if by_row else _scan_tiles

    def part(task: tuple[tuple[int, int], tuple[int, int]]) -> tuple[int, State]:
        (first, last), (start, stop) = task
        mine = _slice(packed, first, last)
        pairs = (last - first) * (stop - start)
        state = log.new_state(last - first, len(mine.correction), k, pairs)
        cut = exclusions.part(first, last)
        # Few queries take as long as reading the codes, which may come from a disk.
        work = dims * max(0.5, (last - first) / record.speed)
        for begin, end, block in source(start, stop):
            for run in threads.paced(begin, end, step, work, stop - start):
                kernel_of(record.name, metric)(
                    *run, block, mine, cut, state, record.tile_rows, record.tile_queries
                )
        log.compact_log(state)
        return first, log.filled(state)

    tasks = [(q, r) for q in query_parts for r in row_parts]
    return log.join(threads.run(part, tasks, num_threads), m)


def scan_range(
    n: int,
    source: Source,
    queries: np.ndarray,
    root: float,
    metric: str,
    record: MicroKernel,
    exclusions: Exclusions,
    num_threads: int,
) -> Survivors:
    """All rows of n whose score may reach ``root``, for each query.

    Threads share the rows. The log is emptied after every block of them, so what is found
    may be any number; a block is as large as the log can take if everything is a hit.
    """
    (m, dims), tile = queries.shape, record.tile_queries
    packed = pack(queries, record.levels, tile, num_threads)
    pairs = min(log.CAPACITY, int(record.speed * _PACE_WORK) // padded(dims))
    height = _PANEL * max(1, pairs // (_PANEL * max(tile, m)))
    most = max(tile, pairs // height // tile * tile)

    def part(task: tuple[tuple[int, int], tuple[int, int]]) -> list[tuple[int, State]]:
        (first, last), (start, stop) = task
        mine, cut = _slice(packed, first, last), exclusions.part(first, last)
        found = []
        for begin, end, block in source(start, stop):
            for at in range(begin, end, height):
                threads.check()
                upto = min(at + height, end)
                state = log.fixed_state(
                    last - first, len(mine.correction), root, (upto - at) * len(mine.correction)
                )
                _scan_tiles(record.name, metric)(at, upto, block, mine, cut, state, record.tile_rows, tile)
                found.append((first, log.filled(state)))
                threads.advance(upto - at, stop - start)
        return found

    tasks = [(q, r) for q in split(m, -(-m // most), tile) for r in split(n, num_threads, _PANEL)]
    return log.join([entry for found in threads.run(part, tasks, num_threads) for entry in found], m)


def _steps(record: MicroKernel, m: int, dims: int, least: int, most: int) -> tuple[int, int]:
    """Rows of the shortest run of a scan, and queries, up to ``most``, for which it takes a pace at most.

    ``least`` is what queries are cut to multiples of; a run is a chunk, of wide rows a panel.
    """
    width, work = padded(dims), int(record.speed * _PACE_WORK)
    if m * _CHUNK * width <= work:
        return _CHUNK, max(least, most // least * least)
    step = _CHUNK if _CHUNK * least * width <= work else _PANEL
    return step, max(least, min(most, work // (step * width)) // least * least)


def rows_of(encoded: Encoded, base: int, allowed: np.ndarray = _ALL, ids: np.ndarray = _CONSECUTIVE) -> Rows:
    """Encoded rows as a kernel sees them."""
    codes = encoded.codes
    if not codes.flags.writeable:  # mapped from a file; kernels have one version, and only read
        codes = np.asarray(_Writable(codes))
    terms = (encoded.scale, encoded.error, encoded.norm, encoded.whole)
    return Rows(codes, base, *terms, allowed, ids)


class _Writable:
    """An array that says that it may be written to, and is held by the arrays that NumPy makes of it."""

    def __init__(self, array: np.ndarray) -> None:
        self.held = array
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def _slice(queries: Queries, first: int, last: int) -> Queries:
    """Queries of one part; what is packed begins and ends at the border of a block of 16."""
    end = -(-last // 16) * 16
    width = queries.codes.shape[1]
    return Queries(
        queries.codes[first:last],
        queries.packed[first * width : end * width],
        queries.correction[first:end],
        queries.scale[first:last],
        queries.error[first:last],
        queries.norm[first:last],
    )


@specialized
def _scan_tiles(micro_kernel: str, metric: str) -> Callable[..., None]:
    @kernel
    def scan_tiles(start, stop, rows, queries, exclusions, state, tile_rows, tile_queries):
        micro.begin(micro_kernel)
        width = queries.codes.shape[1]
        codes, stride = rows.codes.ctypes.data, rows.codes.strides[0]
        scale, margin = np.empty(_CHUNK + SPARE_ROWS, np.float32), np.empty(_CHUNK + SPARE_ROWS, np.float32)
        scores = _aligned_scores(tile_rows * tile_queries)
        line, drain = 4 * tile_queries, log.hits_to_drain(state)
        for chunk in range(start, stop, _CHUNK):
            count = min(_CHUNK, stop - chunk)
            limits = _row_terms(metric, chunk, count, rows, scale, margin)
            log.set_thresholds(metric, queries, state, limits)
            for panel in range(0, count, _PANEL):
                end = min(panel + _PANEL, count)
                ahead = codes + (chunk + end) * stride
                lines = _lines_a_tile(stride, tile_rows, -(-len(queries.correction) // tile_queries))
                for q in range(0, len(queries.correction), tile_queries):
                    packed = queries.packed.ctypes.data + q * width
                    corrections = queries.correction.ctypes.data + 4 * q
                    lanes = min(tile_queries, len(queries.scale) - q)
                    for r in range(panel, end, tile_rows):
                        for _ in range(lines):
                            simd.prefetch(ahead)
                            ahead += 64
                        at, out = codes + (chunk + r) * stride, scores.ctypes.data
                        blocks = (lanes + 15) // 16
                        micro.tile(micro_kernel, at, stride, packed, blocks, width // 4, corrections, out)
                        for lane in range(0, lanes, 16):
                            _log_tile(chunk, r, end, q, lane, tile_rows, line, scale, margin, scores, state)
                        if state.cursor[0] - state.cursor[1] >= drain:
                            log.drain(metric, rows, queries, exclusions, state, limits)
            log.drain(metric, rows, queries, exclusions, state, limits)
        micro.end(micro_kernel)

    return scan_tiles


@inline
def _aligned_scores(size):
    """A tile's scores at a multiple of 64 bytes."""
    memory = np.empty(size + 16, np.int32)
    first = (-memory.ctypes.data % 64) // 4
    return memory[first : first + size]


@inline
def _lines_a_tile(stride, tile_rows, query_tiles):
    """Cache lines of the next panel to ask for at every tile of this one."""
    tiles = max(1, query_tiles * ((_PANEL + tile_rows - 1) // tile_rows))
    return (_PANEL * stride // 64 + tiles - 1) // tiles


@specialized
def _scan_rows(micro_kernel: str, metric: str) -> Callable[..., None]:
    @kernel
    def scan_rows(start, stop, rows, queries, exclusions, state, _tile_rows, _tile_queries):
        width = queries.codes.shape[1]
        codes, stride = rows.codes.ctypes.data, rows.codes.strides[0]
        scale, margin = np.empty(_CHUNK + SPARE_ROWS, np.float32), np.empty(_CHUNK + SPARE_ROWS, np.float32)
        scores, drain = np.empty(64, np.int32), log.hits_to_drain(state)
        for chunk in range(start, stop, _CHUNK):
            count = min(_CHUNK, stop - chunk)
            limits = _row_terms(metric, chunk, count, rows, scale, margin)
            log.set_thresholds(metric, queries, state, limits)
            for r in range(0, count, 64):
                at = codes + (chunk + r) * stride
                some = min(64, count - r)
                for q in range(len(queries.scale)):
                    code = queries.codes.ctypes.data + q * width
                    micro.row(micro_kernel, at, stride, some, code, width, queries.correction[q], scores)
                    _log_rows(chunk, r, some, q, scale, margin, scores, state)
                if state.cursor[0] - state.cursor[1] >= drain:
                    log.drain(metric, rows, queries, exclusions, state, limits)
            log.drain(metric, rows, queries, exclusions, state, limits)

    return scan_rows


@inline
def _row_terms(metric, chunk, count, rows, scale, margin):
    """Fill s′ and μ of the rows of a chunk; return P, max ε and L (see ``bound.py``)."""
    norm = _largest_norm(rows.norm.ctypes.data + 8 * chunk, count)
    power = math.ldexp(1.0, -math.frexp(norm)[1])
    if len(rows.whole) == 0:  # slices and a plain loop: LLVM makes vectors of it
        scales, errors = rows.scale[chunk : chunk + count], rows.error[chunk : chunk + count]
        norms = rows.norm[chunk : chunk + count]
        for j in range(count):
            unit, error = np.float64(scales[j]), np.float64(errors[j])
            scale[j], margin[j] = metrics.row_terms(metric, unit, error, norms[j], power)
    else:
        for j in range(count):
            i = chunk + j
            error = np.float64(rows.error[i])
            scale[j], margin[j] = metrics.row_terms(metric, unit_scale(rows, i), error, rows.norm[i], power)
    if len(rows.allowed) > 0:
        for j in range(count):
            if not rows.allowed[rows.base + chunk + j]:
                margin[j] = -np.inf
    for j in range(count, count + SPARE_ROWS):
        scale[j], margin[j] = 0.0, -np.inf
    largest = np.float64(_largest_error(rows.error.ctypes.data + 4 * chunk, count))
    return power, largest, norm * power


@inline
def _largest_norm(norm, count):
    largest = simd.zero_wide()
    for j in range(0, count, 32):
        largest = simd.maximum_wide(simd.load_first_wide(norm + 8 * j, min(32, count - j)), largest)
    return simd.tree_max_wide(largest)


@inline
def _largest_error(error, count):
    largest = simd.zero()
    for j in range(0, count, 32):
        largest = simd.maximum(simd.load_first(error + 4 * j, min(32, count - j)), largest)
    return simd.tree_max(largest)


@inline
def _log_tile(chunk, r, end, q, lane, tile_rows, line, scale, margin, scores, state):
    """Append the hits of a tile's 16 queries from ``q + lane`` on."""
    first = q + lane
    weight = simd.load16(state.weight.ctypes.data + 4 * first)
    threshold = simd.load16(state.threshold.ctypes.data + 4 * first)
    for group in range(0, min(tile_rows, end - r), 4):
        at = scores.ctypes.data + group * line + 4 * lane
        terms = 4 * (r + group)
        bits = simd.queries_reaching(
            at, line, scale.ctypes.data + terms, margin.ctypes.data + terms, weight, threshold
        )
        while bits != 0:
            bit = simd.trailing_zeros(bits)
            bits &= bits - 1
            j, own = group + (bit >> 4), lane + (bit & 15)
            if r + j < end:
                log.append(state, q + own, chunk + r + j, scores[j * (line >> 2) + own])


@inline
def _log_rows(chunk, r, some, q, scale, margin, scores, state):
    """Append the hits of one query among up to 64 rows."""
    weight, threshold = simd.broadcast16(state.weight[q]), simd.broadcast16(state.threshold[q])
    for group in range(0, some, 16):
        terms = 4 * (r + group)
        s, e = simd.load16(scale.ctypes.data + terms), simd.load16(margin.ctypes.data + terms)
        bits = simd.rows_reaching(scores.ctypes.data + 4 * group, s, simd.mul16(e, weight), threshold)
        while bits != 0:
            j = group + simd.trailing_zeros(bits)
            bits &= bits - 1
            log.append(state, q, chunk + r + j, scores[j])
