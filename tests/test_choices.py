"""The words that arguments allow, as types."""

import sys
import typing

import fastvec
from fastvec import _building, analogies, choices, files
from fastvec._stores import base
from fastvec.commands import options
from fastvec.kernels import metrics


def test_types_name_what_is_allowed():
    assert choices.METRICS == tuple(metrics.TABLE) == tuple(options.METRICS.choices)
    assert tuple(base.HOMES) == choices.DEVICES
    assert choices.METHODS == analogies.METHODS == tuple(options.METHODS.choices)
    assert typing.get_args(choices.Stored) == _building.DTYPES
    assert typing.get_args(choices.Undecodable) == files.ERRORS


def test_signatures_have_these_types():
    for function, parameter, kind in (
        (fastvec.knn, "metric", choices.Metric),
        (fastvec.knn, "device", choices.Device),
        (fastvec.analogy, "method", choices.Method),
        (fastvec.audit, "metric", choices.Metric),
        (fastvec.Index.__init__, "metric", choices.Metric),
        (fastvec.Index.__init__, "screen", choices.Screen),
        (fastvec.Index.open, "vectors", choices.Opened),
        (fastvec.Index.build, "dtype", choices.Stored),
    ):
        named = vars(sys.modules[function.__module__])
        assert eval(function.__annotations__[parameter], named) == kind
