"""Labels: which are allowed, and what is said of unknown ones."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


class UnknownWordError(KeyError):
    """The KeyError for words that are not in a Vocabulary; ``args`` holds them.

    Spellings are compared when the message is asked for, so that catching the error costs nothing
    however large the vocabulary is.
    """

    def __init__(self, unknown: tuple[str, ...], words: Sequence[str]) -> None:
        super().__init__(*unknown)
        self._words = words

    def __str__(self) -> str:
        near = nearest_spellings(self.args[0], self._words)
        message = f"{self.args[0]!r} is not in this vocabulary"
        if near:
            message += "; nearest spellings: " + ", ".join(map(repr, near))
        if len(self.args) > 1:
            message += "; also unknown: " + some(map(repr, self.args[1:]), len(self.args) - 1)
        return message

    def __reduce__(self) -> tuple[Any, ...]:
        # The spellings found travel, not the vocabulary.
        return type(self), (self.args, tuple(nearest_spellings(self.args[0], self._words)))


def nearest_spellings(word: str, words: Sequence[str]) -> list[str]:
    """At most three words spelled like ``word``, the same letters in another case first."""
    folded = word.casefold()
    same = [known for known in words if known.casefold() == folded][:3]
    alike = [known for known in words if abs(len(known) - len(word)) <= 2 and known not in same]
    return (same + difflib.get_close_matches(word, alike, n=3, cutoff=0.6))[:3]


def checked_labels(words: Iterable[str]) -> tuple[str, ...]:
    """Different, non-empty strings as a tuple; anything else raises."""
    if isinstance(words, (str, bytes)):
        raise TypeError(f"words: several str are needed, not one {type(words).__name__}")
    # NumPy's own strings, alone or in an array, become plain ones, which print and pickle as themselves.
    labels = tuple(str(word) if isinstance(word, np.str_) else word for word in words)
    if all(type(label) is str for label in labels) and len(set(labels)) == len(labels) and "" not in labels:
        return labels
    first: dict[str, int] = {}
    repeated: list[str] = []
    for position, label in enumerate(labels):
        if not isinstance(label, str):
            raise TypeError(f"words[{position}] is a {type(label).__name__}, not a str")
        if not label:
            raise ValueError(f"words[{position}] is empty")
        if first.setdefault(label, position) != position:
            repeated.append(f"{label!r} at {first[label]} and {position}")
    if repeated:
        raise ValueError("words are repeated: " + some(repeated, len(repeated)))
    return labels


def some(names: Iterable[str], count: int) -> str:
    """The first five names and how many more there are."""
    shown = itertools.islice(names, 5)
    return ", ".join(shown) + (f" and {count - 5} more" if count > 5 else "")
