"""Rows of one place, such as a process of a cluster: how they are encoded there, and what they are asked.

    of_blocks, once, FolderShard                make a Shard
    nearest, multiplied, in_range, fetched      are asked of one, as are verified and facts
    best, sorted_ranges, joined, nothing        make one answer of those of several shards

Answers have float64 scores and the numbers that rows have among those of all shards: these two define the
order of answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import _arguments, _checks
from .._request import Request
from .._snapshot import Snapshot
from ..kernels import analogy, cosmul, filters, matrix, metrics, refine, rescore, threads
from ..kernels import rows as row_sums
from ..kernels.compile import default_mode
from ..results import Float32, Int64
from . import base, cpu, fetching

if TYPE_CHECKING:
    from ..index import Index

Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Layout(NamedTuple):
    """Which rows a shard has: runs of consecutive numbers, in rising order."""

    first: Int64
    """The first number of each run."""
    at: Int64
    """(runs + 1,): the place of that row in the shard; last the number of rows."""

    @classmethod
    def of(cls, runs: Sequence[tuple[int, int]]) -> Layout:
        """Of runs as (first number, rows), in rising order; runs that meet become one."""
        first: list[int] = []
        at = [0]
        for start, count in runs:
            if first and start == first[-1] + at[-1] - at[-2]:
                at[-1] += count
            elif count:
                first.append(start)
                at.append(at[-1] + count)
        return cls(np.array(first, np.int64), np.array(at, np.int64))

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self.at[-1])

    def numbers(self, places: Int64) -> Int64:
        """The numbers of rows at these places; −1 stays."""
        if not len(self.first):
            return places
        run = np.searchsorted(self.at, places, "right") - 1
        return np.where(places < 0, -1, places + (self.first - self.at[:-1])[np.maximum(run, 0)])

    def places(self, numbers: Int64) -> Int64:
        """The places of rows with these numbers; −1 for those of other shards."""
        if not len(self.first):
            return np.full_like(numbers, -1)
        run = np.searchsorted(self.first, numbers, "right") - 1
        places = numbers - self.first[run] + self.at[run]
        return np.where((run >= 0) & (places < self.at[run + 1]), places, -1)

    def cut(self, mask: Bools) -> Bools:
        """The entries of this shard's rows; the last axis of ``mask`` has one for each number."""
        runs = zip(self.first.tolist(), np.diff(self.at).tolist(), strict=True)
        parts = [mask[..., first : first + count] for first, count in runs]
        return np.ascontiguousarray(np.concatenate(parts, axis=-1) if parts else mask[..., :0])


class Asked(NamedTuple):
    """What all shards are asked."""

    queries: Float32
    """(m, dims)."""
    k: int
    metric: str
    dims: int
    num_threads: int | None = None
    """None: as many as a task of the shard's process may use."""

    def of(self, first: int, last: int) -> Asked:
        """The same for the queries from ``first`` to ``last``."""
        return self._replace(queries=self.queries[first:last])


class Filter(NamedTuple):
    """The rows of a shard that may be returned, by place."""

    allowed: Any
    """bool (rows,); None: all."""
    exclusions: filters.Exclusions | None


class Ranked(NamedTuple):
    """Rows of each query by their float64 scores and numbers, filled up with −inf and −1."""

    scores: Float64
    indices: Int64


class RankedRanges(NamedTuple):
    """All rows that reach a score, of any query: its number, the float64 score, and the row."""

    query: Int64
    scores: Float64
    indices: Int64


class Shard:
    """Rows of one place, and which rows of all they are."""

    def __init__(self, rows: Snapshot, layout: Layout) -> None:
        self.rows, self.layout = rows, layout

    def __sizeof__(self) -> int:
        """Bytes of codes and vectors, for who decides whether to move them."""
        store = self.rows.store
        return object.__sizeof__(self) + self.rows.nbytes + 4 * store.rows * store.dims

    def __reduce__(self) -> Any:
        from ..index import Index

        return _again, (Index._of(self.rows, "cosine"), self.layout)

    def request(self, asked: Asked, filter: Filter) -> Request:
        """The question to the rows of this shard."""
        return self.rows.request(
            asked.queries,
            min(asked.k, max(1, self.layout.rows)),
            metric=asked.metric,
            dims=asked.dims,
            where=filter.allowed,
            exclude=filter.exclusions,
            num_threads=asked.num_threads,
        )

    @contextmanager
    def naming_rows(self) -> Iterator[None]:
        """Let an error about a row at a place name its number."""
        try:
            yield
        except base.RowChangedError as error:
            raise base.RowChangedError(int(self.layout.numbers(np.array([error.args[0]]))[0])) from None

    def scores(self, request: Request, query: Int64, places: Int64) -> Float64:
        """The exact scores of pairs of a query of the request and a row."""
        store, positions = self.rows.store, self.rows.positions(places, "rows")
        queries, how = (request.queries, request.squares), (request.metric, request.num_threads)
        if store.matrix.is_float32:
            originals = refine.originals(*queries, store.matrix, request.dims)
            exact, bad = rescore.score_pairs(query, positions, originals, *how)
        else:  # of a folder with a narrower dtype
            exact, bad = fetching.scored(store.fetch, query, positions, queries, *how)
        with self.rows.naming_rows():
            store.refuse(bad, request.dims)
        return exact


def nearest(shard: Shard, asked: Asked, filter: Filter) -> Ranked:
    """The nearest rows of a shard."""
    with shard.naming_rows():
        request = shard.request(asked, filter)
        places = shard.rows.search(request).indices
        query, rank = np.nonzero(places >= 0)
        scores = np.full(places.shape, -np.inf)
        scores[query, rank] = shard.scores(request, query, places[query, rank])
    return Ranked(scores, shard.layout.numbers(places))


def multiplied(
    shard: Shard, asked: Asked, filter: Filter, inputs: analogy.InputRows, source: Float32
) -> Ranked:
    """The best rows of a shard by 3CosMul; ``inputs`` are rows of ``source``."""
    if shard.layout.rows == 0:
        return Ranked(np.empty((len(asked.queries), 0)), np.empty((len(asked.queries), 0), np.int64))
    with shard.naming_rows():
        request = shard.request(asked, filter)
        places = shard.rows.multiply(request, inputs, matrix.of((source,))).indices
        query, rank = np.nonzero(places >= 0)
        # Each pair of question and row, once for each input of the question.
        counts = np.diff(inputs.offsets)[query]
        ends = np.cumsum(counts)
        step = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
        words = inputs.numbers[np.repeat(inputs.offsets[query], counts) + step]
        words_asked = shard.request(asked._replace(queries=source), Filter(None, None))
        cosines = shard.scores(words_asked, words, np.repeat(places[query, rank], counts))
        scores = np.full(places.shape, -np.inf)
        positives = np.repeat(inputs.middle[query] - inputs.offsets[query], counts)
        scores[query, rank] = cosmul.of_cosines(cosines, ends - counts, counts, step < positives)
    return Ranked(scores, shard.layout.numbers(places))


def in_range(shard: Shard, asked: Asked, filter: Filter, least: np.float32) -> RankedRanges:
    """The rows of a shard whose score, as float32, is at least ``least``."""
    with shard.naming_rows():
        request = shard.request(asked, filter)
        offsets, _, places = shard.rows.ranges(request, least)
        query = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        return RankedRanges(query, shard.scores(request, query, places), shard.layout.numbers(places))


def fetched(shard: Shard, numbers: Int64) -> list[tuple[Int64, Float32]]:
    """Those of some rows that a shard has: their places among ``numbers``, and they themselves."""
    places = shard.layout.places(numbers)
    here = np.flatnonzero(places >= 0)
    return [(here, shard.rows.fetch(places[here]))]


def verified(shard: Shard) -> None:
    """Encode the rows of a shard again, and compare."""
    with shard.naming_rows():
        shard.rows.verify()


class Facts(NamedTuple):
    """What is known of a shard where it is not."""

    layout: Layout
    dims: int
    nbytes: int


def facts(shard: Shard, number: int) -> list[tuple[int, Facts]]:
    """The facts of a shard and its number, as a list to be joined with those of others."""
    return [(number, Facts(shard.layout, shard.rows.store.dims, shard.rows.nbytes))]


def joined(parts: Sequence[list[Any]]) -> list[Any]:
    """Lists, one after another."""
    return [item for part in parts for item in part]


def nothing(parts: Sequence[None]) -> None:
    """No answer, where a question is answered by not raising."""


class best:
    """The k best of several answers, which have no row in common."""

    def __init__(self, k: int) -> None:
        self.k = k

    def __call__(self, parts: Sequence[Ranked]) -> Ranked:
        if len(parts) == 1:
            return Ranked(parts[0].scores[:, : self.k], parts[0].indices[:, : self.k])
        scores = np.concatenate([part.scores for part in parts], axis=1)
        indices = np.concatenate([part.indices for part in parts], axis=1)
        last = np.where(indices < 0, np.iinfo(np.int64).max, indices)
        with default_mode():  # comparisons, too, see subnormal scores as they are
            order = np.lexsort((last, -scores), axis=1)[:, : self.k]
        return Ranked(np.take_along_axis(scores, order, 1), np.take_along_axis(indices, order, 1))


def sorted_ranges(parts: Sequence[RankedRanges]) -> RankedRanges:
    """Several answers, which have no row in common, as one."""
    query, scores, indices = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    with default_mode():
        order = np.lexsort((indices, -scores, query))
    return RankedRanges(query[order], scores[order], indices[order])


def of_blocks(
    blocks: Sequence[Any], runs: Sequence[tuple[int, int]], *, metric: str, screen: base.Setting
) -> Shard:
    """A shard of blocks of rows, of which ``runs`` say (first number, rows).

    Raises:
        ValueError: if a row is not finite, by its number; or as an Index does.
    """
    screen = "off" if metric not in metrics.BOUNDED else screen
    return Shard(Snapshot(cpu.encoded(_whole(blocks, runs), copy=False, screen=screen)), Layout.of(runs))


def once(block: Any, run: tuple[int, int]) -> Shard:
    """A shard of a block of rows for a single question, of any metric; raises as ``of_blocks`` does."""
    return Shard(Snapshot(cpu.one_shot(_whole([block], [run]))), Layout.of([run]))


def _whole(blocks: Sequence[Any], runs: Sequence[tuple[int, int]]) -> Float32:
    """The rows of all blocks, checked."""
    parts = []
    for block, (first, count) in zip(blocks, runs, strict=True):
        name = f"vectors from row {first:,} on" if first else "vectors"
        rows = _arguments.matrix(block, name)
        if len(rows) != count:
            raise ValueError(f"{name}: {len(rows)} rows came where {count} were announced")
        bad = row_sums.all_squares(rows, np.empty(count), threads.get_num_threads())
        _checks.refuse_row(bad, rows, "vectors", first)
        parts.append(rows)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _again(index: Index, layout: Layout) -> Shard:
    return Shard(index._rows.now(), layout)


class FolderShard(Shard):
    """A shard whose rows are in an Index folder, from which it is opened again wherever it is needed."""

    def __init__(self, path: str, first: int, memory: bool) -> None:
        from ..files import indexed

        index = indexed.renumbered(path, memory=memory)
        super().__init__(index._rows.now(), Layout.of([(first, len(index))]))
        self._opened = path, first, memory

    def __reduce__(self) -> Any:
        return FolderShard, self._opened


def folder_facts(path: str) -> tuple[str, int, int]:
    """The metric, rows and dims of an Index folder."""
    from ..files import indexed

    index = indexed.renumbered(path)
    return index.metric, len(index), index.dims
