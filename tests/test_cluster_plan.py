"""The simulation of a cluster: a case by hand, what must hold of all, and the page that shows it."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "bench" / "cluster_plan.py"
if not FILE.is_file():
    pytest.skip("the tests lie outside a checkout", allow_module_level=True)


@pytest.fixture(scope="module")
def plan():
    spec = importlib.util.spec_from_file_location("cluster_plan", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def figures(**more):
    fits = {batch: {"row_s": 1e-6, "constant_s": 0.002} for batch in ("1", "64", "1024")}
    return {
        "threads": 2,
        "scan": {"codes": fits, "screen": fits},
        "straggling": [1.0],
        "rescored": 20.0,
        "merge_s": 0.0,
        "idle_s": 0.01,
        "task_s": 0.001,
        "byte_s": 0.0,
        **more,
    }


def test_two_machines_by_hand(plan):
    """Each scans 500,000 rows in 0.5 s on 2 cores, or 0.25 on 4; the second begins a task later."""
    fast = plan.Machine(cores=4, bandwidth=1e15, network=1e15, hop_s=0.0, price=3.6)
    small = plan.Plan(1e6, 2, False, fast, on_disk=False)
    outcome = plan.simulated(small, 1, figures(), 10)
    assert outcome.median_s == pytest.approx(0.01 + 2 * 0.001 + 0.25 + 0.002, rel=1e-6)
    assert outcome.queries_s == pytest.approx(1 / 0.252, rel=1e-6)
    assert outcome.limit == "machines"
    assert plan.dollars(small, outcome) == pytest.approx(2 * 0.001 * 0.252 * 1e6, rel=1e-6)
    assert small.bytes == (1040 + 4096) * 5e5
    assert small._replace(on_disk=True).bytes == 1040 * 5e5
    on_disk = plan.scan_s(small._replace(on_disk=True), 64, figures())
    assert on_disk - plan.scan_s(small, 64, figures()) == pytest.approx(64 * 20 / 500e3)


def test_reading_memory_bounds_a_scan(plan):
    slow = plan.Machine(cores=1024, bandwidth=1e9)
    assert plan.scan_s(plan.Plan(1e6, 1, False, slow, on_disk=False), 1, figures()) > 1040 * 1e6 / 1e9


def test_stragglers_and_machines_make_searches_late(plan):
    measured = figures(straggling=[1.0] * 19 + [3.0])
    few, many = (plan.simulated(plan.Plan(1e9, machines, False), 1, measured) for machines in (4, 400))
    assert few.late_s / few.median_s > 2
    assert many.median_s > 2.9 * 0.01 * few.median_s, "one of 400 machines always straggles"


def test_from_some_number_of_machines_on_the_client_decides(plan):
    most = plan.stops_at(1e9, False, 64, figures())
    assert plan.simulated(plan.Plan(1e9, most, False), 64, figures(), 20).limit == "client"
    assert plan.simulated(plan.Plan(1e9, most // 2, False), 64, figures(), 20).limit == "machines"


def test_the_page_shows_what_the_simulation_says(plan):
    measured = json.loads(plan.RECORD.read_text("utf-8"))
    assert plan.table(measured) in (ROOT / "docs" / "cluster.md").read_text("utf-8")
