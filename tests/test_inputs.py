"""The kinds of NumPy arrays and plain values that are accepted, and the errors for all others.

Arrays of other libraries: ``test_arrays.py``.
"""

import enum
import pickle

import numpy as np
import oracle
import pytest
from assertions import assert_same_bits, assert_same_topk, words
from data import FLOAT32_MAX, FORMS, ArrayOnly, DLPackOnly, gaussian, hashed, mixed

import fastvec
from fastvec.kernels import rows, settings

REFUSED = (TypeError, ValueError)


def assert_forms_agree(form, plain):
    """Check that every function reads `form` as the float32 matrix `plain`."""
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


@pytest.mark.parametrize("value", [1e-300, 5e-324, 7e-46, -7e-46])
def test_rows_that_would_become_zero_are_refused(value):
    """Single values may become zero, because they are below the precision of float32 in their row."""
    small = VECTORS.astype(np.float64)
    small[[23, 31]] = 0
    small[[23, 31], 5] = value
    fine = small.copy()
    fine[[23, 31], 6] = 1e-44
    for name, (argument, call) in CALLS.items():
        if "cosine_similarity" in name:
            assert call(small).dtype == np.float64
            continue
        for bad in (small, np.asfortranarray(small), small.astype(">f8"), small.tolist()):
            with pytest.raises(ValueError, match=words(argument, r"row 23\b", "zero", "multiply")):
                call(bad)
        call(fine)
        call(np.where(small == value, 0, small))
    with pytest.raises(ValueError, match=words("vectors", "row 0", "zero")):
        fastvec.Index(VECTORS).add(small[23])
    with pytest.raises(ValueError, match=words("queries", "row 0", "zero")):
        fastvec.Index(VECTORS).range_search(small[23], 0.5)


def test_what_is_too_large_and_what_is_too_small_are_told_apart():
    rows = np.ones((4, 3))
    for first, second, message in ((1e-300, 1e300, "zero"), (1e300, 1e-300, "large")):
        rows[1], rows[2] = first, second
        with pytest.raises(ValueError, match=words("vectors, row 1", message)):
            fastvec.normalize(rows)
    rows[1] = [np.nan, 1e-300, 1e-300]
    with pytest.raises(ValueError, match=words("row 1: NaN|row 2")):
        fastvec.normalize(rows)


def test_integers_are_rounded_once():
    """A conversion through float64 loses the last bit, and then rounds a halfway case wrongly."""
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
    "queries of range_search": ("queries", lambda bad: fastvec.Index(VECTORS).range_search(bad, 0.5)),
    "vectors of add": ("vectors", lambda bad: fastvec.Index(VECTORS).add(bad)),
    "vectors of Vocabulary": ("vectors", lambda bad: fastvec.Vocabulary(map(str, range(40)), bad)),
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
        pytest.param(
            VECTORS.astype(np.longdouble),
            [str(np.dtype(np.longdouble))],
            marks=pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="it is float64"),
        ),
        ([["a"] * 17], ["U1|str|text"]),
        ([[1.0] * 17, [1.0] * 16], []),
        (None, []),
        ("vectors", []),
    ],
    ids=["bool", "complex", "object", "str", "bytes", "datetime", "long", "words", "ragged", "None", "text"],
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


def test_a_single_vector_in_the_place_of_a_matrix_is_refused_with_advice():
    for call in (fastvec.normalize, fastvec.Index, lambda x: fastvec.truncate(x, 1)):
        with pytest.raises(ValueError, match=r"vectors has shape \(3,\).*pass \[vector\]"):
            call(np.ones(3, np.float32))


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
    """One search with any options, by knn or by an Index."""
    if request.param == "knn":
        return lambda queries=VECTORS, k=3, **options: fastvec.knn(queries, VECTORS, k, **options)
    return lambda queries=VECTORS, k=3, **options: fastvec.Index(VECTORS).search(queries, k, **options)


@pytest.mark.parametrize(
    "k", [0, -1, 3.0, 2.5, True, "3", None, [3], np.True_, np.array([3]), np.array(3.0), {3}]
)
def test_k_must_be_a_positive_integer(search, k):
    for call in (lambda: search(k=k), lambda: fastvec.topk(VECTORS, k)):
        with pytest.raises(REFUSED, match=r"\bk\b"):
            call()


@pytest.mark.parametrize("integer", [np.int64, np.uint8, np.int32])
def test_numpy_integers_are_integers(search, integer):
    expected = oracle.knn(VECTORS, VECTORS, 3, dims=5)
    assert_same_topk(search(k=integer(3), dims=integer(5), num_threads=integer(1)), expected)


@pytest.mark.parametrize("dims", [0, -1, 18, 5.0, "5", True, np.True_, 10**30])
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
        (True, ["bool", "40"]),
        ([True, False], ["bool", "40"]),
        (np.ones((1, 40), bool), ["bool", "40"]),
        ([True, 3], ["bool|integer|40"]),
        (np.array([1, None]), ["object", "bool|integer"]),
        ([[True], [False, True]], ["row 0 has 1"]),
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
        ([[0], 1], ["mixes"]),
        ([[0, True]] * 40, ["True", "bool", "integer"]),
        ([[0, 1.0]] * 40, ["1.0", "float", "integer"]),
        ([[2**70]] * 40, [str(2**70), "39"]),
        ([np.array([2**63], np.uint64)] * 40, [str(2**63), "39"]),
        ([np.array([True])] * 40, ["bool", "integer"]),
        ([[[1]]] * 40, ["list|shape|integer"]),
        (3, ["shape|list"]),
        (True, ["bool", "integer"]),
        (np.ones((40, 40), bool), ["bool", "integer"]),
        (np.ones((40, 2)), ["float64", "integer"]),
        (np.zeros((40, 2, 2), int), ["shape"]),
        ([None] * 40, ["None", "integer"]),
        ([{1}] * 40, ["set", "integer|list"]),
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


MOST_THREADS = settings.MOST_THREADS


@pytest.mark.parametrize(
    "num_threads", [0, -1, 1.0, "2", True, MOST_THREADS + 1, 10**8, 10**4000, [2], np.ones(2)]
)
def test_thread_counts_must_be_positive_integers(search, num_threads):
    with pytest.raises(REFUSED, match=words("num_threads", "at least 1", "at most")):
        search(num_threads=num_threads)


def test_more_threads_than_there_is_work_for(search):
    expected = oracle.knn(VECTORS, VECTORS, 3)
    assert_same_topk(search(num_threads=MOST_THREADS), expected)
    index = fastvec.Index(VECTORS)
    index.range_search(VECTORS, 0.0, num_threads=MOST_THREADS)
    index.knn_graph(3, num_threads=MOST_THREADS)
    index.analogy([[1]], [[2]], num_threads=MOST_THREADS, method="3cosmul")


@pytest.mark.parametrize("value", ["0", "100000000", "9" * 5000, "٣٣٣٣"])
def test_thread_counts_of_the_environment(value, monkeypatch):
    monkeypatch.setenv("FASTVEC_NUM_THREADS", value)
    with pytest.raises(ValueError, match=words("FASTVEC_NUM_THREADS", "at least 1", "at most")) as caught:
        settings.num_threads()
    assert len(str(caught.value)) < 300
    monkeypatch.setenv("FASTVEC_NUM_THREADS", f" {MOST_THREADS} ")
    assert settings.num_threads() == MOST_THREADS


def test_work_is_cut_into_no_more_parts_than_there_are_steps():
    assert rows.split(5, 10**9) == [(i, i + 1) for i in range(5)]
    assert rows.split(100, 10**9, 64) == [(0, 64), (64, 100)]
    assert rows.split(0, 10**9) == []


class Name(str, enum.Enum):  # noqa: UP042 - a StrEnum prints as the plain string does
    """Strings that equal plain ones but print differently."""

    COSINE = "cosine"
    DOT = "dot"
    COSMUL = "3cosmul"
    CPU = "cpu"
    MMAP = "memory"
    WORD2VEC = "word2vec"


def test_names_may_be_any_kind_of_string(tmp_path):
    """They leave nothing in the caches of kernels, which have names as keys, for plain strings to find."""
    for kind in (np.str_, Name):
        for metric in ("dot", "cosine"):
            index = fastvec.Index(VECTORS, metric=kind(metric), device=kind("cpu"))
            assert type(index.metric) is str
            assert repr(index) == repr(fastvec.Index(VECTORS, metric=metric))
            for dims in (None, 9):
                expected = oracle.knn(VECTORS, VECTORS, 3, metric, dims=dims)
                assert_same_topk(index.search(VECTORS, 3, dims=dims), expected)
                assert_same_topk(fastvec.knn(VECTORS, VECTORS, 3, metric=kind(metric), dims=dims), expected)
                assert_same_topk(fastvec.knn(VECTORS, VECTORS, 3, metric=metric, dims=dims), expected)
        expected = oracle.analogy(VECTORS, [1, 2], [3], 2, "3cosmul")
        assert_same_topk(fastvec.analogy(VECTORS, [1, 2], [3], 2, method=kind("3cosmul")), expected)
        index.save(tmp_path / "index")
        assert len(fastvec.Index.open(tmp_path / "index", vectors=kind("memory"))) == 40
    assert_same_topk(pickle.loads(pickle.dumps(index)).search(VECTORS, 3), index.search(VECTORS, 3))


def test_kernels_are_kept_by_plain_names_only(monkeypatch):
    """Equal values of an argument lead to one kernel."""
    from fastvec.kernels import direct, selection

    keys = []
    for module, name in ((direct, "_pass_rows"), (selection, "_key")):
        kept = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *key, kept=kept: keys.append(key) or kept(*key))
    fastvec.knn(VECTORS, VECTORS, np.int8(3), metric=np.str_("dot"), dims=np.uint8(9))
    fastvec.knn(VECTORS, VECTORS, 3, metric=Name.DOT)
    fastvec.topk(VECTORS, 3, largest=np.True_)
    fastvec.topk(VECTORS, 3, largest=1)
    assert keys
    assert {type(part) for key in keys for part in key} <= {str, bool, int}
    assert {key for key in keys if len(key) == 2} == {("f4", True)}


@pytest.mark.parametrize("value", ["no", None, 2, 1.0, [True], "", np.array([True])])
def test_flags_are_true_or_false(value):
    for name, call in {
        "largest": lambda: fastvec.topk(VECTORS, 3, largest=value),
        "renormalize": lambda: fastvec.truncate(VECTORS, 3, renormalize=value),
        "exclude_inputs": lambda: fastvec.analogy(VECTORS, [1], [2], exclude_inputs=value),
        "copy": lambda: fastvec.Index(VECTORS, copy=value),
    }.items():
        with pytest.raises(TypeError, match=words(name, "True or False")):
            call()


@pytest.mark.parametrize("rows", [[0], [0, 3], np.array([1, 2]), range(3)])
def test_a_single_list_of_excluded_rows_is_for_a_single_query(search, rows):
    message = words("exclude", "single list", "40 lists", r"exclude=\[\[0\]\]")
    with pytest.raises(ValueError, match=message):
        search(exclude=rows)
    message = words("exclude", "single list", "1 lists?", r"exclude=\[\[0\]\]")
    with pytest.raises(ValueError, match=message):
        search(VECTORS[:1], exclude=rows)
    expected = oracle.knn(VECTORS[0], VECTORS, 3, exclude=rows)
    assert_same_topk(search(VECTORS[0], exclude=rows), expected)


def test_an_error_is_no_longer_than_a_reader_wants(search):
    many = list(range(100_000))
    for call in (
        lambda: search(k=many),
        lambda: search(dims="9" * 10**6),
        lambda: search(num_threads=many),
        lambda: fastvec.knn(VECTORS, VECTORS, 3, metric="x" * 10**6),
        lambda: search(where=["x" * 10**6]),
        lambda: search(exclude=[["x" * 10**6]] * 40),
        lambda: search(exclude=many),
        lambda: search(queries=many),
        lambda: search(queries=[many, many[:5]]),
        lambda: fastvec.Index(VECTORS).range_search(VECTORS, many),
        lambda: fastvec.topk(VECTORS, 3, largest=many),
    ):
        with pytest.raises((*REFUSED, IndexError)) as caught:
            call()
        assert len(str(caught.value)) < 400
