"""The screen: codes of few dimensions, which decide first what rows can still win.

    h = Vᵀu, the unit row u in the p directions V in which most rows differ most (``basis``)
      codes   p bytes: h to 8 bits, beside the full codes
      scale   float32
      tail    float32: ρ, what the codes leave out of the row
      slack   float32: η, what the codes are off by within those directions

A scan compares an upper end from these codes with the threshold, as it does with full codes. What passes
gets its full integer score at once, and goes on as a hit of the full codes does. Why no row is lost,
whatever V is: ``bound.py``.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from . import encode, log, metrics, micro, refine, simd, threads
from .bound import FLOAT32_SLACK, MEASURED_SLACK, ROUND_DOWN, cosine_error
from .compile import inline, kernel
from .encode import Encoded, Queries
from .filters import excluded
from .log import COUNT, DRAINED, PASSED, SEEN
from .matrix import address
from .rows import split
from .stages import Stage
from .tiles import largest_error
from .topk import raise_floor

_BLOCK = 4096
"""Rows that are multiplied by the basis at a time."""

_CHECKED = 16
"""Rows whose products with the basis are compared with those of float64."""

_PATIENCE = 4096
"""Pairs that may pass before anything is said about their share."""

_AHEAD = 8
"""Hits to ask memory for before their full codes are read."""

_FLOAT32_MAX = float(np.finfo(np.float32).max)

_PASSES = 2.0**30
"""The tail of a row that passes for every query. It is finite: lanes without a query must not reach +inf."""

_LEAST = 2.0**-40
"""Entries of h are 0 in the code if none is larger: 1/t and w must fit into float32."""


class Basis(NamedTuple):
    """The directions of a screen."""

    matrix: np.ndarray
    """V: float32 (dims, p)."""
    skew: float
    """At least ‖VᵀV − 1‖."""
    error: float
    """At least what float32 products of unit rows with V are off by, as vectors."""


class Screen(NamedTuple):
    """The screen's codes of rows."""

    encoded: Encoded
    """Of p dimensions; ``error`` holds the tails ρ, ``norm`` the norms of the rows."""
    slack: np.ndarray
    """float32: η."""


class Rows(NamedTuple):
    """Rows with a screen, as a kernel sees them."""

    coarse: NamedTuple
    """``scan.Rows`` of the screen."""
    slack: np.ndarray
    skew: float
    most: float
    """The share of pairs that may pass: with more, the rest of the rows is scanned by their full codes."""
    fine: NamedTuple
    """``scan.Rows`` of the full codes."""


class ScreenQueries(NamedTuple):
    """Queries for rows with a screen."""

    coarse: Queries
    """In p dimensions; ``error`` holds δ."""
    tail: np.ndarray
    """float64: τ."""
    length: np.ndarray
    """float64: at least ‖ĝ‖."""
    fine: Queries

    def part(self, first: int, last: int) -> "ScreenQueries":
        """Some of the queries."""
        return ScreenQueries(
            self.coarse.part(first, last),
            self.tail[first:last],
            self.length[first:last],
            self.fine.part(first, last),
        )


def directions(sample: np.ndarray, p: int) -> np.ndarray:
    """The p directions that hold most of unit rows (s, dims), float32, the one that holds most first.

    A matrix (dims, p), by subspace iteration: Halko, Martinsson and Tropp, "Finding structure with
    randomness", SIAM Review 53 (2011).
    """
    dims = sample.shape[1]
    start = np.random.default_rng(0).standard_normal((dims, min(dims, p + 16)), np.float32)
    spanned = _orthonormal(sample.T @ (sample @ start))
    spanned = _orthonormal(sample.T @ (sample @ spanned))
    within = sample @ spanned
    rotation = np.linalg.eigh(within.T @ within)[1][:, ::-1][:, :p]
    leading: np.ndarray = spanned @ rotation
    return leading


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """Columns that span what these do, orthonormal but for roundings, float32.

    By Cholesky's decomposition of their inner products, with a small shift for columns that depend on each
    other; a second time, because the first leaves the roundings of a square.
    """
    result = columns.astype(np.float64)
    for _ in range(2):
        products = result.T @ result
        np.fill_diagonal(products, products.diagonal() + 1e-12 * max(1e-300, np.trace(products)))
        result = result @ np.linalg.inv(np.linalg.cholesky(products)).T
    return result.astype(np.float32)


def basis(leading: np.ndarray) -> Basis:
    """The basis of a screen in the given directions, mixed so that the entries of a row's code are alike."""
    return measured(_orthonormal(leading) @ _mixing(leading.shape[1]))


def _mixing(p: int) -> np.ndarray:
    """An orthogonal matrix (p, p) whose entries are all of about the same size; p is 64 times 1, 2, 3 or 4.

    Sylvester's matrix of order 64, times a cosine transform of order p/64, with fixed signs.
    """
    signs = np.ones((1, 1))
    for _ in range(6):
        signs = np.block([[signs, signs], [signs, -signs]])
    order = p // 64
    angles = np.pi * np.outer(np.arange(order) + 0.5, np.arange(order)) / order
    cosines = np.cos(angles) * np.where(np.arange(order) == 0, np.sqrt(1 / order), np.sqrt(2 / order))
    flips = np.random.default_rng(0).choice([-1.0, 1.0], p)[:, None]
    matrix: np.ndarray = (flips * np.kron(cosines, signs / 8.0)).astype(np.float32)
    return matrix


def measured(matrix: np.ndarray) -> Basis:
    """The record of a matrix V, with what is certain about it; see ``bound.py``.

    A matrix that is far from orthonormal is replaced by zeros, which decide nothing.
    """
    dims, p = matrix.shape
    wide = matrix.astype(np.float64)
    skew = float(np.linalg.norm(wide.T @ wide - np.eye(p)))
    if not skew <= 1.0:
        matrix, wide = np.zeros_like(matrix), np.zeros_like(wide)
    growth = dims * 2.0**-24 / (1.0 - dims * 2.0**-24)
    error = growth * float(np.linalg.norm(wide))
    return Basis(np.ascontiguousarray(matrix), min(1.0, skew) * 1.001 + 2.0**-40, error * 1.001 + 2.0**-40)


def empty(n: int, p: int) -> Screen:
    """Room for n rows."""
    return Screen(encode.empty(n, p), np.empty(n, np.float32))


class _Measures(NamedTuple):
    """Where the measures of coded rows go."""

    scale: np.ndarray
    tail: np.ndarray
    slack: np.ndarray
    length: np.ndarray
    """Of queries: at least ‖ĝ‖. Else empty."""


_NONE = np.empty(0)


def encode_rows(vectors: np.ndarray, norm: np.ndarray, basis: Basis, into: Screen, num_threads: int) -> None:
    """The screen's codes of float32 rows (n, dims), all finite, by their norms, which are not copied."""
    n, p = len(vectors), basis.matrix.shape[1]
    products = np.empty((min(n, _BLOCK), p), np.float32)
    encoded = into.encoded
    for first in range(0, n, _BLOCK):
        here = slice(first, min(first + _BLOCK, n))
        count = here.stop - first
        _multiply(vectors[here], basis, products[:count])
        if first == 0:
            few = min(count, _CHECKED)
            _check_products(vectors[:few], norm[:few], basis, products[:few])
        measures = _Measures(encoded.scale[here], encoded.error[here], into.slack[here], _NONE)
        fixed = (products, norm[here], 127, basis.skew, basis.error, encoded.codes[here], measures)
        threads.run(functools.partial(_coded, fixed), split(count, num_threads, 64), num_threads)


def _coded(fixed: tuple[Any, ...], run: tuple[int, int]) -> None:
    _code(*run, *fixed)


def pack(queries: np.ndarray, fine: Queries, basis: Basis, levels: int, tile_queries: int) -> ScreenQueries:
    """Queries float32 (m, dims) in the screen's dimensions, beside their full codes; see ``encode.pack``."""
    m, p = len(queries), basis.matrix.shape[1]
    products = np.empty((m, p), np.float32)
    _multiply(queries, basis, products)
    codes = np.empty((m, p), np.uint8)
    scale, tail, slack = (np.empty(m, np.float32) for _ in range(3))
    measures = _Measures(scale, tail, slack, np.empty(m))
    _code(0, m, products, fine.norm, levels, basis.skew, basis.error, codes, measures)
    unit = np.where(scale == 0.0, 1.0, scale.astype(np.float64))
    coarse = Queries(*encode.packed_codes(codes, tile_queries), unit, slack.astype(np.float64), fine.norm)
    return ScreenQueries(coarse, tail.astype(np.float64), measures.length, fine)


def first_unproved(vectors: np.ndarray, norm: np.ndarray, basis: Basis, screened: Screen) -> int:
    """The first of float32 rows (n, dims) for which (6) of ``bound.py`` does not hold, or −1."""
    matrix = basis.matrix.astype(np.float64)
    skewed = matrix.T @ matrix - np.eye(matrix.shape[1])
    for first in range(0, len(vectors), _BLOCK):
        rows = vectors[first : first + _BLOCK].astype(np.float64)
        here = slice(first, first + len(rows))
        units = np.divide(rows, norm[here, None], out=rows, where=norm[here, None] > 0.0)
        codes, scale, tail, _, _ = (part[here] for part in screened.encoded)
        coded = scale[:, None].astype(np.float64) * (codes.astype(np.float64) - 128.0)
        within, back = units @ matrix, coded + coded @ skewed
        squares = np.square(units).sum(axis=1)
        squares += (coded * (back - 2.0 * within)).sum(axis=1)
        slack = np.linalg.norm(within - back, axis=1)
        proved = (squares <= np.square(tail, dtype=np.float64)) & (slack <= screened.slack[here])
        wrong = ~(proved | (tail >= _PASSES))
        if wrong.any():
            return first + int(wrong.argmax())
    return -1


def _check_products(rows: np.ndarray, norm: np.ndarray, basis: Basis, products: np.ndarray) -> None:
    """Make sure that matrix products are those of float32, as the bound takes for granted.

    A BLAS may be told to round to fewer bits.
    """
    usable = (norm > 2.0**-60) & (norm < 2.0**60)
    wide = rows[usable].astype(np.float64) @ basis.matrix.astype(np.float64)
    off = np.sqrt(np.square(products[usable] - wide).sum(axis=1))
    if not (off <= basis.error * norm[usable]).all():
        raise RuntimeError(
            "float32 matrix products are less precise here than float32 is: a setting lets NumPy's BLAS "
            "round to fewer bits; unset it, or pass screen='off'"
        )


def _multiply(rows: np.ndarray, basis: Basis, products: np.ndarray) -> None:
    # Rows so long or short that products leave the range of float32 are not coded.
    with np.errstate(all="ignore"):
        np.matmul(rows, basis.matrix, out=products)


@kernel
def _code(start, stop, products, norms, levels, skew, error, codes, measures):
    _code_rows(start, stop, products, norms, levels, skew, error, codes, measures)


@inline
def _code_rows(start, stop, products, norms, levels, skew, error, codes, measures):
    p = products.shape[1]
    h = np.empty(p)
    of_queries = len(measures.length) > 0
    for i in range(start, stop):
        largest, total = 0.0, 0.0
        in_range = 2.0**-60 < norms[i] < 2.0**60
        for j in range(p):
            h[j] = np.float64(products[i, j]) / norms[i] if in_range else 0.0
            largest = max(largest, abs(h[j]))
            total += h[j] * h[j]
        step = np.float64(np.float32(largest / levels)) if largest > _LEAST else 0.0
        inverse = 1.0 / step if step > 0.0 else 0.0
        inner, squares, rest = 0.0, 0.0, 0.0
        for j in range(p):
            code = min(np.float64(levels), max(-np.float64(levels), np.rint(h[j] * inverse)))
            codes[i, j] = np.uint8(np.int64(code) + 128)
            inner += h[j] * (step * code)
            squares += (step * code) * (step * code)
            rest += (h[j] - step * code) * (h[j] - step * code)
        length = np.sqrt(squares)
        unit = 0.0 if norms[i] == 0.0 else 1.0
        tail = np.sqrt(max(0.0, unit - 2.0 * inner + 2.0 * error * length + (1.0 + skew) * squares))
        slack = np.sqrt(rest) + error
        if tail > 1.0:  # then nothing at all stands for the row as well
            codes[i] = 128
            step, length, tail, slack = 0.0, 0.0, 1.0, np.sqrt(total) + error
        if norms[i] > 0.0 and not in_range:  # every row passes for the query, or the row for every query
            tail, slack = (1.0, 8.0) if of_queries else (_PASSES, 0.0)
        measures.scale[i] = step
        measures.tail[i] = tail + MEASURED_SLACK
        if of_queries:
            measures.length[i] = length + MEASURED_SLACK
            measures.slack[i] = slack + MEASURED_SLACK
        else:
            measures.slack[i] = slack + skew * length + MEASURED_SLACK


class Room(NamedTuple):
    """Memory for a few queries that are encoded within compiled code, and the basis for that."""

    fine: encode.Room
    coarse: encode.Room
    products: np.ndarray
    measures: _Measures
    queries: ScreenQueries
    """Of the memory above."""
    basis: Basis


def room_for(m: int, dims: int, basis: Basis) -> Room:
    """Room for m queries, which are not packed."""
    p = basis.matrix.shape[1]
    fine, coarse = encode.room_for(m, dims), encode.room_for(m, p)
    norm, length, tail = fine.encoded.norm, np.empty(m), np.empty(m)
    coarse = coarse._replace(queries=coarse.queries._replace(norm=norm))
    measures = _Measures(coarse.encoded.scale, np.empty(m, np.float32), coarse.encoded.error, length)
    queries = ScreenQueries(coarse.queries, tail, length, fine.queries)
    return Room(fine, coarse, np.empty((m, p), np.float32), measures, queries, basis)


@inline
def encode_few(originals, levels, room):
    """``pack`` for a few queries, into ``room``."""
    encode.encode_few(originals, levels, room.fine)
    products, matrix, codes = room.products, room.basis.matrix, room.coarse.encoded.codes
    m, p = products.shape
    products[:] = 0.0
    for i in range(m):
        at = originals.queries + i * originals.stride
        for d in range(originals.dims):
            value = simd.load_scalar(at + 4 * d)
            for j in range(p):
                products[i, j] += value * matrix[d, j]
    norm, measures, signed = room.fine.encoded.norm, room.measures, room.coarse.queries
    first = np.int64(0)
    _code_rows(first, m, products, norm, levels, room.basis.skew, room.basis.error, codes, measures)
    encode.sign_few(codes, measures.scale, measures.slack, signed.correction, signed.scale, signed.error)
    for i in range(m):
        room.queries.tail[i] = measures.tail[i]


@inline
def _theta(metric, q, queries, root, limits):
    """θ and w of a query for the screen; no row passes for one that has left."""
    if root == np.inf:
        return np.float32(np.inf), np.float32(1.0)
    coarse = queries.coarse
    power, largest, length, slack, skew = limits
    error = coarse.error[q] * (1.0 + skew + slack) + queries.length[q] * slack + 2.0 * FLOAT32_SLACK
    tail, factor, _ = metrics.tail_terms(metric, queries.tail[q], largest)
    theta, weight = metrics.lane_terms(
        metric, root, coarse.scale[q], error, coarse.norm[q], power, tail, length
    )
    theta -= abs(theta) * ROUND_DOWN
    return np.float32(max(theta, -_FLOAT32_MAX)), np.float32(weight * factor)


@inline
def estimate_weight(metric, queries, q, power):
    """What μ is multiplied by in a query's estimates: integer score · s′ + μ · w."""
    coarse = queries.coarse
    _, weight = metrics.lane_terms(metric, 0.0, coarse.scale[q], 0.0, coarse.norm[q], power, 0.0, 0.0)
    return np.float32(weight * metrics.tail_terms(metric, 0.0, 0.0)[2])


def _codes(stage, rows):
    return rows.coarse


def _packed(stage, queries):
    return queries.coarse


def _limits(stage, rows, chunk, count, limits):
    slack = np.float64(largest_error(rows.slack.ctypes.data + 4 * chunk, count))
    return (*limits, slack, rows.skew)


def _set_thresholds(stage, metric, queries, state, limits):
    for q in range(len(queries.tail)):
        state.threshold[q], state.weight[q] = _theta(metric, q, queries, state.root[q], limits)


def _drain(stage, micro_kernel, metric, asked, state, limits):
    """Full integer scores of the rows that passed, and their intervals; thresholds raised.

    Every pair that passes a screen costs more than one of a tile, so thresholds are kept as high as they can
    be: a row that probably raises one gets its exact score, once its memory has had time to arrive.
    """
    rows, queries, exclusions, originals = asked
    start, fine, packed = state.cursor[DRAINED], rows.fine, queries.fine
    codes, stride, width = fine.codes.ctypes.data, fine.codes.strides[0], packed.codes.shape[1]
    kept = start
    state.cursor[PASSED] += state.cursor[COUNT] - start
    for z in range(start, state.cursor[COUNT]):
        if z + _AHEAD < state.cursor[COUNT]:
            refine.prefetch_bytes(codes + state.row[z + _AHEAD] * stride, width)
        q, i = np.int64(state.query[z]), state.row[z]
        query, at = packed.codes.ctypes.data + q * width, codes + i * stride
        micro.row(micro_kernel, at, stride, 1, query, width, packed.correction[q], state.score[z:])
    for z in range(start, state.cursor[COUNT]):
        q, i = np.int64(state.query[z]), state.row[z]
        cosine = np.float64(state.score[z]) * (packed.scale[q] * np.float64(fine.scale[i]))
        error = cosine_error(packed.error[q], np.float64(fine.error[i]))
        lower, upper = metrics.interval(metric, cosine, error, packed.norm[q], fine.norm[i])
        if upper < state.root[q] or excluded(exclusions, q, fine.base + i):
            continue
        if lower + upper > 2.0 * state.root[q]:
            refine.prefetch_bytes(address(originals.vectors, fine.base + i), 4 * originals.dims)
        state.query[kept], state.row[kept] = q, fine.base + i
        state.lower[kept], state.upper[kept] = lower, upper
        kept += 1
    if state.floor.shape[1] > 0:
        for z in range(start, kept):
            q = np.int64(state.query[z])
            if state.lower[z] + state.upper[z] > 2.0 * state.root[q]:
                lower, upper = refine.exact_interval(
                    metric, originals, state, q, state.row[z], state.lower[z], state.upper[z]
                )
                state.lower[z], state.upper[z] = lower, upper
            if state.lower[z] > state.floor[q, 0]:
                raise_floor(state.floor[q], state.lower[z])
                if state.floor[q, 0] > state.root[q]:
                    state.root[q] = state.floor[q, 0]
                    state.threshold[q] = _theta(metric, q, queries, state.root[q], limits)[0]
    log.drained(state, kept)


def _saw(stage, state, pairs):
    state.cursor[SEEN] += pairs


def _gives_up(stage, rows, state):
    return state.cursor[PASSED] > rows.most * state.cursor[SEEN] + _PATIENCE


STAGE = Stage("screen", _codes, _packed, _limits, _set_thresholds, _drain, _saw, _gives_up)
