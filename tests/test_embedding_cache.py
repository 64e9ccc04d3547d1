"""The cache: what was received is never paid for twice, whoever else uses the file and whatever is killed."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from embedding_server import KEY, OTHER, OTHER_WIDTH, WORDS, EmbeddingServer, hashed_rows

from fastvec._embedding.cache import Cache
from fastvec.models import Model
from fastvec.openai import EmbeddingError, OpenAIEmbedder, Usage


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rows.sqlite"


@pytest.fixture
def by_ten(monkeypatch):
    """Requests hold at most ten texts."""
    monkeypatch.setattr("fastvec.openai.describe", lambda name: Model(name, max_texts_per_request=10))


def rows_of(texts):
    return hashed_rows(texts, OTHER_WIDTH)


def change(path, statement, *values):
    connection = sqlite3.connect(path)
    with connection:
        changed = connection.execute(statement, values).fetchall()
    connection.close()
    return changed


@pytest.mark.parametrize("cast", [str, lambda path: path], ids=["str", "Path"])
def test_rows_are_asked_for_once(server, make, path, cast):
    first = make(cache=cast(path))
    np.testing.assert_array_equal(first.embed(WORDS[:4]), rows_of(WORDS[:4]))
    second = make(cache=cast(path))
    np.testing.assert_array_equal(second.embed(WORDS), rows_of(WORDS))
    assert [request["input"] for request in server.requests] == [WORDS[:4], WORDS[4:]]
    assert second.usage == Usage(requests=1, texts=2, tokens=2)
    np.testing.assert_array_equal(make(cache=path).embed(iter(WORDS)), rows_of(WORDS))
    assert len(server.requests) == 2


def test_a_key_has_server_model_dims_and_text(server, make, path):
    for arguments in ({}, {"dims": 32}, {"dims": 16}, {"model": "a third"}):
        make(cache=path, **arguments).embed(WORDS)
    assert len(server.requests) == 4
    with EmbeddingServer() as other:
        make(cache=path, base_url=other.url).embed(WORDS)
        assert len(other.requests) == 1
    for model, dims in (("text-embedding-3-small", None), ("text-embedding-3-small", 1536)):  # the same width
        make(model, cache=path, dims=dims).embed(WORDS)
    assert len(server.requests) == 5
    assert make(cache=path, dims=16).embed(WORDS).shape == (6, 16)
    assert len(server.requests) == 5
    sizes = change(path, "select dims, length(vector) / 4 from vectors join spaces on id = space group by id")
    assert sorted(sizes) == [(0, 64), (0, 64), (0, 64), (0, 1536), (16, 16), (32, 32)]


def test_the_file_is_as_it_should_be(make, path):
    make(cache=path).embed(WORDS)
    assert change(path, "pragma page_size") == [(32768,)]
    assert change(path, "pragma journal_mode") == [("wal",)]
    assert change(path, "pragma integrity_check") == [("ok",)]


def test_progress_counts_rows_of_the_cache(make, path):
    make(cache=path).embed(WORDS)
    told = []
    make(cache=path).embed(WORDS, progress=lambda *now: told.append(now))
    assert told == [(6, 6)]


def test_the_width_of_an_unknown_model_is_learned_from_the_cache(server, make, path):
    make(cache=path).embed(WORDS[:1])
    embedder = make(cache=path)
    assert embedder.embed(WORDS[:1]).shape == (1, 64)
    server.misbehave(["wrong width"])
    np.testing.assert_array_equal(embedder.embed(WORDS[1:2]), rows_of(WORDS[1:2]))
    assert len(server.requests) == 3


DAMAGE = {
    "cut short": b"\0" * 20,
    "empty": b"",
    "of another width": np.ones(63, "<f4").tobytes(),
    "NaN": np.full(64, np.nan, "<f4").tobytes(),
    "all zero": bytes(256),
    "text": "no bytes",
    "a number": 0,
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_row_is_asked_for_again_and_mended(server, make, path, case):
    make(cache=path).embed(WORDS)
    change(path, "update vectors set vector = ? where rowid = 3", DAMAGE[case])
    for _ in range(2):
        np.testing.assert_array_equal(make(cache=path).embed(WORDS), rows_of(WORDS))
    assert [request["input"] for request in server.requests] == [WORDS, WORDS[2:3]]


def test_what_is_no_cache_is_refused_and_left_alone(make, path, tmp_path):
    path.write_text("dear diary, this is no database at all")
    with pytest.raises(ValueError, match=r"rows.sqlite' cannot be used: file is not a database"):
        make(cache=path)
    assert path.read_text().startswith("dear diary")
    foreign = tmp_path / "foreign.sqlite"
    change(foreign, "create table mine (a)")
    before = foreign.read_bytes()
    with pytest.raises(ValueError, match="is a database of something else"):
        make(cache=foreign)
    assert foreign.read_bytes() == before
    with pytest.raises(ValueError, match="cannot be used: unable to open"):
        make(cache=tmp_path / "no" / "such" / "folder")
    make(cache=tmp_path / "newer")
    change(tmp_path / "newer", "pragma user_version = 9")
    with pytest.raises(ValueError, match="has format 9, this fastvec reads 1"):
        make(cache=tmp_path / "newer")


def test_a_cache_that_fails_on_the_way_is_an_error_that_keeps_rows(make, path):
    embedder = make(cache=path)
    change(path, "create trigger full before insert on vectors begin select raise(abort, 'full'); end")
    with pytest.raises(EmbeddingError, match=r"the cache .* failed: full") as caught:
        embedder.embed(WORDS)
    np.testing.assert_array_equal(caught.value.vectors, rows_of(WORDS))
    assert caught.value.received.all()


def test_good_rows_of_a_bad_answer_are_kept(server, make, path):
    server.misbehave(["", "nan row"])
    embedder = make(cache=path, max_retries=0)
    embedder.embed(["width"])
    with pytest.raises(EmbeddingError):
        embedder.embed(WORDS)
    make(cache=path).embed(WORDS)
    assert server.requests[-1]["input"] == WORDS[-1:]


def test_neither_texts_nor_keys_are_in_the_file(server, make, path):
    url = server.url.replace("://", f"://user:{KEY}@") + f"?key={KEY}"
    make(cache=path, base_url=url.split("?")[0]).embed(["a very private text"])
    content = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"private" not in content
    assert KEY.encode() not in content
    assert server.url.encode() in content


def test_many_threads_and_embedders_share_a_file(server, make, path, by_ten):
    texts = [f"text {number}" for number in range(200)]
    results = []

    def work(start):
        results.append(make(cache=path).embed(texts[start:] + texts[:start])[-start:][:5])

    threads = [threading.Thread(target=work, args=(start,)) for start in (40, 80, 120, 160)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    server.requests.clear()
    np.testing.assert_array_equal(make(cache=path).embed(texts), rows_of(texts))
    assert server.requests == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_an_embedder_works_on_both_sides_of_a_fork(path):
    cache = Cache(path, "server", OTHER, None)
    cache.keep([b"a" * 32], rows_of(["a"]))
    child = os.fork()
    if not child:
        try:
            there = cache.stored([b"a" * 32], 64)
            cache.keep([b"b" * 32], rows_of(["b"]))
            os._exit(0 if len(there) == 1 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(cache.stored([b"a" * 32, b"b" * 32], 64)) == 2
    cache.close()


JOB = """
import sys
from fastvec._embedding import texts
from fastvec.models import Model
import fastvec.openai
fastvec.openai.describe = lambda name: Model(name, max_texts_per_request=10)
url, path, start, stop = sys.argv[1:]
embedder = fastvec.openai.OpenAIEmbedder("another-model", base_url=url, api_key="none", cache=path)
embedder.embed([f"text {number}" for number in range(int(start), int(stop))])
"""


def start_job(server, path, start, stop):
    import fastvec

    root = os.path.dirname(os.path.dirname(fastvec.__file__))
    command = [sys.executable, "-c", JOB, server.url, str(path), str(start), str(stop)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": root})


def test_two_processes_share_a_file(server, path):
    jobs = [start_job(server, path, 0, 300), start_job(server, path, 150, 450)]
    assert [job.wait(60) for job in jobs] == [0, 0]
    sent = sum(len(request["input"]) for request in server.requests)
    assert 450 <= sent <= 600
    server.requests.clear()
    assert start_job(server, path, 0, 450).wait(60) == 0
    assert server.requests == []


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_job_goes_on_where_it_was(server, path):
    server.delay_s = 0.01
    job = start_job(server, path, 0, 1000)
    deadline = time.monotonic() + 30
    while len(server.requests) < 30 and time.monotonic() < deadline:
        time.sleep(0.005)
    job.kill()
    job.wait()
    before = [text for request in server.requests for text in request["input"]]
    assert 300 <= len(before) < 1000
    server.requests.clear()
    embedder = OpenAIEmbedder(OTHER, base_url=server.url, api_key="none", cache=path)
    texts = [f"text {number}" for number in range(1000)]
    np.testing.assert_array_equal(embedder.embed(texts), rows_of(texts))
    again = [text for request in server.requests for text in request["input"]]
    assert set(before) | set(again) == set(texts)
    assert len(set(before) & set(again)) <= 4 * 10  # what was in flight
    assert change(path, "pragma integrity_check") == [("ok",)]
