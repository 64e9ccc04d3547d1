"""Distances and similarities of ``sklearn.metrics.pairwise``."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import fastvec

from .._refusal import check_finite
from ._distances import METRICS, Array, halved_squares
from ._host import require
from ._inputs import both, dense, is_sparse, sparse_unit
from ._nearest import Neighbors

_BLOCK = 1 << 16
"""Numbers of a block of rows, so that several blocks stay in cache."""
_OUTPUT, _FEW_OUTPUTS, _ROWS = 1 << 18, 1 << 15, 1 << 10
"""Numbers of a block of distances; and those of one with so many rows, which then stays in a nearer cache."""
_PAIRS = 1 << 12
_FEW_ROWS, _FEW_COLUMNS, _FEW_NUMBERS = 1024, 15, 1 << 18
"""Up to these sizes scikit-learn finds the nearest row sooner, unless all pairs have few numbers."""
_CANCELED = 1e-7
"""Squared distances below this share of the squared lengths are computed from the differences."""


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
    first, second, dtype = both(X, Y)
    if is_sparse(first) or is_sparse(second):
        dense = dense_output or not (is_sparse(first) and is_sparse(second))
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


def paired_cosine_distances(X: Any, Y: Any) -> npt.NDArray[Any]:
    """One minus the cosine of each row of X and the row of Y at the same place.

    Args:
        X: (n, dims), as for ``cosine_similarity``.
        Y: likewise.

    Returns:
        (n,), float32 if both inputs are float32, else float64. As in scikit-learn it is half the squared
        distance of rows of unit length: 0 for equal rows, and 0.5 if one of them is zero.

    Raises:
        ValueError: as ``cosine_similarity`` does, or if the shapes differ.

    Example:
        >>> from fastvec.integrations.sklearn import paired_cosine_distances
        >>> paired_cosine_distances([[0, 2], [1, 1], [0, 0]], [[0, 1], [1, 0], [1, 0]]).round(3)
        array([0.   , 0.293, 0.5  ])
    """
    first, second, dtype = both(X, Y, needed=True)
    if first.shape != second.shape:
        raise ValueError(f"X has shape {first.shape} and Y {second.shape}; they must be of the same shape")
    distances = np.empty(first.shape[0], dtype)
    step = max(1, _BLOCK // first.shape[1])
    for start in range(0, len(distances), step):
        block = slice(start, start + step)
        left, right = (dense(matrix[block], np.float64) for matrix in (first, second))
        distances[block] = halved_squares(left, right)
    if not np.isfinite(distances).all():
        _refuse(first, second)
    return distances


def euclidean_distances(
    X: Any, Y: Any = None, *, Y_norm_squared: Any = None, squared: bool = False, X_norm_squared: Any = None
) -> npt.NDArray[Any]:
    """The Euclidean distance of every row of X from every row of Y; 0 for equal rows.

    Sums are float64. Where the squared lengths cancel, as rows are nearly equal, the distance is computed
    from the difference of the rows, unless squared lengths are given.

    Args:
        X: (n, dims), as for ``cosine_similarity``.
        Y: (m, dims), likewise; None: X itself.
        Y_norm_squared: (m,), (m, 1) or (1, m), the squared lengths of the rows of Y, if they are known;
            float32 ones are computed anew.
        squared: return squared distances.
        X_norm_squared: likewise (n,), (n, 1) or (1, n).

    Returns:
        (n, m), float32 if both inputs are float32, else float64.

    Raises:
        ValueError: as ``cosine_similarity`` does, or if squared lengths have a wrong shape.

    Example:
        >>> from fastvec.integrations.sklearn import euclidean_distances
        >>> euclidean_distances([[0, 1], [1, 1]], [[0, 0], [1, 1]]).round(3)
        array([[1.   , 1.   ],
               [1.414, 0.   ]])
    """
    same = Y is None or Y is X
    first, second, dtype = both(X, Y)
    left_squares = _squares(first, X_norm_squared, "X")
    known = not same or Y_norm_squared is not None
    right_squares = _squares(second, Y_norm_squared, "Y") if known else left_squares
    if not (np.isfinite(left_squares).all() and np.isfinite(right_squares).all()):
        _refuse(first, second)
    exact = X_norm_squared is None and Y_norm_squared is None
    distances = np.empty((first.shape[0], second.shape[0]), dtype)
    columns = second.T.astype(np.float64, copy=False)
    step = max(1, _OUTPUT // second.shape[0])
    if step > _ROWS:
        step = max(_ROWS, _FEW_OUTPUTS // second.shape[0])
    sums = distances if dtype == np.float64 else np.empty((min(step, len(distances)), second.shape[0]))
    largest = right_squares.max()
    for start in range(0, len(distances), step):
        block = slice(start, start + step)
        left, sizes = first[block].astype(np.float64, copy=False), left_squares[block, None]
        if is_sparse(left) or is_sparse(columns):
            squares = dense((left * -2.0) @ columns, np.float64)
        else:
            room = sums[block] if sums is distances else sums[: len(sizes)]
            squares = np.matmul(left * -2.0, columns, out=room)
        squares += right_squares
        squares += sizes
        if same:
            squares[np.arange(len(squares)), np.arange(start, start + len(squares))] = np.inf
        if squares.min() <= _CANCELED * (sizes.max() + largest):  # else none can have canceled
            if exact:
                _subtract(left, second, squares, squares <= _CANCELED * (sizes + right_squares))
            np.maximum(squares, 0, out=squares)
        if squared:
            distances[block] = squares
        else:
            np.sqrt(squares, out=distances[block], casting="same_kind")
    if same:
        np.fill_diagonal(distances, 0)
    return distances


def _subtract(left: Any, right: Any, squares: Array, chosen: Array) -> None:
    """Squared distances of chosen pairs of rows, from their differences."""
    i, j = np.nonzero(chosen)
    for start in range(0, len(i), _PAIRS):
        rows, columns = i[start : start + _PAIRS], j[start : start + _PAIRS]
        difference = dense(left[rows], np.float64) - dense(right[columns], np.float64)
        squares[rows, columns] = np.einsum("ij,ij->i", difference, difference)


def pairwise_distances_argmin(
    X: Any, Y: Any, *, axis: int = 1, metric: Any = "euclidean", metric_kwargs: dict[str, Any] | None = None
) -> npt.NDArray[np.int64]:
    """The number of the nearest row of Y for each row of X; of equal distances, the lowest.

    Args:
        X: (n, dims), as for ``cosine_similarity``.
        Y: (m, dims), likewise.
        axis: 0 seeks the nearest row of X for each row of Y.
        metric: "euclidean", "l2", "cosine", "manhattan", "l1" or "cityblock". scikit-learn answers for any
            other, for sparse inputs, and for larger inputs where it is quicker: not for the cosine, but for
            distances of at most 15 columns, or from at most 1,024 rows.
        metric_kwargs: further arguments of the metric, for scikit-learn.

    Returns:
        int64 (n,), or (m,) for axis 0.

    Raises:
        ValueError: as ``cosine_similarity`` does, or for an axis that is neither 0 nor 1.
        ModuleNotFoundError: if scikit-learn is needed and not installed.

    Example:
        >>> from fastvec.integrations.sklearn import pairwise_distances_argmin
        >>> pairwise_distances_argmin([[0, 0], [5, 5]], [[4, 4], [1, 0]])
        array([1, 0])
    """
    indices: npt.NDArray[np.int64] = pairwise_distances_argmin_min(
        X, Y, axis=axis, metric=metric, metric_kwargs=metric_kwargs
    )[0]
    return indices


def pairwise_distances_argmin_min(
    X: Any, Y: Any, *, axis: int = 1, metric: Any = "euclidean", metric_kwargs: dict[str, Any] | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """The number and the distance of the nearest row of Y for each row of X.

    Args:
        X, Y, axis, metric, metric_kwargs: as for ``pairwise_distances_argmin``, with the same errors.

    Returns:
        int64 (n,) and distances (n,), or (m,) for axis 0; float32 for cosines of float32, else float64.

    Example:
        >>> from fastvec.integrations.sklearn import pairwise_distances_argmin_min
        >>> pairwise_distances_argmin_min([[0, 0], [5, 5]], [[4, 4], [1, 0]])
        (array([1, 0]), array([1.        , 1.41421356]))
    """
    if isinstance(metric, str) and metric in METRICS and not metric_kwargs and axis in (0, 1):
        first, second, dtype = both(X, Y, needed=True)
        queries, rows = (first, second) if axis == 1 else (second, first)
        small = rows.shape[0] <= _FEW_ROWS or rows.shape[1] <= _FEW_COLUMNS
        quicker = METRICS[metric].shifts and small and queries.shape[0] * rows.size > _FEW_NUMBERS
        if not (quicker or is_sparse(first) or is_sparse(second)):
            check_finite(first, "X")
            check_finite(second, "Y")
            queries, rows = (np.ascontiguousarray(matrix, dtype) for matrix in (queries, rows))
            distances, indices = Neighbors(rows, metric).nearest(queries, 1)
            return indices[:, 0], distances[:, 0]
    theirs = require("this search", "sklearn.metrics.pairwise")
    found: tuple[npt.NDArray[np.int64], npt.NDArray[Any]] = theirs.pairwise_distances_argmin_min(
        X, Y, axis=axis, metric=metric, metric_kwargs=metric_kwargs
    )
    return found


def _squares(matrix: Any, given: Any, name: str) -> Array:
    """The squared lengths of the rows, (n,)."""
    n = matrix.shape[0]
    if given is not None:
        given = np.asarray(given)
        if given.shape not in ((n,), (n, 1), (1, n)):
            raise ValueError(
                f"Incompatible dimensions for {name}: it has {n} rows, and {name}_norm_squared has shape "
                f"{given.shape}; give one number for each row"
            )
        if given.dtype != np.float32:
            known: Array = given.reshape(-1).astype(np.float64, copy=False)
            return known
    if is_sparse(matrix):
        wide = matrix.astype(np.float64)
        squares: Array = np.asarray(wide.multiply(wide).sum(axis=1)).reshape(-1)
    else:
        squares = np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64)
    return squares


def _refuse(first: Any, second: Any) -> None:
    """Raise ValueError for the first row that is not finite."""
    for matrix, name in ((first, "X"), (second, "Y")):
        check_finite(dense(matrix, np.float64), name)


def _sparse_similarity(first: Any, second: Any, same: bool, dtype: type, dense: bool) -> Any:
    """The product of unit rows by SciPy; at least one matrix is sparse."""
    left, nonzero = sparse_unit(first, "X", dtype)
    right = left if same else sparse_unit(second, "Y", dtype)[0]
    product = (left @ right.T).tocsr()
    np.clip(product.data, -1, 1, out=product.data)
    if same:
        product.setdiag(nonzero.astype(dtype))
        product.eliminate_zeros()
    return product.toarray() if dense else product
