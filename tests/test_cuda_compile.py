"""Layer three of four: the device's kernels compiled and assembled, without a device.

Needs numba-cuda with its toolkit (``pip install -e '.[cuda]'``, some 670 MB, so no part of the test
extra), and for registers and SASS the wheels nvidia-cuda-nvcc and nvidia-cuda-nvdisasm.
"""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest

from fastvec.kernels import metrics
from fastvec.kernels.cuda import device, layout, scan

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("numba_cuda") is None or device.simulated(),
        reason="numba-cuda is not installed (pip install -e '.[cuda]')",
    ),
]
CAPABILITIES = ((8, 0), (9, 0))
BY_METRIC = ("row_terms", "lane_terms", "score_lists", "pass_rows")
NAMES = [
    *(f"scan {i}" for i in range(len(scan.SHAPES))),
    *("empty", "tighten", "collect", "encode", "measure_prefix", "close_rows", "rank"),
    *(f"{kind} {metric}" for kind in BY_METRIC for metric in metrics.BOUNDED),
]


def tool(name):
    """A program of the CUDA toolkit, in NVIDIA's wheels (of the compiler's version) or on the path."""
    spec = importlib.util.find_spec("nvidia")
    folders = spec.submodule_search_locations if spec else ()
    actual = next((str(path) for folder in folders for path in Path(folder).rglob(name)), shutil.which(name))
    if actual is None:
        pytest.skip(f"{name} is not installed (pip install nvidia-cuda-nvcc nvidia-cuda-nvdisasm)")
    return actual


def kernel_and_types(name):
    """A kernel, and the types that the driver launches it with."""
    from numba import types

    from fastvec.kernels.cuda import encode, exact, terms, tighten

    number, truth, real = types.int64, types.boolean, types.float64
    codes, words, longs = types.int8[::1], types.int32[::1], types.int64[::1]
    narrow, wide = types.float32[::1], types.float64[::1]
    span, floats = record(layout.Span, number, number), record(layout.Floats, narrow, number)
    matrices = record(layout.Matrices, floats, floats, number)
    fragments, written = (record(layout.Fragments, kind, number, number) for kind in (words, codes))
    measured = record(layout.Measured, narrow, narrow, wide)
    encoded = record(layout.Encoded, narrow, narrow, wide, wide, real)
    of_rows, lanes = record(layout.Terms, narrow, narrow, narrow), record(layout.Lanes, narrow, number)
    closed, excluded = record(layout.Closed, words, number), record(layout.Excluded, longs, number)
    filters = record(layout.Filters, narrow, closed, excluded)
    lists = record(layout.Lists, number, words, words, words)
    ranking = record(layout.Ranking, wide, narrow, longs)
    kind, _, which = name.partition(" ")
    if kind == "scan":
        shape = scan.SHAPES[int(which)]
        kernel = scan.scan_kernel(shape.row_tiles, shape.query_tiles, shape.shared)
        return kernel, (fragments, of_rows, fragments, lanes, closed, span, lists)
    if kind == "tighten":
        return tighten.tighten, (number, lanes, of_rows, excluded, lists, narrow, words, words)
    if kind == "empty":
        return tighten.empty, (words, words)
    if kind == "collect":
        return tighten.collect, (lists, longs, record(layout.Candidates, words, words, words))
    if kind == "encode":
        return encode.encode, (floats, span, number, number, written, measured, wide, words)
    if kind == "measure_prefix":
        return encode.measure_prefix, (floats, span, number, written, wide, measured, wide)
    if kind == "row_terms":
        return terms.row_terms(which), (number, number, encoded, of_rows)
    if kind == "lane_terms":
        return terms.lane_terms(which), (number, real, measured, lanes)
    if kind == "close_rows":
        return terms.close_rows, (number, narrow, words, narrow)
    if kind == "score_lists":
        return exact.score_lists(which), (matrices, measured, encoded, lists, wide, words)
    if kind == "pass_rows":
        return exact.pass_rows(which), (longs, matrices, span, filters, number, truth, wide, lists, wide)
    assert kind == "rank"
    return exact.rank, (number, lists, wide, truth, ranking, ranking)


def record(kind, *fields):
    """Numba's type of a record with fields of these types."""
    from numba import types

    return types.BaseTuple.from_types(fields, kind)


def ptx(function, signature, capability):
    """The PTX of a kernel, without a device: helpers ask the current one for its capability alone."""
    from numba import cuda
    from numba.cuda import dispatcher

    device = SimpleNamespace(compute_capability=capability)
    with mock.patch.object(dispatcher, "get_current_device", return_value=device):
        return cuda.compile_ptx(function.py_func, signature, cc=capability)[0]


@pytest.fixture(scope="module")
def compiled():
    """PTX by kernel and compute capability, compiled when first asked for."""
    known = {}

    def get(name, capability):
        if (name, capability) not in known:
            known[name, capability] = ptx(*kernel_and_types(name), capability)
        return known[name, capability]

    return get


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("name", NAMES)
def test_ptx(name, capability, compiled):
    text = compiled(name, capability)
    assert f".target sm_{capability[0]}{capability[1]}" in text
    assert ".local" not in text, "an array of registers was indexed"
    assert ".ftz" not in text, "subnormals would be flushed"
    if name.startswith("scan"):
        shape = scan.SHAPES[int(name.split()[1])]
        assert "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32" in text
        assert text.count("mma.sync") % (shape.row_tiles * shape.query_tiles) == 0
        assert "ld.global.nc.L1::no_allocate.L2::128B.v4.u32" in text
        assert ("ld.shared.v2" in text) is shape.shared
        assert "bar.warp.sync" in text


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("name", NAMES)
def test_machine_code(name, capability, compiled, tmp_path):
    """No register is spilled, and as many blocks fit as the launch counts on."""
    source, target = tmp_path / "kernel.ptx", tmp_path / "kernel.cubin"
    source.write_text(compiled(name, capability))
    command = [tool("ptxas"), f"-arch=sm_{capability[0]}{capability[1]}", "-v", source, "-o", target]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in result.stderr
    registers = int(re.search(r"Used (\d+) registers", result.stderr)[1])
    if not name.startswith("scan"):
        return
    shape = scan.SHAPES[int(name.split()[1])]
    allocated = -(-registers // 8) * 8 * 128
    assert shape.blocks * allocated <= 1 << 16, f"{registers} registers"
    code = subprocess.run([tool("nvdisasm"), target], capture_output=True, text=True, check=True).stdout
    assert code.count("IMMA.16832.S8.S8") >= shape.row_tiles * shape.query_tiles
    assert re.search(r"LDG\.E\.[A-Z0-9.]*128", code)
    assert not re.search(r"\b(LDL|STL)\b", code)
