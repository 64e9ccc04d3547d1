"""AMX on processors without it: the tile program run on a model of the instructions, and assembled.

Where the processor has AMX, ``test_micro_kernels.py`` runs the real ones as well.
"""

import ctypes
import types

import numpy as np
import pytest

from fastvec.kernels import cpu
from fastvec.kernels.micro import amx_int8


class Tiles:
    """Eight tiles of 16 × 64 bytes, and what the instructions do with them."""

    def __init__(self):
        self.tiles = np.zeros((8, 1024), np.uint8)
        self.ran = []

    def load(self, tile):
        def run(at, stride):
            rows = [np.frombuffer(ctypes.string_at(at + row * stride, 64), np.uint8) for row in range(16)]
            self.tiles[tile] = np.concatenate(rows)
            self.ran.append(f"load{tile}")

        return run

    def store(self, tile):
        def run(at, stride):
            for row in range(16):
                ctypes.memmove(at + row * stride, self.tiles[tile, 64 * row : 64 * row + 64].tobytes(), 64)
            self.ran.append(f"store{tile}")

        return run

    def multiply(self, sums, rows, queries):
        """tdpbusd: sums[m][n] += Σ over k, i of rows[m][4k + i] · queries[k][4n + i]."""

        def run():
            a = self.tiles[rows].reshape(16, 16, 4).astype(np.int64)
            b = self.tiles[queries].view(np.int8).reshape(16, 16, 4).astype(np.int64)
            c = self.tiles[sums].view(np.int32).reshape(16, 16)
            total = c + np.einsum("mki,kni->mn", a, b)
            self.tiles[sums] = total.astype(np.int32).reshape(-1).view(np.uint8)
            self.ran.append(f"multiply{sums}")

        return run

    def program(self, function):
        """A function of the micro-kernel's file with its instructions replaced by this model."""
        names = dict(function.__globals__)
        names |= {f"_load{tile}": self.load(tile) for tile in range(8)}
        names |= {f"_store{tile}": self.store(tile) for tile in range(4)}
        operands = {0: (4, 6), 1: (4, 7), 2: (5, 6), 3: (5, 7)}
        names |= {f"_multiply{tile}": self.multiply(tile, *pair) for tile, pair in operands.items()}
        return types.FunctionType(function.__code__, names)


def aligned(size, dtype):
    memory = np.zeros(size * np.dtype(dtype).itemsize + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size * np.dtype(dtype).itemsize].view(dtype)


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize(("width", "stride"), [(64, 64), (128, 192), (768, 768), (1024, 2048)])
def test_the_tile_program_computes_every_score(blocks, width, stride):
    rng = np.random.default_rng(width + blocks)
    codes = aligned(32 * stride, np.uint8)
    codes[:] = rng.integers(0, 256, codes.size)
    queries = rng.integers(-127, 128, (16 * blocks, width)).astype(np.int8)
    packed = aligned(queries.size, np.int8)
    packed[:] = queries.reshape(blocks, 16, width // 4, 4).swapaxes(1, 2).reshape(-1)
    corrections = aligned(32, np.int32)
    corrections[: 16 * blocks] = -128 * queries.sum(axis=1, dtype=np.int32)
    scores = aligned(32 * 32, np.int32)
    scores[:] = -7

    tiles = Tiles()
    tile = tiles.program(amx_int8.RECORD.tile)
    addresses = (codes.ctypes.data, stride, packed.ctypes.data, blocks, width // 4)
    tile("amx_int8", *addresses, corrections.ctypes.data, scores.ctypes.data)

    signed = codes.reshape(32, stride)[:, :width].astype(np.int64) - 128
    result = scores.reshape(32, 32)
    np.testing.assert_array_equal(result[:, : 16 * blocks], signed @ queries.astype(np.int64).T)
    assert (result[:, 16 * blocks :] == -7).all()
    assert tiles.ran.count("multiply0") == width // 64


ASSEMBLE = """
from numba import types
from fastvec.kernels import compile, cpu, micro

assert {"amx-tile", "amx-int8"} <= cpu.features()

@compile.kernel
def program(codes, stride, queries, blocks, steps, corrections, scores):
    micro.begin("amx_int8")
    micro.tile("amx_int8", codes, stride, queries, blocks, steps, corrections, scores)
    micro.end("amx_int8")

program.compiled.compile((types.int64,) * 7)
print("\\n".join(program.compiled.inspect_asm().values()))
"""


@pytest.mark.skipif(amx_int8.RECORD.architecture != cpu.architecture(), reason="assembles for x86-64 only")
def test_it_assembles_to_tile_instructions(run_python, tmp_path):
    features = "+avx,+avx2,+fma,+avx512f,+avx512bw,+avx512vl,+avx512dq,+avx512vnni,+amx-tile,+amx-int8"
    target = {"NUMBA_CPU_NAME": "sapphirerapids", "NUMBA_CPU_FEATURES": features}
    result = run_python("-c", ASSEMBLE, NUMBA_CACHE_DIR=str(tmp_path), **target)
    assert result.returncode == 0, result.stderr
    for instruction in ("ldtilecfg", "tdpbusd", "tileloadd", "tilestored", "tilerelease"):
        assert instruction in result.stdout
    assert "vpdpbusd" not in result.stdout
