"""How the rows of an Index change: one change after another, each seen as a whole by every search.

A change makes a new state and shows it by one assignment, so whatever interrupts it, the rows are as before
or as after. Arrays of a state may be longer than its rows: what is appended lies beyond what earlier states
see. Only a removal writes to what others could see, the mask of open rows; so searches use a copy of the
mask, which the first of them after a change makes, and removing takes time in proportion to what is removed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _row_numbers
from ._forks import ProcessLock
from ._snapshot import EVERY, Bools, Snapshot
from ._stores import base
from .results import Float32, Int64

_LONG_BYTES = 1 << 20
"""Rows of more bytes take longer to add than searches should wait."""


class _State(NamedTuple):
    """As in ``Snapshot``; arrays may have room for more."""

    store: base.Store
    open: Bools
    numbers: Int64 | None
    places: Int64 | None
    top: int
    labels: Any

    def snapshot(self) -> Snapshot:
        """What a search sees: the mask as it is now."""
        rows = self.store.rows
        return Snapshot(
            self.store,
            open_=self.open[:rows].copy(),
            numbers=None if self.numbers is None else self.numbers[:rows],
            places=None if self.places is None else self.places[: self.top],
            top=self.top,
            labels=self.labels,
        )

    def positions(self, numbers: Int64) -> Int64:
        """Where rows with these numbers are, for the next change, which has the lock."""
        return Snapshot(self.store, open_=self.open, places=self.places).positions(numbers, "rows")


class LivingRows:
    """The rows of an Index, and the changes to them."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.seen: Snapshot | None = snapshot
        """The rows as searches see them; None after a change, until ``now`` is called."""
        self._state = _State(
            snapshot.store, snapshot.open, snapshot.numbers, snapshot.places, snapshot.top, snapshot.labels
        )
        self._closed = 0
        """About how many closed rows are not in files."""
        self._lock = ProcessLock()
        if len(snapshot.open):
            self._state = self._state._replace(open=snapshot.open.copy())

    def now(self) -> Snapshot:
        """The rows at this moment."""
        seen = self.seen
        if seen is None:
            with self._lock.here:
                seen = self._shown()
        return seen

    @property
    def store(self) -> base.Store:
        """Where the rows are at this moment."""
        return self._state.store

    def _shown(self) -> Snapshot:
        if self.seen is None:
            self.seen = self._state.snapshot()
        return self.seen

    def _show(self, state: _State) -> None:
        self.seen = None  # first: nothing is shown that is not the state
        self._state = state

    def label(self, labels: Any) -> None:
        """What belongs to the numbers from the next change on."""
        with self._lock.here:
            self._shown()
            self._state = self._state._replace(labels=labels)

    def add(self, rows: Float32, *, owned: bool) -> None:
        """Append rows under the next numbers."""
        with self._lock.here:
            if rows.nbytes >= _LONG_BYTES:
                self._shown()  # searches go on with it meanwhile
            self._show(self._appended(rows, owned))

    def _appended(self, rows: Float32, owned: bool) -> _State:
        """The state with further rows at the end, under the next numbers."""
        state = self._state
        store = base.able(state.store, "add", "added")(rows, owned=owned)
        before, count, top = state.store.rows, len(rows), state.top
        open_, known, places = state.open, state.numbers, state.places
        if len(open_):
            open_ = _extended(open_, before, np.ones(count, np.bool_))
        if known is not None and places is not None:
            known = _extended(known, before, np.arange(top, top + count))
            places = _extended(places, top, np.arange(before, before + count))
        return _State(store, open_, known, places, top + count, state.labels)

    def remove(self, rows: object) -> None:
        """Close the rows with these numbers."""
        with self._lock.here:
            state = self._state
            _, positions = self._found(rows)
            if len(positions) == 0:
                return
            if not len(state.open):
                self._show(state._replace(open=np.ones(state.store.rows, np.bool_)))
            self.seen = None
            self._state.open[positions] = False
            self._pack(positions)

    def replace(self, rows: object, vectors: Float32, *, owned: bool) -> None:
        """Put vectors in place of the rows with these numbers."""
        with self._lock.here:
            numbers, old = self._found(rows)
            if len(numbers) != len(vectors):
                raise ValueError(f"rows and vectors differ in number: {len(numbers)} and {len(vectors)}")
            if len(np.unique(numbers)) < len(numbers):
                raise ValueError("rows names a row twice; each has one vector")
            if len(old) == 0:
                return
            self._put(old, numbers, vectors, owned)

    def put(self, numbers: Int64, vectors: Float32, *, owned: bool) -> None:
        """``replace``, and ``add`` for numbers from ``top`` on, which are consecutive; all are different."""
        with self._lock.here:
            old = self._state.positions(numbers[numbers < self._state.top])
            self._put(old, numbers, vectors, owned)

    def _put(self, old: Int64, numbers: Int64, vectors: Float32, owned: bool) -> None:
        self._shown()
        self._show(self._replaced(old, numbers, vectors, owned))
        self._pack(old)

    def _found(self, rows: object) -> tuple[Int64, Int64]:
        """Numbers that a caller passed, and where these rows are."""
        numbers = _row_numbers.list_of_rows(rows, "rows", self._state.top)
        return numbers, self._state.positions(numbers)

    def _replaced(self, old: Int64, numbers: Int64, vectors: Float32, owned: bool) -> _State:
        state = self._state
        store = base.able(state.store, "replace", "added")(vectors, owned=owned)
        before, after, top = state.store.rows, store.rows, state.top
        new = len(numbers) - len(old)
        known, places, open_ = state.numbers, state.places, state.open
        if known is None or places is None:
            known = places = np.arange(before)
        places = np.concatenate([places[:top], np.empty(new, np.int64)])
        places[numbers] = np.arange(before, after)
        open_ = open_[:before] if len(open_) else np.ones(before, np.bool_)
        open_ = np.concatenate([open_, np.ones(len(vectors), np.bool_)])
        open_[old] = False
        return _State(store, open_, _extended(known, before, numbers), places, top + new, state.labels)

    def _pack(self, closed: Int64) -> None:
        """After some positions were closed: pack the rows left if those closed are more, of all in memory.

        That takes time in proportion to the rows closed, so it adds a constant to the cost of each.
        """
        store = self._state.store
        first: int = getattr(store, "fixed", store.rows)
        self._closed += int(np.count_nonzero(closed >= first))
        if 2 * self._closed <= store.rows - first:
            return
        snapshot = self._shown()
        tail = snapshot.open[first:]
        self._closed = len(tail) - int(np.count_nonzero(tail))
        if 2 * self._closed <= len(tail):
            return
        kept = snapshot.order[snapshot.order >= first]
        numbers = np.arange(store.rows) if snapshot.numbers is None else snapshot.numbers
        numbers = np.concatenate([numbers[:first], numbers[kept]])
        open_ = np.concatenate([snapshot.open[:first], np.ones(len(kept), np.bool_)])
        places = np.full(snapshot.top, -1)
        left = np.flatnonzero(open_)
        places[numbers[left]] = left
        packed = base.able(store, "remove", "packed")(first, kept)
        self._show(_State(packed, open_, numbers, places, snapshot.top, snapshot.labels))
        self._closed = 0

    def take_over(self, later: Callable[[Snapshot], Snapshot | None]) -> bool:
        """Exchange the rows for those that ``later`` makes of them; return whether it made any."""
        with self._lock.here:
            rows = later(self._shown())
            if rows is None:
                return False
            self._show(_State(rows.store, rows.open, rows.numbers, rows.places, rows.top, rows.labels))
            self._closed = 0
            return True

    def compact(self, metric: str, relabeled: Callable[[Int64, Any], Any] | None = None) -> Int64:
        """Build the rows left anew, in the order of their numbers, and number them from 0.

        Return their old numbers; ``relabeled`` makes new labels of these and the old labels.
        """
        with self._lock.here:
            seen = self._shown()
            numbers = seen.numbered(seen.order)
            if not seen.changed and len(seen.store.vectors()) == 1:
                return numbers
            home, labels = base.home(seen.store.device, metric), seen.labels
            int8 = bool(getattr(seen.store, "int8", False))
            left = seen.held if int8 else seen.store.fetch(seen.order)
            store = home.of_rows(left, owned=True, screen=seen.store.screen)
            if relabeled is not None:
                labels = relabeled(numbers, labels)
            self._show(_State(store, EVERY, None, None, store.rows, labels))
            self._closed = 0
            return numbers


def restored(
    store: base.Store, closed: Bools, numbers: Int64 | None, top: int, labels: Any = None
) -> Snapshot:
    """The snapshot of a store with its closed positions and its numbers, as ``Snapshot`` has them."""
    places = None
    if numbers is not None:
        places, left = np.full(top, -1), np.flatnonzero(~closed)
        places[numbers[left]] = left
    open_ = ~closed if closed.any() else EVERY
    return Snapshot(store, open_=open_, numbers=numbers, places=places, top=top, labels=labels)


def _extended(array: npt.NDArray[Any], used: int, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The first ``used`` values of an array with others appended, in its own room if there is enough."""
    last = used + len(values)
    if last > len(array):
        grown = np.empty(max(last, 2 * used), array.dtype)
        grown[:used] = array[:used]
        array = grown
    array[used:last] = values
    return array
