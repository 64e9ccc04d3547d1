"""Selection on a given score matrix."""

import numpy as np
import oracle
import pytest
from assertions import assert_same_topk, words
from data import COUNTS
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import fastvec

MATRICES = {
    "random": lambda m, n, rng: rng.standard_normal((m, n)),
    "many ties": lambda m, n, rng: rng.integers(-2, 3, (m, n)),
    "all tied": lambda m, n, rng: np.full((m, n), 0.5),
    "rising": lambda m, n, rng: np.sort(rng.standard_normal((m, n)), axis=1),
    "falling": lambda m, n, rng: np.sort(rng.standard_normal((m, n)), axis=1)[:, ::-1],
    "zeros of both signs": lambda m, n, rng: rng.choice([0.0, -0.0], (m, n)),
    "infinite": lambda m, n, rng: rng.choice([np.inf, -np.inf, 1.0, 2.0], (m, n)),
}


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", MATRICES)
def test_topk(name, dtype, largest):
    rng = np.random.default_rng(1)
    for n in COUNTS:
        matrix = MATRICES[name](3, n, rng).astype(dtype)
        for k in {1, 2, 10, n, n + 5}:
            actual = fastvec.topk(matrix, k, largest=largest)
            assert_same_topk(actual, oracle.topk(matrix, k, largest))


@given(
    arrays.arrays(
        st.sampled_from(["f2", "f4", "f8", ">f4", ">f8", "i1", "u1", "i4", "i8", "u8", ">i8"]),
        arrays.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=40),
        elements={"allow_nan": False},
    ),
    st.integers(1, 45),
    st.booleans(),
)
def test_topk_of_any_numbers(matrix, k, largest):
    assert_same_topk(fastvec.topk(matrix, k, largest=largest), oracle.topk(matrix, k, largest))


def test_scores_are_ranked_in_the_type_given():
    """Neighbors in float64 and int64 are one number in float32, and still have an order."""
    fine = np.nextafter(1.0, 2.0)
    assert fastvec.topk(np.array([1.0, fine, 1.0]), 3).indices.tolist() == [1, 0, 2]
    large = np.array([2**62, 2**62 + 1, -(2**63), 2**63 - 1])
    assert fastvec.topk(large, 4).indices.tolist() == [3, 1, 0, 2]
    assert fastvec.topk(large, 4, largest=False).indices.tolist() == [2, 0, 1, 3]
    unsigned = np.array([2**64 - 1, 0, 2**63], np.uint64)
    assert fastvec.topk(unsigned, 3).indices.tolist() == [0, 2, 1]


def test_scores_beyond_float32_are_published_as_infinite():
    answer = fastvec.topk(np.array([[1e300, -1e300, 1e301]]), 3)
    assert answer.indices.tolist() == [[2, 0, 1]]
    assert answer.scores.tolist() == [[np.inf, np.inf, -np.inf]]


def test_infinite_scores_come_before_padding():
    answer = fastvec.topk(np.array([-np.inf, -np.inf]), 3)
    assert answer.indices.tolist() == [0, 1, -1]
    assert answer.scores.tolist() == [-np.inf] * 3
    answer = fastvec.topk(np.array([np.inf]), 2, largest=False)
    assert answer.indices.tolist() == [0, -1]
    assert answer.scores.tolist() == [np.inf] * 2


def test_one_row_gives_one_row():
    scores = np.random.default_rng(1).standard_normal(50)
    assert_same_topk(fastvec.topk(scores, 7), oracle.topk(scores, 7))
    assert fastvec.topk(scores, 7).indices.shape == (7,)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_empty_scores_give_padding(shape):
    answer = fastvec.topk(np.empty(shape, np.float32), 2)
    assert_same_topk(answer, oracle.topk(np.empty(shape), 2))
    assert (answer.indices == -1).all()


def test_scores_may_be_strided_read_only_or_lists():
    matrix = np.random.default_rng(1).standard_normal((20, 30)).astype(np.float32)
    read_only = matrix.copy()
    read_only.flags.writeable = False
    expected = oracle.topk(matrix, 4)
    for form in (read_only, np.asfortranarray(matrix), matrix.repeat(2, axis=1)[:, ::2], matrix.tolist()):
        assert_same_topk(fastvec.topk(form, 4), expected)


def test_scores_are_left_alone():
    matrix = np.random.default_rng(1).standard_normal((5, 100))
    copy = matrix.copy()
    fastvec.topk(matrix, 10)
    np.testing.assert_array_equal(matrix, copy)


def test_nan_is_named_with_its_row():
    matrix = np.zeros((9, 40), np.float32)
    matrix[[6, 8], 30] = np.nan
    for k in (1, 50):
        for largest in (True, False):
            with pytest.raises(ValueError, match=words("scores", "nan", "row 6")):
                fastvec.topk(matrix, k, largest=largest)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.ones((2, 2), bool), ["bool"]),
        (np.ones((2, 2), complex), ["complex"]),
        (np.ones((2, 2), object), ["object"]),
        (np.array([["a", "b"]]), ["<U1|str|text"]),
        (np.ones((2, 2, 2)), ["3|2, 2, 2"]),
        (np.float32(1), [r"0|\(\)|scalar"]),
    ],
)
def test_scores_of_another_form_are_refused(scores, message):
    with pytest.raises((TypeError, ValueError), match=words("scores", *message)):
        fastvec.topk(scores, 1)
