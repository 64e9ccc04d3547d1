"""Searches for few queries use memory again: never two at once, and never what an earlier one left there."""

import contextlib
import os
import threading
import warnings

import numpy as np
import oracle
import pytest
from assertions import assert_same_topk
from data import gaussian, mixed, related, tied

import fastvec
from fastvec.kernels import few, log

N, DIMS = 900, 40


@pytest.fixture(autouse=True)
def nothing_kept():
    """Every test begins with no memory."""
    few._kept.memory.clear()
    yield
    few._kept.memory.clear()


@pytest.fixture
def vectors():
    return np.concatenate([gaussian(N - 100, DIMS, 1), mixed(100, DIMS, 2)])


@pytest.fixture
def between(monkeypatch):
    """Make a function run within searches: where their memory is in use, before and after the kernel."""

    def arrange(hook):
        original = few._search_by_codes

        def hooked(*names):
            def call(*arguments):
                hook()
                finite = original(*names)(*arguments)
                hook()
                return finite

            return call

        monkeypatch.setattr(few, "_search_by_codes", hooked)

    return arrange


def test_what_an_earlier_search_left_changes_nothing(vectors):
    """The same sizes for other queries, filters and rows, answered from used memory and from new."""
    other = tied(N, DIMS, 3)
    indexes = {metric: fastvec.Index(vectors, metric=metric) for metric in ("cosine", "dot", "euclidean")}
    allowed = np.arange(N) % 3 > 0
    options = [
        {},
        {"exclude": [3]},
        {"exclude": list(range(5))},
        {"exclude": list(range(200))},
        {"where": allowed},
        {"where": allowed[None]},
        {"dims": 17},
        {},
    ]
    for metric, index in indexes.items():
        for i, chosen in enumerate(options):
            query = related(vectors, 1, i)[0]
            expected = oracle.knn(query, vectors, 7, metric, **chosen)
            assert_same_topk(index.search(query, 7, **chosen), expected)
            few._kept.memory.clear()
            assert_same_topk(index.search(query, 7, **chosen), expected)
    same, query = fastvec.Index(other), other[5]
    for _ in range(2):
        assert_same_topk(same.search(query, 7), oracle.knn(query, other, 7))
        assert_same_topk(indexes["cosine"].search(query, 7), oracle.knn(query, vectors, 7))


def test_answers_do_not_change_with_the_next_search(vectors):
    index = fastvec.Index(vectors)
    first = index.search(vectors[0], 5)
    kept = [part.copy() for part in first]
    index.search(vectors[1], 5)
    assert (first.scores == kept[0]).all()
    assert (first.indices == kept[1]).all()


def test_memory_is_taken_again(vectors):
    index = fastvec.Index(vectors)
    index.search(vectors[0], 5)
    (own,) = few._kept.memory.values()
    fastvec.Index(vectors[:600]).search(vectors[1], 5)
    assert [*few._kept.memory.values()] == [own]
    index.add(vectors[:1] * 2)  # a piece of its own, of another size
    index.search(vectors[1], 5)
    index.search(vectors[2], 5)
    first, second = few._kept.memory.values()
    assert first is own or second is own


def test_a_search_within_a_search_has_memory_of_its_own(vectors, between):
    """As when a signal's handler searches."""
    index, depth, nested = fastvec.Index(vectors), [0], []

    def hook():
        if depth[0] < 2:
            depth[0] += 1
            nested.append(index.search(vectors[50 + depth[0]], 5))
            depth[0] -= 1

    between(hook)
    assert_same_topk(index.search(vectors[3], 5), oracle.knn(vectors[3], vectors, 5))
    assert len(nested) == 6
    for row, answer in zip((52, 52, 51, 52, 52, 51), nested, strict=True):
        assert_same_topk(answer, oracle.knn(vectors[row], vectors, 5))
    assert len(few._kept.memory) == 1


def test_threads_within_one_search_at_the_same_time(vectors, between):
    index, meeting = fastvec.Index(vectors), threading.Barrier(4)
    between(lambda: meeting.wait(timeout=60))
    answers = {}

    def call(row):
        for _ in range(3):
            answers[row] = index.search(vectors[row], 5)

    callers = [threading.Thread(target=call, args=(row,)) for row in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for row in range(4):
        assert_same_topk(answers[row], oracle.knn(vectors[row], vectors, 5))


def test_memory_of_a_search_that_was_left_is_not_taken_again(vectors, between):
    index, left, used = fastvec.Index(vectors), [0], []
    expected = oracle.knn(vectors[3], vectors, 5)
    index.search(vectors[3], 5)
    (own,) = few._kept.memory.values()

    def hook():
        used.append(own in few._kept.memory.values())
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    between(hook)
    for calls in (1, 2):
        left[0] = calls
        with pytest.raises(KeyboardInterrupt):
            index.search(vectors[4], 5)
        assert few._kept.memory == {}
        left[0] = 0
        assert_same_topk(index.search(vectors[3], 5), expected)
    assert not any(used)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_within_a_search(vectors, between):
    index, children = fastvec.Index(vectors), []
    expected = oracle.knn(vectors[3], vectors, 5)

    def hook():
        if len(children) < 2 and 0 not in children:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                children.append(os.fork())

    between(hook)
    try:
        answer = index.search(vectors[3], 5)
    finally:
        if 0 in children:  # a child: its search, and one more
            good = False
            with contextlib.suppress(BaseException):
                assert_same_topk(answer, expected)
                assert_same_topk(index.search(vectors[3], 5), expected)
                good = True
            os._exit(0 if good else 1)
    assert_same_topk(answer, expected)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]


def test_little_memory_is_kept(vectors):
    index = fastvec.Index(vectors)
    for k in range(1, 12):
        index.search(vectors[0], k)
    assert len(few._kept.memory) == few._KEPT_SIZES
    few._kept.memory.clear()
    wide = fastvec.Index(np.ones((300_000, 1), np.float32))
    wide.search([1.0], 20_000)
    assert few._kept.memory == {}
    assert log.nbytes(log.new_state(1, 1, 20_000, 1 << 19)) > few._KEPT_BYTES


def test_what_depends_on_the_index_alone_is_made_once(vectors, monkeypatch):
    rows, filters, index = [], [], fastvec.Index(vectors)
    for name, made in (("_ROWS", rows), ("_WHOLE", filters)):
        layout = getattr(few, name)
        monkeypatch.setattr(
            layout, "of", lambda *record, of=layout.of, made=made: made.append(1) or of(*record)
        )
    for row in range(4):
        index.search(vectors[row], 3)
        index.search(vectors[row], 3, dims=8)
    assert (len(rows), len(filters)) == (2, 1)
    allowed = np.arange(N) != 7
    for _ in range(2):
        assert index.search(vectors[7], 1, where=allowed).indices != 7
    assert (len(rows), len(filters)) == (2, 2)
    assert index.search(vectors[6], 1, where=np.arange(N) != 6).indices != 6
    assert index.search(vectors[7], 1).indices == 7
    assert (len(rows), len(filters)) == (2, 4)


def test_what_depends_on_rows_that_stay_is_made_once(vectors, monkeypatch):
    rows, index = [], fastvec.Index(vectors[:70])
    of = few._ROWS.of
    monkeypatch.setattr(few._ROWS, "of", lambda record: rows.append(record.base) or of(record))
    for row in range(70, 260):  # more than the first block of these has room for
        index.add(vectors[row])
        if row % 3:
            assert index.search(vectors[row], 1).indices == row
    assert rows == [0, 70, 140]
    index.search(vectors[0], 1, dims=8)
    index.add(vectors[260])
    assert index.search(vectors[260], 1, dims=8).indices == 260, "terms of a prefix are measured anew"
    index.remove(np.arange(1, 200))  # more than half: the rows left are packed
    index.replace(259, vectors[0])
    found, expected = index.search(vectors[0], 9), oracle.knn(vectors[0], index.vectors, 9)
    assert_same_topk(found, expected._replace(indices=index.numbers[expected.indices]))


def test_a_query_that_becomes_infinite_is_not_lost_in_silence(vectors, monkeypatch):
    from fastvec import _arguments

    query, check = vectors[3].copy(), _arguments.check_finite

    def changed(array, name, num_threads):
        squares = check(array, name, num_threads)
        query[1] = np.nan
        return squares

    monkeypatch.setattr(_arguments, "check_finite", changed)
    with pytest.raises(RuntimeError, match="queries changed"):
        fastvec.Index(vectors).search(query, 3)
