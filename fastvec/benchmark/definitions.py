"""The definitions of scores and analogies, in NumPy's float64: slow, plain, and nothing of them compiled.

The searches that tests and benchmarks compare with rest on these, and on nothing of the kernels. The order
of summation is part of the definition, so answers agree to the last bit. Arrays are float64 here; the
float32 that searches read becomes float64 without rounding.

To add a metric: a function of queries and rows, and its place in ``METRICS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
LANES = 32


def lane_sum(terms: Array) -> Array:
    """Sum terms (…, dims) over the last axis: 32 lanes in rising dimension, then one fixed tree.

    Example:
        >>> lane_sum(np.ones((2, 40))).tolist()
        [40.0, 40.0]
    """
    lanes = np.zeros((*terms.shape[:-1], LANES))
    for start in range(0, terms.shape[-1], LANES):
        block = terms[..., start : start + LANES]
        lanes[..., : block.shape[-1]] += block
    for half in (16, 8, 4, 2, 1):
        lanes = lanes[..., :half] + lanes[..., half : 2 * half]
    return np.asarray(lanes[..., 0])


def cosine(queries: Array, rows: Array) -> Array:
    """Cosines (m, n) of queries (m, dims) and rows (n, dims); 0 where one of the two is zero."""
    norms = np.sqrt(lane_sum(queries * queries)[:, None] * lane_sum(rows * rows))
    quotients = np.divide(dot(queries, rows), norms, out=np.zeros(norms.shape), where=norms > 0)
    return np.asarray(np.clip(quotients, -1.0, 1.0) + 0.0)


def dot(queries: Array, rows: Array) -> Array:
    """Inner products (m, n)."""
    return _one_by_one(lambda query: lane_sum(query * rows), queries, rows)


def euclidean(queries: Array, rows: Array) -> Array:
    """Euclidean distances (m, n), negated so that larger is nearer."""

    def score(query: Array) -> Array:
        differences = query - rows
        return np.asarray(-np.sqrt(lane_sum(differences * differences)))

    return _one_by_one(score, queries, rows)


def manhattan(queries: Array, rows: Array) -> Array:
    """Sums (m, n) of absolute differences, negated so that larger is nearer."""
    return _one_by_one(lambda query: -lane_sum(np.abs(query - rows)), queries, rows)


def _one_by_one(score: Callable[[Array], Array], queries: Array, rows: Array) -> Array:
    """Scores of each query with all rows, without −0."""
    result = np.empty((len(queries), len(rows)))
    for line, query in zip(result, queries, strict=True):
        line[:] = score(query)
    return result + 0.0


METRICS: Mapping[str, Callable[[Array, Array], Array]] = {
    "cosine": cosine,
    "dot": dot,
    "euclidean": euclidean,
    "manhattan": manhattan,
}
"""The scores of queries and rows, by the names of the metrics that searches take."""


def publish(scores: Any) -> Array:
    """Scores as answers show them: float32, and +0.0 for the −0.0 of a tiny negative score."""
    with np.errstate(over="ignore"):
        return np.asarray(np.asarray(scores).astype(np.float32) + np.float32(0))


def unit(rows: Array) -> Array:
    """Rows of length one; zero rows stay zero.

    Example:
        >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6, 0.8], [0.0, 0.0]]
    """
    norms = np.sqrt(lane_sum(rows * rows))[..., None]
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


def addition_query(rows: Array, positive: Iterable[int], negative: Iterable[int]) -> Array:
    """The float32 query of 3CosAdd: Σ unit(positive) − Σ unit(negative), in the order given."""
    query = np.zeros(rows.shape[1])
    for index in positive:
        query += unit(rows[index])
    for index in negative:
        query -= unit(rows[index])
    return query.astype(np.float32)


def multiplication_scores(rows: Array, positive: Iterable[int], negative: Iterable[int]) -> Array:
    """3CosMul of every row: Π((1 + c⁺)/2) ÷ (Π((1 + c⁻)/2) + 0.001)."""
    numerator, denominator = np.ones(len(rows)), np.ones(len(rows))
    for index in positive:
        numerator *= (1.0 + cosine(rows[[index]], rows)[0]) / 2.0
    for index in negative:
        denominator *= (1.0 + cosine(rows[[index]], rows)[0]) / 2.0
    return numerator / (denominator + 0.001) + 0.0
