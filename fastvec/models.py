"""Facts about embedding models: widths, limits, prices, and where each fact is documented."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from types import MappingProxyType
from typing import Any

__all__ = ["MODELS", "Model", "describe", "register"]

_API = "https://developers.openai.com/api/reference/resources/embeddings/methods/create"
_GUIDE = "https://developers.openai.com/api/docs/guides/embeddings"
_ADA = "https://openai.com/index/new-and-improved-embedding-model/"
_V3 = "https://openai.com/index/new-embedding-models-and-api-updates/"
_SEED = "https://seed1-5-embedding.github.io/"


@dataclass(frozen=True)
class Model:
    """One embedding model, as its provider documents it.

    ``dims`` is the native width, or None if it is learned from the first answer. ``takes_dimensions``
    says whether requests may have the ``dimensions`` parameter. ``matryoshka_dims`` are the smaller
    widths whose quality the provider documents (other widths work too). ``max_tokens_per_text`` is None
    if no limit is documented; the two limits per request default to those of the OpenAI API.
    ``tokenizer`` is the name of the model's encoding in ``tiktoken``. ``prefixes`` are what the model expects
    before a text, by the text's role; an embedder adds them in ``embed_documents`` and ``embed_query``,
    which know the role, and not in ``embed``. ``price`` is in US dollars per million tokens, as published
    on the day ``priced_on`` ("YYYY-MM-DD"), or None if it is not known.
    ``sources`` maps the name of each field to the page that documents it.

    Example:
        >>> from fastvec.models import MODELS
        >>> MODELS["text-embedding-3-large"].dims
        3072
    """

    name: str
    dims: int | None = None
    takes_dimensions: bool = False
    matryoshka_dims: tuple[int, ...] = ()
    max_tokens_per_text: int | None = None
    max_texts_per_request: int = 2048
    max_tokens_per_request: int = 300_000
    tokenizer: str | None = None
    prefixes: Mapping[str, str] = field(default_factory=dict, compare=False)
    price: float | None = None
    priced_on: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def cost(self, tokens: int) -> float | None:
        """The cost of ``tokens`` in US dollars, by ``price``; None if no price is known.

        Args:
            tokens: the number of tokens, such as ``OpenAIEmbedder.usage.tokens``.

        Example:
            >>> from fastvec.models import describe
            >>> describe("text-embedding-3-large").cost(2_000_000)
            0.26
            >>> describe("my-model").cost(2_000_000) is None
            True
        """
        return None if self.price is None else tokens * self.price / 1_000_000

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {fact.name: getattr(self, fact.name) for fact in fields(self)}
        return _again, ({**facts, "prefixes": dict(self.prefixes), "sources": dict(self.sources)},)


def _again(facts: dict[str, Any]) -> Model:
    """A model from a pickle, which cannot hold read-only mappings."""
    views = {name: MappingProxyType(facts[name]) for name in ("prefixes", "sources")}
    return Model(**{**facts, **views})


def _openai(
    name: str, dims: int, price: float, announced: str, matryoshka_dims: tuple[int, ...] = ()
) -> Model:
    """A model of the OpenAI API; all of them share the limits on input."""
    sources = {
        "dims": _GUIDE,
        "takes_dimensions": _API,
        "matryoshka_dims": announced,
        "max_tokens_per_text": _API,
        "max_texts_per_request": _API,
        "max_tokens_per_request": _API,
        "tokenizer": _GUIDE,
        "price": f"https://developers.openai.com/api/docs/models/{name}",
        "priced_on": f"https://developers.openai.com/api/docs/models/{name}",
    }
    return Model(
        name,
        dims,
        bool(matryoshka_dims),
        matryoshka_dims,
        8192,
        tokenizer="cl100k_base",
        price=price,
        priced_on="2026-04-29",
        sources=MappingProxyType(sources),
    )


def _open(
    name: str, dims: int, max_tokens: int, matryoshka_dims: tuple[int, ...] = (), **prefixes: str
) -> Model:
    """An open model; its card on Hugging Face documents all its facts."""
    card = f"https://huggingface.co/{name}"
    stated = ["dims", "max_tokens_per_text"]
    stated += ["matryoshka_dims"] * bool(matryoshka_dims) + ["prefixes"] * bool(prefixes)
    return Model(
        name,
        dims,
        matryoshka_dims=matryoshka_dims,
        max_tokens_per_text=max_tokens,
        prefixes=MappingProxyType(prefixes),
        sources=MappingProxyType(dict.fromkeys(stated, card)),
    )


_KNOWN = (
    _openai("text-embedding-ada-002", 1536, 0.10, _ADA),
    _openai("text-embedding-3-small", 1536, 0.02, _V3, (512,)),
    _openai("text-embedding-3-large", 3072, 0.13, _V3, (256, 1024)),
    # This is the server's name of Seed1.5-Embedding. Its page documents the widths but no `dimensions`
    # parameter, so rows are shortened here.
    Model(
        "doubao-embedding-large-text-250515",
        2048,
        matryoshka_dims=(256, 512, 1024),
        sources=MappingProxyType({"dims": _SEED, "matryoshka_dims": _SEED}),
    ),
    # Open models, by the names under which they are published and mostly served. Not every server that offers
    # them takes `dimensions`, so rows are shortened here; the models are trained for this, so the rows are
    # the same.
    _open("BAAI/bge-m3", 1024, 8192),
    _open(
        "nomic-ai/nomic-embed-text-v1.5",
        768,
        8192,
        (64, 128, 256, 512),
        query="search_query: ",
        document="search_document: ",
        clustering="clustering: ",
        classification="classification: ",
    ),
    _open("intfloat/multilingual-e5-large", 1024, 512, query="query: ", document="passage: "),
    _open(
        "mixedbread-ai/mxbai-embed-large-v1",
        1024,
        512,
        (512,),
        query="Represent this sentence for searching relevant passages: ",
    ),
    _open("sentence-transformers/all-MiniLM-L6-v2", 384, 256),
    _open(
        "google/embeddinggemma-300m",
        768,
        2048,
        (128, 256, 512),
        query="task: search result | query: ",
        document="title: none | text: ",
    ),
    _open("Snowflake/snowflake-arctic-embed-l-v2.0", 1024, 8192, (256,), query="query: "),
    _open(
        "Qwen/Qwen3-Embedding-0.6B",
        1024,
        32_768,
        (32, 64, 128, 256, 512),
        query="Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:",
    ),
)

_table = {model.name: model for model in _KNOWN}

MODELS: Mapping[str, Model] = MappingProxyType(_table)
"""The known models, by the name that is sent in requests; ``register`` adds to them."""


def describe(name: str) -> Model:
    """Return what is known about the model ``name``.

    For an unknown name, this is a record with ``dims=None`` and the default limits.

    Example:
        >>> from fastvec.models import describe
        >>> describe("text-embedding-ada-002").takes_dimensions
        False
        >>> describe("my-model").dims is None
        True
    """
    return MODELS.get(name) or Model(name)


def register(model: Model, *, replace: bool = False) -> None:
    """Make ``model`` known in this process, to embedders that are made from now on.

    This helps if a server takes ``dimensions``, or accepts smaller requests than the OpenAI API does; a width
    is learned without it.

    Args:
        model: what is known about the model.
        replace: whether another record of the same name may be replaced.

    Raises:
        TypeError: ``model`` is not a ``Model``.
        ValueError: a number in ``model`` is out of range, it has a price without a date, or the name is known
            with other facts.

    Example:
        >>> from fastvec.models import Model, describe, register
        >>> register(Model("house-model", dims=1024, max_texts_per_request=32))
        >>> describe("house-model").max_texts_per_request
        32
    """
    if not isinstance(model, Model):
        raise TypeError(f"model must be a Model, not {type(model).__name__}")
    _check(model)
    known = _table.get(model.name)
    if known is not None and known != model and not replace:
        raise ValueError(f"model {model.name!r} is known with other facts; pass replace=True to replace them")
    _table[model.name] = model


def _check(model: Model) -> None:
    if not isinstance(model.name, str) or not model.name.strip():
        raise ValueError(f"name must be the name of a model, not {model.name!r}")
    limits = ("dims", "max_tokens_per_text", "max_texts_per_request", "max_tokens_per_request")
    for name in limits:
        value = getattr(model, name)
        if value is None and name in limits[:2]:
            continue
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1, not {value!r}")
    if any(model.dims is not None and not 0 < dims < model.dims for dims in model.matryoshka_dims):
        raise ValueError(f"matryoshka_dims must be smaller than dims={model.dims}: {model.matryoshka_dims}")
    _check_price(model)


def _check_price(model: Model) -> None:
    if model.price is None and model.priced_on is None:
        return
    if (
        isinstance(model.price, bool)
        or not isinstance(model.price, int | float)
        or not 0 <= model.price < 1e9
    ):
        raise ValueError(
            f"price must be US dollars for a million tokens, from 0 on, or None, not {model.price!r}"
            + ("" if model.priced_on is None else f", with priced_on={model.priced_on!r}")
        )
    try:
        date.fromisoformat(model.priced_on or "")
    except (TypeError, ValueError):
        raise ValueError(
            f"priced_on must be the day of the price, as YYYY-MM-DD, not {model.priced_on!r}"
        ) from None
