"""What every search must return: all rows scored in float64, ranked by a stable sort.

The definitions of scores and analogies have one home, from which ``fastvec bench`` and ``fastvec doctor``
take them, too. Neither they nor anything here shares a line with the kernels: a mistake in one shows against
the other. ``test_oracle.py`` compares them with plain loops and exact fractions.
"""

from typing import NamedTuple

import numpy as np

from fastvec.benchmark.definitions import (
    METRICS,
    addition_query,
    multiplication_scores,
    publish,
    unit,
)
from fastvec.benchmark.definitions import lane_sum as lane_sum  # for tests of bounds


class TopK(NamedTuple):
    scores: np.ndarray
    indices: np.ndarray


def as_float32(values):
    """The float32 matrix that the library reads: other numbers are rounded once."""
    return np.ascontiguousarray(np.asarray(values).astype(np.float32))


def columns(values, dims):
    """The first `dims` columns as float64; float32 to float64 is exact."""
    return as_float32(values)[:, :dims].astype(np.float64)


def scores(queries, vectors, metric="cosine", dims=None):
    """Float64 scores (m, n)."""
    return METRICS[metric](columns(queries, dims), columns(vectors, dims))


def ranked(values, largest):
    """Indices from best to worst, ties by rising index; no negation, so any dtype is ranked as it is."""
    if largest:
        return len(values) - 1 - np.argsort(values[::-1], kind="stable")[::-1]
    return np.argsort(values, kind="stable")


def select(matrix, k, allowed=None, largest=True):
    """The k best allowed entries of every row, filled up with index -1 and the worst score."""
    result = TopK(
        np.full((len(matrix), k), -np.inf if largest else np.inf, np.float32),
        np.full((len(matrix), k), -1, np.int64),
    )
    for i, row in enumerate(matrix):
        order = ranked(row, largest)
        if allowed is not None:
            order = order[allowed[i][order]]
        order = order[:k]
        result.indices[i, : len(order)] = order
        result.scores[i, : len(order)] = publish(row[order])
    return result


def topk(matrix, k, largest=True):
    matrix = np.asarray(matrix)
    if matrix.ndim == 1:
        return TopK(*(part[0] for part in select(matrix[None], k, largest=largest)))
    return select(matrix, k, largest=largest)


def allowed_rows(m, n, where=None, exclude=None):
    """Boolean (m, n): which rows each query may return."""
    allowed = np.ones((m, n), bool)
    if where is not None:
        where = np.asarray(where)
        if where.dtype == bool:
            allowed &= where
        else:
            allowed &= np.isin(np.arange(n), where)
    if exclude is not None:
        for row, indices in zip(allowed, exclude, strict=True):
            for index in indices:
                if index != -1:
                    row[index] = False
    return allowed


def knn(queries, vectors, k, metric="cosine", dims=None, where=None, exclude=None):
    queries = as_float32(queries)
    if queries.ndim == 1:
        if exclude is not None:
            exclude = [exclude]
        return TopK(*(part[0] for part in knn(queries[None], vectors, k, metric, dims, where, exclude)))
    allowed = allowed_rows(len(queries), len(vectors), where, exclude)
    return select(scores(queries, vectors, metric, dims), k, allowed)


def normalize(vectors):
    return unit(columns(vectors, None)).astype(np.float32)


def truncate(vectors, dims, renormalize=True):
    kept = as_float32(vectors)[:, :dims]
    return normalize(kept) if renormalize else kept.copy()


def analogy(vectors, positive, negative, k=1, method="3cosadd", exclude_inputs=True, dims=None, where=None):
    """Questions as lists of index lists; one flat list is one question with 1-D results."""
    if np.ndim(positive[0]) == 0:
        answer = analogy(vectors, [positive], [negative], k, method, exclude_inputs, dims, where)
        return TopK(*(part[0] for part in answer))
    rows = columns(vectors, dims)
    inputs = [[*p, *q] for p, q in zip(positive, negative, strict=True)]
    exclude = inputs if exclude_inputs else None
    if method == "3cosadd":
        queries = [addition_query(rows, p, q) for p, q in zip(positive, negative, strict=True)]
        return knn(queries, vectors, k, dims=dims, where=where, exclude=exclude)
    matrix = np.array([multiplication_scores(rows, p, q) for p, q in zip(positive, negative, strict=True)])
    return select(matrix, k, allowed_rows(len(matrix), len(rows), where, exclude))
