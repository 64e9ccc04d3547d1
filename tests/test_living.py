"""An Index whose rows are removed, replaced and compacted answers as a dictionary that does the same."""

import contextlib
import pickle
import threading

import changes_soak
import numpy as np
import oracle
import pytest
from assertions import assert_same_bits, assert_same_topk
from data import gaussian, mixed, related
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import fastvec
from fastvec import _living
from fastvec._stores import blocks as _blocks
from fastvec._stores import callers, cpu
from fastvec.kernels import metrics

METRICS = list(metrics.TABLE)


class Twin:
    """Rows in a dictionary, by number."""

    def __init__(self, vectors):
        self.rows, self.top, self.dims = dict(enumerate(vectors)), len(vectors), vectors.shape[1]

    @property
    def numbers(self):
        return np.array(sorted(self.rows), np.int64)

    @property
    def vectors(self):
        return np.array([self.rows[n] for n in sorted(self.rows)], np.float32).reshape(-1, self.dims)

    def add(self, vectors):
        for row in vectors:
            self.rows[self.top] = row
            self.top += 1

    def compact(self):
        numbers, vectors = self.numbers, self.vectors
        self.__init__(vectors)
        return numbers

    def numbered(self, found):
        """Places among ``vectors`` as numbers."""
        return oracle.TopK(found.scores, np.append(self.numbers, -1)[found.indices])

    def _in_places(self, where, exclude):
        place = {number: i for i, number in enumerate(self.numbers.tolist())}
        if where is not None:
            where = np.asarray(where)
            where = where[..., self.numbers] if where.dtype == bool else np.isin(self.numbers, where)
        if exclude is not None:
            exclude = [[place[number] for number in row if number in place] for row in exclude]
        return where, exclude

    def search(self, queries, k, metric, where=None, exclude=None, dims=None):
        where, exclude = self._in_places(where, exclude)
        return self.numbered(oracle.knn(queries, self.vectors, k, metric, dims, where, exclude))

    def analogy(self, positive, negative, k, **options):
        place = {number: i for i, number in enumerate(self.numbers.tolist())}
        inside = [[[place[number] for number in row] for row in rows] for rows in (positive, negative)]
        return self.numbered(oracle.analogy(self.vectors, *inside, k, **options))


class Living(RuleBasedStateMachine):
    """Changes and searches in any order; many rows are equal, so that ties stand at every border."""

    @initialize(
        metric=st.sampled_from(METRICS),
        n=st.sampled_from([0, 1, 5, 40]),
        dims=st.sampled_from([1, 3, 70]),
        seed=st.integers(0, 5),
    )
    def start(self, metric, n, dims, seed):
        self.rng, self.metric = np.random.default_rng(seed), metric
        # Few different rows: three of any values, zero, and one that is the double of another.
        self.stock = self.rng.standard_normal((5, dims)).astype(np.float32)
        self.stock[3], self.stock[4] = 0.0, 2 * self.stock[0]
        rows = self.some(n)
        if n:
            self.index = fastvec.Index(rows, metric=metric)
        else:
            self.index = fastvec.Index(dims=dims, metric=metric)
        self.twin = Twin(rows)

    def some(self, count):
        rows = self.stock[self.rng.integers(0, 5, count)]
        return rows * np.where(self.rng.random((count, 1)) < 0.2, self.rng.random((count, 1)), 1).astype("f4")

    def left(self, most):
        return self.rng.permutation(self.twin.numbers)[:most]

    @rule(count=st.sampled_from([0, 1, 3, 30]))
    def add(self, count):
        rows = self.some(count)
        self.index.add(rows)
        self.twin.add(rows)

    @rule(share=st.sampled_from([0.0, 0.1, 0.6, 1.0]))
    def remove(self, share):
        numbers = self.left(int(np.ceil(share * len(self.twin.rows))))
        self.index.remove(np.append(numbers, numbers[:1]))
        for number in numbers.tolist():
            del self.twin.rows[number]

    @rule(share=st.sampled_from([0.0, 0.1, 0.6]), same=st.booleans())
    def replace(self, share, same):
        numbers = self.left(int(np.ceil(share * len(self.twin.rows))))
        rows = self.some(len(numbers))
        if same and len(numbers):
            rows = np.array([self.twin.rows[number] for number in numbers.tolist()])
        self.index.replace(numbers, rows)
        self.twin.rows.update(zip(numbers.tolist(), rows, strict=True))

    @rule()
    def compact(self):
        assert_same_bits(self.index.compact(), self.twin.compact())
        assert_same_bits(self.index.numbers, self.twin.numbers)

    @rule()
    def pickle(self):
        self.index = pickle.loads(pickle.dumps(self.index))

    @rule(m=st.sampled_from([1, 2, 5]), k=st.integers(1, 9), how=st.integers(0, 4))
    def search(self, m, k, how):
        queries, top, options = self.some(m), self.twin.top, {}
        if how == 1:
            options = {"where": self.rng.random(top) < 0.5}
        elif how == 2:
            options = {"where": self.rng.integers(0, max(top, 1), min(top, 7))}
        elif how == 3:
            options = {"where": self.rng.random((m, top)) < 0.5}
        elif how == 4 and top:
            options = {"exclude": self.rng.integers(-1, top, (m, 12))}
        expected = self.twin.search(queries, k, self.metric, **options)
        assert_same_topk(self.index.search(queries, k, **options), expected)
        if how != 3:
            if "exclude" in options:
                options["exclude"] = options["exclude"][:1]
            one = self.twin.search(queries[:1], k, self.metric, **options)
            if "exclude" in options:
                options["exclude"] = options["exclude"][0]
            assert_same_topk(
                self.index.search(queries[0], k, **options), oracle.TopK(*(part[0] for part in one))
            )

    @rule(m=st.sampled_from([1, 5]))
    def range(self, m):
        queries, n = self.some(m), len(self.twin.rows)
        every = self.twin.search(queries, max(n, 1), self.metric)
        least = every.scores[0, n // 2] if n else 0.0
        ranges = self.index.range_search(queries, least)
        assert_same_ranges(ranges, every, least, n)

    @rule(k=st.integers(1, 4))
    def graph(self, k):
        exclude = self.twin.numbers[:, None]
        graph = self.index.knn_graph(k)
        assert_same_topk(graph, self.twin.search(self.twin.vectors, k, self.metric, exclude=exclude))
        with_self = self.index.knn_graph(k + 1, include_self=True)
        assert_same_topk(fastvec.TopK(with_self.scores[:, 1:], with_self.indices[:, 1:]), graph)
        assert_same_bits(with_self.indices[:, 0], self.twin.numbers)

    @rule(place=st.integers(0, 99), some=st.booleans())
    def join(self, place, some):
        numbers, vectors, metric = self.twin.numbers, self.twin.vectors, self.metric
        scores = oracle.publish(oracle.scores(vectors, vectors, metric)).ravel()
        least = scores[place % len(scores)] if len(scores) else 0.5
        where = self.rng.random(self.twin.top) < 0.7 if some else None
        left = where[numbers] if some else None
        expected = oracle.pairs(vectors, least, metric, where=left)
        found = self.index.pairs(least, where=where)
        assert_same_bits(found.left, numbers[expected.left])
        assert_same_bits(found.right, numbers[expected.right])
        assert_same_bits(found.scores, expected.scores)
        groups = numbers[oracle.duplicates(vectors, least, metric)]
        assert_same_bits(self.index.duplicates(least), groups)
        both = self.index.pairs(least, other=self.index, where=where)
        expected = oracle.pairs(vectors, least, metric, where=left, other=vectors)
        assert_same_bits(both.left, numbers[expected.left])
        assert_same_bits(both.right, numbers[expected.right])

    @precondition(lambda self: self.metric == "cosine" and self.twin.rows)
    @rule(method=st.sampled_from(["3cosadd", "3cosmul"]), k=st.integers(1, 6))
    def analogy(self, method, k):
        inputs = self.rng.choice(self.twin.numbers, (3, 3))
        expected = self.twin.analogy(inputs[:, :2], inputs[:, 2:], k, method=method)
        assert_same_topk(self.index.analogy(inputs[:, :2], inputs[:, 2:], k, method=method), expected)

    @rule()
    def refused(self):
        gone = set(range(self.twin.top)) - set(self.twin.rows)
        bad = np.full((1, self.twin.dims), np.nan, np.float32)
        calls = [lambda: self.index.add(bad), lambda: self.index.remove([self.twin.top])]
        if self.twin.rows:
            one = self.left(1)
            calls += [
                lambda: self.index.replace(one, bad),
                lambda: self.index.replace(one, np.zeros((2, self.twin.dims))),
                lambda: self.index.replace(np.append(one, one), np.zeros((2, self.twin.dims))),
                lambda: self.index.remove([*one.tolist(), -1]),
            ]
            if gone:
                calls.append(lambda: self.index.remove([*one.tolist(), min(gone)]))
        for call in calls:
            with pytest.raises((ValueError, IndexError)):
                call()

    @invariant()
    def same_rows(self):
        assert len(self.index) == len(self.twin.rows)
        assert_same_bits(self.index.vectors, self.twin.vectors)
        assert_same_bits(self.index.numbers, self.twin.numbers)
        self.index.verify()


TestLiving = Living.TestCase
TestLiving.settings = settings(max_examples=settings().max_examples // 3, stateful_step_count=25)


@pytest.fixture
def large(monkeypatch):
    """Additions of 16 KiB count as large, so that they stay where they are."""
    monkeypatch.setattr(_blocks, "IN_PLACE_BYTES", 1 << 14)


def changed(index, vectors, seed=0):
    """Remove, replace and add rows of an Index; return its twin."""
    rng, twin = np.random.default_rng(seed), Twin(vectors)
    n = len(vectors)
    order = rng.permutation(n)
    gone, moved = order[: n // 5], order[n // 5 : n // 5 + 40]
    new = vectors[rng.permutation(n)[:40]]
    index.remove(gone)
    index.replace(moved, new)
    index.add(vectors[:30])
    for number in gone.tolist():
        del twin.rows[number]
    twin.rows.update(zip(moved.tolist(), new, strict=True))
    twin.add(vectors[:30])
    return twin


@pytest.mark.usefixtures("large", "all_threads")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["plain", "screen", "leading", "direction"])
def test_every_kind_of_codes(kind, metric):
    if metric == "manhattan" and kind != "plain":
        pytest.skip("it has no codes that are scanned")
    vectors = (
        related(mixed(500, 260, 1), 2000, 2) if kind != "direction" else gaussian(2000, 260, 1) * 0.3 + 1
    )
    vectors = np.ascontiguousarray(vectors, np.float32)
    screen = {"screen": 64, "leading": 192}.get(kind, "auto" if metric != "manhattan" else "off")
    index = fastvec.Index(vectors, metric=metric, screen=screen)
    twin = changed(index, vectors)
    queries = related(vectors, 20, 3)
    assert (index._store.direction(260) is not None) == (kind == "direction")
    for what in ("changed", "packed", "compacted"):
        if what == "packed":
            gone = np.random.default_rng(5).permutation(twin.numbers)[: len(index) // 2]
            index.remove(gone)
            for number in gone.tolist():
                del twin.rows[number]
            assert index._store.rows == len(index)
        if what == "compacted":
            assert_same_bits(index.compact(), twin.compact())
        for m in (1, 2, 20):
            for threads in (1, 3):
                found = index.search(queries[:m], 9, num_threads=threads)
                assert_same_topk(found, twin.search(queries[:m], 9, metric))
        assert_same_topk(index.search(queries, 5, dims=130), twin.search(queries, 5, metric, dims=130))
        index.verify()
    assert index.screen == (None if kind in ("plain", "direction") else screen)


def assert_same_ranges(ranges, every, least, n):
    """Ranges are the leading part of answers with all n rows."""
    inside = [row[:n] >= least for row in every.scores]
    assert_same_bits(ranges.offsets, np.cumsum([0, *map(np.count_nonzero, inside)]))
    for part, whole in ((ranges.scores, every.scores), (ranges.indices, every.indices)):
        assert_same_bits(part, np.concatenate([row[:n][i] for row, i in zip(whole, inside, strict=True)]))


@pytest.mark.parametrize("metric", METRICS)
def test_equal_rows_are_ranked_by_numbers_that_do_not_rise(metric):
    rng = np.random.default_rng(3)
    stock = rng.standard_normal((3, 4)).astype(np.float32)
    vectors, new = stock[rng.integers(0, 3, 30)], stock[rng.integers(0, 3, 12)]
    index, twin, moved = fastvec.Index(vectors, metric=metric), Twin(vectors), rng.permutation(30)[:12]
    index.replace(moved, new)
    twin.rows.update(zip(moved.tolist(), new, strict=True))
    index.remove([2, int(moved[0])])
    for number in (2, int(moved[0])):
        del twin.rows[number]
    for _ in range(2):
        index.add(stock)
        twin.add(stock)
    again = [*moved[1:5].tolist(), 30, 35]
    index.replace(again, new[:6])
    twin.rows.update(zip(again, new[:6], strict=True))
    assert_same_bits(index.vectors, twin.vectors)
    n, queries = len(twin.rows), np.concatenate([stock, stock[:1] * 2])
    for k in (1, 4, 9, n, n + 3):
        for options in (
            {},
            {"where": rng.random(36) < 0.8},
            {"exclude": twin.numbers[: 8 * 2].reshape(4, 4)},
        ):
            expected = twin.search(queries, k, metric, **options)
            assert_same_topk(index.search(queries, k, **options), expected)
            one = {name: value[1] if name == "exclude" else value for name, value in options.items()}
            answer = oracle.TopK(*(part[1] for part in expected))
            assert_same_topk(index.search(queries[1], k, **one), answer)
    every = twin.search(queries, n, metric)
    for least in np.unique(every.scores)[::2].tolist():
        assert_same_ranges(index.range_search(queries, least), every, least, n)
    if metric == "cosine":
        questions = twin.numbers[:8].reshape(2, 4)
        expected = twin.analogy(questions[:, :3], questions[:, 3:], 9, method="3cosmul")
        assert_same_topk(index.analogy(questions[:, :3], questions[:, 3:], 9, method="3cosmul"), expected)


@pytest.mark.parametrize("how", ["removed", "packed", "replaced"])
def test_pairs_of_some_rows_whose_numbers_are_not_positions(how):
    vectors = gaussian(40, 5, 1)
    index, twin = fastvec.Index(vectors), Twin(vectors)
    gone = np.arange(40)[::3] if how == "removed" else np.arange(40)[np.arange(40) % 3 < 2]
    if how == "replaced":
        index.replace(gone, vectors[::-1][gone])
        twin.rows.update(zip(gone.tolist(), vectors[::-1][gone], strict=True))
        gone = gone[:1]
    index.remove(gone)
    for number in gone.tolist():
        del twin.rows[number]
    where, other = np.arange(40) % 4 > 0, gaussian(9, 5, 2)
    for options in ({}, {"other": other}):
        expected = oracle.pairs(twin.vectors, 0.3, where=where[twin.numbers], **options)
        right = expected.right if options else twin.numbers[expected.right]
        for form in (where, np.flatnonzero(where)):
            found = index.pairs(0.3, where=form, **options)
            assert_same_bits(found.left, twin.numbers[expected.left])
            assert_same_bits(found.right, right)
            assert_same_bits(found.scores, expected.scores)


def test_the_only_row_of_a_file_can_be_removed(tmp_path):
    np.save(tmp_path / "row.npy", gaussian(1, 8, 1))
    index = fastvec.Index(np.load(tmp_path / "row.npy", mmap_mode="r"))
    index.remove([0])
    assert (len(index), index.vectors.shape) == (0, (0, 8))
    assert index.search(gaussian(1, 8, 1), 1).indices.tolist() == [[-1]]
    assert len(index.range_search(gaussian(1, 8, 1), -1.0).indices) == 0
    index.add(gaussian(1, 8, 2))
    assert index.search(gaussian(1, 8, 2), 2).indices.tolist() == [[1, -1]]


def test_numbers_in_arguments():
    vectors = gaussian(30, 8, 1)
    index = fastvec.Index(vectors)
    index.remove([3, 7])
    index.replace(9, vectors[4])
    assert index.search(vectors[3], 30, where=[3, 7, 5]).lists()[0][0] == 5
    assert 3 not in index.search(vectors[3], 30, exclude=[7, 7, -1]).indices
    with pytest.raises(ValueError, match=r"where is bool of shape \(28,\).*30 vectors"):
        index.search(vectors[3], 1, where=np.ones(28, bool))
    with pytest.raises(IndexError, match="where has 30"):
        index.search(vectors[3], 1, where=[30])
    with pytest.raises(IndexError, match="the question has 7, which was removed"):
        index.analogy([5, 7], [2])
    for call, error, message in (
        (lambda: index.remove([4, 3]), IndexError, "rows has 3, which was removed"),
        (lambda: index.remove(-1), IndexError, "rows has -1; it must be from 0 to 29"),
        (lambda: index.remove([1.5]), TypeError, "rows has dtype float64"),
        (lambda: index.remove([True, 2]), TypeError, "rows has both bools and integers"),
        (lambda: index.remove([[1, 2]]), ValueError, "one dimension"),
        (lambda: index.replace([1, 1], vectors[:2]), ValueError, "names a row twice"),
        (lambda: index.replace([1, 2], vectors[:1]), ValueError, "differ in number: 2 and 1"),
        (lambda: fastvec.Index(vectors, dims=8), TypeError, "vectors and dims are both given"),
        (fastvec.Index, TypeError, "vectors is None; give vectors, or dims"),
        (lambda: fastvec.Index(dims=0), ValueError, "dims is 0"),
    ):
        with pytest.raises(error, match=message):
            call()
    assert len(index) == 28


def test_a_row_that_changed_is_named_by_its_number(large):
    vectors = gaussian(300, 64, 1)
    added = vectors[:200].copy()
    index = fastvec.Index(vectors)
    index.add(added)
    index.remove(np.arange(280))
    assert index._store.rows == 220
    index.add(gaussian(100, 64, 2))
    large_one = gaussian(80, 64, 3).copy()
    index.add(large_one)
    large_one[5] *= -1
    for call in (index.verify, lambda: index.search(-large_one[5], 1)):
        with pytest.raises(RuntimeError, match="row 605 no longer"):
            call()


def test_memory_comes_back():
    vectors = gaussian(4000, 64, 1)
    index = fastvec.Index(vectors, copy=True)
    whole = index.nbytes
    index.remove(np.arange(2000))
    assert index.nbytes == whole + 4000  # a byte a row says which are left
    index.remove([2000])
    assert index.nbytes < 0.6 * whole
    index.remove(np.arange(2001, 3000))
    index.compact()
    assert index.nbytes == fastvec.Index(vectors[3000:], copy=True).nbytes
    assert (index.compact() == np.arange(1000)).all()
    for _ in range(9):
        index.replace(np.arange(1000), vectors[:1000])
    assert index._store.rows < 3000


def test_rows_in_a_file_stay_there(tmp_path):
    vectors = gaussian(500, 16, 1)
    np.save(tmp_path / "vectors.npy", vectors)
    index = fastvec.Index(np.load(tmp_path / "vectors.npy", mmap_mode="r"))
    first = index._store.blocks[0]
    index.add(vectors[:100])
    index.remove([*range(400), *range(500, 560)])
    assert index._store.blocks[0] is first
    assert index._store.rows == 540
    assert_same_bits(index.numbers, np.r_[400:500, 560:600])
    found = fastvec.knn(vectors[:9], np.concatenate([vectors[400:], vectors[60:100]]), 4)
    assert_same_topk(index.search(vectors[:9], 4), oracle.TopK(found.scores, index.numbers[found.indices]))


def test_vectors_are_copied_once_after_a_change():
    vectors = gaussian(50, 16, 1)
    index = fastvec.Index(vectors)
    whole = index.nbytes
    assert index.vectors.ctypes.data == vectors.ctypes.data
    assert index.nbytes == whole
    index.add(vectors[:3])
    assert index.vectors is index.vectors
    before = index.vectors
    index.remove([0])
    whole = index.nbytes
    assert index.vectors is index.vectors
    assert index.nbytes == whole + 52 * 16 * 4
    assert len(before) == 53
    with pytest.raises(ValueError, match="read-only"):
        index.vectors[0, 0] = 1


def test_a_search_goes_on_with_the_rows_that_it_began_with(monkeypatch):
    """Rows are removed and replaced in the middle of a search; the next one sees all of that."""
    vectors = gaussian(400, 16, 1)
    index, original = fastvec.Index(vectors, metric="dot"), cpu.CpuStore.search
    index.remove([399])
    queries = vectors[:20]
    before = index.search(queries, 5)

    def interrupted(store, request):
        monkeypatch.setattr(cpu.CpuStore, "search", original)
        index.remove(before.indices[:, 0])
        left = np.setdiff1d(before.indices, before.indices[:, 0])
        index.replace(left, -vectors[left])
        index.remove(np.setdiff1d(index.numbers, left))  # more than half: what is left is packed
        return original(store, request)

    monkeypatch.setattr(cpu.CpuStore, "search", interrupted)
    assert_same_topk(index.search(queries, 5), before)
    left = index.numbers
    found = oracle.knn(queries, -vectors[left], 5, "dot")
    assert_same_topk(index.search(queries, 5), oracle.TopK(found.scores, left[found.indices]))


def test_what_was_seen_does_not_change(tmp_path):
    index = fastvec.Index(gaussian(30, 8, 1))
    index.remove([3])
    index.save(tmp_path / "index")
    for one in (index, fastvec.Index.open(tmp_path / "index")):
        seen = one._rows.now()
        open_ = seen.open.copy()
        one.remove([5])
        assert_same_bits(seen.open, open_)


def test_numbers_of_removed_rows_are_refused_by_pickles_and_folders_too(tmp_path):
    index, left = fastvec.Index(gaussian(30, 8, 1)), [0, 7, 11, 29]
    index.remove(np.delete(np.arange(30), left))
    index.save(tmp_path / "index")
    for one in (index, pickle.loads(pickle.dumps(index)), fastvec.Index.open(tmp_path / "index")):
        assert_same_bits(one.fetch(left), gaussian(30, 8, 1)[left])
        for number in (3, 28):
            for call in (one.fetch, one.remove, lambda number, one=one: one.replace(number, np.ones(8))):
                with pytest.raises(IndexError, match=f"rows has {number}, which was removed"):
                    call(number)


@pytest.mark.usefixtures("large")
def test_rows_in_pieces_are_one_piece_after_compact_and_then_stay_where_they_are():
    index = fastvec.Index(gaussian(300, 16, 1))
    index.add(gaussian(300, 16, 2))
    assert len(index._store.vectors()) == 2
    index.compact()
    store = index._store
    assert len(store.vectors()) == 1
    index.compact()
    assert index._store is store


def test_what_is_shown_is_not_older_than_a_change(monkeypatch):
    """A change by another thread, while a search makes what it sees: it waits, or its rows are seen next."""
    index = fastvec.Index(gaussian(50, 8, 1))
    index.remove([0])  # nothing is shown
    original, changing = _living._State.snapshot, threading.Thread(target=index.remove, args=([1],))

    def snapshot(state):
        monkeypatch.setattr(_living._State, "snapshot", original)
        made = original(state)
        changing.start()
        changing.join(0.1)
        return made

    monkeypatch.setattr(_living._State, "snapshot", snapshot)
    index.search(gaussian(1, 8)[0], 1)
    changing.join()
    assert index.search(gaussian(1, 8)[0], 50).indices[:48].min() == 2


def test_a_change_that_ends_before_it_is_shown_hides_no_rows(monkeypatch):
    """Whichever of its attributes a change sets last, what is seen is the state."""
    for last in range(1, 4):
        index, sets = fastvec.Index(gaussian(50, 8, 1)), []

        def limited(rows, name, value, sets=sets, last=last):
            if len(sets) == last:
                raise KeyboardInterrupt
            sets.append(name)
            object.__setattr__(rows, name, value)

        with monkeypatch.context() as patched:
            patched.setattr(_living.LivingRows, "__setattr__", limited)
            with contextlib.suppress(KeyboardInterrupt):
                index.add(gaussian(3, 8, 2))
        assert sets
        assert index._rows.now().store is index._rows.store


def test_searches_wait_for_no_long_addition(monkeypatch):
    """The rows before a long addition are shown while it lasts; before a short one, no mask is copied."""
    monkeypatch.setattr(_living, "_LONG_BYTES", 64 * 100)
    vectors = gaussian(400, 16, 1)
    index, original, shown = fastvec.Index(vectors), cpu.CpuStore.added, []

    def added(store, rows, *, owned):
        shown.append(index._rows.seen)
        return original(store, rows, owned=owned)

    monkeypatch.setattr(cpu.CpuStore, "added", added)
    for count in (99, 100):
        index.remove(count)
        index.add(gaussian(count, 16, 2))
    assert shown[0] is None
    assert shown[1].left == 400 - 2 + 99
    assert len(index) == 400 - 2 + 99 + 100


CHANGES = {
    "show": lambda rows: rows.now(),
    "label": lambda rows: rows.label(None),
    "add": lambda rows: rows.add(np.eye(1, 3, dtype=np.float32), owned=True),
    "remove": lambda rows: rows.remove([0]),
    "replace": lambda rows: rows.replace([0], np.eye(1, 3, dtype=np.float32), owned=True),
    "put": lambda rows: rows.put(np.array([0]), np.eye(1, 3, dtype=np.float32), owned=True),
    "take over": lambda rows: rows.take_over(lambda seen: None),
    "compact": lambda rows: rows.compact("cosine"),
}
OF_WORDS = {
    "add": lambda words: words.add(["d"], np.eye(1, 3)),
    "replace": lambda words: words.replace(["a"], np.eye(1, 3)),
    "remove": lambda words: words.remove(["a"]),
    "refresh": lambda words: words.refresh(),
    "compact": lambda words: words.index,
}


@pytest.mark.parametrize("change", [*CHANGES, *(f"{name} words" for name in OF_WORDS)])
def test_a_change_waits_for_the_one_before_it(tmp_path, change):
    if change in CHANGES:
        rows = fastvec.Index(np.eye(3))._rows
        rows.seen = None
        lock, call = rows._lock, lambda: CHANGES[change](rows)
    else:
        words = fastvec.Vocabulary(["a", "b", "c"], np.eye(3))
        words.save(tmp_path / "words")
        lock, call = words._changing, lambda: OF_WORDS[change.removesuffix(" words")](words)
    thread = threading.Thread(target=call)
    with lock.here:
        thread.start()
        thread.join(0.03)
        waits = thread.is_alive()
    thread.join()
    assert waits


def test_threads_see_all_of_a_change_or_none():
    """Each change replaces ten rows and removes ten others that are nearest to a query."""
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((3000, 24)).astype(np.float32)
    vectors[:, 0] = 0.0
    query = np.eye(1, 24, dtype=np.float32)[0]
    index = fastvec.Index(vectors, metric="dot")
    seen, done = [], threading.Event()

    def search():
        while not done.is_set():
            seen.append(index.search(query, 20))

    searching = [threading.Thread(target=search) for _ in range(2)]
    for thread in searching:
        thread.start()
    moved = np.arange(10)
    for value in range(1, 60):
        rows = vectors[moved].copy()
        rows[:, 0] = value
        index.replace(moved, rows)
        index.remove(np.arange(10 * value, 10 * value + 10))
    done.set()
    for thread in searching:
        thread.join()
    seen.append(index.search(query, 20))
    for scores, indices in seen:
        assert len(set(scores[:10].tolist())) == 1
        assert sorted(indices[:10].tolist()) == list(range(10)) or scores[0] == 0.0
    assert seen[-1].scores[0] == 59.0
    assert seen[-1].indices[10] == 600


@pytest.mark.slow
def test_thirty_two_threads_call_everything_on_indexes_that_change():
    assert "search" in changes_soak.soak(1.0)


def test_callers_of_one_snapshot_are_scanned_together(monkeypatch):
    monkeypatch.setattr(callers, "LEAST_WORK", 1)
    index = fastvec.Index(gaussian(300, 16, 1))
    index.remove([5])
    rows = index._rows.now()
    first, second = (rows.request(gaussian(1, 16, seed)[0], 3, metric="cosine") for seed in (2, 3))
    assert callers._may_be_joined(first)
    assert callers._kind(first) == callers._kind(second)
    own = rows.request(gaussian(1, 16, 2)[0], 3, metric="cosine", where=np.arange(9))
    assert not callers._may_be_joined(own)
    masked = rows.request(gaussian(2, 16, 2), 3, metric="cosine", where=np.ones((2, 300), bool))
    assert not callers._may_be_joined(masked)
    index.remove([6])  # which leaves the store as it is
    later = index._rows.now().request(gaussian(1, 16, 2)[0], 3, metric="cosine")
    assert callers._kind(later) != callers._kind(first)


def test_an_index_of_a_vocabulary_does_not_change_by_itself():
    index = fastvec.Vocabulary(["a", "b"], np.eye(2)).index
    for call in (
        lambda: index.add([[1, 1]]),
        lambda: index.remove(0),
        lambda: index.replace(0, [1, 1]),
        index.compact,
    ):
        with pytest.raises(TypeError, match="belong to a Vocabulary"):
            call()


class LivingWords(RuleBasedStateMachine):
    """A Vocabulary against a dictionary of words."""

    @initialize(ids=st.booleans(), n=st.integers(0, 6))
    def start(self, ids, n):
        self.rng, self.made = np.random.default_rng(n), 0
        self.word = (lambda i: i * 7 - 10**12) if ids else (lambda i: f"w{i}")
        words = self.new(n)
        self.rows = dict(zip(words, self.some(n), strict=True))
        self.words = fastvec.Vocabulary(words, np.array([*self.rows.values()], "f4").reshape(-1, 3))

    def some(self, count):
        return self.rng.integers(-1, 2, (count, 3)).astype(np.float32)

    def new(self, count):
        self.made += count
        return [self.word(i) for i in range(self.made - count, self.made)]

    def known(self, share):
        words = list(self.rows)
        count = int(np.ceil(share * len(words)))
        return [words[i] for i in self.rng.permutation(len(words))[:count]]

    @rule(count=st.integers(0, 4))
    def add(self, count):
        words, rows = self.new(count), self.some(count)
        self.words.add(words, rows)
        self.rows |= dict(zip(words, rows, strict=True))

    @rule(share=st.sampled_from([0.0, 0.3, 0.7]))
    def remove(self, share):
        gone = self.known(share)
        self.words.remove(gone)
        for word in gone:
            del self.rows[word]

    @rule(share=st.sampled_from([0.0, 0.4]), count=st.integers(0, 2))
    def replace(self, share, count):
        words = [*self.new(count), *self.known(share)]
        rows = self.some(len(words))
        self.words.replace(words, rows)
        self.rows |= dict(zip(words, rows, strict=True))

    @rule()
    def again(self):
        self.words = pickle.loads(pickle.dumps(self.words))

    @rule()
    def rows_by_number(self):
        index = self.words.index
        assert_same_bits(index.numbers, np.arange(len(self.rows)))
        assert_same_bits(index.vectors, self.words.vectors)

    @rule()
    def refused(self):
        new, unknown = self.new(1), self.word(-1)
        with pytest.raises(KeyError):
            self.words.remove([*self.known(1.0), unknown])
        with pytest.raises(ValueError, match="repeated"):
            self.words.add(new * 2, np.eye(2, 3))
        with pytest.raises(ValueError, match="NaN"):
            self.words.replace([*new, *self.known(0.1)][:1], np.full((1, 3), np.nan))
        if self.rows:
            with pytest.raises(ValueError, match="known already"):
                self.words.add([*new, *self.known(0.1)[:1]], np.eye(2, 3))
        assert new[0] not in self.words

    @invariant()
    def same(self):
        words, vectors = list(self.rows), np.array([*self.rows.values()], "f4").reshape(-1, 3)
        order = {word: i for i, word in enumerate(words)}
        assert (len(self.words), self.words.words) == (len(words), tuple(words))
        assert_same_bits(self.words.vectors, vectors)
        for word in words[:3]:
            assert word in self.words
            assert_same_bits(self.words[word], self.rows[word])
            twin = oracle.knn(self.rows[word], vectors, len(words), exclude=[order[word]])
            pairs = zip(twin.indices.tolist(), twin.scores.tolist(), strict=True)
            expected = [(words[i], score) for i, score in pairs if i >= 0]
            assert self.words.most_similar(word, k=len(words)) == expected
            assert self.words.search([word], len(words)) == [expected]
            allowed = words[::2]
            assert self.words.most_similar(word, k=len(words), where=allowed) == [
                pair for pair in expected if pair[0] in allowed
            ]
            mask = np.arange(len(words)) % 2 == 0
            assert self.words.search(word, len(words), where=mask) == [
                pair for pair in expected if pair[0] in allowed
            ]
            assert self.words.similarity(word, word) in (0.0, 1.0)


TestLivingWords = LivingWords.TestCase
TestLivingWords.settings = settings(max_examples=settings().max_examples // 5, stateful_step_count=15)


def test_rows_are_fetched_by_their_numbers():
    rows = gaussian(20, 5, 1)
    index = fastvec.Index(rows[:12])
    index.add(rows[12:])
    index.replace([3], rows[:1])
    index.remove([7, 19])
    assert_same_bits(index.fetch([13, 3, 0, 13]), rows[[13, 0, 0, 13]])
    assert_same_bits(index.fetch(11), rows[11:12])
    assert index.fetch([]).shape == (0, 5)
    for wrong, error in (([7], "removed"), ([20], "from 0"), ([-1], "from 0")):
        with pytest.raises(IndexError, match=error):
            index.fetch(wrong)
    with pytest.raises(TypeError, match="integers"):
        index.fetch([0.5])
    index.fetch([0])[:] = 0
    assert_same_bits(index.fetch([0]), rows[:1])
