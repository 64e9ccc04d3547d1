"""The backend for vicinity: its answers are those of vicinity's own exact one."""

import os

import numpy as np
import pytest

pytest.importorskip("vicinity")

from data import gaussian
from vicinity import Vicinity

import fastvec
from fastvec.files import atomic
from fastvec.integrations.vicinity import FastvecBackend
from fastvec.integrations.vicinity._backend import FastvecArgs

ITEMS = [f"item {i}" for i in range(300)]
METRICS = pytest.mark.parametrize("metric", ["cosine", "euclidean"])


def both(metric):
    vectors = gaussian(300, 20, 1)
    theirs = Vicinity.from_vectors_and_items(vectors, ITEMS, metric=metric)
    return Vicinity(ITEMS, FastvecBackend.from_vectors(vectors, metric=metric)), theirs


def assert_same(mine, theirs):
    for one, unsorted in zip(mine, theirs, strict=True):
        other = sorted(unsorted, key=lambda pair: pair[1])
        assert [item for item, _ in one] == [item for item, _ in other]
        np.testing.assert_allclose([d for _, d in one], [d for _, d in other], atol=1e-5)


@METRICS
def test_queries(metric):
    mine, theirs = both(metric)
    queries = gaussian(7, 20, 2)
    for k in (1, 10, 300, 500):
        assert_same(mine.query(queries, k), theirs.query(queries, k))
    assert_same(mine.query(queries[0], 3), theirs.query(queries[0], 3))
    threshold = {"cosine": 0.8, "euclidean": 5.5}[metric]
    expected = theirs.query_threshold(queries, threshold, max_k=300)
    assert 0 < sum(map(len, expected)) < 7 * 300
    assert_same(mine.query_threshold(queries, threshold, max_k=300), expected)
    assert max(map(len, mine.query_threshold(queries, threshold, max_k=2))) == 2


@METRICS
def test_changes(metric, tmp_path):
    mine, theirs = both(metric)
    queries, new = gaussian(7, 20, 2), gaussian(3, 20, 3)
    for one in (mine, theirs):
        one.insert(["x", "y", "z"], new)
        one.delete(["item 0", "item 17", "y"])
        one.insert(["w"], new[:1] * 2)
    assert (len(mine.backend), mine.dim, mine.metric.value) == (301, 20, metric)
    assert_same(mine.query(queries, 20), theirs.query(queries, 20))
    mine.save(tmp_path / "folder")
    loaded = Vicinity.load(tmp_path / "folder")
    assert_same(mine.query(queries, 20), loaded.query(queries, 20))
    loaded.backend = FastvecBackend.load(tmp_path / "folder")
    assert loaded.query(queries, 20) == mine.query(queries, 20)
    loaded.insert(["v"], new[:1])
    assert loaded.query(new[0], 300)[0][0][0] in ("x", "w", "v")


def test_manhattan_and_metrics_that_are_not_there():
    vectors = gaussian(30, 8, 1)
    backend = FastvecBackend.from_vectors(vectors, metric="manhattan")
    (places, distances), *_ = backend.query(vectors[:2], 4)
    expected = fastvec.knn(vectors[0], vectors, 4, metric="manhattan")
    assert (places.tolist(), distances.tolist()) == (expected.indices.tolist(), (-expected.scores).tolist())
    with pytest.raises(
        ValueError, match="metric is 'hamming'; it must be one of cosine, euclidean, manhattan"
    ):
        FastvecBackend.from_vectors(vectors, metric="hamming")


def test_the_folder_that_was_loaded_may_be_saved_to(tmp_path):
    """Its matrix is mapped, so writing into the file would change the rows, or end the process."""
    mine, _ = both("cosine")
    mine.backend.save(tmp_path)
    loaded = FastvecBackend.load(tmp_path)
    loaded.delete([0, 1, 2])
    loaded.save(tmp_path)
    again = FastvecBackend.load(tmp_path)
    assert len(again) == len(loaded) == 297
    np.testing.assert_array_equal(again.index.vectors, loaded.index.vectors)
    loaded.index.verify()


def test_a_save_that_fails_leaves_the_old_files(tmp_path, monkeypatch):
    mine, _ = both("euclidean")
    mine.backend.save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other, _ = both("cosine")
    monkeypatch.setattr(FastvecArgs, "dump", lambda *_: (_ for _ in ()).throw(OSError("no room")))
    with pytest.raises(OSError, match="no room"):
        other.backend.save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_arguments_that_a_killed_save_left_aside_are_found(tmp_path, monkeypatch):
    mine, _ = both("euclidean")
    mine.backend.save(tmp_path)
    real = atomic.put

    def killed(made, place):
        real(made, place)
        os._exit(9)

    if (child := os.fork()) == 0:
        monkeypatch.setattr(atomic, "put", killed)
        both("cosine")[0].backend.save(tmp_path)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not (tmp_path / "arguments.json").exists()
    assert FastvecBackend.load(tmp_path).arguments.metric.value == "cosine"
    mine.backend.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arguments.json", "vectors.npy"]
    assert FastvecBackend.load(tmp_path).arguments.metric.value == "euclidean"
