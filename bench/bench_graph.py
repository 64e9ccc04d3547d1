"""The k nearest rows of every row, itself left out: Index.knn_graph against others."""

from __future__ import annotations

from typing import Any

import data
import numpy as np
from suite import Case, Plan, main, test_races

import fastvec
from fastvec.benchmark import Competitor, Race
from fastvec.benchmark.truth import Search

__all__ = ["CASES", "test_races"]

K = 15


def graph(plan: Plan) -> Race:
    """Cosine; peers get unit rows."""
    vectors, _ = data.decaying(*((50_000, 384) if plan.full else (8000, 128)))
    index = fastvec.Index(vectors)
    unit = fastvec.normalize(vectors)
    competitors = [Competitor("knn_graph", lambda: index.knn_graph(K), "exact", True)]
    for peer in plan.exact:
        if peer.name in MAKERS:
            competitors.append(Competitor(peer.name, MAKERS[peer.name](unit), setting=peer.setting))
    itself = np.arange(len(vectors))[:, np.newaxis]
    truth = Search(vectors, vectors, K, exclude=itself, sample=plan.size(8, 16))
    facts = {"task": "graph", "n": len(vectors), "dims": vectors.shape[1], "m": len(vectors), "k": K}
    return Race(facts, competitors, truth, (), plan.absent)


def _sklearn(unit: Any) -> Any:
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=K, algorithm="brute").fit(unit)

    def run() -> Any:
        distances, indices = index.kneighbors(None)
        return 1 - distances**2 / 2, indices

    return run


def _torch(unit: Any) -> Any:
    import torch

    rows = torch.from_numpy(unit)

    def run() -> Any:
        parts = []
        for first in range(0, len(rows), 1024):
            scores = rows[first : first + 1024] @ rows.T
            some = torch.arange(len(scores))
            scores[some, some + first] = -torch.inf
            parts.append(scores.topk(K))
        return torch.cat([p[0] for p in parts]).numpy(), torch.cat([p[1] for p in parts]).numpy()

    return run


def _faiss(unit: Any) -> Any:
    import faiss

    index = faiss.IndexFlatIP(unit.shape[1])
    index.add(unit)

    def run() -> Any:
        scores, indices = index.search(unit, K + 1)
        other = indices != np.arange(len(unit))[:, np.newaxis]
        other[other.all(axis=1), -1] = False  # where a copy took its own place
        return scores[other].reshape(-1, K), indices[other].reshape(-1, K)

    return run


MAKERS = {"torch": _torch, "faiss": _faiss, "scikit-learn": _sklearn}
CASES = [Case("graph: 15 nearest rows of every row", graph)]

if __name__ == "__main__":
    main(CASES)
