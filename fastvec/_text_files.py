"""Texts from files: one a line, or a column of CSV or JSON lines. Every mistake is named with its line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath
from typing import TextIO

_DEFAULT = "text"  # the column taken where none is named
_LONGEST_FIELD = 2**31 - 1  # the csv module's own limit, 128 KiB, is below what models take


def read_texts(file: TextIO, format: str, column: str | None) -> list[str]:
    """All texts of an open file in one of ``FORMATS``.

    Raises:
        ValueError: a blank text, a column that is not there, what is no CSV or JSON.
    """
    texts: list[str] = []
    for line, text in FORMATS[format](file, column):
        if not text or text.isspace():
            raise ValueError(f"line {line}: the text is blank")
        texts.append(text)
    return texts


def format_of(name: str) -> str:
    """The format that a file's name tells."""
    suffix = PurePath(name).suffix.lower().removeprefix(".")
    return {"ndjson": "jsonl"}.get(suffix, suffix if suffix in FORMATS else "lines")


def _lines(file: TextIO, column: str | None) -> Iterator[tuple[int, str]]:
    if column is not None:
        raise ValueError("plain lines have no columns: drop --column, or say --format csv or jsonl")
    for number, line in enumerate(file, 1):
        yield number, line.removesuffix("\n").removesuffix("\r")


def _table(file: TextIO, column: str | None, delimiter: str) -> Iterator[tuple[int, str]]:
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        place = header.index(_column(column, header))
        for fields in reader:
            if fields:  # a blank line between records
                if len(fields) <= place:
                    raise ValueError(f"line {reader.line_num}: only {len(fields)} of {len(header)} fields")
                yield reader.line_num, fields[place]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: not CSV ({error})") from error


def _column(wanted: str | None, header: list[str]) -> str:
    if wanted is None:
        wanted = header[0] if len(header) == 1 else _DEFAULT
    if header.count(wanted) != 1:
        there = ", ".join(map(repr, header)) or "none"
        raise ValueError(f"no single column {wanted!r}; choose one with --column: {there}")
    return wanted


def _json_lines(file: TextIO, column: str | None) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number}: not JSON ({error})") from error
        if column is not None or not isinstance(value, str):
            value = _member(value, column or _DEFAULT, number)
        yield number, value


def _member(record: object, key: str, number: int) -> str:
    if not isinstance(record, dict) or key not in record:
        there = ", ".join(map(repr, record)) if isinstance(record, dict) else "no object"
        raise ValueError(f"line {number}: no {key!r}; choose one with --column: {there}")
    value: object = record[key]
    if not isinstance(value, str):
        raise ValueError(f"line {number}: {key!r} is of type {type(value).__name__}, not a text")
    return value


FORMATS: dict[str, Callable[[TextIO, str | None], Iterable[tuple[int, str]]]] = {
    "lines": _lines,
    "csv": lambda file, column: _table(file, column, ","),
    "tsv": lambda file, column: _table(file, column, "\t"),
    "jsonl": _json_lines,
}
"""Line number and text of each record, by the name of the format."""
