"""Arrow IPC and Parquet: columns ``text`` (string) and ``vector`` (fixed_size_list<float32>[dims]).

pandas, Polars, DuckDB and Hugging Face datasets read and write these formats. Files of other programs may
have other names of columns, other types of strings and lists, and any real numbers. Columns with one value
per row are further columns. In the schema's metadata, which other programs use too, fastvec's key is
``fastvec``, a JSON object of all metadata of the vectors; for other readers, ``model`` and ``dims`` are there
by themselves too.
"""

from __future__ import annotations

import itertools
import json
import mmap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .columns import TAKEN, Columns, Value
from .errors import FileError
from .labeled import Labeled
from .ordinary import Held, mapping
from .text import counted_from

DAMAGED = "the file is damaged or of another kind; fetch or make it again"
OURS, PLAIN = "fastvec", ("model", "dims")
IPC_MAGIC = b"ARROW1", b"\xff\xff\xff\xff"
"""First bytes of a file, and of a stream."""
PARQUET_MAGIC = b"PAR1"
_BATCH_ROWS = 1 << 12


def read_ipc(path: Path, limit: int | None, errors: str) -> Labeled:
    """Read Arrow; vectors are mapped into memory if the file holds them as one float32 array."""
    pa = _pyarrow()
    held = Held(path)
    source = _mapped(pa, held)

    def read() -> Any:
        stream = source.read_at(6, 0) != IPC_MAGIC[0]
        return (pa.ipc.open_stream if stream else pa.ipc.open_file)(source).read_all()

    table = _guarded(path, read)
    return _labeled(path, table.schema, table.select, limit, "arrow", held, decoded=False)


def read_parquet(path: Path, limit: int | None, errors: str) -> Labeled:
    """Read Parquet; words and vectors are decoded into memory now, a further column on first use."""
    pa = _pyarrow()
    import pyarrow.parquet as parquet

    held = Held(path)
    source = _mapped(pa, held)
    file = _guarded(path, lambda: parquet.ParquetFile(source))
    schema = _guarded(path, lambda: file.schema_arrow)

    def read(names: list[str]) -> Any:
        """Read group by group, which takes half the time and memory of reading all at once."""
        groups: list[Any] = []
        rows = 0
        for number in range(file.num_row_groups):
            if limit is not None and rows >= limit:
                break
            groups.append(file.read_row_group(number, columns=names).select(names))
            rows += len(groups[-1])
        return pa.concat_tables(groups or [schema.empty_table().select(names)])

    return _labeled(path, schema, read, limit, "parquet", held, decoded=True)


class Blocks(NamedTuple):
    """The rows of a file, to go by in blocks."""

    dims: int
    dtype: np.dtype[Any]
    rows: int | None
    """How many there are; None if the file does not say it."""
    labeled: bool
    metadata: dict[str, str]
    blocks: Iterator[tuple[tuple[str, ...] | None, NDArray[Any]]]
    """Words, if there are any, and vectors."""
    further: tuple[str, ...]
    """Columns that are neither."""


def row_blocks(path: Path, *, parquet: bool, block_bytes: int) -> Blocks:
    """Arrow or Parquet whose rows go by once; about as many bytes of vectors are in memory at a time."""
    pa = _pyarrow()
    held = Held(path)
    source = _mapped(pa, held)
    if parquet:
        from pyarrow.parquet import ParquetFile

        file = _guarded(path, lambda: ParquetFile(source, pre_buffer=False))
        schema, count = _guarded(path, lambda: file.schema_arrow), file.metadata.num_rows
    else:
        stream = source.read_at(6, 0) != IPC_MAGIC[0]
        file = _guarded(path, lambda: (pa.ipc.open_stream if stream else pa.ipc.open_file)(source))
        schema, count = file.schema, None
    labeled = any(_is_text(pa.types, field.type) for field in schema)
    names = _guarded(path, lambda: _columns(pa, path, schema, labeled=labeled))

    def batches() -> Iterator[Any]:
        if parquet:
            yield from file.iter_batches(batch_size=_BATCH_ROWS, columns=[name for name in names if name])
        elif stream:
            yield from file
        else:
            yield from map(file.get_batch, range(file.num_record_batches))

    def matrix(part: Any) -> NDArray[Any]:
        vectors: NDArray[Any] = _guarded(path, lambda: _matrix(pa, path, part[names[1]], names[1]))
        return vectors

    def blocks() -> Iterator[tuple[tuple[str, ...] | None, NDArray[Any]]]:
        row, several = 0, batches()
        while (batch := _guarded(path, lambda: next(several, None))) is not None:
            table, start = pa.Table.from_batches([batch]), 0
            _guarded(path, table.validate)
            while start < len(table):
                with counted_from(row):
                    width = matrix(table.slice(start, 1)).nbytes
                    part = table.slice(start, max(1, block_bytes // width))
                    vectors = matrix(part)
                    words = _words(path, part[names[0]], names[0]) if labeled else None
                yield words, vectors
                row, start = row + len(part), start + len(part)
        held.refuse_changed()

    found = blocks()
    head = next(found, None)
    width = getattr(schema.field(names[1]).type, "list_size", 1) if head is None else head[1].shape[1]
    dtype = np.dtype(np.float32) if head is None else head[1].dtype
    rest = found if head is None else itertools.chain([head], found)
    further = tuple(name for name in schema.names if name not in names)
    return Blocks(width, dtype, count, labeled, _metadata(path, schema), rest, further)


def _mapped(pa: Any, held: Held) -> Any:
    """The bytes of a file, mapped, so that words that are read later come from the file as it is now."""
    if not held.identity.size:
        raise FileError(held.path, f"empty; {DAMAGED}")
    with held.file() as file, mapping(held.path):
        view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return pa.BufferReader(pa.py_buffer(view))


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ModuleNotFoundError as missing:
        if missing.name != "pyarrow":
            raise
        raise ModuleNotFoundError(
            "Arrow and Parquet need the package pyarrow: pip install 'fastvec[arrow]'", name="pyarrow"
        ) from None
    return pyarrow


def _guarded(path: Path, read: Callable[[], Any]) -> Any:
    """The result of ``read``; any error of Arrow about a bad file becomes a FileError."""
    import pyarrow as pa

    try:
        return read()
    except FileError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise FileError(path, f"Arrow cannot read it ({reason}); {DAMAGED}") from error


def _columns(pa: Any, path: Path, schema: Any, *, labeled: bool = True) -> tuple[str, str]:
    """The names of the column of words, empty if it is not ``labeled``, and of the column of vectors."""
    kinds = pa.types
    texts = [f.name for f in schema if _is_text(kinds, f.type)]
    vectors = [f.name for f in schema if _is_list(kinds, f.type)]
    chosen = []
    for wanted, names, what in (("text", texts, "strings"), ("vector", vectors, "lists of numbers")):
        if wanted == "text" and not labeled:
            chosen.append("")
            continue
        if wanted not in names and len(names) != 1:
            has = ", ".join(f"{f.name} ({f.type})" for f in schema)
            raise FileError(
                path, f"needs a column {wanted} of {what}, or one such column of another name; it has {has}"
            )
        chosen.append(wanted if wanted in names else names[0])
    return chosen[0], chosen[1]


def _is_text(kinds: Any, kind: Any) -> bool:
    if kinds.is_dictionary(kind):
        kind = kind.value_type
    view = getattr(kinds, "is_string_view", None)
    return bool(kinds.is_string(kind) or kinds.is_large_string(kind) or (view and view(kind)))


def _is_list(kinds: Any, kind: Any) -> bool:
    if not (kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind)):
        return False
    return bool(kinds.is_floating(kind.value_type) or kinds.is_integer(kind.value_type))


def _labeled(
    path: Path,
    schema: Any,
    read: Callable[[list[str]], Any],
    limit: int | None,
    name: str,
    held: Held,
    *,
    decoded: bool,
) -> Labeled:
    """Vectors now; words and further columns on first use, if the file has not been written to by then.

    ``read`` returns a table of the named columns; ``decoded`` says that the table is not mapped from the
    file.
    """
    pa = _pyarrow()
    text, vector = _guarded(path, lambda: _columns(pa, path, schema))
    table = _guarded(path, lambda: read([text, vector]))
    _guarded(
        path, table.validate
    )  # checks lengths of columns and buffers; contents are checked when they are used
    table = table if limit is None else table.slice(0, limit)
    vectors = _guarded(path, lambda: _matrix(pa, path, table[vector], vector))
    column = table[text]

    def read_words() -> tuple[str, ...]:
        if not decoded:
            held.refuse_changed()
        return _words(path, column, text)

    def read_column(wanted: str) -> tuple[Value, ...]:
        held.refuse_changed()
        values: tuple[Value, ...] = _guarded(
            path, lambda: _values(pa, read([wanted])[wanted].slice(0, limit))
        )
        return values

    further = [field.name for field in schema if _is_value(pa, field.type)]
    unavailable = {text, vector, *TAKEN, ""}
    names = tuple(name for name in further if name not in unavailable and schema.names.count(name) == 1)
    return Labeled(
        path, name, vectors, read_words, _metadata(path, schema), columns=Columns(names, read_column)
    )


def _metadata(path: Path, schema: Any) -> dict[str, str]:
    """The metadata of the vectors in the schema."""
    entries = schema.metadata or {}
    plain = {
        key: entries[key.encode()].decode("utf-8", "replace") for key in PLAIN if key.encode() in entries
    }
    if (encoded := entries.get(OURS.encode())) is None:
        return plain
    try:
        metadata = json.loads(encoded)
    except (ValueError, RecursionError) as error:
        raise FileError(path, f"its metadata {OURS} is not JSON ({error}); {DAMAGED}") from error
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FileError(path, f"its metadata {OURS} is not an object of texts; {DAMAGED}")
    return metadata


def _is_value(pa: Any, kind: Any) -> bool:
    """Whether a column of this type has one value, or none, per row: a text or a number."""
    kinds = pa.types
    if kinds.is_dictionary(kind):
        kind = kind.value_type
    number = kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_boolean(kind)
    return bool(number or kinds.is_null(kind) or _is_text(kinds, kind) or _is_written(kinds, kind))


def _is_written(kinds: Any, kind: Any) -> bool:
    """Whether values are read as text: dates and times (in ISO 8601) and exact decimals."""
    moment = kinds.is_timestamp(kind) or kinds.is_date(kind) or kinds.is_time(kind)
    return bool(moment or kinds.is_decimal(kind))


def _values(pa: Any, column: Any) -> tuple[Value, ...]:
    kinds = pa.types
    column.validate(full=True)
    if kinds.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if kinds.is_timestamp(kind) and kind.tz:
        column = column.cast(pa.timestamp(kind.unit, "UTC"))
    values: list[Any] = (column.cast(pa.string()) if _is_written(kinds, kind) else column).to_pylist()
    if kinds.is_timestamp(kind):
        return tuple(value and value.replace(" ", "T", 1) for value in values)
    if kinds.is_floating(kind):  # pandas writes NaN for a missing value
        return tuple(None if value is None or value != value else float(value) for value in values)
    return tuple(values)


def _matrix(pa: Any, path: Path, column: Any, name: str) -> NDArray[Any]:
    dims = column.type.list_size if pa.types.is_fixed_size_list(column.type) else None
    blocks: list[NDArray[Any]] = []
    row = 0
    for chunk in column.chunks:
        if len(chunk) == 0:
            continue
        # All offsets of lists are checked; for lists of fixed size, only that the buffers are long enough.
        chunk.validate(full=dims is None)
        if chunk.null_count:
            first = int(np.flatnonzero(chunk.is_null().to_numpy(zero_copy_only=False))[0])
            raise FileError(path, f"column {name} has no value here; leave the row out", row=row + first)
        widths = chunk.value_lengths().to_numpy() if dims is None else np.full(1, dims)
        width = dims or (blocks[0].shape[1] if blocks else int(widths[0]))
        if width == 0 or (widths != width).any():
            first = int((widths != width).argmax()) if width else 0
            raise FileError(
                path, f"column {name} has {widths[first]} values, not {width or 1}", row=row + first
            )
        values = chunk.flatten()
        if values.null_count:
            first = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0]) // width
            raise FileError(path, f"column {name} lacks a value; leave the row out", row=row + first)
        blocks.append(np.require(values.to_numpy(zero_copy_only=True), requirements="A").reshape(-1, width))
        row += len(chunk)
    if not blocks:
        return np.empty((0, dims or 1), np.float32)
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _words(path: Path, column: Any, name: str) -> tuple[str, ...]:
    def read() -> list[Any]:
        column.validate(full=True)
        values: list[Any] = column.to_pylist()
        return values

    words = _guarded(path, read)
    if None in words:
        raise FileError(path, f"column {name} has no value here; leave the row out", row=words.index(None))
    return tuple(words)
