"""From user input to canonical arrays and plain values; every mistake is found and named.

A *canonical matrix* is float32, two-dimensional, with contiguous rows (rows themselves
may be any distance apart). An array of this form is used in place; float16, float64,
integers, other byte orders and other strides become a C-contiguous copy.

Single values, without Numba: ``_checks.py``; arrays of other libraries: ``_arrays.py``; numbers of rows:
``_row_numbers.py``.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from . import _arrays
from ._checks import MAX_DIMS, shown
from ._checks import flag as flag  # these four for callers that check arrays, too
from ._checks import one_of as one_of
from ._checks import refuse_row as refuse_row
from ._checks import whole_number as whole_number
from ._pages import linked
from .kernels import rows, settings, threads
from .kernels.compile import default_mode

Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]

_FLOAT32 = np.dtype(np.float32)
MOST = float(np.finfo(np.float32).max)


def matrix(value: object, name: str, *, one_row: bool = False) -> Float32:
    """A canonical matrix, not yet checked for NaN; a single row becomes (1, dims) if ``one_row``."""
    return to_float32(two_dimensional(_arrays.any_array(value, name), name, one_row=one_row), name)


def rows_of(
    value: Any, name: str, *, copy: bool, one_row: bool = False, int8: bool = False
) -> tuple[Float32, bool]:
    """A canonical matrix, and whether nothing else refers to it, which is always so with ``copy``.

    With ``int8``, int8 rows stay int8, and are used in place if their numbers are contiguous.
    """
    array, fresh = _arrays.read(value, name)
    if int8 and array.dtype == np.int8:
        canonical: Any = two_dimensional(array, name, one_row=one_row)
        canonical = canonical if canonical.strides[1] == 1 else np.ascontiguousarray(canonical)
    else:
        canonical = matrix(array, name, one_row=one_row)
    owned = fresh or not np.may_share_memory(canonical, array)
    return (canonical.copy(), True) if copy and not owned else (canonical, owned)


def two_dimensional(array: Array, name: str, *, one_row: bool = False) -> Array:
    """The array as rows of 1 to ``MAX_DIMS`` columns."""
    if array.ndim == 1 and one_row:
        array = array[np.newaxis]
    if array.ndim != 2:
        shapes = "(m, dims) or (dims,)" if one_row else "(n, dims)"
        hint = "; for a single vector, pass [vector]" if array.ndim == 1 else ""
        raise linked(ValueError(f"{name} has shape {array.shape}; it must be {shapes}{hint}"), "shape")
    if not 1 <= array.shape[1] <= MAX_DIMS:
        raise ValueError(f"{name} has {array.shape[1]} dimensions; it must have 1 to {MAX_DIMS:,}")
    return array


def to_float32(array: Array, name: str) -> Float32:
    """A two-dimensional array of real numbers as a canonical matrix."""
    if array.dtype is _FLOAT32 and array.strides[1] == 4:
        return array  # the usual case first
    check_real(array, name)
    native = array.dtype.newbyteorder("=")
    if native == np.float32 and array.dtype.isnative and array.strides[1] == 4:
        return array
    if native == np.float64:
        wide = array if array.dtype.isnative else array.astype(native)
        target = np.empty(array.shape, np.float32)
        bad = rows.round_to_float32(wide, target, threads.get_num_threads())
        if bad >= 0:
            raise linked(ValueError(f"{name}, row {bad}: {_beyond_float32(wide[bad])}"), "range")
        return target
    # Exact for float16; integers are rounded, and none of them is a subnormal.
    return np.ascontiguousarray(array.astype(np.float32))


def _beyond_float32(row: Array) -> str:
    """Why a float64 row cannot become a float32 row, in words."""
    if (np.abs(row[np.isfinite(row)]) > MOST).any():
        return "a value is too large for float32, in which fastvec computes; divide the row by a constant"
    return (
        "all its values are too small for float32, in which fastvec computes, and would become zero; "
        "multiply the row by a constant"
    )


def check_real(array: Array, name: str) -> None:
    """Refuse values that are not float16, float32, float64 or integers."""
    kind = array.dtype.kind
    if kind not in "fiu" or array.dtype.itemsize > 8:
        raise TypeError(
            f"{name} has dtype {array.dtype}; it must be float16, bfloat16, float32, float64 or an integer "
            "type: .astype(np.float32) makes it one if its values are numbers"
        )


def check_finite(array: Float32, name: str, num_threads: int) -> npt.NDArray[np.float64]:
    """Refuse a canonical matrix that holds NaN or inf, naming the first such row; return Σ x² of each."""
    squares = np.empty(len(array))
    refuse_row(rows.all_squares(array, squares, num_threads), array, name)
    return squares


def same_width(queries: Array, dims: int, queries_name: str, name: str) -> None:
    """Refuse queries whose number of columns is not ``dims``."""
    if queries.shape[1] != dims:
        raise ValueError(
            f"{queries_name} has {queries.shape[1]} dimensions and {name} has {dims}; they must agree"
        )


def score(value: Any, name: str) -> np.float32:
    """A number, or ±inf, as float32."""
    number = None
    try:
        kind = str(getattr(value, "dtype", "float")).rpartition(".")[2]
        real = kind.startswith(("float", "bfloat", "int", "uint")) and getattr(value, "ndim", 0) == 0
        if real and hasattr(value, "__float__") and not isinstance(value, bool):
            with default_mode():
                try:
                    number = np.float32(float(value))
                except OverflowError:  # of an integer beyond float64
                    number = np.float32(np.inf if value > 0 else -np.inf)
    except Exception as error:  # a value of another library can raise anything
        raise _arrays.unreadable(value, name, error) from error
    if number is None:
        raise TypeError(f"{name} is {shown(value)} ({type(value).__name__}); it must be a number")
    if np.isnan(number):
        raise ValueError(f"{name} is NaN; it must be a number or ±inf")
    return number


def num_threads(value: object) -> int:
    """The number of threads of a call; None stands for the setting of the process."""
    if value is None:
        return threads.get_num_threads()
    return whole_number(value, "num_threads", 1, settings.MOST_THREADS)


def prefix(dims: object, width: int) -> int:
    """The number of leading dimensions to use; None stands for all."""
    return width if dims is None else whole_number(dims, "dims", 1, width)


def out(array: object, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> Array:
    """The caller's array for a result, as a plain one; refused if it is not of this shape and dtype, or not
    writable."""
    dtype = np.dtype(dtype)
    if not isinstance(array, np.ndarray):
        raise TypeError(f"out is a {type(array).__name__}; it must be a NumPy array")
    if type(array) is not np.ndarray:
        array = np.asarray(array)  # whose shape, strides and items are those of its memory
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
    """Refuse an ``out`` that overlaps an input; with ``same``, it may be the very input."""
    for name, other in others:
        if same and array.ctypes.data == other.ctypes.data and array.strides == other.strides:
            continue
        if np.may_share_memory(array, other):
            raise ValueError(f"out overlaps {name}; give it memory of its own")
