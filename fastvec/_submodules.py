"""Modules of a package that are imported on first use."""

from __future__ import annotations

from ._forks import load

TYPE_CHECKING = False  # stands for typing's, whose import takes longer than this module's
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


def finder(package: str) -> Callable[[str], ModuleType]:
    """A ``__getattr__`` for a package that imports its public modules on first use."""

    def submodule(name: str) -> ModuleType:
        if name.isidentifier() and not name.startswith("_"):
            try:
                return load(f".{name}", package)
            except ModuleNotFoundError as missing:
                if missing.name != f"{package}.{name}":  # a module that this one needs is missing
                    raise
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return submodule
