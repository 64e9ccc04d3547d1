"""Threads of the library and of its callers, forks, limits, and bounded memory."""

import contextlib
import functools
import gc
import itertools
import os
import re
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import oracle
import pytest
from assertions import assert_same_topk, words
from data import gaussian, mixed, outlier, related, tied

import fastvec
from fastvec.kernels import compile, metrics, reports, threads
from fastvec.kernels.stored import stored


@pytest.fixture
def thread_setting():
    """Puts the process's thread count back."""
    before = fastvec.get_num_threads()
    yield
    fastvec.set_num_threads(before)


def test_set_and_get(thread_setting):
    for count in (1, 3, np.int64(2)):
        fastvec.set_num_threads(count)
        assert fastvec.get_num_threads() == count
        assert type(fastvec.get_num_threads()) is int
    vectors = mixed(700, 33, 1)
    expected = oracle.knn(vectors[:40], vectors, 5)
    for count in (1, 2, 3):
        fastvec.set_num_threads(count)
        assert_same_topk(fastvec.knn(vectors[:40], vectors, 5), expected)


def test_a_thread_may_be_limited_and_others_are_not(thread_setting):
    from fastvec.kernels import threads

    fastvec.set_num_threads(3)
    with threads.at_most(2):
        assert fastvec.get_num_threads() == 2
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(fastvec.get_num_threads).result() == 3
        with threads.at_most(9):
            assert fastvec.get_num_threads() == 3
        with threads.at_most(0):
            assert fastvec.get_num_threads() == 3
        fastvec.set_num_threads(1)
        assert fastvec.get_num_threads() == 1
    with pytest.raises(ZeroDivisionError), threads.at_most(1):
        1 / 0  # noqa: B018
    fastvec.set_num_threads(3)
    assert fastvec.get_num_threads() == 3


@pytest.mark.parametrize("count", [0, -1, 2.0, "2", None, True, 10**8])
def test_other_counts_are_refused(count):
    before = fastvec.get_num_threads()
    with pytest.raises((TypeError, ValueError), match=words(r"\bn\b", str(count))):
        fastvec.set_num_threads(count)
    assert fastvec.get_num_threads() == before


SHOW = "import fastvec; print(fastvec.get_num_threads())"


def test_environment(run_python):
    assert run_python("-c", SHOW, FASTVEC_NUM_THREADS="3").stdout.split() == ["3"]
    code = "import fastvec; fastvec.set_num_threads(2); print(fastvec.get_num_threads())"
    assert run_python("-c", code, FASTVEC_NUM_THREADS="3").stdout.split() == ["2"]


@pytest.mark.parametrize("value", ["0", "-2", "two", "1.5"])
def test_environment_of_another_form_is_refused(run_python, value):
    for code in (SHOW, "import fastvec; fastvec.knn([[1.0]], [[1.0]], 1)"):
        result = run_python("-c", code, FASTVEC_NUM_THREADS=value)
        assert result.returncode == 1
        assert "FASTVEC_NUM_THREADS" in result.stderr
        assert value in result.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system sets no CPU affinity")
def test_default_is_the_cpus_of_this_process(run_python):
    count = int(run_python("-c", SHOW).stdout)
    assert 1 <= count <= len(os.sched_getaffinity(0))
    one = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    assert run_python("-c", one + SHOW).stdout.split() == ["1"]


@pytest.mark.usefixtures("all_threads")
def test_more_threads_than_work():
    vectors = gaussian(3, 8, 1)
    assert_same_topk(fastvec.knn(vectors, vectors, 2, num_threads=64), oracle.knn(vectors, vectors, 2))


@pytest.mark.usefixtures("all_threads")
def test_a_call_that_says_how_many_threads_asks_for_no_other_number(monkeypatch):
    index = fastvec.Index(gaussian(300, 8, 1))
    questions = [[1, 2]], [[3]]
    calls = (
        lambda **of: index.search(gaussian(3, 8, 2), 4, **of),
        lambda **of: index.range_search(gaussian(3, 8, 2), 0.5, **of),
        lambda **of: index.knn_graph(3, include_self=True, **of),
        lambda **of: index.pairs(0.8, **of),
        lambda **of: list(index.pairs_blocks(0.8, **of)),
        lambda **of: index.duplicates(0.8, **of),
        lambda **of: index.analogy(*questions, 3, **of),
        lambda **of: index.analogy(*questions, 3, method="3cosmul", **of),
        lambda **of: fastvec.knn(gaussian(3, 8, 2), gaussian(9, 8, 1), 4, **of),
        lambda **of: fastvec.analogy(gaussian(9, 8, 1), *questions, 3, **of),
    )
    for call in calls:
        call()
    monkeypatch.setattr(threads, "get_num_threads", lambda: pytest.fail("another number is asked for"))
    for call in calls:
        call(num_threads=2)


def test_many_callers_at_once():
    """One Index, several widths first used together, and one-shot searches among them."""
    vectors = np.concatenate([gaussian(1500, 70, 1), mixed(200, 70, 2)])
    index = fastvec.Index(vectors)
    start = threading.Barrier(8)

    def call(i):
        queries = related(vectors, (1, 2, 40, 70)[i % 4], i)
        dims = (None, 16, 33, 64, 70)[i % 5]
        threads = (None, 1, 2, 3)[i % 4]
        if i < start.parties:
            start.wait(timeout=60)
        if i % 3 == 0:
            answer = fastvec.knn(queries, vectors, 10, dims=dims, num_threads=threads)
        else:
            answer = index.search(queries, 10, dims=dims, num_threads=threads)
        return answer, oracle.knn(queries, vectors, 10, dims=dims)

    with ThreadPoolExecutor(start.parties) as pool:
        for answer, expected in pool.map(call, range(48)):
            assert_same_topk(answer, expected)


@pytest.mark.usefixtures("all_threads")
def test_errors_leave_the_pool_usable():
    vectors = gaussian(1500, 64, 1)
    index = fastvec.Index(vectors)
    wanted = oracle.knn(vectors[:70], vectors, 3)
    kept = vectors[5].copy()
    vectors[5] = -kept
    with pytest.raises(RuntimeError, match="vectors changed"):
        index.search(np.repeat(kept[None], 70, axis=0), 1, num_threads=3)
    vectors[5] = kept
    assert_same_topk(index.search(vectors[:70], 3, num_threads=3), wanted)


FORK = """
import os, sys
import fastvec
from data import mixed
vectors = mixed(1500, 70, 1)
index = fastvec.Index(vectors)
def answer():
    searched = index.search(vectors[:70], 5, num_threads=2)
    scanned = fastvec.knn(vectors[:70], vectors, 5, num_threads=2)
    return b"".join(part.tobytes() for part in (*searched, *scanned))
before = answer() if sys.argv[1] == "after" else None
children = []
for _ in range(2):
    child = os.fork()
    if child == 0:
        mine = answer()
        os._exit(0 if before in (None, mine) else 3)
    children.append(child)
statuses = [os.waitpid(child, 0)[1] for child in children]
assert before in (None, answer())
print(*statuses)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize("moment", ["before", "after"])
def test_fork(run_python, moment):
    """Children of a process that has, or has not yet, threads of its own compute the same, and never hang."""
    result = run_python("-c", FORK, moment, timeout=180)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["0", "0"]


CHILD = """
child = os.fork()
if child == 0:
    signal.alarm(30)
    os._exit(0 if fastvec.normalize([[3.0, 4.0]]).shape == (1, 2) else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

COMPILING = """
import os, signal, sys, threading, time
from llvmlite.binding import ffi
from numba.core.compiler_lock import global_compiler_lock
import fastvec
from fastvec.kernels import rows

lock = {"compiler": global_compiler_lock, "LLVM": ffi.lib._lock}[sys.argv[1]]
held, give = threading.Event(), threading.Event()

def hold():
    with lock:
        held.set()
        give.wait(30)

threading.Thread(target=hold).start()
assert held.wait(30)
threading.Timer(0.2, give.set).start()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize("lock", ["compiler", "LLVM"])
def test_a_child_is_not_left_with_the_lock_of_a_thread_that_compiles(run_python, lock):
    result = run_python("-c", COMPILING + CHILD, lock, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["0"]


IMPORTING = """
import os, signal, sys, threading, time
import fastvec

def slowly(name, *_):
    if name == "fastvec.similarity":
        begun.set()
        time.sleep(0.3)

begun = threading.Event()
sys.meta_path.insert(0, type("Slow", (), {"find_spec": staticmethod(slowly)}))
threading.Thread(target=lambda: fastvec.normalize([[3.0, 4.0]])).start()
assert begun.wait(30)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_is_not_left_with_the_lock_of_a_module_that_a_thread_imports(run_python):
    result = run_python("-c", IMPORTING + CHILD, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["0"]


HELPED = """
import os, signal, sys, threading
from fastvec.kernels import threads

def with_help():
    both = threading.Barrier(2)
    threads.run(lambda _: both.wait(20), [0, 1], 2)

with_help()
begun, held, give = threading.Barrier(3), threading.Event(), threading.Event()

def busy():
    threads.run(lambda _: (begun.wait(20), give.wait(20)), [0, 1], 2)

def hold():
    with threads._lock:
        held.set()
        give.wait(20)

helped = [threading.Thread(target=work) for work in (busy, hold)]
helped[0].start()
begun.wait(20)
helped[1].start()
assert held.wait(20)
child = os.fork()
if child == 0:
    signal.alarm(10)
    with_help()
    os._exit(0)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
give.set()
print(status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_has_helpers_of_its_own(run_python):
    """Though threads of its parent, which it lacks, were at work, and one of them held the pool's lock."""
    result = run_python("-c", HELPED, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["0"]


ALONE = """
import atexit, sys, threading, time
import numpy as np
import fastvec

vectors = np.eye(300, 64, dtype=np.float32)

def search():
    found = fastvec.Index(np.repeat(vectors, 20, axis=0)).search(vectors[:64], 1, num_threads=3)
    print((found.indices[:, 0] == 20 * np.arange(64)).all(), flush=True)

def later():
    threading.main_thread().join()
    search()

def refuse(self):
    raise RuntimeError("can't start new thread")

if sys.argv[1] == "atexit":
    atexit.register(search)
elif sys.argv[1] == "after the main thread":
    threading.Thread(target=later).start()
else:
    threading.Thread.start = refuse
    search()
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["atexit", "after the main thread", "at the limit of threads"])
def test_where_no_thread_can_be_had_the_caller_works_alone(run_python, moment):
    result = run_python("-c", ALONE, moment, timeout=120)
    assert (result.returncode, result.stdout.split(), result.stderr) == (0, ["True"], "")


def test_where_memory_for_a_thread_is_missing_the_caller_works_alone(monkeypatch):
    """A thread that finds no memory as it begins never says that it has begun."""
    monkeypatch.setattr(threads, "addresses", lambda: 1 << 25)
    monkeypatch.setattr(threads, "processors", lambda: 4)
    monkeypatch.setattr(threading.Thread, "start", lambda thread: pytest.fail("a thread was started"))
    found = threads.run(lambda part: threading.get_ident(), range(3), 3)
    compile._apart(lambda: found.append(threading.get_ident()))
    assert found == 4 * [threading.get_ident()]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not say")
def test_addresses_that_are_left():
    assert threads.addresses() == np.inf
    code = (
        "import resource; from fastvec.kernels import threads; "
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 33, resource.RLIM_INFINITY)); "
        "before = threads.addresses(); held = bytearray(1 << 28); after = threads.addresses(); "
        "assert 0 < after <= before - (1 << 28) < 1 << 33, (before, after)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_threads_end_with_the_process(run_python):
    code = "import fastvec; fastvec.knn([[1.0] * 64] * 100, [[1.0] * 64] * 3000, 1, num_threads=3)"
    assert run_python("-c", code, timeout=120).returncode == 0


@pytest.mark.parametrize("metric", metrics.TABLE)
@pytest.mark.parametrize("k", [1, 10, 200])
def test_rows_that_defeat_the_bound_are_exact(k, metric):
    """All tied, or one dimension so large that every other vanishes from the codes."""
    for kind in (tied, outlier):
        vectors = kind(20_000, 16, 1)
        queries = np.concatenate([vectors[:2], gaussian(1, 16, 2)])
        expected = oracle.knn(queries, vectors, k, metric)
        assert_same_topk(fastvec.knn(queries, vectors, k, metric=metric), expected)
        assert_same_topk(fastvec.Index(vectors, metric=metric).search(queries, k), expected)


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("m", [1, 5])
def test_a_query_that_one_thread_cannot_finish_is_finished(m):
    """Of the first thread's rows 9,000 are tied and best; the second thread has no such rows."""
    vectors = np.concatenate([tied(9000, 33, 1), gaussian(9000, 33, 2)])
    queries = np.repeat(vectors[:1], m, axis=0)
    expected = oracle.knn(queries, vectors, 10)
    assert_same_topk(fastvec.Index(vectors, screen="off").search(queries, 10, num_threads=2), expected)


MEMORY = """
import resource, sys
import fastvec, numpy as np
from data import KINDS
vectors = KINDS[sys.argv[1]](20_000, 16, 1)
index = fastvec.Index(vectors)
search = {"Index": index.search, "knn": lambda queries, k: fastvec.knn(queries, vectors, k)}[sys.argv[2]]
search(vectors[:100], 10)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
answer = search(vectors[:4000], 10)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.argv[1] == "tied":
    assert (answer.indices == np.arange(10)).all()
print((after - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss has other units elsewhere")
@pytest.mark.parametrize("name", ["Index", "knn"])
@pytest.mark.parametrize("kind", ["gaussian", "tied", "outlier"])
def test_memory_is_bounded(run_python, kind, name):
    """Scores (4,000, 20,000) would take 320 MB as float32, and more in a log of candidates."""
    result = run_python("-c", MEMORY, kind, name)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 160


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_many_calls_leave_no_threads_files_or_memory(run_python):
    """``python tests/flat_soak.py 100000`` makes more of them."""
    result = run_python(Path(__file__).with_name("flat_soak.py"), 2000)
    assert result.returncode == 0, result.stderr
    used = [float(one) for one in re.search(r"s: (.*) MB", result.stdout)[1].split(", ")]
    assert max(used[2:]) - used[1] < 8, result.stdout


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, float("inf")),
        ({"/sys/fs/cgroup/cpu.max": "max 100000\n"}, float("inf")),
        ({"/sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        (
            {
                "/proc/self/cgroup": "0::/pod/app\n",
                "/sys/fs/cgroup/pod/cpu.max": "200000 100000\n",
                "/sys/fs/cgroup/pod/app/cpu.max": "max 100000\n",
            },
            2.0,
        ),
        (
            {
                "/proc/self/cgroup": "4:cpu,cpuacct:/app\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            0.5,
        ),
        ({"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n"}, float("inf")),
    ],
)
def test_limits_of_control_groups_are_read(files, limit, monkeypatch):
    from fastvec.kernels import threads

    monkeypatch.setattr(threads, "_text", lambda path: files.get(str(path), ""))
    assert threads._cgroup_limit() == limit


class Holder:
    """What is computed once, by a function that waits in another thread."""

    entered, go = threading.Event(), threading.Event()

    @stored
    def value(self):
        if threading.current_thread() is not threading.main_thread():
            self.entered.set()
            self.go.wait(30)
        return [threading.get_ident()]


def test_nobody_waits_for_another_thread_that_computes_a_value():
    """A child of a fork would wait for ever; all threads get the value that was stored first."""
    holder, found = Holder(), []
    thread = threading.Thread(target=lambda: found.append(holder.value))
    thread.start()
    assert holder.entered.wait(30)
    first = holder.value
    holder.go.set()
    thread.join(30)
    assert first == [threading.get_ident()]
    assert found[0] is first is holder.value


def test_what_a_forked_child_uses_has_no_lock_of_all_objects():
    """As ``functools.cached_property`` has until Python 3.12."""
    lazy = [
        f"{kind.__module__}.{kind.__qualname__}.{name}"
        for module in [each for key, each in sys.modules.items() if key.startswith("fastvec.")]
        if not module.__name__.startswith(("fastvec.commands", "fastvec.integrations"))
        for kind in vars(module).values()
        if isinstance(kind, type) and kind.__module__.startswith("fastvec.")
        for name, value in vars(kind).items()
        if isinstance(value, functools.cached_property)
    ]
    assert not lazy


def test_processors_are_no_more_than_any_limit_grants(monkeypatch):
    for allowed, granted, count in ((4, 1.5, 2), (4, 0.3, 1), (2, np.inf, 2), (1, 8.0, 1), (3, 3.0, 3)):
        monkeypatch.setattr(threads, "_affinity", lambda allowed=allowed: allowed)
        monkeypatch.setattr(threads, "_cgroup_limit", lambda granted=granted: granted)
        assert threads.processors.__wrapped__() == count


def test_calls_leave_nothing_behind():
    def inner(number):
        job = threads._current.job
        assert threads.run(lambda part: part + number, range(4), 2) == [number + part for part in range(4)]
        assert threads._current.job is job
        return number

    def failing(number):
        raise ValueError(number)

    assert threads.run(inner, range(20), 3) == list(range(20))
    with pytest.raises(ValueError, match="0"):
        threads.run(failing, range(20), 3)
    assert threads._current.job is None
    assert not threads._at_work


def test_a_helper_takes_no_part_once_one_has_failed(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 4)
    begun, caller, taken = threading.Event(), threading.get_ident(), []

    def part(number):
        taken.append(number)
        if threading.get_ident() == caller:
            assert begun.wait(30)
            raise ValueError(number)
        begun.set()
        until = time.monotonic() + 30
        while not threads._current.job.has_stopped() and time.monotonic() < until:
            time.sleep(0.001)

    with pytest.raises(ValueError, match=r"0|1"):
        threads.run(part, list(range(9)), 2)
    assert sorted(taken) == [0, 1]


def test_of_parts_that_fail_the_first_counts(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 4)
    begun, failed = threading.Event(), threading.Event()

    def part(number):
        if number == 0:
            begun.set()
            failed.wait(30)
        else:
            begun.wait(30)
            failed.set()
        raise ValueError(number)

    with pytest.raises(ValueError, match="0"):
        threads.run(part, [0, 1], 2)


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="counts references")
def test_what_a_failed_part_held_is_let_go_at_once(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 4)
    held = []

    def part(number):
        array = np.zeros(9)
        held.append(weakref.ref(array))
        raise ValueError(number)

    gc.disable()
    try:
        with contextlib.suppress(ValueError):
            threads.run(part, [0, 1], 2)
        until = time.monotonic() + 30
        while any(array() is not None for array in held) and time.monotonic() < until:
            time.sleep(0.01)  # a helper lets go of its part a moment later
        assert held
        assert all(array() is None for array in held)
    finally:
        gc.enable()


def test_a_clock_that_stands_still_ends_no_run(monkeypatch):
    monkeypatch.setattr(threads, "time", SimpleNamespace(perf_counter=lambda: 1.0))
    assert list(threads.paced(0, 600, 4, 1 << 26)) == [(0, 4), (4, 36), (36, 292), (292, 600)]


def test_a_run_is_as_long_as_the_time_that_the_one_before_it_took_allows(monkeypatch):
    took = [0.09, 0.024, 0.5, 0.009, 0.049, 9.0, 0.04, 0.04, 0.04, 0.04]
    clock = itertools.accumulate(itertools.chain.from_iterable((1.0, seconds) for seconds in took))
    monkeypatch.setattr(threads, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    runs = list(threads.paced(0, 217, 4, 1 << 20))
    assert [stop - start for start, stop in runs] == [64, 32, 64, 4, 20, 20, 4, 4, 4, 1]


def test_a_helper_ends_its_part_though_the_caller_has_none_left(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 4)
    began, taken, caller = threading.Event(), threading.Event(), threading.get_ident()

    def part(number):
        if threading.get_ident() == caller:
            taken.set()
            assert began.wait(30)
            return number
        assert taken.wait(30)
        began.set()
        done = 0
        for start, stop in threads.paced(0, 1 << 20, 1 << 18, 1 << 26):
            threading.Event().wait(0.02)
            done += stop - start
        return done

    assert sorted(threads.run(part, [0, 1], 2)) in ([0, 1 << 20], [1, 1 << 20])


def test_inner_calls_end_with_the_outer_one(monkeypatch):
    """A helper of the outer call is within a call of its own, whose paces end, too."""
    monkeypatch.setattr(threads, "processors", lambda: 4)
    began, caller, paces = threading.Event(), threading.get_ident(), []

    def inner(number):
        for pace in threads.paced(0, 100, 1, 1 << 26):
            began.set()
            paces.append(pace)
            threading.Event().wait(0.06)  # so long that the next pace is of one element, too

    def part(number):
        if threading.get_ident() == caller:
            assert began.wait(30)
            raise ValueError(number)
        threads.run(inner, [0, 1], 2)

    with pytest.raises(ValueError, match=r"0|1"):
        threads.run(part, [0, 1], 2)
    assert 0 < len(paces) < 100


def test_calls_together_ask_for_no_more_threads_than_processors(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 4)
    monkeypatch.setattr(threads, "_at_work", {})
    pool, work = [], threads._at_work

    def submit(*_):
        pool.append(sum(work.values()))

    monkeypatch.setattr(threads, "_executor", lambda: SimpleNamespace(submit=submit))
    assert threads.run(lambda part: part, range(9), 3) == list(range(9))
    assert len(pool) == 2
    for busy, asked, helpers in ((2, 4, 1), (3, 4, 0), (4, 9, 4), (0, 2, 1), (9, 3, 0)):
        pool.clear()
        work[object()] = busy
        threads.run(lambda part: part, range(9), asked)
        assert pool == helpers * [busy + 1 + helpers]
        work.clear()


def test_parts_and_their_shares_are_told(monkeypatch):
    told, clock = [], itertools.count()
    monkeypatch.setattr(reports, "progress", lambda done, total: told.append((done, total)))
    monkeypatch.setattr(threads, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    assert threads.run(lambda part: part, [], 1) == []
    assert told == []
    assert threads.run(lambda part: part, [7, 8, 9], 1) == [7, 8, 9]
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]

    def part(number):
        for first, last in ((0, 32), (32, 64)):
            for start, stop in threads.paced(first, last, 16, 1 << 26, 64):
                assert stop - start == 16
        threads.advance(0, 1)
        threads.advance(9, 9)  # no more than all is told

    told.clear()
    threads.run(part, [0, 1], 1)
    first = [(share / 4, 2) for share in range(5)]
    assert sorted(set(told)) == sorted({*first, *((1 + share, two) for share, two in first)})
    assert told == sorted(told)

    def outer(number):  # parts of a call within a part are not told, nor are their shares
        threads.run(lambda _: list(threads.paced(0, 64, 16, 1 << 26)), [0, 1], 2)

    told.clear()
    threads.run(outer, [0, 1], 1)
    assert told == [(0, 2), (1, 2), (2, 2)]
