"""Codes of rows that share a direction: what lies along it is coded apart, and the rest more finely.

Rows of many embeddings point much the same way. With any float32 vector μ, of length about m,

    u = f·μ + y,   a unit row, with y at right angles to μ

    codes   [r … r | c₀ c₁ … c_d 0 0]   s·c ≈ y, and s·Σr/√lead ≈ f·m

A query likewise, with codes d in front that are all the same, so that the integer product over all
codes is about ⟨v, u⟩/(s·t), as it is without a direction: the scan knows nothing of it. The codes
in front are as many as it takes for f·m to fit into them (``lead``, a multiple of 64). They stand in front
so that a prefix of the dimensions is a prefix of every row still. Why no row is lost: ``bound.py``.
"""

import math
from typing import NamedTuple

import numpy as np

from . import encode, rows, simd, threads
from .bound import LONGEST, MEASURED_SLACK, QUERY_ERROR, ROW_ERROR, folded_error
from .compile import inline, kernel
from .encode import ALIGNMENT, NO_CODES, Encoded, Queries, Room

_LEVELS = 127
LEAST_DIMS = 128
"""Dimensions of rows for which a direction may pay, at least."""

_LONGEST_LEAD = 4
"""Codes in front of a row, at most, in units of ``ALIGNMENT``."""
_REACH = 1.2
"""Of the typical length of y: the length for which errors are weighted."""


class Direction(NamedTuple):
    """A direction that rows have in common."""

    vector: np.ndarray
    """μ: float32, one value a dimension."""
    lead: int
    """Codes in front of a row's own."""
    length: float
    """m: about ‖μ‖, of a prefix that of the whole."""
    reach: float
    """T: the usual length of y."""
    whole: bool
    """False: a prefix of the dimensions. Then y is at no right angles, and queries are not divided."""

    def prefix(self, dims: int) -> "Direction":
        """That of the first ``dims`` dimensions."""
        return self._replace(vector=self.vector[:dims], whole=False) if dims < len(self.vector) else self


def measured(vector: np.ndarray, lead: int) -> Direction:
    """The record of a float32 vector μ, the mean of unit rows: what they have beside it is √(1 − m²) long."""
    wide = vector.astype(np.float64)
    squares = float(math.fsum(wide * wide))
    reach = min(1.0, _REACH * math.sqrt(max(0.0, 1.0 - squares)))
    return Direction(np.ascontiguousarray(vector), lead, math.sqrt(squares), reach, True)


def fits(vector: np.ndarray) -> bool:
    """Whether a vector can be a direction: the mean of unit rows, and not a short one."""
    squares = float(np.square(vector, dtype=np.float64).sum())
    return 0.25 <= squares <= 1.001


def lead_for(length: float, largest: float) -> int:
    """How many codes to put in front, where y's largest entries are typically ``largest``.

    With m²/largest² of them they are no larger than the rest's; errors grow slowly with fewer.
    """
    wanted = 0.6 * (length / max(largest, 1e-3)) ** 2
    return ALIGNMENT * max(1, min(_LONGEST_LEAD, round(wanted / ALIGNMENT)))


def width(dims: int, direction: Direction | None) -> int:
    """Codes of a row, padded."""
    return encode.padded(dims) + (0 if direction is None else direction.lead)


def encode_rows(vectors: np.ndarray, into: Encoded, num_threads: int, direction: Direction | None) -> int:
    """``encode.encode``, with a direction if there is one."""
    if direction is None:
        return encode.encode(vectors, into, num_threads)
    return _encode(vectors, into, num_threads, _LEVELS, direction, False)


def pack(
    queries: np.ndarray,
    levels: int,
    tile_queries: int,
    num_threads: int,
    direction: Direction | None = None,
) -> Queries:
    """``encode.pack``, with a direction if there is one."""
    if direction is None:
        return encode.pack(queries, levels, tile_queries, num_threads)
    m = len(queries)
    encoded = encode.empty(m, width(queries.shape[1], direction))
    return encode.packed(
        encoded, m, tile_queries, _encode(queries, encoded, num_threads, levels, direction, True)
    )


def _encode(
    vectors: np.ndarray, into: Encoded, num_threads: int, levels: int, direction: Direction, of_queries: bool
) -> int:
    n, dims = vectors.shape
    source = (vectors.ctypes.data, vectors.strides[0], dims, levels, direction, of_queries)
    target = (into.codes.ctypes.data, into.codes.strides[0], into.scale, into.error, into.norm)
    parts, held = rows.blocks(n, 4 * dims, num_threads), (vectors, into.codes)
    found = threads.run(lambda part: _encode_run(*part, *source, *target), parts, num_threads, *held)
    return rows.first_bad(found)


def fill(room: Room, queries: np.ndarray, levels: int, direction: Direction) -> None:
    """Encode a few float32 queries (m, dims), C-contiguous, into room of their ``width``."""
    encoded, signed = room.encoded, room.queries
    _encode_few(
        queries.ctypes.data,
        queries.strides[0],
        queries.shape[1],
        levels,
        direction,
        encoded.codes,
        encoded.scale,
        encoded.error,
        encoded.norm,
        signed.correction,
        signed.scale,
        signed.error,
    )


def full(room: Room) -> Room:
    """Room whose queries are encoded here: compiled code has none left to encode."""
    return room._replace(encoded=room.encoded._replace(codes=room.encoded.codes[:0]))


@kernel
def _encode_few(
    queries, stride, dims, levels, direction, codes, scale, error, norm, correction, unit, unit_error
):
    m, width = codes.shape
    first, target = np.int64(0), codes.ctypes.data
    _encode_divided(
        first, m, queries, stride, dims, levels, direction, True, target, width, scale, error, norm
    )
    encode.sign_few(codes, scale, error, correction, unit, unit_error)


@kernel
def _encode_run(
    start, stop, vectors, stride, dims, levels, direction, of_queries, codes, code_stride, scale, error, norm
):
    return _encode_divided(
        start,
        stop,
        vectors,
        stride,
        dims,
        levels,
        direction,
        of_queries,
        codes,
        code_stride,
        scale,
        error,
        norm,
    )


@inline
def _encode_divided(
    start, stop, vectors, stride, dims, levels, direction, of_queries, codes, code_stride, scale, error, norm
):
    scratch, ones = np.empty(dims, np.float32), np.empty(direction.lead, np.float32)
    mean, lead, length = direction.vector.ctypes.data, direction.lead, direction.length
    root = np.sqrt(np.float64(lead))
    divided = direction.whole or not of_queries
    for i in range(start, stop):
        x, c = vectors + i * stride, codes + i * code_stride
        squares, largest = encode._squares_and_largest(x, dims)
        if not squares < np.inf:
            return i
        norm[i] = np.sqrt(squares)
        _clear(c, code_stride)
        scale[i], error[i] = 0.0, 0.0
        if largest == 0.0:
            continue
        own = norm[i]
        if largest < 2.0**-20 or largest > 2.0**20:
            power = math.ldexp(1.0, -math.frexp(np.float64(largest))[1])
            rows.write_scaled(x, power, dims, scratch.ctypes.data)
            x = scratch.ctypes.data
            own *= power
            largest = np.float32(np.float64(largest) * power)
        along = rows.dot(x, mean, dims) / length
        edge = abs(along) / root
        share = np.float32(along / length if divided else 0.0)
        rest = _largest_rest(x, mean, dims, share)
        if of_queries:
            # As many units in each code in front as the step for the rest allows; then the step is such
            # that these are the very length along the direction.
            units = min(np.float64(levels), np.floor(edge * levels / max(np.float64(rest), edge * 2.0**-20)))
            step = np.float32(edge / units if units > 0.0 else np.float64(largest) / levels)
            total = np.copysign(units * lead, along)
        else:
            step, most = np.float32(max(np.float64(rest), edge) / levels), np.float64(levels) * lead
            total = min(most, max(-most, np.rint(along * root / np.float64(step))))
        scale[i] = np.float32(np.float64(step) / own)
        off = abs(along / own - np.float64(scale[i]) * total / root)
        share = np.float32(np.float64(step) * total / (root * length) if divided else 0.0)
        _write_lead(c, total, lead, ones)
        residual = _quantize_rest(x, mean, dims, share, c + lead, np.float32(1.0) / step, step)
        growth = 1.0 + (dims / 32 + 8) * 2.0**-24
        rough = np.sqrt(residual) / own * growth + MEASURED_SLACK
        beside = np.sqrt(max(0.0, 1.0 - (along / own) ** 2 + off * off))
        if of_queries:
            error[i] = _query_error(rough, beside, off, direction)
        else:
            error[i] = folded_error(
                rough, beside + rough, direction.reach, ROW_ERROR, QUERY_ERROR, 1.25 * off
            )
        if error[i] >= 1.0:
            _clear(c, code_stride)
            scale[i], error[i] = 0.0, NO_CODES
    return -1


@inline
def _query_error(rough, beside, off, direction):
    if not direction.whole:
        return folded_error(rough, 0.0, direction.reach, QUERY_ERROR, ROW_ERROR, 2.0 * off)
    if 3.0 * off > 1.0:
        return 1.0
    return folded_error(rough, beside, direction.reach, QUERY_ERROR, ROW_ERROR, off)


@inline
def _clear(c, code_stride):
    for d in range(0, code_stride, 32):
        simd.store_codes(c + d, simd.zero())


@inline
def _largest_rest(x, mean, dims, share):
    """max |x − share · μ|."""
    factor, largest = simd.broadcast(share), simd.zero()
    for d in range(0, dims, 32):
        count = min(32, dims - d)
        value = simd.load_first(x + 4 * d, count)
        part = simd.mul(simd.load_first(mean + 4 * d, count), factor)
        largest = simd.maximum(simd.absolute(simd.sub(value, part)), largest)
    return simd.tree_max(largest)


@inline
def _quantize_rest(x, mean, dims, share, c, inverse, step):
    """Write the codes of x − share · μ; return E²."""
    along, factor, back = simd.broadcast(share), simd.broadcast(inverse), simd.broadcast(step)
    total = simd.zero()
    for d in range(0, dims, 32):
        count = min(32, dims - d)
        value = simd.load_first(x + 4 * d, count)
        value = simd.sub(value, simd.mul(simd.load_first(mean + 4 * d, count), along))
        code = simd.nearest(simd.mul(value, factor))
        simd.store_codes(c + d, code)
        rest = simd.sub(value, simd.mul(code, back))
        total = simd.add(total, simd.mul(rest, rest))
    return simd.tree_sum(simd.widen(total))


@inline
def _write_lead(c, total, lead, codes):
    """Write ``lead`` codes whose sum is ``total``, as even as they can be."""
    each = np.floor(total / lead)
    more = np.int64(total - each * lead)
    for j in range(lead):
        codes[j] = np.float32(each + 1.0 if j < more else each)
    for j in range(0, lead, 32):
        simd.store_codes(c + j, simd.load(codes.ctypes.data + 4 * j))


def prefix(
    vectors: np.ndarray, whole: Encoded, dims: int, num_threads: int, direction: Direction | None
) -> Encoded:
    """``encode.prefix``, with the direction of the prefix if there is one."""
    if direction is None:
        return encode.prefix(vectors, whole, dims, num_threads)
    return encode.prefix_by(_measure_prefix, (dims, direction), vectors, whole, num_threads)


@kernel
def _measure_prefix(
    start, stop, vectors, stride, dims, direction, codes, code_stride, scale, whole, error, norm
):
    lead = direction.lead
    for i in range(start, stop):
        x, c = vectors + i * stride, codes + i * code_stride
        norm[i] = np.sqrt(rows.sum_of_squares(x, dims))
        if norm[i] == 0.0:
            error[i] = 0.0
            continue
        step = np.float64(scale[i]) * whole[i]
        total = np.int64(0)
        for j in range(lead):
            total += np.int64(simd.load_unsigned(c + j)) - 128
        along = step * total / np.sqrt(np.float64(lead))
        share, off, coded = along / direction.length, 0.0, 0.0
        for d in range(dims):
            part = step * np.float64(np.int64(simd.load_unsigned(c + lead + d)) - 128)
            rest = np.float64(simd.load_scalar(x + 4 * d)) - share * np.float64(direction.vector[d]) - part
            off += rest * rest
            coded += part * part
        rough, reached = np.sqrt(off) / norm[i] + MEASURED_SLACK, np.sqrt(coded) / norm[i]
        error[i] = rough + max(0.0, reached - direction.reach) * QUERY_ERROR + 2.0 * MEASURED_SLACK
        if error[i] >= 1.0 or reached > LONGEST or abs(along) > 2.0 * norm[i]:
            error[i] = NO_CODES
