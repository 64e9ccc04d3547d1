"""The k largest of each row of a given score matrix: topk against others."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from suite import Case, Plan, main, test_races

import fastvec
from fastvec.benchmark import Competitor, Limit, Race, limits
from fastvec.benchmark.truth import Values

__all__ = ["CASES", "test_races"]


def selection(plan: Plan, k: int, one_row: bool = False) -> Race:
    """Values are compared with a full sort, in all rows; all are exact, since nothing is computed."""
    m = 1 if one_row else plan.size(128, 1024)
    scores = np.random.default_rng(4).standard_normal((m, 100_000), np.float32)
    right = np.sort(scores, axis=1)[:, ::-1][:, :k].astype(np.float64)
    competitors = [Competitor("topk", lambda: fastvec.topk(scores, k), "exact", True, read=_values)]
    for peer in plan.exact:
        if peer.select is not None:
            run = functools.partial(peer.select(k), scores)
            competitors.append(Competitor(peer.name, run, "exact", read=_values, setting=peer.setting))
    facts = {"task": "selection", "m": m, "n": scores.shape[1], "k": k}
    reading = Limit(
        "read scores", limits.read(scores, fastvec.get_num_threads()), [c.name for c in competitors]
    )
    return Race(facts, competitors, Values(right, 0.0), [reading], plan.absent)


def _values(answer: Any) -> Any:
    return answer[0]


CASES = [
    Case("selection: k 10", functools.partial(selection, k=10)),
    Case("selection: k 100", functools.partial(selection, k=100)),
    Case("selection: k 1,000", functools.partial(selection, k=1000), full=True),
    Case("selection: k 10 of one row", functools.partial(selection, k=10, one_row=True)),
]

if __name__ == "__main__":
    main(CASES)
