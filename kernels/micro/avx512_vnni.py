"""AVX-512 VNNI: ``vpdpbusd zmm`` adds four products of unsigned × signed bytes to each of 16 lanes.

Latency 4–5 cycles, one a cycle (port 0 on Intel, two pipes of half width on Zen 4): 64
multiply-adds a cycle. Products and sums are exact: no saturation (that is ``vpdpbusds``),
and a lane's final value fits 32 bits.

Tile: 6 rows × 64 queries in 24 accumulators. A step loads four vectors of queries (16
queries × 4 dimensions each) and broadcasts four bytes of each row, so 10 loads feed 24
``vpdpbusd``: the multiply unit is the limit. The record's tile is two of these, 12 × 64.
Where the last tile has fewer blocks of queries, fewer accumulators are used.

Row: 64 dimensions a step. The sums of successive rows do not depend on each other, so
the processor overlaps them; with the prefetch, one query reads rows as fast as memory
gives them.
"""

from typing import Any

from llvmlite import ir

from ..emit import call, operation
from .record import MicroKernel
from .register_tile import TILE, broadcast_four, dot, load_vector, row_by_row, tile

_ROWS, _HALF, _QUERIES = 12, 6, 64
_LANES = ir.VectorType(ir.IntType(32), 16)


def _multiply_add(builder: Any, total: Any, unsigned: Any, signed: Any) -> Any:
    return call(builder, "llvm.x86.avx512.vpdpbusd.512", _LANES, total, unsigned, signed)


_tile1, _tile2, _tile3, _tile4 = (
    operation(*TILE)(
        tile(_multiply_add, broadcast_four(_LANES), _LANES, rows=_HALF, blocks=blocks, line=4 * _QUERIES)
    )
    for blocks in (1, 2, 3, 4)
)


def _tile(name, codes, stride, queries, blocks, steps, corrections, scores):
    for half in range(2):
        at, out = codes + half * _HALF * stride, scores + half * _HALF * 4 * _QUERIES
        if blocks == 4:
            _tile4(at, stride, queries, steps, corrections, out)
        elif blocks == 3:
            _tile3(at, stride, queries, steps, corrections, out)
        elif blocks == 2:
            _tile2(at, stride, queries, steps, corrections, out)
        else:
            _tile1(at, stride, queries, steps, corrections, out)


RECORD = MicroKernel(
    name="avx512_vnni",
    description="AVX-512 VNNI, 6 × 64 scores in registers",
    requires=("avx512f", "avx512vnni"),
    tile_rows=_ROWS,
    tile_queries=_QUERIES,
    tile=_tile,
    speed=9.0,
    row=row_by_row(dot(_multiply_add, load_vector, _LANES)),
    architecture="x86_64",
)
