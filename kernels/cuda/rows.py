"""Rows on the device: codes in fragment order, what was measured of them, and float32 if it fits.

Rows may come from this computer's memory or lie on the device already, where they are used
in place. Rows of this computer that do not fit beside their codes are sent, a block at a
time, whenever they are measured; their exact scores are then computed on the processor.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numba import cuda

from .. import encode as host
from . import device, terms
from .encode import encode, measure_prefix
from .launches import queued
from .layout import NONE, PANEL, ROWS, STEP, Closed, Encoded, Floats, Fragments, Measured, Span, Terms

_PASSING_BYTES = 1 << 28
"""The bytes of float32 rows that are sent at a time."""

_SPARE = 512 << 20
"""The bytes of the device's memory that are kept free for lists of candidates and for other programs."""

WARPS, BLOCKS = 8, 16
"""For encoding: the number of warps in a block, and of blocks on a multiprocessor."""

THREADS = 256
"""The number of threads in a block that makes terms."""


def measured(count: int) -> Measured:
    """Room for the measurements of ``count`` rows."""
    scale, error = (cuda.device_array(count, np.float32) for _ in range(2))
    return Measured(scale, error, cuda.device_array(count, np.float64))


def _power(longest: Any) -> float:
    """P of ``terms.py`` for the largest norm, which lies on the device."""
    return terms.power_for(float(longest.copy_to_host()[0]))


class NotFinite(ValueError):
    """A row holds NaN or inf; its number is the argument."""


class DeviceRows:
    """Float32 rows (n, width) of NumPy or of the device, their first ``dims`` dimensions encoded there."""

    def __init__(self, vectors: Any, dims: int) -> None:
        self.n, self.dims, self.source = len(vectors), dims, vectors
        # Rows of the device are used as they lie there; of other rows only ``dims`` columns are sent.
        self.stride = int(vectors.shape[1]) if device.is_array(vectors) else dims
        self.steps, self.panels = -(-self.dims // STEP), -(-self.n // PANEL)
        room = max(1, self.panels) * PANEL
        # For each row its codes, 16 bytes that are measured, and 9 of the terms of a metric.
        flat = _resident(vectors, dims, room * (self.steps * STEP + 16 + 9))
        self.vectors: Any = None if flat is None else Floats(flat, self.stride)
        """The float32 rows on the device, as ``Floats``, or None if they do not fit there."""
        self.codes = cuda.device_array(room * self.steps * STEP // 4, np.int32)
        self.fragments = Fragments(self.codes, self.steps, ROWS)
        self.idle: list[Any] = []
        """Workspaces of earlier searches."""
        self._terms: dict[tuple[str, int], Terms] = {}
        self._on_host: dict[int, host.Encoded] = {}
        self.nothing_closed = Closed(cuda.to_device(np.zeros(1, np.int32)), 0)
        self._known = {self.dims: self._encode(room)}

    def _encode(self, room: int) -> Encoded:
        """Write the codes of all rows; those from n to ``room`` are zero. Return their measurements."""
        fresh, longest, wrong = measured(room), _zero(), cuda.to_device(np.full(1, NONE, np.int32))
        with queued() as queue:
            for first, last, floats in self._passes():
                span = Span(first, room if last == self.n else last)
                blocks, threads = encoding_grid(span.last - first)
                queue(
                    encode,
                    blocks,
                    threads,
                    floats,
                    span,
                    self.n,
                    self.dims,
                    self._bytes,
                    fresh,
                    longest,
                    wrong,
                )
        bad = int(wrong.copy_to_host()[0])
        if bad != NONE:
            raise NotFinite(bad)
        return Encoded(fresh.scale, fresh.error, fresh.norm, fresh.norm, _power(longest))

    @property
    def _bytes(self) -> Fragments:
        """The codes for the kernels that write them."""
        return self.fragments._replace(codes=self.codes.view(np.int8))

    @property
    def nbytes(self) -> int:
        """Bytes that fastvec keeps on the device, those for the next searches included."""
        arrays = [self.codes]
        if self.vectors is not None and not device.is_array(self.source):
            arrays.append(self.vectors.values)
        for known in list(self._known.values()):
            arrays += [known.error, known.norm]
        arrays.append(self._known[self.dims].scale)
        for of_rows in list(self._terms.values()):
            arrays += of_rows
        return sum(int(array.nbytes) for array in [*arrays, *list(self.idle)])

    def encoded(self, dims: int) -> Encoded:
        """The measurements of the rows' first ``dims`` dimensions, which are made once and kept."""
        known = self._known.get(dims)
        if known is None:
            full, longest = self._known[self.dims], _zero()
            fresh = measured(len(full.norm))._replace(scale=full.scale)
            with queued() as queue:
                for first, last, floats in self._passes():
                    span, (blocks, threads) = Span(first, last), encoding_grid(last - first)
                    queue(
                        measure_prefix,
                        blocks,
                        threads,
                        floats,
                        span,
                        dims,
                        self._bytes,
                        full.norm,
                        fresh,
                        longest,
                    )
            known = Encoded(fresh.scale, fresh.error, fresh.norm, full.norm, _power(longest))
        # If two threads measure it at a time, they get the same bits.
        return self._known.setdefault(dims, known)

    def terms(self, metric: str, dims: int) -> Terms:
        """The terms of the rows' first ``dims`` dimensions, which are made once and kept."""
        known = self._terms.get((metric, dims))
        if known is None:
            rows = self.panels * PANEL
            scale, margin = (cuda.device_array(rows, np.float32) for _ in range(2))
            known = Terms(scale, margin, cuda.device_array(2 * self.panels, np.float32))
            with queued() as queue:
                kernel, blocks = terms.row_terms(metric), -(-self.panels // THREADS)
                queue(kernel, blocks, THREADS, self.n, self.panels, self.encoded(dims), known)
        return self._terms.setdefault((metric, dims), known)

    def on_host(self, dims: int) -> host.Encoded:
        """The measurements in this computer's memory, as the processor's record without codes; kept."""
        known = self._on_host.get(dims)
        if known is None:
            arrays = self.encoded(dims)[:4]
            scale, error, norm, full_norm = (array.copy_to_host()[: self.n] for array in arrays)
            known = host.Encoded(np.empty((0, 1), np.uint8), scale, error, norm)
            if dims < self.dims:
                known = known._replace(whole=full_norm)
        return self._on_host.setdefault(dims, known)

    def _passes(self) -> Iterator[tuple[int, int, Floats]]:
        """All rows as (first, last, their float32 on the device), at once or in blocks."""
        if self.vectors is not None:
            yield 0, self.n, self.vectors
            return
        height = max(1, _PASSING_BYTES // (4 * self.dims) // PANEL) * PANEL
        staging = cuda.device_array(min(height, self.n) * self.dims, np.float32)
        for first in range(0, self.n, height):
            last = min(first + height, self.n)
            _send(self.source[first:last, : self.dims], staging, 0)
            yield first, last, Floats(staging, self.dims)


def encoding_grid(rows: int) -> tuple[int, int]:
    """The blocks, and the threads of a block, that encode ``rows`` rows."""
    return max(1, min(-(-rows // WARPS), BLOCKS * device.processors())), 32 * WARPS


def _zero() -> Any:
    return cuda.to_device(np.zeros(1))


def _send(rows: np.ndarray, target: Any, at: int) -> None:
    """Copy rows of this computer to place ``at`` of a flat array."""
    flat = np.ascontiguousarray(rows).reshape(-1)
    target[at : at + len(flat)].copy_to_device(flat)


def _resident(vectors: Any, dims: int, codes_bytes: int) -> Any:
    """The rows, flat, on the device; None if they do not fit beside their codes, which must fit."""
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
