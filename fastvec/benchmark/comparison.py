"""Two files of records of the same races, row by row: how many times as long as before, and whether by noise.

A median has an interval: the order statistics that hold the true median with 95 % probability, whatever the
distribution; with fewer than six rounds, the smallest and the largest value, which is less certain (of two
times three rounds, one pair in ten is apart by chance). A row is slower (or quicker)
only where the two intervals do not overlap. The machine may have changed between two files. So the last
column is the ratio to the peers': of the competitors of the same race that are not fastvec's, the median of
their ratios says what the machine did.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

COLUMNS = ("case", "method", "old", "interval", "new", "interval", "new/old", "beside peers", "")
NUMBERS = (2, 4, 6, 7)
_CONFIDENCE = 0.95


class Median(NamedTuple):
    """A median of rounds, and where the true one lies."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Median:
        """The median and its interval.

        Example:
            >>> Median.of([3.0, 1.0, 2.0])
            Median(value=2.0, low=1.0, high=3.0)
            >>> Median.of(list(range(1, 16)))
            Median(value=8, low=4, high=12)
        """
        ordered, n = sorted(values), len(values)
        # The true median lies below all but the i smallest values, or above all but the i largest, with
        # probability 2 · P(at most i heads in n throws).
        left_out = 0
        while 2 * sum(math.comb(n, i) for i in range(left_out + 2)) / 2**n <= 1 - _CONFIDENCE:
            left_out += 1
        return cls(statistics.median(ordered), ordered[left_out], ordered[n - 1 - left_out])


class Change(NamedTuple):
    """A competitor in two records of one case."""

    case: str
    method: str
    ours: bool
    unit: str
    old: Median
    new: Median
    peers: float | None
    """What the ratios of the race's peers are, in the median; None if it has none."""

    @property
    def ratio(self) -> float:
        """New over old: more than 1 is worse."""
        return _ratio(self.new.value, self.old.value)

    @property
    def beside_peers(self) -> float | None:
        """The ratio over that of the peers."""
        return None if self.peers is None or self.ours is False else _ratio(self.ratio, self.peers)

    @property
    def verdict(self) -> str:
        """ "slower" or "quicker" ("more" or "less" of what is not time), or "" where it may be noise."""
        worse, better = ("slower", "quicker") if self.unit == "ms" else ("more", "less")
        if self.new.low > self.old.high:
            return worse
        return better if self.new.high < self.old.low else ""

    def beyond(self, most: float) -> bool:
        """Whether it is one of fastvec's, beyond the noise, and more than ``most`` times what it was."""
        return self.ours and self.new.low > self.old.high and self.ratio > most


class Comparison(NamedTuple):
    """What two files have in common, and what stands in the way of a comparison."""

    changes: list[Change]
    only: tuple[list[str], list[str]]
    """Cases of the old file alone, and of the new one."""
    differences: list[str]
    """What differs in the machines or in what was asked, in words."""


def compare(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> Comparison:
    """Compare records of races (of two records of one case in a file, the last counts)."""
    before, after = ({r["case"]: r for r in records if "competitors" in r} for records in (old, new))
    common = [case for case in before if case in after]
    changes = [change for case in common for change in _changes(before[case], after[case])]
    only = ([case for case in before if case not in after], [case for case in after if case not in before])
    told = dict.fromkeys(line for case in common for line in _differences(case, before[case], after[case]))
    return Comparison(changes, only, list(told))


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    before = {c["name"]: c for c in old["competitors"]}
    pairs = [(before[c["name"]], c) for c in new["competitors"] if c["name"] in before]
    theirs = [_ratio(b["median"], a["median"]) for a, b in pairs if not b["ours"]]
    peers = statistics.median(theirs) if theirs else None
    for a, b in pairs:
        medians = Median.of(a["values"]), Median.of(b["values"])
        yield Change(new["case"], b["name"], b["ours"], new["unit"], *medians, peers)


def _differences(case: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for key in ("cpu", "micro_kernel", "threads"):
        a, b = old["machine"].get(key), new["machine"].get(key)
        if a != b:
            yield f"{key}: {a} and {b}"
    asked = ("n", "dims", "m", "k", "metric", "data", "digest", "asked", "where")
    changed = [key for key in asked if old["facts"].get(key) != new["facts"].get(key)]
    if changed:
        was = ", ".join(f"{key} {old['facts'].get(key)} and {new['facts'].get(key)}" for key in changed)
        yield f"{case}: not the same question ({was})"


def _ratio(new: float, old: float) -> float:
    """How many times as much; what was nothing is infinitely often in anything, and once in itself."""
    if math.isinf(old) or old == 0:
        return 1.0 if new == old else 0.0 if old else math.inf
    return new / old


def rows(changes: Sequence[Change]) -> list[tuple[str, ...]]:
    """A row of ``COLUMNS`` for each change; a case is named once."""
    found: list[tuple[str, ...]] = []
    last = None
    for one in changes:
        beside = one.beside_peers
        found.append(
            (
                one.case if one.case != last else "",
                one.method,
                _number(one.old.value),
                _interval(one.old),
                _number(one.new.value),
                _interval(one.new),
                f"{one.ratio:.3f}",
                "" if beside is None else f"{beside:.3f}",
                one.verdict,
            )
        )
        last = one.case
    return found


def _interval(median: Median) -> str:
    return f"{_number(median.low)} to {_number(median.high)}"


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"
