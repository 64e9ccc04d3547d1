"""A check of `fastvec doctor`: a small search with each micro-kernel, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .findings import Finding

_SECONDS = 180
"""The time that a micro-kernel has to compile and answer."""


def examine() -> list[Finding]:
    """Search with each micro-kernel that is available, as many at a time as there are processors."""
    from .. import machine

    names = [kernel.name for kernel in machine.micro_kernels() if kernel.available]
    at_once, findings = max(1, os.cpu_count() or 1), []
    for first in range(0, len(names), at_once):
        batch = names[first : first + at_once]
        with contextlib.ExitStack() as children:  # no threads: Ctrl-C could leave their locks in any state
            asked = [children.enter_context(_asked(name)) for name in batch]
            findings += [_judged(name, child) for name, child in zip(batch, asked, strict=True)]
    return findings


@contextlib.contextmanager
def _asked(name: str) -> Iterator[subprocess.Popen[str]]:
    """A process in which a micro-kernel answers; one that cannot run here ends only that process."""
    environment = {key: value for key, value in os.environ.items() if key != "FASTVEC_NUM_THREADS"}
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    environment |= {"FASTVEC_MICRO_KERNEL": name, "PYTHONPATH": path}
    child = subprocess.Popen(
        [sys.executable, "-c", "from fastvec.commands.exactness import prove; print(prove())"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )
    try:
        yield child
    finally:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.communicate(timeout=5)


def _judged(name: str, child: subprocess.Popen[str]) -> Finding:
    """The finding about a process of ``_asked``."""
    remedy = "Set FASTVEC_MICRO_KERNEL to another one, and report this, please."
    try:
        output, complaint = child.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return Finding("", name, "unknown", f"no answer in {_SECONDS} seconds", remedy)
    if child.returncode:
        lines = complaint.strip().splitlines()
        problem = lines[-1] if lines else f"the process ended with status {child.returncode}"
        return Finding("", name, "not exact", problem, remedy)
    return Finding("", name, output.strip())


def prove() -> str:
    """Search awkward rows with the micro-kernel in use and compare with a plain float64 computation.

    Each query is asked twice, of an Index without a screen and of one with a screen of 64 dimensions.

    Returns:
        What was compared.

    Raises:
        fastvec.benchmark.truth.Mismatch: an answer is not exact.

    Example:
        >>> prove()  # doctest: +ELLIPSIS
        'exact: 388 queries over 480 awkward rows, half of them by a screen that ... passed, bit for bit'
    """
    from .. import Index
    from .._request import checked
    from .._stores import passes
    from ..benchmark.truth import Search

    count = screened = passed = 0
    for dims in (97, 128):  # codes filled up with zeros, and codes in every byte
        rows = awkward_rows(dims)
        without, by_screen = Index(rows, screen="off"), Index(rows, screen=64)
        for queries in (rows[7:8], rows[::5]):  # row by row, and by tiles, full ones and a part of one
            judge = Search(queries, rows, 12, sample=len(queries)).judge
            for index in (without, by_screen):
                judge(index.search(queries, 12), "exact")
                count += len(queries)
            store: Any = by_screen._store
            counters = passes.search(store, checked(store, queries, 12, metric="cosine"))[1]
            screened, passed = screened + counters.screened, passed + counters.passed
    if screened == 0:
        raise RuntimeError("the searches by a screen did not use it")
    share = f"half of them by a screen that {passed / screened:.0%} passed"
    return f"exact: {count} queries over {len(rows)} awkward rows, {share}, bit for bit"


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
