"""Labels: which are allowed, which of them count, and their rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ._spellings import enumerated as enumerated
from ._spellings import nearest_spellings
from ._spellings import quoted as quoted
from .errors import UnknownWordError

__all__ = ["UnknownWordError", "checked_labels", "nearest_spellings"]


def checked_labels(words: object) -> tuple[str, ...]:
    """Different, non-empty strings as a tuple; raises for anything else."""
    labels = plain_labels(words)
    problem = faults(labels)
    if problem is not None:
        raise ValueError(problem.message)
    return labels


Word = str | int
"""A label of a row in a Vocabulary: any text that is not empty, or an integer of 64 bits."""


def checked_words(words: object) -> tuple[Word, ...]:
    """Different labels as a tuple: all text, or all integers of 64 bits; raises for anything else."""
    labels = tuple(elements(words, "words"))
    if not labels or not is_id(labels[0]):
        return checked_labels(labels)
    ids = ids_of(labels, "words")
    if len(set(ids)) < len(ids):
        repeated = [label for label, count in Counter(ids).items() if count > 1]
        raise ValueError("words are repeated: " + enumerated(map(str, repeated[:5]), len(repeated)))
    return ids


def is_id(label: object) -> bool:
    """Whether a label is an integer; a bool is not one."""
    return isinstance(label, int | np.integer) and not isinstance(label, bool)


def ids_of(labels: Any, name: str) -> tuple[int, ...]:
    """Several integers of 64 bits as Python's own; raises for anything else, naming its position."""
    ids: tuple[Any, ...] = tuple(elements(labels, name))
    for position, label in enumerate(ids):
        if not is_id(label):
            raise TypeError(f"{name}[{position}] is a {type(label).__name__}; words are all int, or all str")
        if not -(1 << 63) <= label < 1 << 63:
            raise ValueError(f"{name}[{position}] does not fit into 64 bits; give str(label)")
    return tuple(map(int, ids))


def plain_labels(words: object, name: str = "words") -> tuple[str, ...]:
    """The strings of any ordered collection as plain ``str`` objects.

    The collection may be a list, an iterator, or an array or column of NumPy, pandas, Polars or Arrow. A
    string of a subclass of ``str``, such as a member of an enumeration, becomes the text that it holds.
    """
    labels: tuple[Any, ...] = tuple(elements(words, name))
    if set(map(type, labels)) <= {str}:
        return labels
    return tuple(plain_label(label, name, position) for position, label in enumerate(labels))


def elements(words: Any, name: str) -> Iterable[object]:
    """The elements of an ordered collection; of arrays and columns as Python's own values if possible."""
    kind = type(words).__name__
    if type(words) is list or type(words) is tuple:  # the usual case first
        return words
    if isinstance(words, str | bytes):
        raise TypeError(f"{name}: several str are needed, not one {kind}; write [{name}]")
    if isinstance(words, set | frozenset):
        raise TypeError(f"{name} is a {kind}, which has no order to go with rows; give a list")
    if isinstance(words, list | tuple):
        from ._arrays import held  # which loads Numba

        return held(words)
    if dimensions(words) not in (None, 1):
        raise TypeError(f"{name} is a {kind} of shape {tuple(words.shape)}; give one column or list of str")
    try:
        for as_list in ("to_pylist", "tolist"):  # of Arrow; of NumPy and pandas
            if callable(getattr(words, as_list, None)):
                words = getattr(words, as_list)()
                break
    except Exception as error:  # another library can raise anything
        said = f"{type(error).__name__}: {' '.join(str(error).split()):.200}"
        raise TypeError(f"{name} is a {kind}, which cannot be read ({said}); give a list of str") from error
    if not isinstance(words, Iterable):
        raise TypeError(f"{name} is a {kind}; it must be several str, such as a list")
    return words


def dimensions(value: Any) -> int | None:
    """How many dimensions an array or a column has; None if it is neither."""
    try:
        return len(value.shape)
    except Exception:  # of another library, which can raise anything
        return None


def plain(label: Any) -> Any:
    """A string of a subclass of ``str``, or a scalar of Arrow, as a plain str; anything else unchanged."""
    if type(label) is str:
        return label
    try:
        if callable(getattr(label, "as_py", None)):
            label = label.as_py()
    except Exception:  # it can raise anything, and is no text
        return label
    return str.__str__(label) if isinstance(label, str) else label


def plain_label(label: Any, name: str, position: int) -> str:
    """One of several labels as a plain str; raises for anything else, naming its position."""
    label = plain(label)
    if isinstance(label, str):
        return label
    what = f"{name}[{position}] is a {type(label).__name__}, not a str"
    if isinstance(label, bytes):
        raise TypeError(f"{what}; decode it, as label.decode() does")
    if label is None or type(label).__name__ == "NAType" or (isinstance(label, float) and label != label):
        raise TypeError(f"{what}; leave its row out, or give it a word")
    raise TypeError(f"{what}; give str(label) if that is meant")


def rows_of_words(words: Iterable[object], rows: Mapping[Word, int]) -> list[int]:
    """The row of each word; an error names every unknown word."""
    numbers: list[int] = []
    unknown: list[Word] = []
    for word in map(plain, words):
        if not isinstance(word, str) and not (is_id(word) and is_id(next(iter(rows), 0))):
            raise TypeError(f"words are str, not {type(word).__name__}")
        if word in rows:
            numbers.append(rows[word])
        else:
            unknown.append(word)
    if unknown:
        raise UnknownWordError(unknown, rows)
    return numbers


class Faults(NamedTuple):
    """What is wrong with some labels."""

    message: str
    """Which labels are faulty, naming the first few."""
    counting: npt.NDArray[np.bool_]
    """bool (n,): whether each label counts."""


def faults(labels: tuple[str, ...]) -> Faults | None:
    """Labels that do not count, because they are blank or repeat an earlier one; None if there are none."""
    n = len(labels)
    if len(different := set(labels)) == n and "" not in different:
        return None
    del different  # a dictionary takes four times as long, so it is made only now
    first: dict[str, int] = {}
    places = np.fromiter(map(first.setdefault, labels, range(n)), np.int64, n)
    counting = places == np.arange(n)
    blank = places == first.get("", -1)
    repeats = np.flatnonzero(~counting & ~blank)
    counting &= ~blank
    messages = []
    if len(repeats):
        pairs = (f"{quoted(labels[row])} at {places[row]} and {row}" for row in repeats.tolist())
        messages.append("words are repeated: " + enumerated(pairs, len(repeats)))
    if blank.any():
        messages.append(_blank(blank))
    return Faults("; ".join(messages), counting)


def blanks(labels: Iterable[str]) -> Faults | None:
    """Labels that do not count where labels may repeat, because they are blank; None if there are none."""
    counting = np.fromiter(map(len, labels), np.int64) > 0
    return None if counting.all() else Faults(_blank(~counting), counting)


def _blank(blank: npt.NDArray[np.bool_]) -> str:
    rows = np.flatnonzero(blank)
    names = enumerated((f"words[{row}]" for row in rows.tolist()), len(rows))
    return f"{names} {'is' if len(rows) == 1 else 'are'} empty"
