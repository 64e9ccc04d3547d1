"""Functions and estimators of scikit-learn, answered by fastvec.

In code with

    from sklearn.metrics.pairwise import cosine_similarity
    from sklearn.neighbors import NearestNeighbors

only the imports change:

    from fastvec.integrations.sklearn import NearestNeighbors, cosine_similarity

Signatures, types, shapes and errors are those of scikit-learn 1.9. The estimators are its own (1.6 or later),
with another search of neighbors. The functions do not need it, except that ``pairwise_distances_argmin`` and
``pairwise_distances_argmin_min`` leave some searches to it, as they say.

``TruncateDims`` shortens Matryoshka embeddings, and ``OpenAIVectorizer`` makes embeddings of texts, as steps
of a pipeline. ``neighbors_graph`` makes a graph for ``metric="precomputed"`` of an answer of an ``Index``.

Which neighbors fastvec finds: where scikit-learn compares a query with all rows (``algorithm="brute"``, or
"auto" for more than 15 columns), the rows are dense and the metric is "cosine", "euclidean", "l2",
"manhattan", "l1", "cityblock", or "minkowski" with p of 1 or 2. Everything else is left to scikit-learn: its
trees, sparse rows, other metrics. ``n_jobs`` is the number of threads; None: ``fastvec.get_num_threads()``.

Deliberate differences:

- Neighbors are exact, and of equal distances the lower row comes first.
- float32 rows have the distances of exact scores, rounded to float32. float64 rows are searched as
  float32; the error of this rounding is measured, and the neighbors that it leaves possible are
  compared in float64. So their answers are right in float64, too.
- Similarities never leave [−1, 1], and nonzero rows score exactly 1 with themselves if ``Y`` is left out.
- float32 rows of 1e30 or 1e-30 have the right cosines (0 in scikit-learn). A zero row has cosine 0 with any
  row, and distance 1.
- Errors of the functions name the argument and the row.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._host import require
from .graph import neighbors_graph
from .pairwise import (
    cosine_distances,
    cosine_similarity,
    euclidean_distances,
    paired_cosine_distances,
    pairwise_distances_argmin,
    pairwise_distances_argmin_min,
)

if TYPE_CHECKING:
    from .neighbors import (
        KNeighborsClassifier,
        KNeighborsRegressor,
        KNeighborsTransformer,
        LocalOutlierFactor,
        NearestNeighbors,
        RadiusNeighborsClassifier,
        RadiusNeighborsRegressor,
        RadiusNeighborsTransformer,
    )
    from .transformers import OpenAIVectorizer, TruncateDims

_ESTIMATORS = ("neighbors", "transformers")
"""Modules that need scikit-learn."""

__all__ = [
    "KNeighborsClassifier",
    "KNeighborsRegressor",
    "KNeighborsTransformer",
    "LocalOutlierFactor",
    "NearestNeighbors",
    "OpenAIVectorizer",
    "RadiusNeighborsClassifier",
    "RadiusNeighborsRegressor",
    "RadiusNeighborsTransformer",
    "TruncateDims",
    "cosine_distances",
    "cosine_similarity",
    "euclidean_distances",
    "neighbors_graph",
    "paired_cosine_distances",
    "pairwise_distances_argmin",
    "pairwise_distances_argmin_min",
]


def __getattr__(name: str) -> Any:
    """Import the estimators, and scikit-learn, when one of them is used."""
    if name not in __all__ and name not in _ESTIMATORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require(f"{__name__}.{name}")
    modules = {module: importlib.import_module(f".{module}", __name__) for module in _ESTIMATORS}
    if name in modules:
        return modules[name]
    return next(getattr(module, name) for module in modules.values() if name in module.__all__)
