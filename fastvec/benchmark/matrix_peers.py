"""Peers that form whole matrices of scores: NumPy, SciPy, scikit-learn, NumKong.

Each function prepares (not timed) and returns what is timed; ``peers.py`` has their rows.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .corpus import Array, Corpus, Run, best, gathered, gathering_pays, in_blocks

_ROWS_BYTES = 1 << 20
"""The size of the block of rows whose differences from a query are written: it stays in the cache."""


def numpy_search(corpus: Corpus) -> Run:
    """A matrix product, if the metric can be had from one; otherwise differences from one query at a time."""
    if gathering_pays(corpus):
        return gathered(numpy_search, corpus)
    return in_blocks(_NUMPY_SCORES[corpus.metric](corpus.vectors), corpus)


def _numpy_products(vectors: Array) -> Callable[[Array], Array]:
    return lambda queries: queries @ vectors.T


def _numpy_distances(vectors: Array) -> Callable[[Array], Array]:
    squares = np.einsum("ij,ij->i", vectors, vectors)

    def score(queries: Array) -> Array:
        own = np.einsum("ij,ij->i", queries, queries)[:, None]
        return np.asarray(-np.sqrt(np.maximum(own + squares - 2 * (queries @ vectors.T), 0)))

    return score


def _numpy_differences(vectors: Array) -> Callable[[Array], Array]:
    height = max(1, _ROWS_BYTES // vectors[:1].nbytes)

    def score(queries: Array) -> Array:
        scores = np.empty((len(queries), len(vectors)), np.float32)
        for first in range(0, len(vectors), height):
            block = vectors[first : first + height]
            differences = np.empty_like(block)
            for query, line in zip(queries, scores[:, first : first + height], strict=True):
                np.abs(np.subtract(block, query, out=differences), out=differences)
                np.negative(differences.sum(axis=1), out=line)
        return scores

    return score


_NUMPY_SCORES = {
    "cosine": _numpy_products,
    "dot": _numpy_products,
    "euclidean": _numpy_distances,
    "manhattan": _numpy_differences,
}


def numpy_similarity(corpus: Corpus) -> Run:
    """Both matrices divided by their norms, and one product."""

    def run(queries: Array) -> Array:
        left = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        right = corpus.vectors / np.linalg.norm(corpus.vectors, axis=1, keepdims=True)
        return np.asarray(left @ right.T)

    return run


def numpy_select(k: int) -> Run:
    """A partial sort."""
    return lambda scores: best(scores, k)


def scipy_search(corpus: Corpus) -> Run:
    """``cdist``, which computes in float64, in one thread."""
    from scipy.spatial.distance import cdist

    name = {"manhattan": "cityblock"}.get(corpus.metric, corpus.metric)
    most = 1.0 if corpus.metric == "cosine" else 0.0
    return in_blocks(lambda queries: most - cdist(queries, corpus.vectors, name), corpus)


def scipy_similarity(corpus: Corpus) -> Run:
    """``cdist`` for the cosines of all pairs."""
    from scipy.spatial.distance import cdist

    return lambda queries: 1.0 - cdist(queries, corpus.vectors, "cosine")


def sklearn_search(corpus: Corpus) -> Run:
    """Cosines by Euclidean distance, for which it has a fused kernel: unit rows come in the same order."""
    from sklearn.neighbors import NearestNeighbors

    metric = "euclidean" if corpus.metric == "cosine" else corpus.metric
    index = NearestNeighbors(n_neighbors=corpus.k, algorithm="brute", metric=metric).fit(corpus.vectors)

    def run(queries: Array) -> tuple[Array, Array]:
        distances, indices = index.kneighbors(queries)
        return (1 - distances**2 / 2 if corpus.metric == "cosine" else -distances), indices

    return run


def sklearn_similarity(corpus: Corpus) -> Run:
    """Its function for the cosines of all pairs."""
    from sklearn.metrics.pairwise import cosine_similarity

    return lambda queries: cosine_similarity(queries, corpus.vectors)


def numkong_search(corpus: Corpus) -> Run:
    """Products of packed rows, and a partial sort."""
    return in_blocks(_numkong_products(corpus, unit=True), corpus)


def numkong_similarity(corpus: Corpus) -> Run:
    """Its cosine distances of packed rows."""
    distances = _numkong_products(corpus, unit=False)
    return lambda queries: 1.0 - distances(queries)


def _numkong_products(corpus: Corpus, unit: bool) -> Callable[[Array], Array]:
    """Rows packed in parts, one for each thread, as its own functions use one thread."""
    import numkong

    parts = [numkong.dots_pack(part) for part in np.array_split(corpus.vectors, corpus.threads)]
    product = numkong.dots_packed if unit else numkong.angulars_packed
    pool = ThreadPoolExecutor(corpus.threads)

    def run(queries: Array) -> Array:
        return np.concatenate(
            [*map(np.asarray, pool.map(lambda part: product(queries, part), parts))], axis=1
        )

    return run
