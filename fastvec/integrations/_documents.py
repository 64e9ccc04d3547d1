"""Documents by id beside an Index: what the vector stores of retrieval frameworks have in common.

A document is any object that can be written as JSON and read again. The Index gives every row a number that
is never given again, and a document keeps its number until another one replaces it. One folder holds all:
the Index, and the documents as the words of its rows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from .. import files
from .._forks import ProcessLock
from ..errors import FileError
from ..index import Index

T = TypeVar("T")
A = TypeVar("A")


class Hits(NamedTuple, Generic[T]):
    """Documents that a search found, best first."""

    documents: list[T]
    scores: list[float]
    vectors: npt.NDArray[np.float32]
    """(hits, dims)"""


class Documents(Generic[T]):
    """Documents with ids and vectors, searched by cosine similarity.

    Equal scores rank in the order in which documents were added. Several threads may search and change them:
    each sees all of a change or none.
    """

    def __init__(self) -> None:
        self._clear()
        self._changing = ProcessLock()
        self._changes = 0
        """Odd while a change is made."""

    def _clear(self) -> None:
        self._index: Index | None = None
        self._numbers: dict[str, int] = {}
        self._documents: dict[int, T] = {}
        self._texts: dict[int, str] = {}
        """What was saved for a number."""
        self._top: int | None = None
        """The number that the next row gets, if it is known."""

    @contextmanager
    def _change(self) -> Iterator[None]:
        """A change of ``_numbers``, which say what is there; if it fails, the rest is made to agree."""
        with self._changing.here:
            self._changes += 1
            try:
                yield
            except BaseException:
                self._top = None
                known = set(self._numbers.values())
                if self._index is not None:
                    self._drop([number for number in self._index.numbers.tolist() if number not in known])
                self._drop_documents(self._documents.keys() - known)
                raise
            finally:
                self._changes += 1

    def _drop(self, numbers: list[int]) -> None:
        if numbers:
            assert self._index is not None
            self._index.remove(numbers)
            self._drop_documents(numbers)

    def _drop_documents(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._documents.pop(number, None)
            self._texts.pop(number, None)

    def _at_once(self, ask: Callable[[], A]) -> A:
        """The answer at one moment: if something changed while it was found, it is found again."""
        before = self._changes
        if before % 2 == 0:
            try:
                answer = ask()
            except Exception:
                if self._changes == before:
                    raise
            else:
                if self._changes == before:
                    return answer
        with self._changing.here:
            return ask()

    def put(self, ids: Sequence[str], documents: Sequence[T], vectors: Any) -> None:
        """Add documents; one whose id is known replaces the known one. Of equal ids, the last counts.

        All are added or, if a vector is refused, none.
        """
        if len(vectors) != len(ids):
            raise ValueError(f"documents and vectors differ in number: {len(ids)} and {len(vectors)}")
        last = {identifier: at for at, identifier in enumerate(ids)}
        if not last:
            return
        if len(last) < len(ids):
            vectors = [vectors[at] for at in last.values()]
        with self._change():
            if self._index is None or not self._documents:
                index = Index(vectors, copy=True)  # of any width, if nothing is left
                self._clear()
                self._index, self._top = index, 0
            else:
                self._index.add(vectors)
            if self._top is None:
                self._top = int(self._index.numbers[-1]) + 1 - len(last)
            numbers = range(self._top, self._top + len(last))
            self._top += len(last)
            self._documents.update(zip(numbers, (documents[at] for at in last.values()), strict=True))
            old = [self._numbers[identifier] for identifier in last if identifier in self._numbers]
            self._numbers.update(zip(last, numbers, strict=True))
            self._drop(old)

    def delete(self, ids: Iterable[str] | None = None, passes: Callable[[T], bool] | None = None) -> None:
        """Remove documents that have one of these ids and pass; None: any. Unknown ids change nothing."""
        with self._change():
            asked = list(self._numbers if ids is None else dict.fromkeys(ids))
            gone = set(self._wanted(asked, passes))
            self._drop(list(map(self._numbers.pop, [one for one in asked if self._numbers.get(one) in gone])))

    def clear(self) -> None:
        """Remove all documents."""
        with self._change():
            self._clear()

    def get(self, ids: Iterable[str] | None = None, passes: Callable[[T], bool] | None = None) -> list[T]:
        """The documents with these ids that are known and pass, in the order of the ids; None: all."""
        wanted = None if ids is None else list(ids)

        return self._at_once(lambda: [self._documents[number] for number in self._wanted(wanted, passes)])

    def vectors(
        self, ids: Iterable[str] | None = None, passes: Callable[[T], bool] | None = None
    ) -> tuple[list[T], npt.NDArray[np.float32]]:
        """``get``, and the vectors of its documents: float32 (documents, dims)."""
        wanted = None if ids is None else list(ids)

        def ask() -> tuple[list[T], npt.NDArray[np.float32]]:
            numbers = self._wanted(wanted, passes)
            if self._index is None or not numbers:
                return [], np.empty((0, 0), np.float32)
            return [self._documents[number] for number in numbers], self._index.fetch(numbers)

        return self._at_once(ask)

    def _wanted(self, ids: list[str] | None, passes: Callable[[T], bool] | None) -> list[int]:
        documents = self._documents
        if ids is None:
            numbers = list(documents)
        else:
            numbers = [self._numbers[identifier] for identifier in ids if identifier in self._numbers]
        return numbers if passes is None else [number for number in numbers if passes(documents[number])]

    def search(self, query: Any, k: int, passes: Callable[[T], bool] | None = None) -> Hits[T]:
        """The k nearest documents, or as many as there are, of those that pass."""

        def ask() -> Hits[T]:
            index, documents = self._index, self._documents
            if index is None or not documents or k < 1:
                return Hits([], [], np.empty((0, 0), np.float32))
            where = None
            if passes is not None:
                where = np.array(self._wanted(None, passes), np.int64)
            found = index.search(query, min(k, len(documents)), where=where)
            numbers = found.indices[found.indices >= 0]
            return Hits(
                [documents[number] for number in numbers.tolist()],
                found.scores[: len(numbers)].tolist(),
                index.fetch(numbers),
            )

        return self._at_once(ask)

    def save(self, path: str | os.PathLike[str], written: Callable[[T], dict[str, Any]]) -> None:
        """Write all to a folder, complete or not at all; to a folder known already, only what changed.

        Raises:
            TypeError: if a document cannot be written as JSON; the message names its id.
            OSError: as ``Index.save``.
        """
        with self._changing.here:
            for identifier, number in self._numbers.items():
                if number not in self._texts:
                    self._texts[number] = _json(identifier, written(self._documents[number]))
            # An empty folder has no width; opening it gives no documents.
            index = Index(dims=1) if self._index is None else self._index
            index.save(path, words=[self._texts[number] for number in index.numbers.tolist()])

    @classmethod
    def open(cls, path: str | os.PathLike[str], read: Callable[[str, dict[str, Any]], T]) -> Documents[T]:
        """What ``save`` wrote; vectors and codes are mapped into memory.

        Raises:
            FileError: (a ValueError) if the folder is damaged, or holds something else.
            FileNotFoundError: if the folder does not exist.
        """
        folder = files.read(path, format="index", repeated=True)
        opened, index = cls(), folder.living_index()
        if len(index) == 0:
            return opened
        opened._index = index
        for row, (number, text) in enumerate(zip(index.numbers.tolist(), folder.words, strict=True)):
            try:
                record = json.loads(text)
                opened._numbers[record["id"]] = number
                opened._documents[number] = read(record["id"], record["document"])
            except (ValueError, TypeError, KeyError) as error:
                raise FileError(
                    path,
                    f"not a document of this kind of store ({error!r}); open it with the one that saved it",
                    row=row,
                ) from error
            opened._texts[number] = text
        return opened


def _json(identifier: str, document: dict[str, Any]) -> str:
    try:
        text = json.dumps({"id": identifier, "document": document}, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"document {identifier!r} cannot be saved: {error}; metadata may hold what JSON can express: "
            "str, int, float, bool, None, and lists and dicts of these"
        ) from error
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return json.dumps({"id": identifier, "document": document})
    return text
