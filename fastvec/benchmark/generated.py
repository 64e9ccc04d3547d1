"""Generated data to search: float32 (vectors (n, dims), 1,024 queries), from fixed seeds."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from ..similarity import normalize

Array = npt.NDArray[Any]
QUERIES = 1024
_BLOCK = 1 << 16
"""Rows that are made at a time, so that only one block is in memory beside the result."""


def gaussian(n: int, dims: int, seed: int = 1) -> tuple[Array, Array]:
    """Isotropic noise, the hardest kind: it has no structure that helps the bound."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, dims), np.float32), rng.standard_normal((QUERIES, dims), np.float32)


@functools.lru_cache(1)  # cases that follow each other share it
def decaying(n: int, dims: int, seed: int = 2) -> tuple[Array, Array]:
    """Rotated rows whose spectrum falls as that of embeddings; queries lie near some of the rows."""
    rng = np.random.default_rng(seed)
    weights = np.arange(1, dims + 1, dtype=np.float32) ** -0.5
    rotation = np.linalg.qr(rng.standard_normal((dims, dims)))[0].astype(np.float32)
    vectors = np.empty((n, dims), np.float32)
    for first in range(0, n, _BLOCK):
        block = vectors[first : first + _BLOCK]
        np.matmul(rng.standard_normal(block.shape, np.float32) * weights, rotation, out=block)
    queries = (rng.standard_normal((QUERIES, dims), np.float32) * weights) @ rotation
    queries = queries * np.float32(0.7) + vectors[rng.integers(0, n, QUERIES)] * np.float32(0.5)
    return vectors, queries


def unit(n: int, dims: int, seed: int = 2) -> tuple[Array, Array]:
    """``decaying`` of unit length; made anew, so that millions of rows are in memory only once."""
    vectors, queries = decaying.__wrapped__(n, dims, seed)
    return normalize(vectors, out=vectors), normalize(queries, out=queries)


def tied(n: int, dims: int) -> tuple[Array, Array]:
    """All rows equal: nothing can be discarded."""
    vectors, queries = gaussian(1, dims)
    return np.repeat(vectors, n, axis=0), queries


def outlier(n: int, dims: int) -> tuple[Array, Array]:
    """In every row one dimension dwarfs the others, as in embeddings of some transformers."""
    vectors, queries = gaussian(n, dims)
    rogue = min(7, dims - 1)
    vectors[:, rogue] = queries[:, rogue] = 1e4
    return vectors, queries
