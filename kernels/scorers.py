"""The functions of micro-kernels that score rows, by address.

Kernels that scan for few queries take far longer to compile than a micro-kernel's ``row``. So this is
compiled by itself and called by its address, which kernels get as a number: then one version of a kernel
serves all micro-kernels. A call costs a few nanoseconds, the rows of a chunk hundreds. A tile of narrow rows
is too short for that: kernels that scan by tiles are compiled for each micro-kernel.
"""

import functools
from typing import Any

import numpy as np
from numba import types

from . import micro
from .compile import address_of, addressed, specialized
from .emit import address, function_at

call_row = function_at(address, types.int64, types.int64, address, types.int64, types.int32, address)
"""In compiled code: ``call_row(scorer(name), codes, …)`` is ``micro.row(name, codes, …)``."""


@functools.cache
def scorer(name: str) -> int:
    """The address of a micro-kernel's ``row``; some micro-kernels have it in common."""
    own = micro.TABLE[name].row
    score = _score_rows(next(record.name for record in reversed(micro.TABLE.values()) if record.row is own))
    return address_of(score, 0, 0, 0, 0, 0, np.int32(0), 0)


@specialized
def _score_rows(micro_kernel: str) -> Any:
    @addressed
    def score_rows(codes, stride, rows, query, width, correction, scores):
        micro.row(micro_kernel, codes, stride, rows, query, width, correction, scores)

    return score_rows
