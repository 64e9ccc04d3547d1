"""AVX-VNNI: ``vpdpbusd ymm`` adds four products of unsigned × signed bytes to each of 8 lanes.

Latency 4–5 cycles, two a cycle (ports 0 and 1 on Intel, two pipes on Zen 4 and 5): 64
multiply-adds a cycle. Products and sums are exact: no saturation (that is ``vpdpbusds``),
and a lane's final value fits 32 bits.

The instruction has two encodings, of AVX-VNNI (processors without AVX-512) and of
AVX-512 VNNI with vectors of 256 bits. LLVM takes the one that the processor has.

Tile: 6 rows × 16 queries in 12 accumulators, of the 16 registers that AVX-VNNI can name:
two more hold the queries of a step and one the four bytes of a row. Eight loads feed 12
``vpdpbusd``, and 12 sums in flight hide a latency of 5 at two a cycle. The record's tile
is two of these, 12 × 16: its queries stay in the first-level cache from tile to tile.

Row: two accumulators, 64 dimensions a step; the sums of successive rows overlap.
"""

from typing import Any

from llvmlite import ir

from ..emit import call
from .record import MicroKernel
from .register_tile import broadcast_four, dot, load_vector, row_by_row, stacked, tile

_ROWS, _HALF, _QUERIES = 12, 6, 16
_LANES = ir.VectorType(ir.IntType(32), 8)


def _multiply_add(builder: Any, total: Any, unsigned: Any, signed: Any) -> Any:
    return call(builder, "llvm.x86.avx512.vpdpbusd.256", _LANES, total, unsigned, signed)


emit_tile = tile(_multiply_add, broadcast_four(_LANES), _LANES, rows=_HALF, line=4 * _QUERIES)
emit_dot = dot(_multiply_add, load_vector, _LANES)

RECORD = MicroKernel(
    name="avx_vnni",
    description="AVX-VNNI, 6 × 16 scores in registers",
    requires=("avxvnni",),
    alternative=("avx512vl", "avx512vnni"),
    tile_rows=_ROWS,
    tile_queries=_QUERIES,
    tile=stacked(emit_tile, rows=_HALF, line=4 * _QUERIES),
    speed=8.0,
    row=row_by_row(emit_dot),
    architecture="x86_64",
)
