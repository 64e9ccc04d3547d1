"""What ends `fastvec embed` early, in one line: what is wrong, where in the input, and what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import process
from .output import SettingError
from .text_input import Changed, TextInput

if TYPE_CHECKING:
    from ..errors import EmbeddingError


class Interrupted(click.ClickException):
    """The user has pressed Ctrl-C."""

    exit_code = process.INTERRUPTED


@contextmanager
def misuse() -> Iterator[None]:
    """Within, a ValueError is about the call or the input, and a missing package about the installation."""
    try:
        yield
    except ImportError as error:
        raise SettingError(process.missing(error)) from error
    except ValueError as error:
        raise SettingError(str(error)) from error


@contextmanager
def explained(texts: TextInput, rows_file: Path, *, offline: bool) -> Iterator[None]:
    """Say, whatever ends the work, that the rows so far are kept, and which texts have none."""
    import sqlite3

    from ..errors import EmbeddingError

    came = "made" if offline else "received"
    hint = f"; what was {came} is kept in {rows_file}; the same command goes on from there"
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted{hint}") from None
    except EmbeddingError as failure:
        # Of a damaged file SQLite raises this; of a full disk and all else, subclasses.
        if type(failure.__cause__) is sqlite3.DatabaseError:
            raise click.ClickException(str(failure)) from failure
        if failure.setting is not None:
            raise SettingError(f"{failure}{hint}") from failure
        raise click.ClickException(f"{_with_lines(failure, texts)}{hint}") from failure
    except Changed as failure:
        raise Changed(f"{failure.message}{hint}") from failure
    except OSError as failure:
        raise click.ClickException(f"{process.reason(failure)}{hint}") from failure
    except ValueError as failure:  # a width the model does not have
        raise SettingError(str(failure)) from failure


def _with_lines(failure: EmbeddingError, texts: TextInput) -> str:
    if not failure.positions:
        return str(failure)
    where = f"{texts.lines_of(frozenset(failure.positions))} of {texts.name}"
    if not failure.finished:
        return f"{where}: {failure.reason}"
    return (
        f"{len(failure.positions):,} of {len(texts):,} texts were refused, at {where}: {failure.reason}; "
        "--skip-failed leaves them out"
    )
