"""Every format: exact round trips, recognition by content, and errors that name the file and the place."""

import errno
import json
import mmap
import os
import pickle
import re
import stat

import numpy as np
import pytest
from assertions import assert_same_bits
from data import hashed, mixed
from hypothesis import given
from hypothesis import strategies as st

import fastvec
from fastvec import Vocabulary, files
from fastvec.files import FORMATS, FileError, Format, Labeled, vector_sets
from fastvec.files.formats import anything, begins

WORDS = ("king", "queen", "男人", "naïve", "x\u2028y", "42", "3.5e1", "'\"\\")
PLAIN = [name for name in FORMATS if FORMATS[name].words_of_bytes]
ANY = [name for name in FORMATS if name not in PLAIN]


@pytest.fixture(autouse=True)
def _arrow(request):
    name = request.node.callspec.params.get("name") if hasattr(request.node, "callspec") else None
    if name in ("arrow", "parquet"):
        pytest.importorskip("pyarrow")


def path_of(folder, name):
    return folder / f"words{FORMATS[name].suffixes[0]}"


def written(folder, name, words=WORDS, vectors=None):
    path = path_of(folder, name)
    files.write(path, words, hashed(len(words), 7) if vectors is None else vectors, format=name)
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_round_trips_are_exact(tmp_path, name):
    vectors = mixed(48, 9, 3)
    vectors[0] = [0.1, -0.0, 1e-45, 3.4028235e38, 1 / 3, 16777216, 1e-38, -7, 2**-126]
    words = [f"{word}{i}" for i in range(6) for word in WORDS]
    path = written(tmp_path, name, words, vectors)
    read = files.read(path)
    assert (read.format, read.words) == (name, tuple(words))
    assert_same_bits(np.ascontiguousarray(read.vectors), vectors)
    opened = Vocabulary.open(path)
    assert opened.words == tuple(words)
    assert opened.search("king0") == Vocabulary(words, vectors).search("king0")
    again = tmp_path / f"again{FORMATS[name].suffixes[0]}"
    opened.save(again, format=name)
    assert_same_bits(np.ascontiguousarray(files.read(again).vectors), vectors)
    assert_same_bits(np.ascontiguousarray(files.read(path, limit=5).vectors), vectors[:5])
    assert files.read(path, limit=5).words == tuple(words[:5])
    assert Vocabulary.open(path, limit=5).words == tuple(words[:5])
    assert len(files.read(path, limit=0).words) == len(files.read(path, limit=0).vectors) == 0
    assert len(files.read(path, limit=99).words) == 48


@pytest.mark.parametrize("name", FORMATS)
def test_a_limit_may_be_any_number(tmp_path, name):
    path = written(tmp_path, name)
    for limit in (len(WORDS), 1 << 63, 10**30):
        assert files.read(path, limit=limit).words == files.read(path).words


@pytest.mark.parametrize("name", FORMATS)
def test_content_tells_the_format_under_any_name(tmp_path, name):
    path = written(tmp_path, name)
    if name not in ("index", "npy"):  # the words of .npy lie in a file named after it
        path = path.rename(tmp_path / "renamed.dat")
    assert files.detect(path) == name
    assert files.read(path).words == WORDS


@pytest.mark.parametrize("name", FORMATS)
def test_suffixes_say_what_is_written(tmp_path, name):
    for suffix in FORMATS[name].suffixes:
        files.write(tmp_path / f"a{suffix}", WORDS, hashed(8, 3))
        assert files.detect(tmp_path / f"a{suffix}") == name
    with pytest.raises(ValueError, match=r"'\.xyz'.*\.parquet"):
        files.write(tmp_path / "a.xyz", WORDS, hashed(8, 3))


@pytest.mark.parametrize("name", ANY)
@given(words=st.lists(st.text(min_size=1), unique=True, max_size=6))
def test_any_words_come_back(tmp_path, name, words):
    path = tmp_path / "x"
    if name == "npy":
        path.unlink(missing_ok=True)
    if name == "index":
        path = tmp_path / "i"
    files.write(path, words, hashed(len(words), 2), format=name)
    assert files.read(path, format=name).words == tuple(words)


@pytest.mark.parametrize("name", PLAIN)
@given(words=st.lists(st.text(min_size=1), unique=True, min_size=1, max_size=6))
def test_plain_formats_hold_words_without_white_space_or_refuse(tmp_path, name, words):
    path = tmp_path / "x"
    if any(set(word) & set(" \t\r\n") for word in words):
        with pytest.raises(ValueError, match=r"words\[\d+\] is .* cannot hold; write"):
            files.write(path, words, hashed(len(words), 4), format=name)
    else:
        files.write(path, words, hashed(len(words), 4), format=name)
        assert files.read(path, format=name).words == tuple(words)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_is_written_completely_or_not_at_all(tmp_path, name, monkeypatch):
    path = written(tmp_path, name)
    before = files.read(path).words
    monkeypatch.setattr(os, "fsync", lambda *_: (_ for _ in ()).throw(OSError(28, "no space left")))
    with pytest.raises(OSError, match=r"no space left|exists"):
        files.write(path, ["other"], hashed(1, 3), format=name)
    monkeypatch.undo()
    assert files.read(path).words == before
    assert not [entry for entry in tmp_path.rglob("*") if ".tmp" in entry.name]


@pytest.mark.parametrize("name", FORMATS)
def test_what_cannot_be_written_is_refused_before_anything_is(tmp_path, name):
    path = path_of(tmp_path, name)
    bad = hashed(2, 3).copy()
    bad[1, 1] = np.nan
    for words, vectors, message in (
        (["a"], hashed(2, 3), "1 and 2"),
        (["a", "a"], hashed(2, 3), "repeated"),
        (["a", ""], hashed(2, 3), "empty"),
        (["a", "b"], bad, "row 1: NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            files.write(path, words, vectors, format=name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", FORMATS)
def test_many_rows_are_written_in_blocks_and_writing_tells_how_many(tmp_path, name, monkeypatch):
    n, told = 20_000, []
    words, rows = tuple(f"w{i}" for i in range(n)), np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    columns = {"id": range(n), "about": [f"{i} é" if i % 3 else None for i in range(n)]}
    columns = {key: tuple(column) for key, column in columns.items() if FORMATS[name].columns}
    monkeypatch.setattr("fastvec.kernels.reports.progress", lambda *told_now: told.append(told_now))
    path = path_of(tmp_path, name)
    files.write(path, words, rows, format=name, columns=columns)
    done = [done for done, total in told if total == n]
    if name != "arrow":  # which writes one batch
        assert max(done) == n
        assert 0 < min(done) < n
    read = files.read(path)
    assert_same_bits(np.ascontiguousarray(read.vectors), rows)
    assert read.words == words
    assert {key: read.columns[key] for key in read.column_names} == columns


@pytest.mark.parametrize("name", [name for name in FORMATS if FORMATS[name].metadata])
def test_metadata(tmp_path, name):
    path = path_of(tmp_path, name)
    files.write(path, ["a"], [[1, 2]], format=name, metadata={"model": "m-1"})
    assert files.read(path).metadata["model"] == "m-1"


def test_metadata_that_a_format_cannot_hold(tmp_path):
    with pytest.raises(ValueError, match="no metadata"):
        files.write(tmp_path / "a.bin", ["a"], [[1]], metadata={"model": "m"})


def test_npy_of_other_types_and_its_words(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(6.0).reshape(3, 2).astype(">f8"))
    assert files.read(path).vectors.shape == (3, 2)
    with pytest.raises(FileError, match=r"a\.texts\.jsonl: missing"):
        files.read(path).words  # noqa: B018
    for text, message in (
        ('"a"\n"b"\n', "2 words, but a.npy has 3"),
        ('"a"\n"b"\nc\n', "row 2: not JSON"),
        ('"a"\n"b"\n5\n', "row 2: a int"),
        ('"a","b"\n\n"c"\n', "row 0: not JSON"),
        ('"a\nb"\n"c","d"\n', "row 0: not JSON"),
    ):
        (tmp_path / "a.texts.jsonl").write_text(text)
        with pytest.raises(FileError, match=message):
            files.read(path).words  # noqa: B018
    (tmp_path / "a.texts.jsonl").write_text('"a"\n"b"\n"c"')
    assert Vocabulary.open(path).similarity("b", "c") == Vocabulary(["b", "c"], [[2, 3], [4, 5]]).similarity(
        "b", "c"
    )
    files.write(path, ["a"], [[1]])
    assert (files.read(path).words, files.read(path).vectors.tolist()) == (("a",), [[1]])


class Bomb:
    def __reduce__(self):
        return (os.mkdir, (os.environ["BOMB"],))


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    np.save(tmp_path / "a.npy", np.array([[Bomb()]], object), allow_pickle=True)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Bomb()))
    for name in ("a.npy", "a.pkl"):
        with pytest.raises(FileError, match="never opened"):
            files.read(tmp_path / name)
    with pytest.raises(FileError):
        files.read(tmp_path / "a.pkl", format="npy")
    assert not (tmp_path / "exploded").exists()


@pytest.fixture
def another_format(monkeypatch):
    """A format that its reader and its row add: an archive's magic number, rows of two float32, no words."""

    def read(path, limit, errors):
        vectors = np.frombuffer(path.read_bytes(), "<f4", offset=4).reshape(-1, 2)[:limit]
        return Labeled(path, "pairs", vectors, lambda: tuple(map(str, range(len(vectors)))))

    def write(path, words, vectors, metadata, columns):
        path.write_bytes(b"PK\x03\x04" + np.asarray(vectors, "<f4").tobytes())

    row = Format("pairs", "pairs of float32", (".pairs",), begins(b"PK\x03\x04"), read, write)
    for module in ("formats", "detection", ""):
        monkeypatch.setattr(f"fastvec.files.{module}".rstrip(".") + ".FORMATS", {"pairs": row, **FORMATS})


def test_a_format_is_one_row(tmp_path, another_format):
    """A new row recognizes bytes that an old one recognized before; a word like them is still a word."""
    path = tmp_path / "rows.pairs"
    files.write(path, ["a", "b"], [[1, 2], [3, 4]])
    assert files.detect(path) == "pairs"
    read = files.read(path)
    assert (read.format, read.words, read.vectors.tolist()) == ("pairs", ("0", "1"), [[1, 2], [3, 4]])
    assert len(Vocabulary.open(path, limit=1)) == 1
    path.write_bytes(b"PK\x03\x04 1.5 2\n")
    assert files.detect(path) == "glove"


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "index"])
def test_one_format_matches_a_file(tmp_path, name):
    """No two rows claim the same bytes, so that their order in the table decides nothing."""
    vectors = np.array([[1.0, 2.0], [0.25, -3e-7]])
    head = written(tmp_path, name, ("king", "queen"), vectors).read_bytes()
    assert [other for other, record in FORMATS.items() if record.matches(head)] == [name]


def test_files_of_other_kinds_are_named(tmp_path):
    path = tmp_path / "x"
    for data, message in (
        (b"", "empty"),
        (b"\x1f\x8b\x08abc", "gzip; decompress"),
        (b"PK\x03\x04abc", "zip"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"\x80\x04\x95", "pickle"),
        (b"PK\x03\x04\0\0\nking 1.5 2\nqueen 1 2\nman 1 2\n", "zip"),
        (b"hello world\nthese are words\n", "none of the formats"),
        (b"\x00\x01\x02" * 50, "none of the formats"),
    ):
        path.write_bytes(data)
        with pytest.raises(FileError, match=message):
            files.read(path)
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "none")
    with pytest.raises(ValueError, match="format"):
        files.read(path, format="pickle")
    with pytest.raises(ValueError, match="errors"):
        files.read(path, errors="surrogateescape")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("2 3\na 1 2 3\nb 1 2\n", r"row 1, byte 12: 2 values, not 3"),
        ("2 3\na 1 2 3\nb 1 2 3 4\n", r"row 1, byte 12: 4 values, not 3"),
        # Numbers that are not parsed at the first look.
        *(
            (f"2 3\na 1 2 3\nb {number} 1 2 3\n", r"row 1, byte 12: 4 values, not 3")
            for number in ("5e-400", "5e-00000001", "0.1000000000000000055511151231257827", "1e99", "9" * 400)
        ),
        ("2 3\na 1 2 3\n", "ends after 1 of 2 rows"),
        ("1 3\na 1 2 3\nb 1 2 3\n", "row 1: more lines than the 1"),
        ("2 3\na 1 2 3\nb 1 x 3\n", r"row 1, byte 12: 'x' is not a number"),
        ("2 3\na 1 2 3\nb 1 1_0 3\n", "'1_0' is not a number"),
        ("2 3\na 1 2 3\nb 1 nan 3\n", r"row 1, byte 12: 'nan' must be finite"),
        ("2 3\na 1 2 3\nb 1 -inf 3\n", "'-inf' must be finite"),
        ("2 3\na 1 2 3\nb 1 1e99 3\n", "row 1: '1e99' is too large"),
        ("2 3\na 1 2 3\n\nb 1 2 3\n", "more lines|row 1"),
        ("2 0\na\nb\n", "0 dimensions"),
        ("2 999999999\na 1 2\n", "999999999 dimensions"),
        ("99999999999999999 3\na 1 2 3\n", "ends after 1 of 99999999999999999"),
        ("a 1 2 3\nb 1 2 3\nc 1 2\n", r"row 2, byte 16: 2 values, not 3"),
    ],
)
def test_damaged_text_is_named_by_row_and_byte(tmp_path, data, message):
    path = tmp_path / "x.txt"
    path.write_text(data)
    with pytest.raises(FileError, match=message) as caught:
        files.read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("2 2\r\na 1 2\r\nb 3 4\r\n", ("a", "b")),
        ("2 2\na 1 2 \nb 3 4 \n", ("a", "b")),
        ("2 2 \na\t1\t2\nb\t3\t4", ("a", "b")),
        ("a  1 2\nb 3   4\n\n\n", ("a", "b")),
        (". . . 1 2\nb 3 4\nc 5 6\nb@c d 7 8\n", (". . .", "b", "c", "b@c d")),
        ("1 1 2\n2 3 4\n", ("1", "2")),
        ("7 1\nb 2\nc 3\n", None),
        ("\ufeff2 2\na 1 2\nb 3 4\n", ("a", "b")),
        ("\ufeff2 2\r\na 1 2\r\nb 3 4\r\n", ("a", "b")),
        ("\ufeffa 1 2\nb 3 4\n", ("a", "b")),
        (" 2\t2\na 1 2\nb 3 4\n", ("a", "b")),
        ("a\u00a0b 1 2\n\u00a0 3 4\n", ("a\u00a0b", "\u00a0")),
        ("a 1 2 \t\r\nb 3 4\t\r\n", ("a", "b")),
        ("</s> 1e0 2E+0\n</s 3 4.0\n", ("</s>", "</s")),
    ],
)
def test_texts_as_programs_write_them(tmp_path, data, words):
    path = tmp_path / "x.txt"
    path.write_bytes(data.encode())
    if words is None:
        with pytest.raises(FileError, match="ends after 2 of 7"):
            files.read(path)
    else:
        read = files.read(path)
        assert read.words == words
        assert read.vectors[:2].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("form", [None, "glove", "word2vec-text"])
@pytest.mark.parametrize("data", ["2 2\ra 1 2\rb 3 4\r", "a 1 2\rb 3 4", "1 2 3\r4 5 6\r"])
def test_lines_that_end_in_carriage_returns_alone(tmp_path, data, form):
    path = tmp_path / "x.txt"
    path.write_bytes(data.encode())
    with pytest.raises(FileError, match="carriage returns alone; save it with line feeds"):
        files.read(path, format=form)
    path.write_bytes(b"2 2\n1 1 2\r2 3 4")
    with pytest.raises(FileError, match="carriage returns alone; save it with line feeds"):
        files.read(path)


def test_text_in_utf16_is_named(tmp_path):
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        (tmp_path / "x.txt").write_bytes("\ufeffa 1 2\nb 3 4\n".encode(encoding))
        with pytest.raises(FileError, match="UTF-16; save it as UTF-8"):
            files.read(tmp_path / "x.txt")


def test_words_of_npy_as_other_programs_write_them(tmp_path):
    files.write(tmp_path / "a.npy", ["x", "y"], [[1, 2], [3, 4]])
    for data in (b'\xef\xbb\xbf"a"\n"b"\n', b'"a"\r\n"b"\r\n', b' "a"\n"b"', b'"\\u0061"\n"b"\n'):
        (tmp_path / "a.texts.jsonl").write_bytes(data)
        assert files.read(tmp_path / "a.npy").words == ("a", "b")


def test_an_error_among_many_words_is_found_without_reading_each(tmp_path, monkeypatch):
    words = [f"w{i}" for i in range(20_000)]
    files.write(tmp_path / "a.npy", words, np.zeros((20_000, 1)))
    target = tmp_path / "a.texts.jsonl"
    target.write_bytes(target.read_bytes().replace(b'"w15000"', b"15000"))
    calls, read = [], json.loads
    monkeypatch.setattr(json, "loads", lambda text: calls.append(1) or read(text))
    with pytest.raises(FileError, match=r"a\.texts\.jsonl, row 15000: a int"):
        files.read(tmp_path / "a.npy").words  # noqa: B018
    assert len(calls) < 2000


def test_rows_longer_than_a_sample(tmp_path):
    """The width is that of a complete line."""
    rows = hashed(2, 120_000)
    for name in ("glove", "word2vec-text"):
        path = written(tmp_path, name, ["a", "b"], rows)
        read = files.read(path)
        assert (read.format, read.words) == (name, ("a", "b"))
        assert_same_bits(read.vectors, rows)


def test_numbers_are_read_as_python_reads_them(tmp_path):
    rng = np.random.default_rng(5)
    numbers = [repr(float(x)) for x in np.float64(rng.standard_normal(500))]
    numbers += [
        f"{x:.{rng.integers(1, 25)}e}" for x in rng.standard_normal(500) * 10.0 ** rng.integers(-44, 38, 500)
    ]
    bits = rng.integers(0, 2**31, 500, dtype=np.int64).astype(np.uint32).view(np.float32)
    numbers += [repr(float(x)) for x in bits if np.isfinite(x)]
    # Halfway between two float32, and next to it.
    halves = (
        bits[np.isfinite(bits)].astype(np.float64) + np.nextafter(bits[np.isfinite(bits)], np.float32(0))
    ) / 2
    numbers += [f"{x:.60e}" for x in halves[:100]] + [f"{x * (1 + 1e-16):.17e}" for x in halves[:100]]
    numbers += [
        "0",
        "-0",
        "+1",
        "1.",
        ".5",
        "-.5e-3",
        "1E5",
        "16777217",
        "0e999",
        "1e-400",
        "0.0000000000000000000000001",
    ]
    numbers += ["9" * 38, "0." + "0" * 60 + "1", "123456789012345678901234567890e-20"]
    with np.errstate(over="ignore"):
        expected = np.array([float(x) for x in numbers]).astype(np.float32)
    numbers = [x for x, y in zip(numbers, expected, strict=True) if np.isfinite(y)]
    expected = expected[np.isfinite(expected)]
    path = tmp_path / "x.vec"
    path.write_text(f"{len(numbers)} 1\n" + "".join(f"w{i} {x}\n" for i, x in enumerate(numbers)))
    assert_same_bits(files.read(path).vectors[:, 0], expected)


@pytest.mark.parametrize("name", PLAIN)
def test_words_that_are_no_utf8(tmp_path, name):
    path = written(tmp_path, name, ["ab", "cXd", "e"], hashed(3, 4))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"cXd", b"c\xffd"))
    with pytest.raises(FileError, match=r'row 1, byte \d+: .*errors="replace"') as caught:
        files.read(path)
    assert path.read_bytes()[caught.value.byte] == 0xFF
    assert files.read(path, errors="replace").words == ("ab", "c\ufffdd", "e")
    assert files.read(path, errors="ignore").words == ("ab", "cd", "e")
    assert Vocabulary.open(path, errors="ignore").words == ("ab", "cd", "e")


def test_damaged_binary_is_named_by_row_and_byte(tmp_path):
    path = written(tmp_path, "word2vec-binary", ["a", "b", "c"], [[1, 2], [3, 4], [5, 6]])
    data = path.read_bytes()
    assert data[:4] == b"3 2\n"
    path.write_bytes(data.replace(b"\n", b"").replace(b"3 2", b"3 2\n"))  # as gensim writes it
    assert files.read(path).vectors.tolist() == [[1, 2], [3, 4], [5, 6]]
    for changed, message in (
        (data[:-3], r"row 2, byte 26: cut short"),
        (data[:20], "cannot hold the 3 rows"),
        (b"4" + data[1:] + b"d 123456", "row 3"),
        (data + b"more", "byte 36: continues after"),
        (data.replace(np.float32(4).tobytes(), np.float32(np.nan).tobytes()), "row 1, byte 17: NaN"),
        (b"3 0\n" + data[4:], "0 dimensions"),
    ):
        path.write_bytes(changed)
        with pytest.raises(FileError, match=message):
            files.read(path, format="word2vec-binary")


def test_repeated_and_empty_words_are_named_with_the_file(tmp_path):
    path = tmp_path / "x.vec"
    for text, message in (
        ("2 1\na 1\na 2\n", "'a' at 0 and 1"),
        ("2 1\n 1\na 2\n", r"words\[0\] is empty"),
        ("4 1\n 1\na 2\na 2\n 3\n", r"'a' at 1 and 2; words\[0\], words\[3\] are empty; mend .*strict"),
    ):
        path.write_text(text)
        for read in (Vocabulary.open, files.read):
            with pytest.raises(FileError, match=message) as caught:
                read(path, strict=True)
            assert "x.vec" in str(caught.value)


REPEATED = ("a", "b", "", "a", "c", "b", "a", "", "d")
FIRST = [0, 1, 4, 8]


def both(path):
    read = files.read(path)
    return read.vectors, read.words


def table_of(path, name, words, rows):
    import pyarrow as pa
    import pyarrow.parquet

    table = pa.table({"text": list(words), "vector": list(rows)})
    if name == "parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)


def with_repeated_words(folder, name, rows, words=REPEATED):
    """A file with repeated words, as other programs write it."""
    path = path_of(folder, name)
    stand_ins = [f"stand-in-{i}:" for i in range(len(words))]
    files.write(path, stand_ins, rows, format=name)
    if name in ("arrow", "parquet"):
        table_of(path, name, words, rows)
    elif name == "npy":
        path.with_suffix(".texts.jsonl").write_text("".join(f'"{word}"\n' for word in words))
    else:
        data = path.read_bytes()
        assert data.count(b"stand-in-") == data.count(b": ") == len(words), f"write {name} here as others do"
        for stand_in, word in zip(stand_ins, words, strict=True):
            data = data.replace(stand_in.encode() + b" ", word.encode() + b" ", 1)
        path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "index"])
def test_the_first_of_equal_words_counts_with_one_warning(tmp_path, name):
    rows = mixed(len(REPEATED), 5, 3)
    path = with_repeated_words(tmp_path, name, rows)
    message = (
        r"words\..*words are repeated: 'a' at 0 and 3, 'b' at 1 and 5, 'a' at 0 and 6; "
        r"words\[2\], words\[7\] are empty; the first of equal words counts, so 4 of 9 rows are read"
    )
    with pytest.warns(UserWarning, match=message) as said:
        opened = Vocabulary.open(path)
    assert opened.words == ("a", "b", "c", "d")
    assert_same_bits(np.ascontiguousarray(opened.vectors), rows[FIRST])
    assert len(said) == 1
    assert said[0].filename == __file__
    expected = Vocabulary(["a", "b", "c", "d"], rows[FIRST])
    assert len(opened) == len(opened.index) == 4
    assert opened.search(["a", "d"]) == expected.search(["a", "d"])
    assert opened.most_similar(["a", "b"], "c") == expected.most_similar(["a", "b"], "c")
    assert_same_bits(np.ascontiguousarray(opened["c"]), rows[4])
    opened.save(tmp_path / "again")
    assert Vocabulary.open(tmp_path / "again", strict=True).search("a") == expected.search("a")
    with pytest.warns(UserWarning, match="repeated") as said:
        vectors, words = both(path)
    assert_same_bits(np.ascontiguousarray(vectors), rows[FIRST])
    assert words == ("a", "b", "c", "d")
    assert len(said) == 1
    assert said[0].filename == __file__
    files.write(tmp_path / "again.vec", words, vectors)
    with pytest.warns(UserWarning, match="so 2 of 4 rows are read"):
        assert Vocabulary.open(path, limit=4).words == ("a", "b")
    assert Vocabulary.open(path, limit=2, strict=True).words == ("a", "b")
    for read in (Vocabulary.open, files.read):
        with pytest.raises(FileError, match=r"'a' at 0 and 3.*read it without strict=True"):
            read(path, strict=True).vectors  # noqa: B018


@pytest.mark.parametrize("name", ["npy", "arrow", "parquet"])
def test_nan_is_named_by_its_row_in_the_file_though_rows_are_left_out(tmp_path, name):
    rows = hashed(len(REPEATED), 3).copy()
    path = with_repeated_words(tmp_path, name, rows)
    rows[3, 1] = np.nan  # of a row that is left out
    for row in (None, 4):
        if row:
            rows[row, 0] = np.inf
        if name == "npy":
            np.save(path, rows)
        else:
            table_of(path, name, REPEATED, rows)
        with pytest.warns(UserWarning, match="repeated"):
            opened = Vocabulary.open(path)
        if row:
            with pytest.raises(FileError, match=r"words\..*, row 4: NaN or inf"):
                opened.search("a")
        else:
            assert len(opened.search("a")) == 3


@pytest.mark.parametrize("name", ["npy", "parquet"])
def test_interrupted_while_rows_are_left_out_it_is_done_again(tmp_path, name, monkeypatch):
    rows = hashed(len(REPEATED), 4)
    path = with_repeated_words(tmp_path, name, rows)
    read = files.read(path)
    monkeypatch.setattr("fastvec.files.labeled._BLOCK_BYTES", 16)
    finite, calls = np.isfinite, []

    def interrupted(block):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return finite(block)

    monkeypatch.setattr(np, "isfinite", interrupted)
    with pytest.warns(UserWarning, match="repeated"), pytest.raises(KeyboardInterrupt):
        read.vectors  # noqa: B018
    assert_same_bits(np.ascontiguousarray(read.vectors), rows[FIRST])
    assert read.words == ("a", "b", "c", "d")


def test_rows_move_up_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("fastvec.files.labeled._BLOCK_BYTES", 50)
    rng = np.random.default_rng(3)
    words = [f"w{i}" for i in rng.integers(0, 150, 300)]
    rows = hashed(300, 4)
    _, first = np.unique(words, return_index=True)
    for name in ("word2vec-text", "npy"):
        path = with_repeated_words(tmp_path, name, rows, words)
        with pytest.warns(UserWarning, match=r"and 1[0-9]* more; the first"):
            vectors, read = both(path)
        assert_same_bits(np.ascontiguousarray(vectors), rows[np.sort(first)])
        assert read == tuple(words[i] for i in np.sort(first))


def test_words_of_a_saved_index_that_repeat_are_damage(tmp_path):
    """Its index.json says whether words may repeat."""
    index = fastvec.Index(hashed(2, 3))
    files.indexed.save(tmp_path / "index", index, ["a", "a"])
    for read in (Vocabulary.open, files.read):
        with pytest.raises(FileError, match="'a' at 0 and 1; mend the file"):
            read(tmp_path / "index").words  # noqa: B018


@pytest.mark.parametrize("name", PLAIN)
def test_words_cut_within_a_character_may_become_equal_or_blank(tmp_path, name):
    path = written(tmp_path, name, ["ab", "abX", "Y", "Z", "e"], hashed(5, 4))
    data = path.read_bytes()
    for letter, cut in ((b"X", b"\xc3"), (b"Y", b"\xe2\x82"), (b"Z", b"\xe2")):
        data = data.replace(letter + b" ", cut + b" ")
    path.write_bytes(data)
    with pytest.raises(FileError, match=r'row 1, byte \d+: .*errors="replace"'):
        Vocabulary.open(path)
    with pytest.warns(UserWarning, match=r"'ab' at 0 and 1; words\[2\], words\[3\] are empty"):
        opened = Vocabulary.open(path, errors="ignore")
    assert opened.words == ("ab", "e")
    assert_same_bits(opened.vectors, hashed(5, 4)[[0, 4]])
    with pytest.warns(UserWarning, match="'\ufffd' at 2 and 3"):
        assert files.read(path, errors="replace").words == ("ab", "ab\ufffd", "\ufffd", "e")


def test_binary_words_may_hold_line_ends(tmp_path):
    """Line ends are read as in gensim: only those before a word are left out."""
    path = tmp_path / "x.bin"
    rows = np.array([[1, 2], [3, 4], [5, 6]], "<f4")
    words = [b"a\nb", b"\rc\n", b"d"]

    def write(changed):
        records = [word + b" " + row.tobytes() for word, row in zip(changed, rows, strict=True)]
        path.write_bytes(b"3 2\n" + b"\n".join(records) + b"\n")

    write(words)
    read = files.read(path)
    assert read.format == "word2vec-binary"
    assert read.words == ("a\nb", "\rc\n", "d")
    assert read.vectors.tolist() == rows.tolist()
    for row in range(3):
        write([word + b"\xff" * (i == row) for i, word in enumerate(words)])
        with pytest.raises(FileError, match=rf"row {row}, byte \d+: the word is not UTF-8") as caught:
            files.read(path)
        assert path.read_bytes()[caught.value.byte] == 0xFF
        assert files.read(path, errors="ignore").words == ("a\nb", "\rc\n", "d")
    for name in PLAIN:
        with pytest.raises(ValueError, match=r"words\[0\] is 'a\\nb', which .* cannot hold; write"):
            files.write(path_of(tmp_path, name), ["a\nb", "c"], rows[:2], format=name)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("dims", [1, 2])
def test_words_like_parts_of_a_file_come_back(tmp_path, name, dims):
    """First words that are numbers, marks, or beginnings of other formats."""
    firsts = [
        "7",
        "2",
        "0",
        "1e5",
        "-3",
        "nan",
        "</s>",
        "#",
        '"',
        "男",
        "\ufeff",
        "\ufeffx",
        "\u00a0",
        "a\u00a0b",
    ]
    firsts += ["PAR1", "ARROW1", "BZh9", "PK\x03\x04", "\x00", "a\x00b", "\u2028", "x\x85y", "\x0b", "\x1c"]
    for number, first in enumerate(firsts):
        words = (first, "x\x00y", "12", "\ufeffz")
        rows = np.arange(1, 4 * dims + 1, dtype=np.float32).reshape(4, dims)
        for count in (4, 1):
            path = tmp_path / f"{number}-{count}{FORMATS[name].suffixes[0]}"
            files.write(path, words[:count], rows[:count], format=name)
            read = files.read(path)
            assert (read.format, read.words) == (name, words[:count])
            assert_same_bits(np.ascontiguousarray(read.vectors), rows[:count])


@pytest.mark.parametrize("name", FORMATS)
def test_words_that_a_format_cannot_hold_are_named(tmp_path, name):
    path = path_of(tmp_path, name)
    for word in ("a b", " a", "a ", "a\tb", "a\n", "\r", "\ud800", "x" * 10_000 + " "):
        holds_any = FORMATS[name].refuse is anything
        if holds_any or (name not in PLAIN and word != "\ud800"):
            files.write(path, ["ok", word], hashed(2, 3), format=name)
            assert files.read(path).words == ("ok", word)
            path.unlink() if path.is_file() else None
        else:
            with pytest.raises(
                ValueError, match=r"words\[1\] is .*, which .* cannot hold; write an Index"
            ) as caught:
                files.write(path, ["ok", word], hashed(2, 3), format=name)
            assert len(str(caught.value)) < 300
            assert not path.exists()


@pytest.mark.parametrize("name", ["npy", "arrow", "parquet"])
def test_nan_in_a_mapped_file_is_named_when_it_is_used(tmp_path, name):
    vectors = hashed(8, 3).copy()
    path = written(tmp_path, name, WORDS, vectors)
    if name == "npy":
        vectors[5, 1] = np.nan
        np.save(path, vectors)
    else:
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet

        vectors[5, 1] = np.nan
        table = pa.table({"text": WORDS, "vector": list(vectors)})
        if name == "parquet":
            pyarrow.parquet.write_table(table, path)
        else:
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
    with pytest.raises(FileError, match=r"words\..*row 5: NaN"):
        Vocabulary.open(path).similarity("king", "queen")


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "index"])
def test_fuzzed_files_give_one_error_or_an_answer(tmp_path, name):
    path = written(tmp_path, name)
    words = path.with_suffix(".texts.jsonl")
    messages = []
    for target in [path, words] if name == "npy" else [path]:
        data, rng = target.read_bytes(), np.random.default_rng(1)
        for _ in range(150):
            changed = bytearray(data)
            for at in rng.integers(0, len(data), rng.integers(1, 4)):
                changed[at] = rng.integers(0, 256)
            if rng.random() < 0.3:
                del changed[rng.integers(0, len(data)) :]
            target.write_bytes(changed)
            try:
                read = Vocabulary.open(path)
                assert len(read.words) == len(read.vectors)
            except FileError as error:
                messages.append(str(error))
        target.write_bytes(data)
    assert all(str(tmp_path) in message and "\n" not in message for message in messages)


@pytest.mark.parametrize("metadata", [{"a": 1}, {1: "a"}, {"a": None}])
def test_metadata_is_texts(tmp_path, metadata):
    with pytest.raises(TypeError, match="must be str"):
        files.write(tmp_path / "index", ["a"], [[1]], metadata=metadata)
    assert not list(tmp_path.iterdir())


def test_files_get_the_permissions_of_any_new_file(tmp_path):
    mask = os.umask(0o022)
    try:
        path = written(tmp_path, "glove")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


class TestArrow:
    """Tables as other programs write them."""

    @pytest.fixture(autouse=True)
    def _pyarrow(self):
        pytest.importorskip("pyarrow")

    @staticmethod
    def save(path, columns, chunk=None):
        import pyarrow as pa
        import pyarrow.parquet as parquet

        table = pa.table(columns)
        if path.suffix == ".parquet":
            parquet.write_table(table, path, row_group_size=chunk)
        else:
            make = pa.ipc.new_stream if path.suffix == ".stream" else pa.ipc.new_file
            with pa.OSFile(str(path), "wb") as sink, make(sink, table.schema) as writer:
                writer.write_table(table, max_chunksize=chunk)

    @pytest.mark.parametrize("suffix", [".arrow", ".stream", ".parquet"])
    @pytest.mark.parametrize("chunk", [None, 2])
    @pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int32"])
    @pytest.mark.parametrize("make", ["list_", "large_list", "fixed"])
    def test_lists_of_numbers(self, tmp_path, suffix, chunk, dtype, make):
        import pyarrow as pa

        if dtype == "float16" and suffix == ".parquet" and int(pa.__version__.split(".")[0]) < 15:
            pytest.skip("older Arrow does not write it")
        rows = np.arange(15).reshape(5, 3).astype(dtype)
        element = pa.from_numpy_dtype(rows.dtype)
        kind = pa.list_(element, 3) if make == "fixed" else getattr(pa, make)(element)
        path = tmp_path / f"x{suffix}"
        words = pa.array(list("abcde"), pa.large_string())
        self.save(path, {"id": range(5), "word": words, "embedding": pa.array(list(rows), kind)}, chunk)
        read = files.read(path)
        assert read.words == tuple("abcde")
        assert read.vectors.dtype == dtype
        assert (read.vectors == rows).all()
        assert (files.read(path, limit=3).vectors == rows[:3]).all()
        assert Vocabulary.open(path).most_similar("a", k=1)[0][0] in "bcde"

    def test_a_file_of_fastvec_is_mapped_without_a_copy(self, tmp_path):
        path = written(tmp_path, "arrow", WORDS, hashed(8, 7))
        vectors = files.read(path).vectors
        assert not vectors.flags.owndata
        assert vectors.dtype == np.float32
        assert fastvec.Index(vectors).nbytes < 8 * 7 * 4 + 8 * (64 + 16)

    @pytest.mark.parametrize("suffix", [".arrow", ".parquet"])
    def test_what_is_no_matrix_is_named(self, tmp_path, suffix):
        import pyarrow as pa

        path = tmp_path / f"x{suffix}"
        for columns, message in (
            ({"text": ["a", "b"], "vector": [[1.0, 2.0], [3.0]]}, "row 1: column vector has 1 values, not 2"),
            ({"text": ["a", "b"], "vector": [[1.0], None]}, "row 1: column vector has no value"),
            ({"text": ["a", "b"], "vector": [[1.0], [None]]}, "row 1: column vector lacks a value"),
            (
                {"text": ["a"], "vector": pa.array([[]], pa.list_(pa.float32()))},
                "row 0: column vector has 0 values",
            ),
            ({"text": ["a", None], "vector": [[1.0], [2.0]]}, "row 1: column text has no value"),
            ({"a": ["a"], "b": ["b"], "vector": [[1.0]]}, r"needs a column text.*a \(string\), b \(string\)"),
            ({"text": ["a"], "number": [1.0]}, "needs a column vector"),
        ):
            self.save(path, columns)
            with pytest.raises(FileError, match=message):
                Vocabulary.open(path).words  # noqa: B018

    @pytest.mark.filterwarnings("ignore:.*words are repeated")
    def test_hostile_ipc_gives_one_error_or_an_answer(self, tmp_path):
        """Lengths and offsets in the metadata are changed so that they reach outside the file."""
        import pyarrow as pa

        path = tmp_path / "x.arrow"
        rng = np.random.default_rng(3)
        words = {"plain": pa.array(list("abcab")), "coded": pa.array(list("abcab")).dictionary_encode()}
        for text in words.values():
            for kind in (pa.list_(pa.float32(), 3), pa.list_(pa.float32())):
                rows = np.arange(15.0).reshape(5, 3).tolist()
                self.save(path, {"text": text, "vector": pa.array(rows, kind)})
                data = np.frombuffer(path.read_bytes(), "<i4", path.stat().st_size // 4)
                tail = path.read_bytes()[data.nbytes :]
                for at in range(2, len(data), 3):
                    changed = data.copy()
                    changed[at] = rng.choice([-1, 0, 1, 63, 2**31 - 1, -(2**31)])
                    path.write_bytes(changed.tobytes() + tail)
                    try:
                        read = files.read(path)
                        assert len(read.words) == len(read.vectors)
                        assert read.vectors.flags.aligned
                        read.vectors.tolist()
                    except FileError as error:
                        assert "\n" not in str(error)  # noqa: PT017

    @pytest.mark.parametrize("name", ["text", "vector"])
    def test_columns_of_one_name(self, tmp_path, name):
        import pyarrow as pa

        columns = {"text": pa.array(["a"]), "vector": pa.array([[1.0]])}
        table = pa.table([*columns.values(), columns[name]], names=[*columns, name])
        with (
            pa.OSFile(str(tmp_path / "x.arrow"), "wb") as sink,
            pa.ipc.new_file(sink, table.schema) as writer,
        ):
            writer.write_table(table)
        with pytest.raises(FileError, match="exists 2 times"):
            files.read(tmp_path / "x.arrow")

    def test_without_the_package_the_error_names_the_extra(self, tmp_path, run_python):
        path = written(tmp_path, "arrow")
        code = f"import sys; sys.modules['pyarrow'] = None; import fastvec; fastvec.files.read({str(path)!r})"
        assert "pip install 'fastvec[arrow]'" in run_python("-c", code).stderr

    def test_tables_of_polars(self, tmp_path):
        pl = pytest.importorskip("polars")
        rows = hashed(5, 3)
        for kind in (pl.Array(pl.Float32, 3), pl.List(pl.Float32), pl.List(pl.Float64)):
            frame = pl.DataFrame({"text": list("abcde"), "vector": pl.Series(rows.tolist(), dtype=kind)})
            frame.write_parquet(tmp_path / "p.parquet")
            frame.write_ipc(tmp_path / "p.arrow")
            for name in ("p.parquet", "p.arrow"):
                read = Vocabulary.open(tmp_path / name)
                assert read.words == tuple("abcde")
                assert_same_bits(read.vectors, rows)
        files.write(tmp_path / "f.arrow", list("abcde"), rows)
        files.write(tmp_path / "f.parquet", list("abcde"), rows)
        assert pl.read_ipc(tmp_path / "f.arrow")["vector"].to_list() == rows.tolist()
        assert pl.read_parquet(tmp_path / "f.parquet")["text"].to_list() == list("abcde")

    def test_tables_of_duckdb(self, tmp_path):
        duckdb = pytest.importorskip("duckdb")
        path = tmp_path / "d.parquet"
        duckdb.sql(
            "copy (select 'w' || i as text, [i, 2.5, -i]::float[3] as vector from range(3000) t(i)) "
            f"to '{path}' (format parquet, row_group_size 1024)"
        )
        read = files.read(path)
        assert read.words[2999] == "w2999"
        assert read.vectors.shape == (3000, 3)
        assert read.vectors[7].tolist() == [7, 2.5, -7]
        files.write(tmp_path / "f.parquet", ["a", "b"], [[1, 2], [3, 4]])
        actual = duckdb.sql(f"select text, vector from '{tmp_path / 'f.parquet'}'").fetchall()
        assert [(text, list(vector)) for text, vector in actual] == [("a", [1, 2]), ("b", [3, 4])]


@pytest.mark.parametrize("name", ["index", "x.npy", "x.arrow", "x.txt", "x.fbin"])
def test_a_file_for_which_there_are_no_addresses_is_named(tmp_path, monkeypatch, name):
    path = tmp_path / name
    if name == "x.fbin":
        path.write_bytes(np.array([2, 3], "<u4").tobytes() + bytes(24))
    else:
        files.write(path, ["a", "b"], [[1, 2, 3], [4, 5, 6]])

    def refused(*_, **__):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", refused)
    monkeypatch.setattr(np, "memmap", refused)
    read = vector_sets.read if name == "x.fbin" else lambda path: files.read(path).vectors
    with pytest.raises(MemoryError, match=f"{re.escape(str(path))}.* cannot be mapped: .*ulimit -v"):
        read(path)
