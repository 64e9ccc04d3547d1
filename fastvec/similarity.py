"""Matrices of similarities, and the operations on rows that they need."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _arguments, _arrays, _memory
from .kernels import dense, rows, threads
from .kernels.compile import default_mode


def normalize(
    vectors: npt.ArrayLike, *, out: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """Rows scaled to unit Euclidean length; zero rows stay zero.

    Norms are summed in float64, so rows of 1e30 or 1e-30 come out right. Rows are multiplied
    in float64 by 1/norm, and the product is rounded once: it is the correctly rounded quotient, except
    for about one value in 2²⁸, which is the float32 next to it.

    Args:
        vectors: (n, dims), real numbers; float64 is rounded to float32 first.
        out: float32 (n, dims) to write to, C-contiguous; it may be ``vectors`` itself.

    Returns:
        float32 (n, dims).

    Raises:
        ValueError: if a vector has NaN or inf (the message names the row; ``out`` is written in part), if
            float32 cannot hold a float64 row, or for a wrong shape.
        TypeError: if the vectors are not real numbers.

    Example:
        >>> import fastvec
        >>> fastvec.normalize([[3.0, 4.0], [0.0, 0.0]])
        array([[0.6, 0.8],
               [0. , 0. ]], dtype=float32)
        >>> fastvec.normalize([[3.0, 4.0]])[0]  # a single vector
        array([0.6, 0.8], dtype=float32)
    """
    source = _arguments.matrix(vectors, "vectors")
    target = None if out is None else _arguments.out(out, source.shape)
    if target is not None:
        _arguments.apart(target, ("vectors", source), same=True)
    written = _written(rows.unit_rows, source, target)
    return written if out is None else out


def truncate(
    vectors: npt.ArrayLike,
    dims: int,
    *,
    renormalize: bool = True,
    out: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float32]:
    """The first ``dims`` columns, scaled to unit length again: Matryoshka truncation.

    Models trained for it keep most of their quality at a fraction of the width. OpenAI's
    text-embedding-3 family is an example, as is any model with Matryoshka representation learning
    (Kusupati et al. 2022, https://arxiv.org/abs/2205.13147).

    Args:
        vectors: (n, width), real numbers.
        dims: columns to keep, from 1 to width.
        renormalize: scale rows to unit length; if false, the columns are only copied.
        out: float32 (n, dims) to write to, C-contiguous; it must not overlap ``vectors``.

    Returns:
        float32 (n, dims), never a view of ``vectors``.

    Raises:
        ValueError: if ``dims`` is out of range, if the first ``dims`` columns have NaN or inf (``out`` is
            written in part), or for a wrong shape.
        TypeError: if the vectors are not real numbers, or ``dims`` is not an integer.

    Example:
        >>> import fastvec
        >>> fastvec.truncate([[3.0, 4.0, 12.0]], 2)
        array([[0.6, 0.8]], dtype=float32)
    """
    array = _arrays.any_array(vectors, "vectors")
    width = array.shape[1] if array.ndim == 2 else 0
    if width:
        dims = _arguments.prefix(dims, width)
        array = array[:, :dims]
    source, renormalize = _arguments.matrix(array, "vectors"), _arguments.flag(renormalize, "renormalize")
    target = None if out is None else _arguments.out(out, source.shape)
    if target is not None:
        _arguments.apart(target, ("vectors", source))
    written = _written(rows.unit_rows if renormalize else rows.finite_rows, source, target)
    return written if out is None else out


def _written(
    write: Callable[..., int], source: npt.NDArray[np.float32], out: npt.NDArray[np.float32] | None
) -> npt.NDArray[np.float32]:
    target = _memory.result(source.shape, np.float32, "rows") if out is None else out
    _arguments.refuse_row(write(source, target, threads.get_num_threads()), source, "vectors")
    return target


def unpack_bits(packed: npt.ArrayLike, dims: int | None = None) -> npt.NDArray[np.int8]:
    """Packed binary embeddings as rows of −1 and 1, eight dimensions a byte.

    Servers return binary embeddings packed, as NumPy's ``packbits`` does it: "ubinary" as uint8, "binary" as
    int8, which is 128 less. Rows of −1 and 1 are searched like any others. With the metrics "dot" and
    "cosine", they are ranked by their Hamming distance, which is (dims − dot) / 2. A dimension takes a byte,
    eight times what it takes packed, and an ``Index`` needs as much again for its codes.

    Args:
        packed: (n, bytes) or (bytes,), uint8 or int8; the highest bit of a byte is its first dimension.
        dims: the dimensions, if the last byte is not full; None: eight times the bytes.

    Returns:
        int8 (n, dims) or (dims,): 1 where a bit is set, −1 where it is not.

    Raises:
        TypeError: if ``packed`` is of another dtype: of a list, make an array of the type that was asked for.
        ValueError: for a wrong shape, or if ``dims`` does not fit the bytes.

    Example:
        >>> import fastvec, numpy
        >>> fastvec.unpack_bits(numpy.array([[0b10100000]], numpy.uint8), 4)
        array([[ 1, -1,  1, -1]], dtype=int8)
    """
    array = _arrays.any_array(packed, "packed")
    if array.dtype not in (np.uint8, np.int8):
        raise TypeError(
            f'packed has dtype {array.dtype}; it must be uint8 (as "ubinary" embeddings) or int8 (as '
            '"binary" ones): np.array(…, np.uint8) makes an array of lists'
        )
    if array.ndim not in (1, 2):
        raise ValueError(f"packed has shape {array.shape}; it must be (n, bytes) or (bytes,)")
    if array.dtype == np.int8:
        array = array.view(np.uint8) ^ np.uint8(128)
    most = 8 * array.shape[-1]
    width = most if dims is None else _arguments.whole_number(dims, "dims", max(1, most - 7), most)
    bits = np.unpackbits(array, axis=-1, count=width).view(np.int8)
    bits *= 2
    bits -= 1
    return bits


def cosine_similarity(
    queries: npt.ArrayLike,
    vectors: npt.ArrayLike | None = None,
    *,
    out: npt.NDArray[Any] | None = None,
) -> npt.NDArray[Any]:
    """Cosine of every query with every vector.

    Values are clipped to [−1, 1]; a zero row scores 0; rows of 1e30 or 1e-30 come out right. If
    ``vectors`` is left out, the result is symmetric, and nonzero rows score exactly 1 with
    themselves. The result is at least as accurate as a float32 matrix product; like that, its last bits
    may differ with the number of queries and the processor. To rank, use the searches (``knn``,
    ``Index``), which are exact.

    Rows are scaled as they are read, and ``out`` is written once: in addition to the inputs and the
    result, which may be a memory-mapped file, this needs less than 64 MB. float64 input is multiplied
    by NumPy's BLAS, which has its own number of threads; so is float32 where there are few products, or
    where the processor has no AVX2.

    Args:
        queries: (m, dims) or (dims,), real numbers.
        vectors: (n, dims) or (dims,); None: the queries themselves.
        out: array of the result's shape and dtype to write to, C-contiguous; it must not overlap
            the inputs. If the inputs are refused, it is unchanged.

    Returns:
        (m, n), without m for a one-dimensional query, and without n for one-dimensional ``vectors``: a
        number for two single vectors; float64 if either input is float64, else float32.

    Raises:
        ValueError: if an input has NaN or inf (the message names argument and row), or shapes do not fit.
        TypeError: if the inputs are not real numbers.
        MemoryError: if there is no memory for the result; the message says how much it takes.

    Example:
        >>> import fastvec
        >>> fastvec.cosine_similarity([[1, 0], [1, 1]], [[2, 0], [0, 0]]).round(4)
        array([[1.    , 0.    ],
               [0.7071, 0.    ]], dtype=float32)
        >>> float(fastvec.cosine_similarity([1, 0], [2, 0]))
        1.0
    """
    query_array = _arrays.any_array(queries, "queries")
    left = _real_matrix(query_array, "queries")
    right, one = None, False
    if vectors is not None:
        vector_array = _arrays.any_array(vectors, "vectors")
        right, one = _real_matrix(vector_array, "vectors"), vector_array.ndim == 1
    if right is not None:
        _arguments.same_width(left, right.shape[1], "queries", "vectors")
        if left.dtype != right.dtype:
            with default_mode():
                left, right = left.astype(np.float64, copy=False), right.astype(np.float64, copy=False)
    columns = left if right is None else right
    shape = (len(left), len(columns))[query_array.ndim == 1 : 1 if one else 2]
    target = None if out is None else _arguments.out(out, shape, left.dtype)
    if target is not None:
        _arguments.apart(target, ("queries", left), ("vectors", columns))
    # `out` must stay unchanged if the input is refused. So a small result is made in an array of its own and
    # copied; before a large one is made, the input is checked in a pass of its own.
    separate = target is None or _is_small(target, left, columns)
    result = _memory.result(shape, left.dtype, "scores") if target is None or separate else target
    count = threads.get_num_threads()
    bad = (-1, -1) if separate else dense.not_finite(left, right, count)
    if bad == (-1, -1):
        bad = dense.cosines(left, right, result.reshape(len(left), len(columns)), count)
    _arguments.refuse_row(bad[0], left, "queries")
    _arguments.refuse_row(bad[1], columns, "queries" if right is None else "vectors")
    if out is None or target is None:
        return result if shape else result[()]
    if separate:
        np.copyto(target, result)
    return out


def _is_small(out: npt.NDArray[Any], *inputs: npt.NDArray[Any]) -> bool:
    """Whether copying a result takes little memory, and little time compared with reading the inputs."""
    return out.nbytes <= min(1 << 25, sum(array.nbytes for array in inputs) // 16)


def _real_matrix(array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """A row, or rows, as a matrix, float64 if they are, else float32; not yet checked for NaN."""
    array = _arguments.two_dimensional(array, name, one_row=True)
    if array.dtype.newbyteorder("=") == np.float64:
        return np.ascontiguousarray(array, np.float64)
    return _arguments.to_float32(array, name)
