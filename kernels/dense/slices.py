"""Cosines of batches by integer products: rows in slices of 8 bits, for processors with int8 tiles.

A row is written in fixed point relative to its largest entry and cut into four signed slices,

    x ≈ largest / (127 · 2²⁴) · (c₀ 2²⁴ + c₁ 2¹⁶ + c₂ 2⁸ + c₃),

so a product of two rows is Σ over orders o of 2^(48 − 8o) S_o with S_o = Σ_{i+j=o} Σ_d q_i x_j,
an integer, exact in 32 bits up to 32,768 dimensions (4 · 2¹⁴ · dims ≤ 2³¹). Orders 0 to 2, six
products of slices, leave an error of two kinds, in units of a cosine, with r = largest / norm:

    of c₃:       r / (127 · 2¹⁶ · √12) for each row
    of order 3:  about 74² √(2 dims) 2⁸ / (127 · 2¹⁶)² · r_q r_x  =  2.9e-8 · √dims · r_q r_x

For rows without large entries that is less than what float32 rounds. A pair of rows whose r are
larger gets order 3 too, ten products, behind which the error is hundreds of times smaller. Which
one depends on the two rows alone, and so does every bit of the score.

Slices lie one after another, those of a query in rising order and those of a vector in falling
order, so that an order is one dot product over as many slices as it has terms:

    query  (rows, offset by 128)      [q₀ | q₁ | q₂ | q₃]
    vector (packed 16 side by side)   [x₃ | x₂ | x₁ | x₀]        order 1: q₀ q₁ with x₁ x₀

A micro-kernel's ``orders(name, rows, stride, packed, block, steps, count, corrections, sums)``
writes the first ``count`` orders of 32 queries (``stride`` bytes apart) and two blocks of 16
vectors (``block`` bytes apart), ``steps`` steps of four dimensions a slice, as int32 at
``sums[order][block][query][vector]``; sums start at ``corrections[order][32]``, which undo the
offset: −128 Σ of the vector's slices.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from .. import micro, rows, simd, threads
from ..compile import inline, kernel, named, specialized
from ..emit import address, call, operation, pointer, splat
from ..encode import aligned, padded
from ..matrix import Strided, row_at
from ..micro.record import MicroKernel
from .blocks import aligned_start, mirror, transpose16

MAX_DIMS = 32_000
TILE, _SLICES = 32, 4
_PANEL_ROWS, _PANEL_BYTES, _PACE_WORK = 512, 1 << 22, 1 << 32
_SINGLE = 0.3
"""r of a row from which c₃ counts: 1.0e-8 of a cosine."""


def limit(dims: int) -> np.float32:
    """r_q r_x up to which order 3 may be left out: its error stays below a float32 product's.

    That is about 1.5e-8 of a cosine, and falls with √dims from about a thousand dimensions. This is the
    error of sums over runs of about 400 dimensions, as OpenBLAS forms them with AVX-512.
    """
    return np.float32(min(0.53 / np.sqrt(dims), 14.0 / dims))


def cosines(
    queries: np.ndarray, vectors: np.ndarray | None, out: np.ndarray, num_threads: int, micro_kernel: str
) -> tuple[int, int]:
    """Fill ``out``; as ``dense.cosines``, for float32 of up to ``MAX_DIMS`` dimensions."""
    columns = queries if vectors is None else vectors
    m, dims = queries.shape
    most = max(TILE, min(_PANEL_ROWS, _PANEL_BYTES // (_SLICES * padded(dims))) // TILE * TILE)
    for first in range(0, m, most):
        panel, left = queries[first : first + most], first if vectors is None else 0
        block = out[first : first + most, left:]
        q, x = _panel(panel, columns[left:], block, vectors is None, num_threads, micro_kernel)
        if q >= 0 or x >= 0:
            return (first + q if q >= 0 else -1), x
        if vectors is None:
            mirror(len(panel), out[first:, first:], num_threads)
    return -1, -1


def _panel(
    queries: np.ndarray, vectors: np.ndarray, out: np.ndarray, same: bool, num_threads: int, micro_kernel: str
) -> tuple[int, int]:
    """A panel of queries with all vectors, ``same``: what is right of the diagonal."""
    (m, dims), n = queries.shape, len(vectors)
    stride = _stride(_SLICES * padded(dims))
    codes = aligned((m + TILE) * stride)
    panel = Panel(codes, stride, m, np.zeros(m + TILE, np.float32), np.zeros(m + TILE, np.float32))
    q, x, y = Strided.of(queries), Strided.of(vectors), Strided.of(out)
    parts = rows.split(m, num_threads)
    bad = rows.first_bad(threads.run(lambda part: _slice_queries(*part, q, dims, panel), parts, num_threads))
    if bad >= 0:
        return bad, -1
    run, least = _fill(micro_kernel), limit(dims)
    parts = rows.split(n, max(16 * num_threads, n * m * dims // _PACE_WORK), TILE)
    bad_rows = threads.run(lambda part: run(*part, panel, x, dims, least, y, same), parts, num_threads)
    return -1, rows.first_bad(bad_rows)


class Panel(NamedTuple):
    """Sliced queries, and room for a tile more."""

    codes: np.ndarray
    """uint8, flat."""
    stride: int
    """Bytes from query to query."""
    rows: int
    """The number of queries."""
    scale: np.ndarray
    """float32."""
    ratio: np.ndarray
    """float32: r of each query."""


def _stride(width: int) -> int:
    """Bytes from query to query: an odd number of cache lines, which spread over the cache's sets."""
    return width + 64 * (1 - width // 64 % 2)


@kernel
def _slice_queries(start, stop, queries, dims, panel):
    """Slices of queries; return the first that is not finite, or −1."""
    sums = np.zeros(_SLICES, np.int32)
    slice_bytes = -(-dims // 64) * 64
    for i in range(start, stop):
        at = panel.codes.ctypes.data + i * panel.stride
        panel.scale[i], panel.ratio[i] = _slice_row(row_at(queries, i), dims, at, slice_bytes, 128, sums)
        if panel.scale[i] < 0:
            return i
    return -1


@specialized
def _fill(micro_kernel: str) -> Callable[..., int]:
    @kernel
    def fill(start, stop, panel, vectors, dims, least, out, same):
        q_scale, q_ratio, count = panel.scale, panel.ratio, panel.rows
        slice_bytes = -(-dims // 64) * 64
        block = 16 * _SLICES * slice_bytes
        x_scale, x_ratio = np.zeros(TILE, np.float32), np.zeros(TILE, np.float32)
        memory = np.empty(3 * block + 64, np.uint8)
        integers = np.zeros(_SLICES * (TILE + TILE * TILE) + 16, np.int32)
        slices = np.zeros(_SLICES, np.int32)
        micro.begin(micro_kernel)
        for first in range(start, stop, TILE):
            width, x = min(TILE, stop - first), row_at(vectors, first)
            packed, corrections = aligned_start(memory), aligned_start(integers)
            sums = corrections + 4 * _SLICES * TILE
            bad = _pack_vectors(x, vectors.stride, width, dims, packed, x_scale, x_ratio, corrections, slices)
            if bad >= 0:
                micro.end(micro_kernel)
                return first + bad
            largest = x_ratio.max()
            needed = min(count, first + width) if same else count
            for i in range(0, needed, TILE):
                height = min(TILE, count - i)
                orders = 4 if q_ratio[i : i + TILE].max() * largest > least else 3
                at = panel.codes.ctypes.data + i * panel.stride
                order_sums(
                    micro_kernel, at, panel.stride, packed, block, slice_bytes // 4, orders, corrections, sums
                )
                target = row_at(out, i) + 4 * first
                for r in range(height):
                    for half in range(0, width, 16):
                        _finish(
                            sums + 64 * r + 128 * half,
                            q_scale[i + r],
                            q_ratio[i + r],
                            x_scale.ctypes.data + 4 * half,
                            x_ratio.ctypes.data + 4 * half,
                            least,
                            target + r * out.stride + 4 * half,
                            min(16, width - half),
                        )
        micro.end(micro_kernel)
        return -1

    return fill


@inline
def _pack_vectors(source, stride, count, dims, packed, scale, ratio, corrections, slices):
    """Up to 32 vectors as two blocks; return the first that is not finite, or −1."""
    slice_bytes = -(-dims // 64) * 64
    width = _SLICES * slice_bytes
    scratch = packed + 32 * width
    scale[:], ratio[:] = 0.0, 0.0
    for half in range(0, count, 16):
        for j in range(half, min(count, half + 16)):
            at = scratch + (j - half) * width + 3 * slice_bytes
            scale[j], ratio[j] = _slice_row(source + j * stride, dims, at, -slice_bytes, 0, slices)
            if scale[j] < 0:
                return j
            total = 0
            for s in range(_SLICES):
                total += slices[s]
                simd.store_int(corrections + 4 * (TILE * s + j), -128 * total)
        for at in range(0, width, 64):
            transpose16(scratch + at, width, packed + half * width + 16 * at, 64)
    return -1


@inline
def _slice_row(x, dims, target, pitch, offset, sums):
    """Write slice s at ``target + s * pitch``, its sum to ``sums[s]``; return scale (−1: not finite), r."""
    squares = rows.sum_of_squares(x, dims)
    if not squares < np.inf:
        return np.float32(-1.0), np.float32(0.0)
    peak = simd.zero()
    for d in range(0, dims, 32):
        peak = simd.maximum(simd.absolute(simd.load_first(x + 4 * d, min(32, dims - d))), peak)
    largest = np.float64(simd.tree_max(peak))
    factor = simd.broadcast_wide(127.0 * 2.0**24 / largest if largest > 0.0 else 0.0)
    sums[:] = 0
    for d in range(0, abs(pitch), 32):
        value = simd.widen(simd.load_first(x + 4 * d, max(0, min(32, dims - d))))
        _slice32(simd.mul_wide(value, factor), target + d, pitch, offset, sums.ctypes.data)
    if largest == 0.0:
        return np.float32(0.0), np.float32(0.0)
    r = largest / np.sqrt(squares)
    # 1 · r of any row is beyond the limit.
    return np.float32(r / 127.0), np.float32(r if r <= _SINGLE else 1.0)


_i8, _i32, _i64 = (ir.IntType(bits) for bits in (8, 32, 64))
_f32x16, _i32x16 = (ir.VectorType(kind, 16) for kind in (ir.FloatType(), _i32))
_f64x32, _i32x32, _i8x32 = (ir.VectorType(kind, 32) for kind in (ir.DoubleType(), _i32, _i8))


@operation(types.void, simd.f64x32, address, types.int64, types.int64, address)
def _slice32(builder, value, target, pitch, offset, sums):
    """Round 32 values and store their four slices, plus ``offset``; add up the slices."""
    eight, up = ir.Constant(_i32x32, [8] * 32), ir.Constant(_i32x32, [24] * 32)
    shift = splat(builder, builder.trunc(offset, _i32), _i32x32)
    rest = builder.fptosi(call(builder, "llvm.rint.v32f64", _f64x32, value), _i32x32)
    for s in (3, 2, 1, 0):
        low = builder.ashr(builder.shl(rest, up), up) if s else rest
        rest = builder.ashr(builder.sub(rest, low), eight)
        place = builder.add(target, builder.mul(pitch, ir.Constant(_i64, s)))
        codes = builder.trunc(builder.add(low, shift), _i8x32)
        builder.store(codes, pointer(builder, place, _i8x32), align=1)
        total = pointer(builder, builder.add(sums, ir.Constant(_i64, 4 * s)), _i32)
        more = call(builder, "llvm.vector.reduce.add.v32i32", _i32, low)
        builder.store(builder.add(builder.load(total), more), total)


@operation(
    types.void, address, types.float32, types.float32, address, address, types.float32, address, types.int64
)
def _finish(builder, sums, q_scale, q_ratio, x_scales, x_ratios, least, target, count):
    """One query's cosines with 16 vectors, from sums by order; the first ``count`` are written."""

    def floats(at):
        return builder.load(pointer(builder, at, _f32x16), align=4)

    def order(o):
        at = builder.add(sums, ir.Constant(_i64, 4 * TILE * TILE * o))
        return builder.sitofp(builder.load(pointer(builder, at, _i32x16), align=4), _f32x16)

    def below(high, low):
        return call(builder, "llvm.fma.v16f32", _f32x16, low, ir.Constant(_f32x16, [2.0**-8] * 16), high)

    ratios = builder.fmul(splat(builder, q_ratio, _f32x16), floats(x_ratios))
    more = builder.fcmp_ordered(">", ratios, splat(builder, least, _f32x16))
    second = order(2)
    second = builder.select(more, below(second, order(3)), second)
    total = below(order(0), below(order(1), second))
    scales = builder.fmul(splat(builder, q_scale, _f32x16), floats(x_scales))
    value = builder.fmul(total, scales)
    for compare, end in ((">", 1.0), ("<", -1.0)):
        edge = ir.Constant(_f32x16, [end] * 16)
        value = builder.select(builder.fcmp_ordered(compare, value, edge), edge, value)
    simd.store_first_at(builder, target, value, count)


def order_sums(name, rows, stride, packed, block, steps, count, corrections, sums): ...


def _by_tiles(record: MicroKernel) -> Callable[..., Any]:
    """``orders`` by a micro-kernel's tile of 16 queries: slower than float32, but with the same sums."""
    height = record.tile_rows

    def orders(name, rows, stride, packed, block, steps, count, corrections, sums):
        for order in range(count):
            for half in range(2):
                for r in range(0, TILE, height):
                    micro.tile(
                        name,
                        rows + r * stride,
                        stride,
                        packed + half * block + 64 * steps * (3 - order),
                        1,
                        (order + 1) * steps,
                        corrections + 4 * TILE * order + 64 * half,
                        sums + 4 * TILE * TILE * order + 2048 * half + 64 * r,
                    )

    return orders


class _Orders:
    """A record's ``orders``, or its tiles in their place."""

    def __init__(self, record: MicroKernel) -> None:
        self.orders = record.orders or _by_tiles(record)


named(order_sums, {name: _Orders(record) for name, record in micro.TABLE.items()}, "orders")
