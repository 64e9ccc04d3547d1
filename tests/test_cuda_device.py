"""Layer four of four: a real device. ``pytest -m gpu``; skipped, with the reason, where there is none."""

import gc
from concurrent.futures import ThreadPoolExecutor

import corpus
import numpy as np
import pytest
from data import KINDS, decaying, duplicate, gaussian, mixed, problems, related, tied
from hypothesis import given, settings
from numba import cuda, types

import fastvec
from fastvec._request import checked
from fastvec.kernels import encode, metrics
from fastvec.kernels.cuda import device, rows, scan, search

CASES = corpus.cases()

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        device.simulated() or device.why_not() is not None, reason=f"no device: {device.why_not()}"
    ),
]


@pytest.mark.parametrize("shape", scan.SHAPES)
def test_fragments(shape):
    """First of all: are fragments laid out as the manual says? One warp, random codes, every sum."""
    from test_cuda_model import query_fragments, row_fragments

    from fastvec.kernels.cuda.operations import kernel, load_rows, multiply, pick, zeros

    row_tiles, query_tiles, steps = shape.row_tiles, shape.query_tiles, 3
    size = 4 * row_tiles * query_tiles

    @kernel
    def probe(codes, queries, steps, out):
        lane = types.int64(cuda.laneid)
        sums = zeros(size)
        for step in range(steps):
            words = load_rows(codes, (step * 32 + lane) * 4, steps * 128, row_tiles)
            sums = multiply(sums, words, queries, (step * 32 + lane) * 2, steps * 64)
        for z in range(size):
            out[z * 32 + lane] = pick(sums, types.int64(z))

    rng = np.random.default_rng(0)
    codes = rng.integers(-127, 128, (16 * row_tiles, 32 * steps)).astype(np.int8)
    queries = rng.integers(-127, 128, (8 * query_tiles, 32 * steps)).astype(np.int8)
    out = np.zeros(size * 32, np.int32)
    packed = query_fragments(queries, len(queries), steps)
    sent = [cuda.to_device(array) for array in (row_fragments(codes), packed, out)]
    probe[1, 32, 0, 0](sent[0], sent[1], steps, sent[2])
    out = sent[2].copy_to_host()
    expected = codes.astype(np.int64) @ queries.astype(np.int64).T
    z, lane = np.divmod(np.arange(size * 32), 32)
    pair, corner = z // 4, z % 4
    row = 16 * (pair // query_tiles) + lane // 4 + 8 * (corner // 2)
    query = 8 * (pair % query_tiles) + 2 * (lane % 4) + corner % 2
    np.testing.assert_array_equal(out, expected[row, query])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.ask in ("knn", "3cosadd")])
def test_committed_digests(name):
    case = CASES[name]
    index = fastvec.Index(case.vectors, metric=case.metric, device="cuda")
    if case.ask == "knn":
        answer = index.search(case.queries, case.k, dims=case.dims, where=case.where, exclude=case.exclude)
    else:
        answer = index.analogy(case.queries[:, :2], case.queries[:, 2:], case.k)
    assert corpus.digest(*answer) == corpus.table()[name]["answer"]


@given(problems())
@settings(max_examples=60)
def test_any_search(problem):
    queries, vectors, k, options = problem
    if k > search.MOST_K:
        return
    actual, expected = (
        fastvec.knn(queries, vectors, k, device=place, **options) for place in ("cuda", "cpu")
    )
    same(actual, expected)


def same(actual, expected):
    np.testing.assert_array_equal(actual.indices, expected.indices)
    np.testing.assert_array_equal(actual.scores.view(np.int32), expected.scores.view(np.int32))


@pytest.mark.parametrize("metric", metrics.BOUNDED)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_rows(kind, metric):
    vectors = KINDS[kind](5000, 100, 1)
    check(related(vectors, 20, 2), vectors, 10, metric)


def check(queries, vectors, k, metric="cosine", **options):
    index = fastvec.Index(vectors, metric=metric, device="cuda")
    same(
        index.search(queries, k, **options),
        fastvec.Index(vectors, metric=metric).search(queries, k, **options),
    )


@pytest.mark.parametrize("m", [1, 8, 9, 33, 65, 1100])
@pytest.mark.parametrize("dims", [1, 50, 768, 1536, 3072, 7000])
def test_every_shape(m, dims):
    vectors = decaying(20_000 if dims < 2000 else 3000, dims, 3)
    check(related(vectors, m, 4), vectors, 10)


@pytest.mark.parametrize("k", [1, 100, 1024])
def test_many_neighbors(k):
    check(gaussian(7, 64, 5), gaussian(50_000, 64, 6), k)


@pytest.mark.parametrize("kind", KINDS)
def test_codes_are_those_of_the_processor(kind):
    """Scales, errors, norms and codes, bit for bit: the compiler fused nothing that it must not."""
    from test_cuda_model import row_fragments

    for dims in (1, 33, 768):
        vectors = KINDS[kind](200, dims, 2)
        known = encode.empty(*vectors.shape)
        encode.encode(vectors, known, 1)
        device_rows = rows.DeviceRows(vectors, dims)
        for name in ("scale", "error", "norm"):
            actual = getattr(device_rows.encoded(dims), name).copy_to_host()
            np.testing.assert_array_equal(actual[:200], getattr(known, name))
        steps = -(-dims // 32)
        codes = np.zeros((256, 32 * steps), np.int8)
        codes[:200] = (known.codes[:200, : 32 * steps] ^ np.uint8(128)).view(np.int8)
        np.testing.assert_array_equal(device_rows.codes.copy_to_host(), row_fragments(codes))


def test_float32_that_does_not_fit_stays_here(monkeypatch):
    vectors = decaying(20_000, 100, 15)
    queries = related(vectors, 20, 2)
    monkeypatch.setattr(rows, "_PASSING_BYTES", 1 << 20)
    codes = 20_032 * (128 + 25)
    monkeypatch.setattr(device, "free_bytes", lambda: codes + rows._PASSING_BYTES + rows._SPARE)
    assert fastvec.Index(vectors, device="cuda")._store.on_device.vectors is None
    for dims in (100, 33):
        check(queries, vectors, 10, "euclidean", dims=dims)


def test_changed_vectors_are_noticed():
    on_device = cuda.to_device(gaussian(3000, 64, 14))
    index = fastvec.Index(on_device, device="cuda")
    on_device.copy_to_device(gaussian(3000, 64, 15))
    with pytest.raises(RuntimeError, match="changed"):
        index.search(gaussian(3, 64, 14), 3)


def test_nan_is_named():
    vectors = gaussian(3000, 64, 14)
    index = fastvec.Index(vectors, device="cuda")
    vectors[2999, 63] = np.nan
    with pytest.raises(ValueError, match="queries, row 1999: NaN"):
        index.search(cuda.to_device(vectors[1000:]), 3)
    for array in (vectors, cuda.to_device(vectors)):
        with pytest.raises(ValueError, match="vectors, row 2999: NaN"):
            fastvec.Index(array, device="cuda")


def test_filters():
    vectors = gaussian(30_001, 96, 7)
    queries, rng = vectors[:40], np.random.default_rng(8)
    check(queries, vectors, 10, where=rng.random(30_001) < 0.01)
    check(queries, vectors, 10, where=rng.random((40, 30_001)) < 0.02)
    check(queries, vectors, 10, exclude=fastvec.knn(queries, vectors, 30).indices, dims=40)


@pytest.mark.parametrize("data", [tied, duplicate])
def test_what_the_bound_cannot_narrow(data):
    check(gaussian(5, 32), data(20_000, 32, 9), 10)


def test_overflow(monkeypatch):
    """Lists of any content give the same answer; overflow is counted."""
    vectors = decaying(40_000, 64, 10)
    expected = fastvec.Index(vectors).search(vectors[:9], 10)
    index = fastvec.Index(vectors, device="cuda")
    for limits in (search.Limits(64, 64, 16), search.Limits(100_000, 40_000, 2)):
        monkeypatch.setattr(search, "limits_for", lambda _, limits=limits: limits)
        request = checked(index._store, vectors[:9], 10, metric="cosine", num_threads=2)
        actual, done = index._store.counted(request)
        same(actual, expected)
        assert (done.again > 0) is (limits.capacity < 1000)


def test_two_threads_at_once():
    vectors = mixed(20_000, 96, 11)
    index, queries = fastvec.Index(vectors, device="cuda"), [gaussian(m, 96, m) for m in (1, 5, 40, 100)]
    expected = [fastvec.Index(vectors).search(batch, 10) for batch in queries]
    with ThreadPoolExecutor(2) as pool:
        for actual, right in zip(
            pool.map(lambda batch: index.search(batch, 10), queries * 5), expected * 5, strict=True
        ):
            same(actual, right)


def test_memory_is_freed():
    vectors = gaussian(400_000, 256, 12)
    fastvec.Index(vectors[:1000], device="cuda").search(vectors[:5], 3)
    before = device.free_bytes()
    for _ in range(5):
        index = fastvec.Index(vectors, device="cuda")
        index.search(vectors[:100], 10)
        del index
    gc.collect()
    cuda.current_context().deallocations.clear()
    assert before - device.free_bytes() < 100 << 20


@pytest.mark.parametrize("library", ["torch", "cupy"])
def test_arrays_of_other_libraries(library):
    module = pytest.importorskip(library)
    vectors = gaussian(3000, 64, 13)
    on_device = module.asarray(vectors) if library == "cupy" else module.from_numpy(vectors).cuda()
    expected = fastvec.knn(vectors[:5], vectors, 3)
    same(fastvec.knn(on_device[:5], on_device, 3, device="cuda"), expected)
    same(fastvec.Index(on_device, device="cuda").search(on_device[:5], 3), expected)
