"""The table of other libraries: a row for each, set up for speed as its users would.

A row has functions that prepare (not timed) and return what is timed:

``search(corpus)``      -> ``run(queries)``, the nearest rows of each query
``similarity(corpus)``  -> ``run(queries)``, cosines (m, n) of rows that are not of unit length yet
``select(k)``           -> ``run(scores)``, the k largest of each row, and where they are

What a search returns goes through ``read`` to be judged, which is not timed. For cosine, peers get rows
and queries of unit length, which costs them nothing. To add a peer: its functions, and its row. Those that
search on a device have a table of their own, ``on_device``. A ``Peer`` of another package takes part by the
name "module:attribute", without a row here.
"""

from __future__ import annotations

import functools
import importlib
import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from .. import _facts
from . import device_peers, index_peers, matrix_peers, torch_peers
from .corpus import Corpus, Run


class Peer(NamedTuple):
    """A library, or one way to use it."""

    name: str
    module: str
    """The module that must be installed."""
    setting: str
    search: Callable[[Corpus], Run] | None = None
    similarity: Callable[[Corpus], Run] | None = None
    select: Callable[[int], Run] | None = None
    build: Callable[[Corpus], Any] | None = None
    """What ``search`` finds in ``corpus.built``; peers of one race with the same function share it."""
    precision: str = "float32"
    metrics: tuple[str, ...] = ("cosine", "dot")
    filters: bool = False
    """Whether its search takes ``where``."""
    most_queries: int | None = None
    """For a peer that answers one query at a time: the most queries that it is asked."""
    most_products: float | None = None
    """For a slow peer: the most products m · n · dims that it is asked for."""
    read: Callable[[Any], Any] = lambda result: result
    loads: str | None = None
    """The module to import before its threads are set, if not ``module``."""
    lacks: Callable[[], str | None] = lambda: None
    """What it lacks here although it is installed, or None; the call imports it."""
    origin: str = ""
    """Where it was found, as "module:attribute", if it comes from outside."""

    @property
    def installed(self) -> bool:
        """Whether its library can be imported."""
        return _facts.installed(self.module)

    def missing(self) -> str | None:
        """Why it cannot run here, or None; the call imports some libraries."""
        return self.lacks() if self.installed else f"{self.module} is not installed"

    def too_slow(self, products: float, metric: str = "cosine") -> str | None:
        """Why it is not asked for ``products`` = m · n · dims, or None."""
        most = math.inf if self.most_products is None else self.most_products
        if metric not in _PRODUCTS:
            most = min(most, _MOST_DIFFERENCES)
        return None if products <= most else f"slow: not asked for more than {most:.0e} products"


def chosen(names: Sequence[str] | None = None) -> tuple[list[Peer], dict[str, str]]:
    """The peers of these names (None: all) that can run here, and the others with the reason.

    Args:
        names: of the table; or "module:attribute", where a ``Peer`` is, or a function that returns one.

    Raises:
        ValueError: a name is not in the table, or there is no peer where it says.
    """
    unknown = [name for name in names or () if name not in TABLE and ":" not in name]
    if unknown:
        raise ValueError(
            f"no peer is named {', '.join(unknown)}; there are {', '.join(TABLE)}, and those of other "
            "packages as MODULE:NAME"
        )
    wanted = TABLE if names is None else names
    listed = [TABLE[name] if name in TABLE else _from_outside(name) for name in wanted]
    twice = sorted({peer.name for peer in listed if [p.name for p in listed].count(peer.name) > 1})
    if twice:
        raise ValueError(
            f"several of these peers are named {', '.join(twice)}; give each once, by its own name"
        )
    absent = {peer.name: reason for peer in listed if (reason := peer.missing()) is not None}
    return [peer for peer in listed if peer.name not in absent], absent


def _from_outside(place: str) -> Peer:
    """The peer that another package defines."""
    module, _, attribute = place.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (AttributeError, ImportError) as error:
        raise ValueError(f"no peer is at {place}: {error}") from error
    peer = found() if callable(found) else found
    if not isinstance(peer, Peer):
        raise ValueError(f"{place} is a {type(peer).__name__}; it must be a fastvec.benchmark.peers.Peer")
    return peer._replace(origin=place)


def equalize(threads: int, peers: Iterable[Peer]) -> dict[str, str]:
    """Give every library this number of threads, by its own setter; return what was done, by library.

    Libraries are imported first: threadpoolctl reaches only what is loaded.
    """
    import fastvec

    fastvec.set_num_threads(threads)
    _stated.clear()
    _stated["fastvec"] = f"set_num_threads({threads})"
    names = sorted({peer.loads or peer.module for peer in peers})
    if "turbovec" in names:
        _stated["turbovec"] = _tell_turbovec(threads)
    modules = {name: importlib.import_module(name) for name in names}
    if "torch" in modules:
        modules["torch"].set_num_threads(threads)
        _stated["torch"] = f"set_num_threads({threads})"
    if "faiss" in modules:
        modules["faiss"].omp_set_num_threads(threads)
        _stated["faiss"] = f"omp_set_num_threads({threads})"
    if "usearch" in modules:
        _stated["usearch"] = f"search(threads={threads})"
    if "numkong" in modules:
        _stated["numkong"] = f"{threads} threads of ours, a part of the rows each"
    if _facts.installed("threadpoolctl"):
        importlib.import_module("threadpoolctl").threadpool_limits(threads)
        _stated["BLAS and OpenMP"] = f"threadpoolctl.threadpool_limits({threads})"
    else:
        _stated["BLAS and OpenMP"] = "their own number: threadpoolctl is not installed"
    return dict(_stated)


def _tell_turbovec(threads: int) -> str:
    """It starts its threads when it is imported, as many as the environment says, and keeps them."""
    if "turbovec" not in sys.modules:
        os.environ["RAYON_NUM_THREADS"] = str(threads)
        _told["turbovec"] = threads
    told = _told.get("turbovec")
    if told is None:
        return "its own number: it was imported before"
    return f"RAYON_NUM_THREADS={told}" + ("" if told == threads else ", which cannot change in a process")


_stated: dict[str, str] = {}
_told: dict[str, int] = {}
"""The threads of libraries that can be told once."""


def stated() -> dict[str, str]:
    """What the last call of ``equalize`` did."""
    return dict(_stated)


_COSINE = ("cosine",)
_PRODUCTS = ("cosine", "dot", "euclidean")
"""Metrics that a matrix product gives."""
_DISTANCES = ("euclidean", "manhattan")
_ALL = (*_PRODUCTS, "manhattan")
_MOST_DIFFERENCES = 1e10
"""The most m · n · dims that any peer is asked for by a metric that is not a matrix product."""

_ROWS = (
    Peer("numpy", "numpy", "matmul (manhattan: differences), argpartition; blocks", matrix_peers.numpy_search,
         matrix_peers.numpy_similarity, matrix_peers.numpy_select, metrics=_ALL, filters=True),
    Peer("torch", "torch", "float32 matmul or cdist, topk", torch_peers.torch_search,
         torch_peers.torch_similarity, torch_peers.torch_select, metrics=_ALL, filters=True),
    Peer("faiss", "faiss", "IndexFlat, by its inner product, L2 or L1", index_peers.faiss_search,
         metrics=_ALL, filters=True),
    Peer("faiss-panorama", "faiss", "IndexFlat(IP|L2)Panorama on principal axes, 16 levels; turns queries",
         index_peers.faiss_panorama, metrics=_PRODUCTS, filters=True, lacks=index_peers.panorama_lacks),
    Peer("usearch", "usearch", "search(exact=True)", index_peers.usearch_search,
         metrics=_PRODUCTS, most_products=1e10),
    Peer("numkong", "numkong", "dots_packed, argpartition; a part of the rows for each thread",
         matrix_peers.numkong_search, matrix_peers.numkong_similarity),
    Peer("scikit-learn", "sklearn", "NearestNeighbors(brute), cosine as euclidean; cosine_similarity",
         matrix_peers.sklearn_search, matrix_peers.sklearn_similarity, metrics=(*_COSINE, *_DISTANCES),
         loads="sklearn.neighbors"),
    Peer("scipy", "scipy", "cdist in float64, one thread", matrix_peers.scipy_search,
         matrix_peers.scipy_similarity, metrics=(*_COSINE, *_DISTANCES), most_products=2e9,
         loads="scipy.spatial.distance"),
    Peer("gensim", "gensim", "KeyedVectors.similar_by_vector, one query at a time", index_peers.gensim_search,
         metrics=_COSINE, most_queries=8, read=index_peers.read_words, loads="gensim.models"),
    Peer("semantic_search", "torch", "sentence-transformers' logic: chunks of 100 queries, topk, heap, dicts",
         torch_peers.semantic_search, metrics=_COSINE, read=torch_peers.read_hits),
    Peer("torch-bfloat16", "torch", "bfloat16 matmul, topk",
         functools.partial(torch_peers.torch_search, bfloat16=True), precision="inexact"),
    Peer("faiss-8-bit", "faiss", "IndexScalarQuantizer(QT_8bit)", index_peers.faiss_8_bit,
         precision="inexact", most_products=6e9),
    *(
        Peer(f"faiss-ivf-{probes}", "faiss", f"IndexIVFFlat, up to 4√n lists, nprobe {probes}",
             functools.partial(index_peers.faiss_inverted, probes=probes), build=index_peers.faiss_lists,
             precision="inexact")
        for probes in (4, 16, 64)
    ),
    *(
        Peer(f"faiss-hnsw-{width}", "faiss", f"IndexHNSWFlat, M 32, efSearch {width}",
             functools.partial(index_peers.faiss_hnsw, width=width), build=index_peers.faiss_graph,
             precision="inexact")
        for width in (16, 64, 256)
    ),
    Peer("turbovec-4-bit", "turbovec", "TurboQuantIndex(bit_width=4)", index_peers.turbovec_4_bit,
         precision="inexact"),
)  # fmt: skip


def on_device(device: str, chunk: int = 1 << 18) -> list[Peer]:
    """Peers that search on a device, "cuda"; torch's compute on "cpu" as well, so that tests can run them.

    Args:
        device: as torch names it.
        chunk: rows whose scores the chunked ones hold at a time.
    """

    def torch_on(name: str, setting: str, precision: str = "float32", **options: Any) -> Peer:
        search = functools.partial(device_peers.torch_device_search, device=device, **options)
        lacks = functools.partial(device_peers.torch_lacks, device)
        return Peer(f"torch-{device}{name}", "torch", setting, search, precision=precision, lacks=lacks)

    chunks = f"topk, {chunk:,} rows at a time"
    found = [
        torch_on("", "float32 matmul, topk of all scores at once"),
        torch_on("-chunked", f"float32 matmul, {chunks}", chunk=chunk),
        torch_on("-tf32", f"TF32 matmul, {chunks}", "inexact", chunk=chunk, tf32=True),
        torch_on("-bfloat16", f"bfloat16 matmul, {chunks}", "inexact", chunk=chunk, kind="bfloat16"),
    ]
    if device == "cuda":
        setting = "float32 matmul, argsort of all scores at once"
        # Sorting takes far more memory than the scores.
        found.append(Peer("cupy", "cupy", setting, device_peers.cupy_search, most_products=1e11))
    return found


TABLE: dict[str, Peer] = {peer.name: peer for peer in _ROWS}
