"""The progress of a long call, such as ``embed``: passed to a callable, or shown in one line on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .._progress import status
from .job import Job

Progress = bool | Callable[[int, int | None], object]
_EVERY_S = 0.1  # nobody reads faster


@contextmanager
def reporting(progress: Progress, job: Job) -> Iterator[Callable[[], None]]:
    """A function to call when ``job`` may have advanced; it reports only changes."""
    with shown(progress, "embedding", "texts") as show:
        yield _changes(show, job)


@contextmanager
def shown(progress: Progress, what: str, unit: str) -> Iterator[Callable[[int, int | None], object]]:
    """A function to call with what is done and how much there is, if that is known."""
    if not (isinstance(progress, bool) or callable(progress)):
        raise TypeError(f"progress must be a bool or a callable, not {type(progress).__name__}")
    if not isinstance(progress, bool):
        yield progress
    elif progress:
        with _bar(what, unit) as show:
            yield show
    else:
        yield lambda _done, _total: None


def _changes(tell: Callable[[int, int | None], object], job: Job) -> Callable[[], None]:
    told: tuple[int, int | None] = (0, job.total)

    def report() -> None:
        nonlocal told
        done, total = job.done, job.total
        if (done, total) != told:
            told = (done, total)
            tell(done, total)

    return report


@contextmanager
def _bar(what: str, unit: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar of rich if that is installed, else a plain line."""
    started = time.monotonic()
    try:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar
    except ModuleNotFoundError:
        with _plain(started, what, unit) as show:
            yield show
        return
    columns = (TextColumn(what), BarColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None)

        def show(done: int, total: int | None) -> None:
            text = status(done, total, time.monotonic() - started, unit)
            bar.update(task, completed=done, total=total, description=text)

        yield show


@contextmanager
def _plain(started: float, what: str, unit: str) -> Iterator[Callable[[int, int | None], None]]:
    """On a terminal, a line that is overwritten; elsewhere, only its last state."""
    live, last, line = sys.stderr.isatty(), 0.0, ""

    def show(done: int, total: int | None) -> None:
        nonlocal last, line
        now = time.monotonic()
        line = f"{what} {status(done, total, now - started, unit)}"
        if live and now - last >= _EVERY_S:
            last = now
            sys.stderr.write(f"\r{line:<70}")
            sys.stderr.flush()

    try:
        yield show
    finally:
        if line:
            sys.stderr.write(f"\r{line:<70}\n" if live else line + "\n")
            sys.stderr.flush()
