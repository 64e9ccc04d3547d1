"""The queries of gensim's ``KeyedVectors``, answered by fastvec.

Code that searches a ``KeyedVectors`` changes in one place:

    from fastvec.integrations.gensim import accelerate

    vectors = accelerate(vectors)
    vectors.most_similar(positive=["king", "woman"], negative=["man"])

Methods, their arguments, results and errors are those of gensim 4.4, which need not be installed:
``WordVectors`` takes words and vectors from anywhere, and ``accelerate`` a ``fastvec.Vocabulary``, too.
``most_similar_batch`` answers many questions at once. ``Indexer`` serves gensim's own
``most_similar(indexer=…)``.

Deliberate differences from gensim 4.4:

- Queries of several words are computed in float64 and then rounded to float32; answers are those of an exact
  scan with float64 scores. Equal scores are listed in the order of the vocabulary, identical rows score
  exactly 1, and no cosine is beyond [−1, 1].
- A zero row scores 0; in gensim it scores NaN and comes first.
- ``most_similar_cosmul`` applies ``restrict_vocab``, and takes numbers of rows as keys.
- ``evaluate_word_analogies`` applies ``similarity_function``, which is "most_similar" or
  "most_similar_cosmul".
- ``closer_than`` and ``rank`` compare cosines, not float32 distances, which are equal for many near rows.

The vectors are used in place, so neither they nor the keys must be changed; accelerate them again after a
change.
"""

from .words import Indexer, WordVectors, accelerate

__all__ = ["Indexer", "WordVectors", "accelerate"]
