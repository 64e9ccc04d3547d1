"""`fastvec convert`: words and vectors from one format to another."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from . import options
from .failures import one_line_errors
from .output import one_line_warnings, print_json, working


@click.command(
    short_help="Words and vectors from one format to another.",
    epilog="Example: fastvec convert GoogleNews-vectors.bin google.arrow --limit 500000",
)
@options.source
@click.argument("target", type=options.Place(path_type=Path))
@click.option(
    "--to", type=click.Choice(options.FORMATS), help="Format of TARGET.  [default: told by its suffix]"
)
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
    .bin (word2vec binary), .txt (GloVe). With --dims, vectors are cut and scaled to unit length.

    Every row is kept, even if words repeat. Metadata, such as the model, and further columns are kept if the
    format of TARGET holds them.
    """
    from .. import files

    try:
        to = to or files.by_suffix(target)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    # Before the work, which may take long.
    if problem := options.target_problem(target, folder=to == "index"):
        raise click.UsageError(f"TARGET {problem}", click.get_current_context())
    if to == "npy":
        try:
            files.npy.refuse_foreign(target, metadata=False)
        except FileExistsError as error:
            raise click.UsageError(f"TARGET {error}", click.get_current_context()) from error
    with one_line_errors(), working(f"reading {file.name}") as line:
        options.check_errors(file, form, errors)
        with one_line_warnings():
            labeled = files.read(file, format=form, limit=limit, errors=errors, repeated=True)
            vectors: Any = labeled.vectors
            words = labeled.words
        if dims is not None:
            line.now(f"cutting {len(words):,} rows to {dims} dims")
            vectors = _truncated(file, vectors, dims)
        # Arrow always names the width, which the vectors show anyway.
        about = {} if labeled.metadata.keys() <= {"dims"} else labeled.metadata
        holds = files.FORMATS[to]
        metadata, columns = about if holds.metadata else {}, labeled.columns if holds.columns else {}
        line.now(f"writing {len(words):,} rows to {target.name}")
        try:
            files.write(target, words, vectors, format=to, metadata=metadata, columns=columns, repeated=True)
        except files.FileError:
            raise
        except ValueError as error:
            raise files.FileError(file, str(error)) from error
    left = [f"metadata ({_names(about)})"] if about and not metadata else []
    if labeled.column_names and not columns:
        left.append(f"columns ({_names(labeled.column_names)})")
    if left:
        click.echo(f"fastvec: {to} does not hold {' and '.join(left)}, so they are left out", err=True)
    rows, width = vectors.shape
    if as_json:
        print_json({"target": str(target), "format": to, "words": rows, "dims": width})
    else:
        click.echo(f"{target}: {to}, {rows:,} words, {width} dims (from {labeled.format})")


def _names(names: Collection[str]) -> str:
    from ..labels import enumerated, quoted

    return enumerated(map(quoted, names), len(names))


def _truncated(file: Path, vectors: Any, dims: int) -> Any:
    from ..files import FileError
    from ..similarity import truncate

    if dims > vectors.shape[1]:
        raise click.UsageError(f"--dims is {dims}, and {file} has {vectors.shape[1]} dimensions")
    try:
        return truncate(vectors, dims)
    except ValueError as error:
        raise FileError(file, str(error)) from error
