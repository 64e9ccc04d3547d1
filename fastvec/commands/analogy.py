"""`fastvec analogy`: one question, or a file of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ..choices import Method
from . import options
from .failures import one_line_errors
from .output import Table, is_terminal, print_json, print_rows, print_tables, working

Questions = list[tuple[str, str, str]]


@click.command(
    short_help="A is to B as C is to what?",
    epilog="Example: fastvec analogy glove.txt man king woman",
)
@options.source
@click.argument("words", metavar="[A B C]", nargs=-1, type=options.TEXT)
@click.option(
    "--questions",
    type=options.ORDINARY,
    help="A file of questions, three words a line; a fourth word and lines that begin with : are ignored.",
)
@click.option("--k", type=click.IntRange(min=1), help="Answers to each question.  [default: 5; of a file, 1]")
@click.option("--method", type=options.METHODS, default="3cosadd", show_default=True)
@options.dims
@options.as_json
def command(
    words: tuple[str, ...],
    questions: Path | None,
    k: int | None,
    method: Method,
    dims: int | None,
    as_json: bool,
    **source: Any,
) -> None:
    """A is to B as C is to what? The words of the question are left out of the answers.

    On a terminal, tables are printed; otherwise a line for each answer, with tabs between values, which are
    written as search writes them.
    """
    if (len(words) != 3) if questions is None else words:
        raise click.UsageError("give three words, or --questions FILE", click.get_current_context())
    k = k or (5 if questions is None else 1)
    with one_line_errors(), working() as line:
        asked = [(words[0], words[1], words[2])] if questions is None else _questions(questions)
        vocabulary = options.open_source(**source, dims=dims)
        line.now(f"searching {len(vocabulary):,} rows", "questions")
        if questions is None:
            hits = [vocabulary.most_similar([words[1], words[2]], words[0], k, method=method, dims=dims)]
        else:
            hits = _answers(vocabulary, asked, k, method, dims, line)
    if as_json:
        print_json([_record(vocabulary, q, answers) for q, answers in zip(asked, hits, strict=True)])
    elif not is_terminal(sys.stdout):
        _print_lines(vocabulary, asked, hits)
    elif questions is None:
        rows = [(f"{score:.3f}", word) for word, score in hits[0]]
        print_tables([Table(f"{words[0]} is to {words[1]} as {words[2]} is to", ("score", "word"), rows)])
    else:
        lines = [
            (*q, *(f"{word} {score:.3f}" for word, score in answers))
            if all(word in vocabulary for word in q)
            else (*q, "not in this vocabulary: " + ", ".join(w for w in q if w not in vocabulary))
            for q, answers in zip(asked, hits, strict=True)
        ]
        print_tables([Table("A is to B as C is to", ("A", "B", "C", "", *[""] * (k - 1)), lines)])


def _print_lines(vocabulary: Any, asked: Questions, hits: list[list[tuple[str, float]]]) -> None:
    """Print a line for each answer; standard error names the questions that have none."""
    from ..labels import enumerated, quoted

    unknown = list(dict.fromkeys(word for q in asked for word in q if word not in vocabulary))
    if unknown:
        count = sum(any(word not in vocabulary for word in q) for q in asked)
        names = enumerated(map(quoted, unknown), len(unknown))
        have = "has" if count == 1 else "have"
        click.echo(
            f"fastvec: {count} of {len(asked)} questions {have} words that are not in the file: {names}",
            err=True,
        )
    lines = (
        (*question, rank, score, word)
        for question, answers in zip(asked, hits, strict=True)
        for rank, (word, score) in enumerate(answers, 1)
    )
    print_rows(("a", "b", "c", "rank", "score", "word"), lines)


def _questions(path: Path) -> Questions:
    from ..evaluation import lines
    from ..files import FileError

    asked: Questions = []
    for number, line in lines(path):
        fields = line.split()
        if not fields or line.startswith(":"):
            continue
        if len(fields) not in (3, 4):
            raise FileError(path, f"{len(fields)} words; a question has three", row=number)
        asked.append((fields[0], fields[1], fields[2]))
    if not asked:
        raise FileError(path, "no line holds a question of three words")
    return asked


def _answers(
    vocabulary: Any, asked: Questions, k: int, method: Method, dims: int | None, progress: Any
) -> list[list[tuple[str, float]]]:
    """The answers to each question, in batches; a question with unknown words has none."""
    place = {word: row for row, word in enumerate(vocabulary.words)}
    known = [i for i, question in enumerate(asked) if all(word in place for word in question)]
    hits: list[list[tuple[str, float]]] = [[] for _ in asked]
    for start in range(0, len(known), 4096):
        batch = known[start : start + 4096]
        rows = [[place[word] for word in asked[i]] for i in batch]
        answers = vocabulary.index.analogy(
            [[b, c] for _, b, c in rows], [[a] for a, _, _ in rows], k, method=method, dims=dims
        )
        for i, scores, indices in zip(batch, answers.scores.tolist(), answers.indices.tolist(), strict=True):
            pairs = zip(indices, scores, strict=True)
            hits[i] = [(vocabulary.words[row], score) for row, score in pairs if row >= 0]
        progress(start + len(batch), len(known))
    return hits


def _record(
    vocabulary: Any, question: tuple[str, str, str], answers: list[tuple[str, float]]
) -> dict[str, Any]:
    record: dict[str, Any] = dict(zip("abc", question, strict=True))
    unknown = [word for word in question if word not in vocabulary]
    if unknown:
        record["unknown"] = unknown
    return {**record, "answers": [{"word": word, "score": score} for word, score in answers]}
