"""Float32 products of rows with a matrix, whose errors the bound of the screen takes for granted."""

import numpy as np
import pytest
from assertions import assert_same_bits
from data import gaussian, mixed

from fastvec.kernels import products, screen

COUNTS = (1, products.HEIGHT, products.HEIGHT + 1, products.BLOCK + 5, products._MANY, 2 * products._MANY + 7)


def growth(dims):
    """γ: at most what a sum of so many float32 products is off by, of the sum of their magnitudes."""
    return dims * 2.0**-24 / (1 - dims * 2.0**-24)


@pytest.mark.parametrize("dims", [1, 2, 65, 97, 512, 3000])
@pytest.mark.parametrize("count", COUNTS)
def test_products_are_as_near_to_those_of_float64_as_the_bound_assumes(count, dims):
    rows, matrix = mixed(count, dims, 1), gaussian(dims, 64, 2)
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    rows[(norms > 2.0**60) | (norms < 2.0**-60)] = 1  # no products are used of such
    found = products.multiply(rows, matrix, 2)
    wide, columns = rows.astype(np.float64), matrix.astype(np.float64)
    off = np.abs(found - wide @ columns)
    assert (off <= growth(dims) * (np.abs(wide) @ np.abs(columns))).all()
    lengths = np.linalg.norm(wide, axis=1)
    assert (np.linalg.norm(off, axis=1) <= lengths * growth(dims) * np.linalg.norm(columns)).all()


def test_products_with_a_basis_are_off_by_no_more_than_it_says():
    rows = mixed(300, 97, 1)
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    rows[(lengths > 2.0**60) | (lengths < 2.0**-60)] = 1
    wide = rows.astype(np.float64)
    for matrix in (np.eye(97, 64), np.linalg.qr(gaussian(97, 64, 2))[0] * 1.02):
        basis = screen.measured(matrix.astype(np.float32))
        assert basis.matrix.any()
        off = products.multiply(rows, basis.matrix, 1) - wide @ basis.matrix.astype(np.float64)
        assert (np.linalg.norm(off, axis=1) <= np.linalg.norm(wide, axis=1) * basis.error).all()


def test_errors_that_add_up_stay_below_the_bound():
    """Each addition rounds, most of them in the same direction."""
    dims = 4096
    rows, matrix = np.full((3, dims), 1 / 3, np.float32), np.full((dims, 64), 1 / 3, np.float32)
    exact = dims * float(rows[0, 0]) ** 2
    off = np.abs(products.multiply(rows, matrix, 1) - exact)
    assert 0 < off.max() <= growth(dims) * exact


@pytest.mark.parametrize("columns", [1, 64, 70, 192])
def test_a_product_depends_on_its_row_and_column_alone(columns, all_threads):
    rows, matrix = gaussian(600, 131, 1), gaussian(131, columns, 2)
    whole = products.multiply(rows, matrix, 1)
    assert_same_bits(products.multiply(rows, matrix, 3), whole)
    for start, stop in ((0, 1), (7, 8), (5, 60), (599, 600), (100, 400)):
        assert_same_bits(products.multiply(rows[start:stop], matrix, 2), whole[start:stop])
    assert_same_bits(products.multiply(rows, matrix[:, :1], 2), whole[:, :1])


def test_rows_of_any_strides():
    matrix = gaussian(90, 64, 1)
    wide = gaussian(400, 200, 2)
    for rows in (wide[:, 3:93], wide[::3, 100:190], wide[:90, :].T, wide[::-1, :90]):
        assert_same_bits(products.multiply(rows, matrix, 2), products.multiply(rows.copy(), matrix, 2))


def test_nothing_is_written_past_the_last_row():
    rows, matrix = gaussian(products.HEIGHT + 1, 70, 1), gaussian(70, 64, 2)
    columns = products.Columns.of(matrix, len(rows))
    room = np.full((len(rows) + 2, 64), 7, np.float32)
    products._multiply(0, len(rows), rows.ctypes.data, rows.strides[0], 4, columns, room)
    assert_same_bits(room[:-2], products.multiply(rows, matrix, 1))
    assert (room[-2:] == 7).all()
