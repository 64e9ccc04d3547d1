"""Heaps in the total order: score descending, then index ascending.

A heap of capacity k keeps the best pairs seen, with the worst at its root; ``size`` counts them. A size
begins as ``np.int64(0)``: for the literal 0, Numba would compile every helper a second time.
"""

from typing import NamedTuple

import numpy as np

from . import threads
from .compile import inline, kernel


@inline
def worse(score, row, other_score, other_row):
    """Whether a pair ranks below another."""
    return score < other_score or (score == other_score and row > other_row)


@inline
def push(scores, indices, size, score, row):
    """Offer a pair to a heap of capacity ``len(scores)``; return its new size."""
    capacity = scores.shape[0]
    if size < capacity:
        at = size
        while at > 0:
            parent = (at - 1) >> 1
            if not worse(score, row, scores[parent], indices[parent]):
                break
            scores[at], indices[at] = scores[parent], indices[parent]
            at = parent
        scores[at], indices[at] = score, row
        return size + 1
    if worse(scores[0], indices[0], score, row):
        sift(scores, indices, np.int64(0), capacity, score, row)
    return size


@inline
def sift(scores, indices, at, size, score, row):
    """Put a pair in the place ``at`` of a heap of ``size`` pairs, or below: the root is at 0."""
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and worse(scores[child + 1], indices[child + 1], scores[child], indices[child]):
            child += 1
        if not worse(scores[child], indices[child], score, row):
            break
        scores[at], indices[at] = scores[child], indices[child]
        at = child
    scores[at], indices[at] = score, row


@inline
def sort(scores, indices, size):
    """Turn a heap into its ranking, best first."""
    for last in range(size - 1, 0, -1):
        score, row = scores[last], indices[last]
        scores[last], indices[last] = scores[0], indices[0]
        sift(scores, indices, np.int64(0), last, score, row)


@inline
def raise_floor(floor, value):
    """Replace the smallest of a min-heap of values by a larger one."""
    size = floor.shape[0]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and floor[child + 1] < floor[child]:
            child += 1
        if floor[child] >= value:
            break
        floor[at] = floor[child]
        at = child
    floor[at] = value


@inline
def publish(scores, indices, size, out_scores, out_indices):
    """Write a ranking as float32 and int64, filled up with −inf and −1."""
    for place in range(out_scores.shape[0]):
        if place < size:
            out_scores[place] = np.float32(scores[place]) + np.float32(0.0)  # no −0.0
            out_indices[place] = indices[place]
        else:
            out_scores[place] = -np.inf
            out_indices[place] = -1


class Heaps(NamedTuple):
    """The heaps of m queries."""

    scores: np.ndarray
    """float64 (m, k), or those of several parts, flat."""
    rows: np.ndarray
    """int64, of the same shape."""
    sizes: np.ndarray
    """int64 (m,), or those of several parts."""

    @classmethod
    def empty(cls, m: int, k: int) -> "Heaps":
        """Heaps of capacity k without pairs."""
        return cls(np.empty((m, k)), np.empty((m, k), np.int64), np.zeros(m, np.int64))


@inline
def threshold(heaps, i):
    """The score that a pair must reach to enter the heap of query i; −inf while the heap is not full."""
    return heaps.scores[i, 0] if heaps.sizes[i] == heaps.scores.shape[1] else -np.inf


def merge(parts: list[Heaps], chosen: np.ndarray, scores: np.ndarray, indices: np.ndarray) -> None:
    """Publish the rankings of the queries ``chosen`` from their heaps over parts of the rows."""
    if len(parts) == 1:  # the usual case, without copies
        flat = [field.ravel() for field in parts[0]]
    else:
        flat = [np.concatenate([field.ravel() for field in fields]) for fields in zip(*parts, strict=True)]
    widths = [part.scores.shape[1] for part in parts]
    heaps, part_widths = Heaps(*flat), np.array(widths)
    for first, last in threads.paced(0, len(chosen), 1, 64 * sum(widths)):
        _merge_heaps(first, last, heaps, part_widths, chosen, scores, indices)


@kernel
def _merge_heaps(first, last, heaps, widths, chosen, scores, indices):
    m, k = len(chosen), scores.shape[1]
    best, ranked = np.empty(k), np.empty(k, np.int64)
    for i in range(first, last):
        size, start = np.int64(0), 0
        for part in range(len(widths)):
            at = start + i * widths[part]
            for z in range(at, at + heaps.sizes[part * m + i]):
                size = push(best, ranked, size, heaps.scores[z], heaps.rows[z])
            start += m * widths[part]
        sort(best, ranked, size)
        publish(best, ranked, size, scores[chosen[i]], indices[chosen[i]])
