"""A plan for 10⁹ vectors of 1,024 dims, searched exactly on a cluster: memory, latency, throughput, cost.

    python bench/cluster_plan.py                simulate with the figures in bench/cluster_plan.json
    python bench/cluster_plan.py measure        measure those figures on this machine, and write them
    python bench/cluster_plan.py check [ROWS]   compare a simulation of two processes with two processes

A search goes through these steps, and the simulation follows each:

    client     hands a task to every machine, one after another, with the bytes of the queries
    machine    scans its rows and scores candidates: seconds a row and a constant, times how long it
               straggles, drawn from measured repetitions
    tree       answers are merged eight at a time: a transfer, and seconds a candidate; the last ones by
               the client

The work of the client and that of machines overlap between searches, so the slower of the two decides on
throughput; latency is that of a search on an idle cluster.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastvec
from fastvec._stores import passes, shard

RECORD = Path(__file__).with_suffix(".json")
DIMS, K, FAN, WIDTH = 1024, 10, 8, 256
BATCHES = (1, 64, 1024)
FACTOR = 2.0
"""By how much a simulated time may differ from the measured one."""


class Machine(NamedTuple):
    """What a machine of the plan is assumed to be."""

    cores: int = 64
    memory: float = 512e9
    """Bytes, of which four fifths are for rows."""
    bandwidth: float = 200e9
    """Bytes a second that all cores together read from memory."""
    network: float = 25e9 / 8
    hop_s: float = 50e-6
    disk_reads: float = 500e3
    """Random reads of 4 KiB a second."""
    price: float = 3.0
    """Dollars an hour."""


class Plan(NamedTuple):
    """Rows over machines."""

    rows: float
    machines: int
    screen: bool
    machine: Machine = Machine()
    on_disk: bool = True
    """Whether float32 rows stay on disk, and only codes are in memory."""

    @property
    def bytes(self) -> float:
        """Bytes of memory for each machine."""
        a_row = DIMS + 16 + (WIDTH + 16) * self.screen + 4 * DIMS * (not self.on_disk)
        return a_row * self.rows / self.machines


def scan_s(plan: Plan, batch: int, measured: dict[str, Any]) -> float:
    """Seconds for a machine to search its rows, on all cores."""
    fit, rows = measured["scan"]["screen" if plan.screen else "codes"][str(batch)], plan.rows / plan.machines
    cores = plan.machine.cores / measured["threads"]
    first = WIDTH + 16 if plan.screen else DIMS + 16
    reading = rows * first / plan.machine.bandwidth  # codes are read at least once for a batch
    disk = batch * measured["rescored"] / plan.machine.disk_reads if plan.on_disk else 0.0
    return max(rows * fit["row_s"] / cores, reading) + fit["constant_s"] / min(cores, batch) + disk


def search_s(
    plan: Plan, batch: int, measured: dict[str, Any], random: np.random.Generator
) -> tuple[float, float, float]:
    """One search: its latency, and for how long it keeps the client and a machine busy."""
    w, machine = plan.machines, plan.machine
    sent, answer = batch * 4 * DIMS, batch * K * 16
    handing = measured["task_s"] + sent / machine.network + sent * measured["byte_s"]
    begun = measured["idle_s"] + machine.hop_s + handing * np.arange(1, w + 1)
    work = scan_s(plan, batch, measured)
    ended = begun + work * random.choice(measured["straggling"], w)
    merge_s = batch * K * measured["merge_s"]
    tasks = w
    while len(ended) > FAN:
        groups = [ended[at : at + FAN] for at in range(0, len(ended), FAN)]
        cost = FAN * (answer / machine.network + merge_s) + machine.hop_s + measured["idle_s"] / 2
        ended = np.array([group.max() + cost for group in groups])
        tasks += len(groups)
    last = ended.max() + len(ended) * (answer / machine.network + merge_s)
    client = (
        w * handing + (tasks - w) * measured["task_s"] + len(ended) * (answer / machine.network + merge_s)
    )
    return last, client, work * float(np.mean(measured["straggling"]))


class Outcome(NamedTuple):
    """What a plan comes to, for batches of one size."""

    median_s: float
    late_s: float
    """The 99th percentile."""
    queries_s: float
    limit: str
    """What decides on throughput."""


def simulated(plan: Plan, batch: int, measured: dict[str, Any], searches: int = 400) -> Outcome:
    """Latency and throughput of many searches."""
    random = np.random.default_rng(0)
    runs = np.array([search_s(plan, batch, measured, random) for _ in range(searches)])
    client, machine = runs[:, 1].mean(), runs[:, 2].mean()
    limit = "client" if client > machine else "machines"
    return Outcome(*np.quantile(runs[:, 0], [0.5, 0.99]).tolist(), batch / max(client, machine), limit)


def dollars(plan: Plan, outcome: Outcome) -> float:
    """The cost of a million queries, on a cluster that is never idle."""
    return plan.machines * plan.machine.price / 3600 / outcome.queries_s * 1e6


def table(measured: dict[str, Any], rows: float = 1e9) -> str:
    """The plans, as a table of Markdown."""
    lines = [
        "| machines | screen | memory each | batch | median | 99 % | queries/s | limit | $ a million |",
        "|---:|---|---:|---:|---:|---:|---:|---|---:|",
    ]
    for machines in (4, 8, 16, 32, 64, 256):
        for screen in (False, True):
            plan = Plan(rows, machines, screen)
            room = "" if plan.bytes < 0.8 * plan.machine.memory else " (too much)"
            for batch in BATCHES:
                outcome = simulated(plan, batch, measured, 100)
                lines.append(
                    f"| {machines} | {'yes' if screen else 'no'} | {plan.bytes / 1e9:.0f} GB{room} "
                    f"| {batch:,} "
                    f"| {1e3 * outcome.median_s:,.0f} ms | {1e3 * outcome.late_s:,.0f} ms "
                    f"| {outcome.queries_s:,.1f} | {outcome.limit} | {dollars(plan, outcome):,.2f} |"
                )
    for batch in BATCHES:
        for screen in (False, True):
            most = stops_at(rows, screen, batch, measured)
            name = "with" if screen else "without"
            lines.append(
                f"\nBatches of {batch:,}, {name} a screen: throughput stops growing at {most} machines."
            )
    return "\n".join(lines)


def stops_at(rows: float, screen: bool, batch: int, measured: dict[str, Any]) -> int:
    """From how many machines on the client is busy for longer than a machine."""
    machines = 1
    while (
        simulated(Plan(rows, machines, screen), batch, measured, 20).limit == "machines"
        and machines < 1 << 14
    ):
        machines += max(1, machines // 10)
    return machines


def rows_of(count: int) -> np.ndarray:
    """Vectors around 2,048 centers, with columns that fade; the first ones serve as queries."""
    random = np.random.default_rng(0)
    fading = (1 + np.arange(DIMS, dtype=np.float32)) ** -0.5
    centers = random.standard_normal((2048, DIMS), dtype=np.float32)
    rows = random.standard_normal((count, DIMS), dtype=np.float32)
    rows *= np.float32(0.5)
    rows += centers[random.integers(0, len(centers), count)]
    rows *= fading
    return rows


def _seconds(call: Callable[[], object], repeats: int = 5) -> list[float]:
    call()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return times


def measure() -> dict[str, Any]:
    """The figures of this machine."""
    sizes = (50_000, 150_000)
    rows, scan = rows_of(sizes[1] + 1024), {}
    straggling: list[float] = []
    rescored = 0.0
    for name, screen in (("codes", "off"), ("screen", WIDTH)):
        indexes = [fastvec.Index(rows[1024 : 1024 + size], screen=screen) for size in sizes]
        fits = {}
        for batch in BATCHES:
            few, many = (
                statistics.median(_seconds(lambda index=index, batch=batch: index.search(rows[:batch], K)))
                for index in indexes
            )
            row_s = max(many - few, 0.0) / (sizes[1] - sizes[0])
            fits[batch] = {"row_s": row_s, "constant_s": max(0.0, few - row_s * sizes[0])}
        scan[name] = fits
        if name == "codes":
            request = indexes[1]._rows.now().request(rows[:64], K, metric="cosine")
            rescored = passes.search(indexes[1]._store, request)[1].rescored / 64
            times = _seconds(lambda index=indexes[1]: index.search(rows[:1], K), 200)
            straggling = (np.quantile(times, np.linspace(0.025, 0.975, 20)) / np.median(times)).tolist()
    rows_held = shard.of_blocks([rows[1024:51_024]], [(0, 50_000)], metric="cosine", screen="off")
    ranked = shard.nearest(rows_held, shard.Asked(rows[:1024], K, "cosine", DIMS), shard.Filter(None, None))
    merge = statistics.median(_seconds(lambda: shard.best(K)([ranked] * FAN))) / (FAN * 1024 * K)
    return {
        "threads": fastvec.get_num_threads(),
        "scan": scan,
        "straggling": straggling,
        "rescored": rescored,
        "merge_s": merge,
        **_cluster_figures(),
    }


def _cluster_figures() -> dict[str, float]:
    """Seconds that an idle cluster takes for a task, those for each further one, and for each byte."""
    with two_processes() as client:
        workers = list(client.nthreads())

        def tasks(count: int, content: bytes = b"") -> None:
            futures = [
                client.submit(len, content, workers=[workers[number % 2]], pure=False)
                for number in range(count)
            ]
            for future in futures:
                future.result()

        one, many = (statistics.median(_seconds(lambda n=n: tasks(n), 9)) for n in (1, 65))
        large = statistics.median(_seconds(lambda: tasks(1, bytes(4 << 20)), 9))
    return {"idle_s": one, "task_s": (many - one) / 64, "byte_s": max(0.0, large - one) / (4 << 20)}


def two_processes() -> Any:
    """A client of a cluster of two processes with one thread each, which ends with the client's block."""
    from contextlib import contextmanager

    from distributed import Client, LocalCluster

    @contextmanager
    def running() -> Any:
        with (
            LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=logging.ERROR
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client

    return running()


def check(measured: dict[str, Any], rows: int = 150_000) -> bool:
    """Compare simulated and measured times of two processes on this machine."""
    import dask
    import dask.array as da

    from fastvec.integrations.dask import Index

    here = Machine(cores=1, bandwidth=1e12, network=1e12, hop_s=0.0)
    right = True
    with tempfile.TemporaryDirectory() as folder, two_processes() as client:
        path = os.path.join(folder, "vectors.npy")
        np.save(path, rows_of(rows + 1024))
        vectors = np.load(path, mmap_mode="r")
        one = fastvec.Index(vectors[1024:], screen="off")
        parts = [
            da.from_delayed(dask.delayed(_part)(path, at, at + rows // 2), (rows // 2, DIMS), np.float32)
            for at in (1024, 1024 + rows // 2)
        ]
        index = Index(da.concatenate(parts), screen="off", client=client)
        print("batch | simulated | measured | one process | throughput of two to one")
        for batch in BATCHES:
            queries = vectors[:batch]
            answer, expected = index.search(queries, K), one.search(queries, K)
            assert (answer.indices == expected.indices).all()
            assert (answer.scores == expected.scores).all()
            pairs = [
                (
                    _seconds(lambda queries=queries: one.search(queries, K), 1)[0],
                    _seconds(lambda queries=queries: index.search(queries, K), 1)[0],
                )
                for _ in range(7)
            ]
            alone, found = (statistics.median(times) for times in zip(*pairs, strict=True))
            plan = Plan(rows, 2, False, here, on_disk=False)
            expected_s = simulated(plan, batch, measured, 100).median_s
            right &= 1 / FACTOR <= expected_s / found <= FACTOR
            print(
                f"{batch:5} | {1e3 * expected_s:6.1f} ms | {1e3 * found:5.1f} ms | {1e3 * alone:5.1f} ms "
                f"| {alone / found:.2f}"
            )
    return right


def _part(path: str, first: int, last: int) -> np.ndarray:
    return np.load(path, mmap_mode="r")[first:last]


def main(arguments: list[str]) -> int:
    """Run the command that is named."""
    if arguments == ["measure"]:
        RECORD.write_text(json.dumps(measure(), indent=1) + "\n")
        return 0
    measured = json.loads(RECORD.read_text())
    if arguments[:1] == ["check"]:
        if not check(measured, *map(int, arguments[1:])):
            print(f"a simulated time differs from the measured one by more than a factor of {FACTOR:g}")
            return 1
        return 0
    print(table(measured))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
