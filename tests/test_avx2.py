"""AVX2 and AVX-VNNI beyond what ``test_micro_kernels.py`` asks of all: saturation, encodings, registers."""

import numpy as np
import oracle
import pytest
from assertions import assert_same_topk
from data import KINDS, mixed, related

import fastvec
from fastvec.kernels import cpu, encode, micro, scorers
from fastvec.kernels.compile import kernel
from fastvec.kernels.micro import avx2, avx_vnni
from fastvec.kernels.micro.register_tile import TILE

X86 = "x86_64-unknown-linux-gnu"
LEVELS = avx2.RECORD.levels
runs_here = pytest.mark.skipif(
    micro.why_not(avx2.RECORD) is not None, reason=f"avx2: {micro.why_not(avx2.RECORD)}"
)


@kernel
def row_score(scorer, codes, query, width, scores):
    scorers.call_row(scorer, codes, width, 1, query, width, np.int32(0), scores.ctypes.data)


@kernel
def tile_scores(codes, stride, queries, steps, corrections, scores):
    micro.tile("avx2", codes, stride, queries, 1, steps, corrections, scores)


def aligned(shape, dtype):
    dtype = np.dtype(dtype)
    memory = encode.aligned(int(np.prod(shape)) * dtype.itemsize)
    memory[:] = 0
    return memory.view(dtype).reshape(shape)


def unsigned_sums(code, values, width):
    """Σ u·q of a row of one byte with a query of two alternating values, by row and by tile."""
    codes, query = aligned((avx2.RECORD.tile_rows, width), np.uint8), aligned(width, np.int8)
    codes[:], query[::2], query[1::2] = code, *values
    score = np.zeros(1, np.int32)
    row_score(scorers.scorer("avx2"), codes.ctypes.data, query.ctypes.data, width, score)
    packed, scores = aligned((width // 4, 16, 4), np.int8), aligned((len(codes), 16), np.int32)
    packed[:] = query.reshape(width // 4, 1, 4)
    start = aligned(16, np.int32)
    addresses = (packed.ctypes.data, width // 4, start.ctypes.data, scores.ctypes.data)
    tile_scores(codes.ctypes.data, width, *addresses)
    assert (scores == score[0]).all()
    return int(score[0]), int(codes[0].astype(np.int64) @ query)


@runs_here
@pytest.mark.parametrize("width", [64, 768, 131_072])
def test_the_largest_pairs_do_not_saturate(width):
    for values in ((LEVELS, LEVELS), (-LEVELS, -LEVELS), (LEVELS, -LEVELS), (0, LEVELS)):
        actual, exact = unsigned_sums(255, values, width)
        assert actual == exact


@runs_here
def test_more_levels_would_saturate():
    """The instruction does saturate, and these tests would see it."""
    for value in (65, -65, 127, -127):
        actual, exact = unsigned_sums(255, (value, value), 64)
        assert abs(actual) < abs(exact)


def test_a_pair_of_products_fits_16_bits():
    assert 2 * 255 * LEVELS < 2**15


@pytest.mark.parametrize("tile_queries", [0, 16])
def test_queries_are_packed_within_the_levels(tile_queries):
    for dims in (1, 3, 64, 97):
        queries = np.concatenate([mixed(16 * len(KINDS), dims, dims), np.full((2, dims), -3e38, np.float32)])
        packed = encode.pack(queries, LEVELS, tile_queries, 1)
        assert np.abs(packed.codes.astype(int)).max() == LEVELS
        assert np.abs(packed.packed.astype(int)).max(initial=0) == (LEVELS if tile_queries else 0)


@pytest.mark.slow
@runs_here
@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_searches_at_the_extremes(metric, monkeypatch):
    """Rows and queries whose codes are all as large as they can be, of either sign."""
    monkeypatch.setenv("FASTVEC_MICRO_KERNEL", "avx2")
    rng = np.random.default_rng(1)
    signs = rng.choice(np.array([-1, 1], np.float32), (600, 128))
    vectors = np.concatenate([np.ones((2, 128), np.float32), -np.ones((2, 128), np.float32), signs])
    vectors *= rng.uniform(0.5, 2, (len(vectors), 1)).astype(np.float32)
    for m in (1, 2, 3, 40):
        queries = np.concatenate([vectors[: min(m, 4)], related(vectors, m, m)])[:m]
        expected = oracle.knn(queries, vectors, 5, metric)
        assert_same_topk(fastvec.knn(queries, vectors, 5, metric=metric), expected)
        assert_same_topk(fastvec.Index(vectors, metric=metric).search(queries, 5), expected)


@pytest.mark.parametrize(
    ("file", "processor", "instruction", "products"),
    [
        (avx2, "haswell", "vpmaddubsw", 8),
        (avx_vnni, "alderlake", "vpdpbusd", 12),
        (avx_vnni, "znver4", "vpdpbusd", 12),
    ],
)
def test_tiles_fit_the_registers(assemble, file, processor, instruction, products):
    assembly = assemble(file.emit_tile, TILE, X86, processor)
    assert assembly.count(instruction) == products
    assert "rsp" not in assembly, "sums are spilled to the stack"
    assert "zmm" not in assembly
    if file is avx_vnni:
        assert ("{vex}" in assembly) is (processor == "alderlake")


@pytest.mark.parametrize(
    ("features", "missing"),
    [
        ({"avxvnni"}, ()),
        ({"avx512vnni", "avx512vl"}, ()),
        ({"avx512vnni"}, ("avxvnni", "avx512vl")),
        (set(), ("avxvnni", "avx512vl", "avx512vnni")),
    ],
)
def test_either_encoding_will_do(monkeypatch, features, missing):
    monkeypatch.setattr(cpu, "architecture", lambda: "x86_64")
    monkeypatch.setattr(cpu, "features", lambda: features)
    reason = micro.why_not(avx_vnni.RECORD)
    assert (reason is None) is (not missing)
    for name in missing:
        assert name in reason
    shown = {kernel.name: kernel for kernel in fastvec.machine.micro_kernels()}["avx_vnni"]
    assert (shown.why_not, shown.alternative) == (reason, ("avx512vl", "avx512vnni"))
