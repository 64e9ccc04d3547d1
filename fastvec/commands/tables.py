"""Rows of CSV and TSV: fields between delimiters, with or without quotation. No row gets lost unnoticed."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator

from .decoding import without_end

_LONGEST_FIELD = 1 << 24  # letters: more than models take, and what a quotation without an end may hold

Row = tuple[int, list[str]]
"""Number of its first line, and its fields: none if that line is blank."""


def unquoted(lines: Iterable[str], delimiter: str, automatic: bool) -> Iterator[Row]:
    """Rows of lines whose quotation marks are part of the fields; ``automatic``: no option says so."""
    for number, ended in enumerate(lines, 1):
        line = without_end(ended)
        fields = line.split(delimiter) if line else []
        # A name of a column has quotation marks only where all fields have them.
        if automatic and any(_looks_quoted(field, any_marks=number == 1) for field in fields):
            raise ValueError(
                f"line {number}: a field looks quoted as in CSV: say --quoting csv to take the quotation "
                "marks off, or --quoting none to keep them"
            )
        yield number, fields


def _looks_quoted(field: str, any_marks: bool) -> bool:
    """Whether a field is quoted as in CSV: marks around it, and doubled marks within it."""
    if len(field) < 2 or not field.startswith('"') or not field.endswith('"'):
        return False
    inner = field[1:-1]
    return any_marks or not inner or ('"' in inner and '"' not in inner.replace('""', ""))


def quoted(lines: Iterable[str], delimiter: str, automatic: bool) -> Iterator[Row]:
    """Rows whose quotation marks are taken off; ``automatic``: no option says so."""
    csv.field_size_limit(_LONGEST_FIELD)
    read: list[str] = []  # the lines of the record that is being read

    def taken() -> Iterator[str]:
        for line in lines:
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
    """Whether each line of one record looks like a record itself, whose first text opens with a mark.

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
    """The line of a record on which its last quotation opens; None if it has no quotation."""
    opened, place = None, "start"  # of a field; then "plain", "quoted" or "closed"
    for number, line in enumerate(read):
        for letter in line:
            if place == "quoted":
                place = "closed" if letter == '"' else "quoted"
            elif letter == '"' and place in ("start", "closed"):
                # After a closed quotation, this is the second of two marks that stand for one.
                opened = number if place == "start" else opened
                place = "quoted"
            elif letter == delimiter:
                place = "start"
            elif place == "closed":
                return opened
            else:
                place = "plain"
    return opened
