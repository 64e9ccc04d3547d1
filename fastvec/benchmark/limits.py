"""What this machine can do, measured on the spot by bare loops: reading, integer and float32 products."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import get_num_threads, machine
from ..kernels import encode, micro, roofline

Array = npt.NDArray[Any]

_READ_BYTES = 1 << 28
"""More than the caches of most processors hold; see ``measure``."""

_ROWS, _DIMS, _QUERIES = 4096, 512, 256
_BLAS = 1536
_TRIES = 5


def measure(tries: int = _TRIES) -> dict[str, Any]:
    """Measure the peaks of this machine: the best of several runs of plain loops.

    Args:
        tries: of each loop.

    Returns:
        ``read_gb_s``: threads -> GB/s of reading 268 MB (where a cache is larger than that, its speed);
        ``int8_gop_s``: micro-kernel -> 10⁹ multiply-adds a second of bare tiles, all threads;
        ``float32_gflop_s``: 10⁹ multiplications and additions a second of a matrix product (BLAS).
    """
    threads = get_num_threads()
    counts = sorted({1, threads, *(1 << p for p in range(threads.bit_length()) if 1 << p <= threads)})
    names = [kernel.name for kernel in machine.micro_kernels() if kernel.available]
    left, right = np.ones((_BLAS, _BLAS), np.float32), np.ones((_BLAS, _BLAS), np.float32)
    return {
        "threads": threads,
        "read_gb_s": _reading(counts, tries),
        "int8_gop_s": {name: _tiles(name, threads, tries) for name in names},
        "float32_gflop_s": 2 * _BLAS**3 / 1e9 / quickest(lambda: left @ right, tries),
    }


def _reading(counts: list[int], tries: int) -> dict[str, float]:
    memory = np.ones(_READ_BYTES // 8)
    return {str(count): memory.nbytes / 1e9 / quickest(read(memory, count), tries) for count in counts}


def _tiles(name: str, threads: int, tries: int) -> float:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((_ROWS, _DIMS), np.float32)
    encoded = encode.empty(*vectors.shape)
    encode.encode(vectors, encoded, threads)
    run = tiles(name, encoded.codes, len(vectors), vectors[:_QUERIES], threads)
    return run() / 1e9 / quickest(run, tries)


def tiles(name: str, codes: Array, n: int, queries: Array, threads: int) -> Callable[[], int]:
    """A bare loop of a micro-kernel over encoded rows and queries; it returns how many products it forms."""
    record = micro.TABLE[name]
    packed = encode.pack(queries, record.levels, record.tile_queries, threads)
    return lambda: roofline.tiles(name, codes, n, packed, threads)


def read(array: Array, threads: int) -> Callable[[], Any]:
    """A bare loop that reads an array."""
    return lambda: roofline.read(array, threads)


def quickest(run: Callable[[], Any], tries: int = _TRIES) -> float:
    """Seconds of the fastest of several calls, after one to warm up."""
    run()
    seconds = []
    for _ in range(tries):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
