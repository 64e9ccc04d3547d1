"""NumPy's ``.npy`` with the vectors, and beside it a file of the same name, ``.jsonl``, with the words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import json_lines
from .atomic import replacing
from .errors import FileError
from .labeled import Labeled


def read(path: Path, limit: int | None, errors: str) -> Labeled:
    """Vectors mapped into memory, whatever real dtype they have; words read when asked for."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError, TypeError, KeyError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        problem = "holds Python objects, which are never opened" if "Object" in str(error) else str(error)
        raise FileError(path, f"no usable .npy ({problem}); write it again from the array") from error
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise FileError(path, f"holds {array.dtype} {array.shape}; vectors are real numbers, (n, dims)")
    vectors = array.view(np.ndarray)[:limit]
    beside = path.with_suffix(".jsonl")

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


def write(
    path: Path, words: Sequence[str], vectors: NDArray[np.float32], metadata: Mapping[str, str]
) -> None:
    """Words first, so that vectors never stand without them. An existing pair is not replaced.

    Two files cannot be replaced in one step, and old vectors with new words would go unnoticed.
    """
    if path.exists():
        raise FileExistsError(
            f"{path} exists; remove it first, as it and its words cannot be replaced in one step"
        )
    data = json_lines.dump(words)
    with replacing(path.with_suffix(".jsonl")) as file:
        file.write(data)
    with replacing(path) as file:
        np.save(file, vectors, allow_pickle=False)
