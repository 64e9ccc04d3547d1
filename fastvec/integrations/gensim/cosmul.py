"""The multiplicative combination of similarities (3CosMul)."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import fastvec

from .lookup import KEYS, items

if TYPE_CHECKING:
    from .words import WordVectors

EPSILON = 1e-6
"""What is added to the denominator, so that it is never zero."""

_BLOCK = 1 << 15
_ROUNDING = 1e-6
"""How far from 1 the squared length of a unit vector may be in float32."""


def most_similar_cosmul(
    self: WordVectors,
    positive: Any = None,
    negative: Any = None,
    topn: int | None = 10,
    restrict_vocab: int | None = None,
) -> Any:
    """The words that are similar to all positive inputs and dissimilar from all negative ones.

    Ranked by Π((1 + cos⁺)/2) ÷ (Π((1 + cos⁻)/2) + 10⁻⁶) in float64 (Levy and Goldberg 2014,
    https://aclanthology.org/W14-1618). For a vector, its dot product with the unit vector of the word stands
    for the cosine.

    Args:
        positive: a word, a row number, a vector, or a list of these.
        negative: likewise.
        topn: answers; None: the scores of all words.
        restrict_vocab: only the first ``restrict_vocab`` rows may be answers.

    Returns:
        Pairs (word, score), best first; or float64 scores, one for each row that may be an answer.

    Raises:
        KeyError: if a word is unknown.
        ValueError: if there is no positive input.
    """
    if isinstance(topn, Integral) and topn < 1:
        return []
    positives, negatives = items(positive), items(negative)
    if not positives:
        raise ValueError("cannot compute similarity with no input")
    inputs = [*positives, *negatives]
    terms = np.stack([_term(self, item) for item in inputs])
    scores = scored(self.vectors[: restrict_vocab or None], terms, len(positives))
    if topn is None:
        return scores
    known = {self.get_index(item, -1) for item in inputs if isinstance(item, KEYS)}
    rows = [row for row in known if 0 <= row < len(scores)]
    ranked = scores.copy()
    ranked[rows] = -np.inf
    k = min(topn, len(scores) - len(rows))
    best = fastvec.topk(ranked, k).indices.tolist() if k > 0 else []
    return [(self.index_to_key[row], float(scores[row])) for row in best]


def scored(
    vectors: npt.NDArray[np.float32], terms: npt.NDArray[np.float64], positives: int
) -> npt.NDArray[np.float64]:
    """The score of each vector for the terms, the positive ones first."""
    scores = np.empty(len(vectors))
    for start in range(0, len(vectors), _BLOCK):
        rows = vectors[start : start + _BLOCK].astype(np.float64)
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        shares = (1 + (rows @ terms.T) / np.where(lengths == 0, 1, lengths)[:, None]) / 2
        above, below = shares[:, :positives].prod(axis=1), shares[:, positives:].prod(axis=1)
        scores[start : start + len(rows)] = above / (below + EPSILON)
    return scores


def _term(self: WordVectors, item: Any) -> npt.NDArray[np.float64]:
    if isinstance(item, KEYS):
        return self._wide(item, unit=True)
    vector = np.asarray(item)
    wide = vector.astype(np.float64)
    is_row = len(self) > 0 and vector.shape == (self.vector_size,) and vector.dtype == np.float32
    if is_row and abs(wide @ wide - 1) < _ROUNDING:
        word = self.index_to_key[self._index.search(vector, 1).indices[0]]
        if np.array_equal(vector, self.get_vector(word, norm=True)):
            return self._wide(word, unit=True)  # so a word and its unit vector have the same scores
    return wide
