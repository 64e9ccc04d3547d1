"""`fastvec build`: the folder of an Index, of more vectors than memory holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import options
from .failures import one_line_errors
from .output import one_line_warnings, print_json, working


class Screen(click.ParamType):  # type: ignore[type-arg]
    """What decides on a screen: auto, off, or a number of bytes."""

    name = "screen"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        """The setting; whether a number is allowed depends on the vectors."""
        if value in ("auto", "off"):
            return str(value)
        number: int = click.INT.convert(value, param, ctx)
        return number


@click.command(
    short_help="The folder of an Index, of vectors that need not fit into memory.",
    epilog="Example: fastvec build vectors.npy -o vectors.index",
)
@click.argument("source", type=options.FILE)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="The folder; it must not exist."
)
@click.option("--metric", type=options.METRICS, default="cosine", show_default=True, help="What a score is.")
@click.option(
    "--screen",
    type=Screen(),
    default="auto",
    show_default=True,
    help="Short codes that are scanned first: auto, off, or their bytes a row.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="Of the vectors in the folder; float16 only if it holds all their values exactly.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(options.FORMATS[1:]),
    help="Format of SOURCE.  [default: told by its content]",
)
@click.option(
    "--errors",
    type=click.Choice(["strict", "replace", "ignore"]),
    default="strict",
    help="For words that are not UTF-8: refuse them, or replace or drop their bytes.",
)
@options.as_json
def command(source: Path, output: Path, form: str | None, errors: str, as_json: bool, **asked: Any) -> None:
    """Encode the vectors of the file SOURCE, with their words if it has any, into the folder of an Index.

    Rows go by once, so the file may be larger than memory: .npy, Arrow, Parquet, word2vec, GloVe, .fvecs,
    .bvecs, .fbin, .u8bin, .i8bin, .hdf5. Further columns of Arrow and Parquet are left out, with a warning.

    The folder appears when it is complete. Until then its parts are beside it, in a folder of its name and
    ".unfinished". If the command is interrupted, killed, or runs out of disk, the same command goes on
    behind the parts that are finished.
    """
    with one_line_errors(), working(f"building {output.name}", "rows") as line, one_line_warnings():
        from .. import _building
        from ..files import folder, manifest

        settings = _building.settings(**asked, labeled=None)
        _building.build_from(source, output, settings, form, errors, line)
        facts = manifest.read(output).facts
        folder.load(output, on_disk=True)  # with its sizes checked
    counts = {"target": str(output), "rows": facts["rows"], "dims": facts["dims"], "metric": facts["metric"]}
    if as_json:
        print_json({**counts, "dtype": asked["dtype"], "screen": facts.get("screen", {}).get("width")})
    else:
        click.echo(f"{output}: {facts['rows']:,} vectors, {facts['dims']} dims, {facts['metric']}")
