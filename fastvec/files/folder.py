"""An Index as a folder: arrays to map into memory, labels as JSON lines, and ``index.json``.

    index.json          format, version, facts (metric, rows, dims); for every file below its
                        bytes and SHA-256; for every array its dtype, shape and offset; and
                        at the end the SHA-256 of all this
    3f9a11c2/           the files of one save; index.json names the folder that counts
        vectors.npy  codes.npy  scale.npy  error.npy  norm.npy
        basis.npy  pivots.npy  neighbors.npy  screen_codes.npy  screen_scale.npy  screen_tail.npy
        screen_slack.npy    only if the Index has a screen
        leading_codes.npy  leading_words.npy    only if it has leading codes
        direction.npy   only if its codes have a direction
        labels.jsonl    words of a Vocabulary, or texts; index.json says whether some may be equal
        columns.jsonl   further columns, if any: an object for each row

A save writes a new inner folder and then replaces index.json in one step, so that an interrupted save leaves
either the old index or the new one. Then it removes the inner folder that the old index.json names, and those
that the notes of a killed save name; but it removes only the files above, and anything else in a folder
stays. Opening reads index.json, and compares sizes and the arrays' headers with it. ``verify`` compares the
checksums of the files; those of labels are compared when the labels are read. Links are followed when
reading, and never when removing.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import columns, json_lines, manifest, npy
from .atomic import clear, force, force_names, is_stage, like, only_writer, put, staged
from .columns import Column
from .errors import FileError
from .manifest import AGAIN, COLUMNS, INNER, LABELS, MANIFEST
from .ordinary import Held, open_ordinary, refuse_special
from .streams import Rows

Array = NDArray[Any]

_COPIED = ("basis", "pivots", "neighbors", "direction")
"""Arrays that are read into memory in any case."""


class Stored(NamedTuple):
    """An opened folder."""

    path: Path
    facts: dict[str, Any]
    arrays: dict[str, Array]
    labels: Held | None
    """The file of the labels; None if there are none."""
    columns: Held | None
    """The file of further columns; None if there are none."""
    inner: Path
    files: dict[str, Any]
    """The entry of every file in index.json."""
    memory: bool
    """Whether the arrays were read into memory, not mapped."""


def save(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Sequence[Array]],
    facts: Mapping[str, Any],
    words: Rows[str] | None = None,
    columns: Mapping[str, Column] | None = None,
) -> None:
    """Write a folder, or replace the index in one; one save of a folder at a time.

    Each array is passed in pieces, which are concatenated.
    """
    if columns:
        facts = {**facts, "columns": list(columns)}
    content = Content(arrays, facts, words, columns or {})
    refuse_special(path)
    target = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)
    if not os.path.lexists(target):
        _save_first(target, content)
        return
    if not target.is_dir():
        raise _not_ours(target)
    with only_writer(target):
        _save_again(target, content)


class Content(NamedTuple):
    """The content of a folder to save."""

    arrays: Mapping[str, Sequence[Array]]
    facts: Mapping[str, Any]
    words: Rows[str] | None
    columns: Mapping[str, Column]


def _save_first(target: Path, content: Content) -> None:
    """Make a complete new folder, and then give it its name."""
    with _parents(target), staged(target) as made:
        inner = made / secrets.token_hex(4)
        inner.mkdir(parents=True)
        data = manifest.dump(inner.name, content.facts, _write(inner, content))
        with open(made / MANIFEST, "xb") as file:
            file.write(data)
            force(file)
        force_names(made)
        try:
            made.rename(target)
        except OSError as error:
            if not os.path.lexists(target):
                raise
            raise BlockingIOError(
                errno.EAGAIN, "another process is saving here; try again later", str(target)
            ) from error
        force_names(target.parent)


@contextmanager
def _parents(target: Path) -> Iterator[None]:
    """Make missing parent folders, and remove them again if the block fails."""
    missing = [folder for folder in target.parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # something else was put there
            for folder in missing:
                folder.rmdir()
        raise


def _save_again(target: Path, content: Content) -> None:
    """Write a new inner folder into an existing folder, and then the index.json that names it."""
    old = _named(target)
    clear(target.parent)
    clear(target, _removal(target))
    if old is None and any(target.iterdir()):
        raise _not_ours(target)
    inner = _free(target)
    notes = [inner.name] if old is None else [inner.name, old]
    with staged(target, folder=target, notes=notes, finish=_removal(target)) as made:
        made.mkdir()
        files = _write(made, content)
        data = manifest.dump(inner.name, content.facts, files)
        if old is not None:
            for name in ("", *files):
                before = target / old / name
                like(made / name, before if before.exists() else target / old / "vectors.npy")
        made.rename(inner)
        # If index.json is a link, it is replaced, not followed: it may lead to another index.
        with staged(target, folder=target) as written:
            with open(written, "xb") as file:
                file.write(data)
                force(file)
            put(written, target / MANIFEST)


def _named(target: Path) -> str | None:
    """The inner folder that counts; None without index.json; raises if index.json is not fastvec's."""
    if not os.path.lexists(target / MANIFEST):
        return None
    try:
        inner: str = manifest.read(target)["folder"]
    except FileError as error:
        raise _not_ours(target, f" ({MANIFEST}: {error.problem.partition(';')[0]})") from error
    return inner


def refuse_foreign(path: str | os.PathLike[str]) -> None:
    """Raise the FileExistsError that ``save`` would raise, before the content is made."""
    target = Path(os.path.realpath(path))
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise _not_ours(target)
    if _named(target) is None and any(not is_stage(entry) for entry in target.iterdir()):
        raise _not_ours(target)


def _not_ours(target: Path, why: str = "") -> FileExistsError:
    return FileExistsError(
        f"{target} exists and is not a fastvec index{why}, so it is not replaced; "
        "choose another name, or remove it first"
    )


def _free(target: Path) -> Path:
    while True:
        inner = target / secrets.token_hex(4)
        if not os.path.lexists(inner):
            return inner


def _removal(target: Path) -> Callable[[Sequence[str]], None]:
    """A function that removes inner folders by name, except the one that index.json names."""

    def remove(names: Sequence[str]) -> None:
        counts = _named(target)
        for name in names:
            if INNER.fullmatch(name) and name != counts:
                _remove_inner(target / name)

    return remove


def _remove_inner(inner: Path) -> None:
    """Remove the files of a save; the folder stays if anything else is in it."""
    if inner.is_symlink() or not inner.is_dir():
        return
    arrays = (
        *manifest.ARRAYS,
        *manifest.SCREEN_ARRAYS,
        *manifest.LEADING_ARRAYS,
        *manifest.DIRECTION_ARRAYS,
    )
    for name in (*(f"{name}.npy" for name in arrays), LABELS, COLUMNS):
        try:
            (inner / name).unlink(missing_ok=True)
        except PermissionError:
            if os.name != "nt":  # on Windows, a file in use cannot be removed, and stays
                raise
    try:
        inner.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _write(inner: Path, content: Content) -> dict[str, Any]:
    """Write the files of an inner folder; return their entries for index.json."""
    files = {
        f"{name}.npy": _write_array(inner / f"{name}.npy", rows) for name, rows in content.arrays.items()
    }
    if content.words is not None:
        files[LABELS] = _write_lines(inner / LABELS, json_lines.blocks_of(content.words))
    if content.columns:
        files[COLUMNS] = _write_lines(inner / COLUMNS, columns.lines(content.columns))
    force_names(inner)
    return files


def _write_array(path: Path, pieces: Sequence[Array]) -> dict[str, Any]:
    digest = hashlib.sha256()
    with open(path, "xb") as file:

        def write(data: Any) -> None:
            digest.update(data)
            file.write(data)

        header = npy.write_array(write, pieces)
        force(file)
        size = file.tell()
    layout = {"dtype": header.dtype.str, "shape": list(header.shape), "offset": header.offset}
    return {**layout, "bytes": size, "sha256": digest.hexdigest()}


def _write_lines(path: Path, blocks: Iterable[bytes]) -> dict[str, Any]:
    digest = hashlib.sha256()
    with open(path, "xb") as file:
        for lines in blocks:
            digest.update(lines)
            file.write(lines)
        force(file)
        size = file.tell()
    return {"bytes": size, "sha256": digest.hexdigest()}


def load(path: str | os.PathLike[str], *, memory: bool = False) -> Stored:
    """Open a folder; its arrays are mapped read-only, or read into memory and their checksums compared."""
    target = Path(path)
    facts = manifest.read(target)
    while True:
        try:
            return _load(target, facts, memory)
        except FileNotFoundError as error:
            # A save may have replaced the index in the meantime.
            before, facts = facts, manifest.read(target)
            if facts["folder"] == before["folder"]:
                raise FileError(error.filename, f"missing; {AGAIN}") from error


def _load(target: Path, facts: dict[str, Any], memory: bool) -> Stored:
    inner = target / facts["folder"]
    arrays: dict[str, Array] = {}
    lines: dict[str, Held] = {}
    for name, entry in facts["files"].items():
        held = Held(inner / name)
        if held.identity.size != entry["bytes"]:
            raise FileError(held.path, f"{held.identity.size} bytes long, not {entry['bytes']}; {AGAIN}")
        if name in (LABELS, COLUMNS):
            lines[name] = held
        else:
            array = name.removesuffix(".npy")
            arrays[array] = _array(held, entry, memory or array in _COPIED)
    terms: tuple[str, ...] = ("scale", "error", "norm")
    if "screen" in facts:
        terms += ("screen_scale", "screen_tail", "screen_slack")
        _check_screen(inner, arrays, facts["rows"])
    if "direction" in facts:
        _check_direction(inner, arrays["direction"])
    for name in terms:
        if arrays[name].size and not 0 <= arrays[name].min() <= arrays[name].max() < np.inf:
            raise FileError(inner / f"{name}.npy", f"holds a value below 0, NaN or inf; {AGAIN}")
    known = {"format", "version", "folder", "files", "sha256"}
    content = {name: value for name, value in facts.items() if name not in known}
    return Stored(
        target, content, arrays, lines.get(LABELS), lines.get(COLUMNS), inner, facts["files"], memory
    )


def _check_screen(inner: Path, arrays: Mapping[str, Array], rows: int) -> None:
    """Values that would lead out of an array, or make a bound fail."""
    from ..kernels import screen

    for name in ("pivots", "neighbors"):
        if arrays[name].size and not 0 <= arrays[name].min() <= arrays[name].max() < rows:
            raise FileError(inner / f"{name}.npy", f"holds a number that is not that of a row; {AGAIN}")
    if not np.isfinite(arrays["basis"]).all():
        raise FileError(inner / "basis.npy", f"holds NaN or inf; {AGAIN}")
    if arrays["basis"].any() and not screen.measured(arrays["basis"]).matrix.any():
        raise FileError(inner / "basis.npy", f"its columns are far from orthonormal; {AGAIN}")
    if "leading_words" in arrays:
        words = arrays["leading_words"]
        if ((words >> 16 >= 0x7F80) | (words & 0xFFFF >= 0x7F80)).any():
            raise FileError(inner / "leading_words.npy", f"holds a value below 0, NaN or inf; {AGAIN}")


def _check_direction(inner: Path, vector: Array) -> None:
    from ..kernels import direction

    if not direction.fits(vector):
        raise FileError(inner / "direction.npy", f"is not the mean of vectors of length 1; {AGAIN}")


def _array(held: Held, entry: Mapping[str, Any], memory: bool) -> Array:
    dtype, shape, offset = np.dtype(entry["dtype"]), tuple(entry["shape"]), entry["offset"]
    with held.file() as file:
        if npy.header(held.path, file) != (dtype, shape, False, offset):
            raise FileError(held.path, f"its header differs from what {MANIFEST} says; {AGAIN}")
        if memory:
            return _read(held.path, file, entry)
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.memmap(file, dtype, "r", offset, shape).view(np.ndarray)


def _read(path: Path, file: Any, entry: Mapping[str, Any]) -> Array:
    size, offset = entry["bytes"], entry["offset"]
    memory = np.empty(size + 64, np.uint8)
    data = memory[-(memory.ctypes.data + offset) % 64 :][:size]  # the array begins at a multiple of 64
    file.seek(0)
    read = file.readinto(data.data)
    if read != size or hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise FileError(path, f"its bytes are not those that were saved; {AGAIN}")
    array: Array = data[offset:].view(entry["dtype"]).reshape(entry["shape"])
    return array


def words(stored: Stored) -> tuple[str, ...]:
    """The labels as they were when the folder was opened, read and checked now."""
    if stored.labels is None:
        raise FileError(stored.path, "an index without words; open it as an Index")
    data = _read_lines(stored, stored.labels)
    labels = json_lines.load(stored.labels.path, data)
    if len(labels) != stored.facts["rows"]:
        raise FileError(
            stored.labels.path, f"{len(labels)} words for {stored.facts['rows']} vectors; {AGAIN}"
        )
    return labels


def columns_of(stored: Stored) -> dict[str, tuple[columns.Value, ...]]:
    """The further columns as they were when the folder was opened, read and checked now."""
    if stored.columns is None:
        return {}
    names, rows = tuple(stored.facts["columns"]), stored.facts["rows"]
    return columns.load(stored.columns.path, _read_lines(stored, stored.columns), names, rows, AGAIN)


def _read_lines(stored: Stored, held: Held) -> bytes:
    data = held.read()
    if hashlib.sha256(data).hexdigest() != stored.files[held.path.name]["sha256"]:
        raise FileError(held.path, f"its bytes are not those that were saved; {AGAIN}")
    return data


def verify(path: str | os.PathLike[str]) -> None:
    """Read every file of an Index folder and compare its checksum.

    Args:
        path: the folder.

    Raises:
        FileError: (a ValueError) names the file that differs.

    Example:
        >>> import fastvec, os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "index")
        >>> fastvec.Index([[1, 2]]).save(path)
        >>> fastvec.files.verify(path)
    """
    while True:
        stored = load(path)
        try:
            check(stored)
        except FileError:
            if manifest.read(stored.path)["folder"] == stored.inner.name:
                raise
            # The index was saved again in the meantime: verify the new one.
        else:
            return


def check(stored: Stored) -> None:
    """``verify`` for an opened folder."""
    for name, entry in stored.files.items():
        path = stored.inner / name
        try:
            with open_ordinary(path) as source:
                digest = hashlib.file_digest(source, "sha256").hexdigest()
        except FileNotFoundError as error:
            raise FileError(path, "gone; the index was removed or saved again since it was opened") from error
        if digest != entry["sha256"]:
            raise FileError(path, f"its bytes are not those that were saved; {AGAIN}")
    if stored.labels is not None:
        words(stored)
    columns_of(stored)
