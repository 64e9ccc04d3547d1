"""Searches by score, graphs of neighbors, and the check of an Index against its vectors."""

import numpy as np
import oracle
import pytest
from assertions import assert_same_bits, assert_same_topk, words
from data import gaussian, mixed, related, subnormal

import fastvec
from fastvec.kernels import metrics

METRICS = list(metrics.TABLE)


def assert_ranges(found, scores, least, allowed=None):
    """Every row that reaches ``least`` as float32 and no other, ranked, query by query."""
    assert (found.offsets.dtype, found.indices.dtype) == (np.int64, np.int64)
    assert found.offsets[0] == 0
    assert len(found.offsets) == len(scores) + 1
    with np.errstate(over="ignore"):
        rounded = scores.astype(np.float32) + np.float32(0.0)
    for i, row in enumerate(scores):
        order = np.argsort(-row, kind="stable")
        kept = rounded[i] >= np.float32(least)
        if allowed is not None:
            kept &= allowed[i]
        expected = order[kept[order]]
        run = slice(found.offsets[i], found.offsets[i + 1])
        np.testing.assert_array_equal(found.indices[run], expected)
        assert_same_bits(found.scores[run], rounded[i, expected])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("m", [1, 2, 37])
def test_range_search(m, metric):
    vectors = mixed(1500, 97, 1)
    queries = related(vectors, m, 2)
    index = fastvec.Index(vectors, metric=metric)
    scores = oracle.scores(queries, vectors, metric)
    with np.errstate(over="ignore"):
        some = np.float32(np.sort(scores.ravel())[-500])
    above = np.nextafter(some, np.float32(np.inf))
    for least in (some, above, 0.0, -np.inf, np.inf, np.float64(some)):
        assert_ranges(index.range_search(queries, least), scores, least)
        assert_ranges(index.range_search(queries, least, num_threads=3), scores, least)
    partial = oracle.scores(queries[:, :40], vectors[:, :40], metric)
    assert_ranges(index.range_search(queries, 0.25, dims=40), partial, 0.25)


@pytest.mark.parametrize("share", [0.05, 0.9])
def test_range_search_with_filters(share):
    vectors = gaussian(900, 33, 1)
    queries = related(vectors, 20, 2)
    index, scores = fastvec.Index(vectors), oracle.scores(queries, vectors, "cosine")
    rng = np.random.default_rng(3)
    mask, each = rng.random(900) < share, rng.random((20, 900)) < share
    best = oracle.knn(queries, vectors, 3).indices
    for where in (mask, np.flatnonzero(mask), each):
        allowed = oracle.allowed_rows(20, 900, where, best)
        assert_ranges(index.range_search(queries, 0.1, where=where, exclude=best), scores, 0.1, allowed)


def test_rows_that_tie_in_float32_are_all_returned():
    """Scores between two float32 values count by what they round to."""
    vectors = np.repeat(gaussian(1, 64, 1), 3000, axis=0) + gaussian(3000, 64, 2) * np.float32(1e-7)
    scores = oracle.scores(vectors[:2], vectors, "cosine")
    index = fastvec.Index(vectors)
    for least in np.unique(scores.astype(np.float32)):
        assert_ranges(index.range_search(vectors[:2], least), scores, least)


def test_output_larger_than_the_log():
    vectors = gaussian(3000, 16, 1)
    queries = gaussian(800, 16, 2)
    found = fastvec.Index(vectors).range_search(queries, -1.0)
    assert found.offsets[-1] == 800 * 3000
    assert_ranges(found, oracle.scores(queries, vectors, "cosine"), -1.0)


def test_range_search_of_nothing():
    index = fastvec.Index(gaussian(50, 8, 1))
    for found in (index.range_search(np.empty((0, 8)), 0), index.range_search(gaussian(3, 8, 2), 2)):
        assert not found.offsets.any()
        assert len(found.scores) == len(found.indices) == 0
    empty = fastvec.Index(np.empty((0, 8), np.float32)).range_search(gaussian(3, 8, 2), 0)
    assert empty.offsets.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("least", [np.nan, "1", None, True, [0.5]])
def test_a_score_that_is_none_is_refused(least):
    with pytest.raises((TypeError, ValueError), match=words("min_score", "number")):
        fastvec.Index(gaussian(9, 4, 1)).range_search(gaussian(1, 4, 1), least)


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
