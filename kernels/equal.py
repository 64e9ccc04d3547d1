"""Rows that are equal: each is led to the first of them.

Rows are sorted by a key, a sum of products with fixed weights in the contract's order, which is the same for
equal rows wherever they lie. Within a run of equal keys every row is compared with the first. Other rows may
happen to have the same key; those that are not equal to the first of their run count as different from all.
"""

import numpy as np

from . import matrix, rows, simd, threads
from .compile import kernel
from .matrix import Matrix, row_at

_SHARE = 1 << 20
"""Bytes of rows that a thread takes at once."""


def first_equal(vectors: Matrix, numbers: np.ndarray, dims: int, num_threads: int) -> np.ndarray:
    """For each of the rows with these rising numbers, a number of a row equal to it: itself, or a lower one.

    Only the first ``dims`` values count, and zeros of both signs are equal.
    """
    keys, weights = np.empty(vectors.rows), _weights(dims)
    height = max(1, _SHARE // (4 * dims))
    tasks = [
        (at, min(at + height, stop), block)
        for start, stop, block in vectors.runs(0, vectors.rows)
        for at in range(start, stop, height)
    ]
    threads.run(lambda task: _write_keys(*task, weights.ctypes.data, dims, keys), tasks, num_threads, weights)
    bits = keys.view(np.int64)[numbers]
    order = np.argsort(bits, kind="stable")
    ranked, sorted_bits = numbers[order], bits[order]
    begins = np.ones(len(ranked), np.bool_)
    begins[1:] = sorted_bits[1:] != sorted_bits[:-1]
    heads = ranked[np.maximum.accumulate(np.where(begins, np.arange(len(ranked)), 0))]
    later = np.flatnonzero(~begins)
    same = np.zeros(len(later), np.bool_)
    parts = rows.blocks(len(later), 8 * dims, num_threads)
    threads.run(
        lambda part: _compare(*part, ranked[later], heads[later], vectors, dims, same), parts, num_threads
    )
    first = np.empty(vectors.rows, np.int64)
    first[numbers] = numbers
    first[ranked[later[same]]] = heads[later[same]]
    found: np.ndarray = first[numbers]
    return found


def _weights(dims: int) -> np.ndarray:
    """Fixed float32 weights from 1 to 2, by a hash that is not linear: else many rows of zeros and ones, all
    whose ones add up to the same place, would have the same key."""
    mixed = np.arange(1, dims + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return (1.0 + (mixed >> np.uint64(41)) * 2.0**-23).astype(np.float32)


@kernel
def _write_keys(start, stop, block, weights, dims, keys):
    for row in range(start, stop):
        keys[row] = rows.dot(weights, row_at(block, row), dims)


@kernel
def _compare(start, stop, numbers, others, vectors, dims, same):
    for place in range(start, stop):
        x, y = matrix.address(vectors, numbers[place]), matrix.address(vectors, others[place])
        same[place] = True
        for at in range(0, 4 * dims, 4):
            if simd.load_scalar(x + at) != simd.load_scalar(y + at):
                same[place] = False
                break
