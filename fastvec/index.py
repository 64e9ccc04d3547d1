"""Vectors encoded once, searched often."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _arguments, _device
from ._request import BLOCK, Request, changed
from .kernels import encode, filters, metrics, scan, threads
from .results import Float32, Ranges, TopK


class Index:
    """Vectors encoded once, searched often.

    Beside the float32 matrix, which stays where it is, an Index holds an 8-bit copy of
    every row with a scale, a measured error and a norm: at most
    n · (64 · ⌈dims/64⌉ + 16) bytes, and 12 more a row for each further width that was
    searched with ``dims=``. Float32 input with C-contiguous rows is not copied and must
    not be changed while the Index is used; anything else becomes a float32 copy.

    Args:
        vectors: (n, dims), real numbers.
        metric: "cosine", "dot" or "euclidean" (score = −distance).
        device: "cpu", or "cuda" for an NVIDIA device (``pip install 'fastvec[cuda]'``), which
            then holds the codes as well, and whose answers are the same. It searches
            and answers "3cosadd" analogies; ``save`` and pickles keep what the processor has.

    Raises:
        ValueError: on NaN or inf (naming the row), a wrong shape, an unknown metric.
        TypeError: on a dtype that is no real number.
        RuntimeError: if the device cannot be used here, saying what is missing.
        MemoryError: if the codes do not fit on it.

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

    def __init__(self, vectors: npt.ArrayLike, *, metric: str = "cosine", device: str = "cpu") -> None:
        self._metric = _arguments.one_of(metric, "metric", tuple(metrics.TABLE))
        self._device = _arguments.device(device)
        here = _device.on_host(vectors, "vectors", self._device)
        given = _arguments.any_array(here, "vectors")
        self._vectors = _arguments.matrix(given, "vectors")
        self._owned = isinstance(vectors, list | tuple) or not np.may_share_memory(self._vectors, given)
        self._owned |= here is not vectors
        self._encode()

    def _encode(self) -> None:
        self._whole = encode.empty(*self._vectors.shape)
        bad = encode.encode(self._vectors, self._whole, threads.get_num_threads())
        _arguments.refuse_row(bad, self._vectors, "vectors")
        self._prefixes: dict[int, encode.Encoded] = {}
        self._on_device = _device.upload(self._whole, len(self)) if self._device == "cuda" else None

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
            k: neighbors to return, at least 1; more than there are, are filled up.
            dims: use the first so many columns only; the same codes serve.
            where: rows that may be returned: bool (n,), row numbers, or bool (m, n).
            exclude: rows not to return: (m, e) or m lists of row numbers.
            num_threads: threads of this call; None: ``get_num_threads()``.

        Raises:
            RuntimeError: if the vectors were changed since the Index was built.

        Example:
            >>> import fastvec
            >>> index = fastvec.Index([[1, 0, 0], [0, 1, 0], [1, 1, 5]])
            >>> index.search([1.0, 1.0, 0.0], 1, dims=2).indices
            array([2])
        """
        queries = _device.on_host(queries, "queries", self._device)
        request = Request(
            queries, self._vectors, k, self._metric, dims, where, exclude, num_threads, encoded=True
        )
        return self._answer(request)

    def _answer(self, request: Request) -> TopK:
        if self._on_device is None:
            return request.answer(self._source(request))
        return _device.answer(request, self._on_device, self._encoded(request))

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
            TypeError: if ``min_score`` is no number, and as in ``search``.
            RuntimeError: if the vectors were changed since the Index was built.

        Example:
            >>> import fastvec
            >>> index = fastvec.Index([[1, 0], [0, 1], [1, 1]])
            >>> found = index.range_search([[1.0, 0.1], [0.0, -1.0]], 0.5)
            >>> found.offsets, found.indices
            (array([0, 2, 2]), array([0, 2]))
        """
        _device.only_on_cpu(self._device, "range_search")
        least = _arguments.score(min_score, "min_score")
        request = Request(
            queries, self._vectors, 1, self._metric, dims, where, exclude, num_threads, encoded=True
        )
        return request.ranges(self._source(request), least)

    def knn_graph(self, k: int, *, num_threads: int | None = None) -> TopK:
        """The k nearest vectors of every vector, itself left out.

        Args:
            k: neighbors of each, at least 1; more than n − 1 are filled up.
            num_threads: threads of this call; None: ``get_num_threads()``.

        Returns:
            TopK of shape (n, k).

        Raises:
            ValueError: on k below 1.
            TypeError: on k that is no integer.
            RuntimeError: if the vectors were changed since the Index was built.

        Example:
            >>> import fastvec
            >>> fastvec.Index([[1, 0], [0, 1], [1, 1], [2, 1]]).knn_graph(1).indices.tolist()
            [[3], [2], [3], [2]]
        """
        _device.only_on_cpu(self._device, "knn_graph")
        n = len(self)
        itself = filters.Exclusions.of_runs(np.arange(n + 1), np.arange(n))
        request = Request(
            self._vectors, self._vectors, k, self._metric, None, None, itself, num_threads, encoded=True
        )
        return request.answer(self._source(request))

    def verify(self) -> None:
        """Encode the vectors again and compare; of an opened Index, compare the files' checksums first.

        Raises:
            RuntimeError: if they were changed since the Index was built, naming the first row.
            fastvec.files.FileError: (a ValueError) if a file was, naming it.

        Example:
            >>> import fastvec
            >>> fastvec.Index([[1, 0], [0, 1]]).verify()
        """
        if self._stored_in is not None:
            from .files import folder

            folder.check(self._stored_in)
        again = encode.empty(BLOCK, self.dims)
        for first in range(0, len(self), BLOCK):
            block = self._vectors[first : first + BLOCK]
            bad = encode.encode(block, again, threads.get_num_threads())
            same = [
                (old[first : first + len(block)] == new[: len(block)]).reshape(len(block), -1).all(axis=1)
                for old, new in zip(self._whole[:4], again[:4], strict=True)
            ]
            differs = ~np.logical_and.reduce(same)
            if bad >= 0 or differs.any():
                raise changed(first + (bad if bad >= 0 else int(differs.argmax())))

    def _encoded(self, request: Request) -> encode.Encoded:
        return self._whole if request.dims == self.dims else self._prefix(request.dims, request.num_threads)

    def _source(self, request: Request) -> scan.Source:
        encoded = self._encoded(request)
        chosen = request.chosen
        if chosen is None:
            rows = scan.rows_of(encoded, 0, request.allowed)
            return lambda start, stop: iter([(start, stop, rows)])

        def source(start: int, stop: int) -> Iterator[tuple[int, int, scan.Rows]]:
            buffer = encode.empty(BLOCK, encoded.codes.shape[1])
            for first in range(start, stop, BLOCK):
                ids = chosen[first : min(first + BLOCK, stop)]
                yield 0, len(ids), scan.rows_of(encode.gather(encoded, ids, buffer), 0, ids=ids)

        return source

    def _prefix(self, dims: int, num_threads: int) -> encode.Encoded:
        known = self._prefixes.get(dims)
        if known is None:
            # Two threads may both measure it: the same result, and no lock to hold across a fork.
            known = encode.prefix(self._vectors, self._whole, dims, num_threads)
        return self._prefixes.setdefault(dims, known)

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

        if self._metric != "cosine":
            raise ValueError(f"analogies are cosine; this Index has metric={self._metric!r}")
        question = (positive, negative, k, method, exclude_inputs, dims, where, num_threads)
        return answer(self._vectors, *question, search=self._answer, encoded=True, device=self._device)

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def vectors(self) -> Float32:
        """float32 (n, dims), read-only."""
        view = self._vectors.view(np.ndarray)
        view.flags.writeable = False
        return view

    @property
    def dims(self) -> int:
        """Columns of the vectors."""
        return int(self._vectors.shape[1])

    @property
    def metric(self) -> str:
        """Name of the metric."""
        return self._metric

    @property
    def nbytes(self) -> int:
        """Bytes held beside the caller's matrix: codes, terms of rows, a float32 copy if one was made.

        With a device, what it holds is counted too.
        """
        n = len(self)
        own = n * self._whole.codes.shape[1] + sum(a.nbytes for a in self._whole[1:])
        own += self._on_device.nbytes if self._on_device is not None else 0
        own += sum(p.error.nbytes + p.norm.nbytes for p in list(self._prefixes.values()))
        return int(own + (self._vectors.nbytes if self._owned else 0))

    def __repr__(self) -> str:
        return (
            f"Index({len(self)} vectors, {self.dims} dims, metric={self._metric!r}, device={self._device!r})"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the Index to a folder, which ``Index.open`` maps into memory again.

        Whole or not at all: interrupted anywhere, it leaves what was there before. The folder holds
        ``.npy`` files and ``index.json`` with sizes and checksums (see ``fastvec.files.folder``).

        Args:
            path: the folder; an index that is there is replaced.

        Raises:
            FileExistsError: if ``path`` is anything else than an index.
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

    def _stored(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """What a folder holds: arrays by name, and facts."""
        encoded = self._whole._asdict()
        del encoded["whole"]  # of a prefix only
        if encoded["codes"].flags.writeable:
            encoded["codes"][len(self) :] = 0  # rows to spare, of no meaning
        facts = {"metric": self._metric, "rows": len(self), "dims": self.dims}
        return {"vectors": self._vectors, **encoded}, facts

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
        index._vectors, index._owned = stored.arrays["vectors"], stored.memory
        # Kernels have one version for writable arrays of terms; they are small, so they are copied.
        terms = {name: np.array(stored.arrays[name]) for name in ("scale", "error", "norm")}
        index._whole = encode.Encoded(stored.arrays["codes"], **terms)
        index._prefixes, index._stored_in, index._on_device = {}, stored, None
        return index

    def __getstate__(self) -> dict[str, Any]:
        vectors = np.ascontiguousarray(self._vectors)
        return {"vectors": vectors, "metric": self._metric, "device": self._device}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._metric, self._device = state["metric"], _arguments.device(state.get("device", "cpu"))
        self._vectors, self._owned = state["vectors"], True
        self._encode()
