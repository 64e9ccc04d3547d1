"""What the calls of this process tell whoever asks: how far they are, and that kernels are compiled.

The command line asks, to show it on a terminal. Nobody else does, and where nobody does, the parts of
a call are not counted. What is called here is called from any thread, often: it does little, and does
not raise.
"""

from collections.abc import Callable

progress: Callable[[float, int], None] | None = None
"""Told how many parts of the outermost call are done, and of how many; another call begins at 0 again."""

compiling: Callable[[bool], None] | None = None
"""Told that a kernel is not in the cache and is compiled now, and whether later processes will load it."""


def tell(done: float, total: int) -> None:
    """Of work that is not done by ``threads.run``: how many of its parts are done."""
    if progress is not None:
        progress(done, total)
