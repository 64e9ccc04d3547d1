"""Where compiled kernels are cached: the folders, what is in them, and who else may write to them.

It needs NumPy and Numba, and no package of the command line.
"""

from __future__ import annotations

import os
import pickle
import stat
from pathlib import Path
from typing import Any


def caches() -> list[Path]:
    """The folders where kernels are cached, one for each folder of sources; none if one cannot be written."""
    from ..kernels import dense, rows
    from ..kernels.cuda import device

    kernels: tuple[Any, ...] = (rows.sums_of_squares, dense.exact._fill)  # one of each folder
    dispatchers = [kernel.compiled for kernel in kernels]
    if device.why_not() is None and not device.simulated():  # the simulator runs plain Python
        from ..kernels.cuda.encode import encode

        dispatchers.append(encode.dispatcher)
    paths = [dispatcher.stats.cache_path for dispatcher in dispatchers]
    return [Path(path) for path in paths] if all(paths) else []


def stamps(folders: list[Path]) -> dict[Path, int]:
    """The files of compiled code, and when each was written."""
    return {file: file.stat().st_mtime_ns for folder in folders for file in folder.glob("*.nbc")}


def exposed(folder: Path) -> tuple[str, str] | None:
    """Why others could put code into a cache folder, and what to do; or None if they cannot.

    An account that can change fastvec's own files does not count: it needs no cache for that.
    """
    if os.name == "nt" or not folder.is_dir():
        return None
    remedy = "Remove it, and set NUMBA_CACHE_DIR to a folder that is yours alone"
    sources = Path(__file__).parents[1].stat()
    status = folder.stat()
    if status.st_uid not in (os.getuid(), 0, sources.st_uid):
        return f"{folder} belongs to another account, whose code would run as yours", remedy
    if status.st_mode & stat.S_IWOTH and not sources.st_mode & stat.S_IWOTH:
        return f"every account may write to {folder}, and its code would run as yours", remedy
    return None


def compiled(folder: Path) -> tuple[int, int]:
    """Numbers of kernels cached for the present sources, and for others; damaged ones count as others."""
    from ..kernels.compile import source_digest

    current = 0
    files = list(folder.glob("*.nbi")) if exposed(folder) is None else []
    for file in files:
        with file.open("rb") as stream:
            try:
                pickle.load(stream)  # Numba's version; then what it was compiled from, and an index
                current += pickle.loads(stream.read())[0] == source_digest()
            except Exception:  # damaged bytes may raise anything
                continue
    return current, len(files) - current
