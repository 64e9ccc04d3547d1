"""Cosines of batches by a float32 product without BLAS: registers full of sums, rows of unit length.

All queries of a panel are packed. Then 32 vectors at a time are packed, a run of dimensions
after the other, which stays in the first-level cache while the queries stream past:

                       32 vectors, [dimension][vector]
                     +-----------------+
    14 queries       |  28 registers   |   a step: two loads of vectors, 14 broadcasts
    [dimension][16]  |  of 16 sums     |   of queries, 28 multiply-adds
                     +-----------------+

Rows are scaled to unit length, by a float64 norm, as they are packed. A run is summed from
zero and then added to the sums before it, so the rounding error grows slower than in one sum
over all dimensions. A score depends on its two rows and on nothing else; it is the same if they swap
places, so a matrix with itself is computed above the diagonal and mirrored.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from .. import cpu, rows, simd, threads
from ..compile import inline, kernel
from ..emit import address, call, offset, operation, pointer, repeat, splat
from ..encode import aligned
from ..matrix import Strided, row_at
from .blocks import aligned_start, mirror, transposed

QUERIES, VECTORS = 14, 32
_SLOT = 16
_PANEL_ROWS = 148 * QUERIES
_PANEL_BYTES, _PACE_WORK = 1 << 23, 1 << 32

_i32, _i64, _f64 = ir.IntType(32), ir.IntType(64), ir.DoubleType()
_f32x16, _f64x16, _i32x16 = (ir.VectorType(kind, 16) for kind in (ir.FloatType(), _f64, _i32))


def available() -> bool:
    """Whether this processor has 32 registers of 16 lanes: elsewhere BLAS is quicker."""
    return "avx512f" in cpu.features()


def cosines(
    queries: np.ndarray, vectors: np.ndarray | None, out: np.ndarray, num_threads: int
) -> tuple[int, int]:
    """Fill ``out``; as ``dense.cosines``, for float32."""
    columns = queries if vectors is None else vectors
    (m, dims), n = queries.shape, len(columns)
    tall = vectors is not None and n < 2 * VECTORS * num_threads
    room = 4 * _PANEL_BYTES // max(4, num_threads) if tall else _PANEL_BYTES
    most = max(QUERIES, min(_PANEL_ROWS, room // (4 * _SLOT * dims) * QUERIES))
    panels = rows.split(m, max(-(-m // most), min(num_threads, m // (4 * QUERIES)) if tall else 1), QUERIES)
    inner = 1 if tall else num_threads

    def panel(part: tuple[int, int]) -> tuple[int, int]:
        first, last = part
        left = first if vectors is None else 0
        return _panel(queries[first:last], columns[left:], out[first:last, left:], vectors is None, inner)

    if tall:
        bad = threads.run(panel, panels, num_threads)
        queries_bad = [first + q if q >= 0 else -1 for (first, _), (q, _) in zip(panels, bad, strict=True)]
        return rows.first_bad(queries_bad), rows.first_bad([x for _, x in bad])
    for first, last in panels:
        q, x = panel((first, last))
        if q >= 0 or x >= 0:
            return (first + q if q >= 0 else -1), x
        if vectors is None:
            mirror(last - first, out[first:, first:], num_threads)
    return -1, -1


def _panel(
    queries: np.ndarray, vectors: np.ndarray, out: np.ndarray, same: bool, num_threads: int
) -> tuple[int, int]:
    """A panel of queries with all vectors."""
    (m, dims), n = queries.shape, len(vectors)
    tile_count = -(-m // QUERIES)
    packed = aligned(4 * _SLOT * tile_count * (-(-dims // 16) * 16))
    q, x, y = Strided.of(queries), Strided.of(vectors), Strided.of(out)
    parts = rows.split(tile_count, num_threads)
    bad = threads.run(lambda part: _pack_queries(*part, q, m, dims, packed), parts, num_threads)
    if rows.first_bad(bad) >= 0:
        return rows.first_bad(bad), -1
    parts = rows.split(n, max(16 * num_threads, n * m * dims // _PACE_WORK), VECTORS)
    bad = threads.run(lambda part: _fill(*part, packed, m, x, dims, y, same), parts, num_threads)
    return -1, rows.first_bad(bad)


@kernel
def _pack_queries(start, stop, queries, count, dims, packed):
    """Pack tiles as [run of dimensions][tile][dimension][slot]; return the first bad row, or −1."""
    tiles = -(-count // QUERIES)
    run, inverses = _run(dims), np.zeros(_SLOT)
    for tile in range(start, stop):
        first = tile * QUERIES
        height, x = min(_SLOT, count - first), row_at(queries, first)
        bad = _inverse_norms(x, queries.stride, height, dims, inverses)
        if bad >= 0:
            return first + bad
        for d in range(0, dims, run):
            depth = min(run, dims - d)
            target = packed.ctypes.data + 4 * _SLOT * (d * tiles + tile * _steps(depth))
            for c in range(0, depth, 16):
                width, at = min(16, depth - c), target + 4 * _SLOT * c
                source = x + 4 * (d + c)
                _pack16(source, queries.stride, height, width, inverses.ctypes.data, at, 4 * _SLOT)
    return -1


@kernel
def _fill(start, stop, packed, count, vectors, dims, out, same):
    """All packed queries with the vectors from start to stop, ``same``: on and above the diagonal."""
    tiles = -(-count // QUERIES)
    run, inverses = _run(dims), np.zeros(VECTORS)
    memory = np.empty((run + 16 + tiles * QUERIES) * VECTORS + 16, np.float32)
    for first in range(start, stop, VECTORS):
        block = aligned_start(memory)
        all_sums = block + 4 * VECTORS * (run + 16)
        width, x = min(VECTORS, stop - first), row_at(vectors, first)
        bad = _inverse_norms(x, vectors.stride, width, dims, inverses)
        if bad >= 0:
            return first + bad
        needed = min(tiles, (first + width - 1) // QUERIES + 1) if same else tiles
        for d in range(0, dims, run):
            depth = min(run, dims - d)
            for half in range(0, width, 16):
                for c in range(0, depth, 16):
                    at, columns = x + half * vectors.stride + 4 * (d + c), min(16, depth - c)
                    scale, to = inverses.ctypes.data + 8 * half, block + 4 * (VECTORS * c + half)
                    _pack16(at, vectors.stride, width - half, columns, scale, to, 4 * VECTORS)
            for tile in range(needed):
                sums = all_sums + 4 * VECTORS * QUERIES * tile
                target = row_at(out, tile * QUERIES) + 4 * first
                height = min(QUERIES, count - tile * QUERIES)
                last = d + depth == dims
                if last:
                    _prefetch(target, out.stride, height, width)
                queries = packed.ctypes.data + 4 * _SLOT * (d * tiles + tile * _steps(depth))
                _multiply(queries, block, depth, d, sums)
                if last:
                    _write(sums, target, out.stride, height, width)
    return -1


@inline
def _run(dims):
    """Dimensions of a run: about √dims make the error least, and 128 fill half a first-level cache."""
    return 128 if dims <= 32_768 else 512


@inline
def _steps(depth):
    """Dimensions of a tile as packed: 16 at a time."""
    return -(-depth // 16) * 16


@inline
def _inverse_norms(source, stride, count, dims, inverses):
    """1/norm of rows, 0 for zero rows; return the first that is not finite, or −1."""
    for i in range(count):
        squares = rows.sum_of_squares(source + i * stride, dims)
        if not squares < np.inf:
            return i
        inverses[i] = rows.inverse_norm(squares)
    return -1


@inline
def _prefetch(target, stride, height, width):
    """Ask for memory that will be written: the rows of ``out`` lie far apart."""
    for i in range(height):
        at = target + i * stride
        simd.prefetch_to_write(at)
        simd.prefetch_to_write(at + 64)
        simd.prefetch_to_write(at + 4 * width - 4)


@inline
def _write(sums, target, stride, height, width):
    """Clip a tile of sums into ``out``."""
    for i in range(height):
        value = simd.clip(simd.load(sums + 4 * VECTORS * i))
        if width == VECTORS:
            simd.store(target + i * stride, value)
        else:
            simd.store_first(target + i * stride, value, width)


@operation(types.void, address, address, types.int64, types.int64, address)
def _multiply(builder, queries, vectors, depth, begun, sums):
    """The products of ``depth`` dimensions, added to 14 × 32 sums if those have ``begun``."""

    def step(d, totals):
        q, x = offset(builder, queries, d, 4 * _SLOT), offset(builder, vectors, d, 4 * VECTORS)
        columns = [
            builder.load(pointer(builder, offset(builder, x, at), _f32x16), align=64) for at in (0, 64)
        ]
        results: list[Any] = []
        for r in range(QUERIES):
            entry = builder.load(pointer(builder, offset(builder, q, r, 4), ir.FloatType()))
            row = splat(builder, entry, _f32x16)
            for column in columns:
                total = totals[len(results)]
                results.append(call(builder, "llvm.fma.v16f32", _f32x16, row, column, total))
        return results

    zeros = [ir.Constant(_f32x16, None)] * (2 * QUERIES)
    results = repeat(builder, ir.Constant(_i64, 0), depth, 1, zeros, step)
    again = builder.icmp_signed("!=", begun, ir.Constant(_i64, 0))
    for number, result in enumerate(results):
        target = pointer(builder, offset(builder, sums, number, 64), _f32x16)
        past = builder.select(again, builder.load(target, align=64), ir.Constant(_f32x16, None))
        builder.store(builder.fadd(past, result), target, align=64)


@operation(types.void, address, types.int64, types.int64, types.int64, address, address, types.int64)
def _pack16(builder, source, stride, count, width, inverses, target, target_stride):
    """16 rows × 16 dimensions to 16 slots a dimension, scaled; past ``count`` rows the last one repeats."""
    last, block = builder.sub(count, ir.Constant(_i64, 1)), []
    for r in range(16):
        number = ir.Constant(_i64, r)
        row = builder.select(builder.icmp_signed("<", number, last), number, last)
        at = builder.add(source, builder.mul(row, stride))
        value = simd.load_first_at(builder, at, width, _f32x16)
        factor = builder.load(pointer(builder, offset(builder, inverses, r, 8), _f64))
        scaled = builder.fmul(builder.fpext(value, _f64x16), splat(builder, factor, _f64x16))
        block.append(builder.fptrunc(scaled, _f32x16))
    for column, value in enumerate(transposed(builder, block)):
        at = builder.add(target, builder.mul(ir.Constant(_i64, column), target_stride))
        builder.store(value, pointer(builder, at, _f32x16), align=64)
