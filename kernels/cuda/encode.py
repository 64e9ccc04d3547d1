"""Rows to codes on the device: what ``kernels/encode.py`` does, operation for operation.

A warp encodes a row. Its lanes are the 32 lanes of the contract's sums (``kernels/rows.py``), and no
product is fused with a sum, so norms, scales, errors and codes have the same bits as the processor's.
The codes go where the tensor cores want them (``layout.py``), each lane writing single bytes: rows are
encoded once, and the second level of cache joins the bytes to whole lines.
"""

import math

from numba import cuda, types

from ..bound import MEASURED_SLACK
from ..encode import NO_CODES
from .operations import inline, kernel, largest_of_lanes, nearest, product, sum_of_lanes

LEVELS = 127
_SMALL, _LARGE = 2.0**-20, 2.0**20
_NO_CODES = float(NO_CODES)


@inline
def place_of(row, tile, steps, lane):
    """The place of a lane's code in a row's first step; its next one is 32 · ``tile`` bytes further."""
    words = tile >> 2  # of a lane's fragment; rows g and g + 8 alternate, then the halves of a step
    word = ((row % tile) >> 3) + (tile >> 3) * (lane >> 4)
    fragment = (row // tile) * steps * 32 + 4 * (row & 7) + ((lane & 15) >> 2)
    return (fragment * words + word) * 4 + (lane & 3)


@inline
def growth_of(dims):
    """The factor by which a measured error is raised for what its sum may have lost; see ``bound.py``."""
    return 1.0 + (dims / 32 + 8) * 2.0**-24


@kernel
def encode(floats, span, n, dims, fragments, measured, longest, wrong):
    """Encode the rows of a span; rows from number ``n`` on become zero.

    ``floats`` begin with the span's first row. The largest norm is written to ``longest[0]``, and the
    number of the first row that is not finite to ``wrong[0]``.
    """
    source, stride, first, last = floats.values, floats.stride, span.first, span.last
    codes, steps, tile = fragments.codes, fragments.steps, fragments.tile
    lane = types.int64(cuda.laneid)
    warps = types.int64(cuda.gridDim.x) * (cuda.blockDim.x >> 5)
    row = first + types.int64(cuda.blockIdx.x) * (cuda.blockDim.x >> 5) + (cuda.threadIdx.x >> 5)
    most = 0.0
    while row < last:
        at, place = (row - first) * stride, place_of(row, tile, steps, lane)
        width = dims if row < n else 0
        squares, largest = 0.0, types.float32(0.0)
        for d in range(lane, width, 32):
            x = source[at + d]
            squares += types.float64(x) * types.float64(x)  # exact, so it may be fused
            largest = max(largest, abs(x))
        squares, largest = sum_of_lanes(squares), largest_of_lanes(largest)
        length = math.sqrt(squares)
        if not squares < math.inf:
            cuda.atomic.min(wrong, 0, row)
            width, length = 0, 0.0
        if length == 0.0:
            largest = types.float32(1.0)
        power = 1.0
        if largest < _SMALL or largest > _LARGE:
            power = math.ldexp(1.0, -math.frexp(types.float64(largest))[1])
        top = types.float32(types.float64(largest) * power)
        step, inverse = top / types.float32(LEVELS), types.float32(LEVELS) / top
        residual = types.float32(0.0)
        for s in range(steps):
            d, code = 32 * s + lane, types.float32(0.0)
            if d < width:
                y = types.float32(types.float64(source[at + d]) * power)
                code = nearest(product(y, inverse))
                rest = y - product(code, step)
                residual += product(rest, rest)
            codes[place + s * 32 * tile] = types.int8(code)
        total = sum_of_lanes(types.float64(residual))
        if lane == 0:
            measured.norm[row] = length
            if length == 0.0:
                measured.scale[row], measured.error[row] = types.float32(0.0), types.float32(0.0)
            else:
                scaled = length * power
                measured.scale[row] = types.float32(types.float64(step) / scaled)
                measured.error[row] = types.float32(
                    product(math.sqrt(total) / scaled, growth_of(dims)) + MEASURED_SLACK
                )
        most = max(most, length)
        row += warps
    if lane == 0:
        cuda.atomic.max(longest, 0, most)


@kernel
def measure_prefix(floats, span, dims, fragments, full_norm, measured, longest):
    """Error and norm of the first ``dims`` dimensions of a span's rows, against their codes.

    The scales are known; ``full_norm`` is the norm that they refer to. Sums are formed in float64, as on the
    processor, but in the order of the lanes, because the bound holds for any order.
    """
    source, stride, first, last = floats.values, floats.stride, span.first, span.last
    codes, steps, tile = fragments.codes, fragments.steps, fragments.tile
    lane = types.int64(cuda.laneid)
    warps = types.int64(cuda.gridDim.x) * (cuda.blockDim.x >> 5)
    row = first + types.int64(cuda.blockIdx.x) * (cuda.blockDim.x >> 5) + (cuda.threadIdx.x >> 5)
    most = 0.0
    while row < last:
        at, place = (row - first) * stride, place_of(row, tile, steps, lane)
        step = types.float64(measured.scale[row]) * full_norm[row]
        squares, residual = 0.0, 0.0
        for d in range(lane, dims, 32):
            x, code = types.float64(source[at + d]), types.float64(codes[place + (d - lane) * tile])
            rest = x - step * code
            squares += x * x
            residual += rest * rest
        squares, residual = sum_of_lanes(squares), sum_of_lanes(residual)
        length = math.sqrt(squares)
        if lane == 0:
            measured.norm[row] = length
            relative = 0.0
            if length > 0.0:
                relative = math.sqrt(residual) / length * growth_of(dims) + MEASURED_SLACK
            # Where the codes are no nearer to the row than zero is, zero stands for the row.
            measured.error[row] = types.float32(relative if relative < 1.0 else _NO_CODES)
        most = max(most, length)
        row += warps
    if lane == 0:
        cuda.atomic.max(longest, 0, most)
