"""What a search reports to have done: the micro-kernel, and how many pairs got how far."""

import numpy as np
import oracle
import pytest
from assertions import assert_same_topk
from data import gaussian, hashed, related, tied

import fastvec
from fastvec._request import checked
from fastvec._stores import cpu
from fastvec._stores.passes import Counters, search
from fastvec.kernels import cost, metrics

AVAILABLE = [kernel.name for kernel in fastvec.machine.micro_kernels() if kernel.available]
N, DIMS = 5000, 64


def counted(queries, vectors, k, *, encoded, metric="cosine", dims=None, where=None, exclude=None, threads=1):
    """Counters of an Index's search, or of a one-shot search, whose answer must be the oracle's."""
    store = cpu.encoded(vectors, copy=False, screen="off") if encoded else cpu.one_shot(vectors)
    options = {"metric": metric, "dims": dims, "where": where, "exclude": exclude, "num_threads": threads}
    request = checked(store, queries, k, **options)
    actual, counters = search(store, request)
    assert_same_topk(request.answer(actual), oracle.knn(queries, vectors, k, metric, dims, where, exclude))
    return counters


@pytest.fixture(scope="module")
def vectors():
    return gaussian(N, DIMS, 1)


@pytest.fixture(autouse=True)
def unforced(monkeypatch):
    monkeypatch.delenv("FASTVEC_MICRO_KERNEL", raising=False)


def test_a_metric_without_a_bound_is_scored_directly(vectors, monkeypatch):
    done = counted(hashed(3, DIMS, 2), vectors, 10, encoded=True, metric="manhattan")
    assert done == Counters(None, 0, 0, 0, 3)
    monkeypatch.setenv("FASTVEC_MICRO_KERNEL", "generic")
    assert counted(hashed(3, DIMS, 2), vectors, 10, encoded=True, metric="manhattan") == done


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("metric", metrics.BOUNDED)
@pytest.mark.parametrize("m", [1, 2, 3, 70])
def test_a_scan(m, metric, vectors):
    for k, threads in ((1, 1), (10, 1), (10, 2)):
        queries = hashed(m, DIMS, 2)
        done = counted(queries, vectors, k, encoded=True, metric=metric, threads=threads)
        assert done.micro_kernel == fastvec.machine.active_micro_kernel()
        assert done.scanned == m * N
        assert m * k <= done.rescored <= done.candidates
        assert done.candidates < done.scanned / 10, "the bound discards too little"
        assert done.direct == 0


def test_a_scan_of_a_prefix(vectors):
    done = counted(hashed(5, DIMS, 2), vectors, 10, encoded=True, dims=32)
    assert done.scanned == 5 * N
    assert 50 <= done.rescored <= done.candidates < done.scanned / 10
    assert done.direct == 0


@pytest.mark.parametrize(("step", "scanned"), [(2, N), (50, N // 50)])
def test_only_rows_that_may_be_returned_survive(step, scanned, vectors):
    """Where a filter leaves few rows, only those are scanned."""
    where = np.arange(0, N, step)
    done = counted(hashed(5, DIMS, 2), vectors, 3, encoded=True, where=where, exclude=[[0, 100]] * 5)
    assert done.scanned == 5 * scanned
    assert 15 <= done.rescored <= done.candidates <= 5 * (len(where) - 2)


def test_rescoring_stops_early(vectors):
    """A query that is a row of the vectors: behind it, no interval reaches the best exact score."""
    done = counted(vectors[:5], vectors, 1, encoded=True)
    assert done.rescored == 5


@pytest.mark.parametrize("m", [1, 3, 70])
def test_tied_rows_are_left_to_the_exact_pass(m):
    vectors = tied(20_000, 17, 1)
    done = counted(related(vectors, m, 1), vectors, 10, encoded=True)
    assert done == Counters(fastvec.machine.active_micro_kernel(), m * 20_000, 0, 0, m)


def test_queries_leave_one_by_one():
    """Of several queries, just those leave that the bound cannot help."""
    vectors = np.concatenate([gaussian(N, DIMS, 1), tied(20_000, DIMS, 9)])
    queries = np.concatenate([vectors[:6], vectors[-1:]])
    done = counted(queries, vectors, 10, encoded=True)
    assert done.direct == 1
    assert 60 <= done.rescored <= done.candidates < 6 * N


def test_so_large_a_k_goes_to_the_exact_pass(vectors, monkeypatch):
    queries = hashed(3, DIMS, 2)
    assert counted(queries, vectors, N, encoded=True) == Counters(None, 0, 0, 0, 3)
    # What is asked for by name is used.
    monkeypatch.setenv("FASTVEC_MICRO_KERNEL", fastvec.machine.active_micro_kernel())
    done = counted(queries, vectors, N, encoded=True)
    assert done.micro_kernel == fastvec.machine.active_micro_kernel()
    assert done.scanned == 3 * N
    assert done.rescored == 3 * N or done.direct == 3


def test_one_shot_searches(vectors):
    """Little work goes to the exact pass, a batch to the scan."""
    assert counted(hashed(1, DIMS, 2), vectors, 10, encoded=False) == Counters(None, 0, 0, 0, 1)
    done = counted(hashed(128, DIMS, 2), vectors, 10, encoded=False)
    assert done.micro_kernel == fastvec.machine.active_micro_kernel()
    assert done.scanned == 128 * N
    assert 1280 <= done.rescored <= done.candidates < done.scanned / 10


@pytest.mark.parametrize("threads", [1, 3])
def test_one_shot_searches_too_large_to_be_encoded_first(vectors, threads, monkeypatch):
    """Rows are encoded block by block; the answers are the same, with more candidates of more threads."""
    queries = hashed(128, DIMS, 2)
    first = counted(queries, vectors, 10, encoded=False, threads=threads)
    monkeypatch.setattr(cost, "encoding_first_pays", lambda *sizes: False)
    monkeypatch.setattr(cpu.CpuStore, "encoded_first", None)
    blocks = counted(queries, vectors, 10, encoded=False, threads=threads)
    assert blocks.scanned == first.scanned
    assert first.candidates <= blocks.candidates


def test_nothing_to_do():
    for m, n in ((0, 10), (2, 0)):
        assert counted(gaussian(m, 4), gaussian(n, 4), 2, encoded=True) == Counters(None, 0, 0, 0, 0)


FORCED = """
import fastvec
from data import gaussian
from fastvec.kernels import few, micro, scan, scorers
from fastvec._request import checked
from fastvec._stores import cpu
from fastvec._stores.passes import search

scorer, ways, tiles = scorers.scorer(micro.active().name), set(), set()
for name, module in {"_search_by_codes": few, "_scan_rows": scan, "_scan_tiles": scan}.items():
    def recording(*names, original=getattr(module, name), name=name):
        def call(*arguments):
            assert [some for some in arguments if type(some) is int and some == scorer]
            return original(*names)(*arguments)
        ways.add(name)
        tiles.update(names[:1] if name == "_scan_tiles" else ())
        return call
    setattr(module, name, recording)

vectors = gaussian(5000, 64, 1)
store = cpu.encoded(vectors, copy=False, screen="off")
for m in (1, 2, 3, 70):
    done = search(store, checked(store, vectors[:m], 10, metric="cosine", num_threads=1))[1]
    print(done.micro_kernel, done.scanned == m * 5000)
few.CODES_AT_ONCE = 0
search(store, checked(store, vectors[:1], 10, metric="cosine", num_threads=1))
store = cpu.one_shot(vectors)
request = checked(store, vectors[:128], 10, metric="cosine", num_threads=1)
print(search(store, request)[1].micro_kernel, len(ways) == 3)
print(*tiles)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", AVAILABLE)
def test_the_forced_micro_kernel_is_the_one_that_runs(name, run_python):
    result = run_python("-c", FORCED, FASTVEC_MICRO_KERNEL=name)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [name, "True"] * 5 + [name]
