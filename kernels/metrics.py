"""The table of metrics: one record says what a score is, and how its bound follows from a cosine's.

Larger scores are nearer, all are float64. In a record's functions, S is Σ of squares
(see ``rows.py``), ‖q‖ and ‖x‖ are the norms of query and row, and the first argument is
the record's name (see ``compile.named``).

``accumulate(name, total, q, x)``
    One step of the exact sum over a row, 32 lanes wide.
``score(name, total, q_squares, x_squares)``
    The score, from that sum and S of both rows.
``interval(name, cosine, error, q_norm, x_norm)``
    Bounds of the score where the cosine is within ``error`` of ``cosine``.
``row_terms(name, scale, error, norm, power)`` → s′, μ
``lane_terms(name, root, q_scale, q_error, q_norm, power, error, length)`` → θ, w
    The scan's float32 test, from the largest error and the largest norm · P of the rows
    at hand; see ``bound.py``.

To add a metric: a record here, and its twin in ``tests/oracle.py``. A function that
another record's function calls must be compiled first: ``inline(function)``.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import simd
from .bound import EUCLIDEAN_SLACK, FLOAT32_SLACK
from .compile import named


class Metric(NamedTuple):
    """See the module's text."""

    name: str
    description: str
    accumulate: Callable[..., Any]
    score: Callable[..., Any]
    interval: Callable[..., Any]
    row_terms: Callable[..., Any]
    lane_terms: Callable[..., Any]
    squares: bool = False
    """Whether a row's μ is its square and no error; θ is then −slack at a root of −‖q‖, else at 0."""
    free: bool = False
    """Whether the terms of a row are free of its norm."""
    differences: bool = False
    """Whether ``accumulate`` adds squares of differences; products, else."""


def _accumulate_product(name, total, q, x):
    return simd.add_product(total, q, x)


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


def _accumulate_square(name, total, q, x):
    difference = simd.sub_wide(q, x)
    return simd.add_wide(total, simd.mul_wide(difference, difference))  # never fused: not exact


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


TABLE: dict[str, Metric] = {
    record.name: record
    for record in (
        Metric(
            "cosine",
            "cosine of the angle; 0 where a row is zero",
            _accumulate_product,
            _cosine,
            _cosine_interval,
            _cosine_row,
            _cosine_lane,
            free=True,
        ),
        Metric("dot", "inner product", _accumulate_product, _dot, _dot_interval, _dot_row, _dot_lane),
        Metric(
            "euclidean",
            "distance, negated so that larger is nearer",
            _accumulate_square,
            _euclidean,
            _euclidean_interval,
            _euclidean_row,
            _euclidean_lane,
            squares=True,
            differences=True,
        ),
    )
}


# The names by which compiled code calls a record's functions; Python that runs a kernel calls them too.


def accumulate(name, total, q, x):
    return TABLE[name].accumulate(name, total, q, x)


def score(name, total, q_squares, x_squares):
    return TABLE[name].score(name, total, q_squares, x_squares)


def interval(name, cosine, error, q_norm, x_norm):
    return TABLE[name].interval(name, cosine, error, q_norm, x_norm)


def row_terms(name, scale, error, norm, power):
    return TABLE[name].row_terms(name, scale, error, norm, power)


def lane_terms(name, root, q_scale, q_error, q_norm, power, error, length):
    return TABLE[name].lane_terms(name, root, q_scale, q_error, q_norm, power, error, length)


for _stub in (accumulate, score, interval, row_terms, lane_terms):
    named(_stub, TABLE, _stub.__name__)
