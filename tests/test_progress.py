"""Progress of commands: what the library reports, what a terminal shows, and what a pipe does not get."""

import io
import itertools
import os
import select
import sys
import threading

import numpy as np
import pytest
from data import gaussian

import fastvec
from fastvec import _progress, files
from fastvec.commands import output
from fastvec.kernels import reports, scan, threads

pytestmark = pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals of POSIX")


@pytest.fixture
def told(monkeypatch):
    """The progress that calls report."""
    calls = []
    monkeypatch.setattr(reports, "progress", lambda done, total: calls.append((done, total)))
    return calls


@pytest.fixture
def short_runs(monkeypatch):
    """Calls are divided into runs as if each took long."""
    monkeypatch.setattr(threads, "_FIRST_WORK", 1 << 14)
    monkeypatch.setattr(threads, "_PACE_S", 0.0)
    monkeypatch.setattr(threads, "_REPORT_S", 0.0)
    monkeypatch.setattr(scan, "_PACE_WORK", 1 << 14)


VECTORS = gaussian(9000, 64, 1)
CALLS = {
    "encode": lambda index: fastvec.Index(VECTORS),
    "scan": lambda index: index.search(VECTORS[0], 3),
    "scan tiles": lambda index: index.search(VECTORS[:200], 3),
    "scan some rows": lambda index: index.search(VECTORS[:40], 3, where=np.arange(0, 9000, 4)),
    "scan a range": lambda index: index.range_search(VECTORS[:2], 0.5),
    "direct": lambda index: index.search(VECTORS[:4], 9000),
    "3cosmul": lambda index: index.analogy([1, 2], [3], method="3cosmul"),
}


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("call", CALLS)
def test_long_calls_tell_how_far_they_are(told, short_runs, monkeypatch, call, num_threads):
    index = fastvec.Index(VECTORS)
    monkeypatch.setattr(threads, "_chosen", num_threads)
    told.clear()
    CALLS[call](index)
    starts = [number for number, (done, _) in enumerate(told) if done == 0] + [len(told)]
    assert starts[0] == 0
    runs = [told[a:b] for a, b in itertools.pairwise(starts)]
    for run in runs:
        assert len({total for _, total in run}) == 1
        assert run[-1][0] == run[-1][1]
        if num_threads == 1:
            assert run == sorted(run)
    # Finer than the parts that threads take, where a part takes long; for few queries none does.
    assert call in ("encode", "scan") or any(done % 1 for run in runs for done, _ in run)


@pytest.mark.parametrize("name", ["word2vec-text", "word2vec-binary", "glove"])
def test_reading_tells_how_far_it_is(told, tmp_path, name):
    path = tmp_path / "many"
    files.write(path, [f"word{number}" for number in range(2000)], gaussian(2000, 3, 1), format=name)
    told.clear()
    assert len(files.read(path, format=name).words) == 2000
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1]


def test_parts_within_parts_are_not_told(told):
    def part(number):
        return threads.run(lambda inner: inner, range(5), 2)

    threads.run(part, range(3), 2)
    assert {total for _, total in told} == {3}


def test_nothing_is_counted_without_a_counter(monkeypatch):
    monkeypatch.setattr(threads._Job, "_report", lambda self: pytest.fail("counted"))
    fastvec.Index(VECTORS).search(VECTORS[:200], 3)


def test_what_is_said_of_counts():
    assert _progress.status(3, 12, 2.0, "rounds") == "3 of 12 rounds, 2/s, 0:00:06 left"
    assert _progress.status(1, 12, 100.0, "rounds") == "1 of 12 rounds, 0:18:20 left"
    assert _progress.status(1234, None, 0.0, "") == "1,234"
    assert _progress.share(1, 8, 3600.0) == "12 %, 7:00:00 left"
    assert _progress.share(8, 8, 10.0) == "100 %"


def test_the_line_says_what_is_known(monkeypatch):
    now = 100.0
    monkeypatch.setattr(output.time, "monotonic", lambda: now)
    line = output.Line("reading", "")
    now += 65
    assert str(line) == "reading, 0:01:05"
    line.heard(0, 4)
    now += 0.1
    line.heard(0.5, 4)
    assert str(line) == "reading, 0:01:05"  # it may be over at once
    now += 0.9
    line.heard(1, 4)
    assert str(line) == "reading: 25 %, 0:00:03 left"
    line.heard(0, 4)  # another call
    now += 1
    line.heard(2, 4)
    assert str(line) == "reading: 50 %, 0:00:01 left"
    line.heard(4, 4)
    assert str(line) == "reading, 0:01:07"
    line.now("embedding", "texts")
    line(0, 3000)
    now += 10
    line(1000, 3000)
    line.heard(1, 4)
    assert str(line) == "embedding: 1,000 of 3,000 texts, 100/s, 0:00:20 left"


@pytest.fixture
def terminal(monkeypatch):
    """Standard error on a pseudo-terminal; a call returns what is shown, up to a text or to the end."""
    ours, theirs = os.openpty()
    stream = open(theirs, "w")  # noqa: SIM115
    monkeypatch.setenv("TERM", "xterm")
    shown = bytearray()

    def read(text=None):
        while text is None or text.encode() not in shown:
            if not select.select([ours], [], [], 10)[0]:
                pytest.fail(f"{text!r} is not shown, but {bytes(shown)!r}")
            try:
                shown.extend(os.read(ours, 4096))
            except OSError:  # the end, of a terminal
                break
        return shown.decode()

    read.begin = lambda: monkeypatch.setattr(sys, "stderr", stream)  # in a fixture pytest would undo it
    read.end = stream.close
    yield read
    stream.close()
    os.close(ours)


def test_a_terminal_shows_a_line_that_goes_away(terminal, monkeypatch):
    monkeypatch.setattr(output, "_PATIENCE_S", 0.0)
    terminal.begin()
    with output.working("reading", "rows") as progress:
        terminal("reading, 0:00:0")
        progress(3, 12)
        terminal("reading: 3 of 12 rows")
        with output.working("encoding"):  # a step
            assert reports.progress is not None
            terminal("encoding, 0:00:0")
        assert str(progress).startswith("reading: 3 of 12 rows")
    terminal.end()
    shown = terminal()
    assert shown.endswith("\x1b[2K")  # the line is cleared ...
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # ... and the cursor is back
    assert reports.progress is None
    assert reports.compiling is None


def test_what_is_over_in_a_second_shows_nothing(terminal, monkeypatch):
    monkeypatch.setattr(output, "_first", float("inf"))
    monkeypatch.setattr(output, "_PATIENCE_S", 600.0)
    terminal.begin()
    with output.working() as progress:
        progress(1, 2)
    assert not [thread for thread in threading.enumerate() if thread.name == "fastvec-line"]
    terminal.end()
    assert terminal() == ""


def test_a_pipe_gets_nothing_and_costs_nothing(monkeypatch):
    monkeypatch.setattr(output, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with output.working("reading") as progress:
        progress(1, 2)
        assert reports.progress is None
        assert reports.compiling is None
        assert not [thread for thread in threading.enumerate() if thread.name == "fastvec-line"]
    assert sys.stderr.getvalue() == ""


COMPILES = """
import os, sys
if sys.argv[1] == "terminal":
    ours, theirs = os.openpty()
    sys.stderr = open(theirs, "w")
import fastvec
from fastvec.commands.output import working
with working():
    for width in (3, 4):
        fastvec.normalize([[1.0] * width])
        fastvec.truncate([[1.0] * width], 2)
if sys.argv[1] == "terminal":
    sys.stderr.close()
    os.set_blocking(ours, False)
    try:
        print(os.read(ours, 9999).decode())
    except (BlockingIOError, OSError):
        pass
"""


def test_compiling_is_said_once_and_only_if_it_is_so(run_python, tmp_path):
    def shown(where):
        result = run_python("-c", COMPILES, where, NUMBA_CACHE_DIR=str(tmp_path), TERM="xterm")
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout.count("fastvec: compiling kernels, once for this version and processor")

    assert shown("terminal") == 1
    assert shown("terminal") == 0
    for file in tmp_path.rglob("*.nbi"):
        file.unlink()
    assert shown("pipe") == 0
