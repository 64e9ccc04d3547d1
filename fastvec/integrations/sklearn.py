"""``cosine_similarity`` and ``cosine_distances`` of ``sklearn.metrics.pairwise``, and graphs of neighbors.

In code with

    from sklearn.metrics.pairwise import cosine_similarity

only the import changes:

    from fastvec.integrations.sklearn import cosine_similarity

Types, shapes and errors are those of scikit-learn 1.9. If both arguments are float32, the result is
float32; any other input (float16, integers, bool, lists, data frames) is computed in float64. Sparse
matrices of SciPy are multiplied by SciPy.

Deliberate differences: similarities never leave [−1, 1], and nonzero rows score exactly 1 with
themselves if ``Y`` is left out; float32 rows of 1e30 or 1e-30 give right results (0 in scikit-learn);
errors name the argument and the row. scikit-learn itself is not used and need not be installed.

``neighbors_graph`` makes what ``sklearn.neighbors.kneighbors_graph`` and ``radius_neighbors_graph`` return of
an exact answer of an ``Index``, for estimators that take ``metric="precomputed"``.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

import fastvec

from ._refusal import check_finite, refuse

__all__ = ["cosine_distances", "cosine_similarity", "neighbors_graph"]


def cosine_similarity(X: Any, Y: Any = None, dense_output: bool = True) -> Any:
    """Cosine of every row of X with every row of Y; a zero row scores 0.

    Args:
        X: (n, dims) numbers: an array, a data frame, lists, or a SciPy sparse matrix.
        Y: (m, dims), likewise; None: X itself.
        dense_output: if false and both inputs are sparse, the result is a sparse ``csr_matrix``.

    Returns:
        (n, m), float32 if both inputs are float32, else float64.

    Raises:
        ValueError: if an input is not two-dimensional, is empty, does not hold real numbers, or is not
            finite (the message names argument and row), or if the widths differ.

    Example:
        >>> from fastvec.integrations.sklearn import cosine_similarity
        >>> cosine_similarity([[0, 0, 0], [1, 1, 1]], [[1, 0, 0], [1, 1, 0]]).round(3)
        array([[0.   , 0.   ],
               [0.577, 0.816]])
    """
    same = Y is None or Y is X
    first = _checked(X, "X")
    second = first if same else _checked(Y, "Y")
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"X has {first.shape[1]} columns and Y has {second.shape[1]}; they must agree")
    dtype = np.float32 if first.dtype == second.dtype == np.float32 else np.float64
    if _is_sparse(first) or _is_sparse(second):
        dense = dense_output or not (_is_sparse(first) and _is_sparse(second))
        return _sparse_similarity(first, second, same, dtype, dense)
    first = first.astype(dtype, copy=False)
    second = None if same else second.astype(dtype, copy=False)
    try:
        return fastvec.cosine_similarity(first, second)
    except ValueError:
        check_finite(first, "X")
        if second is not None:
            check_finite(second, "Y")
        raise


def cosine_distances(X: Any, Y: Any = None) -> npt.NDArray[Any]:
    """One minus the cosine, from 0 to 2, of every row of X with every row of Y.

    Args:
        X: as for ``cosine_similarity``.
        Y: likewise; None: X itself, each of whose rows has a distance of exactly 0 from itself.

    Returns:
        (n, m), float32 if both inputs are float32, else float64; a zero row has distance 1 from all others.

    Raises:
        ValueError: as ``cosine_similarity`` does.

    Example:
        >>> from fastvec.integrations.sklearn import cosine_distances
        >>> cosine_distances([[0, 2, 0], [1, 1, 1]], [[1, 0, 0], [1, 1, 0]]).round(3)
        array([[1.   , 0.293],
               [0.423, 0.184]])
    """
    distances: npt.NDArray[Any] = cosine_similarity(X, Y)
    np.subtract(1, distances, out=distances)
    if Y is None or Y is X:
        np.fill_diagonal(distances, 0)
    return distances


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


def _is_sparse(value: Any) -> bool:
    """Whether a value is a sparse matrix of SciPy; if SciPy is not loaded, no value is."""
    module = sys.modules.get("scipy.sparse")
    return module is not None and bool(module.issparse(value))


def _checked(value: Any, name: str) -> Any:
    """A nonempty matrix of real numbers, sparse or an array."""
    if _is_sparse(value):
        matrix = value
    elif value is None:
        raise ValueError(f"{name} is None; it must be a matrix")
    else:
        matrix = np.asarray(value)
        if matrix.dtype.kind in "OUSMm":
            matrix = matrix.astype(np.float64)
    if np.iscomplexobj(matrix):
        raise ValueError(f"{name} is complex; complex data is not supported")
    if matrix.ndim != 2:
        raise ValueError(
            f"{name} has shape {matrix.shape}; it must be two-dimensional, with one row per sample"
        )
    if 0 in matrix.shape:
        raise ValueError(f"{name} has shape {matrix.shape}; at least one row and one column are required")
    return matrix


def _sparse_similarity(first: Any, second: Any, same: bool, dtype: type, dense: bool) -> Any:
    """The product of unit rows by SciPy; at least one matrix is sparse."""
    left, nonzero = _sparse_unit(first, "X", dtype)
    right = left if same else _sparse_unit(second, "Y", dtype)[0]
    product = (left @ right.T).tocsr()
    np.clip(product.data, -1, 1, out=product.data)
    if same:
        product.setdiag(nonzero.astype(dtype))
        product.eliminate_zeros()
    return product.toarray() if dense else product


def _sparse_unit(matrix: Any, name: str, dtype: type) -> tuple[Any, npt.NDArray[np.bool_]]:
    """Rows of unit length as a new ``csr_matrix``, and a bool for each row whether it is nonzero."""
    unit = sys.modules["scipy.sparse"].csr_matrix(matrix).astype(dtype, copy=True)
    unit.sum_duplicates()
    n = unit.shape[0]
    row = np.repeat(np.arange(n), np.diff(unit.indptr))
    bad = ~np.isfinite(unit.data)
    if bad.any():
        refuse(unit.data[bad], int(row[bad.argmax()]), name)
    # Squares can overflow or underflow, so rows are scaled to a largest entry of 1 first.
    largest = np.zeros(n)
    np.maximum.at(largest, row, np.abs(unit.data))
    scaled = unit.data.astype(np.float64)
    np.divide(scaled, largest[row], out=scaled, where=largest[row] > 0)
    norm = np.sqrt(np.bincount(row, weights=scaled * scaled, minlength=n))
    np.divide(scaled, norm[row], out=scaled, where=norm[row] > 0)
    unit.data = scaled.astype(dtype)
    return unit, largest > 0
