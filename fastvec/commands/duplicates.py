"""`fastvec duplicates`: rows that repeat others, or nearly do."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options
from .failures import one_line_errors
from .output import Table, is_terminal, print_json, print_rows, print_tables, working

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHOWN = 10
"""Groups that are shown on a terminal."""


class Score(click.ParamType):  # type: ignore[type-arg]
    """A number other than NaN."""

    name = "score"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        number: float = click.FLOAT.convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} must be a number, such as 0.95", param, ctx)
        return number


@click.command(
    short_help="Rows that repeat others, or nearly do.",
    epilog="Example: fastvec duplicates reviews.arrow --min-score 0.95 -o kept.txt --groups groups.jsonl",
)
@options.source
@click.option(
    "--min-score",
    type=Score(),
    required=True,
    help="Rows with at least this score are duplicates: a cosine, or the score of the metric of an Index.",
)
@click.option(
    "-o",
    "--output",
    type=options.Target(),
    help="Write the texts of the rows to keep, one a line, to this file.",
)
@click.option(
    "--groups", type=options.Target(), help="Write the groups of duplicates to this file of JSON lines."
)
@options.dims
@options.as_json
def command(
    min_score: float, output: Path | None, groups: Path | None, dims: int | None, as_json: bool, **source: Any
) -> None:
    """Find the rows of FILE that are duplicates of others, and the first row of each group to keep.

    Rows are in one group if they are duplicates, directly or through others. Every two rows are compared, and
    exactly.

    A line of the file for --groups is an object with the numbers of a group's rows, rising from 0, and their
    texts: {"rows": [3, 8], "texts": ["a", "a!"]}. Rows that have no duplicate are in no group. A text with a
    line break cannot be written to -o, unless its name ends in .jsonl: then every text is a JSON string.

    Without -o and --groups, a terminal shows the largest groups; otherwise, a line for each row not to keep
    is printed: row, kept row, text, with tabs between values, which are written as search writes them.
    """
    if output is not None and groups is not None and output.resolve() == groups.resolve():
        raise click.UsageError("-o and --groups name the same file", click.get_current_context())
    with one_line_errors(), working() as line:
        from .rows import open_rows

        rows = open_rows(**source)
        if dims is not None and dims > rows.dims:
            raise click.UsageError(f"--dims is {dims}, and {rows.path} has {rows.dims} dimensions")
        index = rows.index
        line.now(f"comparing {len(rows):,} rows")
        first = index.duplicates(min_score, dims=dims)
        found = _groups(first)
        if output is not None:
            line.now(f"writing {output.name}")
            kept = (text for row, text in enumerate(rows.texts) if first[row] == row)
            _write(output, kept if output.suffix != ".jsonl" else map(_json, kept))
        if groups is not None:
            line.now(f"writing {groups.name}")
            _write(groups, (_json(_record(group, rows.texts)) for group in found))
    counts = {
        "rows": len(rows),
        "kept": len(rows) - sum(len(group) - 1 for group in found),
        "groups": len(found),
        "in_groups": sum(map(len, found)),
    }
    if as_json:
        print_json(counts)
        return
    if output is None and groups is None:
        _print(found, rows.texts)
    click.echo(
        f"fastvec: {counts['rows']:,} rows, {counts['kept']:,} to keep; "
        f"{counts['groups']:,} groups of duplicates hold {counts['in_groups']:,} rows",
        err=True,
    )


def _groups(first: NDArray[Any]) -> list[list[int]]:
    """The rows of each group of two or more."""
    import numpy as np

    order = np.argsort(first, kind="stable")
    borders = np.flatnonzero(np.diff(first[order])) + 1
    return [rows.tolist() for rows in np.split(order, borders) if len(rows) > 1]


def _record(group: list[int], texts: tuple[str, ...]) -> dict[str, Any]:
    return {"rows": group, "texts": [texts[row] for row in group]}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True)


def _write(path: Path, lines: Iterable[str]) -> None:
    """Write lines to a file, whole or not at all."""
    from ..files import FileError, atomic

    with atomic.replacing(path) as file:
        for line in lines:
            if "\n" in line or "\r" in line:
                raise FileError(path, f"{line!r:.60} has a line break; let the name end in .jsonl")
            file.write(line.encode("utf-8") + b"\n")


def _print(found: list[list[int]], texts: tuple[str, ...]) -> None:
    if is_terminal(sys.stdout):
        largest = sorted(found, key=len, reverse=True)[:_SHOWN]
        lines = [(f"{len(group):,}", str(group[0]), texts[group[0]]) for group in largest]
        print_tables([Table("Largest groups of duplicates", ("rows", "first", "text"), lines)], cut=True)
    else:
        print_rows(("row", "kept", "text"), _repeats(found, texts))


def _repeats(found: list[list[int]], texts: tuple[str, ...]) -> Iterator[tuple[int, int, str]]:
    for group in found:
        for row in group[1:]:
            yield row, group[0], texts[row]
