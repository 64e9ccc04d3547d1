"""The comparators accept what is right and reject every kind of wrong answer."""

import numpy as np
import pytest
from assertions import assert_same_bits, assert_same_topk, assert_topk_matches, words
from data import gaussian
from oracle import TopK, knn, scores, select


@pytest.fixture
def right():
    return knn(gaussian(4, 20, 1), gaussian(50, 20, 2), 10)


@pytest.fixture
def matrix():
    return scores(gaussian(4, 20, 1), gaussian(50, 20, 2))


def swap(topk):
    topk.indices[1, [2, 3]] = topk.indices[1, [3, 2]]


def swap_both(topk):
    swap(topk)
    topk.scores[1, [2, 3]] = topk.scores[1, [3, 2]]


def wrong_score(topk):
    topk.scores[2, 4] += np.float32(1e-4)


def miss_the_best(topk):
    topk.indices[0, :-1], topk.scores[0, :-1] = topk.indices[0, 1:], topk.scores[0, 1:]
    topk.indices[0, -1], topk.scores[0, -1] = -1, -np.inf


def duplicate_index(topk):
    topk.indices[3, 1], topk.scores[3, 1] = topk.indices[3, 0], topk.scores[3, 0]


def out_of_range(topk):
    topk.indices[3, 9] = 50


def negative_index(topk):
    topk.indices[3, 9] -= 50


def not_a_number(topk):
    topk.scores[0, 0] = np.nan


def negative_zero(topk):
    topk.scores[:] = -0.0


MUTANTS = [
    swap,
    swap_both,
    wrong_score,
    miss_the_best,
    duplicate_index,
    out_of_range,
    negative_index,
    not_a_number,
    negative_zero,
]


def test_right_answer_passes(right, matrix):
    assert_same_topk(right, TopK(right.scores.copy(), right.indices.copy()))
    assert_topk_matches(right, matrix, 10)


@pytest.mark.parametrize("mutate", MUTANTS)
def test_wrong_answers_fail(right, matrix, mutate):
    wrong = TopK(right.scores.copy(), right.indices.copy())
    mutate(wrong)
    with pytest.raises(AssertionError):
        assert_same_topk(wrong, right)
    with pytest.raises(AssertionError):
        assert_topk_matches(wrong, matrix, 10)


def test_missing_better_row_fails(right, matrix):
    """Ranks 1 to 10 in place of 0 to 9: consistent in itself, and wrong."""
    eleven = select(matrix, 11)
    wrong = TopK(eleven.scores[:, 1:].copy(), eleven.indices[:, 1:].copy())
    with pytest.raises(AssertionError, match="better row"):
        assert_topk_matches(wrong, matrix, 10)
    with pytest.raises(AssertionError):
        assert_same_topk(wrong, right)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda right: TopK(right.scores.astype(np.float64), right.indices),
        lambda right: TopK(right.scores, right.indices.astype(np.int32)),
        lambda right: TopK(right.scores[:, :9], right.indices[:, :9]),
        lambda right: TopK(right.scores[0], right.indices[0]),
        lambda right: TopK(right.scores, right.indices[:, :9]),
    ],
    ids=["float64 scores", "int32 indices", "fewer columns", "one row", "unequal shapes"],
)
def test_wrong_form_fails(right, matrix, wrong):
    with pytest.raises(AssertionError):
        assert_same_topk(wrong(right), right)
    with pytest.raises(AssertionError):
        assert_topk_matches(wrong(right), matrix, 10)


def test_one_bit_of_a_score_fails_only_bitwise(right, matrix):
    wrong = TopK(np.nextafter(right.scores, np.float32(0)), right.indices)
    assert_topk_matches(wrong, matrix, 10)
    with pytest.raises(AssertionError, match="differ"):
        assert_same_topk(wrong, right)


def test_ties_may_fall_either_way_at_float32_precision():
    matrix = np.array([[1.0, 3.0, 3.0 - 1e-9, 2.0]])
    for order in ([1, 2], [2, 1]):
        answer = TopK(np.full((1, 2), 3, np.float32), np.array([order]))
        assert_topk_matches(answer, matrix, 2)


def test_padding_must_be_padding():
    matrix = np.array([[0.5, -np.inf, 0.25]])
    right = TopK(np.array([[0.5, 0.25, -np.inf]], np.float32), np.array([[0, 2, -1]]))
    assert_topk_matches(right, matrix, 3)
    for scores_row, indices in (
        ([0.5, 0.25, -np.inf], [0, 2, 1]),
        ([0.5, 0.25, 0.0], [0, 2, -1]),
        ([0.5, -np.inf, -np.inf], [0, -1, -1]),
    ):
        with pytest.raises(AssertionError):
            assert_topk_matches(TopK(np.array([scores_row], np.float32), np.array([indices])), matrix, 3)


def test_same_bits_tells_zeros_apart():
    nan = np.array([np.nan, 1.0])
    assert_same_bits(nan, nan.copy())
    with pytest.raises(AssertionError, match="1 of 2 entries"):
        assert_same_bits(np.array([0.0, 1.0]), np.array([-0.0, 1.0]))
    with pytest.raises(AssertionError, match="dtype"):
        assert_same_bits(np.zeros(2, np.float32), np.zeros(2))


def test_words_need_every_part():
    with pytest.raises(ValueError, match=words("axis", "rows")):
        raise ValueError("Rows and\nAXIS")
    with pytest.raises(AssertionError), pytest.raises(ValueError, match=words("axis", "rows")):
        raise ValueError("rows only")
    with pytest.raises(ValueError, match=words("matrix|rows", "axis")):
        raise ValueError("some rows of an axis")
