"""Int8 rows are searched as the numbers they are: with the answers of their float32 copy, and without one."""

import pickle

import numpy as np
import oracle
import pytest
from assertions import assert_same_bits, assert_same_topk
from data import gaussian, hashed
from hypothesis import given
from hypothesis import strategies as st

import fastvec
from fastvec.kernels import metrics, micro

METRICS = list(metrics.TABLE)


def int8_rows(n, dims, seed=0):
    """Rows of all values, −128 among them, some of them zero and some equal."""
    rows = np.floor(hashed(n, dims, seed) * 128).astype(np.int8)
    rows[::7] = rows[3 % n]
    rows[5::11] = 0
    rows[6::13, 0] = -128
    return rows


def near(rows, m, seed=1):
    """float32 queries near some of the rows."""
    some = rows[hashed(m, 1, seed).argsort(axis=0)[:, 0] * 3 % len(rows)].astype(np.float32)
    return some + gaussian(m, rows.shape[1], seed) * 20


def assert_same(actual, expected):
    for of_int8, of_float32 in zip(actual, expected, strict=True):
        assert_same_bits(of_int8, of_float32)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("n", "dims"), [(1, 1), (40, 5), (700, 64), (3000, 97)])
def test_answers_are_those_of_float32_rows(metric, n, dims):
    rows = int8_rows(n, dims)
    index, queries = fastvec.Index(rows, metric=metric), near(rows, 40)
    plain = rows.astype(np.float32)
    for m, k in ((1, 1), (2, 10), (40, 10), (3, n)):
        assert_same_topk(index.search(queries[:m], k), oracle.knn(queries[:m], plain, k, metric=metric))
    used = -(-dims // 2)
    assert_same(index.search(queries, 5, dims=used), fastvec.knn(queries, plain, 5, metric=metric, dims=used))
    where = np.arange(n) % 3 == 0
    expected = fastvec.knn(queries, plain, 5, metric=metric, where=where)
    assert_same(index.search(queries, 5, where=where), expected)
    least = float(np.median(index.search(queries, n).scores))
    assert_same(
        index.range_search(queries, least), fastvec.Index(plain, metric=metric).range_search(queries, least)
    )
    assert_same(index.knn_graph(3), fastvec.Index(plain, metric=metric).knn_graph(3))


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_every_micro_kernel(monkeypatch, metric):
    rows = int8_rows(900, 70)
    queries = near(rows, 33)
    expected = [oracle.knn(queries[:m], rows.astype(np.float32), 7, metric=metric) for m in (1, 33)]
    names = [kernel.name for kernel in fastvec.machine.micro_kernels() if kernel.available]
    for name in names if metric == "cosine" else names[:1]:
        monkeypatch.setenv("FASTVEC_MICRO_KERNEL", name)
        assert micro.active().name == name
        index = fastvec.Index(rows, metric=metric)
        for m, answer in zip((1, 33), expected, strict=True):
            assert_same_topk(index.search(queries[:m], 7), answer)


def test_rows_are_used_where_they_lie():
    rows = int8_rows(2000, 96)
    index = fastvec.Index(rows)
    assert np.shares_memory(index._store.blocks[0].vectors, rows)
    assert index.nbytes == 2000 * (128 + 16)
    assert fastvec.Index(rows, copy=True).nbytes == 2000 * (128 + 16 + 96)
    reversed_ = fastvec.Index(rows[::-1])
    assert np.shares_memory(reversed_._store.blocks[0].vectors, rows)
    columns = fastvec.Index(rows[:, ::-1])
    assert columns.nbytes == 2000 * (128 + 16 + 96)
    queries = near(rows, 3)
    assert_same(reversed_.search(queries, 4), fastvec.knn(queries, rows[::-1].astype(np.float32), 4))
    assert_same(columns.search(queries, 4), fastvec.knn(queries, rows[:, ::-1].astype(np.float32), 4))
    before = index.nbytes
    assert_same_bits(index.vectors, rows.astype(np.float32))
    assert index.nbytes == before + index.vectors.nbytes
    assert_same_bits(index.fetch([3, 1]), rows[[3, 1]].astype(np.float32))


def test_a_screen_that_is_asked_for_is_made():
    rows = int8_rows(5000, 256)
    index = fastvec.Index(rows, screen=64)
    assert index.screen == 64
    assert index.nbytes == fastvec.Index(rows.astype(np.float32), copy=True, screen=64).nbytes
    queries = near(rows, 4)
    assert_same(index.search(queries, 4), fastvec.Index(rows).search(queries, 4))


def test_large_rows_of_one_search(monkeypatch):
    from fastvec._stores import cpu

    rows = int8_rows(3000, 64)
    queries = near(rows, 20)
    expected = [fastvec.knn(queries, rows, 5, metric=metric) for metric in METRICS]
    monkeypatch.setattr(cpu, "_LARGE_INT8", 1)
    for metric, answer in zip(METRICS, expected, strict=True):
        assert_same(fastvec.knn(queries, rows, 5, metric=metric), answer)
    assert np.shares_memory(cpu.one_shot(rows).matrix.blocks[0], rows)


@given(st.data())
def test_changes(data):
    """Rows of both types are added, replaced and removed; the answers are those of float32 rows."""
    metric = data.draw(st.sampled_from(["cosine", "dot"]))
    first = int8_rows(60, 9)
    index, plain = fastvec.Index(first, metric=metric), fastvec.Index(first.astype(np.float32), metric=metric)
    queries = near(first, 3)
    for step in range(data.draw(st.integers(1, 4))):
        rows = int8_rows(data.draw(st.integers(1, 30)), 9, step + 1)
        rows = rows.astype(np.float32) / 2 if data.draw(st.integers(0, 4)) == 0 else rows
        change = data.draw(st.sampled_from(["add", "remove", "replace", "compact", "pickle"]))
        numbers = plain.numbers[:: data.draw(st.integers(1, 5))][: len(rows)]
        for one in (index, plain):
            if change == "add":
                one.add(rows if one is index else rows.astype(np.float32))
            elif change == "remove":
                one.remove(numbers)
            elif change == "replace":
                one.replace(numbers, rows[: len(numbers)])
            elif change == "compact":
                one.compact()
        if change == "pickle":
            index = pickle.loads(pickle.dumps(index))
        index.verify()
        assert_same_bits(index.vectors, plain.vectors)
        assert_same(index.search(queries, 7), plain.search(queries, 7))


def test_changes_keep_int8():
    index = fastvec.Index(int8_rows(50, 8))
    index.add(int8_rows(9, 8, 2))
    index.remove(np.arange(40))
    index.replace([41], int8_rows(1, 8, 3))
    assert index._store.int8
    assert pickle.loads(pickle.dumps(index))._store.int8
    index.compact()
    assert index._store.int8
    empty = fastvec.Index(dims=8)
    empty.add(int8_rows(9, 8))
    assert empty._store.int8
    empty.add(np.ones(8, np.float32) / 2)
    assert not empty._store.int8
    assert empty.fetch(9).tolist() == [[0.5] * 8]


def test_what_takes_float32_rows(tmp_path):
    rows = int8_rows(300, 33)
    plain, index = fastvec.Index(rows.astype(np.float32)), fastvec.Index(rows)
    assert_same(index.pairs(0.4), plain.pairs(0.4))
    assert_same(index.pairs(0.4, other=index), plain.pairs(0.4, other=plain))
    assert_same(plain.pairs(0.4, other=index), plain.pairs(0.4, other=plain))
    assert_same_bits(index.duplicates(0.4), plain.duplicates(0.4))
    assert_same(index.knn_graph(4, include_self=True), plain.knn_graph(4, include_self=True))
    questions = ([[1, 2], [3, 4]], [[5], [9]])
    for method in ("3cosadd", "3cosmul"):
        assert_same(index.analogy(*questions, 3, method=method), plain.analogy(*questions, 3, method=method))
    assert index._store.int8
    index.save(tmp_path / "rows")
    opened = fastvec.Index.open(tmp_path / "rows")
    opened.verify()
    assert_same(opened.search(rows[:9], 3), plain.search(rows[:9], 3))
    index.add(rows[:5])
    index.save(tmp_path / "rows")
    assert opened.refresh()
    assert_same(opened.search(rows[:9], 3), index.search(rows[:9], 3))
    opened.add(rows[9:13])
    opened.save(tmp_path / "rows")
    assert index.refresh()
    assert_same(index.search(rows[:9], 3), opened.search(rows[:9], 3))
    words = [str(i) for i in range(300)]
    of_int8, of_float32 = fastvec.Vocabulary(words, rows), fastvec.Vocabulary(words, rows.astype(np.float32))
    assert_same_bits(of_int8["7"], of_float32["7"])
    assert not of_int8["7"].flags.writeable
    assert of_int8.similarity("1", "2") == of_float32.similarity("1", "2")
    assert of_int8.most_similar(["1", "2"], ["9"], 5) == of_float32.most_similar(["1", "2"], ["9"], 5)
    assert of_int8.search(["4"], 5) == of_float32.search(["4"], 5)


def test_rows_that_changed_are_noticed():
    rows = int8_rows(400, 40)
    index = fastvec.Index(rows)
    query = rows[9].astype(np.float32)
    rows[9, :20] = 0
    with pytest.raises(RuntimeError, match="row 9 no longer matches"):
        index.search(query, 3)
    with pytest.raises(RuntimeError, match="row 9 no longer matches"):
        index.verify()


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_rows_of_signs(metric):
    """Unpacked bits: many equal scores, and codes of two values."""
    rows = fastvec.unpack_bits(np.packbits(hashed(2000, 64, 3) > 0, axis=1))
    index = fastvec.Index(rows, metric=metric)
    plain = rows.astype(np.float32)
    for m in (1, 30):
        assert_same_topk(index.search(rows[:m], 10), oracle.knn(plain[:m], plain, 10, metric=metric))
