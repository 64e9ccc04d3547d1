"""The driver: chunks of rows, scanned and tightened in turn; what is left, to the processor.

Chunks grow geometrically. The first is so short that all its rows are candidates; each
later one is scanned with thresholds from all before it, so that it adds about as many
candidates as the one before. All launches are queued at once; the host waits at the end.

Where a list overflowed, its chunk is scanned again for that query, with the threshold that
all rows together have raised. A list that overflows again and again is that of a query
that the bound cannot narrow: it leaves, to be finished by the exact pass over all rows, as
in the processor's scan. So a search always ends.

The survivors get their intervals, in float64, from the log of the processor's own scan
(``log.drain``), and then exact scores from its own rescoring: the same bits, for one reason.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from .. import log, threads
from ..compile import bound
from ..compile import kernel as cpu_kernel
from ..encode import Encoded, Queries, pack
from ..filters import Exclusions
from ..log import State, Survivors
from ..rows import split
from ..scan import rows_of
from . import device, layout, scan, terms
from .intrinsics import launch
from .layout import PANEL, QUERIES, ROWS, STEP
from .rows import DeviceRows, Terms
from .tighten import THREADS, close_rows, collect, tighten

MOST_K = 1024
"""Neighbors that a search on the device may ask for."""

QUERIES_AT_ONCE = 1024
_MASK_BITS = 1 << 31
"""Bits of a mask of queries and rows that are sent at a time."""

_ATTEMPTS = 3
"""How often a chunk is scanned again for a query before it leaves."""

_ALL_OF_A_QUERY = 1024
"""Candidates of a query, on average, that there is room for in a row before more is made."""

_LEVELS = 127


class Limits(NamedTuple):
    """Sizes that tests make tiny."""

    capacity: int
    """Candidates that a query's list holds."""
    first: int
    """Rows of the first chunk."""
    growth: int
    """How many times as many rows have been seen after a chunk as before it."""


class Found(NamedTuple):
    """What a search of some queries found."""

    survivors: Survivors
    again: int
    """Chunks that were scanned again."""


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


def search(
    rows: DeviceRows,
    encoded: Encoded,
    queries: np.ndarray,
    k: int,
    metric: str,
    allowed: np.ndarray,
    exclusions: Exclusions,
    num_threads: int,
    limits: Limits | None = None,
) -> Found:
    """All rows that may be among the k best of each query; arguments as in ``kernels.scan.scan``.

    ``encoded`` are the rows as the processor has them, in the queries' dimensions.
    """
    limits = limits or limits_for(k)
    packed = pack(queries, _LEVELS, 0, num_threads)
    own = rows.terms(metric, queries.shape[1], encoded, num_threads)
    if len(allowed):
        own = own._replace(margin=_closed_margin(rows.n, own, allowed))
    run = _Run(rows, own, packed, queries.shape, k, metric, exclusions, limits)
    for chunk, (first, last) in enumerate(run.chunks):
        run.scan(chunk, first, last)
    left, again = run.repeat()
    query, row, score = run.candidates()
    rows.give_back(run.lists)
    survivors = _certify(metric, encoded, packed, k, exclusions, left, (query, row, score), num_threads)
    return Found(survivors, again)


class _Run:
    """One search: what lies on the device for it."""

    def __init__(
        self,
        rows: DeviceRows,
        own: Terms,
        packed: Queries,
        shape: tuple[int, ...],
        k: int,
        metric: str,
        exclusions: Exclusions,
        limits: Limits,
    ) -> None:
        (m, dims), self.rows, self.own, self.k, self.limits = shape, rows, own, k, limits
        self.m, self.steps = m, -(-dims // STEP)
        self.shape = scan.shape_for(m, self.steps)
        group = self.shape.query_tiles * QUERIES
        self.room = -(-m // group) * group
        self.chunks = list(_chunks(rows.panels * PANEL, limits))
        self.lists = rows.borrow(m * limits.capacity, m * min(limits.capacity, _ALL_OF_A_QUERY))
        self.stream = self.lists.stream
        send = self._send
        self.queries = send(layout.query_fragments(packed.codes[:m], self.room, self.steps))
        self.lanes = send(terms.lane_terms(metric, packed, m, self.room, own.power).reshape(-1))
        begin, end = exclusions.offsets[[0, -1]]
        excluded = np.concatenate([exclusions.offsets - begin, exclusions.rows[begin:end]])
        self.excluded = send(excluded.astype(np.int64, copy=False))
        self.words = (rows.n + 31) // 32 if len(exclusions.mask) else 0
        self.closed = send(_bits(~exclusions.mask).reshape(-1)) if self.words else rows.nothing_closed
        self.state = send(np.zeros(2 * self.room + len(self.chunks) * m, np.int32))

    def _send(self, array: np.ndarray) -> Any:
        return cuda.to_device(array, stream=self.stream)

    def scan(self, chunk: int, first: int, last: int, lanes: Any = None) -> None:
        """Queue the scan of rows ``first`` to ``last``, whole panels, and the tightening after it."""
        grid, block, shared = scan.launch(self.shape, self.m, self.steps, first, last, device.processors())
        shape, own = self.shape, self.own
        kernel = scan.scan_kernel(shape.row_tiles, shape.query_tiles, shape.shared)
        launch(kernel, grid, block, self.stream, shared)(
            self.rows.codes,
            self.rows.steps,
            self.steps,
            self.queries,
            self.lanes if lanes is None else lanes,
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
            self.lists.rows,
            self.lists.scores,
        )
        launch(tighten, self.m, THREADS, self.stream)(
            self.k,
            self.m,
            self.lanes,
            self.room,
            own.scale,
            own.margin,
            own.reach,
            self.excluded,
            self.limits.capacity,
            self.state,
            chunk,
            self.lists.rows,
            self.lists.scores,
            self.lists.lows,
        )

    def repeat(self) -> tuple[np.ndarray, int]:
        """Scan again what overflowed; return which queries leave, and how many scans it took."""
        done = 0
        for _ in range(_ATTEMPTS):
            state = self._fetch(self.state)
            marks = state[2 * self.room :].reshape(-1, self.m)
            marked = marks > 0
            if not marked.any():
                break
            marks[:] = 0
            self.state.copy_to_device(state, stream=self.stream)
            for chunk in np.flatnonzero(marked.any(axis=1)):
                # The others have this chunk's candidates already.
                lanes = self._fetch(self.lanes).reshape(layout.TERMS, self.room)
                others = np.flatnonzero(~marked[chunk])
                lanes[:, others], lanes[layout.ROOT, others] = 0.0, layout.HIGHEST
                self.scan(int(chunk), *self.chunks[chunk], self._send(lanes.reshape(-1)))
                done += 1
        else:
            marked = self._fetch(self.state)[2 * self.room :].reshape(-1, self.m) > 0
        return np.any(marked, axis=0), done

    def candidates(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Query, row and integer score of what the lists hold."""
        lists = self.lists.all
        while True:
            total = self._send(np.zeros(1, np.int64))
            launch(collect, self.m, THREADS, self.stream)(
                self.limits.capacity, self.state, self.lists.rows, self.lists.scores, total, *lists
            )
            size = int(self._fetch(total)[0])
            if size <= len(lists[0]):
                query, row, score = (self._fetch(array[:size]) for array in lists)
                return query, row.astype(np.int64), score
            lists = [cuda.device_array(size, np.int32) for _ in range(3)]

    def _fetch(self, array: Any) -> np.ndarray:
        host: np.ndarray = array.copy_to_host(stream=self.stream)
        self.stream.synchronize()
        return host


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
    block = 64 if device.simulated() else 256
    rows = len(own.margin)
    closed = np.ones(rows, np.bool_)
    closed[:n] = ~allowed
    launch(close_rows, -(-rows // block), block)(rows, margin, cuda.to_device(_bits(closed)), own.margin)
    cuda.synchronize()
    return margin


def _certify(
    metric: str,
    encoded: Encoded,
    packed: Queries,
    k: int,
    exclusions: Exclusions,
    left: np.ndarray,
    candidates: tuple[np.ndarray, np.ndarray, np.ndarray],
    num_threads: int,
) -> Survivors:
    """Candidates to proved intervals, less what is beaten, by the log of the processor's scan."""
    query, row, score = candidates
    m, whole = len(left), rows_of(encoded, 0)

    def part(run: tuple[int, int]) -> tuple[int, State]:
        state = _log_of(m, k, *(array[slice(*run)] for array in (query, row, score)))
        state.left[left], state.root[left] = True, np.inf
        _drain(metric)(whole, packed, exclusions, state)
        log.compact_log(state)
        return 0, log.filled(state)

    parts = split(len(row), max(1, min(num_threads, len(row) >> 14)))
    return log.join(threads.run(part, parts or [(0, 0)], num_threads), m)


def _log_of(m: int, k: int, query: np.ndarray, row: np.ndarray, score: np.ndarray) -> State:
    """A log that holds hits, none of them drained."""
    count = len(row)
    state = log.new_state(m, m, k)
    state.cursor[0] = count
    return state._replace(
        query=query.copy(),
        row=row.copy(),
        score=score.copy(),
        lower=np.empty(count),
        upper=np.empty(count),
    )


@bound
def _drain(metric: str) -> Callable[..., None]:
    @cpu_kernel
    def drain_candidates(rows, queries, exclusions, state):
        log.drain(metric, rows, queries, exclusions, state, (1.0, 0.0, 1.0))

    return drain_candidates
