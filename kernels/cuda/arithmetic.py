"""The comparisons of ``terms.py`` as instructions, written once for the device and for its simulation.

Each function emits LLVM's instructions for scalars; ``OPERATIONS`` gives their types.
"""

from typing import Any

from llvmlite import ir
from numba import types

from .layout import LOWERED, LOWEST

_i32, _i64, _f32 = ir.IntType(32), ir.IntType(64), ir.FloatType()


def value(builder: Any, score: Any, scale: Any, margin: Any, weight: Any) -> Any:
    """``fl(I)·s′ + μ·w``."""
    return builder.fadd(builder.fmul(builder.sitofp(score, _f32), scale), builder.fmul(margin, weight))


def slack(builder: Any, constant: Any, by_length: Any, by_error: Any, length: Any, error: Any) -> Any:
    """``C₀ + C₁·L + C₂·(E·L)`` of a panel."""
    more = builder.fadd(builder.fmul(by_length, length), builder.fmul(by_error, error))
    return builder.fadd(constant, more)


def threshold(
    builder: Any, root: Any, constant: Any, by_length: Any, by_error: Any, length: Any, error: Any
) -> Any:
    """The value that a row of a panel must reach to stay."""
    margin = slack(builder, constant, by_length, by_error, length, error)
    theta, lowest = _lowered(builder, builder.fsub(root, margin)), ir.Constant(_f32, LOWEST)
    return builder.select(builder.fcmp_ordered(">", theta, lowest), theta, lowest)


def reaches(builder: Any, value: Any, threshold: Any) -> Any:
    """Whether a row stays. The value of a closed row may be NaN, which reaches nothing."""
    return builder.fcmp_ordered(">=", value, threshold)


def lower(builder: Any, value: Any, slack: Any) -> Any:
    """The lower end of a row's value, which is at least that."""
    return _lowered(builder, builder.fsub(value, slack))


def ordered(builder: Any, value: Any) -> Any:
    """The bits of a float32 as an integer ≥ 0; integers are in the order of the numbers."""
    bits = builder.bitcast(value, _i32)
    # Positive: set the sign. Negative: flip all, as a larger magnitude is less.
    flip = builder.or_(builder.ashr(bits, ir.Constant(_i32, 31)), ir.Constant(_i32, -(2**31)))
    return builder.zext(builder.xor(bits, flip), _i64)


def _lowered(builder: Any, number: Any) -> Any:
    negative = builder.fcmp_ordered("<", number, ir.Constant(_f32, 0.0))
    size = builder.select(negative, builder.fsub(ir.Constant(_f32, -0.0), number), number)
    return builder.fsub(number, builder.fmul(size, ir.Constant(_f32, LOWERED)))


_float, _integer, _truth = types.float32, types.int32, types.boolean

OPERATIONS: dict[str, tuple[Any, types.Type, tuple[types.Type, ...]]] = {
    "value": (value, _float, (_integer, _float, _float, _float)),
    "slack": (slack, _float, (_float,) * 5),
    "threshold": (threshold, _float, (_float,) * 6),
    "reaches": (reaches, _truth, (_float, _float)),
    "lower": (lower, _float, (_float, _float)),
    "ordered": (ordered, types.int64, (_float,)),
}
"""For each operation: the function that emits its instructions, and the types of its result and arguments."""
