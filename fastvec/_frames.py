"""Answers as tables of pandas, Polars and Arrow, with columns of the table that was searched beside them.

Each library has a row in ``HOSTS``; it is imported when a table is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ._forks import load

Int64 = npt.NDArray[np.int64]


class Host(NamedTuple):
    """What is done with the tables of one library."""

    module: str
    name: str
    """The class of its tables."""
    install: str
    names: Callable[[Any], Iterable[Any]]
    """The names of a table's columns."""
    column: Callable[[Any, Any], Any]
    """The module and any values to a column."""
    taken: Callable[[Any, Int64], Any]
    """A column and row numbers to the column of these rows."""
    made: Callable[[Any, dict[Any, Any]], Any]
    """The module and columns by name to a table."""


def _arrow_column(pyarrow: Any, values: Any) -> Any:
    return values if isinstance(values, pyarrow.ChunkedArray) else pyarrow.chunked_array([values])


HOSTS = {
    "pandas": Host(
        "pandas",
        "DataFrame",
        "pip install pandas",
        lambda frame: frame.columns,
        lambda pandas, values: pandas.Series(values),
        lambda column, rows: column.iloc[rows].reset_index(drop=True),
        lambda pandas, columns: pandas.DataFrame(columns),
    ),
    "Polars": Host(
        "polars",
        "DataFrame",
        "pip install polars",
        lambda frame: frame.columns,
        lambda polars, values: polars.Series(values),
        lambda column, rows: column.gather(rows),
        lambda polars, columns: polars.DataFrame(columns),
    ),
    "Arrow": Host(
        "pyarrow",
        "Table",
        "pip install 'fastvec[arrow]'",
        lambda table: table.column_names,
        _arrow_column,
        lambda column, rows: column.take(rows),
        lambda pyarrow, columns: pyarrow.table(columns),
    ),
}


class Beside(NamedTuple):
    """Columns of a table to put beside an answer: those of the rows that it names."""

    table: Any
    columns: Any
    """Their names, one name, or None for all."""
    rows: Int64
    name: str = "frame"
    """The name of the argument."""
    ending: str = ""
    """What is added to the names."""


def table(host: str, own: Mapping[str, npt.NDArray[Any]], *beside: Beside) -> Any:
    """A table of a library, with an answer's own columns first.

    Raises:
        ModuleNotFoundError: if the library is not installed.
        TypeError: if a table is of another kind.
        ValueError: if a table lacks a column or a row, or has a column of a name that is taken.
    """
    kind = HOSTS[host]
    module = _loaded(host)
    columns: dict[Any, Any] = dict(own)
    for part in beside:
        if part.table is None:
            if part.columns is not None:
                raise ValueError(f"columns are named, but no {part.name}: give the table that has them")
            continue
        for name in _chosen(part, _names(part, kind, module)):
            taken = part.table[name]
            if isinstance(part.table, Mapping):
                taken = kind.column(module, taken)
            _check_rows(part, len(taken))
            if (put := f"{name}{part.ending}" if part.ending else name) in columns:
                raise ValueError(
                    f"{part.name} has a column {name!r}, and the answer has one named {put!r} already: "
                    "rename it, or name the columns that you want by columns"
                )
            columns[put] = kind.taken(taken, part.rows)
    return kind.made(module, columns)


def _loaded(host: str) -> Any:
    module, install = HOSTS[host].module, HOSTS[host].install
    try:
        return load(module, "")
    except ModuleNotFoundError as missing:
        if missing.name != module:
            raise
        raise ModuleNotFoundError(f"{host} is not installed: {install}", name=module) from None


def _names(part: Beside, kind: Host, module: Any) -> list[Any]:
    if isinstance(part.table, Mapping):
        return list(part.table)
    if isinstance(part.table, getattr(module, kind.name)):
        return list(kind.names(part.table))
    given = f"{type(part.table).__module__.partition('.')[0]}.{type(part.table).__name__}"
    raise TypeError(
        f"{part.name} is a {given.removeprefix('builtins.')}; it must be a {kind.module}.{kind.name}, or a "
        "mapping of names to columns"
    )


def _chosen(part: Beside, names: list[Any]) -> list[Any]:
    if part.columns is None:
        return names
    chosen = [part.columns] if isinstance(part.columns, str) else list(part.columns)
    missing = [name for name in chosen if name not in names]
    if missing:
        raise ValueError(
            f"{part.name} has no column {missing[0]!r}; its columns are {', '.join(map(repr, names))}"
        )
    return chosen


def _check_rows(part: Beside, n: int) -> None:
    highest = part.rows.max(initial=-1)
    if highest >= n:
        raise ValueError(
            f"{part.name} has {n:,} rows, and the answer names row {highest:,}: give the table whose vectors "
            "were searched, with its rows in the same order"
        )
