"""Embedding texts by their role, document or query, with the interface of LangChain's ``Embeddings``.

Some models are trained with a few words before a text that say which role it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from ..models import Model
from .errors import Matrix
from .texts import accepted, check

ROLES = ("document", "query")


def checked(prefixes: Mapping[str, str] | None, model: Model) -> Mapping[str, str]:
    """The prefix of each role that has one; for None, the prefixes of the model."""
    if prefixes is None:
        prefixes = {role: prefix for role, prefix in model.prefixes.items() if role in ROLES}
    if not isinstance(prefixes, Mapping):
        raise TypeError(f"prefixes must be a mapping, not {type(prefixes).__name__}")
    for role, prefix in prefixes.items():
        if role not in ROLES:
            raise ValueError(f"prefixes has {role!r}; it may have 'document' and 'query'")
        if not isinstance(prefix, str):
            raise TypeError(f"prefixes[{role!r}] must be a str, not {type(prefix).__name__}")
        if not _is_unicode(prefix):
            raise ValueError(f"prefixes[{role!r}] holds a lone surrogate: it is not valid Unicode")
    return MappingProxyType({role: prefixes[role] for role in ROLES if prefixes.get(role)})


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def provenance(
    model: str, server: str | None, dims: int | None, prefixes: Mapping[str, str]
) -> dict[str, str]:
    """What made vectors, as the metadata of a file states it."""
    facts = {"model": model, "server": server, "dims": dims and str(dims)}
    facts |= {f"{role}_prefix": prefixes.get(role) for role in ROLES}
    return {name: fact for name, fact in facts.items() if fact}


class Embedder:
    """What every embedder offers in addition to ``embed`` and ``aembed``."""

    prefixes: Mapping[str, str]
    """The words put before a text, by its role, "document" or "query"; a role may have none."""

    embed: Any
    aembed: Any

    def embed_documents(self, texts: Iterable[str]) -> list[list[float]]:
        """Vectors of texts that are to be found, as lists of floats; each text gets the document prefix.

        Args:
            texts: as in ``embed``.

        Returns:
            A list of floats for each text; for no texts an empty list, without a request.

        Raises:
            TypeError, ValueError, EmbeddingError: as ``embed``.

        Example:
            >>> embedder = OpenAIEmbedder("intfloat/multilingual-e5-large")  # doctest: +SKIP
            >>> len(embedder.embed_documents(["a passage to be found"])[0])  # doctest: +SKIP
            1024
        """
        documents = self._with_prefix(texts, "document")
        return _lists(self.embed(documents)) if documents else []

    def embed_query(self, text: str) -> list[float]:
        """The vector of a text to search with, as a list of floats; the text gets the query prefix.

        Args:
            text: a text, which must not be blank.

        Raises:
            TypeError, ValueError, EmbeddingError: as ``embed``.

        Example:
            >>> embedder = OpenAIEmbedder("intfloat/multilingual-e5-large")  # doctest: +SKIP
            >>> len(embedder.embed_query("what is to be found?"))  # doctest: +SKIP
            1024
        """
        vector: list[float] = _lists(self.embed_queries([text]))[0]
        return vector

    def embed_queries(self, texts: Iterable[str]) -> Matrix:
        """Vectors of texts to search with; each text gets the query prefix, and all share requests.

        Args:
            texts: as in ``embed``.

        Returns:
            float32 (n, dims).

        Raises:
            TypeError, ValueError, EmbeddingError: as ``embed``.
        """
        rows: Matrix = self.embed(self._with_prefix(texts, "query"))
        return rows

    async def aembed_documents(self, texts: Iterable[str]) -> list[list[float]]:
        """``embed_documents``, to be awaited."""
        documents = await asyncio.to_thread(self._with_prefix, texts, "document")
        return _lists(await self.aembed(documents)) if documents else []

    async def aembed_query(self, text: str) -> list[float]:
        """``embed_query``, to be awaited."""
        vector: list[float] = _lists(await self.aembed(self._with_prefix([text], "query")))[0]
        return vector

    def _with_prefix(self, texts: Iterable[str], role: str) -> list[str]:
        """Texts with their prefix; they are checked before, because a prefix would hide a blank text."""
        unlimited = Model(role)  # limits apply to a text with its prefix: ``embed`` checks them
        plain = accepted(texts, unlimited)
        if not isinstance(plain, list):
            plain = list(plain)
            check(plain, 0, unlimited)
        prefix = self.prefixes.get(role, "")
        return [prefix + text for text in plain]


def _lists(rows: Matrix) -> Any:
    return rows.tolist()
