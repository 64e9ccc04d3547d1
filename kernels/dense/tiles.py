"""Cosines of batches by a float32 product without BLAS: registers full of sums, rows of unit length.

All queries of a panel are packed. Then some vectors at a time are packed, a run of dimensions
after the other. A block of them stays in the first-level cache while a share of the queries streams past
it from the second-level cache, where that share stays for the next block:

                       2 L vectors, [dimension][vector]
                     +-----------------+
    L - 2 queries    |  2 (L - 2)      |   a step: two loads of vectors, L - 2 broadcasts
    [dimension][L]   |  registers of   |   of queries, 2 (L - 2) multiply-adds
                     |  L sums         |
                     +-----------------+

L is the number of lanes of a register: 16 with AVX-512, which has 32 registers, and 8 with AVX2, which
has 16. So four registers are left for operands.

Rows are scaled to unit length, by a float64 norm, as they are packed. A run is summed from
zero and then added to the sums before it, so the rounding error grows slower than in one sum
over all dimensions. A score depends on its two rows and on nothing else; it is the same if they swap
places, so a matrix with itself is computed above the diagonal and mirrored.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from .. import cpu, rows, simd, threads
from ..compile import inline, kernel, named, specialized
from ..emit import address, call, offset, operation, pointer, prefetch_at, repeat, splat
from ..encode import aligned
from ..matrix import Strided, row_at
from .blocks import aligned_start, mirror, transposed

WIDE = 16
"""Lanes of the widest registers."""
_PANEL_ROWS, _PANEL_BYTES = 2072, 1 << 23
_THREAD_WORK, _PART_WORK, _PACE_WORK = 1 << 22, 1 << 25, 1 << 32
"""Products that are worth a thread, that are worth a part of their own, and after which a part must end."""

_i32, _i64, _f64 = ir.IntType(32), ir.IntType(64), ir.DoubleType()


class Registers(NamedTuple):
    """One instruction set's registers, and what is made of them."""

    requires: tuple[str, ...]
    """Processor features, in LLVM's names."""
    lanes: int
    blocks: int
    """Blocks of vectors that are packed together."""
    share: int
    """Tiles of queries that stay in the second-level cache."""
    multiply: Callable[..., Any]
    pack: Callable[..., Any]
    write: Callable[..., Any]


def multiply(name, queries, vectors, depth, past, sums): ...
def pack(name, source, stride, count, width, inverses, target, target_stride): ...
def write(name, sums, target, width): ...


def instructions() -> str | None:
    """The best registers that this processor has, by their name in ``REGISTERS``; None: BLAS is quicker."""
    features = cpu.features()
    return next((name for name, record in REGISTERS.items() if features.issuperset(record.requires)), None)


def cosines(
    queries: np.ndarray, vectors: np.ndarray | None, out: np.ndarray, num_threads: int, name: str
) -> tuple[int, int]:
    """Fill ``out``; as ``dense.cosines``, for float32, with the registers of this name."""
    columns = queries if vectors is None else vectors
    (m, dims), n = queries.shape, len(columns)
    lanes = REGISTERS[name].lanes
    height = lanes - 2
    tall = vectors is not None and n < 4 * lanes * num_threads
    room = 4 * _PANEL_BYTES // max(4, num_threads) if tall else _PANEL_BYTES
    most = max(height, min(_PANEL_ROWS, room // (4 * lanes * dims) * height) // height * height)
    panels = rows.split(m, max(-(-m // most), min(num_threads, m // (4 * height)) if tall else 1), height)
    inner = 1 if tall else num_threads

    def panel(part: tuple[int, int]) -> tuple[int, int]:
        first, last = part
        left = first if vectors is None else 0
        return _panel(
            queries[first:last], columns[left:], out[first:last, left:], vectors is None, inner, name
        )

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
    queries: np.ndarray, vectors: np.ndarray, out: np.ndarray, same: bool, num_threads: int, name: str
) -> tuple[int, int]:
    """A panel of queries with all vectors."""
    (m, dims), n, lanes = queries.shape, len(vectors), REGISTERS[name].lanes
    tile_count, work = -(-m // (lanes - 2)), n * m * dims
    num_threads = max(1, min(num_threads, work // _THREAD_WORK))
    packed = aligned(4 * lanes * tile_count * (-(-dims // lanes) * lanes))
    q, x, y = Strided.of(queries), Strided.of(vectors), Strided.of(out)
    pack_queries, fill = _pack_queries(name), _fill(name)
    parts = rows.split(tile_count, num_threads)
    bad = threads.run(lambda part: pack_queries(*part, q, m, dims, packed), parts, num_threads)
    if rows.first_bad(bad) >= 0:
        return rows.first_bad(bad), -1
    count = max(num_threads, min(16 * num_threads, work // _PART_WORK), work // _PACE_WORK)
    group = 2 * lanes * REGISTERS[name].blocks
    parts = rows.split(n, count, group if n >= group * count else 2 * lanes)
    bad = threads.run(lambda part: fill(*part, packed, m, x, dims, y, same), parts, num_threads)
    return -1, rows.first_bad(bad)


@specialized
def _pack_queries(name: str) -> Callable[..., int]:
    lanes = REGISTERS[name].lanes
    height = lanes - 2

    @kernel
    def pack_queries(start, stop, queries, count, dims, packed):
        """Pack tiles as [run of dimensions][tile][dimension][lane]; return the first bad row, or −1."""
        tiles = -(-count // height)
        run, inverses = _run(dims), np.zeros(lanes)
        for tile in range(start, stop):
            first = tile * height
            rows_here, x = min(lanes, count - first), row_at(queries, first)
            bad = _inverse_norms(x, queries.stride, rows_here, dims, inverses)
            if bad >= 0:
                return first + bad
            for d in range(0, dims, run):
                depth = min(run, dims - d)
                target = packed.ctypes.data + 4 * lanes * (d * tiles + tile * _steps(depth, lanes))
                for c in range(0, depth, lanes):
                    width, at = min(lanes, depth - c), target + 4 * lanes * c
                    source = x + 4 * (d + c)
                    scale = inverses.ctypes.data
                    pack(name, source, queries.stride, rows_here, width, scale, at, 4 * lanes)
        return -1

    return pack_queries


@specialized
def _fill(name: str) -> Callable[..., int]:
    lanes, blocks, share = REGISTERS[name].lanes, REGISTERS[name].blocks, REGISTERS[name].share
    height, across = lanes - 2, 2 * lanes

    @kernel
    def fill(start, stop, packed, count, vectors, dims, out, same):
        """All packed queries with the vectors from start to stop, ``same``: on and above the diagonal."""
        tiles = -(-count // height)
        run, inverses = _run(dims), np.zeros(across * blocks)
        memory = np.empty(((run + lanes + tiles * height) * blocks + height) * across + 16, np.float32)
        memory[: height * across + 16] = 0.0
        for first in range(start, stop, across * blocks):
            block_bytes, tile_bytes = 4 * across * (run + lanes), 4 * across * height
            zeros = aligned_start(memory)
            block = zeros + tile_bytes
            all_sums = block + blocks * block_bytes
            some, x = min(across * blocks, stop - first), row_at(vectors, first)
            bad = _inverse_norms(x, vectors.stride, some, dims, inverses)
            if bad >= 0:
                return first + bad
            for d in range(0, dims, run):
                depth, last = min(run, dims - d), d + run >= dims
                steps = _steps(depth, lanes)
                for j in range(0, some, lanes):
                    to = block + j // across * block_bytes + 4 * (j % across)
                    scale = inverses.ctypes.data + 8 * j
                    for c in range(0, depth, lanes):
                        at, columns = x + j * vectors.stride + 4 * (d + c), min(lanes, depth - c)
                        pack(
                            name,
                            at,
                            vectors.stride,
                            some - j,
                            columns,
                            scale,
                            to + 4 * across * c,
                            4 * across,
                        )
                for upper in range(0, tiles, share):
                    for b in range(0, -(-some // across)):
                        width = min(across, some - across * b)
                        end = first + across * b + width - 1
                        lower = min(upper + share, end // height + 1 if same else tiles, tiles)
                        for tile in range(upper, lower):
                            sums = all_sums + tile_bytes * (b * tiles + tile)
                            target = row_at(out, tile * height) + 4 * (first + across * b)
                            some_rows = min(height, count - tile * height)
                            if last:
                                _prefetch(target, out.stride, some_rows, width)
                            queries = packed.ctypes.data + 4 * lanes * (d * tiles + tile * steps)
                            past = sums if d > 0 else zeros
                            multiply(name, queries, block + b * block_bytes, steps, past, sums)
                            if last:
                                for r in range(some_rows):
                                    write(name, sums + 4 * across * r, target + r * out.stride, width)
        return -1

    return fill


@inline
def _run(dims):
    """Dimensions of a run: about √dims make the error least, and 128 fill half a first-level cache."""
    return 128 if dims <= 32_768 else 512


@inline
def _steps(depth, lanes):
    """Dimensions of a tile as packed: as many as there are lanes at a time."""
    return -(-depth // lanes) * lanes


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
        for line in range(0, 4 * width - 3, 64):
            simd.prefetch_to_write(at + line)
        simd.prefetch_to_write(at + 4 * width - 4)


def _multiplication(lanes: int, unroll: int) -> Callable[..., Any]:
    """A tile's sums over ``depth`` dimensions, added to those of the ``past``."""
    vector, height = ir.VectorType(ir.FloatType(), lanes), lanes - 2

    @operation(types.void, address, address, types.int64, types.int64, address)
    def emit(builder, queries, vectors, depth, past, sums):
        def step(d, totals):
            q, x = offset(builder, queries, d, 4 * lanes), offset(builder, vectors, d, 8 * lanes)
            for line in range(0, 4 * lanes * unroll, 64):
                prefetch_at(builder, offset(builder, offset(builder, q, ahead), line))
            for s in range(unroll):
                columns = [
                    builder.load(
                        pointer(builder, offset(builder, x, at + 8 * lanes * s), vector), align=4 * lanes
                    )
                    for at in (0, 4 * lanes)
                ]
                results: list[Any] = []
                for r in range(height):
                    at = offset(builder, q, r + lanes * s, 4)
                    row = splat(builder, builder.load(pointer(builder, at, ir.FloatType())), vector)
                    for column in columns:
                        total = totals[len(results)]
                        results.append(call(builder, f"llvm.fma.v{lanes}f32", vector, row, column, total))
                totals = results
            return totals

        ahead = builder.mul(depth, ir.Constant(_i64, 4 * lanes))
        zeros = [ir.Constant(vector, None)] * (2 * height)
        results = repeat(builder, ir.Constant(_i64, 0), depth, unroll, zeros, step)
        for number, result in enumerate(results):
            before, after = (
                pointer(builder, offset(builder, at, number, 4 * lanes), vector) for at in (past, sums)
            )
            total = builder.fadd(builder.load(before, align=4 * lanes), result)
            builder.store(total, after, align=4 * lanes)

    def multiply(name, queries, vectors, depth, past, sums):
        emit(queries, vectors, depth, past, sums)

    return multiply


def _packing(lanes: int) -> Callable[..., Any]:
    """Rows × dimensions, L of both, to [dimension][row], scaled; past ``count`` rows the last repeats."""
    single, double = ir.VectorType(ir.FloatType(), lanes), ir.VectorType(_f64, lanes)

    @operation(types.void, address, types.int64, types.int64, types.int64, address, address, types.int64)
    def emit(builder, source, stride, count, width, inverses, target, target_stride):
        last, block = builder.sub(count, ir.Constant(_i64, 1)), []
        for r in range(lanes):
            number = ir.Constant(_i64, r)
            row = builder.select(builder.icmp_signed("<", number, last), number, last)
            at = builder.add(source, builder.mul(row, stride))
            value = simd.load_first_at(builder, at, width, single)
            factor = builder.load(pointer(builder, offset(builder, inverses, r, 8), _f64))
            scaled = builder.fmul(builder.fpext(value, double), splat(builder, factor, double))
            block.append(builder.fptrunc(scaled, single))
        for column, value in enumerate(transposed(builder, block)):
            at = builder.add(target, builder.mul(ir.Constant(_i64, column), target_stride))
            builder.store(value, pointer(builder, at, single), align=4 * lanes)

    def pack(name, source, stride, count, width, inverses, target, target_stride):
        emit(source, stride, count, width, inverses, target, target_stride)

    return pack


def _writing(lanes: int) -> Callable[..., Any]:
    """One query's sums, clipped, into ``out``."""
    vector = ir.VectorType(ir.FloatType(), 2 * lanes)

    @operation(types.void, address, address)
    def whole(builder, sums, target):
        value = simd.clipped(builder, builder.load(pointer(builder, sums, vector), align=4 * lanes))
        builder.store(value, pointer(builder, target, vector), align=4)

    @operation(types.void, address, address, types.int64)
    def first(builder, sums, target, width):
        value = simd.clipped(builder, builder.load(pointer(builder, sums, vector), align=4 * lanes))
        simd.store_first_at(builder, target, value, width)

    def write(name, sums, target, width):
        if width == 2 * lanes:
            whole(sums, target)
        else:
            first(sums, target, width)

    return write


def _registers(requires: tuple[str, ...], *, lanes: int, blocks: int, share: int, unroll: int) -> Registers:
    made = _multiplication(lanes, unroll), _packing(lanes), _writing(lanes)
    return Registers(requires, lanes, blocks, share, *made)


REGISTERS = {
    "avx512": _registers(("avx512f",), lanes=WIDE, blocks=4, share=16, unroll=2),
    "avx2": _registers(("avx2", "fma"), lanes=8, blocks=8, share=32, unroll=4),
}

for _stub in (multiply, pack, write):
    named(_stub, REGISTERS, _stub.__name__)
