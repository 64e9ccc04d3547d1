"""MTEB, the benchmark of embeddings: retrieval by an exact Index, and encoders over fastvec's embedders.

In an evaluation of your own model, the search of retrieval and reranking tasks changes in one place:

    import mteb
    from mteb.models import SearchEncoderWrapper
    from fastvec.integrations.mteb import SearchIndex

    model = mteb.get_model("…")
    mteb.evaluate(SearchEncoderWrapper(model, index_backend=SearchIndex(model)), tasks)

A model behind OpenAI's API, or any server that speaks it, is evaluated at any width:

    from fastvec.integrations.mteb import Encoder
    from fastvec.openai import OpenAIEmbedder

    mteb.evaluate(Encoder(OpenAIEmbedder("text-embedding-3-small", dims=512)), tasks)

``SearchIndex`` needs no mteb; ``Encoder`` does (``pip install mteb``), and imports it on first use. Both have
the interfaces of mteb 2.26.

Deliberate differences from mteb's own search: it is exact and the same for every number of documents added at
a time, equal scores are listed in the order of the documents, and NaN raises a ``ValueError`` that names its
row.
"""

from typing import TYPE_CHECKING, Any

from .search import SearchIndex

if TYPE_CHECKING:
    from ._encoder import Encoder

__all__ = ["Encoder", "SearchIndex"]


def __getattr__(name: str) -> Any:
    if name != "Encoder":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from ._encoder import Encoder
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] != "mteb":
            raise
        raise ModuleNotFoundError("mteb 2 is not installed: pip install mteb", name="mteb") from None
    return Encoder
