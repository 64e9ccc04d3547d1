"""Where the constants of kernels/cost.py come from: both ways of each decision, timed on this machine.

python bench/fit_cost.py                                        every decision, in about four minutes
python bench/fit_cost.py scan_pays                              one of them
FASTVEC_MICRO_KERNEL=avx2 python bench/fit_cost.py scan_pays    for another micro-kernel than the best

At each point of a grid of sizes the two ways take turns. A way's time is the lower quartile of its rounds,
because other processes only ever add to it. The fit:

- weights (of scan_pays, screen_price): nonnegative least squares of relative errors,
  Σ (predicted / measured − 1)²; of those of screens, ``late`` stays as it is, and ``gain`` is a border;
- borders (of the others): of a list of candidates, the one whose choices have the smallest mean of
  log(time / time of the quicker way); of equals, the one nearest to the constant in cost.py.

The script prints the constants of cost.py beside the fitted ones, and the regret of both: by how much the
chosen way is slower than the quicker one, as the median, the geometric mean and the worst over the grid. On a
machine that does other work meanwhile, regrets of ways with different numbers of threads mean little.

It needs SciPy.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from scipy.fft import dct
from scipy.optimize import nnls

import fastvec
from fastvec._stores import screens
from fastvec.benchmark import record, report
from fastvec.commands.output import Table, print_tables
from fastvec.kernels import cost, micro
from fastvec.kernels.dense import tiles

K, QUERIES = 10, 64


class Point(NamedTuple):
    """One place of a grid."""

    sizes: dict[str, Any]
    """The sizes by name, as the decision's function in cost.py takes them."""
    way: Callable[[bool], object]
    """Does the work in the way that the decision's answer, true or false, leads to."""
    entries: int
    """Of the largest array."""


class Decision(NamedTuple):
    """A function of cost.py that chooses between two ways."""

    name: str
    ways: tuple[str, str]
    """What it chooses where it is true, and where it is false."""
    points: Callable[[], Iterator[Point]]
    choose: Callable[[Any, dict[str, Any]], bool]
    """What it answers with some constants, at some sizes."""
    constants: Any
    """Those of cost.py: a named tuple, or two of weights; None if there are none."""
    candidates: Callable[[], Iterator[Any]] | None = None
    """Borders to choose from; None if the constants are weights, or there are none."""
    fit: Callable[[Sequence[Timed]], Any] | None = None
    """Fits the constants if they are weights."""
    why_not: Callable[[], str | None] = lambda: None
    """Why this machine has only one of the ways."""


class Timed(NamedTuple):
    """A point and the seconds that each way took."""

    sizes: dict[str, Any]
    true: float
    false: float

    def regret(self, chosen: bool) -> float:
        """By how much the chosen way is slower than the quicker one, as a share."""
        return (self.true if chosen else self.false) / min(self.true, self.false) - 1.0


# The grids.


@contextmanager
def forced(**answers: object) -> Iterator[None]:
    """Functions of cost.py that answer what is given, whatever they are asked."""
    before = {name: getattr(cost, name) for name in answers}
    try:
        for name, answer in answers.items():
            setattr(cost, name, lambda *_, answer=answer, **__: answer)
        yield
    finally:
        for name, function in before.items():
            setattr(cost, name, function)


@functools.lru_cache(1)
def generated(n: int, dims: int, decay: float = 0.5) -> tuple[Any, Any]:
    """Rows with the decaying spectrum of embeddings, and queries near some of them."""
    rng = np.random.default_rng(2)
    weights = np.arange(1, dims + 1, dtype=np.float32) ** -decay
    rows = dct(rng.standard_normal((n + QUERIES, dims), np.float32) * weights, norm="ortho", axis=1)
    near = rows[rng.integers(0, n, QUERIES)]
    return rows[:n], rows[n:] * np.float32(0.7) + near * np.float32(0.5)


@functools.lru_cache(1)
def index_of(n: int, dims: int) -> fastvec.Index:
    """An Index of the same rows."""
    return fastvec.Index(generated(n, dims)[0])


def one_shot() -> Iterator[Point]:
    """``knn`` of rows that are not encoded."""

    def way(n: int, m: int, dims: int, scan: bool) -> object:
        vectors, queries = generated(n, dims)
        with forced(scan_pays=scan):
            return fastvec.knn(queries[:m], vectors, K)

    for dims, n, m in itertools.product(
        (50, 128, 384, 768, 1536, 3072), (1000, 10_000, 60_000), (1, 2, 4, 8, 16, 32)
    ):
        sizes = {"n": n, "m": m, "dims": dims}
        yield Point(sizes, functools.partial(way, n, m, dims), n * dims)


def encoded() -> Iterator[Point]:
    """``Index.search``."""

    def way(n: int, m: int, dims: int, scan: bool) -> object:
        index, queries = index_of(n, dims), generated(n, dims)[1]
        with forced(scan_pays=scan):
            return index.search(queries[:m], K)

    for dims, n, m in itertools.product((50, 384, 3072), (300, 3000, 30_000), (1, 32)):
        sizes = {"n": n, "m": m, "dims": dims}
        yield Point(sizes, functools.partial(way, n, m, dims), n * dims)


@functools.lru_cache(1)
def screened_indexes(n: int, dims: int, decay: float) -> tuple[dict[int, fastvec.Index], dict[int, float]]:
    """Indexes of the same rows by the width of their screens, 0 for none, and the shares that pass these."""
    vectors = generated(n, dims, decay)[0]
    shares = screens.sampled(vectors, [64, 128, 192], fastvec.get_num_threads())[1]
    indexes = {width: fastvec.Index(vectors, screen=width or "off") for width in (0, 64, 128, 192)}
    return indexes, dict(zip((64, 128, 192), shares, strict=True))


def screened() -> Iterator[Point]:
    """``Index.search`` by a screen and without one: of 192 bytes, 64 are leading codes."""

    def way(n: int, m: int, dims: int, decay: float, width: int, by_screen: bool) -> object:
        index = screened_indexes(n, dims, decay)[0][width if by_screen else 0]
        return index.search(generated(n, dims, decay)[1][:m], K)

    for (n, dims), decay in itertools.product(((20_000, 384), (60_000, 384), (30_000, 768)), (0.6, 1.2)):
        shares = screened_indexes(n, dims, decay)[1]
        for width, m in itertools.product((64, 128, 192), (1, QUERIES)):
            if width == 192 and m > 1:  # leading codes serve few queries
                continue
            p = min(width, 128)
            sizes = {"n": n, "m": m, "dims": dims, "width": p, "leading": width == 192}
            sizes |= {"share": shares[64], "passing": shares[p]}
            yield Point(sizes, functools.partial(way, n, m, dims, decay, width), n * dims)


def by_threads() -> Iterator[Point]:
    """``Index.search`` with all threads and with one."""

    def way(n: int, m: int, dims: int, all_of_them: bool) -> object:
        index, queries = index_of(n, dims), generated(n, dims)[1]
        with forced(scan_threads=fastvec.get_num_threads() if all_of_them else 1):
            return index.search(queries[:m], K)

    codes = (1 << 15, 1 << 18, 1 << 20, 3 << 20, 6 << 20, 12 << 20, 23 << 20)
    for dims, size, m in itertools.product((50, 384, 1536), codes, (1, 8, 64)):
        n = max(8 * K, size // dims)
        sizes = {"n": n, "m": m, "dims": dims, "num_threads": fastvec.get_num_threads()}
        yield Point(sizes, functools.partial(way, n, m, dims), n * dims)


def by_shares() -> Iterator[Point]:
    """``knn`` by the direct pass, with all threads and with one."""

    def way(n: int, m: int, dims: int, shared: bool) -> object:
        vectors, queries = generated(n, dims)
        with forced(scan_pays=False, sharing_rows_pays=shared):
            return fastvec.knn(queries[:m], vectors, K)

    for dims, power, m in itertools.product((50, 384, 1536), range(17, 24), (1, 4, 16)):
        n = max(8 * K, (1 << power) // dims)
        yield Point({"n": n, "m": m, "dims": dims}, functools.partial(way, n, m, dims), n * dims)


def filtered() -> Iterator[Point]:
    """``Index.search`` of a share of the rows."""

    def way(n: int, m: int, dims: int, where: Any, gather: bool) -> object:
        index, queries = index_of(n, dims), generated(n, dims)[1]
        with forced(gathering_pays=gather):
            return index.search(queries[:m], K, where=where)

    for dims, n in ((50, 1000), (64, 100_000), (768, 30_000)):
        order = np.random.default_rng(3).random(n)
        for part, m in itertools.product((2, 3, 4, 6, 8, 16, 32), (1, 4, 8, 9, 16, 64)):
            where = order < 1 / part
            sizes = {"n": n, "chosen": int(np.count_nonzero(where)), "m": m, "dims": dims}
            yield Point(sizes, functools.partial(way, n, m, dims, where), n * dims)


def dense(shapes: Sequence[tuple[int, int, int]], name: str, **others: bool) -> Iterator[Point]:
    """``cosine_similarity`` with some answer of a function of cost.py."""

    def way(m: int, n: int, dims: int, answer: bool) -> object:
        vectors = generated(max(m, n), dims)[0]
        with forced(**{**others, name: answer}):
            return fastvec.cosine_similarity(vectors[:m], vectors[:n] if n else None)

    for m, n, dims in shapes:
        sizes = {"m": m, "n": n, "dims": dims, "num_threads": fastvec.get_num_threads()}
        yield Point(sizes, functools.partial(way, m, n, dims), max(max(m, n) * dims, m * (n or m)))


def exact_dense() -> Iterator[Point]:
    """Few queries, or little data."""
    shapes = itertools.product(
        (1, 2, 4, 6, 8, 10, 12, 16, 32, 64), (64, 500, 4000, 30_000), (8, 16, 64, 384, 768)
    )
    return dense(sorted(shapes, key=lambda shape: shape[1:]), "exact_dense_pays")


def slices() -> Iterator[Point]:
    """Batches of which slices are cut."""
    shapes = itertools.product((16, 32, 64, 128, 256), (32, 64, 128, 256, 1000, 8000), (64, 384, 1536))
    return dense(
        sorted(shapes, key=lambda shape: shape[1:]),
        "dense_slices_pay",
        exact_dense_pays=False,
    )


def symmetric() -> Iterator[Point]:
    """Rows with themselves."""
    shapes = itertools.product((200, 500, 1000, 2000, 4000, 5000), (0,), (64, 256))
    others = {"exact_dense_pays": False, "dense_slices_pay": False}
    return dense(sorted(shapes, key=lambda shape: shape[1:]), "symmetric_product_pays", **others)


def narrow() -> Iterator[Point]:
    """Batches, of processors with AVX2 alone."""
    shapes = itertools.product((16, 64, 256, 1000), (500, 4000, 20_000), (64, 384))
    others = {"exact_dense_pays": False, "dense_slices_pay": False}
    return dense(sorted(shapes, key=lambda shape: shape[1:]), "narrow_tiles_pay", **others)


# The decisions.


def borders(record_type: Any, **values: Sequence[int]) -> Callable[[], Iterator[Any]]:
    """Every combination of values of a named tuple's fields."""
    return lambda: (
        record_type(**dict(zip(values, some, strict=True))) for some in itertools.product(*values.values())
    )


def powers(first: int, last: int) -> list[int]:
    """2**first to 2**last, and the halves between."""
    return sorted({int(1.5**half * 2**power) for power in range(first, last + 1) for half in (0, 1)})


def scanned(constants: Any, sizes: dict[str, int], *, encoded: bool) -> bool:
    """What scan_pays answers with some weights."""
    return cost.scan_pays(**sizes, k=K, kernel=micro.active(), encoded=encoded, weights=constants)


def screen_pays(constants: Any, sizes: dict[str, Any]) -> bool:
    """What screen_price and leading_price answer with some weights."""
    many, few, leading = constants
    n, m, dims, width, by_leading, share, passing = sizes.values()
    if by_leading:
        return cost.leading_price(n, dims, width, share, passing, both=(few, leading)) <= 1.0
    weights = few if m == 1 else many
    kernel = micro.active()
    return cost.screen_price(n, dims, width, passing, kernel, few=m == 1, weights=weights) <= 1.0


def always_scanned() -> str | None:
    """A micro-kernel that is asked for by name is used, however little there is to scan."""
    return "FASTVEC_MICRO_KERNEL is set, so an Index is always scanned" if micro.forced() else None


def only_one_thread() -> str | None:
    return None if fastvec.get_num_threads() > 1 else "there is one thread"


def no_slices() -> str | None:
    return None if micro.active().orders is not None else f"{micro.active().name} has no products of slices"


def no_wide_tiles() -> str | None:
    return None if tiles.instructions() == "avx512" else "this processor has no wide tiles"


def no_narrow_tiles() -> str | None:
    return None if tiles.instructions() == "avx2" else "this processor has wide tiles, or none"


def fit_weights(points: Sequence[Timed]) -> tuple[cost.DirectWeights, cost.ScanWeights]:
    """Weights of both ways in units of reading one float32; in nanoseconds where that takes no time."""
    speed = micro.active().speed
    sizes = [(point.sizes["n"], point.sizes["m"], point.sizes["dims"]) for point in points]
    direct = _nonnegative([cost.direct_terms(*some) for some in sizes], [point.false for point in points])
    scan = _nonnegative([cost.scan_terms(*some, speed) for some in sizes], [point.true for point in points])
    in_nanoseconds = cost.DirectWeights(*direct)
    unit = in_nanoseconds.entry or 1.0
    print(f"one unit, fitted: {unit:.3g} ns; micro-kernel of speed {speed:g}")
    return cost.DirectWeights(*(direct / unit)), cost.ScanWeights(*(scan / unit))


def fit_screen(points: Sequence[Timed]) -> tuple[cost.ScreenWeights, cost.ScreenWeights, cost.LeadingWeights]:
    """Weights of a scan by a screen, for many queries and for few, and of leading codes."""
    many, _ = _fit_screen([point for point in points if point.sizes["m"] > 1], few=False)
    few, leading = _fit_screen([point for point in points if point.sizes["m"] == 1], few=True)
    return many, few, leading


def _fit_screen(points: Sequence[Timed], *, few: bool) -> tuple[cost.ScreenWeights, cost.LeadingWeights]:
    usual, speed = (cost.SCREEN_FEW, 1.0) if few else (cost.SCREEN, micro.active().speed)
    terms, seconds = [], []
    for point in points:
        n, m, dims, width, by_leading, share, passing = point.sizes.values()
        share, passing = share * usual.late, passing * usual.late
        # Bytes or products, call or seeds, pair, passed, entry; row and narrowed.
        terms.append((dims / speed, 1 / n if few else 0.0, 1.0, 0.0, 0.0, 0.0, 0.0))
        if by_leading:
            terms.append((share * width, 1 / n, 0.0, passing, passing * dims, 1.0, share))
        else:
            terms.append((width / speed, 1 / n, 1.0, passing, passing * dims, 0.0, 0.0))
        seconds += [point.false / (n * m), point.true / (n * m)]
    unit, once, pair, passed, entry, row, narrowed = _nonnegative(terms, seconds)
    call, seeds = (once, 0.0) if few else (0.0, once)
    found = (weight / (unit or 1.0) for weight in (call, pair, seeds, passed, entry))
    fitted = cost.ScreenWeights(*found, late=usual.late, gain=usual.gain)
    leading = cost.LeadingWeights(row / (unit or 1.0), narrowed / (unit or 1.0))

    def lost(gain: float) -> float:
        constants = (fitted._replace(gain=gain), fitted._replace(gain=gain), leading)
        return sum(math.log1p(point.regret(screen_pays(constants, point.sizes))) for point in points)

    gains = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
    return fitted._replace(gain=min(gains, key=lambda gain: (lost(gain), abs(gain - usual.gain)))), leading


def _nonnegative(terms: Sequence[Sequence[float]], seconds: Sequence[float]) -> Any:
    """Weights in nanoseconds that predict times with the least squares of relative errors."""
    shares = np.array(terms, np.float64) / (np.array(seconds)[:, None] * 1e9)
    scales = shares.max(axis=0)
    scales[scales == 0.0] = 1.0
    return nnls(shares / scales, np.ones(len(shares)))[0] / scales


DECISIONS = [
    Decision(
        "scan_pays",
        ("encode and scan", "direct pass"),
        one_shot,
        functools.partial(scanned, encoded=False),
        (cost.DIRECT, cost.SCAN),
        fit=fit_weights,
    ),
    Decision(
        "scan_pays, encoded: always, so that changed vectors are noticed",
        ("scan", "direct pass"),
        encoded,
        functools.partial(scanned, encoded=True),
        None,
        why_not=always_scanned,
    ),
    Decision(
        "scan_threads",
        ("all threads", "one thread"),
        by_threads,
        lambda border, sizes: cost.scan_threads(**sizes, border=border) > 1,
        cost.SCAN_THREADS,
        borders(cost.ScanThreads, codes=powers(17, 24), queries=(3, 6, 12, 25, 50, 100)),
        only_one_thread,
    ),
    Decision(
        "gathering_pays",
        ("copy the chosen rows", "pass over all"),
        filtered,
        lambda border, sizes: cost.gathering_pays(sizes["n"], sizes["chosen"], sizes["m"], border=border),
        cost.GATHERING,
        borders(cost.Gathering, few=(1, 2, 3, 4, 6, 8, 12, 16, 32), many=(1, 2, 3, 4, 6, 8, 16)),
    ),
    Decision(
        "sharing_rows_pays",
        ("all threads", "one thread"),
        by_shares,
        lambda border, sizes: cost.sharing_rows_pays(**sizes, border=border),
        cost.SHARED_ROWS,
        borders(cost.SharedRows, work=powers(17, 24)),
        only_one_thread,
    ),
    Decision(
        "exact_dense_pays",
        ("float64 sums", "product of packed rows"),
        exact_dense,
        lambda border, sizes: cost.exact_dense_pays(sizes["m"], sizes["n"], sizes["dims"], border=border),
        cost.EXACT_DENSE,
        borders(
            cost.ExactDense,
            queries=(1, 2, 4, 6, 8, 10, 12, 16, 32),
            dims=(2, 4, 8, 16, 32),
            products=powers(14, 22),
        ),
    ),
    Decision(
        "dense_slices_pay",
        ("products of slices", "one float32 product"),
        slices,
        lambda border, sizes: cost.dense_slices_pay(
            sizes["m"], sizes["n"], sizes["num_threads"], border=border
        ),
        cost.DENSE_SLICES,
        borders(cost.DenseSlices, queries=(1, 32, 64, 128, 256), vectors=(1, 16, 32, 64, 128, 256, 512)),
        no_slices,
    ),
    Decision(
        "symmetric_product_pays",
        ("BLAS", "own tiles"),
        symmetric,
        lambda border, sizes: cost.symmetric_product_pays(sizes["m"], border=border),
        cost.SYMMETRIC_PRODUCT,
        borders(cost.SymmetricProduct, scores=[0, *powers(15, 26)]),
        no_wide_tiles,
    ),
    Decision(
        "narrow_tiles_pay",
        ("own tiles", "BLAS"),
        narrow,
        lambda border, sizes: cost.narrow_tiles_pay(sizes["m"], sizes["n"], sizes["dims"], border=border),
        cost.NARROW_TILES,
        borders(cost.NarrowTiles, products=[0, *powers(20, 32)]),
        no_narrow_tiles,
    ),
    Decision(
        "screen_price",
        ("by a screen", "full codes"),
        screened,
        screen_pays,
        (cost.SCREEN, cost.SCREEN_FEW, cost.LEADING),
        fit=fit_screen,
    ),
]


# Timing, fitting and printing.


def timed(point: Point, rounds: int, seconds: float) -> Timed:
    """Both ways in turns: ``rounds`` times at least, and on until ``seconds`` have passed or there are 51."""
    taken: dict[bool, list[float]] = {True: [], False: []}
    for way in taken:
        point.way(way)  # compiles it, and makes its data
    end = time.perf_counter() + seconds
    while len(taken[True]) < rounds or (len(taken[True]) < 51 and time.perf_counter() < end):
        for way, some in taken.items():
            start = time.perf_counter()
            point.way(way)
            some.append(time.perf_counter() - start)
    return Timed(point.sizes, *(float(np.quantile(taken[way], 0.25)) for way in (True, False)))


def fit_border(decision: Decision, points: Sequence[Timed]) -> Any:
    """The candidate whose choices lose the least, and of equals the nearest to that of cost.py."""
    assert decision.candidates is not None

    def loss(border: Any) -> tuple[float, float]:
        lost = sum(math.log1p(point.regret(decision.choose(border, point.sizes))) for point in points)
        steps = (abs(math.log((a + 1) / (b + 1))) for a, b in zip(border, decision.constants, strict=True))
        return round(lost, 9), sum(steps)

    return min((decision.constants, *decision.candidates()), key=loss)


def regrets(decision: Decision, constants: Any, points: Sequence[Timed]) -> tuple[str, ...]:
    """The median, the mean, the worst and where that is."""
    found = [point.regret(decision.choose(constants, point.sizes)) for point in points]
    worst = int(np.argmax(found))
    place = ", ".join(f"{name} {size:,}" for name, size in points[worst].sizes.items())
    return *amounts(found), place


def amounts(found: Sequence[float]) -> tuple[str, str, str]:
    """The median, the geometric mean and the worst."""
    mean = math.expm1(float(np.mean(np.log1p(found))))
    return f"{np.median(found):.1%}", f"{mean:.1%}", f"{max(found):.1%}"


def fields(constants: Any) -> Iterator[tuple[str, float]]:
    """Names and values of a named tuple, or of several."""
    for part in constants if type(constants) is tuple else (constants,):
        for name, value in part._asdict().items():
            yield f"{type(part).__name__}.{name}", value


def show(decision: Decision, points: Sequence[Timed]) -> None:
    """Print what was found about a decision."""
    here, rows = decision.constants, [("cost.py", *regrets(decision, decision.constants, points))]
    if here is not None:
        fitted = decision.fit(points) if decision.fit else fit_border(decision, points)
        pairs = zip(fields(here), fields(fitted), strict=True)
        compared = [(name, f"{value:,.4g}", f"{new:,.4g}") for (name, value), (_, new) in pairs]
        print_tables([Table("constants", ("name", "cost.py", "fitted"), compared, (1, 2))])
        rows.append(("fitted", *regrets(decision, fitted, points)))
    for way, always in zip(decision.ways, (True, False), strict=True):
        lost = [point.regret(always) for point in points]
        rows.append((f"always: {way}", *amounts(lost), ""))
    print_tables([Table("regret", ("choice by", "median", "mean", "worst", "at"), rows, (1, 2, 3))])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("decisions", nargs="*", help="names of functions of cost.py; without any, all")
    parser.add_argument("--rounds", type=int, default=3, help="of each way at each point, at least (3)")
    parser.add_argument("--seconds", type=float, default=0.1, help="more rounds while these last (0.1)")
    parser.add_argument("--most", type=int, default=25_000_000, help="entries of an array (25,000,000)")
    options = parser.parse_args(arguments)
    names = [decision.name.split(",")[0] for decision in DECISIONS]
    if unknown := set(options.decisions) - set(names):
        parser.error(f"{', '.join(sorted(unknown))} is not among {', '.join(dict.fromkeys(names))}")
    print(report.machine(record.machine()))
    start = time.perf_counter()
    for decision, name in zip(DECISIONS, names, strict=True):
        if options.decisions and name not in options.decisions:
            continue
        print(f"\n{decision.name}: {decision.ways[0]}, or {decision.ways[1]}")
        if reason := decision.why_not():
            print(f"left out: {reason}")
            continue
        points = [point for point in decision.points() if point.entries <= options.most]
        if not points:
            parser.error(f"--most {options.most} leaves {name} without a point; 8,000,000 is enough for all")
        show(decision, [timed(point, options.rounds, options.seconds) for point in points])
        print(f"{len(points)} points; {time.perf_counter() - start:.0f} s since the start", flush=True)


if __name__ == "__main__":
    main()
