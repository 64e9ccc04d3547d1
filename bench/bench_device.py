"""Exact search on an NVIDIA device (device="cuda") against exact and inexact peers on the same device.

    python bench/bench_device.py               1,000,000 x 768
    python bench/bench_device.py --full        also 10,000,000 x 768: 31 GB here, 39 GB or more on the device

Needs ``pip install 'fastvec[cuda]'``; torch and CuPy take part where they are installed (``--peers`` chooses
among the processor's libraries only; none of them runs here). A time is that of a call, from queries in
this computer's memory to answers in it; all rows lie on the device before.
Limits are what the device can do, measured in the same rounds by loops of the scan's own instructions:
reading all codes once, forming all integer products. "scan" is the device's part of a call, without what
the processor does before and after; the last column says which share of a time its limits are.

In Numba's simulator there is one tiny case, whose times mean nothing: tests/test_bench_device.py runs it,
as the operations that kernels need there are part of the tests (tests/cuda_simulator.py).
"""

from __future__ import annotations

import functools
import gc
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import data
import numpy as np
from suite import Case, Plan, main, test_races

import fastvec
from fastvec.benchmark import Limit, Race, device_peers, limits, peers, searches
from fastvec.benchmark.corpus import Corpus, Run
from fastvec.benchmark.truth import Search
from fastvec.kernels.cuda import device

__all__ = ["CASES", "test_races"]

K, SAMPLE = 10, 64
BATCHES = (2,) if device.simulated() else (1, 8, 64, 1024)
SIZES = ((64, 32, False),) if device.simulated() else ((1_000_000, 768, False), (10_000_000, 768, True))
"""Rows, dimensions, whether in the full run only. The simulator runs plain Python."""


Rival = tuple[peers.Peer, Run, Mapping[str, Any]]
"""A peer, its search, and facts about its answers."""


class Prepared(NamedTuple):
    """What races over the same rows share."""

    vectors: data.Array
    queries: data.Array
    index: fastvec.Index
    rivals: list[Rival]
    absent: dict[str, str]
    facts: dict[str, Any]


class Scan(NamedTuple):
    """The device's part of a search."""

    run: Callable[[], None]
    codes: Any
    """What it reads: int32, on the device."""
    width: int
    """Dimensions that it multiplies."""


def scan_of(index: fastvec.Index, queries: data.Array) -> Scan:
    """The device's part of a search, to be run again and again."""
    from fastvec.kernels import filters
    from fastvec.kernels.cuda.batch import Batch, limits_for
    from fastvec.kernels.cuda.layout import STEP
    from fastvec.kernels.cuda.walk import started

    rows, m = index._store.on_device, len(queries)
    no_exclusions = filters.Exclusions.of_runs(np.zeros(m + 1, np.int64), np.empty(0, np.int64))
    batch = Batch(
        queries=queries,
        dims=index.dims,
        k=K,
        metric=index.metric,
        allowed=np.empty(0, np.bool_),
        exclusions=no_exclusions,
    )
    with started(rows, batch, limits_for(K)) as walk:
        launches = walk.stream.recorded(walk.begin, walk.scan_all)
        walk.stream.wait()

    def run() -> None:
        walk.stream.replay(launches)
        walk.stream.wait()

    return Scan(run, rows.codes, walk.space.codes.steps * STEP)


def search(plan: Plan, n: int, dims: int, m: int) -> Race:
    """A batch of ``m`` queries."""
    from numba import cuda

    made = prepared(n, dims)
    queries = np.ascontiguousarray(made.queries[:m])
    ours = [
        searches.ours(
            "Index",
            functools.partial(made.index.search, queries, K),
            "rows and their codes on the device; queries and answers here",
        ),
        searches.ours(
            "Index, queries there",
            functools.partial(made.index.search, cuda.to_device(queries), K),
            "rows, their codes and queries on the device; answers here",
        ),
    ]
    rivals, absent = [], dict(made.absent)
    for peer, run, facts in made.rivals:
        reason = peer.too_slow(m * n * dims) or _attempt(functools.partial(run, queries))[1]
        if reason:
            absent[peer.name] = reason
        else:
            rivals.append(searches.rival(peer, run, queries, facts))
    facts = {"task": "search", "data": "decaying", "n": n, "dims": dims, "m": m, "k": K, "metric": "cosine"}
    truth = Search(queries, made.vectors, K, sample=SAMPLE, unit=True)
    bare = _limits(made.index, queries, [one.name for one in ours])
    return Race({**facts, **made.facts}, [*ours, *rivals], truth, bare, absent)


def _limits(index: fastvec.Index, queries: data.Array, names: list[str]) -> list[Limit]:
    import device_loops

    scan = scan_of(index, queries)
    reading, multiplying = device_loops.read(scan.codes), device_loops.products()
    formed = len(queries) * len(index) * scan.width
    return [
        Limit("scan", scan.run, names),
        Limit("read codes", reading.run, [*names, "scan"], scan.codes.nbytes / reading.amount),
        Limit("int8 products", multiplying.run, [*names, "scan"], formed / multiplying.amount),
    ]


_kept: dict[tuple[int, int], Prepared] = {}


def prepared(n: int, dims: int) -> Prepared:
    """Rows, the Index, and the peers' rows on the device; kept until other rows are asked for."""
    if (n, dims) not in _kept:
        _kept.clear()
        _free()
        _kept[n, dims] = _prepare(n, dims)
    return _kept[n, dims]


def _prepare(n: int, dims: int) -> Prepared:
    if device.simulated():
        sys.setswitchinterval(1e-4)  # its threads wait for each other all the time
    vectors, queries = data.unit(n, dims)
    rows = _rows_on_device(vectors)
    start = time.perf_counter()
    index = fastvec.Index(rows, device="cuda")
    facts = {"index_s": time.perf_counter() - start, **_bare_figures(scan_of(index, queries[:1]).codes)}
    print(
        f"\n{facts['device']}: {facts['read_gb_s']:,.0f} GB/s read, {facts['int8_gop_s']:,.0f} x 10⁹ int8 "
        f"products a second\n{n:,} x {dims}: Index in {facts['index_s']:.1f} s, {index.nbytes / 1e9:.2f} GB",
        flush=True,
    )
    # The Index allocates its lists before others fill the memory.
    index.search(queries[: max(BATCHES)], K)
    rivals, absent = _rivals(vectors, rows)
    for name, why in absent.items():
        print(f"left out: {name}, {why}", flush=True)
    return Prepared(vectors, queries, index, rivals, absent, facts)


def _bare_figures(codes: Any) -> dict[str, Any]:
    """What the device can do."""
    import device_loops

    reading, multiplying = device_loops.read(codes), device_loops.products()
    return {
        "device": device.name(),
        "multiprocessors": device.processors(),
        "read_gb_s": reading.amount / 1e9 / limits.quickest(reading.run),
        "int8_gop_s": multiplying.amount / 1e9 / limits.quickest(multiplying.run),
    }


PLACE, CHUNK = ("cpu", 64) if device.simulated() else ("cuda", 1 << 18)
"""Where torch computes, and the rows whose scores chunked peers hold at a time."""


def _rows_on_device(vectors: data.Array) -> Any:
    """The float32 rows on the device, which all share: torch's array if torch can make one, else Numba's."""
    from numba import cuda

    if importlib.util.find_spec("torch") and device_peers.torch_lacks(PLACE) is None:
        return device_peers.torch_rows(vectors, PLACE)
    return cuda.to_device(vectors)


def _rivals(vectors: data.Array, rows: Any) -> tuple[list[Rival], dict[str, str]]:
    """Peers that can run, and the others with the reason."""
    rivals: list[Rival] = []
    absent: dict[str, str] = {}
    for peer in peers.on_device(PLACE, CHUNK):
        reason = peer.missing()
        if not reason:
            corpus = Corpus(rows, K, "cosine", fastvec.get_num_threads())
            run, reason = _attempt(functools.partial(peer.search, corpus))
        if reason:
            absent[peer.name] = reason
        else:
            rivals.append((peer, run, searches.probe(peer, corpus._replace(vectors=vectors))))
    return rivals, absent


def _attempt(run: Callable[[], Any]) -> tuple[Any, str | None]:
    """What a call returns; or None, and that the device's memory does not suffice for it."""
    try:
        return run(), None
    except device_peers.out_of_memory() as error:
        reason = f"the device's memory does not suffice: {str(error).splitlines()[0]}"
    _free()
    return None, reason


def _free() -> None:
    """Give back memory that nothing refers to, which libraries would keep."""
    from numba import cuda

    gc.collect()
    if not device.simulated():
        cuda.current_context().deallocations.clear()
    device_peers.free_device_memory()


def why_not(n: int, dims: int) -> str | None:
    """What is missing here: a device, or memory beside it."""
    reason = device.why_not()
    if reason is not None:
        return f"no device to search on: {reason}"
    needed = n * dims * 4 + (4 << 30)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if sys.platform == "linux" else needed
    if needed > memory:
        return f"it takes {needed / 1e9:.0f} GB of this computer's memory, which has {memory / 1e9:.0f}"
    return None


def cases() -> Iterator[Case]:
    """Batches of every size."""
    for n, dims, full in SIZES:
        missing = functools.partial(why_not, n, dims)
        for m in BATCHES:
            build = functools.partial(search, n=n, dims=dims, m=m)
            yield Case(f"device: {n:,} x {dims}, batch {m:,}", build, full, why_not=missing)


CASES = list(cases())

if __name__ == "__main__":
    main(CASES)
