"""The proof in kernels/bound.py, attacked: numbers (1) to (4) are those of its docstring.

Errors and intervals are compared with float64 values. A unit row's entries carry three
roundings of relative size 2⁻⁵³ there and the oracle's scores 2⁻⁴⁰, both far below the
r = 2⁻²¹ that each measured error has to spare: a comparison can neither fail nor pass by them.
"""

from fractions import Fraction
from math import isqrt

import numpy as np
import oracle
import pytest
from data import KINDS, gaussian, hashed, mean_of, mixed, related, sharing

from fastvec.kernels import (
    bound,
    direction,
    encode,
    log,
    matrix,
    metrics,
    micro,
    refine,
    scan,
    scorers,
    screen,
)

R = 2.0**-21
LONG = np.longdouble
"""64 bits or more on most machines."""
AVAILABLE = [record for record in micro.TABLE.values() if micro.why_not(record) is None]
WIDTHS = range(1, 98)
LARGEST = 131_072


def encoded_rows(vectors, levels=127):
    rows = encode.empty(*vectors.shape)
    assert encode.encode(vectors, rows, 1, levels) == -1
    return rows


def prefix_of(vectors, dims):
    return encode.prefix(vectors, encoded_rows(vectors), dims, 1)


def codes_of(rows, n, dims):
    return rows.codes[:n, :dims].astype(np.float64) - 128


def unit_scale(rows):
    """float64 scales of unit rows; of a prefix, from those of the whole rows."""
    scale = rows.scale.astype(np.float64)
    if len(rows.whole) == 0:
        return scale
    used = (rows.norm > 0) & (rows.error < encode.NO_CODES)
    return np.divide(scale * rows.whole, rows.norm, out=np.zeros(len(scale)), where=used)


def distances(vectors, rows):
    """‖u − û‖ of every row."""
    n, dims = vectors.shape
    difference = oracle.unit(vectors.astype(np.float64))
    difference -= unit_scale(rows)[:, None] * codes_of(rows, n, dims)
    return np.sqrt(oracle.lane_sum(difference * difference))


def assert_errors_hold(vectors, rows):
    """(1): what was measured, with r to spare, for all rows but zero ones, whose error is 0."""
    distance, error = distances(vectors, rows), rows.error.astype(np.float64)
    zero = ~vectors.any(axis=1)
    assert (error[zero] == 0).all()
    assert (distance[zero] == 0).all()
    short = np.flatnonzero((distance + R > error) & ~zero)
    assert len(short) == 0, f"row {short[0]}: {distance[short[0]]} + r > {error[short[0]]}"


def assert_errors_tight(vectors, rows):
    """No row's error is much more than what was measured, or than 1, so that nothing is proved for free."""
    growth = (vectors.shape[1] / 32 + 16) * 2.0**-24
    assert (rows.error <= np.minimum(distances(vectors, rows) * (1 + growth), 1) + 2.0**-9).all()
    good = rows.error < 1
    assert (rows.error <= distances(vectors, rows) * (1 + growth) + 2.0**-19)[good].all()


def at_rounding_boundaries(n, dims, seed=0):
    """Entries whose quotient by the step M/127 is an integer and a half, or a neighbor of that."""
    rng = np.random.default_rng(seed)
    largest = rng.uniform(1, 2, (n, 1)).astype(np.float32)
    full = rng.integers(-127, 127, (n, dims)) + 0.5
    rows = (full * largest / 127).astype(np.float32)
    for _ in range(2):
        toward = rng.choice(np.array([-np.inf, np.inf], np.float32), rows.shape)
        rows = np.where(rng.random(rows.shape) < 0.5, rows, np.nextafter(rows, toward))
    rows[:, :1] = largest
    return rows


def aligned(n, dims, seed=0):
    """Rows of one large entry and queries along what their codes lose, by far the worst direction.

    The other entries of a row are just below half a step: they vanish from the codes, all of
    them. The queries have these entries' signs, and codes that lose next to nothing.
    """
    rng = np.random.default_rng(seed)
    signs = rng.choice(np.array([-1, 1], np.float32), (n, dims))
    rows = signs * np.float32(0.4999 / 127)
    rows[:, 0] = 1
    queries = signs.copy()
    queries[:, 0] = 0
    return queries, rows


def along_residuals(vectors, rows):
    """Queries along what the rows' own codes lose."""
    n, dims = vectors.shape
    units = oracle.unit(vectors.astype(np.float64))
    return (units - unit_scale(rows)[:, None] * codes_of(rows, n, dims)).astype(np.float32)


ADVERSE = {**KINDS, "at_rounding_boundaries": at_rounding_boundaries}
# One below, at and one above the limits beyond which a row is first scaled by a power of two.
LIMITS = [np.float32(2.0**p) * np.float32(f) for p in (-20, 20) for f in (1 - 2**-24, 1, 1 + 2**-23)]


@pytest.mark.parametrize("kind", ADVERSE)
def test_measured_errors(kind):
    for dims in WIDTHS:
        vectors = ADVERSE[kind](12, dims, dims)
        rows = encoded_rows(vectors)
        assert_errors_hold(vectors, rows)
        assert_errors_tight(vectors, rows)


@pytest.mark.parametrize("kind", ADVERSE)
def test_measured_errors_of_prefixes(kind):
    for width in (33, 97):
        vectors = np.concatenate([ADVERSE[kind](12, width, 1), decreasing(12, width), increasing(12, width)])
        for dims in (1, 2, 31, 32, width - 1, width):
            rows, kept = prefix_of(vectors, dims), vectors[:, :dims]
            assert_errors_hold(kept, rows)
            assert_errors_tight(kept, rows)


def decreasing(n, dims):
    """Rows of falling magnitude, down to subnormals."""
    with np.errstate(under="ignore"):
        return hashed(n, dims, 5) * np.logspace(30, -44, dims).astype(np.float32)


def increasing(n, dims):
    """A prefix has no share in the row's largest entries: its codes are few, or all zero."""
    return np.ascontiguousarray(decreasing(n, dims)[:, ::-1])


@pytest.mark.parametrize("levels", sorted({record.levels for record in micro.TABLE.values()} | {1, 63, 127}))
def test_measured_errors_at_other_levels(levels):
    vectors = mixed(300, 65, levels)
    assert_errors_hold(vectors, encoded_rows(vectors, levels))


def test_measured_errors_at_the_limits_of_scaling():
    for limit in LIMITS:
        vectors = hashed(20, 33, 1)
        vectors /= np.abs(vectors).max(axis=1, keepdims=True)
        vectors[:10, 0] = 1
        vectors *= limit
        rows = encoded_rows(vectors)
        assert_errors_hold(vectors, rows)
        assert_errors_tight(vectors, rows)


@pytest.mark.parametrize("kind", ["gaussian", "outlier", "largest", "subnormal", "at_rounding_boundaries"])
def test_measured_errors_at_the_largest_dims(kind):
    vectors = ADVERSE[kind](2, LARGEST, 3)
    vectors = np.concatenate([vectors, aligned(1, LARGEST)[1]])
    rows = encoded_rows(vectors)
    assert_errors_hold(vectors, rows)
    assert_errors_tight(vectors, rows)
    cut = prefix_of(vectors, LARGEST - 1)
    assert_errors_hold(vectors[:, :-1], cut)


def exact_distance(x, scale, codes):
    """‖u − û‖ of one row in rational numbers; square roots are cut at 2⁻¹⁰⁰ of their size."""
    x, codes = [Fraction(float(v)) for v in x], [int(c) for c in codes]
    # ‖x/‖x‖ − s·c‖² = 1 − 2·s·⟨x, c⟩/‖x‖ + s²·‖c‖²
    product = sum(v * c for v, c in zip(x, codes, strict=True))
    along = product / root(sum(v * v for v in x))
    return root(1 - 2 * scale * along + scale * scale * sum(c * c for c in codes))


def root(square):
    shift = 2 ** (200 + square.denominator.bit_length())
    return Fraction(isqrt(int(square * shift * shift)), shift)


def test_measured_errors_in_rational_numbers():
    """The float64 comparisons of this file agree with rational ones to 2⁻⁴⁵."""
    for dims in (1, 3, 32, 70):
        vectors = np.concatenate([mixed(48, dims, 1), at_rounding_boundaries(4, dims), aligned(4, dims)[1]])
        rows = encoded_rows(vectors)
        for i, measured in enumerate(distances(vectors, rows)):
            if not vectors[i].any():
                continue
            scale = Fraction(float(rows.scale[i]))
            exact = exact_distance(vectors[i], scale, codes_of(rows, len(vectors), dims)[i])
            assert abs(exact - Fraction(float(measured))) < Fraction(1, 2**45) + exact / 2**45
            assert exact + Fraction(1, 2**21) <= Fraction(float(rows.error[i]))


# Intervals and thresholds are taken from the scan itself.

NOTHING = np.empty(0, np.bool_)


def survivors(rows, vectors, queries, k, metric, record=None, threads=1, along=None):
    """A scan of encoded rows, whose codes may have a direction."""
    n = len(vectors)
    none = scan.Exclusions(
        np.zeros(len(queries) + 1, np.int64), np.empty(0, np.int64), np.empty((0, n), np.bool_)
    )
    block = scan.rows_of(rows, 0, NOTHING)

    def source(start, stop):
        yield scan.Piece(start, stop, block)

    record = record or micro.active()
    queries = np.ascontiguousarray(queries)
    squares = oracle.lane_sum(queries.astype(np.float64) ** 2)
    originals = refine.originals(queries, squares, matrix.of([vectors]), vectors.shape[1])
    return scan.scan(n, source, originals, k, metric, record, none, threads, encoded=True, direction=along)


def intervals(rows, vectors, queries, metric, record=None, along=None):
    """Lower and upper ends (m, n): with k beyond n no threshold ever rises, so every row survives."""
    n = len(vectors)
    actual = survivors(rows, vectors, queries, n + 1, metric, record, along=along)
    assert not actual.left.any()
    ends = np.full((2, len(queries), n), np.nan)
    ends[:, actual.query, actual.row] = actual.lower, actual.upper
    assert len(actual.row) == len(queries) * n
    assert not np.isnan(ends).any()
    return ends


def assert_intervals_hold(rows, queries, vectors, metric, along=None):
    """(3): every score of the contract lies in its interval."""
    lower, upper = intervals(rows, vectors, queries, metric, along=along)
    scores = oracle.scores(queries, vectors, metric)
    outside = np.argwhere((scores < lower) | (scores > upper))
    assert len(outside) == 0, f"pair {outside[0]}"
    return lower, scores, upper


def used(lower, scores, upper):
    """How far scores are from the middle of their interval, as a share of what it allows."""
    middle, half = (lower + upper) / 2, (upper - lower) / 2
    return np.divide(np.abs(scores - middle), half, out=np.zeros_like(half), where=half > 0)


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_intervals(metric):
    for dims in (1, 3, 31, 33, 64, 97):
        vectors = np.concatenate([mixed(16 * len(KINDS), dims, dims), at_rounding_boundaries(40, dims)])
        rows = encoded_rows(vectors)
        residuals = along_residuals(vectors, rows)
        queries = np.concatenate([related(vectors, 40, 1), residuals[::9], -residuals[::17]])
        assert_intervals_hold(rows, queries, vectors, metric)


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_intervals_of_prefixes(metric):
    width = 97
    vectors = np.concatenate([mixed(160, width, 1), decreasing(20, width), increasing(20, width)])
    for dims in (1, 31, 33, 64, 96):
        rows, kept = prefix_of(vectors, dims), np.ascontiguousarray(vectors[:, :dims])
        queries = np.concatenate([related(kept, 40, 1), along_residuals(kept, rows)[::5]])
        assert_intervals_hold(rows, queries, kept, metric)


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_intervals_at_the_largest_dims(metric):
    queries, vectors = aligned(3, LARGEST)
    vectors = np.concatenate([vectors, gaussian(2, LARGEST, 1), np.full((1, LARGEST), 3, np.float32)])
    queries = np.concatenate([queries, vectors[3:]])
    assert_intervals_hold(encoded_rows(vectors), queries, vectors, metric)


def test_intervals_of_codes_that_are_longer_than_their_rows():
    """Both errors lie along the other side's codes, so that their product counts: (2) is all but reached.

    Entries of one and a half steps get the code 2, and codes become a third longer than rows.
    """
    row = np.full((1, 1 << 16), 1.5001, np.float32)
    row[0, 0] = 127
    lower, scores, _ = assert_intervals_hold(encoded_rows(row), row, row, "cosine")
    assert lower[0, 0] > 0.7
    assert scores[0, 0] == 1.0


def alignments(dims):
    """Pairs in which the row's error counts, the query's, and both."""
    queries, vectors = aligned(8, dims)
    return {"row": (queries, vectors), "query": (vectors, queries), "negative": (-queries, vectors)}


@pytest.mark.parametrize("metric", metrics.BOUNDED)
@pytest.mark.parametrize("case", ["row", "query", "negative"])
def test_intervals_are_no_wider_than_needed(case, metric):
    """Errors aligned with the other side use up nine tenths of the interval, so less would be wrong."""
    for dims in (64, 700, 8192):
        queries, vectors = alignments(dims)[case]
        ends = assert_intervals_hold(encoded_rows(vectors), queries, vectors, metric)
        assert np.diagonal(used(*ends)).min() > 0.9


@pytest.mark.parametrize("case", ["row", "query", "negative"])
def test_smaller_errors_would_be_found_out(case, monkeypatch):
    """This file's checks fail for errors a tenth too small, of rows and of queries."""
    queries, vectors = alignments(700)[case]
    rows = encoded_rows(vectors)
    shrunk = rows._replace(error=rows.error * np.float32(0.9))
    pack = scan.pack

    def shrinking(*arguments):
        packed = pack(*arguments)
        return packed._replace(error=0.9 * packed.error)

    if case == "query":
        monkeypatch.setattr(scan, "pack", shrinking)
        shrunk = rows
    else:
        with pytest.raises(AssertionError):
            assert_errors_hold(vectors, shrunk)
    with pytest.raises(AssertionError):
        assert_intervals_hold(shrunk, queries, vectors, "cosine")


def assert_survivors(rows, vectors, queries, k, metric, record, threads=1, along=None):
    """(4): who survives is decided by the float64 intervals alone, not by the float32 test.

    The last root is the k-th largest lower end, and a row survives if its upper end
    reaches it: on one thread exactly those, on several at least those.
    """
    lower, upper = intervals(rows, vectors, queries, metric, record, along)
    root = np.partition(lower, len(vectors) - k, axis=1)[:, len(vectors) - k]
    actual = survivors(rows, vectors, queries, k, metric, record, threads, along)
    kept = np.zeros(upper.shape, bool)
    kept[actual.query, actual.row] = True
    wanted = (upper >= root[:, None]) & ~actual.left[:, None]
    lost = np.argwhere(wanted & ~kept)
    assert len(lost) == 0, f"{len(lost)} rows lost; query {lost[0][0]}, row {lost[0][1]}"
    if threads == 1:
        assert not (kept & ~wanted).any()
    return upper, root


@pytest.mark.parametrize("record", AVAILABLE, ids=lambda record: record.name)
@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_no_row_is_lost_by_the_scan(metric, record):
    for dims, kinds in ((33, ("gaussian", "hashed", "decaying")), (64, tuple(KINDS))):
        vectors = mixed(4000, dims, 1, kinds)
        rows = encoded_rows(vectors)
        for m in (2, 40):
            for k in (1, 10):
                assert_survivors(rows, vectors, related(vectors, m, k), k, metric, record)
    assert_survivors(rows, vectors, related(vectors, 70, 3), 10, metric, record, threads=2)


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_no_row_is_lost_where_lengths_differ(metric):
    """Queries much longer and much shorter than the rows, and rows far from the origin."""
    far = gaussian(2000, 33, 1) + np.float32(50)
    vectors = np.concatenate([gaussian(2000, 33, 2), far])
    rows = encoded_rows(vectors)
    lengths = [2.0**p for p in (-140, -61, -59, -41, -39, -20, -1, 0, 1, 20, 39, 41, 60, 100)]
    queries = gaussian(2 * len(lengths), 33, 3) * np.repeat(lengths, 2)[:, None].astype(np.float32)
    queries = np.concatenate([queries, far[:3], vectors[:3], np.zeros((1, 33), np.float32)])
    assert_survivors(rows, vectors, queries, 10, metric, micro.active())
    assert_intervals_hold(rows, queries, vectors, metric)


def around_the_threshold(metric, magnitude, record):
    """A query and rows whose upper ends lie densely on both sides of the first row's lower end.

    A row is moved in the smallest steps: for the inner product by its length, for the cosine by
    an entry to which the query is blind. They are in a later chunk than the first row, so that
    their threshold is known from the start.
    """
    dims = 33
    best = hashed(1, dims, 3)[0]
    best[-1] = 0
    near = best + hashed(1, dims, 4)[0] * np.float32(0.02)
    near[-1] = 0

    def moved(values):
        if metric == "dot":
            return near * np.asarray(values, np.float32)[:, None]
        rows = np.repeat(near[None], len(values), axis=0)
        rows[:, -1] = values
        return rows

    def gap(value):
        pair = np.concatenate([best[None], moved([value])])
        lower, upper = intervals(encoded_rows(pair), pair, best[None], metric, record)
        return upper[0, 1] - lower[0, 0]

    above, below = (1.0, 0.5) if metric == "dot" else (0.0, 0.9)
    assert gap(above) > 0 > gap(below)
    while abs(above - below) > 1e-6:
        middle = (above + below) / 2
        above, below = (middle, below) if gap(middle) > 0 else (above, middle)
    span = {"dot": 4e-6, "euclidean": 8e-6}.get(metric, 2e-5)
    values = np.linspace(above - span, above + span, 3000)
    rows = np.concatenate([best[None], np.zeros((2047, dims), np.float32), moved(values)])
    return best[None] * np.float32(magnitude), rows * np.float32(magnitude)


def shares(metric, upper, root, query, vectors):
    """How far upper ends are beyond the root, in the units of the scan's slack."""
    q, x = (np.linalg.norm(rows.astype(np.float64), axis=-1) for rows in (query, vectors))
    if metric == "euclidean":
        return (root * root - upper * upper) / (q * q + x * x)
    return (upper - root) / (q * x if metric == "dot" else 1)


@pytest.mark.parametrize("record", AVAILABLE, ids=lambda record: record.name)
@pytest.mark.parametrize("metric", metrics.BOUNDED)
@pytest.mark.parametrize("magnitude", [1.0, 2.0**100, 2.0**-110, 3e-20], ids="{:.0e}".format)
def test_no_row_is_lost_next_to_the_threshold(metric, record, magnitude):
    query, vectors = around_the_threshold(metric, magnitude, record)
    rows = encoded_rows(vectors)
    for queries in (query, np.concatenate([query] * 3 + [-query])):
        upper, root = assert_survivors(rows, vectors, queries, 1, metric, record)
        beyond = shares(metric, upper[0, 2048:], root[0], queries[0], vectors[2048:])
        assert (np.abs(beyond) < 2.0**-19).sum() > 300
        assert ((beyond >= 0) & (beyond < 2.0**-23)).sum() > 5
        assert ((beyond < 0) & (beyond > -(2.0**-23))).sum() > 5


# (8) and (9): codes with a direction. Exact numbers come from longdouble.


def rows_for_directions(dims, mean):
    """Rows of all kinds: along the direction, opposite and at right angles, and others that share it."""
    n, wide = 60, mean.astype(np.float64)
    across = gaussian(n, dims, 3).astype(np.float64)
    across -= np.outer(across @ wide, wide) / (wide @ wide)
    near = sharing(n, dims, 1)
    lengths = np.float32([1, 1e30, 1e-30, 1e-42])[:, None]
    return np.concatenate(
        [
            near,
            -near[:9],
            across,
            across + wide * np.logspace(-12, 3, n)[:, None],
            mean * lengths,
            -mean * lengths,
            near[:9] * np.float32(1e30),
            near[:9].astype(np.float64) * 1e-40,
            mixed(3 * len(KINDS), dims, 4),
            at_rounding_boundaries(n, dims),
            aligned(9, dims)[1],
        ]
    ).astype(np.float32)


def directions_of(mean):
    """A direction as it is used, and directions that nothing is gained by."""
    rng, length = np.random.default_rng(1), np.linalg.norm(mean)
    for lead in (64, 128, 256):
        yield direction.measured(mean, lead)
    lonely = np.arange(len(mean)) == 5
    others = (-mean, mean / length, rng.standard_normal(len(mean)) / len(mean) ** 0.5, lonely, mean * 0.6)
    for other in (*others, mean * 3, mean * 2.0**-30, np.where(lonely, 1, 1e-30)):
        yield direction.measured(other.astype(np.float32), 64)
    yield direction.measured(mean, 64)._replace(reach=0.0)
    yield direction.measured(mean, 64)._replace(reach=1.0)


def divided_rows(vectors, along):
    rows = encode.empty(len(vectors), direction.width(vectors.shape[1], along))
    assert direction.encode_rows(vectors, rows, 1, along) == -1
    return rows


def parts(codes, scale, along, dims):
    """φ or ψ, and the rows' own codes times their scale."""
    codes = codes.astype(LONG) * scale[:, None]
    lead = along.lead
    return codes[:, :lead].sum(axis=1) / np.sqrt(LONG(lead)), codes[:, lead : lead + dims]


def long_units(vectors):
    rows = vectors.astype(LONG)
    length = np.sqrt(np.square(rows).sum(axis=1))[:, None]
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


def assert_direction_holds(vectors, queries, rows, along, levels=63):
    """(8) or (9), for all pairs, and the measures of (1) in it; return the shares of errors that are used."""
    n, dims = vectors.shape
    packed = direction.pack(queries, levels, 16, 1, along)
    m, mean = len(queries), along.vector.astype(LONG)
    assert np.abs(packed.codes.astype(int)).max() <= levels
    assert rows.codes[:n].min() >= 1
    scale, error = unit_scale(rows), rows.error.astype(LONG)
    units, asked = long_units(vectors), long_units(queries)
    phi, own = parts(rows.codes[:n].astype(int) - 128, scale, along, dims)
    psi, _ = parts(packed.codes[:m].astype(int), packed.scale, along, dims)
    for array in (scale, error, packed.scale, packed.error):
        assert np.isfinite(array).all()
    coded = rows.codes[:n, : packed.codes.shape[1]].astype(np.int64) - 128
    integers = packed.codes[:m].astype(np.int64) @ coded.T
    middle = integers * np.outer(packed.scale.astype(LONG), scale.astype(LONG))
    allowed = (error - R) + (packed.error[:, None] - R) * (1 + error)
    zero = ~vectors.any(axis=1) | ~queries.any(axis=1)[:, None]
    off = np.abs(asked @ units.T - middle)
    short = np.argwhere((off > allowed) & ~zero)
    assert len(short) == 0, f"pair {short[0]}: {off[tuple(short[0])]} > {allowed[tuple(short[0])]}"
    # Each measure by itself, so that no pair needs to be the worst one.
    rest, tau = units - np.outer(phi / along.length, mean) - own, LONG(1)
    epsilon, rho = np.linalg.norm(rest, axis=1), np.linalg.norm(own, axis=1)
    if along.whole:
        aside = np.abs(units @ mean / along.length - phi)
        least = bound.folded_error.py_func(0.0, 0.0, along.reach, 1.0, 0.0, 0.0)
        folded = [
            bound.folded_error.py_func(*row, along.reach, bound.ROW_ERROR, bound.QUERY_ERROR, 1.25 * a)
            for row, a in zip(zip(epsilon, rho, strict=True), aside, strict=True)
        ]
        used = (error < 1) & vectors.any(axis=1)
        assert (np.array(folded)[used] <= error[used] + least - R).all()
        assert (np.array(folded)[used] >= error[used] - LONG(2.0) ** -14 - epsilon[used] * 2.0**-7).all()
        theirs_rest = asked - np.outer(psi / along.length, mean)
        tau = np.linalg.norm(theirs_rest, axis=1)
        assert (tau <= bound.LONGEST).all()
    return np.divide(off, allowed, out=np.zeros_like(off), where=allowed > 0)


@pytest.mark.parametrize("dims", [65, 97, 200])
def test_the_bound_of_codes_with_any_direction_holds(dims):
    mean = mean_of(sharing(100, dims))
    vectors = rows_for_directions(dims, mean)
    for along in directions_of(mean):
        rows = divided_rows(vectors, along)
        residuals = along_residuals(vectors, encoded_rows(vectors))
        queries = np.concatenate([vectors[::3], residuals[::7], -vectors[5::11]])
        for levels in (63, 127):
            assert_direction_holds(vectors, queries, rows, along, levels)


@pytest.mark.parametrize("dims", [1, 2, 31, 33, 64, 96])
def test_the_bound_of_prefixes_of_codes_with_a_direction_holds(dims):
    mean = mean_of(sharing(100, 97))
    vectors = np.concatenate([rows_for_directions(97, mean), decreasing(12, 97), increasing(12, 97)])
    for along in directions_of(mean):
        rows = direction.prefix(vectors, divided_rows(vectors, along), dims, 1, along.prefix(dims))
        kept = np.ascontiguousarray(vectors[:, :dims])
        queries = np.concatenate([kept[::3], -kept[5::11]])
        assert_direction_holds(kept, queries, rows, along.prefix(dims))


def test_errors_with_a_direction_are_those_of_what_lies_beside_it():
    vectors = sharing(500, 200)
    along = direction.measured(mean_of(vectors), 128)
    rows, plain = divided_rows(vectors, along), encoded_rows(vectors)
    assert rows.error.mean() < 0.5 * plain.error.mean()
    # Queries that differ from the direction by what the codes lose use up most of the interval.
    own = parts(rows.codes[:500].astype(int) - 128, unit_scale(rows), along, 200)
    lost = long_units(vectors) - np.outer(own[0] / along.length, along.vector) - own[1]
    lost /= np.linalg.norm(lost, axis=1)[:, None]
    queries = (along.vector / along.length * np.sqrt(1 - along.reach**2) + along.reach * lost).astype(
        np.float32
    )
    shares = assert_direction_holds(vectors, queries, rows, along, 127)
    assert np.median(np.diagonal(shares)) > 0.4
    shrunk = rows._replace(error=rows.error * np.float32(0.9))
    with pytest.raises(AssertionError):
        assert_direction_holds(vectors, queries, shrunk, along, 127)


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_no_row_is_lost_by_the_scan_of_codes_with_a_direction(metric):
    mean = mean_of(sharing(100, 97))
    for along in directions_of(mean):
        vectors = np.concatenate([sharing(1500, 97, 2), rows_for_directions(97, mean)])
        rows, queries = divided_rows(vectors, along), related(vectors, 20, 1)
        assert_survivors(rows, vectors, queries, 10, metric, micro.active(), along=along)
        assert_intervals_hold(rows, queries[:5], vectors, metric, along)


# (6) and (7): the screen. Exact numbers come from longdouble.

P = 64


def usual(vectors):
    """The basis that an Index of these rows gets."""
    return screen.basis(
        screen.directions(oracle.unit(vectors[:300].astype(np.float64)).astype(np.float32), P, 1)
    )


def bases(vectors):
    """V as it is used, V as it may be in the worst case, and V that nothing can be done with."""
    basis = usual(vectors).matrix
    rng, dims = np.random.default_rng(1), len(basis)
    first = np.arange(P) == 0
    for kappa in (0.1, 0.5, 0.99, -0.1, -0.5, -0.99):
        yield basis * np.sqrt(np.where(first, 1 + kappa, 1)).astype(np.float32)
    for factor in (0.95, 0.9, 1.05):
        yield basis * np.float32(factor)
    yield basis + rng.standard_normal(basis.shape).astype(np.float32) * np.float32(1e-6)
    yield np.where(first, 0, basis)
    yield np.repeat(basis[:, :1], P, axis=1)
    for other in (np.eye(dims, P), np.zeros((dims, P)), np.full((dims, P), 1e30), rng.random((dims, P))):
        yield other.astype(np.float32)
    yield basis


def screened_rows(vectors, basis):
    rows = screen.empty(len(vectors), P)
    norm = np.sqrt(oracle.lane_sum(np.square(vectors.astype(np.float64))))
    rows = rows._replace(encoded=rows.encoded._replace(norm=norm))
    screen.encode_rows(vectors, norm, basis, rows, 1)
    return rows


def screened_queries(queries, basis, levels=63):
    fine = encode.pack(queries, levels, 16, 1)
    return screen.pack(queries, fine, basis, levels, 16, 1)


def exactly(vectors, basis, coded):
    """‖u − Vĥ‖ and ‖Vᵀu − VᵀVĥ‖ of every row, ‖Vᵀu − ĥ‖, and u itself."""
    rows, matrix = vectors.astype(LONG), basis.matrix.astype(LONG)
    length = np.sqrt(np.square(rows).sum(axis=1))[:, None]
    units = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    rest, within = units - coded @ matrix.T, units @ matrix
    norms = (np.sqrt(np.square(part).sum(axis=1)) for part in (rest, rest @ matrix, within - coded))
    return (*norms, units)


def rows_for_screens(dims):
    """Rows of all kinds, within the span of few directions, and with lengths around 2⁻⁶⁰ and 2⁶⁰."""
    span = gaussian(80, 20, 1) @ gaussian(20, dims, 2)
    limits = hashed(40, dims, 3)
    limits /= np.linalg.norm(limits, axis=1, keepdims=True)
    near = np.array([1 - 2**-20, 1, 1 + 2**-20, 2.0], np.float32)
    limits *= (np.resize(near, 40) * np.repeat([2.0**-60, 2.0**60], 20)).astype(np.float32)[:, None]
    return np.concatenate(
        [span, mixed(16 * len(KINDS), dims, 4), at_rounding_boundaries(40, dims), limits, np.eye(dims)[::9]]
    ).astype(np.float32)


def assert_screen_holds(vectors, queries, basis, levels=63):
    """(6), each of its terms and as a whole."""
    rows, packed = screened_rows(vectors, basis), screened_queries(queries, basis, levels)
    n, m = len(vectors), len(queries)
    coded = rows.encoded.scale.astype(LONG)[:, None] * (rows.encoded.codes[:n].astype(LONG) - 128)
    asked = packed.coarse.scale.astype(LONG)[:, None] * packed.coarse.codes[:m].astype(LONG)
    tail, slack, _, units = exactly(vectors, basis, coded)
    query_tail, _, query_slack, query_units = exactly(queries, basis, asked)
    for array in (rows.encoded.scale, rows.encoded.error, rows.slack, packed.tail, packed.coarse.error):
        assert np.isfinite(array).all()
    passing = rows.encoded.error > 2.0**29
    extreme = packed.coarse.error >= 8
    assert (tail <= rows.encoded.error).all()
    assert (slack <= rows.slack)[~passing].all()
    assert (query_tail <= packed.tail)[~extreme].all()
    assert (query_slack <= packed.coarse.error).all()
    assert (np.sqrt(np.square(asked).sum(axis=1)) <= packed.length).all()
    upper = (
        asked @ coded.T
        + packed.coarse.error[:, None] * np.sqrt(np.square(coded).sum(axis=1))
        + packed.length[:, None] * rows.slack
        + packed.tail[:, None] * rows.encoded.error
    )
    assert (query_units @ units.T <= upper)[~extreme].all()
    return rows, passing


@pytest.mark.parametrize("dims", [65, 97])
def test_the_bound_of_a_screen_holds_for_any_basis(dims):
    vectors = rows_for_screens(dims)
    queries = np.concatenate([related(vectors, 30, 5), mixed(30, dims, 6), vectors[-50:]])
    for used_basis in bases(vectors):
        basis = screen.measured(used_basis)
        skew = np.linalg.norm(basis.matrix.T.astype(LONG) @ basis.matrix.astype(LONG) - np.eye(P))
        assert basis.skew >= skew or not basis.matrix.any()
        rows, passing = assert_screen_holds(vectors, queries, basis)
        lengths = rows.encoded.norm
        assert (passing == ((lengths > 0) & ((lengths <= 2.0**-60) | (lengths >= 2.0**60)))).all()


def test_far_from_orthonormal_is_replaced_by_zeros():
    basis = usual(gaussian(300, 97, 1)).matrix
    for far in (basis * 2, np.repeat(basis[:, :1], P, axis=1), basis * np.float32(np.nan)):
        assert not screen.measured(far).matrix.any()
    rows = screened_rows(gaussian(9, 97, 1), screen.measured(basis * 2))
    assert (rows.encoded.error >= 1).all()
    assert (rows.encoded.scale == 0).all()


def test_tails_in_rational_numbers():
    """The comparisons above agree with exact ones, for rows within the span of V and others."""
    vectors = np.concatenate([hashed(3, 70, 1), np.eye(70, dtype=np.float32)[[0, 66]]])
    basis = screen.measured(np.eye(70, P).astype(np.float32) * np.float32(0.97))
    rows = screened_rows(vectors, basis)
    for i, x in enumerate(vectors):
        scale, factor = Fraction(float(rows.encoded.scale[i])), Fraction(float(basis.matrix[0, 0]))
        codes = [int(code) - 128 for code in rows.encoded.codes[i]] + [0] * 6
        values = [Fraction(float(value)) for value in x]
        length = root(sum(value * value for value in values))
        rest = [a / length - factor * scale * b for a, b in zip(values, codes, strict=True)]
        assert root(sum(value * value for value in rest)) <= Fraction(float(rows.encoded.error[i]))
        back = root(sum((factor * value) ** 2 for value in rest[:P]))
        assert back <= Fraction(float(rows.slack[i]))


def on_the_bound(levels, n, seed=0):
    """A query and rows for which (6) is nearly an equality: whole codes, and tails in one direction."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.integers(-100, 101, (1, 65)), n, axis=0).astype(np.float32)
    rows[:, :P] += rng.integers(-1, 2, (n, P))
    rows[:, 0], rows[:, -1] = 127, rng.uniform(60, 61, n)
    query = np.round(rows[:1] * np.float32(levels / 127))
    query[0, 0], query[0, -1] = levels, 40
    return query, rows


def identity():
    """A basis with which products are exact."""
    return screen.measured(np.eye(65, P, dtype=np.float32))._replace(skew=0.0, error=0.0)


@pytest.mark.parametrize("record", AVAILABLE, ids=lambda record: record.name)
@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_no_row_is_lost_by_a_screen_next_to_the_threshold(metric, record):
    """(7): a row whose exact score is the root, or above it, passes."""
    basis = screen.measured(np.eye(65, P, dtype=np.float32))._replace(
        skew=0.0, error=0.0
    )  # such products are exact
    for magnitude in (1.0, 2.0**-58, 2.0**52):
        query, vectors = (part * np.float32(magnitude) for part in on_the_bound(record.levels, 2500))
        assert_all_pass(query, vectors, basis, metric, record, 40)


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_no_row_is_lost_by_a_screen(metric):
    vectors = rows_for_screens(97)
    queries = np.concatenate([related(vectors, 5, 5), vectors[-30::10], np.zeros((1, 97), np.float32)])
    for used_basis in bases(vectors):
        assert_all_pass(queries, vectors, screen.measured(used_basis), metric, micro.active(), 4)


def assert_all_pass(queries, vectors, basis, metric, record, roots):
    """Scan by the screen with roots that are scores of rows; return how many rows below the root passed."""
    screened, fine = screened_rows(vectors, basis), scan.rows_of(encoded_rows(vectors), 0, NOTHING)
    coarse = scan.rows_of(screened.encoded, 0, NOTHING)
    rows = screen.Rows(
        coarse, screened.slack, basis.skew, 1.0, 1.0, fine, screened.leading, basis.leading.skew
    )

    def source(start, stop):
        yield scan.Piece(start, stop, fine, rows)

    for query in queries:
        scores = oracle.scores(query[None], vectors, metric)[0]
        none = scan.Exclusions(np.zeros(2, np.int64), np.empty(0, np.int64), np.empty((0, 0), np.bool_))
        squares = oracle.lane_sum(query[None].astype(np.float64) ** 2)
        originals = refine.originals(query[None].copy(), squares, matrix.of([vectors]), vectors.shape[1])
        for least in np.sort(scores)[:: max(1, len(scores) // roots)]:
            found = scan.scan_range(
                len(vectors), source, originals, float(least), metric, record, none, 1, basis=basis
            )
            assert found.screened == len(vectors)
            kept = np.zeros(len(vectors), bool)
            kept[found.row] = True
            lost = np.flatnonzero((scores >= least) & ~kept)
            assert len(lost) == 0, f"row {lost[0]} of score {scores[lost[0]]}, root {least}"


# (10): leading codes, of a screen of twice as many dimensions.


def leading_bases(vectors):
    sample = oracle.unit(vectors[:300].astype(np.float64)).astype(np.float32)
    basis = screen.basis(screen.directions(sample, 2 * P, 1), True).matrix
    first = np.arange(2 * P) == 0
    for kappa in (0.5, 0.99, -0.99):
        yield basis * np.sqrt(np.where(first, 1 + kappa, 1)).astype(np.float32)
    yield np.where(first, 0, basis)
    yield np.zeros_like(basis)
    yield np.eye(*basis.shape, dtype=np.float32)
    yield basis


def decoded(words):
    """Scales and reaches."""
    return (words & np.uint32(0xFFFF0000)).view(np.float32), (words << np.uint32(16)).view(np.float32)


def leading_rows(vectors, basis):
    rows = screen.empty(len(vectors), 2 * P, True)
    norm = np.sqrt(oracle.lane_sum(np.square(vectors.astype(np.float64))))
    rows = rows._replace(encoded=rows.encoded._replace(norm=norm))
    screen.encode_rows(vectors, norm, basis, rows, 1)
    return rows


def few_queries(queries, basis, levels, vectors):
    squares = oracle.lane_sum(np.square(queries.astype(np.float64)))
    originals = refine.originals(queries, squares, matrix.of([vectors]), queries.shape[1])
    return screen.few_queries(originals, basis, levels), originals


def test_the_bound_of_leading_codes_holds_for_any_basis():
    vectors = rows_for_screens(193)
    queries = np.concatenate([related(vectors, 20, 5), mixed(20, 193, 6), vectors[-50::2]])
    for used in leading_bases(vectors):
        basis = screen.measured(used, True)
        columns = basis.matrix.astype(LONG) @ basis.leading.matrix.astype(LONG)
        skewed = np.linalg.norm((columns.T @ columns - np.eye(P)).astype(np.float64))
        assert skewed <= basis.leading.skew
        turned = basis._replace(matrix=columns)
        rows, packed = leading_rows(vectors, basis), few_queries(queries, basis, 63, vectors)[0].first
        scale, reach = decoded(rows.leading.words)
        coded = scale.astype(LONG)[:, None] * (rows.leading.codes[: len(vectors)].astype(LONG) - 128)
        asked = packed.coarse.scale.astype(LONG)[:, None] * packed.coarse.codes.astype(LONG)
        rest, slack, _, units = exactly(vectors, turned, coded)
        query_rest, _, query_slack, query_units = exactly(queries, turned, asked)
        passing, extreme = reach > 2.0**29, packed.coarse.error >= 8
        length = np.sqrt(np.square(asked).sum(axis=1))
        assert (rest + 3 * slack <= reach)[~passing].all()
        assert (slack <= 2.0**-4)[~passing].all()
        assert (np.maximum(query_rest, length / 3) <= packed.tail)[~extreme].all()
        assert (query_slack <= packed.coarse.error).all()
        assert (packed.length == 0).all()
        upper = asked @ coded.T + packed.coarse.error[:, None] * np.sqrt(np.square(coded).sum(axis=1))
        upper += packed.tail[:, None] * reach
        assert (query_units @ units.T <= upper)[~extreme].all()


def survivors_of_few(query, vectors, basis, metric, record, least):
    """The rows that one query keeps whose threshold is ``least``, and how many passed the leading codes."""
    n, coded = len(vectors), leading_rows(vectors, basis)
    coarse, fine = scan.rows_of(coded.encoded, 0, NOTHING), scan.rows_of(encoded_rows(vectors), 0, NOTHING)
    rows = screen.Rows(coarse, coded.slack, basis.skew, 1.0, 1.0, fine, coded.leading, basis.leading.skew)
    none = scan.Exclusions(np.zeros(2, np.int64), np.empty(0, np.int64), np.empty((0, 0), np.bool_))
    queries, originals = few_queries(query, basis, record.levels, vectors)
    state = log.new_state(1, 1, n + 1, n)  # so many answers that the threshold does not rise
    state.root[0] = least
    scorer = scorers.scorer(record.name)
    reached = scan._screen_rows(metric)(0, n, rows, queries, none, originals, state, scorer)
    assert reached == n
    assert state.cursor[log.SEEN] == n
    kept = np.zeros(n, bool)
    kept[state.row[: state.cursor[log.COUNT]]] = True
    return kept, state.cursor[log.NARROWED]


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_no_row_is_lost_by_leading_codes(metric):
    vectors = rows_for_screens(193)
    queries = np.concatenate([related(vectors, 5, 5), vectors[-30::10], np.zeros((1, 193), np.float32)])
    narrowed = []
    for used in leading_bases(vectors):
        for query in queries:
            scores = oracle.scores(query[None], vectors, metric)[0]
            for least in np.sort(scores)[:: len(scores) // 4]:
                kept, count = survivors_of_few(
                    query[None].copy(), vectors, screen.measured(used, True), metric, micro.active(), least
                )
                lost = np.flatnonzero((scores >= least) & ~kept)
                assert len(lost) == 0, f"row {lost[0]} of score {scores[lost[0]]}, root {least}"
                narrowed.append(count / len(vectors))
    # Distances from rows of length 2⁶⁰ tell nothing apart.
    assert metric == "euclidean" or min(narrowed) < 0.5


@pytest.mark.parametrize("field", ["error", "slack"])
def test_smaller_tails_would_be_found_out(field, monkeypatch):
    basis = identity()
    record = micro.active()
    query, vectors = on_the_bound(record.levels, 500)
    whole = screened_rows

    def shrunk(vectors, basis):
        rows = whole(vectors, basis)
        if field == "slack":
            return rows._replace(slack=rows.slack * np.float32(0))
        return rows._replace(encoded=rows.encoded._replace(error=rows.encoded.error * np.float32(0.99)))

    monkeypatch.setitem(globals(), "screened_rows", shrunk)
    with pytest.raises(AssertionError):
        assert_screen_holds(vectors, query, basis, record.levels)
    if field == "error":
        with pytest.raises(AssertionError):
            assert_all_pass(query, vectors, basis, "cosine", record, 40)
