"""Slices of 8 bits: the algebra, and AMX's program on a model of its instructions, and assembled."""

import re
from types import SimpleNamespace

import numpy as np
import oracle
import pytest
from assertions import assert_same_bits
from data import gaussian, hashed, mixed
from test_amx_int8 import ASSEMBLE, Tiles, aligned

from fastvec.kernels import cpu, dense, encode
from fastvec.kernels.dense import slices
from fastvec.kernels.matrix import Strided
from fastvec.kernels.micro import amx_int8


def cut(rows):
    """Four signed slices of every row, and what one unit of the last is: written as plainly as possible."""
    largest = np.abs(rows).max(axis=1, keepdims=True).astype(np.float64)
    factor = np.divide(127.0 * 2.0**24, largest, out=np.zeros(largest.shape), where=largest > 0)
    rest = np.rint(rows * factor).astype(np.int64)
    slices = []
    for _ in range(3):
        low = (rest + 128) % 256 - 128
        slices.append(low)
        rest = (rest - low) // 256
    return np.array([rest, *slices[::-1]]), largest / (127.0 * 2.0**24)


def test_slices_fit_into_bytes_and_make_up_the_row():
    rows = mixed(60, 97, 1)
    slices, unit = cut(rows)
    assert slices.min() >= -128
    assert slices.max() <= 127
    total = sum(slice_ * 256 ** (3 - s) for s, slice_ in enumerate(slices))
    assert (np.abs(total * unit - rows) <= unit * 0.500001).all()


@pytest.mark.parametrize("dims", [1, 64, 97])
def test_the_slices_of_a_query_are_these(dims):
    rows = mixed(48, dims, 1)
    width = encode.padded(dims)
    scale, ratio = np.full((2, 48), -5, np.float32)
    codes = np.full((48, 4 * width + 64), 7, np.uint8)
    panel = slices.Panel(codes.reshape(-1), codes.shape[1], 48, scale, ratio)
    assert slices._slice_queries(0, 48, Strided.of(rows), dims, panel) == -1
    expected = np.full((4, 48, width), 128)
    expected[:, :, :dims] += cut(rows)[0]
    np.testing.assert_array_equal(codes[:, : 4 * width].reshape(48, 4, width).swapaxes(0, 1), expected)
    assert (codes[:, 4 * width :] == 7).all()
    largest = np.abs(rows).max(axis=1).astype(np.float64)
    norm = np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1))
    r = np.divide(largest, norm, out=np.zeros(48), where=norm > 0)
    np.testing.assert_array_equal(scale, (r / 127).astype(np.float32))
    np.testing.assert_array_equal(ratio, np.where(r > 0.3, 1, r).astype(np.float32))


@pytest.mark.parametrize("dims", [7, 64, 200])
def test_scores_are_these_sums(dims):
    """The kernel's scores are those of the plain algebra, up to the roundings of its float32 epilogue."""
    queries, vectors = mixed(40, dims, 1), mixed(70, dims, 2)
    (q, q_unit), (x, x_unit) = cut(queries), cut(vectors)
    norms = [
        np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1, keepdims=True)) for rows in (queries, vectors)
    ]
    units = zip((q_unit, x_unit), norms, strict=True)
    scales = [np.divide(unit, norm, out=np.zeros_like(norm), where=norm > 0) for unit, norm in units]
    orders = [sum(q[i] @ x[o - i].T for i in range(o + 1)) for o in range(4)]
    few = sum(orders[o] * 2.0 ** (48 - 8 * o) for o in range(3))
    ratios = [scale * 127 * 2.0**24 for scale in scales]  # largest / norm
    capped = [np.where(ratio > 0.3, 1.0, ratio) for ratio in ratios]
    more = capped[0] * capped[1].T > slices.limit(dims)
    total = np.where(more, few + orders[3] * 2.0**24, few)
    expected = (total * scales[0] * scales[1].T).clip(-1, 1)
    out = np.empty((40, 70), np.float32)
    assert slices.cosines(queries, vectors, out, 1, "generic") == (-1, -1)
    np.testing.assert_allclose(out, expected, rtol=3e-7, atol=1e-10)


def test_sums_fit_32_bits_at_the_largest_dims(monkeypatch):
    """An order has up to four products of slices a dimension; more dimensions are multiplied otherwise."""
    assert 4 * 2**14 * slices.MAX_DIMS < 2**31
    monkeypatch.setattr(dense, "micro", SimpleNamespace(active=lambda: amx_int8.RECORD))  # which has slices
    monkeypatch.setattr(dense.slices, "cosines", None)
    monkeypatch.setattr(dense.cost, "exact_dense_pays", lambda *_: False)
    monkeypatch.setattr(dense.cost, "dense_slices_pay", lambda *_: True)
    rows = gaussian(3, slices.MAX_DIMS + 1)
    out = np.empty((3, 3), np.float32)
    assert dense.cosines(rows, rows[:, ::-1].copy(), out, 1) == (-1, -1)


def test_large_entries_get_the_third_order():
    rows = gaussian(64, 768, 1)
    out = np.empty((64, 64), np.float32)
    for scale in (1, 8, 60):
        rows[:, 5] = scale
        truth = oracle.scores(rows, rows)
        slices.cosines(rows, None, out, 1, "generic")
        assert np.abs(out - truth).max() < 2e-7
        off = ~np.eye(64, dtype=bool)
        assert np.sqrt(((out - truth)[off] ** 2).mean()) < 4e-8


@pytest.mark.parametrize("place", [0, 31, 63])
def test_one_large_entry_counts_wherever_its_row_lies(place):
    """Whether a pair gets the third order depends on its two rows, not on those beside them."""
    rows, others = hashed(64, 768, 1), hashed(64, 768, 2)
    rows[place, 5] = 60
    out, alone = np.empty((64, 64), np.float32), np.empty((1, 64), np.float32)
    slices.cosines(rows, others, out, 1, "generic")
    slices.cosines(rows[place : place + 1], others, alone, 1, "generic")
    assert_same_bits(out[place], alone[0])
    slices.cosines(others, rows, out, 1, "generic")
    assert_same_bits(out[:, place], alone[0])


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("width", [64, 192])
def test_the_amx_program_sums_every_order(count, width):
    rng = np.random.default_rng(width + count)
    stride = 4 * width + 64
    rows = aligned(32 * stride, np.uint8)
    rows[:] = rng.integers(0, 256, rows.size)
    vectors = rng.integers(-128, 128, (32, 4, width)).astype(np.int8)
    # [block][falling slice][step][vector][4 dimensions]
    falling = vectors[:, ::-1].reshape(2, 16, width, 4)
    packed = aligned(vectors.size, np.int8)
    packed[:] = falling.swapaxes(1, 2).reshape(-1)
    corrections = aligned(4 * 32, np.int32)
    corrections[:] = -128 * np.cumsum(vectors.sum(axis=2, dtype=np.int32), axis=1).T.reshape(-1)
    sums = aligned(4 * 32 * 32, np.int32)
    sums[:] = -7

    tiles = Tiles()
    addresses = (rows.ctypes.data, stride, packed.ctypes.data, 64 * width, width // 4, count)
    tiles.program(amx_int8.RECORD.orders)("amx_int8", *addresses, corrections.ctypes.data, sums.ctypes.data)

    queries = rows.reshape(32, stride)[:, : 4 * width].reshape(32, 4, width).astype(np.int64) - 128
    result = sums.reshape(4, 2, 32, 16)
    for order in range(count):
        expected = sum(queries[:, i] @ vectors[:, order - i].astype(np.int64).T for i in range(order + 1))
        np.testing.assert_array_equal(np.concatenate(result[order], axis=1), expected)
    assert (result[count:] == -7).all()


@pytest.mark.skipif(amx_int8.RECORD.architecture != cpu.architecture(), reason="assembles for x86-64 only")
def test_it_assembles_to_tile_instructions(run_python, tmp_path):
    features = "+avx,+avx2,+fma,+avx512f,+avx512bw,+avx512vl,+avx512dq,+avx512vnni,+amx-tile,+amx-int8"
    target = {"NUMBA_CPU_NAME": "sapphirerapids", "NUMBA_CPU_FEATURES": features}
    code = ASSEMBLE.replace(
        "import compile, cpu, micro", "import compile, cpu, micro\nfrom fastvec.kernels.dense import slices"
    )
    call = "slices.order_sums('amx_int8', codes, stride, queries, blocks, steps, 4, corrections, scores)"
    code = re.sub(r"micro\.tile\(.*\)", call, code)
    assert call in code
    result = run_python("-c", code, NUMBA_CACHE_DIR=str(tmp_path), **target)
    assert result.returncode == 0, result.stderr
    for instruction in ("ldtilecfg", "tdpbusd", "tileloadd", "tilestored", "tilerelease"):
        assert instruction in result.stdout
