"""Index folders: opening gives what was saved, errors name damage, and no save is left half done."""

import collections
import errno
import json
import os
import shutil
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from assertions import assert_same_bits, assert_same_topk
from data import WIDTHS, hashed, mixed, sharing
from hypothesis import given
from hypothesis import strategies as st

import fastvec
from fastvec import Index, Vocabulary, files, knn
from fastvec._stores import blocks
from fastvec.files import FileError, atomic, folder, indexed, layout, manifest, npy, verify
from fastvec.files.columns import checked_columns

THIS = Path(__file__)


def inner(path):
    return path / json.loads((path / "index.json").read_text())["folder"]


@pytest.mark.parametrize("vectors", ["mmap", "memory"])
@pytest.mark.parametrize("metric", ["cosine", "dot"])
@pytest.mark.parametrize("width", WIDTHS)
def test_an_opened_index_answers_as_the_saved_one(tmp_path, width, metric, vectors):
    rows = mixed(130, width, 2)
    index = Index(rows, metric=metric)
    index.save(tmp_path / "index")
    opened = Index.open(tmp_path / "index", vectors=vectors)
    assert repr(opened) == repr(index)
    assert_same_bits(opened.vectors, index.vectors)
    assert not opened.vectors.flags.writeable
    narrow = max(1, width // 2)
    for options in ({}, {"dims": narrow}, {"where": [3, 9, 100]}):
        assert_same_topk(opened.search(rows[:40], 7, **options), index.search(rows[:40], 7, **options))


def test_files_are_mapped_aligned_and_are_not_copied(saved):
    stored = folder.load(saved)
    for array in stored.blocks[0].arrays.values():
        assert array.ctypes.data % 64 == 0
        assert not array.flags.writeable
    index = Index.open(saved)
    assert isinstance(index._store.vectors()[0].base, np.memmap)
    assert index.nbytes < index.vectors.nbytes + 3 * 64
    for array in folder.load(saved, memory=True).blocks[0].arrays.values():
        assert array.ctypes.data % 64 == 0
    assert Index.open(saved, vectors="memory").nbytes > Index.open(saved).nbytes


def test_other_programs_can_read_it(saved):
    rows = np.load(inner(saved) / "vectors.npy")
    assert_same_bits(rows, hashed(3, 70))
    assert (inner(saved) / "labels.jsonl").read_text(encoding="utf-8") == '"a"\n"b"\n"猫"\n'


def test_no_rows_and_strided_rows(tmp_path):
    Index(np.empty((0, 5), np.float32)).save(tmp_path / "none")
    assert repr(Index.open(tmp_path / "none")).startswith("Index(0 vectors, 5 dims")
    rows = np.pad(hashed(9, 33), ((0, 0), (0, 4)))[:, :33]
    Index(rows).save(tmp_path / "strided")
    assert_same_bits(Index.open(tmp_path / "strided").vectors, hashed(9, 33))


def test_saving_over_an_index_replaces_it_even_the_open_one(saved):
    opened = Index.open(saved)
    opened.save(saved)
    with pytest.raises(FileError, match="without words"):
        Vocabulary.open(saved).words  # noqa: B018
    assert_same_topk(opened.search(hashed(1, 70), 2), Index.open(saved).search(hashed(1, 70), 2))
    Index(hashed(2, 3)).save(saved)
    assert len(Index.open(saved)) == 2
    assert sorted(entry.name for entry in saved.iterdir()) == sorted(["index.json", inner(saved).name])


def test_what_is_no_index_is_never_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("folder", "file"):
        with pytest.raises(FileExistsError, match="not a fastvec index"):
            Index([[1.0]]).save(tmp_path / name)
    assert (tmp_path / "folder" / "thesis.txt").read_text() == "mine"
    assert (tmp_path / "file").read_text() == "mine"


def test_a_second_save_at_the_same_time_is_refused(saved):
    pytest.importorskip("fcntl")
    with atomic.only_writer(saved), pytest.raises(BlockingIOError, match="try again"):
        Index([[1.0]]).save(saved)
    Index([[1.0]]).save(saved)


def test_every_flipped_byte_is_found(saved):
    for path in sorted(p for p in saved.rglob("*") if p.is_file()):
        data = path.read_bytes()
        for at in sorted({*range(0, len(data), max(1, len(data) // 60)), len(data) - 1}):
            changed = bytearray(data)
            changed[at] ^= 1 << (at % 8)
            path.write_bytes(changed)
            with pytest.raises(FileError, match=path.name) as caught:
                verify(saved)
            assert ";" in str(caught.value)
        path.write_bytes(data)
    verify(saved)


def test_a_changed_byte_is_found_by_whoever_reads_the_array(tmp_path):
    """Into memory, every array is read; else those that all parts share, numbers, and which rows are left."""
    path, index = tmp_path / "index", Index(hashed(40, 70), screen=64)
    index.save(path)
    index.replace([3, 9], hashed(2, 70, 1))
    index.remove([7])
    index.save(path)
    read = {"closed.npy", "numbers.npy", "basis.npy"}
    found = set()
    for file in sorted(path.rglob("*.npy")):
        data = file.read_bytes()
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        for vectors in ("memory", "mmap"):
            if vectors == "memory" or file.name in read:
                with pytest.raises(FileError, match=rf"{file.name}.*not those that were saved"):
                    Index.open(path, vectors=vectors)
        found.add(file.name)
        file.write_bytes(data)
    assert found >= read | {"vectors.npy", "codes.npy"}


def test_every_length_is_checked_when_it_is_opened(saved):
    for path in sorted(p for p in saved.rglob("*") if p.is_file()):
        data = path.read_bytes()
        for changed in (b"", data[: len(data) // 2], data[:-1], data + b"\0"):
            if path.name == "index.json" and changed == data[:-1]:
                continue  # the newline at its end
            path.write_bytes(changed)
            with pytest.raises(FileError, match=path.name):
                Index.open(saved)
        path.unlink()
        with pytest.raises(FileError, match=r"missing|holds no index\.json"):
            Index.open(saved)
        path.write_bytes(data)


def test_wrong_labels_are_found_when_they_are_read(saved):
    path = inner(saved) / "labels.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"b"', b'"c"'))
    opened = Vocabulary.open(saved)
    assert opened.dims == 70
    with pytest.raises(FileError, match=r"labels\.jsonl"):
        opened.words  # noqa: B018


def test_foreign_folders_and_versions(saved, tmp_path):
    with pytest.raises(FileNotFoundError):
        Index.open(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="not the folder"):
        Index.open(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match=r"holds no index\.json"):
        Index.open(tmp_path / "empty")
    manifest = json.loads((saved / "index.json").read_text())
    (saved / "index.json").write_text(json.dumps({**manifest, "version": 5}))
    with pytest.raises(FileError, match=r"version 5.*versions 1 to 4"):
        Index.open(saved)
    (saved / "index.json").write_text('{"name": "site"}')
    with pytest.raises(FileError, match="another program"):
        Index.open(saved)
    with pytest.raises(ValueError, match="mmap"):
        Index.open(saved, vectors="tape")


def test_an_index_replaced_while_it_is_opened_is_read_again(saved, monkeypatch):
    old = manifest.read(saved)
    Index(hashed(5, 4)).save(saved)
    answers = iter([old])
    real = manifest.read
    monkeypatch.setattr(manifest, "read", lambda path: next(answers, None) or real(path))
    assert len(folder.load(saved).blocks[0].arrays["vectors"]) == 5


def test_an_index_replaced_while_it_is_verified_is_verified_again(saved, monkeypatch):
    real = folder.check

    def overtaken(stored):
        monkeypatch.setattr(folder, "check", real)
        Index(hashed(5, 4)).save(saved)
        (inner(saved) / "codes.npy").write_bytes((inner(saved) / "codes.npy").read_bytes()[:-1] + b"!")
        return real(stored)

    monkeypatch.setattr(folder, "check", overtaken)
    with pytest.raises(FileError, match=r"codes\.npy: its bytes are not those"):
        verify(saved)


def tree(path):
    """The content of every file below a folder, by name."""
    return {
        str(entry.relative_to(path)): None if entry.is_dir() else entry.read_bytes()
        for entry in sorted(path.rglob("*"))
    }


SITE = {"name": "site", "folder": "posts", "files": {}}


@pytest.mark.parametrize(
    "write_manifest",
    [
        lambda real: json.dumps(SITE),
        lambda real: "[]",
        lambda real: "",
        lambda real: "<html>",
        lambda real: json.dumps({**SITE, "format": "fastvec index"}),
        lambda real: json.dumps({**SITE, "format": "fastvec index", "version": 1}),
        lambda real: json.dumps({**real, "version": 2}),
        lambda real: json.dumps(sealed({**real, "version": 4})),
        lambda real: json.dumps({**real, "folder": "posts"}),
        lambda real: json.dumps(sealed({**real, "folder": "posts"})),
        lambda real: json.dumps(real)[:-9],
    ],
)
def test_a_folder_whose_manifest_is_not_ours_is_left_alone(saved, write_manifest):
    (saved / "posts" / "2024").mkdir(parents=True)
    (saved / "posts" / "2024" / "first.md").write_text("mine")
    (saved / ".git").mkdir()
    (saved / ".git" / "HEAD").write_text("ref")
    path = saved / "index.json"
    path.write_text(write_manifest(json.loads(path.read_text())))
    before = tree(saved)
    for save in (
        Index([[1.0]]).save,
        Vocabulary(["a"], [[1.0]]).save,
        lambda path: files.write(path, ["a"], [[1.0]], format="index"),
    ):
        with pytest.raises(FileExistsError, match=r"index .*not a fastvec index.*choose another name"):
            save(saved)
    assert tree(saved) == before


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_cannot_get_its_name_says_why(tmp_path, monkeypatch, there):
    path = tmp_path / "index"

    def refuse(_self, target):
        if there:
            target.mkdir()
        raise OSError(errno.EACCES, "Permission denied", str(target))

    monkeypatch.setattr(Path, "rename", refuse)
    said = "another process is saving here" if there else "Permission denied"
    with pytest.raises(BlockingIOError if there else PermissionError, match=said):
        Index(hashed(3, 2)).save(path)
    assert [*tmp_path.iterdir()] == [path] * there


def test_what_others_put_into_an_index_stays(saved, tmp_path):
    old = inner(saved)
    theirs = {
        "README.md": "read",
        ".git/HEAD": "ref",
        "deadbeef/notes": "eight digits",
        ".fastvec-0123456789abcdef/data": "no marker",
        ".fastvec-0123456789abcdee/made-by-fastvec": "another text",
        f"{old.name}/why.txt": "in a folder of ours",
        ".index.json.0123abcd.tmp": "looks like one of ours",
    }
    for name, text in theirs.items():
        (saved / name).parent.mkdir(exist_ok=True)
        (saved / name).write_text(text)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "vectors.npy").write_text("mine")
    (saved / "cafecafe").symlink_to(tmp_path / "elsewhere")
    for _ in range(2):
        Index([[1.0]]).save(saved)
        verify(saved)
    assert {name: (saved / name).read_text() for name in theirs} == theirs
    assert [entry.name for entry in old.iterdir()] == ["why.txt"]
    assert (tmp_path / "elsewhere" / "vectors.npy").read_text() == "mine"


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    for name, place in (("link", "real"), ("ahead", "not yet")):
        (tmp_path / name).symlink_to(place)
        for rows in (2, 3):
            Index(hashed(rows, 3)).save(tmp_path / name)
        assert (tmp_path / name).is_symlink()
        assert len(Index.open(tmp_path / place)) == 3
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(OSError, match="round"):
        Index([[1.0]]).save(tmp_path / "round")
    # A link that is called index.json may lead into another index.
    other = tmp_path / "other"
    other.mkdir()
    (other / "index.json").symlink_to("../real/index.json")
    before = tree(tmp_path / "real")
    Index([[1.0]]).save(other)
    assert tree(tmp_path / "real") == before
    assert len(Index.open(other)) == 1


def test_the_loser_of_two_first_saves_is_told_so(tmp_path, monkeypatch):
    path = tmp_path / "index"
    real = folder._write

    def overtaken(*arguments):
        monkeypatch.setattr(folder, "_write", real)
        Index([[1.0, 2.0]]).save(path)
        return real(*arguments)

    monkeypatch.setattr(folder, "_write", overtaken)
    with pytest.raises(BlockingIOError, match=r"another process is saving here.*index"):
        Index([[3.0]]).save(path)
    assert Index.open(path).dims == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["index"]


@pytest.mark.parametrize("before", [False, True])
def test_a_full_disk_names_the_folder_and_leaves_nothing(tmp_path, monkeypatch, before):
    path = tmp_path / "new" / "folders" / "index"
    if before:
        Index([[1.0]]).save(path)
    state = tree(tmp_path)

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        Index(hashed(3, 3)).save(path)
    assert caught.value.filename == str(path)
    assert tree(tmp_path) == state


def test_where_a_parent_folder_cannot_be_made_none_is_left(tmp_path, monkeypatch):
    real = os.mkdir

    def full(path, *arguments, **options):
        if Path(path).name == "folders":
            raise OSError(28, "No space left on device", str(path))
        real(path, *arguments, **options)

    monkeypatch.setattr(os, "mkdir", full)
    with pytest.raises(OSError, match="No space left"):
        Index([[1.0]]).save(tmp_path / "new" / "folders" / "index")
    assert not tree(tmp_path)


@pytest.mark.parametrize("step", range(9))
def test_a_save_interrupted_while_it_tidies_up_is_tidied_up_by_the_next(saved, monkeypatch, step):
    left, real = [step], Path.unlink

    def interrupted(*arguments, **options):
        left[0] -= 1
        if left[0] == -1:
            raise KeyboardInterrupt
        real(*arguments, **options)

    monkeypatch.setattr(Path, "unlink", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Index(hashed(2, 5)).save(saved)
    monkeypatch.undo()
    verify(saved)
    Index(hashed(4, 5)).save(saved)
    assert len(Index.open(saved)) == 4
    assert sorted(entry.name for entry in saved.iterdir()) == sorted(["index.json", inner(saved).name])
    assert [entry.name for entry in saved.parent.iterdir()] == ["index"]


def test_permissions_of_a_replaced_index_are_kept(saved):
    for entry in (inner(saved), *inner(saved).iterdir(), saved / "index.json"):
        entry.chmod(0o700 if entry.is_dir() else 0o600)
    Vocabulary(["x"], [[1.0]]).save(saved)
    for entry in (inner(saved), *inner(saved).iterdir(), saved / "index.json"):
        assert stat.S_IMODE(entry.stat().st_mode) == (0o700 if entry.is_dir() else 0o600)


def test_words_are_those_of_the_moment_of_opening(saved):
    opened, labeled = Vocabulary.open(saved), files.read(saved)
    Vocabulary(["x", "y", "z"], hashed(3, 70, 5)).save(saved)
    assert opened.words == labeled.words == ("a", "b", "猫")
    assert_same_bits(opened.vectors, hashed(3, 70))
    assert Vocabulary.open(saved).words == ("x", "y", "z")


def test_labels_written_over_after_opening_are_refused(saved):
    opened = Vocabulary.open(saved)
    path = inner(saved) / "labels.jsonl"
    path.write_bytes(path.read_bytes() + b'"d"\n')
    with pytest.raises(FileError, match=r"labels\.jsonl: was written to after it was opened"):
        opened.words  # noqa: B018


def sealed(changed):
    """A manifest with a seal that is right."""
    return {**changed, "sha256": manifest._seal(changed)}


WRITING = ("files/atomic.py", "files/folder.py", "files/npy.py", "files/parts.py")


def killed_at(step, act):
    """Run ``act`` in a child that ends without any farewell at the step-th line of the writing code.

    Of a line that runs often, the first three times count.
    """
    child = os.fork()
    if child == 0:
        left, times = step, collections.Counter()

        def count(frame, event, argument):
            nonlocal left
            if not frame.f_code.co_filename.endswith(WRITING):
                return None
            times[frame.f_code, frame.f_lineno, event] += 1
            if event == "line" and times[frame.f_code, frame.f_lineno, event] <= 3:
                left -= 1
                if left < 0:
                    os._exit(9)
            return count

        sys.settrace(count)
        try:
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def save_killed_at_any_line(path, before):
    """A save leaves either the old index or the new one."""
    npy.BLOCK_BYTES = 200  # several writes to a file
    old, new = ("a", "b"), ("c", "d", "c")
    seen = set()

    made = {words: Index(hashed(len(words), 5)) for words in (old, new)}

    def save(words):
        columns = checked_columns({"id": words}, len(words))
        indexed.save(path, made[words], words, columns=columns, repeated=True)

    for step in range(5000):
        if before:
            save(old)
        status = killed_at(step, lambda: save(new))
        if path.exists():
            verify(path)
            read = files.read(path, repeated=True)
            words = read.words
            assert read.columns["id"] == words
        else:
            words = None
        seen.add(words)
        assert words in (new, old if before else None)
        save(new)  # what was left behind is in no way, and goes
        assert sorted(entry.name for entry in path.iterdir()) == sorted(["index.json", inner(path).name])
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]
        shutil.rmtree(path)
        if status == 0:
            assert words == new
            break
        assert status == 9
    assert len(seen) == 2


def write_killed_at_any_line(path):
    """Every existing file is either the old or the new one."""
    more = {"metadata": {"model": "old"}} if path.suffix == ".npy" else {}
    files.write(path.with_name("first" + path.suffix), ["c"], [[5, 6]])  # children find all modules loaded
    for step in range(5000):
        files.write(path, ["a", "b"], [[1, 2], [3, 4]], **more)
        assert not [entry.name for entry in path.parent.iterdir() if entry.name.startswith(".")]
        status = killed_at(step, lambda: files.write(path, ["c"], [[5, 6]]))
        read = files.read(path)
        assert (read.words, read.vectors.tolist()) in [
            (("a", "b"), [[1, 2], [3, 4]]),
            (("c",), [[5, 6]]),
        ]
        assert read.metadata == (more.get("metadata", {}) if read.words == ("a", "b") else {})
        if status == 0:
            break
        assert status == 9
    assert files.read(path).words == ("c",)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    "arguments", [["index"], ["index", "before"], ["words.vec"], ["words.bin"], ["words.npy"]], ids=" ".join
)
def test_killed_at_any_line_the_old_or_the_new_is_left(run_python, tmp_path, arguments):
    """This runs in a separate process, which has less to copy when it forks."""
    result = run_python(THIS, tmp_path / arguments[0], *arguments[1:])
    assert result.returncode == 0, result.stderr


labels = st.lists(st.text(st.characters(), min_size=1), unique=True, max_size=8)


@given(labels)
def test_any_words_come_back(tmp_path, words):
    path = tmp_path / "index"
    rows = hashed(len(words), 3)
    Vocabulary(words, rows).save(path)
    assert Vocabulary.open(path).words == tuple(words)


def test_half_characters(tmp_path):
    Vocabulary(["\ud800", "\udc00 b"], hashed(2, 3)).save(tmp_path / "index")
    assert Vocabulary.open(tmp_path / "index").words == ("\ud800", "\udc00 b")
    with pytest.raises(ValueError, match=r"words\[0\]"):
        fastvec.Vocabulary(["\ud83d\ude00"], hashed(1, 3)).save(tmp_path / "pair")
    assert not (tmp_path / "pair").exists()


def test_verify_of_an_opened_index_compares_its_files(saved):
    index = Index.open(saved)
    index.verify()
    path = inner(saved) / "scale.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(FileError, match=r"scale\.npy"):
        index.verify()
    Index(hashed(2, 3)).save(saved)
    with pytest.raises(FileError, match="saved again"):
        index.verify()


def test_verify_of_an_index_that_was_made_here_asks_no_folder(tmp_path):
    index = Index(hashed(3, 4))
    index.save(tmp_path / "index")
    shutil.rmtree(tmp_path / "index")
    index.verify()


if __name__ == "__main__":
    target = Path(sys.argv[1])
    os.fsync = lambda _descriptor: None  # a kill takes nothing back that was written
    if target.suffix:
        write_killed_at_any_line(target)
    else:
        save_killed_at_any_line(target, before=len(sys.argv) > 2)


@pytest.fixture
def screened(tmp_path):
    """An Index folder with a screen that has leading codes."""
    path = tmp_path / "screened"
    Index(hashed(300, 197), screen=192).save(path)
    return path


def version_of(path):
    return json.loads((path / "index.json").read_text())["version"]


@pytest.mark.parametrize("vectors", ["mmap", "memory"])
@pytest.mark.parametrize("n", [0, 1, 20, 300])
@pytest.mark.parametrize(("dims", "width"), [(70, 64), (197, 192)])
def test_a_screen_comes_back(tmp_path, monkeypatch, dims, width, n, vectors):
    monkeypatch.setattr(blocks, "LOT", 1)
    rows = hashed(n, dims)
    index = Index(rows, screen=width)
    index.save(tmp_path / "index")
    assert version_of(tmp_path / "index") == 2
    opened = Index.open(tmp_path / "index", vectors=vectors)
    assert opened._store.screen == width
    assert_same_bits(opened._store.screening.basis.matrix, index._store.screening.basis.matrix)
    assert opened._store.screening.basis.leading[1:] == index._store.screening.basis.leading[1:]
    for more in ([], hashed(50, dims, 2), hashed(1, dims, 3)):
        if len(more):
            opened.add(more)
            rows = np.concatenate([rows, more])
        assert all(block.screened is not None for block in opened._store.blocks)
        opened.verify()
        queries, plain = hashed(40, dims, 1), Index(rows, screen="off")
        for m in (1, 40):
            assert_same_topk(opened.search(queries[:m], 7), plain.search(queries[:m], 7))
    opened.save(tmp_path / "index")
    verify(tmp_path / "index")
    again = Index.open(tmp_path / "index")
    assert_same_topk(again.search(queries, 7), plain.search(queries, 7))


def test_without_a_screen_older_versions_read_the_folder(saved):
    assert version_of(saved) == 1
    opened = Index.open(saved)
    assert opened._store.screening is None
    opened.add(hashed(500, 70))
    assert_same_topk(opened.search(hashed(3, 70), 2), Index(opened.vectors).search(hashed(3, 70), 2))


def test_a_save_removes_the_arrays_of_a_screen(screened):
    before = inner(screened)
    arrays = (*layout.SCREEN_ARRAYS, *layout.LEADING_ARRAYS)
    assert {f"{name}.npy" for name in arrays} < {path.name for path in before.iterdir()}
    Index(hashed(3, 70)).save(screened)
    assert not before.exists()
    assert {path.name for path in inner(screened).iterdir()} == {f"{name}.npy" for name in layout.ARRAYS}
    Index(hashed(300, 70), screen=64).save(screened)
    verify(screened)


@pytest.fixture
def divided(tmp_path):
    """An Index folder with a direction."""
    path = tmp_path / "divided"
    Index(sharing(300, 130)).save(path)
    return path


@pytest.mark.parametrize("vectors", ["mmap", "memory"])
@pytest.mark.parametrize("screen", ["off", "auto"])
def test_a_direction_comes_back(tmp_path, screen, vectors):
    rows, queries = sharing(600, 130), sharing(40, 130, 1)
    index = Index(rows[:300], screen=screen)
    index.save(tmp_path / "index")
    assert version_of(tmp_path / "index") == 2
    opened = Index.open(tmp_path / "index", vectors=vectors)
    along, before = (found._store.blocks[0].direction for found in (opened, index))
    assert_same_bits(along.vector, before.vector)
    assert along[1:] == before[1:]
    assert opened.nbytes >= along.vector.nbytes + 300 * (192 + along.lead)
    opened.add(rows[300:])
    opened.verify()
    opened.save(tmp_path / "index")
    verify(tmp_path / "index")
    for found in (opened, Index.open(tmp_path / "index")):
        assert len(found._store.blocks) == 2 or found is not opened
        assert all(block.direction is not None for block in found._store.blocks)
        for dims in (None, 50):
            for m in (1, 40):
                wanted = knn(queries[:m], rows, 7, dims=dims)
                assert_same_topk(found.search(queries[:m], 7, dims=dims), wanted)


def test_a_save_removes_the_array_of_a_direction(divided):
    before = inner(divided)
    assert (before / "direction.npy").exists()
    Index(hashed(3, 70)).save(divided)
    assert not before.exists()
    assert version_of(divided) == 1


def test_damage_to_a_direction_is_found(divided):
    test_every_flipped_byte_is_found(divided)
    test_every_length_is_checked_when_it_is_opened(divided)


def test_damage_to_a_screen_is_found(screened):
    test_every_flipped_byte_is_found(screened)
    test_every_length_is_checked_when_it_is_opened(screened)
