"""How kernels are compiled, and how they are launched with arrays, numbers and records of them.

A record (a named tuple, ``layout.py``) is handed over as numba-cuda does: its fields, one after another.
"""

import contextlib
import ctypes
import functools
import importlib.metadata
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from numba import cuda, types
from numba.np.numpy_support import from_dtype

from ..compile import cached
from .device import is_array

WITHOUT_ASKING = 48 << 10
"""Bytes of shared memory that a block may have without being allowed more."""


class Launch:
    """A launch with its arguments. It holds the arrays whose addresses it passes: keep it until the
    device has executed it.
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

    Launched through cuda.core, from what numba-cuda has loaded: its own launch examines every array
    again, which can take longer than a scan.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.dispatcher = cached(cuda.jit, function)
        self.py_func = function
        self._loaded: dict[Any, Any] = {}
        self._allowed: dict[Any, int] = {}

    def __getitem__(self, configuration: tuple[Any, ...]) -> Callable[..., Launch]:
        """A function of the arguments that launches it: ``kernel[grid, block, stream, shared](…)``.

        ``grid`` in blocks, ``block`` in threads, ``shared`` in bytes of shared memory of a block.
        """
        return lambda *arguments: self.prepare(*configuration, *arguments)()

    def prepare(self, grid: Any, block: int, stream: Any, shared: int, *arguments: Any) -> Launch:
        """A launch, which can be queued several times."""
        from cuda.core import LaunchConfig, launch

        values, kinds = values_of(arguments)
        device = cuda.current_context().device.id
        key = (device, *kinds)
        loaded = self._loaded.get(key)
        if loaded is None:
            compiled = self.dispatcher.compile(tuple(map(type_of, arguments)))
            check_values(compiled, arguments, values)
            loaded = self._loaded[key] = loaded_kernel(compiled)
        if shared > self._allowed.get(key, WITHOUT_ASKING):
            allow_shared(loaded, shared, device)
            self._allowed[key] = shared
        configuration = LaunchConfig(grid=grid, block=block, shmem_size=shared)
        begin = functools.partial(launch, _core_stream(int(stream)), configuration, loaded, *values)
        return Launch(begin, arguments)


kernel = Kernel
"""Decorator: an entry point, compiled when it is first launched, and kept on disk."""


@functools.lru_cache
def _core_stream(handle: int) -> Any:
    from cuda.core import Stream

    return Stream.from_handle(handle)


def loaded_kernel(compiled: Any) -> Any:
    """The kernel that numba-cuda compiled, as cuda.core's in the current context."""
    return compiled._codelibrary.get_cufunc().kernel


def allow_shared(loaded: Any, size: int, device: int) -> None:
    """Let blocks of a kernel have ``size`` bytes of dynamic shared memory."""
    from cuda.bindings import driver

    attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    (error,) = driver.cuKernelSetAttribute(attribute, size, loaded.handle, device)
    if error != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"the driver refuses {size:,} bytes of shared memory to a block: {error.name}")


def values_of(arguments: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    """What a compiled kernel takes, and the kinds of arguments for which it is compiled.

    For an array the values are the fields of numba-cuda's structure of arrays, for a record those of
    its fields.
    """
    values: list[Any] = []
    kinds: list[Any] = []

    def take(arguments: Iterable[Any]) -> None:
        for value in arguments:
            kind = type(value)
            if kind is int or kind is float or kind is bool:
                values.append(value)
            elif isinstance(value, tuple):
                take(value)
            elif is_array(value):
                size, kind = value.size, value.dtype
                width, address = kind.itemsize, value.device_ctypes_pointer.value or 0
                # Two counters of references, unused; size, bytes of an element, address, shape, strides.
                values.extend((0, 0, size, width, address, size, width))
            else:
                values.append(int(value))
            kinds.append(kind)

    take(arguments)
    return values, kinds


def check_values(compiled: Any, arguments: Iterable[Any], values: Iterable[Any]) -> None:
    """Raise RuntimeError unless numba-cuda itself would hand these values to what it compiled."""
    expected: list[Any] = []
    try:
        for kind, value in zip(compiled.argument_types, arguments, strict=True):
            compiled._prepare_args(kind, value, 0, [], expected)
    except (AttributeError, TypeError) as error:
        raise RuntimeError(_OTHER_LAYOUT.format(_version())) from error
    if [*map(_width, expected)] != [*map(_width, values)]:
        raise RuntimeError(_OTHER_LAYOUT.format(_version()))


_OTHER_LAYOUT = (
    "numba-cuda {} hands arguments to a kernel in another way than fastvec does, which would compute "
    "on wrong memory; install a version that fastvec knows: pip install 'fastvec[cuda]'"
)


def _version() -> str:
    return importlib.metadata.version("numba-cuda")


def _width(value: Any) -> tuple[Any, int]:
    """A value among a kernel's arguments, and the number of its bytes."""
    plain = getattr(value, "value", value)
    if value is not plain:
        return plain, ctypes.sizeof(value)
    return plain, 1 if isinstance(value, bool) else 8


def type_of(value: Any) -> Any:
    """Numba's type of an argument: arrays are of one dimension and contiguous, numbers have 64 bits."""
    if is_array(value):
        if value.ndim != 1 or not value.is_c_contiguous():
            raise TypeError(f"a kernel's array has shape {value.shape}, strides {value.strides}")
        return from_dtype(value.dtype)[::1]
    if isinstance(value, tuple):
        return types.BaseTuple.from_types(tuple(map(type_of, value)), type(value))
    return {bool: types.boolean, float: types.float64}.get(type(value), types.int64)


@contextlib.contextmanager
def queued() -> Iterator[Callable[..., None]]:
    """A function that launches a kernel: ``queue(kernel, grid, threads of a block, *arguments)``.

    Arguments are kept until the device has executed all launches; the ``with`` block waits for that,
    also if an exception ends it.
    """
    kept: list[Launch] = []

    def queue(function: Any, grid: Any, block: int, *arguments: Any) -> None:
        kept.append(function.prepare(grid, block, 0, 0, *arguments))
        kept[-1]()

    try:
        yield queue
    finally:
        cuda.synchronize()
