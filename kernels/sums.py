"""The steps of the exact sums: one name each for 32 lanes of a row, for a device's lane, and for Python.

Compiled for the processor, ``a``, ``b`` and ``total`` are vectors (``simd.f64x32``); a lane of a
device and Python that runs a kernel have one float64. None of them may be fused where a product
is rounded: products of two float32 are exact in float64, squares of differences are not.
"""

from . import simd
from .compile import on_vectors


def add_product(total, a, b):
    """``total + a · b`` of values that were float32, whose product is exact."""
    return total + a * b


def add_square(total, a):
    """``total + a²``, rounded twice."""
    return total + a * a


def add_magnitude(total, a):
    """``total + |a|``."""
    return total + abs(a)


def difference(a, b):
    """``a − b``."""
    return a - b


@on_vectors(add_product)
def _add_products(total, a, b):
    return simd.add_product(total, a, b)


@on_vectors(add_square)
def _add_squares(total, a):
    return simd.add_wide(total, simd.mul_wide(a, a))


@on_vectors(add_magnitude)
def _add_magnitudes(total, a):
    return simd.add_wide(total, simd.absolute_wide(a))


@on_vectors(difference)
def _differences(a, b):
    return simd.sub_wide(a, b)
