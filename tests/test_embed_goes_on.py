"""`fastvec embed` after a failure, a kill or a full disk."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from embed_command import TEXTS, assert_done, rows_of
from embedding_server import KEY, OTHER

from fastvec.models import Model


def test_after_a_failure_the_same_command_goes_on(server, embed, tmp_path, monkeypatch):
    monkeypatch.setattr("fastvec.openai.describe", lambda name: Model(name, max_texts_per_request=10))
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    server.misbehave([""] * 10, always="unauthorized")
    result = embed("in.txt", "-o", "out.npy")
    assert result.exit_code == 1
    assert "status 401" in result.output
    assert "kept in out.npy.partial; the same command goes on" in result.output
    assert KEY not in result.output
    assert sorted(name.split("-")[0] for name in os.listdir())[:2] == ["in.txt", "out.npy.partial"]
    assert not os.path.exists("out.npy")
    counts = embed("in.txt", "-o", "out.npy", "--dry-run").output
    assert "received before  91" in counts  # the first request asks for one text, to learn the width
    assert "requests         11" in counts
    server.misbehave()
    server.requests.clear()
    assert_done(embed("in.txt", "-o", "out.npy"), TEXTS)
    assert sum(len(request["input"]) for request in server.requests) == 109


@pytest.fixture
def in_process_of_its_own(server, tmp_path):
    """Start `fastvec embed` with requests of ten texts."""
    import fastvec

    code = (
        # Where the tests run in the background, Ctrl-C may have been switched off for them.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import fastvec.openai; from fastvec.models import Model; from fastvec.cli import main\n"
        "fastvec.openai.describe = lambda name: Model(name, max_texts_per_request=10)\n"
        "main()"
    )
    root = os.path.dirname(os.path.dirname(fastvec.__file__))
    environment = {"PYTHONPATH": root, "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.url}

    def start():
        arguments = ["embed", "in.txt", "-o", "out.npy", "--model", OTHER]
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path,
            env={**os.environ, **environment},
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("end", [signal.SIGINT, getattr(signal, "SIGKILL", None)], ids=["Ctrl-C", "kill"])
def test_after_an_interruption_the_same_command_goes_on(
    server, in_process_of_its_own, tmp_path, monkeypatch, end
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    server.delay_s = 0.25  # twelve requests are left when eight are there: time to end the process
    process = in_process_of_its_own()
    deadline = time.monotonic() + 30
    while len(server.requests) < 8 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(end)
    _, err = process.communicate(timeout=30)
    if end == signal.SIGINT:
        assert process.returncode == 130
        assert err.splitlines()[-1].startswith("fastvec: interrupted; what was received is kept in out.npy.")
        assert "Traceback" not in err
    assert not os.path.exists("out.npy")
    before = [text for request in server.requests for text in request["input"]]
    server.requests.clear()
    server.delay_s = 0.0
    process = in_process_of_its_own()
    process.communicate(timeout=30)
    assert process.returncode == 0
    np.testing.assert_array_equal(np.load("out.npy"), rows_of(TEXTS))
    again = [text for request in server.requests for text in request["input"]]
    assert set(before) | set(again) == set(TEXTS)
    in_flight = 0 if end == signal.SIGINT else 40
    assert len(set(before) & set(again)) <= in_flight
    assert sorted(os.listdir()) == ["in.txt", "out.meta.json", "out.npy", "out.texts.jsonl"]


def test_offline_too_the_same_command_goes_on(embed, tmp_path, monkeypatch):
    encoded, ends = [], [100]

    class Encoder:
        def encode(self, text):
            if len(encoded) in ends:
                raise KeyboardInterrupt
            encoded.append(text)
            return np.full(512, len(text), np.float32)

    monkeypatch.setattr("fastvec._embedders._import_encoder", lambda: None)
    monkeypatch.setattr("fastvec._embedders._encoder", Encoder)
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    result = embed("in.txt", "-o", "out.arrow", model="offline")
    assert result.exit_code == 130
    assert "interrupted; what was made is kept in out.arrow.partial; the same command" in result.output
    encoded.clear()
    ends.clear()
    result = embed("in.txt", "-o", "out.arrow", model="offline")
    assert result.exit_code == 0, result.output
    assert encoded == TEXTS[96:]  # whole batches are kept
    assert "; 96 from before, " in result.stderr
    assert sorted(os.listdir()) == ["in.txt", "out.arrow"]


def test_a_damaged_file_of_rows_is_named(embed, tmp_path):
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    assert embed("in.txt", "-o", "out.npy", "--cache", "rows").exit_code == 0
    rows = (tmp_path / "rows").read_bytes()
    # The first page, which is read when the file is opened, is left as it is.
    (tmp_path / "rows").write_bytes(rows[:32768] + b"\xff" * (len(rows) - 32768))
    result = embed("in.txt", "-o", "out.npy", "--cache", "rows", "--force")
    assert result.exit_code != 0
    assert "cache 'rows'" in result.output
    assert "goes on from there" not in result.output
    (tmp_path / "rows").unlink()
    assert_done(embed("in.txt", "-o", "out.npy", "--cache", "rows", "--force"), TEXTS)


@pytest.mark.skipif(os.name == "nt", reason="locks of POSIX")
def test_two_at_a_time_do_not_share_an_output(embed, tmp_path):
    import fcntl

    (tmp_path / "in.txt").write_text("king\n")
    with open("out.npy.partial.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = embed("in.txt", "-o", "out.npy")
    assert result.exit_code == 2
    assert "another fastvec is writing out.npy" in result.output


def die_at(step):
    """End this process ``step`` calls after the first fsync, when all new files are complete."""
    left, fsync = step, os.fsync

    def or_die(call):
        def counted(*arguments, **options):
            nonlocal left
            left -= left < step or call is fsync
            if left == 0:
                os._exit(9)
            return call(*arguments, **options)

        return counted

    for name in ("replace", "rename", "unlink", "fsync", "rmdir", "mkdir"):
        setattr(os, name, or_die(getattr(os, name)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_step_leaves_all_of_one_moment_or_no_words(server, embed, tmp_path, monkeypatch):
    made = {}
    for words in (["king", "queen"], ["man", "woman"]):
        name, prefix = words[0], f"{words[0]}: "
        made[name] = (
            rows_of([prefix + word for word in words]),
            "".join(json.dumps(w) + "\n" for w in words),
        )
        (tmp_path / f"{name}.txt").write_text("\n".join(words))
    assert embed("king.txt", "-o", "out.npy", "--prefix", "king: ").exit_code == 0
    files = ("out.npy", "out.texts.jsonl", "out.meta.json")
    before = {name: (tmp_path / name).read_bytes() for name in files}
    states, code, step = set(), 9, 0
    while code == 9:
        step += 1
        child = os.fork()
        if not child:
            die_at(step)
            os._exit(embed("man.txt", "-o", "out.npy", "--prefix", "man: ", "--force").exit_code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        vectors, texts, about = map(tmp_path.joinpath, files)
        state = next(name for name, (rows, _) in made.items() if np.array_equal(rows, np.load(vectors)))
        if texts.exists():
            assert texts.read_text() == made[state][1]
            assert json.loads(about.read_text())["metadata"]["document_prefix"] == f"{state}: "
        states.add((state, texts.exists()))
        for name in before if code == 9 else ():
            (tmp_path / name).write_bytes(before[name])
    assert code == 0
    assert {("king", True), ("king", False), ("man", False), ("man", True)} == states
    assert sorted(os.listdir()) == ["king.txt", "man.txt", "out.meta.json", "out.npy", "out.texts.jsonl"]


def test_a_disk_without_room_is_an_error_before_anything_is_asked_for(server, embed, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "in.txt").write_text("king\n")
    arguments = ("in.txt", "-o", "out.npy", "--force", "--dims", 64)
    assert embed(*arguments).exit_code == 0
    before = [(tmp_path / name).read_bytes() for name in ("out.npy", "out.texts.jsonl")]
    server.requests.clear()
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    result = embed(*arguments)
    assert result.exit_code == 1
    assert "out.npy: No space left on device; what was received is kept in out.npy.partial" in result.output
    assert server.requests == []
    assert before == [(tmp_path / name).read_bytes() for name in ("out.npy", "out.texts.jsonl")]


@pytest.fixture
def disk(tmp_path):
    """Make a disk of some bytes, or change how many it has."""
    folder, made = tmp_path / "disk", []

    def mount(size):
        folder.mkdir(exist_ok=True)
        options = f"size={size}" + ",remount" * bool(made)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("disks cannot be mounted here")
        made.append(folder)
        return folder

    if not shutil.which("mount"):
        pytest.skip("disks cannot be mounted here")
    yield mount
    if made:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(
    ("size", "said"),
    [("512k", "out.npy: No space left on device"), ("1200k", "failed: database or disk is full")],
)
def test_a_disk_that_is_full_ends_the_command_with_one_line_and_it_goes_on_later(
    server, run_python, disk, tmp_path, size, said
):
    texts = [f"text {number}" for number in range(3000)]
    (tmp_path / "in.txt").write_text("\n".join(texts))
    folder = disk(size)
    arguments = ("embed", tmp_path / "in.txt", "-o", "out.npy", "--model", OTHER, "--quiet")
    command = ("-m", "fastvec.cli", *arguments)
    environment = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.url}
    result = run_python(*command, cwd=folder, **environment)
    assert result.returncode == 1, result.stderr
    assert said in result.stderr
    assert "what was received is kept in out.npy.partial" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (folder / "out.npy").exists()
    disk("40m")
    sent = len(server.requests)
    result = run_python(*command, cwd=folder, **environment)
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(np.load(folder / "out.npy"), rows_of(texts))
    assert sum(len(request["input"]) for request in server.requests[sent:]) < 3000
    assert sorted(os.listdir(folder)) == ["out.meta.json", "out.npy", "out.texts.jsonl"]
