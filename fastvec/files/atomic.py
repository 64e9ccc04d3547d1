"""Writing that leaves either the old file or the new one, whenever it is interrupted.

A new file is made in a *stage*, a separate folder beside the target. It is forced to the disk, and then takes
the target's name in one step:

    .fastvec-5f0c…/     readable by its owner only
        made-by-fastvec     marks the stage as fastvec's, and holds notes; locked while the writer lives
        data                the file or folder that will take the target's name

If a writer was killed, the next write into the same folder removes its stage. The marker shows that the stage
is fastvec's, and the free lock that no process uses it, so nothing else is ever removed. Notes name what a
write leaves beside its stage for a while; only code that can tell whether it is still needed removes that.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote_to_bytes

from .ordinary import destination, open_ordinary

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

MARKER, DATA = "made-by-fastvec", "data"
_MARK = b"fastvec makes a file here; the next write beside it removes what a killed one left\n"
_NAME = re.compile(r"\.fastvec-[0-9a-f]{16}")
_NO_LOCKS = {errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_LONGEST_MARK = 1 << 12
_ATTEMPTS = 100
_WAITS, _WAIT_S = 200, 0.005


@contextmanager
def replacing(target: Path) -> Iterator[IO[bytes]]:
    """A binary file to write, which becomes ``target`` if the block ends without an exception.

    A link stays, and its target is replaced. The new file gets the permissions of the old one, and its owner
    if that is allowed.
    """
    place = destination(target)
    with staged(place) as data:
        with open(data, "xb") as file:
            yield file
            force(file)
        put(data, place)


@contextmanager
def replacing_together(
    main: Path, others: Sequence[Path], gone: Sequence[Path] = ()
) -> Iterator[tuple[Path, ...]]:
    """Paths at which to make a file and its companions, which replace the old ones if the block succeeds.

    ``gone`` names old companions that are to be removed.

    Several files cannot be replaced in one step. So for a moment all but the main file are missing: the first
    companion is removed first and put in place last. If it exists, all files exist and belong together; if it
    is missing, readers notice. A kill never leaves a file beside companions of another. Before that moment,
    every stage notes to which main file its companion belongs: after a kill, ``left_over`` finds it there,
    and ``put_back`` puts it back.
    """
    place, *beside = (destination(path) for path in (main, *others))
    leaving = [*beside, *map(destination, gone)]
    _need_folder(place.parent, place)
    with ExitStack() as stack:
        # The main file is last: an error without a name is attributed to it, because it needs the most room.
        asides = [stack.enter_context(staged(path)) for path in leaving]
        *made, new = [stack.enter_context(staged(path)) for path in (*beside, place)]
        yield (new, *made)
        for data in (new, *made):
            with open(data, "rb+") as file:
                force(file)
        replaced = list(zip(made, beside, strict=True))
        with only_writer(place.parent, wait=True):
            for data, path in replaced:
                like(data, path if path.exists() else place)  # while the old file still exists
            _note_owner(
                place, [pair for pair in zip(asides, leaving, strict=True) if pair[1].exists()], place
            )
            _note_owner(new, replaced, place)
            with _whole_on_errors(place, list(zip(asides, leaving, strict=True)), replaced):
                for aside, path in zip(asides, leaving, strict=True):
                    with suppress(FileNotFoundError):
                        os.replace(path, aside)
                    force_names(path.parent)
                put(new, place)
                for data, path in reversed(replaced):
                    put(data, path)


Moves = Sequence[tuple[Path, Path]]
"""Data of stages, and the places that they come from or go to."""


@contextmanager
def _whole_on_errors(main: Path, aside: Moves, made: Moves) -> Iterator[None]:
    """If the block fails, put back what was moved aside; or, with a new main file, what belongs to that."""
    before = _number(main)
    try:
        yield
    except BaseException:
        for data, place in reversed(aside if _number(main) == before else made):
            with suppress(FileNotFoundError):
                os.replace(data, place)
        raise


def _note_owner(main: Path, companions: Moves, place: Path) -> None:
    """Note that companions in stages belong to a main file, which has or gets its ``place``; on the disk."""
    if not companions or not main.exists():
        return
    for data, path in companions:
        with open(data.with_name(MARKER), "ab") as marker:
            marker.write(_note(main, data.parent.name, place, path) + b"\n")
            force(marker)
        force_names(data.parent)
    force_names(place.parent)


def _note(main: Path, stage: str, place: Path, companion: Path) -> bytes:
    """A note that a stage holds a companion of a main file, as that is now."""
    names = (quote(os.fsencode(path.name)) for path in (place, companion))
    return " ".join([_owner(main), stage, *names]).encode("ascii")


def _owner(main: Path) -> str:
    status = os.stat(main)
    return f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"


def left_over(companion: Path, main: Path) -> Path | None:
    """Where a write that was killed left the missing companion of a main file; None if nowhere."""
    companion, main = (Path(os.path.realpath(path)) for path in (companion, main))
    with suppress(OSError):  # a folder may forbid listing, or the main file be gone
        for name in filter(_NAME.fullmatch, os.listdir(companion.parent)):
            data, wanted = companion.parent / name / DATA, _note(main, name, main, companion)
            with suppress(OSError), open_ordinary(data.with_name(MARKER)) as marker:
                mark = marker.read(_LONGEST_MARK)
                if mark.startswith(_MARK) and wanted in mark.splitlines() and data.is_file():
                    return data
    return None


def put_back(path: Path) -> None:
    """Put companions back that killed writes left in the folder of a path, if they are missing.

    The stages of other notes stay.
    """
    folder = destination(path).parent

    def finish(notes: Sequence[str]) -> None:
        for note in notes:
            fields = note.split(" ")
            if len(fields) != 4:
                raise OSError(errno.EINVAL, "not a note of companions")
            owner, stage = fields[:2]
            names = (os.fsdecode(unquote_to_bytes(field)) for field in fields[2:])
            main, companion = (folder / Path(name).name for name in names)
            if main.exists() and _owner(main) == owner and not os.path.lexists(companion):
                with suppress(FileNotFoundError):
                    os.replace(folder / stage / DATA, companion)
                force_names(folder)

    if folder.is_dir():
        clear(folder, finish)


def _number(path: Path) -> tuple[int, int] | None:
    """Numbers that identify an existing file; None if it does not exist."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def staged(
    target: Path,
    *,
    folder: Path | None = None,
    notes: Sequence[str] = (),
    finish: Callable[[Sequence[str]], None] | None = None,
) -> Iterator[Path]:
    """A free path beside ``target`` or in ``folder``; what is still there when the block ends is removed.

    Errors name the target. ``finish`` is called with the notes when the block ends; after a kill, the next
    ``clear`` calls its own ``finish`` with them.
    """
    folder = folder or target.parent
    _need_folder(folder, target)
    clear(folder)
    with ExitStack() as stack:
        stack.enter_context(naming(target))
        stage, lock = _make(folder, notes)
        stack.callback(_end, stage, lock, notes, finish)
        yield stage / DATA


def _end(
    stage: Path, lock: FileIO, notes: Sequence[str], finish: Callable[[Sequence[str]], None] | None
) -> None:
    """Finish what the notes name, then remove the stage; if interrupted, the next ``clear`` does it."""
    try:
        if finish is not None:
            finish(notes)
    except BaseException:
        lock.close()
        raise
    _remove(stage, lock)


def _need_folder(folder: Path, target: Path) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the folder for it does not exist; make it first", str(target))


def put(made: Path, place: Path) -> None:
    """Move a new file to its place in one step, with the permissions of the file that it replaces."""
    like(made, place)
    os.replace(made, place)
    force_names(place.parent)


def force(file: IO[bytes]) -> None:
    """Force what was written to the disk, so that it survives a power failure."""
    file.flush()
    os.fsync(file.fileno())


def begin_forcing(file: IO[bytes], start: int) -> None:
    """Let the system begin to write what a file has from byte ``start`` on to the disk, without waiting.

    It would wait for long otherwise, and ``force`` then for all of it.
    """
    file.flush()
    if hasattr(os, "posix_fadvise"):  # the one call that does it; pages not yet written stay
        os.posix_fadvise(file.fileno(), start, file.tell() - start, os.POSIX_FADV_DONTNEED)


def force_names(folder: Path) -> None:
    """Force new, changed and removed names in a folder to the disk."""
    if os.name == "nt":  # folders cannot be opened there, and renames are durable anyway
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def only_writer(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep other writers out of a folder, or raise BlockingIOError; the lock ends with the process."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise BlockingIOError(
                error.errno, "another process is saving here; try again later", str(folder)
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:  # some network file systems cannot lock folders
                raise
        try:
            yield
        finally:
            with suppress(OSError):  # otherwise a child forked in the meantime would keep the lock
                fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def await_writer(folder: Path) -> None:
    """Wait up to a second if a writer in this folder has replaced only some of several related files."""
    if fcntl is None:
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may not be listed can have files that may be read
        return
    try:
        for _ in range(_WAITS):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_WAIT_S)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                return
            else:
                return
    finally:
        os.close(descriptor)


def is_stage(path: Path) -> bool:
    """Whether a path has the name of a stage, which the next write may remove."""
    return _NAME.fullmatch(path.name) is not None


def clear(folder: Path, finish: Callable[[Sequence[str]], None] | None = None) -> None:
    """Remove the stages in a folder whose writers are dead; those with notes only if ``finish`` is given."""
    if fcntl is None:
        return
    with suppress(PermissionError), os.scandir(folder) as entries:  # a folder may forbid listing
        for name in [entry.name for entry in entries if _NAME.fullmatch(entry.name)]:
            # A stage that is gone, in use or cannot be removed is left to the next write.
            with suppress(OSError):
                _clear(folder / name, finish)


def _clear(stage: Path, finish: Callable[[Sequence[str]], None] | None) -> None:
    status = os.lstat(stage)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        return
    names = set(os.listdir(stage))
    if not names:
        os.rmdir(stage)  # if its writer lives, it makes another
        return
    if MARKER not in names or not names <= {MARKER, DATA}:
        return
    with FileIO(os.open(stage / MARKER, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK), "rb+") as lock:
        if not stat.S_ISREG(os.fstat(lock.fileno()).st_mode):
            return
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mark = lock.read(_LONGEST_MARK)
        if not mark.startswith(_MARK) and (mark or names != {MARKER}):
            return
        notes = mark[len(_MARK) :].decode("ascii").splitlines()
        if notes:
            if finish is None:
                return
            finish(notes)
        _remove(stage, lock)


def _make(folder: Path, notes: Sequence[str]) -> tuple[Path, FileIO]:
    """Make a stage; return it and its marker, open and locked."""
    for _ in range(_ATTEMPTS):
        stage = folder / f".fastvec-{secrets.token_hex(8)}"
        stage.mkdir(mode=0o700)
        try:
            lock = FileIO(stage / MARKER, "xb+")
        except FileNotFoundError:  # another writer removed the empty folder as a dead writer's
            continue
        except BaseException:
            with suppress(OSError):  # the marker may exist already; then the next write removes both
                stage.rmdir()
            raise
        try:
            if _locked(lock, stage / MARKER):
                lock.write(_MARK + "".join(f"{note}\n" for note in notes).encode("ascii"))
                return stage, lock
        except BaseException:
            _remove(stage, lock)
            raise
        lock.close()
    raise BlockingIOError(errno.EAGAIN, "other processes remove new files here; try again", str(folder))


def _locked(lock: FileIO, marker: Path) -> bool:
    """Whether the marker is locked and still has its name, so that no other writer removes the stage."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    try:
        return os.path.samestat(os.fstat(lock.fileno()), os.lstat(marker))
    except FileNotFoundError:
        return False


def _remove(stage: Path, lock: FileIO) -> None:
    """Remove a stage, its marker last, so that the next write can finish an interrupted removal."""
    data = stage / DATA
    try:
        if data.is_dir() and not data.is_symlink():
            shutil.rmtree(data)
        else:
            data.unlink(missing_ok=True)
    finally:
        lock.close()  # first, because some file systems keep an open file in its folder
    with suppress(FileNotFoundError):  # another writer has just removed it
        (stage / MARKER).unlink()
        stage.rmdir()


def like(made: Path, place: Path) -> None:
    """Give a new file the owner and the permissions of the one it will replace."""
    try:
        old, new = os.stat(place), os.stat(made)
    except FileNotFoundError:
        return
    if os.name == "posix":
        for owner, group in ((old.st_uid, old.st_gid), (-1, old.st_gid)):
            if (new.st_uid, new.st_gid) == (owner, group):
                break
            with suppress(PermissionError):  # only a privileged process can give files away
                os.chown(made, owner, group)
                break
    mode = stat.S_IMODE(old.st_mode)
    os.chmod(
        made, mode if stat.S_ISDIR(old.st_mode) else mode & 0o777
    )  # no set-user-id bits: it is data, not a program


@contextmanager
def naming(target: Path) -> Iterator[None]:
    """Make errors about the stage, and those that name nothing, name the target."""
    try:
        yield
    except OSError as error:
        name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
        ours = _NAME.search(name) if name else error.errno in _NO_ROOM
        if not ours:
            raise
        raise OSError(error.errno, error.strerror, str(target)) from error
