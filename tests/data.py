"""Awkward rows, widths and counts, and Hypothesis strategies that mix them.

Every kind is a function (n, dims, seed) -> float32 (n, dims).
"""

from typing import NamedTuple

import numpy as np
from corpus import hashed
from hypothesis import strategies as st

from fastvec import machine
from fastvec.kernels import metrics

# One below, at and one above every lane, tile and code-block boundary.
WIDTHS = (1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 128, 200)
COUNTS = (1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 300, 1030)
FLOAT32_MAX = np.finfo(np.float32).max


def gaussian(n, dims, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dims), dtype=np.float32)


def zero(n, dims, seed=0):
    return np.zeros((n, dims), np.float32)


def duplicate(n, dims, seed=0):
    """About five distinct rows, so ties decide most places."""
    return gaussian(5, dims, seed)[np.random.default_rng(seed).integers(0, 5, n)]


def tied(n, dims, seed=0):
    return np.repeat(gaussian(1, dims, seed), n, axis=0)


def scaled_copy(n, dims, seed=0):
    """One direction at many lengths: equal cosines up to the last bits."""
    lengths = np.random.default_rng(seed).uniform(0.5, 3.0, (n, 1)).astype(np.float32)
    return gaussian(1, dims, seed) * lengths


def huge(n, dims, seed=0):
    return gaussian(n, dims, seed) * np.float32(1e30)


def largest(n, dims, seed=0):
    """Every entry ±float32 max: sums overflow float32 at once."""
    return np.copysign(FLOAT32_MAX, gaussian(n, dims, seed))


def tiny(n, dims, seed=0):
    return gaussian(n, dims, seed) * np.float32(1e-30)


def subnormal(n, dims, seed=0):
    return (gaussian(n, dims, seed).astype(np.float64) * 1e-42).astype(np.float32)


def outlier(n, dims, seed=0):
    """One dimension dwarfs the rest, which then vanish in an int8 code."""
    rows = gaussian(n, dims, seed)
    rows[:, seed % dims] += np.float32(1e5)
    return rows


def near_tie(n, dims, seed=0):
    """One row, one entry of each copy moved by one unit in the last place."""
    rng = np.random.default_rng(seed)
    rows = tied(n, dims, seed)
    entries = np.arange(n), rng.integers(0, dims, n)
    toward = rng.choice(np.array([-np.inf, np.inf], np.float32), n)
    rows[entries] = np.nextafter(rows[entries], toward)
    return rows


def one_hot(n, dims, seed=0):
    rows = np.zeros((n, dims), np.float32)
    rows[np.arange(n), np.random.default_rng(seed).integers(0, dims, n)] = 1
    return rows


def integer(n, dims, seed=0):
    return np.random.default_rng(seed).integers(-3, 4, (n, dims)).astype(np.float32)


def decaying(n, dims, seed=0):
    """Most of the length in the first dimensions, as in Matryoshka embeddings."""
    return gaussian(n, dims, seed) / np.arange(1, dims + 1, dtype=np.float32)


def ranging(n, dims, seed=0):
    """Lengths spread over all of float32, so no one scale fits two rows."""
    exponents = np.random.default_rng(seed).uniform(-44, 37, (n, 1))
    return (hashed(n, dims, seed).astype(np.float64) * 10.0**exponents).astype(np.float32)


KINDS = {
    kind.__name__: kind
    for kind in (
        hashed,
        gaussian,
        zero,
        duplicate,
        tied,
        scaled_copy,
        huge,
        largest,
        tiny,
        subnormal,
        outlier,
        near_tie,
        one_hot,
        integer,
        decaying,
        ranging,
    )
}


def mixed(n, dims, seed=0, kinds=tuple(KINDS)):
    """Rows of several kinds, one after another."""
    rows = np.empty((n, dims), np.float32)
    for i, kind in enumerate(kinds):
        part = rows[i :: len(kinds)]
        part[:] = KINDS[kind](len(part), dims, seed + i)
    return rows


def sharing(n, dims, seed=0):
    """Rows that point much the same way, as those of many models do, at various lengths."""
    rows = np.full(dims, 1.5, np.float32) + gaussian(n, dims, seed)
    return rows * np.random.default_rng(seed).uniform(0.01, 100, (n, 1)).astype(np.float32)


def mean_of(vectors):
    """The mean of unit rows."""
    rows = vectors.astype(np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0).astype(np.float32)


def related(vectors, m, seed=0):
    """Queries that make ties: rows of the vectors, some of them negated or halved."""
    if len(vectors) == 0:
        return gaussian(m, vectors.shape[1], seed)
    rng = np.random.default_rng(seed)
    rows = vectors[rng.integers(0, len(vectors), m)]
    return rows * rng.choice(np.array([1, 1, -1, 0.5], np.float32), (m, 1))


class ArrayOnly:
    """An object whose only way in is `__array__`."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array if dtype is None else self.array.astype(dtype)


class DLPackOnly:
    """An object whose only way in is DLPack, as of a tensor library without NumPy support."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def unaligned(array):
    return np.frombuffer(b"?" + array.tobytes(), array.dtype, offset=1).reshape(array.shape)


FORMS = {
    "read-only": read_only,
    "strided columns": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "strided rows": lambda x: np.repeat(x, 3, axis=0)[::3],
    "reversed": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "padded rows": lambda x: np.pad(x, ((0, 0), (0, 7)))[:, : x.shape[1]],
    "Fortran": np.asfortranarray,
    "foreign endian": lambda x: x.astype(x.dtype.newbyteorder()),
    "foreign endian float64": lambda x: x.astype(np.dtype("f8").newbyteorder()),
    "float64": lambda x: x.astype(np.float64),
    "strided float64": lambda x: np.repeat(x.astype(np.float64), 2, axis=1)[:, ::2],
    "unaligned": unaligned,
    "unaligned float64": lambda x: unaligned(x.astype(np.float64)),
    "list": lambda x: x.tolist(),
    "list of arrays": list,
    "__array__": ArrayOnly,
    "DLPack": DLPackOnly,
    "strided DLPack": lambda x: DLPackOnly(np.repeat(x, 2, axis=1)[:, ::2]),
    "float64 DLPack": lambda x: DLPackOnly(x.astype(np.float64)),
}


class Problem(NamedTuple):
    queries: np.ndarray
    vectors: np.ndarray
    k: int
    options: dict


seeds = st.integers(0, 2**32 - 1)
thread_counts = st.sampled_from([None, 1, 2, 3])
row_counts = st.sampled_from((*COUNTS, 0))
widths = st.sampled_from(WIDTHS)


@st.composite
def matrices(draw, counts=row_counts, widths=widths):
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=3))
    return mixed(draw(counts), draw(widths), draw(seeds), tuple(kinds))


@st.composite
def filters(draw, n):
    """None, a mask, or row numbers with repeats; masks that pass nothing included."""
    kind = draw(st.sampled_from(["none", "mask", "indices"]))
    if kind == "none":
        return None
    rng = np.random.default_rng(draw(seeds))
    mask = rng.random(n) < draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
    if kind == "mask":
        return mask
    indices = np.flatnonzero(mask)
    return np.concatenate([indices, indices[::2]]) if n else indices


@st.composite
def exclusions(draw, m, n):
    """None, an (m, e) array padded with -1, or one list for each query."""
    kind = draw(st.sampled_from(["none", "array", "lists"]))
    if kind == "none" or n == 0:
        return None
    array = np.random.default_rng(draw(seeds)).integers(-1, n, (m, draw(st.integers(0, 4))))
    if kind == "array":
        return array
    return [row[: i % 3].tolist() for i, row in enumerate(array)]


@st.composite
def problems(draw):
    """A whole search: queries, vectors, k, and options that knn and its oracle share."""
    vectors = draw(matrices())
    n, width = vectors.shape
    m = draw(st.integers(0, 40))
    if draw(st.booleans()):
        queries = related(vectors, m, draw(seeds))
    else:
        queries = draw(matrices(counts=st.just(m), widths=st.just(width)))
    dims = draw(st.none() | st.integers(1, width))
    if dims is not None and draw(st.booleans()):
        queries = queries[:, :dims]
    options = {
        "metric": draw(st.sampled_from(list(metrics.TABLE))),
        "dims": dims,
        "where": draw(filters(n)),
        "exclude": draw(exclusions(m, n)),
    }
    return Problem(queries, vectors, draw(st.sampled_from([1, 2, 5, 10, n + 1])), options)


def metrics_and_micro_kernels():
    """Every metric with a bound by the micro-kernel in use, and the cosine by each that runs here.

    No code belongs to both a metric and a micro-kernel (``kernels/scorers.py``).
    """
    active = machine.active_micro_kernel()
    names = [record.name for record in machine.micro_kernels() if record.available]
    return [
        (metric, name) for metric in metrics.BOUNDED for name in names if metric == "cosine" or name == active
    ]
