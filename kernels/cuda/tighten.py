"""Between chunks: each query's threshold is raised, and beaten candidates leave its list.

Each query has a block. The k-th largest of the candidates' lower ends is found digit by digit
over their bits, in the order of float32, and becomes the query's root if it is larger.
Candidates whose upper end is below it are removed. So are those that are excluded for the
query, before lower ends are counted.

A list that overflowed holds some of its chunk's candidates, not all. They are different
rows, so their lower ends raise the root as well as any; then all candidates of this chunk are
removed, the query is marked, and the chunk is scanned again for it (``walk.py``).
"""

from numba import cuda, types

from .excluded import is_excluded
from .layout import BY_ERROR, BY_LENGTH, LOW_WEIGHT, NONE, PANEL, ROOT, SLACK, WEIGHT
from .operations import kernel, lower, ordered, reaches, slack, threshold, value

THREADS = 256
"""The number of threads in a block."""

_DIGIT = 5
_BINS = 1 << _DIGIT
_PASSES = 7
"""The number of 5-bit digits in 32 bits."""


@kernel
def tighten(k, lanes, terms, excluded, lists, lows, kept, marks):
    """Raise roots, shorten lists; ``marks[q]`` becomes 1 where a list overflowed.

    ``lows`` has room for the lower ends of all candidates, float32.
    """
    histogram = cuda.shared.array(_BINS, types.int32)
    common = cuda.shared.array(4, types.int32)
    level = cuda.shared.array(1, types.float32)
    q, thread, threads = types.int64(cuda.blockIdx.x), types.int64(cuda.threadIdx.x), cuda.blockDim.x
    capacity, total, before = lists.capacity, types.int64(lists.lengths[q]), types.int64(kept[q])
    start, size = q * capacity, min(total, capacity)
    of_queries, room = lanes.terms, lanes.room
    weight, low_weight = of_queries[WEIGHT * room + q], of_queries[LOW_WEIGHT * room + q]
    root, constant = of_queries[ROOT * room + q], of_queries[SLACK * room + q]
    by_length, by_error = of_queries[BY_LENGTH * room + q], of_queries[BY_ERROR * room + q]
    if thread == 0:
        common[0], common[1] = 0, 0
        level[0] = root
    cuda.syncthreads()

    # Lower ends; how many rows they come from. An excluded row is marked by −1.
    for z in range(start + thread, start + size, threads):
        row = types.int64(lists.rows[z])
        if is_excluded(excluded, q, row):
            lists.rows[z] = -1
        else:
            panel = row // PANEL
            length, error = terms.reach[2 * panel], terms.reach[2 * panel + 1]
            middle = value(lists.scores[z], terms.scale[row], terms.margin[row], low_weight)
            lows[z] = lower(middle, slack(constant, by_length, by_error, length, error))
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
                if lists.rows[z] >= 0:
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
            if lists.rows[z] >= 0 and ordered(lows[z]) == prefix and lows[z] > root:
                level[0] = lows[z]  # all threads that write it write the same value
        cuda.syncthreads()
    root = level[0]

    # Each round reads before it writes, and writes no further than it has read.
    for base in range(0, size, threads):
        place, row, score, keep = base + thread, types.int64(-1), types.int32(0), False
        if place < size and (total <= capacity or place < before):
            row, score = types.int64(lists.rows[start + place]), types.int32(lists.scores[start + place])
            if row >= 0:
                panel = row // PANEL
                length, error = terms.reach[2 * panel], terms.reach[2 * panel + 1]
                theta = threshold(root, constant, by_length, by_error, length, error)
                keep = reaches(value(score, terms.scale[row], terms.margin[row], weight), theta)
        cuda.syncthreads()
        if keep:
            slot = start + cuda.atomic.add(common, 1, 1)
            lists.rows[slot], lists.scores[slot] = row, score
        cuda.syncthreads()
    if thread == 0:
        of_queries[ROOT * room + q] = root
        lists.lengths[q], kept[q] = common[1], common[1]
        if total > capacity:
            marks[q] = 1


@kernel
def empty(counts, wrong):
    """Lists of length 0 and no marks, in ``counts``; nothing is ``wrong``."""
    place = types.int64(cuda.grid(1))
    if place < len(counts):
        counts[place] = 0
    if place < len(wrong):
        wrong[place] = NONE


@kernel
def collect(lists, total, candidates):
    """All lists, one after another, in any order of queries; ``total[0]`` counts their entries."""
    start = cuda.shared.array(1, types.int64)
    q, thread = types.int64(cuda.blockIdx.x), types.int64(cuda.threadIdx.x)
    if thread == 0:
        start[0] = cuda.atomic.add(total, 0, types.int64(lists.lengths[q]))
    cuda.syncthreads()
    for z in range(thread, lists.lengths[q], cuda.blockDim.x):
        place, source = start[0] + z, q * lists.capacity + z
        candidates.queries[place], candidates.rows[place] = q, lists.rows[source]
        candidates.scores[place] = lists.scores[source]
