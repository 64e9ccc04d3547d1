"""Euclidean, paired and nearest distances of ``sklearn.metrics.pairwise``."""

import numpy as np
import pytest
from assertions import words
from data import gaussian

from fastvec.integrations import sklearn as ours

theirs = pytest.importorskip("sklearn.metrics.pairwise")
sparse = pytest.importorskip("scipy.sparse")

FORMS = {
    "float32": lambda rows: rows,
    "float64": lambda rows: rows.astype(np.float64),
    "float16": lambda rows: rows.astype(np.float16),
    "integers": lambda rows: (rows * 9).astype(np.int64),
    "list": lambda rows: rows.tolist(),
    "Fortran": np.asfortranarray,
    "sparse": lambda rows: sparse.csr_matrix(np.where(rows > 0.5, rows, 0)),
}


@pytest.mark.parametrize("left", FORMS)
@pytest.mark.parametrize("right", [*FORMS, None])
def test_types_and_values_are_those_of_scikit_learn(left, right):
    x = FORMS[left](gaussian(30, 20, 1))
    y = None if right is None else FORMS[right](gaussian(30, 20, 2))
    for squared in (False, True):
        actual, expected = (library.euclidean_distances(x, y, squared=squared) for library in (ours, theirs))
        assert actual.dtype == expected.dtype
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)
    if right is None:
        assert not np.diag(actual).any()
        return
    actual, expected = (library.paired_cosine_distances(x, y) for library in (ours, theirs))
    assert actual.dtype == expected.dtype
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_near_rows_far_from_the_origin(dtype):
    """Squared lengths cancel: only a difference of rows has any right digits."""
    rows = (1000 + gaussian(40, 30, 1).astype(np.float64) * 1e-3).astype(dtype)
    rows[5] = rows[7]
    wide = rows.astype(np.float64)
    right = np.sqrt(np.square(wide[:, None] - wide[None]).sum(axis=2))
    for other in (None, rows.copy()):
        actual = ours.euclidean_distances(rows, other)
        np.testing.assert_allclose(actual, right, rtol=1e-6)
        assert actual[5, 7] == 0
    assert ours.paired_cosine_distances(rows, rows.copy()).max() == 0


def test_blocks_join_without_a_seam(monkeypatch):
    from fastvec.integrations.sklearn import pairwise

    x, y = gaussian(50, 20, 1), gaussian(30, 20, 2)
    whole = [
        ours.euclidean_distances(x),
        ours.euclidean_distances(x, y),
        ours.paired_cosine_distances(x[:30], y),
    ]
    monkeypatch.setattr(pairwise, "_OUTPUT", 100)
    monkeypatch.setattr(pairwise, "_BLOCK", 60)
    parts = [
        ours.euclidean_distances(x),
        ours.euclidean_distances(x, y),
        ours.paired_cosine_distances(x[:30], y),
    ]
    for actual, right in zip(parts, whole, strict=True):
        np.testing.assert_allclose(actual, right, rtol=1e-6)


def test_squared_lengths_that_are_given():
    x, y = gaussian(9, 20, 1).astype(np.float64), gaussian(7, 20, 2).astype(np.float64)
    lengths = {"X_norm_squared": (x * x).sum(axis=1), "Y_norm_squared": (y * y).sum(axis=1)}
    right = ours.euclidean_distances(x, y)
    for shape in ((-1,), (-1, 1), (1, -1)):
        given = {name: value.reshape(shape) for name, value in lengths.items()}
        np.testing.assert_allclose(ours.euclidean_distances(x, y, **given), right)
    wrong = {name: np.zeros_like(value) for name, value in lengths.items()}
    assert not ours.euclidean_distances(x, y, **wrong)[x @ y.T > 0].any()
    small = {name: value.astype(np.float32) * 0 for name, value in lengths.items()}
    np.testing.assert_allclose(ours.euclidean_distances(x, y, **small), right)
    with pytest.raises(ValueError, match=words("Y_norm_squared", "7 rows")):
        ours.euclidean_distances(x, y, Y_norm_squared=lengths["X_norm_squared"])


@pytest.mark.parametrize("function", ["euclidean_distances", "paired_cosine_distances"])
@pytest.mark.parametrize("argmin", [False, True])
def test_errors_name_argument_and_row(function, argmin):
    call = ours.pairwise_distances_argmin if argmin else getattr(ours, function)
    rows = gaussian(9, 20, 1)
    bad = rows.copy()
    bad[4, 2] = np.nan
    for arguments, who in (((bad, rows), "X"), ((rows, bad), "Y")):
        with pytest.raises(ValueError, match=words(who, "row 4", "NaN")):
            call(*arguments)
    with pytest.raises(ValueError, match=words("20", "19")):
        call(rows, rows[:, :19])
    if not argmin and function == "paired_cosine_distances":
        with pytest.raises(ValueError, match=words("9", "8", "same")):
            call(rows, rows[:8])
    if argmin or function == "paired_cosine_distances":
        with pytest.raises(ValueError, match="Y is None"):
            call(rows, None)


@pytest.mark.parametrize("metric", ["euclidean", "l2", "cosine", "manhattan", "l1", "cityblock", "chebyshev"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("n", [40, 1100])
def test_the_nearest_row_is_that_of_scikit_learn(metric, dtype, n):
    x, y = (gaussian(30, 20, 1) * 100).astype(dtype), (gaussian(n, 20, 2) * 100).astype(dtype)
    for axis in (1, 0):
        actual, expected = (
            library.pairwise_distances_argmin_min(x, y, axis=axis, metric=metric)
            for library in (ours, theirs)
        )
        np.testing.assert_array_equal(actual[0], expected[0])
        assert actual[1].dtype == expected[1].dtype
        np.testing.assert_allclose(actual[1], expected[1], rtol=1e-5, atol=1e-6)
        indices = ours.pairwise_distances_argmin(x, y, axis=axis, metric=metric)
        np.testing.assert_array_equal(indices, expected[0])
        assert indices.dtype == expected[0].dtype


def test_the_nearest_of_equal_rows_is_the_first():
    y = gaussian(30, 20, 2)[[3, 5, 5, 3, 5]]
    np.testing.assert_array_equal(ours.pairwise_distances_argmin(y, y, metric="cosine"), [0, 1, 1, 0, 1])


def test_other_searches_are_left_to_scikit_learn():
    x, y = gaussian(30, 20, 1), gaussian(40, 20, 2)
    for arguments, options in (
        ((x, y), {"metric": "euclidean", "metric_kwargs": {"squared": True}}),
        ((sparse.csr_matrix(x), sparse.csr_matrix(y)), {"metric": "cosine"}),
        ((x, y), {"metric": lambda a, b: float(np.abs(a - b).max())}),
    ):
        actual, expected = (
            library.pairwise_distances_argmin_min(*arguments, **options) for library in (ours, theirs)
        )
        for part, right in zip(actual, expected, strict=True):
            np.testing.assert_array_equal(part, right)
    with pytest.raises(ValueError, match="axis"):
        ours.pairwise_distances_argmin(x, y, axis=2)
