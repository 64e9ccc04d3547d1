"""Checks of single values: one wording for one mistake, and nothing loaded to find it."""

import numpy as np
import pytest

import fastvec
from fastvec import _checks, benchmark, files
from fastvec._embedders import OfflineEmbedder
from fastvec.benchmark.truth import Values
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
    with pytest.raises(TypeError, match=r"patience is np\.True_"):
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
