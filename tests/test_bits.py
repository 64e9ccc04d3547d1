"""Packed binary embeddings as rows of −1 and 1."""

import numpy as np
import pytest
from assertions import assert_same_bits, words
from data import hashed
from hypothesis import given
from hypothesis import strategies as st

import fastvec

BITS = hashed(60, 100, 1) > 0


@given(st.integers(1, 70), st.integers(0, 5), st.booleans())
def test_unpacked_bits_are_those_that_were_packed(dims, n, one):
    bits = np.resize(BITS, (n, dims))
    packed = np.packbits(bits, axis=1)
    signs = np.where(bits, 1, -1).astype(np.int8)
    signed = (packed.astype(np.int16) - 128).astype(np.int8)  # as servers return "binary"
    for form in (packed, signed, packed[::-1][::-1], np.asfortranarray(signed)):
        if one and n:
            assert_same_bits(fastvec.unpack_bits(form[0], dims), signs[0])
        else:
            assert_same_bits(fastvec.unpack_bits(form, dims), signs)
    if dims % 8 == 0:
        assert_same_bits(fastvec.unpack_bits(packed), signs)


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_rankings_are_those_of_the_hamming_distance(metric):
    rows = fastvec.unpack_bits(np.packbits(BITS, axis=1), 100)
    distances = (BITS[:, None] != BITS[None]).sum(axis=2)
    expected = np.argsort(distances, axis=1, kind="stable")
    for scores, indices in (
        fastvec.knn(rows, rows, 60, metric=metric),
        fastvec.Index(rows, metric=metric).search(rows, 60),
    ):
        np.testing.assert_array_equal(indices, expected)
        products = scores * 100 if metric == "cosine" else scores
        np.testing.assert_array_equal(
            (100 - np.round(products)) / 2, np.take_along_axis(distances, expected, 1)
        )


def test_what_is_refused():
    packed = np.packbits(BITS, axis=1)
    for wrong in (packed.tolist(), packed.astype(np.uint16), BITS, packed.astype(np.float32)):
        with pytest.raises(TypeError, match=words("packed", "dtype", "uint8", "int8")):
            fastvec.unpack_bits(wrong)
    with pytest.raises(ValueError, match=words("packed", "shape")):
        fastvec.unpack_bits(packed[None])
    for dims in (0, 96, 105):
        with pytest.raises(ValueError, match="dims"):
            fastvec.unpack_bits(packed, dims)
