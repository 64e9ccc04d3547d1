"""Columns and metadata beside words and vectors; texts that repeat, and streams of texts."""

import json
import operator
import pickle
import tracemalloc
from importlib.util import find_spec

import numpy as np
import pytest
from assertions import assert_same_bits, assert_same_topk
from data import hashed
from hypothesis import given
from hypothesis import strategies as st
from test_files import path_of

from fastvec import Index, Vocabulary, files
from fastvec.files import FORMATS, FileError

HERE = [name for name in FORMATS if name not in ("arrow", "parquet") or find_spec("pyarrow")]
TABLES = [name for name in HERE if FORMATS[name].columns]
ABOUT = [name for name in HERE if FORMATS[name].metadata]


class Stream:
    """Values that are made while they are iterated."""

    def __init__(self, values, length=None):
        self.values, self.length, self.times = values, len(values) if length is None else length, 0

    def __len__(self):
        return self.length

    def __iter__(self):
        self.times += 1
        return iter(self.values)


text = st.text()
column = st.one_of(
    st.lists(st.none() | text, min_size=6, max_size=6),
    st.lists(st.none() | st.booleans(), min_size=6, max_size=6),
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=6, max_size=6),
    st.lists(st.none() | st.floats(allow_nan=False) | st.integers(-(2**53), 2**53), min_size=6, max_size=6),
)
names = text.filter(lambda name: name not in ("", "text", "vector"))


@pytest.mark.parametrize("name", ABOUT)
@given(
    words=st.lists(st.text(min_size=1), min_size=6, max_size=6),
    columns=st.dictionaries(names, column, max_size=3),
    metadata=st.dictionaries(text.filter(lambda key: key != "dims"), text, max_size=3),
    n=st.integers(0, 6),
    streamed=st.booleans(),
)
def test_any_words_columns_and_metadata_come_back(tmp_path, name, words, columns, metadata, n, streamed):
    path = tmp_path / "x" if name != "index" else tmp_path / "i"
    as_given = Stream if streamed else list
    words, columns = words[:n], {key: values[:n] for key, values in columns.items()}
    if not FORMATS[name].columns:
        columns = {}
    rows = hashed(n, 3)
    given_columns = {key: as_given(values) for key, values in columns.items()}
    files.write(
        path, as_given(words), rows, format=name, metadata=metadata, columns=given_columns, repeated=True
    )
    read = files.read(path, format=name, repeated=True)
    assert read.words == tuple(words)
    assert_same_bits(np.ascontiguousarray(read.vectors), rows)
    assert {key: value for key, value in read.metadata.items() if key != "dims"} == metadata
    assert read.column_names == tuple(columns)
    assert dict(read.columns) == {key: tuple(values) for key, values in columns.items()}
    for key, values in columns.items():
        if not {int, float} <= set(map(type, values)):  # which Arrow holds as float
            assert [*map(type, read.columns[key])] == [*map(type, values)]
    if name == "npy":
        for entry in tmp_path.iterdir():
            entry.unlink()


WORDS = ("a", "b", "a", "c", "b")
FIRST = [0, 1, 3]


def first(path):
    read = files.read(path)
    return read, dict(read.columns)


COLUMNS = {
    "id": (7, 8, 9, 10, 11),
    "title": ("A\n", None, "é", "", "%s"),
    "share": (0.5, None, 1e300, -0.0, 3),
}


@pytest.mark.parametrize("name", TABLES)
def test_rows_that_are_left_out_are_left_out_of_columns(tmp_path, name):
    path = path_of(tmp_path, name)
    rows = hashed(5, 4)
    files.write(path, WORDS, rows, format=name, columns=COLUMNS, repeated=True)
    every = files.read(path, repeated=True)
    assert every.words == WORDS
    assert dict(every.columns) == COLUMNS
    assert dict(files.read(path, repeated=True, limit=2).columns) == {k: v[:2] for k, v in COLUMNS.items()}
    with pytest.warns(UserWarning, match=r"'a' at 0 and 2, 'b' at 1 and 4; the first.* so 3 of 5") as said:
        read, actual = first(path)
    assert len(said) == 1
    assert said[0].filename == __file__
    assert actual == {key: tuple(values[row] for row in FIRST) for key, values in COLUMNS.items()}
    assert read.words == ("a", "b", "c")
    assert_same_bits(np.ascontiguousarray(read.vectors), rows[FIRST])
    with pytest.warns(UserWarning, match="so 2 of 3 rows"):
        assert files.read(path, limit=3).columns["id"] == (7, 8)
    with pytest.raises(FileError, match="'a' at 0 and 2"):
        files.read(path, strict=True).vectors  # noqa: B018
    assert files.read(path, strict=True, repeated=True).words == WORDS


@pytest.mark.parametrize("name", ABOUT)
def test_words_that_repeat_are_searched_as_the_first_or_as_rows(tmp_path, name):
    path = path_of(tmp_path, name)
    rows = hashed(5, 40)
    files.write(path, WORDS, rows, format=name, metadata={"model": "m"}, repeated=True)
    with pytest.warns(UserWarning, match="the first of equal words counts") as said:
        opened = Vocabulary.open(path)
    hits = opened.search("a")
    assert len(said) == 1
    assert hits == Vocabulary(["a", "b", "c"], rows[FIRST]).search("a")
    assert opened.metadata["model"] == "m"
    index = files.read(path, repeated=True).index()
    assert_same_topk(index.search(rows, 3), Index(rows).search(rows, 3))
    with pytest.raises(FileError, match="'a' at 0 and 2"):
        Vocabulary.open(path, strict=True).words  # noqa: B018


def mapped(index):
    """Whether the codes of an Index are mapped from a file."""
    return not index._store.blocks[0].encoded.codes.flags.writeable


def test_the_index_of_a_folder_is_that_which_was_saved_where_all_rows_count(tmp_path):
    path = tmp_path / "index"
    files.write(path, WORDS, hashed(5, 40), repeated=True)
    assert mapped(files.read(path, repeated=True).index())
    assert mapped(files.read(path, repeated=True, limit=9).index())
    assert not mapped(files.read(path, repeated=True, limit=2).index())
    with pytest.warns(UserWarning, match="repeated"):
        assert not mapped(files.read(path).index())
    files.write(path, WORDS[:2], hashed(2, 40), repeated=True)
    labeled = files.read(path)
    assert labeled.settled
    assert mapped(labeled.index())
    assert labeled.index() is not labeled.index()
    Index(hashed(5, 40), metric="dot").save(path)
    assert files.read(path, limit=2).index().metric == files.read(path).index().metric == "dot"


def test_a_folder_without_them_is_as_it_was(tmp_path):
    files.write(tmp_path / "index", ["a", "b"], hashed(2, 3), repeated=True)
    manifest = json.loads((tmp_path / "index" / "index.json").read_text())
    assert not {"columns", "repeated"} & set(manifest)
    assert set(manifest["files"]) == {
        *(f"{array}.npy" for array in ("vectors", "codes", "scale", "error", "norm")),
        "labels.jsonl",
    }


@pytest.mark.parametrize("strict", [False, True])
def test_rows_of_blank_texts_are_left_out_or_refused_where_texts_repeat(tmp_path, strict):
    path = tmp_path / "a.npy"
    files.write(path, ["a", "b", "a", "d"], hashed(4, 3), repeated=True)
    path.with_suffix(".texts.jsonl").write_text('"a"\n""\n"a"\n""\n')
    read = files.read(path, repeated=True, strict=strict)
    if strict:
        with pytest.raises(FileError, match=r"words\[1\], words\[3\] are empty; mend the file, or read it w"):
            read.words  # noqa: B018
        return
    with pytest.warns(
        UserWarning, match=r"words\[3\] are empty; such rows are left out, so 2 of 4 rows"
    ) as said:
        assert read.words == ("a", "a")
    assert len(said) == 1
    assert_same_bits(np.ascontiguousarray(read.vectors), hashed(4, 3)[[0, 2]])


@pytest.mark.parametrize("name", TABLES)
def test_columns_are_read_when_they_are_asked_for(tmp_path, name, monkeypatch):
    path = path_of(tmp_path, name)
    files.write(path, ["a", "b"], hashed(2, 3), format=name, columns={"id": [1, 2], "x": [3, 4]})
    read, asked = [], files.read(path)
    place = "columns.load" if name == "index" else "arrow._values"
    real = operator.attrgetter(place)(files)
    monkeypatch.setattr(f"fastvec.files.{place}", lambda *value: read.append(1) or real(*value))
    assert (asked.words, asked.column_names, list(asked.columns), len(asked.columns)) == (
        ("a", "b"), ("id", "x"), ["id", "x"], 2,
    )  # fmt: skip
    assert "id" in repr(asked.columns)
    assert not read
    for _ in range(2):
        assert asked.columns["x"] == (3, 4)
    assert len(read) == 1
    assert "y" not in asked.columns
    with pytest.raises(KeyError, match="'y': the columns are 'id', 'x'"):
        asked.columns["y"]


@pytest.mark.parametrize("name", TABLES)
def test_columns_of_a_file_written_over_after_opening_are_refused(tmp_path, name):
    path = path_of(tmp_path, name)
    files.write(path, ["a"], [[1.0]], format=name, columns={"id": [1]})
    read = files.read(path)
    target = next(path.rglob("columns.jsonl")) if path.is_dir() else path
    with open(target, "ab") as file:
        file.write(b"more")
    with pytest.raises(FileError, match="was written to after it was opened"):
        read.columns["id"]


@pytest.mark.parametrize("name", HERE)
def test_what_a_format_does_not_hold_is_refused_by_name(tmp_path, name):
    path = path_of(tmp_path, name)
    if not FORMATS[name].columns:
        with pytest.raises(ValueError, match=rf"{name} holds no further columns \('id', 'x'\); leave them"):
            files.write(path, ["a"], [[1]], format=name, columns={"id": [1], "x": [2]})
    if not FORMATS[name].metadata:
        with pytest.raises(ValueError, match=f"{name} holds no metadata"):
            files.write(path, ["a"], [[1]], format=name, metadata={"model": "m"})
    files.write(path, ["a"], [[1]], format=name, metadata={}, columns={})
    assert files.read(path).columns == {}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"": [1, 2]}, ValueError, "the name of a column is empty"),
        ({"text": [1, 2]}, ValueError, "cannot be called 'text'"),
        ({"vector": [1, 2]}, ValueError, "cannot be called 'vector'"),
        ({5: [1, 2]}, ValueError, "the name of a column is 5, not a str"),
        ({"\ud800": [1, 2]}, ValueError, "half of a surrogate pair"),
        ([1, 2], TypeError, "columns is a list"),
        ({"id": [1]}, ValueError, r"columns\['id'\] and words differ in number: 1 and 2"),
        ({"id": 5}, TypeError, r"columns\['id'\] is a int"),
        ({"id": "ab"}, TypeError, r"columns\['id'\]"),
        ({"id": {1, 2}}, TypeError, r"columns\['id'\] is a set"),
        ({"id": [1, [2]]}, TypeError, r"columns\['id'\]\[1\] is a list"),
        ({"id": [b"x", 1]}, TypeError, r"columns\['id'\]\[0\] is a bytes"),
        ({"id": ["x", "\udc00"]}, ValueError, r"columns\['id'\]\[1\] is .*half of a surrogate pair"),
        ({"x" * 5000: [1j]}, TypeError, r"columns\['x{30,80}\.\.\.x+'\]\[0\] is a complex"),
        ({"id": np.ones(2, np.longdouble)}, TypeError, r"columns\['id'\]\[0\] is a longdouble"),
        ({"id": np.ones((2, 2))}, TypeError, r"columns\['id'\] is a ndarray of shape"),
    ],
)
def test_columns_that_cannot_be_written_are_refused_before_anything_is(
    tmp_path, name, columns, error, message
):
    for repeated in (False, True):
        with pytest.raises(error, match=message):
            files.write(
                tmp_path / "x", ["a", "b"], hashed(2, 3), format=name, columns=columns, repeated=repeated
            )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", TABLES)
def test_a_column_of_several_kinds_is_refused_where_it_cannot_be_held(tmp_path, name):
    path = path_of(tmp_path, name)
    for values, message in (
        (["1", 2], "int and str"),
        ([True, 2], "bool and int"),
        ([True, 0.5], "bool and float"),
        ([2**53 + 1, 0.5], "float and int"),
        ([-(2**63) - 1, 0], "int beyond 64 bits"),
        ([2**63, -1], "int beyond 64 bits"),
    ):
        if name == "index":
            files.write(path, ["a", "b"], hashed(2, 3), format=name, columns={"x": values})
            assert files.read(path).columns["x"] == tuple(values)
        else:
            with pytest.raises(ValueError, match=rf"columns\['x'\] holds {message}.*write an Index folder"):
                files.write(path, ["a", "b"], hashed(2, 3), format=name, columns={"x": values})
            assert not list(tmp_path.iterdir())
    for values in ([2**64 - 1, 0], [2**53, 0.5], [None, None]):
        files.write(path, ["a", "b"], hashed(2, 3), format=name, columns={"x": values})
        assert files.read(path).columns["x"] == tuple(values)


@pytest.mark.parametrize("name", TABLES)
def test_columns_of_arrays_and_of_other_classes(tmp_path, name):
    path = path_of(tmp_path, name)
    columns = {
        "int8": (np.array([1, -2], np.int8), (1, -2)),
        "float32": (np.array([0.5, np.nan], np.float32), (0.5, None)),
        "infinite": ([float("inf"), float("-inf")], (float("inf"), float("-inf"))),
        "bool": (np.array([True, False]), (True, False)),
        "str": (np.array(["x", "yz"]), ("x", "yz")),
        "scalars": ([np.int64(3), np.uint8(4)], (3, 4)),
        "float64": ([np.float64(3), float("nan")], (3.0, None)),
        "range": (range(2), (0, 1)),
        "iterator": (iter([5, 6]), (5, 6)),
        "keys": ({"p": 1, "q": 2}.keys(), ("p", "q")),
    }
    if find_spec("pyarrow"):
        import pyarrow as pa

        columns["arrow"] = (pa.array(["x", None]), ("x", None))
        columns["scalars of arrow"] = ([pa.scalar(1), pa.scalar(None)], (1, None))
    if find_spec("pandas"):
        import pandas as pd

        columns["pandas"] = (pd.Series([1, None], dtype="Int64"), (1, None))
        columns["numbers"] = (pd.Series([1.5, None]), (1.5, None))
    given_columns = {key: values for key, (values, _) in columns.items()}
    files.write(path, ["a", "b"], hashed(2, 3), format=name, columns=given_columns)
    read = files.read(path).columns
    for key, (_, values) in columns.items():
        assert read[key] == values, key
        assert [*map(type, read[key])] == [*map(type, values)], key


@pytest.mark.parametrize("name", HERE)
def test_a_stream_must_give_what_its_length_says(tmp_path, name):
    path = path_of(tmp_path, name)
    files.write(path, ["old"], [[1.0]], format=name)

    def state():
        return {entry: entry.stat().st_mtime_ns for entry in tmp_path.rglob("*") if entry.is_file()}

    before = state()
    for words, message in (
        (Stream(["a"], 2), "words has a length of 2, but yields 1 when"),
        (Stream(["a", "b", "c"], 2), "words has a length of 2, but yields more when"),
        (Stream(["a"]), "words and vectors differ in number: 1 and 2"),
        (Stream(["a", ""]), r"words\[1\] is empty"),
    ):
        with pytest.raises(ValueError, match=message):
            files.write(path, words, hashed(2, 3), format=name, repeated=True)
    with pytest.raises(TypeError, match=r"words\[1\] is a int"):
        files.write(path, Stream(["a", 5]), hashed(2, 3), format=name, repeated=True)
    blank = ["", "a", *[""] * 9]
    for words in (blank, Stream(blank)):
        with pytest.raises(ValueError, match=r"words\[0\], words\[2\], .* and 5 more are empty"):
            files.write(path, words, hashed(11, 3), format=name, repeated=True)
    times = 2 if name == "npy" else 3  # to be checked, for what the format cannot hold, and to be written
    for at in range(1, times + 1):

        class Shrinks(Stream):
            def __iter__(self, at=at):
                super().__iter__()
                return iter(self.values[: 1 if self.times == at else 2])

        with pytest.raises(ValueError, match="but yields 1 when"):
            files.write(path, Shrinks(["a", "b"]), hashed(2, 3), format=name, repeated=True)
    assert state() == before
    files.write(path, words := Stream(["a", "b"]), hashed(2, 3), format=name, repeated=True)
    assert words.times == times


@pytest.mark.parametrize("name", ABOUT)
def test_texts_that_are_streamed_are_not_all_in_memory(tmp_path, name, monkeypatch):
    monkeypatch.setattr("fastvec.files.arrow_writing._MOST_ROWS", 1 << 9)
    n, path = 8000, path_of(tmp_path, name)

    def peak(size):
        class Long(Stream):
            def __iter__(self):
                return (f"{i:06d}" + "x" * size for i in range(n))

        texts = Long(range(n))
        columns = {"c": texts} if FORMATS[name].columns else None
        tracemalloc.start()
        try:
            files.write(path, texts, np.ones((n, 2)), format=name, columns=columns, repeated=True)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # all modules are loaded
    more = -peak(1) + peak(1000)
    assert more < n * 1000 * (2.6 if name == "arrow" else 0.55)  # Arrow: the bytes of two columns, once
    read = files.read(path, repeated=True)
    assert len(read.words) == n
    assert read.words[n - 1][:7] == "007999x"


@pytest.mark.parametrize("name", ABOUT)
def test_metadata_goes_along(tmp_path, name):
    path = path_of(tmp_path, name)
    metadata = {
        "model": "m-1",
        "server": "https://x.org/v1",
        "dims": "3",
        "query_prefix": "query: ",
        "": "é\n",
    }
    files.write(path, ["a", "b"], hashed(2, 3), format=name, metadata=metadata)
    assert files.read(path).metadata == metadata
    opened = Vocabulary.open(path)
    assert opened.metadata == metadata
    with pytest.raises(TypeError):
        opened.metadata["model"] = "other"
    again = pickle.loads(pickle.dumps(opened))
    for to in ABOUT:
        again.save(tmp_path / f"again{FORMATS[to].suffixes[0]}", format=to)
        assert files.read(tmp_path / f"again{FORMATS[to].suffixes[0]}").metadata == metadata
    again.save(tmp_path / "plain.vec")
    assert opened.truncate(2).metadata == {**metadata, "dims": "2"}
    assert Vocabulary(["a"], [[1]]).metadata == {}
    files.write(path, ["a"], [[1, 2]], format=name, metadata={"dims": "9", "model": "m"})
    assert files.read(path).metadata == {"dims": "2", "model": "m"}  # the real width
    files.write(path, ["a"], [[1, 2]], format=name)
    assert files.read(path).metadata.keys() <= {"dims"}
    for wrong, message in (({"a": "\ud800"}, "half of a surrogate"), ({"a": "x" * (1 << 23)}, "too large")):
        with pytest.raises(ValueError, match=message):
            files.write(path, ["a"], [[1]], format=name, metadata=wrong)


@pytest.mark.parametrize("name", [name for name in TABLES if name != "index"])
class TestArrow:
    """Schemas and columns of other programs."""

    @staticmethod
    def save(path, table):
        import pyarrow as pa
        import pyarrow.parquet as parquet

        if path.suffix == ".parquet":
            parquet.write_table(table, path)
        else:
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table, max_chunksize=2)

    def test_metadata_of_other_programs_is_not_ours(self, tmp_path, name):
        import pyarrow as pa

        path = path_of(tmp_path, name)
        table = pa.table({"text": ["a"], "vector": [[1.0]]})
        foreign = {"pandas": "{}", "huggingface": "{}", b"\xff": b"\xfe", "model": "m", "dims": "1"}
        self.save(path, table.replace_schema_metadata(foreign))
        assert files.read(path).metadata == {"model": "m", "dims": "1"}
        self.save(path, table)
        assert files.read(path).metadata == {}
        for hostile, message in (
            ("{", "metadata fastvec is not JSON"),
            ("[" * 100_000, "metadata fastvec is not JSON"),
            ("[1]", "not an object of texts"),
            ('{"model": 5}', "not an object of texts"),
            ('{"model": {"a": "b"}}', "not an object of texts"),
            (b"\xff", "metadata fastvec is not JSON"),
        ):
            self.save(path, table.replace_schema_metadata({"fastvec": hostile}))
            with pytest.raises(FileError, match=message):
                files.read(path)

    def test_other_programs_read_the_model(self, tmp_path, name):
        import pyarrow as pa
        import pyarrow.parquet as parquet

        path = path_of(tmp_path, name)
        metadata = {"model": "m", "server": "s", "pandas": "not pandas's"}
        files.write(path, ["a"], [[1]], format=name, metadata=metadata, columns={"id": [1]})
        schema = parquet.read_schema(path) if name == "parquet" else pa.ipc.open_file(str(path)).schema
        assert schema.names == ["text", "vector", "id"]
        assert set(schema.metadata) == {b"model", b"dims", b"fastvec"}
        assert (schema.metadata[b"model"], schema.metadata[b"dims"]) == (b"m", b"1")

    def test_more_text_than_an_array_of_strings_holds(self, tmp_path, name, monkeypatch):
        """The limit of 2 GiB is set to 100 bytes."""
        monkeypatch.setattr("fastvec.files.arrow_writing._MOST_TEXT", 100)
        path = path_of(tmp_path, name)
        words = [f"word {i}" for i in range(40)]
        files.write(
            path, words, hashed(40, 3), columns={"long": [word * 9 for word in words], "id": range(40)}
        )
        read = files.read(path)
        assert read.words == tuple(words)
        assert read.columns["long"][39] == "word 39" * 9
        assert read.columns["id"] == tuple(range(40))
        assert_same_bits(np.ascontiguousarray(read.vectors), hashed(40, 3))

    def test_columns_of_other_programs(self, tmp_path, name):
        import pyarrow as pa

        path = path_of(tmp_path, name)
        moment = pa.array([1704164645123456789, None, 0], pa.timestamp("ns", "Europe/Berlin"))
        columns = {
            "small": (pa.array([1, None, -3], pa.int8()), (1, None, -3)),
            "large": (pa.array([2**64 - 1, 0, 1], pa.uint64()), (2**64 - 1, 0, 1)),
            "float": (pa.array([0.5, None, float("nan")], pa.float32()), (0.5, None, None)),
            "bool": (pa.array([True, None, False]), (True, None, False)),
            "coded": (pa.array(["x", None, "x"]).dictionary_encode(), ("x", None, "x")),
            "numbers": (pa.array([5, None, 5]).dictionary_encode(), (5, None, 5)),
            "long": (pa.array(["x", "é", None], pa.large_string()), ("x", "é", None)),
            "moment": (moment, ("2024-01-02T03:04:05.123456789Z", None, "1970-01-01T00:00:00.000000000Z")),
            "naive": (pa.array([1, None, None], pa.timestamp("ms")), ("1970-01-01T00:00:00.001", None, None)),
            "day": (pa.array([0, None, 19000], pa.date32()), ("1970-01-01", None, "2022-01-08")),
            "time": (pa.array([0, None, 61], pa.time32("ms")), ("00:00:00.000", None, "00:00:00.061")),
            "price": (pa.array(["2.50", None, "0.00"]).cast(pa.decimal128(9, 2)), ("2.50", None, "0.00")),
            "nothing": (pa.nulls(3), (None, None, None)),
            "with.dot": (pa.array([1, 2, 3]), (1, 2, 3)),
        }  # fmt: skip
        others = {
            "nested": pa.array([{"a": 1}, None, {"a": 2}]),
            "list": pa.array([["a"], [], None]),
            "bytes": pa.array([b"x", b"", None]),
            "": pa.array([1, 2, 3]),
        }
        table = pa.table(
            {
                "text": ["a", "b", "c"],
                "vector": [[1.0], [2.0], [3.0]],
                **{k: v[0] for k, v in columns.items()},
                **others,
            }
        )
        table = table.append_column("twice", pa.array([1, 2, 3])).append_column("twice", pa.array([1, 2, 3]))
        self.save(path, table)
        read = files.read(path)
        assert read.column_names == tuple(columns)
        for key, (_, values) in columns.items():
            assert read.columns[key] == values, key
            assert files.read(path, limit=2).columns[key] == values[:2]
        files.write(tmp_path / "index", read.words, read.vectors, columns=read.columns)
        assert dict(files.read(tmp_path / "index").columns) == dict(read.columns)

    @pytest.mark.filterwarnings("ignore:.*words are repeated")
    def test_hostile_columns_give_one_error_or_an_answer(self, tmp_path, name):
        import pyarrow as pa

        path = path_of(tmp_path, name)
        columns = {"x": pa.array(["one", None, "three"]), "y": pa.array(["p", "q", "p"]).dictionary_encode()}
        self.save(path, pa.table({"text": list("abc"), "vector": [[1.0], [2.0], [3.0]], **columns}))
        data, rng, wrong = path.read_bytes(), np.random.default_rng(2), 0
        for at in range(4, len(data), 3):
            changed = bytearray(data)
            changed[at] ^= int(rng.integers(1, 256))
            path.write_bytes(changed)
            try:
                read = files.read(path, format=name)
                for values in read.columns.values():
                    assert len(values) == len(read.vectors)
            except FileError as error:
                wrong += 1
                assert "\n" not in str(error)  # noqa: PT017
        assert wrong > 5


def test_verify_reads_columns(tmp_path):
    path = tmp_path / "index"
    files.write(path, WORDS, hashed(5, 3), columns=COLUMNS, repeated=True)
    files.verify(path)
    target = next(path.rglob("columns.jsonl"))
    data = target.read_bytes()
    assert [json.loads(line)["id"] for line in data.splitlines()] == list(COLUMNS["id"])
    target.write_bytes(data.replace(b"10", b"12"))
    with pytest.raises(FileError, match=r"columns\.jsonl: its bytes are not those"):
        files.verify(path)
    with pytest.raises(FileError, match=r"columns\.jsonl: its bytes are not those"):
        files.read(path, repeated=True).columns["id"]
    target.unlink()
    with pytest.raises(FileError, match=r"columns\.jsonl: missing"):
        files.read(path)


def test_columns_go_with_the_index_that_replaces_theirs(tmp_path):
    path = tmp_path / "index"
    files.write(path, WORDS, hashed(5, 3), columns=COLUMNS, repeated=True)
    for entry in path.rglob("*"):
        entry.chmod(0o700 if entry.is_dir() else 0o600)
    files.write(path, ["a"], [[1.0]])
    assert files.read(path).column_names == ()
    assert not list(path.rglob("columns.jsonl"))
    files.write(path, WORDS, hashed(5, 3), columns=COLUMNS, repeated=True)
    assert {entry.stat().st_mode & 0o077 for entry in path.rglob("*")} == {0}  # columns.jsonl is new there
    assert len(list(path.iterdir())) == 2
