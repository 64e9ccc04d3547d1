"""What searches return."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


class TopK(NamedTuple):
    """The best rows of each query, best first: their ``scores`` and ``indices``.

    Ties go by lower index. One-dimensional where the query was. Filled up with index −1 and score −inf where
    fewer rows than asked for exist or pass the filter.
    """

    scores: Float32
    """float32 (m, k): the float64 scores, rounded."""
    indices: Int64
    """int64 (m, k): row numbers of the vectors."""


class Ranges(NamedTuple):
    """Rows that reach a score: those of query i are ``indices[offsets[i]:offsets[i + 1]]``.

    Ranked for each query as in ``TopK``, with their ``scores`` beside them.
    """

    offsets: Int64
    """int64 (m + 1,)."""
    scores: Float32
    """float32, as many as found: the float64 scores, rounded."""
    indices: Int64
    """int64, as many as found: row numbers of the vectors."""
