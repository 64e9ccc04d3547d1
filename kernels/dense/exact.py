"""Cosines of few queries, or of little data: exact float64 sums, in one read of the rows.

A row of the vectors is widened to float64 once for four queries, whose dot products and
the row's own Σ of squares (see ``rows.py``) are summed side by side: up to some eight
queries this takes no longer than reading the vectors. Scores are those of the searches,
rounded to float32.
"""

import numpy as np

from .. import metrics, rows, simd, threads
from ..compile import inline, kernel
from .blocks import aligned_start

_BLOCK_BYTES = 1 << 17
_PART, _PACE_WORK = 1 << 18, 1 << 27


def cosines(queries: np.ndarray, vectors: np.ndarray, out: np.ndarray, num_threads: int) -> tuple[int, int]:
    """Fill ``out``; as ``dense.cosines``, for float32. The fewer of the two are the queries here."""
    if len(vectors) < len(queries):
        x, q = cosines(vectors, queries, out.T, num_threads)
        return q, x
    (m, dims), n = queries.shape, len(vectors)
    arguments = (
        (queries.ctypes.data, queries.strides[0], m),
        (vectors.ctypes.data, vectors.strides[0]),
        dims,
        (out.ctypes.data, *out.strides),
    )
    # The least work that a second thread is worth: tens of microseconds.
    work = n * m * dims
    parts = rows.split(n, max(1, min(4 * num_threads, work // _PART), work // _PACE_WORK))
    held = (queries, vectors, out)
    found = threads.run(lambda part: _fill(*part, *arguments), parts or [(0, 0)], num_threads, *held)
    return rows.first_bad([q for q, _ in found]), rows.first_bad([x for _, x in found])


@kernel
def _fill(start, stop, queries, vectors, dims, out):
    """Scores of the vectors from start to stop; return the first bad query and vector, or −1."""
    q, q_stride, m = queries
    x, stride = vectors
    size = 256 * -(-dims // 32)
    memory = np.zeros(size // 8 * (m + 3) + 8)
    q_squares = np.empty(m)
    for i in range(m):
        q_squares[i] = rows.sum_of_squares(q + i * q_stride, dims)
        if not q_squares[i] < np.inf:
            return i, -1
        _widen(q + i * q_stride, dims, aligned_start(memory) + i * size)
    height = max(1, _BLOCK_BYTES // (4 * dims))
    x_squares = np.empty(height)
    for block in range(start, stop, height):
        count, wide = min(height, stop - block), aligned_start(memory)
        for i in range(0, m, 4):
            for j in range(count):
                at = x + (block + j) * stride
                totals = (0.0, 0.0, 0.0, 0.0)
                if m - i == 1 and i == 0:
                    x_squares[j], total = _one(wide, at, dims)
                    totals = (total, 0.0, 0.0, 0.0)
                elif i == 0:
                    x_squares[j], totals = _four_and_squares(wide, size, at, dims)
                else:
                    totals = _four(wide + i * size, size, at, dims)
                if not x_squares[j] < np.inf:
                    return -1, block + j
                for z in range(min(4, m - i)):
                    score = metrics.score("cosine", totals[z], q_squares[i + z], x_squares[j])
                    simd.store_scalar(out[0] + (i + z) * out[1] + (block + j) * out[2], np.float32(score))
    return -1, -1


@inline
def _widen(q, dims, target):
    """A row as float64, zeros up to a multiple of 32."""
    for d in range(0, dims, 32):
        simd.store_wide(target + 8 * d, _widened(q + 4 * d, dims - d))


@inline
def _widened(at, rest):
    """The next 32 values of a row of which ``rest`` are left, zeros behind them."""
    if rest >= 32:
        return simd.widen(simd.load(at))
    return simd.widen(simd.load_first(at, rest))


_AHEAD = 2048
"""Bytes by which rows are prefetched."""


@inline
def _one(q, x, dims):
    """Σ x² and Σ q·x, ``q`` widened."""
    squares, a = simd.zero_wide(), simd.zero_wide()
    for d in range(0, dims, 32):
        simd.prefetch(x + 4 * d + _AHEAD)
        simd.prefetch(x + 4 * d + _AHEAD + 64)
        row = _widened(x + 4 * d, dims - d)
        squares = simd.add_product(squares, row, row)
        a = simd.add_product(a, simd.load_wide(q + 8 * d), row)
    return simd.tree_sum(squares), simd.tree_sum(a)


@inline
def _four_and_squares(q, size, x, dims):
    """Σ x² and the Σ q·x of four queries, ``size`` bytes apart: the same sums in the same order."""
    squares = simd.zero_wide()
    a, b, c, e = simd.zero_wide(), simd.zero_wide(), simd.zero_wide(), simd.zero_wide()
    for d in range(0, dims, 32):
        simd.prefetch(x + 4 * d + _AHEAD)
        simd.prefetch(x + 4 * d + _AHEAD + 64)
        row = _widened(x + 4 * d, dims - d)
        squares = simd.add_product(squares, row, row)
        a = simd.add_product(a, simd.load_wide(q + 8 * d), row)
        b = simd.add_product(b, simd.load_wide(q + size + 8 * d), row)
        c = simd.add_product(c, simd.load_wide(q + 2 * size + 8 * d), row)
        e = simd.add_product(e, simd.load_wide(q + 3 * size + 8 * d), row)
    return simd.tree_sum(squares), (simd.tree_sum(a), simd.tree_sum(b), simd.tree_sum(c), simd.tree_sum(e))


@inline
def _four(q, size, x, dims):
    """As ``_four_and_squares``, without the squares."""
    a, b, c, e = simd.zero_wide(), simd.zero_wide(), simd.zero_wide(), simd.zero_wide()
    for d in range(0, dims, 32):
        row = _widened(x + 4 * d, dims - d)
        a = simd.add_product(a, simd.load_wide(q + 8 * d), row)
        b = simd.add_product(b, simd.load_wide(q + size + 8 * d), row)
        c = simd.add_product(c, simd.load_wide(q + 2 * size + 8 * d), row)
        e = simd.add_product(e, simd.load_wide(q + 3 * size + 8 * d), row)
    return simd.tree_sum(a), simd.tree_sum(b), simd.tree_sum(c), simd.tree_sum(e)
