"""Integer scores of all rows, on tensor cores; what reaches its query's threshold is appended.

    block     keeps the fragments of its queries in shared memory, and stays: its warps
      |       walk over the rows of the chunk, grid by grid
      warp    keeps sums of rows' tiles × queries' tiles in registers; it loads fragments of
        |     rows straight from memory, one step before it uses them
        lane  compares its sums with its queries' thresholds; for each that passes it
              takes a place in the query's list and writes row and integer score

Lists have a capacity; what does not fit is counted but not written (see ``tighten.py``).
Lanes append in any order: the order of a list is random, its content is not.
"""

import functools
from typing import Any, NamedTuple

from numba import cuda, types

from .device import SharedMemory
from .launches import WITHOUT_ASKING
from .layout import PANEL, QUERIES, ROWS, STEP
from .operations import hits, kernel, load_rows, lowest_bit, multiply, pick, sync_warp, zeros

OVERHEAD = 1 << 10
"""The bytes of shared memory that a block takes in addition to those it asks for."""

THREADS = 128
"""The number of threads in a block."""


class Shape(NamedTuple):
    """The tiles of a warp. Sums, fragments and addresses of 16 pairs of tiles fill about 150 registers."""

    row_tiles: int
    query_tiles: int
    shared: bool
    """Whether the queries' fragments are copied to shared memory; if not, they are too wide for it."""
    blocks: int
    """The number of blocks for which a multiprocessor's registers have room."""


SHAPES = (
    Shape(4, 1, True, 5),
    Shape(4, 4, True, 3),
    Shape(2, 8, True, 4),
    Shape(4, 1, False, 5),
    Shape(4, 4, False, 3),
)
"""All shapes that are compiled."""


def shape_for(m: int, steps: int, room: SharedMemory) -> Shape:
    """The shape for m queries of ``steps`` steps.

    With few queries, rows are read as fast as memory delivers them; with many, every row that is read is
    compared with as many of them as fit.
    """
    one, four, eight, one_wide, four_wide = SHAPES  # tiles of queries
    # At least two blocks of a multiprocessor: one computes while the other waits.
    most = max(WITHOUT_ASKING, min(room.block, room.processor // 2 - OVERHEAD))

    def fits(shape: Shape) -> bool:
        return shape.query_tiles * QUERIES * steps * STEP <= most

    if m > four.query_tiles * QUERIES and fits(eight):
        return eight
    if m > QUERIES:
        return four if fits(four) else four_wide
    return one if fits(one) else one_wide


def launch(
    shape: Shape, m: int, steps: int, rows: int, processors: int, room: SharedMemory
) -> tuple[tuple[int, int], int, int]:
    """Grid, threads of a block and bytes of shared memory with which to scan ``rows`` rows."""
    groups = -(-m // (shape.query_tiles * QUERIES))
    warps = -(-rows // (ROWS * shape.row_tiles))
    shared = shape.query_tiles * QUERIES * steps * STEP if shape.shared else 0
    resident = max(1, min(shape.blocks, room.processor // (shared + OVERHEAD)))
    most = max(1, processors * resident // groups)
    return (min(most, -(-warps // (THREADS // 32))), groups), THREADS, shared


@functools.cache
def scan_kernel(row_tiles: int, query_tiles: int, shared: bool) -> Any:
    """The kernel of a shape. It scans a span of tiles; the queries say how many of their steps count."""
    sums_count, row_words, query_words = 4 * row_tiles * query_tiles, 4 * row_tiles, 64
    step_words, tiles_a_panel = 4 * 32, PANEL // ROWS

    @kernel
    def scan(vectors, terms, queries, lanes, closed, span, lists):
        codes, last, steps = vectors.codes, span.last, queries.steps
        lane, thread = types.int64(cuda.laneid), types.int64(cuda.threadIdx.x)
        group = types.int64(cuda.blockIdx.y) * query_tiles
        if shared:
            fragments = cuda.shared.array(0, types.int32)
            start = types.int64(0)
            for i in range(thread, query_tiles * steps * query_words, cuda.blockDim.x):
                fragments[i] = queries.codes[group * steps * query_words + i]
            cuda.syncthreads()
        else:
            fragments = queries.codes
            start = group * steps * query_words
        start += lane * 2
        g, t = lane >> 2, lane & 3
        warps = types.int64(cuda.gridDim.x) * (cuda.blockDim.x >> 5) * row_tiles
        tile = (
            span.first + (types.int64(cuda.blockIdx.x) * (cuda.blockDim.x >> 5) + (thread >> 5)) * row_tiles
        )
        tile_words = vectors.steps * step_words
        if tile < last:
            rows = load_rows(codes, tile * tile_words + lane * 4, tile_words, row_tiles)
        else:
            rows = zeros(row_words)
        while tile < last:
            at = tile * tile_words + lane * 4
            # A step loads what the next one multiplies before it multiplies itself; the last step
            # loads the first step of the warp's next tiles.
            beyond = tile + warps if tile + warps < last else tile
            sums = zeros(sums_count)
            for step in range(steps):
                ahead = at + (step + 1) * step_words
                if step + 1 == steps:
                    ahead = beyond * tile_words + lane * 4
                following = load_rows(codes, ahead, tile_words, row_tiles)
                fragment = start + step * query_words
                sums = multiply(sums, rows, fragments, fragment, steps * query_words)
                rows = following
            row, query, panel = tile * ROWS + g, group * QUERIES + 2 * t, tile // tiles_a_panel
            length, error = terms.reach[2 * panel], terms.reach[2 * panel + 1]
            bits = hits(sums, row_tiles, terms, lanes, row, query, length, error)
            while bits != 0:
                place = lowest_bit(bits)
                bits = bits & (bits - 1)
                pair, corner = place >> 2, place & 3
                number = row + ROWS * (pair // query_tiles) + 8 * (corner >> 1)
                q = query + QUERIES * (pair % query_tiles) + (corner & 1)
                words = closed.words
                if words == 0 or (closed.bits[q * words + (number >> 5)] >> (number & 31)) & 1 == 0:
                    slot = types.int64(cuda.atomic.add(lists.lengths, q, 1))
                    if slot < lists.capacity:
                        lists.rows[q * lists.capacity + slot] = number
                        lists.scores[q * lists.capacity + slot] = pick(sums, place)
            sync_warp()
            tile += warps

    return scan
