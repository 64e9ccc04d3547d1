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


class Audit(NamedTuple):
    exact: bool
    recall: float
    first_wrong: list
    order_errors: int
    score_error: float
    kth_score: list
    best_left_out: list
    missing: int
    impossible: int
    forbidden: int
    repeated: int


def audit(queries, vectors, indices, scores=None, metric="cosine", dims=None, where=None):
    """Answers (lists of row numbers, of one length) judged one by one, rank by rank."""
    queries = np.atleast_2d(as_float32(queries))
    m, n = len(queries), len(vectors)
    right = METRICS[metric](columns(queries, dims), columns(vectors, dims))
    allowed = allowed_rows(m, n, where)
    counts = dict.fromkeys(("order", "missing", "impossible", "forbidden", "repeated"), 0)
    first_wrong, kth, left_out, errors = [], [], [], [0.0]
    hits = possible = 0
    for q, answer in enumerate(np.asarray(indices).tolist()):
        ranked_rows = [row for row in ranked(right[q], True) if allowed[q][row]]
        best = [right[q][row] for row in ranked_rows[: len(answer)]]
        kth.append(best[-1] if best else -np.inf)
        possible += len(best)
        first, before, seen, missing = -1, None, set(), -(len(answer) - len(best))
        for rank, row in enumerate(answer):
            exists = 0 <= row < n
            should = best[rank] if rank < len(best) else None
            fits = exists and allowed[q][row] and row not in seen
            if row == -1:
                missing += 1
                is_wrong = should is not None
            else:
                counts["impossible"] += not exists
                counts["forbidden"] += exists and not allowed[q][row]
                counts["repeated"] += exists and row in seen
                hits += fits and right[q][row] >= kth[-1]
                is_wrong = not fits or should is None or right[q][row] != should
            if is_wrong and first < 0:
                first = rank
            own = right[q][row] if exists else -np.inf if row == -1 else None
            counts["order"] += own is not None and before is not None and own > before
            before = own
            if exists:
                seen.add(row)
                if scores is not None:
                    errors.append(abs(float(scores[q][rank]) - right[q][row]))
        first_wrong.append(first)
        counts["missing"] += max(0, missing)
        left_out.append(next((right[q][row] for row in ranked_rows if row not in seen), -np.inf))
    return Audit(
        exact=all(first < 0 for first in first_wrong),
        recall=hits / possible if possible else 1.0,
        first_wrong=first_wrong,
        order_errors=counts["order"],
        score_error=np.nan if scores is None else max(errors),
        kth_score=kth,
        best_left_out=left_out,
        missing=counts["missing"],
        impossible=counts["impossible"],
        forbidden=counts["forbidden"],
        repeated=counts["repeated"],
    )


class Pairs(NamedTuple):
    left: np.ndarray
    right: np.ndarray
    scores: np.ndarray


def pairs(vectors, least, metric="cosine", dims=None, where=None, other=None):
    """All pairs that reach a score, of two rows of one matrix or of one row of each of two."""
    matrix = publish(scores(vectors, vectors if other is None else other, metric, dims))
    reached = matrix >= np.float32(least)
    if other is None:
        reached = np.triu(reached, 1)
    if where is not None:
        allowed = allowed_rows(1, len(vectors), where)[0]
        reached &= allowed[:, None]
        if other is None:
            reached &= allowed
    left, right = np.nonzero(reached)
    return Pairs(left, right, matrix[left, right])


def duplicates(vectors, least, metric="cosine", dims=None):
    """The lowest row of each row's group: labels fall along pairs until none does any more."""
    left, right, _ = pairs(vectors, least, metric, dims)
    group = np.arange(len(vectors))
    while True:
        before = group.copy()
        np.minimum.at(group, left, before[right])
        np.minimum.at(group, right, before[left])
        if np.array_equal(group, before):
            return group
