"""What reading a file gives."""

from __future__ import annotations

import itertools
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._once import once
from .errors import FileError

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_BLOCK_BYTES = 1 << 24


class Labeled:
    """Vectors of a file and their words, which are read when either is first asked for.

    Both are of the moment when the file was opened: another file may take its name afterwards, and if
    something is written into it before the words are read, asking for them raises FileError.

    Of equal words the first counts; a row of a blank word or of one that repeats another is left out,
    with a warning, or refused if ``strict``.
    """

    def __init__(
        self,
        path: Path,
        format: str,
        vectors: NDArray[Any],
        read_words: Callable[[], tuple[str, ...]],
        metadata: Mapping[str, str] | None = None,
        *,
        settled: bool = False,
    ) -> None:
        self.path = path
        self.format = format
        """Name of the format, as in ``FORMATS``."""
        self.metadata = metadata or {}
        """What the file says about its vectors, such as ``model``."""
        self.strict = False
        """Whether words that repeat others, or are blank, are refused."""
        self.settled = settled
        """Whether all rows count, so that there are vectors without words: fastvec wrote the words, which
        differ, or there are none."""
        self._vectors, self._read_words = vectors, read_words

    @property
    def words(self) -> tuple[str, ...]:
        """n different words, in the order of the vectors."""
        return self._checked[0]

    @once
    def vectors(self) -> NDArray[Any]:
        """(n, dims): mapped into memory where the format allows it and no row is left out; not yet checked
        for NaN."""
        return self._left_out(in_place=False)

    def settle(self) -> None:
        """Leave rows out now, in place: for a reader whose vectors nobody has seen, in memory of its own."""
        self._left_out(in_place=True)

    def _left_out(self, *, in_place: bool) -> NDArray[Any]:
        kept = None if self.settled else self._checked[1]
        if kept is not None and len(kept) == len(self._vectors):  # not done yet
            self._vectors = _rows(self.path, self._vectors, np.flatnonzero(kept), in_place)
        return self._vectors

    @once
    def _checked(self) -> tuple[tuple[str, ...], NDArray[np.bool_] | None]:
        """The words that count, and which of all rows are theirs; None: every one."""
        from ..labels import faults

        words = self._read_words()
        if len(words) != len(self._vectors):
            raise FileError(self.path, f"{len(words)} words for {len(self._vectors)} vectors; mend the file")
        found = faults(words)
        if found is None:
            return words, None
        if self.strict or self.settled:
            hint = "mend the file" + ("" if self.settled else ", or read it without strict=True")
            raise FileError(self.path, f"{found.said}; {hint}")
        left = f"{int(found.kept.sum())} of {len(words)}"
        warnings.warn(
            f"{self.path}: {found.said}; the first of equal words counts, so {left} rows are read",
            stacklevel=_outside(),
        )
        return tuple(itertools.compress(words, found.kept.tolist())), found.kept

    def __repr__(self) -> str:
        return f"Labeled({str(self.path)!r}, {self.format!r}, {len(self._vectors)} rows)"


def _rows(path: Path, vectors: NDArray[Any], kept: NDArray[np.int64], in_place: bool) -> NDArray[Any]:
    """Some rows, in their order, copied or moved up.

    NaN is looked for here, as later nobody knows which row of the file one was.
    """
    target = vectors if in_place else np.empty((len(kept), vectors.shape[1]), vectors.dtype)
    step = max(1, _BLOCK_BYTES // max(1, vectors[:1].nbytes))
    for start in range(0, len(kept), step):  # no row is read after it was written to, as rows only move up
        block = vectors[kept[start : start + step]]
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            row = int(kept[start + int(finite.argmin())])
            raise FileError(path, "NaN or inf; all values must be finite; mend the file", row=row)
        target[start : start + len(block)] = block
    return target[: len(kept)]


def _outside() -> int:
    """The stack level, for a warning of the caller's, of the first code that is not fastvec's."""
    level, frame = 1, sys._getframe(1)
    while frame.f_code.co_filename.startswith(_PACKAGE) and frame.f_back is not None:
        level, frame = level + 1, frame.f_back
    return level
