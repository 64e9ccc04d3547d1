"""fastvec's embedders as LangChain's ``Embeddings``, whose methods they have."""

from __future__ import annotations

from typing import Any

from langchain_core.embeddings import Embeddings

from fastvec.offline import OfflineEmbedder
from fastvec.openai import OpenAIEmbedder


class OpenAIEmbeddings(OpenAIEmbedder, Embeddings):
    """``fastvec.openai.OpenAIEmbedder``, with its arguments.

    Args:
        model: the name of the model.
        dimensions: what ``langchain_openai.OpenAIEmbeddings`` calls ``dims``.
        chunk_size: what it calls ``batch_size``.
        arguments: others of ``OpenAIEmbedder``.
    """

    def __init__(
        self,
        model: str = "text-embedding-ada-002",
        *,
        dimensions: int | None = None,
        chunk_size: int | None = None,
        **arguments: Any,
    ) -> None:
        for name, value in (("dims", dimensions), ("batch_size", chunk_size)):
            if value is not None:
                arguments.setdefault(name, value)
        super().__init__(model, **arguments)


class OfflineEmbeddings(OfflineEmbedder, Embeddings):
    """``fastvec.offline.OfflineEmbedder``, with its argument ``dims``."""
