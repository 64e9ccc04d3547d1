"""A stream of the device, with the queued kernels and copies, which are kept until they are executed.

The launches of a search can be recorded and queued again by the next search of its kind, which takes
a fraction of the time of preparing them again.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numba import cuda

from .launches import Launch


class Stream:
    """A queue of the device. One thread uses it at a time."""

    def __init__(self) -> None:
        self._stream = cuda.stream()
        self._kept: list[Any] = []
        """What the device may still be reading or writing: launches, and arrays that are being copied."""
        self._record: list[Launch] | None = None

    def queue(self, kernel: Any, grid: Any, block: int, *arguments: Any, shared: int = 0) -> None:
        """Launch a kernel: ``grid`` blocks of ``block`` threads and ``shared`` bytes of shared memory."""
        launch = kernel.prepare(grid, block, self._stream, shared, *arguments)
        if self._record is not None:
            self._record.append(launch)
        self._kept.append(launch)
        launch()

    def recorded(self, *steps: Callable[[], None]) -> list[Launch]:
        """Run the steps, which queue kernels; return their launches."""
        launches: list[Launch] = []
        self._record = launches
        try:
            for step in steps:
                step()
        finally:
            self._record = None
        return launches

    def replay(self, launches: Iterable[Launch]) -> None:
        """Queue recorded launches."""
        for launch in launches:
            self._kept.append(launch)
            launch()

    def send(self, array: np.ndarray) -> Any:
        """A copy of an array on the device."""
        self._kept.append(array)
        return cuda.to_device(array, stream=self._stream)

    def copy(self, array: np.ndarray, target: Any) -> None:
        """Copy an array to an array on the device."""
        self._kept.append(array)
        target.copy_to_device(array, stream=self._stream)

    def fetch(self, array: Any) -> np.ndarray:
        """A copy of an array of the device in this computer's memory, after all that was queued before."""
        copy: np.ndarray = array.copy_to_host(stream=self._stream)
        self.wait()
        return copy

    def wait(self) -> None:
        """Wait until the device has executed all that is queued."""
        self._stream.synchronize()
        self._kept.clear()
