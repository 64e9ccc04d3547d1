"""Twins in NumPy of the functions that kernels have as LLVM instructions, for ``interpreter.py``.

``test_operations.py`` compares them with what they stand for.
"""

import ctypes
import threading

import numpy as np

F32, F64, I32, I64 = np.float32, np.float64, np.int32, np.int64

_at_once = threading.Lock()


def at_address(address, count, kind):
    """Memory as an array."""
    size = int(count) * np.dtype(kind).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(int(address)), kind)


def _first(address, count, kind, lanes=32):
    value = np.zeros(lanes, kind)
    value[:count] = at_address(address, count, kind)
    return value


def _load(kind, lanes):
    return lambda at: at_address(at, lanes, kind).copy()


def _store(kind):
    def store(at, value):
        at_address(at, len(value), kind)[:] = value

    return store


def _tree(combine):
    def tree(value):
        while len(value) > 1:
            half = len(value) // 2
            value = combine(value[:half], value[half:])
        return value[0]

    return tree


def _larger(a, b):
    return np.where(a > b, a, b)


def _bits(lanes):
    return sum(1 << int(lane) for lane in np.flatnonzero(lanes))


def nothing(*_):
    pass


def _multiply_add(a, b, total):
    return (a.astype(F64) * b + total).astype(F32)


def _store_codes(at, value):
    at_address(at, 32, np.uint8)[:] = value.astype(I32) + 128


def _store_first(at, value, count):
    at_address(at, count, F32)[:] = value[:count]


def _store_halves(at, high, low):
    words = at_address(at, 16, np.uint32)
    at_address(high, 16, np.uint32)[:] = words & np.uint32(0xFFFF0000)
    at_address(low, 16, np.uint32)[:] = words << np.uint32(16)


def _store_scalar(at, value):
    at_address(at, 1, F32)[0] = value


def _store_int(at, value):
    at_address(at, 1, I32)[0] = np.int64(value).astype(I32)


def _fetch_add(at, amount):
    place = at_address(at, 1, I64)
    with _at_once:  # threads share the rows of a pass by it
        before = int(place[0])
        place[0] += amount
    return before


def _trailing_zeros(value):
    assert value != 0, "the processor may return anything"
    return (int(value) & -int(value)).bit_length() - 1


SIMD = {
    "prefetch": nothing,
    "prefetch_near": nothing,
    "prefetch_to_write": nothing,
    "load": _load(F32, 32),
    "store": _store(F32),
    "zero": lambda: np.zeros(32, F32),
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "broadcast": lambda value: np.full(32, value, F32),
    "absolute": np.abs,
    "nearest": np.rint,
    "load_wide": _load(F64, 32),
    "store_wide": _store(F64),
    "zero_wide": lambda: np.zeros(32),
    "add_wide": np.add,
    "sub_wide": np.subtract,
    "mul_wide": np.multiply,
    "broadcast_wide": lambda value: np.full(32, value, F64),
    "absolute_wide": np.abs,
    "widen": lambda value: value.astype(F64),
    "add_product": lambda total, a, b: total + a * b,
    "multiply_add": _multiply_add,
    "narrow": lambda value: value.astype(F32),
    "load_first": lambda at, count: _first(at, count, F32),
    "load_first_wide": lambda at, count: _first(at, count, F64),
    "store_first": _store_first,
    "maximum": _larger,
    "maximum_wide": _larger,
    "tree_sum": _tree(np.add),
    "tree_sum_narrow": _tree(np.add),
    "tree_max": _tree(_larger),
    "tree_max_wide": _tree(_larger),
    "store_codes": _store_codes,
    "load16": _load(F32, 16),
    "mul16": np.multiply,
    "broadcast16": lambda value: np.full(16, value, F32),
    "store_halves": _store_halves,
    "load_double": lambda at: at_address(at, 1, F64)[0],
    "load_long": lambda at: int(at_address(at, 1, I64)[0]),
    "fetch_add": _fetch_add,
    "load_scalar": lambda at: at_address(at, 1, F32)[0],
    "store_scalar": _store_scalar,
    "store_int": _store_int,
    "load_like": lambda array, at: at_address(at, 1, array.dtype)[0],
    "load_unsigned": lambda at: int(at_address(at, 1, np.uint8)[0]),
    "at_least": lambda a, b: _bits(a >= b),
    "trailing_zeros": _trailing_zeros,
    "count_bits": lambda value: (int(value) & (2**64 - 1)).bit_count(),
}


# The test of a tile against thresholds.


def _reach(scores, scale, margin, threshold):
    return _bits(at_address(scores, 16, I32).astype(F32) * scale + margin >= threshold)


def _queries_reaching(scores, stride, scale, margin, weight, threshold):
    scales, margins, bits = at_address(scale, 4, F32), at_address(margin, 4, F32), 0
    for row in range(4):
        reached = _reach(scores + stride * row, scales[row], margins[row] * weight, threshold)
        bits |= reached << 16 * row
    return bits


def _upper_ends(scores, scale, margin, other, threshold, ends):
    value = at_address(scores, 16, I32).astype(F32) * scale
    at_address(ends, 16, F32)[:] = value + margin
    return _bits(value + other >= threshold)


# Keys of a selection.


def _key_block(sample, at, flip, count=64):
    kind = sample.dtype
    unsigned = np.dtype(f"u{kind.itemsize}")
    flips = np.array(flip, I64).astype(unsigned)
    return (at_address(at, count, unsigned) ^ flips).view(kind)


def _long(bits):
    return np.uint64(bits).view(I64)  # so that it wraps as compiled integers do


def keys_above(sample, at, threshold, flip):
    return _long(_bits(~(_key_block(sample, at, flip) <= threshold)))


def keys_reaching(sample, at, threshold, flip):
    return _long(_bits(~(_key_block(sample, at, flip) < threshold)))


def _raise_keys(sample, best, at, flip):
    before, keys = at_address(best, 64, sample.dtype), _key_block(sample, at, flip)
    before[:] = np.where(keys > before, keys, before)


def _load_key(sample, at, flip):
    key = _key_block(sample, at, flip, 1)[0]
    return key + sample.dtype.type(0) if sample.dtype.kind == "f" else key


def _key_to_float32(sample, key, flip):
    kind = sample.dtype
    unsigned = np.dtype(f"u{kind.itemsize}")
    bits = np.array([key], kind).view(unsigned) ^ np.array(flip, I64).astype(unsigned)
    highest = np.array(flip, I64).astype(f"i{kind.itemsize}")
    if kind.kind != "f" and highest not in (0, -1):  # values are unsigned
        return bits.astype(F32)[0]
    return bits.view(kind).astype(F32)[0] + F32(0)


def _key_rank(sample, key):
    width = 8 * sample.dtype.itemsize
    bits = int(np.array([key], sample.dtype).view(f"i{width // 8}")[0])
    if sample.dtype.kind == "f" and bits < 0:
        bits ^= (1 << (width - 1)) - 1
    return np.uint64((bits ^ ((1 << (width - 1)) - 1)) & ((1 << width) - 1))


# Sums over a row, and products with columns.


def row_sums(kind, step, q_values=None, x_values=None):
    from fastvec.kernels import lanes, simd  # once its operations have twins

    total_kind = F32 if kind is simd.f32x32 else F64

    def loaded(at, dims, values):
        """A row in lines of 32, zeros past its end."""
        value = np.zeros(-(-dims // 32) * 32, total_kind)
        value[:dims] = at_address(at, dims, np.int8 if values is lanes.INT8 else F32)
        return value.reshape(-1, 32)

    def one(q, x, dims):
        total = np.zeros(32, total_kind)
        for a, b in zip(loaded(q, dims, q_values), loaded(x, dims, x_values), strict=True):
            total = step(total, a, b)
        return SIMD["tree_sum"](total)

    def sums(q, x, dims):
        return tuple(one(at, x, dims) for at in q) if isinstance(q, tuple) else one(q, x, dims)

    return sums


def _product_tile(rows, stride, entry, count, dims, columns, step, sums, sums_stride):
    from fastvec.kernels.products import COLUMNS

    columns = np.lib.stride_tricks.as_strided(
        at_address(columns, (dims - 1) * step // 4 + COLUMNS, F32), (dims, COLUMNS), (step, 4)
    )
    values = at_address(rows, ((count - 1) * stride + (dims - 1) * entry) // 4 + 1, F32)
    values = np.lib.stride_tricks.as_strided(values, (count, dims), (stride, entry))
    products = values.astype(F64) @ columns.astype(F64)  # any order of summation will do
    for i in range(count):
        at_address(sums + i * sums_stride, COLUMNS, F32)[:] = products[i]


def _fill_four(words, columns, dims, halves):
    entries = at_address(columns, 32 * dims, F32).reshape(dims, 32)
    for z in range(4):
        total, word = np.zeros(32, F32), at_address(words + 4 * dims * z, dims, F32)
        for d in range(dims):
            total = _multiply_add(word[d], entries[d], total)
        half = np.full(32, 0.5, F32)
        at_address(halves + 128 * z, 32, F32)[:] = _multiply_add(total, half, half)


OPERATIONS = {
    "stay_called": nothing,
    "rows_reaching": _reach,
    "queries_reaching": _queries_reaching,
    "upper_ends": _upper_ends,
    "ends_reaching": lambda ends, threshold: _bits(at_address(ends, 16, F32) >= threshold),
    "raise_keys": _raise_keys,
    "load_key": _load_key,
    "key_to_float32": _key_to_float32,
    "key_rank": _key_rank,
    "_tile": _product_tile,
    "_fill_four": _fill_four,
}


# The micro-kernels.


def _codes_at(address, stride, rows, width):
    size = (rows - 1) * stride + width
    codes = at_address(address, size, np.uint8)
    return np.lib.stride_tricks.as_strided(codes, (rows, width), (stride, 1)).astype(I64)


def micro_row(scorer, codes, stride, rows, query, width, correction, scores):
    codes = _codes_at(codes, stride, rows, width)
    at_address(scores, rows, I32)[:] = codes @ at_address(query, width, np.int8).astype(I64) + correction


def micro_tile(name, codes, stride, queries, blocks, steps, corrections, scores):
    from fastvec.kernels.micro import TABLE

    height, lanes = TABLE[name].tile_rows, TABLE[name].tile_queries
    packed = at_address(queries, 64 * blocks * steps, np.int8).reshape(blocks, steps, 16, 4)
    asked = packed.swapaxes(1, 2).reshape(16 * blocks, 4 * steps).astype(I64)
    out = at_address(scores, height * lanes, I32).reshape(height, lanes)
    products = _codes_at(codes, stride, height, 4 * steps) @ asked.T
    out[:, : 16 * blocks] = products + at_address(corrections, 16 * blocks, I32)
