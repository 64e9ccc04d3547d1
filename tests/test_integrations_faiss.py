"""The drop-in for faiss's flat indexes: faiss's arrays and ids, and the answers of ``Index``.

Where faiss is installed, its own checks judge both; nothing else here needs it.
"""

import pickle
import threading

import numpy as np
import pytest
from assertions import assert_same_bits, words
from data import gaussian, mixed
from hypothesis import given
from hypothesis import strategies as st

import fastvec
from fastvec.integrations import faiss as ours

X = np.array([[1, 0], [0, 1], [1, 1], [2, 0]], np.float32)
LOWEST, LARGEST = np.finfo(np.float32).min, np.finfo(np.float32).max
KINDS = {"IndexFlatIP": ours.METRIC_INNER_PRODUCT, "IndexFlatL2": ours.METRIC_L2}


def filled(kind, rows=X):
    index = getattr(ours, kind)(rows.shape[1])
    index.add(rows)
    return index


def scores_of(metric, queries, rows):
    """What faiss calls distances, by their definitions."""
    q, x = queries.astype(np.float64)[:, None], rows.astype(np.float64)[None]
    sums = {0: (q * x).sum(2), 1: ((q - x) ** 2).sum(2), 2: np.abs(q - x).sum(2)}
    with np.errstate(over="ignore"):
        return sums[metric].astype(np.float32)


def test_answers_of_small_cases():
    distances, ids = filled("IndexFlatIP").search(X[:2], 5)
    np.testing.assert_array_equal(distances, [[2, 1, 1, 0, LOWEST], [1, 1, 0, 0, LOWEST]])
    np.testing.assert_array_equal(ids, [[3, 0, 2, 1, -1], [1, 2, 0, 3, -1]])
    assert (distances.dtype, ids.dtype) == (np.float32, np.int64)
    distances, ids = filled("IndexFlatL2").search(X[:2], 5)
    np.testing.assert_array_equal(distances, [[0, 1, 1, 2, LARGEST], [0, 1, 2, 5, LARGEST]])
    np.testing.assert_array_equal(ids, [[0, 2, 3, 1, -1], [1, 2, 0, 3, -1]])
    index = ours.IndexFlat(2, ours.METRIC_L1)
    index.add(X)
    np.testing.assert_array_equal(index.search(X[:1], 5)[0], [[0, 1, 1, 2, LARGEST]])


class Changing:
    """Holds other rows at each look, the right ones at the first."""

    def __init__(self, rows):
        self.looks = [rows]

    def __array__(self, dtype=None, copy=None):
        return self.looks.pop() if self.looks else np.full((3, 9), 7, np.float32)


def test_an_object_is_read_once():
    index = ours.IndexFlatL2(2)
    index.add(Changing(X))
    expected = filled("IndexFlatL2").search(X[:3], 2)
    assert_same_bits(index.search(Changing(X[:3]), 2), expected)
    assert_same_bits(ours.knn(Changing(X[:3]), Changing(X), 2), expected)
    named = ours.IndexIDMap(ours.IndexFlatL2(2))
    named.add_with_ids(Changing(X), [0, 1, 2, 3])
    assert_same_bits(named.search(Changing(X[:3]), 2), expected)
    inside = zip(index.range_search(Changing(X[:3]), 1.5), index.range_search(X[:3], 1.5), strict=True)
    assert all(np.array_equal(*pair) for pair in inside)


@pytest.mark.parametrize("metric", [0, 1, 2])
def test_distances_are_correctly_rounded(metric):
    """Squared distances, too, which a float32 distance does not tell: that of 2 would be 1.9999999."""
    rows, queries = mixed(300, 33, 1, ("gaussian", "one_hot", "zero", "duplicate")), gaussian(70, 33, 2)
    index = ours.IndexFlat(33, metric)
    index.add(rows)
    distances, ids = index.search(queries, 300)
    expected = scores_of(metric, queries, rows)
    np.testing.assert_array_equal(distances, np.take_along_axis(expected, ids, 1))
    steps = np.diff(distances, axis=1) * (-1 if metric == 0 else 1)
    assert (steps >= 0).all()
    assert ((np.diff(ids, axis=1) > 0) | (steps > 0)).all(), "equal rows by rising id"
    for actual, plain in zip(ours.knn(queries, rows, 7, metric), index.search(queries, 7), strict=True):
        assert_same_bits(actual, plain)
    for form in (rows.astype(np.float64), rows.tolist(), np.asfortranarray(rows)):
        assert_same_bits(ours.knn(queries, form, 7, metric)[0], distances[:, :7])


@pytest.mark.parametrize("kind", KINDS)
def test_range_search_is_strict(kind):
    index, metric = filled(kind), KINDS[kind]
    for threshold in (-1, 0, 1, 2, 2.5, 4, np.inf, -np.inf, 1 + 2**-30):
        expected = scores_of(metric, X, X)
        limit = np.float32(threshold)
        inside = expected > limit if metric == 0 else expected < limit
        lims, distances, ids = index.range_search(X, threshold)
        np.testing.assert_array_equal(lims, np.concatenate([[0], np.cumsum(inside.sum(1))]))
        np.testing.assert_array_equal(ids, np.nonzero(inside)[1])
        np.testing.assert_array_equal(distances, expected[inside])
        assert (lims.dtype, distances.dtype, ids.dtype) == (np.uint64, np.float32, np.int64)
    with pytest.raises(ValueError, match="NaN"):
        index.range_search(X, np.nan)


def test_squared_distances_at_a_threshold():
    """A threshold that is one of the squared distances: it is left out, and the next float32 takes it in."""
    rows, queries = gaussian(400, 7, 1), gaussian(3, 7, 2)
    index = filled("IndexFlatL2", rows)
    expected = scores_of(1, queries, rows)
    for threshold in expected[:, ::20].ravel():
        for limit in (threshold, np.nextafter(threshold, np.float32(np.inf))):
            _, distances, ids = index.range_search(queries, limit)
            np.testing.assert_array_equal(ids, np.nonzero(expected < limit)[1])
            np.testing.assert_array_equal(distances, expected[expected < limit])


SELECTORS = {
    "range": lambda faiss: faiss.IDSelectorRange(3, 30),
    "batch": lambda faiss: faiss.IDSelectorBatch([5, 2, 99, 7]),
    "array": lambda faiss: faiss.IDSelectorArray(np.array([5, 2, 99, 7])),
    "bitmap": lambda faiss: faiss.IDSelectorBitmap(np.array([0b10000110, 1], np.uint8)),
    "all": lambda faiss: faiss.IDSelectorAll(),
    "none": lambda faiss: faiss.IDSelectorNot(faiss.IDSelectorAll()),
    "not": lambda faiss: faiss.IDSelectorNot(faiss.IDSelectorRange(3, 30)),
    "and": lambda faiss: faiss.IDSelectorAnd(SELECTORS["range"](faiss), SELECTORS["batch"](faiss)),
    "or": lambda faiss: faiss.IDSelectorOr(SELECTORS["bitmap"](faiss), SELECTORS["batch"](faiss)),
    "xor": lambda faiss: faiss.IDSelectorXOr(SELECTORS["range"](faiss), SELECTORS["batch"](faiss)),
}
SELECTED = {
    "range": range(3, 30),
    "batch": [2, 5, 7],
    "array": [2, 5, 7],
    "bitmap": [1, 2, 7, 8],
    "all": range(40),
    "none": [],
    "not": [0, 1, 2, *range(30, 40)],
    "and": [5, 7],
    "or": [1, 2, 5, 7, 8],
    "xor": [2, 3, 4, 6, *range(8, 30)],
}


@pytest.mark.parametrize("name", SELECTORS)
def test_selectors(name):
    rows, chosen = gaussian(40, 6, 1), list(SELECTED[name])
    index, selector = filled("IndexFlatIP", rows), SELECTORS[name](ours)
    params = ours.SearchParameters(sel=selector)
    expected = fastvec.knn(rows, rows, 40, metric="dot", where=np.array(chosen, np.int64))
    assert_same_bits(index.search(rows, 40, params=params)[1], expected.indices)
    lims, _, ids = index.range_search(rows, -100.0, params=params)
    np.testing.assert_array_equal(ids, np.tile(chosen, 40))
    assert lims[1] == len(chosen)
    assert [number for number in range(40) if selector.is_member(number)] == chosen
    assert index.remove_ids(selector) == len(chosen)
    np.testing.assert_array_equal(index.reconstruct_n(), np.delete(rows, chosen, 0))


def test_a_selector_of_ones_own_is_asked_for_each_id():
    class Even:
        def is_member(self, number):
            return number % 2 == 0

    index = filled("IndexFlatIP")
    found = index.search(X[:1], 4, params=ours.SearchParameters(sel=Even()))[1]
    assert found.tolist() == [[0, 2, -1, -1]]
    assert index.remove_ids(Even()) == 2


@given(st.data())
def test_ids_shift_as_those_of_a_list(data):
    """Rows are added and removed in any order; the index is a list of rows at each step."""
    kind = data.draw(st.sampled_from(list(KINDS)))
    index, held = getattr(ours, kind)(3), np.empty((0, 3), np.float32)
    queries = gaussian(2, 3, 9)
    for step in range(data.draw(st.integers(1, 5))):
        count = data.draw(st.integers(0, 40))
        rows = np.round(gaussian(count, 3, step) * 4)
        index.add(rows)
        held = np.concatenate([held, rows])
        gone = np.unique(data.draw(st.lists(st.integers(-2, len(held) + 2), max_size=60)))
        gone = gone.astype(np.int64)
        there = gone[(gone >= 0) & (gone < len(held))]
        assert index.remove_ids(gone) == len(there)
        held = np.delete(held, there, 0)
        assert index.ntotal == len(held)
        np.testing.assert_array_equal(index.reconstruct_n(), held)
        for actual, plain in zip(
            index.search(queries, 5), ours.knn(queries, held, 5, KINDS[kind]), strict=True
        ):
            assert_same_bits(actual, plain)
        mask = np.arange(len(held)) % 2 == 0
        params = ours.SearchParameters(ours.IDSelectorBitmap(np.packbits(mask, bitorder="little")))
        found = index.search(queries, 5, params=params)[1]
        expected = fastvec.knn(queries, held, 5, metric=["dot", "euclidean"][KINDS[kind]], where=mask)
        assert_same_bits(found, expected.indices)
        scores = scores_of(KINDS[kind], queries, held)
        inside = scores > 0 if kind == "IndexFlatIP" else scores < 9
        np.testing.assert_array_equal(
            index.range_search(queries, 0 if kind == "IndexFlatIP" else 9)[2], np.nonzero(inside)[1]
        )


def test_rows_of_ids():
    index = filled("IndexFlatL2")
    assert_same_bits(index.reconstruct(2), X[2])
    assert_same_bits(index.reconstruct_n(1, 2), X[1:3])
    assert_same_bits(index.reconstruct_batch([3, 0, 3]), X[[3, 0, 3]])
    _, ids, rows = index.search_and_reconstruct(X[:2], 5)
    assert_same_bits(rows[:, :4], X[ids[:, :4]])
    assert np.isnan(rows[:, 4]).all()
    for wrong in ([4], [-1], [0, 5]):
        with pytest.raises(RuntimeError, match="no row has the id"):
            index.reconstruct_batch(wrong)
    with pytest.raises(RuntimeError, match="no row has the id 4"):
        index.reconstruct(4)
    with pytest.raises(RuntimeError, match="no row has the id 4"):
        index.reconstruct_n(2, 3)
    for name, call in {
        "x": lambda x: index.reconstruct(1, x=x),
        "D": lambda d: index.search(X, 3, D=d),
        "I": lambda i: index.search(X, 3, I=i),
        "R": lambda r: index.search_and_reconstruct(X, 3, R=r),
    }.items():
        with pytest.raises(ValueError, match=words(name, "must be")):
            call(np.empty((9, 9), np.float32))
    distances, ids = np.empty((4, 3), np.float32), np.empty((4, 3), np.int64)
    found = index.search(X, 3, D=distances, I=ids)
    assert found[0] is distances
    assert found[1] is ids
    assert_same_bits(ids, index.search(X, 3)[1])
    assert_same_bits(index.assign(X, 3), ids)


def test_properties_and_reset():
    index = filled("IndexFlatIP")
    index.train(X)
    assert (index.d, index.ntotal, index.metric_type, index.is_trained) == (2, 4, 0, True)
    assert (ours.METRIC_INNER_PRODUCT, ours.METRIC_L2, ours.IndexFlat(3).metric_type) == (0, 1, 1)
    twin = pickle.loads(pickle.dumps(index))
    index.remove_ids(np.array([0]))
    index.reset()
    assert index.ntotal == 0
    assert index.search(X[:1], 2)[1].tolist() == [[-1, -1]]
    index.add(X[:1])
    assert index.search(X[:1], 2)[1].tolist() == [[0, -1]]
    assert_same_bits(twin.search(X, 2)[1], filled("IndexFlatIP").search(X, 2)[1])


def test_rows_are_copied():
    for count in (4, 300_000):  # an Index would use the larger one in place
        rows = gaussian(count, 16, 1)
        index = filled("IndexFlatIP", rows)
        first = rows[:1].copy()
        rows[:] = 0
        assert_same_bits(index.reconstruct_n(0, 1), first)


def test_what_is_refused():
    index, bad = filled("IndexFlatL2"), X.copy()
    bad[2, 1] = np.nan
    for call in (
        lambda: index.add(bad),
        lambda: index.search(bad, 1),
        lambda: index.range_search(bad, 1),
        lambda: ours.knn(bad, X, 1),
        lambda: ours.knn(X, bad, 1),
        lambda: ours.normalize_L2(bad.copy()),
    ):
        with pytest.raises(ValueError, match="row 2: NaN"):
            call()
    for call in (
        lambda: index.add(X[0]),
        lambda: index.add(np.ones((2, 3))),
        lambda: index.search(X[0], 1),
        lambda: index.search(np.ones((2, 3)), 1),
        lambda: index.range_search(X[0], 1),
        lambda: index.search(X, 0),
        lambda: ours.knn(X[0], X, 1),
        lambda: ours.IndexFlat(2, 7),
        lambda: ours.IndexFlatL2(0),
        lambda: ours.knn(X, X, 1, 7),
    ):
        with pytest.raises(ValueError, match="must"):
            call()
    for call in (
        lambda: index.remove_ids(np.array([1.0])),
        lambda: index.remove_ids(np.array([[1]])),
        lambda: ours.IDSelectorBitmap([True]),
        lambda: index.search(X, 1, params=ours.SearchParameters(sel=[1])),
        lambda: ours.normalize_L2(X.tolist()),
        lambda: ours.write_index(ours.IndexIDMap(ours.IndexFlatL2(2)), "nowhere"),
    ):
        with pytest.raises(TypeError):
            call()
    assert index.ntotal == 4


def test_normalize_in_place():
    rows = np.array([[3, 4], [0, 0], [1e30, 0]], np.float32)
    assert ours.normalize_L2(rows) is None
    np.testing.assert_array_equal(rows, np.array([[0.6, 0.8], [0, 0], [1, 0]], np.float32))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [0, 43])
def test_files(kind, first, tmp_path):
    index = filled(kind, gaussian(50, 8, 1))
    index.remove_ids(np.arange(first, first + 7))
    ours.write_index(index, tmp_path / "rows")
    for flags in (0, ours.IO_FLAG_MMAP):
        twin = ours.read_index(tmp_path / "rows", flags)
        assert type(twin) is type(index)
        for place in (0, 1):
            queries = X.repeat(4, 1)
            assert_same_bits(twin.search(queries, 5)[place], index.search(queries, 5)[place])
    twin.add(np.full((2, 8), 9.0))
    assert twin.search(np.ones((1, 8)), 45)[1].max() == 44
    assert_same_bits(twin.reconstruct(44), np.full(8, 9, np.float32))
    assert (twin.ntotal, twin.remove_ids(np.array([44]))) == (45, 1)
    fastvec.Index(X).save(tmp_path / "cosines")
    with pytest.raises(ValueError, match="cosine"):
        ours.read_index(tmp_path / "cosines")


def test_ids_that_a_search_read_before_rows_were_added():
    index = filled("IndexFlatIP")
    index.remove_ids([0])
    before = index._shifted
    index.add(X[:1])
    index._numbers = before  # another thread stores it late
    assert_same_bits(index.reconstruct(3), X[0])
    params = ours.SearchParameters(sel=ours.IDSelectorRange(3, 4))
    assert index.search(X[:1], 2, params=params)[1].tolist() == [[3, -1]]


def test_ids_of_ones_own():
    index = ours.IndexIDMap2(ours.IndexFlatIP(2))
    index.add_with_ids(X, [10, 20, -5, 10])
    assert (index.d, index.ntotal, index.metric_type) == (2, 4, 0)
    assert index.search(X[:1], 5)[1].tolist() == [[10, 10, -5, 20, -1]]
    labels = np.empty((1, 5), np.int64)
    assert index.assign(X[:1], 5, labels) is labels
    assert labels.tolist() == [[10, 10, -5, 20, -1]]
    assert index.range_search(X[:1], 0.5)[2].tolist() == [10, -5, 10]
    params = ours.SearchParameters(sel=ours.IDSelectorBatch([-5, 20]))
    assert index.search(X[:1], 3, params=params)[1].tolist() == [[-5, 20, -1]]
    _, ids, rows = index.search_and_reconstruct(X[:1], 5)
    assert ids.tolist() == [[10, 10, -5, 20, -1]]
    assert_same_bits(rows[0, 0], X[3])
    assert_same_bits(index.reconstruct(20), X[1])
    assert index.remove_ids(np.array([10, 11])) == 2
    assert index.search(X[:1], 3)[1].tolist() == [[-5, 20, -1]]
    index.add_with_ids(X[:1], [7])
    assert index.search(X[:1], 3)[1].tolist() == [[-5, 7, 20]]
    with pytest.raises(RuntimeError, match="add_with_ids"):
        index.add(X)
    with pytest.raises(RuntimeError, match="10"):
        index.reconstruct(10)
    with pytest.raises(ValueError, match="4 rows and there are 1"):
        index.add_with_ids(X, [1])
    with pytest.raises(RuntimeError, match="none"):
        ours.IndexIDMap(filled("IndexFlatIP"))
    assert index.ntotal == 3
    index.reset()
    assert index.search(X[:1], 1)[1].tolist() == [[-1]]


def test_searches_while_rows_are_added():
    rows = gaussian(4000, 8, 1)
    index, found = filled("IndexFlatL2", rows[:1]), []

    def search():
        while index.ntotal < len(rows):
            found.append(index.search(rows[:1], 1)[1][0, 0])

    thread = threading.Thread(target=search)
    thread.start()
    for first in range(1, len(rows), 100):
        index.add(rows[first : first + 100])
    index.add(rows[:50])
    thread.join()
    assert set(found) <= {0}


@pytest.mark.parametrize("removed", [[], [0]])
def test_a_search_between_the_steps_of_an_addition(removed, monkeypatch):
    """Another thread sees rows that were added and ids that are not noted yet, or the other way round."""
    flat, named = filled("IndexFlatL2", X[:2]), ours.IndexIDMap(ours.IndexFlatL2(2))
    named.add_with_ids(X[:2], [10, 20])
    flat.remove_ids(removed)
    named.remove_ids([10 for _ in removed])
    left, seen = 2 - len(removed), []
    for index, inner in ((flat, flat._index), (named, named.index._index)):
        every = ours.SearchParameters(sel=ours.IDSelectorAll())

        def add(rows, add=inner.add, index=index, every=every):
            seen.append(index.search(X[1:2], 1, params=every)[1].tolist())
            add(rows)
            seen.append([index.search(X[3:], 1)[1].tolist(), index.range_search(X[3:], 0.5)[2].tolist()])

        monkeypatch.setattr(inner, "add", add)
    flat.add(X[2:])
    named.add_with_ids(X[2:], [30, 40])
    assert seen == [[[left - 1]], [[[left + 1]], [left + 1]], [[20]], [[[40]], [40]]]


@pytest.mark.parametrize("removed", [[], [0]])
def test_rows_are_added_while_a_selector_is_asked(removed):
    index = filled("IndexFlatIP", X[:3])
    index.remove_ids(removed)
    left = index.ntotal

    class Adding(ours.IDSelector):
        def members(self, ids):
            index.add(X[3:4])
            return np.ones(len(ids), np.bool_)

    params = ours.SearchParameters(sel=Adding())
    assert sorted(index.search(X[:1], left, params=params)[1][0]) == [*range(left)]
    assert index.range_search(X[:1], -9, params=params)[2].tolist() == [*range(left + 1)]
    with pytest.raises(ValueError, match="NaN"):
        index.search([[np.nan, 1]], 1, params=params)


def test_ids_of_rows_that_were_refused_are_forgotten():
    index = ours.IndexIDMap(ours.IndexFlatL2(2))
    index.add_with_ids(X[:1], [7])
    with pytest.raises(ValueError, match="NaN"):
        index.add_with_ids([[0, 1], [np.nan, 0]], [8, 9])
    assert (index.id_map.tolist(), index.ntotal) == ([7], 1)


# With faiss itself.


@pytest.fixture(scope="module")
def theirs():
    faiss = pytest.importorskip("faiss")
    pytest.importorskip("faiss.contrib.evaluation")
    return faiss


ROWS, QUERIES = gaussian(1500, 24, 1), gaussian(60, 24, 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data", ["gaussian", "integers"])
def test_faiss_checks_find_the_same(theirs, kind, data):
    from faiss.contrib import evaluation

    rows, queries = (ROWS, QUERIES) if data == "gaussian" else (np.round(ROWS), np.round(QUERIES))
    reference, index = getattr(theirs, kind)(24), filled(kind, rows)
    reference.add(rows)
    for k in (1, 10, 1510):
        expected, actual = reference.search(queries, k), index.search(queries, k)
        evaluation.check_ref_knn_with_draws(*expected, *actual, rtol=1e-5, atol=1e-5)
    expected = theirs.knn(queries, rows, 9, KINDS[kind])
    evaluation.check_ref_knn_with_draws(*expected, *ours.knn(queries, rows, 9, KINDS[kind]), atol=1e-5)
    thresholds = {"gaussian": (4.03, 21.01), "integers": (4.0, 21.0)}[data]  # integers: ties at the threshold
    threshold = thresholds[KINDS[kind]]
    evaluation.check_ref_range_results(
        *reference.range_search(queries, threshold), *index.range_search(queries, threshold)
    )
    gone = np.arange(0, 1500, 3)
    assert reference.remove_ids(gone) == index.remove_ids(gone)
    assert_same_bits(index.reconstruct_n(), reference.reconstruct_n())
    evaluation.check_ref_knn_with_draws(*reference.search(queries, 5), *index.search(queries, 5), atol=1e-5)


@pytest.mark.parametrize("name", SELECTORS)
def test_selectors_of_faiss(theirs, name):
    rows = gaussian(40, 6, 1)
    index, mapped = filled("IndexFlatIP", rows), ours.IndexIDMap(ours.IndexFlatIP(6))
    mapped.add_with_ids(rows, np.arange(40) * 2 - 6)
    chosen, selector = list(SELECTED[name]), SELECTORS[name](theirs)
    assert np.flatnonzero([selector.is_member(number) for number in range(40)]).tolist() == chosen
    params = theirs.SearchParameters(sel=selector)
    own = ours.SearchParameters(sel=SELECTORS[name](ours))
    for target in (index, mapped):
        assert_same_bits(target.search(rows, 9, params=params)[1], target.search(rows, 9, params=own)[1])
    assert index.remove_ids(selector) == len(chosen)
    mixed_kinds = ours.IDSelectorAnd(ours.IDSelectorRange(0, 3), theirs.IDSelectorRange(2, 9))
    assert [number for number in range(40) if mixed_kinds.is_member(number)] == [2]
