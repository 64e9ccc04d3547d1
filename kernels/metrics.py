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
``row_terms(name, scale, error, norm, power)`` → s′, ε′
``reach(name, error, length)`` → R, from the largest error and the largest norm · P
``lane_terms(name, root, q_scale, q_error, q_norm, power, reach)`` → θ, w
    The scan's float32 test; see ``bound.py``.

To add a metric: a record here, and its twin in ``tests/oracle.py``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import simd
from .compile import named


class Metric(NamedTuple):
    """See the module's text."""

    name: str
    description: str
    accumulate: Callable[..., Any]
    score: Callable[..., Any]
    interval: Callable[..., Any]
    row_terms: Callable[..., Any]
    reach: Callable[..., Any]
    lane_terms: Callable[..., Any]


def _accumulate_product(name, total, q, x):
    return simd.add_product(total, q, x)


def _cosine(name, total, q_squares, x_squares):
    if q_squares == 0.0 or x_squares == 0.0:
        return 0.0
    # sqrt(S * S) is S exactly, so identical rows score exactly 1.
    return min(1.0, max(-1.0, total / np.sqrt(q_squares * x_squares))) + 0.0


def _cosine_interval(name, cosine, error, q_norm, x_norm):
    return cosine - error, cosine + error


def _cosine_row(name, scale, error, norm, power):
    return scale, error


def _cosine_reach(name, error, length):
    return 1.0 + error


def _cosine_lane(name, root, q_scale, q_error, q_norm, power, reach):
    return (root - q_error * reach) / q_scale, 1.0 / q_scale


def _dot(name, total, q_squares, x_squares):
    return total + 0.0


def _dot_interval(name, cosine, error, q_norm, x_norm):
    factor = q_norm * x_norm
    return factor * (cosine - error), factor * (cosine + error)


def _dot_row(name, scale, error, norm, power):
    length = norm * power
    return scale * length, error * length


def _dot_reach(name, error, length):
    return (1.0 + error) * length


def _dot_lane(name, root, q_scale, q_error, q_norm, power, reach):
    # A zero query scores 0 with every row: any finite unit will do.
    unit = root * power / q_norm if q_norm > 0.0 else root * power
    return (unit - q_error * reach) / q_scale, 1.0 / q_scale


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
            _cosine_reach,
            _cosine_lane,
        ),
        Metric(
            "dot", "inner product", _accumulate_product, _dot, _dot_interval, _dot_row, _dot_reach, _dot_lane
        ),
    )
}


# The names by which compiled code calls a record's functions.


def accumulate(name, total, q, x): ...
def score(name, total, q_squares, x_squares): ...
def interval(name, cosine, error, q_norm, x_norm): ...
def row_terms(name, scale, error, norm, power): ...
def reach(name, error, length): ...
def lane_terms(name, root, q_scale, q_error, q_norm, power, reach): ...


for _stub in (accumulate, score, interval, row_terms, reach, lane_terms):
    named(_stub, TABLE, _stub.__name__)
