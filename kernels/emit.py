"""Functions of compiled code that are written as LLVM instructions, and what such code is made of.

A function ``emit(builder, *values)`` appends instructions and returns the value that they compute. A
decorator turns it into a function that compiled code can call, and keeps it as that function's ``emit``,
so that one emitter can use another.

Memory is addressed by integers (``array.ctypes.data`` plus bytes): read-only, strided and memory-mapped
arrays then share one compiled version of a kernel.
"""

import inspect
from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numba.extending
from llvmlite import ir
from numba import types

_i8, _i32 = ir.IntType(8), ir.IntType(32)

address = types.int64

Emitter = Callable[..., Any]


def operation(
    result: types.Type, *arguments: types.Type, intrinsic: Callable[..., Any] = numba.extending.intrinsic
) -> Callable[[Emitter], Any]:
    """Decorator: ``emit(builder, *values)`` becomes a function of these types in compiled code.

    ``intrinsic`` is Numba's decorator for such functions: that of the processor, or of a device.
    """

    def decorate(emit: Emitter) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            return emit(builder, *values)

        return _defined(emit, len(arguments), lambda *_: result(*arguments), generate, intrinsic)

    return decorate


def side_by_side(result: types.Type, *arguments: types.Type) -> Callable[[Emitter], Any]:
    """Decorator: ``emit(context, builder, addresses, *values)`` becomes a function of one address or several.

    The emitter gets a list of addresses, and returns a list of as many values. Compiled code passes one
    address and gets one value, or passes a tuple and gets a tuple. The context is Numba's.
    """

    def typed(first: types.Type, *_: types.Type) -> Any:
        if isinstance(first, types.UniTuple):
            return types.UniTuple(result, len(first))(types.UniTuple(address, len(first)), *arguments)
        return result(address, *arguments)

    def decorate(emit: Emitter) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            if not isinstance(signature.return_type, types.UniTuple):
                return emit(context, builder, [values[0]], *values[1:])[0]
            addresses = [builder.extract_value(values[0], i) for i in range(len(signature.args[0]))]
            results = emit(context, builder, addresses, *values[1:])
            return context.make_tuple(builder, signature.return_type, results)

        return _defined(emit, 1 + len(arguments), typed, generate, numba.extending.intrinsic)

    return decorate


def of_elements(result: types.Type | None, *arguments: types.Type | None) -> Callable[[Emitter], Any]:
    """Decorator: ``emit(builder, kind, *values)`` becomes a function of an array and these types.

    ``kind`` is LLVM's type of the array's elements, for which None stands among the types.
    """

    def typed(array: Any, *_: types.Type) -> Any:
        kinds = [array.dtype if kind is None else kind for kind in (result, *arguments)]
        return kinds[0](array, *kinds[1:])

    def decorate(emit: Emitter) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return emit(builder, context.get_data_type(signature.args[0].dtype), *values[1:])

        return _defined(emit, 1 + len(arguments), typed, generate, numba.extending.intrinsic)

    return decorate


def function_of(typed: Callable[..., Any], generate: Callable[..., Any]) -> Any:
    """A function of compiled code, of one address: its type, and what emits it.

    That is ``generate(context, builder, signature, values)``.
    """
    return _defined(generate, 1, typed, generate, numba.extending.intrinsic)


def function_at(*arguments: types.Type) -> Any:
    """A function of compiled code of an address and these types: it calls the kernel at that address.

    The kernel returns nothing and raises nothing; see ``compile.address_of``.
    """

    def call_at(context: Any, builder: Any, _: Any, values: Any) -> None:
        convention = context.call_conv
        kind = convention.get_function_type(types.none, arguments)
        function = builder.inttoptr(values[0], kind.as_pointer())
        convention.call_function(builder, function, types.none, arguments, values[1:])

    signature = types.void(address, *arguments)
    return _defined(call_at, 1 + len(arguments), lambda *_: signature, call_at, numba.extending.intrinsic)


def _defined(
    emit: Emitter,
    count: int,
    typed: Callable[..., Any],
    generate: Callable[..., Any],
    intrinsic: Callable[..., Any],
) -> Any:
    """Numba's intrinsic of ``count`` arguments with the name of ``emit``."""

    def typing(_context: Any, *passed: types.Type) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            value = generate(context, builder, signature, values)
            return context.get_dummy_value() if signature.return_type is types.void else value

        return typed(*passed), codegen

    typing.__name__ = emit.__name__
    # Numba counts parameters by signature: the context, then the values.
    names = ("context", *(f"x{i}" for i in range(count)))
    typing.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    )
    function = intrinsic(typing)
    function.emit = emit
    return function


Body = Callable[[Any, list[Any]], list[Any]]
"""Emits one round of a loop, ``totals = body(index, totals)``."""


def repeat(builder: Any, start: Any, stop: Any, step: int, totals: list[Any], body: Body) -> list[Any]:
    """Emit a loop over ``range(start, stop, step)``; return the totals that it ends with.

    Totals are values, not memory, so they stay in registers as long as registers suffice.
    """
    before = builder.block
    loop, done = builder.append_basic_block("loop"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed("<", start, stop), loop, done)

    builder.position_at_end(loop)
    index, sums = builder.phi(start.type), [merged(builder, (total, before)) for total in totals]
    results = body(index, list(sums))
    following, end = builder.add(index, ir.Constant(start.type, step)), builder.block
    builder.cbranch(builder.icmp_signed("<", following, stop), loop, done)
    index.add_incoming(start, before)
    index.add_incoming(following, end)
    for inside, result in zip(sums, results, strict=True):
        inside.add_incoming(result, end)

    builder.position_at_end(done)
    return [
        merged(builder, (total, before), (result, end)) for total, result in zip(totals, results, strict=True)
    ]


def merged(builder: Any, *origins: tuple[Any, Any]) -> Any:
    """Of (value, block) pairs, the value of the block that the program comes from."""
    phi = builder.phi(origins[0][0].type)
    for value, block in origins:
        phi.add_incoming(value, block)
    return phi


def call(builder: Any, name: str, result: ir.Type, *values: Any) -> Any:
    """Emit a call of an LLVM intrinsic."""
    function = builder.module.globals.get(name)
    if function is None:
        kind = ir.FunctionType(result, [value.type for value in values])
        function = ir.Function(builder.module, kind, name)
    return builder.call(function, values)


def pointer(builder: Any, at: Any, kind: ir.Type) -> Any:
    """The integer address ``at`` as a pointer to ``kind``."""
    return builder.inttoptr(at, kind.as_pointer())


def offset(builder: Any, at: Any, count: Any, size: int = 1) -> Any:
    """The address ``count`` times ``size`` bytes past ``at``; the count is a number or a value."""
    if isinstance(count, int):
        return builder.add(at, ir.Constant(at.type, count * size))
    return builder.add(at, count if size == 1 else builder.mul(count, ir.Constant(at.type, size)))


def splat(builder: Any, value: Any, vector: ir.VectorType) -> Any:
    """All lanes of ``vector`` set to one scalar."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(_i32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_i32, vector.count), None))


def prefetch_at(builder: Any, at: Any, locality: int = 3, write: bool = False) -> None:
    """Ask for the cache line at an address, which need not be readable; locality 3 means into every level."""
    name = "llvm.prefetch.p0" if opaque_pointers() else "llvm.prefetch.p0i8"
    purpose, near, data = (ir.Constant(_i32, number) for number in (int(write), locality, 1))
    call(builder, name, ir.VoidType(), pointer(builder, at, _i8), purpose, near, data)


def opaque_pointers() -> bool:
    """Whether names of intrinsics leave out the element type of pointers, as they do since LLVM 15."""
    return bool(llvmlite.binding.llvm_version_info[0] >= 15)
