"""What searches return."""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


class TopK(NamedTuple):
    """The best rows of each query, best first: their ``scores`` and ``indices``.

    Ties go by lower index. One-dimensional where the query was. Filled up with index −1 and score −inf where
    fewer rows than asked for exist or pass the filter. Python takes −1 for the last entry of a list, so
    −1 must not index a list of labels: ``lists`` leaves the filling out.
    """

    scores: Float32
    """float32 (m, k): the float64 scores, rounded."""
    indices: Int64
    """int64 (m, k): row numbers of the vectors."""

    def lists(self) -> Any:
        """Pairs (index, score) of each query, best first, without what was filled up.

        Returns:
            A list of a list for each query; of a one-dimensional query just its list.

        Example:
            >>> import fastvec
            >>> labels = ["north", "east", "south"]
            >>> found = fastvec.knn([[0, 2]], [[0, 1], [1, 0], [0, -1]], 5, where=[0, 1])
            >>> [[(labels[index], score) for index, score in pairs] for pairs in found.lists()]
            [[('north', 1.0), ('east', 0.0)]]
        """
        if self.indices.ndim == 1:
            return TopK(self.scores[None], self.indices[None]).lists()[0]
        from .kernels.compile import default_mode

        # What was filled up comes last.
        whole = self.indices.size == 0 or self.indices[:, -1].min() >= 0
        counts = None if whole else np.count_nonzero(self.indices >= 0, axis=1)
        widest = None if counts is None else counts.max()
        with default_mode():  # Python's numbers are float64
            indices, scores = self.indices[:, :widest].tolist(), self.scores[:, :widest].tolist()
        if counts is None:
            return [list(zip(*row, strict=True)) for row in zip(indices, scores, strict=True)]
        rows = zip(indices, scores, counts.tolist(), strict=True)
        return [list(zip(row[:count], of[:count], strict=True)) for row, of, count in rows]


def filled_up(found: TopK, room: TopK, missing: float = -math.inf) -> TopK:
    """The answers in a wider ``room``, filled up with index −1 and a missing score."""
    kept = found.indices.shape[1]
    room.scores[:, :kept], room.scores[:, kept:] = found.scores, missing
    room.indices[:, :kept], room.indices[:, kept:] = found.indices, -1
    return room


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
