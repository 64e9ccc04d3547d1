"""Whole matrices of similarities, and the row operations they need."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _arguments
from .kernels import dense, rows, threads


def normalize(
    vectors: npt.ArrayLike, *, out: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """Rows scaled to unit Euclidean length; zero rows stay zero.

    Norms are summed in float64, so rows of 1e30 or 1e-30 come out right. Rows are multiplied
    in float64 by 1/norm, rounded once; that is the correctly rounded quotient but for about one
    value in 2²⁸, which is the float32 next to it.

    Args:
        vectors: (n, dims), real numbers.
        out: float32 (n, dims) to write to, C-contiguous; it may be ``vectors`` itself.

    Returns:
        float32 (n, dims).

    Raises:
        ValueError: on NaN or inf (naming the row; ``out`` is written in part), or a wrong shape.
        TypeError: on a dtype that is no real number.

    Example:
        >>> import fastvec
        >>> fastvec.normalize([[3.0, 4.0], [0.0, 0.0]])
        array([[0.6, 0.8],
               [0. , 0. ]], dtype=float32)
    """
    source = _arguments.matrix(vectors, "vectors")
    if out is not None:
        _arguments.apart(_arguments.out(out, source.shape), ("vectors", source), same=True)
    return _written(rows.unit_rows, source, out)


def truncate(
    vectors: npt.ArrayLike,
    dims: int,
    *,
    renormalize: bool = True,
    out: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float32]:
    """The first ``dims`` columns, scaled to unit length again: Matryoshka truncation.

    Models trained for it keep most of their quality at a fraction of the width: OpenAI's
    text-embedding-3 family, for one, and any other with Matryoshka representation learning
    (Kusupati et al. 2022, https://arxiv.org/abs/2205.13147).

    Args:
        vectors: (n, width), real numbers.
        dims: columns to keep, from 1 to width.
        renormalize: scale rows to unit length; if false, a plain copy of the columns.
        out: float32 (n, dims) to write to, C-contiguous, apart from ``vectors``.

    Returns:
        float32 (n, dims), never a view of ``vectors``.

    Raises:
        ValueError: on ``dims`` out of range, on NaN or inf in what is read (``out`` is written
            in part), or a wrong shape.
        TypeError: on a dtype that is no real number, or ``dims`` that is no integer.

    Example:
        >>> import fastvec
        >>> fastvec.truncate([[3.0, 4.0, 12.0]], 2)
        array([[0.6, 0.8]], dtype=float32)
    """
    array = _arguments.any_array(vectors, "vectors")
    width = array.shape[1] if array.ndim == 2 else 0
    if width:
        dims = _arguments.prefix(dims, width)
        array = array[:, :dims]
    source = _arguments.matrix(array, "vectors")
    if out is not None:
        _arguments.apart(_arguments.out(out, source.shape), ("vectors", source))
    return _written(rows.unit_rows if renormalize else rows.finite_rows, source, out)


def _written(
    write: Callable[..., int], source: npt.NDArray[np.float32], out: npt.NDArray[np.float32] | None
) -> npt.NDArray[np.float32]:
    target = np.empty(source.shape, np.float32) if out is None else out
    _arguments.refuse_row(write(source, target, threads.get_num_threads()), source, "vectors")
    return target


def cosine_similarity(
    queries: npt.ArrayLike,
    vectors: npt.ArrayLike | None = None,
    *,
    out: npt.NDArray[Any] | None = None,
) -> npt.NDArray[Any]:
    """Cosine of every query with every vector.

    Clipped to [−1, 1]; a zero row scores 0; with ``vectors`` left out, nonzero rows score
    exactly 1 with themselves. Computed by BLAS on unit rows: as accurate as a float32
    matrix product, and like it not the same to the last bit for every shape and number
    of threads. The searches (``knn``, ``Index``) are exact; use those to rank.

    Args:
        queries: (m, dims) or (dims,), real numbers.
        vectors: (n, dims); None: the queries themselves.
        out: array of the result's shape and dtype to write to, C-contiguous, apart from
            the inputs.

    Returns:
        (m, n), or (n,) for a one-dimensional query; float64 if either input is float64,
        else float32.

    Raises:
        ValueError: on NaN or inf (naming argument and row), or shapes that do not fit.
        TypeError: on a dtype that is no real number.

    Example:
        >>> import fastvec
        >>> fastvec.cosine_similarity([[1, 0], [1, 1]], [[2, 0], [0, 0]]).round(4)
        array([[1.    , 0.    ],
               [0.7071, 0.    ]], dtype=float32)
    """
    given = _arguments.any_array(queries, "queries")
    left = _real_matrix(given, "queries", one_row=True)
    right = left if vectors is None else _real_matrix(vectors, "vectors")
    _arguments.same_width(left, right.shape[1], "queries", "vectors")
    dtype = np.float64 if np.float64 in (left.dtype, right.dtype) else np.float32
    left, right = left.astype(dtype, copy=False), right.astype(dtype, copy=False)
    shape = (len(left), len(right))[given.ndim == 1 :]
    result = np.empty(shape, dtype) if out is None else _arguments.out(out, shape, dtype)
    if out is not None:
        _arguments.apart(result, ("queries", left), ("vectors", right))
    scores = np.atleast_2d(result)
    dense.cosines(left, right, scores, threads.get_num_threads())
    if vectors is None:
        count = threads.get_num_threads()
        np.fill_diagonal(scores, rows.nonzero(left, count) if dtype == np.float32 else left.any(axis=1))
    return result


def _real_matrix(value: object, name: str, *, one_row: bool = False) -> npt.NDArray[Any]:
    """A finite matrix, float64 if it is float64, else canonical float32."""
    array = _arguments.any_array(value, name)
    if array.dtype.newbyteorder("=") != np.float64:
        single = _arguments.matrix(array, name, one_row=one_row)
        _arguments.check_finite(single, name, threads.get_num_threads())
        return single
    double = np.ascontiguousarray(_arguments.two_dimensional(array, name, one_row=one_row), np.float64)
    finite = np.isfinite(double).all(axis=1)
    _arguments.refuse_row(-1 if finite.all() else int(finite.argmin()), double, name)
    return double
