"""Make faults of a file's own code, plant them one at a time, and name those that no check notices.

    python tests/generated_faults.py kernels/log.py kernels/refine.py --count 200 --seed 1
    python tests/generated_faults.py fastvec/_living.py --tests tests/test_living.py

A fault changes one place of a function: a comparison, an operator, a constant, a condition, a bound of a
loop, an argument, an index, a type, or a statement that is left out. Some of them change nothing that counts,
so each survivor is to be looked at. The checks are the cases of interpreted kernels (``interpreter.py``), or
tests, by files or by names (``PYTEST_ADDOPTS`` leaves some out); those of a kernel must not need it compiled.
What fails without a fault is named and left out; processes that tests start run the right code. The code of
the function is exchanged in a fork of a process in which everything is loaded, so that a fault takes
milliseconds. Only checks that run its line are asked.
"""

import argparse
import ast
import builtins
import contextlib
import copy
import gc
import importlib
import mmap
import os
import pickle
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
_BYTES = 3 << 30


class Change(NamedTuple):
    """One node of a tree, and what is put in its place."""

    function: str
    line: int
    lines: range
    """Those of its statement, or of the statement's first part."""
    said: str
    holder: Any
    """The node or list that holds it, and the field or index there."""
    key: Any
    right: Any
    wrong: Any

    @property
    def name(self) -> str:
        """The fault, in words."""
        return f"{self.line} {self.function}: {self.said}"


_EXCHANGED = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult, ast.Div),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitXor: (ast.BitOr,),
}
_NAMES = [
    "min max",
    "any all",
    "minimum maximum",
    "floor ceil",
    "argmin argmax",
    "float64 float32",
    "int64 int32",
    "zeros empty",
    "left right",
    "append extend",
]
_RENAMED = {a: b for pair in _NAMES for a, b in (pair.split(), pair.split()[::-1])}
_RENAMED |= {"ones": "zeros", "int32": "int16", "uint64": "uint32"}
_ITSELF = {"nextafter", "abs", "sqrt", "sort", "unique", "ascontiguousarray", "copy", "sorted", "astype"}
"""Calls that may be left out: their first argument, or the object whose method they are, stays."""


def changes(tree: ast.Module) -> list[Change]:
    """All faults of the functions of a tree, and of the constants that stand beside them."""
    found: list[Change] = []
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            _of_body(statement, statement.name, found)
        elif isinstance(statement, ast.Assign) and "TypeVar" not in ast.unparse(statement):
            lines = range(statement.lineno, statement.end_lineno + 1)
            _of_node(statement, "value", "<module>", [], found, lines)
    return found


def _of_body(scope: ast.AST, name: str, found: list[Change]) -> None:
    """Add the faults of a function, or of the functions of a class."""
    indices = sorted(
        {
            node.slice.id
            for node in ast.walk(scope)
            if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name)
        }
    )
    for position, statement in enumerate(scope.body):
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            _of_body(statement, f"{name}.{statement.name}", found)
        elif isinstance(scope, ast.FunctionDef):
            _of_node(scope.body, position, name, indices, found, range(0))


def _of_node(holder: Any, key: Any, name: str, indices: list[str], found: list[Change], lines: range) -> None:
    node = holder[key] if isinstance(holder, list) else getattr(holder, key)
    if isinstance(node, ast.FunctionDef):
        _of_body(node, f"{name}.{node.name}", found)
        return
    if isinstance(node, ast.stmt) and not hasattr(node, "body") and _says_little(node):
        return
    if isinstance(node, ast.stmt):
        inner = getattr(node, "body", None)
        lines = range(node.lineno, inner[0].lineno if inner else node.end_lineno + 1)
    last = isinstance(holder, list) and isinstance(node, ast.Return) and key == len(holder) - 1
    located = node if hasattr(node, "lineno") else node.iter  # a comprehension has no place of its own
    for other in _others(node, indices, last):
        wrong = ast.fix_missing_locations(ast.copy_location(other, located))
        said = f"{_short(node)} → {_short(wrong)}"
        found.append(Change(name, located.lineno, lines, said, holder, key, node, wrong))
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "args") and not isinstance(node, ast.Call):
            continue
        if isinstance(value, list):
            for position, inner in enumerate(value):
                if hasattr(inner, "lineno") or isinstance(inner, ast.comprehension):
                    _of_node(value, position, name, indices, found, lines)
        elif hasattr(value, "lineno"):
            _of_node(node, field, name, indices, found, lines)


def _says_little(node: ast.stmt) -> bool:
    """Whether a statement only asks for memory ahead, or only says what is wrong."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True  # a text
    return isinstance(node, ast.Raise | ast.Import | ast.ImportFrom) or "prefetch" in ast.dump(node)


def _short(node: ast.AST) -> str:
    if isinstance(node, ast.Pass):
        return "nothing"
    if isinstance(node, ast.comprehension):
        return f"for {ast.unparse(node.target)} in …"
    first, *more = ast.unparse(node).splitlines()
    if more and isinstance(node, ast.For | ast.If | ast.Try | ast.With):
        first += f" {more[0].strip()} …" + (" (no else)" if not getattr(node, "orelse", True) else "")
    return first[:110]


def _like(node: Any, **fields: Any) -> Any:
    """The node with other fields."""
    return type(node)(**{**dict(ast.iter_fields(node)), **fields})


def _others(node: Any, indices: list[str], last: bool) -> Iterator[ast.AST]:
    """What may stand in a node's place by mistake."""
    match node:
        case ast.Compare():
            for place, operator in enumerate(node.ops):
                for other in _EXCHANGED[type(operator)]:
                    yield _like(node, ops=[*node.ops[:place], other(), *node.ops[place + 1 :]])
        case ast.BinOp() | ast.AugAssign() if type(node.op) in _EXCHANGED:
            for other in _EXCHANGED[type(node.op)]:
                yield _like(node, op=other())
            if isinstance(node, ast.AugAssign):
                yield ast.Assign([node.target], node.value)
                yield ast.Pass()
        case ast.BoolOp():
            yield _like(node, op=_EXCHANGED[type(node.op)][0]())
            for place in range(len(node.values)):
                rest = node.values[:place] + node.values[place + 1 :]
                yield rest[0] if len(rest) == 1 else _like(node, values=rest)
        case ast.UnaryOp():
            yield node.operand
        case ast.IfExp():
            yield from (node.body, node.orelse)
        case ast.Constant():
            yield from map(ast.Constant, _values(node.value))
        case ast.Subscript(slice=ast.Name(id=index)):
            for other in sorted({*indices} - {index}, key=lambda other: (other < index, other))[:2]:
                yield _like(node, slice=ast.Name(other, ast.Load()))
        case ast.Slice():
            yield from (_like(node, **{end: None}) for end in ("lower", "upper") if getattr(node, end))
            for end in ("lower", "upper"):
                if isinstance(getattr(node, end), ast.Name | ast.BinOp):
                    yield _like(node, **{end: _plus(getattr(node, end), 1)})
                    yield _like(node, **{end: _plus(getattr(node, end), -1)})
        case ast.Attribute(value=ast.Name(id="np" | "math")) if node.attr in _RENAMED:
            yield _like(node, attr=_RENAMED[node.attr])
        case ast.Name() if node.id in _RENAMED:
            yield _like(node, id=_RENAMED[node.id])
        case ast.Call():
            yield from _calls(node)
        case ast.comprehension(ifs=[_, *_]):
            yield _like(node, ifs=[])
        case ast.If():
            yield from (_like(node, test=ast.Constant(value)) for value in (True, False))
            if node.orelse:
                yield _like(node, orelse=[])
        case ast.While():
            yield _like(node, test=ast.Constant(False))
        case ast.For():
            yield _like(node, body=[*node.body, ast.Break()])
            yield _like(node, body=[ast.Break()])
        case ast.Try():
            if node.finalbody and node.handlers:
                yield _like(node, finalbody=[])
            elif node.finalbody:
                yield _like(node, finalbody=[ast.Pass()])
        case ast.With():
            if not any(item.optional_vars for item in node.items):
                yield ast.If(ast.Constant(True), node.body, [])
        case ast.Break():
            yield from (ast.Pass(), ast.Continue())
        case ast.Continue():
            yield from (ast.Pass(), ast.Break())
        case ast.Expr() | ast.Delete():
            yield ast.Pass()
        case ast.Assign() if not isinstance(node.targets[0], ast.Name):
            yield ast.Pass()
        case ast.Return() if not last:
            yield ast.Pass()


def _values(value: Any) -> list[Any]:
    """Constants near one."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return sorted({value + 1, value - 1, 0, -value} - {value})
    if isinstance(value, float):
        return sorted({value + 1.0, value - 1.0, 2.0 * value, 0.0, -value} - {value})
    if isinstance(value, str) and value in _RENAMED:
        return [_RENAMED[value]]
    return []


def _plus(node: ast.expr, by: int) -> ast.expr:
    return ast.BinOp(node, ast.Add() if by > 0 else ast.Sub(), ast.Constant(abs(by)))


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    """Mistakes of a call: arguments exchanged or left out, a range cut, what is done to a value not done."""
    for place, (a, b) in enumerate(zip(node.args, node.args[1:], strict=False)):
        alike = type(a) is type(b) and not isinstance(a, ast.Constant | ast.Starred)
        if alike and ast.dump(a) != ast.dump(b):
            yield _like(node, args=[*node.args[:place], b, a, *node.args[place + 2 :]])
    for keyword in node.keywords:
        yield _like(node, keywords=[other for other in node.keywords if other is not keyword])
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called == "range":
        first, *rest = node.args if len(node.args) > 1 else [ast.Constant(0), *node.args]
        for start, step in ((1, 0), (0, 1), (0, -1)):
            stop = _plus(rest[0], step) if step else rest[0]
            yield _like(node, args=[_plus(first, 1) if start else first, stop, *rest[1:]])
    if called in _ITSELF:
        of_numpy = isinstance(node.func, ast.Name) or ast.unparse(node.func.value) == "np"
        if not of_numpy or node.args:
            yield node.args[0] if of_numpy else node.func.value


def put(change: Change, node: Any) -> None:
    """Put a node in the place of a change."""
    if isinstance(change.holder, list):
        change.holder[change.key] = node
    else:
        setattr(change.holder, change.key, node)


class Planted:
    """Files whose functions can be exchanged, in a process that has loaded them."""

    def __init__(self, files: list[str]) -> None:
        self.trees = {file: ast.parse((ROOT / file).read_text("utf-8")) for file in files}
        self.homes = {str((ROOT / file).resolve()): file for file in files}
        self._functions: dict[str, list[FunctionType]] = {file: [] for file in files}
        self._watched: list[tuple[FunctionType, CodeType]] = []
        for object_ in gc.get_objects():
            if type(object_) is FunctionType:  # which asks nothing of a weak reference to what is gone
                file = self.file_of(object_.__code__)
                if file:
                    self._functions[file].append(object_)

    def file_of(self, code: CodeType) -> str | None:
        """Which of the files has this code."""
        return self.homes.get(os.path.realpath(code.co_filename)) if ".py" in code.co_filename else None

    def plant(self, file: str, change: Change) -> bool:
        """Exchange a function's code, or a constant in every module that has it; whether anything changed."""
        put(change, change.wrong)
        if change.function == "<module>":
            _give_constants(file, self.trees[file], change.line)
            return True
        changed = False
        for function, code in self._compiled(file, self.trees[file]):
            right, function.__code__ = function.__code__, code
            changed |= code != right
        return changed

    def watch(self, lines: set[tuple[str, int]]) -> Callable[[], None]:
        """Let each statement of the functions add its file and first line; returns what ends that."""
        if not self._watched:
            for file, tree in self.trees.items():
                watched = ast.fix_missing_locations(_Watched(file).visit(copy.deepcopy(tree)))
                self._watched += self._compiled(file, watched)
        right = [function.__code__ for function, _ in self._watched]
        vars(builtins)[_RUNS] = lines.add
        for function, code in self._watched:
            function.__code__ = code

        def end() -> None:
            for (function, _), code in zip(self._watched, right, strict=True):
                function.__code__ = code

        return end

    def _compiled(self, file: str, tree: ast.Module) -> Iterator[tuple[FunctionType, CodeType]]:
        """The functions of a file, and their code by a tree of it."""
        codes: dict[tuple[str, int], CodeType | None] = {}
        waiting = [compile(tree, file, "exec")]
        while waiting:
            code = waiting.pop()
            place = code.co_name, code.co_firstlineno
            codes[place] = None if place in codes else code  # nothing tells two lambdas of a line apart
            waiting += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
        for function in self._functions[file]:
            right = function.__code__
            code = codes.get((right.co_name, right.co_firstlineno))
            if code is not None and code.co_freevars == right.co_freevars:
                yield function, code.replace(co_filename=right.co_filename)


_RUNS = "_generated_faults_runs"


class _Watched(ast.NodeTransformer):
    """Puts before each statement of functions what says that it runs."""

    def __init__(self, file: str) -> None:
        self._file = file

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        for inner in ast.walk(node):
            for field in ("body", "orelse", "finalbody"):
                statements = getattr(inner, field, None)
                if isinstance(statements, list) and not isinstance(inner, ast.ClassDef):
                    setattr(inner, field, [each for some in statements for each in (self._said(some), some)])
        return node

    def _said(self, statement: ast.stmt) -> ast.stmt:
        place = ast.Constant((self._file, statement.lineno))
        said = ast.Expr(ast.Call(ast.Name(_RUNS, ast.Load()), [place], []))
        return ast.copy_location(said, statement)


def _module(file: str) -> str:
    name = file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    return f"fastvec.{name}" if name.startswith("kernels") else name


def _give_constants(file: str, tree: ast.Module, line: int) -> None:
    """Run a module's assignment anew; every module that has the values gets the new ones."""
    home = sys.modules[_module(file)]
    (statement,) = [some for some in tree.body if some.lineno <= line <= some.end_lineno]
    before = dict(vars(home))
    exec(compile(ast.Module([statement], []), file, "exec"), vars(home))
    for target in [node.id for node in ast.walk(statement) if isinstance(node, ast.Name)]:
        old, new = before.get(target), vars(home).get(target)
        for module in list(sys.modules.values()):
            if old is not new and getattr(module, "__dict__", {}).get(target) is old:
                setattr(module, target, new)


Checks = dict[str, Callable[[], None]]
"""By name: what raises if something is wrong."""


class Ran(NamedTuple):
    """What a check ran: lines of files; and the seconds that it took."""

    lines: set[tuple[str, int]]
    seconds: float


def watched(check: Callable[[], None], planted: Planted) -> Ran:
    """Run a check without faults."""
    lines: set[tuple[str, int]] = set()
    end = planted.watch(lines)
    started = time.monotonic()
    try:
        check()
    finally:
        end()
    return Ran(lines, time.monotonic() - started)


def forked(work: Callable[[], Any], seconds: float) -> Any:
    """What work returns in a fork of this process; a text if that fails or takes too long."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        result: Any = "it ends"
        try:
            os.setpgid(0, 0)
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            resource.setrlimit(resource.RLIMIT_DATA, (_BYTES, _BYTES))
            gc.disable()
            limit(seconds)
            result = work()
        except BaseException as error:
            result = "".join(traceback.format_exception_only(error)).strip()[:200]
        finally:
            with open(writing, "wb") as pipe:
                pickle.dump(result, pipe)
            os._exit(0)
    os.close(writing)
    data = b""
    with open(reading, "rb", buffering=0) as pipe:
        while more := pipe.read(1 << 20):
            data += more
    os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it started
    return pickle.loads(data) if data else "it takes too long or ends the process"


def limit(seconds: float) -> None:
    """End this process if it works for much longer than some seconds from now, or waits for very long."""
    processor = int(time.process_time() + 5 + 2 * seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (processor, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(30 + 12 * seconds))


def survivors(
    planted: Planted,
    checks: Checks,
    ran: dict[str, Ran],
    chosen: list[tuple[str, Change]],
    said: Counter[str],
    by_check: Counter[str],
    seconds: float = float("inf"),
) -> Iterator[tuple[str, Change]]:
    """Those of the chosen faults that no check notices; counts what became of all, and who noticed.

    A check that notices for the first time must succeed in a fork without faults, or it is asked no more.
    """
    begun, sound = time.monotonic(), set[str]()
    for file, change in chosen:
        if time.monotonic() - begun > seconds:
            break
        said["tried"] += 1
        asked = [
            name
            for name in checks
            if change.function == "<module>" or any((file, line) in ran[name].lines for line in change.lines)
        ]
        while asked:
            asked.sort(key=lambda name: -(by_check[name] + 0.1) / (0.05 + ran[name].seconds))
            result = _asked(planted, checks, ran, asked, file, change)
            if not isinstance(result, tuple) or result[0] in sound:
                break
            alone = forked(checks[result[0]], ran[result[0]].seconds)
            if alone is None:
                sound.add(result[0])
                break
            print(f"{result[0]} fails without a fault, and is left out: {alone}", flush=True)
            del checks[result[0]]
            asked.remove(result[0])
        else:
            result = "SURVIVE, as no check runs them"
        if isinstance(result, tuple):
            by_check[result[0]] += 1
            result = result[1]
        said[result] += 1
        if "SURVIVE" in result:
            yield file, change


def _asked(
    planted: Planted, checks: Checks, ran: dict[str, Ran], asked: list[str], file: str, change: Change
) -> Any:
    """What becomes of a fault, in words, together with the check that notices it."""
    with mmap.mmap(-1, 8) as at:

        def work() -> Any:
            if not planted.plant(file, change):
                return "not planted: the code is the same, or nothing here has it"
            for position, name in enumerate(asked):
                at[:8] = position.to_bytes(8, "little")
                limit(ran[name].seconds)
                try:
                    checks[name]()
                except BaseException:
                    return name, "noticed"
            return ["SURVIVE"]

        result = forked(work, 5.0)
        if isinstance(result, list):
            return result[0]
        if isinstance(result, str) and not result.startswith("not planted"):
            return asked[int.from_bytes(at[:8], "little")], "take too long or end the process"
        return result


def baseline(planted: Planted, checks: Checks) -> dict[str, Ran]:
    """What each check runs without faults."""
    ran = {name: forked(lambda check=check: watched(check, planted), 300) for name, check in checks.items()}
    wrong = [f"{name}: {said}" for name, said in ran.items() if isinstance(said, str)]
    if wrong:
        raise SystemExit(f"checks fail without any fault: {wrong}")
    return ran


def interpreted() -> Checks:
    """The cases of interpreted kernels."""
    import interpreted_cases
    import numpy as np

    return {
        name: lambda case=case: case(np.random.default_rng([0, 0]))
        for name, case in interpreted_cases.CASES.items()
    }


class _Loop:
    """A plugin of pytest that gives the tests it has found to a function, instead of running each once."""

    def __init__(self, use: Callable[[Checks], None]) -> None:
        self._use = use
        self._failed: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self._failed.append(str(report.longrepr)[-300:])

    def pytest_runtestloop(self, session: Any) -> bool:
        def run(item: Any) -> None:
            self._failed.clear()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            if self._failed:
                raise AssertionError(self._failed[0])

        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            reporter._tw._file = nowhere
            try:
                self._use({item.nodeid: lambda item=item: run(item) for item in session.items})
            finally:
                reporter._tw._file = sys.stdout
        return True


def of_pytest(tests: list[str], use: Callable[[Checks], None]) -> int:
    """Give the tests of some files to a function; what pytest returns.

    What a process of its own runs is right code, so a fault that only such a process would meet survives.
    """
    os.environ["CI"] = "1"  # hypothesis chooses its examples without chance
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    with tempfile.TemporaryDirectory(prefix="generated-") as folder:
        plugins = ["-p", "no:cacheprovider", "-p", "no:faulthandler"]
        settings = ["-o", "addopts=", "-o", "tmp_path_retention_policy=none", f"--basetemp={folder}/tests"]
        return pytest.main(["-qq", *plugins, *settings, *tests], [_Loop(use)])


def _once_here(planted: Planted, checks: Checks) -> dict[str, Ran]:
    """Run each test in this process, so that forks have what it loads and compiles; drop those that fail."""
    ran = {}
    for name, check in [*checks.items()]:
        try:
            ran[name] = watched(check, planted)
        except AssertionError as error:
            print(f"{name} fails without a fault, and is left out: {error}", flush=True)
            del checks[name]
    return ran


def reported(files: list[str], arguments: argparse.Namespace) -> int:
    """Plant faults of some files, by what the command line says; the exit status is 1 if one survives."""
    said: Counter[str] = Counter()

    def use(checks: Checks) -> None:
        for file in files if arguments.tests else ():
            importlib.import_module(_module(file))
        planted = Planted(files)
        chosen = [(file, change) for file in files for change in changes(planted.trees[file])]
        random.Random(arguments.seed).shuffle(chosen)
        del chosen[arguments.count :]
        ran = _once_here(planted, checks) if arguments.tests else baseline(planted, checks)
        gc.freeze()  # so that a fork does not copy what it never uses
        for file, change in survivors(planted, checks, ran, chosen, said, Counter(), arguments.seconds):
            print(f"{file}:{change.name}: SURVIVES", flush=True)

    os.chdir(ROOT)
    if arguments.tests:
        if failed := of_pytest(arguments.tests, use):
            return failed
    else:
        use(interpreted())
    print(", ".join(f"{number} {what}" for what, number in said.items()))
    return int(any("SURVIVE" in what for what in said))


def main() -> int:
    """Plant the faults that were asked for; report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--count", type=int, default=1 << 30, help="how many faults; all by default")
    parser.add_argument("--seed", type=int, default=0, help="which of them")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no fault after so long")
    parser.add_argument("--tests", nargs="+", help="files of tests; interpreted kernels by default")
    arguments = parser.parse_args()
    return reported(arguments.files, arguments)


if __name__ == "__main__":
    sys.exit(main())
