"""Files that a fork finds closed, so that neither process has what only the other may use.

A fork waits for the threads that use such a file, and takes all locks before it closes any.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

from .._forks import ProcessLock


class File(Protocol):
    """A file that opens itself again when it is needed."""

    lock: ProcessLock

    def let_go(self) -> None:
        """Close it; called by whoever has the lock."""


opened: weakref.WeakSet[File] = weakref.WeakSet()
opening = ProcessLock()
"""Held while a file is opened and added; taken after the lock of the file."""
_taken: dict[int, list[ProcessLock]] = {}
"""Of a thread that forks, the locks that it holds."""


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
        locks.pop().__exit__()  # one was opened meanwhile
    for file in files:
        file.let_go()


def _take(lock: ProcessLock, locks: list[ProcessLock]) -> None:
    lock.__enter__()
    locks.append(lock)


def _after_fork() -> None:
    for lock in _taken.pop(threading.get_ident(), []):
        lock.__exit__()


if hasattr(os, "register_at_fork"):
    # A child has other locks.
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_taken.clear)
