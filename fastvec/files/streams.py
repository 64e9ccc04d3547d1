"""Words and columns that need not be in memory: objects with a length that can be iterated several times."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Set, Sized
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from ..labels import blanks, checked_labels, plain_label, plain_labels

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

BLOCK = 1 << 9
"""The number of values that are processed together."""


class Rows(Protocol[T_co]):
    """One value for each row: a tuple, or a ``Stream``."""

    def __iter__(self) -> Iterator[T_co]: ...
    def __len__(self) -> int: ...


def checked_words(words: Any, *, repeated: bool) -> Rows[str]:
    """Non-empty strings, which must be different unless ``repeated``; raises for anything else.

    Returns a tuple; or, if they may repeat and can be iterated several times, a stream of them.
    """
    if not repeated:
        return checked_labels(words)
    labels = Stream(words, "words", plain_label) if streams(words) else plain_labels(words)
    problem = blanks(labels)
    if problem is not None:
        raise ValueError(problem.message)
    return labels


def may_repeat(words: Rows[str]) -> bool:
    """Whether words may repeat: whether hashes do, so that very rarely different words count as equal."""
    hashes = np.sort(np.fromiter(map(hash, words), np.int64))
    return bool((hashes[1:] == hashes[:-1]).any())


class Stream(Generic[T]):
    """Values that can be iterated several times; raises if their number differs from their length."""

    def __init__(self, values: Any, name: str, plain: Callable[[Any, str, int], T]) -> None:
        self._values, self._name, self._plain = values, name, plain

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[T]:
        promised, position = len(self._values), -1
        for position, value in enumerate(self._values):
            if position == promised:
                break
            yield self._plain(value, self._name, position)
        else:
            if position + 1 == promised:
                return
        count = "more" if position == promised else f"{position + 1}"
        raise ValueError(f"{self._name} has a length of {promised}, but yields {count} when it is iterated")


def streams(values: Any) -> bool:
    """Whether values are iterated while they are written, instead of being read into memory first."""
    return (
        isinstance(values, Sized)
        and isinstance(values, Iterable)
        and not isinstance(values, list | tuple | str | bytes | Set | Iterator)
        and not any(hasattr(values, name) for name in ("to_pylist", "tolist", "shape"))
    )


def blocks(values: Iterable[T], size: int = BLOCK) -> Iterator[list[T]]:
    """Lists of ``size`` values, the last of which may be shorter."""
    iterator = iter(values)
    while block := list(itertools.islice(iterator, size)):
        yield block


def written(values: Rows[T], size: int = BLOCK) -> Iterator[list[T]]:
    """``blocks`` of values that are being written; ``kernels.reports`` learns how many have been."""
    from ..kernels import reports

    done, total = 0, len(values)
    for block in blocks(values, size):
        yield block
        done += len(block)
        reports.tell(done, total)
