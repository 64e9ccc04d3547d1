"""Exact nearest neighbors: selection on given scores, and one-shot search."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from . import _arguments, _device
from ._request import Request, one_shot
from .kernels import selection, threads
from .results import TopK


def topk(scores: npt.ArrayLike, k: int, *, largest: bool = True) -> TopK:
    """The k largest (or smallest) entries of each row of a score matrix.

    Ranked in the dtype given, ties by lower index; −0.0 ties with 0.0 and is returned as
    0.0. With k above n, filled up with index −1 and −inf (+inf if not ``largest``).

    Args:
        scores: (m, n) or (n,), floats or integers, any strides; ±inf are allowed.
        k: entries to select, at least 1.
        largest: false selects the smallest.

    Returns:
        TopK of shape (m, k), or (k,) for one-dimensional scores.

    Raises:
        ValueError: on NaN (naming where), k below 1, or a wrong shape.
        TypeError: on a dtype that is no real number, or k that is no integer.

    Example:
        >>> import fastvec
        >>> fastvec.topk([0.1, 0.9, 0.9, 0.4], 3)
        TopK(scores=array([0.9, 0.9, 0.4], dtype=float32), indices=array([1, 2, 3]))
    """
    array = _arguments.any_array(scores, "scores")
    if array.ndim not in (1, 2):
        raise ValueError(f"scores has shape {array.shape}; it must be (m, n) or (n,)")
    _arguments.check_real(array, "scores")
    k = _arguments.whole_number(k, "k", 1)
    matrix = array if array.ndim == 2 else array[None]
    values, indices, nan = selection.select(matrix, k, bool(largest), threads.get_num_threads())
    if nan is not None:
        place = f"row {nan[0]}, column {nan[1]}" if array.ndim == 2 else f"position {nan[1]}"
        raise ValueError(f"scores, {place}: NaN; scores must be numbers or ±inf")
    return TopK(values[0], indices[0]) if array.ndim == 1 else TopK(values, indices)


def knn(
    queries: npt.ArrayLike,
    vectors: npt.ArrayLike,
    k: int,
    *,
    metric: str = "cosine",
    dims: int | None = None,
    where: npt.ArrayLike | None = None,
    exclude: Any = None,
    device: str = "cpu",
    num_threads: int | None = None,
) -> TopK:
    """The k nearest vectors of each query, exactly, with nothing prepared.

    The answer is that of a full scan with float64 scores, ranked by score and then by
    index, the same to the last bit for every number of threads, batch and processor. To
    search the same vectors often, build an ``Index``.

    Args:
        queries: (m, width) or (width,), real numbers.
        vectors: (n, width); float32 with contiguous rows is used in place.
        k: neighbors to return, at least 1; more than n are filled up.
        metric: "cosine", "dot" or "euclidean" (score = −distance).
        dims: use the first so many columns only; queries may have just those.
        where: rows that may be returned: bool (n,), row numbers, or bool (m, n).
        exclude: rows not to return: (m, e) or m lists of row numbers, −1 for none;
            one-dimensional with a one-dimensional query.
        device: "cpu", or "cuda" for an NVIDIA device (``pip install 'fastvec[cuda]'``): the
            same answer; k is at most 1,024. CuPy's or torch's float32 arrays there stay there.
        num_threads: threads of this call; None: ``get_num_threads()``.

    Returns:
        TopK of shape (m, k), or (k,) for a one-dimensional query.

    Raises:
        ValueError: on NaN or inf (naming argument and row), shapes that do not fit, or a
            value that is not allowed.
        TypeError: on a dtype or argument of the wrong kind.
        IndexError: on a row number out of range.
        RuntimeError: if the device cannot be used here, saying what is missing.

    Example:
        >>> import fastvec
        >>> fastvec.knn([1.0, 0.1], [[1, 0], [0, 1], [1, 1]], 2)
        TopK(scores=array([0.9950372, 0.7739573], dtype=float32), indices=array([0, 2]))
    """
    device = _arguments.device(device)
    base = _device.matrix(_device.given(vectors, "vectors", device))
    queries = _device.given(queries, "queries", device)
    request = Request(queries, (base,), k, metric, dims, where, exclude, num_threads)
    return _device.one_shot(request) if device == "cuda" else request.answer(one_shot(request))
