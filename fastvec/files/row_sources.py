"""What an Index is built of without being in memory: blocks of rows of a file, an array, or an iterable.

A table of formats has a reader for each; ``.npy`` and the files of ``vector_sets`` are recognized by their
names, all others as ``detection`` does.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._checks import file_path
from . import arrow, binary, json_lines, npy, text, vector_sets
from .detection import detect
from .errors import FileError
from .ordinary import Held, Identity
from .rows import READS_AT, FileRows

Array = NDArray[Any]
Words = Sequence[Any] | None

_BLOCK_BYTES = 1 << 24


class Block(NamedTuple):
    """Consecutive rows."""

    vectors: Any
    words: Words


class Source(NamedTuple):
    """Rows that go by once."""

    name: str
    """As errors name it."""
    dims: int
    dtype: np.dtype[Any]
    rows: int | None
    """How many there are; None if nothing says so."""
    labeled: bool
    blocks: Callable[[int], Iterator[Block]]
    """The blocks from a row on."""
    some: Callable[[NDArray[np.int64]], Array] | None = None
    """Chosen rows; None if rows are read only in their order."""
    mark: Sequence[int] | None = None
    """What tells a file from others and from itself before a change; None: rows have to be compared."""
    path: Path | None = None
    metadata: Mapping[str, str] = {}
    further: Sequence[str] = ()
    """Columns that the blocks do not have."""


def opened(value: Any, *, form: str | None = None, errors: str = "strict") -> Source:
    """The source that a caller names or passes.

    Raises:
        FileError: as ``files.read`` does.
        TypeError: if it is neither a file, nor an array, nor an iterable of arrays.
    """
    if isinstance(value, str | os.PathLike):
        path = file_path(value, "source")
        suffix = path.suffix.lower()
        if form is None and suffix in vector_sets.READERS and suffix != ".npy":
            return _of_matrix(vector_sets.read(path), str(path))._replace(mark=_mark(path), path=path)
        form = form or detect(path)
        if form not in FILES:
            raise FileError(path, f"of the format {form}, which is not built anew; open it, and save it")
        return FILES[form](path, errors)._replace(mark=_mark(path), path=path)
    if isinstance(value, np.ndarray) or (hasattr(value, "shape") and hasattr(value, "dtype")):
        return _of_matrix(value if _is_sliced(value) else _as_array(value, "source"), "source")
    if isinstance(value, list) and value and not hasattr(value[0], "__len__"):
        raise TypeError("source is a list of numbers; it must be a file, a matrix, or blocks of rows")
    if isinstance(value, Iterable) and not isinstance(value, bytes | Mapping):
        return _of_blocks(value)
    kind = type(value).__name__
    raise TypeError(f"source is a {kind}; it must be a file, a matrix, or an iterable of blocks of rows")


def _mark(path: Path) -> tuple[int, ...]:
    identity = Identity.of(os.stat(path))
    return identity.size, identity.changed


def _dropped(blocks: Iterator[Block], count: int) -> Iterator[Block]:
    """The blocks without the first ``count`` rows."""
    for vectors, words in blocks:
        if count < len(vectors):
            yield Block(vectors[count:], words and words[count:])
        count = max(0, count - len(vectors))


def _as_array(value: Any, name: str) -> Array:
    from .. import _arrays  # which loads Numba

    return _arrays.any_array(value, name)


def _is_sliced(value: Any) -> bool:
    """Whether a value says its shape and type as NumPy's arrays do, so that rows are read by slices."""
    shape = value.shape
    if not isinstance(shape, tuple) or not all(type(length) is int for length in shape):
        return False
    try:
        np.dtype(value.dtype)
    except TypeError:  # as of a tensor of PyTorch
        return False
    return value.dtype is not None


def _of_matrix(matrix: Any, name: str) -> Source:
    shape, dtype = tuple(matrix.shape), np.dtype(matrix.dtype)
    if len(shape) != 2 or shape[0] < 0 or shape[1] < 1:
        raise ValueError(f"{name} has shape {shape}; it must be (n, dims)")
    step = max(1, _BLOCK_BYTES // (shape[1] * dtype.itemsize))

    def rows(first: int, stop: int) -> Array:
        """Rows of the matrix, which may be anything that is sliced."""
        array = _as_array(matrix[first:stop], name)
        if array.shape != (stop - first, shape[1]):
            problem = f"its rows {first} to {stop - 1} have shape {array.shape}, and all have {shape}"
            raise ValueError(f"{name}: {problem}")
        return array

    def blocks(start: int) -> Iterator[Block]:
        for first in range(start, shape[0], step):
            yield Block(rows(first, min(first + step, shape[0])), None)

    def some(numbers: NDArray[np.int64]) -> Array:
        return np.concatenate([rows(row, row + 1) for row in numbers.tolist()])

    return Source(name, shape[1], dtype, shape[0], False, blocks, some)


def _of_blocks(value: Iterable[Any]) -> Source:
    """Blocks (rows, dims), or pairs of words and such blocks."""
    from ..labels import elements

    iterator = iter(value)
    first = next(iterator, None)
    if first is None:
        raise ValueError("source yields no block, so the number of dims is not known")
    labeled = isinstance(first, tuple) and len(first) == 2 and not np.isscalar(first[0])

    def read(block: Any, number: int) -> Block:
        if labeled != (isinstance(block, tuple) and len(block) == 2):
            raise TypeError(
                f"source yields blocks with words and without (block {number}); give all the same"
            )
        words, vectors = block if labeled else (None, block)
        words = None if words is None else list(elements(words, f"source, block {number}: words"))
        array = _as_array(vectors, "source")
        if array.ndim != 2:
            raise ValueError(f"source, block {number}: shape {array.shape}; it must be (rows, dims)")
        if words is not None and len(words) != len(array):
            raise ValueError(f"source, block {number}: {len(words)} words for {len(array)} rows")
        return Block(array, words)

    head = read(first, 0)

    def blocks(start: int) -> Iterator[Block]:
        later = (read(block, number) for number, block in enumerate(iterator, 1))
        return _dropped(itertools.chain([head], later), start)

    return Source("source", head.vectors.shape[1], head.vectors.dtype, None, labeled, blocks)


def _of_npy(path: Path, _errors: str) -> Source:
    held, words = Held(path), path.with_suffix(npy.WORDS)
    dtype, shape, fortran, offset = npy.checked_header(held)
    if fortran or not READS_AT:
        source = _of_matrix(npy.matrix(path), str(path))
    else:
        rows = FileRows(held, offset, (shape[0], shape[1]), dtype)
        step = max(1, _BLOCK_BYTES // rows.width)

        def blocks(start: int) -> Iterator[Block]:
            for first in range(start, len(rows), step):
                rows[first + step : first + 2 * step].ask_for()
                yield Block(np.asarray(rows[first : first + step]), None)

        source = Source(str(path), shape[1], dtype, shape[0], False, blocks, rows.take)
    if not words.exists():
        return source
    held_words = Held(words)

    def labeled(start: int) -> Iterator[Block]:
        with held_words.file() as file:
            lines: Iterator[bytes] = itertools.islice(file, start, None)
            row = start
            for vectors, _ in source.blocks(start):
                data = b"".join(itertools.islice(lines, len(vectors)))
                with text.counted_from(row):
                    found = json_lines.load(words, data)
                if len(found) != len(vectors):
                    problem = f"{row + len(found)} words, but {path.name} has {shape[0]} vectors"
                    raise FileError(words, f"{problem}; the numbers must agree")
                yield Block(vectors, found)
                row += len(vectors)

    return source._replace(labeled=True, blocks=labeled)


def _of_text(path: Path, errors: str, *, glove: bool = False) -> Source:
    dims, rows, found = text.row_blocks(path, glove=glove, errors=errors)
    return _of_words(path, dims, rows, found)


def _of_binary(path: Path, errors: str) -> Source:
    return _of_words(path, *binary.row_blocks(path, errors=errors))


def _of_words(path: Path, dims: int, rows: int | None, found: Iterator[Any]) -> Source:
    def blocks(start: int) -> Iterator[Block]:
        return _dropped((Block(vectors, words) for words, vectors in found), start)

    return Source(str(path), dims, np.dtype(np.float32), rows, True, blocks)


def _of_arrow(path: Path, _errors: str, *, parquet: bool = False) -> Source:
    opened = arrow.row_blocks(path, parquet=parquet, block_bytes=_BLOCK_BYTES)

    def blocks(start: int) -> Iterator[Block]:
        return _dropped((Block(vectors, words) for words, vectors in opened.blocks), start)

    about = opened.dims, opened.dtype, opened.rows, opened.labeled
    return Source(str(path), *about, blocks, metadata=opened.metadata, further=opened.further)


FILES: Mapping[str, Callable[[Path, str], Source]] = MappingProxyType(
    {
        "npy": _of_npy,
        "arrow": _of_arrow,
        "parquet": lambda path, errors: _of_arrow(path, errors, parquet=True),
        "word2vec-text": _of_text,
        "word2vec-binary": _of_binary,
        "glove": lambda path, errors: _of_text(path, errors, glove=True),
    }
)
"""Readers of the formats of ``formats.FORMATS``, except Index folders."""
