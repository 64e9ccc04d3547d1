"""How the constants of kernels/cost.py are found: bench/fit_cost.py."""

import importlib.util
import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastvec.kernels import cost, micro

SCRIPT = Path(__file__).resolve().parents[1] / "bench" / "fit_cost.py"

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the tests are not in a checkout")
pytest.importorskip("scipy")


@pytest.fixture(scope="module")
def fit_cost():
    spec = importlib.util.spec_from_file_location("fit_cost", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def decision(fit_cost, name):
    return next(decision for decision in fit_cost.DECISIONS if decision.name == name)


def work(weights, terms):
    return sum(weight * term for weight, term in zip(weights, terms, strict=True))


FOUR = SimpleNamespace(speed=4.0)
"""A micro-kernel, of which only the speed counts."""
WEIGHTS = cost.ScreenWeights(call=100.0, pair=10.0, seeds=50.0, passed=20.0, entry=2.0, late=3.0, gain=0.5)


def test_prices():
    """Of ten rows of 40 dimensions by a screen of 8 that a quarter passes, worked out by hand."""
    sizes = 10, 40, 8, 0.25
    many = (8 / 4 + 10 + 150 / 10 + 0.25 * 3 * (20 + 2 * 40)) / (40 / 4 + 10 + 100 / 10) / 0.5
    few = (8 + 10 + 150 / 10 + 0.25 * 3 * (20 + 2 * 40)) / (40 + 10 + 100 / 10) / 0.5
    assert cost.screen_price(*sizes, FOUR, few=False, weights=WEIGHTS) == pytest.approx(many)
    assert cost.screen_price(*sizes, FOUR, few=True, weights=WEIGHTS) == pytest.approx(few)
    for used, weights in ((False, cost.SCREEN), (True, cost.SCREEN_FEW)):
        assert cost.screen_price(*sizes, FOUR, few=used) == cost.screen_price(
            *sizes, FOUR, few=used, weights=weights
        )
        limit = (40 - 8) / (1 if used else 4) / (weights.passed + weights.entry * 40)
        assert cost.screen_limit(40, 8, FOUR, few=used) == pytest.approx(limit)
    leading = 7 + 0.25 * 3 * (12 + 8) + 0.1 * 3 * (20 + 2 * 40) + 100 / 10
    both = WEIGHTS, cost.LeadingWeights(row=7.0, narrowed=12.0)
    expected = pytest.approx(leading / (40 + 10 + 100 / 10) / 0.5)
    assert cost.leading_price(*sizes, 0.1, both=both) == expected
    most = (40 + cost.SCREEN_FEW.pair - cost.LEADING.row) / cost.LEADING.narrowed
    assert cost.leading_limit(40) == pytest.approx(most)
    assert cost.scan_price(8, 0.25, FOUR) == pytest.approx(8 / 4 + cost.SCREEN.pair + 0.25 * cost.CANDIDATE)
    passing = 0.25 * (cost.SCREEN.passed + cost.SCREEN.entry * 40)
    expected = (8 / 4 + cost.JOIN.pair + passing) / (40 / 4 + cost.JOIN.pair)
    assert cost.join_price(40, 8, 0.25, FOUR) == pytest.approx(expected)


def test_making_short_codes_pays_from_so_many_queries_or_pairs_on():
    n, dims, width, price = 40_000, 768, 192, 0.3
    making = cost.SCREEN_BUILDING
    spared = (1 - price * cost.SCREEN.gain) * (dims / 4 + cost.SCREEN.pair) * n
    border = (making.call + n * (making.row + making.product * dims * width)) / spared
    for factor, pays in ((0.99, False), (1.01, True)):
        assert cost.screen_building_pays(n, border * factor, dims, width, price, FOUR) == pays
    spared = (dims / 4 + cost.JOIN.pair) * (1 - price / cost.JOIN.gain)
    border = (making.call / 2 + n * making.product * dims * width) / spared
    for factor, pays in ((0.99, False), (1.01, True)):
        assert cost.short_codes_pay(border * factor, n, dims, width, price, FOUR) == pays


def test_borders():
    """Each rule changes where its text says."""
    direct, scan = cost.DirectWeights(3.0, 1.0, 5.0, 2.0), cost.ScanWeights(0.0, 2.0, 1.5, 4.0)
    pair = 3 + 9 + 5 * 2 + 2 * 18, 2 + 1.5 * 9 + 4 * 18 / 4  # for each row of nine dimensions, two queries
    assert pair == (58, 33.5)
    for call, pays in ((24.4, True), (24.5, False), (24.6, False)):
        weights = direct, scan._replace(call=call * 100)
        assert cost.scan_pays(100, 2, 9, 3, FOUR, encoded=False, weights=weights) == pays
    for k, pays in ((12, True), (13, False)):  # from an eighth of the rows on
        assert cost.scan_pays(100, 1000, 999, k, FOUR, encoded=True) == pays
    for dims, pays in ((1 << 14, True), ((1 << 14) + 1, False)):
        assert cost.scan_pays(1, 1, dims, 1, FOUR, encoded=True) == pays
        assert not cost.scan_pays(1, 1, dims, 1, FOUR, encoded=False)
    border = cost.ScanThreads(codes=100, queries=4)
    for n, used, threads in ((10, 8, 2), (10, 1, 1), (9, 8, 1), (1, 8, 1), (100, 8, 8)):
        assert cost.scan_threads(n, 4, 10, used, border=border) == threads
    work = cost.direct_terms(100, 2, 9)
    assert work == (100, 900, 200, 1800)
    assert cost.scan_terms(100, 2, 9, 4.0) == (1.0, 100, 900, 450)
    total = sum(a * b for a, b in zip(cost.DIRECT, work, strict=True))
    for more, pays in ((0, True), (1, False)):
        assert cost.sharing_rows_pays(100, 2, 9, border=cost.SharedRows(work=total + more)) == pays
    for dims, pays in ((1 << 10, True), ((1 << 10) + 1, False)):
        assert cost.encoding_first_pays(1 << 20, dims) == pays
    gathering = cost.Gathering(few=8, many=2)
    for n, m, pays in ((800, 8, False), (801, 8, True), (200, 9, False), (201, 9, True)):
        assert cost.gathering_pays(n, 100, m, border=gathering) == pays
    assert [cost.queries_at_once(k) for k in (1, 100, 256, 257, 1 << 20)] == [1 << 18, 2621, 1024, 1024, 1024]
    for m, dims, pays in ((8, 64, True), (9, 64, False), (7, 63, True), (8, 63, False), (1, 7, True)):
        assert cost.exact_dense_pays(m, 1 << 20, dims) == pays
        assert cost.exact_dense_pays(1 << 20, m, dims) == pays
    for n, pays in ((1 << 9, True), ((1 << 9) + 1, False)):
        assert cost.exact_dense_pays(1 << 5, n, 1 << 5) == pays
        assert cost.narrow_tiles_pay(1 << 10, n - 1, 1 << 10) == (not pays)
        assert cost.narrow_tiles_pay(1 << 10, 2 * n - 2, 1 << 10, same=True) == (not pays)
    for m, n, pays in ((64, 128, True), (63, 128, False), (64, 127, False)):
        assert cost.dense_slices_pay(m, n, 2) == pays
    assert [cost.symmetric_product_pays(m) for m in (4096, 4097)] == [True, False]


def test_times_that_follow_the_weights_give_them_back(fit_cost, capsys):
    speed = micro.active().speed
    points = [
        fit_cost.Timed(
            {"n": n, "m": m, "dims": dims},
            work(cost.SCAN, cost.scan_terms(n, m, dims, speed)) * 1e-9,
            work(cost.DIRECT, cost.direct_terms(n, m, dims)) * 1e-9,
        )
        for n, m, dims in itertools.product((1000, 100_000), (1, 8, 32), (50, 768, 3072))
    ]
    direct, scan = fit_cost.fit_weights(points)
    assert direct == pytest.approx(cost.DIRECT, rel=1e-6)
    assert scan == pytest.approx(cost.SCAN, rel=1e-6)
    assert "fitted: 1 ns" in capsys.readouterr().out
    chosen = decision(fit_cost, "scan_pays")
    regrets = [point.regret(chosen.choose(chosen.constants, point.sizes)) for point in points]
    assert regrets == [0.0] * len(points)


def test_times_by_screens_that_follow_the_weights_give_them_back(fit_cost):
    speed, points = micro.active().speed, []
    for n, m, dims, p, leading, share, passing in itertools.product(
        (1000, 100_000), (1, 64), (384, 768), (64, 128), (False, True), (0.01, 0.2), (0.001, 0.1)
    ):
        if leading and m > 1:
            continue
        few, unit = m == 1, 1e-9 * n * m
        weights = cost.SCREEN_FEW if few else cost.SCREEN
        full = dims / (1.0 if few else speed) + weights.pair + weights.call / n
        price = cost.screen_price(n, dims, p, passing, micro.active(), few=few)
        if leading:
            price = cost.leading_price(n, dims, p, share, passing)
        sizes = (n, m, dims, p, leading, share, passing)
        names = ("n", "m", "dims", "width", "leading", "share", "passing")
        seconds = price * weights.gain * full * unit, full * unit
        points.append(fit_cost.Timed(dict(zip(names, sizes, strict=True)), *seconds))
    for fitted, used in zip(
        fit_cost.fit_screen(points), (cost.SCREEN, cost.SCREEN_FEW, cost.LEADING), strict=True
    ):
        expected = used._replace(gain=fitted.gain) if hasattr(used, "gain") else used
        assert fitted == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_the_border_that_loses_the_least_time_is_found(fit_cost):
    """Copying pays above five rows for one that is chosen, for few queries; for many, nothing says where."""
    points = [
        fit_cost.Timed({"n": 1000, "chosen": chosen, "m": m, "dims": 64}, *seconds)
        for chosen, m in itertools.product(range(20, 1000, 20), (1, 9))
        for seconds in [(1.0, 2.0) if 5 * chosen < 1000 else (3.0, 2.0)]
        if m == 1 or seconds == (1.0, 2.0)
    ]
    actual = fit_cost.fit_border(decision(fit_cost, "gathering_pays"), points)
    assert actual.few in (4, 6)
    assert actual.many == cost.GATHERING.many
    worst = fit_cost.regrets(decision(fit_cost, "gathering_pays"), cost.Gathering(1, 1), points)[2]
    assert worst == "50.0%"


def test_every_decision_is_measured(fit_cost):
    rules = {
        name
        for name, value in vars(cost).items()
        if {"border", "weights"} & set(getattr(value, "__kwdefaults__", None) or ())
    }
    assert {"scan_pays", "gathering_pays"} < rules
    assert rules <= {decision.name for decision in fit_cost.DECISIONS}


def test_small_sizes(run_python):
    small = ("--most", 60_000, "--rounds", 1, "--seconds", 0)
    result = run_python(SCRIPT, "scan_pays", "gathering_pays", *small)
    assert result.returncode == 0, result.stderr
    for line in ("scan_pays: encode and scan, or direct pass", "gathering_pays: copy the chosen rows"):
        assert f"\n{line}" in result.stdout
    for name in ("DirectWeights.entry", "ScanWeights.call", "Gathering.few", "always: pass over all"):
        assert result.stdout.count(f"\n{name} ") == 1
    assert result.stdout.count(" points; ") == 3


def test_a_missing_decision_is_refused(fit_cost, capsys):
    with pytest.raises(SystemExit) as caught:
        fit_cost.main(["gathering"])
    assert caught.value.code == 2
    assert "gathering is not among scan_pays, scan_threads, gathering_pays" in capsys.readouterr().err
