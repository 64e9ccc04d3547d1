"""Records of files of texts: lines, CSV, TSV or JSON lines. Every mistake is named with its line.

``decoding`` makes lines of bytes, ``tables`` rows of the lines of CSV and TSV; here each becomes a
text, and what is to be kept beside it. Nothing is read ahead of what is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import PurePath
from typing import Any, NamedTuple

from .._checks import shown
from . import tables
from .decoding import without_end

Value = str | int | float | bool | None
Lines = Iterable[str]

_DEFAULT = "text"  # the column that is read if none is named
_DELIMITERS = {",": "csv", ";": "", "\t": "tsv", "|": ""}
"""Characters that separate columns in some files, and the format that reads each."""
_SHOWN = 12  # names of columns in an error

QUOTING = ("auto", "none", "csv")
"""What quotation marks around fields mean: ``csv``: they are taken off, and what is between them may hold
delimiters and line ends (RFC 4180); ``none``: they are part of the text. ``auto`` is ``csv`` for CSV and
``none`` for TSV, which has no quotation (IANA text/tab-separated-values), and refuses what looks like the
other one."""


class Columns(NamedTuple):
    """What the options say about a file of columns."""

    column: str | None = None
    quoting: str = "auto"
    keep: tuple[str, ...] = ()
    """Columns or keys whose values are kept beside each text."""


class Record(NamedTuple):
    """One text of a file."""

    line: int
    """Number of its first line."""
    text: str
    kept: tuple[Value, ...] = ()


def records(lines: Lines, format: str, chosen: Columns) -> Iterator[Record]:
    """The records of a file in one of ``FORMATS``, given as lines with their ends; texts may be blank.

    Raises:
        ValueError: a column does not exist, a line is not CSV or JSON, a row has more or fewer fields than
            there are columns, a quotation is not closed, a text is not valid Unicode, or a value to be
            kept is a list or an object.
    """
    for record in FORMATS[format](lines, chosen):
        for text in (record.text, *record.kept):
            if isinstance(text, str) and not text.isascii():
                _check_unicode(text, record.line)
        yield record


def _check_unicode(text: str, line: int) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"line {line}: the text holds half of a surrogate pair") from None


def is_blank(text: str) -> bool:
    """Whether a text is empty or holds only white space."""
    return not text or text.isspace()


def format_of(name: str) -> str:
    """The format that the name of a file stands for."""
    suffix = PurePath(name).suffix.lower().removeprefix(".")
    other = {"ndjson": "jsonl", "json": "jsonl", "tab": "tsv"}
    return other.get(suffix, suffix if suffix in FORMATS else "lines")


def _plain_lines(lines: Lines, chosen: Columns) -> Iterator[Record]:
    for option, names in (("--column", chosen.column), ("--keep", chosen.keep)):
        if names:
            raise ValueError(f"plain lines have no columns: drop {option}, or say --format csv or jsonl")
    _refuse_quoting(chosen, "plain lines")
    for number, line in enumerate(lines, 1):
        yield Record(number, without_end(line))


def _refuse_quoting(chosen: Columns, what: str) -> None:
    if chosen.quoting != "auto":
        raise ValueError(f"{what} have no fields to quote: drop --quoting, or say --format csv or tsv")


def _table(
    lines: Lines,
    chosen: Columns,
    delimiter: str,
    rows: Callable[[Lines, str, bool], Iterator[tables.Row]],
) -> Iterator[Record]:
    """The texts of one column, where every record has as many fields as the first one."""
    automatic = chosen.quoting == "auto"
    if not automatic:
        rows = {"csv": tables.quoted, "none": tables.unquoted}[chosen.quoting]
    table = rows(lines, delimiter, automatic)
    header = next(table, (1, []))[1]
    place = _place(chosen.column, header, delimiter)
    places = _places(chosen.keep, header)
    blank: list[int] = []  # the lines after the last record that hold nothing
    for line, fields in table:
        if not fields:
            if len(header) == 1:
                blank.append(line)
            continue
        for before in blank:  # one blank field is written so, and its row must not get lost
            yield Record(before, "", ("",) * len(places))
        blank.clear()
        if len(fields) != len(header):
            only = "only " if len(fields) < len(header) else ""
            hint = "" if rows is tables.quoted else "; if fields are quoted as in CSV, say --quoting csv"
            raise ValueError(f"line {line}: {only}{len(fields)} of {len(header)} fields{hint}")
        yield Record(line, fields[place], tuple(fields[other] for other in places))


def _place(wanted: str | None, header: list[str], delimiter: str) -> int:
    if wanted is None:
        wanted = header[0] if len(header) == 1 else _DEFAULT
        other = [mark for mark in _DELIMITERS if mark != delimiter and mark in wanted]
        if other and len(header) == 1:
            known = _DELIMITERS[other[0]]
            hint = f"say --format {known}" if known else "write it with commas"
            raise ValueError(
                f"one column, {shown(wanted)}: if it is several, separated by {other[0]!r}, {hint}; "
                "if not, name it with --column"
            )
    if header.count(wanted) != 1:
        hint = "; to take quotation marks off, say --quoting csv" if f'"{wanted}"' in header else ""
        known = _shown(header)
        raise ValueError(f"no single column {shown(wanted)}; choose one with --column: {known}{hint}")
    return header.index(wanted)


def _places(keep: Sequence[str], header: list[str]) -> list[int]:
    wrong = [name for name in keep if header.count(name) != 1]
    if wrong:
        raise ValueError(f"--keep: no single column {_shown(wrong)}; there are: {_shown(header)}")
    return [header.index(name) for name in keep]


def _shown(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(map(shown, names[:_SHOWN])) or "none") + more


class _Wrong(ValueError):
    """A record of JSON lines holds a mistake."""


def _json_lines(lines: Lines, chosen: Columns) -> Iterator[Record]:
    _refuse_quoting(chosen, "JSON lines")
    key = chosen.column or _DEFAULT
    read_once = {key, *chosen.keep}

    def record(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):  # JSON itself would keep the last one, without an error
            names = [name for name, _ in pairs]
            for name in read_once:
                if names.count(name) > 1:
                    raise _Wrong(f"{shown(name)} is there twice")
        return made

    read = json.JSONDecoder(object_pairs_hook=record).decode
    unseen, known = set(chosen.keep), dict[str, None]()  # in the order met
    number = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = read(line)
        except _Wrong as error:
            raise ValueError(f"line {number}: {error}") from None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number}: not JSON ({error})") from error
        members = value if isinstance(value, dict) else {}
        if chosen.column is not None or not isinstance(value, str):
            value = _text(value, key, number)
        if unseen:
            unseen.difference_update(members)
            known.update(dict.fromkeys(members))
        yield Record(number, value, tuple(_scalar(members.get(name), name, number) for name in chosen.keep))
    if unseen and number:
        raise ValueError(f"--keep: no record has {_shown(sorted(unseen))}; there are: {_shown(known)}")


def _text(record: object, key: str, number: int) -> str:
    if not isinstance(record, dict) or key not in record:
        names = _shown(record) if isinstance(record, dict) else "no object"
        raise ValueError(f"line {number}: no {shown(key)}; choose one with --column: {names}")
    value: object = record[key]
    if not isinstance(value, str):
        raise ValueError(f"line {number}: {shown(key)} is of type {type(value).__name__}, not a text")
    return value


def _scalar(value: object, name: str, number: int) -> Value:
    if value is None or isinstance(value, (str, int, float)):  # bool is an int
        return value
    kind = {"dict": "an object", "list": "a list"}[type(value).__name__]
    raise ValueError(
        f"line {number}: {shown(name)} is {kind}, and --keep takes texts, numbers, true, false and null; "
        "leave it out"
    )


FORMATS: dict[str, Callable[[Lines, Columns], Iterator[Record]]] = {
    "lines": _plain_lines,
    "csv": partial(_table, delimiter=",", rows=tables.quoted),
    "tsv": partial(_table, delimiter="\t", rows=tables.unquoted),
    "jsonl": _json_lines,
}
"""The function that reads the records of each format."""
