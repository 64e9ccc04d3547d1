"""A fixed corpus of searches, and the digests that their answers have everywhere, always.

Rows come from integer arithmetic (`hashed`, powers of two, neighbors of a float32) or from
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

TABLE = Path(__file__).with_name("digests.json")
TINY = ("tiny", "tiny dot", "tiny euclidean")
"""Cases small enough for a simulated device."""
FUNCTIONS = ("normalize", "truncate", "topk")
"""Asks that need no rows to search: they read `vectors` alone (`topk`: scores)."""
METRICS = ("cosine", "dot", "euclidean", "manhattan")


class Case(NamedTuple):
    """One question: `queries` are rows, or for analogies questions (a, b, c): a + b − c."""

    ask: str
    """knn, range, graph, 3cosadd, 3cosmul, pairs, groups (of duplicates), or one of `FUNCTIONS`."""
    queries: np.ndarray
    vectors: np.ndarray
    k: int = 10
    metric: str = "cosine"
    dims: int | None = None
    where: np.ndarray | None = None
    exclude: np.ndarray | None = None
    least: float = 0.0
    """The score that ranges, pairs and groups ask for."""
    other: np.ndarray | None = None
    """Rows whose pairs with the vectors are sought."""


def hashed(n, dims, seed=0):
    """Uniform multiples of 2⁻¹⁵ in [-1, 1), from a 64-bit mixing function (SplitMix64)."""
    start = (seed * 0x632BE59BD9B4E019) % 2**64
    state = np.arange(n * dims, dtype=np.uint64) + np.uint64(start)
    state *= np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state ^= state >> np.uint64(shift)
        state *= np.uint64(factor)
    state ^= state >> np.uint64(31)
    integers = (state >> np.uint64(48)).astype(np.int64) - 2**15
    return (integers / 2**15).astype(np.float32).reshape(n, dims)


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


def largest(n, dims, seed):
    """Entries as large as float32 has them, and rows that are tiny beside them."""
    rows = np.copysign(np.finfo(np.float32).max, hashed(n, dims, seed))
    rows[::3] *= np.float32(2.0**-120)
    rows[1::5, ::2] *= np.float32(2.0**-127)
    return rows


def alike(n, dims, seed):
    """Rows that point much the same way."""
    return hashed(n, dims, seed) + np.float32(1.5)


def bytes_of(n, dims, seed):
    """Integers that int8 holds, −128 among them; some rows are equal, some zero."""
    rows = np.floor(hashed(n, dims, seed) * 128)
    rows[::7], rows[5::11], rows[6::13, 0] = rows[3], 0, -128
    return rows


def sample(vectors, m, seed):
    """Rows of the vectors, some of them negated or halved: queries that make ties."""
    factors = np.array([1, 1, -1, 0.5], np.float32)[ints(m, seed + 1, 4)]
    return vectors[ints(m, seed, len(vectors))] * factors[:, None]


_RANGES = {"cosine": 0.5, "dot": 0.5, "euclidean": -1.0, "manhattan": -17.0}
_PAIRS = {"cosine": 0.9, "dot": 1.0, "euclidean": -1.0, "manhattan": -8.0}
_GROUPS = {"cosine": 0.7, "dot": 0.7, "euclidean": -0.75, "manhattan": -13.0}
"""Scores that some rows of the corpus reach, and most do not."""


def cases():
    """Names to cases."""
    easy, hard, sentences = hashed(2100, 70, 1), nasty(1500, 97, 2), real()
    mask, few = np.arange(1500) % 3 > 0, np.arange(7, 1500, 19)
    small, rows, none = nasty(40, 32, 9), bytes_of(600, 97, 1), np.empty((0, 97), np.float32)
    masks = hashed(20, 1500, 5) > 0.2
    wide = np.sign(hashed(7, 131_072, 3)) * np.array([1, 1, -1, 1, 1, 0.5, 1], np.float32)[:, None]
    wide[:3] = [[1], [-1], [1]]
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
        "many rows": Case("knn", hashed(33, 33, 3), hashed(20_000, 33, 4)),
        "alike": Case("knn", alike(20, 160, 1), alike(700, 160, 2)),
        "alike, prefix": Case("knn", alike(20, 160, 1), alike(700, 160, 2), dims=130),
        "a mask a query": Case("knn", sample(hard, 20, 5), hard, where=masks),
        "widest": Case("knn", wide[:2], wide, 9),
        "widest dot": Case("knn", wide[:2], wide, 9, "dot"),
        "no rows": Case("knn", hashed(3, 97, 1), none, 2),
        "no queries": Case("knn", none, hard, 2),
        "pairs, filtered": Case("pairs", none, hard[:300], where=mask[:300], least=0.9, dims=33),
        "pairs of two": Case("pairs", none, hard[:300], least=0.5, other=sample(hard, 90, 8)),
        "groups, prefix": Case("groups", none, hard[:300], least=0.95, dims=33),
        "bytes, range": Case("range", rows[:20], rows, metric="euclidean", least=-700.0),
        "normalize": Case("normalize", none, hard),
        "truncate": Case("truncate", none, hard, dims=33),
        "topk": Case("topk", none, nasty(40, 1500, 4), 9),
    }
    for metric in METRICS:
        suffix = "" if metric == "cosine" else f" {metric}"
        made[f"nasty{suffix}"] = Case("knn", sample(hard, 40, 1), hard, metric=metric)
        made[f"near ties{suffix}"] = Case("knn", near_ties(3, 64, 1), near_ties(900, 64, 1), metric=metric)
        made[f"far{suffix}"] = Case("knn", far(20, 40, 1), far(900, 40, 2), metric=metric)
        made[f"tiny{suffix}"] = Case("knn", sample(small, 3, 2), small, 4, metric)
        made[f"range{suffix}"] = Case(
            "range", sentences[:20], sentences, metric=metric, least=_RANGES[metric]
        )
        made[f"graph{suffix}"] = Case("graph", hard[:300], hard[:300], 4, metric)
        made[f"largest{suffix}"] = Case("knn", largest(9, 65, 2), largest(200, 65, 1), metric=metric)
        made[f"bytes{suffix}"] = Case("knn", sample(rows, 20, 6) + hashed(20, 97, 7), rows, metric=metric)
        made[f"pairs{suffix}"] = Case("pairs", none, hard[:300], metric=metric, least=_PAIRS[metric])
        made[f"groups{suffix}"] = Case("groups", none, sentences, metric=metric, least=_GROUPS[metric])
        if metric != "dot":
            line = nasty(700, 1, 3)
            made[f"one dimension {metric}"] = Case("knn", hashed(9, 1, 1), line, 9, metric)
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
    """The oracle's answer, as a tuple of arrays: for a range search counts, scores and indices."""
    if case.ask == "pairs":
        options = (case.metric, case.dims, case.where, case.other)
        return oracle.pairs(case.vectors, case.least, *options)
    if case.ask == "groups":
        return (oracle.duplicates(case.vectors, case.least, case.metric, case.dims),)
    if case.ask == "normalize":
        return (oracle.normalize(case.vectors),)
    if case.ask == "truncate":
        return (oracle.truncate(case.vectors, case.dims),)
    if case.ask == "topk":
        return oracle.topk(case.vectors, case.k)
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
