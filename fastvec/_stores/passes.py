"""Answers a request over rows in this computer's memory, by scan and rescore or by the direct pass."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from .._request import Request
from ..kernels import cost, direct, filters, log, matrix, metrics, micro, rescore, scan
from ..kernels.compile import default_mode
from ..kernels.micro.record import MicroKernel
from ..results import Int64, Ranges, TopK


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


NOTHING = Counters(None, 0, 0, 0, 0)


class Scored(Protocol):
    """Rows that can be scored exactly."""

    @property
    def matrix(self) -> matrix.Matrix:
        """The float32 rows, for kernels."""

    def changed(self, row: int) -> RuntimeError:
        """The error that says that a row is not the one that was encoded."""

    def refuse(self, row: int, dims: int) -> None:
        """As in ``base.Store``."""


class Scanned(Scored, Protocol):
    """Rows that can be scanned."""

    @property
    def encoded(self) -> bool:
        """Whether the codes exist already, so that every thread can read them at no cost."""

    def source(self, request: Request, chosen: Int64 | None) -> scan.Source:
        """The encoded rows that a request scans: all rows, or the ``chosen`` ones."""


def search(rows: Scanned, request: Request) -> tuple[TopK, Counters]:
    """The nearest rows of each query, and the counters of the search."""
    chosen = _chosen(request)
    m, n = len(request.queries), request.rows if chosen is None else len(chosen)
    if m == 0 or n == 0:
        return request.nothing(), NOTHING
    found, kernel = request.room(), micro.active()
    if not _scans(rows, request, n, kernel):
        _pass_directly(rows, request, np.arange(m), found)
        return found, NOTHING._replace(direct=m)
    done = Counters(kernel.name, m * n, 0, 0, 0)
    at_once = cost.queries_at_once(request.k)
    source = rows.source(request, chosen)
    for first in range(0, m, at_once):
        last = min(first + at_once, m)
        survivors, threads = _scan(rows, request, n, source, kernel, first, last)
        done = finish(rows, request, survivors, found, first, done, threads)
    return found, done


def _scans(rows: Scanned, request: Request, n: int, kernel: MicroKernel) -> bool:
    """Whether to scan n rows and rescore, instead of scoring every row exactly."""
    if request.metric not in metrics.BOUNDED:
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
    if request.metric not in metrics.BOUNDED:
        return _ranges_directly(rows, request, least)
    # Every float64 that rounds to ``least`` or more is above the float32 just below ``least``.
    with default_mode():
        root = float(np.nextafter(least, np.float32(-np.inf)))
    threads = cost.scan_threads(n, m, request.dims, request.num_threads)
    survivors = scan.scan_range(
        n,
        rows.source(request, chosen),
        request.queries,
        root,
        request.metric,
        micro.active(),
        request.exclusions,
        threads,
    )
    offsets, scores, indices, stale = rescore.rescore_range(
        survivors, request.queries, rows.matrix, request.dims, request.metric, least, threads
    )
    if stale >= 0:
        raise rows.changed(stale)
    return Ranges(offsets, scores, indices)


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
    rescored, stale = rescore.rescore(
        survivors,
        request.queries[first:last],
        rows.matrix,
        request.dims,
        request.metric,
        found.scores[first:last],
        found.indices[first:last],
        num_threads,
    )
    if stale >= 0:
        raise rows.changed(stale)
    left = np.flatnonzero(survivors.left)
    if len(left):
        _pass_directly(rows, request, first + left, found)
    return done._replace(
        candidates=done.candidates + len(survivors.row),
        rescored=done.rescored + rescored,
        direct=done.direct + len(left),
    )


def _chosen(request: Request) -> Int64 | None:
    """The rows that pass the filter, if it pays to gather them; None if all rows are to be scanned."""
    allowed, m = request.allowed, len(request.queries)
    if len(allowed) and cost.gathering_pays(request.rows, int(np.count_nonzero(allowed)), m):
        return np.flatnonzero(allowed)
    return None


def _scan(
    rows: Scanned, request: Request, n: int, source: scan.Source, kernel: MicroKernel, first: int, last: int
) -> tuple[log.Survivors, int]:
    """The survivors for the queries from ``first`` to ``last``, and the number of threads used."""
    threads = cost.scan_threads(n, last - first, request.dims, request.num_threads)
    survivors = scan.scan(
        n,
        source,
        request.queries[first:last],
        request.k,
        request.metric,
        kernel,
        request.exclusions.part(first, last),
        threads,
        encoded=rows.encoded,
    )
    return survivors, threads


def _pass_directly(rows: Scored, request: Request, chosen: Int64, found: TopK) -> None:
    """Answer the ``chosen`` queries by exact scores alone, into ``found``."""
    bad = direct.search(
        chosen,
        request.queries,
        rows.matrix,
        request.dims,
        request.metric,
        filters.Filters(request.allowed, request.exclusions),
        found.scores,
        found.indices,
        request.num_threads,
    )
    rows.refuse(bad, request.dims)
