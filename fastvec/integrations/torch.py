"""``torch.topk``, with a fixed order of equal entries.

In code with

    from torch import topk

only the import changes:

    from fastvec.integrations.torch import topk

Values, types and errors are those of PyTorch: NaN is above all numbers, and gradients flow to the selected
entries. Deliberate differences: of equal entries the one with the lowest index comes first (PyTorch
promises no order, and lists them in several), and the result is sorted even with ``sorted=False``.
"""

from __future__ import annotations

import operator
import sys
from typing import Any

import fastvec

__all__ = ["topk"]


def topk(
    input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True, *, out: Any = None
) -> Any:
    """The k largest (or smallest) entries of a tensor along a dimension; of equal ones the lowest indices.

    A tensor of one or two dimensions in this computer's memory is read in place, whatever its strides. One
    on a device is copied to this computer's memory; the result is on the device.

    Args:
        input: a tensor of real numbers.
        k: entries to select, from 0 to the length of the dimension.
        dim: the dimension.
        largest: False selects the smallest; NaN is larger than all numbers.
        sorted: not used; the entries are sorted.
        out: a tensor for the values and an int64 one for the indices.

    Returns:
        ``torch.return_types.topk``: the values, best first, and their indices (int64).

    Raises:
        RuntimeError: if k is out of range, or for bool and complex tensors.
        IndexError: if there is no such dimension.
        TypeError: if ``input`` is not a tensor, or k is not an integer.

    Example:
        >>> import torch  # doctest: +SKIP
        >>> topk(torch.tensor([0.1, 0.9, 0.9, 0.4]), 3).indices  # doctest: +SKIP
        tensor([1, 2, 3])
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(input, torch.Tensor):
        raise TypeError(f"input is a {type(input).__name__}; it must be a tensor of PyTorch")
    if input.dtype == torch.bool or input.is_complex():
        raise RuntimeError(f"input is {input.dtype}; it must be real numbers")
    numbers = torch.atleast_1d(input.detach()).movedim(dim, -1)
    k = operator.index(k)
    if not 0 <= k <= numbers.shape[-1]:
        raise RuntimeError(f"k is {k}; it must be from 0 to {numbers.shape[-1]}, the length of the dimension")
    shape = (*numbers.shape[:-1], k)
    if k == 0 or numbers.numel() == 0:
        indices = torch.empty(shape, dtype=torch.int64)
    else:
        rows = numbers.reshape(-1, numbers.shape[-1]) if numbers.dim() != 2 else numbers
        indices = torch.from_numpy(_selected(torch, rows.cpu(), k, largest)).reshape(shape)
    indices = indices.to(input.device).movedim(-1, dim)
    if input.dim() == 0 and k == 1:
        indices = indices[0]
    source = input if input.dim() else input.reshape(indices.shape if k else (1,))
    if out is None:
        return torch.return_types.topk((torch.gather(source, dim, indices), indices))
    values, places = out
    if places.dtype != torch.int64:
        raise RuntimeError(f"the second tensor of out is {places.dtype}; it must be torch.int64")
    torch.gather(source, dim, indices, out=values)
    torch.add(indices, 0, out=places)
    return torch.return_types.topk_out((values, places))


def _selected(torch: Any, rows: Any, k: int, largest: bool) -> Any:
    """The indices of the best of each row."""
    try:
        return fastvec.topk(rows, k, largest=largest).indices
    except ValueError:
        if not bool(torch.isnan(rows).any()):
            raise
    # Bits of floats rank like integers once those of negative numbers are turned around; −0.0 becomes 0.0.
    rows = (rows.float() if rows.element_size() < 8 else rows) + 0.0
    wide = rows.dtype == torch.float64
    most = torch.iinfo(torch.int64 if wide else torch.int32).max
    bits = rows.view(torch.int64 if wide else torch.int32)
    keys = torch.where(bits < 0, bits ^ most, bits).masked_fill_(torch.isnan(rows), most)
    return fastvec.topk(keys, k, largest=largest).indices
