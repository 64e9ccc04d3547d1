"""The (m, n) matrix of cosines: one contract, several ways; ``cost.py`` chooses.

    exact.py   few queries, or little data: float64 sums in one read of the rows
    slices.py  batches, where a processor has int8 tiles: integer products of slices
    tiles.py   batches, where registers are wide: a float32 product without BLAS
    blas.py    float64, float32 elsewhere, and few products: products of unit rows by BLAS

Every way scales rows by float64 norms, a block at a time, so rows of any magnitude are
right and no normalized copy of a matrix is made; beyond inputs and output it needs a few
tens of megabytes, and writes ``out`` once.
"""

import numpy as np

from .. import cost, micro, rows
from . import blas, exact, slices, tiles


def cosines(
    queries: np.ndarray, vectors: np.ndarray | None, out: np.ndarray, num_threads: int
) -> tuple[int, int]:
    """Fill ``out`` (m, n) with clipped cosines; None: the queries with themselves.

    All of one type, float32 or float64, rows contiguous. With themselves, the result is
    symmetric and nonzero rows score 1. Return the first query and the first vector that is
    not finite, or −1; if there is one, ``out`` is not filled.
    """
    columns = queries if vectors is None else vectors
    m, n, dims = len(queries), len(columns), queries.shape[1]
    single = queries.dtype == np.float32
    if single and cost.exact_dense_pays(m, n, dims):
        return exact.cosines(queries, columns, out, num_threads)
    sliceable = single and micro.active().orders is not None and dims <= slices.MAX_DIMS
    if sliceable and cost.dense_slices_pay(m, n, num_threads):
        bad = slices.cosines(queries, vectors, out, num_threads, micro.active().name)
    elif single and (instructions := _tiles(m, n, dims, vectors is None)):
        bad = tiles.cosines(queries, vectors, out, num_threads, instructions)
    else:
        bad = blas.cosines(queries, vectors, out, num_threads)
    if vectors is None and bad == (-1, -1):
        np.fill_diagonal(out, np.diagonal(out) > 0.5)  # nearly 1, or the 0 of a zero row
    return bad


def _tiles(m: int, n: int, dims: int, same: bool) -> str | None:
    """The instructions by which tiles multiply sooner than BLAS, if there are any."""
    name = tiles.instructions()
    if name is None:
        return None
    if tiles.REGISTERS[name].lanes == tiles.WIDE:
        pays = not (same and cost.symmetric_product_pays(m))
    else:
        pays = cost.narrow_tiles_pay(m, n, dims, same=same)
    return name if pays else None


def not_finite(queries: np.ndarray, vectors: np.ndarray | None, num_threads: int) -> tuple[int, int]:
    """The first query and the first vector that is not finite, or −1, from a separate read."""
    columns = queries[:0] if vectors is None else vectors
    if queries.dtype == np.float32:
        return rows.first_not_finite(queries, num_threads), rows.first_not_finite(columns, num_threads)
    return blas.first_not_finite(queries), blas.first_not_finite(columns)
