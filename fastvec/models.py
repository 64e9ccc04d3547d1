"""What is known about embedding models: widths, limits, and where each fact is documented."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = ["MODELS", "Model", "describe"]

_API = "https://developers.openai.com/api/reference/resources/embeddings/methods/create"
_GUIDE = "https://developers.openai.com/api/docs/guides/embeddings"
_ADA = "https://openai.com/index/new-and-improved-embedding-model/"
_V3 = "https://openai.com/index/new-embedding-models-and-api-updates/"
_SEED = "https://seed1-5-embedding.github.io/"


@dataclass(frozen=True)
class Model:
    """One embedding model, as its provider documents it.

    ``dims`` is the native width, or None where it is learned from the first answer. ``takes_dimensions``
    says whether the server may be sent the ``dimensions`` parameter. ``matryoshka_dims`` are the smaller
    widths whose quality the provider documents (other widths work too). ``max_tokens_per_text`` is None
    where no limit is documented; the two limits per request default to those of the OpenAI API.
    ``tokenizer`` is the name of the model's encoding in ``tiktoken``.
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
    sources: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)


def _openai(name: str, dims: int, announced: str, matryoshka_dims: tuple[int, ...] = ()) -> Model:
    """A model of the OpenAI API; all of them share the limits on input."""
    sources = {
        "dims": _GUIDE,
        "takes_dimensions": _API,
        "matryoshka_dims": announced,
        "max_tokens_per_text": _API,
        "max_texts_per_request": _API,
        "max_tokens_per_request": _API,
        "tokenizer": _GUIDE,
    }
    return Model(
        name,
        dims,
        bool(matryoshka_dims),
        matryoshka_dims,
        8192,
        tokenizer="cl100k_base",
        sources=MappingProxyType(sources),
    )


_KNOWN = (
    _openai("text-embedding-ada-002", 1536, _ADA),
    _openai("text-embedding-3-small", 1536, _V3, (512,)),
    _openai("text-embedding-3-large", 3072, _V3, (256, 1024)),
    # Seed1.5-Embedding as its server names it. Its page documents the widths and says nothing of a
    # `dimensions` parameter, so rows are shortened here.
    Model(
        "doubao-embedding-large-text-250515",
        2048,
        matryoshka_dims=(256, 512, 1024),
        sources=MappingProxyType({"dims": _SEED, "matryoshka_dims": _SEED}),
    ),
)

MODELS: Mapping[str, Model] = MappingProxyType({model.name: model for model in _KNOWN})
"""The known models, by the name that a request carries."""


def describe(name: str) -> Model:
    """Return what is known about the model ``name``.

    An unknown name gives a record with ``dims=None`` that asks nothing special of the server.

    Example:
        >>> from fastvec.models import describe
        >>> describe("text-embedding-ada-002").takes_dimensions
        False
        >>> describe("my-model").dims is None
        True
    """
    return MODELS.get(name) or Model(name)
