"""Races of nearest neighbors: ``Index`` and one-shot ``knn`` against peers, with limits of the machine."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

import fastvec
from fastvec._request import checked
from fastvec._stores import passes
from fastvec._stores.cpu import CpuStore
from fastvec.choices import Metric
from fastvec.kernels import metrics, scan

from . import Competitor, Limit, Race, limits
from .corpus import Corpus, Run
from .peers import Peer
from .truth import Search

Array = npt.NDArray[Any]
_Built = TypeVar("_Built")

_PROBE_ROWS, _PROBE_QUERIES = 2048, 64


def race(
    vectors: Array,
    queries: Array,
    k: int,
    *,
    metric: Metric = "cosine",
    where: Array | None = None,
    peers: Sequence[Peer] = (),
    absent: Mapping[str, str] | None = None,
    facts: Mapping[str, Any] | None = None,
    sample: int = 8,
    singly: bool = False,
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
        singly: each call asks one query, and a time is the mean over all queries: how much of the rows a
            search can pass over depends on the query, so that a single one says little.

    Example:
        >>> import numpy as np, fastvec.benchmark as benchmark
        >>> x = np.random.default_rng(0).standard_normal((500, 16), np.float32)
        >>> record = benchmark.measure("small", race(x, x[:3], 5), rounds=1)
        >>> [competitor["name"] for competitor in record["competitors"]]
        ['Index', 'knn']
    """
    n, dims = vectors.shape
    threads = fastvec.get_num_threads()
    m = 1 if singly else len(queries)
    fastvec.Index(vectors[:1], metric=metric)  # loads compiled code, which is not timed
    index, seconds = _timed(lambda: fastvec.Index(vectors, metric=metric))
    search = functools.partial(index.search, k=k, where=where)
    one_shot = functools.partial(fastvec.knn, vectors=vectors, k=k, metric=metric, where=where)
    own = ours("Index", functools.partial(search, queries), "encoded before")
    screen = _screen_facts(index, queries[:m], k, where)
    competitors = [
        own._replace(facts={**own.facts, "build_s": seconds, **screen}),
        ours("knn", functools.partial(one_shot, queries), "one-shot"),
    ]
    if singly:
        runs = (search, one_shot)
        competitors = [_one_by_one(c, run, queries) for c, run in zip(competitors, runs, strict=True)]
    left_out = dict(absent or {})
    built: dict[Any, tuple[Any, float]] = {}
    given = (vectors, queries)
    if metric == "cosine":
        given = (fastvec.normalize(vectors), fastvec.normalize(queries))
    for peer in peers:
        reason = why_not(peer, m, n * dims, metric, where)
        if reason is not None:
            left_out[peer.name] = reason
        elif peer.search is not None:
            corpus, shared_s = Corpus(given[0], k, metric, threads, where), 0.0
            if peer.build is not None:
                if peer.build not in built:
                    built[peer.build] = _timed(functools.partial(peer.build, corpus))
                corpus, shared_s = corpus._replace(built=built[peer.build][0]), built[peer.build][1]
            run, seconds = _timed(functools.partial(peer.search, corpus))
            found = rival(peer, run, given[1], {**probe(peer, corpus), "build_s": shared_s + seconds})
            competitors.append(_one_by_one(found, run, given[1]) if singly else found)
    return Race(
        {
            "task": "search",
            "n": n,
            "dims": dims,
            "m": m,
            "k": k,
            "metric": metric,
            **({"asked": len(queries)} if singly else {}),
            **(facts or {}),
        },
        competitors,
        Search(queries, vectors, k, metric, where=where, sample=sample),
        _limits(index, queries[:m], threads, screen.get("passed") is not None) if where is None else (),
        left_out,
    )


def _screen_facts(index: fastvec.Index, queries: Array, k: int, where: Array | None) -> dict[str, Any]:
    """The width of the screen of an Index, and the share of pairs that pass it (None: it is not used)."""
    if index.screen is None:
        return {}
    request = checked(index._store, queries, k, metric=index.metric, where=where)
    counters = passes.search(index._store, request)[1]  # type: ignore[arg-type]
    passed = counters.passed / counters.screened if counters.screened else None
    return {"screen": index.screen, "passed": passed}


def _timed(build: Callable[[], _Built]) -> tuple[_Built, float]:
    """What a call returns, and the seconds that it took."""
    start = time.perf_counter()
    return build(), time.perf_counter() - start


def _one_by_one(competitor: Competitor, search: Run, queries: Array) -> Competitor:
    """The same competitor, asked each query by itself; its time is that of one."""
    alone = [queries[i : i + 1] for i in range(len(queries))]

    def joined(asked: _Asked) -> tuple[Array, ...]:
        answers = [competitor.read(result) for result in asked.results]
        return tuple(np.concatenate(parts) for parts in zip(*answers, strict=True))

    run = functools.partial(_all, search, alone)
    each = None if len(alone) < _ENOUGH else lambda asked: asked.ms
    return competitor._replace(run=run, read=joined, scale=1 / len(alone), each=each)


class _Asked(NamedTuple):
    """What several calls returned, and how long each took."""

    results: list[Any]
    ms: list[float]


_ENOUGH = 100
"""As many queries have a 99th percentile."""


def _all(search: Run, parts: Sequence[Array]) -> _Asked:
    asked = _Asked([], [])
    for part in parts:
        start = time.perf_counter()
        asked.results.append(search(part))
        asked.ms.append(1e3 * (time.perf_counter() - start))
    return asked


def ours(name: str, run: Callable[[], Any], setting: str) -> Competitor:
    """One of fastvec's searches."""
    facts = {"ties_by_index": True, "batch_changes_scores": False}  # the exact check proves both
    return Competitor(name, run, "exact", True, setting=setting, facts=facts)


def rival(peer: Peer, run: Run, queries: Array, facts: Mapping[str, Any]) -> Competitor:
    """A peer as a competitor, with what ``probe`` found."""
    search = functools.partial(run, queries)
    return Competitor(peer.name, search, peer.precision, read=peer.read, setting=peer.setting, facts=facts)


def why_not(peer: Peer, m: int, values: int, metric: Metric, where: Array | None) -> str | None:
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
    some = corpus.vectors[:_PROBE_ROWS]
    twice = np.ascontiguousarray(np.concatenate([some, some]))
    k = min(10, len(twice))
    run = prepared(peer, corpus._replace(vectors=twice, k=k, where=None))
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


def prepared(peer: Peer, corpus: Corpus) -> Run:
    """A peer's search of a corpus that nothing has been built of yet."""
    assert peer.search is not None
    return peer.search(corpus if peer.build is None else corpus._replace(built=peer.build(corpus)))


def _pairs_in_order(rows: Sequence[int], n: int, k: int) -> Array:
    """Each row, followed by its copy, which lies n rows later."""
    return np.array([(row, row + n) for row in rows]).reshape(-1)[:k]


def _limits(index: fastvec.Index, queries: Array, threads: int, screened: bool) -> list[Limit]:
    """Bare loops that read all codes and all rows, and, if tiles are used, form all integer products.

    A search by a screen may do with less than all codes: of every row it reads only the screen's.
    """
    rows = limits.read(index.vectors, threads)
    if index.metric not in metrics.BOUNDED:  # codes prove nothing, and every row is read
        return [Limit("read rows", rows, ["Index", "knn"])]
    store = index._store
    assert isinstance(store, CpuStore)
    codes = store.blocks[0].encoded.codes
    if screened:
        assert store.screening is not None
        width = (len(queries) <= scan.FEW and store.screening.leading) or store.screening.basis.matrix.shape[
            1
        ]
        screen = np.ones((len(index), width), np.uint8)
        first = Limit("read screen", limits.read(screen, threads), ["Index"])
    else:
        first = Limit("read codes", limits.read(codes[: len(index)], threads), ["Index"])
    found = [first, Limit("read rows", rows, ["knn"])]
    if len(queries) > scan.FEW:
        name = fastvec.machine.active_micro_kernel()
        loop = limits.tiles(name, codes, len(index), queries, threads)
        found.append(Limit(f"tiles {name}", loop, ["knn"] if screened else ["Index", "knn"]))
    return found
