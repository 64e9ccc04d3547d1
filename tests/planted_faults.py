"""Plant a small fault in the code, one at a time, and say whether a test notices.

    python tests/planted_faults.py            all of faults.py
    python tests/planted_faults.py NAME …     only these
    python tests/planted_faults.py --list
    python tests/planted_faults.py --generated kernels/log.py --count 20 --seed 1

Generated faults are made of a file's own code, for interpreted kernels: an operator exchanged, a constant off
by one, a statement left out; some of them change nothing that counts, so each survivor is to be looked at.

Each fault is planted in a copy of the working tree. Its tests run one after another, interpreted kernels
first (``interpreter.py``), until one notices it. What is compiled is never older than its fault: files of
compiled code are stamped with a digest of all sources. The exit status is 1 if a fault survives without a
reason.
"""

import argparse
import ast
import os
import random
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
from faults import FAULTS, TERMS, Fault

ROOT = Path(__file__).resolve().parent.parent
_LONGEST_S = 240
"""A fault that makes a test run for longer is noticed, too."""
_CPU_S, _BYTES = 30, 3 << 30
"""Likewise of interpreted kernels: the processor's time, and memory."""


def main() -> int:
    """Plant the faults that were asked for; report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="a fault; all by default")
    parser.add_argument("--list", action="store_true", help="print the names")
    parser.add_argument("--generated", metavar="FILE", help="plant faults made of this file's code")
    parser.add_argument("--count", type=int, default=20, help="how many of those; 20 by default")
    parser.add_argument("--seed", type=int, default=0, help="which of them; 0 by default")
    parser.add_argument("--tests", help="tests for generated faults, as in faults.py")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no fault after so long")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in FAULTS]
    if unknown:
        parser.error(f"unknown fault {unknown[0]!r}; --list prints them")
    chosen = {name: FAULTS[name] for name in arguments.names or FAULTS}
    if arguments.generated:
        tests = arguments.tests or "tests/test_terms.py case:"
        chosen = dict(generated(arguments.generated, arguments.count, arguments.seed, tests))
    if arguments.list:
        print("\n".join(chosen))
        return 0
    begun, counts = time.monotonic(), {"noticed": 0, "explained": 0, "SURVIVES": 0, "not run": 0}
    for module in ("numba", "numpy", "hypothesis", "hypothesis.stateful", "unittest.mock"):
        import_module(module)  # what forks have then
    sys.path = [place for place in sys.path if Path(place or ".").resolve() != ROOT / "tests"]
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
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
    tree = folder / "tree"
    shutil.copytree(ROOT, tree, symlinks=True, ignore=hidden)
    return tree


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
            said = _compiled(file, tree)
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


_OPTIONS = (
    "-q",
    "-x",
    "-n",
    "0",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:asyncio",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
)


def _compiled(file: str, tree: Path) -> str:
    """The first test of a file that fails; nothing if all pass."""
    if file == TERMS:  # which compiles nothing
        status, said = _forked(lambda: _alone(file), tree)
    else:
        places = {"NUMBA_CACHE_DIR": str(tree / "cache"), "PYTHONPATH": str(tree)}
        command = [sys.executable, "-m", "pytest", *_OPTIONS, file]
        try:
            run = subprocess.run(
                command,
                cwd=tree,
                env={**os.environ, **places},
                capture_output=True,
                text=True,
                check=False,
                timeout=_LONGEST_S,
            )
        except subprocess.TimeoutExpired:
            return f"by {file}, which does not end"
        status, said = run.returncode, run.stdout
    failed = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if status == 0:
        return ""
    if failed:
        return f"by {failed[0].split(' - ')[0].split()[-1]}"
    return f"by {file}, which ends with {status}: {said[-300:]}"


def _alone(file: str) -> int:
    """pytest's status of a file, without plugins, which take seconds to load."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    return pytest.main(["-q", "-x", "-o", "addopts=", *_OPTIONS[4:6], *_OPTIONS[8:], file])


def _forked(work: Callable[[], int], tree: Path) -> tuple[int, str]:
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
            resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
            resource.setrlimit(resource.RLIMIT_DATA, (_BYTES, _BYTES))
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


# Faults made of the code itself.

_COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
_ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr}
_OTHERS = {"min": "max", "max": "min", "any": "all", "all": "any"}


def generated(file: str, count: int, seed: int, tests: str) -> Iterator[tuple[str, Fault]]:
    """Some faults of a file, by a seed: operators exchanged, constants off by one, statements left out."""
    text = (ROOT / file).read_text("utf-8")
    tree = ast.parse(text)
    places = [
        (function.name, number)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for number in range(len(_faults_of(function)))
        if not any(
            inner is not function and isinstance(inner, ast.FunctionDef) for inner in ast.walk(function)
        )
    ]
    random.Random(seed).shuffle(places)
    for name, number in places[:count]:
        tree = ast.parse(text)
        functions = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.name == name and len(_faults_of(node)) > number
        ]
        line, said = _faults_of(functions[0])[number]()
        yield f"{file}:{line} {name}: {said}", Fault(file, text, ast.unparse(tree), tests)


def _faults_of(function: ast.FunctionDef) -> list:
    """Changes of a function's code; each returns its line and what it did."""
    changes = []
    for node in ast.walk(function):
        if isinstance(node, ast.stmt) and "prefetch" in ast.dump(node) and not hasattr(node, "body"):
            for inner in ast.walk(node):
                inner.prefetches = True
        if hasattr(node, "prefetches"):
            continue
        if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS:
            changes.append(_exchanged(node, "ops", _COMPARISONS))
        elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _ARITHMETIC:
            changes.append(_exchanged(node, "op", _ARITHMETIC))
        elif isinstance(node, ast.BoolOp):
            changes.append(_exchanged(node, "op", {ast.And: ast.Or, ast.Or: ast.And}))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _OTHERS:
            changes.append(_renamed(node))
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            changes += [_off(node, 1), _off(node, -1)]
        elif _may_be_left_out(node):
            changes.append(_left_out(function, node))
    return changes


def _may_be_left_out(node: ast.AST) -> bool:
    """Whether a function can run without a statement."""
    if isinstance(node, ast.Assign):
        return not isinstance(node.targets[0], ast.Name)
    calls = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    return calls or isinstance(node, ast.AugAssign | ast.Continue | ast.Break)


def _exchanged(node, field, table):
    def change():
        before = ast.unparse(node)
        value = getattr(node, field)
        other = table[type(value[0] if field == "ops" else value)]()
        setattr(node, field, [other, *value[1:]] if field == "ops" else other)
        return node.lineno, f"{before} → {ast.unparse(node)}"

    return change


def _renamed(node):
    def change():
        before = ast.unparse(node)
        node.func.id = _OTHERS[node.func.id]
        return node.lineno, f"{before} → {ast.unparse(node)}"

    return change


def _off(node, by):
    def change():
        node.value += by
        return node.lineno, f"{node.value - by} → {node.value}"

    return change


def _left_out(function, statement):
    def change():
        for node in ast.walk(function):
            for body in (getattr(node, "body", None), getattr(node, "orelse", None)):
                if isinstance(body, list) and statement in body:
                    body[body.index(statement)] = ast.copy_location(ast.Pass(), statement)
        return statement.lineno, f"without {ast.unparse(statement)}"

    return change


if __name__ == "__main__":
    sys.exit(main())
