"""What peers search, and the steps of those that form whole matrices of scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Run = Callable[[Array], Any]

_SCORES_BYTES = 1 << 26
"""The size of the block of scores that is written before rows are selected: it stays in a cache."""


class Corpus(NamedTuple):
    """What a peer searches."""

    vectors: Array
    """float32 (n, dims), C-contiguous; of unit length for searches by cosine. For peers on a device it may
    be a tensor that lies there, which they share."""
    k: int
    metric: str
    threads: int
    where: Array | None = None
    """bool (n,), the rows that may be returned; None: all."""
    built: Any = None
    """What the peer's ``build`` has made of these rows."""


def best(scores: Array, k: int) -> tuple[Array, Array]:
    """The k largest of each row of a matrix by a partial sort, as users of NumPy write it."""
    k = min(k, scores.shape[1])
    indices = np.argpartition(scores, -k, axis=1)[:, -k:]
    values = np.take_along_axis(scores, indices, 1)
    order = np.argsort(-values, axis=1)
    return np.take_along_axis(values, order, 1), np.take_along_axis(indices, order, 1)


def gathering_pays(corpus: Corpus) -> bool:
    """Whether so few rows pass the filter that copying them costs less than scoring all."""
    return corpus.where is not None and 4 * int(corpus.where.sum()) < len(corpus.where)


def gathered(search: Callable[[Corpus], Run], corpus: Corpus) -> Run:
    """Copy the few rows that pass the filter and search them; the copy is a part of the call."""
    assert corpus.where is not None
    where = corpus.where

    def run(queries: Array) -> tuple[Array, Array]:
        rows = np.flatnonzero(where)
        few = corpus._replace(vectors=corpus.vectors[rows], where=None)
        scores, indices = search(few)(queries)
        return scores, rows[indices]

    return run


def in_blocks(score: Callable[[Array], Array], corpus: Corpus) -> Run:
    """Score blocks of queries whose scores fit in ``_SCORES_BYTES``; then a partial sort."""
    height = max(1, _SCORES_BYTES // (4 * len(corpus.vectors)))

    def run(queries: Array) -> tuple[Array, Array]:
        parts = []
        for first in range(0, len(queries), height):
            scores = score(queries[first : first + height])
            if corpus.where is not None:
                scores[:, ~corpus.where] = -np.inf
            parts.append(best(scores, corpus.k))
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    return run
