"""The files of an Index folder: their names, and the dtype and the shape of every array."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MANIFEST, LABELS, COLUMNS = "index.json", "labels.jsonl", "columns.jsonl"
CLOSED, NUMBERS = "closed.npy", "numbers.npy"
INNER = re.compile(r"[0-9a-f]{8}")
"""The pattern of names of inner folders."""

ARRAYS = ("vectors", "codes", "scale", "error", "norm")
SCREEN_ARRAYS = (
    "basis",
    "pivots",
    "neighbors",
    "screen_codes",
    "screen_scale",
    "screen_tail",
    "screen_slack",
)
LEADING_ARRAYS = ("leading_codes", "leading_words")
DIRECTION_ARRAYS = ("direction",)
SHARED = ("basis", "pivots", "neighbors", "direction")
"""Arrays that all parts have in common; they are in the folder of the first."""

NAMES = (
    *(f"{name}.npy" for name in (*ARRAYS, *SCREEN_ARRAYS, *LEADING_ARRAYS, *DIRECTION_ARRAYS)),
    *(LABELS, COLUMNS, CLOSED, NUMBERS),
)
"""All names that files of an inner folder can have."""


def layout(
    rows: int,
    dims: int,
    screen: Mapping[str, Any] | None = None,
    direction: Mapping[str, Any] | None = None,
    *,
    later: bool = False,
    dtype: str = "<f4",
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The dtype and shape of every array of a part, by name; those of a screen or a direction only if there
    is one. A ``later`` part than the first has none that all parts share; ``dtype`` is that of the vectors.
    """
    from ..kernels import encode

    lead = 0 if direction is None else direction["lead"]

    arrays: dict[str, tuple[str, tuple[int, ...]]] = {
        "vectors": (dtype, (rows, dims)),
        "codes": ("|u1", (rows + encode.SPARE_ROWS, lead + encode.padded(dims))),
        "scale": ("<f4", (rows,)),
        "error": ("<f4", (rows,)),
        "norm": ("<f8", (rows,)),
    }
    if direction is not None:
        arrays["direction"] = ("<f4", (dims,))
    if screen is not None:
        width = screen["width"] - screen["leading"]
        arrays |= {
            "basis": ("<f4", (dims, width)),
            "pivots": ("<i8", (screen["pivots"],)),
            "neighbors": ("<i4", (screen["pivots"], screen["neighbors"])),
            "screen_codes": ("|u1", (rows + encode.SPARE_ROWS, width)),
            "screen_scale": ("<f4", (rows,)),
            "screen_tail": ("<f4", (rows,)),
            "screen_slack": ("<f4", (rows,)),
        }
        if screen["leading"]:
            arrays |= {
                "leading_codes": ("|u1", (rows + encode.SPARE_ROWS, screen["leading"])),
                "leading_words": ("<u4", (rows,)),
            }
    return {name: array for name, array in arrays.items() if not later or name not in SHARED}
