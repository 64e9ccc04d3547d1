"""Peers whose objects hold the rows: faiss, usearch, gensim, turbovec.

Each function prepares (not timed) and returns what is timed; ``peers.py`` has their rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .corpus import Array, Corpus, Run


class _Flat(NamedTuple):
    """How faiss searches all rows by a metric: its constant, and scores of what comes back."""

    constant: str
    score: Callable[[Array], Array]


_FAISS = {
    "cosine": _Flat("METRIC_INNER_PRODUCT", np.asarray),
    "dot": _Flat("METRIC_INNER_PRODUCT", np.asarray),
    # Panorama forms squares as differences of products, which rounding may take below zero.
    "euclidean": _Flat("METRIC_L2", lambda squares: -np.sqrt(np.maximum(squares, 0))),
    "manhattan": _Flat("METRIC_L1", np.negative),
}


def faiss_search(corpus: Corpus) -> Run:
    """``IndexFlat``: all rows."""
    import faiss

    constant = getattr(faiss, _FAISS[corpus.metric].constant)
    return _faiss_run(faiss.IndexFlat(corpus.vectors.shape[1], constant), corpus)


_PANORAMA = {
    "cosine": "IndexFlatIPPanorama",
    "dot": "IndexFlatIPPanorama",
    "euclidean": "IndexFlatL2Panorama",
}
_LEVELS = 16


def faiss_panorama(corpus: Corpus) -> Run:
    """``IndexFlatIPPanorama`` or ``IndexFlatL2Panorama`` over rows that are turned onto their principal axes.

    They read the dimensions in 16 parts and stop where the rest cannot matter any more, by Cauchy-Schwarz.
    A call turns its queries, too.
    """
    import faiss

    dims = corpus.vectors.shape[1]
    axes = principal_axes(corpus.vectors)
    width = -(-dims // _LEVELS)
    index = getattr(faiss, _PANORAMA[corpus.metric])(dims, -(-dims // width))
    search = _faiss_run(index, corpus._replace(vectors=corpus.vectors @ axes))
    return lambda queries: search(queries @ axes)


def panorama_lacks() -> str | None:
    """What this faiss lacks to search by Panorama, or None."""
    import faiss

    missing = sorted({name for name in _PANORAMA.values() if not hasattr(faiss, name)})
    return f"faiss {faiss.__version__} has no {' and no '.join(missing)}; 1.15 has" if missing else None


def principal_axes(vectors: Array) -> Array:
    """An orthogonal matrix (dims, dims): the eigenvectors of the rows' second moment, the largest first.

    The rows are not centered, so that inner products stay what they are.
    """
    moment = np.zeros((vectors.shape[1],) * 2)
    for first in range(0, len(vectors), _MOMENT_ROWS):
        block = vectors[first : first + _MOMENT_ROWS].astype(np.float64)
        moment += block.T @ block
    return np.ascontiguousarray(np.linalg.eigh(moment)[1][:, ::-1], np.float32)


_MOMENT_ROWS = 1 << 13
"""Rows whose squares are summed at a time, so that only they become float64."""


def faiss_lists(corpus: Corpus) -> Any:
    """``IndexIVFFlat``: rows in lists, each of those that are nearest to a center."""
    import faiss

    n, dims = corpus.vectors.shape
    lists = max(1, int(min(4 * np.sqrt(n), n / 40)))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dims), dims, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter = 5
    index.cp.min_points_per_centroid = 1
    index.train(corpus.vectors[: 40 * lists])
    index.add(corpus.vectors)
    return index


def faiss_inverted(corpus: Corpus, *, probes: int) -> Run:
    """The rows of the ``probes`` nearest lists."""
    import faiss

    library: Any = faiss
    few, index, k = library.SearchParametersIVF(nprobe=probes), corpus.built, corpus.k
    return lambda queries: index.search(queries, k, params=few)


def faiss_graph(corpus: Corpus) -> Any:
    """``IndexHNSWFlat``: a graph of near rows, M = 32."""
    import faiss

    index = faiss.IndexHNSWFlat(corpus.vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.add(corpus.vectors)
    return index


def faiss_hnsw(corpus: Corpus, *, width: int) -> Run:
    """A walk over the graph that keeps the ``width`` best rows."""
    import faiss

    library: Any = faiss
    wide, index, k = library.SearchParametersHNSW(efSearch=width), corpus.built, corpus.k
    return lambda queries: index.search(queries, k, params=wide)


def faiss_8_bit(corpus: Corpus) -> Run:
    """``IndexScalarQuantizer``: rows of eight bits a value."""
    import faiss

    kind = faiss.ScalarQuantizer.QT_8bit
    index = faiss.IndexScalarQuantizer(corpus.vectors.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    index.train(corpus.vectors)
    return _faiss_run(index, corpus)


def _faiss_run(index: Any, corpus: Corpus) -> Run:
    import faiss

    index.add(corpus.vectors)
    k, where, score = corpus.k, corpus.where, _FAISS[corpus.metric].score
    if where is not None:
        bits = np.packbits(where, bitorder="little")
        selector = faiss.IDSelectorBitmap(len(where), faiss.swig_ptr(bits))
        parameters: Any = faiss.SearchParameters(**{"sel": selector})

    def run(queries: Array) -> Any:  # it does not hold the corpus: faiss has copied the rows
        if where is not None:
            assert len(bits)  # faiss reads them where they lie
            found = index.search(queries, k, params=parameters)
        else:
            found = index.search(queries, k)
        return score(found[0]), found[1]

    return run


def usearch_search(corpus: Corpus) -> Run:
    """Its exact search, which builds no graph."""
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


def gensim_search(corpus: Corpus) -> Run:
    """``KeyedVectors``, one query at a time."""
    from gensim.models import KeyedVectors

    words = KeyedVectors(corpus.vectors.shape[1])
    words.add_vectors([str(i) for i in range(len(corpus.vectors))], corpus.vectors)
    words.fill_norms()
    return lambda queries: [words.similar_by_vector(query, topn=corpus.k) for query in queries]


def read_words(answers: list[list[tuple[str, float]]]) -> tuple[Array, Array]:
    """Lists of words, which are numbers of rows, as scores and indices."""
    return (
        np.array([[score for _, score in hits] for hits in answers]),
        np.array([[int(word) for word, _ in hits] for hits in answers]),
    )


def turbovec_4_bit(corpus: Corpus) -> Run:
    """``TurboQuantIndex``: rows of four bits a value. It takes widths that are multiples of 8."""
    from turbovec import TurboQuantIndex

    dims = corpus.vectors.shape[1]
    missing = -dims % 8

    def padded(rows: Array) -> Array:
        return np.pad(rows, ((0, 0), (0, missing))) if missing else rows

    index = TurboQuantIndex(dim=dims + missing, bit_width=4)
    index.add(padded(corpus.vectors))
    index.prepare()
    k = corpus.k
    return lambda queries: index.search(padded(queries), k)
