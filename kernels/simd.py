"""Explicit vectors for compiled code: 32 lanes, whatever the processor's registers hold.

Thirty-two is the number of lanes in which a row is summed (the contract's order of
summation), so one vector type serves every loop over a row: ``f32x32`` as loaded,
``f64x32`` to accumulate. LLVM splits them into the registers there are (four of 512
bits for ``f64x32``), and explicit operations are neither reordered nor contracted.
The scan's epilogue has 16 queries in the lanes: ``f32x16``, ``i32x16``.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import models, register_model

from .cpu import architecture, features
from .emit import address, call, of_elements, opaque_pointers, operation, pointer, prefetch_at, splat

LANES = 32

_i1, _i8, _i16, _i32, _i64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
_f32, _f64 = ir.FloatType(), ir.DoubleType()


class Vector(types.Type):
    """Numba type of an LLVM vector."""

    def __init__(self, element: ir.Type, lanes: int) -> None:
        self.ir = ir.VectorType(element, lanes)
        super().__init__(name=f"Vector({element} x {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, vector.ir)


f32x32, f64x32 = Vector(_f32, 32), Vector(_f64, 32)
f32x16, i32x16 = Vector(_f32, 16), Vector(_i32, 16)


def _load(vector: Vector) -> Any:
    # Rows of the user's arrays have any alignment.
    return operation(vector, address)(
        lambda builder, at: builder.load(pointer(builder, at, vector.ir), align=1)
    )


def _store(vector: Vector) -> Any:
    def emit(builder: Any, at: Any, value: Any) -> None:
        builder.store(value, pointer(builder, at, vector.ir), align=1)

    return operation(types.void, address, vector)(emit)


def _binary(vector: Vector, instruction: str) -> Any:
    return operation(vector, vector, vector)(lambda builder, a, b: getattr(builder, instruction)(a, b))


def _broadcast(vector: Vector, scalar: types.Type) -> Any:
    return operation(vector, scalar)(lambda builder, value: splat(builder, value, vector.ir))


def _zero(vector: Vector) -> Any:
    return operation(vector)(lambda builder: ir.Constant(vector.ir, None))


def _unary(vector: Vector, name: str) -> Any:
    lanes, kind = vector.ir.count, "f32" if vector.ir.element == _f32 else "f64"
    return operation(vector, vector)(
        lambda builder, value: call(builder, f"llvm.{name}.v{lanes}{kind}", vector.ir, value)
    )


@operation(types.void, address)
def prefetch(builder: Any, at: Any) -> None:
    """Ask for a cache line in the second level."""
    prefetch_at(builder, at, 2)


@operation(types.void, address)
def prefetch_near(builder: Any, at: Any) -> None:
    """Ask for a cache line in every level."""
    prefetch_at(builder, at)


@operation(types.void, address)
def prefetch_to_write(builder: Any, at: Any) -> None:
    """Ask for a cache line that is about to be written."""
    prefetch_at(builder, at, write=True)


load, store, zero = _load(f32x32), _store(f32x32), _zero(f32x32)
add, sub, mul = (_binary(f32x32, name) for name in ("fadd", "fsub", "fmul"))
broadcast, absolute, nearest = (
    _broadcast(f32x32, types.float32),
    _unary(f32x32, "fabs"),
    _unary(f32x32, "rint"),
)

load_wide, store_wide, zero_wide = _load(f64x32), _store(f64x32), _zero(f64x32)
add_wide, sub_wide, mul_wide = (_binary(f64x32, name) for name in ("fadd", "fsub", "fmul"))
broadcast_wide, absolute_wide = _broadcast(f64x32, types.float64), _unary(f64x32, "fabs")


@operation(f64x32, f32x32)
def widen(builder: Any, value: Any) -> Any:
    """Exact conversion to float64."""
    return builder.fpext(value, f64x32.ir)


@operation(f64x32, f64x32, f64x32, f64x32)
def add_product(builder: Any, total: Any, a: Any, b: Any) -> Any:
    """``total + a * b`` where every product is exact in float64, so that fusing changes no bit."""
    if "fma" in features() or architecture() == "aarch64":
        return call(builder, "llvm.fma.v32f64", f64x32.ir, a, b, total)
    return builder.fadd(total, builder.fmul(a, b))


@operation(f32x32, f32x32, f32x32, f32x32)
def multiply_add(builder: Any, a: Any, b: Any, total: Any) -> Any:
    """``a * b + total`` with one rounding or two, for results that are bounded, not exact."""
    if "fma" in features() or architecture() == "aarch64":
        return call(builder, "llvm.fma.v32f32", f32x32.ir, a, b, total)
    return builder.fadd(builder.fmul(a, b), total)


@operation(f32x32, f64x32)
def narrow(builder: Any, value: Any) -> Any:
    """Rounding to float32."""
    return builder.fptrunc(value, f32x32.ir)


def _below(builder: Any, count: Any, width: int = LANES) -> Any:
    lanes = ir.Constant(ir.VectorType(_i32, width), list(range(width)))
    limit = splat(builder, builder.trunc(count, _i32), lanes.type)
    return builder.icmp_unsigned("<", lanes, limit)


def _mangled(name: str, vector: str) -> str:
    """The name of a masked memory intrinsic."""
    return f"llvm.masked.{name}.{vector}.{'p0' if opaque_pointers() else 'p0' + vector}"


def load_first_at(builder: Any, at: Any, count: Any, vector: ir.VectorType) -> Any:
    """The first ``count`` lanes, zeros behind them; the memory there is not touched."""
    kind = {"float": "f32", "double": "f64", "i8": "i8"}[str(vector.element)]
    name = _mangled("load", f"v{vector.count}{kind}")
    source, mask = pointer(builder, at, vector), _below(builder, count, vector.count)
    return call(builder, name, vector, source, ir.Constant(_i32, 1), mask, ir.Constant(vector, None))


def _load_first(vector: Vector) -> Any:
    return operation(vector, address, types.int64)(
        lambda builder, at, count: load_first_at(builder, at, count, vector.ir)
    )


load_first, load_first_wide = _load_first(f32x32), _load_first(f64x32)


def store_first_at(builder: Any, at: Any, value: Any, count: Any) -> None:
    """Store the first ``count`` lanes of float32; the memory behind them is not touched."""
    width = value.type.count
    target, mask = pointer(builder, at, value.type), _below(builder, count, width)
    name = _mangled("store", f"v{width}f32")
    call(builder, name, ir.VoidType(), value, target, ir.Constant(_i32, 1), mask)


@operation(types.void, address, f32x32, types.int64)
def store_first(builder: Any, at: Any, value: Any, count: Any) -> None:
    """``store_first_at`` in compiled code."""
    store_first_at(builder, at, value, count)


def _larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def clipped(builder: Any, value: Any) -> Any:
    """Lanes brought to the range from −1 to 1."""
    for compare, limit in ((">", 1.0), ("<", -1.0)):
        bound = ir.Constant(value.type, [limit] * value.type.count)
        value = builder.select(builder.fcmp_ordered(compare, value, bound), bound, value)
    return value


maximum = operation(f32x32, f32x32, f32x32)(_larger)
maximum_wide = operation(f64x32, f64x32, f64x32)(_larger)


def _halves(builder: Any, value: Any, combine: Callable[[Any, Any, Any], Any]) -> Any:
    """Fold lane l with l + 16, then + 8, + 4, + 2, + 1."""
    width = value.type.count
    while width > 1:
        width //= 2
        low, high = (
            builder.shuffle_vector(
                value,
                value,
                ir.Constant(ir.VectorType(_i32, width), list(range(start, start + width))),
            )
            for start in (0, width)
        )
        value = combine(builder, low, high)
    return builder.extract_element(value, ir.Constant(_i32, 0))


@operation(types.float64, f64x32)
def tree_sum(builder: Any, value: Any) -> Any:
    """Sum of the lanes in the contract's fixed order."""
    return _halves(builder, value, lambda b, low, high: b.fadd(low, high))


tree_sum_narrow = operation(types.float32, f32x32)(
    lambda builder, value: _halves(builder, value, lambda b, low, high: b.fadd(low, high))
)
tree_max = operation(types.float32, f32x32)(lambda builder, value: _halves(builder, value, _larger))
tree_max_wide = operation(types.float64, f64x32)(lambda builder, value: _halves(builder, value, _larger))


@operation(types.void, address, f32x32)
def store_codes(builder: Any, at: Any, value: Any) -> None:
    """Store integers from −127 to 127 as bytes offset by 128."""
    wide = builder.fptosi(value, ir.VectorType(_i32, LANES))
    shifted = builder.add(wide, ir.Constant(wide.type, [128] * LANES))
    codes = builder.trunc(shifted, ir.VectorType(_i8, LANES))
    builder.store(codes, pointer(builder, at, codes.type), align=1)


load16, mul16, broadcast16 = _load(f32x16), _binary(f32x16, "fmul"), _broadcast(f32x16, types.float32)


@operation(types.void, address, address, address)
def store_halves(builder: Any, at: Any, high: Any, low: Any) -> None:
    """Of 16 words of 32 bits, store the high halves and the low ones, each as the high half of a float32."""
    words = builder.load(pointer(builder, at, i32x16.ir), align=4)
    halves = (
        builder.and_(words, ir.Constant(words.type, [0xFFFF0000] * 16)),
        builder.shl(words, ir.Constant(words.type, [16] * 16)),
    )
    for target, half in zip((high, low), halves, strict=True):
        builder.store(half, pointer(builder, target, half.type), align=4)


@operation(types.float64, address)
def load_double(builder: Any, at: Any) -> Any:
    """One float64."""
    return builder.load(pointer(builder, at, _f64), align=1)


@operation(types.int64, address)
def load_long(builder: Any, at: Any) -> Any:
    """One int64."""
    return builder.load(pointer(builder, at, _i64), align=8)


@operation(types.int64, address, types.int64)
def fetch_add(builder: Any, at: Any, amount: Any) -> Any:
    """The int64 at an address, which grows by an amount at once, so that no two threads see the same."""
    return builder.atomic_rmw("add", pointer(builder, at, _i64), amount, "monotonic")


@operation(types.float32, address)
def load_scalar(builder: Any, at: Any) -> Any:
    """One float32."""
    return builder.load(pointer(builder, at, _f32), align=4)


@operation(types.void, address, types.float32)
def store_scalar(builder: Any, at: Any, value: Any) -> None:
    """Store one float32."""
    builder.store(value, pointer(builder, at, _f32), align=4)


@operation(types.void, address, types.int64)
def store_int(builder: Any, at: Any, value: Any) -> None:
    """Store an integer as 32 bits."""
    builder.store(builder.trunc(value, _i32), pointer(builder, at, _i32), align=4)


@of_elements(None, address)
def load_like(builder: Any, kind: ir.Type, at: Any) -> Any:
    """One value of the type of an array's elements."""
    return builder.load(pointer(builder, at, kind), align=1)


@operation(types.int32, address)
def load_unsigned(builder: Any, at: Any) -> Any:
    """One unsigned byte."""
    return builder.zext(builder.load(pointer(builder, at, _i8)), _i32)


@operation(types.int64, f32x32, f32x32)
def at_least(builder: Any, a: Any, b: Any) -> Any:
    """Bit l is set where lane l of a is at least that of b."""
    return builder.zext(builder.bitcast(builder.fcmp_ordered(">=", a, b), _i32), _i64)


@operation(types.int64, types.int64)
def trailing_zeros(builder: Any, value: Any) -> Any:
    """Position of the lowest set bit of a nonzero integer."""
    return call(builder, "llvm.cttz.i64", _i64, value, ir.Constant(_i1, 1))


@operation(types.int64, types.int64)
def count_bits(builder: Any, value: Any) -> Any:
    """Number of bits that are set."""
    return call(builder, "llvm.ctpop.i64", _i64, value)
