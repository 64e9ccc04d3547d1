"""The arrays of an Index folder: mapped into memory or read, checked, and joined to blocks.

A part is mapped by itself. If there are several, those with few rows are read into memory, where several in a
row become one block, because searches take longer over many blocks; ``memory`` makes one block of all. Rows
that stay on disk, and those of another dtype than float32, are fetched (``rows.py``). If rows stay on disk
and the process may not use enough addresses for all codes (RLIMIT_AS), these are mapped while they are used.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import npy, rows
from .errors import FileError
from .layout import CLOSED, COLUMNS, LABELS, MANIFEST, NUMBERS, SHARED
from .manifest import AGAIN, Part, State
from .ordinary import Held, mapping
from .parts import SMALL_BYTES

Array = NDArray[Any]

Read = Callable[[Path, Mapping[str, Any]], Any]

_NEEDED_BYTES = 1 << 30
"""Addresses that a search needs besides those of codes, for libraries, compiled code, stacks and rows."""
_NOT_NEGATIVE = ("scale", "error", "norm", "screen_scale", "screen_tail", "screen_slack")


class Block(NamedTuple):
    """A block of rows that was opened."""

    arrays: Mapping[str, Array]
    """Those with an entry for each row; codes have spare rows as well."""
    owned: bool
    """Whether they were read into memory."""


def held(path: Path, entry: Mapping[str, Any]) -> Held:
    """A file that has the size which index.json says."""
    file = Held(path)
    if file.identity.size != entry["bytes"]:
        raise FileError(path, f"{file.identity.size} bytes long, not {entry['bytes']}; {AGAIN}")
    return file


def blocks(target: Path, state: State, skip: int, how: str) -> tuple[Block, ...]:
    """The blocks of all parts but the first ``skip`` ones; ``how``: as in ``folder.Stored``."""
    from ..kernels import threads  # not before they are needed: what hinders kernels does not hinder files

    parts, memory = state.parts[skip:], how == "memory"
    alone = how == "disk" or (not memory and len(state.parts) == 1)
    reads: dict[str, Read] = {"vectors": _stay} if how == "disk" and rows.READS_AT else {}
    codes = sum(part.files["codes.npy"]["bytes"] for part in parts)
    if reads and codes > threads.addresses() - _NEEDED_BYTES:
        reads["codes"] = _while_used

    def group(part: Part) -> object:
        small = memory or part.rows * state.facts["dims"] * 4 < SMALL_BYTES
        return part.folder if alone or not small else None

    return tuple(
        _mapped(target, several[0], reads, on_disk=how == "disk")
        if not memory and (alone or name is not None)
        else _joined(target, several)
        for name, several in ((name, list(some)) for name, some in itertools.groupby(parts, group))
    )


def shared(target: Path, state: State) -> dict[str, Array]:
    """The arrays that all parts have in common, read into memory."""
    part = state.parts[0]
    arrays = {
        name: _alone(target / part.folder / f"{name}.npy", part.files[f"{name}.npy"])
        for name in SHARED
        if f"{name}.npy" in part.files
    }
    _check_shared(target / part.folder, arrays, part.rows)
    return arrays


def numbers(target: Path, state: State) -> NDArray[np.int64] | None:
    """The numbers of the rows; None if they are 0, 1, 2, ..., and the next is theirs."""
    starts = itertools.accumulate((part.rows for part in state.parts), initial=0)
    if state.top == state.facts["rows"] and all(
        part.first == start for part, start in zip(state.parts, starts, strict=False)
    ):
        return None
    return np.concatenate([numbers_of(target, part, state.top) for part in state.parts])


def numbers_of(target: Path, part: Part, top: int) -> NDArray[np.int64]:
    """The numbers of the rows of a part."""
    if part.first is not None:
        return np.arange(part.first, part.first + part.rows)
    path = target / part.folder / NUMBERS
    found = _alone(path, part.files[NUMBERS])
    if found.size and not 0 <= found.min() <= found.max() < top:
        raise FileError(path, f"holds a number that is not that of a row; {AGAIN}")
    return found


def mask(target: Path, state: State) -> NDArray[np.uint8]:
    """Which rows are closed, as in ``parts.Content.mask``."""
    if state.closed is None:
        return np.empty(0, np.uint8)
    path = target / state.closed.folder / CLOSED
    found = _alone(path, state.closed.entry)
    beyond = 8 * len(found) - state.facts["rows"]
    if found[-1] == 0 or (beyond > 0 and found[-1] >> (8 - beyond)):
        raise FileError(path, f"does not end with a row of the Index; {AGAIN}")
    return found


def _names(part: Part) -> Iterator[str]:
    """The names of the arrays of a part that have an entry for each row, except numbers."""
    for name in part.files:
        if name not in (LABELS, COLUMNS, NUMBERS) and (array := name.removesuffix(".npy")) not in SHARED:
            yield array


def _mapped(target: Path, part: Part, reads: Mapping[str, Read], *, on_disk: bool) -> Block:
    """A block of a part; ``reads`` says how arrays are opened that are not mapped."""
    inner = target / part.folder
    arrays: dict[str, Any] = {}
    for name in _names(part):
        read: Read = reads.get(name, _map)
        arrays[name] = read(inner / f"{name}.npy", part.files[f"{name}.npy"])
    _check(inner, arrays)
    return Block(_fetched(arrays, on_disk=on_disk), owned=False)


def _fetched(arrays: dict[str, Any], *, on_disk: bool = False) -> dict[str, Any]:
    """The arrays, with vectors that are fetched if kernels cannot read them, or are to stay on disk."""
    vectors = arrays["vectors"]
    if isinstance(vectors, np.ndarray) and (on_disk or vectors.dtype != np.float32):
        arrays["vectors"] = rows.ArrayRows(vectors)
    return arrays


def _stay(path: Path, entry: Mapping[str, Any]) -> rows.FileRows:
    return rows.FileRows(*_unread(path, entry))


def _while_used(path: Path, entry: Mapping[str, Any]) -> rows.Windows:
    return rows.Windows(*_unread(path, entry))


def _unread(path: Path, entry: Mapping[str, Any]) -> tuple[Held, int, tuple[int, int], np.dtype[Any]]:
    """The file of a matrix, with its size and header checked, and where its rows are in it."""
    _opened(path, entry).close()
    return held(path, entry), entry["offset"], tuple(entry["shape"]), np.dtype(entry["dtype"])


def _joined(target: Path, parts: Sequence[Part]) -> Block:
    """One block of several parts, read into memory."""
    count, arrays = sum(part.rows for part in parts), {}
    for name in _names(parts[0]):
        entry = parts[0].files[f"{name}.npy"]
        height, *width = entry["shape"]
        arrays[name] = _aligned((count + height - parts[0].rows, *width), np.dtype(entry["dtype"]))
    at = 0
    for part in parts:
        own = {name: array[at : at + part.rows] for name, array in arrays.items()}
        inner = target / part.folder
        for name, array in own.items():
            _read(inner / f"{name}.npy", part.files[f"{name}.npy"], array)
        _check(inner, own)
        at += part.rows
    for array in arrays.values():
        array[count:] = 0
    return Block(_fetched(arrays), owned=True)


def _aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Room that begins at a multiple of 64."""
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(size + 64, np.uint8)
    array: Array = memory[-memory.ctypes.data % 64 :][:size].view(dtype).reshape(shape)
    return array


def _map(path: Path, entry: Mapping[str, Any]) -> Array:
    dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
    with _opened(path, entry) as file:
        if 0 in shape:
            return np.empty(shape, dtype)
        with mapping(path):
            return np.memmap(file, dtype, "r", entry["offset"], shape).view(np.ndarray)


def _alone(path: Path, entry: Mapping[str, Any]) -> Array:
    array = _aligned(tuple(entry["shape"]), np.dtype(entry["dtype"]))
    _read(path, entry, array)
    return array


def _read(path: Path, entry: Mapping[str, Any], into: Array) -> None:
    """Read the first rows of an array; the checksum of its file must be right."""
    digest = hashlib.sha256()
    with _opened(path, entry) as file:
        file.seek(0)
        digest.update(file.read(entry["offset"]))
        room = into.reshape(-1).view(np.uint8)
        read = file.readinto(room.data)
        digest.update(room)
        digest.update(file.read())
    if read != room.size or digest.hexdigest() != entry["sha256"]:
        raise FileError(path, f"its bytes are not those that were saved; {AGAIN}")


def _opened(path: Path, entry: Mapping[str, Any]) -> Any:
    """The file of an array, open, with its size and header checked."""
    file = held(path, entry).file()
    try:
        if npy.header(path, file) != (
            np.dtype(entry["dtype"]),
            tuple(entry["shape"]),
            False,
            entry["offset"],
        ):
            raise FileError(path, f"its header differs from what {MANIFEST} says; {AGAIN}")
    except BaseException:
        file.close()
        raise
    return file


def _check(inner: Path, arrays: Mapping[str, Array]) -> None:
    """Values that would make a bound fail."""
    for name in _NOT_NEGATIVE:
        array = arrays.get(name)
        if array is not None and array.size and not 0 <= array.min() <= array.max() < np.inf:
            raise FileError(inner / f"{name}.npy", f"holds a value below 0, NaN or inf; {AGAIN}")
    words = arrays.get("leading_words")
    if words is not None and ((words >> 16 >= 0x7F80) | (words & 0xFFFF >= 0x7F80)).any():
        raise FileError(inner / "leading_words.npy", f"holds a value below 0, NaN or inf; {AGAIN}")


def _check_shared(inner: Path, arrays: Mapping[str, Array], count: int) -> None:
    """Values that would lead out of an array, or make a bound fail."""
    from ..kernels import direction, screen

    for name in ("pivots", "neighbors"):
        array = arrays.get(name)
        if array is not None and array.size and not 0 <= array.min() <= array.max() < count:
            raise FileError(inner / f"{name}.npy", f"holds a number that is not that of a row; {AGAIN}")
    if "basis" in arrays:
        basis = arrays["basis"]
        if not np.isfinite(basis).all():
            raise FileError(inner / "basis.npy", f"holds NaN or inf; {AGAIN}")
        if basis.any() and not screen.measured(basis).matrix.any():
            raise FileError(inner / "basis.npy", f"its columns are far from orthonormal; {AGAIN}")
    if "direction" in arrays and not direction.fits(arrays["direction"]):
        raise FileError(inner / "direction.npy", f"is not the mean of vectors of length 1; {AGAIN}")
