"""Index folders, unfinished builds and caches of embeddings, any byte of which is another one.

A folder that was changed is refused by ``open``, or by ``verify``, which compares every byte; what both let
pass gives the answers that were saved. A folder that was forged, with right checksums, is refused, or
``Index.verify`` finds that its codes are not those of its rows, or its answers are those of its rows.
"""

import hashlib
import json
import shutil
import sqlite3
import warnings
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
import oracle
from data import hashed, sharing
from fuzz_tools import Target, damaged, damaged_json, documented, json_bytes, same_bits
from test_folder import sealed

from fastvec import Index, Vocabulary, _building, files
from fastvec._embedding.cache import Cache
from fastvec.errors import EmbeddingError, FileError
from fastvec.files import building

_K = 4


class Saved(NamedTuple):
    """A folder as it was saved, and its answers."""

    content: dict[str, bytes]
    queries: Any
    answers: Any
    vectors: Any
    words: tuple[Any, ...] | None
    columns: dict[str, tuple[Any, ...]]


def _content(path):
    return {str(one.relative_to(path)): one.read_bytes() for one in sorted(path.rglob("*")) if one.is_file()}


def _lay(path, content):
    shutil.rmtree(path, ignore_errors=True)
    for name, data in content.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)


def _saved(path, queries):
    opened = files.read(path, repeated=True)
    index = Index.open(path, vectors="memory")
    labeled = any(name.endswith("labels.jsonl") for name in _content(path))
    answers = index.search(queries, _K)
    names = opened.column_names
    columns = {name: opened.columns[name] for name in names}
    words = opened.words if labeled else None
    return Saved(_content(path), queries, answers, np.array(opened.vectors), words, columns)


def _folders(place):
    """A folder of each version, and of each kind of codes."""
    path, made = place / "index", []

    def keep(queries):
        made.append(_saved(path, queries))
        shutil.rmtree(path)

    rows = hashed(40, 70)
    Vocabulary([f"word {row}" for row in range(40)], rows).save(path)
    keep(rows[:3])
    Index(rows, metric="euclidean").save(path, words=["a", "b"] * 20)
    keep(rows[:3])
    files.write(path, map(str, range(40)), rows, columns={"id": range(40)}, metadata={"model": "m"})
    keep(rows[:3])
    Index(hashed(90, 197), screen=192).save(path)
    keep(hashed(3, 197))
    Index(hashed(90, 70), screen=64).save(path)
    keep(rows[:3])
    Index(sharing(90, 130)).save(path)
    keep(sharing(3, 130))
    index = Index(rows)
    index.save(path)
    index.add(hashed(30, 70)[::-1])
    index.save(path)
    index.remove([2, 17, 60])
    index.replace([5, 30], rows[:2] + 1)
    index.save(path)
    keep(rows[:3])
    Index.build(iter([rows.astype(np.float16)]), path, dtype="float16")
    keep(rows[:3])
    return path, tuple(made)


def _answered(index, saved):
    """The answers of an opened folder whose bytes may be others; errors name what is wrong."""
    found = None
    with documented(RuntimeError, ValueError):
        found = index.search(saved.queries, _K)
        index.search(saved.queries[0], 2, dims=3)
        index.range_search(saved.queries, 0.3)
    return found


def _same(found, saved):
    return all(map(same_bits, found, saved.answers))


def changed_case(place, rng):
    """Some byte of a file is another one, and the checksums are not."""
    path, folders = place
    saved = rng.choice(folders)
    name = rng.choice(list(saved.content))
    before = saved.content[name]
    if name.endswith(".npy") and rng.random() < 0.5:
        now = bytearray(before)
        now[rng.randrange(len(now))] ^= 1 << rng.randrange(8)
    else:
        now = damaged(rng, before, (saved.content["index.json"],))
    _lay(path, {**saved.content, name: bytes(now)})
    same = bytes(now) == before
    verified = False
    with documented(FileError, naming=path):
        files.verify(path)
        verified = True
    manifest = name == "index.json"  # whose text may be laid out otherwise
    assert not verified or same or manifest, f"verify does not notice a change of {name}"
    for how in ("mmap", "memory", "disk"):
        with documented(FileError, naming=path):
            index = Index.open(path, vectors=how)
            found = _answered(index, saved)
            if verified or how == "memory":
                part = "labels" in name or "columns" in name
                assert found is not None
                assert _same(found, saved), f"other answers, opened with vectors={how!r}"
                assert verified or part or index is None or not name.endswith(".npy"), name
    with documented(FileError, naming=path):
        read = files.read(path, repeated=True)
        vectors = np.array(read.vectors)
        assert not verified or same_bits(vectors, saved.vectors)
        if saved.words is not None:
            assert read.words == saved.words
        for column, values in saved.columns.items():
            assert read.columns[column] == values
    if saved.words is not None:
        with documented(FileError, naming=path), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert list(Vocabulary.open(path).words)
    assert _content(path) == {**saved.content, name: bytes(now)}, "reading changed the folder"


def _resealed(content, names):
    """The content with checksums, sizes and a seal that fit it."""
    manifest = json.loads(content["index.json"])
    homes = manifest["parts"] if isinstance(manifest.get("parts"), list) else [manifest]
    for home in homes:
        for name, entry in home["files"].items():
            _fit(entry, content.get(f"{home['folder']}/{name}"))
    if "closed" in manifest:
        _fit(manifest["closed"], content.get(f"{manifest['closed']['folder']}/closed.npy"))
    return {**content, "index.json": json.dumps(sealed(manifest)).encode()}


def _fit(entry, data):
    if data is not None:
        entry["bytes"], entry["sha256"] = len(data), hashlib.sha256(data).hexdigest()


def _forged_array(rng, data):
    """Values of an array that are others, behind the header."""
    now = bytearray(data)
    begin = 128 if len(data) > 128 else 0
    room = len(now) - begin
    for _ in range(rng.choice((1, 2, 20))):
        if room <= 0:
            break
        width = rng.choice((1, 2, 4, 8))
        at = begin + width * rng.randrange(max(1, room // width))
        new = rng.choice((bytes(width), b"\xff" * width, rng.randbytes(width), b"\x7f\x7f\x80\x7f"[:width]))
        now[at : at + width] = new[: len(now) - at]
    if rng.random() < 0.1:
        now[begin:] = bytes([rng.choice((0, 1, 127, 128, 255))]) * room
    return bytes(now)


def forged_case(place, rng):
    """Another byte, or value of index.json, with checksums and a seal that are right."""
    path, folders = place
    saved = rng.choice(folders)
    content = dict(saved.content)
    if rng.random() < 0.4:
        value = damaged_json(rng, json.loads(content["index.json"]))
        if isinstance(value, dict):
            value.pop("sha256", None)
            try:
                value = sealed(value)
            except RecursionError:
                value["sha256"] = "0" * 64
        try:
            content["index.json"] = json_bytes(rng, value)
        except RecursionError:
            return
    else:
        name = rng.choice([one for one in content if one != "index.json"])
        if name.endswith(".npy") and rng.random() < 0.85:
            content[name] = _forged_array(rng, content[name])
        else:
            content[name] = damaged(rng, content[name], tuple(saved.content.values()))
        content = _resealed(content, [name])
    reader = None
    if rng.random() < 0.3:
        _lay(path, saved.content)
        reader = Index.open(path)
    _lay(path, content)
    for how in ("mmap", "memory", "disk"):
        with documented(FileError, naming=path):
            _verified_is_right(Index.open(path, vectors=how), saved)
    if reader is not None:
        with documented(FileError, ValueError, NotImplementedError):
            reader.refresh()
        _verified_is_right(reader, saved)
    with documented(FileError, RuntimeError, ValueError):
        vocabulary = Vocabulary.open(path)
        for word in vocabulary.words[:1]:
            assert vocabulary.most_similar(word, k=2) is not None
            assert vocabulary.search([word], 2)
    with documented(FileError, naming=path):
        read = files.read(path, repeated=True)
        count = len(read.vectors)
        if saved.words is not None:
            assert len(read.words) == count
        for column in read.column_names:
            assert len(read.columns[column]) == count
    with documented(FileError, naming=path):
        files.verify(path)
    assert _content(path) == content, "reading changed the folder"


def _verified_is_right(index, saved):
    """An Index that ``verify`` lets pass gives the answers of its rows."""
    found, verified = _answered(index, saved), False
    with documented(RuntimeError, ValueError):
        index.verify()
        verified = True
    if verified:
        assert found is not None, "verified, and yet it cannot be searched"
        _are_those_of_the_rows(index, saved, found)


def _are_those_of_the_rows(index, saved, found):
    numbers = index.numbers
    vectors = index.fetch(numbers) if len(numbers) else np.empty((0, index.dims), np.float32)
    expected = oracle.knn(saved.queries, vectors, _K, metric=index.metric)
    right = np.where(expected.indices < 0, -1, numbers[expected.indices] if len(numbers) else -1)
    assert same_bits(found.scores, expected.scores), (found, expected)
    assert same_bits(found.indices, right), (found, right)


class _Stop(Exception):
    """What ends a build before it is complete."""


def _builds(place):
    """Builds that were ended after two parts of three."""
    rows, path = hashed(60, 70), place / "built"
    before = _building.PART_BYTES, _building.BLOCK_BYTES
    _building.PART_BYTES, _building.BLOCK_BYTES = 70 * 4 * 20, 70 * 4 * 10
    try:

        def blocks(stop):
            for first in range(0, 60, 10):
                if first == stop:
                    raise _Stop
                yield rows[first : first + 10]

        made = []
        for stop in (40, 50):
            try:
                Index.build(blocks(stop), path)
            except _Stop:
                made.append(_content(place / "built.unfinished"))
            shutil.rmtree(place / "built.unfinished")
    finally:
        _building.PART_BYTES, _building.BLOCK_BYTES = before
    return place, tuple(made), rows, oracle.knn(rows[:3], rows, _K)


def build_case(prepared, rng):
    """A build goes on behind what it finished, if that is what was written."""
    place, made, rows, answers = prepared
    content = dict(rng.choice(made))
    name = rng.choice(list(content))
    if name == building.PROGRESS and rng.random() < 0.5:
        record = damaged_json(rng, json.loads(content[name]))
        if isinstance(record, dict):
            record.pop("sha256", None)
            try:
                record["sha256"] = building._seal(record)
                content[name] = json_bytes(rng, record)
            except RecursionError:
                return
    else:
        content[name] = damaged(rng, content[name], tuple(content.values()))
    path, own = place / "built", "mine.npy"
    shutil.rmtree(path, ignore_errors=True)
    _lay(place / "built.unfinished", {**content, own: b"mine", "0123abcd/mine": b"mine"})
    before = _building.PART_BYTES, _building.BLOCK_BYTES
    _building.PART_BYTES, _building.BLOCK_BYTES = 70 * 4 * 20, 70 * 4 * 10
    try:
        with documented(FileError, FileExistsError, naming=place):
            index = Index.build((rows[first : first + 10] for first in range(0, 60, 10)), path)
            verified = False
            with documented(FileError, naming=path):
                files.verify(path)
                verified = True
            if verified:
                found = index.search(rows[:3], _K)
                assert all(map(same_bits, found, answers)), "built, verified, and other answers"
    finally:
        _building.PART_BYTES, _building.BLOCK_BYTES = before
    home = path if path.exists() else place / "built.unfinished"
    assert (home / own).read_bytes() == b"mine"
    assert (home / "0123abcd" / "mine").read_bytes() == b"mine"


_SPACE = ("http://server/v1", "model", None)


def _caches(place):
    """Caches of both formats, with rows by the hash of their text."""
    path = place / "cache.sqlite"
    rows = {hashlib.sha256(b"%d" % at).digest(): row for at, row in enumerate(hashed(60, 16))}
    cache = Cache(path, *_SPACE)
    cache.keep(list(rows), list(rows.values()))
    cache.close()
    new = path.read_bytes()
    path.unlink()
    with closing(sqlite3.connect(path)) as old:
        old.executescript(
            """create table spaces (id integer primary key, server text not null, model text not null,
                dims integer not null, unique (server, model, dims));
            create table vectors (space integer not null, sha256 blob not null, vector blob not null,
                unique (space, sha256));
            insert into spaces values (1, 'http://server/v1', 'model', 0);
            pragma application_id = 1180059973; pragma user_version = 1;"""
        )
        old.executemany(
            "insert into vectors values (1, ?, ?)", [(key, row.tobytes()) for key, row in rows.items()]
        )
        old.commit()
    return path, (new, path.read_bytes()), rows


def cache_case(prepared, rng):
    """A damaged cache never gives another row than the one that was kept under a text."""
    path, valid, rows = prepared
    data = rng.choice(valid)
    checked = data is valid[0]
    if rng.random() < 0.5:
        now = bytearray(data)
        for _ in range(rng.choice((1, 3, 10))):
            now[rng.randrange(len(now))] = rng.randrange(256)
        data = bytes(now)
    else:
        data = damaged(rng, data, valid, most=1 << 20)
    path.write_bytes(data)
    for end in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    cache = None
    with documented(ValueError, naming=path):
        cache = Cache(path, *_SPACE)
    if cache is None:
        return
    keys = list(rows)
    try:
        with documented(EmbeddingError, naming=path):
            found = cache.stored(keys[:40], 16)
            for key, row in found.items():
                # Rows of format 1 have no checksums.
                assert not checked or same_bits(row, rows[key]), "another row than the one that was kept"
                assert row.shape == (16,)
            new = [key for key in keys if key not in found]
            cache.keep(new, [rows[key] for key in new])
            again = cache.stored(keys, 16)
            assert not checked or all(same_bits(row, rows[key]) for key, row in again.items())
    finally:
        cache.close()


TARGETS = {
    "folder-changed": Target(_folders, changed_case, 80),
    "folder-forged": Target(_folders, forged_case, 100),
    "unfinished-build": Target(_builds, build_case, 60),
    "cache": Target(_caches, cache_case, 200),
}
