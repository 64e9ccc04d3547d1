"""Rows in several places, such as the processes of a cluster: each is asked, and what they find is merged.

    ShardedStore        knows which rows are where, cuts a question into parts and publishes the answer
      Team              takes a question to all shards and brings back one merged answer
        Shard           rows of one place, encoded there (``shard.py``)

What travels is a question, the rows that it may not return, and candidates with their float64 scores. So an
answer has the same bits as that of an Index of all rows, whatever the shards are and in which order
their answers are merged.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .. import _arrays, _row_numbers
from .._request import Request
from ..kernels import analogy, filters, matrix
from ..kernels.compile import default_mode
from ..results import Float32, Int64, Ranges, TopK
from . import base
from .shard import (
    Asked,
    Facts,
    Filter,
    FolderShard,
    Layout,
    Ranked,
    RankedRanges,
    Shard,
    best,
    facts,
    fetched,
    folder_facts,
    in_range,
    joined,
    multiplied,
    nearest,
    nothing,
    sorted_ranges,
    verified,
)


def _published(scores: npt.NDArray[np.float64]) -> Float32:
    with default_mode(), np.errstate(over="ignore"):
        published: Float32 = scores.astype(np.float32) + np.float32(0.0)  # no −0.0
    return published


class Team(Protocol):
    """Shards, wherever they are."""

    near: bool
    """Whether they are in this process."""
    most: int
    """About how many bytes one question may have."""

    @property
    def count(self) -> int:
        """The number of shards."""

    def ask(
        self,
        question: Callable[..., Any],
        common: Sequence[Any],
        parts: Sequence[Sequence[Any]] | None,
        merge: Callable[[Sequence[Any]], Any],
        masks: Sequence[Any] | None = None,
    ) -> Any:
        """The merged answers of all shards to ``question(shard, *common, *part)``; a part for each shard.

        ``merge`` makes one answer of those of any shards, in any order, and merging some of them first
        changes nothing.
        ``masks`` are the rows of each shard that may be returned, in any form that the team knows how to
        bring to the shard; its part then begins with the ``Filter`` that they belong to.
        """


class Here:
    """Shards in this process."""

    near, most = True, 1 << 62

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.shards = shards

    @property
    def count(self) -> int:
        """The number of shards."""
        return len(self.shards)

    def ask(
        self,
        question: Callable[..., Any],
        common: Sequence[Any],
        parts: Sequence[Sequence[Any]] | None,
        merge: Callable[[Sequence[Any]], Any],
        masks: Sequence[Any] | None = None,
    ) -> Any:
        """As in ``Team``; one shard after another, as each uses all threads."""
        return merge(answers(question, self.shards, common, parts, masks))


def answers(
    question: Callable[..., Any],
    shards: Sequence[Shard],
    common: Sequence[Any],
    parts: Sequence[Sequence[Any]] | None,
    masks: Sequence[Any] | None,
) -> list[Any]:
    """The answer of each shard."""
    every = parts or [()] * len(shards)
    if masks is not None:
        every = [[part[0]._replace(allowed=mask), *part[1:]] for part, mask in zip(every, masks, strict=True)]
    return [question(shard, *common, *part) for shard, part in zip(shards, every, strict=True)]


class ShardedStore:
    """The rows of a team's shards. Of what ``base.Store`` documents, it has no ``vectors`` and ``stored``,
    and no rows in its ``matrix``: all rows are never in one place."""

    device = "dask"
    screen: base.Setting = "auto"

    def __init__(self, team: Team, known: Sequence[Facts]) -> None:
        self.team, self.layouts = team, [one.layout for one in known]
        self.rows = sum(layout.rows for layout in self.layouts)
        self.dims, self.nbytes = known[0].dims, sum(one.nbytes for one in known)

    def query_array(self, queries: Any) -> npt.NDArray[Any]:
        """Queries as an array of NumPy."""
        return _arrays.any_array(queries, "queries")

    def search(self, request: Request, masks: Sequence[Any] | None = None) -> TopK:
        """The nearest rows of each query; ``masks`` are the rows of each shard that may be returned."""
        return self._ranked(nearest, request, masks=masks)

    def multiply(self, request: Request, inputs: analogy.InputRows, source: matrix.Matrix) -> TopK:
        """The ranking by 3CosMul for questions whose inputs are rows of ``source``."""
        return self._ranked(multiplied, request, inputs, source.blocks[0])

    def _ranked(
        self,
        question: Callable[..., Ranked],
        request: Request,
        inputs: analogy.InputRows | None = None,
        source: Float32 | None = None,
        masks: Sequence[Any] | None = None,
    ) -> TopK:
        if len(request.queries) == 0 or self.rows == 0:
            return request.answer(request.nothing())
        found = request.room()
        for first, last in self._batches(request):
            common: list[Any] = [self._asked(request).of(first, last)]
            parts: list[list[Any]] = [[passing] for passing in self._filters(request, first, last)]
            if inputs is not None and source is not None:
                some = inputs.part(first, last)
                words, numbers = np.unique(some.numbers, return_inverse=True)
                more = [some._replace(numbers=numbers.reshape(-1)), source[words]]
                parts = [[*part, *more] for part in parts]
            ranked: Ranked = self.team.ask(question, common, parts, best(request.k), masks)
            found.scores[first:last], found.indices[first:last] = _published(ranked.scores), ranked.indices
        return request.answer(found)

    def ranges(self, request: Request, least: np.float32) -> Ranges:
        """All rows whose score, as float32, is at least ``least``, for each query."""
        m = len(request.queries)
        if m == 0 or self.rows == 0:
            return Ranges(np.zeros(m + 1, np.int64), np.empty(0, np.float32), np.empty(0, np.int64))
        parts = [[passing, least] for passing in self._filters(request, 0, m)]
        found: RankedRanges = self.team.ask(in_range, [self._asked(request)], parts, sorted_ranges)
        offsets = np.searchsorted(found.query, np.arange(m + 1))
        return Ranges(offsets, _published(found.scores), found.indices)

    @property
    def matrix(self) -> matrix.Matrix:
        """No rows: they are elsewhere, and ``fetch`` brings copies."""
        return matrix.of(())

    def fetch(self, numbers: Int64) -> Float32:
        """Copies of the float32 rows with these numbers."""
        if not len(numbers):
            return np.empty((0, self.dims), np.float32)
        found = self.team.ask(fetched, [numbers], None, joined)
        rows = np.empty((len(numbers), found[0][1].shape[1]), np.float32)
        for places, part in found:
            rows[places] = part
        return rows

    def verify(self) -> None:
        """Encode all rows again, where they are, and compare."""
        self.team.ask(verified, [], None, nothing)

    def _batches(self, request: Request) -> list[tuple[int, int]]:
        m, width = len(request.queries), request.dims * 4 + len(request.exclusions.mask[:1].reshape(-1))
        at_once = max(1, self.team.most // width)
        return [(first, min(first + at_once, m)) for first in range(0, m, at_once)]

    def _asked(self, request: Request) -> Asked:
        num_threads = request.num_threads if self.team.near else None
        return Asked(request.queries, request.asked, request.metric, request.dims, num_threads)

    def _filters(self, request: Request, first: int, last: int) -> list[Filter]:
        """What each shard may return to the queries from ``first`` to ``last``."""
        part = request.exclusions.part(first, last)
        offsets, rows = part.offsets - part.offsets[0], part.rows[part.offsets[0] : part.offsets[-1]]

        def of_shard(layout: Layout) -> Filter:
            allowed = layout.cut(request.allowed) if len(request.allowed) else None
            if not len(rows) and not len(part.mask):
                return Filter(allowed, None)
            runs = _row_numbers.without_missing(offsets, layout.places(rows))
            exclusions = filters.Exclusions.of_runs(*runs)
            return Filter(allowed, exclusions._replace(mask=layout.cut(part.mask)))

        return [of_shard(layout) for layout in self.layouts]

    def facts(self) -> dict[str, Any]:
        """None: each shard decides on its own screen."""
        return {}

    def refuse(self, row: int, dims: int) -> None:
        """Nothing: rows that are not finite are refused when they are encoded."""


def store_of(team: Team) -> ShardedStore:
    """The store of a team's shards; all rows must have the same width.

    Raises:
        ValueError: if they do not.
    """
    numbered: list[tuple[int, Facts]] = team.ask(facts, [], [[i] for i in range(team.count)], joined)
    known = [one for _, one in sorted(numbered, key=operator.itemgetter(0))]
    widths = {one.dims for one in known}
    if len(widths) > 1:
        raise ValueError(f"vectors have {' and '.join(map(str, sorted(widths)))} dimensions; they must agree")
    return ShardedStore(team, known)


def metric_of(paths: Sequence[str], known: Sequence[tuple[str, int, int]]) -> str:
    """The metric of several Index folders.

    Raises:
        ValueError: if they differ in metric or dims; the message names the folders.
    """
    metric, _, dims = known[0]
    for path, (other, _, width) in zip(paths, known, strict=True):
        if other != metric:
            raise ValueError(f"{path} has metric={other!r}, and {paths[0]} {metric!r}; they must agree")
        if width != dims:
            raise ValueError(f"{path} has vectors of {width} dims, and {paths[0]} of {dims}; they must agree")
    return metric


def first_numbers(known: Sequence[tuple[str, int, int]]) -> list[int]:
    """The number of the first row of each folder, where one follows another."""
    return [0, *itertools.accumulate(rows for _, rows, _ in known[:-1])]


def opened_here(paths: Sequence[str], *, memory: bool = False) -> tuple[ShardedStore, str]:
    """Several Index folders as one store, and their metric."""
    known = list(map(folder_facts, paths))
    metric, firsts = metric_of(paths, known), first_numbers(known)
    shards = [FolderShard(path, first, memory) for path, first in zip(paths, firsts, strict=True)]
    return store_of(Here(shards)), metric
