"""How other libraries are set up and called: functions of the rows in ``peers.TABLE``.

Each prepares (not timed) and returns what is timed.
"""

from __future__ import annotations

import functools
import heapq
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Run = Callable[[Array], Any]

_SCORES_BYTES = 1 << 26
"""Of the block of scores that a matrix product writes before rows are selected: stays near the processor."""


class Corpus(NamedTuple):
    """What is searched."""

    vectors: Array
    """float32 (n, dims), C-contiguous; of unit length if the metric is cosine and it is a search. For what
    computes on a device, also a tensor that lies there, which it shares with others."""
    k: int
    metric: str
    threads: int
    where: Array | None = None
    """bool (n,), rows that may be returned."""


def best(scores: Array, k: int) -> tuple[Array, Array]:
    """The k largest of each row of a matrix by a partial sort: as NumPy's users write it."""
    k = min(k, scores.shape[1])
    indices = np.argpartition(scores, -k, axis=1)[:, -k:]
    values = np.take_along_axis(scores, indices, 1)
    order = np.argsort(-values, axis=1)
    return np.take_along_axis(values, order, 1), np.take_along_axis(indices, order, 1)


def _gathering_pays(corpus: Corpus) -> bool:
    return corpus.where is not None and 4 * int(corpus.where.sum()) < len(corpus.where)


def _gathered(search: Callable[[Corpus], Run], corpus: Corpus) -> Run:
    """Where few rows pass a filter, copy those and search them; that is a part of the call."""
    assert corpus.where is not None
    where = corpus.where

    def run(queries: Array) -> tuple[Array, Array]:
        rows = np.flatnonzero(where)
        few = corpus._replace(vectors=corpus.vectors[rows], where=None)
        scores, indices = search(few)(queries)
        return scores, rows[indices]

    return run


def numpy_select(k: int) -> Run:
    return lambda scores: best(scores, k)


def _in_blocks(score: Callable[[Array], Array], corpus: Corpus) -> Run:
    """Blocks of queries whose scores fit in ``_SCORES_BYTES``, then a partial sort."""
    height = max(1, _SCORES_BYTES // (4 * len(corpus.vectors)))

    def run(queries: Array) -> tuple[Array, Array]:
        parts = []
        for first in range(0, len(queries), height):
            scores = score(queries[first : first + height])
            if corpus.where is not None:
                scores[:, ~corpus.where] = -np.inf
            parts.append(best(scores, corpus.k))
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    return run


def numpy_search(corpus: Corpus) -> Run:
    if _gathering_pays(corpus):
        return _gathered(numpy_search, corpus)
    vectors = corpus.vectors
    if corpus.metric != "euclidean":
        return _in_blocks(lambda queries: queries @ vectors.T, corpus)
    squares = np.einsum("ij,ij->i", vectors, vectors)

    def score(queries: Array) -> Array:
        own = np.einsum("ij,ij->i", queries, queries)[:, None]
        return np.asarray(-np.sqrt(np.maximum(own + squares - 2 * (queries @ vectors.T), 0)))

    return _in_blocks(score, corpus)


def numpy_similarity(corpus: Corpus) -> Run:
    def run(queries: Array) -> Array:
        left = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        right = corpus.vectors / np.linalg.norm(corpus.vectors, axis=1, keepdims=True)
        return np.asarray(left @ right.T)

    return run


def torch_search(corpus: Corpus, *, bfloat16: bool = False) -> Run:
    if _gathering_pays(corpus):
        return _gathered(functools.partial(torch_search, bfloat16=bfloat16), corpus)
    import torch

    kind = torch.bfloat16 if bfloat16 else torch.float32
    matrix = torch.from_numpy(corpus.vectors).to(kind)
    forbidden = None if corpus.where is None else torch.from_numpy(~corpus.where)

    def run(queries: Array) -> tuple[Array, Array]:
        given = torch.from_numpy(queries).to(kind)
        scores = -torch.cdist(given, matrix) if corpus.metric == "euclidean" else given @ matrix.T
        if forbidden is not None:
            scores.masked_fill_(forbidden, -torch.inf)
        values, indices = scores.topk(corpus.k)
        return values.float().numpy(), indices.numpy()

    return run


def torch_lacks(device: str) -> str | None:
    """What this torch lacks to compute on a device."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        return f"torch {torch.__version__} finds no device"
    return None


def torch_rows(vectors: Array, device: str) -> Any:
    """Float32 rows as a tensor on torch's ``device``."""
    import torch

    return torch.as_tensor(vectors, device=device)


def torch_device_search(
    corpus: Corpus, *, device: str, kind: str = "float32", tf32: bool = False, chunk: int | None = None
) -> Run:
    """Rows on torch's ``device``; all scores at once, or of ``chunk`` rows at a time."""
    import torch

    matrix = torch.as_tensor(corpus.vectors, dtype=getattr(torch, kind), device=device)
    step = chunk or len(matrix)

    def best_of_chunks(given: Any) -> tuple[Any, Any]:
        values, indices = [], []
        for first in range(0, len(matrix), step):
            part = matrix[first : first + step]
            found = (given @ part.T).topk(min(corpus.k, len(part)))
            values.append(found.values)
            indices.append(found.indices + first)
        if len(values) == 1:
            return values[0], indices[0]
        best = torch.cat(values, 1).topk(corpus.k)
        return best.values, torch.cat(indices, 1).gather(1, best.indices)

    def run(queries: Array) -> tuple[Array, Array]:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        try:
            given = torch.as_tensor(queries, dtype=matrix.dtype, device=device)
            values, indices = best_of_chunks(given)
            return values.float().cpu().numpy(), indices.cpu().numpy()
        finally:
            torch.set_float32_matmul_precision(before)

    return run


def cupy_search(corpus: Corpus) -> Run:
    import cupy

    matrix = cupy.asarray(corpus.vectors)

    def run(queries: Array) -> tuple[Array, Array]:
        scores = cupy.asarray(queries) @ matrix.T
        indices = cupy.argsort(scores, axis=1)[:, : -corpus.k - 1 : -1]  # its argpartition sorts all, too
        return cupy.asnumpy(cupy.take_along_axis(scores, indices, axis=1)), cupy.asnumpy(indices)

    return run


def out_of_memory() -> tuple[type[BaseException], ...]:
    """What is raised where a device's memory does not suffice; CuPy's is a MemoryError."""
    torch = sys.modules.get("torch")
    return (MemoryError,) if torch is None else (MemoryError, torch.cuda.OutOfMemoryError)


def free_device_memory() -> None:
    """Let go of the memory that libraries keep for themselves on a device."""
    torch, cupy = (sys.modules.get(name) for name in ("torch", "cupy"))
    if torch is not None:
        torch.cuda.empty_cache()  # does nothing where there is no device
    if cupy is not None:
        cupy.get_default_memory_pool().free_all_blocks()


def torch_similarity(corpus: Corpus) -> Run:
    import torch
    from torch.nn.functional import normalize

    vectors = torch.from_numpy(corpus.vectors)
    return lambda queries: (normalize(torch.from_numpy(queries)) @ normalize(vectors).T).numpy()


def torch_select(k: int) -> Run:
    import torch

    return lambda scores: tuple(part.numpy() for part in torch.from_numpy(scores).topk(k))


def semantic_search(corpus: Corpus) -> Run:
    """sentence-transformers' ``util.semantic_search``: chunks of 100 queries, topk, a heap, sorted lists."""
    import torch
    from torch.nn.functional import normalize

    matrix = torch.from_numpy(corpus.vectors)

    def run(queries: Array) -> list[list[dict[str, Any]]]:
        given, answers = torch.from_numpy(queries), []
        for q in range(0, len(given), 100):
            hits: list[list[tuple[float, int]]] = [[] for _ in given[q : q + 100]]
            for x in range(0, len(matrix), 500_000):
                scores = normalize(given[q : q + 100]) @ normalize(matrix[x : x + 500_000]).T
                values, indices = torch.topk(scores, min(corpus.k, scores.shape[1]), sorted=False)
                for heap, some, places in zip(hits, values.tolist(), indices.tolist(), strict=True):
                    for score, place in zip(some, places, strict=True):
                        push = heapq.heappush if len(heap) < corpus.k else heapq.heappushpop
                        push(heap, (score, x + place))
            for heap in hits:
                ranked = sorted(heap, key=lambda hit: -hit[0])
                answers.append([{"corpus_id": place, "score": score} for score, place in ranked])
        return answers

    return run


def read_hits(answers: list[list[dict[str, Any]]]) -> tuple[Array, Array]:
    scores = np.array([[hit["score"] for hit in hits] for hits in answers])
    return scores, np.array([[hit["corpus_id"] for hit in hits] for hits in answers])


def faiss_search(corpus: Corpus) -> Run:
    import faiss

    flat = faiss.IndexFlatL2 if corpus.metric == "euclidean" else faiss.IndexFlatIP
    return _faiss_run(flat(corpus.vectors.shape[1]), corpus)


def faiss_inverted(corpus: Corpus, *, probes: int) -> Run:
    import faiss

    n, dims = corpus.vectors.shape
    lists = max(1, int(min(4 * np.sqrt(n), n / 40)))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dims), dims, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter = 5
    index.cp.min_points_per_centroid = 1
    index.train(corpus.vectors[: 40 * lists])
    index.nprobe = probes
    return _faiss_run(index, corpus)


def faiss_8_bit(corpus: Corpus) -> Run:
    import faiss

    kind = faiss.ScalarQuantizer.QT_8bit
    index = faiss.IndexScalarQuantizer(corpus.vectors.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    index.train(corpus.vectors)
    return _faiss_run(index, corpus)


def _faiss_run(index: Any, corpus: Corpus) -> Run:
    import faiss

    index.add(corpus.vectors)
    if corpus.where is not None:
        bits = np.packbits(corpus.where, bitorder="little")
        selector = faiss.IDSelectorBitmap(len(corpus.where), faiss.swig_ptr(bits))
        parameters: Any = faiss.SearchParameters(**{"sel": selector})

    def run(queries: Array) -> Any:
        if corpus.where is not None:
            assert len(bits)  # faiss reads them where they lie
            found = index.search(queries, corpus.k, params=parameters)
        else:
            found = index.search(queries, corpus.k)
        return (-np.sqrt(found[0]), found[1]) if corpus.metric == "euclidean" else found

    return run


def usearch_search(corpus: Corpus) -> Run:
    from usearch.index import MetricKind, search

    kind = {"cosine": MetricKind.Cos, "dot": MetricKind.IP, "euclidean": MetricKind.L2sq}[corpus.metric]
    options = {"exact": True, "threads": corpus.threads}
    offset = 0.0 if corpus.metric == "euclidean" else 1.0

    def run(queries: Array) -> tuple[Array, Array]:
        found = search(corpus.vectors, queries, corpus.k, kind, **options)
        distances = np.atleast_2d(found.distances)
        scores = -np.sqrt(distances) if corpus.metric == "euclidean" else offset - distances
        return scores, np.atleast_2d(found.keys).astype(np.int64)

    return run


def _numkong_products(corpus: Corpus, unit: bool) -> Callable[[Array], Array]:
    """Rows packed in a part for each thread; its own functions use one."""
    import numkong

    parts = [numkong.dots_pack(part) for part in np.array_split(corpus.vectors, corpus.threads)]
    product = numkong.dots_packed if unit else numkong.angulars_packed
    pool = ThreadPoolExecutor(corpus.threads)

    def run(queries: Array) -> Array:
        return np.concatenate(
            [*map(np.asarray, pool.map(lambda part: product(queries, part), parts))], axis=1
        )

    return run


def numkong_search(corpus: Corpus) -> Run:
    return _in_blocks(_numkong_products(corpus, unit=True), corpus)


def numkong_similarity(corpus: Corpus) -> Run:
    distances = _numkong_products(corpus, unit=False)
    return lambda queries: 1.0 - distances(queries)


def sklearn_search(corpus: Corpus) -> Run:
    """By Euclidean distance, for which it has a fused kernel; the order of unit rows is that of cosines."""
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=corpus.k, algorithm="brute", metric="euclidean").fit(corpus.vectors)

    def run(queries: Array) -> tuple[Array, Array]:
        distances, indices = index.kneighbors(queries)
        return (-distances if corpus.metric == "euclidean" else 1 - distances**2 / 2), indices

    return run


def sklearn_similarity(corpus: Corpus) -> Run:
    from sklearn.metrics.pairwise import cosine_similarity

    return lambda queries: cosine_similarity(queries, corpus.vectors)


def scipy_search(corpus: Corpus) -> Run:
    from scipy.spatial.distance import cdist

    if corpus.metric == "euclidean":
        return _in_blocks(lambda queries: -cdist(queries, corpus.vectors), corpus)
    return _in_blocks(lambda queries: 1.0 - cdist(queries, corpus.vectors, "cosine"), corpus)


def scipy_similarity(corpus: Corpus) -> Run:
    from scipy.spatial.distance import cdist

    return lambda queries: 1.0 - cdist(queries, corpus.vectors, "cosine")


def gensim_search(corpus: Corpus) -> Run:
    from gensim.models import KeyedVectors

    words = KeyedVectors(corpus.vectors.shape[1])
    words.add_vectors([str(i) for i in range(len(corpus.vectors))], corpus.vectors)
    words.fill_norms()
    return lambda queries: [words.similar_by_vector(query, topn=corpus.k) for query in queries]


def read_words(answers: list[list[tuple[str, float]]]) -> tuple[Array, Array]:
    return (
        np.array([[score for _, score in hits] for hits in answers]),
        np.array([[int(word) for word, _ in hits] for hits in answers]),
    )
