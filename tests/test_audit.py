"""fastvec.audit: answers spoiled in known ways, and any answers against a plain twin that goes row by row."""

import hashlib
import math

import numpy as np
import oracle
import pytest
from assertions import assert_same_bits
from data import duplicate, gaussian, hashed, problems
from hypothesis import given
from hypothesis import strategies as st

import fastvec
from fastvec import _answers
from fastvec.kernels import metrics

N, DIMS, M, K = 300, 24, 9, 7
VECTORS, QUERIES = hashed(N, DIMS, 1), hashed(M, DIMS, 2)
COUNTS = ("order_errors", "missing", "impossible", "forbidden", "repeated")


def assert_like_the_twin(actual, expected):
    assert (actual.exact, actual.recall) == (expected.exact, expected.recall)
    assert actual.first_wrong.dtype == np.int64
    assert actual.first_wrong.tolist() == expected.first_wrong
    assert [getattr(actual, name) for name in COUNTS] == [getattr(expected, name) for name in COUNTS]
    assert_same_bits(actual.kth_score, np.array(expected.kth_score, np.float64))
    assert_same_bits(actual.best_left_out, np.array(expected.best_left_out, np.float64))
    np.testing.assert_equal(actual.score_error, expected.score_error)


def right(metric="cosine", k=K):
    """The right answer, to be spoiled; a copy."""
    found = fastvec.knn(QUERIES, VECTORS, k, metric=metric)
    return found.scores.astype(np.float64), found.indices.copy()


def audit(indices, metric="cosine", **options):
    found = fastvec.audit(QUERIES, VECTORS, indices, metric=metric, **options)
    assert_like_the_twin(found, oracle.audit(QUERIES, VECTORS, indices, metric=metric, **options))
    return found


@pytest.mark.parametrize("metric", metrics.TABLE)
def test_the_right_answer_is_exact(metric):
    scores, indices = right(metric)
    found = audit(indices, metric, scores=scores)
    assert found.exact is True
    assert (found.recall, found.order_errors) == (1.0, 0)
    assert found.first_wrong.tolist() == [-1] * M
    assert found.score_error < 3e-7 * np.abs(scores).max()
    eighth = fastvec.knn(QUERIES, VECTORS, K + 1, metric=metric).scores[:, K]
    assert found.best_left_out.astype(np.float32).tolist() == eighth.tolist()
    assert found.kth_score.astype(np.float32).tolist() == scores[:, -1].astype(np.float32).tolist()


def test_two_rows_swapped():
    _, indices = right()
    indices[4, [2, 5]] = indices[4, [5, 2]]
    found = audit(indices)
    assert (found.exact, found.recall) == (False, 1.0)
    assert found.first_wrong.tolist() == [2 if query == 4 else -1 for query in range(M)]
    assert found.order_errors == 2
    assert (found.best_left_out < found.kth_score).all()


def test_a_row_replaced_by_the_next_best():
    _, indices = right(k=K + 1)
    left_out = indices[3, 5]
    answer = np.delete(indices, K, axis=1)
    answer[3, 5:] = indices[3, 6:]
    found = audit(answer)
    assert found.recall == (M * K - 1) / (M * K)
    assert found.first_wrong[3] == 5
    assert found.order_errors == 0
    assert found.best_left_out[3] > found.kth_score[3]
    scores = oracle.scores(QUERIES, VECTORS)
    assert found.best_left_out[3] == scores[3, left_out]


@pytest.mark.parametrize(
    ("row", "named"),
    [(-1, "missing"), (N, "impossible"), (-2, "impossible"), (2**63 - 1, "impossible"), (None, "repeated")],
)
def test_rows_that_are_no_answer(row, named):
    _, indices = right()
    indices[2, 3] = indices[2, 0] if row is None else row
    found = audit(indices)
    assert {name: getattr(found, name) for name in COUNTS[1:]} == {
        name: int(name == named) for name in COUNTS[1:]
    }
    assert (found.exact, found.first_wrong[2]) == (False, 3)
    assert found.recall == (M * K - 1) / (M * K)


def test_the_largest_numbers_of_unsigned_rows_are_impossible():
    _, indices = right()
    indices = indices.astype(np.uint64)
    assert fastvec.audit(QUERIES, VECTORS, indices).exact
    indices[0, 0] = 2**64 - 1
    assert fastvec.audit(QUERIES, VECTORS, indices).impossible == 1


def test_rows_that_the_filter_forbids():
    where = np.arange(N) % 2 == 0
    _, indices = right()
    found = audit(indices, where=where)
    assert found.forbidden == (indices % 2 == 1).sum() > 0
    assert not found.exact
    allowed = fastvec.knn(QUERIES, VECTORS, K, where=where)
    assert audit(allowed.indices, where=where).exact
    one_each = np.eye(M, N, dtype=bool)
    found = audit(np.arange(M)[:, None] + np.zeros(2, int), where=one_each)
    assert (found.recall, found.repeated, found.exact) == (1.0, M, False)
    padded = np.stack([np.arange(M), np.full(M, -1)], axis=1)
    assert audit(padded, where=one_each).exact
    nothing = audit(np.full((M, 2), -1), where=np.zeros(N, bool))
    assert (nothing.exact, nothing.recall) == (True, 1.0)
    assert set(nothing.kth_score) == set(nothing.best_left_out) == {-math.inf}


def test_equal_rows_may_be_in_any_order_and_any_of_them_may_be_left_out():
    vectors = duplicate(200, 16, 3)
    queries = vectors[:5] + gaussian(5, 16, 4)
    found = fastvec.knn(queries, vectors, 60)
    rng = np.random.default_rng(0)
    indices = np.empty_like(found.indices)
    every = oracle.scores(queries, vectors)
    for q in range(5):  # another order of the rows, which is as good
        indices[q] = np.lexsort((rng.random(200), -every[q]))[:60]
    assert (indices != found.indices).any()
    audited = fastvec.audit(queries, vectors, indices)
    assert_like_the_twin(audited, oracle.audit(queries, vectors, indices))
    assert (audited.exact, audited.recall, audited.order_errors) == (True, 1.0, 0)
    assert audited.digest == fastvec.audit(queries, vectors, found.indices).digest
    assert (audited.best_left_out <= audited.kth_score).all()


def test_errors_of_scores():
    _, indices = right("dot")
    exact = np.take_along_axis(oracle.scores(QUERIES, VECTORS, "dot"), indices, 1)
    assert audit(indices, "dot", scores=exact).score_error == 0.0
    exact[1, 2] = np.nextafter(exact[1, 2], 9)
    assert 0 < audit(indices, "dot", scores=exact).score_error < 1e-15
    exact[5, 0] += 1e-3
    assert audit(indices, "dot", scores=exact).score_error == pytest.approx(1e-3, rel=1e-9)
    assert audit(indices, "dot", scores=exact).exact
    assert math.isnan(audit(indices, "dot").score_error)
    exact[0, 0] = np.nan
    assert fastvec.audit(QUERIES, VECTORS, indices, metric="dot", scores=exact).score_error == math.inf
    indices[0, 0] = -1  # what stands at a place without a row does not count
    assert fastvec.audit(QUERIES, VECTORS, indices, metric="dot", scores=exact).score_error < 2e-3


@pytest.mark.parametrize("metric", metrics.TABLE)
def test_the_digest_is_that_of_the_documentation(metric):
    answer = fastvec.knn(QUERIES, VECTORS, 4, metric=metric, dims=10)
    digest = hashlib.sha256(f"fastvec answer 1 {metric} 10 {N} {M} 4\n".encode("ascii"))
    digest.update(answer.indices.astype("<i8").tobytes() + answer.scores.astype("<f4").tobytes())
    wrong = np.zeros((M, 4), int)
    assert fastvec.audit(QUERIES, VECTORS, wrong, metric=metric, dims=10).digest == digest.hexdigest()


def test_the_digest_has_no_negative_zero():
    """A score that float32 rounds to 0 from below is published as 0.0."""
    vectors = np.array([[-1e-30, 0], [1, 0]], np.float32)
    answer = fastvec.knn(-vectors[:1], vectors, 2, metric="dot")
    assert_same_bits(answer.scores, np.array([[1e-30, 0]], np.float32))
    digest = hashlib.sha256(b"fastvec answer 1 dot 2 2 1 2\n")
    digest.update(answer.indices.astype("<i8").tobytes() + answer.scores.astype("<f4").tobytes())
    found = fastvec.audit(-vectors[:1], vectors, answer.indices, metric="dot")
    assert found.digest == digest.hexdigest()


def test_the_digest_never_changes():
    found = fastvec.audit(QUERIES, VECTORS, np.zeros((M, K), int))
    assert found.digest == "196fc1ce6bab64c0b79a4121717ac03e945d960dfd9cfeb488d57320e8521913"


@st.composite
def spoiled(draw):
    """Queries, vectors, a metric, a filter, and answers of which some are right."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, m, k, dims = (draw(st.integers(1, most)) for most in (40, 4, 12, 40))
    make = draw(st.sampled_from([gaussian, duplicate, hashed]))
    vectors, queries = make(n, dims, 1), make(m, dims, 2)
    metric, used = draw(st.sampled_from(list(metrics.TABLE))), draw(st.integers(1, dims))
    where = draw(st.sampled_from([None, rng.random(n) < 0.5, rng.random((m, n)) < 0.5]))
    found = fastvec.knn(queries, vectors, k, metric=metric, dims=used, where=where)
    other = rng.integers(-2, n + 2, (m, k))
    indices = np.where(rng.random((m, k)) < draw(st.sampled_from([0, 0.2, 1])), other, found.indices)
    return queries, vectors, indices, found.scores, {"metric": metric, "dims": used, "where": where}


@given(spoiled(), st.integers(1, 50))
def test_any_answers_as_the_twin_judges_them(problem, height):
    queries, vectors, indices, scores, options = problem
    scores = np.where(np.isfinite(scores), scores, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_answers, "BLOCK_VALUES", height * options["dims"])  # the rows of a block
        found = fastvec.audit(queries, vectors, indices, scores=scores, **options)
    assert_like_the_twin(found, oracle.audit(queries, vectors, indices, scores, **options))


@given(problems())
def test_every_right_answer_is_exact(problem):
    queries, vectors, k, options = problem
    options = {name: value for name, value in options.items() if name != "exclude"}
    answer = fastvec.knn(queries, vectors, k, **options)
    found = fastvec.audit(queries, vectors, answer.indices, scores=answer.scores, **options)
    assert (found.exact, found.recall, found.order_errors, found.missing) == (True, 1.0, 0, 0)


def test_blocks_and_kinds_of_vectors_make_no_difference(monkeypatch, tmp_path):
    integers = np.random.default_rng(5).integers(0, 9, (N, DIMS)).astype(np.uint8)
    queries = integers[:20]
    answer = fastvec.knn(queries, integers, K, metric="euclidean")
    kinds = [integers, integers.astype(np.float64), np.asfortranarray(integers), integers.tolist()]
    np.save(tmp_path / "rows.npy", integers)
    kinds.append(np.load(tmp_path / "rows.npy", mmap_mode="r"))
    found = [fastvec.audit(queries, rows, answer.indices, metric="euclidean") for rows in kinds]
    for height in (1, 7, N):
        monkeypatch.setattr(_answers, "BLOCK_VALUES", height * DIMS)
        found.append(fastvec.audit(queries, integers, answer.indices, metric="euclidean"))
    assert found[0].exact
    for other in found[1:]:
        assert str(other) == str(found[0])
        assert_same_bits(other.best_left_out, found[0].best_left_out)


def test_only_blocks_are_converted(monkeypatch):
    """Rows that must be converted are never all in memory as float32."""
    rows = np.zeros((1000, DIMS), np.int8)
    rows[:, 0] = 1
    sizes = []
    convert = _answers._arguments.to_float32
    monkeypatch.setattr(_answers, "BLOCK_VALUES", 64 * DIMS)
    monkeypatch.setattr(
        _answers._arguments,
        "to_float32",
        lambda array, name: (sizes.append(len(array)), convert(array, name))[1],
    )
    assert fastvec.audit(rows[:1], rows, [[0, 1]]).exact
    assert max(sizes) == 64


def test_forms_of_answers():
    _, indices = right(k=3)
    expected = str(audit(indices))
    lists = indices.tolist()
    for form in (
        lists,
        [tuple(line) for line in lists],
        list(indices),
        indices.astype(np.int32),
        indices.T.copy().T,
    ):
        assert str(fastvec.audit(QUERIES, VECTORS, form)) == expected
    del lists[2][1:]
    scores = [[0.5] * len(line) for line in lists]
    found = fastvec.audit(QUERIES, VECTORS, lists, scores=scores)
    assert (found.missing, found.recall) == (2, (3 * M - 2) / (3 * M))
    one = fastvec.audit(QUERIES[0], VECTORS, indices[0], scores=np.ones(3))
    assert (one.exact, one.first_wrong.shape) == (True, (1,))
    narrow = [fastvec.audit(queries, VECTORS, indices, dims=9) for queries in (QUERIES, QUERIES[:, :9])]
    assert str(narrow[0]) == str(narrow[1])
    none = fastvec.audit(QUERIES[:0], VECTORS, np.zeros((0, 3), int))
    assert (none.exact, none.recall, none.first_wrong.shape) == (True, 1.0, (0,))
    empty = fastvec.audit(QUERIES, VECTORS[:0], np.full((M, 3), -1))
    assert (empty.exact, empty.missing) == (True, 0)
    wide = audit(fastvec.knn(QUERIES, VECTORS, N + 5).indices)
    assert wide.exact
    assert set(wide.best_left_out) == {-math.inf}


def test_a_summary_is_printed():
    _, indices = right()
    indices[4, [2, 5]] = indices[4, [5, 2]]
    lines = str(fastvec.audit(QUERIES, VECTORS, indices)).splitlines()
    assert lines[0] == "exact         no: 1 of 9 answers are wrong (query 4, rank 2)"
    assert lines[3] == "score error   no scores"
    indices[3, [0, 2]] = indices[3, [2, 0]]
    scores = np.where(indices == indices[4, 1], np.inf, 0.5)
    lines = str(fastvec.audit(QUERIES, VECTORS, indices, scores=scores)).splitlines()
    assert lines[0] == "exact         no: 2 of 9 answers are wrong (query 3, rank 0)"
    assert lines[3] == "score error   inf"
    assert str(fastvec.audit(QUERIES, VECTORS, right()[1])).startswith(
        "exact         yes\nrecall        1.000000\n"
    )


BAD = VECTORS.copy()
BAD[250, 3] = np.nan


@pytest.mark.parametrize(
    ("arguments", "options", "error", "parts"),
    [
        ((QUERIES, VECTORS, np.zeros((M - 1, 2), int)), {}, ValueError, ["indices", "(8, 2)", "(9, k)"]),
        ((QUERIES, VECTORS, np.zeros((M, 0), int)), {}, ValueError, ["indices", "(9, 0)"]),
        ((QUERIES, VECTORS, np.zeros(M, int)), {}, ValueError, ["indices", "(9,)"]),
        ((QUERIES, VECTORS, np.zeros((M, 2))), {}, TypeError, ["indices", "float64", "integers"]),
        ((QUERIES, VECTORS, [["a"]] * M), {}, TypeError, ["indices"]),
        (
            (QUERIES, VECTORS, [[0]] * M),
            {"scores": [[0.0, 1.0]] * M},
            ValueError,
            ["scores", "(9, 2)", "(9, 1)"],
        ),
        ((QUERIES, VECTORS, [[0]] * M), {"scores": [["a"]] * M}, TypeError, ["scores"]),
        ((QUERIES, VECTORS, [[0]] * M), {"metric": "l2"}, ValueError, ["metric", "'l2'", "manhattan"]),
        ((QUERIES, VECTORS, [[0]] * M), {"dims": 25}, ValueError, ["dims", "25", "24"]),
        ((QUERIES, VECTORS, [[0]] * M), {"where": [N]}, IndexError, ["where", "300"]),
        ((QUERIES[:, :9], VECTORS, [[0]] * M), {}, ValueError, ["queries has 9", "24"]),
        ((QUERIES, VECTORS[0], [[0]] * M), {}, ValueError, ["vectors", "(24,)"]),
        ((QUERIES, VECTORS > 0, [[0]] * M), {}, TypeError, ["vectors", "bool"]),
        ((BAD[250:], VECTORS, np.zeros((50, 1), int)), {}, ValueError, ["queries, row 0", "NaN"]),
        ((QUERIES, BAD, [[0]] * M), {}, ValueError, ["vectors, row 250", "NaN"]),
    ],
)
def test_mistakes_are_named(arguments, options, error, parts):
    with pytest.raises(error) as caught:
        fastvec.audit(*arguments, **options)
    for part in parts:
        assert part in str(caught.value)


def test_a_bad_row_of_a_later_block_is_named(monkeypatch):
    monkeypatch.setattr(_answers, "BLOCK_VALUES", 100 * DIMS)
    with pytest.raises(ValueError, match="vectors from row 200 on, row 50: NaN"):
        fastvec.audit(QUERIES, BAD, [[0]] * M)


def test_a_mode_that_flushes_subnormals_changes_nothing(flushing):
    vectors = (gaussian(50, 8, 1) * np.float32(1e-40)).astype(np.float32)
    answer = fastvec.knn(vectors[:4], vectors, 5, metric="dot")
    expected = str(fastvec.audit(vectors[:4], vectors, answer.indices, scores=answer.scores, metric="dot"))
    with flushing():
        found = fastvec.audit(vectors[:4], vectors, answer.indices, scores=answer.scores, metric="dot")
    assert str(found) == expected
    assert found.exact
