"""Texts from files that other systems write: marks, line ends, quotation marks, columns."""

import io
import json

import click
import pytest

from fastvec import _text_files
from fastvec._text_files import decode, format_of, lines, read_texts
from fastvec.commands import options


def read(data, format, column=None, quoting="auto"):
    file = io.StringIO(decode(data if isinstance(data, bytes) else data.encode()), newline="")
    return read_texts(file, format, column, quoting)


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


def test_lines_that_hold_nothing_are_passed_over_where_none_can_be_lost():
    assert read("id,text\n1,king\n\n2,queen\n\n", "csv") == ["king", "queen"]
    assert read("text\nking\n\n\n", "csv") == ["king"]
    assert read('\n{"text": "king", "other": NaN}\r\n\n', "jsonl") == ["king"]


def test_the_first_line_of_a_record_is_named():
    with pytest.raises(ValueError, match="line 3: the text is blank"):
        read('text,id\nking,"1\n"\n', "csv") and read('a,text\n1,x\n"2\n\n"," "\n', "csv")


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
    assert format in _text_files.FORMATS
