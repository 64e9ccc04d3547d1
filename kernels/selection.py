"""Selection from a given score matrix: one read of the scores, whatever their order.

A row goes by in blocks of 64. What is above a threshold is appended to a buffer; when
that is full, only the k best stay, and the worst of them is the next threshold. So the
buffer is always in the order of columns, and what equals the threshold later on is worse
than k entries that the buffer holds already.

The first threshold is a proven one: of the first entries, dealt to at least 2k lanes like
cards, each lane's largest is taken, and the k-th largest of those has k entries at or
above it. The same is done again where the buffer fills up, for as long as it raises the
threshold: then rising scores cost little more than others.

In no order of scores is an entry appended more than once; the worst order costs a few
nanoseconds an entry. NaN passes every threshold, and is found as it is appended. Scores
are compared as *keys*, see ``sort_keys``: their own type, flipped so that larger is better.
"""

import functools

import numpy as np

from . import rows, simd, sort_keys, threads
from .compile import inline, kernel
from .ranking import BLOCK, best, keep, rank

_ROUNDS = 32  # of entries that each lane takes for a threshold
_CHUNK = _ROUNDS * BLOCK
_RANKED = 128  # if a row's buffer has no more entries, all are ranked, without finding the best first
_PART_BYTES, _PACE_BYTES = 1 << 18, 1 << 26
_COPY_ROWS, _COPY_COLUMNS = 64, 1024
_CACHED_BYTES, _AHEAD_BYTES = 1 << 25, 4096
"""The largest matrix that is taken to be in cache already; how far ahead memory is asked for in others."""

_KEY_TYPES = {"f4": "f4", "f8": "f8", "i4": "i4", "u4": "i4", "i8": "i8", "u8": "i8"}


def select(
    matrix: np.ndarray, k: int, largest: bool, num_threads: int
) -> tuple[np.ndarray, np.ndarray, tuple[int, int] | None]:
    """The k best of each row of a matrix of real numbers, of any strides and byte order.

    Return scores (m, k) float32, indices (m, k) int64, and where the first NaN is, if any.
    """
    m, selected, nbytes = len(matrix), min(k, matrix.shape[1]), matrix.nbytes
    shares = 1
    if nbytes >= 2 * _PART_BYTES:
        shares = max(min(16 * num_threads, nbytes // _PART_BYTES), nbytes // _PACE_BYTES)
        # Few rows are cut into pieces, so that all threads have work, and long ones to be interrupted.
        row_bytes = nbytes // m
        wanted = max(-(-4 * num_threads // m) if num_threads > 1 else 1, row_bytes // _PACE_BYTES)
        pieces = min(wanted, row_bytes // max(4 * _PART_BYTES, 128 * selected))
        if pieces > 1:
            return _select_pieces(matrix, k, largest, num_threads, pieces)
    scores, indices = np.empty((m, k), np.float32), np.empty((m, k), np.int64)
    if selected < k:
        scores[:, selected:], indices[:, selected:] = -np.inf if largest else np.inf, -1
    parts = rows.split(m, shares) if shares > 1 else [(0, m)]
    nans = threads.run(lambda run: _select_part(*run, matrix, largest, scores, indices), parts, num_threads)
    return scores, indices, next((place for place in nans if place[0] >= 0), None)


def _select_pieces(
    matrix: np.ndarray, k: int, largest: bool, num_threads: int, pieces: int
) -> tuple[np.ndarray, np.ndarray, tuple[int, int] | None]:
    """Select from pieces of each row, then from what they selected.

    That is in the order of pieces, and of columns where it is equal: ties fall as they should.
    """
    m, n = matrix.shape
    jobs = [(row, a, b) for row in range(m) for a, b in rows.split(n, pieces)]
    answers = threads.run(
        lambda job: select(matrix[job[0] : job[0] + 1, job[1] : job[2]], k, largest, 1), jobs, num_threads
    )
    for (row, start, _), (*_, nan) in zip(jobs, answers, strict=True):
        if nan is not None:
            return *answers[0][:2], (row, start + nan[1])
    columns = np.concatenate([a + indices for (_, a, _), (_, indices, _) in zip(jobs, answers, strict=True)])
    columns = columns.reshape(m, pieces * k)
    scores, places, _ = select(np.take_along_axis(matrix, columns, axis=1), k, largest, num_threads)
    return scores, np.take_along_axis(columns, places, axis=1), None


def _select_part(
    start: int, stop: int, matrix: np.ndarray, largest: bool, scores: np.ndarray, indices: np.ndarray
) -> tuple[int, int]:
    """Select from the rows from ``start`` to ``stop``; return where the first NaN is, or (−1, −1)."""
    n = matrix.shape[1]
    kind = matrix.dtype.str[1:]
    nan: tuple[int, int]
    if matrix.dtype.isnative and kind in _KEY_TYPES and (n == 1 or matrix.strides[1] == matrix.itemsize):
        sample, flip = _key(kind, largest)
        origin, stride = _rows_of(matrix)
        ahead = _AHEAD_BYTES if matrix.nbytes > _CACHED_BYTES else 0
        nan = _select_rows(start, stop, sample, flip, origin, stride, n, ahead, scores, indices)
        return nan
    key = kind if kind in _KEY_TYPES else "f4"  # which holds what has 16 bits
    # Where entries of a column are neighbors, several rows are copied together, a few columns at a time.
    upright = abs(matrix.strides[0]) < abs(matrix.strides[1])
    height = max(1, min(_COPY_ROWS, (32 if upright else 4) * _PART_BYTES // (8 * n + 1)))
    step = _COPY_COLUMNS if upright else max(1, n)
    copy = np.empty((height, n), key)
    sample, flip = _key(key, largest)
    for row in range(start, stop, height):
        values = matrix[row : min(row + height, stop)]
        for column in range(0, n, step):
            copy[: len(values), column : column + step] = values[:, column : column + step]
        target = slice(row, row + len(values))
        origin, stride = _rows_of(copy)
        nan = _select_rows(
            0, len(values), sample, flip, origin, stride, n, 0, scores[target], indices[target]
        )
        if nan[0] >= 0:
            return row + nan[0], nan[1]
    return -1, -1


def _rows_of(matrix: np.ndarray) -> tuple[int, int]:
    """Address of the first row and bytes from row to row."""
    return matrix.__array_interface__["data"][0], matrix.strides[0]


@functools.cache
def _key(kind: str, largest: bool) -> tuple[np.ndarray, int]:
    """The smallest key of values of this type, in an array of the type of keys, and ``flip``."""
    sign = 1 << (8 * int(kind[1]) - 1)
    if kind[0] == "f":
        return np.array([-np.inf], kind), 0 if largest else _signed(sign)
    flip = (sign if kind[0] == "u" else 0) ^ (0 if largest else 2 * sign - 1)
    return np.array([np.iinfo(_KEY_TYPES[kind]).min], _KEY_TYPES[kind]), _signed(flip)


def _signed(bits: int) -> int:
    """64 bits as the integer that compiled code takes them for."""
    return bits - (1 << 64) if bits >> 63 else bits


@kernel
def _select_rows(start, stop, sample, flip, matrix, stride, columns, ahead, scores, indices):
    """Select from rows that are contiguous, asking for memory ``ahead`` bytes ahead, unless that is 0.

    Return where the first NaN is, or (−1, −1).
    """
    kept = min(scores.shape[1], columns)
    lanes = max(BLOCK, -(-2 * kept // BLOCK) * BLOCK)
    take_all = columns < 4 * lanes  # too few for a threshold
    capacity = columns if take_all else 2 * lanes
    keys, places = np.empty(capacity + BLOCK, sample.dtype), np.empty(capacity, np.int64)
    bests, marks = np.empty(lanes, sample.dtype), np.empty((_CHUNK // BLOCK, 2), np.int64)
    order = np.empty(kept, np.int64)
    for i in range(start, stop):
        at = matrix + i * stride
        if take_all:
            size, nan = _take(sample, at, columns, flip, keys, places)
        else:
            size, nan = _collect(sample, at, columns, flip, kept, ahead, bests, marks, keys, places)
        if nan >= 0:
            return i, nan
        if size > max(kept, _RANKED):
            keep(sample, keys, places, size, kept)
            size = kept
        rank(sample, keys, size, order)
        for place in range(kept):
            scores[i, place] = sort_keys.key_to_float32(sample, keys[order[place]], flip)
            indices[i, place] = places[order[place]]
    return -1, -1


@inline
def _take(sample, at, columns, flip, keys, places):
    """Append all entries of a row; return how many, and the column of the first NaN or −1."""
    nan = False
    for j in range(columns):
        key = sort_keys.load_key(sample, at + j * sample.itemsize, flip)
        nan |= key != key
        keys[j], places[j] = key, j
    if nan:
        for j in range(columns):
            if keys[j] != keys[j]:
                return 0, j
    return columns, -1


@inline
def _collect(sample, at, columns, flip, kept, ahead, bests, marks, keys, places):
    """Append entries that may be among the best; return how many, and the column of the first NaN or −1."""
    width, region, capacity = sample.itemsize, _ROUNDS * len(bests), len(places)
    threshold, size = sample[0], np.int64(0)  # see topk.py
    crowded, kept_at, ties, until = True, 0, False, 0
    for start in range(0, columns, _CHUNK):
        if crowded and start >= until:
            until = min(start + region, columns)
            bound = _bound(sample, at + start * width, until - start, flip, kept, bests)
            crowded = bound > threshold and start > 0
            if bound > threshold or start == 0:
                threshold, ties = bound, True
        marked = _mark(sample, at, columns, flip, start, threshold, ties, ahead, marks)
        for mark in range(marked):
            first, bits = marks[mark, 0], marks[mark, 1]
            while bits != 0:
                place = first + simd.trailing_zeros(bits)
                bits &= bits - 1
                key = sort_keys.load_key(sample, at + place * width, flip)
                if key < threshold or (key == threshold and not ties):
                    continue
                if key != key:
                    return 0, place
                keys[size], places[size] = key, place
                size += 1
                if size == capacity:
                    worst = keep(sample, keys, places, size, kept)
                    size = kept
                    if worst >= threshold:
                        threshold, ties = worst, False
                    crowded |= start - kept_at < region
                    kept_at = start
        if ties and start + _CHUNK >= until:
            if size > kept:
                threshold = keep(sample, keys, places, size, kept)
                size = kept
            ties = False
    return size, -1


@inline
def _mark(sample, at, columns, flip, start, threshold, ties, ahead, marks):
    """Note which entries of a chunk pass the threshold, without a branch; return how many blocks have any."""
    marked = 0
    for j in range(start, min(start + _CHUNK, columns), BLOCK):
        first = min(j, columns - BLOCK)
        block = at + first * sample.itemsize
        if ahead > 0:
            for line in range(0, BLOCK * sample.itemsize, 64):
                simd.prefetch(block + ahead + line)
        if ties:
            bits = sort_keys.keys_reaching(sample, block, threshold, flip)
        else:
            bits = sort_keys.keys_above(sample, block, threshold, flip)
        bits = bits >> (j - first) << (j - first)
        marks[marked, 0], marks[marked, 1] = first, bits
        marked += bits != 0
    return marked


@inline
def _bound(sample, at, columns, flip, kept, bests):
    """A key that at least ``kept`` of these columns reach: the kept-th best of the lanes' bests."""
    bests[:] = sample[0]
    base, lanes, width = bests.ctypes.data, len(bests), sample.itemsize
    lane = 0
    for j in range(0, columns // BLOCK * BLOCK, BLOCK):
        sort_keys.raise_keys(sample, base + lane * width, at + j * width, flip)
        lane += BLOCK
        if lane == lanes:
            lane = 0
    return best(sample, bests, lanes, kept)[0]
