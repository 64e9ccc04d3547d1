"""The driver: chunks of rows, scanned and tightened in turn; what is left gets exact scores.

Chunks grow geometrically. The first is so short that all its rows are candidates; each
later one is scanned with thresholds from all before it, so that it adds about as many
candidates as the one before. All launches are queued at once; the host waits at the end.

Where a list overflowed, its chunk is scanned again for that query, with the threshold that
all rows together have raised. A list that overflows again and again is that of a query
that the bound cannot narrow: it leaves, and gets the exact score of every row. So a search
always ends.

Where the float32 rows lie on the device, candidates are scored and ranked there
(``exact.py``). Where they do not fit, candidates go to the processor: they get their
intervals, in float64, from the log of its own scan (``log.drain``), and exact scores from
its own rescoring. Either way the bits are the contract's.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from .. import encode as host
from .. import log, threads
from ..compile import bound
from ..compile import kernel as cpu_kernel
from ..filters import Exclusions
from ..log import State, Survivors
from ..rows import split
from ..scan import rows_of
from . import device, exact, scan, terms
from .encode import encode
from .intrinsics import SIMULATED, Launch, prepared, queued
from .layout import CHANGED_ROW, HIGHEST, NONE, PANEL, QUERIES, ROOT, ROWS, STEP, TERMS, WRONG_QUERY
from .rows import DeviceRows, Measured, NotFinite, Terms, encoding_grid
from .tighten import THREADS, collect, empty, tighten

MOST_K = 1024
"""Neighbors that a search on the device may ask for."""

QUERIES_AT_ONCE = 1024
_MASK_BITS = 1 << 31
"""Bits of a mask of queries and rows that are sent at a time."""

_ATTEMPTS = 3
"""How often a chunk is scanned again for a query before it leaves."""

_MOST_IDLE = 2
"""Workspaces that rows keep: two threads may search at a time and find theirs again."""

_BLOCK = 64 if SIMULATED else 256
_SCORING_BLOCKS = 2 if SIMULATED else 16
"""Blocks of a multiprocessor that score candidates."""


class Question(NamedTuple):
    """What is asked; ``allowed`` and ``exclusions`` as in ``kernels.scan.scan``."""

    queries: Any
    """float32 (m, ≥ dims) with contiguous rows, of NumPy or of the device."""
    dims: int
    k: int
    metric: str
    allowed: np.ndarray
    exclusions: Exclusions


class Limits(NamedTuple):
    """Sizes that tests make tiny."""

    capacity: int
    """Candidates that a query's list holds."""
    first: int
    """Rows of the first chunk."""
    growth: int
    """How many times as many rows have been seen after a chunk as before it."""


class Work(NamedTuple):
    """What a search did."""

    candidates: int
    """Pairs that survived the scan, of the queries that did not leave it."""
    left: np.ndarray
    """bool (m,): queries that left."""
    again: int
    """Chunks that were scanned again."""


class Found(NamedTuple):
    """The answer."""

    scores: np.ndarray
    """float32 (m, k), −inf in places that nobody takes."""
    indices: np.ndarray
    """int64 (m, k), −1 there."""
    changed: int
    """First row whose score is not in the interval that its codes prove, or −1."""
    work: Work


def limits_for(k: int) -> Limits:
    """A chunk of r times the rows before adds about 16·r·k candidates: half of what the list holds."""
    capacity = max(8192, 16 * k)
    first = -(-max(1024, 4 * k) // PANEL) * PANEL
    return Limits(capacity, first, max(2, min(16, capacity // (32 * k))))


def queries_at_once(n: int, exclusions: Exclusions) -> int:
    """Queries that are searched together: their lists, and their mask if there is one, have limits."""
    if len(exclusions.mask) == 0:
        return QUERIES_AT_ONCE
    return max(1, min(QUERIES_AT_ONCE, _MASK_BITS // n))


def search(rows: DeviceRows, question: Question, limits: Limits | None = None) -> Found:
    """The k best rows of each query, where the float32 rows lie on the device.

    Raises NotFinite for a query that is not.
    """
    with started(rows, question, limits) as run:
        left, again = run.repeat(run.score)
        return run.found(Work(int(run.sizes[~left].sum()), left, again))


def survivors(
    rows: DeviceRows, question: Question, num_threads: int, limits: Limits | None = None
) -> tuple[Survivors, Work]:
    """All rows that may be among the k best of each query, for the processor to score."""
    with started(rows, question, limits, scored=False) as run:
        left, again = run.repeat(lambda: None)
        found = run.candidates()
        packed = run.packed()
    encoded = rows.encoded(question.dims)
    certified = _certify(question, encoded, packed, left, found, num_threads)
    return certified, Work(len(certified.row), left, again)


class _Workspace:
    """A stream, and the arrays of a search of m queries: allocating takes as long as a short scan."""

    def __init__(self, m: int, dims: int, k: int, limits: Limits, marks: int) -> None:
        self.key, capacity = (m, dims, k, limits), limits.capacity
        self.stream = cuda.stream()
        self.steps = -(-dims // STEP)
        self.shape = scan.shape_for(m, self.steps, device.shared_memory())
        group = self.shape.query_tiles * QUERIES
        self.room = -(-m // group) * group
        self.queries = cuda.device_array(m * dims, np.float32)
        self.codes = cuda.device_array(self.room * self.steps * STEP // 4, np.int32)
        self.places = self.codes.view(np.int8)
        self.measured, self.longest = Measured.room(self.room), cuda.device_array(1, np.float64)
        self.lanes = cuda.device_array(TERMS * self.room, np.float32)
        self.rows, self.scores = (cuda.device_array(m * capacity, np.int32) for _ in range(2))
        self.lows = cuda.device_array(m * capacity, np.float32)
        self.exact = cuda.device_array(m * capacity, np.float64)
        self.nothing_excluded = cuda.to_device(np.zeros(m + 1, np.int64))
        self.report = cuda.device_array(12 * m * k + 4 * (2 * self.room + marks + 2), np.int8)
        rows, scores, self.state = _parts(self.report, m * k)
        self.answer = _Ranking(cuda.device_array(m * k, np.float64), scores, rows)
        self.recorded: list[Launch] = []
        self.recorded_for: Terms | None = None
        self.recorded_scored = False
        own = (self.queries, self.codes, *self.measured[:3], self.lanes, self.rows, self.scores, self.lows)
        self.nbytes = sum(array.nbytes for array in (*own, self.exact, self.report, self.answer.best))


def _parts(report: Any, size: int) -> tuple[Any, Any, Any]:
    """Row numbers, float32 scores and state: bytes that come back from the device in one piece."""
    rows, scores, state = report[: 8 * size], report[8 * size : 12 * size], report[12 * size :]
    return rows.view(np.int64), scores.view(np.float32), state.view(np.int32)


class _Ranking(NamedTuple):
    """The best of some queries: float64 and float32 scores, row numbers."""

    best: Any
    scores: Any
    rows: Any

    @classmethod
    def room(cls, size: int) -> "_Ranking":
        """Room for it."""
        return cls(*(cuda.device_array(size, kind) for kind in (np.float64, np.float32, np.int64)))


@contextlib.contextmanager
def started(
    rows: DeviceRows, question: Question, limits: Limits | None = None, *, scored: bool = True
) -> Iterator["_Run"]:
    """A search whose scans are queued, and the exact scores of their candidates."""
    m, dims, k = len(question.queries), question.dims, question.k
    limits = limits or limits_for(k)
    chunks = list(_chunks(rows.panels * PANEL, limits))
    space = _borrowed(rows.idle, (m, dims, k, limits))
    if space is None:
        space = _Workspace(m, dims, k, limits, len(chunks) * m)
    own = rows.terms(question.metric, dims)
    if len(question.allowed):
        own = own._replace(margin=_closed_margin(rows.n, own, question.allowed))
    try:
        run = _Run(rows, own, space, question, limits, chunks)
        run.start(scored=scored)
        yield run
    except BaseException:
        # What is queued reads and writes arrays that end with this search.
        space.stream.synchronize()
        raise
    rows.idle.append(space)


def _borrowed(idle: list["_Workspace"], key: tuple[int, int, int, Limits]) -> "_Workspace | None":
    """One that an earlier search left, or room for another: only the last ones are kept."""
    for space in list(idle):
        if space.key == key:
            with contextlib.suppress(ValueError):  # another thread took it
                idle.remove(space)
                return space
    del idle[: 1 - _MOST_IDLE]
    return None


class _Run:
    """One search: what lies on the device for it."""

    def __init__(
        self,
        rows: DeviceRows,
        own: Terms,
        space: _Workspace,
        question: Question,
        limits: Limits,
        chunks: list[tuple[int, int]],
    ) -> None:
        queries, self.dims, self.k, self.metric, allowed, exclusions = question
        self.m, self.rows, self.own, self.space = len(queries), rows, own, space
        self.limits, self.chunks = limits, chunks
        self.stream, self.state, self.room = space.stream, space.state, space.room
        self.kept: list[Any] = []
        """What the device may still be reading or writing: launches, and arrays on their way to it."""
        if device.is_array(queries):
            self.stride = int(queries.shape[1])
            self.queries = queries.reshape(self.m * self.stride)
        else:
            self.stride, self.queries = self.dims, space.queries
            flat = np.ascontiguousarray(queries[:, : self.dims]).reshape(-1)
            self._copy(flat, self.queries)
        self.excluded = space.nothing_excluded
        begin, end = exclusions.offsets[[0, -1]]
        if begin < end:
            excluded = np.concatenate([exclusions.offsets - begin, exclusions.rows[begin:end]])
            self.excluded = self._send(excluded.astype(np.int64, copy=False))
        self.words = (rows.n + 31) // 32 if len(exclusions.mask) else 0
        self.closed = self._send(_bits(~exclusions.mask).reshape(-1)) if self.words else rows.nothing_closed
        # Then all that is launched depends on the workspace, the rows and their terms alone.
        self.plain = self.queries is space.queries and begin == end and self.words == 0 == len(allowed)
        self.record: list[Launch] | None = None
        self.sizes, self.changed = np.zeros(self.m, np.int32), -1
        self.rows_found, self.scores_found = np.empty(0, np.int64), np.empty(0, np.float32)

    def start(self, *, scored: bool) -> None:
        """Queue all that needs no answer from the device; as recorded, if the last search was the same."""
        space = self.space
        if self.plain and space.recorded_for is self.own and space.recorded_scored == scored:
            for launching in space.recorded:
                self.kept.append(launching)
                launching()
            return
        steps = (self.begin, self.scan_all, self.score)
        recorded = self.recorded(*steps if scored else steps[:2])
        if self.plain:
            space.recorded, space.recorded_for, space.recorded_scored = recorded, self.own, scored

    def recorded(self, *steps: Callable[[], None]) -> list[Launch]:
        """Queue these steps; return their launches."""
        launches: list[Launch] = []
        self.record = launches
        for step in steps:
            step()
        self.record = None
        return launches

    def begin(self) -> None:
        """Queue what comes before the scans: an empty state, the queries' codes and terms."""
        space, size = self.space, len(self.state)
        power, measured = self.own.measured.power, space.measured[:3]
        shape = (0, self.room, self.m, self.dims, space.steps, QUERIES)
        wrong = (self.state, size + WRONG_QUERY)
        self._queue(empty, -(-size // _BLOCK), _BLOCK, size, self.state)
        self._queue(
            encode,
            *encoding_grid(self.room),
            self.queries,
            self.stride,
            *shape,
            space.places,
            *measured,
            space.longest,
            *wrong,
        )
        self._queue(
            terms.lane_terms(self.metric),
            *(-(-self.room // _BLOCK), _BLOCK),
            *(self.m, self.room, power),
            *measured,
            space.lanes,
        )

    def scan_all(self) -> None:
        """Queue the scans of all chunks."""
        for chunk, (first, last) in enumerate(self.chunks):
            self.scan(chunk, first, last)

    def scan(self, chunk: int, first: int, last: int, lanes: Any = None) -> None:
        """Queue the scan of rows ``first`` to ``last``, whole panels, and the tightening after it."""
        space, own, shape = self.space, self.own, self.space.shape
        room, count = device.shared_memory(), device.processors()
        grid, block, shared = scan.launch(shape, self.m, space.steps, last - first, count, room)
        kernel = scan.scan_kernel(shape.row_tiles, shape.query_tiles, shape.shared)
        self._queue(
            *(kernel, grid, block),
            self.rows.codes,
            self.rows.steps,
            space.steps,
            space.codes,
            space.lanes if lanes is None else lanes,
            self.room,
            own.scale,
            own.margin,
            own.reach,
            self.closed,
            self.words,
            first // ROWS,
            last // ROWS,
            self.limits.capacity,
            self.state,
            space.rows,
            space.scores,
            shared=shared,
        )
        self._queue(
            *(tighten, self.m, THREADS),
            self.k,
            self.m,
            space.lanes,
            self.room,
            own.scale,
            own.margin,
            own.reach,
            self.excluded,
            self.limits.capacity,
            self.state,
            chunk,
            space.rows,
            space.scores,
            space.lows,
        )

    def repeat(self, finish: Callable[[], None]) -> tuple[np.ndarray, int]:
        """Wait; scan again what overflowed. Return which queries leave, and how many scans it took.

        ``finish`` queues what comes after all scans, and did so once already.
        """
        done = 0
        for attempt in range(_ATTEMPTS + 1):
            report = self._fetch(self.space.report)
            self.rows_found, self.scores_found, state = _parts(report, self.m * self.k)
            if state[WRONG_QUERY] != NONE:
                raise NotFinite(int(state[WRONG_QUERY]))
            marks = state[2 * self.room : -2].reshape(-1, self.m)
            marked = np.greater(marks, 0)
            if attempt == _ATTEMPTS or not marked.any():
                break
            marks[:] = 0
            self._copy(np.ascontiguousarray(state), self.state)
            for chunk in np.flatnonzero(marked.any(axis=1)):
                # The others have this chunk's candidates already.
                lanes = self._fetch(self.space.lanes).reshape(TERMS, self.room)
                others = np.flatnonzero(~marked[chunk])
                lanes[:, others], lanes[ROOT, others] = 0.0, HIGHEST
                self.scan(int(chunk), *self.chunks[chunk], self._send(lanes.reshape(-1)))
                done += 1
            finish()
        self.sizes = state[: self.m]
        self.changed = -1 if state[CHANGED_ROW] == NONE else int(state[CHANGED_ROW])
        left: np.ndarray = marked.any(axis=0)
        return left, done

    def score(self) -> None:
        """Queue the exact scores of all candidates, and their ranking."""
        space, own = self.space, self.own.measured
        blocks = max(1, _SCORING_BLOCKS * device.processors() // self.m)
        self._queue(
            *(exact.score_lists(self.metric), (blocks, self.m), exact.THREADS),
            self.queries,
            self.stride,
            self.rows.vectors,
            self.rows.stride,
            self.dims,
            *space.measured[:3],
            *own[:4],
            self.limits.capacity,
            self.state,
            space.rows,
            space.scores,
            space.exact,
        )
        self._rank(self.m, self.limits.capacity, self.state, False, space.answer, space.answer)

    def pass_rows(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores and indices of the queries numbered ``chosen``, from the exact scores of all rows."""
        space, count = self.space, len(chosen)
        capacity = self.limits.capacity  # ranking takes the square of what may be in a list
        firsts = range(0, self.rows.n, capacity)
        counts, numbers = self._send(np.zeros((len(firsts), count), np.int32)), self._send(chosen)
        best, other = (_Ranking.room(count * self.k) for _ in range(2))
        blocks = max(1, _SCORING_BLOCKS * device.processors() // count)
        for chunk, first in enumerate(firsts):
            self._queue(
                *(exact.pass_rows(self.metric), (blocks, count), exact.THREADS),
                numbers,
                self.queries,
                self.stride,
                self.m,
                self.rows.vectors,
                self.rows.stride,
                self.dims,
                first,
                min(first + capacity, self.rows.n),
                self.k,
                self.own.margin,
                self.closed,
                self.words,
                self.excluded,
                chunk > 0,
                other.best,
                capacity,
                counts[chunk],
                space.rows,
                space.exact,
            )
            self._rank(count, capacity, counts[chunk], chunk > 0, other, best)
            best, other = other, best
        scores, rows = self._fetch(other.scores), self._fetch(other.rows)
        return scores.reshape(count, self.k), rows.reshape(count, self.k)

    def _rank(self, m: int, capacity: int, sizes: Any, held: bool, before: _Ranking, into: _Ranking) -> None:
        """Queue the ranking of m lists, and of what was best ``before`` if it is ``held``."""
        self._queue(
            *(exact.rank, m, exact.THREADS),
            self.k,
            capacity,
            sizes,
            self.space.rows,
            self.space.exact,
            held,
            before.best,
            before.rows,
            into.best,
            into.scores,
            into.rows,
        )

    def found(self, work: Work) -> Found:
        """The answer, that of the queries that left included."""
        scores, indices = (a.reshape(self.m, self.k) for a in (self.scores_found, self.rows_found))
        if work.left.any():
            scores[work.left], indices[work.left] = self.pass_rows(np.flatnonzero(work.left))
        return Found(scores, indices, self.changed, work)

    def candidates(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Query, row and integer score of what the lists hold."""
        space, size = self.space, int(self.sizes.sum())
        lists = [cuda.device_array(max(1, size), np.int32) for _ in range(3)]
        self._queue(
            *(collect, self.m, THREADS),
            self.limits.capacity,
            self.state,
            space.rows,
            space.scores,
            self._send(np.zeros(1, np.int64)),
            *lists,
        )
        query, row, score = (self._fetch(array)[:size] for array in lists)
        return query, row.astype(np.int64), score

    def packed(self) -> host.Queries:
        """What was measured of the queries, in this computer's memory; without their codes."""
        scale, error, norm = (self._fetch(array)[: self.m] for array in self.space.measured[:3])
        none = np.empty((0, host.ALIGNMENT), np.int8)
        unit = np.where(scale == 0.0, 1.0, scale.astype(np.float64))
        correction = np.empty(0, np.int32)
        return host.Queries(none, none.reshape(-1), correction, unit, error.astype(np.float64), norm)

    def _queue(self, kernel: Any, grid: Any, block: int, *arguments: Any, shared: int = 0) -> None:
        launching = prepared(kernel, grid, block, self.stream, shared, *arguments)
        if self.record is not None:
            self.record.append(launching)
        self.kept.append(launching)
        launching()

    def _send(self, array: np.ndarray) -> Any:
        self.kept.append(array)
        return cuda.to_device(array, stream=self.stream)

    def _copy(self, array: np.ndarray, target: Any) -> None:
        self.kept.append(array)
        target.copy_to_device(array, stream=self.stream)

    def _fetch(self, array: Any) -> np.ndarray:
        copy: np.ndarray = array.copy_to_host(stream=self.stream)
        self.stream.synchronize()
        self.kept.clear()
        return copy


def _chunks(rows: int, limits: Limits) -> Iterator[tuple[int, int]]:
    """All rows, in whole panels."""
    first = 0
    while first < rows:
        last = min(rows, max(first * limits.growth, limits.first))
        last = min(rows, -(-last // PANEL) * PANEL)
        yield first, last
        first = last


def _bits(mask: np.ndarray) -> np.ndarray:
    """Bools in rows as bits of int32 words."""
    width = -(-mask.shape[-1] // 32) * 32
    padded = np.zeros((*mask.shape[:-1], width), np.bool_)
    padded[..., : mask.shape[-1]] = mask
    return np.packbits(padded, axis=-1, bitorder="little").view("<i4").astype(np.int32, copy=False)


def _closed_margin(n: int, own: Terms, allowed: np.ndarray) -> Any:
    margin = cuda.device_array(own.margin.shape, np.float32)
    rows = len(own.margin)
    closed = np.ones(rows, np.bool_)
    closed[:n] = ~allowed
    with queued() as queue:
        bits = cuda.to_device(_bits(closed))
        queue(terms.close_rows, -(-rows // _BLOCK), _BLOCK, rows, margin, bits, own.margin)
    return margin


def _certify(
    question: Question,
    encoded: host.Encoded,
    packed: host.Queries,
    left: np.ndarray,
    candidates: tuple[np.ndarray, np.ndarray, np.ndarray],
    num_threads: int,
) -> Survivors:
    """Candidates to proved intervals, less what is beaten, by the log of the processor's scan."""
    query, row, score = candidates
    m, whole = len(left), rows_of(encoded, 0)

    def part(run: tuple[int, int]) -> tuple[int, State]:
        state = _log_of(m, question.k, *(array[slice(*run)] for array in (query, row, score)))
        state.left[left], state.root[left] = True, np.inf
        _drain(question.metric)(whole, packed, question.exclusions, state)
        log.compact_log(state)
        return 0, log.filled(state)

    parts = split(len(row), max(1, min(num_threads, len(row) >> 14)))
    return log.join(threads.run(part, parts or [(0, 0)], num_threads), m)


def _log_of(m: int, k: int, query: np.ndarray, row: np.ndarray, score: np.ndarray) -> State:
    """A log that holds hits, none of them drained."""
    count = len(row)
    state = log.with_room(m, m, k, count)
    state.query[:count], state.row[:count], state.score[:count] = query, row, score
    state.cursor[0] = count
    return state


@bound
def _drain(metric: str) -> Callable[..., None]:
    @cpu_kernel
    def drain_candidates(rows, queries, exclusions, state):
        log.drain(metric, rows, queries, exclusions, state, (1.0, 0.0, 1.0))

    return drain_candidates
