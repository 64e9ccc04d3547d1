"""Searches in Numba's CUDA simulator, each compared bit for bit with the processor's.

    NUMBA_ENABLE_CUDASIM=1 python tests/cuda_cases.py [name …]

Prints a line a case. The simulator runs plain Python, a thread of the device after another, so shapes
are tiny, and limits are so small that chunks, overflow and repeated scans happen in them.
"""

import contextlib
import re
import sys
import tempfile
import time
import traceback
from pathlib import Path
from unittest import mock

import corpus
import cuda_simulator  # before kernels are imported
import numpy as np
from data import decaying, duplicate, gaussian, mixed, outlier, ranging, tied, zero
from numba import cuda, types
from test_cuda_model import row_fragments

import fastvec
from fastvec._request import checked
from fastvec.kernels import encode
from fastvec.kernels.cuda import arithmetic, device, operations, rows, scan, search

AMPLE, TINY = search.Limits(256, 64, 2), search.Limits(48, 64, 4)


def check(queries, vectors, k, metric="cosine", limits=AMPLE, **options):
    """Search on both; return the counters of the device's search."""
    search.limits_for = lambda _: limits
    index = fastvec.Index(vectors, metric=metric, device="cuda")
    here = queries.copy_to_host() if device.is_array(queries) else queries
    expected = fastvec.Index(vectors, metric=metric).search(here, k, **options)
    request = checked(index._store, queries, k, metric=metric, num_threads=1, **options)
    actual, done = index._store.counted(request)
    actual = request.answer(actual)
    np.testing.assert_array_equal(actual.indices, expected.indices)
    np.testing.assert_array_equal(actual.scores.view(np.int32), expected.scores.view(np.int32))
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
    vectors = mixed(70, 40, 3)
    check(np.concatenate([vectors[[4, 5]], zero(1, 40)]), vectors, 3, metric)


def case_cosine_of_awkward_rows():
    awkward("cosine")


def case_dot_of_awkward_rows():
    awkward("dot")


def case_euclidean_of_awkward_rows():
    awkward("euclidean")


def case_chunks_raise_thresholds():
    """Most rows never become candidates of the last chunk, and few are rescored."""
    vectors = decaying(256, 32, 1)
    done = check(vectors[:2] + np.float32(0.1), vectors, 2, "euclidean")
    assert done.again == 0
    assert done.direct == 0
    assert done.candidates < 100


def case_lengths_far_apart():
    """Each panel has its largest norm: a long row in one does not loosen the bound of the others."""
    vectors = gaussian(128, 32, 2)
    vectors[64:] *= np.float32(1e-3)
    vectors[5] *= np.float32(1e4)
    for metric in ("dot", "euclidean"):
        assert check(vectors[70:72], vectors, 2, metric).direct == 0
    check(ranging(2, 32), ranging(64, 32), 3, "dot")


def case_rows_that_are_tiny_beside_others():
    """Their scales are few steps of float32: a whole step is lost of the best row, and added to the next."""
    vectors = np.zeros((66, 32), np.float32)
    vectors[0, 0] = -0.75
    step = np.float32(2.0**-149)
    vectors[64] = 443 * step  # 3.49 steps for a code of 1
    vectors[65], vectors[65, 0] = 417 * step, 827 * step  # 6.51 steps
    check(np.ones((1, 32), np.float32), vectors, 1, "dot")


def case_fewer_dimensions():
    vectors = decaying(64, 70, 3)
    check(vectors[:2], vectors, 3, dims=33)
    check(vectors[:2, :32], vectors, 3, "dot", dims=32)
    check(gaussian(2, 70), gaussian(64, 70, 25), 2, dims=9)  # the others have most of a row's length


def case_rows_closed_to_all():
    vectors = gaussian(70, 32, 4)
    check(vectors[:2], vectors, 3, where=np.arange(70) % 3 == 1)
    check(vectors[:1], vectors, 5, where=[69, 7])
    check(vectors[:1], vectors, 2, where=np.zeros(70, bool))


def case_rows_closed_to_one_query():
    vectors = gaussian(70, 32, 5)
    mask = np.random.default_rng(5).random((3, 70)) < 0.3
    check(vectors[:3], vectors, 3, where=mask)


def case_excluded_rows_raise_no_threshold():
    """The best rows are excluded: had they raised it, the answers would be lost."""
    vectors = gaussian(70, 32, 6)
    best = fastvec.knn(vectors[:2], vectors, 9).indices
    check(vectors[:2], vectors, 3, exclude=best)
    check(vectors[:2], vectors, 2, "dot", TINY, exclude=[best[0].tolist(), []])


def case_rows_far_apart():
    """Bounds tell all of the best rows apart: a threshold that is too high by one loses the last."""
    along, lengths = gaussian(1, 32, 24), np.full((64, 1), 0.1, np.float32)
    lengths[[9, 50, 3, 20, 33], 0] = 1.0, 0.8, 0.6, 0.4, 0.2
    for k in (2, 4):
        check(along, lengths * along, k, "dot")


def case_a_warp_walks_over_many_tiles():
    """The only warp of a scan loads its next tiles' first step in the last step of those before."""
    real = scan.launch

    def one_warp(*given):
        grid, _, shared = real(*given)
        return (1, grid[1]), 32, shared

    with mock.patch.object(scan, "launch", one_warp):
        vectors = gaussian(150, 40, 26)
        check(vectors[[130, 149]], vectors, 2, limits=search.Limits(256, 256, 2))


def case_equal_rows():
    check(gaussian(2, 32), duplicate(70, 32), 4)


def case_overflow_is_scanned_again():
    """Lists hold fewer than a chunk's first candidates, but all that the raised threshold leaves."""
    vectors = decaying(256, 64, 7)
    done = check(vectors[:2], vectors, 2, limits=TINY)
    assert done.again > 0
    assert done.direct == 0


def case_overflow_loses_and_repeats_nothing():
    """Whichever of a chunk's candidates found room in the list: the best are each there once."""
    vectors = decaying(64, 64, 7)
    done = check(vectors[[0, 21, 42, 63]], vectors, 2, limits=TINY)
    assert done.again > 0


def case_overflow_of_one_query_repeats_nothing_of_another():
    """The best rows of the second query are in a chunk that is scanned again for the first alone."""
    vectors = gaussian(128, 32, 27)
    vectors[64:124, 0] += np.linspace(10, 60, 60, dtype=np.float32)
    vectors[[124, 126], 1] += np.float32([40, 80])
    assert check(np.eye(2, 32, dtype=np.float32), vectors, 2, limits=TINY).again > 1


def case_overflow_that_remains_leaves():
    """Nothing tells equal rows apart: the exact pass finishes them; other queries do not leave."""
    vectors = np.concatenate([tied(100, 32, 8), gaussian(28, 32, 9)])
    queries = np.concatenate([vectors[:1], vectors[120:121]])
    done = check(queries, vectors, 2, limits=TINY)
    assert done.direct >= 1
    assert done.again > 0


def case_outliers():
    check(outlier(2, 32, 1), outlier(64, 32), 3, "euclidean")


def case_many_queries():
    """More tiles of queries a warp, several groups of queries, and zero queries past the last."""
    vectors = gaussian(64, 32, 10)
    search_shape = scan.shape_for(9, 1, device.shared_memory())
    assert search_shape.query_tiles == 4
    check(vectors[:9], vectors, 1)
    assert scan.shape_for(33, 1, device.shared_memory()).query_tiles == 8
    check(gaussian(33, 8), vectors[:16, :8], 1)


def case_queries_too_wide_for_shared_memory():
    with mock.patch.object(scan, "WITHOUT_ASKING", 64), mock.patch.object(scan, "OVERHEAD", 1 << 20):
        assert not scan.shape_for(1, 2, device.shared_memory()).shared
        check(gaussian(2, 64), gaussian(64, 64, 11), 2)


def case_more_neighbors_than_rows():
    check(gaussian(2, 32), gaussian(20, 32, 12), 30)
    check(gaussian(2, 32)[:0], gaussian(20, 32), 3)
    check(gaussian(2, 32), gaussian(20, 32)[:0], 3)


def case_one_shot_and_analogies():
    vectors = gaussian(70, 32, 13)
    for name, options in (("knn", (vectors[0], vectors, 3)), ("analogy", (vectors, [1, 2], [3], 2))):
        actual, expected = (getattr(fastvec, name)(*options, device=place) for place in ("cuda", "cpu"))
        np.testing.assert_array_equal(actual.indices, expected.indices)
        np.testing.assert_array_equal(actual.scores, expected.scores)
    index = fastvec.Index(vectors, device="cuda")
    np.testing.assert_array_equal(index.analogy([1, 2], [3], 2).indices, expected.indices)


@contextlib.contextmanager
def scarce(n, dims):
    """Memory for the codes of n rows, and for float32 rows that pass through, 64 at a time."""
    with mock.patch.object(rows, "_PASSING_BYTES", 64 * 4 * dims):
        room = -(-n // 64) * 64 * (-(-dims // 32) * 32 + 25)
        with mock.patch.object(device, "free_bytes", return_value=room + 64 * 4 * dims + rows._SPARE):
            yield


def case_float32_that_does_not_fit_stays_here():
    vectors = decaying(70, 40, 15)
    with scarce(*vectors.shape):
        assert fastvec.Index(vectors, device="cuda")._store.on_device.vectors is None
        check(vectors[:2], vectors, 3, "euclidean", exclude=[[0], [5, 6]])
        check(cuda.to_device(vectors[:2]), vectors, 3, dims=33)
    with scarce(100, 32):
        assert check(tied(2, 32, 8), tied(100, 32, 8), 2, limits=TINY).direct == 2


def changed(index, queries):
    return "changed" in refused(index.search, queries, 3)


def case_changed_vectors_are_noticed():
    """Where they are read again: if they do not fit on the device, or are used in place there."""
    vectors = gaussian(70, 32, 14)
    on_device = cuda.to_device(vectors)
    in_place = fastvec.Index(on_device, device="cuda")
    kept = fastvec.Index(vectors, device="cuda")
    with scarce(*vectors.shape):
        here = fastvec.Index(vectors, device="cuda")
    expected = fastvec.knn(vectors[0], vectors, 3)
    queries = vectors[:1].copy()
    vectors[:] = vectors[::-1].copy()
    on_device.copy_to_device(vectors)
    assert changed(in_place, queries)
    assert changed(here, queries)
    np.testing.assert_array_equal(kept.search(queries[0], 3).scores, expected.scores)


def case_arrays_on_the_device():
    vectors = gaussian(70, 33, 16)
    on_device, queries = cuda.to_device(vectors), cuda.to_device(vectors[:2])
    expected = fastvec.knn(vectors[:2], vectors, 3)
    index = fastvec.Index(on_device, device="cuda")
    for actual in (
        index.search(queries, 3),
        index.search(vectors[:2], 3),
        index.search(cuda.to_device(vectors[:2].astype(np.float64)), 3),
        index.search(cuda.to_device(np.asfortranarray(vectors[:2])), 3),
        fastvec.knn(queries, on_device, 3, device="cuda"),
        fastvec.knn(queries, vectors, 3, device="cpu"),
    ):
        np.testing.assert_array_equal(actual.indices, expected.indices)
        np.testing.assert_array_equal(actual.scores, expected.scores)
    one = index.search(cuda.to_device(vectors[1]), 3)
    np.testing.assert_array_equal(one.indices, expected.indices[1])
    narrow = fastvec.knn(vectors[:2], vectors, 3, dims=32)
    np.testing.assert_array_equal(index.search(queries, 3, dims=32).scores, narrow.scores)
    np.testing.assert_array_equal(index.vectors, vectors)
    answer = fastvec.analogy(vectors, [1, 2], [3], 2)
    np.testing.assert_array_equal(index.analogy([1, 2], [3], 2).indices, answer.indices)
    actual = fastvec.analogy(on_device, [1, 2], [3], 2, device="cuda")
    np.testing.assert_array_equal(actual.scores, answer.scores)


def case_searches_of_the_same_kind():
    """The second is launched as the first was recorded; others between them make no difference."""
    vectors = decaying(70, 32, 21)
    index, known = fastvec.Index(vectors, device="cuda"), fastvec.Index(vectors)
    search.limits_for = lambda _: AMPLE
    for options in ({}, {}, {"where": np.arange(70) > 9}, {}, {"exclude": [[1, 2]]}, {}, {"dims": 9}, {}):
        queries = gaussian(1, 32, len(options))
        actual, expected = (one.search(queries, 3, **options) for one in (index, known))
        np.testing.assert_array_equal(actual.indices, expected.indices)
        np.testing.assert_array_equal(actual.scores, expected.scores)

    for metric in ("dot", "cosine"):  # an Index has one metric, its store serves any
        request = checked(index._store, queries, 3, metric=metric, num_threads=1)
        actual, expected = index._store.search(request), fastvec.knn(queries, vectors, 3, metric=metric)
        np.testing.assert_array_equal(actual.indices, expected.indices)
        np.testing.assert_array_equal(actual.scores, expected.scores)


def case_workspaces_are_found_again():
    """By searches of two sizes in turn; the last ones are kept."""
    vectors = gaussian(64, 8, 22)
    index = fastvec.Index(vectors, device="cuda")
    search.limits_for = lambda _: AMPLE
    kept = []
    for m in (1, 2, 1, 2, 1):
        index.search(vectors[:m], 1)
        kept.append(set(index._store.on_device.idle))
    assert kept[1] == kept[2] == kept[3] == kept[4]
    index.search(vectors[:3], 1)
    assert len(index._store.on_device.idle) == 2


def case_one_shot_reads_no_more_than_it_is_asked_for():
    vectors = decaying(70, 40, 23)
    vectors[3, 33:] = np.nan
    expected = fastvec.knn(vectors[:2, :33], vectors, 3, dims=33)
    for array in (vectors, cuda.to_device(vectors)):
        actual = fastvec.knn(vectors[:2, :33], array, 3, dims=33, device="cuda")
        np.testing.assert_array_equal(actual.indices, expected.indices)
        np.testing.assert_array_equal(actual.scores, expected.scores)
    assert "row 3: NaN" in refused(
        fastvec.knn, vectors[:1, :34], cuda.to_device(vectors), 1, dims=34, device="cuda"
    )


def case_nan_on_the_device_is_named():
    vectors = gaussian(70, 32, 17)
    index = fastvec.Index(vectors, device="cuda")
    for value, what in ((np.nan, "NaN"), (-np.inf, "inf")):
        bad = vectors.copy()
        bad[66, 31] = value
        assert f"vectors, row 66: {what}" in refused(fastvec.Index, cuda.to_device(bad), device="cuda")
        assert f"vectors, row 66: {what}" in refused(fastvec.Index, bad, device="cuda")
        assert f"queries, row 1: {what}" in refused(index.search, cuda.to_device(bad[65:67]), 2)
    assert "31 dimensions" in refused(index.search, cuda.to_device(vectors[:2, :31].copy()), 2)
    assert "shape" in refused(fastvec.Index, cuda.to_device(vectors[0]), device="cuda")


def case_codes_are_those_of_the_processor():
    """All kinds of rows: scales, errors, norms, and codes in the order of fragments."""
    for dims in (1, 33):
        vectors = mixed(70, dims, 18)
        known = encode.empty(*vectors.shape)
        encode.encode(vectors, known, 1)
        device_rows = rows.DeviceRows(vectors, dims)
        for name in ("scale", "error", "norm"):
            actual = getattr(device_rows.encoded(dims), name).copy_to_host()
            np.testing.assert_array_equal(actual[:70], getattr(known, name))
            assert not actual[70:].any()
        steps = -(-dims // 32)
        codes = np.zeros((128, 32 * steps), np.int8)
        codes[:70] = (known.codes[:70, : 32 * steps] ^ np.uint8(128)).view(np.int8)
        np.testing.assert_array_equal(device_rows.codes.copy_to_host(), row_fragments(codes))
    narrow, found = encode.prefix(vectors, known, 9, 1), device_rows.encoded(9)
    for name in ("error", "norm"):  # the order of a prefix's sums is that of the lanes
        actual = getattr(found, name).copy_to_host()[:70]
        np.testing.assert_allclose(actual, getattr(narrow, name), rtol=2.0**-22)


def case_a_copy_is_independent():
    """Of rows on the device, and of rows that stay here."""
    vectors = gaussian(70, 32, 18)
    for array in (vectors.copy(), cuda.to_device(vectors)):
        plain, index = (fastvec.Index(array, device="cuda", copy=copy) for copy in (False, True))
        assert index.nbytes == plain.nbytes + vectors.nbytes
        array[:] = np.float32(0)
        actual, expected = index.search(vectors[:2], 3), fastvec.Index(vectors).search(vectors[:2], 3)
        np.testing.assert_array_equal(actual.indices, expected.indices)
        np.testing.assert_array_equal(index.vectors, vectors)


def case_saved_from_the_device():
    vectors = gaussian(70, 32, 19)
    with tempfile.TemporaryDirectory() as folder:
        fastvec.Index(cuda.to_device(vectors), device="cuda").save(folder + "/index")
        opened = fastvec.Index.open(folder + "/index")
        opened.verify()
        np.testing.assert_array_equal(opened.vectors, vectors)


def refused(function, *arguments, **options):
    try:
        function(*arguments, **options)
    except (NotImplementedError, RuntimeError, ValueError) as error:
        return str(error)
    raise AssertionError("not refused")


def case_graphs():
    vectors = gaussian(20, 32)
    expected, actual = fastvec.Index(vectors).knn_graph(2), fastvec.Index(vectors, device="cuda").knn_graph(2)
    np.testing.assert_array_equal(actual.indices, expected.indices)
    np.testing.assert_array_equal(actual.scores, expected.scores)


def case_what_a_device_does_not_do():
    index = fastvec.Index(gaussian(20, 32), device="cuda")
    assert "range_search" in refused(index.range_search, gaussian(1, 32), 0.5)
    assert "manhattan" in refused(fastvec.Index, gaussian(3, 4), metric="manhattan", device="cuda")
    assert "add" in refused(index.add, gaussian(1, 32))
    assert "verify" in refused(index.verify)
    assert "3cosmul" in refused(index.analogy, [1], [2], method="3cosmul")
    assert "3cosmul" in refused(fastvec.analogy, gaussian(9, 3), [1], [2], method="3cosmul", device="cuda")
    assert "1,024" in refused(index.search, gaussian(1, 32), 1025)
    assert "NaN" in refused(fastvec.knn, [1.0, 2.0], [[1.0, np.nan]], 1, device="cuda")


def case_rows_that_do_not_fit():
    with mock.patch.object(device, "free_bytes", return_value=6e8):
        try:
            rows.DeviceRows(np.broadcast_to(np.float32(1), (10_000_000, 768)), 768)
        except MemoryError as error:
            assert "8.1 GiB" in str(error)  # noqa: PT017 - no pytest in this process
        else:
            raise AssertionError("fits")


def case_device_is_listed_and_counted():
    assert [device.name for device in fastvec.machine.devices() if device.available] == ["cpu", "cuda"]
    vectors = gaussian(100, 32)
    index = fastvec.Index(vectors, device="cuda")
    assert "device='cuda'" in repr(index)
    assert index.nbytes > fastvec.Index(vectors).nbytes + 128 * 32
    before = index.nbytes
    index.search(vectors[0], 3)
    assert index.nbytes > before, "lists of candidates are kept"
    again = __import__("pickle").loads(__import__("pickle").dumps(index))
    assert "device='cuda'" in repr(again)


@operations.kernel
def neighbors(barrier, late, actual):
    """What each thread's neighbor wrote, with a barrier or without; one of the threads may miss it."""
    written = cuda.shared.array(32, types.int32)
    thread = cuda.threadIdx.x
    written[thread] = 0
    cuda.syncthreads()
    written[thread] = thread + 1
    if barrier and thread != late:
        cuda.syncthreads()
    actual[thread] = written[thread ^ 1]


def case_operations_are_those_of_the_device():
    """Each operation that kernels take by name is in the registry, and in the real one."""
    source = Path(operations.__file__).with_name("intrinsics.py").read_text(encoding="utf-8")
    table = source[source.index("OPERATIONS = MappingProxyType(") :]
    names = {*re.findall(r'^        "(\w+)": ', table, re.MULTILINE), *arithmetic.OPERATIONS}
    assert names == set(operations.provided()) == set(cuda_simulator.operations())
    assert "is registered already" in refused(cuda_simulator.install)


def case_the_simulator_sees_a_missing_barrier():
    actual = np.zeros(32, np.int32)
    run = neighbors[1, 32, 0, 0]
    run(True, -1, actual)
    np.testing.assert_array_equal(actual, (np.arange(32) ^ 1) + 1)
    run(False, -1, actual)
    assert 0 in actual
    assert "do not come" in refused(run, True, 5, actual)


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
    assert device.stand_in() is not None, "set NUMBA_ENABLE_CUDASIM=1"
    main(sys.argv[1:])
