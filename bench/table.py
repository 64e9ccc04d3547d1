"""The lines of the README's table, and of the figures in its text, from records.

`bench/pictures.py` prints them; what has no record is left out, and named.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

Record = dict[str, Any]

ROWS = {
    "search: batch 1": "real-like {size}",
    "search: batch 8": "(decaying spectrum)",
    "search: batch 64": "",
    "search: batch 1024": "",
    "search: k 100": "the same, k = 100",
    "search: k 1000": "the same, k = 1,000",
    "search: euclidean": "the same, Euclidean",
    "search: half of the rows pass a filter": "the same, half of the rows pass a filter",
    "search: 1 % of the rows pass a filter": "the same, 1 % of the rows pass a filter",
    "search: isotropic noise": "Gaussian {size}",
    "search: nomic tokens, batch 1": "nomic tokens {size}",
    "search: nomic tokens, batch 1024": "",
    "search: static texts, batch 1": "texts as sums of tokens {size}",
    "search: static texts, batch 1024": "",
    "search: GloVe, batch 1": "GloVe {size}",
    "search: GloVe, batch 1024": "",
    "search: 1,000,000 x 256, batch 1": "real-like {size}",
    "search: 1,000,000 x 256, batch 64": "",
    "search: n 1,000 short, 1,000 full": "{size}",
    "search: all rows equal": "all rows equal, {size}",
    "search: a rogue dimension": "one huge dimension, {size}",
}
"""The first column, by case, with the size that the record has. An empty one goes on with the rows above."""

NAMES = {
    "numpy": "NumPy",
    "scikit-learn": "scikit-learn",
    "faiss-panorama": "faiss Panorama",
    "numkong": "NumKong",
    "scipy": "SciPy",
}
"""How libraries write themselves, where that is not the name of the peer."""

OTHERS = (
    "selection: k 10",
    "selection: k 100",
    "similarity: 256 queries",
    "similarity: 256 queries, given output",
    "similarity: 1,024 queries",
    "rows: normalize",
    "rows: normalize, given output",
    "rows: truncate 768 to 256",
    "analogy: Google's questions over GloVe",
    "start: import",
    "start: first answer",
)
"""The other operations, a line for each."""

ONE_BY_ONE = "one by one"
"""What the names of cases hold in which single queries are timed each by itself."""


def lines(records: Sequence[Record]) -> Iterator[str]:
    """Markdown: the table, single queries, memory, the other operations; then what has no record."""
    found = {one["case"]: one for one in records}
    missing = [case for case in (*ROWS, *OTHERS) if case not in found]
    yield "\n| vectors | queries | best peer | peer, ms | Index, ms | Index | knn | rounds |"
    yield "|---|---|---|---|---|---|---|---|"
    for case, label in ROWS.items():
        if case in found:
            yield _row(label, found[case])
    yield from _singles([one for one in records if ONE_BY_ONE in one["case"]])
    yield from _memory([one for one in records if one.get("facts", {}).get("task") == "memory"])
    yield "\n| other operations | best peer | peer, ms | fastvec, ms | times | rounds |"
    yield "|---|---|---|---|---|---|"
    for case in OTHERS:
        if case in found:
            yield _other(found[case])
    for one in records[-1:]:
        machine = one["machine"]
        kernel, threads = f"micro-kernel {machine['micro_kernel']}", f"{machine['threads']} threads"
        yield f"\n{machine['cpu']}, {kernel}, {threads}, commit {machine.get('commit')}"
    if missing:
        yield f"\nno record: {'; '.join(missing)}"


def _row(label: str, found: Record) -> str:
    best, index = _competitor(found, found["best_peer"]), _competitor(found, "Index")
    speedup = found["speedup"]
    times = (_ms(best["median"]), _ms(index["median"]), _times(speedup["Index"]), _times(speedup["knn"]))
    facts = found["facts"]
    size = f"{facts['n']:,} × {facts['dims']}"
    return _cells(label.format(size=size), f"{facts['m']:,}", _name(best["name"]), *times, found["rounds"])


def _singles(records: Sequence[Record]) -> Iterator[str]:
    if records:
        yield "\n| one query at a time | queries | method | p50, ms | p99, ms | p50 to Index's | rounds |"
        yield "|---|---|---|---|---|---|---|"
    for found in records:
        label = found["case"].removeprefix("search: ").removeprefix(f"{ONE_BY_ONE}, ")
        ours = _competitor(found, "Index")["one_by_one"]
        for c in found["competitors"]:
            each = c["one_by_one"]
            ratio = f"{each['p50'] / ours['p50']:.1f} ×"
            cells = (each["queries"], _name(c["name"]), _ms(each["p50"]), _ms(each["p99"]), ratio)
            yield _cells(label, *cells, found["rounds"])
            label = ""


def _memory(records: Sequence[Record]) -> Iterator[str]:
    for found in records:
        facts = found["facts"]
        each = ", ".join(f"{_name(c['name'])} {c['median']:,.0f}" for c in found["competitors"])
        asked = f"{facts['n']:,} × {facts['dims']}, {facts['m']:,} queries"
        yield f"\nMiB beyond rows and queries, {asked}: {each}"


def _other(found: Record) -> str:
    ours = next(c for c in found["competitors"] if c["ours"])
    best = _competitor(found, found["best_peer"])
    times = (_ms(best["median"]), _ms(ours["median"]), _times(found["speedup"][ours["name"]]))
    return _cells(found["case"], _name(best["name"]), *times, found["rounds"])


def _cells(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _competitor(found: Record, name: str) -> Any:
    return next(c for c in found["competitors"] if c["name"] == name)


def _name(name: str) -> str:
    return NAMES.get(name, name)


def _ms(value: float) -> str:
    return f"{value:.2g}" if value < 1 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _times(speedup: Record) -> str:
    ratio = statistics.median(speedup["ratios"])
    return f"{ratio:.1f} ×" if ratio < 20 else f"{ratio:.0f} ×"
