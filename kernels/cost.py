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


_AT_ONCE = 1 << 14
"""Pairs of values of queries and rows that are encoded, for which only what a call takes by itself counts."""


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
        return encoded and m * n * dims <= _AT_ONCE
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


class SharedRows(NamedTuple):
    """The size from which threads share the rows of a direct pass: waking them takes time, too."""

    work: int
    """What the pass takes, in units."""


class ScreenWeights(NamedTuple):
    """What a scan by a screen takes; the share that passes is that of a sample of the rows."""

    call: float
    """For each query, by a screen or without one: whatever does not grow with the rows."""
    pair: float
    """For each pair of query and row, likewise: comparing its score with the threshold."""
    seeds: float
    """For each query: finding its first threshold."""
    passed: float
    """For each pair that passes: finding its full codes and its place."""
    entry: float
    """For each pair that passes, and each dimension: its full score."""
    late: float
    """How many times as many pairs pass as in the sample: thresholds rise during the scan, and queries are
    further from rows than these are from each other."""
    gain: float
    """A screen pays if it takes at most this share of the time of a scan without one."""


SCREEN = ScreenWeights(call=0.0, pair=14.5, seeds=1.2e6, passed=335.0, entry=0.42, late=3.5, gain=0.9)
"""For many queries, in multiply-adds of a micro-kernel of speed 1."""
SCREEN_FEW = ScreenWeights(call=1.2e7, pair=165.0, seeds=0.0, passed=535.0, entry=2.0, late=1.5, gain=0.7)
"""For few queries, in bytes of codes: these take as long as reading the codes does. Full codes of single rows
come from memory one by one."""


CANDIDATE = 5000.0
"""What a pair takes that is not left out by its codes, in multiply-adds of a micro-kernel of speed 1: its
interval, its place, and its part in the exact scores."""


def scan_price(width: int, share: float, kernel: MicroKernel) -> float:
    """What a scan of codes of ``width`` takes for each pair of which a ``share`` is not left out."""
    return width / kernel.speed + SCREEN.pair + share * CANDIDATE


def screen_price(
    n: int,
    dims: int,
    width: int,
    share: float,
    kernel: MicroKernel,
    *,
    few: bool,
    weights: ScreenWeights | None = None,
) -> float:
    """What a scan of n rows by a screen of ``width`` dimensions that a ``share`` passes takes.

    At most 1 if the screen pays.
    """
    speed, usual = _screen_weights(kernel, few)
    weights = weights or usual
    passing = share * weights.late * (weights.passed + weights.entry * dims)
    price = width / speed + weights.pair + (weights.call + weights.seeds) / n + passing
    return price / (dims / speed + weights.pair + weights.call / n) / weights.gain


class ScreenBuilding(NamedTuple):
    """What making a screen takes, in multiply-adds of a micro-kernel of speed 1."""

    call: float
    """For each screen: the sample, its directions."""
    row: float
    """For each row: finding the neighbors of pivots among them, by a micro-kernel."""
    product: float
    """For each row, dimension and dimension of the screen: a float32 product."""


SCREEN_BUILDING = ScreenBuilding(call=6e9, row=7e4, product=0.65)
"""Half as much again as it takes, so that a search that guesses wrong loses little."""


def screen_building_pays(
    n: int,
    m: int,
    dims: int,
    width: int,
    price: float,
    kernel: MicroKernel,
) -> bool:
    """Whether a search of n rows for m queries spares more by a screen than making it takes.

    ``price`` is that of ``screen_price`` for many queries.
    """
    making = SCREEN_BUILDING.call + n * (SCREEN_BUILDING.row + SCREEN_BUILDING.product * dims * width)
    spared = (1.0 - price * SCREEN.gain) * (dims / kernel.speed + SCREEN.pair) * n * m
    return spared > making


class JoinWeights(NamedTuple):
    """What a join takes, in multiply-adds of a micro-kernel of speed 1; see ``ScreenWeights``."""

    pair: float
    """For each pair: comparing its score, and a share of the packing of its rows."""
    gain: float


JOIN = JoinWeights(pair=16.0, gain=0.6)


def join_price(dims: int, width: int, share: float, kernel: MicroKernel) -> float:
    """What a pair of a join takes by short codes of ``width`` that a ``share`` passes, as a multiple of what
    it takes by its full codes."""
    passing = share * (SCREEN.passed + SCREEN.entry * dims)
    return (width / kernel.speed + JOIN.pair + passing) / (dims / kernel.speed + JOIN.pair)


def short_codes_pay(pairs: int, n: int, dims: int, width: int, price: float, kernel: MicroKernel) -> bool:
    """Whether so many pairs, n rows on one side, spare a join more by short codes than making them takes."""
    making = SCREEN_BUILDING.call / 2 + n * SCREEN_BUILDING.product * dims * width
    return pairs * (dims / kernel.speed + JOIN.pair) * (1.0 - price / JOIN.gain) > making


class LeadingWeights(NamedTuple):
    """What a search for few queries by leading codes takes besides what ``SCREEN_FEW`` has, in its unit."""

    row: float
    """For each row: reading its leading code, and comparing its score with the threshold."""
    narrowed: float
    """For each pair that passes the leading codes: finding its codes, which come from memory one by one."""


LEADING = LeadingWeights(row=195.0, narrowed=835.0)


def leading_price(
    n: int,
    dims: int,
    width: int,
    share: float,
    passing: float,
    *,
    both: tuple[ScreenWeights, LeadingWeights] = (SCREEN_FEW, LEADING),
) -> float:
    """``screen_price`` for few queries, where a ``share`` passes the leading codes, and ``passing`` all.

    At most 1 if it pays.
    """
    weights, leading = both
    narrowed = share * weights.late * (leading.narrowed + width)
    passed = passing * weights.late * (weights.passed + weights.entry * dims)
    price = leading.row + narrowed + passed + weights.call / n
    return price / (dims + weights.pair + weights.call / n) / weights.gain


def leading_limit(dims: int) -> float:
    """The share of pairs passing the leading codes with which these take as long as a scan without them."""
    return (dims + SCREEN_FEW.pair - LEADING.row) / LEADING.narrowed


def screen_limit(dims: int, width: int, kernel: MicroKernel, *, few: bool) -> float:
    """The share of passing pairs with which a screen takes as long as a scan without one."""
    speed, weights = _screen_weights(kernel, few)
    return (dims - width) / speed / (weights.passed + weights.entry * dims)


def _screen_weights(kernel: MicroKernel, few: bool) -> tuple[float, ScreenWeights]:
    return (1.0, SCREEN_FEW) if few else (kernel.speed, SCREEN)


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
    """The size up to which BLAS multiplies rows with themselves sooner than fastvec's own wide tiles."""

    scores: int
    """Scores in the result, which then stays in cache."""


class NarrowTiles(NamedTuple):
    """The size from which fastvec's own narrow tiles multiply sooner than BLAS."""

    products: int
    """Products that are formed: of rows with themselves, half of them all."""


SCAN_THREADS = ScanThreads(codes=3 << 21, queries=25)
SHARED_ROWS = SharedRows(work=5 << 19)
_ENCODED_FIRST_BYTES = 1 << 30
SCREEN_THREADS = ScanThreads(codes=1 << 22, queries=25)
"""Of few queries by a screen, whose rows take longer than reading their codes."""
GATHERING = Gathering(few=8, many=2)
EXACT_DENSE = ExactDense(queries=8, dims=8, products=1 << 19)
DENSE_SLICES = DenseSlices(queries=64, vectors=64)
SYMMETRIC_PRODUCT = SymmetricProduct(scores=1 << 24)
NARROW_TILES = NarrowTiles(products=1 << 29)


def scan_threads(n: int, m: int, dims: int, num_threads: int, *, border: ScanThreads = SCAN_THREADS) -> int:
    """How many of ``num_threads`` threads a scan is worth, at least one."""
    work = n * dims * (border.queries + m)
    return max(1, min(num_threads, work // (border.queries * border.codes)))


def sharing_rows_pays(n: int, m: int, dims: int, *, border: SharedRows = SHARED_ROWS) -> bool:
    """Whether threads share the rows of a direct pass, instead of one thread that takes all of them."""
    return _work(DIRECT, direct_terms(n, m, dims)) >= border.work


def encoding_first_pays(n: int, dims: int) -> bool:
    """Whether a single search of n rows encodes all of them before it scans.

    Threads can then share the queries, and there is one threshold for each query; rows that are encoded
    and scanned block by block need no memory, but each thread has thresholds of its own. So it always pays,
    as long as there is memory.
    """
    return n * dims <= _ENCODED_FIRST_BYTES


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
    """Whether BLAS multiplies m rows with themselves sooner than fastvec's own wide tiles."""
    return m * m <= border.scores


def narrow_tiles_pay(
    m: int, n: int, dims: int, *, same: bool = False, border: NarrowTiles = NARROW_TILES
) -> bool:
    """Whether fastvec's own narrow tiles multiply (m, n) rows, or rows with themselves, sooner than BLAS."""
    return m * n * dims >= border.products * (1 + same)
