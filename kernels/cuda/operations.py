"""The operations that kernels are made of, by name, from the module that provides them here.

    from .operations import inline, kernel, multiply

On a device that is ``intrinsics.py``. Numba's CUDA simulator (``NUMBA_ENABLE_CUDASIM=1``) has no
instructions; a process that uses it registers other operations (``device.register``) before it
imports a kernel, as fastvec's tests do (``tests/cuda_simulator.py``).
"""

from collections.abc import Mapping
from typing import Any

from . import device


def provided() -> Mapping[str, Any]:
    """All operations by name.

    Raises:
        RuntimeError: if Numba simulates a device and no operations are registered for it.
    """
    stand_in = device.stand_in()
    if stand_in is not None:
        return stand_in.operations
    if device.simulated():
        raise RuntimeError(device.why_not())
    from . import intrinsics

    return intrinsics.OPERATIONS


def __getattr__(name: str) -> Any:
    if not name.startswith("__"):  # Python asks a module for some of those when it imports from it
        operations = provided()
        if name in operations:
            return operations[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
