"""Neighbors as sparse graphs."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastvec


def neighbors_graph(
    neighbors: fastvec.TopK | fastvec.Ranges | fastvec.Pairs,
    rows: int | None = None,
    *,
    mode: str = "distance",
    metric: str = "cosine",
) -> Any:
    """Neighbors as a sparse graph of SciPy, which DBSCAN, HDBSCAN, UMAP and igraph take.

    Each row's neighbors stand in rising order of their distance, as scikit-learn wants them, and distances of
    0 are stored. ``Index.knn_graph(k, include_self=True)`` gives a graph for estimators by k neighbors, and
    ``Index.pairs(min_score)`` one within a radius: of both directions of each pair, and each row itself.

    Args:
        neighbors: what ``Index.knn_graph``, ``Index.search``, ``Index.range_search`` or ``Index.pairs``
            returned; for pairs of one set only.
        rows: the number of rows of the Index; None: one for each query, which pairs do not tell.
        mode: "distance", or "connectivity": all entries are 1.
        metric: that of the Index. A distance is 1 − cosine, or the Euclidean or Manhattan one.

    Returns:
        float32 ``scipy.sparse.csr_matrix`` (queries, rows).

    Raises:
        ValueError: for an unknown mode or metric, for distances of the metric "dot", or if ``rows`` is
            missing or too small.
        TypeError: if ``neighbors`` is something else.
        ModuleNotFoundError: if SciPy is not installed.

    Example:
        >>> import fastvec
        >>> from fastvec.integrations.sklearn import neighbors_graph
        >>> index = fastvec.Index([[1, 0], [0, 1], [3, 4]])
        >>> neighbors_graph(index.pairs(0.7), 3).toarray().round(3)
        array([[0. , 0. , 0. ],
               [0. , 0. , 0.2],
               [0. , 0.2, 0. ]], dtype=float32)
    """
    from scipy.sparse import csr_matrix

    if mode not in ("distance", "connectivity"):
        raise ValueError(f"mode is {mode!r}; it must be 'distance' or 'connectivity'")
    if metric not in ("cosine", "dot", "euclidean", "manhattan"):
        raise ValueError(f"metric is {metric!r}; it must be 'cosine', 'dot', 'euclidean' or 'manhattan'")
    if mode == "distance" and metric == "dot":
        raise ValueError("an inner product is no distance; pass mode='connectivity'")
    offsets, indices, scores = _runs_of(neighbors, rows, metric)
    n = len(offsets) - 1 if rows is None else rows
    if len(indices) and int(indices.max()) >= n:
        raise ValueError(f"rows is {n}, and neighbors has row {int(indices.max())}; rows must be larger")
    if mode == "connectivity":
        data = np.ones(len(indices), np.float32)
    elif metric == "cosine":
        data = np.maximum(np.float32(1) - scores, np.float32(0))
    else:
        data = np.abs(scores)
    return csr_matrix((data, indices, offsets), shape=(len(offsets) - 1, n))


def _runs_of(neighbors: Any, rows: int | None, metric: str) -> tuple[Any, Any, Any]:
    """Where each row's neighbors begin, their numbers and their scores, best first."""
    if isinstance(neighbors, fastvec.Ranges):
        return neighbors.offsets, neighbors.indices, neighbors.scores
    if isinstance(neighbors, fastvec.TopK):
        scores, indices = np.atleast_2d(neighbors.scores), np.atleast_2d(neighbors.indices)
        there = indices >= 0
        return np.concatenate([[0], np.cumsum(there.sum(axis=1))]), indices[there], scores[there]
    if not isinstance(neighbors, fastvec.Pairs):
        raise TypeError(f"neighbors is a {type(neighbors).__name__}; it must be TopK, Ranges or Pairs")
    if rows is None:
        raise ValueError("pairs do not tell how many rows there are; pass rows=len(index)")
    left, right, scores = neighbors
    if len(right) and int(right.max()) >= rows:
        raise ValueError(f"rows is {rows}, and neighbors has row {int(right.max())}; rows must be larger")
    itself = np.arange(rows)
    best = np.full(rows, 1 if metric == "cosine" else np.inf if metric == "dot" else 0, np.float32)
    sources, targets = np.concatenate([itself, left, right]), np.concatenate([itself, right, left])
    values = np.concatenate([best, scores, scores])
    order = np.lexsort((-values, sources))  # stable: a row itself comes before its equals
    offsets = np.concatenate([[0], np.cumsum(np.bincount(sources, minlength=rows))])
    return offsets, targets[order], values[order]
