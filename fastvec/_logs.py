"""Log records of work that may take long, for the logger "fastvec" of Python's ``logging``.

They are of level INFO (each kernel that is compiled or loaded: DEBUG), so nothing shows unless a program asks
for it. No search logs anything. A record names no value of a vector and no word; paths are named.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator

LOGGER = logging.getLogger("fastvec")


def wanted() -> bool:
    """Whether a record of work shows anywhere."""
    return LOGGER.isEnabledFor(logging.INFO)


def done(start: float, message: str, *values: object) -> None:
    """Log what was done since ``start``, a ``perf_counter()``; short work asks first if it is ``wanted``."""
    LOGGER.info(f"{message}: %.3f s", *values, time.perf_counter() - start)


@contextlib.contextmanager
def timed(message: str, *values: object) -> Iterator[None]:
    """Log what the ``with`` block did, and its seconds, if it comes to its end.

    Example:
        >>> with timed("%s was read", "a file"):
        ...     pass
    """
    start = time.perf_counter()
    yield
    done(start, message, *values)
