"""Search and similarity functions of ``sentence_transformers.util``, with its types.

In code with

    from sentence_transformers.util import cos_sim, semantic_search

only the import changes:

    from fastvec.integrations.sentence_transformers import cos_sim, semantic_search

Embeddings are PyTorch tensors, NumPy arrays, columns of a data frame, or lists of these. Scores are tensors,
whatever came in; searches return lists, and need no PyTorch (``pip install 'fastvec[torch]'`` installs it).
``fastvec.integrations.sentence_transformers.numpy`` has the same functions with NumPy arrays as results.
sentence-transformers itself is not used.

Tensors in this computer's memory are read in place; bfloat16 and float16 are converted to float32. If a
tensor needs a gradient, is sparse, or is on a device, then scores are computed by PyTorch, where it is and
with gradients. Searches copy tensors on a device to this computer's memory.

Deliberate differences from sentence-transformers 6.2:

- Searches are exact and the same for every chunk size: chunks only limit the memory of your own score
  functions. Equal scores are listed by rising row number, and scores are the float32 roundings of float64
  sums. float64 embeddings are searched as float32; ``cos_sim`` and ``dot_score`` compute them in float64.
- NaN and infinity, which would corrupt a ranking, raise a ``ValueError`` that names argument and row.
- Rows of 1e30 or 1e-30 have the right cosines, which never leave [−1, 1]; equal rows have the distance 0.
- float32 and float64 may be mixed; ``cos_sim`` and searches take integers.
- Shapes that do not fit raise ``ValueError`` in searches and ``cos_sim`` (PyTorch: ``RuntimeError``).
"""

from .communities import community_detection
from .retrieval import paraphrase_mining_embeddings, semantic_search
from .similarity import (
    cos_sim,
    dot_score,
    euclidean_sim,
    manhattan_sim,
    normalize_embeddings,
    pairwise_angle_sim,
    pairwise_cos_sim,
    pairwise_dot_score,
    pairwise_euclidean_sim,
    pairwise_manhattan_sim,
    pytorch_cos_sim,
    truncate_embeddings,
)

__all__ = [
    "community_detection",
    "cos_sim",
    "dot_score",
    "euclidean_sim",
    "manhattan_sim",
    "normalize_embeddings",
    "pairwise_angle_sim",
    "pairwise_cos_sim",
    "pairwise_dot_score",
    "pairwise_euclidean_sim",
    "pairwise_manhattan_sim",
    "paraphrase_mining_embeddings",
    "pytorch_cos_sim",
    "semantic_search",
    "truncate_embeddings",
]
