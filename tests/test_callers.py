"""Many callers at once: their queries are scanned together, and each gets the answer of a lone caller."""

import gc
import os
import signal
import threading
import time
import weakref
from queue import SimpleQueue

import numpy as np
import pytest
from assertions import assert_same_topk
from callers_soak import soak
from data import gaussian, mixed, related

import fastvec
from fastvec._stores import callers
from fastvec._stores.cpu import CpuStore
from fastvec.kernels import metrics, threads


@pytest.fixture(autouse=True)
def one_turn(monkeypatch):
    """Small searches wait too, and only one scans; a turn that is lost is not found again during a test."""
    monkeypatch.setattr(callers, "LEAST_WORK", 0)
    monkeypatch.setattr(callers, "PATIENCE_S", 1000.0)
    monkeypatch.setattr(threads, "processors", lambda: 1)


@pytest.fixture
def index():
    return fastvec.Index(mixed(1500, 70, 1))


class Call(threading.Thread):
    """A search in a thread of its own: its answer, or its error."""

    def __init__(self, search, *arguments, **options):
        super().__init__(daemon=True)
        self.search = lambda: search(*arguments, **options)
        self.answer = self.error = None
        self.start()

    def run(self):
        try:
            self.answer = self.search()
        except BaseException as error:
            self.error = error

    def end(self):
        self.join(timeout=20)
        assert not self.is_alive()
        return self


class Scans:
    """The scans of Indexes: the number of queries of each. The first lasts until it ``may_end``."""

    def __init__(self, monkeypatch):
        self.sizes, self.began, self.may_end = [], threading.Event(), threading.Event()
        self.during = {}
        """What is called during a scan, by its number; the first is 0."""
        search = CpuStore._found

        def found(store, request):
            if not store.encoded:  # of knn
                return search(store, request)
            number = len(self.sizes)
            self.sizes.append(len(request.queries))
            if number == 0:
                self.began.set()
                assert self.may_end.wait(20)
            self.during.get(number, lambda: None)()
            return search(store, request)

        monkeypatch.setattr(CpuStore, "_found", found)


@pytest.fixture
def scans(monkeypatch):
    scans = Scans(monkeypatch)
    yield scans
    scans.may_end.set()


def line(index):
    return index._store._callers


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def waiting(index, scans, searches):
    """Calls of which the first scans, while the others wait, in this order."""
    calls = [Call(*searches[0])]
    assert scans.began.wait(20)
    for number, search in enumerate(searches[1:], start=1):
        calls.append(Call(*search))
        until(lambda wanted=number: len(line(index).waiting) == wanted)
    return calls


def assert_nobody_is_left(index):
    assert (line(index).scanning, line(index).waiting) == ({}, {})


@pytest.mark.parametrize("metric", metrics.TABLE)
def test_answers_are_those_of_a_lone_caller(metric, scans):
    vectors = mixed(1500, 70, 1)
    index, alone = (fastvec.Index(vectors, metric=metric) for _ in range(2))
    queries = [related(vectors, m, m) for m in (1, 2, 3, 16)]
    queries += [related(vectors, 1, seed)[0] for seed in range(20, 24)]
    calls = waiting(index, scans, [(index.search, q, 10) for q in (queries[0], *queries)])
    scans.may_end.set()
    answers = [call.end().answer for call in calls[1:]]
    assert scans.sizes == [1, 26]
    for query, answer in zip(queries, answers, strict=True):
        expected = alone.search(query, 10)
        assert_same_topk(answer, expected)
        for array in answer:
            whole = array if array.base is None else array.base
            assert whole.size == array.size  # no answer keeps those of others
            assert array.flags.writeable
    assert_nobody_is_left(index)


def test_exclusions_and_more_neighbors_than_rows(scans):
    vectors = mixed(40, 33, 1)
    index, alone = fastvec.Index(vectors), fastvec.Index(vectors)
    excluded = [None, [[7]], [list(range(20))], [[1, 2], list(range(15))], [[]]]
    searches = [(related(vectors, 1 if e is None else len(e), 5), 50, e) for e in excluded]

    def search(index, queries, k, exclude):
        return index.search(queries, k, exclude=exclude)

    calls = waiting(index, scans, [(search, index, *s) for s in (searches[0], *searches)])
    scans.may_end.set()
    for call, arguments in zip(calls[1:], searches, strict=True):
        assert_same_topk(call.end().answer, search(alone, *arguments))
    assert scans.sizes == [1, 6, *[len(queries) for queries, _, _ in searches]]


def test_only_like_requests_are_scanned_together(index, scans):
    """Those that are not alike get their turns one after another, in the order in which they came."""
    queries = related(index.vectors, 8, 3)
    options = [{}, {"dims": 40}, {}, {"num_threads": 1}, {"k": 4}, {"dims": 40}, {"num_threads": 1}, {}]

    def search(query, k=10, **options):
        return index.search(query, k, **options)

    threads.set_num_threads(2)
    try:
        searches = [(lambda q=q, o=o: search(q, **o),) for q, o in zip(queries, options, strict=True)]
        calls = waiting(index, scans, [(search, queries[0]), *searches])
        scans.may_end.set()
        answers = [call.end().answer for call in calls[1:]]
        assert scans.sizes[0] == 1
        assert sorted(scans.sizes[1:]) == [1, 2, 2, 3]
        for query, option, answer in zip(queries, options, answers, strict=True):
            assert_same_topk(answer, search(query, **option))
    finally:
        threads._chosen = None


def test_filters_and_large_batches_and_one_shot_searches_do_not_wait(index, scans):
    vectors = index.vectors
    call = Call(index.search, vectors[0], 10)
    assert scans.began.wait(20)
    for m, options in (
        (1, {"where": np.arange(700)}),
        (2, {"where": np.ones((2, 1500), bool)}),
        (callers.MOST_QUERIES + 1, {}),
        (0, {}),
    ):
        expected = fastvec.knn(vectors[:m], vectors, 3, **options)
        assert_same_topk(index.search(vectors[:m], 3, **options), expected)
    assert not call.answer
    scans.may_end.set()
    call.end()
    assert_nobody_is_left(index)


def test_scans_for_few_threads_share_the_processors(index, scans, monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 2)
    query = index.vectors[0]
    call = Call(index.search, query, 10, num_threads=1)
    assert scans.began.wait(20)
    assert_same_topk(index.search(query, 10, num_threads=1), fastvec.knn(query, index.vectors, 10))
    assert len(line(index).scanning) == 1
    scans.may_end.set()
    call.end()
    assert_nobody_is_left(index)


def test_small_searches_and_a_lone_caller_never_wait(index, scans, monkeypatch):
    scans.may_end.set()
    monkeypatch.setattr(callers, "SimpleQueue", None)
    monkeypatch.setattr(callers, "time", None)
    for query in index.vectors[:3]:
        index.search(query, 10)
    assert_nobody_is_left(index)
    monkeypatch.setattr(callers, "LEAST_WORK", 1500 * 70 + 1)
    monkeypatch.setattr(callers, "_Caller", None)
    index.search(index.vectors[0], 10)


def test_those_of_the_last_scan_are_let_come_back(index, scans, monkeypatch):
    vectors, came = index.vectors, []
    calls = waiting(index, scans, [(index.search, vectors[i], 10) for i in range(4)])

    def another_comes(_):
        if len(came) < 2:
            came.append(Call(index.search, vectors[9], 10))
            until(lambda: len(line(index).waiting) == len(came))

    scans.may_end.set()
    for call in calls:
        call.end()
    assert scans.sizes == [1, 3]
    monkeypatch.setattr(time, "sleep", lambda s, sleep=time.sleep: sleep(s) if s else another_comes(s))
    answer = index.search(vectors[7], 10)
    assert scans.sizes[2:] == [3]
    assert_same_topk(answer, fastvec.knn(vectors[7], vectors, 10))
    for call in came:
        assert_same_topk(call.end().answer, fastvec.knn(vectors[9], vectors, 10))


def test_a_changed_row_is_the_error_only_of_those_that_find_it(scans):
    vectors = gaussian(1500, 64, 1)
    index, kept = fastvec.Index(vectors), vectors[5].copy()
    good = vectors[700] + vectors[800]
    expected = fastvec.knn(good, vectors, 2)
    calls = waiting(index, scans, [(index.search, query, 2) for query in (good, good, kept, good)])
    vectors[5] *= -1
    scans.may_end.set()
    for number, call in enumerate(calls):
        call.end()
        if number == 2:
            assert isinstance(call.error, RuntimeError)
            assert "vectors changed" in str(call.error)
        else:
            assert_same_topk(call.answer, expected)
    assert scans.sizes == [1, 3, 1, 1, 1]
    assert_nobody_is_left(index)


def interrupt():
    raise KeyboardInterrupt


def test_an_interrupt_of_whoever_scans_is_his_alone(index, scans):
    vectors = index.vectors
    calls = waiting(index, scans, [(index.search, vectors[i], 10) for i in range(5)])
    scans.during = {0: interrupt, 1: interrupt}
    scans.may_end.set()
    errors = [type(call.end().error) for call in calls]
    assert errors == [KeyboardInterrupt, KeyboardInterrupt, *[type(None)] * 3]
    for i in (2, 3, 4):
        assert_same_topk(calls[i].answer, fastvec.knn(vectors[i], vectors, 10))
    assert scans.sizes == [1, 4, 1, 1, 1]
    assert_nobody_is_left(index)


@pytest.mark.skipif(os.name == "nt", reason="signals are sent with os.kill")
def test_an_interrupt_of_one_who_waits_is_his_alone(index, scans):
    vectors = index.vectors
    calls = waiting(index, scans, [(index.search, vectors[i], 10) for i in range(2)])

    def send():
        until(lambda: len(line(index).waiting) == 2)
        os.kill(os.getpid(), signal.SIGINT)

    sender = Call(send)
    with pytest.raises(KeyboardInterrupt):
        index.search(vectors[2], 10)
    assert len(line(index).waiting) == 1
    scans.may_end.set()
    assert sender.end().error is None
    assert_same_topk(calls[1].end().answer, fastvec.knn(vectors[1], vectors, 10))
    assert scans.sizes == [1, 1]
    assert_nobody_is_left(index)


def test_one_who_is_interrupted_when_it_is_called_calls_the_next(index, scans, monkeypatch):
    called = []

    class Mail:
        """Is interrupted when the first message has come."""

        def __init__(self):
            self.queue = SimpleQueue()
            self.put = self.queue.put

        def get(self, timeout):
            message = self.queue.get(timeout=timeout)
            called.append(message)
            if len(called) == 1:
                raise KeyboardInterrupt
            return message

    monkeypatch.setattr(callers, "SimpleQueue", Mail)
    vectors = index.vectors
    calls = waiting(index, scans, [(index.search, vectors[i], 10) for i in range(4)])
    scans.may_end.set()
    assert isinstance(calls[1].end().error, KeyboardInterrupt)
    for i in (0, 2, 3):
        assert_same_topk(calls[i].end().answer, fastvec.knn(vectors[i], vectors, 10))
    assert called[0] == called[1] == callers._LOOK
    assert scans.sizes == [1, 2]
    assert_nobody_is_left(index)


def test_an_interrupt_while_a_caller_leaves_does_not_keep_its_turn(index, scans, monkeypatch):
    scans.may_end.set()
    give_back, count = callers.Callers._give_back, []

    def interrupted(line, *turn):
        count.append(turn)
        if len(count) == 1:
            raise KeyboardInterrupt
        give_back(line, *turn)

    monkeypatch.setattr(callers.Callers, "_give_back", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index.search(index.vectors[0], 10)
    assert_nobody_is_left(index)


def test_a_turn_whose_thread_is_gone_is_taken(index, monkeypatch):
    index.search(index.vectors[0], 10)
    monkeypatch.setattr(callers, "PATIENCE_S", 0.05)
    gone = Call(threading.get_ident).end()
    line(index).scanning[0] = (None, gone.ident + 1)
    expected = fastvec.knn(index.vectors[1], index.vectors, 10)
    for call in [Call(index.search, index.vectors[1], 10) for _ in range(3)]:
        assert_same_topk(call.end().answer, expected)
    assert_nobody_is_left(index)


def test_a_search_within_a_search_does_not_wait_for_itself(index, scans):
    """As a signal's handler may search while the main thread does."""
    vectors, inner = index.vectors, []
    scans.may_end.set()
    scans.during = {0: lambda: inner.append(index.search(vectors[1], 10))}
    assert_same_topk(index.search(vectors[0], 10), fastvec.knn(vectors[0], vectors, 10))
    assert_same_topk(inner[0], fastvec.knn(vectors[1], vectors, 10))
    assert_nobody_is_left(index)


def test_rows_that_are_added_meanwhile(index, scans):
    """Who waits gets the answers of the time of its call; who comes later does not wait and sees all rows."""
    vectors, new = index.vectors, np.ones((1, 70), np.float32)
    calls = waiting(index, scans, [(index.search, new, 10)] * 3)
    old = line(index)
    index.add(new)
    later = index.search(new[0], 10)
    assert len(old.waiting) == 2
    scans.may_end.set()
    for call in calls:
        assert_same_topk(call.end().answer, fastvec.knn(new, vectors, 10))
    assert_same_topk(later, fastvec.knn(new[0], np.concatenate([vectors, new]), 10))
    assert later.indices[0] == 1500
    assert (old.scanning, old.waiting) == ({}, {})


def test_an_index_is_freed_with_its_last_reference(scans):
    index = fastvec.Index(mixed(1500, 70, 1))
    calls = waiting(index, scans, [(index.search, index.vectors[i], 10) for i in range(3)])
    scans.may_end.set()
    held = weakref.ref(index._store)
    for call in calls:
        call.end().search = None
    gc.disable()
    try:
        del index
        assert held() is None
    finally:
        gc.enable()


FORK = """
import os, signal, sys, threading, time
import fastvec
from data import mixed
from fastvec._stores import callers
from fastvec._stores.cpu import CpuStore

callers.LEAST_WORK, callers.PATIENCE_S = 0, 1000.0
callers.threads.processors = lambda: 1
vectors = mixed(1500, 70, 1)
index = fastvec.Index(vectors)
expected = index.search(vectors[0], 10)
began, may_end = threading.Event(), threading.Event()
search = CpuStore._found

def found(store, request):
    began.set()
    assert may_end.wait(30)
    return search(store, request)

def call():
    answers.append(index.search(vectors[0], 10))

CpuStore._found = found
answers, calls = [], [threading.Thread(target=call) for _ in range(4)]
for thread in calls:
    thread.start()
line = index._store._callers
while len(line.waiting) < 3:
    time.sleep(0.001)
child = os.fork()
may_end.set()
if child == 0:
    signal.alarm(20)
    call()
    same = all((x == y).all() for x, y in zip(answers[0], expected))
    os._exit(0 if same and len(answers) == 1 else 3)
for thread in calls:
    thread.join()
assert all((x == y).all() for answer in answers for x, y in zip(answer, expected))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(answers))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_waits_for_no_caller_of_its_parent(run_python):
    result = run_python("-c", FORK, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["0", "4"]


def test_helpers_of_all_calls_are_bounded_by_the_processors(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 3)
    began, may_end = threading.Barrier(4), threading.Event()

    def hold(_):
        began.wait(20)
        assert may_end.wait(20)

    first = Call(threads.run, hold, [0, 1, 2], 3)
    began.wait(20)  # the caller and two helpers work
    mine = threading.get_ident()
    assert threads.run(lambda _: threading.get_ident(), range(6), 3) == [mine] * 6
    may_end.set()
    assert first.end().error is None
    together = threading.Barrier(3)
    workers = threads.run(lambda _: together.wait(20) >= 0 and threading.get_ident(), range(3), 3)
    assert len(set(workers)) == 3
    assert not threads._at_work


@pytest.mark.slow
def test_many_threads_while_rows_are_added_and_threads_are_interrupted(monkeypatch):
    monkeypatch.undo()
    assert "equal" in soak(3.0)
