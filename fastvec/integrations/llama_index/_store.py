"""The vector store."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import fsspec
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode
from llama_index.core.storage.docstore.utils import doc_to_json, json_to_doc
from llama_index.core.vector_stores.simple import DEFAULT_VECTOR_STORE, NAMESPACE_SEP
from llama_index.core.vector_stores.types import (
    DEFAULT_PERSIST_DIR,
    DEFAULT_PERSIST_FNAME,
    BasePydanticVectorStore,
    FilterCondition,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

from .._documents import Documents
from .ranking import get_top_k_mmr_embeddings


class _Entry(NamedTuple):
    """A node without its embedding, and what filters look at."""

    node: BaseNode
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, node: BaseNode) -> _Entry:
        own = _copy(node.model_copy(update={"embedding": None}))
        metadata = node.model_dump(mode="json", include={"metadata"})["metadata"]
        document = node.ref_doc_id or "None"
        names = ("document_id", "doc_id", "ref_doc_id")
        return cls(own, {**metadata, "_node_type": node.class_name(), **dict.fromkeys(names, document)})


Passes = Callable[[_Entry], bool]


class SimpleVectorStore(BasePydanticVectorStore):
    """Nodes searched by the cosine similarity of their embeddings.

    ``fastvec.integrations.llama_index`` says how it differs from LlamaIndex's own class of this name.
    """

    stores_text: bool = True
    _entries: Documents[_Entry] = PrivateAttr(default_factory=Documents)

    @classmethod
    def class_name(cls) -> str:
        """The name of the class."""
        return "SimpleVectorStore"

    @property
    def client(self) -> None:
        """There is none."""

    def add(self, nodes: Sequence[BaseNode], **_: Any) -> list[str]:
        """Add nodes with their embeddings, all or none; a node replaces the one with its id.

        Returns:
            The ids.
        """
        ids = [node.node_id for node in nodes]
        self._entries.put(ids, list(map(_Entry.of, nodes)), [node.get_embedding() for node in nodes])
        return ids

    def get(self, text_id: str) -> list[float]:
        """The embedding of a node; KeyError if there is none with this id."""
        _, vectors = self._entries.vectors([text_id])
        if len(vectors) == 0:
            raise KeyError(text_id)
        embedding: list[float] = vectors[0].tolist()
        return embedding

    def get_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """The nodes with these ids that pass; None: any. Unknown ids are left out."""
        return [_copy(entry.node) for entry in self._entries.get(node_ids, _passing(filters))]

    def delete(self, ref_doc_id: str, **_: Any) -> None:
        """Remove the nodes of a document."""
        self._entries.delete(passes=lambda entry: entry.facts["ref_doc_id"] == ref_doc_id)

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **_: Any
    ) -> None:
        """Remove the nodes with these ids that pass; None: any. Unknown ids change nothing."""
        self._entries.delete(node_ids, _passing(filters))

    def clear(self) -> None:
        """Remove all nodes."""
        self._entries.clear()

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The nodes nearest to an embedding, as many as are asked for if so many pass.

        Args:
            query: its ``node_ids``, ``doc_ids`` and ``filters`` say which nodes may be returned, and its
                ``mode`` is "default", or "mmr" for ``get_top_k_mmr_embeddings``.
            kwargs: ``mmr_threshold``, which goes before that of the query.

        Raises:
            ValueError: for another mode, or a query without an embedding.
        """
        if query.query_embedding is None:
            raise ValueError("the query has no query_embedding, and this store cannot search by text")
        passes = _allowed(query)
        if query.mode == VectorStoreQueryMode.DEFAULT:
            entries, scores, _ = self._entries.search(query.query_embedding, query.similarity_top_k, passes)
        elif query.mode == VectorStoreQueryMode.MMR:
            candidates, vectors = self._entries.vectors(passes=passes)
            scores, chosen = get_top_k_mmr_embeddings(
                query.query_embedding,
                vectors,
                similarity_top_k=query.similarity_top_k,
                mmr_threshold=kwargs.get("mmr_threshold", query.mmr_threshold),
            )
            entries = [candidates[place] for place in chosen]
        else:
            raise ValueError(f"the mode of the query is {query.mode.value!r}; it must be 'default' or 'mmr'")
        nodes = [_copy(entry.node) for entry in entries]
        return VectorStoreQueryResult(nodes=nodes, similarities=scores, ids=[node.node_id for node in nodes])

    def persist(
        self,
        persist_path: str = os.path.join(DEFAULT_PERSIST_DIR, DEFAULT_PERSIST_FNAME),
        fs: fsspec.AbstractFileSystem | None = None,
    ) -> None:
        """Write all to a folder, complete or not at all; to a folder known already, only what changed.

        Args:
            persist_path: the folder, which also ``fastvec.Index.open`` opens.
            fs: a local file system, or None.

        Raises:
            TypeError: if metadata is not what JSON can express; the message names the node.
            ValueError: if ``fs`` is not local.
            FileExistsError: as ``fastvec.Index.save``, if the folder is something else, or has changed.
        """
        _check_local(fs)
        self._entries.save(persist_path, lambda entry: doc_to_json(entry.node))

    @classmethod
    def from_persist_path(
        cls, persist_path: str, fs: fsspec.AbstractFileSystem | None = None
    ) -> SimpleVectorStore:
        """Open a folder that ``persist`` wrote.

        Raises:
            fastvec.errors.FileError: (a ValueError) if the folder is damaged, or holds something else.
            FileNotFoundError: if it does not exist.
        """
        _check_local(fs)
        store = cls()
        store._entries = Documents.open(persist_path, lambda _, record: _Entry.of(json_to_doc(record)))
        return store

    @classmethod
    def from_persist_dir(
        cls,
        persist_dir: str = DEFAULT_PERSIST_DIR,
        namespace: str = DEFAULT_VECTOR_STORE,
        fs: fsspec.AbstractFileSystem | None = None,
    ) -> SimpleVectorStore:
        """Open the folder that ``StorageContext.persist`` wrote into another."""
        name = f"{namespace}{NAMESPACE_SEP}{DEFAULT_PERSIST_FNAME}"
        return cls.from_persist_path(os.path.join(persist_dir, name), fs)

    # A change or a search takes a thread of its own, so that others of the event loop go on meanwhile.

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """``add``, to be awaited."""
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """``get_nodes``, to be awaited."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    async def adelete(self, ref_doc_id: str, **kwargs: Any) -> None:
        """``delete``, to be awaited."""
        await asyncio.to_thread(self.delete, ref_doc_id, **kwargs)

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **kwargs: Any
    ) -> None:
        """``delete_nodes``, to be awaited."""
        await asyncio.to_thread(self.delete_nodes, node_ids, filters, **kwargs)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """``query``, to be awaited."""
        return await asyncio.to_thread(self.query, query, **kwargs)


def _copy(node: BaseNode) -> BaseNode:
    """A node of which everything may be changed."""
    return node.model_copy(deep=True)


def _check_local(fs: fsspec.AbstractFileSystem | None) -> None:
    if fs is not None and "file" not in fs.protocol:
        raise ValueError(f"fs is a {type(fs).__name__}; an Index is saved to a local folder: leave fs out")


def _allowed(query: VectorStoreQuery) -> Passes | None:
    """Whether a query may return a node; None if it may return all."""
    passing: list[Passes | None] = []
    # LlamaIndex asks a store that keeps nodes with empty lists when it asks for any.
    if query.node_ids:
        nodes = set(query.node_ids)
        passing.append(lambda entry: entry.node.node_id in nodes)
    if query.doc_ids:
        documents = set(query.doc_ids)
        passing.append(lambda entry: entry.facts["ref_doc_id"] in documents)
    passing.append(_passing(query.filters))  # which may fail on a node that is not asked for
    parts = [passes for passes in passing if passes is not None]
    return (lambda entry: all(passes(entry) for passes in parts)) if parts else None


def _passing(filters: MetadataFilters | None) -> Passes | None:
    """Whether a node passes filters, which may hold others; None if there are none."""
    if filters is None or not filters.filters:
        return None
    passes = _condition(filters)
    return lambda entry: passes(entry.facts)


def _condition(filters: MetadataFilters) -> Callable[[Mapping[str, Any]], bool]:
    parts = [
        _condition(one)
        if isinstance(one, MetadataFilters)
        else build_metadata_filter_fn(_itself, MetadataFilters(filters=[one]))
        for one in filters.filters
    ]
    if filters.condition == FilterCondition.OR:
        return lambda facts: any(passes(facts) for passes in parts)
    if filters.condition == FilterCondition.NOT:
        return lambda facts: not any(passes(facts) for passes in parts)
    return lambda facts: all(passes(facts) for passes in parts)


def _itself(facts: Any) -> Any:
    """LlamaIndex's filters look metadata up by the id of a node; here it is passed instead of the id."""
    return facts
