"""What a process owes the shell that started it: to answer Ctrl-C at any time, and to report lost output.

Loaded before all else, so it imports only what Python has nearly always loaded already.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import time
from contextlib import contextmanager

TYPE_CHECKING = False  # as typing's, whose import takes longer than all of this

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

FAILED, MISUSED = 1, 2
"""Exit statuses: the work failed; the call or its setting is wrong, which shows before the work."""
NOT_EXACT = SLOWER = 3
"""The exit status of an audit that found answers that are not exact, and of a comparison of benchmarks that
found something slower than allowed."""
INTERRUPTED = 130
"""The exit status that shells expect after Ctrl-C."""

_ANSWER_S = 1.0
"""The time in which a second Ctrl-C does not interrupt the code that answers the first one."""

_latest = -_ANSWER_S


def answer_interrupts() -> None:
    """Let Ctrl-C end this process at once, with one line, because no work has begun yet.

    An exception would not be enough while modules are imported: some callbacks drop it, and some C code
    replaces it. If Ctrl-C is switched off, as in the background, it stays off.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        try:
            signal.signal(signal.SIGINT, _end)
        except ValueError:
            return  # only the main thread may, and is the one that Python interrupts


def begin_work() -> None:
    """Let Ctrl-C raise ``KeyboardInterrupt`` from now on, so that half-done work is put right."""
    if signal.getsignal(signal.SIGINT) is _end:
        sys.unraisablehook = _once_more
        signal.signal(signal.SIGINT, _raise)


@contextmanager
def loading() -> Iterator[None]:
    """In the ``with`` block, Ctrl-C ends the process at once: for long imports, when nothing is half done."""
    if signal.getsignal(signal.SIGINT) is not _raise:
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _raise)


def interrupted() -> bool:
    """Whether Ctrl-C was raised in this process, even if its exception was handled or replaced."""
    return _latest > -_ANSWER_S


def end_work(status: int) -> NoReturn:
    """Exit, after everything is written or undone.

    After Ctrl-C the process ends at once, even if its threads are still compiling. Otherwise Python ends
    in its usual way, and another Ctrl-C is ignored.
    """
    if status == INTERRUPTED:
        os._exit(status)
    if signal.getsignal(signal.SIGINT) in (_end, _raise):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(status)


def _end(_number: int, _frame: Any) -> None:
    say("interrupted")
    os._exit(INTERRUPTED)


def _raise(_number: int, _frame: Any) -> None:
    global _latest
    now = time.monotonic()
    if now - _latest >= _ANSWER_S:
        _latest = now
        raise KeyboardInterrupt


def _once_more(unraisable: Any) -> None:
    """Raise a Ctrl-C again, a moment later, if it came in a callback that cannot raise."""
    global _latest
    if issubclass(unraisable.exc_type, KeyboardInterrupt) and hasattr(signal, "setitimer"):
        _latest = 0.0
        signal.signal(signal.SIGALRM, _raise)
        signal.setitimer(signal.ITIMER_REAL, 0.01)
    else:
        sys.__unraisablehook__(unraisable)


class OutputError(Exception):
    """Standard output cannot be written. It is not an OSError, which commands raise about files."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"standard output cannot be written: {cause.strerror}")
        self.unread = cause.errno == errno.EPIPE
        """Whether the reader has closed its end, as it may."""


class _Output(io.FileIO):
    """Standard output, whose failures can be told from those of other files."""

    def write(self, data: Any) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError as error:
            raise OutputError(error) from error


def guard_streams() -> None:
    """Let standard output raise ``OutputError``, and let no stream fail on a character that it cannot encode.

    A stream that was closed from outside gets the null device, so that no other file takes its number;
    writing to standard output then fails as it does for other programs.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY)
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8")
    old = sys.stdout
    buffer = getattr(old, "buffer", None)  # none between a stream of text and the file under PYTHONUNBUFFERED
    if old is None or isinstance(getattr(buffer, "raw", buffer), io.FileIO):
        if old is not None:
            old.flush()
        raw = _Output(1, "wb", closefd=False)
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding="utf-8" if old is None else old.encoding,
            line_buffering=bool(
                getattr(old, "line_buffering", False) or getattr(old, "write_through", False)
            ),
        )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A character that the terminal or pipe cannot encode is written as its code.
            stream.reconfigure(errors="backslashreplace")


def flush_output() -> None:
    """Write what is buffered; if that fails, drop it, or Python would fail once more when it exits."""
    try:
        sys.stdout.flush()
    except OutputError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise


def explanation(error: BaseException) -> tuple[str, int] | None:
    """A message and the exit status for an error of the surroundings; None for any other error."""
    if isinstance(error, OSError):
        return reason(error), FAILED
    if isinstance(error, MemoryError):
        return str(error) or "not enough memory", FAILED
    if isinstance(error, ImportError) and not (error.name or "").startswith("fastvec"):
        return missing(error), MISUSED
    return None


def reason(error: OSError) -> str:
    """The file and the reason, without the number of the error."""
    if error.filename is None or error.strerror is None:
        return error.strerror or str(error)
    return f"{os.fsdecode(error.filename)}: {error.strerror}"


def missing(error: ImportError) -> str:
    """The package that cannot be imported, and what to do."""
    if "pip install" in str(error):
        return str(error)
    return f"{error.name or 'a package'} cannot be imported: {error}; fastvec doctor says more"


def say(message: str) -> None:
    """Write one line to standard error, if there is one."""
    line = "fastvec: " + " ".join(message.split()) + "\n"
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    try:
        os.write(2, line.encode(encoding, "backslashreplace"))
    except OSError:
        return  # the stream is closed; the exit status tells
