"""Labels as JSON lines: one string a line, UTF-8, whatever characters it holds."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator

from .errors import FileError
from .streams import Rows, blocks, written

_MARK = b"\xef\xbb\xbf"  # which some programs put before UTF-8


def dump(words: Rows[str]) -> bytes:
    """The lines of ``words``."""
    return b"".join(blocks_of(words))


def blocks_of(words: Rows[str]) -> Iterator[bytes]:
    """The lines of ``words``, in blocks, so that not all of them need to be in memory."""
    first = 0
    for block in written(words):
        yield _lines(block, first)
        first += len(block)


def _lines(words: list[str], first: int) -> bytes:
    # Within a string line breaks are escaped, so a real one only follows the comma between two.
    text = json.dumps(words, ensure_ascii=False, separators=(",\n", ":"))[1:-1]
    try:
        return (text.replace(",\n", "\n") + "\n").encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold by its code only
        data = "".join(json.dumps(word) + "\n" for word in words).encode()
    for row, (word, line) in enumerate(zip(words, data.splitlines(), strict=True), first):
        if json.loads(line) != word:
            raise ValueError(f"words[{row}] is {word!r}: halves of a surrogate pair, which files make one")
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
        # Line by line where the error is, not all of them.
        words += _several(block) or [_one(path, len(words) + row, line) for row, line in enumerate(block)]
    return tuple(words)


def split(data: bytes) -> Iterator[bytes]:
    """Lines with their ends, one after the other: all at once would take the memory of the bytes again."""
    return iter(io.BytesIO(b"" if data == b"\n" else data))


def _several(lines: list[bytes]) -> list[str] | None:
    """Lines at once, which is much quicker; None if one of them is not a string."""
    try:
        # A line break within a string is an error here, so no line can make up for another.
        words = json.loads("[" + b",".join(lines).decode() + "]")
    except (ValueError, RecursionError):
        return None
    return words if len(words) == len(lines) and set(map(type, words)) <= {str} else None


def _one(path: str | os.PathLike[str], row: int, line: bytes) -> str:
    try:
        word = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise FileError(path, f"no JSON ({error}); every line must be a string", row=row) from error
    if not isinstance(word, str):
        raise FileError(path, f"a {type(word).__name__}; every line must be a string", row=row)
    return word
