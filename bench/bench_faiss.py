"""The drop-ins for faiss's flat indexes and for ``torch.topk``, against faiss and PyTorch."""

from __future__ import annotations

import functools
from typing import Any

import data
import numpy as np
from suite import Case, Plan, main, test_races

from fastvec.benchmark import Competitor, Race
from fastvec.benchmark.truth import Search, Values
from fastvec.integrations import faiss as drop_in
from fastvec.integrations.torch import topk

__all__ = ["CASES", "test_races"]

K = 10
METRICS = {"IndexFlatIP": "dot", "IndexFlatL2": "euclidean"}


def searches(plan: Plan, kind: str, m: int) -> Race:
    """Searches of a filled index; squared distances are compared as distances."""
    import faiss

    vectors, queries = data.decaying(*((60_000, 384) if plan.full else (20_000, 128)))
    queries = np.resize(queries, (m, queries.shape[1]))
    competitors = []
    for module, precision in ((drop_in, "exact"), (faiss, "float32")):
        index: Any = getattr(module, kind)(vectors.shape[1])
        index.add(vectors)
        name = "fastvec" if module is drop_in else "faiss"
        run = functools.partial(index.search, queries, K)
        read = _scores if kind == "IndexFlatIP" else _negative_roots
        claimed = "float32" if kind == "IndexFlatL2" else precision  # a root of a rounded square
        competitors.append(Competitor(name, run, claimed, module is drop_in, read=read))
    truth = Search(queries, vectors, K, METRICS[kind], sample=plan.size(8, 16))
    facts = {"task": kind, "n": len(vectors), "dims": vectors.shape[1], "m": m, "k": K}
    return Race(facts, competitors, truth, (), plan.absent)


def _scores(answer: Any) -> Any:
    return answer


def _negative_roots(answer: Any) -> Any:
    squares, ids = answer
    return -np.sqrt(squares), ids


def selection(plan: Plan, rows: int) -> Race:
    """The largest entries of each row of a tensor."""
    import torch

    scores = torch.from_numpy(np.random.default_rng(4).standard_normal((rows, 100_000), np.float32))
    right = np.sort(scores.numpy(), axis=1)[:, ::-1][:, :K].astype(np.float64)
    competitors = [
        Competitor("fastvec", lambda: topk(scores, K), "exact", True, read=_values),
        Competitor("torch", lambda: torch.topk(scores, K), "exact", read=_values),
    ]
    facts = {"task": "torch.topk", "m": rows, "n": scores.shape[1], "k": K}
    return Race(facts, competitors, Values(right, 0.0), (), plan.absent)


def _values(answer: Any) -> Any:
    return answer.values.numpy()


CASES = [
    *(
        Case(f"faiss: {kind}, {m:,} queries", functools.partial(searches, kind=kind, m=m), needs=("faiss",))
        for kind in METRICS
        for m in (1, 1000)
    ),
    *(
        Case(f"torch: topk of {rows} rows", functools.partial(selection, rows=rows), needs=("torch",))
        for rows in (1, 128)
    ),
]

if __name__ == "__main__":
    main(CASES)
