"""The one place that weighs ways to compute the same answer, and the constants that it weighs them with.

There are two kinds of rule. ``scan_pays`` compares two sums of work: terms that grow with the numbers of
rows, queries and dimensions, each times a weight. One unit of work is the time in which all threads together
read one float32 of the vectors. The other rules compare a size with a border.

``python bench/fit_cost.py`` says where the constants come from: it times both ways over a grid of sizes, on
the machine that it runs on, in under three minutes. It fits weights by nonnegative least squares of relative
errors, takes the border whose choices lose the least time, and prints them beside the constants below, with
the time that each choice loses against the quicker way. The constants below are compromises over several
processors, with and without AVX-512 and AMX, so one machine's fit is not by itself a reason to change them.

No constant changes what a search answers; a dense matrix of cosines is rounded as its way computes it.
"""

import operator
from collections.abc import Sequence
from typing import NamedTuple

from .micro.record import MicroKernel


class DirectWeights(NamedTuple):
    """What the direct float32 pass takes, in units."""

    row: float
    """For each row."""
    entry: float
    """For each row and dimension: reading it."""
    pair: float
    """For each row and query."""
    product: float
    """For each row, query and dimension."""


class ScanWeights(NamedTuple):
    """What encoding rows and scanning their codes takes, in units."""

    call: float
    """For each call, whatever its size: preparing, draining, rescoring."""
    row: float
    """For each row."""
    entry: float
    """For each row and dimension: encoding it."""
    product: float
    """For each row, query and dimension, by a micro-kernel of speed 1."""


DIRECT = DirectWeights(row=33.0, entry=1.0, pair=20.0, product=0.15)
SCAN = ScanWeights(call=float(1 << 22), row=780.0, entry=1.67, product=0.25)


def direct_terms(n: int, m: int, dims: int) -> tuple[float, float, float, float]:
    """What ``DirectWeights`` are multiplied by for m queries over n rows."""
    return n, n * dims, n * m, n * m * dims


def scan_terms(n: int, m: int, dims: int, speed: float) -> tuple[float, float, float, float]:
    """What ``ScanWeights`` are multiplied by for m queries over n rows, and a micro-kernel's ``speed``."""
    return 1.0, n, n * dims, n * m * dims / speed


def scan_pays(
    n: int,
    m: int,
    dims: int,
    k: int,
    kernel: MicroKernel,
    *,
    encoded: bool,
    weights: tuple[DirectWeights, ScanWeights] = (DIRECT, SCAN),
) -> bool:
    """Whether m queries over n rows are sooner done by a scan than by the direct pass.

    Rows that are encoded are scanned however few they are: only a scan notices vectors
    that were changed behind their codes.
    """
    if 8 * k > n:  # so large a k leaves the bound little to discard
        return False
    if encoded:
        return True
    direct, scan = weights
    return _work(scan, scan_terms(n, m, dims, kernel.speed)) < _work(direct, direct_terms(n, m, dims))


def _work(weights: Sequence[float], terms: Sequence[float]) -> float:
    total: float = sum(map(operator.mul, weights, terms))
    return total


class ScanThreads(NamedTuple):
    """The work of a scan that another thread is worth: waking one takes as long."""

    codes: int
    """Bytes of codes that it reads."""
    queries: int
    """Queries whose products take as long as reading the codes once."""


class ScreenWeights(NamedTuple):
    """What a scan by a screen takes; the share that passes is that of a sample of the rows."""

    pair: float
    """For each pair of query and row: comparing its score with the threshold."""
    seeds: float
    """For each query: finding its first threshold."""
    passed: float
    """For each pair that passes: finding its full codes and its place."""
    entry: float
    """For each pair that passes, and each dimension: its full score."""
    late: float
    """How many times as many pairs pass as in the sample, because thresholds rise during the scan."""
    gain: float
    """A screen pays if it takes at most this share of the time of a scan without one."""


SCREEN = ScreenWeights(pair=4.0, seeds=600_000.0, passed=1100.0, entry=0.9, late=3.0, gain=0.7)
"""For many queries, in multiply-adds of a micro-kernel of speed 1."""
SCREEN_FEW = ScreenWeights(pair=100.0, seeds=0.0, passed=6000.0, entry=1.0, late=1.0, gain=0.6)
"""For few queries, in bytes of codes: these take as long as reading the codes does. Full codes of single rows
come from memory one by one."""


def screen_price(n: int, dims: int, width: int, share: float, kernel: MicroKernel, *, few: bool) -> float:
    """What a scan of n rows by a screen of ``width`` dimensions that a ``share`` passes takes.

    At most 1 if the screen pays.
    """
    speed, weights = _screen_weights(kernel, few)
    passing = share * weights.late * (weights.passed + weights.entry * dims)
    price = width / speed + weights.pair + weights.seeds / n + passing
    return price / (dims / speed + weights.pair) / weights.gain


class ScreenBuilding(NamedTuple):
    """What making a screen takes, in multiply-adds of a micro-kernel of speed 1."""

    call: float
    """For each screen: the sample, its directions."""
    row: float
    """For each row: finding the neighbors of pivots among them, by a micro-kernel."""
    product: float
    """For each row, dimension and dimension of the screen: a float32 product."""


SCREEN_BUILDING = ScreenBuilding(call=4.5e9, row=9e4, product=0.5)
"""Half as much again as it takes, so that a search that guesses wrong loses little."""


def screen_building_pays(
    n: int,
    m: int,
    dims: int,
    width: int,
    price: float,
    kernel: MicroKernel,
    *,
    weights: ScreenBuilding = SCREEN_BUILDING,
) -> bool:
    """Whether a search of n rows for m queries spares more by a screen than making it takes.

    ``price`` is that of ``screen_price`` for many queries.
    """
    making = weights.call + n * (weights.row + weights.product * dims * width)
    spared = (1.0 - price * SCREEN.gain) * (dims / kernel.speed + SCREEN.pair) * n * m
    return spared > making


def screen_limit(dims: int, width: int, kernel: MicroKernel, *, few: bool) -> float:
    """The share of passing pairs with which a screen takes as long as a scan without one."""
    speed, weights = _screen_weights(kernel, few)
    return (dims - width) / speed / (weights.passed + weights.entry * dims)


def _screen_weights(kernel: MicroKernel, few: bool) -> tuple[float, ScreenWeights]:
    return (1.0, SCREEN_FEW) if few else (kernel.speed, SCREEN)


class EncodingFirst(NamedTuple):
    """The size up to which a single search encodes all rows before it scans them.

    Threads can then share the queries, and there is one threshold for each query; rows that are encoded
    and scanned block by block need no memory, but each thread has thresholds of its own.
    """

    codes: int
    """Bytes of codes, a quarter of those of the vectors."""


class Gathering(NamedTuple):
    """Rows for one that a filter lets through, above which copying the codes of these pays."""

    few: int
    """For up to eight queries, which must spare many rows: a copy takes as long as some scans of the row."""
    many: int
    """For more queries."""


class ExactDense(NamedTuple):
    """Sizes up to which float64 sums give cosines as soon as a product of packed rows."""

    queries: int
    """Queries, where rows are long: sums for these take as long as reading the rows."""
    dims: int
    """Dimensions for each query, where rows are short: adding up lanes takes longer than the products."""
    products: int
    """Products in all: so few are done before rows are packed."""


class DenseSlices(NamedTuple):
    """Sizes from which integer products of slices are sooner done than one product of float32."""

    queries: int
    vectors: int
    """For each thread: threads share the vectors."""


class SymmetricProduct(NamedTuple):
    """The size up to which BLAS multiplies rows with themselves sooner than fastvec's own tiles."""

    scores: int
    """Scores in the result, which then stays in cache."""


SCAN_THREADS = ScanThreads(codes=3 << 21, queries=25)
ENCODING_FIRST = EncodingFirst(codes=1 << 30)
GATHERING = Gathering(few=8, many=2)
EXACT_DENSE = ExactDense(queries=8, dims=8, products=1 << 19)
DENSE_SLICES = DenseSlices(queries=64, vectors=64)
SYMMETRIC_PRODUCT = SymmetricProduct(scores=1 << 24)


def scan_threads(n: int, m: int, dims: int, num_threads: int, *, border: ScanThreads = SCAN_THREADS) -> int:
    """How many of ``num_threads`` threads a scan is worth, at least one."""
    work = n * dims * (border.queries + m)
    return max(1, min(num_threads, work // (border.queries * border.codes)))


def encoding_first_pays(n: int, dims: int, *, border: EncodingFirst = ENCODING_FIRST) -> bool:
    """Whether a single search of n rows encodes all of them before it scans."""
    return n * dims <= border.codes


def gathering_pays(n: int, chosen: int, m: int, *, border: Gathering = GATHERING) -> bool:
    """Whether to copy the codes of the rows that a filter lets through, and scan only those."""
    return chosen * (border.many if m > 8 else border.few) < n


def queries_at_once(k: int) -> int:
    """How many queries are scanned and rescored together: what survives of them takes some 100 MB."""
    return max(1024, (1 << 18) // k)


def exact_dense_pays(m: int, n: int, dims: int, *, border: ExactDense = EXACT_DENSE) -> bool:
    """Whether float64 sums give an (m, n) matrix of cosines as soon as a product of packed rows."""
    queries = min(border.queries, max(1, dims // border.dims))
    return min(m, n) <= queries or m * n * dims <= border.products


def dense_slices_pay(m: int, n: int, num_threads: int, *, border: DenseSlices = DENSE_SLICES) -> bool:
    """Whether integer products of slices are sooner done than one product of float32.

    int8 tiles multiply sixteen times as fast as float32 does, so six products take six sixteenths of the time
    (ten, where rows have large entries); slicing a row takes as long as some twenty float32 products with it.
    """
    return m >= border.queries and n >= border.vectors * num_threads


def symmetric_product_pays(m: int, *, border: SymmetricProduct = SYMMETRIC_PRODUCT) -> bool:
    """Whether BLAS multiplies m rows with themselves sooner than fastvec's own tiles."""
    return m * m <= border.scores
