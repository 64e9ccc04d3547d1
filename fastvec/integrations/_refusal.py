"""Errors in a host library's words: which of its arguments is not finite, and where."""

from typing import Any

import numpy as np
import numpy.typing as npt


def check_finite(matrix: npt.NDArray[Any], name: str) -> None:
    """Name the first row that holds NaN or infinity."""
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        row = int(finite.argmin())
        refuse(matrix[row], row, name)


def refuse(values: npt.NDArray[Any], row: int, name: str) -> None:
    """Raise for a row with these values."""
    what = "NaN" if np.isnan(values).any() else "infinity"
    raise ValueError(f"{name}, row {row}: {what}; all values must be finite")
