"""Right answers, by the ``definitions`` in float64, and how far other answers may be from them.

A truth judges an answer by what its competitor claims:

    "exact"    rows and published scores are those of the definition, bit for bit
    "float32"  each row's true score is that of its rank, as far as float32 arithmetic can tell:
               rows may change places only where it cannot tell them apart
    "inexact"  any rows; the share of right ones is its recall

An answer that breaks its claim raises ``Mismatch``. So does every answer with NaN,
or with rows that do not exist, that a filter forbids or that come twice.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .definitions import METRICS, publish
from .slack import HALF_ULP, SLACKS

Array = npt.NDArray[Any]

PRECISIONS = ("exact", "float32", "inexact")
_BLOCK_BYTES = 1 << 20
_SHORTLIST_ROWS = 1 << 14


class Mismatch(ValueError):
    """An answer is not what its competitor claims.

    Args:
        query: number of the query, or None if the mismatch is not about one query.
        came: what the competitor gave.
        right: the right answer.
        why: what is wrong, in words.
    """

    def __init__(self, query: int | None, came: Any, right: Any, why: str) -> None:
        self.query, self.came, self.right, self.why = query, came, right, why
        super().__init__(why)


class Truth(Protocol):
    """Judges answers."""

    def judge(self, answer: Any, precision: str) -> dict[str, float]:
        """Measure the quality of an answer; raise ``Mismatch`` if it is wrong."""

    @property
    def checked(self) -> str:
        """How much of an answer is checked, in words."""


class Search:
    """The k nearest rows of a sample of the queries.

    Args:
        queries: float32 (m, dims).
        vectors: float32 (n, dims).
        k: neighbors.
        metric: a name of ``definitions.METRICS``.
        where: bool (n,), rows that may be returned; None: all.
        exclude: int (m, e), rows that a query may not return, −1 for none; None: no rows.
        sample: queries that are checked, spread evenly from the first to the last.
        unit: all rows have unit length, and the metric is "cosine": rows that a float32 product proves too
            far are left out first (see ``shortlist``), so that millions of rows can be checked.

    Answers are pairs (scores, indices) of shape (m, k), or (None, indices).

    Example:
        >>> import numpy as np
        >>> eye = np.eye(3, dtype=np.float32)
        >>> truth = Search(eye[:2], eye, 1)
        >>> truth.judge((np.ones((2, 1)), np.array([[0], [1]])), "exact")["recall"]
        1.0
    """

    def __init__(
        self,
        queries: Array,
        vectors: Array,
        k: int,
        metric: str = "cosine",
        *,
        where: Array | None = None,
        exclude: Array | None = None,
        sample: int = 8,
        unit: bool = False,
    ) -> None:
        if unit and (metric != "cosine" or where is not None or exclude is not None):
            raise ValueError("unit=True is for cosines of all rows")
        self._queries, self._vectors, self._k, self._metric = queries, vectors, k, metric
        m = len(queries)
        self.sample = np.unique(np.linspace(0, m - 1, min(m, sample)).astype(np.int64))
        self._allowed = [_allowed(len(vectors), where, exclude, i) for i in self.sample]
        if unit:
            self.right = _oracle_of_unit_rows(queries[self.sample], vectors, k)
        else:
            self.right = oracle(queries[self.sample], vectors, k, metric, self._allowed)

    @property
    def checked(self) -> str:
        """How many queries are checked."""
        return f"{len(self.sample):,} of {len(self._queries):,} queries"

    def judge(self, answer: Any, precision: str) -> dict[str, float]:
        """Recall, share of identical rows, and the largest error of a published score."""
        scores, indices = answer
        shape = (len(self._queries), self._k)
        for part in (scores, indices):
            if part is not None and np.shape(part) != shape:
                raise Mismatch(None, np.shape(part), shape, "an array of another shape")
        found, same, worst = [], [], 0.0
        for place, i in enumerate(self.sample):
            right = self.right[0][place], self.right[1][place]
            given = None if scores is None else np.asarray(scores[i])
            row = np.asarray(indices[i])
            own = self._scores_of(int(i), row, place)
            slack = np.zeros(len(own))
            if precision == "float32":
                slack = self._slack(int(i), np.concatenate([row, right[1]]), own)
            hits, error = _judge_row(int(i), given, row, own, right, precision, slack)
            found.append(hits)
            same.append(float(np.mean(row == right[1])))
            worst = max(worst, error)
        quality = {"recall": float(np.mean(found)), "same_rows": float(np.mean(same))}
        return quality if scores is None else {**quality, "score_error": worst}

    def _scores_of(self, i: int, row: Array, place: int) -> Array:
        """True scores of the rows of an answer, −inf for −1; rows that cannot be an answer raise."""
        real = row[row >= 0]
        right = self.right[1][place]
        if len(row) and (row.max() >= len(self._vectors) or row.min() < -1):
            raise Mismatch(i, row, right, "a row that does not exist")
        if len(np.unique(real)) < len(real):
            raise Mismatch(i, row, right, "a row that comes twice")
        allowed = self._allowed[place]
        if allowed is not None and not allowed[real].all():
            raise Mismatch(i, row, right, "a row that the filter forbids")
        own = np.full(len(row), -np.inf)
        own[row >= 0] = scores(self._queries[i], self._vectors[real], self._metric)
        return own

    def _slack(self, i: int, rows: Array, own: Array) -> Array:
        """How far float32 scores may be from the true ``own``: the rounding of sums of ``dims`` terms."""
        query = self._queries[i].astype(np.float64)
        vectors = self._vectors[rows[rows >= 0]].astype(np.float64)
        longest = np.sqrt((vectors**2).sum(axis=1)).max(initial=0.0)
        rounding = HALF_ULP * (8 + np.sqrt(len(query)))
        return SLACKS[self._metric](rounding, np.sqrt(query @ query), longest, own)


def _judge_row(
    query: int, given: Array | None, row: Array, own: Array, right: Any, precision: str, slack: Array
) -> tuple[float, float]:
    """Recall and the largest error of a published score; see the module's text."""
    best, rows = right
    count = int((rows >= 0).sum())
    if given is not None and np.isnan(given).any():
        raise Mismatch(query, given, best, "a score that is not a number")
    if precision == "exact":
        if not np.array_equal(row, rows):
            raise Mismatch(query, row, rows, "other rows than the definition's")
        if given is not None and not np.array_equal(given, publish(best)):
            raise Mismatch(query, given, publish(best), "other scores than the definition's")
    elif precision == "float32":
        if (row[:count] < 0).any() or (row[count:] >= 0).any():
            raise Mismatch(query, row, rows, f"{(row >= 0).sum()} rows where there are {count}")
        if not (np.abs(own[:count] - best[:count]) <= slack[:count]).all():
            raise Mismatch(query, row, rows, "rows whose scores float32 can tell from the right ones")
        if given is not None and not (np.abs(given[:count] - own[:count]) <= slack[:count]).all():
            raise Mismatch(query, given, own, "scores that are not those of the rows given")
    reach = best[count - 1] if count else np.inf
    hits = float(np.mean(own[:count] >= reach)) if count else 1.0
    error = 0.0 if given is None or not count else float(np.abs(given[:count] - own[:count]).max())
    return hits, error


class Values:
    """A known array, and how far from it an answer may be.

    Args:
        right: the array in float64.
        slack: the largest difference of a "float32" answer, elementwise; an "exact" one must equal
            the right values, rounded to its dtype.
        rows: numbers of the rows of an answer that ``right`` holds; None: all.

    Example:
        >>> import numpy as np
        >>> Values(np.array([1.0]), 1e-6).judge(np.array([1.0 + 1e-7]), "float32")["error"] < 2e-7
        True
    """

    def __init__(self, right: Array, slack: Any, rows: Array | None = None) -> None:
        self._right, self._slack, self._rows = right, slack, rows

    @property
    def checked(self) -> str:
        """How many rows are checked."""
        return "all rows" if self._rows is None else f"{len(self._rows):,} rows"

    def judge(self, answer: Any, precision: str) -> dict[str, float]:
        """The largest error and its root mean square."""
        given = np.asarray(answer)
        given = given if self._rows is None else given[self._rows]
        if given.shape != self._right.shape:
            raise Mismatch(None, given.shape, self._right.shape, "an array of another shape")
        error = np.abs(given.astype(np.float64) - self._right)
        within = given == self._right.astype(given.dtype) if precision == "exact" else error <= self._slack
        if precision != "inexact" and not np.all(within):
            row = int(np.argwhere(~np.asarray(within))[0][0])
            number = row if self._rows is None else int(self._rows[row])
            raise Mismatch(number, given[row], self._right[row], "values beyond their rounding")
        if np.isnan(error).any():
            raise Mismatch(None, "NaN", "numbers", "a value that is not a number")
        rms = float(np.sqrt(np.mean(error**2))) if error.size else 0.0
        return {"error": float(error.max(initial=0.0)), "rms": rms}


def oracle(
    queries: Array, vectors: Array, k: int, metric: str = "cosine", allowed: Any = None
) -> tuple[Array, Array]:
    """Float64 scores and row numbers (m, k) of a full scan, ranked by score, then row.

    Rows are scored in blocks, so that some megabytes are enough for any number of rows.

    Args:
        queries: float32 (m, dims).
        vectors: float32 (n, dims).
        k: neighbors; fewer rows are filled up with −inf and −1.
        metric: a name of ``definitions.METRICS``.
        allowed: for each query bool (n,) or None; None: all rows.

    Example:
        >>> import numpy as np
        >>> oracle(np.ones((1, 2), np.float32), np.eye(2, dtype=np.float32), 3, "dot")
        (array([[  1.,   1., -inf]]), array([[ 0,  1, -1]]))
    """
    best = np.full((len(queries), k), -np.inf)
    rows = np.full((len(queries), k), -1, np.int64)
    height = max(1, _BLOCK_BYTES // (8 * vectors.shape[1]))
    for first in range(0, len(vectors), height):
        block = vectors[first : first + height]
        numbers = np.arange(first, first + len(block))
        found = METRICS[metric](queries.astype(np.float64), block.astype(np.float64))
        for i, own in enumerate(found):
            keep = own >= best[i, -1]
            if allowed is not None and allowed[i] is not None:
                keep &= allowed[i][numbers]
            values = np.concatenate([best[i], own[keep]])
            places = np.concatenate([rows[i], numbers[keep]])
            # Places without a row come last.
            order = np.lexsort((np.where(places < 0, len(vectors), places), -values))[:k]
            best[i], rows[i] = values[order], places[order]
    return best, rows


def shortlist(queries: Array, vectors: Array, k: int) -> list[Array]:
    """Rows of unit length that may be among the k nearest of each query of unit length, ascending.

    A float32 sum of products, formed in any order, is within γ · Σ|q·x| ≤ γ · ‖q‖ · ‖x‖ of the
    true one, with γ = dims · u / (1 − dims · u) and u = 2⁻²⁴. Rows further than twice that below the k-th
    largest are left out; this distance is widened, because lengths are 1 only up to their rounding.

    Example:
        >>> import numpy as np
        >>> eye = np.eye(3, dtype=np.float32)
        >>> shortlist(eye[:1], eye, 1)
        [array([0])]
    """
    terms = vectors.shape[1] * HALF_ULP
    apart = np.float32(2.1 * terms / (1 - terms) + 2.0**-20)
    best = np.empty((len(queries), 0), np.float32)
    kept: list[list[tuple[Array, Array]]] = [[] for _ in queries]
    for first in range(0, len(vectors), _SHORTLIST_ROWS):
        products = queries @ vectors[first : first + _SHORTLIST_ROWS].T
        best = np.concatenate([best, products], axis=1)
        if best.shape[1] > k:
            best = np.partition(best, -k, axis=1)[:, -k:]
        for i, floor in enumerate(_floors(best, k) - apart):
            near = np.flatnonzero(products[i] >= floor)
            kept[i].append((near + first, products[i, near]))
    joined = [tuple(np.concatenate(parts) for parts in zip(*own, strict=True)) for own in kept]
    return [rows[own >= floor] for (rows, own), floor in zip(joined, _floors(best, k) - apart, strict=True)]


def _floors(best: Array, k: int) -> Array:
    """The k-th largest so far; −inf while there are fewer."""
    return best.min(axis=1) if best.shape[1] == k else np.full(len(best), np.float32(-np.inf))


def _oracle_of_unit_rows(queries: Array, vectors: Array, k: int) -> tuple[Array, Array]:
    found = []
    for query, rows in zip(queries, shortlist(queries, vectors, k), strict=True):
        best, places = oracle(query[None], vectors[rows], k)
        found.append((best[0], np.where(places[0] < 0, -1, rows[places[0]])))
    return np.stack([best for best, _ in found]), np.stack([rows for _, rows in found])


def scores(query: Array, vectors: Array, metric: str = "cosine") -> Array:
    """Float64 scores (n,) of one query with rows, by definition.

    Args:
        query: float32 (dims,).
        vectors: float32 (n, dims).
        metric: a name of ``definitions.METRICS``.

    Example:
        >>> import numpy as np
        >>> scores(np.float32([3, 4]), np.float32([[3, 4], [4, -3], [0, 0]]))
        array([1., 0., 0.])
    """
    found: Array = METRICS[metric](query[None].astype(np.float64), vectors.astype(np.float64))[0]
    return found


def _allowed(n: int, where: Array | None, exclude: Array | None, i: int) -> Array | None:
    if where is None and exclude is None:
        return None
    allowed = np.ones(n, bool) if where is None else where.copy()
    if exclude is not None:
        allowed[exclude[i][exclude[i] >= 0]] = False
    return allowed
