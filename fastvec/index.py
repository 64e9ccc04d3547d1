"""Vectors encoded once, searched often."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import _arguments, _logs
from ._checks import MAX_DIMS
from ._living import LivingRows, restored
from ._once import once
from ._snapshot import Snapshot
from ._stores import base
from .choices import METRICS, OPENED, Device, Method, Metric, Opened, Screen, Stored, Undecodable
from .kernels import metrics
from .results import Float32, Int64, Pairs, Ranges, TopK

if TYPE_CHECKING:
    from .files.parts import Saves


class Index:
    """Vectors encoded once, searched often.

    Beside the float32 matrix, which stays where it is, an Index holds an 8-bit copy of
    every row with a scale, a measured error and a norm: at most
    n · (64 · ⌈dims/64⌉ + 16) bytes, 12 more a row for each further width that was
    searched with ``dims=``, and those of a screen if it has one. Float32 input with contiguous rows
    is not copied, unless ``copy`` is true. Nor is int8 input, whose codes are its values: searches take each
    for the number it is, and there is no screen. Anything else becomes a float32 copy. Joins, analogies by
    "3cosmul" and ``save`` make a float32 copy of int8 rows for the time of the call; ``vectors`` keeps one.

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
        dims: instead of vectors, for an empty Index: the columns of those that will be added.

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
        vectors: npt.ArrayLike | None = None,
        *,
        metric: Metric = "cosine",
        device: Device = "cpu",
        screen: Screen = "auto",
        copy: bool = False,
        dims: int | None = None,
    ) -> None:
        if vectors is None and dims is None:
            raise TypeError("vectors is None; give vectors, or dims for an Index that is empty")
        if vectors is not None and dims is not None:
            raise TypeError("vectors and dims are both given; dims is for an empty Index")
        if dims is not None:
            vectors = np.empty((0, _arguments.whole_number(dims, "dims", 1, MAX_DIMS)), np.float32)
        metric = _arguments.one_of(metric, "metric", METRICS)
        home = base.home(device, metric)
        self._copy = _arguments.flag(copy, "copy")
        self._metric: Metric = metric
        if isinstance(screen, str) and screen == "auto" and metric not in metrics.BOUNDED:
            screen = "off"  # nothing but exact scores serves such a metric
        start = time.perf_counter()
        store = home.encoded(vectors, copy=self._copy, screen=screen)
        if _logs.wanted():
            what = "an Index was made: metric %s, on %s, %d vectors, %d dims"
            _logs.done(start, what, metric, device, store.rows, store.dims)
        self._rows = LivingRows(Snapshot(store))

    @classmethod
    def _of(cls, snapshot: Snapshot, metric: Metric) -> Index:
        """An Index of these rows."""
        index = cls.__new__(cls)
        index._rows, index._metric, index._copy = LivingRows(snapshot), metric, False
        return index

    @property
    def _store(self) -> base.Store:
        """Where the rows are at this moment; its rows are positions, not numbers."""
        return self._rows.store

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
            where: rows that may be returned: bool (n,), row numbers, or bool (m, n); after ``remove``, n is
                one more than the largest number that was ever given.
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
        rows = self._rows.seen or self._rows.now()
        if rows.changed:
            asked, found = rows.request, rows.search
        else:  # the usual case: numbers are positions
            asked, found = rows.plain_request, rows.store.search
        request = asked(
            queries,
            k,
            metric=self._metric,
            dims=dims,
            where=where,
            exclude=exclude,
            num_threads=num_threads,
        )
        return found(request)

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
        rows = self._rows.now()
        base.able(rows.store, "range_search", "ranges")
        least = _arguments.score(min_score, "min_score")
        request = rows.request(
            queries,
            1,
            metric=self._metric,
            dims=dims,
            where=where,
            exclude=exclude,
            num_threads=num_threads,
        )
        return rows.ranges(request, least)

    def knn_graph(self, k: int, *, include_self: bool = False, num_threads: int | None = None) -> TopK:
        """The k nearest other vectors of every vector; or the vector itself, and the k − 1 nearest others.

        After removals, answers are those of the rows left, in the order of ``vectors``.

        Args:
            k: neighbors of each vector, at least 1; if there are fewer, they are filled up as in ``search``.
            include_self: begin each answer with the vector itself, as UMAP and scikit-learn expect it: before
                equal vectors of lower numbers, too, and whatever its score.
            num_threads: threads of this call; None: ``get_num_threads()``.

        Returns:
            TopK of shape (n, k).

        Raises:
            ValueError: if k is below 1.
            TypeError: if k is not an integer, or ``include_self`` is not a bool.
            RuntimeError: as in ``search``.
            MemoryError: if there is no room for n × k answers; the message names k.

        Example:
            >>> import fastvec
            >>> index = fastvec.Index([[1, 0], [0, 1], [1, 1], [2, 1]])
            >>> index.knn_graph(1).indices.tolist()
            [[3], [2], [3], [2]]
            >>> index.knn_graph(2, include_self=True).indices.tolist()
            [[0, 3], [1, 2], [2, 3], [3, 2]]
        """
        from . import joins

        base.able(self._store, "knn_graph", "vectors")
        include = _arguments.flag(include_self, "include_self")
        return joins.neighbors(
            self._rows.now(), self._metric, k, include_self=include, num_threads=num_threads
        )

    def pairs(
        self,
        min_score: float,
        *,
        other: Index | npt.ArrayLike | None = None,
        dims: int | None = None,
        where: npt.ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> Pairs:
        """All pairs of rows whose score, as float32, is at least ``min_score``.

        Each pair is scored once: every metric gives a pair the same bits in both directions. A
        pair takes 20 bytes; ``pairs_blocks`` yields them in parts if there are too many.

        Args:
            min_score: the least score; for a distance, −(the largest distance).
            other: rows to join with, an Index of the same metric or (rows, dims) numbers: then all pairs of a
                row of this Index (``left``) and one of ``other`` (``right``) are sought. None: pairs of
                two rows of this Index, ``left`` below ``right``.
            dims: use only the first ``dims`` columns.
            where: rows of this Index that take part: bool (n,), or row numbers.
            num_threads: threads of this call; None: ``get_num_threads()``.

        Returns:
            Pairs, in rising order of ``left``, then of ``right``.

        Raises:
            ValueError: if ``min_score`` is NaN, or for an ``other`` of another width or metric, or with NaN.
            TypeError: if ``min_score`` is not a number.
            RuntimeError: as in ``search``.
            MemoryError: if there is no memory for all pairs.

        Example:
            >>> import fastvec
            >>> left, right, scores = fastvec.Index([[1, 0], [0, 1], [1, 1], [2, 1]]).pairs(0.8)
            >>> left, right, scores.round(3)
            (array([0, 2]), array([3, 3]), array([0.894, 0.949], dtype=float32))
        """
        from . import joins

        parts = self.pairs_blocks(min_score, other=other, dims=dims, where=where, num_threads=num_threads)
        return joins.joined(parts, min_score)

    def pairs_blocks(
        self,
        min_score: float,
        *,
        other: Index | npt.ArrayLike | None = None,
        dims: int | None = None,
        where: npt.ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> Iterator[Pairs]:
        """``pairs`` in parts, for more pairs than memory holds.

        Args:
            min_score, other, dims, where, num_threads: as in ``pairs``, with the same errors.

        Returns:
            An iterator of Pairs; joined in their order they are the answer of ``pairs``. A part has all
            pairs of some rows, none of which is in another part on the left, and usually less
            than 2²⁰ pairs. Rows that are added meanwhile do not take part.

        Example:
            >>> import fastvec
            >>> index = fastvec.Index([[1, 0], [0, 1], [1, 1], [2, 1]])
            >>> sum(len(part.left) for part in index.pairs_blocks(0.8))
            2
        """
        from . import joins

        return joins.blocks(
            self._rows.now(), self._metric, min_score, other, dims=dims, where=where, num_threads=num_threads
        )

    def duplicates(
        self, min_score: float, *, dims: int | None = None, num_threads: int | None = None
    ) -> Int64:
        """The group of each row: rows that ``pairs`` connects, directly or through others.

        Groups take no more memory than a few numbers a row, whatever the number of pairs. Equal rows
        are found first, and only one of them is compared with others.

        Args:
            min_score: the least score of two rows that are connected.
            dims: use only the first ``dims`` columns.
            num_threads: threads of this call; None: ``get_num_threads()``.

        Returns:
            int64 (n,): the lowest row of each row's group; the first row of a group has its own number.

        Raises:
            ValueError, TypeError, RuntimeError: as in ``pairs``.

        Example:
            >>> import fastvec
            >>> index = fastvec.Index([[1, 0], [0, 1], [3, 0], [1, 1]])
            >>> group = index.duplicates(0.99)
            >>> group, (group == range(len(index))).nonzero()[0]
            (array([0, 1, 0, 3]), array([0, 1, 3]))
        """
        from . import joins

        return joins.groups(self._rows.now(), self._metric, min_score, dims=dims, num_threads=num_threads)

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
        self._refuse_owned("none are added")
        base.able(self._store, "add", "added")
        rows, owned = self._checked_rows(vectors)
        start = time.perf_counter()
        self._rows.add(rows, owned=owned)
        if _logs.wanted():
            _logs.done(start, "%d vectors were added", len(rows))

    def _checked_rows(self, vectors: npt.ArrayLike) -> tuple[Float32, bool]:
        """Rows to add, and whether fastvec owns them."""
        store = self._store
        int8 = getattr(store, "int8", False) or store.rows == 0
        rows, owned = _arguments.rows_of(vectors, "vectors", copy=self._copy, one_row=True, int8=int8)
        _arguments.same_width(rows, self.dims, "vectors", "the Index")
        return rows, owned

    @once
    def _saves(self) -> Saves:
        return {}

    def _refuse_owned(self, so: str) -> None:
        if self._owner is not None:
            raise TypeError(
                f"the rows of this Index belong to {self._owner}, so {so}; "
                "make an Index of your own: fastvec.Index(index.vectors)"
            )

    def remove(self, rows: npt.ArrayLike) -> None:
        """Remove rows: no search returns or scores them, and ``len`` does not count them.

        The other rows keep their numbers, and those of removed rows are not given again, so that ``where``
        as a mask has one entry for every number that was ever given. Removed rows in ``exclude`` or among the
        numbers of ``where`` change nothing. ``vectors`` and the rows of ``knn_graph`` are those left, and
        ``numbers`` has their numbers.

        The call takes time in proportion to the rows removed. Their memory comes back when they are more
        than those left, which are then copied (rows in a file that is mapped into memory are not), or by
        ``compact``. A search in another thread sees all of them removed or none.

        Args:
            rows: row numbers (r,), or one; a row may be named twice.

        Raises:
            IndexError: if there is no row of a number, or it was removed already. Nothing is removed then.
            TypeError: if row numbers are not integers, or the Index belongs to a Vocabulary.

        Example:
            >>> import fastvec
            >>> index = fastvec.Index([[1, 0], [0, 1], [1, 1]])
            >>> index.remove([0])
            >>> len(index), index.search([1.0, 0.1], 3).lists()[0][0], index.numbers
            (2, 2, array([1, 2]))
        """
        self._refuse_owned("none are removed")
        self._rows.remove(rows)

    def replace(self, rows: npt.ArrayLike, vectors: npt.ArrayLike) -> None:
        """Give rows other vectors; their numbers stay.

        A search in another thread sees all of the new vectors or none. If something is refused, the Index is
        as before. Arrays are used as in ``add``.

        Args:
            rows: different row numbers (r,), or one.
            vectors: (r, dims), or (dims,) for one row; real numbers.

        Raises:
            IndexError: if there is no row of a number, or it was removed.
            ValueError: if rows and vectors differ in number, a row is named twice, and as in ``add``.
            TypeError: as in ``add``, and if row numbers are not integers.

        Example:
            >>> import fastvec
            >>> index = fastvec.Index([[1, 0], [0, 1], [1, 1]])
            >>> index.replace(0, [-1, 0])
            >>> index.search([-1.0, 0.1], 1).indices
            array([0])
        """
        self._refuse_owned("none are replaced")
        base.able(self._store, "replace", "added")
        new, owned = self._checked_rows(vectors)
        self._rows.replace(rows, new, owned=owned)

    def compact(self) -> npt.NDArray[np.int64]:
        """Forget removed rows: build the Index anew of the rows left, numbered from 0 in their order.

        This takes as long as ``Index(index.vectors, copy=True)``, and afterwards the Index is like that one:
        its rows are in one piece of memory of its own, and whether it has a screen is decided anew. If
        nothing was removed and the rows are in one piece already, nothing is done.

        Returns:
            int64 (n,): the old number of each row.

        Raises:
            TypeError: if the Index belongs to a Vocabulary.

        Example:
            >>> import fastvec
            >>> index = fastvec.Index([[1, 0], [0, 1], [1, 1]])
            >>> index.remove(1)
            >>> index.compact(), index.numbers
            (array([0, 2]), array([0, 1]))
        """
        self._refuse_owned("it is not compacted")
        base.able(self._store, "compact", "vectors")
        return self._rows.compact(self._metric)

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
        from .files import folder

        for path, (*_, saved) in self._saves.items():
            if saved.opened:
                folder.compare(Path(path), saved.state)
        self._rows.now().verify()

    def analogy(
        self,
        positive: Any,
        negative: Any,
        k: int = 1,
        *,
        method: Method = "3cosadd",
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

    def _of_cosines(self) -> Snapshot:
        """The rows; ValueError if the metric is not the cosine, which analogies need."""
        if self._metric != "cosine":
            raise ValueError(f"analogies need metric='cosine'; this Index has metric={self._metric!r}")
        return self._rows.now()

    def __len__(self) -> int:
        return self._rows.now().left

    @property
    def vectors(self) -> Float32:
        """float32 (n, dims), read-only: the rows left, in the order of their ``numbers``.

        After a change it is a copy, which is kept until the next one; ``compact`` makes do without.
        """
        base.able(self._store, "vectors", "vectors")
        return self._rows.now().vectors

    def fetch(self, rows: npt.ArrayLike) -> Float32:
        """Copies of some rows, by their numbers; those of a large Index are read only where they are needed.

        Args:
            rows: row numbers (r,), or one; a row may be named twice.

        Returns:
            float32 (r, dims), in the order asked for.

        Raises:
            IndexError: if there is no row of a number, or it was removed.
            TypeError: if row numbers are not integers.

        Example:
            >>> import fastvec
            >>> fastvec.Index([[1, 0], [0, 1], [1, 1]]).fetch([2, 0])
            array([[1., 1.],
                   [1., 0.]], dtype=float32)
        """
        from ._row_numbers import list_of_rows

        state = self._rows.now()
        numbers = list_of_rows(rows, "rows", state.top)
        state.positions(numbers, "rows")  # raises for rows that were removed
        return state.fetch(numbers)

    @property
    def numbers(self) -> npt.NDArray[np.int64]:
        """int64 (n,): the number of each row of ``vectors``; 0 to n − 1 as long as none was removed."""
        rows = self._rows.now()
        return rows.numbered(rows.order)

    @property
    def dims(self) -> int:
        """Columns of the vectors."""
        return self._store.dims

    @property
    def metric(self) -> Metric:
        """Name of the metric."""
        return self._metric

    @property
    def nbytes(self) -> int:
        """Bytes held beside the caller's rows, in memory or on the device: codes, terms, float32 copies."""
        return self._rows.now().nbytes

    @property
    def screen(self) -> int | None:
        """The bytes of codes of the screen for each row; None if there is none."""
        screen: int | None = self._store.facts().get("screen", {}).get("width")
        return screen

    @property
    def rows_read(self) -> int:
        """How many vectors were read from the files of an Index that was opened with ``vectors="disk"``.

        Vectors that are not float32, and were converted, count as well. Of other Indexes it is 0.
        """
        return int(getattr(self._store, "rows_read", 0))

    def __repr__(self) -> str:
        screen = f", screen={self.screen}" if self.screen else ""
        return (
            f"Index({len(self)} vectors, {self.dims} dims, metric={self._metric!r}, "
            f"device={self._store.device!r}{screen})"
        )

    def save(self, path: str | os.PathLike[str], *, words: Iterable[str] | None = None) -> None:
        """Write the Index to a folder, which ``Index.open`` maps into memory again.

        The folder is written whole or not at all: if the call is interrupted, the old content stays. It holds
        ``.npy`` files and ``index.json`` with sizes and checksums (see ``fastvec.files.folder``). To a folder
        that the Index was opened from or saved to before, only what changed is written, in time in
        proportion to it. What others have open stays as it was; ``refresh`` shows them the new rows.

        Args:
            path: the folder; an index in it is replaced, and other files in it stay.
            words: a text for each row, in the order of ``numbers``, such as the document that it stands for;
                texts may repeat. ``fastvec.files.read(path, repeated=True)`` reads them. To a known folder,
                too, only the new ones are written, with their rows.

        Raises:
            ValueError: if a text is empty, or there is not one for each row.
            TypeError: if a text is not a str.
            FileExistsError: if ``path`` exists and is not an index, or its index.json is damaged; or if
                another Index was saved there since this one was opened, whose changes would be lost.
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

        base.able(self._store, "save", "stored")
        if words is None:
            indexed.save(path, self)
            return
        rows = self._rows.now()
        names = indexed.by_number(words, rows)
        indexed.save(path, self, names, repeated=True, rows=rows)

    @classmethod
    def build(
        cls,
        source: Any,
        path: str | os.PathLike[str],
        *,
        metric: Metric = "cosine",
        screen: Screen = "auto",
        dtype: Stored = "float32",
        format: str | None = None,
        errors: Undecodable = "strict",
        progress: bool | Callable[[int, int | None], object] = False,
    ) -> Index:
        """Build an Index in a folder, of more vectors than memory holds, and open it with ``vectors="disk"``.

        Rows go by once, and some 100 MB of memory are used. The folder appears at ``path`` when it is
        complete. Until then its parts are in ``path`` + ".unfinished". Whatever ends the call, even a kill or
        a full disk, the same call goes on behind the parts that are finished; if a vector is refused,
        nothing stays. The answers are those of ``Index(vectors)``, bit for bit.

        Args:
            source: a file (``.npy``, Arrow, Parquet, word2vec, GloVe, and those of benchmarks: ``.fvecs``,
                ``.bvecs``, ``.fbin``, ``.u8bin``, ``.i8bin``, ``.hdf5``), an array or what is sliced as one,
                or an iterable of blocks (rows, dims). An iterable that goes on with a build yields the same
                rows again.
            path: the folder, which must not exist.
            metric, screen: as in ``Index``. Whether a screen pays is decided by rows of the whole source, or
                of its first block if its rows are read only in their order.
            dtype: "float16" stores vectors in half the bytes, if float16 holds all their values exactly.
            format: a name of ``fastvec.files.FORMATS``; None: recognized by content.
            errors: what to do with words that are not UTF-8: "strict", "replace" or "ignore".
            progress: True reports on stderr; a callable is called with (rows done, rows in all, or None).

        Raises:
            ValueError: if a vector has NaN or inf, and as ``Index``; for a file, a FileError that names the
                row.
            FileExistsError: if something is at ``path``, or an unfinished build of something else beside it.
            BlockingIOError: if another process is building there.
            OSError: as from reading and writing files.

        Example:
            >>> import fastvec, numpy as np, os, tempfile
            >>> folder = os.path.join(tempfile.mkdtemp(), "index")
            >>> blocks = (np.eye(3)[row : row + 1] for row in range(3))
            >>> fastvec.Index.build(blocks, folder).search([0, 1, 0.5], 2).indices
            array([1, 2])
        """
        from . import _building

        asked = _building.settings(metric, screen, dtype, labeled=False)
        _building.build_from(source, path, asked, format, errors, progress)
        return cls.open(path, vectors="disk")

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, vectors: Opened = "mmap") -> Index:
        """Open an Index that ``save`` wrote. Sizes and versions are checked; ``files.verify`` reads all.

        Args:
            path: the folder.
            vectors: "mmap" leaves vectors and codes in the files, which are read as they are used;
                "memory" reads everything and compares the checksums; "disk" leaves codes in the files as
                "mmap" does, and reads only those vectors that a search scores exactly, so that the size of
                their files does not count as memory in any way. Such an Index searches, answers "3cosadd"
                analogies and removes rows.

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

        how = _arguments.one_of(vectors, "vectors", OPENED)
        with _logs.timed("the Index %s was opened, vectors=%r", path, how):
            return indexed.opened(folder.load(path, memory=how == "memory", on_disk=how == "disk"))

    def refresh(self) -> bool:
        """Take over what another Index or process saved to the folder of this one since it was opened.

        The folder is the one that the Index was opened from, or else the first one that it was saved to.
        Files that are mapped into memory and did not change stay mapped. A search in another thread sees all
        of the change or none.

        Returns:
            Whether there was anything new.

        Raises:
            ValueError: if the Index has no folder, or if both the folder and the Index have changed; then
                the Index stays as it is.
            TypeError: if the Index belongs to a Vocabulary.
            fastvec.files.FileError: (a ValueError) as from ``open``.

        Example:
            >>> import fastvec, os, tempfile
            >>> folder = os.path.join(tempfile.mkdtemp(), "index")
            >>> fastvec.Index([[1, 0], [0, 1]]).save(folder)
            >>> reader, writer = fastvec.Index.open(folder), fastvec.Index.open(folder)
            >>> writer.add([[1, 1]])
            >>> writer.save(folder)
            >>> len(reader), reader.refresh(), len(reader), reader.refresh()
            (2, True, 3, False)
        """
        from .files import indexed

        if self._owner is not None:
            raise TypeError(f"the rows of this Index belong to {self._owner}; refresh that")
        return indexed.refresh(self)

    def __getstate__(self) -> dict[str, Any]:
        rows = self._rows.now()
        store = rows.store
        base.able(store, "pickle", "vectors")
        state = {
            "vectors": np.ascontiguousarray(rows.held),
            "metric": self._metric,
            "device": store.device,
            "copy": self._copy,
            "screen": store.screen,
        }
        if rows.changed:
            state |= {"numbers": rows.numbered(rows.order), "top": rows.top}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._metric, self._copy = state["metric"], state.get("copy", False)
        store = base.home(state.get("device", "cpu")).of_rows(
            state["vectors"], owned=True, screen=state.get("screen", "auto")
        )
        rows = Snapshot(store)
        if "numbers" in state:
            rows = restored(store, rows.closed, state["numbers"], state["top"])
        self._rows = LivingRows(rows)
