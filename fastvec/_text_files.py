"""Texts from files: one a line, or a column of CSV or JSON lines. Every mistake is named with its line."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import PurePath
from typing import Any, NamedTuple, TextIO

_DEFAULT = "text"  # the column taken where none is named
_LONGEST_FIELD = 2**31 - 1  # the csv module's own limit, 128 KiB, is below what models take
_DELIMITERS = {",": "csv", ";": "", "\t": "tsv", "|": ""}
"""What separates columns somewhere, and the format that reads it."""
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)

QUOTING = ("auto", "none", "csv")
"""What quotation marks around fields mean: ``csv``: they are taken off, and what is between them may hold
delimiters and line ends (RFC 4180); ``none``: they are part of the text. ``auto`` is ``csv`` for CSV and
``none`` for TSV, which has no quotation (IANA text/tab-separated-values), and refuses what looks like the
other one."""


class Columns(NamedTuple):
    """What is said about a file of columns."""

    column: str | None = None
    quoting: str = "auto"


def decode(data: bytes) -> str:
    """The text of a file: UTF-8, or what its byte order mark says.

    Raises:
        ValueError: it is neither, or holds NUL characters, and on which line.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, "replace")
        name = "UTF-8" if encoding.startswith("utf-8") else encoding.upper()
        raise ValueError(f"not {name}: line {_line_ends(before) + 1}: {error}") from error
    place = text.find("\0")
    if place >= 0:
        raise ValueError(
            f"line {_line_ends(text[:place]) + 1} holds a NUL character: this is not a text file, or one in "
            "UTF-16 without a byte order mark; save it as UTF-8"
        )
    return text


def lines(text: str) -> Iterator[str]:
    """Lines without their ends, which are LF, CRLF or CR: other characters that end lines somewhere
    (U+2028, U+0085, form feed ...) are part of a text."""
    # newline="" finds these three and no others.
    return (line.removesuffix("\n").removesuffix("\r") for line in io.StringIO(text, newline=""))


def read_texts(file: TextIO, format: str, column: str | None, quoting: str = "auto") -> list[str]:
    """All texts of an open file in one of ``FORMATS``; ``quoting`` is one of ``QUOTING``.

    Raises:
        ValueError: a blank text, a column that is not there, what is not CSV or JSON, a row of more or
            fewer fields than there are columns, or a quotation that is not closed.
    """
    texts: list[str] = []
    for line, text in FORMATS[format](file, Columns(column, quoting)):
        if not text or text.isspace():
            raise ValueError(f"line {line}: the text is blank")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"line {line}: the text holds half of a surrogate pair") from None
        texts.append(text)
    return texts


def format_of(name: str) -> str:
    """The format that a file's name tells."""
    suffix = PurePath(name).suffix.lower().removeprefix(".")
    other = {"ndjson": "jsonl", "json": "jsonl", "tab": "tsv"}
    return other.get(suffix, suffix if suffix in FORMATS else "lines")


def _line_ends(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def _plain_lines(file: TextIO, chosen: Columns) -> Iterator[tuple[int, str]]:
    if chosen.column is not None:
        raise ValueError("plain lines have no columns: drop --column, or say --format csv or jsonl")
    _refuse_quoting(chosen, "plain lines")
    for number, line in enumerate(file, 1):
        yield number, line.removesuffix("\n").removesuffix("\r")


def _refuse_quoting(chosen: Columns, what: str) -> None:
    if chosen.quoting != "auto":
        raise ValueError(f"{what} have no fields to quote: drop --quoting, or say --format csv or tsv")


def _table(
    file: TextIO, chosen: Columns, delimiter: str, records: Callable[[TextIO, str, bool], Iterator[Record]]
) -> Iterator[tuple[int, str]]:
    """The texts of one column, where every record has as many fields as the first one."""
    automatic = chosen.quoting == "auto"
    if not automatic:
        records = {"csv": _quoted, "none": _unquoted}[chosen.quoting]
    found = records(file, delimiter, automatic)
    header = next(found, (1, []))[1]
    place = _place(chosen.column, header, delimiter)
    blank = 0  # the first of the blank lines after the last record
    for line, fields in found:
        if not fields:
            blank = blank or line
            continue
        if blank and len(header) == 1:  # one blank field is written so, and its row must not get lost
            raise ValueError(f"line {blank}: the text is blank")
        blank = 0
        if len(fields) != len(header):
            only = "only " if len(fields) < len(header) else ""
            hint = "" if records is _quoted else "; if fields are quoted as in CSV, say --quoting csv"
            raise ValueError(f"line {line}: {only}{len(fields)} of {len(header)} fields{hint}")
        yield line, fields[place]


Record = tuple[int, list[str]]  # number of its first line, and its fields: none if that line is blank


def _unquoted(file: TextIO, delimiter: str, automatic: bool) -> Iterator[Record]:
    for number, ended in enumerate(file, 1):
        line = ended.removesuffix("\n").removesuffix("\r")
        fields = line.split(delimiter) if line else []
        # A name of a column has quotation marks only where all fields have them.
        if automatic and any(_looks_quoted(field, any_marks=number == 1) for field in fields):
            raise ValueError(
                f"line {number}: a field looks quoted as in CSV: say --quoting csv to take the quotation "
                "marks off, or --quoting none to keep them"
            )
        yield number, fields


def _looks_quoted(field: str, any_marks: bool) -> bool:
    """Whether a field has the marks that a writer of CSV puts around it, and doubles within it."""
    if len(field) < 2 or not field.startswith('"') or not field.endswith('"'):
        return False
    inner = field[1:-1]
    return any_marks or not inner or ('"' in inner and '"' not in inner.replace('""', ""))


def _quoted(file: TextIO, delimiter: str, automatic: bool) -> Iterator[Record]:
    csv.field_size_limit(_LONGEST_FIELD)
    read: list[str] = []  # the lines of the record that is being read

    def taken() -> Iterator[str]:
        for line in file:
            read.append(line)
            yield line

    reader = csv.reader(taken(), delimiter=delimiter, strict=True)
    columns = 0
    while True:
        first = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            opened = _last_opened(read, delimiter)
            about = ""
            if opened is not None:
                about = (
                    f": the quotation that opens here does not end as in CSV, up to line {reader.line_num}"
                )
            raise ValueError(f"line {first + (opened or 0)}: not CSV{about} ({error})") from error
        if fields is None:
            return
        columns = columns or len(fields)
        if automatic and len(read) > 1 and columns > 1 and _each_a_record(read, delimiter, columns):
            raise ValueError(
                f"line {first}: the quotation that opens here ends at line {reader.line_num}, and each of "
                "these lines looks like a record itself: say --quoting csv if they are one record, or "
                "--quoting none if quotation marks are part of the texts"
            )
        read.clear()
        yield first, fields


def _each_a_record(read: list[str], delimiter: str, columns: int) -> bool:
    """Whether the lines of one record look like as many records, whose first text opens with a mark.

    Within a quotation, marks are doubled, a space follows a comma, and words are where numbers were.
    """
    rows = [line.rstrip("\r\n").split(delimiter) for line in read]
    if any(len(row) != columns for row in rows) or any('""' in line for line in read):
        return False
    text = next((place for place, field in enumerate(rows[0]) if field.startswith('"')), 0)
    shapes = [[_shape(field, place == text) for place, field in enumerate(row)] for row in rows]
    return all(shape == shapes[0] for shape in shapes)


def _shape(field: str, is_text: bool) -> str:
    if is_text:
        return " " if field[:1].isspace() else ""
    return re.sub(r"\d+", "9", re.sub(r"[^\W\d_]+", "a", field))


def _last_opened(read: list[str], delimiter: str) -> int | None:
    """On which of the lines of one record the last of its quotations opens; None if there are none."""
    opened, place = None, "start"  # of a field; then "plain", "quoted" or "closed"
    for number, line in enumerate(read):
        for letter in line:
            if place == "quoted":
                place = "closed" if letter == '"' else "quoted"
            elif letter == '"' and place in ("start", "closed"):
                # Of a closed quotation it is the second of two marks that stand for one.
                opened = number if place == "start" else opened
                place = "quoted"
            elif letter == delimiter:
                place = "start"
            elif place == "closed":
                return opened
            else:
                place = "plain"
    return opened


def _place(wanted: str | None, header: list[str], delimiter: str) -> int:
    if wanted is None:
        wanted = header[0] if len(header) == 1 else _DEFAULT
        other = [mark for mark in _DELIMITERS if mark != delimiter and mark in wanted]
        if other and len(header) == 1:
            known = _DELIMITERS[other[0]]
            hint = f"say --format {known}" if known else "write it with commas"
            raise ValueError(
                f"one column, {wanted!r}: if it is several, separated by {other[0]!r}, {hint}; "
                "if not, name it with --column"
            )
    if header.count(wanted) != 1:
        there = ", ".join(map(repr, header)) or "none"
        hint = "; to take quotation marks off, say --quoting csv" if f'"{wanted}"' in header else ""
        raise ValueError(f"no single column {wanted!r}; choose one with --column: {there}{hint}")
    return header.index(wanted)


class _Twice(ValueError):
    """A record that gives two values for the column of the texts."""


def _json_lines(file: TextIO, chosen: Columns) -> Iterator[tuple[int, str]]:
    _refuse_quoting(chosen, "JSON lines")
    key = chosen.column or _DEFAULT

    def record(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if sum(name == key for name, _ in pairs) > 1:  # JSON itself would keep the last one, in silence
            raise _Twice(f"{key!r} is there twice")
        return dict(pairs)

    read = json.JSONDecoder(object_pairs_hook=record).decode
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            value = read(line)
        except _Twice as error:
            raise ValueError(f"line {number}: {error}") from None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number}: not JSON ({error})") from error
        if chosen.column is not None or not isinstance(value, str):
            value = _member(value, key, number)
        yield number, value


def _member(record: object, key: str, number: int) -> str:
    if not isinstance(record, dict) or key not in record:
        there = ", ".join(map(repr, record)) if isinstance(record, dict) else "no object"
        raise ValueError(f"line {number}: no {key!r}; choose one with --column: {there}")
    value: object = record[key]
    if not isinstance(value, str):
        raise ValueError(f"line {number}: {key!r} is of type {type(value).__name__}, not a text")
    return value


FORMATS: dict[str, Callable[[TextIO, Columns], Iterable[tuple[int, str]]]] = {
    "lines": _plain_lines,
    "csv": partial(_table, delimiter=",", records=_quoted),
    "tsv": partial(_table, delimiter="\t", records=_unquoted),
    "jsonl": _json_lines,
}
"""Line number and text of each record, by the name of the format."""
