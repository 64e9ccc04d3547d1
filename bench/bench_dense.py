"""Dense cosine similarity against NumPy, scikit-learn and torch: the same rows and threads, interleaved.

    python bench/bench_dense.py            every case, a few minutes
    python bench/bench_dense.py self few   cases whose name holds one of the words

Every case is checked first: the errors of all competitors, largest and root mean square, are
against float64, on up to 64 queries. In a round every competitor answers once, one after the
other. Times are medians (and minima) over the rounds; a ratio compares two times of a round.
"into" writes to a given output, where a competitor can; else the output is fresh.

A peer that is not installed is left out. OPENBLAS_NUM_THREADS and OMP_NUM_THREADS are set to
THREADS, as NumPy's BLAS takes all processors otherwise.
"""

import functools
import importlib.util
import os
import platform
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

THREADS = 2
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(THREADS)

import numpy as np  # noqa: E402

import fastvec  # noqa: E402
from fastvec.integrations import sentence_transformers as drop_in  # noqa: E402
from fastvec.kernels import micro  # noqa: E402

ROUNDS = 7
Competitors = dict[str, Callable[[], Any]]


class Case(NamedTuple):
    """Shapes; n = 0: the queries with themselves."""

    name: str
    m: int
    n: int
    dims: int
    calls: int = 1


CASES = (
    Case("batch", 1024, 50_000, 768),
    Case("self", 2000, 0, 256),
    Case("self large", 8000, 0, 768),
    Case("few 1", 1, 100_000, 768, 3),
    Case("few 4", 4, 100_000, 768, 3),
    Case("batch 16", 16, 100_000, 768),
    Case("tall", 100_000, 33, 300),
    Case("small pair", 1, 1, 768, 200),
    Case("small words", 10, 10, 300, 200),
    Case("small batch", 32, 1000, 384, 20),
)


def unit(rows: np.ndarray) -> np.ndarray:
    """As users of NumPy write it."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def competitors(queries: np.ndarray, vectors: np.ndarray | None) -> Competitors:
    """Everyone's cosines; fastvec first."""
    other = queries if vectors is None else vectors
    out = np.zeros((len(queries), len(other)), np.float32)

    def numpy(into: np.ndarray | None = None) -> np.ndarray:
        left = unit(queries)
        return np.matmul(left, (left if vectors is None else unit(other)).T, out=into)

    found: Competitors = {
        "fastvec": functools.partial(fastvec.cosine_similarity, queries, vectors),
        "numpy": numpy,
        "fastvec into": functools.partial(fastvec.cosine_similarity, queries, vectors, out=out),
        "numpy into": functools.partial(numpy, out),
    }
    if importlib.util.find_spec("sklearn"):
        from sklearn.metrics.pairwise import cosine_similarity

        found["scikit-learn"] = functools.partial(cosine_similarity, queries, vectors)
    if importlib.util.find_spec("torch"):
        import torch
        from torch.nn.functional import normalize

        torch.set_num_threads(THREADS)
        a, b = torch.from_numpy(queries), torch.from_numpy(other)
        found["torch"] = lambda: (normalize(a) @ normalize(b).T).numpy()  # noqa: PLW0108
    if len(queries) == 1 and len(other) > 1:
        found["bare product"] = lambda: other @ queries[0]  # the limit: no norms
    return found


def check(found: Competitors, queries: np.ndarray, vectors: np.ndarray | None) -> None:
    """Print errors against float64; refuse those of fastvec where NumPy's are smaller."""
    some = queries[:64].astype(np.float64)
    wide = (queries if vectors is None else vectors).astype(np.float64)
    truth = some @ wide.T / np.linalg.norm(some, axis=1)[:, None] / np.linalg.norm(wide, axis=1)
    worst = {}
    for name, run in found.items():
        if name != "bare product":
            error = run()[: len(some)] - truth
            worst[name] = np.abs(error).max()
            print(f"   {name}: error at most {worst[name]:.1e}, rms {np.sqrt((error**2).mean()):.1e}")
    if worst["fastvec"] > worst["numpy"] + 6e-8:
        raise SystemExit("fastvec is less accurate than NumPy")


def measure(found: Competitors, calls: int) -> dict[str, np.ndarray]:
    """Milliseconds a call (rounds,); the first round is dropped."""
    times: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(ROUNDS + 1):
        for name, run in found.items():
            start = time.perf_counter()
            for _ in range(calls):
                run()
            times[name].append(1e3 * (time.perf_counter() - start) / calls)
    return {name: np.array(values[1:]) for name, values in times.items()}


def report(times: dict[str, np.ndarray], ours: dict[str, str]) -> None:
    """Times, and the ratios of each peer to its counterpart of ours."""
    for name, own in times.items():
        against = ours.get(name, "")
        ratio = f"   fastvec {np.median(own / times[against]):.2f} x as fast" if against else ""
        print(f"   {name}: {np.median(own):.3f} ms (min {own.min():.3f}){ratio}")


def run_case(case: Case) -> None:
    """Check, measure and print one case."""
    rng = np.random.default_rng(1)
    queries = rng.standard_normal((case.m, case.dims), np.float32)
    vectors = rng.standard_normal((case.n, case.dims), np.float32) if case.n else None
    print(f"\n{case.name}: {case.m} x {case.n or 'themselves'} x {case.dims}")
    found = competitors(queries, vectors)
    check(found, queries, vectors)
    peers = {name: "fastvec" for name in found if not name.startswith("fastvec")}
    report(measure(found, case.calls), peers | {"numpy into": "fastvec into"})


def host_search(queries: Any, corpus: Any, top_k: int = 10) -> list[list[dict[str, Any]]]:
    """sentence-transformers' algorithm: chunks of 100 queries, unit rows, mm, topk."""
    import torch
    from torch.nn.functional import normalize

    answers = []
    unit_corpus = normalize(corpus)
    for start in range(0, len(queries), 100):
        scores = torch.mm(normalize(queries[start : start + 100]), unit_corpus.T)
        values, ids = torch.topk(scores, top_k, dim=1, sorted=False)
        for row, numbers in zip(values.tolist(), ids.tolist(), strict=True):
            ranked = sorted(zip(row, numbers, strict=True), reverse=True)
            answers.append([{"corpus_id": number, "score": score} for score, number in ranked])
    return answers


def run_search() -> None:
    """The drop-in for semantic_search."""
    import torch

    torch.set_num_threads(THREADS)
    rng = np.random.default_rng(2)
    corpus = rng.standard_normal((100_000, 768), np.float32) / np.arange(1, 769, dtype=np.float32) ** 0.5
    queries = corpus[:1000] + 0.02 * rng.standard_normal((1000, 768), np.float32)
    a, b = torch.from_numpy(queries), torch.from_numpy(corpus)
    print("\nsemantic_search: 1000 x 100000 x 768, k 10")
    ours, theirs = drop_in.semantic_search(a, b), host_search(a, b)
    same = np.mean([[x["corpus_id"] == y["corpus_id"] for x, y in zip(*pair)] for pair in zip(ours, theirs)])  # noqa: B905
    print(f"   the same places: {same:.2%}")
    found: Competitors = {
        "fastvec": lambda: drop_in.semantic_search(a, b),
        "torch, as sentence-transformers": lambda: host_search(a, b),
    }
    report(measure(found, 1), {"torch, as sentence-transformers": "fastvec"})


def main() -> None:
    """Run the cases named on the command line, or all."""
    fastvec.set_num_threads(THREADS)
    machine = platform.processor() or platform.machine()
    print(f"{machine}, micro-kernel {micro.active().name}, {THREADS} threads")
    print(f"fastvec {fastvec.__version__}, NumPy {np.__version__}")
    for case in CASES:
        if len(sys.argv) == 1 or any(word in case.name for word in sys.argv[1:]):
            run_case(case)
    if importlib.util.find_spec("torch") and (len(sys.argv) == 1 or "search" in sys.argv[1:]):
        run_search()


if __name__ == "__main__":
    main()
