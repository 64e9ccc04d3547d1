"""Checks of single values, which load neither Numba nor, at once, NumPy: one wording for one mistake.

Each function takes the value and the name of its argument, and returns the value in its plain form.
Checks of arrays that need compiled code: ``_arguments.py``.
"""

from __future__ import annotations

import math
import operator
import os
import reprlib
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ._pages import linked

if TYPE_CHECKING:
    import numpy.typing as npt

Word = TypeVar("Word", bound=str)

MAX_DIMS = 131_072
"""Columns of a matrix: with more, int32 could not hold the scan's sums."""


def whole_number(value: object, name: str, least: int, most: int | None = None) -> int:
    """An integer in a range; a bool is not one.

    Raises:
        TypeError: the value is not an integer.
        ValueError: it is out of the range.

    Example:
        >>> whole_number(3, "k", 1)
        3
    """
    number = _integer(value)
    if number is not None and least <= number and (most is None or number <= most):
        return number
    allowed = f"a whole number of at least {least}" + (f" and at most {most:,}" if most is not None else "")
    if number is None:
        raise TypeError(f"{name} is {shown(value)} ({type(value).__name__}); it must be {allowed}")
    raise ValueError(f"{name} is {shown(number)}; it must be {allowed}")


def _integer(value: Any) -> int | None:
    """A value as a plain integer, or None if it is a bool or not an integer."""
    if type(value) is int:
        return value
    try:
        if isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool"):
            return None
        return operator.index(value)
    except Exception:  # an object can raise anything, and is not an integer then
        return None


def number(value: object, name: str, least: float) -> float:
    """A finite number of at least ``least``; a bool is not one.

    Raises:
        TypeError: the value is neither an int nor a float.
        ValueError: it is too small, infinite or NaN.

    Example:
        >>> number(60, "patience", 0)
        60.0
    """
    allowed = f"a finite number of at least {least:g}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} is {shown(value)} ({type(value).__name__}); it must be {allowed}")
    try:
        plain = float(value)
    except OverflowError:  # an integer beyond float64
        plain = math.inf
    if not least <= plain < math.inf:
        raise ValueError(f"{name} is {shown(value)}; it must be {allowed}")
    return plain


def flag(value: object, name: str) -> bool:
    """True or False; 1 and 0 stand for them.

    Raises:
        TypeError: the value is something else.
    """
    if value is True or value is False:
        return value
    import numpy as np

    if isinstance(value, np.bool_ | int | np.integer) and value in (0, 1):
        return bool(value)
    raise TypeError(f"{name} is {shown(value)} ({type(value).__name__}); it must be True or False")


def one_of(value: object, name: str, allowed: Sequence[Word]) -> Word:
    """One of a few strings. A value of a subclass of ``str`` becomes the plain string that is listed.

    Raises:
        ValueError: the value is not one of them.

    Example:
        >>> one_of("dot", "metric", ["cosine", "dot"])
        'dot'
    """
    if type(value) is str and value in allowed:
        return value  # type: ignore[return-value]  # the usual case first
    for known in allowed:
        if isinstance(value, str) and value == known:
            return known
    raise ValueError(f"{name} is {shown(value)}; it must be one of {', '.join(map(repr, allowed))}")


def file_path(value: object, name: str) -> Path:
    """The path of a file or folder. An empty one, which would be the current folder, is not one.

    Raises:
        TypeError: the value is neither a str nor an os.PathLike of one.
        ValueError: it is empty.
    """
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        kind = type(value).__name__
        raise TypeError(f"{name} is {shown(value)} ({kind}); it must be a str or an os.PathLike")
    if not path:
        raise ValueError(f"{name} is {shown(value)}; it must name a file or a folder")
    return Path(path)


def shown(value: object) -> str:
    """A value as an error shows it: short, however large the value is."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"{'−' if value < 0 else ''}2 to the power of {value.bit_length() - 1} or more"
    text = " ".join(_short.repr(value).splitlines())
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN // 2]}...{text[-20:]}"


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80
_MOST_SHOWN = 160
"""Characters: parts of a nested value are short, and may be many."""


def first_not_finite(matrix: npt.NDArray[Any]) -> int:
    """Number of the first row that holds NaN or inf, or −1. This needs a byte for each value."""
    import numpy as np

    finite = np.isfinite(matrix).all(axis=1)
    return -1 if finite.all() else int(finite.argmin())


def refuse_row(bad: int, array: Any, name: str, first: int = 0) -> None:
    """Raise the ValueError for a row that is not finite.

    Args:
        bad: number of the row; −1: all are finite, and nothing is raised.
        array: the matrix, in this computer's memory or on a device.
        name: the argument that it came as.
        first: the number of the matrix's first row.
    """
    import numpy as np

    if bad >= 0:
        row = array[bad] if isinstance(array, np.ndarray) else array[bad].copy_to_host()
        what = "NaN" if np.isnan(row).any() else "inf"
        problem = ValueError(f"{name}, row {first + bad}: {what}; all values must be finite")
        raise linked(problem, "not finite")
