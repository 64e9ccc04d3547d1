"""The table of data to search by name: generated, or real where a package or an encoder is installed.

To add data: a function that returns float32 (vectors (rows, dims), queries (1,024, dims)), and its row.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from . import docstrings, generated, tokens
from .corpus import Array

_DIMS = 768
_ROWS = 100_000


class Data(NamedTuple):
    """Vectors to search, and queries."""

    name: str
    what: str
    make: Callable[..., tuple[Array, Array]]
    """Called with the number of rows; if ``embeds``, with ``cache`` and ``progress``, too."""
    dims: int = _DIMS
    rows: int = _ROWS
    """Rows if no number is asked for, and there is time."""
    embeds: bool = False
    """Whether texts are embedded, which takes so long that they are worth a cache."""

    def load(
        self,
        rows: int,
        *,
        cache: Path | None = None,
        progress: bool | Callable[[int, int | None], object] = False,
    ) -> tuple[Array, Array]:
        """Vectors float32 (rows, dims) and queries (1,024, dims).

        Args:
            rows: at least 1.
            cache: a file that keeps embedded texts.
            progress: called with the texts that are embedded and their number.

        Raises:
            ValueError: there are fewer rows; or a cache is given, and nothing is embedded.
            ImportError: a package is missing; the message names the extra.
        """
        if self.embeds:
            return self.make(rows, cache=cache, progress=progress)
        if cache is not None:
            embedding = ", ".join(one.name for one in TABLE.values() if one.embeds)
            raise ValueError(f"{self.name} embeds no texts, so it has no cache; {embedding} does")
        return self.make(rows)


def named(name: str) -> Data:
    """The row of the table with this name.

    Raises:
        ValueError: there is none.
    """
    if name not in TABLE:
        raise ValueError(f"no data is named {name}; there are {', '.join(TABLE)}")
    return TABLE[name]


def digest(vectors: Array, queries: Array) -> str:
    """Sixteen hexadecimal digits that say whether two races are about the same data.

    Example:
        >>> digest(*generated.tied(3, 2)) == digest(*generated.tied(4, 2))
        False
    """
    found = hashlib.blake2b(digest_size=8)
    for part in (vectors, queries):
        found.update(repr(part.shape).encode())
        found.update(part.astype("<f4", copy=False).data)
    return found.hexdigest()


_TABLE = (
    Data("decaying", "generated, with a spectrum as that of embeddings",
         functools.partial(generated.decaying, dims=_DIMS)),
    Data("gaussian", "generated noise, without any structure",
         functools.partial(generated.gaussian, dims=_DIMS)),
    Data("outlier", "generated, with one dimension that dwarfs the others",
         functools.partial(generated.outlier, dims=_DIMS)),
    Data("tied", "generated, all rows equal", functools.partial(generated.tied, dims=_DIMS)),
    Data("nomic", "token vectors of nomic-embed-code; queries: sums of two", tokens.nomic,
         rows=tokens.TOKENS),
    Data("static", "texts as sums of 3 to 8 of these token vectors", tokens.static),
    Data("docstrings", "sentences of installed packages, embedded", docstrings.docstrings,
         dims=docstrings.DIMS, rows=20_000, embeds=True),
)  # fmt: skip

TABLE: dict[str, Data] = {data.name: data for data in _TABLE}
