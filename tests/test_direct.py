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


@njit
def upper_ends(queries, vectors, dims, q_squares, x_squares, out):
    error = direct.float_error(dims)
    for i in range(out.shape[2]):
        q = queries + 4 * i * dims
        for j in range(out.shape[3]):
            x = vectors + 4 * j * dims
            product, squares = direct.float_products((q, x), x, dims)
            wide = np.float64(squares) if direct._in_range(squares) else x_squares[j]
            for z, xx in enumerate((wide, x_squares[j])):
                out[0, z, i, j] = direct.upper_end("cosine", product, q_squares[i], xx, error)
                out[1, z, i, j] = direct.upper_end("dot", product, q_squares[i], xx, error)
                out[2, z, i, j] = direct.upper_end("euclidean", product, q_squares[i], xx, error)


@pytest.mark.parametrize("kind", KINDS)
def test_no_score_is_above_its_upper_end(kind):
    """Whether the row's Σ x² is float32's or float64's; and the end is near where the pair is not extreme."""
    assert [*metrics.BOUNDED] == ["cosine", "dot", "euclidean"]
    for dims in (1, 33, 768):
        queries, vectors = KINDS[kind](9, dims, 1), KINDS[kind](60, dims, 2)
        vectors[:9], vectors[9] = queries, 0.0
        if kind == "gaussian":
            vectors[10:14] *= np.float32(2.0) ** np.array([[-60], [60], [-20], [20]], np.float32)
        squares = [np.square(rows.astype(np.float64)).sum(axis=1) for rows in (queries, vectors)]
        found = np.empty((3, 2, 9, 60))
        upper_ends(queries.ctypes.data, vectors.ctypes.data, dims, *squares, found)
        exact = np.array([oracle.scores(queries, vectors, metric) for metric in metrics.BOUNDED])
        assert (found >= exact[:, None]).all(), dims
        if kind == "gaussian":
            near = np.arange(60) != 9  # no end is known of a zero row
            assert (found[0][:, :, near] <= exact[0][:, near] + 1e-5).all()


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("m", [1, 3])
def test_threads_that_share_rows_name_the_first_that_is_not_finite(m):
    vectors = gaussian(30_000, 33, 1)
    for row, value in ((9000, np.nan), (20_000, np.inf), (29_999, np.nan)):
        vectors[row, 5] = value
    for threads in (1, 3):
        with pytest.raises(ValueError, match="vectors, row 9000: NaN"):
            fastvec.knn(vectors[:m], vectors, 4, num_threads=threads)


@pytest.mark.usefixtures("all_threads")
def test_threads_share_the_rows_of_several_blocks():
    vectors = gaussian(12_000, 33, 1)
    index = fastvec.Index(vectors[:5000])
    for first in (5000, 5003, 11_000):
        index.add(vectors[first : {5000: 5003, 5003: 11_000, 11_000: 12_000}[first]])
    for m in (1, 5):
        expected = oracle.knn(vectors[:m], vectors, 2000)
        for threads in (1, 2, 5):
            assert_same_topk(index.search(vectors[:m], 2000, num_threads=threads), expected)


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


def test_threads_share_the_rows_that_are_worth_waking_them():
    assert [cost.sharing_rows_pays(n, 1, 768) for n in (1000, 2000, 4000)] == [False, False, True]
    assert [cost.sharing_rows_pays(1000, m, 768) for m in (1, 4, 16)] == [False, False, True]
