"""Cosines by BLAS products of unit rows, a block at a time: float64, and float32 where tiles do not pay.

BLAS is called from one thread and uses its own threads. A matrix with itself is computed on and
above the diagonal (``a @ a.T`` is a symmetric product to NumPy) and mirrored.
"""

import math

import numpy as np

from .. import rows
from ..compile import default_mode

_BLOCK_BYTES, _PACE_WORK = 1 << 24, 1 << 31
"""Bytes of a block of rows; multiply-adds of two blocks, which cannot be interrupted."""


def cosines(
    queries: np.ndarray, vectors: np.ndarray | None, out: np.ndarray, num_threads: int
) -> tuple[int, int]:
    """Fill ``out``; as ``dense.cosines``."""
    with default_mode():
        return _cosines(queries, vectors, out, num_threads)


def _cosines(
    queries: np.ndarray, vectors: np.ndarray | None, out: np.ndarray, num_threads: int
) -> tuple[int, int]:
    columns = queries if vectors is None else vectors
    dims = queries.shape[1]
    height = max(1, min(_BLOCK_BYTES // (queries.itemsize * dims), math.isqrt(_PACE_WORK // dims), 4096))
    for i in range(0, len(queries), height):
        left, bad = _unit(queries[i : i + height], num_threads)
        if bad >= 0:
            return i + bad, -1
        for j in range(i if vectors is None else 0, len(columns), height):
            same = vectors is None and i == j
            right, bad = (left, -1) if same else _unit(columns[j : j + height], num_threads)
            if bad >= 0:
                return -1, j + bad
            block = out[i : i + height, j : j + height]
            np.matmul(left, right.T, out=block)
            np.clip(block, -1, 1, out=block)
            if vectors is None and not same:
                out[j : j + height, i : i + height] = block.T
    return -1, -1


def _unit(matrix: np.ndarray, num_threads: int) -> tuple[np.ndarray, int]:
    """Rows of unit length in the matrix's type, zero rows as zeros; and the first bad row, or −1."""
    unit = np.empty(matrix.shape, matrix.dtype)
    if matrix.dtype == np.float32:
        return unit, rows.unit_rows(matrix, unit, num_threads)
    bad = first_not_finite(matrix)
    if bad >= 0:
        return unit, bad
    # float64 squares can leave the range: bring the largest entry to one first.
    largest = np.abs(matrix).max(axis=1, keepdims=True, initial=0.0)
    largest[largest == 0.0] = 1.0
    np.divide(matrix, largest, out=unit)
    norm = np.sqrt(np.einsum("ij,ij->i", unit, unit))[:, None]
    norm[norm == 0.0] = 1.0
    np.divide(unit, norm, out=unit)
    return unit, -1


def first_not_finite(matrix: np.ndarray) -> int:
    """The first row of a float64 matrix that holds NaN or inf, or −1."""
    height = max(1, _BLOCK_BYTES // (matrix.itemsize * matrix.shape[1]))
    for start in range(0, len(matrix), height):
        finite = np.isfinite(matrix[start : start + height]).all(axis=1)
        if not finite.all():
            return start + int(finite.argmin())
    return -1
