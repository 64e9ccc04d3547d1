"""Threads of the library and of its callers, forks, limits, and bounded memory."""

import functools
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import oracle
import pytest
from assertions import assert_same_topk, words
from data import gaussian, mixed, outlier, related, tied

import fastvec
from fastvec.kernels import compile, metrics, threads
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
