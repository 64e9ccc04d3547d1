"""Distances of rows in float64, and how far rounding the rows to float32 can change them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastvec import choices

Array = npt.NDArray[Any]

_SHORTEST, _LONGEST = 1e-140, 1e140
"""Between these lengths, squares neither overflow nor lose digits."""


class Metric(NamedTuple):
    """A metric of scikit-learn that fastvec has."""

    name: choices.Metric
    """Its name in fastvec."""
    between: Callable[[Array, Array], Array]
    """Distances of float64 rows (…, dims) from others, which may be overwritten."""
    change: Callable[[Array, Array], Array]
    """The most that distances of float64 rows (n, dims) can change if the rows are replaced by others."""
    of_scores: Callable[[Array], Array]
    """Distances of scores."""
    slack: float
    """Above the absolute rounding error of ``of_scores``."""
    shifts: bool
    """Whether distances stay the same if a constant is added to all rows."""
    wide: bool
    """Whether scikit-learn returns distances of float32 rows in float64."""


def lengths(rows: Array) -> Array:
    """Euclidean lengths (…) of float64 rows (…, dims)."""
    sizes: Array = np.sqrt(np.einsum("...d,...d->...", rows, rows))
    return sizes


def unit(rows: Array) -> Array:
    """Float64 rows of length one; zero rows stay zero."""
    size = lengths(rows)
    if not (size.min(initial=1) > _SHORTEST and size.max(initial=1) < _LONGEST):
        # Squares may have been too large or too small.
        largest = np.abs(rows).max(axis=-1)
        rows = rows / np.where(largest > 0, largest, 1)[..., None]
        size = lengths(rows)
    return rows / np.where(size > 0, size, np.inf)[..., None]


def halved_squares(left: Array, right: Array) -> Array:
    """Half the squared distance of unit rows: their cosine distance, precise for nearly equal ones too."""
    difference = unit(left) - unit(right)
    halves: Array = np.minimum(np.einsum("...d,...d->...", difference, difference) / 2, 2.0)
    return halves


def _cosine(left: Array, right: Array) -> Array:
    there = left.any(axis=-1) & right.any(axis=-1)
    return np.where(there, halved_squares(left, right), 1.0)


def _euclidean(left: Array, right: Array) -> Array:
    right -= left
    return lengths(right)


def _manhattan(left: Array, right: Array) -> Array:
    right -= left
    sums: Array = np.abs(right, out=right).sum(axis=-1)
    return sums


def _turned(rows: Array, others: Array) -> Array:
    """A cosine changes by no more than the angle does, and that is below π/2 times the ratio."""
    size = lengths(rows)
    return np.minimum(2 * lengths(rows - others) / np.where(size > 0, size, 1), 2)


COSINE = Metric("cosine", _cosine, _turned, lambda s: 1 - s, 2.0**-22, False, False)
EUCLIDEAN = Metric("euclidean", _euclidean, lambda a, b: lengths(a - b), lambda s: 0 - s, 0.0, True, True)
MANHATTAN = Metric(
    "manhattan", _manhattan, lambda a, b: np.abs(a - b).sum(axis=-1), lambda s: 0 - s, 0.0, True, True
)

METRICS = {
    "cosine": COSINE,
    "euclidean": EUCLIDEAN,
    "l2": EUCLIDEAN,
    "manhattan": MANHATTAN,
    "l1": MANHATTAN,
    "cityblock": MANHATTAN,
}
"""By their names in scikit-learn."""
