"""Makes a fork wait for imports and locks of other threads.

Only the forking thread exists in the child. If another thread were importing a module, the child would have
half of the module and wait for that thread's lock forever; so a fork waits until such imports end and such
locks are free.

Fork handlers run in reverse order of registration. Handlers of the standard library take locks that an import
may wait for; so the modules with such handlers are loaded before ours is registered. The process of the
command line is an exception: it forks nothing, and must answer Ctrl-C before anything takes time.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from _thread import allocate_lock, get_ident

TYPE_CHECKING = False  # stands for typing's, whose import takes longer than this module's
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

_importing: list[int] = []
"""Threads that are importing a module."""
_held: dict[int, list[Any]] = {}
"""The locks that each forking thread has taken."""

_LONGEST_WAIT_S = 10.0

_generation = 0


def process() -> tuple[int, int]:
    """What distinguishes this process from its ancestors, whose numbers alone could be used again."""
    return os.getpid(), _generation


class ProcessLock:
    """A lock that is free in a forked child, even if a thread of the parent holds it at the fork.

    It is held by ``with lock.here:``. It has no methods that take and release it: the handler of a signal may
    run where a method begins or ends, and its exception would leave the lock taken for ever.
    """

    def __init__(self) -> None:
        self._locks: dict[tuple[int, int], Any] = {}

    @property
    def here(self) -> Any:
        """The lock of this process: one of Python's own, which no handler can interrupt."""
        return self._locks.setdefault(process(), allocate_lock())


def load(name: str, package: str) -> ModuleType:
    """``importlib.import_module``; a fork by another thread waits until it ends."""
    _importing.append(get_ident())
    try:
        return importlib.import_module(name, package)
    finally:
        _importing.remove(get_ident())


def _before_fork() -> None:
    _held[get_ident()] = []
    # With a limit: another thread's import may wait for a module that this thread is importing.
    end = time.monotonic() + _LONGEST_WAIT_S
    while True:
        while _others_import() and time.monotonic() < end:
            time.sleep(0.001)
        # The kernels, whose locks these are, may have been imported in the meantime.
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
    """Whether this process runs the command line, as a script or as ``python -m fastvec``."""
    return os.path.basename(sys.argv[0] if sys.argv else "") in ("fastvec", "fastvec.exe", "-m")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count)
if hasattr(os, "register_at_fork") and not _is_command():
    try:
        import concurrent.futures.thread  # noqa: F401
        import logging  # noqa: F401
    except RuntimeError:  # the process is ending
        pass
    os.register_at_fork(before=_before_fork, after_in_parent=_give_back, after_in_child=_in_child)
