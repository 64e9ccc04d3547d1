"""Damaged and forged files: what is read is what an independent reader reads, or there is an error.

The twins here read a format as its definition says, in a few plain lines; they share none with fastvec.
"""

import io
import json
import re
import shutil
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import oracle
from fuzz_tools import Target, damaged, documented, matrix, same_bits

from fastvec import Index, Vocabulary, files
from fastvec.commands import records
from fastvec.commands.decoding import decode, ended_lines, lines, pieces
from fastvec.errors import FileError
from fastvec.files import row_sources, text, vector_sets

WORDS = ("king", "queen", "a b", "1", "2.5", "猫", "é", "", "1e5", "inf", ":", "x" * 200, "-", "\ufeffword")


class Samples(NamedTuple):
    """Valid files to damage."""

    path: Path
    valid: tuple[bytes, ...]


def _numbers(rng, count):
    return " ".join(rng.choice(("%d", "%.6f", "%.9g", "%e")) % rng.gauss(0, 5) for _ in range(count))


def _text_samples(folder, *, header, name):
    import random

    rng = random.Random(7)
    made = [b"", b"1 1\n", b"0 3\n", "\ufeff2 2\na 1 2\nb 3 4\n".encode()]
    for end in ("\n", "\r\n", " \n", "\t\n"):
        for rows, dims in ((1, 1), (3, 2), (5, 3), (20, 9), (2, 200)):
            body = "".join(f"{rng.choice(WORDS)} {_numbers(rng, dims)}{end}" for _ in range(rows))
            made.append((f"{rows} {dims}{end}" * header + body).encode())
    return Samples(folder / name, tuple(made))


def _glove(folder):
    return _text_samples(folder, header=False, name="words.txt")


def _word2vec(folder):
    return _text_samples(folder, header=True, name="words.vec")


def read_both(path, form):
    """What ``files.read`` and ``Index.build`` read, as (words, vectors); None for what is refused."""
    whole = parts = None
    errors = "replace" if files.FORMATS[form].words_of_bytes else "strict"
    with documented(FileError, naming=path):
        read = files.read(path, format=form, errors=errors, repeated=True)
        whole = read.words, np.array(read.vectors)
    with documented(FileError, naming=path):
        blocks = list(row_sources.opened(path, form=form, errors=errors).blocks(0))
        words = [word for block in blocks for word in block.words]
        vectors = [np.asarray(block.vectors) for block in blocks]
        parts = words, np.concatenate(vectors) if vectors else None
    return whole, parts


def agree(one, other):
    """Whether two readings have the same words that are not blank, and the same vectors."""
    (words, vectors), (others, rows) = one, other
    kept = [row for row, word in enumerate(others) if word]
    assert list(words) == [others[row] for row in kept], (words[:5], others[:5])
    if rows is not None:
        assert same_bits(vectors, rows[kept])


def text_twin(data, dims, promised):
    """The rows of text: words, and numbers as Python reads them; None if a line is not so."""
    body = data.rstrip(b" \t\r\n")
    rows = body.split(b"\n") if body else []
    if promised is not None and len(rows) != promised:
        return None
    words, values = [], np.empty((len(rows), dims), np.float32)
    for number, line in enumerate(rows):
        fields = list(re.finditer(rb"[^ \t\r]+", line))
        first = len(fields) - dims
        if first < 0 or fields[first].start() == 0:
            return None
        word = line[: fields[first].start()].rstrip(b" \t\r")
        before = re.split(rb"[ \t\r]", word)
        if len(before) > 1 and text.NUMBER.fullmatch(before[-1]):
            return None
        numbers = [field[0] for field in fields[first:]]
        if not all(map(text.NUMBER.fullmatch, numbers)):
            return None
        with np.errstate(over="ignore"):
            values[number] = [np.float32(float(field)) for field in numbers]
        if not np.isfinite(values[number]).all():
            return None
        words.append(word.decode("utf-8", "replace"))
    return words, values


def _damaged_text(samples, rng):
    data = damaged(rng, rng.choice(samples.valid), samples.valid)
    samples.path.write_bytes(data)
    return data


def glove_case(samples, rng):
    data = _damaged_text(samples, rng)
    whole, parts = read_both(samples.path, "glove")
    if whole is not None:
        twin = text_twin(data.removeprefix(text.MARK), whole[1].shape[1], None)
        assert twin is not None, "read, though a line is not a word and numbers"
        agree(whole, twin)
    if parts is not None and whole is not None:
        agree(whole, parts)
    if parts is None:
        assert whole is None
    _settled(samples.path, whole, "glove")


def word2vec_case(samples, rng):
    data = _damaged_text(samples, rng)
    whole, parts = read_both(samples.path, "word2vec-text")
    head = re.match(rb"[ \t]*([0-9]{1,18})[ \t]+([0-9]{1,18})[ \t\r]*(?:\n|$)", data.removeprefix(text.MARK))
    twin = None
    if head is not None and 1 <= int(head[2]) <= 131_072:
        twin = text_twin(data.removeprefix(text.MARK)[head.end() :], int(head[2]), int(head[1]))
    if whole is not None:
        assert twin is not None, "read, though it is not what its first line says"
        agree(whole, twin)
    elif twin is not None:
        assert b"\r" in data, "refused, though every line is right"
    if parts is not None and parts[1] is not None:
        assert twin is not None
        agree(parts if all(parts[0]) else whole or parts, twin)
    _settled(samples.path, whole, "word2vec-text")


def _settled(path, whole, form):
    """What ``Vocabulary.open`` makes of the file: the first of equal words counts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with documented(FileError, naming=path):
            assert files.detect(path) in files.FORMATS
        with documented(FileError, naming=path):
            opened = Vocabulary.open(path, format=form, errors="replace")
            assert len(opened.words) == len(set(opened.words)) == len(opened.vectors)
            if whole is not None and opened.vectors.shape[1] == whole[1].shape[1]:
                first = {word: row for row, word in reversed(list(enumerate(whole[0])))}
                assert set(opened.words) == set(first) or len(opened.words) != len(first)


def _binary(folder):
    import random

    rng = random.Random(8)
    made = [b"0 4\n", b"1 1\na \0\0\0\0"]
    for between in (b"", b"\n"):
        for rows, dims in ((1, 1), (3, 2), (9, 5), (2, 300)):
            vectors = matrix(rng, rows, dims)
            body = (rng.choice(WORDS).replace(" ", "_").encode() + b" " + row.tobytes() for row in vectors)
            made.append(b"%d %d\n" % (rows, dims) + b"".join(record + between for record in body))
    return Samples(folder / "words.bin", tuple(made))


def binary_twin(data):
    """Records of a word, a space and float32; None if the file does not end after the last one."""
    data = data.removeprefix(text.MARK)
    head = re.match(rb"[ \t]*([0-9]{1,18})[ \t]+([0-9]{1,18})[ \t\r]*(?:\n|$)", data)
    if head is None:
        return None
    rows, dims, at = int(head[1]), int(head[2]), head.end()
    if not 1 <= dims <= 131_072 or rows * (1 + 4 * dims) > len(data):
        return None
    words, vectors = [], np.empty((rows, dims), np.float32)
    for row in range(rows):
        while data[at : at + 1] == b"\n":
            at += 1
        space = data.find(b" ", at)
        if space < 0 or space + 1 + 4 * dims > len(data):
            return None
        words.append(data[at:space].decode("utf-8", "replace"))
        at = space + 1 + 4 * dims
        vectors[row] = np.frombuffer(data[space + 1 : at], "<f4")
    if data[at:].strip(b"\n"):
        return None
    return words, vectors


def binary_case(samples, rng):
    data = _damaged_text(samples, rng)
    whole, parts = read_both(samples.path, "word2vec-binary")
    twin = binary_twin(data)
    finite = twin is not None and np.isfinite(twin[1]).all()
    assert (whole is not None) == bool(finite), (whole is None, twin is None)
    if whole is not None:
        agree(whole, twin)
    assert (parts is not None) == (twin is not None)
    if parts is not None and parts[1] is not None:
        assert list(parts[0]) == twin[0]
        assert same_bits(parts[1], twin[1])
    _settled(samples.path, whole, "word2vec-binary")


class Pair(NamedTuple):
    """A valid ``.npy`` file with its words and metadata."""

    path: Path
    valid: tuple[tuple[bytes, bytes, bytes], ...]


def _npy(folder):
    import random

    rng = random.Random(9)
    made = []
    for dtype in ("<f4", ">f4", "<f2", "<f8", "|i1", "<u2", "<i8", ">i4"):
        for rows, dims in ((0, 3), (1, 1), (5, 4), (3, 70)):
            rows_of = np.rint(np.clip(matrix(rng, rows, dims) * 10, 0, 100)).astype(dtype)
            file = io.BytesIO()
            np.save(file, np.asfortranarray(rows_of) if rng.random() < 0.3 else rows_of)
            words = "".join(json.dumps(f"word {row}") + "\n" for row in range(rows)).encode()
            about = {"format": "fastvec metadata", "shape": [rows, dims], "metadata": {"model": "猫"}}
            made.append((file.getvalue(), words, json.dumps(about).encode()))
    return Pair(folder / "a.npy", tuple(made))


def npy_case(pair, rng):
    vectors, words, about = rng.choice(pair.valid)
    kind = rng.randrange(4)
    if kind <= 1:
        vectors = damaged(rng, vectors, tuple(one for one, _, _ in pair.valid))
    elif kind == 2:
        words = damaged(rng, words, (about,))
    else:
        about = damaged(rng, about, (words,))
    path = pair.path
    path.write_bytes(vectors)
    path.with_suffix(".texts.jsonl").write_bytes(words)
    path.with_suffix(".meta.json").write_bytes(about)
    found = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with documented(FileError, naming=path.with_suffix("")):
            read = files.read(path, format="npy", repeated=True)
            found = read.words, np.array(read.vectors)
        if found is None:
            return
        twin = np.load(io.BytesIO(vectors), allow_pickle=False)
    texts = [json.loads(line) for line in words.removeprefix(text.MARK).splitlines(keepends=True)]
    kept = [row for row, word in enumerate(texts) if word]
    assert list(found[0]) == [texts[row] for row in kept]
    assert found[1].tobytes() == twin[kept].tobytes()
    built = None
    with documented(FileError, naming=path.with_suffix("")):
        blocks = list(row_sources.opened(path).blocks(0))
        built = [word for block in blocks for word in block.words]
    assert built == texts, "built of other words"


def _arrow(folder):
    import pyarrow as pa

    made = []
    for kind in (pa.list_(pa.float32(), 3), pa.list_(pa.float32()), pa.large_list(pa.float64())):
        for strings in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
            words = pa.array(["king", "猫", "a", "b", "king"], strings)
            vectors = pa.array([[1, 2, 3], [4, 5, 6], [0, 0, 1], [0.5, -1, 2], [7, 8, 9]], kind)
            ids = pa.array([1, None, 3, 4, 5], pa.int64())
            fields = [("text", strings), ("vector", kind), ("id", pa.int64())]
            schema = pa.schema(fields, metadata={"fastvec": '{"model": "m"}', "dims": "3"})
            made.append(pa.table([words, vectors, ids], schema))
    return made


def _ipc(folder):
    import pyarrow as pa

    made = []
    for table in _arrow(folder):
        for writer in (pa.ipc.new_file, pa.ipc.new_stream):
            for batch in (2, 5):
                sink = io.BytesIO()
                with writer(sink, table.schema) as file:
                    file.write_table(table, max_chunksize=batch)
                made.append(sink.getvalue())
    return Samples(folder / "a.arrow", tuple(made))


def _parquet(folder):
    import pyarrow.parquet as pq

    made = []
    for table in _arrow(folder):
        for options in ({}, {"row_group_size": 2}, {"compression": "none", "use_dictionary": False}):
            sink = io.BytesIO()
            pq.write_table(table, sink, **options)
            made.append(sink.getvalue())
    return Samples(folder / "a.parquet", tuple(made))


def _arrow_twin(data, form):
    """Words and rows as Arrow itself reads them, after its full validation; None if it fails."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        source = pa.BufferReader(data)
        if form == "parquet":
            table = pq.ParquetFile(source).read()
        else:
            opened = pa.ipc.open_file if data[:6] == b"ARROW1" else pa.ipc.open_stream
            table = opened(source).read_all()
        table.validate(full=True)
        return table["text"].to_pylist(), table["vector"].to_pylist()
    except Exception:
        return None


def arrow_case(samples, rng, form="arrow"):
    data = damaged(rng, rng.choice(samples.valid), samples.valid)
    samples.path.write_bytes(data)
    whole, parts = read_both(samples.path, form)
    if whole is None and parts is None:
        return
    twin = _arrow_twin(data, form)
    if twin is None:
        return  # of another column, or with other names
    words, rows = twin
    for found in (whole, parts):
        if found is not None and found[1] is not None:
            kept = [row for row, word in enumerate(words) if word] if found is whole else range(len(words))
            assert list(found[0]) == [words[row] for row in kept]
            expected = np.array([rows[row] for row in kept], found[1].dtype).reshape(found[1].shape)
            assert same_bits(np.ascontiguousarray(found[1]), expected)


def parquet_case(samples, rng):
    arrow_case(samples, rng, "parquet")


def _sets(folder):
    import random

    rng = random.Random(3)
    made = {}
    for suffix in vector_sets.READERS:
        if suffix in (".npy", ".h5"):
            continue
        several = []
        for rows, dims in ((1, 1), (3, 4), (20, 9)):
            values = np.rint(np.clip(matrix(rng, rows, dims) * 10, 0, 100))
            several.append(_set_bytes(suffix, values))
        made[suffix] = tuple(several)
    return folder, made


def _set_bytes(suffix, values):
    kinds = {".fvecs": "<f4", ".ivecs": "<i4", ".bvecs": "u1"}
    if suffix in kinds:
        rows = values.astype(kinds[suffix])
        return b"".join(np.int32(rows.shape[1]).tobytes() + row.tobytes() for row in rows)
    if suffix == ".hdf5":
        import h5py

        sink = io.BytesIO()
        with h5py.File(sink, "w") as file:
            file.create_dataset("train", data=values.astype("<f4"), chunks=True, compression="gzip")
            file["test"], file["neighbors"] = values.astype("<f4"), values.astype("<i4")
            file["distances"] = values.astype("<f4")
        return sink.getvalue()
    kinds = {".fbin": "<f4", ".u8bin": "u1", ".i8bin": "i1", ".ibin": "<i4"}
    rows = values.astype(kinds[suffix])
    more = values.astype("<f4").tobytes() if suffix == ".ibin" and len(values) > 1 else b""
    return np.array(rows.shape, "<u4").tobytes() + rows.tobytes() + more


def _set_twin(data, suffix):
    """The values of a file of vectors, read at the places where its format says they are."""
    kind, width = {"f": ("<f4", 4), "i": ("<i4", 4), "b": ("u1", 1), "u": ("u1", 1)}[suffix[1]]
    if suffix == ".i8bin":
        kind, width = "i1", 1
    if suffix.endswith("vecs"):
        dims = int.from_bytes(data[:4], "little", signed=True)
        size = 4 + dims * width
        records = [data[at : at + size] for at in range(0, len(data), size)]
        assert all(int.from_bytes(record[:4], "little", signed=True) == dims for record in records)
        return np.array([np.frombuffer(record, kind, dims, 4) for record in records], kind)
    rows, dims = np.frombuffer(data, "<u4", 2).tolist()
    return np.frombuffer(data, kind, rows * dims, 8).reshape(rows, dims)


def sets_case(place, rng, suffixes=None):
    folder, made = place
    suffix = rng.choice(suffixes or [one for one in made if one != ".hdf5"])
    data = damaged(rng, rng.choice(made[suffix]), made[suffix])
    path = folder / f"a{suffix}"
    path.write_bytes(data)
    role = rng.choice(("vectors", "vectors", "queries", "answers", "scores"))
    read = None
    with documented(FileError, naming=path):
        found = vector_sets.read(path, role)
        if found.shape[0] * found.shape[1] <= 1 << 22:
            read = np.array(found[0 : found.shape[0]])
            some = np.array(found[1:3])
            assert same_bits(read[1:3], some)
    if read is not None and suffix != ".hdf5" and not (suffix == ".ibin" and role == "scores"):
        assert same_bits(read, _set_twin(data, suffix))


def hdf5_case(place, rng):
    sets_case(place, rng, [".hdf5"])


def _evaluation(folder):
    words = ["man", "woman", "king", "queen", "Paris", "paris"]
    vocabulary = Vocabulary(words, matrix(__import__("random").Random(0), 6, 5) + 1)
    questions = b": royal\nman king woman queen\nParis man paris woman\n\n: none\nx y z w\n"
    pairs = b"man\twoman\t8.5\nking\tqueen\t7\n# comment\nword1,word2,human\nx\ty\t1\n"
    return vocabulary, folder / "questions", (questions, pairs, questions.replace(b"\n", b"\r\n"))


def evaluation_case(place, rng):
    vocabulary, path, valid = place
    path.write_bytes(damaged(rng, rng.choice(valid), valid))
    with documented(FileError, naming=path):
        found = vocabulary.evaluate_analogies(path, case_insensitive=rng.random() < 0.5)
        asked = len(found.total.correct) + len(found.total.incorrect)
        assert 0 <= found.accuracy <= 1
        assert asked + len(found.total.unknown) >= 1
    with documented(FileError, naming=path):
        found = vocabulary.evaluate_pairs(path)
        assert 0 <= found.coverage <= 1
        assert not abs(found.spearman) > 1


def _records(folder):
    return (
        "a text\nanother\n\nwith é\n".encode(),
        b'text,id\n"a, b",1\n"c ""d""",2\nplain,3\n',
        b"text\tid\na\t1\nb\t2\n",
        b'"one"\n{"text": "two", "id": 1}\n{"text": "three", "id": null}\n',
        "\ufefftext,id\r\nx,1\r\n".encode(),
        "text,id\nx,1\n".encode("utf-16"),
    )


def records_case(valid, rng):
    """Texts to embed: every record is read, or one line is named."""
    data = damaged(rng, rng.choice(valid), valid)
    form = rng.choice(tuple(records.FORMATS))
    column = rng.choice((None, None, "text", "id", ""))
    keep = rng.choice(((), (), ("id",), ("id", "id"), ("none",)))
    quoting = rng.choice(("auto", "auto", "none", "csv"))
    with documented(ValueError):
        found = list(
            records.records(
                ended_lines(pieces(io.BytesIO(data))), form, records.Columns(column, quoting, keep)
            )
        )
        for record in found:
            record.text.encode()
        if form == "lines" and data.isascii():
            plain = data.decode().replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
            assert "\n".join(record.text for record in found) == plain
    with documented(ValueError):
        for word in lines(decode(data)):
            assert word == word.rstrip("\n")


_NASTY = (
    *(
        "a",
        "b",
        "c",
        "a",
        "",
        " ",
        "a b",
        "\t",
        "\n",
        "a\nb",
        "\r\n",
        "\0",
        "\ud800",
        "\udc80",
        "\ufeff",
        "\u2028",
    ),
    *(
        "\x85",
        "\x1c",
        "猫",
        "e\u0301",
        "é",
        '"',
        "\\",
        ",",
        "1",
        "1 2",
        "nan",
        "x" * 3000,
        "{}",
        "null",
        "%s",
        "\x7f",
    ),
)
_VALUES = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2.5,
        float("nan"),
        float("inf"),
        -0.0,
        5e-324,
        1 << 53,
        (1 << 53) + 1,
        1 << 62,
    ),
    *(
        1 << 63,
        1 << 64,
        10**400,
        np.int8(3),
        np.uint64(1 << 63),
        np.float32(0.1),
        np.bool_(True),
        np.longdouble(1),
    ),
    *(b"x", [1], (), {}, 1j, object(), np.datetime64("2020-01-01"), np.str_("s"), np.array(4), np.array([4])),
)


def write_case(place, rng):
    """What is written is read back; what is refused leaves everything as it was."""
    folder = place / "written"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    form = rng.choice([name for name in files.FORMATS if name != "index"] + ["index"] * 2)
    path = folder / f"a{files.FORMATS[form].suffixes[0]}"
    n, dims = rng.randrange(5), rng.choice((1, 3))
    if rng.random() < 0.5:
        files.write(path, ["before"], [[1.0] * dims], format=form)
    words = [rng.choice(_NASTY) if rng.random() < 0.3 else f"w{row}" for row in range(n)]
    given = rng.choice((list, tuple, iter, np.array, lambda x: x[:-1], lambda x: [*x, None], set))(words)
    vectors = matrix(rng, n, dims)
    if rng.random() < 0.1 and n:
        vectors[0, 0] = rng.choice((np.nan, np.inf))
    metadata = rng.choice(
        (None, None, {}, {"model": rng.choice(_NASTY)}, {rng.choice(_NASTY): "m"}, {"dims": "7"}, 7)
    )
    columns = None
    if rng.random() < 0.4:
        kinds = rng.sample(_VALUES, rng.choice((1, 1, 2, 3)))
        values = [rng.choice(kinds) for _ in range(n)]
        columns = {rng.choice(("id", "id", "vector", *_NASTY)): values, "more": ["x"] * n}
    repeated = rng.random() < 0.5
    before = _tree(folder)
    done = False
    with documented(ValueError, TypeError, OSError):
        files.write(path, given, vectors, format=form, metadata=metadata, columns=columns, repeated=repeated)
        done = True
    if not done:
        assert _tree(folder) == before, "refused, and yet something is another one"
        return
    if form == "glove" and not n:
        return  # an empty file
    read = files.read(path, format=form, repeated=True)
    assert read.words == tuple(words)
    assert same_bits(np.ascontiguousarray(read.vectors, np.float32), vectors)
    about = {name: value for name, value in (metadata or {}).items() if name != "dims"}
    assert {name: value for name, value in read.metadata.items() if name != "dims"} == about
    assert read.metadata.get("dims", str(dims)) == str(dims)
    for name, values in (columns or {}).items():
        expected = [value.item() if isinstance(value, np.generic | np.ndarray) else value for value in values]
        assert read.columns[name] == tuple(None if value != value else value for value in expected)


def _tree(folder):
    found = {one: one.read_bytes() for one in folder.rglob("*") if one.is_file()}
    return {one: data for one, data in found.items() if not one.name.startswith(".")}


class _Matrix:
    """What says that it is a matrix, and what a slice of it is."""

    def __init__(self, shape, dtype, rows):
        self.shape, self.dtype, self._rows = shape, dtype, rows

    def __getitem__(self, rows):
        return self._rows(rows)


def _a_source(rng, rows):
    """Rows to build an Index of, in blocks, as an array, or as what lies; and whether they are right."""
    n, dims = rows.shape
    cut = rng.randrange(n + 1)
    kind = rng.randrange(12)
    if kind == 0:
        return iter([rows[:cut], rows[cut:]]), True
    if kind == 1:
        return iter([([f"w{row}" for row in range(n)], rows)]), True
    if kind == 2:
        return rng.choice((rows, np.asfortranarray(rows), rows.astype(">f4"), rows.astype("f8"))), True
    if kind == 3:
        return _Matrix((n, dims), np.dtype("f4"), lambda chosen: rows[chosen]), True
    if kind == 4:
        return _Matrix((n + rng.choice((1, 5)), dims), np.dtype("f4"), lambda chosen: rows[chosen]), False
    if kind == 5:
        wrong = rng.choice(
            (
                rows[:, :-1],
                rows.astype("f8"),
                rows.tolist(),
                None,
                7,
                rows.astype("U3"),
                rows[0],
                rows * np.nan,
            )
        )
        return _Matrix((n, dims), np.dtype("f4"), lambda _: wrong), None
    if kind == 6:
        return _Matrix(
            rng.choice(((n,), (n, dims, 1), (n, 0), (-1, dims), None, 7, (n, 1 << 40))), np.dtype("f4"), None
        ), False
    if kind == 7:
        return _Matrix(
            (n, dims), rng.choice(("f4", None, "U3", object, complex, 7)), lambda chosen: rows[chosen]
        ), None
    if kind == 8:
        return iter(
            [rows[:cut], rng.choice((rows[:, :-1], rows * np.inf, None, "text", (["a"], rows), [[1]], 7))]
        ), False

    def failing():
        yield rows[:cut]
        raise RuntimeError("a fault of the source")

    if kind == 9:
        return failing(), False
    wrong = (
        None,
        7,
        "none.npy",
        b"rows",
        [],
        [1.0],
        {},
        iter([]),
        iter([7]),
        [[]],
        [None],
        iter([("a",)]),
        iter([([], [])]),
    )
    return rng.choice(wrong), False


def build_case(place, rng):
    """Of right rows, an Index with their answers; of others, an error, and nothing is left."""
    path = place / "built"
    for one in (path, place / "built.unfinished"):
        shutil.rmtree(one, ignore_errors=True)
    rows = matrix(rng, rng.choice((1, 2, 20)), rng.choice((2, 70)))
    source, right = _a_source(rng, rows)
    metric = rng.choice(("cosine", "dot", "euclidean", "manhattan"))
    index = None
    with documented(ValueError, TypeError, OSError, RuntimeError):
        try:
            index = Index.build(source, path, metric=metric)
        except RuntimeError as error:
            if str(error) != "a fault of the source":
                raise
    assert index is not None or right is not True, "refused"
    assert index is None or right is not False, "accepted"
    if index is None:
        assert not path.exists(), "an Index of what was refused"
        assert not (place / "built.unfinished").exists()
    else:
        found = index.search(rows[:1], 3)
        expected = oracle.knn(rows[:1], index.fetch(np.arange(len(index))), 3, metric)
        assert same_bits(found.indices, expected.indices)
        assert same_bits(found.scores, expected.scores)
        if right:
            assert same_bits(index.fetch(np.arange(len(index))), rows)
            files.verify(path)


def _place(place):
    return place


TARGETS = {
    "glove": Target(_glove, glove_case, 350),
    "word2vec-text": Target(_word2vec, word2vec_case, 350),
    "word2vec-binary": Target(_binary, binary_case, 400),
    "npy": Target(_npy, npy_case, 400),
    "arrow": Target(_ipc, arrow_case, 300),
    "parquet": Target(_parquet, parquet_case, 150),
    "vector-sets": Target(_sets, sets_case, 500),
    "hdf5": Target(_sets, hdf5_case, 100),
    "evaluation": Target(_evaluation, evaluation_case, 150),
    "records": Target(_records, records_case, 1000),
    "write": Target(_place, write_case, 200),
    "build": Target(_place, build_case, 60),
}
