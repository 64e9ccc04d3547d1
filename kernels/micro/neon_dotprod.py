"""NEON with dot products: ``sdot`` adds four products of signed bytes to each of 4 lanes.

Latency 3–4 cycles, two a cycle (Neoverse N1; four on Neoverse V and Apple's large cores):
32 multiply-adds a cycle. Products and sums are exact in 32 bits, without saturation.

Both operands are signed. A row's byte is u = c + 128; flipping its top bit (``eor``) makes
it the signed byte c. So the sums are Σ c·q at once: they start at zero and need no
correction. (``usdot``, of i8mm, takes u as it is; it would save one ``eor`` in 16 ``sdot``,
which is not worth a second version.)

Tile: 4 rows × 16 queries in 16 accumulators. ``sdot`` takes the four bytes of one lane
for all lanes, so one load and one ``eor`` serve a row for four steps: 16 vectors of
queries and 4 of rows feed 64 ``sdot``. The record's tile is two of these, 8 × 16.

Row: four accumulators, 64 dimensions a step.
"""

from typing import Any

from llvmlite import ir

from ..emit import call
from .record import MicroKernel
from .register_tile import dot, load_vector, row_by_row, stacked, tile

_ROWS, _HALF, _QUERIES = 8, 4, 16
_LANES, _BYTES = ir.VectorType(ir.IntType(32), 4), ir.VectorType(ir.IntType(8), 16)


def _multiply_add(builder: Any, total: Any, row: Any, queries: Any) -> Any:
    a, b = builder.bitcast(queries, _BYTES), builder.bitcast(row, _BYTES)
    return call(builder, "llvm.aarch64.neon.sdot.v4i32.v16i8", _LANES, total, a, b)


def _load_signed(builder: Any, at: Any, lanes: ir.VectorType) -> Any:
    """16 bytes of a row, their offset undone."""
    return builder.xor(load_vector(builder, at, lanes), ir.Constant(lanes, [0x80808080] * lanes.count))


def _broadcast_lanes(builder: Any, at: Any) -> list[Any]:
    """Four steps: each lane of 16 bytes to all lanes, which LLVM makes part of ``sdot``."""
    row = _load_signed(builder, at, _LANES)
    return [builder.shuffle_vector(row, row, ir.Constant(_LANES, [lane] * 4)) for lane in range(4)]


emit_tile = tile(
    _multiply_add, _broadcast_lanes, _LANES, rows=_HALF, unroll=4, from_zero=True, line=4 * _QUERIES
)
emit_dot = dot(_multiply_add, _load_signed, _LANES)

RECORD = MicroKernel(
    name="neon_dotprod",
    description="NEON dot products, 4 × 16 scores in registers",
    requires=("dotprod",),
    tile_rows=_ROWS,
    tile_queries=_QUERIES,
    tile=stacked(emit_tile, rows=_HALF, line=4 * _QUERIES),
    speed=4.0,  # reckoned: as many multiply-adds a cycle as AVX2 does
    row=row_by_row(emit_dot, from_zero=True),
    architecture="aarch64",
)
