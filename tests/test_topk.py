"""Selection from a score matrix."""

import contextlib

import numpy as np
import oracle
import pytest
from assertions import assert_same_topk, words
from data import COUNTS
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import fastvec
from fastvec.kernels import selection

MATRICES = {
    "random": lambda m, n, rng: rng.standard_normal((m, n)),
    "many ties": lambda m, n, rng: rng.integers(-2, 3, (m, n)),
    "all tied": lambda m, n, rng: np.full((m, n), 0.5),
    "rising": lambda m, n, rng: np.sort(rng.standard_normal((m, n)), axis=1),
    "falling": lambda m, n, rng: np.sort(rng.standard_normal((m, n)), axis=1)[:, ::-1],
    "zeros of both signs": lambda m, n, rng: rng.choice([0.0, -0.0], (m, n)),
    "infinite": lambda m, n, rng: rng.choice([np.inf, -np.inf, 1.0, 2.0], (m, n)),
}


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", MATRICES)
def test_topk(name, dtype, largest):
    rng = np.random.default_rng(1)
    for n in COUNTS:
        matrix = MATRICES[name](3, n, rng).astype(dtype)
        for k in {1, 2, 10, n, n + 5}:
            actual = fastvec.topk(matrix, k, largest=largest)
            assert_same_topk(actual, oracle.topk(matrix, k, largest))


@given(
    arrays.arrays(
        st.sampled_from(["f2", "f4", "f8", ">f4", ">f8", "i1", "u1", "i4", "i8", "u8", ">i8"]),
        arrays.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=40),
        elements={"allow_nan": False},
    ),
    st.integers(1, 45),
    st.booleans(),
)
def test_topk_of_any_numbers(matrix, k, largest):
    assert_same_topk(fastvec.topk(matrix, k, largest=largest), oracle.topk(matrix, k, largest))


def test_scores_are_ranked_in_their_type():
    """Adjacent float64 and int64 numbers are ordered, though they are one number in float32."""
    fine = np.nextafter(1.0, 2.0)
    assert fastvec.topk(np.array([1.0, fine, 1.0]), 3).indices.tolist() == [1, 0, 2]
    large = np.array([2**62, 2**62 + 1, -(2**63), 2**63 - 1])
    assert fastvec.topk(large, 4).indices.tolist() == [3, 1, 0, 2]
    assert fastvec.topk(large, 4, largest=False).indices.tolist() == [2, 0, 1, 3]
    unsigned = np.array([2**64 - 1, 0, 2**63], np.uint64)
    assert fastvec.topk(unsigned, 3).indices.tolist() == [0, 2, 1]


def test_scores_beyond_float32_are_published_as_infinite():
    answer = fastvec.topk(np.array([[1e300, -1e300, 1e301]]), 3)
    assert answer.indices.tolist() == [[2, 0, 1]]
    assert answer.scores.tolist() == [[np.inf, np.inf, -np.inf]]


def test_infinite_scores_come_before_padding():
    answer = fastvec.topk(np.array([-np.inf, -np.inf]), 3)
    assert answer.indices.tolist() == [0, 1, -1]
    assert answer.scores.tolist() == [-np.inf] * 3
    answer = fastvec.topk(np.array([np.inf]), 2, largest=False)
    assert answer.indices.tolist() == [0, -1]
    assert answer.scores.tolist() == [np.inf] * 2


def test_one_row_gives_one_row():
    scores = np.random.default_rng(1).standard_normal(50)
    assert_same_topk(fastvec.topk(scores, 7), oracle.topk(scores, 7))
    assert fastvec.topk(scores, 7).indices.shape == (7,)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_empty_scores_give_padding(shape):
    answer = fastvec.topk(np.empty(shape, np.float32), 2)
    assert_same_topk(answer, oracle.topk(np.empty(shape), 2))
    assert (answer.indices == -1).all()


def test_scores_may_be_strided_read_only_or_lists():
    matrix = np.random.default_rng(1).standard_normal((20, 30)).astype(np.float32)
    read_only = matrix.copy()
    read_only.flags.writeable = False
    expected = oracle.topk(matrix, 4)
    for form in (read_only, np.asfortranarray(matrix), matrix.repeat(2, axis=1)[:, ::2], matrix.tolist()):
        assert_same_topk(fastvec.topk(form, 4), expected)


def test_scores_are_left_alone():
    matrix = np.random.default_rng(1).standard_normal((5, 100))
    copy = matrix.copy()
    fastvec.topk(matrix, 10)
    np.testing.assert_array_equal(matrix, copy)


ORDERS = {
    "random": lambda n, rng: rng.permutation(n),
    "rising": lambda n, rng: np.arange(n),
    "falling": lambda n, rng: -np.arange(n),
    "rising in steps": lambda n, rng: np.arange(n) // 70,
    "sawtooth": lambda n, rng: np.arange(n) % 1000,
    "rising sawtooth": lambda n, rng: np.arange(n) % 1000 + np.arange(n) // 900,
    "organ pipe": lambda n, rng: -abs(np.arange(n) - n // 2),
    "high lanes": lambda n, rng: np.where(np.arange(n) % 64 < 10, np.arange(n), -1),
    "late step": lambda n, rng: rng.permutation(n) + n * (np.arange(n) > n // 2),
    "two values": lambda n, rng: rng.integers(0, 2, n),
    "rare": lambda n, rng: rng.random(n) < 0.001,
    "equal": lambda n, rng: np.zeros(n),
    "lowest": lambda n, rng: np.full(n, -np.inf),
    "highest": lambda n, rng: np.full(n, np.inf),
}


@pytest.mark.parametrize("order", ORDERS)
def test_any_order_of_long_rows(order):
    """Rows of several chunks, in which thresholds are found, raised and reached again."""
    rng = np.random.default_rng(1)
    for n in (1000, 20_000, 20_480, 20_511):
        matrix = np.array([ORDERS[order](n, rng) for _ in range(2)], np.float32)
        for k in (1, 2, 10, 100, 300, 4000):
            for largest in (True, False):
                expected = oracle.topk(matrix, k, largest)
                assert_same_topk(fastvec.topk(matrix, k, largest=largest), expected)


SIZES = [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 255, 256, 257, 1000, 1023, 2048, 2049, 3000]
TYPES = ["f2", "f4", "f8", ">f4", ">f8", "i1", "u1", "i2", ">u2", "i4", "u4", ">i4", "i8", "u8", ">u8"]


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_and_size(dtype, largest):
    rng = np.random.default_rng(1)
    native = np.dtype(dtype).newbyteorder("=")
    for n in SIZES:
        if native.kind == "f":
            matrix = rng.standard_normal((2, n)).astype(dtype)
            matrix[:, rng.integers(0, n, 1 + n // 20)] = 0.0
            extremes = [np.inf, -np.inf, -0.0, 0.0, np.finfo(native).max, np.finfo(native).smallest_subnormal]
        else:
            low, high = np.iinfo(native).min, np.iinfo(native).max
            matrix = rng.integers(low, high, (2, n), native).astype(dtype)
            extremes = [low, high, 0, 1]
        matrix[1, rng.integers(0, n, 8)] = rng.choice(np.array(extremes, native), 8)
        for k in {1, 2, 10, max(1, n - 1), n, n + 3}:
            expected = oracle.topk(matrix.astype(native), k, largest)
            assert_same_topk(fastvec.topk(matrix, k, largest=largest), expected)


@given(
    st.integers(1, 6),
    st.sampled_from(["f4", "f8", "i4", "u8"]),
    st.integers(1, 800),
    st.integers(1, 810),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_ties_of_few_values(values, dtype, n, k, seed, largest):
    rng = np.random.default_rng(seed)
    row = np.sort(rng.integers(0, values, n)) if seed % 3 == 0 else rng.integers(0, values, n)
    row = row.astype(dtype)
    assert_same_topk(fastvec.topk(row, k, largest=largest), oracle.topk(row, k, largest))


LAYOUTS = {
    "column-major": np.asfortranarray,
    "columns backward": lambda x: x[:, ::-1].copy()[:, ::-1],
    "rows backward": lambda x: x[::-1].copy()[::-1],
    "every other column": lambda x: x.repeat(2, axis=1)[:, ::2],
    "every other row": lambda x: x.repeat(2, axis=0)[::2],
    "wider rows": lambda x: np.concatenate([x, x], axis=1)[:, : x.shape[1]],
    "one row again and again": lambda x: np.broadcast_to(x[:1], x.shape),
    "one column again and again": lambda x: np.broadcast_to(x[:, :1], x.shape),
    "one entry again and again": lambda x: np.broadcast_to(x[0, 0], x.shape),
    "odd address": lambda x: np.frombuffer(b"-" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
    "transposed column": lambda x: x[:, :1].T,
}


@pytest.mark.parametrize("dtype", ["f4", "f8", "u4", "i8", "f2"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(layout, dtype):
    for shape in ((5, 7), (70, 1100), (3, 9000)):
        matrix = np.random.default_rng(1).integers(0, 1500, shape).astype(dtype)
        form = LAYOUTS[layout](matrix)
        for k in (3, 40):
            assert_same_topk(fastvec.topk(form, k), oracle.topk(form, k))


def test_scores_may_be_a_memory_mapped_file(tmp_path):
    matrix = np.random.default_rng(1).standard_normal((9, 300)).astype(np.float32)
    np.save(tmp_path / "scores.npy", matrix)
    assert_same_topk(fastvec.topk(np.load(tmp_path / "scores.npy", mmap_mode="r"), 5), oracle.topk(matrix, 5))


@pytest.fixture
def small_parts(monkeypatch):
    """Small work is divided as large work is, and few rows are divided into pieces."""
    monkeypatch.setattr(selection, "_PART_BYTES", 512)


@contextlib.contextmanager
def thread_count(count):
    before = fastvec.get_num_threads()
    fastvec.set_num_threads(count)
    try:
        yield
    finally:
        fastvec.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("dtype", ["f4", "i8", "f2", ">f8"])
@pytest.mark.parametrize("shape", [(1, 9001), (3, 5000), (19, 700), (100, 130)])
def test_any_number_of_threads(shape, dtype, count, small_parts):
    matrix = np.random.default_rng(1).integers(0, 300, shape).astype(dtype)
    for k in (1, 7, 90, 200):
        for largest in (True, False):
            expected = oracle.topk(matrix.astype(np.float64), k, largest)
            with thread_count(count):
                assert_same_topk(fastvec.topk(matrix, k, largest=largest), expected)
                assert_same_topk(fastvec.topk(np.asfortranarray(matrix), k, largest=largest), expected)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("shape", [(1, 9001), (2, 5000), (19, 700), (7, 90)])
def test_the_first_nan_is_named_wherever_it_is(shape, count, small_parts):
    rng = np.random.default_rng(1)
    clean = rng.standard_normal(shape)
    places = [0, shape[1] - 1, clean.size - 1, *rng.integers(0, clean.size, 12)]
    for largest in (True, False):
        for dtype in ("f4", "f8", "f2", ">f4"):
            for place in places:
                matrix = clean.astype(dtype)
                later = rng.integers(place, clean.size, 3)
                matrix.flat[[place, *later]] = [np.nan, -np.nan, np.nan, np.nan]
                row, column = divmod(int(place), shape[1])
                for k in (1, 60):
                    with (
                        thread_count(count),
                        pytest.raises(ValueError, match=rf"row {row}, column {column}:"),
                    ):
                        fastvec.topk(matrix, k, largest=largest)
    row = clean[0].copy()
    row[70:] = np.nan
    with pytest.raises(ValueError, match="position 70: NaN"):
        fastvec.topk(row, 3)


def test_nan_is_named_with_its_row():
    matrix = np.zeros((9, 40), np.float32)
    matrix[[6, 8], 30] = np.nan
    for k in (1, 50):
        for largest in (True, False):
            with pytest.raises(ValueError, match=words("scores", "nan", "row 6")):
                fastvec.topk(matrix, k, largest=largest)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.ones((2, 2), bool), ["bool"]),
        (np.ones((2, 2), complex), ["complex"]),
        (np.ones((2, 2), object), ["object"]),
        (np.array([["a", "b"]]), ["<U1|str|text"]),
        (np.ones((2, 2, 2)), ["3|2, 2, 2"]),
        (np.float32(1), [r"0|\(\)|scalar"]),
    ],
)
def test_scores_of_another_form_are_refused(scores, message):
    with pytest.raises((TypeError, ValueError), match=words("scores", *message)):
        fastvec.topk(scores, 1)
