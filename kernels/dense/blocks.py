"""What the ways to dense cosines share: blocks of 16 × 16 values turned over, and a mirrored half."""

import numpy as np
from llvmlite import ir
from numba import types

from .. import rows, simd, threads
from ..compile import inline, kernel
from ..emit import address, operation, pointer
from ..matrix import Strided, row_at

_PACE_VALUES = 1 << 23
"""Values that are mirrored in less than a tenth of a second."""

_i32, _i64 = ir.IntType(32), ir.IntType(64)
_f32x16 = ir.VectorType(ir.FloatType(), 16)


@inline
def aligned_start(memory):
    """The first multiple of 64 in an array.

    Ask for it where it is used: Numba frees an array after the last use of its name.
    """
    return memory.ctypes.data + (-memory.ctypes.data % 64)


def mirror(count: int, out: np.ndarray, num_threads: int) -> None:
    """Copy what is right of the diagonal of the first ``count`` rows to below it."""
    target = Strided.of(out)
    parts = rows.split(len(out), max(8 * num_threads, count * len(out) // _PACE_VALUES), 16)
    threads.run(lambda part: _mirror_rows(*part, count, target), parts, num_threads)


@kernel
def _mirror_rows(start, stop, count, out):
    """``mirror`` of the rows from start to stop."""
    for j in range(start, stop, 16):
        for i in range(0, min(count, stop), 16):
            if i >= j + 16:
                break
            if i + 16 <= min(j, count) and j + 16 <= stop:
                transpose16(row_at(out, i) + 4 * j, out.stride, row_at(out, j) + 4 * i, out.stride)
                continue
            for row in range(j, min(j + 16, stop)):
                for column in range(i, min(i + 16, count, row)):
                    value = simd.load_scalar(row_at(out, column) + 4 * row)
                    simd.store_scalar(row_at(out, row) + 4 * column, value)


def transposed(builder, block):
    """As many vectors as each has lanes, rows to columns: rounds of interleaving row r with row r + half."""
    lanes = len(block)
    half, kind = lanes // 2, ir.VectorType(_i32, lanes)
    for _ in range(half.bit_length()):
        block = [
            builder.shuffle_vector(
                block[r],
                block[r + half],
                ir.Constant(kind, [lanes * (lane % 2) + lane // 2 + start for lane in range(lanes)]),
            )
            for r in range(half)
            for start in (0, half)
        ]
    return block


@operation(types.void, address, types.int64, address, types.int64)
def transpose16(builder, source, stride, target, target_stride):
    """A block of 16 × 16 values, mirrored."""
    starts = [builder.mul(ir.Constant(_i64, r), stride) for r in range(16)]
    block = [builder.load(pointer(builder, builder.add(source, start), _f32x16), align=4) for start in starts]
    for column, value in enumerate(transposed(builder, block)):
        at = builder.add(target, builder.mul(ir.Constant(_i64, column), target_stride))
        builder.store(value, pointer(builder, at, _f32x16), align=4)
