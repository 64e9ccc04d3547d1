"""Checks of an installation: what is found, what is wrong, and what to do about it.

``CHECKS`` is the table; a check gives findings. One that fails itself is a problem found. Checks that need
Numba are not made where it cannot be imported, which is a finding of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import platform
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from . import _facts
from ._version import __version__

_FIRST = ("Switches of Numba", "Versions")
"""A problem of the first leaves nothing to check by importing, one of the second nothing by computing."""

_SECONDS = 180
"""For a micro-kernel to compile and answer."""


class Finding(NamedTuple):
    """What one check found."""

    topic: str
    name: str
    value: str
    problem: str | None = None
    """What is wrong, or None."""
    remedy: str | None = None
    """What to do about it."""


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
        except Exception as error:  # whatever it is, it is what the user came to learn
            findings.append(
                Finding(
                    topic, "this check", "failed", f"{type(error).__name__}: {error}", "Report this, please."
                )
            )
    return findings


def report(findings: list[Finding], *, as_json: bool) -> int:
    """Print what was found, by nothing but Python; return the exit status, 1 if there is a problem."""
    problems = [finding for finding in findings if finding.problem]
    if as_json:
        found = {"fine": not problems, "findings": [finding._asdict() for finding in findings]}
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(_lines(findings)))
    return 1 if problems else 0


def _lines(findings: list[Finding]) -> Iterator[str]:
    """Topics, with names and values in columns, then problems and what to do about them."""
    for topic in dict.fromkeys(finding.topic for finding in findings):
        own = [finding for finding in findings if finding.topic == topic]
        width = max(len(finding.name) for finding in own)
        yield from ("", topic)
        for finding in own:
            yield f"{finding.name:{width}}  {finding.value}" + ("  <- problem" if finding.problem else "")
    yield ""
    problems = [finding for finding in findings if finding.problem]
    for finding in problems:
        yield f"Problem: {finding.topic}, {finding.name}: {finding.problem}"
        yield f"  {finding.remedy}"
    if not problems:
        yield "No problem found."


def _versions() -> list[Finding]:
    found = [
        Finding("", "fastvec", f"{__version__}, {Path(__file__).parent}"),
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
            found.append(Finding("", name, _facts.version(name) or "not installed", problem, remedy))
        else:
            found.append(Finding("", name, _facts.version(name) or "unknown"))
    for extra, distributions in _facts.EXTRAS.items():
        there = [(name, _facts.version(name)) for name in distributions]
        if all(number for _, number in there):
            value = ", ".join(f"{name} {number}" for name, number in there)
        else:
            value = f"not installed: pip install 'fastvec[{extra}]'"
        found.append(Finding("", f"extra {extra}", value))
    return found


def _switches() -> list[Finding]:
    try:
        from .kernels import surroundings

        found = [
            Finding("", obstacle.name, "set", f"it {obstacle.problem}", obstacle.remedy)
            for obstacle in surroundings.obstacles()
        ]
    except ImportError:  # of Numba, which the versions name
        found = []
    except RuntimeError as error:  # of a switch with which nothing loads
        name, _, problem = str(error).partition(" ")
        problem, _, remedy = problem.partition(". ")
        found = [Finding("", name, "set", f"it {problem}", remedy)]
    named = {finding.name for finding in found}
    for name in sorted(os.environ):
        if name.startswith("NUMBA_") and name not in named:
            found.append(Finding("", name, os.environ[name]))
    return found or [Finding("", "set", "none")]


def _processor() -> list[Finding]:
    from .kernels import cpu

    known = ("sse4.2", "avx", "avx2", "avxvnni", "avx512f", "avx512bw", "avx512vnni", "amx-tile", "amx-int8")
    seen = [name for name in (*known, "neon", "dotprod", "i8mm", "sve") if name in cpu.features()]
    return [
        Finding("", "model", _facts.cpu_model()),
        Finding("", "architecture", cpu.architecture()),
        Finding("", "instruction sets", ", ".join(seen) or "none that a micro-kernel uses"),
    ]


def _micro_kernels() -> list[Finding]:
    from . import machine
    from .kernels import settings

    kernels = machine.micro_kernels()
    found = []
    try:
        active = machine.active_micro_kernel()
        how = "FASTVEC_MICRO_KERNEL" if settings.micro_kernel() else "the best that runs here"
        found.append(Finding("", "chosen", f"{active}: {how}"))
    except (ValueError, RuntimeError) as error:
        active = None
        can = " ".join(kernel.name for kernel in kernels if kernel.available)
        remedy = f"Unset FASTVEC_MICRO_KERNEL, or set it to one of: {can}"
        found.append(Finding("", "chosen", "none", str(error), remedy))
    for kernel in kernels:
        value = kernel.description if kernel.available else f"no: {kernel.why_not}"
        found.append(Finding("", kernel.name + (" (chosen)" if kernel.name == active else ""), value))
    return found


def _threads() -> list[Finding]:
    from .kernels import threads

    try:
        return [Finding("", "threads", f"{threads.get_num_threads()}, from {threads.origin()}")]
    except ValueError as error:
        remedy = "Unset FASTVEC_NUM_THREADS, or set it to a whole number of at least 1"
        return [Finding("", "threads", "unknown", str(error), remedy)]


def _cache() -> list[Finding]:
    from .warmup import caches

    folders = caches()
    if not folders:
        problem = "no folder can be written, so every process compiles for seconds"
        remedy = "Set NUMBA_CACHE_DIR to a folder that can be written, then run: fastvec warmup"
        return [Finding("", "folder", "none", problem, remedy)]
    found = [Finding("", "folder", str(folder)) for folder in folders]
    if any(folder.is_dir() and not os.access(folder, os.W_OK) for folder in folders):
        remedy = "Make it writable, or set NUMBA_CACHE_DIR to a folder that is"
        found.append(Finding("", "writable", "no", "new kernels cannot be cached", remedy))
    found += [Finding("", "private", "no", *why) for folder in folders if (why := _exposed(folder))]
    current, stale = map(sum, zip(*map(_compiled, folders), strict=True))
    if current:
        value = f"yes: {current} kernels"
    else:
        value = "not yet: the first calls compile for some seconds (fastvec warmup does it ahead)"
    found.append(Finding("", "compiled for this version", value))
    if stale:
        found.append(Finding("", "of other versions", f"{stale} kernels, replaced when they are needed"))
    size = sum(file.stat().st_size for folder in folders for file in folder.glob("*.nb[ic]"))
    found.append(Finding("", "size", f"{size / 2**20:.1f} MiB"))
    return found


def _exposed(folder: Path) -> tuple[str, str] | None:
    """What is wrong with a cache folder that others could put code into, and the remedy; or None.

    Whoever can change fastvec's own files needs no cache for it.
    """
    if os.name == "nt" or not folder.is_dir():
        return None
    remedy = "Remove it, and set NUMBA_CACHE_DIR to a folder that is yours alone"
    sources = Path(__file__).parent.stat()
    there = folder.stat()
    if there.st_uid not in (os.getuid(), 0, sources.st_uid):
        return f"{folder} belongs to another account, whose code would run as yours", remedy
    if there.st_mode & stat.S_IWOTH and not sources.st_mode & stat.S_IWOTH:
        return f"every account may write to {folder}, and its code would run as yours", remedy
    return None


def _compiled(folder: Path) -> tuple[int, int]:
    """Kernels cached for these sources, and for others; one that is damaged is of no use to these."""
    from .kernels.compile import source_digest

    current = 0
    files = list(folder.glob("*.nbi")) if _exposed(folder) is None else []
    for file in files:
        with file.open("rb") as stream:
            try:
                pickle.load(stream)  # Numba's version; then what it was compiled from, and an index
                current += pickle.loads(stream.read())[0] == source_digest()
            except Exception:  # damaged bytes may raise anything
                continue
    return current, len(files) - current


def _devices() -> list[Finding]:
    from . import machine

    return [
        Finding("", device.name, device.description if device.available else f"no: {device.why_not}")
        for device in machine.devices()
    ]


def _exactness() -> list[Finding]:
    from . import machine

    names = [kernel.name for kernel in machine.micro_kernels() if kernel.available]
    at_once, found = max(1, os.cpu_count() or 1), []
    for first in range(0, len(names), at_once):
        batch = names[first : first + at_once]
        with contextlib.ExitStack() as children:  # no threads: Ctrl-C could leave their locks in any state
            asked = [children.enter_context(_asked(name)) for name in batch]
            found += [_judged(name, child) for name, child in zip(batch, asked, strict=True)]
    return found


@contextlib.contextmanager
def _asked(name: str) -> Iterator[subprocess.Popen[str]]:
    """A process in which a micro-kernel answers: one that cannot run here ends that process only."""
    environment = {key: value for key, value in os.environ.items() if key != "FASTVEC_NUM_THREADS"}
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    environment |= {"FASTVEC_MICRO_KERNEL": name, "PYTHONPATH": path}
    child = subprocess.Popen(
        [sys.executable, "-c", "from fastvec.diagnosis import prove; print(prove())"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.communicate(timeout=5)


def _judged(name: str, child: subprocess.Popen[str]) -> Finding:
    """What the process of ``_asked`` says."""
    remedy = "Set FASTVEC_MICRO_KERNEL to another one, and report this, please."
    try:
        said, complaint = child.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return Finding("", name, "unknown", f"no answer in {_SECONDS} seconds", remedy)
    if child.returncode:
        lines = complaint.strip().splitlines()
        problem = lines[-1] if lines else f"the process ended with status {child.returncode}"
        return Finding("", name, "not exact", problem, remedy)
    return Finding("", name, said.strip())


def prove() -> str:
    """Search awkward rows with the micro-kernel in use and compare with a plain float64 computation.

    Returns:
        What was compared.

    Raises:
        fastvec.benchmark.truth.Mismatch: if an answer is not exact.

    Example:
        >>> prove()
        'exact: 194 queries over 480 awkward rows, bit for bit'
    """
    from . import Index
    from .benchmark.truth import Search

    count = 0
    for dims in (97, 128):  # codes filled up with zeros, and codes in every byte
        rows = awkward_rows(dims)
        index = Index(rows)
        for queries in (rows[7:8], rows[::5]):  # row by row, and by tiles, full ones and a part of one
            answer = index.search(queries, 12)
            Search(queries, rows, 12, sample=len(queries)).judge(answer, "exact")
            count += len(queries)
    return f"exact: {count} queries over {len(rows)} awkward rows, bit for bit"


def awkward_rows(dims: int) -> Any:
    """float32 (480, dims ≥ 60): zeros, copies, near ties, a huge dimension, 1e30, 1e-30, subnormals."""
    import numpy as np

    rng = np.random.default_rng(7)
    plain = rng.standard_normal((60, dims)).astype(np.float32)
    near = np.repeat(plain[:1], 60, axis=0)
    near[np.arange(60), np.arange(60)] = np.nextafter(near[np.arange(60), np.arange(60)], np.float32(9))
    outlier = plain.copy()
    outlier[:, 5] = 1e5
    kinds = (
        plain,
        np.zeros_like(plain),
        plain[rng.integers(0, 5, 60)],
        near,
        outlier,
        plain * np.float32(1e30),
        plain * np.float32(1e-30),
        (plain.astype(np.float64) * 1e-42).astype(np.float32),
    )
    return np.concatenate(kinds)


CHECKS: tuple[tuple[str, Callable[[], list[Finding]], bool], ...] = (
    ("Switches of Numba", _switches, False),
    ("Versions", _versions, False),
    ("Processor", _processor, True),
    ("Micro-kernels", _micro_kernels, True),
    ("Threads", _threads, False),
    ("Cache of compiled code", _cache, True),
    ("Devices", _devices, True),
    ("Exactness of a small search", _exactness, True),
)
"""Topic, check, and whether it needs NumPy and Numba."""
