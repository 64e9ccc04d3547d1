"""What a micro-kernel file exports."""

from collections.abc import Callable
from typing import Any, NamedTuple


def _nothing_to_enable() -> None:
    return None


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
    architecture: str | None = None
    levels: int = 127
    """Largest magnitude of a query's codes."""
    enable: Callable[[], str | None] = _nothing_to_enable
    """Asked once the features are there: takes what the system must permit, or says why it cannot."""
