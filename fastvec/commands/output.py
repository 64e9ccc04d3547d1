"""What commands print: tables, JSON, warnings, and a line of progress."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from .. import _progress

Progress = Callable[[int, int], None]


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """Print each warning of the ``with`` block as one line on standard error."""
    import warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        finally:
            for message in dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught):
                click.echo(f"fastvec: {message}", err=True)


@dataclass(frozen=True)
class Table:
    """A table to print: a title over columns, of which the first holds names."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int] = ()
    """Numbers of the columns that are aligned to the right."""


class Line:
    """The line on a terminal that says what is going on. Call it with the parts done and their number.

    Without these, it shows the share of a long call that the library reports as done.
    """

    def __init__(self, what: str, unit: str) -> None:
        self.now(what, unit)

    def now(self, what: str, unit: str = "") -> None:
        """Say that something else begins; ``unit`` names what is counted, such as "texts"."""
        self._what, self._unit, self._began = what, unit, time.monotonic()
        self._counted: tuple[int, int | None] | None = None
        self._call: tuple[float, int, float] | None = None

    def __call__(self, done: int, total: int | None) -> None:
        self._counted = done, total

    def heard(self, done: float, total: int) -> None:
        """Take what a call of the library reports: the part that is done, of a total."""
        call = self._call
        same = call is not None and total == call[1] and done >= call[0]
        began = call[2] if call is not None and same else time.monotonic()
        self._call = (done, total, began) if done < total else None

    def __str__(self) -> str:
        now, counted, call = time.monotonic(), self._counted, self._call
        if counted is not None:
            done, total = counted
            return f"{self._what}: {_progress.status(done, total, now - self._began, self._unit)}"
        if call is not None and now - call[2] >= _SHORT_S:
            return f"{self._what}: {_progress.share(call[0], call[1], now - call[2])}"
        return f"{self._what}, {_progress.duration(now - self._began)}"


_PATIENCE_S = 1.0
"""Shorter work shows no line."""
_SHORT_S = 0.5
"""The share of a shorter call is not shown."""

_line: Line | None = None
_first = float("inf")


@contextmanager
def working(what: str = "working", unit: str = "", *, calls: bool = True) -> Iterator[Line]:
    """Show a line on a terminal that says what is going on and how far it is; remove it at the end.

    Nothing is shown in the command's first second, or if standard error is not a terminal. Call the
    ``Line`` with the parts done and their number. Within another ``working``, this is a step of it.
    With ``calls=False`` the library does not report, so that measured times are not disturbed.
    """
    global _line, _first
    if _line is not None:
        outer = _line
        before = outer.__dict__.copy()
        outer.now(what, unit)
        try:
            yield outer
        finally:
            outer.__dict__.update(before)
        return
    line = Line(what, unit)
    if not is_terminal(sys.stderr):
        yield line
        return
    from ..kernels import reports

    _first = min(_first, time.monotonic())
    over = threading.Event()
    thread = threading.Thread(target=_draw, args=(line, over), name="fastvec-line", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no thread can be started: the work goes on without a line
        yield line
        return
    _line, reports.progress, reports.compiling = line, line.heard if calls else None, _say_compiling
    try:
        yield line
    finally:
        _line = reports.progress = reports.compiling = None
        over.set()
        thread.join()


def _draw(line: Line, over: threading.Event) -> None:
    if over.wait(_first + _PATIENCE_S - time.monotonic()):
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(
        get_renderable=lambda: Text(str(line), no_wrap=True, overflow="ellipsis"),
        console=Console(stderr=True),
        refresh_per_second=5,
        transient=True,
        redirect_stdout=False,
    ):
        over.wait()


_said_compiling = False


def _say_compiling(kept: bool) -> None:
    global _said_compiling
    if _said_compiling:
        return
    _said_compiling = True
    hint = "once for this version and processor" if kept else "as no cache folder can be written"
    sys.stderr.write(f"fastvec: compiling kernels, {hint}; this takes some seconds\n")
    sys.stderr.flush()


def is_terminal(stream: Any) -> bool:
    """Whether a person reads a standard stream, rather than another program."""
    return stream is not None and bool(stream.isatty())


def print_tables(tables: Sequence[Table], *, cut: bool = False) -> None:
    """Print tables with aligned columns, also where characters are wide; every row is one line.

    Nothing is cut to the width of a terminal or pipe, unless ``cut``: then the longest cells are.
    """
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    def cell(text: str, style: str = "") -> Text:
        return Text(_CONTROL.sub(" ", text), style, no_wrap=True, overflow="ellipsis")

    console = Console(width=None if cut else 1 << 20, highlight=False)
    for table in tables:
        grid = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for number, name in enumerate(table.columns):
            grid.add_column(cell(name), justify="right" if number in table.right else "left")
        for row in table.rows:
            grid.add_row(*map(cell, row))
        console.print()
        console.print(cell(table.title, "bold"), no_wrap=True, overflow="ellipsis")
        console.print(grid)


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
"""Characters that would begin a new line or control the terminal."""


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print lines for programs: values with tabs between, the names of the columns first.

    A tab, line feed, carriage return or backslash in a value is written \\t, \\n, \\r or \\\\; nothing is
    written for None. Numbers have the digits that tell every two of float32 apart.
    """
    for values in (columns, *rows):
        sys.stdout.write("\t".join(shown(value).translate(_ESCAPES) for value in values) + "\n")


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def shown(value: object) -> str:
    """A value as it is printed, for people and programs."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.9g}"
    return str(value)


def print_json(value: Any) -> None:
    """Print one JSON value; characters beyond ASCII only if the stream takes all of Unicode."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    click.echo(json.dumps(value, ensure_ascii=not unicode, indent=2))
