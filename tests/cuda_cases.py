"""Searches in Numba's CUDA simulator, each compared bit for bit with the processor's.

    NUMBA_ENABLE_CUDASIM=1 python tests/cuda_cases.py [name …]

Prints a line a case. The simulator takes a Python thread for a device's, so shapes are tiny, and
limits are so small that chunks, overflow and repeated scans happen in them.
"""

import os
import sys
import time
import traceback

import corpus
import numpy as np
from data import decaying, duplicate, gaussian, mixed, outlier, ranging, tied, zero

import fastvec
from fastvec import _device
from fastvec._request import Request
from fastvec.kernels.cuda import scan, search

# Threads wait for each other all the time: let them take turns sooner than every 5 ms.
sys.setswitchinterval(1e-4)

AMPLE, TINY = search.Limits(256, 64, 2), search.Limits(48, 64, 4)


def check(queries, vectors, k, metric="cosine", limits=AMPLE, **options):
    """Search on both; return the counters of the device's search."""
    search.limits_for = lambda _: limits
    index = fastvec.Index(vectors, metric=metric, device="cuda")
    expected = fastvec.Index(vectors, metric=metric).search(queries, k, **options)
    filters = [options.get(name) for name in ("dims", "where", "exclude")]
    request = Request(queries, (index._blocks[0].vectors,), k, metric, *filters, 1, encoded=True)
    done = _device.fill(request, index._on_device, index._blocks[0].prefix(request.dims, 1))
    found = request.result()
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.scores.view(np.int32), expected.scores.view(np.int32))
    return done


def case_committed_digests():
    search.limits_for = lambda _: AMPLE
    cases = corpus.cases()
    for name in corpus.TINY:
        index = fastvec.Index(cases[name].vectors, metric=cases[name].metric, device="cuda")
        assert (
            corpus.digest(*index.search(cases[name].queries, cases[name].k)) == corpus.table()[name]["answer"]
        )


def awkward(metric):
    vectors = mixed(130, 40, 3)
    check(np.concatenate([vectors[[4, 5]], zero(1, 40)]), vectors, 3, metric)


def case_cosine_of_awkward_rows():
    awkward("cosine")


def case_dot_of_awkward_rows():
    awkward("dot")


def case_euclidean_of_awkward_rows():
    awkward("euclidean")


def case_chunks_raise_thresholds():
    """Most rows never become candidates of the last chunk, and few are rescored."""
    vectors = decaying(256, 64, 1)
    for metric in ("cosine", "euclidean"):
        done = check(vectors[:2] + np.float32(0.1), vectors, 2, metric)
        assert done.again == 0
        assert done.direct == 0
        assert done.candidates < 100


def case_lengths_far_apart():
    """Panels have their own largest norm: a long row in one does not spoil the others."""
    vectors = gaussian(192, 32, 2)
    vectors[64:128] *= np.float32(1e-3)
    vectors[5] *= np.float32(1e4)
    for metric in ("dot", "euclidean"):
        assert check(vectors[70:72], vectors, 2, metric).direct == 0
    check(ranging(2, 32), ranging(128, 32), 3, "dot")


def case_fewer_dimensions():
    vectors = decaying(128, 70, 3)
    check(vectors[:2], vectors, 3, dims=33)
    check(vectors[:2, :32], vectors, 3, "dot", dims=32)


def case_rows_closed_to_all():
    vectors = gaussian(130, 32, 4)
    check(vectors[:2], vectors, 3, where=np.arange(130) % 3 == 1)
    check(vectors[:1], vectors, 5, where=[129, 7])
    check(vectors[:1], vectors, 2, where=np.zeros(130, bool))


def case_rows_closed_to_one_query():
    vectors = gaussian(130, 32, 5)
    mask = np.random.default_rng(5).random((3, 130)) < 0.3
    check(vectors[:3], vectors, 3, where=mask)


def case_excluded_rows_raise_no_threshold():
    """The best rows are excluded: had they raised it, the answers would be lost."""
    vectors = gaussian(130, 32, 6)
    best = fastvec.knn(vectors[:2], vectors, 9).indices
    check(vectors[:2], vectors, 3, exclude=best)
    check(vectors[:2], vectors, 2, "dot", TINY, exclude=[best[0].tolist(), []])


def case_equal_rows():
    check(gaussian(2, 32), duplicate(130, 32), 4)


def case_overflow_is_scanned_again():
    """Lists hold fewer than a chunk's first candidates, but all that the raised threshold leaves."""
    vectors = decaying(256, 64, 7)
    done = check(vectors[:2], vectors, 2, limits=TINY)
    assert done.again > 0
    assert done.direct == 0


def case_overflow_that_remains_leaves():
    """Nothing tells equal rows apart: the exact pass finishes them; other queries do not leave."""
    vectors = np.concatenate([tied(100, 32, 8), gaussian(28, 32, 9)])
    queries = np.concatenate([vectors[:1], vectors[120:121]])
    done = check(queries, vectors, 2, limits=TINY)
    assert done.direct >= 1
    assert done.again > 0


def case_outliers():
    check(outlier(2, 32, 1), outlier(128, 32), 3, "euclidean")


def case_many_queries():
    """More tiles of queries a warp, several groups of queries, and zero queries behind the last."""
    vectors = gaussian(64, 32, 10)
    search_shape = scan.shape_for(9, 1)
    assert search_shape.query_tiles == 4
    check(vectors[:9], vectors, 1)
    assert scan.shape_for(35, 1).query_tiles == 8
    check(gaussian(35, 32), vectors[:32], 1)


def case_queries_too_wide_for_shared_memory():
    before, scan.SHARED_BYTES = scan.SHARED_BYTES, 64
    try:
        assert not scan.shape_for(1, 2).shared
        check(gaussian(2, 64), gaussian(64, 64, 11), 2)
    finally:
        scan.SHARED_BYTES = before


def case_more_neighbors_than_rows():
    check(gaussian(2, 32), gaussian(20, 32, 12), 30)
    check(gaussian(2, 32)[:0], gaussian(20, 32), 3)
    check(gaussian(2, 32), gaussian(20, 32)[:0], 3)


def case_one_shot_and_analogies():
    vectors = gaussian(70, 32, 13)
    for name, options in (("knn", (vectors[0], vectors, 3)), ("analogy", (vectors, [1, 2], [3], 2))):
        found, expected = (getattr(fastvec, name)(*options, device=place) for place in ("cuda", "cpu"))
        np.testing.assert_array_equal(found.indices, expected.indices)
        np.testing.assert_array_equal(found.scores, expected.scores)
    index = fastvec.Index(vectors, device="cuda")
    np.testing.assert_array_equal(index.analogy([1, 2], [3], 2).indices, expected.indices)


def case_changed_vectors_are_noticed():
    vectors = gaussian(70, 32, 14)
    index = fastvec.Index(vectors, device="cuda")
    vectors[:] = vectors[::-1].copy()
    try:
        index.search(vectors[0], 3)
    except RuntimeError as error:
        assert "changed" in str(error)  # noqa: PT017 - no pytest in this process
    else:
        raise AssertionError("not noticed")


def refused(function, *arguments, **options):
    try:
        function(*arguments, **options)
    except (NotImplementedError, ValueError) as error:
        return str(error)
    raise AssertionError("not refused")


def case_what_a_device_does_not_do():
    index = fastvec.Index(gaussian(20, 32), device="cuda")
    assert "range_search" in refused(index.range_search, gaussian(1, 32), 0.5)
    assert "add" in refused(index.add, gaussian(1, 32))
    assert "knn_graph" in refused(index.knn_graph, 2)
    assert "3cosmul" in refused(index.analogy, [1], [2], method="3cosmul")
    assert "3cosmul" in refused(fastvec.analogy, gaussian(9, 3), [1], [2], method="3cosmul", device="cuda")
    assert "1,024" in refused(index.search, gaussian(1, 32), 1025)
    assert "NaN" in refused(fastvec.knn, [1.0, 2.0], [[1.0, np.nan]], 1, device="cuda")


def case_rows_that_do_not_fit():
    from fastvec.kernels.cuda import device

    before, device.free_bytes = device.free_bytes, lambda: 1e9
    try:
        fastvec.kernels.cuda.rows._refuse_what_does_not_fit(10_000_000, 768)
    except MemoryError as error:
        assert "GiB" in str(error)  # noqa: PT017 - no pytest in this process
    else:
        raise AssertionError("fits")
    finally:
        device.free_bytes = before


def case_device_is_listed_and_counted():
    assert [device.name for device in fastvec.machine.devices() if device.available] == ["cpu", "cuda"]
    vectors = gaussian(100, 32)
    index = fastvec.Index(vectors, device="cuda")
    assert "device='cuda'" in repr(index)
    assert index.nbytes > fastvec.Index(vectors).nbytes + 128 * 32
    again = __import__("pickle").loads(__import__("pickle").dumps(index))
    assert "device='cuda'" in repr(again)


CASES = {name.removeprefix("case_"): case for name, case in globals().items() if name.startswith("case_")}


def main(names):
    for name in names or CASES:
        start = time.perf_counter()
        try:
            CASES[name]()
            print(f"{name}: passed ({time.perf_counter() - start:.1f} s)", flush=True)
        except Exception:
            print(f"{name}: failed", traceback.format_exc().replace("\n", "\n    "), flush=True)


if __name__ == "__main__":
    assert os.environ.get("NUMBA_ENABLE_CUDASIM") == "1", "set NUMBA_ENABLE_CUDASIM=1"
    main(sys.argv[1:])
