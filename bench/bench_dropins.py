"""The drop-ins of ``fastvec.integrations`` against the libraries whose place they take.

Of each workload there is a race in time, and one in memory beyond the inputs at its highest (Linux), which
processes of their own tell. Setting up (a fit, an Index) is part of both.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import data
import numpy as np
from bench_memory import AFTER, BEFORE
from suite import Case, Plan, main, test_races

from fastvec.benchmark import Competitor, Race
from fastvec.benchmark.truth import Search, Truth, Values

__all__ = ["CASES", "test_races"]


class Workload(NamedTuple):
    """The same code over two imports."""

    host: str
    """The library's module that is needed."""
    imports: tuple[str, str]
    """Of fastvec's, and of the library's."""
    code: str
    """Sets ``found``, of x and q."""
    inputs: Callable[[Plan], tuple[Any, Any]]
    """x and q."""
    truth: Callable[[Any, Any], Truth]
    read: Callable[[Any], Any] = lambda found: found
    memory: bool = False
    """Whether memory is measured, too; ``found`` is then an array."""


def _neighbors(plan: Plan, m: int = 12_000, dims: int = 256, dtype: type = np.float32) -> tuple[Any, Any]:
    """Rows whose dimensions decay as those of embeddings do, searched by themselves."""
    rows = data.decaying(m, dims)[0].astype(dtype)
    return rows, rows


def _ten_neighbors(x: Any, q: Any, metric: str) -> Truth:
    x, q = np.asarray(x, np.float32), np.asarray(q, np.float32)
    return Search(q, x, min(10, len(x)), metric, sample=16)


def _cosines(x: Any, q: Any) -> Truth:
    unit = [rows.astype(np.float64) / np.linalg.norm(rows, axis=1)[:, None] for rows in (q, x)]
    return Values(unit[0] @ unit[1].T, 1e-6)


SKLEARN = ("fastvec.integrations.sklearn", "sklearn.neighbors")
PAIRWISE = ("fastvec.integrations.sklearn", "sklearn.metrics.pairwise")
KNEIGHBORS = (
    "from {} import NearestNeighbors\n"
    "found = NearestNeighbors(n_neighbors={k}, metric='{metric}', algorithm='brute').fit(x)"
    ".kneighbors(q, return_distance=False)"
)


def _kneighbors(metric: str, memory: bool, k: int = 10, **size: Any) -> Workload:
    return Workload(
        "sklearn",
        SKLEARN,
        KNEIGHBORS.replace("{k}", str(k)).replace("{metric}", metric),
        functools.partial(_neighbors, **size),
        functools.partial(_ten_neighbors, metric=metric),
        lambda found: (None, found),
        memory,
    )


WORKLOADS = {
    "scikit-learn kneighbors, cosine, float32": _kneighbors("cosine", True),
    "scikit-learn kneighbors, cosine, float64": _kneighbors("cosine", False, dtype=np.float64),
    "scikit-learn kneighbors, euclidean, float32": _kneighbors("euclidean", True),
    "scikit-learn kneighbors, cosine, ten rows": _kneighbors("cosine", False, m=10),
    "scikit-learn cosine_similarity, one pair": Workload(
        "sklearn",
        PAIRWISE,
        "from {} import cosine_similarity\nfound = cosine_similarity(q, x)",
        functools.partial(_neighbors, m=1),
        _cosines,
    ),
}
"""One row for each workload; a new host is a new row."""


def _competitors(workload: Workload) -> list[tuple[str, str]]:
    """Names, and code with its import."""
    names = ("fastvec", workload.host)
    pairs = zip(names, workload.imports, strict=True)
    return [(name, workload.code.replace("{}", module)) for name, module in pairs]


def timed(plan: Plan, workload: Workload) -> Race:
    """Calls in this process, each with what it sets up."""
    x, q = workload.inputs(plan)
    competitors = [
        Competitor(name, _function(code, x, q), "float32", name == "fastvec", workload.read)
        for name, code in _competitors(workload)
    ]
    facts = {"task": "drop-in", "n": len(x), "dims": x.shape[1], "m": len(q)}
    return Race(facts, competitors, workload.truth(x, q))


def _function(code: str, x: Any, q: Any) -> Callable[[], Any]:
    lines = code.splitlines()
    names: dict[str, Any] = {"x": x, "q": q}
    exec("\n".join(line for line in lines if line.startswith("from ")), names)
    body = "\n".join(f"    {line}" for line in lines if not line.startswith("from "))
    exec(f"def run():\n{body}\n    return found", names)
    run: Callable[[], Any] = names["run"]
    return run


def peak(plan: Plan, workload: Workload) -> Race:
    """Memory of a process of its own; a small call before has loaded code and libraries."""
    x, q = workload.inputs(plan)
    folder = Path(tempfile.mkdtemp(prefix="fastvec-bench-"))
    np.save(folder / "x.npy", x)
    np.save(folder / "q.npy", q)
    competitors = [
        Competitor(
            name, functools.partial(_mebibytes, code, folder), "float32", name == "fastvec", workload.read
        )
        for name, code in _competitors(workload)
    ]
    facts = {"task": "memory of a drop-in", "n": len(x), "dims": x.shape[1], "m": len(q)}
    return Race(facts, competitors, workload.truth(x, q), unit="MiB")


def _mebibytes(code: str, folder: Path) -> tuple[float, Any]:
    answer = folder / "found.npy"
    small = "whole = x, q\nx, q = x[:99], q[:9]\n" + code + "\nx, q = whole\n"
    program = BEFORE + small + "before = reset()\n" + code + AFTER
    arguments = [folder / "x.npy", folder / "q.npy", answer]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return float(done.stdout), np.load(answer)


CASES = [
    Case(f"dropins: {name}", functools.partial(timed, workload=workload), needs=(workload.host,))
    for name, workload in WORKLOADS.items()
]
if sys.platform == "linux":
    CASES += [
        Case(f"dropins: memory of {name}", functools.partial(peak, workload=workload), needs=(workload.host,))
        for name, workload in WORKLOADS.items()
        if workload.memory
    ]

if __name__ == "__main__":
    main(CASES)
