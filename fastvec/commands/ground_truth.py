"""The work of `fastvec audit --ground-truth`: right answers, in pieces that survive a kill."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import _answers, _arguments
from ..choices import Metric
from ..files import FileError, ground_truth
from ..files.vector_sets import Matrix
from . import places
from .failures import Interrupted, misuse
from .partial_answers import Partial

QUERIES_AT_ONCE = 1024


class Source(NamedTuple):
    """A file of vectors or queries, and its matrix."""

    path: Path
    matrix: Matrix

    def facts(self) -> str:
        """What tells this file from others, and from itself before a change."""
        status = os.stat(self.path)
        shape = " x ".join(map(str, self.matrix.shape))
        return f"file: {shape} {self.matrix.dtype}, {status.st_size} bytes, changed {status.st_mtime_ns}"


class Job(NamedTuple):
    """Which answers are asked for, and where they go."""

    vectors: Source
    queries: Source
    k: int
    metric: Metric
    dims: int | None
    output: Path

    def run(self, progress: Callable[[int, int], object]) -> dict[str, Any]:
        """Compute what is missing and write the output; return what there is to say about it."""
        with misuse():
            ground_truth.by_suffix(self.output)
            places.check_partial(self.output)
        path = places.partial_of(self.output)
        rows, width = self.vectors.matrix.shape
        if rows > ground_truth.MOST_ROWS:
            raise FileError(self.vectors.path, f"has {rows:,} rows, whose numbers do not fit into int32")
        used = _arguments.prefix(self.dims, width)
        self._refuse_existing(path)
        with places.alone(self.output), contextlib.closing(Partial(path, self._facts(used))) as partial:
            before = len(partial.reached())
            try:
                if not partial.writing:
                    self._refuse_existing()
                m = self._made(partial, used, progress)
            except KeyboardInterrupt:
                hint = f"interrupted; what is done is kept in {path}; the same command goes on from there"
                raise Interrupted(hint) from None
            except BaseException:
                if not partial.reached():
                    path.unlink()
                raise
            path.unlink()
        return {"queries": m, "k": self.k, "kept_before": before}

    def _made(self, partial: Partial, dims: int, progress: Callable[[int, int], object]) -> int:
        """Compute what is missing, and write the output; return the number of queries."""
        queries, vectors = self.queries.matrix, self.vectors.matrix
        checked = _answers.Queries.checked(queries[0 : queries.shape[0]], dims, vectors.shape[1])
        self._compute(partial, checked, dims, progress)
        self._write(partial, len(checked.rows))
        return len(checked.rows)

    def _refuse_existing(self, unless: Path | None = None) -> None:
        """Raise if a file of the output is there, unless an earlier run may have made it."""
        if unless is not None and unless.exists():
            return
        for part in ground_truth.parts(self.output):
            if part.exists() or part.is_symlink():
                raise ValueError(f"{part} is there already; remove it, or choose another name")

    def _facts(self, used: int) -> dict[str, str]:
        return {
            "format": f"1, {_answers.BLOCK_VALUES} values and {QUERIES_AT_ONCE} queries at once",
            "vectors": self.vectors.facts(),
            "queries": self.queries.facts(),
            "metric": self.metric,
            "dims": str(used),
            "k": str(self.k),
        }

    def _compute(
        self, partial: Partial, queries: _answers.Queries, dims: int, progress: Callable[[int, int], object]
    ) -> None:
        """Search block after block of the vectors, and keep the answers to some queries at a time."""
        m, reached = len(queries.rows), partial.reached()
        borders = _answers.borders(self.vectors.matrix.shape[0], dims)
        parts = [(first, min(first + QUERIES_AT_ONCE, m)) for first in range(0, m, QUERIES_AT_ONCE)]
        done = 0
        for start, stop in borders:
            left = [(first, last) for first, last in parts if reached.get(first, 0) <= start]
            done += m - sum(last - first for first, last in left)
            if not left:
                continue
            block = _answers.Block(self.vectors.matrix, start, stop, dims, self.metric, encoded=len(left) > 1)
            for first, last in left:
                found = block.nearest(queries.part(first, last), self.k)
                if start:
                    found = partial.answers(first, self.k).merged(found)
                partial.keep(first, stop, found)
                done += last - first
                progress(done // len(borders), m)

    def _write(self, partial: Partial, m: int) -> None:
        indices, scores = np.full((m, self.k), -1, np.int64), np.full((m, self.k), -np.inf)
        for first in partial.reached():
            found = partial.answers(first, self.k)
            last = first + len(found.indices)
            indices[first:last], scores[first:last] = found.indices, found.scores
        partial.write_output()
        ground_truth.write(self.output, indices, scores, self.metric)
