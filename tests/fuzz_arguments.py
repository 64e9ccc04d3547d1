"""Arguments of public functions: right ones give the answer of ``oracle.py``, wrong ones one error of a
documented kind, and an Index is then as before.

Each generator returns a value and what it stands for; ``WRONG`` if it must be refused, ``UNSURE`` if it may
be.
"""

import array
import random
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import oracle
from fuzz_tools import Target, documented, matrix, same_bits

import fastvec
from fastvec import Index, Vocabulary

WRONG, UNSURE = object(), object()
_ERRORS = (ValueError, TypeError, IndexError, MemoryError)
METRICS = ("cosine", "dot", "euclidean", "manhattan")


class Lying:
    """An object whose attributes and methods are given."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)


class ByArray(Lying):
    """An object with ``__array__``."""

    def __array__(self, dtype=None, copy=None):
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, BaseException):
            raise result
        return result


class ByInterface(Lying):
    """An object with ``__array_interface__``."""

    @property
    def __array_interface__(self):
        return self.interface


class ByDLPack(Lying):
    """An object with DLPack."""

    def __dlpack__(self, **_):
        if isinstance(self.capsule, BaseException):
            raise self.capsule
        return self.capsule.__dlpack__() if isinstance(self.capsule, np.ndarray) else self.capsule

    def __dlpack_device__(self):
        if isinstance(self.device, BaseException):
            raise self.device
        return self.device


class Rows:
    """A sequence that is neither a list nor an array."""

    def __init__(self, rows, length=None):
        self._rows, self._length = rows, length

    def __len__(self):
        return len(self._rows) if self._length is None else self._length

    def __getitem__(self, row):
        return self._rows[row]


class Sub(np.ndarray):
    """A subclass that says other things of itself."""

    def __getitem__(self, _):
        return 7

    def __len__(self):
        return 3

    @property
    def T(self):
        return None


class Name(str):
    """A subclass of str."""


class Indexed:
    """An object with ``__index__``."""

    def __init__(self, value):
        self._value = value

    def __index__(self):
        return self._value


def _unaligned(plain):
    room = bytearray(plain.nbytes + 1)
    view = np.frombuffer(room, np.uint8, plain.nbytes, 1).view(np.float32).reshape(plain.shape)
    view[...] = plain
    return view


def _field(plain):
    """Rows at odd distances, as a field of a packed record."""
    records = np.zeros(len(plain), [("a", "u1"), ("rows", "<f4", (plain.shape[1],))])
    records["rows"] = plain
    return records["rows"]


def _gaps(plain):
    wide = np.full((2 * plain.shape[0], 3 * plain.shape[1] + 1), np.nan, np.float32)
    wide[::2, 1::3] = plain
    return wide[::2, 1::3]


def _backward(plain):
    return plain[::-1, ::-1].copy()[::-1, ::-1]


def _masked(plain):
    return np.ma.masked_array(plain, np.zeros(plain.shape, bool))


def _read_only(plain):
    view = plain.copy()
    view.flags.writeable = False
    return view


SAME = (
    lambda x: x, np.asfortranarray, _unaligned, _field, _gaps, _backward, _masked, _read_only,
    lambda x: x.astype(">f4"), lambda x: x.astype("<f8"), lambda x: x.astype(">f8"),
    lambda x: x.tolist(), lambda x: tuple(map(tuple, x.tolist())), list, np.matrix,
    lambda x: x.view(Sub), lambda x: x.view(np.recarray), memoryview,
    lambda x: ByArray(results=[x]), lambda x: ByDLPack(capsule=x, device=(1, 0)),
    lambda x: ByInterface(interface=x.__array_interface__, held=x), lambda x: Rows(list(x)),
    lambda x: [array.array("f", row) for row in x], lambda x: np.lib.stride_tricks.as_strided(x, x.shape),
    lambda x: [[Fraction(float(v)) for v in row] for row in x],
)  # fmt: skip
"""Forms of float32 rows, all of the same values; those that NumPy makes objects of may be refused."""

_ARRAYS = (
    None, 7, "text", b"bytes", [], {}, {1, 2}, ..., NotImplemented, object(), np.float32(1), np.array(1.0),
    np.zeros((2, 2, 2), np.float32), np.zeros((0, 0), np.float32), np.zeros((3, 0)), np.zeros((2, 2),
    complex),
    np.zeros((2, 2), "U3"), np.zeros((2, 2), "S3"), np.zeros((2, 2), object), np.zeros((2, 2), "M8[s]"),
    np.zeros((2, 2), bool), np.zeros((2, 2), [("a", "f4")]), np.zeros((2, 2), np.longdouble),
    np.zeros((2, 2), "V4"),
    np.array([[1, 2], [3]], object), np.array([[None, 1.0]], object), np.array([], object),
    np.array([[10**400, 1]], object), np.ma.masked_array([[1.0, 2.0]], [[True, False]]), np.ma.masked,
    [[1, 2], [3]], [[1, "a"]], [[None, 1]], [[10**400, 1]], [[float("nan"), 1]], [[1e39, 1]], [[1j, 1]],
    [[True, 1]],
    [[Decimal("1"), 2]], [[Decimal("sNaN"), 2]], [[[1]], [2]], [np.zeros(2), np.zeros(3)], [[]], [None],
    iter([[1.0, 2.0]]), range(3), (row for row in [[1, 2]]), bytearray(8), memoryview(b"abcd"), Ellipsis,
    type, print,
)  # fmt: skip

_RAISED = (
    ValueError("a\nb"),
    TypeError(""),
    RuntimeError("x" * 9999),
    KeyError(1),
    BufferError(),
    OverflowError(),
)


def _hostile_object(rng: random.Random) -> Any:
    """Something in the place of an array that is none, or lies."""
    good = np.ones((2, 2), np.float32)
    kind = rng.randrange(11)
    if kind <= 3:
        value = rng.choice(_ARRAYS)
        return value if not hasattr(value, "__next__") else iter([[1.0, 2.0]])
    if kind == 4:
        return ByArray(results=[rng.choice((*_ARRAYS, *_RAISED))])
    if kind == 5:
        return ByArray(results=[good, rng.choice(_ARRAYS), good[:1]], dtype=rng.choice(("float32", 7, None)))
    if kind == 6:
        interface = {"shape": (2, 2), "typestr": "<f4", "data": bytes(16), "version": 3}
        wrong = {
            "shape": ((2, -2), (1 << 62, 4), (2, 2, 2), None, (2.5, 2), (), [2, 2]),
            "typestr": ("|O8", "<f3", "<f8", "", None, "|V4", "<c8", "|b1"),
            "data": (b"", None, 7, (None, False), b"abc"),
            "version": (2, None, "3"),
            "strides": ((1 << 40, 4), (-4, -4), (8,), None, (4, 4, 4), (3, 1)),
            "descr": ([("", "<f4")], None, [("a", "|O")]),
        }
        name = rng.choice(list(wrong))
        interface[name] = rng.choice(wrong[name])
        return ByInterface(interface=rng.choice((interface, interface, None, 7, {})))
    if kind == 7:
        capsule = rng.choice((good, None, 7, "text", *_RAISED))
        device = rng.choice(((1, 0), (2, 0), None, (), ("cpu", 0), 7, *_RAISED))
        return ByDLPack(capsule=capsule, device=device)
    if kind == 8:
        names = (
            "shape", "dtype", "null_count", "as_py", "to_list", "to_pylist", "detach", "requires_grad",
            "is_neg",
            "layout", "fetchnumpy", "collect", "toarray", "cpu", "get", "is_quantized", "__array__",
            "storage",
            "chunks", "tolist", "copy_to_host", "__dlpack_device__", "__cuda_array_interface__",
        )  # fmt: skip
        chosen = rng.sample(names, rng.choice((1, 2, 4)))
        values = (None, 7, "text", (2, 2), lambda *_: None, lambda *_: good, lambda *_: 1 / 0, good, 1 << 70)
        made = Lying(**{name: rng.choice(values) for name in chosen})
        if rng.random() < 0.2:
            made.as_py = lambda: made
        return made
    if kind == 9:
        return Rows(rng.choice(([[1.0, 2.0]] * 2, [None], [[1], [1, 2]])), rng.choice((None, 5, 0, 1 << 40)))
    shape = rng.choice(((1 << 40, 4), (1 << 45, 2), (1 << 50, 1)))
    return np.broadcast_to(rng.choice((np.float32(1), np.float64(1))), shape)


def rows_like(rng: random.Random, plain: Any) -> tuple[Any, Any]:
    """Float32 rows in some form, or something else in their place."""
    if rng.random() < 0.12:
        return _hostile_object(rng), UNSURE
    if rng.random() < 0.08 and plain.size:
        bad = plain.copy()
        bad[rng.randrange(len(bad)), rng.randrange(bad.shape[1])] = rng.choice((np.nan, np.inf, -np.inf))
        return rng.choice(SAME[:8])(bad), WRONG
    if rng.random() < 0.2 and plain.size:
        return _other_numbers(rng, plain)
    form = rng.choice(SAME)
    if not len(plain) and form not in SAME[:9]:
        return plain, plain
    made = form(plain)
    return made, UNSURE if form is SAME[-1] else plain


def _other_numbers(rng, plain):
    dtype = rng.choice(("i1", "u1", "i2", ">i4", "u8", "i8", "f2", ">f2", "u2"))
    values = np.clip(np.rint(np.nan_to_num(plain.astype(np.float64), posinf=9, neginf=-9)), -100, 100)
    if "u" in dtype:
        values = np.abs(values)
    made = values.astype(dtype)
    return rng.choice((np.asarray, np.asfortranarray, lambda x: x[::-1].copy()[::-1]))(made), made.astype(
        "f4"
    )


def a_k(rng, n):
    """Neighbors to ask for."""
    right = rng.randrange(1, n + 4)
    if rng.random() < 0.75:
        return rng.choice((int, np.int64, np.uint16, np.int16, np.array, Indexed))(right), right
    if rng.random() < 0.1:
        return 1 << 40, UNSURE  # of which there is room if there are no queries
    return rng.choice(
        (True, np.True_, 2.0, np.float32(2), "3", b"3", None, 0, -1, np.int8(-3), -(10**30), [2],
        np.array([2])[:0],
         np.array([1, 2]), 1j, Decimal(2), 10**30, 10**5000, float("nan"), {}, np.datetime64(1, "s"))
    ), WRONG  # fmt: skip


def a_width(rng, dims):
    """``dims=``."""
    if rng.random() < 0.6:
        return None, dims
    right = rng.randrange(1, dims + 1)
    if rng.random() < 0.7:
        return rng.choice((int, np.int32, np.uint8))(right), right
    return rng.choice((0, -1, dims + 1, 10**30, True, 1.0, "1", [1], np.array([1, 1]), float("inf"))), WRONG


def a_metric(rng):
    right = rng.choice(METRICS)
    if rng.random() < 0.93:
        return rng.choice((str, str, Name, np.str_))(right), right
    wrong = (
        "COSINE",
        "",
        None,
        0,
        b"dot",
        ["cosine"],
        "x" * 9999,
        "cosine\n",
        np.array("dot"),
        "hamming",
        print,
    )
    return rng.choice(wrong), WRONG


def some_threads(rng):
    right = rng.choice((1, 1, 2, 3))
    if rng.random() < 0.9:
        return rng.choice((None, right, np.int8(right))), right
    return rng.choice((0, -1, True, 1.5, "2", 10**9, 10**30, [1], float("nan"))), WRONG


def a_filter(rng, m, n):
    """``where=``: what stands in the oracle for it."""
    kind = rng.randrange(12)
    if kind <= 3:
        return None, None
    numbers = np.random.default_rng(rng.getrandbits(32))
    mask = numbers.random(n) < rng.choice((0.0, 0.1, 0.5, 1.0))
    if kind <= 5:
        form = rng.choice(
            (
                np.asarray,
                list,
                lambda x: np.repeat(x, 2)[::2],
                lambda x: x[::-1].copy()[::-1],
                _truthy,
                _read_only,
            )
        )
        return (form(mask), mask) if n else (None, None)
    if kind == 6:
        wide = numbers.random((m, n)) < 0.5
        return rng.choice((np.asarray, np.asfortranarray, _read_only))(wide), wide
    if kind <= 8:
        rows = np.flatnonzero(mask)
        dtype = rng.choice(("i1", "u1", ">i4", "i8", "u8", "u2") if n < 128 else (">i4", "i8", "u8", "u2"))
        return rng.choice((lambda x: x.astype(dtype), lambda x: x.tolist(), lambda x: np.repeat(x, 2)))(
            rows
        ), rows
    wrong = (
        n, True, "all", [n], [-1], [0.5], np.zeros(n + 1, bool), np.zeros((m + 1, n), bool), np.zeros((m,
        n, 1), bool),
        np.ones(2), [[0]], [None], ["a"], np.zeros((1, n + 2), bool), [1 << 70], np.array([1 << 63], "u8"),
        [True, 0], np.array(True), np.array(0), {0: True}, np.zeros(2, "M8[s]"), [0, [0]],
    )  # fmt: skip
    if kind == 11 and rng.random() < 0.5:
        return _hostile_object(rng), UNSURE
    return rng.choice(wrong), WRONG


def _truthy(mask):
    """A mask of bytes other than 0 and 1, which count as true."""
    return (mask.astype(np.uint8) * np.uint8(2 + mask.sum() % 254)).view(bool)


def some_excluded(rng, m, n):
    """``exclude=`` for queries in two dimensions."""
    kind = rng.randrange(10)
    if kind <= 4 or m == 0:
        return None, None
    lists = [[rng.randrange(-1, n) for _ in range(rng.randrange(4))] for _ in range(m)]
    if kind <= 6:
        form = rng.choice(
            (list, tuple, lambda x: [np.array(row, "i8") for row in x], lambda x: [*map(tuple, x)])
        )
        return form(lists), lists
    if kind == 7:
        width = rng.randrange(4)
        table = np.array([[rng.randrange(-1, n) for _ in range(width)] for _ in range(m)]).reshape(m, width)
        return table.astype(rng.choice(("i1", "i8", ">i4") if n < 128 else ("i8", ">i4"))), table.tolist()
    wrong = (
        [[n]] * m, [[-2]] * m, [[0.5]] * m, [[True]] * m, [["a"]] * m, [[None]] * m, [[]] * (m + 1), 7, "all",
        np.zeros((m + 1, 1), int), np.zeros((m, 1)), [[1 << 70]] * m, np.zeros((m, 1, 1), int), [[[0]]] * m,
    )  # fmt: skip
    if kind == 9 and rng.random() < 0.5:
        return _hostile_object(rng), UNSURE
    return rng.choice(wrong), WRONG


class Asked(NamedTuple):
    """Arguments of a search, and what they stand for."""

    queries: Any
    vectors: Any
    options: dict[str, Any]
    right: dict[str, Any]

    @property
    def known(self):
        return not any(value is UNSURE or value is WRONG for value in self.right.values())

    @property
    def wrong(self):
        return any(value is WRONG for value in self.right.values())


def asked(rng):
    m, n, dims = (
        rng.choice((0, 1, 1, 2, 3)),
        rng.choice((0, 1, 2, 7, 33, 40)),
        rng.choice((1, 2, 3, 17, 64, 70)),
    )
    if rng.random() < 0.02:  # enough for tiles, screens and threads
        m, n = rng.choice((1, 33, 70)), rng.choice((700, 2500))
    x, q = matrix(rng, n, dims), matrix(rng, m, dims)
    options, right = {}, {}
    for name, (value, meant) in {
        "queries": rows_like(rng, q),
        "vectors": rows_like(rng, x),
        "k": a_k(rng, n),
        "metric": a_metric(rng),
        "dims": a_width(rng, dims),
        "where": a_filter(rng, m, n),
        "exclude": some_excluded(rng, m, n),
        "num_threads": some_threads(rng),
    }.items():
        options[name], right[name] = value, meant
    if right["dims"] is not WRONG and right["dims"] < dims:
        for name in ("queries", "vectors"):  # what is beyond the first columns is not read
            if right[name] is WRONG:
                right[name] = UNSURE
    if m == 0 and right["where"] is WRONG:
        right["where"] = UNSURE
    return Asked(options.pop("queries"), options.pop("vectors"), options, right)


def _expected(right):
    return oracle.knn(
        right["queries"],
        right["vectors"],
        right["k"],
        right["metric"],
        right["dims"],
        right["where"],
        right["exclude"],
    )


def _nothing(_place):
    """No file is needed."""


def knn_case(_, rng):
    """One-shot and by an Index: the oracle's answer, or one error."""
    one = asked(rng)
    found = None
    with documented(*_ERRORS):
        found = fastvec.knn(one.queries, one.vectors, **one.options)
    read = one.right
    some = isinstance(read["queries"], np.ndarray) and len(read["queries"])
    if read["vectors"] is WRONG and not (some and read["where"] is read["exclude"] is None):
        read = {**read, "vectors": UNSURE}  # a row that no query asks for need not be read
    _judge(one._replace(right=read), found)
    options = dict(one.options)
    found = None
    with documented(*_ERRORS):
        metric = options.pop("metric")
        index = Index(one.vectors, metric=metric, copy=rng.random() < 0.5)
        found = index.search(one.queries, options.pop("k"), **options)
    _judge(one, found)


def _judge(one, found):
    if one.wrong:
        assert found is None, f"accepted: {one}"
    elif one.known:
        assert found is not None, f"refused: {one}"
        expected = _expected(one.right)
        assert same_bits(found.scores, expected.scores), (one, found, expected)
        assert same_bits(found.indices, expected.indices), (one, found, expected)


def a_score(rng, scores):
    if rng.random() < 0.8:
        values = [float(score) for score in np.ravel(scores)[:50]] or [0.0]
        right = rng.choice((*values, 0.0, -1e30, 1e30, float("inf"), float("-inf")))
        right = np.float32(right)
        return rng.choice((float, np.float32, np.float64, np.array))(right), right
    return rng.choice((float("nan"), np.nan, None, "0", True, 1j, [0.5], np.array([0.1, 0.2]),
     Decimal("NaN"), b"0",
                       np.array("a"), {}, np.datetime64(1, "s"), np.True_)), WRONG  # fmt: skip


def range_case(_, rng):
    """``range_search`` and ``pairs`` by an Index."""
    one = asked(rng)
    if not one.known or (one.right["metric"] == "manhattan" and rng.random() < 0.5):
        return
    right = one.right
    index = Index(one.vectors, metric=right["metric"])
    scores = oracle.publish(oracle.scores(right["queries"], right["vectors"], right["metric"], right["dims"]))
    value, least = a_score(rng, scores)
    found = None
    with documented(*_ERRORS):
        found = index.range_search(
            one.queries,
            value,
            dims=one.options["dims"],
            where=one.options["where"],
            exclude=one.options["exclude"],
        )
    if least is WRONG:
        assert found is None
        return
    allowed = oracle.allowed_rows(*scores.shape, right["where"], right["exclude"])
    reached = (scores >= least) & allowed
    assert found.offsets.tolist() == [0, *np.cumsum(reached.sum(1)).tolist()]
    exact = oracle.scores(right["queries"], right["vectors"], right["metric"], right["dims"])
    for q in range(len(scores)):
        order = [row for row in oracle.ranked(exact[q], True) if reached[q, row]]
        assert found.indices[found.offsets[q] : found.offsets[q + 1]].tolist() == order
    where = right["where"]
    if where is None or np.ndim(where) == 1:
        pairs = index.pairs(value, dims=one.options["dims"], where=one.options["where"])
        expected = oracle.pairs(right["vectors"], least, right["metric"], right["dims"], where)
        assert pairs.left.tolist() == expected.left.tolist()
        assert pairs.right.tolist() == expected.right.tolist()
        assert same_bits(pairs.scores, expected.scores)


def topk_case(_, rng):
    """Selection from scores of any dtype and strides."""
    m, n = rng.choice((0, 1, 2, 5)), rng.choice((0, 1, 2, 9, 70))
    dtype = rng.choice(("f4", "f8", "f2", ">f4", ">f8", "i8"))  # kernels are compiled for each
    numbers = np.random.default_rng(rng.getrandbits(32))
    scores = numbers.integers(0, 9, (m, n)).astype(dtype)
    if "f" in dtype and scores.size and rng.random() < 0.5:
        scores.flat[rng.randrange(scores.size)] = rng.choice((np.inf, -np.inf, -0.0))
    if rng.random() < 0.2 and m:
        scores = scores[0]
    plain = scores
    form = rng.choice((np.asarray, np.asfortranarray, lambda x: np.repeat(x, 2, -1)[..., ::2], _read_only))
    k, right = a_k(rng, n)
    largest = rng.choice(
        (True, False, 1, 0, np.True_, np.int64(0), "yes", None, 2, 1.0, [True], np.array(True))
    )
    flag = largest if isinstance(largest, bool | int | np.integer | np.bool_) and largest in (0, 1) else WRONG
    value, meant = (form(scores), plain) if rng.random() < 0.9 else (_hostile_object(rng), UNSURE)
    found = None
    with documented(*_ERRORS):
        found = fastvec.topk(value, k, largest=largest)
    if right is WRONG or flag is WRONG:
        assert found is None or meant is UNSURE
    elif meant is not UNSURE and right is not UNSURE:
        expected = oracle.topk(plain.astype(plain.dtype.newbyteorder("=")), right, bool(flag))
        assert same_bits(found.indices, expected.indices), (plain, k, largest, found, expected)
        assert same_bits(found.scores, expected.scores)


def _an_out(rng, shape):
    """``out=``, and whether it must be refused."""
    good = np.full(shape, 7, np.float32)
    wrong = (
        np.empty(shape, np.float64), np.empty((*shape, 1), np.float32), _read_only(good), good.tolist(),
        7, "out",
        np.empty((shape[0] + 1, *shape[1:]), np.float32), np.empty(shape, ">f4"), memoryview(good),
        np.empty(shape, object),
    )  # fmt: skip
    if rng.random() < 0.5:
        return None, None
    if rng.random() < 0.4:
        return rng.choice(wrong), WRONG
    odd = (good, good, good.view(Sub), _unaligned(good) if good.size else good, good.view(np.recarray))
    return rng.choice(odd), None


def _in_order(array):
    """Numbers that rise by one from each float32 to the next."""
    bits = (np.asarray(array) + np.float32(0)).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def dense_case(_, rng):
    """``normalize``, ``truncate``, ``cosine_similarity`` and ``unpack_bits``, into ``out`` as well."""
    n, dims = rng.choice((0, 1, 3, 20)), rng.choice((1, 2, 9, 70))
    x = matrix(rng, n, dims)
    value, meant = rows_like(rng, x)
    out, refused = _an_out(rng, (n, dims))
    found = None
    with documented(*_ERRORS):
        found = fastvec.normalize(value, out=out)
    if meant is WRONG or refused is WRONG:
        assert found is None or meant is UNSURE
    elif meant is not UNSURE:
        assert np.abs(_in_order(found) - _in_order(oracle.normalize(meant))).max(initial=0) <= 1
        assert out is None or found is out
    width, used = a_width(rng, dims)
    found = None
    with documented(*_ERRORS):
        found = fastvec.truncate(value, dims if width is None else width, renormalize=False)
    if used is not WRONG and isinstance(meant, np.ndarray):
        assert same_bits(found, oracle.truncate(meant, used, False))
    m = rng.choice((0, 1, 2, 30))
    q, right = rows_like(rng, matrix(rng, m, dims))
    single = all(isinstance(one, np.ndarray) and one.dtype.itemsize < 8 for one in (q, value))
    out, refused = _an_out(rng, (m, n)) if single else (None, None)
    found = None
    with documented(*_ERRORS):
        found = fastvec.cosine_similarity(q, value, out=out)
    if right is WRONG or refused is WRONG or meant is WRONG:
        assert found is None or right is UNSURE or meant is UNSURE or 0 in (m, n)
        if isinstance(out, np.ndarray) and refused is None and isinstance(meant, np.ndarray):
            assert (np.asarray(out) == 7).all(), "written to, though the input is refused"
    elif isinstance(right, np.ndarray) and isinstance(meant, np.ndarray):
        expected = oracle.METRICS["cosine"](right.astype(np.float64), meant.astype(np.float64))
        assert np.abs(np.asarray(found) - expected).max(initial=0) < 2e-6
    packed = rng.choice(
        (np.arange(6, dtype="u1").reshape(2, 3), np.arange(3, dtype="i1"), [[1]], x, b"ab", None, 7)
    )
    width = rng.choice((None, 24, 17, 16, 25, 0, True, 2.0))
    with documented(*_ERRORS):
        bits = fastvec.unpack_bits(packed, width)
        assert set(np.unique(bits)) <= {-1, 1}


def index_case(_, rng):
    """Changes of an Index, right and wrong ones: after an error it is as before."""
    dims = rng.choice((1, 3, 17, 70))
    rows = matrix(rng, rng.choice((0, 1, 5, 40)), dims)
    metric = rng.choice(METRICS)
    index = Index(rows, metric=metric, copy=True) if rng.random() < 0.8 else Index(dims=dims, metric=metric)
    living = dict(enumerate(rows)) if len(index) else {}
    top = len(index)
    for _ in range(rng.randrange(1, 6)):
        before = dict(living)
        change = rng.randrange(4)
        new, meant = rows_like(rng, matrix(rng, rng.choice((0, 1, 2, 9)), dims))
        chosen = [rng.randrange(-1, top + 1) for _ in range(rng.choice((0, 1, 2, 3)))]
        if living and rng.random() < 0.6:
            chosen = rng.sample(list(living), min(len(living), len(chosen)))
        named = rng.choice(
            (list, np.array, lambda x: np.array(x, "u8") if min(x, default=0) >= 0 else x, tuple)
        )(chosen)
        if rng.random() < 0.1:
            named, chosen = _hostile_object(rng), None
        done = False
        with documented(*_ERRORS):
            if change == 0:
                index.add(new)
            elif change == 1:
                index.remove(named)
            elif change == 2:
                index.replace(named, new)
            else:
                kept = index.compact()
                assert kept.tolist() == sorted(living)
            done = True
        if not done:
            pass
        elif change == 0:
            if not isinstance(meant, np.ndarray):
                assert meant is UNSURE
                added = len(index) - len(living)
                meant = index.vectors[len(living) :] if added else np.empty((0, dims), np.float32)
            living |= {top + at: row for at, row in enumerate(meant)}
            top += len(meant)
        elif change == 1 and chosen is not None:
            assert set(chosen) <= set(living)
            living = {at: row for at, row in living.items() if at not in chosen}
        elif change == 2 and chosen is not None and isinstance(meant, np.ndarray):
            assert len(set(chosen)) == len(chosen) == len(meant)
            living |= dict(zip(chosen, meant, strict=True))
        elif change == 3:
            living = {at: living[number] for at, number in enumerate(sorted(living))}
            top = len(living)
        else:
            living = dict(zip(index.numbers.tolist(), np.array(index.vectors), strict=True))
        assert done or living == before
        numbers = sorted(living)
        vectors = np.array([living[at] for at in numbers], np.float32).reshape(len(numbers), dims)
        assert index.numbers.tolist() == numbers
        assert same_bits(index.vectors, vectors)
        q = matrix(rng, 2, dims)
        found, expected = index.search(q, 3), oracle.knn(q, vectors, 3, metric)
        right = np.where(expected.indices < 0, -1, np.array([*numbers, -1])[expected.indices])
        assert same_bits(found.indices, right)
        assert same_bits(found.scores, expected.scores)


def analogy_case(_, rng):
    """Questions, by row numbers of any form."""
    n, dims = rng.choice((1, 4, 30)), rng.choice((1, 3, 17))
    x = matrix(rng, n, dims)
    count = rng.choice((1, 1, 2, 3))
    plus = [[rng.randrange(n) for _ in range(rng.choice((1, 2)))] for _ in range(count)]
    minus = [[rng.randrange(n) for _ in range(rng.choice((0, 1, 2)))] for _ in range(count)]
    forms = (list, tuple, lambda x: [np.array(one, "i8") for one in x])
    positive, negative, right = rng.choice(forms)(plus), rng.choice(forms)(minus), True
    if rng.random() < 0.25:
        bad = rng.choice(
            ([[n]], [[-1]], [], [[]], [[0.5]], [[True]], 7, "a", None, [[1 << 70]], _hostile_object(rng))
        )
        positive, right = (bad, False)
    k, top = a_k(rng, n)
    method = rng.choice(("3cosadd", "3cosmul", "3cosadd", "3COSADD", None))
    found = None
    with documented(*_ERRORS):
        found = fastvec.analogy(x, positive, negative, k, method=method)
    if top is WRONG or method not in ("3cosadd", "3cosmul"):
        assert found is None
    elif right and top is not UNSURE:
        expected = oracle.analogy(x, plus, minus, top, method)
        assert same_bits(found.indices, expected.indices), (found, expected)
        assert same_bits(found.scores, expected.scores)


_LABELS = (
    "", "a", "a", "b", "猫", "\ud800", "x" * 5000, b"a", None, 1, 1.0, float("nan"), True, Name("c"),
    np.str_("d"),
    1 << 70, -1, np.int64(5), object(), ("a",),
)  # fmt: skip


def vocabulary_case(_, rng):
    """Words of all kinds, and questions with words, vectors and neither."""
    n, dims = rng.choice((1, 3, 8)), rng.choice((1, 4))
    words = [f"w{at}" for at in range(n)] if rng.random() < 0.5 else rng.sample(_LABELS, n)
    if rng.random() < 0.1:
        words = _hostile_object(rng)
    vectors, meant = rows_like(rng, matrix(rng, n, dims))
    vocabulary = None
    with documented(*_ERRORS, ZeroDivisionError):
        vocabulary = Vocabulary(words, vectors)
    if vocabulary is None:
        return
    assert meant is not WRONG or not isinstance(words, list)
    known = list(vocabulary.words)
    inputs = rng.choice(
        (
            known[:1],
            known[:2],
            "nobody",
            known[0],
            matrix(rng, 1, dims)[0],
            _hostile_object(rng),
            3,
            [],
            [None],
        )
    )
    others = rng.choice(((), known[:1], "nobody", _hostile_object(rng)))
    k, _ = a_k(rng, n)
    with documented(*_ERRORS, KeyError, ZeroDivisionError):
        found = vocabulary.most_similar(inputs, others, k)
        assert len(found) <= n
    with documented(*_ERRORS, KeyError, ZeroDivisionError):
        vocabulary.search(inputs, k)
    with documented(*_ERRORS, KeyError, ZeroDivisionError):
        vocabulary.similarity(inputs, rng.choice((known[0], inputs)))
    with documented(*_ERRORS, KeyError, ZeroDivisionError):
        vocabulary.doesnt_match(inputs)
    with documented(*_ERRORS, KeyError, ZeroDivisionError):
        vocabulary[inputs]
    assert isinstance(known[0] in vocabulary, bool)
    with documented(TypeError, ZeroDivisionError):
        assert isinstance(inputs in vocabulary, bool)


def audit_case(_, rng):
    """Answers to judge that nobody would give."""
    m, n, dims = rng.choice((0, 1, 3)), rng.choice((1, 5, 20)), rng.choice((1, 3))
    q, x = matrix(rng, m, dims), matrix(rng, n, dims)
    k = rng.choice((1, 2, 5))
    given = [[rng.randrange(-1, n) for _ in range(k)] for _ in range(m)]
    scores = None
    value = np.array(given, rng.choice(("i8", "i4", ">i2"))).reshape(m, k)
    if rng.random() < 0.2 and m:
        value[0, 0] = rng.choice((-2, n, 1 << 14))
        given = value.tolist()
    hostile = rng.random() < 0.2
    if hostile:
        value = _hostile_object(rng)
    if rng.random() < 0.3:
        scores = rng.choice(
            (np.zeros((m, k)), np.full((m, k), np.nan), np.zeros((m, k + 1)), "scores", _hostile_object(rng))
        )
    metric = rng.choice(METRICS)
    found = None
    with documented(*_ERRORS):
        found = fastvec.audit(q, x, value, scores=scores, metric=metric)
    if not hostile and scores is None:
        assert found is not None
        expected = oracle.audit(q, x, given, None, metric)
        assert found.exact == expected.exact
        assert found.recall == expected.recall
        assert found.first_wrong.tolist() == expected.first_wrong


TARGETS = {
    "knn": Target(_nothing, knn_case, 1000),
    "range": Target(_nothing, range_case, 250),
    "topk": Target(_nothing, topk_case, 800),
    "dense": Target(_nothing, dense_case, 300),
    "index": Target(_nothing, index_case, 250),
    "analogy": Target(_nothing, analogy_case, 300),
    "vocabulary": Target(_nothing, vocabulary_case, 500),
    "audit": Target(_nothing, audit_case, 300),
}
