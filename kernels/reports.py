"""Functions that receive reports of this process: how far a call is, and that kernels are compiled.

The command line sets them, to show progress on a terminal; while they are None, the parts of a call are
not counted. They are called often and from any thread, so they must be quick and must not raise.
"""

from collections.abc import Callable

progress: Callable[[float, int], None] | None = None
"""Receives how many parts of the outermost call are done, and how many it has; each call begins at 0."""

compiling: Callable[[bool], None] | None = None
"""Called when a kernel is compiled because the cache does not hold it, with whether it will be cached."""


def tell(done: float, total: int) -> None:
    """Report how many parts of a piece of work are done, if ``threads.run`` does not do it."""
    if progress is not None:
        progress(done, total)
