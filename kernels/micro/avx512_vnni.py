"""AVX-512 VNNI: ``vpdpbusd zmm`` adds four products of unsigned × signed bytes to each of 16 lanes.

Latency 4–5 cycles, one a cycle (port 0 on Intel, two pipes of half width on Zen 4): 64
multiply-adds a cycle. Products and sums are exact: no saturation (that is ``vpdpbusds``),
and a lane's final value fits 32 bits.

Tile: 6 rows × 64 queries in 24 accumulators. A step loads four vectors of queries (16
queries × 4 dimensions each) and broadcasts four bytes of each row, so 10 loads feed 24
``vpdpbusd``: the multiply unit is the limit. The record's tile is two of these, 12 × 64.
Where the last tile has fewer blocks of queries, fewer accumulators are used.

Row: four accumulators, each of 64 dimensions a step, so that the latency is hidden, and
a prefetch 4 KB ahead: one query reads rows as fast as memory gives them.
"""

from typing import Any

from llvmlite import ir
from numba import types

from ..simd import address, call, i32x16, operation, pointer, prefetch_at, splat
from .record import MicroKernel

_ROWS, _HALF, _QUERIES = 12, 6, 64
_AHEAD = 4096

_i32, _i64 = ir.IntType(32), ir.IntType(64)
_lanes = i32x16.ir


def _multiply_add(builder: Any, total: Any, unsigned: Any, signed: Any) -> Any:
    return call(builder, "llvm.x86.avx512.vpdpbusd.512", _lanes, total, unsigned, signed)


def _offset(builder: Any, at: Any, count: Any) -> Any:
    return builder.add(at, count if not isinstance(count, int) else ir.Constant(_i64, count))


def _register_tile(blocks: int) -> Any:
    """Six rows with ``blocks`` blocks of 16 queries, all steps, in registers."""

    @operation(types.void, address, types.int64, address, types.int64, address, address)
    def tile(
        builder: Any, codes: Any, stride: Any, queries: Any, steps: Any, corrections: Any, scores: Any
    ) -> None:
        before = builder.block
        loop, done = builder.append_basic_block("step"), builder.append_basic_block("done")
        rows = [_offset(builder, codes, builder.mul(stride, ir.Constant(_i64, row))) for row in range(_HALF)]
        block_bytes = builder.mul(steps, ir.Constant(_i64, 64))
        starts = [
            _offset(builder, queries, builder.mul(block_bytes, ir.Constant(_i64, block)))
            for block in range(blocks)
        ]
        initial = [
            builder.load(pointer(builder, _offset(builder, corrections, 64 * block), _lanes), align=4)
            for block in range(blocks)
        ]
        builder.branch(loop)

        builder.position_at_end(loop)
        step = builder.phi(_i64)
        step.add_incoming(ir.Constant(_i64, 0), before)
        totals = [[builder.phi(_lanes) for _ in range(blocks)] for _ in range(_HALF)]
        four, line = builder.mul(step, ir.Constant(_i64, 4)), builder.mul(step, ir.Constant(_i64, 64))
        signed = [
            builder.load(pointer(builder, _offset(builder, start, line), _lanes), align=64)
            for start in starts
        ]
        results = []
        for row in range(_HALF):
            value = builder.load(pointer(builder, _offset(builder, rows[row], four), _i32), align=4)
            unsigned = splat(builder, value, _lanes)
            results.append(
                [
                    _multiply_add(builder, totals[row][block], unsigned, signed[block])
                    for block in range(blocks)
                ]
            )
        following = builder.add(step, ir.Constant(_i64, 1))
        step.add_incoming(following, loop)
        for row in range(_HALF):
            for block in range(blocks):
                totals[row][block].add_incoming(initial[block], before)
                totals[row][block].add_incoming(results[row][block], loop)
        builder.cbranch(builder.icmp_signed("<", following, steps), loop, done)

        builder.position_at_end(done)
        for row in range(_HALF):
            for block in range(blocks):
                at = _offset(builder, scores, 4 * _QUERIES * row + 64 * block)
                builder.store(results[row][block], pointer(builder, at, _lanes), align=4)

    return tile


_tile1, _tile2, _tile3, _tile4 = (_register_tile(blocks) for blocks in (1, 2, 3, 4))


def _tile(name, codes, stride, queries, blocks, steps, corrections, scores):
    for half in range(2):
        at, out = codes + half * _HALF * stride, scores + half * _HALF * 4 * _QUERIES
        if blocks == 4:
            _tile4(at, stride, queries, steps, corrections, out)
        elif blocks == 3:
            _tile3(at, stride, queries, steps, corrections, out)
        elif blocks == 2:
            _tile2(at, stride, queries, steps, corrections, out)
        else:
            _tile1(at, stride, queries, steps, corrections, out)


@operation(types.int32, address, address, types.int64)
def _dot(builder: Any, codes: Any, query: Any, width: Any) -> Any:
    """Σ u·q over ``width`` bytes, a multiple of 64."""
    before = builder.block
    loop, done = builder.append_basic_block("step"), builder.append_basic_block("done")
    builder.branch(loop)

    builder.position_at_end(loop)
    d, total = builder.phi(_i64), builder.phi(_lanes)
    d.add_incoming(ir.Constant(_i64, 0), before)
    total.add_incoming(ir.Constant(_lanes, None), before)
    at = _offset(builder, codes, d)
    prefetch_at(builder, _offset(builder, at, _AHEAD))
    unsigned = builder.load(pointer(builder, at, _lanes), align=64)
    signed = builder.load(pointer(builder, _offset(builder, query, d), _lanes), align=64)
    result = _multiply_add(builder, total, unsigned, signed)
    following = builder.add(d, ir.Constant(_i64, 64))
    d.add_incoming(following, loop)
    total.add_incoming(result, loop)
    builder.cbranch(builder.icmp_signed("<", following, width), loop, done)

    builder.position_at_end(done)
    return call(builder, "llvm.vector.reduce.add.v16i32", _i32, result)


def _row(name, codes, stride, rows, query, width, correction, scores):
    for row in range(rows):
        scores[row] = _dot(codes + row * stride, query, width) + correction


RECORD = MicroKernel(
    name="avx512_vnni",
    description="AVX-512 VNNI, 6 × 64 scores in registers",
    requires=("avx512f", "avx512vnni"),
    tile_rows=_ROWS,
    tile_queries=_QUERIES,
    tile=_tile,
    speed=9.0,
    row=_row,
    architecture="x86_64",
)
