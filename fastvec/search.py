"""Exact nearest neighbors: selecting from given scores, and searching without an Index."""

from __future__ import annotations

import math
from typing import Any

import numpy.typing as npt

from . import _arguments, _arrays, _memory
from ._request import checked
from ._stores import base
from .choices import METRICS, Device, Metric
from .kernels import selection, threads
from .results import TopK, filled_up


def topk(scores: npt.ArrayLike, k: int, *, largest: bool = True) -> TopK:
    """The k largest (or smallest) entries of each row of a score matrix.

    Entries are ranked in the dtype of ``scores``; of equal ones the lower index comes first; −0.0
    equals 0.0 and is returned as 0.0. If k is above n, the rest is filled with index −1 and −inf (+inf
    if not ``largest``); as −1 means the last entry of a list, use ``TopK.lists`` to look up labels.

    Args:
        scores: (m, n) or (n,), floats or integers, any strides; ±inf are allowed.
        k: entries to select, at least 1.
        largest: False selects the smallest.

    Returns:
        TopK of shape (m, k), or (k,) for one-dimensional scores.

    Raises:
        ValueError: if a score is NaN (the message says where), if k is below 1, or for a wrong shape.
        TypeError: if the scores are not real numbers, or k is not an integer.
        MemoryError: if there is no room for m × k answers; the message names k.

    Example:
        >>> import fastvec
        >>> fastvec.topk([0.1, 0.9, 0.9, 0.4], 3)
        TopK(k=3)
        1 (0.9)  2 (0.9)  3 (0.4)
    """
    array = _arrays.any_array(scores, "scores")
    if array.ndim not in (1, 2):
        raise ValueError(f"scores has shape {array.shape}; it must be (m, n) or (n,)")
    _arguments.check_real(array, "scores")
    k, largest = _arguments.whole_number(k, "k", 1), _arguments.flag(largest, "largest")
    matrix = array if array.ndim == 2 else array[None]
    m, n = matrix.shape
    # Selecting needs memory for min(k, n) entries of a row; filling up needs no more than the answer.
    selecting = min(k, max(n, 1))
    _memory.check(m, k, n)
    room = _memory.answers(m, k, n) if selecting < k else None
    best_scores, indices, nan = selection.select(matrix, selecting, largest, threads.get_num_threads())
    if nan is not None:
        place = f"row {nan[0]}, column {nan[1]}" if array.ndim == 2 else f"position {nan[1]}"
        raise ValueError(f"scores, {place}: NaN; scores must be numbers or ±inf")
    answers = TopK(best_scores, indices)
    if room is not None:
        answers = filled_up(answers, room, -math.inf if largest else math.inf)
    return TopK(answers.scores[0], answers.indices[0]) if array.ndim == 1 else answers


def knn(
    queries: npt.ArrayLike,
    vectors: npt.ArrayLike,
    k: int,
    *,
    metric: Metric = "cosine",
    dims: int | None = None,
    where: npt.ArrayLike | None = None,
    exclude: Any = None,
    device: Device = "cpu",
    num_threads: int | None = None,
) -> TopK:
    """The k nearest vectors of each query, exactly, without an Index.

    The answer is that of a full scan with float64 scores, ranked by score and then by
    index, the same to the last bit for every number of threads, batch and processor. To
    search the same vectors often, build an ``Index``. A batch of queries takes a quarter of the
    vectors' memory for their codes (above 1 GiB of codes these are made block by block), and thousands
    of queries some more for a screen, where that pays.

    Args:
        queries: (m, width) or (width,), real numbers: an array of NumPy, PyTorch, JAX, CuPy,
            pandas, Polars or Arrow, or lists. Computed in float32: float64 and integers are
            rounded to float32, and a row that would overflow, or become zero, is refused.
        vectors: (n, width), likewise; float32 with contiguous rows is used in place.
        k: neighbors to return, at least 1. If fewer rows can be returned, the rest is filled with index −1,
            which must not index a list (``TopK.lists`` leaves it out).
        metric: "cosine", "dot", "euclidean" or "manhattan" (scores of distances are −distance). The last
            has no bound: every row gets its exact score, so it takes the time of a full scan.
        dims: use only the first ``dims`` columns; queries may have just those.
        where: rows that may be returned: bool (n,), row numbers, or bool (m, n).
        exclude: rows not to return: (m, e) or m lists of row numbers, −1 for none;
            one-dimensional with a one-dimensional query.
        device: "cpu", or "cuda" for an NVIDIA device (``pip install 'fastvec[cuda]'``): the
            same answer; k is at most 1,024. float32 arrays of CuPy or torch on the device are used in place.
        num_threads: threads of this call; None: ``get_num_threads()``.

    Returns:
        TopK of shape (m, k), or (k,) for a one-dimensional query.

    Raises:
        ValueError: if an input has NaN or inf (the message names argument and row), if shapes do not fit,
            or a value is not allowed.
        TypeError: if a dtype or an argument is of the wrong kind.
        IndexError: if a row number is out of range.
        MemoryError: if there is no room for m × k answers; the message names k.
        RuntimeError: if the device cannot be used here; the message says what is missing.

    Example:
        >>> import fastvec
        >>> fastvec.knn([1.0, 0.1], [[1, 0], [0, 1], [1, 1]], 2)
        TopK(k=2)
        0 (0.995037)  2 (0.773957)
    """
    metric = _arguments.one_of(metric, "metric", METRICS)
    store: base.Store = base.home(device, metric).one_shot(vectors)
    return store.search(
        checked(
            store,
            queries,
            k,
            metric=metric,
            dims=dims,
            where=where,
            exclude=exclude,
            num_threads=num_threads,
        )
    )
