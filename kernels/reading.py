"""Reads many rows of a file: compiled code makes the calls of the system, each of which Python would make in
several times the time.

Rows that the system has in its memory are read at once. It is asked for all others before the first of them
is waited for, so that it reads them side by side.
"""

import ctypes
import functools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types

from . import threads
from .compile import inline, kernel
from .rows import split

_AT_ONCE, _AT_ONCE_BYTES = 1 << 12, 1 << 24
"""Rows that the system is asked for before one of them is waited for."""
_WAITED_FOR, _WAITED_FOR_BYTES = 1 << 8, 1 << 22
"""Rows that one call of a kernel waits for."""
_ALONE_BYTES = 1 << 20
"""Bytes that one thread reads about as quickly as several."""
_RUN_BYTES = 1 << 24
"""Of rows side by side, read by one call of the system."""


@functools.cache
def _asks_ahead() -> bool:
    """Whether the system can say which bytes it has in memory, and be asked for others."""
    if not (hasattr(os, "RWF_NOWAIT") and hasattr(os, "POSIX_FADV_WILLNEED")):
        return False
    return hasattr(ctypes.CDLL(None), "preadv2")


_NOWAIT, _WILLNEED = getattr(os, "RWF_NOWAIT", 0), getattr(os, "POSIX_FADV_WILLNEED", 0)
_int, _long = types.int32, types.int64
_pread: Any = types.ExternalFunction("pread", _long(_int, _long, _long, _long))
_preadv2: Any = types.ExternalFunction("preadv2", _long(_int, _long, _int, _long, _int))
_fadvise: Any = types.ExternalFunction("posix_fadvise", _int(_int, _long, _long, _int))


def read_rows(
    descriptor: int,
    offset: int,
    numbers: np.ndarray,
    into: np.ndarray,
    read: Callable[[int, int], None],
) -> None:
    """Rows of a file with these numbers, which rise, into an array of bytes (rows, width).

    Row 0 begins at byte ``offset``. ``read(first, last)`` reads what the kernel could not, or raises: the
    rows at these places of ``numbers``, which are side by side in the file.
    """
    n, width = into.shape
    at_once = max(1, min(_AT_ONCE, _AT_ONCE_BYTES // width))
    step = max(1, min(_WAITED_FOR, _WAITED_FOR_BYTES // width))
    wanted = np.ones(n, np.bool_)
    source = (np.int32(descriptor), offset, width, numbers, into.ctypes.data, wanted)

    def part(run: tuple[int, int]) -> None:
        for first in range(*run, at_once):
            threads.check()
            stop = min(first + at_once, run[1])
            if _asks_ahead():
                _read_present(first, stop, *source)
            at = first
            while at < stop:
                threads.check()
                at, failed = _read_wanted(at, min(at + step, stop), *source)
                if failed > at:
                    read(at, failed)
                    at = failed

    num_threads = threads.get_num_threads() if into.nbytes > _ALONE_BYTES else 1
    threads.run(part, split(n, num_threads, 1), num_threads, into, numbers)


@kernel
def _read_present(start, stop, descriptor, offset, width, numbers, into, wanted):
    """Read the rows that are in the system's memory, and ask for the others, which stay ``wanted``."""
    vector = np.empty(2, np.int64)
    while start < stop:
        last = _end_of_run(start, stop, width, numbers)
        place, count = offset + numbers[start] * width, (last - start) * width
        vector[0], vector[1] = into + start * width, count
        if _preadv2(descriptor, vector.ctypes.data, 1, place, _NOWAIT) == count:
            wanted[start:last] = False
        else:
            _fadvise(descriptor, place, count, _WILLNEED)
        start = last


@kernel
def _read_wanted(start, stop, descriptor, offset, width, numbers, into, wanted):
    """Read the rows that are ``wanted``; return where it got, and the end of a run that could not be read."""
    while start < stop:
        if not wanted[start]:
            start += 1
            continue
        last = _end_of_run(start, stop, width, numbers)
        place, count = offset + numbers[start] * width, (last - start) * width
        if _pread(descriptor, into + start * width, count, place) != count:
            return start, last
        start = last
    return start, start


@inline
def _end_of_run(start, stop, width, numbers):
    """Where rows end that are side by side in the file."""
    last = start + 1
    while last < stop and numbers[last] == numbers[last - 1] + 1 and (last - start) * width < _RUN_BYTES:
        last += 1
    return last
