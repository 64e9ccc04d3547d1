"""Estimators of scikit-learn whose neighbors are found by fastvec: answers, types, errors, workflows."""

import importlib.util
import pickle
import warnings

import numpy as np
import pytest
from assertions import words
from data import gaussian

import fastvec
from fastvec.integrations import sklearn as ours
from fastvec.integrations.sklearn import _nearest

host = pytest.importorskip("sklearn.neighbors")

from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402

ESTIMATORS = [
    "NearestNeighbors",
    "KNeighborsTransformer",
    "RadiusNeighborsTransformer",
    "KNeighborsClassifier",
    "KNeighborsRegressor",
    "RadiusNeighborsClassifier",
    "RadiusNeighborsRegressor",
    "LocalOutlierFactor",
]
METRICS = ["cosine", "euclidean", "manhattan"]


CHECKED = {
    f"{name}, {algorithm}": getattr(ours, name)(algorithm=algorithm)
    for name in ESTIMATORS
    for algorithm in ("auto", "brute")
} | {
    "cosine": ours.KNeighborsRegressor(metric="cosine"),
    "all columns": ours.TruncateDims(),
    "one column": ours.TruncateDims(1),
}


@pytest.mark.parametrize("name", CHECKED)
def test_scikit_learns_checks(name):
    """Texts are no input of its checks, so that it has none for ``OpenAIVectorizer``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checks = check_estimator(CHECKED[name], on_skip=None)
    assert {check["status"] for check in checks} == {"passed", "skipped"}
    skipped = {check["check_name"] for check in checks if check["status"] == "skipped"}
    # One needs a setting of SciPy's, and these classifiers have no decision function.
    if importlib.util.find_spec("pandas") is None:
        skipped -= {"check_classifier_data_not_an_array", "check_regressor_data_not_an_array"}
    assert skipped <= {
        "check_array_api_input",
        "check_classifiers_multilabel_output_format_decision_function",
    }
    assert len(checks) > 40


def distances(queries, rows, metric):
    """All distances in float64, as plainly as possible."""
    queries, rows = queries[:, None].astype(np.float64), rows[None].astype(np.float64)
    if metric == "manhattan":
        return np.abs(queries - rows).sum(axis=2)
    if metric == "euclidean":
        return np.sqrt(np.square(queries - rows).sum(axis=2))
    units = []
    for matrix in (queries, rows):
        largest = np.abs(matrix).max(axis=2, keepdims=True)
        scaled = matrix / np.where(largest > 0, largest, 1)
        length = np.sqrt(np.square(scaled).sum(axis=2, keepdims=True))
        units.append(scaled / np.where(length > 0, length, 1))
    zero = ~(units[0].any(axis=2) & units[1].any(axis=2))
    return np.where(zero, 1.0, np.square(units[0] - units[1]).sum(axis=2) / 2)


def difficult(dtype, offset=0.0, n=400, dims=20):
    """Rows with many equals, zero rows, and rows far from the origin."""
    rows = gaussian(n, dims, 5).astype(np.float64) + np.random.default_rng(3).normal(0, 1e-9, (n, dims))
    rows += offset
    rows[10:40] = rows[9]
    rows[50:60] = 0 if not offset else rows[49]
    return rows.astype(dtype)


def expected(queries, rows, metric, itself):
    every = distances(queries, rows, metric)
    if itself:
        np.fill_diagonal(every, np.inf)
    order = np.argsort(every, axis=1, kind="stable")
    return np.take_along_axis(every, order, axis=1), order


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("metric", METRICS)
def test_float64_is_right_in_float64(metric, offset):
    rows, queries = difficult(np.float64, offset), difficult(np.float64, offset, n=90)[::-1].copy()
    found = ours.NearestNeighbors(n_neighbors=6, metric=metric).fit(rows)
    for asked in (None, queries, queries[:3]):
        right, order = expected(rows if asked is None else asked, rows, metric, asked is None)
        actual, indices = found.kneighbors(asked)
        np.testing.assert_array_equal(indices, order[:, :6])
        assert actual.dtype == np.float64
        np.testing.assert_allclose(actual, right[:, :6], rtol=1e-9, atol=1e-14)
        radius = float(np.median(right[:, 4])) * (1 + 1e-9)
        actual, indices = found.radius_neighbors(asked, radius, sort_results=True)
        for i in range(len(right)):
            np.testing.assert_array_equal(indices[i], order[i][right[i] <= radius])
            np.testing.assert_allclose(actual[i], right[i][right[i] <= radius], rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("metric", METRICS)
def test_float64_rows_that_float32_cannot_tell_apart(metric):
    """Rows differ by 1e-12 of their length, and there are more of them than are asked for."""
    direction, start = gaussian(1, 24, 1).astype(np.float64), gaussian(1, 24, 2).astype(np.float64)
    rows = start + np.arange(300)[:, None] * direction * 1e-12
    rows = rows[np.random.default_rng(1).permutation(300)]
    rows = np.concatenate([rows, gaussian(300, 24, 3).astype(np.float64)])
    _, order = expected(rows, rows, "euclidean", True)
    indices = ours.NearestNeighbors(n_neighbors=2, metric=metric).fit(rows).kneighbors(return_distance=False)
    line = rows[:300] @ direction[0]
    for i in range(0, 300, 7):  # whatever the metric, neighbors on the line are those next to a row
        assert np.abs(line[indices[i]] - line[i]).max() <= np.sort(np.abs(line - line[i]))[2] * (1 + 1e-3)
    if metric == "euclidean":
        np.testing.assert_array_equal(indices[300:], order[300:, :2])


@pytest.mark.parametrize("metric", METRICS)
def test_float32_is_what_fastvec_finds(metric):
    rows, queries = difficult(np.float32), gaussian(50, 20, 8)
    found = ours.NearestNeighbors(n_neighbors=6, metric=metric).fit(rows)
    index = fastvec.Index(rows, metric=metric)
    for asked, answer in ((queries, index.search(queries, 6)), (None, index.knn_graph(6))):
        actual, indices = found.kneighbors(asked)
        np.testing.assert_array_equal(indices, answer.indices)
        scores = 1 - answer.scores if metric == "cosine" else -answer.scores
        np.testing.assert_array_equal(actual, scores)
        assert (np.diff(actual, axis=1) >= 0).all()
    ranges = found.radius_neighbors(queries, 0.5 if metric == "cosine" else 4.0)
    every = distances(queries, rows, metric)
    for i in range(50):
        np.testing.assert_array_equal(
            ranges[1][i], np.flatnonzero(every[i] <= (0.5 if metric == "cosine" else 4))
        )
        assert (np.diff(ranges[1][i]) > 0).all()
        np.testing.assert_allclose(ranges[0][i], every[i][ranges[1][i]], rtol=1e-5, atol=2e-7)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.float16])
def test_types_and_graphs_are_those_of_scikit_learn(metric, dtype):
    rows = (gaussian(60, 20, 1) * 100).astype(dtype)
    queries = (gaussian(9, 20, 2) * 100).astype(dtype)
    radius = 0.9 if metric == "cosine" else 700.0 if metric == "euclidean" else 2000.0
    pair = [
        library.NearestNeighbors(n_neighbors=3, radius=radius, metric=metric).fit(rows)
        for library in (ours, host)
    ]
    for asked in (None, queries):
        mine, theirs = (estimator.kneighbors(asked) for estimator in pair)
        assert [array.dtype for array in mine] == [array.dtype for array in theirs]
        np.testing.assert_array_equal(mine[1], theirs[1])
        np.testing.assert_allclose(mine[0], theirs[0], rtol=1e-5, atol=1e-6)
        mine, theirs = (estimator.radius_neighbors(asked, sort_results=True) for estimator in pair)
        assert mine[0].dtype == mine[1].dtype == object
        assert mine[1][0].dtype == theirs[1][0].dtype
        assert mine[0][0].dtype == theirs[0][0].dtype
        for i in range(len(mine[1])):
            np.testing.assert_array_equal(mine[1][i], theirs[1][i])
        for mode in ("connectivity", "distance"):
            for name in ("kneighbors_graph", "radius_neighbors_graph"):
                mine, theirs = (getattr(estimator, name)(asked, mode=mode) for estimator in pair)
                assert type(mine) is type(theirs)
                assert mine.dtype == theirs.dtype
                np.testing.assert_allclose(mine.toarray(), theirs.toarray(), rtol=1e-5, atol=1e-6)


def test_rows_of_any_magnitude_and_zero_rows():
    rows = np.array([[1e30, 1e30], [1e-30, 2e-30], [0, 0], [-1e30, 1]], np.float32).repeat(10, axis=1)
    found, indices = ours.NearestNeighbors(n_neighbors=4, metric="cosine").fit(rows).kneighbors(rows[:3])
    np.testing.assert_array_equal(indices, [[0, 1, 2, 3], [1, 0, 2, 3], [0, 1, 2, 3]])
    np.testing.assert_allclose(found[0], [0, 1 - 3 / np.sqrt(10), 1, 1 + np.sqrt(0.5)], atol=1e-6)
    np.testing.assert_array_equal(found[2], 1)


def test_estimators_keep_what_scikit_learn_tells():
    found = ours.NearestNeighbors(n_neighbors=2, metric="l2").fit(gaussian(30, 20, 1))
    assert (found.effective_metric_, found.n_samples_fit_, found.n_features_in_) == ("l2", 30, 20)
    assert ours.NearestNeighbors(p=1).fit(gaussian(30, 20, 1)).effective_metric_ == "manhattan"
    with pytest.raises(NotFittedError):
        ours.NearestNeighbors().kneighbors(gaussian(3, 20, 1))
    assert repr(ours.NearestNeighbors(n_neighbors=3)) == "NearestNeighbors(n_neighbors=3)"
    other = ours.NearestNeighbors(n_neighbors=2, metric="l2").fit(found)
    np.testing.assert_array_equal(other.kneighbors()[1], found.kneighbors()[1])


WRONG = {
    "k above n": (lambda found: found.kneighbors(gaussian(2, 20, 1), 31), ValueError, ["31", "30"]),
    "k of all others": (lambda found: found.kneighbors(None, 30), ValueError, ["30"]),
    "k of 0": (lambda found: found.kneighbors(None, 0), ValueError, ["0"]),
    "k of no integer": (lambda found: found.kneighbors(None, 2.5), TypeError, ["integer"]),
    "another width": (lambda found: found.kneighbors(gaussian(2, 19, 1)), ValueError, ["19", "20"]),
    "one dimension": (lambda found: found.kneighbors(gaussian(1, 20, 1)[0]), ValueError, ["2D"]),
    "NaN": (lambda found: found.kneighbors(np.full((2, 20), np.nan)), ValueError, ["NaN"]),
    "infinity": (lambda found: found.radius_neighbors(np.full((2, 20), np.inf)), ValueError, ["infinity"]),
    "sorted without distances": (
        lambda found: found.radius_neighbors(return_distance=False, sort_results=True),
        ValueError,
        ["return_distance"],
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_errors_are_those_of_scikit_learn(wrong):
    run, error, message = WRONG[wrong]
    texts = []
    for library in (ours, host):
        with pytest.raises(error, match=words(*message)) as raised:
            run(library.NearestNeighbors(algorithm="brute").fit(gaussian(30, 20, 1)))
        texts.append(str(raised.value))
    assert texts[0] == texts[1]


def test_what_fastvec_does_not_have_is_left_to_scikit_learn():
    from scipy.sparse import csr_matrix

    rows = np.abs(gaussian(40, 20, 1)).astype(np.float64)
    square = distances(rows, rows, "euclidean")
    cases = [
        ({"metric": "chebyshev"}, rows),
        ({"metric": "minkowski", "p": 3}, rows),
        ({"metric": "nan_euclidean"}, np.where(rows < 0.05, np.nan, rows)),
        ({"metric": lambda a, b: float(np.abs(a - b).max())}, rows[:15]),
        ({"metric": "precomputed"}, square),
        ({"metric": "cosine"}, csr_matrix(rows)),
        ({"algorithm": "kd_tree"}, rows),
        ({"algorithm": "ball_tree", "metric": "manhattan"}, rows),
        ({}, rows[:, :3].copy()),
    ]
    for options, data in cases:
        mine, theirs = (
            library.NearestNeighbors(n_neighbors=3, **options).fit(data) for library in (ours, host)
        )
        assert mine._neighbors is None
        assert mine._fit_method == theirs._fit_method
        for actual, right in zip(mine.kneighbors(), theirs.kneighbors(), strict=True):
            np.testing.assert_array_equal(actual, right)


def test_sparse_queries():
    from scipy.sparse import csr_matrix

    rows = gaussian(40, 20, 1)
    found = ours.NearestNeighbors(n_neighbors=3, metric="cosine").fit(rows)
    for actual, right in zip(found.kneighbors(csr_matrix(rows[:9])), found.kneighbors(rows[:9]), strict=True):
        np.testing.assert_array_equal(actual, right)


def test_jobs_are_threads(monkeypatch):
    seen = []
    search = fastvec.Index.search
    monkeypatch.setattr(
        fastvec.Index,
        "search",
        lambda self, *a, num_threads, **o: seen.append(num_threads) or search(self, *a, **o),
    )
    rows = gaussian(40, 20, 1)
    for jobs in (None, 1, 3):
        ours.NearestNeighbors(n_neighbors=3, n_jobs=jobs).fit(rows).kneighbors(rows)
    assert seen == [None, 1, 3]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_votes_and_means_are_of_fastvecs_neighbors(metric, weights, monkeypatch):
    rng = np.random.default_rng(1)
    rows, queries = gaussian(200, 20, 1).astype(np.float64), gaussian(30, 20, 2).astype(np.float64)
    labels, values = rng.choice(["a", "b", "c"], 200), rng.standard_normal((200, 2))
    radius = 0.8 if metric == "cosine" else 6.0 if metric == "euclidean" else 21.0
    for name, target, options in (
        ("KNeighborsClassifier", labels, {"n_neighbors": 7}),
        ("KNeighborsRegressor", values, {"n_neighbors": 7}),
        ("RadiusNeighborsClassifier", labels, {"radius": radius, "outlier_label": "a"}),
        ("RadiusNeighborsRegressor", values, {"radius": radius}),
    ):
        mine, theirs = (
            getattr(library, name)(metric=metric, weights=weights, **options).fit(rows, target)
            for library in (ours, host)
        )
        right = theirs.predict(queries)
        if name.endswith("Regressor"):
            np.testing.assert_allclose(mine.predict(queries), right, rtol=1e-9)
        else:
            assert mine._neighbors is not None
            np.testing.assert_array_equal(mine.predict(queries), right)
            np.testing.assert_allclose(mine.predict_proba(queries), theirs.predict_proba(queries))
            seen = []
            monkeypatch.setattr(
                _nearest.Neighbors, "_narrowed", lambda *a, seen=seen, **o: seen.append(a) or 1 / 0
            )
            monkeypatch.setattr(
                _nearest.Neighbors, "_among_all", lambda *a, seen=seen, **o: seen.append(a) or 1 / 0
            )
            with pytest.raises(ZeroDivisionError):
                mine.fit(rows, target).predict(queries)
            assert len(seen) == 1
            monkeypatch.undo()


def test_outliers_are_those_of_scikit_learn():
    rows = np.concatenate([gaussian(100, 20, 1), 5 * gaussian(5, 20, 2)]).astype(np.float64)
    mine, theirs = (library.LocalOutlierFactor(n_neighbors=9).fit(rows) for library in (ours, host))
    np.testing.assert_allclose(mine.negative_outlier_factor_, theirs.negative_outlier_factor_)
    novel = ours.LocalOutlierFactor(n_neighbors=9, novelty=True, metric="cosine").fit(rows)
    assert novel.predict(rows[:3]).shape == (3,)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pickles_hold_the_rows_once(dtype):
    rows = gaussian(500, 100, 1).astype(dtype)
    found = ours.KNeighborsClassifier(metric="cosine").fit(rows, np.arange(500) % 3)
    found.kneighbors()
    stored = pickle.dumps(found)
    assert len(stored) < rows.nbytes * 1.1 + 10_000
    again = pickle.loads(stored)
    np.testing.assert_array_equal(again.predict(rows[:40]), found.predict(rows[:40]))
    assert again._neighbors.rows is again._fit_X


def test_pipeline_and_grid_search():
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    rng = np.random.default_rng(1)
    labels = np.arange(120) % 4
    rows = gaussian(4, 64, 1)[labels] + 0.8 * gaussian(120, 64, 2)
    pipeline = make_pipeline(ours.TruncateDims(), ours.KNeighborsClassifier(metric="cosine"))
    search = GridSearchCV(
        pipeline, {"truncatedims__dims": [1, 16, 64], "kneighborsclassifier__n_neighbors": [1, 5]}, cv=3
    ).fit(rows[(order := rng.permutation(120))], labels[order])
    assert search.best_score_ > 0.9
    assert search.best_params_["truncatedims__dims"] > 1
    assert clone(pipeline).get_params()["kneighborsclassifier__metric"] == "cosine"


def test_graphs_feed_estimators_of_scikit_learn():
    from sklearn.cluster import DBSCAN
    from sklearn.manifold import Isomap
    from sklearn.pipeline import make_pipeline

    rows = gaussian(5, 32, 1)[np.arange(150) % 5] + np.float32(0.25) * gaussian(150, 32, 2)
    labels = DBSCAN(eps=0.2, metric="cosine").fit_predict(rows.astype(np.float64))
    graph = ours.RadiusNeighborsTransformer(radius=0.2, metric="cosine")
    actual = make_pipeline(graph, DBSCAN(eps=0.2, metric="precomputed")).fit_predict(rows)
    np.testing.assert_array_equal(actual, labels)
    assert len(set(labels)) >= 5
    graph = ours.KNeighborsTransformer(n_neighbors=149, metric="cosine")
    isomap = make_pipeline(graph, Isomap(n_neighbors=60, metric="precomputed"))
    assert isomap.fit_transform(rows).shape == (150, 2)


def test_names_of_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(gaussian(30, 20, 1), columns=[f"c{i}" for i in range(20)])
    found = ours.NearestNeighbors(n_neighbors=2).fit(frame)
    assert list(found.feature_names_in_) == list(frame.columns)
    with pytest.warns(UserWarning, match="feature names"):
        found.kneighbors(frame.to_numpy())
    kept = ours.TruncateDims(3).set_output(transform="pandas").fit(frame).transform(frame)
    assert list(kept.columns) == ["c0", "c1", "c2"]


def test_a_missing_scikit_learn_is_named(run_python):
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import numpy, fastvec.integrations.sklearn as ours\n"
        "ours.cosine_similarity(numpy.eye(2)), ours.euclidean_distances(numpy.eye(2))\n"
        "ours.pairwise_distances_argmin(numpy.eye(20), numpy.eye(20))\n"
        "ours.NearestNeighbors\n"
    )
    done = run_python("-c", code)
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        "ModuleNotFoundError: fastvec.integrations.sklearn.NearestNeighbors needs scikit-learn, which is not "
        "installed: pip install scikit-learn"
    )


def test_an_old_scikit_learn_is_refused(monkeypatch):
    import sklearn

    monkeypatch.setattr(sklearn, "__version__", "1.5.2")
    with pytest.raises(ImportError, match=words("NearestNeighbors", "1.6", "1.5.2")):
        _ = ours.NearestNeighbors
    with pytest.raises(AttributeError, match="nothing"):
        _ = ours.nothing
