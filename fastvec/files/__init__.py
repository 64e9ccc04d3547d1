"""Words and their vectors in files: one table of ``formats``, told apart by content (``detection``).

What is said of the vectors (metadata) and further columns go along where the format holds them.
``read`` and ``write`` serve all of them; ``Vocabulary.open`` and ``save`` are the same for words
to be searched. Nothing is ever unpickled, and bytes of a file are checked before they serve as
sizes or places. Writing is whole or not at all: interrupted anywhere, it leaves the old file or the
new one (``atomic``). Only ordinary files are read and replaced (``ordinary``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .columns import Column, checked_columns, halved, problem_of_names
from .detection import detect
from .errors import FileError
from .folder import verify
from .formats import FORMATS, Format
from .labeled import Labeled
from .streams import Rows, checked_words

__all__ = ["FORMATS", "FileError", "Format", "Labeled", "detect", "read", "verify", "write"]

_MOST_METADATA = 1 << 23
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
    """Words and vectors of a file or an Index folder, and what else it says of them.

    Of equal words the first counts. A row whose word is blank, or repeats an earlier one, is left out
    as if it were not in the file, and one warning says which.

    Args:
        path: where they are.
        format: a name of ``FORMATS``; None: told by content.
        limit: read at most this many rows, from the first on.
        errors: what to do with words that are not UTF-8: "strict" raises, "replace" puts U+FFFD for the
            bytes, "ignore" drops them.
        strict: refuse a file whose words are blank or repeat others.
        repeated: words may repeat, as texts do: only rows of blank ones are left out (or refused).

    Returns:
        ``Labeled``: ``vectors`` (n, dims), mapped into memory where the format allows it and all rows
        count, ``words``, ``columns``, ``metadata``, and ``index()``. What is mapped has its words read
        when they are asked for, or its vectors are, from the files as they were opened now; a column is
        read when it is asked for.

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
    labeled.strict, labeled.repeated = strict, repeated
    if found.words_of_bytes:
        labeled.settle()  # the words have been read, so what is wrong with them is said now
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
        path: the file, or the folder of an Index; what is there is replaced. A link stays, and what it
            leads to is replaced; a folder that is not an index, a pipe or a device never is.
        words: n different, non-empty strings. If ``repeated``, an object that has a length and can be
            iterated several times is iterated as it is written, so that not all need to be in memory.
        vectors: (n, dims), real numbers; stored as float32.
        format: a name of ``FORMATS``; None: told by the suffix of ``path``.
        metadata: what to say of the vectors, such as {"model": ...}; for Arrow, Parquet, Index folders and
            ``.npy``. "dims" says the real width, whatever it is given as.
        columns: further columns by name, n values each (str, int, float, bool or None; NaN counts as
            None), iterated as words are; for Arrow, Parquet and Index folders.
        repeated: words may repeat, as texts do.

    Raises:
        ValueError: on an unknown suffix, words, metadata or columns the format cannot hold, NaN or inf in
            vectors, and numbers of words, vectors and values of columns that differ.
        TypeError: on words, metadata or values of columns of other types.
        FileError: (a ValueError) if a pipe, a device or a socket is there.
        FileExistsError: if a folder is there that is not an index, or somebody else's file where words or
            metadata would go.
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

    chosen = FORMATS[
        by_suffix(path) if format is None else _arguments.one_of(format, "format", tuple(FORMATS))
    ]
    rows, checked = check(words, format=chosen.name, metadata=metadata, columns=columns, repeated=repeated)
    matrix = _arguments.matrix(vectors, "vectors")
    if len(matrix) != len(rows):
        raise ValueError(f"words and vectors differ in number: {len(rows)} and {len(matrix)}")
    _arguments.check_finite(matrix, "vectors", threads.get_num_threads())
    facts = dict(metadata or {})
    if "dims" in facts:
        facts["dims"] = str(matrix.shape[1])
    chosen.write(Path(path), rows, matrix, facts, checked)


def check(
    words: Iterable[str],
    *,
    format: str,
    metadata: Mapping[str, str] | None = None,
    columns: Mapping[str, Any] | None = None,
    repeated: bool = False,
) -> tuple[Rows[str], dict[str, Column]]:
    """Raise what ``write`` would for all but the vectors, so that it is known before those are made.

    Words and columns as they can be written come back.
    """
    check_held(format, metadata, columns)
    rows = checked_words(words, repeated=repeated)
    checked = checked_columns(columns, len(rows))
    FORMATS[format].refuse(rows, checked)
    return rows, checked


def check_held(
    format: str, metadata: Mapping[str, str] | None = None, columns: Mapping[str, Any] | None = None
) -> None:
    """Raise if a format cannot be written here, or does not hold this metadata, or columns of these names.

    Values of the columns are not looked at.
    """
    chosen = FORMATS[format]
    for name, given, what in (("metadata", metadata, "texts"), ("columns", columns, "sequences of values")):
        if given is not None and not isinstance(given, Mapping):
            raise TypeError(f"{name} is a {type(given).__name__}; it must be a mapping of names to {what}")
    if metadata and not chosen.metadata:
        raise ValueError(
            f"{format} holds no metadata; leave it out, or write .npy, Arrow, Parquet or an Index"
        )
    if columns and not chosen.columns:
        names = ", ".join(map(repr, columns))
        raise ValueError(
            f"{format} holds no further columns ({names}); leave them out, "
            "or write Arrow, Parquet or an Index folder"
        )
    for key, value in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"metadata has {key!r}: {value!r}; names and values must be str")
        if halved(key) or halved(value):
            raise ValueError(f"metadata has {key!r}: {value!r}, with half of a surrogate pair")
    if metadata and (size := len(json.dumps(dict(metadata)))) > _MOST_METADATA:
        raise ValueError(f"metadata is too large: {size:,} characters; {_MOST_METADATA:,} are possible")
    if columns and (problem := problem_of_names(list(columns))):
        raise ValueError(f"{problem}; choose another")
    chosen.refuse((), {})  # if it needs a package that is missing


def by_suffix(path: str | os.PathLike[str]) -> str:
    """Name of the format that a path's suffix stands for."""
    suffix = Path(path).suffix.lower()
    for record in FORMATS.values():
        if suffix in record.suffixes:
            return record.name
    known = ", ".join(f"{r.suffixes[0] or 'none'} ({r.name})" for r in FORMATS.values())
    raise ValueError(f"{os.fspath(path)!r}: no format has the suffix {suffix!r}; use one of {known}")
