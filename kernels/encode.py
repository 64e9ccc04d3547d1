"""Rows to 8-bit codes with a scale and a measured error; queries packed for the micro-kernels.

Layout of encoded rows, dimensions padded with zeros to a multiple of 64:

    codes   [row 0: c₀ c₁ … c_d 0 0] [row 1: …] …   bytes offset by 128, 64-byte aligned
    scale   float32 a row: unit row ≈ scale · c
    error   float32 a row: bounds ‖unit row − scale · c‖  (see ``bound.py``)
    norm    float64 a row: ‖row‖

A prefix of the dimensions is a prefix of every row, so a search at fewer dimensions
reads the same codes; its errors and norms are measured once.

Layout of a packed block of 16 queries, 64 bytes a step of four dimensions:

    [q0: d0 d1 d2 d3][q1: d0 d1 d2 d3] … [q15: …]   [q0: d4 d5 d6 d7] …
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import rows, simd, threads
from .bound import MEASURED_SLACK
from .compile import inline, kernel

ALIGNMENT = 64
SPARE_ROWS = 64
"""Rows that may be read past the last one: a tile may reach past the end."""

NO_CODES = np.float32(1.0 + 2.0**-10)
"""An error so large says that codes are not used, of a prefix or beside a direction: the scale is 0."""

_LEVELS = 127
_NONE = np.empty(0)


class Encoded(NamedTuple):
    """Encoded rows. Fields as in the module's text."""

    codes: np.ndarray
    scale: np.ndarray
    error: np.ndarray
    norm: np.ndarray
    whole: np.ndarray = _NONE
    """Of a prefix: float64 norms of the whole rows, to which ``scale`` refers. Else empty."""


def aligned(size: int) -> np.ndarray:
    """Uninitialized bytes whose address is a multiple of 64."""
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]


def padded(dims: int) -> int:
    """Bytes of a row of codes."""
    return -(-dims // ALIGNMENT) * ALIGNMENT


def empty(n: int, dims: int) -> Encoded:
    """Room for n encoded rows."""
    codes = aligned((n + SPARE_ROWS) * padded(dims)).reshape(-1, padded(dims))
    return Encoded(codes, np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n))


def encode(vectors: np.ndarray, into: Encoded, num_threads: int, levels: int = _LEVELS) -> int:
    """Encode a float32 matrix with contiguous rows; return the first row not finite, or −1."""
    n, dims = vectors.shape
    source = (vectors.ctypes.data, vectors.strides[0], dims, levels)
    target = (into.codes.ctypes.data, into.codes.strides[0], into.scale, into.error, into.norm)
    parts = rows.blocks(n, 4 * dims, num_threads)
    held = (vectors, into.codes)
    found = threads.run(lambda part: _encode_rows(*part, *source, *target), parts, num_threads, *held)
    return rows.first_bad(found)


@kernel
def _encode_rows(start, stop, vectors, stride, dims, levels, codes, code_stride, scale, error, norm):
    return _encode(start, stop, vectors, stride, dims, levels, codes, code_stride, scale, error, norm)


@inline
def _encode(start, stop, vectors, stride, dims, levels, codes, code_stride, scale, error, norm):
    scratch = np.empty(dims, np.float32)
    for i in range(start, stop):
        x, c = vectors + i * stride, codes + i * code_stride
        squares, largest = _squares_and_largest(x, dims)
        if not squares < np.inf:
            return i
        norm[i] = np.sqrt(squares)
        _clear_tail(c, dims, code_stride)
        if largest == 0.0:
            for d in range(0, code_stride, 64):
                simd.store_codes(c + d, simd.zero())
                simd.store_codes(c + d + 32, simd.zero())
            scale[i], error[i] = 0.0, 0.0
            continue
        length = norm[i]
        if largest < 2.0**-20 or largest > 2.0**20:
            power = math.ldexp(1.0, -math.frexp(np.float64(largest))[1])
            for d in range(dims):
                scratch[d] = np.float32(np.float64(simd.load_scalar(x + 4 * d)) * power)
            x = scratch.ctypes.data
            length *= power
            largest = np.float32(np.float64(largest) * power)
        step = largest / np.float32(levels)
        residual = _quantize(x, dims, c, np.float32(levels) / largest, step)
        scale[i] = np.float32(np.float64(step) / length)
        error[i] = _rounded_error(residual, length, dims)
    return -1


@inline
def _rounded_error(residual, length, dims):
    """ε from E² and the norm."""
    growth = 1.0 + (dims / 32 + 8) * 2.0**-24
    return np.float32(np.sqrt(residual) / length * growth + MEASURED_SLACK)


@inline
def _squares_and_largest(x, dims):
    """Σ x² and max |x| in one pass."""
    total, largest = simd.zero_wide(), simd.zero()
    whole = dims - dims % 32
    for d in range(0, whole, 32):
        value = simd.load(x + 4 * d)
        wide = simd.widen(value)
        total = simd.add_product(total, wide, wide)
        largest = simd.maximum(simd.absolute(value), largest)
    if whole < dims:
        value = simd.load_first(x + 4 * whole, dims - whole)
        wide = simd.widen(value)
        total = simd.add_product(total, wide, wide)
        largest = simd.maximum(simd.absolute(value), largest)
    return simd.tree_sum(total), simd.tree_max(largest)


@inline
def _clear_tail(c, dims, code_stride):
    """Zero the last 64 codes, where the padding is; what belongs there is written later."""
    simd.store_codes(c + code_stride - 64, simd.zero())
    simd.store_codes(c + code_stride - 32, simd.zero())


@inline
def _quantize(x, dims, c, inverse, step):
    """Write the codes of a row; return E²."""
    factor, back = simd.broadcast(inverse), simd.broadcast(step)
    total = simd.zero()
    whole = dims - dims % 32
    for d in range(0, whole, 32):
        value = simd.load(x + 4 * d)
        code = simd.nearest(simd.mul(value, factor))
        simd.store_codes(c + d, code)
        rest = simd.sub(value, simd.mul(code, back))
        total = simd.add(total, simd.mul(rest, rest))
    if whole < dims:
        value = simd.load_first(x + 4 * whole, dims - whole)
        code = simd.nearest(simd.mul(value, factor))
        simd.store_codes(c + whole, code)
        rest = simd.sub(value, simd.mul(code, back))
        total = simd.add(total, simd.mul(rest, rest))
    return simd.tree_sum(simd.widen(total))


def encode_int8(vectors: np.ndarray, into: Encoded, num_threads: int) -> None:
    """Encode int8 rows with contiguous numbers: the codes are the values themselves, and 1/norm is the scale.

    There is no error but that of rounding the scale to float32, 2⁻²⁴ at most: less than half of the slack.
    """
    n, dims = vectors.shape
    at, stride = vectors.ctypes.data, vectors.strides[0]

    def encode_rows(part: tuple[int, int]) -> None:
        some, codes = slice(*part), into.codes
        codes[some, dims:] = 128
        np.bitwise_xor(vectors[some].view(np.uint8), 128, out=codes[some, :dims])
        rows.int8_norms(*part, at, stride, dims, into.norm)

    threads.run(encode_rows, rows.blocks(n, 2 * dims, num_threads), num_threads, vectors, into.codes)
    there = into.norm[:n] > 0.0
    into.scale[:n], into.error[:n] = 0.0, np.where(there, MEASURED_SLACK, 0.0)
    into.scale[:n][there] = 1.0 / into.norm[:n][there]


def prefix_int8(vectors: np.ndarray, whole: Encoded, dims: int, num_threads: int) -> Encoded:
    """``prefix`` of int8 rows, whose codes have no error."""
    n = len(vectors)
    norm, source = np.empty(n), (vectors.ctypes.data, vectors.strides[0], dims)
    parts = rows.blocks(n, dims, num_threads)
    threads.run(lambda part: rows.int8_norms(*part, *source, norm), parts, num_threads, vectors)
    error = np.where(norm > 0.0, MEASURED_SLACK, 0.0).astype(np.float32)
    return whole._replace(error=error, norm=norm, whole=whole.norm)


def gather(encoded: Encoded, rows: np.ndarray, into: Encoded) -> Encoded:
    """Copy some encoded rows side by side; return them as they lie in ``into``."""
    count, room = len(rows), into._replace(whole=np.empty(len(rows)) if len(encoded.whole) else encoded.whole)
    for source, target in zip(encoded, room, strict=True):
        if len(source):
            np.take(source, rows, axis=0, out=target[:count], mode="clip")
    return room


def prefix(vectors: np.ndarray, whole: Encoded, dims: int, num_threads: int) -> Encoded:
    """The same codes seen as encoded rows of the first ``dims`` dimensions."""
    return prefix_by(_measure_prefix, (dims,), vectors, whole, num_threads)


def prefix_by(
    measure: Callable[..., None],
    what: tuple[Any, ...],
    vectors: np.ndarray,
    whole: Encoded,
    num_threads: int,
) -> Encoded:
    """A prefix whose errors and norms a kernel measures: of ``what``, the number of dimensions first."""
    n, dims = len(vectors), what[0]
    error, norm = np.empty(n, np.float32), np.empty(n)
    source = (vectors.ctypes.data, vectors.strides[0], *what)
    target = (whole.codes.ctypes.data, whole.codes.strides[0], whole.scale, whole.norm, error, norm)
    parts = rows.blocks(n, 4 * dims, num_threads)
    held = (vectors, whole.codes)
    threads.run(lambda part: measure(*part, *source, *target), parts, num_threads, *held)
    return whole._replace(error=error, norm=norm, whole=whole.norm)


@kernel
def _measure_prefix(start, stop, vectors, stride, dims, codes, code_stride, scale, whole, error, norm):
    for i in range(start, stop):
        x, c = vectors + i * stride, codes + i * code_stride
        norm[i] = np.sqrt(rows.sum_of_squares(x, dims))
        if norm[i] == 0.0:
            error[i] = 0.0
            continue
        # In float64, where rows of any magnitude fit without a power of two.
        step = np.float64(scale[i]) * whole[i]
        total = 0.0
        for d in range(dims):
            code = np.float64(np.int64(simd.load_unsigned(c + d)) - 128)
            rest = np.float64(simd.load_scalar(x + 4 * d)) - step * code
            total += rest * rest
        error[i] = _rounded_error(total, norm[i], dims)
        # Where the codes are no nearer to the row than zero is, zero stands for the row
        # (if they are all zero, its scale would have no limit).
        if error[i] >= 1.0:
            error[i] = NO_CODES


@inline
def unit_scale(encoded, i):
    """float64 scale of a unit row, of the prefix if it is one."""
    if len(encoded.whole) == 0:
        return np.float64(encoded.scale[i])
    if encoded.norm[i] == 0.0 or encoded.error[i] >= NO_CODES:
        return 0.0
    return np.float64(encoded.scale[i]) * (encoded.whole[i] / encoded.norm[i])


class Queries(NamedTuple):
    """Packed queries; all fields but ``codes`` and ``packed`` are a value a query."""

    codes: np.ndarray
    """Signed bytes, one query after another."""
    packed: np.ndarray
    """Blocks of 16; filled up with zero queries to whole tiles."""
    correction: np.ndarray
    """int32: −128 · Σ codes, filled up likewise."""
    scale: np.ndarray
    error: np.ndarray
    norm: np.ndarray

    def part(self, first: int, last: int) -> "Queries":
        """Some of the queries; what is packed begins and ends at the border of a block of 16."""
        end = -(-last // 16) * 16
        width = self.codes.shape[1]
        return Queries(
            self.codes[first:last],
            self.packed[first * width : end * width],
            self.correction[first:end],
            self.scale[first:last],
            self.error[first:last],
            self.norm[first:last],
        )


def pack(queries: np.ndarray, levels: int, tile_queries: int, num_threads: int) -> Queries:
    """Encode float32 queries (m, dims), all finite, for tiles of ``tile_queries``; 0: not packed."""
    encoded = empty(*queries.shape)
    return packed(encoded, len(queries), tile_queries, encode(queries, encoded, num_threads, levels))


def packed(encoded: Encoded, m: int, tile_queries: int, bad: int) -> Queries:
    """Queries from m encoded rows, of which ``bad`` was not finite, or −1."""
    if bad >= 0:
        raise changed()
    codes, tiles, correction = packed_codes(encoded.codes[:m], tile_queries)
    scale = encoded.scale.astype(np.float64)
    scale[scale == 0.0] = 1.0  # a zero query: its codes are zero, and 1/scale is finite
    return Queries(codes, tiles, correction, scale, encoded.error.astype(np.float64), encoded.norm)


def changed() -> RuntimeError:
    """The error for queries that are not finite, but were a moment ago."""
    return RuntimeError("queries changed while they were searched; do not write to them during a search")


def packed_codes(encoded: np.ndarray, tile_queries: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes of queries as signed bytes; packed for tiles of ``tile_queries``, or not if 0; corrections."""
    m, width = encoded.shape
    room = -(-m // max(1, tile_queries)) * max(1, tile_queries)
    codes = aligned(room * width).reshape(room, width)
    np.bitwise_xor(encoded, 128, out=codes[:m])
    codes[m:] = 0
    codes = codes.view(np.int8)
    packed = aligned(room * width if tile_queries else 0).view(np.int8)
    if tile_queries:
        blocks = codes.view(np.int32).reshape(room // 16, 16, width // 4).swapaxes(1, 2)
        packed.view(np.int32).reshape(room // 16, width // 4, 16)[:] = blocks
    correction = aligned(4 * room).view(np.int32)  # AMX loads whole lines of them
    np.multiply(codes.sum(axis=1, dtype=np.int32), -128, out=correction)
    return codes, packed, correction


class Room(NamedTuple):
    """Memory for a few queries that are encoded within compiled code."""

    encoded: Encoded
    queries: Queries
    """Its codes are those of ``encoded``."""


def room_for(m: int, dims: int) -> Room:
    """Room for m queries, which are not packed."""
    width = padded(dims)
    codes, norm = aligned(m * width).reshape(m, width), np.empty(m)
    signed = codes.view(np.int8)
    encoded = Encoded(codes, np.empty(m, np.float32), np.empty(m, np.float32), norm)
    return Room(encoded, Queries(signed, signed[0], np.empty(m, np.int32), np.empty(m), np.empty(m), norm))


@inline
def few_room(m, dims):
    """``room_for`` in compiled code."""
    width = (dims + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    memory, norm = np.empty(m * width + ALIGNMENT, np.uint8), np.empty(m)
    start = -memory.ctypes.data % ALIGNMENT
    codes = memory[start : start + m * width].reshape(m, width)
    signed = codes.view(np.int8)
    encoded = Encoded(codes, np.empty(m, np.float32), np.empty(m, np.float32), norm, np.empty(0))
    return Room(encoded, Queries(signed, signed[0], np.empty(m, np.int32), np.empty(m), np.empty(m), norm))


@inline
def encode_few(originals, levels, room):
    """``pack`` for a few queries, all finite, into ``room``."""
    codes, scale, error = room.encoded.codes, room.encoded.scale, room.encoded.error
    m, width = codes.shape
    target, norm, dims = codes.ctypes.data, room.encoded.norm, originals.dims
    first = np.int64(0)  # a literal would compile another version
    _encode(first, m, originals.queries, originals.stride, dims, levels, target, width, scale, error, norm)
    queries = room.queries
    sign_few(codes, scale, error, queries.correction, queries.scale, queries.error)


@inline
def sign_few(codes, scale, error, correction, unit, unit_error):
    """Codes as bytes offset by 128 become signed; the measures of queries follow."""
    m, width = codes.shape
    for i in range(m):
        total = np.int64(0)
        for d in range(width):
            total += np.int64(codes[i, d]) - 128
            codes[i, d] ^= np.uint8(128)
        correction[i] = -128 * total
        unit[i] = scale[i] if scale[i] > 0.0 else np.float32(1.0)
        unit_error[i] = error[i]
