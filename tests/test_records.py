"""Texts from files that other systems write: marks, line ends, quotation marks, columns."""

import io
import json
import tempfile

import click
import pytest

from fastvec.commands import decoding, options, tables
from fastvec.commands.decoding import decode, ended_lines, lines, pieces
from fastvec.commands.kept_columns import Kinds
from fastvec.commands.records import FORMATS, Columns, format_of, records
from fastvec.commands.text_input import TextInput
from fastvec.models import Model


def read_records(data, format, column=None, quoting="auto", keep=()):
    file = io.BytesIO(data if isinstance(data, bytes) else data.encode())
    return list(records(ended_lines(pieces(file)), format, Columns(column, quoting, tuple(keep))))


def read(data, format, column=None, quoting="auto"):
    """All texts, checked as `fastvec embed` does."""
    with tempfile.TemporaryFile() as file:
        file.write(data if isinstance(data, bytes) else data.encode())
        file.seek(0)
        texts = TextInput(file, "in", format, Columns(column, quoting))
        texts.check(Model("m"), "", skip_empty=False, skip_too_long=False, progress=lambda done, total: None)
        return list(texts.texts())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(encoding):
    assert decode("男人\nqueen".encode(encoding)) == "男人\nqueen"


@pytest.mark.parametrize("order", ["le", "be"])
@pytest.mark.parametrize("bits", [16, 32])
def test_marks_of_both_byte_orders(bits, order):
    assert decode("\ufeff男人\n".encode(f"utf-{bits}-{order}")) == "男人\n"


NOT_TEXT = {
    "a wrong byte": (b"king\r\nqu\xffen\n", r"not UTF-8: line 2: .* byte 0xff"),
    "Latin-1": ("Köln\n".encode("latin-1"), "not UTF-8: line 1"),
    "half of UTF-16": ("\ufeffking".encode("utf-16-le")[:-1], "not UTF-16: line 1"),
    "UTF-16 without a mark": ("king\n".encode("utf-16-le"), "line 1 holds a NUL character: .*UTF-16"),
    "NUL": (b"king\rqueen\n\nm\0an", "line 4 holds a NUL character"),
}


@pytest.mark.parametrize("case", NOT_TEXT)
def test_what_is_not_text_is_refused_with_its_line(case):
    data, message = NOT_TEXT[case]
    with pytest.raises(ValueError, match=message):
        decode(data)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 20])
def test_pieces_of_any_size_are_the_same_text_and_the_same_lines(monkeypatch, size):
    monkeypatch.setattr(decoding, "_PIECE_BYTES", size)
    texts = ["", "a", "\r", "\n", "\r\n", "a\r\nb\rc\n\r猫😀\u2028d\n\ne\r", "\n\r\r\n\r", "no end"]
    for text in texts:
        for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
            data = text.encode(encoding)
            assert decode(data) == text
            assert list(ended_lines(pieces(io.BytesIO(data)))) == list(io.StringIO(text, newline=""))
    for data, message in NOT_TEXT.values():
        with pytest.raises(ValueError, match=message):
            decode(data)


def test_a_wrong_byte_is_named_with_its_place_in_the_file(monkeypatch):
    monkeypatch.setattr(decoding, "_PIECE_BYTES", 3)
    with pytest.raises(ValueError, match="line 2: the byte 0xff at 10: invalid start byte"):
        decode(b"\xef\xbb\xbfking\r\nq\xffueen\n")


OTHER_ENDS = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_lines_end_at_line_feed_and_carriage_return_alone(end, last):
    texts = [f"a{letter}b" for letter in OTHER_ENDS]
    text = end.join(texts) + end * last
    assert list(lines(text)) == texts
    assert read(text, "lines") == texts
    assert read("text" + end + text, "csv") == texts
    assert read(f"id\ttext{end}" + end.join(f"{n}\t{t}" for n, t in enumerate(texts)), "tsv") == texts
    assert read(end.join(json.dumps(t, ensure_ascii=False) for t in texts), "jsonl") == texts


QUOTED_LINES = ['"Hello', "king", 'queen"', 'the "best" one', '"', 'man"', '"whole"']


@pytest.mark.parametrize("columns", [1, 2])
def test_quotation_marks_of_tsv_are_part_of_the_text(columns):
    rows = ["text", *QUOTED_LINES] if columns == 1 else ["text\tid", *(f"{t}\t7" for t in QUOTED_LINES)]
    assert read("\n".join(rows) + "\n", "tsv") == QUOTED_LINES
    assert read("\r\n".join(rows), "tsv", quoting="none") == QUOTED_LINES


def test_quotation_marks_of_csv_are_taken_off_if_told_so_or_not():
    text = 'id,text\n1,"two\nlines, ""quoted"""\r\n2,four\n'
    assert read(text, "csv") == ['two\nlines, "quoted"', "four"]
    assert read(text.replace(",", "\t"), "tsv", quoting="csv") == ['two\nlines\t "quoted"', "four"]
    assert read('id,text\n1,"a\n2,b"\n', "csv", quoting="none") == ['"a', 'b"']
    assert read('id,text\n7,"Main Street\nParis, France"\n', "csv") == ["Main Street\nParis, France"]
    assert read('id,text\n7,"Main Street\nParis,France"\n', "csv") == ["Main Street\nParis,France"]
    assert read('text,id\n"one,\ntwo",7\n', "csv") == ["one,\ntwo"]


LOST = {
    "never closed": ("csv", 'id,text\n1,king\n2,"queen\n3,man\n4,woman\n', "line 3: not CSV: the q"),
    "the second one is not closed": ("csv", 'a,text\n"x\ny","king\nz\n', "line 3: not CSV: the q"),
    "never closed, one column": ("csv", 'text\nking\n"queen\nman\n', "line 3: not CSV: the q"),
    "closed by another's mark": ("csv", 'text\nking\n"queen\nman\n"woman" says\n', "line 3: not CSV: the q"),
    "a doubled mark at the end": ("csv", 'text\n"king""\nqueen\n', "line 2: not CSV: the q"),
    "something behind": ("csv", 'text\n"king" he said\nqueen\n', "line 2: not CSV: the q"),
    "whole records within": (
        "csv",
        'id,text\n1,"king\n2,queen\n3,man"\n4,woman\n',
        "line 2: .* --quoting csv",
    ),
    "quoted tsv": ("tsv", 'id\ttext\n1\tking\n2\t"the ""best"" one"\n', "line 3: .*looks quoted as in CSV"),
    "an empty quotation": ("tsv", 'text\nking\n""\n', "line 3: .*looks quoted as in CSV"),
    "a quoted line end": ("tsv", 'id\ttext\n1\t"two\nlines"\n', "line 3: only 1 of 2 fields; .*csv"),
    "quoted names": ("tsv", '"id"\t"text"\n1\t"king"\n', "line 1: a field looks quoted as in CSV"),
    "a quoted name": ("tsv", '"text"\n"king"\n', "line 1: a field looks quoted as in CSV"),
    "names quoted after all": ("csv", 'id,"text\n1,king\n', "line 1: not CSV: the quotation"),
    "a tab within a text": ("tsv", "text\tid\nking\t1\nqueen\tman\t2\n", "line 3: 3 of 2 fields"),
    "a comma within a text": ("csv", "text,id\nking,1\nqueen,man,2\n", "line 3: 3 of 2 fields"),
    "names of rows": ("csv", "id,text\n1,7,king\n", "line 2: 3 of 2 fields"),
    "a blank field": ("csv", "text\nking\n\nqueen\n", "line 3: the text is blank"),
    "semicolons": ("csv", "id;text\n1;king\n", "if it is several, separated by ';'"),
    "tabs": ("csv", "id\ttext\n1\tking\n", "--format tsv"),
    "two values": (
        "jsonl",
        '{"text": "king"}\n{"text": "a", "text": "b"}\n',
        "line 2: 'text' is there twice",
    ),
    "half of a pair": ("jsonl", '"king"\n"\\ud800"\n', "line 2: the text holds half of a surrogate pair"),
    "too deep": ("jsonl", "[" * 100_000 + "\n", "line 1: not JSON"),
    "a number of many digits": ("jsonl", '{"text": 1' + "0" * 5000 + "}\n", "line 1: not JSON"),
    "not a number": ("jsonl", '{"text": NaN}\n', "line 1: 'text' is of type float"),
    "quoting of lines": ("lines", "king\n", None),
}


@pytest.mark.parametrize("case", LOST)
def test_what_would_lose_rows_is_refused_with_its_line(case):
    format, text, message = LOST[case]
    if message is None:
        with pytest.raises(ValueError, match="drop --quoting"):
            read(text, format, quoting="csv")
    else:
        with pytest.raises(ValueError, match=message):
            read(text, format)


def test_what_looks_like_lost_rows_is_taken_as_told():
    text = 'id,text\n1,"king\n2,queen\n3,man"\n4,woman\n'
    assert read(text, "csv", quoting="csv") == ["king\n2,queen\n3,man", "woman"]
    assert read(text, "csv", quoting="none") == ['"king', "queen", 'man"', "woman"]
    assert read('text\nthe\n"""best"""\n', "tsv", quoting="none") == ["the", '"""best"""']
    assert read("a;b\nking\n", "csv", column="a;b") == ["king"]


@pytest.mark.parametrize(
    ("format", "text", "column", "keep"),
    [
        ("csv", "{0},b\n1,2\n", None, ()),
        ("csv", "{0};b\n1\n", None, ()),
        ("csv", "{0},text\n1,2\n", None, ["none"]),
        ("csv", '{0},"{0}"\n1,2\n', "{0}", ()),
        ("jsonl", '{{"{0}": 1}}\n', None, ()),
        ("jsonl", '{{"{0}": 1}}\n', "{0}", ()),
        ("jsonl", '{{"{0}": "a", "{0}": "b"}}\n', "{0}", ()),
        ("jsonl", '{{"text": "a", "{0}": [1]}}\n', None, ["{0}"]),
        ("jsonl", '{{"text": "a", "{0}": 1}}\n', None, ["none"]),
    ],
)
def test_a_long_name_of_a_column_is_shortened_where_it_is_named(format, text, column, keep):
    name = "n" * 100_000
    text, column, keep = text.format(name), column and column.format(name), [key.format(name) for key in keep]
    with pytest.raises(ValueError, match=r"n\.\.\.n") as caught:
        read_records(text, format, column, keep=keep)
    assert len(str(caught.value)) < 500


def test_a_field_may_be_long():
    long = "x" * 200_000
    assert read(f"text\n{long}\n", "csv") == [long]


def test_lines_that_hold_nothing_are_passed_over_where_none_can_be_lost():
    assert read("id,text\n1,king\n\n2,queen\n\n", "csv") == ["king", "queen"]
    assert read("text\nking\n\n\n", "csv") == ["king"]
    assert read('\n{"text": "king", "other": NaN}\r\n\n', "jsonl") == ["king"]


def test_the_first_line_of_a_record_is_named():
    with pytest.raises(ValueError, match="line 3: the text is blank"):
        read('text,id\nking,"1\n"\n', "csv") and read('a,text\n1,x\n"2\n\n"," "\n', "csv")


def test_a_blank_field_is_a_record_where_a_blank_line_may_be_one():
    actual = read_records("text\nking\n\n\nqueen\n\n", "csv")
    assert [(record.line, record.text) for record in actual] == [(2, "king"), (3, ""), (4, ""), (5, "queen")]


def test_words_of_the_command_line_are_lines():
    file = io.BytesIO(f"a{OTHER_ENDS}b\r\n king \n\nking\rqueen".encode("utf-16"))
    assert options.words_of(["man"], file) == [f"a{OTHER_ENDS}b", "king", "queen", "man"]
    file = io.BytesIO(b"king\nqu\xffen")
    file.name = "words.txt"
    with pytest.raises(click.UsageError, match=r"words.txt: not UTF-8: line 2"):
        options.words_of([], file)


@pytest.mark.parametrize(
    ("name", "format"),
    [("a.CSV", "csv"), ("a.tab", "tsv"), ("a.json", "jsonl"), ("a.ndjson", "jsonl"), ("a.csv.txt", "lines")],
)
def test_formats_by_suffix(name, format):
    assert format_of(name) == format
    assert format in FORMATS


KEPT = {
    "csv": ("id,text,year\n7,king,2020\n8,queen,\n", [("2020", "7"), ("", "8")]),
    "tsv": ("id\ttext\tyear\n7\tking\t2020\n8\tqueen\t\n", [("2020", "7"), ("", "8")]),
    "jsonl": (
        '{"id": 7, "text": "king", "year": 2.5}\n{"text": "queen", "id": null}\n',
        [(2.5, 7), (None, None)],
    ),
}


@pytest.mark.parametrize("format", KEPT)
def test_columns_come_along_in_the_order_asked_for(format):
    data, kept = KEPT[format]
    assert [record.kept for record in read_records(data, format, keep=["year", "id"])] == kept


NOT_KEPT = {
    "lines": ("lines", "king\n", ["id"], "plain lines have no columns: drop --keep"),
    "no such columns": ("csv", "id,text\n1,king\n", ["a", "id", "b"], "'a', 'b'; there are: 'id', 'text'"),
    "two such columns": ("csv", "id,text,id\n1,king,2\n", ["id"], "no single column 'id'"),
    "no such keys": (
        "jsonl",
        '{"text": "king", "id": 1}\n{"text": "queen", "title": 1}\n',
        ["title", "b", "a"],
        "no record has 'a', 'b'; there are: 'text', 'id', 'title'",
    ),
    "a list": ("jsonl", '"king"\n{"text": "queen", "id": [1]}\n', ["id"], "line 2: 'id' is a list"),
    "an object": ("jsonl", '{"text": "king", "id": {}}\n', ["id"], "line 1: 'id' is an object"),
    "two values": ("jsonl", '{"text": "king", "id": 1, "id": 2}\n', ["id"], "line 1: 'id' is there twice"),
    "half a pair": (
        "jsonl",
        '{"text": "king", "id": "\\ud800"}\n',
        ["id"],
        "line 1: .*half of a surrogate pair",
    ),
}


@pytest.mark.parametrize("case", NOT_KEPT)
def test_what_cannot_come_along_is_refused(case):
    format, data, keep, message = NOT_KEPT[case]
    with pytest.raises(ValueError, match=message):
        read_records(data, format, keep=keep)


def test_a_quotation_without_an_end_is_not_read_to_the_end_of_a_large_file(monkeypatch):
    monkeypatch.setattr(tables, "_LONGEST_FIELD", 1000)
    read = []

    def lines_without_end():
        while True:
            read.append(len(read))
            assert len(read) < 100
            yield 'id,"text\n' if len(read) == 2 else "id,text of thirty letters or so\n"

    with pytest.raises(ValueError, match="line 2: not CSV: the quotation that opens here"):
        list(records(lines_without_end(), "csv", Columns("text of thirty letters or so")))


@pytest.mark.parametrize(
    ("values", "written"),
    [
        (["2020", "", "-7", "0"], [2020, None, -7, 0]),
        (["2020", "2.5"], [2020.0, 2.5]),
        (["007", "12"], ["007", "12"]),
        (["1.50", "2.5"], ["1.50", "2.5"]),
        (["1", "one"], ["1", "one"]),
        (["9007199254740993", "1"], [9007199254740993, 1]),
        (["9007199254740993", "1.5"], ["9007199254740993", "1.5"]),
        (["9223372036854775808"], ["9223372036854775808"]),
        (["nan", "inf"], ["nan", "inf"]),
        (["1_000", " 1", "\u0661"], ["1_000", " 1", "\u0661"]),
        (["", ""], ["", ""]),
        (["true"], ["true"]),
    ],
)
def test_fields_become_numbers_if_no_digit_gets_lost(values, written):
    actual = converted(values, typed=False)
    assert (actual, [*map(type, actual)]) == (written, [*map(type, written)])


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ([2020, None, -7], [2020, None, -7]),
        ([2020, 2.5], [2020.0, 2.5]),
        ([True, None, False], [True, None, False]),
        ([True, 1], ["true", "1"]),
        ([1, "one", None, ""], ["1", "one", None, ""]),
        (["1", "2"], ["1", "2"]),
        ([2**53 + 1, 1.5], ["9007199254740993", "1.5"]),
        ([2**63], ["9223372036854775808"]),
        ([float("nan"), 1.5], ["NaN", "1.5"]),
        ([None], [None]),
    ],
)
def test_values_of_json_keep_their_type_if_all_of_a_column_have_it(values, written):
    actual = converted(values, typed=True)
    assert (actual, [*map(type, actual)]) == (written, [*map(type, written)])


def converted(values, *, typed):
    kinds = Kinds(1, typed=typed)
    for value in values:
        kinds.meet([value])
    return [kinds.converted(value, 0) for value in values]
