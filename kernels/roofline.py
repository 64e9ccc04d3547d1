"""Loops that do nothing but what limits a search: reading memory, and tiles of integer products.

A search cannot be sooner than ``read`` over the bytes it must look at, nor than ``tiles``
over the products it must form: the same micro-kernel in the same order, without encoding,
comparing, or rescoring.
"""

import numpy as np

from . import micro, rows, simd, threads
from .compile import kernel, specialized
from .encode import Queries

_PANEL = 128
"""Rows that stay in the second-level cache while all queries pass, as in ``scan.py``."""

_STEP = 256


def read(array: np.ndarray, num_threads: int) -> None:
    """Read the bytes of a contiguous array once (but for the last few)."""
    start = array.ctypes.data
    parts = rows.split(array.nbytes // _STEP * _STEP, num_threads, _STEP)
    threads.run(lambda part: _read(*part, start), parts, num_threads, array)


@kernel
def _read(start, stop, memory):
    total = simd.zero_wide()
    for at in range(memory + start, memory + stop, 256):
        total = simd.add_wide(total, simd.load_wide(at))
    return simd.tree_sum(total)


def tiles(micro_kernel: str, codes: np.ndarray, n: int, queries: Queries, num_threads: int) -> int:
    """Score the first n rows of ``codes`` with packed queries, keep nothing; return the products formed."""
    record = micro.TABLE[micro_kernel]
    width = queries.codes.shape[1]
    blocks = -(-len(queries.scale) // 16)
    source = (codes.ctypes.data, codes.strides[0], queries.packed.ctypes.data, width)
    shape = (queries.correction.ctypes.data, blocks, record.tile_rows, record.tile_queries)
    loop = _tile_loop(micro_kernel)
    parts = rows.split(n, num_threads, _PANEL)
    threads.run(lambda part: loop(*part, *source, *shape), parts, num_threads, codes, queries)
    return int(n * 16 * blocks * width)


@specialized
def _tile_loop(micro_kernel):
    @kernel
    def loop(start, stop, codes, stride, packed, width, corrections, blocks, tile_rows, tile_queries):
        micro.begin(micro_kernel)
        memory = np.empty(tile_rows * tile_queries + 16, np.int32)
        for panel in range(start, stop, _PANEL):
            for q in range(0, blocks, tile_queries // 16):
                at, own = packed + 16 * q * width, corrections + 64 * q
                some = min(blocks - q, tile_queries // 16)
                for r in range(panel, min(panel + _PANEL, stop), tile_rows):
                    row = codes + r * stride
                    # Here, as Numba frees an array after the last use of its name.
                    scores = memory.ctypes.data + (-memory.ctypes.data % 64)
                    micro.tile(micro_kernel, row, stride, at, some, width // 4, own, scores)
        micro.end(micro_kernel)

    return loop
