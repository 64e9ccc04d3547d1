"""Benchmarks: answers checked before anything is timed, competitors interleaved, rounds fixed beforehand::

    race = searches.race(vectors, queries, 10)         what competes, on what, and what is right
    record = measure("my data", race, rounds=9)        one dictionary, ready for a line of JSON
    report.table(record)                               the same to read

How a race is run, in this order:

1. Every competitor answers once, which also warms it up. ``truth`` compares with a plain float64
   computation; an answer that is not what the competitor claims raises ``WrongAnswer``: it is not timed.
2. One more call of each is timed. It says how often a call too short for the clock is repeated, and,
   if seconds are given instead of rounds, how many rounds fit. Both are fixed from here on.
3. In every round each competitor answers in turn, and each bare loop (a limit) runs; the next round begins
   with the next of them. A ratio compares two times of the same round, so that a machine that becomes
   slower for a while does so for both.
4. The last answers are checked again.

The modules::

    definitions.py  scores and analogies in float64, as they are defined
    truth.py        what is right by these; slack.py: how far a float32 score may be from it
    peers.py        the table of other libraries; how they are set up, by families:
                    matrix_peers.py, torch_peers.py, index_peers.py, device_peers.py
    corpus.py       what they search
    searches.py     races of nearest neighbors
    data.py         the table of data to search; generated.py, tokens.py, docstrings.py: how it is made
    limits.py       what this machine reads and multiplies in a second
    record.py       what a record holds
    report.py       a record as a table
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .._checks import whole_number
from .._submodules import finder
from . import record as _record
from .truth import PRECISIONS, Mismatch, Truth

__getattr__ = finder(__name__)

_SHORTEST_MS = 10.0
"""A shorter call is repeated until this time has passed, at most ``_REPEATS`` times."""

_REPEATS = 200
_PAUSE_S = 0.005
"""The pause before each turn: the threads of other libraries stay busy for a while after a call."""

_ROUNDS = 7
_FEWEST, _MOST = 3, 25
"""The fewest and the most rounds if seconds are given."""


class Competitor(NamedTuple):
    """Something that answers."""

    name: str
    run: Callable[[], Any]
    """One call: what is timed."""
    precision: str = "float32"
    """What it claims about its answers: "exact", "float32" or "inexact"; see ``truth``."""
    ours: bool = False
    """Whether it is a function of fastvec."""
    read: Callable[[Any], Any] = lambda result: result
    """Turns what a call returns into what ``truth`` judges; not timed."""
    setting: str = ""
    """How it is set up: threads, data types, options."""
    facts: Mapping[str, Any] = {}
    """What else is known about its answers, such as the order of ties."""
    scale: float = 1.0
    """What is recorded as a multiple of the call's time: 1/8 if it answers 8 questions one by one."""
    each: Callable[[Any], Sequence[float]] | None = None
    """The milliseconds that each question took, of what a call returns, if it answers them one by one."""


class Limit(NamedTuple):
    """A bare loop that no competitor can be faster than."""

    name: str
    run: Callable[[], Any]
    holds_for: Sequence[str]
    """Names of the competitors it limits, and of bare loops that do its work and more."""
    scale: float = 1.0
    """The limit as a multiple of the loop's time, if the loop does only a part of the work."""


class Race(NamedTuple):
    """Competitors that answer the same question."""

    facts: Mapping[str, Any]
    """The question: n, dims, m, k, metric, data, …"""
    competitors: Sequence[Competitor]
    truth: Truth
    limits: Sequence[Limit] = ()
    absent: Mapping[str, str] = {}
    """Competitors that do not run, with the reason."""
    unit: str = "ms"
    """"ms": calls are timed. Otherwise ``run`` returns what it measured, in this unit, and its answer."""


class WrongAnswer(Exception):
    """A competitor's answer is not what it claims, so it is not timed.

    Attributes: ``case``, ``competitor``, ``query`` (None if it is about all), ``came``, ``right``.
    """

    def __init__(self, case: str, competitor: str, mismatch: Mismatch) -> None:
        self.case, self.competitor = case, competitor
        self.query, self.came, self.right = mismatch.query, mismatch.came, mismatch.right
        where = "" if self.query is None else f", query {self.query}"
        super().__init__(
            f"{case}: {competitor}{where}: {mismatch.why}: {self.came} came, right is {self.right}; "
            "it is not timed"
        )


def measure(
    case: str,
    race: Race,
    *,
    rounds: int | None = None,
    seconds: float | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, Any]:
    """Run a race and return its record.

    Args:
        case: name of the race.
        race: who competes on what.
        rounds: how many, at least 1; None: from ``seconds``.
        seconds: about how long the rounds may take: the number of rounds, from 3 to 25, is set before the
            first; None: 7 rounds, or 3 where it is not time that is measured.
        progress: called before each round with the rounds done and their number.

    Returns:
        A dictionary for JSON: facts, machine, limits, and for each competitor its times in every round,
        minimum, median, quality of answers and shares of limits; see ``record.py``.

    Raises:
        WrongAnswer: if an answer is not what its competitor claims, or a competitor raises instead.
        ValueError: rounds is below 1, no competitor is fastvec's, or two have one name.

    Example:
        >>> import numpy as np
        >>> right = truth.Values(np.array([3.0]), 0.0)
        >>> ours = Competitor("ours", lambda: np.array([1.0 + 2.0]), ours=True)
        >>> race = Race({"task": "sum"}, [ours], right)
        >>> measure("sums", race, rounds=2)["rounds"]
        2
    """
    _check(race, rounds)
    times: dict[str, list[float]] = {runner.name: [] for runner in _runners(race)}
    each: dict[str, list[Sequence[float]]] = {c.name: [] for c in race.competitors if c.each is not None}
    quality = {}
    for competitor in race.competitors:
        result = _first_answer(case, competitor)
        quality[competitor.name] = _judge(case, race, competitor, result)
        if race.unit != "ms":  # what is not time is measured by the first call, too
            times[competitor.name].append(float(result[0]))
        del result
    repeats = dict.fromkeys(quality, 1) | {limit.name: 1 for limit in race.limits}
    if race.unit == "ms":
        first = {runner.name: _time(race, runner, 1)[0] for runner in _runners(race)}
        repeats = {name: _repeats(ms) for name, ms in first.items()}
        one = sum(ms * repeats[name] for name, ms in first.items()) / 1e3
        if rounds is None and seconds is not None:
            rounds = round(min(_MOST, max(_FEWEST, seconds / one)))
    rounds = rounds or (_ROUNDS if race.unit == "ms" else _FEWEST)
    last = _rounds(race, rounds, repeats, progress, times, each)
    for name, result in last.items():
        competitor = next(c for c in race.competitors if c.name == name)
        _judge(case, race, competitor, result)
    return _record.of(case, race, rounds, repeats, times, quality, each)


def _runners(race: Race) -> list[Competitor | Limit]:
    """Competitors and limits, in the order of the first round."""
    return [*race.competitors, *race.limits]


def _check(race: Race, rounds: int | None) -> None:
    names = [runner.name for runner in _runners(race)]
    if len(set(names)) < len(names):
        raise ValueError(f"competitors and limits need different names, not {names}")
    if not any(c.ours for c in race.competitors):
        raise ValueError("no competitor is fastvec's (ours=True), and ratios are to the first that is")
    for competitor in race.competitors:
        if competitor.precision not in PRECISIONS:
            raise ValueError(
                f"{competitor.name}: precision {competitor.precision!r} is not one of {PRECISIONS}"
            )
    if rounds is not None:
        whole_number(rounds, "rounds", 1)


def _first_answer(case: str, competitor: Competitor) -> Any:
    try:
        return competitor.run()
    except Exception as error:
        came = f"{type(error).__name__}: {error}"
        raise WrongAnswer(case, competitor.name, Mismatch(None, came, "an answer", "it raised")) from error


def _judge(case: str, race: Race, competitor: Competitor, result: Any) -> dict[str, float]:
    answer = result if race.unit == "ms" else result[1]
    try:
        return race.truth.judge(competitor.read(answer), competitor.precision)
    except Mismatch as mismatch:
        raise WrongAnswer(case, competitor.name, mismatch) from mismatch


def _repeats(ms: float) -> int:
    return max(1, min(_REPEATS, math.ceil(_SHORTEST_MS / max(ms, 1e-6))))


def _rounds(
    race: Race,
    rounds: int,
    repeats: Mapping[str, int],
    progress: Callable[[int, int], object] | None,
    times: dict[str, list[float]],
    each: dict[str, list[Sequence[float]]],
) -> dict[str, Any]:
    """Add every runner's value in every round to ``times``; return the competitors' last results."""
    runners = _runners(race)
    last: dict[str, Any] = {}
    done = len(times[runners[0].name])
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for number in range(done, rounds):
            if progress is not None:
                progress(number, rounds)
            turn = number % len(runners)
            for runner in runners[turn:] + runners[:turn]:
                last.pop(runner.name, None)
                time.sleep(_PAUSE_S)
                value, last[runner.name] = _time(race, runner, repeats[runner.name])
                times[runner.name].append(value * runner.scale)
                if isinstance(runner, Limit):
                    del last[runner.name]
                elif runner.each is not None:
                    each[runner.name].append(runner.each(last[runner.name]))
    finally:
        if collecting:
            gc.enable()
    return last


def _time(race: Race, runner: Competitor | Limit, repeats: int) -> tuple[float, Any]:
    """Milliseconds of a call, as the mean of ``repeats`` calls; or what the call measured."""
    result: Any = None
    if race.unit != "ms":
        result = runner.run()
        return float(result[0]), result
    start = time.perf_counter()
    for _ in range(repeats):
        result = None  # two results at a time would cost memory that one does not
        result = runner.run()
    return 1e3 * (time.perf_counter() - start) / repeats, result
