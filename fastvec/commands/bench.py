"""`fastvec bench`: searches on this machine, against other libraries and the machine's own limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import options
from .output import SettingError, Table, one_line_errors, print_tables, working

_BATCHES = (1, 8, 64, 1024)
_ROWS, _DIMS = 100_000, 768
_SECONDS = 120.0
_SHARE = 0.4
"""Of the seconds that rounds take; the rest goes into preparing and checking."""


@click.command(
    short_help="Time searches on this machine, against other libraries.",
    epilog="Example: fastvec bench vectors.npy --json records.jsonl",
)
@click.argument("file", required=False, type=options.FILE, metavar="[FILE]")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1),
    default=_SECONDS,
    show_default=True,
    help="About how long; with less, fewer rounds and fewer rows.",
)
@click.option("--peers", metavar="NAME[,NAME]...", help="Other libraries.  [default: those installed]")
@click.option("--k", type=click.IntRange(min=1), default=10, show_default=True, help="Neighbors.")
@click.option(
    "--metric",
    type=click.Choice(["cosine", "dot", "euclidean"]),
    default="cosine",
    show_default=True,
    help="Of the scores.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Of every library.  [default: the processors]")
@click.option(
    "--json",
    "json_file",
    type=options.Target(),
    metavar="FILE",
    help="Write records: JSON lines, one record a line.",
)
def command(
    file: Path | None,
    seconds: float,
    peers: str | None,
    k: int,
    metric: str,
    threads: int | None,
    json_file: Path | None,
) -> None:
    """Time Index.search and knn on the rows of FILE (of any format), or on generated ones.

    Every answer is compared with a plain float64 computation before anything is timed; a wrong one ends
    the command. Competitors take turns, with the same number of threads. Queries are rows of FILE
    with a tenth of noise, or generated too.

    Peers: numpy, torch, faiss, usearch, numkong, scikit-learn, scipy, gensim, semantic_search (as
    sentence-transformers does it); and, if named, the inexact torch-bfloat16, faiss-8-bit, faiss-ivf-4,
    faiss-ivf-16, faiss-ivf-64.
    """
    with one_line_errors():
        from ..benchmark import WrongAnswer, record

        chosen, absent = _peers(peers)
        try:
            records = _run(file, seconds, chosen, absent, k, metric, threads)
        except WrongAnswer as wrong:
            raise click.ClickException(str(wrong)) from wrong
        if json_file is not None:
            record.write(json_file, records)
            click.echo(f"\n{len(records)} records: {json_file}")


def _peers(names: str | None) -> tuple[list[Any], dict[str, str]]:
    """Those named, which must be there, or the exact ones that are; and the others, with the reason."""
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
) -> list[dict[str, Any]]:
    """Print as races end; return all records."""
    from .. import get_num_threads
    from ..benchmark import limits, measure, peers, record, report, searches

    with working("making data"):
        vectors, queries, facts = _data(file, seconds)
    if k > len(vectors):
        raise click.UsageError(f"--k is {k:,}, and there are {len(vectors):,} rows")
    peers.equalize(threads or get_num_threads(), chosen)
    with working("measuring this machine (the first run also compiles, for some seconds)"):
        peaks = limits.measure()
    click.echo(report.machine(record.machine()))
    click.echo("\n".join(report.roofline(peaks)))
    click.echo(f"not installed: {', '.join(absent) or 'none'}")
    click.echo(f"data: {facts['data']}, {len(vectors):,} x {vectors.shape[1]}")
    records = [record.roofline(peaks)]
    for m in _BATCHES:
        with working(f"{m:,} queries"):
            race = searches.race(
                vectors, queries[:m], k, metric=metric, peers=chosen, absent=absent, facts=facts
            )
            found = measure(f"search: batch {m}", race, seconds=seconds * _SHARE / len(_BATCHES))
        records.append(found)
        print_tables([Table(report.title(found), report.COLUMNS, report.rows(found), report.NUMBERS)])
        if left_out := report.absent(found):
            click.echo(f"left out: {left_out}")
    click.echo(f"\n{report.LEGEND}")
    return records


def _data(file: Path | None, seconds: float) -> tuple[Any, Any, dict[str, Any]]:
    """Rows, 1,024 queries, and what to say of them."""
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
    """1,024 rows from all over, with noise of a tenth of their length."""
    import numpy as np

    from .. import normalize

    rng = np.random.default_rng(5)
    rows = vectors[rng.integers(0, len(vectors), 1024)]
    noise = normalize(rng.standard_normal(rows.shape, np.float32))
    return rows + np.linalg.norm(rows, axis=1, keepdims=True).astype(np.float32) * np.float32(0.1) * noise
