"""Vectors encoded once, searched often."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _arguments, _arrays, _blocks, _device
from ._request import Request
from .kernels import encode, filters, metrics
from .results import Float32, Ranges, TopK


class Index:
    """Vectors encoded once, searched often.

    Beside the float32 matrix, which stays where it is, an Index holds an 8-bit copy of
    every row with a scale, a measured error and a norm: at most
    n · (64 · ⌈dims/64⌉ + 16) bytes, and 12 more a row for each further width that was
    searched with ``dims=``. Float32 input with contiguous rows is not copied, unless
    ``copy`` is true; anything else becomes a float32 copy.

    An array that is not copied must not be changed while the Index is used: its codes are
    those of the rows that were there. A search compares only the rows that it scores exactly,
    and raises RuntimeError if one of them is not what was encoded. A row that changed so that
    its old codes rule it out is not looked at, and the search returns other rows without an
    error: ``vectors[5] *= -1`` may hide row 5 from searches that it would now be the answer of.
    ``verify`` compares every row; ``copy=True`` makes the Index independent of the array.

    Args:
        vectors: (n, dims), real numbers, in any form that ``knn`` takes. float64 and integers are
            rounded to float32; a row that would overflow, or become zero, is refused.
        metric: "cosine", "dot" or "euclidean" (score = −distance).
        device: "cpu", or "cuda" for an NVIDIA device (``pip install 'fastvec[cuda]'``), whose
            answers are the same. It then holds the codes, and float32 rows as far as they fit
            beside them; CuPy's or torch's float32 rows that lie there are used in place. It
            searches and answers "3cosadd" analogies; ``save`` and pickles keep the rows.
        copy: keep a float32 copy of the vectors, and of those that are added, so that their
            arrays may be changed; it counts in ``nbytes``.

    Raises:
        ValueError: on NaN or inf (naming the row), a wrong shape, an unknown metric.
        TypeError: if the vectors are not real numbers.
        RuntimeError: if the device cannot be used here, saying what is missing.
        MemoryError: if the codes do not fit on it, with the sizes.

    Example:
        >>> import fastvec
        >>> index = fastvec.Index([[1, 0], [0, 1], [1, 1]])
        >>> index.search([1.0, 0.1], 2).indices
        array([0, 2])
        >>> index
        Index(3 vectors, 2 dims, metric='cosine', device='cpu')
    """

    _stored_in: Any = None
    """Of an opened Index, the ``folder.Stored`` it came from."""

    _owner: str | None = None
    """What goes with the rows one by one, so that nobody else adds to them."""

    _on_device: Any = None
    """Of an Index on a device, the ``DeviceRows``; it has no blocks."""
    _bytes_here: int = 0
    """Of an Index on a device, float32 rows that are fastvec's own beside those it made there."""

    _copy: bool = False
    """Whether rows are always fastvec's own."""

    def __init__(
        self, vectors: npt.ArrayLike, *, metric: str = "cosine", device: str = "cpu", copy: bool = False
    ) -> None:
        self._metric = _arguments.one_of(metric, "metric", tuple(metrics.TABLE))
        self._device = _arguments.device(device)
        self._copy = _arguments.flag(copy, "copy")
        there = _device.given(vectors, "vectors", self._device)
        if _device.holds(there):
            rows = _device.matrix(there)
            self._encode(_device.copied(rows) if self._copy else rows, self._copy)
        else:
            rows, owned = self._rows_of(there, one_row=False)
            self._encode(rows, owned or (there is not vectors and isinstance(there, np.ndarray)))

    def _rows_of(self, vectors: Any, *, one_row: bool) -> tuple[Float32, bool]:
        """Vectors as canonical rows, and whether these are fastvec's own."""
        given, fresh = _arrays.read(vectors, "vectors")
        rows = _arguments.matrix(given, "vectors", one_row=one_row)
        owned = fresh or not np.may_share_memory(rows, given)
        return (rows.copy(), True) if self._copy and not owned else (rows, owned)

    def _encode(self, rows: Any, owned: bool) -> None:
        """Encode canonical rows, ``owned`` if they are a copy that nobody else has."""
        self._blocks: _blocks.Blocks = ()
        if self._device == "cpu":
            self._blocks = (_blocks.block_of(rows, owned=owned),)
        else:
            self._on_device = _device.upload(rows, int(rows.shape[1]))
            self._bytes_here = rows.nbytes if owned else 0

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
            k: neighbors to return, at least 1; more than there are, are filled up with index −1,
                which must not index a list (``TopK.lists`` leaves it out).
            dims: use the first so many columns only; the same codes serve.
            where: rows that may be returned: bool (n,), row numbers, or bool (m, n).
            exclude: rows not to return: (m, e) or m lists of row numbers.
            num_threads: threads of this call; None: ``get_num_threads()``.

        Raises:
            RuntimeError: if a row that was scored exactly is not what was encoded. A changed row
                that its old codes rule out goes unnoticed, and other rows are returned.

        Example:
            >>> import fastvec
            >>> index = fastvec.Index([[1, 0, 0], [0, 1, 0], [1, 1, 5]])
            >>> index.search([1.0, 1.0, 0.0], 1, dims=2).indices
            array([2])
        """
        blocks = self._blocks
        request = self._request(blocks, queries, k, dims, where, exclude, num_threads)
        return self._answer(blocks, request)

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
            min_score: the least score; with "euclidean" the negated largest distance.
            dims: use the first so many columns only.
            where: rows that may be returned: bool (n,), row numbers, or bool (m, n).
            exclude: rows not to return: (m, e) or m lists of row numbers.
            num_threads: threads of this call; None: ``get_num_threads()``.

        Returns:
            Ranges; a one-dimensional query is one query.

        Raises:
            ValueError: if ``min_score`` is NaN, and as in ``search``.
            TypeError: if ``min_score`` is not a number, and as in ``search``.
            RuntimeError: as in ``search``.

        Example:
            >>> import fastvec
            >>> index = fastvec.Index([[1, 0], [0, 1], [1, 1]])
            >>> found = index.range_search([[1.0, 0.1], [0.0, -1.0]], 0.5)
            >>> found.offsets, found.indices
            (array([0, 2, 2]), array([0, 2]))
        """
        _device.only_on_cpu(self._device, "range_search")
        least = _arguments.score(min_score, "min_score")
        blocks = self._blocks
        request = self._request(blocks, queries, 1, dims, where, exclude, num_threads)
        return request.ranges(_blocks.source_of(blocks, request), least)

    def knn_graph(self, k: int, *, num_threads: int | None = None) -> TopK:
        """The k nearest vectors of every vector, itself left out.

        Args:
            k: neighbors of each, at least 1; more than n − 1 are filled up as in ``search``.
            num_threads: threads of this call; None: ``get_num_threads()``.

        Returns:
            TopK of shape (n, k).

        Raises:
            ValueError: if k is below 1.
            TypeError: if k is not an integer.
            RuntimeError: as in ``search``.
            MemoryError: if there is no room for n × k answers, naming k.

        Example:
            >>> import fastvec
            >>> fastvec.Index([[1, 0], [0, 1], [1, 1], [2, 1]]).knn_graph(1).indices.tolist()
            [[3], [2], [3], [2]]
        """
        _device.only_on_cpu(self._device, "knn_graph")
        blocks = self._blocks
        vectors = _blocks.joined(_blocks.vectors_of(blocks))
        n = len(vectors)
        itself = filters.Exclusions.of_runs(np.arange(n + 1), np.arange(n))
        request = self._request(blocks, vectors, k, None, None, itself, num_threads)
        return request.answer(_blocks.source_of(blocks, request))

    def add(self, vectors: npt.ArrayLike) -> None:
        """Append rows, numbered on from the last one.

        The rows that are there are not copied or moved, and additions of any size take time in
        proportion to what is added. As in the constructor, float32 rows of 16 MiB and more are
        used where they are and must not be changed, or changes may go unnoticed (see ``Index``);
        fewer are copied, and with ``copy=True`` all are. A search in another thread sees all of the
        new rows or none. If rows are refused, the Index is as before.

        Args:
            vectors: (rows, dims), or (dims,) for one row; real numbers.

        Raises:
            ValueError: on NaN or inf (naming the row), or a wrong shape.
            TypeError: if the vectors are not real numbers, and if the Index is that of a Vocabulary.

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
        _device.only_on_cpu(self._device, "add")
        rows, owned = self._rows_of(vectors, one_row=True)
        _arguments.same_width(rows, self.dims, "vectors", "the Index")
        with self._adding():
            self._blocks = _blocks.append(self._blocks, rows, owned=owned)

    def _adding(self) -> threading.Lock:
        """Held while rows are added, as the room behind the last row is given out once.

        A child of a fork has a lock of its own: a thread that it does not have may hold this one.
        """
        locks: dict[int, threading.Lock] = self.__dict__.setdefault("_locks", {})
        return locks.setdefault(os.getpid(), threading.Lock())

    def verify(self) -> None:
        """Encode the vectors again and compare; of an opened Index, compare the files' checksums first.

        This sees every row, where a search sees only those that it scores exactly. Rows that are
        encoded as before pass, whatever became of them: searches are right about those as they are.

        Raises:
            RuntimeError: if they were changed since the Index was built, naming the first row.
            fastvec.files.FileError: (a ValueError) if a file was, naming it.

        Example:
            >>> import fastvec
            >>> fastvec.Index([[1, 0], [0, 1]]).verify()
        """
        _device.only_on_cpu(self._device, "verify")
        if self._stored_in is not None:
            from .files import folder

            folder.check(self._stored_in)
        _blocks.check(self._blocks)

    def _request(
        self,
        blocks: _blocks.Blocks,
        queries: npt.ArrayLike,
        k: int,
        dims: int | None,
        where: npt.ArrayLike | None,
        exclude: Any,
        num_threads: int | None,
    ) -> Request:
        """A request for the rows of one moment."""
        vectors = (self._on_device.source,) if self._on_device else _blocks.vectors_of(blocks)
        queries = _device.given(queries, "queries", self._device)
        return Request(queries, vectors, k, self._metric, dims, where, exclude, num_threads, encoded=True)

    def _answer(self, blocks: _blocks.Blocks, request: Request) -> TopK:
        if self._on_device:
            return _device.answer(request, self._on_device)
        return request.answer(_blocks.source_of(blocks, request))

    def _rows_here(self) -> tuple[Float32, ...]:
        """The float32 rows in this computer's memory."""
        if self._on_device:
            return (_device.host_rows(self._on_device.source),)
        return _blocks.vectors_of(self._blocks)

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
        """Rows that are to the positive inputs as the negative ones are not; see ``fastvec.analogy``.

        Args:
            positive: row numbers (questions, p), a list of lists, or (p,) for one question.
            negative: the same, (questions, q) …; may be empty.
            k: answers to each question, at least 1.
            method: "3cosadd" or "3cosmul".
            exclude_inputs: leave the inputs out of the answers.
            dims: use the first so many columns only.
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

        vectors, search = self._for_analogies()
        question = (positive, negative, k, method, exclude_inputs, dims, where, num_threads)
        return answer(vectors, *question, search=search, encoded=True, device=self._device)

    def _analogy_of(
        self, inputs: Float32, positives: int, excluded: Sequence[int], k: int, method: str
    ) -> TopK:
        """The answer to a question of vectors, the positive ones first, on as many columns as they have."""
        from .analogies import answer_vectors

        vectors, search = self._for_analogies()
        question = (inputs, positives, excluded, k, method)
        return answer_vectors(vectors, *question, search=search, device=self._device)

    def _for_analogies(self) -> tuple[tuple[Float32, ...], Callable[[Request], TopK]]:
        """The rows of one moment, and what searches them."""
        if self._metric != "cosine":
            raise ValueError(f"analogies are cosine; this Index has metric={self._metric!r}")
        blocks = self._blocks
        vectors = _blocks.vectors_of(blocks) if blocks else self._rows_here()
        return vectors, lambda request: self._answer(blocks, request)

    def __len__(self) -> int:
        if self._on_device:
            return int(self._on_device.n)
        return sum(len(block.vectors) for block in self._blocks)

    @property
    def vectors(self) -> Float32:
        """float32 (n, dims), read-only; after ``add``, or from a device's array, a copy made now."""
        return _blocks.joined(self._rows_here())

    @property
    def dims(self) -> int:
        """Columns of the vectors."""
        return int(self._on_device.dims if self._on_device else self._blocks[0].vectors.shape[1])

    @property
    def metric(self) -> str:
        """Name of the metric."""
        return self._metric

    @property
    def nbytes(self) -> int:
        """Bytes held beside the caller's rows, here or on the device: codes, terms, float32 copies."""
        if self._on_device:
            return int(self._on_device.nbytes) + self._bytes_here
        return sum(block.nbytes for block in self._blocks)

    def __repr__(self) -> str:
        return (
            f"Index({len(self)} vectors, {self.dims} dims, metric={self._metric!r}, device={self._device!r})"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the Index to a folder, which ``Index.open`` maps into memory again.

        Whole or not at all: interrupted anywhere, it leaves what was there before. The folder holds
        ``.npy`` files and ``index.json`` with sizes and checksums (see ``fastvec.files.folder``).

        Args:
            path: the folder; an index that is there is replaced, and what else lies there stays.

        Raises:
            FileExistsError: if ``path`` is anything else than an index, or has a damaged index.json.
            BlockingIOError: if another process is saving there.
            OSError: as from writing files.

        Example:
            >>> import fastvec, os, tempfile
            >>> folder = os.path.join(tempfile.mkdtemp(), "index")
            >>> fastvec.Index([[1, 0], [0, 1]]).save(folder)
            >>> fastvec.Index.open(folder).search([0, 2], 1).indices
            array([1])
        """
        from .files import folder

        folder.save(path, *self._stored())

    def _stored(self) -> tuple[dict[str, Sequence[npt.NDArray[Any]]], dict[str, Any]]:
        """What a folder holds: arrays by name, in pieces, and facts."""
        arrays = _blocks.pieces(self._blocks or (_blocks.block_of(self._rows_here()[0], owned=False),))
        return arrays, {"metric": self._metric, "rows": sum(map(len, arrays["vectors"])), "dims": self.dims}

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, vectors: str = "mmap") -> Index:
        """An Index that ``save`` wrote. Sizes and versions are checked now; ``files.verify`` reads all.

        Args:
            path: the folder.
            vectors: "mmap" leaves vectors and codes in the files, to be read as they are used;
                "memory" reads all and compares the checksums.

        Raises:
            fastvec.files.FileError: (a ValueError) if the folder is damaged, foreign, or of another version.
            FileNotFoundError: if there is none.

        Example:
            >>> import fastvec, os, tempfile
            >>> folder = os.path.join(tempfile.mkdtemp(), "index")
            >>> fastvec.Index([[3, 4]], metric="dot").save(folder)
            >>> fastvec.Index.open(folder, vectors="memory")
            Index(1 vectors, 2 dims, metric='dot', device='cpu')
        """
        from .files import folder

        in_memory = _arguments.one_of(vectors, "vectors", ("mmap", "memory")) == "memory"
        return cls._of_stored(folder.load(path, memory=in_memory))

    @classmethod
    def _of_stored(cls, stored: Any) -> Index:
        """The Index of an opened ``folder.Stored``."""
        index = cls.__new__(cls)
        index._metric, index._device = stored.facts["metric"], "cpu"
        # Kernels have one version for writable arrays of terms; they are small, so they are copied.
        terms = {name: np.array(stored.arrays[name]) for name in ("scale", "error", "norm")}
        encoded = encode.Encoded(stored.arrays["codes"], **terms)
        index._blocks = (_blocks.Block(stored.arrays["vectors"], encoded, {}, None, stored.memory),)
        index._stored_in = stored
        return index

    def __getstate__(self) -> dict[str, Any]:
        vectors = np.ascontiguousarray(_blocks.joined(self._rows_here()))
        return {"vectors": vectors, "metric": self._metric, "device": self._device, "copy": self._copy}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._metric, self._device = state["metric"], _arguments.device(state.get("device", "cpu"))
        self._copy = state.get("copy", False)
        self._encode(state["vectors"], owned=True)
