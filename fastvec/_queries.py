"""What a Vocabulary is asked with: words, vectors, and texts that an embedder turns into vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np

from . import _arguments
from .labels import plain, plain_labels
from .results import Float32

Item = str | Float32
"""A word or text, or a vector (dims,)."""

_NUMBER = (int, float, np.number)


def are_words(queries: Any) -> bool:
    """Whether queries are labels rather than vectors; nothing at all counts as no labels."""
    if isinstance(queries, np.ndarray):
        return queries.dtype.kind in "UT" or (queries.dtype.kind == "O" and are_words(queries.tolist()))
    if isinstance(queries, list | tuple | Set | Mapping):
        return not queries or any(isinstance(plain(query), str) for query in queries)
    # A column of pandas, Polars or Arrow.
    if hasattr(queries, "to_pylist") or len(getattr(queries, "shape", ())) == 1:
        return isinstance(plain(next(iter(queries), None)), str)
    return False


def items(given: Any, name: str) -> list[Item]:
    """One word or vector, or several of either kind, as a list."""
    given = plain(given)
    if isinstance(given, str):
        return [given]
    if isinstance(given, bytes) or not (isinstance(given, Iterable) or hasattr(given, "shape")):
        raise TypeError(f"{name}: words or vectors, one or several, not {type(given).__name__}")
    if isinstance(given, set | frozenset | Mapping | Iterator):
        given = list(given)
    if not isinstance(given, list | tuple):
        return list(plain_labels(given, name)) if are_words(given) else [*_rows(given, name)]
    if given and all(isinstance(item, _NUMBER) for item in given):
        return [*_rows(given, name)]
    return [_item(item, f"{name}[{position}]") for position, item in enumerate(given)]


def _item(item: Any, name: str) -> Item:
    item = plain(item)
    if isinstance(item, str):
        return item
    if not isinstance(item, list | tuple) and len(getattr(item, "shape", ())) == 0:
        raise TypeError(f"{name} is a {type(item).__name__}; it must be a word (str) or a vector (dims,)")
    rows = _rows(item, name)
    if len(rows) != 1:
        raise ValueError(f"{name} has shape {np.shape(item)}; it must be a word or one vector (dims,)")
    row: Float32 = rows[0]
    return row


def _rows(vectors: Any, name: str) -> Float32:
    rows = _arguments.matrix(vectors, name, one_row=True)
    _arguments.check_finite(rows, name, 1)
    return rows


def resolved(
    items: Sequence[Item], positions: Mapping[str, int], vectors: Float32, width: int, embedder: Any
) -> tuple[Float32, list[int]]:
    """One vector of ``width`` columns for each item; and the rows of those that are words, −1 for the others.

    What is not a word is embedded, all at once, when everything else is known to be right.
    """
    rows = [positions.get(item, -1) if isinstance(item, str) else -1 for item in items]
    numbers = np.array(rows, np.int64)
    found = np.empty((len(items), width), np.float32)
    found[numbers >= 0] = vectors[numbers[numbers >= 0], :width]
    texts: dict[str, int] = {}
    for place, item in enumerate(items):
        if not isinstance(item, str):
            found[place] = _fitting(item, width, vectors.shape[1], "a vector")
        elif rows[place] < 0:
            texts.setdefault(item, len(texts))
    if texts:
        embedded = _embedded(embedder, list(texts))
        for place, item in enumerate(items):
            if isinstance(item, str) and rows[place] < 0:
                found[place] = _fitting(
                    embedded[texts[item]], width, vectors.shape[1], "what embedder returned"
                )
    return found, rows


def _fitting(vector: Float32, width: int, full: int, whose: str) -> Float32:
    if len(vector) not in (width, full):
        others = f" or the {width} of dims" if width < full else ""
        raise ValueError(f"{whose} has {len(vector)} dimensions; it must have the {full} of vectors{others}")
    return vector[:width]


def _embedded(embedder: Any, texts: Sequence[str]) -> Float32:
    """Vectors (n, dims) of texts to search with, by whatever turns texts into vectors."""
    what = f"embedder ({type(embedder).__name__})"
    ask = _way_to_ask(embedder, what)
    answer = ask(list(texts))
    if isinstance(answer, Iterator):
        answer = list(answer)
    rows = _arguments.matrix(answer, f"what {what} returned")
    if len(rows) != len(texts):
        raise ValueError(f"{what} returned {len(rows)} vectors for {len(texts)} texts")
    _arguments.check_finite(rows, f"what {what} returned", 1)
    return rows


def _way_to_ask(embedder: Any, what: str) -> Callable[[list[str]], Any]:
    """For queries, where the embedder tells them from other texts; all at once, where it takes several."""
    for name in ("embed_queries", "encode_query"):
        if callable(getattr(embedder, name, None)):
            many: Callable[[list[str]], Any] = getattr(embedder, name)
            return many
    if callable(getattr(embedder, "embed_query", None)):
        return lambda texts: [embedder.embed_query(text) for text in texts]
    for name in ("embed", "encode", "__call__"):
        if callable(getattr(embedder, name, None)):
            any_text: Callable[[list[str]], Any] = getattr(embedder, name)
            return any_text
    raise TypeError(
        f"{what} has none of embed_queries, embed_query, embed and encode, and cannot be called with texts"
    )
