"""Whether a row is excluded for a query, on the device; the processor's twin is in ``kernels/filters.py``."""

from ..filters import FEW
from .intrinsics import inline


@inline
def is_excluded(excluded, m, q, row):
    """``excluded``: m + 1 offsets, then the rows that they divide; runs of more than ``FEW`` rise."""
    first, last = excluded[q], excluded[q + 1]
    while last - first > FEW:
        middle = (first + last) >> 1
        if excluded[m + 1 + middle] <= row:
            first = middle
        else:
            last = middle
    found = False
    for e in range(first, last):
        found = found or excluded[m + 1 + e] == row
    return found
