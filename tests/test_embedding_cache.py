"""The cache: received rows are never paid for twice, even if others use the file or processes are killed."""

import errno
import hashlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time

import numpy as np
import openai
import pytest
from embedding_server import KEY, OTHER, OTHER_WIDTH, WORDS, EmbeddingServer, hashed_rows

from fastvec._embedding import clients
from fastvec._embedding.cache import Cache
from fastvec.models import Model
from fastvec.openai import EmbeddingError, OpenAIEmbedder, Usage


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rows.sqlite"


@pytest.fixture
def by_ten(monkeypatch):
    """Requests of this model hold at most ten texts."""
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


def test_rows_of_another_width_than_most_are_asked_for_again(path):
    """Their checksums are right: an answer of another width was kept."""
    cache = Cache(path, "server", OTHER, None)
    digests = digests_of(WORDS)
    cache.keep(digests, [np.ones(3 if at == 1 else 2, np.float32) for at in range(len(WORDS))])
    right = {digest for at, digest in enumerate(digests) if at != 1}
    assert cache.stored(digests[:2], 3).keys() == {digests[1]}  # and what is not of this width is gone
    cache.keep(digests[:1], [np.ones(2, np.float32)])
    for no_answer in ([0, 0], [np.nan, 1], [1, -np.inf]):
        cache.keep(digests[1:2], [np.array(no_answer, np.float32)])
        assert cache.stored(digests, None).keys() == right
    assert change(path, "select length(vector) from vectors") == [(8,)] * len(right)
    cache.close()


def test_what_is_no_cache_is_refused_and_left_alone(make, path, tmp_path):
    path.write_text("dear diary, this is no database at all")
    with pytest.raises(ValueError, match=r"rows.sqlite' cannot be used: file is not a database"):
        make(cache=path)
    assert path.read_text().startswith("dear diary")
    foreign = tmp_path / "foreign.sqlite"
    change(foreign, "create table mine (a)")
    before = foreign.read_bytes()
    with pytest.raises(ValueError, match="is a database of another program"):
        make(cache=foreign)
    assert foreign.read_bytes() == before
    with pytest.raises(ValueError, match="cannot be used: unable to open"):
        make(cache=tmp_path / "no" / "such" / "folder")
    make(cache=tmp_path / "newer")
    change(tmp_path / "newer", "pragma user_version = 9")
    with pytest.raises(ValueError, match="has format 9; this fastvec reads 1"):
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


def made_before_checksums(path, server, model, dims, digests, rows):
    """A file as earlier versions wrote it."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(
            """create table spaces (
                id integer primary key, server text not null, model text not null, dims integer not null,
                unique (server, model, dims)
            )"""
        )
        connection.execute(
            """create table vectors (
                space integer not null, sha256 blob not null, vector blob not null, unique (space, sha256)
            )"""
        )
        connection.execute("insert into spaces values (1, ?, ?, ?)", (server, model, dims))
        connection.executemany(
            "insert into vectors values (1, ?, ?)",
            [(digest, row.tobytes()) for digest, row in zip(digests, rows, strict=True)],
        )
        connection.execute(f"pragma application_id = {0x46565645}")
        connection.execute("pragma user_version = 1")
    connection.close()


def digests_of(texts):
    return [hashlib.sha256(text.encode()).digest() for text in texts]


def test_rows_of_earlier_versions_are_used_and_get_checksums(server, make, path):
    made_before_checksums(path, server.url, OTHER, 0, digests_of(WORDS), rows_of(WORDS))
    np.testing.assert_array_equal(make(cache=path).embed(WORDS[:4]), rows_of(WORDS[:4]))
    assert server.requests == []
    assert change(path, "select count(*), count(checksum) from vectors") == [(4, 4)]
    assert change(path, "select count(*) from unchecked") == [(2,)]
    np.testing.assert_array_equal(make(cache=path).embed([*WORDS, "new"]), rows_of([*WORDS, "new"]))
    assert [request["input"] for request in server.requests] == [["new"]]
    assert change(path, "select count(*) from unchecked") == [(0,)]
    change(path, "update vectors set vector = zeroblob(256) where rowid = 1")
    np.testing.assert_array_equal(make(cache=path).embed(WORDS), rows_of(WORDS))
    assert [len(request["input"]) for request in server.requests] == [1, 1]


@pytest.mark.parametrize("case", ["user", "query"])
def test_rows_of_earlier_versions_are_not_anothers(server, make, path, case):
    made_before_checksums(path, server.url, OTHER, 0, digests_of(WORDS), np.flip(rows_of(WORDS)))
    embedder = make(client=a_client(server, case, "a"), cache=path)
    np.testing.assert_array_equal(embedder.embed(WORDS), rows_of(WORDS))


def test_a_damaged_row_of_an_earlier_version_is_asked_for_again(server, make, path):
    made_before_checksums(path, server.url, OTHER, 0, digests_of(WORDS), rows_of(WORDS))
    change(path, "update vectors set vector = ? where rowid = 3", DAMAGE["cut short"][:7])
    change(path, "update vectors set vector = ? where rowid = 4", DAMAGE["NaN"])
    np.testing.assert_array_equal(make(cache=path).embed(WORDS), rows_of(WORDS))
    assert [request["input"] for request in server.requests] == [WORDS[2:4]]


def test_no_damage_brings_another_row(path):
    """With bytes changed anywhere, it gives the same rows, fewer rows, or an error that names the file."""
    texts = [f"text {number}" for number in range(300)]
    digests, rows = digests_of(texts), rows_of(texts)
    right = {digest: row.tobytes() for digest, row in zip(digests, rows, strict=True)}
    cache = Cache(path, "server", OTHER, None)
    cache.keep(digests, rows)
    cache.close()
    full = np.frombuffer(path.read_bytes(), np.uint8)
    random, ends = np.random.default_rng(7), []
    for _ in range(250):
        damaged = full.copy()
        start = random.integers(100, len(full))
        damaged[start : start + random.integers(1, 300)] ^= random.integers(1, 256, dtype=np.uint8)
        for file in path.parent.glob("rows.sqlite*"):
            file.unlink()
        path.write_bytes(damaged)
        cache = None
        try:
            cache = Cache(path, "server", OTHER, None)
            actual = cache.stored(digests, OTHER_WIDTH)
        except (EmbeddingError, ValueError) as error:
            ends.append("error" if "rows.sqlite" in str(error) else str(error))
        else:
            assert all(row.tobytes() == right[digest] for digest, row in actual.items())
            ends.append("whole" if len(actual) == 300 else "fewer")
        finally:
            if cache is not None:
                cache.close()
    assert ends.count("fewer") > 20
    assert ends.count("error") > 5
    assert {*ends} <= {"whole", "fewer", "error"}


def test_more_rows_than_one_query_asks_for_are_found(path):
    cache = Cache(path, "server", OTHER, None)
    digests = digests_of([f"text {number}" for number in range(1001)])
    cache.keep(digests, [np.array([number + 1], np.float32) for number in range(1001)])
    rows = cache.stored(digests, 1)
    assert [rows[digest].tolist() for digest in digests] == [[number + 1] for number in range(1001)]
    cache.close()


@pytest.mark.parametrize("code", [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_IOERR])
def test_a_file_that_others_use_is_waited_for(path, monkeypatch, code):
    """As while another process changes it to the mode in which readers wait for no writer."""
    prepare, calls = Cache._prepare, []

    def refused(self):
        calls.append(1)
        if len(calls) < 3:
            error = sqlite3.OperationalError("refused")
            error.sqlite_errorcode = code
            raise error
        prepare(self)

    monkeypatch.setattr(Cache, "_prepare", refused)
    if code == sqlite3.SQLITE_BUSY:
        Cache(path, "server", OTHER, None).close()
        assert len(calls) == 3
    else:
        with pytest.raises(ValueError, match="cannot be used: refused"):
            Cache(path, "server", OTHER, None)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EIO])
def test_a_file_is_made_where_there_are_no_hard_links(path, monkeypatch, number):
    def refuse(*_arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    if number == errno.EIO:
        with pytest.raises(ValueError, match=r"rows\.sqlite.* cannot be used: Input/output error"):
            Cache(path, "server", OTHER, None)
    else:
        Cache(path, "server", OTHER, None).close()
    assert path.exists() == (number != errno.EIO)
    assert not [*path.parent.glob(".fastvec-*")]


def test_a_damaged_text_of_a_table_is_one_error(path):
    """SQLite quotes the damaged bytes in its error, and Python cannot decode them."""
    Cache(path, "server", OTHER, None).close()
    data = path.read_bytes()
    assert b"CREATE TABLE spaces" in data
    path.write_bytes(data.replace(b"CREATE TABLE spaces", b"CREATE T\xd8BLE spaces"))
    with pytest.raises(ValueError, match=r"rows\.sqlite.* cannot be used: it holds bytes that are not text"):
        Cache(path, "server", OTHER, None)


def test_damage_that_is_quoted_in_several_lines_is_one_line(path, monkeypatch):
    def fail(_cache):
        raise sqlite3.DatabaseError("malformed database schema (model text not null,\n)" + "x" * 5000)

    monkeypatch.setattr(Cache, "_prepare", fail)
    with pytest.raises(ValueError, match=r"rows\.sqlite.* cannot be used: malformed.*not null, \)") as caught:
        Cache(path, "server", OTHER, None)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_values_of_other_types_than_were_kept_count_as_missing(path, monkeypatch):
    """What SQLite reads of a damaged record may be a text, a number or nothing."""
    cache = Cache(path, "server", OTHER, None)
    digest = digests_of(WORDS)[0]
    for damaged in (("text", b"1234", b"5678"), (digest, "text", b"5678"), (7, 7, 7), (digest, None, None)):
        monkeypatch.setattr(cache, "_records", lambda *_, damaged=damaged: [damaged])
        assert cache.stored([digest], 1) == {}
    cache.close()


def test_a_changed_version_does_not_take_checksums_away(path):
    cache = Cache(path, "server", OTHER, None)
    cache.keep(digests_of(WORDS), rows_of(WORDS))
    cache.close()
    change(path, "pragma user_version = 1")
    with pytest.raises(ValueError, match=r"rows\.sqlite.* cannot be used: it is damaged"):
        Cache(path, "server", OTHER, None)
    change(path, "pragma user_version = 2")
    cache = Cache(path, "server", OTHER, None)
    assert len(cache.stored(digests_of(WORDS), OTHER_WIDTH)) == len(WORDS)
    cache.close()


def test_rows_that_changed_places_are_asked_for_again(server, make, path):
    make(cache=path).embed(WORDS)
    row = change(path, "select vector, checksum from vectors where rowid = 2")[0]
    change(path, "update vectors set vector = ?, checksum = ? where rowid = 3", *row)
    make(cache=path, model="another").embed(WORDS)
    server.requests.clear()
    checksum = change(path, "select checksum from vectors where rowid = 10")[0]  # text 4 of another model
    change(path, "update vectors set checksum = ? where rowid = 4", *checksum)
    np.testing.assert_array_equal(make(cache=path).embed(WORDS), rows_of(WORDS))
    assert [request["input"] for request in server.requests] == [WORDS[2:4]]


def a_client(server, case, name):
    """A client for one of several servers at the address of the test server."""
    if case == "user":
        return openai.OpenAI(base_url=server.url.replace("://", f"://{name}:secret@"), api_key=KEY)
    return openai.OpenAI(base_url=server.url, api_key=KEY, default_query={"tenant": name})


@pytest.mark.parametrize("case", ["user", "query"])
def test_servers_at_one_address_share_no_rows(server, make, path, case):
    for name in ("tenant-a", "tenant-b", "tenant-a"):
        make(client=a_client(server, case, name), cache=path).embed(WORDS)
    make(cache=path).embed(WORDS)
    assert len(server.requests) == 3
    content = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"tenant" not in content
    assert b"secret" not in content


def test_a_query_of_the_address_goes_with_every_request(make, path):
    with EmbeddingServer() as server:
        for tenant in "aba":
            rows = make(cache=path, base_url=f"{server.url}?tenant={tenant}&key=secret").embed(WORDS)
            np.testing.assert_array_equal(rows, rows_of(WORDS))
        assert len(server.requests) == 2
        assert server.paths == [f"/v1/embeddings?tenant={tenant}&key=secret" for tenant in "ab"]
    assert b"secret" not in path.read_bytes()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://h/v1", "http://h/v1/", True),
        ("http://h/v1?a=1", "http://h/v1?a=2", False),
        ("http://h/v1?a=1", "http://h/v1", False),
        ("http://ann@h/v1", "http://bob@h/v1", False),
        ("http://ann:old@h/v1", "http://ann:new@h/v1", True),
    ],
)
def test_names_of_servers(one, other, same):
    names = [clients.name_of(openai.OpenAI(base_url=url, api_key=KEY)) for url in (one, other)]
    assert (names[0] == names[1]) is same
    assert all(name.startswith("http://h/v1") for name in names)


def test_the_version_of_the_api_makes_no_other_server(server):
    url = server.url.removesuffix("/v1")
    names = {
        clients.name_of(openai.AzureOpenAI(azure_endpoint=url, api_key=KEY, api_version=version))
        for version in ("2024-10-21", "2025-01-01")
    }
    assert len(names) == 1
    assert "#" not in names.pop()


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_only_its_owner_reads_the_file(make, path):
    embedder = make(cache=path)
    embedder.embed(WORDS)
    files = list(path.parent.glob("rows.sqlite*"))
    assert len(files) == 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    path.chmod(0o640)  # as its owner wants it
    make(cache=path).embed(WORDS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a device", "a link to nothing", "a null"])
def test_what_is_not_a_file_is_not_a_cache(make, path, kind, tmp_path):
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path = "/dev/null"
    elif kind == "a null":
        path = tmp_path / "a\0b"
    else:
        path.symlink_to(tmp_path / "nothing")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(ValueError, match="cannot be used: "):
        make(cache=path)
    assert sorted(os.listdir(tmp_path)) == before


def test_a_full_disk_is_one_error_and_rows_before_it_are_kept(server, make, path, by_ten):
    texts = [f"text {number}" for number in range(1000)]
    embedder = make(cache=path, concurrency=1)
    embedder.embed(texts[:100])
    embedder._server.cache._connection.execute("pragma max_page_count = 5")  # SQLite then says the same
    with pytest.raises(EmbeddingError, match=r"rows.sqlite' failed: database or disk is full") as caught:
        embedder.embed(texts)
    received = caught.value.received
    assert received.sum() >= 100
    np.testing.assert_array_equal(caught.value.vectors[received], rows_of(texts)[received])
    server.requests.clear()
    assert make(cache=path).embed(texts[:100]).shape == (100, OTHER_WIDTH)
    assert server.requests == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_an_embedder_works_on_both_sides_of_a_fork(path):
    cache = Cache(path, "server", OTHER, None)
    cache.keep([b"a" * 32], rows_of(["a"]))
    child = os.fork()
    if not child:
        try:
            rows = cache.stored([b"a" * 32], 64)
            cache.keep([b"b" * 32], rows_of(["b"]))
            os._exit(0 if len(rows) == 1 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(cache.stored([b"a" * 32, b"b" * 32], 64)) == 2
    cache.close()


def test_a_closed_cache_is_not_opened_again_by_an_answer_that_comes_late(path):
    cache = Cache(path, "server", OTHER, None)
    cache.close()
    path.unlink()
    with pytest.raises(EmbeddingError, match=r"rows.sqlite' is closed"):
        cache.keep([b"a" * 32], rows_of(["a"]))
    assert not path.exists()


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
