"""Building an Index in a folder, of rows that go by once: encoded block by block, written part by part.

While a block is written, the next one is encoded, on several threads. What all rows have in common, a
direction or the basis of a screen, is decided by rows spread over the whole source, or by its first block if
it yields rows only in their order. Every answer is the same whatever they are.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _arguments, _logs
from ._checks import MAX_DIMS, file_path
from ._embedding.progress import shown
from ._stores import base, blocks, directions, screens
from .choices import METRICS, Metric
from .files import ERRORS, FORMATS, FileError, building, part_arrays, row_sources
from .files.streams import may_repeat
from .kernels import direction, encode, metrics, screen, threads
from .labels import plain_label

PART_BYTES = 1 << 30
"""Float32 bytes of a part, at least; a part has a quarter of all rows before it if these are more."""
BLOCK_BYTES = 1 << 24
"""Float32 bytes that are encoded, or written, at a time."""
DTYPES = ("float32", "float16")

Report = Callable[[int, int | None], object]


class Plan(NamedTuple):
    """How rows are encoded."""

    facts: Mapping[str, Any]
    """What a manifest says of all parts, except the number of their rows."""
    along: direction.Direction | None
    basis: screen.Basis | None
    screening: screens.Screening | None
    """Complete once the first part is."""


class Made(NamedTuple):
    """A block that is encoded, and not yet written."""

    arrays: Mapping[str, NDArray[Any]]
    words: list[str] | None
    room: int
    """If it is the first of a part: for how many rows that is; else 0."""
    last: bool
    """Whether its part ends with it."""


class Settings(NamedTuple):
    """What a caller asks for."""

    metric: Metric
    screen: base.Setting
    dtype: str
    labeled: bool | None
    """Whether words are kept; None: if there are any."""


def settings(metric: Any, screen: Any, dtype: Any, labeled: bool | None) -> Settings:
    """Checked settings; raises for values that are not allowed."""
    metric = _arguments.one_of(metric, "metric", METRICS)
    if isinstance(screen, str) and screen == "auto" and metric not in metrics.BOUNDED:
        screen = "off"
    name = getattr(dtype, "__name__", None) or str(dtype)
    return Settings(metric, screen, _arguments.one_of(name, "dtype", DTYPES), labeled)


def build_from(
    value: Any,
    path: str | os.PathLike[str],
    asked: Settings,
    form: str | None,
    errors: str,
    progress: bool | Callable[[int, int | None], object],
) -> row_sources.Source:
    """``build`` of what a caller names or passes; returns the source."""
    _arguments.one_of(errors, "errors", ERRORS)
    if form is not None:
        form = _arguments.one_of(form, "format", tuple(FORMATS))
    source = row_sources.opened(value, form=form, errors=errors)
    with shown(progress, "building", "rows") as report:
        build(source, path, asked, report)
    return source


def build(source: row_sources.Source, path: str | os.PathLike[str], asked: Settings, report: Report) -> None:
    """Build the folder, or go on with building it."""
    if not 1 <= source.dims <= MAX_DIMS:
        raise ValueError(f"{source.name} has {source.dims} dimensions; it must have 1 to {MAX_DIMS:,}")
    if asked.labeled and not source.labeled:
        raise ValueError(f"{source.name} has no words; build an Index of it")
    if asked.labeled is None:
        asked = asked._replace(labeled=source.labeled)
    asked = asked._replace(screen=screens.checked(asked.screen, source.dims))
    target = Path(os.path.realpath(file_path(path, "path")))
    about = {
        "source": list(source.mark) if source.mark else None,
        "metric": asked.metric,
        "screen": asked.screen,
        "dtype": asked.dtype,
        "dims": source.dims,
        "words": bool(asked.labeled),
    }
    with building.unfinished(target, about) as work:
        if work is None:
            return
        if source.further:
            left = ", ".join(map(repr, source.further))
            warnings.warn(
                f"{source.name} has columns besides words and vectors, which are left out: {left}; "
                "files.write with format='index' keeps columns, of what memory holds",
                stacklevel=2,
            )
        with _logs.timed("the rows of %s were built into %s", source.name, target):
            _Build(source, asked, work, report).run()
        more: dict[str, Any] = {}
        if asked.labeled:
            more["metadata"] = dict(source.metadata)
            if _repeats(work):
                more["repeated"] = True
        work.finish(target, more)


def _repeats(work: building.Unfinished) -> bool:
    """Whether a label repeats; labels are read from the parts, some at a time."""
    return may_repeat(building.Labels(work))


class _Build:
    """A build under way."""

    def __init__(
        self, source: row_sources.Source, asked: Settings, work: building.Unfinished, report: Report
    ) -> None:
        self._source, self._asked, self._work, self._report = source, asked, work, report
        self._threads = threads.get_num_threads()
        self._plan: Plan | None = None if work.state is None else _resumed(work)
        self._writer: building.PartWriter | None = None

    def run(self) -> None:
        """Encode and write all rows that are not in finished parts."""
        pending: Made | None = None
        try:
            done = self._work.rows
            self._report(done, self._source.rows)
            for first, piece, room, last in self._pieces():
                encode_piece = functools.partial(self._encoded, first, piece, room, last)
                jobs: list[Callable[[], Any]] = [encode_piece, *self._writing(pending)]
                made = threads.run(_done, jobs, self._threads)[0]
                self._end(pending)
                pending = made
                done = first + len(piece.vectors)
                self._report(done, self._source.rows)
            if pending is None and self._work.state is None:  # no rows
                empty = row_sources.Block(np.empty((0, self._source.dims), np.float32), [])
                pending = self._encoded(0, empty, 0, False)
            threads.run(_done, self._writing(pending), self._threads)
            self._end(pending)
            if self._writer is not None:
                self._finish_part()
        finally:
            if self._writer is not None:
                self._writer.close()

    def _pieces(self) -> Iterator[tuple[int, row_sources.Block, int, bool]]:
        """Blocks cut to what is encoded at a time, and to parts: with the number of the first row, for how
        many rows a part is made if one begins, and whether a part ends."""
        source, row, left = self._source, self._work.rows, 0
        height = max(1, BLOCK_BYTES // (4 * source.dims))
        start = row if source.mark is not None else 0
        for block in self._compared(source.blocks(start), row - start):
            at = 0
            while at < len(block.vectors):
                room = 0
                if left == 0:
                    left = room = self._room(row)
                stop = at + min(height, left, len(block.vectors) - at)
                left -= stop - at
                words = None if block.words is None else block.words[at:stop]
                yield row, row_sources.Block(block.vectors[at:stop], words), room, left == 0
                row, at = row + stop - at, stop

    def _room(self, row: int) -> int:
        """For how many rows a part is made that begins with this one."""
        rows = max(1, PART_BYTES // (4 * self._source.dims), row // 4)
        total = self._source.rows
        return rows if total is None or total <= row else min(rows, total - row)

    def _compared(self, found: Iterator[row_sources.Block], count: int) -> Iterator[row_sources.Block]:
        """The blocks behind the first ``count`` rows, which must be those of the finished parts."""
        at = 0
        for block in found:
            known = min(len(block.vectors), count - at)
            if known > 0:
                self._compare(at, block.vectors[:known])
                at += known
                yield row_sources.Block(block.vectors[known:], block.words and block.words[known:])
            else:
                yield block
        if at < count:
            raise self._other(f"{at:,} rows, where {count:,} are finished")

    def _compare(self, first: int, vectors: Any) -> None:
        rows = self._float32(first, vectors)
        if (rows != self._work.vectors(first, first + len(rows))).any():
            raise self._other(f"other rows from {first:,} on")

    def _other(self, what: str) -> FileExistsError:
        return FileExistsError(
            f"{self._source.name} yields {what}, so it is not what {self._work.path} was begun with; "
            "remove that folder to begin anew"
        )

    def _float32(self, first: int, vectors: Any) -> NDArray[np.float32]:
        try:
            return _arguments.matrix(vectors, "rows")
        except ValueError as error:
            raise self._error(f"{error} (counted from row {first:,})") from error

    def _error(self, problem: str, row: int | None = None) -> ValueError:
        if self._source.path is not None:
            return FileError(self._source.path, f"{problem}; mend the file", row=row)
        place = "" if row is None else f", row {row}"
        return ValueError(f"{self._source.name}{place}: {problem}")

    def _encoded(self, first: int, piece: row_sources.Block, room: int, last: bool) -> Made:
        if piece.vectors.shape[1] != self._source.dims:
            raise self._error(f"{piece.vectors.shape[1]} dimensions, not {self._source.dims}", first)
        rows = self._float32(first, piece.vectors)
        plan = self._plan
        if plan is None:
            plan = self._plan = self._decided(rows)
        try:
            block = blocks.block_of(rows, plan.along, owned=False)
        except ValueError:
            bad = int(np.isfinite(rows).all(axis=1).argmin())
            raise self._error("NaN or inf; all values must be finite", first + bad) from None
        if plan.basis is not None:
            block = blocks.with_screen(block, plan.basis, self._threads)
        arrays = dict(blocks.pieces((block,)).blocks[0])
        if self._asked.dtype == "float16":
            arrays["vectors"] = self._narrow(first, rows)
        return Made(arrays, self._words(first, piece.words), room, last)

    def _narrow(self, first: int, rows: NDArray[np.float32]) -> NDArray[np.float16]:
        with np.errstate(over="ignore", under="ignore"):
            narrow = rows.astype(np.float16)
        differ = (narrow != rows).any(axis=1)
        if differ.any():
            problem = "a value that float16 does not hold exactly; build with dtype 'float32'"
            raise self._error(problem, first + int(differ.argmax()))
        return narrow

    def _words(self, first: int, words: Any) -> list[str] | None:
        if not self._asked.labeled:
            return None
        checked = [plain_label(word, "words", first + place) for place, word in enumerate(words)]
        for place, word in enumerate(checked):
            if not word.strip():
                raise self._error("its word is blank; give it one, or leave the row out", first + place)
        return checked

    def _writing(self, made: Made | None) -> list[Callable[[], Any]]:
        """What writes a block, to be done side by side."""
        if made is None:
            return []
        assert self._plan is not None
        if self._writer is None:
            rows = made.room or max(1, len(made.arrays["vectors"]))
            self._writer = self._work.part(self._plan.facts, rows)
        return [
            *self._writer.steps("vectors", made.arrays["vectors"]),
            functools.partial(self._write_codes, self._writer, made),
        ]

    def _write_codes(self, writer: building.PartWriter, made: Made) -> None:
        for name, array in made.arrays.items():
            if name != "vectors":
                writer.array(name, array)
        if made.words is not None:
            writer.words(made.words)

    def _end(self, made: Made | None) -> None:
        if made is not None and made.last:
            self._finish_part()

    def _finish_part(self) -> None:
        assert self._plan is not None
        assert self._writer is not None
        if self._work.state is None:
            self._plan = self._shared(self._plan, self._writer)
        self._work.finish_part(self._writer, self._plan.facts)
        self._writer = None

    def _decided(self, head: NDArray[np.float32]) -> Plan:
        """How rows are encoded, by a sample of them."""
        sample: Any = head if self._source.some is None else _Spread(self._source)
        along = None if isinstance(self._asked.screen, int) else directions.direction_for(sample)
        chosen = None if along else screens.basis_for(sample, self._asked.screen, self._threads)
        facts: dict[str, Any] = {"metric": self._asked.metric, "rows": 0, "dims": self._source.dims}
        if self._asked.dtype == "float16":
            facts["dtype"] = "<f2"
        if along is not None:
            facts["direction"] = {"lead": along.lead}
        if chosen is None:
            return Plan(facts, along, None, None)
        basis, shares = chosen
        none = np.empty(0, np.int64), np.empty((0, screens.NEAREST), np.int32)
        screening = screens.Screening(basis, shares, *none)
        facts["screen"] = screens.facts(screening, self._asked.screen)
        return Plan(facts, along, basis, screening)

    def _shared(self, plan: Plan, writer: building.PartWriter) -> Plan:
        """Write what all parts have in common into the first, whose rows are complete."""
        if plan.along is not None:
            writer.array("direction", plan.along.vector)
        if plan.screening is None:
            return plan
        coarse = encode.empty(writer.rows, plan.screening.basis.matrix.shape[1])._replace(
            norm=writer.read("norm")
        )
        coarse.codes[: writer.rows] = writer.read("screen_codes")
        coarse.scale[:], coarse.error[:] = writer.read("screen_scale"), writer.read("screen_tail")
        screening = plan.screening.with_pivots(writer.rows, writer.vectors, coarse, self._threads)
        facts = writer.facts = {**plan.facts, "screen": screens.facts(screening, self._asked.screen)}
        for name, array in screens.stored(screening).items():
            writer.array(name, array)
        return plan._replace(facts=facts, screening=screening)


def _done(job: Callable[[], Any]) -> Any:
    return job()


def _resumed(work: building.Unfinished) -> Plan:
    """How the rows of the finished parts are encoded."""
    assert work.state is not None
    facts = work.state.facts
    shared = part_arrays.shared(work.path, work.state)
    lead = facts.get("direction", {}).get("lead", 0)
    along = direction.measured(shared["direction"], lead) if "direction" in shared else None
    about = facts.get("screen", {"shares": (0.0, 0.0), "leading": 0})
    screening = screens.opened(shared, about["shares"], leading=about["leading"] > 0)
    return Plan(facts, along, screening and screening.basis, screening)


class _Spread:
    """The rows of a source, for taking samples of them."""

    def __init__(self, source: row_sources.Source) -> None:
        assert source.rows is not None
        self._source, self.shape = source, (source.rows, source.dims)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        assert self._source.some is not None
        numbers = np.array(range(len(self))[rows] if isinstance(rows, slice) else rows, np.int64)
        chosen = self._source.some(numbers % len(self))
        with np.errstate(all="ignore"):
            return np.ascontiguousarray(chosen, np.float32)
