"""Communities of rows that are similar to a central row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

import fastvec

from ._inputs import corpus_rows, named

Array = npt.NDArray[Any]

_FEW = 40
"""Rows that are ranked completely."""
_MOST_AT_ONCE = 1 << 24
"""Neighbors that one search should find at most; each takes some tens of bytes."""
_MOST_KEPT = 1 << 26
"""Neighbors that are kept, at four bytes each; those of further rows are searched again."""


def community_detection(
    embeddings: Any,
    threshold: float = 0.75,
    min_community_size: int = 10,
    batch_size: int = 1024,
    show_progress_bar: bool = False,
) -> list[list[int]]:
    """Groups of rows whose cosine with a central row is at least ``threshold``; no row is in two groups.

    A row with at least ``min_community_size`` such neighbors, itself among them, is the center of a
    community. They are taken by size, the largest first; one whose center is in a community that was taken
    is left out, and each loses the rows of those before it, if enough rows are left.

    Args:
        embeddings: (n, dims).
        threshold: the least cosine, compared in float32.
        min_community_size: the smallest number of rows of a community.
        batch_size: rows that are searched for at a time, at most; fewer if they have many neighbors, so that
            memory is bounded. The result does not depend on it.
        show_progress_bar: show the progress by tqdm.

    Returns:
        A list of row numbers for each community, the largest first: the center, then the others by falling
        similarity to it, equal ones by rising row number. Communities of equal size are in the order in
        which they were taken.

    Raises:
        ValueError: if an embedding has NaN or infinity (the message names the row), or for a wrong shape.
        ModuleNotFoundError: if a progress bar is asked for and tqdm is not installed.

    Example:
        >>> from fastvec.integrations.sentence_transformers import community_detection
        >>> embeddings = [[1.0, 0.0], [0.0, 1.0], [2.0, 0.1], [0.1, 3.0], [3.0, 0.0]]
        >>> community_detection(embeddings, threshold=0.9, min_community_size=2)
        [[0, 4, 2], [1, 3]]
    """
    matrix = corpus_rows(embeddings)
    n = len(matrix)
    if n == 0 or n < min_community_size:
        return []
    try:
        near = _Neighbors(matrix, threshold, max(batch_size, 1))
    except ValueError as error:
        raise named(error, (matrix, "embeddings")) from None
    sizes = near.counted(show_progress_bar)
    centers = np.argsort(-sizes, kind="stable")
    centers = centers[sizes[centers] >= min_community_size]
    communities, used = [], np.zeros(n, bool)
    for center, near_center in near.of(centers, used):
        members = near_center[~used[near_center]]
        if len(members) >= min_community_size:
            community = [center, *members[members != center].tolist()]
            communities.append(community)
            used[community] = True
    return sorted(communities, key=len, reverse=True)


class _Neighbors:
    """The rows whose cosine with a row reaches a threshold, best first."""

    def __init__(self, matrix: Array, threshold: float, most_rows: int) -> None:
        self._threshold, self._most_rows = threshold, most_rows
        self._kept: list[Array] = []
        if len(matrix) <= _FEW:  # an Index would take longer than the search
            least, every = np.float32(threshold), fastvec.knn(matrix, matrix, len(matrix))
            counts = (every.scores >= least).sum(axis=1).tolist()
            self._kept = [row[:count] for row, count in zip(every.indices, counts, strict=True)]
        else:
            self._index = fastvec.Index(matrix)
            self._vectors = self._index.vectors

    def counted(self, show_progress: bool) -> Array:
        """The number of neighbors of every row; those of the first rows are kept."""
        if self._kept:
            return np.array([len(members) for members in self._kept])
        n = len(self._vectors)
        sizes, kept = np.zeros(n, np.int64), 0
        first, width = 0, self._width(n)
        with _progress(n, show_progress) as advance:
            while first < n:
                rows = np.arange(first, min(first + width, n))
                found = list(self._searched(rows))
                sizes[rows] = [len(members) for members in found]
                total = int(sizes[rows].sum())
                if kept + total <= _MOST_KEPT and len(self._kept) == first:
                    self._kept += found
                    kept += total
                first += len(rows)
                width = self._width(total / len(rows))
                advance(len(rows))
        return sizes

    def of(self, centers: Array, used: npt.NDArray[np.bool_]) -> Iterator[tuple[int, Array]]:
        """Each center that is not used when its turn comes, with its neighbors; used ones may be left out."""
        # A few at a time, because the members of a community that was found are centers no more.
        few = min(self._width(len(used)), 64)
        for start in range(0, len(centers), few):
            some = centers[start : start + few]
            rows = some[~used[some] & (some >= len(self._kept))]
            again = dict(zip(rows.tolist(), self._searched(rows, ~used), strict=True))
            for center in some.tolist():
                if not used[center]:
                    yield center, again[center] if center in again else self._kept[center]

    def _width(self, neighbors: float) -> int:
        """Rows to search for at a time, if each has this many neighbors."""
        return max(1, min(self._most_rows, int(_MOST_AT_ONCE / max(neighbors, 1))))

    def _searched(self, rows: Array, where: Any = None) -> Iterator[Array]:
        if len(rows) == 0:
            return iter(())
        ranges = self._index.range_search(self._vectors[rows], self._threshold, where=where)
        return iter(np.split(ranges.indices.astype(np.int32), ranges.offsets[1:-1]))


class _progress:
    """A context with a function that tells of rows that are done, shown by tqdm if asked for."""

    def __init__(self, rows: int, show: bool) -> None:
        self._bar: Any = None
        if show:
            from tqdm.autonotebook import tqdm  # type: ignore[import-untyped, import-not-found, unused-ignore]

            self._bar = tqdm(total=rows, desc="Finding clusters")

    def __enter__(self) -> Any:
        return self._bar.update if self._bar is not None else lambda _: None

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
