"""``cosine_similarity`` and ``cosine_distances`` of ``sklearn.metrics.pairwise``.

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
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

import fastvec

from ._refusal import check_finite, refuse

__all__ = ["cosine_distances", "cosine_similarity"]


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
