"""Pairs of rows that reach a score, and groups of such rows: Index.pairs and .duplicates against others."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import data
import numpy as np
from suite import Case, Plan, main, test_races

import fastvec
from fastvec import _facts
from fastvec.benchmark import Competitor, Race
from fastvec.benchmark.slack import HALF_ULP
from fastvec.benchmark.truth import Mismatch

__all__ = ["CASES", "test_races"]

LEAST = np.float32(0.9)
_BLOCK = 2048


class Pairs:
    """All pairs whose cosine is at least ``LEAST``: float64 sums for those that float32 does not rule out."""

    def __init__(self, vectors: data.Array) -> None:
        n, dims = vectors.shape
        unit, slack = fastvec.normalize(vectors), (8 + dims) * HALF_ULP
        near = np.concatenate([found[:2] for found in _blocks(unit, LEAST - np.float32(slack))], axis=1)
        left, right = near[:, np.lexsort((near[1], near[0]))]
        a, b = (vectors[rows].astype(np.float64) for rows in (left, right))
        squares = np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b)
        cosines = np.einsum("ij,ij->i", a, b) / np.sqrt(squares)
        keep = cosines.astype(np.float32) >= LEAST
        self._keys, self._scores = (left * n + right)[keep], cosines[keep]
        self._unsure = (left * n + right)[np.abs(cosines - np.float64(LEAST)) <= slack]
        self._n, self._slack = n, slack
        self.checked = f"all {len(self._keys):,} pairs"

    def __len__(self) -> int:
        return len(self._keys)

    def judge(self, answer: Any, precision: str) -> dict[str, float]:
        """The largest error of a score; an exact answer has the right pairs, in order."""
        left, right, scores = map(np.asarray, answer)
        keys = (left * self._n + right).astype(np.int64)
        if precision != "exact":
            order = np.argsort(keys)
            keys, scores = keys[order], scores[order]
        differing = np.setxor1d(keys, self._keys)
        unsure = np.isin(differing, self._unsure)
        if (precision == "exact" and not np.array_equal(keys, self._keys)) or not unsure.all():
            raise Mismatch(None, len(keys), len(self._keys), f"{len(differing)} other pairs")
        common, here, there = np.intersect1d(keys, self._keys, return_indices=True)
        error = float(np.abs(scores[here] - self._scores[there]).max(initial=0.0))
        if error > self._slack:
            raise Mismatch(None, error, self._slack, "scores beyond their rounding")
        return {"error": error, "recall": len(common) / max(1, len(self._keys))}


def pairs(plan: Plan, make: Callable[[int], data.Array]) -> Race:
    """Cosine at least 0.9; the Index is built before, others normalize the rows in the time taken."""
    vectors = make(plan.size(8000, 60_000))
    index, truth = fastvec.Index(vectors), Pairs(vectors)
    competitors = [
        Competitor("pairs", lambda: index.pairs(LEAST), "exact", True),
        Competitor("Index, pairs", lambda: fastvec.Index(vectors, screen="off").pairs(LEAST), "exact", True),
    ]
    absent, asked = dict(plan.absent), {peer.name for peer in plan.exact}
    if "numpy" in asked:
        run = functools.partial(numpy_pairs, vectors)
        competitors.append(Competitor("numpy", run, setting="matmul of the upper triangle"))
    if "semantic_search" in asked and _facts.installed("sentence_transformers"):
        competitors.append(_sentence_transformers(vectors, len(truth)))
    elif "semantic_search" in asked:
        absent["sentence-transformers"] = "sentence_transformers is not installed"
    facts = {"task": "pairs", "n": len(vectors), "dims": vectors.shape[1], "pairs": len(truth)}
    return Race(facts, competitors, truth, (), absent)


def numpy_pairs(vectors: data.Array) -> Any:
    """Left rows, right rows and cosines, float32."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return tuple(map(np.concatenate, zip(*_blocks(unit, LEAST), strict=True)))


def _blocks(unit: data.Array, least: np.float32) -> Any:
    """Pairs i < j of unit rows, block by block of the upper triangle."""
    for i in range(0, len(unit), _BLOCK):
        for j in range(i, len(unit), _BLOCK):
            scores = unit[i : i + _BLOCK] @ unit[j : j + _BLOCK].T
            a, b = np.nonzero(scores >= least)
            if i == j:
                a, b = a[a < b], b[a < b]
            yield a + i, b + j, scores[a, b]


def _sentence_transformers(vectors: data.Array, most: int) -> Competitor:
    """It has no least score, so it is asked for as many pairs as there are."""
    import torch
    from sentence_transformers.util import paraphrase_mining_embeddings

    rows = torch.from_numpy(vectors)

    def run() -> Any:
        return paraphrase_mining_embeddings(rows, max_pairs=max(1, most))

    def read(found: Any) -> Any:
        scores, left, right = np.array(found).T
        reach = scores.astype(np.float32) >= LEAST
        return left[reach].astype(np.int64), right[reach].astype(np.int64), scores[reach]

    return Competitor("sentence-transformers", run, read=read, setting="paraphrase_mining_embeddings")


class Groups:
    """The lowest row of each row's group."""

    checked = "all rows"

    def __init__(self, right: data.Array) -> None:
        self._right = right

    def judge(self, answer: Any, precision: str) -> dict[str, float]:
        """The share of rows whose group is right; all must be."""
        same = float((answer == self._right).mean())
        if precision != "inexact" and same < 1.0:
            raise Mismatch(None, answer, self._right, "other groups")
        return {"recall": same}


def duplicates(plan: Plan) -> Race:
    """Isotropic rows, a tenth of which are copies of others, at a score that only copies reach."""
    n, dims = (200_000, 384) if plan.full else (20_000, 128)
    vectors, _ = data.gaussian(n, dims)
    rng = np.random.default_rng(0)
    copies = np.sort(rng.choice(np.arange(n // 2, n), n // 10, replace=False))
    right = np.arange(n)
    right[copies] = rng.integers(0, n // 2, len(copies))
    vectors = vectors[right]
    index = fastvec.Index(vectors)
    competitors = [Competitor("duplicates", lambda: index.duplicates(0.95), "exact", True)]
    absent = dict(plan.absent)
    if n * n * dims > 1e12:
        absent["faiss"] = "slow: not asked for more than 1e+12 products"
    elif any(peer.name == "faiss" for peer in plan.exact) and _facts.installed("scipy"):
        setting = "range_search of IndexFlatIP, connected_components of SciPy"
        competitors.append(Competitor("faiss", _faiss(vectors), setting=setting))
    facts = {"task": "duplicates", "n": n, "dims": dims, "copies": len(copies)}
    return Race(facts, competitors, Groups(right), (), absent)


def _faiss(vectors: data.Array) -> Callable[[], data.Array]:
    import faiss
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    unit = fastvec.normalize(vectors)
    index = faiss.IndexFlatIP(unit.shape[1])
    index.add(unit)

    def run() -> data.Array:
        offsets, _, found = index.range_search(unit, 0.95)
        shape = (len(unit), len(unit))
        graph = csr_matrix((np.ones(len(found), np.int8), found, offsets.astype(np.int64)), shape)
        labels = connected_components(graph, directed=False)[1]
        return np.unique(labels, return_index=True)[1][labels]

    return run


CASES = [
    Case("join: pairs", functools.partial(pairs, make=functools.partial(data.clusters, dims=384))),
    Case("join: pairs of sentences", functools.partial(pairs, make=data.minilm), why_not=data.minilm_missing),
    Case("join: duplicates", duplicates),
]

if __name__ == "__main__":
    main(CASES)
