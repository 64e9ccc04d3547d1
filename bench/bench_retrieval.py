"""One search of a vector store of LangChain or LlamaIndex: theirs, and fastvec's drop-ins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import data
import numpy as np
from suite import Case, Plan, main, test_races

import fastvec
from fastvec.benchmark import Competitor, Race
from fastvec.benchmark.truth import Search

__all__ = ["CASES", "test_races"]

K = 10


def _vectors(plan: Plan) -> tuple[Any, Any]:
    """Vectors, and one query."""
    vectors, queries = data.decaying(*((20_000, 1536) if plan.full else (4000, 256)))
    return vectors, queries[0]


def _race(plan: Plan, vectors: Any, query: Any, competitors: list[Competitor]) -> Race:
    facts = {"task": "search", "n": len(vectors), "dims": vectors.shape[1], "m": 1, "k": K}
    return Race(facts, competitors, Search(query[np.newaxis], vectors, K), (), plan.absent)


def _scored(scores: Any, numbers: Any) -> tuple[Any, Any]:
    """An answer as scores and row numbers (1, k)."""
    return np.array([scores], np.float32), np.array([list(map(int, numbers))])


def ranking(plan: Plan) -> Race:
    """LlamaIndex's function over embeddings as they come."""
    from llama_index.core.indices.query import embedding_utils

    from fastvec.integrations import llama_index

    vectors, query = _vectors(plan)
    forms = {"lists": vectors.tolist(), "array": vectors}
    asked = query.tolist()

    def ours(embeddings: Any) -> Callable[[], Any]:
        return lambda: llama_index.get_top_k_embeddings(asked, embeddings, similarity_top_k=K)

    def theirs(embeddings: Any) -> Callable[[], Any]:
        return lambda: embedding_utils.get_top_k_embeddings(asked, embeddings, similarity_top_k=K)

    def read(answer: Any) -> Any:
        return _scored(*answer)

    index = fastvec.Index(vectors)
    competitors = [Competitor("fastvec, an Index", ours(index), "exact", True, read)]
    for name, embeddings in forms.items():
        competitors.append(Competitor(f"fastvec, {name}", ours(embeddings), "exact", True, read))
        competitors.append(Competitor(f"LlamaIndex, {name}", theirs(embeddings), read=read))
    return _race(plan, vectors, query, competitors)


def llama_index_store(plan: Plan) -> Race:
    """``query`` of LlamaIndex's simple vector store."""
    from llama_index.core.schema import TextNode
    from llama_index.core.vector_stores import SimpleVectorStore, VectorStoreQuery

    from fastvec.integrations import llama_index

    vectors, query = _vectors(plan)
    competitors = []
    asked = VectorStoreQuery(query.tolist(), similarity_top_k=K)
    for name, kind, ours in (
        ("fastvec", llama_index.SimpleVectorStore, True),
        ("LlamaIndex", SimpleVectorStore, False),
    ):
        store: Any = kind()
        store.add(
            [TextNode(text=f"text {i}", id_=str(i), embedding=v.tolist()) for i, v in enumerate(vectors)]
        )
        competitors.append(
            Competitor(
                name,
                lambda store=store: store.query(asked),
                "exact" if ours else "float32",
                ours,
                lambda answer: _scored(answer.similarities, answer.ids),
            )
        )
    return _race(plan, vectors, query, competitors)


def langchain_store(plan: Plan) -> Race:
    """``similarity_search_with_score_by_vector`` of LangChain's vector store in memory."""
    from langchain_core.embeddings import Embeddings
    from langchain_core.vectorstores import InMemoryVectorStore

    from fastvec.integrations import langchain

    vectors, query = _vectors(plan)

    class Given(Embeddings):  # type: ignore[misc]
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [vectors[int(text)].tolist() for text in texts]

        def embed_query(self, text: str) -> list[float]:
            return query.tolist()  # type: ignore[no-any-return]

    competitors = []
    asked = query.tolist()
    for name, kind, ours in (
        ("fastvec", langchain.InMemoryVectorStore, True),
        ("LangChain", InMemoryVectorStore, False),
    ):
        store: Any = kind.from_texts(list(map(str, range(len(vectors)))), Given())
        competitors.append(
            Competitor(
                name,
                lambda store=store: store.similarity_search_with_score_by_vector(asked, K),
                "exact" if ours else "float32",
                ours,
                lambda hits: _scored([score for _, score in hits], [one.page_content for one, _ in hits]),
            )
        )
    return _race(plan, vectors, query, competitors)


CASES = [
    Case("retrieval: LlamaIndex top-k embeddings", ranking, needs=("llama_index",)),
    Case("retrieval: LlamaIndex vector store", llama_index_store, needs=("llama_index",)),
    Case("retrieval: LangChain vector store", langchain_store, needs=("langchain_core",)),
]

if __name__ == "__main__":
    main(CASES)
