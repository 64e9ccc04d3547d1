"""User input to canonical arrays and plain values; every user mistake is found and named.

A *canonical matrix* is float32, two-dimensional, with contiguous rows (rows themselves
may be any distance apart). What is already so is used in place; float16, float64,
integers, other byte orders and other strides become a C-contiguous copy.

Arrays of other libraries: ``_arrays.py``; numbers of rows: ``_row_numbers.py``.
"""

import operator
import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _arrays
from .kernels import rows, settings, threads
from .kernels.compile import default_mode

Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]

MAX_DIMS = 131_072
MOST = float(np.finfo(np.float32).max)


def matrix(value: object, name: str, *, one_row: bool = False) -> Float32:
    """A canonical matrix, not yet checked for NaN; a single row becomes (1, dims) if ``one_row``."""
    return to_float32(two_dimensional(_arrays.any_array(value, name), name, one_row=one_row), name)


def two_dimensional(array: Array, name: str, *, one_row: bool = False) -> Array:
    """Rows of 1 to ``MAX_DIMS`` columns."""
    if array.ndim == 1 and one_row:
        array = array.reshape(1, array.shape[0])
    if array.ndim != 2:
        shapes = "(m, dims) or (dims,)" if one_row else "(n, dims)"
        raise ValueError(f"{name} has shape {array.shape}; it must be {shapes}")
    if not 1 <= array.shape[1] <= MAX_DIMS:
        raise ValueError(f"{name} has {array.shape[1]} dimensions; it must have 1 to {MAX_DIMS:,}")
    return array


def to_float32(array: Array, name: str) -> Float32:
    """A two-dimensional array of real numbers as a canonical matrix."""
    check_real(array, name)
    native = array.dtype.newbyteorder("=")
    if native == np.float32 and array.dtype.isnative and array.strides[1] == 4:
        return array
    if native == np.float64:
        wide = array if array.dtype.isnative else array.astype(native)
        target = np.empty(array.shape, np.float32)
        bad = rows.round_to_float32(wide, target, threads.get_num_threads())
        if bad >= 0:
            raise ValueError(f"{name}, row {bad}: {_beyond_float32(wide[bad])}")
        return target
    # Exact for float16; integers are rounded, and none of them is a subnormal.
    return np.ascontiguousarray(array.astype(np.float32))


def _beyond_float32(row: Array) -> str:
    """Why a float64 row is no float32 row, in words."""
    if (np.abs(row[np.isfinite(row)]) > MOST).any():
        return "a value is too large for float32, in which fastvec computes; divide the row by a constant"
    return (
        "all its values are too small for float32, in which fastvec computes, and would become zero; "
        "multiply the row by a constant"
    )


def check_real(array: Array, name: str) -> None:
    """Only float16, float32, float64 and integers are vectors."""
    kind = array.dtype.kind
    if kind not in "fiu" or array.dtype.itemsize > 8:
        raise TypeError(
            f"{name} has dtype {array.dtype}; it must be float16, bfloat16, float32, float64 or an integer "
            "type: .astype(np.float32) makes it one if its values are numbers"
        )


def check_finite(array: Float32, name: str, num_threads: int) -> None:
    """Name the first row of a canonical matrix that holds NaN or inf."""
    refuse_row(rows.first_not_finite(array, num_threads), array, name)


def refuse_row(bad: int, array: Any, name: str) -> None:
    """Raise for row number ``bad``, of an array here or on a device, that is not finite; −1 is none."""
    if bad >= 0:
        row = array[bad] if isinstance(array, np.ndarray) else array[bad].copy_to_host()
        what = "NaN" if np.isnan(row).any() else "inf"
        raise ValueError(f"{name}, row {bad}: {what}; all values must be finite")


def same_width(queries: Array, dims: int, queries_name: str, name: str) -> None:
    """Both matrices must have equally many columns."""
    if queries.shape[1] != dims:
        raise ValueError(
            f"{queries_name} has {queries.shape[1]} dimensions and {name} has {dims}; they must agree"
        )


def whole_number(value: object, name: str, least: int, most: int | None = None) -> int:
    """An integer, not a bool, in a range."""
    number = _integer(value)
    if number is not None and least <= number and (most is None or number <= most):
        return number
    allowed = f"a whole number of at least {least}" + (f" and at most {most:,}" if most is not None else "")
    if number is None:
        raise TypeError(f"{name} is {_shown(value)} ({type(value).__name__}); it must be {allowed}")
    raise ValueError(f"{name} is {_shown(number)}; it must be {allowed}")


def _integer(value: Any) -> int | None:
    """A value as a plain integer, or None if it is a bool or not an integer."""
    if type(value) is int:
        return value
    if isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool"):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _shown(value: object) -> str:
    """A value in an error, however large it is."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"{'−' if value < 0 else ''}2 to the power of {value.bit_length() - 1} or more"
    return _short.repr(value)


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80


def score(value: Any, name: str) -> np.float32:
    """A number, ±inf included, as float32."""
    kind = str(getattr(value, "dtype", "float")).rpartition(".")[2]
    real = kind.startswith(("float", "bfloat", "int", "uint")) and np.ndim(value) == 0
    if isinstance(value, bool) or not real or not hasattr(value, "__float__"):
        raise TypeError(f"{name} is {_shown(value)} ({type(value).__name__}); it must be a number")
    with default_mode():
        try:
            number = np.float32(float(value))
        except OverflowError:  # of an integer beyond float64
            number = np.float32(np.inf if value > 0 else -np.inf)
    if np.isnan(number):
        raise ValueError(f"{name} is NaN; it must be a number or ±inf")
    return number


def flag(value: object, name: str) -> bool:
    """True or False."""
    if value is True or value is False:
        return value
    if isinstance(value, bool | np.bool_ | int | np.integer) and value in (0, 1):
        return bool(value)
    raise TypeError(f"{name} is {_shown(value)} ({type(value).__name__}); it must be True or False")


def one_of(value: object, name: str, allowed: Sequence[str]) -> str:
    """A string out of a few; the very one that is listed, whatever kind of string it was given as."""
    for known in allowed:
        if isinstance(value, str) and value == known:
            return known
    raise ValueError(f"{name} is {_shown(value)}; it must be one of {', '.join(map(repr, allowed))}")


def device(value: object) -> str:
    """A place to compute, which must be there."""
    name = one_of(value, "device", ("cpu", "cuda"))
    if name == "cuda":
        from .kernels.cuda import device as cuda

        reason = cuda.why_not()
        if reason is not None:
            raise RuntimeError(f"device='cuda' cannot be used here ({reason}); available: 'cpu'")
    return name


def num_threads(value: object) -> int:
    """Threads of one call; None is the process's setting."""
    if value is None:
        return threads.get_num_threads()
    return whole_number(value, "num_threads", 1, settings.MOST_THREADS)


def prefix(dims: object, width: int) -> int:
    """Number of leading dimensions to use; None is all."""
    return width if dims is None else whole_number(dims, "dims", 1, width)


def out(array: object, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> Array:
    """The caller's array for a result."""
    dtype = np.dtype(dtype)
    if not isinstance(array, np.ndarray):
        raise TypeError(f"out is a {type(array).__name__}; it must be a NumPy array")
    if (
        array.dtype != dtype
        or array.shape != shape
        or not array.flags.c_contiguous
        or not array.flags.writeable
    ):
        kind = "" if array.flags.c_contiguous else ", not C-contiguous"
        kind += "" if array.flags.writeable else ", read-only"
        raise ValueError(
            f"out is {array.dtype} {array.shape}{kind}; it must be {dtype} {shape}, C-contiguous and writable"
        )
    return array


def apart(array: Array, *others: tuple[str, Array], same: bool = False) -> None:
    """``out`` must not overlap an input that is read after it is written; it may be the ``same``."""
    for name, other in others:
        if same and array.ctypes.data == other.ctypes.data and array.strides == other.strides:
            continue
        if np.may_share_memory(array, other):
            raise ValueError(f"out overlaps {name}; give it memory of its own")
