"""Rows that queries may return: some rows are closed to all queries, others to single ones."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .compile import inline

FEW = 8
"""Rows that are compared one by one; longer runs are sorted, and halved until no more are left."""

NO_MASK = np.empty((0, 0), np.bool_)
_NO_ROWS = np.empty(0, np.int64)


class Exclusions(NamedTuple):
    """Rows that query i must not return: ``rows[offsets[i]:offsets[i + 1]]``, or not ``mask[i]``."""

    offsets: np.ndarray
    rows: np.ndarray
    """Runs of more than ``FEW`` in rising order."""
    mask: np.ndarray
    """bool (queries, n) of allowed rows; (0, n) if queries have no mask."""

    @classmethod
    def of_runs(cls, offsets: np.ndarray, rows: np.ndarray) -> "Exclusions":
        """Without a mask; rows in any order, of which a copy is sorted if a run is long."""
        return cls(offsets, _sorted_runs(offsets, rows), NO_MASK)

    @classmethod
    def none(cls, m: int) -> "Exclusions":
        """No rows, for each of m queries."""
        return _NONE if m == 1 else cls(np.zeros(m + 1, np.int64), _NO_ROWS, NO_MASK)

    @classmethod
    def joined(cls, parts: "Sequence[Exclusions]") -> "Exclusions":
        """Those of several requests without masks, one after another."""
        lengths = np.concatenate([[0], *(np.diff(part.offsets) for part in parts)])
        return cls(np.cumsum(lengths), np.concatenate([part.rows for part in parts]), parts[0].mask)

    def part(self, first: int, last: int) -> "Exclusions":
        """Those of the queries from ``first`` to ``last``."""
        return Exclusions(self.offsets[first : last + 1], self.rows, self.mask[first:last])

    def of(self, chosen: np.ndarray) -> "Exclusions":
        """Those of chosen queries."""
        lengths = np.diff(self.offsets)[chosen]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[chosen] - offsets[:-1], lengths)
        return Exclusions(offsets, self.rows[places], self.mask[chosen] if len(self.mask) else self.mask)


_NONE = Exclusions(np.zeros(2, np.int64), _NO_ROWS, NO_MASK)


class Filters(NamedTuple):
    """Rows that may be returned."""

    allowed: np.ndarray
    """bool (n,), or empty if every row is allowed."""
    exclusions: Exclusions

    def part(self, first: int, last: int) -> "Filters":
        """Those of the queries from ``first`` to ``last``."""
        return Filters(self.allowed, self.exclusions.part(first, last))


def _sorted_runs(offsets: np.ndarray, rows: np.ndarray) -> np.ndarray:
    if len(rows) <= FEW:
        return rows
    lengths = np.diff(offsets)
    if lengths.max() <= FEW:
        return rows
    if len(lengths) == 1:
        return np.sort(rows)  # the usual case of a single query
    # All runs at once: keys that rise from run to run. Numbers of rows fit into 40 bits, runs into 23.
    width = int(rows.max()) + 1
    starts = np.repeat(np.arange(len(lengths), dtype=np.int64) * width, lengths)
    keys: np.ndarray = starts + rows
    keys.sort()
    return keys - starts


@inline
def excluded(exclusions, query, row):
    """Whether a row is excluded for a query."""
    if len(exclusions.mask) > 0 and not exclusions.mask[query, row]:
        return True
    first, last = exclusions.offsets[query], exclusions.offsets[query + 1]
    while last - first > FEW:
        middle = (first + last) >> 1
        if exclusions.rows[middle] <= row:
            first = middle
        else:
            last = middle
    for z in range(first, last):  # noqa: SIM110 - Numba does not compile any()
        if exclusions.rows[z] == row:
            return True
    return False
