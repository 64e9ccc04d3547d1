"""The Index folder as one of the formats of words and vectors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import _memory
from . import folder, manifest, parts
from .columns import Column, Columns
from .errors import FileError
from .labeled import Labeled, SavedIndex
from .manifest import AGAIN, State
from .parts import Content, Saved
from .streams import Rows, checked_words, may_repeat

if TYPE_CHECKING:
    from .._snapshot import Snapshot
    from .._stores.base import Store
    from ..index import Index

T = TypeVar("T")


def read(path: Path, limit: int | None, errors: str) -> Labeled:
    """Vectors mapped into memory; words and columns are read on first use.

    If there are several blocks, or rows were removed, the vectors left are copied on first use.
    """
    stored = folder.load(path)
    pieces, order = [np.asarray(block.arrays["vectors"]) for block in stored.blocks], _order(stored)
    count = stored.rows if order is None else len(order)
    whole = limit is None or limit >= count

    def joined() -> NDArray[np.float32]:
        vectors = np.concatenate(pieces) if len(pieces) > 1 else pieces[0]
        return vectors[:limit] if order is None else vectors[order[:limit]]

    def chosen(values: tuple[T, ...]) -> tuple[T, ...]:
        return values[:limit] if order is None else tuple(values[row] for row in order[:limit].tolist())

    return Labeled(
        path,
        "index",
        pieces[0][:limit] if order is None and len(pieces) == 1 else joined,
        lambda: chosen(_checked_words(stored, order)),
        stored.facts.get("metadata", {}),
        words_are="not blank" if "repeated" in stored.facts else "different",
        columns=Columns(tuple(stored.facts.get("columns", ())), lambda name: chosen(stored.columns[name])),
        saved=SavedIndex(
            stored.facts["metric"],
            *((lambda: opened(stored, order), lambda: opened(stored)) if whole else (None, None)),
        ),
        rows=count if limit is None else min(count, limit),
    )


def _checked_words(stored: folder.Stored, order: NDArray[np.int64] | None) -> tuple[Any, ...]:
    """The words of all rows; those of the rows left are all text, or all integers of 64 bits."""
    words = folder.words(stored)
    left: Sequence[Any] = words if order is None else [words[row] for row in order.tolist()]
    kinds = set(map(type, left))
    if kinds == {int} and -(1 << 63) <= min(left) <= max(left) < 1 << 63:
        return words
    if not kinds <= {str}:
        raise FileError(stored.path, f"its words are not all text, or all integers of 64 bits; {AGAIN}")
    return words


def _order(stored: folder.Stored) -> NDArray[np.int64] | None:
    """Where the rows left are, in the order of their numbers; None if these are 0, 1, 2, ..."""
    if stored.closed is None and stored.numbers is None:
        return None
    left = np.arange(stored.rows) if stored.closed is None else np.flatnonzero(~stored.closed)
    return left if stored.numbers is None else left[np.argsort(stored.numbers[left])]


def opened(stored: folder.Stored, order: NDArray[np.int64] | None = None) -> Index:
    """The Index in an opened folder; with an ``order`` of the rows left, these are numbered from 0 on."""
    from .._living import restored
    from .._stores import base, cpu, fetched
    from ..index import Index

    screen = stored.facts.get("screen", {"setting": "off", "shares": (0.0, 0.0)})
    in_memory = all(isinstance(block.arrays["vectors"], np.ndarray) for block in stored.blocks)
    store = (cpu if in_memory else fetched).opened(
        base.Pieces(stored.shared, [block.arrays for block in stored.blocks]),
        [block.owned for block in stored.blocks],
        screen=screen["setting"],
        shares=screen["shares"],
        lead=stored.facts.get("direction", {}).get("lead", 0),
    )
    rows = _snapshot(stored, store)
    if order is not None:
        numbers = np.zeros(stored.rows, np.int64)
        numbers[order] = np.arange(len(order))
        return Index._of(restored(store, rows.closed, numbers, len(order)), stored.facts["metric"])
    index = Index._of(rows, stored.facts["metric"])
    index._saves[os.path.realpath(stored.path)] = (_saved(stored, rows, index.metric),)
    return index


def renumbered(path: str | os.PathLike[str], *, memory: bool = False) -> Index:
    """The Index in a folder, with its rows numbered from 0 on in the order of their numbers."""
    stored = folder.load(path, memory=memory)
    return opened(stored, _order(stored))


def _snapshot(stored: folder.Stored, store: Store) -> Snapshot:
    """The rows of an opened folder, which are in this store."""
    from .._living import restored

    closed = np.zeros(stored.rows, np.bool_) if stored.closed is None else stored.closed
    numbers, top = stored.numbers, stored.state.top
    if numbers is not None and 8 * top > _memory.available():
        raise FileError(stored.path, f"its rows have numbers up to {top}, for which memory does not suffice")
    rows = restored(store, closed, numbers, top)
    if numbers is not None and rows.places is not None:
        left = np.flatnonzero(~closed)
        if (rows.places[numbers[left]] != left).any():
            raise FileError(stored.path, f"two rows have the same number; {AGAIN}")
    return rows


def _saved(stored: folder.Stored, rows: Snapshot, metric: str) -> Saved:
    """What an Index remembers of the folder that it was opened from."""
    return parts.saved(
        stored.state,
        content_of(rows, metric),
        lambda: stored.words if stored.labeled else None,
        opened_words=True,
        opened=True,
        memory=stored.memory,
    )


def content_of(rows: Snapshot, metric: str) -> Content:
    """What a folder stores of the rows of an Index."""
    store = rows.store
    facts: dict[str, object] = {"metric": metric, "rows": store.rows, "dims": store.dims}
    closed = ~rows.open if len(rows.open) else None
    return Content(store.stored(), facts | store.facts(), rows.top, closed, rows.numbers)


def refresh(index: Index, labels: Callable[..., Any] | None = None) -> bool:
    """As ``Index.refresh``; ``labels`` makes labels of words in the order of numbers, facts, and rows."""
    if not index._saves:
        raise ValueError("this Index was neither opened from a folder nor saved to one")
    path = next(iter(index._saves))

    def later(rows: Snapshot) -> Snapshot | None:
        fresh = _later(path, rows, index.metric, index._saves[path])
        if fresh is None:
            return None
        stored, now = fresh
        if labels is not None:
            order, words = _order(stored), _checked_words(stored, _order(stored))
            words = words if order is None else tuple(words[row] for row in order.tolist())
            now.labels = labels(words, stored.facts, now)
        index._saves[path] = (_saved(stored, now, index.metric),)
        return now

    return index._rows.take_over(later)


def _later(
    path: str, rows: Snapshot, metric: str, known: Sequence[Saved]
) -> tuple[folder.Stored, Snapshot] | None:
    """The later state of a folder and its rows; None if there is none.

    ``rows`` are those of the states that are ``known``; blocks that did not change are used again.
    """
    from .._stores import base

    reopened = base.able(rows.store, "refresh", "reopened")
    now = manifest.read(Path(path))
    if any(now.seal == saved.state.seal for saved in known):
        return None
    content, saved = content_of(rows, metric), known[-1]
    if not all(parts.unchanged(content, one) for one in known):
        raise ValueError(
            f"{path} was saved by another Index, and this one has changes that are not saved; save it to "
            "another folder, or open the folder again and repeat the changes"
        )
    blocks = 0

    def skip(state: State) -> int:
        nonlocal blocks
        blocks, count = parts.blocks_kept(saved, content.pieces, state)
        return count

    stored = folder.load(path, memory=saved.memory, skip=skip)
    if blocks == 0:
        return stored, opened(stored)._rows.now()
    more = [block.arrays for block in stored.blocks]
    store = reopened(blocks, more, [block.owned for block in stored.blocks])
    return stored, _snapshot(stored, store)


def by_number(words: Iterable[str], rows: Snapshot) -> list[str]:
    """Checked words of rows, in the order of their numbers, as a word for each number from 0 on."""
    texts: tuple[str, ...] = tuple(checked_words(words, repeated=True))
    if len(texts) != rows.left:
        raise ValueError(f"words and rows differ in number: {len(texts)} and {rows.left}")
    names = [""] * rows.top
    for number, text in zip(rows.numbered(rows.order).tolist(), texts, strict=True):
        names[number] = text
    return names


def write(
    path: Path,
    words: Rows[str],
    vectors: NDArray[np.float32],
    metadata: Mapping[str, str],
    columns: Mapping[str, Column],
) -> None:
    """Write an Index folder of vectors, with their codes."""
    from ..index import Index

    save(path, Index(vectors), words, metadata, columns, repeated=may_repeat(words))


def save(
    path: str | os.PathLike[str],
    index: Index,
    words: Rows[Any] | None = None,
    metadata: Mapping[str, str] | None = None,
    columns: Mapping[str, Column] | None = None,
    *,
    repeated: bool = False,
    rows: Snapshot | None = None,
) -> None:
    """Write an Index with its codes, words, metadata and columns; ``repeated``: words may repeat.

    There is a word for each number of a row, from 0 on; those of removed rows do not matter. ``rows`` are
    those of the Index at some moment; None: now.
    """
    rows = rows or index._rows.now()
    if words is not None and len(words) < rows.top:
        raise ValueError(f"{len(words)} words for rows with {rows.top} numbers")
    content = content_of(rows, index.metric)
    facts = dict(content.facts)
    if metadata is not None:
        facts["metadata"] = dict(metadata)
    if repeated:
        facts["repeated"] = True
    content = content._replace(facts=facts, words=words, columns=columns or {})
    folder.save(path, content, index._saves)
