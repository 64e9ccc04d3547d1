"""Arrow IPC and Parquet: columns ``text`` (string) and ``vector`` (fixed_size_list<float32>[dims]).

pandas, Polars, DuckDB and Hugging Face datasets read and write them. Files of others may name
the columns otherwise, use other string and list types, and any real numbers.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .errors import FileError
from .labeled import Labeled
from .ordinary import Held

DAMAGED = "the file is damaged or of another kind; fetch or make it again"


def read_ipc(path: Path, limit: int | None, errors: str) -> Labeled:
    """Vectors mapped into memory where the file holds them as one float32 array."""
    pa = _pyarrow()
    held = Held(path)
    source = _mapped(pa, held)

    def table() -> Any:
        stream = source.read_at(6, 0) != b"ARROW1"
        return (pa.ipc.open_stream if stream else pa.ipc.open_file)(source).read_all()

    return _labeled(path, _guarded(path, table), limit, "arrow", held)


def read_parquet(path: Path, limit: int | None, errors: str) -> Labeled:
    """Only the two columns are read, and decoded into memory."""
    pa = _pyarrow()
    import pyarrow.parquet as parquet

    source = _mapped(pa, Held(path))
    file = _guarded(path, lambda: parquet.ParquetFile(source))
    names = _guarded(path, lambda: _columns(pa, path, file.schema_arrow))
    table = _guarded(path, lambda: file.read(columns=list(names)))
    return _labeled(path, table, limit, "parquet")


def _mapped(pa: Any, held: Held) -> Any:
    """The bytes of a file, mapped: words that are read later come from the file that is open now."""
    if not held.identity.size:
        raise FileError(held.path, f"empty; {DAMAGED}")
    with held.file() as file:
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
    """What ``read`` gives; whatever Arrow says of a bad file becomes one error."""
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


def _columns(pa: Any, path: Path, schema: Any) -> tuple[str, str]:
    """Names of the column of words and the column of vectors."""
    kinds = pa.types
    texts = [f.name for f in schema if _is_text(kinds, f.type)]
    vectors = [f.name for f in schema if _is_list(kinds, f.type)]
    chosen = []
    for wanted, found, what in (("text", texts, "strings"), ("vector", vectors, "lists of numbers")):
        if wanted not in found and len(found) != 1:
            has = ", ".join(f"{f.name} ({f.type})" for f in schema)
            raise FileError(
                path, f"needs a column {wanted} of {what}, or one such column of another name; it has {has}"
            )
        chosen.append(wanted if wanted in found else found[0])
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


def _labeled(path: Path, whole: Any, limit: int | None, name: str, held: Held | None = None) -> Labeled:
    """Vectors now, words when asked for: of a ``held`` file, if nothing was written to it meanwhile."""
    pa = _pyarrow()
    text, vector = _guarded(path, lambda: _columns(pa, path, whole.schema))
    table = _guarded(path, lambda: whole.select([text, vector]))
    _guarded(path, table.validate)  # lengths of columns and buffers; contents are looked at as they are used
    table = table if limit is None else table.slice(0, limit)
    vectors = _guarded(path, lambda: _matrix(pa, path, table[vector], vector))
    metadata = {}
    for key, value in (table.schema.metadata or {}).items():
        if key in (b"model", b"dims"):
            metadata[key.decode()] = value.decode("utf-8", "replace")
    column = table[text]

    def read_words() -> tuple[str, ...]:
        if held is not None:
            held.refuse_changed()
        return _words(path, column, text)

    return Labeled(path, name, vectors, read_words, metadata)


def _matrix(pa: Any, path: Path, column: Any, name: str) -> NDArray[Any]:
    dims = column.type.list_size if pa.types.is_fixed_size_list(column.type) else None
    blocks: list[NDArray[Any]] = []
    row = 0
    for chunk in column.chunks:
        if len(chunk) == 0:
            continue
        # Offsets of lists are all looked at; of lists of one size, only that the buffers reach.
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
        found: list[Any] = column.to_pylist()
        return found

    words = _guarded(path, read)
    if None in words:
        raise FileError(path, f"column {name} has no value here; leave the row out", row=words.index(None))
    return tuple(words)


def write_ipc(
    file: IO[bytes], words: Sequence[str], vectors: NDArray[np.float32], metadata: Mapping[str, str]
) -> None:
    """One record batch, uncompressed, so that it can be mapped."""
    pa = _pyarrow()
    table = _table(pa, words, vectors, metadata)
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, len(words)))


def write_parquet(
    file: IO[bytes], words: Sequence[str], vectors: NDArray[np.float32], metadata: Mapping[str, str]
) -> None:
    """Without a dictionary of values, which float32 vectors only lose by."""
    pa = _pyarrow()
    import pyarrow.parquet as parquet

    parquet.write_table(_table(pa, words, vectors, metadata), file, use_dictionary=False, compression="zstd")


def _table(pa: Any, words: Sequence[str], vectors: NDArray[np.float32], metadata: Mapping[str, str]) -> Any:
    dims = vectors.shape[1]
    text = pa.array(words, pa.string())
    values = pa.array(np.ascontiguousarray(vectors).reshape(-1), pa.float32())
    vector = pa.FixedSizeListArray.from_arrays(values, dims)
    facts = {**metadata, "dims": str(dims)}
    schema = pa.schema([("text", text.type), ("vector", vector.type)], metadata=facts)
    return pa.table([text, vector], schema=schema)
