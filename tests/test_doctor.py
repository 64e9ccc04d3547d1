"""`fastvec doctor`: what it says of a sound installation, and of broken ones."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from numba.core import config
from test_cache import without_cache_folders

import fastvec
from fastvec import cli
from fastvec.commands import compiled_code, diagnosis, exactness
from fastvec.kernels import micro, threads

HIDDEN = """
import sys
for name in {hidden!r}:
    sys.modules[name] = None
sys.argv[0] = "fastvec"
from fastvec.cli import main
main(["doctor", *{arguments!r}])
"""


@pytest.fixture
def only(monkeypatch):
    """Make some checks only: the others take seconds."""

    def choose(*topics):
        kept = tuple(check for check in diagnosis.CHECKS if check[0] in topics)
        assert len(kept) == len(topics)
        monkeypatch.setattr(diagnosis, "CHECKS", kept)

    return choose


def doctor(*arguments):
    return CliRunner().invoke(cli.group(), ["doctor", *arguments])


@pytest.mark.slow
def test_all_is_well_here():
    result = doctor("--json")
    said = json.loads(result.output)
    problems = [finding for finding in said["findings"] if finding["problem"]]
    assert (result.exit_code, said["fine"], problems) == (0, True, [])
    by_topic = {}
    for finding in said["findings"]:
        by_topic.setdefault(finding["topic"], {})[finding["name"]] = finding["value"]
    assert list(by_topic) == [topic for topic, _, _ in diagnosis.CHECKS]
    active = fastvec.machine.active_micro_kernel()
    assert by_topic["Micro-kernels"]["chosen"].startswith(active)
    available = {kernel.name for kernel in fastvec.machine.micro_kernels() if kernel.available}
    exact = by_topic["Exactness of a small search"]
    assert set(exact) == available
    assert all(value.startswith("exact: 388 queries") for value in exact.values())
    assert by_topic["Devices"]["cpu"]


def test_the_table_for_people(only):
    only("Versions", "Threads")
    result = doctor()
    assert result.exit_code == 0, result.output
    for part in ("Versions", "numba", "extra arrow", "Threads", "No problem found."):
        assert part in result.output


@pytest.mark.parametrize(
    ("topic", "name"), [("Micro-kernels", "FASTVEC_MICRO_KERNEL"), ("Threads", "FASTVEC_NUM_THREADS")]
)
def test_settings_that_cannot_be_followed(only, monkeypatch, topic, name):
    only(topic)
    monkeypatch.setenv(name, "nonsense")
    monkeypatch.setattr(threads, "_chosen", None)
    result = doctor()
    assert result.exit_code == 1
    assert "nonsense" in result.output
    assert f"Unset {name}" in result.output


def test_where_the_number_of_threads_comes_from(monkeypatch):
    monkeypatch.setattr(threads, "_chosen", 3)
    assert threads.origin() == "set_num_threads"
    monkeypatch.setattr(threads, "_chosen", None)
    monkeypatch.setenv("FASTVEC_NUM_THREADS", "2")
    assert threads.origin() == "FASTVEC_NUM_THREADS"
    monkeypatch.delenv("FASTVEC_NUM_THREADS")
    monkeypatch.setattr(threads, "_cgroup_limit", lambda: 0.5)
    assert "0.5" in threads.origin()
    monkeypatch.setattr(threads, "_cgroup_limit", lambda: float("inf"))
    monkeypatch.setattr("os.cpu_count", lambda: threads._affinity() + 1)
    assert "affinity" in threads.origin()
    monkeypatch.setattr("os.cpu_count", threads._affinity)
    assert threads.origin() == "all processors"


def test_numba_that_cannot_be_imported(run_python):
    code = HIDDEN.format(hidden=["numba"], arguments=["--json"])
    result = run_python("-c", code)
    assert result.returncode == 1, result.stderr
    said = json.loads(result.stdout)
    numba = next(f for f in said["findings"] if f["name"] == "numba")
    assert "cannot be imported" in numba["problem"]
    assert "pip install" in numba["remedy"]
    assert [f["topic"] for f in said["findings"] if f["name"] == "not checked"]
    assert any(f["topic"] == "Threads" and f["name"] == "threads" for f in said["findings"])


@pytest.mark.parametrize("hidden", [["click", "rich"], ["click", "rich", "numpy", "numba"]])
def test_without_the_packages_of_the_command_line(run_python, hidden):
    """It says what is missing, by Python alone; only checks that are quick are made here."""
    code = (
        "from fastvec import _facts; from fastvec.commands import diagnosis\n"
        "diagnosis.CHECKS = tuple(c for c in diagnosis.CHECKS if c[0] in ('Versions', 'Processor'))\n"
        f"found = _facts.version; _facts.version = lambda name: None if name in {hidden} else found(name)\n"
    )
    for arguments in ([], ["--json"]):
        result = run_python("-c", code + HIDDEN.format(hidden=hidden, arguments=arguments))
        assert (result.returncode, result.stderr) == (int("numba" in hidden), "")
        assert "pip install 'fastvec[cli]'" in result.stdout
        if arguments:
            assert json.loads(result.stdout)["fine"] is ("numba" not in hidden)
        else:
            assert "No problem found." in result.stdout or "Problem: Versions, numba: " in result.stdout


def test_compiled_code_is_found_without_the_packages_of_the_command_line(run_python):
    code = (
        "import sys; sys.modules.update(click=None, rich=None); from fastvec.commands import diagnosis; "
        "print(*(finding.name for finding in diagnosis._cache()))"
    )
    result = run_python("-c", code)
    assert result.returncode == 0, result.stderr
    assert "folder" in result.stdout.split()


def test_switches_are_listed_and_stop_what_cannot_work(only, monkeypatch):
    only("Switches of Numba", "Processor")
    monkeypatch.setenv("NUMBA_OPT", "2")
    assert re.search("NUMBA_OPT +2", doctor().output)
    monkeypatch.setattr(config, "DISABLE_JIT", 1)
    result = doctor("--json")
    assert result.exit_code == 1
    actual = {finding["name"]: finding for finding in json.loads(result.output)["findings"]}
    assert "compiled form only" in actual["NUMBA_DISABLE_JIT"]["problem"]
    assert actual["not checked"]["topic"] == "Processor"


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_folder_for_compiled_code_that_others_can_write_to(only, monkeypatch, tmp_path):
    only("Cache of compiled code")
    monkeypatch.setattr(compiled_code, "caches", lambda: [tmp_path])
    (tmp_path / "damaged.nbi").write_bytes(b"no pickle")
    assert doctor().exit_code == 0
    assert "1 kernels, replaced when they are needed" in doctor().output
    tmp_path.chmod(0o777)
    result = doctor()
    assert result.exit_code == 1
    assert f"every account may write to {tmp_path}" in result.output
    assert "NUMBA_CACHE_DIR" in result.output
    tmp_path.chmod(0o700)
    owner = tmp_path.stat().st_uid
    other = SimpleNamespace(st_uid=owner + 1, st_mode=tmp_path.stat().st_mode)
    monkeypatch.setattr(Path, "stat", lambda path, **_: other)
    monkeypatch.setattr("os.getuid", lambda: owner)
    assert compiled_code.exposed(tmp_path) is None, "who owns fastvec's sources needs no cache to change them"
    stats = {tmp_path: other}
    sources = SimpleNamespace(st_uid=owner, st_mode=other.st_mode)
    monkeypatch.setattr(Path, "stat", lambda path, **_: stats.get(path, sources))
    assert "belongs to another account" in compiled_code.exposed(tmp_path)[0]


@pytest.mark.skipif(sys.platform == "win32", reason="the user's folders are not set by the environment")
def test_no_folder_for_compiled_code(run_python, tmp_path):
    code = "from fastvec.commands import diagnosis; print(*diagnosis._cache())"
    result = run_python("-c", code, cwd=tmp_path, **without_cache_folders(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "NUMBA_CACHE_DIR" in result.stdout
    assert "fastvec warmup" in result.stdout


def test_compiled_code_of_this_version_is_told_from_others(run_python, tmp_path):
    look = (
        "import pathlib, sys; from fastvec.commands import compiled_code as code;"
        "from fastvec.kernels import compile;"
        "folder = next(pathlib.Path(sys.argv[1]).rglob('*.nbi')).parent; print(code.compiled(folder));"
        "compile.source_digest = lambda: 'other'; print(code.compiled(folder))"
    )
    use = "import numpy, fastvec; fastvec.normalize(numpy.eye(3, dtype='f'))"
    environment = {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert run_python("-c", use, **environment).returncode == 0
    result = run_python("-c", look, tmp_path, **environment)
    now, other = map(eval, result.stdout.splitlines())
    assert now[0] > 0
    assert now[1] == 0
    assert other == (0, now[0])


def test_a_micro_kernel_that_fails_is_named():
    with exactness._asked("nonsense") as child:
        finding = exactness._judged("nonsense", child)
    assert (finding.name, finding.value) == ("nonsense", "not exact")
    assert "nonsense" in finding.problem
    assert "FASTVEC_MICRO_KERNEL" in finding.remedy


def test_a_wrong_answer_is_noticed(monkeypatch):
    search = fastvec.Index.search

    def broken(self, *arguments, **options):
        scores, indices = search(self, *arguments, **options)
        return scores, np.roll(indices, 1, axis=1)

    monkeypatch.setattr(fastvec.Index, "search", broken)
    with pytest.raises(ValueError, match="other rows"):
        exactness.prove()


def test_a_check_that_fails_is_a_problem(monkeypatch):
    def failing():
        raise OSError("no such file")

    monkeypatch.setattr(diagnosis, "CHECKS", (("Something", failing, False),))
    result = doctor()
    assert result.exit_code == 1
    assert "no such file" in result.output


def test_every_micro_kernel_is_listed(only):
    only("Micro-kernels")
    output = doctor().output
    for name in micro.TABLE:
        assert name in output
