"""Thresholds by exact scores, before a scan and where its log is full, are never too high.

A row that changed is seen there, too.
"""

import numpy as np
import oracle
import pytest
from assertions import assert_same_topk
from data import gaussian, related, tied
from test_screen import awkward, counted, embeddings

from fastvec import Index, machine
from fastvec._request import checked
from fastvec.kernels import encode, few, log, metrics, micro, refine, scan, seeds

PIVOTS = 64


@pytest.fixture(autouse=True)
def forced(monkeypatch):
    """Every search scans, however little there is to do."""
    monkeypatch.setenv("FASTVEC_MICRO_KERNEL", machine.active_micro_kernel())


def seeded(index, queries, k, neighbors, **options):
    """The state of a scan after seeds from pivots with these neighbors, and the least scores of k answers."""
    store = index._store
    request = checked(store, queries, k, metric=index.metric, **options)
    record, by_screens = micro.active(), store.screens(request)
    (piece,) = store.source(request, None, by_screens)(0, store.rows)
    originals = refine.originals(request.queries, request.squares, store.matrix, store.dims)
    packed = scan.packed(originals, record, record.tile_queries, 1, by_screens.basis, None)
    m, lanes = len(request.queries), len(packed.codes.correction)
    state = log.new_state(m, lanes, k, m * store.rows)
    pivots = piece.pivots
    if neighbors is not None:
        room = encode.empty(PIVOTS, store.screening.width)
        first = encode.gather(store.blocks[0].screened.encoded, np.arange(PIVOTS), room)
        pivots = seeds.Pivots(scan.rows_of(first, 0), np.ascontiguousarray(neighbors, np.int32))
    seeds.from_pivots(
        piece.screened, pivots, packed.screened, request.exclusions, originals, state, index.metric, record
    )
    return state, least(index, queries, k, **options)


def least(index, queries, k, where=None, exclude=None):
    """The exact k-th score of each query, −inf where fewer rows may be returned."""
    scores = oracle.scores(queries, index.vectors, index.metric)
    allowed = oracle.allowed_rows(len(queries), len(index), where, exclude)
    ranked = -np.sort(-np.where(allowed, scores, -np.inf), axis=1)
    return ranked[:, k - 1] if k <= len(index) else np.full(len(queries), -np.inf)


@pytest.mark.parametrize("metric", metrics.BOUNDED)
@pytest.mark.parametrize("k", [1, 10, 100])
def test_seeds_are_never_above_the_last_answer(k, metric):
    vectors = awkward(2500, 97, 1)
    index, queries = Index(vectors, metric=metric, screen=64), related(vectors, 37, 2)
    best = oracle.knn(queries, vectors, 64, metric).indices
    rng = np.random.default_rng(3)
    lists = {
        "as built": None,
        "one row": np.zeros((PIVOTS, 40)),
        "the best rows, each twice": np.repeat(np.resize(best, (PIVOTS, 64)), 2, axis=1),
        "the same rows for every pivot": np.tile(np.unique(best[:4])[:100], (PIVOTS, 1)),
        "any rows": rng.integers(0, 2500, (PIVOTS, 50)),
    }
    filters = [
        {},
        {"where": ~np.isin(np.arange(2500), best[:, :30])},
        {"exclude": best[:, :30]},
        {"where": rng.random((37, 2500)) < 0.1},
        {"where": np.arange(3)},
    ]
    raised = 0
    for name, neighbors in lists.items():
        for options in filters:
            state, limit = seeded(index, queries, k, neighbors, **options)
            assert (state.root <= limit).all(), name
            assert state.cursor[log.STALE] == -1
            raised += np.isfinite(state.root).sum()
            if name == "one row" and k > 1:
                assert (state.root == -np.inf).all(), "one row counts once"
    assert raised > 0


@pytest.fixture
def states(monkeypatch):
    """The state of every part of a scan, as it ends."""
    ended, filled = [], log.filled

    def recording(state):
        ended.append(state)
        return filled(state)

    monkeypatch.setattr(log, "filled", recording)
    return ended


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("metric", metrics.BOUNDED)
@pytest.mark.parametrize("m", [1, 2, 5])
def test_no_threshold_is_ever_above_the_last_answer(m, metric, states, monkeypatch):
    monkeypatch.setattr(few, "CODES_AT_ONCE", 0)
    vectors = awkward(2500, 97, 1)
    index, queries = Index(vectors, metric=metric, screen=64), related(vectors, m, 2)
    index.add(vectors[:1000])
    best = oracle.knn(queries, index.vectors, 30, metric).indices
    for k in (1, 10, 3400):
        for options in ({}, {"exclude": best}, {"where": np.arange(3500) % 3 > 0}):
            for num_threads in (1, 2):
                counted(index, queries, k, num_threads=num_threads, **options)
                limit = least(index, queries, k, **options)
                while states:
                    state = states.pop()
                    assert ((state.root <= limit) | state.left).all()


@pytest.mark.parametrize("metric", metrics.BOUNDED)
@pytest.mark.parametrize("change", [lambda row: -row, lambda row: row * np.nan, lambda row: row * 3])
def test_a_changed_row_is_seen_by_the_seeds(change, metric):
    if metric == "cosine" and change(1) == 3:
        pytest.skip("the cosine of a row does not depend on its length")
    vectors = embeddings(2500, 97, 1)
    index = Index(vectors, metric=metric, screen=64)
    row = int(np.linalg.norm(vectors, axis=1).argmax())  # by every metric nearest to itself
    queries = np.repeat(vectors[row : row + 1], 5, axis=0)
    vectors[row] = change(vectors[row])
    neighbors = np.arange(9 * PIVOTS).reshape(PIVOTS, 9)
    neighbors[:, 3] = row
    assert seeded(index, queries, 3, neighbors)[0].cursor[log.STALE] == row
    for m in (1, 5):
        with pytest.raises(RuntimeError, match=f"row {row} "):
            index.search(queries[:m], 3)


def crowded(n, index_of):
    """A query and rows whose scores are so near that lower ends tell too few apart, and exact ones do.

    Within two errors e below the best there are half of them, within one a quarter.
    """
    rng = np.random.default_rng(1)
    query = rng.standard_normal(97)
    query /= np.linalg.norm(query)
    others = rng.standard_normal((n, 97))
    others -= (others @ query)[:, None] * query
    others /= np.linalg.norm(others, axis=1, keepdims=True)

    def rows(spread):
        cosine = 0.9 - spread * rng.permutation(n)[:, None] / n
        return (cosine * query + np.sqrt(1 - cosine * cosine) * others).astype(np.float32)

    query = query.astype(np.float32)[None]
    record = micro.active()
    trial = index_of(rows(0.1))
    e = (
        trial._store.blocks[0].encoded.error.mean()
        + scan.pack(query, record.levels, record.tile_queries, 1).error[0]
    )
    return query, rows(4 * e), e


@pytest.mark.parametrize("choice", ["off", 64])
def test_queries_stay_that_exact_scores_help(choice, monkeypatch, states):
    query, vectors, e = crowded(12_000, lambda rows: Index(rows, screen="off"))
    scores = oracle.scores(query, vectors)[0]
    assert (scores > scores.max() - 1.8 * e).sum() > 4096, "these would all be kept by lower ends"
    index = Index(vectors, screen=choice)
    for m in (1, 3):
        states.clear()
        done = assert_right(index, np.repeat(query, m, axis=0), 10)
        assert done.direct == 0
        assert done.candidates <= m * 4096
        assert all((state.root > np.sort(scores)[-10] - e / 4).all() for state in states)


def assert_right(index, queries, k):
    answer, done = counted(index, queries, k, num_threads=1)
    assert_same_topk(answer, oracle.knn(queries, index.vectors, k, index.metric))
    return done


def test_a_changed_row_is_seen_where_the_log_is_full(states):
    query, vectors, _ = crowded(12_000, lambda rows: Index(rows, screen="off"))
    index = Index(vectors, screen="off")
    best = oracle.scores(query, vectors)[0].argsort()[-500:]
    vectors[best] *= -1
    with pytest.raises(RuntimeError, match="vectors changed since the Index was built"):
        index.search(np.repeat(query, 3, axis=0), 1)
    assert states[-1].cursor[log.STALE] in best


@pytest.mark.parametrize("m", [1, 3, 70])
def test_equal_rows_are_left_to_the_exact_pass(m):
    vectors = tied(20_000, 97, 1)
    index = Index(vectors, screen=64)
    done = assert_right(index, related(vectors, m, 1), 10)
    assert (done.direct, done.candidates, done.rescored) == (m, 0, 0)


@pytest.mark.parametrize("choice", ["off", 64])
def test_of_many_queries_those_leave_that_nothing_helps(choice):
    vectors = np.concatenate([gaussian(5000, 97, 1), tied(20_000, 97, 9)])
    queries = np.concatenate([vectors[:6], vectors[-1:]])
    done = assert_right(Index(vectors, screen=choice), queries, 10)
    assert done.direct == 1
    assert done.candidates < 6 * 5000


def test_where_a_query_leaves_those_go_with_it_whose_exact_scores_take_longer():
    query, vectors, _ = crowded(12_000, lambda rows: Index(rows, screen="off"))
    equal = np.repeat(-query, 12_000, axis=0)
    index = Index(np.concatenate([vectors, equal]), screen="off")
    near = vectors[:1]
    assert assert_right(index, np.concatenate([query, near, query]), 10).direct == 0
    done = assert_right(index, np.concatenate([query, near, -query]), 10)
    assert done.direct == 2, "the query among equal rows, and the one that keeps a quarter of its rows"


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("times", [1.5, 3])
def test_the_log_stays_bounded(times, monkeypatch):
    """A tile of queries with 8k tied rows, the most that a query may keep, of which all pass the screen."""
    monkeypatch.setattr(log, "CAPACITY", 1 << 17)  # sooner full
    tile = micro.active().tile_queries
    k = int(times * log.CAPACITY) // (8 * tile)
    vectors = np.ones((8 * k, 65), np.float32)
    index = Index(vectors, screen=64)
    for count in (1, 2):
        scores, indices = index.search(vectors[:tile], k, num_threads=count)
        assert (scores == 1.0).all()
        assert (indices == np.arange(k)).all()
