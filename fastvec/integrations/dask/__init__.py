"""Searches of a dask array, of Parquet files or of many Index folders, on one machine or on a cluster.

    import dask.array as da
    from distributed import Client
    from fastvec.integrations.dask import Index

    client = Client("tcp://scheduler:8786")
    index = Index(da.from_zarr("vectors.zarr"), metric="cosine")
    index.search(queries, 10)

Vectors are encoded once, by the workers that compute the chunks, and stay there. A search sends its queries
to these workers, and each returns its k best rows, with float64 scores, by which they are merged: the answer
has the same bits as that of ``fastvec.Index`` or ``fastvec.knn`` over all vectors in one process, whatever
the chunks and workers are. If a worker is lost, its chunks are encoded by others, and the search begins anew.

Everything runs with the client that is passed or active, or else with Dask's scheduler in this process
(threads, or "synchronous"). ``pip install 'fastvec[dask]'`` installs Dask.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

import fastvec

from ... import _arguments, analogies
from ..._living import LivingRows
from ..._request import checked
from ..._snapshot import Snapshot
from ..._stores import base, screens, shard, shards
from ...choices import METRICS, Method, Metric, Opened
from ...results import TopK
from .. import _refusal
from . import _arrays, _teams
from ._arrays import distributed as distributed  # for the command line

__all__ = ["Index", "analogy", "knn", "normalize", "truncate"]

Source = Any
"""A dask array (n, dims), or a path or paths of Parquet files."""


def normalize(vectors: Any) -> Any:
    """Rows scaled to unit length, as ``fastvec.normalize`` does it, as a dask array that is not computed yet.

    Args:
        vectors: a dask array (n, dims) of real numbers.

    Returns:
        A dask array, float32 (n, dims), in the chunks of ``vectors``, but with all columns in each.

    Raises:
        TypeError: if ``vectors`` is not a dask array of real numbers.
        ValueError: when it is computed, if a row is not finite; the message names its number.
    """
    array = _arrays.rows_of(vectors)
    return array.map_blocks(_normalized, dtype=np.float32, meta=np.empty((0, 0), np.float32))


def truncate(vectors: Any, dims: int, *, renormalize: bool = True) -> Any:
    """The first ``dims`` columns, as ``fastvec.truncate`` makes them, as a dask array not computed yet.

    Args:
        vectors: a dask array (n, width) of real numbers.
        dims: columns to keep, from 1 to width.
        renormalize: scale rows to unit length; if false, the columns are only copied.

    Returns:
        A dask array, float32 (n, dims), in the chunks of ``vectors``, but with all columns in each.

    Raises:
        TypeError: if ``vectors`` is not a dask array of real numbers, or ``dims`` not an integer.
        ValueError: if ``dims`` is out of range; or when it is computed, if a row is not finite.
    """
    array = _arrays.rows_of(vectors)
    dims = _arguments.prefix(dims, array.shape[1])
    renormalize = _arguments.flag(renormalize, "renormalize")
    return array[:, :dims].map_blocks(
        _truncated, renormalize=renormalize, dtype=np.float32, meta=np.empty((0, 0), np.float32)
    )


def knn(
    queries: npt.ArrayLike,
    vectors: Source,
    k: int,
    *,
    metric: Metric = "cosine",
    dims: int | None = None,
    where: Any = None,
    exclude: Any = None,
    client: Any = None,
) -> TopK:
    """The k nearest vectors of each query, in one pass over the chunks; the same bits as ``fastvec.knn``.

    Each chunk is computed, searched and forgotten, so vectors may be larger than memory. To search them
    often, build an ``Index``.

    Args:
        queries: (m, width) or (width,), as in ``fastvec.knn``.
        vectors: a dask array (n, width), or paths of Parquet files with a column "vector".
        k: neighbors to return; if there are fewer rows, filled up with index −1.
        metric: "cosine", "dot", "euclidean" or "manhattan".
        dims: use only the first ``dims`` columns.
        where: rows that may be returned: a dask array, bool (n,), which is cut to the chunks and never
            gathered; or as in ``fastvec.knn``.
        exclude: rows not to return, as in ``fastvec.knn``.
        client: a ``distributed.Client``; None: the one that is active, or else Dask's scheduler.

    Returns:
        TopK of shape (m, k), or (k,) for a one-dimensional query.

    Raises:
        ValueError, TypeError, IndexError, MemoryError: as ``fastvec.knn``; row numbers are those of all rows.
        ModuleNotFoundError: if Dask is not installed.
    """
    metric = _arguments.one_of(metric, "metric", METRICS)
    store = _once(vectors, dims, client)
    return _search(store, queries, k, metric=metric, dims=dims, where=where, exclude=exclude)


def analogy(
    vectors: Source,
    positive: Any,
    negative: Any,
    k: int = 1,
    *,
    method: Method = "3cosadd",
    exclude_inputs: bool = True,
    dims: int | None = None,
    where: npt.ArrayLike | None = None,
    client: Any = None,
) -> TopK:
    """Answers to questions such as "a is to b as c is to what?"; the same bits as ``fastvec.analogy``.

    The chunks are computed twice: for the input rows of the questions, and for the search.

    Args:
        vectors: a dask array (n, width), or paths of Parquet files with a column "vector".
        positive: row numbers (questions, p), a list of lists, or (p,) for one question.
        negative: likewise, (questions, q); may be empty.
        k: answers to each question.
        method: "3cosadd" or "3cosmul".
        exclude_inputs: leave the inputs out of the answers.
        dims: use only the first ``dims`` columns.
        where: rows that may be returned: bool (n,), or row numbers.
        client: as in ``knn``.

    Returns:
        TopK of shape (questions, k), or (k,) for one question.

    Raises:
        ValueError, TypeError, IndexError: as ``fastvec.analogy``.
        ModuleNotFoundError: if Dask is not installed.
    """
    return analogies.answer(
        Snapshot(cast(base.Store, _once(vectors, dims, client))),
        positive,
        negative,
        k,
        method=method,
        exclude_inputs=exclude_inputs,
        dims=dims,
        where=where,
        num_threads=None,
    )


class Index(fastvec.Index):
    """Vectors of a dask array or of Parquet files, encoded once where they are, and searched often.

    With a client, the workers that compute the chunks encode and keep them; without one, this process does.
    What the Index holds is freed with it. ``search``, ``range_search``, ``analogy``, ``remove`` and
    ``verify`` work as in ``fastvec.Index``, with the same bits; what needs all vectors in one place, or
    changes them, raises NotImplementedError. ``num_threads`` counts where the vectors are in this process;
    workers use as many threads as they have for tasks.

    Args:
        vectors: a dask array (n, dims) of real numbers, chunked in any way; or a path or paths of Parquet
            files. What makes its chunks must stay available: from there the rows of a lost worker come again.
        metric: "cosine", "dot", "euclidean" or "manhattan".
        screen: "auto", "off" or a number, as in ``fastvec.Index``; each worker decides for its rows.
        column: the column of Parquet files that holds the vectors.
        client: a ``distributed.Client``; None: the one that is active, or else Dask's scheduler.

    Raises:
        ValueError: if a vector has NaN or inf (the message names its row), or for a wrong shape.
        TypeError: if ``vectors`` is not a dask array of real numbers.
        ModuleNotFoundError: if Dask is not installed.
    """

    def __init__(
        self,
        vectors: Source,
        *,
        metric: Metric = "cosine",
        screen: str | int = "auto",
        column: str = "vector",
        client: Any = None,
    ) -> None:
        metric = _arguments.one_of(metric, "metric", METRICS)
        _arrays.host()
        client = _teams.client_of(client)
        array = _arrays.rows_of(vectors, column, client)
        setting = screens.checked(screen, array.shape[1])
        if client is None:
            team: shards.Team = _teams.built_here(array, metric, setting)
        else:
            team = _teams.built_there(client, array, metric, setting)
        self._hold(shards.store_of(team), metric)

    def _hold(self, store: shards.ShardedStore, metric: str) -> None:
        self._rows = LivingRows(Snapshot(cast(base.Store, store)))
        self._metric, self._copy = cast(Metric, metric), False

    @classmethod
    def open(
        cls,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        vectors: Opened = "mmap",
        client: Any = None,
    ) -> Index:
        """Open many Index folders as one: answers are those of an Index of their vectors, one after another.

        Rows are numbered from 0 on, those of each folder in the order of their numbers, without removed ones.
        The folders are opened by the workers, which must find them under the same paths.

        Args:
            paths: a folder or folders that ``fastvec.Index.save`` wrote, of one metric and width.
            vectors: "mmap" or "memory", as in ``fastvec.Index.open``.
            client: as in ``Index``.

        Raises:
            ValueError: if folders differ in metric or width, or ``paths`` is empty.
            fastvec.files.FileError, FileNotFoundError: as from ``fastvec.Index.open``.
        """
        folders = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        names = [os.path.abspath(path) for path in folders]
        if not names:
            raise ValueError("paths is empty; give at least one Index folder")
        memory = _arguments.one_of(vectors, "vectors", ("mmap", "memory")) == "memory"
        _arrays.host()
        client, index = _teams.client_of(client), cls.__new__(cls)
        if client is None:
            index._hold(*shards.opened_here(names, memory=memory))
        else:
            team, metric = _teams.opened_there(client, names, memory)
            index._hold(shards.store_of(team), metric)
        return index

    def search(
        self,
        queries: npt.ArrayLike,
        k: int,
        *,
        dims: int | None = None,
        where: Any = None,
        exclude: Any = None,
        num_threads: int | None = None,
    ) -> TopK:
        """The k nearest vectors of each query; arguments, result and errors as in ``fastvec.Index.search``.

        Args:
            queries: (m, width) or (width,), real numbers.
            k: neighbors to return.
            dims: use only the first ``dims`` columns.
            where: rows that may be returned: a dask array, bool (n,), which workers cut to their rows; or as
                in ``fastvec.Index.search``. A dask array cannot be used after ``remove``.
            exclude: rows not to return.
            num_threads: threads of this call, where the vectors are in this process.
        """
        rows = self._rows.now()
        if where is None or not _arrays.is_dask_array(where):
            return super().search(
                queries, k, dims=dims, where=where, exclude=exclude, num_threads=num_threads
            )
        if rows.changed:
            raise NotImplementedError("where as a dask array cannot be used after remove; give a NumPy array")
        return _search(
            cast(shards.ShardedStore, rows.store),
            queries,
            k,
            metric=self._metric,
            dims=dims,
            where=where,
            exclude=exclude,
            num_threads=num_threads,
        )


def _search(store: shards.ShardedStore, queries: Any, k: int, *, where: Any, **more: Any) -> TopK:
    """Search a store; ``where`` may be a dask array."""
    if where is None or not _arrays.is_dask_array(where):
        return store.search(checked(cast(base.Store, store), queries, k, where=where, **more))
    request = checked(cast(base.Store, store), queries, k, **more)
    masks = _arrays.masks_of(where, store.layouts, store.rows)
    return store.search(request, _arrays.host().compute(*masks) if store.team.near else masks)


def _once(vectors: Any, dims: int | None, client: Any) -> shards.ShardedStore:
    """The store of vectors for a single search of their first ``dims`` columns."""
    _arrays.host()
    client = _teams.client_of(client)
    array = _arrays.rows_of(vectors, client=client)
    team = _teams.Once(array[:, : _arguments.prefix(dims, array.shape[1])], client)
    return shards.ShardedStore(
        team, [shard.Facts(shard.Layout.of([run]), array.shape[1], 0) for run in team.runs]
    )


def _normalized(block: Any, block_info: Any = None) -> Any:
    return _naming_rows(fastvec.normalize, block, block_info)


def _truncated(block: Any, renormalize: bool, block_info: Any = None) -> Any:
    def shortened(rows: Any) -> Any:
        return fastvec.truncate(rows, rows.shape[1], renormalize=renormalize)

    return _naming_rows(shortened, block, block_info)


def _naming_rows(function: Any, block: Any, block_info: Any) -> Any:
    """A function's result for a block; an error about a row that is not finite has its number of all rows."""
    try:
        return function(block)
    except ValueError:
        _refusal.check_finite(np.asarray(block), "vectors", block_info[0]["array-location"][0][0])
        raise
