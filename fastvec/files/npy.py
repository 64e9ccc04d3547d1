"""NumPy's ``.npy`` with the vectors, and beside it the words in ``.texts.jsonl``, as `fastvec embed` does."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import json_lines
from .atomic import await_writer, replacing_pair
from .errors import FileError
from .labeled import Labeled
from .ordinary import Held, Identity

WORDS = ".texts.jsonl"
BLOCK_BYTES = 1 << 24
_ATTEMPTS = 100


class Header(NamedTuple):
    """What a ``.npy`` file says of itself."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    offset: int
    """Where the array begins."""


def header(path: Path, file: IO[bytes]) -> Header:
    """Read a header with NumPy's own reader, which evaluates no code. Nothing in it is trusted yet."""
    file.seek(0)
    try:
        version = np.lib.format.read_magic(file)
        # The third version differs in the encoding of names of fields, and a matrix has none.
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
            (3, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(file)
    except OSError:
        raise
    except Exception as error:  # whatever NumPy raises says that its header cannot be read
        said = ascii(str(error).strip().partition("\n")[0])[1:-1][:200]
        raise FileError(path, f"not a .npy file that NumPy reads ({said}); write it again", byte=0) from error
    return Header(dtype, shape, fortran, file.tell())


def read(path: Path, limit: int | None, errors: str) -> Labeled:
    """Vectors mapped into memory, whatever real dtype they have; words read when asked for.

    Both files are opened now, and stay what they are now if others take their names.
    """
    beside = path.with_suffix(WORDS)
    held, held_words = _held(path, beside)
    array = _mapped(held)

    def read_words() -> tuple[str, ...]:
        if held_words is None:
            raise FileError(
                beside,
                f"missing, which an interrupted write can be the reason of; write {path.name} again, "
                "or put its words there, a JSON string a line",
            )
        data = held_words.read()
        held.refuse_changed()
        words = json_lines.load(beside, data)
        if len(words) != len(array):
            raise FileError(
                beside, f"{len(words)} words, and {path.name} has {len(array)} vectors; they must agree"
            )
        return words[:limit]

    return Labeled(path, "npy", array[:limit], read_words, settled=held_words is None)


def _held(path: Path, beside: Path) -> tuple[Held, Held | None]:
    """Vectors and words of one moment: no others took the vectors' place before the words were opened."""
    for attempt in range(_ATTEMPTS):
        held, held_words = Held(path), None
        try:
            held_words = Held(beside)
        except FileNotFoundError:  # the error comes when they are asked for
            if attempt == 0:
                await_writer(Path(os.path.realpath(path)).parent)
                continue
        if Identity.of(os.stat(path)) == held.identity:
            return held, held_words
    raise FileError(path, "is being replaced all the time; open it when nobody writes it")


def _mapped(held: Held) -> NDArray[Any]:
    """The array of a file."""
    from .._arguments import MAX_DIMS

    path, size = held.path, held.identity.size
    with held.file() as file:
        dtype, shape, fortran, offset = header(path, file)
        if dtype.hasobject:
            raise FileError(path, "holds Python objects, which are never opened; write numbers", byte=0)
        if dtype.kind not in "fiu" or dtype.itemsize > 8 or dtype.subdtype or len(shape) != 2:
            what = ascii(f"{dtype} of shape {shape}")[1:-1][:120]
            raise FileError(path, f"holds no matrix of real numbers ({what}); write one", byte=0)
        rows, dims = shape
        if rows < 0 or not 0 <= dims <= MAX_DIMS:
            raise FileError(path, f"{rows} rows of {dims} values; 0 to {MAX_DIMS:,} are possible", byte=0)
        needed = offset + rows * dims * dtype.itemsize
        if size != needed:
            says = f"{rows} rows of {dims} {dtype} need {needed}"
            raise FileError(path, f"{size} bytes long, and {says}; fetch or make it again", byte=size)
        if dims == 0:
            raise FileError(path, "its rows hold no values; write a matrix", byte=0)
        if rows == 0:
            return np.empty((rows, dims), dtype)
        mapped = np.memmap(file, dtype, "r", offset, (rows, dims), "F" if fortran else "C").view(np.ndarray)
    return mapped if mapped.flags.aligned else np.array(mapped)


def write(
    path: Path, words: Sequence[str], vectors: NDArray[np.float32], metadata: Mapping[str, str]
) -> None:
    """Vectors and words, both made before either replaces what is there."""
    data = json_lines.dump(words)
    with replacing_pair(path, path.with_suffix(WORDS)) as (new_vectors, new_words):
        new_words.write_bytes(data)
        with open(new_vectors, "xb") as file:
            write_array(file.write, [vectors])


def write_array(write: Callable[[Any], object], pieces: Sequence[NDArray[Any]]) -> Header:
    """Write rows given in pieces as ``np.save`` does, whose error of a full disk has no number."""
    little = pieces[0].dtype.newbyteorder("<")
    shape = (sum(map(len, pieces)), *pieces[0].shape[1:])
    head = io.BytesIO()
    about: Any = {"descr": little.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, about)
    write(head.getbuffer())
    step = max(1, BLOCK_BYTES // max(1, pieces[0][:1].nbytes))
    for piece in pieces:
        for start in range(0, len(piece), step):
            block = np.ascontiguousarray(piece[start : start + step], little).reshape(-1).view(np.uint8)
            write(block.data)
    return Header(little, shape, False, len(head.getbuffer()))
