"""INPUT of `fastvec embed`, which is read several times and is never completely in memory.

The first pass checks every record, so that nothing is sent or made if one is wrong; the others give
texts to send, and texts and columns to write.
"""

from __future__ import annotations

import os
import shutil
import stat
from array import array
from collections.abc import Callable, Collection, Iterator
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from .decoding import ended_lines, pieces
from .failures import InputChanged
from .kept_columns import Kinds
from .records import Columns, Record, format_of, is_blank, records

if TYPE_CHECKING:
    from ..models import Model
    from .output import Progress

_EVERY = 1024  # records from one report of progress to the next
_SHOWN = 5  # lines in an error


class TextInput:
    """A file of texts, which must not change while it is used.

    Raises:
        ValueError: something is wrong with the file; the message names the line.
        InputChanged: a program has written to it since it was opened.
    """

    def __init__(self, file: IO[bytes], name: str, format: str | None, chosen: Columns) -> None:
        self.name = name
        self._file, self._start = file, file.tell()
        self._format, self._chosen = format or format_of(name), chosen
        self._identity = self._identity_now()
        self._kinds = Kinds(len(chosen.keep), typed=self._format == "jsonl")
        self._left_out: Collection[int] = ()
        self._records = 0
        self.blank, self.too_long = Lines(), Lines()

    def check(
        self, model: Model, prefix: str, *, skip_empty: bool, skip_too_long: bool, progress: Progress
    ) -> None:
        """Read all records; refuse those that are wrong, or leave them out if an option says so."""
        left_out = array("q")
        too_many, tokens = _too_many_tokens(model), 0
        for number, record in enumerate(self._all(progress)):
            self._records += 1
            if is_blank(record.text):
                self.blank.add(record.line)
            elif count := too_many(prefix + record.text):
                tokens = tokens or count
                self.too_long.add(record.line)
            else:
                if record.kept:
                    self._kinds.meet(record.kept)
                continue
            left_out.append(number)
        self._left_out = frozenset(left_out)
        wrong = []
        if self.blank and not skip_empty:
            one = len(self.blank) == 1
            it = "it" if one else "them"
            what = "the text is" if one else f"{len(self.blank):,} texts are"
            wrong.append(f"{self.blank}: {what} blank; --skip-empty leaves {it} out")
        if self.too_long and not skip_too_long:
            what = f"the text has about {tokens:,} tokens, and model {model.name!r} takes"
            if len(self.too_long) > 1:
                what = f"{len(self.too_long):,} texts have more tokens than model {model.name!r} takes,"
            wrong.append(
                f"{self.too_long}: {what} at most {model.max_tokens_per_text:,}; shorten or split, or "
                "leave out with --skip-failed"
            )
        if wrong:
            raise ValueError(f"{self.name}: {'; '.join(wrong)}")
        if not len(self):
            raise ValueError(f"{self.name} holds no texts" + (" but blank ones" if self.blank else ""))

    def leave_out(self, rows: Collection[int]) -> None:
        """Leave out more rows, by their present numbers."""
        places = {number for row, (number, _) in enumerate(self._counted()) if row in rows}
        self._left_out = frozenset(self._left_out) | places

    def __len__(self) -> int:
        """The number of rows, which are the records that are not left out."""
        return self._records - len(self._left_out)

    def texts(self, progress: Progress | None = None) -> Rows:
        """The text of every row."""
        return Rows(self, lambda record: record.text, progress)

    def columns(self) -> dict[str, Rows]:
        """The columns that are kept."""

        def column(place: int) -> Rows:
            return Rows(self, lambda record: self._kinds.converted(record.kept[place], place))

        return {name: column(place) for place, name in enumerate(self._chosen.keep)}

    def lines_of(self, rows: Collection[int]) -> Lines:
        """The lines on which these rows begin."""
        lines = Lines()
        for row, (_, record) in enumerate(self._counted()):
            if row in rows:
                lines.add(record.line)
        return lines

    def _counted(self) -> Iterator[tuple[int, Record]]:
        left_out = self._left_out
        return ((n, record) for n, record in enumerate(self._all()) if n not in left_out)

    def _all(self, progress: Progress | None = None) -> Iterator[Record]:
        """Every record of the file; several passes may go on at the same time, each at its own place."""
        place = _Place(self._file, self._start)
        total = self._identity.size - self._start
        self._refuse_changed()
        try:
            for number, record in enumerate(records(ended_lines(pieces(place)), self._format, self._chosen)):
                if progress is not None and number % _EVERY == 0:
                    progress((place.at - self._start) >> 20, total >> 20)
                yield record
        except ValueError as error:
            self._refuse_changed()
            raise ValueError(f"{self.name}: {error}") from error
        self._refuse_changed()

    def _identity_now(self) -> Any:
        from ..files.ordinary import Identity

        return Identity.of(os.fstat(self._file.fileno()))

    def _refuse_changed(self) -> None:
        if self._identity_now() != self._identity:
            raise InputChanged(
                f"{self.name} was written to while it was read; start again when nobody writes to it"
            )


class Rows:
    """One value of each row of an input; it can be iterated several times."""

    def __init__(
        self, source: TextInput, value: Callable[[Record], Any], progress: Progress | None = None
    ) -> None:
        self._source, self._value, self._progress = source, value, progress

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[Any]:
        total = len(self)
        for row, (_, record) in enumerate(self._source._counted()):
            if self._progress is not None and row % _EVERY == 0:
                self._progress(row, total)
            yield self._value(record)


class Lines:
    """Numbers of lines, of which a message shows the first few."""

    def __init__(self) -> None:
        self._numbers = array("q")

    def add(self, number: int) -> None:
        """Add the number of a line."""
        self._numbers.append(number)

    def __len__(self) -> int:
        return len(self._numbers)

    def tolist(self) -> list[int]:
        """All numbers."""
        return self._numbers.tolist()

    def __str__(self) -> str:
        first = [f"{number:,}" for number in self._numbers[:_SHOWN]]
        if len(self) == 1:
            return f"line {first[0]}"
        if len(self) > _SHOWN:
            return f"lines {', '.join(first)} and {len(self) - _SHOWN:,} more"
        return f"lines {', '.join(first[:-1])} and {first[-1]}"


class _Place:
    """A file that is read from its own place on, even if others read it in between."""

    def __init__(self, file: IO[bytes], at: int) -> None:
        self._file, self.at = file, at

    def read(self, size: int, /) -> bytes:
        """``size`` bytes, or fewer at the end of the file."""
        self._file.seek(self.at)
        data = self._file.read(size)
        self.at += len(data)
        return data


def _too_many_tokens(model: Model) -> Callable[[str], int]:
    """A function of a text: about its number of tokens if that is too many for the model, else 0."""
    from .._embedding.texts import byte_count
    from .._embedding.tokens import count_tokens

    limit, tokenizer = model.max_tokens_per_text, model.tokenizer
    if limit is None:
        return lambda text: 0

    def count_if_too_many(text: str) -> int:
        # A token covers at least one byte, so that short texts need no count.
        tokens = count_tokens(text, tokenizer) if byte_count(text) > limit else 0
        return tokens if tokens > limit else 0

    return count_if_too_many


def is_ordinary(source: BinaryIO) -> bool:
    """Whether a file can be read more than once."""
    try:
        return stat.S_ISREG(os.fstat(source.fileno()).st_mode)
    except (OSError, ValueError, AttributeError):  # stdin may not be a file
        return False


def spool(source: BinaryIO, file: IO[bytes]) -> None:
    """Copy a pipe into a file, which can be read more than once."""
    shutil.copyfileobj(source, file)
    file.seek(0)
