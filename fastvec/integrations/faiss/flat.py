"""Indexes of all rows as they are, and searches without an index."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

import fastvec
from fastvec.choices import Metric

from .selectors import Bools, Ids, IDSelector, as_ids, members

Float32 = npt.NDArray[np.float32]
Rows = TypeVar("Rows", bound=npt.NDArray[Any])
Found = TypeVar("Found")

METRIC_INNER_PRODUCT, METRIC_L2, METRIC_L1 = 0, 1, 2
_METRICS: dict[int, Metric] = {METRIC_INNER_PRODUCT: "dot", METRIC_L2: "euclidean", METRIC_L1: "manhattan"}

IO_FLAG_MMAP = 1684996104

_OUTDATED: Ids = np.empty(0, np.int64)

_FARTHEST = np.finfo(np.float32).max
_VALUES_AT_ONCE = 1 << 17


class IndexFlat:
    """Rows searched exactly, by inner product, squared Euclidean distance or Manhattan distance.

    Args:
        d: columns of the rows.
        metric: METRIC_L2, METRIC_INNER_PRODUCT or METRIC_L1.

    Raises:
        ValueError: for another metric, or if ``d`` is below 1.

    Example:
        >>> from fastvec.integrations import faiss
        >>> index = faiss.IndexFlatL2(2)
        >>> index.add([[1, 0], [0, 1], [3, 4]])
        >>> index.search([[0, 0]], 2)
        (array([[1., 1.]], dtype=float32), array([[0, 1]]))
    """

    is_trained = True
    verbose = False
    metric_arg = 0.0

    def __init__(self, d: int, metric: int = METRIC_L2) -> None:
        self._index = fastvec.Index(dims=d, metric=_metric(metric))
        self.metric_type = metric
        self._numbers: Ids | None = None
        """As ``_shifted``, but those of before a change may stay until they are asked for."""

    @property
    def _shifted(self) -> Ids | None:
        """The number in the Index of each id, once rows were removed and ids are no longer those numbers."""
        numbers = self._numbers
        # Adding makes them empty, but a search in another thread may then store those that it read before.
        if numbers is not None and len(numbers) != self.ntotal:
            numbers = self._numbers = self._index.numbers
        return numbers

    @property
    def d(self) -> int:
        """Columns of the rows."""
        return self._index.dims

    @property
    def ntotal(self) -> int:
        """The number of rows."""
        return len(self._index)

    def train(self, x: Any) -> None:
        """Do nothing: there is nothing to learn from ``x``."""

    def add(self, x: Any, numeric_type: int = 0) -> None:
        """Append rows, which are copied; their ids follow those of the rows before.

        Args:
            x: (n, d) real numbers.
            numeric_type: not used; the type of ``x`` counts.

        Raises:
            ValueError: if a row has NaN or infinity (the message names it), or for a wrong shape.
        """
        given = held(x, self.d)
        if given.ndim == 2 and given.shape[1] != self.d:
            raise ValueError(f"x has {given.shape[1]} columns and the index has {self.d}; they must agree")
        rows = fastvec.truncate(given, self.d, renormalize=False)  # checked, and a copy
        self._index.add(rows)
        if self._numbers is not None:
            self._numbers = _OUTDATED

    def search(
        self,
        x: Any,
        k: int,
        *,
        params: Any = None,
        D: Any = None,
        I: Any = None,  # noqa: E741
        numeric_type: int = 0,
    ) -> tuple[Float32, Ids]:
        """The k nearest rows of each query.

        Args:
            x: (n, d) real numbers.
            k: rows to find, at least 1.
            params: ``SearchParameters(sel=…)``: rows that may be found.
            D: float32 (n, k) to write distances to.
            I: int64 (n, k) to write ids to.
            numeric_type: not used; the type of ``x`` counts.

        Returns:
            The distances (for METRIC_INNER_PRODUCT: products), and the ids, nearest first. Where there are
            no more rows, the id is −1, and the distance the largest float32 (the product: the lowest).

        Raises:
            ValueError: if a query has NaN or infinity (the message names it), for a wrong shape, or if k is
                below 1.
        """
        scores, ids = self._searched(x, k, self._selected(params))
        return _into(D, scores, "D"), _into(I, ids, "I")

    def _searched(self, x: Any, k: int, selected: Bools | None) -> tuple[Float32, Ids]:
        x = held(x, self.d)
        found = self._among(selected, lambda where: self._index.search(x, k, where=where))
        there = found.indices >= 0
        queries = np.nonzero(there)[0] if self.metric_type == METRIC_L2 else np.empty(0, np.int64)
        scores, ids = _filling(self.metric_type, found.scores.shape), found.indices
        scores[there] = self._distances(x, queries, ids[there], found.scores[there])
        if self._shifted is not None:
            ids[there] = self._ids(ids[there])
        return scores, ids

    def _ids(self, numbers: Ids) -> Ids:
        """The ids of rows by their numbers in the Index."""
        shifted = self._shifted
        if shifted is None:
            return numbers
        if numbers.max(initial=-1) > shifted.max(initial=-1):  # another thread is adding rows
            shifted = self._index.numbers
        return np.searchsorted(shifted, numbers)

    def assign(self, x: Any, k: int, labels: Any = None) -> Ids:
        """The ids of the k nearest rows of each query, as ``search`` finds them.

        Args:
            x: (n, d) real numbers.
            k: rows to find.
            labels: int64 (n, k) to write to.
        """
        return self.search(x, k, I=labels)[1]

    def range_search(
        self, x: Any, thresh: float, *, params: Any = None
    ) -> tuple[npt.NDArray[np.uint64], Float32, Ids]:
        """All rows whose distance is below a threshold, or whose product is above it.

        Args:
            x: (n, d) real numbers.
            thresh: the threshold, rounded to float32; distances of METRIC_L2 are squared.
            params: ``SearchParameters(sel=…)``: rows that may be found.

        Returns:
            ``lims``, ``D`` and ``I``: of query i, ``I[lims[i]:lims[i + 1]]`` are the ids, in rising order,
            and ``D[lims[i]:lims[i + 1]]`` their distances or products.

        Raises:
            ValueError: if the threshold is NaN, and as in ``search``.
        """
        lims, scores, ids = self._in_range(x, thresh, self._selected(params))
        return lims, scores, ids

    def _in_range(
        self, x: Any, thresh: float, selected: Bools | None
    ) -> tuple[npt.NDArray[np.uint64], Float32, Ids]:
        x = held(x, self.d)
        with np.errstate(over="ignore"):
            limit = np.float32(thresh)
        least = float(self._least(limit))
        offsets, scores, ids = self._among(
            selected, lambda where: self._index.range_search(x, least, where=where)
        )
        queries = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        scores = self._distances(x, queries, ids, scores)
        inside = np.flatnonzero(
            scores > limit if self.metric_type == METRIC_INNER_PRODUCT else scores < limit
        )
        inside = inside[np.lexsort((ids[inside], queries[inside]))]
        counts = np.bincount(queries[inside], minlength=len(offsets) - 1)
        return (
            np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64),
            scores[inside],
            self._ids(ids[inside]),
        )

    def _least(self, limit: np.float32) -> np.float32:
        """The least score of an Index that a row within a limit can have."""
        if self.metric_type != METRIC_L2:
            return limit if self.metric_type == METRIC_INNER_PRODUCT else -limit
        # A squared distance below the limit may round to a distance that is its square root rounded up.
        farthest: np.float32 = np.nextafter(np.sqrt(max(limit, np.float32(0.0))), np.float32(np.inf))
        return np.float32(np.nan) if np.isnan(limit) else -farthest

    def remove_ids(self, x: Any) -> int:
        """Remove rows; the ids of those behind them become lower.

        This takes time in proportion to the number of rows, for their new ids.

        Args:
            x: (n,) integers, or an IDSelector, here or of faiss; ids without a row are ignored.

        Returns:
            The number of rows that were removed.
        """
        selected = _selected_ids(x, np.arange(self.ntotal))
        return self._removed(selected)

    def _removed(self, selected: Bools) -> int:
        numbers = np.arange(self.ntotal) if self._shifted is None else self._shifted
        if selected.any():
            self._numbers = _OUTDATED  # first, so that no interruption leaves those of before
            self._index.remove(numbers[selected])
        return int(np.count_nonzero(selected))

    def reset(self) -> None:
        """Remove all rows."""
        self._index = fastvec.Index(dims=self.d, metric=_metric(self.metric_type))
        self._numbers = None

    def reconstruct(self, key: int, x: Any = None) -> Float32:
        """The row of an id.

        Args:
            key: the id.
            x: float32 (d,) to write to.

        Returns:
            float32 (d,).

        Raises:
            RuntimeError: if no row has this id.
        """
        return _into(x, self._rows(np.array([key]))[0], "x")

    def reconstruct_n(self, n0: int = 0, ni: int = -1, x: Any = None) -> Float32:
        """The rows of neighboring ids.

        Args:
            n0: the first id.
            ni: how many; −1: all from ``n0`` on.
            x: float32 (ni, d) to write to.

        Returns:
            float32 (ni, d).

        Raises:
            RuntimeError: if no row has one of these ids.
        """
        last = self.ntotal if ni == -1 else n0 + ni
        return _into(x, self._rows(np.arange(n0, last)), "x")

    def reconstruct_batch(self, key: Any, x: Any = None) -> Float32:
        """The rows of some ids.

        Args:
            key: (n,) ids.
            x: float32 (n, d) to write to.

        Returns:
            float32 (n, d).

        Raises:
            RuntimeError: if no row has one of these ids.
        """
        return _into(x, self._rows(as_ids(key, "key")), "x")

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
        """``search``, and the rows that were found.

        Args:
            x, k, params, D, I: as in ``search``.
            R: float32 (n, k, d) to write rows to.

        Returns:
            Distances, ids, and float32 (n, k, d): the rows; NaN where the id is −1.
        """
        distances, ids = self.search(x, k, params=params, D=D, I=I)
        return distances, ids, _into(R, self._rows_found(ids), "R")

    def _rows_found(self, ids: Ids) -> Float32:
        rows = np.full((*ids.shape, self.d), np.nan, np.float32)
        rows[ids >= 0] = self._rows(ids[ids >= 0])
        return rows

    def _rows(self, ids: Ids) -> Float32:
        bad = (ids < 0) | (ids >= self.ntotal)
        if bad.any():
            raise RuntimeError(f"no row has the id {ids[bad.argmax()]}; ids are 0 to {self.ntotal - 1}")
        return self._index.fetch(ids if self._shifted is None else self._shifted[ids])

    def _selected(self, params: Any) -> Bools | None:
        """Which ids may be found; None: all."""
        selector = getattr(params, "sel", None)
        return None if selector is None else members(selector, np.arange(self.ntotal))

    def _among(self, selected: Bools | None, find: Callable[[Any], Found]) -> Found:
        """What a search finds among the rows of these ids; ``find`` takes its ``where``."""
        shifted = self._shifted
        if selected is None or shifted is None:
            try:
                return find(selected)
            except ValueError:
                if selected is None or len(selected) == self.ntotal:
                    raise
        # The mask is too short once another thread has added rows; their numbers always fit.
        return find(np.flatnonzero(selected) if shifted is None else shifted[: len(selected)][selected])

    def _distances(self, x: Any, queries: Ids, numbers: Ids, scores: Float32) -> Float32:
        """What faiss calls distances, of pairs of a query and a row of the Index with these scores."""
        return distances(self.metric_type, x, self._index.fetch, queries, numbers, scores)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(d={self.d}, ntotal={self.ntotal})"


class IndexFlatIP(IndexFlat):
    """Rows searched exactly by inner product.

    Args:
        d: columns of the rows.
    """

    def __init__(self, d: int) -> None:
        super().__init__(d, METRIC_INNER_PRODUCT)


class IndexFlatL2(IndexFlat):
    """Rows searched exactly by squared Euclidean distance.

    Args:
        d: columns of the rows.
    """

    def __init__(self, d: int) -> None:
        super().__init__(d, METRIC_L2)


def knn(xq: Any, xb: Any, k: int, metric: int = METRIC_L2, metric_arg: float = 0.0) -> tuple[Float32, Ids]:
    """The k nearest rows of each query, without an index.

    Args:
        xq: (m, d) queries.
        xb: (n, d) rows.
        k: rows to find, at least 1.
        metric: METRIC_L2, METRIC_INNER_PRODUCT or METRIC_L1.
        metric_arg: not used; none of these metrics has an argument.

    Returns:
        Distances or products, and ids, as ``IndexFlat.search`` returns them.

    Raises:
        ValueError: as in ``IndexFlat.search``.

    Example:
        >>> from fastvec.integrations import faiss
        >>> faiss.knn([[0, 0]], [[1, 0], [0, 1], [3, 4]], 2)
        (array([[1., 1.]], dtype=float32), array([[0, 1]]))
    """
    name = _metric(metric)
    xq, rows = _read_once(xq), _read_once(xb)
    found = fastvec.knn(xq, rows, k, metric=name)
    if xq.ndim == 1:
        raise ValueError(f"xq has shape {xq.shape}; it must be (n, {rows.shape[1]})")
    there = found.indices >= 0
    queries = np.nonzero(there)[0] if metric == METRIC_L2 else np.empty(0, np.int64)
    scores = _filling(metric, found.scores.shape)
    scores[there] = distances(
        metric,
        xq,
        lambda numbers: rows[numbers].astype(np.float32),
        queries,
        found.indices[there],
        found.scores[there],
    )
    return scores, found.indices


def held(x: Any, d: int) -> npt.NDArray[Any]:
    """An array-like that should be (n, d), as an array."""
    array = _read_once(x)
    if array.ndim == 1:
        raise ValueError(f"x has shape {array.shape}; it must be (n, {d})")
    return array


def _read_once(x: Any) -> npt.NDArray[Any]:
    """An array-like as an array, because an object can hold something else at a second look."""
    if type(x) is np.ndarray and x.dtype.kind in "fiu":
        array: npt.NDArray[Any] = x
        return array
    return fastvec.Index(x, metric="manhattan").vectors  # for this metric, no codes are made


def distances(
    metric: int,
    x: npt.NDArray[Any],
    fetch: Callable[[Ids], Float32],
    queries: Ids,
    numbers: Ids,
    scores: Float32,
) -> Float32:
    """What faiss calls distances, of pairs of a query and a row, whose scores are those of fastvec.

    A squared distance cannot be told from the distance as float32, so it is summed in float64.
    """
    if metric != METRIC_L2:
        return scores if metric == METRIC_INNER_PRODUCT else np.abs(scores)
    rows = fastvec.truncate(x, x.shape[1], renormalize=False) if len(numbers) else np.empty((0, 1))
    squares, step = np.empty(len(numbers), np.float32), max(1, _VALUES_AT_ONCE // rows.shape[1])
    for first in range(0, len(numbers), step):
        part = slice(first, first + step)
        difference = fetch(numbers[part]).astype(np.float64)
        difference -= rows[queries[part]]
        with np.errstate(over="ignore"):
            squares[part] = np.einsum("ij,ij->i", difference, difference)
    return squares


def normalize_L2(x: Float32) -> None:
    """Scale rows to unit length, in place; zero rows stay zero.

    Args:
        x: float32 (n, d), C-contiguous and writable.

    Raises:
        TypeError, ValueError: for another array.
        ValueError: for NaN or infinity; ``x`` is then scaled in part.
    """
    fastvec.normalize(x, out=x)


def write_index(index: IndexFlat, fname: str | os.PathLike[str]) -> None:
    """Write an index to a folder, as ``fastvec.Index.save`` does; ``read_index`` opens it.

    Args:
        index: an IndexFlat.
        fname: the folder; other programs' files of this name are not replaced.

    Raises:
        TypeError: if the index is of another class.
    """
    if not isinstance(index, IndexFlat):
        raise TypeError(
            f"index is a {type(index).__name__}; it must be an IndexFlat (of an IndexIDMap, write "
            "its index, and save its id_map)"
        )
    index._index.save(fname)


def read_index(fname: str | os.PathLike[str], io_flags: int = 0) -> IndexFlat:
    """Open the folder that ``write_index`` or ``fastvec.Index.save`` wrote.

    Args:
        fname: the folder.
        io_flags: ``IO_FLAG_MMAP`` leaves rows and codes in the files; else they are read into memory.

    Raises:
        ValueError: if the folder is damaged, or holds an Index of cosines.
        FileNotFoundError: if the folder does not exist.
    """
    mapped = io_flags & IO_FLAG_MMAP == IO_FLAG_MMAP
    opened = fastvec.Index.open(fname, vectors="mmap" if mapped else "memory")
    names = {name: number for number, name in _METRICS.items()}
    if opened.metric not in names:
        raise ValueError(f"{os.fspath(fname)} has metric={opened.metric!r}; it must be one of {[*names]}")
    metric = names[opened.metric]
    kinds: dict[int, Callable[[int], IndexFlat]] = {METRIC_INNER_PRODUCT: IndexFlatIP, METRIC_L2: IndexFlatL2}
    index = kinds[metric](opened.dims) if metric in kinds else IndexFlat(opened.dims, metric)
    index._index = opened
    if opened._rows.now().top > len(opened):  # rows were removed, so ids are not numbers
        index._numbers = _OUTDATED
    return index


def _metric(metric: int) -> Metric:
    if metric not in _METRICS:
        raise ValueError(f"metric is {metric!r}; it must be METRIC_L2, METRIC_INNER_PRODUCT or METRIC_L1")
    return _METRICS[metric]


def _filling(metric: int, shape: tuple[int, ...]) -> Float32:
    """What stands where no row was found."""
    return np.full(shape, -_FARTHEST if metric == METRIC_INNER_PRODUCT else _FARTHEST, np.float32)


def _selected_ids(x: Any, ids: Ids) -> Bools:
    selects = isinstance(x, IDSelector) or hasattr(x, "is_member")
    return members(x, ids) if selects else np.isin(ids, as_ids(x, "x"))


def _into(out: Any, values: Rows, name: str) -> Rows:
    """The values, written to an array of the caller's if there is one."""
    if out is None:
        return values
    if not isinstance(out, np.ndarray) or out.shape != values.shape or out.dtype != values.dtype:
        what = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else f"a {type(out).__name__}"
        raise ValueError(f"{name} is {what}; it must be {values.dtype} {values.shape}")
    out[...] = values
    return cast("Rows", out)
