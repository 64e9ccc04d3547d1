"""Closes files before a fork, so that no two processes share an open one.

Before a fork, all locks of such files are taken, which waits for the threads that use them; then they are
closed.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Protocol

from .._forks import ProcessLock


class File(Protocol):
    """A file that opens itself again when it is needed."""

    lock: ProcessLock

    def let_go(self) -> None:
        """Close the file; the caller holds the lock."""


opened: weakref.WeakSet[File] = weakref.WeakSet()
opening = ProcessLock()
"""The lock held while a file is opened and added; it is taken after the lock of the file."""
_taken: dict[int, list[Any]] = {}
"""The locks held by each thread that is forking."""


def _before_fork() -> None:
    locks = _taken[threading.get_ident()] = []
    files: set[File] = set()
    while True:
        for file in set(opened) - files:
            _take(file.lock, locks)
            files.add(file)
        _take(opening, locks)
        if opened <= files:
            break
        locks.pop().release()  # another file was opened in the meantime
    for file in files:
        file.let_go()


def _take(lock: ProcessLock, locks: list[Any]) -> None:
    lock.here.acquire()
    locks.append(lock.here)


def _after_fork() -> None:
    for lock in _taken.pop(threading.get_ident(), []):
        lock.release()


if hasattr(os, "register_at_fork"):
    # The child has its own locks, so it releases none.
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_taken.clear)
