"""A request for a search: its checked arguments in one record, for any store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _arguments, _memory, _row_numbers
from .kernels import filters
from .results import TopK, filled_up

if TYPE_CHECKING:
    from ._stores.base import Store


class Request(NamedTuple):
    """Checked arguments of one search over the rows of a store."""

    queries: Any
    """float32 (m, dims) with contiguous rows. A store on a device may have them there, as (m, ≥ dims);
    that store then checks them for NaN and inf."""
    squares: npt.NDArray[np.float64]
    """Σ q² of each query; empty if the queries are on a device."""
    one: bool
    """Whether the caller passed a single, one-dimensional query."""
    metric: str
    dims: int
    """The number of leading columns that are used."""
    rows: int
    """The number of rows of the store."""
    k: int
    """Neighbors to find: at most the number of rows."""
    asked: int
    """Neighbors to return; those beyond ``k`` are filled up."""
    allowed: npt.NDArray[np.bool_]
    """bool (rows,): which rows may be returned; empty if all may."""
    exclusions: filters.Exclusions
    """Rows that must not be returned for individual queries."""
    num_threads: int
    shared: bool = False
    """Whether other requests have this very array of ``allowed`` rows."""

    def room(self) -> TopK:
        """Empty arrays for the ``k`` answers to every query."""
        return _memory.answers(len(self.queries), self.k, self.rows)

    def of(self, chosen: npt.NDArray[np.int64], k: int) -> Request:
        """The request for only the ``chosen`` queries, with another ``k``."""
        return self._replace(
            queries=np.ascontiguousarray(self.queries[chosen]),
            squares=self.squares[chosen],
            exclusions=self.exclusions.of(chosen),
            k=k,
        )

    def nothing(self) -> TopK:
        """The answers if there are no queries or no rows."""
        answers = self.room()
        answers.scores[:], answers.indices[:] = -np.inf, -1
        return answers

    def answer(self, neighbors: TopK) -> TopK:
        """The result for the caller: filled up to ``asked`` neighbors, and one-dimensional for one query."""
        if self.k < self.asked:
            room = _memory.answers(len(self.queries), self.asked, self.rows)
            neighbors = filled_up(neighbors, room)
        return TopK(neighbors.scores[0], neighbors.indices[0]) if self.one else neighbors


def joined(requests: Sequence[Request]) -> Request:
    """One request for the queries of several, which differ in these alone and have no masks of their own."""
    return requests[0]._replace(
        queries=np.concatenate([request.queries for request in requests]),
        squares=np.concatenate([request.squares for request in requests]),
        one=False,
        exclusions=filters.Exclusions.joined([request.exclusions for request in requests]),
    )


def checked(
    store: Store,
    queries: Any,
    k: int,
    *,
    metric: str,
    dims: int | None = None,
    where: npt.ArrayLike | None = None,
    exclude: Any = None,
    num_threads: int | None = None,
    rows: int | None = None,
) -> Request:
    """A request of a caller's arguments and a known metric; raises with a clear message if one is wrong.

    Callers number ``rows`` rows, or those of the store.
    """
    threads = _arguments.num_threads(num_threads)
    width = store.dims
    used = _arguments.prefix(dims, width)
    query_array = store.query_array(queries)
    array = _arguments.two_dimensional(query_array, "queries", one_row=True)
    in_memory, squares = isinstance(array, np.ndarray), np.empty(0)
    if in_memory:
        array = _arguments.to_float32(array, "queries")
    if array.shape[1] not in (used, width):
        raise ValueError(
            f"queries has {array.shape[1]} dimensions; it must have the {width} of vectors"
            + (f" or the {used} of dims" if used < width else "")
        )
    if in_memory:
        array = array if array.shape[1] == used else array[:, :used]
        squares = _arguments.check_finite(array, "queries", threads)
    asked = _arguments.whole_number(k, "k", 1)
    m, n, one = len(array), store.rows if rows is None else rows, query_array.ndim == 1
    allowed, mask = _row_numbers.allowed_rows(where, m, n)
    if not isinstance(exclude, filters.Exclusions):
        exclude = _row_numbers.excluded_rows(exclude, m, n, one)
    if len(mask):
        exclude = exclude._replace(mask=mask)
    _memory.check(m, asked, n)
    least = min(asked, max(n, 1))
    return Request(array, squares, one, metric, used, n, least, asked, allowed, exclude, threads)
