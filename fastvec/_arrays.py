"""Arrays of any library as NumPy arrays; every argument that is an array enters here.

A value is recognized by its type and its methods, without importing its library. If NumPy can use an
array in place, it is not copied.
"""

from __future__ import annotations

import itertools
import os
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.ma  # now, while _forks.py watches imports, and not during the first call
import numpy.typing as npt

from .kernels.compile import default_mode

Array = npt.NDArray[Any]

_WITHOUT_NUMPY = ("bfloat16", "float8_", "float6_", "float4_", "int4", "uint4", "int2", "uint2")
"""How the names of types that NumPy lacks begin; float32 holds all of their values exactly."""

_PLAIN = (int, float, complex, str, bytes, list, tuple, range, np.generic)
"""Types of list elements, besides arrays, that NumPy reads correctly."""

_USUAL = frozenset((int, float))
_LISTS = frozenset((list, tuple))

_SINGLE = (str, int, float, np.generic)
"""Types of single values in an array of objects; the others are rows."""

_ON_THE_HOST = (1, 3)
"""DLPack's numbers for memory of this computer: that of the processor, and CUDA's pinned memory."""

_MANY = 64
"""The numbers of a list from which on it pays to pack them."""

_AT_ONCE = 4096
"""The numbers that are packed at a time, where rows are short."""

_FLOATS, _INTEGERS = np.dtype(np.float64), np.dtype(np.int64)

_PROTOCOLS = ("array", "array_interface", "array_struct", "dlpack", "cuda_array_interface")


class Read(NamedTuple):
    """An array, and whether it is certainly a copy to which nothing else refers."""

    array: Array
    fresh: bool


def any_array(value: object, name: str) -> Array:
    """The value of the argument ``name`` as an array; see ``read``."""
    if type(value) is np.ndarray and value.dtype.kind in "fiub" and value.dtype.isbuiltin == 1:
        return value  # the usual case first
    return read(value, name).array


def read(value: Any, name: str) -> Read:
    """The value of the argument ``name`` as an array, without a copy if possible.

    It may be an array of NumPy, PyTorch, JAX, CuPy, pandas, Polars or Arrow, a list of these, or any object
    with DLPack, ``__array__`` or a buffer. Gradients are dropped, arrays on a device are copied to this
    computer's memory, and rows that are objects are stacked. Types that NumPy lacks become float32, exactly.
    The caller has to check the shape and the type.
    """
    if isinstance(value, np.ndarray):
        if type(value) is not np.ndarray:
            _refuse_masked(value, name)
            value = np.asarray(value)
        return _readable(value, value, name, fresh=False)
    # Conversions may compute, and this thread may flush subnormals to zero.
    with default_mode():
        if isinstance(value, list | tuple):
            return Read(_stacked(held(value), name), True)
        return _of_another_library(value, name)


def _of_another_library(value: Any, name: str) -> Read:
    """``read`` for values that are neither NumPy arrays nor lists."""
    try:
        instead = _instead_of(value)
        if hasattr(getattr(value, "dtype", None), "pyarrow_dtype"):  # a column of pandas that Arrow holds
            value = getattr(value, "array", value).__arrow_array__()
    except Exception as error:
        raise unreadable(value, name, error) from error
    if instead is not None:
        raise TypeError(f"{name} is {_kind(value)}; {instead}")
    if _is_arrow(value):
        return _of_arrow(value, name)
    if callable(getattr(value, "as_py", None)):  # a scalar of Arrow
        try:
            plain = value.as_py()
        except Exception as error:
            raise unreadable(value, name, error) from error
        if hasattr(plain, "as_py"):
            raise TypeError(f"{name} is {_kind(value)}, whose value is no plain one; give a NumPy array")
        return read(plain, name)
    _refuse_nulls(value, name)
    try:
        host_array, fresh = _on_the_host(value)
        array = _foreign(host_array)
    except MemoryError as error:
        raise MemoryError(f"{name} is {_kind(value)}, for which there is not enough memory") from error
    except Exception as error:
        raise unreadable(value, name, error) from error
    return _readable(array, value, name, fresh=fresh)


def unreadable(value: Any, name: str, error: Exception) -> TypeError:
    """The error for an object of another library, which can raise anything."""
    return TypeError(
        f"{name} is {_kind(value)}, which cannot be read as an array "
        f"({_said(error)}); give a NumPy array in this computer's memory"
    )


def held(rows: Sequence[Any]) -> Sequence[Any]:
    """What a list or tuple holds, whatever its class says of it."""
    if type(rows) is list or type(rows) is tuple:
        return rows
    kind: Any = list if issubclass(type(rows), list) else tuple
    if not issubclass(type(rows), kind):
        raise TypeError(f"{_kind(rows)} says that it is a list or tuple, and is none; give a list")
    plain: Sequence[Any] = kind.__getitem__(rows, slice(None))
    return plain


def runs(value: Any, name: str) -> Sequence[Any] | Array:
    """A container whose entries may differ in length as a list or tuple of them; any other as an array."""
    if isinstance(value, list | tuple):
        return held(value)
    if _is_arrow(value):
        _refuse_nulls(value, name)
        return list(value.to_pylist())
    if issubclass(type(value), np.ndarray):
        return list(value) if value.dtype == object and value.ndim == 1 else any_array(value, name)
    try:
        if callable(getattr(value, "to_list", None)):  # a Series
            return list(value.to_list())
    except Exception as error:
        raise unreadable(value, name, error) from error
    return any_array(value, name)


def tensor(value: Any) -> tuple[Any, bool]:
    """A tensor of PyTorch, in the memory where it is, without gradients and with a type that NumPy has.

    Any other value is returned unchanged. The second result says whether it is a copy.
    """
    if not callable(getattr(value, "detach", None)):
        return value, False
    if getattr(value, "requires_grad", False):
        value = value.detach()
    negated = getattr(value, "is_neg", None)
    if negated is not None and negated():  # a sign that has not been applied yet
        return value.resolve_neg(), True
    if _name_of_type(value).startswith(_WITHOUT_NUMPY):
        return value.float(), True
    return value, False


def _said(error: Exception) -> str:
    """The type and the words of an error of another library, in one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split()):.200}"


def _kind(value: object) -> str:
    """The type of a value in words."""
    if value is None:
        return "None"
    kind = type(value)
    module = str(kind.__module__).partition(".")[0]
    name = kind.__name__ if module in ("builtins", "__main__") else f"{module}.{kind.__name__}"
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _name_of_type(value: Any) -> str:
    """The name of an array's dtype, without that of its library."""
    return str(getattr(value, "dtype", "")).rpartition(".")[2]


def _instead_of(value: Any) -> str | None:
    """A hint what to write instead, if a value is not an array; None if it may be one."""
    if isinstance(value, str | os.PathLike):
        return "it must be an array: np.load and fastvec.files.read read files"
    if isinstance(value, bytes | bytearray):
        return "it must be an array: np.frombuffer makes one of bytes"
    if callable(getattr(value, "fetchnumpy", None)):
        return "name the column of the relation that holds the vectors: write .fetchnumpy()['column']"
    if callable(getattr(value, "read_all", None)):
        return "name the column of the stream that holds the vectors: write .read_all()['column']"
    if callable(getattr(value, "collect", None)):
        return "a lazy frame has to be computed: write .collect()['column']"
    if callable(getattr(value, "toarray", None)):
        return "a sparse matrix has to be made dense: write .toarray()"
    if getattr(value, "layout", None) is not None and str(value.layout).startswith("torch.sparse"):
        return "a sparse tensor has to be made dense: write .to_dense()"
    if getattr(value, "is_quantized", False) is True:
        return "a quantized tensor has to be converted to numbers: write .dequantize()"
    attributes = getattr(value, "__dict__", ())
    names = [f"__{protocol}__" for protocol in _PROTOCOLS]
    if any(hasattr(type(value), name) or name in attributes for name in names):
        return None
    if isinstance(value, Mapping):
        return "it must be an array: write list(….values()) for the values of a mapping"
    ordered = hasattr(type(value), "__getitem__") or isinstance(value, memoryview)
    if isinstance(value, Iterator) or (isinstance(value, Iterable) and not ordered):
        return "it must be an array: write list(…) to gather what it yields"
    return None if value is not None else "it must be an array of numbers"


def _refuse_masked(array: Array, name: str) -> None:
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise TypeError(f"{name} has masked values; fill them or leave their rows out")


def _refuse_nulls(value: Any, name: str) -> None:
    """Refuse a column with nulls, if its library counts them."""
    count = getattr(value, "null_count", None)
    try:
        count = count() if callable(count) else count
    except Exception as error:
        raise unreadable(value, name, error) from error
    if isinstance(count, int) and count > 0:
        raise ValueError(f"{name} has nulls ({count}); fill them or leave their rows out")


def _on_the_host(value: Any) -> tuple[Any, bool]:
    """An array of another library in this computer's memory, and whether it is a copy."""
    value, fresh = tensor(value)
    device = getattr(value, "__dlpack_device__", None)
    on_the_host = device is None or device()[0] in _ON_THE_HOST
    if on_the_host and not hasattr(value, "__cuda_array_interface__"):
        return value, fresh
    for copy in ("copy_to_host", "cpu", "get"):  # the methods of Numba, PyTorch and CuPy
        if callable(getattr(value, copy, None)):
            return getattr(value, copy)(), True
    if hasattr(value, "__array__"):  # this may copy it, as it does for JAX
        return value, fresh
    raise TypeError("it is on a device")


def _foreign(value: Any) -> Array:
    """An array of another library, by DLPack, ``__array__`` or a buffer."""
    if hasattr(value, "__dlpack__"):
        try:
            return np.from_dlpack(value)
        except (BufferError, RuntimeError, TypeError, ValueError):
            if not hasattr(value, "__array__"):
                raise
    array = np.asanyarray(value)
    _refuse_masked(array, "it")
    _refuse_beyond(array, value)
    return np.asarray(array)


def _refuse_beyond(array: Array, value: Any) -> None:
    """Refuse an array of objects that ``__array_interface__`` names, or with strides out of its buffer.

    NumPy does not look at them, and reading such an array ends the process.
    """
    interface = getattr(value, "__array_interface__", None)
    if array.dtype.hasobject and interface is not None:
        raise TypeError("its __array_interface__ names objects")
    data = interface.get("data") if isinstance(interface, dict) else None
    if data is None or isinstance(data, tuple) or array.size == 0:
        return
    room = np.frombuffer(data, np.uint8)
    steps = [(length - 1) * step for length, step in zip(array.shape, array.strides, strict=True)]
    first = array.ctypes.data - room.ctypes.data + sum(min(0, step) for step in steps)
    last = array.ctypes.data - room.ctypes.data + sum(max(0, step) for step in steps) + array.itemsize
    if first < 0 or last > len(room):
        raise ValueError(f"its strides {array.strides} lead out of its buffer of {len(room)} bytes")


def _readable(array: Array, value: object, name: str, *, fresh: bool) -> Read:
    """The array with a type that NumPy itself has, and with rows that are objects stacked."""
    kind = array.dtype.name if array.dtype.isbuiltin == 2 else ""  # a type that another library added
    if kind == "bfloat16":
        # By bits, which are the upper half of the float32's, so that no floating-point mode matters.
        return Read((array.view(np.uint16).astype(np.uint32) << 16).view(np.float32), True)
    if kind.startswith(_WITHOUT_NUMPY):
        return Read(array.astype(np.float32), True)
    if array.dtype != object:
        return Read(array, fresh)
    if array.ndim == 0:
        raise TypeError(f"{name} is {_kind(value)}; it must be an array of numbers")
    rows = not all(entry is None or isinstance(entry, _SINGLE) for entry in array.flat)
    if rows and (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):  # a frame of one column
        return Read(_stacked(list(array.reshape(-1)), name), True)
    if array is not value and all(map(_is_real, set(map(type, array.flat)))):
        return Read(np.array(array.tolist()), True)  # a frame whose columns may have nulls, but have none
    if array is not value and array.ndim == 2:
        raise TypeError(
            f"{name} is {_kind(value)} with dtype object; fill what is missing, or name the column of vectors"
        )
    return Read(array, fresh)


def _is_real(kind: type) -> bool:
    return issubclass(kind, int | float | np.integer | np.floating) and kind is not bool


def _stacked(rows: Sequence[Any], name: str) -> Array:
    """A list of numbers, or of rows of any kind, as an array."""
    kinds = set(map(type, rows)) - {np.ndarray}
    packed = _packed(rows, kinds)
    if packed is not None:
        return packed
    foreign = not _are_plain(rows, kinds, name)
    if foreign:
        rows = [any_array(row, f"{name}, row {i}") for i, row in enumerate(rows)]
    try:
        array = np.asarray(rows)
    except MemoryError:
        raise
    except ValueError as error:
        raise ValueError(f"{name} is not a matrix: {_unequal(rows) or error}") from error
    except Exception as error:  # rows can raise anything
        raise TypeError(f"{name} cannot be read as an array ({_said(error)}); give a NumPy array") from error
    if array.dtype == object and foreign:
        raise TypeError(f"{name} has dtype object; it must be an array of numbers")
    if array.dtype != object:
        return _readable(array, rows, name, fresh=True).array
    _refuse_none(array, name)
    return array


def _are_plain(rows: Sequence[Any], kinds: set[type], name: str) -> bool:
    """Whether NumPy reads a list correctly: it holds numbers, arrays, or lists of these."""
    if kinds <= _USUAL or (kinds == {list} and _USUAL.issuperset(map(type, itertools.chain(*rows)))):
        return True  # the usual case first
    if any(issubclass(kind, list | tuple) for kind in kinds):
        lists = (held(row) for row in rows if isinstance(row, list | tuple))
        inner = set(map(type, itertools.chain.from_iterable(lists)))
        if any(issubclass(kind, list | tuple) for kind in inner):
            raise ValueError(f"{name} is not a matrix: it holds lists of lists of lists")
        kinds = (kinds | inner) - {np.ndarray, type(None)}
    return all(issubclass(kind, _PLAIN) for kind in kinds)


def _refuse_none(array: Array, name: str) -> None:
    """Refuse rows some of whose values are missing."""
    row = next((row for row, entries in enumerate(array) if None in np.ravel(entries).tolist()), None)
    if row is not None:
        raise ValueError(f"{name} has nulls, the first in row {row}; fill them or leave their rows out")


def _packed(rows: Sequence[Any], kinds: set[type]) -> Array | None:
    """Many numbers, or lists of equally many, as an array, sooner than NumPy does it; None for the rest.

    Packing does less for each number than NumPy does, and refuses what is none.
    """
    if kinds == {float}:
        return np.frombuffer(struct.pack(f"{len(rows)}d", *rows)).copy() if len(rows) >= _MANY else None
    width = len(rows[0]) if kinds and kinds <= _LISTS else 0
    if width * len(rows) < _MANY:
        return None
    try:
        sample = {type(row[0]) for row in rows}.union(map(type, rows[0]))
        if not sample <= _USUAL:
            return None
        code, dtype = ("d", _FLOATS) if float in sample else ("q", _INTEGERS)
        array = np.empty((len(rows), width), dtype)
        if width >= _MANY:
            pack = struct.Struct(f"{width}{code}").pack
            for at, row in enumerate(rows):
                array[at] = np.frombuffer(pack(*row), dtype)
        elif set(map(len, rows)) != {width}:
            return None
        else:
            step, flat = _AT_ONCE // width, array.reshape(-1)
            for start in range(0, len(rows), step):
                numbers = tuple(itertools.chain.from_iterable(rows[start : start + step]))
                first = start * width
                packed = struct.pack(f"{len(numbers)}{code}", *numbers)
                flat[first : first + len(numbers)] = np.frombuffer(packed, dtype)
    except Exception:  # a value can raise anything; NumPy says what is wrong, if anything is
        return None
    return array


def _unequal(rows: Sequence[Any]) -> str | None:
    """A message about the first row whose length differs from that of row 0; None if all are equal."""
    rows = [held(row) if isinstance(row, list | tuple) else row for row in rows]
    lengths = [len(row) if hasattr(row, "__len__") else None for row in rows]
    for i, length in enumerate(lengths):
        if length != lengths[0]:
            words = ["one number" if size is None else f"{size} values" for size in (lengths[0], length)]
            missing = [row for row in (0, i) if isinstance(rows[row], float) and rows[row] != rows[row]]
            if missing:  # pandas' way to say so
                return f"row {missing[0]} is missing (NaN); fill it or leave it out"
            return f"row 0 has {words[0]} and row {i} has {words[1]}"
    return None


def _is_arrow(value: Any) -> bool:
    """Whether a value is an array of pyarrow; if it is, pyarrow is loaded already."""
    if not any(str(kind.__module__).partition(".")[0] == "pyarrow" for kind in type(value).__mro__):
        return False
    arrow = sys.modules["pyarrow"]
    return isinstance(value, arrow.Array | arrow.ChunkedArray)


def _of_arrow(value: Any, name: str) -> Read:
    """A column of Arrow as an array; lists of equal length become rows."""
    _refuse_nulls(value, name)
    chunks = getattr(value, "chunks", None)
    if chunks is None:
        return Read(_of_arrow_array(value, name), False)
    blocks = [_of_arrow_array(chunk, name) for chunk in chunks if len(chunk)]
    if not blocks:
        return Read(np.empty((0, getattr(value.type, "list_size", 0)), np.float32), True)
    if len({block.shape[1:] for block in blocks}) > 1:
        raise ValueError(f"{name} is not a matrix: its lists differ in length")
    return Read(blocks[0], False) if len(blocks) == 1 else Read(np.concatenate(blocks), True)


def _of_arrow_array(value: Any, name: str) -> Array:
    kinds = sys.modules["pyarrow"].types
    value = getattr(value, "storage", value)  # of an extension type, such as tensors of one shape
    kind = value.type
    if not (kinds.is_fixed_size_list(kind) or kinds.is_list(kind) or kinds.is_large_list(kind)):
        array: Array = value.to_numpy(zero_copy_only=False)
        return array
    width = getattr(kind, "list_size", None)
    if width is None:
        lengths = value.value_lengths().to_numpy()
        width = int(lengths[0]) if len(lengths) else 0
        if (lengths != width).any():
            row = int((lengths != width).argmax())
            raise ValueError(
                f"{name} is not a matrix: row 0 has {width} values and row {row} has {lengths[row]} values"
            )
    values = value.flatten()
    _refuse_nulls(values, name)
    flat = _of_arrow_array(values, name)
    return flat.reshape(len(value), width, *flat.shape[1:])
