"""What every search must return: the definitions, computed slowly and plainly in float64.

One order of summation is part of the definition, so answers are compared bit for bit.
Nothing here is shared with the library: a mistake in one shows against the other.
"""

from typing import NamedTuple

import numpy as np

LANES = 32


class TopK(NamedTuple):
    scores: np.ndarray
    indices: np.ndarray


def as_float32(values):
    """The float32 matrix that the library reads: other numbers are rounded once."""
    return np.ascontiguousarray(np.asarray(values).astype(np.float32))


def lane_sum(terms):
    """Sum float64 terms over the last axis: 32 lanes in rising dimension, then one fixed tree."""
    lanes = np.zeros((*terms.shape[:-1], LANES))
    for start in range(0, terms.shape[-1], LANES):
        block = terms[..., start : start + LANES]
        lanes[..., : block.shape[-1]] += block
    for half in (16, 8, 4, 2, 1):
        lanes = lanes[..., :half] + lanes[..., half : 2 * half]
    return lanes[..., 0]


def dot(query, rows):
    return lane_sum(query * rows) + 0.0


def cosine(query, rows):
    query_square, row_squares = lane_sum(query * query), lane_sum(rows * rows)
    norms = np.sqrt(query_square * row_squares)
    quotients = np.divide(lane_sum(query * rows), norms, out=np.zeros(len(rows)), where=norms > 0)
    return np.clip(quotients, -1.0, 1.0) + 0.0


def euclidean(query, rows):
    differences = query - rows
    return -np.sqrt(lane_sum(differences * differences)) + 0.0


METRICS = {"cosine": cosine, "dot": dot, "euclidean": euclidean}


def columns(values, dims):
    """The first `dims` columns as float64; float32 to float64 is exact."""
    return as_float32(values)[:, :dims].astype(np.float64)


def scores(queries, vectors, metric="cosine", dims=None):
    """Float64 scores (m, n)."""
    queries, vectors = columns(queries, dims), columns(vectors, dims)
    result = np.empty((len(queries), len(vectors)))
    for row, query in zip(result, queries, strict=True):
        row[:] = METRICS[metric](query, vectors)
    return result


def publish(values):
    """Round to float32. The sum turns the -0.0 of a tiny negative score into +0.0."""
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(np.float32) + np.float32(0)


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


def unit(rows):
    """Float64 rows of length one; zero rows stay zero."""
    norms = np.sqrt(lane_sum(rows * rows))[..., None]
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


def normalize(vectors):
    return unit(columns(vectors, None)).astype(np.float32)


def truncate(vectors, dims, renormalize=True):
    kept = as_float32(vectors)[:, :dims]
    return normalize(kept) if renormalize else kept.copy()


def addition_query(rows, positive, negative):
    """The float32 query of 3CosAdd: Σ unit(positive) - Σ unit(negative), in the order given."""
    query = np.zeros(rows.shape[1])
    for index in positive:
        query += unit(rows[index])
    for index in negative:
        query -= unit(rows[index])
    return query.astype(np.float32)


def multiplication_scores(rows, positive, negative):
    """Float64 3CosMul of every row: Π((1 + c⁺)/2) ÷ (Π((1 + c⁻)/2) + 0.001)."""
    numerator, denominator = np.ones(len(rows)), np.ones(len(rows))
    for index in positive:
        numerator *= (1.0 + cosine(rows[index], rows)) / 2.0
    for index in negative:
        denominator *= (1.0 + cosine(rows[index], rows)) / 2.0
    return numerator / (denominator + 0.001) + 0.0


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
