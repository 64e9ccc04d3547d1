"""Words over an Index: similarity, nearest words and analogies by label instead of by row number."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from .search import Index, TopK, knn
from .similarity import truncate

Hits = list[tuple[str, float]]


class Vocabulary:
    """Words and their vectors, searched by cosine similarity.

    Scores are the cosines that ``knn`` publishes, as Python floats; answers are ranked best
    first, ties in the order of the words. An unknown word raises KeyError, with the nearest
    spellings.

    Args:
        words: n different, non-empty strings, compared exactly (case, accents, spaces).
        vectors: (n, dims), used as an ``Index`` uses them: float32 with C-contiguous rows is
            not copied and must not be changed.

    Raises:
        TypeError: if a word is not a str.
        ValueError: on an empty word, a repeated one, other than n vectors, and as ``Index``.

    Example:
        >>> import fastvec
        >>> vectors = [[1, 1, 1, 1], [1, 1, 1, -1], [1, -1, 1, -1]]
        >>> pets = fastvec.Vocabulary(["cat", "kitten", "dog"], vectors)
        >>> pets.similarity("cat", "kitten")
        0.5
        >>> pets.most_similar("kitten", k=2)
        [('cat', 0.5), ('dog', 0.5)]
        >>> "puppy" in pets, len(pets), pets.dims
        (False, 3, 4)
    """

    def __init__(self, words: Iterable[str], vectors: Any) -> None:
        self._words = _checked_labels(words)
        self._index = Index(vectors)
        if len(self._index) != len(self._words):
            raise ValueError(f"words and vectors differ in number: {len(self._words)} and {len(self._index)}")
        self._positions = {word: position for position, word in enumerate(self._words)}

    @property
    def words(self) -> tuple[str, ...]:
        """The words, in the order of the vectors."""
        return self._words

    @property
    def vectors(self) -> NDArray[np.float32]:
        """float32 (n, dims), read-only, in the order of the words."""
        return self._index.vectors

    @property
    def dims(self) -> int:
        """Columns of the vectors."""
        return self._index.dims

    def __len__(self) -> int:
        return len(self._words)

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and word in self._positions

    def __getitem__(self, word: str) -> NDArray[np.float32]:
        """The word's vector: float32 (dims,), read-only, a view of ``vectors``."""
        row: NDArray[np.float32] = self._index.vectors[self._rows([word])[0]]
        return row

    def __repr__(self) -> str:
        first = ", ".join(map(repr, self._words[:3])) + (", ..." if len(self) > 3 else "")
        return f"Vocabulary({len(self)} words, {self.dims} dims: {first})"

    def similarity(self, a: str, b: str) -> float:
        """Cosine similarity of two words, from -1 to 1: the score that ``search`` gives one for the other.

        Args:
            a: a word.
            b: another, or the same.

        Example:
            >>> import fastvec
            >>> fastvec.Vocabulary(["up", "right"], [[0, 2], [3, 0]]).similarity("up", "right")
            0.0
        """
        row_a, row_b = self._rows([a, b])
        return float(knn(self.vectors[row_a], self.vectors[row_b : row_b + 1], 1).scores[0])

    def most_similar(
        self,
        positive: str | Sequence[str],
        negative: str | Sequence[str] = (),
        k: int = 10,
        *,
        method: str = "3cosadd",
        dims: int | None = None,
    ) -> Hits:
        """The words nearest to the positive ones less the negative ones, which are left out themselves.

        One positive word alone has the scores of ``similarity``; anything else is ``analogy``.

        Args:
            positive: a word or several.
            negative: a word or several; may be empty.
            k: answers, at least 1; fewer come back where fewer words are left.
            method: "3cosadd" or "3cosmul".
            dims: use the first so many columns only.

        Returns:
            Pairs (word, score), best first.

        Raises:
            KeyError: on an unknown word.
            ValueError: without a positive word, and as in ``analogy``.

        Example:
            >>> import fastvec
            >>> words = ["king", "queen", "man", "woman", "castle"]
            >>> vectors = [[2, 1, 0], [2, 0, 1], [0, 1, 0], [0, 0, 1], [2, 0, 0]]
            >>> fastvec.Vocabulary(words, vectors).most_similar(["king", "woman"], "man", k=1)[0][0]
            'queen'
        """
        given = self._rows(_listed(positive, "positive"))
        against = self._rows(_listed(negative, "negative"))
        if len(given) == 1 and not against and method == "3cosadd":
            # A unit vector rounded to float32 could differ from the row itself in a score's last bit.
            return self._nearest_to_rows(given, k, dims)[0]
        found = self._index.analogy(given, against, self._capped(k), method=method, dims=dims)
        return self._named(found)[0]

    @overload
    def search(self, queries: str, k: int = 10, *, dims: int | None = None) -> Hits: ...
    @overload
    def search(
        self, queries: list[str] | tuple[str, ...], k: int = 10, *, dims: int | None = None
    ) -> list[Hits]: ...
    @overload
    def search(self, queries: Any, k: int = 10, *, dims: int | None = None) -> Any: ...
    def search(self, queries: Any, k: int = 10, *, dims: int | None = None) -> Any:
        """The nearest words of each query; a word is left out of its own answer.

        Args:
            queries: a word or a vector (dims,); or several words, or a matrix (m, dims).
            k: answers to each query, at least 1; fewer come back where fewer words are left.
            dims: use the first so many columns only.

        Returns:
            Pairs (word, score), best first; for several queries a list of such lists.

        Raises:
            KeyError: on an unknown word.
            ValueError: as in ``Index.search``.
            TypeError: as in ``Index.search``, and on words mixed with anything else.

        Example:
            >>> import fastvec
            >>> compass = fastvec.Vocabulary(["north", "east", "south"], [[0, 1], [1, 0], [0, -1]])
            >>> compass.search([1, 0], k=1)
            [('east', 1.0)]
            >>> compass.search(["north", "south"], k=1)
            [[('east', 0.0)], [('east', 0.0)]]
        """
        if isinstance(queries, str):
            return self._nearest_to_rows(self._rows([queries]), k, dims)[0]
        if _are_words(queries):
            return self._nearest_to_rows(self._rows(queries), k, dims)
        found = self._index.search(queries, self._capped(k), dims=dims)
        hits = self._named(found)
        return hits[0] if found.indices.ndim == 1 else hits

    def truncate(self, dims: int) -> Vocabulary:
        """A new Vocabulary of the same words, with the vectors' first columns, of length one again.

        Args:
            dims: columns to keep.

        Raises:
            ValueError: as in ``fastvec.truncate``.

        Example:
            >>> import fastvec
            >>> fastvec.Vocabulary(["a", "b"], [[3, 4, 12], [0, 2, 5]]).truncate(2)["b"]
            array([0., 1.], dtype=float32)
        """
        return Vocabulary(self._words, truncate(self.vectors, dims))

    def _nearest_to_rows(self, rows: list[int], k: int, dims: int | None) -> list[Hits]:
        if not rows:
            return []
        numbers = np.array(rows, dtype=np.int64)
        found = self._index.search(
            self.vectors[numbers], self._capped(k), dims=dims, exclude=numbers[:, np.newaxis]
        )
        return self._named(found)

    def _rows(self, words: Iterable[object]) -> list[int]:
        """Row numbers of words; KeyError names every unknown one."""
        rows: list[int] = []
        unknown: list[str] = []
        for word in words:
            if not isinstance(word, str):
                raise TypeError(f"words are str, not {type(word).__name__}")
            row = self._positions.get(word)
            if row is None:
                unknown.append(word)
            else:
                rows.append(row)
        if unknown:
            raise UnknownWordError(tuple(unknown), self._words)
        return rows

    def _capped(self, k: int) -> int:
        """k, or the number of words if that is less: what is found is a list, with nothing to fill up."""
        return min(k, max(len(self), 1)) if isinstance(k, (int, np.integer)) else k

    def _named(self, found: TopK) -> list[Hits]:
        scores, rows = np.atleast_2d(found.scores), np.atleast_2d(found.indices)
        return [
            [(self._words[row], score) for score, row in zip(*pair, strict=True) if row >= 0]
            for pair in zip(scores.tolist(), rows.tolist(), strict=True)
        ]


class UnknownWordError(KeyError):
    """The KeyError for words that are not in a Vocabulary; ``args`` holds them.

    Spellings are compared when the message is asked for, so that catching the error costs nothing
    however large the vocabulary is.
    """

    def __init__(self, unknown: tuple[str, ...], words: Sequence[str]) -> None:
        super().__init__(*unknown)
        self._words = words

    def __str__(self) -> str:
        near = _nearest_spellings(self.args[0], self._words)
        message = f"{self.args[0]!r} is not in this vocabulary"
        if near:
            message += "; nearest spellings: " + ", ".join(map(repr, near))
        if len(self.args) > 1:
            message += "; also unknown: " + _some(map(repr, self.args[1:]), len(self.args) - 1)
        return message

    def __reduce__(self) -> tuple[Any, ...]:
        # The spellings found travel, not the vocabulary.
        return type(self), (self.args, tuple(_nearest_spellings(self.args[0], self._words)))


def _nearest_spellings(word: str, words: Sequence[str]) -> list[str]:
    """At most three words spelled like ``word``, the same letters in another case first."""
    folded = word.casefold()
    same = [known for known in words if known.casefold() == folded][:3]
    alike = [known for known in words if abs(len(known) - len(word)) <= 2 and known not in same]
    return (same + difflib.get_close_matches(word, alike, n=3, cutoff=0.6))[:3]


def _checked_labels(words: Iterable[str]) -> tuple[str, ...]:
    if isinstance(words, (str, bytes)):
        raise TypeError(f"words: several str are needed, not one {type(words).__name__}")
    # NumPy's own strings, alone or in an array, become plain ones, which print and pickle as themselves.
    labels = tuple(str(word) if isinstance(word, np.str_) else word for word in words)
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
        raise ValueError("words are repeated: " + _some(repeated, len(repeated)))
    return labels


def _listed(words: object, name: str) -> Iterable[object]:
    if isinstance(words, str):
        return [words]
    if isinstance(words, Iterable):
        return words
    raise TypeError(f"{name}: a word or several, not {type(words).__name__}")


def _are_words(queries: object) -> bool:
    """Whether queries are labels rather than vectors; nothing at all counts as no labels."""
    if isinstance(queries, np.ndarray):
        return queries.dtype.kind in "UT" or (queries.dtype.kind == "O" and _are_words(queries.tolist()))
    return isinstance(queries, (list, tuple)) and (not queries or any(isinstance(q, str) for q in queries))


def _some(names: Iterable[str], count: int) -> str:
    """The first five names and how many more there are."""
    shown = itertools.islice(names, 5)
    return ", ".join(shown) + (f" and {count - 5} more" if count > 5 else "")
