"""Embeddings of any kind as NumPy arrays or tensors. PyTorch is loaded only to make a tensor."""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from .._refusal import check_finite

Array = npt.NDArray[Any]

_SHARED = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64), np.dtype(np.int32))
"""Types whose arrays PyTorch uses as they are."""


@functools.cache
def pytorch() -> Any:
    """The module ``torch``."""
    try:
        import torch
    except ModuleNotFoundError as missing:
        if missing.name != "torch":
            raise
        raise ModuleNotFoundError(
            "these scores are tensors of PyTorch, which is not installed: pip install 'fastvec[torch]', or "
            "import the function from fastvec.integrations.sentence_transformers.numpy, for NumPy arrays",
            name="torch",
        ) from None
    return torch


def is_tensor(value: object) -> bool:
    """Whether a value is a tensor of PyTorch; if PyTorch is not loaded, no value is."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_sparse(value: Any) -> bool:
    """Whether a value is a tensor that is not dense."""
    return is_tensor(value) and bool(value.layout != sys.modules["torch"].strided)


def host(value: Any) -> Any:
    """A tensor, or a list of tensors stacked; any other value as an array."""
    if isinstance(value, list | tuple) and any(map(is_tensor, value)):
        return sys.modules["torch"].stack([tensor(row) for row in value])
    return value if is_tensor(value) else array(value)


def array(value: Any) -> Array:
    """Embeddings or scores as a dense NumPy array in this computer's memory."""
    if isinstance(value, list | tuple) and any(map(is_tensor, value)):
        value = host(value)
    if is_tensor(value):
        numbers = plain(value) if value.dtype in _plain_types() else None
        if numbers is not None:
            return numbers  # the usual case, in few steps
        value = value.detach().cpu()
        if is_sparse(value):
            value = value.to_dense()
        small = value.is_floating_point() and value.element_size() < 4
        value = (value.float() if small else value).resolve_neg().numpy()
    result: Array = np.asarray(value)
    if result.dtype == object and result.ndim == 1 and len(result):  # a column whose entries are rows
        result = np.stack([array(row) for row in result])
    # float16, and the small types that other packages add to NumPy.
    wanted = result.dtype == np.float16 or result.dtype.isbuiltin == 2
    return result.astype(np.float32) if wanted else result


@functools.cache
def _plain_types() -> frozenset[Any]:
    """PyTorch's types that NumPy has, too."""
    torch = pytorch()
    return frozenset((torch.float32, torch.float64, torch.int64, torch.int32))


def rows(value: Any) -> Array:
    """Embeddings as a matrix; a single one becomes a row."""
    matrix = array(value)
    return matrix[None] if matrix.ndim == 1 else matrix


def corpus_rows(value: Any) -> Array:
    """Embeddings as a matrix; a single one becomes a row, and an empty list no rows."""
    matrix = array(value)
    return matrix[None] if matrix.ndim == 1 and matrix.size else matrix


def tensor(value: Any) -> Any:
    """The value as a tensor; arrays are used in place unless they are read-only."""
    if is_tensor(value):
        return value
    if isinstance(value, np.ndarray) and value.dtype in _SHARED and value.flags.carray:
        return pytorch().from_numpy(value)
    leaf, value = value, host(value)
    if is_tensor(value):
        return value
    while isinstance(leaf, list | tuple) and leaf:
        leaf = leaf[0]
    # Python's numbers become float32, as PyTorch has it.
    dtype = np.float32 if type(leaf) is float else value.dtype.newbyteorder("=")
    return pytorch().from_numpy(np.array(value, dtype, order="C"))


def scored(value: Any) -> Any:
    """Embeddings as a tensor of at least 32 bits a number."""
    value = tensor(value)
    small = value.element_size() < 4 and value.is_floating_point()
    return value.float() if small else value


def plain(value: Any) -> Array | None:
    """The numbers of a tensor; None if it needs a gradient, is sparse, or is on a device."""
    torch = pytorch()
    if value.requires_grad:
        if torch.is_grad_enabled():
            return None
        value = value.detach()
    if not value.is_cpu or value.layout is not torch.strided or value.is_neg():
        return None
    numbers: Array = value.numpy()
    return numbers


def named(error: ValueError, *inputs: tuple[Array, str]) -> ValueError:
    """The error to raise if fastvec refused these inputs: it names the row that is not finite, if one is."""
    try:
        for matrix, name in inputs:
            check_finite(matrix, name)
    except ValueError as other:
        return other
    return error
