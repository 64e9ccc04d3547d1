"""Row numbers that callers pass: filters of searches, and the questions of analogies."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ._arrays import any_array, held, runs, unreadable
from ._checks import shown
from .kernels import filters

Int64 = npt.NDArray[np.int64]

_EVERY = np.empty(0, np.bool_)


def row_numbers(value: object, name: str, n: int, *, least: int = 0) -> Int64:
    """The value as int64 row numbers from ``least`` to n − 1, of any shape."""
    array = any_array(value, name)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {array.dtype}; it must be integers")
    return _in_range(array, name, n, least) if array.size else np.zeros(array.shape, np.int64)


def list_of_rows(value: object, name: str, n: int) -> Int64:
    """One row number, or several in one dimension, from 0 to n − 1."""
    listed = [value] if type(value) is int else value
    if type(listed) is list and _plain(listed, n, 0):
        return np.array(listed, np.int64)
    array = any_array(value, name)
    if isinstance(value, list | tuple) and array.dtype != np.bool_:
        _refuse_bools(value, name)
    if array.ndim > 1:
        raise ValueError(f"{name} has shape {array.shape}; it must be row numbers in one dimension")
    return row_numbers(array, name, n).reshape(-1)


def _in_range(array: npt.NDArray[Any], name: str, n: int, least: int) -> Int64:
    low, high = int(array.min()), int(array.max())
    if low < least or high >= n:
        wrong = low if low < least else high
        raise IndexError(f"{name} has {wrong}; it must be from {least} to {n - 1}")
    return array.astype(np.int64)


def allowed_rows(where: object, m: int, n: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """``where`` as bool (n,), and as bool (m, n); the unused one is empty and allows every row."""
    if where is None:
        return _EVERY, filters.NO_MASK
    array = any_array(where, "where")
    if isinstance(where, list | tuple) and array.dtype != np.bool_:
        _refuse_bools(where, "where")  # NumPy would take them for numbers
    if array.dtype == np.bool_ and array.ndim in (1, 2):
        if array.shape not in ((n,), (m, n)):
            raise ValueError(
                f"where is bool of shape {array.shape}; with {m} queries and {n} vectors "
                f"it must be ({n},) or ({m}, {n})"
            )
        # Kernels are compiled for writable arrays only.
        mask = array if array.flags.carray else array.copy()
        return (mask, filters.NO_MASK) if array.ndim == 1 else (_EVERY, mask)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise TypeError(
            f"where is {array.dtype} {array.shape}; it must be bool ({n},), bool ({m}, {n}), "
            "or row numbers in one dimension"
        )
    mask = np.zeros(n, np.bool_)
    mask[row_numbers(array, "where", n)] = True
    return mask, filters.NO_MASK


def _refuse_bools(value: Sequence[Any], name: str) -> None:
    if {bool, np.bool_} & set(map(type, held(value))):
        raise TypeError(f"{name} has both bools and integers; it must be of one kind")


class _Runs(NamedTuple):
    """Lists of row numbers, concatenated."""

    lengths: Int64
    rows: Int64
    one: bool
    """Whether the caller passed a single list, and not a list of lists."""

    @property
    def offsets(self) -> Int64:
        """Where each list begins, and where the last one ends: int64 (lists + 1,)."""
        if len(self.lengths) == 1:  # the usual case
            return np.array([0, len(self.rows)], np.int64)
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64, copy=False)


def excluded_rows(exclude: Any, m: int, n: int, one_row: bool) -> filters.Exclusions:
    """``exclude`` as a list of row numbers for each query; −1 is dropped."""
    if exclude is None:
        return filters.Exclusions.none(m)
    if one_row and type(exclude) is list and _plain(exclude, n, 0):  # the usual case first
        rows = np.array(exclude, np.int64)
        return filters.Exclusions.of_runs(np.array([0, len(rows)], np.int64), rows)
    lists = _runs(exclude, "exclude", n, -1, f"({m}, e) integers or a list of {m} lists")
    if lists.one and not one_row and (m or len(lists.rows)):
        raise ValueError(
            f"exclude is a single list, and queries is two-dimensional; it must be ({m}, e) or a list of {m} "
            "lists, one for each query, as in exclude=[[0]]"
        )
    if not lists.one and len(lists.lengths) != m:
        raise ValueError(
            f"exclude has {len(lists.lengths)} entries for {m} queries; it must be ({m}, e) "
            f"or a list of {m} lists"
        )
    offsets = lists.offsets if m else np.zeros(1, np.int64)
    return filters.Exclusions.of_runs(*without_missing(offsets, lists.rows))


def without_missing(offsets: Int64, rows: Int64) -> tuple[Int64, Int64]:
    """Runs of row numbers, which begin and end at ``offsets``, without those that are −1."""
    valid = rows >= 0
    if valid.all():
        return offsets, rows
    before = np.concatenate([[0], np.cumsum(valid)]).astype(np.int64, copy=False)
    return before[offsets], rows[valid]


def questions(positive: object, negative: object, n: int) -> tuple[Int64, Int64, Int64, bool]:
    """Analogy questions as offsets (m + 1,), middle (m,) and row numbers; and whether it is a single one.

    The positive inputs of question i are ``rows[offsets[i]:middle[i]]``, the negative ones
    ``rows[middle[i]:offsets[i + 1]]``.
    """
    allowed = "(questions, p), a list of lists, or one list of row numbers"
    plus, minus = _runs(positive, "positive", n, 0, allowed), _runs(negative, "negative", n, 0, allowed)
    if len(minus.rows) == 0:
        minus = _Runs(np.zeros(len(plus.lengths), np.int64), minus.rows, minus.one)
    if len(minus.lengths) != len(plus.lengths):
        raise ValueError(
            f"positive has {len(plus.lengths)} questions and negative has {len(minus.lengths)}; "
            "they must agree"
        )
    if not plus.lengths.all():
        raise ValueError(
            f"positive, question {int(plus.lengths.argmin())}: empty; "
            "a question needs at least one positive input"
        )
    if len(plus.lengths) == 1:  # the usual case, without needless arrays
        rows = np.concatenate((plus.rows, minus.rows))
        return np.array([0, len(rows)], np.int64), plus.lengths, rows, plus.one
    offsets = _Runs(plus.lengths + minus.lengths, plus.rows, plus.one).offsets
    middle = offsets[:-1] + plus.lengths
    rows = np.empty(offsets[-1], np.int64)
    rows[_places(offsets[:-1], plus)] = plus.rows
    rows[_places(middle, minus)] = minus.rows
    return offsets, middle, rows, plus.one


def _places(starts: Int64, lists: _Runs) -> Int64:
    """The place of each row number, if the lists begin at ``starts``."""
    places: Int64 = np.arange(len(lists.rows)) + np.repeat(starts - lists.offsets[:-1], lists.lengths)
    return places


def _runs(value: Any, name: str, n: int, least: int, allowed: str) -> _Runs:
    """Lists of row numbers in any form: an array (lists, e), a list of lists, or a single list."""
    entries = runs(value, name)
    if isinstance(entries, np.ndarray):
        rows = row_numbers(entries, name, n, least=least)
        if rows.ndim not in (1, 2):
            raise ValueError(f"{name} has shape {rows.shape}; it must be {allowed}")
        shape = (1, len(rows)) if rows.ndim == 1 else rows.shape
        return _Runs(np.full(shape[0], shape[1], np.int64), rows.reshape(-1), rows.ndim == 1)
    kinds = set(map(type, entries))
    if kinds == {int}:  # the usual case first
        return _Runs(np.array([len(entries)]), _integers(entries, name, n, least), True)
    if not kinds <= {list, tuple, range}:
        return _mixed_runs(entries, kinds, name, n, least, allowed)
    if not entries:
        return _Runs(np.zeros(1, np.int64), np.empty(0, np.int64), True)
    lengths = np.fromiter(map(len, entries), np.int64, len(entries))
    return _Runs(lengths, _integers(list(itertools.chain.from_iterable(entries)), name, n, least), False)


def _mixed_runs(
    entries: Sequence[Any], kinds: set[type], name: str, n: int, least: int, allowed: str
) -> _Runs:
    """``_runs`` of a list of numbers, or of lists some of which are arrays."""
    numbers = all(issubclass(kind, _NUMBER) for kind in kinds)
    if numbers or not any(_is_list(entry, f"{name}, entry {i}") for i, entry in enumerate(entries)):
        rows = _integers(entries, name, n, least)
        return _Runs(np.full(1, len(rows), np.int64), rows, True)
    arrays = [any_array(entry, f"{name}, list {i}") for i, entry in enumerate(entries)]
    for i, array in enumerate(arrays):
        if array.ndim != 1:
            raise ValueError(
                f"{name} mixes row numbers and lists (entry {i} has shape {array.shape}); "
                f"it must be {allowed}"
            )
        if array.size and array.dtype.kind not in "iu":
            raise TypeError(f"{name}, list {i}, has dtype {array.dtype}; it must be integers")
        if array.size and array.dtype == np.uint64:  # int64 does not hold its largest values
            _in_range(array, name, n, least)
    lengths = np.fromiter(map(len, arrays), np.int64, len(arrays))
    rows = np.concatenate([array.astype(np.int64, copy=False) for array in arrays])
    return _Runs(lengths, _in_range(rows, name, n, least) if len(rows) else rows, False)


_NUMBER = (int, float, str, np.generic)
_SHORT = 32


def _is_list(entry: Any, name: str) -> bool:
    if isinstance(entry, list | tuple):
        return True
    try:
        return np.ndim(entry) > 0
    except Exception as error:  # it can raise anything
        raise unreadable(entry, name, error) from error


def _plain(numbers: Sequence[Any], n: int, least: int) -> bool:
    """Whether this is the usual case, which takes few steps: few plain integers in their range."""
    return len(numbers) <= _SHORT and all(type(number) is int and least <= number < n for number in numbers)


def _integers(numbers: Sequence[Any], name: str, n: int, least: int) -> Int64:
    """A list of integers as row numbers; raises if one is a bool."""
    if _plain(numbers, n, least):
        return np.array(numbers, np.int64)
    kinds = set(map(type, numbers))
    for kind in kinds:
        if issubclass(kind, bool | np.bool_) or not hasattr(kind, "__index__"):
            wrong = next(number for number in numbers if type(number) is kind)
            raise TypeError(f"{name} has {shown(wrong)} ({kind.__name__}); row numbers must be integers")
    if not kinds <= {int}:
        try:
            numbers = list(map(operator.index, numbers))
        except Exception as error:
            raise unreadable(numbers, name, error) from error
    try:
        rows = np.array(numbers, np.int64)
    except OverflowError:
        wrong = next(number for number in numbers if not least <= number < n)
        raise IndexError(f"{name} has {shown(wrong)}; it must be from {least} to {n - 1}") from None
    return _in_range(rows, name, n, least) if len(rows) else rows
