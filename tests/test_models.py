"""The table of known models."""

import dataclasses

import pytest

from fastvec.models import MODELS, describe

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


def test_an_unknown_model_asks_nothing_special_of_the_server():
    model = describe("some-model")
    assert (model.name, model.dims, model.takes_dimensions) == ("some-model", None, False)
    assert (model.max_texts_per_request, model.max_tokens_per_request) == (2048, 300_000)


def test_the_table_cannot_be_changed_by_accident():
    with pytest.raises(TypeError):
        MODELS["mine"] = describe("mine")
    with pytest.raises(dataclasses.FrozenInstanceError):
        describe("mine").dims = 3
