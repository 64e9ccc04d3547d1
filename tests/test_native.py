"""Records that are written down: compiled code reads from the address what was in the record."""

import struct
from typing import NamedTuple

import numpy as np
import pytest
from numba import njit

from fastvec.kernels.native import Layout


class Inner(NamedTuple):
    share: float
    table: np.ndarray


class Outer(NamedTuple):
    count: int
    bytes_: np.ndarray
    inner: Inner
    again: Inner
    marks: np.ndarray


def record(count, rows):
    table = np.arange(3.0 * rows).reshape(rows, 3)
    inner, again = Inner(-0.25, table), Inner(np.pi, table[:1] * 2)
    return Outer(count, np.array([7, 255], np.uint8), inner, again, np.array([True, False, True]))


LAYOUT = Layout(lambda: record(0, 1))
read = LAYOUT.read


@njit
def sums(at):
    outer = read(at)
    outer.inner.table[0, 1] += 100.0
    table = outer.inner.table
    total = 0.0
    for i in range(table.shape[0]):
        for j in range(table.shape[1]):
            total += table[i, j]
    marked = 0
    for mark in outer.marks:
        marked += mark
    shape = (outer.count, len(outer.bytes_), table.shape[0], table.size, outer.again.table.shape[0])
    return (
        shape,
        marked,
        outer.bytes_[1],
        outer.inner.share,
        outer.again.share,
        total,
        outer.again.table[0, 2],
    )


@pytest.mark.parametrize("rows", [1, 4])
def test_compiled_code_reads_what_was_written_down(rows):
    written = LAYOUT.of(record(-(2**40), rows))
    table = written.record.inner.table
    before = table.sum()
    assert sums(written.at) == (
        (-(2**40), 2, rows, 3 * rows, 1),
        2,
        255,
        -0.25,
        np.pi,
        before + 100.0,
        4.0,
    )
    assert table[0, 1] == 101.0


def test_the_words_of_a_record():
    written = LAYOUT.of(record(5, 2))
    outer = written.record
    share = struct.unpack("q", struct.pack("d", -0.25))[0]
    assert written.words[:7].tolist() == [
        5,
        outer.bytes_.ctypes.data,
        2,
        share,
        outer.inner.table.ctypes.data,
        2,
        3,
    ]
    assert written.at == written.words.ctypes.data


@pytest.mark.parametrize(
    "wrong",
    [
        lambda outer: outer._replace(bytes_=outer.bytes_.astype(np.int8)),
        lambda outer: outer._replace(marks=outer.marks[None]),
        lambda outer: outer._replace(marks=outer.marks[::2]),
        lambda outer: outer._replace(inner=Inner(1.0, np.zeros((2, 3), np.float32))),
    ],
)
def test_records_of_another_form_are_refused(wrong):
    with pytest.raises(TypeError, match="a record has an array of"):
        LAYOUT.of(wrong(record(1, 2)))
