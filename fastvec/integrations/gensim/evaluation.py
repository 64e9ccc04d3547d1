"""How well vectors answer analogies and agree with people's similarities."""

from __future__ import annotations

import bz2
import gzip
import logging
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .words import WordVectors

Question = tuple[str, str, str, str]
Section = dict[str, Any]

logger = logging.getLogger(__name__)

_TOP = 5
"""Best answers in which one that is no word of its question is sought."""
_BATCH = 4096


def evaluate_word_analogies(
    self: WordVectors,
    analogies: Any,
    restrict_vocab: int | None = 300_000,
    case_insensitive: bool = True,
    dummy4unknown: bool = False,
    similarity_function: str = "most_similar",
) -> tuple[float, list[Section]]:
    """The share of analogy questions of a file that are answered correctly.

    A line holds four words: a is to b as c is to d; a line ": name" begins a section.

    Args:
        analogies: the path of the file, in UTF-8; .gz and .bz2 are decompressed.
        restrict_vocab: ask and answer with only the first ``restrict_vocab`` words.
        case_insensitive: compare words in upper case; of equal ones the first counts.
        dummy4unknown: count a question with an unknown word as answered wrongly, instead of leaving it out.
        similarity_function: "most_similar" or "most_similar_cosmul".

    Returns:
        The share, and for each section, and last for all, a dict with ``section``, ``correct`` and
        ``incorrect``.

    Raises:
        ValueError: if a question comes before the first section, or for an unknown function.
    """
    asks: dict[str, Callable[..., list[list[Any]]]] = {
        "most_similar": _by_sum,
        "most_similar_cosmul": _by_product,
    }
    if similarity_function not in asks:
        names = ", ".join(map(repr, asks))
        raise ValueError(f"similarity_function is {similarity_function!r}; it must be one of {names}")
    rows = _rows(self, restrict_vocab, case_insensitive)
    sections = _sections(analogies, case_insensitive)
    asked = {q for _, questions in sections for q in questions if all(word in rows for word in q)}
    questions = sorted(asked)
    numbers = [[rows[word] for word in (b, c, a)] for a, b, c, _ in questions]
    right = {}
    ranked = asks[similarity_function](self, numbers, restrict_vocab)
    for question, words in zip(questions, ranked, strict=True):
        right[question] = _first_new(words, question[:3], case_insensitive) == question[3]
    result: list[Section] = []
    for name, lines in sections:
        known = [q for q in lines if q in asked or dummy4unknown]
        correct = [q for q in known if right.get(q, False)]
        wrong = [q for q in known if not right.get(q, False)]
        result.append({"section": name, "correct": correct, "incorrect": wrong})
    total = {
        "section": "Total accuracy",
        "correct": [q for section in result for q in section["correct"]],
        "incorrect": [q for section in result for q in section["incorrect"]],
    }
    scores = [_score(section) for section in (*result, total)]
    return scores[-1], [*result, total]


def evaluate_word_pairs(
    self: WordVectors,
    pairs: Any,
    delimiter: str = "\t",
    encoding: str = "utf8",
    restrict_vocab: int | None = 300_000,
    case_insensitive: bool = True,
    dummy4unknown: bool = False,
) -> tuple[Any, Any, float]:
    """How well cosines agree with similarities that people gave to pairs of words.

    Args:
        pairs: the path of a file whose lines hold two words and a number; .gz and .bz2 are decompressed.
        delimiter: what separates them.
        encoding: of the file.
        restrict_vocab: use only the first ``restrict_vocab`` words.
        case_insensitive: compare words in upper case; of equal ones the first counts.
        dummy4unknown: give a pair with an unknown word the similarity 0, instead of leaving it out.

    Returns:
        Pearson's and Spearman's correlations, each with its p-value, as SciPy returns them, and the
        percentage of pairs with an unknown word.

    Raises:
        ValueError: if there is no pair to compare.
        ModuleNotFoundError: if SciPy is not installed.
    """
    try:
        from scipy import stats
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "evaluate_word_pairs needs SciPy: pip install 'fastvec[gensim]'", name=missing.name
        ) from None
    rows = _rows(self, restrict_vocab, case_insensitive)
    gold, model, unknown = [], [], 0
    with _opened(pairs) as file:
        for number, line in enumerate(file):
            text = line.decode(encoding)
            if text.startswith("#"):
                continue
            try:
                a, b, value = (text.upper() if case_insensitive else text).split(delimiter)
                score = float(value)
            except ValueError:
                logger.info("Skipping invalid line #%d in %s", number, pairs)
                continue
            known = a in rows and b in rows
            unknown += not known
            if known or dummy4unknown:
                gold.append(score)
                model.append(float(self.similarity(rows[a], rows[b])) if known else 0.0)
    if not gold:
        raise ValueError(
            f"No valid similarity judgements found in {pairs}: either invalid format or "
            f"all are out-of-vocabulary in {self}"
        )
    compared = len(gold) if dummy4unknown else len(gold) + unknown
    return stats.pearsonr(gold, model), stats.spearmanr(gold, model), unknown / compared * 100


def _rows(self: WordVectors, restrict: int | None, fold: bool) -> dict[str, int]:
    """The row of each word, as words are compared; of equal ones the first."""
    rows: dict[str, int] = {}
    for row, word in enumerate(self.index_to_key[:restrict]):
        rows.setdefault(word.upper() if fold else word, row)
    return rows


def _opened(path: Any) -> Any:
    name = os.fspath(path)
    opener: Any = {".gz": gzip.open, ".bz2": bz2.open}.get(os.path.splitext(name)[1], open)
    return opener(name, "rb")


def _sections(path: Any, fold: bool) -> list[tuple[str, list[Question]]]:
    """The sections of a file with their questions."""
    sections: list[tuple[str, list[Question]]] = []
    with _opened(path) as file:
        for number, line in enumerate(file):
            text = line.decode("utf-8")
            if text.startswith(": "):
                sections.append((text.lstrip(": ").strip(), []))
                continue
            if not sections:
                raise ValueError(f"Missing section header before line #{number} in {path}")
            words = (text.upper() if fold else text).split()
            if len(words) != 4:
                logger.info("Skipping invalid line #%i in %s", number, path)
                continue
            sections[-1][1].append((words[0], words[1], words[2], words[3]))
    return sections


def _by_sum(self: WordVectors, numbers: Sequence[Sequence[int]], restrict: int | None) -> list[list[Any]]:
    """The best words of questions (b, c, a), by row number, for b + c − a."""
    found: list[list[Any]] = []
    where = self._where(self._allowed(0, None, restrict))
    for start in range(0, len(numbers), _BATCH):
        rows = np.array(numbers[start : start + _BATCH], np.int64)
        vectors = self.vectors[rows].astype(np.float64)
        lengths = np.sqrt(np.einsum("ijk,ijk->ij", vectors, vectors))[:, :, None]
        units = vectors / np.where(lengths == 0, 1, lengths)
        queries = (units[:, 0] + units[:, 1] - units[:, 2]).astype(np.float32)
        answers = self._index.search(queries, min(_TOP, len(self)), where=where, exclude=rows)
        found += [[self.index_to_key[row] for row, _ in hits] for hits in answers.lists()]
    return found


def _by_product(self: WordVectors, numbers: Sequence[Sequence[int]], restrict: int | None) -> list[list[Any]]:
    """The best words of questions (b, c, a), by row number, for b · c ÷ a."""
    words = [[self.index_to_key[row] for row in rows] for rows in numbers]
    answers = (self.most_similar_cosmul([b, c], [a], _TOP, restrict) for b, c, a in words)
    return [[word for word, _ in hits] for hits in answers]


def _first_new(ranked: Sequence[str], question: Sequence[str], fold: bool) -> str | None:
    """The best word that is none of the question, as words are compared; if all are, the last."""
    answer = None
    for word in ranked:
        answer = word.upper() if fold else word
        if answer not in question:
            break
    return answer


def _score(section: Section) -> float:
    """The share of correct answers in a section, which is logged; 0 if there is none."""
    correct, wrong = len(section["correct"]), len(section["incorrect"])
    if correct + wrong == 0:
        return 0.0
    score = correct / (correct + wrong)
    logger.info("%s: %.1f%% (%i/%i)", section["section"], 100.0 * score, correct, correct + wrong)
    return score
