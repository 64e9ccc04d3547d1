"""Lines of text, a word and numbers, to float32 rows; records of word2vec's binary format.

The text is passed by address. A number's digits are gathered in a 64-bit integer,
scaled by a power of ten in float64, and rounded to float32 only if everything within
that result's error rounds to the same. If a number is one of the rare others, or is not plain
decimal, its line is left to the caller (``UNSURE``).
"""

from typing import Any, NamedTuple

import numpy as np

from . import simd
from .compile import inline, kernel

READ, UNSURE, WRONG_WIDTH = 0, 1, 2
"""States of a line: its numbers are read, they may be rounded wrongly, or there are not ``dims`` of them."""

_NEWLINE, _RETURN, _TAB, _SPACE = 10, 13, 9, 32
_LARGEST_POWER = 64
_POWERS = np.array([float(f"1e{i}") for i in range(_LARGEST_POWER + 1)])
_MOST_DIGITS = 19
_LARGEST_EXPONENT = 1_000_000
"""All larger ones are as good as it."""
# At most four roundings, of digits, power, their product and what is made of it: each 2⁻⁵³.
_SLACK = 2.0**-50


@kernel
def count_lines(start, stop, text):
    """Newlines among bytes start to stop."""
    count = 0
    for at in range(text + start, text + stop):
        count += simd.load_unsigned(at) == _NEWLINE
    return count


class Lines(NamedTuple):
    """What lines are parsed to, in the order of the file."""

    vectors: np.ndarray
    """float32 (rows, dims)."""
    word_start: np.ndarray
    """int64: the byte of the text where the line's word begins."""
    word_stop: np.ndarray
    """int64: the byte past its end."""
    state: np.ndarray
    """uint8: ``READ``, ``UNSURE`` or ``WRONG_WIDTH``."""


@kernel
def parse_lines(start, stop, row, text, lines):
    """Parse the lines from byte ``start`` on, the first of which is ``row``; stop where the rows end.

    Words may hold spaces: the numbers are the last fields of a line.
    """
    rows, dims = lines.vectors.shape
    at = start
    while at < stop and row < rows:
        end = at
        while end < stop and simd.load_unsigned(text + end) != _NEWLINE:
            end += 1
        begin, word_stop, state = _numbers_begin(text, at, end, dims), at, WRONG_WIDTH
        if begin >= 0:
            word_stop = _skip_back(text, at, begin)
            if not _ends_in_number(text, at, word_stop):
                state = _parse_numbers(text, begin, end, dims, lines.vectors[row])
        lines.word_start[row], lines.word_stop[row], lines.state[row] = at, word_stop, state
        at, row = end + 1, row + 1


@inline
def _separates(byte):
    return byte in (_SPACE, _TAB, _RETURN)


@inline
def _skip_back(text, start, end):
    """``end``, less the separators before it."""
    while end > start and _separates(simd.load_unsigned(text + end - 1)):
        end -= 1
    return end


@inline
def _field_begins(text, start, end):
    while end > start and not _separates(simd.load_unsigned(text + end - 1)):
        end -= 1
    return end


@inline
def _numbers_begin(text, start, end, dims):
    """Where the last ``dims`` fields of a line begin; −1 if there is no separator before them."""
    for _ in range(dims):
        end = _skip_back(text, start, end)
        end = _field_begins(text, start, end)
    return end if end > start else -1


@inline
def _ends_in_number(text, start, end):
    """Whether a word of several fields ends in a number: then the line has more than ``dims`` numbers."""
    begin = _field_begins(text, start, end)
    return begin > start and _number(text, begin, end)[1] == end


@inline
def _parse_numbers(text, at, end, dims, row):
    for d in range(dims):
        while _separates(simd.load_unsigned(text + at)):
            at += 1
        value, after, sure = _number(text, at, end)
        if not sure or (after < end and not _separates(simd.load_unsigned(text + after))):
            return UNSURE
        row[d] = value
        at = after
    return READ


@inline
def _number(text, at, end):
    """A float32, where its text ends (−1: it is not decimal), and whether it is certain."""
    negative = False
    if at < end and (simd.load_unsigned(text + at) == 45 or simd.load_unsigned(text + at) == 43):
        negative = simd.load_unsigned(text + at) == 45
        at += 1
    digits: Any = np.uint64(0)
    taken, power, seen, point = 0, 0, False, False
    while at < end:
        byte = simd.load_unsigned(text + at)
        if 48 <= byte <= 57:
            seen = True
            if taken < _MOST_DIGITS:
                digits = digits * np.uint64(10) + np.uint64(byte - 48)
                taken += digits > np.uint64(0)
                power -= point
            else:
                power += not point
        elif byte == 46 and not point:
            point = True
        else:
            break
        at += 1
    if not seen:
        return np.float32(0.0), -1, False
    if at < end and (simd.load_unsigned(text + at) | 32) == 101:
        exponent, at = _exponent(text, at + 1, end)
        if at < 0:
            return np.float32(0.0), -1, False
        power += exponent
    value, sure = _scaled(digits, power)
    return (-value if negative else value), at, sure


@inline
def _exponent(text, at, end):
    negative = False
    if at < end and (simd.load_unsigned(text + at) == 45 or simd.load_unsigned(text + at) == 43):
        negative = simd.load_unsigned(text + at) == 45
        at += 1
    begin, exponent = at, 0
    while at < end and 48 <= simd.load_unsigned(text + at) <= 57:
        exponent = min(exponent * 10 + simd.load_unsigned(text + at) - 48, _LARGEST_EXPONENT)
        at += 1
    return (-exponent if negative else exponent), (at if at > begin else -1)


@inline
def _scaled(digits, power):
    """digits · 10^power as float32, and whether that is certain to be the nearest."""
    if digits == np.uint64(0):
        return np.float32(0.0), True
    if not -_LARGEST_POWER <= power <= _LARGEST_POWER:
        return np.float32(0.0), False
    value = np.float64(digits)
    value = value * _POWERS[power] if power >= 0 else value / _POWERS[-power]
    low, high = np.float32(value * (1.0 - _SLACK)), np.float32(value * (1.0 + _SLACK))
    return low, low == high and high < np.inf


@kernel
def scan_records(text, start, size, rows, dims, word_start, word_stop):
    """Find binary records, each a word, a space and ``dims`` float32; return how many are complete.

    A record's vector begins at ``word_stop`` + 1, past the space.
    """
    at = start
    for row in range(rows):
        while at < size and simd.load_unsigned(text + at) == _NEWLINE:
            at += 1
        word_start[row] = at
        while at < size and simd.load_unsigned(text + at) != _SPACE:
            at += 1
        word_stop[row] = at
        at += 1 + 4 * dims
        if at > size:
            return row
    return rows


@kernel
def gather_records(start, stop, text, dims, word_stop, vectors):
    """Copy the vectors of binary records to rows."""
    for row in range(start, stop):
        at = text + word_stop[row] + 1
        for d in range(dims):
            vectors[row, d] = simd.load_like(vectors, at + 4 * d)


@kernel
def gather_words(text, word_start, word_stop, joined, between):
    """Copy the words one after another, with the byte ``between`` after each."""
    into = 0
    for row in range(len(word_start)):
        for at in range(text + word_start[row], text + word_stop[row]):
            joined[into] = simd.load_unsigned(at)
            into += 1
        joined[into] = between
        into += 1
