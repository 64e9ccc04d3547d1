"""Ordinary files: distinguishing them from pipes, devices and sockets, opening them, noticing changes.

All code of fastvec that reads or replaces a file checks it here first. A pipe, a device or a socket cannot be
mapped, measured or read twice, and would be lost if a file took its name.
"""

from __future__ import annotations

import errno
import os
import stat
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from .errors import FileError

_AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_PIECE_BYTES = 1 << 24
_SPECIAL = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def refuse_special(path: str | os.PathLike[str]) -> None:
    """Raise FileError if a path leads to a pipe, a device or a socket; anything else passes."""
    try:
        _refuse(path, os.stat(path).st_mode)
    except FileNotFoundError:
        return


def _refuse(path: str | os.PathLike[str], mode: int) -> None:
    for is_so, what in _SPECIAL:
        if is_so(mode):
            raise FileError(path, f"{what}, which is neither read nor replaced; give an ordinary file")


def open_ordinary(path: str | os.PathLike[str]) -> BufferedReader:
    """Open an ordinary file for reading, without waiting (as opening a pipe can)."""
    refuse_special(path)  # merely opening a device can have an effect
    return open(path, "rb", opener=_opened)


def _opened(path: str, flags: int) -> int:
    """The descriptor of an ordinary file; ``open`` owns it from the return on, also where a signal comes."""
    descriptor = os.open(path, flags | _AT_ONCE)
    try:
        mode = os.fstat(descriptor).st_mode
        _refuse(path, mode)
        if stat.S_ISDIR(mode):
            raise FileError(path, "a folder; give an ordinary file")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def mapping(path: str | os.PathLike[str]) -> Iterator[None]:
    """In the ``with`` block, a file is mapped: where that finds no addresses, MemoryError names the file."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        raise MemoryError(
            f"{os.fspath(path)!r} cannot be mapped: this process may use no more addresses; "
            "raise its limit (ulimit -v), or release what it does not need"
        ) from error


def destination(path: str | os.PathLike[str]) -> Path:
    """The path of the file that writing to ``path`` replaces: links are followed, as ``open`` does.

    Raises:
        FileError: if ``path`` is a pipe, a device, a socket or an open file of a process.
        IsADirectoryError: if it is a folder.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        status = None
    if status is not None:
        _refuse(path, status.st_mode)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(
                errno.EISDIR, "a folder is there; choose the name of a file", os.fspath(path)
            )
    if not os.path.islink(path):
        return Path(path)
    step = os.fspath(path)
    while os.path.islink(step):
        folder = os.path.realpath(os.path.dirname(step))
        if folder.startswith("/proc/"):  # such as /dev/stdout, which the shell sends to its file
            raise FileError(path, "a file that a process has open, which is not replaced; give its own name")
        step = os.path.join(folder, os.readlink(step))
    return Path(os.path.realpath(path))


class Identity(NamedTuple):
    """What distinguishes a file from other files, and from itself before a change."""

    device: int
    number: int
    size: int
    changed: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        """The identity of a file with this status."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class Held:
    """A file that is kept open, so that later reads see the content of the moment when it was opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_ordinary(path) as file:
            self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)
        self.identity = Identity.of(os.fstat(self._descriptor))

    @property
    def descriptor(self) -> int:
        """The system's number of the open file, as long as this object lives."""
        return self._descriptor

    def refuse_changed(self) -> None:
        """Raise FileError if the file was written to since it was opened; replacing it is allowed."""
        if Identity.of(os.fstat(self._descriptor)) != self.identity:
            raise FileError(self.path, "was written to after it was opened; open it again")

    def file(self) -> BufferedReader:
        """The file, open at its beginning, for one thread, which must close it."""
        file = os.fdopen(os.dup(self._descriptor), "rb")
        file.seek(0)
        return file

    def read_at(self, into: memoryview, place: int) -> int:
        """Read from a place on until the room is full or the file ends; return the number of bytes."""
        done = 0
        while count := os.preadv(self._descriptor, [into[done:]], place + done):
            done += count
        return done

    def ask_for(self, place: int, count: int) -> None:
        """Let the system read some bytes into its memory, without waiting for it."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, place, count, os.POSIX_FADV_WILLNEED)

    def read(self) -> bytes:
        """All bytes, as they were when the file was opened."""
        self.refuse_changed()
        data = b"".join(self._pieces())
        self.refuse_changed()
        return data

    def _pieces(self) -> Iterator[bytes]:
        if not hasattr(os, "pread"):  # Windows
            with self.file() as file:
                yield file.read()
            return
        at = 0  # pread, because copies of a descriptor share their position, and threads may read at once
        while piece := os.pread(self._descriptor, _PIECE_BYTES, at):
            at += len(piece)
            yield piece
