"""Arrays of other libraries: each is taken wherever an array is, or refused with what to write instead.

Libraries that the tests do not bring along have small stand-ins here, with the methods and refusals of the
real thing; where the library is installed, the real thing is tried as well.
"""

import array
import collections
import importlib.util
import pathlib
from importlib.util import find_spec

import numpy as np
import pyarrow as pa
import pytest
from assertions import assert_same_bits, words
from data import gaussian, hashed
from hypothesis import given
from hypothesis import strategies as st

import fastvec
from fastvec._arrays import any_array

PLAIN = (np.round(hashed(12, 5, 1) * 64) / 64).astype(np.float32)
"""Multiples of 2⁻⁶, which bfloat16 holds too."""
BASE = gaussian(12, 5, 2)
LABELS = [f"word {i}" for i in range(12)]

TAKERS = {
    "queries of knn": lambda x: fastvec.knn(x, BASE, 3),
    "vectors of knn": lambda x: fastvec.knn(BASE, x, 3),
    "vectors of Index": lambda x: (fastvec.Index(x).vectors,),
    "vectors of add": lambda x: (added(x),),
    "queries of search": lambda x: fastvec.Index(BASE).search(x, 3),
    "queries of range_search": lambda x: fastvec.Index(BASE).range_search(x, 0.1),
    "vectors of normalize": lambda x: (fastvec.normalize(x),),
    "vectors of truncate": lambda x: (fastvec.truncate(x, 3),),
    "queries of cosine_similarity": lambda x: (fastvec.cosine_similarity(x, BASE),),
    "vectors of cosine_similarity": lambda x: (fastvec.cosine_similarity(BASE, x),),
    "scores of topk": lambda x: fastvec.topk(x, 3),
    "vectors of analogy": lambda x: fastvec.analogy(x, [1, 2], [3], 3),
    "vectors of Vocabulary": lambda x: (fastvec.Vocabulary(LABELS, x).vectors,),
    "vectors of replace": lambda x: (replaced(x),),
    "queries of audit": lambda x: fastvec.audit(x, BASE, FOUND)[5:7],
    "vectors of audit": lambda x: fastvec.audit(BASE, x, FOUND)[5:7],
}


def added(vectors):
    index = fastvec.Index(BASE)
    index.add(vectors)
    return index.vectors[12:]


def replaced(vectors):
    index = fastvec.Index(BASE)
    index.replace(np.arange(12), vectors)
    return index.vectors


FOUND = np.arange(36).reshape(12, 3) % 12


class Tensor:
    """A stand-in for PyTorch's tensors, which exports to NumPy only float32 on the host without gradients."""

    def __init__(self, values, dtype="torch.float32", *, requires_grad=False, device=(1, 0)):
        self.values, self.dtype, self.requires_grad, self.where = values, dtype, requires_grad, device

    def _changed(self, **changes):
        kept = {"dtype": self.dtype, "requires_grad": self.requires_grad, "device": self.where}
        return Tensor(self.values, **(kept | changes))

    def detach(self):
        return self._changed(requires_grad=False)

    def float(self):
        return self._changed(dtype="torch.float32")

    def cpu(self):
        return self._changed(device=(1, 0))

    def __dlpack_device__(self):
        return self.where

    def __dlpack__(self, **options):
        if self.requires_grad or self.dtype != "torch.float32" or self.where != (1, 0):
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
        return self.values.__dlpack__(**options)

    def __array__(self, dtype=None, copy=None):
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy()")
        if self.where != (1, 0):
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()")
        if self.dtype != "torch.float32":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.values


class OnDevice:
    """A stand-in for CuPy's arrays: nothing implicit, ``get`` copies."""

    __cuda_array_interface__ = {"shape": (12, 5), "typestr": "<f4", "data": (0, True), "version": 3}  # noqa: RUF012

    def __init__(self, values):
        self.values = values

    def __dlpack_device__(self):
        return (2, 0)

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def get(self):
        return self.values.copy()


class Series:
    """A stand-in for pandas' and Polars': a column of objects."""

    def __init__(self, rows, null_count=0):
        self.rows, self.nulls = list(rows), null_count

    def null_count(self):
        return self.nulls

    def to_list(self):
        return self.rows

    def __array__(self, dtype=None, copy=None):
        return objects(self.rows)


class Frame:
    """A stand-in for pandas' frames whose columns may lack values: NumPy gets objects."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return self.values.astype(object)


def objects(rows):
    made = np.empty(len(rows), object)
    for i, row in enumerate(rows):
        made[i] = row
    return made


def halves(values):
    """The upper halves of float32, which are the bits of bfloat16."""
    return (np.ascontiguousarray(values).view(np.uint32) >> 16).astype(np.uint16)


def lists_of(values, kind):
    return pa.array(list(values), kind)


def negated(values):
    """Complex numbers whose conjugates' imaginary parts are the values: a sign that is applied when read."""
    made = np.empty(values.shape, np.complex64)
    made.imag = -values
    return made


def tensors_of_torch(make):
    return lambda x: make(pytest.importorskip("torch"), x)


FORMS = {
    "ctypes": lambda x: np.ctypeslib.as_ctypes(np.array(x)),
    "gradients": lambda x: Tensor(x, requires_grad=True),
    "bfloat16": lambda x: Tensor(x, "torch.bfloat16"),
    "bfloat16 with gradients": lambda x: Tensor(x, "torch.bfloat16", requires_grad=True),
    "on a device": lambda x: Tensor(x, device=(2, 0), requires_grad=True),
    "CuPy": OnDevice,
    "list of tensors": lambda x: [Tensor(row, "torch.bfloat16", requires_grad=True) for row in x],
    "list of arrays and tensors": lambda x: [x[0], x[1].tolist(), *(Tensor(row) for row in x[2:])],
    "Series of arrays": lambda x: Series(list(x)),
    "Series of lists": lambda x: Series(x.tolist()),
    "Series of tensors": lambda x: Series([Tensor(row, requires_grad=True) for row in x]),
    "frame": Frame,
    "frame of one column of lists": lambda x: Frame(objects(x.tolist())[:, None]),
    "object array of rows": lambda x: objects(list(x)),
    "object array of lists": lambda x: objects(x.tolist()),
    "deque": lambda x: collections.deque(x.tolist()),
    "Arrow": lambda x: lists_of(x, pa.list_(pa.float32(), x.shape[1])),
    "Arrow lists": lambda x: lists_of(x, pa.list_(pa.float32())),
    "Arrow large lists of float64": lambda x: lists_of(x, pa.large_list(pa.float64())),
    "Arrow chunks": lambda x: pa.chunked_array([FORMS["Arrow lists"](part) for part in (x[:5], x[5:])]),
    "Arrow entries": lambda x: list(FORMS["Arrow lists"](x)),
    "Arrow slice": lambda x: lists_of(np.concatenate([x, x]), pa.list_(pa.float32(), x.shape[1]))[len(x) :],
    "Arrow tensors": lambda x: pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(x)),
    "Arrow table": lambda x: pa.table({str(i): column for i, column in enumerate(x.T)}),
    "np.matrix": lambda x: x.view(np.matrix),
    "masked array without a mask": np.ma.MaskedArray,
    "buffer": lambda x: memoryview(np.ascontiguousarray(x)),
    "torch": tensors_of_torch(lambda torch, x: torch.from_numpy(x.copy())),
    "torch Parameter": tensors_of_torch(lambda torch, x: torch.nn.Parameter(torch.from_numpy(x.copy()))),
    "torch bfloat16": tensors_of_torch(
        lambda torch, x: torch.from_numpy(x).to(torch.bfloat16).requires_grad_()
    ),
    "torch list": tensors_of_torch(lambda torch, x: list(torch.from_numpy(x).to(torch.bfloat16))),
    "torch negative view": tensors_of_torch(lambda torch, x: torch.from_numpy(negated(x)).conj().imag),
    "torch float16": tensors_of_torch(lambda torch, x: torch.from_numpy(x).half()),
    "torch strides": tensors_of_torch(lambda torch, x: torch.from_numpy(x.T.copy()).bfloat16().T),
    "jax": lambda x: pytest.importorskip("jax").numpy.asarray(x, "float32"),
    "jax bfloat16": lambda x: pytest.importorskip("jax").numpy.asarray(x, "bfloat16"),
    "jax float16 rows": lambda x: list(pytest.importorskip("jax").numpy.asarray(x, "float16")),
    "ml_dtypes": lambda x: x.astype(pytest.importorskip("ml_dtypes").bfloat16),
    "ml_dtypes rows": lambda x: list(x.astype(pytest.importorskip("ml_dtypes").bfloat16)),
    "pandas": lambda x: pytest.importorskip("pandas").DataFrame(x),
    "pandas nullable": lambda x: pytest.importorskip("pandas").DataFrame(x).astype("Float32"),
    "pandas frame of lists": lambda x: pytest.importorskip("pandas").DataFrame({"vector": list(x)}),
    "pandas Series": lambda x: pytest.importorskip("pandas").Series(list(x)),
    "pandas Series of lists": lambda x: pytest.importorskip("pandas").Series(x.tolist()),
    "pandas Arrow": lambda x: pandas_of_arrow(FORMS["Arrow chunks"](x)),
    "pandas Arrow of one width": lambda x: pandas_of_arrow(FORMS["Arrow"](x)),
    "DuckDB arrays": lambda x: of_duckdb(FORMS["Arrow"](x)).fetchnumpy()["vector"],
    "DuckDB lists": lambda x: of_duckdb(FORMS["Arrow lists"](x)).fetchnumpy()["vector"],
    "Polars": lambda x: pytest.importorskip("polars").DataFrame(x),
    "Polars frame of lists": lambda x: polars_series(x, array=False).to_frame(),
    "Polars array": lambda x: polars_series(x, array=True),
    "Polars lists": lambda x: polars_series(x, array=False),
}


def pandas_of_arrow(column):
    pandas = pytest.importorskip("pandas")
    return pandas.Series(pandas.arrays.ArrowExtensionArray(column))


def of_duckdb(column):
    """A relation with a column."""
    table = pa.table({"vector": column})
    return pytest.importorskip("duckdb").from_arrow(table)


def polars_series(values, *, array):
    polars = pytest.importorskip("polars")
    kind = polars.Array(polars.Float32, values.shape[1]) if array else polars.List(polars.Float32)
    return polars.Series(values.tolist(), dtype=kind)


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_one_matrix(form):
    for name, call in TAKERS.items():
        for actual, expected in zip(call(FORMS[form](PLAIN)), call(PLAIN), strict=True):
            if "cosine_similarity" in name:  # which computes what came as float64 in float64
                np.testing.assert_allclose(actual, expected, atol=3e-7, err_msg=name)
            else:
                assert_same_bits(actual, expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.broadcast_to(gaussian(1, 5)[0], (12, 5)),
        lambda: np.broadcast_to(gaussian(12, 1), (12, 5)),
        lambda: np.lib.stride_tricks.sliding_window_view(gaussian(1, 16)[0], 5),
        lambda: gaussian(12, 5)[::-1],
        lambda: gaussian(12, 5)[::-1, ::-1],
    ],
    ids=["row", "column", "windows", "upside down", "turned"],
)
def test_strides_of_zero_and_below_and_rows_that_overlap(make):
    for call in TAKERS.values():
        for actual, expected in zip(call(make()), call(make().copy()), strict=True):
            assert_same_bits(actual, expected)


NUMBERS = {
    "tensor": lambda x: Tensor(np.array(x), "torch.float32"),
    "Arrow": pa.array,
    "Arrow chunks": lambda x: pa.chunked_array([x[:1], x[1:]]),
    "array.array": lambda x: array.array("q", x),
    "range": lambda x: range(x[0], x[-1] + 1),
    "tuple": tuple,
    "uint64": lambda x: np.array(x, np.uint64),
    "torch": lambda x: pytest.importorskip("torch").tensor(x),
    "pandas": lambda x: pytest.importorskip("pandas").Series(x),
    "Polars": lambda x: pytest.importorskip("polars").Series(x),
}


@pytest.mark.parametrize("form", NUMBERS)
def test_forms_of_row_numbers(form):
    rows, make = [3, 4, 5], NUMBERS[form]
    pairs = [
        (lambda x: fastvec.knn(BASE, BASE, 3, where=x), rows),
        (lambda x: fastvec.knn(BASE[0], BASE, 3, exclude=x), rows),
        (lambda x: fastvec.knn(BASE[:2], BASE, 3, exclude=[x, []]), rows),
        (lambda x: fastvec.knn(BASE[:2], BASE, 3, exclude=(x, np.array([1]))), rows),
        (lambda x: fastvec.analogy(BASE, x, [1]), rows),
        (lambda x: fastvec.analogy(BASE, [x, [1]], [x, [2, 0]]), rows),
    ]
    for call, plain in pairs:
        for actual, expected in zip(call(make(plain)), call(plain), strict=True):
            assert_same_bits(actual, expected)


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        lambda x: pa.array(x.tolist()),
        lambda x: pa.chunked_array([x[:3].tolist(), x[3:].tolist()]),
        lambda x: pytest.importorskip("torch").from_numpy(x),
        lambda x: pytest.importorskip("pandas").Series(x),
        lambda x: pytest.importorskip("polars").Series(x),
    ],
    ids=["list", "tuple", "Arrow", "Arrow chunks", "torch", "pandas", "Polars"],
)
def test_forms_of_masks(make):
    mask = np.arange(12) % 3 == 0
    expected = fastvec.knn(BASE, BASE, 3, where=mask)
    for actual, plain in zip(fastvec.knn(BASE, BASE, 3, where=make(mask)), expected, strict=True):
        assert_same_bits(actual, plain)


@pytest.mark.parametrize(
    "make",
    [
        tuple,
        lambda x: [tuple(run) for run in x],
        lambda x: [np.array(run, np.int32) for run in x],
        lambda x: [np.array(run, np.uint8) if i else run for i, run in enumerate(x)],
        objects,
        Series,
        pa.array,
        lambda x: pa.chunked_array([x[:1], x[1:]]),
        lambda x: pytest.importorskip("pandas").Series(x),
        lambda x: pytest.importorskip("polars").Series(x),
        lambda x: [pytest.importorskip("torch").tensor(run) for run in x],
    ],
    ids=[
        "tuple",
        "tuples",
        "arrays",
        "mixed",
        "objects",
        "Series",
        "Arrow",
        "chunks",
        "pandas",
        "Polars",
        "torch",
    ],
)
def test_forms_of_lists_of_unequal_length(make):
    runs = [[3, 1, 4], [1], [5, 9]]
    for call in (
        lambda x: fastvec.knn(BASE[:3], BASE, 3, exclude=x),
        lambda x: fastvec.analogy(BASE, x, [[0], [0], [0]], 3),
        lambda x: fastvec.analogy(BASE, [[0], [0], [0]], x, 3),
    ):
        for actual, expected in zip(call(make(runs)), call(runs), strict=True):
            assert_same_bits(actual, expected)


class TestListsOfFloats:
    """Wide lists of floats are packed: they become what NumPy makes of them, and mistakes are named alike."""

    def test_values(self):
        rows = gaussian(5, 70, 1).astype(np.float64)
        rows[0, :4] = 1e-310, -0.0, np.inf, np.nan
        assert_same_bits(any_array(rows.tolist(), "x"), rows)
        assert_same_bits(any_array(rows[0].tolist(), "x"), rows[0])
        assert any_array(rows[0].tolist(), "x").flags.writeable
        for changed in (7, True, np.float32(0.1), (1 << 60) + 1):
            mixed = rows.tolist()
            mixed[2][3] = changed
            expected = np.asarray(mixed)
            assert_same_bits(any_array(mixed, "x"), expected)
        whole = [[(1 << 60) + 1] * 70] * 3
        assert_same_bits(any_array(whole, "x"), np.asarray(whole))

    @pytest.mark.parametrize("wrong", [None, "1", 1j, [1.0], 1 << 2000], ids=lambda x: type(x).__name__)
    def test_mistakes(self, wrong):
        messages = []
        for width in (9, 70):
            rows = np.ones((4, width)).tolist()
            rows[2][1] = wrong
            with pytest.raises((TypeError, ValueError)) as caught:
                fastvec.Index(rows)
            messages.append(str(caught.value).replace(str(width), "WIDTH"))
        assert messages[0] == messages[1]

    def test_unequal_lengths(self):
        rows = np.ones((4, 70)).tolist()
        for row in ([], [1.0] * 69, [1.0] * 71):
            with pytest.raises(ValueError, match=rf"row 0 has 70 values and row 3 has {len(row)} values"):
                fastvec.Index([*rows[:3], row])


@st.composite
def views(draw):
    """An array of any number type and any strides, and the same values as float32, C-contiguous."""
    kinds = ["f2", "f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">f2", ">f4", ">f8", ">i4"]
    if importlib.util.find_spec("ml_dtypes"):
        kinds.append("bfloat16")
    kind, n, dims = draw(st.sampled_from(kinds)), draw(st.integers(1, 9)), draw(st.integers(1, 70))
    whole = np.round(gaussian(2 * n, 2 * dims, draw(st.integers(0, 99))) * 20)
    if kind == "bfloat16":
        whole = whole.astype(importlib.import_module("ml_dtypes").bfloat16)
    else:
        whole = (np.abs(whole) if "u" in kind else whole).astype(kind)
    if draw(st.booleans()):
        whole = np.asfortranarray(whole)
    steps = draw(st.tuples(*[st.sampled_from([1, 2, -1, -2])] * 2))
    view = whole[:: steps[0], :: steps[1]]
    if draw(st.booleans()):
        view = view[:1].repeat(3, 0) if draw(st.booleans()) else np.broadcast_to(view[0], (3, view.shape[1]))
    view.setflags(write=draw(st.booleans()) and view.flags.writeable)
    return view, np.ascontiguousarray(view.astype(np.float32))


@given(views())
def test_any_dtype_and_strides(pair):
    view, plain = pair
    width = plain.shape[1]
    assert_same_bits(fastvec.truncate(view, width, renormalize=False), plain)
    assert_same_bits(fastvec.normalize(view), fastvec.normalize(plain))
    for actual, expected in zip(fastvec.knn(view, view, 2), fastvec.knn(plain, plain, 2), strict=True):
        assert_same_bits(actual, expected)
    ranked = fastvec.topk(view, 3)
    assert_same_bits(ranked.indices, fastvec.topk(plain, 3).indices)
    actual, expected = fastvec.Index(view), fastvec.Index(plain)
    for of_view, of_plain in zip(actual.search(view, 2), expected.search(plain, 2), strict=True):
        assert_same_bits(of_view, of_plain)


def test_a_tracer_of_jax_is_refused():
    jax = pytest.importorskip("jax")
    with pytest.raises(TypeError, match="Tracer"):
        jax.jit(fastvec.normalize)(PLAIN)


def test_bfloat16_is_widened_exactly():
    """Every bit pattern of a finite bfloat16, subnormals among them."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    bits = np.arange(1 << 16, dtype=np.uint16).reshape(-1, 128)
    bits = bits[((bits >> 7) & 255 != 255).all(axis=1)]
    actual = fastvec.Index(bits.view(ml_dtypes.bfloat16), metric="dot").vectors
    assert_same_bits(actual, (bits.astype(np.uint32) << 16).view(np.float32))
    assert_same_bits(halves(actual), bits)


def test_small_types_that_numpy_lacks():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for name in ("int4", "uint4", "float8_e4m3fn", "float8_e5m2", "float4_e2m1fn"):
        numbers = np.array([[1, 0, 2, 3], [4, 3, 2, 1]], getattr(ml_dtypes, name))
        assert_same_bits(fastvec.Index(numbers).vectors, numbers.astype(np.float32))


class Lying:
    """``__array__`` raises, or returns something that is not an array of numbers."""

    def __init__(self, result):
        self.result = result

    def __array__(self, dtype=None, copy=None):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class Itself:
    """A scalar as Arrow has them, which is no plain value either."""

    def as_py(self):
        return self

    def __getitem__(self, _):
        return self


class Interface:
    def __init__(self, **interface):
        self.__array_interface__ = interface


class DeviceOnly:
    __cuda_array_interface__ = {"shape": (12, 5), "typestr": "<f4", "data": (0, True), "version": 3}  # noqa: RUF012


REFUSED = {
    "None": (lambda: None, "None"),
    "text": (lambda: "vectors.npy", "str.*np.load"),
    "path": (lambda: pathlib.Path("vectors.npy"), "Path.*np.load"),
    "bytes": (PLAIN.tobytes, "bytes.*np.frombuffer"),
    "bytearray": (lambda: bytearray(PLAIN.tobytes()), "bytearray.*np.frombuffer"),
    "generator": (lambda: (row for row in PLAIN), r"generator.*list\("),
    "map": (lambda: map(list, PLAIN), r"map.*list\("),
    "iterator": (lambda: iter(PLAIN), r"iterator.*list\("),
    "set": (lambda: set(map(tuple, PLAIN.tolist())), r"set.*list\("),
    "dict": (lambda: dict(zip(LABELS, PLAIN, strict=True)), r"dict.*list\(.*values\(\)"),
    "values of a dict": ({1: PLAIN}.values, r"dict_values.*list\("),
    "object": (object, "object.*array"),
    "module": (lambda: np, "module.*array"),
    "function": (lambda: len, "array"),
    "list of None": (lambda: [None, None], "row 0.*None"),
    "list with a None": (lambda: [*PLAIN[:3], None], "row 3.*None"),
    "list of sets": (lambda: [{1, 2}], "row 0.*set"),
    "rows of unequal length": (lambda: [*PLAIN[:3].tolist(), [1.0]], "row 0 has 5.*row 3 has 1"),
    "arrays of unequal length": (lambda: [*PLAIN[:3], PLAIN[3, :4]], "row 0 has 5.*row 3 has 4"),
    "objects of unequal length": (lambda: objects([PLAIN[0], PLAIN[1, :2]]), "row 0 has 5.*row 1 has 2"),
    "object array of numbers": (lambda: PLAIN.astype(object), "object.*astype"),
    "structured": (lambda: np.zeros(3, "f4,f4"), r"shape|dtype"),
    "masked": (lambda: np.ma.masked_less(PLAIN, 0), "masked"),
    "list of masked rows": (lambda: list(np.ma.masked_less(PLAIN, 0)), "row .*masked"),
    "Arrow null": (lambda: pa.array([[1.0, 2.0], None]), "null"),
    "Arrow null inside": (lambda: pa.array([[1.0, None]]), "null"),
    "Arrow numbers with a null": (lambda: pa.array([1.0, None]), "null"),
    "Arrow lists of unequal length": (lambda: pa.array([[1.0, 2.0], [1.0]]), "row 0 has 2.*row 1 has 1"),
    "Arrow chunks of unequal length": (lambda: pa.chunked_array([[[1.0, 2.0]], [[1.0]]]), "differ in length"),
    "Arrow text": (lambda: pa.array([["a"] * 5]), "dtype|str|object"),
    "pandas column with a missing row": (lambda: Series([PLAIN[0], float("nan")]), "row 1 is missing"),
    "pandas column with a missing first row": (lambda: Series([float("nan"), PLAIN[0]]), "row 0 is missing"),
    "Series with a null inside": (lambda: Series([[1.0, 2.0], [None, 1.0]]), "nulls, the first in row 1"),
    "pandas Arrow null": (lambda: pandas_of_arrow(pa.array([[1.0, 2.0], None])), "null"),
    "pandas frame of text and vectors": (
        lambda: pytest.importorskip("pandas").DataFrame({"text": ["a", "b"], "vector": [[1.0], [2.0]]}),
        "DataFrame.*dtype object.*the column of vectors",
    ),
    "DuckDB relation": (lambda: of_duckdb(FORMS["Arrow"](PLAIN)), r"relation.*fetchnumpy\(\)\['column'\]"),
    "DuckDB stream": (
        lambda: of_duckdb(FORMS["Arrow"](PLAIN)).to_arrow_reader(),
        r"read_all\(\)\['column'\]",
    ),
    "Polars null": (lambda: pytest.importorskip("polars").Series([[1.0, 2.0], None]), "null"),
    "Polars null inside": (
        lambda: pytest.importorskip("polars").Series([*PLAIN[:1].tolist(), [None] * 5, *PLAIN[2:].tolist()]),
        "row 1.*NaN",
    ),
    "Polars lists of unequal length": (
        lambda: pytest.importorskip("polars").Series([[1.0, 2.0], [1.0]]),
        "row 0 has 2.*row 1 has 1",
    ),
    "Polars lazy frame": (
        lambda: polars_series(PLAIN, array=True).to_frame("vector").lazy(),
        r"LazyFrame.*collect\(\)\['column'\]",
    ),
    "Series with nulls": (lambda: Series([PLAIN[0], None], 1), "null"),
    "sparse": (lambda: pytest.importorskip("scipy.sparse").csr_array(PLAIN), r"csr.*toarray\(\)"),
    "sparse matrix": (lambda: pytest.importorskip("scipy.sparse").coo_matrix(PLAIN), r"coo.*toarray\(\)"),
    "torch sparse": (
        lambda: pytest.importorskip("torch").from_numpy(PLAIN).to_sparse(),
        r"Tensor.*to_dense\(\)",
    ),
    "torch meta": (lambda: pytest.importorskip("torch").empty((3, 5), device="meta"), "Tensor"),
    "torch bool": (lambda: pytest.importorskip("torch").ones((3, 5)) > 0, "bool"),
    "raises": (lambda: Lying(KeyError("nothing here")), "Lying.*KeyError.*nothing here.*NumPy"),
    "raises in lines": (lambda: Lying(ValueError("one\ntwo")), "Lying.*ValueError: one two.*NumPy"),
    "not an array": (lambda: Lying("text"), "Lying"),
    "a scalar that is its own value": (Itself, "Itself.*NumPy array"),
    "frame that lacks a value": (lambda: Frame(np.array([[1.0] * 4 + [None]] * 5)), "object"),
    "array of objects": (lambda: Lying(np.array([[{}] * 5], object)), "object"),
    "interface without a shape": (lambda: Interface(typestr="<f4", version=3), "Interface"),
    "strides out of the buffer": (
        lambda: Interface(shape=(2, 2), typestr="<f4", data=bytes(16), strides=(1 << 40, 4), version=3),
        "Interface.*lead out of its buffer of 16 bytes",
    ),
    "strides before the buffer": (
        lambda: Interface(shape=(2, 2), typestr="<f4", data=bytes(16), strides=(-8, 4), version=3),
        "Interface.*lead out of its buffer",
    ),
    "strides out of the buffer, in lists": (
        lambda: [[Interface(shape=(2,), typestr="<f4", data=bytes(8), strides=(1 << 40,), version=3)]],
        "Interface.*lead out of its buffer of 8 bytes",
    ),
    "objects where bytes are": (
        lambda: Interface(shape=(3, 5), typestr="|O8", data=bytes(120), version=3),
        "Interface.*names objects",
    ),
    "masked, by a method": (lambda: Lying(np.ma.masked_equal(PLAIN, PLAIN[0, 0])), "Lying.*masked"),
    "lists of lists of lists": (lambda: [[[1.0] * 5]], "list"),
    "device without a way back": (DeviceOnly, "DeviceOnly.*device.*memory"),
    "date": (lambda: [np.datetime64("2020-01-01")], "datetime64|shape"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_says_what_to_write_instead(what):
    make, message = REFUSED[what]
    for name, call in TAKERS.items():
        if what == "None" and name == "vectors of cosine_similarity":
            continue
        argument, where = name.split()[0], name
        with pytest.raises((TypeError, ValueError), match=words(argument, message)) as caught:
            call(make())
        assert len(str(caught.value)) < 500, where


@pytest.mark.parametrize(
    "what", ["text", "bytes", "generator", "dict", "set", "sparse", "Arrow null", "raises"]
)
def test_row_numbers_are_refused_likewise(what):
    make, message = REFUSED[what]
    for argument in ("where", "exclude"):
        with pytest.raises((TypeError, ValueError), match=words(argument, message)):
            fastvec.knn(BASE, BASE, 3, **{argument: make()})
    for argument in ("positive", "negative"):
        questions = {"positive": [1], "negative": [2], argument: make()}
        with pytest.raises((TypeError, ValueError), match=words(argument, message)):
            fastvec.analogy(BASE, **questions)


def test_lists_are_read_as_what_they_hold():
    class Other(list):
        """A list that answers questions with exceptions."""

        def __iter__(self):
            raise ZeroDivisionError

        __len__ = __getitem__ = __iter__

    expected = fastvec.knn(PLAIN[0], PLAIN, 2, where=[0, 2], exclude=[1])
    answer = fastvec.knn(
        Other(PLAIN[0].tolist()), Other(PLAIN.tolist()), 2, where=Other([0, 2]), exclude=Other([1])
    )
    assert_same_bits(answer, expected)
    for name in ("exclude", "where"):
        for wrong in (KeyError("nothing"), RuntimeError("one\ntwo")):
            with pytest.raises(TypeError, match=words(name, f"Lying.*{type(wrong).__name__}")) as caught:
                fastvec.knn(PLAIN[0], PLAIN, 2, **{name: [Lying(wrong)]})
            assert "\n" not in str(caught.value)


def test_what_says_that_it_is_a_list_and_is_none_is_refused():
    class Pretending:
        """As ``unittest.mock.Mock(spec=list)``."""

        __class__ = property(lambda _: list)

        def __len__(self):
            return len(PLAIN)

        def __getitem__(self, row):
            return PLAIN[row]

    for value in (Pretending(), [Pretending()]):
        with pytest.raises(TypeError, match=r"Pretending says that it is a list.*give a list"):
            fastvec.knn(value, PLAIN, 1)


def test_a_length_for_which_there_is_no_memory_is_named():
    class Long:
        def __len__(self):
            return 1 << 60

        def __getitem__(self, row):
            return PLAIN[row]

    for argument in ({"vectors": Long()}, {"vectors": PLAIN, "where": Long()}):
        with pytest.raises(MemoryError, match=r"(vectors|where) is a .*Long, for which .* not enough memory"):
            fastvec.knn(PLAIN, k=1, **argument)


@pytest.mark.parametrize("width", [1, 3, 63, 64, 70])
@pytest.mark.parametrize("kind", [list, tuple])
def test_lists_are_read_as_numpy_reads_them(width, kind):
    numbers = np.arange(1500 * width).reshape(1500, width)
    halves = numbers + 0.5
    mixed = [[*row[:-1], 0.5] for row in numbers.tolist()]
    late = [*numbers[:-1].tolist(), [0.5] * width]
    large = [[2**63 + 1024] * width] * 70
    for rows in (numbers.tolist(), halves.tolist(), mixed, late, large, numbers.astype(bool).tolist()):
        expected = np.array(rows)
        found = any_array([kind(row) for row in rows], "rows")
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("number", [1, 0.5])
@pytest.mark.parametrize("width", [2, 40, 90])
def test_what_hides_behind_a_number_is_found(number, width):
    class Raising:
        def __float__(self):
            raise ZeroDivisionError

        __index__ = __array__ = __float__

    objects = Interface(shape=(), typestr="|O8", version=3, data=bytes(8))
    for hidden in (objects, Raising(), "1", None, [2.5]):
        row = [number] * (width - 1) + [hidden]
        with pytest.raises((TypeError, ValueError), match="vectors"):
            fastvec.normalize([row, row])


def test_an_interface_may_name_all_of_its_buffer_or_nothing():
    rows = gaussian(2, 3, 1)
    for interface, expected in (
        ({"shape": (2, 3)}, rows),
        ({"shape": (2, 3), "strides": (-12, 4), "offset": 12}, rows[::-1]),
        ({"shape": (0, 3)}, rows[:0]),
    ):
        value = Interface(typestr="<f4", version=3, data=rows.tobytes(), **interface)
        assert_same_bits(any_array(value, "x"), expected)


def test_arguments_that_are_no_matrix_are_read_with_the_same_care():
    class Raising:
        def __float__(self):
            raise ZeroDivisionError

    objects = Interface(shape=(2, 6), typestr="|O8", version=3, data=bytes(96))
    index = fastvec.Index(gaussian(4, 3, 1))
    with pytest.raises(TypeError, match=r"where .* names objects"):
        index.pairs(0.5, where=objects)
    with pytest.raises(TypeError, match="min_score is"):
        index.pairs(objects)
    with pytest.raises(TypeError, match=r"min_score .*ZeroDivisionError"):
        index.range_search(np.ones(3), Raising())
    with pytest.raises(TypeError, match=r"scores .* names objects"):
        fastvec.plots.heatmap(["a", "b"], objects)


def test_who_owns_the_rows_is_known():
    """``nbytes`` counts arrays that had to be converted, but not arrays that are used in place."""
    large = hashed(300, 40, 1)
    codes = fastvec.Index(large).nbytes
    for form in ("bfloat16", "on a device", "list of tensors", "Series of arrays", "CuPy", "Arrow chunks"):
        assert fastvec.Index(FORMS[form](large)).nbytes == codes + large.nbytes, form
    for form in ("gradients", "np.matrix", "buffer", "Arrow"):
        value = FORMS[form](large)
        assert fastvec.Index(value).nbytes == codes, form
    assert np.shares_memory(fastvec.Index(FORMS["gradients"](large)).vectors, large)


def test_columns_of_one_width_are_read_in_place():
    large = hashed(300, 40, 1)
    column = pa.FixedSizeListArray.from_arrays(large.reshape(-1), 40)
    parts = [column, column[7:], pa.chunked_array([column]), column.cast(pa.list_(pa.float32()))]
    if find_spec("pandas"):
        parts.append(pandas_of_arrow(column))
    if find_spec("polars"):
        parts.append(pytest.importorskip("polars").Series(column))
    for part in parts:
        assert np.shares_memory(fastvec.Index(part).vectors, large), type(part)


@pytest.mark.parametrize("empty", [[], [[]]], ids=["no chunk", "an empty chunk"])
def test_empty_columns_have_the_width_of_their_type(empty):
    column = pa.chunked_array(empty, pa.list_(pa.float32(), 5))
    assert fastvec.Index(column).dims == 5
    with pytest.raises(ValueError, match="vectors has 0 dimensions"):
        fastvec.Index(pa.chunked_array(empty, pa.list_(pa.float32())))


def test_no_library_is_loaded_to_tell_what_a_value_is(run_python):
    code = (
        "import sys, fastvec; fastvec.knn([[1.0, 2.0]], ((1, 2), (3, 4)), 1, where=range(1), exclude=[[1]]); "
        "optional = {'torch', 'pandas', 'polars', 'pyarrow', 'scipy.sparse', 'ml_dtypes', 'jax'}; "
        "print(*optional & set(sys.modules))"
    )
    result = run_python("-c", code)
    assert (result.returncode, result.stdout.split()) == (0, []), result.stderr
