"""`fastvec evaluate`: how well vectors answer, at one width or several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..choices import Method
from . import options
from .failures import one_line_errors
from .output import Table, print_json, print_tables, working

_TESTS = options.ORDINARY


def _widths(_context: click.Context, _parameter: click.Parameter, value: str | None) -> list[int]:
    if value is None:
        return []
    try:
        widths = [int(part) for part in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of widths such as 64,128,256") from None
    if min(widths) < 1:
        raise click.BadParameter(f"{min(widths)} is not a width; it must be at least 1")
    return sorted(set(widths))


@click.command(
    short_help="Which model, which width? Analogies and pairs, scored.",
    epilog="Example: fastvec evaluate glove.txt --pairs wordsim353.tsv --analogies questions-words.txt "
    "--dims 10,25,50 --plot quality.png",
)
@options.source
@click.option("--pairs", type=_TESTS, multiple=True, help="Two words and a score a line (repeatable).")
@click.option("--analogies", type=_TESTS, multiple=True, help="Four words a line, ': section' (repeatable).")
@click.option(
    "--restrict", type=click.IntRange(min=1), help="Ask and answer with only the first N words.", metavar="N"
)
@click.option(
    "--method", type=options.METHODS, default="3cosadd", show_default=True, help="How analogies are answered."
)
@click.option("--case-sensitive", is_flag=True, help="Tell upper from lower case.")
@click.option(
    "--dims",
    "widths",
    callback=_widths,
    metavar="N[,N]...",
    help="Widths to evaluate.  [default: the full width]",
)
@options.as_json
@options.plot
def command(
    pairs: tuple[Path, ...],
    analogies: tuple[Path, ...],
    restrict: int | None,
    method: Method,
    case_sensitive: bool,
    widths: list[int],
    as_json: bool,
    plot: Path | None,
    **source: Any,
) -> None:
    """Show how well the vectors of FILE answer: the accuracy of analogies, the correlation of pairs."""
    if not pairs and not analogies:
        raise click.UsageError("give --pairs FILE, --analogies FILE or both", click.get_current_context())
    how: dict[str, Any] = {"restrict": restrict, "case_insensitive": not case_sensitive}
    with one_line_errors():
        with working():
            vocabulary = options.open_source(**source, dims=max(widths, default=None))
            widths = widths or [vocabulary.dims]
        results = {
            "pairs": {path: [_compare(vocabulary, path, dims=d, **how) for d in widths] for path in pairs},
            "analogies": {
                path: [_ask(vocabulary, path, dims=d, method=method, **how) for d in widths]
                for path in analogies
            },
        }
        if plot is not None:
            from .. import plots

            series = _series(results)
            options.save_plot(plot, lambda ax: plots.quality(widths, series, ax=ax), (6.4, 4.0))
    if as_json:
        print_json(_records(widths, results))
    else:
        print_tables(
            [
                *(_analogy_table(path, widths, scores) for path, scores in results["analogies"].items()),
                *(_pair_table(path, widths, scores) for path, scores in results["pairs"].items()),
            ]
        )


def _compare(vocabulary: Any, path: Path, dims: int, **how: Any) -> Any:
    with working(f"{path.name} at {dims} dims", "pairs") as progress:
        return vocabulary.evaluate_pairs(path, dims=dims, progress=progress, **how)


def _ask(vocabulary: Any, path: Path, dims: int, **how: Any) -> Any:
    with working(f"{path.name} at {dims} dims", "questions") as progress:
        return vocabulary.evaluate_analogies(path, dims=dims, progress=progress, **how)


def _series(results: dict[str, dict[Path, list[Any]]]) -> dict[str, list[float]]:
    lines = {
        f"{p.name} (accuracy)": [s.accuracy for s in scores] for p, scores in results["analogies"].items()
    }
    return lines | {
        f"{p.name} (Spearman)": [s.spearman for s in scores] for p, scores in results["pairs"].items()
    }


def _analogy_table(path: Path, widths: Sequence[int], scores: Sequence[Any]) -> Table:
    rows = []
    for number, section in enumerate((*scores[0].sections, scores[0].total)):
        parts = [(*s.sections, s.total)[number] for s in scores]
        asked = len(section.correct) + len(section.incorrect)
        # A section without questions has no accuracy.
        cells = [f"{100 * part.accuracy:.1f}" if asked else "" for part in parts]
        rows.append((section.name, str(asked), str(len(section.unknown)), *cells))
    columns = ("", "asked", "unknown", *(f"{d} dims" for d in widths))
    return Table(f"Analogies of {path.name}, % correct", columns, rows, range(1, len(columns)))


def _pair_table(path: Path, widths: Sequence[int], scores: Sequence[Any]) -> Table:
    rows = [
        ("Spearman", *(f"{s.spearman:.3f}" for s in scores)),
        ("Pearson", *(f"{s.pearson:.3f}" for s in scores)),
    ]
    known = f"{scores[0].pairs} pairs, {100 * scores[0].coverage:.1f} % of all"
    columns = ("", *(f"{d} dims" for d in widths))
    return Table(f"Pairs of {path.name}, correlation ({known})", columns, rows, range(1, len(columns)))


def _records(widths: Sequence[int], results: dict[str, dict[Path, list[Any]]]) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for path, scores in results["analogies"].items():
        for dims, s in zip(widths, scores, strict=True):
            sections = [_section(part) for part in s.sections]
            records.append({"analogies": str(path), "dims": dims, **_section(s.total), "sections": sections})
    for path, scores in results["pairs"].items():
        for dims, s in zip(widths, scores, strict=True):
            # JSON has no NaN.
            values = {key: None if math.isnan(value) else value for key, value in s._asdict().items()}
            records.append({"pairs_of": str(path), "dims": dims, **values})
    return records


def _section(section: Any) -> dict[str, Any]:
    counts = {key: len(getattr(section, key)) for key in ("correct", "incorrect", "unknown")}
    return {"name": section.name, "accuracy": section.accuracy, **counts}
