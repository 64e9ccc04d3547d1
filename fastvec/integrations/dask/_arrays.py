"""What is searched, as a dask array in chunks of whole rows: nothing is computed here but sizes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _arguments, _arrays
from ..._stores.shard import Layout

_CHUNK_BYTES = 1 << 26
"""About how many bytes of a Parquet file make a chunk."""


def host() -> Any:
    """The module ``dask``, with ``dask.array`` loaded."""
    try:
        import dask
        import dask.array
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "dask":
            raise
        raise ModuleNotFoundError("Dask is not installed: pip install 'fastvec[dask]'", name="dask") from None
    return dask


def distributed() -> Any:
    """The module ``distributed``."""
    host()
    try:
        import distributed
    except ModuleNotFoundError as missing:
        if missing.name != "distributed":
            raise
        raise ModuleNotFoundError(
            "Dask's clusters are not installed: pip install 'fastvec[dask]'", name="distributed"
        ) from None
    return distributed


def is_dask_array(value: object) -> bool:
    """Whether a value is an array of Dask."""
    return isinstance(value, host().array.Array)


def rows_of(vectors: Any, column: str = "vector", client: Any = None) -> Any:
    """Vectors as a dask array of known sizes, whose chunks have all columns of their rows."""
    if isinstance(vectors, str | os.PathLike):
        vectors = [vectors]
    if isinstance(vectors, list | tuple) and vectors and isinstance(vectors[0], str | os.PathLike):
        return _of_parquet([os.path.abspath(path) for path in vectors], column, client)
    if not is_dask_array(vectors):
        kind = type(vectors)
        raise TypeError(
            f"vectors is a {kind.__module__}.{kind.__qualname__}; it must be a dask.array, or paths of "
            "Parquet files: dask.array.from_array makes one of an array, which fastvec.Index takes as it is"
        )
    array = with_sizes(vectors)
    _arguments.two_dimensional(array, "vectors")
    _arguments.check_real(array, "vectors")
    return array.rechunk({1: -1}) if array.numblocks[1] > 1 else array


def with_sizes(array: Any) -> Any:
    """The array, or one whose sizes of chunks were computed because they are not known."""
    if any(np.isnan(size) for sizes in array.chunks for size in sizes):
        array = array.copy()  # so that the caller's stays as it is
        array.compute_chunk_sizes()
    return array


def runs_of(array: Any) -> list[tuple[int, int]]:
    """The first row of each chunk, and how many it has."""
    sizes = [int(size) for size in array.chunks[0]]
    return list(zip(np.cumsum([0, *sizes[:-1]]).tolist(), sizes, strict=True))


def masks_of(where: Any, layouts: Sequence[Layout], rows: int) -> list[Any]:
    """``where``, a dask array, cut to what each layout has: delayed arrays of bool."""
    da = host().array
    where = with_sizes(where)
    if where.dtype != np.bool_ or where.shape != (rows,):
        raise ValueError(
            f"where is a dask array of {where.dtype} of shape {where.shape}; it must be bool ({rows},)"
        )

    def cut(layout: Layout) -> Any:
        runs = zip(layout.first.tolist(), np.diff(layout.at).tolist(), strict=True)
        parts = [where[first : first + count] for first, count in runs]
        if not parts:
            return host().delayed(np.zeros(0, np.bool_))
        whole = da.concatenate(parts).rechunk(-1)
        return host().delayed(np.ascontiguousarray)(whole.to_delayed().reshape(-1)[0])

    return list(map(cut, layouts))


def _of_parquet(paths: list[str], column: str, client: Any) -> Any:
    """The vectors of a column of Parquet files, one after another; tasks hold paths, and read themselves."""
    dask = host()
    sizes = dask.compute(*(dask.delayed(_parquet_sizes)(path, column) for path in paths), scheduler=client)
    parts = []
    for path, (width, groups) in zip(paths, sizes, strict=True):
        if width != sizes[0][0]:
            raise ValueError(f"{path} has vectors of {width} dims, and {paths[0]} of {sizes[0][0]}")
        for first, last in _together(groups, _CHUNK_BYTES // (4 * width)):
            block = dask.delayed(_parquet_rows)(path, column, first, last)
            shape = (sum(groups[first:last]), width)
            parts.append(dask.array.from_delayed(block, shape, np.float32))
    if not parts:
        return dask.array.zeros((0, sizes[0][0]), dtype=np.float32)
    return dask.array.concatenate(parts)


def _together(groups: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Runs of row groups that have about ``most`` rows."""
    runs: list[tuple[int, int]] = []
    count = most
    for number, rows in enumerate(groups):
        if count + rows > most:
            runs.append((number, number))
            count = 0
        runs[-1], count = (runs[-1][0], number + 1), count + rows
    return runs


def _parquet_sizes(path: str, column: str) -> tuple[int, list[int]]:
    """The width of the vectors of a Parquet file, and the rows of its row groups."""
    file = _parquet(path)
    names = file.schema_arrow.names
    if column not in names:
        raise ValueError(f"{path} has no column {column!r}; it has {', '.join(names)}")
    groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    width = getattr(file.schema_arrow.field(column).type, "list_size", None)
    if width is None:
        first = next((number for number, rows in enumerate(groups) if rows), None)
        if first is None:
            raise ValueError(f"{path} has no rows, and its column {column!r} has no fixed width")
        width = _parquet_rows(path, column, first, first + 1).shape[1]
    return int(width), groups


def _parquet_rows(path: str, column: str, first: int, last: int) -> Any:
    """The vectors of the row groups from ``first`` to ``last``."""
    read = _parquet(path).read_row_groups(list(range(first, last)), columns=[column])
    return _arguments.matrix(_arrays.any_array(read[column], column), column)


def _parquet(path: str) -> Any:
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "pyarrow":
            raise
        raise ModuleNotFoundError(
            "reading Parquet needs pyarrow: pip install 'fastvec[arrow]'", name="pyarrow"
        ) from None
    return pyarrow.parquet.ParquetFile(path)
