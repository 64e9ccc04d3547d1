"""Labels as JSON lines: one string a line, UTF-8, whatever characters it holds."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from .errors import FileError

_BLOCK = 1024
_MARK = b"\xef\xbb\xbf"  # which some programs put before UTF-8


def dump(words: Sequence[str]) -> bytes:
    """The lines of ``words``."""
    # Within a string line breaks are escaped, so a real one only follows the comma between two.
    text = json.dumps(list(words), ensure_ascii=False, separators=(",\n", ":"))[1:-1]
    lines = text.replace(",\n", "\n") + "\n" if words else ""
    try:
        return lines.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold by its code only
        data = "".join(json.dumps(word) + "\n" for word in words).encode()
    for row, (word, line) in enumerate(zip(words, data.splitlines(), strict=True)):
        if json.loads(line) != word:
            raise ValueError(f"words[{row}] is {word!r}: halves of a surrogate pair, which files make one")
    return data


def load(path: str | os.PathLike[str], data: bytes) -> tuple[str, ...]:
    """The words of JSON lines; ``path`` is for errors."""
    data = data.removeprefix(_MARK).removesuffix(b"\n")
    lines = data.split(b"\n") if data else []
    words = _several(lines)
    if words is None:
        words = []
        for start in range(0, len(lines), _BLOCK):  # line by line where the error is, not all of them
            block = lines[start : start + _BLOCK]
            words += _several(block) or [_one(path, start + row, line) for row, line in enumerate(block)]
    return tuple(words)


def _several(lines: list[bytes]) -> list[str] | None:
    """Lines at once, which is much quicker; None if one of them is not a string."""
    try:
        # A line break within a string is an error here, so no line can make up for another.
        words = json.loads("[" + b",\n".join(lines).decode() + "]")
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
