"""Exact nearest neighbors: selection on given scores, one-shot search, and the Index."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _arguments
from .kernels import cost, direct, encode, filters, metrics, micro, rescore, scan, threads
from .kernels import topk as _topk

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


class TopK(NamedTuple):
    """The best rows of each query, best first: their ``scores`` and ``indices``.

    Ties go by lower index. One-dimensional where the query was. Filled up with index −1 and score −inf where
    fewer rows than asked for exist or pass the filter.
    """

    scores: Float32
    """float32 (m, k): the float64 scores, rounded."""
    indices: Int64
    """int64 (m, k): row numbers of the vectors."""


class Ranges(NamedTuple):
    """Rows that reach a score: those of query i are ``indices[offsets[i]:offsets[i + 1]]``.

    Ranked for each query as in ``TopK``, with their ``scores`` beside them.
    """

    offsets: Int64
    """int64 (m + 1,)."""
    scores: Float32
    """float32, as many as found: the float64 scores, rounded."""
    indices: Int64
    """int64, as many as found: row numbers of the vectors."""


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


def topk(scores: npt.ArrayLike, k: int, *, largest: bool = True) -> TopK:
    """The k largest (or smallest) entries of each row of a score matrix.

    Ranked in the dtype given, ties by lower index; −0.0 ties with 0.0 and is returned as
    0.0. With k above n, filled up with index −1 and −inf (+inf if not ``largest``).

    Args:
        scores: (m, n) or (n,), floats or integers, any strides; ±inf are allowed.
        k: entries to select, at least 1.
        largest: false selects the smallest.

    Returns:
        TopK of shape (m, k), or (k,) for one-dimensional scores.

    Raises:
        ValueError: on NaN (naming where), k below 1, or a wrong shape.
        TypeError: on a dtype that is no real number, or k that is no integer.

    Example:
        >>> import fastvec
        >>> fastvec.topk([0.1, 0.9, 0.9, 0.4], 3)
        TopK(scores=array([0.9, 0.9, 0.4], dtype=float32), indices=array([1, 2, 3]))
    """
    array = _arguments.any_array(scores, "scores")
    if array.ndim not in (1, 2):
        raise ValueError(f"scores has shape {array.shape}; it must be (m, n) or (n,)")
    _arguments.check_real(array, "scores")
    k = _arguments.whole_number(k, "k", 1)
    kinds = {"f": np.float64 if array.dtype.itemsize == 8 else np.float32, "i": np.int64, "u": np.uint64}
    matrix = np.atleast_2d(array.astype(kinds[array.dtype.kind], copy=False))
    values, indices, nan = _topk.select(matrix, k, bool(largest), threads.get_num_threads())
    if nan is not None:
        place = f"row {nan[0]}, column {nan[1]}" if array.ndim == 2 else f"position {nan[1]}"
        raise ValueError(f"scores, {place}: NaN; scores must be numbers or ±inf")
    return TopK(values[0], indices[0]) if array.ndim == 1 else TopK(values, indices)


def knn(
    queries: npt.ArrayLike,
    vectors: npt.ArrayLike,
    k: int,
    *,
    metric: str = "cosine",
    dims: int | None = None,
    where: npt.ArrayLike | None = None,
    exclude: Any = None,
    device: str = "cpu",
    num_threads: int | None = None,
) -> TopK:
    """The k nearest vectors of each query, exactly, with nothing prepared.

    The answer is that of a full scan with float64 scores, ranked by score and then by
    index, the same to the last bit for every number of threads, batch and processor. To
    search the same vectors often, build an ``Index``.

    Args:
        queries: (m, width) or (width,), real numbers.
        vectors: (n, width); float32 with contiguous rows is used in place.
        k: neighbors to return, at least 1; more than n are filled up.
        metric: "cosine", "dot" or "euclidean" (score = −distance).
        dims: use the first so many columns only; queries may have just those.
        where: rows that may be returned: bool (n,), row numbers, or bool (m, n).
        exclude: rows not to return: (m, e) or m lists of row numbers, −1 for none;
            one-dimensional with a one-dimensional query.
        device: "cpu".
        num_threads: threads of this call; None: ``get_num_threads()``.

    Returns:
        TopK of shape (m, k), or (k,) for a one-dimensional query.

    Raises:
        ValueError: on NaN or inf (naming argument and row), shapes that do not fit, or a
            value that is not allowed.
        TypeError: on a dtype or argument of the wrong kind.
        IndexError: on a row number out of range.

    Example:
        >>> import fastvec
        >>> fastvec.knn([1.0, 0.1], [[1, 0], [0, 1], [1, 1]], 2)
        TopK(scores=array([0.9950372, 0.7739573], dtype=float32), indices=array([0, 2]))
    """
    _arguments.device(device)
    base = _arguments.matrix(vectors, "vectors")
    request = Request(queries, base, k, metric, dims, where, exclude, num_threads)
    return request.answer(one_shot(request))


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
        device: "cpu".

    Raises:
        ValueError: on NaN or inf (naming the row), a wrong shape, an unknown metric.
        TypeError: on a dtype that is no real number.

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
        given = _arguments.any_array(vectors, "vectors")
        self._vectors = _arguments.matrix(given, "vectors")
        self._owned = isinstance(vectors, list | tuple) or not np.may_share_memory(self._vectors, given)
        self._encode()

    def _encode(self) -> None:
        self._whole = encode.empty(*self._vectors.shape)
        bad = encode.encode(self._vectors, self._whole, threads.get_num_threads())
        _arguments.refuse_row(bad, self._vectors, "vectors")
        self._prefixes: dict[int, encode.Encoded] = {}

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
        request = Request(
            queries, self._vectors, k, self._metric, dims, where, exclude, num_threads, encoded=True
        )
        return request.answer(self._source(request))

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
        n = len(self)
        itself = (np.arange(n + 1), np.arange(n))
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
        again = encode.empty(_BLOCK, self.dims)
        for first in range(0, len(self), _BLOCK):
            block = self._vectors[first : first + _BLOCK]
            bad = encode.encode(block, again, threads.get_num_threads())
            same = [
                (old[first : first + len(block)] == new[: len(block)]).reshape(len(block), -1).all(axis=1)
                for old, new in zip(self._whole[:4], again[:4], strict=True)
            ]
            differs = ~np.logical_and.reduce(same)
            if bad >= 0 or differs.any():
                raise _changed(first + (bad if bad >= 0 else int(differs.argmax())))

    def _source(self, request: Request) -> scan.Source:
        encoded = (
            self._whole if request.dims == self.dims else self._prefix(request.dims, request.num_threads)
        )
        chosen = request.chosen
        if chosen is None:
            rows = scan.rows_of(encoded, 0, request.allowed)
            return lambda start, stop: iter([(start, stop, rows)])

        def source(start: int, stop: int) -> Iterator[tuple[int, int, scan.Rows]]:
            buffer = encode.empty(_BLOCK, encoded.codes.shape[1])
            for first in range(start, stop, _BLOCK):
                ids = chosen[first : min(first + _BLOCK, stop)]
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
        return answer(self._vectors, *question, source=self._source, encoded=True)

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
        """Bytes held beside the caller's matrix: codes, terms of rows, and a float32 copy if one was made."""
        n = len(self)
        own = n * self._whole.codes.shape[1] + sum(a.nbytes for a in self._whole[1:])
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
        index._prefixes, index._stored_in = {}, stored
        return index

    def __getstate__(self) -> dict[str, Any]:
        return {"vectors": np.ascontiguousarray(self._vectors), "metric": self._metric}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._metric, self._device = state["metric"], "cpu"
        self._vectors, self._owned = state["vectors"], True
        self._encode()


class Request:
    """One checked search: canonical queries, filters, and room for the answer."""

    def __init__(
        self,
        queries: npt.ArrayLike,
        vectors: Float32,
        k: int,
        metric: str,
        dims: int | None,
        where: npt.ArrayLike | None,
        exclude: Any,
        num_threads: int | None,
        *,
        encoded: bool = False,
    ) -> None:
        self.vectors, self.encoded = vectors, encoded
        self.metric = _arguments.one_of(metric, "metric", tuple(metrics.TABLE))
        self.num_threads = _arguments.num_threads(num_threads)
        width = vectors.shape[1]
        self.dims = _arguments.prefix(dims, width)
        given = _arguments.any_array(queries, "queries")
        self.one = given.ndim == 1
        self.queries = _arguments.matrix(given, "queries", one_row=True)
        if self.queries.shape[1] not in (self.dims, width):
            raise ValueError(
                f"queries has {self.queries.shape[1]} dimensions; it must have the {width} of vectors"
                + (f" or the {self.dims} of dims" if self.dims < width else "")
            )
        self.queries = self.queries[:, : self.dims]
        _arguments.check_finite(self.queries, "queries", self.num_threads)
        self.k = _arguments.whole_number(k, "k", 1)
        m, n = len(self.queries), len(vectors)
        self.allowed, mask = _arguments.allowed_rows(where, m, n)
        if not isinstance(exclude, tuple):
            exclude = _arguments.excluded_rows(exclude, m, n, self.one)
        offsets, rows = exclude
        self.exclusions = filters.Exclusions(offsets, rows, mask)
        self.chosen: Int64 | None = None
        if len(self.allowed) and cost.gathering_pays(n, int(np.count_nonzero(self.allowed)), m):
            self.chosen = np.flatnonzero(self.allowed)
        self.scores, self.indices = np.empty((m, self.k), np.float32), np.empty((m, self.k), np.int64)

    def answer(self, source: scan.Source) -> TopK:
        """Scan the encoded rows of ``source`` and rescore, or pass over the rows directly."""
        self.fill(source)
        return TopK(self.scores[0], self.indices[0]) if self.one else TopK(self.scores, self.indices)

    def fill(self, source: scan.Source) -> Counters:
        """Write the answer into ``scores`` and ``indices``; return what was done."""
        m, n = len(self.queries), len(self.vectors if self.chosen is None else self.chosen)
        if m == 0 or n == 0:
            self.scores[:], self.indices[:] = -np.inf, -1
            return Counters(None, 0, 0, 0, 0)
        kernel = micro.active()
        pays = cost.scan_pays(n, m, self.dims, self.k, kernel, encoded=self.encoded)
        if not pays and not (self.encoded and micro.forced()):
            self._direct(np.arange(m))
            return Counters(None, 0, 0, 0, m)
        survivors = scan.scan(
            n,
            source,
            self.queries,
            self.k,
            self.metric,
            kernel,
            self.exclusions,
            self.num_threads,
            encoded=self.encoded,
        )
        rescored, changed = rescore.rescore(
            survivors,
            self.queries,
            self.vectors,
            self.dims,
            self.metric,
            self.scores,
            self.indices,
            self.num_threads,
        )
        if changed >= 0:
            raise _changed(changed)
        left = np.flatnonzero(survivors.left)
        if len(left):
            self._direct(left)
        return Counters(kernel.name, m * n, len(survivors.row), rescored, len(left))

    def ranges(self, source: scan.Source, least: np.float32) -> Ranges:
        """Scan the encoded rows of ``source`` for all that may reach a score, and rescore."""
        n = len(self.vectors if self.chosen is None else self.chosen)
        if len(self.queries) == 0 or n == 0:
            return Ranges(np.zeros(len(self.queries) + 1, np.int64), self.scores[:0, 0], self.indices[:0, 0])
        # Every float64 that rounds to ``least`` or more is above the float32 before it.
        root = float(np.nextafter(least, np.float32(-np.inf)))
        terms = (root, self.metric, micro.active(), self.exclusions, self.num_threads)
        survivors = scan.scan_range(n, source, self.queries, *terms)
        offsets, scores, indices, changed = rescore.rescore_range(
            survivors, self.queries, self.vectors, self.dims, self.metric, least, self.num_threads
        )
        if changed >= 0:
            raise _changed(changed)
        return Ranges(offsets, scores, indices)

    def _direct(self, chosen: Int64) -> None:
        bad = direct.search(
            chosen,
            self.queries,
            self.vectors,
            self.dims,
            self.metric,
            self.allowed,
            self.exclusions,
            self.scores,
            self.indices,
            self.num_threads,
        )
        if bad >= 0 and self.encoded:
            raise _changed(bad)
        _arguments.refuse_row(bad, self.vectors[:, : self.dims], "vectors")


def _changed(row: int) -> RuntimeError:
    return RuntimeError(
        f"vectors changed since the Index was built (row {row} no longer matches its codes); "
        "build it anew, and do not write to the array behind it"
    )


_BLOCK = 1024
"""Rows that are encoded or gathered at a time: they stay in cache while they are scanned."""


def one_shot(request: Request) -> scan.Source:
    """Rows encoded block by block as the scan asks for them."""
    vectors, chosen = request.vectors[:, : request.dims], request.chosen

    def source(start: int, stop: int) -> Iterator[tuple[int, int, scan.Rows]]:
        buffer = encode.empty(_BLOCK, request.dims)
        for first in range(start, stop, _BLOCK):
            last = min(first + _BLOCK, stop)
            block = vectors[first:last] if chosen is None else vectors[chosen[first:last]]
            if encode.encode(block, buffer, 1) >= 0:
                _arguments.check_finite(vectors, "vectors", 1)  # names the first of all
            if chosen is None:
                yield 0, len(block), scan.rows_of(buffer, first, request.allowed)
            else:
                yield 0, len(block), scan.rows_of(buffer, 0, ids=chosen[first:last])

    return source
