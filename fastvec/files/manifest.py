"""``index.json`` of an Index folder, which is checked before it is used.

Its seal, a SHA-256, reveals damage but does not prove who wrote it. So every name, size and shape is checked
as well: names must be those that ``save`` writes, and shapes must follow from rows and dims.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._checks import MAX_DIMS
from .columns import problem_of_names
from .errors import FileError
from .ordinary import open_ordinary, refuse_special

FORMAT, VERSIONS = "fastvec index", (1, 2)
"""Version 2 may have a screen and a direction; without, version 1 is written, which older versions read."""
MANIFEST, LABELS, COLUMNS = "index.json", "labels.jsonl", "columns.jsonl"
AGAIN = "the folder is damaged; restore it from a copy, or save it again"
ANEW = "restore it from a copy, or remove the folder and save again"
INNER = re.compile(r"[0-9a-f]{8}")
"""The pattern of names of inner folders."""
ALIGNMENT = 64

_MOST_BYTES = 1 << 24
_MOST_ROWS = 1 << 40
_MOST_COLUMNS = 10_000
_MOST_NEIGHBORS = 1 << 16
_MOST_LEAD = 256
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEYS = {"format", "version", "metric", "rows", "dims", "folder", "files", "sha256"}
_MORE = {"metadata", "columns", "repeated", "screen", "direction"}
_SCREEN_KEYS = {"setting", "width", "leading", "shares", "pivots", "neighbors"}


def layout(
    rows: int,
    dims: int,
    screen: Mapping[str, Any] | None = None,
    direction: Mapping[str, Any] | None = None,
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The dtype and shape of every array, by name; those of a screen or a direction only if there is one."""
    from ..kernels import encode

    lead = 0 if direction is None else direction["lead"]

    arrays: dict[str, tuple[str, tuple[int, ...]]] = {
        "vectors": ("<f4", (rows, dims)),
        "codes": ("|u1", (rows + encode.SPARE_ROWS, lead + encode.padded(dims))),
        "scale": ("<f4", (rows,)),
        "error": ("<f4", (rows,)),
        "norm": ("<f8", (rows,)),
    }
    if direction is not None:
        arrays["direction"] = ("<f4", (dims,))
    if screen is not None:
        width = screen["width"] - screen["leading"]
        arrays |= {
            "basis": ("<f4", (dims, width)),
            "pivots": ("<i8", (screen["pivots"],)),
            "neighbors": ("<i4", (screen["pivots"], screen["neighbors"])),
            "screen_codes": ("|u1", (rows + encode.SPARE_ROWS, width)),
            "screen_scale": ("<f4", (rows,)),
            "screen_tail": ("<f4", (rows,)),
            "screen_slack": ("<f4", (rows,)),
        }
        if screen["leading"]:
            arrays |= {
                "leading_codes": ("|u1", (rows + encode.SPARE_ROWS, screen["leading"])),
                "leading_words": ("<u4", (rows,)),
            }
    return arrays


ARRAYS = ("vectors", "codes", "scale", "error", "norm")
SCREEN_ARRAYS = (
    "basis",
    "pivots",
    "neighbors",
    "screen_codes",
    "screen_scale",
    "screen_tail",
    "screen_slack",
)
LEADING_ARRAYS = ("leading_codes", "leading_words")
DIRECTION_ARRAYS = ("direction",)


def dump(inner: str, facts: Mapping[str, Any], files: Mapping[str, Any]) -> bytes:
    """The bytes of ``index.json``."""
    version = VERSIONS[1] if {"screen", "direction"} & set(facts) else VERSIONS[0]
    manifest = {"format": FORMAT, "version": version, **facts, "folder": inner, "files": files}
    manifest["sha256"] = _seal(manifest)
    data = json.dumps(manifest, indent=2).encode() + b"\n"
    if len(data) > _MOST_BYTES:
        raise ValueError(f"metadata is too large: {MANIFEST} would have {len(data):,} bytes")
    return data


def read(target: Path) -> dict[str, Any]:
    """The checked content of a folder's manifest.

    Raises:
        FileError: if the manifest is missing, damaged, of another version or another program, or has
            values that are not allowed.
        FileNotFoundError: if the folder does not exist.
    """
    path = target / MANIFEST
    try:
        with open_ordinary(path) as file:
            data = file.read(_MOST_BYTES + 1)
    except NotADirectoryError as error:
        refuse_special(target)
        raise FileError(target, "a file, not the folder of a fastvec index") from error
    except FileNotFoundError as error:
        if target.is_dir():
            raise FileError(target, f"holds no {MANIFEST}, so it is not a fastvec index") from error
        raise FileNotFoundError(error.errno, error.strerror, str(target)) from error
    if len(data) > _MOST_BYTES:
        raise FileError(path, "too large to be that of a fastvec index; give the folder of one")
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FileError(path, f"not JSON ({error}); {ANEW}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise FileError(path, "written by another program; give the folder of a fastvec index")
    version = manifest.get("version")
    if type(version) is not int or version not in VERSIONS:
        raise FileError(
            path,
            f"format version {_shown(version)}, but this fastvec reads versions 1 and 2; "
            "open it with the fastvec that wrote it, or save anew with this one under another name",
        )
    if manifest.get("sha256") != _seal(manifest):
        raise FileError(path, f"its text is not what was saved; {ANEW}")
    problem = _problem(manifest)
    if problem:
        raise FileError(path, f"{problem}; {ANEW}")
    return manifest


def _seal(manifest: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _problem(manifest: dict[str, Any]) -> str:
    """A message about what is wrong with a manifest whose seal is right; empty if nothing is."""
    from ..kernels import metrics

    names = set(manifest) - _MORE
    if names != _KEYS:
        return f"it must have {sorted(_KEYS)}, and perhaps {sorted(_MORE)}, not {_shown(sorted(names))}"
    metadata, metric, inner = manifest.get("metadata", {}), manifest["metric"], manifest["folder"]
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        return "metadata must be texts by name"
    if not isinstance(metric, str) or metric not in metrics.TABLE:
        return f"metric is {_shown(metric)}, not one of {sorted(metrics.TABLE)}"
    for name, least, most in (("rows", 0, _MOST_ROWS), ("dims", 1, MAX_DIMS)):
        if not _integer(manifest[name], least, most):
            return f"{name} is {_shown(manifest[name])}, not a whole number from {least} to {most}"
    if not isinstance(inner, str) or not INNER.fullmatch(inner):
        return f"folder is {_shown(inner)}, not a name of eight hexadecimal digits"
    if manifest.get("repeated", True) is not True:
        return f"repeated is {_shown(manifest['repeated'])}; it can be true or left out"
    screen, direction = manifest.get("screen"), manifest.get("direction")
    return (
        _problem_of_screen(screen, manifest)
        or _problem_of_direction(direction, manifest)
        or _problem_of_columns(manifest)
        or _problem_of_files(manifest["files"], layout(manifest["rows"], manifest["dims"], screen, direction))
    )


def _problem_of_screen(screen: Any, manifest: Mapping[str, Any]) -> str:
    """A message about what is wrong with the facts of a screen."""
    if screen is None:
        return "screen is null; it must be an object, or left out" if "screen" in manifest else ""
    if manifest["version"] != VERSIONS[1]:
        return f"version {manifest['version']} cannot have a screen"
    if not isinstance(screen, dict) or set(screen) != _SCREEN_KEYS:
        return f"screen must have {sorted(_SCREEN_KEYS)}"
    setting, leading, shares = screen["setting"], screen["leading"], screen["shares"]
    if not _integer(screen["width"], ALIGNMENT, manifest["dims"]) or screen["width"] % ALIGNMENT:
        return f"width of screen is {_shown(screen['width'])}, not a multiple of {ALIGNMENT} up to dims"
    if setting != "auto" and (type(setting) is not int or setting != screen["width"]):
        return f'setting of screen is {_shown(setting)}, not "auto" or its width'
    if type(leading) is not int or leading not in (0, ALIGNMENT) or leading >= screen["width"]:
        return f"leading of screen is {_shown(leading)}, not 0, or {ALIGNMENT} and less than its width"
    if not isinstance(shares, list) or len(shares) != 2 or not all(map(_share, shares)):
        return f"shares of screen is {_shown(shares)}, not two numbers from 0 to 1"
    for name, least, most in (("pivots", 0, manifest["rows"]), ("neighbors", 1, _MOST_NEIGHBORS)):
        if not _integer(screen[name], least, most):
            return f"{name} of screen is {_shown(screen[name])}, not a whole number from {least} to {most}"
    return ""


def _problem_of_direction(direction: Any, manifest: Mapping[str, Any]) -> str:
    """A message about what is wrong with the facts of a direction."""
    if direction is None:
        return "direction is null; it must be an object, or left out" if "direction" in manifest else ""
    if manifest["version"] != VERSIONS[1]:
        return f"version {manifest['version']} cannot have a direction"
    if not isinstance(direction, dict) or set(direction) != {"lead"}:
        return "direction must have ['lead']"
    lead = direction["lead"]
    if not _integer(lead, ALIGNMENT, _MOST_LEAD) or lead % ALIGNMENT:
        return f"lead of direction is {_shown(lead)}, not a multiple of {ALIGNMENT} up to {_MOST_LEAD}"
    return ""


def _problem_of_columns(manifest: dict[str, Any]) -> str:
    """A message about what is wrong with the names of columns, whose values are in a separate file."""
    columns, files = manifest.get("columns"), manifest["files"]
    if (columns is not None) != (isinstance(files, dict) and COLUMNS in files):
        return f"columns and {COLUMNS} must both be there, or neither"
    if columns is None:
        return ""
    if not isinstance(columns, list) or not 0 < len(columns) <= _MOST_COLUMNS:
        return f"columns is {_shown(columns)}, not a list of names, at most {_MOST_COLUMNS:,}"
    return problem_of_names(columns)


def _problem_of_files(files: Any, arrays: Mapping[str, tuple[str, tuple[int, ...]]]) -> str:
    needed = {f"{name}.npy" for name in arrays}
    if not isinstance(files, dict) or set(files) - {LABELS, COLUMNS} != needed:
        return f"files must be {sorted(needed)}, and perhaps {LABELS} and {COLUMNS}"
    for name, entry in files.items():
        keys = {"bytes", "sha256"} | ({"dtype", "shape", "offset"} if name in needed else set())
        if not isinstance(entry, dict) or set(entry) != keys:
            return f"{name} must have {sorted(keys)}"
        if not isinstance(entry["sha256"], str) or not _SHA256.fullmatch(entry["sha256"]):
            return f"sha256 of {name} is {_shown(entry['sha256'])}"
        if not _integer(entry["bytes"], 0, 1 << 62):
            return f"bytes of {name} is {_shown(entry['bytes'])}, not a size"
        if name in needed:
            dtype, shape = arrays[name.removesuffix(".npy")]
            if problem := _problem_of_array(name, entry, dtype, shape):
                return problem
    return ""


def _problem_of_array(name: str, entry: Mapping[str, Any], dtype: str, shape: tuple[int, ...]) -> str:
    if entry["dtype"] != dtype:
        return f"dtype of {name} is {_shown(entry['dtype'])}, not {dtype}"
    stated = entry["shape"]
    if not isinstance(stated, list) or any(type(n) is not int for n in stated) or tuple(stated) != shape:
        return f"shape of {name} is {_shown(stated)}, not {list(shape)}, as rows and dims say"
    offset, size = entry["offset"], int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
    if not _integer(offset, ALIGNMENT, 1 << 16) or offset % ALIGNMENT:
        return f"offset of {name} is {_shown(offset)}, not a multiple of {ALIGNMENT}"
    if entry["bytes"] != offset + size:
        return f"bytes of {name} is {entry['bytes']}, but its array needs {offset + size}"
    return ""


def _share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _integer(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _shown(value: Any) -> str:
    """A value as JSON, short, on one line."""
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
