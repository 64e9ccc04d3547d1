"""Words over an Index: similarity, nearest words and analogies by label instead of by row number."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from . import _arguments, _queries, evaluation
from ._once import once
from .analogies import METHODS
from .index import Index
from .kernels.compile import default_mode
from .kernels.filters import Exclusions
from .labels import checked_labels, plain, plain_labels, quoted, rows_of_words
from .search import knn
from .similarity import normalize, truncate

if TYPE_CHECKING:
    from .files import Labeled

Hits = list[tuple[str, float]]


class Vocabulary:
    """Words and their vectors, searched by cosine similarity.

    Scores are the cosines that ``knn`` returns, as Python floats. Answers are ranked best first, equal
    scores in the order of the words. An unknown word raises KeyError, which names the nearest
    spellings.

    Args:
        words: n different, non-empty strings, compared exactly (case, accents, spaces): a list, an iterator,
            a column of NumPy, pandas, Polars or Arrow.
        vectors: (n, dims), used as an ``Index`` uses them: float32 with C-contiguous rows is
            not copied and must not be changed.

    Raises:
        TypeError: if a word is not a str, or words have no order.
        ValueError: if a word is empty or repeated, if there are not n vectors, and as ``Index``.

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

    _labeled: Labeled
    """The opened file, of which words and Index are made when they are needed; only after ``open``."""
    _metadata: dict[str, str]

    def __init__(self, words: Iterable[str], vectors: Any) -> None:
        labels, index = checked_labels(words), Index(vectors)
        if len(index) != len(labels):
            raise ValueError(f"words and vectors differ in number: {len(labels)} and {len(index)}")
        self.__setstate__({"_words": labels, "_index": index})

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,
        limit: int | None = None,
        errors: str = "strict",
        strict: bool = False,
    ) -> Vocabulary:
        """Open words and vectors of a file or folder, in any format of ``fastvec.files.FORMATS``.

        An Index folder, Arrow and ``.npy`` are mapped into memory. The words of an Index folder are read
        and checked when they are first needed; so are vectors encoded, if no Index was saved with them.

        A row whose word is blank, or repeats an earlier one, is left out as if it were not in the file,
        and one warning says which rows; the vectors of a mapped file are then copied into memory.

        Args:
            path: where ``save`` or another program wrote them.
            format: a name of ``FORMATS``; None: recognized by content.
            limit: read at most the first ``limit`` rows.
            errors: what to do with words that are not UTF-8: "strict", "replace" or "ignore".
            strict: refuse a file whose words are blank or repeat others.

        Raises:
            fastvec.errors.FileError: (a ValueError) names file, row or byte, and what to do.
            FileNotFoundError: if the file does not exist.

        Example:
            >>> import fastvec, os, tempfile
            >>> path = os.path.join(tempfile.mkdtemp(), "pets.vec")
            >>> with open(path, "w") as file: _ = file.write("2 3\\ncat 1 1 0\\ndog 1 0 1\\n")
            >>> fastvec.Vocabulary.open(path).similarity("cat", "dog")
            0.5
        """
        from . import files

        labeled = files.read(path, format=format, limit=limit, errors=errors, strict=strict)
        if not labeled.settled:
            labeled.words  # noqa: B018  (warns now about rows that are left out)
        opened = cls.__new__(cls)
        opened._labeled, opened._metadata = labeled, dict(labeled.metadata)
        return opened

    @once
    def _words(self) -> tuple[str, ...]:
        return self._labeled.words

    @once
    def _index(self) -> Index:
        return _owned(self._labeled.index())

    @once
    def _positions(self) -> dict[str, int]:
        return {word: position for position, word in enumerate(self._words)}

    def __getstate__(self) -> dict[str, Any]:
        return {"_words": self._words, "_index": self._index, "_metadata": self._metadata}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # What ``once`` would compute is here already.
        self.__dict__.update(_words=state["_words"], _index=_owned(state["_index"]))
        self._metadata = state.get("_metadata", {})

    def save(self, path: str | os.PathLike[str], *, format: str | None = None) -> None:
        """Write words and vectors, whole or not at all, for ``Vocabulary.open`` and other programs.

        An Index folder, Arrow, Parquet and ``.npy`` also get ``metadata``. Further columns of the file that
        was opened are not written: for those, use ``files.read`` and ``files.write``, or `fastvec convert`.

        Args:
            path: without a suffix, an Index folder, in which the codes are saved too; else a file in
                the format of its suffix: .arrow, .parquet, .npy, .vec or .bin (word2vec), .txt (GloVe).
            format: a name of ``fastvec.files.FORMATS``, which overrides the suffix.

        Raises:
            ValueError: if the suffix is unknown, or the format cannot hold the words.
            OSError: as from writing files.

        Example:
            >>> import fastvec, os, tempfile
            >>> path = os.path.join(tempfile.mkdtemp(), "compass")
            >>> fastvec.Vocabulary(["north", "east"], [[0, 1], [1, 0]]).save(path)
            >>> fastvec.Vocabulary.open(path)
            Vocabulary(2 words, 2 dims: 'north', 'east')
        """
        from . import files

        chosen = format or files.by_suffix(path)
        if chosen == "index":
            files.indexed.save(path, self._index, self._words, self._metadata or None)
            return
        held = chosen in files.FORMATS and files.FORMATS[chosen].metadata
        metadata = self._metadata if held else None
        files.write(path, self._words, self.vectors, format=format, metadata=metadata)

    @property
    def words(self) -> tuple[str, ...]:
        """The words, in the order of the vectors."""
        return self._words

    @property
    def vectors(self) -> NDArray[np.float32]:
        """float32 (n, dims), read-only, in the order of the words."""
        return self._index.vectors

    @property
    def index(self) -> Index:
        """The Index over the vectors, for work by row number: batches of analogies, filters.

        Each of its rows belongs to a word, so ``add`` raises; ``Index(vocabulary.vectors)`` is one that can
        grow.
        """
        return self._index

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the opened file says about its vectors, such as ``model``; ``save`` writes it again."""
        return MappingProxyType(self._metadata)

    @property
    def dims(self) -> int:
        """Columns of the vectors."""
        return self._index.dims

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)

    def __contains__(self, word: object) -> bool:
        word = plain(word)
        return isinstance(word, str) and word in self._positions

    def __getitem__(self, word: str) -> NDArray[np.float32]:
        """The word's vector: float32 (dims,), read-only, a view of ``vectors``."""
        row: NDArray[np.float32] = self._index.vectors[rows_of_words([word], self._positions)[0]]
        return row

    def __repr__(self) -> str:
        first = ", ".join(map(quoted, self._words[:3])) + (", ..." if len(self) > 3 else "")
        return f"Vocabulary({len(self)} words, {self.dims} dims: {first})"

    def similarity(self, a: str, b: str) -> float:
        """Cosine similarity of two words, from -1 to 1; ``search`` returns the same score.

        Args:
            a: a word.
            b: another, or the same.

        Example:
            >>> import fastvec
            >>> fastvec.Vocabulary(["up", "right"], [[0, 2], [3, 0]]).similarity("up", "right")
            0.0
        """
        row, other = rows_of_words((a, b), self._positions)
        return self._index._pair_score(row, other)

    def most_similar(
        self,
        positive: Any,
        negative: Any = (),
        k: int = 10,
        *,
        method: str = "3cosadd",
        dims: int | None = None,
        embedder: Any = None,
    ) -> Hits:
        """The words nearest to the positive inputs minus the negative ones; the inputs are left out.

        For a single positive word or vector, scores are those of ``search``; otherwise those of ``analogy``.

        Args:
            positive: a word, a vector (dims,), or a list of words and vectors; with ``embedder``, also texts.
            negative: likewise; may be empty.
            k: answers, at least 1; fewer are returned if fewer words are left.
            method: "3cosadd" or "3cosmul".
            dims: use only the first ``dims`` columns.
            embedder: embeds texts that are not words, as in ``search``.

        Returns:
            Pairs (word, score), best first.

        Raises:
            KeyError: if a word is unknown and there is no ``embedder``.
            ValueError: if there is no positive input, if a vector has another width, and as in ``analogy``.
            TypeError: if an input is neither a word nor a vector.

        Example:
            >>> import fastvec
            >>> words = ["king", "queen", "man", "woman", "castle"]
            >>> vectors = [[2, 1, 0], [2, 0, 1], [0, 1, 0], [0, 0, 1], [2, 0, 0]]
            >>> fastvec.Vocabulary(words, vectors).most_similar(["king", "woman"], "man", k=1)[0][0]
            'queen'
        """
        k, method = self._capped(k), _arguments.one_of(method, "method", METHODS)
        positives, negatives = _queries.items(positive, "positive"), _queries.items(negative, "negative")
        if not positives:
            raise ValueError("positive is empty; a question needs at least one positive input")
        items = [*positives, *negatives]
        rows = _queries.rows_of_known(items, self._positions)
        # The row itself is the query: its unit vector, rounded to float32, could change a score's last bit.
        itself = len(items) == 1 and method == "3cosadd"
        if rows is None:
            inputs, rows = _queries.resolved(items, self._positions, self.vectors, dims, embedder)
            known = [row for row in rows if row >= 0]
            if itself:
                answers = self._index.search(inputs[0], k, dims=inputs.shape[1], exclude=known)
            else:
                answers = self._index._analogy_of(inputs, len(positives), known, k, method)
        elif itself:
            exclude = Exclusions.of_runs(np.array([0, 1], np.int64), np.array(rows, np.int64))
            answers = self._index.search(self.vectors[rows[0]], k, dims=dims, exclude=exclude)
        else:
            answers = self._index._analogy_of_rows(rows, len(positives), k, method, dims)
        return self._named(answers.lists())

    @overload
    def search(self, queries: str, k: int = 10, *, dims: int | None = None, embedder: Any = None) -> Hits: ...
    @overload
    def search(
        self,
        queries: list[str] | tuple[str, ...],
        k: int = 10,
        *,
        dims: int | None = None,
        embedder: Any = None,
    ) -> list[Hits]: ...
    @overload
    def search(self, queries: Any, k: int = 10, *, dims: int | None = None, embedder: Any = None) -> Any: ...
    def search(self, queries: Any, k: int = 10, *, dims: int | None = None, embedder: Any = None) -> Any:
        """The nearest words of each query; a word is left out of its own answers.

        Args:
            queries: a word or a vector (dims,); or several words (a list, an iterator, a column), or a
                matrix (m, dims).
            k: answers to each query, at least 1; fewer are returned if fewer words are left.
            dims: use only the first ``dims`` columns.
            embedder: turns the texts that are not words into vectors, all at once: an ``OpenAIEmbedder``,
                any object with ``embed_query``, ``embed`` or ``encode``, or a function from a list of n texts
                to (n, dims). It must use the model that made the vectors.

        Returns:
            A list of pairs (word, score), best first; for several queries, a list of such lists.

        Raises:
            KeyError: if a word is unknown and there is no ``embedder``.
            ValueError: as in ``Index.search``, and if embedded texts have another width.
            TypeError: as in ``Index.search``, and if words are mixed with anything else.

        Example:
            >>> import fastvec
            >>> compass = fastvec.Vocabulary(["north", "east", "south"], [[0, 1], [1, 0], [0, -1]])
            >>> compass.search([1, 0], k=1)
            [('east', 1.0)]
            >>> compass.search(["north", "south"], k=1)
            [[('east', 0.0)], [('east', 0.0)]]
            >>> compass.search("dawn", k=1, embedder=lambda texts: [[2, 0.5]] * len(texts))[0][0]
            'east'
        """
        k = _arguments.whole_number(k, "k", 1)  # before texts are embedded, which may cost money
        one = isinstance(plain(queries), str | bytes)
        if one or isinstance(queries, Iterator):
            queries = [queries] if one else list(queries)
        if one or _queries.are_words(queries):
            items = plain_labels(queries, "queries")
            vectors, rows = _queries.resolved(items, self._positions, self.vectors, dims, embedder)
            exclude = np.array(rows, np.int64)[:, np.newaxis]
            answers = self._index.search(vectors, self._capped(k), dims=vectors.shape[1], exclude=exclude)
        else:
            answers = self._index.search(queries, self._capped(k), dims=dims)
        if answers.indices.ndim == 1:
            return self._named(answers.lists())
        hits = [self._named(pairs) for pairs in answers.lists()]
        return hits[0] if one else hits

    def doesnt_match(self, words: Iterable[str]) -> str:
        """The word farthest from the mean of all the words' unit vectors; of equally far ones, the last.

        Args:
            words: at least one word of the vocabulary.

        Raises:
            KeyError: if a word is unknown.
            ValueError: if there is no word.

        Example:
            >>> import fastvec
            >>> meals = ["breakfast", "dinner", "lunch", "cereal"]
            >>> vectors = [[3, 1, 0], [3, 0, 1], [3, 1, 1], [0, 1, 3]]
            >>> fastvec.Vocabulary(meals, vectors).doesnt_match(meals)
            'cereal'
        """
        rows = rows_of_words(_queries.items(words, "words"), self._positions)
        if not rows:
            raise ValueError("words is empty; at least one is needed")
        units = normalize(self.vectors[rows])
        with default_mode():
            total = units.sum(axis=0, dtype=np.float64)
        return self._words[rows[int(knn(total, units, len(rows)).indices[-1])]]

    # Their home, with their docstrings, is evaluation.py.
    evaluate_analogies = evaluation.analogies
    evaluate_pairs = evaluation.pairs

    def truncate(self, dims: int) -> Vocabulary:
        """A new Vocabulary with the same words and the first columns of the vectors, scaled to unit length.

        Args:
            dims: columns to keep.

        Raises:
            ValueError: as in ``fastvec.truncate``.

        Example:
            >>> import fastvec
            >>> fastvec.Vocabulary(["a", "b"], [[3, 4, 12], [0, 2, 5]]).truncate(2)["b"]
            array([0., 1.], dtype=float32)
        """
        cut = Vocabulary(self._words, truncate(self.vectors, dims))
        cut._metadata = self._metadata | ({"dims": str(cut.dims)} if "dims" in self._metadata else {})
        return cut

    def _capped(self, k: int) -> int:
        """k, or the number of words if that is less: answers are lists, which need no filling."""
        return min(_arguments.whole_number(k, "k", 1), max(len(self), 1))

    def _named(self, pairs: list[tuple[int, float]]) -> Hits:
        words = self._words
        return [(words[row], score) for row, score in pairs]


def _owned(index: Index) -> Index:
    """The Index, marked as one whose rows belong to words, so that its ``add`` raises."""
    index._owner = "a Vocabulary"
    return index
