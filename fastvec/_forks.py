"""What a fork must not find in its middle: an import, or a lock that another thread holds.

A child has the forking thread alone. Of a module that another thread was importing it would
have a half, and wait for ever for that thread's lock; so a fork waits for both.

What is registered last is called first. The standard library takes locks at forks, too, which an
import may wait for; so what does that there is loaded before. Not in the process of the command
line, which forks nothing, and has to answer Ctrl-C before anything takes time.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from _thread import allocate_lock, get_ident

TYPE_CHECKING = False  # as typing's, whose import takes longer than this one
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

_importing: list[int] = []
"""Threads that import a module now."""
_held: dict[int, list[Any]] = {}
"""Of a thread that forks, the locks that it has taken."""

_LONGEST_WAIT_S = 10.0

_generation = 0


def process() -> tuple[int, int]:
    """What tells this process from those it came from: their numbers alone are given out again."""
    return os.getpid(), _generation


class ProcessLock:
    """A lock that a child finds free, whichever thread of its parent holds it at the fork."""

    def __init__(self) -> None:
        self._locks: dict[tuple[int, int], Any] = {}

    def __enter__(self) -> None:
        self._locks.setdefault(process(), allocate_lock()).acquire()

    def __exit__(self, *exception: object) -> None:
        self._locks[process()].release()


def load(name: str, package: str) -> ModuleType:
    """``importlib.import_module``, which a fork of another thread waits for."""
    _importing.append(get_ident())
    try:
        return importlib.import_module(name, package)
    finally:
        _importing.remove(get_ident())


def _before_fork() -> None:
    _held[get_ident()] = []
    # Not for longer: another thread's import may wait for a module that this one imports.
    end = time.monotonic() + _LONGEST_WAIT_S
    while True:
        while _others_import() and time.monotonic() < end:
            time.sleep(0.001)
        # Kernels may have been imported meanwhile. Without them there is nothing to wait for.
        for lock in getattr(sys.modules.get("fastvec.kernels.compile"), "LOCKS", ()):
            lock.__enter__()
            _held[get_ident()].append(lock)
        if not _others_import() or time.monotonic() >= end:
            return
        _release(_held[get_ident()])


def _others_import() -> bool:
    return any(thread != get_ident() for thread in list(_importing))


def _release(locks: list[Any]) -> None:
    while locks:
        locks.pop().__exit__(None, None, None)


def _give_back() -> None:
    _release(_held.pop(get_ident(), []))


def _in_child() -> None:
    _importing[:] = [thread for thread in _importing if thread == get_ident()]
    _give_back()


def _count() -> None:
    global _generation
    _generation += 1


def _is_command() -> bool:
    """Whether this is the process of the command, by its script or as ``python -m fastvec``."""
    return os.path.basename(sys.argv[0] if sys.argv else "") in ("fastvec", "fastvec.exe", "-m")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count)
if hasattr(os, "register_at_fork") and not _is_command():
    try:
        import concurrent.futures.thread  # noqa: F401
        import logging  # noqa: F401
    except RuntimeError:  # the process ends
        pass
    os.register_at_fork(before=_before_fork, after_in_parent=_give_back, after_in_child=_in_child)
