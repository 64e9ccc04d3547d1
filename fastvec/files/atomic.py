"""Writing that leaves the old file or the new one, whenever it is interrupted.

What is written goes to a temporary name beside the target, is forced to the disk, and
takes the target's name in one step.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(target: Path) -> Iterator[IO[bytes]]:
    """A binary file to write, which becomes ``target`` if the block ends without an exception."""
    temporary = beside(target)
    try:
        with open(temporary, "wb") as file:
            yield file
            force(file)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    force_names(target.parent)


def beside(target: Path) -> Path:
    """A name nobody uses, in the same folder, so that a rename is one step."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")


def force(file: IO[bytes]) -> None:
    """See that what was written survives a power failure."""
    file.flush()
    os.fsync(file.fileno())


def force_names(folder: Path) -> None:
    """The same for names given, changed and removed in a folder."""
    if os.name == "nt":  # folders cannot be opened there, and renames are durable without
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
