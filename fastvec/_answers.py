"""Exact answers with their float64 scores, over vectors of any number, which need not fit into memory.

Vectors are taken in blocks: each is searched as if it were all, and the answers are merged by what the order
of answers is defined by, the float64 score and then the row. So an answer does not depend on the blocks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _arguments
from .choices import Metric
from .index import Index
from .kernels import matrix, refine, rescore
from .kernels.threads import get_num_threads
from .results import Float32, Int64
from .search import knn

Float64 = npt.NDArray[np.float64]

BLOCK_VALUES = 1 << 28
"""Values of a block: 1 GiB as float32 where they must be converted, and a quarter of it for codes."""


class Answers(NamedTuple):
    """Ranked rows of each query, filled up with index −1 and score −inf."""

    scores: Float64
    indices: Int64

    def merged(self, other: Answers) -> Answers:
        """The best of two answers, which have no row in common; as many as this one has."""
        scores = np.concatenate([self.scores, other.scores], axis=1)
        indices = np.concatenate([self.indices, other.indices], axis=1)
        last = np.where(indices < 0, np.iinfo(np.int64).max, indices)
        order = np.lexsort((last, -scores), axis=1)[:, : self.indices.shape[1]]
        return Answers(np.take_along_axis(scores, order, 1), np.take_along_axis(indices, order, 1))


class Queries(NamedTuple):
    """Checked queries: float32 (m, dims), and Σ q² of each."""

    rows: Float32
    squares: Float64

    @classmethod
    def checked(cls, queries: Any, dims: int, width: int) -> Queries:
        """Queries of a caller for the first ``dims`` of ``width`` columns; raises if they are wrong."""
        rows = _arguments.matrix(queries, "queries", one_row=True)
        if rows.shape[1] not in (dims, width):
            _arguments.same_width(rows, width, "queries", "vectors")
        rows = rows[:, :dims]
        return cls(rows, _arguments.check_finite(rows, "queries", get_num_threads()))

    def part(self, first: int, last: int) -> Queries:
        """Those from ``first`` to ``last``."""
        return Queries(self.rows[first:last], self.squares[first:last])


def borders(rows: int, dims: int) -> list[tuple[int, int]]:
    """The first row of each block, and the first after it."""
    height = max(1, BLOCK_VALUES // dims)
    return [(start, min(start + height, rows)) for start in range(0, rows, height)]


class Block:
    """Some of the vectors, converted and checked.

    Args:
        vectors: all of them, (n, ≥ dims): an array, or what gives one for a slice of rows.
        start: the first row of the block.
        stop: the first row after it.
        dims: the number of columns that are used.
        metric: a name of ``metrics.TABLE``.
        encoded: keep the codes, because the block is searched more than once.
    """

    def __init__(
        self, vectors: Any, start: int, stop: int, dims: int, metric: Metric, *, encoded: bool = False
    ) -> None:
        name = f"vectors from row {start:,} on" if start else "vectors"
        rows = _arguments.to_float32(np.asarray(vectors[start:stop])[:, :dims], name)
        _arguments.check_finite(rows, name, get_num_threads())
        self.start, self.stop = start, stop
        self._rows, self._matrix, self._metric = rows, matrix.of((rows,)), metric
        self._index = Index(rows, metric=metric) if encoded else None

    def nearest(self, queries: Queries, k: int, where: npt.NDArray[np.bool_] | None = None) -> Answers:
        """The k nearest rows of each query, numbered as in all vectors."""
        if self._index is not None:
            indices = self._index.search(queries.rows, k, where=where).indices
        else:
            indices = knn(queries.rows, self._rows, k, metric=self._metric, where=where).indices
        indices = np.where(indices < 0, -1, indices + self.start)
        return Answers(self.scores(queries, indices), indices)

    def scores(self, queries: Queries, indices: Int64) -> Float64:
        """Exact scores of a query's ``indices`` (m, k), as far as they lie in this block; others get −inf."""
        query, place = np.nonzero((indices >= self.start) & (indices < self.stop))
        found = np.full(indices.shape, -np.inf)
        originals = refine.originals(queries.rows, queries.squares, self._matrix, self._rows.shape[1])
        found[query, place], _ = rescore.score_pairs(
            query, indices[query, place] - self.start, originals, self._metric, get_num_threads()
        )
        return found
