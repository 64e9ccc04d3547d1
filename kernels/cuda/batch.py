"""Batches of queries that are searched together, and the chunks of rows that are scanned in turn.

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
"""The largest k of a search on the device."""

QUERIES_AT_ONCE = 1024
_MASK_BITS = 1 << 31
"""The most bits of a mask of queries and rows that are sent at a time."""


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
    """Sizes of lists and chunks, which tests make tiny."""

    capacity: int
    """The number of candidates for which a query's list has room."""
    first: int
    """The number of rows in the first chunk."""
    growth: int
    """The rows up to a chunk's end are at most this many times the rows before it."""


def limits_for(k: int) -> Limits:
    """Limits with which a chunk fills at most half of a list.

    A chunk of r times as many rows as those before it adds about 16·r·k candidates.
    """
    capacity = max(8192, 16 * k)
    first = -(-max(1024, 4 * k) // PANEL) * PANEL
    return Limits(capacity, first, max(2, min(16, capacity // (32 * k))))


def queries_at_once(n: int, exclusions: Exclusions) -> int:
    """The largest number of queries in a batch, whose lists, and whose mask if there is one, have limits."""
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
