"""The ways to the answers of the corpus: what holds the rows, micro-kernels, threads, splits of a batch.

`tests/test_digests.py` takes a few of all combinations, in which every pair of choices occurs (`covering`);
`python tests/reproducibility.py` takes all. To add a way: a function, and its row in `WAYS`.
"""

import contextlib
import functools
import importlib.util
import itertools
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from corpus import FUNCTIONS, Case, digest, hashed

import fastvec
from fastvec.kernels import cost

CHOSEN = "chosen"
"""No micro-kernel is forced, so that the cost model chooses among scans and the direct pass."""
KERNELS = (CHOSEN, *(kernel.name for kernel in fastvec.machine.micro_kernels() if kernel.available))
THREADS = (1, 2, 3, 7)
SPLITS = {
    "whole": lambda m: [0, m],
    "halves": lambda m: [0, m // 2, m],
    "few": lambda m: [0, *(i for i in (1, 3) if i < m), m],
}
"""Of m queries, the borders of those that are asked together."""


class Rows(NamedTuple):
    """What answers, an Index or the like; and the numbers of a case's rows there (None: their places)."""

    home: Any
    numbers: np.ndarray | None = None


def one_shot(case: Case, folder: Path) -> Rows:
    """Nothing kept: functions instead of an Index."""
    search = functools.partial(_knn, vectors=case.vectors, metric=case.metric)
    return Rows(SimpleNamespace(search=search, analogy=functools.partial(fastvec.analogy, case.vectors)))


def _knn(queries, k, *, vectors, **options):
    return fastvec.knn(queries, vectors, k, **options)


def _index(case: Case, **options: Any) -> fastvec.Index:
    return fastvec.Index(case.vectors, metric=case.metric, **options)


def index(case: Case, folder: Path) -> Rows:
    return Rows(_index(case))


def screened(case: Case, folder: Path) -> Rows:
    """With a screen; of wide rows, with leading codes."""
    return Rows(_index(case, screen=64 if case.vectors.shape[1] <= 192 else 192))


def converted(case: Case, folder: Path) -> Rows:
    """From columns of float64 in the other order of bytes."""
    return Rows(fastvec.Index(np.asfortranarray(case.vectors.astype(">f8")), metric=case.metric))


def int8(case: Case, folder: Path) -> Rows:
    return Rows(fastvec.Index(case.vectors.astype(np.int8), metric=case.metric))


def int8_once(case: Case, folder: Path) -> Rows:
    return one_shot(case._replace(vectors=case.vectors.astype(np.int8)), folder)


def _opened(case: Case, folder: Path, how: str) -> Rows:
    _index(case).save(folder / "index")
    return Rows(fastvec.Index.open(folder / "index", vectors=how))


def _blocks(vectors: np.ndarray) -> Iterator[np.ndarray]:
    """Rows in blocks of 1, 2, 4, … rows; no rows are one block."""
    first, size = 0, 1
    while first < max(1, len(vectors)):
        yield vectors[first : first + size]
        first, size = first + size, size * 2


def _built(case: Case, folder: Path, how: str, dtype: str = "float32") -> Rows:
    path = folder / "index"
    made = fastvec.Index.build(_blocks(case.vectors), path, metric=case.metric, screen="off", dtype=dtype)
    return Rows(made if how == "disk" else fastvec.Index.open(path, vectors=how))


def added(case: Case, folder: Path) -> Rows:
    """Built from nothing but one row, and then in pieces of all sizes."""
    made = fastvec.Index(case.vectors[:1], metric=case.metric)
    n = len(case.vectors)
    borders = sorted(min(border, n) for border in (1, 2, 18, 19, n // 2, n))
    for first, last in itertools.pairwise(borders):
        made.add(case.vectors[first:last])
    return Rows(made)


def _thinned(case: Case) -> Rows:
    """Rows that stood among others, which were removed."""
    n, dims = case.vectors.shape
    places = np.arange(n) * 3 // 2 + 1
    rows = hashed(2 + n * 3 // 2, dims, 77) * np.float32(8)
    rows[places] = case.vectors
    made = fastvec.Index(rows, metric=case.metric)
    made.remove(np.setdiff1d(np.arange(len(rows)), places))
    return Rows(made, places)


def removed(case: Case, folder: Path) -> Rows:
    return _thinned(case)


def compacted(case: Case, folder: Path) -> Rows:
    made = _thinned(case)
    np.testing.assert_array_equal(made.home.compact(), made.numbers)
    return Rows(made.home)


def replaced(case: Case, folder: Path) -> Rows:
    """Rows that others stood for at first, so that they do not lie in the order of their numbers."""
    n, dims = case.vectors.shape
    made = fastvec.Index(hashed(n, dims, 78) * np.float32(8), metric=case.metric)
    order = np.argsort(hashed(n, 1, 79)[:, 0])
    for some in (order[: n // 3], order[n // 3 :]):
        made.replace(some, case.vectors[some])
    return Rows(made)


def refreshed(case: Case, folder: Path) -> Rows:
    """Rows half of which another Index saved to the folder since it was opened."""
    half = len(case.vectors) // 2
    fastvec.Index(case.vectors[:half], metric=case.metric, screen="off").save(folder / "index")
    reader, writer = (fastvec.Index.open(folder / "index") for _ in range(2))
    writer.add(case.vectors[half:])
    writer.save(folder / "index")
    assert reader.refresh()
    return Rows(reader)


def pickled(case: Case, folder: Path) -> Rows:
    made = _thinned(case)
    return Rows(pickle.loads(pickle.dumps(made.home)), made.numbers)


class _Once(NamedTuple):
    """The functions for a dask array, without the arguments that they do not have."""

    array: Any
    metric: str

    def search(self, queries, k, *, num_threads, **options):
        from fastvec.integrations import dask

        return dask.knn(queries, self.array, k, metric=self.metric, **options)

    def analogy(self, positive, negative, k, *, num_threads, **options):
        from fastvec.integrations import dask

        return dask.analogy(self.array, positive, negative, k, **options)


def _chunked(case: Case, parts: int) -> Any:
    """A dask array of uneven chunks, some of which are empty, and whose columns are cut, too."""
    import dask.array

    n, dims = case.vectors.shape
    cuts = np.linspace(0, 1, parts + 1)[1:-1] ** 2 * n
    sizes = np.diff([0, *cuts.astype(int), n])
    return dask.array.from_array(
        case.vectors, chunks=(tuple(sizes.tolist()), (1, dims - 1) if dims > 1 else (1,))
    )


def dask_once(case: Case, folder: Path) -> Rows:
    return Rows(_Once(_chunked(case, 5), case.metric))


def dask_index(case: Case, folder: Path, parts: int = 1) -> Rows:
    from fastvec.integrations import dask

    with mock.patch("fastvec.integrations.dask._teams._SHARD_BYTES", 1):  # a shard a chunk
        return Rows(dask.Index(_chunked(case, parts), metric=case.metric, screen="off"))


def dask_folders(case: Case, folder: Path) -> Rows:
    """Three Index folders as one."""
    from fastvec.integrations import dask

    n = len(case.vectors)
    paths = []
    for first, last in itertools.pairwise([0, n // 5, n // 2, n]):
        paths.append(folder / str(len(paths)))
        fastvec.Index(case.vectors[first:last], metric=case.metric, screen="off").save(paths[-1])
    return Rows(dask.Index.open(paths))


class Way(NamedTuple):
    """How rows are made ready in an empty folder, what can be asked of them, and which cases go this way."""

    make: Callable[[Case, Path], Rows]
    asks: frozenset[str]
    suits: Callable[[Case], bool] = lambda case: True
    needs: str | None = None
    """A package."""

    def serves(self, case: Case) -> bool:
        return case.ask in self.asks and self.suits(case)

    @property
    def available(self) -> bool:
        return self.needs is None or importlib.util.find_spec(self.needs) is not None


def _holds(dtype: Any) -> Callable[[Case], bool]:
    """Whether all values of the rows are values of a type."""

    def suits(case: Case) -> bool:
        with np.errstate(all="ignore"):
            return bool((case.vectors.astype(dtype).astype(np.float32) == case.vectors).all())

    return suits


def _some(count: int) -> Callable[[Case], bool]:
    return lambda case: len(case.vectors) >= count


EVERY = frozenset({"knn", "range", "graph", "3cosadd", "3cosmul", "pairs", "groups"})
_ONCE = frozenset({"knn", "3cosadd", "3cosmul"})
_DISK = frozenset({"knn", "range", "graph", "3cosadd"})
"""Of rows that stay on disk, or are not float32 in their file."""
_SHARDS = frozenset({"knn", "range", "3cosadd", "3cosmul"})


WAYS = {
    "one-shot": Way(one_shot, _ONCE),
    "Index": Way(index, EVERY),
    "screen": Way(
        screened,
        EVERY,
        lambda case: case.vectors.shape[1] > 64 and len(case.vectors) and case.metric != "manhattan",
    ),
    "converted": Way(converted, EVERY),
    "int8": Way(int8, EVERY, lambda case: len(case.vectors) > 0 and _holds(np.int8)(case)),
    "int8 one-shot": Way(int8_once, _ONCE, _holds(np.int8)),
    "mapped": Way(functools.partial(_opened, how="mmap"), EVERY),
    "memory": Way(functools.partial(_opened, how="memory"), EVERY),
    "disk": Way(functools.partial(_opened, how="disk"), _DISK),
    "built mapped": Way(functools.partial(_built, how="mmap"), EVERY),
    "built disk": Way(functools.partial(_built, how="disk"), _DISK),
    "float16 mapped": Way(functools.partial(_built, how="mmap", dtype="float16"), _DISK, _holds(np.float16)),
    "float16 disk": Way(functools.partial(_built, how="disk", dtype="float16"), _DISK, _holds(np.float16)),
    "added": Way(added, EVERY, _some(1)),
    "removed": Way(removed, EVERY),
    "compacted": Way(compacted, EVERY),
    "replaced": Way(replaced, EVERY, _some(3)),
    "refreshed": Way(refreshed, EVERY, _some(2)),
    "pickled": Way(pickled, EVERY),
    "Dask one-shot": Way(dask_once, _ONCE, _some(1), "dask"),
    "Dask 1 chunk": Way(dask_index, _SHARDS, _some(1), "dask"),
    "Dask 7 chunks": Way(functools.partial(dask_index, parts=7), _SHARDS, _some(1), "dask"),
    "Dask folders": Way(dask_folders, _SHARDS, _some(1), "distributed"),
}


def answer(case: Case, rows: Rows, threads: int, split: str) -> str:
    """The digest of the answer to a case."""
    if case.ask in ("graph", "pairs", "groups"):
        return digest(*_of_all(case, rows, threads))
    borders = SPLITS[split](len(case.queries))
    parts = [slice(first, last) for first, last in itertools.pairwise(borders)]
    answers = [_of_some(case, rows, part, threads) for part in parts]
    return digest(*(np.concatenate(column) for column in zip(*answers, strict=True)))


def _of_all(case: Case, rows: Rows, threads: int) -> tuple[np.ndarray, ...]:
    """The answer to a question about all rows, in numbers of the case's rows."""
    home = rows.home
    if case.ask == "graph":
        scores, found = home.knn_graph(case.k, num_threads=threads)
        return scores, _as_asked(rows, found)
    options = {"dims": case.dims, "num_threads": threads}
    if case.ask == "groups":
        return (_as_asked(rows, home.duplicates(case.least, **options)),)
    where = _as_there(rows, case.where)
    left, right, scores = home.pairs(case.least, other=case.other, where=where, **options)
    return _as_asked(rows, left), right if case.other is not None else _as_asked(rows, right), scores


def _of_some(case: Case, rows: Rows, part: slice, threads: int) -> tuple[np.ndarray, ...]:
    """The answer to some of the queries."""
    where = case.where
    if where is not None and where.ndim == 2:
        where = where[part]
    options = {"dims": case.dims, "where": _as_there(rows, where), "num_threads": threads}
    if case.exclude is not None:
        options["exclude"] = _numbers_there(rows, case.exclude[part])
    queries = case.queries[part]
    if case.ask in ("3cosadd", "3cosmul"):
        inputs = _numbers_there(rows, queries)
        found = rows.home.analogy(inputs[:, :2], inputs[:, 2:], case.k, method=case.ask, **options)
    elif case.ask == "range":
        offsets, scores, indices = rows.home.range_search(queries, case.least, **options)
        return np.diff(offsets), scores, _as_asked(rows, indices)
    else:
        found = rows.home.search(queries, case.k, **options)
    return found[0], _as_asked(rows, found[1])


def _numbers_there(rows: Rows, numbers: np.ndarray) -> np.ndarray:
    """Numbers of a case's rows as the home has them."""
    return numbers if rows.numbers is None else rows.numbers[numbers]


def _as_there(rows: Rows, where: np.ndarray | None) -> np.ndarray | None:
    """A filter of a case's rows as one of the home's numbers, of which there is one more than any row has."""
    if where is None or rows.numbers is None:
        return where
    if where.dtype != bool:
        return rows.numbers[where]
    mask = np.ones((*where.shape[:-1], 2 + where.shape[-1] * 3 // 2), bool)
    mask[..., rows.numbers] = where
    return mask


def _as_asked(rows: Rows, found: np.ndarray) -> np.ndarray:
    """The home's numbers as those of a case's rows; −1 stays."""
    if rows.numbers is None:
        return found
    return np.where(found < 0, found, np.searchsorted(rows.numbers, found))


def function(case: Case) -> tuple[np.ndarray, ...]:
    """The answer of a function of `vectors` alone."""
    if case.ask == "normalize":
        return (fastvec.normalize(case.vectors),)
    if case.ask == "truncate":
        return (fastvec.truncate(case.vectors, case.dims),)
    return fastvec.topk(case.vectors, case.k)


class Combination(NamedTuple):
    case: str
    way: str
    kernel: str
    threads: int
    split: str


def every(cases: dict[str, Case], kernels: Sequence[str] = KERNELS) -> Iterator[Combination]:
    """All combinations, those of one case and one way together."""
    for name, case in cases.items():
        for way in serving(case):
            yield from map(Combination._make, itertools.product([name], [way], kernels, THREADS, SPLITS))


def covering(cases: dict[str, Case], kernels: Sequence[str] = KERNELS) -> Iterator[Combination]:
    """Some combinations: each case goes each way, and every other pair of choices occurs in some case.

    What screens, int8 and joins need beside searches by the cosine takes longer to compile than all else does
    to run: only the first micro-kernel gets it.
    """
    turns = dict.fromkeys(WAYS, 0)
    for name, case in cases.items():
        for way in serving(case):
            special = way in _OWN_KERNELS or case.ask in ("pairs", "groups")
            own = special and (case.metric != "cosine" or (way == "screen" and case.ask != "knn"))
            # Cases of int8 rows are few: the cosine's are asked of every micro-kernel.
            for _ in kernels if way.startswith("int8") and case.metric == "cosine" else kernels[:1]:
                turn = turns[way]
                turns[way] += not own
                kernel = kernels[0 if own else (turn + list(WAYS).index(way)) % len(kernels)]
                yield Combination(
                    name, way, kernel, THREADS[turn % len(THREADS)], _SPLITS[turn % len(_SPLITS)]
                )


_SPLITS = tuple(SPLITS)
_OWN_KERNELS = ("screen", "int8", "int8 one-shot")


def serving(case: Case) -> list[str]:
    """The ways of a case that there are here."""
    if case.ask in FUNCTIONS:
        return []
    return [name for name, way in WAYS.items() if way.available and way.serves(case)]


@contextlib.contextmanager
def forced(kernel: str) -> Iterator[None]:
    """Search with a micro-kernel, and with all threads where few rows are searched, too."""
    everywhere = {
        "scan_threads": lambda n, m, dims, num_threads, **_: num_threads,
        "sharing_rows_pays": lambda *_, **__: True,
    }
    with mock.patch.dict(os.environ), mock.patch.multiple(cost, **everywhere):
        os.environ.pop("FASTVEC_MICRO_KERNEL", None)
        if kernel != CHOSEN:
            os.environ["FASTVEC_MICRO_KERNEL"] = kernel
            assert fastvec.machine.active_micro_kernel() == kernel
        yield
