"""``.npy`` as NumPy reads it: headers of any form, errors about bad ones, vectors and words that match."""

import io
import json
import os
import time
from contextlib import ExitStack

import numpy as np
import pytest
from assertions import assert_same_bits
from data import hashed

from fastvec import Vocabulary, files
from fastvec.files import FileError, atomic
from fastvec.files import npy as npy_files


def npy_bytes(header, data=b"", version=(1, 0)):
    """A file with exactly this text as its header."""
    text = header if isinstance(header, bytes) else header.encode()
    wide = 2 if version == (1, 0) else 4
    text += b" " * (-(8 + wide + len(text) + 1) % 64) + b"\n"
    return b"\x93NUMPY" + bytes(version) + len(text).to_bytes(wide, "little") + text + data


@pytest.mark.filterwarnings("ignore:Reading")  # NumPy's, of files of Python 2
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}",
        "{'shape': (2, 3), 'fortran_order': False, 'descr': '<f4'}",
        '{"descr": "<f4", "fortran_order": False, "shape": (2, 3)}',
        "{ 'descr' : '<f4' ,'fortran_order':False,\n 'shape':( 2,3,) }",
        "{'descr': 'f4', 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }" + " " * 3000,
    ],
)
def test_headers_that_numpy_reads_are_read(tmp_path, header, version):
    if "L" in header and version == (3, 0):
        pytest.skip("Python 2 wrote no such version")
    path = tmp_path / "a.npy"
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    path.write_bytes(npy_bytes(header, rows.tobytes(), version))
    assert (np.load(path) == rows).all()
    assert_same_bits(np.ascontiguousarray(files.read(path).vectors), rows)


@pytest.mark.parametrize(
    ("dtype", "order"), [(">f4", "C"), (">i2", "F"), ("<f8", "F"), ("|u1", "C"), ("<u8", "C")]
)
def test_arrays_of_any_order_are_read(tmp_path, dtype, order):
    rows = np.arange(12).reshape(4, 3).astype(dtype, order=order)
    np.save(tmp_path / "a.npy", rows)
    assert (files.read(tmp_path / "a.npy").vectors == rows).all()
    assert (Vocabulary.open(tmp_path / "a.npy").vectors == rows).all()


def test_an_array_at_an_odd_place_is_copied(tmp_path):
    rows = hashed(4, 3)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3), }\n"
    (tmp_path / "a.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + (len(header)).to_bytes(2, "little") + header + rows.tobytes()
    )
    read = files.read(tmp_path / "a.npy").vectors
    assert read.flags.aligned
    assert_same_bits(read, rows)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "{",
        "{}",
        "[]",
        "1",
        "(" * 500,
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'more': 1}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': [2, 3]}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, '3')}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2.0, 3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (6,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': ()}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 0)}",
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**30}, 3)}}",
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': (0, {10**30})}}",
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**30}, 0)}}",
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**62}, 4)}}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': '<c8', 'fortran_order': False, 'shape': (1, 3)}",
        "{'descr': '|S4', 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': '<U1', 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': '|b1', 'fortran_order': False, 'shape': (8, 3)}",
        "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1, 3)}",
        "{'descr': '|V4', 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': [('\\u00e9', '<f4')], 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': ('<f4', (3,)), 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f0', 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': 5, 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': None, 'fortran_order': False, 'shape': (2, 3)}",
        "__import__('os').mkdir('exploded')",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }" + " " * 20_000,
        b"\xff\xfe",
        b"{'descr': '<f4\0', 'fortran_order': False, 'shape': (2, 3)}",
    ],
)
def test_headers_that_are_no_matrix_give_one_error(tmp_path, header):
    path = tmp_path / "a.npy"
    for version in ((1, 0), (2, 0), (3, 0)):
        path.write_bytes(npy_bytes(header, bytes(24), version))
        with pytest.raises(FileError, match=r"a\.npy") as caught:
            files.read(path, format="npy")
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600
    for data in (b"", b"\x93NUMPY", b"\x93NUMPY\x04\x00", b"\x93NUMPY\x01\x00\xff\xff{", b"NUMPY" * 9):
        path.write_bytes(data)
        with pytest.raises(FileError, match=r"a\.npy"):
            files.read(path, format="npy")


def pair(path, words, vectors):
    """Both files are written again by a program that does not use fastvec."""
    for name, data in ((path, npy_of(vectors)), (path.with_suffix(".texts.jsonl"), words)):
        other = name.with_name("other")
        other.write_bytes(data)
        os.replace(other, name)


def npy_of(vectors):
    file = io.BytesIO()
    np.save(file, np.asarray(vectors, np.float32))
    return file.getvalue()


def test_vectors_and_words_are_of_the_moment_of_opening(tmp_path, monkeypatch):
    path, words = tmp_path / "a.npy", tmp_path / "a.texts.jsonl"
    pair(path, b'"a"\n"b"\n', [[1], [2]])
    read, opened = files.read(path), Vocabulary.open(path)
    pair(path, b'"b"\n"a"\n', [[2], [1]])
    assert read.words == opened.words == ("a", "b")
    assert read.vectors.tolist() == opened.vectors.tolist() == [[1], [2]]
    words.unlink()
    assert read.words == ("a", "b")
    # Replaced between the opening of the one and of the other.
    pair(path, b'"a"\n"b"\n', [[1], [2]])
    real, left = npy_files.Held, [2]

    def held(name):
        if name == words and left[0]:
            left[0] -= 1
            pair(path, b'"b"\n"a"\n', [[2], [1]])
        return real(name)

    monkeypatch.setattr(npy_files, "Held", held)
    read = files.read(path)
    assert (read.words, read.vectors.tolist()) == (("b", "a"), [[2], [1]])
    left[0] = 10**6
    with pytest.raises(FileError, match="being replaced again and again"):
        files.read(path)


def test_a_reader_waits_for_a_writer_that_is_between_vectors_and_words(tmp_path, monkeypatch):
    pytest.importorskip("fcntl")
    path, words = tmp_path / "a.npy", tmp_path / "a.texts.jsonl"
    pair(path, b'"a"\n', [[1]])
    words.unlink()
    writing = ExitStack()
    writing.enter_context(atomic.only_writer(tmp_path))

    def ends(_seconds):
        words.write_bytes(b'"b"\n')
        writing.close()

    monkeypatch.setattr(time, "sleep", ends)
    assert files.read(path).words == ("b",)
    words.unlink()
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    with atomic.only_writer(tmp_path):  # by another, for long
        read = files.read(path)
    with pytest.raises(FileError, match="missing"):
        read.words  # noqa: B018


@pytest.mark.parametrize("which", ["a.npy", "a.texts.jsonl", "a.arrow"])
def test_files_written_over_after_opening_are_refused(tmp_path, which):
    path = tmp_path / ("a.npy" if "arrow" not in which else which)
    if path.suffix == ".arrow":
        pytest.importorskip("pyarrow")
    files.write(path, ["a", "b"], [[1], [2]])
    read = files.read(path)
    data = (tmp_path / which).read_bytes()
    (tmp_path / which).write_bytes(data)
    os.utime(tmp_path / which, ns=(0, 0))  # a clock too coarse to tell
    with pytest.raises(FileError, match=f"{which}: was written to after it was opened"):
        read.words  # noqa: B018


def about(folder):
    return folder / "a.meta.json"


OURS = {"format": "fastvec metadata", "shape": [1, 2], "metadata": {"model": "m"}}


def test_metadata_lie_beside_as_one_json_object(tmp_path):
    files.write(tmp_path / "a.npy", ["x"], [[1, 2]], metadata={"model": "m"})
    assert json.loads(about(tmp_path).read_text()) == OURS
    about(tmp_path).write_text(json.dumps(OURS, indent=8))
    assert files.read(tmp_path / "a.npy").metadata == {"model": "m"}
    about(tmp_path).unlink()
    assert files.read(tmp_path / "a.npy").metadata == {}
    files.write(tmp_path / "a.npy", ["x"], [[1, 2]], metadata={"model": "m"})
    files.write(tmp_path / "a.npy", ["x"], [[1, 2]])  # without
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.npy", "a.texts.jsonl"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps(OURS)[:-9], "not JSON"),
        (json.dumps({**OURS, "more": 1}), "it must have"),
        (json.dumps({**OURS, "metadata": [1]}), "it must have"),
        (json.dumps({"format": OURS["format"], "metadata": {}}), "it must have"),
        (json.dumps({**OURS, "metadata": {"model": 5}}), "'model' is a int, not a text"),
        (json.dumps({**OURS, "metadata": {"model": {"a": "b"}}}), "'model' is a dict, not a text"),
        (json.dumps({**OURS, "metadata": {"model": None}}), "'model' is a NoneType, not a text"),
        (json.dumps({**OURS, "metadata": {"model": float("nan")}}), "'model' is a float, not a text"),
        (json.dumps(OURS)[:-1] + ', "x": ' + "[" * 100_000, "not JSON"),
        (json.dumps(OURS)[:-1] + " " * (1 << 24) + "}", "larger than"),
        (
            json.dumps({**OURS, "shape": [2, 2]}),
            r"belongs to a matrix of shape \[2, 2\].* beside it has shape \[1, 2\]; write both",
        ),
        (json.dumps({**OURS, "shape": [1, 3]}), "belongs to a matrix of shape"),
        (json.dumps({**OURS, "shape": "1, 2"}), "belongs to a matrix of shape"),
        (json.dumps({**OURS, "shape": [[1] * 1000, 2]}), "belongs to a matrix of shape"),
        *(  # as deep as JSON may be read, which is deeper than all of it may be shown
            (json.dumps(OURS).replace("[1, 2]", "[" * depth + "]" * depth), "belongs to a matrix|not JSON")
            for depth in range(800, 1000, 8)
        ),
    ],
)
def test_hostile_metadata_give_one_error(tmp_path, text, message):
    files.write(tmp_path / "a.npy", ["x"], [[1, 2]])
    about(tmp_path).write_text(text)
    with pytest.raises(FileError, match=message) as caught:
        files.read(tmp_path / "a.npy")
    assert "a.meta.json" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    files.write(tmp_path / "a.npy", ["x"], [[1, 2]], metadata={"model": "m"})  # it is ours
    assert files.read(tmp_path / "a.npy").metadata == {"model": "m"}


@pytest.mark.parametrize(
    "text", ['{"model": "mine"}', '{"format": "other", "metadata": {}}', "[1]", "words", "", "\0" * 99]
)
def test_metadata_of_others_are_neither_read_nor_replaced(tmp_path, text):
    path = tmp_path / "a.npy"
    about(tmp_path).write_text(text)
    for before in (False, True):
        with pytest.raises(FileExistsError, match=r"a\.meta\.json exists and was not written by fastvec"):
            files.write(path, ["x"], [[1, 2]], metadata={"model": "m"})
        assert path.exists() == before
        files.write(path, ["x"], [[1, 2]])
        assert files.read(path).metadata == {}
        assert about(tmp_path).read_text() == text


def test_what_is_in_the_place_of_metadata(tmp_path):
    files.write(tmp_path / "a.npy", ["x"], [[1, 2]])
    about(tmp_path).mkdir()
    with pytest.raises(FileError, match=r"a\.meta\.json: a folder"):
        files.read(tmp_path / "a.npy")
    if hasattr(os, "mkfifo"):
        about(tmp_path).rmdir()
        os.mkfifo(about(tmp_path))
        for act in (files.read, lambda path: files.write(path, ["x"], [[1, 2]], metadata={"a": "b"})):
            with pytest.raises(FileError, match=r"a\.meta\.json: a pipe"):
                act(tmp_path / "a.npy")


@pytest.mark.parametrize("step", ["words", "metadata"])
def test_metadata_are_of_the_moment_of_the_vectors(tmp_path, monkeypatch, step):
    """Another writer replaces the files just before the words, or the metadata, are opened."""
    path = tmp_path / "a.npy"
    files.write(path, ["old"], [[1, 2]], metadata={"model": "old"})
    left = [2]

    def overtaken(real, at):
        def call(name):
            if str(name).endswith(at) and left[0]:
                left[0] -= 1
                files.write(path, [f"new{left[0]}"], [[3, left[0]]], metadata={"model": f"new{left[0]}"})
            return real(name)

        return call

    if step == "words":
        monkeypatch.setattr(npy_files, "Held", overtaken(npy_files.Held, ".texts.jsonl"))
    else:
        monkeypatch.setattr(npy_files, "_metadata_bytes", overtaken(npy_files._metadata_bytes, ".meta.json"))
    read = files.read(path)
    assert left == [0]
    assert (read.words, read.vectors.tolist(), read.metadata) == (("new0",), [[3, 0]], {"model": "new0"})


def test_metadata_that_are_missing_for_a_moment_are_waited_for(tmp_path, monkeypatch):
    """A reader opens the words before a writer removes them, and the metadata afterwards."""
    path = tmp_path / "a.npy"
    files.write(path, ["old"], [[1, 2]], metadata={"model": "old"})
    real, left = npy_files._metadata_bytes, [1]

    def late(name):
        if left[0]:
            left[0] = 0
            words, data = tmp_path / "a.texts.jsonl", (tmp_path / "a.texts.jsonl").read_bytes()
            said = about(tmp_path).read_bytes()
            words.unlink()
            about(tmp_path).unlink()
            actual = real(name)
            about(tmp_path).write_bytes(said.replace(b"old", b"new"))
            words.write_bytes(data.replace(b"old", b"new"))
            return actual
        return real(name)

    monkeypatch.setattr(npy_files, "_metadata_bytes", late)
    read = files.read(path)
    assert (read.words, read.metadata) == (("new",), {"model": "new"})


def test_new_metadata_beside_a_closed_matrix_are_closed(tmp_path):
    path = tmp_path / "a.npy"
    files.write(path, ["x"], [[1, 2]])
    for entry in tmp_path.iterdir():
        entry.chmod(0o600)
    files.write(path, ["x"], [[1, 2]], metadata={"model": "m"})
    assert {entry.stat().st_mode & 0o777 for entry in tmp_path.iterdir()} == {0o600}
