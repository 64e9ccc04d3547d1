"""The result of reading a file."""

from __future__ import annotations

import itertools
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._checks import first_not_finite
from .._once import once
from .columns import Columns, Value
from .errors import FileError

if TYPE_CHECKING:
    from ..choices import Metric
    from ..index import Index

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_BLOCK_BYTES = 1 << 24

WordsAre = Literal["unchecked", "not blank", "different"]
"""What is known of words; different words are not blank either."""


class SavedIndex(NamedTuple):
    """The Index in a file."""

    metric: Metric
    open: Callable[[], Index] | None
    """Returns the Index; None if only some of its rows were read. Its rows have the numbers 0, 1, 2, ..."""
    living: Callable[[], Index] | None = None
    """Likewise, with the numbers that its rows have in the file."""


class Labeled:
    """The vectors of a file, its words and further columns, which are read on first use.

    All have the content of the moment when the file was opened. Another file may take its name afterwards;
    but if the file itself is written to before the words are read, using them raises FileError.

    A row whose word is blank, or repeats an earlier one, is left out with a warning, or refused if
    ``strict``. If ``repeated``, words may repeat.
    """

    def __init__(
        self,
        path: Path,
        format: str,
        vectors: NDArray[Any] | Callable[[], NDArray[Any]],
        read_words: Callable[[], tuple[str, ...]],
        metadata: Mapping[str, str] | None = None,
        *,
        words_are: WordsAre = "unchecked",
        columns: Columns | None = None,
        saved: SavedIndex | None = None,
        rows: int | None = None,
    ) -> None:
        """The content that the reader of a format has opened.

        ``vectors`` may be a function that makes them on first use; then ``rows`` is their number.
        ``words_are``: what is known of the words without reading them, because fastvec has written them or
        the file has no words.
        """
        self.path = path
        self.format = format
        """Name of the format, as in ``FORMATS``."""
        self.metadata: Mapping[str, str] = dict(metadata or {})
        """What the file says about its vectors, such as ``model``."""
        self.strict = False
        """Whether blank words, and repeated ones unless ``repeated``, are refused."""
        self.repeated = False
        """Whether words may repeat, so that every row with a word that is not blank counts."""
        self._words_are, self._columns, self._saved = words_are, columns, saved
        self._read_words = read_words
        if callable(vectors):
            assert rows is not None
            self._make, self._rows = vectors, rows
        else:
            self._vectors, self._rows = vectors, len(vectors)

    @property
    def settled(self) -> bool:
        """Whether all rows are known to count, without reading the words."""
        return self._words_are == "different" or (self._words_are == "not blank" and self.repeated)

    @property
    def words(self) -> tuple[str, ...]:
        """n words, in the order of the vectors; they are different unless ``repeated``."""
        return self._checked[0]

    @once
    def _vectors(self) -> NDArray[Any]:
        return self._make()

    @once
    def vectors(self) -> NDArray[Any]:
        """(n, dims): mapped into memory if the format allows it and no row is left out; not yet checked
        for NaN."""
        return self._left_out(in_place=False)

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the further columns."""
        return () if self._columns is None else tuple(self._columns)

    @once
    def columns(self) -> Mapping[str, tuple[Value, ...]]:
        """Further columns: n values each (str, int, float, bool or None); each is read on first use."""
        return Columns(self.column_names, self._column)

    def _column(self, name: str) -> tuple[Value, ...]:
        assert self._columns is not None
        values = self._columns[name]
        if len(values) != self._rows:
            raise FileError(self.path, f"{len(values)} values of {name!r} for {self._rows} vectors")
        counting = None if self.settled else self._checked[1]
        return values if counting is None else tuple(itertools.compress(values, counting.tolist()))

    def index(self) -> Index:
        """A new Index of the vectors; if the file holds one and all its rows count, that one.

        Raises:
            FileError: (a ValueError) if a vector has NaN or inf; the message names the row.
        """
        from ..index import Index

        saved = self._saved
        if saved is not None and saved.open is not None and (self.settled or len(self.vectors) == self._rows):
            return saved.open()
        with self._naming():
            return Index(self.vectors, metric="cosine" if saved is None else saved.metric)

    def living_index(self) -> Index:
        """``index``, in which rows have the numbers that they have in the file, whose order is the same."""
        saved = self._saved
        if saved is None or saved.living is None or not (self.settled or len(self.vectors) == self._rows):
            return self.index()
        return saved.living()

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Turn an error about the vectors into an error about the file."""
        try:
            yield
        except FileError:
            raise
        except ValueError as error:
            raise FileError(self.path, f"{error}; mend the file") from error

    def settle(self) -> None:
        """Leave rows out now, in place; only for new vectors in memory, to which nothing else refers."""
        self._left_out(in_place=True)

    def _left_out(self, *, in_place: bool) -> NDArray[Any]:
        counting = None if self.settled else self._checked[1]
        if counting is not None and len(counting) == len(
            self._vectors
        ):  # otherwise the rows have been left out already
            self._vectors = _rows(self.path, self._vectors, np.flatnonzero(counting), in_place)
        return self._vectors

    @once
    def _checked(self) -> tuple[tuple[str, ...], NDArray[np.bool_] | None]:
        """The words that count, and a bool for each row whether it counts (None: all rows do)."""
        from ..labels import blanks, faults

        words = self._read_words()
        if len(words) != self._rows:
            raise FileError(self.path, f"{len(words)} words for {self._rows} vectors; mend the file")
        problem = blanks(words) if self.repeated else faults(words)
        if problem is None:
            return words, None
        if self.strict or self.settled:
            hint = "mend the file" + ("" if self.settled else ", or read it without strict=True")
            raise FileError(self.path, f"{problem.message}; {hint}")
        rule = "such rows are left out" if self.repeated else "the first of equal words counts"
        count = int(problem.counting.sum())
        warnings.warn(
            f"{self.path}: {problem.message}; {rule}, so {count} of {len(words)} rows are read",
            stacklevel=_outside(),
        )
        return tuple(itertools.compress(words, problem.counting.tolist())), problem.counting

    def __repr__(self) -> str:
        count = len(self._vectors) if "_vectors" in self.__dict__ else self._rows
        return f"Labeled({str(self.path)!r}, {self.format!r}, {count} rows)"


def _rows(path: Path, vectors: NDArray[Any], numbers: NDArray[np.int64], in_place: bool) -> NDArray[Any]:
    """The rows that count, in their order, copied or moved up.

    NaN is sought here, while it is still known which row of the file has it.
    """
    target = vectors if in_place else np.empty((len(numbers), vectors.shape[1]), vectors.dtype)
    step = max(1, _BLOCK_BYTES // max(1, vectors[:1].nbytes))
    # Rows only move up, so no row is read after it was overwritten.
    for start in range(0, len(numbers), step):
        block = vectors[numbers[start : start + step]]
        if (bad := first_not_finite(block)) >= 0:
            row = int(numbers[start + bad])
            raise FileError(path, "NaN or inf; all values must be finite; mend the file", row=row)
        target[start : start + len(block)] = block
    return target[: len(numbers)]


def _outside() -> int:
    """The stack level, for a warning by the calling function, of the nearest code outside fastvec."""
    level, frame = 1, sys._getframe(1)
    while frame.f_code.co_filename.startswith(_PACKAGE) and frame.f_back is not None:
        level, frame = level + 1, frame.f_back
    return level
