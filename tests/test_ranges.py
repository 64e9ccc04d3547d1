"""Searches by score, graphs of neighbors, and the check of an Index against its vectors."""

import decimal
from fractions import Fraction

import numpy as np
import oracle
import pytest
from assertions import assert_same_bits, assert_same_topk, words
from data import gaussian, mixed, related, subnormal

import fastvec
from fastvec.kernels import metrics

METRICS = list(metrics.TABLE)


def assert_ranges(actual, scores, least, allowed=None):
    """Check that exactly the rows that reach ``least`` as float32 are returned, ranked for each query."""
    assert (actual.offsets.dtype, actual.indices.dtype) == (np.int64, np.int64)
    assert actual.offsets[0] == 0
    assert len(actual.offsets) == len(scores) + 1
    with np.errstate(over="ignore"):
        rounded = scores.astype(np.float32) + np.float32(0.0)
    for i, row in enumerate(scores):
        order = np.argsort(-row, kind="stable")
        kept = rounded[i] >= np.float32(least)
        if allowed is not None:
            kept &= allowed[i]
        expected = order[kept[order]]
        run = slice(actual.offsets[i], actual.offsets[i + 1])
        np.testing.assert_array_equal(actual.indices[run], expected)
        assert_same_bits(actual.scores[run], rounded[i, expected])


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("m", [1, 2, 37])
def test_range_search(m, metric):
    vectors = mixed(1500, 97, 1)
    queries = related(vectors, m, 2)
    index = fastvec.Index(vectors, metric=metric)
    scores = oracle.scores(queries, vectors, metric)
    with np.errstate(over="ignore"):
        middle = np.float32(np.sort(scores.ravel())[-500])
    above = np.nextafter(middle, np.float32(np.inf))
    for least in (middle, above, 0.0, -np.inf, np.inf, np.float64(middle)):
        assert_ranges(index.range_search(queries, least), scores, least)
        assert_ranges(index.range_search(queries, least, num_threads=3), scores, least)
    partial = oracle.scores(queries[:, :40], vectors[:, :40], metric)
    assert_ranges(index.range_search(queries, 0.25, dims=40), partial, 0.25)


@pytest.mark.parametrize("share", [0.05, 0.9])
@pytest.mark.parametrize("metric", ["cosine", "manhattan"])  # by a scan, and by exact scores alone
def test_range_search_with_filters(metric, share):
    vectors = gaussian(900, 33, 1)
    queries = related(vectors, 20, 2)
    index, scores = fastvec.Index(vectors, metric=metric), oracle.scores(queries, vectors, metric)
    least = 0.1 if metric == "cosine" else np.float32(np.median(scores))
    rng = np.random.default_rng(3)
    mask, each = rng.random(900) < share, rng.random((20, 900)) < share
    best = oracle.knn(queries, vectors, 3, metric).indices
    for where in (mask, np.flatnonzero(mask), each):
        allowed = oracle.allowed_rows(20, 900, where, best)
        assert_ranges(index.range_search(queries, least, where=where, exclude=best), scores, least, allowed)


def test_rows_that_tie_in_float32_are_all_returned():
    """Scores between two float32 values count as the value to which they round."""
    vectors = np.repeat(gaussian(1, 64, 1), 3000, axis=0) + gaussian(3000, 64, 2) * np.float32(1e-7)
    scores = oracle.scores(vectors[:2], vectors, "cosine")
    index = fastvec.Index(vectors)
    for least in np.unique(scores.astype(np.float32)):
        assert_ranges(index.range_search(vectors[:2], least), scores, least)


def test_output_larger_than_the_log():
    vectors = gaussian(3000, 16, 1)
    queries = gaussian(800, 16, 2)
    actual = fastvec.Index(vectors).range_search(queries, -1.0)
    assert actual.offsets[-1] == 800 * 3000
    assert_ranges(actual, oracle.scores(queries, vectors, "cosine"), -1.0)


def test_range_search_of_nothing():
    index, queries = fastvec.Index(gaussian(50, 8, 1)), gaussian(3, 8, 2)
    none = fastvec.Index(np.empty((0, 8), np.float32))
    for actual, m in (
        (index.range_search(queries[:0], 0), 0),
        (index.range_search(queries, 2), 3),
        (index.range_search(queries, -2, where=[]), 3),
        (none.range_search(queries, 0), 3),
    ):
        assert_same_bits(actual.offsets, np.zeros(m + 1, np.int64))
        assert_same_bits(actual.scores, np.empty(0, np.float32))
        assert_same_bits(actual.indices, np.empty(0, np.int64))


@pytest.mark.parametrize(
    "least",
    [
        np.nan,
        "1",
        None,
        True,
        [0.5],
        np.array([0.5]),
        np.True_,
        1j,
        np.complex64(1),
        np.array("1"),
        "9" * 999,
    ],
    ids=lambda least: str(least)[:9],
)
def test_a_value_that_is_not_a_score_is_refused(least):
    with pytest.raises((TypeError, ValueError), match=words("min_score", "number")) as caught:
        fastvec.Index(gaussian(9, 4, 1)).range_search(gaussian(1, 4, 1), least)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 7, 700])
def test_knn_graph(k, metric):
    vectors = mixed(600, 33, 1)
    expected = oracle.knn(vectors, vectors, k, metric, exclude=np.arange(600)[:, None])
    assert_same_topk(fastvec.Index(vectors, metric=metric).knn_graph(k), expected)


def test_verify_names_the_first_row_that_changed():
    for make in (gaussian, subnormal):
        vectors = make(2500, 33, 1)
        index = fastvec.Index(vectors)
        index.verify()
        vectors[[2100, 1300], 5] *= -3
        with pytest.raises(RuntimeError, match="row 1300"):
            index.verify()
    vectors[7] = np.nan
    with pytest.raises(RuntimeError, match="row 7"):
        index.verify()


SUBNORMAL = np.float32(3e-45)
OTHERS = [SUBNORMAL, np.float16(1e-7), np.float64(1e-40), np.array(SUBNORMAL)]
LEASTS = [1e-40, -1e-40, 2.8e-45, 1e-45, 1.2e-38, 0.0, -0.0, 1e-60, *OTHERS]


@pytest.mark.parametrize("least", LEASTS)
def test_thresholds_near_zero_in_any_floating_point_mode(least, flushing):
    """A caller who flushes subnormals gets the same rows."""
    vectors = subnormal(400, 9, 1)
    vectors[:, 1:] = 0  # scores are single products, one next to another
    query = np.zeros((2, 9), np.float32)
    query[:, 0] = 1, -1
    index = fastvec.Index(vectors, metric="dot")
    scores, reached = oracle.scores(query, vectors, "dot"), np.float32(least)
    expected = index.range_search(query, least)
    assert_ranges(expected, scores, reached)
    with flushing():
        actual = index.range_search(query, least)
    for left, right in zip(actual, expected, strict=True):
        assert_same_bits(left, right)


@pytest.mark.parametrize("metric", ["euclidean", "manhattan"])
def test_distances_near_zero_in_any_floating_point_mode(metric, flushing):
    vectors = subnormal(200, 9, 1)
    index, scores = fastvec.Index(vectors, metric=metric), oracle.scores(vectors[:3], vectors, metric)
    least = np.sort(scores[0])[-6].astype(np.float32)
    with flushing():
        actual = index.range_search(vectors[:3], least)
    assert_ranges(actual, scores, least)


FLOAT32_MAX = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    "least", [FLOAT32_MAX, -FLOAT32_MAX, np.float32(-FLOAT32_MAX), 1e39, -1e39, 10**400, -(10**400), 2]
)
@pytest.mark.parametrize("errors", ["warn", "raise"])
def test_the_largest_thresholds_are_right_and_silent(least, errors):
    vectors = gaussian(60, 8, 1) * np.float32(1e20)
    vectors[0] *= np.float32(1e17)
    index = fastvec.Index(vectors, metric="dot")
    scores = oracle.scores(vectors[:3], vectors, "dot")
    with np.errstate(all="ignore"):
        reached = np.float32(max(min(least, 10**39), -(10**39)))
    with np.errstate(all=errors):
        actual = index.range_search(vectors[:3], least)
    assert_ranges(actual, scores, reached)


@pytest.mark.parametrize(
    "least",
    [np.float16(0.5), np.array(0.5), np.array(0.5, np.float32), decimal.Decimal("0.5"), Fraction(1, 2)],
)
def test_any_number_is_a_score(least):
    index, query = fastvec.Index(gaussian(60, 3, 1)), [1, 0, 0]
    for left, right in zip(index.range_search(query, least), index.range_search(query, 0.5), strict=True):
        assert_same_bits(left, right)


def test_verify_lets_rows_pass_that_are_encoded_as_before():
    """They do not change the answers."""
    vectors = gaussian(50, 8, 1)
    index = fastvec.Index(vectors)
    vectors[3] = vectors[3].copy()
    index.verify()
    vectors[3, 2] = np.nextafter(vectors[3, 2], np.float32(np.inf))
    with pytest.raises(RuntimeError, match="row 3"):
        index.verify()
