"""Joins of the rows of an Index: the arguments are checked here, and parts of an answer put together."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _arguments, _memory, _row_numbers
from ._arrays import any_array
from ._snapshot import EVERY, Snapshot
from ._stores import base, cpu, joins
from .kernels import filters, join, matrix
from .results import Int64, Pairs, TopK

_CHECKED = 1 << 22
"""Pairs between two looks at the free memory."""
_PAIR_BYTES = 20


class _Side(NamedTuple):
    """Rows to join, whose numbers rise with their positions, as the order of pairs needs it."""

    store: base.Store
    open: npt.NDArray[np.bool_]
    """bool (positions,): which of them take part; empty if all do."""
    numbers: Int64 | None
    """The number of each; None if it is the position."""

    @classmethod
    def of(cls, rows: Snapshot) -> _Side:
        """The rows of an Index, encoded anew if replaced ones do not stand in the order of their numbers."""
        return cls(rows.store, rows.open, rows.numbers) if rows.rising else cls.of_left(rows)

    @classmethod
    def of_left(cls, rows: Snapshot) -> _Side:
        """The rows of an Index that are left, encoded anew."""
        home = base.home(rows.store.device)
        store = home.of_rows(rows.held, owned=False, screen="off")
        return cls(store, EVERY, rows.numbered(rows.order))

    def named(self, positions: Int64) -> Int64:
        """The numbers of rows at these positions."""
        return positions if self.numbers is None else self.numbers[positions]


def blocks(
    rows: Snapshot,
    metric: str,
    min_score: Any,
    other: Any = None,
    *,
    dims: int | None,
    where: Any,
    num_threads: int | None,
) -> Iterator[Pairs]:
    """The pairs of an Index's rows in parts; arguments as in ``Index.pairs_blocks``."""
    base.able(rows.store, "pairs", "pairs")
    left = _Side.of(rows)
    asked = _asked(left, rows.top, metric, min_score, dims, where, num_threads)
    right = left if other is None else _other(other, left.store, metric, asked.dims)
    find = base.able(left.store, "pairs", "pairs")
    parts: Iterator[Pairs] = find(asked, None if other is None else right.store)
    return _named(parts, left, right)


def _named(parts: Iterator[Pairs], left: _Side, right: _Side) -> Iterator[Pairs]:
    with _naming(left):
        for part in parts:
            yield Pairs(left.named(part.left), right.named(part.right), part.scores)


@contextmanager
def _naming(side: _Side) -> Iterator[None]:
    """Let an error about a row at a position name its number."""
    try:
        yield
    except base.RowChangedError as error:
        raise base.RowChangedError(int(side.named(np.array([error.args[0]]))[0])) from None


def joined(parts: Iterator[Pairs], min_score: Any) -> Pairs:
    """All parts in one; each is given up as soon as it is copied.

    Raises:
        MemoryError: if the pairs do not fit into memory.
    """
    held: deque[Pairs] = deque()
    count, checked = 0, 0
    for part in parts:
        held.append(part)
        count += len(part.left)
        if count - checked >= _CHECKED:
            checked = count
            free = _memory.available()
            if free < 2 * _CHECKED * _PAIR_BYTES:
                raise MemoryError(
                    f"over {count:,} pairs reach min_score {min_score}, and there is no memory for more; "
                    "ask for a higher score, or use pairs_blocks, which yields some pairs at a time"
                )
    result = Pairs(np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.float32))
    at = 0
    while held:
        part = held.popleft()
        end = at + len(part.left)
        result.left[at:end], result.right[at:end], result.scores[at:end] = part
        at = end
    return result


def groups(
    rows: Snapshot, metric: str, min_score: Any, *, dims: int | None, num_threads: int | None
) -> Int64:
    """The lowest row of the group of each row; arguments as in ``Index.duplicates``."""
    base.able(rows.store, "duplicates", "groups")
    side = _Side.of(rows)
    with _naming(side):
        find = base.able(side.store, "duplicates", "groups")
        found: Int64 = find(_asked(side, rows.top, metric, min_score, dims, None, num_threads))
    return side.named(found[side.open] if len(side.open) else found)


def neighbors(rows: Snapshot, metric: str, k: Any, *, include_self: bool, num_threads: int | None) -> TopK:
    """The k nearest rows of each row; arguments as in ``Index.knn_graph``."""
    n, numbers = rows.left, rows.numbered(rows.order)
    asked = _arguments.whole_number(k, "k", 1)
    threads = _arguments.num_threads(num_threads)
    itself = filters.Exclusions.of_runs(np.arange(n + 1), numbers)
    others = max(1, asked - include_self)
    request = rows.request(rows.held, others, metric=metric, exclude=itself, num_threads=threads)
    if not include_self:
        return rows.search(request)
    found, store = _memory.answers(n, asked, n), rows.store
    if store.matrix.is_float32:
        own = join.own_scores(store.matrix, metric, store.dims, threads)[rows.order]
    else:
        own = join.own_scores(matrix.of((rows.vectors,)), metric, store.dims, threads)
    found.scores[:, 0] = own
    found.indices[:, 0] = numbers
    if asked > 1:
        found.scores[:, 1:], found.indices[:, 1:] = rows.search(request)
    return found


def _asked(
    side: _Side,
    top: int,
    metric: str,
    min_score: Any,
    dims: int | None,
    where: Any,
    num_threads: int | None,
) -> joins.Asked:
    """Checked arguments; ``where`` is given in numbers below ``top``."""
    least = _arguments.score(min_score, "min_score")
    threads = _arguments.num_threads(num_threads)
    used = _arguments.prefix(dims, side.store.dims)
    if where is not None and any_array(where, "where").ndim == 2:
        raise ValueError("where has two dimensions; for pairs it must be bool (n,), or row numbers in one")
    allowed, _ = _row_numbers.allowed_rows(where, 1, top)
    if len(allowed) and side.numbers is not None:
        allowed = allowed[side.numbers]
    if len(side.open):
        allowed = allowed & side.open if len(allowed) else side.open
    return joins.Asked(metric, least, used, allowed, threads)


def _other(other: Any, store: base.Store, metric: str, dims: int) -> _Side:
    """The rows to join with: those left in an Index, or those of an array, which are encoded now."""
    from .index import Index

    if not isinstance(other, Index):
        rows, owned = _arguments.rows_of(other, "other", copy=False)
        _check_width(rows.shape[1], store.dims, dims)
        return _Side(cpu.of_rows(rows[:, :dims], owned=owned, screen="off"), EVERY, None)
    if other.metric != metric:
        raise ValueError(f"other has metric={other.metric!r}, and this Index {metric!r}; they must agree")
    found = other._rows.now()
    base.able(found.store, "pairs", "pairs")
    _check_width(found.store.dims, store.dims, dims)
    return _Side.of_left(found) if found.changed else _Side.of(found)


def _check_width(width: int, own: int, dims: int) -> None:
    if width not in (own, dims):
        raise ValueError(
            f"other has {width} dimensions; it must have the {own} of the Index"
            + (f" or the {dims} of dims" if dims < own else "")
        )
