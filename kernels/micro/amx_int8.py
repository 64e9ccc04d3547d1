"""AMX: ``tdpbusd`` multiplies a tile of 16 rows × 64 unsigned bytes by one of 16 queries × 64
signed bytes, and adds to 16 × 16 sums in 32 bits.

A tile instruction takes 16 cycles and does 16,384 multiply-adds, 16 times what a VNNI
instruction does a cycle. Products and sums are exact, without saturation.

Tile: 32 rows × 32 queries in four tiles of sums, two of rows, two of queries:

                     queries 6   7        rows are loaded with their own stride; a block
                            +---+---+     of 16 packed queries is a tile as it lies
             rows    4      | 0 | 1 |     (16 steps × 64 bytes); sums start at the
                     5      | 2 | 3 |     corrections, loaded with stride 0: every row
                            +---+---+     of the tile is the same 16 numbers

Four loads feed four products, so loads (8 cycles each from the first-level cache) and
products overlap. Tile configuration belongs to a thread: set by ``begin``, released by
``end``. The kernel must permit the use of tile data once a process (Linux:
arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA), see the kernel's documentation,
"Using XSTATE features in user space applications").

One or two queries use the AVX-512 VNNI row function, which reads as fast as memory gives.
"""

import ctypes
import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from ..emit import address, call, operation, pointer
from . import avx512_vnni
from .record import MicroKernel

_ROWS, _QUERIES = 32, 32

_i8, _i64 = ir.IntType(8), ir.IntType(64)


@operation(types.void, address)
def _configure(builder: Any, configuration: Any) -> None:
    call(builder, "llvm.x86.ldtilecfg", ir.VoidType(), pointer(builder, configuration, _i8))


@operation(types.void)
def _release(builder: Any) -> None:
    call(builder, "llvm.x86.tilerelease", ir.VoidType())


def _mover(instruction: str, tile: int) -> Any:
    """Load or store a tile, rows ``stride`` bytes apart. Numbers of tiles are part of the instruction."""

    @operation(types.void, address, types.int64)
    def move_tile(builder: Any, at: Any, stride: Any) -> None:
        memory = pointer(builder, at, _i8)
        call(builder, f"llvm.x86.{instruction}", ir.VoidType(), ir.Constant(_i8, tile), memory, stride)

    return move_tile


def _multiplier(sums: int, rows: int, queries: int) -> Any:
    @operation(types.void)
    def multiply_add(builder: Any) -> None:
        tiles = (ir.Constant(_i8, tile) for tile in (sums, rows, queries))
        call(builder, "llvm.x86.tdpbusd", ir.VoidType(), *tiles)

    return multiply_add


_load0, _load1, _load2, _load3, _load4, _load5, _load6, _load7 = (
    _mover("tileloadd64", tile) for tile in range(8)
)
_store0, _store1, _store2, _store3 = (_mover("tilestored64", tile) for tile in range(4))
_multiply0, _multiply1 = _multiplier(0, 4, 6), _multiplier(1, 4, 7)
_multiply2, _multiply3 = _multiplier(2, 5, 6), _multiplier(3, 5, 7)


def _begin(name):
    configuration = np.zeros(64, np.uint8)
    configuration[0] = 1  # the palette of eight tiles of 16 rows × 64 bytes
    for tile in range(8):
        configuration[16 + 2 * tile] = 64
        configuration[48 + tile] = 16
    _configure(configuration.ctypes.data)
    configuration[0] = 0  # Numba frees an array after the last use of its name


def _end(name):
    _release()


def _tile(name, codes, stride, queries, blocks, steps, corrections, scores):
    lower = codes + 16 * stride
    _load0(corrections, 0)
    _load2(corrections, 0)
    if blocks == 2:
        second = queries + 64 * steps
        _load1(corrections + 64, 0)
        _load3(corrections + 64, 0)
        for step in range(0, steps, 16):
            _load4(codes + 4 * step, stride)
            _load6(queries + 64 * step, 64)
            _multiply0()
            _load7(second + 64 * step, 64)
            _multiply1()
            _load5(lower + 4 * step, stride)
            _multiply2()
            _multiply3()
        _store1(scores + 64, 4 * _QUERIES)
        _store3(scores + 64 + 64 * _QUERIES, 4 * _QUERIES)
    else:
        for step in range(0, steps, 16):
            _load4(codes + 4 * step, stride)
            _load6(queries + 64 * step, 64)
            _multiply0()
            _load5(lower + 4 * step, stride)
            _multiply2()
    _store0(scores, 4 * _QUERIES)
    _store2(scores + 64 * _QUERIES, 4 * _QUERIES)


def _orders(name, rows, stride, packed, block, steps, count, corrections, sums):
    lower, second = rows + 16 * stride, packed + block
    for order in range(count):
        start = corrections + 128 * order
        _load0(start, 0)
        _load1(start + 64, 0)
        _load2(start, 0)
        _load3(start + 64, 0)
        skipped = 64 * steps * (3 - order)
        for step in range(0, (order + 1) * steps, 16):
            _load4(rows + 4 * step, stride)
            _load6(packed + skipped + 64 * step, 64)
            _multiply0()
            _load7(second + skipped + 64 * step, 64)
            _multiply1()
            _load5(lower + 4 * step, stride)
            _multiply2()
            _multiply3()
        target = sums + 4096 * order
        _store0(target, 64)
        _store2(target + 1024, 64)
        _store1(target + 2048, 64)
        _store3(target + 3072, 64)


def _enable() -> str | None:
    """Ask Linux for the use of tile data, once a process."""
    if not sys.platform.startswith("linux"):
        return "the use of tile data is asked of Linux only"
    arch_prctl, request, check, tile_data = 158, 0x1023, 0x1022, 18
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(arch_prctl, request, tile_data) != 0:
        return f"Linux does not permit the use of tile data (error {ctypes.get_errno()})"
    permitted = ctypes.c_uint64()
    if libc.syscall(arch_prctl, check, ctypes.byref(permitted)) != 0 or not permitted.value >> tile_data & 1:
        return "Linux does not permit the use of tile data"
    return None


RECORD = MicroKernel(
    name="amx_int8",
    description="AMX int8 tiles, 32 × 32 scores",
    requires=("amx-tile", "amx-int8", "avx512f", "avx512vnni"),
    tile_rows=_ROWS,
    tile_queries=_QUERIES,
    tile=_tile,
    speed=30.0,
    row=avx512_vnni.RECORD.row,
    begin=_begin,
    end=_end,
    architecture="x86_64",
    orders=_orders,
    enable=_enable,
)
