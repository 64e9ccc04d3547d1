"""What format a file has, told by its first bytes."""

from __future__ import annotations

import os
import re

from . import text
from .errors import FileError
from .formats import FORMATS
from .ordinary import open_ordinary

_MAGIC = (
    (b"\x93NUMPY", "npy"),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow"),
    (b"PAR1", "parquet"),
)
_FOREIGN = (
    (b"\x1f\x8b", "compressed by gzip; decompress it first"),
    (b"BZh", "compressed by bzip2; decompress it first"),
    (b"\xfd7zXZ", "compressed by xz; decompress it first"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd; decompress it first"),
    (b"PK\x03\x04", "a zip archive (.npz, perhaps); take its file out and give that"),
    (b"\x89HDF", "HDF5, which is not a format of fastvec; write its array as .npy"),
    (b"\xff\xfe", "UTF-16; save it as UTF-8"),
    (b"\xfe\xff", "UTF-16; save it as UTF-8"),
)
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
    if os.path.isdir(path):
        return "index"
    with open_ordinary(path) as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise FileError(path, "empty; fetch or make it again")
    if len(head) == _HEAD_BYTES and b"\n" not in head:
        head = head[: head.rfind(b" ") + 1]  # the last number may be cut
    if not text.is_row(head):  # a word may look like the beginning of another format
        for magic, name in _MAGIC:
            if head.startswith(magic):
                return name
        for magic, problem in _FOREIGN:
            if head.startswith(magic):
                raise FileError(path, problem)
        if head[0] == 0x80 and head[1:2] <= b"\x05":
            problem = "a pickle, which can run code and is never opened; export it as word2vec text"
            raise FileError(path, problem)
    return _kind_of_words(path, head.removeprefix(text.MARK))


def _kind_of_words(path: str | os.PathLike[str], head: bytes) -> str:
    """Which of the formats without a magic number."""
    match = text.HEADER.match(head)
    if match is None:
        if text.glove_width(head) is None:
            raise FileError(
                path,
                "none of the formats " + ", ".join(FORMATS) + "; if it is one, name it and see the error",
            )
        return "glove"
    if int(match[2]) != 1 and text.glove_width(head[match.end() :]) == 1:
        return "glove"  # one value a row, and the first word is a number
    rest = head[match.end() :]
    if text.is_row(rest, int(match[2])):
        return "word2vec-text"
    values = re.split(rb"[ \t]", rest, maxsplit=1)[-1]
    line = values.partition(b"\n")[0]
    plain = sum(byte in b"0123456789+-.eE \t\r" for byte in line) >= 0.8 * len(line)
    return (
        "word2vec-text" if plain and not _CONTROL.search(values[: 4 * int(match[2])]) else "word2vec-binary"
    )


_CONTROL = re.compile(rb"[\0-\x08\x0e-\x1f]")
