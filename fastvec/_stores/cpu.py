"""Rows in this computer's memory: encoded once in blocks, or passed for a single search."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn, cast

import numpy as np
import numpy.typing as npt

from .. import _arguments, _arrays, _memory
from .._request import Request
from ..kernels import (
    analogy,
    cosmul,
    direct,
    direction,
    encode,
    few,
    filters,
    matrix,
    refine,
    rescore,
    scan,
    threads,
)
from ..kernels.compile import default_mode
from ..kernels.native import Native
from ..kernels.stored import stored
from ..results import Float32, Int64, Pairs, Ranges, TopK
from . import blocks as _blocks
from . import directions, joins, passes, screens
from .base import Arrays, Pieces, RowChangedError, Setting, Store
from .callers import Callers

_LARGE_INT8 = 1 << 26
"""Bytes of int8 rows that are not converted to float32 for a single search."""


def why_not() -> None:
    """None: a processor is always available."""


def describe() -> str:
    """The device in words."""
    return "this computer's processor"


def serves(metric: str) -> bool:
    """True: the processor serves every metric, with or without a bound."""
    return True


def encoded(vectors: Any, *, copy: bool, screen: Setting) -> CpuStore:
    """A store of a caller's vectors, which are used in place if they are canonical and ``copy`` is false."""
    rows, owned = _arguments.rows_of(vectors, "vectors", copy=copy, int8=True)
    screen = screens.checked(screen, rows.shape[1])
    if rows.dtype == np.int8 and isinstance(screen, int):
        rows, owned = rows.astype(np.float32), True  # of which screens are made
    return of_rows(rows, owned=owned, screen=screen)


def of_rows(rows: Float32, *, owned: bool, screen: Setting = "auto") -> CpuStore:
    """A store of canonical rows; ``owned`` says that nothing else refers to them."""
    if rows.dtype == np.int8:
        from .int8 import Int8Store

        return Int8Store((_blocks.block_of(rows, None, owned=owned),), screen=screen)
    along = None if isinstance(screen, int) else directions.direction_for(rows)
    block, screening = _blocks.block_of(rows, along, owned=owned), None
    if along is None:
        block, screening = screens.screening(block, screen, threads.get_num_threads())
    return CpuStore((block,), screen=screen, screening=screening)


def opened(
    pieces: Pieces,
    owned: Sequence[bool],
    *,
    screen: Setting = "off",
    shares: Sequence[float] = (0.0, 0.0),
    lead: int = 0,
) -> CpuStore:
    """A store of what ``CpuStore.stored`` returned; ``owned`` says of each block whether it is in memory.

    ``shares`` are those of its ``screening``, ``lead`` that of its direction.
    """
    return CpuStore(opened_blocks(pieces, owned, lead), screen=screen, screening=screening_of(pieces, shares))


def screening_of(pieces: Pieces, shares: Sequence[float]) -> screens.Screening | None:
    """What the screens of opened rows have in common, if they have any."""
    return screens.opened(pieces.shared, shares, leading="leading_codes" in pieces.blocks[0])


def opened_blocks(pieces: Pieces, owned: Sequence[bool], lead: int) -> _blocks.Blocks:
    """The blocks of opened rows."""
    along = direction.measured(pieces.shared["direction"], lead) if "direction" in pieces.shared else None
    return tuple(map(functools.partial(_opened_block, along=along), pieces.blocks, owned))


def _opened_block(arrays: Arrays, owned: bool, along: direction.Direction | None) -> _blocks.Block:
    # Kernels are compiled for writable arrays of terms only; the terms are small, so they are copied.
    terms = {name: np.array(arrays[name]) for name in ("scale", "error", "norm")}
    codes = encode.Encoded(arrays["codes"], **terms)
    screened = screens.opened_screen(arrays, terms["norm"])
    count = 0 if screened is None else len(arrays["vectors"])
    return _blocks.Block(arrays["vectors"], codes, {}, None, owned, screened, count, along)


def one_shot(vectors: Any) -> Store:
    """A store of a caller's vectors for a single search: rows are encoded while they are scanned."""
    array = _arrays.any_array(vectors, "vectors")
    if _blocks.is_mapped(array) and array.dtype != np.float32:
        from . import passing

        bounded = array.dtype != np.int8 or array.nbytes > _memory.available() / 4  # int8 takes as much
        if array.nbytes > passing.PIECE_BYTES and bounded:
            return cast(Store, passing.one_shot(_arguments.two_dimensional(array, "vectors")))
    if array.dtype == np.int8 and array.nbytes >= _LARGE_INT8:
        from .int8 import Int8Store

        rows, owned = _arguments.rows_of(array, "vectors", copy=False, int8=True)
        return Int8Store((_blocks.block_of(rows, None, owned=owned),), single=True)
    return CpuStore(pieces=(_arguments.matrix(array, "vectors"),), single=True)


_Ready = dict[tuple[int, bool], Sequence[few.Ready]]
"""Rows written down for searches, by the number of dimensions, and whether they are searched by screens."""


class CpuStore:
    """Float32 rows in pieces, and a block of codes for each piece; no blocks for a single search.

    ``base.Store`` documents its methods.
    """

    device = "cpu"

    def __init__(
        self,
        blocks: _blocks.Blocks = (),
        *,
        pieces: tuple[Float32, ...] = (),
        screen: Setting = "off",
        screening: screens.Screening | None = None,
        single: bool = False,
    ) -> None:
        self.matrix = matrix.of(tuple(block.vectors for block in blocks) or pieces)
        self.encoded = bool(blocks)
        self.single = single
        """Whether the store is made for a single search."""
        self.blocks, self.screen, self.screening = blocks, screen, screening
        self._callers = Callers() if blocks and not single else None
        self.rows, self.dims = self.matrix.rows, int(self.matrix.blocks[0].shape[1])
        self._ready: _Ready = {}
        self._ready_before: _Ready = {}
        """``_ready`` of the store of which this one has the rows and more."""
        self._whole: tuple[Any, Native | None] = (None, None)
        """The filter of the last search for few queries, and ``few.Whole``."""

    @stored
    def written(self) -> Native:
        """The matrix, written down for compiled code."""
        return matrix.LAYOUT.of(self.matrix)

    @property
    def nbytes(self) -> int:
        """Bytes of codes and terms, and of float32 rows that fastvec owns."""
        along = self.direction(self.dims)
        direction_bytes = 0 if along is None else along.vector.nbytes
        return sum(block.nbytes for block in self.blocks) + screens.nbytes(self.screening) + direction_bytes

    def query_array(self, queries: Any) -> npt.NDArray[Any]:
        """Queries as an array of NumPy."""
        return _arrays.any_array(queries, "queries")

    def search(self, request: Request) -> TopK:
        """The nearest rows of each query."""
        found = self._callers.search(request, self._found) if self._callers else self._found(request)
        return request.answer(found)

    def _found(self, request: Request) -> TopK:
        return passes.search(self, request)[0]

    def pair_score(self, row: int, other: int, metric: str) -> float:
        """The published score of one row with another."""
        score: float = direct.pair_score(metric)(self.written.at, row, other, self.dims)
        if math.isnan(score):
            bad = row if not np.isfinite(self.fetch(np.array([row]))).all() else other
            raise self.changed(bad)
        return score

    def ranges(self, request: Request, least: np.float32) -> Ranges:
        """All rows whose score, as float32, is at least ``least``, for each query."""
        return passes.ranges(self, request, least)

    int8 = False
    """Whether the rows are int8."""

    def widened(self) -> CpuStore:
        """The store of the same rows as float32."""
        return self

    def pairs(self, asked: joins.Asked, other: CpuStore | None) -> Iterator[Pairs]:
        """As in ``joins``."""
        return joins.pairs(self, asked, other and other.widened())

    def groups(self, asked: joins.Asked) -> Int64:
        """As in ``joins``."""
        return joins.groups(self, asked)

    def multiply(self, request: Request, inputs: analogy.InputRows, source: matrix.Matrix) -> TopK:
        """The ranking by 3CosMul for questions whose inputs are rows of a matrix, ``source``."""
        if not self.encoded:
            rows = self.matrix.blocks[0][:, : request.dims]
            _arguments.check_finite(rows, "vectors", request.num_threads)
        found = request.room()
        cosmul.multiply(
            inputs,
            source,
            self.matrix,
            request.dims,
            filters.Filters(request.allowed, request.exclusions),
            found.scores,
            found.indices,
            request.num_threads,
        )
        return request.answer(found)

    def added(self, rows: Float32, *, owned: bool) -> CpuStore:
        """A store with further rows appended."""
        if self.rows == 0:
            return of_rows(rows, owned=owned, screen=self.screen)
        basis = self.screening and self.screening.basis
        blocks = _blocks.append(self.blocks, rows, basis, owned=owned)
        store = type(self)(blocks, screen=self.screen, screening=self.screening)
        store._ready_before = self._ready or self._ready_before
        return store

    def reopened(self, kept: int, blocks: Sequence[Arrays], owned: Sequence[bool]) -> CpuStore:
        """A store of the first ``kept`` blocks, at least one, followed by blocks that were opened."""
        along = self.blocks[0].direction
        more = map(functools.partial(_opened_block, along=along), blocks, owned)
        return CpuStore((*self.blocks[:kept], *more), screen=self.screen, screening=self.screening)

    @stored
    def fixed(self) -> int:
        """The number of rows of all blocks up to the last one that lies in a file."""
        mapped = [_blocks.in_file(block) for block in self.blocks]
        return int(self.matrix.starts[len(mapped) - mapped[::-1].index(True)]) if True in mapped else 0

    def packed(self, first: int, kept: Int64) -> CpuStore:
        """A store whose rows before ``first``, those of whole blocks, are followed by the ``kept`` rows."""
        count = int(np.searchsorted(self.matrix.starts, first))
        blocks, screening = self.blocks[:count], self.screening
        if len(kept):
            blocks = (*blocks, _blocks.gathered(self._all_screened, self.matrix, kept))
        if count == 0 and len(kept) == 0:
            return of_rows(np.empty((0, self.dims), np.float32), owned=True, screen=self.screen)
        if count == 0 and screening is not None:
            screening = screening.over(blocks[0], threads.get_num_threads())
        return type(self)(blocks, screen=self.screen, screening=screening)

    @stored
    def _all_screened(self) -> _blocks.Blocks:
        screening = self.screening
        return self.blocks if screening is None else _blocks.all_screened(self.blocks, screening.basis)

    def exact_scores(
        self, request: Request, query: int, rows: Int64
    ) -> tuple[npt.NDArray[np.float64], Float32]:
        """The scores of one query with some rows, and as they are published."""
        here = slice(query, query + 1)
        originals = refine.originals(request.queries[here], request.squares[here], self.matrix, request.dims)
        exact, bad = rescore.score_pairs(
            np.zeros(len(rows), np.int32), rows, originals, request.metric, request.num_threads
        )
        if bad >= 0:
            raise self.changed(bad)
        with default_mode():
            published: Float32 = exact.astype(np.float32) + np.float32(0.0)  # no −0.0
        return exact, published

    def verify(self) -> None:
        """Encode all rows again, and compare."""
        row = _blocks.first_changed(self.blocks, self.screening and self.screening.basis)
        if row >= 0:
            raise self.changed(row)

    def vectors(self) -> tuple[Float32, ...]:
        """The float32 rows, in their blocks."""
        return tuple(self.matrix.blocks)

    def fetch(self, numbers: Int64) -> Float32:
        """Copies of the float32 rows with these numbers."""
        pieces, starts = self.matrix.blocks, self.matrix.starts
        if len(pieces) == 1:
            return np.take(pieces[0], numbers, axis=0)
        rows = np.empty((len(numbers), self.dims), np.float32)
        homes = np.searchsorted(starts, numbers, "right") - 1
        for home in np.unique(homes).tolist():
            inside = homes == home
            rows[inside] = pieces[home][numbers[inside] - starts[home]]
        return rows

    def all_rows(self) -> matrix.Matrix:
        """As in ``passes.Scored``."""
        return self.matrix

    def stored(self) -> Pieces:
        """The arrays that a folder stores: rows, codes and terms, those of a screen, and a direction."""
        pieces = _blocks.pieces(self._all_screened)
        if self.screening is None:
            return pieces
        return pieces._replace(shared={**pieces.shared, **screens.stored(self.screening)})

    def facts(self) -> dict[str, Any]:
        """The facts of the screen and of the direction, if there are any."""
        along = self.direction(self.dims)
        facts: dict[str, Any] = {} if along is None else {"direction": {"lead": along.lead}}
        if self.screening is not None:
            facts["screen"] = screens.facts(self.screening, self.screen)
        return facts

    def encoded_first(self, request: Request) -> CpuStore:
        """As in ``passes.Scanned``."""
        vectors = self.matrix.blocks[0][:, : request.dims]
        along = directions.direction_for(vectors, len(request.queries))
        codes = encode.empty(len(vectors), direction.width(vectors.shape[1], along))
        bad = direction.encode_rows(vectors, codes, request.num_threads, along)
        if bad >= 0:
            self._refuse_not_finite(vectors, bad)
        block, screening = _blocks.Block(vectors, codes, {}, None, owned=False, direction=along), None
        if along is None:
            block, screening = screens.screening(
                block, "auto", request.num_threads, queries=len(request.queries)
            )
        return CpuStore((block,), screening=screening, single=True)

    def screens(self, request: Request) -> _blocks.Screens | None:
        """As in ``passes.Scanned``: rows have screens of all their columns."""
        if self.screening is None or request.dims < self.dims:
            return None
        return self.screening.of_search(self.rows, self.dims, len(request.queries))

    def direction(self, dims: int) -> direction.Direction | None:
        """As in ``passes.Scanned``."""
        along = self.blocks[0].direction if self.blocks else None
        return along and along.prefix(dims)

    def source(
        self, request: Request, chosen: Int64 | None, by_screens: _blocks.Screens | None
    ) -> scan.Source:
        """As in ``passes.Scanned``."""
        if self.encoded:
            return _blocks.source_of(self.blocks, self.matrix.starts, request, chosen, by_screens)
        return self._encoding(request, chosen)

    def ready(
        self, request: Request, by_screens: _blocks.Screens | None
    ) -> tuple[Sequence[few.Ready], Native] | None:
        """As in ``passes.Scanned``; kept for the next search."""
        if not 1 <= len(self.blocks) <= few.MOST_PIECES:
            return None
        allowed, key = request.allowed, (request.dims, by_screens is not None)
        ready = self._ready.get(key)
        if ready is None:
            basis, along = by_screens and by_screens.basis, self.direction(request.dims)
            pieces = self.source(request, None, by_screens)(0, self.rows)
            known = itertools.chain(self._ready_before.get(key, ()), itertools.repeat(None))
            ready = tuple(few.ready(*both, basis, along) for both in zip(pieces, known, strict=False))
            self._ready[key] = ready
        last, whole = self._whole
        if whole is None or last is not allowed:
            whole = few.whole(self.matrix, allowed)
            self._whole = allowed, whole
        return ready, whole

    def _encoding(self, request: Request, chosen: Int64 | None) -> scan.Source:
        """Rows that are encoded block by block while they are scanned."""
        vectors, height = self.matrix.blocks[0][:, : request.dims], _blocks.BLOCK

        def source(start: int, stop: int) -> Iterator[scan.Piece]:
            buffer = encode.empty(height, request.dims)
            for first in range(start, stop, height):
                last = min(first + height, stop)
                rows = vectors[first:last] if chosen is None else vectors[chosen[first:last]]
                bad = encode.encode(rows, buffer, 1)
                if bad >= 0:
                    self._refuse_not_finite(
                        vectors, int(first + bad if chosen is None else chosen[first + bad])
                    )
                if chosen is None:
                    yield scan.Piece(0, len(rows), scan.rows_of(buffer, first, request.allowed))
                else:
                    yield scan.Piece(0, len(rows), scan.rows_of(buffer, 0, ids=chosen[first:last]))

        return source

    def _refuse_not_finite(self, vectors: Float32, row: int) -> NoReturn:
        """Raise the error for rows of which one was not finite when it was to be encoded."""
        _arguments.check_finite(vectors, "vectors", 1)  # raises, naming the first such row
        raise self.changed(row)

    def changed(self, row: int) -> RuntimeError:
        """The error that says that a row is not the one that was encoded."""
        if not self.single:
            return changed(row)
        return RuntimeError(
            f"vectors changed while they were searched (row {row}); do not write to them during a search"
        )

    def refuse(self, row: int, dims: int) -> None:
        """Raise the error for a row that is not finite (an encoded row was); do nothing if it is −1."""
        if row >= 0 and self.encoded:
            raise self.changed(row)
        _arguments.refuse_row(row, self.matrix.blocks[0][:, :dims], "vectors")


def changed(row: int) -> RuntimeError:
    """The error that says that a row is no longer the one that was encoded."""
    return RowChangedError(row)
