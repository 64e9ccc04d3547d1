"""The queries of a Vocabulary: words, vectors, and texts that an embedder turns into vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np

from . import _arguments
from ._arrays import any_array, held
from ._snapshot import Snapshot
from .labels import Word, dimensions, ids_of, is_id, plain, plain_labels, rows_of_words
from .results import Float32

Item = str | int | Float32
"""A word or text, an id, or a vector (dims,)."""

_NUMBER = (int, float, np.number)


def are_words(queries: Any, *, ids: bool = False) -> bool:
    """Whether queries are labels and not vectors; an empty list counts as labels.

    With ``ids``, labels are integers: several of them in one dimension.
    """
    if ids:
        array = any_array(queries, "queries")
        return array.ndim == 1 and (array.dtype.kind in "iu" or array.size == 0)
    if issubclass(type(queries), np.ndarray):
        return queries.dtype.kind in "UT" or (queries.dtype.kind == "O" and are_words(queries.tolist()))
    if isinstance(queries, list | tuple):
        queries = held(queries)
    if isinstance(queries, list | tuple | Set | Mapping):
        return not queries or any(isinstance(plain(query), str) for query in queries)
    # A column of pandas, Polars or Arrow.
    try:
        column = callable(getattr(queries, "to_pylist", None)) or dimensions(queries) == 1
    except Exception:  # it can raise anything; reading it as vectors says what is wrong
        return False
    return column and isinstance(plain(first_of(queries)), str)


def first_of(queries: Any) -> Any:
    """The first of several queries; None if there are none, or they are not several."""
    try:
        return next(iter(queries), None)
    except Exception:  # of another library, which can raise anything
        return None


def items(inputs: Any, name: str, *, ids: bool = False) -> list[Item]:
    """A word, a vector, or several words and vectors, as a list; with ``ids``, words are integers."""
    inputs = plain(inputs)
    if isinstance(inputs, str):
        return [inputs]
    if isinstance(inputs, list | tuple):
        inputs = held(inputs)
    if ids:
        return _items_with_ids(inputs, name)
    if type(inputs) in (list, tuple) and set(map(type, inputs)) <= {str}:
        return list(inputs)  # the usual case first
    if isinstance(inputs, bytes) or not (isinstance(inputs, Iterable) or dimensions(inputs) is not None):
        raise TypeError(f"{name}: words or vectors, one or several, not {type(inputs).__name__}")
    if isinstance(inputs, set | frozenset | Mapping | Iterator):
        inputs = list(inputs)
    if not isinstance(inputs, list | tuple):
        return list(plain_labels(inputs, name)) if are_words(inputs) else [*_rows(inputs, name)]
    if inputs and all(isinstance(item, _NUMBER) for item in inputs):
        return [*_rows(inputs, name)]
    return [_item(item, f"{name}[{position}]") for position, item in enumerate(inputs)]


def _items_with_ids(inputs: Any, name: str) -> list[Item]:
    if is_id(inputs):
        return [int(inputs)]
    if isinstance(inputs, set | frozenset | Mapping | Iterator):
        inputs = list(inputs)
    if not isinstance(inputs, list | tuple):
        return [*ids_of(inputs, name)] if are_words(inputs, ids=True) else [*_rows(inputs, name)]
    if inputs and all(isinstance(item, float | np.floating) for item in inputs):
        return [*_rows(inputs, name)]
    return [
        int(item) if is_id(item) else _item(item, f"{name}[{position}]")
        for position, item in enumerate(inputs)
    ]


def _item(item: Any, name: str) -> Item:
    item = plain(item)
    if isinstance(item, str):
        return item
    if not isinstance(item, list | tuple) and not dimensions(item):
        raise TypeError(f"{name} is a {type(item).__name__}; it must be a word (str) or a vector (dims,)")
    rows = _rows(item, name)
    if len(rows) != 1:
        raise ValueError(f"{name} has shape {rows.shape}; it must be a word or one vector (dims,)")
    row: Float32 = rows[0]
    return row


def _rows(vectors: Any, name: str) -> Float32:
    rows = _arguments.matrix(vectors, name, one_row=True)
    _arguments.check_finite(rows, name, 1)
    return rows


def rows_of_known(items: Sequence[Item], positions: Mapping[Word, int]) -> list[int] | None:
    """The row of each item; None if one of them is not a known word."""
    rows = [positions.get(item, -1) if isinstance(item, str | int) else -1 for item in items]
    return None if -1 in rows else rows


def resolved(
    items: Sequence[Item], positions: Mapping[Word, int], known: Snapshot, dims: int | None, embedder: Any
) -> tuple[Float32, list[int]]:
    """A vector of ``dims`` columns (None: all) for each item, and its row if it is a word, else −1.

    Texts that are not words are embedded, all at once, after everything else has been checked. Without an
    ``embedder``, they raise KeyError.
    """
    needed = str | int if embedder is None else int
    rows_of_words((item for item in items if isinstance(item, needed)), positions)
    full = known.store.dims
    width = _arguments.prefix(dims, full)
    rows = [positions.get(item, -1) if isinstance(item, str | int) else -1 for item in items]
    numbers = np.array(rows, np.int64)
    resolved_vectors = np.empty((len(items), width), np.float32)
    if len(items):
        resolved_vectors[numbers >= 0] = known.fetch(numbers[numbers >= 0])[:, :width]
    texts: dict[str, int] = {}
    for place, item in enumerate(items):
        if not isinstance(item, str | int):
            resolved_vectors[place] = _fitting(item, width, full, "a vector")
        elif isinstance(item, str) and rows[place] < 0:
            texts.setdefault(item, len(texts))
    if texts:
        embedded = _embedded(embedder, list(texts))
        for place, item in enumerate(items):
            if isinstance(item, str) and rows[place] < 0:
                resolved_vectors[place] = _fitting(
                    embedded[texts[item]], width, full, "what embedder returned"
                )
    return resolved_vectors, rows


def _fitting(vector: Float32, width: int, full: int, whose: str) -> Float32:
    if len(vector) not in (width, full):
        others = f" or the {width} of dims" if width < full else ""
        raise ValueError(f"{whose} has {len(vector)} dimensions; it must have the {full} of vectors{others}")
    return vector[:width]


def _embedded(embedder: Any, texts: Sequence[str]) -> Float32:
    """Vectors (n, dims) of texts to search with, made by any kind of embedder."""
    what = f"embedder ({type(embedder).__name__})"
    embed = _method(embedder, what)
    answer = embed(list(texts))
    if isinstance(answer, Iterator):
        answer = list(answer)
    rows = _arguments.matrix(answer, f"what {what} returned")
    if len(rows) != len(texts):
        raise ValueError(f"{what} returned {len(rows)} vectors for {len(texts)} texts")
    _arguments.check_finite(rows, f"what {what} returned", 1)
    return rows


def _method(embedder: Any, what: str) -> Callable[[list[str]], Any]:
    """The embedder's method for queries if it has one, else for any texts; for several texts if possible."""
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
