"""What reading a file gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Labeled:
    """Vectors of a file, and its words, which are read when they are first asked for.

    Both are of the moment when the file was opened: another file may take its name afterwards, and if
    something is written into it before the words are read, asking for them raises FileError.
    """

    path: Path
    format: str
    """Name of the format, as in ``FORMATS``."""
    vectors: NDArray[Any]
    """(n, dims): mapped into memory where the format allows it; not yet checked for NaN."""
    read_words: Callable[[], tuple[str, ...]] = field(repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the file says about its vectors, such as ``model``."""

    @cached_property
    def words(self) -> tuple[str, ...]:
        """n words, in the order of the vectors."""
        return self.read_words()
