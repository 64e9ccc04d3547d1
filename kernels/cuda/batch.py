"""What is searched together, and in portions of which size: queries by the batch, rows by the chunk.

Chunks grow geometrically. The first is so short that all its rows are candidates; each
later one is scanned with thresholds from all before it, so that it adds about as many
candidates as the one before.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..filters import Exclusions
from .layout import PANEL, Span

MOST_K = 1024
"""Neighbors that a search on the device may ask for."""

QUERIES_AT_ONCE = 1024
_MASK_BITS = 1 << 31
"""Bits of a mask of queries and rows that are sent at a time."""


class Batch(NamedTuple):
    """Queries that are searched together; ``allowed`` and ``exclusions`` as in ``kernels.scan.scan``."""

    queries: Any
    """float32 (m, ≥ dims) with contiguous rows, of NumPy or of the device."""
    dims: int
    k: int
    metric: str
    allowed: np.ndarray
    exclusions: Exclusions


class Limits(NamedTuple):
    """Sizes that tests make tiny."""

    capacity: int
    """Candidates that a query's list holds."""
    first: int
    """Rows of the first chunk."""
    growth: int
    """The rows up to a chunk's end are at most this many times the rows before it."""


def limits_for(k: int) -> Limits:
    """A chunk of r times the rows before adds about 16·r·k candidates: half of what the list holds."""
    capacity = max(8192, 16 * k)
    first = -(-max(1024, 4 * k) // PANEL) * PANEL
    return Limits(capacity, first, max(2, min(16, capacity // (32 * k))))


def queries_at_once(n: int, exclusions: Exclusions) -> int:
    """How many queries a batch may have: their lists, and their mask if there is one, have limits."""
    if len(exclusions.mask) == 0:
        return QUERIES_AT_ONCE
    return max(1, min(QUERIES_AT_ONCE, _MASK_BITS // n))


def chunks(rows: int, limits: Limits) -> Iterator[Span]:
    """All rows, in whole panels."""
    first = 0
    while first < rows:
        last = min(rows, max(first * limits.growth, limits.first))
        last = min(rows, -(-last // PANEL) * PANEL)
        yield Span(first, last)
        first = last


def bits(mask: np.ndarray) -> np.ndarray:
    """Rows of bools as bits of int32 words."""
    width = -(-mask.shape[-1] // 32) * 32
    padded = np.zeros((*mask.shape[:-1], width), np.bool_)
    padded[..., : mask.shape[-1]] = mask
    return np.packbits(padded, axis=-1, bitorder="little").view("<i4").astype(np.int32, copy=False)
