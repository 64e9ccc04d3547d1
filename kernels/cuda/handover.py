"""From candidates on the device to survivors of the processor, where the float32 rows are not on the device.

Candidates get their intervals, in float64, from the log of the processor's own scan (``log.drain``).
"""

from collections.abc import Callable

import numpy as np
from numba import cuda

from .. import encode as host
from .. import log, threads
from ..compile import kernel as cpu_kernel
from ..compile import specialized
from ..log import State, Survivors
from ..rows import split
from ..scan import rows_of
from . import tighten
from .batch import Batch
from .layout import Candidates
from .walk import Outcome, Walk


def candidates(walk: Walk, outcome: Outcome) -> Candidates:
    """The entries of the lists, in this computer's memory; row numbers are int64."""
    size = int(outcome.sizes.sum())
    query, row, score = (cuda.device_array(max(1, size), np.int32) for _ in range(3))
    collected = Candidates(query, row, score)
    total = walk.stream.send(np.zeros(1, np.int64))
    walk.stream.queue(tighten.collect, walk.m, tighten.THREADS, walk.space.lists, total, collected)
    queries, rows, scores = (walk.stream.fetch(array)[:size] for array in collected)
    return Candidates(queries, rows.astype(np.int64), scores)


def packed(walk: Walk) -> host.Queries:
    """What was measured of the queries, in this computer's memory; without their codes."""
    scale, error, norm = (walk.stream.fetch(array)[: walk.m] for array in walk.space.measured)
    none = np.empty((0, host.ALIGNMENT), np.int8)
    unit = np.where(scale == 0.0, 1.0, scale.astype(np.float64))
    correction = np.empty(0, np.int32)
    return host.Queries(none, none.reshape(-1), correction, unit, error.astype(np.float64), norm)


def certified(
    batch: Batch,
    encoded: host.Encoded,
    packed: host.Queries,
    left: np.ndarray,
    candidates: Candidates,
    num_threads: int,
) -> Survivors:
    """Candidates with proved intervals, less those that are beaten, by the log of the processor's scan."""
    m, rows = len(left), rows_of(encoded, 0)

    def part(run: tuple[int, int]) -> tuple[int, State]:
        part_of = slice(run[0], run[1])
        query, row, score = (array[part_of] for array in candidates)
        state = _log_of(m, batch.k, query, row, score)
        state.left[left], state.root[left] = True, np.inf
        _drain(batch.metric)(rows, packed, batch.exclusions, state)
        log.compact_log(state)
        return 0, log.filled(state)

    count = len(candidates.rows)
    parts = split(count, max(1, min(num_threads, count >> 14)))
    return log.join(threads.run(part, parts or [(0, 0)], num_threads), m)


def _log_of(m: int, k: int, query: np.ndarray, row: np.ndarray, score: np.ndarray) -> State:
    """A log of hits that have not been drained."""
    count = len(row)
    state = log.with_room(m, m, k, count)
    state.query[:count], state.row[:count], state.score[:count] = query, row, score
    state.cursor[log.COUNT] = count
    return state


@specialized
def _drain(metric: str) -> Callable[..., None]:
    @cpu_kernel
    def drain_candidates(rows, queries, exclusions, state):
        log.drain(metric, rows, queries, exclusions, state, (1.0, 0.0, 1.0))

    return drain_candidates
