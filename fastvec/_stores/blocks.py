"""Rows in blocks that are never moved: how blocks are built, how they grow, how they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import _arguments
from .._request import Request
from ..kernels import encode, scan, threads
from ..results import Float32, Int64

BLOCK = 1024
"""The number of rows that are encoded, gathered or compared at a time, so that they stay in cache."""

IN_PLACE_BYTES = 1 << 24
"""Added arrays of at least this size stay where they are; smaller ones are copied, several to a block."""


class Block(NamedTuple):
    """Rows with their codes. ``encoded`` may have room for more rows."""

    vectors: Float32
    encoded: encode.Encoded
    prefixes: dict[int, encode.Encoded]
    """The codes with the terms measured on their first columns, by the number of columns."""
    room: Float32 | None
    """The whole float32 memory of a block that has room for more rows; it begins with ``vectors``."""
    owned: bool
    """Whether fastvec owns the float32 rows."""

    def prefix(self, dims: int, num_threads: int) -> encode.Encoded:
        """The encoded rows, with terms for only the first ``dims`` columns."""
        if dims == self.vectors.shape[1]:
            return self.encoded
        known = self.prefixes.get(dims)
        if known is None:
            # Two threads may both measure it, with the same result; so there is no lock to hold across a
            # fork.
            known = encode.prefix(self.vectors, self.encoded, dims, num_threads)
        return self.prefixes.setdefault(dims, known)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows' codes and terms, and of the rows themselves if fastvec owns them."""
        n = len(self.vectors)
        codes, *terms, _ = (array.strides[0] for array in self.encoded)
        prefixes = sum(p.error.nbytes + p.norm.nbytes for p in list(self.prefixes.values()))
        return n * (codes + sum(terms)) + prefixes + (self.vectors.nbytes if self.owned else 0)


Blocks = tuple[Block, ...]
"""All rows of an Index at one moment: a search sees these, even if rows are added meanwhile."""


def block_of(vectors: Float32, *, owned: bool) -> Block:
    """A block of rows that stay where they are."""
    return _filled(vectors, encode.empty(*vectors.shape), vectors, owned=owned)


def append(blocks: Blocks, vectors: Float32, *, owned: bool) -> Blocks:
    """The blocks with further rows appended; one call at a time, because calls use the same room."""
    if len(vectors) == 0:
        return blocks
    if len(blocks[0].vectors) == 0:
        return (block_of(vectors, owned=owned),)
    if vectors.nbytes >= IN_PLACE_BYTES:
        return (*blocks, block_of(vectors, owned=owned))
    last = blocks[-1]
    count = len(last.vectors)
    if last.room is not None and count + len(vectors) <= len(last.room):
        return (*blocks[:-1], _filled(vectors, last.encoded, last.room, count, owned=True))
    # Room for as many rows again, so that few blocks hold many additions; unused memory is not touched.
    rows = sum(len(block.vectors) for block in blocks)
    height = max(len(vectors), min(max(rows, 64), IN_PLACE_BYTES // vectors[:1].nbytes))
    room = np.empty((height, vectors.shape[1]), np.float32)
    return (*blocks, _filled(vectors, encode.empty(*room.shape), room, owned=True))


def _filled(vectors: Float32, encoded: encode.Encoded, memory: Float32, at: int = 0, *, owned: bool) -> Block:
    """A block of ``memory`` whose rows from ``at`` on become these; earlier rows are not touched."""
    last = at + len(vectors)
    if memory is not vectors:
        memory[at:last] = vectors
    into = encode.Encoded(*(array[at:] for array in encoded[:4]))
    bad = encode.encode(memory[at:last], into, threads.get_num_threads())
    _arguments.refuse_row(bad, vectors, "vectors")
    return Block(memory[:last], encoded, {}, memory if len(memory) > last else None, owned)


def source_of(blocks: Blocks, starts: Int64, request: Request, chosen: Int64 | None) -> scan.Source:
    """The encoded rows that a request scans: all rows, or copies of the ``chosen`` ones.

    ``starts`` holds the number of each block's first row and, at the end, the number of all rows.
    """
    encoded = [block.prefix(request.dims, request.num_threads) for block in blocks]
    if chosen is None:
        allowed = request.allowed
        rows = [
            scan.rows_of(part, int(base), allowed) for part, base in zip(encoded, starts[:-1], strict=True)
        ]

        def all_rows(start: int, stop: int) -> Iterator[tuple[int, int, scan.Rows]]:
            for part, base, end in zip(rows, starts[:-1], starts[1:], strict=True):
                if max(start, base) < min(stop, end):
                    yield max(start, base) - base, min(stop, end) - base, part

        return all_rows
    numbers = chosen
    cuts = np.searchsorted(numbers, starts)

    def chosen_rows(start: int, stop: int) -> Iterator[tuple[int, int, scan.Rows]]:
        buffer = encode.empty(BLOCK, encoded[0].codes.shape[1])
        for part, base, low, high in zip(encoded, starts[:-1], cuts[:-1], cuts[1:], strict=True):
            for first in range(max(start, low), min(stop, high), BLOCK):
                ids = numbers[first : min(first + BLOCK, stop, high)]
                yield 0, len(ids), scan.rows_of(encode.gather(part, ids - base, buffer), 0, ids=ids)

    return chosen_rows


def first_changed(blocks: Blocks) -> int:
    """Encode all rows again; return the first that differs from its codes, or −1."""
    base = 0
    again = encode.empty(BLOCK, blocks[0].vectors.shape[1])
    for block in blocks:
        for first in range(0, len(block.vectors), BLOCK):
            rows = block.vectors[first : first + BLOCK]
            bad = encode.encode(rows, again, threads.get_num_threads())
            same = [
                (old[first : first + len(rows)] == new[: len(rows)]).reshape(len(rows), -1).all(axis=1)
                for old, new in zip(block.encoded[:4], again[:4], strict=True)
            ]
            differs = ~np.logical_and.reduce(same)
            if bad >= 0 or differs.any():
                return base + first + (bad if bad >= 0 else int(differs.argmax()))
        base += len(block.vectors)
    return -1


def pieces(blocks: Blocks) -> dict[str, Sequence[npt.NDArray[Any]]]:
    """The arrays that a folder stores, by name, in pieces to be concatenated."""
    stored: dict[str, Sequence[npt.NDArray[Any]]] = {"vectors": tuple(block.vectors for block in blocks)}
    for name in ("codes", "scale", "error", "norm"):
        stored[name] = [getattr(block.encoded, name)[: len(block.vectors)] for block in blocks]
    width = blocks[0].encoded.codes.shape[1]
    # A tile of the scan may reach past the last row.
    stored["codes"] = [*stored["codes"], np.zeros((encode.SPARE_ROWS, width), np.uint8)]
    return stored
