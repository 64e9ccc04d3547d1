"""Checks of where `fastvec embed` writes: its format, what is there, other processes, and space on disk."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np

    from ..files import Format

_NO_ALLOCATION = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV}
_ZEROS = bytes(1 << 20)


def format_of_output(output: Path, keep: tuple[str, ...]) -> str:
    """The format of ``fastvec.files`` that OUT's suffix stands for.

    Raises:
        ValueError: it cannot hold texts, what made the vectors, or the columns that are to be kept.
        ModuleNotFoundError: the package that writes it is not installed.
    """
    from .. import files

    if output.name in ("", "-"):
        raise ValueError(f"OUT is {str(output)!r}: give the name of a file or folder to make")
    fitting = {name: record for name, record in files.FORMATS.items() if record.metadata}
    usual = _suffixes(fitting.values())
    try:
        name = files.by_suffix(output)
    except ValueError:
        raise ValueError(f"OUT must end in {usual}, not {output.name!r}") from None
    if name not in fitting:
        raise ValueError(
            f"OUT is {output.name!r}, {name}, which takes words without spaces and nothing that says what "
            f"made the vectors: end it in {usual}"
        )
    try:
        files.check_held(name, columns=dict.fromkeys(keep))
    except ValueError as error:
        raise ValueError(f"--keep: {error}") from error
    return name


def _suffixes(formats: Iterable[Format]) -> str:
    """The usual suffix of each format; folders have none, and come last."""
    suffixes = [record.suffixes[0] for record in formats]
    folder = ["nothing or .index (a folder)"] if "" in suffixes else []
    return ", ".join([*filter(None, suffixes), *folder])


def parts_of(output: Path, format: str) -> tuple[Path, ...]:
    """The files, or the folder, that OUT consists of."""
    from ..files import npy

    beside = (npy.WORDS, npy.METADATA) if format == "npy" else ()
    return (output, *map(output.with_suffix, beside))


def partial_of(output: Path) -> Path:
    """The file that keeps received rows until OUT is complete."""
    return output.with_name(output.name + ".partial")


def check_partial(output: Path) -> None:
    """Check that received rows are written only to a file of fastvec's, as a link could lead anywhere.

    Raises:
        ValueError: something else has its name.
    """
    partial = partial_of(output)
    if partial.is_symlink() or (partial.exists() and not partial.is_file()):
        raise ValueError(f"{partial} is not a file that fastvec has made; move it away")


def check_places(source: BinaryIO, output: Path, format: str, cache: Path | None, force: bool) -> None:
    """Check, before anything is paid for, that OUT can be written, and that nothing else is overwritten.

    Raises:
        ValueError: a place cannot be used; the message says which one and why.
    """
    from ..files import folder, npy
    from ..files.ordinary import destination, refuse_special

    if not output.parent.is_dir():
        raise ValueError(f"{output} cannot be used: there is no folder {output.parent}")
    parts, partial = parts_of(output, format), partial_of(output)
    for place in (*parts, partial, *([cache] if cache else [])):
        if _same_file(source, place):
            raise ValueError(f"{place} is INPUT itself; choose another name for OUT")
    if format == "index" and _lies_in(getattr(source, "name", None), output):
        raise ValueError(f"{output} holds INPUT itself; choose another name for OUT")
    if cache is not None and os.path.realpath(cache) in map(os.path.realpath, parts):
        raise ValueError(f"--cache is what OUT will replace: {cache}; choose another name")
    for beside in parts[1:]:
        if beside.exists() and not output.exists():
            raise ValueError(f"{beside} is there without {output.name}, so it is not replaced; move it away")
    for place in parts:
        try:
            if format == "index":
                refuse_special(place)
                folder.refuse_foreign(place)
            else:
                destination(place)
        except (OSError, ValueError) as error:  # a folder, a pipe, a device
            why = getattr(error, "strerror", None) or error
            raise ValueError(f"{place} cannot be written: {why}") from error
        if place.exists() and not force:
            raise ValueError(f"{place} is there already; --force replaces it")
    if format == "npy":
        try:
            npy.refuse_foreign(output, metadata=True)
        except FileExistsError as error:
            raise ValueError(str(error)) from error


def _lies_in(name: object, folder: Path) -> bool:
    if not isinstance(name, (str, os.PathLike)):
        return False
    return Path(os.path.realpath(folder)) in Path(os.path.realpath(name)).parents


def _same_file(source: BinaryIO, place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(source.fileno()), os.stat(place))
    except (OSError, ValueError, AttributeError):  # stdin is not a file, or the place does not exist
        return False


@contextmanager
def alone(output: Path) -> Iterator[None]:
    """Refuse to write where another process is writing, as each would overwrite the other's files."""
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
                continue  # its holder removed it after it was opened here: another file counts now
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return
        finally:
            os.close(descriptor)


def _open_lock(lock: Path) -> int:
    """Open a lock file, or make it; nothing is ever written to it."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):  # a link, a folder, a socket
            raise ValueError(f"{lock} is not a file that fastvec has made; move it away") from error
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size:
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
    """In the ``with`` block, an OSError names the file that was to be written."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error


def allocated(path: Path, shape: tuple[int, int]) -> np.memmap[Any, np.dtype[np.float32]]:
    """Make a .npy file whose space on disk is allocated, and map it into memory.

    Otherwise a full disk would end the process by a signal when a page of the map is written.
    """
    import numpy as np

    kind = np.dtype(np.float32)
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    with open(path, "xb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        _allocate(file, shape[0] * shape[1] * kind.itemsize)
    return np.lib.format.open_memmap(path, "r+")


def _allocate(file: IO[bytes], size: int) -> None:
    """Allocate ``size`` more bytes on disk for a file."""
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
