"""Searches on a device other than the processor: its own codes, its own scan, the same answers.

Where the float32 rows fit on the device beside their codes, or lie there already, it scores
candidates too; where they do not, this computer's memory keeps them and the processor does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import _arguments, _arrays
from ._request import Counters, Request, changed
from .kernels import cost
from .kernels.cuda import device as cuda
from .results import Float32, TopK

if TYPE_CHECKING:
    from .kernels.cuda.rows import DeviceRows
    from .kernels.cuda.search import Question


def upload(vectors: Any, dims: int) -> DeviceRows:
    """Canonical vectors, of this computer or ``given`` on the device: their first ``dims``, encoded there."""
    from .kernels.cuda.rows import DeviceRows, NotFinite

    try:
        return DeviceRows(vectors, dims)
    except NotFinite as error:
        _arguments.refuse_row(error.args[0], vectors[:, :dims], "vectors")
        raise


def answer(request: Request, rows: DeviceRows) -> TopK:
    """Search rows that lie on the device."""
    fill(request, rows)
    return request.result()


def fill(request: Request, rows: DeviceRows) -> Counters:
    """Write the answer into the request; return what was done."""
    from .kernels.cuda import search
    from .kernels.cuda.rows import NotFinite

    _check_k(request.asked)
    m, n = len(request.queries), rows.n
    if m == 0 or n == 0:
        return request.nothing()
    done = Counters("cuda", m * n, 0, 0, 0)
    at_once = min(cost.queries_at_once(request.k), search.queries_at_once(n, request.exclusions))
    for first in range(0, m, at_once):
        last = min(first + at_once, m)
        question = search.Question(
            request.queries[first:last],
            request.dims,
            request.k,
            request.metric,
            request.allowed,
            request.exclusions.part(first, last),
        )
        part = _fill_here if rows.vectors is None else _fill_there
        try:
            done = part(request, rows, question, first, done)
        except NotFinite as error:
            _arguments.refuse_row(first + error.args[0], request.queries, "queries")
            raise
    return done


def _fill_there(
    request: Request, rows: DeviceRows, question: Question, first: int, done: Counters
) -> Counters:
    """The queries from ``first`` on, scored and ranked on the device."""
    from .kernels.cuda import search

    found = search.search(rows, question)
    last = first + len(found.scores)
    if found.changed >= 0:
        raise changed(found.changed)
    request.scores[first:last], request.indices[first:last] = found.scores, found.indices
    work = found.work
    return done._replace(
        candidates=done.candidates + work.candidates,
        rescored=done.rescored + work.candidates,
        direct=done.direct + int(work.left.sum()),
        again=done.again + work.again,
    )


def _fill_here(
    request: Request, rows: DeviceRows, question: Question, first: int, done: Counters
) -> Counters:
    """The queries from ``first`` on; their candidates are scored by the processor."""
    from .kernels.cuda import search

    survivors, work = search.survivors(rows, question, request.num_threads)
    last = first + len(survivors.left)
    if holds(request.queries):
        request.queries = host_rows(request.queries)[:, : request.dims]
    done = request.finish(survivors, first, last, done, request.num_threads)
    return done._replace(again=done.again + work.again)


def one_shot(request: Request) -> TopK:
    """Encode all rows on the device, search, and forget them."""
    _check_k(request.asked)
    return answer(request, upload(request.vectors[0], request.dims))


def _check_k(k: int) -> None:
    from .kernels.cuda.search import MOST_K

    if k > MOST_K:
        raise ValueError(
            f"k is {k:,}; device='cuda' returns at most {MOST_K:,} neighbors: use device='cpu' for more"
        )


def only_on_cpu(device: str, what: str) -> None:
    """Refuse what a device does not do."""
    if device != "cpu":
        raise NotImplementedError(f"{what} is not available with device={device!r}; use device='cpu'")


def given(value: Any, name: str, device: str) -> Any:
    """What a caller gave: float32 with contiguous rows that lie on the device stay there, as Numba's array.

    Other arrays on the device (CuPy's, torch's, any with ``__cuda_array_interface__`` or DLPack) are
    copied to NumPy's, and so are all of them in a call that does not ask for the device (``_arrays.py``).
    Anything else is as it is.
    """
    if device == "cpu" or isinstance(value, np.ndarray | list | tuple):
        return value
    there, _ = _arrays.tensor(value)
    if hasattr(there, "__cuda_array_interface__"):
        array = cuda.of_interface(there)
        in_place = array.dtype == np.float32 and array.ndim in (1, 2) and array.is_c_contiguous()
        return array if in_place and array.size else array.copy_to_host()
    if hasattr(there, "__dlpack_device__") and there.__dlpack_device__()[0] == _DLPACK_CUDA:
        return np.from_dlpack(there, device="cpu", copy=True)
    return value


def holds(value: Any) -> bool:
    """Whether this is an array that lies on a device, as ``given`` returns it."""
    return cuda.is_array(value)


def matrix(value: Any) -> Any:
    """Vectors as ``given``: a canonical matrix here, or rows on the device."""
    if holds(value):
        return _arguments.two_dimensional(value, "vectors")
    return _arguments.matrix(value, "vectors")


def copied(rows: Any) -> Any:
    """A copy of rows on the device."""
    return cuda.copy_of(rows)


def host_rows(vectors: Any) -> Float32:
    """The float32 rows in this computer's memory: where they are, or a copy."""
    rows: Float32 = vectors.copy_to_host() if holds(vectors) else vectors
    return rows


_DLPACK_CUDA = 2
