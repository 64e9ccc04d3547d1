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
way the compiler fuses them (``arithmetic.py``). Where (5) lets every row pass, C₀ is infinite: lower ends are
−inf and raise nothing.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .. import metrics, threads
from ..bound import FLOAT32_SLACK
from ..compile import bound
from ..compile import kernel as cpu_kernel
from ..encode import Queries, unit_scale
from ..rows import split
from ..scan import Rows
from . import layout
from .layout import HIGHEST, LOWERED, LOWEST, PANEL


class RowTerms(NamedTuple):
    """Terms of all rows, filled up to whole panels; see ``layout.py``."""

    scale: np.ndarray
    margin: np.ndarray
    reach: np.ndarray
    power: float


def row_terms(metric: str, rows: Rows, n: int, num_threads: int) -> RowTerms:
    """Terms of n encoded rows for the device."""
    room = -(-n // PANEL) * PANEL
    scale, margin = np.zeros(room, np.float32), np.full(room, -np.inf, np.float32)
    reach = np.zeros(2 * (room // PANEL), np.float32)
    power = math.ldexp(1.0, -math.frexp(float(rows.norm[:n].max(initial=0.0)))[1])
    parts = split(n, num_threads, PANEL)
    run = _row_terms(metric)
    threads.run(lambda part: run(*part, rows, power, scale, margin, reach), parts, num_threads)
    return RowTerms(scale, margin, reach, power)


@bound
def _row_terms(metric: str) -> Callable[..., None]:
    free = metrics.TABLE[metric].free

    @cpu_kernel
    def row_terms_of(start, stop, rows, power, scale, margin, reach):
        for panel in range(start, stop, PANEL):
            longest, product = 2.0**-40, 0.0
            for i in range(panel, min(panel + PANEL, stop)):
                error = np.float64(rows.error[i])
                scale[i], margin[i] = metrics.row_terms(
                    metric, unit_scale(rows, i), error, rows.norm[i], power
                )
                length = 1.0 if free else rows.norm[i] * power
                longest, product = max(longest, length), max(product, error * length)
            # To the next float32: they bound what float64 says.
            reach[2 * (panel // PANEL)] = np.float32(longest * (1.0 + 2.0**-23))
            reach[2 * (panel // PANEL) + 1] = np.float32(product * (1.0 + 2.0**-23))

    return row_terms_of


def lane_terms(metric: str, queries: Queries, m: int, room: int, power: float) -> np.ndarray:
    """Terms of m queries for the device; no row reaches those behind the last."""
    lanes = np.zeros((layout.TERMS, room), np.float32)
    lanes[layout.ROOT, m:] = HIGHEST
    _lane_terms(metric)(queries, m, power, metrics.TABLE[metric].squares, lanes)
    return lanes


@bound
def _lane_terms(metric: str) -> Callable[..., None]:
    @cpu_kernel
    def lane_terms_of(queries, m, power, squares, lanes):
        for q in range(m):
            error, norm = queries.error[q] + FLOAT32_SLACK, queries.norm[q]
            zero = -norm if squares else 0.0  # the root whose value is 0
            bare, weight = metrics.lane_terms(metric, zero, queries.scale[q], error, norm, power, 0.0, 0.0)
            longest, _ = metrics.lane_terms(metric, zero, queries.scale[q], error, norm, power, 0.0, 1.0)
            both, _ = metrics.lane_terms(metric, zero, queries.scale[q], error, norm, power, 1.0, 1.0)
            lanes[layout.ROOT, q] = LOWEST
            if both == -np.inf:
                lanes[layout.SLACK, q] = np.inf
                continue
            lanes[layout.WEIGHT, q] = weight
            lanes[layout.LOW_WEIGHT, q] = weight if squares else -weight
            lanes[layout.SLACK, q] = -bare * (1.0 + LOWERED)
            lanes[layout.BY_LENGTH, q] = (bare - longest) * (1.0 + LOWERED)
            lanes[layout.BY_ERROR, q] = (longest - both) * (1.0 + LOWERED)

    return lane_terms_of
