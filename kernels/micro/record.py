"""What a micro-kernel file exports."""

from collections.abc import Callable
from typing import Any, NamedTuple


def _nothing_to_enable() -> None:
    return None


def _nothing(name):
    pass


class MicroKernel(NamedTuple):
    """One instruction set's way to score a tile; the functions' contract is in ``micro/__init__.py``."""

    name: str
    description: str
    requires: tuple[str, ...]
    """Processor features, in LLVM's names."""
    tile_rows: int
    tile_queries: int
    tile: Callable[..., Any]
    row: Callable[..., Any]
    begin: Callable[..., Any] = _nothing
    end: Callable[..., Any] = _nothing
    architecture: str | None = None
    speed: float = 1.0
    """Multiply-adds in the time of one of the direct float64 pass, on the machines measured."""
    alternative: tuple[str, ...] = ()
    """Processor features that serve in place of ``requires``."""
    levels: int = 127
    """Largest magnitude of a query's codes."""
    orders: Callable[..., Any] | None = None
    """Sums of slices for dense cosines, in place of tiles; see ``dense/slices.py``."""
    enable: Callable[[], str | None] = _nothing_to_enable
    """Called once if the processor has the features: asks the system for its permission, or says why not."""
