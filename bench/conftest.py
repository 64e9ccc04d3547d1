"""`pytest bench`: every case is a test; a wrong answer fails it. Options as those of the scripts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import suite

from fastvec.benchmark import limits, record, report

RECORDS = pytest.StashKey[list[dict[str, Any]]]()
PLAN = pytest.StashKey[suite.Plan]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fastvec benchmarks")
    suite.add_options(group.addoption)
    group.addoption("--records", type=Path, metavar="FILE", help="write records, one JSON object a line")


def pytest_configure(config: pytest.Config) -> None:
    # Other libraries warn of what is theirs.
    config.addinivalue_line("filterwarnings", "default")
    config.stash[RECORDS] = []
    config.stash[PLAN] = suite.plan_of(config.option)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        full = metafunc.config.stash[PLAN].full
        cases = [case for case in metafunc.module.CASES if full or not case.full]
        metafunc.parametrize("case", cases, ids=[case.name for case in cases])


@pytest.fixture
def plan(request: pytest.FixtureRequest, case: suite.Case) -> suite.Plan:
    if reason := suite.missing(case):
        pytest.skip(reason)
    return request.config.stash[PLAN]


@pytest.fixture
def keep(request: pytest.FixtureRequest) -> Callable[[dict[str, Any]], None]:
    return request.config.stash[RECORDS].append


def pytest_report_header(config: pytest.Config) -> list[str]:
    return [
        *report.machine(record.machine()).splitlines(),
        f"peers not installed: {report.not_installed(config.stash[PLAN].absent)}",
    ]


def pytest_terminal_summary(config: pytest.Config) -> None:
    found = config.stash[RECORDS]
    if not found:
        return
    for one in found:
        suite.show(one)
    print(f"\n{report.LEGEND}\npeers not installed: {report.not_installed(config.stash[PLAN].absent)}")
    if config.option.records is not None:
        record.write(config.option.records, [record.roofline(limits.measure()), *found])
