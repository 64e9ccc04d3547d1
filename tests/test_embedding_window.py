"""Calls of `embed`: texts of unknown number, requests in flight, progress, limits."""

import io
import time

import embedding_server
import numpy as np
import openai
import pytest
from embedding_server import KEY, OTHER, OTHER_WIDTH, WORDS, hashed_rows

from fastvec._embedding import progress, tokens
from fastvec.models import Model
from fastvec.openai import EmbeddingError, OpenAIEmbedder

TEXTS = [f"text {number}" for number in range(1000)]


@pytest.fixture
def by_ten(monkeypatch):
    """Requests of this model hold at most ten texts."""
    monkeypatch.setattr("fastvec.openai.describe", lambda name: Model(name, max_texts_per_request=10))


def rows_of(texts):
    return hashed_rows(texts, OTHER_WIDTH)


def test_an_iterator_is_read_as_requests_go_out(server, make, by_ten):
    read, sent = 0, []

    def texts():
        nonlocal read
        for number in range(5000):
            read += 1
            if number == 4000:
                sent.append(len(server.requests))
            yield f"text {number % 4900}"

    rows = make().embed(texts())
    assert read == 5000
    assert sent[0] > 300  # most of the texts before were on their way already
    np.testing.assert_array_equal(rows, rows_of([f"text {number % 4900}" for number in range(5000)]))
    assert sum(len(request["input"]) for request in server.requests) == 4900
    assert rows.flags.c_contiguous
    assert rows.base is None


def test_a_text_file_gives_its_lines(make, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(WORDS), encoding="utf-8")  # the last line has no end
    with path.open(encoding="utf-8") as file:
        np.testing.assert_array_equal(make().embed(file), rows_of(WORDS))
    np.testing.assert_array_equal(
        make().embed(io.StringIO("king\r\n queen \n", newline="")), rows_of(["king", " queen "])
    )
    np.testing.assert_array_equal(make().embed(io.StringIO("\ufeffking\n")), rows_of(["king"]))


def test_a_binary_file_is_refused(make):
    with pytest.raises(TypeError, match=r"texts\[0\] is of type bytes"):
        make().embed(io.BytesIO(b"king\n"))


@pytest.mark.parametrize("empty", [iter([]), io.StringIO("")])
def test_an_iterator_without_texts(make, empty):
    assert make(dims=5).embed(empty).shape == (0, 5)


def test_a_bad_text_of_an_iterator_stops_before_its_request(server, make, by_ten):
    texts = iter([*TEXTS, " ", *TEXTS])
    with pytest.raises(ValueError, match="see position 1000"):
        make().embed(texts)
    assert sum(len(request["input"]) for request in server.requests) == 510


def test_an_error_of_the_iterator_itself_is_seen(server, make, by_ten):
    def texts():
        yield from TEXTS[:600]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        make().embed(texts())


def test_out_must_have_as_many_rows_as_an_iterator_has_texts(server, make, by_ten):
    out = np.zeros((1000, 64), np.float32)
    assert make().embed(iter(TEXTS), out=out) is out
    np.testing.assert_array_equal(out, rows_of(TEXTS))
    with pytest.raises(ValueError, match="more texts than the 999 rows of out"):
        make().embed(iter(TEXTS), out=out[:999])
    with pytest.raises(ValueError, match="999 texts, fewer than the 1000 rows of out"):
        make().embed(iter(TEXTS[:999]), out=out)


def test_what_arrived_of_an_iterator_is_kept(server, make, by_ten):
    server.misbehave([""] * 3 + ["unauthorized"])
    texts = [*TEXTS[:35], *TEXTS[:5]]
    with pytest.raises(EmbeddingError) as caught:
        make(concurrency=1).embed(iter(texts))
    error = caught.value
    assert error.positions == [30, 31, 32, 33, 34]
    assert error.received.tolist() == [True] * 30 + [False] * 5 + [True] * 5
    np.testing.assert_array_equal(error.vectors[error.received], rows_of(texts)[error.received])
    out = np.full((50, 64), 7, np.float32)
    server.misbehave([""] * 3 + ["unauthorized"])
    with pytest.raises(EmbeddingError) as caught:
        make(concurrency=1).embed(iter(texts), out=out)
    assert caught.value.received.shape == (50,)
    assert caught.value.received.sum() == 35


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_requests_are_in_flight_than_asked_for(server, make, by_ten, concurrency):
    server.delay_s = 0.02
    np.testing.assert_array_equal(make(concurrency=concurrency).embed(TEXTS[:200]), rows_of(TEXTS[:200]))
    assert server.most_in_flight == concurrency


def test_the_first_failure_is_the_last_request(server, make, by_ten):
    server.misbehave([""] * 5, always="unauthorized")
    with pytest.raises(EmbeddingError, match="status 401") as caught:
        make().embed(TEXTS)
    assert len(server.requests) <= 5 + 4
    assert caught.value.received.sum() == 50
    assert set(caught.value.positions) <= set(np.flatnonzero(~caught.value.received))


def test_a_spent_quota_fails_at_once_and_keeps_what_came(server, make, by_ten):
    server.misbehave([""] * 5, always="insufficient quota")
    started = time.monotonic()
    with pytest.raises(EmbeddingError, match="no quota left") as caught:
        make(max_retries=5).embed(TEXTS)
    assert time.monotonic() - started < 2
    assert len(server.requests) <= 5 + 4
    assert caught.value.received.sum() == 50


def test_a_passed_client_keeps_its_retry_settings(server, make):
    server.misbehave(always="insufficient quota")
    with (
        openai.OpenAI(base_url=server.url, api_key=KEY, max_retries=1) as client,
        pytest.raises(EmbeddingError, match="no quota left"),
    ):
        make(client=client).embed(WORDS)
    assert len(server.requests) == 2


def test_progress_is_told_to_a_callable(make, by_ten):
    told = []
    make(concurrency=2).embed([*TEXTS[:95], *TEXTS[:5]], progress=lambda *now: told.append(now))
    done = [count for count, _ in told]
    assert done == sorted(set(done))
    assert {total for _, total in told} == {100}
    assert done[-1] == 100
    assert len(done) >= 5
    told.clear()
    make().embed(iter(TEXTS[:20]), progress=lambda *now: told.append(now))
    assert told[0][1] is None
    assert told[-1] == (20, 20)


def test_what_progress_raises_ends_the_call(server, make, by_ten):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make().embed(TEXTS, progress=interrupt)
    assert len(server.requests) <= 5


def test_progress_must_be_a_bool_or_a_callable(server, make):
    with pytest.raises(TypeError, match="progress must be a bool or a callable, not str"):
        make().embed(WORDS, progress="yes")
    assert server.requests == []


@pytest.mark.parametrize("rich", [True, False])
def test_progress_on_stderr(make, by_ten, capsys, monkeypatch, rich):
    if not rich:
        monkeypatch.setitem(__import__("sys").modules, "rich.console", None)
    make().embed(TEXTS[:50], progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "embedding" in err
    assert "50 of 50 texts" in err
    assert err.count("\n") == 1


def test_a_status_tells_rate_and_time_left():
    assert progress.status(500, 2000, 10.0) == "500 of 2,000 texts, 50/s, 0:00:30 left"
    assert progress.status(2000, 2000, 10.0) == "2,000 of 2,000 texts, 200/s"
    assert progress.status(1234, None, 10.0) == "1,234 texts, 123/s"
    assert progress.status(0, 20, 0.0) == "0 of 20 texts"


def test_a_smaller_limit_of_a_server_is_learned(server, make, caplog):
    server.max_texts = 32
    embedder = make(concurrency=1)
    np.testing.assert_array_equal(embedder.embed(TEXTS[:500]), rows_of(TEXTS[:500]))
    refused = len(server.requests)
    embedder.embed(TEXTS[500:])
    assert max(len(request["input"]) for request in server.requests[refused:]) <= 32
    assert "asking for half as many texts" in caplog.text
    assert "at most 32" in caplog.text


def test_a_row_asked_for_again_teaches_nothing_about_size(server, make):
    embedder = make(concurrency=1)
    embedder.embed(["width"])
    server.misbehave(["nan row"])
    embedder.embed(WORDS)
    server.requests.clear()
    embedder.embed(TEXTS)
    assert [len(request["input"]) for request in server.requests] == [1000]


def test_a_refused_width_is_not_taken_for_a_refused_size(server, make, monkeypatch):
    message = (400, "invalid", "dimensions exceed the maximum")
    monkeypatch.setitem(embedding_server.STATUS_FAULTS, "bad request", message)
    server.misbehave(always="bad request")
    embedder = make()
    with pytest.raises(EmbeddingError, match="exceed the maximum") as caught:
        embedder.embed(WORDS)
    assert caught.value.positions == list(range(6))
    server.misbehave()
    server.requests.clear()
    embedder.embed(TEXTS)
    assert len(server.requests) == 1  # nothing was learned about sizes


def test_the_text_that_is_too_long_for_a_server_is_named(server, make):
    server.max_letters = 50
    texts = [*TEXTS[:20], "x" * 60, *TEXTS[20:30]]
    embedder = make(concurrency=1)
    with pytest.raises(EmbeddingError, match=r"maximum context length.*texts at position 20\b") as caught:
        embedder.embed(texts)
    assert caught.value.positions == [20]
    server.requests.clear()
    embedder.embed(TEXTS)
    assert len(server.requests) == 1  # the refusal taught nothing about the number of texts


LONG = {
    "words": "word " * 8193,
    "Chinese": "男" * 17_000,
    "no spaces": "x" * 70_000,
    "digits": "1" * 25_000,
    "punctuation": "! " * 8200,
}
SHORT = {
    "words": "word " * 8000,
    "long words": "internationalization " * 2500,
    "Chinese": "男人" * 4000,
    "digits": "1" * 24_000,
}


@pytest.mark.parametrize("case", LONG)
def test_a_text_that_is_surely_too_long_is_refused_here(server, make, case):
    embedder = make("text-embedding-3-small")
    with pytest.raises(ValueError, match=r"texts\[1\] has about [\d,]+ tokens.* takes at most 8,192"):
        embedder.embed(["king", LONG[case]])
    with pytest.raises(ValueError, match=r"texts\[1\] has about"):
        embedder.embed(iter(["king", LONG[case]]))
    assert server.requests == []


@pytest.mark.parametrize("case", SHORT)
def test_a_text_that_may_fit_is_sent(server, make, case):
    assert make("text-embedding-3-small").embed([SHORT[case]]).shape == (1, 1536)


def test_a_tokenizer_that_works_offline_is_asked(monkeypatch, tmp_path):
    class Encoding:
        def encode_ordinary(self, text):
            return text.split(",")

    class Tiktoken:
        get_encoding = staticmethod(lambda name: Encoding())

    monkeypatch.setitem(__import__("sys").modules, "tiktoken", Tiktoken)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    tokens._encoding.cache_clear()
    assert tokens.count_tokens("a,b c", "cl100k_base") == 3  # no vocabulary here: estimated
    (tmp_path / "9b5ad71b2ce5302211f9c61530b329a4922fc6a4").write_bytes(b"")
    tokens._encoding.cache_clear()
    assert tokens.count_tokens("a,b c", "cl100k_base") == 2
    assert tokens.count_tokens("a,b c", None) == 3
    tokens._encoding.cache_clear()


def test_a_vocabulary_of_the_tokenizer_that_is_damaged_is_named(make, monkeypatch, tmp_path):
    class Tiktoken:
        @staticmethod
        def get_encoding(name):
            raise ConnectionError("no internet")  # where a damaged file is fetched anew

    monkeypatch.setitem(__import__("sys").modules, "tiktoken", Tiktoken)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    (tmp_path / "9b5ad71b2ce5302211f9c61530b329a4922fc6a4").write_bytes(b"junk")
    tokens._encoding.cache_clear()
    with pytest.raises(
        EmbeddingError, match=r"vocabulary of tiktoken in .*remove it, or name another"
    ) as caught:
        make("text-embedding-3-small").embed(["word " * 9000])
    assert caught.value.setting == "TIKTOKEN_CACHE_DIR"


def test_a_wrong_address_is_not_shown():
    with pytest.raises(ValueError, match="base_url must be an address") as caught:
        OpenAIEmbedder(OTHER, base_url=f"http://user:{KEY}@localhost:99999/v1", api_key="none")
    assert KEY not in str(caught.value)


def test_a_wrong_address_in_the_environment_is_named(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:port")
    with pytest.raises(ValueError, match="OPENAI_BASE_URL must be an address"):
        OpenAIEmbedder(OTHER, api_key="none")
