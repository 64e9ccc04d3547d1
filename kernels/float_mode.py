"""The floating-point mode of a thread, in compiled code: x86's MXCSR, AArch64's FPCR.

Elsewhere there is no flush-to-zero mode that a library could have left on.
"""

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types

from .emit import call, operation

_i8, _i32, _i64 = (ir.IntType(bits) for bits in (8, 32, 64))

_triple = llvmlite.binding.get_default_triple()
_x86, _arm = _triple.startswith(("x86_64", "i686", "i386")), _triple.startswith(("aarch64", "arm64"))


@operation(types.int64)
def read_mode(builder: Any) -> Any:
    """The floating-point control register."""
    if _x86:
        slot = builder.alloca(_i32)
        call(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), builder.bitcast(slot, _i8.as_pointer()))
        return builder.zext(builder.load(slot), _i64)
    if _arm:
        return call(builder, "llvm.aarch64.get.fpcr", _i64)
    return ir.Constant(_i64, 0)


@operation(types.void, types.int64)
def write_mode(builder: Any, mode: Any) -> None:
    """Set the floating-point control register."""
    if _x86:
        slot = builder.alloca(_i32)
        builder.store(builder.trunc(mode, _i32), slot)
        call(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), builder.bitcast(slot, _i8.as_pointer()))
    elif _arm:
        call(builder, "llvm.aarch64.set.fpcr", ir.VoidType(), mode)


@operation(types.int64)
def default_mode(builder: Any) -> Any:
    """Nearest-even rounding, subnormals kept, no exception traps."""
    return ir.Constant(_i64, 0x1F80 if _x86 else 0)
