"""Answers a request over rows in this computer's memory, by scan and rescore or by the direct pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from .. import _memory
from .._request import Request
from ..kernels import cost, direct, few, filters, log, matrix, metrics, micro, refine, rescore, scan
from ..kernels.compile import default_mode
from ..kernels.direction import Direction
from ..kernels.matrix import Matrix
from ..kernels.micro.record import MicroKernel
from ..kernels.native import Native
from ..results import Float32, Int64, Ranges, TopK
from . import fetching
from .blocks import Screens


class Counters(NamedTuple):
    """Counts of what a search did, for tests and benchmarks."""

    micro_kernel: str | None
    """The micro-kernel of the encoded scan; None if nothing was scanned."""
    scanned: int
    """Pairs of query and row that were scored on codes."""
    candidates: int
    """Pairs that survived the scan."""
    rescored: int
    """Survivors that were scored exactly."""
    direct: int
    """Queries that the direct pass finished or answered completely."""
    again: int = 0
    """Parts of the rows that a device scanned again because their candidates did not fit."""
    screened: int = 0
    """Pairs of query and row that were scored on a screen first; without one, or once it does not pay,
    pairs are scored on their full codes at once."""
    passed: int = 0
    """Those of them that passed it, and were scored on their full codes too."""


NOTHING = Counters(None, 0, 0, 0, 0)


class Scored(Protocol):
    """Rows that can be scored exactly."""

    @property
    def matrix(self) -> matrix.Matrix:
        """The float32 rows, for kernels; none if they are not at hand."""

    def all_rows(self) -> Matrix | direct.Stream:
        """All float32 rows, for the direct pass."""

    def fetch(self, numbers: Int64) -> Float32:
        """As in ``base.Store``."""

    def changed(self, row: int) -> RuntimeError:
        """The error that says that a row is not the one that was encoded."""

    def refuse(self, row: int, dims: int) -> None:
        """As in ``base.Store``."""


class Scanned(Scored, Protocol):
    """Rows that can be scanned."""

    @property
    def encoded(self) -> bool:
        """Whether the codes exist already, so that every thread can read them at no cost."""

    def encoded_first(self, request: Request) -> Scanned:
        """The rows of a single search, with codes of all of them."""

    def screens(self, request: Request) -> Screens | None:
        """The screens by which the request scans all rows; None if there are none, or they do not pay."""

    def direction(self, dims: int) -> Direction | None:
        """What the codes of the rows' first columns have in common, if anything."""

    def source(self, request: Request, chosen: Int64 | None, by_screens: Screens | None) -> scan.Source:
        """The encoded rows that a request scans: all rows, or the ``chosen`` ones."""

    def ready(
        self, request: Request, by_screens: Screens | None
    ) -> tuple[Sequence[few.Ready], Native] | None:
        """All rows for a search for few queries, and ``few.Whole``, if they are encoded and in few pieces."""


def search(rows: Scanned, request: Request) -> tuple[TopK, Counters]:
    """The nearest rows of each query, and the counters of the search."""
    chosen = _chosen(request)
    m, n = len(request.queries), request.rows if chosen is None else len(chosen)
    if m == 0 or n == 0:
        return request.nothing(), NOTHING
    kernel = micro.active()
    if not _scans(rows, request, n, kernel):
        found = request.room()
        _pass_directly(rows, request, np.arange(m), found)
        return found, NOTHING._replace(direct=m)
    if not rows.encoded and chosen is None and _encoding_first_pays(n, request.dims):
        rows = rows.encoded_first(request)
    screens = None if chosen is not None else rows.screens(request)
    if chosen is None and m <= scan.FEW and n * m * request.dims <= few.CODES_AT_ONCE:
        ready = rows.ready(request, screens)
        if ready is not None:
            outcome = _search_few(rows, request, ready, screens, kernel)
            if screens is not None or not len(outcome.left):
                return _finished(rows, request, outcome, kernel)
    found, source = request.room(), rows.source(request, chosen, screens)
    done = Counters(kernel.name, m * n, 0, 0, 0)
    at_once = cost.queries_at_once(request.k)
    for first in range(0, m, at_once):
        last = min(first + at_once, m)
        survivors, threads = _scan(rows, request, n, source, screens, first, last)
        done = finish(rows, request, survivors, found, first, done, threads)
    return found, done


def _encoding_first_pays(n: int, dims: int) -> bool:
    """Whether to encode all rows of a single search first: it pays, and memory has room for their codes."""
    if not cost.encoding_first_pays(n, dims):
        return False
    return n * dims <= _UNCHECKED_BYTES or 4 * n * dims <= _memory.available()


_UNCHECKED_BYTES = 1 << 27
"""Of codes; for more, the free memory is looked at."""


def _search_few(
    rows: Scored,
    request: Request,
    ready: tuple[Sequence[few.Ready], Native],
    screens: Screens | None,
    kernel: MicroKernel,
) -> few.Outcome:
    """Answer few queries over rows that are ready."""
    m = len(request.queries)
    dims, border = request.dims, cost.SCAN_THREADS
    if screens is not None:
        dims, border = screens.first_dims, cost.SCREEN_THREADS
    outcome = few.search(
        *ready,
        request.queries,
        request.k,
        request.metric,
        kernel,
        request.exclusions,
        cost.scan_threads(request.rows, m, dims, request.num_threads, border=border),
    )
    if outcome.stale >= 0:
        raise rows.changed(outcome.stale)
    return outcome


def _finished(
    rows: Scored, request: Request, outcome: few.Outcome, kernel: MicroKernel
) -> tuple[TopK, Counters]:
    """The answers, with those of queries that the scan could not finish, and counts."""
    found, left = TopK(outcome.scores, outcome.indices), 0
    if len(outcome.left):
        chosen = np.flatnonzero(outcome.left)
        left = len(chosen)
        _pass_directly(rows, request, chosen, found)
    pairs, (candidates, rescored, screened, passed) = request.rows * len(found.scores), outcome[3:7]
    return found, Counters(kernel.name, pairs, candidates, rescored, left, 0, screened, passed)


def _scans(rows: Scanned, request: Request, n: int, kernel: MicroKernel) -> bool:
    """Whether to scan n rows and rescore, instead of scoring every row exactly."""
    if not metrics.bounded(request.metric):
        return False
    m = len(request.queries)
    pays = cost.scan_pays(n, m, request.dims, request.k, kernel, encoded=rows.encoded)
    return pays or (rows.encoded and micro.forced())


def ranges(rows: Scanned, request: Request, least: np.float32) -> Ranges:
    """All rows whose score, as float32, is at least ``least``, for each query."""
    chosen = _chosen(request)
    m, n = len(request.queries), request.rows if chosen is None else len(chosen)
    if m == 0 or n == 0:
        return Ranges(np.zeros(m + 1, np.int64), np.empty(0, np.float32), np.empty(0, np.int64))
    if not metrics.bounded(request.metric):
        return _ranges_directly(rows, request, least)
    # Every float64 that rounds to ``least`` or more is above the float32 just below ``least``.
    with default_mode():
        root = float(np.nextafter(least, np.float32(-np.inf)))
    threads = cost.scan_threads(n, m, request.dims, request.num_threads)
    originals = _originals(rows, request, 0, m)
    screens = None if chosen is not None else rows.screens(request)
    survivors = scan.scan_range(
        n,
        rows.source(request, chosen, screens),
        originals,
        root,
        request.metric,
        micro.active(),
        request.exclusions,
        threads,
        basis=screens and screens.basis,
        direction=rows.direction(request.dims),
    )
    if originals.vectors.blocks:
        *found, stale = rescore.rescore_range(survivors, originals, m, request.metric, least, threads)
        ranges = Ranges(*found)
    else:
        ranges, stale = fetching.in_range(rows.fetch, survivors, originals, request.metric, least, threads)
    if stale >= 0:
        raise rows.changed(stale)
    return ranges


_FEW = 64
"""The number of neighbors that the direct pass finds first for a range; it is doubled until enough."""


def _ranges_directly(rows: Scored, request: Request, least: np.float32) -> Ranges:
    """``ranges`` by exact scores alone: finds ever more nearest rows of a query, until one is too far."""
    m = len(request.queries)
    parts: list[tuple[np.ndarray, np.ndarray]] = [(np.empty(0, np.float32), np.empty(0, np.int64))] * m
    open_, k = np.arange(m), min(_FEW, request.rows)
    while len(open_):
        part = request.of(open_, k)
        found = part.room()
        _pass_directly(rows, part, np.arange(len(open_)), found)
        with default_mode():  # which compares subnormal scores as they are
            inside = (found.scores >= least) & (found.indices >= 0)
        for place in np.flatnonzero(~inside[:, -1] | (k == request.rows)).tolist():
            near = inside[place]
            parts[open_[place]] = found.scores[place][near], found.indices[place][near]
        open_ = open_[inside[:, -1]] if k < request.rows else open_[:0]
        k = min(2 * k, request.rows)
    offsets = np.cumsum([0, *(len(scores) for scores, _ in parts)])
    scores, indices = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Ranges(offsets, scores, indices)


def finish(
    rows: Scored,
    request: Request,
    survivors: log.Survivors,
    found: TopK,
    first: int,
    done: Counters,
    num_threads: int,
) -> Counters:
    """Rescore the survivors of a scan of queries from ``first`` on, into ``found``; return new counters."""
    last = first + len(survivors.left)
    originals, some = (
        _originals(rows, request, first, last),
        (found.scores[first:last], found.indices[first:last]),
    )
    if originals.vectors.blocks:
        rescored, stale = rescore.rescore(survivors, originals, request.metric, *some, num_threads)
    else:
        rescored, stale = fetching.ranked(
            rows.fetch, survivors, originals, request.metric, TopK(*some), num_threads
        )
    stale = max(stale, survivors.stale)
    if stale >= 0:
        raise rows.changed(stale)
    left = np.flatnonzero(survivors.left)
    if len(left):
        _pass_directly(rows, request, first + left, found)
    return done._replace(
        candidates=done.candidates + len(survivors.row),
        screened=done.screened + survivors.screened,
        passed=done.passed + survivors.passed,
        rescored=done.rescored + rescored,
        direct=done.direct + len(left),
    )


def _originals(rows: Scored, request: Request, first: int, last: int) -> refine.Originals:
    queries, squares = request.queries[first:last], request.squares[first:last]
    return refine.originals(queries, squares, rows.matrix, request.dims)


def _chosen(request: Request) -> Int64 | None:
    """The rows that pass the filter, if it pays to gather them; None if all rows are to be scanned."""
    allowed, m = request.allowed, len(request.queries)
    if len(allowed) and cost.gathering_pays(request.rows, int(np.count_nonzero(allowed)), m):
        return np.flatnonzero(allowed)
    return None


def _scan(
    rows: Scanned,
    request: Request,
    n: int,
    source: scan.Source,
    screens: Screens | None,
    first: int,
    last: int,
) -> tuple[log.Survivors, int]:
    """The survivors for the queries from ``first`` to ``last``, and the number of threads used."""
    threads = cost.scan_threads(n, last - first, request.dims, request.num_threads)
    survivors = scan.scan(
        n,
        source,
        _originals(rows, request, first, last),
        request.k,
        request.metric,
        micro.active(),
        request.exclusions.part(first, last),
        threads,
        encoded=rows.encoded,
        basis=screens and screens.basis,
        direction=rows.direction(request.dims),
    )
    return survivors, threads


def _pass_directly(rows: Scored, request: Request, chosen: Int64, found: TopK) -> None:
    """Answer the ``chosen`` queries by exact scores alone, into ``found``."""
    bad = direct.search(
        chosen,
        request.queries,
        rows.all_rows(),
        request.dims,
        request.metric,
        filters.Filters(request.allowed, request.exclusions),
        found.scores,
        found.indices,
        request.num_threads,
    )
    rows.refuse(bad, request.dims)
