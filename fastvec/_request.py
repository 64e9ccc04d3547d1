"""One checked search, from canonical arguments to its answer: scan, rescore, or the direct pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _arguments, _arrays, _memory, _row_numbers
from .kernels import cost, direct, encode, filters, log, matrix, metrics, micro, rescore, scan
from .kernels.compile import default_mode
from .kernels.cuda import device
from .kernels.micro.record import MicroKernel
from .results import Int64, Ranges, TopK, filled_up


class Counters(NamedTuple):
    """What a search did, for tests and benchmarks."""

    micro_kernel: str | None
    """The micro-kernel of the encoded scan; None if there was none."""
    scanned: int
    """Pairs of query and row scored on codes."""
    candidates: int
    """Pairs that survived the scan."""
    rescored: int
    """Survivors scored exactly."""
    direct: int
    """Queries finished, or done altogether, by the exact pass."""
    again: int = 0
    """Parts of the rows that a device scanned again, as their candidates did not fit."""


class Request:
    """One checked search: canonical queries, filters, and room for the answer.

    ``k`` is what can be found at most; what is ``asked`` for beyond is filled up at the end.

    ``vectors`` is a canonical matrix, in blocks if its rows are encoded already. A matrix or
    queries may lie on the device that is to search (``_device.given``): then the device looks
    for NaN and inf, and ``queries`` keep their width.
    """

    def __init__(
        self,
        queries: Any,
        vectors: tuple[Any, ...],
        k: int,
        metric: str,
        dims: int | None,
        where: npt.ArrayLike | None,
        exclude: Any,
        num_threads: int | None,
        *,
        encoded: bool = False,
    ) -> None:
        self.vectors, self.encoded, self.rows = vectors, encoded, sum(map(len, vectors))
        self.matrix = matrix.of(() if device.is_array(vectors[0]) else vectors)
        self.metric = _arguments.one_of(metric, "metric", tuple(metrics.TABLE))
        self.num_threads = _arguments.num_threads(num_threads)
        width = vectors[0].shape[1]
        self.dims = _arguments.prefix(dims, width)
        on_device = device.is_array(queries)
        given = queries if on_device else _arrays.any_array(queries, "queries")
        self.one = given.ndim == 1
        self.queries = _arguments.two_dimensional(given, "queries", one_row=True)
        if not on_device:
            self.queries = _arguments.to_float32(self.queries, "queries")
        if self.queries.shape[1] not in (self.dims, width):
            raise ValueError(
                f"queries has {self.queries.shape[1]} dimensions; it must have the {width} of vectors"
                + (f" or the {self.dims} of dims" if self.dims < width else "")
            )
        if not on_device:
            self.queries = self.queries[:, : self.dims]
            _arguments.check_finite(self.queries, "queries", self.num_threads)
        self.asked = _arguments.whole_number(k, "k", 1)
        m, n = len(self.queries), self.rows
        self.k = min(self.asked, max(n, 1))
        self.allowed, mask = _row_numbers.allowed_rows(where, m, n)
        if not isinstance(exclude, filters.Exclusions):
            exclude = filters.Exclusions.of_runs(*_row_numbers.excluded_rows(exclude, m, n, self.one))
        self.exclusions = exclude._replace(mask=mask)
        self.chosen: Int64 | None = None
        if len(self.allowed) and cost.gathering_pays(n, int(np.count_nonzero(self.allowed)), m):
            self.chosen = np.flatnonzero(self.allowed)
        _memory.check(m, self.asked, n)
        self.scores, self.indices = _memory.answers(m, self.k, n)

    def answer(self, source: scan.Source) -> TopK:
        """Scan the encoded rows of ``source`` and rescore, or pass over the rows directly."""
        self.fill(source)
        return self.result()

    def result(self) -> TopK:
        """The answer that was written, filled up to as many as were asked for."""
        found = TopK(self.scores, self.indices)
        if self.k < self.asked:
            found = filled_up(found, _memory.answers(len(self.queries), self.asked, self.rows))
        return TopK(found.scores[0], found.indices[0]) if self.one else found

    def fill(self, source: scan.Source) -> Counters:
        """Write the answer into ``scores`` and ``indices``; return what was done."""
        m, n = len(self.queries), self.rows if self.chosen is None else len(self.chosen)
        if m == 0 or n == 0:
            return self.nothing()
        kernel = micro.active()
        pays = cost.scan_pays(n, m, self.dims, self.k, kernel, encoded=self.encoded)
        if not pays and not (self.encoded and micro.forced()):
            self._direct(np.arange(m))
            return Counters(None, 0, 0, 0, m)
        done = Counters(kernel.name, m * n, 0, 0, 0)
        at_once = cost.queries_at_once(self.k)
        for first in range(0, m, at_once):
            done = self._scan(n, source, kernel, first, min(first + at_once, m), done)
        return done

    def nothing(self) -> Counters:
        """Write the answer of a search without queries or rows."""
        self.scores[:], self.indices[:] = -np.inf, -1
        return Counters(None, 0, 0, 0, 0)

    def _threads(self, n: int, m: int) -> int:
        return cost.scan_threads(n, m, self.dims, self.num_threads)

    def _scan(
        self, n: int, source: scan.Source, kernel: MicroKernel, first: int, last: int, done: Counters
    ) -> Counters:
        """Scan and rescore for some of the queries, and add to the counters."""
        queries, exclusions = self.queries[first:last], self.exclusions.part(first, last)
        threads = self._threads(n, last - first)
        terms = (kernel, exclusions, threads)
        survivors = scan.scan(n, source, queries, self.k, self.metric, *terms, encoded=self.encoded)
        return self.finish(survivors, first, last, done, threads)

    def finish(
        self, survivors: log.Survivors, first: int, last: int, done: Counters, num_threads: int
    ) -> Counters:
        """Rescore what a scan of some of the queries left, and add to the counters."""
        rescored, stale = rescore.rescore(
            survivors,
            self.queries[first:last],
            self.matrix,
            self.dims,
            self.metric,
            self.scores[first:last],
            self.indices[first:last],
            num_threads,
        )
        if stale >= 0:
            raise self._changed(stale)
        left = np.flatnonzero(survivors.left)
        if len(left):
            self._direct(first + left)
        return done._replace(
            candidates=done.candidates + len(survivors.row),
            rescored=done.rescored + rescored,
            direct=done.direct + len(left),
        )

    def ranges(self, source: scan.Source, least: np.float32) -> Ranges:
        """Scan the encoded rows of ``source`` for all that may reach a score, and rescore."""
        n = self.rows if self.chosen is None else len(self.chosen)
        if len(self.queries) == 0 or n == 0:
            return Ranges(np.zeros(len(self.queries) + 1, np.int64), self.scores[:0, 0], self.indices[:0, 0])
        # Every float64 that rounds to ``least`` or more is above the float32 before it.
        with default_mode():
            root = float(np.nextafter(least, np.float32(-np.inf)))
        threads = self._threads(n, len(self.queries))
        terms = (root, self.metric, micro.active(), self.exclusions, threads)
        survivors = scan.scan_range(n, source, self.queries, *terms)
        offsets, scores, indices, stale = rescore.rescore_range(
            survivors, self.queries, self.matrix, self.dims, self.metric, least, threads
        )
        if stale >= 0:
            raise self._changed(stale)
        return Ranges(offsets, scores, indices)

    def _direct(self, chosen: Int64) -> None:
        bad = direct.search(
            chosen,
            self.queries,
            self.matrix,
            self.dims,
            self.metric,
            self.allowed,
            self.exclusions,
            self.scores,
            self.indices,
            self.num_threads,
        )
        if bad >= 0 and self.encoded:
            raise changed(bad)
        _arguments.refuse_row(bad, self.vectors[0][:, : self.dims], "vectors")

    def _changed(self, row: int) -> RuntimeError:
        return changed(row) if self.encoded else _meanwhile(row)


def _meanwhile(row: int) -> RuntimeError:
    """The error that says that somebody else wrote to a row of a single call."""
    return RuntimeError(
        f"vectors changed while they were searched (row {row}); do not write to them meanwhile"
    )


def changed(row: int) -> RuntimeError:
    """The error that says that a row is no longer the one that was encoded."""
    return RuntimeError(
        f"vectors changed since the Index was built (row {row} no longer matches its codes); "
        "build it anew, and do not write to the array behind it"
    )


BLOCK = 1024
"""Rows that are encoded or gathered at a time: they stay in cache while they are scanned."""


def one_shot(request: Request) -> scan.Source:
    """Rows encoded block by block as the scan asks for them."""
    vectors, chosen = request.vectors[0][:, : request.dims], request.chosen

    def source(start: int, stop: int) -> Iterator[tuple[int, int, scan.Rows]]:
        buffer = encode.empty(BLOCK, request.dims)
        for first in range(start, stop, BLOCK):
            last = min(first + BLOCK, stop)
            block = vectors[first:last] if chosen is None else vectors[chosen[first:last]]
            bad = encode.encode(block, buffer, 1)
            if bad >= 0:
                _arguments.check_finite(vectors, "vectors", 1)  # names the first of all
                raise _meanwhile(int(first + bad if chosen is None else chosen[first + bad]))
            if chosen is None:
                yield 0, len(block), scan.rows_of(buffer, first, request.allowed)
            else:
                yield 0, len(block), scan.rows_of(buffer, 0, ids=chosen[first:last])

    return source
