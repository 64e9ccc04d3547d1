"""Sums over a row in the contract's order, and what follows from them: norms, unit rows, truncation.

The order of every sum Σ over a row: 32 lanes, lane l adding the terms of dimensions
l, l + 32, l + 64, … one after another from +0.0; then lane l with l + 16, + 8, + 4, + 2,
+ 1. Lanes beyond the last dimension add +0.0, which changes nothing: a sum that starts
at +0.0 is never −0.0. The products of float32 values are exact in float64
(24 + 24 ≤ 53 bits), and neither they nor their sums over- or underflow in float64.
"""

import itertools
from collections.abc import Iterable

import numpy as np

from . import simd, threads
from .compile import inline, kernel
from .lanes import INT8, row_sums

_BLOCK_BYTES, _PACE_BYTES = 1 << 18, 1 << 25
_AHEAD_BYTES = 4096
_AT_ONCE = 1 << 14
"""Values that no other thread could help with."""


dot = row_sums(simd.f64x32, simd.add_product)
"""``dot(q, x, dims)``: Σ q·x of two float32 rows, or of several rows q with one."""


@inline
def sum_of_squares(x, dims):
    """Σ x² of a float32 row; inf or NaN exactly if the row holds inf or NaN."""
    return dot(x, x, dims)


_int8_dot = row_sums(simd.f64x32, simd.add_product, INT8, INT8)


@inline
def sum_of_int8_squares(x, dims):
    """Σ x² of an int8 row."""
    return _int8_dot(x, x, dims)


@kernel
def int8_norms(start, stop, rows, stride, dims, norms):
    """Norms of int8 rows."""
    for i in range(start, stop):
        norms[i] = np.sqrt(sum_of_int8_squares(rows + i * stride, dims))


@inline
def inverse_norm(squares):
    """The factor that makes a row with this Σ x² one of unit length; 0 for a zero row."""
    return 0.0 if squares == 0.0 else 1.0 / np.sqrt(squares)


@kernel
def sums_of_squares(start, stop, rows, stride, dims, sums):
    """Σ x² of rows; return the first row that is not finite, or −1."""
    for i in range(start, stop):
        sums[i] = sum_of_squares(rows + i * stride, dims)
        if not sums[i] < np.inf:
            return i
    return -1


@kernel
def _scale_rows(start, stop, source, stride, dims, target, target_stride, unit):
    """Write rows, divided by their norm if ``unit``; return the first that is not finite, or −1.

    A row is read from memory once, and from cache when it is written. The processor prefetches the next
    row only if rows are neighbors.
    """
    ahead = 0 if stride == 4 * dims else 1 + _AHEAD_BYTES // (4 * dims)
    for i in range(start, stop):
        x = source + i * stride
        if ahead > 0 and i + ahead < stop:
            for at in range(0, 4 * dims, 64):
                simd.prefetch_near(x + ahead * stride + at)
        squares = sum_of_squares(x, dims)
        if not squares < np.inf:
            return i
        scale = inverse_norm(squares) if unit else 1.0
        write_scaled(x, scale, dims, target + i * target_stride)
    return -1


@inline
def write_scaled(x, scale, dims, y):
    """Write a row times a float64 to ``y``, which may be the same memory."""
    factor, full = simd.broadcast_wide(scale), dims - dims % 32
    for d in range(0, 4 * full, 128):
        simd.store(y + d, simd.narrow(simd.mul_wide(simd.widen(simd.load(x + d)), factor)))
    if full < dims:
        tail = simd.widen(simd.load_first(x + 4 * full, dims - full))
        simd.store_first(y + 4 * full, simd.narrow(simd.mul_wide(tail, factor)), dims - full)


def unit_rows(source: np.ndarray, target: np.ndarray, num_threads: int) -> int:
    """Write ``source`` (n, ≥ dims) cut to the width of ``target`` (n, dims), of unit length.

    Both float32 with contiguous rows; they may be the same memory. Zero rows stay zero.
    One pass over the data. Return the first row that is not finite, or −1. The factor
    1/norm is rounded to float64, so a value may come out as the float32 next to its quotient
    by the norm where that is within 2⁻²⁸ of halfway between the two.
    """
    return _write_rows(source, target, True, num_threads)


def finite_rows(source: np.ndarray, target: np.ndarray, num_threads: int) -> int:
    """Like ``unit_rows``, with lengths as they are."""
    return _write_rows(source, target, False, num_threads)


def _write_rows(source: np.ndarray, target: np.ndarray, unit: bool, num_threads: int) -> int:
    n, dims = target.shape
    x, x_stride, y, y_stride = source.ctypes.data, source.strides[0], target.ctypes.data, target.strides[0]

    def scale(part: tuple[int, int]) -> int:
        bad: int = _scale_rows(*part, x, x_stride, dims, y, y_stride, unit)
        return bad

    return _first_bad_of(scale, n, 4 * dims, num_threads, source, target)


def first_not_finite(rows: np.ndarray, num_threads: int) -> int:
    """The first row of a float32 matrix with contiguous rows that holds NaN or inf, or −1."""
    return all_squares(rows, np.empty(len(rows)), num_threads)


def all_squares(rows: np.ndarray, sums: np.ndarray, num_threads: int) -> int:
    """Σ x² of a float32 matrix with contiguous rows; return the first row that holds NaN or inf, or −1."""
    n, dims = rows.shape
    x, stride = rows.ctypes.data, rows.strides[0]
    if n == 1 or n * dims <= _AT_ONCE:  # the usual case of a query or a few, in a few steps
        bad: int = sums_of_squares(0, n, x, stride, dims, sums)
        return bad
    return _first_bad_of(
        lambda part: sums_of_squares(*part, x, stride, dims, sums), n, 4 * dims, num_threads, rows
    )


def split(n: int, parts: int, step: int = 1) -> list[tuple[int, int]]:
    """Cut ``range(n)`` into up to ``parts`` runs whose borders are multiples of ``step``."""
    steps = -(-n // step)
    if parts == 1 and n > 0:
        return [(0, n)]
    parts = min(parts, steps)
    borders = [min(n, steps * part // parts * step) for part in range(parts)] + [n]
    return [(a, b) for a, b in itertools.pairwise(borders) if a < b]


def blocks(n: int, row_bytes: int, num_threads: int) -> list[tuple[int, int]]:
    """Cut n rows for threads: blocks large enough to be worth a call, a few for each thread.

    No block takes longer than a pace (see ``threads``), even if rows come from a disk.
    """
    least = max(1, _BLOCK_BYTES // max(1, row_bytes))
    if 0 < n < 2 * least:
        return [(0, n)]
    rounds = max(4, -(-n * row_bytes // (_PACE_BYTES * num_threads)))
    return split(n, max(1, min(rounds * num_threads, n // least)))


def first_bad(numbers: Iterable[int]) -> int:
    """The least of row numbers; −1 stands for no row."""
    return min((number for number in numbers if number >= 0), default=-1)


def _first_bad_of(function, n: int, row_bytes: int, num_threads: int, *holding: np.ndarray) -> int:
    bad = threads.run(function, blocks(n, row_bytes, num_threads), num_threads, *holding)
    return bad[0] if len(bad) == 1 else first_bad(bad)


@kernel
def _round_rows(start, stop, source, stride, step, dims, target):
    """Round float64 rows to float32; return the first that it cannot hold (see below), or −1."""
    for i in range(start, stop):
        before, after = False, False
        for d in range(dims):
            value = simd.load_double(source + i * stride + d * step)
            rounded = np.float32(value)
            target[i, d] = rounded
            if np.isinf(rounded) and not np.isinf(value):
                return i
            before |= value != 0.0
            after |= rounded != 0.0
        if before and not after:
            return i
    return -1


def round_to_float32(source: np.ndarray, target: np.ndarray, num_threads: int) -> int:
    """Round a float64 matrix of any strides; return the first row that float32 cannot hold, or −1.

    Such a row has a value beyond float32's largest, or is not zero and would become zero. This is a
    kernel, because NumPy's cast loses subnormals if the caller flushes them to zero.
    """
    n, dims = target.shape
    x, (stride, step) = source.ctypes.data, source.strides
    return _first_bad_of(
        lambda part: _round_rows(*part, x, stride, step, dims, target), n, 8 * dims, num_threads, source
    )
