"""Errors about values that are not finite, with the names of the host library's arguments."""

from typing import Any

import numpy as np
import numpy.typing as npt


def check_finite(matrix: npt.NDArray[Any], name: str, first: int = 0) -> None:
    """Raise ValueError for the first row that holds NaN or infinity; ``first`` is the number of row 0."""
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        row = int(finite.argmin())
        refuse(matrix[row], first + row, name)


def refuse(values: npt.NDArray[Any], row: int, name: str) -> None:
    """Raise ValueError for a row with these values."""
    what = "NaN" if np.isnan(values).any() else "inf"
    raise ValueError(f"{name}, row {row}: {what}; all values must be finite")
