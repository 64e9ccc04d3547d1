"""A new process: the import, and the first answer with compiled code in the cache, against other libraries.

Before the rounds every competitor runs twice, which fills the caches of compiled code and of files.
"""

from __future__ import annotations

import functools
import subprocess
import sys

import numpy as np
from suite import Case, Plan, main, test_races

from fastvec.benchmark import Competitor, Race
from fastvec.benchmark.truth import Values

__all__ = ["CASES", "test_races"]

IMPORTS = {
    "numpy": "numpy",
    "scikit-learn": "sklearn.metrics.pairwise",
    "torch": "torch",
    "faiss": "faiss",
}
DATA = """
import numpy
x = (numpy.arange(256_000, dtype=numpy.float32) % 1009).reshape(4000, 64) - 500
x[:, 0] += numpy.arange(4000)
q = x[::40].copy()
"""
FIRST = {
    "numpy": "u = x / numpy.linalg.norm(x, axis=1)[:, None]; found = (u[::40] @ u.T).argmax(axis=1)",
    "scikit-learn": "from sklearn.metrics.pairwise import cosine_similarity; "
    "found = cosine_similarity(q, x).argmax(axis=1)",
    "torch": "import torch; u = torch.nn.functional.normalize(torch.from_numpy(x)); "
    "found = (u[::40] @ u.T).argmax(dim=1)",
    "faiss": "import faiss; u = x / numpy.linalg.norm(x, axis=1)[:, None]; i = faiss.IndexFlatIP(64); "
    "i.add(u); found = i.search(u[::40], 1)[1][:, 0]",
}
PRINT = "\nprint(*found.tolist())"


def imports(plan: Plan) -> Race:
    """Processes that import one library and end."""
    ours = Competitor("import fastvec", functools.partial(_python, "import fastvec"), "exact", True)
    peers = [
        Competitor(
            f"import {IMPORTS[peer.name]}",
            functools.partial(_python, f"import {IMPORTS[peer.name]}"),
            "exact",
        )
        for peer in plan.peers
        if peer.name in IMPORTS
    ]
    return Race({"task": "import"}, [ours, *peers], Values(np.zeros(0), 0.0), (), plan.absent)


def first_answer(plan: Plan) -> Race:
    """Processes that find the nearest of 4,000 rows to each of 100, print them, and end."""
    code = "import fastvec; found = fastvec.knn(q, x, 1).indices[:, 0]"
    ours = Competitor("fastvec.knn", functools.partial(_python, DATA + code + PRINT), "exact", True)
    peers = [
        Competitor(peer.name, functools.partial(_python, DATA + FIRST[peer.name] + PRINT), "exact")
        for peer in plan.peers
        if peer.name in FIRST
    ]
    truth = Values(np.arange(0, 4000, 40, dtype=np.float64), 0.0)
    return Race(
        {"task": "first answer", "n": 4000, "dims": 64, "m": 100}, [ours, *peers], truth, (), plan.absent
    )


def _python(code: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Numbers that a new process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return np.array([float(word) for word in done.stdout.split()])


CASES = [Case("start: import", imports), Case("start: first answer", first_answer)]

if __name__ == "__main__":
    main(CASES)
