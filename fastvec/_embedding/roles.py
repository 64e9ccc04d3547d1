"""Texts by their role, document or query: what LangChain's ``Embeddings`` offers, over ``embed``.

Some models are trained with a few words before a text that say which of the two it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from ..models import Model
from .errors import Matrix
from .texts import check, given

ROLES = ("document", "query")


def checked(prefixes: Mapping[str, str] | None, model: Model) -> Mapping[str, str]:
    """A prefix for each role that has one; None: those of the model."""
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
    """What made vectors, as it travels with them in files."""
    facts = {"model": model, "server": server, "dims": dims and str(dims)}
    facts |= {f"{role}_prefix": prefixes.get(role) for role in ROLES}
    return {name: fact for name, fact in facts.items() if fact}


class Embedder:
    """What every embedder offers beside its ``embed`` and ``aembed``."""

    prefixes: Mapping[str, str]
    """What is written before a text, by its role, "document" or "query"; a role may have no prefix."""

    embed: Any
    aembed: Any

    def embed_documents(self, texts: Iterable[str]) -> list[list[float]]:
        """Vectors of texts that are to be found, each behind the prefix of a document, as lists of floats.

        Args:
            texts: as in ``embed``.

        Returns:
            A list for each text; none for no texts, without a request.

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
        """The vector of a text to search with, behind the prefix of a query, as a list of floats.

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
        """Vectors of texts to search with, in as few requests as ``embed`` sends.

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
        """Texts, checked before they get their prefix, behind which a blank one would not be seen."""
        unlimited = Model(role)  # limits hold for a text with its prefix: ``embed`` sees to them
        found = given(texts, unlimited)
        if not isinstance(found, list):
            found = list(found)
            check(found, 0, unlimited)
        prefix = self.prefixes.get(role, "")
        return [prefix + text for text in found]


def _lists(rows: Matrix) -> Any:
    return rows.tolist()
