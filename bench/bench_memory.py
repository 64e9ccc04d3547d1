"""Memory a search takes beyond its inputs, at its highest: processes of their own tell (Linux).

MiB above what the process held with rows and queries in memory and libraries imported: what is prepared
(an Index, unit rows) counts, and so do the answers.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import bench_join
import data
import numpy as np
from suite import Case, Plan, main, test_races

from fastvec.benchmark import Competitor, Race
from fastvec.benchmark.truth import Search

__all__ = ["CASES", "test_races"]

BEFORE = """
import sys, numpy, pathlib
x, q = (numpy.load(path) for path in sys.argv[1:3])
def status(field):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))
def reset():
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the high-water mark is that of now
    return status("VmRSS")
"""
AFTER = """
print((status("VmHWM") - before) / 1024)
numpy.save(sys.argv[3], found)
"""
UNIT = "unit = lambda a: a / numpy.linalg.norm(a, axis=1)[:, None]\n"
CODE = {
    "Index": "import fastvec; fastvec.knn(x[:9], x[:999], 3); before = reset()\n"
    "found = fastvec.Index(x).search(q, 10).indices",
    "knn": "import fastvec; fastvec.knn(x[:9], x[:999], 3); before = reset()\n"
    "found = fastvec.knn(q, x, 10).indices",
    "numpy": UNIT + "before = reset(); s = unit(q) @ unit(x).T\n"
    "best = numpy.argpartition(s, -10, axis=1)[:, -10:]\n"
    "order = numpy.argsort(-numpy.take_along_axis(s, best, 1), axis=1)\n"
    "found = numpy.take_along_axis(best, order, 1)",
    "scikit-learn": "from sklearn.neighbors import NearestNeighbors; before = reset()\n"
    "index = NearestNeighbors(n_neighbors=10, metric='cosine', algorithm='brute').fit(x)\n"
    "found = index.kneighbors(q, return_distance=False)",
    "torch": "import torch; n = torch.nn.functional.normalize; before = reset()\n"
    "found = (n(torch.from_numpy(q)) @ n(torch.from_numpy(x)).T).topk(10).indices.numpy()",
    "faiss": UNIT + "import faiss; before = reset(); index = faiss.IndexFlatIP(x.shape[1])\n"
    "index.add(unit(x)); found = index.search(unit(q), 10)[1]",
}
PAIRS = {
    "pairs": "import fastvec; index = fastvec.Index(x); fastvec.Index(x[:5000]).pairs(0.9)\n"
    "before = reset(); found = numpy.stack(index.pairs(0.9))",
    "numpy": "import bench_join; before = reset(); found = numpy.stack(bench_join.numpy_pairs(x))",
}


def search(plan: Plan) -> Race:
    """256 queries, or 1,024."""
    vectors, queries = data.decaying(*((100_000, 768) if plan.full else (30_000, 256)))
    queries = queries[: plan.size(256, 1024)].copy()
    folder = Path(tempfile.mkdtemp(prefix="fastvec-bench-"))
    np.save(folder / "x.npy", vectors)
    np.save(folder / "q.npy", queries)
    names = ["Index", "knn", *(peer.name for peer in plan.few if peer.name in CODE)]
    competitors = [
        Competitor(name, functools.partial(_megabytes, CODE[name], folder), *_claim(name)) for name in names
    ]
    facts = {"task": "memory", "n": len(vectors), "dims": vectors.shape[1], "m": len(queries), "k": 10}
    truth = Search(queries, vectors, 10, sample=plan.size(8, 16))
    return Race(facts, competitors, truth, (), plan.absent, unit="MiB")


def pairs(plan: Plan) -> Race:
    """All pairs from a cosine on, beyond the rows and their Index."""
    vectors = data.clusters(plan.size(10_000, 60_000), 384)
    folder = Path(tempfile.mkdtemp(prefix="fastvec-bench-"))
    for name in ("x", "q"):
        np.save(folder / f"{name}.npy", vectors if name == "x" else vectors[:1])
    competitors = [
        Competitor(
            name, functools.partial(_megabytes, PAIRS[name], folder), *_claim(name), lambda found: found[1]
        )
        for name in PAIRS
    ]
    facts = {"task": "memory of pairs", "n": len(vectors), "dims": vectors.shape[1]}
    return Race(facts, competitors, bench_join.Pairs(vectors), (), plan.absent, unit="MiB")


def _claim(name: str) -> tuple[str, bool]:
    return ("exact", True) if name in ("Index", "knn", "pairs") else ("float32", False)


def _megabytes(code: str, folder: Path) -> tuple[float, Any]:
    answer = folder / "found.npy"
    arguments = [folder / "x.npy", folder / "q.npy", answer]
    program = BEFORE + code + AFTER
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        env=here,
    )
    return float(done.stdout), (None, np.load(answer))


CASES = [Case("memory: search", search), Case("memory: pairs", pairs)] if sys.platform == "linux" else []

if __name__ == "__main__":
    main(CASES)
