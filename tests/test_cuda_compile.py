"""Layer three of four: the device's kernels compiled and assembled, without a device.

Needs numba-cuda with its toolkit (``pip install -e '.[cuda]'``, some 670 MB, so no part of the test
extra), and for registers and SASS the wheels nvidia-cuda-nvcc and nvidia-cuda-nvdisasm.
"""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fastvec.kernels import metrics
from fastvec.kernels.cuda import device, scan

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
    *(f"{kind} {metric}" for kind in BY_METRIC for metric in metrics.TABLE),
]


def tool(name):
    """A program of the CUDA toolkit, in NVIDIA's wheels (of the compiler's version) or on the path."""
    spec = importlib.util.find_spec("nvidia")
    folders = spec.submodule_search_locations if spec else ()
    found = next((str(path) for folder in folders for path in Path(folder).rglob(name)), shutil.which(name))
    if found is None:
        pytest.skip(f"{name} is not installed (pip install nvidia-cuda-nvcc nvidia-cuda-nvdisasm)")
    return found


def kernel_and_types(name):
    """A kernel, and the types that the driver launches it with."""
    from numba import types

    from fastvec.kernels.cuda import encode, exact, terms, tighten

    number, truth, real = types.int64, types.boolean, types.float64
    codes, words, longs = types.int8[::1], types.int32[::1], types.int64[::1]
    narrow, wide = types.float32[::1], types.float64[::1]
    rows = (narrow, number)  # values and stride
    measured = (narrow, narrow, wide)  # scale, error, norm
    kind, _, which = name.partition(" ")
    if kind == "scan":
        shape = scan.SHAPES[int(which)]
        lists = (number, words, words, words)
        common = (words, number, number, words, narrow, number, narrow, narrow, narrow, words, *[number] * 3)
        return scan.scan_kernel(shape.row_tiles, shape.query_tiles, shape.shared), (*common, *lists)
    if kind == "tighten":
        common = (number, number, narrow, number, narrow, narrow, narrow, longs, number)
        return tighten.tighten, (*common, words, number, words, words, narrow)
    if kind == "empty":
        return tighten.empty, (number, words)
    if kind == "collect":
        return tighten.collect, (number, words, words, words, longs, words, words, words)
    if kind == "encode":
        return encode.encode, (*rows, *[number] * 6, codes, *measured, wide, words, number)
    if kind == "measure_prefix":
        return encode.measure_prefix, (*rows, *[number] * 5, codes, narrow, wide, narrow, wide, wide)
    if kind == "row_terms":
        return terms.row_terms(which), (number, number, real, *measured, wide, narrow, narrow, narrow)
    if kind == "lane_terms":
        return terms.lane_terms(which), (number, number, real, *measured, narrow)
    if kind == "close_rows":
        return terms.close_rows, (number, narrow, words, narrow)
    if kind == "score_lists":
        both = (*rows, *rows, number, *measured, *measured, wide)
        return exact.score_lists(which), (*both, number, words, words, words, wide)
    if kind == "pass_rows":
        both = (longs, *rows, number, *rows, number, number, number, number)
        filters = (narrow, words, number, longs)
        return exact.pass_rows(which), (*both, *filters, truth, wide, number, words, words, wide)
    assert kind == "rank"
    lists = (number, number, words, words, wide)
    return exact.rank, (*lists, truth, wide, longs, wide, narrow, longs)


@pytest.fixture(scope="module")
def compiled():
    """PTX by kernel and compute capability, compiled when first asked for."""
    from fastvec.kernels.cuda import intrinsics

    known = {}

    def get(name, capability):
        if (name, capability) not in known:
            known[name, capability] = intrinsics.ptx(*kernel_and_types(name), capability)
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
