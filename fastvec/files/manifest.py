"""``index.json`` of an Index folder, which is checked before it is used.

Its seal, a SHA-256, reveals damage but does not prove who wrote it. So every name, size and shape is checked
as well (``manifest_checks.py``): names must be those that ``save`` writes, and shapes must follow from rows
and dims.

Version 3 lists parts; a part is what one save added. Versions 1 and 2 know a single part, whose folder and
files they name at the top; version 2 may have a screen and a direction. An Index that fits into version 1 or
2 is written so, because older versions of fastvec read it. Version 4 is version 3 with vectors of another
dtype than float32, ``dtype``, whose values float32 holds exactly.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .errors import FileError
from .layout import MANIFEST
from .manifest_checks import MOST_BYTES, VERSIONS, problem_of, shown
from .ordinary import open_ordinary, refuse_special

FORMAT = "fastvec index"
AGAIN = "the folder is damaged; restore it from a copy, or remove it and save again"
ANEW = "restore it from a copy, or remove the folder and save again"
_OUTER = {"format", "version", "sha256", "folder", "files", "parts", "closed", "top", "origin"}


class Part(NamedTuple):
    """Rows that were saved together."""

    folder: str
    """The name of the inner folder that holds its files."""
    rows: int
    first: int | None
    """The number of its first row, from which numbers rise by one; None: they are in ``numbers.npy``."""
    files: Mapping[str, Any]
    """The bytes and the SHA-256 of every file, and the dtype, shape and offset of every array, by name."""


class Closed(NamedTuple):
    """The file that says which rows are closed."""

    folder: str
    entry: Mapping[str, Any]


class State(NamedTuple):
    """What a folder holds at one moment, as its index.json says."""

    facts: Mapping[str, Any]
    """Metric, rows, dims, and perhaps metadata, columns, repeated, dtype, screen and direction."""
    parts: tuple[Part, ...]
    closed: Closed | None
    """None if no row is closed."""
    top: int
    """The number that the next row gets."""
    origin: str
    """The first inner folder of the Index, which tells its later states from those of another Index."""
    seal: str = ""

    def files(self) -> dict[str, set[str]]:
        """The names of the files in every inner folder."""
        names = {part.folder: set(part.files) for part in self.parts}
        if self.closed is not None:
            names.setdefault(self.closed.folder, set()).add("closed.npy")
        return names


def dump(state: State) -> tuple[bytes, str]:
    """The bytes of ``index.json``, and its seal."""
    (part, *more), manifest = state.parts, {"format": FORMAT, "version": VERSIONS[0], **state.facts}
    plain = state.closed is None and (part.first, state.top) == (0, part.rows)
    narrow = "dtype" in state.facts
    if plain and not more and not narrow and state.origin == part.folder:
        if {"screen", "direction"} & set(state.facts):
            manifest["version"] = VERSIONS[1]
        manifest |= {"folder": part.folder, "files": part.files}
    else:
        version = VERSIONS[3 if narrow else 2]
        manifest |= {"version": version, "origin": state.origin, "top": state.top}
        if state.closed is not None:
            manifest["closed"] = {"folder": state.closed.folder, **state.closed.entry}
        manifest["parts"] = [
            {name: value for name, value in part._asdict().items() if value is not None}
            for part in state.parts
        ]
    seal = manifest["sha256"] = _seal(manifest)
    data = json.dumps(manifest, indent=2).encode() + b"\n"
    if len(data) > MOST_BYTES:
        raise ValueError(f"metadata is too large: {MANIFEST} would have {len(data):,} bytes")
    return data, seal


def read(target: Path) -> State:
    """The checked content of a folder's manifest.

    Raises:
        FileError: if the manifest is missing, damaged, of another version or another program, or has
            values that are not allowed.
        FileNotFoundError: if the folder does not exist.
    """
    path = target / MANIFEST
    try:
        with open_ordinary(path) as file:
            data = file.read(MOST_BYTES + 1)
    except NotADirectoryError as error:
        refuse_special(target)
        raise FileError(target, "a file, not the folder of a fastvec index") from error
    except FileNotFoundError as error:
        if target.is_dir():
            raise FileError(target, f"holds no {MANIFEST}, so it is not a fastvec index") from error
        raise FileNotFoundError(error.errno, error.strerror, str(target)) from error
    if len(data) > MOST_BYTES:
        raise FileError(path, "too large to be that of a fastvec index; give the folder of one")
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FileError(path, f"not JSON ({error}); {ANEW}") from error
    return checked(path, manifest)


def checked(path: Path, manifest: Any) -> State:
    """The state that a manifest describes, read as JSON from ``path``.

    Raises:
        FileError: as ``read`` does.
    """
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise FileError(path, "written by another program; give the folder of a fastvec index")
    version = manifest.get("version")
    if type(version) is not int or version not in VERSIONS:
        raise FileError(
            path,
            f"format version {shown(version)}, but this fastvec reads versions 1 to 4; "
            "open it with the fastvec that wrote it, or save anew with this one under another name",
        )
    try:
        seal = _seal(manifest)
    except RecursionError:  # it is nested more deeply than what is saved
        seal = None
    if seal is None or manifest.get("sha256") != seal:
        raise FileError(path, f"its text is not what was saved; {ANEW}")
    problem = problem_of(manifest)
    if problem:
        raise FileError(path, f"{problem}; {ANEW}")
    return _state(manifest)


def _state(manifest: Mapping[str, Any]) -> State:
    facts = {name: value for name, value in manifest.items() if name not in _OUTER}
    seal = manifest["sha256"]
    if manifest["version"] in VERSIONS[:2]:
        inner, rows = manifest["folder"], manifest["rows"]
        return State(facts, (Part(inner, rows, 0, manifest["files"]),), None, rows, inner, seal)
    parts = tuple(
        Part(one["folder"], one["rows"], one.get("first"), one["files"]) for one in manifest["parts"]
    )
    closed = None
    if "closed" in manifest:
        entry = dict(manifest["closed"])
        closed = Closed(entry.pop("folder"), entry)
    return State(facts, parts, closed, manifest["top"], manifest["origin"], seal)


def _seal(manifest: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
