"""Writing Arrow IPC and Parquet: one type per column, and texts without a list of them in memory."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .._checks import shown
from .arrow import OURS, PLAIN, _pyarrow
from .columns import Column, Value
from .streams import Rows, blocks, written
from .text import refuse_words

_GROUP_BYTES, _LEAST_ROWS, _MOST_ROWS = 1 << 26, 1 << 10, 1 << 14
"""Sizes of a Parquet file's groups of rows."""
_MOST_TEXT = (1 << 31) - 1


def refuse(words: Rows[str], columns: Mapping[str, Column]) -> None:
    """Raise if Arrow and Parquet cannot hold the words or columns, or if pyarrow is missing."""
    pa = _pyarrow()
    refuse_words(words, "Arrow or Parquet", plain=False)
    for name, column in columns.items():
        _type(pa, name, column)


def write_ipc(
    file: IO[bytes],
    words: Rows[str],
    vectors: NDArray[np.float32],
    metadata: Mapping[str, str],
    columns: Mapping[str, Column],
) -> None:
    """Write one uncompressed record batch, so that it can be mapped."""
    pa = _pyarrow()
    schema = _schema(pa, vectors, metadata, columns)
    table = _table(pa, schema, words, vectors, [column.values for column in columns.values()])
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, len(words)))


def write_parquet(
    file: IO[bytes],
    words: Rows[str],
    vectors: NDArray[np.float32],
    metadata: Mapping[str, str],
    columns: Mapping[str, Column],
) -> None:
    """Write groups of rows, each of which is freed before the next is made, without a dictionary of values,
    which only makes float32 vectors larger."""
    pa = _pyarrow()
    import pyarrow.parquet as parquet

    schema = _schema(pa, vectors, metadata, columns)
    rows = min(max(_GROUP_BYTES // (4 * vectors.shape[1]), _LEAST_ROWS), _MOST_ROWS)
    parts = [written(words, rows), *(blocks(column.values, rows) for column in columns.values())]
    with parquet.ParquetWriter(file, schema, use_dictionary=False, compression="zstd") as writer:
        for start, (texts, *values) in zip(itertools.count(0, rows), zip(*parts, strict=True), strict=False):
            _write_group(pa, writer, schema, texts, vectors[start : start + rows], values)


def _write_group(
    pa: Any,
    writer: Any,
    schema: Any,
    texts: list[str],
    vectors: NDArray[np.float32],
    columns: Sequence[list[Value]],
) -> None:
    table = _table(pa, schema, texts, vectors, columns)
    if table.schema.types == schema.types:
        writer.write_table(table, len(texts))
        return
    half = len(texts) // 2  # the texts have more than 2 GiB, which is too large for a group
    for part in (slice(half), slice(half, None)):
        _write_group(pa, writer, schema, texts[part], vectors[part], [values[part] for values in columns])


def _schema(
    pa: Any, vectors: NDArray[Any], metadata: Mapping[str, str], columns: Mapping[str, Column]
) -> Any:
    dims = vectors.shape[1]
    facts = {**metadata, "dims": str(dims)}
    plain = {key: facts[key] for key in PLAIN if key in facts}
    types = {name: _type(pa, name, column) for name, column in columns.items()}
    fields = {"text": pa.string(), "vector": pa.list_(pa.float32(), dims), **types}
    return pa.schema(list(fields.items()), metadata={**plain, OURS: json.dumps(facts, ensure_ascii=False)})


def _type(pa: Any, name: str, column: Column) -> Any:
    """The Arrow type of a column, whose values must be of one kind."""
    kinds, least, most = column.kinds, column.least, column.most
    if kinds <= {str}:
        return pa.string()
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int} and least >= -(1 << 63) and most < 1 << 63:
        return pa.int64()
    if kinds == {int} and least >= 0 and most < 1 << 64:
        return pa.uint64()
    if kinds <= {int, float} and column.exact:
        return pa.float64()
    names = " and ".join(sorted(kind.__name__ for kind in kinds))
    what = f"{names} beyond 64 bits" if kinds == {int} else names
    raise ValueError(
        f"columns[{shown(name)}] holds {what}, but a column of Arrow and Parquet holds one kind: "
        "give the str of each value, or write an Index folder"
    )


def _table(
    pa: Any, schema: Any, words: Rows[str], vectors: NDArray[np.float32], columns: Sequence[Rows[Value]]
) -> Any:
    """A table with one array per column; texts of more than 2 GiB have another type than in the schema."""
    values = pa.array(np.ascontiguousarray(vectors).reshape(-1), pa.float32())
    arrays = [_texts(pa, words), pa.FixedSizeListArray.from_arrays(values, vectors.shape[1])]
    for kind, column in zip(schema.types[2:], columns, strict=True):
        if kind == pa.string():
            arrays.append(_texts(pa, column))
        else:
            parts = [pa.array(block, kind) for block in blocks(column)]
            arrays.append(pa.concat_arrays(parts) if parts else pa.array([], kind))
    fields = [pa.field(name, array.type) for name, array in zip(schema.names, arrays, strict=True)]
    return pa.table(arrays, schema=pa.schema(fields, metadata=schema.metadata))


def _texts(pa: Any, values: Rows[Any]) -> Any:
    """One array of texts, whose bytes are in memory only once."""
    text, lengths, present = io.BytesIO(), [np.zeros(1, np.int64)], [np.zeros(0, bool)]
    for block in blocks(values):
        present.append(np.fromiter((value is not None for value in block), bool, len(block)))
        texts = block if present[-1].all() else [value or "" for value in block]
        data = "".join(texts).encode()
        plain = len(data) == sum(map(len, texts))
        sizes = map(len, texts) if plain else (len(text.encode()) for text in texts)
        lengths.append(np.fromiter(sizes, np.int64, len(block)))
        text.write(data)
    ends, valid = np.cumsum(np.concatenate(lengths)), np.concatenate(present)
    large = ends[-1] > _MOST_TEXT
    bits = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    offsets = pa.py_buffer(ends.astype(np.int64 if large else np.int32))
    kind = pa.large_string() if large else pa.string()
    return pa.Array.from_buffers(kind, len(values), [bits, offsets, pa.py_buffer(text.getbuffer())])
