"""Answers a join of rows in this computer's memory: pairs that reach a score, and groups of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ..kernels import cost, direct, equal, join, metrics, micro
from ..kernels.compile import default_mode
from ..kernels.native import Native
from ..results import Float32, Int64, Pairs
from . import passes, short_codes
from .blocks import Blocks, source_of


class Asked(NamedTuple):
    """Checked arguments of a join."""

    metric: str
    least: np.float32
    dims: int
    allowed: npt.NDArray[np.bool_]
    """bool, one for each left row: which take part; where rows are joined with themselves, on both sides.
    Empty if all do."""
    num_threads: int


class Joined(passes.Scanned, Protocol):
    """Encoded rows that can be joined."""

    rows: int
    dims: int

    @property
    def written(self) -> Native:
        """As in ``CpuStore``."""

    blocks: Blocks

    def fetch(self, numbers: Int64) -> Float32:
        """As in ``base.Store``."""


def pairs(rows: Joined, asked: Asked, other: Joined | None = None) -> Iterator[Pairs]:
    """All pairs, by (left, right), in parts of bounded size; without an ``other``, of two different rows."""
    for found in join.pairs(_join(rows, asked, other)):
        yield Pairs(*found)


def groups(rows: Joined, asked: Asked) -> Int64:
    """The lowest row of each row's group; a row that takes no part is alone.

    Of equal rows only the first is joined. All of them have the same score with any row, and with each
    other the one that the first has with itself. So they are in its group if that score is enough, and
    also if a row other than them is, as it is connected with each of them; otherwise each is alone.
    """
    n = rows.rows
    forest, part = np.arange(n), np.ones(n, np.bool_)
    numbers = np.flatnonzero(asked.allowed) if len(asked.allowed) else forest.copy()
    first = equal.first_equal(rows.matrix, numbers, asked.dims, asked.num_threads)
    later = first != numbers
    if later.any():
        part[:] = False
        part[numbers[~later]] = True
        asked = asked._replace(allowed=part)
    join.unite(_join(rows, asked, None), forest)
    found = join.roots(forest)
    copies, firsts = numbers[later], first[later]
    originals, places = np.unique(firsts, return_inverse=True)
    enough = np.bincount(found, minlength=n)[found[originals]] > 1
    score, at = direct.pair_score(asked.metric), rows.written.at
    with default_mode():
        least = float(asked.least)
    for place in np.flatnonzero(~enough).tolist():
        enough[place] = score(at, originals[place], originals[place], asked.dims) >= least
    joined = enough[places]
    found[copies[joined]] = found[firsts[joined]]
    return found


def _join(rows: Joined, asked: Asked, other: Joined | None) -> join.Join:
    right, allowed = (rows, asked.allowed) if other is None else (other, asked.allowed[:0])
    numbers = np.flatnonzero(asked.allowed) if len(asked.allowed) else np.arange(rows.rows)
    # Every float64 that rounds to ``least`` or more is above the float32 just below ``least``.
    with default_mode():
        root = float(np.nextafter(asked.least, np.float32(-np.inf)))
    bounded = asked.metric in metrics.BOUNDED
    gathered = None
    if bounded and len(allowed) and cost.gathering_pays(right.rows, len(numbers), short_codes.MANY):
        gathered, allowed = numbers, allowed[:0]
    request = short_codes.many(right.rows, asked.metric, asked.dims, allowed, asked.num_threads)
    blocks, by_screens = right.blocks, None
    if bounded and gathered is None:
        pairs_ = len(numbers) * right.rows // (1 + (other is None))
        blocks, by_screens = short_codes.of(right, asked.metric, asked.dims, root, pairs_, asked.num_threads)

    def left(first: int, last: int) -> join.Left:
        some = numbers[first:last]
        start = 0 if other is not None else first if gathered is not None else int(some[0])
        return join.Left(some, _float32_rows(rows, some)[:, : asked.dims], start)

    return join.Join(
        left,
        len(numbers),
        source_of(blocks, right.matrix.starts, request, gathered, by_screens),
        right.rows if gathered is None else len(gathered),
        right.matrix,
        allowed,
        other is None,
        asked.metric,
        asked.dims,
        asked.least,
        root,
        right.changed,
        micro.active(),
        by_screens and by_screens.basis,
        right.direction(asked.dims),
        asked.num_threads,
    )


def _float32_rows(rows: Joined, numbers: Int64) -> Float32:
    """The rows with these rising numbers: where they lie, if they are neighbors in a block."""
    first, last = int(numbers[0]), int(numbers[-1]) + 1
    if last - first == len(numbers):
        place = int(np.searchsorted(rows.matrix.starts, first, "right")) - 1
        base, end = rows.matrix.starts[place : place + 2].tolist()
        if last <= end:
            block: Float32 = rows.matrix.blocks[place][first - base : last - base]
            return block
    return rows.fetch(numbers)
