"""The embeddings nearest to a query."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import fastvec
from fastvec.choices import Metric

Scores = npt.NDArray[np.float64]

_METRICS: dict[str, Metric] = {"cosine": "cosine", "dot_product": "dot", "euclidean": "euclidean"}
"""fastvec's names of LlamaIndex's modes of similarity."""


def get_top_k_embeddings(
    query_embedding: Any,
    embeddings: Any,
    similarity_fn: Callable[..., float] | None = None,
    similarity_top_k: int | None = None,
    embedding_ids: Sequence[Any] | None = None,
    similarity_cutoff: float | None = None,
) -> tuple[list[float], list[Any]]:
    """The similarities and ids of the embeddings nearest to a query, best first.

    Args:
        query_embedding: (dims,).
        embeddings: (n, dims), or a ``fastvec.Index``, whose metric then counts.
        similarity_fn: a function of two vectors; None is the cosine. LlamaIndex's own function stands for a
            metric of fastvec; another one is called for every embedding.
        similarity_top_k: the most results; None or 0: all.
        embedding_ids: an id for each embedding; None: their numbers.
        similarity_cutoff: the results are more similar than this; None: any similarity will do.

    Example:
        >>> from fastvec.integrations.llama_index import get_top_k_embeddings
        >>> get_top_k_embeddings([1, 0], [[0, 1], [2, 0]], similarity_top_k=1, embedding_ids=["a", "b"])
        ([1.0], ['b'])
    """
    count = len(embeddings)
    if count == 0:
        return [], []
    k = similarity_top_k or count
    metric = _metric(similarity_fn)
    indexed = isinstance(embeddings, fastvec.Index)
    if indexed and similarity_fn is None:
        pairs = embeddings.search(query_embedding, k).lists()
    elif metric is not None:
        rows = embeddings.vectors if indexed else embeddings
        pairs = fastvec.knn(query_embedding, rows, k, metric=metric).lists()
    else:
        scores = _scores(query_embedding, _rows(embeddings), similarity_fn)
        best = np.argsort(-scores, kind="stable")[:k]
        pairs = list(zip(best.tolist(), scores[best].tolist(), strict=True))
    if similarity_cutoff is not None:
        pairs = [(number, score) for number, score in pairs if score > similarity_cutoff]
    ids = [number if embedding_ids is None else embedding_ids[number] for number, _ in pairs]
    return [score for _, score in pairs], ids


def get_top_k_mmr_embeddings(
    query_embedding: Any,
    embeddings: Any,
    similarity_fn: Callable[..., float] | None = None,
    similarity_top_k: int | None = None,
    embedding_ids: Sequence[Any] | None = None,
    similarity_cutoff: float | None = None,
    mmr_threshold: float | None = None,
) -> tuple[list[float], list[Any]]:
    """Embeddings near to a query, each of which is far from the one before it, with their marginal relevance.

    That is ``mmr_threshold`` times the similarity to the query, minus the rest times the similarity to the
    embedding chosen last.

    Args:
        query_embedding, embeddings, similarity_fn, similarity_top_k, embedding_ids: as in
            ``get_top_k_embeddings``.
        similarity_cutoff: not used, as by LlamaIndex.
        mmr_threshold: from 0 to 1; None: 0.5.

    Example:
        >>> from fastvec.integrations.llama_index import get_top_k_mmr_embeddings
        >>> get_top_k_mmr_embeddings([1, 0], [[2, 0], [3, 0], [0, 1]], similarity_top_k=2, mmr_threshold=0.25)
        ([0.25, 0.0], [0, 2])
    """
    rows = _rows(embeddings)
    if len(rows) == 0:
        return [], []
    threshold = 0.5 if mmr_threshold is None else mmr_threshold
    relevance = threshold * _scores(query_embedding, rows, similarity_fn)
    scores: list[float] = []
    chosen: list[int] = []
    for _ in range(min(similarity_top_k or len(rows), len(rows))):
        gain = relevance
        if chosen:
            gain = relevance - (1 - threshold) * _scores(rows[chosen[-1]], rows, similarity_fn)
            gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
        scores.append(float(gain[chosen[-1]]))
    return scores, [embedding_ids[number] for number in chosen] if embedding_ids else chosen


def _rows(embeddings: Any) -> Any:
    """Embeddings as an array with one row each."""
    return embeddings.vectors if isinstance(embeddings, fastvec.Index) else np.asarray(embeddings)


def _metric(similarity_fn: Callable[..., float] | None) -> Metric | None:
    """The metric of fastvec that a function computes; None if it is not known."""
    function: Any = similarity_fn
    mode: Any = "cosine"
    if isinstance(function, functools.partial) and not function.args and [*function.keywords] == ["mode"]:
        function, mode = function.func, function.keywords["mode"]
    names = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    if function is None or names == ("llama_index.core.base.embeddings.base", "similarity"):
        return _METRICS.get(getattr(mode, "value", mode))
    return None


def _scores(query: Any, rows: Any, similarity_fn: Callable[..., float] | None) -> Scores:
    """The similarity of a query and each row."""
    metric = _metric(similarity_fn)
    if metric is None:
        assert similarity_fn is not None
        query = np.asarray(query)
        return np.array([similarity_fn(query, row) for row in rows], np.float64)
    if metric == "cosine":
        scores: Scores = fastvec.cosine_similarity(np.asarray(query)[np.newaxis], rows)[0].astype(np.float64)
        return scores
    found = fastvec.knn(query, rows, len(rows), metric=metric)
    scores = np.empty(len(rows))
    scores[found.indices] = found.scores
    return scores
