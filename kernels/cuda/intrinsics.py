"""Everything that names an instruction of the device: the operations that kernels are made of.

One module, so that a move to another compiler touches this file and ``launches.py``. Kernels take
the operations from ``operations.py``, by name.

Integer tensor cores: ``mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32``, of compute
capability 8.0 on. A warp multiplies 16 rows by 8 queries over 32 dimensions, 4,096
products of signed bytes summed exactly in 32 bits. With g = lane / 4 and t = lane % 4 a
lane holds, four bytes a word (PTX ISA, "Matrix fragments for mma.m16n8k32"):

    rows      a0: row g, dims 4t…      a1: row g + 8      a2, a3: the same, dims 16 + 4t…
    queries   b0: query g, dims 4t…    b1: dims 16 + 4t…
    sums      c0, c1: row g, queries 2t, 2t + 1           c2, c3: row g + 8

A warp's sums stay in registers: the operations below take and return tuples, whose lengths say
how many fragments they hold.

What is an instruction is an intrinsic; what is Python is ``inline``, and so are a metric's functions.
"""

import inspect
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from llvmlite import ir
from numba import types
from numba.cuda.extending import intrinsic
from numba.extending import overload, register_jitable

from .. import sums
from ..emit import operation
from . import arithmetic
from .launches import kernel
from .layout import BY_ERROR, BY_LENGTH, ROOT, SLACK, WEIGHT

inline = register_jitable  # helpers that are called from other compiled functions only

_i1, _i32, _i64, _f32 = ir.IntType(1), ir.IntType(32), ir.IntType(64), ir.FloatType()
_f64 = ir.DoubleType()
_FRAGMENT = ir.LiteralStructType([_i32] * 4)

_MMA = (
    "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
    "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};"
)
# Codes are read once: past the first level, and in lines as long as the second's.
_LOAD = "ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {$0, $1, $2, $3}, [$4];"


def _asm(
    builder: Any,
    text: str,
    constraints: str,
    values: list[Any],
    *,
    volatile: bool,
    result: Any = _FRAGMENT,
) -> Any:
    kind = ir.FunctionType(result, [value.type for value in values])
    return builder.call(ir.InlineAsm(kind, text, constraints, side_effect=volatile), values)


def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    return context.make_array(kind)(context, builder, value=array).data


def _field(context: Any, builder: Any, record: Any, value: Any, name: str) -> Any:
    """The address of the elements of an array in a record."""
    place = record.fields.index(name)
    return _data(context, builder, record[place], builder.extract_value(value, place))


def _at(builder: Any, data: Any, index: Any, kind: Any, align: int) -> Any:
    """The bytes at an element of an array, as another type."""
    place = builder.bitcast(builder.gep(data, [index]), kind.as_pointer())
    return builder.load(place, align=align)


def _pair(builder: Any, data: Any, index: Any) -> list[Any]:
    """Two neighboring float32, the first at an even index."""
    two = _at(builder, data, index, ir.VectorType(_f32, 2), 8)
    return [builder.extract_element(two, ir.Constant(_i32, i)) for i in range(2)]


def _plus(builder: Any, index: Any, more: int) -> Any:
    return builder.add(index, ir.Constant(index.type, more))


@intrinsic
def zeros(_typing, count):
    """``count`` sums, all 0."""
    if not isinstance(count, types.Literal):
        return None  # Numba offers a number first as itself, then as any
    kind = types.UniTuple(types.int32, count.literal_value)

    def code(context, builder, _signature, _values):
        zero = ir.Constant(_i32, 0)
        return context.make_tuple(builder, kind, [zero] * len(kind))

    return kind(count), code


@intrinsic
def load_rows(_typing, codes, at, stride, tiles):
    """This lane's fragments of ``tiles`` tiles of rows.

    ``at`` is the first one's place among the int32 codes, ``stride`` the words from tile to tile.
    """
    if not isinstance(tiles, types.Literal):
        return None
    kind = types.UniTuple(types.int32, 4 * tiles.literal_value)

    def code(context, builder, signature, values):
        codes, at, stride, _ = values
        data, words = _data(context, builder, signature.args[0], codes), []
        for _ in range(len(kind) // 4):
            place = builder.ptrtoint(builder.gep(data, [at]), _i64)
            fragment = _asm(builder, _LOAD, "=r,=r,=r,=r,l", [place], volatile=False)
            words += [builder.extract_value(fragment, i) for i in range(4)]
            at = builder.add(at, stride)
        return context.make_tuple(builder, kind, words)

    return kind(codes, types.int64, types.int64, tiles), code


@intrinsic
def multiply(_typing, sums, rows, queries, at, stride):
    """The sums, with the products of the rows' fragments and the queries' added to them.

    The queries' fragments are the words ``at``, ``at + stride`` … of int32 codes.
    ``sums[(i · query tiles + j) · 4 + c]`` is c of row tile i and query tile j.
    """

    def code(context, builder, signature, values):
        sums, rows, queries, at, stride = values
        row_tiles = len(signature.args[1]) // 4
        query_tiles = len(signature.args[0]) // (4 * row_tiles)
        data = _data(context, builder, signature.args[2], queries)
        a = [builder.extract_value(rows, i) for i in range(4 * row_tiles)]
        c = [builder.extract_value(sums, i) for i in range(len(signature.args[0]))]
        for j in range(query_tiles):
            pair = _at(builder, data, at, ir.VectorType(_i32, 2), 8)
            b = [builder.extract_element(pair, ir.Constant(_i32, i)) for i in range(2)]
            at = builder.add(at, stride)
            for i in range(row_tiles):
                z = 4 * (i * query_tiles + j)
                operands = [*a[4 * i : 4 * i + 4], *b, *c[z : z + 4]]
                # Volatile: it must not move to where the lanes of a warp part.
                done = _asm(builder, _MMA, ",".join(["=r"] * 4 + ["r"] * 10), operands, volatile=True)
                c[z : z + 4] = [builder.extract_value(done, i) for i in range(4)]
        return context.make_tuple(builder, signature.return_type, c)

    return sums(sums, rows, queries, types.int64, types.int64), code


@intrinsic
def hits(_typing, sums, tiles, terms, lanes, row, query, length, error):
    """Bit z is set where sum z of this lane's reaches its query's threshold: see ``terms.py``.

    ``row`` and ``query`` are the lane's first of each; ``length`` and ``error`` are the panel's ``reach``.
    """
    if not isinstance(tiles, types.Literal):
        return None

    def code(context, builder, signature, values):
        sums, _, rows, queries, row, query, length, error = values
        row_tiles = tiles.literal_value
        query_tiles = len(signature.args[0]) // (4 * row_tiles)
        scales, margins = (
            _field(context, builder, signature.args[2], rows, name) for name in ("scale", "margin")
        )
        of_queries = _field(context, builder, signature.args[3], queries, "terms")
        room = builder.extract_value(queries, signature.args[3].fields.index("room"))
        of_rows = []
        for i in range(2 * row_tiles):
            place = _plus(builder, row, 8 * i)
            of_rows.append([builder.load(builder.gep(data, [place])) for data in (scales, margins)])
        bits = ir.Constant(_i64, 0)
        for j in range(query_tiles):
            first = _plus(builder, query, 8 * j)

            pairs = [
                _pair(builder, of_queries, builder.add(first, builder.mul(room, ir.Constant(_i64, term))))
                for term in (WEIGHT, ROOT, SLACK, BY_LENGTH, BY_ERROR)
            ]
            for column in range(2):
                weight, *of_root = (pair[column] for pair in pairs)
                theta = arithmetic.threshold(builder, *of_root, length, error)
                for i in range(2 * row_tiles):
                    z = 4 * ((i // 2) * query_tiles + j) + 2 * (i % 2) + column
                    score = builder.extract_value(sums, z)
                    value_of = arithmetic.value(builder, score, *of_rows[i], weight)
                    reached = builder.zext(arithmetic.reaches(builder, value_of, theta), _i64)
                    bits = builder.or_(bits, builder.shl(reached, ir.Constant(_i64, z)))
        return bits

    arguments = (sums, tiles, terms, lanes, types.int64, types.int64, types.float32, types.float32)
    return types.int64(*arguments), code


@intrinsic
def sync_warp(_typing):
    """Wait for all lanes: the tensor cores take a whole warp at one instruction."""

    def code(context, builder, _signature, _values):
        kind = ir.FunctionType(ir.VoidType(), [])
        text = "bar.warp.sync 0xffffffff;"
        builder.call(ir.InlineAsm(kind, text, "~{memory}", side_effect=True), [])
        return context.get_dummy_value()

    return types.void(), code


def _from_lane(builder: Any, word: Any, distance: int) -> Any:
    """The 32 bits in the lane whose number differs from this one's in one bit."""
    text = f"shfl.sync.bfly.b32 $0, $1, {distance}, 31, 0xffffffff;"
    return _asm(builder, text, "=r,r", [word], volatile=True, result=_i32)


@intrinsic
def sum_of_lanes(_typing, value):
    """Sum of a warp's float64, in every lane: l with l + 16, + 8, + 4, + 2, + 1 (``kernels/rows.py``)."""

    def code(_context, builder, _signature, values):
        total, two = values[0], ir.VectorType(_i32, 2)
        for distance in (16, 8, 4, 2, 1):
            words = builder.bitcast(total, two)
            theirs = ir.Constant(two, ir.Undefined)
            for half in (ir.Constant(_i32, 0), ir.Constant(_i32, 1)):
                word = _from_lane(builder, builder.extract_element(words, half), distance)
                theirs = builder.insert_element(theirs, word, half)
            total = builder.fadd(total, builder.bitcast(theirs, _f64))
        return total

    return types.float64(types.float64), code


@intrinsic
def largest_of_lanes(_typing, value):
    """Largest of a warp's float32, in every lane."""

    def code(_context, builder, _signature, values):
        largest = values[0]
        for distance in (16, 8, 4, 2, 1):
            theirs = builder.bitcast(_from_lane(builder, builder.bitcast(largest, _i32), distance), _f32)
            largest = builder.select(builder.fcmp_ordered(">", theirs, largest), theirs, largest)
        return largest

    return types.float32(types.float32), code


@intrinsic
def product(_typing, a, b):
    """The rounded product of two float32 or two float64: never fused with a sum."""
    letter, kind = ("f", a) if a == types.float32 else ("d", types.float64)

    def code(_context, builder, signature, values):
        text, result = f"mul.rn.f{signature.return_type.bitwidth} $0, $1, $2;", values[0].type
        return _asm(builder, text, f"={letter},{letter},{letter}", values, volatile=False, result=result)

    return kind(kind, kind), code


def _of_a_lane(step: Callable[..., Any], of_a_lane: Callable[..., Any]) -> None:
    """Let a step of a sum be ``of_a_lane`` on the device."""

    def resolve(*_: types.Type) -> Callable[..., Any]:
        return of_a_lane

    resolve.__signature__ = inspect.signature(step)  # type: ignore[attr-defined]
    overload(step, target="cuda")(resolve)


def _add_square(total, a):
    return total + product(a, a)


_of_a_lane(sums.add_product, sums.add_product)
_of_a_lane(sums.difference, sums.difference)
_of_a_lane(sums.add_square, _add_square)


@intrinsic
def nearest(_typing, value):
    """A float32 rounded to the nearest integer, to an even one if two are."""

    def code(_context, builder, _signature, values):
        return _asm(builder, "cvt.rni.f32.f32 $0, $1;", "=f,f", values, volatile=False, result=_f32)

    return types.float32(types.float32), code


@intrinsic
def pick(_typing, sums, place):
    """``sums[place]`` by selections: registers cannot be indexed, and memory would be slow."""

    def code(_context, builder, signature, values):
        level = [builder.extract_value(values[0], i) for i in range(len(signature.args[0]))]
        bit = 0
        while len(level) > 1:
            odd = builder.trunc(builder.lshr(values[1], ir.Constant(_i64, bit)), _i1)
            level = [builder.select(odd, b, a) for a, b in zip(level[::2], level[1::2], strict=True)]
            bit += 1
        return level[0]

    return types.int32(sums, types.int64), code


@intrinsic
def lowest_bit(_typing, value):
    """Position of the lowest set bit of an int64 that is not 0."""

    def code(_context, builder, _signature, values):
        return builder.cttz(values[0], ir.Constant(_i1, 1))

    return types.int64(types.int64), code


OPERATIONS = MappingProxyType(
    {
        "hits": hits,
        "inline": inline,
        "kernel": kernel,
        "largest_of_lanes": largest_of_lanes,
        "load_rows": load_rows,
        "lowest_bit": lowest_bit,
        "multiply": multiply,
        "nearest": nearest,
        "pick": pick,
        "product": product,
        "sum_of_lanes": sum_of_lanes,
        "sync_warp": sync_warp,
        "zeros": zeros,
        **{
            name: operation(result, *arguments)(emit)
            for name, (emit, result, arguments) in arithmetic.OPERATIONS.items()
        },
    }
)
"""The operations that ``operations.py`` hands to kernels."""
