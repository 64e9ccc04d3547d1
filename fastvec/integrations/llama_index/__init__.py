"""LlamaIndex's ranking of embeddings and its simple vector store, with exact searches of an Index.

``get_top_k_embeddings`` and ``get_top_k_mmr_embeddings`` have the signatures and results of the functions of
these names in ``llama_index.core.indices.query.embedding_utils``, and do not need LlamaIndex.
``SimpleVectorStore`` has the methods of the class of this name in ``llama_index.core.vector_stores``. What
differs on purpose:

- Vectors are rounded to float32. Scores are fastvec's, as Python floats: a vector of zeros scores 0, and
  equal scores rank in the order in which vectors were given or added. NaN and infinity are errors.
- ``embeddings`` may be a ``fastvec.Index``, encoded once and searched often.
- The store keeps nodes, too (``stores_text``), so results have nodes, and an index over it needs no document
  store.
- Filters may hold filters. The condition NOT, like the host's, passes nodes that pass none of the filters.
- ``persist`` writes a folder, in which only what changed is written again, and ``from_persist_path`` maps it
  into memory. Metadata must be what JSON can express then.
- Threads may query and change a store at once: each sees all of a change or none.
- The modes that fit a classifier ("svm" and others) are left to LlamaIndex's own store.

    from fastvec.integrations.llama_index import SimpleVectorStore

    context = StorageContext.from_defaults(vector_store=SimpleVectorStore())
    index = VectorStoreIndex.from_documents(documents, storage_context=context)
"""

from typing import TYPE_CHECKING

from .._hosts import finder
from .ranking import get_top_k_embeddings, get_top_k_mmr_embeddings

if TYPE_CHECKING:
    from ._store import SimpleVectorStore as SimpleVectorStore

__all__ = ["SimpleVectorStore", "get_top_k_embeddings", "get_top_k_mmr_embeddings"]

__getattr__ = finder(__name__, {"SimpleVectorStore": "_store"}, "llama_index.core", "'fastvec[llama-index]'")


def __dir__() -> list[str]:
    return __all__
