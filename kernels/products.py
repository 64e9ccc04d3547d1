"""Float32 products of rows, as they lie in memory, with the columns of a matrix of some hundred columns.

A tile is some rows by some columns, whose sums fill the registers: a step along the dimensions loads the
columns' entries and broadcasts one entry of each row. A sum adds its terms one after another, fused or not,
so a product depends on its row and its column alone. No BLAS is called: its threads would keep spinning
while those of fastvec are to run, and it may be told to round to fewer bits.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from . import threads
from .compile import inline, kernel
from .cpu import architecture, features
from .emit import address, call, operation, pointer, repeat, splat
from .rows import split

BLOCK = 48
"""Rows that are multiplied by all columns before the next, so that they stay in cache."""

_MANY = 256
"""Rows for which laying the columns side by side pays."""

_PART_WORK = 1 << 28
"""Multiply-adds that take some hundredths of a second without any vector instruction."""

_i64, _f32 = ir.IntType(64), ir.FloatType()


def _tile_sizes() -> tuple[int, int]:
    """Rows and columns of a tile, by the registers that there are."""
    if "avx512f" in features():
        return 12, 32
    if "avx" in features() or architecture() == "aarch64":
        return 6, 16
    return 6, 8


HEIGHT, COLUMNS = _tile_sizes()


class _Place(NamedTuple):
    origin: int
    step: int
    """Bytes from an entry of a column to the next."""
    strip: int
    """Bytes from the first of ``COLUMNS`` columns, which lie side by side, to the next of such."""
    dims: int
    strips: int


class Columns(_Place):
    """Where the columns of a matrix lie, for kernels, and the array that they lie in, which lives as long."""

    array: np.ndarray

    @classmethod
    def of(cls, matrix: np.ndarray, rows: int) -> "Columns":
        """The columns of a float32 matrix for a product with ``rows`` rows; zeros up to whole strips."""
        dims, count = matrix.shape
        strips, array = -(-count // COLUMNS), np.ascontiguousarray(matrix)
        if count < strips * COLUMNS:
            array = np.zeros((dims, strips * COLUMNS), np.float32)
            array[:, :count] = matrix
        step, strip = array.strides[0], 4 * COLUMNS
        if rows >= _MANY:
            array = np.ascontiguousarray(array.reshape(dims, strips, COLUMNS).swapaxes(0, 1))
            strip, step = array.strides[:2]
        columns = cls(array.ctypes.data, step, strip, dims, strips)
        columns.array = array
        return columns


@operation(types.void, *[address] * 9)
def _tile(
    builder: Any,
    rows: Any,
    stride: Any,
    entry: Any,
    count: Any,
    dims: Any,
    columns: Any,
    step: Any,
    sums: Any,
    sums_stride: Any,
) -> None:
    """Of ``count`` rows, at most ``HEIGHT``; where there are fewer, the last stands for the others."""
    vector, fused = ir.VectorType(_f32, COLUMNS), "fma" in features() or architecture() == "aarch64"
    last = builder.sub(count, ir.Constant(_i64, 1))
    numbers = [ir.Constant(_i64, r) for r in range(HEIGHT)]
    places = [builder.select(builder.icmp_signed("<", r, last), r, last) for r in numbers]
    starts = [builder.add(rows, builder.mul(place, stride)) for place in places]

    def add_terms(d: Any, totals: list[Any]) -> list[Any]:
        at, results = builder.add(columns, builder.mul(d, step)), []
        column, here = builder.load(pointer(builder, at, vector), align=4), builder.mul(d, entry)
        for start, total in zip(starts, totals, strict=True):
            value = builder.load(pointer(builder, builder.add(start, here), _f32), align=4)
            row = splat(builder, value, vector)
            if fused:
                results.append(call(builder, f"llvm.fma.v{COLUMNS}f32", vector, row, column, total))
            else:
                results.append(builder.fadd(total, builder.fmul(row, column)))
        return results

    zeros = [ir.Constant(vector, None)] * HEIGHT
    totals = repeat(builder, ir.Constant(_i64, 0), dims, 1, zeros, add_terms)
    for place, total in zip(places, totals, strict=True):
        target = builder.add(sums, builder.mul(place, sums_stride))
        builder.store(total, pointer(builder, target, vector), align=4)


@inline
def multiply_rows(count, rows, stride, entry, columns, products, products_stride):
    """Products of ``count`` rows, ``stride`` bytes apart, whose entries are ``entry`` bytes apart.

    The products of a row lie side by side, as many as there are columns.
    """
    for j in range(columns.strips):
        at = columns.origin + j * columns.strip
        for i in range(0, count, HEIGHT):
            row, target = rows + i * stride, products + i * products_stride + 4 * COLUMNS * j
            here = min(HEIGHT, count - i)
            _tile(row, stride, entry, here, columns.dims, at, columns.step, target, products_stride)


@kernel
def _multiply(start, stop, rows, stride, entry, columns, products):
    for i in range(start, stop, BLOCK):
        here, step = min(BLOCK, stop - i), products.strides[0]
        target = products.ctypes.data + i * step
        multiply_rows(here, rows + i * stride, stride, entry, columns, target, step)


def multiply(rows: np.ndarray, matrix: np.ndarray, num_threads: int) -> np.ndarray:
    """The product of float32 matrices; ``rows`` may have any strides."""
    n, count = len(rows), matrix.shape[1]
    columns = Columns.of(matrix, n)
    products = np.empty((n, columns.strips * COLUMNS), np.float32)
    at, (stride, entry) = rows.ctypes.data, rows.strides
    threads.run(
        lambda part: _multiply(*part, at, stride, entry, columns, products),
        parts(n, columns, num_threads),
        num_threads,
        rows,
    )
    return products[:, :count]


def parts(n: int, columns: Columns, num_threads: int) -> list[tuple[int, int]]:
    """Cut n rows that are multiplied with columns for threads, at whole blocks."""
    work = n * columns.dims * columns.strips * COLUMNS
    return split(n, max(num_threads, -(-work // _PART_WORK)), BLOCK)
