"""Int8 rows as they lie in this computer's memory: the codes are their values, and no float32 copy is kept.

A search reads codes, and scores exactly what is left from the int8 rows. What else there is (joins, 3CosMul,
a folder) takes float32 rows, which are made for the time of the call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .._request import Request
from ..kernels import analogy, direct, matrix, metrics
from ..results import Float32, Int64, Pairs, Ranges, TopK
from . import joins
from .base import Arrays, Pieces
from .cpu import CpuStore


class Int8Store(CpuStore):
    """Blocks of int8 rows without screens and directions; ``base.Store`` documents the methods."""

    int8 = True

    def widened(self) -> CpuStore:
        """A store of the same rows as float32, with the same codes."""
        blocks = tuple(
            block._replace(vectors=block.vectors.astype(np.float32), room=None, owned=True)
            for block in self.blocks
        )
        return CpuStore(blocks, screen=self.screen)

    def _found(self, request: Request) -> TopK:
        return super()._found(_of_int8(request))

    def ranges(self, request: Request, least: np.float32) -> Ranges:
        """All rows whose score, as float32, is at least ``least``, for each query."""
        return super().ranges(_of_int8(request), least)

    def exact_scores(
        self, request: Request, query: int, rows: Int64
    ) -> tuple[npt.NDArray[np.float64], Float32]:
        """The scores of one query with some rows, and as they are published."""
        return super().exact_scores(_of_int8(request), query, rows)

    def pair_score(self, row: int, other: int, metric: str) -> float:
        """The published score of one row with another."""
        both = matrix.LAYOUT.of(matrix.of((self.fetch(np.array([row, other])),)))
        score: float = direct.pair_score(metric)(both.at, 0, 1, self.dims)
        return score

    def fetch(self, numbers: Int64) -> Float32:
        """Copies of the rows with these numbers, as float32."""
        return super().fetch(numbers).astype(np.float32, copy=False)

    def pairs(self, asked: joins.Asked, other: CpuStore | None) -> Iterator[Pairs]:
        """As in ``joins``."""
        return self.widened().pairs(asked, other)

    def groups(self, asked: joins.Asked) -> Int64:
        """As in ``joins``."""
        return self.widened().groups(asked)

    def multiply(self, request: Request, inputs: analogy.InputRows, source: matrix.Matrix) -> TopK:
        """The ranking by 3CosMul for questions whose inputs are rows of a float32 matrix, ``source``."""
        return self.widened().multiply(request, inputs, source)

    def added(self, rows: npt.NDArray[Any], *, owned: bool) -> CpuStore:
        """A store with further rows appended: of int8 if these are, too."""
        if self.rows and rows.dtype != np.int8:
            return self.widened().added(rows, owned=owned)
        return super().added(rows, owned=owned)

    def reopened(self, kept: int, blocks: Sequence[Arrays], owned: Sequence[bool]) -> CpuStore:
        """A store of the first ``kept`` blocks, followed by blocks that were opened, which are float32."""
        return self.widened().reopened(kept, blocks, owned)

    def stored(self) -> Pieces:
        """The arrays that a folder stores, with float32 rows."""
        return self.widened().stored()


def _of_int8(request: Request) -> Request:
    """The request as kernels of int8 rows take it."""
    return request._replace(metric=metrics.of_int8(request.metric))
