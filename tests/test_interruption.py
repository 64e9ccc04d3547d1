"""Ctrl-C is answered soon, during any work and any number of times, and never lost; all work then ends."""

import os
import signal
import sys
import threading
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from data import hashed
from instants import Interrupted, count, interrupted_at

import fastvec
from fastvec.files.ordinary import open_ordinary
from fastvec.integrations import faiss
from fastvec.integrations._documents import Documents
from fastvec.kernels import compile, encode, float_mode, matrix, scan, threads

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are sent with os.kill")

LATENCY = """
import os, signal, sys, threading, time
import numpy as np
import fastvec

def wide(n, dims):
    "Equal rows, all in the same memory."
    return np.broadcast_to(np.linspace(1, 2, dims, dtype=np.float32), (n, dims))

rng = np.random.default_rng(1)
some = rng.standard_normal((100_000, 32), np.float32)
index = fastvec.Index(some)
tied = fastvec.Index(wide(100_000, 32))
numbers = rng.integers(0, 50_000, (20_000, 3))
out = np.empty((4_000, 20_000), np.float32)
double = wide(6_000, 2048).astype(float)
long = np.empty((1, 400_000_000), np.int16)
many = np.broadcast_to(some[:50_000], (8, 50_000, 32)).reshape(-1, 32)
calls = {
    "scan": lambda: index.search(many, 10),
    "one-shot": lambda: fastvec.knn(many, some, 10),
    "tied": lambda: tied.search(some[:20_000], 10),
    "large k": lambda: index.search(some[:5_000], 12_000),
    "k of all": lambda: index.search(some[:2_000], 100_000),
    "range": lambda: index.range_search(some, 0.5),
    "width": lambda: fastvec.Index(wide(200_000, 1024)).search(wide(1, 512)[0], 1, dims=512),
    "euclidean": lambda: fastvec.knn(some[:20_000], some, 10_000, metric="euclidean"),
    "3cosmul": lambda: index.analogy(numbers[:, :2], numbers[:, 2:], method="3cosmul"),
    "dense": lambda: fastvec.cosine_similarity(wide(4_000, 8192), wide(20_000, 8192), out=out),
    "dense, float64": lambda: fastvec.cosine_similarity(double),
    "few dense": lambda: fastvec.cosine_similarity(wide(4, 2048), wide(4_000_000, 2048)),
    "encode": lambda: fastvec.Index(wide(500_000, 1024)),
    "normalize": lambda: fastvec.normalize(wide(400_000, 2048)),
    "topk": lambda: fastvec.topk(long, 10),
}
chosen = sys.argv[2:] or list(calls)
fastvec.set_num_threads(int(sys.argv[1]))
sent = 0.0

def interrupt():
    global sent
    sent = time.perf_counter()
    os.kill(os.getpid(), signal.SIGINT)

def dropped(error):
    "Python itself drops an interrupt that comes while an object is freed, so it is sent again."
    if error.exc_type is KeyboardInterrupt:
        threading.Timer(0.1, interrupt).start()
    else:
        sys.__unraisablehook__(error)

sys.unraisablehook = dropped
for name in chosen:
    for delay in (0.1, 0.2):  # the first may come while kernels are loaded
        threading.Timer(delay, interrupt).start()
        try:
            while True:
                calls[name]()
        except KeyboardInterrupt:
            print(f"{time.perf_counter() - sent:.3f} {name}")
"""


@pytest.mark.slow
@pytest.mark.alone
def test_every_long_call_answers_within_half_a_second(run_python):
    result = run_python("-c", LATENCY, 2, timeout=200)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 30
    assert not [line for line in lines if float(line.split()[0]) > 0.5], result.stdout


STORM = """
import os, signal, sys, threading, time
import numpy as np
import fastvec

rng = np.random.default_rng(1)
vectors = rng.standard_normal((30_000, 48), np.float32)
equal = np.repeat(vectors[:1], 20_000, axis=0)
fastvec.set_num_threads(5)
calls = [
    lambda: fastvec.Index(vectors).search(vectors[:2_000], 10).indices[:, 0],
    lambda: fastvec.knn(vectors[:2_000], vectors, 10).indices[:, 0],
    lambda: fastvec.cosine_similarity(vectors[:2_000], vectors[:3_000]).argmax(axis=1),
    lambda: fastvec.Index(equal).search(vectors[:400], 3).indices[:, 0] + np.arange(400),
]
for call in calls:
    call()
stop = threading.Event()

def signals():
    while not stop.wait(0.02):
        os.kill(os.getpid(), signal.SIGINT)

sender = threading.Thread(target=signals)
end = time.monotonic() + 3
interrupted = answered = 0
sender.start()
while time.monotonic() < end:
    try:
        for call in calls:
            found = call()
            assert (found == np.arange(len(found))).all()
            answered += 1
    except KeyboardInterrupt:
        interrupted += 1
while True:
    try:
        stop.set()
        sender.join()
        break
    except KeyboardInterrupt:
        pass
for call in calls:
    found = call()
    assert (found == np.arange(len(found))).all()
print(interrupted, answered)
"""


@pytest.mark.slow
@pytest.mark.alone
def test_a_storm_of_interrupts_harms_nothing(run_python):
    """A signal every 20 ms, also while a call ends for the one before: no crash, no wrong answer, no hang."""
    result = run_python("-c", STORM, timeout=120)
    assert result.returncode == 0, (result.returncode, result.stderr[-3000:])
    assert int(result.stdout.split()[0]) > 20


def test_a_call_ends_after_its_helpers(monkeypatch):
    """However often its wait for them is interrupted; and it raises what interrupted it."""
    began, may_end, ended = threading.Event(), threading.Event(), threading.Event()
    caller = threading.get_ident()
    interrupts = 0

    def part(number):
        if threading.get_ident() == caller:
            assert began.wait(10)
            raise KeyboardInterrupt
        began.set()
        assert may_end.wait(10)
        ended.set()

    class Bell:
        """A lock whose first waits are interrupted."""

        def __init__(self):
            self.lock = threading.Lock()
            self.release = self.lock.release

        def acquire(self, timeout=-1):
            nonlocal interrupts
            if threading.get_ident() == caller and began.is_set() and interrupts < 3:
                interrupts += 1
                if interrupts == 3:
                    may_end.set()
                raise KeyboardInterrupt
            return self.lock.acquire(timeout=timeout)

    monkeypatch.setattr(threads, "threading", SimpleNamespace(Lock=Bell))
    with pytest.raises(KeyboardInterrupt):
        threads.run(part, [0, 1], 2)
    assert (interrupts, ended.is_set()) == (3, True)


def test_helpers_leave_at_their_next_pace():
    began, paces = threading.Event(), []
    caller = threading.get_ident()

    def part(number):
        if threading.get_ident() == caller:
            assert began.wait(10)
            raise KeyboardInterrupt
        for start, stop in threads.paced(0, 100, 1, 1 << 26):
            began.set()
            paces.append((start, stop))
            threading.Event().wait(0.06)  # so long that the next pace is of one element, too

    with pytest.raises(KeyboardInterrupt):
        threads.run(part, [0, 1], 2)
    assert 0 < len(paces) < 50


def test_the_exception_of_the_first_part_is_raised_and_no_later_part_begins():
    done = []

    def part(number):
        done.append(number)
        if number in (3, 5):
            raise ValueError(number)

    with pytest.raises(ValueError, match="3"):
        threads.run(part, list(range(1000)), 4)
    assert len(done) < 1000


def test_runs_are_paced():
    assert list(threads.paced(5, 5, 1, 1)) == []
    assert list(threads.paced(0, 100, 16, 1)) == [(0, 100)]
    runs = list(threads.paced(3, 1000, 16, 1 << 26))
    assert runs[0] == (3, 19)
    assert [start for start, _ in runs[1:]] == [stop for _, stop in runs[:-1]]
    assert runs[-1][1] == 1000
    assert all((start - 3) % 16 == 0 for start, _ in runs)


def test_records_with_addresses_hold_the_memory():
    vectors = np.ones((3, 4), np.float32)
    held = weakref.ref(vectors)
    rows = matrix.of([vectors])
    del vectors
    assert held() is not None
    assert rows.origins[0] == held().ctypes.data
    del rows
    assert held() is None
    encoded = encode.empty(2, 64)
    encoded.codes.flags.writeable = False
    address, terms = encoded.codes.ctypes.data, encoded._replace(codes=None)
    rows = scan.rows_of(encoded, 0)
    held = weakref.ref(encoded.codes)
    del encoded, terms
    assert held() is not None
    assert rows.codes.ctypes.data == address
    assert rows.codes.flags.writeable


def test_an_interrupt_while_a_kernel_loads_is_not_lost(monkeypatch):
    """It ends the wait; loading goes on by itself, and the next call finds the kernel."""

    @compile.kernel
    def three():
        return 3

    loading, go_on = threading.Event(), threading.Event()
    really = type(three.compiled).compile

    def slowly(self, kinds):
        loading.set()
        assert go_on.wait(10)
        return really(self, kinds)

    def interrupt():
        assert loading.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(type(three.compiled), "compile", slowly)
        sender = threading.Thread(target=interrupt)
        sender.start()
        with pytest.raises(KeyboardInterrupt):
            three()
        go_on.set()
        sender.join()
    assert three() == 3


def test_the_mode_of_the_caller_comes_back_at_any_instant(flushing):
    """Also from an exception between the change of the floating-point mode and the call."""

    @compile.kernel
    def mode():
        return float_mode.read_mode()

    usual = mode()
    with flushing():
        assert mode() == usual
    instants = count(mode)
    assert instants
    for instant in range(instants):
        with flushing():
            assert interrupted_at(instant, mode)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_a_file_whose_opening_is_interrupted_is_closed_once(tmp_path):
    """By the second time, its number may be that of another thread's file."""
    path = tmp_path / "rows"
    path.touch()

    def interrupt(frame, event, function):
        if event == "c_return" and function is open:
            sys.setprofile(None)
            raise Interrupted

    sys.setprofile(interrupt)
    try:
        with pytest.raises(Interrupted):
            open_ordinary(path)
    finally:
        sys.setprofile(None)


ROWS, QUERIES = hashed(90, 12), hashed(4, 12, 1)


def an_index():
    index = fastvec.Index(ROWS[:60], copy=True)
    index.remove([3, 7])
    index.replace([9], ROWS[60])
    return index, lambda: (index.numbers, index.vectors, *index.search(QUERIES, 70)), index._rows._lock


def a_vocabulary():
    words = fastvec.Vocabulary([f"w{number}" for number in range(20)], ROWS[:20])
    words.remove(["w3"])
    return words, lambda: (words.words, words.vectors, words.search(QUERIES, 30)), words._changing


def documents():
    held = Documents()
    held.put([f"d{number}" for number in range(20)], list(range(20)), ROWS[:20])
    held.delete(["d4"])

    def state():
        return sorted(held._numbers), sorted(held._documents.values()), held._index.vectors

    return held, state, held._changing


def flat():
    index = faiss.IndexFlatIP(ROWS.shape[1])
    index.add(ROWS[:20])
    index.remove_ids([3, 7])
    return index, lambda: index.search(QUERIES, 30), index._index._rows._lock


def with_ids():
    index = faiss.IndexIDMap(faiss.IndexFlatIP(ROWS.shape[1]))
    index.add_with_ids(ROWS[:20], range(100, 120))

    def state():
        assert len(index.id_map) == index.ntotal
        return index.search(QUERIES, 30)

    return index, state, index.index._index._rows._lock


CHANGES = {
    "add": (an_index, lambda index: index.add(ROWS[70:])),
    "remove": (an_index, lambda index: index.remove(range(20, 40))),
    "remove most": (an_index, lambda index: index.remove(range(10, 60))),
    "replace": (an_index, lambda index: index.replace(range(20, 40), ROWS[70:])),
    "compact": (an_index, lambda index: index.compact()),
    "search": (an_index, lambda index: index.search(QUERIES, 5, num_threads=2)),
    "add words": (a_vocabulary, lambda words: words.add(["x", "y"], ROWS[70:72])),
    "remove words": (a_vocabulary, lambda words: words.remove(["w1", "w2"])),
    "replace words": (a_vocabulary, lambda words: words.replace(["w1", "x"], ROWS[70:72])),
    "rows of words": (a_vocabulary, lambda words: words.index),
    "put documents": (documents, lambda held: held.put(["d1", "x"], [70, 71], ROWS[70:72])),
    "remove documents": (documents, lambda held: held.delete(["d1", "d2"])),
    "add rows of faiss": (flat, lambda index: index.add(ROWS[70:])),
    "remove rows of faiss": (flat, lambda index: index.remove_ids([0, 1, 5])),
    "add ids of faiss": (with_ids, lambda index: index.add_with_ids(ROWS[70:], range(20))),
    "remove ids of faiss": (with_ids, lambda index: index.remove_ids([101, 105])),
    "reset ids of faiss": (with_ids, lambda index: index.reset()),
}


def equal(one, other):
    return len(one) == len(other) and all(map(np.array_equal, one, other))


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_that_is_interrupted_at_any_instant_is_made_or_not(name):
    """And the next is not in its way: no lock stays taken."""
    make, change = CHANGES[name]
    changed, state, _ = make()
    before = state()
    instants = count(lambda: change(changed))
    after, seen = state(), []
    for instant in range(len(name) % 5, instants, 5):
        changed, state, lock = make()
        assert interrupted_at(instant, lambda: change(changed))  # noqa: B023
        assert not lock.here.locked()
        left = state()
        assert equal(left, before) or equal(left, after)
        seen.append(instant)
    assert seen
