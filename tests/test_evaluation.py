"""Evaluations count as gensim does, in our own fixtures and, if gensim is installed, on its data."""

import math
import os

import numpy as np
import oracle
import pytest
from assertions import words as pattern
from data import gaussian, hashed

from fastvec import Vocabulary, evaluation
from fastvec.files import FileError

COUNTRIES = ["France", "Paris", "Italy", "Rome", "Spain", "Madrid", "paris", "man", "woman", "king", "queen"]
QUESTIONS = """\
: capitals
France Paris Italy Rome
Italy Rome Spain Madrid
FRANCE paris spain madrid
France Paris Mars Phobos
not a question
: family
man woman king queen

: nobody's
a b c d
"""


@pytest.fixture
def vocabulary():
    rows = [
        [1, 0, 0, 0, 0], [1, 0, 0, 0, 1], [0, 1, 0, 0, 0], [0, 1, 0, 0, 1], [0, 0, 1, 0, 0], [0, 0, 1, 0, 1],
        [1, 0, 0, 0, 0.9], [0, 0, 0, 1, 0], [0, 0, 0, 1, 1], [0, 1, 0, 1, 0], [0, 1, 0, 1, 1],
    ]  # fmt: skip
    return Vocabulary(COUNTRIES, rows)


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.txt"
    path.write_text(QUESTIONS, encoding="utf-8")
    return path


def counts(sections):
    return {s.name: (len(s.correct), len(s.incorrect), len(s.unknown)) for s in sections}


def test_sections_totals_and_lines_without_a_question(vocabulary, questions):
    scores = vocabulary.evaluate_analogies(questions)
    assert counts(scores.sections) == {"capitals": (3, 0, 1), "family": (1, 0, 0), "nobody's": (0, 0, 1)}
    assert counts([scores.total]) == {"total": (4, 0, 2)}
    assert scores.accuracy == 1.0
    assert scores.sections[2].accuracy == 0.0
    assert scores.skipped == 1
    assert scores.sections[0].correct[0] == ("FRANCE", "PARIS", "ITALY", "ROME")


def test_case_counts_when_asked(vocabulary, questions):
    scores = vocabulary.evaluate_analogies(questions, case_insensitive=False)
    assert counts(scores.sections)["capitals"] == (2, 0, 2)
    assert scores.sections[0].unknown[0] == ("FRANCE", "paris", "spain", "madrid")


def test_restriction_limits_questions_and_answers(vocabulary, questions):
    scores = vocabulary.evaluate_analogies(questions, restrict=6)
    assert counts(scores.sections)["family"] == (0, 0, 1)
    assert vocabulary.evaluate_analogies(questions, restrict=1000) == vocabulary.evaluate_analogies(questions)
    assert counts([vocabulary.evaluate_analogies(questions, restrict=1).total]) == {"total": (0, 0, 6)}
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="restrict"):
            vocabulary.evaluate_analogies(questions, restrict=wrong)


def test_an_input_in_another_case_is_not_an_answer(tmp_path):
    labels = ["a", "b", "c", "B", "d"]
    vocabulary = Vocabulary(labels, [[1, 0, 0], [1, 0, 1], [0, 1, 0], [0.1, 1, 1.1], [0, 1, 1.3]])
    path = tmp_path / "q.txt"
    path.write_text(": x\na b c d\n")
    assert vocabulary.most_similar(["b", "c"], "a", k=1)[0][0] == "B"
    assert vocabulary.evaluate_analogies(path).accuracy == 1.0
    assert vocabulary.evaluate_analogies(path, case_insensitive=False).accuracy == 0.0
    path.write_text("a c b d\n")  # where the last word of the question is the one in two cases
    assert vocabulary.evaluate_analogies(path).accuracy == 1.0


@pytest.mark.parametrize(
    ("cases", "accuracy"), [(["ONE", "One", "oNE", "onE"], 1.0), (["ONE", "One", "oNE", "onE", "OnE"], 0.0)]
)
def test_the_best_five_answers_count(tmp_path, cases, accuracy):
    near = [[0, 1 - i / 100, 1] for i in range(len(cases))]
    vocabulary = Vocabulary(
        ["a", "b", "one", *cases, "d"], [[1, 0, 0], [1, 0, 1], [0, 1, 0], *near, [0, 0.5, 1]]
    )
    path = tmp_path / "q.txt"
    path.write_text("a b one d\n")
    assert vocabulary.evaluate_analogies(path).accuracy == accuracy


@pytest.mark.parametrize("method", ["3cosadd", "3cosmul"])
@pytest.mark.parametrize("dims", [None, 8])
def test_answers_are_those_of_analogy(tmp_path, monkeypatch, method, dims):
    monkeypatch.setattr("fastvec.evaluation._BATCH", 7)
    labels = [f"w{i}" for i in range(60)]
    rows = gaussian(60, 20, 2)
    rng = np.random.default_rng(0)
    asked = [tuple(rng.permutation(60)[:3].tolist()) for _ in range(40)]
    actual = [oracle.analogy(rows, [b, c], [a], 1, method, dims=dims).indices[0] for a, b, c in asked]
    path = tmp_path / "q.txt"
    lines = [" ".join(labels[i] for i in (*q, d)) for q, d in zip(asked, actual, strict=True)]
    path.write_text("\n".join(lines))
    steps = []
    scores = Vocabulary(labels, rows).evaluate_analogies(
        path, method=method, dims=dims, progress=lambda done, total: steps.append((done, total))
    )
    assert scores.accuracy == 1.0
    assert counts(scores.sections) == {"": (40, 0, 0)}
    assert steps == [(done, 40) for done in (7, 14, 21, 28, 35, 40)]


def test_the_first_word_beyond_the_restriction_is_no_answer(tmp_path):
    words = ["man", "woman", "king", "castle", "queen"]
    vocabulary = Vocabulary(words, [[1, 0, 0], [0, 1, 0], [1, 0, 1], [0, 0, 1], [0, 1, 1]])
    path = tmp_path / "q.txt"
    path.write_text("man king woman castle\n")
    assert vocabulary.evaluate_analogies(path).accuracy == 0.0
    assert vocabulary.evaluate_analogies(path, restrict=4).accuracy == 1.0


def test_pairs_between_tabs_may_have_spaces_and_need_a_finite_score(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("new york\tbonn\t7\nnew york\tbonn\tnan\n")
    scores = Vocabulary(["New York", "Bonn"], [[1, 0], [1, 1]]).evaluate_pairs(path)
    assert (scores.pairs, scores.skipped, scores.coverage) == (1, 1, 1.0)


def test_no_correlation_is_beyond_one():
    for seed in range(200):
        x = np.random.default_rng(seed).standard_normal(5)
        assert -1.0 <= evaluation.correlation(x, -3 * x) < evaluation.correlation(x, 3 * x) <= 1.0


def test_files_without_questions(vocabulary, tmp_path):
    path = tmp_path / "q.txt"
    path.write_text(": only\n")
    with pytest.raises(FileError, match=pattern("q.txt", "four words")):
        vocabulary.evaluate_analogies(path)
    path.write_bytes(b": s\na b c d\n\xff b c d\n")
    with pytest.raises(FileError, match=pattern("q.txt, row 3", "UTF-8")):
        vocabulary.evaluate_analogies(path)
    with pytest.raises(FileNotFoundError):
        vocabulary.evaluate_pairs(tmp_path / "none")


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_files_of_any_system(vocabulary, questions, tmp_path, mark, end):
    path = tmp_path / "other.txt"
    path.write_bytes((mark + QUESTIONS.replace("\n", end)).encode())
    assert vocabulary.evaluate_analogies(path) == vocabulary.evaluate_analogies(questions)
    pairs = "# comment\nFrance\tParis \t9\nfrance Rome 1\nItaly\tRome\t8\n"
    path.write_bytes(pairs.encode())
    expected = vocabulary.evaluate_pairs(path)
    assert expected.pairs == 3
    path.write_bytes((mark + pairs.replace("\n", end)).encode())
    assert vocabulary.evaluate_pairs(path) == expected
    path.write_bytes((mark + pairs.replace("\n", end) + "\ufeffFrance Rome 1").encode())
    assert vocabulary.evaluate_pairs(path).coverage == 0.75  # such a mark within a file belongs to a word
    path.write_bytes((mark + pairs.replace("\n", end)).encode() + "Málaga Rome 3".encode("latin-1"))
    with pytest.raises(FileError, match=pattern("row 5", "not UTF-8", "save it as UTF-8")):
        vocabulary.evaluate_pairs(path)


def test_pairs(vocabulary, tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("France Paris 9\nwoman man 1\nFrance Rome 8\n")
    assert vocabulary.evaluate_pairs(path).spearman == 0.0  # the row after that of man is nearer to woman
    path.write_text(
        "# comment\nFrance\tParis\t9\nfrance Rome 1\nItaly\tRome\t8\nx\ty\t3\nword1\tword2\tscore\n\n"
    )
    scores = vocabulary.evaluate_pairs(path)
    assert (scores.pairs, scores.coverage, scores.skipped) == (3, 0.75, 1)
    people = np.array([9.0, 1.0, 8.0])
    cosines = [
        vocabulary.similarity(a, b) for a, b in (("France", "Paris"), ("France", "Rome"), ("Italy", "Rome"))
    ]
    assert math.isclose(scores.pearson, np.corrcoef(people, cosines)[0, 1])
    assert math.isclose(scores.spearman, np.corrcoef([3, 1, 2], [2.5, 1, 2.5])[0, 1])
    assert vocabulary.evaluate_pairs(path, case_insensitive=False).pairs == 2
    assert vocabulary.evaluate_pairs(path, restrict=2).pairs == 1
    assert math.isnan(vocabulary.evaluate_pairs(path, restrict=2).pearson)
    steps = []
    assert vocabulary.evaluate_pairs(path, dims=2, progress=lambda *step: steps.append(step)).pairs == 3
    assert steps == [(1, 3), (2, 3), (3, 3)]
    path.write_text("nothing here\n")
    with pytest.raises(FileError, match="two words and a number"):
        vocabulary.evaluate_pairs(path)
    path.write_text("x y 1\n")
    with pytest.raises(FileError, match="in this vocabulary"):
        vocabulary.evaluate_pairs(path)


def test_doesnt_match(vocabulary):
    assert vocabulary.doesnt_match(["France", "Paris", "paris", "woman"]) == "woman"
    assert vocabulary.doesnt_match(iter(["king"])) == "king"
    assert vocabulary.doesnt_match(["king", "king", "man"]) == "man"
    assert vocabulary.doesnt_match("king") == "king"
    with pytest.raises(ValueError, match="empty"):
        vocabulary.doesnt_match([])
    with pytest.raises(KeyError, match=r"'frence'.*'France'"):
        vocabulary.doesnt_match(["frence", "king"])


def test_doesnt_match_is_the_last_by_cosine_with_the_mean():
    rows = hashed(30, 12, 4)
    vocabulary = Vocabulary([f"w{i}" for i in range(30)], rows)
    units = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    for start in range(0, 25, 3):
        chosen = list(range(start, start + 5))
        farthest = chosen[int((units[chosen] @ units[chosen].sum(axis=0)).argmin())]
        assert vocabulary.doesnt_match([f"w{i}" for i in chosen]) == f"w{farthest}"


def test_the_mean_of_words_is_summed_in_float64():
    """In float32, what the eight add to a one would be lost."""
    rows = [[1, 0, 0], [0, 1, 0], [2**-25, 0, 1], [0, 2**-23, 1]]
    vocabulary = Vocabulary(["right", "up", "eight", "once"], rows)
    assert vocabulary.doesnt_match(["right", "up", *["eight"] * 8, "once"]) == "up"


def test_correlations_agree_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(3)
    for _ in range(20):
        x, y = rng.integers(0, 6, 30).astype(float), rng.standard_normal(30).round(1)
        assert math.isclose(evaluation.correlation(x, y), stats.pearsonr(x, y)[0], abs_tol=1e-14)
        spearman = evaluation.correlation(evaluation.ranks(x), evaluation.ranks(y))
        assert math.isclose(spearman, stats.spearmanr(x, y)[0], abs_tol=1e-14)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestGensim:
    """The same counts as gensim on its own test data."""

    @pytest.fixture(scope="class")
    def both(self):
        models = pytest.importorskip("gensim.models", reason="gensim is not installed")
        import gensim

        data = os.path.join(os.path.dirname(gensim.__file__), "test", "test_data")
        path = os.path.join(data, "lee_fasttext.vec")
        theirs = models.KeyedVectors.load_word2vec_format(path)
        return Vocabulary.open(path), theirs, data

    @pytest.mark.parametrize("case_insensitive", [True, False])
    @pytest.mark.parametrize("restrict", [5000, 500])
    def test_analogies(self, both, tmp_path, restrict, case_insensitive):
        ours, theirs, _ = both
        rng = np.random.default_rng(1)
        lines = [": one"]
        for i in range(150):
            a, b, c = (theirs.index_to_key[j] for j in rng.integers(0, 400, 3))
            d = theirs.most_similar([b, c], [a], topn=1)[0][0] if i % 3 else theirs.index_to_key[i]
            lines += [" ".join((a, b, c, d))] + [": two"] * (i == 70)
        path = tmp_path / "q.txt"
        path.write_text("\n".join(lines), encoding="utf-8")
        score, sections = theirs.evaluate_word_analogies(
            str(path), restrict_vocab=restrict, case_insensitive=case_insensitive
        )
        scores = ours.evaluate_analogies(path, restrict=restrict, case_insensitive=case_insensitive)
        assert scores.accuracy == score
        assert [(list(s.correct), list(s.incorrect)) for s in (*scores.sections, scores.total)] == [
            (s["correct"], s["incorrect"]) for s in sections
        ]

    @pytest.mark.parametrize("name", ["wordsim353.tsv", "simlex999.txt"])
    def test_pairs(self, both, name):
        ours, theirs, data = both
        pearson, spearman, unknown = theirs.evaluate_word_pairs(os.path.join(data, name))
        scores = ours.evaluate_pairs(os.path.join(data, name))
        assert math.isclose(scores.pearson, pearson[0], abs_tol=1e-6)
        assert math.isclose(scores.spearman, spearman[0], abs_tol=1e-6)
        assert math.isclose(100 - 100 * scores.coverage, unknown)

    def test_doesnt_match(self, both):
        ours, theirs, _ = both
        rng = np.random.default_rng(2)
        for _ in range(40):
            words = [theirs.index_to_key[j] for j in rng.integers(0, 1700, 5)]
            assert ours.doesnt_match(words) == theirs.doesnt_match(words)
