"""Dask arrays, Parquet files and Index folders: the bits of one machine, whatever the chunks and workers are.

Most tests use the synchronous scheduler; one cluster of two processes serves all others.
"""

import os
import pickle
import re
import signal
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
import ways
from assertions import assert_same_bits, assert_same_topk
from corpus import cases, table
from data import duplicate, gaussian, mixed, scaled_copy
from hypothesis import given, settings
from hypothesis import strategies as st

import fastvec
from fastvec._stores import shard, shards
from fastvec.kernels import metrics

dask = pytest.importorskip("dask")
pytest.importorskip("distributed")
pytest.importorskip("pyarrow")
import dask.array as da  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from distributed import Client, LocalCluster, wait  # noqa: E402

from fastvec.integrations import dask as host  # noqa: E402
from fastvec.integrations.dask import Index, _teams, analogy, knn, normalize, truncate  # noqa: E402

# Earlier versions of Dask warn where a test asks for another scheduler than the cluster's.
pytestmark = pytest.mark.filterwarnings("ignore:Running on a single-machine scheduler")


@pytest.fixture(autouse=True)
def synchronous():
    with dask.config.set(scheduler="synchronous"):
        yield


def assert_same_ranges(actual, expected):
    for left, right in zip(actual, expected, strict=True):
        assert_same_bits(left, right)


@st.composite
def chunked(draw):
    """Rows full of ties, and how they are cut: sizes of 0 and 1 among them, and columns cut, too."""
    n, width = draw(st.integers(0, 90)), draw(st.sampled_from([1, 5, 33]))
    kind = draw(st.sampled_from([gaussian, duplicate, scaled_copy]))
    cuts = draw(st.lists(st.integers(0, n), max_size=6).map(sorted))
    sizes = np.diff([0, *cuts, n]).tolist()
    if draw(st.booleans()):
        sizes = [1] * n or [0]
    column = draw(st.integers(1, width))
    columns = (width,) if column == width else (column, width - column)
    return kind(n, width, draw(st.integers(0, 9))), da.from_array, (tuple(sizes), columns)


@given(chunked(), st.sampled_from(list(metrics.TABLE)), st.data())
@settings(max_examples=60)
def test_any_chunks_give_the_bits_of_one_machine(chosen, metric, data):
    vectors, cut, chunks = chosen
    n, width = vectors.shape
    array = cut(vectors, chunks=chunks)
    queries, k = duplicate(4, width, 1), data.draw(st.sampled_from([1, 3, 100]))
    dims = data.draw(st.integers(1, width))
    mask = np.random.default_rng(k).random(n) < 0.6
    where = data.draw(st.sampled_from([None, mask, np.flatnonzero(mask), np.tile(mask, (4, 1))]))
    exclude = data.draw(st.sampled_from([None, [[0, n - 1], [], [n // 2], []]])) if n else None
    asked = {"dims": dims, "where": where, "exclude": exclude}
    expected = fastvec.knn(queries, vectors, k, metric=metric, **asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_teams, "_SHARD_BYTES", data.draw(st.sampled_from([1, 500, 1 << 30])))
        index = Index(array, metric=metric)
    assert_same_topk(index.search(queries, k, **asked), expected)
    assert_same_topk(knn(queries, array, k, metric=metric, **asked), expected)
    if where is mask:
        asked["where"] = da.from_array(mask, chunks=max(1, n // 3))
        assert_same_topk(index.search(queries, k, **asked), expected)
        assert_same_topk(knn(queries, array, k, metric=metric, **asked), expected)


DASK = [name for name, way in ways.WAYS.items() if way.needs]


@pytest.mark.parametrize("name", DASK)
def test_the_committed_digests(name, tmp_path):
    corpus, answers, wrong = cases(), table(), []
    with ways.forced(ways.CHOSEN):
        for number, (asked, case) in enumerate(corpus.items()):
            if not ways.WAYS[name].serves(case):
                continue
            folder = tmp_path / str(number)
            folder.mkdir()
            rows = ways.WAYS[name].make(case, folder)
            split = list(ways.SPLITS)[number % len(ways.SPLITS)]
            if ways.answer(case, rows, 2, split) != answers[asked]["answer"]:
                wrong.append((asked, split))
    assert wrong == []


@pytest.fixture
def vectors():
    rows = mixed(300, 33, 4)
    rows[[40, 170, 299]] = rows[3]
    return rows


@pytest.fixture
def array(vectors):
    return da.from_array(vectors, chunks=((1, 0, 99, 150, 50), (30, 3)))


@pytest.fixture(params=["one shard", "a shard a chunk"])
def shard_bytes(request, monkeypatch):
    if request.param != "one shard":
        monkeypatch.setattr(_teams, "_SHARD_BYTES", 1)


@pytest.mark.usefixtures("shard_bytes")
@pytest.mark.parametrize("metric", metrics.TABLE)
def test_ranges(vectors, array, metric):
    index, expected = Index(array, metric=metric), fastvec.Index(vectors, metric=metric)
    least = np.median(expected.search(vectors[3], 40).scores)
    for options in ({}, {"dims": 20}, {"where": range(0, 300, 2)}):
        actual = index.range_search(vectors[:9], least, **options)
        assert_same_ranges(actual, expected.range_search(vectors[:9], least, **options))
    assert_same_ranges(index.range_search(vectors[:0], least), expected.range_search(vectors[:0], least))


@pytest.mark.usefixtures("shard_bytes")
@pytest.mark.parametrize("method", ["3cosadd", "3cosmul"])
def test_analogies(vectors, array, method):
    index, expected = Index(array), fastvec.Index(vectors)
    for positive, negative in (
        ([[1, 2], [3, 170]], [[4], [299]]),
        ([[5], [6, 7, 8]], [[], [9, 10]]),
        ([2], []),
    ):
        for options in ({"k": 7}, {"k": 3, "exclude_inputs": False, "where": np.arange(0, 300, 2)}):
            answer = expected.analogy(positive, negative, method=method, **options)
            assert_same_topk(index.analogy(positive, negative, method=method, **options), answer)
            assert_same_topk(analogy(array, positive, negative, method=method, **options), answer)
        answer = expected.analogy(positive, negative, 5, method=method, dims=20)
        assert_same_topk(index.analogy(positive, negative, 5, method=method, dims=20), answer)
        assert_same_topk(analogy(array, positive, negative, 5, method=method, dims=20), answer)


def test_scores_that_only_float64_tells_apart_are_merged_in_their_order():
    """Cosines of one float32 and of several float64, in falling order of rows: a merge of float32 fails."""
    vectors = scaled_copy(40, 7, 3)
    array = da.from_array(vectors, chunks=(1, 7))
    expected = fastvec.knn(vectors[0] * 3, vectors, 40)
    assert len(np.unique(expected.scores)) < 5 < (np.diff(expected.indices) < 0).sum()
    assert_same_topk(knn(vectors[0] * 3, array, 40), expected)


@pytest.mark.usefixtures("shard_bytes")
def test_removed_rows_and_fetched_ones(vectors, array):
    index, expected = Index(array), fastvec.Index(vectors)
    for each in (index, expected):
        each.remove([3, 299])
    assert (len(index), index.dims, index.metric) == (298, 33, "cosine")
    assert_same_topk(index.search(vectors[3], 9), expected.search(vectors[3], 9))
    with pytest.raises(IndexError, match="has 3, which was removed"):
        index.analogy([3], [])
    with pytest.raises(NotImplementedError, match="where as a dask array cannot be used after remove"):
        index.search(vectors[0], 1, where=da.ones(300, dtype=bool))
    assert_same_bits(index._store.fetch(np.array([299, 0, 1, 299])), vectors[[299, 0, 1, 299]])


def test_a_changed_row_is_named_by_its_number(vectors, monkeypatch):
    monkeypatch.setattr(_teams, "_SHARD_BYTES", 1)
    chunks = [vectors[:100].copy(), vectors[100:].copy()]
    parts = [
        da.from_delayed(dask.delayed(lambda i: chunks[i])(i), (len(chunks[i]), 33), np.float32)
        for i in (0, 1)
    ]
    index = Index(da.concatenate(parts))
    index.verify()
    chunks[1][9] *= -1
    for call in (index.verify, lambda: index.range_search(vectors[109], -1)):
        with pytest.raises(RuntimeError, match=r"row 109 no longer matches its codes"):
            call()


def test_what_needs_all_rows_in_one_place_is_refused_by_name(array, vectors):
    index = Index(array)
    for name, call in {
        "knn_graph": lambda: index.knn_graph(3),
        "pairs": lambda: index.pairs(0.5),
        "duplicates": lambda: index.duplicates(0.5),
        "add": lambda: index.add(vectors[:1]),
        "replace": lambda: index.replace(0, vectors[:1]),
        "compact": index.compact,
        "vectors": lambda: index.vectors,
        "save": lambda: index.save("nowhere"),
        "pickle": lambda: pickle.dumps(index),
    }.items():
        with pytest.raises(NotImplementedError, match=f"{name} is not available with device='dask'"):
            call()
    assert repr(index) == "Index(300 vectors, 33 dims, metric='cosine', device='dask')"
    assert index.nbytes > 0
    assert not os.path.exists("nowhere")


@pytest.mark.parametrize("once", [True, False])
def test_a_row_that_is_not_finite_is_named_by_its_number(vectors, once):
    for value, what in ((np.nan, "NaN"), (-np.inf, "inf")):
        vectors[270, 5] = value
        array = da.from_array(vectors, chunks=((100, 150, 50), (33,)))
        calls = (
            [lambda a=array: knn(vectors[:1], a, 2)]
            if once
            else [
                lambda a=array: Index(a),
                lambda a=array: normalize(a).compute(),
                lambda a=array: truncate(a, 20).compute(),
            ]
        )
        for call in calls:
            with pytest.raises(ValueError, match=f"vectors, row 270: {what}; all values must be finite"):
                call()
        assert_same_topk(knn(vectors[:1], array, 2, dims=5), fastvec.knn(vectors[:1], vectors, 2, dims=5))


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32])
def test_other_types_of_numbers(dtype):
    vectors = (gaussian(60, 8) * 9).astype(dtype)
    array = da.from_array(vectors, chunks=(25, 8))
    assert_same_topk(Index(array).search(vectors[:3], 4), fastvec.knn(vectors[:3], vectors, 4))
    assert_same_bits(truncate(array, 5).compute(), fastvec.truncate(vectors, 5))
    assert_same_bits(
        truncate(array, 5, renormalize=False).compute(), fastvec.truncate(vectors, 5, renormalize=False)
    )
    assert normalize(array).dtype == np.float32
    assert truncate(array, 5).shape == (60, 5)
    assert_same_bits(normalize(array).compute(scheduler="threads"), fastvec.normalize(vectors))


def test_threads_and_unknown_sizes(vectors):
    array = da.from_array(vectors, chunks=(70, 33))
    unknown = array[da.from_array(np.arange(300) % 3 > 0, chunks=70)]
    left = vectors[np.arange(300) % 3 > 0]
    with dask.config.set(scheduler="threads"):
        assert_same_topk(Index(unknown).search(vectors[:4], 9), fastvec.knn(vectors[:4], left, 9))
        assert_same_topk(knn(vectors[:4], unknown, 9), fastvec.knn(vectors[:4], left, 9))
    assert np.isnan(unknown.shape[0]), "the caller's array stays as it is"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a: Index(np.ones((2, 2))), TypeError, r"numpy\.ndarray; it must be a dask\.array"),
        (lambda a: Index(a[0]), ValueError, r"vectors has shape \(33,\); it must be \(n, dims\)"),
        (lambda a: knn(a[:1], a.astype(complex), 1), TypeError, "vectors has dtype complex"),
        (lambda a: knn(np.ones(33), a, 0), ValueError, "k is 0"),
        (lambda a: knn(np.ones(32), a, 1), ValueError, "queries has 32 dimensions"),
        (lambda a: truncate(a, 34), ValueError, "dims is 34"),
        (lambda a: Index(a, metric="cosinus"), ValueError, "cosinus"),
        (lambda a: Index(a, client=3), TypeError, r"builtins\.int; it must be a distributed\.Client"),
        (
            lambda a: Index(a).search(np.ones(33), 1, where=da.ones(9, dtype=bool)),
            ValueError,
            r"bool \(300,\)",
        ),
        (lambda a: knn(np.ones(33), a, 1, where=da.ones(300)), ValueError, "float64 of shape"),
        (lambda a: Index.open([]), ValueError, "paths is empty"),
        (lambda a: Index.open("/nothing/there"), FileNotFoundError, "/nothing/there"),
    ],
)
def test_wrong_arguments(array, call, error, message):
    with pytest.raises(error, match=message):
        call(array)


def test_without_dask_one_line_says_what_to_install(run_python):
    code = (
        "import sys; sys.modules['dask'] = None\n"
        "from fastvec.integrations import dask\n"
        "dask.knn([1], [[1]], 1)"
    )
    result = run_python("-c", code)
    assert (
        result.stderr.splitlines()[-1]
        == "ModuleNotFoundError: Dask is not installed: pip install 'fastvec[dask]'"
    )


@pytest.fixture
def parquet(tmp_path, vectors):
    """Files of 120 and 180 rows in row groups of 50; the second has lists of any length."""
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for path, part, kind in zip(
        paths,
        (vectors[:120], vectors[120:]),
        (pa.list_(pa.float32(), 33), pa.list_(pa.float32())),
        strict=True,
    ):
        column = pa.array(list(part), kind)
        pq.write_table(pa.table({"vector": column, "other": range(len(part))}), path, row_group_size=50)
    return paths


def test_parquet(parquet, vectors, monkeypatch):
    expected = fastvec.knn(vectors[:5], vectors, 9)
    assert_same_topk(knn(vectors[:5], parquet, 9), expected)
    monkeypatch.setattr("fastvec.integrations.dask._arrays._CHUNK_BYTES", 33 * 4 * 60)
    assert_same_topk(Index(list(map(str, parquet))).search(vectors[:5], 9), expected)
    assert_same_topk(knn(vectors[:5], parquet[0], 9), fastvec.knn(vectors[:5], vectors[:120], 9))
    with pytest.raises(ValueError, match=r"[ab]\.parquet has no column 'text'; it has vector, other"):
        Index(parquet, column="text")


@pytest.fixture
def folders(tmp_path, vectors):
    """Three folders; in the second, rows were removed and replaced."""
    second = fastvec.Index(np.concatenate([vectors[100:150], vectors[:3], vectors[150:200]]))
    second.remove([50, 51, 52])
    second.replace([0], vectors[100:101])
    paths = [tmp_path / name for name in "abc"]
    for index, path in zip(
        (fastvec.Index(vectors[:100]), second, fastvec.Index(vectors[200:])), paths, strict=True
    ):
        index.save(path)
    return paths


@pytest.mark.parametrize("home", ["mmap", "memory"])
def test_folders_are_one_index(folders, vectors, home):
    index, expected = Index.open(folders, vectors=home), fastvec.Index(vectors)
    for options in ({}, {"where": np.arange(0, 300, 2)}, {"dims": 7}, {"exclude": [[100, 3]] * 4}):
        assert_same_topk(
            index.search(vectors[98:102], 9, **options), expected.search(vectors[98:102], 9, **options)
        )
    assert_same_topk(
        index.analogy([1, 102], [3], 9, method="3cosmul"),
        expected.analogy([1, 102], [3], 9, method="3cosmul"),
    )
    assert_same_topk(Index.open(folders[0]).search(vectors[0], 3), fastvec.knn(vectors[0], vectors[:100], 3))
    pickles = list(map(pickle.dumps, index._store.team.shards))
    assert max(map(len, pickles)) < 500, "paths travel, and no rows"
    again = shards.store_of(shards.Here(list(map(pickle.loads, pickles))))
    request = index._rows.now().request(vectors[:2], 4, metric="cosine")
    assert_same_topk(again.search(request), expected.search(vectors[:2], 4))


def test_a_shard_that_is_moved_all_the_same_brings_its_rows(vectors, array):
    index = Index(array, metric="dot")
    again = shards.store_of(
        shards.Here([pickle.loads(pickle.dumps(one)) for one in index._store.team.shards])
    )
    request = index._rows.now().request(vectors[:2], 4, metric="dot")
    assert_same_topk(again.search(request), index.search(vectors[:2], 4))


def test_folders_that_do_not_fit_together(folders, vectors, tmp_path):
    fastvec.Index(vectors, metric="dot").save(tmp_path / "dot")
    fastvec.Index(vectors[:, :9]).save(tmp_path / "narrow")
    with pytest.raises(ValueError, match=r"dot has metric='dot', and .*a 'cosine'; they must agree"):
        Index.open([folders[0], tmp_path / "dot"])
    with pytest.raises(ValueError, match=r"narrow has vectors of 9 dims, and .*a of 33"):
        Index.open([folders[0], tmp_path / "narrow"])


# Two processes.


@pytest.fixture(scope="module")
def client():
    with (
        dask.config.set({"distributed.worker.daemon": False}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=60
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def rows_from(path, first, last):
    return np.load(path, mmap_mode="r")[first:last]


@pytest.fixture
def on_disk(tmp_path):
    """2,000 rows in a file, and a dask array of 8 chunks whose tasks hold its path."""
    vectors, path = gaussian(2000, 64, 5), str(tmp_path / "x.npy")
    vectors[1999] = vectors[250] = vectors[0]
    np.save(path, vectors)
    parts = [
        da.from_delayed(dask.delayed(rows_from)(path, first, first + 250), (250, 64), np.float32)
        for first in range(0, 2000, 250)
    ]
    return vectors, da.concatenate(parts)


def sent(client):
    """Bytes that workers have sent one another, or a client, since they were started."""
    return sum(client.run(lambda dask_worker: dask_worker.transfer_outgoing_bytes_total).values())


def test_on_a_cluster_only_queries_and_candidates_travel(client, on_disk, folders):
    vectors, array = on_disk
    index, expected = Index(array, client=client), fastvec.Index(vectors)
    held = client.who_has(index._store.team._shards)
    assert len({address for (address,) in held.values()}) == 2
    before = sent(client)
    for _ in range(5):
        assert_same_topk(index.search(vectors[:20], 5), expected.search(vectors[:20], 5))
    assert sent(client) - before < 5 * 2 * (20 * 5 * 16 + 3000)  # a chunk alone has 64,000 bytes
    assert client.who_has(index._store.team._shards) == held
    assert_same_ranges(index.range_search(vectors[:3], 0.3), expected.range_search(vectors[:3], 0.3))
    mask = np.arange(2000) % 3 > 0
    for where in (mask, da.from_array(mask, chunks=333)):
        answer = expected.search(vectors[:3], 900, where=mask)
        assert_same_topk(index.search(vectors[:3], 900, where=where), answer)
        assert_same_topk(knn(vectors[:3], array, 900, where=where, client=client), answer)
    for method in ("3cosadd", "3cosmul"):
        answer = expected.analogy([[0, 1]], [[2]], 4, method=method)
        assert_same_topk(index.analogy([[0, 1]], [[2]], 4, method=method), answer)
        assert_same_topk(analogy(array, [[0, 1]], [[2]], 4, method=method, client=client), answer)
    index.verify()
    threads = client.run(fastvec.get_num_threads)
    assert set(threads.values()) == {fastvec.get_num_threads()}, "the limit of a task ends with it"
    opened = Index.open(folders, client=client)
    assert len(opened) == 300
    here, queries = Index.open(folders), opened._store.fetch(np.arange(9))
    for where in (None, np.arange(250, 300), np.arange(300) % 7 > 3):
        assert_same_topk(opened.search(queries, 5, where=where), here.search(queries, 5, where=where))


def test_many_questions_are_asked_in_parts_and_answers_merged_in_a_tree(client, on_disk, monkeypatch):
    vectors, array = on_disk
    monkeypatch.setattr(_teams, "_SHARD_BYTES", 1)
    monkeypatch.setattr(_teams, "_FAN", 2)
    monkeypatch.setattr(_teams.Workers, "most", 64 * 4 * 300)
    index = Index(array, client=client)
    assert len(index._store.layouts) == 8
    mask = np.arange(2000) % 5 == 2
    for where in (None, mask, da.from_array(mask, chunks=300)):
        expected = fastvec.knn(vectors, vectors, 5, where=None if where is None else mask)
        assert_same_topk(index.search(vectors, 5, where=where), expected)
    answers = _teams.merged(
        [
            shard.Ranked(np.full((1, 1), s), np.full((1, 1), i))
            for i, s in enumerate([0.1, 0.9, 0.9, 0.3, 0.2])
        ],
        shard.best(3),
        1,
    )
    assert [part.indices.tolist() for part in answers] == [[[1, 2, 3]]]


def test_persisted_chunks_are_encoded_where_they_are(client, on_disk):
    vectors, array = on_disk
    persisted = client.persist(array)
    wait(persisted)
    before = sent(client)
    index = Index(persisted, client=client)
    assert sent(client) - before < 20_000
    assert_same_topk(index.search(vectors[:2], 5), fastvec.knn(vectors[:2], vectors, 5))


def test_a_row_that_is_not_finite_is_named_from_a_worker(client, on_disk):
    vectors, array = on_disk
    bad = np.zeros((2000, 64), np.float32)
    bad[1501, 3] = np.inf
    with pytest.raises(ValueError, match="vectors, row 1501: inf"):
        Index(array + da.from_array(bad, chunks=(250, 64)), client=client)
    assert_same_topk(Index(array, client=client).search(vectors[:2], 3), fastvec.knn(vectors[:2], vectors, 3))


class Gate:
    """A file that a search of a worker makes when it begins, and waits for another one to go on."""

    def __init__(self, folder):
        self.begun, self.open = folder / "begun", folder / "open"

    def wait(self):
        self.begun.touch()
        while not self.open.exists():
            time.sleep(0.01)


def held_up(rows, asked, filter, gate, number):
    """``shard.nearest``, held up in the first shard until the gate is open."""
    if number == 0:
        gate.wait()
    return shard.nearest(rows, asked, filter)


def test_a_worker_killed_during_a_search_changes_nothing(client, on_disk, tmp_path):
    """A worker has begun its search when it is killed: the other encodes its rows, and searches them."""
    vectors, array = on_disk
    index, gate, answers = Index(array, client=client), Gate(tmp_path), []
    team = index._store.team
    (address,) = client.who_has(team._shards)[team._shards[0].key]
    pid = client.run(os.getpid, workers=[address])[address]
    count = len(team._shards)
    asked = shard.Asked(vectors[:20], 5, "cosine", 64)
    parts = [[shard.Filter(None, None), gate, number] for number in range(count)]
    search = threading.Thread(target=lambda: answers.append(team.ask(held_up, [asked], parts, shard.best(5))))
    search.start()
    while not gate.begun.exists():
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    gate.open.touch()  # for the second time
    search.join(60)
    assert len(answers) == 1
    expected = fastvec.knn(vectors[:20], vectors, 5)
    assert_same_bits(answers[0].indices, expected.indices)
    assert_same_bits(answers[0].scores.astype(np.float32), expected.scores)
    assert_same_topk(index.search(vectors[:20], 5), expected)


def test_rows_that_cannot_be_made_again_are_an_error_and_no_short_answer(client, on_disk):
    vectors, _ = on_disk
    client.wait_for_workers(2, timeout=60)
    address = min(client.nthreads())
    scattered = client.scatter(vectors, workers=[address])
    array = da.from_delayed(scattered, vectors.shape, np.float32)
    index = Index(array, client=client)
    assert_same_topk(index.search(vectors[:2], 5), fastvec.knn(vectors[:2], vectors, 5))
    del array
    (place,) = index._store.team._places
    os.kill(client.run(os.getpid, workers=[place])[place], signal.SIGKILL)
    with pytest.raises(RuntimeError, match="rows were lost with their worker"):
        index.search(vectors[:2], 5)


def test_a_cluster_without_workers_is_an_error_and_no_wait_for_ever(monkeypatch, folders):
    monkeypatch.setattr(_teams, "_LOOK_S", 0.01)
    monkeypatch.setattr(_teams, "_PATIENCE_S", 0.03)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as alone,
    ):
        team = _teams.Workers(alone, [alone.submit(abs, -1)])
        for call in (
            lambda: team.ask(shard.verified, [], None, shard.nothing),
            lambda: Index(da.ones((4, 3)), client=alone),
            lambda: Index.open(folders, client=alone),
        ):
            with pytest.raises(RuntimeError, match="the cluster has no worker; start one, and ask again"):
                call()


def test_only_a_time_without_any_worker_count(monkeypatch):
    """A worker that comes while others are gone makes the time begin anew."""
    counts = iter([{}, {}, {"a worker": 1}, {}, {}, {}])
    monkeypatch.setattr(_teams, "_PATIENCE_S", 3 * _teams._LOOK_S)

    def wait(futures, timeout):
        raise TimeoutError

    monkeypatch.setattr("distributed.wait", wait)
    with pytest.raises(RuntimeError, match="the cluster has no worker"):
        _teams.settle(types.SimpleNamespace(nthreads=lambda: next(counts)), [])
    assert next(counts, None) is None


@pytest.mark.parametrize("at_once", [0, 1 << 30])
def test_chunks_of_one_row_and_of_none_on_a_cluster(client, monkeypatch, at_once):
    """More chunks than rows of a worker, uneven ones, and empty ones; tasks in one graph, and alone."""
    monkeypatch.setattr(_teams, "_ONCE_BYTES", at_once)
    vectors = duplicate(61, 33, 4)
    for sizes in ((1,) * 61, (0, 0, 1, 57, 0, 2, 1, 0), (61, 0)):
        index = Index(da.from_array(vectors, chunks=(sizes, (20, 13))), client=client)
        for k in (1, 7, 100):
            assert_same_topk(index.search(vectors[:9], k), fastvec.knn(vectors[:9], vectors, k))


def test_a_client_that_is_active_is_used(client, on_disk):
    vectors, array = on_disk
    with dask.config.set(scheduler="dask.distributed"):
        assert _teams.client_of(None) is client
    assert _teams.client_of(None) is None
    assert host.knn(vectors[:1], array, 1, client=client).indices.tolist() == [[0]]


def test_the_command_searches_folders_on_a_cluster(client, tmp_path):
    from click.testing import CliRunner

    from fastvec import cli, files

    vectors, names = gaussian(90, 8), [f"text {row}" for row in range(90)]
    paths = [str(tmp_path / name) for name in "abcd"]
    for path, part in zip(paths, (slice(0, 30), slice(30, 60), slice(60, 90), slice(0, 90)), strict=True):
        columns = {"row": list(range(90))[part]}
        files.write(path, names[part], vectors[part], format="index", columns=columns)
    asked = ["text 3", "text 80", "--k", "7", "--where", "row=61", "--where", "row=62", "--where", "row=5"]
    run = CliRunner().invoke
    one = run(cli.group(), ["search", paths[3], *asked])
    for more in ([], ["--cluster", client.scheduler.address]):
        several = run(cli.group(), ["search", *paths[:3], *asked, *more])
        assert (several.exit_code, several.stdout) == (0, one.stdout), several.output
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastvec.commands.folders._CONNECT_S", 0.1)
        refused = run(cli.group(), ["search", *paths[:3], *asked, "--cluster", "tcp://127.0.0.1:1"])
    assert "no scheduler of Dask answers there" in refused.stderr


def test_the_code_of_the_page_runs(client, tmp_path, monkeypatch):
    """On the cluster of these tests, which stays as it is."""
    page = Path(fastvec.__file__).resolve().parents[1] / "docs" / "dask.md"
    if not page.is_file():
        pytest.skip("the tests lie outside a checkout")
    code = re.search(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)[1]
    shared = types.SimpleNamespace(close=lambda: None)
    monkeypatch.setattr("distributed.LocalCluster", lambda **_: shared)
    monkeypatch.setattr("distributed.Client", lambda _: client)
    monkeypatch.setattr(client, "close", lambda: None)
    names = {"__name__": "page"}
    exec(compile(code, str(page), "exec"), names)
    names["main"](str(tmp_path))
