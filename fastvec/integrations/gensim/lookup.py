"""Keys, and the vectors that belong to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import fastvec

KEYS = (str, int, np.integer)
"""Types of keys; an integer that is no key itself is the number of a row."""


def items(value: Any) -> list[Any]:
    """One key, one vector, or several as a list; None stands for none."""
    if value is None:
        return []
    if isinstance(value, KEYS) or (isinstance(value, np.ndarray) and value.ndim == 1):
        return [value]
    return list(value)


_APART = 1e-6
"""More than scores of a row and of its unit vector differ, as the vector and the scores are rounded."""
_LARGE = 1 << 20
"""Numbers in vectors that are searched for longer than a few rows are scored."""


class Lookup:
    """Keys in the order of their vectors, as a ``KeyedVectors`` of gensim has them."""

    _source: Any = None
    """The object that was accelerated, which may know vectors of further words."""

    def __init__(self, keys: Any, vectors: Any) -> None:
        self.index_to_key: Sequence[Any] = keys if isinstance(keys, list) else list(keys)
        self.key_to_index = {key: row for row, key in enumerate(self.index_to_key)}
        self._index = fastvec.Index(vectors)
        self.vectors: npt.NDArray[np.float32] = self._index.vectors
        n = len(self.index_to_key)
        if n != len(self.vectors):
            raise ValueError(f"keys and vectors differ in number: {n} and {len(self.vectors)}")
        if len(self.key_to_index) < n:
            row = next(row for row, key in enumerate(self.index_to_key) if self.key_to_index[key] != row)
            raise ValueError(f"key {self.index_to_key[row]!r} occurs more than once, in row {row} first")
        self._mask: tuple[range, npt.NDArray[np.bool_]] | None = None

    @property
    def vector_size(self) -> int:
        """Columns of the vectors."""
        return self._index.dims

    def __len__(self) -> int:
        return len(self.index_to_key)

    def __contains__(self, key: object) -> bool:
        return self.has_index_for(key) or (self._source is not None and key in self._source)

    def __getitem__(self, key_or_keys: Any) -> npt.NDArray[np.float32]:
        """The vector of a key, or a matrix with those of several keys."""
        if isinstance(key_or_keys, KEYS):
            return self.get_vector(key_or_keys)
        return np.vstack([self.get_vector(key) for key in key_or_keys])

    def __str__(self) -> str:
        return f"{type(self).__name__}<vector_size={self.vector_size}, {len(self)} keys>"

    def get_index(self, key: Any, default: int | None = None) -> int:
        """The number of the row of a key, or a default.

        Raises:
            KeyError: if the key is unknown and there is no default.
        """
        row = self.key_to_index.get(key, -1)
        if row >= 0:
            return row
        if isinstance(key, int | np.integer) and 0 <= key < len(self):
            return int(key)
        if default is None:
            raise KeyError(f"Key '{key}' not present")
        return default

    def has_index_for(self, key: Any) -> bool:
        """Whether a key has a row."""
        return self.get_index(key, -1) >= 0

    def get_vector(self, key: Any, norm: bool = False) -> npt.NDArray[np.float32]:
        """The vector of a key, read-only; with norm, scaled to unit length.

        Raises:
            KeyError: if the key is unknown.
        """
        row = self.get_index(key, -1)
        if row >= 0:
            vector: npt.NDArray[np.float32] = self.vectors[row]
        elif self._source is not None and key in self._source:
            vector = self._source.get_vector(key)  # of a word that a FastText model makes of its parts
        else:
            raise KeyError(f"Key '{key}' not present")
        return fastvec.normalize(vector[None])[0] if norm else vector

    def get_normed_vectors(self) -> npt.NDArray[np.float32]:
        """A new matrix of all vectors, scaled to unit length."""
        return fastvec.normalize(self.vectors)

    def _nearest(
        self, query: npt.NDArray[Any], k: int, where: npt.NDArray[np.bool_] | None
    ) -> list[tuple[int, float]]:
        """The k nearest rows of a vector, with their scores; of a row, if the vector is its unit vector."""
        found = self._index.search(query, k + 1, where=where)
        row = self._meant(query, found.indices, found.scores)
        if row is None:
            hits: list[tuple[int, float]] = found.lists()[:k]
        elif found.scores[k - 1] - found.scores[k] < _APART or self._index.dims * len(self) < _LARGE:
            hits = self._index.search(row, k, where=where).lists()
        else:  # the same rows are the nearest of both, in an order that the row's own scores decide
            near = np.sort(found.indices[:k])
            ranked = fastvec.knn(row, self.vectors[near], k)
            hits = list(zip(near[ranked.indices].tolist(), ranked.scores.tolist(), strict=True))
        return hits

    def _meant(
        self, query: npt.NDArray[Any], indices: npt.NDArray[np.int64], scores: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32] | None:
        """The vector of the best answer, if the query is its unit vector.

        So a word and its unit vector, which was rounded, get the same answers to the last bit.
        """
        if not len(scores) or scores[0] != 1:
            return None
        row: npt.NDArray[np.float32] = self.vectors[indices[0]]
        if np.array_equal(query, row) or not np.array_equal(query, fastvec.normalize(row[None])[0]):
            return None
        return row
