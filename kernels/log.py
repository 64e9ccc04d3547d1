"""The log of hits of a scan: intervals, thresholds, and what is dropped.

A hit is a query, a row and their integer score, appended as it comes. Draining turns
hits into intervals in float64, raises the thresholds, and drops what is beaten already.
Once the log has doubled it is compacted: what the raised thresholds beat is dropped too.

A query that keeps more than ``max(8k, 4096)`` entries at a compaction leaves the scan:
its bound separates too little, and the direct pass finishes it. Where all queries
together fill half the log, those with more than their share leave. So the log is bounded:

    m queries                capacity C = max(CAPACITY, 16 · k · m)
    behind a compaction      at most C/2 entries: m queries of limit 8k each, or of their share,
                             which is C/(4m) or 8k, whichever is more
    compacted again          at the latest at C entries
    between two drains       at most _SLACK more (a tile of hits comes before each)

Where there are no more pairs of query and row than that, the log has room for all of them.
"""

from typing import Any, NamedTuple

import numpy as np

from . import metrics
from .bound import FLOAT32_SLACK, ROUND_DOWN, cosine_error
from .compile import inline, kernel
from .encode import unit_scale
from .filters import excluded
from .topk import raise_floor

CAPACITY = 1 << 21
"""Entries a log may hold, 36 bytes each, unless a single query's limit is larger; memory is touched
only as far as it is filled."""

_DRAIN = 2048
_SLACK = 1 << 16
"""Entries between two compactions at least; more than a drain and a tile can add."""

_ENTRY: dict[str, np.dtype[Any]] = {
    "row": np.dtype(np.int64),
    "lower": np.dtype(np.float64),
    "upper": np.dtype(np.float64),
    "query": np.dtype(np.int32),
    "score": np.dtype(np.int32),
}
_ENTRY_BYTES = sum(kind.itemsize for kind in _ENTRY.values())
_KEPT_BYTES = 1 << 24

_FLOAT32_MAX = float(np.finfo(np.float32).max)


class State(NamedTuple):
    """What a scan knows so far; queries are counted from the first of its part."""

    floor: np.ndarray
    """float64 (m, k): heap of the k largest lower ends of each query, smallest first."""
    root: np.ndarray
    """float64 (m,): the threshold, ``floor``'s smallest; inf once the query has left."""
    left: np.ndarray
    threshold: np.ndarray
    """float32: θ of each query, +inf in the lanes past the last query."""
    weight: np.ndarray
    """float32: 1/scale of each query."""
    query: np.ndarray
    row: np.ndarray
    score: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    live: np.ndarray
    cursor: np.ndarray
    """int64: entries in the log; drained; at which to compact; limit of a query; its share; capacity; room
    to leave for the hits until the next drain."""


class Survivors(NamedTuple):
    """The log of all parts, joined: row ``row[i]`` may be an answer of query ``query[i]``."""

    query: np.ndarray
    row: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    left: np.ndarray
    """bool (m,): queries that the scan could not finish."""


def queries_at_once(k: int) -> int:
    """Queries whose limits fit a log of ``CAPACITY`` entries twice; 0 if not even one's does."""
    return CAPACITY // (16 * k)


def new_state(m: int, lanes: int, k: int, pairs: int) -> State:
    """The state before the first of ``pairs`` pairs of a query and a row."""
    limit, capacity = max(8 * k, 4096), max(CAPACITY, 16 * k * m)
    room, slack = min(capacity, 2 * m * limit) + 2 * _SLACK, _SLACK
    if pairs < room:
        room, slack = pairs, 0
    threshold, weight = np.full(lanes, np.inf, np.float32), np.ones(lanes, np.float32)
    share = max(8 * k, capacity // (4 * m))
    return State(
        floor=np.full((m, k), -np.inf),
        root=np.full(m, -np.inf),
        left=np.zeros(m, np.bool_),
        threshold=threshold,
        weight=weight,
        **_entries(room),
        live=np.zeros(m, np.int64),
        cursor=np.array([0, 0, _SLACK, limit, share, capacity, slack], np.int64),
    )


def fixed_state(m: int, lanes: int, root: float, hits: int) -> State:
    """A state whose threshold never moves and whose log holds every hit."""
    state = with_room(m, lanes, 0, hits)
    state.root[:] = root
    state.cursor[2] = np.iinfo(np.int64).max
    return state


def with_room(m: int, lanes: int, k: int, hits: int) -> State:
    """A state whose log holds so many hits before the first drain."""
    return new_state(m, lanes, k, 0)._replace(**_entries(hits))


def _entries(room: int) -> dict[str, np.ndarray]:
    """The log itself, in pieces of memory that malloc keeps for the next search.

    GNU's gives large pieces back to the system: those above 32 MiB always, and smaller ones where
    several together are more than twice the largest that was freed before.
    """
    size = room * _ENTRY_BYTES
    if size > _KEPT_BYTES:
        return {name: np.empty(room, kind) for name, kind in _ENTRY.items()}
    memory, entries, start = np.empty(size, np.uint8), {}, 0
    for name, kind in _ENTRY.items():
        stop = start + kind.itemsize * room
        entries[name], start = memory[start:stop].view(kind), stop
    return entries


def filled(state: State) -> State:
    """The state with a log cut to what is in it."""
    count = state.cursor[0]
    logs = ("query", "row", "score", "lower", "upper")
    return state._replace(**{name: getattr(state, name)[:count].copy() for name in logs})


def join(parts: list[tuple[int, State]], m: int) -> Survivors:
    if len(parts) == 1:  # of all queries, and cut to what is in it
        state = parts[0][1]
        return Survivors(state.query, state.row, state.lower, state.upper, state.left)
    left = np.zeros(m, np.bool_)
    for first, state in parts:
        left[first : first + len(state.left)] |= state.left
    logs = [(first, state, state.cursor[0]) for first, state in parts]
    return Survivors(
        np.concatenate([state.query[:count] + np.int32(first) for first, state, count in logs]),
        np.concatenate([state.row[:count] for _, state, count in logs]),
        np.concatenate([state.lower[:count] for _, state, count in logs]),
        np.concatenate([state.upper[:count] for _, state, count in logs]),
        left,
    )


@inline
def hits_to_drain(state):
    """Few queries raise their thresholds after few hits; many are drained in one go."""
    return min(max(4 * state.floor.size, 64), _DRAIN)


@inline
def _theta(metric, q, queries, root, limits):
    """θ and w of a query; no row passes for one that has left."""
    if root == np.inf:
        return np.float32(np.inf), np.float32(1.0)
    error = queries.error[q] + FLOAT32_SLACK
    power, largest, length = limits
    theta, weight = metrics.lane_terms(
        metric, root, queries.scale[q], error, queries.norm[q], power, largest, length
    )
    theta -= abs(theta) * ROUND_DOWN
    return np.float32(max(theta, -_FLOAT32_MAX)), np.float32(weight)


@inline
def set_thresholds(metric, queries, state, limits):
    for q in range(len(queries.scale)):
        state.threshold[q], state.weight[q] = _theta(metric, q, queries, state.root[q], limits)


@inline
def append(state, query, row, score):
    count = state.cursor[0]
    state.query[count], state.row[count], state.score[count] = query, row, score
    state.cursor[0] = count + 1


@inline
def drain(metric, rows, queries, exclusions, state, limits):
    """Intervals of the hits since the last drain; thresholds raised."""
    kept = state.cursor[1]
    for z in range(kept, state.cursor[0]):
        q, i = np.int64(state.query[z]), state.row[z]
        cosine = np.float64(state.score[z]) * (queries.scale[q] * unit_scale(rows, i))
        error = cosine_error(queries.error[q], np.float64(rows.error[i]))
        lower, upper = metrics.interval(metric, cosine, error, queries.norm[q], rows.norm[i])
        row = rows.ids[i] if len(rows.ids) > 0 else rows.base + i
        if upper < state.root[q] or excluded(exclusions, q, row):
            continue
        state.query[kept], state.row[kept] = q, row
        state.lower[kept], state.upper[kept] = lower, upper
        kept += 1
        if lower > state.root[q] and state.floor.shape[1] > 0:
            raise_floor(state.floor[q], lower)
            state.root[q] = state.floor[q, 0]
            state.threshold[q] = _theta(metric, q, queries, state.root[q], limits)[0]
    state.cursor[0], state.cursor[1] = kept, kept
    if kept >= state.cursor[2]:
        _compact(state)
    if state.cursor[0] + state.cursor[6] > len(state.row):
        raise AssertionError("the log of hits has no room for the hits until the next drain")


@inline
def _compact(state):
    """Drop entries below their threshold; let queries go that keep too many."""
    count = _drop_beaten(state)
    capacity = state.cursor[5]
    limit = state.cursor[3] if count <= capacity // 2 else min(state.cursor[3], state.cursor[4])
    leaving = False
    for q in range(len(state.live)):
        if state.live[q] > limit:
            state.left[q], state.root[q], state.threshold[q] = True, np.inf, np.inf
            leaving = True
    if leaving:
        count = _drop_beaten(state)
    state.cursor[0], state.cursor[1], state.cursor[2] = count, count, min(2 * count + _SLACK, capacity)


@inline
def _drop_beaten(state):
    state.live[:] = 0
    kept = 0
    for z in range(state.cursor[0]):
        q = state.query[z]
        if state.upper[z] >= state.root[q]:
            state.query[kept], state.row[kept] = q, state.row[z]
            state.lower[kept], state.upper[kept] = state.lower[z], state.upper[z]
            state.live[q] += 1
            kept += 1
    state.cursor[0] = kept
    return kept


@kernel
def compact_log(state):
    _compact(state)
