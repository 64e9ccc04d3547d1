"""The contract of stores, which every home of rows in the table keeps; another home is a module and a row."""

import pickle
import sys
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
from assertions import assert_same_bits, assert_same_topk
from data import gaussian

import fastvec
from fastvec._request import checked
from fastvec._stores import base, blocks, cpu, windows
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


@pytest.mark.parametrize("source", ["blocks", "windows", "chosen", "encoding", "encoding chosen"])
def test_sources_yield_the_rows_that_are_asked_for(monkeypatch, source):
    """Each once, in their order, in pieces of bounded size, with a screen where rows have one."""
    index, step = fastvec.Index(gaussian(41, 70, 1), screen=64), 16
    index.add(gaussian(20, 70, 2))
    store, chosen = index._store, np.flatnonzero(np.arange(61) % 5 != 3)
    assert [block.screened_rows for block in store.blocks] == [41, 0]
    monkeypatch.setattr(blocks, "BLOCK", step)
    monkeypatch.setattr(windows, "CHUNK", 8)
    request = checked(store, index.vectors[:1], 3, metric="cosine", num_threads=2)
    some = chosen if "chosen" in source else None
    if "encoding" in source:
        rows = index.vectors.copy()
        every = cpu.one_shot(rows).source(request, some, None)
        rows[44, 69] = np.nan
        with pytest.raises(ValueError, match="vectors, row 44: NaN"):
            list(every(20, 49))
        rows[44] = index.vectors[44]
    elif source == "windows":
        stride = store.blocks[0].encoded.codes.strides[0]
        assert pieces_of(windows.source_of(store.blocks, store.matrix.starts, request, None), 0, 61)[0] == 41
        for held in (2 * 2 * stride * step, 2 * 2 * stride * (step + 8) - 1):
            monkeypatch.setattr(windows, "_MAPPED_BYTES", held)
            every = windows.source_of(store.blocks, store.matrix.starts, request, None)
    else:
        by_screens = store.screens(request) if source == "blocks" else None
        every = store.source(request, some, by_screens)
    whole = np.arange(61) if some is None else some
    codes = {
        name: np.concatenate(
            [getattr(each.encoded, name)[: len(each.vectors)] for each in index._store.blocks]
        )
        for name in ("codes", "scale", "error", "norm")
    }
    for start, stop in ((0, len(whole)), (0, 41), (8, 9), (40, 42), (24, 25), (41, 45), (5, 33), (7, 40)):
        sizes, seen = [], []
        for piece in every(start, stop):
            here = np.arange(piece.start, piece.stop)
            numbers = piece.rows.ids[here] if len(piece.rows.ids) else piece.rows.base + here
            for name, of_all in codes.items():
                assert_same_bits(getattr(piece.rows, name)[here], of_all[numbers])
            seen += numbers.tolist()
            sizes.append(len(here))
            assert (piece.screened is not None) is (source == "blocks" and seen[-1] < 41)
        assert seen == whole[start:stop].tolist()
        assert min(sizes) > 0
        assert source == "blocks" or max(sizes) == step or len(seen) < 2 * step


def pieces_of(source, start, stop):
    """The sizes of the pieces of a source."""
    return [piece.stop - piece.start for piece in source(start, stop)]
