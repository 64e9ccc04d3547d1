"""`fastvec embed`: a file of texts -> a float32 matrix in a `.npy` file, and the texts beside it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from ._matrix_file import allocated, alone, check_partial, check_places, naming, partial_of, words_of
from ._text_files import FORMATS, QUOTING, decode, format_of, read_texts
from .commands import options

if TYPE_CHECKING:
    from .openai import OpenAIEmbedder


class Misuse(click.ClickException):
    """Something is wrong with the call or its setting: a file, an option, a key, a package."""

    exit_code = 2


class Interrupted(click.ClickException):
    """The user has pressed Ctrl-C."""

    exit_code = 130


@click.command(short_help="Embed a file of texts through the OpenAI API or a compatible server.")
@click.argument("source", metavar="INPUT", type=options.STREAM)
@click.option("-o", "--output", metavar="OUT", type=click.Path(path_type=Path), help="The .npy file to make.")
@click.option(
    "--column", type=options.TEXT, help="Column or key of the texts.  [default: the only one, or 'text']"
)
@click.option(
    "--format", "format_", type=click.Choice(list(FORMATS)), help="[default: by INPUT's suffix, else lines]"
)
@click.option(
    "--quoting",
    type=click.Choice(QUOTING),
    default="auto",
    help="Of CSV and TSV: are quotation marks around fields part of the text (none), or taken off (csv)?  "
    "[default: csv for CSV, none for TSV]",
)
@click.option(
    "--model", type=options.TEXT, default="text-embedding-3-small", show_default=True, help="The model."
)
@click.option(
    "--base-url",
    type=options.TEXT,
    help="Another server that speaks the OpenAI API.  [default: OPENAI_BASE_URL]",
)
@click.option("--dims", type=click.IntRange(min=1), help="Width of the rows.  [default: the model's]")
@click.option("--cache", type=click.Path(path_type=Path), help="Keep rows in this file, for other runs too.")
@click.option("--concurrency", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--max-retries", type=click.IntRange(min=0), default=2, show_default=True)
@click.option("--timeout", type=float, help="Seconds for one request.  [default: the client's]")
@click.option("--force", is_flag=True, help="Replace OUT if it is there.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.option("--dry-run", is_flag=True, help="Only count texts, tokens and requests; send nothing.")
def command(
    source: BinaryIO,
    output: Path | None,
    column: str | None,
    format_: str | None,
    quoting: str,
    model: str,
    base_url: str | None,
    dims: int | None,
    cache: Path | None,
    concurrency: int,
    max_retries: int,
    timeout: float | None,
    force: bool,
    quiet: bool,
    dry_run: bool,
) -> None:
    """Embed every text of INPUT (-: stdin) and write a float32 matrix, row by row as in INPUT, to OUT.

    INPUT holds a text a line, or is CSV, TSV or JSON lines; in UTF-8, or with a byte order mark. OUT is
    a .npy file; the texts go beside it, as JSON lines in OUT with the suffix .texts.jsonl. Both appear
    complete or not at all. The key is read from OPENAI_API_KEY; a server without keys accepts any text.

    What is received is kept in OUT.partial until OUT is complete: after Ctrl-C, a failure or a kill,
    the same command goes on from there.
    """
    from .models import describe

    if output is None and not dry_run:
        raise click.UsageError("say where to write, with -o OUT.npy", click.get_current_context())
    if output is not None and output.suffix != ".npy":
        raise click.UsageError(f"OUT must end in .npy, not {output.name!r}", click.get_current_context())
    if output is not None:
        with _misuse():
            if cache is None:
                check_partial(output)
            if not dry_run:
                check_places(source, output, cache, force)
    texts = _texts(source, format_, column, quoting, model)
    rows_file = cache or (None if output is None else partial_of(output))
    if dry_run and rows_file is not None and not rows_file.exists():
        rows_file = None  # only looking must not make it

    def make() -> OpenAIEmbedder:
        return _embedder(
            model,
            base_url=base_url,
            api_key="none" if dry_run else None,
            dims=dims,
            cache=rows_file,
            concurrency=concurrency,
            max_retries=max_retries,
            timeout=timeout,
        )

    width = dims or describe(model).dims
    if dry_run:
        _count(make(), texts, width)
        return
    assert output is not None
    assert rows_file is not None
    with _kept(rows_file), alone(output):
        check_places(source, output, cache, force)  # another process may have written it meanwhile
        embedder = make()
        _fill(embedder, texts, output, width, not quiet)
        if cache is None:
            embedder._close()
            for suffix in ("", "-wal", "-shm"):
                rows_file.with_name(rows_file.name + suffix).unlink(missing_ok=True)


@contextmanager
def _misuse() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise Misuse(str(error)) from error


def _texts(source: BinaryIO, format: str | None, column: str | None, quoting: str, model: str) -> list[str]:
    """All texts, checked, so that nothing is sent or made if one is wrong."""
    from ._embedding.texts import check
    from .models import describe

    name = Path(getattr(source, "name", "<stdin>")).name
    try:
        # newline="": a CSV field may hold line ends; those of lines are taken off by the reader.
        file = io.StringIO(decode(source.read()), newline="")
        texts = read_texts(file, format or format_of(name), column, quoting)
        check(texts, 0, describe(model))
    except ValueError as error:
        raise Misuse(f"{name}: {error}") from error
    if not texts:
        raise Misuse(f"{name} holds no texts")
    return texts


def _embedder(model: str, **arguments: object) -> OpenAIEmbedder:
    from .openai import EmbeddingError, OpenAIEmbedder

    try:
        return OpenAIEmbedder(model, **arguments)  # type: ignore[arg-type]
    except (ImportError, ValueError, EmbeddingError) as error:  # no client, a wrong option, no key
        raise Misuse(str(error)) from error


def _count(embedder: OpenAIEmbedder, texts: list[str], width: int | None) -> None:
    plan = embedder._plan(texts)
    asks_width = width is None and not plan.stored and plan.unique > 1  # see _fill
    click.echo(f"texts            {plan.texts:,}")
    click.echo(f"unique texts     {plan.unique:,}")
    if plan.stored:
        click.echo(f"received before  {plan.stored:,}")
    click.echo(f"tokens, about    {plan.tokens:,}")
    click.echo(f"requests         {plan.requests + asks_width:,}")


@contextmanager
def _kept(rows_file: Path) -> Iterator[None]:
    """Say, whatever ends the work, that what was received is kept."""
    import sqlite3

    from .openai import EmbeddingError

    hint = f"what was received is kept in {rows_file}; the same command goes on from there"
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {hint}") from None
    except EmbeddingError as failure:
        # Of a damaged file SQLite raises this; of a full disk and all else, subclasses.
        lost = type(failure.__cause__) is sqlite3.DatabaseError
        raise click.ClickException(str(failure) if lost else f"{failure}; {hint}") from failure
    except OSError as failure:
        raise click.ClickException(
            f"{failure.filename or 'writing'}: {failure.strerror}; {hint}"
        ) from failure
    except ValueError as failure:  # a text too long, a width the model does not have
        raise Misuse(str(failure)) from failure


def _fill(
    embedder: OpenAIEmbedder, texts: list[str], output: Path, width: int | None, progress: bool
) -> None:
    from .files import json_lines
    from .files.atomic import replacing_pair

    if width is None:  # the first text tells it; its row comes from the cache afterwards
        width = embedder.embed(texts[:1]).shape[1]
    words = words_of(output)
    with replacing_pair(output, words) as (matrix_file, words_file):
        with naming(output):
            matrix = allocated(matrix_file, (len(texts), width))
        embedder.embed(texts, out=matrix, progress=progress)
        with naming(output):
            matrix.flush()
        del matrix  # some systems do not rename a file that is mapped
        with naming(words):
            words_file.write_bytes(json_lines.dump(texts))
