"""Rows that a query must not return, beyond those that are closed to all."""

from typing import NamedTuple

import numpy as np

from .compile import inline


class Exclusions(NamedTuple):
    """Rows that query i must not return: ``rows[offsets[i]:offsets[i + 1]]``, or not ``mask[i]``."""

    offsets: np.ndarray
    rows: np.ndarray
    mask: np.ndarray
    """bool (queries, n) of allowed rows, or of no rows if there is none."""

    @classmethod
    def of_runs(cls, offsets: np.ndarray, rows: np.ndarray) -> "Exclusions":
        """Without a mask."""
        return cls(offsets, rows, np.empty((0, 0), np.bool_))

    def part(self, first: int, last: int) -> "Exclusions":
        """Those of some queries."""
        return Exclusions(self.offsets[first : last + 1], self.rows, self.mask[first:last])


@inline
def excluded(exclusions, query, row):
    """Whether a row is excluded for a query."""
    if len(exclusions.mask) > 0 and not exclusions.mask[query, row]:
        return True
    for z in range(exclusions.offsets[query], exclusions.offsets[query + 1]):
        if exclusions.rows[z] == row:
            return True
    return False
