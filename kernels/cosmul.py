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

from . import metrics, rows, simd, threads
from .analogy import Questions
from .compile import inline, kernel
from .filters import Exclusions, excluded
from .matrix import Matrix, address
from .topk import Heaps, merge, new_heaps, push

_ROWS = 32
_VALUES = 1 << 22
"""Entries of input words, about, that are held at a time for each of a question's inputs."""

_EPSILON = 0.001
"""The denominator never vanishes (Levy and Goldberg 2014, section 6)."""


class Inputs(NamedTuple):
    """The input words of some questions."""

    words: np.ndarray
    """int64: their rows, each once."""
    units: np.ndarray
    """float32 (words + 3, dims): those rows, of unit length."""
    squares: np.ndarray
    """float64: their Σ x²."""


def multiply(
    questions: Questions,
    given: Matrix,
    vectors: Matrix,
    dims: int,
    allowed: np.ndarray,
    exclusions: Exclusions,
    scores: np.ndarray,
    indices: np.ndarray,
    num_threads: int,
) -> None:
    """Write the ranking of each question over all ``vectors``, which are finite. Threads share them.

    The rows of the questions are rows of ``given``: of ``vectors`` itself, or of another matrix.
    """
    at_once = min(8192, max(64, _VALUES // dims))
    for first in range(0, len(scores), at_once):
        last = min(first + at_once, len(scores))
        filters = (allowed, exclusions.part(first, last))
        part, k = questions.part(first, last), scores.shape[1]
        found = _rank_group(part, given, vectors, dims, filters, k, num_threads)
        merge(found, np.arange(first, last), scores, indices)


def _rank_group(
    questions: Questions,
    given: Matrix,
    vectors: Matrix,
    dims: int,
    filters: tuple[np.ndarray, Exclusions],
    k: int,
    num_threads: int,
) -> list[Heaps]:
    words, place = np.unique(questions.rows, return_inverse=True)
    numbered = questions._replace(rows=place.reshape(-1))

    units, squares = np.zeros((len(words) + 3, dims), np.float32), np.empty(len(words))
    _unit_words(words, given, dims, units, squares)
    inputs = Inputs(words, units, squares)
    work = dims * len(words) + 4 * len(questions.rows)

    def part(run: tuple[int, int]) -> Heaps:
        heaps = new_heaps(len(questions.middle), min(k, run[1] - run[0]))
        for begin, end, *block in vectors.runs(*run):
            for some in threads.paced(begin, end, _ROWS, work, run[1] - run[0]):
                _rank_products(*some, *block, numbered, inputs, given, dims, *filters, *heaps)
        return heaps

    return threads.run(part, rows.split(vectors.rows, num_threads, _ROWS), num_threads)


@kernel
def _unit_words(words, given, dims, units, squares):
    """The words' rows, of unit length, and their Σ x²."""
    for w in range(len(words)):
        squares[w] = _unit(address(given, words[w]), dims, units[w])


@kernel
def _rank_products(
    start, stop, origin, stride, questions, inputs, given, dims, allowed, exclusions, best, ranked, sizes
):
    words, units, squares = inputs
    columns, own, unit = np.zeros((dims, _ROWS), np.float32), np.empty(_ROWS), np.empty(dims, np.float32)
    halves = np.empty((len(words) + 3, _ROWS), np.float32)
    roots = np.zeros(len(sizes), np.float32)
    for i in range(len(sizes)):
        roots[i] = _root(questions, i, best[i], sizes[i])
    places = questions.rows.ctypes.data
    error = np.float32((1.01 * dims + 16) * 2.0**-25)
    for block in range(start, stop, _ROWS):
        count = min(_ROWS, stop - block)
        within = _allowed_bits(allowed, block, count)
        if within == 0:
            continue
        for j in range(count):
            own[j] = _unit(origin + (block + j) * stride, dims, unit)
            for d in range(dims):
                columns[d, j] = unit[d]
        _fill_halves(units, columns, halves)
        for i in range(len(sizes)):
            first, middle, last = questions.offsets[i], questions.middle[i], questions.offsets[i + 1]
            runs = (places + 8 * first, places + 8 * middle, places + 8 * last)
            bits = _may_enter(*runs, halves.ctypes.data, error, roots[i]) & within
            if bits == 0:
                continue
            while bits != 0:
                j = simd.trailing_zeros(bits)
                bits &= bits - 1
                row = block + j
                if excluded(exclusions, i, row):
                    continue
                score = _score(questions, i, words, squares, given, origin + row * stride, own[j], dims)
                sizes[i] = push(best[i], ranked[i], sizes[i], score, row)
            roots[i] = _root(questions, i, best[i], sizes[i])


@inline
def _unit(x, dims, unit):
    """Write a row of length one, zero for a zero row; return Σ x²."""
    squares = rows.sum_of_squares(x, dims)
    rows.write_scaled(x, rows.inverse_norm(squares), dims, unit.ctypes.data)
    return squares


@inline
def _allowed_bits(allowed, block, count):
    bits = (1 << count) - 1
    if len(allowed) > 0:
        for j in range(count):
            if not allowed[block + j]:
                bits &= ~(1 << j)
    return bits


@inline
def _fill_halves(units, columns, halves):
    """(1 + c)/2 of all words with the rows of a block, four words at a time."""
    dims, half = columns.shape[0], simd.broadcast(np.float32(0.5))
    for w in range(0, units.shape[0] - 3, 4):
        a, b, c, d = simd.zero(), simd.zero(), simd.zero(), simd.zero()
        at = columns.ctypes.data
        for z in range(dims):
            column = simd.load(at + 128 * z)
            a = simd.multiply_add(simd.broadcast(units[w, z]), column, a)
            b = simd.multiply_add(simd.broadcast(units[w + 1, z]), column, b)
            c = simd.multiply_add(simd.broadcast(units[w + 2, z]), column, c)
            d = simd.multiply_add(simd.broadcast(units[w + 3, z]), column, d)
        out = halves.ctypes.data + 128 * w
        simd.store(out, simd.multiply_add(a, half, half))
        simd.store(out + 128, simd.multiply_add(b, half, half))
        simd.store(out + 256, simd.multiply_add(c, half, half))
        simd.store(out + 384, simd.multiply_add(d, half, half))


@inline
def _root(questions, i, best, size):
    """What a row must reach to enter a heap, lowered; 0 where any may."""
    if size < best.shape[0] or best[0] < 2.0**-90:
        return np.float32(0.0)
    factors = questions.offsets[i + 1] - questions.offsets[i]
    return np.float32(max(0.0, best[0] * (1.0 - (factors + 4) * 2.0**-22)))


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
def _score(questions, i, words, squares, given, x, own, dims):
    """The exact score: factors in the order given, never fused."""
    above, below = 1.0, 1.0
    for z in range(questions.offsets[i], questions.offsets[i + 1]):
        w = questions.rows[z]
        product = rows.dot(address(given, words[w]), x, dims)
        half = (1.0 + metrics.score("cosine", product, squares[w], own)) / 2.0
        if z < questions.middle[i]:
            above *= half
        else:
            below *= half
    return above / (below + _EPSILON)
