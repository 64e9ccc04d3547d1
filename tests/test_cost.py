"""How the constants of kernels/cost.py are found: bench/fit_cost.py."""

import importlib.util
import itertools
from pathlib import Path

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
