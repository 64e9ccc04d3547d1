"""Words as messages show them, and the nearest spellings of an unknown one."""

from __future__ import annotations

import difflib
import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from string import ascii_lowercase

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


def quoted(word: str) -> str:
    """A word in quotation marks, cut short if it is long."""
    if len(word) <= _LONGEST_SHOWN:
        return repr(word)
    return f"{word[:_LONGEST_SHOWN]!r}… ({len(word):,} characters)"


def enumerated(names: Iterable[str], count: int) -> str:
    """The first five names and, if there are more, the number of the others."""
    shown = itertools.islice(names, 5)
    return ", ".join(shown) + (f" and {count - 5} more" if count > 5 else "")
