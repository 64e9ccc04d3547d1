"""The estimators of ``sklearn.neighbors``, with neighbors found by fastvec; the package says which.

Each one is scikit-learn's own, of whose methods two search for neighbors: ``kneighbors`` and
``radius_neighbors``.
"""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn.neighbors as host
from joblib import effective_n_jobs
from sklearn.utils.validation import validate_data

from ._distances import METRICS
from ._inputs import is_sparse
from ._nearest import Neighbors

__all__ = [
    "KNeighborsClassifier",
    "KNeighborsRegressor",
    "KNeighborsTransformer",
    "LocalOutlierFactor",
    "NearestNeighbors",
    "RadiusNeighborsClassifier",
    "RadiusNeighborsRegressor",
    "RadiusNeighborsTransformer",
]


class _Searching:
    """What is exchanged in an estimator of scikit-learn."""

    _neighbors: Neighbors | None = None
    _method = "brute"
    """The name of the search while it is fastvec's."""

    def _fit(self, X: Any, y: Any = None) -> Any:
        super()._fit(X, y)  # type: ignore[misc]
        me: Any = self
        me._neighbors = None
        if me._fit_method not in ("brute", _Voting._method):
            return self
        rows, metric = me._fit_X, me.effective_metric_
        ours = isinstance(metric, str) and metric in METRICS and not me.effective_metric_params_
        if ours and not is_sparse(rows):
            me._neighbors = Neighbors(_floats(rows), metric)
        me._fit_method = "brute" if me._neighbors is None else self._method
        return self

    def _queries(self, X: Any) -> npt.NDArray[Any] | None:
        if X is None:
            return None
        X = validate_data(self, X, accept_sparse="csr", reset=False, order="C")
        return _floats(X.toarray() if is_sparse(X) else X)

    def _threads(self) -> int | None:
        me: Any = self
        return None if me.n_jobs is None else int(effective_n_jobs(me.n_jobs))


class _Voting(_Searching):
    """scikit-learn's classifiers search by themselves where the method is "brute"."""

    _method = "fastvec"


class _OfNumber(_Searching):
    """The k nearest rows."""

    def kneighbors(self, X: Any = None, n_neighbors: Any = None, return_distance: bool = True) -> Any:
        """The nearest rows of each query; arguments, results and errors are those of scikit-learn.

        Args:
            X: (m, dims) queries; None: every row, which is not its own neighbor.
            n_neighbors: neighbors of each query; None: as given to the estimator.
            return_distance: whether to return distances.

        Returns:
            Distances (m, n_neighbors), unless they are not wanted, and row numbers, nearest first.
        """
        me: Any = self
        k = me.n_neighbors if n_neighbors is None else n_neighbors
        neighbors = self._neighbors
        most = 0 if neighbors is None else len(neighbors.rows) - (X is None)
        if neighbors is None or not isinstance(k, numbers.Integral) or not 0 < int(k) <= most:
            # scikit-learn's search, or its error.
            return super().kneighbors(X, n_neighbors, return_distance)  # type: ignore[misc]
        found = neighbors.nearest(self._queries(X), int(k), self._threads())
        return found if return_distance else found[1]


class _OfRadius(_Searching):
    """The rows within a radius."""

    def radius_neighbors(
        self, X: Any = None, radius: Any = None, return_distance: bool = True, sort_results: bool = False
    ) -> Any:
        """The rows within a radius of each query; arguments, results and errors are those of scikit-learn.

        Args:
            X: (m, dims) queries; None: every row, which is not its own neighbor.
            radius: the largest distance; None: as given to the estimator.
            return_distance: whether to return distances.
            sort_results: whether the nearest come first; otherwise rows are in the order of their numbers.

        Returns:
            Distances, unless they are not wanted, and row numbers: for each an array (m,) of arrays.
        """
        me: Any = self
        radius = me.radius if radius is None else radius
        neighbors = self._neighbors
        if neighbors is None or (sort_results and not return_distance):
            return super().radius_neighbors(X, radius, return_distance, sort_results)  # type: ignore[misc]
        near = neighbors.within(self._queries(X), radius, self._threads(), ranked=sort_results)
        indices = _runs(near.indices, near.offsets)
        return (_runs(near.distances, near.offsets), indices) if return_distance else indices


def _floats(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Rows of float32 as they are, others as float64."""
    return rows if rows.dtype == np.float32 else rows.astype(np.float64, copy=False)


def _runs(values: npt.NDArray[Any], offsets: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An array of arrays."""
    runs = np.empty(len(offsets) - 1, object)
    for i in range(len(runs)):
        runs[i] = values[offsets[i] : offsets[i + 1]]
    return runs


class NearestNeighbors(_OfNumber, _OfRadius, host.NearestNeighbors):
    """``sklearn.neighbors.NearestNeighbors``; ``fastvec.integrations.sklearn`` says what fastvec finds.

    Example:
        >>> from fastvec.integrations.sklearn import NearestNeighbors
        >>> search = NearestNeighbors(n_neighbors=2, metric="cosine").fit([[1, 0], [0, 1], [1, 1]])
        >>> search.kneighbors([[1.0, 0.1]], return_distance=False)
        array([[0, 2]])
    """


class KNeighborsTransformer(_OfNumber, host.KNeighborsTransformer):
    """``sklearn.neighbors.KNeighborsTransformer``: a graph of neighbors as a step of a pipeline.

    Example:
        >>> from fastvec.integrations.sklearn import KNeighborsTransformer
        >>> graph = KNeighborsTransformer(n_neighbors=1, metric="cosine")
        >>> graph.fit_transform([[1, 0], [0, 1], [3, 4]]).toarray().round(3)
        array([[0. , 0. , 0.4],
               [0. , 0. , 0.2],
               [0. , 0.2, 0. ]])
    """


class RadiusNeighborsTransformer(_OfRadius, host.RadiusNeighborsTransformer):
    """``sklearn.neighbors.RadiusNeighborsTransformer``: a graph of all neighbors within a radius.

    Example:
        >>> from fastvec.integrations.sklearn import RadiusNeighborsTransformer
        >>> graph = RadiusNeighborsTransformer(radius=0.3, metric="cosine")
        >>> graph.fit_transform([[1, 0], [0, 1], [3, 4]]).toarray().round(3)
        array([[0. , 0. , 0. ],
               [0. , 0. , 0.2],
               [0. , 0.2, 0. ]])
    """


class KNeighborsClassifier(_Voting, _OfNumber, host.KNeighborsClassifier):
    """``sklearn.neighbors.KNeighborsClassifier``: the class that most of the k nearest rows have.

    Example:
        >>> from fastvec.integrations.sklearn import KNeighborsClassifier
        >>> classifier = KNeighborsClassifier(n_neighbors=1, metric="cosine")
        >>> classifier.fit([[1, 0], [0, 1]], ["east", "north"]).predict([[5, 4]]).tolist()
        ['east']
    """


class KNeighborsRegressor(_OfNumber, host.KNeighborsRegressor):
    """``sklearn.neighbors.KNeighborsRegressor``: the mean of the k nearest rows' values.

    Example:
        >>> from fastvec.integrations.sklearn import KNeighborsRegressor
        >>> regressor = KNeighborsRegressor(n_neighbors=2, metric="cosine")
        >>> regressor.fit([[1, 0], [0, 1], [1, 1]], [1, 5, 3]).predict([[2, 1]])
        array([2.])
    """


class RadiusNeighborsClassifier(_Voting, _OfRadius, host.RadiusNeighborsClassifier):
    """``sklearn.neighbors.RadiusNeighborsClassifier``: the class that most rows within a radius have.

    Example:
        >>> from fastvec.integrations.sklearn import RadiusNeighborsClassifier
        >>> classifier = RadiusNeighborsClassifier(radius=0.5, metric="cosine")
        >>> classifier.fit([[1, 0], [0, 1]], ["east", "north"]).predict([[5, 1]]).tolist()
        ['east']
    """


class RadiusNeighborsRegressor(_OfRadius, host.RadiusNeighborsRegressor):
    """``sklearn.neighbors.RadiusNeighborsRegressor``: the mean of the values of all rows within a radius.

    Example:
        >>> from fastvec.integrations.sklearn import RadiusNeighborsRegressor
        >>> regressor = RadiusNeighborsRegressor(radius=0.5, metric="cosine")
        >>> regressor.fit([[1, 0], [0, 1], [1, 1]], [1.0, 5.0, 3.0]).predict([[2, 1]])
        array([2.])
    """


class LocalOutlierFactor(_OfNumber, host.LocalOutlierFactor):
    """``sklearn.neighbors.LocalOutlierFactor``: rows whose neighbors are nearer to each other than to them.

    Example:
        >>> from fastvec.integrations.sklearn import LocalOutlierFactor
        >>> rows = [[9, 1], [9, 2], [9, 3], [8, 3], [-1, 9]]
        >>> LocalOutlierFactor(n_neighbors=2, metric="cosine").fit_predict(rows).tolist()
        [1, 1, 1, 1, -1]
    """
