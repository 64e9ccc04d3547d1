"""What ends `fastvec embed` early, in one line: what is wrong, where in the input, and what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import process
from .failures import InputChanged, Interrupted, SettingError
from .text_input import TextInput

if TYPE_CHECKING:
    from ..errors import EmbeddingError


@contextmanager
def explained(texts: TextInput, rows_file: Path, *, offline: bool) -> Iterator[None]:
    """In the ``with`` block, an error that ends the work becomes one line, which says where rows are kept."""
    import sqlite3

    from ..errors import EmbeddingError

    came = "made" if offline else "received"
    hint = f"; what was {came} is kept in {rows_file}; the same command goes on from there"
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted{hint}") from None
    except EmbeddingError as failure:
        # SQLite raises this class for a damaged file, and subclasses for all else, such as a full disk.
        if type(failure.__cause__) is sqlite3.DatabaseError:
            raise click.ClickException(str(failure)) from failure
        if failure.setting is not None:
            raise SettingError(f"{failure}{hint}") from failure
        raise click.ClickException(f"{_with_lines(failure, texts)}{hint}") from failure
    except InputChanged as failure:
        raise InputChanged(f"{failure.message}{hint}") from failure
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
