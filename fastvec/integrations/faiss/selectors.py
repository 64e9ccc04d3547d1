"""Which ids take part in a search or a removal: the selectors of faiss."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.int64]


class SearchParameters:
    """The parameters of a search.

    Args:
        sel: the selector of the ids that may be found; None: all.
    """

    def __init__(self, sel: Any = None) -> None:
        self.sel = sel


class IDSelector:
    """A set of ids; a class of your own needs ``is_member`` or ``members``."""

    def members(self, ids: Ids) -> Bools:
        """Whether each of these ids is in the set."""
        return np.array([self.is_member(int(number)) for number in ids], np.bool_)

    def is_member(self, id: int) -> bool:
        """Whether an id is in the set."""
        return bool(self.members(np.array([id], np.int64))[0])


class IDSelectorAll(IDSelector):
    """All ids."""

    def members(self, ids: Ids) -> Bools:
        """True for every one of these ids."""
        return np.ones(len(ids), np.bool_)


class IDSelectorRange(IDSelector):
    """The ids from ``imin`` up to, but without, ``imax``; ``assume_sorted`` changes nothing here."""

    def __init__(self, imin: int, imax: int, assume_sorted: bool = False) -> None:
        self.imin, self.imax, self.assume_sorted = imin, imax, assume_sorted

    def members(self, ids: Ids) -> Bools:
        """Whether each of these ids is in the range."""
        return (ids >= self.imin) & (ids < self.imax)


class IDSelectorBatch(IDSelector):
    """The ids in an array (n,) of integers."""

    def __init__(self, ids: Any) -> None:
        self.ids = as_ids(ids, "ids")

    def members(self, ids: Ids) -> Bools:
        """Whether each of these ids is in the array."""
        return np.isin(ids, self.ids)


class IDSelectorArray(IDSelectorBatch):
    """The ids in an array (n,) of integers."""


class IDSelectorBitmap(IDSelector):
    """The ids whose bit is set in a uint8 array: bit i mod 8, the lowest first, of byte i // 8 for id i."""

    def __init__(self, bitmap: Any) -> None:
        self.bitmap = np.asarray(bitmap)
        if self.bitmap.dtype != np.uint8 or self.bitmap.ndim != 1:
            raise TypeError(
                f"bitmap is {self.bitmap.dtype} {self.bitmap.shape}; it must be uint8 (n,): "
                "np.packbits(mask, bitorder='little') makes one of a mask"
            )

    def members(self, ids: Ids) -> Bools:
        """Whether the bit of each of these ids is set."""
        bits = np.unpackbits(self.bitmap, bitorder="little").view(np.bool_)
        there = (ids >= 0) & (ids < len(bits))
        found = np.zeros(len(ids), np.bool_)
        found[there] = bits[ids[there]]
        return found


class IDSelectorNot(IDSelector):
    """The ids that are not in another set."""

    def __init__(self, sel: Any) -> None:
        self.sel = sel

    def members(self, ids: Ids) -> Bools:
        """Whether each of these ids is outside of the other set."""
        return ~members(self.sel, ids)


class _OfTwo(IDSelector):
    def __init__(self, lhs: Any, rhs: Any) -> None:
        self.lhs, self.rhs = lhs, rhs


class IDSelectorAnd(_OfTwo):
    """The ids that are in both of two sets."""

    def members(self, ids: Ids) -> Bools:
        """Whether each of these ids is in both sets."""
        return members(self.lhs, ids) & members(self.rhs, ids)


class IDSelectorOr(_OfTwo):
    """The ids that are in at least one of two sets."""

    def members(self, ids: Ids) -> Bools:
        """Whether each of these ids is in one of the sets."""
        return members(self.lhs, ids) | members(self.rhs, ids)


class IDSelectorXOr(_OfTwo):
    """The ids that are in exactly one of two sets."""

    def members(self, ids: Ids) -> Bools:
        """Whether each of these ids is in exactly one of the sets."""
        return members(self.lhs, ids) ^ members(self.rhs, ids)


def members(selector: Any, ids: Ids) -> Bools:
    """Whether each id is in the set of a selector, which may be one of faiss."""
    if isinstance(selector, IDSelector):
        return selector.members(ids)
    faiss = sys.modules.get("faiss")
    if faiss is not None and isinstance(selector, faiss.IDSelector):
        return _members_by_faiss(faiss, selector, ids)
    if not callable(getattr(selector, "is_member", None)):
        raise TypeError(f"sel is a {type(selector).__name__}; it must be an IDSelector, here or of faiss")
    return np.array([bool(selector.is_member(int(number))) for number in ids], np.bool_)


def _members_by_faiss(faiss: Any, selector: Any, ids: Ids) -> Bools:
    """``members``, by one search of faiss instead of a call for every id."""
    index = faiss.IndexIDMap(faiss.IndexFlatL2(1))
    index.add_with_ids(np.zeros((len(ids), 1), np.float32), ids)
    parameters = faiss.SearchParameters(sel=selector)
    _, _, found = index.range_search(np.zeros((1, 1), np.float32), 1.0, params=parameters)
    return np.isin(ids, found)


def as_ids(ids: Any, name: str) -> Ids:
    """An array (n,) of integers as int64."""
    array = np.asarray(ids)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise TypeError(f"{name} is {array.dtype} {array.shape}; it must be (n,) integers, or an IDSelector")
    return array.astype(np.int64)
