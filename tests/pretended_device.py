"""A device that numba-cuda is made to believe in: its memory is this computer's, its kernels do not run.

Launches are noted, so that the way from a search to the driver is tested against numba-cuda itself.
Use it in a process of its own: nothing is undone.
"""

import contextlib
import ctypes
import inspect
import re
from types import SimpleNamespace

import numpy as np


class Loaded(str):
    """A kernel on the device, by its mangled name."""

    handle = "handle"


def kernel_of(mangled):
    """module.function within ``kernels/cuda``."""
    parts, rest = [], mangled.removeprefix("_ZN")
    while len(parts) < 5:
        size = re.match(r"\d+", rest)[0]
        parts.append(rest[len(size) : len(size) + int(size)])
        rest = rest[len(size) + int(size) :]
    return ".".join(parts[3:])


def believe(major, minor, free=int(8e9)):
    """Let numba-cuda find a device of this compute capability; return the list of what it is handed.

    An entry is (kernel, grid, block, bytes of shared memory, values).
    """
    from cuda.bindings import driver as binding
    from numba.cuda.cudadrv import devices, driver

    def memalloc(size):
        buffer = np.zeros(size + 64, np.uint8)
        memory = driver.MemoryPointer(context, binding.CUdeviceptr(buffer.ctypes.data), size)
        memory.buffer = buffer
        return memory

    context = SimpleNamespace(
        device=SimpleNamespace(
            compute_capability=(major, minor),
            id=0,
            MULTIPROCESSOR_COUNT=132,
            MAX_SHARED_MEMORY_PER_BLOCK_OPTIN=227 << 10,
            MAX_SHARED_MEMORY_PER_MULTIPROCESSOR=228 << 10,
        ),
        create_module_image=lambda *_: SimpleNamespace(
            get_function=lambda name: SimpleNamespace(
                module=SimpleNamespace(initialized=True), kernel=Loaded(name)
            )
        ),
        memalloc=memalloc,
        get_memory_info=lambda: (free, free),
        create_stream=lambda: driver.Stream(binding.CUstream(1)),
        synchronize=lambda: None,
    )
    devices._runtime.get_or_create_context = lambda _: context
    devices._runtime.ensure_context = contextlib.nullcontext
    for name in ("cuMemcpyHtoD", "cuMemcpyHtoDAsync", "cuMemcpyDtoH", "cuMemcpyDtoHAsync", "cuMemcpyDtoD"):
        setattr(driver.driver, name, lambda to, at, size, *_: ctypes.memmove(int(to), int(at), size))
    driver.driver.cuStreamSynchronize = lambda _: None
    return _note_launches()


def _note_launches():
    import cuda.core
    from numba.cuda import dispatcher

    handed = []

    def launch(_stream, configuration, kernel, *values):
        plain = [getattr(value, "value", value) for value in values]
        handed.append(
            (kernel, configuration.grid, configuration.block, configuration.shmem_size, plain),
        )

    cuda.core.launch = dispatcher.launch = launch
    return handed


def react_to_launches(react):
    """Call ``react(name of the kernel, arguments by name)`` after each launch by fastvec."""
    from fastvec.kernels.cuda.launches import Kernel, Launch

    prepare = Kernel.prepare

    def prepare_and_react(self, grid, block, stream, shared, *arguments):
        launch = prepare(self, grid, block, stream, shared, *arguments)
        named = inspect.signature(self.py_func).bind(*arguments).arguments

        def begin():
            launch()
            react(self.py_func.__name__, named)

        return Launch(begin, arguments)

    Kernel.prepare = prepare_and_react
