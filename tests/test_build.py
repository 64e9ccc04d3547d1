"""Folders built of rows that go by once: answers, memory, and whatever ends a build."""

import errno
import itertools
import json
import os
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from assertions import assert_same_bits, assert_same_topk
from data import hashed, sharing
from test_replacing import killed

import fastvec
from fastvec import Index, Vocabulary, _building, files
from fastvec.errors import FileError
from fastvec.files import building

ROWS, DIMS = 700, 24
WORDS = [f"w{row}" for row in range(ROWS)]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Parts of 150 rows, encoded 64 at a time, of files that are read about 100 rows at a time."""
    monkeypatch.setattr(_building, "PART_BYTES", 4 * DIMS * 150)
    monkeypatch.setattr(_building, "BLOCK_BYTES", 4 * DIMS * 64)
    monkeypatch.setattr(files.row_sources, "_BLOCK_BYTES", 4 * DIMS * 110)
    monkeypatch.setattr(files.binary, "_RUN_BYTES", 4 * DIMS * 90)
    monkeypatch.setattr(building, "_LINES_BYTES", 500)
    monkeypatch.setattr(building, "_BEGIN_BYTES", 2000)
    monkeypatch.setattr(files.text, "_RUN_BYTES", 12 * DIMS * 100)
    monkeypatch.setattr(files.text, "_BLOCK_BYTES", 12 * DIMS * 30)


@pytest.fixture(scope="module")
def rows():
    return hashed(ROWS, DIMS)


def parts(folder):
    return [part["rows"] for part in json.loads((folder / "index.json").read_text())["parts"]]


def blocks_of(rows, step=90):
    return (rows[at : at + step] for at in range(0, len(rows), step))


def as_npy(rows, path):
    np.save(path, rows)
    return path


SOURCES = {
    "npy": lambda rows, at: as_npy(rows, at / "x.npy"),
    "npy by columns": lambda rows, at: as_npy(np.asfortranarray(rows), at / "x.npy"),
    "npy float64": lambda rows, at: as_npy(rows.astype(np.float64), at / "x.npy"),
    "npy big-endian": lambda rows, at: as_npy(rows.astype(">f4"), at / "x.npy"),
    "array": lambda rows, at: rows,
    "memory map": lambda rows, at: np.load(as_npy(rows, at / "x.npy"), mmap_mode="r"),
    "list of blocks": lambda rows, at: list(blocks_of(rows)),
    "iterator": lambda rows, at: blocks_of(rows, 333),
    "lists of lists": lambda rows, at: (block.tolist() for block in blocks_of(rows)),
    "fvecs": lambda rows, at: as_fvecs(rows, at / "x.fvecs"),
}
FORMATS = {"a.arrow": "arrow", "a.parquet": "parquet", "a.vec": "", "a.bin": "", "a.txt": "", "w.npy": ""}


def as_fvecs(rows, path):
    length = np.full((len(rows), 1), rows.shape[1], np.int32).view(np.float32)
    path.write_bytes(np.hstack([length, rows]).tobytes())
    return path


@pytest.mark.parametrize("name", SOURCES)
def test_answers_are_those_of_an_index_in_memory(tmp_path, rows, name):
    built = Index.build(SOURCES[name](rows, tmp_path), tmp_path / "index")
    expected = Index(rows)
    for options in ({}, {"dims": 9}, {"where": np.arange(0, ROWS, 3)}):
        assert_same_topk(built.search(rows[:40], 7, **options), expected.search(rows[:40], 7, **options))
        opened = Index.open(tmp_path / "index")
        assert_same_topk(opened.search(rows[:40], 7, **options), expected.search(rows[:40], 7, **options))
    assert_same_bits(Index.open(tmp_path / "index").vectors, rows)
    files.verify(tmp_path / "index")
    assert parts(tmp_path / "index") == [150, 150, 150, 150, 100]
    assert not list(tmp_path.glob("*.unfinished"))


@pytest.mark.parametrize("name", FORMATS)
def test_words_come_along(tmp_path, rows, name):
    if FORMATS[name]:
        pytest.importorskip("pyarrow")
    files.write(tmp_path / name, WORDS, rows)
    built = Vocabulary.build(tmp_path / name, tmp_path / "index")
    assert built.words == tuple(WORDS)
    assert_same_bits(built.vectors, rows)
    assert len(parts(tmp_path / "index")) == 5
    assert_same_topk(
        Index.build(tmp_path / name, tmp_path / "b").search(rows[:9], 5), built.index.search(rows[:9], 5)
    )


def test_words_of_blocks_and_repeated_words(tmp_path, rows):
    repeated = [*WORDS[:-1], WORDS[0]]
    pairs = [(repeated[at : at + 300], rows[at : at + 300]) for at in range(0, ROWS, 300)]
    with pytest.warns(UserWarning, match="the first of equal words counts"):
        built = Vocabulary.build(pairs, tmp_path / "index")
    assert built.words == tuple(WORDS[:-1])
    assert files.read(tmp_path / "index", repeated=True).words == tuple(repeated)


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_columns_that_are_left_out_are_named(tmp_path, rows, form):
    pytest.importorskip("pyarrow")
    columns = {"lang": ["en"] * ROWS, "year": [*range(ROWS)]}
    files.write(tmp_path / f"x.{form}", WORDS, rows, columns=columns)
    with pytest.warns(UserWarning, match=rf"x\.{form} has columns besides words and vectors.*'lang', 'year'"):
        built = Vocabulary.build(tmp_path / f"x.{form}", tmp_path / "index")
    assert built.words == tuple(WORDS)
    files.write(tmp_path / f"y.{form}", WORDS, rows)
    Vocabulary.build(tmp_path / f"y.{form}", tmp_path / "without")  # and no warning


@pytest.mark.parametrize("screen", ["off", 64])
@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_screens_and_directions_are_built(tmp_path, monkeypatch, metric, screen):
    monkeypatch.setattr(_building, "PART_BYTES", 4 * 128 * 1500)
    shared = sharing(5000, 128, 1)
    for name, vectors in (("spread", hashed(5000, 128)), ("shared", shared)):
        built = Index.build(vectors, tmp_path / f"{name}", metric=metric, screen=screen)
        expected = Index(vectors, metric=metric, screen=screen)
        assert built.screen == expected.screen
        assert_same_topk(built.search(vectors[:70] + 1, 9), expected.search(vectors[:70] + 1, 9))
        assert_same_topk(built.search(vectors[4] + 1, 9), expected.search(vectors[4] + 1, 9))
        built.verify()
        files.verify(tmp_path / f"{name}")


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean", "manhattan"])
@pytest.mark.parametrize("screen", ["auto", "off", 64])
def test_only_a_metric_without_a_bound_has_no_screen_to_decide_on(metric, screen):
    asked = _building.settings(metric, screen, np.float16, None)
    assert asked == (metric, "off" if (metric, screen) == ("manhattan", "auto") else screen, "float16", None)


def test_float16_is_stored_as_it_is(tmp_path, rows):
    half = rows.astype(np.float16)
    expected = Index(half)
    for number, how in enumerate(("disk", "mmap", "memory")):
        path = tmp_path / f"{number}"
        Index.build(half, path, dtype="float16")
        manifest = json.loads((path / "index.json").read_text())
        assert (manifest["version"], manifest["dtype"]) == (4, "<f2")
        opened = Index.open(path, vectors=how)
        for metric_free in ({}, {"dims": 9}, {"exclude": [[0]] * 30}):
            assert_same_topk(
                opened.search(rows[:30], 7, **metric_free), expected.search(rows[:30], 7, **metric_free)
            )
        opened.verify()
        files.verify(path)
        opened.save(tmp_path / f"again{number}")
        assert_same_topk(Index.open(tmp_path / f"again{number}").search(rows, 3), expected.search(rows, 3))
        assert files.read(path).vectors.dtype == np.float16
    exact = rows[:200].astype(np.float16).astype(np.float32)
    for value in (1 / 3, 1e9, 1e-9):
        exact[130, 3] = value
        with pytest.raises(ValueError, match="row 130: a value that float16 does not hold"):
            Index.build(exact, tmp_path / "other", dtype="float16")


def test_memory_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(_building, "PART_BYTES", 1 << 23)
    monkeypatch.setattr(_building, "BLOCK_BYTES", 1 << 19)
    monkeypatch.setattr(files.row_sources, "_BLOCK_BYTES", 1 << 19)
    for module in (files.building, files.folder.manifest):
        monkeypatch.setattr(module, "MOST_BYTES", 1 << 19)  # that reading a manifest has room for
    vectors = hashed(40_000, 256)
    np.save(tmp_path / "x.npy", vectors)
    size = vectors.nbytes
    del vectors
    Index.build(np.ones((300, 256)), tmp_path / "first", screen="off")  # compiles
    tracemalloc.start()
    try:
        built = Index.build(tmp_path / "x.npy", tmp_path / "index", screen="off")
        assert tracemalloc.get_traced_memory()[1] < size / 4
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        built.search(np.ones((20, 256)), 10)
        assert tracemalloc.get_traced_memory()[1] - before < size / 2
    finally:
        tracemalloc.stop()


def test_a_bad_row_is_named_and_leaves_nothing(tmp_path, rows):
    bad = rows.copy()
    bad[613, 2] = np.nan
    np.save(tmp_path / "x.npy", bad)
    for source in (tmp_path / "x.npy", list(blocks_of(bad))):
        with pytest.raises(ValueError, match="row 613: NaN or inf"):
            Index.build(source, tmp_path / "index")
        assert [entry.name for entry in tmp_path.iterdir()] == ["x.npy"]
    (tmp_path / "x.vec").write_text("3 2\na 1 2\nb 1 2\nc 1 x\n")
    with pytest.raises(FileError, match=r"row 2, byte \d+: 'x' is not a number"):
        Vocabulary.build(tmp_path / "x.vec", tmp_path / "index")
    for text, problem in (
        ("3 2\na 1 2\n", "ends after 1 of 3 rows"),
        ("1 2\na 1 2\nb 1 2\n", "more lines than the 1"),
    ):
        (tmp_path / "x.vec").write_text(text)
        with pytest.raises(FileError, match=problem):
            Vocabulary.build(tmp_path / "x.vec", tmp_path / "index")


def changed(path, right, wrong):
    data = path.read_bytes()
    assert data.count(right) == 1
    path.write_bytes(data.replace(right, wrong))


@pytest.mark.parametrize(
    ("name", "right", "wrong", "problem"),
    [
        ("x.vec", b"\nw613 ", b"\nw613 1 ", r"row 613, byte \d+: 25 values, not 24"),
        ("x.vec", b"\nw613 ", b"\n\xff613 ", r"row 613, byte \d+: the word is not UTF-8"),
        ("x.vec", b"700 24\n", b"600 24\n", "row 600: more lines than the 600"),
        ("x.vec", b"700 24\n", b"701 24\n", "ends after 700 of 701 rows"),
        ("x.txt", b"\nw613 ", b"\nw613 1 ", r"row 613, byte \d+: 25 values, not 24"),
        ("x.bin", b"\nw613 ", b"\n\xff613 ", r"row 613, byte \d+: the word is not UTF-8"),
        ("x.bin", b"700 24\n", b"701 24\n", r"row 700, byte \d+: cut short"),
        ("x.bin", b"700 24\n", b"699 24\n", r"byte \d+: continues after the 699"),
        ("x.texts.jsonl", b'"w613"', b"613", "row 613: a int"),
        ("x.texts.jsonl", b'"w699"\n', b"", "699 words, but x.npy has 700 vectors"),
    ],
)
def test_what_is_wrong_in_a_later_run_of_a_file_is_named_by_its_row(
    tmp_path, rows, name, right, wrong, problem
):
    of_matrix = name.endswith("jsonl")
    source = tmp_path / ("x.npy" if of_matrix else name)
    files.write(source, WORDS, rows)
    changed(tmp_path / name, right, wrong)
    with pytest.raises(FileError, match=problem):
        Vocabulary.build(source, tmp_path / "index")


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda at: Index.build(5, at), TypeError, "source is a int"),
        (lambda at: Index.build([], at), ValueError, "yields no block"),
        (lambda at: Index.build([[1.0, 2.0]], at), ValueError, r"block 0: shape \(2,\)"),
        (lambda at: Index.build([np.ones((2, 3)), np.ones((2, 4))], at), ValueError, "4 dimensions, not 3"),
        (lambda at: Index.build(np.ones(3), at), ValueError, "shape"),
        (lambda at: Index.build(np.ones((2, 3)), at, metric="hamming"), ValueError, "metric is 'hamming'"),
        (lambda at: Index.build(np.ones((2, 3)), at, screen=64), ValueError, "screen is 64"),
        (lambda at: Index.build(np.ones((2, 3)), at, dtype="int8"), ValueError, "dtype is 'int8'"),
        (lambda at: Index.build(np.ones((2, 3)), at, errors="no"), ValueError, "errors is 'no'"),
        (lambda at: Index.build(np.ones((2, 3)), at, format="no"), ValueError, "format is 'no'"),
        (lambda at: Index.build(np.ones((2, 3)), at, progress=3), TypeError, "progress must be"),
        (lambda at: Index.build(at.parent / "none.npy", at), FileNotFoundError, "none.npy"),
        (lambda at: Vocabulary.build(np.ones((2, 3)), at), ValueError, "has no words"),
        (lambda at: Vocabulary.build([([" "], np.ones((1, 3)))], at), ValueError, "row 0: its word is blank"),
        (lambda at: Vocabulary.build([(["a"], np.ones((2, 3)))], at), ValueError, "1 words for 2 rows"),
        (lambda at: Vocabulary.build([([b"a"], np.ones((1, 3)))], at), TypeError, r"words\[0\] is a bytes"),
        (lambda at: Vocabulary.build([([7], np.ones((1, 3)))], at), TypeError, r"words\[0\] is a int, not a"),
        (
            lambda at: Vocabulary.build([([None], np.ones((1, 3)))], at),
            TypeError,
            r"words\[0\] is a NoneType",
        ),
        (
            lambda at: Vocabulary.build(
                [(["a", "b"], np.ones((2, 3))), (np.array([4, 5]), np.ones((2, 3)))], at
            ),
            TypeError,
            r"words\[2\] is a int, not a str; give str\(label\)",
        ),
        (lambda at: Vocabulary.build([({"a"}, np.ones((1, 3)))], at), TypeError, "words is a set"),
    ],
)
def test_mistakes_are_named_and_leave_nothing(tmp_path, call, kind, message):
    with pytest.raises(kind, match=message):
        call(tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


def test_no_rows_and_progress(tmp_path, rows):
    assert repr(Index.build(np.empty((0, 7)), tmp_path / "none")).startswith("Index(0 vectors, 7 dims")
    told = []
    Index.build(rows, tmp_path / "index", progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert (told[0], told[-1]) == ((0, ROWS), (ROWS, ROWS))


def steps(monkeypatch, at, act):
    """Do ``act`` at the step, after ``at`` others, that changes the disk; returns the count left."""
    left = [at]

    def counted(real):
        def call(*arguments, **options):
            left[0] -= 1
            if left[0] == -1:
                act()
            return real(*arguments, **options)

        return call

    for place, name in (
        (os, "fsync"),
        (os, "replace"),
        (os, "rename"),
        (os, "mkdir"),
        (Path, "unlink"),
        (building.LinesWriter, "write"),
    ):
        monkeypatch.setattr(place, name, counted(getattr(place, name)))
    return left


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("kind", ["file", "iterable"])
def test_a_build_that_is_killed_at_any_step_is_finished_by_the_next(tmp_path, monkeypatch, rows, kind):
    """Before the folder is complete, nothing is at its place; finished parts are not written again."""
    source = as_npy(rows, tmp_path / "x.npy") if kind == "file" else list(blocks_of(rows))
    target, beside = tmp_path / "index", tmp_path / "index.unfinished"
    monkeypatch.setattr(_building, "PART_BYTES", 4 * DIMS * 300)
    monkeypatch.setattr(_building, "BLOCK_BYTES", 4 * DIMS * 300)
    Index.build(source, target, screen="off")
    expected, kept = Index(rows).search(rows[:5], 4), set()
    for step in itertools.count(0, 7 if kind == "file" else 11):
        shutil.rmtree(target)

        def act(step=step):
            with monkeypatch.context() as patch:
                left = steps(patch, step, lambda: os._exit(9))
                Index.build(source, target, screen="off")
                os._exit(0 if left[0] >= 0 else 1)

        ended = killed(act)
        assert target.exists() == (not beside.exists()) or step < 2
        if target.exists():
            files.verify(target)
        with pytest.raises((FileError, FileNotFoundError)):
            Index.open(beside) if not (beside / "index.json").exists() else Index.open(tmp_path / "none")
        before = {entry: entry.stat().st_mtime_ns for entry in finished(beside)}
        if ended or not target.exists():
            assert_same_topk(Index.build(source, target, screen="off").search(rows[:5], 4), expected)
        files.verify(target)
        assert not beside.exists()
        kept.add(len(before))
        for entry, stamp in before.items():
            assert (target / entry.relative_to(beside)).stat().st_mtime_ns == stamp
        assert sorted(entry.name for entry in target.iterdir() if entry.suffix) == ["index.json"]
        if ended == 0:
            break
    assert max(kept) >= 10, "finished parts stay"


def finished(folder):
    """The files of the finished parts of an unfinished build."""
    record = folder / "build.json"
    index = json.loads(record.read_text())["index"] if record.exists() else None
    if index is None:
        return []
    listed = index.get("parts") or [{"folder": index["folder"], "files": index["files"]}]
    return [folder / part["folder"] / name for part in listed for name in part["files"]]


def test_a_full_disk_at_any_step(tmp_path, monkeypatch, rows):
    target, beside = tmp_path / "index", tmp_path / "index.unfinished"
    monkeypatch.setattr(_building, "PART_BYTES", 4 * DIMS * 300)
    monkeypatch.setattr(_building, "BLOCK_BYTES", 4 * DIMS * 300)
    expected, said = Index(rows).search(rows[:5], 4), []

    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    for step in itertools.count(0, 7):
        with monkeypatch.context() as patch:
            left = steps(patch, step, full)
            try:
                Index.build(rows, target, screen="off")
            except OSError as error:
                assert error.errno == errno.ENOSPC  # noqa: PT017
                said.append(str(error))
                assert str(target) in said[-1]
        if left[0] >= 0:
            break
        if not target.exists():
            # What is unfinished takes no room.
            assert {*beside.rglob("*.npy")} == {file for file in finished(beside) if file.suffix == ".npy"}
            assert_same_topk(Index.build(rows, target, screen="off").search(rows[:5], 4), expected)
        files.verify(target)
        assert not beside.exists()
        shutil.rmtree(target)
    assert any(
        "rows are kept in index.unfinished, and building again goes on behind them" in one for one in said
    )
    assert any("kept" not in one for one in said)


def test_a_file_that_grows_too_large_is_as_a_full_disk(tmp_path, rows):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 13, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            Index.build(rows, tmp_path / "index")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


class Stop(Exception):
    """What ends a build in the middle."""


def stopped(rows, at):
    for number, block in enumerate(blocks_of(rows)):
        if number == at:
            raise Stop
        yield block


def test_an_unfinished_build_is_of_one_source_and_one_setting(tmp_path, rows):
    target, beside = tmp_path / "index", tmp_path / "index.unfinished"
    with pytest.raises(Stop):
        Index.build(stopped(rows, 5), target)
    before = {entry: entry.stat().st_mtime_ns for entry in finished(beside)}
    assert before
    assert {*beside.rglob("vectors.npy")} == {file for file in before if file.name == "vectors.npy"}
    with pytest.raises(FileExistsError, match="unfinished build with another metric"):
        Index.build(rows, target, metric="dot")
    np.save(tmp_path / "x.npy", rows)
    with pytest.raises(FileExistsError, match="unfinished build with another source"):
        Index.build(tmp_path / "x.npy", target)
    other = rows.copy()
    other[100, 3] += 1
    with pytest.raises(FileExistsError, match="yields other rows from"):
        Index.build(blocks_of(other), target)
    with pytest.raises(FileExistsError, match="yields 90 rows, where"):
        Index.build(rows[:90], target)
    assert {entry: entry.stat().st_mtime_ns for entry in finished(beside)} == before
    assert_same_topk(Index.build(blocks_of(rows, 47), target).search(rows, 3), Index(rows).search(rows, 3))


@pytest.mark.parametrize("screen", ["off", 64, 192])
def test_an_unfinished_build_goes_on_with_its_direction_or_screen(tmp_path, monkeypatch, screen):
    monkeypatch.setattr(_building, "PART_BYTES", 4 * 260 * 400)
    monkeypatch.setattr(_building, "BLOCK_BYTES", 4 * 260 * 200)
    vectors = sharing(1000, 260, 1)

    def stop(done, _):
        if done > 600:
            raise Stop

    with pytest.raises(Stop):
        Index.build(vectors, tmp_path / "stopped", screen=screen, progress=stop)
    assert finished(tmp_path / "stopped.unfinished")
    made = []
    for name in ("stopped", "at once"):
        Index.build(vectors, tmp_path / name, screen=screen)
        record = json.loads((tmp_path / name / "index.json").read_text())
        assert ("direction" in record, "screen" in record) == (screen == "off", screen != "off")
        made.append([part["files"] for part in record["parts"]])  # with their checksums
    assert made[0] == made[1]


def test_what_is_not_ours_stays(tmp_path, rows):
    target, beside = tmp_path / "index", tmp_path / "index.unfinished"
    beside.mkdir()
    (beside / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not an unfinished build"):
        Index.build(rows, target)
    (beside / "build.json").write_text('{"format": "fastvec unfinished index", "writing": "../.."}')
    with pytest.raises(FileError, match="not what a build wrote"):
        Index.build(rows, target)
    assert (beside / "thesis.txt").read_text() == "mine"
    shutil.rmtree(beside)
    for made in (target.mkdir, lambda: (target.rmdir(), target.write_text("mine"))):
        made()
        with pytest.raises(FileExistsError, match="a build replaces nothing"):
            Index.build(rows, target)
    assert target.read_text() == "mine"
    assert not beside.exists()


def test_another_build_at_the_same_time_is_refused(tmp_path, rows):
    pytest.importorskip("fcntl")
    target = tmp_path / "index"

    def blocks():
        yield rows
        with pytest.raises(BlockingIOError, match="try again"):
            Index.build(rows, target)

    assert len(Index.build(blocks(), target)) == ROWS


def test_a_damaged_part_is_not_built_upon(tmp_path, rows):
    target, beside = tmp_path / "index", tmp_path / "index.unfinished"
    with pytest.raises(Stop):
        Index.build(stopped(rows, 5), target)
    (next(beside.rglob("codes.npy"))).write_bytes(b"")
    with pytest.raises(FileError, match="a finished part is damaged"):
        Index.build(rows, target)


def test_a_built_index_is_saved_to_and_grows(tmp_path, rows):
    Index.build(rows, tmp_path / "index")
    opened = Index.open(tmp_path / "index")
    opened.add(rows[:20] + 1)
    opened.remove([3])
    opened.save(tmp_path / "index")
    again = Index.open(tmp_path / "index", vectors="disk")
    assert_same_topk(again.search(rows, 5), opened.search(rows, 5))
    fastvec.files.verify(tmp_path / "index")


CHANGES = (
    {"about": []},
    {"about": None},
    {"writing": None},
    {"writing": ["0123abcd"]},
    {"index": 7},
    {"more": 1},
)


def test_a_forged_note_of_a_build_is_one_error(tmp_path, rows):
    def broken():
        yield from blocks_of(rows[:450])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Index.build(broken(), tmp_path / "index")
    note = tmp_path / "index.unfinished" / building.PROGRESS
    record = json.loads(note.read_text())
    del record["sha256"]
    without = ({key: value for key, value in record.items() if key != name} for name in record)
    for forged in (*({**record, **change} for change in CHANGES), *without):
        note.write_text(json.dumps({**forged, "sha256": building._seal(forged)}))
        with pytest.raises(FileError, match=r"build\.json"):
            Index.build(blocks_of(rows), tmp_path / "index")


class Sliced:
    """What says that it is a matrix, and what a slice of it is."""

    def __init__(self, shape, dtype, piece):
        self.shape, self.dtype, self._piece = shape, dtype, piece

    def __getitem__(self, rows):
        return self._piece(rows)


@pytest.mark.parametrize(
    ("shape", "dtype", "piece", "message"),
    [
        ((10, DIMS), np.float32, lambda rows: ROWS_OF_ONE[rows][:3], "source: its rows 0 to 9 have shape"),
        ((10, DIMS), np.float32, lambda rows: ROWS_OF_ONE[0], "have shape"),
        ((10, DIMS), np.float32, lambda rows: None, "source is None"),
        ((10, DIMS), np.float32, lambda rows: ROWS_OF_ONE[rows, :-1], "have shape"),
        ((-1, DIMS), np.float32, None, "source has shape"),
        ((10,), np.float32, None, "source has shape"),
        (None, np.float32, None, "source is a .*Sliced"),
        ((10, DIMS), 7, None, "source is a .*Sliced"),
    ],
)
def test_what_lies_about_its_rows_is_refused_and_nothing_is_left(tmp_path, shape, dtype, piece, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Index.build(Sliced(shape, dtype, piece), tmp_path / "index")
    assert not list(tmp_path.iterdir())


def test_a_tensor_is_a_source(tmp_path, rows):
    torch = pytest.importorskip("torch")
    index = Index.build(torch.from_numpy(rows), tmp_path / "index")
    assert_same_topk(index.search(rows[:3], 4), Index(rows).search(rows[:3], 4))


ROWS_OF_ONE = np.ones((10, DIMS), np.float32)
