"""`fastvec audit`: judge answers of any library, and write the right ones."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options, process
from .failures import one_line_errors
from .output import Table, is_terminal, print_json, print_rows, print_tables, working

if TYPE_CHECKING:
    from ..choices import Metric
    from ..results import Audit
    from .ground_truth import Source

_UNITS = ("scores", "distances", "squared-distances", "cosine-distances")
_K = 100
"""Neighbors of a ground truth, as its usual files have them."""


@click.command(
    short_help="Judge answers of any library; write the right ones.",
    epilog="Example: fastvec audit --vectors base.fvecs --queries query.fvecs --answers found.ivecs "
    "--metric euclidean",
)
@click.option("--vectors", type=options.FILE, required=True, help="The vectors that were searched.")
@click.option("--queries", type=options.FILE, required=True, help="The queries.")
@click.option("--answers", type=options.ORDINARY, help="The answers to judge: numbers of rows, best first.")
@click.option("--scores", type=options.ORDINARY, help="The scores that came with these answers.")
@click.option(
    "--scores-are",
    "unit",
    type=click.Choice(_UNITS),
    default=_UNITS[0],
    show_default=True,
    help="What the scores are: larger for nearer rows, or distances (as they are, squared, 1 - cosine).",
)
@click.option(
    "--metric", type=options.METRICS, default="cosine", show_default=True, help="How rows are scored."
)
@options.dims
@click.option(
    "--k",
    type=click.IntRange(min=1),
    help=f"Judge, or write, the first K answers.  [default: all answers; {_K} to write]",
)
@click.option(
    "--ground-truth",
    "truth",
    type=options.Target(),
    metavar="OUT",
    help="Write the right answers to OUT: .ivecs (with distances in .fvecs), .ibin, .hdf5 or .h5.",
)
@options.as_json
def command(
    vectors: Path,
    queries: Path,
    answers: Path | None,
    scores: Path | None,
    unit: str,
    metric: Metric,
    dims: int | None,
    k: int | None,
    truth: Path | None,
    as_json: bool,
) -> None:
    """Are the ANSWERS of a library the exact ones, and if not, how far from them?

    Rows are compared by their exact float64 scores, without a tolerance: rows of equal scores may be in
    any order. The exit status is 0 if all answers are exact and 3 if not. What is printed, and the
    digest of the right answer, are explained at fastvec.audit.

    Files: .npy; .fvecs, .ivecs, .bvecs; .fbin, .u8bin, .i8bin, .ibin (of which right answers go on with
    distances); .hdf5 and .h5 as ann-benchmarks writes them (train, test, neighbors, distances). Vectors and
    queries may also be in any other format of fastvec. Integers are the numbers they are.

    --ground-truth computes the right answers in pieces, which OUT.partial keeps: after an
    interruption, the same command goes on. Distances are those of the format: in HDF5, distances and
    1 - cosine; elsewhere squared Euclidean distances, and cosines and inner products as they are.
    """
    if answers is None and truth is None:
        raise click.UsageError(
            "give --answers to judge, or --ground-truth to write", click.get_current_context()
        )
    if scores is not None and answers is None:
        raise click.UsageError("--scores are those of --answers: give both")
    report: dict[str, Any] = {}
    with one_line_errors():
        with working("opening the files"):
            sources = _opened(vectors, "vectors"), _opened(queries, "queries")
            _check(sources, dims)
        if truth is not None:
            report["ground_truth"] = _written(sources, truth, metric, dims, k or _K)
        if answers is not None:
            found, searched = _judged(sources, answers, scores, unit, metric, dims, k)
            report |= searched | _record(found)
    _print(report, as_json=as_json)
    if not report.get("exact", True):
        sys.exit(process.NOT_EXACT)


def _opened(path: Path, role: str) -> Source:
    from .. import files
    from ..files import vector_sets
    from .ground_truth import Source

    known = path.suffix.lower() in vector_sets.READERS
    if known or role in ("answers", "scores"):
        return Source(path, vector_sets.read(path, role))
    return Source(path, files.read(path, repeated=True).vectors)


def _check(sources: tuple[Source, Source], dims: int | None) -> None:
    """Refuse vectors and queries that do not fit together."""
    (vectors, (rows, width)), (queries, (_, columns)) = ((s.path, s.matrix.shape) for s in sources)
    if not rows:
        raise click.ClickException(f"{vectors} has no rows")
    if dims is not None and dims > width:
        raise click.UsageError(f"--dims is {dims}, and {vectors} has {width} dimensions")
    if columns not in (width, dims):
        raise click.ClickException(f"{queries} has {columns} dimensions, and {vectors} has {width}")


def _written(
    sources: tuple[Source, Source], output: Path, metric: Metric, dims: int | None, k: int
) -> dict[str, Any]:
    from .ground_truth import Job

    with working("computing right answers", "queries") as line:
        return {"file": str(output), **Job(*sources, k, metric, dims, output).run(line)}


def _judged(
    sources: tuple[Source, Source],
    answers: Path,
    scores: Path | None,
    unit: str,
    metric: Metric,
    dims: int | None,
    k: int | None,
) -> tuple[Audit, dict[str, Any]]:
    from ..referee import judged

    vectors, queries = (source.matrix for source in sources)
    given, m = _opened(answers, "answers").matrix, queries.shape[0]
    if given.shape[0] != m:
        raise click.ClickException(f"{answers} has {given.shape[0]:,} answers, and there are {m:,} queries")
    k = k or given.shape[1]
    if k > given.shape[1]:
        raise click.UsageError(f"--k is {k}, and {answers} has {given.shape[1]} answers to a query")
    values = None
    if scores is not None:
        matrix = _opened(scores, "scores").matrix
        if matrix.shape != given.shape:
            raise click.ClickException(
                f"{scores} has the shape {matrix.shape}, and {answers} has {given.shape}"
            )
        values = _as_scores(matrix[0:m][:, :k], unit)
    facts = {
        "queries": m,
        "rows": vectors.shape[0],
        "k": k,
        "metric": metric,
        "dims": dims or vectors.shape[1],
    }
    with working(f"judging {m:,} answers"):
        return judged(queries[0:m], vectors, given[0:m][:, :k], values, metric, dims, None), facts


def _as_scores(values: Any, unit: str) -> Any:
    """The scores of fastvec that a library's values stand for."""
    import numpy as np

    from ..kernels.compile import default_mode

    with default_mode():
        wide = values.astype(np.float64)
        if unit == "squared-distances":
            return -np.sqrt(np.maximum(wide, 0.0))  # some libraries' rounding takes them below zero
        if unit == "cosine-distances":
            return 1.0 - wide
        return -wide if unit == "distances" else wide


def _record(audit: Audit) -> dict[str, Any]:
    """The audit for JSON, which has neither NaN nor infinity."""
    import numpy as np

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return [plain(item) for item in value.tolist()]
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        return bool(value) if isinstance(value, np.bool_) else value

    return {name: plain(value) for name, value in audit._asdict().items()}


def _print(report: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    if written := report.get("ground_truth"):
        click.echo(
            f"{written['file']}: the {written['k']} right answers to each of {written['queries']:,} queries"
        )
    if "exact" not in report:
        return
    first = report["first_wrong"]
    wrong = [query for query, rank in enumerate(first) if rank >= 0]
    lines: list[tuple[str, object]] = [
        ("exact", report["exact"]),
        ("recall", report["recall"]),
        ("wrong answers", len(wrong)),
    ]
    if wrong:
        lines += [("first wrong query", wrong[0]), ("its first wrong rank", first[wrong[0]])]
    named = ("order_errors", "score_error", "missing", "impossible", "repeated", "digest")
    lines += [(name.replace("_", " "), report[name]) for name in named if report[name] is not None]
    if is_terminal(sys.stdout):
        about = "{queries:,} queries, {rows:,} rows, {metric}, {dims} dims, the first {k}".format(**report)
        rows = [(name, f"{value:,}" if type(value) is int else _shown(value)) for name, value in lines]
        print_tables([Table(about, ("", "found"), rows)])
    else:
        print_rows(("fact", "value"), lines)


def _shown(value: object) -> str:
    from .output import shown

    return shown(value)
