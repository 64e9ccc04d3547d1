"""User input to canonical arrays; every user mistake is found and named here.

A *canonical matrix* is float32, two-dimensional, with contiguous rows (rows themselves
may be any distance apart). What is already so is used in place; float16, float64,
integers, other byte orders and other strides become a C-contiguous copy.
"""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.ma  # now, under the watch of kernels.forks, not within the first call
import numpy.typing as npt

from .kernels import rows, threads

Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]

MAX_DIMS = 131_072


def any_array(value: object, name: str) -> Array:
    """An array-like, DLPack exporter or ``__array__`` object as an array, without a copy if possible."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise TypeError(f"{name} has masked values; fill them or leave their rows out")
    if not isinstance(value, np.ndarray) and hasattr(value, "__dlpack__"):
        try:
            return np.from_dlpack(value)
        except (BufferError, RuntimeError, TypeError) as error:
            if not hasattr(value, "__array__"):
                raise TypeError(
                    f"{name} is a {type(value).__name__} that NumPy cannot read through DLPack ({error}); "
                    "give an array in this computer's memory"
                ) from error
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} is not a matrix: its rows differ in length ({error})") from error


def matrix(value: object, name: str, *, one_row: bool = False) -> Float32:
    """A canonical matrix, not yet checked for NaN; a single row becomes (1, dims) if ``one_row``."""
    return to_float32(two_dimensional(any_array(value, name), name, one_row=one_row), name)


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
            raise ValueError(
                f"{name}, row {bad}: a value is too large for float32, in which fastvec computes"
            )
        return target
    # Exact for float16; integers are rounded, and none of them is a subnormal.
    return np.ascontiguousarray(array.astype(np.float32))


def check_real(array: Array, name: str) -> None:
    """Only float16, float32, float64 and integers are vectors."""
    kind = array.dtype.kind
    if kind not in "fiu" or array.dtype.itemsize > 8:
        raise TypeError(
            f"{name} has dtype {array.dtype}; it must be float16, float32, float64 or an integer type"
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
    allowed = f"a whole number of at least {least}" + (f" and at most {most}" if most is not None else "")
    if isinstance(value, bool | np.bool_) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}); it must be {allowed}")
    number = operator.index(value)
    if number < least or (most is not None and number > most):
        raise ValueError(f"{name} is {number}; it must be {allowed}")
    return number


def score(value: Any, name: str) -> np.float32:
    """A number, ±inf included, as float32."""
    if isinstance(value, bool | np.bool_ | str) or np.ndim(value) != 0 or not hasattr(value, "__float__"):
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}); it must be a number")
    number = float(value)
    if number != number:
        raise ValueError(f"{name} is NaN; it must be a number or ±inf")
    with np.errstate(over="ignore"):
        return np.float32(number)


def one_of(value: object, name: str, allowed: Sequence[str]) -> str:
    """A string out of a few."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, allowed))}")
    return value


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
    return threads.get_num_threads() if value is None else whole_number(value, "num_threads", 1)


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


def row_numbers(value: object, name: str, n: int, *, least: int = 0) -> npt.NDArray[np.int64]:
    """Integers from ``least`` to n − 1, of any shape."""
    array = any_array(value, name)
    if array.size == 0:
        return np.zeros(array.shape, np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {array.dtype}; it must be integers")
    low, high = int(array.min()), int(array.max())
    if low < least or high >= n:
        wrong = low if low < least else high
        raise IndexError(f"{name} has {wrong}; it must be from {least} to {n - 1}")
    return array.astype(np.int64)


def allowed_rows(where: object, m: int, n: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """``where`` as a bool a row, and as a bool a query and row; empty arrays stand for all."""
    every, each = np.empty(0, np.bool_), np.empty((0, n), np.bool_)
    if where is None:
        return every, each
    array = any_array(where, "where")
    if array.dtype == np.bool_ and array.ndim in (1, 2):
        if array.shape not in ((n,), (m, n)):
            raise ValueError(
                f"where is bool of shape {array.shape}; with {m} queries and {n} vectors "
                f"it must be ({n},) or ({m}, {n})"
            )
        # Kernels have one version, for arrays that may be written to.
        mask = array if array.flags.carray else array.copy()
        return (mask, each) if array.ndim == 1 else (every, mask)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise TypeError(
            f"where is {array.dtype} {array.shape}; it must be bool ({n},), bool ({m}, {n}), "
            "or row numbers in one dimension"
        )
    mask = np.zeros(n, np.bool_)
    mask[row_numbers(array, "where", n)] = True
    return mask, each


def excluded_rows(
    exclude: Any, m: int, n: int, one_row: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """``exclude`` as offsets (m + 1,) and row numbers, a run for each query; −1 is dropped."""
    if exclude is None:
        return np.zeros(m + 1, np.int64), np.empty(0, np.int64)
    if one_row and np.ndim(exclude) == 1:
        exclude = [exclude]
    if isinstance(exclude, np.ndarray) and exclude.ndim != 2:
        raise ValueError(
            f"exclude has shape {exclude.shape}; it must be ({m}, e), a list of {m} lists, "
            "or one-dimensional with a one-dimensional query"
        )
    try:
        runs = [row_numbers(run, "exclude", n, least=-1).reshape(-1) for run in exclude]
    except TypeError as error:
        raise TypeError(
            f"exclude must be ({m}, e) integers or a list of {m} lists of integers ({error})"
        ) from error
    if len(runs) != m or any(np.ndim(run) == 0 for run in exclude):
        raise ValueError(
            f"exclude has {len(runs)} entries for {m} queries; it must be ({m}, e) or a list of {m} lists"
        )
    runs = [run[run >= 0] for run in runs]
    offsets = np.cumsum([0, *map(len, runs)], dtype=np.int64)
    return offsets, np.concatenate([*runs, np.empty(0, np.int64)])


def questions(
    positive: object, negative: object, n: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], bool]:
    """Analogy questions as offsets (m + 1,), middle (m,), row numbers; and whether there is just one.

    Question i has ``rows[offsets[i]:middle[i]]`` as positive, up to ``offsets[i + 1]`` as negative.
    """
    plus, one = _runs(positive, "positive", n)
    minus, _ = _runs(negative, "negative", n)
    if sum(map(len, minus)) == 0:
        minus = [np.empty(0, np.int64)] * len(plus)
    if len(minus) != len(plus):
        raise ValueError(f"positive has {len(plus)} questions and negative has {len(minus)}; they must agree")
    for i, run in enumerate(plus):
        if len(run) == 0:
            raise ValueError(f"positive, question {i}: empty; a question needs at least one positive input")
    sizes = np.array([(len(a), len(b)) for a, b in zip(plus, minus, strict=True)], np.int64).reshape(-1, 2)
    offsets = np.concatenate([[0], np.cumsum(sizes.sum(axis=1))]).astype(np.int64)
    both = [run for pair in zip(plus, minus, strict=True) for run in pair]
    return offsets, offsets[:-1] + sizes[:, 0], np.concatenate([*both, np.empty(0, np.int64)]), one


def _runs(value: Any, name: str, n: int) -> tuple[list[npt.NDArray[np.int64]], bool]:
    """Row numbers (questions, p), a list of lists, or one list."""
    if isinstance(value, np.ndarray) or not isinstance(value, Sequence) or isinstance(value, str):
        value = any_array(value, name)
        if value.ndim not in (1, 2):
            raise ValueError(f"{name} has shape {value.shape}; it must be (questions, p), lists, or one list")
    one = np.ndim(value[0]) == 0 if len(value) else np.ndim(value) == 1
    if one:
        return [row_numbers(value, name, n)], True
    if any(np.ndim(run) != 1 for run in value):
        raise ValueError(f"{name} mixes row numbers and lists; it must be (questions, p), lists, or one list")
    return [row_numbers(run, name, n) for run in value], False
