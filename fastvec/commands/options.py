"""What several commands take: a file of words, a width, the form of the answer, a file to write."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from .. import choices
from . import process
from .failures import SettingError
from .output import one_line_warnings, working

if TYPE_CHECKING:
    from ..choices import Undecodable
    from ..vocabulary import Vocabulary

Command = TypeVar("Command", bound=Callable[..., Any])

# The names of the table of fastvec.files: importing that would make --help slow, so a test compares.
FORMATS = ("index", "npy", "arrow", "parquet", "word2vec-text", "word2vec-binary", "glove")
METHODS = click.Choice(list(choices.METHODS))
METRICS = click.Choice(list(choices.METRICS))


class Text(click.ParamType):  # type: ignore[type-arg]
    """Text in UTF-8. A locale that cannot decode it passes bytes on unchanged, which are decoded here."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text, or a refusal that shows the bytes."""
        if not any("\udc80" <= character <= "\udcff" for character in value):
            return value
        try:
            return os.fsencode(value).decode("utf-8")
        except UnicodeDecodeError:
            self.fail(f"{os.fsencode(value)!r} is not UTF-8", param, ctx)


TEXT = Text()


class Ordinary(click.Path):
    """A file that is read more than once, so neither a pipe nor a device; or a folder, if one is allowed."""

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """The path."""
        from ..files.ordinary import refuse_special

        path = super().convert(value, param, ctx)
        try:
            refuse_special(os.fsdecode(path))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return path


class Stream(click.File):
    """A file that is read once: it may be a pipe to which somebody writes, and - is standard input.

    A device is refused, as it may have no end.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The open file."""
        from ..files.ordinary import refuse_special

        if isinstance(value, str) and value != "-" and not _OPEN.fullmatch(value):
            try:
                if os.path.exists(value) and stat.S_ISFIFO(os.stat(value).st_mode):
                    pipe = _open_pipe(value)
                    if ctx is not None:
                        ctx.call_on_close(pipe.close)
                    return pipe
                refuse_special(value)
            except ValueError as error:
                self.fail(f"{error}, or - for standard input", param, ctx)
        return super().convert(value, param, ctx)


def _open_pipe(path: str) -> BinaryIO:
    """Open a named pipe, after waiting at most two seconds for a program that writes to it.

    Raises:
        ValueError: no program writes to it.
    """
    import threading

    opened: list[BinaryIO] = []
    thread = threading.Thread(target=lambda: opened.append(io.BufferedReader(io.FileIO(path))), daemon=True)
    thread.start()
    thread.join(_PATIENCE_S)
    if thread.is_alive():
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))  # so that it opens
        thread.join()
        opened[0].close()
        raise ValueError(f"{path}: a pipe to which no program writes; start one that does, or give a file")
    return opened[0]


_PATIENCE_S = 2.0
_OPEN = re.compile(r"/dev/(stdin|fd/\d+)|/proc/(self|\d+)/fd/\d+")

STREAM = Stream("rb")
FILE = Ordinary(exists=True, path_type=Path)
ORDINARY = Ordinary(exists=True, dir_okay=False, path_type=Path)


class Place(click.Path):
    """A file or folder to write. An empty name, as of an unset variable, is not the current folder."""

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """The path."""
        if not os.fspath(value):
            self.fail("it is empty; give the name of a file or folder", param, ctx)
        return super().convert(value, param, ctx)


class Target(click.ParamType):  # type: ignore[type-arg]
    """A file to write; one that cannot be written is refused before the work."""

    name = "file"

    def convert(self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path, as it was given."""
        if problem := target_problem(Path(value)):
            self.fail(problem, param, ctx)
        return Path(value)


class Picture(Target):
    """A picture to draw; one that cannot be drawn is refused before the work, too."""

    def convert(self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path, as it was given."""
        from .. import plots

        try:
            plots.check(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        except ModuleNotFoundError as error:
            raise SettingError(process.missing(error)) from error
        return super().convert(value, param, ctx)


def target_problem(path: Path, *, folder: bool = False) -> str | None:
    """Why a file (or, if ``folder``, a folder to make) cannot be written, and what to do; None if it can."""
    from ..files.folder import refuse_foreign
    from ..files.ordinary import destination

    try:
        place = path if folder and path.is_dir() else destination(path)
        if folder:
            refuse_foreign(path)
    except (FileExistsError, ValueError) as error:
        return str(error)
    except OSError as error:
        return f"{path}: {error.strerror}"
    above = path if folder and path.is_dir() else place.parent
    if not above.is_dir():
        if folder:
            return None  # it is made with all that is above it
        return f"{path}: there is no folder {above}; make it first, or choose another place"
    if not os.access(above, os.W_OK | os.X_OK):
        return f"{path}: the folder {above} cannot be written to; choose another place"
    return None


dims = click.option(
    "--dims", type=click.IntRange(min=1), metavar="N", help="Use only the first N dimensions."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
plot = click.option(
    "--plot",
    type=Picture(),
    metavar="FILE",
    help="Also draw the answer to FILE: .png, .svg or .pdf.",
)


def source(command: Command) -> Command:
    """Add the file of words and vectors, and options that say how to read it, for ``open_source``."""
    for option in (
        click.option(
            "--errors",
            type=click.Choice(["strict", "replace", "ignore"]),
            default="strict",
            help="For words that are not UTF-8: refuse them, or replace or drop their bytes.",
        ),
        click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Read only the first N rows."),
        click.option(
            "--format",
            "form",
            type=click.Choice(FORMATS),
            help="Format of FILE.  [default: told by its content]",
        ),
        click.argument("file", type=FILE),
    ):
        command = option(command)
    return command


def open_source(
    file: Path, form: str | None, limit: int | None, errors: Undecodable, dims: int | None = None
) -> Vocabulary:
    """The words and vectors of FILE, wide enough for ``dims``."""
    from ..vocabulary import Vocabulary

    check_errors(file, form, errors)
    with working(f"opening {file.name}"), one_line_warnings():
        vocabulary = Vocabulary.open(file, format=form, limit=limit, errors=errors)
    with working("encoding"):
        vocabulary.index  # noqa: B018  (makes it)
    if dims is not None and dims > vocabulary.dims:
        raise click.UsageError(f"--dims is {dims}, and {file} has {vocabulary.dims} dimensions")
    return vocabulary


def check_errors(file: Path, form: str | None, errors: str) -> None:
    """Refuse --errors for a file of a format whose words are always text."""
    from .. import files

    if errors != "strict":
        name = form or files.detect(file)
        if not files.FORMATS[name].words_of_bytes:
            raise click.UsageError(f"--errors is {errors}, and words of {name} are always text; leave it out")


def words_of(arguments: Sequence[str], file: BinaryIO | None) -> list[str]:
    """The words of a file, one a line, then the arguments, without blank ones and repetitions."""
    from .decoding import decode, lines

    words: list[str] = []
    if file is not None:
        try:
            words = list(lines(decode(file.read())))
        except ValueError as error:
            raise click.UsageError(f"{file.name}: {error}") from None
        except OSError as error:
            raise click.UsageError(f"{file.name} cannot be read: {error.strerror}") from None
    return list(dict.fromkeys(filter(None, map(str.strip, (*words, *arguments)))))


def words_to_compare(arguments: Sequence[str], file: BinaryIO | None) -> list[str]:
    """The words of ``words_of``, which must be two or more."""
    words = words_of(arguments, file)
    if len(words) < 2:
        raise click.UsageError("give at least two different words", click.get_current_context())
    return words


def save_plot(path: Path, draw: Callable[[Any], Any], size: tuple[float, float]) -> None:
    """Draw on new axes and write the file."""
    from .. import plots

    with one_line_warnings():
        plots.save(path, draw, size)
