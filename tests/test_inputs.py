"""Every kind of array that is accepted, and what is said about every kind that is not."""

import numpy as np
import oracle
import pytest
from assertions import assert_same_bits, assert_same_topk, words
from data import FLOAT32_MAX, FORMS, ArrayOnly, DLPackOnly, gaussian, hashed, mixed

import fastvec

REFUSED = (TypeError, ValueError)


def assert_forms_agree(form, plain):
    """Every function reads `form` as the float32 matrix `plain`."""
    queries = plain[:7].copy()
    expected = oracle.knn(queries, plain, 5)
    assert_same_topk(fastvec.knn(queries, form, 5), expected)
    index = fastvec.Index(form)
    assert_same_bits(index.vectors, plain)
    assert_same_topk(index.search(queries, 5), expected)
    assert_same_topk(fastvec.knn(form, plain, 5), oracle.knn(plain, plain, 5))
    assert_same_topk(index.search(form, 5, dims=9), oracle.knn(plain, plain, 5, dims=9))
    assert_same_topk(fastvec.analogy(form, [[1, 2]], [[3]], 4), oracle.analogy(plain, [[1, 2]], [[3]], 4))
    assert_same_bits(fastvec.normalize(form) + np.float32(0), oracle.normalize(plain) + np.float32(0))
    assert_same_bits(fastvec.truncate(form, 9) + np.float32(0), oracle.truncate(plain, 9) + np.float32(0))
    actual = fastvec.cosine_similarity(form, plain)
    np.testing.assert_allclose(actual, oracle.scores(plain, plain), rtol=0, atol=5e-7)


@pytest.mark.parametrize("name", FORMS)
def test_forms_of_one_float32_matrix(name):
    plain = mixed(64, 33, 1)
    assert_forms_agree(FORMS[name](plain), plain)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("code", ["f2", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_other_numbers(code, order):
    values = np.random.default_rng(1).integers(0, 100, (64, 33)).astype(f"{order}{code}")
    if code == "f2":
        values = mixed(64, 33, 1, ("gaussian", "one_hot", "zero")).astype(f"{order}f2")
    assert_forms_agree(values, values.astype(np.float32))


def test_memory_mapped(tmp_path):
    plain = mixed(64, 33, 1)
    np.save(tmp_path / "vectors.npy", plain)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    assert_forms_agree(mapped, plain)
    assert np.shares_memory(fastvec.Index(mapped).vectors, mapped)


@pytest.mark.parametrize("wrap", [ArrayOnly, DLPackOnly])
def test_protocols_do_not_copy(wrap):
    plain = gaussian(64, 33, 1)
    assert np.shares_memory(fastvec.Index(wrap(plain)).vectors, plain)


def test_queries_may_be_wrapped_single_vectors():
    vectors = gaussian(64, 33, 1)
    expected = oracle.knn(vectors[3], vectors, 5)
    for form in (vectors[3].tolist(), ArrayOnly(vectors[3]), DLPackOnly(vectors[3]), vectors[3, ::-1][::-1]):
        assert_same_topk(fastvec.knn(form, vectors, 5), expected)


def test_float64_is_rounded_to_the_nearest_float32():
    exact = np.random.default_rng(1).standard_normal((200, 33)) * 10.0 ** np.arange(-46, 20, 2)
    assert_same_bits(fastvec.Index(exact).vectors, exact.astype(np.float32))
    assert_same_bits(
        fastvec.Index([[3.40282356e38, 1e-46]]).vectors, np.array([[FLOAT32_MAX, 0]], np.float32)
    )


def test_integers_are_rounded_once():
    """Through float64 the last bit is lost, and the half way case falls the wrong way."""
    values = np.array([[2**60 + 2**36 + 1, 2**62 - 1, -(2**60) - 2**36 - 1, 2**53 + 1]])
    assert_same_bits(fastvec.Index(values).vectors, values.astype(np.float32))
    values = np.array([[2**63 + 2**39 + 1, 2**64 - 1]], np.uint64)
    assert_same_bits(fastvec.Index(values).vectors, values.astype(np.float32))


VECTORS = hashed(40, 17, 1)
CALLS = {
    "queries of knn": ("queries", lambda bad: fastvec.knn(bad, VECTORS, 3)),
    "vectors of knn": ("vectors", lambda bad: fastvec.knn(VECTORS, bad, 3)),
    "vectors of Index": ("vectors", fastvec.Index),
    "queries of search": ("queries", lambda bad: fastvec.Index(VECTORS).search(bad, 3)),
    "vectors of analogy": ("vectors", lambda bad: fastvec.analogy(bad, [[1]], [[2]])),
    "vectors of normalize": ("vectors", fastvec.normalize),
    "vectors of truncate": ("vectors", lambda bad: fastvec.truncate(bad, 9)),
    "queries of cosine_similarity": ("queries", lambda bad: fastvec.cosine_similarity(bad, VECTORS)),
    "vectors of cosine_similarity": ("vectors", lambda bad: fastvec.cosine_similarity(VECTORS, bad)),
    "queries of cosine_similarity alone": ("queries", fastvec.cosine_similarity),
}
every_call = pytest.mark.parametrize("name", CALLS)


@every_call
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_first_row_that_is_not_finite_is_named(name, value, dtype):
    argument, call = CALLS[name]
    bad = VECTORS.astype(dtype)
    bad[[23, 31], [5, 0]] = value
    with pytest.raises(ValueError, match=words(argument, r"row 23\b", "nan|inf|finite")):
        call(bad)


@every_call
def test_float64_beyond_float32_is_refused(name):
    argument, call = CALLS[name]
    bad = VECTORS.astype(np.float64)
    bad[[23, 31], 5] = 1e39
    if "cosine_similarity" in name:
        assert call(bad).dtype == np.float64
        return
    with pytest.raises(ValueError, match=words(argument, r"row 23\b", "float32")):
        call(bad)


@every_call
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (VECTORS > 0, ["bool"]),
        (VECTORS.astype(complex), ["complex"]),
        (VECTORS.astype(object), ["object"]),
        (VECTORS.astype("U8"), ["U8|str|text"]),
        (VECTORS.astype("S8"), ["S8|str|text|bytes"]),
        (VECTORS.astype("M8[s]"), ["datetime64"]),
        ([["a"] * 17], ["U1|str|text"]),
        ([[1.0] * 17, [1.0] * 16], []),
        (None, []),
        ("vectors", []),
    ],
    ids=["bool", "complex", "object", "str", "bytes", "datetime", "words", "ragged", "None", "text"],
)
def test_what_is_not_numbers_is_refused(name, bad, message):
    argument, call = CALLS[name]
    if bad is None and name == "vectors of cosine_similarity":
        assert call(bad).shape == (40, 40)
        return
    with pytest.raises(REFUSED, match=words(argument, *message)):
        call(bad)


@every_call
@pytest.mark.parametrize("shape", [(), (2, 3, 17), (0,), (5, 0), (0, 0)])
def test_other_shapes_are_refused(name, shape):
    argument, call = CALLS[name]
    with pytest.raises(ValueError, match=argument):
        call(np.zeros(shape, np.float32))


@pytest.mark.parametrize("width", [1, 16, 18, 34])
def test_widths_that_differ_are_both_named(width):
    other = gaussian(5, width)
    for call in (
        lambda: fastvec.knn(other, VECTORS, 3),
        lambda: fastvec.knn(other[0], VECTORS, 3),
        lambda: fastvec.Index(VECTORS).search(other, 3),
        lambda: fastvec.cosine_similarity(other, VECTORS),
    ):
        with pytest.raises(ValueError, match=words("queries", "vectors|index", rf"\b{width}\b", r"\b17\b")):
            call()


def test_more_dimensions_than_the_codes_can_sum_are_refused():
    with pytest.raises(ValueError, match=words("vectors", "131.?073", "131.?072")):
        fastvec.Index(np.ones((1, 131_073), np.float32))


@pytest.fixture(params=["knn", "Index"])
def search(request):
    """One search with any options, one-shot or through an Index."""
    if request.param == "knn":
        return lambda queries=VECTORS, k=3, **options: fastvec.knn(queries, VECTORS, k, **options)
    return lambda queries=VECTORS, k=3, **options: fastvec.Index(VECTORS).search(queries, k, **options)


@pytest.mark.parametrize("k", [0, -1, 3.0, 2.5, True, "3", None, [3]])
def test_k_must_be_a_positive_integer(search, k):
    for call in (lambda: search(k=k), lambda: fastvec.topk(VECTORS, k)):
        with pytest.raises(REFUSED, match=r"\bk\b"):
            call()


@pytest.mark.parametrize("integer", [np.int64, np.uint8, np.int32])
def test_numpy_integers_are_integers(search, integer):
    expected = oracle.knn(VECTORS, VECTORS, 3, dims=5)
    assert_same_topk(search(k=integer(3), dims=integer(5), num_threads=integer(1)), expected)


@pytest.mark.parametrize("dims", [0, -1, 18, 5.0, "5", True])
def test_dims_must_be_among_the_columns(search, dims):
    with pytest.raises(REFUSED, match=words("dims", str(dims))):
        search(dims=dims)


@pytest.mark.parametrize("width", [4, 6, 16, 18])
def test_queries_have_the_first_columns_or_all(search, width):
    with pytest.raises(ValueError, match=words("queries", str(width), "5", "17")):
        search(queries=gaussian(3, width), dims=5)


def test_columns_beyond_dims_are_not_read():
    queries, vectors = VECTORS.copy(), VECTORS.copy()
    queries[3, 10] = vectors[5, 16] = np.nan
    expected = oracle.knn(VECTORS, VECTORS, 3, dims=10)
    assert_same_topk(fastvec.knn(queries, vectors, 3, dims=10), expected)
    assert_same_topk(fastvec.Index(VECTORS).search(queries, 3, dims=10), expected)
    with pytest.raises(ValueError, match=words("queries", "row 3")):
        fastvec.knn(queries, vectors, 3, dims=11)
    with pytest.raises(ValueError, match=words("vectors", "row 5")):
        fastvec.Index(vectors)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (np.ones(39, bool), ["39", "40"]),
        (np.ones((40, 1), bool), ["shape|1-D|dimension"]),
        ([[1, 2]], ["shape|1-D|dimension"]),
        ([0, 40], ["40"]),
        ([0, -1], ["-1"]),
        ([0.0, 1.0], ["float64", "bool|integer"]),
        (["a"], ["U1|str|text", "bool|integer"]),
        (3, ["shape|1-D|dimension"]),
    ],
)
def test_where_of_another_form_is_refused(search, where, message):
    with pytest.raises((*REFUSED, IndexError), match=words("where", *message)):
        search(where=where)


@pytest.mark.parametrize(
    ("exclude", "message"),
    [
        ([1, 2], ["40"]),
        ([1] * 40, ["lists"]),
        ([[1]] * 39, ["39", "40"]),
        (np.ones((39, 2), int), ["39", "40"]),
        ([[40]] * 40, ["40"]),
        ([[-2]] * 40, ["-2"]),
        ([[1.5]] * 40, ["float|integer"]),
        ([[True]] * 40, ["bool|integer"]),
        ([["a"]] * 40, ["str|text|U1|integer"]),
    ],
)
def test_exclude_of_another_form_is_refused(search, exclude, message):
    with pytest.raises((*REFUSED, IndexError), match=words("exclude", *message)):
        search(exclude=exclude)


HAS_CUDA = any(place.available for place in fastvec.machine.devices() if place.name == "cuda")


def test_unknown_metrics_and_devices_name_the_known_ones():
    for call in (
        lambda **options: fastvec.knn(VECTORS, VECTORS, 3, **options),
        lambda **options: fastvec.Index(VECTORS, **options),
    ):
        for metric in ("cosin", "COSINE", None, 1):
            with pytest.raises(REFUSED, match=words("metric", str(metric), "'cosine'", "'dot'")):
                call(metric=metric)
        for device in (*([] if HAS_CUDA else ["cuda"]), "gpu", None):
            with pytest.raises((*REFUSED, RuntimeError), match=words("device", str(device), "cpu")):
                call(device=device)
    if not HAS_CUDA:
        with pytest.raises((*REFUSED, RuntimeError), match=words("device", "cuda", "cpu")):
            fastvec.analogy(VECTORS, [[1]], [[2]], device="cuda")


@pytest.mark.parametrize("num_threads", [0, -1, 1.0, "2", True])
def test_thread_counts_must_be_positive_integers(search, num_threads):
    with pytest.raises(REFUSED, match="num_threads"):
        search(num_threads=num_threads)
