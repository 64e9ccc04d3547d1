"""Memory for results, refused before it is used if the computer does not have it."""

from __future__ import annotations

import math
import os
import pathlib
import re
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from ._pages import linked
from .results import TopK

_UNCHECKED_BYTES = 1 << 26
"""For results no larger than this, the free memory is not checked."""

_ROOT = pathlib.Path("/")


def answers(m: int, k: int, n: int) -> TopK:
    """Empty arrays for k answers to each of m queries over n rows; raises as ``check`` does."""
    check(m, k, n)
    try:
        return TopK(np.empty((m, k), np.float32), np.empty((m, k), np.int64))
    except MemoryError:
        raise linked(MemoryError(_too_much(m, k, n, "")), "memory") from None


def check(m: int, k: int, n: int) -> None:
    """Raise MemoryError if there is no memory for the answers; the message names k and what to do.

    A system may grant memory that it does not have, and kill the process that writes to it.
    """
    needed = _needed(m, k)
    if needed > sys.maxsize:
        raise linked(MemoryError(_too_much(m, k, n, "")), "memory")
    if m and needed > _UNCHECKED_BYTES:
        free = available()
        if needed > free:
            room = f", and {_gib(free)} are free" if free < math.inf else ""
            raise linked(MemoryError(_too_much(m, k, n, room)), "memory")


def result(shape: tuple[int, ...], dtype: npt.DTypeLike, what: str) -> npt.NDArray[Any]:
    """An empty array for a result; raises MemoryError, as ``check`` does, if there is no memory for it."""
    needed = math.prod(shape) * np.dtype(dtype).itemsize
    if needed > _UNCHECKED_BYTES:
        free = available()
        if needed > free:
            message = (
                f"{what} of shape {shape} take {_gib(needed)}, and {_gib(free)} are free; "
                "ask for some rows at a time, or give an out that is mapped to a file"
            )
            raise linked(MemoryError(message), "memory")
    return np.empty(shape, dtype)


def _needed(m: int, k: int) -> int:
    return 12 * max(m, 1) * k  # no array can be as wide as memory, even one without rows


def _too_much(m: int, k: int, n: int, free: str) -> str:
    instead = (
        f"there are {n:,} to choose from, so a k of {max(n, 1):,} returns all"
        if k > n
        else "ask for fewer, or for some queries at a time"
    )
    size = _gib(_needed(m, k))
    return f"k is {_number(k)} for {m:,} queries: scores and indices take {size}{free}; {instead}"


def _gib(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB" if size < 2**80 else "more than any computer has"


def _number(k: int) -> str:
    return f"{k:,}" if k < 10**30 else f"over 10 to the power of {int(k.bit_length() / math.log2(10)) - 1}"


def available() -> float:
    """Bytes of memory that this process can still use; infinity if the system does not say.

    On Linux, this is the free memory, including caches, within the limits of the process's control groups;
    elsewhere it is all memory of the computer.
    """
    system = dict(re.findall(r"^(\w+):\s+(\d+) kB$", _text(_ROOT / "proc/meminfo"), re.MULTILINE))
    if "MemAvailable" in system:
        free = 1024 * (int(system["MemAvailable"]) + int(system.get("SwapFree", 0)))
        return min(free, _left_by_groups())
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):  # Windows itself refuses memory that it does not have
        return math.inf


def _left_by_groups() -> float:
    """Bytes that the control groups of this process, of version 1 or 2, leave to it."""
    groups = _text(_ROOT / "proc/self/cgroup")
    left = math.inf
    for pattern, home, limit, usage in (
        (r"^0::/(.*)$", "sys/fs/cgroup", "memory.max", "memory.current"),
        (
            r"^\d+:(?:\w+,)*memory(?:,\w+)*:/(.*)$",
            "sys/fs/cgroup/memory",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
        ),
    ):
        root, group = _ROOT / home, re.search(pattern, groups, re.MULTILINE)
        folder = root / group[1] if group else root
        # A container may see its own group as the root; the limits of all groups above apply too.
        for place in (folder, *(above for above in folder.parents if above.is_relative_to(root))):
            most, used = _text(place / limit).strip(), _text(place / usage).strip()
            if most.isdecimal() and used.isdecimal():
                stat = dict(re.findall(r"^(\w+) (\d+)$", _text(place / "memory.stat"), re.MULTILINE))
                cache = int(stat.get("total_inactive_file") or stat.get("inactive_file") or 0)
                left = min(left, int(most) - int(used) + cache)
    return max(left, 0.0)


def _text(path: pathlib.Path) -> str:
    """The text of a system file; empty if the file does not exist."""
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
