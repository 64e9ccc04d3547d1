"""Vectors encoded once, searched often."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _arguments
from ._request import checked
from ._stores import base
from .kernels import filters, metrics
from .results import Float32, Ranges, TopK


class Index:
    """Vectors encoded once, searched often.

    Beside the float32 matrix, which stays where it is, an Index holds an 8-bit copy of
    every row with a scale, a measured error and a norm: at most
    n · (64 · ⌈dims/64⌉ + 16) bytes, 12 more a row for each further width that was
    searched with ``dims=``, and those of a screen if it has one. Float32 input with contiguous rows
    is not copied, unless ``copy`` is true; anything else becomes a float32 copy.

    An array that is not copied must not be changed while the Index is used: its codes are
    those of the rows as they were. A search compares only the rows that it scores exactly,
    and raises RuntimeError if one of them is not the row that was encoded. If the old codes of
    a changed row rule it out, the search does not look at it and returns other rows without an
    error: after ``vectors[5] *= -1``, searches that should now return row 5 may miss it.
    ``verify`` compares every row; ``copy=True`` makes the Index independent of the array.

    Args:
        vectors: (n, dims), real numbers, in any form that ``knn`` takes. float64 and integers are
            rounded to float32; a row that would overflow, or become zero, is refused.
        metric: "cosine", "dot", "euclidean" or "manhattan" (scores of distances are −distance); see ``knn``.
        device: "cpu", or "cuda" for an NVIDIA device (``pip install 'fastvec[cuda]'``), whose
            answers are the same. The device then holds the codes, and as many float32 rows as fit
            beside them; float32 rows of CuPy or torch that are on the device are used in place. Such
            an Index searches and answers "3cosadd" analogies; ``save`` and pickles store its rows.
        screen: "auto": the Index also keeps a screen, short codes that are scanned first, if a sample of the
            vectors shows that searches get quicker by it; then it has p = 64, 128, 192 or 256 bytes of
            codes a row, and takes up to 16 more. "off": no screen. One of these numbers, below the dims
            of the vectors: a screen of as many bytes, which is used in every search of all columns. A
            byte stands for a dimension. Of 192 and more, 64 are codes of the first directions alone, which
            one or two queries read first ("auto" may do without). The answers are the same.
        copy: keep a float32 copy of the vectors, and of those added later, so that their
            arrays may be changed; ``nbytes`` includes it.

    Raises:
        ValueError: if a vector has NaN or inf (the message names the row), or for a wrong shape or an unknown
            metric.
        TypeError: if the vectors are not real numbers.
        RuntimeError: if the device cannot be used here; the message says what is missing.
        MemoryError: if the codes do not fit on the device; the message gives the sizes.

    Example:
        >>> import fastvec
        >>> index = fastvec.Index([[1, 0], [0, 1], [1, 1]])
        >>> index.search([1.0, 0.1], 2).indices
        array([0, 2])
        >>> index
        Index(3 vectors, 2 dims, metric='cosine', device='cpu')
    """

    _owner: str | None = None
    """What has an entry for each row, such as "a Vocabulary", and so forbids ``add``; None if nothing has."""

    def __init__(
        self,
        vectors: npt.ArrayLike,
        *,
        metric: str = "cosine",
        device: str = "cpu",
        screen: str | int = "auto",
        copy: bool = False,
    ) -> None:
        metric = _arguments.one_of(metric, "metric", tuple(metrics.TABLE))
        home = base.home(device, metric)
        self._copy = _arguments.flag(copy, "copy")
        self._metric: str = metric
        if isinstance(screen, str) and screen == "auto" and metric not in metrics.BOUNDED:
            screen = "off"  # nothing but exact scores serves such a metric
        self._store: base.Store = home.encoded(vectors, copy=self._copy, screen=screen)

    @classmethod
    def _of_store(cls, store: base.Store, metric: str) -> Index:
        """An Index over the rows of a store."""
        index = cls.__new__(cls)
        index._store, index._metric, index._copy = store, metric, False
        return index

    def search(
        self,
        queries: npt.ArrayLike,
        k: int,
        *,
        dims: int | None = None,
        where: npt.ArrayLike | None = None,
        exclude: Any = None,
        num_threads: int | None = None,
    ) -> TopK:
        """The k nearest vectors of each query; arguments, result and errors as in ``knn``.

        Args:
            queries: (m, width) or (width,), real numbers.
            k: neighbors to return, at least 1. If fewer rows can be returned, the rest is filled with index
                −1, which must not index a list (``TopK.lists`` leaves it out).
            dims: use only the first ``dims`` columns; nothing is encoded again.
            where: rows that may be returned: bool (n,), row numbers, or bool (m, n).
            exclude: rows not to return: (m, e) or m lists of row numbers.
            num_threads: threads of this call; None: ``get_num_threads()``.

        Raises:
            RuntimeError: if a row that was scored exactly is not the row that was encoded. A changed
                row that its old codes rule out goes unnoticed, and other rows are returned.

        Example:
            >>> import fastvec
            >>> index = fastvec.Index([[1, 0, 0], [0, 1, 0], [1, 1, 5]])
            >>> index.search([1.0, 1.0, 0.0], 1, dims=2).indices
            array([2])
        """
        store = self._store
        request = checked(
            store,
            queries,
            k,
            metric=self._metric,
            dims=dims,
            where=where,
            exclude=exclude,
            num_threads=num_threads,
        )
        return store.search(request)

    def range_search(
        self,
        queries: npt.ArrayLike,
        min_score: float,
        *,
        dims: int | None = None,
        where: npt.ArrayLike | None = None,
        exclude: Any = None,
        num_threads: int | None = None,
    ) -> Ranges:
        """All vectors whose score, as float32, is at least ``min_score``, for each query.

        Args:
            queries: (m, width) or (width,), real numbers.
            min_score: the least score; for a distance, −(the largest distance).
            dims: use only the first ``dims`` columns.
            where: rows that may be returned: bool (n,), row numbers, or bool (m, n).
            exclude: rows not to return: (m, e) or m lists of row numbers.
            num_threads: threads of this call; None: ``get_num_threads()``.

        Returns:
            Ranges; a one-dimensional query counts as one query.

        Raises:
            ValueError: if ``min_score`` is NaN, and as in ``search``.
            TypeError: if ``min_score`` is not a number, and as in ``search``.
            RuntimeError: as in ``search``.

        Example:
            >>> import fastvec
            >>> index = fastvec.Index([[1, 0], [0, 1], [1, 1]])
            >>> ranges = index.range_search([[1.0, 0.1], [0.0, -1.0]], 0.5)
            >>> ranges.offsets, ranges.indices
            (array([0, 2, 2]), array([0, 2]))
        """
        store = self._store
        search_ranges = base.able(store, "range_search", "ranges")
        least = _arguments.score(min_score, "min_score")
        request = checked(
            store,
            queries,
            1,
            metric=self._metric,
            dims=dims,
            where=where,
            exclude=exclude,
            num_threads=num_threads,
        )
        ranges: Ranges = search_ranges(request, least)
        return ranges

    def knn_graph(self, k: int, *, num_threads: int | None = None) -> TopK:
        """The k nearest other vectors of every vector.

        Args:
            k: neighbors of each vector, at least 1; beyond n − 1, answers are filled up as in ``search``.
            num_threads: threads of this call; None: ``get_num_threads()``.

        Returns:
            TopK of shape (n, k).

        Raises:
            ValueError: if k is below 1.
            TypeError: if k is not an integer.
            RuntimeError: as in ``search``.
            MemoryError: if there is no room for n × k answers; the message names k.

        Example:
            >>> import fastvec
            >>> fastvec.Index([[1, 0], [0, 1], [1, 1], [2, 1]]).knn_graph(1).indices.tolist()
            [[3], [2], [3], [2]]
        """
        store = self._store
        itself = filters.Exclusions.of_runs(np.arange(store.rows + 1), np.arange(store.rows))
        request = checked(
            store, _joined(store), k, metric=self._metric, exclude=itself, num_threads=num_threads
        )
        return store.search(request)

    def add(self, vectors: npt.ArrayLike) -> None:
        """Append rows; their numbers continue those of the rows before.

        The rows before are neither copied nor moved, and an addition of any size takes time in
        proportion to what is added. As in the constructor, a float32 array of 16 MiB or more is
        used in place and must not be changed: changes may go unnoticed (see ``Index``). A smaller
        one is copied, and with ``copy=True`` every one is. A search in another thread sees all of the
        new rows or none. If rows are refused, the Index is as before.

        Args:
            vectors: (rows, dims), or (dims,) for one row; real numbers.

        Raises:
            ValueError: if a vector has NaN or inf (the message names the row), or for a wrong shape.
            TypeError: if the vectors are not real numbers, or the Index belongs to a Vocabulary.

        Example:
            >>> import fastvec
            >>> index = fastvec.Index([[1, 0], [0, 1]])
            >>> index.add([[1, 1], [2, 1]])
            >>> len(index), index.search([2.0, 1.1], 2).indices
            (4, array([3, 2]))
        """
        if self._owner is not None:
            raise TypeError(
                f"the rows of this Index belong to {self._owner}, so none are added; "
                "make an Index of your own: fastvec.Index(index.vectors)"
            )
        base.able(self._store, "add", "added")
        rows, owned = _arguments.rows_of(vectors, "vectors", copy=self._copy, one_row=True)
        _arguments.same_width(rows, self.dims, "vectors", "the Index")
        with self._adding():
            self._store = base.able(self._store, "add", "added")(rows, owned=owned)

    def _adding(self) -> threading.Lock:
        """The lock that is held while rows are added, so that two additions do not use the same room.

        A forked child has a lock of its own, because a thread of the parent may hold this one.
        """
        locks: dict[int, threading.Lock] = self.__dict__.setdefault("_locks", {})
        return locks.setdefault(os.getpid(), threading.Lock())

    def verify(self) -> None:
        """Encode the vectors again and compare; for an opened Index, compare the files' checksums first.

        This looks at every row, whereas a search looks only at those that it scores exactly. A row that
        changed but has the same codes as before passes: searches of it as it is now are right.

        Raises:
            RuntimeError: if vectors were changed since the Index was built; the message names the first row.
            fastvec.files.FileError: (a ValueError) if a file was changed; the message names it.

        Example:
            >>> import fastvec
            >>> fastvec.Index([[1, 0], [0, 1]]).verify()
        """
        base.able(self._store, "verify", "verify")()

    def analogy(
        self,
        positive: Any,
        negative: Any,
        k: int = 1,
        *,
        method: str = "3cosadd",
        exclude_inputs: bool = True,
        dims: int | None = None,
        where: npt.ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> TopK:
        """Answer questions such as "a is to b as c is to what?"; see ``fastvec.analogy``.

        Args:
            positive: row numbers (questions, p), a list of lists, or (p,) for one question.
            negative: likewise, (questions, q); may be empty.
            k: answers to each question, at least 1.
            method: "3cosadd" or "3cosmul".
            exclude_inputs: leave the inputs out of the answers.
            dims: use only the first ``dims`` columns.
            where: rows that may be returned: bool (n,), or row numbers.
            num_threads: threads of this call; None: ``get_num_threads()``.

        Raises:
            ValueError: if the metric is not "cosine"; else as in ``fastvec.analogy``.

        Example:
            >>> import fastvec
            >>> words = ["man", "woman", "king", "queen"]
            >>> index = fastvec.Index([[1, 0, 0], [0, 1, 0], [1, 0, 1], [0, 1, 1]])
            >>> words[index.analogy([2, 1], [0]).indices[0]]
            'queen'
        """
        from .analogies import answer

        return answer(
            self._of_cosines(),
            positive,
            negative,
            k,
            method=method,
            exclude_inputs=exclude_inputs,
            dims=dims,
            where=where,
            num_threads=num_threads,
        )

    def _analogy_of_rows(
        self, rows: Sequence[int], positives: int, k: int, method: str, dims: int | None
    ) -> TopK:
        """The answer to a question whose inputs are rows, positive ones first."""
        from .analogies import answer_questions, question

        return answer_questions(
            self._of_cosines(), question(rows, positives), one=True, k=k, method=method, dims=dims
        )

    def _analogy_of(
        self, inputs: Float32, positives: int, excluded: Sequence[int], k: int, method: str
    ) -> TopK:
        """The answer to a question whose inputs are vectors, positive ones first, on their columns."""
        from .analogies import answer_vectors

        return answer_vectors(self._of_cosines(), inputs, positives, excluded, k, method)

    def _pair_score(self, row: int, other: int) -> float:
        """The score of one row with another, as a search returns it."""
        score: float = base.able(self._store, "similarity", "pair_score")(row, other, self._metric)
        return score

    def _of_cosines(self) -> base.Store:
        """The store; ValueError if the metric is not the cosine, which analogies need."""
        if self._metric != "cosine":
            raise ValueError(f"analogies need metric='cosine'; this Index has metric={self._metric!r}")
        return self._store

    def __len__(self) -> int:
        return self._store.rows

    @property
    def vectors(self) -> Float32:
        """float32 (n, dims), read-only; a new copy after ``add`` or if the array is on a device."""
        return _joined(self._store)

    @property
    def dims(self) -> int:
        """Columns of the vectors."""
        return self._store.dims

    @property
    def metric(self) -> str:
        """Name of the metric."""
        return self._metric

    @property
    def nbytes(self) -> int:
        """Bytes held beside the caller's rows, in memory or on the device: codes, terms, float32 copies."""
        return self._store.nbytes

    @property
    def screen(self) -> int | None:
        """The bytes of codes of the screen for each row; None if there is none."""
        screen: int | None = self._store.facts().get("screen", {}).get("width")
        return screen

    def __repr__(self) -> str:
        screen = f", screen={self.screen}" if self.screen else ""
        return (
            f"Index({len(self)} vectors, {self.dims} dims, metric={self._metric!r}, "
            f"device={self._store.device!r}{screen})"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the Index to a folder, which ``Index.open`` maps into memory again.

        The folder is written whole or not at all: if the call is interrupted, the old content stays. It holds
        ``.npy`` files and ``index.json`` with sizes and checksums (see ``fastvec.files.folder``).

        Args:
            path: the folder; an index in it is replaced, and other files in it stay.

        Raises:
            FileExistsError: if ``path`` exists and is not an index, or its index.json is damaged.
            BlockingIOError: if another process is saving to the same folder.
            OSError: as from writing files.

        Example:
            >>> import fastvec, os, tempfile
            >>> folder = os.path.join(tempfile.mkdtemp(), "index")
            >>> fastvec.Index([[1, 0], [0, 1]]).save(folder)
            >>> fastvec.Index.open(folder).search([0, 2], 1).indices
            array([1])
        """
        from .files import indexed

        indexed.save(path, self)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, vectors: str = "mmap") -> Index:
        """Open an Index that ``save`` wrote. Sizes and versions are checked; ``files.verify`` reads all.

        Args:
            path: the folder.
            vectors: "mmap" leaves vectors and codes in the files, which are read as they are used;
                "memory" reads everything and compares the checksums.

        Raises:
            fastvec.files.FileError: (a ValueError) if the folder is damaged, foreign, or of another version.
            FileNotFoundError: if the folder does not exist.

        Example:
            >>> import fastvec, os, tempfile
            >>> folder = os.path.join(tempfile.mkdtemp(), "index")
            >>> fastvec.Index([[3, 4]], metric="dot").save(folder)
            >>> fastvec.Index.open(folder, vectors="memory")
            Index(1 vectors, 2 dims, metric='dot', device='cpu')
        """
        from .files import folder, indexed

        in_memory = _arguments.one_of(vectors, "vectors", ("mmap", "memory")) == "memory"
        return indexed.opened(folder.load(path, memory=in_memory))

    def __getstate__(self) -> dict[str, Any]:
        store = self._store
        vectors = np.ascontiguousarray(_joined(store))
        return {
            "vectors": vectors,
            "metric": self._metric,
            "device": store.device,
            "copy": self._copy,
            "screen": store.screen,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._metric, self._copy = state["metric"], state.get("copy", False)
        self._store = base.home(state.get("device", "cpu")).of_rows(
            state["vectors"], owned=True, screen=state.get("screen", "auto")
        )


def _joined(store: base.Store) -> Float32:
    """All rows in one read-only array: a view of the only piece, or a copy of several."""
    pieces = store.vectors()
    vectors = pieces[0].view(np.ndarray) if len(pieces) == 1 else np.concatenate(pieces)
    vectors.flags.writeable = False
    return vectors
