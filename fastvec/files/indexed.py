"""The Index folder as one of the formats of words and vectors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import folder
from .columns import Column, Columns, Value
from .labeled import Labeled, SavedIndex
from .streams import Rows, may_repeat

if TYPE_CHECKING:
    from ..index import Index


def read(path: Path, limit: int | None, errors: str) -> Labeled:
    """Vectors mapped into memory; words and columns are read on first use."""
    stored = folder.load(path)
    vectors = stored.arrays["vectors"]

    def column(name: str) -> tuple[Value, ...]:
        if not known:  # the same lines hold all columns
            known.update(folder.columns_of(stored))
        return known[name][:limit]

    known: dict[str, tuple[Value, ...]] = {}
    return Labeled(
        path,
        "index",
        vectors[:limit],
        lambda: folder.words(stored)[:limit],
        stored.facts.get("metadata", {}),
        words_are="not blank" if "repeated" in stored.facts else "different",
        columns=Columns(tuple(stored.facts.get("columns", ())), column),
        saved=SavedIndex(
            stored.facts["metric"],
            (lambda: opened(stored)) if limit is None or limit >= len(vectors) else None,
        ),
    )


def opened(stored: folder.Stored) -> Index:
    """The Index in an opened folder."""
    from .._stores import cpu
    from ..index import Index

    screen = stored.facts.get("screen", {"setting": "off", "shares": (0.0, 0.0)})
    store = cpu.opened(
        stored.arrays,
        lambda: folder.check(stored),
        owned=stored.memory,
        screen=screen["setting"],
        shares=screen["shares"],
        lead=stored.facts.get("direction", {}).get("lead", 0),
    )
    return Index._of_store(store, stored.facts["metric"])


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
    words: Rows[str] | None = None,
    metadata: Mapping[str, str] | None = None,
    columns: Mapping[str, Column] | None = None,
    *,
    repeated: bool = False,
) -> None:
    """Write an Index with its codes, words, metadata and columns; ``repeated``: words may repeat."""
    store = index._store  # the rows at this moment
    facts: dict[str, object] = {"metric": index.metric, "rows": store.rows, "dims": store.dims}
    facts |= store.facts()
    if metadata is not None:
        facts["metadata"] = dict(metadata)
    if repeated:
        facts["repeated"] = True
    folder.save(path, store.stored(), facts, words, columns or {})
