"""Whether a row is excluded for a query, on the device; the processor's twin is in ``kernels/filters.py``."""

from ..filters import FEW
from .operations import inline


@inline
def is_excluded(excluded, q, row):
    """Whether a row must not be an answer to query ``q``; ``excluded`` is the record in ``layout.py``."""
    numbers, rows = excluded.numbers, excluded.m + 1
    first, last = numbers[q], numbers[q + 1]
    while last - first > FEW:
        middle = (first + last) >> 1
        if numbers[rows + middle] <= row:
            first = middle
        else:
            last = middle
    listed = False
    for e in range(first, last):
        listed = listed or numbers[rows + e] == row
    return listed
