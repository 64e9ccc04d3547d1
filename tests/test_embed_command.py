"""`fastvec embed`: inputs, outputs, counting, and going on after whatever ended it."""

import errno
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from click.testing import CliRunner
from embedding_server import KEY, OTHER, OTHER_WIDTH, WORDS, hashed_rows

from fastvec import _matrix_file, _text_files, cli
from fastvec.models import Model

TEXTS = [f"text {number}" for number in range(200)]


def rows_of(texts):
    return hashed_rows(texts, OTHER_WIDTH)


@pytest.fixture
def embed(server, make, monkeypatch, tmp_path):
    """Run `fastvec embed` in an empty folder against the test server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)

    def run(*arguments, model=OTHER, **options):
        arguments = ["embed", *map(str, arguments), "--model", model]
        return CliRunner().invoke(cli.group(), arguments, **options)

    return run


def assert_done(result, texts, output="out.npy"):
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(np.load(output), rows_of(texts))
    with open(output.replace(".npy", ".texts.jsonl"), encoding="utf-8") as file:
        assert [json.loads(line) for line in file] == texts
    assert not [name for name in os.listdir() if "partial" in name]


def records(kind, texts):
    lines = {
        "lines": texts,
        "csv": ["id,text", *(f'{n},"{text}"' for n, text in enumerate(texts))],
        "tsv": ["text\tid", *(f"{text}\t{n}" for n, text in enumerate(texts))],
        "jsonl": [json.dumps({"id": n, "text": text}) for n, text in enumerate(texts)],
    }[kind]
    return "\n".join(lines)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize("kind", _text_files.FORMATS)
def test_a_file_of_every_format(embed, tmp_path, kind, end):
    suffix = "txt" if kind == "lines" else kind
    content = "\ufeff" + records(kind, WORDS).replace("\n", end or "\n") + end
    (tmp_path / f"in.{suffix}").write_bytes(content.encode())
    assert_done(embed(f"in.{suffix}", "-o", "out.npy"), WORDS)


@pytest.mark.parametrize("kind", _text_files.FORMATS)
def test_stdin(embed, kind):
    result = embed("-", "-o", "out.npy", "--format", kind, input=records(kind, WORDS).encode())
    assert_done(result, WORDS)


def test_a_column_by_name(embed, tmp_path):
    (tmp_path / "in.csv").write_text('a,b\n1,"two\nlines, ""quoted"""\n3,four\n')
    assert_done(embed("in.csv", "-o", "out.npy", "--column", "b"), ['two\nlines, "quoted"', "four"])
    (tmp_path / "in.ndjson").write_text('{"b": "five"}\n\n{"b": "六"}\n')
    assert_done(embed("in.ndjson", "-o", "out.npy", "--force", "--column", "b"), ["five", "六"])
    (tmp_path / "in.jsonl").write_text('"seven"\n{"text": "eight"}\n')
    assert_done(embed("in.jsonl", "-o", "out.npy", "--force"), ["seven", "eight"])


BAD_INPUT = {
    "no file": ("missing.txt", None, "No such file"),
    "no texts": ("in.txt", "", "holds no texts"),
    "a blank line": ("in.txt", "king\n \nqueen\n", "line 2: the text is blank"),
    "not UTF-8": ("in.txt", b"king\nqu\xffen", "not UTF-8"),
    "no header": ("in.csv", "", "no single column 'text'"),
    "no such column": ("in.csv", "id,name\n1,king\n", "choose one with --column: 'id', 'name'"),
    "two such columns": ("in.csv", "text,text\n1,king\n", "no single column 'text'"),
    "too few fields": ("in.csv", "id,text\n1,king\n2\n", "line 3: only 1 of 2 fields"),
    "an open quote": ("in.csv", 'id,text\n1,"king\n', "not CSV"),
    "not JSON": ("in.jsonl", '{"text": "king"}\n{"text"}\n', "line 2: not JSON"),
    "no such key": ("in.jsonl", '{"name": "king"}\n', "line 1: no 'text'; choose one with --column: 'name'"),
    "no object": ("in.jsonl", "[1]\n", "line 1: no 'text'"),
    "not a text": ("in.jsonl", '{"text": 3}\n', "line 1: 'text' is of type int, not a text"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_a_bad_input_is_refused_before_anything_is_made(server, embed, tmp_path, case):
    name, content, message = BAD_INPUT[case]
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    result = embed(name, "-o", "out.npy")
    assert result.exit_code == 2
    assert message in result.output
    assert server.requests == []
    assert set(os.listdir()) <= {name}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "-o OUT.npy"),
        (["-o", "out.csv"], "must end in .npy"),
        (["-o", "out.npy", "--column", "text"], "plain lines have no columns"),
        (["-o", "no/out.npy"], "cannot be used"),
        (["-o", "out.npy", "--base-url", "nonsense"], "base_url must start with http"),
        (["-o", "out.npy", "--dims", "4000", "--model", "text-embedding-3-small"], "larger than the width"),
    ],
)
def test_a_wrong_call_is_refused(server, embed, tmp_path, arguments, message):
    (tmp_path / "in.txt").write_text("king\n")
    result = embed("in.txt", *arguments, model="text-embedding-3-small" if "--model" in arguments else OTHER)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert server.requests == []


def test_no_key(embed, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "")
    (tmp_path / "in.txt").write_text("king\n")
    result = embed("in.txt", "-o", "out.npy")
    assert result.exit_code == 2
    assert "no API key: set OPENAI_API_KEY" in result.output


def test_an_output_is_replaced_only_if_told_so(server, embed, tmp_path):
    (tmp_path / "in.txt").write_text("king\n")
    assert embed("in.txt", "-o", "out.npy").exit_code == 0
    result = embed("in.txt", "-o", "out.npy")
    assert result.exit_code == 2
    assert "--force replaces it" in result.output
    (tmp_path / "in.txt").write_text("queen\n")
    assert_done(embed("in.txt", "-o", "out.npy", "--force"), ["queen"])


def test_options_reach_the_server(server, embed, tmp_path):
    (tmp_path / "in.txt").write_text("king\nqueen\n")
    result = embed("in.txt", "-o", "out.npy", "--dims", 256, model="text-embedding-3-small")
    assert result.exit_code == 0, result.output
    assert server.requests == [
        {
            "model": "text-embedding-3-small",
            "input": ["king", "queen"],
            "encoding_format": "base64",
            "dimensions": 256,
        }
    ]
    assert np.load("out.npy").shape == (2, 256)


def test_progress_and_quiet(embed, tmp_path):
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    result = embed("in.txt", "-o", "out.npy")
    assert result.stdout == ""
    assert "200 of 200 texts" in result.stderr
    result = embed("in.txt", "-o", "out.npy", "--force", "--quiet")
    assert (result.stdout, result.stderr) == ("", "")


def test_a_cache_of_ones_own_is_kept(server, embed, tmp_path):
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    for _ in range(2):
        assert_done(embed("in.txt", "-o", "out.npy", "--force", "--cache", "rows.sqlite"), TEXTS)
    sent = [text for request in server.requests for text in request["input"]]
    assert sorted(sent) == sorted(TEXTS)


def test_a_dry_run_counts_and_sends_nothing(server, embed, tmp_path, monkeypatch):
    (tmp_path / "in.txt").write_text("\n".join([*["one two, three"] * 100, *TEXTS]))
    monkeypatch.setenv("OPENAI_API_KEY", "")
    result = embed("in.txt", "--dry-run")
    counts = dict(re.split(r" {2,}", line) for line in result.output.splitlines())
    assert counts == {"texts": "300", "unique texts": "201", "tokens, about": "404", "requests": "2"}
    assert server.requests == []
    assert os.listdir() == ["in.txt"]
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert embed("in.txt", "-o", "out.npy").exit_code == 0
    assert len(server.requests) == 2  # the first tells the width


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
    assert sorted(os.listdir()) == ["in.txt", "out.npy", "out.texts.jsonl"]


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


POSIX = pytest.mark.skipif(os.name == "nt", reason="files of POSIX")


def test_a_tsv_keeps_the_quotation_marks_that_a_text_opens_with(embed, tmp_path):
    texts = ['"Hello', "king", 'said "so"']
    (tmp_path / "in.tsv").write_text("\n".join(["text", *texts]))
    assert_done(embed("in.tsv", "-o", "out.npy"), texts)
    (tmp_path / "in.csv").write_text('id,text\n1,"king\n2,queen"\n')
    result = embed("in.csv", "-o", "csv.npy")
    assert result.exit_code == 2
    assert "in.csv: line 2: the quotation that opens here" in result.output
    assert_done(embed("in.csv", "-o", "csv.npy", "--quoting", "csv"), ["king\n2,queen"], "csv.npy")
    assert_done(embed("in.csv", "-o", "plain.npy", "--quoting", "none"), ['"king', 'queen"'], "plain.npy")


@POSIX
@pytest.mark.parametrize("name", ["in", "in.csv"])
def test_texts_from_a_pipe(embed, tmp_path, name):
    os.mkfifo(tmp_path / name)
    texts = ["text", *WORDS] if name == "in.csv" else WORDS
    writer = threading.Thread(target=(tmp_path / name).write_text, args=("\n".join(texts),))
    writer.start()
    result = embed(name, "-o", "out.npy")
    writer.join()
    assert_done(result, WORDS)


@POSIX
@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize("place", ["out.npy", "out.texts.jsonl", "out.npy.partial", "out.npy.partial.lock"])
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
    with _matrix_file.alone(output):
        assert not steps
        monkeypatch.undo()
        with pytest.raises(ValueError, match="another fastvec is writing"), _matrix_file.alone(output):
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


def die_at(step):
    """End this process in so many steps from the first fsync on, when all is made that will be replaced."""
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
def test_a_kill_at_any_step_leaves_a_pair_or_no_words(server, embed, tmp_path, monkeypatch):
    pairs = {}
    for words in (["king", "queen"], ["man", "woman"]):
        pairs[words[0]] = (rows_of(words), "".join(json.dumps(word) + "\n" for word in words))
        (tmp_path / f"{words[0]}.txt").write_text("\n".join(words))
    assert embed("king.txt", "-o", "out.npy").exit_code == 0
    before = {name: (tmp_path / name).read_bytes() for name in ("out.npy", "out.texts.jsonl")}
    states, code, step = set(), 9, 0
    while code == 9:
        step += 1
        child = os.fork()
        if not child:
            die_at(step)
            os._exit(embed("man.txt", "-o", "out.npy", "--force").exit_code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        vectors, texts = np.load("out.npy"), tmp_path / "out.texts.jsonl"
        state = next(name for name, pair in pairs.items() if np.array_equal(pair[0], vectors))
        assert not texts.exists() or texts.read_text() == pairs[state][1]
        states.add((state, texts.exists()))
        for name in before if code == 9 else ():
            (tmp_path / name).write_bytes(before[name])
    assert code == 0
    assert {("king", True), ("king", False), ("man", False), ("man", True)} == states
    assert sorted(os.listdir()) == ["king.txt", "man.txt", "out.npy", "out.texts.jsonl"]


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


@POSIX
@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL, None])
def test_room_is_taken_where_it_cannot_be_reserved(embed, tmp_path, monkeypatch, code):
    def refuse(*arguments):
        raise OSError(code, os.strerror(code))

    if code is None:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    else:
        monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    monkeypatch.setattr(_matrix_file, "_ZEROS", bytes(1000))
    matrix = _matrix_file.allocated(tmp_path / "rows.npy", (1001, 3))
    assert matrix.shape == (1001, 3)
    assert not matrix.any()
    assert (tmp_path / "rows.npy").stat().st_size == 128 + 1001 * 3 * 4
    assert (tmp_path / "rows.npy").stat().st_blocks * 512 >= 1001 * 3 * 4
    (tmp_path / "in.txt").write_text("king\n")
    assert_done(embed("in.txt", "-o", "out.npy"), ["king"])


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
    assert sorted(os.listdir(folder)) == ["out.npy", "out.texts.jsonl"]


def test_reading_names_lines_of_long_fields():
    long = "x" * 200_000
    assert _text_files.read_texts(io.StringIO(f"text\n{long}\n"), "csv", None) == [long]
