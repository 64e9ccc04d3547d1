"""NEON on processors without it: the kernel run on a model of ``sdot``, and assembled.

Where the processor has dot products, ``test_micro_kernels.py`` runs the real ones as well.
"""

import re

import numpy as np
import pytest
from llvmlite import ir
from numba import njit, types

from fastvec.kernels import cpu, encode
from fastvec.kernels.emit import call
from fastvec.kernels.micro import neon_dotprod
from fastvec.kernels.micro.register_tile import DOT, TILE

LINUX = "aarch64-unknown-linux-gnu"
RECORD = neon_dotprod.RECORD


def model(builder, name, result, *values):
    """``sdot`` in plain operations: lane l gains Σ over i of a[4l + i] · b[4l + i], bytes signed."""
    if name != "llvm.aarch64.neon.sdot.v4i32.v16i8":
        return call(builder, name, result, *values)
    total, a, b = values
    wide = ir.VectorType(ir.IntType(32), 16)
    products = builder.mul(builder.sext(a, wide), builder.sext(b, wide))
    for i in range(4):
        mask = ir.Constant(ir.VectorType(ir.IntType(32), 4), [i, 4 + i, 8 + i, 12 + i])
        total = builder.add(total, builder.shuffle_vector(products, products, mask))
    return total


@pytest.fixture(scope="module")
def kernels():
    """The record's tile and row functions, compiled for this processor with the model for the instruction."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neon_dotprod, "call", model)
        tile, row = njit(RECORD.tile), njit(RECORD.row)
        tile.compile((types.int64,) * 8)
        row.compile((types.int64,) * 8)
    return lambda *values: tile(0, *values), lambda *values: row(0, *values)


def aligned(shape, dtype):
    dtype = np.dtype(dtype)
    memory = encode.aligned(int(np.prod(shape)) * dtype.itemsize)
    memory[:] = 0
    return memory.view(dtype).reshape(shape)


def problem(width, stride, case):
    """Codes (rows, stride), queries (16, width), and their products in int64."""
    rng = np.random.default_rng(width)
    codes, queries = aligned((RECORD.tile_rows, stride), np.uint8), aligned((16, width), np.int8)
    codes[:] = rng.integers(0, 256, codes.shape)
    queries[:] = rng.integers(-127, 128, queries.shape)
    if case == "largest":
        codes[:], queries[:] = 255, 127
    elif case == "smallest":
        codes[:], queries[:] = 0, 127
    elif case == "flipped":
        codes[:, ::2], codes[:, 1::2], queries[:] = 127, 128, -127
    products = (codes[:, :width].astype(np.int64) - 128) @ queries.astype(np.int64).T
    return codes, queries, products


shapes = pytest.mark.parametrize(("width", "stride"), [(64, 64), (128, 192), (768, 768), (1024, 2048)])
cases = pytest.mark.parametrize("case", ["random", "largest", "smallest", "flipped"])


@shapes
@cases
def test_tiles_on_a_model_of_the_instruction(kernels, width, stride, case):
    codes, queries, products = problem(width, stride, case)
    packed = aligned(queries.size, np.int8)
    packed.reshape(width // 4, 16, 4)[:] = queries.reshape(16, width // 4, 4).swapaxes(0, 1)
    corrections = -128 * queries.sum(axis=1, dtype=np.int32)
    scores = aligned((RECORD.tile_rows + 1, 16), np.int32)
    scores[:] = -7
    addresses = (codes.ctypes.data, stride, packed.ctypes.data, 1, width // 4)
    kernels[0](*addresses, corrections.ctypes.data, scores.ctypes.data)
    np.testing.assert_array_equal(scores[:-1], products)
    assert (scores[-1] == -7).all()


@shapes
@cases
def test_rows_on_a_model_of_the_instruction(kernels, width, stride, case):
    codes, queries, products = problem(width, stride, case)
    scores = np.full(6, -7, np.int32)
    correction = -128 * int(queries[0].sum(dtype=np.int64))
    kernels[1](codes.ctypes.data, stride, 5, queries.ctypes.data, width, correction, scores.ctypes.data)
    np.testing.assert_array_equal(scores[:5], products[:5, 0])
    assert scores[5] == -7


@pytest.mark.parametrize("target", [("neoverse-n1", "+dotprod"), ("apple-m1", ""), ("generic", "+dotprod")])
def test_it_assembles_to_dot_products(assemble, target):
    tile = assemble(neon_dotprod.emit_tile, TILE, LINUX, *target)
    # 4 steps × 4 rows × 4 vectors of queries, the row's lane chosen by the instruction.
    assert len(re.findall(r"\tsdot(?:\.4s)?\t.*\[[0-3]\]", tile)) == 64
    assert "dup" not in tile
    assert len(re.findall(r"\teor(?:\.16b)?\tv", tile)) == 4
    row = assemble(neon_dotprod.emit_dot, DOT, LINUX, *target)
    assert len(re.findall(r"\tsdot", row)) == 4
    assert "prfm" in row


@pytest.mark.parametrize(
    ("processor", "features", "expected"),
    [
        ("neoverse-n1", "", True),
        ("apple-m1", "", True),
        ("generic", "+neon,+dotprod", True),
        ("cortex-a72", "+neon,+crc", False),
        ("generic", "", False),
    ],
)
def test_processors_with_dot_products_are_told_apart(assemble, monkeypatch, processor, features, expected):
    """LLVM's list of a processor's features leaves them out."""
    assemble(lambda builder, *_: None, (types.void,), LINUX, processor)  # skips where it cannot
    assert cpu.compiles_dot_products(LINUX, processor, features) is expected

    class Codegen:
        def magic_tuple(self):
            return LINUX, processor, features

    monkeypatch.setattr(cpu.cpu_target.target_context, "codegen", Codegen)
    monkeypatch.setattr(cpu, "architecture", lambda: "aarch64")
    assert ("dotprod" in cpu.features.__wrapped__()) is expected
