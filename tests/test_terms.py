"""Every term of the formulas in ``bound.py``, in rational numbers: none is less than stated, and none more.

``test_bound.py`` attacks the proof with data. A slack that pays for rounding is rarely needed by any data, so
a search may go on to answer well without it; here it is missed at once. The formulas are written anew, with
the numbers of ``bound.py``'s text. The functions run as plain Python, with the arithmetic of compiled code.
"""

import itertools
from fractions import Fraction
from math import frexp, isqrt
from types import SimpleNamespace

import numpy as np
import pytest

from fastvec.kernels import bound, cosmul, direct, encode, log, metrics, micro, scan, screen, tiles

EXACT = Fraction(1, 2**48)
"""What a formula's float64 roundings may come to, of the magnitude of its terms."""
TWO = Fraction(2)

ROOTS = (-1.5, -(2.0**-30), 0.0, 2.0**-40, 0.3, 1.0)
ERRORS = ((0.0, 0.0), (2.0**-20, 2.0**-20), (0.01, 0.02), (0.9, 0.99))
NORMS = ((1.0, 1.0), (3.7, 0.6), (2.0**-60, 2.0**50), (2.0**40, 2.0**-70))
SCALES = (1.0, 0.0123, 1 / 3)


def root_of(square):
    """√ of a rational number, cut at 2⁻²⁰⁰ of its size."""
    shift = 2 ** (200 + square.denominator.bit_length())
    return Fraction(isqrt(int(square * shift * shift)), shift)


def assert_near(actual, exact, magnitude, tolerance=EXACT):
    assert abs(Fraction(float(actual)) - exact) <= magnitude * tolerance, (float(actual), float(exact))


def power_for(norm):
    """P: a power of two that brings a norm to [½, 1)."""
    return Fraction(2) ** -frexp(norm)[1]


def every(*values):
    """Combinations, floats and the same as fractions."""
    for some in itertools.product(*values):
        flat = [x for value in some for x in (value if isinstance(value, tuple) else (value,))]
        yield flat, [Fraction(x) for x in flat]


@pytest.mark.parametrize("of_q", [0.0, 2.0**-20, 0.01, 1.0])
@pytest.mark.parametrize("of_x", [0.0, 2.0**-20, 0.01, 1.0])
def test_error_of_a_cosine(of_q, of_x):
    q, x = Fraction(of_q), Fraction(of_x)
    assert_near(bound.cosine_error.py_func(of_q, of_x), x + q * (1 + x), 1, Fraction(1, 2**50))


def test_slacks_are_those_of_the_proof():
    assert (bound.MEASURED_SLACK, bound.FLOAT32_SLACK) == (2.0**-20, 2.0**-19)
    assert (bound.EUCLIDEAN_SLACK, bound.ROUND_DOWN) == (2.0**-36, 2.0**-22)
    assert (bound.ROW_ERROR, bound.QUERY_ERROR, bound.LONGEST) == (5 * 2.0**-10, 2.0**-7, 1.125)
    assert encode.NO_CODES > 1.0
    assert (screen._SHARE, screen._MOST_SLACK, screen._PASSES, screen._LEAST) == (
        3,
        2.0**-4,
        2.0**30,
        2.0**-40,
    )


def test_intervals():
    """(3): in float64, by the metric."""
    for floats, (cosine, error, q, x) in every(ROOTS, (0.0, 2.0**-20, 0.3), NORMS):
        lower, upper = metrics.interval("cosine", *floats)
        assert_near(lower, cosine - error, abs(cosine) + error)
        assert_near(upper, cosine + error, abs(cosine) + error)
        for actual, exact in zip(
            metrics.interval("dot", *floats), (cosine - error, cosine + error), strict=True
        ):
            assert_near(actual, q * x * exact, q * x * (abs(cosine) + error))
        squares, product = q * q + x * x, 2 * q * x
        slack = squares / 2**36
        lower, upper = metrics.interval("euclidean", *floats)
        farthest, nearest = (squares - product * (cosine + sign * error) - sign * slack for sign in (-1, 1))
        for actual, exact in ((lower, farthest), (upper, max(Fraction(0), nearest))):
            assert actual <= 0.0
            assert_near(float(actual) ** 2, exact, squares, Fraction(1, 2**46))


def test_terms_of_rows():
    for (scale, error, norm), (s, e, x) in every(SCALES, (0.0, 2.0**-20, 0.7), (1.0, 3.7, 2.0**-70, 2.0**50)):
        power = power_for(norm)
        length = x * power
        expected = {
            "cosine": (s, e),
            "dot": (s * length, e * length),
            "euclidean": (s * length, -length * length),
        }
        assert set(expected) == set(metrics.BOUNDED)
        for metric, terms in expected.items():
            actual = metrics.row_terms(metric, scale, error, norm, float(power))
            for ours, exact in zip(actual, terms, strict=True):
                assert_near(ours, exact, abs(exact))


def thresholds(metric, root, scale, slack, q, power, most, length):
    """θ of (4) and (5) in rational numbers, its terms' magnitude, and w; ``slack`` is that of the query."""
    reach = (1 + most) * length
    if metric != "euclidean":
        unit = root * power / q if metric == "dot" else root
        theta = (unit - slack * reach) / scale
        return theta, (abs(unit) + slack * reach) / scale, 1 / scale
    kappa = q * power
    squares, rounding = (root * power) ** 2 / kappa, (kappa + length**2 / kappa) / 2**19
    theta = ((kappa - squares) / 2 - rounding - most * length - slack * reach) / scale
    return theta, (kappa + squares + most * length + slack * reach) / scale, 1 / (2 * kappa * scale)


def assert_threshold(actual, theta, magnitude):
    """A float32 below θ by 2⁻²² of it, but for its own rounding."""
    lowered = theta - abs(theta) / 2**22
    assert_near(actual, lowered, magnitude * EXACT + abs(theta) / 2**23 + TWO**-126, 1)


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_thresholds(metric):
    """(4) and (5)."""
    for floats, (root, scale, error, most, q, x) in every(ROOTS, SCALES, ERRORS, NORMS):
        power = power_for(floats[5])
        length = x * power
        if metric == "cosine":
            power = length = Fraction(1)
        elif metric == "dot":
            root = root * q * x  # noqa: PLW2901
        else:
            root = -abs(root) * max(q, x)  # noqa: PLW2901
            if q * power < TWO**-60 or q * power * 2**40 < length:
                continue
        queries = SimpleNamespace(scale=[floats[1]], error=[floats[2]], norm=[floats[4]])
        limits = float(power), floats[3], float(length)
        theta, weight = log._theta.py_func(metric, 0, queries, float(root), limits)
        slack = error + TWO**-19
        exact, magnitude, exact_weight = thresholds(metric, root, scale, slack, q, power, most, length)
        assert theta.dtype == weight.dtype == np.float32
        assert_threshold(theta, exact, magnitude)
        assert_near(weight, exact_weight, exact_weight, Fraction(1, 2**23))


def test_terms_of_tails_and_of_lower_ends():
    for metric, tail, root, weight, length, by_length in (
        ("cosine", (0.0, 0.25, 0.0), 0.0, -7.0, 1.0, False),
        ("dot", (0.0, 0.25, 0.0), 0.0, -7.0, 15.0, True),
        ("euclidean", (0.125, 1.0, 1.0), -3.0, 7.0, 15.0, True),
    ):
        assert metrics.tail_terms(metric, 0.25, 0.5) == tail
        assert metrics.zero_root(metric, 3.0) == root
        assert metrics.low_weight(metric, 7.0) == weight
        assert metrics.length(metric, 5.0, 3.0) == length
        assert metrics.by_length(metric) is by_length
    for metric in metrics.TABLE:
        for name in (metric, metrics.of_int8(metric)):
            assert metrics.bounded(name) is (metric in metrics.BOUNDED) is (metric != "manhattan")
            assert metrics.adds_products(name) is (metric in ("cosine", "dot"))


def test_scores_of_sums():
    """A cosine is from −1 to 1, and 0 with a zero row; no score is −0.0."""
    for total, q, x, score in ((6.0, 16.0, 9.0, 0.5), (13.0, 16.0, 9.0, 1.0), (-13.0, 16.0, 9.0, -1.0)):
        assert metrics.score("cosine", total, q, x) == score
    for metric, step, score in (("dot", 16.0, 16.0), ("euclidean", 5.0, -4.0), ("manhattan", 3.0, -16.0)):
        assert metrics.accumulate(metric, 1.0, 3.0, 5.0) == step
        assert metrics.score(metric, 16.0, 9.0, 25.0) == score
        assert np.copysign(1.0, metrics.score(metric, 0.0, 9.0, 25.0)) == 1.0
    for squares in ((0.0, 9.0), (9.0, 0.0), (0.0, 0.0)):
        assert metrics.score("cosine", 0.0, *squares) == 0.0


def test_thresholds_of_a_zero_query():
    queries = SimpleNamespace(scale=[1.0], error=[0.0], norm=[0.0])
    theta, weight = log._theta.py_func("dot", 0, queries, 0.5, (0.25, 0.0, 1.0))
    assert_threshold(theta, Fraction(1, 8) - TWO**-19, 1)
    assert weight == 1.0


def test_every_row_passes_for_a_query_that_is_short_beside_them():
    """(5): where κ is below 2⁻⁴⁰·L, or so small that w might overflow."""
    for kappa, length, passes in (
        (2.0**-40, 1.0, False),
        (2.0**-40 * (1 - 2.0**-50), 1.0, True),
        (2.0**-60, 2.0**-20, False),
        (2.0**-60 * (1 - 2.0**-50), 2.0**-20, True),
        (2.0**-60, 2.0**-30, False),
        (2.0**-61, 2.0**-30, True),
        (0.0, 1.0, True),
    ):
        queries = SimpleNamespace(scale=[1.0], error=[0.0], norm=[kappa])
        theta, weight = log._theta.py_func("euclidean", 0, queries, -0.1, (1.0, 0.0, length))
        assert (theta == -np.finfo(np.float32).max) == passes
        assert (weight == 0.0) == passes


def test_no_row_passes_for_a_query_that_has_left():
    for theta in (log._theta, screen._theta):
        assert theta.py_func("cosine", 0, None, np.inf, None) == (np.inf, 1.0)


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_no_threshold_is_beyond_float32(metric):
    queries = SimpleNamespace(scale=[2.0**-47], error=[0.0], norm=[1.0])
    theta, _ = log._theta.py_func(metric, 0, queries, -1e300, (1.0, 0.0, 1.0))
    assert theta == -np.finfo(np.float32).max


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_thresholds_of_screens(metric):
    """(7)."""
    inner = ((0.01, 0.02, 0.9, 0.001), (2.0**-20, 2.0**-3, 1.1, 2.0**-4))
    for (floats, exacts), skew in itertools.product(every(ROOTS, SCALES, inner, NORMS), (0.0, 2.0**-10)):
        root, scale, error, tail, coded, slack, q, x = exacts
        power = power_for(floats[7])
        length, most = x * power, Fraction(0.3)
        if metric == "cosine":
            power = length = Fraction(1)
        elif metric == "dot":
            root = root * q * x
        else:
            root = -abs(root) * max(q, x)
            if q * power < TWO**-60 or q * power * 2**40 < length:
                continue
        coarse = SimpleNamespace(scale=[floats[1]], error=[floats[2]], norm=[floats[6]])
        queries = SimpleNamespace(coarse=coarse, tail=[floats[3]], length=[floats[4]])
        limits = float(power), float(most), float(length), floats[5], skew
        theta, weight = screen._theta.py_func(metric, 0, queries, float(root), limits)
        within = error * (1 + Fraction(skew) + slack) + coded * slack + TWO**-18
        if metric == "euclidean":  # all within the error: the weight is that of the rows' squares
            exact, magnitude, exact_weight = thresholds(metric, root, scale, Fraction(0), q, power, 0, length)
            exact -= (most * tail * length + within * (1 + most * tail) * length) / scale
        else:
            exact, magnitude, exact_weight = thresholds(metric, root, scale, within, q, power, 0, length)
            exact_weight *= tail
        assert_threshold(theta, exact, magnitude + 4 * length / scale)
        assert_near(weight, exact_weight, exact_weight, Fraction(1, 2**23))


@pytest.mark.parametrize(("dims", "p"), [(70, 64), (200, 192)])
def test_measures_of_a_basis(dims, p):
    """κ and π of (6), and those of leading directions, with what they have to spare."""
    columns = np.linalg.qr(np.random.default_rng(0).standard_normal((dims, p)))[0] * (1 + 2.0**-9)
    for leading in (False, True):
        basis = screen.measured(columns.astype(np.float32), leading)
        assert (basis.matrix == columns.astype(np.float32)).all()
        wide, growth = basis.matrix.astype(np.float64), dims / (2.0**24 - dims)
        skew, error = np.linalg.norm(wide.T @ wide - np.eye(p)), growth * np.linalg.norm(wide)
        assert basis.skew == pytest.approx(1.001 * skew + 2.0**-40, rel=1e-12, abs=0)
        assert basis.error == pytest.approx(1.001 * error + 2.0**-40, rel=1e-12, abs=0)
        if not leading:
            assert basis.leading.matrix.shape == (p, 0)
            continue
        turned = basis.leading.matrix.astype(np.float64)
        assert turned.shape == (p, 64)
        both, apart = wide @ turned, np.linalg.norm(turned.T @ turned - np.eye(64))
        skew = np.linalg.norm(both.T @ both - np.eye(64))
        error = np.sqrt(1 + apart) * basis.error
        error += p / (2.0**24 - p) * np.linalg.norm(turned) * (1 + basis.skew + basis.error)
        assert basis.leading.skew == pytest.approx(1.001 * skew + 2.0**-14, rel=1e-12)
        assert basis.leading.error == pytest.approx(1.001 * error + 2.0**-14, rel=1e-12)


def test_a_basis_that_is_far_from_orthonormal_is_none():
    """κ ≤ 1, as (6) has it: a column of zeros has just that."""
    plain = np.eye(70, 64, dtype=np.float32)
    for factor, kept in ((0.0, True), (1.41421, True), (1.41422, False), (np.nan, False)):
        matrix = plain.copy()
        matrix[:, 0] *= np.float32(factor)
        basis = screen.measured(matrix)
        assert (basis.matrix == (matrix if kept else 0)).all()
        assert basis.skew == pytest.approx(1.001 + 2.0**-40, rel=2e-5 if factor > 0 else 1e-12)
        if not kept:
            assert basis.error == 2.0**-40


def test_room_for_what_comes_between_two_drains():
    """A log has room for as many hits as may come before the next drain, and rows for what a tile reads."""
    records = micro.TABLE.values()
    assert log._DRAIN + max(record.tile_rows * record.tile_queries for record in records) <= log._SLACK
    assert log._DRAIN + scan.FEW * 64 <= log._SLACK
    assert scan._SCREEN_DRAIN + scan.FEW * tiles.CHUNK <= log._SLACK
    assert 4 * log._SLACK <= log.CAPACITY
    for record in records:
        assert tiles.CHUNK % 16 == record.tile_rows % 4 == record.tile_queries % 16 == 0
        assert max(record.tile_rows, 16) <= encode.SPARE_ROWS


def test_measured_errors_are_rounded_up():
    for residual, length, dims in itertools.product(
        (0.0, 1e-9, 0.01, 3.0), (0.5, 1.0, 7.0), (1, 33, 4096, 131_072)
    ):
        actual = encode._rounded_error.py_func(residual, length, dims)
        growth = 1 + (Fraction(dims, 32) + 8) / 2**24
        exact = root_of(Fraction(residual)) / Fraction(length) * growth + TWO**-20
        assert_near(actual, exact, exact, Fraction(1, 2**24) + EXACT)


def test_folded_errors():
    """(8), and that codes which are too long are not used."""
    usual, other = 5 * 2.0**-10, 2.0**-7
    for own, length, reach in itertools.product((0.001, usual, 0.01, 0.5), (0.1, 0.6, 1.125), (0.3, 0.6)):
        actual = bound.folded_error.py_func(own, length, reach, usual, other, 0.125)
        o, n, t = Fraction(own), Fraction(length), Fraction(reach)
        exact = t * o + (Fraction(9, 8) - t) * max(Fraction(0), o - Fraction(usual))
        exact += max(Fraction(0), n - t) * Fraction(other) + Fraction(1, 8) + TWO**-19
        assert_near(actual, exact, 1)
    assert bound.folded_error.py_func(0.0, np.nextafter(1.125, 2), 0.3, usual, other, 0.0) == 1.0


@pytest.mark.parametrize("dims", [1, 32, 1000, 131_072])
def test_error_of_float32_products(dims):
    exact = (Fraction(dims, 32) + 10) * Fraction(101, 100) / 2**24
    assert_near(direct.float_error.py_func(dims), exact, exact)


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_upper_ends_of_the_direct_pass(metric, monkeypatch):
    """(11): which norm, which length and which error the interval is made of."""
    seen = []
    monkeypatch.setattr(metrics, "interval", lambda *terms: seen.append(terms) or (0.0, 1.25))
    e = 2.0**-12
    assert direct.upper_end.py_func(metric, np.float32(0.7), 5.0, 3.0, e) == 1.25
    (name, cosine, error, q_norm, x_norm), shrunk = seen[0], root_of(3 * (1 - Fraction(e)))
    assert name == metric
    assert_near(x_norm, shrunk, 2)
    assert_near(q_norm, root_of(Fraction(5)), 3)
    assert_near(cosine, Fraction(float(np.float32(0.7))) / (root_of(Fraction(5)) * shrunk), 1)
    assert_near(error, Fraction(21, 10) * Fraction(e), 1)
    for length, beyond in ((2.0**-80, True), (2.0**-79, False), (2.0**119, False), (2.0**120, True)):
        end = direct.upper_end.py_func(metric, np.float32(0.0), length**2, 1.0, 0.0)
        assert (end == np.inf) == beyond


def test_range_of_float32_squares():
    low, high = np.float32(2.0**-60), np.float32(2.0**100)
    up, down = np.float32(np.inf), np.float32(0)
    for value, within in (
        (low, False),
        (np.nextafter(low, up), True),
        (np.nextafter(high, down), True),
        (high, False),
        (np.float32(np.nan), False),
    ):
        assert bool(direct._in_range.py_func(value)) == within


def test_range_of_norms_that_have_a_screen():
    for norm, within in ((2.0**-60, False), (2.0**-59, True), (2.0**59, True), (2.0**60, False)):
        assert screen._in_range.py_func(norm) == within


def test_eight_binary_digits_are_rounded_up():
    for value in (0.0, 1.0, 1 / 3, 2.0**-40 * 1.9999, 255 / 256, 255.1 / 256, 1.5 * 2**30):
        rounded = screen._rounded_up.py_func(value)
        assert value <= rounded <= value * (1 + 2.0**-7)
        digits, _ = frexp(rounded)
        assert digits * 256 == int(digits * 256)
        assert np.float32(rounded).view(np.uint32) & 0xFFFF == 0
    assert screen._rounded_up.py_func(255 / 256) == 255 / 256


def test_roots_of_products_are_lowered(monkeypatch):
    """3CosMul's test is in float32: what pays for its roundings, and where it is left out."""
    worst = {}
    monkeypatch.setitem(cosmul._root.py_func.__globals__, "threshold", lambda heaps, i: worst[i])
    for count in (1, 3, 40):
        inputs = SimpleNamespace(offsets=[5, 5 + count])
        for score in (2.0**-90, 1e-5, 0.3, 900.0):
            worst[0] = score
            lowered = Fraction(score) * (1 - Fraction(count + 4, 2**22))
            assert_near(cosmul._root.py_func(inputs, 0, None), lowered, lowered, Fraction(1, 2**24) + EXACT)
        for score in (-np.inf, 0.0, np.nextafter(2.0**-90, 0.0)):
            worst[0] = score
            assert cosmul._root.py_func(inputs, 0, None) == 0.0
