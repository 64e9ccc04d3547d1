"""Whether there is a device to compute on, and what it is. Loads numba-cuda only if it is installed."""

import functools
import importlib.util
from typing import Any, NamedTuple

INSTALL = "pip install 'fastvec[cuda]'"
LEAST = (8, 0)
"""Compute capability of the first integer tensor cores with this shape of product."""


def installed() -> bool:
    """Whether numba-cuda is there; or the simulator, which Numba brings along."""
    return simulated() or importlib.util.find_spec("numba_cuda") is not None


def simulated() -> bool:
    """Whether Numba's CUDA simulator stands in for a device."""
    from numba.core import config

    settings: Any = config  # its variables are made when it is loaded
    return bool(settings.ENABLE_CUDASIM)


def why_not() -> str | None:
    """What is missing here to compute on a device, or None."""
    if not installed():
        return f"numba-cuda is not installed: {INSTALL}"
    if simulated():
        there = importlib.util.find_spec("greenlet") is not None
        return None if there else "Numba's CUDA simulator needs greenlet: pip install 'fastvec[test]'"
    return _missing()


@functools.cache
def _missing() -> str | None:
    from numba import cuda

    reason = cuda.cuda_error()
    if reason is not None:
        return f"the NVIDIA driver cannot be used: {' '.join(str(reason).split())}"
    if len(cuda.gpus) == 0:
        return "the NVIDIA driver finds no device"
    if not cuda.is_available():
        return f"numba-cuda finds no CUDA toolkit to compile with: {INSTALL} brings one"
    capability = tuple(cuda.get_current_device().compute_capability)
    if capability < LEAST:
        return (
            f"the device has compute capability {capability[0]}.{capability[1]}; it must be at least "
            f"{LEAST[0]}.{LEAST[1]}, which has the tensor cores that are used (Ampere or later)"
        )
    return None


def name() -> str:
    """The device's name."""
    if simulated():
        return "Numba's CUDA simulator"
    from numba import cuda

    found = cuda.get_current_device().name
    return found.decode() if isinstance(found, bytes) else str(found)


def processors() -> int:
    """Multiprocessors of the device."""
    if simulated():
        return 1
    from numba import cuda

    return int(cuda.get_current_device().MULTIPROCESSOR_COUNT)


class SharedMemory(NamedTuple):
    """Bytes of shared memory."""

    block: int
    """That a block may ask for."""
    processor: int
    """Of a multiprocessor."""


def shared_memory() -> SharedMemory:
    """What the device has."""
    if simulated():
        return SharedMemory(48 << 10, 48 << 10)
    from numba import cuda

    found = cuda.get_current_device()
    return SharedMemory(
        int(found.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN), int(found.MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)
    )


def free_bytes() -> float:
    """Memory of the device that is free."""
    from numba import cuda

    return float(cuda.current_context().get_memory_info()[0])


def is_array(value: Any) -> bool:
    """Whether this is one of Numba's arrays on a device."""
    return bool(getattr(value, "__cuda_ndarray__", False))


def of_interface(value: Any) -> Any:
    """What has ``__cuda_array_interface__`` as one of Numba's arrays, in place."""
    from numba import cuda

    return value if is_array(value) else cuda.as_cuda_array(value)


def copy_of(array: Any) -> Any:
    """A copy of an array on the device, there too."""
    from numba import cuda

    copy = cuda.device_array(array.shape, array.dtype)
    copy.copy_to_device(array)
    return copy
