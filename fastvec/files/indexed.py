"""The folder of an Index as one of the formats of words and vectors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import folder
from .columns import Column, Columns, Value
from .labeled import Labeled
from .streams import Rows, may_repeat


def read(path: Path, limit: int | None, errors: str) -> Labeled:
    """Vectors mapped into memory; words and columns read when asked for."""
    from ..index import Index

    stored = folder.load(path)
    vectors = stored.arrays["vectors"]

    def column(name: str) -> tuple[Value, ...]:
        if not known:  # all lie in the same lines
            known.update(folder.columns_of(stored))
        return known[name][:limit]

    known: dict[str, tuple[Value, ...]] = {}
    return Labeled(
        path,
        "index",
        vectors[:limit],
        lambda: folder.words(stored)[:limit],
        stored.facts.get("metadata", {}),
        sound=True,
        may_repeat="repeated" in stored.facts,
        columns=Columns(tuple(stored.facts.get("columns", ())), column),
        saved=(lambda: Index._of_stored(stored)) if limit is None or limit >= len(vectors) else None,
        metric=stored.facts["metric"],
    )


def write(
    path: Path,
    words: Rows[str],
    vectors: NDArray[np.float32],
    metadata: Mapping[str, str],
    columns: Mapping[str, Column],
) -> None:
    """Vectors with their codes."""
    from ..index import Index

    arrays, facts = Index(vectors)._stored()
    more = {"metadata": dict(metadata)} | ({"repeated": True} if may_repeat(words) else {})
    folder.save(path, arrays, facts | more, words, columns)
