"""Servers that answer without end, byte by byte, or redirect a request elsewhere."""

import asyncio
import functools
import gzip
import http.server
import json
import threading
import time
import tracemalloc
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
from embedding_server import KEY, OTHER, OTHER_WIDTH, WORDS, EmbeddingServer, hashed_rows

from fastvec._embedding import transfer
from fastvec.openai import EmbeddingError, OpenAIEmbedder


@contextmanager
def serving(answer):
    """The address of a server that calls ``answer(handler, body)`` for a POST and fills ``seen``."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.seen.append((self.path, body))
            try:
                answer(self, body)
            except ConnectionError:
                self.close_connection = True  # the client had enough

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close, server.seen = True, False, []
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send(handler, status, body=b"", **headers):
    handler.send_response(status)
    for name, value in {"Content-Length": len(body), **headers}.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(body)


def right_answer(body):
    texts = json.loads(body)["input"]
    rows = hashed_rows(texts, OTHER_WIDTH).tolist()
    return json.dumps({"data": [{"index": n, "embedding": row} for n, row in enumerate(rows)]}).encode()


def embed(url, *, awaited=False, **arguments):
    """The rows of WORDS from ``embed`` or ``aembed``."""
    embedder = OpenAIEmbedder(OTHER, base_url=url, api_key=KEY, **{"max_retries": 0, **arguments})
    return asyncio.run(embedder.aembed(WORDS)) if awaited else embedder.embed(WORDS)


both = pytest.mark.parametrize("awaited", [False, True], ids=["embed", "aembed"])


@functools.cache
def zeros():
    """64 MB, compressed to 64 KB."""
    packed = zlib.compressobj(1, wbits=31)
    return b"".join(packed.compress(bytes(1 << 20)) for _ in range(64)) + packed.flush()


@both
@pytest.mark.parametrize("status", [200, 400])
def test_a_body_is_read_as_far_as_it_can_be_an_answer(make, awaited, status):
    with serving(lambda handler, body: send(handler, status, zeros(), Content_Encoding="gzip")) as (_, url):
        zeros()
        OpenAIEmbedder(OTHER, base_url=url, api_key=KEY)  # imports the client
        tracemalloc.start()
        with pytest.raises(EmbeddingError) as caught:
            embed(url, awaited=awaited)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < 40e6
    expected = "more than 8,912,896 bytes for 6 texts" if status == 200 else "status 400"
    assert expected in str(caught.value)


def test_a_known_width_bounds_a_body_more(make):
    with serving(lambda handler, body: send(handler, 200, b" " * 4_000_000)) as (_, url):
        embedder = OpenAIEmbedder("text-embedding-3-small", base_url=url, api_key=KEY, max_retries=0)
        with pytest.raises(EmbeddingError, match="more than 1,417,216 bytes for 6 texts"):
            embedder.embed(WORDS)


@both
def test_a_compressed_answer_is_read(make, awaited):
    def answer(handler, body):
        send(handler, 200, gzip.compress(right_answer(body)), Content_Encoding="gzip")

    with serving(answer) as (_, url):
        np.testing.assert_array_equal(embed(url, awaited=awaited), hashed_rows(WORDS, OTHER_WIDTH))


def test_a_coding_that_was_not_asked_for_is_named(make):
    twice = gzip.compress(gzip.compress(bytes(1 << 20)))
    with (
        serving(lambda handler, body: send(handler, 200, twice, Content_Encoding="gzip, gzip")) as (_, url),
        pytest.raises(EmbeddingError, match="encoded as 'gzip, gzip', which was not asked for"),
    ):
        embed(url)


DRIPS = {
    "the body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b" " * 1000,
    "the headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000,
    "an error": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 1000\r\n\r\n" + b" " * 1000,
}


@both
@pytest.mark.parametrize("part", DRIPS)
def test_the_timeout_holds_for_the_complete_request(make, awaited, part):
    ended = threading.Event()

    def answer(handler, body):
        for byte in DRIPS[part]:
            handler.wfile.write(bytes([byte]))
            if ended.wait(0.02):
                break
        handler.close_connection = True

    with serving(answer) as (_, url):
        started = time.monotonic()
        with pytest.raises(EmbeddingError, match="timed out"):
            embed(url, awaited=awaited, timeout=0.3)
        took = time.monotonic() - started
        ended.set()
    assert took < 2  # 20 s of drops


@both
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_texts_and_key_are_not_sent_to_another_server(server, make, awaited, status):
    target = server.url.replace("://", f"://user:{KEY}@") + f"/embeddings?key={KEY}"
    with (
        serving(lambda handler, body: send(handler, status, Location=target)) as (_, url),
        pytest.raises(EmbeddingError, match=rf"redirects with status {status} to {server.url}/emb") as caught,
    ):
        embed(url, awaited=awaited, max_retries=2)
    assert server.requests == []
    assert "set base_url to it" in str(caught.value)
    assert KEY not in str(caught.value)


@both
@pytest.mark.parametrize("place", ["/other/embeddings", "embeddings/"])
def test_a_redirect_within_a_server_is_followed(make, awaited, place):
    def answer(handler, body):
        if handler.path == "/v1/embeddings":
            send(handler, 308, Location=place)
        else:
            send(handler, 200, right_answer(body))

    with serving(answer) as (server, url):
        np.testing.assert_array_equal(embed(url, awaited=awaited), hashed_rows(WORDS, OTHER_WIDTH))
        first, second = server.seen
    assert first[1] == second[1]
    assert second[0] in ("/other/embeddings", "/v1/embeddings/")


@both
def test_a_circle_of_redirects_ends(make, awaited):
    def answer(handler, body):
        send(handler, 307, Location=handler.path)

    with serving(answer) as (server, url):
        with pytest.raises(EmbeddingError, match="redirects with status 307"):
            embed(url, awaited=awaited)
        assert len(server.seen) == 6


@pytest.mark.parametrize("location", ["", "http://[", "//", "\x01"])
def test_a_redirect_to_nowhere(make, location):
    with (
        serving(lambda handler, body: send(handler, 307, Location=location)) as (_, url),
        pytest.raises(EmbeddingError),
    ):
        embed(url)


def test_where_no_thread_can_be_had_the_caller_waits_itself(make, monkeypatch):
    def fail(self):
        raise RuntimeError("can't start new thread")

    with EmbeddingServer() as server:
        embedder = OpenAIEmbedder(OTHER, base_url=server.url, api_key=KEY)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", fail)
            assert transfer._within(5.0, lambda: 7) == 7
        assert embedder.embed(WORDS).shape == (6, OTHER_WIDTH)


def test_an_exception_of_the_request_itself_is_passed_on():
    def fail():
        raise TimeoutError("of the request itself")

    with pytest.raises(TimeoutError, match="of the request itself"):
        transfer._within(5.0, fail)
