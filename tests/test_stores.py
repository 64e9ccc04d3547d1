"""The contract of stores, which every home of rows in the table keeps; another home is a module and a row."""

import pickle
import sys
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
from assertions import assert_same_bits, assert_same_topk
from data import gaussian

import fastvec
from fastvec._stores import base, cpu
from fastvec.machine import Device

NEEDED = [name for name in (*vars(base.Store), "device", "screen") if not name.startswith("_")]
OPTIONAL = {
    "ranges": lambda index: index.range_search(index.vectors[:1], 0.5),
    "multiply": lambda index: index.analogy([1], [0], method="3cosmul"),
    "added": lambda index: index.add(index.vectors[:1]),
    "verify": lambda index: index.verify(),
}


class DiskStore:
    """Rows in a file that is mapped into memory; a CpuStore over the map has the methods that all need."""

    device = "disk"

    def __init__(self, rows, path):
        np.save(path, rows)
        self._over_map = cpu.of_rows(np.load(path, mmap_mode="r").view(np.ndarray), owned=False)

    def __getattr__(self, name):
        if name not in NEEDED:
            raise AttributeError(name)
        return getattr(self._over_map, name)


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A home of rows on disk: its module, and its row in the table."""

    def of_rows(rows, *, owned, screen="auto"):
        return DiskStore(rows, tmp_path / f"{len(list(tmp_path.iterdir()))}.npy")

    def encoded(vectors, *, copy=False, screen="off"):
        return of_rows(cpu.encoded(vectors, copy=copy, screen="off").vectors()[0], owned=True)

    module = SimpleNamespace(
        why_not=lambda: None,
        describe=lambda: "a folder",
        serves=lambda metric: metric != "manhattan",
        encoded=encoded,
        one_shot=encoded,
        of_rows=of_rows,
    )
    monkeypatch.setitem(sys.modules, "fastvec._stores.disk", module)
    homes = {**base.HOMES, "disk": base.Home("disk", ".disk")}
    monkeypatch.setattr(base, "HOMES", MappingProxyType(homes))
    yield
    base._loaded.cache_clear()


@pytest.fixture(params=[*base.HOMES, "disk"])
def device(request, disk):
    reason = base.HOMES[request.param].load().why_not()
    if reason is not None:
        pytest.skip(reason)
    return request.param


@pytest.fixture
def vectors():
    return gaussian(500, 33, 1)


def test_every_home_is_listed(disk):
    assert [device.name for device in fastvec.machine.devices()] == [*base.HOMES]
    assert fastvec.machine.devices()[-1] == Device("disk", "a folder", True, None)


def test_answers_are_those_of_the_processor(device, vectors):
    queries = gaussian(9, 33, 2)
    index, expected = fastvec.Index(vectors, device=device), fastvec.Index(vectors)
    for options in ({}, {"dims": 20}, {"where": np.arange(0, 500, 3)}, {"exclude": [[0, 1]] * 9}):
        answer = expected.search(queries, 7, **options)
        assert_same_topk(index.search(queries, 7, **options), answer)
        assert_same_topk(fastvec.knn(queries, vectors, 7, device=device, **options), answer)
    assert_same_topk(index.analogy([[1], [2]], [[3], [4]], 5), expected.analogy([[1], [2]], [[3], [4]], 5))
    assert_same_topk(index.knn_graph(3), expected.knn_graph(3))


def test_rows_come_back(device, vectors, tmp_path):
    index = fastvec.Index(vectors, device=device)
    store = index._store
    assert [name for name in NEEDED if not hasattr(store, name)] == []
    assert (store.device, store.rows, store.dims, len(index)) == (device, 500, 33, 500)
    assert_same_bits(index.vectors, vectors)
    assert_same_bits(store.fetch(np.array([7, 3, 7])), vectors[[7, 3, 7]])
    again = pickle.loads(pickle.dumps(index))
    assert repr(again) == repr(index)
    assert_same_topk(again.search(vectors[:2], 3), index.search(vectors[:2], 3))
    index.save(tmp_path / "index")
    assert_same_bits(fastvec.Index.open(tmp_path / "index").vectors, vectors)


@pytest.mark.parametrize("method", OPTIONAL)
def test_what_a_store_cannot_do_is_refused_by_name(device, vectors, method):
    index = fastvec.Index(vectors, device=device)
    if hasattr(index._store, method):
        OPTIONAL[method](index)
    else:
        with pytest.raises(NotImplementedError, match=f"device='{device}'; use device='cpu'"):
            OPTIONAL[method](index)


def test_a_metric_that_a_home_does_not_know_is_refused(disk, vectors):
    with pytest.raises(NotImplementedError, match="metric='manhattan' is not available with device='disk'"):
        fastvec.Index(vectors, metric="manhattan", device="disk")


def test_a_row_that_is_not_finite_is_named(device, vectors):
    vectors[41, 3] = np.nan
    for call in (
        lambda: fastvec.Index(vectors, device=device),
        lambda: fastvec.knn(vectors[:1], vectors, 2, device=device),
    ):
        with pytest.raises(ValueError, match="41"):
            call()
