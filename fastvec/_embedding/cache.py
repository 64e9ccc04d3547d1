"""Rows paid for once, in an SQLite file, by server, model, dims asked for and SHA-256 of the text."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from .errors import EmbeddingError, Matrix

_APPLICATION = 0x46565645  # "FVVE", in the file's header: it is a cache of this library
_VERSION = 1
_AT_ONCE = 500  # keys of one look-up
_WAIT_S = 60.0  # for another process that writes
_SCHEMA = (
    """create table spaces (
        id integer primary key, server text not null, model text not null, dims integer not null,
        unique (server, model, dims)
    )""",
    """create table vectors (
        space integer not null, sha256 blob not null, vector blob not null, unique (space, sha256)
    )""",
    f"pragma application_id = {_APPLICATION}",
    f"pragma user_version = {_VERSION}",
)


class Cache:
    """One file, which threads and processes may share; what ``keep`` has returned from outlives a kill.

    Raises:
        ValueError: the path holds something else, or cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], server: str, model: str, dims: int | None) -> None:
        self.path = Path(path)
        self._space_name = (server, model, dims or 0)
        self._lock = threading.Lock()
        self._open()

    def _open(self) -> None:
        self._process = os.getpid()
        try:
            self._connection = sqlite3.connect(
                self.path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare_when_free()
            except BaseException:
                self._connection.close()
                raise
        except sqlite3.Error as error:
            raise ValueError(f"cache {str(self.path)!r} cannot be used: {error}") from error

    def _prepare_when_free(self) -> None:
        """Prepare; while others do so too, again: changing to wal needs the file alone and does not wait."""
        deadline = time.monotonic() + _WAIT_S
        while True:
            try:
                self._prepare()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def _prepare(self) -> None:
        run = self._connection.execute
        if self._pragma("application_id") != _APPLICATION:
            self._refuse_foreign()
            run("pragma page_size = 32768")  # rows of some kilobytes fill small pages badly
            run("pragma journal_mode = wal")  # a reader never waits for a writer
            with self._transaction():
                # Another process may have made the tables since.
                if self._pragma("application_id") != _APPLICATION:
                    self._refuse_foreign()
                    for statement in _SCHEMA:
                        run(statement)
        version = self._pragma("user_version")
        if version != _VERSION:
            raise ValueError(f"cache {str(self.path)!r} has format {version}, this fastvec reads {_VERSION}")
        run(
            "pragma synchronous = normal"
        )  # with wal, only a power cut may lose the last rows, never the file
        with self._transaction():
            run("insert or ignore into spaces (server, model, dims) values (?, ?, ?)", self._space_name)
        found = run("select id from spaces where (server, model, dims) = (?, ?, ?)", self._space_name)
        self._space: int = found.fetchone()[0]

    def _refuse_foreign(self) -> None:
        tables = self._connection.execute("select count(*) from sqlite_master").fetchone()[0]
        # Asked once more, as another process may be making the tables right now.
        if tables and self._pragma("application_id") != _APPLICATION:
            raise ValueError(f"cache {str(self.path)!r} is a database of something else")

    def _pragma(self, name: str) -> int:
        value: int = self._connection.execute(f"pragma {name}").fetchone()[0]
        return value

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("begin immediate")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:  # a full disk has ended it already
                self._connection.execute("rollback")
            raise
        self._connection.execute("commit")

    @contextlib.contextmanager
    def _used(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._process != os.getpid():
                self._open()  # a connection must not be carried over a fork
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise EmbeddingError(f"the cache {str(self.path)!r} failed: {error}") from error

    def stored(self, digests: Sequence[bytes], width: int | None) -> dict[bytes, Matrix]:
        """The rows there are, of ``width`` columns (None: of the width of most); others are forgotten."""
        blobs: dict[bytes, object] = {}
        with self._used() as connection:
            for start in range(0, len(digests), _AT_ONCE):
                keys = digests[start : start + _AT_ONCE]
                marks = ",".join("?" * len(keys))
                found = connection.execute(
                    f"select sha256, vector from vectors where space = ? and sha256 in ({marks})",
                    (self._space, *keys),
                )
                blobs.update(found)
        if width is None:
            lengths = [len(blob) for blob in blobs.values() if isinstance(blob, bytes)]
            width = max(set(lengths), key=lengths.count, default=0) // 4
        rows = {digest: _row(blob, width) for digest, blob in blobs.items()}
        bad = [digest for digest, row in rows.items() if row is None]
        if bad:
            with self._used() as connection, self._transaction():
                connection.executemany(
                    "delete from vectors where space = ? and sha256 = ?", [(self._space, key) for key in bad]
                )
        return {digest: row for digest, row in rows.items() if row is not None}

    def keep(self, digests: Sequence[bytes], rows: Sequence[Matrix]) -> None:
        """Store rows; those that are there already stay as they are."""
        if not digests:
            return
        records = (  # one at a time, so that rows are not all copied at once
            (self._space, digest, row.astype("<f4", copy=False).tobytes())
            for digest, row in zip(digests, rows, strict=True)
        )
        with self._used() as connection, self._transaction():
            connection.executemany(
                "insert or ignore into vectors (space, sha256, vector) values (?, ?, ?)", records
            )

    def close(self) -> None:
        with self._lock:
            if self._process == os.getpid():
                self._connection.close()


def _row(blob: object, width: int) -> Matrix | None:
    """The row that a value holds, if it is one that an answer could have brought."""
    if not isinstance(blob, bytes) or not width or len(blob) != 4 * width:
        return None
    row = np.frombuffer(blob, "<f4").astype(np.float32, copy=False)
    return row if np.isfinite(row).all() and row.any() else None
