"""A growing Index gives the answers of one built at once; no row is moved, and none is added in part."""

import itertools
import pickle
import threading

import numpy as np
import oracle
import pytest
from assertions import assert_same_bits, assert_same_topk
from data import FORMS, gaussian, matrices, mixed, related
from hypothesis import given
from hypothesis import strategies as st

import fastvec
from fastvec._stores import blocks as _blocks
from fastvec.kernels import metrics

METRICS = list(metrics.TABLE)


def grown(vectors, cuts, metric="cosine"):
    """An Index of the rows up to the first cut; the other rows are added piece by piece."""
    borders = [*cuts, len(vectors)]
    index = fastvec.Index(vectors[: borders[0]], metric=metric)
    for first, last in itertools.pairwise(borders):
        index.add(vectors[first:last])
    return index


@pytest.fixture
def large_blocks(monkeypatch):
    """Additions of 16 KiB count as large."""
    monkeypatch.setattr(_blocks, "IN_PLACE_BYTES", 1 << 14)


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("m", [1, 3, 40])
def test_everything_is_as_if_built_at_once(m, metric, large_blocks):
    vectors = mixed(1500, 97, 1)
    queries = related(vectors, m, 2)
    index = grown(vectors, [100, 101, 103, 150, 150, 400, 401, 1490, 1499], metric)
    full = fastvec.Index(vectors, metric=metric)
    assert 5 < len(index._store.blocks) < 10
    assert (len(index), index.dims, index.nbytes > full.nbytes) == (1500, 97, True)
    rng = np.random.default_rng(3)
    mask, each = rng.random(1500) < 0.5, rng.random((m, 1500)) < 0.5
    few = np.flatnonzero(rng.random(1500) < 0.05)
    best = full.search(queries, 3).indices
    for options in ({}, {"dims": 40}, {"where": mask}, {"where": each}, {"where": few}, {"exclude": best}):
        for threads in (1, 3):
            options["num_threads"] = threads
            assert_same_topk(index.search(queries, 9, **options), full.search(queries, 9, **options))
            assert_same_topk(index.search(queries, 1500, **options), full.search(queries, 1500, **options))
            actual, expected = (i.range_search(queries, 0.1, **options) for i in (index, full))
            for left, right in zip(actual, expected, strict=True):
                assert_same_bits(left, right)
    assert_same_topk(index.knn_graph(4), full.knn_graph(4))
    assert_same_bits(index.vectors, vectors)
    index.verify()


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("method", ["3cosadd", "3cosmul"])
def test_analogies(method, large_blocks):
    vectors = mixed(900, 40, 1)
    questions = np.random.default_rng(2).integers(0, 900, (50, 3))
    index = grown(vectors, [7, 300, 310, 700])
    for threads in (1, 3):
        actual = index.analogy(questions[:, :2], questions[:, 2:], 5, method=method, num_threads=threads)
        assert_same_topk(actual, oracle.analogy(vectors, questions[:, :2], questions[:, 2:], 5, method))


@given(matrices(), st.data())
def test_rows_may_be_added_in_any_pieces(vectors, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(vectors)), min_size=1, max_size=5)))
    metric = data.draw(st.sampled_from(METRICS))
    queries = related(vectors, 5, 1) if len(vectors) else vectors
    index = grown(vectors, cuts, metric)
    assert_same_topk(index.search(queries, 7), oracle.knn(queries, vectors, 7, metric))
    assert_same_bits(index.vectors, vectors)


def test_row_by_row():
    vectors = gaussian(700, 33, 1)
    index = fastvec.Index(vectors[:1])
    for row in vectors[1:]:
        index.add(row)
    assert len(index._store.blocks) < 8
    assert_same_topk(index.search(vectors[:9], 5), oracle.knn(vectors[:9], vectors, 5))


def test_rows_before_an_addition_are_not_moved(large_blocks):
    vectors = gaussian(400, 64, 1)
    index = fastvec.Index(vectors[:100])
    first = index._store.blocks[0]
    before = index.nbytes
    index.add(vectors[100:110])
    second = index._store.blocks[1].vectors.ctypes.data
    index.add(vectors[110:120])
    large = vectors[120:].copy()
    index.add(large)
    assert index._store.blocks[0] is first
    assert first.vectors.ctypes.data == vectors.ctypes.data
    assert index._store.blocks[1].vectors.ctypes.data == second
    assert index._store.blocks[2].vectors.ctypes.data == large.ctypes.data
    assert index.nbytes == before + 300 * (64 + 16) + 20 * 64 * 4  # a copy of the twenty


def test_few_rows_are_copied_so_their_array_may_be_used_again():
    vectors = gaussian(30, 16, 1)
    index, buffer = fastvec.Index(vectors[:10]), np.empty((5, 16), np.float32)
    for first in range(10, 30, 5):
        buffer[:] = vectors[first : first + 5]
        index.add(buffer)
    assert_same_topk(index.search(vectors, 3), oracle.knn(vectors, vectors, 3))


def test_an_index_with_a_copy_copies_what_is_added(large_blocks):
    vectors = gaussian(400, 64, 1)
    kept, index = vectors.copy(), fastvec.Index(vectors[:100], copy=True)
    index.add(vectors[100:110])
    index.add(vectors[110:])
    assert len(index._store.blocks) == 3
    assert index.nbytes == 400 * (64 + 16) + vectors.nbytes
    vectors *= -1
    index.verify()
    assert_same_topk(index.search(kept[:9], 5), oracle.knn(kept[:9], kept, 5))
    again = pickle.loads(pickle.dumps(index))
    large = vectors.copy()
    again.add(large)
    large[:] = 0
    assert_same_bits(again.vectors[400:], vectors)


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_input(form):
    vectors = np.arange(60, dtype=np.float32).reshape(12, 5) % 7
    index = fastvec.Index(vectors)
    index.add(FORMS[form](vectors))
    assert_same_bits(index.vectors, np.concatenate([vectors, vectors]))


def test_to_an_empty_index():
    index = fastvec.Index(np.empty((0, 5), np.float32))
    index.add(np.empty((0, 5)))
    assert len(index) == 0
    index.add(np.eye(5))
    assert index.search(np.ones(5), 2).indices.tolist() == [0, 1]
    assert len(index._store.blocks) == 1


@pytest.mark.parametrize("in_place", [False, True])
def test_refused_rows_change_nothing(in_place, monkeypatch):
    if in_place:
        monkeypatch.setattr(_blocks, "IN_PLACE_BYTES", 1)
    vectors = gaussian(50, 8, 1)
    index = grown(vectors, [20, 40])
    bad = gaussian(9, 8, 2)
    bad[4, 3] = np.nan
    for rows, message in (
        (bad, "vectors, row 4: NaN"),
        (gaussian(3, 7, 1), "vectors has 7 dimensions and the Index has 8"),
        (np.zeros((2, 2, 8)), "vectors"),
    ):
        with pytest.raises(ValueError, match=message):
            index.add(rows)
    with pytest.raises(TypeError, match="vectors has dtype"):
        index.add(np.ones((2, 8), bool))
    assert len(index) == 50
    index.add(vectors)
    doubled = np.concatenate([vectors, vectors])
    assert_same_topk(index.search(vectors, 4), oracle.knn(vectors, doubled, 4))


def test_changed_vectors_are_named_by_their_number(large_blocks):
    vectors = gaussian(300, 64, 1)
    index, large = fastvec.Index(vectors[:10]), vectors[10:].copy()
    index.add(large)
    large[200] *= -1
    with pytest.raises(RuntimeError, match="row 210"):
        index.verify()
    with pytest.raises(RuntimeError, match="row 210"):
        index.search(vectors[210], 1)
    large[200] = np.nan
    with pytest.raises(RuntimeError, match="row 210"):
        index.analogy([210], [3])


@pytest.mark.parametrize("row", [0, 29])
def test_a_row_that_is_no_longer_finite_is_named(row):
    rows, other = gaussian(30, 8, 1), 17
    index = fastvec.Index(rows, metric="manhattan")
    rows[row, 3] = np.nan
    for call in (
        lambda: index.search(rows[other], 3),
        lambda: index._store.pair_score(row, other, "cosine"),
        lambda: index._store.pair_score(other, row, "cosine"),
    ):
        with pytest.raises(RuntimeError, match=f"row {row} no longer matches"):
            call()


def test_saved_and_pickled(tmp_path, large_blocks):
    vectors = gaussian(400, 33, 1)
    index = grown(vectors, [50, 60, 200])
    index.save(tmp_path / "index")
    fastvec.files.verify(tmp_path / "index")
    for home in ("mmap", "memory"):
        opened = fastvec.Index.open(tmp_path / "index", vectors=home)
        opened.add(vectors[:5])
        expected = oracle.knn(vectors[:9], np.concatenate([vectors, vectors[:5]]), 5)
        assert_same_topk(opened.search(vectors[:9], 5), expected)
        opened.verify()
    again = pickle.loads(pickle.dumps(index))
    assert_same_topk(again.search(vectors[:9], 5), index.search(vectors[:9], 5))


@pytest.mark.parametrize("in_place", [False, True])
def test_searches_during_an_addition_see_all_of_it_or_nothing(in_place, monkeypatch):
    """The last row of each addition is nearer to the query than all rows before."""
    if in_place:
        monkeypatch.setattr(_blocks, "IN_PLACE_BYTES", 1)
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((40 * 50, 24)).astype(np.float32)
    vectors[:, 0] = 0.0
    nearer = np.arange(49, len(vectors), 50)
    vectors[nearer, 0] = 10.0 + np.arange(40)
    query = np.eye(1, 24, dtype=np.float32)[0]
    index = fastvec.Index(vectors[:50], metric="dot")
    seen, done = [], threading.Event()

    def search():
        while not done.is_set():
            seen.append(index.search(query, 3, dims=int(rng.integers(1, 3)) * 12))

    searching = [threading.Thread(target=search) for _ in range(2)]
    for thread in searching:
        thread.start()
    for first in range(50, len(vectors), 50):
        index.add(vectors[first : first + 50])
    done.set()
    for thread in searching:
        thread.join()
    seen.append(index.search(query, 3))
    for scores, indices in seen:
        additions = (indices[0] + 1) // 50
        assert indices[0] in nearer
        expected = oracle.knn(query[None], vectors[: 50 * additions], 3, "dot")
        assert_same_topk(fastvec.TopK(scores[None], indices[None]), expected)
    assert seen[-1].indices[0] == len(vectors) - 1


def test_threads_that_add_at_once():
    pieces = [gaussian(30, 16, seed) for seed in range(12)]
    index = fastvec.Index(gaussian(5, 16, 99))
    adding = [threading.Thread(target=index.add, args=(piece,)) for piece in pieces]
    for thread in adding:
        thread.start()
    for thread in adding:
        thread.join()
    assert len(index) == 5 + 30 * 12
    held = index.vectors[5:].reshape(12, 30, 16)
    assert sorted(map(bytes, held)) == sorted(map(bytes, pieces))
    index.verify()
