"""An Index as a folder: arrays to map into memory, labels as JSON lines, and ``index.json``.

    index.json          format, version, facts (metric, rows, dims), and of every file below
                        its bytes and SHA-256, of every array its dtype, shape and offset;
                        last the SHA-256 of all that
    3f9a11c2/           what one save wrote; index.json says which such folder counts
        vectors.npy  codes.npy  scale.npy  error.npy  norm.npy
        labels.jsonl    of a Vocabulary

A save writes a new inner folder and then replaces index.json, in one step: interrupted
anywhere, it leaves the old index or the new one. Opening reads index.json and compares
sizes; the checksums of the files are compared by ``verify``, those of labels when read.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import json_lines
from .atomic import beside, force, force_names, replacing
from .errors import FileError

Array = NDArray[Any]

FORMAT, VERSION = "fastvec index", 1
MANIFEST, LABELS = "index.json", "labels.jsonl"
AGAIN = "the folder is damaged; restore it from a copy, or save it again"
BLOCK_BYTES = 1 << 24


class Stored(NamedTuple):
    """An opened folder."""

    path: Path
    facts: dict[str, Any]
    arrays: dict[str, Array]
    labels: str | None
    """SHA-256 of the labels; None if there are none."""
    inner: Path
    files: dict[str, Any]
    """Of every file, what index.json says."""
    memory: bool
    """Whether the arrays were read, not mapped."""


def save(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Sequence[Array]],
    facts: Mapping[str, Any],
    words: Sequence[str] | None = None,
) -> None:
    """Write a folder, or replace the index in one. One save of a folder at a time.

    Each array is given in pieces that follow one another.
    """
    target = Path(path)
    if not os.path.lexists(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = beside(target)
        try:
            temporary.mkdir()
            _write(temporary, arrays, facts, words)
            temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)  # the first error is the one to see
            raise
        force_names(target.parent)
        return
    if not _is_ours(target):
        raise FileExistsError(
            f"{target} exists and is no fastvec index, so it is not replaced; choose another name"
        )
    with _only_writer(target):
        _write(target, arrays, facts, words)


def _is_ours(target: Path) -> bool:
    """Whether a folder may be replaced: an index of any version, damaged or not, or nothing at all."""
    return target.is_dir() and ((target / MANIFEST).is_file() or not any(target.iterdir()))


@contextlib.contextmanager
def _only_writer(target: Path) -> Iterator[None]:
    """Keep a second save away; the system lets go when the process ends, however it does."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    descriptor = os.open(target, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                error.errno, "another process is saving here; try again later", str(target)
            ) from error
        yield
    finally:
        os.close(descriptor)


def _write(
    target: Path, arrays: Mapping[str, Sequence[Array]], facts: Mapping[str, Any], words: Sequence[str] | None
) -> None:
    inner = target / secrets.token_hex(4)
    inner.mkdir()
    try:
        files = {f"{name}.npy": _write_array(inner / f"{name}.npy", array) for name, array in arrays.items()}
        if words is not None:
            files[LABELS] = _write_labels(inner / LABELS, words)
        force_names(inner)
        manifest = {"format": FORMAT, "version": VERSION, **facts, "folder": inner.name, "files": files}
        manifest["sha256"] = _seal(manifest)
        with replacing(target / MANIFEST) as file:
            file.write(json.dumps(manifest, indent=2).encode() + b"\n")
    except BaseException:
        shutil.rmtree(inner, ignore_errors=True)  # the first error is the one to see
        raise
    for other in target.iterdir():  # of earlier saves, finished or interrupted
        if other.is_dir() and other != inner:
            # Where files in use cannot be removed, they are left to the next save.
            shutil.rmtree(other, ignore_errors=os.name == "nt")
        elif other.name.startswith(f".{MANIFEST}."):
            other.unlink()


def _write_array(path: Path, pieces: Sequence[Array]) -> dict[str, Any]:
    little = pieces[0].dtype.newbyteorder("<")
    shape = (sum(map(len, pieces)), *pieces[0].shape[1:])
    header = io.BytesIO()
    about: Any = {"descr": little.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, about)
    digest = hashlib.sha256(header.getbuffer())
    with open(path, "wb") as file:
        file.write(header.getbuffer())
        step = max(1, BLOCK_BYTES // max(1, pieces[0][:1].nbytes))
        for piece in pieces:
            for start in range(0, len(piece), step):
                block = np.ascontiguousarray(piece[start : start + step], little).reshape(-1).view(np.uint8)
                digest.update(block)
                file.write(block.data)
        force(file)
        size = file.tell()
    layout = {"dtype": little.str, "shape": list(shape), "offset": len(header.getbuffer())}
    return {**layout, "bytes": size, "sha256": digest.hexdigest()}


def _write_labels(path: Path, words: Sequence[str]) -> dict[str, Any]:
    data = json_lines.dump(words)
    with open(path, "wb") as file:
        file.write(data)
        force(file)
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _seal(manifest: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def load(path: str | os.PathLike[str], *, memory: bool = False) -> Stored:
    """Open a folder; its arrays are mapped read-only, or read and their checksums compared."""
    target = Path(path)
    manifest = _manifest(target)
    while True:
        try:
            return _load(target, manifest, memory)
        except FileNotFoundError as error:
            # A save may have replaced the index in between.
            before, manifest = manifest, _manifest(target)
            if manifest["folder"] == before["folder"]:
                raise FileError(error.filename, f"missing; {AGAIN}") from error


def _load(target: Path, manifest: dict[str, Any], memory: bool) -> Stored:
    inner = target / manifest["folder"]
    arrays: dict[str, Array] = {}
    for name, entry in manifest["files"].items():
        file = inner / name
        size = file.stat().st_size
        if size != entry["bytes"]:
            raise FileError(file, f"{size} bytes long, not {entry['bytes']}; {AGAIN}")
        if "dtype" in entry:
            arrays[name.removesuffix(".npy")] = (_read if memory else _mapped)(file, entry)
    known = {"format", "version", "folder", "files", "sha256"}
    facts = {key: value for key, value in manifest.items() if key not in known}
    labels = manifest["files"].get(LABELS)
    return Stored(target, facts, arrays, labels and labels["sha256"], inner, manifest["files"], memory)


def _mapped(file: Path, entry: Mapping[str, Any]) -> Array:
    dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(file, dtype, "r", entry["offset"], shape).view(np.ndarray)


def _read(file: Path, entry: Mapping[str, Any]) -> Array:
    size, offset = entry["bytes"], entry["offset"]
    memory = np.empty(size + 64, np.uint8)
    data = memory[-(memory.ctypes.data + offset) % 64 :][:size]  # the array begins at a multiple of 64
    with open(file, "rb") as source:
        read = source.readinto(data.data)
    if read != size or hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise FileError(file, f"its bytes are not those that were saved; {AGAIN}")
    array: Array = data[offset:].view(entry["dtype"]).reshape(entry["shape"])
    return array


def _manifest(target: Path) -> dict[str, Any]:
    path = target / MANIFEST
    try:
        data = path.read_bytes()
    except NotADirectoryError as error:
        raise FileError(target, "a file, not the folder of a fastvec index") from error
    except FileNotFoundError as error:
        if target.is_dir():
            raise FileError(target, f"holds no {MANIFEST}, so it is no fastvec index") from error
        raise
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FileError(path, f"no JSON ({error}); {AGAIN}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise FileError(path, "written by another program; give the folder of a fastvec index")
    if manifest.get("version") != VERSION:
        raise FileError(
            path,
            f"format version {manifest.get('version')!r}, and this fastvec reads version {VERSION}; "
            "open it with the fastvec that wrote it, or save it again with this one",
        )
    if manifest.get("sha256") != _seal(manifest):
        raise FileError(path, f"its text is not what was saved; {AGAIN}")
    return manifest


def words(stored: Stored) -> tuple[str, ...]:
    """The labels, read and checked now."""
    if stored.labels is None:
        raise FileError(stored.path, "an index without words; open it as an Index")
    path = stored.inner / LABELS
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != stored.labels:
        raise FileError(path, f"its bytes are not those that were saved; {AGAIN}")
    return json_lines.load(path, data)


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
    check(load(path))


def check(stored: Stored) -> None:
    """The same for an opened folder."""
    for name, entry in stored.files.items():
        file = stored.inner / name
        try:
            with open(file, "rb") as source:
                digest = hashlib.file_digest(source, "sha256").hexdigest()
        except FileNotFoundError as error:
            raise FileError(file, "gone; the index was removed or saved again since it was opened") from error
        if digest != entry["sha256"]:
            raise FileError(file, f"its bytes are not those that were saved; {AGAIN}")
    if stored.labels is not None:
        words(stored)
