"""A scan of codes of which some rows at a time are mapped (``Windows`` of ``files/rows.py``)."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator

from .._request import Request
from ..kernels import scan
from ..kernels.tiles import CHUNK
from ..results import Int64
from . import blocks as _blocks

_MAPPED_BYTES = 1 << 27
"""Of codes that all threads of a search have mapped together, about."""


def source_of(
    blocks: _blocks.Blocks, starts: Int64, request: Request, screens: _blocks.Screens | None
) -> scan.Source:
    """``blocks.source_of`` for all rows, of blocks whose codes are ``Windows``."""
    measured = [block._replace(encoded=block.prefix(request.dims, request.num_threads)) for block in blocks]
    # The next window of a thread is mapped before the last is unmapped.
    a_window = _MAPPED_BYTES // (2 * request.num_threads)
    step = max(1, a_window // (blocks[0].encoded.codes.strides[0] * CHUNK)) * CHUNK
    pivots = _blocks.pivots_of(blocks[0], request, screens)
    # Threads that look at the pivots at the same time share what is mapped for them.
    shared: weakref.WeakValueDictionary[int, _Held] = weakref.WeakValueDictionary()

    def piece(place: int, first: int, last: int) -> scan.Piece:
        block = measured[place]
        part = _blocks.part(block, first, block.vectors[first:last])
        rows = scan.rows_of(part.encoded, int(starts[place]) + first, request.allowed)
        return scan.Piece(0, last - first, rows, _blocks.screen_rows(part, rows, screens))

    def likely() -> _Held:
        held = shared.get(0)
        return shared.setdefault(0, _Held(piece(0, 0, int(starts[1])))) if held is None else held

    def all_rows(start: int, stop: int) -> Iterator[scan.Piece]:
        if pivots is not None and start < starts[1]:
            held = likely()
            yield held.piece._replace(stop=0, pivots=pivots)  # their neighbors are anywhere in the block
            del held
        for place, (base, end) in enumerate(itertools.pairwise(starts.tolist())):
            for first in range(max(start, base), min(stop, end), step):
                yield piece(place, first - base, min(first + step, stop, end) - base)

    return all_rows


class _Held:
    """A piece that lives as long as somebody uses it."""

    def __init__(self, piece: scan.Piece) -> None:
        self.piece = piece
