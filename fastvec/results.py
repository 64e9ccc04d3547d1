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


class Audit(NamedTuple):
    """What ``fastvec.audit`` finds about the answers to m queries; ``print`` shows it in lines.

    Scores are exact float64 scores as fastvec defines them: larger is nearer, distances are negated. Ranks
    count from 0.

    Attributes:
        exact: whether the row at each rank has the score of that rank, so that only ties change places.
        recall: the share of right rows that were found; a row that scores as much as the k-th one is right.
        first_wrong: int64 (m,), the first rank whose row does not have the score of that rank, or −1.
        order_errors: the number of neighboring ranks whose second row is nearer than the first.
        score_error: the largest difference of a given score from the exact score of its row; infinite if one
            is NaN, and NaN if none were given.
        kth_score: float64 (m,), the score of the last right row, the k-th best; −inf if there is none.
        best_left_out: float64 (m,), the best score of a row that is not in the answer; −inf if there is none.
        digest: SHA-256 of the right answer; ``fastvec.audit`` says of which bytes.
        missing: the number of places without a row (−1) though further rows may be returned.
        impossible: how many numbers are not those of rows.
        forbidden: how many rows ``where`` does not allow.
        repeated: how many rows are in the answer to the same query before.
    """

    exact: bool
    recall: float
    first_wrong: Int64
    order_errors: int
    score_error: float
    kth_score: npt.NDArray[np.float64]
    best_left_out: npt.NDArray[np.float64]
    digest: str
    missing: int
    impossible: int
    forbidden: int
    repeated: int

    def __str__(self) -> str:
        m = len(self.first_wrong)
        wrong = np.flatnonzero(self.first_wrong >= 0)
        first = f" (query {wrong[0]}, rank {self.first_wrong[wrong[0]]})" if len(wrong) else ""
        lines = {
            "exact": "yes" if self.exact else f"no: {len(wrong):,} of {m:,} answers are wrong{first}",
            "recall": f"{self.recall:.6f}",
            "order errors": f"{self.order_errors:,}",
            "score error": "no scores" if math.isnan(self.score_error) else f"{self.score_error:.3g}",
            "rows": f"{self.missing:,} missing, {self.impossible:,} impossible, "
            f"{self.forbidden:,} forbidden, {self.repeated:,} repeated",
            "digest": self.digest,
        }
        return "\n".join(f"{name:<14}{value}" for name, value in lines.items())


class Pairs(NamedTuple):
    """Pairs of rows and their ``scores``, in rising order of ``left``, then ``right``."""

    left: Int64
    """int64 (pairs,): row numbers of the Index."""
    right: Int64
    """int64 (pairs,): row numbers of the Index, larger than ``left``; of ``other`` if two sets are joined."""
    scores: Float32
    """float32 (pairs,): the float64 scores, rounded."""
