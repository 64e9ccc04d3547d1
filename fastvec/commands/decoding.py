"""Bytes of text files as text, piece by piece, and as lines. An error names the line that is not text."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable, Iterator
from typing import Protocol

_PIECE_BYTES = 1 << 18
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)
_LONGEST_MARK = 4


class Readable(Protocol):
    """A source of bytes; it returns fewer than it is asked for only at its end."""

    def read(self, size: int, /) -> bytes:
        """``size`` bytes."""


def decode(data: bytes) -> str:
    """The text of a file: UTF-8, or what its byte order mark says.

    Raises:
        ValueError: it is neither, or it holds NUL characters; the message names the line.
    """
    return "".join(pieces(io.BytesIO(data)))


def lines(text: str) -> Iterator[str]:
    """Lines without their ends, which are LF, CRLF or CR: other characters that end lines somewhere
    (U+2028, U+0085, form feed ...) are part of a text."""
    return map(without_end, ended_lines([text]))


def without_end(line: str) -> str:
    """A line of ``ended_lines`` without its end."""
    return line.removesuffix("\n").removesuffix("\r")


def pieces(file: Readable) -> Iterator[str]:
    """The text of a file as ``decode`` reads it, from the file's position to its end, in pieces."""
    data = file.read(_LONGEST_MARK)
    mark, codec = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", "utf-8"))
    decoder = codecs.getincrementaldecoder(codec)()
    count = _LineEnds()
    at = len(data)
    ended = not data
    data = data[len(mark) :]
    while True:
        try:
            piece = decoder.decode(data, final=ended)
        except UnicodeDecodeError as error:
            raise _not_text(error, codec, at, count) from error
        place = piece.find("\0")
        if place >= 0:
            count.add(piece[:place])
            raise ValueError(
                f"line {count.ends + 1} holds a NUL character: this is not a text file, or one in "
                "UTF-16 without a byte order mark; save it as UTF-8"
            )
        count.add(piece)
        if piece:
            yield piece
        if ended:
            return
        data = file.read(_PIECE_BYTES)
        at, ended = at + len(data), not data


def _not_text(error: UnicodeDecodeError, codec: str, at: int, count: _LineEnds) -> ValueError:
    """The error for bytes that cannot be decoded; ``at`` is where in the file its bytes end."""
    data, start = error.object, error.start
    count.add(data[:start].decode(codec, "replace"))
    name = codec.upper().removesuffix("-LE").removesuffix("-BE")
    place = at - len(data) + start
    return ValueError(
        f"not {name}: line {count.ends + 1}: the byte 0x{data[start]:02x} at {place}: {error.reason}"
    )


class _LineEnds:
    """A count of the line ends in pieces of a text; CRLF is one."""

    def __init__(self) -> None:
        self.ends = 0
        self._after_return = False

    def add(self, piece: str) -> None:
        self.ends += piece.count("\n") + piece.count("\r") - piece.count("\r\n")
        if piece:
            self.ends -= self._after_return and piece[0] == "\n"
            self._after_return = piece[-1] == "\r"


def ended_lines(pieces: Iterable[str]) -> Iterator[str]:
    """Lines with their ends, as ``lines`` finds them, of the pieces of a text."""
    begun: list[str] = []  # parts of a line that has no end yet
    held = ""  # a carriage return at the end of a piece may be the first half of CRLF
    for piece in pieces:
        text = held + piece
        held = "\r" if text.endswith("\r") else ""
        # newline="" finds these three ends and no others.
        for line in io.StringIO(text.removesuffix("\r"), newline=""):
            if line[-1] not in "\r\n":
                begun.append(line)
            elif begun:
                yield "".join(begun) + line
                begun.clear()
            else:
                yield line
    if held or begun:
        yield "".join(begun) + held
