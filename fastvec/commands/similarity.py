"""`fastvec similarity`: cosines of words with each other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, BinaryIO

import click

from . import options
from .failures import one_line_errors
from .output import Table, is_terminal, print_json, print_rows, print_tables, working


@click.command(
    short_help="Cosine similarity of words with each other.",
    epilog="Example: fastvec similarity glove.txt king queen man woman --plot similarity.png",
)
@options.source
@click.argument("words", metavar="[WORD]...", nargs=-1, type=options.TEXT)
@click.option("--words", "listed", type=options.STREAM, help="A file of words, one a line, UTF-8 (-: stdin).")
@options.dims
@options.as_json
@options.plot
def command(
    words: tuple[str, ...],
    listed: BinaryIO | None,
    dims: int | None,
    as_json: bool,
    plot: Path | None,
    **source: Any,
) -> None:
    """Cosine similarity of the WORDs of FILE with each other.

    On a terminal, a table is printed; otherwise its lines, with tabs between values, which are written as
    search writes them.
    """
    chosen = options.words_to_compare(words, listed)
    with one_line_errors():
        with working():
            scores = _cosines(options.open_source(**source, dims=dims), chosen, dims)
        if plot is not None:
            from .. import plots

            side = 2.5 + 0.45 * len(chosen)
            options.save_plot(plot, lambda ax: plots.heatmap(chosen, scores, ax=ax), (side + 1, side))
    if as_json:
        print_json({"words": chosen, "similarity": scores.tolist()})
        return
    lines = list(zip(chosen, scores.tolist(), strict=True))
    if is_terminal(sys.stdout):
        rows = [(word, *(f"{s:.3f}" for s in line)) for word, line in lines]
        print_tables([Table("Cosine similarity", ("", *chosen), rows, range(1, len(chosen) + 1))])
    else:
        print_rows(("word", *chosen), [(word, *line) for word, line in lines])


def _cosines(vocabulary: Any, words: list[str], dims: int | None) -> Any:
    """The matrix of exact cosines; an entry does not depend on the other words."""
    import numpy as np

    from ..search import knn

    rows = np.stack([vocabulary[word] for word in words])
    answers = knn(rows, rows, len(rows), dims=dims)
    scores = np.empty_like(answers.scores)
    np.put_along_axis(scores, answers.indices, answers.scores, axis=1)
    return scores
