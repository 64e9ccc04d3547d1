"""The table of known models."""

import dataclasses
import pickle

import pytest

from fastvec import models
from fastvec.models import MODELS, Model, describe, register
from fastvec.openai import OpenAIEmbedder

KNOWN = dict(MODELS)
"""Before an example of the documentation adds a model of its own."""

FACTS = [
    field.name for field in dataclasses.fields(describe("none")) if field.name not in ("name", "sources")
]


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_every_stated_fact_has_a_source(model):
    stated = {fact for fact in FACTS if getattr(model, fact) != getattr(describe("none"), fact)}
    assert stated <= set(model.sources) <= set(FACTS)
    assert all(source.startswith("https://") for source in model.sources.values())


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_matryoshka_widths_rise_and_are_smaller_than_the_native_one(model):
    assert list(model.matryoshka_dims) == sorted(set(model.matryoshka_dims))
    assert all(0 < dims < model.dims for dims in model.matryoshka_dims)


def test_the_models_of_the_openai_api():
    facts = {
        name: (MODELS[name].dims, MODELS[name].takes_dimensions) for name in MODELS if "embedding-3" in name
    }
    assert facts == {"text-embedding-3-small": (1536, True), "text-embedding-3-large": (3072, True)}
    assert (MODELS["text-embedding-ada-002"].dims, MODELS["text-embedding-ada-002"].takes_dimensions) == (
        1536,
        False,
    )


OPEN = {
    "doubao-embedding-large-text-250515": (2048, None, (256, 512, 1024), {}),
    "BAAI/bge-m3": (1024, 8192, (), {}),
    "nomic-ai/nomic-embed-text-v1.5": (
        768,
        8192,
        (64, 128, 256, 512),
        {
            "query": "search_query: ",
            "document": "search_document: ",
            "clustering": "clustering: ",
            "classification": "classification: ",
        },
    ),
    "intfloat/multilingual-e5-large": (1024, 512, (), {"query": "query: ", "document": "passage: "}),
    "mixedbread-ai/mxbai-embed-large-v1": (
        1024,
        512,
        (512,),
        {"query": "Represent this sentence for searching relevant passages: "},
    ),
    "sentence-transformers/all-MiniLM-L6-v2": (384, 256, (), {}),
    "google/embeddinggemma-300m": (
        768,
        2048,
        (128, 256, 512),
        {"query": "task: search result | query: ", "document": "title: none | text: "},
    ),
    "Snowflake/snowflake-arctic-embed-l-v2.0": (1024, 8192, (256,), {"query": "query: "}),
    "Qwen/Qwen3-Embedding-0.6B": (
        1024,
        32_768,
        (32, 64, 128, 256, 512),
        {
            "query": "Instruct: Given a web search query, retrieve relevant passages that answer the query\n"
            "Query:"
        },
    ),
}
"""By the cards of the models: dims, the most tokens of a text, smaller widths, and what precedes texts."""


def test_facts_about_models():
    facts = {
        name: (model.dims, model.max_tokens_per_text, model.matryoshka_dims, dict(model.prefixes))
        for name, model in KNOWN.items()
        if model.price is None
    }
    assert facts == OPEN
    for model in KNOWN.values():
        assert (model.max_texts_per_request, model.max_tokens_per_request) == (2048, 300_000)
        assert model.takes_dimensions == ("embedding-3" in model.name)
        of_openai = model.price is not None
        assert (model.tokenizer, model.priced_on) == (
            ("cl100k_base", "2026-04-29") if of_openai else (None, None)
        )
        assert not of_openai or model.max_tokens_per_text == 8192
    assert MODELS["text-embedding-3-small"].matryoshka_dims == (512,)
    assert MODELS["text-embedding-3-large"].matryoshka_dims == (256, 1024)


def test_what_tokens_cost():
    prices = {name: model.price for name, model in MODELS.items() if model.price is not None}
    assert prices == {
        "text-embedding-ada-002": 0.10,
        "text-embedding-3-small": 0.02,
        "text-embedding-3-large": 0.13,
    }
    assert describe("text-embedding-3-small").cost(300_000) == pytest.approx(0.006)
    assert describe("text-embedding-3-small").cost(0) == 0
    assert describe("mine").cost(300_000) is None


@pytest.mark.parametrize("model", [*MODELS.values(), describe("none")], ids=lambda model: model.name)
def test_a_record_is_pickled(model):
    copy = pickle.loads(pickle.dumps(model))
    assert copy == model
    assert (copy.prefixes, copy.sources) == (model.prefixes, model.sources)
    with pytest.raises(TypeError):
        copy.sources["dims"] = "https://example.com"


def test_an_unknown_model_asks_nothing_special_of_the_server():
    model = describe("some-model")
    assert (model.name, model.dims, model.takes_dimensions) == ("some-model", None, False)
    assert (model.max_texts_per_request, model.max_tokens_per_request) == (2048, 300_000)


def test_the_table_cannot_be_changed_by_accident():
    with pytest.raises(TypeError):
        MODELS["mine"] = describe("mine")
    with pytest.raises(dataclasses.FrozenInstanceError):
        describe("mine").dims = 3


@pytest.fixture
def table(monkeypatch):
    """Forget the registrations of a test when it ends."""
    copy = dict(models._table)
    yield
    models._table.clear()
    models._table.update(copy)


def test_a_registered_model_is_used(table, server, make):
    register(Model("mine", dims=64, takes_dimensions=True, max_texts_per_request=3))
    assert MODELS["mine"] is describe("mine")
    assert make("mine", dims=32, concurrency=1).embed(list("abcdefg")).shape == (7, 32)
    assert [(len(request["input"]), request["dimensions"]) for request in server.requests] == [
        (3, 32),
        (3, 32),
        (1, 32),
    ]
    with pytest.raises(ValueError, match="larger than the width 64"):
        OpenAIEmbedder("mine", api_key="none", dims=65)


def test_a_known_model_is_replaced_only_if_told_so(table):
    register(MODELS["text-embedding-3-small"])
    model = dataclasses.replace(MODELS["text-embedding-3-small"], max_texts_per_request=16)
    with pytest.raises(ValueError, match="replace=True"):
        register(model)
    register(model, replace=True)
    assert describe("text-embedding-3-small").max_texts_per_request == 16


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [
        ("mine", TypeError, "must be a Model, not str"),
        (Model(" "), ValueError, "name of a model"),
        (Model("mine", dims=0), ValueError, "dims must be an integer of at least 1, not 0"),
        (Model("mine", max_texts_per_request=None), ValueError, "max_texts_per_request must be"),
        (Model("mine", max_tokens_per_text=2.5), ValueError, "max_tokens_per_text must be"),
        (Model("mine", max_tokens_per_request=0), ValueError, "max_tokens_per_request must be"),
        (Model("mine", dims=64, matryoshka_dims=(64,)), ValueError, "smaller than dims=64"),
        (Model("mine", price=-1, priced_on="2026-01-31"), ValueError, "price must be US dollars"),
        (Model("mine", price=float("nan"), priced_on="2026-01-31"), ValueError, "price must be US dollars"),
        (Model("mine", price="1", priced_on="2026-01-31"), ValueError, "price must be US dollars"),
        (Model("mine", price=True, priced_on="2026-01-31"), ValueError, "price must be US dollars"),
        (Model("mine", priced_on="2026-01-31"), ValueError, "price must be US dollars"),
        (Model("mine", price=1), ValueError, "priced_on must be the day of the price"),
        (Model("mine", price=1, priced_on="31.1.2026"), ValueError, "priced_on must be the day of the price"),
        (Model("mine", price=1, priced_on=2026), ValueError, "priced_on must be the day of the price"),
    ],
)
def test_a_record_that_makes_no_sense_is_refused(table, model, kind, message):
    with pytest.raises(kind, match=message):
        register(model)
    assert "mine" not in MODELS
