"""Nothing is read or written outside of the caller's rows: behind and before them may be no memory."""

import contextlib
import ctypes
import mmap
import sys

import numpy as np
import pytest
from assertions import assert_same_bits
from data import gaussian, hashed
from test_dense import WAYS
from test_int8 import int8_rows

import fastvec

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="pages are closed by mprotect")


@contextlib.contextmanager
def between_closed_pages(array, *, last):
    """A copy of an array that ends where a closed page begins, or begins where one ends."""
    room = -(-array.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, room + 2 * mmap.PAGESIZE)
    held = np.frombuffer(memory, np.uint8)
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    closed = held.ctypes.data, held.ctypes.data + mmap.PAGESIZE + room
    for page in closed:
        assert protect(page, mmap.PAGESIZE, 0) == 0
    start = mmap.PAGESIZE + (room - array.nbytes if last else 0)
    copy = held[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[:] = array
    try:
        yield copy
    finally:
        for page in closed:
            protect(page, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE)


def dense(way, m):
    """The cosines of the last ``m`` rows with all."""

    def call(rows):
        queries = rows[-m:]
        out = np.empty((len(queries), len(rows)), np.float32)
        assert WAYS[way](queries, rows, out, 1) == (-1, -1)
        return out

    return call


CALLS = {
    "normalize": fastvec.normalize,
    "topk": lambda rows: fastvec.topk(rows, 3),
    "knn": lambda rows: fastvec.knn(rows[:3], rows, 4),
    "euclidean": lambda rows: fastvec.knn(rows[-1], rows, 4, metric="euclidean"),
    "index": lambda rows: fastvec.Index(rows).search(rows, 4),
    **{f"{way}-{m}": dense(way, m) for way in WAYS if way != "chosen" for m in (1, 40)},
}
ROWS = {
    "narrow": gaussian(37, 7, 1),
    "whole": hashed(64, 64, 1),
    "wide": gaussian(19, 187, 1),
}
OTHER = {
    "float64": (lambda rows: fastvec.Index(rows).search(rows[:2], 3), gaussian(37, 33, 1).astype(np.float64)),
    "int8": (lambda rows: fastvec.Index(rows).search(rows[:2], 3), int8_rows(37, 33)),
    "float16": (lambda rows: fastvec.knn(rows[:2], rows, 3), gaussian(37, 33, 1).astype(np.float16)),
    "bits": (lambda rows: fastvec.topk(rows, 9), np.arange(37 * 70).reshape(37, 70) % 91),
}
CASES = {f"{call}-{rows}": (CALLS[call], ROWS[rows]) for call in CALLS for rows in ROWS} | OTHER


@pytest.mark.parametrize("last", [True, False], ids=["last", "first"])
@pytest.mark.parametrize("case", CASES)
def test_nothing_is_read_past_the_rows(case, last):
    call, rows = CASES[case]
    expected = call(rows)
    with between_closed_pages(rows, last=last) as held:
        actual = call(held)
    for left, right in zip(np.atleast_3d(actual), np.atleast_3d(expected), strict=True):
        assert_same_bits(left, right)
