"""The table of formats: what tells, reads and writes each, and what it holds.

To add a format: a module with its functions, and its row here. A row is all that ``read``, ``write``,
``detect`` and the commands know of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import arrow, arrow_writing, binary, indexed, npy, text
from .atomic import replacing
from .columns import Column
from .labeled import Labeled
from .streams import Rows


def anything(_words: Rows[str], _columns: Mapping[str, Column]) -> None:
    """What a format that holds all words and columns refuses: nothing."""


class Format(NamedTuple):
    """One format of words and vectors."""

    name: str
    description: str
    suffixes: tuple[str, ...]
    """Names that ``write`` gives this format by; the first is the usual one."""
    matches: Callable[[bytes], bool]
    """Whether a file is of this format if it begins so: up to 64 KiB of it. The first of the table that says
    so has it; what begins by chance as another format, such as a word, must not match."""
    read: Callable[[Path, int | None, str], Labeled]
    write: Callable[[Path, Rows[str], NDArray[np.float32], Mapping[str, str], Mapping[str, Column]], None]
    refuse: Callable[[Rows[str], Mapping[str, Column]], None] = anything
    """Raises for words and columns that it cannot hold."""
    words_of_bytes: bool = False
    """Whether words may not be UTF-8, so that ``errors`` has a meaning; such words are read at once."""
    metadata: bool = False
    """Whether it holds ``metadata``."""
    columns: bool = False
    """Whether it holds further ``columns``."""


def begins(*magic: bytes) -> Callable[[bytes], bool]:
    """What matches files that begin with one of these bytes, unless they are a word and its numbers."""
    return lambda head: head.startswith(magic) and not text.is_row(head)


def _one_file(write: Callable[..., None], *, more: bool = False) -> Callable[..., None]:
    """A writer into an open file as one that replaces a path; ``more`` if it holds metadata and columns."""

    def write_whole(
        path: Path, words: Rows[str], vectors: Any, facts: Mapping[str, str], columns: Mapping[str, Column]
    ) -> None:
        with replacing(path) as file:
            if more:
                write(file, words, vectors, facts, columns)
            else:
                write(file, words, vectors)

    return write_whole


def _plain(holder: str) -> Callable[..., None]:
    """What refuses words that a format of words between spaces cannot hold."""
    return lambda words, _columns: text.refuse_words(words, holder, plain=True)


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        record.name: record
        for record in (
            Format(
                "index", "folder of an Index, with its codes", ("", ".index"),
                lambda _head: False, indexed.read, indexed.write,
                metadata=True, columns=True,
            ),
            Format(
                "npy", ".npy, .texts.jsonl with a word a line, and .meta.json", (".npy",),
                begins(npy.MAGIC), npy.read, npy.write,
                metadata=True,
            ),
            Format(
                "arrow", "Arrow IPC, mapped into memory", (".arrow", ".feather", ".ipc"),
                begins(*arrow.IPC_MAGIC), arrow.read_ipc,
                _one_file(arrow_writing.write_ipc, more=True), arrow_writing.refuse,
                metadata=True, columns=True,
            ),
            Format(
                "parquet", "Parquet, compressed", (".parquet",),
                begins(arrow.PARQUET_MAGIC), arrow.read_parquet,
                _one_file(arrow_writing.write_parquet, more=True), arrow_writing.refuse,
                metadata=True, columns=True,
            ),
            Format(
                "word2vec-text", "word2vec text: a line 'rows dims', then a word a line", (".vec", ".w2v"),
                text.is_word2vec, text.read_word2vec, _one_file(text.write_word2vec), _plain("word2vec text"),
                words_of_bytes=True,
            ),
            Format(
                "word2vec-binary", "word2vec binary", (".bin",),
                binary.matches, binary.read, _one_file(binary.write), _plain("word2vec binary"),
                words_of_bytes=True,
            ),
            Format(
                "glove", "GloVe text: a word a line, no first line", (".txt", ".glove"),
                text.is_glove, text.read_glove, _one_file(text.write_glove), _plain("GloVe text"),
                words_of_bytes=True,
            ),
        )
    }
)  # fmt: skip
