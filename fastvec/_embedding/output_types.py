"""The types of numbers that a server can be asked for, and how rows of them are made of its answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._checks import one_of

Row = npt.NDArray[Any]

_SENT: dict[str, npt.DTypeLike] = {"int8": np.int8, "uint8": np.uint8, "binary": np.int8, "ubinary": np.uint8}
_PACKED = ("binary", "ubinary")
_FIELD = "output_dtype"
"""The field of a request that asks for a type, unless the caller names another."""


class OutputType(NamedTuple):
    """One of these types."""

    name: str
    """"float", "int8", "uint8", "binary" or "ubinary"."""
    fields: dict[str, str]
    """What requests say of it."""
    sent: np.dtype[Any]
    """Of the numbers that come."""
    packed: bool = False
    """Whether each of these has eight bits of an embedding."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of rows."""
        return np.dtype(np.int8) if self.packed else self.sent.newbyteorder("=")

    @property
    def marked(self) -> str:
        """What a cache keeps rows of this type apart by."""
        return f"#{self.name}" if self.fields else ""

    @property
    def is_float(self) -> bool:
        """Whether rows are float32."""
        return self.sent.kind == "f"

    @property
    def code(self) -> str:
        """``array.array``'s name of the numbers that come."""
        return self.sent.char

    def row(self, numbers: Row) -> Row:
        """The row of numbers that came."""
        if not self.packed:
            return numbers
        from fastvec.similarity import unpack_bits

        return unpack_bits(numbers)

    def described(self) -> str:
        """What an embedding must be, in words."""
        if self.is_float:
            return "neither base64 of float32 nor a list of numbers"
        field = ", ".join(self.fields)
        return f"neither base64 nor a list of {self.sent} numbers: does the server know the field {field!r}?"


FLOAT = OutputType("float", {}, np.dtype("<f4"))


def checked(asked: str | Mapping[str, str] | None) -> OutputType:
    """What the caller asks for: a type, or the field of a request and the type as its value; None: float32.

    Raises:
        ValueError: the type is unknown, or there is not one field.
    """
    if asked is None:
        return FLOAT
    if isinstance(asked, Mapping):
        if len(asked) != 1 or not all(isinstance(field, str) and field for field in asked):
            raise ValueError(f"output_dtype is {asked!r}; as a mapping, it must have one field of requests")
        fields = dict(asked)
    else:
        fields = {_FIELD: asked}
    (field, value), *_ = fields.items()
    name = one_of(value, "output_dtype", tuple(_SENT))
    return OutputType(name, {field: name}, np.dtype(_SENT[name]), name in _PACKED)
