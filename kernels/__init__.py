"""Compiled code: arrays in, arrays out. No argument checks, no files, no network.

The path of a search, top to bottom:

    vectors (n, dims) float32                queries (m, dims) float32
        |                                        |
     encode   8-bit codes, scale and             |  encode, then pack 16 queries
        |     measured error of every row        |  side by side
     screen   codes of fewer dimensions,         |
        |     where a sample shows a gain        |
        v                                        v
     scan     integer scores tile by tile (a micro-kernel), compared with the
        |     query's threshold; hits go to a log, proved intervals of their
        |     scores raise the threshold                     [bound.py: the proof]
        v
     rescore  exact float64 scores of the survivors, best upper bound first,
        |     until no interval reaches the k-th exact score
        v
     scores (m, k) float32, indices (m, k) int64

Rows that the screen cannot rule out go on to their full codes. A query that the bound cannot
help (too many survivors) is finished by ``direct``, the exact pass over all rows; small work goes
there at once [cost.py]. One or two queries over one block take all steps in one call [few.py].

    compile.py    how functions are compiled and cached, and specialized on names
    cpu.py        what this processor can do
    settings.py   environment variables of fastvec
    surroundings.py  switches of Numba that stand in the way
    threads.py    the pool, how many threads a call uses, and how it is interrupted
    reports.py    functions that receive how far a call is, and that kernels are compiled
    simd.py       explicit vectors for compiled code, 32 lanes wide
    emit.py       functions of compiled code that are written as LLVM instructions
    lanes.py      the loop over a row, for one row or several side by side
    float_mode.py  the floating-point mode of a thread
    native.py     records written down, so that one address stands for them
    stored.py     values computed when they are first needed, without a lock
    matrix.py     rows in one or more blocks of memory
    rows.py       sums over a row, norms, normalize, truncate, conversion
    metrics.py    the table of metrics: one record each
    sums.py       the steps of exact sums, for vectors and for scalars
    encode.py     rows to codes; queries packed for the micro-kernels
    direction.py  the same for rows that share a direction
    bound.py      the interval around a score, and why it holds
    screen.py     the screen: its basis, its codes, its thresholds
    seeds.py      thresholds before a scan
    stages.py     what a scan does by full codes, and by a screen
    scan.py       the walk over codes, by threads
    scorers.py    micro-kernels' functions by address, so that kernels are compiled once for all
    tiles.py      terms of rows, and the test of a tile against thresholds
    log.py        the log of hits: intervals, thresholds, what is dropped
    refine.py     exact scores of entries of the log
    few.py        the whole search for few queries
    filters.py    rows that a query may return
    rescore.py    survivors to exact answers; the certificate
    direct.py     the exact pass over all rows
    cost.py       which way is sooner
    topk.py       heaps in the total order
    selection.py  the k best of given scores
    ranking.py    the best of a buffer, and their order
    sort_keys.py  values of any type as keys, 64 at a time
    analogy.py    the input rows of questions, and their 3CosAdd targets
    cosmul.py     3CosMul: bounds, then exact scores
    dense/        the (m, n) matrix of cosines, one way to it a file
    text.py       lines and records of word2vec files to rows
    roofline.py   bare loops, whose time is a lower limit of a search's
    micro/        integer tile kernels, one instruction set a file
    cuda/         the same search on an NVIDIA device
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING or __name__ == "fastvec.kernels":
    from . import surroundings

    surroundings.check_loading()
else:
    # Python finds a checkout that it runs in as the package 'kernels', and Transformers looks for another
    # package of this name: it may be imported, and is empty.
    __path__ = []

    def __getattr__(name):
        if name.startswith("__"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        raise ImportError(
            f"this package is fastvec.kernels and cannot be used as {__name__!r}: "
            "a second copy of the kernels would not share its compiled code; use 'import fastvec.kernels'"
        )
