"""What compiled code may use on this processor. The only reader of CPU features."""

import functools
import platform

from numba.core.registry import cpu_target


@functools.cache
def features() -> frozenset[str]:
    """LLVM's names of the instruction sets that Numba compiles for, e.g. ``avx512vnni``.

    This is what the processor has, the operating system enables, and
    ``NUMBA_CPU_FEATURES`` (if set) allows.
    """
    _, _, text = cpu_target.target_context.codegen().magic_tuple()
    return frozenset(name[1:] for name in text.split(",") if name.startswith("+"))


@functools.cache
def architecture() -> str:
    """``x86_64``, ``aarch64``, …"""
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
