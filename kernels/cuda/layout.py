"""How codes and terms lie on the device, and the records by which kernels take them.

Rows, 16 at a time, in the order in which lanes of a warp hold them: one load of 16 bytes
a lane is a whole fragment, and a warp reads 512 consecutive bytes.

    rows      int32 [tile of 16 rows][step of 32 dims][lane][4 words]
              words: rows g and g + 8, dims 4t…; then the same rows, dims 16 + 4t…
    queries   int32 [tile of 8 queries][step][lane][2 words]
              words: query g, dims 4t… and 16 + 4t…               (g = lane / 4, t = lane % 4)

What the terms mean: ``terms.py``. A prefix of the dimensions is a prefix of every tile's steps.

A record holds arrays and numbers; a kernel takes it as one argument (``launches.py``).
"""

from typing import Any, NamedTuple

ROWS, QUERIES, STEP = 16, 8, 32
"""Rows and queries of a tile, dimensions of a step: the shape of one ``mma``."""

PANEL = 64
"""Rows with common terms in ``reach``; what is scanned begins and ends with whole panels."""

ROOT, WEIGHT, LOW_WEIGHT, SLACK, BY_LENGTH, BY_ERROR = range(6)
TERMS = 6

LOWEST, HIGHEST = -(2.0**126), 2.0**126
"""A root that every open row reaches, and one that no row reaches, because values are below 2⁸⁰."""

LOWERED = 2.0**-20
"""This share of a threshold's magnitude is more than its roundings in float32, fused or not."""

WRONG_QUERY, CHANGED_ROW = range(2)
"""Places in ``State.wrong``."""

NONE = 2**31 - 1
"""A row number larger than all others: no row is wrong."""


class Span(NamedTuple):
    """Rows, or tiles of rows, from ``first`` up to ``last``."""

    first: int
    last: int


class Floats(NamedTuple):
    """Float32 rows, one after another."""

    values: Any
    """float32, flat."""
    stride: int
    """The distance from the start of a row to the start of the next, in values."""


class Matrices(NamedTuple):
    """The queries and rows of which exact scores are computed."""

    queries: Floats
    vectors: Floats
    dims: int
    """Leading dimensions that are compared."""


class Fragments(NamedTuple):
    """Codes in the order of lanes."""

    codes: Any
    """int32, or the same bytes as int8 for the kernels that write them."""
    steps: int
    """The number of steps in a tile."""
    tile: int
    """The number of rows in a tile: ``ROWS`` or ``QUERIES``."""


class Measured(NamedTuple):
    """What encoding measures of rows or queries, as in ``kernels/encode.py``."""

    scale: Any
    """float32."""
    error: Any
    """float32."""
    norm: Any
    """float64."""


class Encoded(NamedTuple):
    """Measurements of the leading dimensions of encoded rows."""

    scale: Any
    error: Any
    norm: Any
    full_norm: Any
    """float64, the norm that the scale refers to: of all encoded dimensions."""
    power: float
    """P of ``terms.py``."""


class Terms(NamedTuple):
    """The terms of rows that the scan compares, for one metric and number of dimensions."""

    scale: Any
    """float32."""
    margin: Any
    """float32; −inf for a row that must not be an answer."""
    reach: Any
    """float32, two for each panel: the largest norm, and the largest norm times error, both times P."""


class Lanes(NamedTuple):
    """Terms of queries."""

    terms: Any
    """float32 [6][room], in the order of ``ROOT`` … ``BY_ERROR``."""
    room: int
    """Queries, in whole tiles of a warp."""


class Closed(NamedTuple):
    """Rows that are closed to single queries."""

    bits: Any
    """int32 [query][word], a bit for each row."""
    words: int
    """The number of words for each query; 0 if no row is closed."""


class Excluded(NamedTuple):
    """Rows that must not be answers to single queries."""

    numbers: Any
    """int64: m + 1 offsets, then the rows that they divide; runs of more than ``FEW`` rise."""
    m: int


class Filters(NamedTuple):
    """The rows that the exact pass over all rows leaves out."""

    margin: Any
    """As in ``Terms``."""
    closed: Closed
    excluded: Excluded


class Lists(NamedTuple):
    """A list of candidates for each query, in any order."""

    capacity: int
    """The number of entries for which a list has room."""
    lengths: Any
    """int32, of all lists. A length above the capacity says that the list overflowed."""
    rows: Any
    """int32 row numbers."""
    scores: Any
    """int32 scores of codes."""


class Candidates(NamedTuple):
    """The entries of all lists, one after another: int32 query numbers, row numbers and scores of codes."""

    queries: Any
    rows: Any
    scores: Any


class Ranking(NamedTuple):
    """The k best rows of each query, best first."""

    best: Any
    """float64 scores; −inf where there are fewer than k."""
    scores: Any
    """The same as float32."""
    rows: Any
    """int64 row numbers; −1 where there are fewer than k."""


class State(NamedTuple):
    """The arrays, int32, to which a search writes in addition to its candidates."""

    lengths: Any
    """[room], as in ``Lists``."""
    kept: Any
    """[room]: the number of entries that the last tightening kept of each list."""
    marks: Any
    """[chunks · m]: 1 where a query's list overflowed in a chunk."""
    wrong: Any
    """[2]: the first query that is not finite, and the first row that differs from its codes, or ``NONE``."""

    @classmethod
    def of(cls, state: Any, room: int) -> "State":
        """The parts of a flat array, of NumPy or of the device."""
        return cls(state[:room], state[room : 2 * room], state[2 * room : -2], state[-2:])
