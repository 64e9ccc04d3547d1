"""The results of searches."""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


class TopK(NamedTuple):
    """The best rows of each query, best first: their ``scores`` and ``indices``.

    Of equal scores, the lower index comes first. For a one-dimensional query, both are one-dimensional. If
    fewer than k rows exist or pass the filter, the rest is filled with index −1 and score −inf. In Python, −1
    means the last entry of a list, so it must not index a list of labels: ``lists`` leaves the filling out.
    """

    scores: Float32
    """float32 (m, k): the float64 scores, rounded."""
    indices: Int64
    """int64 (m, k): row numbers of the vectors."""

    def lists(self) -> Any:
        """Pairs (index, score) of each query, best first, without the filling.

        Returns:
            A list with a list of pairs for each query; for a one-dimensional query, just its list.

        Example:
            >>> import fastvec
            >>> labels = ["north", "east", "south"]
            >>> neighbors = fastvec.knn([[0, 2]], [[0, 1], [1, 0], [0, -1]], 5, where=[0, 1])
            >>> [[(labels[index], score) for index, score in pairs] for pairs in neighbors.lists()]
            [[('north', 1.0), ('east', 0.0)]]
        """
        from .kernels.compile import default_mode

        if self.indices.ndim == 1:
            with default_mode():  # Python's numbers are float64
                pairs = zip(self.indices.tolist(), self.scores.tolist(), strict=True)
            return [pair for pair in pairs if pair[0] >= 0]
        # The filling comes last.
        full = self.indices.size == 0 or self.indices[:, -1].min() >= 0
        counts = None if full else np.count_nonzero(self.indices >= 0, axis=1)
        widest = None if counts is None else counts.max()
        with default_mode():
            indices, scores = self.indices[:, :widest].tolist(), self.scores[:, :widest].tolist()
        if counts is None:
            return [list(zip(*row, strict=True)) for row in zip(indices, scores, strict=True)]
        rows = zip(indices, scores, counts.tolist(), strict=True)
        return [list(zip(indices[:count], scores[:count], strict=True)) for indices, scores, count in rows]


def filled_up(answers: TopK, room: TopK, missing: float = -math.inf) -> TopK:
    """The answers written to a wider ``room``, whose rest is filled with index −1 and a missing score."""
    filled = answers.indices.shape[1]
    room.scores[:, :filled], room.scores[:, filled:] = answers.scores, missing
    room.indices[:, :filled], room.indices[:, filled:] = answers.indices, -1
    return room


class Ranges(NamedTuple):
    """Rows that reach a score: those of query i are ``indices[offsets[i]:offsets[i + 1]]``.

    The rows of each query, and their ``scores``, are ranked as in ``TopK``.
    """

    offsets: Int64
    """int64 (m + 1,)."""
    scores: Float32
    """float32 (offsets[-1],): the float64 scores, rounded."""
    indices: Int64
    """int64 (offsets[-1],): row numbers of the vectors."""
