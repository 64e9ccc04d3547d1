"""Who takes a question to the shards: a graph of tasks for a single search, or the workers that hold them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..._stores import shard, shards
from ..._stores.base import Setting
from ...kernels import threads
from ._arrays import host, runs_of

Merge = Callable[[Sequence[Any]], Any]

_FAN = 8
"""Answers that are merged at a time."""
_SHARD_BYTES = 1 << 30
"""About how many bytes of float32 a shard has at most, unless a single chunk has more."""
_LOOK_S = 0.25
"""For how long a search waits before it looks whether the workers are those that it asked."""
_LONGEST_LOOK_S = 30.0
_PATIENCE_S = 60.0
"""Seconds without any worker after which a search gives up."""
_QUESTION_BYTES = 1 << 25
_ONCE_BYTES = 1 << 20
"""If the client saves so many bytes, it sends all workers' tasks as one graph, in which what they are told
comes once; a task by itself is on its way sooner."""


class Lost(RuntimeError):
    """Rows are lost with their worker, and what they were made from is lost, too."""

    def __init__(self) -> None:
        super().__init__(
            "rows were lost with their worker, and cannot be made again from what is left: give Index an "
            "array that reads files or computes its chunks, not one that was scattered"
        )


def client_of(client: Any) -> Any:
    """The client that is given, or else the one that Dask uses now; None if it uses another scheduler."""
    if client is None:
        owner = getattr(host().base.get_scheduler(), "__self__", None)
        return owner if hasattr(owner, "submit") and hasattr(owner, "who_has") else None
    if not (hasattr(client, "submit") and hasattr(client, "who_has")):
        kind = type(client)
        raise TypeError(f"client is a {kind.__module__}.{kind.__qualname__}; it must be a distributed.Client")
    if client.asynchronous:
        raise TypeError("client is asynchronous; searches need a Client that is not")
    return client


def grouped(runs: Sequence[tuple[int, int]], dims: int) -> list[list[int]]:
    """Chunks, by number, in groups that make a shard each."""
    groups: list[list[int]] = []
    size = 0
    for number, (_, count) in enumerate(runs):
        if not groups or (size and 4 * dims * (size + count) > _SHARD_BYTES):
            groups.append([])
            size = 0
        groups[-1].append(number)
        size += count
    return groups


def merged(parts: Sequence[Any], combine: Callable[[Sequence[Any]], Any], most: int) -> Sequence[Any]:
    """Parts of an answer, merged in a tree until there are at most ``most``."""
    while len(parts) > most:
        parts = [combine(parts[start : start + _FAN]) for start in range(0, len(parts), _FAN)]
    return parts


class Once:
    """The chunks of an array, each a shard for one question, which Dask's scheduler computes and forgets."""

    near, most = False, 1 << 62

    def __init__(self, array: Any, client: Any) -> None:
        self._dask, self._client = host(), client
        self._blocks, self.runs = array.to_delayed().reshape(-1).tolist(), runs_of(array)
        alone = self._dask.base.get_scheduler(scheduler=client) is self._dask.local.get_sync
        self._threads = 0 if alone else 1  # tasks run side by side, unless there is one at a time

    @property
    def count(self) -> int:
        """The number of chunks."""
        return len(self.runs)

    def ask(
        self,
        question: Callable[..., Any],
        common: Sequence[Any],
        parts: Sequence[Sequence[Any]] | None,
        merge: Merge,
        masks: Sequence[Any] | None = None,
    ) -> Any:
        """As in ``shards.Team``."""
        delayed = self._dask.delayed
        every, masked = parts or [()] * len(self.runs), masks or [None] * len(self.runs)
        told = delayed(_Sealed((question, common, self._threads)), traverse=False)
        answers = [
            delayed(_answer_once)(told, block, run, _Sealed(part), mask)
            for block, run, part, mask in zip(self._blocks, self.runs, every, masked, strict=True)
        ]
        tree = merged(answers, lambda some: delayed(_merged)(_Sealed(merge), list(some)), 1)
        with quiet(self._dask):
            (answer,) = self._dask.compute(tree[0], scheduler=self._client)
        return merge([answer])


class _Sealed:
    """Something that Dask takes as it is, without looking for tasks in it."""

    def __init__(self, content: Any) -> None:
        self.content, self._token = content, uuid.uuid4().hex

    @property
    def nbytes(self) -> int:
        """Bytes of the queries of a question; 0 for anything else."""
        asked = [item for item in self.content[1] if isinstance(item, shard.Asked)]
        return sum(one.queries.nbytes for one in asked)

    def __dask_tokenize__(self) -> str:
        return self._token


def _answer_once(told: _Sealed, block: Any, run: tuple[int, int], part: _Sealed, mask: Any) -> Any:
    question, common, most = told.content
    with threads.at_most(most):
        masks = None if mask is None else [mask]
        return shards.answers(question, [shard.once(block, run)], common, [part.content], masks)[0]


def _merged(merge: _Sealed, parts: Sequence[Any]) -> Any:
    return merge.content(parts)


@contextmanager
def quiet(dask: Any) -> Iterator[None]:
    """Let questions be large: queries belong into tasks, as they can be sent again from there."""
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):
        yield


def built_here(array: Any, metric: str, screen: Setting) -> shards.Here:
    """The rows of an array, computed by Dask and encoded in this process."""
    dask, runs, blocks = host(), runs_of(array), array.to_delayed().reshape(-1).tolist()
    held = []
    for group in grouped(runs, array.shape[1]):
        parts = dask.compute(*(blocks[number] for number in group))
        chosen = [runs[number] for number in group]
        held.append(shard.of_blocks(parts, chosen, metric=metric, screen=screen))
    return shards.Here(held)


def settle(client: Any, futures: Sequence[Any]) -> None:
    """Wait until tasks have ended, whatever their outcome is.

    Raises:
        RuntimeError: if the cluster is without a worker for long.
        distributed.CancelledError: if what a task needs is gone.
    """
    from distributed import wait

    alone = 0.0
    while True:
        try:
            wait(futures, timeout=_LOOK_S)
        except TimeoutError:
            alone = 0.0 if client.nthreads() else alone + _LOOK_S
            if alone >= _PATIENCE_S:
                raise RuntimeError("the cluster has no worker; start one, and ask again") from None
        else:
            return


class Workers:
    """Shards that workers of a cluster hold, under keys that the cluster makes again if a worker is lost.

    A search is a task on every worker with shards, which may run nowhere else, as vectors would follow it.
    """

    near, most = False, _QUESTION_BYTES

    def __init__(self, client: Any, futures: Sequence[Any]) -> None:
        self._client, self._shards = client, list(futures)
        self._places: Mapping[str, list[int]] | None = None

    @property
    def count(self) -> int:
        """The number of shards."""
        return len(self._shards)

    def ask(
        self,
        question: Callable[..., Any],
        common: Sequence[Any],
        parts: Sequence[Sequence[Any]] | None,
        merge: Merge,
        masks: Sequence[Any] | None = None,
    ) -> Any:
        """As in ``shards.Team``; begins anew if a worker is lost meanwhile."""
        every = parts or [()] * len(self._shards)
        held = None if masks is None else self._client.compute(list(masks))
        while True:
            places = self._places = self._places or self._found()
            told = _Sealed((question, common, merge))
            futures = self._asked(places, told, every, held)
            answers = self._brought(merged(futures, lambda some: self._merging(some, merge), _FAN), places)
            if answers is not None:
                return merge(answers)

    def _asked(
        self,
        places: Mapping[str, list[int]],
        told: _Sealed,
        every: Sequence[Sequence[Any]],
        masks: Sequence[Any] | None,
    ) -> list[Any]:
        """A task for each worker with shards, which asks these."""
        dask, tasks = host(), []
        for address, numbers in places.items():
            chosen = None if masks is None else [masks[number] for number in numbers]
            parts = _Sealed([every[number] for number in numbers])
            here = {"workers": [address], "allow_other_workers": False}
            tasks.append((here, ([self._shards[number] for number in numbers], told, parts, chosen)))
        with quiet(dask):
            if told.nbytes * (len(tasks) - 1) < _ONCE_BYTES:
                return [
                    self._client.submit(_answer_here, *given, pure=False, **here) for here, given in tasks
                ]
            delayed = []
            for here, given in tasks:
                with dask.annotate(**here):
                    delayed.append(dask.delayed(_answer_here, pure=False)(*given))
            futures: list[Any] = self._client.compute(delayed, optimize_graph=False)
            return futures

    def _merging(self, futures: Sequence[Any], merge: Merge) -> Any:
        return self._client.submit(_merged, _Sealed(merge), list(futures), pure=False)

    def _brought(self, futures: Sequence[Any], places: Mapping[str, list[int]]) -> list[Any] | None:
        """The results of some tasks; None if the shards are no longer in the places where these were sent."""
        from distributed import CancelledError

        answers: list[Any] = []
        patience = _LOOK_S
        while len(answers) < len(futures):
            try:
                answers.append(futures[len(answers)].result(timeout=patience))
            except CancelledError:  # as rows that it needs are gone
                self._places = None
                return None
            except TimeoutError:
                patience = min(2 * patience, _LONGEST_LOOK_S)
                self._places = found = self._found()
                if found != places:
                    return None
        return answers

    def _found(self) -> Mapping[str, list[int]]:
        """The shards of each worker, by number, as soon as all are there."""
        from distributed import CancelledError

        while True:
            try:
                settle(self._client, self._shards)
            except CancelledError as error:
                raise Lost() from error
            for future in self._shards:
                if future.status == "error":
                    raise future.exception()
            holders = self._client.who_has(self._shards)
            places: dict[str, list[int]] = {}
            for number, future in enumerate(self._shards):
                addresses = holders.get(future.key)
                if not addresses:
                    break
                places.setdefault(min(addresses), []).append(number)
            else:
                return places


def _answer_here(
    held: Sequence[shard.Shard], told: _Sealed, parts: _Sealed, masks: Sequence[Any] | None
) -> Any:
    """The answer of the shards of one worker."""
    question, common, merge = told.content
    with _threads_of_task():
        return merge(shards.answers(question, held, common, parts.content, masks))


@contextmanager
def _threads_of_task() -> Iterator[None]:
    """In the ``with`` block, use as many threads as this worker has for tasks."""
    from distributed import get_worker

    with threads.at_most(get_worker().state.nthreads):
        yield


def built_there(client: Any, array: Any, metric: str, screen: Setting) -> Workers:
    """The rows of an array, encoded by the workers that compute its chunks."""
    from distributed import futures_of

    array = client.persist(array)
    blocks = {future.key: future for future in futures_of(array)}
    settle(client, list(blocks.values()))
    keys = [row[0] for row in array.__dask_keys__()]
    for key in keys:
        if blocks[key].status == "error":
            raise blocks[key].exception()
    holders, runs = client.who_has(list(blocks.values())), runs_of(array)
    held: dict[str, list[int]] = {}
    for number, key in enumerate(keys):
        held.setdefault(min(holders.get(key, ()), default=""), []).append(number)
    futures = []
    for address, numbers in held.items():
        for group in grouped([runs[number] for number in numbers], array.shape[1]):
            chosen = [numbers[place] for place in group]
            futures.append(
                client.submit(
                    _encoded,
                    [blocks[keys[number]] for number in chosen],
                    [runs[number] for number in chosen],
                    metric,
                    screen,
                    workers=[address] if address else None,
                    allow_other_workers=bool(address),
                    pure=False,
                )
            )
    return Workers(client, futures)


def _encoded(blocks: Sequence[Any], runs: Sequence[tuple[int, int]], metric: str, screen: Setting) -> Any:
    with _threads_of_task():
        return shard.of_blocks(blocks, runs, metric=metric, screen=screen)


def opened_there(client: Any, paths: Sequence[str], memory: bool) -> tuple[Workers, str]:
    """Index folders, each opened by a worker, and their metric."""
    asked = [client.submit(shard.folder_facts, path, pure=False) for path in paths]
    settle(client, asked)
    known = client.gather(asked)
    metric, firsts = shards.metric_of(paths, known), shards.first_numbers(known)
    workers = list(client.nthreads())
    futures = [
        client.submit(
            shard.FolderShard,
            path,
            first,
            memory,
            workers=[workers[number % len(workers)]],
            allow_other_workers=True,
            pure=False,
        )
        for number, (path, first) in enumerate(zip(paths, firsts, strict=True))
    ]
    return Workers(client, futures), metric
