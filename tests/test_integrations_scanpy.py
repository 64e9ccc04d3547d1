"""fastvec's transformer, or a graph that was computed before, as scanpy's graph of neighbors."""

import warnings

import numpy as np
import pytest
from data import gaussian

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own dependencies, while they are imported
    scanpy = pytest.importorskip("scanpy")
    anndata = pytest.importorskip("anndata")

from sklearn import neighbors as host

import fastvec
from fastvec.integrations import sklearn as ours


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_graph_is_that_of_scikit_learns_transformer(metric):
    rows = gaussian(6, 24, 1)[np.arange(240) % 6] + np.float32(0.4) * gaussian(240, 24, 2)
    graphs = []
    # Where scikit-learn compares all rows, its rounding leaves rows at a distance from themselves.
    exact = {"algorithm": "ball_tree"} if metric == "euclidean" else {}
    for library, options in ((ours, {}), (host, exact)):
        cells = anndata.AnnData(rows)
        transformer = library.KNeighborsTransformer(n_neighbors=12, metric=metric, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scanpy's own
            scanpy.pp.neighbors(cells, n_neighbors=12, use_rep="X", transformer=transformer)
        graphs.append([cells.obsp[name].toarray() for name in ("distances", "connectivities")])
    assert (graphs[0][0] > 0).sum() >= 240 * 11
    for actual, right in zip(*graphs, strict=True):
        np.testing.assert_array_equal(actual > 0, right > 0)
        np.testing.assert_allclose(actual, right, rtol=1e-3, atol=1e-4)


def test_clusters_by_a_graph():
    pytest.importorskip("igraph")
    rows = gaussian(5, 32, 1)[np.arange(200) % 5] + np.float32(0.25) * gaussian(200, 32, 2)
    found = fastvec.Index(rows).knn_graph(10)
    cells = anndata.AnnData(rows)
    for mode, name in (("connectivity", "connectivities"), ("distance", "distances")):
        cells.obsp[name] = ours.neighbors_graph(found, mode=mode)
    cells.uns["neighbors"] = {
        "connectivities_key": "connectivities",
        "distances_key": "distances",
        "params": {"n_neighbors": 10, "method": "umap"},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scanpy.tl.leiden(cells, flavor="igraph", n_iterations=2, directed=False, random_state=1)
    clusters = [set(cells.obs["leiden"][first::5]) for first in range(5)]
    assert sum(map(len, clusters)) == len(set.union(*clusters)) == 5
