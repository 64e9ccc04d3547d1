"""Whether rows get a screen, and of how many dimensions; see ``kernels/screen.py``.

A sample of the rows tells: some of them are queries, and all of them are scored by screens of several widths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import _logs
from .._checks import shown
from ..kernels import cost, encode, micro, products, scan, screen, seeds
from ..kernels.compile import default_mode
from ..kernels.micro.record import MicroKernel
from ..results import Float32
from .base import Arrays, Setting
from .blocks import Block, Screens, with_screen

WIDTHS = (64, 128, 192, 256)
"""The bytes of codes that a screen may have for a row."""

_WITH_LEADING = 192
"""Screens that are asked for hold leading codes from this width on: 64 bytes of it."""

_LEAST_ROWS = 4096
_SAMPLE, _FEW, _QUERIES = 2048, 48, 48
_PIVOTS, NEAREST = 1024, 32
_HOPED = 0.7
"""The price of a screen before a sample tells."""


class Screening(NamedTuple):
    """What the screens of a store have in common."""

    basis: screen.Basis
    shares: Shares
    """Of the sample; 0 if the width was asked for."""
    pivots: npt.NDArray[np.int64]
    """The numbers of the pivots, rows of the first block."""
    neighbors: npt.NDArray[np.int32]
    """(pivots, neighbors): the rows nearest to each."""

    @property
    def leading(self) -> int:
        """The number of dimensions of its leading codes; 0 if there are none."""
        return int(self.basis.leading.matrix.shape[1])

    @property
    def width(self) -> int:
        """The bytes of codes of a row: a byte for each dimension."""
        return int(self.basis.matrix.shape[1]) + self.leading

    def of_search(self, n: int, dims: int, m: int) -> Screens | None:
        """What a search of n rows for m queries needs, or None if it is quicker without screens."""
        few, kernel = m <= scan.FEW, micro.active()
        if self.shares.all == 0.0:
            return Screens(self.basis, 1.0, 1.0, self.pivots, self.neighbors)
        p, shares = self.basis.matrix.shape[1], self.shares
        if _price(n, dims, p, shares, kernel, few=few, leading=self.leading > 0) > 1.0:
            return None
        limits = (
            cost.screen_limit(dims, p, kernel, few=few),
            cost.leading_limit(dims),
        )
        return Screens(self.basis, *limits, self.pivots, self.neighbors)

    def over(self, block: Block, num_threads: int) -> Screening:
        """The same for another first block."""
        if block.screened is None:
            return self
        take = block.vectors.__getitem__
        return self.with_pivots(len(block.vectors), take, block.screened.encoded, num_threads)

    def with_pivots(
        self,
        n: int,
        take: Callable[[npt.NDArray[np.int64]], Float32],
        coarse: encode.Encoded,
        num_threads: int,
    ) -> Screening:
        """The same with pivots of n rows that ``take`` returns; ``coarse`` are their codes."""
        pivots, neighbors = _pivots(n, take, coarse, self.basis, num_threads)
        return self._replace(pivots=pivots, neighbors=neighbors)


class Shares(NamedTuple):
    """The shares of pairs of a query and a row that pass."""

    all: float
    """The codes of all dimensions."""
    leading: float
    """The leading codes."""


def _price(
    n: int, dims: int, p: int, shares: Shares, kernel: MicroKernel, *, few: bool, leading: bool
) -> float:
    """What a search by a screen of p dimensions takes, as in ``cost``, with or without leading codes."""
    if few and leading:
        return cost.leading_price(n, dims, p, shares.leading, shares.all)
    return cost.screen_price(n, dims, p, shares.all, kernel, few=few)


def screening(
    block: Block, setting: Setting, num_threads: int, *, queries: int | None = None
) -> tuple[Block, Screening | None]:
    """A block with a screen if one pays, and what further blocks need for theirs.

    It is to pay within one search of ``queries`` queries, or, if that is None, in the long run.
    """
    chosen = basis_for(block.vectors, setting, num_threads, queries)
    if chosen is None:
        return block, None
    basis, shares = chosen
    with _logs.timed("a screen of %d dims was made", basis.matrix.shape[1]):
        block = with_screen(block, basis, num_threads)
    none = np.empty(0, np.int64), np.empty((0, NEAREST), np.int32)
    return block, Screening(basis, shares, *none).over(block, num_threads)


def checked(setting: object, dims: int) -> Setting:
    """A setting as a plain string or integer.

    Raises:
        ValueError: it is not allowed for rows of these dimensions.
    """
    widths = [width for width in WIDTHS if width < dims]
    known: tuple[Setting, ...] = ("auto", "off", *widths)
    for allowed in known:
        if isinstance(setting, (str, int, np.integer)) and type(setting) is not bool and setting == allowed:
            return allowed
    fitting = f", or one of {', '.join(map(str, widths))}" if widths else ""
    raise ValueError(
        f"screen is {shown(setting)}; for vectors of {dims} dimensions it must be 'auto' or 'off'{fitting}"
    )


def basis_for(
    vectors: Float32, setting: Setting, num_threads: int, queries: int | None = None
) -> tuple[screen.Basis, Shares] | None:
    """The basis of a screen for these rows, and the shares of pairs that pass; None if none pays."""
    if setting == "off":
        return None
    with default_mode():
        return _basis_for(vectors, setting, num_threads, queries)


def _basis_for(
    vectors: Float32, setting: Setting, num_threads: int, queries: int | None
) -> tuple[screen.Basis, Shares] | None:
    n, dims = vectors.shape
    kernel = micro.active()
    if setting != "auto":
        leading = int(setting) >= _WITH_LEADING
        p = int(setting) - leading * screen.LEADING
        columns = screen.directions(units(vectors, _SAMPLE), p, num_threads)
        return screen.basis(columns, leading), Shares(0.0, 0.0)
    # Wider rows may need more dimensions; the widest of narrow ones would rarely pay.
    widths = [width for width in WIDTHS if 2 * width <= dims and (width < 256 or dims >= 1024)]
    if n < _LEAST_ROWS or not widths:
        return None
    if queries is not None and not cost.screen_building_pays(n, queries, dims, widths[0], _HOPED, kernel):
        return None
    if _spread(units(vectors, _FEW)) > dims / 3:
        return None
    columns, passing = sampled(vectors, widths, num_threads)
    ways = {
        (p, leading): Shares(share, passing[0])
        for p, share in zip(widths, passing, strict=True)
        for leading in (False, True)
        if not leading or screen.LEADING < p <= WIDTHS[-1] - screen.LEADING
    }

    def price(way: tuple[int, bool], few: bool) -> float:
        return _price(n, dims, way[0], ways[way], kernel, few=few, leading=way[1])

    # Prefer what serves batches; a micro-kernel may be too quick at these, and serve single queries.
    for few in (False, True) if queries is None else (queries <= scan.FEW,):
        p, leading = min(ways, key=lambda way: price(way, few))
        least = price((p, leading), few)
        if least <= 1.0:
            break
    else:
        return None
    if queries is None:
        p, leading = min((way for way in ways if way[0] == p), key=lambda way: price(way, True))
    elif not cost.screen_building_pays(n, queries, dims, p, least, kernel):
        return None
    return screen.basis(columns[:, :p], leading), ways[p, leading]


def sampled(vectors: Float32, widths: list[int], num_threads: int) -> tuple[Float32, list[float]]:
    """The directions of the widest screen, and for each width the share of pairs that passes, by a sample."""
    sample = units(vectors, _SAMPLE)
    columns = screen.directions(sample, widths[-1], num_threads)
    within = products.multiply(sample, columns, num_threads)
    return columns, _shares(sample, within, widths, len(vectors))


def units(vectors: Float32, count: int) -> Float32:
    """At most ``count`` rows, evenly spread, of unit length; rows of no or extreme length become zero."""
    rows = vectors[:: max(1, len(vectors) // count)][:count]
    with np.errstate(all="ignore"):
        norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        usable = (norms > 2.0**-60) & (norms < 2.0**60)
        scaled: Float32 = rows * np.where(usable, 1 / norms, np.float32(0.0))[:, None]
    return scaled


def _spread(sample: Float32) -> float:
    """About in how many directions rows differ: their number of dimensions if these are all alike."""
    products = sample @ sample.T
    np.fill_diagonal(products, 0.0)
    squares = float(np.einsum("ij,ij->", products, products, dtype=np.float64))
    return len(sample) * (len(sample) - 1) / max(squares, 1e-30)


def _shares(sample: Float32, within: Float32, widths: list[int], n: int) -> list[float]:
    """For each width, the share of the sample that passes, with rows of it as queries.

    ``within`` are the products of the sample with the directions.
    """
    some = slice(None, None, max(1, len(sample) // _QUERIES))
    exact = sample[some][:_QUERIES] @ sample.T
    # Of n rows ten are nearest, of the sample as many in proportion, besides the query itself.
    rank = 1 + max(1, 15 * len(sample) // n)
    least = np.partition(exact, len(sample) - rank, axis=1)[:, len(sample) - rank]
    shares = []
    for width in widths:
        rows = within[:, :width]
        tails = np.sqrt(np.maximum(0.0, 1.0 - np.square(rows).sum(axis=1)))
        asked, tail = rows[some][:_QUERIES], tails[some][:_QUERIES]
        upper = asked @ rows.T + tail[:, None] * tails + 2.0 / 127
        shares.append(float((upper >= least[:, None]).mean()))
    return shares


def _pivots(
    n: int,
    take: Callable[[npt.NDArray[np.int64]], Float32],
    coarse: encode.Encoded,
    basis: screen.Basis,
    num_threads: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """The numbers of evenly spread rows, and of their nearest neighbors by estimates."""
    count = min(_PIVOTS, n // NEAREST)
    numbers = np.arange(count) * (n // max(1, count))
    if count == 0:
        return numbers, np.empty((0, NEAREST), np.int32)
    kernel = micro.active()
    rows = np.ascontiguousarray(take(numbers))
    packed = encode.pack(rows, kernel.levels, kernel.tile_queries, num_threads)
    queries = screen.pack(rows, packed, basis, kernel.levels, kernel.tile_queries, num_threads)
    near = seeds.nearest_in_parts(scan.rows_of(coarse, 0), n, queries, NEAREST, "cosine", kernel, num_threads)
    return numbers, near.astype(np.int32)


def nbytes(screening: Screening | None) -> int:
    """Bytes of the basis and of the pivots' neighbors."""
    if screening is None:
        return 0
    return screening.basis.matrix.nbytes + screening.pivots.nbytes + screening.neighbors.nbytes


def stored(screening: Screening) -> dict[str, npt.NDArray[Any]]:
    """The arrays that a folder stores besides those of each block."""
    return {
        "basis": screening.basis.matrix,
        "pivots": screening.pivots,
        "neighbors": screening.neighbors,
    }


def facts(screening: Screening, setting: Setting) -> dict[str, Any]:
    """What a folder's manifest says of the arrays."""
    pivots, neighbors = screening.neighbors.shape
    return {
        "setting": setting,
        "width": screening.width,
        "leading": screening.leading,
        "shares": list(screening.shares),
        "pivots": pivots,
        "neighbors": neighbors,
    }


def opened(arrays: Arrays, shares: Sequence[float], *, leading: bool) -> Screening | None:
    """What ``stored`` returned, if it was there; ``leading``: whether rows have leading codes."""
    if "basis" not in arrays:
        return None
    basis, pivots, neighbors = (np.array(arrays[name]) for name in ("basis", "pivots", "neighbors"))
    return Screening(screen.measured(basis, leading), Shares(*map(float, shares)), pivots, neighbors)


def opened_screen(arrays: Arrays, norm: npt.NDArray[np.float64]) -> screen.Screen | None:
    """The screen of a block of rows that were opened, with their norms."""
    if "screen_codes" not in arrays:
        return None
    scale, tail, slack = (np.array(arrays[f"screen_{name}"]) for name in ("scale", "tail", "slack"))
    leading = screen.NO_LEADING
    if "leading_codes" in arrays:
        leading = screen.LeadingCodes(arrays["leading_codes"], np.array(arrays["leading_words"]))
    return screen.Screen(encode.Encoded(arrays["screen_codes"], scale, tail, norm), slack, leading)
