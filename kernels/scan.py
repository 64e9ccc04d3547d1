"""Codes to survivors: a walk over rows, by the screen first where it pays.

    seeds                   thresholds before the scan, where there is a screen  [seeds.py]
      tiles or rows         integer scores, compared with thresholds             [tiles.py]
        hits to a log       drained every 2,048: intervals, thresholds rise      [log.py]
    the log is full         exact scores for the most promising entries          [refine.py]

Why each test is safe: ``bound.py``. Which codes are walked, and what becomes of a hit: ``stages.py``.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from . import log, micro, refine, scorers, screen, seeds, simd, stages, threads
from .compile import inline, kernel, named, specialized
from .direction import Direction, pack
from .encode import SPARE_ROWS, Encoded, Queries, padded
from .filters import Exclusions
from .log import COMPACT_AT, COUNT, DRAINED, FULL_AT, State, Survivors
from .micro.record import MicroKernel
from .refine import Originals
from .rows import split
from .tiles import CHUNK, PANEL, aligned_scores, lines_a_tile, log_ends, log_rows, log_tile, row_terms

FEW = 2
"""Queries that are scanned row by row, at most."""
_PACE_WORK = 1 << 29
"""Multiply-adds that take less than a tenth of a second, of the direct pass."""
_SEGMENT = 1 << 17
"""Rows whose upper ends are kept, for few queries."""
_RANGE_LOG = 1 << 18
"""Hits of a scan for a range after which its log is emptied."""
_SCREEN_DRAIN = 1024
"""Hits of few queries to drain at once: their thresholds are nearly final, and memory is asked for ahead."""

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


class Piece(NamedTuple):
    """Some rows of the whole, as a source yields them."""

    start: int
    stop: int
    """Of ``rows``, those from ``start`` to ``stop``."""
    rows: Rows
    screened: screen.Rows | None = None
    """The same rows with their screen, if they have one."""
    pivots: seeds.Pivots | None = None


Source = Callable[[int, int], Iterator[Piece]]
"""``source(start, stop)`` yields pieces that together are those rows of the whole."""


def scan(
    n: int,
    source: Source,
    originals: Originals,
    k: int,
    metric: str,
    record: MicroKernel,
    exclusions: Exclusions,
    num_threads: int,
    *,
    encoded: bool,
    basis: screen.Basis | None = None,
    direction: Direction | None = None,
) -> Survivors:
    """All rows of n that may be among the k best of each query.

    ``encoded`` says that the source may be walked by every thread at no cost. With a ``basis``, rows that
    have a screen are scanned by it. A ``direction`` is that of the rows' codes.
    """
    queries = originals.held
    (m, dims), most = queries.shape, log.queries_at_once(k)
    by_row = m <= FEW or most < 16
    least = max(1, min(most, FEW)) if by_row else min(record.tile_queries, most // 16 * 16)
    asked = packed(originals, record, 0 if by_row else record.tile_queries, num_threads, basis, direction)
    step, most = _steps(record, m, dims, least, most)
    share_queries = encoded and m >= 2 * num_threads * record.tile_queries
    # Threads share the queries where each gets some tiles of them: one threshold a query.
    query_parts = split(m, max(-(-m // most), num_threads if share_queries else 1), least)
    row_parts = split(n, 1 if share_queries else num_threads, PANEL)

    def part(task: tuple[tuple[int, int], tuple[int, int]]) -> tuple[int, State]:
        (first, last), (start, stop) = task
        pairs, lanes = (last - first) * (stop - start), len(asked.codes.part(first, last).correction)
        walk = _Walk(
            asked.part(first, last),
            exclusions.part(first, last),
            originals.part(first),
            log.new_state(last - first, lanes, k, pairs),
            metric,
            record,
            by_row,
        )
        # Few queries take as long as reading the codes, which may come from a disk.
        work = dims * max(0.5, (last - first) / record.speed)
        for piece in source(start, stop):
            walk.seed(piece)
            for run in threads.paced(piece.start, piece.stop, step, work, stop - start):
                walk.over(*run, piece)
        refine.finish(metric)(walk.originals, walk.state)
        return first, log.filled(walk.state)

    tasks = [(q, r) for q in query_parts for r in row_parts]
    return log.join(threads.run(part, tasks, num_threads, queries), m)


def scan_range(
    n: int,
    source: Source,
    originals: Originals,
    root: float,
    metric: str,
    record: MicroKernel,
    exclusions: Exclusions,
    num_threads: int,
    *,
    basis: screen.Basis | None = None,
    direction: Direction | None = None,
) -> Survivors:
    """All rows of n whose score may reach ``root``, for each query.

    Threads share the rows. The log is emptied whenever the hits of another chunk might not fit into it, so
    any number of rows may be returned.
    """
    queries = originals.held
    asked = packed(originals, record, record.tile_queries, num_threads, basis, direction)
    m, most = len(queries), range_queries(record, *queries.shape)

    def part(task: tuple[tuple[int, int], tuple[int, int]]) -> list[tuple[int, State]]:
        (first, last), (start, stop) = task
        few = (asked.part(first, last), exclusions.part(first, last), originals.part(first))
        walk = RangeWalk(*few, root, metric, record, stop - start)
        return [(first, log.filled(state)) for state in walk.over(source(start, stop))]

    tile = record.tile_queries
    tasks = [(q, r) for q in split(m, -(-m // most), tile) for r in split(n, num_threads, PANEL)]
    done = threads.run(part, tasks, num_threads, queries)
    return log.join([entry for states in done for entry in states], m)


def range_queries(record: MicroKernel, m: int, dims: int, most: int = log.CAPACITY // CHUNK) -> int:
    """Queries of m that are scanned for a range together, ``most`` at most."""
    return _steps(record, m, dims, record.tile_queries, most)[1]


class RangeWalk:
    """The scan of ``total`` rows whose scores may reach ``root``, for some queries, by one thread."""

    def __init__(
        self,
        asked: "Packed",
        exclusions: Exclusions,
        originals: Originals,
        root: float,
        metric: str,
        record: MicroKernel,
        total: int,
    ) -> None:
        lanes, (m, dims) = len(asked.codes.correction), originals.held.shape
        chunk = min(total, CHUNK) * lanes
        more = min((total - 1) // CHUNK * CHUNK * lanes, _RANGE_LOG)
        self.state = log.fixed_state(len(asked.codes.scale), lanes, root, chunk + more, more)
        self.walk = (asked, exclusions, originals, self.state, metric, record, False)
        self.step = _steps(record, m, dims, 1, m)[0]
        self.work, self.total = dims * m / record.speed, total

    def over(self, pieces: Iterator[Piece]) -> Iterator[State]:
        """The log of some rows of pieces after another, as many as it holds; the next empties it."""
        for piece in pieces:
            for at, stop in threads.paced(piece.start, piece.stop, self.step, self.work, self.total):
                reached = at
                while reached < stop:
                    log.empty(self.state)
                    reached = _Walk(*self.walk).over(reached, stop, piece)
                    yield self.state


class Packed(NamedTuple):
    """Queries for rows with and without a screen."""

    codes: Queries
    screened: screen.ScreenQueries | screen.FewQueries | None
    """``FewQueries`` if they are not packed for tiles."""

    def part(self, first: int, last: int) -> "Packed":
        """Some of the queries."""
        return Packed(self.codes.part(first, last), self.screened and self.screened.part(first, last))


def packed(
    originals: Originals,
    record: MicroKernel,
    tile: int,
    num_threads: int,
    basis: screen.Basis | None,
    direction: Direction | None,
) -> Packed:
    """Queries encoded, for tiles of ``tile`` of them or, if it is 0, for one row after another."""
    queries = originals.held
    codes = pack(queries, record.levels, tile, num_threads, direction)
    if basis is None or tile == 0:
        return Packed(codes, basis and screen.few_queries(originals, basis, record.levels))
    return Packed(codes, screen.pack(queries, codes, basis, record.levels, tile, num_threads))


class _Walk:
    """The scan of a part of the rows for a part of the queries, by one thread."""

    def __init__(
        self,
        packed: Packed,
        exclusions: Exclusions,
        originals: Originals,
        state: State,
        metric: str,
        record: MicroKernel,
        by_row: bool,
    ) -> None:
        self.packed, self.exclusions, self.originals, self.state = packed, exclusions, originals, state
        self.metric, self.record, self.by_row = metric, record, by_row
        self.by_screen = packed.screened is not None

    def seed(self, piece: Piece) -> None:
        """Raise thresholds before the first rows of a piece."""
        rows, queries = piece.screened, self.packed.screened
        if rows is not None and piece.pivots is not None and isinstance(queries, screen.ScreenQueries):
            seeds.from_pivots(
                rows,
                piece.pivots,
                queries,
                self.exclusions,
                self.originals,
                self.state,
                self.metric,
                self.record,
            )

    def over(self, start: int, stop: int, piece: Piece) -> int:
        """Scan some rows of a piece, by their screen as long as it pays; return where the log was full."""
        if self.by_screen and piece.screened is not None:
            start = self._by("screen", start, stop, piece.screened, self.packed.screened)
            self.by_screen = start == stop or self._is_full()
        if start < stop and not self._is_full():
            start = self._by("codes", start, stop, piece.rows, self.packed.codes)
        return start

    def _is_full(self) -> bool:
        return bool(self.state.cursor[COUNT] > self.state.cursor[FULL_AT])

    def _by(self, stage: str, start: int, stop: int, rows: NamedTuple, queries: Any) -> int:
        record, own = self.record, (self.exclusions, self.originals, self.state)
        arguments = (start, stop, rows, queries, *own, scorers.scorer(record.name))
        reached: int
        if self.by_row:
            reached = (_screen_rows if stage == "screen" else _scan_rows)(self.metric)(*arguments)
        else:
            scan_tiles = _scan_tiles(record.name, self.metric, stage)
            reached = scan_tiles(*arguments, record.tile_rows, record.tile_queries)
        return reached


def _steps(record: MicroKernel, m: int, dims: int, least: int, most: int) -> tuple[int, int]:
    """Rows of the shortest run of a scan, and queries, up to ``most``, for which it takes a pace at most.

    ``least`` is what queries are cut to multiples of; a run is a chunk, of wide rows a panel.
    """
    width, work = padded(dims), int(record.speed * _PACE_WORK)
    if m * CHUNK * width <= work:
        return CHUNK, max(least, most // least * least)
    step = CHUNK if CHUNK * least * width <= work else PANEL
    return step, max(least, min(most, work // (step * width)) // least * least)


def rows_of(encoded: Encoded, base: int, allowed: np.ndarray = _ALL, ids: np.ndarray = _CONSECUTIVE) -> Rows:
    """Encoded rows as a kernel sees them."""
    terms = (encoded.scale, encoded.error, encoded.norm, encoded.whole)
    return Rows(writable(encoded.codes), base, *terms, allowed, ids)


def writable(codes: np.ndarray) -> np.ndarray:
    """Codes as they are, or as a kernel takes them that only reads: kernels have one version."""
    return codes if codes.flags.writeable else np.asarray(_Writable(codes))  # mapped from a file


class _Writable:
    """An array that says that it may be written to, and is held by the arrays that NumPy makes of it."""

    def __init__(self, array: np.ndarray) -> None:
        self.held = array
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


_STAGES = {stage.name: stage for stage in (stages.CODES, screen.STAGE)}


def _codes(stage, rows): ...
def _of_codes(stage, queries): ...
def _limits(stage, rows, chunk, count, limits): ...
def _set_thresholds(stage, metric, queries, state, limits): ...
def _drain(stage, scorer, metric, asked, state, limits): ...
def _saw(stage, state, pairs): ...
def _gives_up(stage, rows, state): ...


for _stub, _field in (
    (_codes, "codes"),
    (_of_codes, "packed"),
    (_limits, "limits"),
    (_set_thresholds, "set_thresholds"),
    (_drain, "drain"),
    (_saw, "saw"),
    (_gives_up, "gives_up"),
):
    named(_stub, _STAGES, _field)


@specialized
def _scan_tiles(micro_kernel: str, metric: str, stage: str) -> Callable[..., int]:
    @kernel
    def scan_tiles(start, stop, rows, queries, exclusions, originals, state, scorer, tile_rows, tile_queries):
        micro.begin(micro_kernel)
        packed_queries = _of_codes(stage, queries)
        coded = _codes(stage, rows)
        m, width = len(packed_queries.scale), packed_queries.codes.shape[1]
        codes, stride = coded.codes.ctypes.data, coded.codes.strides[0]
        scale, margin = np.empty(CHUNK + SPARE_ROWS, np.float32), np.empty(CHUNK + SPARE_ROWS, np.float32)
        scores = aligned_scores(tile_rows * tile_queries)
        line, drain = 4 * tile_queries, log.hits_to_drain(state)
        reached = start
        while reached < stop and not (_gives_up(stage, rows, state) or log.is_full(state)):
            chunk, count = reached, min(CHUNK, stop - reached)
            terms = row_terms(metric, chunk, count, coded, scale, margin)
            limits = _limits(stage, rows, chunk, count, terms)
            _set_thresholds(stage, metric, queries, state, limits)
            for panel in range(0, count, PANEL):
                end = min(panel + PANEL, count)
                ahead = codes + (chunk + end) * stride
                lines = lines_a_tile(stride, tile_rows, -(-len(packed_queries.correction) // tile_queries))
                for q in range(0, len(packed_queries.correction), tile_queries):
                    packed = packed_queries.packed.ctypes.data + q * width
                    corrections = packed_queries.correction.ctypes.data + 4 * q
                    lanes = min(tile_queries, m - q)
                    for r in range(panel, end, tile_rows):
                        for _ in range(lines):
                            simd.prefetch(ahead)
                            ahead += 64
                        at, out = codes + (chunk + r) * stride, scores.ctypes.data
                        blocks = (lanes + 15) // 16
                        micro.tile(micro_kernel, at, stride, packed, blocks, width // 4, corrections, out)
                        for lane in range(0, lanes, 16):
                            log_tile(chunk, r, end, q, lane, tile_rows, line, scale, margin, scores, state)
                        last = end == count and r + tile_rows >= end and q + lanes == m
                        if last or state.cursor[COUNT] - state.cursor[DRAINED] >= drain:
                            asked = (rows, queries, exclusions, originals)
                            _drain(stage, scorer, metric, asked, state, limits)
                            if state.cursor[COUNT] >= state.cursor[COMPACT_AT]:
                                refine.shorten(metric, originals, state)
            reached += count
            _saw(stage, state, m * count)
        micro.end(micro_kernel)
        return reached

    return scan_tiles


@specialized
def _scan_rows(metric: str) -> Callable[..., int]:
    @kernel
    def scan_rows(start, stop, rows, queries, exclusions, originals, state, scorer):
        return walk_codes(scorer, metric, "sharpen", start, stop, rows, queries, exclusions, originals, state)

    return scan_rows


@specialized
def _screen_rows(metric: str) -> Callable[..., int]:
    @kernel
    def screen_rows(start, stop, rows, queries, exclusions, originals, state, scorer):
        return walk_screen(scorer, metric, start, stop, rows, queries, exclusions, originals, state)

    return screen_rows


@inline
def walk_codes(scorer, metric, full, start, stop, rows, queries, exclusions, originals, state):
    """Scan rows for a few queries, one row after another; ``full`` says what is done where the log is.

    Return the row up to which it got, at least.
    """
    width = queries.codes.shape[1]
    codes, stride = rows.codes.ctypes.data, rows.codes.strides[0]
    scale, margin = np.empty(CHUNK + SPARE_ROWS, np.float32), np.empty(CHUNK + SPARE_ROWS, np.float32)
    scores, drain = np.empty(64, np.int32), log.hits_to_drain(state)
    for chunk in range(start, stop, CHUNK):
        count = min(CHUNK, stop - chunk)
        limits = row_terms(metric, chunk, count, rows, scale, margin)
        log.set_thresholds(metric, queries, state, limits)
        for r in range(0, count, 64):
            at = codes + (chunk + r) * stride
            group = min(64, count - r)
            for q in range(len(queries.scale)):
                code, target = queries.codes.ctypes.data + q * width, scores.ctypes.data
                scorers.call_row(scorer, at, stride, group, code, width, queries.correction[q], target)
                log_rows(chunk, r, group, q, scale, margin, scores, state)
            if r + 64 >= count or state.cursor[COUNT] - state.cursor[DRAINED] >= drain:
                log.drain(metric, rows, queries, exclusions, state, limits)
                if state.cursor[COUNT] >= state.cursor[COMPACT_AT] and _ends(full, metric, originals, state):
                    return chunk
    return stop


class _Full(NamedTuple):
    """What is done where the log is full."""

    ends: Callable[..., bool]
    """Make room, or return that the walk ends."""


def _stop(full, metric, originals, state):
    return True


def _sharpen(full, metric, originals, state):
    refine.shorten(metric, originals, state)
    return False


def _ends(full, metric, originals, state): ...


named(_ends, {"stop": _Full(_stop), "sharpen": _Full(_sharpen)}, "ends")


@inline
def walk_screen(scorer, metric, start, stop, rows, queries, exclusions, originals, state):
    """Scan rows by their screen for a few queries: upper ends of all rows and seeds first, then the test.

    The upper ends are those of leading codes, where there are any. Return the row before which the screen
    stopped to pay, or ``stop``.
    """
    by_leading = len(rows.leading.words) > 0
    coarse, first, whole = rows.coarse, queries.first, queries.whole
    packed, first_codes = first.coarse, rows.leading.codes if by_leading else coarse.codes
    m, width = packed.codes.shape
    codes, stride = first_codes.ctypes.data, first_codes.strides[0]
    scale, margin = np.empty(CHUNK + SPARE_ROWS, np.float32), np.empty(CHUNK + SPARE_ROWS, np.float32)
    scores, ends = np.empty(CHUNK, np.int32), np.empty((m, min(_SEGMENT, stop - start) + CHUNK), np.float32)
    limits = np.empty((ends.shape[1] // CHUNK + 1, 5))
    for segment in range(start, stop, _SEGMENT):
        last = min(segment + _SEGMENT, stop)
        likely = seeds.likely_rows(state, by_leading)
        for chunk in range(segment, last, CHUNK):
            count, place = min(CHUNK, last - chunk), (chunk - segment) // CHUNK
            if by_leading:
                limit = screen.leading_terms(metric, chunk, count, rows, scale, margin)
            else:
                terms = row_terms(metric, chunk, count, coarse, scale, margin)
                limit = _limits("screen", rows, chunk, count, terms)
            limits[place, 0], limits[place, 1], limits[place, 2] = limit[0], limit[1], limit[2]
            limits[place, 3], limits[place, 4] = limit[3], limit[4]
            screen.set_thresholds(metric, first, state, limit)
            for q in range(m):
                code, at = packed.codes.ctypes.data + q * width, codes + chunk * stride
                target = scores.ctypes.data
                scorers.call_row(scorer, at, stride, count, code, width, packed.correction[q], target)
                other = screen.estimate_weight(metric, first, q, limit[0])
                weights = limit[0], state.weight[q], other
                out = ends[q, chunk - segment :]
                seeds.offer_rows(chunk, count, q, scores, weights, scale, margin, likely, out)
        for q in range(m):
            if state.root[q] == -np.inf:
                seeds.from_likely(
                    scorer, metric, rows, whole, exclusions, originals, state, q, likely, by_leading
                )
        for chunk in range(segment, last, CHUNK):
            count, place = min(CHUNK, last - chunk), (chunk - segment) // CHUNK
            own = limits[place]
            limit = own[0], own[1], own[2], own[3], own[4]
            screen.set_thresholds(metric, first, state, limit)
            for q in range(m):
                log_ends(chunk, count, q, ends[q, chunk - segment :], state)
            _saw("screen", state, m * count)
            if chunk + count == last or state.cursor[COUNT] - state.cursor[DRAINED] >= _SCREEN_DRAIN:
                if by_leading:
                    screen.narrow(scorer, metric, rows, whole, state)
                asked = (rows, whole, exclusions, originals)
                _drain("screen", scorer, metric, asked, state, limit)
                if state.cursor[COUNT] >= state.cursor[COMPACT_AT]:
                    refine.shorten(metric, originals, state)
                if _gives_up("screen", rows, state):
                    return chunk + count
    return stop
