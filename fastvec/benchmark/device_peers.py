"""Peers that search on a device, torch and CuPy; and how their memory there is freed.

Each function prepares (not timed) and returns what is timed; ``peers.on_device`` has their rows.
"""

from __future__ import annotations

import sys
from typing import Any

from .corpus import Array, Corpus, Run


def torch_device_search(
    corpus: Corpus, *, device: str, kind: str = "float32", tf32: bool = False, chunk: int | None = None
) -> Run:
    """Rows on torch's ``device``; scores of all rows at once, or of ``chunk`` rows at a time."""
    import torch

    matrix = torch.as_tensor(corpus.vectors, dtype=getattr(torch, kind), device=device)
    step = chunk or len(matrix)

    def best_of_chunks(given: Any) -> tuple[Any, Any]:
        values, indices = [], []
        for first in range(0, len(matrix), step):
            part = matrix[first : first + step]
            found = (given @ part.T).topk(min(corpus.k, len(part)))
            values.append(found.values)
            indices.append(found.indices + first)
        if len(values) == 1:
            return values[0], indices[0]
        best = torch.cat(values, 1).topk(corpus.k)
        return best.values, torch.cat(indices, 1).gather(1, best.indices)

    def run(queries: Array) -> tuple[Array, Array]:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        try:
            given = torch.as_tensor(queries, dtype=matrix.dtype, device=device)
            values, indices = best_of_chunks(given)
            return values.float().cpu().numpy(), indices.cpu().numpy()
        finally:
            torch.set_float32_matmul_precision(before)

    return run


def torch_lacks(device: str) -> str | None:
    """What this torch lacks to compute on a device, or None."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        return f"torch {torch.__version__} finds no device"
    return None


def torch_rows(vectors: Array, device: str) -> Any:
    """Float32 rows as a tensor on torch's ``device``."""
    import torch

    return torch.as_tensor(vectors, device=device)


def cupy_search(corpus: Corpus) -> Run:
    """All scores at once, and a sort."""
    import cupy

    matrix = cupy.asarray(corpus.vectors)

    def run(queries: Array) -> tuple[Array, Array]:
        scores = cupy.asarray(queries) @ matrix.T
        indices = cupy.argsort(scores, axis=1)[:, : -corpus.k - 1 : -1]  # its argpartition sorts all, too
        return cupy.asnumpy(cupy.take_along_axis(scores, indices, axis=1)), cupy.asnumpy(indices)

    return run


def out_of_memory() -> tuple[type[BaseException], ...]:
    """The errors that say that the memory of a device does not suffice; CuPy raises a MemoryError."""
    torch = sys.modules.get("torch")
    return (MemoryError,) if torch is None else (MemoryError, torch.cuda.OutOfMemoryError)


def free_device_memory() -> None:
    """Free the memory that libraries keep for themselves on a device."""
    torch, cupy = (sys.modules.get(name) for name in ("torch", "cupy"))
    if torch is not None:
        torch.cuda.empty_cache()  # does nothing where there is no device
    if cupy is not None:
        cupy.get_default_memory_pool().free_all_blocks()
