"""How kernels are compiled, cached on disk, and specialized on names, as that of a metric.

Four ways in:

``kernel``
    An entry point, called from Python: releases the GIL, is cached on disk, and
    runs in the default floating-point mode whatever mode its caller is in.
``inline``
    A helper, called from other compiled functions only.
``addressed``
    A function that entry points call by its address, which they get as a number: it is compiled by itself,
    and they are compiled once for all such functions.
``specialized``
    A factory of kernels closed over names (strings). A compiled function that
    closes over another function, or takes one as an argument, misses Numba's disk
    cache in every process; one that closes over a *name* hits. The name becomes
    code where it is used: ``named(stub, table, field)`` makes a call
    ``stub(name, ...)`` mean ``table[name].field(name, ...)``.

Numba keys its disk cache on the file of the function alone, so an edited or
upgraded micro-kernel would run stale. Every kernel's cache is therefore stamped
with a digest of all files of this package (see ``cached``, which serves the device's
kernels too). And every file of it is sealed with a digest of that stamp and of its content. A file that
is damaged is not read, and neither is one that other sources made, whose records this version may not
have: it counts as missing, so the function is compiled anew and the file replaced.

Numba and LLVM must not be left in the middle: an exception of a signal's handler
(Ctrl-C) may be lost in a callback, or leave a function half known. So kernels are
loaded and compiled in threads of their own, while the caller waits, and only the wait is
interrupted.
"""

import contextlib
import functools
import hashlib
import importlib.resources
import inspect
import io
import logging
import pathlib
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.resources.abc import Traversable
from typing import Any

import numpy as np
from llvmlite.binding import ffi
from numba import njit, typeof, types
from numba.core import event
from numba.core.compiler_lock import global_compiler_lock
from numba.core.runtime.nrt import rtsys
from numba.extending import overload

from . import float_mode, reports, simd, surroundings, threads
from .emit import operation

surroundings.check()

_log = logging.getLogger("fastvec")

_njit: Any = njit  # its published signature leaves out options that helpers need
_OPTIONS: Any = {"nogil": True, "error_model": "numpy"}

# Without wrappers for Python and C: helpers compile in a third of the time.
inline = _njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)
specialized = functools.cache


@operation(types.void)
def stay_called(builder: Any) -> None:
    """Keep the function in which this stands a function: it never becomes a part of its callers' loops.

    What is done once in thousands of rounds would take registers from the rest of the loop.
    """
    builder.function.attributes.add("noinline")


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile an entry point; see the module's text."""
    compiled = _cached(function)
    loaded = False

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        nonlocal loaded
        if not loaded:  # there is one version of each kernel
            _load(compiled, arguments)
            loaded = True
        for mode in _default_modes:  # until the return
            try:
                return compiled(*arguments)
            finally:
                _set_mode(mode)
        raise AssertionError("the modes do not end")

    call.compiled = compiled  # type: ignore[attr-defined]
    return call


def _load(compiled: Any, arguments: tuple[Any, ...]) -> None:
    """Load or compile what a call with these arguments runs."""
    kinds = tuple(map(typeof, arguments))
    _load_modes()
    start = time.perf_counter()
    _apart(lambda: compiled.compile(kinds))
    if _log.isEnabledFor(logging.DEBUG):
        how = "loaded" if sum(compiled.stats.cache_hits.values()) else "compiled"
        function = compiled.py_func
        name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"
        _log.debug("%s the kernel %s: %.3f s", how, name, time.perf_counter() - start)


def addressed(function: Callable[..., Any]) -> Any:
    """Compile a function that kernels call by its address (``emit.function_at``), and cache it on disk."""
    return _cached(function, no_cpython_wrapper=True)


def address_of(function: Any, *arguments: Any) -> int:
    """Where the code of an ``addressed`` function of such arguments is."""
    _load(function, arguments)
    compiled = function.overloads[tuple(map(typeof, arguments))]
    at: int = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    return at


@functools.cache
def _load_modes() -> None:
    _apart(lambda: _set_mode(_default_mode()))


def _apart(work: Callable[[], Any]) -> None:
    """Do work that must not be left in its middle, in another thread; see the module's text."""
    failures: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)
        finally:
            done.set()

    try:
        if threads.may_start():
            threading.Thread(target=run, name="fastvec-compile").start()
        else:
            run()
    except RuntimeError:  # no thread can be had, as when the process ends
        run()
    while not done.wait(_WAIT_S):
        threads.check()
        _compiling.wait()
    if failures:
        raise failures[0]


_WAIT_S, _LONG_WAITS = 0.1, 30
"""A process that waits for so long in all while kernels are compiled says why, once."""


class _Compiling(event.Listener):
    """Tells whoever asks (``reports``) of kernels that Numba compiles, as the cache does not have them.

    If nobody asks, it tells the log of the process.
    """

    def __init__(self) -> None:
        self._waits: int | None = None  # until something is compiled

    def on_start(self, started: Any) -> None:
        kernel = started.data["dispatcher"]
        if kernel.py_func.__module__.startswith(f"{__package__}."):
            if reports.compiling is not None:
                reports.compiling(kernel.stats.cache_path is not None)
            elif self._waits is None:
                self._waits = 0

    def wait(self) -> None:
        """Count that a call has waited for its kernel."""
        if self._waits is not None:
            self._waits += 1
            if self._waits == _LONG_WAITS:
                _log.warning(
                    "fastvec compiles code for this processor; later processes load it "
                    "('fastvec warmup' does it ahead)"
                )

    def on_end(self, ended: Any) -> None:
        pass


_compiling = _Compiling()
event.register("numba:compile", _compiling)


def named(stub: Callable[..., Any], table: dict[str, Any], field: str) -> None:
    """In compiled code, let ``stub(name, ...)`` be ``table[name].field(name, ...)``.

    Raises:
        TypeError: if a function of the table has other parameters than the stub, in this order.
    """
    expected = list(inspect.signature(stub).parameters)
    for name, record in table.items():
        names = list(inspect.signature(getattr(record, field)).parameters)
        if names != expected:
            raise TypeError(
                f"{field} of {name!r} has the parameters {', '.join(names)}; "
                f"they must be {', '.join(expected)}"
            )

    def resolve(name: types.Type, *_: types.Type) -> Any:
        if not isinstance(name, types.StringLiteral):
            return None  # Numba offers a name first as any string, then as this one
        return getattr(table[name.literal_value], field)

    # overload() compares parameter names with those of the implementation.
    resolve.__signature__ = inspect.signature(stub)  # type: ignore[attr-defined]
    overload(stub, jit_options=_OPTIONS)(resolve)


def on_vectors(function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: in compiled code, let ``function`` of vectors be this one."""

    def decorate(of_vectors: Callable[..., Any]) -> Callable[..., Any]:
        def resolve(first: types.Type, *_: types.Type) -> Any:
            return of_vectors if isinstance(first, simd.Vector) else None

        resolve.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
        overload(function, jit_options=_OPTIONS)(resolve)
        return of_vectors

    return decorate


@functools.cache
def source_digest() -> str | None:
    """SHA-256 of all Python files of this package, names included, and of settings that shape compiled code.

    None if the package has no sources (``.pyc`` files alone): then nothing tells its versions apart.
    """
    folder: Traversable = pathlib.Path(__file__).parent
    if not folder.is_dir():  # in a zip file
        folder = importlib.resources.files(__package__)
    sources = sorted(_sources(folder, ""))
    if not sources:
        return None
    digest = hashlib.sha256(surroundings.shape().encode())
    for name, data in sources:
        digest.update(name.encode())
        digest.update(data)
    return digest.hexdigest()


def _sources(folder: "Traversable", above: str) -> Iterator[tuple[str, bytes]]:
    """Name within the package and bytes of each Python file."""
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _sources(entry, f"{above}{entry.name}/")
        elif entry.name.endswith(".py"):
            yield above + entry.name, entry.read_bytes()


def cached(jit: Callable[..., Any], function: Callable[..., Any], **options: Any) -> Any:
    """The function, compiled by one of Numba's decorators when it is first called, and cached on disk.

    The cached machine code is valid for this state of all kernel sources only: Numba compares a
    stamp of the function's own file, and no public setting widens it. Numba for the processor and
    numba-cuda keep it in the same place.
    """
    if source_digest() is None:
        _warn_once("fastvec has no source files here by which to tell its versions apart")
        return jit(**options)(function)
    function.__qualname__ = _with_values(function)
    try:
        dispatcher = jit(cache=True, **options)(function)
    except RuntimeError as error:
        # Numba's answer where neither this folder nor the user's cache folder
        # can be written: then every process compiles for itself.
        if "no locator available" not in str(error):
            raise
        _log_once(
            "compiled code cannot be kept: neither the package's folder nor the user's cache folder can be "
            "written, so every process compiles anew; set NUMBA_CACHE_DIR to a folder that can be written"
        )
        return jit(**options)(function)
    cache: Any = getattr(dispatcher, "_cache", None)
    file: Any = getattr(cache, "_cache_file", None)
    known = ("_source_stamp", "_index_path", "_data_path", "_load_index", "_load_data", "_open_for_write")
    if not all(hasattr(file, name) for name in known):
        warnings.warn(
            f"this version of Numba's {type(dispatcher).__name__} keeps its cache in a way fastvec does not "
            "know: kernels are compiled anew in every process",
            RuntimeWarning,
            stacklevel=2,
        )
        return jit(**options)(function)
    file._source_stamp = source_digest()
    kind: Any = type(file)
    file.__class__ = _sealed(kind)
    save = cache.save_overload

    def save_overload(*compiled: Any) -> None:
        try:
            save(*compiled)
        except OSError as error:  # named without its file, so that one warning stands for all kernels
            warnings.warn(
                f"compiled code cannot be kept ({error.strerror or error}): kernels are compiled anew in "
                "every process; make room, or set NUMBA_CACHE_DIR to a folder that can be written",
                RuntimeWarning,
                stacklevel=2,
            )

    cache.save_overload = save_overload
    return dispatcher


@functools.cache
def _log_once(problem: str) -> None:
    _log.info(problem)


@functools.cache
def _warn_once(problem: str) -> None:
    warnings.warn(f"{problem}: kernels are compiled anew in every process", RuntimeWarning, stacklevel=4)


@functools.cache
def _sealed(kind: Any) -> Any:
    """Numba's class of the files of one function's compiled code, with a seal at the end of each file.

    Pickles do not mind what follows them.
    """

    class Sealed(kind):  # type: ignore[misc]
        @contextlib.contextmanager
        def _open_for_write(self, path: str) -> Iterator[io.BytesIO]:
            data = io.BytesIO()
            yield data
            with super()._open_for_write(path) as file:
                file.write(data.getvalue())
                file.write(_seal(data.getbuffer()))

        def _load_index(self) -> Any:
            return super()._load_index() if _intact(self._index_path) else {}

        def _load_data(self, name: str) -> Any:
            path = self._data_path(name)
            if not _intact(path):
                raise FileNotFoundError(path)  # so Numba writes the file anew
            return super()._load_data(name)

    return Sealed


_SEAL_BYTES = 32


def _seal(data: memoryview) -> bytes:
    digest = hashlib.sha256(str(source_digest()).encode())
    digest.update(data)
    return digest.digest()


def _intact(path: str) -> bool:
    """Whether a file exists, can be read, and ends in the seal of what is before that."""
    try:
        data = memoryview(pathlib.Path(path).read_bytes())
    except OSError:
        return False
    return len(data) >= _SEAL_BYTES and _seal(data[:-_SEAL_BYTES]) == data[-_SEAL_BYTES:]


def _with_values(function: Callable[..., Any]) -> str:
    """The function's qualified name with the values that it closes over.

    Numba names cache files after it, and numbers the functions of one name by an index that
    is not locked: of two processes that compile two of a factory's functions at the same
    time, one could leave its code under the other's entry. So each has files of its own.
    """
    values = [cell.cell_contents for cell in function.__closure__ or ()]
    return "-".join([function.__qualname__, *map(str, values)])


def _cached(function: Callable[..., Any], **options: Any) -> Any:
    # Python calls these, C does not.
    dispatcher = cached(_njit, function, no_cfunc_wrapper=True, **{**_OPTIONS, **options})
    cache: Any = getattr(dispatcher, "_cache", None)
    if all(hasattr(cache, name) for name in ("_load_overload", "_guard_against_spurious_io_errors")):
        cache.load_overload = functools.partial(_load_overload, cache)
    return dispatcher


def _load_overload(cache: Any, signature: Any, context: Any) -> Any:
    """Load a function from Numba's disk cache without what only compiling needs.

    Numba's own method first imports and registers all that can be compiled, SciPy's linear algebra
    included, which takes longer than everything else. Where a function is compiled, Numba does that again.
    """
    rtsys.initialize(context)
    with cache._guard_against_spurious_io_errors():
        return cache._load_overload(signature, context)


def _with_gil(function: Callable[..., Any]) -> Any:
    # So short a call is over before a release of the GIL is; with many callers, each is a wait for it.
    return _cached(function, nogil=False)


@_with_gil
def _default_mode():
    """Set rounding to nearest with subnormals kept; return the mode that was set."""
    mode = float_mode.read_mode()
    float_mode.write_mode(float_mode.default_mode())
    return mode


@_with_gil
def _set_mode(mode):
    float_mode.write_mode(mode)


_default_modes: Any = iter(_default_mode, -1)  # which is no mode
"""Each step calls ``_default_mode``.

The handler of a signal may run after a call, and its exception would lose the mode that is to be
restored; but none runs between a step of a loop and the loop's body.
"""


class default_mode:
    """Let NumPy compute in the floating-point mode that kernels run in, without its warnings and errors.

    For the caller's numbers that are computed outside of kernels: a caller may flush subnormals
    to zero, and may let NumPy raise where a value leaves the range of its type.
    """

    def __enter__(self) -> None:
        _load_modes()
        self._silence = np.errstate(all="ignore")
        self._silence.__enter__()
        for self._mode in _default_modes:
            return

    def __exit__(self, *exception: object) -> None:
        _set_mode(self._mode)
        self._silence.__exit__(None, None, None)


LOCKS: tuple[Any, ...] = (global_compiler_lock, getattr(ffi.lib, "_lock", contextlib.nullcontext()))
"""Locks that a thread holds while it compiles, or frees what LLVM holds: a fork has to wait for them."""
