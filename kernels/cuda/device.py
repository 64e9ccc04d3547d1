"""Whether there is a device to compute on, and what it is. Loads numba-cuda only if it is installed."""

import functools
import importlib.util
from collections.abc import Mapping
from typing import Any, NamedTuple

INSTALL = "pip install 'fastvec[cuda]'"
LEAST = (8, 0)
"""The least compute capability whose tensor cores form the products of the scan."""


class SharedMemory(NamedTuple):
    """The size of shared memory, in bytes."""

    block: int
    """The most that a block may ask for."""
    processor: int
    """The size of a multiprocessor's."""


class StandIn(NamedTuple):
    """A stand-in that computes in place of a device."""

    name: str
    processors: int
    shared_memory: SharedMemory
    operations: Mapping[str, Any]
    """The operations that kernels are made of, by the names of ``intrinsics.OPERATIONS``."""


_stand_in: StandIn | None = None


def register(stand_in: StandIn) -> None:
    """Let a stand-in do the work of a device. Kernels must not be imported yet.

    Raises:
        RuntimeError: if Numba does not simulate a device, or if there is a stand-in already.
    """
    global _stand_in
    if not simulated():
        raise RuntimeError("only Numba's CUDA simulator needs a stand-in: set NUMBA_ENABLE_CUDASIM=1")
    if _stand_in is not None:
        raise RuntimeError(f"{_stand_in.name} is registered already")
    _stand_in = stand_in


def stand_in() -> StandIn | None:
    """The stand-in that is registered, or None."""
    return _stand_in


def installed() -> bool:
    """Whether numba-cuda is installed, or Numba's own simulator is in use."""
    return simulated() or importlib.util.find_spec("numba_cuda") is not None


def simulated() -> bool:
    """Whether Numba's CUDA simulator takes the place of a device."""
    from numba.core import config

    settings: Any = config  # its variables are made when it is loaded
    return bool(settings.ENABLE_CUDASIM)


def why_not() -> str | None:
    """What is missing here for computing on a device, or None."""
    if not installed():
        return f"numba-cuda is not installed: {INSTALL}"
    if simulated():
        return None if _stand_in is not None else _NO_OPERATIONS
    return _missing()


_NO_OPERATIONS = (
    "NUMBA_ENABLE_CUDASIM is set, so Numba simulates a device, which has no tensor cores; the operations "
    "that stand in for them are part of fastvec's tests (tests/cuda_simulator.py): unset "
    "NUMBA_ENABLE_CUDASIM to use a device"
)


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
    if _stand_in is not None:
        return _stand_in.name
    from numba import cuda

    name = cuda.get_current_device().name
    return name.decode() if isinstance(name, bytes) else str(name)


def processors() -> int:
    """The number of the device's multiprocessors."""
    if _stand_in is not None:
        return _stand_in.processors
    from numba import cuda

    return int(cuda.get_current_device().MULTIPROCESSOR_COUNT)


def shared_memory() -> SharedMemory:
    """The sizes of the device's shared memory."""
    if _stand_in is not None:
        return _stand_in.shared_memory
    from numba import cuda

    current = cuda.get_current_device()
    return SharedMemory(
        int(current.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN), int(current.MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)
    )


def free_bytes() -> float:
    """Bytes of the device's memory that are free."""
    from numba import cuda

    return float(cuda.current_context().get_memory_info()[0])


def is_array(value: Any) -> bool:
    """Whether this is one of Numba's arrays on a device."""
    return bool(getattr(value, "__cuda_ndarray__", False))


def of_interface(value: Any) -> Any:
    """Numba's array of the same memory as a value that has ``__cuda_array_interface__``."""
    from numba import cuda

    return value if is_array(value) else cuda.as_cuda_array(value)


def copy_of(array: Any) -> Any:
    """A copy, on the device, of an array that lies there."""
    from numba import cuda

    copy = cuda.device_array(array.shape, array.dtype)
    copy.copy_to_device(array)
    return copy
