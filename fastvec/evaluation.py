"""The quality of word vectors, measured as gensim does: by analogies, and by pairs that people scored.

``Vocabulary`` has the functions ``analogies`` and ``pairs`` as its methods ``evaluate_analogies`` and
``evaluate_pairs``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from ._checks import whole_number
from .choices import Method
from .errors import FileError

if TYPE_CHECKING:
    from .vocabulary import Vocabulary

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


class _Known(NamedTuple):
    """The words of a vocabulary that an evaluation uses."""

    words: Sequence[str]
    fold: bool
    """Whether words are compared in upper case."""
    rows: Mapping[str, int]
    """The row of each word, as it is compared."""
    where: npt.NDArray[np.bool_] | None
    """Which rows may be answers; None: all."""

    @classmethod
    def of(cls, vocabulary: Vocabulary, restrict: int | None, case_insensitive: bool) -> _Known:
        if restrict is not None:
            restrict = whole_number(restrict, "restrict", 1)
        words, fold = vocabulary.words[:restrict], bool(case_insensitive)
        n = len(vocabulary)
        where = None if len(words) == n else np.arange(n) < len(words)
        return cls(words, fold, known_words(words, fold), where)


def known_words(words: Sequence[str], fold: bool) -> dict[str, int]:
    """The row of every word, or, if ``fold``, of its upper case; of equal ones the first counts."""
    known: dict[str, int] = {}
    for row, word in enumerate(words):
        known.setdefault(word.upper() if fold else word, row)
    return known


def analogies(
    self: Vocabulary,
    path: str | os.PathLike[str],
    *,
    restrict: int | None = None,
    case_insensitive: bool = True,
    method: Method = "3cosadd",
    dims: int | None = None,
    progress: Progress | None = None,
) -> AnalogyScores:
    """How many analogy questions of a file are answered correctly, counted as gensim does.

    A line holds four words a, b, c, d: "a is to b as c is to d"; a line ": name" begins a section.
    Questions with an unknown word are not asked. If an answer is a word of the question in another
    case, the next of the best five answers counts instead.

    Args:
        path: the file, in UTF-8, such as Google's questions-words.txt.
        restrict: ask and answer with only the first ``restrict`` words; None: all.
        case_insensitive: compare words in upper case; if several are then equal, the first counts.
        method: "3cosadd" or "3cosmul".
        dims: use only the first ``dims`` columns.
        progress: called with the number of questions answered so far and the number asked.

    Returns:
        ``AnalogyScores``: ``accuracy``, the ``total`` and the ``sections``, each with its
        ``accuracy`` and its numbers of questions ``correct``, ``incorrect`` and ``unknown``.

    Raises:
        fastvec.errors.FileError: (a ValueError) if no line holds a question.
        ValueError: as in ``fastvec.analogy``.

    Example:
        >>> import fastvec, os, tempfile
        >>> words = ["man", "woman", "king", "queen"]
        >>> vocabulary = fastvec.Vocabulary(words, [[1, 0, 0], [0, 1, 0], [1, 0, 1], [0, 1, 1]])
        >>> path = os.path.join(tempfile.mkdtemp(), "questions.txt")
        >>> with open(path, "w") as file: _ = file.write(": royal\\nMan king Woman queen\\n")
        >>> vocabulary.evaluate_analogies(path).accuracy
        1.0
    """
    known = _Known.of(self, restrict, case_insensitive)
    sections, skipped = _questions(path, known.fold)
    asked = [q for _, questions in sections for q in questions if all(word in known.rows for word in q)]

    def ask(rows: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.int64]:
        a, b, c = rows.T
        return self.index.analogy(
            np.stack([b, c], 1), a[:, np.newaxis], k, method=method, dims=dims, where=known.where
        ).indices

    answers = _answers(asked, known, ask, progress)
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
    asked: Sequence[Question],
    known: _Known,
    ask: Callable[[npt.NDArray[np.int64], int], npt.NDArray[np.int64]],
    progress: Progress | None,
) -> list[str]:
    """For each question, the best word that does not repeat one of its first three, also in another case.

    ``ask`` returns the k best rows for questions whose first three words are in these rows.
    """
    rows = np.array([[known.rows[word] for word in q[:3]] for q in asked], np.int64).reshape(-1, 3)
    answers = [""] * len(asked)
    done = 0
    for k, group in _by_answers_needed(known, asked):
        for start in range(0, len(group), _BATCH):
            batch = group[start : start + _BATCH]
            for i, ranked in zip(batch, ask(rows[batch], k).tolist(), strict=True):
                best = (known.words[row] for row in ranked if row >= 0)
                answers[i] = _first_new(best, asked[i][:3], known.fold)
            done += len(batch)
            if progress is not None:
                progress(done, len(asked))
    return answers


def _by_answers_needed(known: _Known, asked: Sequence[Question]) -> list[tuple[int, list[int]]]:
    """Questions by the number of answers that are needed: several if a word occurs in several cases."""
    if not known.fold:
        return [(1, list(range(len(asked))))]
    cases: dict[str, int] = {}
    for word in known.words:
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
    self: Vocabulary,
    path: str | os.PathLike[str],
    *,
    restrict: int | None = None,
    case_insensitive: bool = True,
    dims: int | None = None,
    progress: Progress | None = None,
) -> PairScores:
    """How well cosines agree with scores that people gave to pairs of words.

    A line holds two words and a number, separated by tabs or spaces; lines that begin with # are
    comments. Pairs with an unknown word are left out.

    Args:
        path: the file, in UTF-8, such as wordsim353.tsv.
        restrict: use only the first ``restrict`` words; None: all.
        case_insensitive: compare words in upper case; if several are then equal, the first counts.
        dims: use only the first ``dims`` columns.
        progress: called with the number of pairs compared so far and the number to compare.

    Returns:
        ``PairScores``: ``pearson``, ``spearman``, ``coverage``, ``pairs``, ``skipped``.

    Raises:
        fastvec.errors.FileError: (a ValueError) if no pair can be compared.

    Example:
        >>> import fastvec, os, tempfile
        >>> vocabulary = fastvec.Vocabulary(["cat", "dog", "car"], [[2, 1], [2, 0], [0, 1]])
        >>> path = os.path.join(tempfile.mkdtemp(), "pairs.tsv")
        >>> with open(path, "w") as file: _ = file.write("cat dog 9\\ncat car 3\\ndog car 1\\n")
        >>> vocabulary.evaluate_pairs(path).spearman
        1.0
    """
    from .search import knn

    known = _Known.of(self, restrict, case_insensitive)
    human, rows, all_pairs, skipped = [], [], 0, 0
    for _, line in lines(path):
        if not line.strip() or line.startswith("#"):
            continue
        pair = _pair(line, known.fold)
        if pair is None:
            skipped += 1
            continue
        all_pairs += 1
        a, b, score = pair
        if a in known.rows and b in known.rows:
            human.append(score)
            rows.append((known.rows[a], known.rows[b]))
    if not all_pairs:
        raise FileError(path, "no line holds two words and a number, separated by tabs or spaces")
    if not human:
        raise FileError(path, "no pair has both words in this vocabulary")
    vectors, cosines = self.vectors, []
    for done, (row, other) in enumerate(rows, 1):
        ((_, cosine),) = knn(vectors[row], vectors[other : other + 1], 1, dims=dims).lists()
        cosines.append(float(cosine))
        if progress is not None:
            progress(done, len(rows))
    x, y = np.array(human), np.array(cosines)
    return PairScores(
        pearson=correlation(x, y),
        spearman=correlation(ranks(x), ranks(y)),
        coverage=len(human) / all_pairs,
        pairs=len(human),
        skipped=skipped,
    )


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
