"""Classes whose bases are classes of another library, which is imported when one of them is first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .._forks import load


def finder(package: str, homes: Mapping[str, str], host: str, install: str) -> Callable[[str], Any]:
    """A ``__getattr__`` for a package: names by the modules in it that define them, which need a host.

    Args:
        package: the package.
        homes: the module of each name.
        host: the module that must be installed.
        install: what installs it, for the error that it is missing.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            return getattr(load(f".{homes[name]}", package), name)
        except ModuleNotFoundError as missing:
            if missing.name is None or missing.name.partition(".")[0] != host.partition(".")[0]:
                raise
            raise ModuleNotFoundError(
                f"{package}.{name} needs {host}, which is not installed: pip install {install}", name=host
            ) from None

    return find
