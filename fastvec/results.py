"""The results of searches."""

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _display, _frames

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


class TopK(NamedTuple):
    """The best rows of each query, best first: their ``scores`` and ``indices``.

    Of equal scores, the lower index comes first. For a one-dimensional query, both are one-dimensional. If
    fewer than k rows exist or pass the filter, the rest is filled with index −1 and score −inf. In Python, −1
    means the last entry of a list, so it must not index a list of labels: ``lists`` and ``to_pandas`` leave
    the filling out.

    Example:
        >>> import fastvec
        >>> fastvec.knn([[0, 2], [3, 4]], [[0, 1], [1, 0], [0, -1]], 2)
        TopK(2 queries, k=2)
        0: 0 (1)  1 (0)
        1: 0 (0.8)  1 (0.6)
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

    def to_pandas(self, frame: Any = None, columns: Any = None) -> Any:
        """A pandas ``DataFrame`` with a row for each row found, and columns of the frame that was searched.

        Its columns are the number of the ``query``, the ``rank`` from 0, the ``index`` among the vectors and
        the ``score``, then those of ``frame``, of its row at that position (``iloc``). The filling is left
        out.

        Args:
            frame: the ``DataFrame`` whose rows have the vectors, or a mapping of names to columns, such as
                ``{"word": vocabulary.words}``.
            columns: the names of the columns wanted, or one name; None: all of ``frame``.

        Raises:
            ModuleNotFoundError: pandas is not installed.
            TypeError: ``frame`` is a table of another kind.
            ValueError: ``frame`` lacks a column or a row, or has a wanted column whose name is taken.

        Example:
            >>> import fastvec, pandas  # doctest: +SKIP
            >>> places = pandas.DataFrame({"name": ["north", "east", "south"]})  # doctest: +SKIP
            >>> neighbors = fastvec.knn([[0, 2]], [[0, 1], [1, 0], [0, -1]], 2)  # doctest: +SKIP
            >>> neighbors.to_pandas(places)  # doctest: +SKIP
               query  rank  index  score   name
            0      0     0      0    1.0  north
            1      0     1      1    0.0   east
        """
        return self._table("pandas", frame, columns)

    def to_polars(self, frame: Any = None, columns: Any = None) -> Any:
        """``to_pandas`` for Polars: ``frame`` and the result are of the class ``polars.DataFrame``.

        ``columns`` names the columns wanted.
        """
        return self._table("Polars", frame, columns)

    def to_arrow(self, frame: Any = None, columns: Any = None) -> Any:
        """``to_pandas`` for Arrow: ``frame`` and the result are of the class ``pyarrow.Table``.

        ``columns`` names the columns wanted.

        Example:
            >>> import fastvec
            >>> neighbors = fastvec.knn([[0, 2]], [[0, 1], [1, 0], [0, -1]], 5, where=[0, 1])
            >>> neighbors.to_arrow({"name": ["north", "east", "south"]}).to_pylist()[1]
            {'query': 0, 'rank': 1, 'index': 1, 'score': 0.0, 'name': 'east'}
        """
        return self._table("Arrow", frame, columns)

    def _table(self, host: str, frame: Any, columns: Any) -> Any:
        scores, indices = np.atleast_2d(self.scores), np.atleast_2d(self.indices)
        found = indices >= 0
        queries, ranks = np.nonzero(found)
        rows = indices[found]
        own: dict[str, npt.NDArray[Any]]
        own = {"query": queries, "rank": ranks, "index": rows, "score": scores[found]}
        return _frames.table(host, own, _frames.Beside(frame, columns, rows))

    def __repr__(self) -> str:
        if not isinstance(self.indices, np.ndarray):
            return f"TopK(scores={self.scores!r}, indices={self.indices!r})"
        return _display.ranked_text(self._head(), self._ranked())

    def _repr_html_(self) -> str:
        """The first rows of the first queries, which notebooks show."""
        return _display.ranked_html(self._head(), self._ranked())

    def _head(self) -> str:
        of = "" if self.indices.ndim == 1 else _display.counted(len(self.indices), "query", "queries") + ", "
        return f"TopK({of}k={self.indices.shape[-1]})"

    def _ranked(self) -> _display.Ranked:
        few = slice(_display.MOST)
        scores, indices = np.atleast_2d(self.scores)[few], np.atleast_2d(self.indices)[few]
        hits = TopK(scores[:, few], indices[:, few]).lists()
        found = np.count_nonzero(indices >= 0, axis=1).tolist()
        return _display.Ranked(hits, found, None if self.indices.ndim == 1 else len(self.indices))


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

    def to_pandas(self, frame: Any = None, columns: Any = None) -> Any:
        """A pandas ``DataFrame`` with a row for each row found: as ``TopK.to_pandas`` makes it.

        ``frame`` is the one that was searched, and ``columns`` names the columns wanted of it.

        Example:
            >>> close = index.range_search(queries, 0.9)  # doctest: +SKIP
            >>> close.to_pandas(documents, ["title", "date"])  # doctest: +SKIP
        """
        return self._table("pandas", frame, columns)

    def to_polars(self, frame: Any = None, columns: Any = None) -> Any:
        """``to_pandas`` for Polars: ``frame`` and the result are of the class ``polars.DataFrame``.

        ``columns`` names the columns wanted.
        """
        return self._table("Polars", frame, columns)

    def to_arrow(self, frame: Any = None, columns: Any = None) -> Any:
        """``to_pandas`` for Arrow: ``frame`` and the result are of the class ``pyarrow.Table``.

        ``columns`` names the columns wanted.
        """
        return self._table("Arrow", frame, columns)

    def _table(self, host: str, frame: Any, columns: Any) -> Any:
        counts = np.diff(self.offsets)
        own: dict[str, npt.NDArray[Any]] = {
            "query": np.repeat(np.arange(len(counts)), counts),
            "rank": np.arange(len(self.indices)) - np.repeat(self.offsets[:-1], counts),
            "index": self.indices,
            "score": self.scores,
        }
        return _frames.table(host, own, _frames.Beside(frame, columns, self.indices))

    def __repr__(self) -> str:
        return _display.ranked_text(self._head(), self._ranked())

    def _repr_html_(self) -> str:
        """The first rows of the first queries, which notebooks show."""
        return _display.ranked_html(self._head(), self._ranked())

    def _head(self) -> str:
        of = _display.counted(len(self.offsets) - 1, "query", "queries")
        return f"Ranges({of}, {_display.counted(len(self.indices), 'row', 'rows')})"

    def _ranked(self) -> _display.Ranked:
        bounds = self.offsets[: _display.MOST + 1].tolist()
        rows = [slice(start, min(end, start + _display.MOST)) for start, end in pairwise(bounds)]
        hits = [TopK(self.scores[row], self.indices[row]).lists() for row in rows]
        return _display.Ranked(hits, [end - start for start, end in pairwise(bounds)], len(self.offsets) - 1)


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

    def to_pandas(self, frame: Any = None, columns: Any = None, *, other: Any = None) -> Any:
        """A pandas ``DataFrame`` with a row for each pair, and columns of the frame beside both of its rows.

        Its columns are ``left``, ``right`` and ``score``, then those of ``frame`` for the row on the left,
        with the ending "_left", and for that on the right, with the ending "_right".

        Args:
            frame: the ``DataFrame`` whose rows have the vectors, or a mapping of names to columns.
            columns: the names of the columns wanted, or one name; None: all.
            other: the frame of the rows on the right, if two sets were joined; None: ``frame``.

        Raises:
            ModuleNotFoundError, TypeError, ValueError: as ``TopK.to_pandas``.

        Example:
            >>> index.pairs(0.95).to_pandas(documents, "title")  # doctest: +SKIP
               left  right  score title_left title_right
            0     0      3   0.99      North   The North
        """
        return self._table("pandas", frame, columns, other)

    def to_polars(self, frame: Any = None, columns: Any = None, *, other: Any = None) -> Any:
        """``to_pandas`` for Polars: ``frame``, ``other`` and the result are ``polars.DataFrame``.

        ``columns`` names the columns wanted.
        """
        return self._table("Polars", frame, columns, other)

    def to_arrow(self, frame: Any = None, columns: Any = None, *, other: Any = None) -> Any:
        """``to_pandas`` for Arrow: ``frame``, ``other`` and the result are ``pyarrow.Table``.

        ``columns`` names the columns wanted.

        Example:
            >>> import fastvec
            >>> names = {"name": ["a", "b", "c"]}
            >>> fastvec.Index([[0, 1], [1, 0], [0, 5]]).pairs(0.9).to_arrow(names).to_pylist()
            [{'left': 0, 'right': 2, 'score': 1.0, 'name_left': 'a', 'name_right': 'c'}]
        """
        return self._table("Arrow", frame, columns, other)

    def _table(self, host: str, frame: Any, columns: Any, other: Any) -> Any:
        own: dict[str, npt.NDArray[Any]] = {"left": self.left, "right": self.right, "score": self.scores}
        right = (frame, "frame") if other is None else (other, "other")
        return _frames.table(
            host,
            own,
            _frames.Beside(frame, columns, self.left, ending="_left"),
            _frames.Beside(right[0], columns, self.right, right[1], ending="_right"),
        )

    def __repr__(self) -> str:
        return _display.pairs_text(self._head(), self._first(), len(self.left))

    def _repr_html_(self) -> str:
        """The first pairs, which notebooks show."""
        return _display.pairs_html(self._head(), self._first())

    def _head(self) -> str:
        return f"Pairs({_display.counted(len(self.left), 'pair', 'pairs')})"

    def _first(self) -> list[tuple[int, int, float]]:
        few = slice(_display.MOST)
        return list(zip(self.left[few], self.right[few], self.scores[few], strict=True))
