"""What `fastvec embed` writes to, and what it leaves alone."""

import errno
import os
import socket
import sys

import numpy as np
import pytest
from embed_command import assert_done, rows_of

from fastvec.commands import places

POSIX = pytest.mark.skipif(os.name == "nt", reason="files of POSIX")


@POSIX
@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize(
    "place", ["out.npy", "out.texts.jsonl", "out.meta.json", "out.npy.partial", "out.npy.partial.lock"]
)
@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a device", "a socket"])
def test_what_is_not_a_file_is_never_replaced(server, embed, tmp_path, place, kind, force):
    (tmp_path / "in.txt").write_text("king\n")
    if kind == "a pipe":
        os.mkfifo(place)
    elif kind == "a folder":
        os.mkdir(place)
    elif kind == "a device":
        os.symlink(os.devnull, place)
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(place)
    before = os.lstat(place)
    result = embed("in.txt", "-o", "out.npy", *force)
    assert result.exit_code == 2, result.output
    assert place in result.output
    assert server.requests == []
    assert os.path.samestat(before, os.lstat(place))
    assert sorted(os.listdir()) == sorted(["in.txt", place])


@POSIX
@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a device"])
def test_a_cache_that_is_not_a_file_is_refused(server, embed, tmp_path, kind):
    (tmp_path / "in.txt").write_text("king\n")
    if kind == "a device":
        os.symlink("/dev/full", "c")
    else:
        (os.mkfifo if kind == "a pipe" else os.mkdir)("c")
    result = embed("in.txt", "-o", "out.npy", "--cache", "c")
    assert result.exit_code == 2
    assert "cache 'c' cannot be used" in result.output
    assert sorted(os.listdir()) == ["c", "in.txt"]


@POSIX
@pytest.mark.parametrize("content", ["", "dear diary"])
@pytest.mark.parametrize("end", ["", ".lock", ".npy", ".jsonl", "-wal", "-shm", "-journal"])
def test_links_are_not_followed_to_the_files_of_others(embed, tmp_path, end, content):
    (tmp_path / "in.txt").write_text("king\n")
    (tmp_path / "victim").write_text(content)
    (tmp_path / f"out.npy.partial{end}").symlink_to("victim")
    embed("in.txt", "-o", "out.npy", "--dry-run")
    result = embed("in.txt", "-o", "out.npy")
    assert (tmp_path / "victim").read_text() == content
    if result.exit_code == 0:
        np.testing.assert_array_equal(np.load("out.npy"), rows_of(["king"]))
    else:
        assert "out.npy.partial" in result.output


@POSIX
def test_links_to_nothing_make_nothing(embed, tmp_path):
    (tmp_path / "in.txt").write_text("king\n")
    for end in ("", ".lock"):
        (tmp_path / f"out.npy.partial{end}").symlink_to("nothing")
        assert embed("in.txt", "-o", "out.npy").exit_code == 2
        assert not (tmp_path / "nothing").exists()
        (tmp_path / f"out.npy.partial{end}").unlink()


def test_what_has_the_name_of_a_lock_is_not_removed(embed, tmp_path):
    (tmp_path / "in.txt").write_text("king\n")
    (tmp_path / "out.npy.partial.lock").write_text("dear diary")
    result = embed("in.txt", "-o", "out.npy")
    assert result.exit_code == 2
    assert "out.npy.partial.lock is not a file that fastvec has made" in result.output
    assert (tmp_path / "out.npy.partial.lock").read_text() == "dear diary"


@POSIX
def test_a_lock_that_its_holder_has_removed_does_not_count(tmp_path, monkeypatch):
    import fcntl

    output, lock, flock = tmp_path / "out.npy", tmp_path / "out.npy.partial.lock", fcntl.flock
    steps = [lock.unlink, lambda: (lock.unlink(), lock.touch()), lambda: None]

    def flock_later(descriptor, operation):
        steps.pop(0)()  # by another process, between opening and locking
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock_later)
    with places.alone(output):
        assert not steps
        monkeypatch.undo()
        with pytest.raises(ValueError, match="another fastvec is writing"), places.alone(output):
            raise AssertionError
    assert not lock.exists()


def test_what_is_read_or_kept_is_not_written_over(server, embed, tmp_path):
    texts = '"king"\n"queen"\n'
    (tmp_path / "out.texts.jsonl").write_text(texts)
    for arguments in ([], ["--force"]):
        result = embed("out.texts.jsonl", "-o", "out.npy", *arguments)
        assert result.exit_code == 2
        assert "out.texts.jsonl is INPUT itself" in result.output
    (tmp_path / "in.txt").write_text("king\n")
    result = embed("in.txt", "-o", "out.npy", "--force")
    assert result.exit_code == 2
    assert "out.texts.jsonl is there without out.npy, so it is not replaced" in result.output
    for cache in ("new.npy", "new.texts.jsonl", "./new.npy"):
        result = embed("in.txt", "-o", "new.npy", "--cache", cache)
        assert result.exit_code == 2
        assert "--cache is what OUT will replace" in result.output
    assert server.requests == []
    assert (tmp_path / "out.texts.jsonl").read_text() == texts
    assert sorted(os.listdir()) == ["in.txt", "out.texts.jsonl"]


@POSIX
@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL, None])
def test_room_is_taken_where_it_cannot_be_reserved(embed, tmp_path, monkeypatch, code):
    def refuse(*arguments):
        raise OSError(code, os.strerror(code))

    if code is None:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    else:
        monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    monkeypatch.setattr(places, "_ZEROS", bytes(1000))
    matrix = places.allocated(tmp_path / "rows.npy", (1001, 3))
    assert matrix.shape == (1001, 3)
    assert not matrix.any()
    assert (tmp_path / "rows.npy").stat().st_size == 128 + 1001 * 3 * 4
    assert (tmp_path / "rows.npy").stat().st_blocks * 512 >= 1001 * 3 * 4
    (tmp_path / "in.txt").write_text("king\n")
    assert_done(embed("in.txt", "-o", "out.npy"), ["king"])


@pytest.mark.parametrize(
    ("name", "content"), [("out.meta.json", '{"mine": 1}'), ("out.texts.jsonl", "dear diary\n")]
)
def test_what_others_have_put_beside_a_matrix_is_never_replaced(server, embed, tmp_path, name, content):
    (tmp_path / "in.txt").write_text("king\n")
    assert embed("in.txt", "-o", "out.npy").exit_code == 0
    server.requests.clear()
    (tmp_path / name).write_text(content)
    result = embed("in.txt", "-o", "out.npy", "--force")
    assert result.exit_code == 2
    assert name in result.output
    assert (tmp_path / name).read_text() == content
    assert server.requests == []
    assert sorted(os.listdir()) == ["in.txt", "out.meta.json", "out.npy", "out.texts.jsonl"]


@pytest.mark.parametrize("output", ["out.arrow", "out.parquet"])
def test_a_package_that_is_missing_is_said_before_anything_is_asked_for(
    server, embed, tmp_path, monkeypatch, output
):
    (tmp_path / "in.txt").write_text("king\n")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = embed("in.txt", "-o", output)
    assert result.exit_code == 2
    assert "pip install 'fastvec[arrow]'" in result.output
    assert server.requests == []
    assert os.listdir() == ["in.txt"]
