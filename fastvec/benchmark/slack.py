"""How far a float32 score may be from the true one: a row for each metric of a peer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
HALF_ULP = 2.0**-24
"""The relative rounding of one operation in float32."""


def _cosine(rounding: float, query: float, longest: float, own: Array) -> Array:
    return np.full(len(own), rounding)


def _dot(rounding: float, query: float, longest: float, own: Array) -> Array:
    return np.full(len(own), rounding * query * longest)


def _euclidean(rounding: float, query: float, longest: float, own: Array) -> Array:
    # ‖q‖² + ‖x‖² − 2⟨q, x⟩ rounds relative to its terms; then the root is taken.
    squares = rounding * (query + longest) ** 2
    if squares == 0:  # the query and all rows are zero
        return np.zeros(len(own))
    return np.asarray(squares / np.maximum(np.abs(own), np.sqrt(squares)))


def _manhattan(rounding: float, query: float, longest: float, own: Array) -> Array:
    # Each difference is rounded once, and all terms of the sum are positive.
    return rounding * np.abs(own)


SLACKS = {
    "cosine": _cosine,
    "dot": _dot,
    "euclidean": _euclidean,
    "manhattan": _manhattan,
}
"""How far a float32 score may be from the true one, by metric: of the rounding of a sum, the norm of the
query, that of the longest row, and the true scores."""
