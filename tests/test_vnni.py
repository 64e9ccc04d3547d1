"""AVX-VNNI and AVX-512 VNNI on processors without them: the kernels run on a model of ``vpdpbusd``.

Where the processor has the instruction, ``test_micro_kernels.py`` runs the real ones.
"""

import pytest
from llvmlite import ir
from numba import njit, types
from test_micro_kernels import assert_row, assert_tile, extremes, random_pair

from fastvec.kernels import micro
from fastvec.kernels.micro import avx512_vnni, avx_vnni


def model(builder, name, result, total, unsigned, signed):
    """Lane l gains Σ over i of unsigned[4l + i] · signed[4l + i], in plain operations."""
    assert name == f"llvm.x86.avx512.vpdpbusd.{32 * result.count}"
    lanes = total.type.count
    held, wide = (ir.VectorType(ir.IntType(bits), 4 * lanes) for bits in (8, 32))
    rows, queries = builder.bitcast(unsigned, held), builder.bitcast(signed, held)
    products = builder.mul(builder.zext(rows, wide), builder.sext(queries, wide))
    for i in range(4):
        places = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [4 * lane + i for lane in range(lanes)])
        total = builder.add(total, builder.shuffle_vector(products, products, places))
    return total


@pytest.fixture(scope="module", params=[avx_vnni, avx512_vnni], ids=lambda file: file.RECORD.name)
def modelled(request):
    """A record, and its tile and row functions with the model in place of the instruction."""
    file = request.param
    if micro.why_not(file.RECORD) is None:
        pytest.skip("this processor has the instruction")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file, "call", model)
        tile, row = njit(file.RECORD.tile), njit(file.RECORD.row)
        tile.compile((types.int64,) * 8)
        row.compile((types.int64,) * 8)
    return file.RECORD, lambda *values: tile(0, *values), lambda *values: row(0, *values)


@pytest.mark.parametrize(("width", "gap"), [(64, 0), (192, 320)])
def test_tiles_of_every_number_of_blocks(modelled, width, gap):
    record, tile, _ = modelled
    for blocks in range(1, record.tile_queries // 16 + 1):
        codes, queries = random_pair(record.tile_rows, 16 * blocks, width, record.levels, width)
        assert_tile(record, codes, queries, gap, tile)


@pytest.mark.parametrize(("width", "gap"), [(64, 0), (192, 128)])
def test_rows(modelled, width, gap):
    record, _, row = modelled
    for count in (1, 2, 17):
        codes, queries = random_pair(count, 1, width, record.levels, count)
        assert_row(record, codes, queries[0], gap, row)


def test_extreme_codes(modelled):
    record, tile, row = modelled
    for code, value in extremes(record, 64):
        codes = code[None].astype("u1").repeat(record.tile_rows, axis=0)
        queries = value[None].astype("i1").repeat(16, axis=0)
        assert_tile(record, codes, queries, tile=tile)
        assert_row(record, codes[:3], queries[0], row=row)
