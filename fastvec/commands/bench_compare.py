"""`fastvec bench compare`: two files of records, row by row, and whether anything became slower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import options, process
from .failures import one_line_errors
from .output import Table, print_json, print_tables


@click.command(short_help="Compare two files of records.")
@click.argument("old", type=options.ORDINARY)
@click.argument("new", type=options.ORDINARY)
@click.option(
    "--most",
    type=click.FloatRange(min=1.0),
    metavar="RATIO",
    help="End with status 3 if a time of fastvec is beyond the noise and more than RATIO times the old one, "
    "such as 1.05.",
)
@options.as_json
@click.pass_context
def command(context: click.Context, old: Path, new: Path, most: float | None, as_json: bool) -> None:
    """Compare the records of NEW with those of OLD, which bench --records or the scripts of bench/ wrote.

    Races of the same name are compared, method by method: both medians with their intervals of 95 %, and
    their ratio. A row is "slower" or "quicker" only where the intervals do not overlap. "Beside peers" is
    the ratio over that of the other libraries in the same race, which says what the machine itself did
    between the two.
    """
    with one_line_errors():
        from ..benchmark import comparison, record

        found = comparison.compare(record.read(old), record.read(new))
    if not found.changes:
        raise click.ClickException(f"{old} and {new} have no race in common")
    beyond = [] if most is None else [change for change in found.changes if change.beyond(most)]
    if as_json:
        print_json([_fields(change) for change in found.changes])
    else:
        print_tables(
            [
                Table(
                    f"{new} beside {old}",
                    comparison.COLUMNS,
                    comparison.rows(found.changes),
                    comparison.NUMBERS,
                )
            ]
        )
    said = [f"differs: {line}" for line in found.differences]
    for file, cases in zip((old, new), found.only, strict=True):
        said += [f"only in {file}: {', '.join(cases)}"] if cases else []
    said += [f"{c.case}: {c.method} takes {c.ratio:.2f} times as long, more than {most:g}" for c in beyond]
    for line in said:
        click.echo(line, err=True)
    if beyond:
        context.exit(process.SLOWER)


def _fields(change: Any) -> dict[str, Any]:
    named = {"old": change.old._asdict(), "new": change.new._asdict(), "ratio": change.ratio}
    return {**change._asdict(), **named, "beside_peers": change.beside_peers, "verdict": change.verdict}
