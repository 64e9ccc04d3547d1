"""Files in which benchmarks of nearest neighbors keep vectors, row numbers and scores.

    .npy                   NumPy: a matrix of real numbers
    .fvecs .ivecs .bvecs   TEXMEX (SIFT, GIST): each row is its length as int32, then its values: float32,
                           int32, uint8
    .fbin .u8bin .i8bin    big-ann: the numbers of rows and columns as uint32, then all values: float32,
    .ibin                  uint8, int8, int32; an .ibin of right answers goes on with float32 distances
    .hdf5 .h5              ann-benchmarks: the matrices train, test, neighbors and distances

All numbers are little-endian. The suffix decides, as most of these files have nothing to be recognized by.
Only what is used is read: a matrix is mapped into memory, or reads a slice of rows when it is asked for one.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .._checks import MAX_DIMS
from ..labels import enumerated, quoted
from . import npy
from .errors import FileError
from .ordinary import Held, mapping

Array = NDArray[Any]

_SHOWN = 5  # names in an error

ROLES = ("vectors", "queries", "answers", "scores")
"""What a file is read for."""
DATASETS = dict(zip(ROLES, ("train", "test", "neighbors", "distances"), strict=True))
"""The matrices of an HDF5 file of ann-benchmarks, by role."""


class Matrix(Protocol):
    """A two-dimensional array, or what reads one from a file."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __getitem__(self, rows: slice) -> Array: ...


def read(path: str | os.PathLike[str], role: str = "vectors") -> Matrix:
    """The matrix of a file.

    Args:
        path: the file; its suffix says its format.
        role: one of ``ROLES``: which matrix of a file that has several.

    Raises:
        FileError: (a ValueError) if the suffix is unknown, or the file is damaged, cut short, a pipe or a
            device; the message names the row or the byte, and what to do. Rows of .fvecs, .ivecs and .bvecs
            are checked when they are read.
        FileNotFoundError: if the file does not exist.
        ModuleNotFoundError: if the file is HDF5 and h5py is not installed.

    Example:
        >>> import numpy as np, os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "two.fvecs")
        >>> with open(path, "wb") as file:
        ...     for row in ([1, 2], [3, 4]):
        ...         _ = file.write(np.int32(2).tobytes() + np.float32(row).tobytes())
        >>> read(path)[0:2].tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise FileError(path, f"its suffix is none of {', '.join(READERS)}; name it by its format")
    matrix = reader(path, role)
    if role == "answers" and matrix.dtype.kind not in "iu":
        raise FileError(path, f"holds {matrix.dtype.name}; answers are integers, the numbers of rows")
    return matrix


def _npy(path: Path, _role: str) -> Matrix:
    return npy.matrix(path)


class Records:
    """The matrix of a file whose rows begin with their length."""

    def __init__(self, path: Path, records: Array, dtype: np.dtype[Any]) -> None:
        self._path, self._records = path, records
        self.dtype = dtype
        self.shape = len(records), (records.shape[1] - 4) // dtype.itemsize

    def __getitem__(self, rows: slice) -> Array:
        records = self._records[rows]
        lengths = records[:, :4].view("<i4")[:, 0]
        bad = np.flatnonzero(lengths != self.shape[1])
        if len(bad):
            row = range(*rows.indices(self.shape[0]))[bad[0]]
            problem = f"{lengths[bad[0]]} values, and row 0 has {self.shape[1]}; {_AGAIN}"
            raise FileError(self._path, problem, row=row)
        return records[:, 4:].view(self.dtype)


_AGAIN = "fetch or make the file again"


def _records(kind: str) -> Callable[[Path, str], Matrix]:
    dtype = np.dtype(kind)

    def read_records(path: Path, _role: str) -> Matrix:
        held = Held(path)
        size = held.identity.size
        with held.file() as file:
            head = file.read(4)
            if len(head) < 4:
                raise FileError(path, f"{size} bytes long, without a row; {_AGAIN}")
            dims = int.from_bytes(head, "little", signed=True)
            _check_width(path, dims)
            each = 4 + dims * dtype.itemsize
            if size % each:
                whole = f"{size // each:,} rows of {dims} {dtype.name} and a part of one"
                raise FileError(path, f"{size} bytes long, which are {whole}; {_AGAIN}", byte=size)
            return Records(path, _mapped(path, file, np.dtype(np.uint8), 0, (size // each, each)), dtype)

    return read_records


def _check_width(path: Path, dims: int) -> None:
    if not 1 <= dims <= MAX_DIMS:
        problem = f"rows of {dims} values, where 1 to {MAX_DIMS:,} are possible; is its suffix right?"
        raise FileError(path, problem, byte=0)


def _mapped(path: Path, file: Any, dtype: np.dtype[Any], offset: int, shape: tuple[int, int]) -> Array:
    with mapping(path):
        return np.memmap(file, dtype, "r", offset, shape).view(np.ndarray)


def _counted(kind: str) -> Callable[[Path, str], Matrix]:
    dtype = np.dtype(kind)

    def read_counted(path: Path, role: str) -> Matrix:
        held = Held(path)
        size = held.identity.size
        with held.file() as file:
            head = file.read(8)
            if len(head) < 8:
                raise FileError(path, f"{size} bytes long, without the numbers of rows and columns; {_AGAIN}")
            rows, dims = (int.from_bytes(head[at : at + 4], "little") for at in (0, 4))
            _check_width(path, dims)
            values = rows * dims * dtype.itemsize
            sizes = [8 + values]
            if kind == "<i4":  # right answers, with their distances
                sizes.append(8 + 2 * values)
            if size not in sizes:
                need = " or ".join(map(str, sizes))
                problem = f"{size} bytes long, but {rows:,} rows of {dims} {dtype.name} need {need}; {_AGAIN}"
                raise FileError(path, problem, byte=size)
            if rows == 0:
                return np.empty((0, dims), dtype)
            if role == "scores" and kind == "<i4":
                if size == sizes[0]:
                    raise FileError(path, "holds no distances after the numbers of rows; give another file")
                return _mapped(path, file, np.dtype("<f4"), 8 + values, (rows, dims))
            return _mapped(path, file, dtype, 8, (rows, dims))

    return read_counted


def _hdf5(path: Path, role: str) -> Matrix:
    h5py = hdf5_library()
    Held(path)  # an ordinary file
    with _reading(path, "not an HDF5 file that h5py reads"):
        file = h5py.File(path, "r")
        name = DATASETS[role]
        found = file.get(name)
        if not isinstance(found, h5py.Dataset):
            names = enumerated(map(quoted, itertools.islice(file, _SHOWN)), len(file)) or "nothing"
            raise FileError(path, f"has no matrix {name!r}, which its {role} would be; it has {names}")
        if found.ndim != 2 or found.dtype.kind not in "fiu" or found.dtype.itemsize > 8:
            what = ascii(f"{found.dtype} of shape {found.shape}")[1:-1][:120]
            raise FileError(path, f"{name!r} is {what}, not a matrix of real numbers; write one")
        _check_width(path, found.shape[1])
        return _Dataset(path, found)


@contextmanager
def _reading(path: Path, problem: str, row: int | None = None) -> Iterator[None]:
    """Turn any error of h5py about a damaged file, which may be of any kind, into a FileError."""
    try:
        yield
    except (FileError, MemoryError):
        raise
    except Exception as error:
        reason = ascii(str(error).partition("\n")[0])[1:-1][:200]
        raise FileError(path, f"{problem} ({reason}); {_AGAIN}", row=row) from error


class _Dataset:
    """The matrix of a dataset in an HDF5 file, which stays open as long."""

    def __init__(self, path: Path, dataset: Any) -> None:
        self._path, self._dataset = path, dataset
        self._file = dataset.file
        self.shape, self.dtype = dataset.shape, dataset.dtype

    def __getitem__(self, rows: slice) -> Array:
        with _reading(self._path, "cannot be read", rows.indices(self.shape[0])[0]):
            read_rows: Array = self._dataset[rows]
        return read_rows


def hdf5_library() -> Any:
    """The module h5py.

    Raises:
        ModuleNotFoundError: it is not installed; the message names the extra.
    """
    try:
        import h5py
    except ModuleNotFoundError as error:
        if error.name != "h5py":
            raise
        raise ModuleNotFoundError(
            "HDF5 needs the package h5py: pip install 'fastvec[hdf5]'", name="h5py"
        ) from None
    return h5py


READERS: Mapping[str, Callable[[Path, str], Matrix]] = MappingProxyType(
    {
        ".npy": _npy,
        ".fvecs": _records("<f4"),
        ".ivecs": _records("<i4"),
        ".bvecs": _records("u1"),
        ".fbin": _counted("<f4"),
        ".u8bin": _counted("u1"),
        ".i8bin": _counted("i1"),
        ".ibin": _counted("<i4"),
        ".hdf5": _hdf5,
        ".h5": _hdf5,
    }
)
