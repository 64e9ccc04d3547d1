"""The table of metrics: a record is a score, and the bound by which a scan may leave rows out.

Larger scores are nearer, all are float64. S is Σ of squares (see ``rows.py``), ‖q‖ and ‖x‖ are
the norms of query and row. The first argument of a record's functions is the record's name (see
``compile.named``).

``accumulate(name, total, q, x)``
    One step of the exact sum over a row, made of those in ``sums.py``.
``score(name, total, q_squares, x_squares)``
    The score, from that sum and S of both rows.

A metric without a bound is exact all the same: every row gets its exact score. With one:

``interval(name, cosine, error, q_norm, x_norm)``
    Bounds of the score where the cosine is within ``error`` of ``cosine``.
``row_terms(name, scale, error, norm, power)`` → s′, μ
``lane_terms(name, root, q_scale, q_error, q_norm, power, error, length)`` → θ, w
    The scan's float32 test, from the largest error and the largest norm · P of the rows
    at hand; see ``bound.py``.
``tail_terms(name, tail, largest)`` → error, factor, factor of estimates
    For the screen (``bound.py``), from the norm of what it leaves out of the query and the largest of
    those of the rows: what to pass to ``lane_terms`` as ``error``, and what to multiply w by, in a bound
    and in an estimate of the score.
``zero_root(name, q_norm)``, ``low_weight(name, weight)``, ``length(name, norm, power)``
    For lower ends of the same test (``cuda/terms.py``): the root at which −θ is the slack alone, the
    weight of μ at a lower end, and L of a row.
``by_length(name)``
    Whether a score depends on the length of a row.

Of each metric there is a twin for rows that are int8 (``of_int8``), which has its score and its bound; only
how a row is read differs (``direct.py``).

To add a metric: a record here, and its twin in ``tests/oracle.py``. A function that
another record's function calls must be compiled first: ``inline(function)``.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import sums
from .bound import EUCLIDEAN_SLACK, FLOAT32_SLACK
from .compile import named


class Bound(NamedTuple):
    """What codes prove about a score; see the module's text."""

    interval: Callable[..., Any]
    row_terms: Callable[..., Any]
    lane_terms: Callable[..., Any]
    tail_terms: Callable[..., Any]
    zero_root: Callable[..., Any]
    low_weight: Callable[..., Any]
    length: Callable[..., Any]
    by_length: Callable[..., Any]


class Metric(NamedTuple):
    """See the module's text."""

    name: str
    description: str
    accumulate: Callable[..., Any]
    score: Callable[..., Any]
    bound: Bound | None = None


def _accumulate_product(name, total, q, x):
    return sums.add_product(total, q, x)


def _cosine(name, total, q_squares, x_squares):
    if q_squares == 0.0 or x_squares == 0.0:
        return 0.0
    # sqrt(S * S) is S exactly, so identical rows score exactly 1.
    return min(1.0, max(-1.0, total / math.sqrt(q_squares * x_squares))) + 0.0


def _cosine_interval(name, cosine, error, q_norm, x_norm):
    return cosine - error, cosine + error


def _cosine_row(name, scale, error, norm, power):
    return scale, error


def _cosine_lane(name, root, q_scale, q_error, q_norm, power, error, length):
    return (root - q_error * (1.0 + error)) / q_scale, 1.0 / q_scale


def _tail_of_row(name, tail, largest):
    return 0.0, tail, 0.0  # μ is the row's own tail


def _root_at_zero(name, q_norm):
    return 0.0


def _weight_of_error(name, weight):
    return -weight


def _one(name, norm, power):
    return 1.0


def _no(name):
    return False


def _yes(name):
    return True


def _dot(name, total, q_squares, x_squares):
    return total + 0.0


def _dot_interval(name, cosine, error, q_norm, x_norm):
    factor = q_norm * x_norm
    return factor * (cosine - error), factor * (cosine + error)


def _dot_row(name, scale, error, norm, power):
    length = norm * power
    return scale * length, error * length


def _dot_lane(name, root, q_scale, q_error, q_norm, power, error, length):
    # A zero query scores 0 with every row: any finite unit will do.
    unit = root * power / q_norm if q_norm > 0.0 else root * power
    return (unit - q_error * (1.0 + error) * length) / q_scale, 1.0 / q_scale


def _length(name, norm, power):
    return norm * power


def _accumulate_square(name, total, q, x):
    return sums.add_square(total, sums.difference(q, x))


def _euclidean(name, total, q_squares, x_squares):
    return -math.sqrt(total) + 0.0


def _euclidean_interval(name, cosine, error, q_norm, x_norm):
    squares = q_norm * q_norm + x_norm * x_norm
    product, slack = 2.0 * q_norm * x_norm, squares * EUCLIDEAN_SLACK
    farthest = squares - product * (cosine - error) + slack
    nearest = squares - product * (cosine + error) - slack
    return -math.sqrt(farthest), -math.sqrt(max(0.0, nearest))


def _euclidean_row(name, scale, error, norm, power):
    length = norm * power
    return scale * length, -length * length


def _euclidean_lane(name, root, q_scale, q_error, q_norm, power, error, length):
    q = q_norm * power
    if q < 2.0**-60 or q * 2.0**40 < length:
        return -np.inf, 0.0  # the rows' squares drown the products: every row passes
    squares = (q - root * power * (root / q_norm)) / 2.0
    slack = (q + length * (length / q)) * FLOAT32_SLACK + error * length + q_error * (1.0 + error) * length
    return (squares - slack) / q_scale, 1.0 / (2.0 * q * q_scale)


def _largest_tail(name, tail, largest):
    return tail * largest, 1.0, 1.0  # μ is the row's square


def _root_at_length(name, q_norm):
    return -q_norm


def _weight_of_square(name, weight):
    return weight  # a row's square has no error


def _accumulate_magnitude(name, total, q, x):
    return sums.add_magnitude(total, sums.difference(q, x))


def _manhattan(name, total, q_squares, x_squares):
    return -total + 0.0


TABLE: dict[str, Metric] = {
    record.name: record
    for record in (
        Metric(
            "cosine",
            "cosine of the angle; 0 where a row is zero",
            _accumulate_product,
            _cosine,
            Bound(
                _cosine_interval,
                _cosine_row,
                _cosine_lane,
                _tail_of_row,
                _root_at_zero,
                _weight_of_error,
                _one,
                _no,
            ),
        ),
        Metric(
            "dot",
            "inner product",
            _accumulate_product,
            _dot,
            Bound(
                _dot_interval,
                _dot_row,
                _dot_lane,
                _tail_of_row,
                _root_at_zero,
                _weight_of_error,
                _length,
                _yes,
            ),
        ),
        Metric(
            "euclidean",
            "distance, negated so that larger is nearer",
            _accumulate_square,
            _euclidean,
            Bound(
                _euclidean_interval,
                _euclidean_row,
                _euclidean_lane,
                _largest_tail,
                _root_at_length,
                _weight_of_square,
                _length,
                _yes,
            ),
        ),
        Metric(
            "manhattan",
            "sum of absolute differences, negated so that larger is nearer",
            _accumulate_magnitude,
            _manhattan,
        ),
    )
}

BOUNDED = {name: metric.bound for name, metric in TABLE.items() if metric.bound is not None}
"""Bounds, of the metrics that have one."""


_OF_INT8 = "_of_int8"
_RECORDS = TABLE | {name + _OF_INT8: metric for name, metric in TABLE.items()}
_BOUNDS = {name: metric.bound for name, metric in _RECORDS.items() if metric.bound is not None}


def of_int8(name: str) -> str:
    """The name by which kernels know a metric if the rows are int8; queries are float32."""
    return name + _OF_INT8


def bounded(name: str) -> bool:
    """Whether a metric has a bound, whatever the rows are."""
    return name in _BOUNDS


def adds_products(name: str) -> bool:
    """Whether a metric's sum is Σ q·x."""
    return _RECORDS[name].accumulate is _accumulate_product


# The names by which compiled code calls a record's functions; Python that runs a kernel calls them too.


def accumulate(name, total, q, x):
    return _RECORDS[name].accumulate(name, total, q, x)


def score(name, total, q_squares, x_squares):
    return _RECORDS[name].score(name, total, q_squares, x_squares)


def interval(name, cosine, error, q_norm, x_norm):
    return _BOUNDS[name].interval(name, cosine, error, q_norm, x_norm)


def row_terms(name, scale, error, norm, power):
    return _BOUNDS[name].row_terms(name, scale, error, norm, power)


def lane_terms(name, root, q_scale, q_error, q_norm, power, error, length):
    return _BOUNDS[name].lane_terms(name, root, q_scale, q_error, q_norm, power, error, length)


def tail_terms(name, tail, largest):
    return _BOUNDS[name].tail_terms(name, tail, largest)


def zero_root(name, q_norm):
    return _BOUNDS[name].zero_root(name, q_norm)


def low_weight(name, weight):
    return _BOUNDS[name].low_weight(name, weight)


def length(name, norm, power):
    return _BOUNDS[name].length(name, norm, power)


def by_length(name):
    return _BOUNDS[name].by_length(name)


for _table, _stubs in (
    (_RECORDS, (accumulate, score)),
    (_BOUNDS, (interval, row_terms, lane_terms, tail_terms, zero_root, low_weight, length, by_length)),
):
    for _stub in _stubs:
        named(_stub, _table, _stub.__name__)
