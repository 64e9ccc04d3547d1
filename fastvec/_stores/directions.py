"""Whether rows are coded with a direction that they have in common; see ``kernels/direction.py``.

A sample of the rows tells: it is coded both ways, and some of its rows are queries.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..kernels import cost, direction, encode, micro
from ..kernels.compile import default_mode
from ..results import Float32

_LEAST_ROWS = 256
_FEW, _SAMPLE, _QUERIES = 64, 256, 32
_LEAST_QUERIES = 256
"""Of a single search: for fewer, taking the sample takes as long as it spares."""
_LEAST_COSINE = 0.3
"""Of two rows on average: with less, what lies beside a direction is hardly shorter than the rows."""


def direction_for(vectors: Float32, queries: int | None = None) -> direction.Direction | None:
    """The direction of rows, or None if searches are as quick without: one of ``queries``, or many."""
    n, dims = vectors.shape
    if n < _LEAST_ROWS or dims < direction.LEAST_DIMS or (queries or _LEAST_QUERIES) < _LEAST_QUERIES:
        return None
    if not _alike(vectors):
        return None
    with default_mode():
        return _found(vectors)


def _found(vectors: Float32) -> direction.Direction | None:
    """``direction_for`` rows whose first look promises one."""
    few = _units(vectors, _FEW).mean(axis=0)
    if not few @ few >= _LEAST_COSINE:
        return None
    units = _units(vectors, _SAMPLE)
    mean = units.mean(axis=0)
    if not direction.fits(mean):
        return None
    squares = float(mean @ mean)
    rest = units - (units @ mean / squares)[:, None] * mean
    lead = direction.lead_for(squares**0.5, float(np.median(np.abs(rest).max(axis=1))))
    found = direction.measured(mean, lead)
    return found if _pays(units, found, len(vectors)) else None


def _alike(vectors: Float32) -> bool:
    """Whether the first, the middle and the last row point roughly the same way: that is known in no time."""
    with np.errstate(all="ignore"):
        rows = vectors[[0, len(vectors) // 2, -1]].astype(np.float64)
        (a, ab, ac), (_, b, bc), (*_, c) = (rows @ rows.T).tolist()
    return all(p >= 0 and 100.0 * p * p >= x * y for p, x, y in ((ab, a, b), (ac, a, c), (bc, b, c)))


def _units(vectors: Float32, count: int) -> Float32:
    """At most ``count`` rows, evenly spread, of unit length; NaN if one is not finite."""
    rows = vectors[:: max(1, len(vectors) // count)][:count].astype(np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    units: Float32 = np.divide(rows, norms, out=rows, where=norms != 0.0).astype(np.float32)
    return units


def _pays(units: Float32, found: direction.Direction, n: int) -> bool:
    """Whether a search of n rows is quicker with a direction, as a sample of them says."""
    kernel, size = micro.active(), len(units)
    asked = units[:: max(1, size // _QUERIES)][:_QUERIES]
    scores = asked @ units.T
    # Of n rows ten are nearest, of the sample as many in proportion, besides the query itself.
    rank = min(size - 1, 1 + max(1, 10 * size // n))
    nearest = np.partition(scores, size - 1 - rank, axis=1)[:, size - 1 - rank]
    prices = []
    for along in (None, found):
        codes = encode.empty(size, direction.width(units.shape[1], along))
        direction.encode_rows(units, codes, 1, along)
        errors = direction.pack(asked, kernel.levels, 0, 1, along).error[:, None] + _wide(codes.error)
        share = float((scores + 2.0 * errors >= nearest[:, None]).mean())
        prices.append(cost.scan_price(codes.codes.shape[1], share, kernel))
    return prices[1] < prices[0]


def _wide(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    return values.astype(np.float64)
