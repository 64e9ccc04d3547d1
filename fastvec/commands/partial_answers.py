"""Right answers that are being made, in an SQLite file beside the output, so that a killed command goes on.

A row of the table holds the answers to some queries among the vectors before ``next_row``. It is replaced in
one transaction, so a kill leaves either the old answers or the new ones.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import operator
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from .._answers import Answers

_APPLICATION = 0x46565441  # "FVTA" in the header of the file marks it as fastvec's
_MINE = "not a file of right answers that fastvec has begun; move it away"


class Partial:
    """The file; opened with the ``facts`` that decide the answers.

    Raises:
        ValueError: the file is another program's, is damaged, or was begun with other facts.
    """

    def __init__(self, path: Path, facts: Mapping[str, str]) -> None:
        self.path = path
        with self._explained():
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._begin(dict(facts))

    def _begin(self, facts: dict[str, str]) -> None:
        execute = self._connection.execute
        ((mark,),) = execute("pragma application_id")
        tables = [name for (name,) in execute("select name from sqlite_master")]
        if not tables:
            execute("begin immediate")
            execute(f"pragma application_id = {_APPLICATION}")
            execute("create table facts (json text not null, writing integer not null)")
            execute(
                "create table answers (first integer primary key, next_row integer not null, "
                "scores blob not null, indices blob not null, checksum blob not null)"
            )
            execute("insert into facts values (?, 0)", [json.dumps(facts)])
            execute("commit")
            return
        if mark != _APPLICATION or "facts" not in tables:
            raise ValueError(f"{self.path}: {_MINE}")
        with self._undamaged():
            ((known,),) = execute("select cast(json as blob) from facts")  # which may be no text
            others = sorted({name for name, _ in facts.items() ^ json.loads(known).items()})
        if others:
            raise ValueError(
                f"{self.path} holds answers that were begun with another {', '.join(others)}; "
                "remove it to begin anew, or choose another name"
            )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # the disk is full, or the file cannot be written
            raise OSError(None, f"{self.path}: {error}") from error
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise ValueError(f"{self.path}: {_MINE} ({error})") from error

    @contextlib.contextmanager
    def _undamaged(self) -> Iterator[None]:
        """Around what reads values, which damage may have changed in type and in number, too."""
        with self._explained():
            try:
                yield
            except (ValueError, TypeError, AttributeError, RecursionError) as error:
                raise ValueError(f"{self.path} is damaged; remove it to begin anew") from error

    @property
    def writing(self) -> bool:
        """Whether the output was about to be written, so that it may be there."""
        with self._undamaged():
            ((writing,),) = self._connection.execute("select writing from facts")
        return bool(writing)

    def write_output(self) -> None:
        """Note that the output is about to be written."""
        with self._explained():
            self._connection.execute("update facts set writing = 1")

    def reached(self) -> dict[int, int]:
        """The first row that is still to be searched, by the first query."""
        with self._undamaged():
            rows = self._connection.execute("select first, next_row from answers").fetchall()
            return {operator.index(first): operator.index(next_row) for first, next_row in rows}

    def keep(self, first: int, next_row: int, answers: Answers) -> None:
        """Replace the answers to the queries from ``first`` on; a kill later loses nothing of them."""
        blobs = answers.scores.astype("<f8").tobytes(), answers.indices.astype("<i8").tobytes()
        values = first, next_row, *blobs, _checksum(first, next_row, *blobs)
        with self._explained():
            self._connection.execute("insert or replace into answers values (?, ?, ?, ?, ?)", values)

    def answers(self, first: int, k: int) -> Answers:
        """The answers to the queries from ``first`` on.

        Raises:
            ValueError: they are damaged.
        """
        with self._undamaged():
            ((next_row, scores, indices, checksum),) = self._connection.execute(
                "select next_row, scores, indices, checksum from answers where first = ?", [first]
            )
            if checksum != _checksum(first, next_row, scores, indices):
                raise ValueError("the checksum is another")
            shape = (-1, k)
            return Answers(
                np.frombuffer(scores, "<f8").reshape(shape), np.frombuffer(indices, "<i8").reshape(shape)
            )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _checksum(first: int, next_row: int, scores: bytes, indices: bytes) -> bytes:
    digest = hashlib.blake2b(f"{first} {next_row} ".encode(), digest_size=16)
    digest.update(scores)
    digest.update(indices)
    return digest.digest()
