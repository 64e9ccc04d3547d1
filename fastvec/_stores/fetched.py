"""Rows whose codes are in memory or mapped, while the rows themselves are fetched: from a disk, or from a
narrower dtype. ``cpu`` has the stores of all other rows on this computer."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _arrays
from .._request import Request
from ..files.rows import Stream
from ..kernels import direct, direction, few, matrix, rescore, scan
from ..kernels.compile import default_mode
from ..kernels.native import Native
from ..results import Float32, Int64, Ranges, TopK
from . import blocks as _blocks
from . import cpu, fetching, passes, screens, windows
from .base import Pieces, Setting


def opened(
    pieces: Pieces,
    owned: Sequence[bool],
    *,
    screen: Setting = "off",
    shares: Sequence[float] = (0.0, 0.0),
    lead: int = 0,
) -> FetchedStore:
    """As ``cpu.opened``, of pieces whose vectors are fetched, in some blocks at least."""
    from ..files.rows import ArrayRows

    blocks: list[Any] = [
        {**block, "vectors": ArrayRows(block["vectors"])}
        if isinstance(block["vectors"], np.ndarray)
        else block
        for block in pieces.blocks
    ]
    pieces = pieces._replace(blocks=blocks)
    screening = cpu.screening_of(pieces, shares)
    return FetchedStore(cpu.opened_blocks(pieces, owned, lead), screen=screen, screening=screening)


class FetchedStore:
    """Codes in blocks, and rows that are fetched when they are scored.

    ``base.Store`` documents its methods.
    """

    device = "cpu"
    unable = (
        "for vectors that stay on disk, or are not float32; "
        "make an Index of them in memory: fastvec.Index(index.vectors)"
    )
    encoded, single = True, False

    def __init__(
        self, blocks: _blocks.Blocks, *, screen: Setting, screening: screens.Screening | None
    ) -> None:
        self.blocks, self.screen, self.screening = blocks, screen, screening
        self.matrix = matrix.of(())
        """No row is at hand."""
        self.starts = np.array([0, *itertools.accumulate(len(block.vectors) for block in blocks)], np.int64)
        self.rows, self.dims = int(self.starts[-1]), int(blocks[0].vectors.shape[1])
        self._read: dict[int, int] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of codes and terms, and of rows that fastvec owns."""
        along = self.direction(self.dims)
        return (
            sum(block.nbytes for block in self.blocks)
            + screens.nbytes(self.screening)
            + (0 if along is None else along.vector.nbytes)
        )

    @property
    def rows_read(self) -> int:
        """How many rows were fetched so far."""
        return sum(list(self._read.values()))

    def query_array(self, queries: Any) -> npt.NDArray[Any]:
        """Queries as an array of NumPy."""
        return _arrays.any_array(queries, "queries")

    def search(self, request: Request) -> TopK:
        """The nearest rows of each query."""
        return request.answer(passes.search(self, request)[0])

    def ranges(self, request: Request, least: np.float32) -> Ranges:
        """All rows whose score, as float32, is at least ``least``, for each query."""
        return passes.ranges(self, request, least)

    def pair_score(self, row: int, other: int, metric: str) -> float:
        """The published score of one row with another."""
        rows = matrix.LAYOUT.of(matrix.of((self.fetch(np.array([row, other])),)))
        score: float = direct.pair_score(metric)(rows.at, 0, 1, self.dims)
        return score

    def exact_scores(
        self, request: Request, query: int, rows: Int64
    ) -> tuple[npt.NDArray[np.float64], Float32]:
        """The scores of one query with some rows, and as they are published."""
        here = slice(query, query + 1)
        originals = fetching.over(self.fetch(rows), request.queries[here], request.squares[here])
        none = np.zeros(len(rows), np.int32)
        exact, bad = rescore.score_pairs(
            none, np.arange(len(rows)), originals, request.metric, request.num_threads
        )
        if bad >= 0:
            raise self.changed(int(rows[bad]))
        with default_mode():
            published: Float32 = exact.astype(np.float32) + np.float32(0.0)  # no −0.0
        return exact, published

    def verify(self) -> None:
        """Encode all rows again, and compare."""
        for base, block in zip(self.starts.tolist(), self.blocks, strict=False):
            for first, rows in Stream((block.vectors,)).runs():
                part = _blocks.part(block, first, rows)
                row = _blocks.first_changed((part,), self.screening and self.screening.basis)
                if row >= 0:
                    raise self.changed(base + first + row)

    def vectors(self) -> tuple[Float32, ...]:
        """The float32 rows, brought into memory."""
        return tuple(np.asarray(block.vectors).astype(np.float32, copy=False) for block in self.blocks)

    def fetch(self, numbers: Int64) -> Float32:
        """Copies of the float32 rows with these numbers."""
        me = threading.get_ident()
        self._read[me] = self._read.get(me, 0) + len(numbers)
        if len(self.blocks) == 1:
            only: Float32 = self.blocks[0].vectors.fetch(numbers)
            return only
        rows = np.empty((len(numbers), self.dims), np.float32)
        homes = np.searchsorted(self.starts, numbers, "right") - 1
        for home in np.unique(homes).tolist():
            inside = homes == home
            rows[inside] = self.blocks[home].vectors.fetch(numbers[inside] - self.starts[home])
        return rows

    def all_rows(self) -> Stream:
        """As in ``passes.Scored``."""
        me = threading.get_ident()
        self._read[me] = self._read.get(me, 0) + self.rows
        return Stream(tuple(block.vectors for block in self.blocks))

    def stored(self) -> Pieces:
        """The arrays that a folder stores."""
        pieces = _blocks.pieces(self.blocks)
        if self.screening is None:
            return pieces
        return pieces._replace(shared={**pieces.shared, **screens.stored(self.screening)})

    def facts(self) -> dict[str, Any]:
        """The facts of the screen, of the direction, and of the dtype, if it is not float32."""
        along, dtype = self.direction(self.dims), self.blocks[0].vectors.dtype
        facts: dict[str, Any] = {} if along is None else {"direction": {"lead": along.lead}}
        if self.screening is not None:
            facts["screen"] = screens.facts(self.screening, self.screen)
        if dtype != np.float32:
            facts["dtype"] = dtype.newbyteorder("<").str
        return facts

    def encoded_first(self, request: Request) -> FetchedStore:
        """As in ``passes.Scanned``."""
        return self

    def screens(self, request: Request) -> _blocks.Screens | None:
        """As in ``passes.Scanned``."""
        if self.screening is None or request.dims < self.dims:
            return None
        return self.screening.of_search(self.rows, self.dims, len(request.queries))

    def direction(self, dims: int) -> direction.Direction | None:
        """As in ``passes.Scanned``."""
        along = self.blocks[0].direction
        return along and along.prefix(dims)

    def source(
        self, request: Request, chosen: Int64 | None, by_screens: _blocks.Screens | None
    ) -> scan.Source:
        """As in ``passes.Scanned``."""
        if chosen is None and any(not isinstance(block.encoded.codes, np.ndarray) for block in self.blocks):
            return windows.source_of(self.blocks, self.starts, request, by_screens)
        return _blocks.source_of(self.blocks, self.starts, request, chosen, by_screens)

    def ready(
        self, request: Request, by_screens: _blocks.Screens | None
    ) -> tuple[Sequence[few.Ready], Native] | None:
        """None: compiled code cannot fetch."""
        return None

    def changed(self, row: int) -> RuntimeError:
        """The error that says that a row is not the one that was encoded."""
        return cpu.changed(row)

    def refuse(self, row: int, dims: int) -> None:
        """Raise the error for a row that is not finite, as an encoded one was; do nothing if it is −1."""
        if row >= 0:
            raise self.changed(row)
