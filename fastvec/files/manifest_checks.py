"""What may be wrong with a manifest whose seal is right."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._checks import MAX_DIMS
from .columns import problem_of_names
from .layout import CLOSED, COLUMNS, INNER, LABELS, NUMBERS, layout

VERSIONS = (1, 2, 3, 4)
DTYPES = ("<f2",)
"""Of vectors, other than float32."""
MOST_BYTES = 1 << 24
"""Of a manifest."""
ALIGNMENT = 64

_MOST_ROWS = 1 << 40
_MOST_PARTS = 256
_MOST_COLUMNS = 10_000
_MOST_NEIGHBORS = 1 << 16
_MOST_LEAD = 256
_SHA256 = re.compile(r"[0-9a-f]{64}")
_OF_ALL = {"format", "version", "metric", "rows", "dims", "sha256"}
_IN_PARTS = {"parts", "top", "origin"}
_KEYS = {1: {"folder", "files"}, 2: {"folder", "files"}, 3: _IN_PARTS, 4: _IN_PARTS | {"dtype"}}
_MORE = {"metadata", "columns", "repeated", "screen", "direction"}
_PART_KEYS = {"folder", "rows", "files"}
_FILE_KEYS, _ARRAY_KEYS = {"bytes", "sha256"}, {"dtype", "shape", "offset"}
_SCREEN_KEYS = {"setting", "width", "leading", "shares", "pivots", "neighbors"}


def problem_of(manifest: dict[str, Any]) -> str:
    """A message about what is wrong; empty if nothing is."""
    from ..kernels import metrics

    in_parts = manifest["version"] in VERSIONS[2:]
    needed, more = _OF_ALL | _KEYS[manifest["version"]], _MORE | ({"closed"} if in_parts else set())
    names = set(manifest) - more
    if names != needed:
        return f"it must have {sorted(needed)}, and perhaps {sorted(more)}, not {shown(sorted(names))}"
    metadata, metric = manifest.get("metadata", {}), manifest["metric"]
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        return "metadata must be texts by name"
    if not isinstance(metric, str) or metric not in metrics.TABLE:
        return f"metric is {shown(metric)}, not one of {sorted(metrics.TABLE)}"
    for name, least, most in (("rows", 0, _MOST_ROWS), ("dims", 1, MAX_DIMS)):
        if not _integer(manifest[name], least, most):
            return f"{name} is {shown(manifest[name])}, not a whole number from {least} to {most}"
    if manifest.get("dtype", DTYPES[0]) not in DTYPES:
        return f"dtype is {shown(manifest['dtype'])}, not one of {list(DTYPES)}"
    if manifest.get("repeated", True) is not True:
        return f"repeated is {shown(manifest['repeated'])}; it can be true or left out"
    parts = manifest["parts"] if in_parts else [_only_part(manifest)]
    return (
        (_problem_of_parts(parts, manifest) if in_parts else _problem_of_folder(manifest["folder"]))
        or _problem_of_screen(manifest, parts[0]["rows"])
        or _problem_of_direction(manifest)
        or _problem_of_columns(manifest, parts)
        or _problem_of_all_files(manifest, parts)
        or (_problem_of_closed(manifest) if "closed" in manifest else "")
    )


def _only_part(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {"rows": manifest["rows"], "first": 0, "files": manifest["files"]}


def _problem_of_folder(inner: Any, name: str = "folder") -> str:
    if not isinstance(inner, str) or not INNER.fullmatch(inner):
        return f"{name} is {shown(inner)}, not a name of eight hexadecimal digits"
    return ""


def _problem_of_parts(parts: Any, manifest: Mapping[str, Any]) -> str:
    """A message about what is wrong with the list of parts, apart from their files."""
    top = manifest["top"]
    if not _integer(top, 0, _MOST_ROWS):
        return f"top is {shown(top)}, not a whole number from 0 to {_MOST_ROWS}"
    if problem := _problem_of_folder(manifest["origin"], "origin"):
        return problem
    if not isinstance(parts, list) or not 0 < len(parts) <= _MOST_PARTS:
        return f"parts is {shown(parts)}, not a list of 1 to {_MOST_PARTS} parts"
    least = 1 if len(parts) > 1 else 0
    for at, part in enumerate(parts):
        if not isinstance(part, dict) or set(part) - {"first"} != _PART_KEYS:
            return f"parts[{at}] must have {sorted(_PART_KEYS)}, and perhaps ['first']"
        if problem := _problem_of_folder(part["folder"], f"folder of parts[{at}]"):
            return problem
        if not _integer(part["rows"], least, _MOST_ROWS):
            return f"rows of parts[{at}] is {shown(part['rows'])}, not a whole number from {least} on"
        if "first" in part and not _integer(part["first"], 0, top - part["rows"]):
            return f"first of parts[{at}] is {shown(part['first'])}; numbers of rows are from 0 to below top"
    if len({part["folder"] for part in parts}) < len(parts):
        return "two parts have the same folder"
    if sum(part["rows"] for part in parts) != manifest["rows"]:
        return f"rows is {manifest['rows']}, but the parts have {sum(part['rows'] for part in parts)}"
    return ""


def _problem_of_screen(manifest: Mapping[str, Any], first_rows: int) -> str:
    """A message about what is wrong with the facts of a screen; ``first_rows``: those of the first part."""
    screen = manifest.get("screen")
    if screen is None:
        return "screen is null; it must be an object, or left out" if "screen" in manifest else ""
    if manifest["version"] == VERSIONS[0]:
        return f"version {manifest['version']} cannot have a screen"
    if not isinstance(screen, dict) or set(screen) != _SCREEN_KEYS:
        return f"screen must have {sorted(_SCREEN_KEYS)}"
    setting, leading, shares = screen["setting"], screen["leading"], screen["shares"]
    if not _integer(screen["width"], ALIGNMENT, manifest["dims"]) or screen["width"] % ALIGNMENT:
        return f"width of screen is {shown(screen['width'])}, not a multiple of {ALIGNMENT} up to dims"
    if setting != "auto" and (type(setting) is not int or setting != screen["width"]):
        return f'setting of screen is {shown(setting)}, not "auto" or its width'
    if type(leading) is not int or leading not in (0, ALIGNMENT) or leading >= screen["width"]:
        return f"leading of screen is {shown(leading)}, not 0, or {ALIGNMENT} and less than its width"
    if not isinstance(shares, list) or len(shares) != 2 or not all(map(_share, shares)):
        return f"shares of screen is {shown(shares)}, not two numbers from 0 to 1"
    for name, least, most in (("pivots", 0, first_rows), ("neighbors", 1, _MOST_NEIGHBORS)):
        if not _integer(screen[name], least, most):
            return f"{name} of screen is {shown(screen[name])}, not a whole number from {least} to {most}"
    return ""


def _problem_of_direction(manifest: Mapping[str, Any]) -> str:
    """A message about what is wrong with the facts of a direction."""
    direction = manifest.get("direction")
    if direction is None:
        return "direction is null; it must be an object, or left out" if "direction" in manifest else ""
    if manifest["version"] == VERSIONS[0]:
        return f"version {manifest['version']} cannot have a direction"
    if not isinstance(direction, dict) or set(direction) != {"lead"}:
        return "direction must have ['lead']"
    lead = direction["lead"]
    if not _integer(lead, ALIGNMENT, _MOST_LEAD) or lead % ALIGNMENT:
        return f"lead of direction is {shown(lead)}, not a multiple of {ALIGNMENT} up to {_MOST_LEAD}"
    return ""


def _problem_of_columns(manifest: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> str:
    """A message about what is wrong with the names of columns, whose values are in separate files."""
    columns, files = manifest.get("columns"), [part["files"] for part in parts]
    if {columns is not None} != {isinstance(names, dict) and COLUMNS in names for names in files}:
        return f"columns and {COLUMNS} must both be there, or neither"
    if columns is None:
        return ""
    if not isinstance(columns, list) or not 0 < len(columns) <= _MOST_COLUMNS:
        return f"columns is {shown(columns)}, not a list of names, at most {_MOST_COLUMNS:,}"
    return problem_of_names(columns)


def _problem_of_all_files(manifest: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> str:
    about = (manifest["dims"], manifest.get("screen"), manifest.get("direction"))
    dtype = manifest.get("dtype", "<f4")
    for at, part in enumerate(parts):
        arrays = layout(part["rows"], *about, later=at > 0, dtype=dtype)
        needed = {f"{name}.npy": array for name, array in arrays.items()}
        if "first" not in part:
            needed[NUMBERS] = ("<i8", (part["rows"],))
        if problem := _problem_of_files(part["files"], needed):
            return f"parts[{at}]: {problem}" if "parts" in manifest else problem
    if len({LABELS in part["files"] for part in parts}) > 1:
        return f"{LABELS} must be in all parts, or in none"
    return ""


def _problem_of_files(files: Any, needed: Mapping[str, tuple[str, tuple[int, ...]]]) -> str:
    if not isinstance(files, dict) or set(files) - {LABELS, COLUMNS} != set(needed):
        return f"files must be {sorted(needed)}, and perhaps {LABELS} and {COLUMNS}"
    return next(
        filter(None, (_problem_of_file(name, entry, needed.get(name)) for name, entry in files.items())), ""
    )


def _problem_of_file(name: str, entry: Any, array: tuple[str, tuple[int, ...]] | None) -> str:
    keys = _FILE_KEYS | (set() if array is None else _ARRAY_KEYS)
    if not isinstance(entry, dict) or set(entry) != keys:
        return f"{name} must have {sorted(keys)}"
    if not isinstance(entry["sha256"], str) or not _SHA256.fullmatch(entry["sha256"]):
        return f"sha256 of {name} is {shown(entry['sha256'])}"
    if not _integer(entry["bytes"], 0, 1 << 62):
        return f"bytes of {name} is {shown(entry['bytes'])}, not a size"
    return "" if array is None else _problem_of_array(name, entry, *array)


def _problem_of_closed(manifest: Mapping[str, Any]) -> str:
    closed, most = manifest["closed"], -(-manifest["rows"] // 8)
    if not isinstance(closed, dict) or "folder" not in closed:
        return f"closed is {shown(closed)}, not an object with a folder"
    if problem := _problem_of_folder(closed["folder"], "folder of closed"):
        return problem
    shape = closed.get("shape")
    if not isinstance(shape, list) or len(shape) != 1 or not _integer(shape[0], 1, most):
        return f"shape of {CLOSED} is {shown(shape)}, not one number from 1 to {most}, as rows says"
    entry = {name: value for name, value in closed.items() if name != "folder"}
    return _problem_of_file(CLOSED, entry, ("|u1", (shape[0],)))


def _problem_of_array(name: str, entry: Mapping[str, Any], dtype: str, shape: tuple[int, ...]) -> str:
    if entry["dtype"] != dtype:
        return f"dtype of {name} is {shown(entry['dtype'])}, not {dtype}"
    stated = entry["shape"]
    if not isinstance(stated, list) or any(type(n) is not int for n in stated) or tuple(stated) != shape:
        return f"shape of {name} is {shown(stated)}, not {list(shape)}, as rows and dims say"
    offset, size = entry["offset"], int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
    if not _integer(offset, ALIGNMENT, 1 << 16) or offset % ALIGNMENT:
        return f"offset of {name} is {shown(offset)}, not a multiple of {ALIGNMENT}"
    if entry["bytes"] != offset + size:
        return f"bytes of {name} is {entry['bytes']}, but its array needs {offset + size}"
    return ""


def _share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _integer(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def shown(value: Any) -> str:
    """A value as JSON, short, on one line."""
    try:
        text = json.dumps(value)
    except RecursionError:
        return "nested too deeply"
    return text if len(text) <= 80 else text[:77] + "..."
