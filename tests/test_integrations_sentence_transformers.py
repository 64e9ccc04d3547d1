"""The drop-in for ``sentence_transformers.util``: its results, and where they deliberately differ.

Functions that return tensors are named ``tensors.…``; those of the NumPy variant by their names alone.
"""

import importlib.util
import logging
import sys
import types
from pathlib import Path

import numpy as np
import oracle
import pytest
from assertions import words
from data import duplicate, gaussian, integer, mixed, near_tie, scaled_copy

import fastvec
import fastvec.integrations.sentence_transformers as tensors
from fastvec.integrations.sentence_transformers import closest, communities, community_detection, retrieval
from fastvec.integrations.sentence_transformers.numpy import (
    cos_sim,
    dot_score,
    euclidean_sim,
    normalize_embeddings,
    pairwise_cos_sim,
    pairwise_dot_score,
    pairwise_euclidean_sim,
    paraphrase_mining_embeddings,
    semantic_search,
    truncate_embeddings,
)

# PyTorch says this once in a process, when it multiplies sparse tensors.
pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")

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


def test_known_functions_need_no_torch(run_python):
    code = (
        "import sys; sys.modules['torch'] = None; import fastvec.integrations.sentence_transformers as st\n"
        "rows = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]]\n"
        "pair = st.paraphrase_mining_embeddings(rows, max_pairs=1)[0][1:]\n"
        "print(st.semantic_search(rows, rows, top_k=1)[2][0], pair)\n"
        "print(st.community_detection(rows, 0.9, 2))\n"
        "try: st.cos_sim(rows, rows)\n"
        "except ModuleNotFoundError as error: print(error)\n"
    )
    result = run_python("-W", "error", "-c", code)
    lines = result.stdout.splitlines()
    assert lines[:2] == ["{'corpus_id': 2, 'score': 1.0} [0, 2]", "[[0, 2]]"], result.stderr
    assert "pip install 'fastvec[torch]'" in lines[2]
    assert "sentence_transformers.numpy" in lines[2]


def test_scores_of_other_metrics():
    queries, corpus = gaussian(7, 33, 1), gaussian(90, 33, 2)
    for function, metric in ((euclidean_sim, "euclidean"), (tensors.manhattan_sim, "manhattan")):
        hits = semantic_search(queries, corpus, top_k=4, score_function=function)
        expected = oracle.knn(queries, corpus, 4, metric)
        assert [[hit["corpus_id"] for hit in row] for row in hits] == expected.indices.tolist()
    np.testing.assert_allclose(
        euclidean_sim(queries, corpus), oracle.scores(queries, corpus, metric="euclidean"), rtol=1e-6
    )


def test_distances_of_rows_that_almost_agree():
    rows = gaussian(30, 33, 1) + np.float32(1000)
    near = rows + np.float32(0.01)
    distances = euclidean_sim(np.concatenate([rows, near]), rows)
    expected = oracle.scores(np.concatenate([rows, near]), rows, metric="euclidean")
    np.testing.assert_allclose(distances, expected, rtol=1e-5)
    assert (np.diag(distances) == 0).all()
    assert euclidean_sim(np.array([[1e30, 0.0]], np.float32), np.array([[0, 1e30]], np.float32))[
        0, 0
    ] == -np.float32(np.sqrt(2) * 1e30)


def test_pairs_of_rows():
    a, b = gaussian(40, 33, 1), gaussian(40, 33, 2)
    a[3], b[3], a[4], b[4], a[5] = 0, 1, 1e-30 * a[4], 1e30 * b[4], b[5]
    for function, metric in (
        (pairwise_cos_sim, "cosine"),
        (pairwise_dot_score, "dot"),
        (pairwise_euclidean_sim, "euclidean"),
    ):
        expected = np.diag(oracle.scores(a, b, metric=metric))
        np.testing.assert_allclose(function(a, b), expected, rtol=1e-6, atol=1e-6)
        assert function(a, b).dtype == np.float32
        assert function(a.astype(np.float64), b).dtype == np.float64
        assert function(a[0], b[0]).shape == (1,)


def test_normalizing_and_truncating():
    rows = gaussian(9, 33, 1)
    rows[2] = 0
    np.testing.assert_array_equal(normalize_embeddings(rows), fastvec.normalize(rows))
    assert normalize_embeddings(rows[0]).shape == (33,)
    with pytest.raises(ValueError, match=words("embeddings", "row 1", "NaN")):
        normalize_embeddings([[1.0], [np.nan]])
    for dims in (5, 0, -1, 99, None):
        np.testing.assert_array_equal(truncate_embeddings(rows, dims), rows[:, :dims])
        assert tensors.truncate_embeddings(rows, dims).base is not None


def test_a_corpus_of_one_row_or_none():
    assert semantic_search(QUERIES, CORPUS[1]) == semantic_search(QUERIES, CORPUS[1:2])
    for empty in (np.empty(0), [], np.empty((0, 3))):
        assert semantic_search(QUERIES, empty) == [[], []]
        assert community_detection(empty) == []
        assert paraphrase_mining_embeddings(empty) == []


def test_columns_of_rows():
    column = np.empty(len(CORPUS), object)
    column[:] = [row.tolist() for row in CORPUS]
    assert semantic_search(QUERIES, column) == semantic_search(QUERIES, CORPUS)
    polars = pytest.importorskip("polars")
    assert semantic_search(QUERIES, polars.Series(CORPUS.tolist())) == semantic_search(QUERIES, CORPUS)


def plain_pairs(scores, top_k, max_pairs):
    """The pairs of a symmetric matrix of scores, as the original collects them."""
    pairs = {}
    for i, row in enumerate(scores):
        order = sorted((j for j in range(len(row)) if j != i), key=lambda j: (-row[j], j))
        pairs.update({(min(i, j), max(i, j)): float(row[j]) for j in order[:top_k]})
    ranked = sorted(pairs.items(), key=lambda entry: (-entry[1], entry[0]))
    return [[score, i, j] for (i, j), score in ranked[:max_pairs]]


@pytest.mark.parametrize("score", [cos_sim, dot_score, euclidean_sim, own_cosine])
@pytest.mark.parametrize(("top_k", "max_pairs"), [(1, 500), (3, 20), (500, 7), (500, 5000), (0, 5), (5, 0)])
@pytest.mark.parametrize("few", [0, 256])
def test_pairs_of_paraphrases(score, top_k, max_pairs, few, monkeypatch):
    monkeypatch.setattr(retrieval, "_BLOCK", 16)
    monkeypatch.setattr(retrieval, "_FEW", few)
    rows = np.concatenate([gaussian(30, 8, 1), gaussian(9, 8, 1)])  # nine of them twice
    metric = {dot_score: "dot", euclidean_sim: "euclidean"}.get(score, "cosine")
    exact = oracle.scores(rows, rows, metric=metric).astype(np.float32)
    expected = plain_pairs(exact, top_k, max_pairs)
    for chunks in ((5000, 100_000), (7, 5)):
        actual = paraphrase_mining_embeddings(rows, *chunks, max_pairs, top_k, score_function=score)
        if score is own_cosine:  # dense scores are not the same to the last bit for every shape
            np.testing.assert_allclose([p[0] for p in actual], [p[0] for p in expected], atol=3e-7)
        else:
            assert actual == expected
    assert all([type(value) for value in pair] == [float, int, int] for pair in actual)


@pytest.fixture
def small_samples(monkeypatch):
    """Joins for few rows; returns the numbers of pairs that each join found, None for too many."""
    found = []

    def joined(*arguments, own=closest._joined):
        pairs = own(*arguments)
        found.append(pairs and len(pairs.left))
        return pairs

    monkeypatch.setattr(closest, "_joined", joined)
    monkeypatch.setattr(closest, "_SAMPLE", 19)
    monkeypatch.setattr(closest, "_MOST_CROWDED", 0.9)
    return found


def searched_pairs(rows, top_k, max_pairs, score=cos_sim):
    """The pairs without a join, and those that a join finds if it tells them."""
    arguments = rows, max_pairs, top_k, score, retrieval.Chunks(10, 10, np.asarray)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "closest_pairs", lambda *_: None)
        expected = retrieval.mined(*arguments)
    joined = closest.closest_pairs(rows, retrieval._metric(score), top_k, max_pairs)
    return expected, joined and retrieval._lists(joined)


@pytest.mark.parametrize("score", [cos_sim, dot_score, euclidean_sim])
@pytest.mark.parametrize("make", [gaussian, mixed, near_tie, duplicate, integer, scaled_copy])
def test_pairs_of_paraphrases_by_a_join(make, score, small_samples):
    rows = np.clip(make(150, 8, 3), -1e15, 1e15)
    for top_k, max_pairs in ((1, 20), (3, 100), (12, 9), (12, 300), (140, 2000)):
        expected, joined = searched_pairs(rows, top_k, max_pairs, score)
        assert joined in (None, expected)
    assert small_samples or make in (near_tie, scaled_copy)


def test_a_sample_of_paraphrases_may_promise_too_much_or_too_little(small_samples, monkeypatch):
    rows = gaussian(150, 8, 3)
    expected, joined = searched_pairs(rows, 12, 300)
    assert joined == expected
    assert 300 <= small_samples.pop() < 700
    rows[::7] = rows[0]  # those of the sample have 231 pairs that score 1
    expected, joined = searched_pairs(rows, 30, 300)
    assert joined == expected
    assert small_samples[0] == 231
    assert sorted(set(small_samples)) == small_samples
    rows = gaussian(150, 8, 3)
    rows[1::7] = rows[1]  # each has more neighbors that score 1 than count
    expected, joined = searched_pairs(rows, 12, 300)
    assert joined == expected
    monkeypatch.setattr(closest, "_MOST_PAIRS", 200)
    assert searched_pairs(rows, 12, 20)[1] is None
    assert small_samples[-1] is None


def test_best_pairs_are_selected_early(monkeypatch):
    rows = gaussian(150, 8, 1)
    expected = paraphrase_mining_embeddings(rows, max_pairs=40)
    monkeypatch.setattr(retrieval, "_FEW", 0)
    monkeypatch.setattr(retrieval, "_BLOCK", 10)
    monkeypatch.setattr(retrieval, "_MOST_WAITING", 100)
    assert paraphrase_mining_embeddings(rows, max_pairs=40) == expected


def plain_communities(rows, threshold, least):
    """The definition of communities, on all scores at once."""
    scores = oracle.scores(rows, rows).astype(np.float32)
    found = []
    for center, row in enumerate(scores):
        near = sorted(np.flatnonzero(row >= np.float32(threshold)).tolist(), key=lambda j: (-row[j], j))
        if len(near) >= least:
            found.append((center, near))
    used, result = set(), []
    for center, near in sorted(found, key=lambda entry: -len(entry[1])):
        left = [row for row in near if row not in used]
        if center not in used and len(left) >= least:
            result.append([center, *(row for row in left if row != center)])
            used.update(result[-1])
    return sorted(result, key=len, reverse=True)


def clustered(n, seed):
    """Rows around a few centers, some repeated, one zero."""
    rng = np.random.default_rng(seed)
    rows = (gaussian(6, 16, seed)[rng.integers(0, 6, n)] + 0.4 * gaussian(n, 16, seed + 1)).astype(np.float32)
    rows[5], rows[7] = rows[3], 0
    return rows


@pytest.mark.parametrize("threshold", [0.9, 0.75, 0.5, -0.2, 1.0])
@pytest.mark.parametrize("least", [1, 2, 10, 200])
@pytest.mark.parametrize(("few", "kept"), [(256, 0), (0, 1 << 26), (0, 700), (0, 0)])
def test_communities(threshold, least, few, kept, monkeypatch):
    rows = clustered(200, 3)
    monkeypatch.setattr(communities, "_FEW", few)
    monkeypatch.setattr(communities, "_MOST_KEPT", kept)
    monkeypatch.setattr(communities, "_MOST_AT_ONCE", 1500)
    actual = community_detection(rows, threshold, least, batch_size=1024)
    assert actual == plain_communities(rows, threshold, least)
    assert actual == community_detection(rows, threshold, least, batch_size=7)


def test_communities_name_rows_that_are_not_finite():
    for call in (community_detection, paraphrase_mining_embeddings):
        with pytest.raises(ValueError, match=words("embeddings", "row 1", "inf")):
            call([[1.0, 2.0], [np.inf, 1.0]], *([0.5, 1] if call is community_detection else []))


def test_scores_are_tensors_whatever_came_in():
    torch = pytest.importorskip("torch")
    a, b = torch.from_numpy(QUERIES), torch.from_numpy(CORPUS)
    square = {name for name in tensors.__all__ if name.endswith(("_sim", "_score"))} - {"pairwise_angle_sim"}
    assert len(square) == 9
    for name in square:
        function, pairs_only = getattr(tensors, name), name.startswith("pairwise")
        second = b[:2] if pairs_only else b
        exact = function(a.double(), second.double())
        assert exact.dtype == torch.float64
        for left, right in (
            (a, second),
            (a.numpy(), second.numpy()),
            (list(a), list(second)),
            (list(a.numpy()), tuple(second.numpy())),
            (a.tolist(), second.tolist()),
            (a.bfloat16(), second.half()),
            (a.numpy(), second),
            (a.to_sparse(), second),
            (a.to_sparse(), second.to_sparse()),
        ):
            scores = function(left, right)
            assert isinstance(scores, torch.Tensor), name
            assert (scores.dtype, scores.layout, scores.shape) == (torch.float32, torch.strided, exact.shape)
            torch.testing.assert_close(scores, exact.float(), msg=name)
        assert function(a[0], b[0]).shape == (() if pairs_only else (1, 1))
    assert torch.topk(tensors.cos_sim(b, b), 2).values[:, 0].tolist() == [1, 1, 0, 1, 1]
    assert tensors.dot_score([[1, 2]], [[3, 4]]).dtype == torch.int64
    read_only = QUERIES.copy()
    read_only.flags.writeable = False
    assert tensors.pairwise_cos_sim(read_only, read_only[::-1]).shape == (2,)


def test_gradients():
    torch = pytest.importorskip("torch")
    rows, others = torch.from_numpy(gaussian(4, 6, 1)).double(), torch.from_numpy(gaussian(4, 6, 2)).double()
    rows.requires_grad_()
    for name in tensors.__all__:
        if name.endswith(("_sim", "_score")):
            assert torch.autograd.gradcheck(lambda a, name=name: getattr(tensors, name)(a, others), rows), (
                name
            )
    assert torch.autograd.gradcheck(tensors.normalize_embeddings, rows)
    with torch.no_grad():
        assert not tensors.cos_sim(rows, rows).requires_grad
    assert tensors.semantic_search(rows, rows) == tensors.semantic_search(rows.detach(), rows.detach())
    # As training meets them: zero rows, and rows that are equal.
    a = torch.tensor([[0.0, 0.0], [1.0, 2.0], [4.0, 6.0]], requires_grad=True)
    for name in ("cos_sim", "pairwise_cos_sim", "euclidean_sim", "pairwise_euclidean_sim"):
        gradient = torch.autograd.grad(getattr(tensors, name)(a, a.detach().clone()).sum(), a)[0]
        assert gradient.isfinite().all(), name


def test_rows_of_any_magnitude_as_tensors():
    torch = pytest.importorskip("torch")
    rows = torch.from_numpy(np.concatenate([gaussian(9, 33, 1) * np.float32(s) for s in (1, 1e30, 1e-30)]))
    expected = oracle.scores(rows.numpy(), rows.numpy())
    np.testing.assert_allclose(tensors.cos_sim(rows, rows), expected, atol=5e-7)
    with_gradient = tensors.cos_sim(rows.clone().requires_grad_(), rows).detach()
    np.testing.assert_allclose(with_gradient, expected, atol=5e-7)
    assert tensors.pairwise_cos_sim(rows, rows).tolist() == [1.0] * 27
    torch.testing.assert_close(tensors.normalize_embeddings(rows).norm(dim=-1), torch.ones(27))
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        assert tensors.normalize_embeddings(rows[:9].to(dtype)).dtype == dtype
    words_of_texts = torch.from_numpy(gaussian(24, 5, 1)).reshape(2, 12, 5)
    torch.testing.assert_close(
        tensors.normalize_embeddings(words_of_texts), torch.nn.functional.normalize(words_of_texts, dim=-1)
    )


def test_own_functions_get_tensors():
    torch = pytest.importorskip("torch")
    seen = []

    def own(a, b):
        seen.append((type(a), type(b), len(a), len(b)))
        return torch.mm(a, b.T)

    expected = tensors.semantic_search(QUERIES, CORPUS, score_function=tensors.dot_score)
    for a, b in ((QUERIES, CORPUS), (list(QUERIES), CORPUS.tolist()), (torch.from_numpy(QUERIES), CORPUS)):
        assert tensors.semantic_search(a, b, 1, 3, score_function=own) == expected
    assert set(seen) == {(torch.Tensor, torch.Tensor, 1, 3), (torch.Tensor, torch.Tensor, 1, 2)}
    ours = tensors.paraphrase_mining_embeddings(CORPUS, 2, 3, score_function=own)
    assert ours == tensors.paraphrase_mining_embeddings(CORPUS, score_function=tensors.dot_score)


def test_tensors():
    torch = pytest.importorskip("torch")
    queries, corpus = torch.from_numpy(QUERIES), torch.from_numpy(CORPUS)
    for a, b in ((queries, corpus), (queries, CORPUS), (QUERIES, corpus), (list(queries), list(corpus))):
        for function in (tensors.cos_sim, tensors.dot_score):
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


@pytest.fixture(scope="module")
def util():
    """The utility modules of sentence-transformers, without transformers, of which they use two names."""
    pytest.importorskip("torch")
    pytest.importorskip("scipy")
    pytest.importorskip("sklearn")
    pytest.importorskip("tqdm")
    spec = importlib.util.find_spec("sentence_transformers")
    if spec is None:
        pytest.skip("sentence-transformers is not installed")
    names = ("transformers", "transformers.utils", "sentence_transformers", "sentence_transformers.util")
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] in names}
    root = Path(spec.submodule_search_locations[0])
    stand_ins = {name: types.ModuleType(name) for name in names}
    stand_ins["sentence_transformers"].__path__ = [str(root)]
    stand_ins["sentence_transformers.util"].__path__ = [str(root / "util")]
    log = types.SimpleNamespace(warning_once=logging.getLogger(__name__).warning)
    logs = types.SimpleNamespace(get_logger=lambda _: log)
    stand_ins["transformers.utils"].__dict__.update(logging=logs, is_torchdynamo_compiling=bool)
    sys.modules.update(stand_ins)
    try:
        modules = [
            importlib.import_module(f"sentence_transformers.util.{name}")
            for name in ("tensor", "similarity", "retrieval")
        ]
        yield types.SimpleNamespace(**{k: v for module in modules for k, v in vars(module).items()})
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] in names]:
            del sys.modules[name]
        sys.modules.update(before)


@pytest.mark.filterwarnings("ignore")
def test_like_sentence_transformers(util):
    torch = pytest.importorskip("torch")
    queries, corpus = gaussian(30, 64, 1), gaussian(300, 64, 2)
    for name in ("cos_sim", "dot_score", "euclidean_sim", "manhattan_sim"):
        ours, theirs = getattr(tensors, name), getattr(util, name)
        np.testing.assert_allclose(ours(queries, corpus), theirs(queries, corpus), atol=1e-4)
        for score in (ours, theirs):
            actual = tensors.semantic_search(torch.from_numpy(queries), corpus, top_k=7, score_function=score)
            expected = util.semantic_search(queries, corpus, top_k=7, score_function=theirs)
            for hits, other in zip(actual, expected, strict=True):
                assert [hit["corpus_id"] for hit in hits] == [hit["corpus_id"] for hit in other]
                np.testing.assert_allclose([h["score"] for h in hits], [h["score"] for h in other], rtol=1e-5)
        actual, expected = (
            module.paraphrase_mining_embeddings(torch.from_numpy(corpus), top_k=3, score_function=theirs)
            for module in (tensors, util)
        )
        assert sorted(pair[1:] for pair in actual) == sorted(pair[1:] for pair in expected)
        np.testing.assert_allclose([pair[0] for pair in actual], [pair[0] for pair in expected], rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_types_of_sentence_transformers(util):
    torch = pytest.importorskip("torch")
    a, b = torch.from_numpy(gaussian(4, 6, 1)), torch.from_numpy(gaussian(4, 6, 2))
    for name in (name for name in tensors.__all__ if name.endswith(("_sim", "_score"))):
        ours, theirs = getattr(tensors, name), getattr(util, name)
        pairs = [(a, b), (a.double(), b.double()), (a.bfloat16(), b.bfloat16()), (a.tolist(), b.tolist())]
        pairs += [(a.numpy(), b.numpy()), (a.clone().requires_grad_(), b)]
        if name != "pairwise_angle_sim":
            pairs += [(list(a), list(b)), (a[0], b[0]), (a.to_sparse(), b)]
        for pair in pairs:
            actual, expected = ours(*pair), theirs(*pair)
            assert type(actual) is type(expected)
            assert actual.requires_grad == expected.requires_grad, name
            torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    for rows in (a, a.double(), a[0], a.half(), a.to_sparse()):
        actual, expected = tensors.normalize_embeddings(rows), util.normalize_embeddings(rows)
        torch.testing.assert_close(actual.to_dense(), expected.to_dense(), atol=1e-3, rtol=1e-3)
        assert (actual.dtype, actual.layout) == (expected.dtype, expected.layout)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("threshold", [0.95, 0.8, 0.5])
def test_communities_of_sentence_transformers(util, threshold):
    torch = pytest.importorskip("torch")
    rows = torch.from_numpy(clustered(400, 5))
    for least in (2, 10):
        expected = util.community_detection(rows, threshold, least)
        actual = tensors.community_detection(rows, threshold, least)
        assert [(row[0], set(row)) for row in actual] == [(row[0], set(row)) for row in expected]
