"""A Vocabulary gives the answers of an Index, with labels instead of row numbers."""

import contextlib
import copy
import enum
import os
import pickle
import signal
import threading
import time
import warnings

import numpy as np
import oracle
import pytest
from assertions import assert_same_bits, words
from data import gaussian, hashed, mixed

import fastvec
from fastvec import Vocabulary
from fastvec._once import once
from fastvec.labels import enumerated, nearest_spellings, quoted


class Label(str, enum.Enum):  # noqa: UP042  (its hash is that of its name)
    A = "a"
    B = "b"


class Loud(str):
    def __str__(self):
        return self.upper()


LABELS = ["king", "queen", "man", "woman", "King", "男人", "女人", "new york", "naïve", "row 9"]


@pytest.fixture
def vectors():
    return hashed(len(LABELS), 40, 5)


@pytest.fixture
def vocabulary(vectors):
    return Vocabulary(LABELS, vectors)


def named(actual, labels=LABELS):
    """One row of an oracle's TopK in the form that a Vocabulary returns."""
    return [(labels[i], float(s)) for s, i in zip(actual.scores, actual.indices, strict=True) if i >= 0]


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


def test_similarity_of_a_row_that_is_no_longer_finite(vocabulary, vectors):
    vectors[3, 7] = np.nan
    for pair in (("king", "woman"), ("woman", "king")):
        with pytest.raises(RuntimeError, match="vectors changed since the Index was built \\(row 3 "):
            vocabulary.similarity(*pair)


def test_search_leaves_a_word_out_of_its_own_answer(vocabulary, vectors):
    for k in (1, 3, 9, 10, 1000, 10**30, np.int64(2)):
        expected = oracle.knn(vectors, vectors, min(k, 1000), exclude=[[i] for i in range(10)])
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


@pytest.mark.parametrize("how", ["made", "opened", "unpickled", "copied", "truncated"])
def test_no_rows_are_added_to_the_index_of_a_vocabulary(vocabulary, vectors, tmp_path, how):
    vocabulary.save(tmp_path / "saved")
    held = {
        "made": lambda: vocabulary,
        "opened": lambda: Vocabulary.open(tmp_path / "saved"),
        "unpickled": lambda: pickle.loads(pickle.dumps(vocabulary)),
        "copied": lambda: copy.copy(vocabulary),
        "truncated": lambda: vocabulary.truncate(40),
    }[how]()
    index = held.index
    with pytest.raises(TypeError, match=r"belong to a Vocabulary.*fastvec\.Index\(index\.vectors\)"):
        index.add(vectors[:1])
    with pytest.raises(ValueError, match=r"read-only|not writeable"):
        held.vectors[0, 0] = 1
    assert len(held) == len(held.index) == len(held.words) == 10
    assert held.search("king", 20) == held.most_similar("king", k=20)
    held.save(tmp_path / "again")
    assert Vocabulary.open(tmp_path / "again").search("king", 20) == held.search("king", 20)
    free = fastvec.Index(index.vectors)
    free.add(vectors[:1])
    assert (len(free), len(index)) == (11, 10)


def test_what_is_read_when_needed_is_read_once_by_any_threads(vocabulary, tmp_path, monkeypatch):
    vocabulary.save(tmp_path / "v.npy")
    opened = Vocabulary.open(tmp_path / "v.npy")
    made, second = [], threading.Event()

    def slow(vectors, *, metric):
        made.append(threading.get_ident())
        if len(made) == 1:
            other.start()
            second.wait(0.3)  # a second one would come here in this time
        else:
            second.set()
        return real(vectors, metric=metric)

    real = fastvec.Index
    monkeypatch.setattr("fastvec.index.Index", slow)
    actual = []
    other = threading.Thread(target=lambda: actual.append(opened.index))
    actual.append(opened.index)
    other.join()
    assert len(made) == 1
    assert actual[0] is actual[1] is opened.index


@pytest.mark.parametrize("ask", [lambda opened: opened.words, lambda opened: opened.index])
def test_what_could_not_be_read_is_read_again(vocabulary, tmp_path, monkeypatch, ask):
    vocabulary.save(tmp_path / "saved")
    opened = Vocabulary.open(tmp_path / "saved")
    for place in ("fastvec.files.folder.words", "fastvec.files.indexed.opened"):
        with monkeypatch.context() as patch:
            patch.setattr(place, lambda stored: (_ for _ in ()).throw(OSError(5, "Input/output error")))
            for _ in range(2):
                with pytest.raises(OSError, match="Input/output error"):
                    opened.search("king")
    ask(opened)
    assert opened.search("king") == vocabulary.search("king")


def test_a_child_does_not_wait_for_a_thread_of_its_parent():
    """A thread computes a value while another thread forks."""

    class Holder:
        @once
        def value(self):
            if os.getpid() == parent:
                working.set()
                release.wait(10)
            return 7

    holder, parent = Holder(), os.getpid()
    working, release = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: holder.value)
    thread.start()
    assert working.wait(10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork, which this is about
        child = os.fork()
    if child == 0:
        signal.alarm(10)
        os._exit(holder.value)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    release.set()
    thread.join()
    assert (status, holder.value) == (7, 7)


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


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("mcdonald", ["McDonald"]),  # another case, far down
        ("IPHONE", ["iPhone"]),
        ("kingdim", ["kingdom"]),  # a letter changed,
        ("kngdom", ["kingdom"]),  # left out,
        ("kingddom", ["kingdom"]),  # put in,
        ("ikngdom", ["kingdom"]),  # swapped
        ("zürrich", ["zürich"]),
        ("мосвка", ["москва"]),
        ("kingdo", ["kingdom"]),
        ("москла", ["москва"]),  # with a letter of other words
        ("MCDONALDLY", ["McDonaldLy"]),  # ten letters have 1,024 forms
        ("IPHONE 200,000", ["iPhone 200,000"]),
        ("STRASSE", ["straße"]),
        ("a" * 64, ["a" * 63 + "b"]),
    ],
)
def test_near_spellings_come_from_all_of_a_large_vocabulary(word, nearest):
    labels = ["вода", "straße"] + [f"wor{i}" for i in range(20_000)]
    labels += ["McDonald", "iPhone", "kingdom", "zürich", "москва", "McDonaldLy", "iPhone 200,000"]
    labels += ["a" * 63 + "b"]
    vocabulary = Vocabulary(labels, np.zeros((len(labels), 1), np.float32))
    with pytest.raises(KeyError) as caught:
        vocabulary[word]
    assert str(caught.value).endswith("nearest spellings: " + ", ".join(map(repr, nearest)))


@pytest.mark.parametrize(
    ("words", "word", "nearest"),
    [
        (["Dode", "DODE", "DoDe", "dodE", "dodes"], "dode", ["Dode", "DODE", "dodE"]),
        (["dodea", "Dode", "dodeb", "dodec"], "dode", ["Dode", "dodec", "dodeb"]),
        (["dodea", "dodeb", "dodec", "doded"], "dodee", ["doded", "dodec", "dodeb"]),
        (["abcdef", "abcdefgh", "abcdefghijklm"], "abcdefghij", ["abcdefgh"]),
        (["abcdefghij", "abcdefghijk"], "abcdefgh", ["abcdefghij"]),
    ],
)
def test_at_most_three_near_spellings_of_nearly_one_length(words, word, nearest):
    assert nearest_spellings(word, words) == nearest


def test_words_in_messages_are_few_and_short():
    assert enumerated("abcde", 5) == "a, b, c, d, e"
    assert enumerated("abcdef", 6) == "a, b, c, d, e and 1 more"
    assert quoted("x" * 80) == repr("x" * 80)
    assert quoted("x" * 81) == f"{'x' * 80!r}… (81 characters)"


class Endless(dict):
    """Words of which only the first few may be read one by one."""

    def __iter__(self):
        for number in range(3_000_000):
            assert number < 10_000, "an error message walks through the vocabulary"
            yield f"label{number}"

    def __contains__(self, word):
        return False


@pytest.mark.parametrize(
    "word", ["lable17", "l", "label" * 12, "label" * 13, "x" * 1_000_000, "ß" * 64, "Ab" * 32, "\ud800"]
)
def test_the_message_for_an_unknown_word_is_cheap_and_short(word):
    error = fastvec.errors.UnknownWordError([word, *"abcdefgh"], Endless())
    start = time.process_time()
    assert len(str(error)) < 500
    assert "also unknown: 'a', 'b', 'c', 'd', 'e' and 3 more" in str(error)
    assert len(pickle.dumps(fastvec.errors.UnknownWordError([word], Endless()))) < 10 * len(word) + 500
    assert time.process_time() - start < 0.5


def test_all_unknown_words_are_named_and_survive_pickling(vocabulary):
    with pytest.raises(KeyError) as caught:
        vocabulary.search(["king", "womam", "xx", "queen", "yy"])
    message = "'womam' is not in this vocabulary; nearest spellings: 'woman'; also unknown: 'xx', 'yy'"
    assert str(caught.value) == message
    twin = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(twin, KeyError)
    assert str(twin) == message


@pytest.mark.parametrize(("words", "asked"), [([], 5), ([7], 5), ([7], "five")])
def test_where_words_are_integers_no_spelling_is_near(words, asked):
    with pytest.raises(KeyError) as caught:
        Vocabulary(words, hashed(len(words), 3))[asked]
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert str(error) == f"{asked!r} is not in this vocabulary"


@pytest.mark.parametrize(
    ("words", "other", "kinds"), [(["a"], [5], "str, not int"), ([5], ["a"], "int, not str")]
)
def test_words_of_the_other_kind_are_refused(words, other, kinds):
    vocabulary = Vocabulary(words, hashed(1, 3))
    for change in (
        lambda: vocabulary.add(other, hashed(1, 3)),
        lambda: vocabulary.replace(other, hashed(1, 3)),
        lambda: vocabulary.remove(other),
    ):
        with pytest.raises(TypeError, match=f"words of this vocabulary are {kinds}"):
            change()


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
        ({"a", "b", "c", "d", "e"}, TypeError, ["set", "no order"]),
        (np.array([list("abcde")]), TypeError, [r"shape \(1, 5\)", "one column"]),
        (["a", "b", float("nan"), "c", "d"], TypeError, [r"words\[2\]", "float", "leave its row out"]),
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
        np.array(["a", "b", "c"], object),
        {"a": 1, "b": 2, "c": 3},
        {"a": 1, "b": 2, "c": 3}.keys(),
        iter("abc"),
        (letter for letter in "abc"),
        [Label.A, Label.B, Loud("c")],
    ):
        vocabulary = Vocabulary(labels, rows)
        assert vocabulary.words == ("a", "b", "c")
        assert {type(word) for word in vocabulary.words} == {str}


def columns(labels):
    """Labels as columns of other libraries, as far as these are installed."""
    with contextlib.suppress(ImportError):
        import pyarrow as pa

        yield pa.array(labels)
        yield pa.array(labels, pa.large_string())
        yield pa.chunked_array([labels[:1], labels[1:]])
        yield pa.array(labels).dictionary_encode()
        yield list(pa.array(labels))
    with contextlib.suppress(ImportError):
        import pandas as pd

        yield pd.Series(labels, index=range(7, 7 + len(labels)))
        yield pd.Series(labels, dtype="string")
        yield pd.Categorical(labels)
        yield pd.Index(labels)
    with contextlib.suppress(ImportError):
        import polars as pl

        yield pl.Series(labels)


def test_words_are_taken_from_columns_of_other_libraries(tmp_path):
    rows = hashed(3, 4)
    plain = Vocabulary(["a", "b", "c"], rows)
    for column in columns(["a", "b", "c"]):
        vocabulary = Vocabulary(column, rows)
        assert vocabulary.words == ("a", "b", "c")
        assert {type(word) for word in vocabulary.words} == {str}
        assert vocabulary.search(column, 2) == plain.search(["a", "b", "c"], 2)
        assert vocabulary.most_similar(column[:2], k=2) == plain.most_similar(["a", "b"], k=2)
        assert vocabulary.doesnt_match(column) == plain.doesnt_match(["a", "b", "c"])
        first, second, _ = column
        assert first in vocabulary
        assert_same_bits(vocabulary[second], rows[1])
        fastvec.files.write(tmp_path / "w.vec", column, rows)
        assert Vocabulary.open(tmp_path / "w.vec").words == ("a", "b", "c")


def test_columns_of_what_is_not_a_word_are_refused():
    pd = pytest.importorskip("pandas")
    with pytest.raises(TypeError, match=r"DataFrame of shape \(2, 2\).*one column"):
        Vocabulary(pd.DataFrame({"a": ["x", "y"], "b": ["z", "w"]}), hashed(2, 3))
    for missing in (pd.Series(["a", None]), pd.Series(["a", pd.NA], dtype="string")):
        with pytest.raises(TypeError, match=r"words\[1\] is a \w+, not a str; leave its row out"):
            Vocabulary(missing, hashed(2, 3))


def test_questions_by_strings_of_other_classes():
    vocabulary = Vocabulary(["a", "b", "c"], hashed(3, 4))
    assert Label.A in vocabulary
    assert vocabulary.similarity(Label.A, Loud("b")) == vocabulary.similarity("a", "b")
    assert vocabulary.search(Label.A) == vocabulary.search("a")
    assert vocabulary.search(letter for letter in "ab") == vocabulary.search(["a", "b"])
    assert vocabulary.search({"a": 1, "b": 2}) == vocabulary.search({"a": 1, "b": 2}.keys())
    assert vocabulary.search({"a": 1, "b": 2}) == vocabulary.search(["a", "b"])
    with pytest.raises(KeyError) as caught:
        vocabulary[Loud("x")]
    assert [type(word) for word in caught.value.args] == [str]


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
        (lambda v: v.most_similar("king", k=2.0), TypeError),
        (lambda v: v.most_similar("king", k=True), TypeError),
        (lambda v: v.most_similar(["king", "man"], k=True), TypeError),
        (lambda v: v.search("king", True), TypeError),
        (lambda v: v.search(np.ones(40), np.True_), TypeError),
        (lambda v: v.search(np.ones(40), 2.0), TypeError),
        (lambda v: v.search("king", "3"), TypeError),
        (lambda v: v.search("king", None), TypeError),
        (lambda v: v.search("king", -(10**30)), ValueError),
        (lambda v: v.search([], 0), ValueError),
        (lambda v: v.search([], True), TypeError),
        (lambda v: v.search([], dims=41), ValueError),
        (lambda v: v.most_similar("king", "man", method="other"), ValueError),
        (lambda v: v.most_similar("king", method="other"), ValueError),
        (lambda v: v.most_similar("king", dims=41), ValueError),
        (lambda v: v.most_similar(3), TypeError),
        (lambda v: v.most_similar(["king", 3]), TypeError),
        (lambda v: v.most_similar("king", None), TypeError),
        (lambda v: v.search("king", 0), ValueError),
        (lambda v: v.search("king", where=[True]), ValueError),
        (lambda v: v.search({"king", "man"}), TypeError),
        (lambda v: v.search(b"king"), TypeError),
        (lambda v: v.search(["king", b"man"]), TypeError),
        (lambda v: v.most_similar(b"king"), TypeError),
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


class Embedder:
    """An embedder with fixed vectors, which records the texts of each call."""

    def __init__(self, vectors):
        self.vectors, self.calls = vectors, []

    def __call__(self, texts):
        self.calls.append(list(texts))
        return np.array([self.vectors[text] for text in texts])


@pytest.fixture
def embedder():
    """An embedder of three texts that are not words of the vocabulary."""
    return Embedder(dict(zip(["a ruler", "a city", "tea"], gaussian(3, 40, 5), strict=True)))


def answers_to(queries, vectors, k, exclude, dims=None):
    expected = oracle.knn(queries, vectors, k, exclude=exclude, dims=dims)
    return [named(oracle.TopK(*row)) for row in zip(*expected, strict=True)]


def test_texts_are_embedded_in_one_batch_and_answers_keep_their_order(vocabulary, vectors, embedder):
    asked = ["tea", "queen", "a ruler", "tea", "king"]
    rows = np.stack(
        [embedder.vectors[text] if text in embedder.vectors else vocabulary[text] for text in asked]
    )
    expected = answers_to(rows, vectors, 9, [[-1], [1], [-1], [-1], [0]])
    assert vocabulary.search(asked, 9, embedder=embedder) == expected
    assert vocabulary.search(np.array(asked), 9, embedder=embedder) == expected
    assert embedder.calls == [["tea", "a ruler"]] * 2
    assert vocabulary.search("tea", 9, embedder=embedder) == expected[0]


def test_words_need_no_embedder(vocabulary, vectors, embedder):
    assert vocabulary.search(["king", "man"], embedder=embedder) == vocabulary.search(["king", "man"])
    assert vocabulary.search("king", embedder=embedder) == vocabulary.search("king")
    both = {"positive": ["king", "woman"], "negative": "man"}
    assert vocabulary.most_similar(**both, embedder=embedder) == vocabulary.most_similar(**both)
    assert vocabulary.search(vectors[:2], embedder=embedder) == vocabulary.search(vectors[:2])
    assert vocabulary.search([], embedder=embedder) == []
    assert embedder.calls == []


@pytest.mark.parametrize("dims", [None, 9])
@pytest.mark.parametrize("method", ["3cosadd", "3cosmul"])
def test_an_analogy_of_words_vectors_and_texts(vocabulary, vectors, embedder, method, dims):
    """The answer is the same as if every input were a row, but only words are left out of it."""
    vector = gaussian(1, 40, 6)[0]
    more = np.vstack([vectors, [embedder.vectors["tea"], vector]])  # rows n and n + 1
    n = len(vectors)
    where = np.arange(n + 2) < n
    expected = oracle.analogy(more, [0, n, 3], [n + 1, 2], 5, method, dims=dims, where=where)
    how = {"k": 5, "method": method, "dims": dims, "embedder": embedder}
    assert vocabulary.most_similar(["king", "tea", "woman"], [vector, "man"], **how) == named(expected)
    assert vocabulary.most_similar(["king", "tea", "woman"], [vector.tolist(), "man"], **how) == named(
        expected
    )
    assert embedder.calls == [["tea"]] * 2


@pytest.mark.parametrize("method", ["3cosadd", "3cosmul"])
def test_vectors_of_words_answer_as_the_words_do_but_leave_nothing_out(vocabulary, vectors, method):
    everything = len(LABELS)
    by_words = dict(vocabulary.most_similar(["king", "woman"], "man", everything, method=method))
    form = (vectors[[0, 3]], vectors[2])
    by_vectors = dict(vocabulary.most_similar(*form, everything, method=method))
    assert len(by_vectors) == everything
    assert {word: by_vectors[word] for word in by_words} == by_words


def test_one_vector_or_text_has_the_scores_of_search(vocabulary, vectors, embedder):
    vector = gaussian(1, 40, 6)[0]
    for form in (vector, vector.tolist(), [vector], vector[np.newaxis], iter([vector])):
        assert vocabulary.most_similar(form, k=20) == vocabulary.search(vector, 20)
    assert vocabulary.most_similar("tea", embedder=embedder) == vocabulary.search("tea", embedder=embedder)
    assert vocabulary.most_similar(vocabulary["man"], k=1) == [("man", 1.0)]
    assert vocabulary.most_similar(vector[:7], dims=7) == vocabulary.search(vector, dims=7)


def as_generator(texts, vectors):
    return (vectors[text] for text in texts)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("embed_queries", lambda texts, vectors: np.array([vectors[text] for text in texts])),
        ("embed_query", lambda text, vectors: vectors[text].tolist()),
        ("embed", as_generator),
        ("encode", lambda texts, vectors: [vectors[text].tolist() for text in texts]),
    ],
)
def test_embedders_of_other_libraries(vocabulary, embedder, name, answer):
    kind = type("Theirs", (), {name: lambda self, asked: answer(asked, embedder.vectors)})
    expected = vocabulary.search(["tea", "a city"], embedder=embedder)
    assert vocabulary.search(["tea", "a city"], embedder=kind()) == expected


def test_queries_are_told_from_other_texts(server, make):
    from embedding_server import hashed_rows

    vocabulary = Vocabulary(["king", "queen", "man"], hashed_rows(["king", "queen", "man"], 64))
    embedder = make(prefixes={"query": "q: "})
    actual = vocabulary.search(["ruler", "king", "monarch"], embedder=embedder)
    assert [request["input"] for request in server.requests] == [["q: ruler", "q: monarch"]]
    assert actual[0] == vocabulary.search(hashed_rows(["q: ruler"], 64)[0])
    assert actual[1] == vocabulary.search("king")


@pytest.mark.parametrize(
    ("ask", "error", "said"),
    [
        (lambda v, e: v.search("tea"), KeyError, "tea"),
        (lambda v, e: v.most_similar(["king", "tea"]), KeyError, "tea"),
        (lambda v, e: v.search("tea", 0, embedder=e), ValueError, "k is 0"),
        (lambda v, e: v.search("tea", dims=41, embedder=e), ValueError, "dims"),
        (lambda v, e: v.search(["tea", 3], embedder=e), TypeError, r"queries\[1\] is a int"),
        (lambda v, e: v.search(b"tea", embedder=e), TypeError, "bytes"),
        (lambda v, e: v.most_similar("tea", k=0, embedder=e), ValueError, "k is 0"),
        (lambda v, e: v.most_similar("tea", method="no", embedder=e), ValueError, "method"),
        (lambda v, e: v.most_similar([], "tea", embedder=e), ValueError, "positive is empty"),
        (lambda v, e: v.most_similar(["tea", [1, 2]], embedder=e), ValueError, "a vector has 2 dimensions"),
        (
            lambda v, e: v.most_similar(["tea", [np.nan] * 40], embedder=e),
            ValueError,
            r"positive\[1\], row 0: NaN",
        ),
        (lambda v, e: v.most_similar(["tea", np.ones((2, 40))], embedder=e), ValueError, r"shape \(2, 40\)"),
        (lambda v, e: v.most_similar(["tea", None], embedder=e), TypeError, r"positive\[1\] is a NoneType"),
        (
            lambda v, e: v.search("tea", embedder=3),
            TypeError,
            "has none of embed_queries, embed_query, embed",
        ),
    ],
)
def test_nothing_is_embedded_for_a_wrong_question(vocabulary, embedder, ask, error, said):
    with pytest.raises(error, match=said):
        ask(vocabulary, embedder)
    assert embedder.calls == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda texts: np.ones((len(texts), 41)), "has 41 dimensions; it must have the 40 of vectors"),
        (lambda texts: np.ones((3, 40)), "returned 3 vectors for 1 texts"),
        (lambda texts: np.ones(40), r"returned has shape \(40,\)"),
        (lambda texts: np.full((1, 40), np.inf), "returned, row 0: inf"),
    ],
)
def test_a_wrong_answer_of_an_embedder(vocabulary, answer, said):
    with pytest.raises(ValueError, match=said):
        vocabulary.search("tea", embedder=answer)
    assert vocabulary.search("tea", 1, dims=7, embedder=lambda texts: np.ones((1, 7)))


def test_no_queries_of_integers_and_of_text_give_no_answers():
    rows = np.eye(3, dtype=np.float32)
    for labels in ([7, 8, 9], ["a", "b", "c"]):
        assert Vocabulary(labels, rows).search([], 2) == []


class Says:
    """An object with attributes that say what it is not."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def __array__(self, dtype=None, copy=None):
        return np.ones((1, 3), np.float32)


@pytest.mark.parametrize("words", [[7, 8, 9], ["a", "b", "c"]])
@pytest.mark.parametrize(
    "attributes",
    [
        {"dtype": "float32"},
        {"dtype": None, "shape": 7},
        {"shape": lambda: (3,)},
        {"shape": (3,)},
        {"to_pylist": 7},
        {"tolist": None},
        {"as_py": 7},
    ],
    ids=", ".join,
)
def test_objects_that_say_what_they_are_not_are_read_or_refused(words, attributes):
    vocabulary = Vocabulary(words, np.eye(3, dtype=np.float32))
    for call in (vocabulary.most_similar, vocabulary.search, lambda value: Vocabulary(value, np.eye(3))):
        try:
            call(Says(**attributes))
        except (TypeError, ValueError) as error:
            message = str(error)
            assert any(name in message for name in ("words", "queries", "positive")), message


class Raising:
    def __getattr__(self, name):
        raise ZeroDivisionError(name)


class RaisingList(list):
    def __iter__(self):
        raise ZeroDivisionError

    __len__ = __iter__


def test_what_arguments_raise_is_a_type_error():
    vocabulary = Vocabulary(["a", "b"], np.eye(2, dtype=np.float32))
    for value in (Raising(), [Raising()]):
        for call in (
            lambda value: Vocabulary(value, np.eye(2)),
            lambda value: vocabulary.search(value, 1),
            vocabulary.most_similar,
            lambda value: vocabulary.search(["a"], 1, where=value),
            lambda value: fastvec.audit(np.eye(2), np.eye(2), value),
        ):
            with pytest.raises(TypeError):
                call(value)
    assert Vocabulary(RaisingList(["a", "b"]), np.eye(2)).words == ("a", "b")
    assert vocabulary.most_similar(RaisingList(["a"]), k=1) == vocabulary.most_similar(["a"], k=1)
    assert fastvec.audit(np.eye(2), np.eye(2), RaisingList([RaisingList([0, 1]), [1]])).missing == 1
