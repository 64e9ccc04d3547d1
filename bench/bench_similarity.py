"""The whole matrix of cosines, of rows that are not of unit length: cosine_similarity against others."""

from __future__ import annotations

import functools
from typing import Any

import data
import numpy as np
from suite import Case, Plan, main, test_races

import fastvec
from fastvec.benchmark import Competitor, Limit, Race
from fastvec.benchmark.corpus import Corpus
from fastvec.benchmark.truth import Values, scores

__all__ = ["CASES", "test_races"]

CHECKED = 8
SLACK = 2e-6
"""As far as float32 arithmetic of some hundred terms goes; fastvec's own error is reported beside it."""


def similarity(plan: Plan, m: int, fresh: bool) -> Race:
    """m queries with all rows, into a given output or (``fresh``) a new one."""
    vectors, queries = data.decaying(*((50_176, 768) if plan.full else (20_000, 384)))
    queries = np.ascontiguousarray(queries[:m])
    out = None if fresh else np.empty((m, len(vectors)), np.float32)
    competitors = [
        Competitor(
            "cosine_similarity",
            functools.partial(fastvec.cosine_similarity, queries, vectors, out=out),
            ours=True,
            setting="a new output" if fresh else "out=",
        )
    ]
    absent = dict(plan.absent)
    corpus = Corpus(vectors, 1, "cosine", fastvec.get_num_threads())
    for peer in plan.exact:
        if peer.similarity is None:
            continue
        if (reason := peer.too_slow(m * vectors.size)) is not None:
            absent[peer.name] = reason
            continue
        run = functools.partial(peer.similarity(corpus), queries)
        competitors.append(Competitor(peer.name, run, peer.precision, setting=peer.setting))
    rows = np.unique(np.linspace(0, m - 1, CHECKED).astype(np.int64))
    right = np.stack([scores(queries[i], vectors) for i in rows])
    facts: dict[str, Any] = {"task": "similarity", "n": len(vectors), "dims": vectors.shape[1], "m": m}
    left, block = vectors[:1024].copy(), vectors[1024:2048].copy()
    part = m * len(vectors) / (len(left) * len(block))
    blas = Limit(
        "float32 peak", lambda: left @ block.T, [c.name for c in competitors if c.name != "scipy"], part
    )
    return Race(facts, competitors, Values(right, SLACK, rows), [blas], absent)


CASES = [
    Case("similarity: 256 queries", functools.partial(similarity, m=256, fresh=True)),
    Case("similarity: 256 queries, given output", functools.partial(similarity, m=256, fresh=False)),
    Case("similarity: 1,024 queries", functools.partial(similarity, m=1024, fresh=True), full=True),
]

if __name__ == "__main__":
    main(CASES)
