"""What this machine can run, and which of it fastvec uses."""

from typing import NamedTuple

from ._stores import base
from .kernels import micro


class MicroKernel(NamedTuple):
    """One way to compute integer scores, and the processor features that it needs."""

    name: str
    description: str
    requires: tuple[str, ...]
    """Processor features, in LLVM's names."""
    available: bool
    why_not: str | None
    """What is missing here, or None."""
    alternative: tuple[str, ...]
    """Features that can replace ``requires``; empty if there are none."""


class Device(NamedTuple):
    """A device that can compute searches."""

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
    """Name of the micro-kernel that searches use: the one that ``FASTVEC_MICRO_KERNEL`` names, else the best.

    Raises:
        ValueError: if ``FASTVEC_MICRO_KERNEL`` names a micro-kernel that does not exist.
        RuntimeError: if it names a micro-kernel that cannot run here.

    Example:
        >>> import fastvec
        >>> fastvec.machine.active_micro_kernel() in [m.name for m in fastvec.machine.micro_kernels()]
        True
    """
    return micro.active().name


def devices() -> list[Device]:
    """All devices on which a search can run, available or not.

    Example:
        >>> import fastvec
        >>> fastvec.machine.devices()[0].name
        'cpu'
    """
    devices = []
    for home in base.HOMES.values():
        module = home.load()
        reason = module.why_not()
        devices.append(Device(home.name, module.describe(), reason is None, reason))
    return devices
