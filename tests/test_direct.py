"""The exact pass: what its float32 products may be trusted with, and when it is chosen."""

import numpy as np
import oracle
import pytest
from assertions import assert_same_topk
from data import KINDS, gaussian, tied
from numba import njit

import fastvec
from fastvec.kernels import cost, direct, metrics, micro
from fastvec.kernels.cost import scan_threads

WIDTHS = (1, 17, 32, 33, 50, 97, 768, 3073)


@njit
def products(queries, q_stride, vectors, x_stride, dims, out):
    for i in range(out.shape[1]):
        q = queries + i * q_stride
        for j in range(out.shape[2]):
            x = vectors + j * x_stride
            out[0, i, j] = direct.float_products(q, x, dims)
            a, b, c, d = direct.float_products((q, q, q, q), x, dims)
            out[1, i, j], out[2, i, j], out[3, i, j], out[4, i, j] = a, b, c, d


@pytest.mark.parametrize("kind", KINDS)
def test_products_are_as_near_as_they_are_said_to_be(kind):
    for dims in WIDTHS:
        queries, vectors = KINDS[kind](9, dims, 1), KINDS[kind](60, dims, 2)
        found = np.empty((5, 9, 60), np.float32)
        products(queries.ctypes.data, 4 * dims, vectors.ctypes.data, 4 * dims, dims, found)
        exact = oracle.scores(queries, vectors, "dot")
        norms = [np.linalg.norm(rows.astype(np.float64), axis=1) for rows in (queries, vectors)]
        lengths = np.outer(*norms)
        used = (lengths > 2.0**-80) & (lengths < 2.0**120)
        error = (dims / 32 + 10) * 1.01 * 2.0**-24
        assert (np.abs(found - exact)[:, used] <= error * lengths[used]).all()


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("metric", metrics.TABLE)
def test_easy_and_hard_blocks(metric, monkeypatch):
    monkeypatch.setattr(cost, "scan_pays", lambda *_, **__: False)
    vectors = np.concatenate([gaussian(6000, 33, 1), tied(6000, 33, 2), gaussian(6000, 33, 3)])
    for m in (1, 3, 70):
        for threads in (1, 3):
            found = fastvec.knn(vectors[5995 : 5995 + m], vectors, 9, metric=metric, num_threads=threads)
            assert_same_topk(found, oracle.knn(vectors[5995 : 5995 + m], vectors, 9, metric))


def test_few_queries_go_directly_and_many_by_codes():
    kernel = micro.TABLE["avx512_vnni"]
    ways = [cost.scan_pays(100_000, m, 768, 10, kernel, encoded=False) for m in (1, 4, 64, 1024)]
    assert ways == [False, False, True, True]
    assert not cost.scan_pays(1000, 64, 64, 10, kernel, encoded=False)
    assert cost.scan_pays(1000, 1, 64, 10, kernel, encoded=True)
    assert not cost.scan_pays(1000, 1, 64, 126, kernel, encoded=True)


def test_threads_that_a_scan_is_worth():
    assert [scan_threads(n, 1, 768, 8) for n in (1, 10_000, 30_000, 1_000_000)] == [1, 1, 3, 8]
    assert [scan_threads(10_000, m, 768, 8) for m in (1, 100, 10_000)] == [1, 6, 8]
    assert scan_threads(1_000_000, 1000, 768, 1) == 1
