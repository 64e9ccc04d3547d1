"""Rows in blocks that are never moved: how blocks are built, how they grow, how they are read."""

from __future__ import annotations

import itertools
import mmap
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import _arguments
from .._request import Request
from ..kernels import direction, encode, matrix, scan, screen, seeds, threads
from ..results import Float32, Int64
from . import fetching
from .base import Pieces

LOT = 1024
"""Appended rows get their screen when there are so many without one: for a few, that takes longer than they
take to scan."""

BLOCK = 1024
"""The number of rows that are encoded, gathered or compared at a time, so that they stay in cache."""

IN_PLACE_BYTES = 1 << 24
"""Added arrays of at least this size stay where they are; smaller ones are copied, several to a block."""


class Block(NamedTuple):
    """Rows with their codes. ``encoded`` may have room for more rows."""

    vectors: Any
    """float32 (rows, dims), int8 in an ``Int8Store``; or rows that are fetched (``files/rows.py``)."""
    encoded: encode.Encoded
    prefixes: dict[int, encode.Encoded]
    """The codes with the terms measured on their first columns, by the number of columns."""
    room: Float32 | None
    """The whole memory of a block that has room for more rows; it begins with ``vectors``."""
    owned: bool
    """Whether fastvec owns the rows."""
    screened: screen.Screen | None = None
    """The screen of the first rows, if they have one."""
    screened_rows: int = 0
    """How many rows these are: all, but for some of a block that has room for more."""
    direction: direction.Direction | None = None
    """What the codes have in common, if they have."""

    def prefix(self, dims: int, num_threads: int) -> encode.Encoded:
        """The encoded rows, with terms for only the first ``dims`` columns."""
        if dims == self.vectors.shape[1]:
            return self.encoded
        known = self.prefixes.get(dims)
        if known is None:
            # Two threads may both measure it, with the same result; so there is no lock to hold across a
            # fork.
            along = self.direction and self.direction.prefix(dims)
            if not isinstance(self.vectors, np.ndarray):
                known = fetching.prefix(self.vectors, self.encoded, dims, num_threads, along)
            elif self.vectors.dtype == np.int8:
                known = encode.prefix_int8(self.vectors, self.encoded, dims, num_threads)
            else:
                known = direction.prefix(self.vectors, self.encoded, dims, num_threads, along)
        return self.prefixes.setdefault(dims, known)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows' codes and terms, and of the rows themselves if fastvec owns them."""
        n = len(self.vectors)
        codes, *terms, _ = (array.strides[0] for array in self.encoded)
        prefixes = sum(p.error.nbytes + p.norm.nbytes for p in list(self.prefixes.values()))
        return (
            n * (codes + sum(terms))
            + self._screen_bytes
            + prefixes
            + (self.vectors.nbytes if self.owned else 0)
        )

    @property
    def _screen_bytes(self) -> int:
        if self.screened is None:
            return 0
        encoded = self.screened.encoded
        arrays = [encoded.codes, encoded.scale, encoded.error, self.screened.slack]
        if len(self.screened.leading.words):
            arrays += self.screened.leading
        return self.screened_rows * sum(array.strides[0] for array in arrays)


Blocks = tuple[Block, ...]
"""All rows of an Index at one moment: a search sees these, even if rows are added meanwhile."""


def block_of(vectors: Float32, along: direction.Direction | None, *, owned: bool) -> Block:
    """A block of rows that stay where they are, coded with the direction that they have in common, if any."""
    return _filled(vectors, _room(vectors, along), vectors, along, owned=owned)


def append(blocks: Blocks, vectors: Float32, basis: screen.Basis | None, *, owned: bool) -> Blocks:
    """The blocks with further rows appended; one call at a time, because calls use the same room.

    With a ``basis``, lots of rows get a screen, as those before have.
    """
    appended = _append(blocks, vectors, owned=owned)
    if basis is None or appended is blocks:
        return appended
    last = appended[-1]
    if len(appended) > len(blocks):
        appended = (*all_screened(blocks, basis), last)
    if last.room is not None and len(last.vectors) - last.screened_rows < LOT:
        return appended
    return all_screened(appended, basis)


def all_screened(blocks: Blocks, basis: screen.Basis) -> Blocks:
    """The same with screens of all rows. Only the last block may lack some."""
    last = blocks[-1]
    if last.screened_rows == len(last.vectors):
        return blocks
    return (*blocks[:-1], with_screen(last, basis, threads.get_num_threads()))


def with_screen(block: Block, basis: screen.Basis, num_threads: int) -> Block:
    """A block with the screen of all its rows.

    Rows that have none yet may get theirs in two threads at once, which write the same.
    """
    room, at, screened = len(block.encoded.norm), block.screened_rows, block.screened
    if screened is None:
        at = 0
        empty = screen.empty(room, basis.matrix.shape[1], bool(basis.leading.matrix.size))
        screened = empty._replace(encoded=empty.encoded._replace(norm=block.encoded.norm))
    rows, encoded = block.vectors[at:], screened.encoded
    target = screen.Screen(
        encode.Encoded(*(array[at:] for array in encoded[:4])),
        screened.slack[at:],
        screen.LeadingCodes(*(array[at:] for array in screened.leading)),
    )
    screen.encode_rows(rows, block.encoded.norm[at:], basis, target, num_threads)
    return block._replace(screened=screened, screened_rows=len(block.vectors))


def _append(blocks: Blocks, vectors: Float32, *, owned: bool) -> Blocks:
    along = blocks[0].direction
    if len(vectors) == 0:
        return blocks
    if len(blocks[0].vectors) == 0:
        return (block_of(vectors, along, owned=owned),)
    if vectors.nbytes >= IN_PLACE_BYTES:
        return (*blocks, block_of(vectors, along, owned=owned))
    last = blocks[-1]
    count = len(last.vectors)
    if last.room is not None and count + len(vectors) <= len(last.room):
        more = _filled(vectors, last.encoded, last.room, along, count, owned=True)
        more = more._replace(screened=last.screened, screened_rows=last.screened_rows)
        return (*blocks[:-1], more)
    # Room for as many rows again, so that few blocks hold many additions; unused memory is not touched.
    rows = sum(len(block.vectors) for block in blocks)
    height = max(len(vectors), min(max(rows, 64), IN_PLACE_BYTES // vectors[:1].nbytes))
    room = np.empty((height, vectors.shape[1]), vectors.dtype)
    return (*blocks, _filled(vectors, _room(room, along), room, along, owned=True))


def _room(vectors: Float32, along: direction.Direction | None) -> encode.Encoded:
    return encode.empty(len(vectors), direction.width(vectors.shape[1], along))


def _filled(
    vectors: Float32,
    encoded: encode.Encoded,
    memory: Float32,
    along: direction.Direction | None,
    at: int = 0,
    *,
    owned: bool,
) -> Block:
    """A block of ``memory`` whose rows from ``at`` on become these; earlier rows are not touched."""
    last = at + len(vectors)
    if memory is not vectors:
        memory[at:last] = vectors
    into = encode.Encoded(*(array[at:] for array in encoded[:4]))
    bad = _encode(memory[at:last], into, along)
    _arguments.refuse_row(bad, vectors, "vectors")
    room = memory if len(memory) > last else None
    return Block(memory[:last], encoded, {}, room, owned, direction=along)


def _encode(rows: npt.NDArray[Any], into: encode.Encoded, along: direction.Direction | None) -> int:
    """Encode float32 or int8 rows; return the first that is not finite, or −1."""
    if rows.dtype == np.int8:
        encode.encode_int8(rows, into, threads.get_num_threads())
        return -1
    return direction.encode_rows(rows, into, threads.get_num_threads(), along)


def part(block: Block, first: int, vectors: Float32) -> Block:
    """Some rows of a block from ``first`` on, whose float32 rows are ``vectors``."""
    here, codes = slice(first, first + len(vectors)), block.encoded.codes
    # A tile of the scan may reach past the last row.
    own = np.asarray(codes[first : first + len(vectors) + encode.SPARE_ROWS])
    encoded = encode.Encoded(own, *(term[here] for term in block.encoded[1:]))
    screened = block.screened
    if screened is not None:
        screened = screen.Screen(
            encode.Encoded(*(array[here] for array in screened.encoded[:4])),
            screened.slack[here],
            screen.LeadingCodes(*(array[here] for array in screened.leading)),
        )
    return Block(
        vectors,
        encoded,
        {},
        None,
        owned=False,
        screened=screened,
        screened_rows=max(0, min(len(vectors), block.screened_rows - first)),
        direction=block.direction,
    )


def in_file(block: Block) -> bool:
    """Whether the float32 rows of a block lie in a file that is mapped into memory."""
    return not block.owned and is_mapped(block.vectors)


def is_mapped(array: Any) -> bool:
    """Whether an array lies in a file that is mapped into memory."""
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    return isinstance(array, np.memmap | mmap.mmap)


def gathered(blocks: Blocks, vectors: matrix.Matrix, kept: Int64) -> Block:
    """A block of copies of some rows, with their codes and screens, which all rows have or none."""
    first, n = blocks[0], len(kept)
    rows = np.empty((n, first.vectors.shape[1]), first.vectors.dtype)
    encoded = encode.empty(n, first.encoded.codes.shape[1])
    screened = None
    if first.screened is not None:
        leading = len(first.screened.leading.words) > 0
        screened = screen.empty(n, first.screened.encoded.codes.shape[1], leading)
        screened = screened._replace(encoded=screened.encoded._replace(norm=encoded.norm))
    count = 0 if screened is None else n
    whole = Block(rows, encoded, {}, None, True, screened, count, first.direction)
    homes = np.searchsorted(vectors.starts, kept, "right") - 1
    for home in np.unique(homes).tolist():
        into = np.flatnonzero(homes == home)
        inside = kept[into] - vectors.starts[home]
        for source, target in zip(_by_row(blocks[home]), _by_row(whole), strict=True):
            target[into] = source[inside]
    return whole


def _by_row(block: Block) -> Iterator[npt.NDArray[Any]]:
    """The arrays of a block that have an entry for each row."""
    yield block.vectors
    yield from block.encoded[:4]
    if block.screened is not None:
        yield from block.screened.encoded[:3]
        yield block.screened.slack
        if len(block.screened.leading.words):
            yield from block.screened.leading


class Screens(NamedTuple):
    """What a search by screens needs besides those of the blocks."""

    basis: screen.Basis
    limit: float
    """The share of pairs that may pass."""
    limit_leading: float
    """The share of pairs that may pass the leading codes."""
    pivots: Int64
    """Rows of the first block."""
    neighbors: npt.NDArray[np.int32]

    @property
    def first_dims(self) -> int:
        """The dimensions of the codes that few queries read of every row."""
        return int(self.basis.leading.matrix.shape[1] or self.basis.matrix.shape[1])


def source_of(
    blocks: Blocks, starts: Int64, request: Request, chosen: Int64 | None, screens: Screens | None
) -> scan.Source:
    """The encoded rows that a request scans: all rows, or copies of the ``chosen`` ones.

    ``starts`` holds the number of each block's first row and, at the end, the number of all rows.
    """
    encoded = [block.prefix(request.dims, request.num_threads) for block in blocks]
    if chosen is None:
        allowed = request.allowed
        rows = [
            scan.rows_of(part, int(base), allowed) for part, base in zip(encoded, starts[:-1], strict=True)
        ]
        by_screen = [screen_rows(block, part, screens) for block, part in zip(blocks, rows, strict=True)]
        pivots = pivots_of(blocks[0], request, screens)

        def all_rows(start: int, stop: int) -> Iterator[scan.Piece]:
            for place, (base, end) in enumerate(itertools.pairwise(starts.tolist())):
                if max(start, base) < min(stop, end):
                    first, last = max(start, base) - base, min(stop, end) - base
                    likely = pivots if place == 0 else None
                    cut = min(last, blocks[place].screened_rows if screens is not None else 0)
                    if first < cut:
                        yield scan.Piece(first, cut, rows[place], by_screen[place], likely)
                    if max(first, cut) < last:
                        yield scan.Piece(max(first, cut), last, rows[place])

        return all_rows
    numbers = chosen
    cuts = np.searchsorted(numbers, starts)

    def chosen_rows(start: int, stop: int) -> Iterator[scan.Piece]:
        buffer = encode.empty(BLOCK, encoded[0].codes.shape[1])
        for part, base, low, high in zip(encoded, starts[:-1], cuts[:-1], cuts[1:], strict=True):
            for first in range(max(start, low), min(stop, high), BLOCK):
                ids = numbers[first : min(first + BLOCK, stop, high)]
                yield scan.Piece(
                    0, len(ids), scan.rows_of(encode.gather(part, ids - base, buffer), 0, ids=ids)
                )

    return chosen_rows


def screen_rows(block: Block, fine: scan.Rows, screens: Screens | None) -> screen.Rows | None:
    """The rows of a block with their screen, if they have one that a search uses."""
    if screens is None or block.screened is None:
        return None
    coarse = scan.rows_of(block.screened.encoded, fine.base, fine.allowed)
    return screen.Rows(
        coarse,
        block.screened.slack,
        screens.basis.skew,
        screens.limit,
        screens.limit_leading,
        fine,
        block.screened.leading._replace(codes=scan.writable(block.screened.leading.codes)),
        screens.basis.leading.skew,
    )


def pivots_of(block: Block, request: Request, screens: Screens | None) -> seeds.Pivots | None:
    """Codes of the first block's pivots side by side, and their neighbors; None for few queries."""
    few = len(request.queries) <= scan.FEW
    if few or screens is None or block.screened is None or len(screens.pivots) == 0:
        return None
    room = encode.empty(len(screens.pivots), screens.basis.matrix.shape[1])
    return seeds.Pivots(
        scan.rows_of(encode.gather(block.screened.encoded, screens.pivots, room), 0), screens.neighbors
    )


def first_changed(blocks: Blocks, basis: screen.Basis | None) -> int:
    """Encode all rows again; return the first that differs from its codes, or −1.

    Of a screen with this ``basis`` the bounds are checked; its codes have other bits elsewhere.
    """
    base = 0
    again = encode.empty(BLOCK, blocks[0].encoded.codes.shape[1])
    for block in blocks:
        for first in range(0, len(block.vectors), BLOCK):
            rows = block.vectors[first : first + BLOCK]
            bad = _encode(rows, again, block.direction)
            differs = ~_same(block.encoded, again, first, len(rows))
            if differs.any() and rows.dtype != np.int8:
                # Rows that were int8 keep the codes that they had then.
                small = ((rows >= -128) & (rows <= 127) & (rows == np.rint(rows))).all(axis=1)
                _encode(np.where(small[:, None], rows, 0).astype(np.int8), again, None)
                differs &= ~(small & _same(block.encoded, again, first, len(rows)))
            if bad >= 0 or differs.any():
                return base + first + (bad if bad >= 0 else int(differs.argmax()))
        if basis is not None and block.screened is not None:
            rows = block.vectors[: block.screened_rows]
            bad = screen.first_unproved(rows, block.encoded.norm, basis, block.screened)
            if bad >= 0:
                return base + bad
        base += len(block.vectors)
    return -1


def _same(known: encode.Encoded, again: encode.Encoded, first: int, count: int) -> npt.NDArray[np.bool_]:
    """Which of ``count`` rows from ``first`` on are coded as those at the start of ``again``."""
    same: npt.NDArray[np.bool_] = np.logical_and.reduce(
        [
            (old[first : first + count] == new[:count]).reshape(count, -1).all(axis=1)
            for old, new in zip(known[:4], again[:4], strict=True)
        ]
    )
    return same


def pieces(blocks: Blocks) -> Pieces:
    """The arrays that a folder stores, except those that the screens have in common."""
    along = blocks[0].direction
    return Pieces(
        {} if along is None else {"direction": along.vector},
        [_arrays(block) for block in blocks],
        [block.encoded.norm for block in blocks],
    )


def _arrays(block: Block) -> dict[str, npt.NDArray[Any]]:
    arrays = {name: getattr(block.encoded, name) for name in ("codes", "scale", "error", "norm")}
    if block.screened is not None:
        encoded, slack, leading = block.screened[:3]
        arrays |= {"screen_codes": encoded.codes, "screen_scale": encoded.scale, "screen_tail": encoded.error}
        arrays["screen_slack"] = slack
        if len(leading.codes):
            arrays |= {"leading_codes": leading.codes, "leading_words": leading.words}
    count = len(block.vectors)
    return {"vectors": block.vectors, **{name: array[:count] for name, array in arrays.items()}}
