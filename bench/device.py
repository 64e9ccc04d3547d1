"""Exact search on an NVIDIA device against exact and inexact peers there.

    python bench/device.py                     1,000,000 x 768
    python bench/device.py 10000000            ten million rows: 31 GB of float32 here and there
    python bench/device.py 1000000 3072 100    rows, dimensions, k

Needs ``pip install 'fastvec[cuda]'``; torch and CuPy take part where they are installed. Times are
of whole calls, from queries in this computer's memory to answers there, the peers' rows and their
norms being on the device before. In a round every competitor answers once, one after the other;
reported are medians and minima. Peers marked ~ are not exact: TF32 and bfloat16 change the order of
near scores, and their recall is shown. Then what the device can do, measured on the spot, and the
scan's share of it: bytes of codes read a second, and products a second of the tensor cores.
"""

import functools
import importlib.util
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastvec
from fastvec.kernels import filters, threads
from fastvec.kernels.cuda import device, scan, search

BATCHES, ROUNDS = (1, 8, 64, 1024), 7
CHUNK = 1 << 18
"""Rows whose scores a chunked peer holds at a time."""
Answer = Callable[[], np.ndarray]


def data(n: int, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows with a spectrum that falls as embeddings' does; queries near some of the rows."""
    rng = np.random.default_rng(0)
    weights = np.arange(1, dims + 1, dtype=np.float32) ** -0.5
    rotation = np.linalg.qr(rng.standard_normal((dims, dims)))[0].astype(np.float32)
    vectors = np.empty((n, dims), np.float32)
    for first in range(0, n, CHUNK):
        block = vectors[first : first + CHUNK]
        np.matmul(rng.standard_normal(block.shape, np.float32) * weights, rotation, out=block)
    queries = (rng.standard_normal((max(BATCHES), dims), np.float32) * weights) @ rotation
    queries = queries * np.float32(0.7) + vectors[rng.integers(0, n, len(queries))] * np.float32(0.5)
    fastvec.normalize(vectors, out=vectors)
    return vectors, fastvec.normalize(queries)


def torch_peers(vectors: np.ndarray, k: int) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """float32, exact up to its rounding, at once and in chunks; TF32 and bfloat16."""
    import torch

    matrix = torch.from_numpy(vectors).cuda()

    def at_once(queries: np.ndarray, matrix: Any, tf32: bool) -> np.ndarray:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        scores = torch.from_numpy(queries).cuda().to(matrix.dtype) @ matrix.T
        return np.asarray(scores.topk(k).indices.cpu())

    def chunked(queries: np.ndarray, matrix: Any, tf32: bool) -> np.ndarray:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        q = torch.from_numpy(queries).cuda().to(matrix.dtype)
        best: Any = None
        for first in range(0, len(matrix), CHUNK):
            scores = q @ matrix[first : first + CHUNK].T
            values, indices = scores.topk(min(k, scores.shape[1]))
            found = (values, indices + first)
            best = (
                found if best is None else tuple(torch.cat(pair, 1) for pair in zip(best, found, strict=True))
            )
        order = best[0].topk(k).indices
        return np.asarray(best[1].gather(1, order).cpu())

    half = matrix.to(torch.bfloat16)
    return {
        "torch float32": functools.partial(at_once, matrix=matrix, tf32=False),
        "torch float32 chunked": functools.partial(chunked, matrix=matrix, tf32=False),
        "~torch TF32 chunked": functools.partial(chunked, matrix=matrix, tf32=True),
        "~torch bfloat16 chunked": functools.partial(chunked, matrix=half, tf32=True),
    }


def cupy_peers(vectors: np.ndarray, k: int) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Matrix product and partial sort."""
    import cupy

    matrix = cupy.asarray(vectors)

    def answer(queries: np.ndarray) -> np.ndarray:
        scores = cupy.asarray(queries) @ matrix.T
        best = cupy.argpartition(scores, -k, axis=1)[:, -k:]
        order = cupy.argsort(-cupy.take_along_axis(scores, best, 1), axis=1)
        return np.asarray(cupy.asnumpy(cupy.take_along_axis(best, order, 1)))

    return {"CuPy float32": answer}


PEERS = {"torch": torch_peers, "cupy": cupy_peers}


def measure(competitors: dict[str, Answer]) -> dict[str, np.ndarray]:
    """Seconds by round; one that runs out of memory is left out, and said to be."""
    times: dict[str, list[float]] = {}
    for name in list(competitors):
        try:
            competitors[name]()
        except Exception as error:
            if "memory" not in str(error).lower():
                raise
            print(f"   {name}: not enough memory on the device")
            del competitors[name]
    for _ in range(ROUNDS):
        for name, answer in competitors.items():
            start = time.perf_counter()
            answer()
            times.setdefault(name, []).append(time.perf_counter() - start)
    return {name: np.array(own) for name, own in times.items()}


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """Share of the exact answer's rows that were found."""
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(truth, found, strict=True)]))


def seconds(launch: Callable[[], Any]) -> float:
    """Of the device, at best of some rounds, for what is launched."""
    from numba import cuda

    best = np.inf
    for _ in range(ROUNDS):
        cuda.synchronize()
        start = time.perf_counter()
        launch()
        cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return float(best)


def scanner(index: fastvec.Index, queries: np.ndarray, k: int) -> Callable[[], None]:
    """The device's part of a search, without what the processor does before and after."""
    from fastvec.kernels import encode

    m, encoded, own = len(queries), index._blocks[0].encoded, index._on_device
    packed = encode.pack(queries, 127, 0, threads.get_num_threads())
    nothing = filters.Exclusions.of_runs(np.zeros(m + 1, np.int64), np.empty(0, np.int64))
    terms = own.terms(index.metric, index.dims, encoded, threads.get_num_threads())

    def run() -> None:
        searching = search._Run(
            own, terms, packed, queries.shape, k, index.metric, nothing, search.limits_for(k)
        )
        for chunk, (first, last) in enumerate(searching.chunks):
            searching.scan(chunk, first, last)
        searching.stream.synchronize()
        own.give_back(searching.lists)

    return run


def peaks(codes: Any) -> tuple[float, float]:
    """Bytes read a second, and multiply-adds of 8-bit integers a second, by the scan's own instructions."""
    from numba import cuda, types

    from fastvec.kernels.cuda.intrinsics import kernel, launch, load_rows, multiply, pick, zeros

    pieces, turns = len(codes) // 4 // 128, 1 << 12

    @kernel
    def read(codes, pieces, out):
        total, here = types.int32(0), types.int64(cuda.grid(1))
        warp, lane = here >> 5, here & 31
        warps = types.int64(cuda.gridsize(1)) >> 5
        for piece in range(warp, pieces, warps):
            words = load_rows(codes, (piece * 128 + lane) * 4, 128, 4)
            total ^= words[0] ^ words[4] ^ words[8] ^ words[12]
        if total == 123456789:
            out[0] = total

    @kernel
    def compute(codes, turns, out):
        fragments = cuda.shared.array(1024, types.int32)
        lane = types.int64(cuda.laneid)
        for i in range(lane, 1024, 32):
            fragments[i] = codes[i]
        cuda.syncthreads()
        words, sums = load_rows(codes, lane * 4, 128, 2), zeros(64)
        for _ in range(turns):
            sums = multiply(sums, words, fragments, lane * 2, 64)
        for z in range(64):
            if pick(sums, types.int64(z)) == 123456789:
                out[0] = z

    out = cuda.to_device(np.zeros(1, np.int32))
    processors = device.processors()
    reading = seconds(lambda: launch(read, 8 * processors, 256)(codes, pieces, out))
    computing = seconds(lambda: launch(compute, 4 * processors, 128)(codes, turns, out))
    products = 4 * processors * 4 * turns * 16 * 16 * 8 * 32
    return 4 * len(codes) / reading, products / computing


def main() -> None:
    """Measure the case that the command line names."""
    reason = device.why_not()
    if reason is not None:
        sys.exit(f"no device: {reason}")
    n, dims, k = (int(text) for text in (*sys.argv[1:], *("1000000", "768", "10")[len(sys.argv) - 1 :]))
    print(f"{device.name()}, {device.processors()} multiprocessors, fastvec {fastvec.__version__}")
    vectors, queries = data(n, dims)
    start = time.perf_counter()
    index = fastvec.Index(vectors, device="cuda")
    print(f"{n:,} x {dims}, k {k}; Index in {time.perf_counter() - start:.1f} s, {index.nbytes / 1e9:.1f} GB")
    codes = index._on_device.codes
    bandwidth, products = peaks(codes) if len(codes) >= 1 << 16 else (np.nan, np.nan)
    print(f"measured here: {bandwidth / 1e9:,.0f} GB/s read, {2 * products / 1e12:,.0f} int8 TOPS")
    peers: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    for name, make in PEERS.items():
        if importlib.util.find_spec(name):
            peers |= make(vectors, k)
        else:
            print(f"absent: {name}")
    for m in BATCHES:
        report(index, np.ascontiguousarray(queries[:m]), k, peers, bandwidth, products)


def report(
    index: fastvec.Index,
    queries: np.ndarray,
    k: int,
    peers: dict[str, Callable[[np.ndarray], np.ndarray]],
    bandwidth: float,
    products: float,
) -> None:
    """Check and print one batch."""
    m, n = len(queries), len(index)
    truth = index.search(queries, k).indices
    print(f"\nbatch {m}")
    competitors: dict[str, Answer] = {"fastvec": lambda: index.search(queries, k).indices}
    for name, peer in peers.items():
        competitors[name] = functools.partial(peer, queries)
    times = measure(competitors)
    for name, own in times.items():
        ratio = np.median(own / times["fastvec"])
        found = (
            ""
            if name == "fastvec"
            else f"   {ratio:6.2f} x fastvec   recall {recall(competitors[name](), truth):.4f}"
        )
        print(f"   {name:26} {1e3 * np.median(own):9.3f} ms   (min {1e3 * own.min():9.3f}){found}")
    own_seconds = seconds(scanner(index, queries, k))
    share_read = 4 * len(index._on_device.codes) / own_seconds / bandwidth
    share_products = m * n * index._on_device.steps * 32 / own_seconds / products
    shape = scan.shape_for(m, index._on_device.steps)
    print(
        f"   scan and thresholds alone {1e3 * own_seconds:9.3f} ms: {share_read:.0%} of reading codes once, "
        f"{share_products:.0%} of the tensor cores; {shape.row_tiles} x {shape.query_tiles} tiles a warp"
    )


if __name__ == "__main__":
    main()
