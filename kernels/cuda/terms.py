"""From proved bounds to one float32 comparison a score; addition to ``bound.py``, whose words this uses.

P is one power of two for all rows, L and E are taken for each panel of 64 of them. A score
is compared in units of 1/t of its query, after the transformation of (4) or (5), so that
with S = ``slack`` = C₀ + C₁·L + C₂·(E·L)

    upper  fl(fl(I)·s′) + fl(μ·w)  + S  ≥  value  ≥  lower  fl(fl(I)·s′) + fl(μ·w₋)  − S

where the *value* of a row is what (4) or (5) compares: root·P/(‖q‖·t), or for the distance
(κ − (D·P)²/κ)/(2t). It rises with the score, so thresholds may be kept as values: a
query's ``root`` is the k-th largest lower end seen, and a row is dropped if its upper end is
strictly below. w₋ = −w where μ is the row's error (4), and w where it is its square (5).

Upper ends are (4) and (5). The lower ends hold for the same reason, as (2) has two sides
and the roundings that 2⁻¹⁹ pays for have no preferred sign.

C₀, C₁ and C₂ are not written down anew: θ of ``lane_terms`` at a root of value 0 is −S, so

    C₀ = −θ(E=0, L=0)   C₁ = −θ(0, 1) − C₀   C₂ = −θ(1, 1) − C₀ − C₁.

S is linear in E, and in L but for 2⁻¹⁹·L²/κ, which L ≤ 1 lets us replace by 2⁻¹⁹·L/κ. L is
taken as at least 2⁻⁴⁰, so that 2⁻¹⁹·L still covers what underflows. C₀, C₁ and C₂ are raised
by 2⁻²⁰ of themselves, thresholds and lower ends lowered by 2⁻²⁰ of their magnitude, which
pays for the few roundings of relative size 2⁻²⁴ in computing them in float32, in whatever
way the compiler fuses them (``arithmetic.py``); what float64 loses, fused or not, is far below that.
Where (5) lets every row pass, C₀ is infinite: lower ends are −inf and raise nothing.
"""

import functools
import math
from typing import Any

from numba import cuda, types

from .. import metrics
from ..bound import FLOAT32_SLACK
from ..encode import NO_CODES
from .intrinsics import inline, kernel
from .layout import BY_ERROR, BY_LENGTH, HIGHEST, LOW_WEIGHT, LOWERED, LOWEST, PANEL, ROOT, SLACK, WEIGHT

_NO_CODES = float(NO_CODES)
_CLOSED = -math.inf


def power_for(longest: float) -> float:
    """P: the power of two that brings the largest norm to [½, 1)."""
    return math.ldexp(1.0, -math.frexp(longest)[1])


@inline
def unit_scale(scale, error, norm, whole):
    """Scale of a unit row in float64; ``whole`` is the norm that ``scale`` refers to, of all dimensions."""
    if norm == 0.0 or error >= _NO_CODES:
        return 0.0
    return types.float64(scale) * (whole / norm)


@inline
def terms_of_row(metric, free, scale, error, norm, whole, power):
    """s′ and μ of an encoded row; its norm, and its norm times error, both times P."""
    unit = unit_scale(scale, error, norm, whole)
    of_score, margin = metrics.row_terms(metric, unit, error, norm, power)
    length = 1.0 if free else norm * power
    return of_score, margin, length, error * length


@inline
def terms_of_query(metric, squares, scale, error, norm, power):
    """w, C₀, C₁ and C₂ of an encoded query."""
    own = error + FLOAT32_SLACK
    unit = scale if scale != 0.0 else 1.0  # a zero query: its codes are zero, and 1/scale is finite
    zero = -norm if squares else 0.0  # the root whose value is 0
    bare, weight = metrics.lane_terms(metric, zero, unit, own, norm, power, 0.0, 0.0)
    longest = metrics.lane_terms(metric, zero, unit, own, norm, power, 0.0, 1.0)[0]
    both = metrics.lane_terms(metric, zero, unit, own, norm, power, 1.0, 1.0)[0]
    if both == -math.inf:
        return 0.0, math.inf, 0.0, 0.0
    raised = 1.0 + LOWERED
    return weight, -bare * raised, (bare - longest) * raised, (longest - both) * raised


@functools.cache
def row_terms(metric: str) -> Any:
    """The kernel that makes terms of n encoded rows, a thread a panel; rows behind the last are closed."""
    free = metrics.TABLE[metric].free

    @kernel
    def row_terms_of(n, panels, power, encoded_scale, error, norm, whole, scale, margin, reach):
        panel = types.int64(cuda.grid(1))
        if panel < panels:
            longest, most = 2.0**-40, 0.0
            for row in range(panel * PANEL, (panel + 1) * PANEL):
                if row < n:
                    own = types.float64(error[row])
                    of_score, against, length, reached = terms_of_row(
                        metric, free, encoded_scale[row], own, norm[row], whole[row], power
                    )
                    scale[row], margin[row] = types.float32(of_score), types.float32(against)
                    longest, most = max(longest, length), max(most, reached)
                else:
                    scale[row], margin[row] = types.float32(0.0), types.float32(_CLOSED)
            # To the next float32: they bound what float64 says.
            reach[2 * panel] = types.float32(longest * (1.0 + 2.0**-23))
            reach[2 * panel + 1] = types.float32(most * (1.0 + 2.0**-23))

    return row_terms_of


@functools.cache
def lane_terms(metric: str) -> Any:
    """The kernel that makes terms of m queries; no row reaches those behind the last."""
    squares = metrics.TABLE[metric].squares

    @kernel
    def lane_terms_of(m, room, power, scale, error, norm, lanes):
        q = types.int64(cuda.grid(1))
        if q < room:
            weight, constant, by_length, by_error, root = 0.0, 0.0, 0.0, 0.0, HIGHEST
            if q < m:
                own, root = types.float64(error[q]), LOWEST
                weight, constant, by_length, by_error = terms_of_query(
                    metric, squares, types.float64(scale[q]), own, norm[q], power
                )
            lanes[ROOT * room + q] = types.float32(root)
            lanes[WEIGHT * room + q] = types.float32(weight)
            lanes[LOW_WEIGHT * room + q] = types.float32(weight if squares else -weight)
            lanes[SLACK * room + q] = types.float32(constant)
            lanes[BY_LENGTH * room + q] = types.float32(by_length)
            lanes[BY_ERROR * room + q] = types.float32(by_error)

    return lane_terms_of


@kernel
def close_rows(n, margin, closed, open_margin):
    """``margin`` with −inf in the rows whose bit is set."""
    row = types.int64(cuda.grid(1))
    if row < n:
        shut = (closed[row >> 5] >> (row & 31)) & 1
        margin[row] = types.float32(_CLOSED) if shut else open_margin[row]
