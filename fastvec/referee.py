"""The referee: whether answers of any library are the exact ones, and how far they are from them."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _arguments, _arrays, _row_numbers
from ._answers import Answers, Block, Float64, Queries, borders
from .choices import METRICS, Metric
from .kernels.compile import default_mode
from .results import Audit, Int64

Bools = npt.NDArray[np.bool_]


def audit(
    queries: npt.ArrayLike,
    vectors: npt.ArrayLike,
    indices: Any,
    *,
    scores: Any = None,
    metric: Metric = "cosine",
    dims: int | None = None,
    where: npt.ArrayLike | None = None,
) -> Audit:
    """Judge the answers of any library: are they the exact ones, and if not, how far from them?

    The right answer is that of ``knn``, and each row of the given answer gets its exact float64 score, so the
    verdict needs no tolerance. An answer is exact if the row at each rank has the score of that rank: equal
    scores may be in any order, and any of the rows that tie with the k-th one may be left out. Beyond
    the last row there is, −1 is right.

    The recall is the number of right rows that were found, by the number of those there are, of all queries
    together. A row is right if its score is at least the k-th best; it counts once, and at most k
    rows do.

    Vectors are converted and searched in blocks, so that memory-mapped ones may be larger than memory.

    Args:
        queries: (m, width) or (width,), real numbers, as in ``knn``; integers are the numbers they are.
        vectors: (n, width), likewise.
        indices: the answers to judge: (m, k) integers, rows of ``vectors``, best first; −1 where a library
            found no row. Lists of different lengths are filled up with −1. For one query, (k,).
        scores: the library's scores of these rows, in the same shape, to be compared with the exact ones.
            They must be scores as fastvec defines them: larger is nearer, and a distance is
            negated. If a library returns something else, convert it: squared distances D (faiss's L2,
            usearch's l2sq) by ``-np.sqrt(D)``, distances by ``-D``, cosine distances by ``1 - D``.
            float32 scores of exact rows differ by their rounding.
        metric: "cosine", "dot", "euclidean" or "manhattan".
        dims: use only the first ``dims`` columns; queries may have just those.
        where: rows that may be returned: bool (n,), row numbers, or bool (m, n).

    Returns:
        Audit: ``exact``, ``recall``, ``first_wrong`` (m,), ``order_errors``, ``score_error``, ``kth_score``
        (m,), ``best_left_out`` (m,), ``digest``, and how many rows are ``missing``, ``impossible``,
        ``forbidden`` and ``repeated``; a one-dimensional query counts as one query. ``exact`` is about
        rows alone. Where an answer misses rows, ``best_left_out - kth_score`` is by how much the best of
        them beats the last right one.

        The digest is the SHA-256 of the right answer, ``answer = knn(queries, vectors, k, ...)``, and
        the same on every machine: of the line ``f"fastvec answer 1 {metric} {dims} {n} {m} {k}\\n"`` in
        ASCII, where dims is the number of columns used, then the bytes of ``answer.indices.astype("<i8")``,
        then those of ``answer.scores.astype("<f4")``.

    Raises:
        ValueError: if queries or vectors have NaN or inf (the message names the row), if shapes do not fit,
            or for an unknown metric.
        TypeError: if a dtype or an argument is of the wrong kind.
        IndexError: if ``where`` has a row number that is out of range.

    Example:
        >>> import fastvec
        >>> vectors = [[1, 0], [0, 1], [1, 1], [2, 2]]
        >>> audit = fastvec.audit([[1.0, 0.9]], vectors, [[3, 0]])
        >>> audit.exact, audit.recall, audit.first_wrong.tolist()  # rows 2 and 3 score the same
        (False, 0.5, [1])
        >>> fastvec.audit([[1.0, 0.9]], vectors, [[3, 2]]).exact
        True
    """
    rows = _arguments.two_dimensional(_arrays.any_array(vectors, "vectors"), "vectors")
    return judged(queries, rows, indices, scores, metric, dims, where)


def judged(
    queries: Any, vectors: Any, indices: Any, scores: Any, metric: Metric, dims: int | None, where: Any
) -> Audit:
    """``audit`` of vectors that are two-dimensional: an array, or what gives one for a slice of rows."""
    metric = _arguments.one_of(metric, "metric", METRICS)
    n, width = vectors.shape
    _arguments.check_real(vectors, "vectors")
    used = _arguments.prefix(dims, width)
    checked = Queries.checked(queries, used, width)
    m = len(checked.rows)
    given = _answered(indices, m)
    given_scores = None if scores is None else _scores(scores, given.shape)
    allowed, mask = _row_numbers.allowed_rows(where, m, n)
    k = given.shape[1]
    right, own = _nothing(m, k + 1), np.full(given.shape, -np.inf)
    for start, stop in borders(n, used) if m else ():
        block = Block(vectors, start, stop, used, metric)
        among = mask[:, start:stop] if len(mask) else allowed[start:stop] if len(allowed) else None
        found = block.nearest(checked, k + 1, among)
        right = found if start == 0 else right.merged(found)
        np.maximum(own, block.scores(checked, given), out=own)
    digest = _digest(f"fastvec answer 1 {metric} {used} {n} {m} {k}\n", right, k)
    may = _may_be_returned(given, n, allowed, mask)
    with default_mode():  # comparisons, too, see subnormal scores as they are
        return _verdict(given, given_scores, own, right, n, may, digest)


def _nothing(m: int, k: int) -> Answers:
    return Answers(np.full((m, k), -np.inf), np.full((m, k), -1, np.int64))


def _answered(indices: Any, m: int) -> Int64:
    """The answers as int64 (m, k); a number that int64 does not hold becomes one that no row has."""
    array = _arrays.any_array(_filled(indices, -1), "indices")
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"indices has dtype {array.dtype}; it must be integers, the numbers of rows")
    if array.ndim == 1 and m == 1:
        array = array[np.newaxis]
    if array.ndim != 2 or len(array) != m or array.shape[1] < 1:
        raise ValueError(f"indices has shape {array.shape}; it must be ({m}, k), k at least 1")
    if array.dtype.kind == "u":
        array = np.minimum(array, np.uint64(np.iinfo(np.int64).max))
    return array.astype(np.int64)


def _scores(scores: Any, shape: tuple[int, ...]) -> Float64:
    array = _arrays.any_array(_filled(scores, np.nan), "scores")
    _arguments.check_real(array, "scores")
    if array.ndim == 1 and shape[0] == 1:
        array = array[np.newaxis]
    if array.shape != shape:
        raise ValueError(f"scores has shape {array.shape}; it must be that of indices, {shape}")
    with default_mode():
        return array.astype(np.float64)


def _filled(lists: Any, filling: float) -> Any:
    """Lists of different lengths, filled up to the longest; anything else as it is."""
    if not isinstance(lists, list | tuple):
        return lists
    try:
        lines = [
            _arrays.held(line) if isinstance(line, list | tuple) else line for line in _arrays.held(lists)
        ]
        if not all(hasattr(line, "__len__") for line in lines):
            return lists
        lengths = set(map(len, lines))
        if len(lengths) < 2:
            return lists
        longest = max(lengths)
        return [[*line, *itertools.repeat(filling, longest - len(line))] for line in lines]
    except Exception:  # a value can raise anything; reading it as an array says what is wrong
        return lists


def _may_be_returned(given: Int64, n: int, allowed: Bools, mask: Bools) -> Bools:
    """Whether the filter allows the rows of the answers, as far as they exist; else True."""
    exists = (given >= 0) & (given < n)
    may = np.ones(given.shape, np.bool_)
    if len(mask):
        query, place = np.nonzero(exists)
        may[query, place] = mask[query, given[query, place]]
    elif len(allowed):
        may[exists] = allowed[given[exists]]
    return may


def _digest(head: str, right: Answers, k: int) -> str:
    with default_mode(), np.errstate(over="ignore"):
        published = right.scores[:, :k].astype("<f4") + np.float32(0)
    digest = hashlib.sha256(head.encode("ascii"))
    digest.update(np.ascontiguousarray(right.indices[:, :k], "<i8"))
    digest.update(np.ascontiguousarray(published, "<f4"))
    return digest.hexdigest()


def _verdict(
    given: Int64, given_scores: Float64 | None, own: Float64, right: Answers, n: int, may: Bools, digest: str
) -> Audit:
    """Compare ``given`` rows, whose exact scores are ``own``, with the k + 1 best rows."""
    m, k = given.shape
    exists, absent = (given >= 0) & (given < n), given == -1
    repeated = exists & _repetitions(given)
    counts = exists & may & ~repeated
    best, possible = right.scores[:, :k], (right.indices[:, :k] >= 0).sum(axis=1)
    kth = np.full(m, -np.inf)
    some = possible > 0
    kth[some] = best[some, possible[some] - 1]
    hits = int((counts & (own >= kth[:, np.newaxis])).sum())
    no_row = np.where(absent, -np.inf, np.nan)  # NaN differs from the score of every rank
    wrong = np.where(counts, own, no_row) != best
    ranked = np.where(exists, own, no_row)
    return Audit(
        exact=not wrong.any(),
        recall=hits / int(possible.sum()) if some.any() else 1.0,
        first_wrong=np.where(wrong.any(axis=1), wrong.argmax(axis=1), -1).astype(np.int64),
        order_errors=int((ranked[:, 1:] > ranked[:, :-1]).sum()),
        score_error=np.nan if given_scores is None else _largest_error(given_scores[exists], own[exists]),
        kth_score=kth,
        best_left_out=_best_left_out(given, exists & may, right, n),
        digest=digest,
        missing=int(np.maximum(0, absent.sum(axis=1) - (k - possible)).sum()),
        impossible=int((~exists & ~absent).sum()),
        forbidden=int((exists & ~may).sum()),
        repeated=int(repeated.sum()),
    )


def _repetitions(given: Int64) -> Bools:
    """Whether the same number stands before in its line."""
    order = np.argsort(given, axis=1, kind="stable")
    ranked = np.take_along_axis(given, order, 1)
    again = np.zeros(given.shape, np.bool_)
    np.put_along_axis(again, order[:, 1:], ranked[:, 1:] == ranked[:, :-1], 1)
    return again


def _largest_error(given: Float64, own: Float64) -> float:
    if not len(given):
        return 0.0
    with np.errstate(invalid="ignore"):
        errors = np.abs(given - own)
    return float(np.where(np.isnan(errors), np.inf, errors).max())


def _best_left_out(given: Int64, counts: Bools, right: Answers, n: int) -> Float64:
    """The best score of a row that is not in the answer: it is among the k + 1 best, as an answer has k."""
    line = np.arange(len(given))[:, np.newaxis] * n
    inside = np.isin(line + right.indices, (line + given)[counts])
    left = (right.indices >= 0) & ~inside
    scores = right.scores[np.arange(len(given)), left.argmax(axis=1)]
    return np.where(left.any(axis=1), scores, -np.inf)
