"""Words and integers as labels of rows: which are allowed, which count, and their plain form."""

import itertools
from collections import Counter
from functools import partial

import numpy as np
import pytest

from fastvec import _queries, labels
from fastvec.errors import UnknownWordError


class Word(str):
    """As a member of an enumeration, or NumPy's."""


ONE = Word("one")


class Scalar:
    """As Arrow's."""

    def __init__(self, value):
        self.value = value

    def as_py(self):
        return self.value

    def __repr__(self):  # the same in every process that runs tests
        return f"Scalar({self.value!r})"


class Pretended:
    """As ``unittest.mock.Mock(spec=list)``."""

    __class__ = list

    def __repr__(self):
        return "Pretended()"


ENDS = [-(2**63), 2**63 - 1]


@pytest.mark.parametrize(
    "words",
    [
        ["a", "b"],
        ("b",),
        [],
        [ONE, "two"],
        [np.str_("a"), Scalar("b")],
        np.array(["a", "b"]),
        np.array(["a", "b"], object),
        partial(iter, ["a", "b"]),
        dict.fromkeys("ab"),
        ENDS,
        [3, np.int8(-1), np.uint64(2**63 - 1)],
        np.array([2, 1], ">i4"),
        range(3),
    ],
    ids=repr,
)
def test_labels_become_plain(words):
    again = words() if callable(words) else words
    expected = [label.value if isinstance(label, Scalar) else label for label in again]
    found = labels.checked_words(words() if callable(words) else words)
    assert type(found) is tuple
    assert list(found) == expected
    assert len({*map(type, found)} - {str}) == 0 or {*map(type, found)} == {int}


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ("ab", TypeError, r"words: several str are needed, not one str; write \[words\]"),
        ({"a"}, TypeError, "words is a set, which has no order"),
        (frozenset("a"), TypeError, "words is a frozenset, which has no order"),
        (3, TypeError, "words is a int; it must be several str"),
        (Pretended(), TypeError, "a test_labels.Pretended says that it is a list or tuple, and is none"),
        (np.array([["a"]]), TypeError, r"words is a ndarray of shape \(1, 1\)"),
        (["a", 1], TypeError, r"words\[1\] is a int, not a str; give str\(label\)"),
        (["a", b"b"], TypeError, r"words\[1\] is a bytes, not a str; decode it"),
        (["a", "b", None], TypeError, r"words\[2\] is a NoneType, not a str; leave its row out"),
        (["a", float("nan")], TypeError, r"words\[1\] is a float, not a str; leave its row out"),
        (["a", 0.5], TypeError, r"words\[1\] is a float, not a str; give str\(label\)"),
        (["a", Scalar(None)], TypeError, r"words\[1\] is a NoneType, not a str; leave its row out"),
        ([True, "a"], TypeError, r"words\[0\] is a bool, not a str"),
        ([1, 2, "a"], TypeError, r"words\[2\] is a str; words are all int, or all str"),
        ([1, False], TypeError, r"words\[1\] is a bool; words are all int"),
        ([1, 2**63], ValueError, r"words\[1\] does not fit into 64 bits; give str\(label\)"),
        ([1, 2, -(2**63) - 1], ValueError, r"words\[2\] does not fit into 64 bits"),
        ([7, 8, 7, 9, 8, 8], ValueError, "words are repeated: 7, 8$"),
        (["a", ""], ValueError, r"^words\[1\] is empty$"),
        (["", "a", ""], ValueError, r"^words\[0\], words\[2\] are empty$"),
        (["", "a", "b", "a"], ValueError, r"^words are repeated: 'a' at 1 and 3; words\[0\] is empty$"),
    ],
    ids=repr,
)
def test_other_labels_are_refused(words, error, message):
    with pytest.raises(error, match=message):
        labels.checked_words(words)


def test_labels_count_that_are_not_blank_and_did_not_come_before():
    for length in range(6):
        for words in itertools.product(("a", "b", ""), repeat=length):
            counting = [word != "" and word not in words[:at] for at, word in enumerate(words)]
            found = labels.faults(words)
            assert [True] * length == counting if found is None else found.counting.tolist() == counting
            some = labels.blanks(words)
            filled = [word != "" for word in words]
            assert all(filled) if some is None else some.counting.tolist() == filled
            if found is not None:
                assert found.message.count(" at ") == sum(
                    count - 1 for word, count in Counter(words).items() if word
                )
                assert found.message.count("words[") == words.count("")


def test_words_are_found_or_all_named_that_are_not():
    rows = {"a": 3, "one": 5}
    assert labels.rows_of_words(["one", ONE, Scalar("a")], rows) == [5, 5, 3]
    with pytest.raises(UnknownWordError) as caught:
        labels.rows_of_words(["x", "a", "y"], rows)
    assert "'x'" in str(caught.value)
    assert "'y'" in str(caught.value)
    assert "'a'" not in str(caught.value).partition(";")[0]
    assert labels.rows_of_words([4, np.int8(9)], {4: 0, 9: 1}) == [0, 1]
    for wrong, known in ((4, rows), (True, {1: 0}), (0.5, {1: 0}), (None, {1: 0})):
        with pytest.raises(TypeError, match=f"words are str, not {type(wrong).__name__}"):
            labels.rows_of_words([wrong], known)


ROW = np.float32([0.5, 2])


@pytest.mark.parametrize(
    ("inputs", "ids", "expected"),
    [
        ("a", False, ["a"]),
        (ONE, False, ["one"]),
        (Scalar("a"), False, ["a"]),
        (["a", "b"], False, ["a", "b"]),
        (("a",), False, ["a"]),
        ([], False, []),
        (["a", ONE, [0.5, 2]], False, ["a", "one", ROW]),
        ([0.5, 2], False, [ROW]),
        ([[0.5, 2], (0.5, 2)], False, [ROW, ROW]),
        ([[[0.5, 2]]], False, [ROW]),
        (ROW, False, [ROW]),
        (np.array([ROW, ROW]), False, [ROW, ROW]),
        ([ROW, "a"], False, [ROW, "a"]),
        (np.array(["a", "b"]), False, ["a", "b"]),
        ({"a"}, False, ["a"]),
        ({"a": 1, "b": 2}, False, ["a", "b"]),
        (partial(iter, ["a", [0.5, 2]]), False, ["a", ROW]),
        (3, True, [3]),
        (np.int8(3), True, [3]),
        ([3, np.uint8(1)], True, [3, 1]),
        ([], True, []),
        ([3, [0.5, 2]], True, [3, ROW]),
        ([0.5, 2.0], True, [ROW]),
        ([0.5, 2], True, TypeError),
        (np.array([3, 1]), True, [3, 1]),
        (ROW, True, [ROW]),
        (np.array([ROW, ROW]), True, [ROW, ROW]),
        ({3: "a"}, True, [3]),
        ({3}, True, [3]),
        (partial(iter, [3, 1]), True, [3, 1]),
        (3, False, TypeError),
        (None, False, TypeError),
        (b"a", False, TypeError),
        ([b"a"], False, TypeError),
        ([None, "a"], False, TypeError),
        (["a", 3], False, TypeError),
        (["a", [[0.5, 2], [1, 1]]], False, ValueError),
        (["a", [np.nan, 1]], False, ValueError),
        ([[]], False, ValueError),
        (True, True, ValueError),
    ],
    ids=repr,
)
def test_words_and_vectors_of_a_question(inputs, ids, expected):
    if isinstance(expected, type):
        with pytest.raises(expected):
            _queries.items(inputs, "positive", ids=ids)
        return
    found = _queries.items(inputs() if callable(inputs) else inputs, "positive", ids=ids)
    assert type(found) is list
    assert len(found) == len(expected)
    for item, right in zip(found, expected, strict=True):
        assert type(item) is type(right)
        assert np.array_equal(item, right)


METHODS = ["embed_queries", "encode_query", "embed_query", "embed", "encode", "__call__"]


@pytest.mark.parametrize("first", range(len(METHODS)))
@pytest.mark.parametrize("several", [False, True])
def test_the_method_for_queries_comes_first(first, several):
    def method(name):
        def answer(self, texts):
            calls.append(name)
            return ROW if name == "embed_query" else iter([ROW] * len(texts))

        return answer

    calls = []
    names = METHODS[first:] if several else METHODS[first : first + 1]
    embedder = type("Embedder", (), {name: method(name) for name in names})()
    rows = _queries._embedded(embedder, ["a", "b"])
    assert rows.dtype == np.float32
    assert rows.tolist() == [ROW.tolist()] * 2
    assert calls == [METHODS[first]] * (2 if METHODS[first] == "embed_query" else 1)


def test_what_embedders_return_is_checked():
    for returned, message in (
        ([[1, 2]], r"returned 1 vectors for 2 texts"),
        ([[1, 2], [np.inf, 2]], "row 1: inf"),
        ([1, 2], "shape"),
    ):
        with pytest.raises(ValueError, match=message):
            _queries._embedded(lambda _, returned=returned: returned, ["a", "b"])
    with pytest.raises(TypeError, match="none of embed_queries"):
        _queries._embedded(3, ["a"])
