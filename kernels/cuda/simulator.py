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
    """Where lanes meet. What they bring and take has two places in turn: none is overwritten too soon."""

    def __init__(self) -> None:
        self.brought: list[list[Any]] = [[None] * _LANES, [None] * _LANES]
        self.made: list[Any] = [None, None]
        self.here: list[int] = []
        self.doors = [threading.Lock() for _ in range(_LANES)]
        for door in self.doors:
            door.acquire()

    def meet(self, lane: int, turn: int, combine: Callable[[list[Any]], Any]) -> None:
        """Wait for all lanes. The last makes what they take, and opens the others' doors."""
        with _warps:
            self.here.append(lane)
            last = len(self.here) == _LANES
        if last:
            self.here.clear()
            self.made[turn] = combine(self.brought[turn])
            for other, door in enumerate(self.doors):
                if other != lane:
                    door.release()
        elif not self.doors[lane].acquire(timeout=10):
            raise RuntimeError("a lane of the warp did not come to where the others wait")


def _together(value: Any, combine: Callable[[list[Any]], Any]) -> tuple[Any, int]:
    """What ``combine`` makes of all lanes' values, and the number of the caller's."""
    thread: Any = threading.current_thread()
    lane, number = thread.thread_id % _LANES, thread.thread_id // _LANES
    with _warps:
        warps = thread._manager.__dict__.setdefault("_warps", {})
        warp = warps[number] if number in warps else warps.setdefault(number, _Warp())
    turn = thread.__dict__.get("_turn", 0)
    thread._turn = 1 - turn
    warp.brought[turn][lane] = value
    warp.meet(lane, turn, combine)
    return warp.made[turn], lane


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


def inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """A helper of kernels: as it is."""
    return function


def sum_of_lanes(value: float) -> np.float64:
    """Sum of a warp's float64, in the contract's order."""

    def fold(values: list[Any]) -> np.float64:
        total = np.array(values, np.float64)
        while len(total) > 1:
            total = total[: len(total) // 2] + total[len(total) // 2 :]
        return np.float64(total[0])

    total: np.float64 = _together(value, fold)[0]
    return total


def largest_of_lanes(value: np.float32) -> np.float32:
    """Largest of a warp's float32."""
    return np.float32(_together(value, max)[0])


def product(a: Any, b: Any) -> Any:
    """The rounded product: Python fuses nothing."""
    return a * b


def nearest(value: np.float32) -> np.float32:
    """The nearest integer, an even one if two are."""
    return np.float32(np.rint(value))


def sync_warp() -> None:
    """Wait for all lanes."""
    _together(None, len)


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

    def products(shown: list[Any]) -> np.ndarray:
        a = np.array([fragments for fragments, _ in shown]).reshape(_LANES, row_tiles, 4)
        b = np.array([fragments for _, fragments in shown]).reshape(_LANES, query_tiles, 2)
        left = np.stack([_row(a[:, i], row) for i in range(row_tiles) for row in range(16)])
        right = np.stack([_query(b[:, j], query) for j in range(query_tiles) for query in range(8)])
        return (left.astype(np.int64) @ right.T.astype(np.int64)).astype(np.int32)

    made, lane = _together((rows, mine), products)
    g, t = divmod(lane, 4)
    done = list(sums)
    for i in range(row_tiles):
        for j in range(query_tiles):
            for c in range(4):
                done[4 * (i * query_tiles + j) + c] += made[16 * i + g + 8 * (c // 2), 8 * j + 2 * t + c % 2]
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
