"""How kernels are compiled, cached on disk, and bound to a micro-kernel and a metric.

Three ways in:

``kernel``
    An entry point, called from Python: releases the GIL, is cached on disk, and
    runs in the default floating-point mode whatever mode its caller is in.
``inline``
    A helper, called from other compiled functions only.
``bound``
    A factory of kernels closed over names (strings). A compiled function that
    closes over another function, or takes one as an argument, misses Numba's disk
    cache in every process; one that closes over a *name* hits. The name becomes
    code where it is used: ``named(stub, table, field)`` makes a call
    ``stub(name, ...)`` mean ``table[name].field(name, ...)``.

Numba keys its disk cache on the file of the function alone, so an edited or
upgraded micro-kernel would run stale. Every kernel's cache is therefore stamped
with a digest of all files of this package (see ``cached``, which serves the device's
kernels too).
"""

import functools
import hashlib
import inspect
import pathlib
import warnings
from collections.abc import Callable
from typing import Any

from numba import njit, types
from numba.extending import overload

from . import simd

_njit: Any = njit  # its published signature leaves out options that helpers need
_OPTIONS: Any = {"nogil": True, "error_model": "numpy"}

# Without wrappers for Python and C: helpers compile in a third of the time.
inline = _njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)
bound = functools.cache


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile an entry point; see the module's text."""
    compiled = _cached(function)

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        mode = _default_mode()
        try:
            return compiled(*arguments)
        finally:
            _set_mode(mode)

    call.compiled = compiled  # type: ignore[attr-defined]
    return call


def named(stub: Callable[..., Any], table: dict[str, Any], field: str) -> None:
    """In compiled code, let ``stub(name, ...)`` be ``table[name].field(name, ...)``."""

    def resolve(name: types.Type, *_: types.Type) -> Any:
        if not isinstance(name, types.StringLiteral):
            return None  # Numba offers a name first as any string, then as this one
        return getattr(table[name.literal_value], field)

    # overload() compares parameter names with those of the implementation.
    resolve.__signature__ = inspect.signature(stub)  # type: ignore[attr-defined]
    overload(stub, jit_options=_OPTIONS)(resolve)


@functools.cache
def source_digest() -> str:
    """SHA-256 of all Python files of this package, names included."""
    digest = hashlib.sha256()
    folder = pathlib.Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def cached(jit: Callable[..., Any], function: Callable[..., Any], **options: Any) -> Any:
    """The function, compiled by one of Numba's decorators when it is first called, and cached on disk.

    The cached machine code is valid for this state of all kernel sources only: Numba compares a
    stamp of the function's own file, and no public setting widens it. Numba for the processor and
    numba-cuda keep it in the same place.
    """
    function.__qualname__ = _with_values(function)
    try:
        dispatcher = jit(cache=True, **options)(function)
    except RuntimeError as error:
        # Numba's answer where neither this folder nor the user's cache folder
        # can be written: then every process compiles for itself.
        if "no locator available" not in str(error):
            raise
        return jit(**options)(function)
    cache_file: Any = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if not hasattr(cache_file, "_source_stamp"):
        warnings.warn(
            f"this version of Numba's {type(dispatcher).__name__} keeps its cache in a way fastvec does not "
            "know: kernels are compiled anew in every process",
            RuntimeWarning,
            stacklevel=2,
        )
        return jit(**options)(function)
    cache_file._source_stamp = source_digest()
    return dispatcher


def _with_values(function: Callable[..., Any]) -> str:
    """The function's qualified name with the values that it closes over.

    Numba names cache files after it, and numbers the functions of one name by an index that
    is not locked: of two processes that compile two of a factory's functions at the same
    time, one could leave its code under the other's entry. So each has files of its own.
    """
    values = [cell.cell_contents for cell in function.__closure__ or ()]
    return "-".join([function.__qualname__, *map(str, values)])


def _cached(function: Callable[..., Any]) -> Any:
    # Python calls these, C does not.
    return cached(_njit, function, no_cfunc_wrapper=True, **_OPTIONS)


@_cached
def _default_mode():
    """Set rounding to nearest with subnormals kept; return the mode that was set."""
    mode = simd.read_mode()
    simd.write_mode(simd.default_mode())
    return mode


@_cached
def _set_mode(mode):
    simd.write_mode(mode)
