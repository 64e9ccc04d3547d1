"""Records as compiled code has them in memory: made once, then passed as one address.

A record that is passed from Python is taken apart at every call, array by array. What many calls share, such
as the codes of an Index, is instead written down once, a word of 64 bits after another:

    number      itself
    array       its address, then its shape; arrays are C-contiguous
    record      its fields
"""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import typeof, types
from numba.np.numpy_support import as_dtype

from .emit import address, function_of, offset, pointer
from .stored import stored

_i64, _f64 = ir.IntType(64), ir.DoubleType()


class Native(NamedTuple):
    """A record that was written down."""

    at: int
    """Where its words are."""
    words: np.ndarray
    record: Any
    """The record itself, whose arrays live as long."""


class Layout:
    """The form of the records of one type; ``example`` makes one of them, of any size."""

    def __init__(self, example: Callable[[], Any]) -> None:
        self._example = example
        self.read = function_of(lambda _: self.type(address), self._load)
        """In compiled code: the record at an address."""

    @stored
    def type(self) -> Any:
        """Numba's type of the records."""
        return typeof(self._example())

    def _load(self, context: Any, builder: Any, _: Any, values: Any) -> Any:
        return _value(context, builder, self.type, values[0], 0)[0]

    def of(self, record: Any) -> Native:
        """A record written down.

        Raises:
            TypeError: if it is not of the type of the example.
        """
        words: list[int] = []
        _write(record, self._form, words)
        memory = np.array(words, np.int64)
        return Native(memory.ctypes.data, memory, record)

    @stored
    def _form(self) -> Any:
        return _form(self.type)


def _form(kind: Any) -> Any:
    """A type as ``_write`` wants it: a list for a record, (dtype, dimensions) for an array, float or int."""
    if isinstance(kind, types.BaseTuple):
        return [_form(field) for field in _fields(kind)]
    if isinstance(kind, types.Array):
        return as_dtype(kind.dtype), kind.ndim
    return float if isinstance(kind, types.Float) else int


def _fields(kind: Any) -> tuple[Any, ...]:
    fields: tuple[Any, ...] = kind.types
    return fields


def _write(value: Any, form: Any, words: list[int]) -> None:
    if isinstance(form, list):
        for field, form_of_field in zip(value, form, strict=True):
            _write(field, form_of_field, words)
    elif isinstance(form, tuple):
        if (value.dtype, value.ndim) != form or not value.flags.c_contiguous:
            raise TypeError(f"a record has an array of {value.dtype} in {value.ndim} dimensions for {form}")
        words += (value.ctypes.data, *value.shape)
    elif form is float:
        words += struct.unpack("q", struct.pack("d", value))
    else:
        words.append(int(value))


def _value(context: Any, builder: Any, kind: Any, at: Any, place: int) -> tuple[Any, int]:
    """Emit the value of a type whose words begin at the ``place``-th of an address; the place behind it."""
    if isinstance(kind, types.BaseTuple):
        fields = []
        for field in _fields(kind):
            value, place = _value(context, builder, field, at, place)
            fields.append(value)
        return context.make_tuple(builder, kind, fields), place
    if isinstance(kind, types.Array):
        return _array(context, builder, kind, at, place), place + 1 + kind.ndim
    word = _word(builder, at, place)
    return builder.bitcast(word, _f64) if isinstance(kind, types.Float) else word, place + 1


def _array(context: Any, builder: Any, kind: Any, at: Any, place: int) -> Any:
    from numba.np.arrayobj import make_array, populate_array  # which compiling alone needs

    data, *shape = (_word(builder, at, place + i) for i in range(1 + kind.ndim))
    size = as_dtype(kind.dtype).itemsize
    strides = [ir.Constant(_i64, size)]
    for length in shape[:0:-1]:
        strides.insert(0, builder.mul(strides[0], length))
    array = make_array(kind)(context, builder)
    element = context.get_data_type(kind.dtype)
    populate_array(array, pointer(builder, data, element), shape, strides, size, None)
    return array._getvalue()


def _word(builder: Any, at: Any, place: int) -> Any:
    return builder.load(pointer(builder, offset(builder, at, 8 * place), _i64))
