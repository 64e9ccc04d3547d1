"""knn and Index.search return what a full scan in float64 returns, bit for bit."""

import pickle

import numpy as np
import oracle
import pytest
from assertions import assert_same_bits, assert_same_topk, assert_topk_matches
from data import COUNTS, KINDS, WIDTHS, gaussian, hashed, mixed, problems, related, thread_counts
from hypothesis import given
from plain_scores import PLAIN

import fastvec
from fastvec import machine
from fastvec.kernels import log, metrics, micro, rescore

METRICS = list(metrics.TABLE)


def assert_search(queries, vectors, k, metric="cosine", **options):
    """Compare knn and an Index with the oracle."""
    expected = oracle.knn(queries, vectors, k, metric, **options)
    assert_same_topk(fastvec.knn(queries, vectors, k, metric=metric, **options), expected)
    assert_same_topk(fastvec.Index(vectors, metric=metric).search(queries, k, **options), expected)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_row(kind, metric):
    for width in (2, 33, 97):
        vectors = KINDS[kind](300, width, 1)
        queries = np.concatenate([related(vectors, 20, 2), KINDS[kind](20, width, 3)])
        for k in (1, 10, 301):
            assert_search(queries, vectors, k, metric)


@pytest.fixture
def by_row(monkeypatch):
    """Survivors are scored in the order of rows, however few there are; returns how many of each call."""
    monkeypatch.setenv("FASTVEC_MICRO_KERNEL", machine.active_micro_kernel())
    monkeypatch.setattr(rescore, "_DEEP", 1)
    monkeypatch.setattr(rescore, "_MANY", 0)
    score, counts = rescore._score_by_row, []

    def counted(survivors, groups, *rest):
        stale = score(survivors, groups, *rest)
        counts.append(int((survivors.lower == survivors.upper).sum()))
        return stale

    monkeypatch.setattr(rescore, "_score_by_row", counted)
    return counts


@pytest.mark.parametrize("metric", metrics.BOUNDED)
@pytest.mark.parametrize("kind", KINDS)
def test_survivors_are_scored_in_the_order_of_rows(kind, metric, by_row):
    vectors = KINDS[kind](600, 33, 1)
    index, queries = fastvec.Index(vectors, metric=metric), related(vectors, 9, 2)
    for k in (1, 10, 75):
        for num_threads in (1, 2):
            found = index.search(queries, k, num_threads=num_threads)
            assert_same_topk(found, oracle.knn(queries, vectors, k, metric))
            assert by_row.pop() >= 9 * k


def test_a_changed_row_is_noticed_in_the_order_of_rows(by_row):
    vectors = gaussian(600, 33, 1)
    index, queries = fastvec.Index(vectors), vectors[100:109].copy()
    vectors[105] *= -1
    with pytest.raises(RuntimeError, match="row 105 "):
        index.search(queries, 1)
    assert len(by_row) == 1


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_width_and_count(width, metric):
    for i, n in enumerate(COUNTS):
        vectors = mixed(n, width, n)
        assert_search(related(vectors, COUNTS[(i + width) % 11], 1), vectors, 10, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("m", COUNTS)
def test_every_batch_size(m, metric):
    vectors = np.concatenate([gaussian(1000, 64, 1), mixed(100, 64, 2)])
    assert_search(gaussian(m, 64, 3), vectors, 10, metric)


@pytest.mark.usefixtures("all_threads")
@given(problems(), thread_counts)
def test_any_problem(problem, num_threads):
    queries, vectors, k, options = problem
    expected = oracle.knn(queries, vectors, k, **options)
    assert_same_topk(fastvec.knn(queries, vectors, k, num_threads=num_threads, **options), expected)
    index = fastvec.Index(vectors, metric=options.pop("metric"))
    assert_same_topk(index.search(queries, k, num_threads=num_threads, **options), expected)


@pytest.mark.parametrize("metric", METRICS)
def test_against_plain_numpy(metric):
    """A comparison with float32 precision that does not need the oracle."""
    queries, vectors = gaussian(40, 97, 1).astype(np.float64), gaussian(2000, 97, 2).astype(np.float64)
    scores = PLAIN[metric](queries[:, None], vectors[None], lambda terms: terms.sum(axis=-1))
    for k in (1, 25):
        assert_topk_matches(fastvec.knn(queries, vectors, k, metric=metric), scores, k)
        assert_topk_matches(fastvec.Index(vectors, metric=metric).search(queries, k), scores, k)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["gaussian", "decaying", "outlier", "near_tie"])
def test_many_rows(kind, metric):
    """Several blocks of rows, with the best rows at both ends and in the middle."""
    vectors = KINDS[kind](9000, 64, 1)
    queries = vectors[[0, 1, 4499, 4500, 8998, 8999, *range(2000, 2030)]]
    assert_search(queries, vectors, 10, metric)


@pytest.mark.parametrize("metric", METRICS)
def test_the_widest_rows(metric):
    """Integer sums of codes come near 2³¹ and must not exceed it."""
    vectors = np.ones((5, 131_072), np.float32)
    vectors[1] = -1
    vectors[2, ::2] = -1
    vectors[3:] = hashed(2, 131_072)
    assert_search(vectors, vectors, 5, metric)


def test_large_k():
    vectors = gaussian(6000, 17, 1)
    assert_search(gaussian(3, 17, 2), vectors, 5000)
    assert_search(gaussian(3, 17, 2), vectors, 6000)


def test_identical_rows_score_one_and_the_lower_index_wins():
    vectors = gaussian(100, 50, 1)
    vectors[[7, 30, 99]] = vectors[7]
    answer = fastvec.knn(vectors[7], vectors, 4)
    assert answer.indices[:3].tolist() == [7, 30, 99]
    assert answer.scores[:3].tolist() == [1.0] * 3
    assert answer.scores[3] < 1


def test_order_is_by_float64_where_float32_scores_are_equal():
    vectors = np.repeat(hashed(1, 64, 1), 3, axis=0)
    vectors[:, 5] = 2.0 ** np.array([-9, -7, -8])
    query = np.zeros(64, np.float32)
    query[[0, 5]] = 1, 1e-7
    answer = fastvec.knn(query, vectors, 3, metric="dot")
    assert len(np.unique(answer.scores)) == 1
    assert answer.indices.tolist() == [1, 2, 0]


@pytest.mark.parametrize("metric", METRICS)
def test_fewer_rows_than_k_are_filled_up(metric):
    vectors = gaussian(3, 8, 1)
    answer = fastvec.knn(vectors, vectors, 5, metric=metric)
    assert (answer.indices[:, 3:] == -1).all()
    assert (answer.scores[:, 3:] == -np.inf).all()
    assert_search(vectors, vectors, 5, metric)


@pytest.mark.parametrize(("m", "n"), [(0, 5), (5, 0), (0, 0)])
@pytest.mark.parametrize("metric", METRICS)
def test_no_queries_and_no_vectors(m, n, metric):
    assert_search(np.empty((m, 4), np.float32), np.empty((n, 4), np.float32), 3, metric)
    assert_search(np.empty((m, 4), np.float32), np.empty((n, 4), np.float32), 3, metric, dims=2)


def test_one_query_gives_one_row():
    vectors = mixed(300, 33, 1)
    assert_search(vectors[9], vectors, 5)
    assert_search(vectors[9], vectors, 5, where=[1, 9, 12], exclude=[12, -1])
    assert_search(vectors[9, :20], vectors, 5, dims=20)
    assert_search(vectors[9], vectors[:0], 5)
    assert fastvec.knn(vectors[9], vectors, 5).indices.shape == (5,)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dims", [1, 31, 32, 33, 64, 65, 100, 199, 200])
def test_dims_is_a_search_of_the_first_columns(dims, metric):
    vectors = mixed(700, 200, 1)
    queries = np.concatenate([related(vectors, 30, 2), gaussian(10, 200, 3)])
    assert_search(queries, vectors, 10, metric, dims=dims)
    assert_search(queries[:, :dims], vectors, 10, metric, dims=dims)
    narrow = fastvec.knn(queries[:, :dims], vectors[:, :dims], 10, metric=metric)
    assert_same_topk(fastvec.knn(queries, vectors, 10, metric=metric, dims=dims), narrow)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e2, 1e4, 1e6, 1e30])
def test_dims_that_leave_out_the_largest_entries(scale, metric):
    """The codes of such columns are coarse, or all zero."""
    vectors = gaussian(700, 40, 1)
    vectors[:, 30:] *= np.float32(scale)
    for small in (1, 1e-30):
        vectors[:, :30] *= np.float32(small)
        queries = vectors[:40].copy()
        for dims in (1, 5, 30):
            assert_search(queries, vectors, 3, metric, dims=dims)


def test_an_index_serves_many_widths():
    vectors = np.concatenate([gaussian(500, 128, 1), mixed(100, 128, 4)])
    index = fastvec.Index(vectors)
    for dims in (128, 64, None, 16, 100, 64, 1, 128):
        expected = oracle.knn(vectors[:40], vectors, 7, dims=dims)
        assert_same_topk(index.search(vectors[:40], 7, dims=dims), expected)


def test_rows_that_are_zero_within_dims_score_zero():
    vectors = gaussian(80, 40, 1)
    vectors[::2, :10] = 0
    assert_search(vectors, vectors, 60, dims=10)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("share", [0.0, 0.003, 0.3, 1.0])
def test_where(share, metric):
    vectors = mixed(1030, 33, 1)
    queries = related(vectors, 35, 2)
    mask = np.random.default_rng(3).random(1030) < share
    indices = np.flatnonzero(mask)
    for where in (mask, indices, indices[::-1].astype(np.int32), np.repeat(indices, 2).astype(np.uint16)):
        assert_search(queries, vectors, 10, metric, where=where)
        assert_search(queries[:1], vectors, 10, metric, where=where, dims=20)
    assert_search(queries, vectors, 10, metric, where=mask.tolist())
    each = np.random.default_rng(4).random((35, 1030)) < share
    assert_search(queries, vectors, 10, metric, where=each)
    assert_search(
        queries[:1], vectors, 10, metric, where=each[:1], exclude=np.flatnonzero(each[:1])[None, :3]
    )


@pytest.mark.parametrize("metric", METRICS)
def test_exclude(metric):
    vectors = mixed(300, 33, 1)
    queries = related(vectors, 35, 2)
    best = oracle.knn(queries, vectors, 12, metric).indices
    ragged = [row[: i % 5].tolist() for i, row in enumerate(best)]
    for exclude in (
        best,
        best.astype(np.int32),
        np.where(best % 2, best, -1),
        best[:, :0],
        ragged,
        tuple(ragged),
    ):
        assert_search(queries, vectors, 10, metric, exclude=exclude)
    assert_search(queries, vectors[:5], 10, metric, exclude=np.tile(np.arange(5), (35, 1)))
    assert_search(queries[:2], vectors, 10, metric, exclude=([1, 2], [3]))


def test_where_and_exclude_together():
    vectors = mixed(300, 33, 1)
    mask = np.arange(300) % 2 == 0
    best = oracle.knn(vectors[:40], vectors, 3, where=mask).indices
    assert_search(vectors[:40], vectors, 10, where=mask, exclude=best, dims=30)


def test_a_filter_does_not_change_scores():
    """A search of rows 200 to 499 is the search of that slice."""
    vectors = mixed(700, 33, 1)
    part = fastvec.knn(vectors[:40], vectors[200:500], 10)
    full = fastvec.knn(vectors[:40], vectors, 10, where=np.arange(200, 500))
    assert_same_bits(full.scores, part.scores)
    assert_same_bits(full.indices, part.indices + 200)


@pytest.mark.parametrize("metric", METRICS)
def test_index_describes_itself(metric):
    vectors = gaussian(300, 33, 1)
    index = fastvec.Index(vectors, metric=metric)
    assert (len(index), index.dims, index.metric) == (300, 33, metric)
    assert_same_bits(index.vectors, vectors)
    for part in ("Index", "300", "33", metric):
        assert part in repr(index)


def test_metric_is_cosine_unless_told():
    vectors = gaussian(50, 9, 1)
    assert fastvec.Index(vectors).metric == "cosine"
    assert_same_topk(fastvec.knn(vectors, vectors, 3), oracle.knn(vectors, vectors, 3, "cosine"))


def test_index_uses_float32_in_place():
    vectors = gaussian(300, 33, 1)
    index = fastvec.Index(vectors)
    assert np.shares_memory(index.vectors, vectors)
    index.search(vectors, 3)
    assert_same_bits(vectors, gaussian(300, 33, 1))


@pytest.mark.parametrize("convert", [lambda x: x.astype(np.float64), np.asfortranarray, lambda x: x[:, ::-1]])
def test_index_owns_what_it_had_to_convert(convert):
    source = convert(gaussian(300, 33, 1))
    index = fastvec.Index(source)
    assert not np.shares_memory(index.vectors, source)
    expected = oracle.knn(source[:5], source, 3)
    source[:] = 0
    assert_same_topk(index.search(index.vectors[:5].copy(), 3), expected)


@pytest.mark.parametrize(("n", "width"), [(1000, 1), (1000, 50), (1000, 64), (1000, 65), (3000, 200)])
def test_nbytes(n, width):
    vectors = gaussian(n, width, 1)
    index = fastvec.Index(vectors)
    codes = n * (64 * -(-width // 64) + 16)
    assert n * width <= index.nbytes <= codes + 4096
    converted = fastvec.Index(vectors.astype(np.float64)).nbytes
    assert n * width * 5 <= converted <= codes + vectors.nbytes + 4096
    index.search(vectors[:3], 2, dims=1)
    assert index.nbytes <= codes + 12 * n + 4096


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("convert", [np.asarray, lambda x: x.astype(np.float64)])
def test_index_survives_pickle(convert, metric):
    vectors = convert(mixed(300, 33, 1))
    index = fastvec.Index(vectors, metric=metric)
    index.search(vectors[:3], 2, dims=20)
    copy = pickle.loads(pickle.dumps(index))
    assert (len(copy), copy.dims, copy.metric, repr(copy)) == (300, 33, metric, repr(index))
    for dims in (None, 20, 7):
        expected = oracle.knn(vectors[:40], vectors, 10, metric, dims=dims)
        assert_same_topk(copy.search(vectors[:40], 10, dims=dims), expected)


@pytest.mark.parametrize("metric", metrics.BOUNDED)
@pytest.mark.parametrize("m", [1, 40])
@pytest.mark.parametrize("change", [lambda row: -row, lambda row: row[::-1] * 3, lambda row: row * np.nan])
def test_changed_vectors_are_noticed(change, m, metric):
    vectors = gaussian(1000, 64, 1)
    index = fastvec.Index(vectors, metric=metric)
    queries = np.repeat(vectors[5:6], m, axis=0)
    vectors[5] = change(vectors[5])
    with pytest.raises(RuntimeError, match="vectors changed since the Index was built"):
        index.search(queries, 1)


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("name", [record.name for record in machine.micro_kernels() if record.available])
@pytest.mark.parametrize("times", [1.5, 3])
def test_ties_that_fill_the_log_at_the_largest_k(name, times, monkeypatch):
    """A tile of queries with 8k tied rows, the most that a query may keep."""
    monkeypatch.setenv("FASTVEC_MICRO_KERNEL", name)
    monkeypatch.setattr(log, "CAPACITY", 1 << 17)  # sooner full
    tile = micro.TABLE[name].tile_queries
    k = int(times * log.CAPACITY) // (8 * tile)
    vectors = np.ones((8 * k, 2), np.float32)
    index = fastvec.Index(vectors)
    for count in (1, 2):
        scores, indices = index.search(vectors[:tile], k, num_threads=count)
        assert (scores == 1.0).all()
        assert (indices == np.arange(k)).all()


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_a_changed_row_that_its_old_codes_rule_out_goes_unnoticed(metric):
    """As the docstrings say, the search returns other rows, verify finds the change, and a copy is safe."""
    vectors = gaussian(1000, 64, 1)
    index, copy = fastvec.Index(vectors, metric=metric), fastvec.Index(vectors, metric=metric, copy=True)
    kept, query = vectors.copy(), -10 * vectors[5]
    vectors[5] *= -10
    assert oracle.knn(query, vectors, 1, metric).indices[0] == 5
    assert index.search(query, 1).indices[0] != 5
    with pytest.raises(RuntimeError, match="row 5"):
        index.verify()
    copy.verify()
    assert_same_topk(copy.search(query, 3), oracle.knn(query, kept, 3, metric))


def test_without_a_bound_rows_are_scored_as_they_are():
    vectors = gaussian(1000, 64, 1)
    index, query = fastvec.Index(vectors, metric="manhattan"), -10 * vectors[5]
    vectors[5] *= -10
    assert_same_topk(index.search(query, 3), oracle.knn(query, vectors, 3, "manhattan"))
    with pytest.raises(RuntimeError, match="row 5"):
        index.verify()


def test_a_copy_is_independent_and_counted():
    vectors = gaussian(300, 33, 1)
    read_only = vectors.copy()
    read_only.flags.writeable = False
    plain = fastvec.Index(vectors)
    forms = (vectors, read_only, vectors[::2], vectors[:, :20], vectors.tolist(), vectors.astype(np.float64))
    for form in forms:
        index, rows = fastvec.Index(form, copy=True), np.asarray(form, np.float32)
        assert not np.shares_memory(index.vectors, form)
        assert_same_bits(index.vectors, rows)
        assert index.nbytes == fastvec.Index(rows.copy()).nbytes + rows.nbytes
    assert vectors.flags.writeable
    assert np.shares_memory(plain.vectors, vectors)
    assert not plain.vectors.flags.writeable
    again = pickle.loads(pickle.dumps(fastvec.Index(vectors, copy=True)))
    assert again._copy
    assert again.nbytes == fastvec.Index(vectors, copy=True).nbytes
    assert_same_topk(again.search(vectors[:3], 2), plain.search(vectors[:3], 2))
    for wrong in ("yes", None, 2):
        with pytest.raises(TypeError, match="copy"):
            fastvec.Index(vectors, copy=wrong)


@pytest.mark.parametrize("m", [1, 3, 40])
@pytest.mark.parametrize("sizes", [(7, 8, 9), (8, 9, 10), (0, 400, 1), (1500, 1499, 1490)])
def test_many_excluded_rows(sizes, m):
    """Runs around the length from which they are bisected instead of read; unordered, with repeats."""
    vectors = np.concatenate([mixed(900, 40, 1), gaussian(600, 40, 2)])
    queries, rng = related(vectors, m, 3), np.random.default_rng(4)
    exclude = [rng.permutation(1500)[: sizes[i % 3]].tolist() for i in range(m)]
    exclude[0] += [-1, *exclude[0][:2]]
    for options in ({}, {"dims": 20}, {"where": rng.random(1500) < 0.5}, {"metric": "euclidean"}):
        assert_search(queries, vectors, 12, **options, exclude=exclude)
    assert_search(queries[0], vectors, 1400, exclude=np.array(exclude[0]))


def test_exclusions_leave_the_questions_in_their_order():
    """Inputs are excluded in sorted order, and summed in the order given."""
    vectors = gaussian(900, 33, 1)
    positive, negative = [*range(40, 0, -3)], [*range(800, 780, -1)]
    for method in ("3cosadd", "3cosmul"):
        expected = oracle.analogy(vectors, [positive], [negative], 5, method)
        assert_same_topk(fastvec.analogy(vectors, [positive], [negative], 5, method=method), expected)


def test_queries_that_change_during_a_search_are_not_lost_in_silence(monkeypatch):
    from fastvec import _arguments

    vectors, queries = gaussian(4000, 64, 1), gaussian(200, 64, 2)
    check = _arguments.check_finite

    def changed(array, name, num_threads):
        squares = check(array, name, num_threads)
        queries[7, 3] = np.nan
        return squares

    monkeypatch.setattr(_arguments, "check_finite", changed)
    with pytest.raises(RuntimeError, match="queries changed"):
        fastvec.Index(vectors).search(queries, 3)


def test_a_row_that_changes_during_a_search_is_not_lost_in_silence(monkeypatch):
    """A NaN that has disappeared when the error is about to name it."""
    from fastvec import _arguments

    vectors = gaussian(4000, 64, 1)
    vectors[1700, 3] = np.nan

    def mended(array, name, num_threads):
        if name == "vectors":
            vectors[1700, 3] = 0
        return np.ones(len(array))

    monkeypatch.setattr(_arguments, "check_finite", mended)
    with pytest.raises(RuntimeError, match=r"vectors changed.*row 1700"):
        fastvec.knn(gaussian(200, 64, 2), vectors, 3)
