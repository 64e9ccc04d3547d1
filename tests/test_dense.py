"""The ways to a dense matrix of cosines: each is right everywhere, and no less accurate than BLAS."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import oracle
import pytest
from assertions import assert_same_bits, words
from data import KINDS, gaussian, hashed, mixed
from hypothesis import given, settings
from hypothesis import strategies as st

import fastvec
from fastvec.kernels import cost, cpu, dense, micro
from fastvec.kernels.dense import blocks


def exact(queries, vectors, out, num_threads):
    """The way of few queries, given as many as there are."""
    columns = queries if vectors is None else vectors
    return dense.exact.cosines(queries, columns, out, num_threads)


def slices(queries, vectors, out, num_threads):
    """The way of processors with int8 tiles, on any."""
    return dense.slices.cosines(queries, vectors, out, num_threads, "generic")


WAYS = {"exact": exact, "blas": dense.blas.cosines, "slices": slices, "chosen": dense.cosines}
TILES = {
    f"tiles-{name}": functools.partial(dense.tiles.cosines, name=name)
    for name, record in dense.tiles.REGISTERS.items()
    if cpu.features().issuperset(record.requires)
}
WAYS.update(TILES)
# On every side of a tile's, a run's and a panel's border; few, tall and wide.
SHAPES = [
    (1, 1, 1),
    (1, 70, 7),
    (3, 33, 64),
    (14, 32, 16),
    (15, 33, 17),
    (40, 65, 129),
    (300, 31, 128),
    (70, 97, 385),
    (9, 20, 3073),
    (1030, 70, 9),
    (2100, 40, 5),
    (240, 301, 140),
]


def of_shape(shape):
    """A shape as a part of a test's name."""
    return "x".join(map(str, shape))


def compute(way, queries, vectors, num_threads=2):
    """The way's answer; memory around ``out`` must stay as it is."""
    m, n = len(queries), len(queries if vectors is None else vectors)
    memory = np.full((m + 2, n + 3), 7, np.float32)
    out = memory[1:-1, 1:-2]
    assert WAYS[way](queries, vectors, out, num_threads) == (-1, -1)
    answer = out.copy()
    out[:] = 7
    assert (memory == 7).all()
    return answer


def blas_error(queries, vectors, truth):
    """The largest error of a float32 product, by the kernel that BLAS has for matrices that are not tiny."""
    q, x = (
        np.resize(oracle.normalize(rows), (max(256, len(rows)), rows.shape[1])) for rows in (queries, vectors)
    )
    return np.abs((q @ x.T)[: len(queries), : len(vectors)] - truth).max()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES, ids=of_shape)
def test_every_way_at_every_border(way, shape):
    m, n, dims = shape
    queries, vectors = mixed(m, dims, 1), mixed(n, dims, 2)
    vectors[: min(m, n) : 3] = queries[: min(m, n) : 3]
    vectors[1 : min(m, n) : 3] = -queries[1 : min(m, n) : 3]
    truth = oracle.scores(queries, vectors)
    actual = compute(way, queries, vectors)
    assert np.abs(actual).max() <= 1
    assert np.abs(actual - truth).max() <= 2e-7 + 1.2 * blas_error(queries, vectors, truth)
    if way == "exact":
        assert_same_bits(actual, truth.astype(np.float32))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_way_with_every_kind(way, kind):
    queries, vectors = KINDS[kind](33, 65, 1), KINDS[kind](50, 65, 2)
    truth = oracle.scores(queries, vectors)
    actual = compute(way, queries, vectors)
    assert np.abs(actual - truth).max() <= 2e-7 + 1.2 * blas_error(queries, vectors, truth)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(1, 3), (40, 17), (97, 200), (500, 64), (2100, 5)], ids=of_shape)
def test_with_themselves(way, shape):
    """Symmetric to the last bit, also where rows go by in more than one panel."""
    rows = mixed(*shape, 3)
    truth = oracle.scores(rows, rows)
    actual = compute(way, rows, None)
    assert_same_bits(actual, actual.T)
    assert np.abs(actual - truth).max() <= 2e-7 + 1.2 * blas_error(rows, rows, truth)
    if way == "chosen":
        assert_same_bits(np.diag(actual), rows.any(axis=1).astype(np.float32))


@pytest.mark.parametrize(("count", "n"), [(16, 16), (40, 70), (64, 64), (5, 33)])
def test_a_half_is_mirrored(count, n):
    """What stands right of the diagonal stays; nothing else is read, and rows from ``count`` on are not."""
    memory = hashed(n, n + 3, 1)
    expected = memory.copy()
    below = np.tril_indices(n, -1, count)
    expected[below] = memory[below[::-1]]
    memory[below] = np.nan
    blocks.mirror(count, memory[:, :n], 2)
    assert_same_bits(memory, expected)


@pytest.mark.parametrize("way", ["exact", "slices", *TILES])
def test_a_score_depends_on_its_two_rows_alone(way):
    queries, vectors = mixed(70, 200, 1), mixed(90, 200, 2)
    full = compute(way, queries, vectors)
    assert_same_bits(compute(way, queries, vectors, 1), full)
    assert_same_bits(compute(way, vectors, queries).T, full)
    assert_same_bits(compute(way, queries[5:38].copy(), vectors[7:]), full[5:38, 7:])
    assert_same_bits(compute(way, np.concatenate([queries, queries]), vectors[:3])[70:], full[:, :3])


def student(m, dims, seed):
    """Heavy tails: three degrees of freedom."""
    return np.random.default_rng(seed).standard_t(3, (m, dims)).astype(np.float32)


def spiked(m, dims, seed):
    """One coordinate fifty times as large."""
    rows = gaussian(m, dims, seed)
    rows[:, 7] *= 50
    return rows


def huge_coordinate(m, dims, seed):
    rows = gaussian(m, dims, seed)
    rows[:, 7] += 1e4
    return rows


def cancelling(m, dims, seed):
    """Halves whose products all but cancel."""
    half = gaussian(m, dims // 2, seed // 2)
    sign = np.float32(1 if seed % 2 else -1)
    return np.concatenate([half, sign * half * (1 + np.float32(1e-3) * gaussian(m, dims // 2, seed))], axis=1)


def nearly_equal(m, dims, seed):
    return gaussian(1, dims, 9) + np.float32(1e-3) * gaussian(m, dims, seed)


HARD = (gaussian, student, spiked, huge_coordinate, cancelling, nearly_equal, KINDS["decaying"])


def sums_in_runs(queries, vectors, run):
    """A product of float32 whose sums are made of parts of ``run`` fused steps each."""
    total = np.zeros((len(queries), len(vectors)), np.float32)
    for first in range(0, queries.shape[1], run):
        partial = np.zeros_like(total)
        for q, x in zip(queries.T[first : first + run], vectors.T[first : first + run], strict=True):
            partial = (partial + np.outer(q.astype(np.float64), x)).astype(np.float32)
        total += partial
    return total


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", HARD, ids=lambda make: make.__name__)
def test_no_less_accurate_than_blas(way, make):
    """By the largest and by the mean square error.

    BLAS is this processor's for every way that it may choose. Slices are for processors with AVX-512,
    where OpenBLAS cuts 768 dimensions in two runs; elsewhere in more, whose sums err less.
    """
    queries, vectors = make(60, 768, 2), make(200, 768, 3)
    truth = oracle.scores(queries, vectors)
    error = compute(way, queries, vectors) - truth
    q, x = oracle.normalize(queries), oracle.normalize(vectors)
    products = [sums_in_runs(q, x, 384)] if way == "slices" else []
    if way != "slices" or micro.active().orders is not None:
        products.append(q @ x.T)
    for product in products:
        blas = product - truth
        assert np.abs(error).max() <= 1.2 * np.abs(blas).max() + 6e-8
        assert np.sqrt((error**2).mean()) <= 1.1 * np.sqrt((blas**2).mean()) + 1e-9


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(40, 300, 33), (3, 40, 4000), (150, 2, 9), (700, 40, 5)], ids=of_shape)
def test_what_is_not_finite_is_found(way, bad, shape):
    m, n, dims = shape
    queries, vectors = gaussian(m, dims, 1), gaussian(n, dims, 2)
    out = np.empty((m, n), np.float32)
    broken = queries.copy()
    broken[m - 1, dims - 1] = bad
    assert WAYS[way](broken, vectors, out, 2)[0] == m - 1
    broken = vectors.copy()
    broken[n - 1, dims - 1] = bad
    assert WAYS[way](queries, broken, out, 2) == (-1, n - 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("m", [1, 3, 60, 200])
def test_what_is_refused_leaves_out_alone(m, dtype):
    """The first bad row is named, of the argument it is in."""
    queries, vectors = gaussian(m, 70, 1).astype(dtype), gaussian(300, 70, 2).astype(dtype)
    out = np.full((m, 300), 5, dtype)
    bad = vectors.copy()
    bad[[177, 250], 3] = np.nan, np.inf
    with pytest.raises(ValueError, match=words("vectors", "row 177", "NaN")):
        fastvec.cosine_similarity(queries, bad, out=out)
    with pytest.raises(ValueError, match=words("vectors", "row 177", "NaN")):
        fastvec.cosine_similarity(queries, bad)
    queries[m - 1, 69] = np.inf
    with pytest.raises(ValueError, match=words("queries", f"row {m - 1}", "inf")):
        fastvec.cosine_similarity(queries, vectors, out=out)
    with pytest.raises(ValueError, match=words("queries", f"row {m - 1}", "inf")):
        fastvec.cosine_similarity(queries)
    assert (out == 5).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_bad_row_of_a_later_panel_is_one_of_the_queries(dtype):
    """Where rows go by with themselves, it is met as one of the columns first."""
    queries = gaussian(4200, 3, 1).astype(dtype)
    queries[4197, 1] = np.nan
    with pytest.raises(ValueError, match=words("queries", "row 4197", "NaN")):
        fastvec.cosine_similarity(queries)


def test_blas_in_several_blocks(monkeypatch):
    monkeypatch.setattr(dense.blas, "_BLOCK_BYTES", 4 * 33 * 7)
    rows = mixed(30, 33, 1)
    truth = oracle.scores(rows, rows)
    for vectors in (None, rows.copy()):
        actual = compute("blas", rows, vectors)
        assert np.abs(actual).max() <= 1
        assert np.abs(actual - truth).max() < 3e-7
    bad, out = rows.copy(), np.empty((30, 30), np.float32)
    bad[23, 3] = np.nan
    assert dense.blas.cosines(rows, bad, out, 1) == (-1, 23)
    assert dense.blas.cosines(bad, rows, out, 1) == (23, -1)


def test_out_is_filled_whichever_way():
    for m, n, dims in ((1, 300, 64), (9, 700, 100), (200, 64, 50)):
        queries, vectors = gaussian(m, dims, 1), gaussian(n, dims, 2)
        out = np.full((m, n), np.nan, np.float32)
        assert fastvec.cosine_similarity(queries, vectors, out=out) is out
        assert_same_bits(out, fastvec.cosine_similarity(queries, vectors))
    one = np.full(300, np.nan, np.float32)
    assert fastvec.cosine_similarity(gaussian(1, 64)[0], gaussian(300, 64, 2), out=one) is one
    assert np.isfinite(one).all()


def test_few_queries_score_as_a_search_does():
    queries, vectors = mixed(4, 70, 1), mixed(300, 70, 2)
    actual = fastvec.knn(queries, vectors, 300)
    scores = np.take_along_axis(fastvec.cosine_similarity(queries, vectors), actual.indices, 1)
    assert_same_bits(scores, actual.scores)


@settings(max_examples=40)
@given(m=st.integers(1, 80), n=st.integers(1, 80), dims=st.integers(1, 300), seed=st.integers(0, 99))
def test_ways_agree(m, n, dims, seed):
    queries, vectors = mixed(m, dims, seed), mixed(n, dims, seed + 1)
    truth = compute("exact", queries, vectors)
    allowed = 3e-7 + 1.2 * blas_error(queries, vectors, truth)
    for way in WAYS:
        assert np.abs(compute(way, queries, vectors) - truth).max() <= allowed, way


def test_cost():
    assert cost.exact_dense_pays(1, 100_000, 768)
    assert cost.exact_dense_pays(100_000, 8, 768)
    assert cost.exact_dense_pays(10, 10, 768)
    assert not cost.exact_dense_pays(64, 100_000, 768)
    assert not cost.exact_dense_pays(8, 100_000, 4)
    assert not cost.exact_dense_pays(2000, 2000, 256)
    assert cost.dense_slices_pay(64, 1000, 2)
    assert not cost.dense_slices_pay(64, 1000, 64)
    assert cost.narrow_tiles_pay(1024, 50_000, 768)
    assert not cost.narrow_tiles_pay(200, 200, 64)
    assert cost.narrow_tiles_pay(900, 900, 768)
    assert not cost.narrow_tiles_pay(900, 900, 768, same=True)


@pytest.mark.parametrize("vectors", [None, gaussian(300, 97, 2)])
def test_int8_tiles_are_used_where_they_are(vectors, monkeypatch):
    """As if this processor's micro-kernel had a program of its own for the sums of slices."""
    record = micro.TABLE["generic"]._replace(orders=dense.slices.order_sums)
    monkeypatch.setattr(dense.micro, "active", lambda: record)
    monkeypatch.setattr(dense, "tiles", None)
    monkeypatch.setattr(dense, "blas", None)
    queries = gaussian(130, 97, 1)
    out = np.empty((130, 130 if vectors is None else 300), np.float32)
    assert dense.cosines(queries, vectors, out, 1) == (-1, -1)
    truth = oracle.scores(queries, queries if vectors is None else vectors)
    assert np.abs(out - truth).max() < 3e-7


MEMORY = """
import sys
import numpy as np
import fastvec

queries, vectors, folder = np.ones((1100, 256), np.float32), np.ones((40_000, 256), np.float32), sys.argv[1]
out = np.memmap(folder + "/out", np.float32, "w+", shape=(1100, 40_000))
out[:] = 0
small = fastvec.cosine_similarity(queries[:80, :80], vectors[:80, :80])  # compiled, threads started
if sys.argv[2] == "run":
    fastvec.cosine_similarity(queries, vectors, out=out)
    assert out.min() > 0.999
    fastvec.cosine_similarity(vectors[:4096], out=out.reshape(-1)[: 4096 * 4096].reshape(4096, 4096))
"""


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="a child's memory is asked of wait4")
def test_memory_beyond_inputs_and_output(tmp_path):
    """Below 64 MB, measured from outside: the most a process held, with the call and without."""
    package = str(Path(fastvec.__file__).resolve().parents[1])
    most = {}
    for mode in ("rest", "run"):
        environment = {**os.environ, "PYTHONPATH": package, "FASTVEC_NUM_THREADS": "2"}
        child = subprocess.Popen([sys.executable, "-c", MEMORY, str(tmp_path), mode], env=environment)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0
        most[mode] = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    assert most["run"] - most["rest"] < 64 << 20
