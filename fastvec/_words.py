"""The words of a Vocabulary, and the numbers of their rows.

A change is made when the Index shows its rows: what is noted here before that, and what is left of words that
are gone, belongs to no row of a snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ._snapshot import Snapshot
from .labels import Word


class Labels(NamedTuple):
    """What belongs to the numbers of an Index."""

    names: list[Word]
    """The word of each number that was ever given; "" or 0 if it was removed before the words were read."""
    numbers: dict[Word, int]
    """The number of each word."""

    @classmethod
    def of(cls, words: Iterable[Word]) -> Labels:
        """Words in the order of their numbers."""
        names = list(words)
        return cls(names, {word: number for number, word in enumerate(names)})

    @classmethod
    def of_rows(cls, words: Sequence[Word], rows: Snapshot) -> Labels:
        """Words of the rows left, in the order of their numbers."""
        if not rows.changed:
            return cls.of(words)
        kind: type[Word] = type(words[0]) if words else str
        names, numbers = [kind()] * rows.top, rows.numbered(rows.order).tolist()
        for number, word in zip(numbers, words, strict=True):
            names[number] = word
        return cls(names, dict(zip(words, numbers, strict=True)))

    def note(self, words: Sequence[Word], top: int) -> None:
        """Note words for the numbers from ``top`` on, before their rows are added."""
        self.names[top:] = words
        self.numbers.update(zip(words, range(top, top + len(words)), strict=True))

    def forget(self, words: Iterable[Word], rows: Snapshot) -> None:
        """Forget those of these words that have no row."""
        left = Left(self, rows)
        for word in words:
            if word not in left:
                self.numbers.pop(word, None)


class Left(Mapping[Word, int]):
    """The words that have a row in a snapshot, and their numbers."""

    def __init__(self, labels: Labels, rows: Snapshot) -> None:
        self._labels, self._rows = labels, rows

    def __getitem__(self, word: Word) -> int:
        number = self._labels.numbers[word]
        if self._rows.has(number) and self._labels.names[number] == word:
            return number
        raise KeyError(word)

    def __len__(self) -> int:
        return self._rows.left

    def __iter__(self) -> Iterator[Word]:
        return map(self._labels.names.__getitem__, self._rows.numbered(self._rows.order).tolist())
