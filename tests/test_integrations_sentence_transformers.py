"""The drop-in for ``sentence_transformers.util``: its results, and where they deliberately differ."""

import numpy as np
import oracle
import pytest
from assertions import words
from data import gaussian, mixed

from fastvec.integrations.sentence_transformers import cos_sim, dot_score, semantic_search

QUERIES = np.array([[3, 0, 4], [0, 0, 1]], np.float32)
CORPUS = np.array([[0, 0, 2], [3, 0, 4], [0, 0, 0], [0, 0, 5], [-3, 0, -4]], np.float32)
COSINES = [[0.8, 1, 0, 0.8, -1], [1, 0.8, 0, 1, -0.8]]


def pairs(actual):
    """The answers as pairs, without the keys of their dictionaries."""
    assert all(list(hit) == ["corpus_id", "score"] for hits in actual for hit in hits)
    assert all(type(hit["corpus_id"]) is int for hits in actual for hit in hits)
    assert all(type(hit["score"]) is float for hits in actual for hit in hits)
    return [[(hit["corpus_id"], round(hit["score"], 6)) for hit in hits] for hits in actual]


def own_cosine(a, b):
    """A score function that the search does not know."""
    return cos_sim(a, b)


@pytest.mark.parametrize("score", [cos_sim, own_cosine])
def test_answers(score):
    actual = pairs(semantic_search(QUERIES, CORPUS, top_k=3, score_function=score))
    assert actual == [[(1, 1.0), (0, 0.8), (3, 0.8)], [(0, 1.0), (3, 1.0), (1, 0.8)]]
    every = pairs(semantic_search(QUERIES, CORPUS, score_function=score))
    assert every[0] == [(1, 1.0), (0, 0.8), (3, 0.8), (2, 0.0), (4, -1.0)]
    assert every[0] == pairs(semantic_search(QUERIES[0], CORPUS.tolist(), score_function=score))[0]
    assert semantic_search(QUERIES, CORPUS, top_k=0, score_function=score) == [[], []]
    assert semantic_search(QUERIES, CORPUS[:0], score_function=score) == [[], []]
    assert semantic_search(QUERIES[:0], CORPUS, score_function=score) == []


def test_dot_score_as_the_score_function():
    actual = pairs(semantic_search(QUERIES, CORPUS, top_k=2, score_function=dot_score))
    assert actual == [[(1, 25.0), (3, 20.0)], [(3, 5.0), (1, 4.0)]]


@pytest.mark.parametrize("score", [cos_sim, dot_score, own_cosine])
def test_chunks_change_nothing(score):
    queries, corpus = mixed(23, 33, 1), np.concatenate([mixed(40, 33, 2), mixed(40, 33, 2)])
    corpus = np.clip(corpus, -1e15, 1e15)
    expected = semantic_search(queries, corpus, score_function=score, top_k=50)
    for chunks in ((1, 7), (23, 80), (5, 1), (100, 79)):
        actual = semantic_search(queries, corpus, *chunks, top_k=50, score_function=score)
        if score is own_cosine:  # dense scores are not the same to the last bit for every shape
            for ours, theirs in zip(actual, expected, strict=True):
                np.testing.assert_allclose(
                    [h["score"] for h in ours], [h["score"] for h in theirs], atol=3e-7
                )
        else:
            assert actual == expected


def test_a_function_of_scores_gets_slices():
    seen = []

    def negated(a, b):
        seen.append((len(a), len(b)))
        return -(a.astype(np.float64) @ b.T)

    actual = pairs(semantic_search(QUERIES, CORPUS, 1, 3, top_k=2, score_function=negated))
    assert actual == [[(4, 25.0), (2, 0.0)], [(4, 4.0), (2, 0.0)]]
    assert seen == [(1, 3), (1, 2)] * 2


@pytest.mark.parametrize("function", [cos_sim, dot_score])
def test_matrices(function):
    expected = COSINES if function is cos_sim else QUERIES @ CORPUS.T
    for dtype, result in ((np.float32, np.float32), (np.float64, np.float64), (np.float16, np.float32)):
        actual = function(QUERIES.astype(dtype), CORPUS.astype(dtype))
        assert actual.dtype == result
        np.testing.assert_allclose(actual, expected, atol=1e-6)
    np.testing.assert_allclose(function(QUERIES[0].tolist(), list(CORPUS)), expected[:1], atol=1e-6)
    assert function(QUERIES[0], CORPUS[0]).shape == (1, 1)


def test_rows_of_any_magnitude_and_no_cosine_above_one():
    rows = np.concatenate([gaussian(20, 33, 1) * np.float32(scale) for scale in (1, 1e30, 1e-30)])
    scores = cos_sim(rows, rows)
    assert np.abs(scores).max() <= 1
    np.testing.assert_allclose(scores, oracle.scores(rows, rows), atol=5e-7)
    assert [hits[0]["score"] for hits in semantic_search(rows, rows)] == [1.0] * 60


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "inf")])
def test_what_is_not_finite_is_named(value, name):
    bad = CORPUS.copy()
    bad[3, 1] = value
    for call, who in (
        (lambda: semantic_search(QUERIES, bad), "corpus_embeddings"),
        (lambda: semantic_search(bad, CORPUS), "query_embeddings"),
        (lambda: cos_sim(bad, CORPUS), "a"),
        (lambda: cos_sim(CORPUS, bad), "b"),
    ):
        with pytest.raises(ValueError, match=words(who, "row 3", name)):
            call()
    with pytest.raises(ValueError, match="NaN"):
        semantic_search(QUERIES, CORPUS, score_function=lambda a, b: (a @ b.T) * np.nan)


def test_shapes_that_do_not_fit():
    for function in (cos_sim, dot_score, semantic_search):
        with pytest.raises(ValueError, match=r"\b3\b"):
            function(QUERIES, CORPUS[:, :2])
    with pytest.raises(ValueError, match="-1"):
        semantic_search(QUERIES, CORPUS, top_k=-1)


def test_neither_torch_nor_the_host_is_imported(run_python):
    code = (
        "import sys; from fastvec.integrations.sentence_transformers import semantic_search; "
        "semantic_search([1.0], [[1.0]]); print(*({'torch', 'sentence_transformers'} & set(sys.modules)))"
    )
    result = run_python("-c", code)
    assert (result.returncode, result.stdout.split()) == (0, []), result.stderr


def test_tensors():
    torch = pytest.importorskip("torch")
    queries, corpus = torch.from_numpy(QUERIES), torch.from_numpy(CORPUS)
    for a, b in ((queries, corpus), (queries, CORPUS), (QUERIES, corpus), (list(queries), list(corpus))):
        for function in (cos_sim, dot_score):
            scores = function(a, b)
            assert isinstance(scores, torch.Tensor)
            assert scores.dtype == torch.float32
            np.testing.assert_allclose(scores, function(QUERIES, CORPUS), atol=1e-6)
        assert semantic_search(a, b) == semantic_search(QUERIES, CORPUS)
    for other in (corpus.clone().requires_grad_(), corpus.bfloat16(), corpus.half(), corpus.to_sparse()):
        assert semantic_search(queries, other) == semantic_search(QUERIES, CORPUS)
        assert pairs(semantic_search(queries, other, score_function=own_cosine)) == pairs(
            semantic_search(QUERIES, CORPUS)
        )
    kinds = []

    def torch_only(a, b):
        kinds.append((type(a), type(b)))
        return torch.mm(a, b.T)

    actual = semantic_search(queries, corpus, score_function=torch_only)
    assert actual == semantic_search(QUERIES, CORPUS, score_function=dot_score)
    assert kinds == [(torch.Tensor, torch.Tensor)]


def test_like_sentence_transformers():
    util = pytest.importorskip("sentence_transformers.util")
    torch = pytest.importorskip("torch")
    queries, corpus = gaussian(30, 64, 1), gaussian(300, 64, 2)
    for ours, theirs in ((cos_sim, util.cos_sim), (dot_score, util.dot_score)):
        np.testing.assert_allclose(ours(queries, corpus), theirs(queries, corpus), atol=1e-5)
        for score in (ours, theirs):
            actual = semantic_search(torch.from_numpy(queries), corpus, top_k=7, score_function=score)
            expected = util.semantic_search(queries, corpus, top_k=7, score_function=theirs)
            for hits, other in zip(actual, expected, strict=True):
                assert [hit["corpus_id"] for hit in hits] == [hit["corpus_id"] for hit in other]
                np.testing.assert_allclose([h["score"] for h in hits], [h["score"] for h in other], rtol=1e-5)
