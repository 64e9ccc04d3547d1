"""Cosines of few queries, or of little data: exact float64 sums, in one read of the rows.

A row of the vectors is widened to float64 once for four queries, whose dot products and
the row's Σ of squares (see ``rows.py``) are summed side by side: up to about eight
queries this takes no longer than reading the vectors. Scores are those of the searches,
rounded to float32.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from .. import metrics, rows, simd, threads
from ..compile import inline, kernel
from ..emit import address, offset, side_by_side
from ..lanes import over_dims
from .blocks import aligned_start

_BLOCK_BYTES = 1 << 17
_PART, _PACE_WORK = 1 << 18, 1 << 27


class Addresses(NamedTuple):
    """Where the matrices lie: one record, because some calls take only microseconds.

    It does not hold the arrays: ``threads.run`` does.
    """

    queries: int
    query_stride: int
    vectors: int
    vector_stride: int
    out: int
    row_stride: int
    column_stride: int


def cosines(queries: np.ndarray, vectors: np.ndarray, out: np.ndarray, num_threads: int) -> tuple[int, int]:
    """Fill ``out``; as ``dense.cosines``, for float32. The fewer of the two are the queries here."""
    if len(vectors) < len(queries):
        x, q = cosines(vectors, queries, out.T, num_threads)
        return q, x
    (m, dims), n = queries.shape, len(vectors)
    q_place, x_place = (queries.ctypes.data, queries.strides[0]), (vectors.ctypes.data, vectors.strides[0])
    at = Addresses(*q_place, *x_place, out.ctypes.data, *out.strides)
    # The least work that a second thread is worth: tens of microseconds.
    work = n * m * dims
    parts = rows.split(n, max(1, min(4 * num_threads, work // _PART), work // _PACE_WORK)) or [(0, 0)]
    held = (queries, vectors, out)
    bad = threads.run(lambda part: _fill(*part, m, dims, at), parts, num_threads, *held)
    return rows.first_bad([q for q, _ in bad]), rows.first_bad([x for _, x in bad])


@kernel
def _fill(start, stop, m, dims, at):
    """Scores of the vectors from start to stop; return the first bad query and vector, or −1."""
    size = 256 * -(-dims // 32)
    memory = np.zeros(size // 8 * (m + 3) + 8)
    q_squares = np.empty(m)
    for i in range(m):
        query = at.queries + i * at.query_stride
        q_squares[i] = rows.sum_of_squares(query, dims)
        if not q_squares[i] < np.inf:
            return i, -1
        _widen(query, dims, aligned_start(memory) + i * size)
    height = max(1, _BLOCK_BYTES // (4 * dims))
    x_squares = np.empty(height)
    for block in range(start, stop, height):
        count, widened = min(height, stop - block), aligned_start(memory)
        for i in range(0, m, 4):
            q = widened + i * size
            for j in range(count):
                x = at.vectors + (block + j) * at.vector_stride
                if m == 1:
                    x_squares[j], product = _squares_and_dots((x, q), dims)
                    products = (product, product, product, product)
                elif i == 0:
                    four = (x, q, q + size, q + 2 * size, q + 3 * size)
                    x_squares[j], a, b, c, d = _squares_and_dots(four, dims)
                    products = (a, b, c, d)
                else:
                    products = _dots((q, q + size, q + 2 * size, q + 3 * size), x, dims)
                if not x_squares[j] < np.inf:
                    return -1, block + j
                out = at.out + i * at.row_stride + (block + j) * at.column_stride
                for z in range(min(4, m - i)):
                    score = metrics.score("cosine", products[z], q_squares[i + z], x_squares[j])
                    simd.store_scalar(out + z * at.row_stride, np.float32(score))
    return -1, -1


@inline
def _widen(q, dims, target):
    """A row as float64, zeros up to a multiple of 32."""
    for d in range(0, dims, 32):
        simd.store_wide(target + 8 * d, _widened(q + 4 * d, dims - d))


@inline
def _widened(at, rest):
    """The next 32 values of a row of which ``rest`` are left, with zeros past the last."""
    if rest >= 32:
        return simd.widen(simd.load(at))
    return simd.widen(simd.load_first(at, rest))


_AHEAD = 2048
"""Bytes by which rows are prefetched."""


@side_by_side(types.float64, types.int64)
def _squares_and_dots(_context, builder, addresses, dims):
    """Σ x² of a float32 row, the first address, and its Σ q·x with widened queries, the others."""
    x, *queries = addresses
    return _emit_dots(builder, x, queries, dims, with_squares=True)


@side_by_side(types.float64, address, types.int64)
def _dots(_context, builder, queries, x, dims):
    """Σ q·x of widened queries and a float32 row: the same sums in the same order."""
    return _emit_dots(builder, x, queries, dims, with_squares=False)


def _emit_dots(builder, x, queries, dims, *, with_squares):
    def body(d, load, totals):
        row = load(x)
        if with_squares:  # the row is read for the first time
            for ahead in (_AHEAD, _AHEAD + 64):
                simd.prefetch.emit(builder, offset(builder, offset(builder, x, d, 4), ahead))
        wide = [simd.load_wide.emit(builder, offset(builder, query, d, 8)) for query in queries]
        factors = [row, *wide] if with_squares else wide
        return [
            simd.add_product.emit(builder, total, factor, row)
            for total, factor in zip(totals, factors, strict=True)
        ]

    zeros = [ir.Constant(simd.f64x32.ir, None)] * (len(queries) + with_squares)
    totals = over_dims(builder, dims, simd.f64x32, zeros, body)
    return [simd.tree_sum.emit(builder, total) for total in totals]
