"""Records as tables to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .record import speedup

COLUMNS = ("", "median", "min", "x ours", "by minima", "recall", "ties", "batch", "share of limit")
NUMBERS = range(1, 6)
LEGEND = (
    "x ours: this row's time over that of the first, the median of the rounds' ratios; then the ratio of the "
    "minima.\nrecall: of the oracle's rows, or the largest error. ties: by lowest index. batch: whether "
    "scores change with the other queries. ~: inexact."
)


def title(record: Mapping[str, Any]) -> str:
    """One line: the question, the number of rounds, and how much was checked."""
    unit = "" if record["unit"] == "ms" else f", {record['unit']}"
    machine = record["machine"]
    asked = record["facts"].get("asked")
    singly = f", {asked} asked one by one" if asked else ""
    return (
        f"{record['case']}  ({record['rounds']} rounds, {machine['threads']} threads, {record['checked']} "
        f"checked{singly}{unit})"
    )


def rows(record: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row of ``COLUMNS`` for each competitor and limit."""
    ours = next(c for c in record["competitors"] if c["ours"])
    return [_row(c, ours, record["unit"]) for c in record["competitors"]] + [
        (f"limit: {name}", _number(limit["median"]), _number(limit["min"]), *([""] * 5), _shares(limit))
        for name, limit in record["limits"].items()
    ]


def _row(c: Mapping[str, Any], ours: Mapping[str, Any], unit: str) -> tuple[str, ...]:
    longer = speedup(c["values"], ours["values"])
    facts, quality = c["facts"], c["quality"]
    shares = c["shares"]
    applies = max(shares, key=lambda name: shares[name]) if shares else None
    recall = quality.get("recall")
    return (
        ("~" if c["precision"] == "inexact" else "") + c["name"],
        _number(c["median"]),
        _number(c["min"]),
        "1" if c is ours else f"{longer['median']:.2f} x",
        "1" if c is ours else f"{longer['of_minima']:.2f} x",
        f"{recall:.3f}" if recall is not None else _error(quality),
        _yes(facts.get("ties_by_index")),
        _changes(facts.get("batch_changes_scores")),
        "" if applies is None else f"{shares[applies]:.0%} {applies}",
    )


def _shares(limit: Mapping[str, Any]) -> str:
    return ", ".join(f"{share:.0%} {name}" for name, share in limit.get("shares", {}).items())


def absent(record: Mapping[str, Any]) -> str:
    """The competitors that did not run, with the reason; empty if all ran."""
    return "; ".join(f"{name}: {why}" for name, why in record["absent"].items() if "not installed" not in why)


def built(record: Mapping[str, Any]) -> str:
    """How many seconds each competitor took to prepare its rows; empty if none was timed."""
    seconds = {c["name"]: c["facts"].get("build_s") for c in record["competitors"]}
    return ", ".join(f"{name} {_number(took)}" for name, took in seconds.items() if took is not None)


def percentiles(record: Mapping[str, Any]) -> str:
    """What single queries took, each timed by itself; empty if none was."""
    each = {c["name"]: c["one_by_one"] for c in record["competitors"] if "one_by_one" in c}
    return "; ".join(
        f"{name} p50 {_number(found['p50'])}, p99 {_number(found['p99'])} ms" for name, found in each.items()
    )


def screen(record: Mapping[str, Any]) -> str:
    """The screen of the Index and how many pairs passed it; empty if it has none."""
    for facts in (c["facts"] for c in record["competitors"]):
        if "screen" in facts:
            passed = facts["passed"]
            share = "this search does without" if passed is None else f"{100 * passed:.2g} % of pairs pass"
            return f"Index has a screen of {facts['screen']} bytes a row, which {share}"
    return ""


def not_installed(absent: Mapping[str, str]) -> str:
    """The names of peers whose library is not installed, or "none"."""
    return ", ".join(name for name, why in absent.items() if "not installed" in why) or "none"


def roofline(peaks: Mapping[str, Any]) -> list[str]:
    """Lines for what ``limits.measure`` found."""
    read = ", ".join(f"{speed:.1f} GB/s on {count}" for count, speed in peaks["read_gb_s"].items())
    tiles = ", ".join(f"{name} {speed:,.0f}" for name, speed in peaks["int8_gop_s"].items())
    return [
        f"reading memory: {read} threads",
        f"int8 products, 10⁹ a second on {peaks['threads']} threads: {tiles}",
        f"float32 products and sums (BLAS): {peaks['float32_gflop_s']:,.0f} x 10⁹ a second",
    ]


def machine(facts: Mapping[str, Any]) -> str:
    """The processor, micro-kernel, threads and versions; and how threads were set."""
    threads = (
        "; ".join(f"{library}: {how}" for library, how in facts["threads_set"].items()) or "as they were"
    )
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    return (
        f"{facts['cpu']}, micro-kernel {facts['micro_kernel']}, {facts['threads']} threads, "
        f"Python {facts['python']}, {versions}\nthreads: {threads}"
    )


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _error(quality: Mapping[str, float]) -> str:
    return f"±{quality['error']:.1e}" if "error" in quality else ""


def _yes(value: bool | None) -> str:
    return {True: "yes", False: "no", None: ""}[value]


def _changes(value: bool | None) -> str:
    return {True: "changes", False: "same", None: ""}[value]
