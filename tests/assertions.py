"""Comparators of search results and errors; test_assertions.py shows that each of them can fail."""

import numpy as np


def words(*parts):
    """A pattern for pytest.raises: every part occurs, in any order and case."""
    return "(?is)" + "".join(f"(?=.*(?:{part}))" for part in parts)


def assert_same_bits(actual, expected):
    """Equal dtype, shape and bits, so 0.0 and -0.0 differ and NaN equals itself."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype, f"dtype {actual.dtype}, expected {expected.dtype}"
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    unsigned = f"u{actual.itemsize}"
    different = np.ascontiguousarray(actual).view(unsigned) != np.ascontiguousarray(expected).view(unsigned)
    if different.any():
        where = tuple(int(i) for i in np.argwhere(different)[0])
        raise AssertionError(
            f"{different.sum()} of {actual.size} entries differ, first at {where}: "
            f"{actual[where]!r}, expected {expected[where]!r}"
        )


def assert_form(actual, shape):
    """A (scores, indices) pair as published: float32 and int64 of one shape, never -0.0."""
    assert actual._fields == ("scores", "indices")
    assert actual.scores.dtype == np.float32, f"scores are {actual.scores.dtype}"
    assert actual.indices.dtype == np.int64, f"indices are {actual.indices.dtype}"
    assert actual.scores.shape == actual.indices.shape == tuple(shape)
    negative_zero = np.signbit(actual.scores) & (actual.scores == 0)
    assert not negative_zero.any(), "a score is -0.0"


def assert_same_topk(actual, expected):
    """The same answer bit for bit."""
    assert_form(actual, expected.indices.shape)
    assert_same_bits(actual.indices, expected.indices)
    assert_same_bits(actual.scores, expected.scores)


def assert_topk_matches(actual, scores, k, rtol=1e-6, atol=1e-6):
    """A right answer at float32 precision for the (m, n) `scores`, whichever way near ties fall.

    Rows that may not be returned have the score -inf in `scores`. For comparing with
    libraries whose scores carry rounding errors of their own.
    """
    scores = np.asarray(scores, np.float64)
    assert_form(actual, (len(scores), k))
    for answers, indices, row in zip(actual.scores, actual.indices, scores, strict=True):
        count = min(k, int((row > -np.inf).sum()))
        assert (indices[count:] == -1).all(), "index beyond the rows that may be returned"
        assert (answers[count:] == -np.inf).all(), "score beyond the rows that may be returned"
        assert_row_matches(answers[:count].astype(np.float64), indices[:count], row, rtol, atol)


def assert_row_matches(actual, indices, row, rtol, atol):
    """One query's whole answer: scores and distinct indices, best first, and none better left out."""
    assert ((indices >= 0) & (indices < len(row))).all(), f"index out of range: {indices}"
    assert len(np.unique(indices)) == len(indices), f"duplicate index: {indices}"
    true = row[indices]
    tolerance = atol + rtol * np.abs(true)
    assert (np.abs(actual - true) <= tolerance).all(), f"wrong score: {actual}, expected {true}"
    assert (np.diff(actual) <= 0).all(), f"scores rise: {actual}"
    assert (np.diff(true) <= tolerance[1:]).all(), f"wrong order: {indices}"
    missing = np.delete(row, indices)
    if len(indices) and len(missing):
        assert missing.max() <= true.min() + tolerance.max(), "a better row is missing"
