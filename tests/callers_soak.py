"""Sixteen threads search one Index while rows are added and threads are interrupted; every answer is checked.

``python tests/callers_soak.py 60`` does it for a minute, and says how long calls took, and what is left over.
"""

import ctypes
import itertools
import pathlib
import sys
import threading
import time

import numpy as np

import fastvec

_THREADS, _STEPS, _ADDED = 16, 20, 64


class Interrupt(BaseException):
    """Raised in a thread by another one; Python itself drops it where a weak reference is being cleared."""


def soak(seconds):
    """What happened, in words; raises if an answer is wrong or anything is left over."""
    report = sys.unraisablehook
    sys.unraisablehook = lambda lost: None if lost.exc_type is Interrupt else report(lost)
    try:
        return _soak(seconds)
    finally:
        sys.unraisablehook = report


def _soak(seconds):
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((30_000 + _STEPS * _ADDED, 256), np.float32)
    queries = rng.standard_normal((64, 256), np.float32)
    for step in range(_STEPS):  # every addition changes some answers
        vectors[30_000 + step * _ADDED :][: len(queries)] = queries * 0.1 * step + vectors[: len(queries)]
    ends = [30_000 + step * _ADDED for step in range(_STEPS + 1)]
    growing = fastvec.Index(vectors[: ends[0]], copy=True)
    expected = [growing.search(queries, 10)]
    for first, last in itertools.pairwise(ends):
        growing.add(vectors[first:last])
        expected.append(growing.search(queries, 10))
    index, step = fastvec.Index(vectors[: ends[0]], copy=True), 0
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    stop, wrong, durations, interrupted = threading.Event(), [], [], []

    def search(seed):
        rng = np.random.default_rng(seed)
        while not stop.is_set():
            try:
                number, before, began = int(rng.integers(len(queries))), step, time.perf_counter()
                scores, indices = index.search(queries[number], 10)
                durations.append(time.perf_counter() - began)
                possible = expected[before : step + 2]  # an addition is seen before it is counted
                if not any(
                    (scores == answer.scores[number]).all() and (indices == answer.indices[number]).all()
                    for answer in possible
                ):
                    wrong.append((number, before))
            except Interrupt:
                interrupted.append(seed)

    threads = [threading.Thread(target=search, args=(seed,), daemon=True) for seed in range(_THREADS)]
    before = threading.active_count()
    for thread in threads:
        thread.start()
    end, memory = time.monotonic() + seconds, None
    for added in range(1, _STEPS + 1):
        due = end - seconds * (1 - added / _STEPS)
        while time.monotonic() < due:
            time.sleep(0.02)
            thread = threads[int(rng.integers(_THREADS))]
            raise_in(ctypes.c_ulong(thread.ident), ctypes.py_object(Interrupt))
        index.add(vectors[ends[added - 1] : ends[added]])
        step = added
        memory = memory or (_resident() if added >= _STEPS // 4 else None)
    stop.set()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong, wrong[:5]
    grown = _resident() - memory
    assert grown < 64, f"{grown:.0f} MB more"
    left = threading.active_count() - before
    assert left <= fastvec.get_num_threads(), threading.enumerate()
    times = 1000 * np.sort(durations)
    return (
        f"{len(times):,} answers equal, {len(interrupted)} interrupts; p50 {times[len(times) // 2]:.2f} ms, "
        f"p99 {times[int(0.99 * len(times))]:.2f}, longest {times[-1]:.1f}; {grown:.1f} MB more, "
        f"{left} threads of the pool"
    )


def _resident():
    """Megabytes of memory in use; 0 if the system does not say."""
    statm = pathlib.Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 / 2**20 if statm.exists() else 0.0


if __name__ == "__main__":
    print(soak(float(sys.argv[1])))
