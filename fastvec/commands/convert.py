"""`fastvec convert`: words and vectors from one format to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import options
from .output import one_line_errors, one_line_warnings, print_json, working


@click.command(
    short_help="Words and vectors from one format to another.",
    epilog="Example: fastvec convert GoogleNews-vectors.bin google.arrow --limit 500000",
)
@options.source
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--to", type=click.Choice(options.FORMATS), help="Format of TARGET, if not told by its suffix.")
@options.dims
@options.as_json
def command(
    file: Path,
    form: str | None,
    limit: int | None,
    errors: str,
    target: Path,
    to: str | None,
    dims: int | None,
    as_json: bool,
) -> None:
    """Write the words and vectors of FILE to TARGET, whole or not at all.

    Suffixes of TARGET: none for the folder of an Index, .npy, .arrow, .parquet, .vec (word2vec text),
    .bin (word2vec binary), .txt (GloVe). With --dims, vectors are cut and brought to unit length again.
    """
    from .. import files

    try:
        to = to or files.by_suffix(target)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    # Before the work, which may take long.
    if problem := options.target_problem(target, folder=to == "index"):
        raise click.UsageError(f"TARGET {problem}", click.get_current_context())
    with one_line_errors(), working():
        options.check_errors(file, form, errors)
        with one_line_warnings():
            labeled = files.read(file, format=form, limit=limit, errors=errors)
            vectors: Any = labeled.vectors
            words = labeled.words
        if dims is not None:
            vectors = _truncated(file, vectors, dims)
        metadata = {key: value for key, value in labeled.metadata.items() if key != "dims"}
        held = metadata if files.FORMATS[to].metadata else None
        try:
            files.write(target, words, vectors, format=to, metadata=held)
        except files.FileError:
            raise
        except ValueError as error:
            raise files.FileError(file, str(error)) from error
    rows, width = vectors.shape
    if as_json:
        print_json({"target": str(target), "format": to, "words": rows, "dims": width})
    else:
        click.echo(f"{target}: {to}, {rows:,} words, {width} dims (from {labeled.format})")


def _truncated(file: Path, vectors: Any, dims: int) -> Any:
    from ..files import FileError
    from ..similarity import truncate

    if dims > vectors.shape[1]:
        raise click.UsageError(f"--dims is {dims}, and {file} has {vectors.shape[1]} dimensions")
    try:
        return truncate(vectors, dims)
    except ValueError as error:
        raise FileError(file, str(error)) from error
