"""Rows on an NVIDIA device: its own codes, its own scan, the same answers.

Where the float32 rows fit on the device beside their codes, or lie there already, the device scores
candidates too. Other rows stay in this computer's memory, and the processor scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arguments, _arrays
from .._request import Request
from ..kernels import cost, matrix, metrics
from ..kernels.cuda import device as cuda
from ..kernels.matrix import Matrix
from ..kernels.stored import stored
from ..results import Float32, Int64, TopK
from . import base, blocks, cpu, passes
from .base import Pieces, Setting
from .passes import Counters

if TYPE_CHECKING:
    from ..kernels.cuda.batch import Batch
    from ..kernels.cuda.rows import DeviceRows

_DLPACK_CUDA = 2

why_not = cuda.why_not


def describe() -> str:
    """The device in words."""
    return "NVIDIA device" + ("" if why_not() else f": {cuda.name()}")


def serves(metric: str) -> bool:
    """Metrics with a bound: the device leaves to the direct pass only what the bound cannot narrow."""
    return metric in metrics.BOUNDED


def encoded(vectors: Any, *, copy: bool, screen: Setting) -> CudaStore:
    """A store of a caller's vectors; float32 rows that lie on the device stay there."""
    array = array_of(vectors)
    _no_screen(screen)
    if cuda.is_array(array):
        rows = _arguments.two_dimensional(array, "vectors")
        return CudaStore(cuda.copy_of(rows) if copy else rows, rows.nbytes if copy else 0)
    rows, owned = _arguments.rows_of(array, "vectors", copy=copy)
    # A copy that was made here of an array on the device is fastvec's.
    owned = owned or (array is not vectors and isinstance(array, np.ndarray))
    return of_rows(rows, owned=owned)


def _no_screen(setting: Setting) -> None:
    if setting not in ("auto", "off"):
        raise base.not_available(f"screen={setting!r}", "cuda")


def of_rows(rows: Float32, *, owned: bool, screen: Setting = "auto") -> CudaStore:
    """A store of canonical rows of this computer, ``owned`` if only fastvec refers to them."""
    _no_screen(screen)
    return CudaStore(rows, rows.nbytes if owned else 0)


def one_shot(vectors: Any) -> CudaStore:
    """A store for a single search: the device encodes the rows when it begins, and forgets them."""
    array = array_of(vectors)
    if cuda.is_array(array):
        return CudaStore(_arguments.two_dimensional(array, "vectors"), lasting=False)
    return CudaStore(_arguments.matrix(array, "vectors"), lasting=False)


class CudaStore:
    """Rows of this computer or of the device, which encodes them: now if ``lasting``, else for each search.

    ``owned`` counts bytes of float32 rows that are fastvec's own, beside what it keeps on the device.
    See ``base.Store`` for what a store does.
    """

    screen: Setting = "auto"

    device = "cuda"

    def __init__(self, source: Any, owned: int = 0, *, lasting: bool = True) -> None:
        self._source, self._owned = source, owned
        self.on_device: DeviceRows | None = _encoded(source, self.dims) if lasting else None
        """The encoded rows, if they last."""

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self._source)

    @property
    def dims(self) -> int:
        """The number of columns."""
        return int(self._source.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes that fastvec holds beside the caller's rows, in this computer's memory and on the device."""
        return self._owned + (0 if self.on_device is None else int(self.on_device.nbytes))

    def query_array(self, queries: Any) -> Any:
        """Queries as they lie on the device, if they are float32 with contiguous rows, or NumPy's array."""
        array = array_of(queries)
        return array if cuda.is_array(array) else _arrays.any_array(array, "queries")

    def search(self, request: Request) -> TopK:
        """The nearest rows of each query."""
        return request.answer(self.counted(request)[0])

    def counted(self, request: Request) -> tuple[TopK, Counters]:
        """The nearest rows of each query, and what was done to find them."""
        from ..kernels.cuda import batch

        if request.asked > batch.MOST_K:
            raise ValueError(
                f"k is {request.asked:,}; device='cuda' returns at most {batch.MOST_K:,} neighbors: "
                "use device='cpu' for more"
            )
        rows = self.on_device or _encoded(self._source, request.dims)
        m, n = len(request.queries), self.rows
        if m == 0 or n == 0:
            return request.nothing(), passes.NOTHING
        answers, done = request.room(), Counters("cuda", m * n, 0, 0, 0)
        at_once = min(cost.queries_at_once(request.k), batch.queries_at_once(n, request.exclusions))
        score = self._score_here if rows.vectors is None else _score_on_device
        for first in range(0, m, at_once):
            last = min(first + at_once, m)
            part = batch.Batch(
                queries=request.queries[first:last],
                dims=request.dims,
                k=request.k,
                metric=request.metric,
                allowed=request.allowed,
                exclusions=request.exclusions.part(first, last),
            )
            with _naming_queries(request, first):
                done = score(rows, request, part, answers, first, done)
        return answers, done

    def _score_here(
        self, rows: DeviceRows, request: Request, batch: Batch, answers: TopK, first: int, done: Counters
    ) -> Counters:
        """Answer the queries from ``first`` on; the processor scores their candidates."""
        from ..kernels.cuda import search

        survivors, work = search.survivors(rows, batch, request.num_threads)
        queries = _in_memory(request.queries)[:, : request.dims]
        squares = _arguments.check_finite(queries, "queries", request.num_threads)
        here = request._replace(queries=queries, squares=squares)
        done = passes.finish(self, here, survivors, answers, first, done, request.num_threads)
        return done._replace(again=done.again + work.again)

    @stored
    def matrix(self) -> matrix.Matrix:
        """The float32 rows of this computer, for the processor's kernels."""
        return matrix.of(self.vectors())

    def vectors(self) -> tuple[Float32, ...]:
        """The float32 rows in this computer's memory; a copy if they lie on the device."""
        return (_in_memory(self._source),)

    def fetch(self, numbers: Int64) -> Float32:
        """Copies of the float32 rows with these numbers, in this computer's memory."""
        return np.take(self.vectors()[0], numbers, axis=0)

    def stored(self) -> Pieces:
        """What a folder holds of these rows, once the processor has encoded them."""
        return blocks.pieces((blocks.block_of(self.vectors()[0], None, owned=False),))

    def facts(self) -> dict[str, Any]:
        """None: the rows have no screen."""
        return {}

    def all_rows(self) -> Matrix:
        """As in ``passes.Scored``."""
        return self.matrix

    def changed(self, row: int) -> RuntimeError:
        """The error that says that a row is not what its codes were made of."""
        return cpu.changed(row)

    def refuse(self, row: int, dims: int) -> None:
        """Raise the error for a row that is not finite; when they were encoded, all were. −1 is none."""
        if row >= 0 and self.on_device is not None:
            raise cpu.changed(row)
        _arguments.refuse_row(row, self._source[:, :dims], "vectors")


def _score_on_device(
    rows: DeviceRows, request: Request, batch: Batch, answers: TopK, first: int, done: Counters
) -> Counters:
    """Answer the queries from ``first`` on; the device scores their candidates and ranks them."""
    from ..kernels.cuda import search

    part = search.search(rows, batch)
    if part.changed >= 0:
        raise cpu.changed(part.changed)
    last = first + len(part.scores)
    answers.scores[first:last], answers.indices[first:last] = part.scores, part.indices
    work = part.work
    return done._replace(
        candidates=done.candidates + work.candidates,
        rescored=done.rescored + work.candidates,
        direct=done.direct + int(work.left.sum()),
        again=done.again + work.again,
    )


def _encoded(vectors: Any, dims: int) -> DeviceRows:
    """Rows of this computer or of the device: their first ``dims`` columns, encoded on the device."""
    from ..kernels.cuda.rows import DeviceRows, NotFinite

    try:
        return DeviceRows(vectors, dims)
    except NotFinite as error:
        _arguments.refuse_row(error.args[0], vectors[:, :dims], "vectors")
        raise


@contextmanager
def _naming_queries(request: Request, first: int) -> Iterator[None]:
    """Name the query in which the device finds NaN or inf."""
    from ..kernels.cuda.rows import NotFinite

    try:
        yield
    except NotFinite as error:
        _arguments.refuse_row(first + error.args[0], request.queries, "queries")
        raise


def array_of(value: Any) -> Any:
    """A caller's array as it is used: Numba's for float32 with contiguous rows that lie on the device.

    Other arrays on the device (CuPy's, torch's, any with ``__cuda_array_interface__`` or DLPack) are
    copied to NumPy's, as all of them are in a call that does not ask for the device (``_arrays.py``).
    Anything else is returned as it is.
    """
    if isinstance(value, np.ndarray | list | tuple):
        return value
    tensor, _ = _arrays.tensor(value)
    if hasattr(tensor, "__cuda_array_interface__"):
        array = cuda.of_interface(tensor)
        in_place = array.dtype == np.float32 and array.ndim in (1, 2) and array.is_c_contiguous()
        return array if in_place and array.size else array.copy_to_host()
    if hasattr(tensor, "__dlpack_device__") and tensor.__dlpack_device__()[0] == _DLPACK_CUDA:
        return np.from_dlpack(tensor, device="cpu", copy=True)
    return value


def _in_memory(rows: Any) -> Float32:
    """Float32 rows in this computer's memory: the array itself if it lies there, or a copy."""
    array: Float32 = rows.copy_to_host() if cuda.is_array(rows) else rows
    return array
