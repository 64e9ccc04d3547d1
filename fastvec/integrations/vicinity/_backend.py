"""The backend."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from vicinity import Metric
from vicinity.backends.base import AbstractBackend, BaseArgs
from vicinity.datatypes import Backend, QueryResult

import fastvec
from fastvec.files import atomic, npy

_METRICS = ("cosine", "euclidean", "manhattan")
_VECTORS, _ARGUMENTS = "vectors.npy", "arguments.json"


@dataclass
class FastvecArgs(BaseArgs):
    """The arguments of ``FastvecBackend``."""

    metric: Metric = Metric.COSINE


class FastvecBackend(AbstractBackend[FastvecArgs]):
    """Exact nearest neighbors by an Index; make it with ``from_vectors``."""

    argument_class = FastvecArgs

    def __init__(self, index: fastvec.Index, arguments: FastvecArgs) -> None:
        super().__init__(arguments)
        self.index = index

    @classmethod
    def from_vectors(
        cls, vectors: npt.NDArray[Any], metric: str | Metric = "cosine", **_: Any
    ) -> FastvecBackend:
        """A backend of vectors (n, dims), which are used as an Index uses them.

        Raises:
            ValueError: if the metric is not "cosine", "euclidean" or "manhattan", or as ``fastvec.Index``.
        """
        metric = Metric.from_string(metric)
        if metric.value not in _METRICS:
            raise ValueError(f"metric is {metric.value!r}; it must be one of {', '.join(_METRICS)}")
        return cls(fastvec.Index(vectors, metric=metric.value), FastvecArgs(metric))

    def __len__(self) -> int:
        return len(self.index)

    @property
    def backend_type(self) -> Backend:
        """That of vicinity's own exact backend, which opens what ``save`` writes."""
        return Backend.BASIC

    @property
    def dim(self) -> int:
        """Columns of the vectors."""
        return self.index.dims

    def insert(self, vectors: npt.NDArray[Any]) -> None:
        """Add vectors."""
        self.index.add(vectors)

    def delete(self, indices: list[int]) -> None:
        """Remove vectors; those after them move up."""
        self.index.remove(self.index.numbers[indices])

    def query(self, vectors: npt.NDArray[Any], k: int) -> QueryResult:
        """The indices and distances of the k vectors nearest to each of some vectors."""
        found = self.index.search(vectors, min(k, max(len(self), 1)))
        ranked = zip(self._places(found.indices), self._distances(found.scores), strict=True)
        there = found.indices >= 0
        return [(places[here], far[here]) for (places, far), here in zip(ranked, there, strict=True)]

    def threshold(self, vectors: npt.NDArray[Any], threshold: float, max_k: int) -> QueryResult:
        """The indices and distances of vectors that are not farther than ``threshold``, ``max_k`` at most."""
        least = (1 - threshold if self.arguments.metric == Metric.COSINE else -threshold) - 1e-6
        offsets, scores, numbers = self.index.range_search(vectors, least)
        places, distances = self._places(numbers), self._distances(scores)
        results = []
        for start, end in itertools.pairwise(offsets):
            best = slice(start, min(end, start + max_k))
            near = distances[best] <= threshold
            results.append((places[best][near], distances[best][near]))
        return results

    def _places(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Places among the vectors left."""
        return np.searchsorted(self.index.numbers, numbers)

    def _distances(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return 1 - scores if self.arguments.metric == Metric.COSINE else -scores

    def save(self, path: Path) -> None:
        """Write the vectors and arguments into a folder, as vicinity's basic backend does.

        Those that are there are replaced together, so the folder that they were loaded from may be given.
        """
        vectors, arguments = (Path(path) / name for name in (_VECTORS, _ARGUMENTS))
        atomic.put_back(vectors)
        with atomic.replacing_together(vectors, [arguments]) as (new_vectors, new_arguments):
            with open(new_vectors, "xb") as file:
                npy.write_array(file.write, [self.index.vectors])
            self.arguments.dump(new_arguments)

    @classmethod
    def load(cls, path: Path | str) -> FastvecBackend:
        """Open what ``save``, or vicinity's basic backend, wrote; the vectors are mapped into memory."""
        vectors, arguments = (Path(path) / name for name in (_VECTORS, _ARGUMENTS))
        if not arguments.exists():  # a write that was killed may have left it elsewhere
            arguments = atomic.left_over(arguments, vectors) or arguments
        return cls.from_vectors(npy.matrix(vectors), FastvecArgs.load(arguments).metric)
