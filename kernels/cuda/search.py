"""Searches of a batch of queries, from start to end: what ``fastvec/_stores/cuda.py`` calls.

Where the float32 rows lie on the device, candidates are scored and ranked there
(``scoring.py``). Where they do not fit, candidates go to the processor (``handover.py``), and get
exact scores from its own rescoring. Either way the bits are the contract's.
"""

from typing import NamedTuple

import numpy as np

from ..log import Survivors
from . import handover, scoring
from .batch import MOST_K, Batch, Limits, limits_for, queries_at_once
from .rows import DeviceRows
from .walk import started


class Work(NamedTuple):
    """Counts of the work of a search."""

    candidates: int
    """Pairs that survived the scan, of the queries that did not leave it."""
    left: np.ndarray
    """bool (m,): queries that left."""
    again: int
    """Chunks that were scanned again."""


class Answer(NamedTuple):
    """The best rows of each query."""

    scores: np.ndarray
    """float32 (m, k); −inf if there are fewer than k rows."""
    indices: np.ndarray
    """int64 (m, k); −1 if there are fewer than k rows."""
    changed: int
    """First row whose score is not in the interval that its codes prove, or −1."""
    work: Work


def search(rows: DeviceRows, batch: Batch, limits: Limits | None = None) -> Answer:
    """The k best rows of each query, where the float32 rows lie on the device.

    Raises NotFinite for a query that has NaN or inf.
    """
    with started(rows, batch, limits or limits_for(batch.k), scoring.score_candidates) as walk:
        outcome = walk.repeat()
        scores, indices = scoring.answers(walk, outcome)
    work = Work(int(outcome.sizes[~outcome.left].sum()), outcome.left, outcome.again)
    return Answer(scores, indices, outcome.changed, work)


def survivors(
    rows: DeviceRows, batch: Batch, num_threads: int, limits: Limits | None = None
) -> tuple[Survivors, Work]:
    """All rows that may be among the k best of each query, for the processor to score.

    Raises NotFinite for a query that has NaN or inf.
    """
    with started(rows, batch, limits or limits_for(batch.k)) as walk:
        outcome = walk.repeat()
        candidates, packed = handover.candidates(walk, outcome), handover.packed(walk)
    encoded = rows.on_host(batch.dims)
    certified = handover.certified(batch, encoded, packed, outcome.left, candidates, num_threads)
    return certified, Work(len(certified.row), outcome.left, outcome.again)


__all__ = [
    "MOST_K",
    "Answer",
    "Batch",
    "Limits",
    "Work",
    "limits_for",
    "queries_at_once",
    "search",
    "survivors",
]
