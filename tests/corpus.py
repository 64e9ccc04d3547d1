"""A fixed corpus of searches, and the digests that their answers have everywhere, always.

Rows come from integer arithmetic (`data.hashed`, powers of two, neighbors of a float32) or from
stored bits (`real_rows.npy`: 256 sentence embeddings of 512 dimensions, float16), never from a
generator's stream. `digests.json` holds for each case the SHA-256 of its inputs and of its answer.

    python tests/corpus.py      writes digests.json anew, from the oracle

That file changes only when a case is added: a search that answers differently is wrong.
"""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import oracle
from data import hashed

TABLE = Path(__file__).with_name("digests.json")
TINY = ("tiny", "tiny dot", "tiny euclidean")
"""Cases small enough for a simulated device."""


class Case(NamedTuple):
    """One search: `queries` are rows, or for analogies questions (a, b, c): a + b − c."""

    ask: str
    """knn, range, graph, 3cosadd or 3cosmul."""
    queries: np.ndarray
    vectors: np.ndarray
    k: int = 10
    metric: str = "cosine"
    dims: int | None = None
    where: np.ndarray | None = None
    exclude: np.ndarray | None = None
    least: float = 0.0
    """The score that a range search asks for."""


def real():
    return np.load(Path(__file__).with_name("real_rows.npy")).astype(np.float32)


def ints(n, seed, most):
    """Integers from 0 to most − 1."""
    return ((hashed(n, 1, seed)[:, 0] + 1) / 2 * most).astype(np.int64)


def outliers(n, dims, seed):
    """One dimension dwarfs the rest."""
    rows = hashed(n, dims, seed)
    rows[:, dims // 2] = 2.0**17
    return rows


def near_ties(n, dims, seed):
    """One row, one entry of each copy moved to the float32 next to it."""
    rows = np.repeat(hashed(1, dims, seed), n, axis=0)
    entries = np.arange(n), ints(n, seed + 1, dims)
    rows[entries] = np.nextafter(rows[entries], np.float32(2) * (np.arange(n) % 2).astype(np.float32) - 1)
    return rows


def scales(n, dims, seed):
    """Lengths from 2⁻¹⁴⁰ to 2¹²⁰: no scale fits two rows, and some are subnormal."""
    return np.ldexp(hashed(n, dims, seed).astype(np.float64), ints(n, seed + 1, 260)[:, None] - 140).astype(
        np.float32
    )


def subnormals(n, dims, seed):
    return np.ldexp(hashed(n, dims, seed).astype(np.float64), -134).astype(np.float32)


def duplicates(n, dims, seed):
    """Seven directions, some of them longer, some of them zero."""
    rows = hashed(7, dims, seed)
    rows[3] = 0
    return rows[ints(n, seed + 1, 7)] * np.float32(2.0) ** ints(n, seed + 2, 3)[:, None].astype(np.float32)


def far(n, dims, seed):
    """Distances that are small against the rows' lengths."""
    return hashed(n, dims, seed) + np.float32(1000)


def nasty(n, dims, seed):
    """All of these, one after another."""
    rows = np.empty((n, dims), np.float32)
    kinds = (outliers, near_ties, scales, subnormals, duplicates, far, hashed)
    for i, kind in enumerate(kinds):
        rows[i :: len(kinds)] = kind(len(rows[i :: len(kinds)]), dims, seed + i)
    return rows


def sample(vectors, m, seed):
    """Rows of the vectors, some of them negated or halved: queries that make ties."""
    factors = np.array([1, 1, -1, 0.5], np.float32)[ints(m, seed + 1, 4)]
    return vectors[ints(m, seed, len(vectors))] * factors[:, None]


def cases():
    """Names to cases."""
    easy, hard, sentences = hashed(2100, 70, 1), nasty(1500, 97, 2), real()
    mask, few = np.arange(1500) % 3 > 0, np.arange(7, 1500, 19)
    small = nasty(40, 32, 9)
    made = {
        "random": Case("knn", hashed(70, 70, 4), easy),
        "random, one query": Case("knn", hashed(1, 70, 5), easy, 3),
        "random, prefix": Case("knn", hashed(9, 70, 6), easy, dims=40),
        "real": Case("knn", sentences[:50], sentences, 5),
        "real, prefix": Case("knn", sentences[:50], sentences, 5, dims=128),
        "real, filtered": Case(
            "knn", sample(hard, 20, 3), hard, where=mask, exclude=np.tile([1, 3], (20, 1))
        ),
        "few let through": Case("knn", sample(hard, 20, 4), hard, where=few),
        "prefix of scales": Case("knn", sample(scales(900, 97, 5), 20, 6), scales(900, 97, 5), 7, dims=33),
        "all tied": Case("knn", hashed(3, 17, 8), np.repeat(hashed(1, 17, 8), 5000, axis=0), 7),
        "k beyond n": Case("knn", sample(hard, 5, 7), hard[:300], 301),
        "one dimension": Case("knn", hashed(9, 1, 1), nasty(700, 1, 3), 9, "dot"),
        "subnormals": Case("knn", subnormals(20, 33, 1), subnormals(400, 33, 2), 9, "dot"),
        "3cosadd": Case("3cosadd", ints(90, 1, 256).reshape(30, 3), sentences, 5),
        "3cosmul": Case("3cosmul", ints(90, 2, 1500).reshape(30, 3), hard, 5, dims=64),
    }
    for metric in ("cosine", "dot", "euclidean"):
        suffix = "" if metric == "cosine" else f" {metric}"
        made[f"nasty{suffix}"] = Case("knn", sample(hard, 40, 1), hard, metric=metric)
        made[f"near ties{suffix}"] = Case("knn", near_ties(3, 64, 1), near_ties(900, 64, 1), metric=metric)
        made[f"far{suffix}"] = Case("knn", far(20, 40, 1), far(900, 40, 2), metric=metric)
        made[f"tiny{suffix}"] = Case("knn", sample(small, 3, 2), small, 4, metric)
        made[f"range{suffix}"] = Case(
            "range", sentences[:20], sentences, metric=metric, least=-1.0 if suffix[1:2] == "e" else 0.5
        )
        made[f"graph{suffix}"] = Case("graph", hard[:300], hard[:300], 4, metric)
    return made


def digest(*arrays):
    """SHA-256 of the bytes of arrays in little-endian order."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return total.hexdigest()


def inputs(case):
    """All arrays of a case."""
    return [value for value in case if isinstance(value, np.ndarray)]


def expected(case):
    """The oracle's answer: for a range search counts, scores and indices; else scores and indices."""
    if case.ask in ("3cosadd", "3cosmul"):
        plus, minus = case.queries[:, :2], case.queries[:, 2:]
        return oracle.analogy(case.vectors, plus, minus, case.k, case.ask, dims=case.dims)
    if case.ask == "graph":
        itself = np.arange(len(case.vectors))[:, None]
        return oracle.knn(case.vectors, case.vectors, case.k, case.metric, exclude=itself)
    if case.ask == "knn":
        options = (case.metric, case.dims, case.where, case.exclude)
        return oracle.knn(case.queries, case.vectors, case.k, *options)
    scores = oracle.scores(case.queries, case.vectors, case.metric)
    reached = [np.argsort(-row, kind="stable") for row in scores]
    reached = [
        order[oracle.publish(row[order]) >= case.least] for order, row in zip(reached, scores, strict=True)
    ]
    kept = [oracle.publish(row[order]) for order, row in zip(reached, scores, strict=True)]
    return np.array([len(order) for order in reached]), np.concatenate(kept), np.concatenate(reached)


def table():
    """What ``digests.json`` holds."""
    return json.loads(TABLE.read_text())


if __name__ == "__main__":
    digests = {
        name: {"inputs": digest(*inputs(case)), "answer": digest(*expected(case))}
        for name, case in cases().items()
    }
    TABLE.write_text(json.dumps(digests, indent=1) + "\n")
