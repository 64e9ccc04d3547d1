"""The arrays of a search, kept for the next one of its kind, as allocating takes as long as a short scan."""

import contextlib
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from . import device, scan
from .batch import Batch, Limits, chunks
from .launches import Launch
from .layout import QUERIES, STEP, TERMS, Excluded, Floats, Fragments, Lanes, Lists, Ranking, State, Terms
from .rows import measured
from .stream import Stream

_MOST_IDLE = 2
"""The number of workspaces that rows keep, so that two threads can search in turn without allocating."""


class Recording(NamedTuple):
    """The launches of a search that depend only on its workspace, the rows and their terms."""

    terms: Terms
    finish: Any
    """The steps after the scans, or None; see ``walk.py``."""
    launches: list[Launch]


class Report(NamedTuple):
    """The parts of an answer, which come back from the device in one piece."""

    rows: Any
    """int64 [m · k] row numbers."""
    scores: Any
    """float32 [m · k]."""
    state: Any
    """int32, of ``State``."""

    @classmethod
    def of(cls, data: Any, size: int) -> "Report":
        """The parts in an array of bytes, of NumPy or of the device; ``size`` is m · k."""
        rows, scores, state = data[: 8 * size], data[8 * size : 12 * size], data[12 * size :]
        return cls(rows.view(np.int64), scores.view(np.float32), state.view(np.int32))


def ranking(size: int) -> Ranking:
    """Room for a ranking of m · k = ``size`` places."""
    exact, scores, rows = (cuda.device_array(size, kind) for kind in (np.float64, np.float32, np.int64))
    return Ranking(exact, scores, rows)


def key_of(batch: Batch, limits: Limits) -> tuple[int, int, int, Limits]:
    """The properties that searches with the same workspace have in common."""
    return len(batch.queries), batch.dims, batch.k, limits


class Workspace:
    """A stream, and the arrays of a search of m queries among ``rows`` rows, which fill whole panels."""

    def __init__(self, batch: Batch, limits: Limits, rows: int) -> None:
        self.key, m = key_of(batch, limits), len(batch.queries)
        self.spans = list(chunks(rows, limits))
        """The rows of each chunk."""
        self.stream, steps = Stream(), -(-batch.dims // STEP)
        self.shape = scan.shape_for(m, steps, device.shared_memory())
        group = self.shape.query_tiles * QUERIES
        self.room = -(-m // group) * group
        """Queries, in whole tiles of a warp."""
        self.queries = Floats(cuda.device_array(m * batch.dims, np.float32), batch.dims)
        self.codes = Fragments(cuda.device_array(self.room * steps * STEP // 4, np.int32), steps, QUERIES)
        self.code_bytes = self.codes._replace(codes=self.codes.codes.view(np.int8))
        self.measured, self.longest = measured(self.room), cuda.device_array(1, np.float64)
        self.lanes = Lanes(cuda.device_array(TERMS * self.room, np.float32), self.room)
        self.nothing_excluded = Excluded(cuda.to_device(np.zeros(m + 1, np.int64)), m)
        size = m * batch.k
        self.report = cuda.device_array(12 * size + 4 * (2 * self.room + len(self.spans) * m + 2), np.int8)
        best_rows, best_scores, self.state_array = Report.of(self.report, size)
        self.state = State.of(self.state_array, self.room)
        self.counts = self.state_array[:-2]
        """The state without ``wrong``."""
        # Of each chunk, so that launches that are not recorded need not cut them out.
        self.marks = [self.state.marks[chunk * m : (chunk + 1) * m] for chunk in range(len(self.spans))]
        self.answer = Ranking(cuda.device_array(size, np.float64), best_scores, best_rows)
        room = m * limits.capacity
        numbers, scores = (cuda.device_array(room, np.int32) for _ in range(2))
        self.lists = Lists(limits.capacity, self.state.lengths, numbers, scores)
        self.lows, self.exact = cuda.device_array(room, np.float32), cuda.device_array(room, np.float64)
        """Lower ends and exact scores of the lists' entries."""
        self.recording: Recording | None = None
        arrays = [self.queries.values, self.codes.codes, *self.measured, self.lanes.terms]
        arrays += [numbers, scores, self.lows, self.exact, self.report, self.answer.best]
        self.nbytes = sum(array.nbytes for array in arrays)


def borrowed(idle: list[Workspace], batch: Batch, limits: Limits, rows: int) -> Workspace:
    """A workspace that an earlier search left in ``idle``, or a new one.

    A search appends it to ``idle`` when it ends; before a new one is made, all but the last are freed.
    """
    key = key_of(batch, limits)
    for space in list(idle):
        if space.key == key:
            with contextlib.suppress(ValueError):  # another thread has taken it
                idle.remove(space)
                return space
    del idle[: 1 - _MOST_IDLE]
    return Workspace(batch, limits, rows)
