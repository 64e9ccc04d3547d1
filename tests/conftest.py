"""Hypothesis profiles, who runs beside whom, and the fixtures that more than one test file needs."""

import os
import platform
import subprocess
import sys
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

TESTS = Path(__file__).resolve().parent

# The first call of a kernel compiles it for seconds: there is no deadline, and slow first examples are right.
settings.register_profile(
    "default",
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, database=None)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))


WITHOUT_KERNELS = (
    "cli",
    "embed",
    "openai",
    "replacing",
    "process",
    "bench_",
    "columns",
    "cuda",
    "files",
)
"""How the names of files begin, after ``test_``, whose tests run few kernels or none."""


def pytest_configure(config):
    """Register what needs no row in pyproject.toml: ``fuzz`` is chosen by -m alone."""
    config.addinivalue_line("markers", "fuzz: long runs of fuzz.py; run only with -m fuzz")


def pytest_collection_modifyitems(config, items):
    """First what compiles every kernel, as the other tests load them, and beside it what needs none.

    Each process begins with its share of the list. Tests that wait for all others to end come last. Those
    marked ``fuzz`` run only if -m names them.
    """
    if "fuzz" not in config.option.markexpr:
        long = [item for item in items if item.get_closest_marker("fuzz") is not None]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]

    def place(item):
        name = item.path.name.removeprefix("test_")
        if name == "warmup.py":
            return 0
        if item.get_closest_marker("alone") is not None:
            return 3
        return 2 if name.startswith(WITHOUT_KERNELS) else 1

    items.sort(key=place)
    places = [place(item) for item in items]
    first, last = places.index(2) if 2 in places else len(items), len(items) - places.count(3)
    begin = min(first, len(items) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    items[begin:last] = items[first:last] + items[begin:first]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Of tests in several processes, one that is marked ``alone`` waits for the others, and they for it."""
    if fcntl is None or not hasattr(item.config, "workerinput"):
        return (yield)
    folder = Path(item.config.option.basetemp).parent
    alone = item.get_closest_marker("alone") is not None
    with open(folder / "room", "wb") as room:
        with open(folder / "door", "wb") as door:
            fcntl.flock(door, fcntl.LOCK_EX)  # a test that waits for the room holds up all that come later
            fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        return (yield)


@pytest.fixture
def all_threads(monkeypatch):
    """Searches of few rows use all threads too.

    For tests of several threads. In other tests a search decides by its size, as it does for users.
    """
    from fastvec.kernels import cost

    monkeypatch.setattr(cost, "scan_threads", lambda n, m, dims, num_threads, **_: num_threads)
    monkeypatch.setattr(cost, "sharing_rows_pays", lambda *_, **__: True)


@pytest.fixture
def run_python():
    """Run a file or code in a fresh interpreter that finds this fastvec and these tests."""
    import fastvec

    package = Path(fastvec.__file__).resolve().parents[1]

    def run(*arguments, timeout=240, cwd=None, **environment):
        path = os.pathsep.join([str(package), str(TESTS), os.environ.get("PYTHONPATH", "")])
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FASTVEC_")}
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            env={**inherited, "PYTHONPATH": path.rstrip(os.pathsep), **environment},
            cwd=cwd,
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def saved(tmp_path):
    """An Index folder with three words."""
    from data import hashed

    from fastvec import Vocabulary

    path = tmp_path / "index"
    Vocabulary(["a", "b", "猫"], hashed(3, 70)).save(path)
    return path


@pytest.fixture
def server():
    """A local embeddings API."""
    from embedding_server import EmbeddingServer

    with EmbeddingServer() as server:
        yield server


@pytest.fixture
def make(server, monkeypatch, tmp_path):
    """Make embedders for the test server; nothing but the arguments says where it is."""
    from embedding_server import KEY, OTHER

    from fastvec.openai import OpenAIEmbedder

    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    # Nothing here speaks TLS, and loading certificates is nearly all the time that making a client takes.
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setattr("fastvec._embedding.exchange._PAUSE_S", 0.001)
    monkeypatch.setattr("fastvec._embedding.exchange._BACKOFF_S", 0.01)

    def make(model=OTHER, **arguments):
        if "client" not in arguments:
            arguments = {"base_url": server.url, "api_key": KEY, **arguments}
        return OpenAIEmbedder(model, **arguments)

    return make


@pytest.fixture
def embed(server, make, monkeypatch, tmp_path):
    """Run `fastvec embed` in an empty folder against the test server."""
    from embedding_server import KEY, OTHER

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)

    from click.testing import CliRunner

    from fastvec import cli

    def run(*arguments, model=OTHER, **options):
        arguments = ["embed", *map(str, arguments), "--model", model]
        return CliRunner().invoke(cli.group(), arguments, **options)

    return run


@pytest.fixture
def assemble():
    """Assembly of a function that emits code: all its arguments are addresses or integers."""
    import llvmlite.binding as llvm
    from llvmlite import ir
    from numba import types

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()

    def run(emit, signature, triple, processor, features=""):
        try:
            target = llvm.Target.from_triple(triple)
        except RuntimeError as error:
            pytest.skip(f"this llvmlite does not assemble for {triple}: {error}")
        kinds = [ir.VoidType() if kind is types.void else ir.IntType(kind.bitwidth) for kind in signature]
        module = ir.Module()
        module.triple = triple
        function = ir.Function(module, ir.FunctionType(kinds[0], kinds[1:]), "function")
        builder = ir.IRBuilder(function.append_basic_block())
        result = emit(builder, *function.args)
        builder.ret_void() if result is None else builder.ret(result)
        machine = target.create_target_machine(cpu=processor, features=features, opt=3)
        return machine.emit_assembly(llvm.parse_assembly(str(module)))

    return run


FLUSH_BITS = 0x8040  # flush-to-zero and denormals-are-zero in the x86 control register


@cache
def control_register():
    """Compiled functions (read, write) for MXCSR, which belongs to the calling thread."""
    from llvmlite import ir
    from numba import njit, types
    from numba.core import cgutils
    from numba.extending import intrinsic

    byte_pointer, nothing = ir.IntType(8).as_pointer(), ir.VoidType()

    def call(builder, name, slot):
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(nothing, [byte_pointer]), f"llvm.x86.sse.{name}"
        )
        builder.call(function, [builder.bitcast(slot, byte_pointer)])

    @intrinsic
    def load(typing):
        def code(context, builder, signature, arguments):
            slot = cgutils.alloca_once(builder, ir.IntType(32))
            call(builder, "stmxcsr", slot)
            return builder.load(slot)

        return types.uint32(), code

    @intrinsic
    def store(typing, value):
        def code(context, builder, signature, arguments):
            slot = cgutils.alloca_once_value(builder, arguments[0])
            call(builder, "ldmxcsr", slot)
            return context.get_dummy_value()

        return types.void(types.uint32), code

    @njit
    def read():
        return load()

    @njit
    def write(value):
        store(types.uint32(value))

    return read, write


ROUND_BITS = {"down": 0x2000, "up": 0x4000, "toward zero": 0x6000}
"""Directions of rounding in the same register; 0 is to nearest."""


@pytest.fixture
def flushing():
    """A context with another floating-point mode of this thread, which callees leave as it is."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("the control register is written by x86 instructions")
    read, write = control_register()

    @contextmanager
    def context(bits=FLUSH_BITS):
        before = read()
        write(before | bits)
        try:
            yield
            assert read() & bits == bits, "the caller's floating-point mode was not restored"
        finally:
            write(before)
        assert before & (FLUSH_BITS | max(ROUND_BITS.values())) == 0, "an earlier call left another mode"

    return context
