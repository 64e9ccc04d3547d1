"""What every benchmark file shares: cases, the command line, and the test that pytest runs.

A benchmark is one file, `bench_<topic>.py`:

    from suite import Case, Plan, main, test_races  # pytest runs the last one over CASES

    def products(plan: Plan) -> Race:  # makes the data, the competitors, and the truth they are checked with
        ...

    CASES = [Case("products of small matrices", products)]

    if __name__ == "__main__":
        main(CASES)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fastvec import _facts, get_num_threads
from fastvec.benchmark import Race, limits, measure, peers, record, report
from fastvec.commands.output import Table, print_tables

QUICKEST = ("numpy", "torch", "faiss", "faiss-panorama")


class Case(NamedTuple):
    """A race with a name."""

    name: str
    build: Callable[[Plan], Race]
    full: bool = False
    """Whether it belongs to the full run only."""
    needs: tuple[str, ...] = ()
    """Modules without which it is skipped."""
    why_not: Callable[[], str | None] = lambda: None
    """What else is missing here, in words."""


class Plan(NamedTuple):
    """How a run is done."""

    full: bool
    peers: list[peers.Peer]
    absent: dict[str, str]
    rounds: int | None
    seconds: float

    @property
    def exact(self) -> list[peers.Peer]:
        """Installed peers that claim right answers."""
        return [peer for peer in self.peers if peer.precision != "inexact"]

    @property
    def few(self) -> list[peers.Peer]:
        """In a short run the quickest, where what is asked is not who else is there; else all exact."""
        return self.exact if self.full else [peer for peer in self.exact if peer.name in QUICKEST]

    def size(self, short: int, full: int) -> int:
        """One of two sizes."""
        return full if self.full else short


def add_options(add: Callable[..., Any]) -> None:
    """The options that the command line and pytest have in common; ``add`` takes what argparse does."""
    add("--full", action="store_true", help="every case at full size, more than half an hour")
    add("--peers", help="names, separated by commas; without it, those installed")
    add("--rounds", type=int, help="of every race; without it, as many as fit into --seconds")
    add("--seconds", type=float, help="of a race, about (0.5; with --full 6)")
    add("--threads", type=int, help="of every library; without it, the processors there are")


def plan_of(options: Any) -> Plan:
    """Choose peers, and give every library its threads."""
    names = options.peers.split(",") if options.peers else None
    installed, absent = peers.chosen(names)
    peers.equalize(options.threads or get_num_threads(), installed)
    return Plan(
        options.full, installed, absent, options.rounds, options.seconds or (6 if options.full else 0.5)
    )


def missing(case: Case) -> str:
    """Why a case cannot run; empty if it can."""
    absent = [module for module in case.needs if not _facts.installed(module)]
    reason = f"{', '.join(absent)} not installed" if absent else case.why_not()
    return f"{case.name}: skipped, {reason}" if reason else ""


def run(case: Case, plan: Plan) -> tuple[Race, dict[str, Any]]:
    """Build a race and run it."""
    race = case.build(plan)
    return race, measure(case.name, race, rounds=plan.rounds, seconds=plan.seconds)


def show(found: dict[str, Any]) -> None:
    """Print a record."""
    print_tables([Table(report.title(found), report.COLUMNS, report.rows(found), report.NUMBERS)])
    if seconds := report.built(found):
        print(f"built in seconds: {seconds}")
    if percentiles := report.percentiles(found):
        print(f"over queries, each timed alone: {percentiles}")
    if screen := report.screen(found):
        print(screen)
    if left_out := report.absent(found):
        print(f"left out: {left_out}", flush=True)


def main(cases: Sequence[Case], arguments: Sequence[str] | None = None) -> None:
    """Run the cases whose name holds one of the words on the command line, or all of them."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("words", nargs="*", help="run the cases whose name holds one of these")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write records, one JSON object a line")
    parser.add_argument("--list", action="store_true", help="list the cases and end")
    add_options(parser.add_argument)
    options = parser.parse_args(arguments)
    chosen = [
        case
        for case in cases
        if (options.full or not case.full)
        and (not options.words or any(word in case.name for word in options.words))
    ]
    if options.list:
        print(*(case.name for case in chosen), sep="\n")
        return
    plan = plan_of(options)
    print(report.machine(record.machine()))
    peaks = limits.measure()
    print(*report.roofline(peaks), sep="\n")
    print(f"not installed: {report.not_installed(plan.absent)}")
    records = [record.roofline(peaks)]
    for case in chosen:
        if reason := missing(case):
            print(f"\n{reason}")
            continue
        found = run(case, plan)[1]  # the race goes: what the next one builds may need its memory
        show(found)
        records.append(found)
    print(f"\n{report.LEGEND}")
    if options.json is not None:
        record.write(options.json, records)
        print(f"\n{len(records)} records: {options.json}")


def test_races(case: Case, plan: Plan, benchmark: Any, keep: Callable[[dict[str, Any]], None]) -> None:
    """Run a race; then pytest-benchmark times fastvec's first competitor alone, to compare it over time."""
    race, found = run(case, plan)
    ours = next(competitor for competitor in race.competitors if competitor.ours)
    benchmark.group = case.name
    benchmark.extra_info["record"] = found
    repeats = next(c["repeats"] for c in found["competitors"] if c["name"] == ours.name)
    rounds = found["rounds"] if found["unit"] == "ms" else 1
    benchmark.pedantic(ours.run, rounds=rounds, iterations=repeats)
    keep(found)
