"""The drop-in for ``sklearn.metrics.pairwise``: scikit-learn's answers, types and errors."""

import warnings

import numpy as np
import pytest
from assertions import words
from data import gaussian, mixed

import fastvec
from fastvec.integrations.sklearn import cosine_distances, cosine_similarity, neighbors_graph

FUNCTIONS = {"cosine_similarity": cosine_similarity, "cosine_distances": cosine_distances}
A = np.array([[3, 0, 4], [0, 0, 0], [1, 2, 2], [-3, 0, -4]], np.float32)
COSINES = np.array([[1, 0, 11 / 15, -1], [0, 0, 0, 0], [11 / 15, 0, 1, -11 / 15], [-1, 0, -11 / 15, 1]])


class Frame:
    """An object like a data frame, with a shape and an array but no dtype."""

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype)


FORMS = {
    "float32": (A, np.float32),
    "Fortran": (np.asfortranarray(A), np.float32),
    "frame": (Frame(A), np.float32),
    "float64": (A.astype(np.float64), np.float64),
    "float16": (A.astype(np.float16), np.float64),
    "int8": (A.astype(np.int8), np.float64),
    "foreign endian": (A.astype(">f4"), np.float64),
    "list": (A.tolist(), np.float64),
    "object": (A.astype(object), np.float64),
    "text": (A.astype(str), np.float64),
}


@pytest.mark.parametrize("form", FORMS)
def test_types_and_values(form):
    value, dtype = FORMS[form]
    for other in (None, value, FORMS["float32"][0]):
        actual = cosine_similarity(value, other)
        assert actual.dtype == dtype
        np.testing.assert_allclose(actual, COSINES, atol=1e-7 if dtype == np.float32 else 1e-15)
    distances = cosine_distances(value)
    assert distances.dtype == dtype
    expected = 1 - COSINES
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(distances, expected, atol=2e-7)


def test_mixed_types_are_float64():
    assert cosine_similarity(A, A.astype(np.float64)).dtype == np.float64
    assert cosine_similarity(A.astype(np.float16), A).dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_diagonal_is_exact(dtype):
    rows = mixed(70, 33, 1).astype(dtype)
    nonzero = rows.any(axis=1)
    for other in (None, rows):
        np.testing.assert_array_equal(np.diag(cosine_similarity(rows, other)), nonzero)
        distances = cosine_distances(rows, other)
        assert not np.diag(distances).any()
        assert distances.min() >= 0
        assert distances.max() <= 2


def test_rows_of_any_magnitude():
    rows = np.array([[1e30, 1e30], [1e-30, 1e-30], [1e-42, 0]], np.float32)
    np.testing.assert_allclose(cosine_similarity(rows[:2], rows[:2].copy()), np.ones((2, 2)), atol=1e-7)
    np.testing.assert_allclose(cosine_distances(rows)[2], [1 - np.sqrt(0.5), 1 - np.sqrt(0.5), 0], atol=1e-7)


WRONG = {
    "one-dimensional": (A[0], ["X", "two-dimensional"]),
    "three-dimensional": (A[None], ["X", "two-dimensional"]),
    "no rows": (A[:0], ["X", "row"]),
    "no columns": (A[:, :0], ["X", "column"]),
    "complex": (A + 1j, ["complex"]),
    "None": (None, ["X", "None"]),
    "words": ([["a", "b"]], ["a"]),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("wrong", WRONG)
def test_errors(function, wrong):
    value, message = WRONG[wrong]
    with pytest.raises(ValueError, match=words(*message)):
        FUNCTIONS[function](value)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (-np.inf, "inf")])
def test_what_is_not_finite_is_named(function, dtype, value, name):
    rows = gaussian(200, 40, 1).astype(dtype)
    bad = rows.copy()
    bad[7, 3] = value
    for arguments, who in (((bad,), "X"), ((bad, rows), "X"), ((rows, bad), "Y")):
        with pytest.raises(ValueError, match=words(who, "row 7", name)):
            FUNCTIONS[function](*arguments)


def test_widths_must_agree():
    with pytest.raises(ValueError, match=words("3", "2")):
        cosine_similarity(A, A[:, :2])


def sparse_rows(dtype=np.float32):
    rows = mixed(40, 33, 2).astype(dtype)
    rows[np.random.default_rng(1).random(rows.shape) < 0.7] = 0
    return rows


@pytest.mark.parametrize("form", ["csr_matrix", "csc_array", "coo_array"])
def test_sparse(form):
    sparse = pytest.importorskip("scipy.sparse")
    rows = sparse_rows()
    matrix = getattr(sparse, form)(rows)
    expected = cosine_similarity(rows)
    for first, second in ((matrix, None), (matrix, matrix), (matrix, rows), (rows, matrix)):
        actual = cosine_similarity(first, second)
        assert type(actual) is np.ndarray
        assert actual.dtype == np.float32
        np.testing.assert_allclose(actual, expected, atol=4e-7)
        assert type(cosine_distances(first, second)) is np.ndarray
    for second in (None, matrix.copy()):
        actual = cosine_similarity(matrix, second, dense_output=False)
        assert isinstance(actual, sparse.csr_matrix)
        np.testing.assert_allclose(actual.toarray(), expected, atol=4e-7)
        assert np.abs(actual.data).max() <= 1
    assert type(cosine_similarity(matrix, rows, dense_output=False)) is np.ndarray
    np.testing.assert_array_equal(np.diag(cosine_similarity(matrix)), rows.any(axis=1))
    assert not np.diag(cosine_distances(matrix)).any()
    np.testing.assert_array_equal(matrix.toarray(), rows)


def test_sparse_errors_and_types():
    sparse = pytest.importorskip("scipy.sparse")
    rows = sparse_rows()
    assert cosine_similarity(sparse.csr_array(rows.astype(np.float64))).dtype == np.float64
    small = rows.clip(-9, 9)
    assert cosine_similarity(sparse.csr_array(small.astype(np.int64))).dtype == np.float64
    halves = small.astype(np.float16)  # a type that SciPy has not
    actual = cosine_similarity(sparse.csr_array(small), halves)
    np.testing.assert_allclose(actual, cosine_similarity(small, halves), atol=4e-7)
    rows[5, 4] = np.nan
    with pytest.raises(ValueError, match=words("X", "row 5", "NaN")):
        cosine_similarity(sparse.csr_array(rows))
    with pytest.raises(ValueError, match=words("X", "row")):
        cosine_similarity(sparse.csr_array((0, 3)))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_like_scikit_learn(function):
    """Compare values, types and types of errors with scikit-learn, if it is installed."""
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    theirs, ours = getattr(pairwise, function), FUNCTIONS[function]
    values = {name: value for name, (value, _) in FORMS.items()}
    values |= {"gaussian": gaussian(90, 65, 1), "wide": gaussian(40, 130, 2).astype(np.float64)}
    for name, value in values.items():
        for other in (None, value, np.asarray(value, np.float64)):
            expected, actual = theirs(value, other), ours(value, other)
            assert (type(actual), actual.dtype, actual.shape) == (
                type(expected),
                expected.dtype,
                expected.shape,
            ), name
            np.testing.assert_allclose(actual, expected, rtol=0, atol=6e-7, err_msg=name)
    for wrong, (value, _) in WRONG.items():
        with pytest.raises(ValueError):  # noqa: PT011
            theirs(value)
        with pytest.raises(ValueError):  # noqa: PT011
            ours(value), wrong
    sparse = pytest.importorskip("scipy.sparse")
    matrix = sparse.csr_matrix(np.abs(sparse_rows()) > 0.3, dtype=np.float32)
    if function == "cosine_similarity":
        for options in ({}, {"dense_output": False}):
            for first, second in ((matrix, None), (matrix, A[:1] @ np.ones((3, 33), np.float32))):
                expected, actual = theirs(first, second, **options), ours(first, second, **options)
                assert type(actual) is type(expected)
                assert actual.dtype == expected.dtype
                np.testing.assert_allclose(
                    actual.toarray() if sparse.issparse(actual) else actual,
                    expected.toarray() if sparse.issparse(expected) else expected,
                    atol=4e-7,
                )


def test_scikit_learn_is_not_imported(run_python):
    code = (
        "import sys; from fastvec.integrations.sklearn import cosine_similarity; cosine_similarity([[1.0]]); "
        "print(*({'sklearn'} & set(sys.modules)))"
    )
    result = run_python("-c", code)
    assert (result.returncode, result.stdout.split()) == (0, []), result.stderr


def clustered(n=300, dims=32):
    """Rows in five clusters, with equal rows among them."""
    rng = np.random.default_rng(3)
    rows = gaussian(5, dims, 1)[np.arange(n) % 5] + np.float32(0.25) * gaussian(n, dims, 2)
    rows[rng.integers(0, n, 40)] = rows[rng.integers(0, n, 40)]
    return rows


METRICS = {"cosine": "cosine", "euclidean": "euclidean", "manhattan": "manhattan"}


@pytest.mark.parametrize("metric", METRICS)
def test_graphs_are_those_of_scikit_learn(metric):
    neighbors = pytest.importorskip("sklearn.neighbors")
    rows = gaussian(200, 16, 1)
    index = fastvec.Index(rows, metric=metric)
    for include_self in (False, True):
        found = index.knn_graph(7, include_self=include_self)
        for mode in ("distance", "connectivity"):
            theirs = neighbors.kneighbors_graph(
                rows.astype(np.float64), 7, mode=mode, metric=metric, include_self=include_self
            )
            ours = neighbors_graph(found, mode=mode, metric=metric)
            np.testing.assert_allclose(ours.toarray(), theirs.toarray(), atol=2e-3 if include_self else 1e-5)
            np.testing.assert_array_equal(ours.indptr, theirs.indptr)
    border = np.unique(index.knn_graph(9).scores)
    least = float(border[900:902].mean())  # between two scores, as theirs are rounded otherwise
    theirs = neighbors.radius_neighbors_graph(
        rows.astype(np.float64),
        1 - least if metric == "cosine" else -least,
        mode="distance",
        metric=metric,
        include_self=True,
    )
    for found in (index.pairs(least), index.range_search(rows, least)):
        ours = neighbors_graph(found, 200, metric=metric)
        assert (np.diff(ours.data)[np.diff(ours.indptr).cumsum()[:-1] - 1] <= 0).all()
        np.testing.assert_array_equal(ours.indptr, theirs.indptr)
        np.testing.assert_allclose(ours.toarray(), theirs.toarray(), atol=1e-5)


def test_clusters_by_graphs_are_those_of_scikit_learn():
    cluster = pytest.importorskip("sklearn.cluster")
    from sklearn.metrics import adjusted_rand_score

    rows = clustered()
    index, radius = fastvec.Index(rows), 0.2
    expected = cluster.DBSCAN(eps=radius, min_samples=4, metric="cosine").fit_predict(rows.astype(np.float64))
    graph = neighbors_graph(index.pairs(1 - radius), len(rows))
    actual = cluster.DBSCAN(eps=radius, min_samples=4, metric="precomputed").fit_predict(graph)
    assert adjusted_rand_score(actual, expected) == 1.0
    assert len(set(expected)) >= 5
    whole = neighbors_graph(index.knn_graph(len(rows), include_self=True))
    expected = cluster.HDBSCAN(metric="precomputed", min_cluster_size=5, copy=True).fit_predict(
        whole.toarray()
    )
    actual = cluster.HDBSCAN(metric="precomputed", min_cluster_size=5, copy=True).fit_predict(whole)
    assert adjusted_rand_score(actual, expected) == 1.0
    assert len(set(expected)) >= 5


def test_umap_takes_the_graph():
    umap = pytest.importorskip("umap")
    rows = clustered()
    found = fastvec.Index(rows).knn_graph(15, include_self=True)
    precomputed = (found.indices.astype(np.int32), 1 - found.scores)
    reducer = umap.UMAP(
        precomputed_knn=precomputed, n_neighbors=15, metric="cosine", n_epochs=2, random_state=1
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        embedded = reducer.fit_transform(rows)
    np.testing.assert_array_equal(reducer._knn_indices, found.indices)
    assert embedded.shape == (300, 2)


def test_leiden_takes_the_graph():
    igraph = pytest.importorskip("igraph")
    leidenalg = pytest.importorskip("leidenalg")
    graph = neighbors_graph(fastvec.Index(clustered()).knn_graph(10), mode="connectivity")
    sources, targets = graph.nonzero()
    network = igraph.Graph(n=300, edges=np.column_stack([sources, targets]).tolist())
    parts = leidenalg.find_partition(network, leidenalg.ModularityVertexPartition, seed=1)
    of_clusters = [{row % 5 for row in part} for part in parts]
    assert len(parts) == 5
    assert max(map(len, of_clusters)) <= 5


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_a_row_stands_first_among_its_equals(metric):
    rows = np.repeat(gaussian(3, 8, 1), 4, axis=0)
    graph = neighbors_graph(
        fastvec.Index(rows, metric=metric).pairs(-1e9), 12, mode="connectivity", metric=metric
    )
    np.testing.assert_array_equal(graph.indices[graph.indptr[:-1]], np.arange(12))


def test_graph_errors():
    pytest.importorskip("scipy")
    index = fastvec.Index(gaussian(9, 4, 1))
    pairs, found = index.pairs(-1), index.knn_graph(2)
    for arguments, options, message in (
        ((pairs,), {}, ["rows"]),
        ((pairs, 3), {}, ["rows is 3", "row 8"]),
        ((found, 3), {}, ["rows is 3", "row [3-8]"]),
        ((found,), {"mode": "x"}, ["mode", "connectivity"]),
        ((found,), {"metric": "x"}, ["metric", "cosine"]),
        ((found,), {"metric": "dot"}, ["connectivity"]),
    ):
        with pytest.raises(ValueError, match=words(*message)):
            neighbors_graph(*arguments, **options)
    with pytest.raises(TypeError, match="TopK"):
        neighbors_graph(np.eye(3))
    filled = index.knn_graph(20)
    assert neighbors_graph(filled).nnz == 72  # without the filling
