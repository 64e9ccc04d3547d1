"""From proved bounds to one float32 comparison a score; an addition to ``bound.py``, in its words.

P is one power of two for all rows; L and E belong to a panel of 64 of them. A score
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
from .layout import BY_ERROR, BY_LENGTH, HIGHEST, LOW_WEIGHT, LOWERED, LOWEST, PANEL, ROOT, SLACK, WEIGHT
from .operations import inline, kernel

_NO_CODES = float(NO_CODES)
_CLOSED = -math.inf


def power_for(longest: float) -> float:
    """P: the power of two that brings the largest norm to [½, 1)."""
    return math.ldexp(1.0, -math.frexp(longest)[1])


@inline
def unit_scale(scale, error, norm, full_norm):
    """The scale of a row of length one, in float64; ``scale`` is that of a row of norm ``full_norm``."""
    if norm == 0.0 or error >= _NO_CODES:
        return 0.0
    return types.float64(scale) * (full_norm / norm)


@inline
def terms_of_row(metric, scale, error, norm, full_norm, power):
    """s′ and μ of an encoded row; its norm, and its norm times error, both times P."""
    unit = unit_scale(scale, error, norm, full_norm)
    of_score, margin = metrics.row_terms(metric, unit, error, norm, power)
    length = metrics.length(metric, norm, power)
    return of_score, margin, length, error * length


@inline
def terms_of_query(metric, scale, error, norm, power):
    """w, w₋, C₀, C₁ and C₂ of an encoded query."""
    raised_error = error + FLOAT32_SLACK
    unit = scale if scale != 0.0 else 1.0  # a zero query: its codes are zero, and 1/scale is finite
    zero = metrics.zero_root(metric, norm)  # its value is 0
    bare, weight = metrics.lane_terms(metric, zero, unit, raised_error, norm, power, 0.0, 0.0)
    longest = metrics.lane_terms(metric, zero, unit, raised_error, norm, power, 0.0, 1.0)[0]
    both = metrics.lane_terms(metric, zero, unit, raised_error, norm, power, 1.0, 1.0)[0]
    if both == -math.inf:
        return 0.0, 0.0, math.inf, 0.0, 0.0
    raised = 1.0 + LOWERED
    low_weight = metrics.low_weight(metric, weight)
    return weight, low_weight, -bare * raised, (bare - longest) * raised, (longest - both) * raised


@functools.cache
def row_terms(metric: str) -> Any:
    """The kernel that makes the terms of n encoded rows, a thread for each panel.

    Rows from n on, to the end of the last panel, are closed.
    """

    @kernel
    def row_terms_of(n, panels, encoded, terms):
        panel = types.int64(cuda.grid(1))
        if panel < panels:
            longest, most = 2.0**-40, 0.0
            for row in range(panel * PANEL, (panel + 1) * PANEL):
                if row < n:
                    error, norm = types.float64(encoded.error[row]), encoded.norm[row]
                    scale, margin, length, reached = terms_of_row(
                        metric, encoded.scale[row], error, norm, encoded.full_norm[row], encoded.power
                    )
                    terms.scale[row], terms.margin[row] = types.float32(scale), types.float32(margin)
                    longest, most = max(longest, length), max(most, reached)
                else:
                    terms.scale[row], terms.margin[row] = types.float32(0.0), types.float32(_CLOSED)
            # To the next float32: they bound what float64 says.
            terms.reach[2 * panel] = types.float32(longest * (1.0 + 2.0**-23))
            terms.reach[2 * panel + 1] = types.float32(most * (1.0 + 2.0**-23))

    return row_terms_of


@functools.cache
def lane_terms(metric: str) -> Any:
    """The kernel that makes the terms of m queries; no row reaches those past the last query."""

    @kernel
    def lane_terms_of(m, power, measured, lanes):
        q, room, terms = types.int64(cuda.grid(1)), lanes.room, lanes.terms
        if q < room:
            weight, low_weight, constant, by_length, by_error, root = 0.0, 0.0, 0.0, 0.0, 0.0, HIGHEST
            if q < m:
                error, root = types.float64(measured.error[q]), LOWEST
                weight, low_weight, constant, by_length, by_error = terms_of_query(
                    metric, types.float64(measured.scale[q]), error, measured.norm[q], power
                )
            terms[ROOT * room + q] = types.float32(root)
            terms[WEIGHT * room + q] = types.float32(weight)
            terms[LOW_WEIGHT * room + q] = types.float32(low_weight)
            terms[SLACK * room + q] = types.float32(constant)
            terms[BY_LENGTH * room + q] = types.float32(by_length)
            terms[BY_ERROR * room + q] = types.float32(by_error)

    return lane_terms_of


@kernel
def close_rows(n, margin, closed, open_margin):
    """``margin`` with −inf in the rows whose bit is set."""
    row = types.int64(cuda.grid(1))
    if row < n:
        shut = (closed[row >> 5] >> (row & 31)) & 1
        margin[row] = types.float32(_CLOSED) if shut else open_margin[row]
