"""The best of a buffer of keys, and their order.

``keys`` are those of ``sort_keys``: of one type, larger is better, no NaN, and no −0.0. Past
the last of them is room for a block, which is overwritten.
"""

import numpy as np

from . import simd, sort_keys
from .compile import inline

BLOCK = sort_keys.KEYS
_COUNTED = 256  # up to this number, keys are ranked by counting, more by digits


@inline
def keep(sample, keys, places, size, kept):
    """Keep the ``kept`` best of the buffer in its order, of equal ones the first; return the worst."""
    worst, equal = best(sample, keys, size, kept)
    filled = 0
    for start in range(0, size, BLOCK):
        bits = sort_keys.keys_reaching(sample, keys.ctypes.data + start * sample.itemsize, worst, 0)
        while bits != 0 and filled < kept:
            z = start + simd.trailing_zeros(bits)
            bits &= bits - 1
            if keys[z] == worst:
                if equal == 0:
                    continue
                equal -= 1
            keys[filled], places[filled] = keys[z], places[z]
            filled += 1
    return worst


@inline
def best(sample, keys, size, nth):
    """The nth largest of the first keys, and how many of its equals are among the n largest.

    Pivots are chosen at random from the keys between the bounds that earlier ones left, and
    counted against, 64 keys at a time; nothing is moved.
    """
    _fill_block(sample, keys, size)
    base, width, blocks = keys.ctypes.data, sample.itemsize, -(-size // BLOCK)
    state, low, high, from_low, from_high = np.uint32(size), sample[0], sample[0], False, False
    above_low, reaching_high = size, 0
    between = size
    while True:
        state = np.uint32(state * np.uint32(1664525) + np.uint32(1013904223))
        skip = np.int64((np.uint64(state) * np.uint64(between)) >> np.uint64(32))
        for block in range(blocks):
            at = base + block * BLOCK * width
            bits = sort_keys.keys_above(sample, at, low, 0) if from_low else np.int64(-1)
            if from_high:
                bits &= ~sort_keys.keys_reaching(sample, at, high, 0)
            count = simd.count_bits(bits)
            if count > skip:
                break
            skip -= count
        for _ in range(skip):
            bits &= bits - 1
        pivot = keys[block * BLOCK + simd.trailing_zeros(bits)]
        above, reaching = 0, 0
        for block in range(blocks):
            at = base + block * BLOCK * width
            above += simd.count_bits(sort_keys.keys_above(sample, at, pivot, 0))
            reaching += simd.count_bits(sort_keys.keys_reaching(sample, at, pivot, 0))
        if above >= nth:
            low, from_low, above_low = pivot, True, above
        elif reaching < nth:
            high, from_high, reaching_high = pivot, True, reaching
        else:
            return pivot, nth - above
        between = above_low - reaching_high


@inline
def _fill_block(sample, keys, size):
    """Fill the last block of 64 keys up with the smallest key of all."""
    for z in range(size, -(-size // BLOCK) * BLOCK):
        keys[z] = sample[0]


@inline
def rank(sample, keys, size, order):
    """Write positions of the first ``size`` keys, the best first; equal keys keep their order."""
    if size <= _COUNTED:
        _rank_by_counting(sample, keys, size, order)
    else:
        _rank_by_digits(sample, keys, size, order)


@inline
def _rank_by_counting(sample, keys, size, order):
    """``rank`` for few keys: a key's place is the number of better ones."""
    _fill_block(sample, keys, size)
    base, width = keys.ctypes.data, sample.itemsize
    for z in range(size):
        home = z // BLOCK * BLOCK
        earlier = (1 << (z - home)) - 1
        place = simd.count_bits(
            (sort_keys.keys_reaching(sample, base + home * width, keys[z], 0) & earlier)
            | sort_keys.keys_above(sample, base + home * width, keys[z], 0)
        )
        for other in range(0, home, BLOCK):
            place += simd.count_bits(sort_keys.keys_reaching(sample, base + other * width, keys[z], 0))
        for other in range(home + BLOCK, size, BLOCK):
            place += simd.count_bits(sort_keys.keys_above(sample, base + other * width, keys[z], 0))
        if place < len(order):
            order[place] = z


@inline
def _rank_by_digits(sample, keys, size, order):
    """``rank`` for many keys: a stable radix sort, a byte at a time."""
    digits = sample.itemsize
    counts = np.zeros((digits, 256), np.int64)
    ranks, positions = np.empty(size, np.uint64), np.empty(size, np.int64)
    other_ranks, other_positions = np.empty(size, np.uint64), np.empty(size, np.int64)
    for z in range(size):
        ranks[z], positions[z] = sort_keys.key_rank(sample, keys[z]), z
        for digit in range(digits):
            counts[digit, (ranks[z] >> np.uint64(8 * digit)) & np.uint64(255)] += 1
    for digit in range(digits):
        shift, count = np.uint64(8 * digit), counts[digit]
        if count[(ranks[0] >> shift) & np.uint64(255)] == size:
            continue  # all have the same digit
        total = 0
        for value in range(256):
            count[value], total = total, total + count[value]
        for z in range(size):
            bucket = (ranks[z] >> shift) & np.uint64(255)
            to = count[bucket]
            count[bucket] = to + 1
            other_ranks[to], other_positions[to] = ranks[z], positions[z]
        ranks, other_ranks = other_ranks, ranks
        positions, other_positions = other_positions, positions
    for place in range(len(order)):
        order[place] = positions[place]
