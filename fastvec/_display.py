"""Answers in short: what they are and the first of their rows, as text and as tables of HTML."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

MOST = 5
"""Queries that are shown, rows of each, and pairs."""


class Ranked(NamedTuple):
    """The first rows of the first queries of an answer."""

    hits: list[list[tuple[int, float]]]
    """For each query shown, its first pairs (index, score)."""
    found: list[int]
    """For each query shown, how many rows it has."""
    queries: int | None
    """How many queries the answer has; None: one, which was given as a single row."""


def ranked_text(head: str, ranked: Ranked) -> str:
    """An answer as lines: what it is, then a line for each query."""
    lines = [_line(*row) for row in zip(ranked.hits, ranked.found, strict=True)]
    if ranked.queries is None:
        return f"{head}\n{lines[0]}"
    return _with_rest(head, [f"{query}: {line}" for query, line in enumerate(lines)], ranked.queries)


def ranked_html(head: str, ranked: Ranked) -> str:
    """An answer as a table with a row for each row found."""
    rows = [
        (query, rank, index, f"{score:.6g}")
        for query, hits in enumerate(ranked.hits)
        for rank, (index, score) in enumerate(hits)
    ]
    return _html(head, ("query", "rank", "index", "score"), rows)


Pair = tuple[int, int, float]


def pairs_text(head: str, first: list[Pair], n: int) -> str:
    """Pairs as lines: how many there are, then a line for each of the first."""
    return _with_rest(head, [f"{left} {right} ({score:.6g})" for left, right, score in first], n)


def pairs_html(head: str, first: list[Pair]) -> str:
    """The first pairs as a table."""
    return _html(
        head, ("left", "right", "score"), [(left, right, f"{score:.6g}") for left, right, score in first]
    )


def counted(n: int, one: str, several: str) -> str:
    """A number and its noun."""
    return f"{n:,} {one if n == 1 else several}"


def _line(hits: list[tuple[int, float]], found: int) -> str:
    rest = [f"… {found - len(hits):,} more"] if found > len(hits) else []
    return "  ".join([f"{index} ({score:.6g})" for index, score in hits] + rest)


def _with_rest(head: str, lines: list[str], n: int) -> str:
    rest = [f"… {n - len(lines):,} more"] if n > len(lines) else []
    return "\n".join([head, *lines, *rest])


def _html(head: str, names: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    titles = "".join(f"<th>{name}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{value}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table><caption>{head}</caption><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"
