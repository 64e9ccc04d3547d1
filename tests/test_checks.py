"""Checks of single values: one wording for one mistake, and nothing loaded to find it."""

import numpy as np
import pytest

import fastvec
from fastvec import _arguments, _checks, benchmark, files
from fastvec._embedders import OfflineEmbedder
from fastvec.benchmark.truth import Values
from fastvec.kernels import settings
from fastvec.openai import OpenAIEmbedder

ONE = np.ones((1, 1), np.float32)


def embedder(**options):
    return OpenAIEmbedder("some-model", api_key="none", **options)


def a_race(rounds):
    ours = benchmark.Competitor("ours", lambda: ONE, ours=True)
    return benchmark.measure("race", benchmark.Race({}, [ours], Values(ONE, 0.0)), rounds=rounds)


WHOLE_NUMBERS = {
    "k of knn": ("k", 1, lambda value: fastvec.knn(ONE, ONE, value)),
    "k of topk": ("k", 1, lambda value: fastvec.topk(ONE, value)),
    "threads": ("n", 1, fastvec.set_num_threads),
    "limit of a file": ("limit", 0, lambda value: files.read("none.npy", limit=value)),
    "dims of an embedder": ("dims", 1, lambda value: embedder(dims=value)),
    "retries": ("max_retries", 0, lambda value: embedder(max_retries=value)),
    "concurrency": ("concurrency", 1, lambda value: embedder(concurrency=value)),
    "batch size": ("batch_size", 1, lambda value: embedder(batch_size=value)),
    "dims offline": ("dims", 1, lambda value: OfflineEmbedder(dims=value)),
    "rounds": ("rounds", 1, a_race),
}


@pytest.mark.parametrize(("name", "least", "call"), WHOLE_NUMBERS.values(), ids=WHOLE_NUMBERS)
def test_numbers_that_are_not_integers_or_too_small_are_refused_in_the_same_words(name, least, call):
    for value, kind in (("3", TypeError), (2.5, TypeError), (True, TypeError), (least - 1, ValueError)):
        with pytest.raises(kind) as caught:
            call(value)
        shown = f"{value!r}" if kind is ValueError else f"{value!r} ({type(value).__name__})"
        assert str(caught.value).startswith(
            f"{name} is {shown}; it must be a whole number of at least {least}"
        )


NUMBERS = {"patience": 0, "requests_per_minute": 1, "tokens_per_minute": 1}


@pytest.mark.parametrize(("name", "least"), NUMBERS.items())
def test_a_number_that_is_too_small_or_infinite_is_refused_in_the_same_words(name, least):
    for value, kind in (("3", TypeError), (True, TypeError), (least - 1, ValueError), (10**400, ValueError)):
        with pytest.raises(kind, match=f"{name} is .*; it must be a finite number of at least {least}"):
            embedder(**{name: value})
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"{name} is {value}; it must be a finite number"):
            embedder(**{name: value})


def test_what_is_allowed_is_returned_in_its_plain_form():
    for value, least, most in ((3, 3, None), (3, 1, 3), (np.int8(5), 5, 5), (0, 0, 0), (-2, -2, -1)):
        number = _checks.whole_number(value, "k", least, most)
        assert (number, type(number)) == (value, int)
    for value in (2, 6):
        with pytest.raises(ValueError, match=f"k is {value}; .* of at least 3 and at most 5"):
            _checks.whole_number(value, "k", 3, 5)
    for value, least in ((0, 0), (2.5, 2.5), (np.float32(3), 2), (-1, -1.5)):
        plain = _checks.number(value, "n", least)
        assert (plain, type(plain)) == (value, float)
    flags = [_checks.flag(value, "f") for value in (True, 1, np.True_, np.int8(1), False, 0, np.False_)]
    assert all(type(flag) is bool for flag in flags)
    assert flags == [True] * 4 + [False] * 3
    for value in (2, -1, 1.0, None, "1", [True]):
        with pytest.raises(TypeError, match=r"f is .* it must be True or False"):
            _checks.flag(value, "f")
    assert type(_checks.one_of(np.str_("b"), "x", ["a", "b"])) is str


def test_values_are_shown_in_few_characters():
    assert _checks.shown(2**128) == "2 to the power of 128 or more"
    assert _checks.shown(-(2**200)) == "−2 to the power of 200 or more"
    assert _checks.shown(-(2**20)) == "-1048576"
    assert "power" not in _checks.shown(2**127)
    assert len(_checks.shown("a" * 80)) == 80
    assert _checks.shown("a\nb") == repr("a\nb")
    many = _checks.shown([["x" * 70] * 6] * 6)
    assert len(many) == 80 + 3 + 20
    assert many.startswith("[['xxx")
    assert many[80:83] == "..."
    assert many.endswith("]")


def test_whatever_an_object_answers_it_is_refused_in_one_line():
    class Other:
        def __getattr__(self, name):
            raise ZeroDivisionError(name)

        def __index__(self):
            raise ZeroDivisionError

        def __repr__(self):
            return "one\ntwo"

    for wrong in (Other(), np.ones((2, 2))):
        with pytest.raises(TypeError, match=r"k is .*whole number") as caught:
            _checks.whole_number(wrong, "k", 1)
        assert "\n" not in str(caught.value)


def test_numbers_of_numpy_are_numbers():
    assert [_checks.number(kind(3), "patience", 0) for kind in (np.int64, np.uint8, np.float32)] == [3.0] * 3
    with pytest.raises(TypeError, match=r"patience is (np\.)?True"):
        _checks.number(np.True_, "patience", 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: fastvec.knn(ONE, ONE, 1, metric="hamming"),
            "metric is 'hamming'; it must be one of 'cosine'",
        ),
        (lambda: files.read("none.npy", errors="skip"), "errors is 'skip'; it must be one of 'strict'"),
        (lambda: files.read("none.npy", format="hdf5"), "format is 'hdf5'; it must be one of 'index'"),
        (
            lambda: embedder(encoding_format="int8"),
            "encoding_format is 'int8'; it must be one of 'base64', 'float'",
        ),
    ],
)
def test_a_name_that_is_not_known_is_refused_in_the_same_words(call, message):
    with pytest.raises(ValueError, match=message):
        call()


PATHS = {
    "to read": files.read,
    "to read as .npy": lambda path: files.read(path, format="npy"),
    "to write": lambda path: files.write(path, ["a"], ONE),
    "to write as .npy": lambda path: files.write(path, ["a"], ONE, format="npy"),
    "to recognize": files.detect,
    "to verify": files.verify,
    "of an Index to open": fastvec.Index.open,
    "of an Index to save": lambda path: fastvec.Index(ONE).save(path),
    "of an Index to build": lambda path: fastvec.Index.build(ONE, path),
    "of words to open": fastvec.Vocabulary.open,
    "of words to save": lambda path: fastvec.Vocabulary(["a"], ONE).save(path),
}


@pytest.mark.parametrize("call", PATHS.values(), ids=PATHS)
def test_a_path_that_is_empty_or_no_text_is_refused_in_the_same_words(call, tmp_path, monkeypatch):
    fastvec.Index(ONE).save(tmp_path)
    monkeypatch.chdir(tmp_path)  # which an empty path would mean
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(ValueError, match=r"^path is ''; it must name a file or a folder$"):
        call("")
    for value in (None, 3, b"name", ["name"]):
        with pytest.raises(TypeError, match=r"; it must be a str or an os\.PathLike$") as caught:
            call(value)
        assert str(caught.value).startswith(f"path is {value!r} ({type(value).__name__})")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_source_and_a_file_are_not_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^source is ''; it must name a file or a folder$"):
        fastvec.Index.build("", "index")
    for path in (".", "/"):
        with pytest.raises(files.FileError, match="a folder; give an ordinary file"):
            files.read(path, format="npy")
        with pytest.raises(IsADirectoryError, match="a folder is there; choose the name of a file"):
            files.write(path, ["a"], ONE, format="npy")
    assert not [*tmp_path.iterdir()]


def test_rows_that_are_not_finite_are_named_in_the_same_words():
    from fastvec.integrations import sklearn

    for bad, word in ((np.nan, "NaN"), (-np.inf, "inf")):
        rows = np.ones((9, 3), np.float32)
        rows[5, 1] = bad
        assert _checks.first_not_finite(rows) == 5
        for name, call in (
            ("vectors", lambda rows=rows: fastvec.knn(rows[:1], rows, 1)),
            ("queries", lambda rows=rows: fastvec.knn(rows, rows[:1], 1)),
            ("X", lambda rows=rows: sklearn.cosine_similarity(rows)),
        ):
            with pytest.raises(ValueError, match=f"{name}, row 5: {word}; all values must be finite"):
                call()
    assert _checks.first_not_finite(np.ones((9, 3))) == _checks.first_not_finite(np.ones((0, 3))) == -1


def test_only_an_array_that_fits_takes_a_result():
    right = np.zeros((2, 3), np.float32)
    assert _arguments.out(right, (2, 3)) is right
    matrix = _arguments.out(right.view(np.matrix), (2, 3))
    assert type(matrix) is np.ndarray
    assert np.may_share_memory(matrix, right)
    kept = right.copy()
    kept.flags.writeable = False
    for wrong, said in (
        (right.astype(np.float64), "float64 (2, 3)"),
        (right.reshape(3, 2), "float32 (3, 2)"),
        (np.asfortranarray(right), "float32 (2, 3), not C-contiguous"),
        (kept, "float32 (2, 3), read-only"),
        (kept.repeat(2, axis=1)[:, ::2], "float32 (2, 3), not C-contiguous"),
        (np.broadcast_to(kept[0], (2, 3)), "float32 (2, 3), not C-contiguous, read-only"),
    ):
        with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole message is compared
            _arguments.out(wrong, (2, 3))
        assert str(caught.value) == f"out is {said}; it must be float32 (2, 3), C-contiguous and writable"
    with pytest.raises(TypeError, match="out is a list; it must be a NumPy array"):
        _arguments.out(right.tolist(), (2, 3))


def test_a_result_does_not_overlap_what_it_is_made_of():
    memory = np.zeros(12, np.float32)
    rows, other = memory[:6].reshape(2, 3), memory[6:].reshape(2, 3)
    _arguments.apart(rows, ("x", other), ("y", np.ones(3)))
    _arguments.apart(rows, ("x", rows), ("y", other), same=True)
    for inputs, same in (
        ([("y", other), ("x", rows)], False),
        ([("x", memory[3:9].reshape(2, 3))], True),
        ([("x", memory[:6].reshape(3, 2))], True),
        ([("y", rows), ("x", memory[5:])], True),
    ):
        with pytest.raises(ValueError, match="out overlaps x; give it memory of its own"):
            _arguments.apart(rows, *inputs, same=same)


def test_numbers_at_their_ends():
    for value, expected in (
        (1.5, 1.5),
        (10**400, np.inf),
        (-(10**400), -np.inf),
        (-np.inf, -np.inf),
        (np.int8(-3), -3.0),
        (np.array(0.1), np.float32(0.1)),
    ):
        score = _arguments.score(value, "least")
        assert (score, type(score)) == (expected, np.float32)
    for wrong in (True, np.True_, "1", None, 1j, np.ones(1), [1]):
        with pytest.raises(TypeError, match=r"least is .* it must be a number"):
            _arguments.score(wrong, "least")
    with pytest.raises(ValueError, match="least is NaN"):
        _arguments.score(np.float16("nan"), "least")
    assert [_arguments.prefix(dims, 5) for dims in (None, 1, 5)] == [5, 1, 5]
    assert _arguments.num_threads(settings.MOST_THREADS) == settings.MOST_THREADS
    assert _arguments.num_threads(None) == fastvec.get_num_threads()
    widest = np.broadcast_to(np.float32(1), (1, _checks.MAX_DIMS + 1))
    assert _arguments.two_dimensional(widest[:, 1:], "x").shape == (1, _checks.MAX_DIMS)
    for call in (
        lambda: _arguments.prefix(0, 5),
        lambda: _arguments.prefix(6, 5),
        lambda: _arguments.num_threads(0),
        lambda: _arguments.num_threads(settings.MOST_THREADS + 1),
        lambda: _arguments.two_dimensional(widest, "x"),
        lambda: _arguments.two_dimensional(widest[:, :0], "x"),
        lambda: _arguments.same_width(widest[:, :2], 3, "queries", "x"),
    ):
        with pytest.raises(ValueError, match=r"dims|num_threads|dimensions"):
            call()
    _arguments.same_width(widest[:, :2], 2, "queries", "x")


def test_values_are_checked_without_the_compiler(run_python):
    """Neither Numba nor, for numbers and names, NumPy is loaded to say that a value is wrong."""
    code = """
import sys
from fastvec import _checks
assert _checks.whole_number(3, "k", 1) == 3 and _checks.number(1, "n", 0) == 1.0
assert _checks.flag(True, "f") and _checks.one_of("a", "x", "ab") == "a"
assert "numpy" not in sys.modules
from fastvec import files
from fastvec.openai import OpenAIEmbedder
for wrong in (lambda: files.read("none.npy", limit=-1), lambda: OpenAIEmbedder("x", dims=0)):
    try:
        wrong()
    except ValueError:
        continue
    raise AssertionError
print("numba" in sys.modules)
"""
    result = run_python("-c", code)
    assert (result.returncode, result.stdout) == (0, "False\n"), result.stderr
