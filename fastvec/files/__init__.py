"""Words and their vectors in files: a table of ``formats``, which ``detection`` recognizes by content.

``read`` and ``write`` handle every format, with metadata and further columns where the format holds
them; ``Vocabulary.open`` and ``save`` do the same for words to be searched. Nothing is ever unpickled,
and sizes and offsets in a file are checked before they are used. A file is written whole or not at all:
an interrupted call leaves either the old file or the new one (``atomic``). Only ordinary files are read
and replaced (``ordinary``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from .. import _logs
from .._checks import file_path, one_of, shown, whole_number
from ..labels import enumerated
from . import building as building
from . import row_sources as row_sources
from .columns import Column, checked_columns, halved, problem_of_names
from .detection import detect
from .errors import FileError
from .folder import verify
from .formats import FORMATS, Format
from .labeled import Labeled
from .streams import Rows, checked_words

__all__ = ["FORMATS", "FileError", "Format", "Labeled", "detect", "read", "verify", "write"]

_MOST_METADATA = 1 << 23
_MOST_ROWS = 1 << 62  # what Arrow can be asked for, and more than any file has
ERRORS = ("strict", "replace", "ignore")


def read(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    limit: int | None = None,
    errors: str = "strict",
    strict: bool = False,
    repeated: bool = False,
) -> Labeled:
    """Read words and vectors, with their metadata and further columns, from a file or an Index folder.

    A row whose word is blank, or repeats an earlier one, is left out as if it were not in the file, and
    one warning says which rows.

    Args:
        path: the file or folder.
        format: a name of ``FORMATS``; None: recognized by content.
        limit: read at most the first ``limit`` rows.
        errors: what to do with words that are not UTF-8: "strict" raises, "replace" writes U+FFFD instead of
            the bytes, "ignore" drops them.
        strict: refuse a file whose words are blank or repeat others.
        repeated: words may repeat, as texts do; only rows with blank words are left out (or refused).

    Returns:
        ``Labeled``: ``vectors`` (n, dims), mapped into memory if the format allows it and no row is
        left out; ``words``, ``columns``, ``metadata``, and ``index()``. If the file is mapped, its words are
        read when they or the vectors are first used, from the files as they are opened now; a column is
        read when it is used.

    Raises:
        FileError: (a ValueError) if the file is damaged or is a pipe or a device; the message names file,
            row or byte, and what to do.
        FileNotFoundError: if the file does not exist.
        ValueError: if ``path`` is empty.
        ModuleNotFoundError: if the file is Arrow or Parquet and pyarrow is not installed.

    Example:
        >>> import fastvec, os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "two.vec")
        >>> fastvec.files.write(path, ["up", "right"], [[0, 2], [3, 0]])
        >>> two = fastvec.files.read(path)
        >>> two.format, two.words, two.vectors.tolist()
        ('word2vec-text', ('up', 'right'), [[0.0, 2.0], [3.0, 0.0]])
    """
    one_of(errors, "errors", ERRORS)
    if limit is not None:
        limit = min(whole_number(limit, "limit", 0), _MOST_ROWS)
    if format is not None:
        one_of(format, "format", tuple(FORMATS))
    place = file_path(path, "path")
    chosen = FORMATS[format or detect(place)]
    if errors != "strict" and not chosen.words_of_bytes:
        raise ValueError(f"errors is {errors!r}, but words of {chosen.name} are always text; leave it out")
    with _logs.timed("%s was read (%s)", path, chosen.name):
        labeled = chosen.read(place, limit, errors)
    labeled.strict, labeled.repeated = strict, repeated
    if chosen.words_of_bytes:
        labeled.settle()  # the words have been read, so report now what is wrong with them
    return labeled


def write(
    path: str | os.PathLike[str],
    words: Iterable[str],
    vectors: Any,
    *,
    format: str | None = None,
    metadata: Mapping[str, str] | None = None,
    columns: Mapping[str, Any] | None = None,
    repeated: bool = False,
) -> None:
    """Write words and vectors, whole or not at all.

    Args:
        path: the file, or the folder of an Index; an existing one is replaced. A link stays, and its target
            is replaced; a folder that is not an index, a pipe or a device is never replaced.
        words: n different, non-empty strings. If ``repeated``, an object that has a length and can be
            iterated several times is iterated while it is written, so that not all need to be in memory.
        vectors: (n, dims), real numbers; stored as float32.
        format: a name of ``FORMATS``; None: the format that the suffix of ``path`` stands for.
        metadata: facts about the vectors, such as {"model": ...}; for Arrow, Parquet, Index folders and
            ``.npy``. If it has "dims", the actual width is written there.
        columns: further columns by name, n values each (str, int, float, bool or None; NaN counts as
            None), iterated like words; for Arrow, Parquet and Index folders.
        repeated: words may repeat, as texts do.

    Raises:
        ValueError: if ``path`` is empty or its suffix unknown, if the format cannot hold the words, metadata
            or columns, if a vector has NaN or inf, or if the numbers of words, vectors and values of columns
            differ.
        TypeError: if words, metadata or values of columns are of other types.
        FileError: (a ValueError) if ``path`` is a pipe, a device or a socket.
        FileExistsError: if ``path`` is a folder that is not an index, or if another program's file is where
            words or metadata would be written.
        OSError: as from writing files.

    Example:
        >>> import fastvec, os, tempfile
        >>> from pathlib import Path
        >>> path = os.path.join(tempfile.mkdtemp(), "one.bin")
        >>> fastvec.files.write(path, ["one"], [[0.5]])
        >>> Path(path).read_bytes()
        b'1 1\\none \\x00\\x00\\x00?\\n'
        >>> path = os.path.join(tempfile.mkdtemp(), "index")
        >>> fastvec.files.write(path, ["a", "a"], [[1], [2]], columns={"id": [7, 8]}, repeated=True)
        >>> fastvec.files.read(path, repeated=True).columns["id"]
        (7, 8)
    """
    from .. import _arguments
    from ..kernels import threads

    place = file_path(path, "path")
    chosen = FORMATS[by_suffix(place) if format is None else one_of(format, "format", tuple(FORMATS))]
    rows, checked = check(words, format=chosen.name, metadata=metadata, columns=columns, repeated=repeated)
    matrix = _arguments.matrix(vectors, "vectors")
    if len(matrix) != len(rows):
        raise ValueError(f"words and vectors differ in number: {len(rows)} and {len(matrix)}")
    _arguments.check_finite(matrix, "vectors", threads.get_num_threads())
    facts = dict(metadata or {})
    if "dims" in facts:
        facts["dims"] = str(matrix.shape[1])
    with _logs.timed("%s was written (%s), %d rows", path, chosen.name, len(rows)):
        chosen.write(place, rows, matrix, facts, checked)


def check(
    words: Iterable[str],
    *,
    format: str,
    metadata: Mapping[str, str] | None = None,
    columns: Mapping[str, Any] | None = None,
    repeated: bool = False,
) -> tuple[Rows[str], dict[str, Column]]:
    """Check everything but the vectors as ``write`` does, so that mistakes show before the vectors are made.

    Returns words and columns, ready to be written.
    """
    check_held(format, metadata, columns)
    rows = checked_words(words, repeated=repeated)
    checked = checked_columns(columns, len(rows))
    FORMATS[format].refuse(rows, checked)
    return rows, checked


def check_held(
    format: str, metadata: Mapping[str, str] | None = None, columns: Mapping[str, Any] | None = None
) -> None:
    """Raise if a format cannot be written here, or cannot hold this metadata or columns with these names.

    The values of the columns are not checked.
    """
    chosen = FORMATS[format]
    for name, mapping, values in (
        ("metadata", metadata, "texts"),
        ("columns", columns, "sequences of values"),
    ):
        if mapping is not None and not isinstance(mapping, Mapping):
            raise TypeError(
                f"{name} is a {type(mapping).__name__}; it must be a mapping of names to {values}"
            )
    if metadata and not chosen.metadata:
        raise ValueError(
            f"{format} holds no metadata; leave it out, or write .npy, Arrow, Parquet or an Index"
        )
    if columns and not chosen.columns:
        names = enumerated(map(shown, columns), len(columns))
        raise ValueError(
            f"{format} holds no further columns ({names}); leave them out, "
            "or write Arrow, Parquet or an Index folder"
        )
    for key, value in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"metadata has {shown(key)}: {shown(value)}; names and values must be str")
        if halved(key) or halved(value):
            raise ValueError(f"metadata has {shown(key)}: {shown(value)}, with half of a surrogate pair")
    if metadata and (size := len(json.dumps(dict(metadata)))) > _MOST_METADATA:
        raise ValueError(f"metadata is too large: {size:,} characters; {_MOST_METADATA:,} are possible")
    if columns and (problem := problem_of_names(list(columns))):
        raise ValueError(f"{problem}; choose another")
    chosen.refuse((), {})  # raises if the format needs a package that is missing


def by_suffix(path: str | os.PathLike[str]) -> str:
    """Name of the format that the suffix of a path stands for."""
    suffix = file_path(path, "path").suffix.lower()
    for record in FORMATS.values():
        if suffix in record.suffixes:
            return record.name
    known = ", ".join(f"{r.suffixes[0] or 'none'} ({r.name})" for r in FORMATS.values())
    raise ValueError(f"{os.fspath(path)!r}: no format has the suffix {suffix!r}; use one of {known}")
