"""The operations of ``intrinsics.py`` for Numba's CUDA simulator, which has none of a warp's.

The simulator runs a Python thread for each thread of a block. Here the lanes of a warp
show each other their registers at a barrier, and each computes its own part of the
result from the fragments of all, by the layout that the PTX manual gives.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types

from ..simd import operation
from .arithmetic import OPERATIONS
from .layout import BY_ERROR, BY_LENGTH, ROOT, SLACK, WEIGHT

_LANES = 32
_warps = threading.Lock()


class _Warp:
    """Where lanes meet. Two sets of slots take turns: none is overwritten before all have read it."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(_LANES)
        self.slots: list[list[Any]] = [[None] * _LANES, [None] * _LANES]


def _exchange(value: Any) -> tuple[list[Any], int]:
    """What all lanes show, and the number of the caller's."""
    thread: Any = threading.current_thread()
    lane = thread.thread_id % _LANES
    with _warps:
        warps = thread._manager.__dict__.setdefault("_warps", {})
        warp = warps.setdefault(thread.thread_id // _LANES, _Warp())
    turn = thread.__dict__.get("_turn", 0)
    thread._turn = 1 - turn
    warp.slots[turn][lane] = value
    warp.barrier.wait(timeout=60)
    return warp.slots[turn], lane


def _on_processor(emit: Callable[..., Any], result: types.Type, arguments: tuple[types.Type, ...]) -> Any:
    """An operation of the device, compiled for this processor."""
    function = operation(result, *arguments)(emit)

    @njit
    def call(*values):
        return function(*values)

    return call


value, slack, threshold, reaches, lower, ordered = (
    _on_processor(*OPERATIONS[name])
    for name in ("value", "slack", "threshold", "reaches", "lower", "ordered")
)


def sync_warp() -> None:
    """Wait for all lanes."""
    _exchange(None)


def zeros(count: int) -> tuple[np.int32, ...]:
    """So many sums, all 0."""
    return (np.int32(0),) * count


def load_rows(codes: Any, at: int, stride: int, tiles: int) -> tuple[np.int32, ...]:
    """A lane's fragments of some tiles of rows."""
    return tuple(codes[at + i * stride + word] for i in range(tiles) for word in range(4))


def multiply(
    sums: tuple[np.int32, ...], rows: tuple[np.int32, ...], queries: Any, at: int, stride: int
) -> tuple[np.int32, ...]:
    """Add the products of all pairs of tiles."""
    row_tiles = len(rows) // 4
    query_tiles = len(sums) // (4 * row_tiles)
    mine = [queries[at + j * stride + word] for j in range(query_tiles) for word in range(2)]
    shown, lane = _exchange((rows, mine))
    a = np.array([fragments for fragments, _ in shown]).reshape(_LANES, row_tiles, 4)
    b = np.array([fragments for _, fragments in shown]).reshape(_LANES, query_tiles, 2)
    g, t = divmod(lane, 4)
    done = list(sums)
    for i in range(row_tiles):
        for j in range(query_tiles):
            for c in range(4):
                row, query = g + 8 * (c // 2), 2 * t + c % 2
                done[4 * (i * query_tiles + j) + c] += np.int32(
                    _row(a[:, i], row).astype(np.int64) @ _query(b[:, j], query)
                )
    return tuple(done)


def _row(a: np.ndarray, row: int) -> np.ndarray:
    """The 32 signed bytes of one of 16 rows, from the fragments of all lanes."""
    lanes, half = np.arange(4) + 4 * (row % 8), row // 8
    return np.concatenate([a[lanes, half], a[lanes, 2 + half]]).view(np.int8)


def _query(b: np.ndarray, query: int) -> np.ndarray:
    lanes = np.arange(4) + 4 * query
    return np.concatenate([b[lanes, 0], b[lanes, 1]]).view(np.int8)


def hits(
    sums: tuple[np.int32, ...],
    tiles: int,
    scale: Any,
    margin: Any,
    row: int,
    lanes: Any,
    room: int,
    query: int,
    length: np.float32,
    error: np.float32,
) -> int:
    """Bit z is set where sum z reaches its query's threshold."""
    query_tiles, bits = len(sums) // (4 * tiles), 0
    for z, score in enumerate(sums):
        own = row + 8 * (2 * (z // (4 * query_tiles)) + z % 4 // 2)
        q = query + 8 * (z // 4 % query_tiles) + z % 2
        terms = [lanes[term * room + q] for term in (ROOT, SLACK, BY_LENGTH, BY_ERROR)]
        own_value = value(score, scale[own], margin[own], lanes[WEIGHT * room + q])
        if reaches(own_value, threshold(*terms, length, error)):
            bits |= 1 << z
    return bits


def pick(sums: tuple[np.int32, ...], place: int) -> np.int32:
    """One of the sums."""
    return sums[place]


def lowest_bit(value: int) -> int:
    """Position of the lowest set bit."""
    return (value & -value).bit_length() - 1
