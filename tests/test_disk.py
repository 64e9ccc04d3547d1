"""Vectors that stay on disk, or are not float32: answers are the same, and few rows are read."""

import json
import os
import sys

import numpy as np
import oracle
import pytest
from assertions import assert_same_bits, assert_same_topk
from data import gaussian, hashed, sharing, tied
from test_folder import inner, sealed

from fastvec import Index, Vocabulary, _building, _memory, analogy, files, knn
from fastvec._snapshot import Snapshot
from fastvec._stores import fetching, passing, shard, shards, windows
from fastvec._stores.fetched import FetchedStore
from fastvec.errors import FileError
from fastvec.files import part_arrays
from fastvec.files import rows as file_rows
from fastvec.kernels import matrix, metrics, reading, refine, threads
from fastvec.kernels.log import Survivors
from fastvec.results import TopK

N, DIMS = 5000, 96


@pytest.fixture(scope="module")
def vectors():
    """Rows near a plane of few dimensions, so that a screen tells most of them apart."""
    return gaussian(N, 20, 1) @ gaussian(20, DIMS, 2) + gaussian(N, DIMS, 3) / 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory, vectors):
    """An Index folder, by metric and screen."""
    made = {}

    def path(metric, screen="off"):
        if (metric, screen) not in made:
            made[metric, screen] = tmp_path_factory.mktemp("disk") / "index"
            Index(vectors, metric=metric, screen=screen).save(made[metric, screen])
        return made[metric, screen]

    return path


@pytest.mark.parametrize("screen", ["off", 64])
@pytest.mark.parametrize("metric", metrics.TABLE)
def test_answers_are_those_of_an_index_in_memory(folder, vectors, metric, screen):
    if metric not in metrics.BOUNDED and screen != "off":
        pytest.skip("no screen serves it")
    expected, opened = (
        Index(vectors, metric=metric, screen=screen),
        Index.open(folder(metric, screen), vectors="disk"),
    )
    assert isinstance(opened._store, FetchedStore)
    assert (len(opened), opened.dims, opened.screen) == (N, DIMS, expected.screen)
    assert opened.nbytes < expected.nbytes + 100
    queries = vectors[::100] + np.float32(0.01)
    every_third = np.arange(0, N, 3)
    for m in (1, 2, 50):
        masks = np.random.default_rng(m).random((m, N)) < 0.5
        for options in (
            {},
            {"dims": 40},
            {"where": every_third},
            {"where": [7]},
            {"where": masks},
            {"exclude": [[0]] * m},
        ):
            for k in (1, 10, 40):
                answer = expected.search(queries[:m], k, **options)
                assert_same_topk(opened.search(queries[:m], k, **options), answer)
    assert_same_topk(opened.search(queries[0], N + 3), expected.search(queries[0], N + 3))
    least = expected.search(queries, 12).scores[:, -1].max()
    for ranges, others in zip(
        opened.range_search(queries, least), expected.range_search(queries, least), strict=True
    ):
        assert_same_bits(ranges, others)
    assert_same_topk(opened.knn_graph(3, include_self=True), expected.knn_graph(3, include_self=True))
    opened.verify()


def test_rows_are_read_for_answers_alone(folder, vectors):
    opened = Index.open(folder("cosine"), vectors="disk")
    assert opened.rows_read == 0
    opened.search(vectors[5] + np.float32(0.01), 10)
    assert 10 <= opened.rows_read <= 40
    before = opened.rows_read
    opened.search(vectors[::50] + np.float32(0.01), 10)
    assert 100 * 10 / 4 <= opened.rows_read - before <= 100 * 40, (
        "a row that several queries need is read once"
    )
    assert Index.open(folder("cosine")).rows_read == 0


def test_a_second_read_finds_what_the_first_did_not_expect(tmp_path, monkeypatch):
    """Without what is likely but for the first k, others have to be fetched."""
    vectors = gaussian(3000, 16, 4)
    Index(vectors).save(tmp_path / "index")
    calls, real = [], fetching._of_some

    def fewest(survivors, k):
        middles = (survivors.lower + survivors.upper) / 2
        order = np.lexsort((-middles, survivors.query))
        place = np.arange(len(order)) - np.searchsorted(survivors.query, survivors.query)
        chosen = np.zeros(len(order), np.bool_)
        chosen[order[place < max(1, k // 2)]] = True
        return chosen

    monkeypatch.setattr(fetching, "_reaching", fewest)
    monkeypatch.setattr(fetching, "_of_some", lambda *arguments: (calls.append(1), real(*arguments))[1])
    opened = Index.open(tmp_path / "index", vectors="disk")
    assert_same_topk(opened.search(vectors[:30] + 1, 10), Index(vectors).search(vectors[:30] + 1, 10))
    assert len(calls) == 2


@pytest.mark.parametrize("seed", range(2, 5))
def test_rows_that_may_tie_with_the_last_are_fetched(monkeypatch, seed):
    """However the score of the last was rounded when it was published."""
    rows, query, none = np.repeat(gaussian(1, 16, 1), 4, axis=0), gaussian(1, 16, seed), matrix.of(())
    exact = oracle.scores(query, rows, "cosine")[0]
    survivors = Survivors(
        np.zeros(4, np.int32), np.arange(4), exact, exact.copy(), np.zeros(1, np.bool_), -1, 0, 0
    )
    originals = refine.originals(query, oracle.lane_sum(query.astype(np.float64) ** 2), none, 16)
    monkeypatch.setattr(fetching, "_reaching", lambda survivors, k: survivors.row == 3)
    found = TopK(np.empty((1, 1), np.float32), np.empty((1, 1), np.int64))
    assert fetching.ranked(rows.__getitem__, survivors, originals, "cosine", found, 1) == (5, -1)
    assert found.indices == [[0]]


def test_rows_are_fetched_for_some_queries_at_a_time(folder, vectors, monkeypatch):
    monkeypatch.setattr(fetching, "_AT_ONCE_BYTES", 4 * DIMS * 60)
    opened, expected = Index.open(folder("cosine"), vectors="disk"), Index(vectors)
    queries = vectors[:300] + np.float32(0.01)
    assert_same_topk(opened.search(queries, 9), expected.search(queries, 9))
    assert_same_bits(opened.range_search(queries, 0.7).scores, expected.range_search(queries, 0.7).scores)


@pytest.mark.parametrize("screen", ["off", 64])
@pytest.mark.parametrize("m", [1, 40])
def test_a_query_that_leaves_the_scan_is_finished_by_a_pass(tmp_path, monkeypatch, m, screen):
    """Rows that codes hardly tell apart fill the log; the pass goes over batches of rows."""
    near = (hashed(1, 128, 7) + hashed(9000, 128, 8) * np.float32(1e-3)).astype(np.float32)
    vectors = np.concatenate([near, tied(1000, 128, 9)])
    Index(vectors, metric="euclidean", screen=screen).save(tmp_path / "index")
    monkeypatch.setattr(file_rows, "_PIECE_BYTES", 4 * 128 * 1700)
    opened = Index.open(tmp_path / "index", vectors="disk")
    queries = near[:m] + np.float32(1e-4)
    expected = oracle.knn(queries, vectors, 5, "euclidean")
    assert_same_topk(opened.search(queries, 5), expected)
    assert opened.rows_read >= len(vectors), "the bound should not tell these rows apart"


def test_fetching_any_rows_in_any_order(tmp_path):
    vectors = hashed(300, 7)
    index = Index(vectors)
    index.save(tmp_path / "index")
    index = Index.open(tmp_path / "index")
    index.add(hashed(5, 7, 2))
    index.save(tmp_path / "index")
    store = Index.open(tmp_path / "index", vectors="disk")._store
    every = np.concatenate([vectors, hashed(5, 7, 2)])
    for numbers in (
        [],
        [3],
        [7, 3, 7],
        [304, 0, 299, 300],
        [*range(305)],
        [*range(304, -1, -1)],
        [5, 6, 6, 7, 9],
        [9, 2, 5],  # whose order is not its own inverse
    ):
        assert_same_bits(store.fetch(np.array(numbers, np.int64)), every[numbers])


def test_removed_rows_and_other_operations(folder, vectors, tmp_path):
    opened, expected = Index.open(folder("cosine"), vectors="disk"), Index(vectors)
    for index in (opened, expected):
        index.remove([3, 4, 5])
    assert_same_topk(opened.search(vectors[:9], 5), expected.search(vectors[:9], 5))
    assert_same_topk(opened.analogy([1, 2], [9], 5), expected.analogy([1, 2], [9], 5))
    opened.save(tmp_path / "index")
    assert_same_topk(Index.open(tmp_path / "index").search(vectors[:9], 5), expected.search(vectors[:9], 5))
    for call in (
        lambda: opened.add(vectors[:1]),
        lambda: opened.replace([0], vectors[:1]),
        lambda: opened.pairs(0.9),
        lambda: opened.duplicates(0.9),
        lambda: opened.analogy([1], [2], method="3cosmul"),
    ):
        with pytest.raises(NotImplementedError, match="not available for vectors that stay on disk"):
            call()
    assert_same_bits(opened.vectors, expected.vectors)


def test_tied_rows_and_replaced_numbers(tmp_path):
    vectors = tied(600, 33, 3)
    index = Index(vectors)
    index.replace([5, 9], vectors[[100, 200]])
    index.save(tmp_path / "index")
    opened = Index.open(tmp_path / "index", vectors="disk")
    for k in (1, 7, 600):
        assert_same_topk(opened.search(vectors[:50], k), index.search(vectors[:50], k))


def test_ranges_of_fetched_rows_are_of_float32_scores(tmp_path):
    """Scores that reach the least one only when they are rounded, where bounds are narrower than that."""
    vectors = hashed(60, 33) * np.float32(2.0**-10)
    vectors[0] *= np.float32(2.0**10)
    scores = oracle.scores(vectors[:1], vectors, "euclidean")[0]
    index = Index(vectors, metric="euclidean")
    index.save(tmp_path / "index")
    opened = Index.open(tmp_path / "index", vectors="disk")
    for row in np.flatnonzero(oracle.publish(scores) > scores)[:4]:
        least = oracle.publish(scores)[row]
        found = opened.range_search(vectors[0], least)
        assert row in found.indices
        assert_same_bits(found.indices, index.range_search(vectors[0], least).indices)


def test_rows_of_several_blocks_pass_by_under_their_numbers(tmp_path, monkeypatch):
    rows = hashed(90, 7)
    np.save(tmp_path / "x.npy", rows)
    held = file_rows.Held(tmp_path / "x.npy")
    some = file_rows.FileRows(held, 128, (90, 7), np.dtype(np.float32))
    monkeypatch.setattr(file_rows, "_PIECE_BYTES", 4 * 7 * 20)
    runs = list(file_rows.Stream((some[:50], some[50:90])).runs())
    assert [first for first, _ in runs] == [0, 20, 40, 50, 70]
    assert_same_bits(np.concatenate([run for _, run in runs]), rows)


def test_a_folder_of_a_vocabulary(tmp_path, vectors):
    words = [f"w{row}" for row in range(400)]
    Vocabulary(words, vectors[:400]).save(tmp_path / "index")
    assert_same_bits(Index.open(tmp_path / "index", vectors="disk").vectors, vectors[:400])
    half = vectors[:400].astype(np.float16)
    Vocabulary.build([(words, half)], tmp_path / "half", dtype="float16")
    opened, expected = Vocabulary.open(tmp_path / "half"), Vocabulary(words, half)
    assert opened.most_similar("w3") == expected.most_similar("w3")
    assert opened.similarity("w3", "w5") == expected.similarity("w3", "w5")


def test_folders_of_float16_are_searched_as_one(tmp_path, vectors):
    half = vectors[:400].astype(np.float16)
    paths = [tmp_path / name for name in "ab"]
    for path, rows in zip(paths, (half[:150], half[150:]), strict=True):
        Index.build(rows, path, dtype="float16")
    store, metric = shards.opened_here(list(map(str, paths)))
    rows, expected, queries = Snapshot(store), Index(half), half[::40].astype(np.float32)
    for dims in (DIMS, 40):
        request = rows.request(queries, 5, metric=metric, dims=dims)
        assert_same_topk(rows.search(request), expected.search(queries, 5, dims=dims))
    least = np.float32(0.4)
    ranges = rows.ranges(rows.request(queries, 1, metric=metric), least)
    for actual, wanted in zip(ranges, expected.range_search(queries, least), strict=True):
        assert_same_bits(actual, wanted)
    assert len(ranges.indices) > 2 * len(queries)
    first = store.team.shards[0]
    assert 0 < sys.getsizeof(first) - first.rows.nbytes - 4 * 150 * DIMS < 200
    in_memory = shards.opened_here(list(map(str, paths)), memory=True)[0].team.shards[0]
    assert in_memory.rows.nbytes == 150 * (128 + 16 + 2 * DIMS)


def test_damage_is_found(folder, vectors, tmp_path):
    path = tmp_path / "index"
    Index(vectors).save(path)
    opened = Index.open(path, vectors="disk")
    file = inner(path) / "vectors.npy"
    data = bytearray(file.read_bytes())
    os.truncate(file, len(data) // 2)
    with pytest.raises(FileError, match=r"vectors\.npy: cut short since it was opened"):
        opened.search(vectors[-1], 3)
    for act in (lambda: Index.open(path, vectors="disk"), lambda: files.verify(path)):
        with pytest.raises(FileError, match=r"vectors\.npy"):
            act()
    data[-4 * DIMS :] = bytes(4 * DIMS)
    file.write_bytes(data)
    with pytest.raises(RuntimeError, match="vectors changed"):
        Index.open(path, vectors="disk").search(vectors[-1], 1)
    with pytest.raises(RuntimeError, match="vectors changed"):
        Index.open(path, vectors="disk").range_search(vectors[-1], 0.99)
    with pytest.raises(RuntimeError, match=f"row {N - 1}"):
        Index.open(path, vectors="disk")._store.verify()


@pytest.mark.parametrize("metric", ["cosine", "manhattan"])
@pytest.mark.parametrize("row", [0, 39])
def test_a_row_that_is_no_longer_finite_is_named(tmp_path, monkeypatch, row, metric):
    monkeypatch.setenv("FASTVEC_MICRO_KERNEL", "generic")  # so that so few rows are scanned, too
    rows = hashed(40, 7)
    Index(rows, metric=metric).save(tmp_path / "index")
    file = inner(tmp_path / "index") / "vectors.npy"
    data = bytearray(file.read_bytes())
    at = len(data) - 4 * 7 * (40 - row)
    data[at : at + 4] = np.float32(np.nan).tobytes()
    file.write_bytes(data)
    opened = Index.open(tmp_path / "index", vectors="disk")
    for call in (
        lambda: opened.search(rows[[3, row]], 2),
        lambda: opened.search(rows[[row]], 40),
        lambda: opened.range_search(rows[row], -100),
        opened._store.verify,
    ):
        with pytest.raises(RuntimeError, match=f"row {row} no longer matches"):
            call()


def test_replaced_rows_with_subnormal_scores_in_any_floating_point_mode(tmp_path, flushing):
    vectors = np.tile(hashed(30, 9, 3), (3, 1)) * np.float32(2.0**-70)
    index = Index(vectors, metric="dot")
    index.replace([5, 9], vectors[[50, 60]])
    index.save(tmp_path / "index")
    opened = Index.open(tmp_path / "index", vectors="disk")
    expected = index.search(vectors[:20], 7)
    assert (np.abs(expected.scores) < np.finfo(np.float32).tiny).all()
    assert expected.scores.any()
    least = np.median(expected.scores)
    ranges = index.range_search(vectors[:20], least)
    assert 0 < len(ranges.scores) < 20 * 90
    for one in (opened, index):
        with flushing():
            actual, others = one.search(vectors[:20], 7), one.range_search(vectors[:20], least)
        assert_same_topk(actual, expected)
        for array, wanted in zip(others, ranges, strict=True):
            assert_same_bits(array, wanted)


def test_rows_with_a_direction_are_saved_from_disk(tmp_path):
    rows = sharing(400, 130)
    Index(rows).save(tmp_path / "index")
    Index.open(tmp_path / "index", vectors="disk").save(tmp_path / "copy")
    copy = Index.open(tmp_path / "copy")
    assert copy._store.direction(130) is not None
    copy.verify()
    assert_same_topk(copy.search(rows[:5], 3), Index(rows).search(rows[:5], 3))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"dtype": "<f4"}, "dtype is"),
        ({"dtype": "|O"}, "dtype is"),
        ({"dtype": ["<f2"]}, "dtype is"),
        ({"version": 3}, "it must have"),
        ({"dtype": None}, "dtype is null"),
    ],
)
def test_a_hostile_dtype(tmp_path, change, problem):
    path = tmp_path / "index"
    Index.build(np.ones((3, 5), np.float16), path, dtype="float16")
    real = json.loads((path / "index.json").read_text())
    del real["sha256"]
    (path / "index.json").write_text(json.dumps(sealed({**real, **change})))
    with pytest.raises(FileError, match=rf"index\.json: {problem}"):
        Index.open(path)
    without = {name: value for name, value in real.items() if name != "dtype"}
    (path / "index.json").write_text(json.dumps(sealed({**without, "version": 3})))
    with pytest.raises(FileError, match=r"dtype of vectors\.npy"):
        Index.open(path)


def test_where_a_system_does_not_read_at_a_place(folder, vectors, monkeypatch):
    """As on Windows: the file is mapped."""
    monkeypatch.setattr(file_rows, "READS_AT", False)
    opened = Index.open(folder("cosine"), vectors="disk")
    assert_same_topk(opened.search(vectors[:20], 5), Index(vectors).search(vectors[:20], 5))
    assert opened.rows_read > 0


def codes_mapped():
    """Bytes of files of codes that this process has mapped."""
    with open("/proc/self/maps") as maps:
        ranges = [line.split()[0].split("-") for line in maps if line.rstrip().endswith("/codes.npy")]
    return sum(int(stop, 16) - int(start, 16) for start, stop in ranges)


@pytest.fixture
def few_addresses(monkeypatch):
    """As under RLIMIT_AS: codes are mapped some rows at a time."""
    monkeypatch.setattr(threads, "addresses", lambda: part_arrays._NEEDED_BYTES)
    monkeypatch.setattr(windows, "_MAPPED_BYTES", 1)
    monkeypatch.setattr(windows, "CHUNK", 256)  # several windows in each block


@pytest.mark.usefixtures("few_addresses", "all_threads")
@pytest.mark.parametrize("screen", ["off", 64])
def test_codes_that_are_mapped_while_they_are_used_give_the_same_answers(tmp_path, vectors, screen):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_building, "PART_BYTES", 4 * DIMS * 1200)
        opened = Index.build(vectors, tmp_path / "index", screen=screen)
    expected = Index(vectors, screen=screen)
    assert len(opened._store.blocks) > 2
    assert codes_mapped() == 0
    queries, seen = vectors[::100] + np.float32(0.01), []
    real = windows._blocks.part
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows._blocks, "part", lambda *given: (real(*given), seen.append(codes_mapped()))[0])
        for m in (1, 2, 50):
            for options in (
                {},
                {"dims": 40},
                {"where": np.arange(0, N, 3)},
                {"where": [7]},
                {"exclude": [[0]] * m},
            ):
                actual = opened.search(queries[:m], 10, **options)
                assert_same_topk(actual, expected.search(queries[:m], 10, **options))
        for count in (1, 3):
            actual = opened.search(queries, 5, num_threads=count)
            assert_same_topk(actual, expected.search(queries, 5))
    assert 0 < max(seen) < opened._store.blocks[0].encoded.codes.nbytes + 6 * 2 * 1024 * 128
    assert codes_mapped() == 0
    least = expected.search(queries, 12).scores[:, -1].max()
    assert_same_bits(opened.range_search(queries, least).scores, expected.range_search(queries, least).scores)
    opened.verify()
    opened.save(tmp_path / "copy")
    assert_same_topk(Index.open(tmp_path / "copy").search(queries, 5), expected.search(queries, 5))
    files.verify(tmp_path / "copy")


@pytest.mark.usefixtures("few_addresses")
def test_codes_that_are_cut_short_are_an_error_and_no_crash(tmp_path, vectors):
    Index(vectors).save(tmp_path / "index")
    opened = Index.open(tmp_path / "index", vectors="disk")
    os.truncate(inner(tmp_path / "index") / "codes.npy", 4096)
    with pytest.raises(FileError, match=r"codes\.npy: cut short since it was opened"):
        opened.search(vectors[0], 3)


@pytest.mark.parametrize("dtype", ["<f2", "<f8", ">f4", "|i1", "<i4"])
@pytest.mark.parametrize("metric", ["cosine", "manhattan"])
def test_a_mapped_file_of_another_type_is_converted_some_rows_at_a_time(tmp_path, monkeypatch, dtype, metric):
    vectors = np.clip(tied(1431, 33, 3) * 40, -120, 120).astype(dtype)
    np.save(tmp_path / "x.npy", vectors)
    mapped, real, most = np.load(tmp_path / "x.npy", mmap_mode="r"), shard.once, []
    monkeypatch.setattr(passing, "PIECE_BYTES", 4 * 33 * 110)
    monkeypatch.setattr(_memory, "available", lambda: 0)  # so that int8 rows are no exception

    def once(block, run):
        most.append(len(block))
        return real(block, run)

    monkeypatch.setattr(shard, "once", once)
    queries, mask = np.asarray(vectors[:40]).astype(np.float32) + 1, np.arange(1431) % 7 > 2
    for m in (1, 40):
        for options in ({}, {"dims": 9}, {"where": mask}, {"where": [7, 1430]}, {"exclude": [[3, 1429]] * m}):
            expected = oracle.knn(queries[:m], vectors.astype(np.float32), 6, metric, **options)
            assert_same_topk(knn(queries[:m], mapped, 6, metric=metric, **options), expected)
    assert max(most) <= 110
    assert min(most) == 1, "the last row has a piece of its own"
    assert len(most) > 10
    if metric == "cosine":
        expected = analogy(np.array(vectors), [1, 2], [1400], 3)
        assert_same_topk(analogy(mapped, [1, 2], [1400], 3), expected)
    if vectors.dtype.kind == "f":
        vectors[1100, 5] = np.inf
        np.save(tmp_path / "bad.npy", vectors)
        with pytest.raises(ValueError, match=r"vectors.*row 1100: inf"):
            knn(queries, np.load(tmp_path / "bad.npy", mmap_mode="r"), 3, metric=metric)


def test_rows_that_the_system_has_not_in_memory_are_asked_for_and_read(tmp_path, monkeypatch):
    """Whatever the system says of its memory, and where one call reads only a part of a run."""
    rows = hashed(900, 40)
    np.save(tmp_path / "x.npy", rows)
    held = file_rows.Held(tmp_path / "x.npy")
    some = file_rows.FileRows(held, 128, (900, 40), np.dtype(np.float32))
    numbers = np.sort(np.random.default_rng(0).integers(0, 900, 500))
    assert_same_bits(some.take(numbers), rows[numbers])
    monkeypatch.setattr(reading, "_asks_ahead", lambda: False)
    assert_same_bits(some.take(numbers), rows[numbers])
    monkeypatch.setattr(reading, "_AT_ONCE", 7)
    monkeypatch.setattr(reading, "_WAITED_FOR", 3)
    monkeypatch.setattr(reading, "_ALONE_BYTES", 0)
    assert_same_bits(some.take(numbers), rows[numbers])
    os.truncate(tmp_path / "x.npy", 128 + 160 * 600 + 80)
    assert_same_bits(some.take(numbers[numbers < 600]), rows[numbers[numbers < 600]])
    with pytest.raises(FileError, match="cut short since it was opened"):
        some.take(np.array([3, 600]))
