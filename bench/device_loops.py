"""Bare loops on an NVIDIA device, of the instructions that the scan is made of: reading, integer products.

Importing it needs numba-cuda, or Numba's simulator with the operations that the tests register.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import cuda, types

from fastvec.kernels.cuda import device
from fastvec.kernels.cuda.operations import kernel, load_rows, multiply, pick, zeros

_SIMULATED = device.simulated()
LAUNCHES = 1 if _SIMULATED else 8
"""Launches that are queued at once, so that the time of launching does not count."""
TURNS = 1 if _SIMULATED else 1 << 12
_READERS, _READ_BLOCKS = (64, 1) if _SIMULATED else (256, 8)
_WARPS, _PRODUCT_BLOCKS = (1, 1) if _SIMULATED else (4, 4)
_PIECE = 4 * 128
"""Words that a warp asks for at a time: four fragments of 16 bytes a lane."""

_ROW_TILES, _QUERY_TILES = 2, 8
_NEVER = 123456789
"""A value that no sum takes: the comparison with it keeps the compiler from leaving the sum out."""


class Loop(NamedTuple):
    """Work of the device, and its amount."""

    run: Callable[[], None]
    """Does the work, and waits until it is done."""
    amount: int
    """Bytes, or multiply-adds of 8-bit integers, of a call."""


def read(codes: Any) -> Loop:
    """Read int32 words on the device, by the scan's instruction."""
    pieces, out = len(codes) // _PIECE, cuda.to_device(np.zeros(1, np.int32))
    blocks = _READ_BLOCKS * device.processors()

    def run() -> None:
        for _ in range(LAUNCHES):
            read_all[blocks, _READERS, 0, 0](codes, pieces, out)
        cuda.synchronize()

    return Loop(run, LAUNCHES * pieces * _PIECE * 4)


def products() -> Loop:
    """Multiply on every tensor core, by the scan's instruction, what lies in registers."""
    words, out = (cuda.to_device(np.zeros(size, np.int32)) for size in (1024, 1))
    blocks = _PRODUCT_BLOCKS * device.processors()

    def run() -> None:
        for _ in range(LAUNCHES):
            multiply_all[blocks, 32 * _WARPS, 0, 0](words, TURNS, out)
        cuda.synchronize()

    a_turn = _ROW_TILES * 16 * _QUERY_TILES * 8 * 32
    return Loop(run, LAUNCHES * blocks * _WARPS * TURNS * a_turn)


@kernel
def read_all(codes, pieces, out):
    """Read ``pieces`` pieces, a warp at a time."""
    thread, total = types.int64(cuda.grid(1)), types.int32(0)
    lane, warps = thread & 31, types.int64(cuda.gridsize(1)) >> 5
    piece = thread >> 5
    while piece < pieces:
        words = load_rows(codes, piece * 512 + lane * 4, 128, 4)
        total = types.int32(total ^ words[0] ^ words[4] ^ words[8] ^ words[12])
        piece += warps
    if total == _NEVER:
        out[0] = total


@kernel
def multiply_all(words, turns, out):
    """Sums of 2 × 8 tiles a warp, as in the scan of many queries."""
    fragments = cuda.shared.array(1024, types.int32)
    thread = types.int64(cuda.threadIdx.x)
    for i in range(thread, 1024, cuda.blockDim.x):
        fragments[i] = words[i]
    cuda.syncthreads()
    lane = types.int64(cuda.laneid)
    rows, sums = load_rows(words, lane * 4, 128, 2), zeros(64)
    for _ in range(turns):
        sums = multiply(sums, rows, fragments, lane * 2, 64)
    for z in range(64):
        if pick(sums, types.int64(z)) == _NEVER:
            out[0] = z
