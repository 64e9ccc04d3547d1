"""What several commands take: the file of words, a width, the form of the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from .output import one_line_warnings

if TYPE_CHECKING:
    from ..vocabulary import Vocabulary

Command = TypeVar("Command", bound=Callable[..., Any])

# Names of fastvec.files.FORMATS; a test compares, as importing that here would make --help slow.
FORMATS = ("index", "npy", "arrow", "parquet", "word2vec-text", "word2vec-binary", "glove")
METHODS = click.Choice(["3cosadd", "3cosmul"])
FILE = click.Path(exists=True, path_type=Path)

dims = click.option("--dims", type=click.IntRange(min=1), help="Use the first so many dimensions only.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
plot = click.option(
    "--plot",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Draw it to a file: .png, .svg or .pdf.",
)


def source(command: Command) -> Command:
    """The file of words and vectors, and how to read it: ``open_source`` takes them."""
    for option in (
        click.option(
            "--errors",
            type=click.Choice(["strict", "replace", "ignore"]),
            default="strict",
            help="Words that are no UTF-8: refuse, replace or drop their bytes.",
        ),
        click.option("--limit", type=click.IntRange(min=1), help="Read the first so many words only."),
        click.option(
            "--format", "form", type=click.Choice(FORMATS), help="Format of FILE, if not told by content."
        ),
        click.argument("file", type=FILE),
    ):
        command = option(command)
    return command


def open_source(
    file: Path, form: str | None, limit: int | None, errors: str, dims: int | None = None
) -> Vocabulary:
    """The words and vectors of FILE, wide enough for ``dims``."""
    from ..vocabulary import Vocabulary

    with one_line_warnings():
        vocabulary = Vocabulary.open(file, format=form, limit=limit, errors=errors)
    if dims is not None and dims > vocabulary.dims:
        raise click.UsageError(f"--dims is {dims}, and {file} has {vocabulary.dims} dimensions")
    return vocabulary


def words_of(arguments: Sequence[str], file: BinaryIO | None) -> list[str]:
    """Words of a file, one a line, then the arguments; blank ones are skipped, repeated ones kept once."""
    try:
        lines = [] if file is None else file.read().decode("utf-8-sig").splitlines()
        "".join(arguments).encode()
    except UnicodeError as error:
        name = "an argument" if file is None else file.name
        raise click.UsageError(f"{name} is not UTF-8: {error}") from None
    return list(dict.fromkeys(filter(None, map(str.strip, (*lines, *arguments)))))


def save_plot(path: Path, draw: Callable[[Any], Any], size: tuple[float, float]) -> None:
    """Draw on new axes and write the file."""
    from .. import plots

    with one_line_warnings():
        plots.save(path, draw, size)
