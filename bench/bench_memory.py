"""Memory a search takes beyond its inputs, at its highest: processes of their own tell (Linux).

MiB above what the process held with rows and queries in memory and libraries loaded; see
`fastvec/benchmark/memory.py`.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from pathlib import Path

import bench_join
import data
import numpy as np
from suite import Case, Plan, main, test_races

from fastvec.benchmark import Competitor, Race, memory

__all__ = ["CASES", "test_races"]

PAIRS = {
    "pairs": "import fastvec; index = fastvec.Index(x); fastvec.Index(x[:5000]).pairs(0.9)\n"
    "before = reset(); found = numpy.stack(index.pairs(0.9))",
    "numpy": "import bench_join; before = reset(); found = numpy.stack(bench_join.numpy_pairs(x))",
}


def search(plan: Plan) -> Race:
    """256 queries, or 1,024."""
    vectors, queries = data.decaying(*((100_000, 768) if plan.full else (30_000, 256)))
    queries = queries[: plan.size(256, 1024)].copy()
    sample = plan.size(8, 16)
    facts = {"data": "decaying"}
    return memory.race(vectors, queries, 10, peers=plan.few, absent=plan.absent, facts=facts, sample=sample)


def pairs(plan: Plan) -> Race:
    """All pairs from a cosine on, beyond the rows and their Index."""
    vectors = data.clusters(plan.size(10_000, 60_000), 384)
    folder = Path(tempfile.mkdtemp(prefix="fastvec-bench-"))
    np.save(folder / "x.npy", vectors)
    np.save(folder / "q.npy", vectors[:1])
    competitors = [
        Competitor(
            name,
            functools.partial(memory.of_code, code, folder),
            "exact" if name == "pairs" else "float32",
            name == "pairs",
        )
        for name, code in PAIRS.items()
    ]
    facts = {"task": "memory of pairs", "n": len(vectors), "dims": vectors.shape[1]}
    return Race(facts, competitors, bench_join.Pairs(vectors), (), plan.absent, unit=memory.UNIT)


CASES = [Case("memory: search", search), Case("memory: pairs", pairs)] if sys.platform == "linux" else []

if __name__ == "__main__":
    main(CASES)
