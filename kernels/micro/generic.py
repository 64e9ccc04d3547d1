"""Portable integers: correct on every processor, and always available.

Bytes are widened to 16 bits in two halves, those at even and at odd places (for signed
ones by shifts: left, then arithmetic right). Products of each half are added in pairs
into 32 bits, as ``pmaddwd`` of SSE2 does, which LLVM uses for it on x86. A pair is at
most 2 · 255 · 127 in magnitude. Sums wrap modulo 2³², while the corrected result, at most
127 · 128 · dims in magnitude, fits up to 132,000 dimensions: addition modulo 2³² is
associative, so the result is right wherever it fits.

Tile: 2 rows × 16 queries, 8 sums in registers of 128 bits. The record's tile is two of these.
"""

from typing import Any

from llvmlite import ir

from .record import MicroKernel
from .register_tile import broadcast_four, dot, load_vector, row_by_row, stacked, tile

_ROWS, _HALF, _QUERIES = 4, 2, 16
_LANES, _WIDE = (ir.VectorType(ir.IntType(32), lanes) for lanes in (4, 8))
_WORDS = ir.VectorType(ir.IntType(16), 8)


def _multiply_add(builder: Any, total: Any, unsigned: Any, signed: Any) -> Any:
    eight, low = ir.Constant(_WORDS, [8] * 8), ir.Constant(_WORDS, [255] * 8)
    codes, queries = builder.bitcast(unsigned, _WORDS), builder.bitcast(signed, _WORDS)
    halves = (
        (builder.and_(codes, low), builder.ashr(builder.shl(queries, eight), eight)),
        (builder.lshr(codes, eight), builder.ashr(queries, eight)),
    )
    for a, b in halves:
        products = builder.mul(builder.sext(a, _WIDE), builder.sext(b, _WIDE))
        even, odd = (
            builder.shuffle_vector(products, products, ir.Constant(_LANES, list(range(first, 8, 2))))
            for first in (0, 1)
        )
        total = builder.add(total, builder.add(even, odd))
    return total


emit_tile = tile(_multiply_add, broadcast_four(_LANES), _LANES, rows=_HALF, line=4 * _QUERIES)
emit_dot = dot(_multiply_add, load_vector, _LANES)

RECORD = MicroKernel(
    name="generic",
    description="portable integers, any processor",
    requires=(),
    tile_rows=_ROWS,
    tile_queries=_QUERIES,
    tile=stacked(emit_tile, rows=_HALF, line=4 * _QUERIES),
    speed=3.0,
    row=row_by_row(emit_dot),
)
