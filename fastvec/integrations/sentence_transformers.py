"""``semantic_search``, ``cos_sim`` and ``dot_score`` of ``sentence_transformers.util``.

In code with

    from sentence_transformers.util import semantic_search

only the import changes:

    from fastvec.integrations.sentence_transformers import semantic_search

Embeddings are PyTorch tensors, NumPy arrays or lists of either; neither sentence-transformers nor
PyTorch need be installed, and PyTorch is used only for its own tensors. Tensors in this
computer's memory are read in place. Tensors on a device are copied to this computer's memory, and
bfloat16 and float16 are converted to float32.

Deliberate differences from sentence-transformers 6.2:

- The search is exact and the same for every chunk size: chunks only limit the memory of your own
  score functions. Equal scores are listed by rising ``corpus_id``, and scores are the float32
  roundings of float64 sums.
- float64 embeddings are searched as float32; ``cos_sim`` and ``dot_score`` compute them in float64.
- NaN and infinity, which would corrupt the ranking, raise a ``ValueError`` that names argument and row.
- Rows of 1e30 or 1e-30 come out right, similarities never leave [−1, 1].
- ``cos_sim`` and ``dot_score`` return tensors if an input is a tensor, else NumPy arrays.
  Results carry no gradients, integers are taken as numbers, and types may be mixed.
- Shapes that do not fit raise ``ValueError`` (PyTorch: ``RuntimeError``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import fastvec

from ._refusal import check_finite

__all__ = ["cos_sim", "dot_score", "semantic_search"]


def cos_sim(a: Any, b: Any) -> Any:
    """Cosine of every row of a with every row of b; a zero row scores 0.

    Args:
        a: (m, dims) or (dims,) embeddings.
        b: (n, dims) or (dims,).

    Returns:
        (m, n), float64 if either input is float64, else float32; a tensor on the device of ``a`` if either is
        a tensor.

    Raises:
        ValueError: if an input has NaN or infinity (the message names argument and row), or shapes do not
            fit.

    Example:
        >>> from fastvec.integrations.sentence_transformers import cos_sim
        >>> cos_sim([1.0, 0.0], [[2.0, 0.0], [1.0, 1.0]]).round(4)
        array([[1.    , 0.7071]])
    """
    queries, vectors = _matrix(a), _matrix(b)
    try:
        return _like(fastvec.cosine_similarity(queries, vectors), a, b)
    except ValueError:
        check_finite(queries, "a")
        check_finite(vectors, "b")
        raise


def dot_score(a: Any, b: Any) -> Any:
    """Dot product of every row of a with every row of b.

    Args:
        a: (m, dims) or (dims,) embeddings.
        b: (n, dims) or (dims,).

    Returns:
        (m, n), float64 if either input is float64, else float32; a tensor on the device of ``a`` if either is
        a tensor.

    Raises:
        ValueError: if shapes do not fit.

    Example:
        >>> from fastvec.integrations.sentence_transformers import dot_score
        >>> dot_score([[1.0, 2.0]], [[3.0, 4.0], [0.0, 1.0]])
        array([[11.,  2.]])
    """
    return _like(_matrix(a) @ _matrix(b).T, a, b)


def semantic_search(
    query_embeddings: Any,
    corpus_embeddings: Any,
    query_chunk_size: int = 100,
    corpus_chunk_size: int = 500_000,
    top_k: int = 10,
    score_function: Callable[[Any, Any], Any] = cos_sim,
) -> list[list[dict[str, int | float]]]:
    """The ``top_k`` rows of the corpus that are nearest to each query, best first.

    Args:
        query_embeddings: (m, dims) or (dims,).
        corpus_embeddings: (n, dims).
        query_chunk_size: queries that are passed to your own ``score_function`` at a time.
        corpus_chunk_size: rows of the corpus that are passed to it at a time.
        top_k: answers to each query; if the corpus is smaller, all of its rows.
        score_function: ``cos_sim`` or ``dot_score``, also those of sentence-transformers; or your own
            function of a chunk of queries and a chunk of the corpus, which returns their scores as a
            tensor or an array (m, n). The chunks are slices of the inputs; slices of tensors are tensors.

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
    metric = _metric(score_function)
    read = _host if metric is None else _array
    queries, corpus = read(query_embeddings), read(corpus_embeddings)
    queries = queries[None] if queries.ndim == 1 else queries
    if top_k == 0 or len(corpus) == 0:
        return [[] for _ in queries]
    k = min(top_k, len(corpus))
    if metric is None:
        answers = _by_chunks(queries, corpus, query_chunk_size, corpus_chunk_size, k, score_function)
    else:
        try:
            answers = fastvec.knn(queries, corpus, k, metric=metric)
        except ValueError:
            check_finite(queries, "query_embeddings")
            check_finite(corpus, "corpus_embeddings")
            raise
    return [
        [{"corpus_id": index, "score": score} for index, score in zip(indices, scores, strict=True)]
        for indices, scores in zip(answers.indices.tolist(), answers.scores.tolist(), strict=True)
    ]


def _metric(score_function: Callable[..., Any]) -> str | None:
    """The metric of a score function of this module or of sentence-transformers; None for any other."""
    if score_function in (cos_sim, dot_score) or (
        getattr(score_function, "__module__", "").split(".")[0] == "sentence_transformers"
    ):
        names = {"cos_sim": "cosine", "pytorch_cos_sim": "cosine", "dot_score": "dot"}
        return names.get(getattr(score_function, "__name__", ""))
    return None


def _by_chunks(
    queries: Any, corpus: Any, query_chunk: int, corpus_chunk: int, k: int, score: Callable[[Any, Any], Any]
) -> fastvec.TopK:
    """The best rows by the caller's function; equal scores by rising index, for any chunk sizes."""
    answers = [fastvec.TopK(np.empty((0, k), np.float32), np.empty((0, k), np.int64))]
    for start in range(0, len(queries), query_chunk):
        chunk = queries[start : start + query_chunk]
        scores: Any = np.empty((len(chunk), 0), np.int8)  # becomes the type of the scores
        indices = np.empty((len(chunk), 0), np.int64)
        for first in range(0, len(corpus), corpus_chunk):
            values = _array(score(chunk, corpus[first : first + corpus_chunk]))
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


def _is_tensor(value: object) -> bool:
    """Whether a value is a tensor of PyTorch; if PyTorch is not loaded, no value is."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _has_tensor(value: Any) -> bool:
    return _is_tensor(value) or (isinstance(value, list | tuple) and any(map(_is_tensor, value)))


def _host(value: Any) -> Any:
    """The input for a score function: a dense tensor unchanged, a list of tensors stacked, else an array."""
    if isinstance(value, list | tuple) and _has_tensor(value):
        value = sys.modules["torch"].stack(list(value))
    if not _is_tensor(value):
        return np.asarray(value)
    return value if value.layout == sys.modules["torch"].strided else value.to_dense()


def _array(value: Any) -> npt.NDArray[Any]:
    """Any embeddings or scores as a NumPy array in this computer's memory."""
    value = _host(value)
    if _is_tensor(value):
        value = value.detach().cpu()
        small = value.is_floating_point() and value.element_size() < 4
        value = (value.float() if small else value).resolve_neg().numpy()
    array: npt.NDArray[Any] = value
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _matrix(value: Any) -> npt.NDArray[Any]:
    """Embeddings as a matrix; a single one becomes a row."""
    array = _array(value)
    return array[None] if array.ndim == 1 else array


def _like(scores: npt.NDArray[Any], a: Any, b: Any) -> Any:
    """Scores as a tensor if an input is a tensor."""
    inputs = [value for value in (a, b) if _has_tensor(value)]
    if not inputs:
        return scores
    first = inputs[0] if _is_tensor(inputs[0]) else next(filter(_is_tensor, inputs[0]))
    return sys.modules["torch"].from_numpy(scores).to(first.device)
