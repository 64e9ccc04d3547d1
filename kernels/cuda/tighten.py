"""Between chunks: each query's threshold is raised, and its list freed of what is beaten.

A block a query. The k-th largest of the candidates' lower ends is found digit by digit
over their bits, in the order of float32, and becomes the query's root if it is larger.
Candidates whose upper end is below it go, and so do those that are excluded for the
query, before they count.

A list that overflowed holds some of its chunk's candidates, not all. They are different
rows, so their lower ends raise the root as well as any; then all of this chunk go, the
query is marked, and the chunk is to be scanned again for it (``search.py``).
"""

from numba import cuda, types

from . import intrinsics
from .excluded import is_excluded
from .intrinsics import kernel, lower, ordered, reaches, slack, threshold, value
from .layout import BY_ERROR, BY_LENGTH, LOW_WEIGHT, NONE, PANEL, ROOT, SLACK, WEIGHT, WRONG_QUERY

THREADS = 32 if intrinsics.SIMULATED else 256
_DIGIT = 5
_BINS = 1 << _DIGIT
_PASSES = 7
"""Digits of 5 bits that hold 32."""


@kernel
def tighten(
    k,
    m,
    lanes,
    room,
    scale,
    margin,
    reach,
    excluded,
    capacity,
    state,
    chunk,
    found_rows,
    found_scores,
    lows,
):
    """Raise roots, shorten lists, mark the chunk where a list overflowed.

    ``state``: [length of each list] [what the last call kept of it], ``room`` each, then for each
    chunk m marks. ``excluded`` as in ``excluded.py``.
    """
    histogram = cuda.shared.array(_BINS, types.int32)
    common = cuda.shared.array(4, types.int32)
    level = cuda.shared.array(1, types.float32)
    q, thread, threads = types.int64(cuda.blockIdx.x), types.int64(cuda.threadIdx.x), cuda.blockDim.x
    total, start, before = types.int64(state[q]), q * capacity, types.int64(state[room + q])
    size = min(total, capacity)
    weight, low_weight, root = lanes[WEIGHT * room + q], lanes[LOW_WEIGHT * room + q], lanes[ROOT * room + q]
    constant, by_length, by_error = (
        lanes[SLACK * room + q],
        lanes[BY_LENGTH * room + q],
        lanes[BY_ERROR * room + q],
    )
    if thread == 0:
        common[0], common[1] = 0, 0
        level[0] = root
    cuda.syncthreads()

    # Lower ends; how many rows they come from. An excluded row is marked by −1.
    for z in range(start + thread, start + size, threads):
        row = types.int64(found_rows[z])
        if is_excluded(excluded, m, q, row):
            found_rows[z] = -1
        else:
            panel = row // PANEL
            own = slack(constant, by_length, by_error, reach[2 * panel], reach[2 * panel + 1])
            lows[z] = lower(value(found_scores[z], scale[row], margin[row], low_weight), own)
            cuda.atomic.add(common, 0, 1)
    cuda.syncthreads()

    if common[0] >= k:
        # The k-th largest key: its digits from the highest, each the largest that leaves k above.
        prefix, needed = types.int64(0), types.int64(k)
        for step in range(_PASSES):
            shift = _DIGIT * (_PASSES - 1 - step)
            for b in range(thread, _BINS, threads):
                histogram[b] = 0
            cuda.syncthreads()
            for z in range(start + thread, start + size, threads):
                if found_rows[z] >= 0:
                    key = ordered(lows[z])
                    if key >> (shift + _DIGIT) == prefix:
                        cuda.atomic.add(histogram, (key >> shift) & (_BINS - 1), 1)
            cuda.syncthreads()
            for b in range(thread, _BINS, threads):
                above = types.int64(0)
                for larger in range(b + 1, _BINS):
                    above += histogram[larger]
                if above < needed and needed <= above + histogram[b]:
                    common[2], common[3] = b, above
            cuda.syncthreads()
            prefix = (prefix << _DIGIT) | common[2]
            needed -= common[3]
        for z in range(start + thread, start + size, threads):
            if found_rows[z] >= 0 and ordered(lows[z]) == prefix and lows[z] > root:
                level[0] = lows[z]  # whoever writes it, it is one value
        cuda.syncthreads()
    root = level[0]

    # Each round reads before it writes, and writes no further than it has read.
    for base in range(0, size, threads):
        place, row, score, keep = base + thread, types.int64(-1), types.int32(0), False
        if place < size and (total <= capacity or place < before):
            row, score = types.int64(found_rows[start + place]), types.int32(found_scores[start + place])
            if row >= 0:
                panel = row // PANEL
                length, error = reach[2 * panel], reach[2 * panel + 1]
                theta = threshold(root, constant, by_length, by_error, length, error)
                keep = reaches(value(score, scale[row], margin[row], weight), theta)
        cuda.syncthreads()
        if keep:
            slot = start + cuda.atomic.add(common, 1, 1)
            found_rows[slot], found_scores[slot] = row, score
        cuda.syncthreads()
    if thread == 0:
        lanes[ROOT * room + q] = root
        state[q], state[room + q] = common[1], common[1]
        if total > capacity:
            state[2 * room + chunk * m + q] = 1


@kernel
def empty(size, state):
    """A state of empty lists, no marks, no wrong rows."""
    place = types.int64(cuda.grid(1))
    if place < size:
        state[place] = NONE if place >= size + WRONG_QUERY else 0


@kernel
def collect(capacity, count, found_rows, found_scores, total, queries, rows, scores):
    """All lists in a row, in any order of queries; ``total`` counts their entries."""
    start = cuda.shared.array(1, types.int64)
    q, thread = types.int64(cuda.blockIdx.x), types.int64(cuda.threadIdx.x)
    if thread == 0:
        start[0] = cuda.atomic.add(total, 0, types.int64(count[q]))
    cuda.syncthreads()
    for z in range(thread, count[q], cuda.blockDim.x):
        place, source = start[0] + z, q * capacity + z
        queries[place], rows[place], scores[place] = q, found_rows[source], found_scores[source]
