"""Values that are kept beside texts, as columns of one type each; no value is changed.

Values of JSON lines have types; those of CSV and TSV are texts. A column becomes integers, floats or
booleans if all its values are; for CSV, only if no digit gets lost: ``007`` and ``1.50`` stay texts. Any
other column is one of texts, in which other values have their JSON form. Missing values are None, and
so are empty fields in columns of numbers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence

from .records import Value

_INTEGER = re.compile(r"-?[1-9][0-9]*|0")
_LONGEST_INTEGER = 20  # characters, of 64 bits
_LARGEST = 2**63
_EXACT = 2**53  # as a float


class Kinds:
    """The kinds of the values of each column, collected value by value."""

    def __init__(self, columns: int, *, typed: bool) -> None:
        self._typed = typed
        self._met: list[set[str]] = [set() for _ in range(columns)]

    def meet(self, values: Sequence[Value]) -> None:
        """Take note of one value of each column."""
        kind = _kind if self._typed else _written_kind
        for met, value in zip(self._met, values, strict=True):
            if "text" not in met:
                met.add(kind(value))

    def converted(self, value: Value, column: int) -> Value:
        """A value in the type of its column, all values of which must have been met."""
        met = self._met[column] - {"missing"}
        if met and met <= {"integer", "long integer"}:
            return _unless_missing(int, value)
        if met and met <= {"integer", "float"}:
            return _unless_missing(float, value)
        if met == {"boolean"} or value is None or isinstance(value, str):
            return value
        return json.dumps(value)


def _unless_missing(convert: type[int] | type[float], value: Value) -> Value:
    return None if value is None or value == "" else convert(value)


def _kind(value: Value) -> str:
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        if -_EXACT <= value <= _EXACT:
            return "integer"
        return "long integer" if -_LARGEST <= value < _LARGEST else "text"
    if isinstance(value, float):
        return "float" if math.isfinite(value) else "text"
    return "text"


def _written_kind(value: Value) -> str:
    """The kind of a field of CSV."""
    if not isinstance(value, str) or not value:
        return "missing"
    if len(value) <= _LONGEST_INTEGER and _INTEGER.fullmatch(value):
        return _kind(int(value))
    try:
        number = float(value)
    except ValueError:
        return "text"
    return "float" if repr(number) == value and math.isfinite(number) else "text"
