"""The walk over codes: chunks of rows, panels, tiles, and the test that a pair of row and query must pass.

    chunk of 2,048 rows       float32 terms of each row (a row that is filtered out, or past
      |                       the end, gets a margin of −inf, so it never passes)
      panels of 128 rows      stay in the second-level cache while all queries pass
        tiles                 scores by the micro-kernel, one compare for 16 queries
          hits                (query, row, integer score) appended to one log

Why the test is safe: ``bound.py``.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from . import log, metrics, simd
from .compile import inline
from .emit import address, operation, pointer, splat
from .encode import SPARE_ROWS, unit_scale
from .simd import f32x16, i32x16

CHUNK, PANEL = 2048, 128

_i16, _i64, _f32 = ir.IntType(16), ir.IntType(64), ir.FloatType()


def _reach(builder: Any, scores: Any, scale: Any, margin: Any, threshold: Any) -> Any:
    """16 bits: where ``score * scale + margin >= threshold``."""
    integers = builder.load(pointer(builder, scores, i32x16.ir), align=4)
    value = builder.fadd(builder.fmul(builder.sitofp(integers, f32x16.ir), scale), margin)
    return builder.bitcast(builder.fcmp_ordered(">=", value, threshold), _i16)


@operation(types.int64, address, f32x16, f32x16, f32x16)
def rows_reaching(builder: Any, scores: Any, scale: Any, margin: Any, threshold: Any) -> Any:
    """One query, 16 rows in the lanes: bit r is set where row r passes."""
    return builder.zext(_reach(builder, scores, scale, margin, threshold), _i64)


@operation(types.int64, address, types.int64, address, address, f32x16, f32x16)
def queries_reaching(
    builder: Any, scores: Any, stride: Any, scale: Any, margin: Any, weight: Any, threshold: Any
) -> Any:
    """Four rows, 16 queries in the lanes: bit 16 r + q is set where row r passes for query q."""
    bits = None
    for row in range(4):
        at = builder.add(scores, builder.mul(stride, ir.Constant(_i64, row)))
        s, e = (
            splat(
                builder,
                builder.load(pointer(builder, builder.add(terms, ir.Constant(_i64, 4 * row)), _f32), align=4),
                f32x16.ir,
            )
            for terms in (scale, margin)
        )
        mask = builder.zext(_reach(builder, at, s, builder.fmul(e, weight), threshold), _i64)
        shifted = builder.shl(mask, ir.Constant(_i64, 16 * row))
        bits = shifted if bits is None else builder.or_(bits, shifted)
    return bits


@operation(types.int64, address, f32x16, f32x16, f32x16, f32x16, address)
def upper_ends(
    builder: Any, scores: Any, scale: Any, margin: Any, other: Any, threshold: Any, ends: Any
) -> Any:
    """Store ``score * scale + margin`` of 16 rows; bit r is set where row r passes with the other margin."""
    integers = builder.load(pointer(builder, scores, i32x16.ir), align=4)
    value = builder.fmul(builder.sitofp(integers, f32x16.ir), scale)
    builder.store(builder.fadd(value, margin), pointer(builder, ends, f32x16.ir), align=4)
    passing = builder.fcmp_ordered(">=", builder.fadd(value, other), threshold)
    return builder.zext(builder.bitcast(passing, _i16), _i64)


@operation(types.int64, address, f32x16)
def ends_reaching(builder: Any, ends: Any, threshold: Any) -> Any:
    """16 bits: where an upper end reaches the threshold."""
    value = builder.load(pointer(builder, ends, f32x16.ir), align=4)
    return builder.zext(builder.bitcast(builder.fcmp_ordered(">=", value, threshold), _i16), _i64)


@inline
def aligned_scores(size):
    """A tile's scores at a multiple of 64 bytes."""
    memory = np.empty(size + 16, np.int32)
    first = (-memory.ctypes.data % 64) // 4
    return memory[first : first + size]


@inline
def lines_a_tile(stride, tile_rows, query_tiles):
    """Cache lines of the next panel to ask for at every tile of this one."""
    tiles = max(1, query_tiles * ((PANEL + tile_rows - 1) // tile_rows))
    return (PANEL * stride // 64 + tiles - 1) // tiles


@inline
def row_terms(metric, chunk, count, rows, scale, margin):
    """Fill s′ and μ of the rows of a chunk; return P, max ε and L (see ``bound.py``)."""
    norm = 1.0  # the same for all chunks, where lengths do not count, so that their estimates compare
    if metrics.by_length(metric):
        norm = largest_norm(rows.norm.ctypes.data + 8 * chunk, count)
    power = math.ldexp(1.0, -math.frexp(norm)[1])
    if len(rows.whole) == 0:  # slices and a plain loop: LLVM makes vectors of it
        scales, errors = rows.scale[chunk : chunk + count], rows.error[chunk : chunk + count]
        norms = rows.norm[chunk : chunk + count]
        for j in range(count):
            unit, error = np.float64(scales[j]), np.float64(errors[j])
            scale[j], margin[j] = metrics.row_terms(metric, unit, error, norms[j], power)
    else:
        for j in range(count):
            i = chunk + j
            error = np.float64(rows.error[i])
            scale[j], margin[j] = metrics.row_terms(metric, unit_scale(rows, i), error, rows.norm[i], power)
    if len(rows.allowed) > 0:
        allowed, nothing = rows.allowed[rows.base + chunk : rows.base + chunk + count], np.float32(-np.inf)
        for j in range(count):  # a choice, not a branch, so that LLVM makes vectors of it
            margin[j] = margin[j] if allowed[j] else nothing
    for j in range(count, count + SPARE_ROWS):
        scale[j], margin[j] = 0.0, -np.inf
    largest = np.float64(largest_error(rows.error.ctypes.data + 4 * chunk, count))
    return power, largest, norm * power


@inline
def largest_norm(norm, count):
    """The largest of ``count`` norms, float64, at an address."""
    largest = simd.zero_wide()
    for j in range(0, count, 32):
        largest = simd.maximum_wide(simd.load_first_wide(norm + 8 * j, min(32, count - j)), largest)
    return simd.tree_max_wide(largest)


@inline
def largest_error(error, count):
    """The largest of ``count`` float32 values that are not negative, at an address."""
    largest = simd.zero()
    for j in range(0, count, 32):
        largest = simd.maximum(simd.load_first(error + 4 * j, min(32, count - j)), largest)
    return simd.tree_max(largest)


@inline
def log_tile(chunk, r, end, q, lane, tile_rows, line, scale, margin, scores, state):
    """Append the hits of a tile's 16 queries from ``q + lane`` on."""
    first = q + lane
    weight = simd.load16(state.weight.ctypes.data + 4 * first)
    threshold = simd.load16(state.threshold.ctypes.data + 4 * first)
    for group in range(0, min(tile_rows, end - r), 4):
        at = scores.ctypes.data + group * line + 4 * lane
        terms = 4 * (r + group)
        bits = queries_reaching(
            at, line, scale.ctypes.data + terms, margin.ctypes.data + terms, weight, threshold
        )
        while bits != 0:
            bit = simd.trailing_zeros(bits)
            bits &= bits - 1
            j, own = group + (bit >> 4), lane + (bit & 15)
            if r + j < end:
                log.append(state, q + own, chunk + r + j, scores[j * (line >> 2) + own])


@inline
def log_rows(chunk, r, some, q, scale, margin, scores, state):
    """Append the hits of one query among up to 64 rows."""
    weight, threshold = simd.broadcast16(state.weight[q]), simd.broadcast16(state.threshold[q])
    query, row, score, cursor = state.query, state.row, state.score, state.cursor[log.COUNT]
    for group in range(0, some, 16):
        terms = 4 * (r + group)
        s, e = simd.load16(scale.ctypes.data + terms), simd.load16(margin.ctypes.data + terms)
        bits = rows_reaching(scores.ctypes.data + 4 * group, s, simd.mul16(e, weight), threshold)
        while bits != 0:
            j = group + simd.trailing_zeros(bits)
            bits &= bits - 1
            query[cursor], row[cursor], score[cursor] = q, chunk + r + j, scores[j]
            cursor += 1
    state.cursor[log.COUNT] = cursor


@inline
def log_ends(chunk, count, q, ends, state):
    """Append the hits of one query among the rows of a chunk by their upper ends."""
    threshold, at, cursor = simd.broadcast16(state.threshold[q]), ends.ctypes.data, state.cursor[log.COUNT]
    query, row = state.query, state.row
    for group in range(0, count, 16):
        bits = ends_reaching(at + 4 * group, threshold)
        while bits != 0:
            j = group + simd.trailing_zeros(bits)
            bits &= bits - 1
            if j < count:
                query[cursor], row[cursor] = q, chunk + j
                cursor += 1
    state.cursor[log.COUNT] = cursor
