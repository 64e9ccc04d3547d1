"""Races of nearest neighbors: ``Index`` and one-shot ``knn`` against peers, with limits of the machine."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import fastvec
from fastvec._stores.cpu import CpuStore
from fastvec.kernels import metrics

from . import Competitor, Limit, Race, limits
from .corpus import Corpus, Run
from .peers import Peer
from .truth import Search

Array = npt.NDArray[Any]

_PROBE_ROWS, _PROBE_QUERIES = 2048, 64


def race(
    vectors: Array,
    queries: Array,
    k: int,
    *,
    metric: str = "cosine",
    where: Array | None = None,
    peers: Sequence[Peer] = (),
    absent: Mapping[str, str] | None = None,
    facts: Mapping[str, Any] | None = None,
    sample: int = 8,
) -> Race:
    """A race of ``Index.search`` and ``knn`` against peers that search the same rows.

    Args:
        vectors: float32 (n, dims), C-contiguous.
        queries: float32 (m, dims).
        k: neighbors.
        metric: one of the names that searches take.
        where: bool (n,), rows that may be returned.
        peers: rows of ``peers.TABLE`` that are installed.
        absent: other peers, with the reason.
        facts: what else the record says about the data.
        sample: queries whose answers are checked.

    Example:
        >>> import numpy as np, fastvec.benchmark as benchmark
        >>> x = np.random.default_rng(0).standard_normal((500, 16), np.float32)
        >>> record = benchmark.measure("small", race(x, x[:3], 5), rounds=1)
        >>> [competitor["name"] for competitor in record["competitors"]]
        ['Index', 'knn']
    """
    n, dims = vectors.shape
    threads = fastvec.get_num_threads()
    index = fastvec.Index(vectors, metric=metric)
    own = [
        ours("Index", functools.partial(index.search, queries, k, where=where), "encoded before"),
        ours(
            "knn", functools.partial(fastvec.knn, queries, vectors, k, metric=metric, where=where), "one-shot"
        ),
    ]
    left_out = dict(absent or {})
    rivals = []
    given = (vectors, queries)
    if metric == "cosine":
        given = (fastvec.normalize(vectors), fastvec.normalize(queries))
    for peer in peers:
        reason = why_not(peer, len(queries), n * dims, metric, where)
        if reason is not None:
            left_out[peer.name] = reason
        elif peer.search is not None:
            corpus = Corpus(given[0], k, metric, threads, where)
            rivals.append(rival(peer, peer.search(corpus), given[1], probe(peer, corpus)))
    return Race(
        {
            "task": "search",
            "n": n,
            "dims": dims,
            "m": len(queries),
            "k": k,
            "metric": metric,
            **(facts or {}),
        },
        [*own, *rivals],
        Search(queries, vectors, k, metric, where=where, sample=sample),
        _limits(index, queries, threads) if where is None else (),
        left_out,
    )


def ours(name: str, run: Callable[[], Any], setting: str) -> Competitor:
    """One of fastvec's searches."""
    facts = {"ties_by_index": True, "batch_changes_scores": False}  # the exact check proves both
    return Competitor(name, run, "exact", True, setting=setting, facts=facts)


def rival(peer: Peer, run: Run, queries: Array, facts: Mapping[str, Any]) -> Competitor:
    """A peer as a competitor, with what ``probe`` found."""
    search = functools.partial(run, queries)
    return Competitor(peer.name, search, peer.precision, read=peer.read, setting=peer.setting, facts=facts)


def why_not(peer: Peer, m: int, values: int, metric: str, where: Array | None) -> str | None:
    """Why a peer does not take part in a race, or None."""
    if metric not in peer.metrics:
        return f"no metric {metric!r}"
    if where is not None and not peer.filters:
        return "no filter"
    if peer.most_queries is not None and m > peer.most_queries:
        return f"answers one query at a time: asked at most {peer.most_queries}"
    return peer.too_slow(m * values, metric)


def probe(peer: Peer, corpus: Corpus) -> dict[str, Any]:
    """Whether ties go by lowest index, and whether a query's scores depend on the others in its batch.

    Its rows are some of the corpus, each twice: a row and its copy tie.
    """
    assert peer.search is not None
    some = corpus.vectors[:_PROBE_ROWS]
    twice = np.ascontiguousarray(np.concatenate([some, some]))
    k = min(10, len(twice))
    run = peer.search(corpus._replace(vectors=twice, k=k, where=None))
    queries = np.ascontiguousarray(some[: min(_PROBE_QUERIES, peer.most_queries or _PROBE_QUERIES)])
    scores, indices = (np.array(part) for part in peer.read(run(queries)))
    alone = [peer.read(run(queries[i : i + 1]))[0][0] for i in range(0, len(queries), 8)]
    original = indices % len(some)
    pairs = [dict.fromkeys(row) for row in original]  # in the order in which rows came
    right = np.stack([_pairs_in_order(list(row), len(some), k) for row in pairs])
    return {
        "ties_by_index": bool(np.array_equal(indices, right)),
        "batch_changes_scores": not np.array_equal(np.stack(alone), scores[::8]),
    }


def _pairs_in_order(rows: Sequence[int], n: int, k: int) -> Array:
    """Each row, followed by its copy, which lies n rows later."""
    return np.array([(row, row + n) for row in rows]).reshape(-1)[:k]


def _limits(index: fastvec.Index, queries: Array, threads: int) -> list[Limit]:
    """Bare loops that read all codes and all rows, and, if tiles are used, form all integer products."""
    rows = limits.read(index.vectors, threads)
    if index.metric not in metrics.BOUNDED:  # codes prove nothing, and every row is read
        return [Limit("read rows", rows, ["Index", "knn"])]
    store = index._store
    assert isinstance(store, CpuStore)
    codes = store.blocks[0].encoded.codes
    found = [
        Limit("read codes", limits.read(codes[: len(index)], threads), ["Index"]),
        Limit("read rows", rows, ["knn"]),
    ]
    if len(queries) > 2:
        name = fastvec.machine.active_micro_kernel()
        loop = limits.tiles(name, codes, len(index), queries, threads)
        found.append(Limit(f"tiles {name}", loop, ["Index", "knn"]))
    return found
