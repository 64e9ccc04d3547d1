"""A file as rows to be searched: texts, which may repeat, their columns, and an Index of their vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options
from .output import one_line_warnings, working

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..files import Labeled
    from ..index import Index

Hits = list[tuple[int, float]]
"""Rows and scores, best first."""

Value = str | int | float | bool | None

_BATCH = 1024


class Rows:
    """The rows of an opened file."""

    def __init__(self, labeled: Labeled) -> None:
        self.path, self.metadata = labeled.path, labeled.metadata
        self.texts: tuple[str, ...] = labeled.words
        self.column_names: tuple[str, ...] = labeled.column_names
        self.dims: int = labeled.vectors.shape[1]
        self.columns: Mapping[str, Sequence[Value]] = labeled.columns
        self._labeled = labeled

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def index(self) -> Index:
        """The Index of the vectors, as it was saved; otherwise it is made now."""
        with working(f"encoding {len(self):,} rows"):
            return self._labeled.index()

    def vectors_of(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """The vectors of rows."""
        vectors: NDArray[np.float32] = self.index.vectors[rows]
        return vectors

    def columns_of(self, row: int) -> dict[str, Value]:
        """The values of a row's columns, by name."""
        return {name: self.columns[name][row] for name in self.column_names}

    def places(self, texts: Sequence[str]) -> list[list[int]]:
        """The rows of each text; an empty list for a text that is not in the file."""
        places: dict[str, list[int]] = {text: [] for text in texts}
        for row in [row for row, text in enumerate(self.texts) if text in places]:
            places[self.texts[row]].append(row)
        return [places[text] for text in texts]

    def passing(self, conditions: Sequence[str]) -> NDArray[np.bool_] | None:
        """Which rows pass conditions such as "year=2024": at least one for each column that is named."""
        import numpy as np

        allowed: dict[str, set[str]] = {}
        for condition in conditions:
            name, value = self._parts(condition)
            allowed.setdefault(name, set()).add(value)
        passing = None
        for name, values in allowed.items():
            column = self.columns[name]
            passes = np.zeros(len(self), np.bool_)
            for value in values:
                passes |= np.fromiter(map(_equals(name, value, column), column), np.bool_, len(self))
            passing = passes if passing is None else passing & passes
        return passing

    def _parts(self, condition: str) -> tuple[str, str]:
        """The column and the value of a condition; the name of a column may hold "=", too."""
        names = [name for name in self.column_names if condition.startswith(f"{name}=")]
        if names:
            name = max(names, key=len)
            return name, condition[len(name) + 1 :]
        if "=" not in condition:
            raise click.UsageError(f"--where is {condition!r}; it must be COLUMN=VALUE")
        known = ", ".join(self.column_names)
        raise click.UsageError(
            f"--where: {self.path} has no column {condition.partition('=')[0]!r}; "
            + (f"it has {known}" if known else "no columns came along with its texts")
        )

    def nearest(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        dims: int | None,
        where: NDArray[np.bool_] | None,
        exclude: Sequence[Sequence[int]],
        progress: Callable[[int, int], object],
    ) -> list[Hits]:
        """The k nearest rows of each query."""
        hits: list[Hits] = []
        k = min(k, max(1, len(self)))
        for start in range(0, len(queries), _BATCH):
            batch = slice(start, start + _BATCH)
            hits += self.index.search(
                queries[batch], k, dims=dims, where=where, exclude=exclude[batch]
            ).lists()
            if len(queries) > _BATCH:
                progress(len(hits), len(queries))
        return hits


def _equals(name: str, value: str, column: Sequence[Value]) -> Callable[[Value], bool]:
    """A test of cells for a condition; numbers and booleans are compared as such, not as text."""
    number = _number(value)
    truth = {"true": True, "false": False}.get(value.lower())

    def equals(cell: Value) -> bool:
        if isinstance(cell, str):
            return cell == value
        if isinstance(cell, bool):
            return cell is truth
        return not value if cell is None else cell == number

    kinds = {type(cell) for cell in column}
    if value and kinds and str not in kinds:
        can_be = (bool in kinds and truth is not None) or (kinds & {int, float} and number is not None)
        if kinds - {type(None)} and not can_be:
            holds = "numbers" if kinds & {int, float} else "true and false"
            raise click.UsageError(f"--where: {value!r} is not what column {name!r} can hold: {holds}")
    return equals


def _number(value: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return None


def open_rows(file: Path, form: str | None, limit: int | None, errors: str) -> Rows:
    """The rows of FILE."""
    from .. import files

    options.check_errors(file, form, errors)
    with working(f"opening {file.name}"), one_line_warnings():
        return Rows(files.read(file, format=form, limit=limit, errors=errors, repeated=True))
