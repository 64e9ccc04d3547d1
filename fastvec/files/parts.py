"""Which rows of an Index a folder holds already, so that a save writes only the others.

A folder holds an Index in parts: each has the rows that one save wrote. Rows are never changed in place, and
a block of rows in memory only grows. So a part holds rows of an Index as long as these are the rows of memory
that the part was written from, or that was made of the part when it was opened.

A save writes rows that no part holds as a new part. It writes the last parts again as well, together with the
new rows, as long as they have at most twice as many rows as are written. So every part has more than twice
the rows of the one after it: there are few parts, and a row is written few times however many saves follow.
"""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .columns import Column
from .layout import LABELS
from .manifest import Part, State
from .streams import Rows

if TYPE_CHECKING:
    from .._stores.base import Pieces

Array = NDArray[Any]

_MERGED = 2
"""A part is written again with the rows after it if it has at most this many times as many."""


SMALL_BYTES = 1 << 24
"""Parts with fewer bytes of vectors are read into memory when there are several, and form blocks together."""


class Content(NamedTuple):
    """The content of a folder to save."""

    pieces: Pieces
    facts: Mapping[str, Any]
    top: int
    """The number that the next row gets."""
    closed: NDArray[np.bool_] | None = None
    """Which rows are closed; None: none."""
    numbers: NDArray[np.int64] | None = None
    """The numbers of the rows; None: they are 0, 1, 2, ..."""
    words: Rows[str] | None = None
    """A word for each number, from 0 on; those of closed rows do not matter."""
    columns: Mapping[str, Column] = {}

    @property
    def rows(self) -> int:
        """The number of rows, closed ones included."""
        count: int = self.facts["rows"]
        return count

    def mask(self) -> NDArray[np.uint8]:
        """A bit for each row, the lowest of a byte first, up to the last closed row: 1 if it is closed."""
        if self.closed is None:
            return np.empty(0, np.uint8)
        bits = np.packbits(self.closed, bitorder="little")
        return bits[: np.flatnonzero(bits).max(initial=-1) + 1]


class Span(NamedTuple):
    """Rows of a block in memory."""

    memory: weakref.ref[Array]
    """Of the array by which ``Pieces.memory`` tells blocks apart."""
    at: int
    rows: int


class Saved(NamedTuple):
    """A state of a folder that an Index was opened from, or that it wrote."""

    state: State
    spans: tuple[tuple[Span, ...], ...]
    """Where the rows of each part are in memory."""
    numbers: tuple[int | NDArray[np.int64], ...]
    """Of each part, the number of its first row, or the numbers of all its rows."""
    shared: Mapping[str, Array]
    mask: NDArray[np.uint8]
    words: Callable[[], Rows[str] | None]
    opened_words: bool
    """Whether the words are in the order of the rows, as they were read, not of the numbers."""
    opened: bool
    """Whether the Index was opened from this folder."""
    memory: bool = False
    """Whether it was read into memory then."""


Saves = dict[str, tuple[Saved, ...]]
"""What an Index knows of the folders that it was opened from or saved to, by their paths.

There are two states if it is not known whether the last save reached its end."""


def saved(
    state: State,
    content: Content,
    words: Callable[[], Rows[str] | None],
    *,
    opened_words: bool,
    opened: bool,
    memory: bool,
) -> Saved:
    """What an Index with this content remembers of a state that holds all of it."""
    ends = list(itertools.accumulate((part.rows for part in state.parts), initial=0))
    rows = list(itertools.pairwise(ends))
    return Saved(
        state,
        tuple(spans(content.pieces, start, stop) for start, stop in rows),
        tuple(_numbers(content, part, *row) for part, row in zip(state.parts, rows, strict=True)),
        content.pieces.shared,
        content.mask(),
        words,
        opened_words,
        opened,
        memory,
    )


def _numbers(content: Content, part: Part, start: int, stop: int) -> int | NDArray[np.int64]:
    if part.first is not None:
        return part.first
    assert content.numbers is not None
    return content.numbers[start:stop]


def spans(pieces: Pieces, start: int, stop: int) -> tuple[Span, ...]:
    """Where rows from ``start`` to ``stop`` are in memory."""

    def found() -> Iterator[Span]:
        base = 0
        for arrays, memory in zip(pieces.blocks, pieces.memory, strict=True):
            end = base + len(arrays["vectors"])
            low, high = max(start, base), min(stop, end)
            if low < high:
                yield Span(weakref.ref(memory), low - base, high - low)
            base = end

    return tuple(found())


def held(content: Content, saved: Saved) -> int:
    """How many parts, the first ones, hold the first rows of an Index with their numbers."""
    shared = content.pieces.shared
    if shared.keys() != saved.shared.keys() or any(shared[name] is not saved.shared[name] for name in shared):
        return 0
    places, base, at = {}, 0, 0
    for arrays, memory in zip(content.pieces.blocks, content.pieces.memory, strict=True):
        places[id(memory)] = base, len(arrays["vectors"])
        base += len(arrays["vectors"])
    for count, (part, numbers) in enumerate(zip(saved.spans, saved.numbers, strict=True)):
        start = at
        for span in part:
            place = places.get(id(span.memory()))  # of no array if it is gone
            if place is None or place[0] + span.at != at or span.at + span.rows > place[1]:
                return count
            at += span.rows
        if not _same_numbers(content.numbers, start, at, numbers):
            return count
    return len(saved.spans)


def _same_numbers(
    numbers: NDArray[np.int64] | None, start: int, stop: int, known: int | NDArray[np.int64]
) -> bool:
    now = start if numbers is None else consecutive(numbers[start:stop])
    if now is None:
        assert numbers is not None
        return np.array_equal(numbers[start:stop], known)
    return start == stop or (isinstance(known, int) and now == known)


def consecutive(numbers: NDArray[np.int64]) -> int | None:
    """The first of numbers that rise by one; None if they do not, 0 if there are none."""
    if len(numbers) == 0:
        return 0
    first = int(numbers[0])
    return first if (numbers == np.arange(first, first + len(numbers))).all() else None


def unchanged(content: Content, saved: Saved) -> bool:
    """Whether a state holds all rows of an Index, no others, and the same closed rows."""
    parts = saved.state.parts
    rows = sum(part.rows for part in parts)
    return (
        (content.rows, content.top) == (rows, saved.state.top)
        and held(content, saved) == len(parts)
        and np.array_equal(content.mask(), saved.mask)
    )


def staying(content: Content, saved: Saved, target: Path) -> tuple[Part, ...]:
    """The parts of a folder that a save leaves as they are."""
    if content.columns or "columns" in saved.state.facts:
        return ()
    parts = saved.state.parts[: held(content, saved)]
    parts = parts[: _with_same_words(content, saved, parts)]
    count = next((at for at, part in enumerate(parts) if not intact(target, part)), len(parts))
    rows = content.rows - sum(part.rows for part in parts[:count])
    while rows and count and parts[count - 1].rows <= _MERGED * rows:
        count -= 1
        rows += parts[count].rows
    return parts[:count]


def _with_same_words(content: Content, saved: Saved, parts: tuple[Part, ...]) -> int:
    """How many of the parts hold the words of their rows, or none if there are none."""
    words = content.words
    if words is None:
        return 0 if any(LABELS in part.files for part in parts) else len(parts)
    known = saved.words()
    if words is known:
        return len(parts)
    if not isinstance(words, tuple | list) or not isinstance(known, tuple | list):
        return 0
    at = 0
    for count, part in enumerate(parts):
        numbers, place = saved.numbers[count], slice(at, at + part.rows)
        mine = labels(words, numbers, part.rows)
        theirs = tuple(known[place]) if saved.opened_words else labels(known, numbers, part.rows)
        if mine != theirs and not _differ_where_closed(mine, theirs, content.closed, place):
            return count
        at += part.rows
    return len(parts)


def _differ_where_closed(
    mine: Sequence[str], theirs: Sequence[str], closed: NDArray[np.bool_] | None, place: slice
) -> bool:
    """Whether words differ only where rows are closed, whose words do not matter."""
    return closed is not None and all(
        gone or one == other for one, other, gone in zip(mine, theirs, closed[place].tolist(), strict=True)
    )


def labels(words: Sequence[str], numbers: int | NDArray[np.int64], rows: int) -> tuple[str, ...]:
    """The words of rows with these numbers, or with the numbers from one on."""
    if isinstance(numbers, int):
        return tuple(words[numbers : numbers + rows])
    return tuple(words[number] for number in numbers.tolist())


def intact(target: Path, part: Part) -> bool:
    """Whether the files of a part are there, with their sizes."""
    return all(same_size(target / part.folder / name, entry) for name, entry in part.files.items())


def same_size(path: Path, entry: Mapping[str, Any]) -> bool:
    """Whether a file is there, with its size."""
    try:
        return bool(os.stat(path).st_size == entry["bytes"])
    except FileNotFoundError:
        return False


def blocks_kept(saved: Saved, pieces: Pieces, state: State) -> tuple[int, int]:
    """How many blocks of an Index a later state of its folder leaves as they are, and of how many parts."""
    common = 0
    for part, known in zip(state.parts, saved.state.parts, strict=False):
        if part != known:
            break
        common += 1
    ends = np.cumsum([part.rows for part in state.parts[:common]]).tolist()
    found, rows = (0, 0), 0
    for block, arrays in enumerate(pieces.blocks, 1):
        rows += len(arrays["vectors"])
        if rows in ends and (block == 1 or arrays["vectors"].nbytes >= SMALL_BYTES):
            found = block, ends.index(rows) + 1
    return found
