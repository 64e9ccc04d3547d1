"""A folder of an Index that is written row by row, from more rows than memory holds.

While it is unfinished, it is beside its place under another name:

    NAME.unfinished/
        build.json      what it is built of and how; the part that is being written; the finished parts, as
                        index.json will name them
        3f9a11c2/       a part, as in ``folder.py``

A finished part is on the disk before ``build.json`` names it. So whatever ends a build, the next one of the
same source goes on behind the finished parts; only the files of the part that ``build.json`` says was being
written are removed. When the last part is finished, index.json is written, and the folder gets its name in
one step. Nothing is at that name before, and what was there is not replaced.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import folder, json_lines, manifest, npy, parts
from .atomic import begin_forcing, force, force_names, is_stage, only_writer, replacing
from .errors import FileError
from .layout import INNER, LABELS, MANIFEST, layout
from .manifest import Part, State
from .manifest_checks import MOST_BYTES
from .ordinary import Held, open_ordinary, refuse_special
from .rows import READS_AT, ArrayRows, FileRows

PROGRESS = "build.json"
FORMAT = "fastvec unfinished index"
SUFFIX = ".unfinished"
_LINES_BYTES = 1 << 20
_KEYS = {"format", "version", "about", "writing", "index"}
_BEGIN_BYTES = 1 << 24
"""Bytes of a file after which the system begins to write them to the disk."""

Array = NDArray[Any]


class Unfinished:
    """A folder that is being built, by one process at a time."""

    def __init__(self, path: Path, about: Mapping[str, Any], state: State | None) -> None:
        self.path, self.about, self.state = path, about, state
        """``state``: of the finished parts; None if there are none yet."""
        self._writing: str | None = None

    @property
    def rows(self) -> int:
        """The number of rows of the finished parts."""
        return 0 if self.state is None else int(self.state.facts["rows"])

    def part(self, facts: Mapping[str, Any], rows: int) -> PartWriter:
        """A new part for this number of rows; ``facts`` are those of the whole, as in a manifest."""
        if self._writing is None:
            name = self._free()
            self._note(None, name)
            self._writing = name
        inner = self.path / self._writing
        inner.mkdir()
        return PartWriter(inner, facts, rows, first=self.state is None)

    def finish_part(self, writer: PartWriter, facts: Mapping[str, Any]) -> None:
        """Take over a part that is complete."""
        part = writer.finished(self.rows)
        several = (part,) if self.state is None else (*self.state.parts, part)
        rows = self.rows + part.rows
        state = State({**facts, "rows": rows}, several, None, rows, several[0].folder)
        name = self._free()
        self._note(state, name)
        self.state, self._writing = state, name

    def finish(self, target: Path, facts: Mapping[str, Any]) -> None:
        """Give the folder its name; ``facts`` are added to those of the parts."""
        assert self.state is not None
        data, _ = manifest.dump(self.state._replace(facts={**self.state.facts, **facts}))
        with replacing(self.path / MANIFEST) as file:
            file.write(data)
        force_names(self.path)
        if os.path.lexists(target):
            raise _there(target)
        os.rename(self.path, target)
        force_names(target.parent)
        (target / PROGRESS).unlink()

    def vectors(self, start: int, stop: int) -> NDArray[np.float32]:
        """Rows of the finished parts."""
        assert self.state is not None
        found, base = [], 0
        for part in self.state.parts:
            low, high = max(start - base, 0), min(stop - base, part.rows)
            if low < high:
                entry = part.files["vectors.npy"]
                rows = file_rows(
                    self.path / part.folder / "vectors.npy", tuple(entry["shape"]), np.dtype(entry["dtype"])
                )
                found.append(np.asarray(rows[low:high]).astype(np.float32, copy=False))
            base += part.rows
        return np.concatenate(found)

    def drop_part(self) -> None:
        """Remove the files of the part that is being written, as ``build.json`` says; it may name a part that
        was finished when the error came."""
        record = _read(self.path)
        if record is not None:
            self._writing = record["writing"]
            if record["index"] is not None:
                self.state = manifest.checked(self.path / PROGRESS, record["index"])
        if self._writing is not None:
            folder._remove_inner(self.path / self._writing, set())

    def drop(self) -> None:
        """Remove everything."""
        self.drop_part()
        for part in () if self.state is None else self.state.parts:
            folder._remove_inner(self.path / part.folder, set())
        for name in (MANIFEST, PROGRESS):
            (self.path / name).unlink(missing_ok=True)
        with suppress(OSError):  # something else is in it
            self.path.rmdir()

    def _free(self) -> str:
        while os.path.lexists(self.path / (name := secrets.token_hex(4))):
            pass
        return name

    def _note(self, state: State | None, writing: str) -> None:
        index = None if state is None else json.loads(manifest.dump(state)[0])
        record = {
            "format": FORMAT,
            "version": 1,
            "about": self.about,
            "writing": writing,
            "index": index,
        }
        with replacing(self.path / PROGRESS) as file:
            file.write(json.dumps({**record, "sha256": _seal(record)}, indent=2).encode() + b"\n")


@contextmanager
def unfinished(target: Path, about: Mapping[str, Any]) -> Iterator[Unfinished | None]:
    """The build of a folder, begun or found; None if it is complete.

    After an error, what is finished stays for the next build, unless the error is a ValueError: then the
    source is to be mended, and everything is removed.

    Raises:
        FileExistsError: if something is at ``target``, or beside it an unfinished build of another source.
        BlockingIOError: if another process is building there.
    """
    refuse_special(target)
    if os.path.lexists(target):
        _complete(target, about)
        yield None
        return
    path = target.with_name(target.name + SUFFIX)
    with folder._parents(target):
        made = not path.exists()
        path.mkdir(exist_ok=True)
        with only_writer(path):
            if not path.exists():
                raise _there(target)
            build = _found(path, about)
            try:
                if made:
                    force_names(path.parent)
                yield build
            except OSError as error:
                build.drop_part()
                raise _kept(error, build, target) from error
            except ValueError:
                build.drop()
                raise
            except BaseException:
                build.drop_part()
                raise
            finally:
                if made and path.exists() and build.state is None:
                    build.drop()


def _kept(error: OSError, build: Unfinished, target: Path) -> OSError:
    """The error, which names the target and says what is kept."""
    if error.errno is None or isinstance(error, FileExistsError | BlockingIOError | FileError):
        return error
    kept = ""
    if build.state is not None:
        kept = f"; {build.rows:,} rows are kept in {build.path.name}, and building again goes on behind them"
    return OSError(error.errno, f"{error.strerror}{kept}", str(target))


def _there(target: Path) -> FileExistsError:
    return FileExistsError(
        f"{target} exists, and a build replaces nothing; choose another name, or remove it first"
    )


def _complete(target: Path, about: Mapping[str, Any]) -> None:
    """Finish a build of the same that was killed after its folder had got its name; else refuse."""
    record = _read(target) if target.is_dir() else None
    if record is None or record["about"] != about:
        raise _there(target)
    manifest.read(target)
    (target / PROGRESS).unlink()


def _found(path: Path, about: Mapping[str, Any]) -> Unfinished:
    record = _read(path)
    if record is None:
        if any(not is_stage(entry) for entry in path.iterdir()):
            raise FileExistsError(f"{path} exists and is not an unfinished build; move it away")
        return Unfinished(path, about, None)
    if record["about"] != about:
        differ = [name for name in about if record["about"].get(name) != about[name]]
        raise FileExistsError(
            f"{path} is an unfinished build with another {' and '.join(differ)}; "
            "finish it with the same, or remove it to begin anew"
        )
    state = None
    if record["index"] is not None:
        state = manifest.checked(path / PROGRESS, record["index"])
        for part in state.parts:
            if not parts.intact(path, part):
                raise FileError(
                    path / part.folder, "a finished part is damaged; remove the folder to begin anew"
                )
    build = Unfinished(path, about, state)
    build._writing = record["writing"]
    build.drop_part()
    (path / MANIFEST).unlink(missing_ok=True)
    return build


def _read(path: Path) -> dict[str, Any] | None:
    """What ``build.json`` says; None without one.

    Raises:
        FileError: if it is damaged, or another program's.
    """
    place = path / PROGRESS
    try:
        with open_ordinary(place) as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    try:
        record = json.loads(data)
        seal = record.pop("sha256")
        ours = record["format"] == FORMAT and record["version"] == 1 and seal == _seal(record)
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        ours = False
    ours = ours and set(record) == _KEYS and isinstance(record["about"], dict)
    inner = record["writing"] if ours else ""
    if not ours or not isinstance(inner, str) or not INNER.fullmatch(inner):
        raise FileError(place, "not what a build wrote; remove the folder to begin anew")
    found: dict[str, Any] = record
    return found


def _seal(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


class Labels:
    """The labels of all parts, some in memory at a time."""

    def __init__(self, build: Unfinished) -> None:
        assert build.state is not None
        self._path, self._parts = build.path, build.state.parts

    def __len__(self) -> int:
        return sum(part.rows for part in self._parts)

    def __iter__(self) -> Iterator[str]:
        for part in self._parts:
            path = self._path / part.folder / LABELS
            with open_ordinary(path) as file:
                while lines := file.readlines(_LINES_BYTES):
                    yield from json_lines.load(path, b"".join(lines))


class PartWriter:
    """Writes the rows of a part as they come. The number of rows is a promise that may be too large.

    ``facts``, as in a manifest, say which arrays there are; ``rows`` is the number of rows so far.
    """

    def __init__(self, inner: Path, facts: Mapping[str, Any], promised: int, *, first: bool) -> None:
        self._inner, self._promised, self._first = inner, promised, first
        self.facts, self.rows = facts, 0
        self._files: dict[str, Any] = {}
        """An ``ArrayWriter``, or a ``LinesWriter``, for each file."""

    def _layout(self, rows: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        about = self.facts["dims"], self.facts.get("screen"), self.facts.get("direction")
        return layout(rows, *about, later=not self._first, dtype=self.facts.get("dtype", "<f4"))

    def array(self, name: str, rows: Array) -> None:
        """Append to an array."""
        for step in self.steps(name, rows):
            step()

    def steps(self, name: str, rows: Array) -> list[Callable[[], None]]:
        """What together appends to an array; several threads may do it side by side."""
        file = f"{name}.npy"
        if file not in self._files:
            self._files[file] = ArrayWriter(self._inner / file, *self._layout(self._promised)[name])
        if name == "vectors":
            self.rows += len(rows)
        return self._files[file].steps(rows)  # type: ignore[no-any-return]

    def read(self, name: str) -> Array:
        """The rows of an array that were written so far."""
        rows = self._rows_of(name)
        return np.asarray(rows).reshape(len(rows), *self._layout(1)[name][1][1:])

    def vectors(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Some of the vectors that were written so far."""
        return self._rows_of("vectors").fetch(numbers)

    def _rows_of(self, name: str) -> FileRows | ArrayRows:
        dtype, shape = self._layout(self.rows)[name]
        return file_rows(self._files[f"{name}.npy"].flushed(), (self.rows, *shape[1:]), np.dtype(dtype))

    def words(self, words: Sequence[str]) -> None:
        """Append labels."""
        if LABELS not in self._files:
            self._files[LABELS] = LinesWriter(self._inner / LABELS)
        for block in json_lines.blocks_of(words):
            self._files[LABELS].write(block)

    def finished(self, first: int) -> Part:
        """The part, on the disk; the number of its first row is ``first``."""
        shapes = self._layout(self.rows)
        for name, (dtype, shape) in shapes.items():
            if name.endswith("codes"):  # a tile of the scan may reach past the last row
                self.array(name, np.zeros((shape[0] - self.rows, *shape[1:]), dtype))
        entries = {}
        for name, file in self._files.items():
            shape = shapes[name.removesuffix(".npy")][1] if isinstance(file, ArrayWriter) else ()
            entries[name] = file.finished(shape)
        force_names(self._inner)
        force_names(self._inner.parent)  # before build.json names it
        return Part(self._inner.name, self.rows, first, entries)

    def close(self) -> None:
        """Close the files, whatever is in them."""
        for file in self._files.values():
            file.close()


class LinesWriter:
    """Writes lines, and their checksum."""

    def __init__(self, path: Path) -> None:
        self._path, self._digest, self._begun = path, hashlib.sha256(), 0
        self._file = open(path, "xb+")  # noqa: SIM115 - it is open as long as the part is written

    def write(self, data: Any) -> None:
        """Append."""
        self._digest.update(data)
        self._append(data)

    def _append(self, data: Any) -> None:
        self._file.write(data)
        if self._file.tell() - self._begun >= _BEGIN_BYTES:
            begin_forcing(self._file, self._begun)
            self._begun = self._file.tell()

    def flushed(self) -> Path:
        """The file, which holds all that was written."""
        self._file.flush()
        return self._path

    def finished(self, _shape: tuple[int, ...]) -> dict[str, Any]:
        """The entry of the file, which is on the disk now."""
        force(self._file)
        size = self._file.tell()
        self._file.close()
        return {"bytes": size, "sha256": self._digest.hexdigest()}

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # what it would still write does not matter
            self._file.close()


class ArrayWriter(LinesWriter):
    """Writes rows of an array, whose header may promise too many of them until the end."""

    def __init__(self, path: Path, dtype: str, shape: tuple[int, ...]) -> None:
        super().__init__(path)
        self._dtype, self._shape = np.dtype(dtype), shape
        try:
            super().write(npy.header_bytes(self._dtype, shape))
        except BaseException:
            self.close()
            raise

    def steps(self, rows: Array) -> list[Callable[[], None]]:
        """What together appends rows: the checksum takes as long as all else."""
        data = np.ascontiguousarray(rows, self._dtype).reshape(-1).view(np.uint8).data
        return [functools.partial(self._digest.update, data), functools.partial(self._append, data)]

    def finished(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """The entry of the file, which is on the disk now, with this shape."""
        header = npy.header_bytes(self._dtype, shape)
        if shape != self._shape:
            self._file.seek(0)
            self._file.write(header)
            self._file.seek(0)
            self._digest = hashlib.file_digest(self._file, "sha256")
            self._file.seek(0, os.SEEK_END)
        entry = super().finished(shape)
        return {"dtype": self._dtype.str, "shape": list(shape), "offset": len(header), **entry}


def file_rows(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> FileRows | ArrayRows:
    """Rows of a file that a build writes; of a one-dimensional array, as rows of one value."""
    shape = (shape[0], shape[1] if len(shape) > 1 else 1)
    if READS_AT and shape[0]:
        return FileRows(Held(path), npy.HEADER_BYTES, shape, dtype)
    return ArrayRows(np.fromfile(path, dtype, shape[0] * shape[1], offset=npy.HEADER_BYTES).reshape(shape))
