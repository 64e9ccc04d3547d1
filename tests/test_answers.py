"""Answers as wide as was asked for: what is filled up, the room they take, and lists without the filling."""

import time
import tracemalloc

import numpy as np
import oracle
import pytest
from assertions import assert_same_topk, words
from data import gaussian, mixed

import fastvec
from fastvec import _answers, _memory


@pytest.mark.parametrize("k", [51, 5000])
def test_the_rest_is_filled_up(k):
    vectors = mixed(50, 8, 1)
    index = fastvec.Index(vectors)
    for actual, expected in (
        (index.search(vectors[:7], k), oracle.knn(vectors[:7], vectors, k)),
        (index.search(vectors[3], k, where=[3, 5]), oracle.knn(vectors[3], vectors, k, where=[3, 5])),
        (fastvec.knn(vectors[:7], vectors, k), oracle.knn(vectors[:7], vectors, k)),
        (index.knn_graph(k), oracle.knn(vectors, vectors, k, exclude=np.arange(50)[:, None])),
        (index.analogy([1, 2], [3], k), oracle.analogy(vectors, [1, 2], [3], k)),
        (
            index.analogy([[1, 2]], [[3]], k, method="3cosmul"),
            oracle.analogy(vectors, [[1, 2]], [[3]], k, "3cosmul"),
        ),
        (fastvec.topk(vectors, k), oracle.topk(vectors, k)),
        (fastvec.topk(vectors[0], k, largest=False), oracle.topk(vectors[0], k, largest=False)),
    ):
        assert_same_topk(actual, expected)
        assert actual.scores.flags.writeable
        assert actual.scores.flags.c_contiguous


def test_memory_beyond_the_answer_does_not_grow_with_k():
    vectors = gaussian(1000, 16, 1)
    index, scores = fastvec.Index(vectors), gaussian(2, 1000, 2)
    calls = (
        lambda k: index.search(vectors[:2], k),
        lambda k: fastvec.knn(vectors[:2], vectors, k),
        lambda k: fastvec.topk(scores, k),
        lambda k: fastvec.analogy(vectors, [[1], [2]], [[3], [4]], k, method="3cosmul"),
    )
    for call in calls:
        call(2000)
        tracemalloc.start()
        try:
            answer = call(400_000)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < answer.scores.nbytes + answer.indices.nbytes + (1 << 20)


CALLS = {
    "search": lambda k: fastvec.Index(gaussian(9, 4)).search(gaussian(2, 4), k),
    "knn": lambda k: fastvec.knn(gaussian(2, 4), gaussian(9, 4), k),
    "one query": lambda k: fastvec.knn(gaussian(2, 4)[0], gaussian(9, 4), k),
    "no rows": lambda k: fastvec.knn(gaussian(2, 4), np.empty((0, 4)), k),
    "knn_graph": lambda k: fastvec.Index(gaussian(9, 4)).knn_graph(k),
    "analogy": lambda k: fastvec.analogy(gaussian(9, 4), [[1]], [[2]], k),
    "3cosmul": lambda k: fastvec.analogy(gaussian(9, 4), [[1]], [[2]], k, method="3cosmul"),
    "topk": lambda k: fastvec.topk(gaussian(2, 9), k),
    "smallest": lambda k: fastvec.topk(gaussian(2, 9)[0], k, largest=False),
    "no scores": lambda k: fastvec.topk(np.empty((3, 0)), k),
}


@pytest.mark.parametrize("k", [10**18, 2**63 - 1, 2**63, 10**30, 10**4000])
@pytest.mark.parametrize("name", CALLS)
def test_an_answer_that_no_computer_holds_is_refused(name, k):
    with pytest.raises(MemoryError, match=words(r"\bk is", "take", "a k of (9|1) returns")) as caught:
        CALLS[name](k)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("k", [2**61, 2**63, 10**30])
def test_a_width_that_no_array_has_is_refused_without_queries_too(k):
    rows = np.ones((3, 2), np.float32)
    for call in (
        lambda: fastvec.knn(rows[:0], rows, k),
        lambda: fastvec.Index(rows).search(rows[:0], k),
        lambda: fastvec.topk(rows[:0], k),
    ):
        with pytest.raises(MemoryError, match=r"k is .* for 0 queries: scores and indices take [^0]"):
            call()


def test_memory_that_is_just_enough_is_used(monkeypatch):
    monkeypatch.setattr(_memory, "_UNCHECKED_BYTES", 100)
    monkeypatch.setattr(_memory, "available", lambda: 600)
    _memory.check(10, 5, 3)  # of 12 bytes
    assert _memory.answers(10, 5, 3).indices.shape == (10, 5)
    assert _memory.result((50, 3), np.float32, "rows").nbytes == 600
    monkeypatch.setattr(_memory, "available", lambda: 599)
    for call in (lambda: _memory.check(10, 5, 3), lambda: _memory.result((50, 3), np.float32, "rows")):
        with pytest.raises(MemoryError, match=r"0\.0 GiB, and 0\.0 GiB are free"):
            call()
    _memory.check(0, 50, 3)
    monkeypatch.setattr(_memory, "_UNCHECKED_BYTES", 600)
    _memory.check(10, 5, 3)
    assert len(_memory.result((50, 3), np.float32, "rows")) == 50


def test_large_numbers_are_shown_by_their_powers_of_ten():
    assert _memory._number(10**30 - 1) == f"{10**30 - 1:,}"
    assert _memory._number(10**30) == "over 10 to the power of 29"
    assert _memory._number(10**4000) == "over 10 to the power of 3999"
    assert _memory._gib(2**79) == "562,949,953,421,312.0 GiB"
    assert _memory._gib(2**80) == "more than any computer has"


@pytest.mark.parametrize("name", CALLS)
def test_an_answer_that_this_computer_cannot_hold_is_refused(name, monkeypatch):
    """Before a page of it is touched: the system would grant it, and end the process later."""
    monkeypatch.setattr(_memory, "available", lambda: 1e8)
    with pytest.raises(MemoryError, match=words("k is 100,000,000", "GiB", "0.1 GiB are free", "a k of")):
        CALLS[name](10**8)


def test_many_queries(monkeypatch):
    monkeypatch.setattr(_memory, "available", lambda: 1e8)
    with pytest.raises(MemoryError, match=words("k is 1,000", "10,000", "GiB", "some queries at a time")):
        fastvec.knn(np.ones((10_000, 1)), np.ones((1000, 1)), 1000)
    with pytest.raises(MemoryError, match=words("k is 9,000", "some queries at a time")):
        fastvec.topk(np.broadcast_to(np.float32(1), (9000, 9000)), 9000)


def test_available_memory(tmp_path, monkeypatch):
    """What the system says is free, within the limits of this process's control groups and those above."""
    monkeypatch.setattr(_memory, "_ROOT", tmp_path)

    def write(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    assert _memory.available() > 1 << 26  # no /proc here: all that the computer has
    write("proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:  8000 kB\nSwapFree: 100 kB\nHugePages_Total: 0\n")
    assert _memory.available() == 8100 * 1024
    write("proc/self/cgroup", "4:cpu:/\n3:hugetlb,memory:/box\n0::/outer/inner\n")
    write("sys/fs/cgroup/outer/inner/memory.max", "max\n")
    assert _memory.available() == 8100 * 1024
    write("sys/fs/cgroup/outer/memory.max", "5000000\n")
    write("sys/fs/cgroup/outer/memory.current", "3000000\n")
    assert _memory.available() == 2_000_000
    write("sys/fs/cgroup/outer/memory.stat", "anon 5\ninactive_file 1000000\nactive_file 7\n")
    assert _memory.available() == 3_000_000
    write("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "4000000\n")
    write("sys/fs/cgroup/memory/box/memory.usage_in_bytes", "4100000\n")
    assert _memory.available() == 0


def test_lists_leave_out_what_is_filled_up():
    vectors = np.array([[0, 1], [1, 0], [0, -1]], np.float32)
    actual = fastvec.knn(vectors[:2], vectors, 5, exclude=[[1], [0, 2]])
    assert actual.lists() == [[(0, 1.0), (2, -1.0)], [(1, 1.0)]]
    assert fastvec.knn(vectors[0], vectors, 2).lists() == [(0, 1.0), (1, 0.0)]
    assert fastvec.knn(vectors[:0], vectors, 2).lists() == []
    assert fastvec.knn(vectors[:2], vectors[:0], 2).lists() == [[], []]
    assert fastvec.topk([[1.0, 2.0]], 3, largest=False).lists() == [[(0, 1.0), (1, 2.0)]]
    assert [type(part) for part in actual.lists()[0][0]] == [int, float]


def test_lists_of_queries_that_found_more_and_less():
    scores = np.array([[3, 2, -np.inf], [5, 4, 3]], np.float32)
    indices, lists = np.array([[7, 0, -1], [1, 2, 3]]), [[(7, 3), (0, 2)], [(1, 5), (2, 4), (3, 3)]]
    assert fastvec.TopK(scores, indices).lists() == lists
    assert fastvec.TopK(scores[::-1], indices[::-1]).lists() == lists[::-1]


def test_lists_cost_what_was_found():
    actual = fastvec.knn(np.ones((100, 2)), np.ones((3, 2)), 100_000)
    start = time.process_time()
    assert actual.lists() == [[(0, 1.0), (1, 1.0), (2, 1.0)]] * 100
    assert time.process_time() - start < 0.2


def test_answers_of_blocks_are_merged_by_float64():
    """Scores that are one number in float32, and ties, which fall to the lower row."""
    higher = np.nextafter(0.5, 1.0)
    first = _answers.Answers(np.array([[0.5, 0.25]]), np.array([[1, 2]]))
    second = _answers.Answers(np.array([[higher, 0.5]]), np.array([[5, 0]]))
    for answer in (first.merged(second), second.merged(first)):
        assert answer.indices.tolist() == [[5, 0]]
        assert answer.scores.tolist() == [[higher, 0.5]]
