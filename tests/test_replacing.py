"""How writing treats existing files: links, permissions, pipes, full disks, leftovers of killed writes."""

import errno
import os
import socket
import stat
from importlib.util import find_spec
from io import FileIO
from pathlib import Path

import numpy as np
import pytest
from data import hashed
from test_files import path_of, written

from fastvec import Vocabulary, files
from fastvec.files import FORMATS, FileError, atomic

HERE = [name for name in FORMATS if name not in ("arrow", "parquet") or find_spec("pyarrow")]
SINGLE = [name for name in HERE if name != "index"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
class TestSpecialFiles:
    """Pipes, devices and sockets are refused at once, and are unchanged."""

    @pytest.fixture(params=["pipe", "device", "socket", "link to a pipe", "link to a device"])
    def special(self, request, tmp_path):
        path = tmp_path / "special"
        if "pipe" in request.param:
            os.mkfifo(path)
        elif request.param == "socket":
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(str(path))
        elif request.param == "device":
            path = Path("/dev/null")
        else:
            path.symlink_to("/dev/zero")
        if request.param == "link to a pipe":
            (tmp_path / "link").symlink_to(path)
            path = tmp_path / "link"
        return path

    @pytest.mark.parametrize("name", HERE)
    def test_refused(self, special, name):
        before = os.lstat(special)
        acts = [
            lambda: files.read(special, format=name),
            lambda: Vocabulary.open(special, format=name).words,
            lambda: files.write(special, ["a"], [[1]], format=name),
            lambda: Vocabulary(["a"], [[1]]).save(special, format=name),
        ]
        for act in acts:
            with pytest.raises(FileError, match=r"a (pipe|device|socket)") as caught:
                act()
            assert str(special) in str(caught.value)
        assert (os.lstat(special).st_ino, os.lstat(special).st_mode) == (before.st_ino, before.st_mode)

    def test_not_told_by_content(self, special):
        with pytest.raises(FileError, match=r"a (pipe|device|socket)"):
            files.detect(special)

    def test_words_of_npy(self, tmp_path):
        np.save(tmp_path / "a.npy", np.ones((1, 2)))
        os.mkfifo(tmp_path / "a.texts.jsonl")
        for act in (
            lambda: files.read(tmp_path / "a.npy"),
            lambda: files.write(tmp_path / "a.npy", ["a"], [[1]]),
        ):
            with pytest.raises(FileError, match=r"a\.texts\.jsonl: a pipe"):
                act()

    @pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
    @pytest.mark.parametrize("named", [True, False])
    def test_open_files_of_a_process(self, tmp_path, named):
        """/dev/stdout is such a file if a shell redirects it to a file."""
        with open(tmp_path / "out", "wb") as file:
            file.write(b"before")
            file.flush()
            if not named:
                os.unlink(file.name)
            (tmp_path / "link").symlink_to(f"/proc/self/fd/{file.fileno()}")
            for path in (f"/proc/self/fd/{file.fileno()}", tmp_path / "link"):
                with pytest.raises(FileError, match="a file that a process has open"):
                    files.write(path, ["a"], [[1]], format="glove")
            assert os.path.samestat(os.fstat(file.fileno()), os.stat(f"/proc/self/fd/{file.fileno()}"))
        assert not named or (tmp_path / "out").read_bytes() == b"before"


@pytest.mark.parametrize("name", SINGLE)
def test_a_link_stays_and_its_file_is_replaced(tmp_path, name):
    (tmp_path / "real").mkdir()
    suffix = FORMATS[name].suffixes[0]
    real, link = tmp_path / "real" / f"b{suffix}", tmp_path / f"a{suffix}"
    link.symlink_to(os.path.join("real", real.name))
    metadata = {"model": "m"} if FORMATS[name].metadata else None
    if name == "npy":
        for beside in (".texts.jsonl", ".meta.json"):
            link.with_suffix(beside).symlink_to(os.path.join("real", f"b{beside}"))
    for words in (["a"], ["b", "c"]):  # it leads to nothing at first
        files.write(link, words, hashed(len(words), 3), metadata=metadata)
        assert link.is_symlink()
        assert files.read(real).words == files.read(link).words == tuple(words)
        assert files.read(real).metadata == files.read(link).metadata
        assert files.read(link).metadata.get("model") == (metadata or {}).get("model")
    assert len(list(tmp_path.rglob("*"))) == (7 if name == "npy" else 3)


@pytest.mark.parametrize("name", SINGLE)
def test_permissions_of_what_is_replaced_are_kept(tmp_path, name):
    path = written(tmp_path, name)
    for mode in (0o600, 0o640, 0o444):
        for entry in tmp_path.iterdir():
            entry.chmod(mode)
        files.write(path, ["other"], hashed(1, 3), format=name)
        assert {stat.S_IMODE(entry.stat().st_mode) for entry in tmp_path.iterdir()} == {mode}


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("letter", ["n", "é", "猫"])
def test_the_longest_names_can_be_written(tmp_path, name, letter):
    suffix = FORMATS[name].suffixes[0]
    room = 255 - len(".texts.jsonl") if name == "npy" else 255 - len(suffix)
    path = tmp_path / (letter * (room // len(letter.encode())) + suffix)
    for words in (["a"], ["b", "c"]):
        files.write(path, words, hashed(len(words), 3))
        assert files.read(path).words == tuple(words)


@pytest.mark.parametrize("name", SINGLE)
def test_errors_of_writing_name_the_target(tmp_path, name, monkeypatch):
    path = path_of(tmp_path / "none", name)
    with pytest.raises(FileNotFoundError, match="folder for it does not exist") as caught:
        files.write(path, ["a"], [[1]])
    assert caught.value.filename == str(path)
    (tmp_path / "a folder").mkdir()
    with pytest.raises(IsADirectoryError, match="a folder is there"):
        files.write(tmp_path / "a folder", ["a"], [[1]], format=name)
    path = path_of(tmp_path, name)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    class Full(FileIO):
        def write(self, _data):
            full()

    for place, step, does in ((os, "fsync", full), (atomic, "FileIO", Full)):
        with monkeypatch.context() as patch:
            patch.setattr(place, step, does)
            with pytest.raises(OSError, match="No space left") as caught:
                files.write(path, ["a"], [[1]])
        assert caught.value.filename in (str(path), str(path.with_suffix(".texts.jsonl")))
        assert [entry.name for entry in tmp_path.iterdir()] == ["a folder"]


@pytest.mark.parametrize("name", HERE)
def test_a_file_that_grows_too_large_is_as_a_full_disk(tmp_path, name):
    """The system's limit of file sizes stops a write in the middle of the data."""
    resource = pytest.importorskip("resource")
    path = written(tmp_path, name)
    before = {entry: entry.stat() for entry in tmp_path.rglob("*") if entry.is_file()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    words, rows = [f"w{i}" for i in range(3000)], hashed(3000, 40)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large") as caught:
            files.write(path, words, rows, format=name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(path)
    assert {entry: entry.stat() for entry in tmp_path.rglob("*") if entry.is_file()} == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("name", SINGLE)
def test_the_owner_of_what_is_replaced_is_kept(tmp_path, name):
    path = written(tmp_path, name)
    os.chown(path, 4242, 4243)
    files.write(path, ["other"], hashed(1, 3), format=name)
    assert (path.stat().st_uid, path.stat().st_gid) == (4242, 4243)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_the_group_is_kept_where_files_cannot_be_given_away(tmp_path, monkeypatch):
    path = written(tmp_path, "glove")
    os.chown(path, 4242, 4243)
    asked = []

    def refuse(_made, owner, group):
        asked.append((owner, group))
        if owner != -1:
            raise PermissionError

    monkeypatch.setattr(os, "chown", refuse)
    files.write(path, ["other"], hashed(1, 3), format="glove")
    assert asked == [(4242, 4243), (-1, 4243)]


def test_words_that_were_left_without_their_matrix_are_replaced(tmp_path):
    path = written(tmp_path, "npy")
    path.unlink()
    files.write(path, ["other"], [[1, 2]])
    assert files.read(path).words == ("other",)


def killed(act):
    """Run ``act`` in a child that does not come back from it; return how it ended."""
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(9)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("after", [{}, {"model": "new"}])
@pytest.mark.parametrize("step", range(14))
def test_what_belongs_to_a_matrix_comes_back_if_that_cannot_be_replaced(tmp_path, monkeypatch, after, step):
    """A path that is mounted, or belongs to another user in a folder such as /tmp; or Ctrl-C at any step."""
    path = tmp_path / "a.npy"
    files.write(path, ["a"], [[1, 2]], metadata={"model": "old"})
    left, new = [step], False

    def failing(real):
        def call(*arguments):
            nonlocal new
            left[0] -= 1
            if left[0] == -1:
                raise OSError(errno.EBUSY, "Device or resource busy")
            done = real(*arguments)
            new |= arguments[-1] == path
            return done

        return call

    real = atomic.only_writer

    def from_here(*arguments, **options):
        for name in ("replace", "fsync"):
            monkeypatch.setattr(os, name, failing(getattr(os, name)))
        return real(*arguments, **options)

    monkeypatch.setattr(atomic, "only_writer", from_here)
    try:
        files.write(path, ["b"], [[3, 4]], metadata=after)
    except OSError as error:
        assert error.errno == errno.EBUSY  # noqa: PT017
    monkeypatch.undo()
    read = files.read(path)
    assert (read.vectors[0, 0] == 3) == new
    if not new:
        assert (read.words, read.metadata) == (("a",), {"model": "old"})
        assert len(list(tmp_path.iterdir())) == 3
    else:
        assert (read.words, read.metadata) == (("b",), after)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
class TestLeftovers:
    """The next write removes what a killed write left, and nothing else."""

    def hidden(self, folder):
        return {entry.name for entry in folder.iterdir() if entry.name.startswith(".")}

    def leave(self, path):
        def act():
            with atomic.replacing(path) as file:
                file.write(b"half")
                file.flush()
                os._exit(9)

        killed(act)

    def test_removed_by_the_next_write(self, tmp_path):
        path = tmp_path / "a.vec"
        self.leave(path)
        self.leave(tmp_path / "b.vec")
        (tmp_path / ".fastvec-0123456789abcdef").mkdir()  # killed before its marker was there
        assert len(self.hidden(tmp_path)) == 2  # the second write removed what the first had left
        files.write(path, ["a"], [[1]])
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.vec"]

    def test_a_live_writer_is_left_alone(self, tmp_path):
        path = tmp_path / "a.vec"
        with atomic.replacing(path) as file:
            file.write(b"1 1\na 7\n")
            before = self.hidden(tmp_path)
            files.write(path, ["b"], [[1]])
            assert self.hidden(tmp_path) == before
        assert files.read(path).words == ("a",)
        assert not self.hidden(tmp_path)

    def test_what_merely_looks_like_ours_is_left_alone(self, tmp_path):
        path = tmp_path / "a.vec"
        self.leave(path)
        (ours,) = self.hidden(tmp_path)
        marker = (tmp_path / ours / atomic.MARKER).read_bytes()
        names = [f".fastvec-{i:016x}" for i in range(6)]
        for name in names[:4]:
            (tmp_path / name).mkdir()
        (tmp_path / names[0] / "data").write_text("no marker")
        (tmp_path / names[1] / atomic.MARKER).write_text("another text")
        (tmp_path / names[2] / atomic.MARKER).write_bytes(marker)
        (tmp_path / names[2] / "thesis").write_text("mine")
        os.mkfifo(tmp_path / names[3] / atomic.MARKER)
        (tmp_path / names[4]).write_text("a file")
        (tmp_path / names[5]).symlink_to(names[2])
        for name in (".a.vec.0123abcd.tmp", "a.vec.tmp", ".fastvec-cache"):
            (tmp_path / name).write_text("mine")
        before = {str(entry) for entry in tmp_path.rglob("*") if ours not in str(entry)}
        files.write(path, ["a"], [[1]])
        assert {str(entry) for entry in tmp_path.rglob("*")} == before | {str(path)}

    @pytest.mark.parametrize("after", [{}, {"model": "new"}])
    @pytest.mark.parametrize("before", [{}, {"model": "old"}])
    def test_vectors_words_and_metadata_are_never_mixed(self, tmp_path, before, after):
        """The process is killed before and after every step that makes or removes a name."""
        path = tmp_path / "a.npy"
        states = set()
        for step in range(50):
            files.write(path, ["a", "b"], [[1], [2]], metadata=before)
            left = [step]

            def act(left=left):
                def counted(real):
                    def call(*arguments, **options):
                        if left[0] == 0:
                            os._exit(9)
                        left[0] -= 1
                        return real(*arguments, **options)

                    return call

                os.replace, Path.unlink, os.fsync = map(counted, (os.replace, Path.unlink, os.fsync))
                files.write(path, ["b", "a"], [[3], [4]], metadata=after)
                if left[0]:
                    os._exit(0)

            ended = killed(act)
            read = files.read(path)
            old = read.vectors[0, 0] == 1
            assert read.words == (("a", "b") if old else ("b", "a"))
            assert read.metadata == (before if old else after)
            states.add((bool(old), (tmp_path / "a.texts.jsonl").exists()))
            if step % 3 == 0 and ended:
                files.write(tmp_path / "b.npy", ["x"], [[5]])  # puts back what was left
                assert (tmp_path / "a.texts.jsonl").exists()
                assert (files.read(path).words, files.read(path).metadata) == (read.words, read.metadata)
                assert not self.hidden(tmp_path)
            if ended == 0:  # all steps were tried
                break
        assert states == {(True, True), (False, True), (True, False), (False, False)}
        assert ended == 0
        files.write(path, ["c"], [[5]])
        names = [f"{name}{suffix}" for name in "ab" for suffix in (".npy", ".texts.jsonl")]
        assert sorted(entry.name for entry in tmp_path.iterdir()) == names


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize(
    "text", ['{"text": "mine"}\n', "my words\n", '"mine"\n5\n', '{"long": "' + "x" * 99_999]
)
def test_texts_of_others_are_not_replaced_by_words(tmp_path, text, beside):
    (tmp_path / "a.texts.jsonl").write_text(text)
    if beside:
        np.save(tmp_path / "a.npy", np.ones((1, 2)))
    before = {entry: entry.read_bytes() for entry in tmp_path.iterdir()}
    where = "beside" if beside else "without"
    with pytest.raises(
        FileExistsError, match=rf"a\.texts\.jsonl exists {where} .*a\.npy and does not hold one JSON string"
    ):
        files.write(tmp_path / "a.npy", ["a"], [[1]])
    assert {entry: entry.read_bytes() for entry in tmp_path.iterdir()} == before


@pytest.mark.parametrize("text", ["", '"mine"', '\ufeff"mine"\r\n "too"\n', '"' + "x" * 99_999 + '"\n"y"\n'])
def test_words_beside_a_matrix_are_replaced_with_it(tmp_path, text):
    """Files of other programs count too."""
    (tmp_path / "a.texts.jsonl").write_text(text, encoding="utf-8")
    np.save(tmp_path / "a.npy", np.ones((1, 2)))
    files.write(tmp_path / "a.npy", ["a"], [[1]])
    assert files.read(tmp_path / "a.npy").words == ("a",)
