"""fastvec's own errors. Each is also a built-in error:

``FileError`` is a ValueError, ``UnknownWordError`` a KeyError, ``EmbeddingError`` a RuntimeError.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["EmbeddingError", "FileError", "UnknownWordError"]


class FileError(ValueError):
    """A file is damaged, cut short or foreign, or holds no vectors; the message says where, and what to do.

    Attributes:
        path: the file or folder, as a str.
        problem: what is wrong with it, and what to do.
        row: the row, counted from 0, or None if it is not known.
        byte: the byte, counted from 0, or None if it is not known.

    Example:
        >>> from fastvec.errors import FileError
        >>> print(FileError("words.txt", "3 values, not 4; fetch the file again", row=7))
        words.txt, row 7: 3 values, not 4; fetch the file again
    """

    def __init__(
        self, path: str | os.PathLike[str], problem: str, *, row: int | None = None, byte: int | None = None
    ) -> None:
        super().__init__(path, problem, row, byte)
        self.path, self.problem, self.row, self.byte = os.fspath(path), problem, row, byte

    def __str__(self) -> str:
        place = "" if self.row is None else f", row {self.row}"
        place += "" if self.byte is None else f", byte {self.byte}"
        return f"{self.path}{place}: {self.problem}"

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (self.path, self.problem, self.row, self.byte)


def _again(path: str, problem: str, row: int | None, byte: int | None) -> FileError:
    return FileError(path, problem, row=row, byte=byte)


class UnknownWordError(KeyError):
    """Words are not in a Vocabulary; ``args`` holds them.

    The nearest spellings are sought when the message is read, so that catching the error costs nothing. This
    takes milliseconds in a vocabulary of any size.

    Example:
        >>> import fastvec
        >>> compass = fastvec.Vocabulary(["north", "east"], [[0, 1], [1, 0]])
        >>> try:
        ...     compass["nroth"]
        ... except fastvec.errors.UnknownWordError as error:
        ...     print(error, error.args)
        'nroth' is not in this vocabulary; nearest spellings: 'north' ('nroth',)
    """

    def __init__(self, unknown: Iterable[str | int], words: Collection[Any]) -> None:
        super().__init__(*unknown)
        self._words = words

    def __str__(self) -> str:
        from ._spellings import enumerated, quoted

        first, *others = self.args
        if isinstance(first, int):
            others = [f"; also unknown: {enumerated(map(str, others[:5]), len(others))}"] if others else [""]
            return f"{first} is not in this vocabulary{others[0]}"
        message = f"{quoted(first)} is not in this vocabulary"
        near = self._near()
        if near:
            message += "; nearest spellings: " + ", ".join(map(quoted, near))
        if others:
            message += "; also unknown: " + enumerated(map(quoted, itertools.islice(others, 5)), len(others))
        return message

    def _near(self) -> list[str]:
        from ._spellings import nearest_spellings

        if isinstance(self.args[0], int) or isinstance(next(iter(self._words), None), int):
            return []
        return nearest_spellings(self.args[0], self._words)

    def __reduce__(self) -> tuple[Any, ...]:
        # The pickle holds the nearest spellings, not the vocabulary.
        return type(self), (self.args, tuple(self._near()))


class EmbeddingError(RuntimeError):
    """An embedding server could not be used, or did not give the answers that were requested.

    The message says what went wrong; the client's own exception, if there was one, is ``__cause__``.

    Attributes:
        positions: positions in ``texts`` of the texts that the server refused, or of the failed requests'
            texts; empty if the embedder could not be made.
        received: bool (n,), True where a checked row arrived before the failure; None before any request.
            If ``texts`` is an iterator, n is the number of texts that were read.
        vectors: float32 (n, dims), the matrix filled so far: ``out`` itself if it was passed (its other rows
            are unchanged), else a new one (its other rows are NaN); None if no row has arrived and no
            ``out`` was passed.
        reason: the message without the positions.
        finished: True if the server refused these texts themselves, and every other text has its row; False
            if the work ended before that.
        setting: the environment variable that is at fault, such as ``"HTTPS_PROXY"``; None if none is.

    Example:
        >>> from fastvec.errors import EmbeddingError
        >>> EmbeddingError("the server answered a web page").positions
        []
    """

    def __init__(self, message: str, positions: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.positions = list(positions)
        self.received: npt.NDArray[np.bool_] | None = None
        self.vectors: npt.NDArray[np.float32] | None = None
        self.reason = message
        self.finished = False
        self.setting: str | None = None
