"""The pairs of rows that are most similar, by a join: a sample of the rows tells which score enough reach.

A pair counts if one of its rows is among the k nearest others of the other one. So of the pairs that reach a
score all count whose rows have at most k such pairs; of a row with more, the k best do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import fastvec
from fastvec.choices import Metric

Array = npt.NDArray[Any]
Ranked = tuple[Array, Array, Array]
"""Pairs of rows, best first: their scores, the lower rows, the higher rows."""

_SAMPLE = 1024
"""Rows whose neighbors are looked at first."""
_MARGIN = 1.2
"""How many times as many pairs as are wanted the sample should promise, and by how much more where these
are not enough."""
_MOST_CROWDED = 0.2
"""The share of the sample that may have more pairs than count."""
_MOST_PAIRS = 1 << 22
"""Pairs that a join may find, at 20 bytes each, unless several times as many are wanted."""


def closest_pairs(matrix: Array, metric: Metric, k: int, most: int) -> Ranked | None:
    """The ``most`` best pairs, equal scores by rising rows.

    None if the k nearest others of every row should be searched: if there are few rows, if nearly all
    pairs that count are wanted, or if so many rows are alike that far more pairs reach the score.
    """
    n = len(matrix)
    if n < 4 * _SAMPLE:
        return None
    index = fastvec.Index(matrix, metric=metric, screen="off")  # making one takes longer than so few searches
    rows = np.arange(_SAMPLE) * (n // _SAMPLE)
    sampled = index.search(index.vectors[rows], k, exclude=rows[:, None]).scores
    ranked = np.sort(sampled, axis=None)[::-1]
    least, promised = np.inf, _MARGIN * most
    # A pair is in the lists of both rows, or in one: so many entries of all lists are half as many pairs.
    while (entries := int(2 * promised * _SAMPLE / n)) < ranked.size:
        promised *= _MARGIN
        if ranked[entries] == least:
            continue
        least = ranked[entries]
        if (sampled[:, -1] >= least).mean() > _MOST_CROWDED:
            return None
        pairs = _joined(index, least, max(8 * most, _MOST_PAIRS))
        if pairs is None:
            return None
        counts = _counting(index, pairs, k)
        left, right, scores = (array[counts] for array in pairs)
        if len(scores) >= most:
            best = np.argsort(-scores, kind="stable")[:most]
            return scores[best], left[best], right[best]
    return None


def _joined(index: fastvec.Index, least: float, most: int) -> fastvec.Pairs | None:
    """The pairs that reach a score; None if there are more than ``most``."""
    parts, count = [], 0
    for part in index.pairs_blocks(least):
        parts.append(part)
        count += len(part.scores)
        if count > most:
            return None
    return fastvec.Pairs(*map(np.concatenate, zip(*parts, strict=True)))


def _counting(index: fastvec.Index, pairs: fastvec.Pairs, k: int) -> npt.NDArray[np.bool_]:
    """Which of the pairs that reach a score count."""
    n, (left, right, scores) = len(index), pairs
    crowded = np.bincount(left, minlength=n) + np.bincount(right, minlength=n) > k
    counts = ~(crowded[left] & crowded[right])
    if counts.all():
        return counts
    owners, values = np.concatenate([left, right]), np.concatenate([scores, scores])
    owners, values = owners[crowded[owners]], values[crowded[owners]]
    order = np.lexsort((-values, owners))
    owners, values = owners[order], values[order]
    firsts = np.flatnonzero(np.diff(owners, prepend=-1))
    least = np.full(n, np.inf)
    least[owners[firsts]] = values[firsts + k - 1]
    # Where scores are equal in float32, a search tells which of the rows are nearer.
    tied = owners[firsts[values[firsts + k] == values[firsts + k - 1]]]
    least[tied] = np.inf
    counts |= (scores >= least[left]) | (scores >= least[right])
    found = []
    for start in range(0, len(tied), _SAMPLE):
        rows = tied[start : start + _SAMPLE, None]
        near = index.search(index.vectors[rows[:, 0]], k, exclude=rows).indices
        found.append((np.minimum(rows, near) * n + np.maximum(rows, near)).ravel())
    if found:
        counts |= np.isin(left * n + right, np.concatenate(found))
    return counts
