"""Calls and settings that are wrong, and places that cannot be read or written: one line, before the work."""

import json
import os
import threading

import pytest
from click.testing import CliRunner

from fastvec import Vocabulary, cli, files
from fastvec.benchmark import peers
from fastvec.commands import options
from fastvec.kernels import threads


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "words.vec"
    files.write(path, ["man", "woman", "king", "queen"], [[1, 0, 0], [0, 1, 0], [1, 0, 1], [0, 1, 1]])
    return path


@pytest.fixture
def run():
    """Run `fastvec` in this process; return its output, or the last line of it if it fails as expected."""

    def call(*arguments, status=0):
        result = CliRunner().invoke(cli.group(), [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == status, result.output
        return result.output if status == 0 else result.output.splitlines()[-1]

    return call


NO_WORK = "the file of words is read, and what is asked for cannot be written"


@pytest.fixture
def no_work(monkeypatch):
    """What is known before the work is said before it."""

    def refuse(*_, **__):
        raise AssertionError(NO_WORK)

    monkeypatch.setattr(files, "read", refuse)
    monkeypatch.setattr(Vocabulary, "open", refuse)


@pytest.fixture(params=["pipe", "device", "folder", "no folder", "closed folder"])
def no_target(request, tmp_path, monkeypatch):
    """A place where no file can be made, without its suffix, and what is said of it."""
    if request.param in ("pipe", "device") and not hasattr(os, "mkfifo"):
        pytest.skip("there are no special files")

    def place(suffix):
        path = tmp_path / f"place{suffix}"
        if request.param == "pipe":
            os.mkfifo(path)
            return path, "a pipe"
        if request.param == "device":
            path.symlink_to(os.devnull)
            return path, "a device"
        if request.param == "folder":
            path.mkdir()
            (path / "mine").touch()
            return path, str(path)
        if request.param == "no folder":
            return tmp_path / "none" / path.name, f"there is no folder {tmp_path / 'none'}"
        monkeypatch.setattr(os, "access", lambda path, mode: not (mode & os.W_OK))
        return path, "cannot be written to"

    before = sorted(tmp_path.rglob("*"))
    yield place
    left = {path for path in tmp_path.rglob("*") if path not in before}
    assert all(path.name.startswith("place") or path.name == "mine" for path in left)
    assert not any(path.is_file() and path.name != "mine" for path in left)


TO_WRITE = {
    "plot a heatmap": (["similarity", "{file}", "man", "king", "--plot", "{target}"], ".png"),
    "plot quality": (["evaluate", "{file}", "--pairs", "{file}", "--plot", "{target}"], ".svg"),
    "record": (["bench", "--seconds", "0.1", "--peers", "numpy", "--records", "{target}"], ".jsonl"),
    "convert": (["convert", "{file}", "{target}"], ".vec"),
    "convert to npy": (["convert", "{file}", "{target}"], ".npy"),
    "convert by format": (["convert", "{file}", "{target}", "--to", "glove"], ".words"),
}


@pytest.mark.parametrize("case", TO_WRITE)
def test_where_no_file_can_be_made(run, file, no_target, no_work, case):
    arguments, suffix = TO_WRITE[case]
    if "--plot" in arguments:
        pytest.importorskip("matplotlib")
    target, said = no_target(suffix)
    message = run(*[argument.format(file=file, target=target) for argument in arguments], status=2)
    assert said in message
    assert target.name in message
    assert not target.is_file()


def test_where_no_index_can_be_made(run, file, tmp_path, no_work):
    assert "it is empty; give the name of a file or folder" in run("convert", file, "", status=2)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "text").touch()
    assert "is not a fastvec index" in run("convert", file, tmp_path / "mine", status=2)
    assert "is not a fastvec index" in run(
        "convert", file, tmp_path / "mine" / "text", "--to", "index", status=2
    )
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert "a pipe" in run("convert", file, tmp_path / "pipe", status=2)


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="there is no /dev/stdout")
def test_standard_output_is_not_replaced(run_python, file, tmp_path):
    code = """
import os, sys
os.dup2(os.open("output", os.O_CREAT | os.O_WRONLY), 1)
from fastvec.cli import main
main(sys.argv[1:])
"""
    result = run_python("-c", code, "convert", file, "/dev/stdout", "--to", "glove", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert "/dev/stdout: a file that a process has open, which is not replaced" in result.stderr
    assert (tmp_path / "output").read_bytes() == b""
    result = run_python("-m", "fastvec", "convert", file, "/dev/stdout", "--to", "glove")
    assert (result.returncode, result.stdout) == (2, "")
    assert "/dev/stdout" in result.stderr


SPECIAL = {
    "words and vectors": ["search", "{special}", "king"],
    "to be converted": ["convert", "{special}", "{file}.npy"],
    "for a race": ["bench", "{special}", "--peers", "numpy"],
    "words": ["search", "{file}", "--words", "{special}"],
    "words to compare": ["similarity", "{file}", "--words", "{special}"],
    "words of one's own": ["quickstart", "--words", "{special}"],
    "questions": ["analogy", "{file}", "--questions", "{special}"],
    "texts": ["embed", "{special}", "-o", "{file}.npy"],
    "pairs": ["evaluate", "{file}", "--pairs", "{special}"],
    "analogies": ["evaluate", "{file}", "--analogies", "{special}"],
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no special files")
@pytest.mark.parametrize("case", SPECIAL)
def test_special_files_are_refused_at_once(run, file, tmp_path, case, monkeypatch):
    monkeypatch.setattr(options, "_PATIENCE_S", 0.05)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name, kind in {"pipe": "a pipe", "endless": "a device"}.items():
        special = tmp_path / name
        message = run(*[part.format(file=file, special=special) for part in SPECIAL[case]], status=2)
        assert str(special) in message
        assert kind in message
    assert {path.name for path in tmp_path.iterdir()} == {"pipe", "endless", "words.vec"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no special files")
def test_a_pipe_is_read_once_somebody_writes(run, file, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Timer(0.1, (tmp_path / "pipe").write_text, ["king\n"])
    writer.start()
    actual = json.loads(run("search", file, "--words", tmp_path / "pipe", "--json"))
    writer.join()
    assert [answer["word"] for answer in actual] == ["king"]


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="the shell cannot open files for a command")
def test_what_the_shell_has_open_is_read(run, file):
    reader, writer = os.pipe()
    os.write(writer, b"king\n")
    os.close(writer)
    actual = json.loads(run("search", file, "--words", f"/dev/fd/{reader}", "--json"))
    os.close(reader)
    assert [answer["word"] for answer in actual] == ["king"]


SETTINGS = {
    "FASTVEC_MICRO_KERNEL": "nonsense",
    "FASTVEC_NUM_THREADS": "0",
}
COMMANDS = {
    "similarity": ["{file}", "king", "man"],
    "search": ["{file}", "king"],
    "analogy": ["{file}", "man", "king", "woman"],
    "convert": ["{file}", "{file}.npy"],
    "duplicates": ["{file}", "--min-score", "0.9"],
    "build": ["{file}", "-o", "{file}.folder"],
    "audit": ["--vectors", "{file}", "--queries", "{file}", "--ground-truth", "{file}.ivecs"],
    "evaluate": ["{file}", "--pairs", "{file}"],
    "bench": ["{file}"],
    "quickstart": ["king", "queen"],
    "warmup": [],
}


def test_a_setting_that_cannot_be_followed_is_one_line_in_every_command(run, file, monkeypatch):
    assert set(COMMANDS) == set(cli.COMMANDS) - {"embed", "doctor"}  # one computes nothing, one reports it
    for name, value in SETTINGS.items():
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            patch.setattr(threads, "_chosen", None)
            for command, arguments in COMMANDS.items():
                message = run(command, *[part.format(file=file) for part in arguments], status=2)
                assert name in message
                assert repr(value) in message


@pytest.mark.parametrize("arguments", [["search", "{file}", "king"], ["convert", "{file}", "{file}.npy"]])
def test_a_package_that_cannot_be_imported(run_python, file, arguments):
    code = "import sys; sys.modules['numpy'] = None; from fastvec.cli import main; main(sys.argv[1:])"
    result = run_python("-c", code, *[part.format(file=file) for part in arguments])
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("fastvec: numpy cannot be imported: ")
    assert result.stderr.endswith("; fastvec doctor says more\n")


MISUSES = {
    "unknown command": ["nope"],
    "unknown option": ["search", "--nope"],
    "no such file": ["convert", "nowhere.vec", "x.npy"],
    "a folder of questions": ["analogy", "{file}", "--questions", "{folder}"],
    "no number": ["search", "{file}", "king", "--k", "many"],
    "too few neighbors": ["search", "{file}", "king", "--k", "0"],
    "too few rows": ["bench", "{file}", "--peers", "numpy", "--k", "7"],
    "unknown peer": ["bench", "{file}", "--peers", "nope"],
    "unknown format": ["search", "{file}", "king", "--format", "nope"],
    "unknown method": ["analogy", "{file}", "man", "king", "woman", "--method", "nope"],
    "no score": ["duplicates", "{file}"],
    "NaN as a score": ["duplicates", "{file}", "--min-score", "nan"],
    "no threads": ["bench", "{file}", "--threads", "0"],
    "no format of that name": ["convert", "{file}", "x.zip"],
    "errors of text": ["convert", "{file}", "{folder}/x.npy", "--format", "parquet", "--errors", "replace"],
    "too many dimensions": ["evaluate", "{file}", "--pairs", "{file}", "--dims", "9"],
    "too many arguments": ["warmup", "now"],
}


@pytest.mark.parametrize("case", MISUSES)
def test_wrong_calls_end_with_status_2(run, file, tmp_path, case):
    run(*[part.format(file=file, folder=tmp_path) for part in MISUSES[case]], status=2)
    assert {path.name for path in tmp_path.iterdir()} == {"words.vec"}


def test_a_named_peer_must_be_installed(run, file, monkeypatch):
    monkeypatch.setattr(
        peers, "TABLE", {"it": peers.TABLE["numpy"]._replace(name="it", module="no_such_module")}
    )
    assert "no_such_module is not installed" in run("bench", file, "--peers", "it", status=2)
