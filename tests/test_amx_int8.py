"""AMX on processors without it: the tile program run on a model of the instructions, and assembled.

Where the processor has AMX, ``test_micro_kernels.py`` runs the real ones as well.
"""

import ctypes
import struct
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
from fastvec.kernels import surroundings

surroundings.check = lambda: None  # which refuses what this processor may lack; nothing of it runs here

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


REFUSED = """
import ctypes, os, struct
import numpy as np
import oracle
import fastvec

# A filter of system calls: arch_prctl(ARCH_REQ_XCOMP_PERM) fails with EPERM.
load, equal, leave, number, argument = 0x20, 0x15, 0x06, 0, 16
steps = [(load, 0, 0, number), (equal, 0, 3, 158), (load, 0, 0, argument), (equal, 0, 1, 0x1023)]
steps += [(leave, 0, 0, 0x50001), (leave, 0, 0, 0x7FFF0000)]
program = b"".join(struct.pack("HBBI", *step) for step in steps)
room = ctypes.create_string_buffer(program, len(program))
record = ctypes.create_string_buffer(struct.pack("@HxxxxxxQ", len(steps), ctypes.addressof(room)))
prctl = ctypes.CDLL(None).prctl
if prctl(38, 1, 0, 0, 0) or prctl(22, 2, record, 0, 0):
    raise SystemExit("no filter can be set here")

vectors = (np.arange(300 * 64) * 7919 % 1013 - 500).astype(np.float32).reshape(300, 64)
index = fastvec.Index(vectors)
found, expected = index.search(vectors[:40], 5), oracle.knn(vectors[:40], vectors, 5)
assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))
print(fastvec.machine.active_micro_kernel())
os.environ["FASTVEC_MICRO_KERNEL"] = "amx_int8"
index.search(vectors[:40], 5)
"""


@pytest.mark.skipif("amx-int8" not in cpu.features(), reason="this processor has no AMX")
def test_a_process_that_linux_refuses_tile_data_searches_without_it(run_python):
    result = run_python("-c", REFUSED)
    if "no filter" in result.stderr:
        pytest.skip(result.stderr.strip())
    assert result.stdout == "avx512_vnni\n"
    error = result.stderr.splitlines()[-1]
    assert error.startswith(
        "RuntimeError: FASTVEC_MICRO_KERNEL=amx_int8 cannot run here: Linux does not permit"
    )
    assert "available: avx512_vnni" in error


def test_the_configuration_is_of_eight_tiles_of_16_rows_of_64_bytes():
    held = []
    names = {**vars(amx_int8), "_configure": lambda at: held.append(ctypes.string_at(at, 64))}
    types.FunctionType(amx_int8._begin.__code__, names)("amx_int8")
    palette, first_row, *widths_and_rows = struct.unpack("<BB14x8H16x8B8x", held[0])
    assert (palette, first_row) == (1, 0)
    assert widths_and_rows == [64] * 8 + [16] * 8
    assert sum(map(bool, held[0])) == 1 + 8 + 8


def test_permission_is_asked_of_linux(monkeypatch):
    """As its documentation has it: arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)."""
    asked = []

    def syscall(number, what, argument):
        asked.append((number, what))
        if what == 0x1022:
            argument._obj.value = answer["permitted"]
        else:
            assert argument == 18
        return answer["status"]

    monkeypatch.setattr(amx_int8.sys, "platform", "linux")
    monkeypatch.setattr(amx_int8.ctypes, "CDLL", lambda *_, **__: types.SimpleNamespace(syscall=syscall))
    answer = {"status": 0, "permitted": 0b111 << 17}
    assert amx_int8._enable() is None
    assert asked == [(158, 0x1023), (158, 0x1022)]
    for status, permitted in ((0, 0b1011 << 16), (-1, 1 << 18)):
        answer |= {"status": status, "permitted": permitted}
        assert "does not permit the use of tile data" in amx_int8._enable()
    monkeypatch.setattr(amx_int8.sys, "platform", "darwin")
    assert "Linux only" in amx_int8._enable()


def test_a_permission_is_believed_only_if_linux_says_so(monkeypatch):
    """A system that takes the request, and does not know of it afterwards."""
    monkeypatch.setattr(amx_int8.sys, "platform", "linux")
    answers = types.SimpleNamespace(syscall=lambda *_: 0)
    monkeypatch.setattr(amx_int8.ctypes, "CDLL", lambda *_, **__: answers)
    assert "does not permit the use of tile data" in amx_int8._enable()
