"""Layer two of four: NumPy's model of the device's layout, and its bound on awkward rows."""

import itertools

import cuda_simulator as simulator
import numpy as np
import oracle
import pytest
from data import KINDS, matrices, mixed, related, seeds
from hypothesis import given
from hypothesis import strategies as st

from fastvec.kernels import encode, metrics
from fastvec.kernels.cuda import batch, device, layout, scan, terms


def row_fragments(codes):
    """Signed codes (n, width), n a multiple of 16, as the device keeps them."""
    n, width = codes.shape
    words = codes.view(np.int32).reshape(n // 16, 2, 8, width // 32, 2, 4)  # tile, half, g, step, word, t
    return np.ascontiguousarray(words.transpose(0, 3, 2, 5, 4, 1)).reshape(-1)


def query_fragments(codes, room, steps):
    """Signed codes (m, width) of queries, as the device keeps ``room`` of them."""
    padded = np.zeros((room, 32 * steps), np.int8)
    padded[: len(codes), : min(codes.shape[1], 32 * steps)] = codes[:, : 32 * steps]
    words = padded.view(np.int32).reshape(room // 8, 8, steps, 2, 4)  # tile, g, step, half, t
    return np.ascontiguousarray(words.transpose(0, 2, 1, 4, 3)).reshape(-1)


def products(rows, queries, row_tiles, query_tiles, steps):
    """What the tensor cores make of fragments, by the manual's picture of a warp's registers."""
    a = rows.reshape(row_tiles, steps, 8, 4, 2, 2).view(np.int8).reshape(row_tiles, steps, 8, 4, 2, 2, 4)
    b = queries.reshape(query_tiles, steps, 8, 4, 2).view(np.int8).reshape(query_tiles, steps, 8, 4, 2, 4)
    # g, t, word, half, byte -> row = g + 8 half, dim = 16 word + 4 t + byte
    full = a.transpose(0, 5, 2, 1, 4, 3, 6).reshape(16 * row_tiles, -1).astype(np.int64)
    others = b.transpose(0, 2, 1, 4, 3, 5).reshape(8 * query_tiles, -1).astype(np.int64)
    return full @ others.T


@given(seeds, st.integers(1, 3), st.integers(1, 2), st.integers(1, 4))
def test_fragments_hold_every_code_where_the_multiplication_wants_it(seed, row_tiles, query_tiles, steps):
    rng = np.random.default_rng(seed)
    rows = rng.integers(-127, 128, (16 * row_tiles, 32 * steps)).astype(np.int8)
    m = int(rng.integers(1, 8 * query_tiles + 1))
    queries = rng.integers(-127, 128, (m, 64 * ((steps + 1) // 2))).astype(np.int8)
    queries[:, 32 * steps :] = 0
    packed = query_fragments(queries, 8 * query_tiles, steps)
    actual = products(row_fragments(rows), packed, row_tiles, query_tiles, steps)
    expected = rows.astype(np.int64) @ queries[:, : 32 * steps].T.astype(np.int64)
    np.testing.assert_array_equal(actual[:, :m], expected)
    assert not actual[:, m:].any()


def power_of(encoded, n):
    return terms.power_for(float(encoded.norm[:n].max()))


def row_terms(metric, encoded, n):
    """What the kernel writes, from the same terms of single rows."""
    panels, power = -(-n // layout.PANEL), power_of(encoded, n)
    full = encoded.whole if len(encoded.whole) else encoded.norm
    scale, margin = np.zeros(n, np.float32), np.zeros(n, np.float32)
    reach = np.full((panels, 2), (2.0**-40, 0.0))
    for i in range(n):
        row = (encoded.scale[i], np.float64(encoded.error[i]), encoded.norm[i], full[i])
        scale[i], margin[i], *far = terms.terms_of_row(metric, *row, power)
        reach[i // layout.PANEL] = np.maximum(reach[i // layout.PANEL], far)
    return layout.Terms(scale, margin, (reach * (1 + 2.0**-23)).astype(np.float32).reshape(-1))


def lane_terms(metric, packed, m, power):
    lanes = np.zeros((layout.TERMS, m), np.float32)
    for q in range(m):
        query = (packed.scale[q], packed.error[q], packed.norm[q])
        lanes[:, q] = (layout.LOWEST, *terms.terms_of_query(metric, *query, power))
    return lanes


def ends(metric, queries, vectors, dims):
    """Of all pairs: value from above, lower end and slack, in float32 as on the device; and the terms."""
    n, m = len(vectors), len(queries)
    full = encode.empty(*vectors.shape)
    assert encode.encode(vectors, full, 1) < 0
    encoded = full if dims == vectors.shape[1] else encode.prefix(vectors, full, dims, 1)
    packed = encode.pack(np.ascontiguousarray(queries[:, :dims]), 127, 0, 1)
    of_rows, lanes = row_terms(metric, encoded, n), lane_terms(metric, packed, m, power_of(encoded, n))
    width = packed.codes.shape[1]
    codes = (encoded.codes[:n, :width] ^ np.uint8(128)).view(np.int8).astype(np.int32)
    scores = codes @ packed.codes[:m].T.astype(np.int32)
    upper, lower, slacks = (np.empty((m, n), np.float32) for _ in range(3))
    for q in range(m):
        constant, by_length, by_error = lanes[[layout.SLACK, layout.BY_LENGTH, layout.BY_ERROR], q]
        for i in range(n):
            reach = of_rows.reach[2 * (i // layout.PANEL) : 2 * (i // layout.PANEL) + 2]
            slack = simulator.slack(constant, by_length, by_error, *reach)
            row = (scores[i, q], of_rows.scale[i], of_rows.margin[i])
            upper[q, i] = simulator.value(*row, lanes[layout.WEIGHT, q])
            lower[q, i] = simulator.lower(simulator.value(*row, lanes[layout.LOW_WEIGHT, q]), slack)
            slacks[q, i] = slack
    return upper, lower, slacks, lanes, of_rows


def sound(metric, queries, vectors, dims, k):
    """No row of the answer is dropped, whichever rows raised the root."""
    upper, lower, slack, lanes, of_rows = ends(metric, queries, vectors, dims)
    scores = oracle.scores(queries, vectors, metric, dims)
    for q in range(len(queries)):
        order = oracle.ranked(scores[q], True)
        root = max(np.sort(lower[q])[-k], np.float32(layout.LOWEST))
        coefficients = lanes[[layout.SLACK, layout.BY_LENGTH, layout.BY_ERROR], q]
        for i in order[:k]:
            panel = 2 * (i // layout.PANEL)
            theta = simulator.threshold(root, *coefficients, *of_rows.reach[panel : panel + 2])
            assert simulator.reaches(upper[q, i], theta)
        # A lower end is a promise: no row promises more than a better one may have.
        best = upper[q, order] + slack[q, order]
        best += np.abs(best) * np.float32(2**-20)
        assert (lower[q, order[1:]] <= np.minimum.accumulate(best)[:-1]).all()


@pytest.mark.parametrize("metric", metrics.BOUNDED)
@given(
    vectors=matrices(counts=st.sampled_from([20, 70, 130]), widths=st.sampled_from([1, 33, 64])), seed=seeds
)
def test_the_bound_holds(metric, vectors, seed):
    rng = np.random.default_rng(seed)
    queries = related(vectors, 3, seed)
    sound(metric, queries, vectors, int(rng.integers(1, vectors.shape[1] + 1)), int(rng.integers(1, 6)))


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_the_bound_holds_for_every_kind_of_rows(metric):
    vectors = mixed(200, 40, 1)
    queries = np.concatenate([kind(1, 40, 2) for kind in KINDS.values()])
    sound(metric, queries, vectors, 40, 4)


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_the_bound_separates(metric):
    """On ordinary rows few stay: the terms are as tight as the processor's but for panels."""
    vectors = KINDS["decaying"](1000, 64, 3)
    queries = vectors[:3] + np.float32(0.01)
    upper, lower, slack, _, _ = ends(metric, queries, vectors, 64)
    root = np.sort(lower)[:, -10]
    assert ((upper + slack >= root[:, None]).sum(axis=1) < 120).all()


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_the_slack_of_a_query_is_that_of_the_proof(metric):
    """C₀, C₁ and C₂ are θ's terms without a root, 2⁻¹⁹ for float32 included, raised by 2⁻²⁰ of themselves."""
    for scale, error, norm in itertools.product((1.0, 0.0123), (0.0, 2.0**-20, 0.3), (0.7, 3.0, 2.0**-30)):
        power = 0.25
        kappa, raised = norm * power, error + 2.0**-19
        exact = {
            "cosine": [raised, 0.0, raised],  # L is 1
            "dot": [0.0, raised, raised],
            "euclidean": [kappa * 2.0**-19, 2.0**-19 / kappa + raised, 1.0 + raised],
        }[metric]
        actual = terms.terms_of_query(metric, scale, error, norm, power)[2:]
        np.testing.assert_allclose(
            np.array(actual) * scale, np.array(exact) * (1 + 2.0**-20), rtol=1e-9, atol=1e-15
        )


def test_closed_rows_and_queries_past_the_last_are_never_reached():
    nothing = np.float32(0)
    closed = simulator.value(np.int32(5), np.float32(1), np.float32(-np.inf), np.float32(1))
    unknown = simulator.value(np.int32(5), np.float32(1), np.float32(-np.inf), nothing)
    lowest = simulator.threshold(np.float32(layout.LOWEST), *[nothing] * 5)
    assert np.isnan(unknown)
    assert not simulator.reaches(closed, lowest)
    assert not simulator.reaches(unknown, lowest)
    assert simulator.reaches(np.float32(-(2.0**80)), lowest)
    highest = simulator.threshold(np.float32(layout.HIGHEST), *[nothing] * 5)
    assert not simulator.reaches(np.float32(2.0**80), highest)
    every = simulator.threshold(np.float32(layout.LOWEST), np.float32(np.inf), *[nothing] * 4)
    assert simulator.reaches(np.float32(-1), every)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=20))
def test_ordered_bits_are_in_the_order_of_numbers(numbers):
    values = np.sort(np.array(numbers, np.float32) + np.float32(0))
    keys = [simulator.ordered(value) for value in values]
    assert keys == sorted(keys)
    assert 0 <= keys[0] <= keys[-1] < 2**32
    for a, b in itertools.pairwise(values):
        assert (simulator.ordered(a) == simulator.ordered(b)) == (a == b)


@given(st.integers(1, 10**9), st.integers(1, batch.MOST_K))
def test_chunks_cover_all_rows_once(n, k):
    rows = -(-n // layout.PANEL) * layout.PANEL
    limits = batch.limits_for(k)
    chunks = list(batch.chunks(rows, limits))
    assert chunks[0][0] == 0
    assert chunks[-1][1] == rows
    assert all(a[1] == b[0] for a, b in itertools.pairwise(chunks))
    assert all(first < last and last % layout.PANEL == 0 for first, last in chunks)
    assert limits.first <= limits.capacity  # the first chunk's rows are all candidates
    assert k <= limits.first
    assert len(chunks) <= 24


# By block and by multiprocessor: compute capability 8.0, 8.6, 9.0.
ROOMS = [device.SharedMemory(b << 10, p << 10) for b, p in ((163, 164), (99, 100), (227, 228))]


@given(st.integers(1, 5000), st.integers(1, 4096), st.sampled_from(ROOMS))
def test_shapes_fit(m, steps, room):
    shape = scan.shape_for(m, steps, room)
    assert shape in scan.SHAPES
    grid, _, shared = scan.launch(shape, m, steps, 1 << 20, 132, room)
    assert shared <= room.block
    assert shared <= 48 << 10 or 2 * (shared + 1024) <= room.processor
    assert grid[0] >= 1
    assert grid[1] * shape.query_tiles * 8 >= m


@given(seeds, st.integers(1, 3), st.integers(1, 100))
def test_bits(seed, m, n):
    mask = np.random.default_rng(seed).random((m, n)) < 0.5
    words = batch.bits(mask)
    i, j = np.indices(mask.shape)
    np.testing.assert_array_equal((words[i, j // 32] >> (j % 32)) & 1, mask)
