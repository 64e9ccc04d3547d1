"""The one error of a file that cannot be used."""

from __future__ import annotations

import os


class FileError(ValueError):
    """A file is damaged, cut short or foreign, or holds no vectors: says which, where, what to do.

    Example:
        >>> from fastvec.files import FileError
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
