"""A cache of rows in an SQLite file, by server, model, requested dims and SHA-256 of the text."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import sqlite3
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._forks import ProcessLock, process
from . import forks
from .errors import EmbeddingError, Matrix

_APPLICATION = 0x46565645  # "FVVE" in the header of the file marks a cache of this library
_VERSION = 2
_UNCHECKED_VERSION = 1  # rows without checksums
_FLOAT = np.dtype(np.float32)
_AT_ONCE = 500  # keys in one query
_WAIT_S = 60.0  # until another process has finished writing
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}
"""Errors of file systems without hard links; those have no permissions of files either."""
_FAILURES = (sqlite3.Error, UnicodeDecodeError)
"""What sqlite3 raises; the second where it cannot read a message of SQLite about a damaged file."""
_DAMAGED = "it is damaged; move it away"
_SPACES = """create table spaces (
    id integer primary key, server text not null, model text not null, dims integer not null,
    unique (server, model, dims)
)"""
_VECTORS = """create table vectors (
    space integer not null, sha256 blob not null, vector blob not null, checksum blob not null,
    unique (space, sha256)
)"""


class Cache:
    """A cache file, which threads and processes may share. Rows survive a kill once ``keep`` has returned.

    A row is used only if it matches the checksum stored with it. Rows of files without checksums (format 1)
    are in a table ``unchecked``; each gets its checksum when it is first used.

    The file is closed before a fork: in the child, SQLite's record of the locks on it would be wrong, even
    for connections that the child opens itself. Both processes open it again when they need it.

    Raises:
        ValueError: the file is not a cache of fastvec, or cannot be opened.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        server: str,
        model: str,
        dims: int | None,
        dtype: np.dtype[Any] = _FLOAT,
    ) -> None:
        self.path = Path(path)
        self._dtype = dtype.newbyteorder("<")  # of the numbers in the file
        self._space_name = (server, model, dims or 0)
        # Part of each checksum, so that a row of another model does not pass.
        self._seed = hashlib.blake2b(json.dumps(self._space_name).encode(), digest_size=16)
        self.hits = 0  # rows that ``stored`` has returned
        self.lock = ProcessLock()
        self._closed = False
        self._process: tuple[int, int] | None = None  # the process in which the connection is open
        self._others: list[
            sqlite3.Connection
        ] = []  # connections of a parent; closing them would end its locks
        self._open()

    def _open(self) -> None:
        with forks.opening.here:
            self._connect()
            self._process = process()
            forks.opened.add(self)

    def _connect(self) -> None:
        try:
            _make_private(self.path)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise ValueError(f"cache {str(self.path)!r} cannot be used: {why}") from error
        try:
            self._connection = sqlite3.connect(
                os.path.abspath(self.path), timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare_when_free()
            except BaseException:
                self._connection.close()
                raise
        except _FAILURES as error:
            raise ValueError(f"cache {str(self.path)!r} cannot be used: {_reason(error)}") from error

    def _prepare_when_free(self) -> None:
        """Prepare the file; retry while others use it, because SQLite does not wait to change to wal mode."""
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
            run("pragma page_size = 32768")  # rows of some kilobytes would waste space in small pages
            run("pragma journal_mode = wal")  # a reader never waits for a writer
            with self._transaction():
                # Another process may have made the tables in the meantime.
                if self._pragma("application_id") != _APPLICATION:
                    self._refuse_foreign()
                    run(_SPACES)
                    run(_VECTORS)
                    run(f"pragma application_id = {_APPLICATION}")
                    run(f"pragma user_version = {_VERSION}")
        if self._pragma("user_version") == _UNCHECKED_VERSION:
            with self._transaction():
                if self._pragma("user_version") == _UNCHECKED_VERSION:
                    if run("select 1 from pragma_table_info('vectors') where name = 'checksum'").fetchone():
                        raise sqlite3.DatabaseError(_DAMAGED)  # its version alone says that rows have none
                    run("alter table vectors rename to unchecked")
                    run(_VECTORS)
                    run(f"pragma user_version = {_VERSION}")
        version = self._pragma("user_version")
        if version != _VERSION:
            raise ValueError(
                f"cache {str(self.path)!r} has format {version}; this fastvec reads "
                f"{_UNCHECKED_VERSION} and {_VERSION}"
            )
        unchecked = run("select count(*) from sqlite_master where name = 'unchecked'")
        self._has_unchecked = unchecked.fetchone() != (0,)
        # In wal mode, a power cut may lose the last rows, but never damage the file.
        run("pragma synchronous = normal")
        with self._transaction():
            run("insert or ignore into spaces (server, model, dims) values (?, ?, ?)", self._space_name)
        spaces = run("select id from spaces where (server, model, dims) = (?, ?, ?)", self._space_name)
        space = spaces.fetchone()
        if space is None:
            raise sqlite3.DatabaseError(_DAMAGED)
        self._space: int = space[0]

    def _refuse_foreign(self) -> None:
        tables = self._connection.execute("select count(*) from sqlite_master").fetchone()[0]
        # Checked again, because another process may be making the tables at this moment.
        if tables and self._pragma("application_id") != _APPLICATION:
            raise ValueError(f"cache {str(self.path)!r} is a database of another program")

    def _pragma(self, name: str) -> int:
        value: int = self._connection.execute(f"pragma {name}").fetchone()[0]
        return value

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("begin immediate")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:  # a full disk ends the transaction itself
                self._connection.execute("rollback")
            raise
        self._connection.execute("commit")

    @contextlib.contextmanager
    def _used(self) -> Iterator[sqlite3.Connection]:
        with self.lock.here:
            if self._closed:
                raise EmbeddingError(f"the cache {str(self.path)!r} is closed")
            if self._process != process():
                if self._process is not None:  # a fork without Python's knowledge, by C code
                    self._others.append(self._connection)
                self._open()
            try:
                yield self._connection
            except _FAILURES as error:
                failure = f"the cache {str(self.path)!r} failed: {_reason(error)}{_advice(error)}"
                raise EmbeddingError(failure) from error

    def stored(self, digests: Sequence[bytes], width: int | None) -> dict[bytes, Matrix]:
        """The cached rows of ``width`` columns (None: the most frequent width); other rows are deleted."""
        records = self._records("sha256, vector, checksum", "vectors", digests)
        known = {digest for digest, *_ in records}
        rows = {
            digest: np.frombuffer(blob, self._dtype).astype(self._dtype.newbyteorder("="), copy=False)
            for digest, blob, checksum in records
            if isinstance(digest, bytes)  # damage may make a text of it
            and isinstance(blob, bytes)
            and checksum == self._checksum(digest, blob)
        }
        if self._has_unchecked:
            adopted = self._adopted([digest for digest in digests if digest not in known])
            known.update(adopted)
            rows.update(adopted)
        if width is None:
            widths = [row.size for row in rows.values()]
            width = max(set(widths), key=widths.count, default=0)
        rows = {digest: row for digest, row in rows.items() if row.size == width and _could_be(row)}
        bad = known - rows.keys()
        if bad:
            with self._used() as connection, self._transaction():
                connection.executemany(
                    "delete from vectors where space = ? and sha256 = ?",
                    [(self._space, digest) for digest in bad],
                )
        self.hits += len(rows)
        return rows

    def _records(self, columns: str, table: str, digests: Sequence[bytes]) -> list[tuple[Any, ...]]:
        records: list[tuple[Any, ...]] = []
        with self._used() as connection:
            for start in range(0, len(digests), _AT_ONCE):
                keys = digests[start : start + _AT_ONCE]
                marks = ",".join("?" * len(keys))
                records += connection.execute(
                    f"select {columns} from {table} where space = ? and sha256 in ({marks})",
                    (self._space, *keys),
                )
        return records

    def _adopted(self, digests: Sequence[bytes]) -> dict[bytes, Matrix]:
        """Rows without checksums, which are moved to the table of rows with checksums."""
        records = self._records("sha256, vector", "unchecked", digests)
        if not records:
            return {}
        rows = {
            digest: np.frombuffer(blob, "<f4").astype(np.float32, copy=False)
            for digest, blob in records
            if isinstance(digest, bytes) and isinstance(blob, bytes) and len(blob) % 4 == 0
        }
        rows = {digest: row for digest, row in rows.items() if _could_be(row)}
        self.keep(list(rows), list(rows.values()))
        with self._used() as connection, self._transaction():
            connection.executemany(
                "delete from unchecked where space = ? and sha256 = ?",
                [(self._space, digest) for digest, _ in records],
            )
        return rows

    def keep(self, digests: Sequence[bytes], rows: Sequence[Matrix]) -> None:
        """Store rows; rows that are stored already stay as they are."""
        if not digests:
            return
        blobs = (row.astype(self._dtype, copy=False).tobytes() for row in rows)
        records = (  # generated one at a time, so that not all rows are copied at once
            (self._space, digest, blob, self._checksum(digest, blob))
            for digest, blob in zip(digests, blobs, strict=True)
        )
        with self._used() as connection, self._transaction():
            connection.executemany(
                "insert or ignore into vectors (space, sha256, vector, checksum) values (?, ?, ?, ?)", records
            )

    def _checksum(self, digest: bytes, blob: bytes) -> bytes:
        total = self._seed.copy()
        total.update(digest)
        total.update(blob)
        return total.digest()

    def close(self) -> None:
        with self.lock.here:
            self.let_go()
            self._closed = True

    def let_go(self) -> None:
        """Close the file until it is needed again."""
        if self._process == process():
            self._connection.close()
            self._process = None


def _make_private(path: Path) -> None:
    """Make a new file that only its owner can read (SQLite gives its companion files the same permissions).

    The file is made and closed under another name and then renamed: closing it later would end the locks that
    another connection of this process has on it.
    """
    try:
        kind = os.stat(path).st_mode
    except FileNotFoundError:
        pass
    else:
        if not stat.S_ISREG(kind):
            what = "a folder" if stat.S_ISDIR(kind) else "a pipe, a device or a socket"
            raise ValueError(f"it is {what}; give the name of a file")
        return
    if os.path.islink(path):
        raise ValueError("it is a link to a file that does not exist")
    if not path.parent.is_dir():
        return  # SQLite reports that it cannot open the file
    descriptor, temporary = tempfile.mkstemp(prefix=".fastvec-", dir=path.parent)
    try:
        os.close(descriptor)
        os.link(temporary, path)
    except FileExistsError:
        pass  # another process was first
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    finally:
        os.unlink(temporary)


def _reason(error: Exception) -> str:
    """What SQLite says; of a damaged file, it may name bytes that are not text."""
    if isinstance(error, UnicodeDecodeError):
        return "it holds bytes that are not text"
    return " ".join(str(error).split())[:200]  # which may quote several lines of a damaged file


def _advice(error: Exception) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    damaged = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or isinstance(error, UnicodeDecodeError)
    return "; the file is damaged: move it away; its rows will be requested again" if damaged else ""


def _could_be(row: Matrix) -> bool:
    """Whether the row could come from an answer: it is finite and not all zero."""
    return bool(np.isfinite(row).all() and row.any())
