"""What reading a file gives."""

from __future__ import annotations

import itertools
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._once import once
from .columns import Columns, Value
from .errors import FileError

if TYPE_CHECKING:
    from ..index import Index

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_BLOCK_BYTES = 1 << 24


class Labeled:
    """Vectors of a file, their words and further columns, which are read when they are first asked for.

    All are of the moment when the file was opened: another file may take its name afterwards, and if
    something is written into it before the words are read, asking for them raises FileError.

    Of equal words the first counts; a row of a blank word or of one that repeats another is left out,
    with a warning, or refused if ``strict``. If ``repeated``, words may repeat.
    """

    def __init__(
        self,
        path: Path,
        format: str,
        vectors: NDArray[Any],
        read_words: Callable[[], tuple[str, ...]],
        metadata: Mapping[str, str] | None = None,
        *,
        sound: bool = False,
        may_repeat: bool = True,
        columns: Columns | None = None,
        saved: Callable[[], Index] | None = None,
        metric: str = "cosine",
    ) -> None:
        """What a format's reader has opened.

        ``sound``: no word is blank, as fastvec wrote them, or there are none; ``may_repeat``: whether
        such words may be equal. ``saved``: gives the Index of all rows that lies in the file.
        """
        self.path = path
        self.format = format
        """Name of the format, as in ``FORMATS``."""
        self.metadata: Mapping[str, str] = dict(metadata or {})
        """What the file says about its vectors, such as ``model``."""
        self.strict = False
        """Whether words that are blank, or repeat others if they may not, are refused."""
        self.repeated = False
        """Whether words may repeat, so that every row of one that is not blank counts."""
        self._sound, self._may_repeat = sound, may_repeat
        self._vectors, self._read_words, self._rows = vectors, read_words, len(vectors)
        self._columns, self._saved, self._metric = columns, saved, metric

    @property
    def settled(self) -> bool:
        """Whether it is known without reading the words that all rows count."""
        return self._sound and (self.repeated or not self._may_repeat)

    @property
    def words(self) -> tuple[str, ...]:
        """n words, in the order of the vectors; different, if not ``repeated``."""
        return self._checked[0]

    @once
    def vectors(self) -> NDArray[Any]:
        """(n, dims): mapped into memory where the format allows it and no row is left out; not yet checked
        for NaN."""
        return self._left_out(in_place=False)

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the further columns."""
        return () if self._columns is None else tuple(self._columns)

    @once
    def columns(self) -> Mapping[str, tuple[Value, ...]]:
        """Further columns: n values each (str, int, float, bool or None), read when one is asked for."""
        return Columns(self.column_names, self._column)

    def _column(self, name: str) -> tuple[Value, ...]:
        assert self._columns is not None
        values = self._columns[name]
        if len(values) != self._rows:
            raise FileError(self.path, f"{len(values)} values of {name!r} for {self._rows} vectors")
        kept = None if self.settled else self._checked[1]
        return values if kept is None else tuple(itertools.compress(values, kept.tolist()))

    def index(self) -> Index:
        """A new Index of the vectors: that which was saved, if there is one and all its rows count.

        Raises:
            FileError: (a ValueError) on NaN or inf, with the row.
        """
        from ..index import Index

        vectors = self.vectors
        if self._saved is not None and len(vectors) == self._rows:
            return self._saved()
        with self._naming():
            return Index(vectors, metric=self._metric)

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """What is wrong with the vectors, as an error of the file."""
        try:
            yield
        except FileError:
            raise
        except ValueError as error:
            raise FileError(self.path, f"{error}; mend the file") from error

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
        from ..labels import blanks, faults

        words = self._read_words()
        if len(words) != self._rows:
            raise FileError(self.path, f"{len(words)} words for {self._rows} vectors; mend the file")
        found = blanks(words) if self.repeated else faults(words)
        if found is None:
            return words, None
        if self.strict or self.settled:
            hint = "mend the file" + ("" if self.settled else ", or read it without strict=True")
            raise FileError(self.path, f"{found.said}; {hint}")
        rule = "such rows are left out" if self.repeated else "the first of equal words counts"
        warnings.warn(
            f"{self.path}: {found.said}; {rule}, so {int(found.kept.sum())} of {len(words)} rows are read",
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
