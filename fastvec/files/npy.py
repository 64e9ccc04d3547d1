"""NumPy's ``.npy`` with the vectors, and beside it the words in ``.texts.jsonl``, as `fastvec embed` does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import json_lines
from .atomic import replacing_pair
from .errors import FileError
from .labeled import Labeled

WORDS = ".texts.jsonl"


def read(path: Path, limit: int | None, errors: str) -> Labeled:
    """Vectors mapped into memory, whatever real dtype they have; words read when asked for."""
    array = _mapped(path)
    vectors = array[:limit]
    beside = path.with_suffix(WORDS)

    def read_words() -> tuple[str, ...]:
        try:
            data = beside.read_bytes()
        except FileNotFoundError as error:
            raise FileError(
                beside, f"missing; the words of {path.name} belong there, a JSON string a line"
            ) from error
        words = json_lines.load(beside, data)
        if len(words) != len(array):
            raise FileError(
                beside, f"{len(words)} words, and {path.name} has {len(array)} vectors; they must agree"
            )
        return words[:limit]

    return Labeled(path, "npy", vectors, read_words)


def _mapped(path: Path) -> NDArray[Any]:
    """The array of a file. Its header is Python source, but just this pattern of it is looked for."""
    with open(path, "rb") as file:
        head = file.read(_LONGEST_HEADER)
        size = file.seek(0, 2)
    if not head.startswith(b"\x93NUMPY") or len(head) < 12:
        raise FileError(path, "no .npy; write it again from the array", byte=0)
    wide = 2 if head[6] == 1 else 4
    start = 8 + wide
    offset = start + int.from_bytes(head[8:start], "little")
    match = _HEADER.fullmatch(head[start:offset])
    if match is None or offset > len(head):
        said = ascii(head[start:offset].decode("ascii", "replace").strip())[:120]
        what = "Python objects, which are never opened" if b"|O" in head[start:offset] else said
        raise FileError(path, f"holds no matrix of real numbers ({what}); write one", byte=start)
    kind, fortran, rows, dims = match[1].decode(), match[2] == b"True", int(match[3]), int(match[4])
    try:
        dtype = np.dtype(kind)
    except TypeError as error:
        raise FileError(path, f"has no dtype {kind!r}; write it again", byte=start) from error
    if size != offset + rows * dims * dtype.itemsize:
        needed = f"{rows} rows of {dims} {dtype} need {offset + rows * dims * dtype.itemsize}"
        raise FileError(path, f"{size} bytes long, and {needed}; fetch or make it again", byte=size)
    if rows * dims == 0:
        return np.empty((rows, dims), dtype)
    order: Any = "F" if fortran else "C"
    return np.memmap(path, dtype, "r", offset, (rows, dims), order).view(np.ndarray)


_LONGEST_HEADER = 1 << 12
_HEADER = re.compile(
    rb"\{'descr': '([<>|=][fiu][1248])', 'fortran_order': (True|False), "
    rb"'shape': \((\d{1,18}), (\d{1,18})\), \} *\n?"
)


def write(
    path: Path, words: Sequence[str], vectors: NDArray[np.float32], metadata: Mapping[str, str]
) -> None:
    """Vectors and words, both made before either replaces what is there."""
    data = json_lines.dump(words)
    with replacing_pair(path, path.with_suffix(WORDS)) as (new_vectors, new_words):
        new_words.write_bytes(data)
        with open(new_vectors, "xb") as file:
            np.save(file, vectors, allow_pickle=False)
