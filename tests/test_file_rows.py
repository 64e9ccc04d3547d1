"""Rows of files and arrays that are fetched, and rows that an Index is built of: each reader by itself."""

import numpy as np
import pytest
from data import hashed

from fastvec import files
from fastvec.files import FileError, row_sources, rows
from fastvec.files.ordinary import Held
from fastvec.files.rows import ArrayRows, FileRows, Stream, Windows

OFFSET = 64


def file_of(folder, matrix, name="rows"):
    path = folder / name
    path.write_bytes(bytes(OFFSET) + matrix.tobytes() + b"behind the rows")
    return Held(path)


@pytest.fixture(params=["float32", "float16", "uint8"])
def matrix(request):
    return (100 * hashed(40, 3)).astype(request.param)


@pytest.fixture(params=[1 << 24, 20])
def piece(request, monkeypatch):
    """How many bytes are read at a time."""
    monkeypatch.setattr(rows, "_PIECE_BYTES", request.param)


@pytest.mark.usefixtures("piece")
def test_rows_of_a_file(tmp_path, matrix):
    held = FileRows(file_of(tmp_path, matrix), OFFSET, matrix.shape, matrix.dtype)
    array = ArrayRows(matrix)
    for one in (held, array):
        assert (len(one), one.shape, one.dtype, one.nbytes) == (40, (40, 3), matrix.dtype, matrix.nbytes)
        for part in (slice(None), slice(5, 9), slice(9, 5), slice(-3, None), slice(38, 99), slice(40, None)):
            assert np.asarray(one[part]).tolist() == matrix[part].tolist()
            assert (len(one[part]), one[part].nbytes) == (len(matrix[part]), matrix[part].nbytes)
        assert np.asarray(one[5:9][1:]).tolist() == matrix[6:9].tolist()
        assert np.asarray(one).dtype == matrix.dtype
        assert np.asarray(one, np.float64).dtype == np.float64
        for numbers in ([], [0], [39], [3, 4, 5, 20], [20, 3, 3, 39, 0]):
            found = one.fetch(np.array(numbers, np.int64))
            assert (found.dtype, found.shape) == (np.float32, (len(numbers), 3))
            assert found.tolist() == matrix[numbers].astype(np.float32).tolist()
        assert one[10:].fetch(np.array([1, 0])).tolist() == matrix[[11, 10]].astype(np.float32).tolist()
    taken = held.take(np.array([7, 2]))
    assert (taken.dtype, taken.tolist()) == (matrix.dtype, matrix[[7, 2]].tolist())
    copy = np.array(array, copy=True)
    assert not np.shares_memory(copy, matrix)
    assert np.shares_memory(np.asarray(array), matrix)


def test_codes_that_are_mapped_while_they_are_used(tmp_path, matrix):
    windows = Windows(file_of(tmp_path, matrix), OFFSET, matrix.shape, matrix.dtype)
    assert (len(windows), windows.shape, windows.dtype) == (40, (40, 3), matrix.dtype)
    assert (windows.strides, windows.nbytes) == (matrix.strides, matrix.nbytes)
    for part in (slice(None), slice(5, 9), slice(9, 5), slice(-3, None), slice(40, None)):
        assert np.asarray(windows[part]).tolist() == matrix[part].tolist()
        assert windows[part].shape == matrix[part].shape
    assert np.asarray(windows[5:9][1:3]).tolist() == matrix[6:8].tolist()
    out = np.zeros((3, 3), matrix.dtype)
    assert np.take(windows, np.array([9, 0, 39]), axis=0, out=out, mode="clip") is out
    assert out.tolist() == matrix[[9, 0, 39]].tolist()


@pytest.mark.usefixtures("piece")
@pytest.mark.parametrize("left", [OFFSET, OFFSET + 40 * 12 - 1])
def test_rows_that_were_cut_off_are_missed(tmp_path, left):
    matrix = hashed(40, 3)
    held = file_of(tmp_path, matrix)
    with open(held.path, "rb+") as file:
        file.truncate(left)
    for one in (
        FileRows(held, OFFSET, (40, 3), np.dtype(np.float32)),
        Windows(held, OFFSET, (40, 3), np.dtype(np.float32)),
    ):
        with pytest.raises(FileError, match="rows: cut short since it was opened"):
            np.asarray(one)
        assert np.asarray(one[:0]).shape == (0, 3)
    with pytest.raises(FileError, match="cut short"):
        FileRows(held, OFFSET, (40, 3), np.dtype(np.float32)).fetch(np.array([0, 39]))
    whole = file_of(tmp_path, matrix)
    with open(whole.path, "rb+") as file:
        file.truncate(OFFSET + 40 * 12)
    for one in (FileRows, Windows):
        assert np.asarray(one(whole, OFFSET, (40, 3), np.dtype(np.float32))).tolist() == matrix.tolist()


def test_blocks_that_go_by_are_numbered_through(tmp_path, monkeypatch):
    matrix = hashed(40, 3)
    held = FileRows(file_of(tmp_path, matrix), OFFSET, (40, 3), np.dtype(np.float32))
    stream = Stream((held[:25], ArrayRows(matrix[25:].astype(np.float16))))
    assert stream.rows == 40
    right = [*matrix[:25].tolist(), *matrix[25:].astype(np.float16).tolist()]
    for piece, starts in ((1 << 24, [0, 25]), (10 * 12, [0, 10, 20, 25, 35]), (1, [*range(40)])):
        monkeypatch.setattr(rows, "_PIECE_BYTES", piece)
        runs = [(first, run.copy()) for first, run in stream.runs()]
        assert [first for first, _ in runs] == starts
        assert np.concatenate([run for _, run in runs]).tolist() == right
        assert {run.dtype for _, run in runs} == {np.dtype(np.float32)}
        ends = []
        for ((first, last, place),) in stream.batches():
            ends.append((first, last))
            assert place.origin + first * place.stride == place.array.ctypes.data
            assert place.array.tolist() == right[first:last]
        assert ends == [*zip(starts, [*starts[1:], 40], strict=True)]


def rows_of(source, start=0):
    """The blocks of a source: their sizes, all rows, and all words."""
    blocks = [*source.blocks(start)]
    words = [word for block in blocks for word in block.words or ()]
    return (
        [len(block.vectors) for block in blocks],
        [row for b in blocks for row in b.vectors.tolist()],
        words,
    )


SOURCES = [
    "array",
    "rows of an array",
    "fortran.npy",
    "plain.npy",
    "words.npy",
    "words.vec",
    "words.txt",
    "words.bin",
]
SOURCES += ["words.arrow", "words.parquet", "vectors.fvecs"]


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("start", [0, 1, 7, 20, 25])
def test_a_source_yields_its_rows_from_anywhere(tmp_path, monkeypatch, kind, start):
    monkeypatch.setattr(row_sources, "_BLOCK_BYTES", 7 * 12)
    matrix, words, path = hashed(25, 3), [f"w{number}" for number in range(25)], tmp_path / kind
    value = {"array": matrix, "rows of an array": matrix.astype(np.float64)}.get(kind, path)
    if kind == "fortran.npy":
        np.save(path, np.asfortranarray(matrix))
    elif kind == "plain.npy":
        np.save(path, matrix)
    elif kind == "vectors.fvecs":
        path.write_bytes(b"".join(b"\3\0\0\0" + row.tobytes() for row in matrix))
    elif value is path:
        if path.suffix in (".arrow", ".parquet"):
            pytest.importorskip("pyarrow")
        files.write(path, words, matrix)
    source = row_sources.opened(value)
    assert (source.dims, source.rows) == (3, None if path.suffix in (".txt", ".arrow") else 25)
    assert source.dtype == (np.float64 if kind == "rows of an array" else np.float32)
    assert source.labeled == kind.startswith("words")
    assert source.name == (str(path) if value is path else "source")
    assert (source.path, bool(source.mark)) == ((path, True) if value is path else (None, False))
    sizes, found, labels = rows_of(source, start)
    assert found == matrix[start:].tolist()
    assert labels == (words[start:] if source.labeled else [])
    if path.suffix in (".npy", ".fvecs") or value is not path:
        step = 3 if kind == "rows of an array" else 7
        assert sizes == [min(step, 25 - first) for first in range(start, 25, step)]
        assert source.some(np.array([24, 0, 3])).tolist() == matrix[[24, 0, 3]].tolist()


def test_a_source_of_blocks():
    first, second = hashed(3, 2), hashed(5, 2, 1)
    source = row_sources.opened(iter([first, second]))
    assert (source.dims, source.rows, source.labeled) == (2, None, False)
    assert rows_of(source) == ([3, 5], [*first.tolist(), *second.tolist()], [])
    assert rows_of(row_sources.opened([first, second]), 3) == ([5], second.tolist(), [])
    pairs = [(["a", "b", "c"], first), ("vwxyz", second)]
    source = row_sources.opened([(["a", "b", "c"], first), ([*"vwxyz"], second)])
    assert source.labeled
    assert rows_of(source, 4) == ([4], second[1:].tolist(), [*"wxyz"])
    for blocks, error, said in (
        ([], ValueError, "source yields no block"),
        ([pairs[0], second], TypeError, r"with words and without \(block 1\)"),
        ([first, pairs[0]], TypeError, r"with words and without \(block 1\)"),
        ([first, second[0]], ValueError, r"source, block 1: shape \(2,\); it must be \(rows, dims\)"),
        ([pairs[0], (*pairs[1], 1)], TypeError, r"with words and without \(block 1\)"),
        ([(["a", "b"], first)], ValueError, "source, block 0: 2 words for 3 rows"),
        ([1, 2], TypeError, "source is a list of numbers"),
        (b"bytes", TypeError, "source is a bytes; it must be a file, a matrix, or an iterable"),
        ({"a": first}, TypeError, "source is a dict"),
        (7, TypeError, "source is a int"),
        (first[0], ValueError, r"source has shape \(2,\); it must be \(n, dims\)"),
        (first[:, :0], ValueError, r"source has shape \(3, 0\)"),
    ):
        with pytest.raises(error, match=said):
            rows_of(row_sources.opened(blocks))
    assert rows_of(row_sources.opened(first[:0])) == ([], [], [])


def test_words_that_are_too_few_for_a_matrix(tmp_path, monkeypatch):
    monkeypatch.setattr(row_sources, "_BLOCK_BYTES", 16)
    path = tmp_path / "a.npy"
    np.save(path, hashed(5, 2))
    path.with_suffix(".texts.jsonl").write_text('"a"\n"b"\n"c"\n')
    with pytest.raises(FileError, match=r"3 words, but a\.npy has 5 vectors; the numbers must agree"):
        rows_of(row_sources.opened(path))
    path.with_suffix(".texts.jsonl").write_text('"a"\n"b"\n7\n"d"\n"e"\n')
    with pytest.raises(FileError, match="row 2: a int; every line must be a string"):
        rows_of(row_sources.opened(path))


class Sliced:
    """What says its shape and type as an array does, and gives rows by slices."""

    def __init__(self, matrix, shape=None, dtype=None):
        self._matrix, self.shape, self.dtype = matrix, shape or matrix.shape, dtype or matrix.dtype
        self.asked = []

    def __getitem__(self, part):
        self.asked.append((part.start, part.stop))
        return self._matrix[part]

    def __array__(self, dtype=None, copy=None):
        return self._matrix


def test_what_gives_rows_by_slices_is_not_read_at_once(monkeypatch):
    monkeypatch.setattr(row_sources, "_BLOCK_BYTES", 16)
    matrix = hashed(5, 2)
    for one, asked in (
        (Sliced(matrix), [(0, 2), (2, 4), (4, 5)]),
        (Sliced(matrix, shape=[5, 2]), []),
        (Sliced(matrix, dtype="a type of another library"), []),
        (Sliced(matrix, shape=(5.0, 2)), []),
    ):
        assert rows_of(row_sources.opened(one)) == ([2, 2, 1], matrix.tolist(), [])
        assert one.asked == asked
    with pytest.raises(
        ValueError, match=r"source: its rows 4 to 5 have shape \(1, 2\), and all have \(6, 2\)"
    ):
        rows_of(row_sources.opened(Sliced(matrix, shape=(6, 2))))


def test_the_format_that_is_named_counts(tmp_path):
    path = tmp_path / "named.fvecs"
    files.write(path, ["a", "b"], [[1, 2], [3, 4]], format="word2vec-text")
    source = row_sources.opened(path, form="word2vec-text")
    assert rows_of(source) == ([2], [[1, 2], [3, 4]], ["a", "b"])
    with pytest.raises(FileError, match=r"not a \.npy file"):
        row_sources.opened(path, form="npy")
    with pytest.raises(FileError, match="of the format index, which is not built anew"):
        row_sources.opened(path, form="index")


def test_columns_that_are_left_out_are_known(tmp_path):
    pytest.importorskip("pyarrow")
    files.write(tmp_path / "a.arrow", ["a"], [[1, 2]], columns={"id": [7]}, metadata={"model": "m"})
    source = row_sources.opened(tmp_path / "a.arrow")
    assert (source.further, source.metadata) == (("id",), {"model": "m", "dims": "2"})
