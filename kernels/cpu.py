"""What compiled code may use on this processor. The only reader of CPU features."""

import functools
import platform

import llvmlite.binding
from numba.core.registry import cpu_target


@functools.cache
def features() -> frozenset[str]:
    """LLVM's names of the instruction sets that Numba compiles for, e.g. ``avx512vnni``.

    This is what the processor has, the operating system enables, and
    ``NUMBA_CPU_FEATURES`` (if set) allows.
    """
    triple, processor, text = cpu_target.target_context.codegen().magic_tuple()
    named = frozenset(name[1:] for name in text.split(",") if name.startswith("+"))
    if architecture() == "aarch64" and compiles_dot_products(triple, processor, text):
        return named | {"dotprod"}
    return named


@functools.cache
def architecture() -> str:
    """``x86_64``, ``aarch64``, …"""
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


_DOT_PRODUCT = """
declare i32 @llvm.vector.reduce.add.v16i32(<16 x i32>)

define i32 @dot(<16 x i8> %a, <16 x i8> %b) {
  %x = sext <16 x i8> %a to <16 x i32>
  %y = sext <16 x i8> %b to <16 x i32>
  %products = mul <16 x i32> %x, %y
  %sum = call i32 @llvm.vector.reduce.add.v16i32(<16 x i32> %products)
  ret i32 %sum
}
"""


def compiles_dot_products(triple: str, processor: str, features: str) -> bool:
    """Whether LLVM uses NEON's dot products for an AArch64 processor.

    It does not name them among a processor's features (it knows them by the processor's
    name), and using them where it does not would end the process: so look at what it makes
    of a dot product.
    """
    target = llvmlite.binding.Target.from_triple(triple)
    machine = target.create_target_machine(cpu=processor, features=features)
    return "sdot" in machine.emit_assembly(llvmlite.binding.parse_assembly(_DOT_PRODUCT))
