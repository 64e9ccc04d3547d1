"""Numba's CUDA simulator for fastvec's kernels: a stand-in for a device, with the operations of a warp.

Importing this module where NUMBA_ENABLE_CUDASIM is 1 installs it; import it before any kernel.

The simulator starts a thread of Python for each thread of a block, and asks all of them all the
time how they are. Here they are greenlets instead: each runs until it waits for its warp or its
block, and their order turns round each time, so that a kernel that relies on an order fails. Where
lanes meet they show each other their registers, and each takes its own part of the result, by the
layout that the PTX manual gives.
"""

from collections.abc import Callable
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

import numpy as np
from greenlet import getcurrent, greenlet
from numba import cuda, njit, types

from fastvec.kernels.cuda import device
from fastvec.kernels.cuda.arithmetic import OPERATIONS as ARITHMETIC
from fastvec.kernels.cuda.launches import Launch
from fastvec.kernels.cuda.layout import BY_ERROR, BY_LENGTH, ROOT, SLACK, WEIGHT
from fastvec.kernels.emit import operation

_LANES = 32


def install() -> None:
    """Let fastvec compute in the simulator, with blocks and grids that plain Python has time for."""
    from numba.cuda.simulator import kernel, kernelapi

    kernel.BlockManager.run = run_block
    kernelapi.threading = SimpleNamespace(current_thread=getcurrent)
    types.Number.__call__ = _convert
    shared = device.SharedMemory(48 << 10, 48 << 10)
    device.register(device.StandIn("Numba's CUDA simulator", 1, shared, operations()))

    from fastvec.kernels.cuda import exact, rows, scan, scoring, tighten, walk

    rows.WARPS = rows.BLOCKS = scoring.BLOCKS = 2
    exact.THREADS = tighten.THREADS = 32
    rows.THREADS = scan.THREADS = walk.THREADS = 64


def operations() -> dict[str, Any]:
    """By name, what kernels are made of."""
    functions = (
        *(hits, inline, largest_of_lanes, load_rows, lowest_bit, multiply, nearest),
        *(pick, product, sum_of_lanes, sync_warp, zeros),
    )
    names = {function.__name__: function for function in functions}
    return names | {"kernel": Kernel} | {name: globals()[name] for name in ARITHMETIC}


class Kernel:
    """An entry point, with the methods of ``launches.Kernel``."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.py_func, self._simulated = function, cuda.jit(function)

    def __getitem__(self, configuration: tuple[Any, ...]) -> Callable[..., Launch]:
        return lambda *arguments: self.prepare(*configuration, *arguments)()

    def prepare(self, grid: Any, block: int, stream: Any, shared: int, *arguments: Any) -> Launch:
        """The launch, to be done once or again and again."""
        # Numba's kernel remembers one grid, that of its latest launch.
        return Launch(lambda: self._simulated[grid, block, stream, shared](*arguments), arguments)


class _Meeting:
    """What the threads of a group bring to where they wait for each other, and what all take."""

    def __init__(self, size: int) -> None:
        self.brought: list[Any] = [None] * size
        self.missing = size
        self.made: Any = None


class _Group:
    """Threads that wait for each other: a warp, or a block."""

    def __init__(self, size: int) -> None:
        self.size, self.next = size, _Meeting(size)

    def meet(self, thread: "_Thread", value: Any, combine: Callable[[list[Any]], Any]) -> Any:
        """What ``combine`` makes of all threads' values."""
        meeting = self.next
        meeting.brought[thread.thread_id % self.size] = value
        meeting.missing -= 1
        if meeting.missing == 0:
            self.next = _Meeting(self.size)
            meeting.made = combine(meeting.brought)
        else:
            thread.waits_for = meeting
            thread.parent.switch()
        return meeting.made


class _Thread(greenlet):  # type: ignore[misc]
    """What the simulator takes for the running thread of Python."""

    def __init__(
        self, run: Callable[[], None], number: int, place: Any, at: Any, warp: _Group, block: _Group
    ) -> None:
        super().__init__(run)
        self.gr_context = copy_context()
        self.thread_id, self.warp, self.block = number, warp, block
        self.threadIdx, self.blockIdx = (SimpleNamespace(x=x, y=y, z=z) for x, y, z in (place, at))
        self.waits_for: _Meeting | None = None

    def syncthreads(self) -> None:
        self.block.meet(self, None, len)


def run_block(manager: Any, at: tuple[int, ...], *arguments: Any) -> None:
    """Run the threads of a block to their ends; a device warns of no overflow."""
    x, y, z = manager._block_dim
    block, warps = _Group(x * y * z), [_Group(_LANES) for _ in range(-(-x * y * z // _LANES))]
    bare = [*map(_bare, arguments)]
    with np.errstate(all="ignore"):
        waiting = [
            _Thread(lambda: manager._f(*bare), number, place[::-1], at, warps[number // _LANES], block)
            for number, place in enumerate(np.ndindex(z, y, x))
        ]
        while waiting:
            ready = [thread for thread in waiting if not (thread.waits_for and thread.waits_for.missing)]
            if not ready:
                raise RuntimeError(f"{len(waiting)} threads of a block wait where others do not come")
            for thread in ready:
                thread.switch()
            waiting = [thread for thread in reversed(waiting) if not thread.dead]


def _bare(value: Any) -> Any:
    """An argument as NumPy's. Numba wraps arrays twice: reading them took longer than all the rest."""
    if isinstance(value, tuple):
        return type(value)(*map(_bare, value))
    value = getattr(value, "_item", value)
    return getattr(value, "_ary", value)


def _convert(kind: Any, *values: Any, general: Any = types.Type.__call__) -> Any:
    """A number of this type. Numba asks first, and for longer, whether a signature is meant."""
    if values and isinstance(values[0], int | float | np.generic):
        return kind.cast_python_value(values[0])
    return general(kind, *values)


def _together(value: Any, combine: Callable[[list[Any]], Any]) -> Any:
    """What ``combine`` makes of all lanes' values."""
    thread = getcurrent()
    return thread.warp.meet(thread, value, combine)


def _on_processor(emit: Callable[..., Any], result: types.Type, arguments: tuple[types.Type, ...]) -> Any:
    """An operation of the device, compiled for this processor."""
    function = operation(result, *arguments)(emit)

    @njit
    def call(*values):
        return function(*values)

    return call


value, slack, threshold, reaches, lower, ordered = (
    _on_processor(*ARITHMETIC[name])
    for name in ("value", "slack", "threshold", "reaches", "lower", "ordered")
)


def inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """A helper of kernels, unchanged."""
    return function


def sum_of_lanes(value: float) -> np.float64:
    """Sum of a warp's float64, in the contract's order."""

    def fold(values: list[Any]) -> np.float64:
        total = np.array(values, np.float64)
        while len(total) > 1:
            total = total[: len(total) // 2] + total[len(total) // 2 :]
        return np.float64(total[0])

    total: np.float64 = _together(value, fold)
    return total


def largest_of_lanes(value: np.float32) -> np.float32:
    """Largest of a warp's float32."""
    return np.float32(_together(value, max))


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
    """``count`` sums, all 0."""
    return (np.int32(0),) * count


def load_rows(codes: Any, at: int, stride: int, tiles: int) -> tuple[np.int32, ...]:
    """A lane's fragments of ``tiles`` tiles of rows."""
    return tuple(codes[at + i * stride + word] for i in range(tiles) for word in range(4))


def multiply(
    sums: tuple[np.int32, ...], rows: tuple[np.int32, ...], queries: Any, at: int, stride: int
) -> tuple[np.int32, ...]:
    """Add the products of all pairs of tiles."""
    row_tiles = len(rows) // 4
    query_tiles = len(sums) // (4 * row_tiles)
    here = [queries[at + j * stride + word] for j in range(query_tiles) for word in range(2)]

    def products(shown: list[Any]) -> list[Any]:
        a = np.array([fragments for _, fragments, _ in shown], np.int32).reshape(_LANES, row_tiles, 4)
        b = np.array([fragments for _, _, fragments in shown], np.int32).reshape(_LANES, query_tiles, 2)
        left = np.stack([_row(a[:, i], row) for i in range(row_tiles) for row in range(16)])
        right = np.stack([_query(b[:, j], query) for j in range(query_tiles) for query in range(8)])
        made = (left.astype(np.int64) @ right.T.astype(np.int64)).astype(np.int32)
        # made: tile, half, g of a row by tile, t, parity of a query; a lane is g and t.
        made = made.reshape(row_tiles, 2, 8, query_tiles, 4, 2).transpose(2, 4, 0, 3, 1, 5)
        return list(made.reshape(_LANES, -1) + np.array([before for before, _, _ in shown], np.int32))

    return tuple(_together((sums, rows, here), products)[getcurrent().thread_id % _LANES])


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
    terms: Any,
    lanes: Any,
    row: int,
    query: int,
    length: np.float32,
    error: np.float32,
) -> int:
    """Bit z is set where sum z reaches its query's threshold."""
    query_tiles, bits = len(sums) // (4 * tiles), 0
    for z, score in enumerate(sums):
        i = row + 8 * (2 * (z // (4 * query_tiles)) + z % 4 // 2)
        q = query + 8 * (z // 4 % query_tiles) + z % 2
        of_query = [lanes.terms[term * lanes.room + q] for term in (ROOT, SLACK, BY_LENGTH, BY_ERROR)]
        of_row = value(score, terms.scale[i], terms.margin[i], lanes.terms[WEIGHT * lanes.room + q])
        if reaches(of_row, threshold(*of_query, length, error)):
            bits |= 1 << z
    return bits


def pick(sums: tuple[np.int32, ...], place: int) -> np.int32:
    """One of the sums."""
    return sums[place]


def lowest_bit(value: int) -> int:
    """Position of the lowest set bit."""
    return (value & -value).bit_length() - 1


if device.simulated():
    install()
