"""Labels as JSON lines: one string per line, in UTF-8, with any characters."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Set
from typing import Any

from .errors import FileError
from .streams import Rows, blocks, written

_MARK = b"\xef\xbb\xbf"  # byte order mark, which some programs write


def blocks_of(words: Rows[str], first: int = 0) -> Iterator[bytes]:
    """The lines of ``words``, in blocks, so that not all of them need to be in memory.

    ``first`` is the row of the first one.
    """
    for block in written(words):
        yield _lines(block, first)
        first += len(block)


def _lines(words: list[str], first: int) -> bytes:
    # Line breaks within a string are escaped, so a real one occurs only after the comma between two strings.
    text = json.dumps(words, ensure_ascii=False, separators=(",\n", ":"))[1:-1]
    try:
        return (text.replace(",\n", "\n") + "\n").encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold only as an escape
        data = "".join(json.dumps(word) + "\n" for word in words).encode()
    for row, (word, line) in enumerate(zip(words, data.splitlines(), strict=True), first):
        if json.loads(line) != word:
            raise ValueError(
                f"words[{row}] is {word!r}: two halves of a surrogate pair, which reading would join"
            )
    return data


def are_words(data: bytes, cut: bool) -> bool:
    """Whether bytes are lines of words, or the beginning of such lines if they are ``cut``."""
    lines = list(split(data.removeprefix(_MARK)))
    last = lines.pop() if cut and lines else b""
    return _several(lines, {str}) is not None and last.lstrip()[:1] in (b'"', b"")


def load(path: str | os.PathLike[str], data: bytes, *, integers: bool = False) -> tuple[Any, ...]:
    """The words of JSON lines, text, or perhaps ``integers`` as well; ``path`` is for errors."""
    kinds = {str, int} if integers else {str}
    words: list[Any] = []
    for block in blocks(split(data.removeprefix(_MARK))):
        # Only a block with an error is parsed line by line.
        words += _several(block, kinds) or [
            _one(path, len(words) + row, line, kinds) for row, line in enumerate(block)
        ]
    return tuple(words)


def split(data: bytes) -> Iterator[bytes]:
    """The lines with their ends, one at a time, because a list of all would double the memory."""
    return iter(io.BytesIO(b"" if data == b"\n" else data))


def _several(lines: list[bytes], kinds: Set[type]) -> list[Any] | None:
    """Several lines parsed at once, which is much faster; None if one of them is of none of these kinds."""
    try:
        # A line break within a string is an error in JSON, so two broken lines cannot form one string.
        words = json.loads("[" + b",".join(lines).decode() + "]")
    except (ValueError, RecursionError):
        return None
    return words if len(words) == len(lines) and set(map(type, words)) <= kinds else None


def _one(path: str | os.PathLike[str], row: int, line: bytes, kinds: Set[type]) -> Any:
    try:
        word = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise FileError(path, f"not JSON ({error}); every line must be a string", row=row) from error
    if type(word) not in kinds:
        raise FileError(path, f"a {type(word).__name__}; every line must be a string", row=row)
    return word
