"""Searches whose answers are lists: the nearest rows of a corpus, and the nearest pairs of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import fastvec
from fastvec.choices import Metric

from . import similarity
from ._inputs import array, corpus_rows, is_sparse, named, rows, tensor
from .closest import Ranked, closest_pairs
from .similarity import cos_sim

Array = npt.NDArray[Any]
ScoreFunction = Callable[[Any, Any], Any]

METRICS: dict[str, Metric] = {
    "cos_sim": "cosine",
    "pytorch_cos_sim": "cosine",
    "dot_score": "dot",
    "euclidean_sim": "euclidean",
    "manhattan_sim": "manhattan",
}
"""The metric of each score function, by its name here and in sentence-transformers."""

_BLOCK = 4096
"""Rows that are searched at a time for pairs."""

_FEW = 256
"""Rows that are searched without an Index."""

_MOST_WAITING = 1 << 20
"""Pairs that are gathered before the best are selected, unless more are wanted."""


class Chunks(NamedTuple):
    """How inputs are passed to a score function of the caller."""

    queries: int
    corpus: int
    read: Callable[[Any], Any]
    """Makes the inputs something of which the function gets slices."""


def semantic_search(
    query_embeddings: Any,
    corpus_embeddings: Any,
    query_chunk_size: int = 100,
    corpus_chunk_size: int = 500_000,
    top_k: int = 10,
    score_function: ScoreFunction = cos_sim,
) -> list[list[dict[str, int | float]]]:
    """The ``top_k`` rows of the corpus that are nearest to each query, best first.

    Args:
        query_embeddings: (m, dims) or (dims,).
        corpus_embeddings: (n, dims), or (dims,) for one row.
        query_chunk_size: queries that are passed to your own ``score_function`` at a time.
        corpus_chunk_size: rows of the corpus that are passed to it at a time.
        top_k: answers to each query; if the corpus is smaller, all of its rows.
        score_function: ``cos_sim``, ``dot_score``, ``euclidean_sim`` or ``manhattan_sim``, also those of
            sentence-transformers; or your own function of a chunk of queries and a chunk of the corpus, both
            tensors, which returns their scores as a tensor or an array (m, n). The scores of sparse tensors
            are computed by PyTorch, chunk by chunk, in float64.

    Returns:
        For each query a list of ``{"corpus_id": int, "score": float}``.

    Raises:
        ValueError: if an input has NaN or infinity (the message names argument and row), or shapes do not
            fit.

    Example:
        >>> from fastvec.integrations.sentence_transformers import semantic_search
        >>> semantic_search([1.0, 0.0], [[0.0, 1.0], [2.0, 0.0], [3.0, 4.0]], top_k=2)[0][0]
        {'corpus_id': 1, 'score': 1.0}
    """
    chunks = Chunks(query_chunk_size, corpus_chunk_size, tensor)
    return searched(query_embeddings, corpus_embeddings, top_k, score_function, chunks)


def paraphrase_mining_embeddings(
    embeddings: Any,
    query_chunk_size: int = 5000,
    corpus_chunk_size: int = 100_000,
    max_pairs: int = 500_000,
    top_k: int = 100,
    score_function: ScoreFunction = cos_sim,
) -> list[list[float | int]]:
    """The pairs of rows that are most similar: each row with its ``top_k`` nearest others, every pair once.

    Args:
        embeddings: (n, dims).
        query_chunk_size: rows that are passed to your own ``score_function`` at a time.
        corpus_chunk_size: rows that these are compared with at a time.
        max_pairs: the largest number of pairs to return.
        top_k: neighbors of each row that are considered.
        score_function: as for ``semantic_search``. The order of two rows should not change their score: if it
            does, that of the row that comes first counts.

    Returns:
        Lists [score, i, j] with i < j, best first; equal scores by rising i, then j.

    Raises:
        ValueError: if the input has NaN or infinity (the message names the row), or a wrong shape.

    Example:
        >>> from fastvec.integrations.sentence_transformers import paraphrase_mining_embeddings
        >>> paraphrase_mining_embeddings([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]], max_pairs=1)
        [[1.0, 0, 2]]
    """
    chunks = Chunks(query_chunk_size, corpus_chunk_size, tensor)
    return mined(embeddings, max_pairs, top_k, score_function, chunks)


def searched(
    query_embeddings: Any, corpus_embeddings: Any, top_k: int, score: ScoreFunction, chunks: Chunks
) -> list[list[dict[str, int | float]]]:
    """``semantic_search``, with inputs for a score function of the caller read as ``chunks`` says."""
    metric = _metric(score)
    if metric is None or is_sparse(query_embeddings) or is_sparse(corpus_embeddings):
        score, read = _scored_in_chunks(score, metric, chunks)
        queries, corpus = read(query_embeddings), read(corpus_embeddings)
        queries = queries[None] if queries.ndim == 1 else queries
        corpus = corpus[None] if corpus.ndim == 1 and len(corpus) else corpus
        answers = _found(queries, corpus, top_k, score, chunks)
        if metric is not None:
            answers = answers._replace(scores=answers.scores.astype(np.float32))
    else:
        queries, corpus = rows(query_embeddings), corpus_rows(corpus_embeddings)
        if top_k == 0 or len(corpus) == 0:
            return [[] for _ in queries]
        try:
            answers = fastvec.knn(queries, corpus, min(top_k, len(corpus)), metric=metric)
        except ValueError as error:
            raise named(error, (queries, "query_embeddings"), (corpus, "corpus_embeddings")) from None
    return [
        [{"corpus_id": index, "score": score} for index, score in zip(indices, scores, strict=True)]
        for indices, scores in zip(answers.indices.tolist(), answers.scores.tolist(), strict=True)
    ]


def mined(
    embeddings: Any, max_pairs: int, top_k: int, score: ScoreFunction, chunks: Chunks
) -> list[list[float | int]]:
    """``paraphrase_mining_embeddings``, with inputs for a score function read as ``chunks`` says."""
    metric = _metric(score)
    if metric is None or is_sparse(embeddings):
        score, read = _scored_in_chunks(score, metric, chunks)
        matrix, metric = read(embeddings), None
    else:
        matrix = corpus_rows(embeddings)
    k = min(top_k, len(matrix) - 1)
    if k < 1 or max_pairs < 1:
        return []
    if metric is None:
        return _lists(_best_of(_other_rows(matrix, k, score, chunks), len(matrix), max_pairs, k))
    try:
        return _lists(_mined(matrix, max_pairs, k, metric))
    except ValueError as error:
        raise named(error, (matrix, "embeddings")) from None


def _mined(matrix: Array, max_pairs: int, k: int, metric: Metric) -> Ranked:
    """The best pairs by a metric: by a join where that tells them, else by searches for every row."""
    n = len(matrix)
    if n <= _FEW:  # an Index would take longer than the search
        if k == n - 1:  # all pairs
            found = fastvec.knn(matrix, matrix, n, metric=metric)
            i, place = np.nonzero(found.indices > np.arange(n)[:, None])
            scores, j = found.scores[i, place], found.indices[i, place]
            best = np.lexsort((j, i, -scores))[:max_pairs]
            return scores[best], i[best], j[best]
        itself = np.arange(n)[:, None]
        found = fastvec.knn(matrix, matrix, k, metric=metric, exclude=itself)
        return _best_of([(0, found)], n, max_pairs, k)
    joined = closest_pairs(matrix, metric, k, max_pairs)
    if joined is not None:
        return joined
    return _best_of(_neighbors(fastvec.Index(matrix, metric=metric), k), n, max_pairs, k)


def _best_of(found: Iterable[tuple[int, fastvec.TopK]], n: int, most: int, k: int) -> Ranked:
    """The best pairs among the k neighbors of each of n rows, some rows at a time."""
    best = _BestPairs(n, most, k)
    for first, neighbors in found:
        best.add(first, neighbors)
    return best.ranked()


def _lists(ranked: Ranked) -> list[list[float | int]]:
    """[score, i, j] of each pair."""
    return list(map(list, zip(*(column.tolist() for column in ranked), strict=True)))


def _metric(score: ScoreFunction) -> Metric | None:
    """The metric of a score function of this package or of sentence-transformers; None for any other."""
    module = getattr(score, "__module__", None) or ""
    if module.startswith("sentence_transformers.") or module.startswith(__package__):
        return METRICS.get(getattr(score, "__name__", ""))
    return None


def _scored_in_chunks(
    score: ScoreFunction, metric: Metric | None, chunks: Chunks
) -> tuple[ScoreFunction, Callable[[Any], Any]]:
    """A score function for chunks, and how its inputs are read; a known one scores sparse rows in float64."""
    if metric is None:
        return score, chunks.read
    return getattr(similarity, score.__name__), lambda value: tensor(value).double()


def _found(queries: Any, corpus: Any, top_k: int, score: ScoreFunction, chunks: Chunks) -> fastvec.TopK:
    """The best rows by a function of chunks; equal scores by rising index, for any chunk sizes."""
    k = min(top_k, len(corpus))
    answers = [fastvec.TopK(np.empty((0, k), np.float32), np.empty((0, k), np.int64))]
    for start in range(0, len(queries), chunks.queries):
        chunk = _part(queries, start, chunks.queries)
        if k == 0:
            answers.append(
                fastvec.TopK(np.empty((len(chunk), 0), np.float32), np.empty((len(chunk), 0), int))
            )
            continue
        scores: Any = np.empty((len(chunk), 0), np.int8)  # becomes the type of the scores
        indices = np.empty((len(chunk), 0), np.int64)
        for first in range(0, len(corpus), chunks.corpus):
            values = array(score(chunk, _part(corpus, first, chunks.corpus)))
            numbers = np.broadcast_to(np.arange(first, first + values.shape[1]), values.shape)
            # Earlier rows have smaller indices and come first, so that equal scores stay in order.
            scores = np.concatenate([scores, values], axis=1)
            indices = np.concatenate([indices, numbers], axis=1)
            order = fastvec.topk(scores, min(k, scores.shape[1])).indices
            scores, indices = np.take_along_axis(scores, order, 1), np.take_along_axis(indices, order, 1)
        answers.append(fastvec.TopK(scores, indices))
    return fastvec.TopK(
        np.concatenate([answer.scores for answer in answers]),
        np.concatenate([answer.indices for answer in answers]),
    )


def _part(matrix: Any, start: int, size: int) -> Any:
    """Some rows of a matrix or a tensor."""
    if not is_sparse(matrix):
        return matrix[start : start + size]
    stop = min(start + size, len(matrix))
    return matrix.index_select(0, tensor(np.arange(start, stop)).to(matrix.device))


def _neighbors(index: fastvec.Index, k: int) -> Iterator[tuple[int, fastvec.TopK]]:
    """The k nearest others of every row, some rows at a time, with the number of the first of these."""
    vectors = index.vectors
    for first in range(0, len(vectors), _BLOCK):
        part = vectors[first : first + _BLOCK]
        itself = np.arange(first, first + len(part))[:, None]
        yield first, index.search(part, k, exclude=itself)


def _other_rows(
    matrix: Any, k: int, score: ScoreFunction, chunks: Chunks
) -> Iterator[tuple[int, fastvec.TopK]]:
    """``_neighbors`` by a function of chunks."""
    for first in range(0, len(matrix), chunks.queries):
        scores, indices = _found(_part(matrix, first, chunks.queries), matrix, k + 1, score, chunks)
        others = indices != np.arange(first, first + len(indices))[:, None]
        others[others.all(axis=1), -1] = False  # one more than wanted
        shape = (len(indices), k)
        yield first, fastvec.TopK(scores[others].reshape(shape), indices[others].reshape(shape))


class _BestPairs:
    """The best pairs of n rows among those that were added; each pair counts once.

    A pair (i, j) is held as the number i · n + j, in whose order equal scores are listed.
    """

    def __init__(self, n: int, most: int, neighbors: int) -> None:
        self._n, self._most = n, most
        self._repeated = neighbors < n - 1
        """Whether a pair may come once or twice; if all come twice, those of the first row count."""
        self._scores: list[Array] = []
        self._pairs: list[Array] = []
        self._waiting = 0
        self._least = -np.inf

    def add(self, first: int, neighbors: fastvec.TopK) -> None:
        """Add rows, the first of which has this number, with their neighbors."""
        i, j = np.arange(first, first + len(neighbors.indices))[:, None], neighbors.indices
        wanted = neighbors.scores >= self._least
        if not self._repeated:
            wanted &= i < j
        pairs = (np.minimum(i, j) * self._n + np.maximum(i, j))[wanted]
        self._scores.append(neighbors.scores[wanted])
        self._pairs.append(pairs)
        self._waiting += len(pairs)
        if self._waiting > max(self._most, _MOST_WAITING):
            self._select()

    def ranked(self) -> Ranked:
        """The best of them, best first."""
        self._select()
        return self._scores[0], *np.divmod(self._pairs[0], self._n)

    def _select(self) -> None:
        """Keep the best pairs only, without repetitions."""
        scores, pairs = np.concatenate(self._scores), np.concatenate(self._pairs)
        order = np.argsort(pairs, kind="stable")  # of repeated pairs, the one that was added first counts
        scores, pairs = scores[order], pairs[order]
        if self._repeated:
            new = np.concatenate([[True], pairs[1:] != pairs[:-1]])
            scores, pairs = scores[new], pairs[new]
        order = np.argsort(-scores, kind="stable")[: self._most]
        self._scores, self._pairs = [scores[order]], [pairs[order]]
        self._waiting = 0
        if len(order) == self._most:
            self._least = scores[order[-1]]
