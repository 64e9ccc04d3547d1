"""Selection, normalize and truncate against peers, and against what the memory allows.

    python bench/bench_topk.py                every case, about two minutes
    python bench/bench_topk.py 10m normalize  cases whose name holds one of the words

As in bench_search.py: competitors take turns, a ratio compares two times of one round, and
answers are checked first. The limit of a selection is a plain read of the scores, that of
normalize and truncate a plain copy of the same bytes; outputs are given, so that no time
goes into fresh memory.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from bench_search import THREADS, measure, read

import fastvec
from fastvec.kernels import rows, simd, threads
from fastvec.kernels.compile import kernel


class Case(NamedTuple):
    """Competitors for one piece of work; the first is fastvec, and ``limit`` is no peer."""

    name: str
    competitors: dict[str, Callable[[], Any]]


def numpy_topk(scores: np.ndarray, k: int) -> np.ndarray:
    """Partial sort, then a sort of what it found."""
    n = scores.shape[-1]
    best = np.argpartition(scores, n - k, axis=-1)[..., n - k :] if k < n else np.argsort(scores, axis=-1)
    order = np.argsort(-np.take_along_axis(scores, best, -1), axis=-1)
    return np.take_along_axis(best, order, -1)


def topk_case(name: str, scores: np.ndarray, k: int) -> Case:
    """NumPy and torch against topk; all find the same scores."""
    import torch

    torch.set_num_threads(THREADS)
    tensor = torch.from_numpy(scores)
    own = fastvec.topk(scores, k).scores
    if not np.array_equal(own, tensor.topk(k).values.numpy()):
        raise SystemExit(f"{name}, k {k}: not torch's answer")
    if not np.array_equal(own, np.take_along_axis(scores, numpy_topk(scores, k), -1)):
        raise SystemExit(f"{name}, k {k}: not NumPy's answer")
    return Case(
        f"{name}, k {k}",
        {
            "fastvec": lambda: fastvec.topk(scores, k),
            "numpy": lambda: numpy_topk(scores, k),
            "torch": lambda: tensor.topk(k),
            "limit": lambda: read(scores),
        },
    )


@kernel
def _copy(start, stop, source, stride, target, width):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        for at in range(0, width, 128):
            simd.store(target + i * width + at, simd.load(source + i * stride + at))


def copy(source: np.ndarray, target: np.ndarray) -> None:
    """Copy rows of a multiple of 32 values, THREADS at once."""
    arguments = (source.ctypes.data, source.strides[0], target.ctypes.data, 4 * target.shape[1])
    parts = rows.blocks(len(source), 4 * target.shape[1], THREADS)
    threads.run(lambda part: _copy(*part, *arguments), parts, THREADS)


def numpy_unit(source: np.ndarray, target: np.ndarray) -> None:
    """Norm, then division."""
    np.divide(source, np.linalg.norm(source, axis=1, keepdims=True), out=target)


def unit_case(n: int, width: int, dims: int) -> Case:
    """Rows cut to ``dims`` columns and normalized."""
    vectors = np.random.default_rng(1).standard_normal((n, width), np.float32)
    kept, own, other = vectors[:, :dims], np.zeros((n, dims), np.float32), np.zeros((n, dims), np.float32)
    whole = dims == width
    run = fastvec.normalize if whole else lambda x, out: fastvec.truncate(x, dims, out=out)
    run(vectors, out=own)
    numpy_unit(kept, other)
    np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-7)
    return Case(
        f"{'normalize' if whole else 'truncate'} {n:,} x {width:,}" + ("" if whole else f" to {dims}"),
        {
            "fastvec": lambda: run(vectors, out=own),
            "numpy": lambda: numpy_unit(kept, other),
            "limit": lambda: copy(kept, other),
        },
    )


def cases(chosen: Callable[[str], bool]) -> Iterator[Case]:
    """The cases whose name is chosen, data made as they come."""
    rng = np.random.default_rng(1)
    for name, shape, ks in (
        ("topk 1,024 x 100,000", (1024, 100_000), (10, 100)),
        ("topk 64 x 100,000", (64, 100_000), (1000, 50_000, 100_000)),
        ("topk 10m", (10_000_000,), (10, 100)),
        ("topk 4 x 100", (4, 100), (10,)),
    ):
        if chosen(name):
            scores = rng.standard_normal(shape, np.float32)
            for k in ks:
                yield topk_case(name, scores, k)
    if chosen("normalize"):
        yield unit_case(100_000, 768, 768)
    if chosen("truncate"):
        yield unit_case(100_000, 3072, 256)


def main() -> None:
    """Measure and print."""
    fastvec.set_num_threads(THREADS)
    for case in cases(lambda name: len(sys.argv) == 1 or any(word in name for word in sys.argv[1:])):
        times = measure(case.competitors, 1)
        own = times["fastvec"]
        print(case.name)
        print("   ms  " + "   ".join(f"{who} {np.median(t):.3f} ({t.min():.3f})" for who, t in times.items()))
        ratios = [
            f"{np.median(t / own):.2f} x {who}" for who, t in times.items() if who not in ("fastvec", "limit")
        ]
        print("   " + ", ".join(ratios) + f", {np.median(times['limit'] / own):.0%} of the limit", flush=True)


if __name__ == "__main__":
    main()
