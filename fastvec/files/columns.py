"""Further columns, with one value (str, int, float, bool or None) per row; JSON lines in an Index folder."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from .._checks import shown
from ..labels import elements, enumerated, quoted
from .errors import FileError
from .json_lines import split
from .streams import Rows, Stream, blocks, streams

Value = str | int | float | bool | None
KINDS = frozenset({str, int, float, bool, type(None)})
TAKEN = ("text", "vector")
"""Names that further columns cannot have, because words and vectors have them."""
_EXACT = 1 << 53


class Column(NamedTuple):
    """A checked column to write."""

    values: Rows[Value]
    kinds: frozenset[type]
    """The types of its values, except that of None."""
    least: int
    most: int
    """The range of its integers is ``least`` to ``most``."""

    @property
    def exact(self) -> bool:
        """Whether float64 holds all of its integers exactly."""
        return self.least >= -_EXACT and self.most <= _EXACT


def problem_of_names(names: Any) -> str:
    """A message about what is wrong with names of columns; empty if nothing is."""
    known: set[str] = set()
    for name in names:
        if not isinstance(name, str):
            return f"the name of a column is {shown(name)}, not a str"
        if not name:
            return "the name of a column is empty"
        if name in TAKEN:
            return f"a column cannot be called {name!r}, which is the name of the words or the vectors"
        if halved(name):
            return f"the name of a column is {shown(name)}, with half of a surrogate pair"
        if name in known:
            return f"two columns have the name {quoted(name)}"
        known.add(name)
    return ""


def checked_columns(columns: Mapping[str, Any] | None, rows: int) -> dict[str, Column]:
    """Columns to write, with every value checked; raises if one is wrong. The names must be right."""
    items = (columns or {}).items()
    return {str(name): _checked(values, f"columns[{shown(name)}]", rows) for name, values in items}


def _checked(values: Any, name: str, rows: int) -> Column:
    column: Rows[Value]
    if streams(values):
        column = Stream(values, name, _plain)
    else:
        column = tuple(_plain(value, name, at) for at, value in enumerate(elements(values, name)))
    if len(column) != rows:
        raise ValueError(f"{name} and words differ in number: {len(column)} and {rows}")
    kinds: set[type] = set()
    least = most = at = 0
    for block in blocks(column):
        block_kinds = set(map(type, block))
        kinds |= block_kinds
        if int in block_kinds:
            numbers = [value for value in block if type(value) is int]
            least, most = min(least, *numbers), max(most, *numbers)
        if str in block_kinds:
            for row, value in enumerate(block):
                if type(value) is str and halved(value):
                    raise ValueError(f"{name}[{at + row}] is {quoted(value)}, with half of a surrogate pair")
        at += len(block)
    return Column(column, frozenset(kinds - {type(None)}), least, most)


def _plain(value: Any, name: str, position: int) -> Value:
    """A value as one of Python's own types; NaN, which programs write for a missing value, as None."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value  # type: ignore[no-any-return]
    if kind is float:
        return None if math.isnan(value) else value
    if hasattr(value, "as_py"):  # an Arrow scalar
        return _plain(value.as_py(), name, position)
    if kind.__name__ in ("NAType", "NaTType"):  # a missing value of pandas
        return None
    if (
        hasattr(value, "dtype") and hasattr(value, "item") and getattr(value, "ndim", 0) == 0
    ):  # a NumPy scalar
        item = value.item()
        if type(item) is not kind:  # as a long double, which no type of Python holds
            return _plain(item, name, position)
    for base in (str, bool, int, float):  # members of an enumeration, for example
        if isinstance(value, base):
            return _plain(base.__str__(value) if base is str else base(value), name, position)
    raise TypeError(
        f"{name}[{position}] is a {kind.__name__}; values are str, int, float, bool or None: "
        "give str(value) if that is meant"
    )


def halved(text: str) -> bool:
    """Whether a text holds half of a surrogate pair, which UTF-8 cannot hold."""
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def lines(columns: Mapping[str, Column]) -> Iterator[bytes]:
    """JSON lines, an object for each row, in blocks."""
    line = "{" + ", ".join(
        json.dumps(name, ensure_ascii=False).replace("%", "%%") + ": %s" for name in columns
    )
    parts = [blocks(column.values) for column in columns.values()]
    for values in zip(*parts, strict=True):
        rows = zip(*map(_written, values), strict=True)
        yield "".join([line % row + "}\n" for row in rows]).encode()


def _written(values: list[Value]) -> list[str]:
    """Each value as JSON. Infinity, which JSON cannot name, becomes a number that is read as infinity."""
    # A line break within a text is escaped, so a real one occurs only after the comma between two values.
    written = json.dumps(values, ensure_ascii=False, separators=(",\n", ":"))[1:-1].split(",\n")
    if float in map(type, values):
        names = {"Infinity": "1e999", "-Infinity": "-1e999"}
        return [names.get(value, value) for value in written]
    return written


def load(
    path: Any, data: bytes, names: tuple[str, ...], rows: int, hint: str
) -> dict[str, tuple[Value, ...]]:
    """The columns of JSON lines, checked; ``path`` and ``hint`` (what to do) are for error messages."""
    read: list[list[Value]] = [[] for _ in names]
    row = 0
    for block in blocks(split(data)):
        records = _several(block)
        if records is None or any(type(one) is not dict or one.keys() != set(names) for one in records):
            records = [_one(path, row + at, line, names, hint) for at, line in enumerate(block)]
        for column, name in zip(read, names, strict=True):
            values = [record[name] for record in records]
            if not KINDS.issuperset(map(type, values)):
                at = next(at for at, value in enumerate(values) if type(value) not in KINDS)
                what = f"{quoted(name)} is a {type(values[at]).__name__}, not one value"
                raise FileError(path, f"{what}; {hint}", row=row + at)
            column.extend(values)
        row += len(block)
    if row != rows:
        raise FileError(path, f"{row} lines for {rows} vectors; {hint}")
    return {name: tuple(values) for name, values in zip(names, read, strict=True)}


def _several(lines: list[bytes]) -> list[Any] | None:
    """Several lines parsed at once, which is faster; None if one of them is not JSON."""
    try:
        values = json.loads("[" + b",".join(lines).decode() + "]", parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return values if len(values) == len(lines) else None


def _one(path: Any, row: int, line: bytes, names: tuple[str, ...], hint: str) -> dict[str, Any]:
    try:
        record = json.loads(line.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise FileError(path, f"not JSON ({error}); {hint}", row=row) from error
    if type(record) is not dict or record.keys() != set(names):
        raise FileError(path, f"not an object with exactly the keys {_list(names)}; {hint}", row=row)
    return record


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _list(names: tuple[str, ...]) -> str:
    return enumerated(map(quoted, names), len(names))


class Columns(Mapping[str, tuple[Value, ...]]):
    """The columns of a file by name; each is read on first use."""

    def __init__(self, names: tuple[str, ...], read: Callable[[str], tuple[Value, ...]]) -> None:
        self._names, self._read = names, read
        self._known: dict[str, tuple[Value, ...]] = {}

    def __getitem__(self, name: str) -> tuple[Value, ...]:
        if name not in self._names:
            raise KeyError(f"{shown(name)}: the columns are {_list(self._names) or 'none'}")
        known = self._known.get(name)
        # Two threads may both read it, with the same result; so there is no lock to hold across a fork.
        return self._known.setdefault(name, self._read(name)) if known is None else known

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"Columns({_list(self._names)})"
