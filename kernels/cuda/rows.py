"""Rows on the device: codes in fragment order, what was measured of them, and float32 if it fits.

Rows may come from this computer's memory or lie on the device already, where they are used
in place. Those of this computer that do not fit beside their codes pass through, a block at
a time, whenever something is measured of them; what they score exactly is then computed here.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from .. import encode as host
from . import device, terms
from .encode import encode, measure_prefix
from .intrinsics import SIMULATED, queued
from .layout import NONE, PANEL, ROWS, STEP

_PASSING_BYTES = 1 << 28
"""Float32 rows that pass through at a time."""

_SPARE = 512 << 20
"""Device memory left for lists of candidates and for other users."""

_WARPS, _BLOCKS = (2, 2) if SIMULATED else (8, 16)
"""Of a block that encodes, and of a multiprocessor."""


class Measured(NamedTuple):
    """Scale, error and norm of rows on the device; ``whole`` is the norm that the scale refers to."""

    scale: Any
    error: Any
    norm: Any
    whole: Any
    power: float
    """P of ``terms.py``."""

    @classmethod
    def room(cls, count: int) -> "Measured":
        """Room for some rows."""
        scale, error = (cuda.device_array(count, np.float32) for _ in range(2))
        norm = cuda.device_array(count, np.float64)
        return cls(scale, error, norm, norm, 1.0)


class Terms(NamedTuple):
    """What the scan compares, of one metric and so many dimensions: see ``layout.py``."""

    scale: Any
    margin: Any
    reach: Any
    measured: Measured


class NotFinite(ValueError):
    """A row holds NaN or inf; its number is the argument."""


class DeviceRows:
    """Float32 rows (n, width) of NumPy or of the device, their first ``dims`` dimensions encoded there."""

    def __init__(self, vectors: Any, dims: int) -> None:
        self.n, self.dims, self.source = len(vectors), dims, vectors
        # Rows of the device are used as they lie there; of others only what is asked for is sent.
        self.stride = int(vectors.shape[1]) if device.is_array(vectors) else dims
        self.steps, self.panels = -(-self.dims // STEP), -(-self.n // PANEL)
        room = max(1, self.panels) * PANEL
        # A row's codes, what is measured of it, and its terms of a metric.
        self.vectors = _resident(vectors, dims, room * (self.steps * STEP + 16 + 9))
        self.codes = cuda.device_array(room * self.steps * STEP // 4, np.int32)
        self.idle: list[Any] = []
        """Workspaces of earlier searches."""
        self._terms: dict[tuple[str, int], Terms] = {}
        self._encoded: dict[int, host.Encoded] = {}
        self.nothing_closed = cuda.to_device(np.zeros(1, np.int32))
        own, longest, wrong = Measured.room(room), _zero(), cuda.to_device(np.full(1, NONE, np.int32))
        places, shape = self.codes.view(np.int8), (self.n, self.dims, self.steps, ROWS)
        with queued() as queue:
            for first, last, source in self._passes():
                end = room if last == self.n else last
                some = (source, self.stride, first, end)
                queue(encode, *encoding_grid(end - first), *some, *shape, places, *own[:3], longest, wrong, 0)
        bad = int(wrong.copy_to_host()[0])
        if bad != NONE:
            raise NotFinite(bad)
        own = own._replace(power=terms.power_for(float(longest.copy_to_host()[0])))
        self._measured = {self.dims: own}

    @property
    def nbytes(self) -> int:
        """Bytes on the device that are fastvec's, what is kept for the next searches included."""
        arrays = [self.codes]
        if self.vectors is not None and not device.is_array(self.source):
            arrays.append(self.vectors)
        for measured in list(self._measured.values()):
            arrays += [measured.error, measured.norm]
        arrays.append(self._measured[self.dims].scale)
        for own in list(self._terms.values()):
            arrays += [own.scale, own.margin, own.reach]
        return sum(int(array.nbytes) for array in [*arrays, *list(self.idle)])

    def measured(self, dims: int) -> Measured:
        """What is known of the rows' first ``dims`` dimensions; measured once."""
        known = self._measured.get(dims)
        if known is None:
            whole, longest = self._measured[self.dims], _zero()
            known = Measured.room(len(whole.norm))._replace(scale=whole.scale, whole=whole.norm)
            places, norms = self.codes.view(np.int8), (whole.scale, whole.norm, known.error, known.norm)
            with queued() as queue:
                for first, last, source in self._passes():
                    shape = (self.stride, first, last, dims, self.steps, ROWS)
                    grid = encoding_grid(last - first)
                    queue(measure_prefix, *grid, source, *shape, places, *norms, longest)
            known = known._replace(power=terms.power_for(float(longest.copy_to_host()[0])))
        # Two threads may both measure it: the same bits.
        return self._measured.setdefault(dims, known)

    def terms(self, metric: str, dims: int) -> Terms:
        """Terms of the rows, their first ``dims`` dimensions; kept."""
        known = self._terms.get((metric, dims))
        if known is None:
            measured, rows = self.measured(dims), self.panels * PANEL
            scale, margin = (cuda.device_array(rows, np.float32) for _ in range(2))
            known = Terms(scale, margin, cuda.device_array(2 * self.panels, np.float32), measured)
            threads = 64 if SIMULATED else 256
            grid = (-(-self.panels // threads), threads)
            with queued() as queue:
                own = (self.n, self.panels, measured.power, *measured[:4])
                queue(terms.row_terms(metric), *grid, *own, *known[:3])
        return self._terms.setdefault((metric, dims), known)

    def encoded(self, dims: int) -> host.Encoded:
        """What was measured, in this computer's memory, as the processor knows it, without codes; kept."""
        known = self._encoded.get(dims)
        if known is None:
            own = self.measured(dims)
            scale, error, norm, whole = (array.copy_to_host()[: self.n] for array in own[:4])
            known = host.Encoded(np.empty((0, 1), np.uint8), scale, error, norm)
            if dims < self.dims:
                known = known._replace(whole=whole)
        return self._encoded.setdefault(dims, known)

    def _passes(self) -> Iterator[tuple[int, int, Any]]:
        """All rows as (first, last, their float32 on the device), at once or in blocks."""
        if self.vectors is not None:
            yield 0, self.n, self.vectors
            return
        height = max(1, _PASSING_BYTES // (4 * self.dims) // PANEL) * PANEL
        staging = cuda.device_array(min(height, self.n) * self.dims, np.float32)
        for first in range(0, self.n, height):
            last = min(first + height, self.n)
            _send(self.source[first:last, : self.dims], staging, 0)
            yield first, last, staging


def encoding_grid(rows: int) -> tuple[int, int]:
    """Blocks and threads of a block that encode so many rows."""
    return max(1, min(-(-rows // _WARPS), _BLOCKS * device.processors())), 32 * _WARPS


def _zero() -> Any:
    return cuda.to_device(np.zeros(1))


def _send(rows: np.ndarray, target: Any, at: int) -> None:
    """Copy rows of this computer to a place of a flat array."""
    flat = np.ascontiguousarray(rows).reshape(-1)
    target[at : at + len(flat)].copy_to_device(flat)


def _resident(vectors: Any, dims: int, codes_bytes: int) -> Any:
    """The rows flat on the device, or None if they do not fit there; their codes must."""
    n, width = vectors.shape
    if device.is_array(vectors):
        _refuse_what_does_not_fit(n, dims, codes_bytes)
        return vectors.reshape(n * width)
    free = device.free_bytes() - codes_bytes - _SPARE
    if 4 * n * dims > free:
        _refuse_what_does_not_fit(n, dims, codes_bytes + min(4 * n * dims, _PASSING_BYTES))
        return None
    flat = cuda.device_array(max(1, n * dims), np.float32)
    height = max(1, _PASSING_BYTES // (4 * dims))
    for first in range(0, n, height):
        _send(vectors[first : first + height, :dims], flat, first * dims)
    return flat


def _refuse_what_does_not_fit(n: int, dims: int, needed: int) -> None:
    free = device.free_bytes()
    if needed + _SPARE > free:
        raise MemoryError(
            f"the codes of {n:,} rows of {dims} dimensions need {(needed + _SPARE) / 2**30:.1f} GiB on the "
            f"device, lists of candidates included, and {free / 2**30:.1f} GiB are free; search a part of "
            "the rows, or use device='cpu'"
        )
