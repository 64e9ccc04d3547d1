"""The log of hits of a scan: intervals, thresholds, and what is dropped.

A hit is a query, a row and their integer score, appended as it comes. Draining turns
hits into intervals in float64, raises the thresholds, and drops what is beaten already.
Once the log has doubled it is compacted: what the raised thresholds beat is dropped too.

A query that keeps more than ``max(8k, _ALWAYS_KEPT)`` entries at a compaction, or more than its share where
all queries together fill half the log, gets a threshold from exact scores (``refine.py``). If it still keeps
as many, its bound separates too little: it leaves the scan, and the direct pass finishes it. So the log is
bounded:

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
from .compile import inline, kernel, stay_called
from .encode import unit_scale
from .filters import excluded
from .topk import raise_floor

(
    COUNT,
    DRAINED,
    COMPACT_AT,
    LIMIT,
    _SHARE,
    _CAPACITY,
    _ROOM,
    STALE,
    PASSED,
    SEEN,
    NARROWED,
    _WORTH,
    FULL_AT,
) = range(13)
"""Places of ``State.cursor``: entries in the log; how many of them are drained; how many to compact at;
how many a query may keep, and its share; the log's capacity; room to leave for the hits until the next
drain; a row that is not the one that was encoded, or −1; pairs that passed a screen, pairs that it saw,
and pairs that passed its leading codes; how many entries of a query are worth their exact scores where
other queries leave; with how many more the hits of a chunk of rows might not fit."""

CAPACITY = 1 << 21
"""Entries a log may hold, 36 bytes each, unless a single query's limit is larger; memory is touched
only as far as it is filled."""

_ALWAYS_KEPT = 4096
"""Entries that a query may keep, whatever k is."""

_DRAIN = 2048
_SLACK = 1 << 16
"""Entries between two compactions at least; more than a drain and a tile can add."""

_DIRECT = 32
"""Pairs that the direct pass scores in the time of an exact score for an entry, whose row may lie anywhere,
where it passes over the rows for other queries anyway."""

_ENTRY: dict[str, np.dtype[Any]] = {
    "row": np.dtype(np.int64),
    "lower": np.dtype(np.float64),
    "upper": np.dtype(np.float64),
    "query": np.dtype(np.int32),
    "score": np.dtype(np.int32),
}
_ENTRY_BYTES = sum(kind.itemsize for kind in _ENTRY.values())
_KEPT_BYTES = 1 << 24

_NEVER = np.iinfo(np.int64).max
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
    """int64; see its places above."""


class Survivors(NamedTuple):
    """The log of all parts, joined: row ``row[i]`` may be an answer of query ``query[i]``."""

    query: np.ndarray
    row: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    left: np.ndarray
    """bool (m,): queries that the scan could not finish."""
    stale: int
    """A row that is not the one that was encoded, or −1."""
    screened: int
    """Pairs of query and row that were scored on a screen."""
    passed: int
    """Those of them that passed it."""


def queries_at_once(k: int) -> int:
    """Queries whose limits fit a log of ``CAPACITY`` entries twice; 0 if not even one's does."""
    return CAPACITY // (16 * k)


def new_state(m: int, lanes: int, k: int, pairs: int) -> State:
    """The state before the first of ``pairs`` pairs of a query and a row."""
    limit, capacity = max(8 * k, _ALWAYS_KEPT), max(CAPACITY, 16 * k * m)
    room, slack = min(capacity, 2 * m * limit) + 2 * _SLACK, _SLACK
    if pairs < room:
        room, slack = pairs, 0
    threshold, weight = np.full(lanes, np.inf, np.float32), np.ones(lanes, np.float32)
    share = max(8 * k, capacity // (4 * m))
    worth = min(limit, max(8 * k, pairs // (_DIRECT * m)))
    return State(
        floor=np.full((m, k), -np.inf),
        root=np.full(m, -np.inf),
        left=np.zeros(m, np.bool_),
        threshold=threshold,
        weight=weight,
        **_entries(room),
        live=np.zeros(m, np.int64),
        cursor=np.array([0, 0, _SLACK, limit, share, capacity, slack, -1, 0, 0, 0, worth, _NEVER], np.int64),
    )


def nbytes(state: State) -> int:
    """Bytes of the log itself."""
    return len(state.row) * _ENTRY_BYTES


def fixed_state(m: int, lanes: int, root: float, hits: int, full: int) -> State:
    """A state whose threshold never moves, with room for so many hits, to be emptied at ``full`` of them."""
    state = with_room(m, lanes, 0, hits)
    state.root[:] = root
    state.cursor[[COMPACT_AT, FULL_AT]] = _NEVER, full
    return state


@inline
def is_full(state):
    """Whether the hits of another chunk of rows might not fit."""
    return state.cursor[COUNT] > state.cursor[FULL_AT]


def empty(state: State) -> None:
    """Forget all hits, and counts of them, of a state whose threshold never moves."""
    state.cursor[[COUNT, DRAINED, PASSED, SEEN, NARROWED]] = 0


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
    """The state with a log cut to what is in it, in memory of its own."""
    count = state.cursor[COUNT]
    logs = ("query", "row", "score", "lower", "upper")
    copies = {name: getattr(state, name)[:count].copy() for name in logs}
    return state._replace(**copies, cursor=state.cursor.copy())


def join(parts: list[tuple[int, State]], m: int) -> Survivors:
    """The logs of parts, each with its first query, that are cut to what is in them (``filled``)."""
    if len(parts) == 1:  # of all queries
        state = parts[0][1]
        return Survivors(
            state.query,
            state.row,
            state.lower,
            state.upper,
            state.left,
            *map(int, state.cursor[[STALE, SEEN, PASSED]]),
        )
    left = np.zeros(m, np.bool_)
    for first, state in parts:
        left[first : first + len(state.left)] |= state.left
    return Survivors(
        np.concatenate([state.query + np.int32(first) for first, state in parts]),
        np.concatenate([state.row for _, state in parts]),
        np.concatenate([state.lower for _, state in parts]),
        np.concatenate([state.upper for _, state in parts]),
        left,
        max((int(state.cursor[STALE]) for _, state in parts), default=-1),
        sum(int(state.cursor[SEEN]) for _, state in parts),
        sum(int(state.cursor[PASSED]) for _, state in parts),
    )


@inline
def begin(state, cursor):
    """Make a used state one before the first hit, with this cursor, in memory of the same size."""
    floor, root, left = state.floor, state.root, state.left
    for q in range(floor.shape[0]):
        root[q], left[q] = -np.inf, False
        for place in range(floor.shape[1]):
            floor[q, place] = -np.inf
    for place in range(len(cursor)):
        state.cursor[place] = cursor[place]


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
    count = state.cursor[COUNT]
    state.query[count], state.row[count], state.score[count] = query, row, score
    state.cursor[COUNT] = count + 1


# Records are handed to functions by value, which takes longer than a hit. So what is done for every hit
# is written where it is done, or handed over as single values.


@inline
def drain(metric, rows, queries, exclusions, state, limits):
    """Intervals of the hits since the last drain; thresholds raised."""
    stay_called()
    kept, raised = state.cursor[DRAINED], np.int64(-1)  # the query whose threshold is to follow its root
    for z in range(kept, state.cursor[COUNT]):
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
            if q != raised and raised >= 0:
                state.threshold[raised] = _theta(metric, raised, queries, state.root[raised], limits)[0]
            raise_floor(state.floor[q], lower)
            state.root[q], raised = max(state.root[q], state.floor[q, 0]), q
    if raised >= 0:
        state.threshold[raised] = _theta(metric, raised, queries, state.root[raised], limits)[0]
    drained(state, kept)


@inline
def drained(state, kept):
    """All entries up to ``kept`` have their intervals, and there are no others."""
    state.cursor[COUNT], state.cursor[DRAINED] = kept, kept


@inline
def let_go(state, limit):
    """Let queries go that keep more than ``limit`` entries: these are dropped, and no row passes any more."""
    for q in range(len(state.live)):
        if state.live[q] > limit:
            state.left[q], state.root[q], state.threshold[q] = True, np.inf, np.inf


@inline
def limit(state):
    """How many entries a query may keep: fewer where all together fill half of the log."""
    if state.cursor[COUNT] <= state.cursor[_CAPACITY] // 2:
        return state.cursor[LIMIT]
    return min(state.cursor[LIMIT], state.cursor[_SHARE])


@inline
def let_more_go(state):
    """Where queries leave, let others go with them: those with more entries than are worth exact scores."""
    if state.left.any():
        let_go(state, state.cursor[_WORTH])
        drop_beaten(state)


@inline
def drop_beaten(state):
    """Drop entries below their threshold; return whether a query keeps more than its limit."""
    state.live[:] = 0
    kept = 0
    for z in range(state.cursor[COUNT]):
        q = state.query[z]
        if state.upper[z] >= state.root[q]:
            state.query[kept], state.row[kept] = q, state.row[z]
            state.lower[kept], state.upper[kept] = state.lower[z], state.upper[z]
            kept += 1
            state.live[q] += 1
    drained(state, kept)
    most = np.int64(0)
    for q in range(len(state.live)):
        most = max(most, state.live[q])
    return most > limit(state)


@inline
def compacted(state):
    """Say when to compact again; make sure that the hits until the next drain have room."""
    if state.cursor[COUNT] + state.cursor[_ROOM] > len(state.row):
        raise AssertionError("the log of hits has no room for the hits until the next drain")
    state.cursor[COMPACT_AT] = min(2 * state.cursor[COUNT] + _SLACK, state.cursor[_CAPACITY])


@inline
def compact(state):
    """Drop what is beaten, and let queries go that keep too many."""
    if drop_beaten(state):
        let_go(state, limit(state))
        drop_beaten(state)
    compacted(state)


@kernel
def compact_log(state):
    """``compact`` once there are no more hits."""
    compact(state)
