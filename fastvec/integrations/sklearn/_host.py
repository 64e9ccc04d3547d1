"""scikit-learn itself, where it is needed."""

from __future__ import annotations

import importlib
from typing import Any

_LEAST = (1, 6)
"""The first version whose ``validate_data`` is a function."""


def require(wanted: str, module: str = "sklearn") -> Any:
    """A module of scikit-learn; the error names what needs it."""
    try:
        host = importlib.import_module("sklearn")
        if tuple(map(int, host.__version__.split(".")[:2])) < _LEAST:
            least = ".".join(map(str, _LEAST))
            raise ImportError(
                f"{wanted} needs scikit-learn {least} or later; {host.__version__} is installed: "
                "pip install -U scikit-learn",
                name="sklearn",
            )
    except ModuleNotFoundError as missing:
        if missing.name != "sklearn":
            raise
        raise ModuleNotFoundError(
            f"{wanted} needs scikit-learn, which is not installed: pip install scikit-learn", name="sklearn"
        ) from None
    return importlib.import_module(module)
