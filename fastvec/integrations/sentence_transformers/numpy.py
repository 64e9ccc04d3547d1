"""The functions of ``fastvec.integrations.sentence_transformers`` with NumPy arrays as results.

    from fastvec.integrations.sentence_transformers.numpy import cos_sim, semantic_search

They need no PyTorch, and take its tensors as well. Your own score functions get slices of the inputs: arrays
of arrays, tensors of tensors. Otherwise, what ``fastvec.integrations.sentence_transformers`` says holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import fastvec

from . import retrieval
from ._inputs import host, named, rows
from .communities import community_detection

__all__ = [
    "community_detection",
    "cos_sim",
    "dot_score",
    "euclidean_sim",
    "normalize_embeddings",
    "pairwise_cos_sim",
    "pairwise_dot_score",
    "pairwise_euclidean_sim",
    "paraphrase_mining_embeddings",
    "semantic_search",
    "truncate_embeddings",
]

Array = npt.NDArray[Any]

_CANCELED = 1e-7
"""Squared distances below this share of the squared lengths are computed from the differences."""


def cos_sim(a: Any, b: Any) -> Array:
    """Cosine of every row of a with every row of b; a zero row scores 0.

    Args:
        a: (m, dims) or (dims,) embeddings.
        b: (n, dims) or (dims,).

    Returns:
        (m, n), float64 if either input is float64, else float32.

    Raises:
        ValueError: if an input has NaN or infinity (the message names argument and row), or shapes do not
            fit.

    Example:
        >>> from fastvec.integrations.sentence_transformers.numpy import cos_sim
        >>> cos_sim([1.0, 0.0], [[2.0, 0.0], [1.0, 1.0]]).round(4)
        array([[1.    , 0.7071]])
    """
    return cosines(rows(a), rows(b))


def cosines(queries: Array, vectors: Array) -> Array:
    """``cos_sim`` of two matrices."""
    try:
        return fastvec.cosine_similarity(queries, vectors)
    except ValueError as error:
        raise named(error, (queries, "a"), (vectors, "b")) from None


def dot_score(a: Any, b: Any) -> Array:
    """Dot product of every row of a with every row of b.

    Args:
        a: (m, dims) or (dims,) embeddings.
        b: (n, dims) or (dims,).

    Returns:
        (m, n), float64 if either input is float64, else float32; of integers, integers.

    Raises:
        ValueError: if shapes do not fit.

    Example:
        >>> from fastvec.integrations.sentence_transformers.numpy import dot_score
        >>> dot_score([[1.0, 2.0]], [[3.0, 4.0], [0.0, 1.0]])
        array([[11.,  2.]])
    """
    product: Array = rows(a) @ rows(b).T
    return product


def euclidean_sim(a: Any, b: Any) -> Array:
    """The negative Euclidean distance of every row of a from every row of b; 0 for equal rows.

    Args:
        a: (m, dims) or (dims,) embeddings.
        b: (n, dims) or (dims,).

    Returns:
        (m, n), float64 if either input is float64, else float32.

    Raises:
        ValueError: if shapes do not fit.

    Example:
        >>> from fastvec.integrations.sentence_transformers.numpy import euclidean_sim
        >>> euclidean_sim([[0.0, 0.0]], [[3.0, 4.0], [0.0, 0.0]])
        array([[-5.,  0.]])
    """
    queries, vectors = rows(a), rows(b)
    left, right = queries.astype(np.float64, copy=False), vectors.astype(np.float64, copy=False)
    sizes = np.einsum("ij,ij->i", left, left)[:, None] + np.einsum("ij,ij->i", right, right)
    squares = left @ right.T
    squares *= -2
    squares += sizes
    # Where rows almost agree, the sum above has canceled.
    for i, j in _blocks(*np.nonzero(squares <= _CANCELED * sizes)):
        difference = left[i] - right[j]
        squares[i, j] = np.einsum("ij,ij->i", difference, difference)
    return (0 - np.sqrt(squares)).astype(_score_type(queries, vectors), copy=False)


def pairwise_cos_sim(a: Any, b: Any) -> Array:
    """Cosine of each row of a with the row of b at the same place; a zero row scores 0.

    Args:
        a: (n, dims) or (dims,) embeddings.
        b: likewise.

    Returns:
        (n,), or (1,) for two single rows; float64 if either input is float64, else float32.

    Example:
        >>> from fastvec.integrations.sentence_transformers.numpy import pairwise_cos_sim
        >>> pairwise_cos_sim([[3.0, 4.0], [1.0, 0.0]], [[6.0, 8.0], [0.0, 2.0]])
        array([1., 0.])
    """
    queries, vectors = rows(a), rows(b)
    lengths = _length(queries) * _length(vectors)
    cosines = _dots(queries, vectors) / np.where(lengths == 0, 1, lengths)
    return np.clip(cosines, -1, 1).astype(_score_type(queries, vectors), copy=False)


def pairwise_dot_score(a: Any, b: Any) -> Array:
    """Dot product of each row of a with the row of b at the same place.

    Args:
        a: (n, dims) or (dims,) embeddings.
        b: likewise.

    Returns:
        (n,), or (1,) for two single rows; float64 if either input is float64, else float32.

    Example:
        >>> from fastvec.integrations.sentence_transformers.numpy import pairwise_dot_score
        >>> pairwise_dot_score([[3.0, 4.0], [1.0, 0.0]], [[6.0, 8.0], [0.0, 2.0]])
        array([50.,  0.])
    """
    queries, vectors = rows(a), rows(b)
    return _dots(queries, vectors).astype(_score_type(queries, vectors), copy=False)


def pairwise_euclidean_sim(a: Any, b: Any) -> Array:
    """The negative Euclidean distance of each row of a from the row of b at the same place.

    Args:
        a: (n, dims) or (dims,) embeddings.
        b: likewise.

    Returns:
        (n,), or (1,) for two single rows; float64 if either input is float64, else float32.

    Example:
        >>> from fastvec.integrations.sentence_transformers.numpy import pairwise_euclidean_sim
        >>> pairwise_euclidean_sim([[3.0, 4.0], [1.0, 0.0]], [[0.0, 0.0], [1.0, 0.0]])
        array([-5.,  0.])
    """
    queries, vectors = rows(a), rows(b)
    distances = _length(np.subtract(queries, vectors, dtype=np.float64))
    return (0 - distances).astype(_score_type(queries, vectors), copy=False)


def normalize_embeddings(embeddings: Any) -> Array:
    """Rows of unit Euclidean length; zero rows stay zero.

    Args:
        embeddings: (n, dims) or (dims,).

    Returns:
        Of the same shape; float32.

    Raises:
        ValueError: if a row has NaN or infinity (the message names it).

    Example:
        >>> from fastvec.integrations.sentence_transformers.numpy import normalize_embeddings
        >>> normalize_embeddings([3.0, 4.0])
        array([0.6, 0.8], dtype=float32)
    """
    matrix = rows(embeddings)
    try:
        return fastvec.normalize(matrix).reshape(np.shape(embeddings))
    except ValueError as error:
        raise named(error, (matrix, "embeddings")) from None


def truncate_embeddings(embeddings: Any, truncate_dim: int | None) -> Array:
    """The first columns of the embeddings, as they are: rows are not scaled to unit length again.

    Args:
        embeddings: (…, dims).
        truncate_dim: columns to keep, as in a slice (−1 leaves out the last one); None: all.

    Returns:
        A view of the embeddings if they are an array.

    Example:
        >>> from fastvec.integrations.sentence_transformers.numpy import truncate_embeddings
        >>> truncate_embeddings([[3, 4, 12]], 2)
        array([[3, 4]])
    """
    return np.asarray(host(embeddings))[..., :truncate_dim]


def semantic_search(
    query_embeddings: Any,
    corpus_embeddings: Any,
    query_chunk_size: int = 100,
    corpus_chunk_size: int = 500_000,
    top_k: int = 10,
    score_function: Callable[[Any, Any], Any] = cos_sim,
) -> list[list[dict[str, int | float]]]:
    """As ``semantic_search`` of the package; your own score function gets slices of the inputs.

    Args:
        query_embeddings: (m, dims) or (dims,).
        corpus_embeddings: (n, dims), or (dims,) for one row.
        query_chunk_size: queries that are passed to your own ``score_function`` at a time.
        corpus_chunk_size: rows of the corpus that are passed to it at a time.
        top_k: answers to each query; if the corpus is smaller, all of its rows.
        score_function: a similarity function of this package or of sentence-transformers, or your own.

    Returns:
        For each query a list of ``{"corpus_id": int, "score": float}``.

    Raises:
        ValueError: if an input has NaN or infinity, or shapes do not fit.

    Example:
        >>> from fastvec.integrations.sentence_transformers.numpy import semantic_search
        >>> semantic_search([1.0, 0.0], [[0.0, 1.0], [2.0, 0.0], [3.0, 4.0]], top_k=2)[0][0]
        {'corpus_id': 1, 'score': 1.0}
    """
    chunks = retrieval.Chunks(query_chunk_size, corpus_chunk_size, host)
    return retrieval.searched(query_embeddings, corpus_embeddings, top_k, score_function, chunks)


def paraphrase_mining_embeddings(
    embeddings: Any,
    query_chunk_size: int = 5000,
    corpus_chunk_size: int = 100_000,
    max_pairs: int = 500_000,
    top_k: int = 100,
    score_function: Callable[[Any, Any], Any] = cos_sim,
) -> list[list[float | int]]:
    """As ``paraphrase_mining_embeddings`` of the package; your own score function gets slices of the input.

    Args:
        embeddings: (n, dims).
        query_chunk_size: rows that are passed to your own ``score_function`` at a time.
        corpus_chunk_size: rows that these are compared with at a time.
        max_pairs: the largest number of pairs to return.
        top_k: neighbors of each row that are considered.
        score_function: a similarity function of this package or of sentence-transformers, or your own.

    Returns:
        Lists [score, i, j] with i < j, best first.

    Raises:
        ValueError: if the input has NaN or infinity, or a wrong shape.

    Example:
        >>> from fastvec.integrations.sentence_transformers.numpy import paraphrase_mining_embeddings
        >>> paraphrase_mining_embeddings([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]], max_pairs=1)
        [[1.0, 0, 2]]
    """
    chunks = retrieval.Chunks(query_chunk_size, corpus_chunk_size, host)
    return retrieval.mined(embeddings, max_pairs, top_k, score_function, chunks)


def _score_type(a: Array, b: Array) -> type[np.floating[Any]]:
    return np.float64 if np.float64 in (a.dtype, b.dtype) else np.float32


def _dots(a: Array, b: Array) -> Array:
    dots: Array = np.einsum("ij,ij->i", a, b, dtype=np.float64)
    return dots


def _length(a: Array) -> Array:
    lengths: Array = np.sqrt(_dots(a, a))
    return lengths


def _blocks(i: Array, j: Array) -> Any:
    """Places in a matrix, some at a time, so that their rows take little memory."""
    return ((i[start : start + 4096], j[start : start + 4096]) for start in range(0, len(i), 4096))
