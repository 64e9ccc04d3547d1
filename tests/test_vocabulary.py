"""A Vocabulary answers by label what an Index answers by row number."""

import copy
import pickle
import time

import numpy as np
import oracle
import pytest
from assertions import assert_same_bits, words
from data import gaussian, hashed, mixed

import fastvec
from fastvec import Vocabulary

LABELS = ["king", "queen", "man", "woman", "King", "男人", "女人", "new york", "naïve", "row 9"]


@pytest.fixture
def vectors():
    return hashed(len(LABELS), 40, 5)


@pytest.fixture
def vocabulary(vectors):
    return Vocabulary(LABELS, vectors)


def named(found, labels=LABELS):
    """One row of an oracle's TopK as a Vocabulary publishes it."""
    return [(labels[i], float(s)) for s, i in zip(found.scores, found.indices, strict=True) if i >= 0]


def test_it_holds_words_and_vectors(vocabulary, vectors):
    assert vocabulary.words == tuple(LABELS)
    assert list(vocabulary) == LABELS
    assert (len(vocabulary), vocabulary.dims) == (10, 40)
    assert_same_bits(vocabulary.vectors, vectors)
    assert "男人" in vocabulary
    assert "kings" not in vocabulary
    assert 3 not in vocabulary
    assert [] not in vocabulary
    assert repr(vocabulary) == "Vocabulary(10 words, 40 dims: 'king', 'queen', 'man', ...)"


def test_float32_vectors_are_used_in_place(vectors):
    assert np.shares_memory(Vocabulary(LABELS, vectors).vectors, vectors)


def test_a_word_gives_its_row_read_only(vocabulary, vectors):
    row = vocabulary["女人"]
    assert_same_bits(row, vectors[6])
    assert np.shares_memory(row, vectors)
    assert not row.flags.writeable
    assert vectors.flags.writeable


def test_similarity_is_the_published_cosine(vectors):
    vectors = np.concatenate([vectors, mixed(50, 40, 3)])
    labels = [f"w{i}" for i in range(60)]
    vocabulary = Vocabulary(labels, vectors)
    expected = oracle.publish(oracle.scores(vectors, vectors))
    for i in range(0, 60, 7):
        for j in range(60):
            score = vocabulary.similarity(labels[i], labels[j])
            assert type(score) is float
            assert score == expected[i, j] == vocabulary.similarity(labels[j], labels[i])


def test_search_leaves_a_word_out_of_its_own_answer(vocabulary, vectors):
    for k in (1, 3, 9, 10, 1000, np.int64(2)):
        expected = oracle.knn(vectors, vectors, k, exclude=[[i] for i in range(10)])
        answers = [named(oracle.TopK(*row)) for row in zip(*expected, strict=True)]
        assert vocabulary.search(LABELS, k) == answers
        assert vocabulary.search(tuple(LABELS), k) == vocabulary.search(np.array(LABELS), k) == answers
        assert vocabulary.search("queen", k) == vocabulary.search(["queen"], k)[0] == answers[1]
    assert len(vocabulary.search("king")) == 9
    assert vocabulary.search([]) == []


def test_search_by_vectors_leaves_nothing_out(vocabulary, vectors):
    queries = gaussian(4, 40, 8)
    expected = oracle.knn(queries, vectors, 20)
    answers = [named(oracle.TopK(*row)) for row in zip(*expected, strict=True)]
    assert vocabulary.search(queries, 20) == answers
    assert vocabulary.search(queries.tolist(), 20) == answers
    assert vocabulary.search(queries[2], 20) == vocabulary.search(queries[2].tolist(), 20) == answers[2]
    assert vocabulary.search(vocabulary["man"], 1) == [("man", 1.0)]
    assert vocabulary.search(queries[:0]) == []


def test_search_on_the_first_dims(vocabulary, vectors):
    expected = oracle.knn(vectors[:2], vectors, 4, dims=7, exclude=[[0], [1]])
    answers = [named(oracle.TopK(*row)) for row in zip(*expected, strict=True)]
    assert vocabulary.search(["king", "queen"], 4, dims=7) == answers
    assert vocabulary.most_similar("king", k=4, dims=7) == answers[0]


@pytest.mark.parametrize("method", ["3cosadd", "3cosmul"])
@pytest.mark.parametrize("dims", [None, 9])
def test_most_similar_is_analogy_by_label(vocabulary, vectors, method, dims):
    expected = named(oracle.analogy(vectors, [0, 3], [2], 5, method, dims=dims))
    assert vocabulary.most_similar(["king", "woman"], "man", 5, method=method, dims=dims) == expected
    assert vocabulary.most_similar(("king", "woman"), ["man"], 5, method=method, dims=dims) == expected


def test_most_similar_returns_only_words_that_are_left(vocabulary):
    hits = vocabulary.most_similar(["king", "woman"], ["man"], k=100)
    assert sorted(word for word, _ in hits) == sorted(set(LABELS) - {"king", "woman", "man"})
    assert vocabulary.most_similar(LABELS, k=3) == []
    assert Vocabulary(["alone"], [[1, 2]]).most_similar("alone") == []
    assert Vocabulary(["alone"], [[1, 2]]).search("alone") == []


def test_scores_agree_from_one_method_to_another():
    labels = [f"w{i}" for i in range(200)]
    vocabulary = Vocabulary(labels, gaussian(200, 33, 4))
    for word in labels[:20]:
        hits = vocabulary.most_similar(word, k=15)
        assert hits == vocabulary.search(word, 15)
        assert hits == [(other, vocabulary.similarity(word, other)) for other, _ in hits]


def test_one_word_by_3cosmul_is_not_a_cosine(vocabulary, vectors):
    expected = named(oracle.analogy(vectors, [0], [], 3, "3cosmul"))
    assert vocabulary.most_similar("king", k=3, method="3cosmul") == expected


def test_truncate_makes_a_new_vocabulary(vocabulary, vectors):
    narrow = vocabulary.truncate(16)
    assert isinstance(narrow, Vocabulary)
    assert narrow.words == vocabulary.words
    assert_same_bits(narrow.vectors, fastvec.truncate(vectors, 16))
    assert vocabulary.dims == 40
    with pytest.raises(ValueError, match="dims"):
        vocabulary.truncate(41)


def test_pickle_and_copy(vocabulary):
    for twin in (pickle.loads(pickle.dumps(vocabulary)), copy.copy(vocabulary), copy.deepcopy(vocabulary)):
        assert twin.words == vocabulary.words
        assert_same_bits(twin.vectors, vocabulary.vectors)
        assert twin.most_similar("king", "man") == vocabulary.most_similar("king", "man")


def test_no_words_at_all():
    empty = Vocabulary([], np.empty((0, 5), np.float32))
    assert (len(empty), empty.dims, empty.words) == (0, 5, ())
    assert empty.search(np.ones(5)) == []
    assert empty.search(np.ones((2, 5))) == [[], []]
    with pytest.raises(KeyError, match="not in this vocabulary"):
        empty["king"]


@pytest.mark.parametrize("ask", ["__getitem__", "search", "most_similar"])
def test_unknown_words_are_answered_with_near_spellings(vocabulary, ask):
    with pytest.raises(KeyError) as caught:
        getattr(vocabulary, ask)("kinf")
    assert str(caught.value) == "'kinf' is not in this vocabulary; nearest spellings: 'king'"
    assert caught.value.args == ("kinf",)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("QUEEN", "'QUEEN' is not in this vocabulary; nearest spellings: 'queen'"),
        ("naive", "'naive' is not in this vocabulary; nearest spellings: 'naïve'"),
        ("zzz", "'zzz' is not in this vocabulary"),
        ("", "'' is not in this vocabulary"),
    ],
)
def test_messages_for_unknown_words(vocabulary, word, message):
    with pytest.raises(KeyError) as caught:
        vocabulary.similarity("man", word)
    assert str(caught.value) == message


def test_all_unknown_words_are_named_and_survive_pickling(vocabulary):
    with pytest.raises(KeyError) as caught:
        vocabulary.search(["king", "womam", "xx", "queen", "yy"])
    message = "'womam' is not in this vocabulary; nearest spellings: 'woman'; also unknown: 'xx', 'yy'"
    assert str(caught.value) == message
    twin = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(twin, KeyError)
    assert str(twin) == message


def test_catching_an_unknown_word_costs_no_comparison_of_spellings():
    labels = [f"label{i}" for i in range(100_000)]
    vocabulary = Vocabulary(labels, np.zeros((len(labels), 1), np.float32))
    start = time.perf_counter()
    for _ in range(100):
        with pytest.raises(KeyError):
            vocabulary["lable"]
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    ("labels", "error", "parts"),
    [
        (["a", "b", "a", "c", "b"], ValueError, ["repeated", "'a' at 0 and 2", "'b' at 1 and 4"]),
        (["a", "", "b", "c", "d"], ValueError, [r"words\[1\]", "empty"]),
        (["a", "b", 3, "c", "d"], TypeError, [r"words\[2\]", "int"]),
        (["a", "b", None, "c", "d"], TypeError, [r"words\[2\]", "NoneType"]),
        ([b"a", b"b", b"c", b"d", b"e"], TypeError, [r"words\[0\]", "bytes"]),
        (["a", "b", "c"], ValueError, ["number", "3", "5"]),
        ("abcde", TypeError, ["one str"]),
        (5, TypeError, ["int"]),
    ],
)
def test_wrong_labels_are_refused(labels, error, parts):
    with pytest.raises(error, match=words(*parts)):
        Vocabulary(labels, hashed(5, 3))


def test_labels_from_any_iterable_become_plain_strings():
    rows = hashed(3, 4)
    for labels in (
        np.array(["a", "b", "c"]),
        list(np.array(["a", "b", "c"])),
        {"a": 1, "b": 2, "c": 3},
        iter("abc"),
    ):
        vocabulary = Vocabulary(labels, rows)
        assert vocabulary.words == ("a", "b", "c")
        assert {type(word) for word in vocabulary.words} == {str}


def test_vectors_are_refused_as_an_index_refuses_them():
    rows = hashed(3, 4).copy()
    rows[1, 2] = np.nan
    with pytest.raises(ValueError, match=words("vectors", "1")):
        Vocabulary(["a", "b", "c"], rows)
    with pytest.raises(ValueError, match="vectors"):
        Vocabulary(["a", "b", "c"], rows[:, 0])


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda v: v.most_similar([]), ValueError),
        (lambda v: v.most_similar([], "king"), ValueError),
        (lambda v: v.most_similar("king", k=0), ValueError),
        (lambda v: v.most_similar("king", k=2.5), TypeError),
        (lambda v: v.most_similar("king", "man", method="other"), ValueError),
        (lambda v: v.most_similar("king", method="other"), ValueError),
        (lambda v: v.most_similar("king", dims=41), ValueError),
        (lambda v: v.most_similar(3), TypeError),
        (lambda v: v.most_similar(["king", 3]), TypeError),
        (lambda v: v.most_similar("king", None), TypeError),
        (lambda v: v.search("king", 0), ValueError),
        (lambda v: v.search(["king", 1.0]), TypeError),
        (lambda v: v.search([1.0, 2.0]), ValueError),
        (lambda v: v.search(np.ones((2, 41))), ValueError),
        (lambda v: v.similarity("king", 3), TypeError),
        (lambda v: v[3], TypeError),
    ],
)
def test_wrong_questions_are_refused(vocabulary, ask, error):
    with pytest.raises(error):
        ask(vocabulary)
