"""The drop-in for ``torch.topk``: PyTorch's values and types, and equal entries by their index."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastvec.integrations.torch import topk

torch = pytest.importorskip("torch")

TYPES = ["float32", "float64", "float16", "bfloat16", "int8", "uint8", "int16", "int32", "int64"]


def expected_indices(values, k, dim, largest):
    """By a stable sort, in which NaN is the largest."""
    wide = values.detach()
    wide = wide.double() if wide.is_floating_point() else wide.long()
    if largest:
        wide = torch.where(torch.isnan(wide), -torch.inf, -wide) if wide.is_floating_point() else -wide
        if values.is_floating_point():  # NaN before +inf
            nan_first = torch.argsort(~torch.isnan(values.detach()), dim=dim, stable=True)
            order = torch.argsort(wide.gather(dim, nan_first), dim=dim, stable=True)
            return nan_first.gather(dim, order).narrow(dim, 0, k)
    return torch.argsort(wide, dim=dim, stable=True).narrow(dim, 0, k)


@given(st.data())
def test_ranking(data):
    dtype = getattr(torch, data.draw(st.sampled_from(TYPES)))
    shape = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    seed, dim = data.draw(st.integers(0, 999)), data.draw(st.integers(-len(shape), len(shape) - 1))
    values = torch.from_numpy(np.random.default_rng(seed).integers(0, 9, shape)).to(dtype)
    if dtype.is_floating_point:
        values = values - 4  # zeros of both signs, and values without a number
        values[values == 2] = data.draw(st.sampled_from([torch.inf, torch.nan, -torch.nan, -0.0]))
        values[values == 1] = -torch.inf
    if data.draw(st.booleans()):
        values = values.flip(0).transpose(0, -1)
    k, largest = data.draw(st.integers(0, values.shape[dim])), data.draw(st.booleans())
    actual = topk(values, k, dim, largest)
    reference = torch.topk(values, k, dim, largest)
    assert type(actual) is type(reference)
    torch.testing.assert_close(actual.values, reference.values, rtol=0, atol=0, equal_nan=True)
    assert actual.indices.dtype == torch.int64
    assert torch.equal(actual.indices, expected_indices(values, k, dim, largest))


def test_values_that_float32_cannot_tell_apart():
    values = torch.tensor([1.0, 1.0 + 2**-40, 1.0 + 2**-41], dtype=torch.float64)
    assert topk(values, 3).indices.tolist() == [1, 2, 0]
    values = torch.tensor([2**60, 2**60 + 1, torch.iinfo(torch.int64).min])
    assert topk(values, 2).values.tolist() == [2**60 + 1, 2**60]
    values = torch.tensor([1.0, torch.nan, 1.0 + 2**-40], dtype=torch.float64)
    assert topk(values, 3).indices.tolist() == [1, 2, 0]
    assert topk(values, 3, largest=False).indices.tolist() == [0, 2, 1]


def test_ties_by_the_lowest_index():
    values = torch.tensor([0.0, 3.0, -0.0, 3.0, 3.0, 0.0])
    assert topk(values, 6).indices.tolist() == [1, 3, 4, 0, 2, 5]
    values[5] = torch.nan
    assert topk(values, 6).indices.tolist() == [5, 1, 3, 4, 0, 2]


def test_gradients():
    values = torch.tensor([[1.0, 5.0, 2.0], [7.0, 0.0, 3.0]], requires_grad=True)
    topk(values, 2).values.sum().backward()
    assert values.grad.tolist() == [[0, 1, 1], [1, 0, 1]]


def test_out():
    values = torch.tensor([1.0, 5.0, 2.0])
    found, places = torch.empty(0), torch.empty(0, dtype=torch.int64)
    result = topk(values, 2, out=(found, places))
    assert type(result) is torch.return_types.topk_out
    assert (found.tolist(), places.tolist()) == ([5, 2], [1, 2])
    assert result.values is found
    assert result.indices is places
    with pytest.raises(RuntimeError):
        topk(values, 2, out=(torch.empty(2, dtype=torch.float64), places))
    with pytest.raises(RuntimeError):
        topk(values, 2, out=(found, torch.empty(2)))


def test_shapes_without_entries():
    for values, k in (
        (torch.tensor(5.0), 1),
        (torch.empty(0, 5), 2),
        (torch.empty(3, 0), 0),
        (torch.empty(0), 0),
    ):
        actual, reference = topk(values, k), torch.topk(values, k)
        assert (actual.values.shape, actual.indices.shape) == (
            reference.values.shape,
            reference.indices.shape,
        )
    assert topk(torch.tensor(5.0), 1).values.item() == 5


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (RuntimeError, lambda f: f(torch.ones(3), 4)),
        (RuntimeError, lambda f: f(torch.ones(3), -1)),
        (RuntimeError, lambda f: f(torch.ones(3) > 0, 1)),
        (RuntimeError, lambda f: f(torch.ones(3) * 1j, 1)),
        (RuntimeError, lambda f: f(torch.tensor(1.0), 2)),
        (IndexError, lambda f: f(torch.ones(3), 1, 1)),
        (TypeError, lambda f: f(torch.ones(3), 1.0)),
        (TypeError, lambda f: f([1.0, 2.0], 1)),
        (TypeError, lambda f: f(np.ones(3), 1)),
    ],
)
def test_errors_are_those_of_pytorch(error, call):
    for function in (torch.topk, topk):
        with pytest.raises(error):
            call(function)
