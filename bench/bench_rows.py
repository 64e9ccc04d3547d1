"""Row operations: normalize, and Matryoshka truncation, against the same in NumPy, torch, scikit-learn."""

from __future__ import annotations

from typing import Any

import data
import numpy as np
from suite import Case, Plan, main, test_races

import fastvec
from fastvec.benchmark import Competitor, Limit, Race, limits
from fastvec.benchmark.definitions import unit
from fastvec.benchmark.truth import Values

__all__ = ["CASES", "test_races"]


def normalize(plan: Plan) -> Race:
    """Unit rows, in a new array."""
    vectors, _ = data.gaussian(plan.size(50_000, 100_000), 768)
    ours = Competitor("normalize", lambda: fastvec.normalize(vectors), "float32", True)
    return _race(plan, vectors, vectors.shape[1], ours)


def into(plan: Plan) -> Race:
    """Unit rows, in an array that is there: what fresh pages cost is left out."""
    vectors, _ = data.gaussian(plan.size(50_000, 100_000), 768)
    out = np.empty_like(vectors)
    ours = Competitor(
        "normalize", lambda: fastvec.normalize(vectors, out=out), "float32", True, setting="out="
    )
    return _race(plan, vectors, vectors.shape[1], ours, out)


def truncate(plan: Plan) -> Race:
    """The first 256 columns, of unit length again."""
    vectors, _ = data.gaussian(plan.size(50_000, 100_000), 768)
    ours = Competitor("truncate", lambda: fastvec.truncate(vectors, 256), "float32", True)
    return _race(plan, vectors, 256, ours)


def _race(plan: Plan, vectors: Any, dims: int, ours: Competitor, out: Any = None) -> Race:
    part = vectors[:, :dims]
    rows = np.unique(np.linspace(0, len(vectors) - 1, 500).astype(np.int64))
    right = unit(part[rows].astype(np.float64))
    competitors = [ours]
    for peer in plan.exact:
        if peer.name in MAKERS:
            competitors.append(Competitor(peer.name, MAKERS[peer.name](part, out)))
    # What is read once and what is written once, each as long as reading it.
    reading = Limit(
        "read, write",
        limits.read(vectors, fastvec.get_num_threads()),
        [ours.name],
        2 * dims / vectors.shape[1],
    )
    facts = {"task": ours.name, "n": len(vectors), "dims": dims, "of": vectors.shape[1]}
    return Race(facts, competitors, Values(right, 2e-7, rows), [reading], plan.absent)


def _numpy(part: Any, out: Any) -> Any:
    return lambda: np.divide(part, np.linalg.norm(part, axis=1, keepdims=True), out=out)


def _torch(part: Any, out: Any) -> Any:
    import torch
    from torch.nn.functional import normalize

    given, target = torch.from_numpy(part), None if out is None else torch.from_numpy(out)
    return lambda: normalize(given, out=target).numpy()


def _sklearn(part: Any, out: Any) -> Any:
    from sklearn.preprocessing import normalize

    return lambda: normalize(part)


MAKERS = {"numpy": _numpy, "torch": _torch, "scikit-learn": _sklearn}

CASES = [
    Case("rows: normalize", normalize),
    Case("rows: normalize, given output", into),
    Case("rows: truncate 768 to 256", truncate),
]

if __name__ == "__main__":
    main(CASES)
