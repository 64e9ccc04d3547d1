"""The screen: codes of few dimensions, which decide first what rows can still win.

    h = Vᵀu, the unit row u in the p directions V in which most rows differ most (``basis``)
      codes   p bytes: h to 8 bits, beside the full codes
      scale   float32
      tail    float32: ρ, what the codes leave out of the row
      slack   float32: η, what the codes are off by within those directions

A scan compares an upper end from these codes with the threshold, as it does with full codes. What passes
gets its full integer score at once, and goes on as a hit of the full codes does. Why no row is lost,
whatever V is: ``bound.py``.

One or two queries read every row once, and take as long as that does. For these a screen may also hold
leading codes: of the 64 directions in which rows differ most, one row after another, so that a scan of them
reads a cache line a row. What passes them is scored on the codes above, wherever they are.
      codes   64 bytes
      word    uint32: a scale and a reach, ρ + 3η, 16 bits of float32 each
"""

import math
from typing import NamedTuple

import numpy as np

from . import encode, log, metrics, products, refine, scorers, simd, threads
from .bound import FLOAT32_SLACK, MEASURED_SLACK, ROUND_DOWN, cosine_error
from .compile import inline, kernel
from .encode import SPARE_ROWS, Encoded, Queries
from .filters import excluded
from .log import COUNT, DRAINED, NARROWED, PASSED, SEEN
from .matrix import address
from .refine import Originals
from .stages import Stage
from .tiles import largest_error, largest_norm
from .topk import raise_floor

_BLOCK = 4096
"""Rows that are proved at a time."""

_PATIENCE = 4096
"""Pairs that may pass before anything is said about their share."""

_AHEAD = 8
"""Hits to ask memory for before their full codes are read."""

_AHEAD_SHORT = 24
"""Hits of leading codes to ask memory for before their codes are read."""

_AHEAD_COLUMNS = 24
"""Entries of 64 columns to ask memory for before they are multiplied."""

LEADING = 64
"""Dimensions of leading codes."""

_SHARE = 3.0
"""How much of η the reach of a leading code holds."""

_OTHER = 2.0**-14
"""Added to the measures of leading directions: rows of a folder may be coded with an R that is only near."""

_MOST_SLACK = 2.0**-4
"""The largest η of a leading code; rows of a larger one pass for every query."""

_FLOAT32_MAX = float(np.finfo(np.float32).max)

_PASSES = 2.0**30
"""The tail of a row that passes for every query. It is finite: lanes without a query must not reach +inf."""

_LEVELS = 127

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
    leading: "Leading"


class Leading(NamedTuple):
    """The directions of leading codes: the columns of VR."""

    matrix: np.ndarray
    """R: float32 (p, 64), or (p, 0) if there are no leading codes."""
    skew: float
    """At least ‖(VR)ᵀVR − 1‖."""
    error: float
    """At least what float32 products of R with float32 products of unit rows with V are off by."""


class LeadingCodes(NamedTuple):
    """The leading codes of rows; both empty if there are none."""

    codes: np.ndarray
    words: np.ndarray


class Screen(NamedTuple):
    """The screen's codes of rows."""

    encoded: Encoded
    """Of p dimensions; ``error`` holds the tails ρ, ``norm`` the norms of the rows."""
    slack: np.ndarray
    """float32: η."""
    leading: LeadingCodes


class Rows(NamedTuple):
    """Rows with a screen, as a kernel sees them."""

    coarse: NamedTuple
    """``scan.Rows`` of the screen."""
    slack: np.ndarray
    skew: float
    most: float
    """The share of pairs that may pass: with more, the rest of the rows is scanned by their full codes."""
    most_leading: float
    """The share of pairs that may pass the leading codes, likewise."""
    fine: NamedTuple
    """``scan.Rows`` of the full codes."""
    leading: LeadingCodes
    leading_skew: float


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


class FewQueries(NamedTuple):
    """One or two queries for rows with a screen."""

    whole: ScreenQueries
    first: ScreenQueries
    """For leading codes: ``tail`` holds what a reach is multiplied by, ``length`` nothing. ``whole`` if there
    are none."""

    def part(self, first: int, last: int) -> "FewQueries":
        """Some of the queries."""
        return FewQueries(self.whole.part(first, last), self.first.part(first, last))


def directions(sample: np.ndarray, p: int, num_threads: int) -> np.ndarray:
    """The p directions that hold most of unit rows (s, dims), float32, the one that holds most first.

    A matrix (dims, p), by subspace iteration: Halko, Martinsson and Tropp, "Finding structure with
    randomness", SIAM Review 53 (2011).
    """
    dims = sample.shape[1]
    spanned = np.random.default_rng(0).standard_normal((dims, min(dims, p + 32)), np.float32)
    for _ in range(2):
        within = products.multiply(sample, spanned, num_threads)
        spanned = _orthonormal(products.multiply(sample.T, within, num_threads))
    within = products.multiply(sample, spanned, num_threads)
    rotation = np.linalg.eigh(within.T @ within)[1][:, ::-1][:, :p]
    leading: np.ndarray = spanned @ rotation
    return leading


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """Columns that span what these do, orthonormal but for roundings, float32.

    By Cholesky's decomposition of their inner products, with a small shift for columns that depend on each
    other (a normal number also where all are zero, so that no caller's mode flushes it to zero); a second
    time, because the first leaves the roundings of a square.
    """
    result = columns.astype(np.float64)
    for _ in range(2):
        products = result.T @ result
        np.fill_diagonal(products, products.diagonal() + 1e-12 * max(1e-280, np.trace(products)))
        result = result @ np.linalg.inv(np.linalg.cholesky(products)).T
    return result.astype(np.float32)


def basis(columns: np.ndarray, leading: bool = False) -> Basis:
    """The basis of a screen in the given directions, mixed so that the entries of a row's code are alike."""
    return measured(_orthonormal(columns) @ _mixing(columns.shape[1]), leading)


def _mixing(p: int) -> np.ndarray:
    """An orthogonal matrix (p, p) whose entries are all of about the same size; p is 64 times 1, 2, 3 or 4.

    Sylvester's matrix of order 64, times a cosine transform of order p/64, with fixed signs.
    """
    signs = np.ones((1, 1))
    for _ in range(6):
        signs = np.block([[signs, signs], [signs, -signs]])
    flips = np.random.default_rng(0).choice([-1.0, 1.0], p)[:, None]
    matrix: np.ndarray = (flips * np.kron(_cosines(p // 64), signs / 8.0)).astype(np.float32)
    return matrix


def _cosines(order: int) -> np.ndarray:
    """The matrix of a cosine transform, orthogonal."""
    angles = np.pi * np.outer(np.arange(order) + 0.5, np.arange(order)) / order
    scales = np.where(np.arange(order) == 0, np.sqrt(1 / order), np.sqrt(2 / order))
    cosines: np.ndarray = np.cos(angles) * scales
    return cosines


def _turned(p: int) -> np.ndarray:
    """R: the first directions before they were mixed, mixed anew among themselves.

    R is the product of two matrices of ``_mixing``. Their signs and Sylvester's matrices are undone by it, so
    only cosines are left: there is no sum that another machine, which opens the folder, could round in
    another way.
    """
    return np.kron(_cosines(p // LEADING)[:1].T, np.eye(LEADING)).astype(np.float32)


def measured(matrix: np.ndarray, leading: bool = False) -> Basis:
    """The record of a matrix V, with what is certain about it; see ``bound.py``.

    A matrix that is far from orthonormal is replaced by zeros, which decide nothing. With ``leading``, there
    are leading codes as well, in the first directions before they were mixed.
    """
    dims, p = matrix.shape
    wide = matrix.astype(np.float64)
    skew = float(np.linalg.norm(wide.T @ wide - np.eye(p)))
    if not skew <= 1.0:
        matrix, wide = np.zeros_like(matrix), np.zeros_like(wide)
    growth = dims * 2.0**-24 / (1.0 - dims * 2.0**-24)
    error = growth * float(np.linalg.norm(wide))
    skew, error = min(1.0, skew) * 1.001 + 2.0**-40, error * 1.001 + 2.0**-40
    turned = _turned(p) if leading else np.empty((p, 0), np.float32)
    return Basis(np.ascontiguousarray(matrix), skew, error, _leading(turned, wide, skew, error))


def _leading(matrix: np.ndarray, basis: np.ndarray, skew: float, error: float) -> Leading:
    """The record of a matrix R, for a basis whose measures are ``skew`` and ``error``."""
    p, count = matrix.shape
    turned = matrix.astype(np.float64)
    spectral = math.sqrt(1.0 + float(np.linalg.norm(turned.T @ turned - np.eye(count))))
    columns = basis @ turned
    own_skew = float(np.linalg.norm(columns.T @ columns - np.eye(count)))
    growth = p * 2.0**-24 / (1.0 - p * 2.0**-24)
    own_error = spectral * error + growth * float(np.linalg.norm(turned)) * (1.0 + skew + error)
    own_skew, own_error = own_skew * 1.001 + _OTHER, own_error * 1.001 + _OTHER
    return Leading(np.ascontiguousarray(matrix), own_skew, own_error)


def empty(n: int, p: int, leading: bool = False) -> Screen:
    """Room for n rows."""
    return Screen(encode.empty(n, p), np.empty(n, np.float32), _empty_leading(n, leading))


NO_LEADING = LeadingCodes(np.empty((0, LEADING), np.uint8), np.empty(0, np.uint32))


def _empty_leading(n: int, leading: bool) -> LeadingCodes:
    if not leading:
        return NO_LEADING
    codes = encode.aligned((n + SPARE_ROWS) * LEADING).reshape(-1, LEADING)
    return LeadingCodes(codes, np.empty(n, np.uint32))


def encode_rows(vectors: np.ndarray, norm: np.ndarray, basis: Basis, into: Screen, num_threads: int) -> None:
    """The screen's codes of float32 rows (n, dims), all finite, by their norms, which are not copied."""
    n = len(vectors)
    origin, stride = vectors.ctypes.data, vectors.strides[0]
    columns, turned = products.Columns.of(basis.matrix, n), products.Columns.of(basis.leading.matrix, n)
    errors = (basis.skew, basis.error, basis.leading.skew, basis.leading.error)
    encoded, leading = into.encoded, into.leading
    target = (encoded.codes, encoded.scale, encoded.error, into.slack, leading.codes, leading.words)
    threads.run(
        lambda part: _encode_rows(*part, origin, stride, norm, columns, turned, errors, target),
        products.parts(n, columns, num_threads),
        num_threads,
        vectors,
    )


def pack(
    queries: np.ndarray, fine: Queries, basis: Basis, levels: int, tile_queries: int, num_threads: int
) -> ScreenQueries:
    """Queries float32 (m, dims) in the screen's dimensions, beside their full codes; see ``encode.pack``."""
    m, p = len(queries), basis.matrix.shape[1]
    origin, stride, columns = queries.ctypes.data, queries.strides[0], products.Columns.of(basis.matrix, m)
    codes, measures = np.empty((m, p), np.uint8), np.empty((4, m))
    threads.run(
        lambda part: _encode_queries(
            *part, origin, stride, fine.norm, columns, levels, basis.skew, basis.error, codes, measures
        ),
        products.parts(m, columns, num_threads),
        num_threads,
        queries,
    )
    coarse = Queries(*encode.packed_codes(codes, tile_queries), measures[0], measures[1], fine.norm)
    return ScreenQueries(coarse, measures[2], measures[3], fine)


def few_queries(queries: Originals, basis: Basis, levels: int) -> FewQueries:
    """The same for one or two queries, which are not packed."""
    encoded: FewQueries = _encode_few(queries, levels, basis)
    return encoded


def first_unproved(vectors: np.ndarray, norm: np.ndarray, basis: Basis, screened: Screen) -> int:
    """The first of float32 rows (n, dims) for which (6) or (10) of ``bound.py`` does not hold, or −1."""
    matrix = basis.matrix.astype(np.float64)
    columns = matrix @ basis.leading.matrix.astype(np.float64)
    words = screened.leading.words
    for first in range(0, len(vectors), _BLOCK):
        rows = vectors[first : first + _BLOCK].astype(np.float64)
        here = slice(first, first + len(rows))
        units = np.divide(rows, norm[here, None], out=rows, where=norm[here, None] > 0.0)
        codes, scale, tail, _, _ = (part[here] for part in screened.encoded)
        rest, slack = _rests(units, matrix, codes, scale)
        proved = (rest <= tail) & (slack <= screened.slack[here]) | (tail >= _PASSES)
        if len(words):
            scale = (words[here] & np.uint32(0xFFFF0000)).view(np.float32)
            reach = (words[here] << np.uint32(16)).view(np.float32)
            rest, slack = _rests(units, columns, screened.leading.codes[here], scale)
            within = (slack <= _MOST_SLACK) & (rest + _SHARE * slack <= reach)
            proved &= within | (reach >= _PASSES)
        if not proved.all():
            return first + int(proved.argmin())
    return -1


def _rests(
    units: np.ndarray, matrix: np.ndarray, codes: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """‖u − Vĥ‖ and ‖Vᵀu − Mĥ‖ of unit rows u, in float64."""
    skewed = matrix.T @ matrix - np.eye(matrix.shape[1])
    coded = scale[:, None].astype(np.float64) * (codes.astype(np.float64) - 128.0)
    within, back = units @ matrix, coded + coded @ skewed
    squares = np.square(units).sum(axis=1) + (coded * (back - 2.0 * within)).sum(axis=1)
    return np.sqrt(np.maximum(0.0, squares)), np.linalg.norm(within - back, axis=1)


@kernel
def _encode_rows(start, stop, vectors, stride, norms, columns, turned, errors, target):
    codes, scales, tails, slacks, leading_codes, words = target
    skew, error, leading_skew, leading_error = errors
    p, short = columns.strips * products.COLUMNS, len(words) > 0
    room = np.empty((2, products.BLOCK, p), np.float32)
    word = np.empty(2, np.float32)
    halves = word.view(np.uint32)
    for first in range(start, stop, products.BLOCK):
        count, h, g = min(products.BLOCK, stop - first), room[0].ctypes.data, room[1].ctypes.data
        products.multiply_rows(count, vectors + first * stride, stride, 4, columns, h, 4 * p)
        if short:
            products.multiply_rows(count, h, 4 * p, 4, turned, g, 4 * p)
        for i in range(first, first + count):
            at, norm, apart = 4 * p * (i - first), norms[i], norms[i] > 0.0 and not _in_range(norms[i])
            code = codes.ctypes.data + i * codes.strides[0]
            step, tail, slack, length = _code(h + at, p, norm, _LEVELS, skew, error, code, False)
            scales[i], tails[i] = step, (_PASSES if apart else tail) + MEASURED_SLACK
            slacks[i] = (0.0 if apart else slack + skew * length) + MEASURED_SLACK
            if short:
                code = leading_codes.ctypes.data + i * leading_codes.strides[0]
                step, tail, slack, length = _code(
                    g + at, LEADING, norm, _LEVELS, leading_skew, leading_error, code, True
                )
                slack += leading_skew * length + MEASURED_SLACK
                reach = tail + MEASURED_SLACK + _SHARE * slack
                if apart or slack > _MOST_SLACK:
                    _code_nothing(code, LEADING)
                    step, reach = 0.0, _PASSES
                word[0], word[1] = step, _rounded_up(reach)
                words[i] = halves[0] | (halves[1] >> np.uint32(16))


@kernel
def _encode_queries(start, stop, queries, stride, norms, columns, levels, skew, error, codes, measures):
    p = columns.strips * products.COLUMNS
    room = np.empty((products.BLOCK, p), np.float32)
    for first in range(start, stop, products.BLOCK):
        count, h = min(products.BLOCK, stop - first), room.ctypes.data
        products.multiply_rows(count, queries + first * stride, stride, 4, columns, h, 4 * p)
        for q in range(first, first + count):
            at = h + 4 * p * (q - first)
            scale, error_of_code, tail, length = _query_measures(
                at, p, norms[q], levels, skew, error, codes.ctypes.data + q * codes.strides[0]
            )
            measures[0, q], measures[1, q] = scale, error_of_code
            measures[2, q], measures[3, q] = tail, length


@inline
def _query_measures(products_at, p, norm, levels, skew, error, codes):
    """Code a query; return its t, δ, τ and at least ‖ĝ‖."""
    step, tail, slack, length = _code(products_at, p, norm, levels, skew, error, codes, False)
    if norm > 0.0 and not _in_range(norm):  # every row passes
        tail, slack = 1.0, 8.0
    scale = step if step > 0.0 else 1.0
    return scale, slack + MEASURED_SLACK, tail + MEASURED_SLACK, length + MEASURED_SLACK


@inline
def _in_range(norm):
    """Whether products with a row of this norm are within the range of float32."""
    return 2.0**-60 < norm < 2.0**60


@inline
def _code(row, p, norm, levels, skew, error, codes, short):
    """Code a row's p products with a basis; return s, ρ, E + π and ‖ĥ‖, as (6) has them, without slack.

    ``short``: the scale has 8 binary digits.
    """
    unit = 0.0 if norm == 0.0 else 1.0
    if not _in_range(norm):
        _code_nothing(codes, p)
        return 0.0, unit, error, 0.0
    largest = simd.zero()
    for d in range(0, p, simd.LANES):
        largest = simd.maximum(simd.absolute(simd.load(row + 4 * d)), largest)
    most = np.float64(simd.tree_max(largest)) / norm
    step = np.float64(np.float32(most / levels)) if most > _LEAST else 0.0
    if short:
        step = _rounded_up(step)
    factor = simd.broadcast(np.float32(1.0 / (step * norm)) if step > 0.0 else np.float32(0.0))
    sums, inner_sums, code_sums = simd.zero_wide(), simd.zero_wide(), simd.zero()
    for d in range(0, p, simd.LANES):
        value = simd.load(row + 4 * d)
        code, wide = simd.nearest(simd.mul(value, factor)), simd.widen(value)
        simd.store_codes(codes + d, code)
        sums = simd.add_product(sums, wide, wide)
        inner_sums = simd.add_product(inner_sums, wide, simd.widen(code))
        code_sums = simd.add(code_sums, simd.mul(code, code))  # exact: integers below 2²⁴
    total = simd.tree_sum(sums) / (norm * norm)
    inner, squares = step * (simd.tree_sum(inner_sums) / norm), 0.0
    squares = step * step * np.float64(simd.tree_sum_narrow(code_sums))
    length, rest = np.sqrt(squares), np.sqrt(max(0.0, total - 2.0 * inner + squares))
    tail = np.sqrt(max(0.0, unit - 2.0 * inner + 2.0 * error * length + (1.0 + skew) * squares))
    if tail > 1.0:  # then nothing at all stands for the row as well
        _code_nothing(codes, p)
        return 0.0, 1.0, np.sqrt(total) + error, 0.0
    return step, tail, rest + error, length


@inline
def _code_nothing(codes, p):
    for d in range(0, p, simd.LANES):
        simd.store_codes(codes + d, simd.zero())


@inline
def _rounded_up(value):
    """A number that is not negative as one of 8 binary digits, not below it."""
    digits, exponent = math.frexp(value)
    return math.ldexp(math.ceil(digits * 256.0) / 256.0, exponent)


@kernel
def _encode_few(originals, levels, basis):
    return encode_few(originals, levels, basis)


@inline
def encode_few(originals, levels, basis):
    """``FewQueries`` for a few queries."""
    room = encode.few_room(len(originals.squares), originals.dims)
    encode.encode_few(originals, levels, room)
    m, leading = len(originals.squares), basis.leading
    within = np.empty((m, basis.matrix.shape[1]), np.float32)
    for i in range(m):
        _add_products(originals.queries + i * originals.stride, basis.matrix, within[i])
    whole = _code_few(within, room.queries, levels, basis.skew, basis.error)
    if leading.matrix.shape[1] == 0:
        return FewQueries(whole, whole)
    turned = np.empty((m, LEADING), np.float32)
    for i in range(m):
        _add_products(within[i].ctypes.data, leading.matrix, turned[i])
    first = _code_few(turned, room.queries, levels, leading.skew, leading.error)
    for i in range(m):  # a reach holds ρ + 3η: this times it is τρ + ‖ĝ‖η, or more
        first.tail[i] = max(first.tail[i], first.length[i] / _SHARE)
        first.length[i] = 0.0
    return FewQueries(whole, first)


@inline
def _add_products(row, matrix, products):
    """The products of a row of float32, at an address, with the columns of a matrix, a multiple of 64."""
    columns, stride, target = matrix.ctypes.data, matrix.strides[0], products.ctypes.data
    for j in range(0, 4 * matrix.shape[1], 256):
        left, right = simd.zero(), simd.zero()
        for d in range(len(matrix)):
            ahead = columns + (d + _AHEAD_COLUMNS) * stride + j
            for line in range(0, 256, 64):
                simd.prefetch_near(ahead + line)
            value, at = simd.broadcast(simd.load_scalar(row + 4 * d)), columns + d * stride + j
            left = simd.multiply_add(value, simd.load(at), left)
            right = simd.multiply_add(value, simd.load(at + 128), right)
        simd.store(target + j, left)
        simd.store(target + j + 128, right)


@inline
def _code_few(within, fine, levels, skew, error):
    m, p = within.shape
    room, tail, length = encode.few_room(m, p), np.empty(m), np.empty(m)
    coded, signed = room.encoded, room.queries
    for q in range(m):
        at, code = within[q].ctypes.data, coded.codes.ctypes.data + q * p
        coded.scale[q], coded.error[q], tail[q], length[q] = _query_measures(
            at, p, fine.norm[q], levels, skew, error, code
        )
    encode.sign_few(coded.codes, coded.scale, coded.error, signed.correction, signed.scale, signed.error)
    packed = Queries(signed.codes, signed.packed, signed.correction, signed.scale, signed.error, fine.norm)
    return ScreenQueries(packed, tail, length, fine)


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
    set_thresholds(metric, queries, state, limits)


@inline
def set_thresholds(metric, queries, state, limits):
    """θ and w of every query, from what they depend on besides it: see ``stages.py``."""
    for q in range(len(queries.tail)):
        state.threshold[q], state.weight[q] = _theta(metric, q, queries, state.root[q], limits)


@inline
def leading_terms(metric, chunk, count, rows, scale, margin):
    """``tiles.row_terms`` of leading codes, and the limits of their thresholds."""
    norms, norm = rows.coarse.norm[chunk : chunk + count], 1.0
    if metrics.by_length(metric):
        norm = largest_norm(norms.ctypes.data, count)
    power = math.ldexp(1.0, -math.frexp(norm)[1])
    words, whole = rows.leading.words[chunk : chunk + count], count - count % 16
    for j in range(0, whole, 16):
        at = 4 * j
        simd.store_halves(words.ctypes.data + at, scale.ctypes.data + at, margin.ctypes.data + at)
    last = np.zeros(48, np.uint32)
    for j in range(whole, count):
        last[j - whole] = words[j]
    simd.store_halves(last.ctypes.data, last[16:].ctypes.data, last[32:].ctypes.data)
    halves = last.view(np.float32)
    for j in range(whole, count):
        scale[j], margin[j] = halves[16 + j - whole], halves[32 + j - whole]
    largest = np.float64(largest_error(margin.ctypes.data, count))
    if metrics.by_length(metric):
        for j in range(count):
            unit, reach = np.float64(scale[j]), np.float64(margin[j])
            scale[j], margin[j] = metrics.row_terms(metric, unit, reach, norms[j], power)
    if len(rows.coarse.allowed) > 0:
        first, nothing = rows.coarse.base + chunk, np.float32(-np.inf)
        allowed = rows.coarse.allowed[first : first + count]
        for j in range(count):  # as in ``tiles.row_terms``
            margin[j] = margin[j] if allowed[j] else nothing
    for j in range(count, count + SPARE_ROWS):
        scale[j], margin[j] = 0.0, -np.inf
    return power, largest, norm * power, _MOST_SLACK, rows.leading_skew


@inline
def narrow(scorer, metric, rows, queries, state):
    """Of the hits since the last drain, by leading codes, keep those that reach the threshold by all codes.

    Hits are anywhere in memory: it is asked for well before it is read, that of full codes as well.
    """
    coarse, packed, fine = rows.coarse, queries.coarse, rows.fine
    codes, stride, width = coarse.codes.ctypes.data, coarse.codes.strides[0], packed.codes.shape[1]
    full, full_stride = fine.codes.ctypes.data, fine.codes.strides[0]
    scale, tail, slack = coarse.scale.ctypes.data, coarse.error.ctypes.data, rows.slack.ctypes.data
    first, count = state.cursor[DRAINED], state.cursor[COUNT]
    kept = first
    for ahead in range(first, count + _AHEAD_SHORT):
        if ahead < count:
            i = state.row[ahead]
            refine.prefetch_bytes(codes + i * stride, width)
            simd.prefetch(scale + 4 * i)
            simd.prefetch(tail + 4 * i)
            simd.prefetch(slack + 4 * i)
        z = ahead - _AHEAD_SHORT
        if z < first:
            continue
        q, i = np.int64(state.query[z]), state.row[z]
        query, at = packed.codes.ctypes.data + q * width, codes + i * stride
        target = state.score.ctypes.data + 4 * z
        scorers.call_row(scorer, at, stride, 1, query, width, packed.correction[q], target)
        off = np.float64(rows.slack[i])
        cosine = np.float64(state.score[z]) * (packed.scale[q] * np.float64(coarse.scale[i]))
        error = packed.error[q] * (1.0 + rows.skew + off) + queries.length[q] * off
        error += queries.tail[q] * np.float64(coarse.error[i])
        if metrics.interval(metric, cosine, error, packed.norm[q], coarse.norm[i])[1] >= state.root[q]:
            state.query[kept], state.row[kept] = q, i
            kept += 1
            refine.prefetch_bytes(full + i * full_stride, queries.fine.codes.shape[1])
            simd.prefetch(fine.scale.ctypes.data + 4 * i)
            simd.prefetch(fine.error.ctypes.data + 4 * i)
            simd.prefetch(fine.norm.ctypes.data + 8 * i)
    state.cursor[NARROWED] += count - first
    state.cursor[COUNT] = kept


def _drain(stage, scorer, metric, asked, state, limits):
    """Full integer scores of the rows that passed, and their intervals; thresholds raised.

    Every pair that passes a screen costs more than one of a tile, so thresholds are kept as high as they can
    be: a row that probably raises one gets its exact score, once its memory has had time to arrive.
    """
    rows, queries, exclusions, originals = asked
    start, fine, packed = state.cursor[DRAINED], rows.fine, queries.fine
    codes, stride, width = fine.codes.ctypes.data, fine.codes.strides[0], packed.codes.shape[1]
    kept, at_hand = start, refine.at_hand(originals)
    state.cursor[PASSED] += state.cursor[COUNT] - start
    for z in range(start, state.cursor[COUNT]):
        if z + _AHEAD < state.cursor[COUNT]:
            refine.prefetch_bytes(codes + state.row[z + _AHEAD] * stride, width)
        q, i = np.int64(state.query[z]), state.row[z]
        query, at = packed.codes.ctypes.data + q * width, codes + i * stride
        target = state.score.ctypes.data + 4 * z
        scorers.call_row(scorer, at, stride, 1, query, width, packed.correction[q], target)
    for z in range(start, state.cursor[COUNT]):
        q, i = np.int64(state.query[z]), state.row[z]
        cosine = np.float64(state.score[z]) * (packed.scale[q] * np.float64(fine.scale[i]))
        error = cosine_error(packed.error[q], np.float64(fine.error[i]))
        lower, upper = metrics.interval(metric, cosine, error, packed.norm[q], fine.norm[i])
        if upper < state.root[q] or excluded(exclusions, q, fine.base + i):
            continue
        if at_hand and lower + upper > 2.0 * state.root[q]:
            refine.prefetch_bytes(address(originals.vectors, fine.base + i), 4 * originals.dims)
        state.query[kept], state.row[kept] = q, fine.base + i
        state.lower[kept], state.upper[kept] = lower, upper
        kept += 1
    if state.floor.shape[1] > 0:
        for z in range(start, kept):
            q = np.int64(state.query[z])
            if at_hand and state.lower[z] + state.upper[z] > 2.0 * state.root[q]:
                at, x = originals.queries + q * originals.stride, address(originals.vectors, state.row[z])
                score = refine.exact(metric, at, originals.squares[q], x, originals.dims)
                refine.checked(score, state.lower[z], state.upper[z], state.row[z], state.cursor)
                state.lower[z], state.upper[z] = score, score
            if state.lower[z] > state.floor[q, 0]:
                raise_floor(state.floor[q], state.lower[z])
                if state.floor[q, 0] > state.root[q]:
                    state.root[q] = state.floor[q, 0]
                    state.threshold[q] = _theta(metric, q, queries, state.root[q], limits)[0]
    log.drained(state, kept)


def _saw(stage, state, pairs):
    state.cursor[SEEN] += pairs


def _gives_up(stage, rows, state):
    seen = state.cursor[SEEN]
    if state.cursor[NARROWED] > rows.most_leading * seen + _PATIENCE:
        return True
    return state.cursor[PASSED] > rows.most * seen + _PATIENCE


STAGE = Stage("screen", _codes, _packed, _limits, _set_thresholds, _drain, _saw, _gives_up)
