"""normalize, truncate and the dense cosine_similarity."""

import numpy as np
import oracle
import pytest
from assertions import assert_same_bits, words
from data import COUNTS, FLOAT32_MAX, KINDS, WIDTHS, gaussian, matrices, mixed, related
from hypothesis import given
from hypothesis import strategies as st

import fastvec
from fastvec import _memory


def assert_dense(actual, queries, vectors):
    """float32 cosines in [-1, 1], with no larger error than a BLAS product of unit rows."""
    exact = oracle.scores(queries, vectors)
    assert actual.dtype == np.float32
    assert actual.shape == exact.shape
    assert np.abs(actual).max(initial=0) <= 1
    blas = oracle.normalize(queries) @ oracle.normalize(vectors).T
    tolerance = 2e-7 + 1.5 * np.abs(blas - exact).max(initial=0)
    np.testing.assert_allclose(actual, exact, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", WIDTHS)
def test_normalize(kind, width):
    rows = KINDS[kind](65, width, 1)
    unit = fastvec.normalize(rows)
    assert_same_bits(unit + np.float32(0), oracle.normalize(rows) + np.float32(0))
    lengths = np.linalg.norm(unit.astype(np.float64), axis=1)
    np.testing.assert_allclose(lengths, (rows != 0).any(axis=1), atol=1e-6)


@given(matrices())
def test_normalize_of_any_mixture(rows):
    assert_same_bits(fastvec.normalize(rows) + np.float32(0), oracle.normalize(rows) + np.float32(0))


def test_normalize_leaves_its_input_alone():
    rows = mixed(50, 33, 1)
    copy = rows.copy()
    assert not np.shares_memory(fastvec.normalize(rows), rows)
    assert_same_bits(rows, copy)


@pytest.mark.parametrize("width", [1, 31, 33, 64, 97])
@pytest.mark.parametrize("renormalize", [True, False])
def test_truncate(width, renormalize):
    rows = mixed(300, 97, 4)
    kept = fastvec.truncate(rows, width, renormalize=renormalize)
    assert kept.flags.c_contiguous
    assert not np.shares_memory(kept, rows)
    expected = oracle.truncate(rows, width, renormalize)
    assert_same_bits(kept + np.float32(0), expected + np.float32(0))


def test_truncate_renormalizes_unless_told_not_to():
    rows = gaussian(9, 20, 1)
    assert_same_bits(fastvec.truncate(rows, 5), fastvec.truncate(rows, 5, renormalize=True))


@pytest.mark.parametrize("dims", [0, -1, 34, 2.0])
def test_truncate_refuses_other_widths(dims):
    with pytest.raises((TypeError, ValueError), match=words("dims", f"{dims}")):
        fastvec.truncate(gaussian(4, 33), dims)


OUT_FUNCTIONS = {
    "normalize": lambda rows, out: fastvec.normalize(rows, out=out),
    "truncate": lambda rows, out: fastvec.truncate(rows, 16, out=out),
    "cosine_similarity": lambda rows, out: fastvec.cosine_similarity(rows, out=out),
}


@pytest.mark.parametrize("name", OUT_FUNCTIONS)
def test_out_is_filled_and_returned(name):
    rows = gaussian(16, 16, 1)
    out = np.full((16, 16), np.nan, np.float32)
    assert OUT_FUNCTIONS[name](rows, out) is out
    assert_same_bits(out, OUT_FUNCTIONS[name](rows, None))


class Elsewhere(np.ndarray):
    """An array that says other things of itself than its memory holds."""

    shape, strides, T, ctypes = (16, 16), (0, 0), None, None

    def __getitem__(self, _):
        return 7.0

    def reshape(self, *_):
        return None


@pytest.mark.parametrize("name", OUT_FUNCTIONS)
@pytest.mark.parametrize("kind", [Elsewhere, np.matrix, np.recarray, np.ma.MaskedArray])
def test_out_of_a_subclass_is_filled_as_the_memory_it_is(name, kind):
    rows, memory = gaussian(16, 16, 1), np.full((16, 16), np.nan, np.float32)
    out = memory.view(kind)
    assert OUT_FUNCTIONS[name](rows, out) is out
    assert_same_bits(memory, OUT_FUNCTIONS[name](rows, None))


@pytest.mark.parametrize("name", OUT_FUNCTIONS)
@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.empty((16, 16)), ["float64", "float32"]),
        (np.empty((16, 16), ">f4"), ["float32"]),
        (np.empty((16, 15), np.float32), [r"16, 15", r"16, 16"]),
        (np.empty(256, np.float32), [r"256", r"16, 16"]),
        (np.empty((16, 16), np.float32, order="F"), ["contiguous"]),
        (np.empty((16, 32), np.float32)[:, ::2], ["contiguous"]),
        ([[0.0] * 16] * 16, ["array"]),
    ],
    ids=["float64", "foreign endian", "narrow", "flat", "Fortran", "strided", "list"],
)
def test_out_of_another_form_is_refused(name, out, message):
    with pytest.raises((TypeError, ValueError), match=words("out", *message)):
        OUT_FUNCTIONS[name](gaussian(16, 16), out)


@pytest.mark.parametrize("name", OUT_FUNCTIONS)
def test_read_only_out_is_refused(name):
    out = np.zeros((16, 16), np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out"):
        OUT_FUNCTIONS[name](gaussian(16, 16), out)
    assert not out.any()


@pytest.mark.parametrize("name", OUT_FUNCTIONS)
@pytest.mark.parametrize("offset", [0, 16, 40])
def test_out_over_its_input_is_refused_or_right(name, offset):
    """An overlap either raises before anything is written, or gives the right answer."""
    memory = np.zeros(16 * 16 + offset, np.float32)
    rows, out = memory[: 16 * 16].reshape(16, 16), memory[offset:].reshape(16, 16)
    rows[:] = gaussian(16, 16, 1)
    expected, before = OUT_FUNCTIONS[name](rows.copy(), None), memory.copy()
    try:
        OUT_FUNCTIONS[name](rows, out)
    except ValueError:
        assert_same_bits(memory, before)
    else:
        assert_same_bits(out, expected)


def test_out_may_be_a_memory_mapped_file(tmp_path):
    rows = gaussian(20, 16, 1)
    out = np.memmap(tmp_path / "scores", np.float32, "w+", shape=(20, 20))
    assert fastvec.cosine_similarity(rows, out=out) is out
    assert_same_bits(np.asarray(out), fastvec.cosine_similarity(rows))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", WIDTHS)
def test_cosine_similarity(kind, width):
    vectors = KINDS[kind](97, width, 1)
    queries = np.concatenate([related(vectors, 20, 2), KINDS[kind](13, width, 3)])
    assert_dense(fastvec.cosine_similarity(queries, vectors), queries, vectors)


@pytest.mark.parametrize("n", COUNTS)
def test_cosine_similarity_of_every_count(n):
    queries, vectors = gaussian(33, 65, 1), mixed(n, 65, 2)
    assert_dense(fastvec.cosine_similarity(queries, vectors), queries, vectors)
    assert_dense(fastvec.cosine_similarity(vectors, queries), vectors, queries)


@given(matrices(), st.data())
def test_cosine_similarity_of_any_mixture(vectors, data):
    queries = data.draw(matrices(counts=st.integers(0, 20), widths=st.just(vectors.shape[1])))
    assert_dense(fastvec.cosine_similarity(queries, vectors), queries, vectors)


def test_cosine_similarity_is_as_accurate_as_blas():
    queries, vectors = gaussian(200, 768, 1), gaussian(300, 768, 2)
    exact = oracle.scores(queries, vectors)
    error = np.abs(fastvec.cosine_similarity(queries, vectors) - exact).max()
    blas = np.abs(oracle.normalize(queries) @ oracle.normalize(vectors).T - exact).max()
    assert error <= 1.2 * blas


def test_cosine_similarity_of_one_matrix_is_with_itself():
    rows = mixed(70, 33, 1)
    assert_dense(fastvec.cosine_similarity(rows), rows, rows)


def test_float64_is_computed_in_float64():
    rng = np.random.default_rng(1)
    queries, vectors = rng.standard_normal((20, 97)), rng.standard_normal((30, 97))
    vectors[3] = 0
    vectors[4] = queries[4] * (1 + 1e-9)
    exact = queries @ vectors.T
    norms = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(vectors, axis=1)
    exact = np.divide(exact, norms, out=np.zeros_like(exact), where=norms > 0)
    for first, second in ((queries, vectors), (queries.astype(">f8"), vectors.tolist())):
        actual = fastvec.cosine_similarity(first, second)
        assert actual.dtype == np.float64
        assert np.abs(actual).max() <= 1
        np.testing.assert_allclose(actual, exact, rtol=0, atol=1e-14)
    with pytest.raises((TypeError, ValueError), match=words("out", "float64")):
        fastvec.cosine_similarity(queries, vectors, out=np.empty((20, 30), np.float32))


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e200, 1e307])
def test_float64_of_any_scale(scale):
    rows = np.random.default_rng(1).uniform(-1, 1, (10, 33))
    actual = fastvec.cosine_similarity(rows * scale, rows)
    np.testing.assert_allclose(actual, fastvec.cosine_similarity(rows), rtol=0, atol=1e-12)


def test_float64_beyond_float32_is_no_error_for_cosine_similarity():
    rows = np.array([[1e39, 1e39], [float(FLOAT32_MAX), 0]])
    np.testing.assert_allclose(fastvec.cosine_similarity(rows)[0], [1, np.sqrt(0.5)], atol=1e-14)


def test_one_query_gives_one_row():
    queries, vectors = gaussian(2, 33, 1), gaussian(40, 33, 2)
    one = fastvec.cosine_similarity(queries[0], vectors)
    assert one.shape == (40,)
    assert_dense(one[None], queries[:1], vectors)


def test_empty_matrices():
    none, rows = np.empty((0, 5), np.float32), gaussian(3, 5)
    assert fastvec.normalize(none).shape == (0, 5)
    assert fastvec.truncate(none, 2).shape == (0, 2)
    assert fastvec.cosine_similarity(none, rows).shape == (0, 3)
    assert fastvec.cosine_similarity(rows, none).shape == (3, 0)
    assert fastvec.cosine_similarity(none).shape == (0, 0)


def test_memory_that_is_not_there_is_refused_before_it_is_used(monkeypatch):
    monkeypatch.setattr(_memory, "_UNCHECKED_BYTES", 1000)
    monkeypatch.setattr(_memory, "available", lambda: 2.0**30 / 20)
    rows = np.broadcast_to(np.float32(1), (5000, 3000))
    out = np.zeros((4, 5000), np.float32)
    for call, message in (
        (
            lambda: fastvec.cosine_similarity(rows),
            r"scores of shape \(5000, 5000\) take 0\.1 GiB, and 0\.1 GiB are",
        ),
        (lambda: fastvec.normalize(rows), r"rows of shape \(5000, 3000\) take 0\.1 GiB"),
    ):
        with pytest.raises(MemoryError, match=message):
            call()
    assert (fastvec.cosine_similarity(rows[:4, :2], rows[:, :2], out=out) == 1).all()
