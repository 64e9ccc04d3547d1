"""Answers of an embedding server that are wrong in any way: no row may come that no answer gave to its text.

Requests go through the ``openai`` client and fastvec's own limits of transfers; only the socket is missing.
"""

import asyncio
import base64
import binascii
import gzip
import json
import zlib
from unittest import mock

import numpy as np
import openai
from embedding_server import hashed_rows
from fuzz_tools import Target, damaged, damaged_json, documented, hostile_value, json_bytes, same_bits

import fastvec
from fastvec._embedding import exchange, refusals, transfer
from fastvec.openai import EmbeddingError, OpenAIEmbedder

WIDTH, KEY = 6, "sk-secret-0123456789"
_MOST = 40  # requests after which the server answers rightly
_HEADERS = (
    *("0", "-1", "nan", "inf", "1e400", "1e-400", "0.001", "5", "99999999999999999999", "", " ", "a, b", "٣"),
    *(
        "Wed, 21 Oct 2015 07:28:00 GMT",
        "Wed, 21 Oct 99999 07:28:00 GMT",
        "Mon, 32 Foo",
        "\xff",
        "true",
        "false",
    ),
    *(
        "gzip",
        "br",
        "deflate, gzip",
        "identity",
        "text/html; charset=\xff",
        "http://else/",
        "//[",
        "x" * 3000,
    ),
)
_NAMES = (
    *("retry-after", "retry-after-ms", "x-should-retry", "content-encoding", "content-type", "location"),
    *("content-length", "transfer-encoding", "x-ratelimit-reset", "set-cookie"),
)
_STATUSES = (
    200,
    200,
    200,
    201,
    204,
    301,
    302,
    307,
    308,
    400,
    401,
    404,
    413,
    418,
    422,
    429,
    500,
    501,
    503,
    529,
    599,
)


class Server:
    """Answers requests, most of them wrongly, and keeps what its answers say of each text."""

    def __init__(self, package, rng, wrong):
        self._package, self._rng, self._wrong = package, rng, wrong
        self.said = {}
        self.requests = 0

    def __call__(self, request):
        self.requests += 1
        asked = json.loads(request.content)
        texts, form = asked["input"], asked["encoding_format"]
        rows = hashed_rows(texts, WIDTH)
        data = [
            {"object": "embedding", "index": at, "embedding": _written(row, form)}
            for at, row in enumerate(rows)
        ]
        answer = {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": len(texts)}}
        rng, status, headers = self._rng, 200, {}
        if self.requests > _MOST or rng.random() > self._wrong:
            body = json.dumps(answer).encode()
        else:
            status, headers, body = self._spoiled(answer, request)
        if status < 300:
            self._note(texts, body)
        return self._package.Response(status, headers=headers, content=body, request=request)

    def _spoiled(self, answer, request):
        rng, status, headers = self._rng, 200, []
        kind = rng.randrange(8)
        if kind == 0:
            errors = [
                getattr(self._package, name)
                for name in ("ReadTimeout", "ConnectError", "RemoteProtocolError", "ReadError", "ProxyError")
            ]
            raise rng.choice(errors)(rng.choice(("", "a\nb", "x" * 5000)), request=request)
        if kind <= 2:
            status = rng.choice(_STATUSES)
        if kind == 3:
            rng.shuffle(answer["data"])
        if kind <= 4:
            answer = {"error": hostile_value(rng)} if rng.random() < 0.3 else damaged_json(rng, answer)
        if kind == 5:
            rng.choice(answer["data"])["embedding"] = _lying(rng)
        body = json_bytes(rng, answer)
        if kind == 6:
            body = damaged(rng, body)
        if rng.random() < 0.4:
            for _ in range(rng.choice((1, 2))):
                headers.append((rng.choice(_NAMES), rng.choice(_HEADERS).encode("utf-8")))
            if rng.random() < 0.2:
                headers = [("content-encoding", "gzip")]
                body = damaged(rng, gzip.compress(body)) if rng.random() < 0.5 else gzip.compress(body)
        return status, headers, body

    def _note(self, texts, body):
        if body[:2] == b"\x1f\x8b":
            try:
                body = zlib.decompressobj(31).decompress(body)  # what comes after its end is dropped
            except Exception:
                return
        try:
            data = json.loads(body)["data"]
            indices = _indices([one.get("index") for one in data])
            if len(data) != len(texts) or sorted(indices) != list(range(len(texts))):
                return
        except Exception:
            return
        for index, one in zip(indices, data, strict=True):
            row = _read(one.get("embedding"))
            if row is not None:
                self.said.setdefault(texts[index], []).append(row)


def _indices(indices):
    """Those left out, if it is plain what they are."""
    if indices.count(None) == 1:
        free = set(range(len(indices))).difference(indices)
        if len(free) == 1:
            return [free.copy().pop() if index is None else index for index in indices]
    return [at if index is None else index for at, index in enumerate(indices)]


def _written(row, form):
    return base64.b64encode(row.tobytes()).decode() if form == "base64" else row.tolist()


def _read(embedding):
    try:
        if isinstance(embedding, str):
            return np.frombuffer(binascii.a2b_base64(embedding), "<f4")
        with np.errstate(over="ignore"):
            return np.array([float(number) for number in embedding]).astype(np.float32)
    except Exception:
        return None


def _lying(rng):
    numbers = [0.5] * WIDTH
    numbers[rng.randrange(WIDTH)] = hostile_value(rng)
    row = np.array([rng.choice((np.nan, np.inf, 0.0, 1e-45, 1.0)) for _ in range(WIDTH)], np.float32)
    text = base64.b64encode(row.tobytes()).decode()
    return rng.choice(
        (
            *(numbers, text, text[:-1], text + "=", text + "\n", " " + text, text + text, text[:8], "", []),
            *([1] * WIDTH, [0] * WIDTH, [True] * WIDTH, [1e39] * WIDTH, [10**400] * WIDTH, ["1"] * WIDTH),
            *(
                [1.5] * (WIDTH + 1),
                [1.5] * (WIDTH - 1),
                [[1.5] * WIDTH],
                {"a": 1},
                None,
                7,
                hostile_value(rng),
            ),
        )
    )


def _prepare(place):
    return transfer.http_package(openai.DefaultHttpxClient)


def case(prepared, rng):
    package = prepared
    server = Server(package, rng, rng.choice((0.3, 0.7, 1.0)))
    transport = lambda *_, **__: package.MockTransport(server)  # noqa: E731
    texts = [rng.choice(("a", "b", "猫", f"text {at}")) for at in range(rng.choice((1, 2, 5, 9)))]
    dims = rng.choice((None, None, 3, WIDTH))
    patches = [
        mock.patch.object(package.Client, "_init_transport", transport),
        mock.patch.object(package.AsyncClient, "_init_transport", transport),
        *(mock.patch.object(exchange, name, 0.0) for name in ("_PAUSE_S", "_BACKOFF_S")),
    ]
    out = np.full((len(texts), dims or WIDTH), np.nan, np.float32) if rng.random() < 0.3 else None
    for patch in patches:
        patch.start()
    try:
        embedder = OpenAIEmbedder(
            "m",
            base_url="http://server.test/v1",
            api_key=KEY,
            dims=dims,
            max_retries=rng.choice((0, 1)),
            patience=0.01,
            concurrency=1,
            batch_size=rng.choice((None, 1, 3)),
        )
        rows = received = failure = None
        with documented(EmbeddingError, ValueError):
            try:
                if rng.random() < 0.1:
                    rows = asyncio.run(embedder.aembed(texts, out=out))
                else:
                    rows = embedder.embed(texts, out=out)
            except EmbeddingError as error:
                failure = error
                raise
            finally:
                used = embedder.usage
                float(used.tokens), embedder._server.tokens_per_byte
    finally:
        for patch in patches:
            patch.stop()
    if failure is not None:
        rows, received = failure.vectors, failure.received
        assert KEY not in str(failure), "the key is shown"
        assert all(0 <= at < len(texts) for at in failure.positions)
        assert rows is None or received is not None
    for at, text in enumerate(texts):
        if rows is not None and (received is None or received[at]):
            assert any(_is(row, rows[at]) for row in server.said.get(text, ())), f"row {at}: nobody said so"
            assert np.isfinite(rows[at]).all()
        elif rows is not None:
            assert np.isnan(rows[at]).all(), "a row that was not received is filled"


def _is(said, row):
    if same_bits(said, row):
        return True
    return (
        len(row) < len(said)
        and bool(np.isfinite(said).all())
        and same_bits(fastvec.truncate(said[None], len(row))[0], row)
    )


def refusal_case(prepared, rng):
    """The reason in an answer is a short line, whatever the body is."""
    body = rng.choice(
        (
            json_bytes(
                rng, damaged_json(rng, {"error": {"message": "m", "code": "c", "detail": [{"msg": "a"}]}})
            ),
            damaged(rng, b"<html><head><title>Bad gateway &amp; more</title></head></html>"),
            damaged(
                rng, b'{"detail": [{"loc": ["body", "input"], "msg": "too long", "type": "value_error"}]}'
            ),
        )
    )
    reason = refusals.reason_in(body, lambda text: text.replace(KEY, "[API key]"))
    assert len(reason) <= refusals._LONGEST
    assert reason.isprintable()


TARGETS = {
    "server": Target(_prepare, case, 150),
    "refusal": Target(_prepare, refusal_case, 600),
}
