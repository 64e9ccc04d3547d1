"""Every micro-kernel that runs here, against integer products by NumPy: its contract is in kernels/micro."""

from functools import cache

import numpy as np
import pytest

import fastvec
from fastvec import _checks
from fastvec.kernels import cpu, encode, micro, scorers
from fastvec.kernels.compile import kernel, specialized

AVAILABLE = [record for record in micro.TABLE.values() if micro.why_not(record) is None]
available = pytest.mark.parametrize("record", AVAILABLE, ids=lambda record: record.name)
WIDTHS = (64, 128, 192, 448, 768, 1024, 4096, 8192)
LARGEST = 131_072
UNTOUCHED = -123_456_789


# By name, as the scan does: see the module's text of kernels/compile.py.


@specialized
def tile_by_name(name):
    @kernel
    def tile(codes, stride, queries, blocks, steps, corrections, scores):
        micro.begin(name)
        micro.tile(name, codes, stride, queries, blocks, steps, corrections, scores)
        micro.end(name)

    return tile


@kernel
def score(scorer, codes, stride, rows, query, width, correction, scores):
    scorers.call_row(scorer, codes, stride, rows, query, width, np.int32(correction), scores.ctypes.data)


def aligned(shape, dtype):
    """Zeros at a multiple of 64 bytes."""
    dtype = np.dtype(dtype)
    memory = encode.aligned(int(np.prod(shape)) * dtype.itemsize)
    memory[:] = 0
    return memory.view(dtype).reshape(shape)


def packed(queries):
    """Blocks of 16 queries, 4 dimensions of each side by side, as the contract has it."""
    m, width = queries.shape
    result = aligned(m * width, np.int8)
    result.reshape(m // 16, width // 4, 16, 4)[:] = queries.reshape(m // 16, 16, width // 4, 4).swapaxes(1, 2)
    return result


def products(codes, queries):
    """Integer dot products in int64, of codes stored as bytes offset by 128."""
    return (codes.astype(np.int64) - 128) @ queries.astype(np.int64).T


def corrections(queries):
    return -128 * queries.astype(np.int64).sum(axis=1)


def random_pair(rows, queries, width, levels, seed=0):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (rows, width), np.uint8)
    return codes, rng.integers(-levels, levels + 1, (queries, width), np.int8)


def assert_tile(record, codes, queries, gap=0, tile=None):
    """One tile; ``gap`` bytes lie between rows, and nothing past the blocks in use is trusted.

    The tile is that of the record's name by default.
    """
    rows, width = codes.shape
    m = len(queries)
    assert rows == record.tile_rows
    stored = aligned((rows, width + gap), np.uint8)
    stored[:, :width], stored[:, width:] = codes, 255
    correction = aligned(record.tile_queries, np.int32)
    correction[:m] = corrections(queries)
    scores = aligned((rows + 1, record.tile_queries), np.int32)
    scores[:] = UNTOUCHED
    blocks = packed(queries)
    (tile or tile_by_name(record.name))(
        stored.ctypes.data,
        stored.strides[0],
        blocks.ctypes.data,
        m // 16,
        width // 4,
        correction.ctypes.data,
        scores.ctypes.data,
    )
    expected = products(codes, queries)
    assert np.abs(expected).max() < 2**31
    np.testing.assert_array_equal(scores[:rows, :m], expected)
    assert (scores[rows:] == UNTOUCHED).all(), "written past the end of the tile"


def assert_row(record, codes, query, gap=0, row=None):
    """One query; by default with the function of rows that the record's name stands for."""
    rows, width = codes.shape
    stored = aligned((rows, width + gap), np.uint8)
    stored[:, :width], stored[:, width:] = codes, 255
    held = aligned(width, np.int8)
    held[:] = query
    scores = np.full(rows + 1, UNTOUCHED, np.int32)
    arguments = stored.ctypes.data, stored.strides[0], rows, held.ctypes.data, width
    correction = corrections(query[None])[0]
    if row is None:
        score(scorers.scorer(record.name), *arguments, correction, scores)
    else:
        row(*arguments, correction, scores.ctypes.data)
    np.testing.assert_array_equal(scores[:rows], products(codes, query[None])[:, 0])
    assert scores[rows] == UNTOUCHED, "written past the end of the rows"


@available
def test_tiles_of_every_number_of_blocks(record):
    assert record.tile_queries % 16 == 0
    assert record.tile_rows % 4 == 0
    for blocks in range(1, record.tile_queries // 16 + 1):
        for width in WIDTHS:
            codes, queries = random_pair(record.tile_rows, 16 * blocks, width, record.levels, width)
            assert_tile(record, codes, queries)


@available
def test_tiles_of_rows_that_lie_apart(record):
    """A prefix of wider rows, as in a search at fewer dimensions."""
    for gap in (64, 320, 8192):
        codes, queries = random_pair(record.tile_rows, record.tile_queries, 192, record.levels, gap)
        assert_tile(record, codes, queries, gap)


@available
def test_rows(record):
    for count in (1, 2, 15, 16, 17, 63, 64):
        for width in WIDTHS:
            codes, queries = random_pair(count, 1, width, record.levels, count)
            assert_row(record, codes, queries[0])
            assert_row(record, codes, queries[0], gap=128)


def extremes(record, width):
    """Codes and query values whose sums, of bytes in pairs and in all, are as large as they can be."""
    halves = np.arange(width) % 2 == 0
    for code in (1, 128, 255):
        for value in (-record.levels, record.levels):
            yield np.full(width, code), np.full(width, value)
    yield np.where(halves, 255, 1), np.where(halves, record.levels, -record.levels)
    yield np.where(halves, 1, 255), np.where(halves, record.levels, -record.levels)


@available
@pytest.mark.parametrize("width", [64, 1024, LARGEST])
def test_extreme_codes(record, width):
    for code, value in extremes(record, width):
        codes = np.repeat(code[None].astype(np.uint8), record.tile_rows, axis=0)
        queries = np.repeat(value[None].astype(np.int8), 16, axis=0)
        assert_tile(record, codes, queries)
        assert_row(record, codes[:3], queries[0])


@available
def test_bytes_0_and_255_in_one_row(record):
    """Codes are never −128, but padding and rows past the end hold any byte."""
    codes = np.tile(np.array([0, 255, 0, 255, 128, 127, 0, 1], np.uint8), (record.tile_rows, 32))
    queries = random_pair(1, record.tile_queries, 256, record.levels)[1]
    assert_tile(record, codes, queries)
    assert_row(record, codes[:5], queries[0])


@available
def test_the_largest_dims(record):
    codes, queries = random_pair(record.tile_rows, record.tile_queries, LARGEST, record.levels)
    assert_tile(record, codes, queries)
    assert_row(record, codes[:3], queries[0])


def test_sums_of_codes_fit_32_bits():
    """Of all dimensions that are allowed, and the codes of what rows have in common."""
    assert _checks.MAX_DIMS == LARGEST
    assert 127 * 128 * (LARGEST + 256) < 2**31


@available
def test_queries_packed_by_the_encoder(record):
    """The layout that ``encode.pack`` writes is the one that tiles read."""
    rng = np.random.default_rng(1)
    queries = rng.standard_normal((record.tile_queries + 1, 70)).astype(np.float32)
    pack = encode.pack(queries, record.levels, record.tile_queries, 1)
    width = encode.padded(70)
    assert np.abs(pack.codes.astype(int)).max() == record.levels
    np.testing.assert_array_equal(pack.packed, packed(pack.codes))
    np.testing.assert_array_equal(pack.correction, corrections(pack.codes))
    assert pack.packed.ctypes.data % 64 == 0
    assert pack.codes.shape == (2 * record.tile_queries, width)
    assert not pack.codes[record.tile_queries + 1 :].any()
    assert not pack.codes[:, 70:].any()


@cache
def listed():
    return fastvec.machine.micro_kernels()


def test_every_record_is_listed_best_first():
    assert [kernel.name for kernel in listed()] == list(micro.TABLE)
    assert listed()[-1].name == "generic"
    for shown, (name, record) in zip(listed(), micro.TABLE.items(), strict=True):
        assert shown.name == record.name == name
        assert shown.description == record.description
        assert shown.requires == record.requires
        assert shown.why_not == micro.why_not(record)
        assert shown.available is (shown.why_not is None)
    assert fastvec.machine.active_micro_kernel() in [kernel.name for kernel in listed() if kernel.available]


@pytest.mark.parametrize("name", micro.TABLE)
def test_why_not(name, monkeypatch):
    """What is missing is named: the architecture, a feature, or what the system does not permit."""
    record = micro.TABLE[name]
    if record.architecture is not None:
        monkeypatch.setattr(cpu, "architecture", lambda: "toaster")
        assert "toaster" in micro.why_not(record)
        assert record.architecture in micro.why_not(record)
    monkeypatch.setattr(cpu, "architecture", lambda: record.architecture)
    monkeypatch.setattr(cpu, "features", lambda: frozenset(record.requires[1:]))
    if record.requires:
        assert record.requires[0] in micro.why_not(record)
    monkeypatch.setattr(cpu, "features", lambda: frozenset(record.requires))
    assert micro.why_not(record._replace(enable=lambda: None)) is None
    assert micro.why_not(record._replace(enable=lambda: "not today")) == "not today"


def test_one_function_of_rows_is_compiled_once():
    """For micro-kernels that differ in their tiles only; the others have functions of their own."""
    for record in AVAILABLE:
        for other in AVAILABLE:
            shared = scorers.scorer(record.name) == scorers.scorer(other.name)
            assert shared is (record.row is other.row)
    assert micro.TABLE["amx_int8"].row is micro.TABLE["avx512_vnni"].row
