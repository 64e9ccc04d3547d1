"""Searches on a device other than the processor: its own scan, then the same rescoring.

Codes and their terms lie on the device. Exact scores are computed by the processor from the
float32 rows in its memory, as in any search, so the answer has the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import _arguments
from ._request import Counters, Request
from .kernels import cost, encode
from .results import TopK

if TYPE_CHECKING:
    from .kernels.cuda.rows import DeviceRows


def upload(encoded: encode.Encoded, n: int, device: str) -> DeviceRows | None:
    """Encoded rows, on the device if it is one."""
    if device == "cpu":
        return None
    from .kernels.cuda.rows import DeviceRows

    return DeviceRows(encoded, n)


def answer(request: Request, rows: DeviceRows, encoded: encode.Encoded) -> TopK:
    """Search rows that lie on the device; ``encoded`` are they in the request's dimensions."""
    fill(request, rows, encoded)
    return request.result()


def fill(request: Request, rows: DeviceRows, encoded: encode.Encoded) -> Counters:
    """Write the answer into the request; return what was done."""
    from .kernels.cuda import search

    _check_k(request.k)
    m, n = len(request.queries), request.matrix.rows
    if m == 0 or n == 0:
        return request.nothing()
    done = Counters("cuda", m * n, 0, 0, 0)
    at_once = min(cost.queries_at_once(request.k), search.queries_at_once(n, request.exclusions))
    for first in range(0, m, at_once):
        last = min(first + at_once, m)
        found = search.search(
            rows,
            encoded,
            request.queries[first:last],
            request.k,
            request.metric,
            request.allowed,
            request.exclusions.part(first, last),
            request.num_threads,
        )
        done = request.finish(found.survivors, first, last, done, request.num_threads)
        done = done._replace(again=done.again + found.again)
    return done


def one_shot(request: Request) -> TopK:
    """Encode all rows, send their codes, search, and forget them."""
    from .kernels.cuda.rows import DeviceRows

    _check_k(request.k)
    vectors = request.vectors[0][:, : request.dims]
    encoded = encode.empty(*vectors.shape)
    bad = encode.encode(vectors, encoded, request.num_threads)
    _arguments.refuse_row(bad, vectors, "vectors")
    if len(vectors) == 0 or len(request.queries) == 0:
        request.nothing()
        return request.result()
    return answer(request, DeviceRows(encoded, len(vectors)), encoded)


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


def on_host(value: Any, name: str, device: str) -> Any:
    """Arrays that lie on the device (CuPy, torch, Numba …) as NumPy's; anything else as it is.

    Rescoring reads float32 in this computer's memory, so they are copied; only a call that
    asks for the device copies from it.
    """
    if device == "cpu" or isinstance(value, np.ndarray | list | tuple):
        return value
    try:
        foreign = hasattr(value, "__cuda_array_interface__")
    except RuntimeError as error:  # torch, of a tensor that records gradients
        raise TypeError(f"{name} cannot be read: {error}") from error
    if foreign:
        from .kernels.cuda import device as cuda

        return cuda.to_host(value)
    if hasattr(value, "__dlpack_device__") and value.__dlpack_device__()[0] == _DLPACK_CUDA:
        return np.from_dlpack(value, device="cpu", copy=True)
    return value


_DLPACK_CUDA = 2
