"""Records that are written down: compiled code reads from the address what was in the record."""

import ast
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numba import njit

from fastvec import kernels
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
        table.strides,
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
        (24, 8),
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


MAKERS = {"empty", "zeros", "ones", "full", "aligned_scores"}
LOOPS = (ast.For, ast.While)


def left_as_addresses(source):
    """Functions and their arrays of which the address is what is used last: Numba frees an array before that.

    In a loop that is not the array's own, its next round uses the array.
    """
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef):
            continue
        above = {child: node for node in ast.walk(function) for child in ast.iter_child_nodes(node)}

        def loops(node, above=above):
            while node in above:
                node = above[node]
                if isinstance(node, LOOPS):
                    yield node

        made = {}
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                statement = node
                while not isinstance(statement, ast.stmt):
                    statement = above[statement]
                called = [x.func for x in ast.walk(statement) if isinstance(x, ast.Call)]
                if MAKERS & {getattr(x, "attr", getattr(x, "id", "")) for x in called}:
                    made[node.id] = set(loops(statement))
        for name, own_loops in made.items():
            uses = [x for x in ast.walk(function) if isinstance(x, ast.Name) and x.id == name]
            last = max(uses, key=lambda x: (x.lineno, x.col_offset))
            user = above[last]
            address = isinstance(user, ast.Attribute) and user.attr == "ctypes"
            if address and not set(loops(last)) - own_loops:
                yield function.name, name


def test_arrays_live_as_long_as_their_addresses():
    wrong = """
def f():
    a, b = np.empty(3), np.empty(4)
    for _ in range(3):
        c = np.zeros(3)
        g(a.ctypes.data)
        g(c.ctypes.data)
    g(b.ctypes.data)
"""
    assert set(left_as_addresses(wrong)) == {("f", "b"), ("f", "c")}
    files = sorted(Path(kernels.__file__).parent.rglob("*.py"))
    found = [(file.name, *names) for file in files for names in left_as_addresses(file.read_text("utf-8"))]
    assert len(files) > 50
    assert not found
