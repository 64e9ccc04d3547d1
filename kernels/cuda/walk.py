"""The walk over all rows: chunks (``batch.py``), scanned and tightened in turn.

All launches are queued at once; the host waits at the end.

Where a list overflowed, its chunk is scanned again for that query, with the threshold that
all rows together have raised. A list that overflows again and again is that of a query
that the bound cannot narrow: it leaves, and gets the exact score of every row. So a search
always ends.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from . import device, scan, terms, tighten
from .batch import Batch, Limits, bits
from .encode import encode
from .launches import queued
from .layout import (
    CHANGED_ROW,
    HIGHEST,
    NONE,
    PANEL,
    ROOT,
    ROWS,
    TERMS,
    WRONG_QUERY,
    Closed,
    Excluded,
    Floats,
    Lanes,
    Span,
    State,
    Terms,
)
from .rows import DeviceRows, NotFinite, encoding_grid
from .workspace import Recording, Report, Workspace, borrowed

_ATTEMPTS = 3
"""How often a chunk is scanned again for a query before the query leaves."""

THREADS = 256
"""The number of threads in a block of a kernel that needs no shared memory."""


class Outcome(NamedTuple):
    """The result of a walk."""

    rows: np.ndarray
    """int64 [m · k]: the best rows of each query, if they were scored on the device."""
    scores: np.ndarray
    """float32 [m · k]: their scores."""
    sizes: np.ndarray
    """int32 (m,): lengths of the lists."""
    left: np.ndarray
    """bool (m,): queries that left."""
    again: int
    """Chunks that were scanned again."""
    changed: int
    """First row whose score is not in the interval that its codes prove, or −1."""


Finish = Callable[["Walk"], None]
"""A function that queues the steps after all scans."""


@contextlib.contextmanager
def started(rows: DeviceRows, batch: Batch, limits: Limits, finish: Finish | None = None) -> Iterator["Walk"]:
    """A walk whose scans are queued, and what comes after them."""
    space = borrowed(rows.idle, batch, limits, rows.panels * PANEL)
    try:
        walk = Walk(rows, space, batch, finish)
        walk.start()
        yield walk
    except BaseException:
        # What is queued reads and writes arrays that end with this search.
        space.stream.wait()
        raise
    rows.idle.append(space)


class Walk:
    """One walk, with its arrays on the device."""

    def __init__(
        self,
        rows: DeviceRows,
        space: Workspace,
        batch: Batch,
        finish: Finish | None,
    ) -> None:
        self.rows, self.space, self.batch, self.finish = rows, space, batch, finish
        self.m, self.stream = len(batch.queries), space.stream
        self.encoded = rows.encoded(batch.dims)
        self.terms = rows.terms(batch.metric, batch.dims)
        kept = self.terms
        if len(batch.allowed):
            self.terms = kept._replace(margin=_closed_margin(rows.n, kept, batch.allowed))
        self.queries, self.excluded, self.closed = self._queries(), self._excluded(), self._closed()
        # Then all that is launched depends on the workspace, the rows and their terms alone.
        self.plain = (
            self.terms is kept
            and self.queries is space.queries
            and self.excluded is space.nothing_excluded
            and self.closed is rows.nothing_closed
        )

    def _queries(self) -> Floats:
        queries, dims, space = self.batch.queries, self.batch.dims, self.space
        if device.is_array(queries):
            stride = int(queries.shape[1])
            return Floats(queries.reshape(self.m * stride), stride)
        self.stream.copy(np.ascontiguousarray(queries[:, :dims]).reshape(-1), space.queries.values)
        return space.queries

    def _excluded(self) -> Excluded:
        offsets, rows = self.batch.exclusions.offsets, self.batch.exclusions.rows
        begin, end = offsets[[0, -1]]
        if begin == end:
            return self.space.nothing_excluded
        numbers = np.concatenate([offsets - begin, rows[begin:end]]).astype(np.int64, copy=False)
        return Excluded(self.stream.send(numbers), self.m)

    def _closed(self) -> Closed:
        mask = self.batch.exclusions.mask
        if len(mask) == 0:
            return self.rows.nothing_closed
        words = bits(~mask)
        return Closed(self.stream.send(words.reshape(-1)), words.shape[1])

    def start(self) -> None:
        """Queue the steps that need no answer of the device; recorded ones, if the last search was alike."""
        space, last = self.space, self.space.recording
        if self.plain and last is not None and last.terms is self.terms and last.finish is self.finish:
            self.stream.replay(last.launches)
            return
        launches = self.stream.recorded(self.begin, self.scan_all, self._finish)
        if self.plain:
            space.recording = Recording(self.terms, self.finish, launches)

    def begin(self) -> None:
        """Queue the steps before the scans: an empty state, the queries' codes and terms."""
        space, batch, room = self.space, self.batch, self.space.room
        queue, wrong = self.stream.queue, space.state.wrong
        queue(tighten.empty, _blocks(len(space.counts)), THREADS, space.counts, wrong)
        blocks, threads = encoding_grid(room)
        queue(
            encode,
            blocks,
            threads,
            self.queries,
            Span(0, room),
            self.m,
            batch.dims,
            space.code_bytes,
            space.measured,
            space.longest,
            wrong,
        )
        lane_terms, power = terms.lane_terms(batch.metric), self.encoded.power
        queue(lane_terms, _blocks(room), THREADS, self.m, power, space.measured, space.lanes)

    def scan_all(self) -> None:
        """Queue the scans of all chunks."""
        for chunk in range(len(self.space.spans)):
            self.scan(chunk, self.space.lanes)

    def scan(self, chunk: int, lanes: Lanes) -> None:
        """Queue the scan of a chunk's rows with these terms of queries, and the tightening after it."""
        space, span, shape = self.space, self.space.spans[chunk], self.space.shape
        room, count = device.shared_memory(), device.processors()
        grid, block, shared = scan.launch(
            shape, self.m, space.codes.steps, span.last - span.first, count, room
        )
        self.stream.queue(
            scan.scan_kernel(shape.row_tiles, shape.query_tiles, shape.shared),
            grid,
            block,
            self.rows.fragments,
            self.terms,
            space.codes,
            lanes,
            self.closed,
            Span(span.first // ROWS, span.last // ROWS),
            space.lists,
            shared=shared,
        )
        self.stream.queue(
            tighten.tighten,
            self.m,
            tighten.THREADS,
            self.batch.k,
            space.lanes,
            self.terms,
            self.excluded,
            space.lists,
            space.lows,
            space.state.kept,
            space.marks[chunk],
        )

    def _finish(self) -> None:
        if self.finish is not None:
            self.finish(self)

    def repeat(self) -> Outcome:
        """Wait; scan chunks with overflowed lists again. Raises NotFinite for a query with NaN or inf."""
        space, again = self.space, 0
        for attempt in range(_ATTEMPTS + 1):
            report = Report.of(self.stream.fetch(space.report), self.m * self.batch.k)
            state = State.of(report.state, space.room)
            if state.wrong[WRONG_QUERY] != NONE:
                raise NotFinite(int(state.wrong[WRONG_QUERY]))
            marks = state.marks.reshape(-1, self.m)
            marked = np.greater(marks, 0)
            if attempt == _ATTEMPTS or not marked.any():
                break
            marks[:] = 0
            self.stream.copy(np.ascontiguousarray(report.state), space.state_array)
            for chunk in np.flatnonzero(marked.any(axis=1)):
                self.scan(int(chunk), self._lanes_of(marked[chunk]))
                again += 1
            self._finish()
        changed = state.wrong[CHANGED_ROW]
        return Outcome(
            report.rows,
            report.scores,
            state.lengths[: self.m],
            left=marked.any(axis=0),
            again=again,
            changed=-1 if changed == NONE else int(changed),
        )

    def _lanes_of(self, marked: np.ndarray) -> Lanes:
        """Terms that let no row reach the queries that are not ``marked``: these have its candidates."""
        lanes = self.stream.fetch(self.space.lanes.terms).reshape(TERMS, self.space.room)
        others = np.flatnonzero(~marked)
        lanes[:, others], lanes[ROOT, others] = 0.0, HIGHEST
        return Lanes(self.stream.send(lanes.reshape(-1)), self.space.room)


def _blocks(threads: int) -> int:
    return -(-threads // THREADS)


def _closed_margin(n: int, kept: Terms, allowed: np.ndarray) -> Any:
    """The margin of ``Terms`` with −inf in the rows that are not allowed."""
    margin = cuda.device_array(kept.margin.shape, np.float32)
    rows = len(kept.margin)
    closed = np.ones(rows, np.bool_)
    closed[:n] = ~allowed
    with queued() as queue:
        shut = cuda.to_device(bits(closed))
        queue(terms.close_rows, _blocks(rows), THREADS, rows, margin, shut, kept.margin)
    return margin
