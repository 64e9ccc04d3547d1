"""Labels as JSON lines: one string per line, in UTF-8, with any characters."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator

from .errors import FileError
from .streams import Rows, blocks, written

_MARK = b"\xef\xbb\xbf"  # byte order mark, which some programs write


def blocks_of(words: Rows[str]) -> Iterator[bytes]:
    """The lines of ``words``, in blocks, so that not all of them need to be in memory."""
    first = 0
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
    return _several(lines) is not None and last.lstrip()[:1] in (b'"', b"")


def load(path: str | os.PathLike[str], data: bytes) -> tuple[str, ...]:
    """The words of JSON lines; ``path`` is for errors."""
    words: list[str] = []
    for block in blocks(split(data.removeprefix(_MARK))):
        # Only a block with an error is parsed line by line.
        words += _several(block) or [_one(path, len(words) + row, line) for row, line in enumerate(block)]
    return tuple(words)


def split(data: bytes) -> Iterator[bytes]:
    """The lines with their ends, one at a time, because a list of all would double the memory."""
    return iter(io.BytesIO(b"" if data == b"\n" else data))


def _several(lines: list[bytes]) -> list[str] | None:
    """Several lines parsed at once, which is much faster; None if one of them is not a string."""
    try:
        # A line break within a string is an error in JSON, so two broken lines cannot form one string.
        words = json.loads("[" + b",".join(lines).decode() + "]")
    except (ValueError, RecursionError):
        return None
    return words if len(words) == len(lines) and set(map(type, words)) <= {str} else None


def _one(path: str | os.PathLike[str], row: int, line: bytes) -> str:
    try:
        word = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise FileError(path, f"not JSON ({error}); every line must be a string", row=row) from error
    if not isinstance(word, str):
        raise FileError(path, f"a {type(word).__name__}; every line must be a string", row=row)
    return word
