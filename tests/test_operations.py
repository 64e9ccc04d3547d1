"""Functions that kernels have as LLVM instructions do what their twins in NumPy do, bit for bit."""

import numpy as np
import operation_twins as twins
import pytest
from data import hashed
from numba import njit

from fastvec.kernels import cosmul, lanes, rows, selection, simd, sort_keys, tiles
from fastvec.kernels import sums as exact_sums

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


@njit
def steps(at, total, out):
    a, b, before = simd.load_wide(at), simd.load_wide(at + 256), simd.load_wide(total)
    difference = exact_sums.difference(a, b)
    simd.store_wide(out, difference)
    simd.store_wide(out + 256, exact_sums.add_square(before, difference))
    simd.store_wide(out + 512, exact_sums.add_magnitude(before, difference))
    simd.store_wide(out + 768, exact_sums.add_product(before, a, b))


def test_steps_of_exact_sums():
    """Squares of differences are rounded before they are added."""
    for seed in range(5):
        pair = hashed(2, 32, seed) * [[1.0], [2.0**-21]]  # squares of differences have too many digits
        before = np.abs(hashed(1, 32, seed + 9)[0]) + np.float64(2.0**-40)
        out = np.empty((4, 32))
        steps(pair.ctypes.data, before.ctypes.data, out.ctypes.data)
        a, b = pair
        expected = a - b, before + (a - b) * (a - b), before + np.abs(a - b), before + a * b
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dims", [1, 31, 32, 33, 70])
def test_norms_of_int8_rows(dims):
    held = np.random.default_rng(dims).integers(-128, 128, (9, dims + 5)).astype(np.int8)
    norms = np.full(10, 7.0)
    rows.int8_norms(1, 9, held.ctypes.data, held.strides[0], dims, norms)
    expected = np.sqrt((held[1:, :dims].astype(np.int64) ** 2).sum(axis=1))
    np.testing.assert_array_equal(norms, [7, *expected, 7])


mixed_sums = lanes.row_sums(simd.f64x32, simd.add_product, lanes.FLOAT32, lanes.INT8)


@njit
def sums_with_int8(q, other, x, dims):
    return mixed_sums(q, x, dims), mixed_sums((other, q), x, dims)


@pytest.mark.parametrize("dims", [1, 64, 70])
def test_sums_of_float32_rows_with_int8_rows(dims):
    """Of whole numbers, so that every sum is exact."""
    rng = np.random.default_rng(dims)
    x, (q, other) = rng.integers(-128, 128, dims, np.int8), rng.integers(-999, 999, (2, dims))
    held = np.array([q, other], np.float32)
    found = sums_with_int8(held[0].ctypes.data, held[1].ctypes.data, x.ctypes.data, dims)
    assert found == (q @ x, (other @ x, q @ x))


@njit
def keys(sample, at, threshold, flip, bests):
    """All functions of keys."""
    sort_keys.raise_keys(sample, bests, at, flip)
    key = sort_keys.load_key(sample, at, flip)
    return (
        sort_keys.keys_above(sample, at, threshold, flip),
        sort_keys.keys_reaching(sample, at, threshold, flip),
        key,
        sort_keys.key_to_float32(sample, key, flip),
        sort_keys.key_rank(sample, key),
    )


def twins_keys(sample, at, threshold, flip, bests):
    of = twins.OPERATIONS
    of["raise_keys"](sample, bests, at, flip)
    key = of["load_key"](sample, at, flip)
    tested = (test(sample, at, threshold, flip) for test in (twins.keys_above, twins.keys_reaching))
    return *tested, key, of["key_to_float32"](sample, key, flip), of["key_rank"](sample, key)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize(("kind", "firsts"), [("f4", (-0.0, 0.0, -3, 2)), ("u8", (0, 2**64 - 1, 3, 2**63))])
def test_keys_of_a_selection(kind, firsts, largest):
    """NaN passes every threshold, and is never among the best."""
    sample, flip = selection._key(kind, largest)
    for seed, first in enumerate(firsts):
        rng = np.random.default_rng(seed)
        values, before = rng.integers(0, 9, (2, sort_keys.KEYS)).astype(kind)
        if kind == "f4":
            values -= 4
            values[rng.choice(np.arange(3, 64), 9)] = np.nan
        values[0] = first
        bests = np.repeat(before[np.newaxis].view(sample.dtype), 2, axis=0)
        threshold = twins.OPERATIONS["load_key"](sample, values.ctypes.data + 8, flip)
        actual = keys(sample, values.ctypes.data, threshold, flip, bests[0].ctypes.data)
        expected = twins_keys(sample, values.ctypes.data, threshold, flip, bests[1].ctypes.data)
        assert actual == expected
        np.testing.assert_array_equal(bests[0], bests[1])


@njit
def moved(at, wide, words, counter, out, wide_out, halves, like, bits):
    """Loads and stores of every kind, of which none needs an alignment, and steps that are exact here."""
    value, double = simd.load(at), simd.load_wide(wide)
    more = simd.sub(simd.mul(simd.add(value, simd.load(at + 128)), value), simd.absolute(value))
    simd.store(out, simd.multiply_add(value, more, simd.narrow(double)))
    most = simd.sub_wide(simd.mul_wide(double, simd.broadcast_wide(3.0)), simd.absolute_wide(double))
    simd.store_wide(wide_out, simd.add_wide(most, simd.widen(more)))
    simd.store_scalar(out + 128, simd.load_scalar(at + 8))
    simd.store_int(out + 132, np.int64(-7))
    simd.store_halves(words, halves, halves + 64)
    simd.prefetch(at)
    simd.prefetch_near(at)
    simd.prefetch_to_write(out)
    return (
        simd.load_double(wide + 16),
        simd.load_long(counter),
        simd.fetch_add(counter, np.int64(5)),
        simd.fetch_add(counter, np.int64(-9)),
        simd.load_long(counter),
        simd.load_unsigned(words + 3),
        simd.load_like(like, wide + 24),
        simd.trailing_zeros(bits),
        simd.count_bits(bits),
    )


def twins_moved(at, wide, words, counter, out, wide_out, halves, like, bits):
    of = twins.SIMD
    value, double = of["load"](at), of["load_wide"](wide)
    more = of["sub"](of["mul"](of["add"](value, of["load"](at + 128)), value), of["absolute"](value))
    of["store"](out, of["multiply_add"](value, more, of["narrow"](double)))
    most = of["sub_wide"](of["mul_wide"](double, of["broadcast_wide"](3.0)), of["absolute_wide"](double))
    of["store_wide"](wide_out, of["add_wide"](most, of["widen"](more)))
    of["store_scalar"](out + 128, of["load_scalar"](at + 8))
    of["store_int"](out + 132, -7)
    of["store_halves"](words, halves, halves + 64)
    return (
        of["load_double"](wide + 16),
        of["load_long"](counter),
        of["fetch_add"](counter, 5),
        of["fetch_add"](counter, -9),
        of["load_long"](counter),
        of["load_unsigned"](words + 3),
        of["load_like"](like, wide + 24),
        of["trailing_zeros"](bits),
        of["count_bits"](bits),
    )


@pytest.mark.parametrize("bits", [1, -1, -(1 << 63), 0x0F30, 1 << 40])
def test_memory_and_bits(bits):
    rng = np.random.default_rng(bits & 7)
    values, double = rng.integers(-9, 9, 65).astype(np.float32), rng.integers(-99, 99, 33) / 8.0
    words = rng.integers(0, 1 << 32, 16, np.uint32)
    made = []
    for function in (moved, twins_moved):
        counter, out, wide_out = np.array([17]), np.zeros(40, np.float32), np.zeros(34)
        halves = np.zeros(32, np.uint32)
        places = [array.ctypes.data for array in (values[1:], double[1:], words, counter)]
        places += [out[1:].ctypes.data, wide_out[1:].ctypes.data, halves.ctypes.data]
        made.append(
            (function(*places, double, np.int64(bits)), counter, out.view(np.int32), wide_out, halves)
        )
    for ours, theirs in zip(*made, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@njit
def filled(words, columns, dims, halves):
    cosmul._fill_four(words, columns, dims, halves)


@pytest.mark.parametrize("dims", [1, 33])
def test_halves_of_cosines(dims):
    rng = np.random.default_rng(dims)
    words, columns = rng.integers(-9, 9, (4, dims)) / 8, rng.integers(-9, 9, (dims, 32)) / 8
    words, columns = words.astype(np.float32), columns.astype(np.float32)
    halves = np.full((5, 32), 7, np.float32)
    filled(words.ctypes.data, columns.ctypes.data, dims, halves.ctypes.data)
    np.testing.assert_array_equal(halves[:4], (1 + words @ columns) / 2)
    assert (halves[4] == 7).all()
