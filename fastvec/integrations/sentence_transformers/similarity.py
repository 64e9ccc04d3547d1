"""Scores as tensors: matrices of every row with every row, and pairs of rows."""

from __future__ import annotations

from typing import Any

from . import numpy
from ._inputs import is_sparse, plain, pytorch, scored, tensor

_SMALL = 1 << 22
"""Products in a small matrix, for which differences of rows cost less than dot products in float64."""

_LEAST = 1.401298464324817e-45
"""The smallest float32, by which zero rows are divided."""
_TINY = 1e-300
"""Less than any product of lengths of float32 rows."""


def cos_sim(a: Any, b: Any) -> Any:
    """Cosine of every row of a with every row of b; a zero row scores 0.

    Args:
        a: (m, dims) or (dims,) embeddings.
        b: (n, dims) or (dims,).

    Returns:
        Tensor (m, n), float64 if an input is, else float32.

    Raises:
        ValueError: if an input has NaN or infinity (the message names argument and row), or shapes do not
            fit.
        ModuleNotFoundError: if PyTorch is not installed.
    """
    a, b = _matrices(a, b)
    left, right = plain(a), plain(b)
    if left is not None and right is not None:
        return pytorch().from_numpy(numpy.cosines(left, right))
    return pytorch().mm(normalize_embeddings(a), normalize_embeddings(b).transpose(0, 1)).to_dense()


def pytorch_cos_sim(a: Any, b: Any) -> Any:
    """Another name of ``cos_sim``, with its arguments a and b."""
    return cos_sim(a, b)


def dot_score(a: Any, b: Any) -> Any:
    """Dot product of every row of a with every row of b.

    Args:
        a: (m, dims) or (dims,) embeddings.
        b: (n, dims) or (dims,).

    Returns:
        Tensor (m, n), of the inputs' type; float16 and bfloat16 become float32.

    Raises:
        RuntimeError: if shapes do not fit.
        ModuleNotFoundError: if PyTorch is not installed.
    """
    a, b = _matrices(a, b)
    return pytorch().mm(a, b.transpose(0, 1)).to_dense()


def euclidean_sim(a: Any, b: Any) -> Any:
    """The negative Euclidean distance of every row of a from every row of b; 0 for equal rows.

    Args:
        a: (m, dims) or (dims,) embeddings.
        b: (n, dims) or (dims,).

    Returns:
        Tensor (m, n), float64 if an input is, else float32.

    Raises:
        RuntimeError: if shapes do not fit.
        ModuleNotFoundError: if PyTorch is not installed.
    """
    a, b = _matrices(a, b)
    torch = pytorch()
    if not (is_sparse(a) or is_sparse(b)):
        if a.shape[0] * b.numel() <= _SMALL:
            return -torch.cdist(a, b, p=2.0, compute_mode="donot_use_mm_for_euclid_dist")
        left, right = plain(a), plain(b)
        if left is not None and right is not None:
            return torch.from_numpy(numpy.euclidean_sim(left, right))
        return -torch.cdist(a, b, p=2.0)
    a, b = (rows if is_sparse(rows) else rows.to_sparse() for rows in (a, b))
    wide, other = a.double(), b.double()
    squares = _sum(wide * wide)[:, None] + _sum(other * other)
    squares = squares - 2 * torch.mm(wide, other.transpose(0, 1).coalesce()).to_dense()
    return -squares.clamp(min=0).sqrt().to(a.dtype)


def manhattan_sim(a: Any, b: Any) -> Any:
    """The negative sum of absolute differences of every row of a and every row of b.

    Args:
        a: (m, dims) or (dims,) embeddings.
        b: (n, dims) or (dims,).

    Returns:
        Tensor (m, n), float64 if an input is, else float32.

    Raises:
        ModuleNotFoundError: if PyTorch is not installed.
    """
    a, b = _matrices(a, b)
    return -pytorch().cdist(a.to_dense(), b.to_dense(), p=1.0)


def pairwise_cos_sim(a: Any, b: Any) -> Any:
    """Cosine of each row of a with the row of b at the same place; a zero row scores 0.

    Args:
        a: (n, dims) or (dims,) embeddings.
        b: likewise.

    Returns:
        Tensor (n,), or a tensor of one number for two single rows; float64 if an input is, else float32.
        Sums are float64.

    Raises:
        ModuleNotFoundError: if PyTorch is not installed.
    """
    a, b = _of_one_type(a, b)
    dtype = a.dtype
    a, b = a.double(), b.double()
    lengths = (_length(a) * _length(b)).clamp_min(_TINY)
    return (_sum(a * b) / lengths).clamp(-1, 1).to(dtype)


def pairwise_dot_score(a: Any, b: Any) -> Any:
    """Dot product of each row of a with the row of b at the same place.

    Args:
        a: (n, dims) or (dims,) embeddings.
        b: likewise.

    Returns:
        Tensor (n,), or a tensor of one number for two single rows, of the inputs' type; float16 and bfloat16
        become float32.

    Raises:
        ModuleNotFoundError: if PyTorch is not installed.
    """
    a, b = _of_one_type(a, b)
    return _sum(a * b)


def pairwise_euclidean_sim(a: Any, b: Any) -> Any:
    """The negative Euclidean distance of each row of a from the row of b at the same place.

    Args:
        a: (n, dims) or (dims,) embeddings.
        b: likewise.

    Returns:
        Tensor (n,), or a tensor of one number for two single rows; float64 if an input is, else float32.

    Raises:
        ModuleNotFoundError: if PyTorch is not installed.
    """
    difference = _difference(*_of_one_type(a, b))
    if not difference.is_floating_point():
        difference = difference.float()
    return -_length(difference)


def pairwise_manhattan_sim(a: Any, b: Any) -> Any:
    """The negative sum of absolute differences of each row of a and the row of b at the same place.

    Args:
        a: (n, dims) or (dims,) embeddings.
        b: likewise.

    Returns:
        Tensor (n,), or a tensor of one number for two single rows; float64 if an input is, else float32.

    Raises:
        ModuleNotFoundError: if PyTorch is not installed.
    """
    return -_sum(_difference(*_of_one_type(a, b)).abs())


def pairwise_angle_sim(x: Any, y: Any) -> Any:
    """The AnglE similarity ``|cos + sin|`` of each row of x and the row of y at the same place.

    Of unit rows u and v, each cut into halves (u₁, u₂) and (v₁, v₂), it is
    ``|u·v + u₂·v₁ − u₁·v₂|``; see Li and Li 2023, https://arxiv.org/abs/2309.12871. A zero is added to rows
    of odd length.

    Args:
        x: (n, dims) embeddings.
        y: likewise.

    Returns:
        Tensor (n,), float64 if an input is, else float32.

    Raises:
        ModuleNotFoundError: if PyTorch is not installed.
    """
    x, y = _of_one_type(x, y)
    u, v = normalize_embeddings(x.to_dense()), normalize_embeddings(y.to_dense())
    if u.shape[1] % 2:
        u, v = (pytorch().nn.functional.pad(rows, (0, 1)) for rows in (u, v))
    half = u.shape[1] // 2
    turned = pytorch().cat((v[:, half:].neg(), v[:, :half]), dim=1)
    return (u * (v + turned)).sum(dim=1).abs()


def normalize_embeddings(embeddings: Any) -> Any:
    """Rows of unit Euclidean length; zero rows stay zero. Norms are summed in float64.

    Args:
        embeddings: (…, dims), dense or a sparse COO tensor.

    Returns:
        Tensor of the same shape and type.

    Raises:
        ModuleNotFoundError: if PyTorch is not installed.
    """
    embeddings = tensor(embeddings)
    torch = pytorch()
    if is_sparse(embeddings):
        return _sparse_unit(embeddings)
    dtype = embeddings.dtype
    wide = embeddings if embeddings.element_size() >= 4 else embeddings.float()
    lengths = torch.linalg.vector_norm(wide, dim=-1, keepdim=True, dtype=torch.float64)
    if wide.requires_grad:  # of zero rows, too, gradients are finite
        lengths = lengths.masked_fill(lengths == 0, 1)
    return (wide / lengths.clamp_min(_LEAST).to(wide.dtype)).to(dtype)


def truncate_embeddings(embeddings: Any, truncate_dim: int | None) -> Any:
    """The first columns of the embeddings, as they are: rows are not scaled to unit length again.

    Args:
        embeddings: (…, dims), an array or a tensor; a list becomes a tensor.
        truncate_dim: columns to keep, as in a slice (−1 leaves out the last one); None: all.

    Returns:
        A view of the embeddings.

    Example:
        >>> import numpy as np
        >>> from fastvec.integrations.sentence_transformers import truncate_embeddings
        >>> truncate_embeddings(np.array([[3, 4, 12]]), 2)
        array([[3, 4]])
    """
    if isinstance(embeddings, list | tuple):
        embeddings = tensor(embeddings)
    return embeddings[..., :truncate_dim]


def _sparse_unit(embeddings: Any) -> Any:
    """A sparse COO tensor of one or two dimensions with rows of unit length."""
    matrix = (embeddings if embeddings.dim() > 1 else embeddings.unsqueeze(0)).coalesce()
    place, values = matrix.indices(), matrix.values().double()
    squares = values.new_zeros(matrix.shape[0]).index_add(0, place[0], values * values)
    values = (values / squares.sqrt()[place[0]].clamp_min(_TINY)).to(embeddings.dtype)
    unit = pytorch().sparse_coo_tensor(place, values, matrix.shape, check_invariants=False)
    return unit if embeddings.dim() > 1 else unit[0]


def _matrices(a: Any, b: Any) -> tuple[Any, Any]:
    """Two tensors of rows, of one type of at least 32 bits."""
    a, b = _of_one_type(a, b)
    return (a if a.dim() > 1 else a.unsqueeze(0)), (b if b.dim() > 1 else b.unsqueeze(0))


def _of_one_type(a: Any, b: Any) -> tuple[Any, Any]:
    """Two tensors of one type of at least 32 bits."""
    a, b = scored(a), scored(b)
    if a.dtype is b.dtype:
        return a, b
    dtype = pytorch().promote_types(a.dtype, b.dtype)
    return a.to(dtype), b.to(dtype)


def _sum(values: Any) -> Any:
    return values.sum(dim=-1).to_dense()


def _length(values: Any) -> Any:
    if is_sparse(values):
        return _sum(values * values).sqrt()
    return pytorch().linalg.vector_norm(values, dim=-1)


def _difference(a: Any, b: Any) -> Any:
    """a − b, sparse if one of them is."""
    if is_sparse(a) or is_sparse(b):
        a, b = (value if is_sparse(value) else value.to_sparse() for value in (a, b))
    return a - b
