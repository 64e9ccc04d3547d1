"""Which process and event loop a connection belongs to: children, threads, copies in other processes."""

import asyncio
import gc
import multiprocessing
import os
import pickle
import threading
import time

import numpy as np
import openai
import pytest
from embedding_server import KEY, OTHER, OTHER_WIDTH, WORDS, hashed_rows

from fastvec import models
from fastvec._embedding.cache import Cache
from fastvec.openai import EmbeddingError, Usage

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def rows_of(texts):
    return hashed_rows(texts, OTHER_WIDTH)


class Child:
    """Run work in a child; at the end, check that it returned True in time."""

    def __init__(self, work):
        self.process = os.fork()
        if not self.process:
            try:
                os._exit(0 if work() else 1)
            finally:
                os._exit(2)

    def succeeded(self, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            process, status = os.waitpid(self.process, os.WNOHANG)
            if process:
                return status == 0
            time.sleep(0.005)
        os.kill(self.process, 9)
        os.waitpid(self.process, 0)
        return False


def embeds_rightly(embedder, name, awaited=False):
    """Whether 40 requests get the rows of their own texts."""
    right = True
    for number in range(40):
        texts = [f"{name} {number}", f"{name} again {number}"]
        rows = asyncio.run(embedder.aembed(texts)) if awaited else embedder.embed(texts)
        right = right and np.array_equal(rows, rows_of(texts))
    return right


@needs_fork
@pytest.mark.parametrize("awaited", [False, True])
def test_children_that_embed_at_the_same_time_get_the_right_rows(server, make, awaited):
    embedder = make(max_retries=0)
    embedder.embed(WORDS)  # there is a connection to share
    if awaited:
        asyncio.run(embedder.aembed(WORDS))
    server.delay_s = 0.001
    ready, go = os.pipe()

    def work(name):
        def begin():
            os.close(go)
            os.read(ready, 1)  # ends when the parent closes its end
            return embeds_rightly(embedder, name, awaited)

        return begin

    children = [Child(work(name)) for name in ("one", "two")]
    os.close(go)
    assert embeds_rightly(embedder, "parent")
    assert [child.succeeded() for child in children] == [True, True]
    os.close(ready)


@needs_fork
def test_a_child_closes_nothing_of_its_parent(server, make, monkeypatch):
    """Neither when its embedder is deleted, nor when the garbage collector runs."""
    embedder = make()
    embedder.embed(WORDS)
    closed = []
    theirs = embedder._connections.client()

    def work():
        nonlocal embedder
        del embedder
        gc.collect()
        return True not in closed

    with monkeypatch.context() as patch:
        patch.setattr(type(theirs), "close", lambda client: closed.append(client is theirs))
        assert Child(work).succeeded()
    assert embeds_rightly(embedder, "parent")


@needs_fork
@pytest.mark.parametrize("held", ["cache", "server", "connections", "a transaction"])
def test_a_child_does_not_wait_for_a_lock_of_a_thread_it_does_not_have(server, make, tmp_path, held):
    embedder = make(cache=tmp_path / "rows.sqlite")
    embedder.embed(WORDS)
    cache = embedder._server.cache
    if held == "a transaction":
        lock = cache._used()
    else:
        locks = {"cache": cache.lock, "server": embedder._server._lock}
        lock = {**locks, "connections": embedder._connections._lock}[held].here
    inside, done = threading.Event(), threading.Event()

    def hold():
        with lock as connection:
            if held == "a transaction":
                connection.execute("begin immediate")
            inside.set()
            # A fork waits until the cache is free, and for nothing else.
            done.wait(0.2 if held in ("cache", "a transaction") else 20)
            if held == "a transaction":
                connection.execute("commit")

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    child = Child(lambda: embeds_rightly(embedder, "child"))
    assert child.succeeded()
    done.set()
    thread.join()
    assert embeds_rightly(embedder, "parent")


@needs_fork
def test_rows_that_a_child_keeps_outlive_the_end_of_its_parent(tmp_path):
    """Otherwise the parent, as the last user it knows of, would delete the log that the child writes to."""
    path = tmp_path / "rows.sqlite"
    texts = [f"text {number}" for number in range(50)]
    digests = [text.encode().ljust(32) for text in texts]
    cache = Cache(path, "server", OTHER, None)
    cache.keep(digests[:1], rows_of(texts[:1]))
    closed, close = os.pipe()
    began, begin = os.pipe()

    def work():
        os.close(close)
        cache.keep(digests[1:2], rows_of(texts[1:2]))
        os.write(begin, b".")
        os.read(closed, 1)
        cache.keep(digests[2:], rows_of(texts[2:]))
        return True

    child = Child(work)
    os.read(began, 1)
    cache.close()
    os.close(close)
    assert child.succeeded()
    assert len(Cache(path, "server", OTHER, None).stored(digests, OTHER_WIDTH)) == 50


@needs_fork
def test_a_cache_that_is_opened_while_another_thread_forks(make, tmp_path, monkeypatch):
    """It is open before the fork and closed by it, or it is opened afterwards."""
    from fastvec._embedding import forks

    opening, go_on = threading.Event(), threading.Event()
    connect = Cache._connect

    def slowly(cache):
        opening.set()
        go_on.wait(20)
        connect(cache)

    monkeypatch.setattr(Cache, "_connect", slowly)
    caches = []
    thread = threading.Thread(target=lambda: caches.append(Cache(tmp_path / "rows", "server", OTHER, None)))
    thread.start()
    opening.wait()
    threading.Timer(0.1, go_on.set).start()
    child = Child(lambda: not any(cache._process for cache in forks.opened))
    thread.join()
    assert child.succeeded()
    assert caches[0].stored([b"a" * 32], OTHER_WIDTH) == {}


@needs_fork
@pytest.mark.parametrize("kind", [openai.OpenAI, openai.AsyncOpenAI])
def test_a_passed_client_is_refused_in_a_child(server, make, kind):
    client = kind(base_url=server.url, api_key=KEY)
    embedder = make(client=client)

    def work():
        for embed in (embedder.embed, lambda texts: asyncio.run(embedder.aembed(texts))):
            with pytest.raises(EmbeddingError, match="make client and embedder in the child"):
                embed(WORDS)
        with pytest.raises(EmbeddingError, match="make client and embedder in the child"):
            asyncio.run(embedder.aembed_query("king"))
        return True

    assert Child(work).succeeded()
    assert server.requests == []
    custom = kind(base_url=server.url, api_key=KEY)

    def work_with_its_own():
        return embeds_rightly(make(client=custom), "child", awaited=kind is openai.AsyncOpenAI)

    if kind is openai.OpenAI:
        assert Child(work_with_its_own).succeeded()


def test_an_asynchronous_client_serves_one_event_loop(server, make):
    client = openai.AsyncOpenAI(base_url=server.url, api_key=KEY)
    embedder = make(client=client)
    with asyncio.Runner() as one, asyncio.Runner() as other:
        np.testing.assert_array_equal(one.run(embedder.aembed(WORDS)), rows_of(WORDS))
        with pytest.raises(EmbeddingError, match="connections of another event loop"):
            other.run(embedder.aembed(WORDS))
        np.testing.assert_array_equal(one.run(embedder.aembed(WORDS)), rows_of(WORDS))
        one.run(client.close())


def test_clients_that_the_embedder_made_serve_any_event_loop(server, make):
    embedder = make()
    for _ in range(3):
        np.testing.assert_array_equal(asyncio.run(embedder.aembed(WORDS)), rows_of(WORDS))


def test_threads_share_an_embedder(server, make):
    embedder, wrong = make(max_retries=0), []

    def work(name):
        if not embeds_rightly(embedder, name):
            wrong.append(name)

    threads = [threading.Thread(target=work, args=(f"thread {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_copy_is_made_from_the_same_arguments(server, make, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    embedder = make(api_key=None, dims=32, cache=tmp_path / "rows", concurrency=3, prefixes={"query": "q: "})
    embedder.embed(WORDS)
    stored = pickle.dumps(embedder)
    assert KEY.encode() not in stored
    copy = pickle.loads(stored)
    assert repr(copy) == repr(embedder)
    assert copy.provenance == embedder.provenance
    assert (copy.usage, copy._concurrency) == (Usage(), 3)
    np.testing.assert_array_equal(copy.embed(WORDS), embedder.embed(WORDS))
    assert len(server.requests) == 1  # both have the cache
    copy.embed(["new"])
    assert server.headers[1]["authorization"] == f"Bearer {KEY}"


def test_a_key_of_the_variable_is_left_out_and_a_placeholder_is_not(make, monkeypatch):
    assert pickle.loads(pickle.dumps(make(api_key="none"))).embed(["a"]).shape == (1, OTHER_WIDTH)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    stored = pickle.dumps(make(api_key=KEY))
    assert KEY.encode() not in stored
    assert pickle.loads(stored).embed(["a"]).shape == (1, OTHER_WIDTH)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(EmbeddingError, match="no API key: set OPENAI_API_KEY"):
        pickle.loads(stored)


def test_what_would_show_a_secret_is_not_pickled(server, make, monkeypatch):
    with pytest.raises(TypeError, match="set OPENAI_API_KEY instead"):
        pickle.dumps(make())
    for url in (server.url + "?token=abc", server.url.replace("://", "://user:abc@")):
        with pytest.raises(TypeError, match="set OPENAI_BASE_URL instead"):
            pickle.dumps(make(api_key="none", base_url=url))
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        stored = pickle.dumps(make(api_key="none", base_url=None))
        assert b"abc" not in stored
        assert pickle.loads(stored).embed(["a"]).shape == (1, OTHER_WIDTH)
        monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(TypeError, match="leave client= out"):
        pickle.dumps(make(client=openai.OpenAI(base_url=server.url, api_key="none")))


def test_a_worker_that_is_started_anew_embeds(make, monkeypatch):
    monkeypatch.setattr(models, "_table", dict(models._table))
    monkeypatch.setattr(models, "MODELS", models._table)
    models.register(models.Model("mine", dims=OTHER_WIDTH, prefixes={"document": "d: "}))
    embedder = make("mine", api_key="none")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        rows = pool.map(embedder.embed_documents, [["a"], ["b", "c"]])
    np.testing.assert_array_equal(np.float32(rows[1]), rows_of(["d: b", "d: c"]))
