"""3CosMul: the rows with the largest Π((1 + c⁺)/2) ÷ (Π((1 + c⁻)/2) + ε) of each question.

The score rises with every c⁺ and falls with every c⁻, so bounds of the cosines bound it.
Rows go by 32 at a time, in the lanes:

    columns   (dims, 32)     float32 entries of the block's unit rows
      |                      one product with every input word of all questions
    halves    (words, 32)    float32 (1 + c)/2, each within E of the exact one
      |                      a few products a question
    bits                     rows whose score may enter the question's heap
      |                      exact cosines, in float64
    heap

E: with u = 2⁻²⁴, rounding a unit row and a unit word to float32 changes their product by
at most 2u, and summing it by at most dims · u / (1 − dims · u) < 1.01 · dims · u, as dims
is at most 131,072; half of that, and u for rounding the half, is less than
(1.01 · dims + 16) · u/2.

The test of a question with f inputs is above ≥ root · (below + ε) in float32, of factors
half + E above and max(half − E, 0) below: at most 2f + 5 roundings, paid for by lowering
root by (f + 4) · 4u. Where root is so small that products near it could leave float32's
range, every row passes.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from . import metrics, rows, simd, threads
from .analogy import InputRows
from .compile import default_mode, inline, kernel
from .emit import offset, operation, repeat
from .filters import Filters, excluded
from .matrix import Matrix, address, row_at
from .topk import Heaps, merge, push, threshold

_ROWS = 32
_VALUES = 1 << 22
"""About how many entries of input words are held at a time for each of a question's inputs."""

_EPSILON = 0.001
"""The denominator never vanishes (Levy and Goldberg 2014, section 6)."""


class Words(NamedTuple):
    """The input words of questions, each once; the questions number them from 0."""

    rows: np.ndarray
    """int64: their rows in ``matrix``."""
    matrix: Matrix
    units: np.ndarray
    """float32 (words + 3, dims): those rows, of unit length."""
    squares: np.ndarray
    """float64: their Σ x²."""


def multiply(
    inputs: InputRows,
    source: Matrix,
    vectors: Matrix,
    dims: int,
    filters: Filters,
    scores: np.ndarray,
    indices: np.ndarray,
    num_threads: int,
) -> None:
    """Write the ranking of each question over all ``vectors``, which are finite. Threads share them.

    The inputs are rows of ``source``: of ``vectors`` itself, or of another matrix.
    """
    at_once = min(8192, max(64, _VALUES // dims))
    for first in range(0, len(scores), at_once):
        last = min(first + at_once, len(scores))
        part, k = inputs.part(first, last), scores.shape[1]
        heaps = _rank_group(part, source, vectors, dims, filters.part(first, last), k, num_threads)
        merge(heaps, np.arange(first, last), scores, indices)


def of_cosines(
    cosines: np.ndarray, first: np.ndarray, counts: np.ndarray, positive: np.ndarray
) -> np.ndarray:
    """The scores that ``multiply`` ranks by, of exact cosines: those of score i are the ``counts[i]`` from
    ``first[i]`` on, in the order given, and ``positive`` says which of them stand above the line."""
    above, below = np.ones(len(first)), np.ones(len(first))
    with default_mode():
        for z in range(counts.max(initial=0)):
            has = np.flatnonzero(counts > z)
            at = first[has] + z
            half = (1.0 + cosines[at]) / 2.0
            above[has] *= np.where(positive[at], half, 1.0)
            below[has] *= np.where(positive[at], 1.0, half)
        return above / (below + _EPSILON)


def _rank_group(
    inputs: InputRows,
    source: Matrix,
    vectors: Matrix,
    dims: int,
    filters: Filters,
    k: int,
    num_threads: int,
) -> list[Heaps]:
    numbers, place = np.unique(inputs.numbers, return_inverse=True)
    numbered = inputs._replace(numbers=place.reshape(-1))
    words = Words(numbers, source, np.zeros((len(numbers) + 3, dims), np.float32), np.empty(len(numbers)))
    _fill_words(words, dims)
    work = dims * len(numbers) + 4 * len(inputs.numbers)

    def part(run: tuple[int, int]) -> Heaps:
        heaps = Heaps.empty(len(inputs.middle), min(k, run[1] - run[0]))
        for begin, end, block in vectors.runs(*run):
            for start, stop in threads.paced(begin, end, _ROWS, work, run[1] - run[0]):
                _rank_products(start, stop, block, numbered, words, dims, filters, heaps)
        return heaps

    return threads.run(part, rows.split(vectors.rows, num_threads, _ROWS), num_threads)


@kernel
def _fill_words(words, dims):
    """Write the units and squares of words."""
    for w in range(len(words.rows)):
        words.squares[w] = _unit(address(words.matrix, words.rows[w]), dims, words.units[w])


@kernel
def _rank_products(start, stop, block, inputs, words, dims, filters, heaps):
    best, ranked, sizes = heaps
    exclusions = filters.exclusions
    columns, unit = np.zeros((dims, _ROWS), np.float32), np.empty(dims, np.float32)
    squares = np.empty(_ROWS)
    halves = np.empty((len(words.rows) + 3, _ROWS), np.float32)
    roots = np.zeros(len(heaps.sizes), np.float32)
    for i in range(len(roots)):
        roots[i] = _root(inputs, i, heaps)
    places = inputs.numbers.ctypes.data
    error = np.float32((1.01 * dims + 16) * 2.0**-25)
    for first_row in range(start, stop, _ROWS):
        count = min(_ROWS, stop - first_row)
        allowed_bits = _allowed_bits(filters.allowed, first_row, count)
        if allowed_bits == 0:
            continue
        for j in range(count):
            squares[j] = _unit(row_at(block, first_row + j), dims, unit)
            for d in range(dims):
                columns[d, j] = unit[d]
        _fill_halves(words.units, columns, halves)
        for i in range(len(roots)):
            first, last = places + 8 * inputs.offsets[i], places + 8 * inputs.offsets[i + 1]
            middle = places + 8 * inputs.middle[i]
            bits = _may_enter(first, middle, last, halves.ctypes.data, error, roots[i]) & allowed_bits
            if bits == 0:
                continue
            while bits != 0:
                j = simd.trailing_zeros(bits)
                bits &= bits - 1
                row = first_row + j
                if excluded(exclusions, i, row):
                    continue
                score = _score(inputs, i, words, row_at(block, row), squares[j], dims)
                sizes[i] = push(best[i], ranked[i], sizes[i], score, row)
            roots[i] = _root(inputs, i, heaps)


@inline
def _unit(x, dims, unit):
    """Write a row of length one, zero for a zero row; return Σ x²."""
    squares = rows.sum_of_squares(x, dims)
    rows.write_scaled(x, rows.inverse_norm(squares), dims, unit.ctypes.data)
    return squares


@inline
def _allowed_bits(allowed, first, count):
    """Bit j is set where row ``first`` + j is allowed."""
    bits = (1 << count) - 1
    if len(allowed) > 0:
        for j in range(count):
            if not allowed[first + j]:
                bits &= ~(1 << j)
    return bits


@inline
def _fill_halves(units, columns, halves):
    """(1 + c)/2 of all words with the rows of a block, four words at a time."""
    dims = columns.shape[0]
    for w in range(0, units.shape[0] - 3, 4):
        _fill_four(units.ctypes.data + 4 * dims * w, columns.ctypes.data, dims, halves.ctypes.data + 128 * w)


@operation(types.void, types.int64, types.int64, types.int64, types.int64)
def _fill_four(builder, words, columns, dims, halves):
    """(1 + c)/2 of four words, which share the loads of columns."""
    words_at = [offset(builder, words, builder.mul(dims, ir.Constant(dims.type, 4 * z))) for z in range(4)]

    def body(d, totals):
        column = simd.load.emit(builder, offset(builder, columns, d, 4 * _ROWS))
        values = [simd.load_scalar.emit(builder, offset(builder, word, d, 4)) for word in words_at]
        return [
            simd.multiply_add.emit(builder, simd.broadcast.emit(builder, value), column, total)
            for value, total in zip(values, totals, strict=True)
        ]

    zeros = [ir.Constant(simd.f32x32.ir, None)] * 4
    half = ir.Constant(simd.f32x32.ir, [0.5] * _ROWS)
    for z, cosine in enumerate(repeat(builder, ir.Constant(dims.type, 0), dims, 1, zeros, body)):
        value = simd.multiply_add.emit(builder, cosine, half, half)
        simd.store.emit(builder, offset(builder, halves, z, 4 * _ROWS), value)


@inline
def _root(inputs, i, heaps):
    """What a row must reach to enter a heap, lowered; 0 where any may."""
    worst = threshold(heaps, i)
    if worst < 2.0**-90:
        return np.float32(0.0)
    factors = inputs.offsets[i + 1] - inputs.offsets[i]
    return np.float32(max(0.0, worst * (1.0 - (factors + 4) * 2.0**-22)))


@inline
def _may_enter(first, middle, last, halves, error, root):
    """Bits of the rows of a block whose score can reach ``root``.

    The numbers of the words are at the addresses from ``first`` on, those below the line from
    ``middle`` on. (Addresses, as arrays are dear to pass and LLVM does not inline this.)
    """
    margin = simd.broadcast(error)
    above = below = simd.broadcast(np.float32(1.0))
    for z in range(first, middle, 8):
        above = simd.mul(above, simd.add(simd.load(halves + 128 * simd.load_long(z)), margin))
    for z in range(middle, last, 8):
        least = simd.sub(simd.load(halves + 128 * simd.load_long(z)), margin)
        below = simd.mul(below, simd.maximum(least, simd.zero()))
    reach = simd.mul(simd.broadcast(root), simd.add(below, simd.broadcast(np.float32(_EPSILON))))
    return simd.at_least(above, reach)


@inline
def _score(inputs, i, words, x, squares, dims):
    """The exact score: factors in the order given, never fused."""
    above, below = 1.0, 1.0
    for z in range(inputs.offsets[i], inputs.offsets[i + 1]):
        w = inputs.numbers[z]
        product = rows.dot(address(words.matrix, words.rows[w]), x, dims)
        half = (1.0 + metrics.score("cosine", product, words.squares[w], squares)) / 2.0
        if z < inputs.middle[i]:
            above *= half
        else:
            below *= half
    return above / (below + _EPSILON)
