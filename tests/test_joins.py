"""Pairs that reach a score, and groups of rows that they connect."""

import threading
from types import SimpleNamespace

import numpy as np
import oracle
import pytest
from assertions import assert_same_bits, words
from data import (
    COUNTS,
    KINDS,
    filters,
    gaussian,
    matrices,
    metrics_and_micro_kernels,
    mixed,
    seeds,
    sharing,
    tied,
    widths,
)
from hypothesis import given
from hypothesis import strategies as st

import fastvec
from fastvec._snapshot import Snapshot
from fastvec._stores import short_codes
from fastvec.kernels import cost, join, log, metrics, scan, threads

METRICS = list(metrics.TABLE)


def assert_same_pairs(actual, expected):
    assert type(actual) is fastvec.Pairs
    for ours, theirs in zip(actual, expected, strict=True):
        assert_same_bits(ours, theirs)


def some_scores(vectors, metric, dims=None):
    """Scores that pairs have, so that there are ties at the border, and the extremes."""
    with np.errstate(over="ignore"):
        published = np.sort(oracle.publish(oracle.scores(vectors, vectors, metric, dims)), axis=None)
    places = (np.array([0.0, 0.5, 0.97, 1.0]) * (len(published) - 1)).astype(int)
    return [-np.inf, *published[places].tolist(), np.inf]


@pytest.fixture
def short(monkeypatch):
    """Joins use short codes wherever they can."""
    monkeypatch.setattr(cost, "short_codes_pay", lambda *_: True)
    monkeypatch.setattr(short_codes, "_LEAST_ROWS", 1)
    monkeypatch.setattr(short_codes, "_SAMPLE", 100)


@pytest.fixture
def small(monkeypatch):
    """Logs, blocks and parts of a few hundred entries."""
    monkeypatch.setattr(scan, "_RANGE_LOG", 1 << 8)
    monkeypatch.setattr(join, "_PAIRS", 1)
    monkeypatch.setattr(join, "_LEAST_PAIRS", 500)
    monkeypatch.setattr(join, "_SCORED", 64)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dims", [None, 19])
def test_pairs_of_difficult_rows(metric, dims):
    vectors = mixed(400, 33, 1)
    index = fastvec.Index(vectors, metric=metric)
    for least in some_scores(vectors, metric, dims):
        expected = oracle.pairs(vectors, least, metric, dims)
        assert_same_pairs(index.pairs(least, dims=dims), expected)
        assert_same_bits(index.duplicates(least, dims=dims), oracle.duplicates(vectors, least, metric, dims))


@pytest.mark.parametrize(("metric", "micro_kernel"), metrics_and_micro_kernels())
def test_every_micro_kernel_and_number_of_threads_gives_the_same_bits(monkeypatch, metric, micro_kernel):
    monkeypatch.setenv("FASTVEC_MICRO_KERNEL", micro_kernel)
    vectors = mixed(1025, 70, 2)
    index = fastvec.Index(vectors, metric=metric)
    least = some_scores(vectors, metric)[3]
    expected = oracle.pairs(vectors, least, metric)
    groups = oracle.duplicates(vectors, least, metric)
    for num_threads in (1, 2, 3):
        assert_same_pairs(index.pairs(least, num_threads=num_threads), expected)
        assert_same_bits(index.duplicates(least, num_threads=num_threads), groups)


@pytest.mark.parametrize("n", [0, 1, 2, 15, 16, 17, 63, 64, 65, 1023, 1024, 1025])
def test_borders_of_blocks(n):
    vectors = mixed(n, 16, 3)
    index = fastvec.Index(vectors)
    for least in (-1.0, 0.5):
        expected = oracle.pairs(vectors, least)
        assert_same_pairs(index.pairs(least), expected)
        assert_same_bits(index.duplicates(least), oracle.duplicates(vectors, least))


@pytest.mark.parametrize("metric", METRICS)
def test_parts_joined_are_the_whole(small, metric):
    """A block with too many pairs is cut, down to single rows, and parts stay small."""
    vectors = np.concatenate([gaussian(700, 8, 1), tied(60, 8, 2), gaussian(700, 8, 3)])
    index = fastvec.Index(vectors, metric=metric)
    for least in some_scores(vectors, metric)[:4]:
        expected = oracle.pairs(vectors, least, metric)
        parts = list(index.pairs_blocks(least, num_threads=2))
        whole = [np.concatenate([part[place] for part in parts]) for place in range(3)]
        assert_same_pairs(fastvec.Pairs(*whole), expected)
        assert len(expected.left) < 2000 or len(parts) > 10
        for part in parts:
            assert len(part.left) <= 500 or len(np.unique(part.left)) == 1
        assert_same_bits(index.duplicates(least), oracle.duplicates(vectors, least, metric))


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_short_codes_change_nothing(short, small, metric):
    vectors = np.concatenate([mixed(500, 200, 4), gaussian(300, 200, 5)])
    vectors[600:620] = vectors[:20] + np.float32(1e-3) * gaussian(20, 200, 6)
    index = fastvec.Index(vectors[:500], metric=metric)
    index.add(vectors[500:])
    assert short_codes.of(index._store, metric, 200, 0.5, 10**9, 1)[1] is not None
    where = np.random.default_rng(1).random(len(vectors)) < 0.8
    for least in some_scores(vectors, metric):
        assert_same_pairs(index.pairs(least), oracle.pairs(vectors, least, metric))
        expected = oracle.pairs(vectors, least, metric, where=where)
        assert_same_pairs(index.pairs(least, where=where), expected)
    assert index._store.blocks[0].screened is None


def test_short_codes_are_left_where_they_do_not_pay(monkeypatch):
    monkeypatch.setattr(short_codes, "_LEAST_ROWS", 1)
    store = fastvec.Index(gaussian(3000, 1024, 1), screen="off")._store
    assert short_codes.of(store, "cosine", 1024, 0.9, 10**12, 1)[1] is not None
    for root, pairs, dims in ((-1.0, 10**12, 1024), (0.9, 10**6, 1024), (0.9, 10**12, 1023)):
        blocks, screens = short_codes.of(store, "cosine", dims, root, pairs, 1)
        assert screens is None
        assert blocks is store.blocks


def test_rows_in_several_blocks_and_beside_a_direction():
    vectors = sharing(900, 130, 1)
    index = fastvec.Index(vectors[:400])
    assert index._store.direction(130) is not None
    index.add(vectors[400:410])
    index.add(vectors[410:])
    for dims in (None, 70):
        expected = oracle.pairs(vectors, 0.7, dims=dims)
        assert len(expected.left) > 100
        assert_same_pairs(index.pairs(0.7, dims=dims), expected)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_where(metric, share):
    """Both rows of a pair must pass; of few, the codes are gathered."""
    vectors = mixed(600, 20, 5)
    index = fastvec.Index(vectors, metric=metric)
    where = np.random.default_rng(2).random(600) < share
    least = some_scores(vectors, metric)[3]
    expected = oracle.pairs(vectors, least, metric, where=where)
    assert_same_pairs(index.pairs(least, where=where), expected)
    assert_same_pairs(index.pairs(least, where=np.flatnonzero(where)[::-1]), expected)


@pytest.mark.parametrize("metric", METRICS)
def test_two_sets(metric):
    vectors, others = mixed(300, 24, 1), mixed(170, 24, 2)
    index, where = fastvec.Index(vectors, metric=metric), np.arange(300) % 3 > 0
    other = fastvec.Index(others[:90], metric=metric)
    other.add(others[90:])
    least = some_scores(np.concatenate([vectors, others]), metric)[3]
    for options in ({}, {"dims": 9}, {"where": where}):
        expected = oracle.pairs(vectors, least, metric, other=others, **options)
        assert_same_pairs(index.pairs(least, other=other, **options), expected)
        assert_same_pairs(index.pairs(least, other=others.tolist(), **options), expected)
    expected = oracle.pairs(vectors, least, metric, dims=9, other=others)
    assert_same_pairs(index.pairs(least, other=others[:, :9], dims=9), expected)
    beyond = others.copy()
    beyond[:, 9:] = np.nan  # which are not read
    assert_same_pairs(index.pairs(least, other=beyond, dims=9), expected)
    assert_same_pairs(
        index.pairs(least, other=others[:0]), oracle.pairs(vectors, least, metric, other=others[:0])
    )
    again = index.pairs(least, other=index)
    assert len(again.left) >= 2 * len(index.pairs(least).left)  # both directions, and rows with themselves


@given(
    matrices(counts=st.sampled_from(COUNTS[:-1]), widths=widths),
    st.sampled_from(METRICS),
    st.sampled_from([1, 2, 3, 4]),
    st.none() | st.integers(1, 40),
    seeds,
    st.data(),
)
def test_any_rows(vectors, metric, place, dims, seed, data):
    dims = None if dims is None else min(dims, vectors.shape[1])
    least = some_scores(vectors, metric, dims)[place]
    where = data.draw(filters(len(vectors)))
    index = fastvec.Index(vectors, metric=metric)
    expected = oracle.pairs(vectors, least, metric, dims, where)
    assert_same_pairs(index.pairs(least, dims=dims, where=where, num_threads=1 + seed % 3), expected)
    assert_same_bits(index.duplicates(least, dims=dims), oracle.duplicates(vectors, least, metric, dims))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_pair_has_the_same_bits_in_both_directions(metric, kind):
    vectors = KINDS[kind](40, 37, 1)
    index = fastvec.Index(vectors, metric=metric)
    there = index.pairs(-np.inf, other=vectors)
    scores = there.scores.reshape(40, 40)
    assert_same_bits(scores, np.ascontiguousarray(scores.T))
    assert_same_bits(index.pairs(-np.inf).scores, scores[np.triu_indices(40, 1)])


@pytest.mark.parametrize("metric", METRICS)
def test_equal_rows_stand_for_each_other(metric):
    """Zeros, which score 0 with themselves, too, and rows that are only near to a longer one."""
    rows = np.array([[0, 0], [3, 0], [1, 0], [0, 2], [-0.0, 0], [1, 0], [30, 0], [0, 0], [0, 2]], np.float32)
    vectors = rows[np.random.default_rng(1).integers(0, len(rows), 120)]
    index = fastvec.Index(vectors, metric=metric)
    for least in (-100, -1.5, -1, -0.0, 0.0, 0.5, 1, 2, 3.5, 4, 20, 900, 901, np.inf):
        assert_same_bits(index.duplicates(least), oracle.duplicates(vectors, least, metric))


def test_equal_rows_take_no_time_of_pairs(monkeypatch):
    """Only one of them is joined, in memory of a few numbers a row."""
    joined = []
    unite = join.unite
    monkeypatch.setattr(
        join, "unite", lambda found, forest: (joined.append(found.lefts), unite(found, forest))
    )
    vectors = np.repeat(gaussian(3, 16, 1), 70_000, axis=0)
    index = fastvec.Index(vectors, screen="off")
    np.testing.assert_array_equal(index.duplicates(0.99), np.repeat([0, 70_000, 140_000], 70_000))
    assert joined == [3]


def test_rows_near_each_other_are_grouped_without_holding_their_pairs():
    """Every two of these rows are a pair: 20 bytes for each would be 1.4 GB."""
    tracemalloc = pytest.importorskip("tracemalloc")
    vectors = gaussian(1, 32, 1) + np.float32(1e-3) * gaussian(12_000, 32, 2)
    index = fastvec.Index(vectors)
    index.duplicates(0.9, num_threads=2)
    tracemalloc.start()
    try:
        group = index.duplicates(0.9, num_threads=2)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not group.any()
    assert most < 200e6


@pytest.mark.parametrize("call", ["pairs", "duplicates"])
def test_a_changed_row_is_named(call):
    vectors = np.repeat(gaussian(1, 16, 1), 50, axis=0) + np.float32(0.01) * gaussian(50, 16, 2)
    index = fastvec.Index(vectors)
    vectors[20] *= -1
    with pytest.raises(RuntimeError, match="row 20"):
        getattr(index, call)(0.5)
    vectors[20] = np.nan
    for metric in ("cosine", "manhattan"):
        vectors[20] = 1
        index = fastvec.Index(vectors, metric=metric)
        vectors[20] = np.nan
        with pytest.raises(RuntimeError, match="row 20"):
            getattr(index, call)(-1e9)


@pytest.mark.parametrize("call", ["pairs", "duplicates"])
def test_interruption(monkeypatch, call):
    """An exception of a handler ends the call, and the next one is right."""
    vectors = gaussian(3000, 16, 1)
    index = fastvec.Index(vectors)
    expected = getattr(index, call)(0.6, num_threads=2)
    all_squares, main = join.rows.all_squares, threading.current_thread()

    def interrupted(*arguments):
        if threading.current_thread() is main:
            raise KeyboardInterrupt
        return all_squares(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(join.rows, "all_squares", interrupted)
        with pytest.raises(KeyboardInterrupt):
            getattr(index, call)(0.6, num_threads=2)
    for ours, theirs in zip(getattr(index, call)(0.6, num_threads=2), expected, strict=True):
        assert_same_bits(ours, theirs)


def test_rows_that_are_added_meanwhile_do_not_take_part(monkeypatch, small):
    index = fastvec.Index(gaussian(2000, 8, 1))
    expected = index.pairs(0.8)
    parts = index.pairs_blocks(0.8)
    first = next(parts)
    index.add(gaussian(100, 8, 2))
    rest = list(parts)
    assert rest
    assert_same_bits(np.concatenate([part.right for part in (first, *rest)]), expected.right)


def test_pairs_beyond_memory(monkeypatch):
    monkeypatch.setattr("fastvec.joins._CHECKED", 100)
    monkeypatch.setattr("fastvec._memory.available", lambda: 1000)
    with pytest.raises(MemoryError, match=words("pairs", r"0\.1", "pairs_blocks")):
        fastvec.Index(gaussian(500, 8, 1)).pairs(0.1)


def test_thresholds_in_any_floating_point_mode(flushing):
    vectors = mixed(200, 9, 1, ("subnormal", "tiny", "zero"))
    index = fastvec.Index(vectors, metric="dot")
    for least in (1e-45, 0.0, -1e-45, 1e-40):
        expected, groups = index.pairs(least), index.duplicates(least)
        assert_same_pairs(expected, oracle.pairs(vectors, least, "dot"))
        with flushing():
            actual, again = index.pairs(least), index.duplicates(least)
        assert_same_pairs(actual, expected)
        assert_same_bits(again, groups)


def test_errors():
    index = fastvec.Index(gaussian(9, 4, 1))
    other = fastvec.Index(gaussian(9, 4, 1), metric="dot")
    nan = np.full((2, 4), np.nan)
    for call in (index.pairs, index.pairs_blocks, index.duplicates):
        with pytest.raises(ValueError, match=words("min_score", "NaN")):
            call(np.nan)
        with pytest.raises(TypeError, match=words("min_score", "number")):
            call("0.9")
        with pytest.raises(ValueError, match=words("dims", "4")):
            call(0.9, dims=5)
        with pytest.raises(ValueError, match="num_threads is 0"):
            call(0.9, num_threads=0)
    for call in (index.pairs, index.pairs_blocks):
        for wrong, message in (
            (gaussian(3, 5, 1), ["other", "5", "4"]),
            (fastvec.Index(gaussian(3, 5, 1)), ["other", "5", "4"]),
            (other, ["other", "dot", "cosine"]),
            (nan, ["other|vectors", "NaN"]),
        ):
            with pytest.raises(ValueError, match=words(*message)):
                call(0.9, other=wrong)
        with pytest.raises(IndexError, match=words("where", "9")):
            call(0.9, where=[9])
        with pytest.raises(ValueError, match="where has two dimensions"):
            call(0.9, where=np.ones((9, 9), bool))
    for include_self in (False, True):
        for options, message in (({"k": 0}, "k is 0"), ({"k": 1, "num_threads": 0}, "num_threads is 0")):
            with pytest.raises(ValueError, match=message):
                index.knn_graph(**options, include_self=include_self)


def test_devices_that_cannot_join_say_so():
    index = fastvec.Index(gaussian(9, 4, 1))
    index._rows.seen = Snapshot(SimpleNamespace(device="cuda", rows=9, dims=4))
    for call in (index.pairs, index.pairs_blocks, index.duplicates):
        with pytest.raises(NotImplementedError, match=words("device='cuda'", "cpu")):
            call(0.9)
    ours = fastvec.Index(gaussian(9, 4, 1))
    with pytest.raises(NotImplementedError, match=words("device='cuda'")):
        ours.pairs(0.9, other=index)


def test_an_exception_in_a_part_is_raised(monkeypatch):
    monkeypatch.setattr(threads, "check", lambda: (_ for _ in ()).throw(ValueError("no")))
    with pytest.raises(ValueError, match="no"):
        fastvec.Index(gaussian(3000, 16, 1), metric="manhattan").pairs(-1)


@pytest.mark.parametrize("metric", METRICS)
def test_knn_graph_with_each_row_itself(metric):
    vectors = mixed(300, 20, 1)
    index = fastvec.Index(vectors, metric=metric)
    itself = oracle.publish(np.diag(oracle.scores(vectors, vectors, metric)))
    for k in (1, 2, 7, 400):
        actual = index.knn_graph(k, include_self=True)
        assert_same_bits(actual.indices[:, 0], np.arange(300))
        assert_same_bits(actual.scores[:, 0], itself)
        if k > 1:
            others = index.knn_graph(k - 1)
            assert_same_bits(actual.indices[:, 1:], others.indices)
            assert_same_bits(actual.scores[:, 1:], others.scores)
    with pytest.raises(TypeError, match="include_self"):
        index.knn_graph(2, include_self="yes")


def test_a_log_that_is_emptied_between_chunks_holds_every_hit(monkeypatch):
    """The same entries, in whatever parts the log hands them over."""
    vectors = gaussian(5000, 8, 1)
    index = fastvec.Index(vectors)
    expected = index.range_search(vectors[:40], -1.0)
    emptied, empty = [], log.empty
    monkeypatch.setattr(log, "empty", lambda state: (emptied.append(1), empty(state)))
    monkeypatch.setattr(scan, "_RANGE_LOG", 1)
    actual = index.range_search(vectors[:40], -1.0, num_threads=1)
    assert len(emptied) >= 3
    for ours, theirs in zip(actual, expected, strict=True):
        assert_same_bits(ours, theirs)
