"""a is to b as c is to ?: both methods, in batches, through the function and through an Index."""

import numpy as np
import oracle
import pytest
from assertions import assert_same_topk, assert_topk_matches, words
from data import KINDS, gaussian, hashed, matrices, mixed, seeds
from hypothesis import given
from hypothesis import strategies as st

import fastvec

METHODS = ["3cosadd", "3cosmul"]


def questions(n, count, p=2, q=1, seed=1):
    indices = np.random.default_rng(seed).integers(0, n, (count, p + q))
    return indices[:, :p], indices[:, p:]


def assert_analogy(vectors, positive, negative, k=1, **options):
    """Compare the function and the Index with the oracle."""
    expected = oracle.analogy(vectors, positive, negative, k, **options)
    assert_same_topk(fastvec.analogy(vectors, positive, negative, k, **options), expected)
    assert_same_topk(fastvec.Index(vectors).analogy(positive, negative, k, **options), expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_analogy_on_every_kind_of_row(kind, method):
    vectors = KINDS[kind](300, 33, 1)
    assert_analogy(vectors, *questions(300, 33), 5, method=method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("exclude_inputs", [True, False])
@pytest.mark.parametrize(("p", "q"), [(1, 0), (1, 1), (2, 1), (3, 2), (1, 4)])
def test_any_number_of_inputs(method, exclude_inputs, p, q):
    vectors = mixed(300, 65, 2)
    positive, negative = questions(300, 17, p, q)
    assert_analogy(vectors, positive, negative, 3, method=method, exclude_inputs=exclude_inputs)


@pytest.mark.parametrize("method", METHODS)
def test_many_questions_over_many_rows(method):
    vectors = np.concatenate([gaussian(2000, 50, 3), mixed(200, 50, 4)])
    assert_analogy(vectors, *questions(2200, 100), 10, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_dims_and_where(method):
    vectors = mixed(300, 97, 2)
    positive, negative = questions(300, 9)
    mask = np.arange(300) % 3 == 0
    for where in (None, mask, np.flatnonzero(mask)):
        for dims in (None, 1, 40, 97):
            assert_analogy(vectors, positive, negative, 4, method=method, dims=dims, where=where)
    np.testing.assert_array_equal(
        fastvec.analogy(vectors, positive, negative, 4, method=method, dims=40).indices,
        fastvec.analogy(vectors[:, :40], positive, negative, 4, method=method).indices,
    )


@given(matrices(counts=st.integers(1, 80)), st.data())
def test_any_questions(vectors, data):
    n, width = vectors.shape
    p, q = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 3))
    positive, negative = questions(n, data.draw(st.integers(1, 20)), p, q, data.draw(seeds))
    assert_analogy(
        vectors,
        positive,
        negative,
        data.draw(st.sampled_from([1, 3, n + 1])),
        method=data.draw(st.sampled_from(METHODS)),
        exclude_inputs=data.draw(st.booleans()),
        dims=data.draw(st.none() | st.integers(1, width)),
    )


@pytest.mark.parametrize("method", METHODS)
def test_lists_of_unequal_length(method):
    vectors = gaussian(60, 20, 1)
    assert_analogy(vectors, [[1, 2], [3], [4, 5, 6]], [[7], [], [8, 9]], 3, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_one_flat_question_gives_one_row(method):
    vectors = gaussian(60, 20, 1)
    assert_analogy(vectors, [1, 2], [3], 4, method=method)
    assert_analogy(vectors, [1, 2], [], 4, method=method)
    assert fastvec.analogy(vectors, [1, 2], [3], 4, method=method).indices.shape == (4,)


def test_addition_is_a_search_for_the_rounded_sum():
    """The definition, computed with public functions only."""
    vectors = gaussian(300, 50, 1)
    unit = vectors.astype(np.float64) / np.sqrt(oracle.lane_sum(vectors.astype(np.float64) ** 2))[:, None]
    target = (unit[3] + unit[8] - unit[5]).astype(np.float32)
    expected = fastvec.knn(target, vectors, 7, exclude=[3, 8, 5])
    assert_same_topk(fastvec.analogy(vectors, [3, 8], [5], 7), expected)


def test_methods_against_formulas_in_plain_numpy():
    vectors = gaussian(300, 50, 1)
    unit = vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    cosines = unit @ unit.T
    target = unit[3] + unit[8] - unit[5]
    added = unit @ target / np.linalg.norm(target)
    shifted = (1 + cosines) / 2
    multiplied = shifted[3] * shifted[8] / (shifted[5] + 0.001)
    for method, scores in (("3cosadd", added), ("3cosmul", multiplied)):
        scores[[3, 8, 5]] = -np.inf
        answer = fastvec.analogy(vectors, [[3, 8]], [[5]], 20, method=method)
        assert_topk_matches(answer, scores[None], 20)


@pytest.mark.parametrize("method", METHODS)
def test_inputs_that_cancel_and_zero_rows(method):
    vectors = hashed(40, 16, 1)
    vectors[7] = 0
    assert_analogy(vectors, [[5], [7], [5, 7]], [[5], [7], [6]], 39, method=method)
    assert (fastvec.analogy(vectors, [[5]], [[5]], 39).indices[0] == np.delete(np.arange(40), 5)).all()


def test_more_answers_than_rows_are_filled_up():
    answer = fastvec.analogy(gaussian(5, 8), [[0, 1]], [[2]], 4)
    assert answer.indices[0, 2:].tolist() == [-1, -1]
    assert answer.scores[0, 2:].tolist() == [-np.inf, -np.inf]


def test_defaults():
    vectors = gaussian(60, 20, 1)
    expected = oracle.analogy(vectors, [[1, 2]], [[3]], 1, "3cosadd", exclude_inputs=True)
    assert_same_topk(fastvec.analogy(vectors, [[1, 2]], [[3]]), expected)
    assert_same_topk(fastvec.Index(vectors).analogy([[1, 2]], [[3]]), expected)


@pytest.mark.parametrize("method", METHODS)
def test_no_questions(method):
    none = np.empty((0, 2), np.int64)
    answer = fastvec.analogy(gaussian(9, 4), none, none[:, :1], 3, method=method)
    assert answer.indices.shape == answer.scores.shape == (0, 3)


@pytest.mark.parametrize(
    ("positive", "negative", "message"),
    [
        ([[0, 60]], [[1]], ["positive", "60"]),
        ([[0, 1]], [[60]], ["negative", "60"]),
        ([[0, -1]], [[1]], ["positive", "-1"]),
        ([[0, 1]], [[-1]], ["negative", "-1"]),
        ([[]], [[1]], ["positive", "empty|at least one|none"]),
        ([[0], []], [[1], [1]], ["positive", "empty|at least one|none"]),
        ([], [1], ["positive", "empty|at least one|none"]),
        ([[0, 1], [1, 2]], [[3]], ["positive", "negative", "2", "1"]),
        ([[0.5, 1]], [[1]], ["positive", "float|integer"]),
        ([["king"]], [[1]], ["positive", "str|<U4|text|integer"]),
        ([[True, False]], [[1]], ["positive", "bool|integer"]),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_questions_of_another_form_are_refused(positive, negative, message, method):
    vectors = gaussian(60, 20, 1)
    with pytest.raises((TypeError, ValueError, IndexError), match=words(*message)):
        fastvec.analogy(vectors, positive, negative, method=method)
    with pytest.raises((TypeError, ValueError, IndexError), match=words(*message)):
        fastvec.Index(vectors).analogy(positive, negative, method=method)


def test_unknown_method_names_the_known_ones():
    with pytest.raises(ValueError, match=words("method", "cosmax", *METHODS)):
        fastvec.analogy(gaussian(9, 4), [[1]], [[2]], method="cosmax")


def test_an_index_of_another_metric_has_no_analogies():
    index = fastvec.Index(gaussian(9, 4), metric="dot")
    with pytest.raises(ValueError, match=words("dot", "cosine")):
        index.analogy([[1]], [[2]])


@pytest.mark.parametrize(
    "kind", ["near_tie", "duplicate", "scaled_copy", "outlier", "ranging", "largest", "mixed"]
)
def test_products_whose_bounds_are_close(kind):
    """Scores that are equal in float32, for questions of one input word up to some hundred."""
    make = mixed if kind == "mixed" else KINDS[kind]
    vectors = np.concatenate([make(300, 130, 1), make(300, 130, 2)])
    rng = np.random.default_rng(3)
    for plus, minus, k in ((1, 0, 5), (2, 1, 1), (3, 3, 40), (150, 90, 9), (400, 5, 600)):
        questions = rng.integers(0, 600, (4, plus + minus))
        positive, negative = questions[:, :plus], questions[:, plus:]
        expected = oracle.analogy(vectors, positive, negative, k, "3cosmul")
        assert_same_topk(fastvec.analogy(vectors, positive, negative, k, method="3cosmul"), expected)


def test_products_of_opposite_rows():
    """Cosines near −1: a half is far smaller than the float32 error of its cosine."""
    direction, noise = gaussian(1, 130, 1), gaussian(4000, 130, 2)
    for size in (1e-2, 1e-3, 1e-4):
        vectors = np.concatenate([direction, np.float32(size) * noise - direction])
        for plus, minus in (([0], []), ([0, 0], [0]), ([0], [5, 7])):
            expected = oracle.analogy(vectors, [plus], [minus], 3, "3cosmul")
            assert_same_topk(fastvec.analogy(vectors, [plus], [minus], 3, method="3cosmul"), expected)


@pytest.mark.parametrize("method", METHODS)
def test_a_row_that_is_not_finite_is_named_unless_its_column_is_left_out(method):
    vectors = gaussian(60, 9, 1)
    expected = oracle.analogy(vectors, [1], [2], 3, method, dims=5)
    vectors[47, 5] = np.nan
    with pytest.raises(ValueError, match="vectors, row 47: NaN"):
        fastvec.analogy(vectors, [1], [2], 3, method=method)
    assert_same_topk(fastvec.analogy(vectors, [1], [2], 3, method=method, dims=5), expected)
