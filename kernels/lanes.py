"""The loop over the dimensions of a row, 32 at a time: sums of one row with another, or with several.

Sums are in the contract's order (see ``rows.py``). Those with several rows are formed side by side, so
that the row is read once for all of them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from . import simd
from .emit import address, merged, offset, pointer, repeat, side_by_side

_i64 = ir.IntType(64)

Load = Callable[..., Any]
"""Emits the vector of a row's dimensions at hand, zeros past the last one, from the row's address; and from
the ``Values`` of the row, unless they are float32."""


class Values(NamedTuple):
    """How the numbers of a row lie in memory."""

    size: int
    """Bytes of a number."""
    vector: Any
    """The type of 32 numbers."""
    to_float32: Callable[[Any, Any], Any]
    """Emits them as float32, which holds each of them exactly."""


FLOAT32 = Values(4, simd.f32x32.ir, lambda _, value: value)
INT8 = Values(
    1, ir.VectorType(ir.IntType(8), simd.LANES), lambda builder, value: builder.sitofp(value, simd.f32x32.ir)
)


def over_dims(
    builder: Any,
    dims: Any,
    kind: simd.Vector,
    totals: list[Any],
    body: Callable[[Any, Load, list[Any]], list[Any]],
) -> list[Any]:
    """Emit ``totals = body(d, load, totals)`` for every 32 dimensions from d on; return the last totals.

    ``load`` gives rows as vectors of ``kind``.
    """

    def converted(value: Any) -> Any:
        return value if kind is simd.f32x32 else simd.widen.emit(builder, value)

    def all_lanes(d: Any, before: list[Any]) -> list[Any]:
        def load(row: Any, values: Values = FLOAT32) -> Any:
            at = pointer(builder, offset(builder, row, d, values.size), values.vector)
            return converted(values.to_float32(builder, builder.load(at, align=1)))

        return body(d, load, before)

    def first_lanes(row: Any, values: Values = FLOAT32) -> Any:
        at, count = offset(builder, row, full, values.size), builder.sub(dims, full)
        return converted(values.to_float32(builder, simd.load_first_at(builder, at, count, values.vector)))

    full = builder.and_(dims, ir.Constant(_i64, -simd.LANES))
    totals = repeat(builder, ir.Constant(_i64, 0), full, simd.LANES, totals, all_lanes)
    before = builder.block
    with builder.if_then(builder.icmp_signed("<", full, dims)):
        results, end = body(full, first_lanes, totals), builder.block
    pairs = zip(totals, results, strict=True)
    return [merged(builder, (total, before), (result, end)) for total, result in pairs]


def row_sums(
    kind: simd.Vector,
    step: Callable[[Any, Any, Any], Any],
    q_values: Values = FLOAT32,
    x_values: Values = FLOAT32,
) -> Any:
    """A function of compiled code, ``sums(q, x, dims)``: Σ of ``step`` over rows q and x of these values.

    ``step(total, q, x)`` is a function of compiled code, of vectors of ``kind``. For a tuple of addresses
    q, the sums are a tuple.
    """
    single = kind is simd.f32x32
    result, tree_sum = (types.float32, simd.tree_sum_narrow) if single else (types.float64, simd.tree_sum)

    def apply(total, q, x):
        return step(total, q, x)

    @side_by_side(result, address, types.int64)
    def sums(context: Any, builder: Any, others: list[Any], x: Any, dims: Any) -> list[Any]:
        def body(_: Any, load: Load, totals: list[Any]) -> list[Any]:
            row = load(x, x_values)
            return [
                context.compile_internal(
                    builder, apply, kind(kind, kind, kind), (total, load(other, q_values), row)
                )
                for total, other in zip(totals, others, strict=True)
            ]

        zeros = [ir.Constant(kind.ir, None)] * len(others)
        return [tree_sum.emit(builder, total) for total in over_dims(builder, dims, kind, zeros, body)]

    return sums
