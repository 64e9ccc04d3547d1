"""Exact scores of rows that are fetched: only those that a search needs, each batch in one read.

The rows of a scan's survivors that will most likely be reached are fetched first. Their exact scores leave
few others that could still win, mostly none, and these are fetched then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..files.rows import Fetched
from ..kernels import direction, encode, matrix, refine, rescore
from ..kernels.compile import default_mode
from ..kernels.log import Survivors
from ..results import Float32, Int64, Ranges, TopK

Fetch = Callable[[Int64], Float32]
"""Returns the rows with these numbers, which rise."""

Bools = npt.NDArray[np.bool_]

_AT_ONCE_BYTES = 1 << 26
"""Of rows that are in memory together."""


def ranked(
    fetch: Fetch,
    survivors: Survivors,
    originals: refine.Originals,
    metric: str,
    found: TopK,
    num_threads: int,
) -> tuple[int, int]:
    """``rescore.rescore`` into ``found``, over rows that are fetched."""
    m, count = len(found.scores), 0
    groups = rescore.grouped(survivors.query, m)
    most = max(1, _AT_ONCE_BYTES // (4 * originals.dims))
    for first, last in _runs(groups.offsets, most):
        entries = groups.order[groups.offsets[first] : groups.offsets[last]]
        part = _part(survivors, entries, first, last)
        here = originals.held[first:last], originals.squares[first:last]
        some = TopK(found.scores[first:last], found.indices[first:last])
        more, stale = _ranked(fetch, part, here, metric, some, num_threads)
        count += more
        if stale >= 0:
            return count, stale
    return count, -1


def _runs(offsets: Int64, most: int) -> Iterator[tuple[int, int]]:
    """Runs of queries that have at most ``most`` entries together, at least one query each."""
    first, m = 0, len(offsets) - 1
    while first < m:
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + most, "right")) - 1)
        yield first, last
        first = last


def _part(survivors: Survivors, entries: Int64, first: int, last: int) -> Survivors:
    """Some survivors, of the queries from ``first`` to ``last``."""
    return survivors._replace(
        query=survivors.query[entries] - np.int32(first),
        row=survivors.row[entries],
        lower=survivors.lower[entries],
        upper=survivors.upper[entries],
        left=survivors.left[first:last],
    )


def _ranked(
    fetch: Fetch,
    survivors: Survivors,
    queries: tuple[Float32, npt.NDArray[np.float64]],
    metric: str,
    found: TopK,
    num_threads: int,
) -> tuple[int, int]:
    """``ranked`` for queries whose survivors may be in memory together, and are sorted by query."""
    k, upper = found.scores.shape[1], survivors.upper
    with default_mode():
        wanted = ~survivors.left[survivors.query]
        reached = wanted & _reaching(survivors, k)
        outcome = _of_some(fetch, survivors, reached, queries, metric, found, num_threads)
        if outcome[1] >= 0:
            return outcome
        # At least the score of the k-th row that was scored, whatever it was rounded to.
        least = np.nextafter(found.scores[:, -1], np.float32(-np.inf)).astype(np.float64)
        least[survivors.left | (found.indices[:, -1] < 0)] = -np.inf
        more = wanted & ~reached & (upper >= least[survivors.query])
        if more.any():
            again = np.unique(survivors.query[more])
            entries = np.flatnonzero((reached | more) & np.isin(survivors.query, again))
            part = _part(survivors, entries, 0, 0)._replace(
                query=np.searchsorted(again, survivors.query[entries]).astype(np.int32),
                left=survivors.left[again],
            )
            some = TopK(found.scores[again], found.indices[again])
            every, these = np.ones(len(entries), np.bool_), (queries[0][again], queries[1][again])
            count, stale = _of_some(fetch, part, every, these, metric, some, num_threads)
            found.scores[again], found.indices[again] = some
            outcome = outcome[0] + count, stale
    return outcome


def _reaching(survivors: Survivors, k: int) -> Bools:
    """The survivors whose upper end reaches the k-th largest middle of their query's intervals."""
    middles = (survivors.lower + survivors.upper) / 2.0
    borders = np.searchsorted(survivors.query, np.arange(len(survivors.left) + 1))
    least = np.full(len(survivors.left), -np.inf)
    for query, (start, stop) in enumerate(zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True)):
        if stop - start > k:
            least[query] = np.partition(middles[start:stop], stop - start - k)[stop - start - k]
    reaching: Bools = survivors.upper >= least[survivors.query]
    return reaching


def _of_some(
    fetch: Fetch,
    survivors: Survivors,
    chosen: Bools,
    queries: tuple[Float32, npt.NDArray[np.float64]],
    metric: str,
    found: TopK,
    num_threads: int,
) -> tuple[int, int]:
    """The ranking of chosen survivors, into ``found``."""
    entries = np.flatnonzero(chosen)
    numbers, places = np.unique(survivors.row[entries], return_inverse=True)
    part = _part(survivors, entries, 0, len(survivors.left))._replace(row=places)
    originals = over(fetch(numbers), *queries)
    count, stale = rescore.rescore(part, originals, metric, found.scores, found.indices, num_threads)
    if stale >= 0:
        return count, int(numbers[stale])
    kept = found.indices >= 0
    kept[survivors.left] = False
    found.indices[kept] = numbers[found.indices[kept]]
    return count, -1


def over(rows: Float32, queries: Float32, squares: npt.NDArray[np.float64]) -> refine.Originals:
    """The record of queries and rows in one array."""
    return refine.originals(queries, squares, matrix.of((rows,)), queries.shape[1])


def in_range(
    fetch: Fetch,
    survivors: Survivors,
    originals: refine.Originals,
    metric: str,
    least: np.float32,
    num_threads: int,
) -> tuple[Ranges, int]:
    """The survivors whose score as float32 is at least ``least``, and a row outside its interval, or −1."""
    queries = originals.held, originals.squares
    exact, stale = scored(fetch, survivors.query, survivors.row, queries, metric, num_threads)
    if stale < 0:
        inside = (survivors.lower <= exact) & (exact <= survivors.upper)
        stale = -1 if inside.all() else int(survivors.row[inside.argmin()])
    if stale >= 0:
        none = np.empty(0, np.int64)
        return Ranges(none, np.empty(0, np.float32), none), stale
    with default_mode():
        published = exact.astype(np.float32) + np.float32(0.0)  # no −0.0
        kept = np.flatnonzero(published >= least)
        kept = kept[np.lexsort((survivors.row[kept], -exact[kept], survivors.query[kept]))]
    offsets = np.zeros(len(originals.squares) + 1, np.int64)
    np.cumsum(np.bincount(survivors.query[kept], minlength=len(offsets) - 1), out=offsets[1:])
    return Ranges(offsets, published[kept], survivors.row[kept]), -1


def scored(
    fetch: Fetch,
    query: npt.NDArray[Any],
    row: Int64,
    queries: tuple[Float32, npt.NDArray[np.float64]],
    metric: str,
    num_threads: int,
) -> tuple[npt.NDArray[np.float64], int]:
    """``rescore.score_pairs`` of a matrix of queries, Σ q² of each, and rows that are fetched."""
    exact = np.empty(len(row))
    order = np.argsort(row, kind="stable")
    step = max(1, _AT_ONCE_BYTES // (4 * queries[0].shape[1]))
    for start in range(0, len(order), step):
        entries = order[start : start + step]
        numbers, places = np.unique(row[entries], return_inverse=True)
        some = over(fetch(numbers), *queries)
        exact[entries], bad = rescore.score_pairs(query[entries], places, some, metric, num_threads)
        if bad >= 0:
            return exact, int(numbers[bad])
    return exact, -1


def prefix(
    rows: Fetched, whole: encode.Encoded, dims: int, num_threads: int, along: direction.Direction | None
) -> encode.Encoded:
    """``direction.prefix`` over rows that are fetched, in one pass over them."""
    from ..files.rows import Stream

    terms = [
        direction.prefix(
            block,
            encode.Encoded(*(np.asarray(array[first : first + len(block)]) for array in whole[:4])),
            dims,
            num_threads,
            along,
        )
        for first, block in Stream((rows,)).runs()
    ]
    error, norm = (np.concatenate([getattr(term, name) for term in terms]) for name in ("error", "norm"))
    return whole._replace(error=error, norm=norm, whole=whole.norm)
