"""`fastvec search`: the nearest words of words."""

from __future__ import annotations

from typing import Any, BinaryIO

import click

from . import options
from .output import Table, one_line_errors, print_json, print_tables, working


@click.command(
    short_help="The nearest words of words.",
    epilog="Example: fastvec search glove.txt king 男人 --k 5",
)
@options.source
@click.argument("words", metavar="[WORD]...", nargs=-1, type=options.TEXT)
@click.option("--words", "listed", type=options.STREAM, help="Words, one a line, UTF-8 (-: stdin).")
@click.option("--k", type=click.IntRange(min=1), default=10, show_default=True, help="Answers to each word.")
@options.dims
@options.as_json
def command(
    words: tuple[str, ...], listed: BinaryIO | None, k: int, dims: int | None, as_json: bool, **source: Any
) -> None:
    """The words of FILE nearest to each WORD, which is left out itself."""
    chosen = options.words_of(words, listed)
    if not chosen:
        raise click.UsageError("give at least one word", click.get_current_context())
    with one_line_errors(), working():
        found = options.open_source(**source, dims=dims).search(chosen, k, dims=dims)
    if as_json:
        print_json(
            [
                {"word": word, "nearest": [{"word": other, "score": score} for other, score in hits]}
                for word, hits in zip(chosen, found, strict=True)
            ]
        )
        return
    print_tables(
        [
            Table(f"Nearest to {word}", ("score", "word"), [(f"{score:.3f}", other) for other, score in hits])
            for word, hits in zip(chosen, found, strict=True)
        ]
    )
