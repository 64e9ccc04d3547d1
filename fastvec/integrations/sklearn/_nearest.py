"""The nearest rows by distances of float32 or float64, found by an Index of float32 rows.

Rows of float64 are searched as float32. The distance of two rows differs from that of the rounded rows by no
more than ``Metric.change`` of each, which is measured. So a row is certainly not among the k nearest if its
rounded distance, less both changes, is above the k-th distance in float64 of the rows found. Some more than k
are asked for; if that does not settle a query, it is compared with all rows in float64.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import fastvec

from ._distances import COSINE, METRICS, unit

Array = npt.NDArray[Any]

_SPARE = 2
"""Rows asked for beyond k, as float32 may rank those at the border otherwise."""
_BLOCK = 1 << 16
"""Numbers of a block of rows that are compared in float64; several blocks stay in cache."""
_SMALL = 1 << 18
"""Numbers of all pairs of rows that are compared without an Index, if they are float64."""
_ROUNDING = 2.0**-22
"""Above the relative rounding errors of published scores and of distances in float64."""


class Near(NamedTuple):
    """Rows within a radius: those of query i are ``indices[offsets[i]:offsets[i + 1]]``."""

    offsets: Array
    distances: Array
    indices: Array


class Searched(NamedTuple):
    """Rows as they are searched."""

    searching: fastvec.Index
    narrow: Array
    """float32 (n, dims), with the center subtracted."""
    changes: Array
    """float64 (n,): the most that distances of each row change by the rounding."""
    change: float
    """The largest of them."""
    center: Array | None
    """float64 (dims,); None: nothing is subtracted."""


class Neighbors:
    """Rows among which neighbors are sought. They are encoded for the first search that needs it.

    Args:
        rows: float32 or float64 (n, dims), C-contiguous; used in place.
        metric: a name in ``METRICS``.
    """

    def __init__(self, rows: Array, metric: str) -> None:
        self._arguments = rows, metric
        self.rows, self.metric = rows, METRICS[metric]
        # functools.cached_property would have a lock on Python 3.11, which a forked child may find held.
        self._made: Searched | None = None

    @property
    def _searched(self) -> Searched:
        if self._made is None:
            self._made = self._encoded()
        return self._made

    def _encoded(self) -> Searched:
        center = None
        narrow, changes = self._narrowed(self.rows, None)
        if self.metric.shifts and changes.any():
            # Rows far from the origin lose less if they are moved to it before.
            center = self.rows.mean(axis=0)
            narrow, changes = self._narrowed(self.rows, center)
        index = fastvec.Index(narrow, metric=self.metric.name)
        return Searched(index, narrow, changes, float(changes.max()), center)

    def __reduce__(self) -> tuple[Any, ...]:
        return Neighbors, self._arguments

    def nearest(self, queries: Array | None, k: int, threads: int | None = None) -> tuple[Array, Array]:
        """Distances and row numbers (m, k) of the k nearest rows, nearest first.

        Args:
            queries: float32 or float64 (m, dims); None: every row, for which it does not count itself.
            k: at most the number of rows, without the row itself.
            threads: for ``num_threads``.
        """
        asked = self.rows if queries is None else queries
        if not self._is_narrow(queries) and asked.size * len(self.rows) <= _SMALL:
            return self._among_all(asked, k, itself=queries is None)
        index, own, own_changes, change, center = self._searched
        narrow, changes = (own, own_changes) if queries is None else self._narrowed(queries, center)
        settled = not (change or changes.any())
        others = len(self.rows) - (queries is None)
        count = k if settled else min(k + _SPARE, others)
        if queries is None:
            found = index.knn_graph(count, num_threads=threads)
        else:
            found = index.search(narrow, count, num_threads=threads)
        rounded = self.metric.of_scores(found.scores)
        if self._is_narrow(queries):
            return self._published(rounded), found.indices
        indices = (
            found.indices if settled else np.sort(found.indices, axis=1)
        )  # so that ties go to the lowest
        distances = self._distances(asked, indices)
        if settled:  # the order is right; sums in float64 may differ in their last bits
            return np.maximum.accumulate(distances, axis=1), indices
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        distances = np.take_along_axis(distances, order, axis=1)
        indices = np.take_along_axis(indices, order, axis=1)
        if count < others:
            beyond = rounded[:, -1].astype(np.float64) * (1 - _ROUNDING) - self.metric.slack
            open_ = np.flatnonzero(~(distances[:, -1] * (1 + _ROUNDING) < beyond - changes - change))
            self._compare_with_all(asked, open_, distances, indices, itself=queries is None)
        return distances, indices

    def within(
        self, queries: Array | None, radius: float, threads: int | None = None, *, ranked: bool = True
    ) -> Near:
        """The rows within a radius of each query.

        Args:
            queries: as for ``nearest``.
            radius: the largest distance.
            threads: for ``num_threads``.
            ranked: whether the nearest come first; otherwise rows are in the order of their numbers.
        """
        index, own, own_changes, change, center = self._searched
        narrow, changes = (own, own_changes) if queries is None else self._narrowed(queries, center)
        widest = float(radius) * (1 + _ROUNDING) + change + float(changes.max(initial=0)) + self.metric.slack
        least = 1 - widest if self.metric is COSINE else -widest
        found = index.range_search(narrow, least, num_threads=threads)
        asked = np.repeat(np.arange(len(narrow)), np.diff(found.offsets))
        indices = found.indices
        if self._is_narrow(queries):
            distances = self._published(self.metric.of_scores(found.scores))
        else:
            distances = self._paired(self.rows if queries is None else queries, asked, indices)
        keep = distances <= radius
        if queries is None:
            keep &= indices != asked
        asked, distances, indices = asked[keep], distances[keep], indices[keep]
        if not (ranked and self._is_narrow(queries)):
            order = np.lexsort((indices, distances, asked) if ranked else (indices, asked))
            distances, indices = distances[order], indices[order]
        counts = np.bincount(asked, minlength=len(narrow))
        return Near(np.concatenate([[0], np.cumsum(counts)]), distances, indices)

    def _is_narrow(self, queries: Array | None) -> bool:
        """Whether all rows are float32."""
        return self.rows.dtype == np.float32 and (queries is None or queries.dtype == np.float32)

    def _narrowed(self, rows: Array, center: Array | None) -> tuple[Array, Array]:
        """Rows as float32, and the most that their distances change by it, (n,)."""
        changes = np.zeros(len(rows))
        if rows.dtype == np.float32 and center is None:
            return rows, changes
        narrow = np.empty(rows.shape, np.float32)
        step = max(1, _BLOCK // rows.shape[1])
        for start in range(0, len(rows), step):
            block = slice(start, start + step)
            wide = rows[block].astype(np.float64)
            if center is not None:
                wide -= center
            elif self.metric is COSINE:  # whose rows may have any length
                kept = wide
                with np.errstate(over="ignore", under="ignore"):
                    exact = (wide == wide.astype(np.float32)).all(axis=1)
                wide = np.where(exact[:, None], kept, unit(wide))
            with np.errstate(over="ignore", under="ignore"):  # fastvec refuses what becomes infinite
                narrow[block] = wide
            rounded = narrow[block].astype(np.float64)
            changes[block] = self.metric.change(wide, rounded) * (1 + _ROUNDING)
        return narrow, changes

    def _published(self, distances: Array) -> Array:
        """Distances of float32 rows, of the type that scikit-learn returns."""
        return distances.astype(np.float64) if self.metric.wide else distances

    def _distances(self, queries: Array, indices: Array) -> Array:
        """Float64 distances (m, k) of each query from its rows."""
        m, k = indices.shape
        distances = np.empty((m, k))
        step = max(1, _BLOCK // max(1, k * queries.shape[1]))
        for start in range(0, m, step):
            block = slice(start, start + step)
            near = self.rows[indices[block]].astype(np.float64, copy=False)
            distances[block] = self.metric.between(queries[block, None].astype(np.float64), near)
        return distances

    def _paired(self, queries: Array, asked: Array, indices: Array) -> Array:
        """Float64 distances of some queries, by number, from a row each."""
        distances = np.empty(len(indices))
        step = max(1, _BLOCK // queries.shape[1])
        for start in range(0, len(indices), step):
            block = slice(start, start + step)
            left = queries[asked[block]].astype(np.float64, copy=False)
            right = self.rows[indices[block]].astype(np.float64, copy=False)
            distances[block] = self.metric.between(left, right)
        return distances

    def _among_all(self, queries: Array, k: int, *, itself: bool) -> tuple[Array, Array]:
        """The nearest rows by distances to all rows; for few numbers."""
        every = np.repeat(self.rows[None].astype(np.float64), len(queries), axis=0)
        distances = self.metric.between(queries[:, None].astype(np.float64), every)
        if itself:
            np.fill_diagonal(distances, np.inf)
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(distances, order, axis=1), order

    def _compare_with_all(
        self, queries: Array, numbers: Array, distances: Array, indices: Array, *, itself: bool
    ) -> None:
        """Write the answers to some queries, by number, from their distances to all rows."""
        if len(numbers) == 0:
            return
        k, every = distances.shape[1], np.arange(len(self.rows))
        distinct, which = np.unique(queries[numbers], axis=0, return_inverse=True)
        for row, query in enumerate(distinct):
            to_all = self._paired(query[None], np.zeros(len(every), np.int64), every)
            order = np.argsort(to_all, kind="stable")[: k + itself]
            for number in numbers[which.reshape(-1) == row]:
                nearest = order[order != number][:k] if itself else order
                distances[number], indices[number] = to_all[nearest], nearest
