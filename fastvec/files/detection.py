"""What format a file has: the first of the table whose ``matches`` says so of its first bytes."""

from __future__ import annotations

import os

from .._checks import file_path
from . import foreign
from .errors import FileError
from .formats import FORMATS
from .ordinary import open_ordinary

_HEAD_BYTES = 1 << 16


def detect(path: str | os.PathLike[str]) -> str:
    """Name of a file's format, told by its first bytes.

    Args:
        path: a file, or the folder of an Index.

    Raises:
        FileError: (a ValueError) if it is none of ``FORMATS``, saying what it is where that is known.

    Example:
        >>> import fastvec, os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "words")
        >>> with open(path, "w") as file: _ = file.write("up 0 2\\nright 3 0\\n")
        >>> fastvec.files.detect(path)
        'glove'
    """
    if os.path.isdir(file_path(path, "path")):
        return "index"
    with open_ordinary(path) as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise FileError(path, "empty; fetch or make it again")
    if len(head) == _HEAD_BYTES and b"\n" not in head:
        head = head[: head.rfind(b" ") + 1]  # the last number may be cut
    for record in FORMATS.values():
        if record.matches(head):
            return record.name
    unknown = f"none of the formats {', '.join(FORMATS)}; if it is one, name it and see the error"
    raise FileError(path, foreign.kind(head) or unknown)
