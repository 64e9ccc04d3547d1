"""Matrices as scikit-learn takes them: arrays, lists, data frames, and sparse matrices of SciPy."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from .._refusal import refuse


def is_sparse(value: Any) -> bool:
    """Whether a value is a sparse matrix of SciPy; if SciPy is not loaded, no value is."""
    module = sys.modules.get("scipy.sparse")
    return module is not None and bool(module.issparse(value))


def checked(value: Any, name: str) -> Any:
    """A nonempty matrix of real numbers, sparse or an array."""
    if is_sparse(value):
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


def both(X: Any, Y: Any, *, needed: bool = False) -> tuple[Any, Any, type[np.floating[Any]]]:
    """Two matrices of one width, and the type of their distances; without Y, X twice, unless Y is needed."""
    first = checked(X, "X")
    second = first if Y is X or (Y is None and not needed) else checked(Y, "Y")
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"X has {first.shape[1]} columns and Y has {second.shape[1]}; they must agree")
    return first, second, np.float32 if first.dtype == second.dtype == np.float32 else np.float64


def dense(matrix: Any, dtype: type) -> npt.NDArray[Any]:
    """A matrix, sparse or not, as an array."""
    array: npt.NDArray[Any] = matrix.toarray() if is_sparse(matrix) else matrix
    return array.astype(dtype, copy=False)


def sparse_unit(matrix: Any, name: str, dtype: type) -> tuple[Any, npt.NDArray[np.bool_]]:
    """Rows of unit length as a new ``csr_matrix``, and a bool for each row whether it is nonzero."""
    matrix = matrix if is_sparse(matrix) else matrix.astype(dtype)  # SciPy has no float16
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
