"""How many threads a call uses, and the pool that runs its parts.

Kernels release the GIL, so plain threads suffice. The caller works too and never
waits for a free thread: any number of callers, nested or concurrent, make progress
even if the pool is busy. After a fork the child starts with a new pool.
"""

import functools
import math
import os
import pathlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from . import settings

Part = TypeVar("Part")
Result = TypeVar("Result")

_chosen: int | None = None
_pool: ThreadPoolExecutor | None = None
_lock = threading.Lock()


def get_num_threads() -> int:
    """Threads a call uses when it is not told: the number set, else the processors at hand."""
    return _chosen or settings.num_threads() or _processors()


def origin() -> str:
    """Where the number of threads comes from, in words."""
    if _chosen:
        return "set_num_threads"
    if settings.num_threads():
        return "FASTVEC_NUM_THREADS"
    allowed, granted = _affinity(), _cgroup_limit()
    if granted < allowed:
        return f"the control group's limit of {granted:g} processors"
    there = os.cpu_count() or 1
    return (
        "all processors" if allowed >= there else f"the process's affinity, {allowed} of {there} processors"
    )


def set_num_threads(count: int) -> None:
    """Set the number of threads of this process's later calls."""
    global _chosen
    _chosen = count


def run(function: Callable[[Part], Result], parts: Sequence[Part], num_threads: int) -> list[Result]:
    """``[function(part) for part in parts]`` on up to ``num_threads`` threads.

    The first exception of any part is raised after all threads have stopped.
    """
    helpers = min(num_threads, len(parts)) - 1
    if helpers <= 0:
        return [function(part) for part in parts]
    results: dict[int, Result] = {}
    turns, turn = iter(range(len(parts))), threading.Lock()

    def work() -> None:
        for index in _take(turns, turn):
            results[index] = function(parts[index])

    futures = [_executor().submit(work) for _ in range(helpers)]
    try:
        work()
    finally:
        _settle(futures, turns, turn)
    for future in futures:
        if not future.cancelled():
            future.result()
    return [results[index] for index in range(len(parts))]


def _take(turns: Iterator[int], turn: threading.Lock) -> Iterator[int]:
    while True:
        with turn:
            index = next(turns, None)
        if index is None:
            return
        yield index


def _settle(futures: list["Future[None]"], turns: Iterator[int], turn: threading.Lock) -> None:
    """Leave no work behind: helpers that have not begun never will, the others end."""
    with turn:
        for _ in turns:  # after an exception, nothing is left to take
            pass
    for future in futures:
        if not future.cancel():
            future.exception()


def _executor() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(max(64, 2 * (os.cpu_count() or 1)), thread_name_prefix="fastvec")
        return _pool


def _after_fork() -> None:
    """Threads do not survive a fork, and a lock may have been held by one of them."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@functools.cache
def _processors() -> int:
    """Processors this process may use: its affinity mask, and its cgroup's share of time."""
    return max(1, math.ceil(min(_affinity(), _cgroup_limit())))


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cgroup_limit() -> float:
    """CPU time per time that the control groups of this process grant, else infinity.

    Version 2 has one tree, and every group up to its root may set a limit; version 1 is
    read where containers see their own limit.
    """
    root = pathlib.Path("/sys/fs/cgroup")
    own = re.search(r"^0::/(.*)$", _text(pathlib.Path("/proc/self/cgroup")), re.MULTILINE)
    group = root / own[1] if own else root
    limits = [_text(folder / "cpu.max").split() for folder in (group, *group.parents)]
    limits.append([_text(root / "cpu" / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")])
    granted = [int(limit[0]) / int(limit[1]) for limit in limits if len(limit) == 2 and limit[0].isdecimal()]
    return min(granted, default=math.inf)


def _text(path: pathlib.Path) -> str:
    """What a file of the system says, nothing where there is none."""
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
