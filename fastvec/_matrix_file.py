"""Where `fastvec embed` writes: nothing else in the place, no other process at it, room on the disk."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np

_NO_ALLOCATION = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV}
_ZEROS = bytes(1 << 20)


def words_of(output: Path) -> Path:
    """The file of texts beside a matrix."""
    return output.with_suffix(".texts.jsonl")


def partial_of(output: Path) -> Path:
    """The file of rows received, until the matrix is complete."""
    return output.with_name(output.name + ".partial")


def check_partial(output: Path) -> None:
    """See that rows received go to no file but our own; a link could lead to any.

    Raises:
        ValueError: something else has its name.
    """
    partial = partial_of(output)
    if partial.is_symlink() or (partial.exists() and not partial.is_file()):
        raise ValueError(f"{partial} is not a file that fastvec has made; move it away")


def check_places(source: BinaryIO, output: Path, cache: Path | None, force: bool) -> None:
    """See that nothing is paid for that cannot be written, and that nothing else is written over.

    Raises:
        ValueError: what is wrong with which place.
    """
    from .files.ordinary import destination

    if not output.parent.is_dir():
        raise ValueError(f"{output} cannot be used: there is no folder {output.parent}")
    words, partial = words_of(output), partial_of(output)
    for place in (output, words, partial, *([cache] if cache else [])):
        if _same_file(source, place):
            raise ValueError(f"{place} is INPUT itself; choose another name for OUT")
    if cache is not None and os.path.realpath(cache) in map(os.path.realpath, (output, words)):
        raise ValueError(f"--cache is what OUT will replace: {cache}; choose another name")
    if words.exists() and not output.exists():
        raise ValueError(f"{words} is there without {output.name}, so it is not replaced; move it away")
    for place in (output, words):
        try:
            destination(place)
        except (OSError, ValueError) as error:  # a folder, a pipe, a device
            why = getattr(error, "strerror", None) or error
            raise ValueError(f"{place} cannot be written: {why}") from error
        if place.exists() and not force:
            raise ValueError(f"{place} is there already; --force replaces it")


def _same_file(source: BinaryIO, place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(source.fileno()), os.stat(place))
    except (OSError, ValueError, AttributeError):  # stdin may be no file at all; or there is no such place
        return False


@contextmanager
def alone(output: Path) -> Iterator[None]:
    """Refuse to write where another process does; its files would be overwritten under its hands."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows, which lets no file be replaced that is open
        yield
        return
    lock = output.with_name(partial_of(output).name + ".lock")
    while True:
        descriptor = _open_lock(lock)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"another fastvec is writing {output}") from None
            if not _has_name(descriptor, lock):
                continue  # its holder has removed it since it was opened here: another one counts
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return
        finally:
            os.close(descriptor)


def _open_lock(lock: Path) -> int:
    """A lock file, made if it is not there; nothing is ever written to one."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):  # a link, a folder, a socket
            raise ValueError(f"{lock} is not a file that fastvec has made; move it away") from error
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size:
        os.close(descriptor)
        raise ValueError(f"{lock} is not a file that fastvec has made; move it away")
    return descriptor


def _has_name(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


@contextmanager
def naming(target: Path) -> Iterator[None]:
    """Errors name what was to be written."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error


def allocated(path: Path, shape: tuple[int, int]) -> np.memmap[Any, np.dtype[np.float32]]:
    """A new .npy file, mapped into memory, with its place on the disk.

    Without it, a disk that becomes full would end the process by a signal where a page of the map is written.
    """
    import numpy as np

    kind = np.dtype(np.float32)
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    with open(path, "xb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        _allocate(file, shape[0] * shape[1] * kind.itemsize)
    return np.lib.format.open_memmap(path, "r+")


def _allocate(file: IO[bytes], size: int) -> None:
    """Give a file ``size`` more bytes, all of which have a place on the disk."""
    file.flush()
    try:
        os.posix_fallocate(file.fileno(), file.tell(), size)
    except (AttributeError, OSError) as error:  # not every system and file system has it
        if isinstance(error, OSError) and error.errno not in _NO_ALLOCATION:
            raise
        for start in range(0, size, len(_ZEROS)):
            file.write(_ZEROS[: size - start])
        file.flush()
        os.fsync(file.fileno())
