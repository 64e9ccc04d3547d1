"""The package hdbscan clusters by a graph of fastvec as by the whole matrix of distances."""

import warnings

import numpy as np
import pytest
from data import gaussian

import fastvec
from fastvec.integrations.sklearn import neighbors_graph

hdbscan = pytest.importorskip("hdbscan")


def test_clusters_by_a_graph_are_those_of_the_whole_matrix():
    rows = gaussian(5, 32, 1)[np.arange(200) % 5] + np.float32(0.25) * gaussian(200, 32, 2)
    graph = neighbors_graph(fastvec.Index(rows).knn_graph(len(rows), include_self=True)).astype(np.float64)
    labels = []
    for distances in (graph, graph.toarray()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of NumPy, about what hdbscan does with its matrices
            model = hdbscan.HDBSCAN(metric="precomputed", min_cluster_size=10)
            labels.append(model.fit_predict(distances))
    for found in labels:
        clusters = [set(found[first::5]) - {-1} for first in range(5)]
        assert sum(map(len, clusters)) == len(set.union(*clusters)) == 5
    np.testing.assert_array_equal(labels[0] == -1, labels[1] == -1)
