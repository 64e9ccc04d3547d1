"""Loops that do nothing but what limits a search: reading memory, and tiles of integer products.

A search takes at least the time of ``read`` over the bytes that it must look at, and of ``tiles``
over the products that it must form: the same micro-kernel in the same order, without encoding,
comparing, or rescoring.
"""

from collections.abc import Callable

import numpy as np

from . import micro, rows, simd, threads
from .compile import kernel, specialized
from .encode import Queries
from .matrix import Strided, row_at
from .tiles import PANEL

_STEP = 256


def read(array: np.ndarray, num_threads: int) -> None:
    """Read the bytes of a contiguous array once (but for the last few)."""
    start = array.ctypes.data
    parts = rows.split(array.nbytes // _STEP * _STEP, num_threads, _STEP)
    threads.run(lambda part: _read(*part, start), parts, num_threads, array)


@kernel
def _read(start, stop, memory):
    total = simd.zero_wide()
    for at in range(memory + start, memory + stop, _STEP):
        total = simd.add_wide(total, simd.load_wide(at))
    return simd.tree_sum(total)


def tiles(micro_kernel: str, codes: np.ndarray, n: int, queries: Queries, num_threads: int) -> int:
    """Score the first n rows of ``codes`` with packed queries, keep nothing; return the products formed."""
    record, form = micro.TABLE[micro_kernel], _form_tiles(micro_kernel)
    coded = Strided.of(codes)
    parts = rows.split(n, num_threads, PANEL)
    threads.run(
        lambda part: form(*part, coded, queries, record.tile_rows, record.tile_queries), parts, num_threads
    )
    return int(n * len(queries.correction) * queries.codes.shape[1])


@specialized
def _form_tiles(micro_kernel: str) -> Callable[..., None]:
    @kernel
    def form_tiles(start, stop, codes, queries, tile_rows, tile_queries):
        micro.begin(micro_kernel)
        width = queries.codes.shape[1]
        memory = np.empty(tile_rows * tile_queries + 16, np.int32)
        for panel in range(start, stop, PANEL):
            for q in range(0, len(queries.correction), tile_queries):
                packed = queries.packed.ctypes.data + q * width
                corrections = queries.correction.ctypes.data + 4 * q
                blocks = min(len(queries.correction) - q, tile_queries) // 16
                for r in range(panel, min(panel + PANEL, stop), tile_rows):
                    # Here, as Numba frees an array after the last use of its name.
                    scores = memory.ctypes.data + (-memory.ctypes.data % 64)
                    micro.tile(
                        micro_kernel,
                        row_at(codes, r),
                        codes.stride,
                        packed,
                        blocks,
                        width // 4,
                        corrections,
                        scores,
                    )
        micro.end(micro_kernel)

    return form_tiles
