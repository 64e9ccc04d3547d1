"""How codes and terms lie on the device.

Rows, 16 at a time, in the order in which lanes of a warp hold them: one load of 16 bytes
a lane is a whole fragment, and a warp reads 512 bytes in a row.

    codes    int32 [tile of 16 rows][step of 32 dims][lane][4 words]
             words: rows g and g + 8, dims 4t…; then the same rows, dims 16 + 4t…
    queries  int32 [tile of 8 queries][step][lane][2 words]
             words: query g, dims 4t… and 16 + 4t…                (g = lane / 4, t = lane % 4)

    encoded         float32 scale and error, float64 norm of a row, as in ``kernels/encode.py``

    scale, margin   float32, terms of a row; the margin is −inf in a row that must not be found
    reach           float32, two a panel of 64 rows: the largest norm, and the largest norm
                    times error, both times P
    lanes           float32 [6][room]: terms of the queries, in the order below

    state           int32 [room] lengths of the queries' lists  [room] what was kept of them
                    [chunks][m] marks of lists that overflowed  [2] rows that are wrong: the first
                    query that is not finite, the first row that is not what was encoded

What they mean: ``terms.py``. A prefix of the dimensions is a prefix of every tile's steps.
"""

ROWS, QUERIES, STEP = 16, 8, 32
"""Rows and queries of a tile, dimensions of a step: the shape of one ``mma``."""

PANEL = 64
"""Rows with common terms in ``reach``; what is scanned begins and ends with whole panels."""

ROOT, WEIGHT, LOW_WEIGHT, SLACK, BY_LENGTH, BY_ERROR = range(6)
TERMS = 6

LOWEST, HIGHEST = -(2.0**126), 2.0**126
"""A root that every row reaches that is not closed, and one that none does: values are below 2⁸⁰."""

LOWERED = 2.0**-20
"""Of a threshold's magnitude: its roundings in float32, fused or not, and then some."""

WRONG_QUERY, CHANGED_ROW = -2, -1
"""Places in ``state``, from its end, of the rows that are wrong."""

NONE = 2**31 - 1
"""Row number that stands for none, where the first of some is sought."""
