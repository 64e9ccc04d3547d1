"""The table of micro-kernels: integer scores of a tile of rows and queries.

Codes of rows are bytes offset by 128 (unsigned), one row after another. Queries are
signed bytes, packed 16 side by side: ``[step][query][4 dimensions]``, 64 bytes a step.
With u = c + 128 the product of a row and a query is Σ u·q − 128·Σq: a function of
unsigned rows starts its sums at that correction, −128·Σq, which is given per query; one
that makes rows signed (c is u with its top bit flipped) has no use for it. All sums are
exact in 32 bits up to 132,000 dimensions.

A record's functions are compiled by Numba; the first argument is the record's name:

``tile(name, codes, stride, queries, blocks, steps, corrections, scores)``
    Scores of ``tile_rows`` rows, a multiple of four (``stride`` bytes apart, at address ``codes``) with
    ``blocks`` blocks of 16 queries (each ``64 * steps`` bytes, at ``queries``), as
    int32 at ``scores[row][query]``, a row of scores ``4 * tile_queries`` bytes long. All
    addresses are multiples of 64.
``row(name, codes, stride, rows, query, width, correction, scores)``
    Scores of ``rows`` rows with one query of ``width`` signed bytes, as int32 at address ``scores``.

``begin(name)`` and ``end(name)``
    Around all tiles that a thread scores in one call.

Kernels that search call ``row`` by address: see ``scorers.py``.

To add an instruction set: one file with a ``RECORD``, and its place below. Where sums stay
in vector registers, ``register_tile.py`` has the loops and the file gives the multiply-add.
"""

import functools
import logging

from .. import cpu, settings
from ..compile import named
from . import amx_int8, avx2, avx512_vnni, avx_vnni, generic, neon_dotprod
from .record import MicroKernel

_log = logging.getLogger("fastvec")

# Best first.
_ORDER: tuple[MicroKernel, ...] = (
    amx_int8.RECORD,
    avx512_vnni.RECORD,
    avx_vnni.RECORD,
    avx2.RECORD,
    neon_dotprod.RECORD,
    generic.RECORD,
)

TABLE: dict[str, MicroKernel] = {record.name: record for record in _ORDER}


def tile(name, codes, stride, queries, blocks, steps, corrections, scores): ...
def row(name, codes, stride, rows, query, width, correction, scores): ...
def begin(name): ...
def end(name): ...


for _stub in (tile, row, begin, end):
    named(_stub, TABLE, _stub.__name__)


def why_not(record: MicroKernel) -> str | None:
    """What this machine lacks to run a micro-kernel, or None."""
    if record.architecture not in (None, cpu.architecture()):
        return f"it is for {record.architecture}; this machine is {cpu.architecture()}"
    missing = _missing(record.requires)
    if missing and record.alternative:
        instead = _missing(record.alternative)
        missing = instead and f"{missing} (or, in its place, {instead})"
    return f"this processor lacks {missing}" if missing else record.enable()


def _missing(features: tuple[str, ...]) -> str:
    return ", ".join(name for name in features if name not in cpu.features())


def active() -> MicroKernel:
    """The micro-kernel of encoded scans: the one forced, else the best that runs here."""
    return _choose(settings.micro_kernel())


def forced() -> bool:
    """Whether the user chose the micro-kernel."""
    return settings.micro_kernel() is not None


@functools.cache
def _choose(name: str | None) -> MicroKernel:
    available = [record for record in _ORDER if why_not(record) is None]
    if name is None:
        for better in _ORDER[: _ORDER.index(available[0])]:
            _log.info("micro-kernel %s cannot run here: %s", better.name, why_not(better))
        _log.info("micro-kernel %s is used", available[0].name)
        return available[0]
    if name not in TABLE:
        raise ValueError(f"FASTVEC_MICRO_KERNEL is {name!r}; it must be one of {', '.join(TABLE)}")
    reason = why_not(TABLE[name])
    if reason is not None:
        raise RuntimeError(
            f"FASTVEC_MICRO_KERNEL={name} cannot run here: {reason}; "
            f"available: {', '.join(record.name for record in available)}"
        )
    return TABLE[name]
