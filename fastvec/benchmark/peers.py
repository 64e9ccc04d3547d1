"""The table of other libraries, each as its users would set it up for speed: one row each.

A row has functions that prepare (not timed) and return what is timed:

``search(corpus)``      -> ``run(queries)``, the nearest rows of each query
``similarity(corpus)``  -> ``run(queries)``, cosines (m, n) of rows that are not of unit length yet
``select(k)``           -> ``run(scores)``, the k largest of each row, and where they are

What a search returns goes through ``read`` to be judged, which is not timed. For cosine, peers get rows
and queries of unit length, which costs them nothing. To add a peer: its functions, and its row.
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import _facts

Array = npt.NDArray[Any]
Run = Callable[[Array], Any]

_SCORES_BYTES = 1 << 26
"""Of the block of scores that a matrix product writes before rows are selected: stays near the processor."""


class Corpus(NamedTuple):
    """What is searched."""

    vectors: Array
    """float32 (n, dims), C-contiguous; of unit length if the metric is cosine and it is a search."""
    k: int
    metric: str
    threads: int
    where: Array | None = None
    """bool (n,), rows that may be returned."""


class Peer(NamedTuple):
    """A library, or one way to use it."""

    name: str
    module: str
    """What must be installed."""
    setting: str
    search: Callable[[Corpus], Run] | None = None
    similarity: Callable[[Corpus], Run] | None = None
    select: Callable[[int], Run] | None = None
    precision: str = "float32"
    metrics: tuple[str, ...] = ("cosine", "dot")
    filters: bool = False
    """Whether it takes ``where``."""
    most_queries: int | None = None
    """One that answers them singly is not asked more."""
    most_products: float | None = None
    """One that is slow is not asked for more than so many products m · n · dims."""
    read: Callable[[Any], Any] = lambda result: result

    @property
    def installed(self) -> bool:
        """Whether its library can be imported."""
        return _facts.installed(self.module)


def chosen(names: Sequence[str] | None = None) -> tuple[list[Peer], dict[str, str]]:
    """Peers by name (None: all) that are installed, and the others with the reason.

    Raises:
        ValueError: on a name that is not in the table.
    """
    unknown = [name for name in names or () if name not in TABLE]
    if unknown:
        raise ValueError(f"no peer is named {', '.join(unknown)}; there are {', '.join(TABLE)}")
    listed = [TABLE[name] for name in (TABLE if names is None else names)]
    absent = {peer.name: f"{peer.module} is not installed" for peer in listed if not peer.installed}
    return [peer for peer in listed if peer.installed], absent


def equalize(threads: int, peers: Iterable[Peer]) -> dict[str, str]:
    """Give every library so many threads, each by its own setter; return what was done, by module."""
    import fastvec

    modules = {peer.module for peer in peers}
    fastvec.set_num_threads(threads)
    done = {"fastvec": f"set_num_threads({threads})"}
    if "torch" in modules:
        import torch

        torch.set_num_threads(threads)
        done["torch"] = f"set_num_threads({threads})"
    if "faiss" in modules:
        import faiss

        faiss.omp_set_num_threads(threads)
        done["faiss"] = f"omp_set_num_threads({threads})"
    if _facts.installed("threadpoolctl"):
        import threadpoolctl

        threadpoolctl.threadpool_limits(threads)
        done["BLAS and OpenMP"] = f"threadpoolctl, {threads}"
    else:
        done["BLAS and OpenMP"] = "their own number: threadpoolctl is not installed"
    return done


def best(scores: Array, k: int) -> tuple[Array, Array]:
    """The k largest of each row of a matrix by a partial sort: as NumPy's users write it."""
    k = min(k, scores.shape[1])
    indices = np.argpartition(scores, -k, axis=1)[:, -k:]
    values = np.take_along_axis(scores, indices, 1)
    order = np.argsort(-values, axis=1)
    return np.take_along_axis(values, order, 1), np.take_along_axis(indices, order, 1)


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


def _numpy_search(corpus: Corpus) -> Run:
    vectors = corpus.vectors
    if corpus.metric != "euclidean":
        return _in_blocks(lambda queries: queries @ vectors.T, corpus)
    squares = np.einsum("ij,ij->i", vectors, vectors)

    def score(queries: Array) -> Array:
        own = np.einsum("ij,ij->i", queries, queries)[:, None]
        return -np.sqrt(np.maximum(own + squares - 2 * (queries @ vectors.T), 0))

    return _in_blocks(score, corpus)


def _numpy_similarity(corpus: Corpus) -> Run:
    def run(queries: Array) -> Array:
        left = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        right = corpus.vectors / np.linalg.norm(corpus.vectors, axis=1, keepdims=True)
        return np.asarray(left @ right.T)

    return run


def _torch_search(corpus: Corpus, *, bfloat16: bool = False) -> Run:
    import torch

    kind = torch.bfloat16 if bfloat16 else torch.float32
    matrix = torch.from_numpy(corpus.vectors).to(kind)
    forbidden = None if corpus.where is None else torch.from_numpy(~corpus.where)

    def run(queries: Array) -> tuple[Array, Array]:
        given = torch.from_numpy(queries).to(kind)
        if corpus.metric == "euclidean":
            scores = -torch.cdist(given, matrix)
        else:
            scores = given @ matrix.T
        if forbidden is not None:
            scores.masked_fill_(forbidden, -torch.inf)
        values, indices = scores.topk(corpus.k)
        return values.float().numpy(), indices.numpy()

    return run


def _torch_similarity(corpus: Corpus) -> Run:
    import torch
    from torch.nn.functional import normalize

    vectors = torch.from_numpy(corpus.vectors)
    return lambda queries: (normalize(torch.from_numpy(queries)) @ normalize(vectors).T).numpy()


def _torch_select(k: int) -> Run:
    import torch

    return lambda scores: tuple(part.numpy() for part in torch.from_numpy(scores).topk(k))


def _semantic_search(corpus: Corpus) -> Run:
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


def _read_hits(answers: list[list[dict[str, Any]]]) -> tuple[Array, Array]:
    scores = np.array([[hit["score"] for hit in hits] for hits in answers])
    return scores, np.array([[hit["corpus_id"] for hit in hits] for hits in answers])


def _faiss_search(corpus: Corpus) -> Run:
    import faiss

    flat = faiss.IndexFlatL2 if corpus.metric == "euclidean" else faiss.IndexFlatIP
    return _faiss_run(flat(corpus.vectors.shape[1]), corpus)


def _faiss_inverted(corpus: Corpus, *, probes: int) -> Run:
    import faiss

    n, dims = corpus.vectors.shape
    lists = max(1, int(min(4 * np.sqrt(n), n / 40)))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dims), dims, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter = 5
    index.cp.min_points_per_centroid = 1
    index.train(corpus.vectors[: 40 * lists])
    index.nprobe = probes
    return _faiss_run(index, corpus)


def _faiss_8_bit(corpus: Corpus) -> Run:
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
        parameters = faiss.SearchParameters(sel=selector)

    def run(queries: Array) -> Any:
        if corpus.where is not None:
            assert len(bits)  # faiss reads them where they lie
            found = index.search(queries, corpus.k, params=parameters)
        else:
            found = index.search(queries, corpus.k)
        return (-np.sqrt(found[0]), found[1]) if corpus.metric == "euclidean" else found

    return run


def _usearch_search(corpus: Corpus) -> Run:
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


def _numkong_similarity(corpus: Corpus) -> Run:
    distances = _numkong_products(corpus, unit=False)
    return lambda queries: 1.0 - distances(queries)


def _sklearn_search(corpus: Corpus) -> Run:
    """By Euclidean distance, for which it has a fused kernel; the order of unit rows is that of cosines."""
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=corpus.k, algorithm="brute", metric="euclidean").fit(corpus.vectors)

    def run(queries: Array) -> tuple[Array, Array]:
        distances, indices = index.kneighbors(queries)
        return (-distances if corpus.metric == "euclidean" else 1 - distances**2 / 2), indices

    return run


def _sklearn_similarity(corpus: Corpus) -> Run:
    from sklearn.metrics.pairwise import cosine_similarity

    return lambda queries: cosine_similarity(queries, corpus.vectors)


def _scipy_search(corpus: Corpus) -> Run:
    from scipy.spatial.distance import cdist

    if corpus.metric == "euclidean":
        return _in_blocks(lambda queries: -cdist(queries, corpus.vectors), corpus)
    return _in_blocks(lambda queries: 1.0 - cdist(queries, corpus.vectors, "cosine"), corpus)


def _scipy_similarity(corpus: Corpus) -> Run:
    from scipy.spatial.distance import cdist

    return lambda queries: 1.0 - cdist(queries, corpus.vectors, "cosine")


def _gensim_search(corpus: Corpus) -> Run:
    from gensim.models import KeyedVectors

    words = KeyedVectors(corpus.vectors.shape[1])
    words.add_vectors([str(i) for i in range(len(corpus.vectors))], corpus.vectors)
    words.fill_norms()
    return lambda queries: [words.similar_by_vector(query, topn=corpus.k) for query in queries]


def _read_words(answers: list[list[tuple[str, float]]]) -> tuple[Array, Array]:
    return (
        np.array([[score for _, score in hits] for hits in answers]),
        np.array([[int(word) for word, _ in hits] for hits in answers]),
    )


_ALL = ("cosine", "dot", "euclidean")
_COSINE = ("cosine",)

_ROWS = (
    Peer("numpy", "numpy", "matmul, argpartition, argsort; blocks of queries", _numpy_search,
         _numpy_similarity, lambda k: lambda scores: best(scores, k), metrics=_ALL, filters=True),
    Peer("torch", "torch", "float32 matmul, topk", _torch_search, _torch_similarity, _torch_select,
         metrics=_ALL, filters=True),
    Peer("faiss", "faiss", "IndexFlatIP, IndexFlatL2", _faiss_search, metrics=_ALL, filters=True),
    Peer("usearch", "usearch", "search(exact=True)", _usearch_search, metrics=_ALL, most_products=1e10),
    Peer("numkong", "numkong", "dots_packed, argpartition; a part of the rows for each thread",
         lambda corpus: _in_blocks(_numkong_products(corpus, unit=True), corpus), _numkong_similarity),
    Peer("scikit-learn", "sklearn", "NearestNeighbors(brute, euclidean) on unit rows; cosine_similarity",
         _sklearn_search, _sklearn_similarity, metrics=("cosine", "euclidean")),
    Peer("scipy", "scipy", "cdist in float64, one thread", _scipy_search, _scipy_similarity,
         metrics=("cosine", "euclidean"), most_products=2e9),
    Peer("gensim", "gensim", "KeyedVectors.similar_by_vector, one query at a time", _gensim_search,
         metrics=_COSINE, most_queries=8, read=_read_words),
    Peer("semantic_search", "torch", "sentence-transformers' logic: chunks of 100 queries, topk, heap, dicts",
         _semantic_search, metrics=_COSINE, read=_read_hits),
    Peer("torch-bfloat16", "torch", "bfloat16 matmul, topk",
         functools.partial(_torch_search, bfloat16=True), precision="inexact"),
    Peer("faiss-8-bit", "faiss", "IndexScalarQuantizer(QT_8bit)", _faiss_8_bit, precision="inexact",
         most_products=6e9),
    *(
        Peer(f"faiss-ivf-{probes}", "faiss", f"IndexIVFFlat, up to 4√n lists, nprobe {probes}",
             functools.partial(_faiss_inverted, probes=probes), precision="inexact")
        for probes in (4, 16, 64)
    ),
)  # fmt: skip

TABLE: dict[str, Peer] = {peer.name: peer for peer in _ROWS}
