"""The oracle against plain loops and exact fractions, and the data against what it claims to be."""

import ast
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import oracle
import pytest
from assertions import assert_same_bits, assert_same_topk
from data import COUNTS, KINDS, WIDTHS, gaussian, hashed, mixed, related
from plain_scores import PLAIN

from fastvec.benchmark import definitions
from fastvec.kernels import metrics


def plain_sum(terms):
    lanes = [0.0] * 32
    for d, term in enumerate(terms):
        lanes[d % 32] += term
    half = 16
    while half:
        for lane in range(half):
            lanes[lane] += lanes[lane + half]
        half //= 2
    return lanes[0]


def plain_score(metric, query, row):
    """The score of one pair, summed by a plain loop."""
    query, row = np.asarray(query, np.float64), np.asarray(row, np.float64)
    return float(PLAIN[metric](query, row, lambda terms: np.asarray(plain_sum(terms.tolist()))))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("metric", oracle.METRICS)
def test_scores_equal_plain_loops(metric, width):
    vectors = mixed(2 * len(KINDS), width, width)
    queries = related(vectors, 5, width)
    expected = [[plain_score(metric, query, row) for row in vectors] for query in queries]
    assert_same_bits(oracle.scores(queries, vectors, metric), np.array(expected))


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_near_exact_fractions(kind):
    query, row = KINDS[kind](2, 97, 3)
    exact = sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(query, row, strict=True))
    magnitude = sum(abs(Fraction(float(a)) * Fraction(float(b))) for a, b in zip(query, row, strict=True))
    computed = Fraction(float(oracle.scores(query[None], row[None], "dot")[0, 0]))
    assert abs(computed - exact) <= magnitude * Fraction(8, 2**52)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_score_one_with_themselves(kind):
    rows = KINDS[kind](7, 33, 5)
    diagonal = np.diag(oracle.scores(rows, rows))
    assert_same_bits(diagonal, (rows != 0).any(axis=1).astype(np.float64))
    distances = np.diag(oracle.scores(rows, rows, "euclidean"))
    assert_same_bits(distances, np.zeros(7))


def test_dims_reads_the_first_columns():
    rows = mixed(40, 97, 1)
    assert_same_bits(oracle.scores(rows, rows, dims=33), oracle.scores(rows[:, :33], rows[:, :33]))


def plain_rank(row, k, allowed, largest=True):
    order = sorted(np.flatnonzero(allowed), key=lambda i: (-row[i] if largest else row[i], i))[:k]
    return [int(i) for i in order] + [-1] * (k - len(order))


@pytest.mark.parametrize("largest", [True, False])
def test_selection_is_a_stable_sort(largest):
    matrix = np.random.default_rng(0).integers(-3, 4, (6, 30)).astype(np.float64)
    allowed = np.random.default_rng(1).random((6, 30)) < 0.6
    answer = oracle.select(matrix, 25, allowed, largest)
    expected = [plain_rank(row, 25, mask, largest) for row, mask in zip(matrix, allowed, strict=True)]
    np.testing.assert_array_equal(answer.indices, expected)
    padding = answer.indices == -1
    assert padding.any()
    assert (answer.scores[padding] == (-np.inf if largest else np.inf)).all()
    chosen = np.take_along_axis(matrix, answer.indices.clip(0), axis=1)
    np.testing.assert_array_equal(answer.scores[~padding], chosen[~padding])


def test_selection_ranks_integers_as_integers():
    big = np.array([[2**62, 2**62 + 1, -(2**63), 2**63 - 1]])
    assert oracle.topk(big, 4).indices.tolist() == [[3, 1, 0, 2]]
    assert oracle.topk(big, 4, largest=False).indices.tolist() == [[2, 0, 1, 3]]


def test_published_scores_have_no_negative_zero():
    assert_same_bits(oracle.publish(np.array([-1e-60, -0.0, 1e300])), np.array([0, 0, np.inf], np.float32))


def test_filters_and_exclusions():
    rows = gaussian(20, 5, 1)
    allowed = oracle.allowed_rows(2, 20, where=[3, 4, 4, 9], exclude=[[4, -1], [-1, -1]])
    assert [np.flatnonzero(row).tolist() for row in allowed] == [[3, 9], [3, 4, 9]]
    mask = np.isin(np.arange(20), [3, 4, 9])
    by_mask = oracle.knn(rows[:2], rows, 5, where=mask, exclude=[[4], []])
    assert_same_topk(oracle.knn(rows[:2], rows, 5, where=[9, 3, 4], exclude=[[4], []]), by_mask)
    one = oracle.knn(rows[0], rows, 5, where=mask, exclude=[4])
    assert one.indices.tolist() == by_mask.indices[0].tolist()


@pytest.mark.parametrize("method", ["3cosadd", "3cosmul"])
def test_analogies_equal_plain_loops(method):
    rows = mixed(30, 33, 2, ("gaussian", "integer", "zero"))
    positive, negative = [4, 9], [2, 7, 7]
    if method == "3cosadd":
        query = [0.0] * 33
        for sign, index in [(1, 4), (1, 9), (-1, 2), (-1, 7), (-1, 7)]:
            row = [float(v) for v in rows[index]]
            norm = math.sqrt(plain_sum([v * v for v in row]))
            query = [q + sign * (v / norm if norm else 0.0) for q, v in zip(query, row, strict=True)]
        query = np.array(query).astype(np.float32)
        expected = [plain_score("cosine", query, row) for row in rows]
    else:
        half = [[(1 + plain_score("cosine", rows[i], row)) / 2 for i in range(30)] for row in rows]
        expected = [h[4] * h[9] / (h[2] * h[7] * h[7] + 0.001) for h in half]
    allowed = ~np.isin(np.arange(30), [4, 9, 2, 7])
    answer = oracle.analogy(rows, positive, negative, 8, method)
    assert answer.indices.tolist() == plain_rank(expected, 8, allowed)
    np.testing.assert_array_equal(answer.scores, [np.float32(expected[i]) for i in answer.indices])


def test_normalize_and_truncate():
    rows = mixed(64, 97, 3)
    unit = oracle.normalize(rows)
    lengths = np.linalg.norm(unit.astype(np.float64), axis=1)
    np.testing.assert_allclose(lengths, (rows != 0).any(axis=1), atol=3e-7)
    assert_same_bits(oracle.truncate(rows, 31), oracle.normalize(rows[:, :31]))
    assert_same_bits(oracle.truncate(rows, 31, renormalize=False), rows[:, :31])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_kind_is_finite_float32(kind, width):
    for n in (0, *COUNTS[:5]):
        rows = KINDS[kind](n, width, 7)
        assert rows.shape == (n, width)
        assert rows.dtype == np.float32
        assert rows.flags.c_contiguous
        assert np.isfinite(rows).all()


def test_kinds_are_as_awkward_as_they_claim():
    tiny = KINDS["subnormal"](50, 9, 1)
    assert ((np.abs(tiny) < np.finfo(np.float32).tiny) & (tiny != 0)).mean() > 0.9
    with np.errstate(over="ignore"):
        assert np.isinf(np.square(KINDS["huge"](50, 9, 1)).sum(axis=1)).all()
    assert (np.square(KINDS["tiny"](50, 9, 1)).sum(axis=1) == 0).all()
    assert len(np.unique(KINDS["duplicate"](50, 9, 1), axis=0)) <= 5
    assert (np.sum(KINDS["near_tie"](50, 9, 1) != KINDS["tied"](50, 9, 1), axis=1) == 1).all()


def test_hashed_rows_never_change():
    """These numbers are what digests rest on."""
    assert (hashed(2, 3, 1) * 2**15).tolist() == [[-16985, 8149, -7848], [-11560, -6110, -29520]]
    assert len(np.unique(hashed(100, 100))) > 8_000


def test_every_metric_has_its_twin():
    assert list(oracle.METRICS) == list(metrics.TABLE)
    assert list(PLAIN) == list(metrics.TABLE)


@pytest.mark.parametrize("module", [oracle, definitions])
def test_nothing_is_shared_with_the_kernels(module):
    """What is right is told by NumPy, in the order of definitions, ranking, answers."""
    tree = ast.parse(Path(module.__file__).read_text("utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    allowed = {"__future__", "collections.abc", "typing", "numpy", "numpy.typing"}
    assert imported - allowed <= ({"fastvec.benchmark.definitions"} if module is oracle else set())
