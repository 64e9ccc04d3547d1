"""A record's functions whose sums stay in vector registers, around one instruction set's multiply-add.

An instruction set gives three functions that emit code:

``multiply_add(builder, total, unsigned, signed)``
    Four dimensions: each 32-bit lane of ``total`` plus four products of bytes.
``broadcast(builder, at)``
    One row's operands of successive steps, each four bytes of the row in every lane.
``load(builder, at, lanes)``
    A row's bytes as they lie, an operand of ``multiply_add``.

A tile keeps ``rows`` × 16 queries × ``blocks`` sums, and a step multiplies every one: its
queries are loaded once for all rows, its four bytes of a row once for all queries. The tile of a
record is some of these, one below the other (``stacked``).
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from ..emit import Emitter, address, call, offset, operation, pointer, prefetch_at, repeat, splat
from ..simd import store_int

_AHEAD = 4096
"""Bytes by which a row function prefetches: one query then reads rows as fast as memory gives them."""

_i32, _i64 = ir.IntType(32), ir.IntType(64)

TILE = (types.void, address, types.int64, address, types.int64, address, address)
"""Types of a tile: codes, stride, queries, steps, corrections, scores."""

DOT = (types.int32, address, address, types.int64)
"""Types of a dot product: codes, query, width."""


def stacked(emit: Emitter, *, rows: int, count: int = 2, line: int) -> Callable[..., Any]:
    """A record's ``tile``: ``count`` emitted tiles of ``rows`` rows, one below the other."""
    part = operation(*TILE)(emit)

    def tile(name, codes, stride, queries, blocks, steps, corrections, scores):
        for place in range(count):
            at, out = codes + place * rows * stride, scores + place * rows * line
            part(at, stride, queries, steps, corrections, out)

    return tile


def row_by_row(emit: Emitter, *, from_zero: bool = False) -> Callable[..., Any]:
    """A record's ``row``: a dot product a row, and the correction unless it is right ``from_zero``."""
    dot = operation(*DOT)(emit)

    def row(name, codes, stride, rows, query, width, correction, scores):
        for i in range(rows):
            product = dot(codes + i * stride, query, width)
            store_int(scores + 4 * i, product if from_zero else product + correction)

    return row


def load_vector(builder: Any, at: Any, lanes: ir.VectorType) -> Any:
    """One vector of packed queries or of a row's codes."""
    return builder.load(pointer(builder, at, lanes), align=4 * lanes.count)


def broadcast_four(lanes: ir.VectorType) -> Emitter:
    """A ``broadcast`` of one step: four bytes of the row to every lane."""

    def broadcast(builder: Any, at: Any) -> list[Any]:
        return [splat(builder, builder.load(pointer(builder, at, _i32), align=4), lanes)]

    return broadcast


def tile(
    multiply_add: Emitter,
    broadcast: Emitter,
    lanes: ir.VectorType,
    *,
    rows: int,
    blocks: int = 1,
    unroll: int = 1,
    from_zero: bool = False,
    line: int,
) -> Emitter:
    """All steps of ``rows`` rows with ``blocks`` blocks of queries; ``broadcast`` gives ``unroll`` steps.

    Sums start at the corrections, or ``from_zero`` where the products are of signed codes
    already. ``line`` is the number of bytes of a row of scores.
    """
    size = 4 * lanes.count
    vectors = 64 // size * blocks

    def emit(
        builder: Any, codes: Any, stride: Any, queries: Any, steps: Any, corrections: Any, scores: Any
    ) -> None:
        row_starts = [offset(builder, codes, builder.mul(stride, ir.Constant(_i64, r))) for r in range(rows)]
        block_bytes = builder.mul(steps, ir.Constant(_i64, 64))
        query_starts = [
            offset(builder, offset(builder, queries, builder.mul(block_bytes, ir.Constant(_i64, block))), at)
            for block in range(blocks)
            for at in range(0, 64, size)
        ]
        initial = [
            ir.Constant(lanes, None)
            if from_zero
            else builder.load(pointer(builder, offset(builder, corrections, vector, size), lanes), align=4)
            for vector in range(vectors)
        ]

        def body(step: Any, totals: list[Any]) -> list[Any]:
            sums = list(totals)
            unsigned: list[list[Any]] = []
            for s in range(unroll):
                signed = [
                    load_vector(builder, offset(builder, offset(builder, start, step, 64), 64 * s), lanes)
                    for start in query_starts
                ]
                for r in range(rows):
                    if s == 0:  # no earlier, to leave registers free
                        unsigned.append(broadcast(builder, offset(builder, row_starts[r], step, 4)))
                    for vector in range(vectors):
                        place = r * vectors + vector
                        sums[place] = multiply_add(builder, sums[place], unsigned[r][s], signed[vector])
            return sums

        sums = repeat(builder, ir.Constant(_i64, 0), steps, unroll, initial * rows, body)
        for place, total in enumerate(sums):
            at = offset(builder, scores, line * (place // vectors) + size * (place % vectors))
            builder.store(total, pointer(builder, at, lanes), align=size)

    return emit


def dot(multiply_add: Emitter, load: Emitter, lanes: ir.VectorType) -> Emitter:
    """Σ row · query over ``width`` bytes, a multiple of 64: a sum for each vector of 64 bytes."""
    size = 4 * lanes.count

    def emit(builder: Any, codes: Any, query: Any, width: Any) -> Any:
        def body(d: Any, totals: list[Any]) -> list[Any]:
            at, query_at = offset(builder, codes, d), offset(builder, query, d)
            prefetch_at(builder, offset(builder, at, _AHEAD))
            results = []
            for total, part in zip(totals, range(0, 64, size), strict=True):
                row = load(builder, offset(builder, at, part), lanes)
                signed = load_vector(builder, offset(builder, query_at, part), lanes)
                results.append(multiply_add(builder, total, row, signed))
            return results

        zeros = [ir.Constant(lanes, None)] * (64 // size)
        results = repeat(builder, ir.Constant(_i64, 0), width, 64, zeros, body)
        while len(results) > 1:
            results = [builder.add(a, b) for a, b in zip(results[::2], results[1::2], strict=True)]
        return call(builder, f"llvm.vector.reduce.add.v{lanes.count}i32", _i32, results[0])

    return emit
