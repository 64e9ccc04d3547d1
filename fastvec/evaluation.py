"""The quality of word vectors, measured as gensim does: by analogies, and by pairs that people scored."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import FileError

if TYPE_CHECKING:
    from .index import Index

Question = tuple[str, str, str, str]
Progress = Callable[[int, int], None]

_TOP = 5  # best answers in which one that repeats no word of its question is sought, as in gensim
_BATCH = 4096


class Section(NamedTuple):
    """Questions (a, b, c, d) of one kind: a is to b as c is to d."""

    name: str
    correct: tuple[Question, ...]
    incorrect: tuple[Question, ...]
    unknown: tuple[Question, ...]
    """Questions that were not asked, because a word is not in the vocabulary."""

    @property
    def accuracy(self) -> float:
        """Share of the asked questions that were answered correctly; 0.0 if none was asked."""
        asked = len(self.correct) + len(self.incorrect)
        return len(self.correct) / asked if asked else 0.0


class AnalogyScores(NamedTuple):
    """Result of ``Vocabulary.evaluate_analogies``."""

    total: Section
    sections: tuple[Section, ...]
    skipped: int
    """The number of lines that are not a question of four words."""

    @property
    def accuracy(self) -> float:
        """Share of all asked questions that were answered correctly."""
        return self.total.accuracy


class PairScores(NamedTuple):
    """Result of ``Vocabulary.evaluate_pairs``: how well cosines of pairs agree with people's scores."""

    pearson: float
    """Linear correlation; NaN if either side is constant."""
    spearman: float
    """Correlation of ranks; equal values have the mean of their ranks."""
    coverage: float
    """Share of the pairs whose words are both known; the others are left out."""
    pairs: int
    """The number of pairs compared."""
    skipped: int
    """The number of lines that are not two words and a number."""


def known_words(words: Sequence[str], restrict: int | None, fold: bool) -> dict[str, int]:
    """The row of every word, or, if ``fold``, of its upper case; of equal ones the first counts."""
    known: dict[str, int] = {}
    for row, word in enumerate(words[:restrict]):
        known.setdefault(word.upper() if fold else word, row)
    return known


def analogies(
    index: Index,
    words: Sequence[str],
    path: str | os.PathLike[str],
    restrict: int | None,
    fold: bool,
    method: str,
    dims: int | None,
    progress: Progress | None,
) -> AnalogyScores:
    """Ask all questions of a file; see ``Vocabulary.evaluate_analogies`` for the arguments."""
    sections, skipped = _questions(path, fold)
    known = known_words(words, restrict, fold)
    asked = [q for _, questions in sections for q in questions if all(word in known for word in q)]
    answers = _answers(index, words, known, asked, restrict, fold, method, dims, progress)
    right = {q: answer == q[3] for q, answer in zip(asked, answers, strict=True)}
    result = []
    for name, questions in sections:
        parts: dict[bool | None, list[Question]] = {True: [], False: [], None: []}
        for question in questions:
            parts[right.get(question)].append(question)
        result.append(Section(name, tuple(parts[True]), tuple(parts[False]), tuple(parts[None])))
    total = Section(
        "total",
        tuple(q for section in result for q in section.correct),
        tuple(q for section in result for q in section.incorrect),
        tuple(q for section in result for q in section.unknown),
    )
    return AnalogyScores(total, tuple(result), skipped)


def _questions(path: str | os.PathLike[str], fold: bool) -> tuple[list[tuple[str, list[Question]]], int]:
    """The sections of a file in order, and the number of lines that are not questions."""
    sections: list[tuple[str, list[Question]]] = []
    skipped = 0
    for _, line in lines(path):
        if line.startswith(":"):
            sections.append((line[1:].strip(), []))
            continue
        fields = line.upper().split() if fold else line.split()
        if len(fields) != 4:
            skipped += bool(fields)
            continue
        if not sections:
            sections.append(("", []))
        sections[-1][1].append((fields[0], fields[1], fields[2], fields[3]))
    if not any(questions for _, questions in sections):
        raise FileError(path, "no line holds a question of four words: a is to b as c is to d")
    return sections, skipped


def lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 text, numbered from 1, with the line ends of any system."""
    from .files.ordinary import open_ordinary

    with open_ordinary(path) as file:
        parts = (part for line in file for part in line.rstrip(b"\r\n").split(b"\r"))
        for number, line in enumerate(parts, 1):
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                problem = f"not UTF-8 ({error}); save it as UTF-8"
                raise FileError(path, problem, row=number) from error


def _answers(
    index: Index,
    words: Sequence[str],
    known: Mapping[str, int],
    asked: Sequence[Question],
    restrict: int | None,
    fold: bool,
    method: str,
    dims: int | None,
    progress: Progress | None,
) -> list[str]:
    """For each question, the best word that is none of its first three, also not in another case."""
    rows = np.array([[known[word] for word in q[:3]] for q in asked], np.int64).reshape(-1, 3)
    allowed = None if restrict is None or restrict >= len(words) else np.arange(len(words)) < restrict
    answers = [""] * len(asked)
    done = 0
    for k, group in _by_answers_needed(words[:restrict], asked, fold):
        for start in range(0, len(group), _BATCH):
            batch = group[start : start + _BATCH]
            a, b, c = rows[batch].T
            ranking = index.analogy(
                np.stack([b, c], 1), a[:, np.newaxis], k, method=method, dims=dims, where=allowed
            )
            for i, ranked in zip(batch, ranking.indices.tolist(), strict=True):
                answers[i] = _first_new((words[row] for row in ranked if row >= 0), asked[i][:3], fold)
            done += len(batch)
            if progress is not None:
                progress(done, len(asked))
    return answers


def _by_answers_needed(
    words: Sequence[str], asked: Sequence[Question], fold: bool
) -> list[tuple[int, list[int]]]:
    """Questions by the number of answers that are needed: several if a word occurs in several cases."""
    if not fold:
        return [(1, list(range(len(asked))))]
    cases: dict[str, int] = {}
    for word in words:
        cases[word.upper()] = cases.get(word.upper(), 0) + 1
    several = {i for i, q in enumerate(asked) if any(cases[word] > 1 for word in q[:3])}
    return [(1, [i for i in range(len(asked)) if i not in several]), (_TOP, sorted(several))]


def _first_new(ranked: Iterable[str], question: Sequence[str], fold: bool) -> str:
    answer = ""
    for word in ranked:
        answer = word.upper() if fold else word
        if answer not in question:
            break
    return answer


def pairs(
    similarity: Callable[[int, int], float],
    words: Sequence[str],
    path: str | os.PathLike[str],
    restrict: int | None,
    fold: bool,
    progress: Progress | None,
) -> PairScores:
    """Compare cosines with the scores in a file; see ``Vocabulary.evaluate_pairs`` for the arguments."""
    known = known_words(words, restrict, fold)
    human, rows, all_pairs, skipped = [], [], 0, 0
    for _, line in lines(path):
        if not line.strip() or line.startswith("#"):
            continue
        pair = _pair(line, fold)
        if pair is None:
            skipped += 1
            continue
        all_pairs += 1
        a, b, score = pair
        if a in known and b in known:
            human.append(score)
            rows.append((known[a], known[b]))
    if not all_pairs:
        raise FileError(path, "no line holds two words and a number, separated by tabs or spaces")
    if not human:
        raise FileError(path, "no pair has both words in this vocabulary")
    cosines = []
    for done, pair_of_rows in enumerate(rows, 1):
        cosines.append(similarity(*pair_of_rows))
        if progress is not None:
            progress(done, len(rows))
    x, y = np.array(human), np.array(cosines)
    correlations = correlation(x, y), correlation(ranks(x), ranks(y))
    return PairScores(*correlations, len(human) / all_pairs, len(human), skipped)


def _pair(line: str, fold: bool) -> tuple[str, str, float] | None:
    fields = [field.strip() for field in line.split("\t")] if "\t" in line else line.split()
    if len(fields) != 3:
        return None
    try:
        score = float(fields[2])
    except ValueError:
        return None
    a, b = (word.upper() if fold else word for word in fields[:2])
    return (a, b, score) if np.isfinite(score) else None


def correlation(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """Pearson's correlation; NaN if either side is constant.

    Example:
        >>> import numpy as np
        >>> correlation(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))
        1.0
    """
    x, y = x - x.mean(), y - y.mean()
    length = float(np.sqrt((x @ x) * (y @ y)))
    return max(-1.0, min(1.0, float(x @ y) / length)) if length > 0.0 else float("nan")


def ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ranks from 1; equal values have the mean of their ranks.

    Example:
        >>> import numpy as np
        >>> ranks(np.array([5.0, 1.0, 5.0])).tolist()
        [2.5, 1.0, 2.5]
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place.reshape(-1)]
