"""The drop-in for gensim's KeyedVectors: its results, and where they deliberately differ."""

import gzip
import pickle

import numpy as np
import oracle
import pytest
from assertions import words
from data import gaussian

import fastvec
from fastvec.integrations.gensim import Indexer, WordVectors, accelerate, lookup

WORDS = ["king", "queen", "man", "woman", "castle", "King"]
VECTORS = np.array(
    [[2, 1, 0], [2, 0, 1], [0, 1, 0], [0, 0, 1], [2, 0, 0], [2, 1, 0.5]], np.float32
)  # the last one is a word in another case


def some(n=300, dims=20, seed=1):
    return WordVectors([f"w{i}" for i in range(n)], gaussian(n, dims, seed))


@pytest.fixture
def royal():
    return WordVectors(WORDS, VECTORS)


@pytest.fixture(scope="module")
def keyed():
    """Two hundred words in a KeyedVectors of gensim."""
    models = pytest.importorskip("gensim.models")
    vectors = models.KeyedVectors(20)
    vectors.add_vectors([f"w{i}" for i in range(200)], gaussian(200, 20, 1))
    return vectors


def names(hits):
    return [word for word, _ in hits]


def test_most_similar(royal):
    hits = royal.most_similar(positive=["king", "woman"], negative=["man"], topn=1)
    assert names(hits) == ["queen"]
    assert type(hits[0][1]) is float
    # One word is asked for by its own vector.
    expected = oracle.knn(VECTORS[:1], VECTORS, 5, exclude=[[0]])
    answer = [(WORDS[i], float(s)) for i, s in zip(expected.indices[0], expected.scores[0], strict=True)]
    for hits in (
        royal.most_similar("king"),
        royal.most_similar(["king"]),
        royal.most_similar(0),
        royal.most_similar([("king", 3)]),
        royal.similar_by_word("king"),
        royal.similar_by_key("king"),
        royal.most_similar_batch(["king"])[0],
    ):
        assert hits == answer
    assert royal.most_similar("king", topn=2) == answer[:2]
    assert royal.most_similar("king", topn=0) == royal.most_similar("king", topn=-1) == []
    assert royal.similar_by_vector(VECTORS[0])[0] == ("king", 1.0)


def test_a_vector_of_a_word_gets_the_answers_of_the_word():
    vectors = some()
    normed = vectors.get_normed_vectors()
    for row in range(30):
        word, normed_row = f"w{row}", normed[row]
        for ask, vector in (
            (vectors.most_similar, vectors[word]),
            (vectors.most_similar, normed_row),
            (vectors.most_similar_cosmul, normed_row),
        ):
            assert [hit for hit in ask([vector], topn=20) if hit[0] != word] == ask(word, topn=19)
    expected = [vectors.most_similar([vector], topn=20) for vector in normed[:30]]
    assert vectors.most_similar_batch(list(normed[:30]), topn=20) == expected
    # Without that, rounding would change the last digits.
    raw = fastvec.knn(normed[:30], vectors.vectors, 20).scores.tolist()
    assert [[score for _, score in hits] for hits in expected] != raw


def test_the_ways_to_an_answer_give_the_same(monkeypatch):
    """Rankings that are kept, and the second look at a few rows only, are those of searches."""
    vectors = gaussian(100, 20, 1)
    vectors[7] = vectors[3]  # equal rows, and some too near to each other for a border between them
    vectors[8:12] = vectors[3] + np.float32(1e-7) * gaussian(4, 20, 2)
    kept = WordVectors([f"w{i}" for i in range(100)], vectors)
    units = kept.get_normed_vectors()
    expected = [kept.most_similar([unit], topn=k) for unit in units for k in (1, 3, 99, 100)]
    monkeypatch.setattr(lookup, "_LARGE", 0)
    assert [kept.most_similar([unit], topn=k) for unit in units for k in (1, 3, 99, 100)] == expected
    every = np.ones(100, bool)
    for row in range(100):
        found = kept._index.search(vectors[row], 10, exclude=[row], where=every).lists()
        assert kept.most_similar(f"w{row}") == [(f"w{i}", score) for i, score in found]
    assert WordVectors(["alone"], vectors[:1]).most_similar("alone") == []


def test_the_query_of_weights_and_vectors():
    vectors = some()
    unit = vectors.vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1)[:, None]
    extra = gaussian(1, 20, 7)[0]
    mean = 2.5 * unit[1] + extra.astype(np.float64) - unit[3] + 0.5 * unit[4]
    query = (mean / np.linalg.norm(mean)).astype(np.float32)
    expected = fastvec.knn(query, vectors.vectors, 9, exclude=[1, 3, 4])
    actual = vectors.most_similar([("w1", 2.5), extra], ["w3", (4, 0.5)], topn=9)
    assert names(actual) == [f"w{i}" for i in expected.indices]
    np.testing.assert_allclose([s for _, s in actual], expected.scores, atol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "rows"),
    [
        ({"restrict_vocab": 50}, range(50)),
        ({"clip_start": 20}, range(20, 300)),
        ({"clip_end": 40}, range(40)),
        ({"clip_start": 20, "clip_end": 40}, range(20, 40)),
        ({"clip_start": -30}, range(270, 300)),
        ({"clip_start": 20, "clip_end": 40, "restrict_vocab": 10}, range(10)),
        ({"clip_start": 40, "clip_end": 20}, range(0)),
    ],
)
def test_rows_that_may_be_answers(arguments, rows):
    vectors = some()
    hits = vectors.most_similar("w30", topn=1000, **arguments)
    every = vectors.most_similar("w30", topn=1000)
    assert hits == [hit for hit in every if int(hit[0][1:]) in rows]
    scores = vectors.most_similar("w30", topn=None, **arguments)
    np.testing.assert_allclose(
        scores, oracle.scores(vectors.vectors[30:31], vectors.vectors)[0][list(rows)], atol=1e-6
    )
    assert scores.dtype == np.float32


def test_batches():
    vectors = some()
    asked = [f"w{i}" for i in range(0, 300, 7)]
    expected = [vectors.most_similar(word, topn=4, restrict_vocab=200) for word in asked]
    assert vectors.most_similar_batch(asked, topn=4, restrict_vocab=200) == expected
    positive, negative = [["w1", "w2"], "w3", [("w4", 2.0)], vectors["w5"]], [["w6"], None, "w7", []]
    expected = [vectors.most_similar(*pair) for pair in zip(positive, negative, strict=True)]
    assert vectors.most_similar_batch(positive, negative) == expected
    assert vectors.most_similar_batch([]) == []
    assert vectors.most_similar_batch(["w1", "w2"], topn=0) == [[], []]
    with pytest.raises(ValueError, match=words("2", "1")):
        vectors.most_similar_batch(["w1", "w2"], ["w3"])
    with pytest.raises(KeyError, match="Key 'w3000' not present in vocabulary"):
        vectors.most_similar_batch(["w1", "w3000"])


def test_products(royal):
    unit = VECTORS / np.linalg.norm(VECTORS.astype(np.float64), axis=1)[:, None]
    shares = (1 + unit @ unit.T) / 2
    expected = shares[:, 0] * shares[:, 3] / (shares[:, 2] + 1e-6)
    scores = royal.most_similar_cosmul(["king", "woman"], ["man"], topn=None)
    np.testing.assert_allclose(scores, expected, rtol=1e-12)
    order = [i for i in np.argsort(-expected) if i not in (0, 2, 3)]
    for positive, negative in ((["king", "woman"], ["man"]), ([0, 3], 2)):
        hits = royal.most_similar_cosmul(positive, negative, topn=9)
        assert hits == [(WORDS[i], float(scores[i])) for i in order]
    assert names(royal.most_similar_cosmul("king", restrict_vocab=2)) == ["queen"]
    raw = royal.most_similar_cosmul([VECTORS[0]], topn=None)  # a vector is used as it is
    np.testing.assert_allclose(raw, (1 + unit @ VECTORS[0]) / 2 / (1 + 1e-6), rtol=1e-12)
    assert royal.most_similar_cosmul("king", topn=0) == []
    with pytest.raises(ValueError, match="no input"):
        royal.most_similar_cosmul()


def test_pairs_and_ranks(royal):
    assert royal.similarity("king", "king") == 1
    assert type(royal.similarity("king", "man")) is np.float32
    np.testing.assert_allclose(royal.similarity("king", "man"), 1 / np.sqrt(5), rtol=1e-7)
    np.testing.assert_allclose(royal.distance("king", "man"), 1 - 1 / np.sqrt(5), rtol=1e-6)
    expected = 1 - oracle.scores(VECTORS[:1], VECTORS)[0]
    np.testing.assert_allclose(royal.distances("king"), expected, atol=1e-6)
    np.testing.assert_allclose(royal.distances(VECTORS[0], ["man", 4]), expected[[2, 4]], atol=1e-6)
    assert royal.closer_than("king", "queen") == ["castle", "King"]
    assert royal.rank("king", "queen") == 3
    assert (royal.rank("king", "King"), royal.rank("king", "king")) == (1, 1)
    np.testing.assert_allclose(royal.n_similarity(["king", "woman"], ["queen", "man"]), 5 / 6, rtol=0.2)
    assert royal.n_similarity(["king"], ["king", "unheard of"]) == 1
    assert royal.doesnt_match(["king", "queen", "castle", "woman"]) == "woman"
    assert royal.most_similar_to_given("king", ["man", "castle", "woman"]) == "castle"
    sims = sum(score for _, score in royal.most_similar("king", topn=3))
    assert royal.relative_cosine_similarity("king", "man", 3) == float(royal.similarity("king", "man")) / sims
    with pytest.raises(ZeroDivisionError, match="empty"):
        royal.n_similarity([], ["king"])
    with pytest.raises(ValueError, match="empty list"):
        royal.doesnt_match(["unheard of"])


def test_keys(royal):
    assert (len(royal), royal.vector_size, "king" in royal, "knig" in royal) == (6, 3, True, False)
    np.testing.assert_array_equal(royal[["king", "man"]], VECTORS[[0, 2]])
    np.testing.assert_array_equal(royal["king"], VECTORS[0])
    np.testing.assert_array_equal(royal[2], VECTORS[2])
    np.testing.assert_array_equal(royal.get_vector("king", norm=True), fastvec.normalize(VECTORS[:1])[0])
    np.testing.assert_array_equal(royal.get_normed_vectors(), fastvec.normalize(VECTORS))
    assert not royal["king"].flags.writeable
    assert royal.index_to_key == WORDS
    assert royal.key_to_index["man"] == 2
    assert royal.get_index("knig", -1) == -1
    assert str(royal) == "WordVectors<vector_size=3, 6 keys>"
    for call in (lambda: royal["knig"], lambda: royal.get_index("knig"), lambda: royal.rank("king", "knig")):
        with pytest.raises(KeyError, match="Key 'knig' not present"):
            call()
    for call in (royal.most_similar, royal.similar_by_word):
        with pytest.raises(KeyError, match="Key 'knig' not present in vocabulary"):
            call("knig")
    with pytest.raises(ValueError, match="no input"):
        royal.most_similar()
    twin = pickle.loads(pickle.dumps(royal))
    assert twin.most_similar("king") == royal.most_similar("king")


def test_what_cannot_be_used():
    with pytest.raises(TypeError, match=r"WordVectors\(words, vectors\)"):
        accelerate({"king": [1.0]})
    with pytest.raises(ValueError, match=words("1", "2")):
        WordVectors(["king"], [[1.0], [2.0]])
    with pytest.raises(ValueError, match=words("'king'", "row 0")):
        WordVectors(["king", "king"], [[1.0], [2.0]])
    with pytest.raises(ValueError, match=words("row 1", "NaN")):
        WordVectors(["king", "queen"], [[1.0], [np.nan]])
    with pytest.raises(AttributeError, match="wmdistance"):
        WordVectors(["king"], [[1.0]]).wmdistance  # noqa: B018


def test_zero_rows_and_ties():
    vectors = WordVectors("abcde", [[0, 0], [1, 1], [2, 2], [1, 1], [-1, 0]])
    assert names(vectors.most_similar("b")) == ["c", "d", "a", "e"]
    assert vectors.similarity("a", "b") == 0
    assert names(vectors.most_similar("a")) == ["b", "c", "d", "e"]
    assert vectors.most_similar("b", topn=None).tolist()[0] == 0
    assert vectors.most_similar_cosmul("b", topn=9)[2][1] == 0.5 / (1 + 1e-6)
    assert vectors.closer_than("b", "d") == []


def test_an_indexer(royal):
    assert royal.indexer.most_similar(VECTORS[0], 2) == Indexer(royal).most_similar(VECTORS[0], 2)
    hits = royal.most_similar("king", topn=2, indexer=royal.indexer)
    assert names(hits) == ["king", "King"]  # as gensim's own indexers, it does not leave out the question


QUESTIONS = """: family
man king Woman queen
king man queen woman
: other
king castle man unheard
man woman king castle

not a question
"""


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("dummy", [True, False])
@pytest.mark.parametrize("restrict", [None, 5])
def test_questions(royal, tmp_path, fold, dummy, restrict):
    path = tmp_path / "questions.txt.gz"
    path.write_bytes(gzip.compress(QUESTIONS.encode()))
    score, sections = royal.evaluate_word_analogies(path, restrict, fold, dummy)
    assert [section["section"] for section in sections] == ["family", "other", "Total accuracy"]
    shape = str.upper if fold else str
    right = [("man", "king", "Woman", "queen")] if fold else []
    right += [("king", "man", "queen", "woman")]
    assert sections[0]["correct"] == [tuple(map(shape, question)) for question in right]
    wrong = [("king", "castle", "man", "unheard")] if dummy else []
    wrong += [("man", "woman", "king", "castle")]
    assert sections[1]["incorrect"] == [tuple(map(shape, question)) for question in wrong]
    total = sections[2]
    assert score == len(total["correct"]) / (len(total["correct"]) + len(total["incorrect"]))
    product, _ = royal.evaluate_word_analogies(path, similarity_function="most_similar_cosmul")
    assert 0 < product <= 1


def test_questions_that_cannot_be_asked(royal, tmp_path):
    path = tmp_path / "questions.txt"
    path.write_text("man king woman queen\n")
    with pytest.raises(ValueError, match="Missing section header before line #0"):
        royal.evaluate_word_analogies(path)
    with pytest.raises(ValueError, match="most_similar_cosmul"):
        royal.evaluate_word_analogies(path, similarity_function="nearest")


PAIRS = (
    "# two words and a score\nking\tqueen\t8\nking\tman\t5\nking\tunheard\t1\nman\twoman\t2\nking castle\n"
)


def test_pairs_of_words(royal, tmp_path):
    pytest.importorskip("scipy")
    path = tmp_path / "pairs.tsv"
    path.write_text(PAIRS)
    pearson, spearman, unknown = royal.evaluate_word_pairs(path)
    assert (round(pearson[0], 3), spearman[0], unknown) == (0.998, 1.0, 25.0)
    assert royal.evaluate_word_pairs(path, dummy4unknown=True)[2] == 25.0
    path.write_text("king\tunheard\t1\n")
    with pytest.raises(ValueError, match="No valid similarity judgements found"):
        royal.evaluate_word_pairs(path)


def test_without_scipy(run_python, tmp_path):
    code = (
        "import sys; sys.modules.update(scipy=None, gensim=None)\n"
        "from fastvec.integrations.gensim import WordVectors\n"
        "vectors = WordVectors(['a', 'b'], [[1.0], [2.0]])\n"
        "print(vectors.most_similar('a'))\n"
        "try: vectors.evaluate_word_pairs('pairs.tsv')\n"
        "except ModuleNotFoundError as error: print(error)\n"
    )
    result = run_python("-W", "error", "-c", code)
    lines = result.stdout.splitlines()
    assert lines[0] == "[('b', 1.0)]", result.stderr
    assert "pip install 'fastvec[gensim]'" in lines[1]


def test_a_vocabulary(royal):
    fast = accelerate(fastvec.Vocabulary(WORDS, VECTORS))
    assert fast.most_similar("king") == royal.most_similar("king")


CALLS = [
    lambda kv: kv.most_similar("w3"),
    lambda kv: kv.most_similar(positive=["w1", "w2"], negative=["w3"], topn=20),
    lambda kv: kv.most_similar([("w1", 2.0), 5], [("w3", -0.25)], topn=5),
    lambda kv: kv.most_similar([kv["w1"] * 3, "w2"], topn=3, restrict_vocab=90),
    lambda kv: kv.most_similar("w3", clip_start=50, clip_end=150),
    lambda kv: kv.most_similar(negative=["w3"]),
    lambda kv: kv.most_similar("w3", topn=None),
    lambda kv: kv.most_similar("w3", topn=None, clip_start=50),
    lambda kv: kv.similar_by_vector(kv["w9"], topn=4, restrict_vocab=50),
    lambda kv: kv.most_similar_cosmul(["w1", "w2"], ["w3"], topn=7),
    lambda kv: kv.most_similar_cosmul("w1", topn=None),
    lambda kv: kv.distances("w3"),
    lambda kv: kv.distances(kv["w3"], ["w4", "w9"]),
    lambda kv: kv.similarity("w3", "w4"),
    lambda kv: kv.distance("w3", "w4"),
    lambda kv: kv.n_similarity(["w3", "w4", "none"], ["w5"]),
    lambda kv: kv.rank("w3", "w5"),
    lambda kv: kv.closer_than("w3", "w5"),
    lambda kv: kv.doesnt_match(["w3", "w5", "w8", "w11"]),
    lambda kv: kv.rank_by_centrality(["w3", "w5", "w8", "none"], use_norm=False),
    lambda kv: kv.most_similar_to_given("w3", ["w4", "w5"]),
    lambda kv: kv.relative_cosine_similarity("w3", "w4"),
    lambda kv: kv.get_mean_vector(["w1", "w2", "none"], [2, 1, 1]),
    lambda kv: kv.get_mean_vector(["w1", "w2"], post_normalize=True, pre_normalize=False),
    lambda kv: kv[["w1", "w2"]],
    lambda kv: kv.get_normed_vectors(),
    lambda kv: kv.get_vector(3, norm=True),
    lambda kv: kv["none"],
    lambda kv: kv.most_similar(["w1", "none"]),
    lambda kv: kv.most_similar([]),
    lambda kv: kv.most_similar_cosmul(["none"]),
    lambda kv: kv.distances("none"),
    lambda kv: kv.get_mean_vector([]),
    lambda kv: kv.get_mean_vector(["w1"], [1, 2]),
    lambda kv: kv.n_similarity([], ["w1"]),
    lambda kv: kv.rank_by_centrality(["none"]),
    lambda kv: (len(kv), "w3" in kv, "none" in kv, kv.vector_size, kv.index_to_key[4], kv.key_to_index["w4"]),
]


def outcome(call, kv):
    try:
        return call(kv)
    except (KeyError, ValueError, ZeroDivisionError) as error:
        return type(error).__name__, str(error)


def flat(value):
    """Words and numbers of a result, apart."""
    if isinstance(value, np.ndarray):
        return [], value.ravel().tolist()
    if isinstance(value, list | tuple):
        parts = [flat(entry) for entry in value]
        return [word for part in parts for word in part[0]], [number for part in parts for number in part[1]]
    return ([value], []) if isinstance(value, str) else ([], [float(value)])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", range(len(CALLS)))
def test_like_gensim(keyed, number):
    expected, actual = outcome(CALLS[number], keyed), outcome(CALLS[number], accelerate(keyed))
    assert type(actual) is type(expected)
    assert getattr(actual, "dtype", None) == getattr(expected, "dtype", None)
    (words_, numbers), (other, others) = flat(actual), flat(expected)
    assert words_ == other
    np.testing.assert_allclose(numbers, others, atol=2e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("dummy", [True, False])
def test_evaluations_like_gensim(tmp_path, fold, dummy):
    models = pytest.importorskip("gensim.models")
    keyed = models.KeyedVectors(3)
    keyed.add_vectors(WORDS, VECTORS)
    fast = accelerate(keyed)
    questions, pairs = tmp_path / "questions.txt", tmp_path / "pairs.tsv"
    questions.write_text(QUESTIONS)
    pairs.write_text(PAIRS)
    for restrict in (300_000, 5):
        expected = keyed.evaluate_word_analogies(str(questions), restrict, fold, dummy)
        assert fast.evaluate_word_analogies(str(questions), restrict, fold, dummy) == expected
        arguments = {"restrict_vocab": restrict, "case_insensitive": fold, "dummy4unknown": dummy}
        expected = keyed.evaluate_word_pairs(str(pairs), **arguments)
        actual = fast.evaluate_word_pairs(str(pairs), **arguments)
        assert [type(part) for part in actual] == [type(part) for part in expected]
        np.testing.assert_allclose(flat(actual)[1], flat(expected)[1], rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_inside_gensim(keyed):
    indexer = Indexer(keyed)
    assert keyed.most_similar("w3", topn=4, indexer=indexer)[0][0] == "w3"
    assert names(keyed.most_similar("w3", topn=4, indexer=indexer)[1:]) == names(
        keyed.most_similar("w3", topn=3)
    )
    assert accelerate(keyed).get_vecattr is not None
    text = pytest.importorskip("gensim.models.fasttext")
    model = text.FastText(
        [["night", "nights", "knight"]] * 5, vector_size=8, min_count=1, workers=1, epochs=1
    )
    fast = accelerate(model)
    assert "nightly" in fast
    np.testing.assert_array_equal(fast["nightly"], model.wv["nightly"])
    assert names(fast.most_similar("nightly")) == names(model.wv.most_similar("nightly"))
