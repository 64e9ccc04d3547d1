"""What ends a command: one line on standard error, and an exit status.

    click.ClickException  1    the work failed, on what a file holds, a word, a server, the disk
    InputChanged          1    a program wrote to a file of texts while it was read
    SettingError          2    the call or its setting is wrong: a variable, a key, a package
    click.UsageError      2    an option or argument is wrong; the line names the command's --help
    Interrupted           130  Ctrl-C, where there is more to say about it

An audit that found answers that are not exact has not failed, and ends with status 3 (``process.NOT_EXACT``);
so does a comparison of benchmarks that found something slower than allowed (``process.SLOWER``).

``one_line_errors`` and ``misuse`` turn the library's exceptions into these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import click

from . import process


class SettingError(click.ClickException):
    """Something is wrong around the command: a key, a package, an environment variable."""

    exit_code = process.MISUSED


class InputChanged(click.ClickException):
    """A program has written to a file since it was checked."""


class Interrupted(click.ClickException):
    """The user has pressed Ctrl-C."""

    exit_code = process.INTERRUPTED


@contextmanager
def one_line_errors() -> Iterator[None]:
    """In the ``with`` block, faults of settings, files, words and options become errors of the command line.

    Enter it after all that needs no kernels: it loads them, and reads the FASTVEC_* variables.
    """
    micro_kernel()
    from ..errors import UnknownWordError

    try:
        yield
    except (ImportError, MemoryError, OSError) as error:
        if (explained := process.explanation(error)) is None:
            raise
        message, status = explained
        raise (SettingError if status == process.MISUSED else click.ClickException)(message) from error
    except (UnknownWordError, ValueError, RuntimeError) as error:
        kind = click.ClickException if getattr(error, "setting", None) is None else SettingError
        raise kind(str(error)) from error


@contextmanager
def misuse(why: str = "", *, typed: Mapping[str, str] | None = None) -> Iterator[None]:
    """Use it before the work begins: errors in its ``with`` block are about the call or its setting.

    Args:
        why: what the message begins with.
        typed: arguments of the library, and the options by which users type them.
    """
    try:
        yield
    except (ImportError, ValueError, RuntimeError) as error:
        message = why + (process.missing(error) if isinstance(error, ImportError) else str(error))
        for argument, option in (typed or {}).items():
            message = message.replace(argument, option)
        raise SettingError(message) from error


def micro_kernel() -> str:
    """The micro-kernel that will be used; a variable or package that stands in its way is one line."""
    with misuse(), process.loading():
        from .. import get_num_threads, machine

        get_num_threads()
        return machine.active_micro_kernel()
