"""Encoded rows on the device: codes in fragment order, and terms for each width that is searched."""

from typing import Any, NamedTuple

import numpy as np
from numba import cuda, types

from ..encode import Encoded
from ..scan import rows_of
from . import device, terms
from .intrinsics import kernel, launch
from .layout import PANEL, ROWS, STEP

_BLOCK = 1 << 16
"""Rows that are sent at a time."""

_SIGN = np.int32(-0x7F7F7F80)  # the top bit of each byte: unsigned codes to signed

_SPARE = 512 << 20
"""Device memory left for lists of candidates and for other users."""


_MOST_IDLE = 2


class Terms(NamedTuple):
    """``terms.RowTerms`` on the device."""

    scale: Any
    margin: Any
    reach: Any
    power: float


class Lists:
    """A stream; room for the lists of candidates of a search, and for all of them in a row."""

    def __init__(self, size: int, all_size: int) -> None:
        self.rows, self.scores = (cuda.device_array(size, np.int32) for _ in range(2))
        self.lows = cuda.device_array(size, np.float32)
        self.stream = cuda.stream()
        self.all = [cuda.device_array(all_size, np.int32) for _ in range(3)]


class DeviceRows:
    """n encoded rows on the device."""

    def __init__(self, encoded: Encoded, n: int) -> None:
        self.n, width = n, encoded.codes.shape[1]
        self.steps = width // STEP
        self.panels = -(-n // PANEL)
        _refuse_what_does_not_fit(n, width)
        self.codes = cuda.device_array(max(1, self.panels) * PANEL * width // 4, np.int32)
        self._terms: dict[tuple[str, int], Terms] = {}
        self._idle: list[Lists] = []
        self.nothing_closed = cuda.to_device(np.zeros(1, np.int32))
        step = min(_BLOCK, max(PANEL, self.panels * PANEL))
        staging = cuda.device_array(step * width // 4, np.int32)
        for first in range(0, self.panels * PANEL, step):
            # Behind the last row are rows to spare, of no meaning: their terms close them.
            block = encoded.codes[first : min(first + step, self.panels * PANEL)]
            words = np.ascontiguousarray(block).reshape(-1).view(np.int32)
            staging[: len(words)].copy_to_device(words)
            threads = 64 if device.simulated() else 256
            launch(arrange, -(-(len(words) // 4) // threads), threads)(
                staging, width // 4, len(words) // 4, self.codes, first // ROWS
            )
        cuda.synchronize()

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        known = list(self._terms.values())
        return int(self.codes.nbytes + sum(t.scale.nbytes + t.margin.nbytes + t.reach.nbytes for t in known))

    def terms(self, metric: str, dims: int, encoded: Encoded, num_threads: int) -> Terms:
        """Terms of the rows seen as ``encoded``, their first ``dims`` dimensions; kept."""
        known = self._terms.get((metric, dims))
        if known is None:
            host = terms.row_terms(metric, rows_of(encoded, 0), self.n, num_threads)
            sent = [cuda.to_device(array) for array in (host.scale, host.margin, host.reach)]
            known = Terms(sent[0], sent[1], sent[2], host.power)
        # Two threads may both make them: they are the same.
        return self._terms.setdefault((metric, dims), known)

    def borrow(self, size: int, all_size: int) -> Lists:
        """Lists that an earlier search gave back, or new ones: allocating takes as long as a short scan."""
        while self._idle:
            try:
                lists = self._idle.pop()
            except IndexError:  # another thread took it
                break
            if len(lists.rows) >= size and len(lists.all[0]) >= all_size:
                return lists
        return Lists(size, all_size)

    def give_back(self, lists: Lists) -> None:
        """Keep lists for the next search; two threads may each have theirs."""
        if len(self._idle) < _MOST_IDLE:
            self._idle.append(lists)


def _refuse_what_does_not_fit(n: int, width: int) -> None:
    needed, free = n * (width + 9) + _SPARE, device.free_bytes()
    if needed > free:
        raise MemoryError(
            f"{n:,} rows of {width} codes need {needed / 2**30:.1f} GiB on the device, lists of candidates "
            f"included, and {free / 2**30:.1f} GiB are free; search a part of the rows, or use device='cpu'"
        )


@kernel
def arrange(source, stride, pieces, codes, first_tile):
    """Rows of unsigned codes (``stride`` words each) to signed fragments, a thread a lane's four words."""
    piece = types.int64(cuda.grid(1))
    if piece < pieces:
        lane, steps = piece & 31, stride // 8
        step, tile = (piece >> 5) % steps, (piece >> 5) // steps
        g, t = lane >> 2, lane & 3
        target = (first_tile * steps * 32 + piece) * 4
        for word in range(4):
            row, column = tile * ROWS + g + 8 * (word & 1), step * 8 + 4 * (word >> 1) + t
            codes[target + word] = source[row * stride + column] ^ _SIGN
