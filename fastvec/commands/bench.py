"""`fastvec bench`: searches on this machine, against other libraries and the machine's own limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import options
from .failures import SettingError, one_line_errors
from .output import Table, print_json, print_tables, working

_BATCHES = (1, 8, 64, 1024)
_ROWS, _DIMS = 100_000, 768
_SECONDS = 120.0
_SHARE = 0.4
"""The share of the seconds that rounds take; preparing and checking take the rest."""


@click.command(
    short_help="Time searches on this machine, against other libraries.",
    epilog="Example: fastvec bench vectors.npy --records records.jsonl",
)
@click.argument("file", required=False, type=options.FILE, metavar="[FILE]")
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
@options.as_json
def command(
    file: Path | None,
    seconds: float,
    peers: str | None,
    k: int,
    metric: str,
    threads: int | None,
    target: Path | None,
    as_json: bool,
) -> None:
    """Time Index.search and knn on the rows of FILE (of any format), or on generated ones.

    Every answer is compared with a plain float64 computation before anything is timed; a wrong answer ends
    the command. All competitors use the same number of threads and take turns. Queries are rows of FILE
    with a tenth of noise, or are generated, too.

    Peers: numpy, torch, faiss, usearch, numkong, scikit-learn, scipy, gensim, semantic_search (as
    sentence-transformers does it); and, if named, the inexact torch-bfloat16, faiss-8-bit, faiss-ivf-4,
    faiss-ivf-16, faiss-ivf-64.

    A peer that lacks the metric is left out. With --json, the records of --records are printed instead of
    tables, as one array.
    """
    with one_line_errors():
        from ..benchmark import WrongAnswer, record

        chosen, absent = _peers(peers)
        try:
            records = _run(file, seconds, chosen, absent, k, metric, threads, tables=not as_json)
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


def _run(
    file: Path | None,
    seconds: float,
    chosen: list[Any],
    absent: dict[str, str],
    k: int,
    metric: str,
    threads: int | None,
    *,
    tables: bool,
) -> list[dict[str, Any]]:
    """Return all records; if ``tables``, print each as its race ends."""
    from .. import get_num_threads
    from ..benchmark import limits, measure, peers, record, report, searches

    with working("making data"):
        vectors, queries, facts = _data(file, seconds)
    if k > len(vectors):
        raise click.UsageError(f"--k is {k:,}, and there are {len(vectors):,} rows")
    peers.equalize(threads or get_num_threads(), chosen)
    with working("measuring this machine", calls=False):
        peaks = limits.measure()
    if tables:
        click.echo(report.machine(record.machine()))
        click.echo("\n".join(report.roofline(peaks)))
        click.echo(f"not installed: {', '.join(absent) or 'none'}")
        click.echo(f"data: {facts['data']}, {len(vectors):,} x {vectors.shape[1]}")
    records = [record.roofline(peaks)]
    for m in _BATCHES:
        with working(f"preparing {m:,} queries", calls=False) as line:
            race = searches.race(
                vectors, queries[:m], k, metric=metric, peers=chosen, absent=absent, facts=facts
            )
            line.now(f"checking and timing {m:,} queries", "rounds")
            share = seconds * _SHARE / len(_BATCHES)
            found = measure(f"search: batch {m}", race, seconds=share, progress=line)
        records.append(found)
        if tables:
            _print(found)
    if tables:
        click.echo(f"\n{report.LEGEND}")
    return records


def _print(found: dict[str, Any]) -> None:
    from ..benchmark import report

    print_tables([Table(report.title(found), report.COLUMNS, report.rows(found), report.NUMBERS)])
    if left_out := report.absent(found):
        click.echo(f"left out: {left_out}")


def _data(file: Path | None, seconds: float) -> tuple[Any, Any, dict[str, Any]]:
    """Rows, 1,024 queries, and what the record says about them."""
    import numpy as np

    from .. import _arguments, files, get_num_threads
    from ..benchmark import generated

    values = int(_ROWS * _DIMS * min(1.0, seconds / _SECONDS))
    if file is None:
        vectors, queries = generated.decaying(max(2000, values // _DIMS), _DIMS)
        return vectors, queries, {"data": "decaying", "figure": "batch"}
    stored = files.read(file).vectors
    shape = stored.shape
    rows = max(2000, values // max(1, shape[1]))
    vectors = np.ascontiguousarray(_arguments.matrix(stored[:rows], str(file)))
    if not len(vectors):
        raise files.FileError(file, "has no rows")
    _arguments.check_finite(vectors, str(file), get_num_threads())
    name = file.name if rows >= shape[0] else f"the first rows of {shape[0]:,} in {file.name} (--seconds)"
    return vectors, _noisy(vectors), {"data": name, "figure": "batch"}


def _noisy(vectors: Any) -> Any:
    """1,024 rows chosen at random, with noise of a tenth of their length."""
    import numpy as np

    from .. import normalize

    rng = np.random.default_rng(5)
    rows = vectors[rng.integers(0, len(vectors), 1024)]
    noise = normalize(rng.standard_normal(rows.shape, np.float32))
    return rows + np.linalg.norm(rows, axis=1, keepdims=True).astype(np.float32) * np.float32(0.1) * noise
