"""Indexes whose rows have ids of the caller's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from .flat import Float32, IndexFlat, _into, _selected_ids, held
from .selectors import Bools, Ids, as_ids, members

Result = TypeVar("Result")


class IndexIDMap:
    """An IndexFlat whose rows have ids of yours: any int64; rows with equal ids are found each for itself.

    Of rows with equal distances, the one that was added first comes first.

    Args:
        index: an IndexFlat without rows; it is to be changed by this object only.

    Raises:
        RuntimeError: if the index has rows.

    Example:
        >>> from fastvec.integrations import faiss
        >>> index = faiss.IndexIDMap(faiss.IndexFlatIP(2))
        >>> index.add_with_ids([[1, 0], [0, 1], [1, 1]], [10, 20, 30])
        >>> index.search([[0, 2]], 2)
        (array([[2., 2.]], dtype=float32), array([[20, 30]]))
    """

    is_trained = True

    def __init__(self, index: IndexFlat) -> None:
        if index.ntotal:
            raise RuntimeError(f"index has {index.ntotal} rows; it must have none: every row needs an id")
        self.index = index
        self.id_map: Ids = np.empty(0, np.int64)

    @property
    def d(self) -> int:
        """Columns of the rows."""
        return self.index.d

    @property
    def ntotal(self) -> int:
        """The number of rows."""
        return self.index.ntotal

    @property
    def metric_type(self) -> int:
        """The metric of the index."""
        return self.index.metric_type

    def train(self, x: Any) -> None:
        """Do nothing: there is nothing to learn from ``x``."""

    def add(self, x: Any) -> None:
        """Refuse rows ``x`` without ids.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("rows of an IndexIDMap need ids: use add_with_ids")

    def add_with_ids(self, x: Any, ids: Any) -> None:
        """Append rows, which are copied.

        Args:
            x: (n, d) real numbers.
            ids: (n,) integers.

        Raises:
            ValueError: if rows and ids differ in number, and as in ``IndexFlat.add``.
        """
        new, x = as_ids(ids, "ids"), held(x, self.d)
        if len(new) != len(x):
            raise ValueError(f"x has {len(x)} rows and there are {len(new)} ids; they must agree")
        # First the ids, as a search in another thread may find the rows at once.
        self.id_map = np.concatenate([self.id_map, new])
        try:
            self.index.add(x)
        except BaseException:
            self.id_map = self.id_map[: self.ntotal]
            raise

    def search(
        self,
        x: Any,
        k: int,
        *,
        params: Any = None,
        D: Any = None,
        I: Any = None,  # noqa: E741
    ) -> tuple[Float32, Ids]:
        """The k nearest rows of each query, with their ids; as in ``IndexFlat.search``.

        Args:
            x, k, D, I: as there.
            params: ``SearchParameters(sel=…)`` that selects among your ids.
        """
        scores, places = self.index._searched(x, k, self._selected(params))
        return _into(D, scores, "D"), _into(I, self._named(places), "I")

    def assign(self, x: Any, k: int, labels: Any = None) -> Ids:
        """The ids of the k nearest rows of each query, as ``search`` finds them.

        Args:
            x, k: as there.
            labels: int64 (n, k) to write to.
        """
        return self.search(x, k, I=labels)[1]

    def range_search(self, x: Any, thresh: float, *, params: Any = None) -> Any:
        """All rows within a threshold, with their ids; as in ``IndexFlat.range_search``.

        Args:
            x, thresh: as there.
            params: ``SearchParameters(sel=…)`` that selects among your ids.
        """
        lims, scores, places = self.index._in_range(x, thresh, self._selected(params))
        return lims, scores, self._named(places)

    def search_and_reconstruct(
        self,
        x: Any,
        k: int,
        *,
        params: Any = None,
        D: Any = None,
        I: Any = None,  # noqa: E741
        R: Any = None,
    ) -> tuple[Float32, Ids, Float32]:
        """``search``, and the rows that were found; as in ``IndexFlat.search_and_reconstruct``.

        Args:
            x, k, params, D, I, R: as there, and in ``search``.
        """
        scores, places = self.index._searched(x, k, self._selected(params))
        rows = _into(R, self.index._rows_found(places), "R")
        return _into(D, scores, "D"), _into(I, self._named(places), "I"), rows

    def remove_ids(self, x: Any) -> int:
        """Remove all rows with some of your ids; the others keep theirs.

        Args:
            x: (n,) ids, or an IDSelector, here or of faiss.

        Returns:
            The number of rows that were removed.
        """
        selected = _selected_ids(x, self.id_map)
        return self._left(~selected, lambda: self.index._removed(selected))

    def reconstruct(self, key: int) -> Float32:
        """The first row with an id.

        Args:
            key: one of your ids.

        Raises:
            RuntimeError: if no row has it.
        """
        places = np.flatnonzero(self.id_map == key)
        if len(places) == 0:
            raise RuntimeError(f"no row has the id {key}")
        return self.index.reconstruct(int(places[0]))

    def reset(self) -> None:
        """Remove all rows."""
        self._left(np.zeros(len(self.id_map), np.bool_), self.index.reset)

    def _left(self, kept: Bools, change: Callable[[], Result]) -> Result:
        """Remove rows from the index by ``change``, and their ids; an interruption leaves both or none."""
        before = self.id_map
        self.id_map = before[kept]
        try:
            return change()
        except BaseException:
            if self.ntotal == len(before):
                self.id_map = before
            raise

    def _selected(self, params: Any) -> Bools | None:
        selector = getattr(params, "sel", None)
        return None if selector is None else members(selector, self.id_map)[: self.ntotal]

    def _named(self, places: Ids) -> Ids:
        return np.append(self.id_map, -1)[places]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.index!r})"


class IndexIDMap2(IndexIDMap):
    """``IndexIDMap``, which can reconstruct rows as well."""
