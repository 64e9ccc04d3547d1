"""The vectors in NumPy's ``.npy``, the words beside it in ``.texts.jsonl``, and the metadata in
``.meta.json``: ``{"format": "fastvec metadata", "shape": [rows, dims], "metadata": {"model": ...}}``.

Many programs write ``.meta.json`` files; one that does not begin as fastvec's do is neither read nor
replaced.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._checks import MAX_DIMS, shown
from . import json_lines
from .atomic import await_writer, left_over, put_back, replacing_together
from .errors import FileError
from .labeled import Labeled, WordsAre
from .ordinary import Held, Identity, mapping, open_ordinary
from .streams import Rows

MAGIC = b"\x93NUMPY"
WORDS, METADATA = ".texts.jsonl", ".meta.json"
FORMAT = "fastvec metadata"
BLOCK_BYTES = 1 << 24
_ATTEMPTS = 100
_OURS = re.compile(rb'\s*\{\s*"format"\s*:\s*"%s"' % FORMAT.encode())
HEADER_BYTES = 128
"""Of files that are written row by row."""
_HEAD_BYTES, _MOST_BYTES = 1 << 16, 1 << 24


class Header(NamedTuple):
    """The header of a ``.npy`` file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    offset: int
    """The byte at which the array begins."""


def header(path: Path, file: IO[bytes]) -> Header:
    """Read a header with NumPy's own reader, which evaluates no code. The caller must check the result."""
    file.seek(0)
    try:
        version = np.lib.format.read_magic(file)
        # The third version differs only in the encoding of field names, which a matrix does not have.
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
            (3, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(file)
    except OSError:
        raise
    except Exception as error:  # NumPy can raise anything if the header cannot be read
        reason = ascii(str(error).strip().partition("\n")[0])[1:-1][:200]
        raise FileError(
            path, f"not a .npy file that NumPy reads ({reason}); write it again", byte=0
        ) from error
    return Header(dtype, shape, fortran, file.tell())


def read(path: Path, limit: int | None, errors: str) -> Labeled:
    """Vectors of any real dtype, mapped into memory; words are read on first use.

    All files are opened now, so that their content stays the same even if other files take their names.
    """
    beside, about = _companions(path)
    held, held_words, record = _held(path, beside, about)
    array = _mapped(held)
    metadata = _metadata(about, record, array.shape)

    def read_words() -> tuple[str, ...]:
        if held_words is None:
            raise FileError(
                beside,
                f"missing, perhaps because a write was interrupted; write {path.name} again, "
                "or put its words there, one JSON string per line",
            )
        data = held_words.read()
        held.refuse_changed()
        words = json_lines.load(beside, data)
        if len(words) != len(array):
            raise FileError(
                beside,
                f"{len(words)} words, but {path.name} has {len(array)} vectors; the numbers must agree",
            )
        return words[:limit]

    words_are: WordsAre = "different" if held_words is None else "unchecked"
    return Labeled(path, "npy", array[:limit], read_words, metadata, words_are=words_are)


def _companions(path: Path) -> tuple[Path, Path]:
    """The files of the words and of the metadata."""
    if not path.name:  # the current folder, or the root
        raise FileError(path, "a folder; give an ordinary file")
    return path.with_suffix(WORDS), path.with_suffix(METADATA)


def _held(path: Path, words: Path, about: Path) -> tuple[Held, Held | None, bytes]:
    """Open vectors, words and metadata that belong together: none was replaced before all were open.

    A writer removes the words first and puts them in place last. If it was killed in between, what is missing
    is where it left it.
    """
    place, facts = words, about
    for attempt in range(_ATTEMPTS):
        held, held_words = Held(path), None
        try:
            held_words = Held(place)
        except FileNotFoundError:  # the error is raised when the words are used
            if attempt == 0:
                await_writer(Path(os.path.realpath(path)).parent)
                continue
            if attempt == 1 and (left := left_over(words, path)):
                place = left
                facts = about if about.exists() else left_over(about, path) or about
                continue
        data = _metadata_bytes(facts)
        now = [_identity(path), _identity(place)]
        belong = place is words or left_over(words, path) == place
        if belong and now == [held.identity, held_words and held_words.identity]:
            return held, held_words, data
        place, facts = words, about
    raise FileError(path, "is being replaced again and again; open it when nothing writes it")


def _identity(path: Path) -> Identity | None:
    try:
        return Identity.of(os.stat(path))
    except FileNotFoundError:
        return None


def _metadata_bytes(about: Path) -> bytes:
    """The bytes of the metadata file; empty if it does not exist or another program wrote it."""
    try:
        with open_ordinary(about) as file:
            head = file.read(_HEAD_BYTES)
            return head + file.read(_MOST_BYTES) if _OURS.match(head) else b""
    except FileNotFoundError:
        return b""


def _metadata(about: Path, data: bytes, shape: tuple[int, ...]) -> dict[str, str]:
    """The checked metadata in these bytes, for a matrix of this shape."""
    if not data:
        return {}
    if len(data) > _MOST_BYTES:
        raise FileError(about, f"larger than {_MOST_BYTES:,} bytes; {_MEND}")
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FileError(about, f"not JSON ({error}); {_MEND}") from error
    metadata = record.get("metadata")
    if record.keys() != {"format", "shape", "metadata"} or not isinstance(metadata, dict):
        raise FileError(about, f"it must have exactly format, shape and metadata (an object); {_MEND}")
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise FileError(about, f"{shown(key)} is a {type(value).__name__}, not a text; {_MEND}")
    if record["shape"] != list(shape):
        raise FileError(
            about,
            f"it belongs to a matrix of shape {shown(record['shape'])}, but the matrix beside it has "
            f"shape {list(shape)}; write both again, or remove it to go without metadata",
        )
    return metadata


_MEND = "the file is damaged; restore it from a copy, or remove it to go without metadata"


def matrix(path: Path) -> NDArray[Any]:
    """The matrix of real numbers in a file, mapped into memory."""
    return _mapped(Held(path))


def _mapped(held: Held) -> NDArray[Any]:
    """The array of a file, mapped into memory."""
    dtype, (rows, dims), fortran, offset = checked_header(held)
    if rows == 0:
        return np.empty((rows, dims), dtype)
    with held.file() as file, mapping(held.path):
        mapped = np.memmap(file, dtype, "r", offset, (rows, dims), "F" if fortran else "C").view(np.ndarray)
    return mapped if mapped.flags.aligned else np.array(mapped)


def checked_header(held: Held) -> Header:
    """The header of a file that holds a matrix of real numbers, and as many as it says."""
    path, size = held.path, held.identity.size
    with held.file() as file:
        read = header(path, file)
    dtype, shape, _, offset = read
    if dtype.hasobject:
        raise FileError(path, "holds Python objects, which are never opened; write numbers", byte=0)
    if dtype.kind not in "fiu" or dtype.itemsize > 8 or dtype.subdtype or len(shape) != 2:
        what = ascii(f"{dtype} of shape {shape}")[1:-1][:120]
        raise FileError(path, f"does not hold a matrix of real numbers ({what}); write one", byte=0)
    rows, dims = shape
    if rows < 0 or not 0 <= dims <= MAX_DIMS:
        raise FileError(path, f"{rows} rows of {dims} values; 0 to {MAX_DIMS:,} are possible", byte=0)
    needed = offset + rows * dims * dtype.itemsize
    if size != needed:
        says = f"{rows} rows of {dims} {dtype} need {needed}"
        raise FileError(path, f"{size} bytes long, but {says}; fetch or make it again", byte=size)
    if dims == 0:
        raise FileError(path, "its rows hold no values; write a matrix", byte=0)
    return read


def write(
    path: Path,
    words: Rows[str],
    vectors: NDArray[np.float32],
    metadata: Mapping[str, str],
    _columns: Mapping[str, Any],
) -> None:
    """Write vectors, words and metadata; all are made before any old file is replaced."""
    with replacing(path, metadata) as (new_vectors, new_words):
        with open(new_words, "xb") as file:
            for lines in json_lines.blocks_of(words):
                file.write(lines)
        with open(new_vectors, "xb") as file:
            write_array(file.write, [vectors])


@contextmanager
def replacing(path: Path, metadata: Mapping[str, str]) -> Iterator[tuple[Path, Path]]:
    """Paths at which to make a matrix and its words, which then replace the old files together.

    ``metadata`` is written with them; if it is empty, an old metadata file of fastvec is removed.

    Raises:
        FileExistsError: as ``refuse_foreign``.
    """
    put_back(path)  # which refuses a folder
    words, about = _companions(path)
    refuse_foreign(path, metadata=bool(metadata))
    if metadata:
        others, gone = [words, about], []
    else:
        others, gone = [words], [about] if about.exists() and _is_ours(about) else []
    with replacing_together(path, others, gone) as (new_vectors, new_words, *new_about):
        yield new_vectors, new_words
        for place in new_about:
            with open(new_vectors, "rb") as file:
                shape = header(path, file).shape
            record = {"format": FORMAT, "shape": shape, "metadata": dict(metadata)}
            place.write_bytes(json.dumps(record, ensure_ascii=False, indent=2).encode() + b"\n")


def refuse_foreign(path: Path, *, metadata: bool) -> None:
    """Raise the error that ``replacing`` would raise, before the new content is made.

    Raises:
        FileExistsError: if the file with the name of the words does not hold one JSON string per line, or
            the file with the name of the metadata was not written by fastvec and would be replaced.
    """
    words, about = _companions(path)
    if words.exists():
        beside = path.exists()  # then the beginning is checked, else every line
        with open_ordinary(words) as file:
            ours = json_lines.are_words(file.read(_HEAD_BYTES if beside else -1), file.read(1) != b"")
        if not ours:
            raise FileExistsError(
                f"{words} exists {'beside' if beside else 'without'} {path} and does not hold one "
                "JSON string per line, so it is not replaced; move it away or choose another name"
            )
    if metadata and about.exists() and not _is_ours(about):
        raise FileExistsError(
            f"{about} exists and was not written by fastvec, so it is not replaced; "
            "move it away or choose another name"
        )


def _is_ours(about: Path) -> bool:
    with open_ordinary(about) as file:
        return _OURS.match(file.read(_HEAD_BYTES)) is not None


def header_bytes(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The beginning of a file, as long for every number of rows."""
    text = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape}, }}"
    return (
        MAGIC
        + b"\x01\x00"
        + (HEADER_BYTES - 10).to_bytes(2, "little")
        + (text.ljust(HEADER_BYTES - 11).encode() + b"\n")
    )


def write_array(write: Callable[[Any], object], pieces: Sequence[NDArray[Any]]) -> Header:
    """Write rows, given in pieces, as ``np.save`` does (whose error for a full disk has no number)."""
    from ..kernels import reports

    little = pieces[0].dtype.newbyteorder("<")
    shape = (sum(map(len, pieces)), *pieces[0].shape[1:])
    head = io.BytesIO()
    about: Any = {"descr": little.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, about)
    write(head.getbuffer())
    step, done = max(1, BLOCK_BYTES // max(1, pieces[0][:1].nbytes)), 0
    for piece in pieces:
        for start in range(0, len(piece), step):
            rows = piece[start : start + step]
            write(np.ascontiguousarray(rows, little).reshape(-1).view(np.uint8).data)
            done += len(rows)
            reports.tell(done, shape[0])
    return Header(little, shape, False, len(head.getbuffer()))
