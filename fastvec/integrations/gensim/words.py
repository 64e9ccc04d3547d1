"""Words and vectors with the queries of a KeyedVectors."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

import fastvec

from . import cosmul, evaluation
from .lookup import KEYS, Lookup, items

Hits = list[tuple[Any, float]]

logger = logging.getLogger(__name__)

_FEW = 128
"""Words whose rankings are kept."""

_OF_THE_SOURCE = ("expandos", "get_vecattr", "save", "save_word2vec_format", "vectors_for_all", "wmdistance")
"""What is left to the KeyedVectors that was accelerated."""


def accelerate(keyed_vectors: Any) -> WordVectors:
    """The same words and vectors, with exact and fast queries.

    Args:
        keyed_vectors: a ``KeyedVectors`` of gensim, a model that has one as ``wv``, or a
            ``fastvec.Vocabulary``. Its vectors are used in place and must not be changed.

    Raises:
        ValueError: if a vector has NaN or infinity (the message names the row).
        TypeError: if it is none of these.

    Example:
        >>> import fastvec
        >>> from fastvec.integrations.gensim import accelerate
        >>> compass = fastvec.Vocabulary(["north", "east", "south"], [[0, 1], [1, 0], [0, -1]])
        >>> accelerate(compass).most_similar("north", topn=1)
        [('east', 0.0)]
    """
    source = getattr(keyed_vectors, "wv", keyed_vectors)
    keys = getattr(source, "index_to_key", getattr(source, "words", None))
    if keys is None:
        raise TypeError(
            f"keyed_vectors is a {type(source).__name__}; it must be a KeyedVectors of gensim, a model with "
            "one, or a fastvec.Vocabulary: WordVectors(words, vectors) takes words and vectors"
        )
    words = WordVectors(keys, source.vectors)
    words._source = source
    return words


class WordVectors(Lookup):
    """Words and their vectors, with the queries of a ``KeyedVectors`` of gensim.

    Args:
        keys: n different words, or other keys.
        vectors: (n, dims), used as ``fastvec.Index`` uses them.

    Raises:
        ValueError: if there are not n vectors or different keys, and as ``fastvec.Index``.

    Example:
        >>> from fastvec.integrations.gensim import WordVectors
        >>> words = ["king", "queen", "man", "woman", "castle"]
        >>> vectors = WordVectors(words, [[2, 1, 0], [2, 0, 1], [0, 1, 0], [0, 0, 1], [2, 0, 0]])
        >>> vectors.most_similar(positive=["king", "woman"], negative=["man"], topn=1)[0][0]
        'queen'
        >>> vectors.similarity("king", "man").round(4)
        np.float32(0.4472)
    """

    _ranked: list[Hits] | None = None
    """What ``_rankings`` stores. (On Python 3.11, ``functools.cached_property`` has a lock, which a forked
    child may find held.)"""

    def __getattr__(self, name: str) -> Any:
        if name in _OF_THE_SOURCE and self.__dict__.get("_source") is not None:
            return getattr(self._source, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def most_similar(
        self,
        positive: Any = None,
        negative: Any = None,
        topn: int | None = 10,
        clip_start: int = 0,
        clip_end: int | None = None,
        restrict_vocab: int | None = None,
        indexer: Any = None,
    ) -> Any:
        """The words nearest to the mean of the inputs; the words among the inputs are left out.

        Args:
            positive: a word, a row number, a vector, or a list of these or of pairs (input, weight). Words
                stand for their unit vectors; vectors are used as they are.
            negative: likewise; the default weight is −1.
            topn: answers; None: the similarities of all words.
            clip_start: the first row that may be an answer.
            clip_end: the row after the last one; None: all.
            restrict_vocab: only the first ``restrict_vocab`` rows may be answers; overrides both.
            indexer: answers instead, by its method ``most_similar(vector, topn)``.

        Returns:
            Pairs (word, cosine), best first; or float32 cosines, one for each row that may be an answer.

        Raises:
            KeyError: if a word is unknown.
            ValueError: if there is no input.
        """
        if isinstance(topn, Integral) and topn < 1:
            return []
        only = positive[0] if type(positive) is list and len(positive) == 1 else positive
        row = self.key_to_index.get(only, -1) if type(only) is str and negative is None else -1
        if row >= 0:  # the usual case first
            query, known = self.vectors[row], [row]
        else:
            query, known = self._query(*self._inputs(positive, negative))
        if indexer is not None and isinstance(topn, int):
            return indexer.most_similar(_unit(query), topn)
        rows = self._allowed(clip_start, clip_end, restrict_vocab)
        if topn is None:
            return fastvec.cosine_similarity(query[None], self.vectors[rows.start : rows.stop])[0]
        k = min(topn, max(len(rows), 1))
        where = self._where(rows)
        if row >= 0 and where is None and len(self) <= _FEW:
            return self._rankings[row][:k]
        if known:
            return self._named(self._index.search(query, k, where=where, exclude=known).lists())
        return self._named(self._nearest(query, k, where))

    def most_similar_batch(
        self,
        positive: Sequence[Any],
        negative: Sequence[Any] | None = None,
        topn: int = 10,
        restrict_vocab: int | None = None,
    ) -> list[Hits]:
        """``most_similar`` for many questions at once, which takes much less time for each.

        Args:
            positive: for each question, what ``most_similar`` takes; a list of words asks for the neighbors
                of each.
            negative: for each question, likewise; None: nothing.
            topn: answers to each question.
            restrict_vocab: only the first ``restrict_vocab`` rows may be answers.

        Returns:
            The answer of ``most_similar`` to each question.

        Raises:
            KeyError: if a word is unknown.
            ValueError: if a question has no input, or ``negative`` has another length than ``positive``.

        Example:
            >>> from fastvec.integrations.gensim import WordVectors
            >>> vectors = WordVectors(["north", "east", "south"], [[0, 1], [1, 0], [0, -1]])
            >>> vectors.most_similar_batch(["north", "south"], topn=1)
            [[('east', 0.0)], [('east', 0.0)]]
        """
        if negative is not None and len(negative) != len(positive):
            raise ValueError(f"positive has {len(positive)} questions and negative has {len(negative)}")
        if topn < 1 or not len(positive):
            return [[] for _ in positive]
        rows = self._allowed(0, None, restrict_vocab)
        words = [self.key_to_index.get(item, -1) if type(item) is str else -1 for item in positive]
        if negative is None and min(words) >= 0:
            queries, known = self.vectors[words], [[row] for row in words]
        else:
            pairs = zip(positive, negative or [None] * len(positive), strict=True)
            found = [self._query(*self._inputs(*pair)) for pair in pairs]
            queries, known = np.stack([query for query, _ in found]), [rows_of for _, rows_of in found]
        k, where = min(topn, max(len(rows), 1)), self._where(rows)
        answers = self._index.search(queries, k, where=where, exclude=known)
        hits = answers.lists()
        vectors = (i for i, rows_of in enumerate(known) if not rows_of)
        looked_at = ((i, self._meant(queries[i], answers.indices[i], answers.scores[i])) for i in vectors)
        meant = {i: row for i, row in looked_at if row is not None}
        if meant:
            again = self._index.search(np.stack(list(meant.values())), k, where=where).lists()
            for i, pairs in zip(meant, again, strict=True):
                hits[i] = pairs
        return [self._named(pairs) for pairs in hits]

    def similar_by_key(self, key: Any, topn: int | None = 10, restrict_vocab: int | None = None) -> Any:
        """``most_similar`` of one key, with its arguments topn and restrict_vocab."""
        return self.most_similar(positive=[key], topn=topn, restrict_vocab=restrict_vocab)

    def similar_by_word(self, word: Any, topn: int | None = 10, restrict_vocab: int | None = None) -> Any:
        """``most_similar`` of one word, with its arguments topn and restrict_vocab."""
        return self.similar_by_key(word, topn, restrict_vocab)

    def similar_by_vector(self, vector: Any, topn: int | None = 10, restrict_vocab: int | None = None) -> Any:
        """``most_similar`` of one vector, with its arguments topn and restrict_vocab."""
        return self.most_similar(positive=[np.asarray(vector)], topn=topn, restrict_vocab=restrict_vocab)

    most_similar_cosmul = cosmul.most_similar_cosmul

    def distances(self, word_or_vector: Any, other_words: Iterable[Any] = ()) -> npt.NDArray[Any]:
        """One minus the cosine of a word or vector with each of the other words, or with all words.

        Args:
            word_or_vector: a key or a vector.
            other_words: keys; none: all.

        Raises:
            KeyError: if a key is unknown.
        """
        query = self[word_or_vector] if isinstance(word_or_vector, KEYS) else np.asarray(word_or_vector)
        others = [self.get_index(key) for key in ([] if other_words is None else other_words)]
        vectors = self.vectors[others] if others else self.vectors
        cosines: npt.NDArray[Any] = fastvec.cosine_similarity(query[None], vectors)[0]
        return 1 - cosines

    def similarity(self, w1: Any, w2: Any) -> Any:
        """The cosine of two keys, w1 and w2, as float32."""
        return _cosine(self[w1], self[w2])

    def distance(self, w1: Any, w2: Any) -> Any:
        """One minus the cosine of two keys, w1 and w2."""
        return 1 - self.similarity(w1, w2)

    def n_similarity(self, ws1: Sequence[Any], ws2: Sequence[Any]) -> Any:
        """The cosine of the mean vectors of two lists of keys, ws1 and ws2; unknown keys are left out.

        Raises:
            ZeroDivisionError: if a list is empty.
        """
        if not (len(ws1) and len(ws2)):
            raise ZeroDivisionError("At least one of the passed list is empty.")
        means = (self._mean(ws, np.ones(len(ws)), unit=False, ignore_missing=True) for ws in (ws1, ws2))
        return _cosine(*means)

    def get_mean_vector(
        self,
        keys: Sequence[Any],
        weights: Any = None,
        pre_normalize: bool = True,
        post_normalize: bool = False,
        ignore_missing: bool = True,
    ) -> npt.NDArray[np.float32]:
        """The weighted mean of vectors, divided by the sum of the weights' magnitudes.

        Args:
            keys: keys and vectors.
            weights: a number for each; None: 1.
            pre_normalize: use the unit vectors of keys.
            post_normalize: scale the mean to unit length.
            ignore_missing: leave unknown keys out.

        Raises:
            ValueError: if there is no key, or ``weights`` has another length.
            KeyError: if a key is unknown and ``ignore_missing`` is false.
        """
        if len(keys) == 0:
            raise ValueError("cannot compute mean with no input")
        factors = np.ones(len(keys)) if weights is None else np.asarray(weights, np.float64)
        if len(keys) != len(factors):
            raise ValueError("keys and weights array must have same number of elements")
        mean = self._mean(keys, factors, unit=pre_normalize, ignore_missing=ignore_missing)
        return (_unit(mean) if post_normalize else mean).astype(np.float32)

    def rank_by_centrality(self, words: Sequence[Any], use_norm: bool = True) -> list[tuple[Any, Any]]:
        """Pairs (similarity, word), by similarity to the mean of all the words; unknown ones are left out.

        Args:
            words: keys.
            use_norm: use their unit vectors.

        Raises:
            ValueError: if no word is known.
        """
        used = [word for word in words if word in self]
        if len(used) != len(words):
            unknown = set(words) - set(used)
            logger.warning("vectors for words %s are not present in the model, ignoring these words", unknown)
        if not used:
            raise ValueError("cannot select a word from an empty list")
        rows = np.stack([self._wide(word, unit=use_norm) for word in used])
        similarities = np.einsum("ij,j->i", rows, _unit(rows.sum(axis=0)))
        ranked = sorted(zip(similarities.tolist(), used, strict=True), reverse=True)
        return [(np.float32(similarity), word) for similarity, word in ranked]

    def doesnt_match(self, words: Sequence[Any]) -> Any:
        """The one of the words that is least similar to their mean."""
        return self.rank_by_centrality(words)[-1][1]

    def most_similar_to_given(self, key1: Any, keys_list: Sequence[Any]) -> Any:
        """The one of the keys of keys_list that is most similar to key1; of equal ones, the first."""
        return keys_list[int(np.argmax([self.similarity(key1, key) for key in keys_list]))]

    def closer_than(self, key1: Any, key2: Any) -> list[Any]:
        """The keys whose cosine with key1 is larger, as float32, than that of key2, by row number."""
        row, other = self.get_index(key1), self.get_index(key2)
        query = self.vectors[row]
        if row == other:
            return []
        least = self._index.search(query, 1, where=[other]).scores[0]
        ranges = self._index.range_search(query, least, exclude=[row])
        closer = np.sort(ranges.indices[ranges.scores > least])
        return [self.index_to_key[index] for index in closer.tolist()]

    def rank(self, key1: Any, key2: Any) -> int:
        """One more than the number of keys that are closer to key1 than key2 is."""
        return len(self.closer_than(key1, key2)) + 1

    def relative_cosine_similarity(self, wa: Any, wb: Any, topn: int = 10) -> Any:
        """The cosine of wa and wb as a share of the sum of those of the topn words most similar to wa.

        Raises:
            ValueError: if no word is similar to wa.
        """
        similar = self.similar_by_word(wa, topn)
        if not similar:
            raise ValueError("Cannot calculate relative cosine similarity without any similar words.")
        return float(self.similarity(wa, wb)) / sum(score for _, score in similar)

    evaluate_word_analogies = evaluation.evaluate_word_analogies
    evaluate_word_pairs = evaluation.evaluate_word_pairs

    @property
    def indexer(self) -> Indexer:
        """An ``Indexer`` over the same vectors."""
        return Indexer(self)

    @property
    def _rankings(self) -> list[Hits]:
        """Of few words, the others ranked by each: a search would take longer than all the rest of a call."""
        if self._ranked is None:
            self._ranked = list(map(self._named, self._index.knn_graph(max(len(self) - 1, 1)).lists()))
        return self._ranked

    def _inputs(self, positive: Any, negative: Any) -> tuple[list[Any], npt.NDArray[np.float64]]:
        """Keys and vectors, and the weight of each."""
        inputs, weights = [], []
        for value, default in ((positive, 1.0), (negative, -1.0)):
            for item in items(value):
                plain = isinstance(item, (*KEYS, np.ndarray))
                inputs.append(item if plain else item[0])
                weights.append(default if plain else item[1])
        if not inputs:
            raise ValueError("cannot compute mean with no input")
        return inputs, np.array(weights, np.float64)

    def _query(
        self, inputs: list[Any], weights: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float32], list[int]]:
        """The vector that inputs ask for, and the rows of the words among them."""
        known = [self.get_index(key, -1) for key in inputs if isinstance(key, KEYS)]
        if len(inputs) == 1 and known and known[0] >= 0 and weights[0] > 0:
            return self.vectors[known[0]], known  # itself, whose rounded unit vector has another cosine
        only = inputs[0] if len(inputs) == 1 and weights[0] > 0 else None
        if isinstance(only, np.ndarray) and only.dtype == np.float32 and only.shape == (self.vector_size,):
            return only, known
        mean = self._mean(inputs, weights, unit=True, ignore_missing=False)
        return _unit(mean).astype(np.float32), [row for row in known if row >= 0]

    def _mean(
        self, keys: Sequence[Any], weights: npt.NDArray[np.float64], *, unit: bool, ignore_missing: bool
    ) -> npt.NDArray[np.float64]:
        mean, total = np.zeros(self.vector_size), 0.0
        for key, weight in zip(keys, weights.tolist(), strict=True):
            if isinstance(key, np.ndarray):
                mean += weight * key.astype(np.float64)
            elif key in self:
                mean += weight * self._wide(key, unit=unit)
            elif ignore_missing:
                continue
            else:
                raise KeyError(f"Key '{key}' not present in vocabulary")
            total += abs(weight)
        return mean / total if total > 0 else mean

    def _wide(self, key: Any, *, unit: bool) -> npt.NDArray[np.float64]:
        row = self.get_vector(key).astype(np.float64)
        return _unit(row) if unit else row

    def _allowed(self, start: int, stop: int | None, restrict: int | None) -> range:
        """The rows that may be answers."""
        return range(len(self))[:restrict] if restrict else range(len(self))[start : stop or None]

    def _where(self, rows: range) -> npt.NDArray[np.bool_] | None:
        if len(rows) == len(self):
            return None
        mask = self._mask  # read once, as another thread may exchange it
        if mask is None or mask[0] != rows:
            numbers = np.arange(len(self))
            self._mask = mask = rows, (numbers >= rows.start) & (numbers < rows.stop)
        return mask[1]

    def _named(self, pairs: list[tuple[int, float]]) -> Hits:
        keys = self.index_to_key
        return [(keys[row], score) for row, score in pairs]


class Indexer:
    """The nearest words of a vector, for ``most_similar(…, indexer=…)`` of gensim.

    As gensim's own indexers do, it returns the words of the question, too.

    Args:
        keyed_vectors: what ``accelerate`` takes, or a ``WordVectors``.

    Example:
        >>> from fastvec.integrations.gensim import Indexer, WordVectors
        >>> vectors = WordVectors(["north", "east"], [[0, 1], [1, 0]])
        >>> Indexer(vectors).most_similar([0.0, 2.0], 1)
        [('north', 1.0)]
    """

    def __init__(self, keyed_vectors: Any) -> None:
        is_fast = isinstance(keyed_vectors, WordVectors)
        self._words: WordVectors = keyed_vectors if is_fast else accelerate(keyed_vectors)

    def most_similar(self, vector: Any, topn: int) -> Hits:
        """Pairs (word, cosine) of the topn words nearest to the vector, best first."""
        words = self._words
        found = words._index.search(np.asarray(vector), min(topn, max(len(words), 1)))
        return words._named(found.lists())


def _unit(vector: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The vector scaled to unit length in float64; a zero vector as it is."""
    wide = vector.astype(np.float64, copy=False)
    length = math.sqrt(wide @ wide)
    return (wide / length).astype(vector.dtype) if length else vector


def _cosine(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> Any:
    a, b = a.astype(np.float64), b.astype(np.float64)
    length = math.sqrt((a @ a) * (b @ b))
    return np.float32(max(-1.0, min(1.0, float(a @ b) / length)) if length else 0.0)
