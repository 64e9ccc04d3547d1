"""Everything that names a compiler or an instruction: how kernels are compiled, and what they are made of.

One module, so that a move to another compiler touches one file. Under
``NUMBA_ENABLE_CUDASIM=1`` the same names come from ``simulator.py``, and kernels run as
plain Python.

Integer tensor cores: ``mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32``, of compute
capability 8.0 on. A warp multiplies 16 rows by 8 queries over 32 dimensions, 4,096
products of signed bytes summed exactly in 32 bits. With g = lane / 4 and t = lane % 4 a
lane holds, four bytes a word (PTX ISA, "Matrix fragments for mma.m16n8k32"):

    rows      a0: row g, dims 4t…      a1: row g + 8      a2, a3: the same, dims 16 + 4t…
    queries   b0: query g, dims 4t…    b1: dims 16 + 4t…
    sums      c0, c1: row g, queries 2t, 2t + 1           c2, c3: row g + 8

A tile of ``4 · len(rows)`` … sums stays in registers: the operations below take and return
tuples whose length says how many fragments are meant.

What is an instruction is an intrinsic; what is Python is ``inline``, and so are a metric's functions.
"""

import contextlib
import ctypes
import functools
import importlib.metadata
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from numba import cuda, types
from numba.np.numpy_support import from_dtype

from ..compile import cached
from . import arithmetic
from .device import is_array, simulated
from .layout import BY_ERROR, BY_LENGTH, ROOT, SLACK, WEIGHT

SIMULATED = simulated()

WITHOUT_ASKING = 48 << 10
"""Bytes of shared memory that a block may have without being allowed more."""


class Launch:
    """A launch with its arguments. It names arrays by their addresses, so it holds them: keep it until
    the device has done it.
    """

    __slots__ = ("_begin", "arguments")

    def __init__(self, begin: Callable[[], None], arguments: tuple[Any, ...]) -> None:
        self._begin, self.arguments = begin, arguments

    def __call__(self) -> "Launch":
        """Queue it on its stream."""
        self._begin()
        return self


class Kernel:
    """An entry point: compiled, or loaded from disk, for the kinds of arguments it is launched with.

    Launched through cuda.core, from what numba-cuda has loaded: its own launch asks every array anew
    what it is, which takes longer than many a scan.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.dispatcher = cached(cuda.jit, function)
        self.py_func = function
        self._loaded: dict[Any, Any] = {}
        self._allowed: dict[Any, int] = {}

    def __getitem__(self, configuration: tuple[Any, ...]) -> Callable[..., Launch]:
        """Grid, threads of a block, stream, bytes of shared memory."""
        return lambda *arguments: self.prepare(*configuration, *arguments)()

    def prepare(self, grid: Any, block: int, stream: Any, shared: int, *arguments: Any) -> Launch:
        """The launch, to be done once or again and again."""
        from cuda.core import LaunchConfig, launch

        key = (cuda.current_context().device.id, *map(_kind, arguments))
        values = values_of(arguments)
        loaded = self._loaded.get(key)
        if loaded is None:
            compiled = self.dispatcher.compile(tuple(map(_type, arguments)))
            check_values(compiled, arguments, values)
            loaded = self._loaded[key] = loaded_kernel(compiled)
        if shared > self._allowed.get(key, WITHOUT_ASKING):
            allow_shared(loaded, shared, key[0])
            self._allowed[key] = shared
        configuration = LaunchConfig(grid=grid, block=block, shmem_size=shared)
        begin = functools.partial(launch, _core_stream(int(stream)), configuration, loaded, *values)
        return Launch(begin, arguments)


@functools.lru_cache
def _core_stream(handle: int) -> Any:
    from cuda.core import Stream

    return Stream.from_handle(handle)


def loaded_kernel(compiled: Any) -> Any:
    """What numba-cuda compiled, as cuda.core's kernel in the current context."""
    return compiled._codelibrary.get_cufunc().kernel


def allow_shared(loaded: Any, size: int, device: int) -> None:
    """Let blocks of a kernel have so many bytes of dynamic shared memory."""
    from cuda.bindings import driver

    attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    (error,) = driver.cuKernelSetAttribute(attribute, size, loaded.handle, device)
    if error != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"the driver refuses {size:,} bytes of shared memory to a block: {error.name}")


def values_of(arguments: Iterable[Any]) -> list[Any]:
    """What a compiled kernel takes: of an array what numba-cuda's structure of one holds."""
    values: list[Any] = []
    for value in arguments:
        if is_array(value):
            size, width = value.size, value.dtype.itemsize
            # Two counters of references, unused; size, bytes of an element, address, shape, strides.
            values += [0, 0, size, width, value.device_ctypes_pointer.value or 0, size, width]
        else:
            values.append(value if isinstance(value, bool | float) else int(value))
    return values


def check_values(compiled: Any, arguments: Iterable[Any], values: Iterable[Any]) -> None:
    """Raise RuntimeError unless numba-cuda itself would hand these values to what it compiled."""
    theirs: list[Any] = []
    try:
        for kind, value in zip(compiled.argument_types, arguments, strict=True):
            compiled._prepare_args(kind, value, 0, [], theirs)
    except (AttributeError, TypeError) as error:
        raise RuntimeError(_OTHER_LAYOUT.format(_version())) from error
    if [*map(_width, theirs)] != [*map(_width, values)]:
        raise RuntimeError(_OTHER_LAYOUT.format(_version()))


_OTHER_LAYOUT = (
    "numba-cuda {} hands arguments to a kernel in another way than fastvec does, which would compute "
    "on wrong memory; install a version that fastvec knows: pip install 'fastvec[cuda]'"
)


def _version() -> str:
    return importlib.metadata.version("numba-cuda")


def _width(value: Any) -> tuple[Any, int]:
    """A value of a kernel's arguments, and its bytes there."""
    plain = getattr(value, "value", value)
    if value is not plain:
        return plain, ctypes.sizeof(value)
    return plain, 1 if isinstance(value, bool) else 8


def _kind(value: Any) -> Any:
    return value.dtype if is_array(value) else type(value)


def _type(value: Any) -> Any:
    """Arrays are of one dimension and contiguous; a number is of 64 bits."""
    if is_array(value):
        if value.ndim != 1 or not value.is_c_contiguous():
            raise TypeError(f"a kernel's array has shape {value.shape}, strides {value.strides}")
        return from_dtype(value.dtype)[::1]
    return {bool: types.boolean, float: types.float64}.get(type(value), types.int64)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile an entry point when it is first launched (see ``launch``), and keep it on disk."""
    return cuda.jit(function) if SIMULATED else Kernel(function)


def launch(function: Any, grid: Any, block: int, stream: Any = 0, shared: int = 0) -> Callable[..., Any]:
    """The kernel, to be called with its arguments, for a grid of blocks and bytes of shared memory.

    The arguments must live until the device has done it: see ``queued``.
    """
    configured: Callable[..., Any] = function[grid, block, stream, shared]
    return configured


def prepared(function: Any, grid: Any, block: int, stream: Any, shared: int, *arguments: Any) -> Launch:
    """A launch with its arguments, to be done once or again and again."""
    if SIMULATED:
        # The simulator's kernel remembers one grid, that of its latest launch.
        return Launch(lambda: function[grid, block, stream, shared](*arguments), arguments)
    launching: Launch = function.prepare(grid, block, stream, shared, *arguments)
    return launching


@contextlib.contextmanager
def queued() -> Iterator[Callable[..., None]]:
    """A function that launches a kernel: grid, threads of a block, arguments.

    Arguments are kept until the device has done it all, and the block ends then, whatever ends it.
    """
    kept: list[Launch] = []

    def queue(function: Any, grid: Any, block: int, *arguments: Any) -> None:
        kept.append(prepared(function, grid, block, 0, 0, *arguments))
        kept[-1]()

    try:
        yield queue
    finally:
        cuda.synchronize()


def ptx(function: Any, signature: tuple[Any, ...], capability: tuple[int, int]) -> str:
    """The PTX of a kernel, without a device: helpers ask the current one for its capability alone."""
    from types import SimpleNamespace
    from unittest import mock

    from numba.cuda import dispatcher

    compiler: Any = cuda
    device = SimpleNamespace(compute_capability=capability)
    with mock.patch.object(dispatcher, "get_current_device", return_value=device):
        code: str = compiler.compile_ptx(function.py_func, signature, cc=capability)[0]
    return code


if SIMULATED:
    from .simulator import (
        hits,
        inline,
        largest_of_lanes,
        load_rows,
        lower,
        lowest_bit,
        multiply,
        nearest,
        ordered,
        pick,
        product,
        reaches,
        slack,
        sum_of_lanes,
        sync_warp,
        threshold,
        value,
        zeros,
    )
else:
    from llvmlite import ir
    from numba.cuda.extending import intrinsic
    from numba.extending import register_jitable

    inline = register_jitable  # type: ignore[assignment]  # helpers that are called from other compiled functions only

    _i1, _i32, _i64, _f32 = ir.IntType(1), ir.IntType(32), ir.IntType(64), ir.FloatType()
    _f64 = ir.DoubleType()
    _FRAGMENT = ir.LiteralStructType([_i32] * 4)

    _MMA = (
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
        "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};"
    )
    # Codes are read once: past the first level, and in lines as long as the second's.
    _LOAD = "ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {$0, $1, $2, $3}, [$4];"

    def _asm(
        builder: Any,
        text: str,
        constraints: str,
        values: list[Any],
        *,
        volatile: bool,
        result: Any = _FRAGMENT,
    ) -> Any:
        kind = ir.FunctionType(result, [value.type for value in values])
        return builder.call(ir.InlineAsm(kind, text, constraints, side_effect=volatile), values)

    def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
        return context.make_array(kind)(context, builder, value=array).data

    def _at(builder: Any, data: Any, index: Any, kind: Any, align: int) -> Any:
        """What lies at an element of an array, as another type."""
        place = builder.bitcast(builder.gep(data, [index]), kind.as_pointer())
        return builder.load(place, align=align)

    def _pair(builder: Any, data: Any, index: Any) -> list[Any]:
        """Two neighboring float32, the first at an even index."""
        two = _at(builder, data, index, ir.VectorType(_f32, 2), 8)
        return [builder.extract_element(two, ir.Constant(_i32, i)) for i in range(2)]

    def _plus(builder: Any, index: Any, more: int) -> Any:
        return builder.add(index, ir.Constant(index.type, more))

    @intrinsic
    def zeros(_typing, count):
        """So many sums, all 0."""
        if not isinstance(count, types.Literal):
            return None  # Numba offers a number first as itself, then as any
        kind = types.UniTuple(types.int32, count.literal_value)

        def code(context, builder, _signature, _values):
            zero = ir.Constant(_i32, 0)
            return context.make_tuple(builder, kind, [zero] * len(kind))

        return kind(count), code

    @intrinsic
    def load_rows(_typing, codes, at, stride, tiles):
        """Fragments of some tiles of rows: words ``at`` … of int32 codes, tiles ``stride`` words apart."""
        if not isinstance(tiles, types.Literal):
            return None
        kind = types.UniTuple(types.int32, 4 * tiles.literal_value)

        def code(context, builder, signature, values):
            codes, at, stride, _ = values
            data, words = _data(context, builder, signature.args[0], codes), []
            for _ in range(len(kind) // 4):
                place = builder.ptrtoint(builder.gep(data, [at]), _i64)
                fragment = _asm(builder, _LOAD, "=r,=r,=r,=r,l", [place], volatile=False)
                words += [builder.extract_value(fragment, i) for i in range(4)]
                at = builder.add(at, stride)
            return context.make_tuple(builder, kind, words)

        return kind(codes, types.int64, types.int64, tiles), code

    @intrinsic
    def multiply(_typing, sums, rows, queries, at, stride):
        """Add the products of rows' fragments with queries': words ``at``, ``at + stride`` … of int32.

        ``sums[(i · query tiles + j) · 4 + c]`` is c of row tile i and query tile j.
        """

        def code(context, builder, signature, values):
            sums, rows, queries, at, stride = values
            row_tiles = len(signature.args[1]) // 4
            query_tiles = len(signature.args[0]) // (4 * row_tiles)
            data = _data(context, builder, signature.args[2], queries)
            a = [builder.extract_value(rows, i) for i in range(4 * row_tiles)]
            c = [builder.extract_value(sums, i) for i in range(len(signature.args[0]))]
            for j in range(query_tiles):
                pair = _at(builder, data, at, ir.VectorType(_i32, 2), 8)
                b = [builder.extract_element(pair, ir.Constant(_i32, i)) for i in range(2)]
                at = builder.add(at, stride)
                for i in range(row_tiles):
                    z = 4 * (i * query_tiles + j)
                    operands = [*a[4 * i : 4 * i + 4], *b, *c[z : z + 4]]
                    # Volatile: it must not move to where the lanes of a warp part.
                    done = _asm(builder, _MMA, ",".join(["=r"] * 4 + ["r"] * 10), operands, volatile=True)
                    c[z : z + 4] = [builder.extract_value(done, i) for i in range(4)]
            return context.make_tuple(builder, signature.return_type, c)

        return sums(sums, rows, queries, types.int64, types.int64), code

    @intrinsic
    def hits(_typing, sums, tiles, scale, margin, row, lanes, room, query, length, error):
        """Bit z is set where sum z of this lane's reaches its query's threshold: see ``terms.py``.

        ``row`` and ``query`` are the lane's first of each; ``lanes`` holds ``room`` queries in a row.
        """
        if not isinstance(tiles, types.Literal):
            return None

        def code(context, builder, signature, values):
            sums, _, _, _, row, lanes, room, query, length, error = values
            row_tiles = tiles.literal_value
            query_tiles = len(signature.args[0]) // (4 * row_tiles)
            scales, margins = (_data(context, builder, signature.args[i], values[i]) for i in (2, 3))
            terms = _data(context, builder, signature.args[5], lanes)
            own = []
            for i in range(2 * row_tiles):
                place = _plus(builder, row, 8 * i)
                own.append([builder.load(builder.gep(data, [place])) for data in (scales, margins)])
            bits = ir.Constant(_i64, 0)
            for j in range(query_tiles):
                first = _plus(builder, query, 8 * j)

                pairs = [
                    _pair(builder, terms, builder.add(first, builder.mul(room, ir.Constant(_i64, term))))
                    for term in (WEIGHT, ROOT, SLACK, BY_LENGTH, BY_ERROR)
                ]
                for column in range(2):
                    weight, *of_root = (pair[column] for pair in pairs)
                    theta = arithmetic.threshold(builder, *of_root, length, error)
                    for i in range(2 * row_tiles):
                        z = 4 * ((i // 2) * query_tiles + j) + 2 * (i % 2) + column
                        score = builder.extract_value(sums, z)
                        value_of = arithmetic.value(builder, score, *own[i], weight)
                        reached = builder.zext(arithmetic.reaches(builder, value_of, theta), _i64)
                        bits = builder.or_(bits, builder.shl(reached, ir.Constant(_i64, z)))
            return bits

        arguments = (sums, tiles, scale, margin, types.int64, lanes, types.int64, types.int64)
        return types.int64(*arguments, types.float32, types.float32), code

    @intrinsic
    def sync_warp(_typing):
        """Wait for all lanes: the tensor cores take a whole warp at one instruction."""

        def code(context, builder, _signature, _values):
            kind = ir.FunctionType(ir.VoidType(), [])
            text = "bar.warp.sync 0xffffffff;"
            builder.call(ir.InlineAsm(kind, text, "~{memory}", side_effect=True), [])
            return context.get_dummy_value()

        return types.void(), code

    def _from_lane(builder: Any, word: Any, distance: int) -> Any:
        """The 32 bits that the lane holds whose number differs in one bit."""
        text = f"shfl.sync.bfly.b32 $0, $1, {distance}, 31, 0xffffffff;"
        return _asm(builder, text, "=r,r", [word], volatile=True, result=_i32)

    @intrinsic
    def sum_of_lanes(_typing, value):
        """Sum of a warp's float64, in every lane: l with l + 16, + 8, + 4, + 2, + 1 (``kernels/rows.py``)."""

        def code(_context, builder, _signature, values):
            total, two = values[0], ir.VectorType(_i32, 2)
            for distance in (16, 8, 4, 2, 1):
                words = builder.bitcast(total, two)
                theirs = ir.Constant(two, ir.Undefined)
                for half in (ir.Constant(_i32, 0), ir.Constant(_i32, 1)):
                    word = _from_lane(builder, builder.extract_element(words, half), distance)
                    theirs = builder.insert_element(theirs, word, half)
                total = builder.fadd(total, builder.bitcast(theirs, _f64))
            return total

        return types.float64(types.float64), code

    @intrinsic
    def largest_of_lanes(_typing, value):
        """Largest of a warp's float32, in every lane."""

        def code(_context, builder, _signature, values):
            largest = values[0]
            for distance in (16, 8, 4, 2, 1):
                theirs = builder.bitcast(_from_lane(builder, builder.bitcast(largest, _i32), distance), _f32)
                largest = builder.select(builder.fcmp_ordered(">", theirs, largest), theirs, largest)
            return largest

        return types.float32(types.float32), code

    @intrinsic
    def product(_typing, a, b):
        """The rounded product of two float32 or two float64: never fused with a sum."""
        letter, kind = ("f", a) if a == types.float32 else ("d", types.float64)

        def code(_context, builder, signature, values):
            text, result = f"mul.rn.f{signature.return_type.bitwidth} $0, $1, $2;", values[0].type
            return _asm(builder, text, f"={letter},{letter},{letter}", values, volatile=False, result=result)

        return kind(kind, kind), code

    @intrinsic
    def nearest(_typing, value):
        """A float32 rounded to the nearest integer, to an even one if two are."""

        def code(_context, builder, _signature, values):
            return _asm(builder, "cvt.rni.f32.f32 $0, $1;", "=f,f", values, volatile=False, result=_f32)

        return types.float32(types.float32), code

    @intrinsic
    def pick(_typing, sums, place):
        """``sums[place]`` by selections: registers cannot be indexed, and memory would be slow."""

        def code(_context, builder, signature, values):
            level = [builder.extract_value(values[0], i) for i in range(len(signature.args[0]))]
            bit = 0
            while len(level) > 1:
                odd = builder.trunc(builder.lshr(values[1], ir.Constant(_i64, bit)), _i1)
                level = [builder.select(odd, b, a) for a, b in zip(level[::2], level[1::2], strict=True)]
                bit += 1
            return level[0]

        return types.int32(sums, types.int64), code

    @intrinsic
    def lowest_bit(_typing, value):
        """Position of the lowest set bit of an int64 that is not 0."""

        def code(_context, builder, _signature, values):
            return builder.cttz(values[0], ir.Constant(_i1, 1))

        return types.int64(types.int64), code

    def _scalar(emit: Callable[..., Any], result: types.Type, arguments: tuple[types.Type, ...]) -> Any:
        """An operation of ``arithmetic.py``."""

        def typing(_typing: Any, *_: types.Type) -> Any:
            return result(*arguments), lambda _context, builder, _signature, values: emit(builder, *values)

        names = ("context", *(f"x{i}" for i in range(len(arguments))))
        typing.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
        )
        return intrinsic(typing)

    value, slack, threshold, reaches, lower, ordered = (
        _scalar(*arithmetic.OPERATIONS[name])
        for name in ("value", "slack", "threshold", "reaches", "lower", "ordered")
    )


__all__ = [
    "SIMULATED",
    "hits",
    "inline",
    "kernel",
    "largest_of_lanes",
    "launch",
    "load_rows",
    "lower",
    "lowest_bit",
    "multiply",
    "nearest",
    "ordered",
    "pick",
    "prepared",
    "product",
    "ptx",
    "queued",
    "reaches",
    "slack",
    "sum_of_lanes",
    "sync_warp",
    "threshold",
    "value",
    "zeros",
]
