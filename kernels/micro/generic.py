"""Portable integers: correct on every processor, the reference for all other micro-kernels.

A step of a tile is 16 queries × 4 dimensions. Byte j of each query is cut out of its
32-bit lane by two shifts (left, then arithmetic right: sign extension), multiplied by
the row's byte j and added. Everything is exact: |255 · 127 · dims| < 2³¹ for dims up
to 66,000, and sums wrap modulo 2³² beyond, while the corrected result, at most
127² · dims in magnitude, fits up to 133,000 dimensions: addition modulo 2³² is
associative, so the result is right wherever it fits.
"""

from typing import Any

from llvmlite import ir
from numba import types

from ..simd import address, i32x16, load_signed, load_unsigned, operation, pointer, splat
from .record import MicroKernel

_ROWS, _QUERIES = 4, 16

_i32, _i64 = ir.IntType(32), ir.IntType(64)


@operation(types.void, address, address, types.int64, address, address)
def _row_by_16(builder: Any, row: Any, queries: Any, steps: Any, corrections: Any, scores: Any) -> None:
    """One row with 16 queries, all steps."""
    vector = i32x16.ir
    before = builder.block
    loop, done = builder.append_basic_block("step"), builder.append_basic_block("done")
    start = builder.load(pointer(builder, corrections, vector), align=4)
    builder.branch(loop)

    builder.position_at_end(loop)
    step, total = builder.phi(_i64), builder.phi(vector)
    step.add_incoming(ir.Constant(_i64, 0), before)
    total.add_incoming(start, before)
    at = builder.add(queries, builder.mul(step, ir.Constant(_i64, 64)))
    lanes = builder.load(pointer(builder, at, vector), align=4)
    four = builder.load(
        pointer(builder, builder.add(row, builder.mul(step, ir.Constant(_i64, 4))), _i32), align=1
    )
    value = total
    for byte in range(4):
        shift = ir.Constant(vector, [24 - 8 * byte] * 16)
        query = builder.ashr(builder.shl(lanes, shift), ir.Constant(vector, [24] * 16))
        code = builder.and_(builder.lshr(four, ir.Constant(_i32, 8 * byte)), ir.Constant(_i32, 255))
        value = builder.add(value, builder.mul(query, splat(builder, code, vector)))
    following = builder.add(step, ir.Constant(_i64, 1))
    step.add_incoming(following, loop)
    total.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", following, steps), loop, done)

    builder.position_at_end(done)
    builder.store(value, pointer(builder, scores, vector), align=4)


def _tile(name, codes, stride, queries, blocks, steps, corrections, scores):
    for row in range(_ROWS):
        _row_by_16(codes + row * stride, queries, steps, corrections, scores + row * 4 * _QUERIES)


def _row(name, codes, stride, rows, query, width, correction, scores):
    for row in range(rows):
        total = correction
        for d in range(width):
            total += load_unsigned(codes + row * stride + d) * load_signed(query + d)
        scores[row] = total


RECORD = MicroKernel(
    name="generic",
    description="portable integers, any processor",
    requires=(),
    tile_rows=_ROWS,
    tile_queries=_QUERIES,
    tile=_tile,
    speed=1.5,
    row=_row,
)
