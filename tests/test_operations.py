"""Functions that kernels have as LLVM instructions do what their twins in NumPy do, bit for bit."""

import numpy as np
import operation_twins as twins
import pytest
from data import hashed
from numba import njit

from fastvec.kernels import simd, tiles

LANES, COUNTS = 16, (0, 1, 15, 16, 17, 31, 32)


@njit
def reaching(scores, stride, terms, weights, thresholds, ends):
    """All tests of scores against thresholds."""
    scale, margin = terms, terms + 64
    s, e = simd.load16(scale), simd.load16(margin)
    w, t = simd.load16(weights), simd.load16(thresholds)
    return (
        tiles.rows_reaching(scores, s, simd.mul16(e, w), t),
        tiles.queries_reaching(scores, stride, scale, margin, w, t),
        tiles.upper_ends(scores, s, e, w, t, ends),
        tiles.ends_reaching(ends, t),
    )


def twins_reaching(scores, stride, terms, weights, thresholds, ends):
    scale, margin = terms, terms + 64
    s, e, w, t = (twins.SIMD["load16"](at) for at in (scale, margin, weights, thresholds))
    return (
        twins.OPERATIONS["rows_reaching"](scores, s, e * w, t),
        twins.OPERATIONS["queries_reaching"](scores, stride, scale, margin, w, t),
        twins.OPERATIONS["upper_ends"](scores, s, e, w, t, ends),
        twins.OPERATIONS["ends_reaching"](ends, t),
    )


@pytest.mark.parametrize("stride", [64, 128])
def test_scores_against_thresholds(stride):
    rng = np.random.default_rng(stride)
    for _ in range(40):
        scores = rng.integers(-4, 5, 128).astype(np.int32)
        terms = rng.choice(np.array([-np.inf, -0.5, 0.25, 1, 3], np.float32), (2, LANES))
        terms[0] = np.abs(terms[0, 0]) if np.isfinite(terms[0, 0]) else 1
        weights, thresholds = rng.choice(np.array([0.5, 1, 2], np.float32), (2, LANES))
        thresholds[rng.integers(0, LANES, 3)] = -np.inf, np.inf, 0
        ends = np.zeros((2, LANES), np.float32)
        places = [array.ctypes.data for array in (scores, terms, weights, thresholds)]
        places.insert(1, stride)
        actual = reaching(*places, ends[0].ctypes.data)
        expected = twins_reaching(*places, ends[1].ctypes.data)
        assert [value & (2**64 - 1) for value in actual] == list(expected)
        np.testing.assert_array_equal(ends[0].view(np.int32), ends[1].view(np.int32))


@njit
def sums(at, wide, count, out, codes):
    """What is loaded in part, trees, and what is stored in part."""
    value, double = simd.load_first(at, count), simd.load_first_wide(wide, count)
    largest = simd.maximum(value, simd.load(at + 128))
    simd.store_first(out, largest, count)
    simd.store_codes(codes, simd.nearest(simd.mul(value, simd.broadcast(np.float32(127.0)))))
    return (
        simd.tree_sum(double),
        simd.tree_sum_narrow(value),
        simd.tree_max(simd.absolute(value)),
        simd.tree_max_wide(simd.maximum_wide(double, simd.load_wide(wide + 256))),
        simd.tree_sum(simd.add_product(double, simd.widen(value), simd.widen(largest))),
        simd.at_least(value, largest),
    )


def twins_sums(at, wide, count, out, codes):
    of = twins.SIMD
    value, double = of["load_first"](at, count), of["load_first_wide"](wide, count)
    largest = of["maximum"](value, of["load"](at + 128))
    of["store_first"](out, largest, count)
    of["store_codes"](codes, of["nearest"](of["mul"](value, of["broadcast"](np.float32(127.0)))))
    return (
        of["tree_sum"](double),
        of["tree_sum_narrow"](value),
        of["tree_max"](of["absolute"](value)),
        of["tree_max_wide"](of["maximum_wide"](double, of["load_wide"](wide + 256))),
        of["tree_sum"](of["add_product"](double, of["widen"](value), of["widen"](largest))),
        of["at_least"](value, largest),
    )


@pytest.mark.parametrize("count", COUNTS)
def test_lanes(count):
    for seed in range(5):
        values = hashed(2, 32, seed)
        values /= np.abs(values).max()
        wide = values.astype(np.float64) + 2.0**-40
        out, codes = np.full((2, 32), 7, np.float32), np.zeros((2, 32), np.uint8)
        actual = sums(values.ctypes.data, wide.ctypes.data, count, out[0].ctypes.data, codes[0].ctypes.data)
        expected = twins_sums(
            values.ctypes.data, wide.ctypes.data, count, out[1].ctypes.data, codes[1].ctypes.data
        )
        assert actual == expected
        np.testing.assert_array_equal(out[0], out[1])
        np.testing.assert_array_equal(codes[0], codes[1])
        assert (out[0, count:] == 7).all()
