"""Checks of an installation: what is found, what is wrong, and what to do about it.

``CHECKS`` is the table; a check returns findings. A check that raises is a problem, too. Checks that need
Numba are left out if it cannot be imported, and a finding says so.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from .. import _facts
from .._version import __version__
from . import compiled_code, exactness
from .findings import Finding

_FIRST = ("Switches of Numba", "Versions")
"""After a problem of the first topic, checks that import are left out; of the second, those that compute."""


def examine(progress: Callable[[int, int], object] | None = None) -> list[Finding]:
    """Make all checks.

    Args:
        progress: called before each check with the checks made and their number.

    Returns:
        Findings, grouped by topic; those with a ``problem`` also have a ``remedy``.
    """
    findings: list[Finding] = []
    for made, (topic, check, needs_numba) in enumerate(CHECKS):
        if progress is not None:
            progress(made, len(CHECKS))
        unusable = {f.topic for f in findings if f.problem and f.topic in _FIRST}
        if topic not in _FIRST and (_FIRST[0] in unusable or (needs_numba and unusable)):
            findings.append(Finding(topic, "not checked", "it needs NumPy and Numba, which cannot be used"))
            continue
        try:
            findings += [finding._replace(topic=topic) for finding in check()]
        except Exception as error:  # the user runs the command to learn of it
            findings.append(
                Finding(
                    topic, "this check", "failed", f"{type(error).__name__}: {error}", "Report this, please."
                )
            )
    return findings


def _versions() -> list[Finding]:
    findings = [
        Finding("", "fastvec", f"{__version__}, {Path(__file__).parents[1]}"),
        Finding("", "Python", f"{platform.python_version()}, {sys.executable}"),
    ]
    for name in ("numpy", "llvmlite", "numba"):
        try:
            __import__(name)
        except Exception as error:  # an import may raise anything
            remedy = f"Install it anew: {sys.executable} -m pip install --force-reinstall {name}"
            if name == "numba":
                remedy += ". Each version of Numba supports some of Python and NumPy: see its release notes."
            problem = f"it cannot be imported: {type(error).__name__}: {error}"
            findings.append(Finding("", name, _facts.version(name) or "not installed", problem, remedy))
        else:
            findings.append(Finding("", name, _facts.version(name) or "unknown"))
    for extra, distributions in _facts.EXTRAS.items():
        versions = [(name, _facts.version(name)) for name in distributions]
        if all(number for _, number in versions):
            value = ", ".join(f"{name} {number}" for name, number in versions)
        else:
            value = f"not installed: pip install 'fastvec[{extra}]'"
        findings.append(Finding("", f"extra {extra}", value))
    return findings


def _switches() -> list[Finding]:
    try:
        from ..kernels import surroundings

        findings = [
            Finding("", obstacle.name, "set", f"it {obstacle.problem}", obstacle.remedy)
            for obstacle in surroundings.obstacles()
        ]
    except ImportError:  # Numba is missing, which another check says
        findings = []
    except RuntimeError as error:  # a switch with which nothing can be imported
        name, _, problem = str(error).partition(" ")
        problem, _, remedy = problem.partition(". ")
        findings = [Finding("", name, "set", f"it {problem}", remedy)]
    named = {finding.name for finding in findings}
    for name in sorted(os.environ):
        if name.startswith("NUMBA_") and name not in named:
            findings.append(Finding("", name, os.environ[name]))
    return findings or [Finding("", "set", "none")]


def _processor() -> list[Finding]:
    from ..kernels import cpu

    known = ("sse4.2", "avx", "avx2", "avxvnni", "avx512f", "avx512bw", "avx512vnni", "amx-tile", "amx-int8")
    seen = [name for name in (*known, "neon", "dotprod", "i8mm", "sve") if name in cpu.features()]
    return [
        Finding("", "model", _facts.cpu_model()),
        Finding("", "architecture", cpu.architecture()),
        Finding("", "instruction sets", ", ".join(seen) or "none that a micro-kernel uses"),
    ]


def _micro_kernels() -> list[Finding]:
    from .. import machine
    from ..kernels import settings

    kernels = machine.micro_kernels()
    findings = []
    try:
        active = machine.active_micro_kernel()
        how = "FASTVEC_MICRO_KERNEL" if settings.micro_kernel() else "the best that runs here"
        findings.append(Finding("", "chosen", f"{active}: {how}"))
    except (ValueError, RuntimeError) as error:
        active = None
        can = " ".join(kernel.name for kernel in kernels if kernel.available)
        remedy = f"Unset FASTVEC_MICRO_KERNEL, or set it to one of: {can}"
        findings.append(Finding("", "chosen", "none", str(error), remedy))
    for kernel in kernels:
        value = kernel.description if kernel.available else f"no: {kernel.why_not}"
        findings.append(Finding("", kernel.name + (" (chosen)" if kernel.name == active else ""), value))
    return findings


def _threads() -> list[Finding]:
    from ..kernels import threads

    try:
        return [Finding("", "threads", f"{threads.get_num_threads()}, from {threads.origin()}")]
    except ValueError as error:
        remedy = "Unset FASTVEC_NUM_THREADS, or set it to a whole number of at least 1"
        return [Finding("", "threads", "unknown", str(error), remedy)]


def _cache() -> list[Finding]:
    folders = compiled_code.caches()
    if not folders:
        problem = "no folder can be written, so every process compiles for seconds"
        remedy = "Set NUMBA_CACHE_DIR to a folder that can be written, then run: fastvec warmup"
        return [Finding("", "folder", "none", problem, remedy)]
    findings = [Finding("", "folder", str(folder)) for folder in folders]
    if any(folder.is_dir() and not os.access(folder, os.W_OK) for folder in folders):
        remedy = "Make it writable, or set NUMBA_CACHE_DIR to a folder that is"
        findings.append(Finding("", "writable", "no", "new kernels cannot be cached", remedy))
    for folder in folders:
        if (exposure := compiled_code.exposed(folder)) is not None:
            problem, remedy = exposure
            findings.append(Finding("", "private", "no", problem, remedy))
    current, stale = map(sum, zip(*map(compiled_code.compiled, folders), strict=True))
    if current:
        value = f"yes: {current} kernels"
    else:
        value = "not yet: the first calls compile for some seconds (fastvec warmup does it ahead)"
    findings.append(Finding("", "compiled for this version", value))
    if stale:
        findings.append(Finding("", "of other versions", f"{stale} kernels, replaced when they are needed"))
    size = sum(file.stat().st_size for folder in folders for file in folder.glob("*.nb[ic]"))
    findings.append(Finding("", "size", f"{size / 2**20:.1f} MiB"))
    return findings


def _devices() -> list[Finding]:
    from .. import machine

    return [
        Finding("", device.name, device.description if device.available else f"no: {device.why_not}")
        for device in machine.devices()
    ]


CHECKS: tuple[tuple[str, Callable[[], list[Finding]], bool], ...] = (
    ("Switches of Numba", _switches, False),
    ("Versions", _versions, False),
    ("Processor", _processor, True),
    ("Micro-kernels", _micro_kernels, True),
    ("Threads", _threads, False),
    ("Cache of compiled code", _cache, True),
    ("Devices", _devices, True),
    ("Exactness of a small search", exactness.examine, True),
)
"""The topic, the check, and whether it needs NumPy and Numba."""
