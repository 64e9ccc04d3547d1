"""Keys of a selection: values read from memory 64 at a time, larger ones better.

A key is a value whose bits were combined with ``flip``, so that whatever the type and the
direction, what is better is larger. In all functions ``sample`` is an array of the type
of keys.
"""

from typing import Any

from llvmlite import ir
from numba import types

from .emit import address, of_elements, pointer, splat

_i32, _i64, _f32, _f64 = ir.IntType(32), ir.IntType(64), ir.FloatType(), ir.DoubleType()

KEYS = 64


def _is_float(kind: ir.Type) -> bool:
    return isinstance(kind, ir.FloatType | ir.DoubleType)


def _bits(kind: ir.Type) -> ir.IntType:
    """The integer as wide as a key."""
    return {_f32: _i32, _f64: _i64}.get(kind, kind)


def _narrowed(builder: Any, value: Any, kind: ir.IntType) -> Any:
    return value if value.type == kind else builder.trunc(value, kind)


def _block_of_keys(builder: Any, kind: ir.Type, at: Any, flip: Any) -> Any:
    """64 keys made of the values at an address."""
    bits = ir.VectorType(_bits(kind), KEYS)
    values = builder.load(pointer(builder, at, bits), align=1)
    flips = splat(builder, _narrowed(builder, flip, _bits(kind)), bits)
    return builder.bitcast(builder.xor(values, flips), ir.VectorType(kind, KEYS))


def _compare_keys(sign: str) -> Any:
    def emit(builder: Any, kind: ir.Type, at: Any, threshold: Any, flip: Any) -> Any:
        keys = _block_of_keys(builder, kind, at, flip)
        compare = builder.fcmp_unordered if _is_float(kind) else builder.icmp_signed
        return builder.bitcast(compare(sign, keys, splat(builder, threshold, keys.type)), _i64)

    return of_elements(types.int64, address, None, types.int64)(emit)


keys_above, keys_reaching = _compare_keys(">"), _compare_keys(">=")
"""Bit j is set where key j of 64 is above (or at least) a threshold, or is NaN."""


@of_elements(types.void, address, address, types.int64)
def raise_keys(builder: Any, kind: ir.Type, best: Any, at: Any, flip: Any) -> None:
    """Replace each of 64 keys at ``best`` by that of the values at ``at`` where the latter is larger."""
    target = pointer(builder, best, ir.VectorType(kind, KEYS))
    before, keys = builder.load(target, align=1), _block_of_keys(builder, kind, at, flip)
    compare = builder.fcmp_ordered if _is_float(kind) else builder.icmp_signed
    builder.store(builder.select(compare(">", keys, before), keys, before), target, align=1)


@of_elements(None, address, types.int64)
def load_key(builder: Any, kind: ir.Type, at: Any, flip: Any) -> Any:
    """The key of one value; no −0.0."""
    value = builder.load(pointer(builder, at, _bits(kind)), align=1)
    key = builder.bitcast(builder.xor(value, _narrowed(builder, flip, value.type)), kind)
    return builder.fadd(key, ir.Constant(kind, 0.0)) if _is_float(kind) else key


@of_elements(types.float32, None, types.int64)
def key_to_float32(builder: Any, kind: ir.Type, key: Any, flip: Any) -> Any:
    """The value that a key stands for, rounded to float32; no −0.0."""
    bits = builder.bitcast(key, _bits(kind))
    flips = _narrowed(builder, flip, bits.type)
    value = builder.xor(bits, flips)
    if _is_float(kind):
        value = builder.bitcast(value, kind)
        value = builder.fptrunc(value, _f32) if kind == _f64 else value
        return builder.fadd(value, ir.Constant(_f32, 0.0))
    # Keys are signed: for unsigned values, the highest bit of ``flip`` differs from all others.
    highest = builder.ashr(flips, ir.Constant(bits.type, bits.type.width - 1))
    unsigned = builder.icmp_signed("!=", flips, highest)
    return builder.select(unsigned, builder.uitofp(value, _f32), builder.sitofp(value, _f32))


@of_elements(types.uint64, None)
def key_rank(builder: Any, kind: ir.Type, key: Any) -> Any:
    """An unsigned integer no wider than the key, that falls as the key rises."""
    bits = builder.bitcast(key, _bits(kind))
    width = bits.type.width
    rising = bits
    if _is_float(kind):  # the bits of negative numbers rise with their magnitude
        sign = builder.ashr(bits, ir.Constant(bits.type, width - 1))
        rising = builder.xor(bits, builder.lshr(sign, ir.Constant(bits.type, 1)))
    falling = builder.xor(rising, ir.Constant(bits.type, (1 << (width - 1)) - 1))
    return falling if width == 64 else builder.zext(falling, _i64)
