"""The (m, n) matrix of cosines, by blocks of BLAS products of unit rows.

Norms are summed in float64, so rows of any magnitude are right, and unit rows are made
a block at a time: beyond inputs and output this needs a few tens of megabytes. BLAS is
called from one thread and uses its own.
"""

import numpy as np

from . import rows

_BLOCK_BYTES = 1 << 24


def cosines(queries: np.ndarray, vectors: np.ndarray, out: np.ndarray, num_threads: int) -> None:
    """Fill ``out`` (m, n) with clipped cosines; all of one type, float32 or float64, rows contiguous."""
    height = max(1, _BLOCK_BYTES // (queries.itemsize * max(1, queries.shape[1])))
    for i in range(0, len(queries), height):
        left = _unit(queries[i : i + height], num_threads)
        for j in range(0, len(vectors), height):
            right = _unit(vectors[j : j + height], num_threads)
            block = out[i : i + height, j : j + height]
            np.matmul(left, right.T, out=block)
            np.clip(block, -1, 1, out=block)


def _unit(matrix: np.ndarray, num_threads: int) -> np.ndarray:
    """Rows of unit length in the matrix's own type; zero rows stay zero."""
    unit = np.empty(matrix.shape, matrix.dtype)
    if matrix.dtype == np.float32:
        rows.unit_rows(matrix, unit, num_threads)
        return unit
    # float64 squares can leave the range: bring the largest entry to one first.
    largest = np.abs(matrix).max(axis=1, keepdims=True, initial=0.0)
    largest[largest == 0.0] = 1.0
    np.divide(matrix, largest, out=unit)
    norm = np.sqrt(np.einsum("ij,ij->i", unit, unit))[:, None]
    norm[norm == 0.0] = 1.0
    np.divide(unit, norm, out=unit)
    return unit
