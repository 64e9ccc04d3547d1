"""AVX2: ``vpmaddubsw`` and ``vpmaddwd``, products of bytes to sums in 32 bits in two instructions.

``vpmaddubsw`` multiplies unsigned by signed bytes and adds products in pairs, into 16 bits
with saturation; ``vpmaddwd`` by ones adds pairs of those into 32 bits; ``vpaddd`` adds to
the sum. Latency 5 + 5 + 1 cycles (Zen: 3 + 3 + 1), of which only the last is in the chain
of a sum. The first two go to the same two ports, so 32 dimensions a cycle at best.

Why it is exact: a row's bytes are at most 255 and a query's codes at most 63 in magnitude
(``levels``; the error of the coarser codes is measured, so the bound holds as ever). A
pair is at most 2 · 255 · 63 = 32,130 < 2¹⁵ in magnitude: nothing saturates. All further
sums are in 32 bits, where a lane's final value fits.

Two such pairs need not fit in 16 bits (64,260), so adding them before ``vpmaddwd`` is not
possible at these levels; it would be at 32, with twice the error of a query.

Tile: 4 rows × 16 queries. A step's 8 products take 8 cycles of the two multiplying ports
and 6 loads; 8 sums, two vectors of queries, the ones, the four bytes of a row and two
products under way fit the 16 registers. The record's tile is four of these, 16 × 16: what
a scan does once for each tile would otherwise take more of its time.

Row: two accumulators, 64 dimensions a step; the sums of successive rows overlap.
"""

from typing import Any

from llvmlite import ir

from ..emit import call
from .record import MicroKernel
from .register_tile import broadcast_four, dot, load_vector, row_by_row, stacked, tile

_LEVELS = 63
_PART, _COUNT, _QUERIES = 4, 4, 16
_LANES, _PAIRS, _BYTES = (ir.VectorType(ir.IntType(256 // n), n) for n in (8, 16, 32))


def _multiply_add(builder: Any, total: Any, unsigned: Any, signed: Any) -> Any:
    rows, queries = builder.bitcast(unsigned, _BYTES), builder.bitcast(signed, _BYTES)
    pairs = call(builder, "llvm.x86.avx2.pmadd.ub.sw", _PAIRS, rows, queries)
    ones = ir.Constant(_PAIRS, [1] * 16)
    return builder.add(total, call(builder, "llvm.x86.avx2.pmadd.wd", _LANES, pairs, ones))


emit_tile = tile(_multiply_add, broadcast_four(_LANES), _LANES, rows=_PART, line=4 * _QUERIES)
emit_dot = dot(_multiply_add, load_vector, _LANES)

RECORD = MicroKernel(
    name="avx2",
    description="AVX2, 4 × 16 scores in registers",
    requires=("avx2",),
    tile_rows=_COUNT * _PART,
    tile_queries=_QUERIES,
    tile=stacked(emit_tile, rows=_PART, count=_COUNT, line=4 * _QUERIES),
    speed=4.0,
    levels=_LEVELS,
    row=row_by_row(emit_dot),
    architecture="x86_64",
)
