"""What the command owes the shell that started it: an answer to Ctrl-C, and word of output that is lost."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fastvec

ROOT = Path(fastvec.__file__).resolve().parents[1]
WORDS = "man 1 0 0\nwoman 0 1 0\nking 1 0 1\nqueen 0 1 1\n"

START = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # off where tests run in the background

def press():
    os.kill(os.getpid(), signal.SIGINT)
"""
RUN = """
from fastvec.cli import main
main(sys.argv[1:])
"""
WHILE_IMPORTING = """
class Pressed:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == sys.argv[1]:
            press()

sys.meta_path.insert(0, Pressed)
from fastvec.cli import main
main(sys.argv[2:])
"""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and streams of POSIX")


@pytest.fixture
def words(tmp_path):
    (tmp_path / "words.txt").write_text(WORDS)
    return tmp_path / "words.txt"


def assert_interrupted(result):
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "fastvec: interrupted\n")


@pytest.mark.parametrize("module", ["fastvec.commands.process", "click", "rich", "numpy", "numba.core.types"])
def test_ctrl_c_while_modules_are_imported(run_python, words, module):
    result = run_python("-c", START + WHILE_IMPORTING, module, "search", words, "king")
    assert_interrupted(result)


AT_WORK = """
import fastvec

def search(*_, **__):
    {work}

fastvec.Index.search = search
"""
TWICE = """
    try:
        press()
    finally:
        for _ in range(50):
            press()
        print("put right", file=sys.stderr)
"""
DROPPED = """
    import time
    class Last:
        def __del__(self):
            press()
    Last()
    time.sleep(20)
    print("not interrupted")
"""
CHANGED = """
    try:
        press()
    except KeyboardInterrupt:
        raise ImportError("a library made this of it")
"""


def at_work(run_python, words, work):
    return run_python("-c", START + AT_WORK.format(work=work.strip()) + RUN, "search", words, "king")


def test_many_times_ctrl_c_lets_things_be_put_right(run_python, words):
    result = at_work(run_python, words, TWICE)
    assert (result.returncode, result.stderr) == (130, "put right\nfastvec: interrupted\n")


@pytest.mark.parametrize("work", [DROPPED, CHANGED], ids=["dropped", "changed"])
def test_ctrl_c_counts_even_if_its_exception_is_replaced(run_python, words, work):
    assert_interrupted(at_work(run_python, words, work))


WITH_A_LINE = """
import threading
import rich.live
from fastvec.commands import output

shown, start = threading.Event(), rich.live.Live.start

def started(live, refresh=False):
    start(live, refresh)
    shown.set()

rich.live.Live.start = started
output._PATIENCE_S = 0.0
"""


def test_ctrl_c_takes_the_line_of_progress_away(words):
    ours, theirs = os.openpty()
    code = START + WITH_A_LINE + AT_WORK.format(work="shown.wait(30); press()") + RUN
    done = subprocess.run(
        [sys.executable, "-c", code, "search", words, "king"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
        stdout=subprocess.PIPE,
        stderr=theirs,
        timeout=60,
        check=False,
    )
    os.close(theirs)
    said = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert (done.returncode, done.stdout) == (130, b"")
    assert "searching 4 rows" in said
    assert said.endswith("fastvec: interrupted\r\n")
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l")  # the cursor is back


def test_ctrl_c_that_is_switched_off_stays_so(run_python, words):
    off = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    work = "press(); return fastvec.knn([[1.0]], [[1.0]], 1, exclude=[[0]])"
    result = run_python("-c", START + off + AT_WORK.format(work=work) + RUN, "search", words, "king")
    assert (result.returncode, result.stderr) == (0, "")


def test_ctrl_c_does_not_wait_for_what_is_compiled(run_python, words):
    work = """
    import threading, time
    threading.Thread(target=time.sleep, args=[60]).start()
    press()
    """
    assert_interrupted(at_work(run_python, words, work))


def test_ctrl_c_ends_the_checks_of_doctor_and_their_processes(run_python, tmp_path):
    code = """
from fastvec.commands import diagnosis, exactness
diagnosis.CHECKS = diagnosis.CHECKS[-1:]
popen = exactness.subprocess.Popen

def started(arguments, **options):
    child = popen([sys.executable, "-c", "import time; time.sleep(60)"], **options)
    with open(sys.argv[1], "a") as children:
        print(child.pid, file=children)
    return child

exactness.subprocess.Popen = started
exactness._judged = lambda *_: press()
from fastvec.cli import main
main(["doctor"])
"""
    assert_interrupted(run_python("-c", START + code, tmp_path / "children", timeout=30))
    deadline = time.monotonic() + 10  # init takes leave of those that were killed
    for child in map(int, (tmp_path / "children").read_text().split()):
        while is_there(child):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def is_there(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def shell(command, words, **environment):
    """Run a line of the shell in which `fastvec` is the command line."""
    function = f'fastvec() {{ "{sys.executable}" -m fastvec "$@"; }}\n'
    return subprocess.run(
        ["bash", "-c", function + command],
        cwd=words.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")


@FULL
@pytest.mark.parametrize(
    ("arguments", "unbuffered"),
    [("--version", ""), ("--version", "1"), ("--help", ""), ("search words.txt king", "")],
)
def test_standard_output_on_a_full_disk(words, arguments, unbuffered):
    result = shell(f"fastvec {arguments} >/dev/full", words, PYTHONUNBUFFERED=unbuffered)
    assert (result.returncode, result.stderr) == (
        1,
        "fastvec: standard output cannot be written: No space left on device\n",
    )


def test_standard_output_that_is_closed(words):
    result = shell("fastvec search --help >&-", words)
    assert (result.returncode, result.stderr) == (
        1,
        "fastvec: standard output cannot be written: Bad file descriptor\n",
    )
    # No file of ours takes the place of the stream.
    result = shell("fastvec convert words.txt copy.vec >&-; cat copy.vec", words)
    assert result.stdout.splitlines()[:2] == ["4 3", "man 1 0 0"]


def test_a_reader_that_goes_away(words):
    names = [f"word{number}" for number in range(1500)]
    words.write_text("".join(f"{name} {number} 1 0\n" for number, name in enumerate(names)))
    (words.parent / "list").write_text("\n".join(names))
    # More than a pipe holds.
    result = shell("fastvec search words.txt --words list | head -1 >/dev/null", words)
    assert result.stderr == ""


def test_errors_go_nowhere_but_to_standard_error(words):
    result = shell("fastvec search words.txt --nope 2>&-", words)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", "")
    if Path("/dev/full").exists():
        result = shell("fastvec search words.txt --nope 2>/dev/full", words)
        assert (result.returncode, result.stdout) == (2, "")


def test_standard_input_that_is_closed(words):
    result = shell("fastvec search words.txt --words - <&-", words)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("fastvec: give at least one text")


ASCII = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_words_under_a_locale_without_unicode(words):
    words.write_text("König 1 0 0\n女王 1 0 1\nother 0 1 0\n", encoding="utf-8")
    result = shell("fastvec search words.txt König --k 1", words, **ASCII)
    assert (result.returncode, result.stderr) == (0, "")
    assert "\\u5973\\u738b" in result.stdout
    result = shell("fastvec analogy words.txt $'K\\xff' a b", words, **ASCII)
    assert result.returncode == 2
    assert "b'K\\xff' is not UTF-8" in result.stderr


def test_as_a_module(run_python, words):
    result = run_python("-m", "fastvec", "--version")
    assert (result.returncode, result.stdout) == (0, f"fastvec {fastvec.__version__}\n")
    result = run_python("-m", "fastvec", "search", words)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "fastvec: give at least one text (see fastvec search --help)\n"
