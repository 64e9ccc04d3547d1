"""What a scan does with the codes that it walks: the table of stages.

``codes(stage, rows)``, ``packed(stage, queries)``
    The ``scan.Rows`` and ``encode.Queries`` whose codes are multiplied.
``limits(stage, rows, chunk, count, limits)``
    What thresholds depend on besides a query's own terms: of a chunk of rows, from P, the largest error
    and the largest norm · P.
``set_thresholds(stage, metric, queries, state, limits)``
    θ and w of every query.
``drain(stage, scorer, metric, asked, state, limits)``
    From ``asked`` (rows, queries, exclusions, originals): intervals of the hits since the last drain;
    thresholds raised.
``saw(stage, state, pairs)``
    Count pairs that a screen saw.
``gives_up(stage, rows, state)``
    Whether too large a share of pairs has passed for this stage to pay.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from . import log


class Stage(NamedTuple):
    """See the module's text."""

    name: str
    codes: Callable[..., Any]
    packed: Callable[..., Any]
    limits: Callable[..., Any]
    set_thresholds: Callable[..., Any]
    drain: Callable[..., Any]
    saw: Callable[..., Any]
    gives_up: Callable[..., Any]


def _itself(stage, rows):
    return rows


def _themselves(stage, queries):
    return queries


def _limits(stage, rows, chunk, count, limits):
    return limits


def _set_thresholds(stage, metric, queries, state, limits):
    log.set_thresholds(metric, queries, state, limits)


def _drain(stage, scorer, metric, asked, state, limits):
    rows, queries, exclusions, _ = asked
    log.drain(metric, rows, queries, exclusions, state, limits)


def _saw(stage, state, pairs):
    pass


def _never(stage, rows, state):
    return False


CODES = Stage("codes", _itself, _themselves, _limits, _set_thresholds, _drain, _saw, _never)
