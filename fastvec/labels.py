"""Labels: which are allowed, which of them count, and the nearest spellings of unknown ones."""

from __future__ import annotations

import difflib
import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from string import ascii_lowercase
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import UnknownWordError

__all__ = ["UnknownWordError", "checked_labels", "nearest_spellings"]

_LONGEST_SHOWN = 80

# Limits on the search for nearest spellings, so that it is quick in any vocabulary.
_FIRST_WORDS = 5000
_COMPARED_LETTERS = 8_000
_LONGEST_COMPARED = 64
_CASES = 1 << 10
_LETTERS = 48


def nearest_spellings(word: str, words: Collection[str]) -> list[str]:
    """At most three words spelled like ``word``; those with the same letters in another case come first.

    Words in another case, or that differ by one letter, are sought in the whole vocabulary if it is a mapping
    or a set; other similar words only among the first words, which in most files are the most frequent ones.
    """
    if not 1 <= len(word) <= _LONGEST_COMPARED:
        return []
    first = list(itertools.islice(words, _FIRST_WORDS))
    known = words if isinstance(words, Mapping | Set) else frozenset(first)
    folded = word.casefold()
    cases = itertools.chain(
        (case for case in _cases(word) if case in known),
        (other for other in first if len(other) <= 2 * len(word) and other.casefold() == folded),
    )
    same = list(itertools.islice(dict.fromkeys(cases), 3))
    alike = {edited for edited in _edits(word, _letters(word, first)) if edited in known}
    near = (other for other in first if abs(len(other) - len(word)) <= 2)
    alike.update(itertools.islice(near, _COMPARED_LETTERS // (len(word) + 8)))
    return (same + difflib.get_close_matches(word, alike.difference(same), n=3, cutoff=0.6))[:3]


def _cases(word: str) -> Iterator[str]:
    yield from (word.lower(), word.capitalize(), word.title(), word.upper())
    letters = [dict.fromkeys((letter.lower(), letter.upper())) for letter in word]
    if sum(len(cases) > 1 for cases in letters) <= _CASES.bit_length() - 1:
        yield from map("".join, itertools.product(*letters))


def _letters(word: str, words: Iterable[str]) -> str:
    """Letters to try: of the word, in both cases, of English, and the most frequent ones of other words."""
    text = "".join(other[:_LONGEST_COMPARED] for other in itertools.islice(words, 500))
    usual = [letter for letter, _ in Counter(text).most_common(_LETTERS)]
    return "".join(dict.fromkeys((*word, *word.swapcase(), *ascii_lowercase, *usual)))


def _edits(word: str, letters: str) -> Iterator[str]:
    """The word with one letter left out, swapped with the next one, changed, or inserted."""
    for at in range(len(word) + 1):
        head, tail = word[:at], word[at:]
        yield head + tail[1:]
        yield head + tail[1:2] + tail[:1] + tail[2:]
        for letter in letters:
            yield head + letter + tail[1:]
            yield head + letter + tail


def checked_labels(words: object) -> tuple[str, ...]:
    """Different, non-empty strings as a tuple; raises for anything else."""
    labels = plain_labels(words)
    problem = faults(labels)
    if problem is not None:
        raise ValueError(problem.message)
    return labels


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
    if len(getattr(words, "shape", (0,))) != 1:
        raise TypeError(f"{name} is a {kind} of shape {tuple(words.shape)}; give one column or list of str")
    for as_list in ("to_pylist", "tolist"):  # of Arrow; of NumPy and pandas
        if hasattr(words, as_list):
            elements: Iterable[object] = getattr(words, as_list)()
            return elements
    if not isinstance(words, Iterable):
        raise TypeError(f"{name} is a {kind}; it must be several str, such as a list")
    return words


def plain(label: Any) -> Any:
    """A string of a subclass of ``str``, or a scalar of Arrow, as a plain str; anything else unchanged."""
    if type(label) is str:
        return label
    if hasattr(label, "as_py"):
        label = label.as_py()
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


def quoted(word: str) -> str:
    """A word in quotation marks, cut short if it is long."""
    if len(word) <= _LONGEST_SHOWN:
        return repr(word)
    return f"{word[:_LONGEST_SHOWN]!r}… ({len(word):,} characters)"


def enumerated(names: Iterable[str], count: int) -> str:
    """The first five names and, if there are more, the number of the others."""
    shown = itertools.islice(names, 5)
    return ", ".join(shown) + (f" and {count - 5} more" if count > 5 else "")
