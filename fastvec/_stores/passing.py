"""Rows of a mapped file that are not float32, for a single search: converted some at a time and forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import _arguments
from . import shard, shards

PIECE_BYTES = 1 << 26
"""Bytes of rows that are converted at a time, about."""


def one_shot(array: Any) -> shards.ShardedStore:
    """A store of the rows of an array, each piece of which is a shard for one question.

    Raises:
        TypeError: if they are not numbers.
    """
    _arguments.check_real(array, "vectors")
    n, dims = array.shape
    step = max(1, PIECE_BYTES // (max(4, array.dtype.itemsize) * dims))
    team = Passing(array, [(first, min(step, n - first)) for first in range(0, n, step)])
    return shards.ShardedStore(team, [shard.Facts(shard.Layout.of([run]), dims, 0) for run in team.runs])


class Passing:
    """A team whose shards are made when they are asked, one after another; ``shards.Team`` documents it."""

    near, most = True, 1 << 62

    def __init__(self, array: Any, runs: Sequence[tuple[int, int]]) -> None:
        self._array, self.runs = array, runs

    @property
    def count(self) -> int:
        """The number of shards."""
        return len(self.runs)

    def ask(
        self,
        question: Callable[..., Any],
        common: Sequence[Any],
        parts: Sequence[Sequence[Any]] | None,
        merge: Callable[[Sequence[Any]], Any],
        masks: Sequence[Any] | None = None,
    ) -> Any:
        """As in ``shards.Team``."""
        assert masks is None
        answer: list[Any] = []
        for (first, count), part in zip(self.runs, parts or [()] * self.count, strict=True):
            rows = self._array[first : first + count]
            here = shard.once(rows, (first, count))
            answer = [merge([*answer, question(here, *common, *part)])]
        return answer[0]
