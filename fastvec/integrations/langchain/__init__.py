"""LangChain's vector store in memory, with exact searches of an Index and a folder to keep it in.

``InMemoryVectorStore`` has the methods and arguments of the class of this name in
``langchain_core.vectorstores``. What differs on purpose:

- Vectors are float32 rows of an Index. Scores are its cosines, and equal scores rank in the order in which
  documents were added; a document that replaces another counts as added last.
- ``filter`` may also be a mapping: documents pass whose metadata has all its values.
- The search type "similarity_score_threshold" works: a relevance is the cosine, or 0 if that is negative.
- A vector with NaN or infinity, or of another width than the others, is an error, and nothing is added then.
- ``save`` (or ``dump``) writes a folder and ``load`` opens it, mapped into memory. A save to a known folder
  writes only what changed. Metadata must be what JSON can express when it is saved.
- Threads may search and change a store at once: each sees all of a change or none.

``OpenAIEmbeddings`` and ``OfflineEmbeddings`` are ``fastvec.openai.OpenAIEmbedder`` and
``fastvec.offline.OfflineEmbedder`` as ``Embeddings`` of LangChain.

    from fastvec.integrations.langchain import InMemoryVectorStore, OpenAIEmbeddings

    store = InMemoryVectorStore(OpenAIEmbeddings("text-embedding-3-small", cache="embeddings.sqlite"))
    store.add_texts(["The sun rises in the east.", "Cats sleep all day."])
    retriever = store.as_retriever(search_kwargs={"k": 1})
"""

from typing import TYPE_CHECKING

from .._hosts import finder

if TYPE_CHECKING:
    from ._embeddings import OfflineEmbeddings as OfflineEmbeddings
    from ._embeddings import OpenAIEmbeddings as OpenAIEmbeddings
    from ._store import InMemoryVectorStore as InMemoryVectorStore

_HOMES = {
    "InMemoryVectorStore": "_store",
    "OfflineEmbeddings": "_embeddings",
    "OpenAIEmbeddings": "_embeddings",
}
__all__ = ["InMemoryVectorStore", "OfflineEmbeddings", "OpenAIEmbeddings"]

__getattr__ = finder(__name__, _HOMES, "langchain_core", "'fastvec[langchain]'")


def __dir__() -> list[str]:
    return __all__
