"""Words over an Index: similarity, nearest words and analogies by label instead of by row number."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from . import _arguments, _queries, evaluation
from ._forks import ProcessLock
from ._once import once
from ._snapshot import Snapshot
from ._words import Labels, Left
from .analogies import answer_questions, answer_vectors, question
from .choices import METHODS, Method, Stored, Undecodable
from .index import Index
from .kernels.compile import default_mode
from .kernels.filters import Exclusions
from .labels import (
    Word,
    checked_words,
    elements,
    enumerated,
    ids_of,
    is_id,
    plain,
    plain_labels,
    quoted,
    rows_of_words,
)
from .results import TopK
from .search import knn
from .similarity import normalize, truncate

if TYPE_CHECKING:
    from .files import Labeled

Hits = list[tuple[Any, float]]


class Vocabulary:
    """Words and their vectors, searched by cosine similarity.

    Scores are the cosines that ``knn`` returns, as Python floats. Answers are ranked best first, equal
    scores in the order of the words. An unknown word raises KeyError, which names the nearest
    spellings.

    Args:
        words: n different labels: a list, an iterator, a column of NumPy, pandas, Polars or Arrow. Either
            non-empty strings, compared exactly (case, accents, spaces), or integers of 64 bits; where these
            are the words, integers in questions are words, and vectors have other numbers.
        vectors: (n, dims), used as an ``Index`` uses them: float32 with C-contiguous rows is
            not copied and must not be changed.

    Raises:
        TypeError: if words are neither all str nor all integers, or have no order.
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

    def __init__(self, words: Iterable[Word], vectors: Any) -> None:
        labels, index = checked_words(words), Index(vectors)
        if len(index) != len(labels):
            raise ValueError(f"words and vectors differ in number: {len(labels)} and {len(index)}")
        self.__setstate__({"_words": labels, "_index": index})

    @classmethod
    def build(
        cls,
        source: Any,
        path: str | os.PathLike[str],
        *,
        dtype: Stored = "float32",
        format: str | None = None,
        errors: Undecodable = "strict",
        progress: bool | Callable[[int, int | None], object] = False,
    ) -> Vocabulary:
        """Build the folder of a Vocabulary, of more words and vectors than memory holds, and open it.

        Args:
            source: a file with words, whose further columns are left out, or an iterable of pairs (words,
                block of vectors).
            path, dtype, format, errors, progress: as in ``Index.build``, with the same errors.

        Raises:
            ValueError: if the source has no words, if a word is blank, and as ``Index.build``.

        Example:
            >>> import fastvec, os, tempfile
            >>> path = os.path.join(tempfile.mkdtemp(), "compass")
            >>> fastvec.Vocabulary.build([(["north", "east"], [[0, 1], [1, 0]])], path)
            Vocabulary(2 words, 2 dims: 'north', 'east')
        """
        from . import _building

        asked = _building.settings("cosine", "auto", dtype, labeled=True)
        _building.build_from(source, path, asked, format, errors, progress)
        return cls.open(path)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,
        limit: int | None = None,
        errors: Undecodable = "strict",
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
    def _words(self) -> tuple[Word, ...]:
        """The first words."""
        return self._labeled.words

    @once
    def _index(self) -> Index:
        return _owned(self._labeled.living_index())

    @once
    def _first_labels(self) -> Labels:
        return Labels.of_rows(self._words, self._index._rows.now())

    @once
    def _changing(self) -> ProcessLock:
        """Held by one change at a time."""
        return ProcessLock()

    def _now(self) -> tuple[Snapshot, Mapping[Word, int], Sequence[Word]]:
        """The rows at this moment, the number of each word, and the word of each number."""
        first = self._first_labels
        rows = self._index._rows.seen or self._index._rows.now()
        if rows.labels is None:  # before the first change
            return rows, first.numbers, first.names
        return rows, Left(rows.labels, rows), rows.labels.names

    def __getstate__(self) -> dict[str, Any]:
        index = self.index
        return {"_words": self.words, "_index": index, "_metadata": self._metadata}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # What ``once`` would compute is here already.
        self.__dict__.update(_words=state["_words"], _index=_owned(state["_index"]))
        self._metadata = state.get("_metadata", {})

    def save(self, path: str | os.PathLike[str], *, format: str | None = None) -> None:
        """Write words and vectors, whole or not at all, for ``Vocabulary.open`` and other programs.

        To an Index folder that the words were opened from or saved to before, only what changed is written,
        as by ``Index.save``. An Index folder, Arrow, Parquet and ``.npy`` also get ``metadata``. Further
        columns of the file that was opened are not written: for those, use ``files.read`` and
        ``files.write``, or `fastvec convert`.

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
            rows, _, names = self._now()
            files.indexed.save(path, self._index, names, self._metadata or None, rows=rows)
            return
        held = chosen in files.FORMATS and files.FORMATS[chosen].metadata
        metadata = self._metadata if held else None
        rows, left, _ = self._now()
        words: tuple[Any, ...] = tuple(left)
        files.write(path, words, rows.vectors, format=format, metadata=metadata)

    def add(self, words: Iterable[Word], vectors: Any) -> None:
        """Add words and their vectors, all or none; a search in another thread also sees all or none.

        Args:
            words: r different labels that are not words yet, of the kind of the others.
            vectors: (r, dims), used as in ``Index.add``.

        Raises:
            ValueError: if a word is known or repeated, and as in the constructor.
            TypeError: as in the constructor.

        Example:
            >>> import fastvec
            >>> compass = fastvec.Vocabulary(["north", "east"], [[0, 1], [1, 0]])
            >>> compass.add(["south"], [[0, -1]])
            >>> compass.most_similar([0.1, -1], k=1)[0][0]
            'south'
        """
        with self._changing.here:
            rows, left, _ = self._now()
            new = self._checked_words(words)
            known = [word for word in new if word in left]
            if known:
                raise ValueError(
                    f"known already: {enumerated(map(_shown, known[:5]), len(known))}; "
                    "replace gives known words other vectors"
                )
            self._put(rows, left, new, vectors)

    def replace(self, words: Iterable[Word], vectors: Any) -> None:
        """Give words other vectors, and add those that are new, all or none, as ``add`` does.

        Args:
            words: r different labels.
            vectors: (r, dims), used as in ``Index.add``.

        Raises:
            ValueError: if a word is repeated, and as in the constructor.
            TypeError: as in the constructor.

        Example:
            >>> import fastvec
            >>> compass = fastvec.Vocabulary(["up", "right"], [[1, 1], [1, 0]])
            >>> compass.replace(["up", "down"], [[0, 1], [0, -1]])
            >>> compass.words, compass["up"]
            (('up', 'right', 'down'), array([0., 1.], dtype=float32))
        """
        with self._changing.here:
            rows, left, _ = self._now()
            self._put(rows, left, self._checked_words(words), vectors)

    def remove(self, words: Iterable[Word]) -> None:
        """Remove words and their vectors, all or none, in time in proportion to their number.

        Args:
            words: different words.

        Raises:
            KeyError: if a word is unknown.
            ValueError: if a word is repeated.

        Example:
            >>> import fastvec
            >>> compass = fastvec.Vocabulary(["north", "east"], [[0, 1], [1, 0]])
            >>> compass.remove(["north"])
            >>> compass
            Vocabulary(1 words, 2 dims: 'east')
        """
        with self._changing.here:
            rows, left, _ = self._now()
            gone = self._checked_words(words)
            labels, living = self._own_labels(rows), self._index._rows
            living.remove(np.array(rows_of_words(gone, left), np.int64))
            labels.forget(gone, living.now())

    def _own_labels(self, rows: Snapshot) -> Labels:
        """Labels that changes may be noted in: those of the first rows stay as they are."""
        labels: Labels = rows.labels or Labels.of_rows(self._words, rows)
        self._index._rows.label(labels)
        return labels

    def refresh(self) -> bool:
        """Take over the words that others saved to the folder of this Vocabulary, as ``Index.refresh``.

        Returns:
            Whether there was anything new.

        Raises:
            ValueError: as ``Index.refresh``.

        Example:
            >>> import fastvec, os, tempfile
            >>> path = os.path.join(tempfile.mkdtemp(), "compass")
            >>> fastvec.Vocabulary(["north", "east"], [[0, 1], [1, 0]]).save(path)
            >>> reader, writer = fastvec.Vocabulary.open(path), fastvec.Vocabulary.open(path)
            >>> writer.add(["south"], [[0, -1]])
            >>> writer.save(path)
            >>> reader.refresh(), reader.words
            (True, ('north', 'east', 'south'))
        """
        from . import files

        with self._changing.here:
            metadata: dict[str, str] = {}

            def labels(words: tuple[Word, ...], facts: Mapping[str, Any], rows: Snapshot) -> Labels:
                metadata.update(facts.get("metadata", {}))
                return Labels.of_rows(checked_words(words), rows)

            if not files.indexed.refresh(self._index, labels):
                return False
            self._metadata = metadata
            return True

    def _checked_words(self, words: Iterable[Word]) -> tuple[Word, ...]:
        """Different labels of the kind of the vocabulary's."""
        labels = checked_words(words)
        names = self._now()[2]
        if labels and len(self) and type(labels[0]) is not type(names[0]):
            kinds = ("int", "str") if _of_ids(names) else ("str", "int")
            raise TypeError(f"words of this vocabulary are {kinds[0]}, not {kinds[1]}")
        return labels

    def _put(self, rows: Snapshot, left: Mapping[Word, int], words: tuple[Word, ...], vectors: Any) -> None:
        """Give words vectors: the known ones others, the new ones their first."""
        matrix, owned = self._index._checked_rows(vectors)
        if len(matrix) != len(words):
            raise ValueError(f"words and vectors differ in number: {len(words)} and {len(matrix)}")
        labels, living = self._own_labels(rows), self._index._rows
        new = [word for word in words if word not in left]
        labels.note(new, rows.top)
        try:
            if len(new) == len(words):
                living.add(matrix, owned=owned)
            else:
                numbers = np.array([labels.numbers[word] for word in words], np.int64)
                living.put(numbers, matrix, owned=owned)
        finally:
            labels.forget(new, living.now())

    @property
    def words(self) -> tuple[Any, ...]:
        """The words, in the order of the vectors."""
        rows, left, _ = self._now()
        if rows.labels is None:
            return self._words
        if "words" not in rows.__dict__:
            rows.__dict__["words"] = tuple(left)
        words: tuple[Any, ...] = rows.__dict__["words"]
        return words

    @property
    def vectors(self) -> NDArray[np.float32]:
        """float32 (n, dims), read-only, in the order of the words."""
        return self._index.vectors

    @property
    def index(self) -> Index:
        """The Index over the vectors, for work by row number: batches of analogies, filters.

        Its row i belongs to ``words[i]``: where words were removed, the rows left are numbered anew for that,
        which takes as long as ``Index.compact``. Its ``add``, ``remove`` and ``replace`` raise;
        ``Index(vocabulary.vectors)`` is one that may change by itself.
        """
        with self._changing.here:
            rows, _, names = self._now()
            if rows.left < rows.top:
                self._index._rows.compact(
                    self._index.metric,
                    lambda numbers, _: Labels.of(names[number] for number in numbers.tolist()),
                )
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
        return iter(self.words)

    def __contains__(self, word: object) -> bool:
        word = plain(word)
        return (isinstance(word, str) or is_id(word)) and word in self._now()[1]

    def __getitem__(self, word: Word) -> NDArray[np.float32]:
        """The word's vector: float32 (dims,), read-only."""
        rows, left, _ = self._now()
        row: NDArray[np.float32] = rows.row(rows_of_words([word], left)[0])
        return row

    def __repr__(self) -> str:
        first = ", ".join(map(_shown, self.words[:3])) + (", ..." if len(self) > 3 else "")
        return f"Vocabulary({len(self)} words, {self.dims} dims: {first})"

    def similarity(self, a: Word, b: Word) -> float:
        """Cosine similarity of two words, from -1 to 1; ``search`` returns the same score.

        Args:
            a: a word.
            b: another, or the same.

        Example:
            >>> import fastvec
            >>> fastvec.Vocabulary(["up", "right"], [[0, 2], [3, 0]]).similarity("up", "right")
            0.0
        """
        rows, left, _ = self._now()
        row, other = rows_of_words((a, b), left)
        return rows.pair_score(row, other, self._index.metric)

    def most_similar(
        self,
        positive: Any,
        negative: Any = (),
        k: int = 10,
        *,
        method: Method = "3cosadd",
        dims: int | None = None,
        embedder: Any = None,
        where: Any = None,
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
            where: words that may be returned, or bool (n,) in the order of ``words``.

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
        method = _arguments.one_of(method, "method", METHODS)
        rows_now, left, names = self._now()
        ids = _of_ids(names)
        k = _capped(k, rows_now)
        allowed = _allowed(where, rows_now, left)
        positives = _queries.items(positive, "positive", ids=ids)
        negatives = _queries.items(negative, "negative", ids=ids)
        if not positives:
            raise ValueError("positive is empty; a question needs at least one positive input")
        items = [*positives, *negatives]
        rows = _queries.rows_of_known(items, left)
        # The row itself is the query: its unit vector, rounded to float32, could change a score's last bit.
        itself = len(items) == 1 and method == "3cosadd"
        if rows is None:
            inputs, rows = _queries.resolved(items, left, rows_now, dims, embedder)
            known = [row for row in rows if row >= 0]
            if itself:
                answers = self._search(rows_now, inputs[0], k, inputs.shape[1], allowed, known)
            else:
                answers = answer_vectors(rows_now, inputs, len(positives), known, k, method, allowed)
        elif itself:
            exclude = Exclusions.of_runs(np.array([0, 1], np.int64), np.array(rows, np.int64))
            answers = self._search(rows_now, rows_now.row(rows[0]), k, dims, allowed, exclude)
        else:
            self._index._of_cosines()
            answers = answer_questions(
                rows_now,
                question(rows, len(positives)),
                one=True,
                k=k,
                method=method,
                dims=dims,
                where=allowed,
            )
        return _named(answers.lists(), names)

    def _search(
        self, rows: Snapshot, queries: Any, k: int, dims: int | None, where: Any, exclude: Any = None
    ) -> TopK:
        return rows.search(
            rows.request(queries, k, metric=self._index.metric, dims=dims, where=where, exclude=exclude)
        )

    @overload
    def search(
        self, queries: str, k: int = 10, *, dims: int | None = None, embedder: Any = None, where: Any = None
    ) -> Hits: ...
    @overload
    def search(
        self,
        queries: list[str] | tuple[str, ...],
        k: int = 10,
        *,
        dims: int | None = None,
        embedder: Any = None,
        where: Any = None,
    ) -> list[Hits]: ...
    @overload
    def search(
        self, queries: Any, k: int = 10, *, dims: int | None = None, embedder: Any = None, where: Any = None
    ) -> Any: ...
    def search(
        self, queries: Any, k: int = 10, *, dims: int | None = None, embedder: Any = None, where: Any = None
    ) -> Any:
        """The nearest words of each query; a word is left out of its own answers.

        Args:
            queries: a word or a vector (dims,); or several words (a list, an iterator, a column), or a
                matrix (m, dims).
            k: answers to each query, at least 1; fewer are returned if fewer words are left.
            dims: use only the first ``dims`` columns.
            embedder: turns the texts that are not words into vectors, all at once: an ``OpenAIEmbedder``,
                any object with ``embed_query``, ``embed`` or ``encode``, or a function from a list of n texts
                to (n, dims). It must use the model that made the vectors.
            where: words that may be returned, or bool (n,) in the order of ``words``.

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
        known, left, names = self._now()
        ids = _of_ids(names)
        one = isinstance(plain(queries), str | bytes) or (ids and is_id(plain(queries)))
        if one or isinstance(queries, Iterator):
            queries = [queries] if one else list(queries)
        allowed, k = _allowed(where, known, left), _capped(k, known)
        if one or _queries.are_words(queries, ids=ids):
            of_text = not ids or isinstance(plain(_queries.first_of(queries)), str)
            plain_ = plain_labels if of_text else ids_of
            items = plain_(queries, "queries")
            vectors, rows = _queries.resolved(items, left, known, dims, embedder)
            exclude = np.array(rows, np.int64)[:, np.newaxis]
            answers = self._search(known, vectors, k, vectors.shape[1], allowed, exclude)
        else:
            answers = self._search(known, queries, k, dims, allowed)
        if answers.indices.ndim == 1:
            return _named(answers.lists(), names)
        hits = [_named(pairs, names) for pairs in answers.lists()]
        return hits[0] if one else hits

    def doesnt_match(self, words: Iterable[Word]) -> Any:
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
        known, left, names = self._now()
        rows = rows_of_words(_queries.items(words, "words", ids=_of_ids(names)), left)
        if not rows:
            raise ValueError("words is empty; at least one is needed")
        units = normalize(known.fetch(np.array(rows, np.int64)))
        with default_mode():
            total = units.sum(axis=0, dtype=np.float64)
        return names[rows[int(knn(total, units, len(rows)).indices[-1])]]

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
        rows, left, _ = self._now()
        cut = Vocabulary(left, truncate(rows.vectors, dims))
        cut._metadata = self._metadata | ({"dims": str(cut.dims)} if "dims" in self._metadata else {})
        return cut


def _capped(k: int, rows: Snapshot) -> int:
    """k, or the number of words if that is less: answers are lists, which need no filling."""
    return min(_arguments.whole_number(k, "k", 1), max(rows.left, 1))


def _allowed(where: Any, rows: Snapshot, left: Mapping[Word, int]) -> Any:
    """``where`` of words, or of bools in their order, as row numbers."""
    if where is None:
        return None
    listed = list(elements(where, "where"))
    if listed and set(map(type, listed)) == {bool}:
        if len(listed) != rows.left:
            raise ValueError(f"where has {len(listed)} bools; there are {rows.left} words")
        return rows.numbered(rows.order)[np.array(listed)]
    return np.array(rows_of_words(listed, left), np.int64)


def _of_ids(names: Sequence[Word]) -> bool:
    """Whether words are integers."""
    return len(names) > 0 and type(names[0]) is int


def _named(pairs: list[tuple[int, float]], names: Sequence[Word]) -> Hits:
    return [(names[number], score) for number, score in pairs]


def _shown(word: Word) -> str:
    return quoted(word) if isinstance(word, str) else str(word)


def _owned(index: Index) -> Index:
    """The Index, marked as one whose rows belong to words, so that its ``add`` raises."""
    index._owner = "a Vocabulary"
    return index
