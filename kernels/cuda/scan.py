"""Integer scores of all rows, on tensor cores; what reaches its query's threshold is appended.

    block     keeps the fragments of its queries in shared memory, and stays: its warps
      |       walk over the rows of the chunk, grid by grid
      warp    rows' tiles × queries' tiles of sums in registers; fragments of rows come
        |     straight from memory, one step ahead of their use
        lane  compares its sums with its queries' thresholds; for each that passes it
              takes a place in the query's list and writes row and integer score

Lists have a capacity; what does not fit is counted but not written (see ``tighten.py``).
Who comes first is chance: the lists' order is random, their content is not.
"""

import functools
from typing import Any, NamedTuple

from numba import cuda, types

from . import intrinsics
from .device import SharedMemory
from .intrinsics import WITHOUT_ASKING, hits, kernel, load_rows, lowest_bit, multiply, pick, sync_warp, zeros
from .layout import PANEL, QUERIES, ROWS, STEP

_OVERHEAD = 1 << 10
"""Shared memory that each block costs beside its own."""

_THREADS = 64 if intrinsics.SIMULATED else 128


class Shape(NamedTuple):
    """Tiles of a warp. Sums, fragments and addresses of 16 pairs of tiles fill some 150 registers."""

    row_tiles: int
    query_tiles: int
    shared: bool
    """Whether the queries' fragments are copied to shared memory; they are too wide, else."""
    blocks: int
    """Blocks of a multiprocessor that registers leave room for."""


SHAPES = (
    Shape(4, 1, True, 5),
    Shape(4, 4, True, 3),
    Shape(2, 8, True, 4),
    Shape(4, 1, False, 5),
    Shape(4, 4, False, 3),
)
"""All that are ever compiled."""


def shape_for(m: int, steps: int, room: SharedMemory) -> Shape:
    """Few queries read rows as fast as they come; many share what was read as widely as fits."""
    few, some, many, few_wide, some_wide = SHAPES
    # Two blocks of a multiprocessor at least: one computes while the other waits.
    most = max(WITHOUT_ASKING, min(room.block, room.processor // 2 - _OVERHEAD))

    def fits(shape: Shape) -> bool:
        return shape.query_tiles * QUERIES * steps * STEP <= most

    if m > some.query_tiles * QUERIES and fits(many):
        return many
    if m > QUERIES:
        return some if fits(some) else some_wide
    return few if fits(few) else few_wide


def launch(
    shape: Shape, m: int, steps: int, rows: int, processors: int, room: SharedMemory
) -> tuple[tuple[int, int], int, int]:
    """Grid, threads of a block, bytes of shared memory to scan so many rows."""
    groups = -(-m // (shape.query_tiles * QUERIES))
    warps = -(-rows // (ROWS * shape.row_tiles))
    shared = shape.query_tiles * QUERIES * steps * STEP if shape.shared else 0
    resident = max(1, min(shape.blocks, room.processor // (shared + _OVERHEAD)))
    most = max(1, processors * resident // groups)
    return (min(most, -(-warps // (_THREADS // 32))), groups), _THREADS, shared


@functools.cache
def scan_kernel(row_tiles: int, query_tiles: int, shared: bool) -> Any:
    """The kernel of a shape.

    ``codes`` hold ``all_steps`` steps a tile, of which ``steps`` are used; ``closed`` has, a bit a
    row and ``words`` words a query, the rows that are closed to single queries, if ``words`` is
    not 0; ``state`` begins with the length of each query's list.
    """
    sums_count, row_words, query_words = 4 * row_tiles * query_tiles, 4 * row_tiles, 64
    step_words, tiles_a_panel = 4 * 32, PANEL // ROWS

    @kernel
    def scan(
        codes,
        all_steps,
        steps,
        queries,
        lanes,
        room,
        scale,
        margin,
        reach,
        closed,
        words,
        first,
        last,
        capacity,
        state,
        found_rows,
        found_scores,
    ):
        lane, thread = types.int64(cuda.laneid), types.int64(cuda.threadIdx.x)
        group = types.int64(cuda.blockIdx.y) * query_tiles
        if shared:
            fragments = cuda.shared.array(0, types.int32)
            own = types.int64(0)
            for i in range(thread, query_tiles * steps * query_words, cuda.blockDim.x):
                fragments[i] = queries[group * steps * query_words + i]
            cuda.syncthreads()
        else:
            fragments = queries
            own = group * steps * query_words
        own += lane * 2
        g, t = lane >> 2, lane & 3
        warps = types.int64(cuda.gridDim.x) * (cuda.blockDim.x >> 5) * row_tiles
        tile = first + (types.int64(cuda.blockIdx.x) * (cuda.blockDim.x >> 5) + (thread >> 5)) * row_tiles
        tile_words = all_steps * step_words
        if tile < last:
            rows = load_rows(codes, tile * tile_words + lane * 4, tile_words, row_tiles)
        else:
            rows = zeros(row_words)
        while tile < last:
            at = tile * tile_words + lane * 4
            # What the next step multiplies is asked for before this one does; the last step
            # asks for the first of the warp's next tiles.
            beyond = tile + warps if tile + warps < last else tile
            sums = zeros(sums_count)
            for step in range(steps):
                ahead = at + (step + 1) * step_words
                if step + 1 == steps:
                    ahead = beyond * tile_words + lane * 4
                following = load_rows(codes, ahead, tile_words, row_tiles)
                fragment = own + step * query_words
                sums = multiply(sums, rows, fragments, fragment, steps * query_words)
                rows = following
            row, query, panel = tile * ROWS + g, group * QUERIES + 2 * t, tile // tiles_a_panel
            length, error = reach[2 * panel], reach[2 * panel + 1]
            bits = hits(sums, row_tiles, scale, margin, row, lanes, room, query, length, error)
            while bits != 0:
                place = lowest_bit(bits)
                bits = bits & (bits - 1)
                pair, corner = place >> 2, place & 3
                found = row + ROWS * (pair // query_tiles) + 8 * (corner >> 1)
                whose = query + QUERIES * (pair % query_tiles) + (corner & 1)
                if words == 0 or (closed[whose * words + (found >> 5)] >> (found & 31)) & 1 == 0:
                    slot = types.int64(cuda.atomic.add(state, whose, 1))
                    if slot < capacity:
                        found_rows[whose * capacity + slot] = found
                        found_scores[whose * capacity + slot] = pick(sums, place)
            sync_warp()
            tile += warps

    return scan
