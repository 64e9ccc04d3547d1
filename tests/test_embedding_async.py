"""`aembed` gives the same rows and errors as `embed`, and does not hold up the event loop."""

import asyncio
import time

import numpy as np
import openai
import pytest
from embedding_server import KEY, OTHER_WIDTH, WORDS, hashed_rows

from fastvec.models import Model
from fastvec.openai import EmbeddingError, Usage

TEXTS = [f"text {number}" for number in range(300)]


@pytest.fixture
def by_ten(monkeypatch):
    """Requests of this model hold at most ten texts."""
    monkeypatch.setattr("fastvec.openai.describe", lambda name: Model(name, max_texts_per_request=10))


def rows_of(texts):
    return hashed_rows(texts, OTHER_WIDTH)


def test_rows_of_every_kind_of_input(server, make, by_ten, tmp_path):
    embedder = make(cache=tmp_path / "rows.sqlite")
    np.testing.assert_array_equal(asyncio.run(embedder.aembed(TEXTS)), rows_of(TEXTS))
    assert len(server.requests) == 30
    np.testing.assert_array_equal(asyncio.run(embedder.aembed(iter(TEXTS))), rows_of(TEXTS))
    np.testing.assert_array_equal(embedder.embed(TEXTS), rows_of(TEXTS))
    assert len(server.requests) == 30
    out, told = np.empty((300, 64), np.float32), []
    rows = asyncio.run(make().aembed(TEXTS, out=out, progress=lambda *now: told.append(now)))
    assert rows is out
    np.testing.assert_array_equal(out, rows_of(TEXTS))
    assert told[-1] == (300, 300)
    assert asyncio.run(make(dims=5).aembed([])).shape == (0, 5)


@pytest.mark.parametrize("kind", [openai.AsyncOpenAI, openai.OpenAI])
def test_a_client_is_used_as_it_is(server, make, kind):
    async def main():
        client = kind(base_url=server.url, api_key=KEY, default_headers={"X-Mine": "yes"})
        embedder = make(client=client)
        rows = await embedder.aembed(WORDS)
        await embedder.aembed(WORDS)
        assert not client.is_closed()
        await client.close() if kind is openai.AsyncOpenAI else client.close()
        return rows

    np.testing.assert_array_equal(asyncio.run(main()), rows_of(WORDS))
    assert server.headers[0]["x-mine"] == "yes"


def test_an_azure_client(server, make):
    async def main():
        url = server.url.removesuffix("/v1")
        async with openai.AsyncAzureOpenAI(
            azure_endpoint=url, api_key=KEY, api_version="2024-10-21"
        ) as client:
            return await make(client=client).aembed(WORDS)

    np.testing.assert_array_equal(asyncio.run(main()), rows_of(WORDS))
    assert server.headers[0]["api-key"] == KEY


def test_an_asynchronous_client_cannot_embed_without_a_loop(make):
    with pytest.raises(TypeError, match=r"await aembed\(\)"):
        make(client=openai.AsyncOpenAI(api_key=KEY)).embed(WORDS)


def test_many_calls_at_a_time(server, make):
    async def main():
        embedder = make()
        rows = await asyncio.gather(*(embedder.aembed([f"text {n}", "king"]) for n in range(5)))
        assert embedder.usage == Usage(requests=5, texts=10, tokens=15)
        return rows

    for number, rows in enumerate(asyncio.run(main())):
        np.testing.assert_array_equal(rows, rows_of([f"text {number}", "king"]))


def test_no_more_requests_are_in_flight_than_asked_for(server, make, by_ten):
    server.delay_s = 0.02
    asyncio.run(make(concurrency=3).aembed(TEXTS))
    assert server.most_in_flight == 3


@pytest.mark.parametrize(
    "fault",
    ["shuffled", "lists", "missing row", "truncated json", "html page", "nan row", "rate limited", "reset"],
)
def test_faults_are_mended(server, make, by_ten, fault):
    embedder = make()
    asyncio.run(embedder.aembed(["width"]))
    server.misbehave([fault, "", fault])
    np.testing.assert_array_equal(asyncio.run(embedder.aembed(TEXTS)), rows_of(TEXTS))


@pytest.mark.parametrize("fault", ["unauthorized", "insufficient quota"])
def test_what_cannot_be_mended_fails_at_once_and_keeps_rows(server, make, by_ten, fault):
    server.misbehave([""] * 5, always=fault)
    started = time.monotonic()
    with pytest.raises(EmbeddingError, match=r"status (401|429)") as caught:
        asyncio.run(make(max_retries=5).aembed(TEXTS))
    assert time.monotonic() - started < 2
    assert len(server.requests) <= 9
    received = caught.value.received
    assert received.sum() == 50
    np.testing.assert_array_equal(caught.value.vectors[received], rows_of(TEXTS)[received])
    assert KEY not in str(caught.value)


def test_bad_texts_and_arguments(server, make):
    with pytest.raises(ValueError, match="see position 1"):
        asyncio.run(make().aembed(["king", ""]))
    with pytest.raises(TypeError, match="progress must be"):
        asyncio.run(make().aembed(WORDS, progress=1.5))
    assert server.requests == []


def test_the_loop_runs_while_a_call_waits(server, make, by_ten):
    server.delay_s = 0.02

    async def main():
        embedding = asyncio.create_task(make(concurrency=1).aembed(TEXTS[:50]))
        ticks = 0
        while not embedding.done():
            await asyncio.sleep(0.002)
            ticks += 1
        return ticks

    assert asyncio.run(main()) > 10


def test_a_canceled_call_writes_no_more(server, make, by_ten, tmp_path):
    server.delay_s = 0.02
    out = np.zeros((300, 64), np.float32)

    async def main():
        embedder = make(cache=tmp_path / "rows.sqlite")
        embedding = asyncio.create_task(embedder.aembed(TEXTS, out=out))
        while len(server.requests) < 12:
            await asyncio.sleep(0.001)
        embedding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await embedding
        before = out.copy()
        await asyncio.sleep(0.1)
        np.testing.assert_array_equal(out, before)
        return len(server.requests)

    sent = asyncio.run(main())
    assert 12 <= sent < 30
    server.requests.clear()
    np.testing.assert_array_equal(make(cache=tmp_path / "rows.sqlite").embed(TEXTS), rows_of(TEXTS))
    assert len(server.requests) <= 30 - sent + 4
