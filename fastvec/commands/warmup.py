"""`fastvec warmup`: compile ahead what the first calls would wait for."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from ..choices import METRICS, Metric
from . import compiled_code
from .failures import micro_kernel, one_line_errors
from .output import working


@click.command(short_help="Compile ahead what first calls would wait for.")
def command() -> None:
    """Compile all kernels of searches, analogies and row operations, and cache them on disk.

    Without this, the first call of each kind takes some seconds to compile what it needs, once for each
    user, version and processor. For an image, or an account whose home cannot be written, set
    NUMBA_CACHE_DIR to a folder that can be written, both here and wherever fastvec is used:

        NUMBA_CACHE_DIR=/opt/fastvec-cache fastvec warmup

    FASTVEC_MICRO_KERNEL is respected; without it, the best micro-kernel of this machine is compiled.
    """
    name = micro_kernel()
    with one_line_errors():
        folders = compiled_code.caches()
        if not folders:
            raise click.ClickException(
                "no cache folder can be written, so every process compiles for itself; "
                "set NUMBA_CACHE_DIR to a folder that can be written"
            )
        before, start = compiled_code.stamps(folders), time.perf_counter()
        with working("compiling", "steps") as progress:
            warm_up(progress)
        seconds, after = time.perf_counter() - start, compiled_code.stamps(folders)
    compiled = sum(before.get(file) != stamp for file, stamp in after.items())
    click.echo(f"{compiled} kernels compiled and cached in {seconds:.1f} s (micro-kernel: {name})")
    for folder in folders:
        click.echo(f"cache: {folder}")


def warm_up(progress: Callable[[int, int], object] | None = None) -> None:
    """Call every public function so that each of its kernels runs once.

    Args:
        progress: called before each step with the steps done and their number.
    """
    import numpy as np

    from ..kernels.cuda import device

    # Enough rows and queries to reach every way of a search: see fastvec._request.
    vectors = np.random.default_rng(0).standard_normal((4096, 64), np.float32)
    steps: list[Callable[[], object]] = [partial(_search, vectors, metric) for metric in METRICS]
    steps += [partial(_search_by_screen, vectors, metric) for metric in _bounded()]
    steps += [partial(_search_int8, vectors, metric) for metric in METRICS]
    steps += [partial(_search_on_disk, vectors, metric) for metric in METRICS]
    steps += [
        partial(step, vectors) for step in (_search_by_direction, _analogies, _rows, _similarities, _files)
    ]
    if device.why_not() is None:
        steps.append(partial(_search_on_device, vectors))
    for done, step in enumerate(steps):
        if progress is not None:
            progress(done, len(steps))
        step()


def _bounded() -> list[Metric]:
    """The metrics that have a bound."""
    from ..kernels import metrics

    return [metric for metric in METRICS if metric in metrics.BOUNDED]


def _search(vectors: Any, metric: Metric) -> None:
    from .. import Index, audit, knn

    audit(vectors[:1], vectors, [[0]], metric=metric)
    index = Index(vectors, metric=metric)
    for queries in (vectors[0], vectors[:256]):
        knn(queries, vectors, 10, metric=metric)
        index.search(queries, 10)
        index.search(queries, 10, dims=32)
        index.search(queries, 10, where=range(100))  # of which the codes are gathered
        index.search(queries, 100)  # many rows of many queries are scored in the order of rows
        index.search(queries, len(vectors))  # the exact pass does this
        index.range_search(queries, 0.0)
    index.pairs(-1e30, where=range(3))  # whatever the metric, they reach it
    index.duplicates(0.999)
    index.knn_graph(1, include_self=True)


def _search_int8(vectors: Any, metric: Metric) -> None:
    import numpy as np

    from .. import Index

    index = Index(np.clip(vectors * 40, -128, 127).astype(np.int8), metric=metric)
    for queries in (vectors[0], vectors[:256]):
        index.search(queries, 10)
        index.search(queries, 10, dims=32)
        index.search(queries, 100)
        index.search(queries, len(vectors))
        index.range_search(queries, 0.0)


def _search_on_disk(vectors: Any, metric: Metric) -> None:
    import numpy as np

    from .. import Index

    wide = np.concatenate([vectors, vectors[::-1]], axis=1)
    with tempfile.TemporaryDirectory() as folder:
        index = Index.build(wide, Path(folder, "index"), metric=metric)
        for queries in (wide[0], wide[:256]):
            for dims in (None, 32):
                index.search(queries, 10, dims=dims)
            index.search(queries, 100)
            index.search(queries, len(vectors))
            index.range_search(queries, 0.0)
        del index  # whose files are open


def _search_by_screen(vectors: Any, metric: Metric) -> None:
    import numpy as np

    from .. import Index

    wide = np.concatenate([vectors, vectors[::-1]], axis=1)
    index = Index(wide, metric=metric, screen=64)
    for queries in (wide[0], wide[:256]):
        index.search(queries, 10)
        index.range_search(queries, 0.0)
    index.add(wide[:1])
    index.search(wide[0], 10)


def _search_by_direction(vectors: Any) -> None:
    import numpy as np

    from .. import Index

    wide = np.concatenate([vectors, vectors[::-1]], axis=1) + np.float32(2)
    index = Index(wide[:512])
    for queries in (wide[0], wide[:256]):
        index.search(queries, 10)
        index.search(queries, 10, dims=64)


def _analogies(vectors: Any) -> None:
    from .. import analogy

    for method in ("3cosadd", "3cosmul"):
        analogy(vectors, [1, 2], [3], method=method)


def _rows(vectors: Any) -> None:
    import numpy as np

    from .. import normalize, topk, truncate

    for dtype in (np.float32, np.float64, np.int32, np.int64):
        topk(np.eye(4, dtype=dtype), 2)
    normalize(vectors)
    truncate(vectors.astype(np.float64), 32)


def _similarities(vectors: Any) -> None:
    from .. import Vocabulary, cosine_similarity

    Vocabulary(["a", "b"], vectors[:2]).similarity("a", "b")
    cosine_similarity(vectors[:256])
    cosine_similarity(vectors[:40], vectors)
    cosine_similarity(vectors[:2048], vectors)  # so many products that narrow tiles form them, too
    cosine_similarity(vectors[0], vectors)


def _files(vectors: Any) -> None:
    from .. import files

    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".vec", ".bin"):
            files.write(Path(folder, f"warm{suffix}"), ["a", "b"], vectors[:2])
            files.read(Path(folder, f"warm{suffix}"))


def _search_on_device(vectors: Any) -> None:
    """Search on the device, with the widths and batches that reach every shape of its scan."""
    import numpy as np

    from .. import Index

    equal = np.repeat(vectors[:1], 20_000, axis=0)  # the exact pass does this
    for metric in _bounded():
        index = Index(vectors, metric=metric, device="cuda")
        for m in (1, 9, 33):
            index.search(vectors[:m], 10)
        index.search(vectors[0], 10, dims=32, where=[1, 2])
        Index(equal, metric=metric, device="cuda").search(vectors[0], 10)
    for dims, m in ((1600, 9), (6400, 1)):
        wide = np.ones((m, dims), np.float32)
        Index(wide, device="cuda").search(wide, 1)
