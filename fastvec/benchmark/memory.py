"""Memory that a search takes beyond its rows and queries, at its highest: a process of its own tells (Linux).

What is prepared (an Index, a copy of the rows) counts, and so do the answers. Rows and queries lie in memory
before, and libraries and compiled code are loaded by a small search. For cosine, peers get rows and queries
of unit length, as where they are timed.
"""

from __future__ import annotations

import functools
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import get_num_threads, knn, normalize
from ..choices import Metric
from ..index import Index
from . import Competitor, Race
from . import peers as known
from .corpus import Corpus, Run
from .peers import Peer
from .searches import prepared, why_not
from .truth import Search

Array = npt.NDArray[Any]
UNIT = "MiB"
_OURS = ("Index", "knn")
_FEW = 999
"""Rows of the small search."""


def missing() -> str | None:
    """Why the high-water mark of memory cannot be had here, or None."""
    return None if sys.platform == "linux" else "memory is measured on Linux alone"


def race(
    vectors: Array,
    queries: Array,
    k: int,
    *,
    metric: Metric = "cosine",
    peers: Sequence[Peer] = (),
    absent: Mapping[str, str] | None = None,
    facts: Mapping[str, Any] | None = None,
    sample: int = 8,
) -> Race:
    """A race of MiB, not of time; arguments as for ``searches.race``."""
    n, dims = vectors.shape
    m = len(queries)
    folder = _Folder()
    unit = metric == "cosine"
    for kind, rows, asked in (
        ("given", vectors, queries),
        *([("unit", normalize(vectors), normalize(queries))] if unit and peers else []),
    ):
        np.save(folder.path / f"{kind}-x.npy", rows)
        np.save(folder.path / f"{kind}-q.npy", asked)
    left_out = dict(absent or {})
    competitors = [_competitor(name, "exact", folder, "given", name, k, metric) for name in _OURS]
    for peer in peers:
        if (reason := why_not(peer, m, n * dims, metric, None)) is not None:
            left_out[peer.name] = reason
        elif peer.search is not None:
            kind, spec = "unit" if unit else "given", peer.origin or peer.name
            competitors.append(_competitor(peer.name, peer.precision, folder, kind, spec, k, metric))
    question = {"task": "memory", "n": n, "dims": dims, "m": m, "k": k, "metric": metric, **(facts or {})}
    return Race(question, competitors, Search(queries, vectors, k, metric, sample=sample), (), left_out, UNIT)


def _competitor(
    name: str, precision: str, folder: _Folder, kind: str, spec: str, k: int, metric: Metric
) -> Competitor:
    arguments = [kind, spec, str(k), metric, str(get_num_threads())]

    def run() -> tuple[float, Any]:
        paths = os.pathsep.join(sys.path)  # a peer's module is found as this process finds it
        return _measured(_SEARCH, folder.path, arguments, PYTHONPATH=paths)

    return Competitor(name, run, precision, name in _OURS, lambda found: (None, found))


class _Folder:
    """A temporary folder, removed with the last race that needs it."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="fastvec-bench-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


_SEARCH = f"from {__name__} import search_here\nsearch_here(*sys.argv[1:])"
_LOADED = f"""
import numpy
from {__name__} import reset, save, taken
x, q = (numpy.load(sys.argv[1] + name) for name in ("/x.npy", "/q.npy"))
"""
_SAVED = """
print(taken(before))
save(found, sys.argv[1])
"""


def of_code(code: str, folder: Path) -> tuple[float, Any]:
    """The MiB that code takes between ``before = reset()`` and its end, and its answer ``found``.

    It finds the arrays x and q, of the files x.npy and q.npy of the folder.
    """
    return _measured(_LOADED + code + _SAVED, folder)


def _measured(
    program: str, folder: Path, arguments: Sequence[str] = (), **environment: str
) -> tuple[float, Any]:
    """The MiB that a program prints, and its answer: what it saves in the folder."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{program}", str(folder), *arguments],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, **environment},
        cwd=folder,  # where no file has the name of a package that a library imports
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"a process that measures memory failed: {done.stderr.strip()}")
    return float(done.stdout), pickle.loads((folder / "found").read_bytes())  # which that process wrote


def save(found: Any, folder: str) -> None:
    """Leave an answer to the process that waits for it."""
    Path(folder, "found").write_bytes(pickle.dumps(found))


def search_here(folder: str, kind: str, spec: str, k: str, metric: Metric, threads: str) -> None:
    """Search in this process, print the MiB that it took, and save the row numbers."""
    rows, queries = (np.load(Path(folder, f"{kind}-{part}.npy")) for part in "xq")
    search, read = _searching(spec, int(k), metric, int(threads))
    search(rows[:_FEW])(queries)
    before = reset()
    answer = search(rows)(queries)
    print(taken(before))
    save(np.asarray(read(answer)[1]), folder)


def _searching(spec: str, k: int, metric: Metric, threads: int) -> tuple[Any, Any]:
    """A function that prepares rows and returns what searches them, and one that reads the answer."""
    if spec in _OURS:
        known.equalize(threads, [])
        return {"Index": _index, "knn": _one_shot}[spec](k, metric), lambda answer: answer
    (peer,), _ = known.chosen([spec])
    known.equalize(threads, [peer])
    return lambda rows: prepared(peer, Corpus(rows, min(k, len(rows)), metric, threads)), peer.read


def _index(k: int, metric: Metric) -> Any:
    return lambda rows: functools.partial(Index(rows, metric=metric).search, k=k)


def _one_shot(k: int, metric: Metric) -> Any:
    def prepare(rows: Array) -> Run:
        return functools.partial(knn, vectors=rows, k=k, metric=metric)

    return prepare


def reset() -> int:
    """Set the high-water mark to the memory that is held now; return that, in KiB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status("VmRSS")


def taken(before: int) -> float:
    """MiB between what was held and the high-water mark."""
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))
