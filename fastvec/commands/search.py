"""`fastvec search`: the nearest rows of any texts."""

from __future__ import annotations

import itertools
import math
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from . import options
from .failures import misuse, one_line_errors
from .output import (
    Table,
    is_terminal,
    print_json,
    print_rows,
    print_tables,
    shown,
    working,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .rows import Hits, Rows


@click.command(
    short_help="The nearest texts of texts, in the file or not.",
    epilog='Example: fastvec search reviews.arrow "arrived broken" --where year=2024 --k 5',
)
@click.option(
    "--cluster",
    type=options.TEXT,
    metavar="ADDRESS|local:N",
    help="Search Index folders on the workers of a Dask cluster, or in N processes of this computer.",
)
@options.source
@click.argument("texts", metavar="[TEXT]...", nargs=-1, type=options.TEXT)
@click.option(
    "--queries", "--words", "listed", type=options.STREAM, help="Texts, one a line, UTF-8 (-: stdin)."
)
@click.option("--k", type=click.IntRange(min=1), default=10, show_default=True, help="Answers to each text.")
@click.option(
    "--where",
    "conditions",
    multiple=True,
    type=options.TEXT,
    metavar="COLUMN=VALUE",
    help="Only rows with this value in this column (repeatable).",
)
@options.dims
@click.option(
    "--model",
    type=options.TEXT,
    help="The model that embeds texts that are not in FILE; offline: the encoder of quickstart.  "
    "[default: the model that FILE names]",
)
@click.option(
    "--base-url",
    type=options.TEXT,
    help="Its server, which speaks the OpenAI API.  [default: OPENAI_BASE_URL; else that of FILE, "
    "if it is OpenAI's or on this computer]",
)
@options.as_json
def command(
    texts: tuple[str, ...],
    listed: BinaryIO | None,
    k: int,
    conditions: tuple[str, ...],
    dims: int | None,
    model: str | None,
    base_url: str | None,
    as_json: bool,
    cluster: str | None,
    **source: Any,
) -> None:
    """The texts of FILE nearest to each TEXT.

    FILE may be several Index folders, which are searched as one: all arguments up to the first one that is
    no Index folder (--words takes a text of that name). With --cluster, workers open the folders, each some
    of them; they must find them under the same paths.

    A TEXT that is in FILE needs no model: the vector of its first row is the query, and its own rows are
    left out of the answer. All other texts are embedded together, as queries, by the model that made the
    vectors. FILE names that model if fastvec embed wrote it. The key is read from OPENAI_API_KEY.

    --where compares text as text, numbers as numbers, and true and false; COLUMN= matches a missing value
    or an empty text. A row must match one of the values given for each column. If no row passes, answers
    are empty.

    On a terminal, a table is printed for each TEXT; otherwise a line for each answer, with tabs between
    query, rank, score, text and columns, where a tab, line feed, carriage return or backslash is written
    \\t, \\n, \\r or \\\\.
    """
    from .folders import is_folder, open_folders

    folders = list(itertools.takewhile(is_folder, map(Path, texts))) if is_folder(source["file"]) else []
    asked = options.words_of(texts[len(folders) :], listed)
    if not asked:
        raise click.UsageError("give at least one text", click.get_current_context())
    with ExitStack() as stack:
        stack.enter_context(one_line_errors())
        line = stack.enter_context(working("looking for the texts"))
        from .rows import open_rows

        rows: Rows
        if folders or cluster is not None:
            rows = stack.enter_context(open_folders(folders, cluster, **source))
        else:
            rows = open_rows(**source)
        if dims is not None and dims > rows.dims:
            raise click.UsageError(f"--dims is {dims}, and {rows.path} has {rows.dims} dimensions")
        where = rows.passing(conditions)
        if where is not None and not where.any():
            click.echo(f"fastvec: no row passes --where {' '.join(conditions)}", err=True)
        places = rows.places(asked)
        queries = _queries(rows, asked, places, model, base_url)
        line.now(f"searching {len(rows):,} rows", "texts")
        answers = rows.nearest(queries, k, dims=dims, where=where, exclude=places, progress=line)
    _print(rows, asked, answers, as_json=as_json)


def _queries(
    rows: Rows, asked: list[str], places: list[list[int]], model: str | None, base_url: str | None
) -> NDArray[np.float32]:
    """The vector of each text: that of its first row, or one that the model makes."""
    import numpy as np

    queries = np.empty((len(asked), rows.dims), np.float32)
    known = [number for number, rows_of_text in enumerate(places) if rows_of_text]
    others = [number for number, rows_of_text in enumerate(places) if not rows_of_text]
    if others:  # first, as it may fail, while encoding the rows may take long
        queries[others] = _embedded(rows, [asked[number] for number in others], model, base_url)
    queries[known] = rows.vectors_of([places[number][0] for number in known])
    return queries


def _embedded(rows: Rows, texts: list[str], model: str | None, base_url: str | None) -> Any:
    """Vectors of texts that are not in the file, made by the model that made those of the file."""
    from .. import _embedders
    from ..errors import UnknownWordError
    from ..labels import quoted

    if model is None and "model" not in rows.metadata:
        unknown = UnknownWordError(texts, dict.fromkeys(rows.texts))
        raise click.ClickException(
            f"{unknown}; to search for any text, say with --model what made the vectors"
        )
    why = f"{quoted(texts[0])} is not in {rows.path}, so it must be embedded"
    with misuse(f"{why}: ", typed={"base_url": "--base-url"}):  # no package, a wrong option, no key
        embedder = _embedders.of_metadata(rows.metadata, dims=rows.dims, model=model, base_url=base_url)
    prefix = embedder.provenance.get("query_prefix", "")
    with working("embedding", "texts") as line:
        vectors = embedder.embed([prefix + text for text in texts], progress=line)
    if vectors.shape[1] != rows.dims:
        raise click.ClickException(
            f"{why}: {embedder.provenance['model']} makes vectors of {vectors.shape[1]} dims, and those of "
            f"the file have {rows.dims}; name the model that made them with --model"
        )
    return vectors


def _print(rows: Rows, asked: list[str], hits_of: list[Hits], *, as_json: bool) -> None:
    if as_json:
        print_json([_record(rows, text, hits) for text, hits in zip(asked, hits_of, strict=True)])
        return
    answers = [
        [(score, rows.texts[row], *rows.columns_of(row).values()) for row, score in hits] for hits in hits_of
    ]
    if is_terminal(sys.stdout):
        columns = ("score", "text", *rows.column_names)
        tables = [
            Table(
                f"Nearest to {text}",
                columns,
                [(f"{score:.3f}", *map(shown, more)) for score, *more in ranked],
            )
            for text, ranked in zip(asked, answers, strict=True)
        ]
        print_tables(tables, cut=True)
    else:
        lines = (
            (text, rank, *answer)
            for text, ranked in zip(asked, answers, strict=True)
            for rank, answer in enumerate(ranked, 1)
        )
        print_rows(("query", "rank", "score", "text", *rows.column_names), lines)


def _record(rows: Rows, text: str, hits: Hits) -> dict[str, Any]:
    nearest = []
    for row, score in hits:
        hit = {"word": rows.texts[row], "score": score, "row": row}
        if rows.column_names:
            columns = rows.columns_of(row)
            hit["columns"] = {
                # JSON has neither NaN nor infinity.
                name: None if isinstance(value, float) and not math.isfinite(value) else value
                for name, value in columns.items()
            }
        nearest.append(hit)
    return {"word": text, "nearest": nearest}
