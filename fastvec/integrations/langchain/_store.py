"""The vector store."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import run_in_executor
from langchain_core.vectorstores import VectorStore

import fastvec

from .._documents import Documents, Hits

Filter = Callable[[Document], bool] | Mapping[str, Any]


class InMemoryVectorStore(VectorStore):
    """Documents searched by the cosine similarity of their embeddings.

    ``fastvec.integrations.langchain`` says how it differs from LangChain's own class of this name.

    Args:
        embedding: embeds documents and queries: an ``Embeddings``, or any object with its methods.
    """

    def __init__(self, embedding: Embeddings) -> None:
        self.embedding = embedding
        self._documents: Documents[Document] = Documents()

    @property
    def embeddings(self) -> Embeddings:
        """What embeds documents and queries."""
        return self.embedding

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> InMemoryVectorStore:
        """A store of these texts; arguments as in ``add_texts``."""
        store = cls(embedding)
        store.add_texts(texts, metadatas, **kwargs)
        return store

    @classmethod
    async def afrom_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> InMemoryVectorStore:
        """``from_texts``, to be awaited."""
        store = cls(embedding)
        await store.aadd_texts(texts, metadatas, **kwargs)
        return store

    def add_documents(self, documents: list[Document], ids: list[str] | None = None, **_: Any) -> list[str]:
        """Embed and add documents, all or none.

        Args:
            documents: those to add.
            ids: an id for each; None: the documents' own, and new ones where they have none. A document whose
                id is known replaces the one that has it.

        Returns:
            The ids.

        Raises:
            ValueError: if ids and documents differ in number, or as ``Index.add`` for the vectors.
        """
        named = _named(documents, ids)
        return self._put(named, self.embedding.embed_documents([one.page_content for one in named]))

    async def aadd_documents(
        self, documents: list[Document], ids: list[str] | None = None, **_: Any
    ) -> list[str]:
        """``add_documents``, to be awaited."""
        named = _named(documents, ids)
        vectors = await self.embedding.aembed_documents([one.page_content for one in named])
        added: list[str] = await run_in_executor(None, self._put, named, vectors)
        return added

    def _put(self, named: list[Document], vectors: Any) -> list[str]:
        ids = [str(document.id) for document in named]
        self._documents.put(ids, named, vectors)
        return ids

    def delete(self, ids: Sequence[str] | None = None, **_: Any) -> None:
        """Remove the documents with these ids; unknown ids, or None, change nothing."""
        self._documents.delete(ids or ())

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents with these ids, in their order; unknown ones are left out."""
        return [_copy(document) for document in self._documents.get(ids)]

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, filter: Filter | None = None, **_: Any
    ) -> list[tuple[Document, float]]:
        """The k nearest documents that pass, or as many as do, with their cosines, best first.

        Args:
            embedding: the vector to search with.
            k: documents to return.
            filter: a function of a document that says whether it may be returned, or a mapping: then
                documents may be whose metadata has all its values.
        """
        hits = self._hits(embedding, k, filter)
        return list(zip(hits.documents, hits.scores, strict=True))

    def similarity_search_with_score(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """``similarity_search_with_score_by_vector`` for a text."""
        return self.similarity_search_with_score_by_vector(self.embedding.embed_query(query), k, **kwargs)

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """``similarity_search_with_score``, to be awaited."""
        vector = await self.embedding.aembed_query(query)
        hits: list[tuple[Document, float]] = await run_in_executor(
            None, self.similarity_search_with_score_by_vector, vector, k, **kwargs
        )
        return hits

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, **kwargs: Any
    ) -> list[Document]:
        """``similarity_search_with_score_by_vector`` without the scores."""
        return [one for one, _ in self.similarity_search_with_score_by_vector(embedding, k, **kwargs)]

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """``similarity_search_with_score`` without the scores."""
        return [one for one, _ in self.similarity_search_with_score(query, k, **kwargs)]

    async def asimilarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """``similarity_search``, to be awaited."""
        return [one for one, _ in await self.asimilarity_search_with_score(query, k, **kwargs)]

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Filter | None = None,
        **_: Any,
    ) -> list[Document]:
        """k of the ``fetch_k`` nearest documents, each near to the query and far from those before it.

        Args:
            embedding: the vector to search with.
            k: documents to return.
            fetch_k: documents to choose from.
            lambda_mult: the weight of the similarity to the query, from 0 to 1; that of the largest
                similarity to a document chosen before is the rest.
            filter: as in ``similarity_search_with_score_by_vector``.
        """
        hits = self._hits(embedding, fetch_k, filter)
        return [hits.documents[at] for at in _marginal(hits.scores, hits.vectors, k, lambda_mult)]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """``max_marginal_relevance_search_by_vector`` for a text."""
        return self.max_marginal_relevance_search_by_vector(
            self.embedding.embed_query(query), k, fetch_k, lambda_mult, **kwargs
        )

    async def amax_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """``max_marginal_relevance_search``, to be awaited."""
        vector = await self.embedding.aembed_query(query)
        found: list[Document] = await run_in_executor(
            None, self.max_marginal_relevance_search_by_vector, vector, k, fetch_k, lambda_mult, **kwargs
        )
        return found

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda score: max(score, 0.0)

    def _hits(self, embedding: Any, k: int, filter: Filter | None) -> Hits[Document]:
        hits = self._documents.search(embedding, k, _passing(filter))
        return hits._replace(documents=[_copy(document) for document in hits.documents])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all to a folder, complete or not at all; to a folder known already, only what changed.

        Args:
            path: the folder, which also ``fastvec.Index.open`` opens; an index in it is replaced.

        Raises:
            TypeError: if metadata is not what JSON can express; the message names the document.
            FileExistsError: as ``fastvec.Index.save``, if the folder is something else, or has changed.
        """
        self._documents.save(
            path, lambda document: {"page_content": document.page_content, "metadata": document.metadata}
        )

    dump = save

    @classmethod
    def load(cls, path: str | os.PathLike[str], embedding: Embeddings, **kwargs: Any) -> InMemoryVectorStore:
        """Open a folder that ``save`` wrote.

        Args:
            path: the folder.
            embedding: embeds queries and further documents, by the model that embedded the others.
            kwargs: others of the constructor.

        Raises:
            fastvec.errors.FileError: (a ValueError) if the folder is damaged, or holds something else.
            FileNotFoundError: if it does not exist.
        """
        store = cls(embedding, **kwargs)
        store._documents = Documents.open(path, lambda identifier, record: Document(id=identifier, **record))
        return store


def _named(documents: Sequence[Document], ids: Sequence[str] | None) -> list[Document]:
    """Copies of documents, each with its id."""
    if ids and len(ids) != len(documents):
        raise ValueError(f"ids and documents differ in number: {len(ids)} and {len(documents)}")
    chosen = ids or [document.id for document in documents]
    return [
        Document(
            id=identifier or str(uuid.uuid4()), page_content=document.page_content, metadata=document.metadata
        )
        for document, identifier in zip(documents, chosen, strict=True)
    ]


def _copy(document: Document) -> Document:
    """A document whose metadata may be changed."""
    return Document(id=document.id, page_content=document.page_content, metadata=document.metadata)


def _passing(filter: Filter | None) -> Callable[[Document], bool] | None:
    if filter is None or callable(filter):
        return filter
    if not isinstance(filter, Mapping):
        raise TypeError(
            f"filter is a {type(filter).__name__}; it must be a function of a Document, or a mapping of "
            "metadata"
        )
    wanted = filter.items()

    def has_all(document: Document) -> bool:
        metadata = document.metadata
        return all(key in metadata and metadata[key] == value for key, value in wanted)

    return has_all


def _marginal(
    scores: Sequence[float], vectors: npt.NDArray[np.float32], k: int, lambda_mult: float
) -> list[int]:
    """The places of the vectors chosen, the first of which is the nearest."""
    k = min(k, len(scores))
    if k < 1:
        return []
    relevance, similar = lambda_mult * np.array(scores), fastvec.cosine_similarity(vectors)
    chosen, redundance = [0], similar[0].astype(np.float64)
    while len(chosen) < k:
        gain = relevance - (1 - lambda_mult) * redundance
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
        redundance = np.maximum(redundance, similar[chosen[-1]])
    return chosen
