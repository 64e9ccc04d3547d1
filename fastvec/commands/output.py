"""What commands print: tables, JSON, a line of progress, and errors that say what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from . import process

Progress = Callable[[int, int], None]


class SettingError(click.ClickException):
    """Something is wrong around the command: a key, a package, an environment variable."""

    exit_code = 2


@contextmanager
def one_line_errors() -> Iterator[None]:
    """What settings, files, words and options do wrong, as errors of the command line.

    It begins where all is said that needs no kernels: they are loaded, and FASTVEC_* variables read.
    """
    micro_kernel()
    from ..errors import UnknownWordError

    try:
        yield
    except ImportError as error:
        raise SettingError(process.missing(error)) from error
    except MemoryError as error:
        raise click.ClickException(str(error) or "not enough memory") from error
    except OSError as error:
        raise click.ClickException(process.reason(error)) from error
    except (UnknownWordError, ValueError, RuntimeError) as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """What is warned of within, as a line each."""
    import warnings

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        finally:
            for message in dict.fromkeys(" ".join(str(warning.message).split()) for warning in said):
                click.echo(f"fastvec: {message}", err=True)


def micro_kernel() -> str:
    """The micro-kernel that will be used; a variable or package that stands in its way is one line."""
    try:
        with process.loading():
            from .. import get_num_threads, machine

            get_num_threads()
            return machine.active_micro_kernel()
    except ImportError as error:
        raise SettingError(process.missing(error)) from error
    except (ValueError, RuntimeError) as error:
        raise SettingError(str(error)) from error


@dataclass(frozen=True)
class Table:
    """What is printed: a title over columns, the first of them names."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int] = ()
    """Columns of numbers, which end at the same place."""


@contextmanager
def working(what: str = "working (the first run also compiles, for some seconds)") -> Iterator[Progress]:
    """On a terminal, a line that says what is going on, gone when it is over.

    What it gives is to be called with the parts done and their number.
    """
    from rich.console import Console

    with Console(stderr=True).status(what) as line:
        yield lambda done, total: line.update(f"{what}: {done:,} of {total:,}")


def print_tables(tables: Sequence[Table]) -> None:
    """Columns in line, wide characters included; nothing is cut to the width of a terminal or pipe."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(width=1 << 20, highlight=False)
    for table in tables:
        grid = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for number, name in enumerate(table.columns):
            grid.add_column(Text(name), justify="right" if number in table.right else "left")
        for row in table.rows:
            grid.add_row(*map(Text, row))
        console.print()
        console.print(Text(table.title, style="bold"))
        console.print(grid)


def print_json(value: Any) -> None:
    """One JSON value; beyond ASCII only where the stream takes all of Unicode."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    click.echo(json.dumps(value, ensure_ascii=not unicode, indent=2))
