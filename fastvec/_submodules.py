"""Modules of a package that are imported when they are first named."""

from __future__ import annotations

from ._forks import load

TYPE_CHECKING = False  # as typing's, whose import takes longer than all of this
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


def finder(package: str) -> Callable[[str], ModuleType]:
    """A ``__getattr__`` for a package: its public modules, each imported when it is first asked for."""

    def submodule(name: str) -> ModuleType:
        if name.isidentifier() and not name.startswith("_"):
            try:
                return load(f".{name}", package)
            except ModuleNotFoundError as missing:
                if missing.name != f"{package}.{name}":  # something that the module itself needs
                    raise
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return submodule
