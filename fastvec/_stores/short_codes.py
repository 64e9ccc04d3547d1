"""Short codes of the rows of a join, made for it: a screen whose threshold is known before the scan.

With a high score to reach, few dimensions rule out nearly all pairs. A sample of the rows tells what they
would let through, by the very test that the scan makes.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from .._request import Request
from ..kernels import cost, filters, matrix, micro, refine, rows, scan, screen
from ..kernels.compile import default_mode
from ..kernels.direction import Direction
from ..kernels.log import PASSED
from ..results import Float32, Int64
from .blocks import Block, Blocks, Screens, block_of, source_of, with_screen
from .screens import units

WIDTHS = (64, 128)
MANY = 1024
"""Queries of a search that pays where a block of a join does."""
_LEAST_ROWS = 4096
_SAMPLE, _QUERIES = 2048, 256
_FEW = 0.001
"""The share of pairs that may pass where more dimensions have little left to rule out."""
_HOPED = 0.4
"""The price of short codes before a sample tells."""


class Coded(Protocol):
    """Rows with full codes."""

    @property
    def matrix(self) -> matrix.Matrix:
        """The float32 rows, for kernels."""

    blocks: Blocks
    rows: int
    dims: int

    def fetch(self, numbers: Int64) -> Float32:
        """As in ``base.Store``."""

    def direction(self, dims: int) -> Direction | None:
        """As in ``passes.Scanned``."""


def of(
    coded: Coded, metric: str, dims: int, root: float, pairs: int, num_threads: int
) -> tuple[Blocks, Screens | None]:
    """The blocks with short codes as their screens, and what a scan needs besides; without, if none pay."""
    n, kernel, blocks = coded.rows, micro.active(), coded.blocks
    widths = [width for width in WIDTHS if 2 * width <= dims]
    if n < _LEAST_ROWS or not widths or dims < coded.dims or coded.direction(dims) is not None:
        return blocks, None
    if not cost.short_codes_pay(pairs, n, dims, widths[0], _HOPED, kernel):
        return blocks, None
    prices = {}
    with default_mode():
        sample = coded.fetch(np.arange(_SAMPLE) * (n // _SAMPLE))
        columns = screen.directions(units(sample, _SAMPLE), widths[-1], num_threads)
        block = block_of(sample, None, owned=False)
        for width in widths:
            basis = screen.basis(columns[:, :width])
            share = _share(with_screen(block, basis, num_threads), basis, metric, root)
            prices[width] = cost.join_price(dims, width, share, kernel), basis
            if share < _FEW:
                break
    width = min(prices, key=lambda each: prices[each][0])
    price, basis = prices[width]
    if not cost.short_codes_pay(pairs, n, dims, width, price, kernel):
        return blocks, None
    coded_blocks = tuple(with_screen(block, basis, num_threads) for block in _plain(blocks))
    return coded_blocks, _screens(basis, cost.screen_limit(dims, width, kernel, few=False))


def _plain(blocks: Blocks) -> Blocks:
    """The blocks without screens, and without room for more rows."""
    return tuple(
        block._replace(
            screened=None, encoded=block.encoded._replace(norm=block.encoded.norm[: len(block.vectors)])
        )
        for block in blocks
    )


def _screens(basis: screen.Basis, limit: float) -> Screens:
    return Screens(basis, limit, 1.0, np.empty(0, np.int64), np.empty((0, 0), np.int32))


def many(n: int, metric: str, dims: int, allowed: npt.NDArray[np.bool_], num_threads: int) -> Request:
    """The request of a search of n rows for as many queries as a block of a join has."""
    queries, none = np.empty((MANY, 0), np.float32), filters.Exclusions.none(MANY)
    return Request(queries, np.empty(0), False, metric, dims, n, 1, 1, allowed, none, num_threads)


def _share(block: Block, basis: screen.Basis, metric: str, root: float) -> float:
    """The share of pairs of a sample that passes its short codes."""
    kernel, vectors = micro.active(), matrix.of((block.vectors,))
    n, dims = block.vectors.shape
    queries = np.ascontiguousarray(block.vectors[:: max(1, n // _QUERIES)])
    squares, m = np.empty(len(queries)), len(queries)
    rows.all_squares(queries, squares, 1)
    originals = refine.originals(queries, squares, vectors, dims)
    asked = scan.packed(originals, kernel, kernel.tile_queries, 1, basis, None)
    none = filters.Exclusions.none(m)
    walk = scan.RangeWalk(asked, none, originals, root, metric, kernel, n)
    request = many(n, metric, dims, np.empty(0, np.bool_), 1)
    pieces = source_of((block,), vectors.starts, request, None, _screens(basis, 1.0))(0, n)
    passed = sum(int(state.cursor[PASSED]) for state in walk.over(pieces))
    return float(max(0, passed - m) / (n * m))  # each row passes with itself
