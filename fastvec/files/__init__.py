"""Words and their vectors in files: one table of formats, told apart by content.

``read`` and ``write`` serve all of them; ``Vocabulary.open`` and ``save`` are the same for words
to be searched. Nothing is ever unpickled, and bytes of a file are checked before they serve as
sizes or places. Writing is whole or not at all: interrupted anywhere, it leaves the old file or the
new one (``atomic``). Only ordinary files are read and replaced (``ordinary``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import arrow, binary, folder, npy, text
from .atomic import replacing
from .errors import FileError
from .folder import verify
from .labeled import Labeled
from .ordinary import open_ordinary

__all__ = ["FORMATS", "FileError", "Format", "Labeled", "detect", "read", "verify", "write"]

ERRORS = ("strict", "replace", "ignore")


class Format(NamedTuple):
    """One format of words and vectors."""

    name: str
    description: str
    suffixes: tuple[str, ...]
    """Names that ``write`` gives this format by; the first is the usual one."""
    read: Callable[[Path, int | None, str], Labeled]
    write: Callable[[Path, Sequence[str], NDArray[np.float32], Mapping[str, str]], None]
    words_of_bytes: bool = False
    """Whether words may not be UTF-8, so that ``errors`` has a meaning; such words are read at once."""
    metadata: bool = False
    """Whether it holds ``metadata``."""


def _folder_read(path: Path, limit: int | None, errors: str) -> Labeled:
    stored = folder.load(path)
    vectors = stored.arrays["vectors"][:limit]
    metadata = stored.facts.get("metadata", {})
    # fastvec wrote the words, so they differ.
    return Labeled(path, "index", vectors, lambda: folder.words(stored)[:limit], metadata, settled=True)


def _folder_write(
    path: Path, words: Sequence[str], vectors: NDArray[np.float32], metadata: Mapping[str, str]
) -> None:
    from ..index import Index

    arrays, facts = Index(vectors)._stored()
    folder.save(path, arrays, {**facts, "metadata": dict(metadata)}, words)


def _one_file(
    write: Callable[..., None], holder: str, *, plain: bool = False, metadata: bool = False
) -> Callable[..., None]:
    """A writer into an open file as one that replaces a path; ``plain`` if words have no white space."""

    def whole(path: Path, words: Sequence[str], vectors: Any, facts: Mapping[str, str]) -> None:
        text.refuse_words(words, holder, plain=plain)
        with replacing(path) as file:
            write(file, words, vectors, *((facts,) if metadata else ()))

    return whole


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        record.name: record
        for record in (
            Format(
                "index", "folder of an Index, with its codes", ("", ".index"), _folder_read, _folder_write,
                metadata=True,
            ),
            Format("npy", ".npy, and .texts.jsonl with a word a line", (".npy",), npy.read, npy.write),
            Format(
                "arrow", "Arrow IPC, mapped into memory", (".arrow", ".feather", ".ipc"),
                arrow.read_ipc, _one_file(arrow.write_ipc, "Arrow", metadata=True), metadata=True,
            ),
            Format(
                "parquet", "Parquet, compressed", (".parquet",),
                arrow.read_parquet, _one_file(arrow.write_parquet, "Parquet", metadata=True), metadata=True,
            ),
            Format(
                "word2vec-text", "word2vec text: a line 'rows dims', then a word a line", (".vec", ".w2v"),
                text.read_word2vec, _one_file(text.write_word2vec, "word2vec text", plain=True),
                words_of_bytes=True,
            ),
            Format(
                "word2vec-binary", "word2vec binary", (".bin",),
                binary.read, _one_file(binary.write, "word2vec binary", plain=True), words_of_bytes=True,
            ),
            Format(
                "glove", "GloVe text: a word a line, no first line", (".txt", ".glove"),
                text.read_glove, _one_file(text.write_glove, "GloVe text", plain=True), words_of_bytes=True,
            ),
        )
    }
)  # fmt: skip


def read(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    limit: int | None = None,
    errors: str = "strict",
    strict: bool = False,
) -> Labeled:
    """Words and vectors of a file or an Index folder.

    Of equal words the first counts. A row whose word is blank, or repeats an earlier one, is left out
    as if it were not in the file, and one warning says which.

    Args:
        path: where they are.
        format: a name of ``FORMATS``; None: told by content.
        limit: read the first so many rows only.
        errors: what to do with words that are not UTF-8: "strict" raises, "replace" puts U+FFFD for the
            bytes, "ignore" drops them.
        strict: refuse a file whose words are blank or repeat others.

    Returns:
        ``Labeled``: ``vectors`` (n, dims), mapped into memory where the format allows it and all rows
        count, ``words``, and ``metadata``. What is mapped has its words read when they are asked for, or
        its vectors are, from the files as they were opened now.

    Raises:
        FileError: (a ValueError) names file, row or byte, and what to do; also for pipes and devices.
        FileNotFoundError: if there is none.
        ModuleNotFoundError: if Arrow or Parquet is asked for without pyarrow.

    Example:
        >>> import fastvec, os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "two.vec")
        >>> fastvec.files.write(path, ["up", "right"], [[0, 2], [3, 0]])
        >>> two = fastvec.files.read(path)
        >>> two.format, two.words, two.vectors.tolist()
        ('word2vec-text', ('up', 'right'), [[0.0, 2.0], [3.0, 0.0]])
    """
    from .. import _arguments

    _arguments.one_of(errors, "errors", ERRORS)
    if limit is not None:
        limit = _arguments.whole_number(limit, "limit", 0)
    if format is not None:
        _arguments.one_of(format, "format", tuple(FORMATS))
    found = FORMATS[format or detect(path)]
    if errors != "strict" and not found.words_of_bytes:
        raise ValueError(f"errors is {errors!r}, and words of {found.name} are always text; leave it out")
    labeled = found.read(Path(path), limit, errors)
    labeled.strict = strict
    if found.words_of_bytes:
        labeled.settle()  # the words have been read, so what is wrong with them is said now
    return labeled


def write(
    path: str | os.PathLike[str],
    words: Sequence[str],
    vectors: Any,
    *,
    format: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write words and vectors, whole or not at all.

    Args:
        path: the file, or the folder of an Index; what is there is replaced. A link stays, and what it
            leads to is replaced; a folder that is not an index, a pipe or a device never is.
        words: n different, non-empty strings.
        vectors: (n, dims), real numbers; stored as float32.
        format: a name of ``FORMATS``; None: told by the suffix of ``path``.
        metadata: what to say of the vectors, such as {"model": ...}; for Arrow, Parquet and Index folders.

    Raises:
        ValueError: on an unknown suffix, words the format cannot hold, NaN or inf, and numbers
            of words and vectors that differ.
        FileError: (a ValueError) if a pipe, a device or a socket is there.
        FileExistsError: if a folder is there that is not an index.
        OSError: as from writing files.

    Example:
        >>> import fastvec, os, tempfile
        >>> from pathlib import Path
        >>> path = os.path.join(tempfile.mkdtemp(), "one.bin")
        >>> fastvec.files.write(path, ["one"], [[0.5]])
        >>> Path(path).read_bytes()
        b'1 1\\none \\x00\\x00\\x00?\\n'
    """
    from .. import _arguments
    from ..kernels import threads
    from ..labels import checked_labels

    chosen = FORMATS[
        by_suffix(path) if format is None else _arguments.one_of(format, "format", tuple(FORMATS))
    ]
    if metadata and not chosen.metadata:
        raise ValueError(f"{chosen.name} holds no metadata; leave it out, or write Arrow or Parquet")
    for key, value in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"metadata has {key!r}: {value!r}; names and values must be str")
    plain = checked_labels(words)
    matrix = _arguments.matrix(vectors, "vectors")
    if len(matrix) != len(plain):
        raise ValueError(f"words and vectors differ in number: {len(plain)} and {len(matrix)}")
    _arguments.check_finite(matrix, "vectors", threads.get_num_threads())
    chosen.write(Path(path), plain, matrix, metadata or {})


def by_suffix(path: str | os.PathLike[str]) -> str:
    """Name of the format that a path's suffix stands for."""
    suffix = Path(path).suffix.lower()
    for record in FORMATS.values():
        if suffix in record.suffixes:
            return record.name
    known = ", ".join(f"{r.suffixes[0] or 'none'} ({r.name})" for r in FORMATS.values())
    raise ValueError(f"{os.fspath(path)!r}: no format has the suffix {suffix!r}; use one of {known}")


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
