"""Functions of compiled code that are written as LLVM instructions, and what such code is made of.

A function ``emit(builder, *values)`` appends instructions and returns the value they compute.
``operation`` turns it into a function that compiled code can call. A call may pass tuples of equal
length: then the instructions are emitted once for each place of the tuples, an argument that is not a
tuple serves all places, and the result is a tuple. So one loop is written for one row and for four.

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

    ``intrinsic`` is the decorator of Numba's that makes it one: of the processor, or of a device.
    """

    def typed(*given: types.Type) -> Any:
        length = next((len(kind) for kind in given if isinstance(kind, types.UniTuple)), None)
        if length is None:
            return result(*arguments)
        kinds = [
            types.UniTuple(kind, length) if isinstance(passed, types.UniTuple) else kind
            for kind, passed in zip(arguments, given, strict=True)
        ]
        return (result if result is types.void else types.UniTuple(result, length))(*kinds)

    def decorate(emit: Emitter) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            length = next((len(kind) for kind in signature.args if isinstance(kind, types.UniTuple)), None)
            if length is None:
                return emit(builder, *values)
            results = [
                emit(
                    builder,
                    *(
                        builder.extract_value(value, place) if isinstance(kind, types.UniTuple) else value
                        for kind, value in zip(signature.args, values, strict=True)
                    ),
                )
                for place in range(length)
            ]
            if result is types.void:
                return None
            return context.make_tuple(builder, signature.return_type, results)

        return _defined(emit, len(arguments), typed, generate, intrinsic)

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


def _defined(
    emit: Emitter,
    count: int,
    typed: Callable[..., Any],
    generate: Callable[..., Any],
    intrinsic: Callable[..., Any],
) -> Any:
    """Numba's intrinsic of ``count`` arguments with the name of ``emit``."""

    def typing(_context: Any, *given: types.Type) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            value = generate(context, builder, signature, values)
            return context.get_dummy_value() if signature.return_type is types.void else value

        return typed(*given), codegen

    typing.__name__ = emit.__name__
    # Numba counts parameters by signature: the context, then the values.
    names = ("context", *(f"x{i}" for i in range(count)))
    typing.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    )
    return intrinsic(typing)


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


def splat(builder: Any, value: Any, vector: ir.VectorType) -> Any:
    """All lanes of ``vector`` set to one scalar."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(_i32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_i32, vector.count), None))


def prefetch_at(builder: Any, at: Any, locality: int = 3, write: bool = False) -> None:
    """Ask for the cache line at an address, which need not be readable; 3: into every level."""
    name = "llvm.prefetch.p0" if opaque_pointers() else "llvm.prefetch.p0i8"
    purpose, near, data = (ir.Constant(_i32, number) for number in (int(write), locality, 1))
    call(builder, name, ir.VoidType(), pointer(builder, at, _i8), purpose, near, data)


def opaque_pointers() -> bool:
    """Since LLVM 15 names of intrinsics carry no element type of pointers."""
    return bool(llvmlite.binding.llvm_version_info[0] >= 15)
