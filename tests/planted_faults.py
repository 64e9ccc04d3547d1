"""Plant a small fault in the code, one at a time, and say whether a test notices.

    python tests/planted_faults.py            all of faults.py and faults_around_scans.py
    python tests/planted_faults.py NAME …     only these
    python tests/planted_faults.py --list
    python tests/planted_faults.py --generated kernels/log.py --count 20 --seed 1

Generated faults are made of a file's own code; see ``generated_faults.py``.

Each fault is planted in a copy of the working tree. Its tests run one after another, interpreted kernels
first (``interpreter.py``), until one notices it. What is compiled is never older than its fault: a fault in
compiled code has a cache of its own, which begins with what is compiled of files that do not import the
faulty one. All others share what is compiled of the right code. The exit status is 1 if a fault survives
without a reason.
"""

import argparse
import ast
import contextlib
import os
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import faults
import faults_around_scans
import generated_faults
import numba
import pytest
from faults import TERMS, Fault

ROOT = Path(__file__).resolve().parent.parent
FAULTS = {**faults.FAULTS, **faults_around_scans.FAULTS}
_LONGEST_S = 900
"""A fault that makes a test run for longer is noticed, too."""
_COMPILED_CPU_S = 240
"""Likewise of the processor's time, which others that use the machine do not lengthen."""
_CPU_S, _BYTES = 120, 3 << 30
"""Likewise of interpreted kernels: the processor's time, and memory."""


def main() -> int:
    """Plant the faults that were asked for; report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="a fault; all by default")
    parser.add_argument("--list", action="store_true", help="print the names")
    parser.add_argument("--generated", metavar="FILE", help="plant faults made of this file's code")
    parser.add_argument("--count", type=int, default=20, help="how many of those; 20 by default")
    parser.add_argument("--seed", type=int, default=0, help="which of them; 0 by default")
    parser.add_argument("--tests", nargs="+", help="of generated faults; interpreted cases by default")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no fault after so long")
    parser.add_argument("--folder", help="where the copy is made; what is compiled of right code stays there")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in FAULTS]
    if unknown:
        parser.error(f"unknown fault {unknown[0]!r}; --list prints them")
    chosen = {name: FAULTS[name] for name in arguments.names or FAULTS}
    if arguments.generated:
        return generated_faults.reported([arguments.generated], arguments)
    if arguments.list:
        print("\n".join(chosen))
        return 0
    begun, counts = time.monotonic(), {"noticed": 0, "explained": 0, "SURVIVES": 0, "not run": 0}
    for module in ("numba", "numpy", "hypothesis", "hypothesis.stateful", "unittest.mock"):
        import_module(module)  # what forks have then
    sys.path = [place for place in sys.path if Path(place or ".").resolve() != ROOT / "tests"]
    with contextlib.ExitStack() as ends:
        folder = arguments.folder or ends.enter_context(tempfile.TemporaryDirectory(prefix="planted-"))
        tree = _copied(Path(folder))
        wrong = _interpreted([], tree) or _compiled(TERMS, tree)
        if wrong:
            raise SystemExit(f"tests fail without any fault: {wrong}")
        for name, fault in chosen.items():
            started = time.monotonic()
            if started - begun > arguments.seconds:
                counts["not run"] += 1
                continue
            noticed = _noticed_by(fault, tree)
            said = "noticed" if noticed else "explained" if fault.reason else "SURVIVES"
            counts[said] += 1
            print(f"{name}: {said} {noticed} ({time.monotonic() - started:.0f} s)", flush=True)
    print(", ".join(f"{count} {said}" for said, count in counts.items()))
    return min(1, counts["SURVIVES"])


def _copied(folder: Path) -> Path:
    """A copy of the working tree."""
    hidden = shutil.ignore_patterns(
        ".git", ".venv*", "__pycache__", "*.egg-info", "build", "dist", ".*_cache"
    )
    tree, right = folder / "tree", folder / "right"
    for old in (tree, right):
        shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(ROOT, tree, symlinks=True, ignore=hidden)
    # Compiled code is stamped with a digest of all sources: the right ones, as _cache decides what is stale.
    shutil.copytree(tree / "kernels", right)
    compiler, own = tree / "kernels" / "compile.py", "pathlib.Path(__file__).parent"
    text = compiler.read_text("utf-8")
    assert text.count(own) == 1
    compiler.write_text(text.replace(own, f"pathlib.Path({str(right)!r})"), "utf-8")
    return tree


def _cache(fault: Fault | None, tree: Path) -> Path:
    """A folder of compiled code, none of which is older than a fault that is planted."""
    shared = tree.parent / "cache"
    shared.mkdir(exist_ok=True)
    if fault is None or not fault.compiled:
        return shared
    own = tree.parent / "cache-of-fault"
    shutil.rmtree(own, ignore_errors=True)
    stale = _importers(Path(fault.file), tree)

    def ignored(_: str, names: list[str]) -> list[str]:
        return [name for name in names if name.partition(".")[0] in stale]

    return shutil.copytree(shared, own, ignore=ignored)


def _importers(file: Path, tree: Path) -> set[str]:
    """The names of kernel files, without folders, that a change of this one may change."""
    imported = {}
    for path in (tree / "kernels").rglob("*.py"):
        names = imported.setdefault(path.parent.name if path.stem == "__init__" else path.stem, set())
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                names |= {*(node.module or "").split("."), *(alias.name for alias in node.names)}
    found = {file.parent.name if file.stem == "__init__" else file.stem}
    while more := {name for name, names in imported.items() if names & found} - found:
        found |= more
    return found


def _noticed_by(fault: Fault, tree: Path) -> str:
    """What notices a fault that is planted in a tree; nothing if no test does."""
    path = tree / fault.file
    text = path.read_text("utf-8")
    if text.count(fault.right) != 1:
        raise SystemExit(
            f"{fault.file} does not hold this text once, so the fault must be stated anew:\n{fault.right}"
        )
    path.write_text(text.replace(fault.right, fault.wrong), "utf-8")
    try:
        tests = fault.tests.split()
        cases = [test.removeprefix("case:") for test in tests if test.startswith("case:")]
        for file in tests:
            if not file.startswith("case:"):
                continue
            said = _interpreted(cases, tree)
            if said:
                return said
            break
        for file in [test for test in tests if not test.startswith("case:")]:
            said = _compiled(file, tree, fault)
            if said:
                return said
        return ""
    finally:
        path.write_text(text, "utf-8")


def _interpreted(cases: list[str], tree: Path) -> str:
    """The first case that fails; nothing if all pass."""

    def run() -> int:
        sys.argv = ["tests/interpreted_cases.py", "--stop", *filter(None, cases)]
        runpy.run_path(sys.argv[0], run_name="__main__")
        return 0

    status, said = _forked(run, tree)
    if status == 0:
        return ""
    failed = [line.split(":")[0] for line in said.splitlines() if ": failed in" in line]
    return f"by case {failed[0]}" if failed else f"by an interpreter that ends with {status}: {said[-300:]}"


def _compiled(file: str, tree: Path, fault: Fault | None = None) -> str:
    """The first test of a file that fails; nothing if all pass."""
    if file.startswith("cuda:"):
        return _simulated(file.removeprefix("cuda:"), tree, fault)
    compiles = file != TERMS
    limits = (_COMPILED_CPU_S, resource.RLIM_INFINITY) if compiles else (_CPU_S, _BYTES)
    status, said = _forked(lambda: _alone(file, _cache(fault, tree) if compiles else None), tree, limits)
    failed = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if status == 0 or "no match in any of" in said:  # a test that other processors have
        return ""
    if failed:
        return f"by {failed[0].split(' - ')[0].split()[-1]}"
    return f"by {file}, which ends with {status}: {said[-300:]}"


def _simulated(case: str, tree: Path, fault: Fault | None) -> str:
    """The case of ``cuda_cases.py`` if it fails in Numba's simulator of a device."""
    places = {"NUMBA_CACHE_DIR": str(_cache(fault, tree)), "PYTHONPATH": str(tree)}
    run = subprocess.run(
        [sys.executable, "tests/cuda_cases.py", case],
        cwd=tree,
        env={**os.environ, **places, "NUMBA_ENABLE_CUDASIM": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (_COMPILED_CPU_S, _COMPILED_CPU_S)),
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if f"{case}: passed" in run.stdout else f"by a device's case {case}"


def _alone(file: str, cache: Path | None) -> int:
    """pytest's status of a file, without plugins, which take seconds to load."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    if cache is not None:
        os.environ["NUMBA_CACHE_DIR"] = numba.config.CACHE_DIR = str(cache)
        os.environ["PYTHONPATH"] = str(cache.parent / "tree")
    ignored = "ignore::pytest.PytestAssertRewriteWarning"
    return pytest.main(["-q", "-x", "-o", "addopts=", "-p", "no:cacheprovider", "-W", ignored, file])


def _forked(
    work: Callable[[], int], tree: Path, limits: tuple[int, int] = (_CPU_S, _BYTES)
) -> tuple[int, str]:
    """The status of work in a fork of this process, which has what is slow to import, and what it wrote."""
    written = tree / "output.txt"
    child = os.fork()
    if child == 0:
        status = 1
        try:
            output = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.chdir(tree)
            for kind, most in zip((resource.RLIMIT_CPU, resource.RLIMIT_DATA), limits, strict=True):
                resource.setrlimit(kind, (most, most))
            sys.dont_write_bytecode = True
            sys.path[:0] = [str(tree), str(tree / "tests")]
            status = int(work())
        except SystemExit as exit_:
            status = int(exit_.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    ends = time.monotonic() + _LONGEST_S
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), written.read_text("utf-8", "replace")
        if time.monotonic() > ends:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -9, "it does not end"
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())
