"""Words and columns as lines of JSON, and values that are iterated while they are written."""

import json
import math

import pytest

from fastvec.files import FileError, columns, json_lines, streams

MANY = 1300
"""Values of three blocks."""
WORDS = tuple(f"word {number}" for number in range(MANY))


def lines_of(words, **more):
    return b"".join(json_lines.blocks_of(words, **more))


def test_words_come_back_from_lines():
    odd = ('a"b', "a\nb", ',\n"', "é\u2028", "", "\\", "\x00", "😀")
    for words in ((), ("a",), (*odd, *WORDS), WORDS[:512], WORDS[:513]):
        data = lines_of(words)
        assert data.count(b"\n") == len(words)
        assert json_lines.load("words", data) == words
        assert json_lines.load("words", b"\xef\xbb\xbf" + data) == words
    assert json_lines.load("words", b"\n") == ()
    assert json_lines.load("words", b'"a"\n7\n', integers=True) == ("a", 7)
    halves = ("a", "\ud800", "\udc00 b")
    assert json_lines.load("words", lines_of(halves)) == halves
    with pytest.raises(ValueError, match=r"words\[1203\] is .*: two halves of a surrogate pair"):
        lines_of((*WORDS[:3], "\ud83d\ude00"), first=1200)
    with pytest.raises(ValueError, match=r"words\[1100\] is .*: two halves"):
        lines_of((*WORDS[:1100], "\ud83d\ude00"))
    assert [columns.halved(text) for text in ("é", "\ud800", "a\udfff", "\ue000", "a")] == [
        *(False, True, True, False, False)
    ]


@pytest.mark.parametrize("row", [0, 3, 511, 512, MANY - 1])
def test_a_line_that_is_no_word_is_named(row):
    lines = lines_of(WORDS).splitlines(keepends=True)
    for wrong, said in (
        (b"7\n", "a int; every line must be a string"),
        (b"null\n", "a NoneType; every line must be a string"),
        (b'"a", "b"\n', "not JSON .* every line must be a string"),
        (b"word\n", "not JSON"),
        (b"\n", "not JSON"),
        (b'"\xff"\n', "not JSON"),
    ):
        with pytest.raises(FileError, match=said) as caught:
            json_lines.load("words", b"".join([*lines[:row], wrong, *lines[row + 1 :]]))
        assert caught.value.row == row
    with pytest.raises(FileError, match="a bool") as caught:
        json_lines.load("words", b"".join([*lines[:row], b"true\n", *lines[row + 1 :]]), integers=True)
    assert caught.value.row == row


def test_what_may_be_lines_of_words():
    for data, cut, right in (
        (b'"a"\n"b"\n', False, True),
        (b'"a"\n"b', True, True),
        (b'"a"\n"b', False, False),
        (b'"a"\n', True, True),
        (b"", True, True),
        (b"", False, True),
        (b'"a"\nb', True, False),
        (b"7\n", False, False),
        (b'"a"\n7\n"b"\n', True, False),
        (b'\xef\xbb\xbf"a"\n', False, True),
        (b'  "a', True, True),
        (b"secret", True, False),
    ):
        assert json_lines.are_words(data, cut) == right, (data, cut)


VALUES = {
    "a %d é": tuple(range(-5, MANY - 5)),
    "text": tuple(f"t,\n{number}" for number in range(MANY)),
    "mixed": (True, None, 1.5, math.inf, -math.inf, "x", -(1 << 70), *range(MANY - 7)),
}


def written(values):
    return columns.checked_columns(values, len(next(iter(values.values()))))


def test_columns_come_back_from_lines():
    checked = written(VALUES)
    data = b"".join(columns.lines(checked))
    assert data.count(b"\n") == MANY
    assert "é" in data.decode()
    read = columns.load("columns", data, tuple(VALUES), MANY, "again")
    assert read == VALUES
    assert [[*map(type, read[name])] for name in VALUES] == [[*map(type, VALUES[name])] for name in VALUES]
    mixed = checked["mixed"]
    assert mixed.kinds == {bool, float, str, int}
    assert (mixed.least, mixed.most, mixed.exact) == (-(1 << 70), MANY - 8, False)
    numbers = checked["a %d é"]
    assert (numbers.kinds, numbers.least, numbers.most, numbers.exact) == ({int}, -5, MANY - 6, True)
    for value, exact in (
        (1 << 53, True),
        ((1 << 53) + 1, False),
        (-(1 << 53), True),
        (-(1 << 53) - 1, False),
    ):
        for place in (0, 600):
            values = [None] * MANY
            values[place] = value
            (column,) = written({"n": values}).values()
            assert (column.kinds, column.exact) == ({int}, exact)
            assert (column.least, column.most) == (min(value, 0), max(value, 0))
    assert written({"n": [math.nan, 1.0]})["n"].values == (None, 1.0)


@pytest.mark.parametrize("row", [0, 511, 512, MANY - 1])
def test_a_line_that_is_no_row_of_columns_is_named(row):
    lines = [json.dumps({"a": number, "b": None}).encode() + b"\n" for number in range(MANY)]

    def load(wrong, rows=MANY):
        data = b"".join([*lines[:row], wrong, *lines[row + 1 :]])
        return columns.load("columns", data, ("a", "b"), rows, "again")

    for wrong, said in (
        (b'{"a": 1}\n', "not an object with exactly the keys 'a', 'b'; again"),
        (b'{"a": 1, "b": 2, "c": 3}\n', "not an object with exactly the keys"),
        (b'["a", "b"]\n', "not an object with exactly the keys"),
        (b'{"a": 1, "b": [2]}\n', "'b' is a list, not one value; again"),
        (b'{"a": {}, "b": 2}\n', "'a' is a dict, not one value"),
        (b'{"a": NaN, "b": 2}\n', "not JSON .*NaN is not a JSON number"),
        (b'{"a": 1, "b": 2}, {"a": 1, "b": 2}\n', "not JSON"),
    ):
        with pytest.raises(FileError, match=said) as caught:
            load(wrong)
        assert caught.value.row == row
    for rows in (MANY - 1, MANY + 1):
        with pytest.raises(FileError, match=f"{MANY} lines for {rows} vectors; again"):
            load(lines[row], rows)
    values = ["x"] * MANY
    values[row] = "\ud800"
    with pytest.raises(ValueError, match=rf"columns\['a'\]\[{row}\] is .*half of a surrogate pair"):
        written({"a": values})


class Few:
    """What says another length than it has."""

    def __init__(self, said, has):
        self._said, self._has = said, has

    def __len__(self):
        return self._said

    def __iter__(self):
        return iter(WORDS[: self._has])


def test_values_that_are_iterated_several_times():
    stream = streams.Stream(Few(3, 3), "words", lambda value, name, position: (value, name, position))
    right = [(word, "words", position) for position, word in enumerate(WORDS[:3])]
    assert ([*stream], [*stream], len(stream)) == (right, right, 3)
    assert [*streams.Stream(Few(0, 0), "words", lambda *value: value)] == []
    for said, has, but in ((3, 2, "2"), (3, 4, "more"), (0, 1, "more"), (2, 0, "0")):
        with pytest.raises(ValueError, match=f"words has a length of {said}, but yields {but} when"):
            [*streams.Stream(Few(said, has), "words", lambda *value: value)]
    assert streams.streams(Few(1, 1))
    for other in ([], (), "ab", b"ab", {1}, iter([]), 7, (one for one in [])):
        assert not streams.streams(other)
    assert [len(block) for block in streams.blocks(WORDS)] == [512, 512, 276]
    assert [len(block) for block in streams.blocks(WORDS, 650)] == [650, 650]
    assert [*streams.blocks(())] == []
    assert [streams.may_repeat(words) for words in (WORDS, (*WORDS, WORDS[7]), ("a", "a"), (), ("a",))] == [
        *(False, True, True, False, False)
    ]


def test_how_much_is_written_is_told(monkeypatch):
    from fastvec.kernels import reports

    told = []
    monkeypatch.setattr(reports, "tell", lambda *at: told.append(at))
    assert sum(map(len, streams.written(WORDS))) == MANY
    assert told == [(512, MANY), (1024, MANY), (MANY, MANY)]
