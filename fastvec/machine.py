"""What this machine can run, and what fastvec chose."""

from typing import NamedTuple

from .kernels import micro
from .kernels.cuda import device as cuda


class MicroKernel(NamedTuple):
    """One way to compute integer scores, with what it needs."""

    name: str
    description: str
    requires: tuple[str, ...]
    """Processor features, in LLVM's names."""
    available: bool
    why_not: str | None
    """What is missing here, or None."""
    alternative: tuple[str, ...]
    """Features that serve in place of ``requires``, if any."""


class Device(NamedTuple):
    """A place to compute."""

    name: str
    description: str
    available: bool
    why_not: str | None


def micro_kernels() -> list[MicroKernel]:
    """All micro-kernels, best first.

    Example:
        >>> import fastvec
        >>> fastvec.machine.micro_kernels()[-1].name
        'generic'
    """
    return [
        MicroKernel(
            record.name, record.description, record.requires, reason is None, reason, record.alternative
        )
        for record in micro.TABLE.values()
        for reason in [micro.why_not(record)]
    ]


def active_micro_kernel() -> str:
    """Name of the micro-kernel that searches use: the one ``FASTVEC_MICRO_KERNEL`` names, else the best.

    Raises:
        ValueError: if ``FASTVEC_MICRO_KERNEL`` names none that exists.
        RuntimeError: if it names one that cannot run here.

    Example:
        >>> import fastvec
        >>> fastvec.machine.active_micro_kernel() in [m.name for m in fastvec.machine.micro_kernels()]
        True
    """
    return micro.active().name


def devices() -> list[Device]:
    """All devices a search may be asked to run on.

    Example:
        >>> import fastvec
        >>> fastvec.machine.devices()[0].name
        'cpu'
    """
    reason = cuda.why_not()
    description = "NVIDIA device" + ("" if reason else f": {cuda.name()}")
    return [
        Device("cpu", "this computer's processor", True, None),
        Device("cuda", description, reason is None, reason),
    ]
