"""normalize and truncate, with any layout of rows, with any number of threads, and in place."""

import numpy as np
import oracle
import pytest
from assertions import assert_same_bits, words
from data import KINDS, gaussian, mixed

import fastvec

LAYOUTS = {
    "rows": lambda x: x,
    "wider rows": lambda x: np.concatenate([x, x], axis=1)[:, : x.shape[1]],
    "rows backward": lambda x: x[::-1].copy()[::-1],
    "every other row": lambda x: x.repeat(2, axis=0)[::2],
    "one row again and again": lambda x: np.broadcast_to(x[:1], x.shape),
    "column-major": np.asfortranarray,
    "odd address": lambda x: np.frombuffer(b"-" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
}


@pytest.fixture(params=[1, 2, 5])
def thread_count(request):
    before = fastvec.get_num_threads()
    fastvec.set_num_threads(request.param)
    yield request.param
    fastvec.set_num_threads(before)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_and_number_of_threads(layout, thread_count):
    for n, width in ((1, 33), (700, 130), (2100, 70)):
        rows = mixed(n, width, 3)
        form, plain = LAYOUTS[layout](rows), np.ascontiguousarray(LAYOUTS[layout](rows))
        assert_same_bits(fastvec.normalize(form) + np.float32(0), oracle.normalize(plain) + np.float32(0))
        for dims in (1, 31, width - 1, width):
            assert_same_bits(fastvec.truncate(form, dims, renormalize=False), plain[:, :dims])
            expected = oracle.truncate(plain, dims) + np.float32(0)
            assert_same_bits(fastvec.truncate(form, dims) + np.float32(0), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_in_place(kind):
    rows = KINDS[kind](70, 97, 1)
    expected = fastvec.normalize(rows)
    assert fastvec.normalize(rows, out=rows) is rows
    assert_same_bits(rows, expected)


def test_a_plain_truncation_keeps_the_bits():
    rows = np.array([[-0.0, 1e-45, -3e38, 0.0, np.nan]], np.float32)
    assert_same_bits(fastvec.truncate(rows, 4, renormalize=False), rows[:, :4])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_bad_row_is_named(value, thread_count):
    out = np.empty((5000, 40), np.float32)
    for places in ([(0, 0)], [(4999, 39)], [(3100, 32), (3099, 7), (4000, 0)]):
        rows = gaussian(5000, 50, 1)
        for place in places:
            rows[place] = value
        first = min(row for row, _ in places)
        name = words("vectors", f"row {first}:", "nan" if np.isnan(value) else "inf")
        calls = (
            lambda rows=rows: fastvec.normalize(rows),
            lambda rows=rows: fastvec.truncate(rows, 40),
            lambda rows=rows: fastvec.truncate(rows, 40, out=out),
            lambda rows=rows: fastvec.truncate(rows, 40, renormalize=False, out=out),
        )
        for call in calls:
            with pytest.raises(ValueError, match=name):
                call()


@pytest.mark.parametrize("renormalize", [True, False])
def test_truncation_refuses_to_write_over_its_input(renormalize):
    memory = gaussian(17, 16, 1)
    before = memory.copy()
    for out in (memory[:16], memory[1:]):
        with pytest.raises(ValueError, match=words("out", "overlaps", "vectors")):
            fastvec.truncate(memory[:16], 16, renormalize=renormalize, out=out)
    assert_same_bits(memory, before)


@pytest.mark.parametrize("renormalize", [True, False])
def test_truncation_fills_out(renormalize):
    rows, out = mixed(300, 97, 2), np.full((300, 40), np.nan, np.float32)
    assert fastvec.truncate(rows, 40, renormalize=renormalize, out=out) is out
    assert_same_bits(out, fastvec.truncate(rows, 40, renormalize=renormalize))
