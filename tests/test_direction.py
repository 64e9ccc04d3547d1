"""Codes with a direction change no answer, and rows get one only where it pays.

The proof behind them is attacked in ``test_bound.py``.
"""

import pickle

import numpy as np
import oracle
import pytest
from assertions import assert_same_bits, assert_same_topk
from data import (
    exclusions,
    filters,
    gaussian,
    hashed,
    matrices,
    mean_of,
    metrics_and_micro_kernels,
    mixed,
    one_hot,
    related,
    seeds,
    sharing,
)
from hypothesis import given
from hypothesis import strategies as st

from fastvec import Index, knn, machine
from fastvec._request import checked
from fastvec._stores import cpu, directions
from fastvec._stores.passes import search
from fastvec.kernels import direction, encode, metrics, micro

ACTIVE = machine.active_micro_kernel()
PAIRS = metrics_and_micro_kernels()


@pytest.fixture(autouse=True)
def forced(monkeypatch):
    """Every search scans, however little there is to do."""
    monkeypatch.setenv("FASTVEC_MICRO_KERNEL", ACTIVE)


def awkward(n, dims, seed=0):
    """Rows that share a direction, and among them rows of every kind, opposite ones, and equal ones."""
    vectors = sharing(n, dims, seed)
    vectors[::5] = mixed(len(vectors[::5]), dims, seed + 1)
    vectors[1::11] *= -1
    vectors[n // 2 :: 7] = vectors[: len(vectors[n // 2 :: 7])]
    return vectors


@pytest.fixture
def divided(monkeypatch):
    """A function that makes an Index with a direction, whatever its rows are."""

    def make(vectors, lead=64, **options):
        dims = np.shape(vectors)[1]
        along = direction.measured(mean_of(sharing(50, dims)), lead)
        with monkeypatch.context() as patch:
            patch.setattr(directions, "direction_for", lambda rows, queries=None: along)
            return Index(vectors, **options)

    return make


def assert_exact(index, queries, k, **options):
    """The answer is the oracle's, and comes from codes with a direction, where a scan gave it."""
    assert all(block.direction is not None for block in index._store.blocks)
    wanted = oracle.knn(queries, np.asarray(index.vectors), k, metric=index.metric, **options)
    assert_same_topk(index.search(queries, k, **options), wanted)


@pytest.mark.parametrize(("metric", "name"), PAIRS)
def test_every_micro_kernel_and_batch(divided, metric, name, monkeypatch):
    monkeypatch.setenv("FASTVEC_MICRO_KERNEL", name)
    vectors = awkward(1500, 97, 1)
    queries = np.concatenate([related(vectors, 100, 2), np.zeros((1, 97), np.float32), -sharing(9, 97, 3)])
    for lead in (64, 256):
        index = divided(vectors, lead, metric=metric)
        for m, k, num_threads in ((1, 1, 1), (1, 10, 2), (2, 10, 1), (17, 10, 2), (110, 3, 2), (110, 150, 1)):
            assert_exact(index, queries[-m:], k)
            assert_same_topk(
                index.search(queries[-m:], k, num_threads=num_threads), index.search(queries[-m:], k)
            )


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_filters_and_fewer_columns(divided, metric):
    vectors = awkward(1300, 97, 1)
    index, queries = divided(vectors, metric=metric), related(vectors, 40, 2)
    mask, few = np.arange(1300) % 3 > 0, np.arange(1300) % 50 == 7
    for dims in (None, 1, 31, 64, 96):
        for options in ({}, {"where": mask}, {"where": few}, {"exclude": [[1, 2, 900]] * 40}):
            for m in (1, 40):
                cut = {key: value[:m] if key == "exclude" else value for key, value in options.items()}
                assert_exact(index, queries[:m], 7, dims=dims, **cut)


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_rows_added_later(divided, metric, monkeypatch):
    monkeypatch.setattr("fastvec._stores.blocks.IN_PLACE_BYTES", 100_000)
    vectors = awkward(1500, 97, 1)
    index, queries = divided(vectors[:700], metric=metric), related(vectors, 40, 2)
    for first, last in ((700, 703), (703, 900), (900, 901), (901, 1500)):
        index.add(vectors[first:last])
        for m in (1, 40):
            assert_exact(index, queries[:m], 10)
    assert len(index._store.blocks) > 2
    index.verify()
    assert_same_topk(pickle.loads(pickle.dumps(index)).search(queries, 10), index.search(queries, 10))


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_graphs_ranges_and_analogies(divided, metric):
    vectors = awkward(900, 97, 1)
    pair = [divided(vectors, metric=metric, screen="off"), Index(vectors, metric=metric, screen="off")]
    assert pair[1]._store.blocks[0].direction is None
    assert_same_topk(*(index.knn_graph(5) for index in pair))
    queries = related(vectors, 30, 2)
    scores = np.sort(oracle.scores(queries, vectors, metric), axis=None)
    for least in scores[[0, -15_000, -300, -1]]:
        for options in ({}, {"dims": 40}, {"exclude": [[1, 2]] * 30}):
            with np.errstate(over="ignore"):
                rounded = np.float32(least)
            found, wanted = (index.range_search(queries, rounded, **options) for index in pair)
            for actual, expected in zip(found, wanted, strict=True):
                assert_same_bits(actual, expected)
    if metric == "cosine":
        for count in (1, 20):
            question = ([[1, 2]] * count, [[3]] * count, 5)
            assert_same_topk(*(index.analogy(*question) for index in pair))


@st.composite
def problems(draw):
    dims = draw(st.sampled_from((1, 33, 64, 65)))
    vectors = draw(matrices(st.sampled_from((1, 17, 65, 300)), st.just(dims)))
    m = draw(st.sampled_from((1, 2, 17)))
    queries = related(vectors, m, draw(seeds))
    where, exclude = draw(filters(len(vectors))), draw(exclusions(m, len(vectors)))
    used = draw(st.sampled_from((None, 1, dims)))
    return vectors, queries, draw(st.sampled_from(tuple(metrics.BOUNDED))), where, exclude, used


@given(problem=problems(), k=st.sampled_from((1, 5, 20)), seed=seeds, lead=st.sampled_from((64, 192)))
def test_any_problem_and_any_direction(problem, k, seed, lead):
    vectors, queries, metric, where, exclude, dims = problem
    random = gaussian(1, vectors.shape[1], seed)[0]
    along = direction.measured(random / max(np.float32(0.1), np.linalg.norm(random)) * np.float32(0.8), lead)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(directions, "direction_for", lambda rows, queries=None: along)
        index = Index(vectors, metric=metric)
    actual = index.search(queries, k, where=where, exclude=exclude, dims=dims)
    assert_same_topk(actual, oracle.knn(queries, vectors, k, metric, dims, where, exclude))


def test_rows_that_share_a_direction_get_it_and_others_do_not():
    for rows in (sharing(400, 130), sharing(5000, 384), -sharing(3000, 200) * np.float32(1e-30)):
        along = Index(rows)._store.blocks[0].direction
        assert along is not None
        assert along.lead in (64, 128, 192, 256)
        assert np.linalg.norm(along.vector) < 1
    alike = np.repeat(sharing(1, 130), 400, axis=0)  # no code tells them apart
    for rows in (
        hashed(400, 130),
        gaussian(5000, 384),
        one_hot(400, 130),
        alike,
        sharing(400, 65),
        sharing(200, 130),
    ):
        assert directions.direction_for(rows) is None


def test_a_direction_leaves_fewer_candidates():
    vectors, queries = sharing(5000, 384), sharing(64, 384, 1)
    counts = []
    for along in (None, directions.direction_for(vectors)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(directions, "direction_for", lambda rows, queries=None, along=along: along)
            index = Index(vectors, screen="off")
        request = checked(index._store, queries, 10, metric="cosine")
        counts.append(search(index._store, request)[1].candidates)
    assert counts[1] < 0.4 * counts[0]


def test_one_search_of_many_queries_uses_a_direction(monkeypatch):
    vectors, queries = sharing(3000, 200), sharing(300, 200, 1)
    chosen, found = directions.direction_for, []

    def noted(rows, queries=None):
        found.append(chosen(rows, queries))
        return found[-1]

    monkeypatch.setattr(directions, "direction_for", noted)
    monkeypatch.delenv("FASTVEC_MICRO_KERNEL")
    for dims in (None, 130):
        assert_same_topk(knn(queries, vectors, 5, dims=dims), oracle.knn(queries, vectors, 5, dims=dims))
        request = checked(cpu.one_shot(vectors), queries, 5, metric="cosine", dims=dims)
        search(cpu.one_shot(vectors), request)
    assert len(found) == 4
    assert all(along is not None for along in found)
    knn(queries[:200], vectors, 5)
    assert found[4:] in ([], [None])


def test_rows_that_are_not_finite_or_were_changed_are_named():
    for bad in (np.nan, np.inf):
        for place in (0, 17, 399):
            rows = sharing(400, 130)
            rows[place, 5] = bad
            with pytest.raises(ValueError, match=f"row {place}: "):
                Index(rows)
            with pytest.raises(ValueError, match=f"row {place}: "):
                knn(rows[place - 1 : place] if place else rows[1:2], rows, 3)
    rows = sharing(400, 130)
    index = Index(rows)
    index.verify()
    rows[123] *= np.float32(1.5)
    with pytest.raises(RuntimeError, match="row 123 "):
        index.verify()


def test_queries_filled_in_one_by_one_are_those_packed_together():
    vectors, record = awkward(300, 97), micro.active()
    for along in (directions_of_all(vectors), directions_of_all(vectors).prefix(33)):
        dims = len(along.vector)
        rows = np.ascontiguousarray(vectors[:, :dims])
        packed = direction.pack(rows, record.levels, 0, 1, along)
        room = encode.room_for(300, direction.width(dims, along))
        direction.fill(room, rows, record.levels, along)
        assert len(direction.full(room).encoded.codes) == 0
        for name in ("codes", "correction", "scale", "error", "norm"):
            assert_same_bits(getattr(room.queries, name), getattr(packed, name))


def directions_of_all(vectors):
    return direction.measured(mean_of(sharing(50, vectors.shape[1])), 128)


def test_a_screen_that_is_asked_for_takes_the_place_of_a_direction(divided):
    vectors = awkward(1500, 97, 1)
    index, queries = divided(vectors, screen=64), related(vectors, 40, 2)
    assert (index.screen, index._store.blocks[0].direction) == (64, None)
    for m in (1, 40):
        assert_same_topk(index.search(queries[:m], 10), oracle.knn(queries[:m], vectors, 10))
