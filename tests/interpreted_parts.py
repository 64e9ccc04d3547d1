"""Cases of ``interpreted_cases.py`` that run single functions of kernels on states made for them."""

import contextlib
import itertools
import math
import tempfile
from types import SimpleNamespace
from unittest import mock

import interpreter  # before kernels are imported
import numpy as np
import oracle
from assertions import assert_same_bits, assert_same_topk
from data import decaying, gaussian, hashed, mean_of, mixed, related, sharing
from test_ranges import assert_ranges

import fastvec
from fastvec import _snapshot
from fastvec._stores import base, blocks, directions, shard, shards
from fastvec.kernels import (
    bound,
    direct,
    direction,
    encode,
    few,
    filters,
    log,
    matrix,
    metrics,
    micro,
    products,
    refine,
    rescore,
    scan,
    screen,
    seeds,
    threads,
    tiles,
    topk,
)

GENERIC = micro.TABLE["generic"]
NONE = np.empty(0, np.bool_)


def no_exclusions(m):
    return filters.Exclusions(np.zeros(m + 1, np.int64), np.empty(0, np.int64), filters.NO_MASK)


def encoded_rows(vectors):
    rows = encode.empty(*vectors.shape)
    assert encode.encode(vectors, rows, 1) == -1
    return rows


def originals_of(queries, vectors):
    squares = oracle.lane_sum(queries.astype(np.float64) ** 2)
    return refine.originals(queries, squares, matrix.of([vectors]), vectors.shape[1])


def with_screen(vectors, rows, basis, most, most_leading):
    """Rows with a screen, as a kernel sees them; it gives up beyond these shares of pairs."""
    made = screen.empty(len(vectors), basis.matrix.shape[1], basis.leading.matrix.shape[1] > 0)
    made = made._replace(encoded=made.encoded._replace(norm=rows.norm))
    screen.encode_rows(vectors, rows.norm, basis, made, 1)
    coarse, fine = scan.rows_of(made.encoded, 0), scan.rows_of(rows, 0)
    limits = basis.skew, most, most_leading
    return screen.Rows(coarse, made.slack, *limits, fine, made.leading, basis.leading.skew)


def case_terms_of_rows(rng):
    """P, E and L of a chunk are of all of its rows, wherever the largest stands; and the rows' own terms."""
    for count in (1, 15, 16, 31, 32, 33, 47, 64, 65):
        n, base, chunk = count + 40, 7, 9
        for largest in (0, count // 2, count - 1):
            error, norm = rng.uniform(0.1, 0.5, n).astype(np.float32), rng.uniform(0.1, 0.5, n)
            scale = rng.uniform(0.1, 0.5, n).astype(np.float32)
            error[chunk + largest], norm[chunk + largest] = 0.75, 3.0
            error[chunk - 1], norm[chunk - 1] = 0.9, 9.0  # of rows beside the chunk
            error[chunk + count], norm[chunk + count] = 0.9, 9.0
            allowed = rng.random(base + n) < 0.7
            codes = np.zeros((1, 64), np.uint8)
            rows = scan.Rows(codes, base, scale, error, norm, np.empty(0), allowed, np.empty(0, np.int64))
            room = np.empty((2, count + encode.SPARE_ROWS), np.float32)
            for metric in metrics.BOUNDED:
                power, most, length = tiles.row_terms(metric, chunk, count, rows, *room)
                assert (power, most, length) == (
                    (0.5, 0.75, 0.5) if metric == "cosine" else (0.25, 0.75, 0.75)
                )
                here = slice(chunk, chunk + count)
                own = norm[here] * power
                wanted = {
                    "cosine": (scale[here], error[here].copy()),
                    "dot": (scale[here] * own, error[here] * own),
                    "euclidean": (scale[here] * own, -own * own),
                }[metric]
                wanted[1][~allowed[base + chunk : base + chunk + count]] = -np.inf
                np.testing.assert_allclose(room[:, :count], wanted, rtol=2**-22)
                assert (room[0, count:] == 0).all()
                assert (room[1, count:] == -np.inf).all()
            with_screen = SimpleNamespace(slack=error, skew=0.5)
            limits = screen._limits("screen", with_screen, chunk, count, (1.0, 2.0, 3.0))
            assert limits == (1.0, 2.0, 3.0, 0.75, 0.5)


def case_thresholds(rng):
    """Every threshold and weight is set anew for each chunk, as its limits have them."""
    state = log.new_state(3, 16, 2, 100)
    queries = SimpleNamespace(
        scale=np.array([0.5, 0.1, 1.0]), error=np.full(3, 0.01), norm=np.array([2.0, 0.3, 7.0])
    )
    state.root[:] = -0.3, -2.0, -np.inf
    for limits in ((1.0, 0.1, 0.6), (2.0**-5, 0.2, 0.9), (0.25, 0.0, 0.5)):
        log.set_thresholds("euclidean", queries, state, limits)
        for q in range(3):
            assert (state.threshold[q], state.weight[q]) == log._theta(
                "euclidean", q, queries, state.root[q], limits
            )
    assert (state.threshold[3:] == np.inf).all()
    assert (state.weight[3:] == 1.0).all()


def filled_state(rng, m, k, hits, pairs=10_000):
    state = log.new_state(m, 16, k, pairs)
    state.query[:hits] = rng.integers(0, m, hits)
    state.row[:hits] = rng.permutation(hits)
    state.lower[:hits] = rng.integers(0, 30, hits) / 32
    state.upper[:hits] = state.lower[:hits] + rng.integers(0, 8, hits) / 32
    state.cursor[[log.COUNT, log.DRAINED]] = hits
    return state


def entries(state):
    count = state.cursor[log.COUNT]
    logs = (state.query, state.row, state.lower, state.upper)
    return list(zip(*(array[:count].tolist() for array in logs), strict=True))


def case_draining(rng):
    """Intervals, floors and roots after a drain are those of all hits; what is dropped is strictly beaten."""
    vectors = hashed(60, 20, int(rng.integers(1000)))
    rows = encoded_rows(vectors)
    block = scan.rows_of(rows, 100)
    limits = (1.0, float(rows.error.max()), 1.0)
    for m, k, metric in ((1, 1, "cosine"), *((2, 3, metric) for metric in metrics.BOUNDED)):
        queries = encode.pack(related(vectors, m, 1), 127, 0, 1)
        state = log.new_state(m, 16, k, 1000)
        cursor = state.cursor.copy()
        for _ in range(2):  # the second in memory that was used
            log.begin(state, cursor)
            assert (state.root == -np.inf).all()
            assert (state.floor == -np.inf).all()
            assert not state.left.any()
            assert (state.cursor == cursor).all()
            expected = [[] for _ in range(m)]
            for first in range(0, 60, 20):
                for i in range(first, first + 20):
                    for q in range(m):
                        integer = (rows.codes[i].astype(int) - 128) @ queries.codes[q].astype(int)
                        log.append(state, q, i, integer)
                        cosine = integer * (queries.scale[q] * np.float64(rows.scale[i]))
                        error = bound.cosine_error(queries.error[q], np.float64(rows.error[i]))
                        ends = metrics.interval(metric, cosine, error, queries.norm[q], rows.norm[i])
                        expected[q].append((100 + i, *ends))
                log.drain(metric, block, queries, no_exclusions(m), state, limits)
                for q in range(m):
                    floor = sorted((low for _, low, _ in expected[q]), reverse=True)[:k]
                    assert sorted(state.floor[q], reverse=True) == floor
                    assert state.root[q] == floor[-1]
                    assert state.threshold[q] == log._theta(metric, q, queries, floor[-1], limits)[0]
                log.drain(metric, block, queries, no_exclusions(m), state, limits)  # of no hits
                assert (state.threshold[m:] == np.inf).all()  # lanes without a query
            log.drop_beaten(state)
            wanted = [(q, *entry) for q in range(m) for entry in expected[q] if entry[2] >= state.root[q]]
            assert sorted(entries(state)) == sorted(wanted)
            assert state.live.tolist() == [sum(entry[0] == q for entry in wanted) for q in range(m)]
            state.left[:], state.root[:], state.floor[:], state.cursor[:] = True, 5.0, 5.0, 5
        # An upper end that equals the root stays, in a drain and in a compaction.
        log.begin(state, cursor)
        log.append(state, 0, 3, 50)
        log.drain(metric, block, queries, no_exclusions(m), state, limits)
        for higher in (0.0, 2.0**-30):
            state.root[0] = (
                state.upper[0] * (1 + higher) if state.upper[0] >= 0 else state.upper[0] * (1 - higher)
            )
            again = log.new_state(m, m, k, 1000)
            again.root[0] = state.root[0]
            log.append(again, 0, 3, 50)
            log.drain(metric, block, queries, no_exclusions(m), again, limits)
            log.drop_beaten(state)
            kept = state.upper[0] >= state.root[0]
            assert again.cursor[log.COUNT] == state.cursor[log.COUNT] == kept
    # Rows that are not consecutive, or a single one, by their numbers in the whole.
    ids = rng.permutation(60) + 7
    exclusions = filters.Exclusions.of_runs(np.array([0, 1, 2]), ids[[5, 9]])
    for count in (1, 60):
        state = log.new_state(2, 16, 1, 1000)
        for row in (0, 5, 9, 3)[:count]:
            log.append(state, 1, row, 50)
        log.drain("cosine", block._replace(ids=ids[:count]), queries, exclusions, state, limits)
        assert state.row[: state.cursor[log.COUNT]].tolist() == ids[[0, 5, 3]][:count].tolist()
    state = filled_state(rng, 3, 2, 200)
    before = entries(state)
    state.root[:] = 0.25, 0.5, 0.75
    log.drop_beaten(state)
    assert entries(state) == [entry for entry in before if entry[3] >= state.root[entry[0]]]
    log.let_go(state, state.live.min())
    assert (state.left == (state.live > state.live.min())).all()
    assert (state.root[state.left] == np.inf).all()
    assert (state.threshold[:3][state.left] == np.inf).all()


def case_parts(rng):
    """Logs of parts are joined: queries by their numbers, and what any part says of a query counts."""
    states = [filled_state(rng, 2, 1, 5) for _ in range(4)]
    states[0].left[1] = True
    states[2].left[0] = True
    states[1].cursor[log.STALE] = 17
    for place, state in enumerate(states):
        state.cursor[[log.SEEN, log.PASSED]] = 10**place, 3 * 10**place
    firsts = (0, 0, 2, 2)
    parts = [(first, log.filled(state)) for first, state in zip(firsts, states, strict=True)]
    found = log.join(parts, 4)
    assert found.left.tolist() == [False, True, True, False]
    assert (found.stale, found.screened, found.passed) == (17, 1111, 3333)
    wanted = [(first + q, *rest) for first, state in parts for q, *rest in entries(state)]
    columns = (found.query, found.row, found.lower, found.upper)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == wanted
    alone = log.join(parts[:1], 2)
    assert alone.left.tolist() == [False, True]
    assert alone[5:] == (-1, 1, 3)
    assert list(zip(*(column.tolist() for column in alone[:4]), strict=True)) == entries(parts[0][1])
    both = log.join([parts[0], (70_000, parts[1][1])], 70_002)
    assert set(both.query.tolist()) <= {0, 1, 70_000, 70_001}
    assert (len(both.row), both.stale, both.left.sum()) == (10, 17, 1)


def case_tiles(rng):
    """Hits of tiles are the pairs whose float32 upper end reaches the threshold, and no others."""
    m, n, chunk = 21, 70, 1000
    scores = rng.integers(-50, 50, (n + 64, 32)).astype(np.int32)
    scale, margin = (
        rng.uniform(0.5, 2, n + 64).astype(np.float32),
        rng.uniform(0, 9, n + 64).astype(np.float32),
    )
    state = log.new_state(m, 32, 1, 10_000)
    state.threshold[:m], state.weight[:m] = rng.uniform(-20, 60, m), rng.uniform(0.5, 2, m)
    ends = scores[:, :m].astype(np.float32) * scale[:, None] + margin[:, None] * state.weight[:m]
    wanted = {(q, chunk + i) for i, q in np.argwhere(ends >= state.threshold[:m])}
    for end, height in ((n, 4), (n - 1, 8), (n - 3, 16)):  # rows from there on belong to the next chunk
        state.cursor[log.COUNT] = 0
        for r in range(0, end, height):
            tile = scores[r : r + height].ravel()
            for lane in (0, 16):
                tiles.log_tile(chunk, r, end, 0, lane, height, 128, scale, margin, tile, state)
        got = [(int(state.query[z]), int(state.row[z])) for z in range(state.cursor[log.COUNT])]
        assert sorted(got) == sorted(pair for pair in wanted if pair[1] < chunk + end)
        assert state.score[: len(got)].tolist() == [scores[row - chunk, q] for q, row in got]
    by_row = log.new_state(m, m, 1, 10_000)
    by_row.threshold[:], by_row.weight[:] = state.threshold[:m], state.weight[:m]
    closed = margin.copy()
    closed[n:] = -np.inf
    for r in range(0, n, 64):
        for q in range(m):
            some = np.ascontiguousarray(scores[r : r + 64, q])
            tiles.log_rows(chunk, r, min(64, n - r), q, scale, closed, some, by_row)
    got = [(int(by_row.query[z]), int(by_row.row[z])) for z in range(by_row.cursor[log.COUNT])]
    assert sorted(got) == sorted(pair for pair in wanted if pair[1] < chunk + n)
    logged = by_row.score[: len(got)].tolist()
    assert logged == [scores[row - chunk, q] for q, row in got]
    for count in (16, 17, 31, n):
        by_row.cursor[log.COUNT] = 0
        column = np.ascontiguousarray(ends[:, 5])
        by_row.threshold[5] = np.float32(-1e30)
        tiles.log_ends(chunk, count, 5, column, by_row)
        assert by_row.row[: by_row.cursor[log.COUNT]].tolist() == list(range(chunk, chunk + count))
        assert (by_row.query[:count] == 5).all()
        by_row.cursor[log.COUNT], by_row.threshold[5] = 0, np.median(column[:count])
        tiles.log_ends(chunk, count, 5, column, by_row)
        wanted = chunk + np.flatnonzero(column[:count] >= by_row.threshold[5])
        assert by_row.row[: by_row.cursor[log.COUNT]].tolist() == wanted.tolist()


def case_ranking(rng):
    """The k best exact scores among entries; the walk ends only where an upper end is strictly below."""
    vectors = np.repeat(hashed(12, 9, int(rng.integers(1000))), 3, axis=0)  # every score three times
    query = vectors[30:31] + vectors[33:34]
    originals = originals_of(query, vectors)
    exact = oracle.scores(query, vectors, "cosine")[0]
    for count in (0, 1, 2, 3):
        order, best, ranked = np.arange(36 - count, 36), np.empty(2), np.empty(2, np.int64)
        found = refine.rank(
            "cosine", originals, 0, order, np.arange(36), exact - 1.0, exact + 1.0, best, ranked
        )
        assert found == (min(count, 2), count, -1)
    for k in (1, 2, 4, 5, 36, 40):
        for spread in (0.0, 0.01, 0.3):
            lower, upper = exact - spread * rng.random(36), exact + spread * rng.random(36)
            if spread == 0.0:  # every interval is open above, by so little that upper ends still tie
                lower = lower - 1.0
            best, ranked = np.empty(k), np.empty(k, np.int64)
            order, rows = rng.permutation(36), np.arange(36)
            size, taken, outside = refine.rank(
                "cosine", originals, 0, order.copy(), rows, lower, upper, best, ranked
            )
            assert (size, outside) == (min(k, 36), -1)
            topk.sort(best, ranked, size)
            right = np.lexsort((rows, -exact))[:size]
            assert ranked[:size].tolist() == right.tolist()
            assert (best[:size] == exact[right]).all()
            if k < 36:  # entries whose upper ends reach the k-th score, and no others
                assert taken == (upper >= exact[right[-1]]).sum() or spread > 0.0
        wrong = exact + 1.0
        best, ranked = np.empty(k), np.empty(k, np.int64)
        found = refine.rank(
            "cosine", originals, 0, order.copy(), rows, wrong - 0.1, wrong + 0.1, best, ranked
        )
        assert found[2] >= 0


def case_sharpening(rng):
    """Thresholds from exact scores are the least of k of them, so that k rows score no less."""
    vectors, k, limit = hashed(50, 9, int(rng.integers(1000))), 4, 10
    queries = np.ascontiguousarray(hashed(4, 9, 1))
    live = (limit, 50, 50, 50)
    for metric, at_hand, changed in (("cosine", True, -1), ("euclidean", True, 7), ("euclidean", False, 7)):
        exact = oracle.scores(queries, vectors, metric)
        originals = originals_of(queries, vectors)
        if not at_hand:
            nothing = np.empty(0, np.int64)
            originals = originals._replace(vectors=matrix.Matrix(np.zeros(1, np.int64), nothing, nothing))
        state = log.new_state(4, 4, k, 10_000)
        for q, count in enumerate(live):
            for row in rng.permutation(50)[:count]:
                z = state.cursor[log.COUNT]
                spread = rng.random(2) * (0.2 if row == changed else 2.0)
                middle = exact[q, row] + (100.0 if row == changed else 0.0)
                state.query[z], state.row[z] = q, row
                state.lower[z], state.upper[z] = middle - spread[0], middle + spread[1]
                state.cursor[[log.COUNT, log.DRAINED]] = z + 1
        state.live[:] = live
        state.root[1] = 1e9  # as it is by other means
        refine._sharpen(metric, originals, state, limit)
        assert state.root[[0, 1]].tolist() == [-np.inf, 1e9]
        count = state.cursor[log.COUNT]
        for q in (2, 3):
            own = state.query[:count] == q
            middles = state.lower[:count][own] + state.upper[:count][own]
            chosen = np.argsort(-middles)[:k]
            values = exact[q, state.row[:count][own]] if at_hand else state.lower[:count][own]
            assert state.root[q] == values[chosen].min()
        assert state.cursor[log.STALE] == (changed if at_hand else -1)


def case_heaps(rng):
    """Heaps keep the best in the total order, and are merged in it, by float64 scores."""
    for _ in range(8):
        k, parts, m = int(rng.integers(1, 9)), int(rng.integers(1, 4)), 2
        scores = rng.integers(0, 9, (m, 60)) / 3.0
        scores[:, ::2] += rng.integers(0, 3, (m, 30)) * 2.0**-40  # the same as float32
        heaps = [topk.Heaps.empty(m, min(k, 30)) for _ in range(parts)]
        assert (heaps[0].scores.dtype, heaps[0].rows.dtype, heaps[0].sizes.dtype) == ("f8", "i8", "i8")
        for row in rng.permutation(60):
            some = heaps[row % parts]
            for q in range(m):
                some.sizes[q] = topk.push(some.scores[q], some.rows[q], some.sizes[q], scores[q, row], row)
        out = np.empty((m, k), np.float32), np.empty((m, k), np.int64)
        topk.merge(heaps, np.arange(m), *out)
        expected = oracle.select(scores, k)
        np.testing.assert_array_equal(out[1], expected.indices)
        np.testing.assert_array_equal(out[0], expected.scores)
        floor = np.full(k, -np.inf)
        for value in scores[0]:
            if value > floor[0]:
                topk.raise_floor(floor, value)
        assert sorted(floor, reverse=True) == sorted(scores[0], reverse=True)[:k]
        assert all(floor[(z - 1) // 2] <= floor[z] for z in range(1, k))
    # Parts of some rows each, fewer than are asked for.
    heaps, owner = [topk.Heaps.empty(2, 4) for _ in range(3)], [0, 1, 1, 1, 2, 2]
    scores = rng.permutation(12).reshape(2, 6).astype(np.float64)
    for q, row in np.ndindex(2, 6):
        some = heaps[owner[row]]
        some.sizes[q] = topk.push(some.scores[q], some.rows[q], some.sizes[q], scores[q, row], row)
    out = np.empty((2, 4), np.float32), np.empty((2, 4), np.int64)
    topk.merge(heaps, np.arange(2), *out)
    np.testing.assert_array_equal(out[1], oracle.select(scores, 4).indices)
    out = np.empty((1, 3), np.float32), np.empty((1, 3), np.int64)
    topk.publish(np.array([-0.0]), np.array([4]), 1, out[0][0], out[1][0])
    assert out[1].tolist() == [[4, -1, -1]]
    assert out[0].view(np.int32)[0, 0] == 0
    assert (out[0][0, 1:] == -np.inf).all()


def case_masks(rng):
    """Parts and choices of exclusions are those of their queries."""
    mask = rng.random((5, 30)) < 0.5
    runs = [rng.choice(30, count, replace=False) for count in (0, 3, 12, 1, 25)]
    offsets = np.cumsum([0, *map(len, runs)])
    whole = filters.Exclusions.of_runs(offsets, np.concatenate(runs).astype(np.int64))._replace(mask=mask)
    chosen = np.array([4, 1, 2])
    for some, queries in (
        (whole, range(5)),
        (whole.part(1, 4), range(1, 4)),
        (whole.part(2, 5), range(2, 5)),
        (whole.of(chosen), chosen),
    ):
        for place, query in enumerate(queries):
            for row in range(30):
                closed = row in runs[query] or not mask[query, row]
                assert filters.excluded(some, place, row) == closed


def case_codes(rng):
    """Codes, scales, errors and norms of rows are what ``encode.py`` says, to the last dimension."""
    for dims in (1, 31, 32, 33, 64, 65):
        vectors = mixed(40, dims, int(rng.integers(1000)))
        rows = encoded_rows(vectors)
        codes = rows.codes[:40].astype(int) - 128
        assert (codes[:, dims:] == 0).all()
        wide = vectors.astype(np.float64)
        np.testing.assert_array_equal(rows.norm, np.sqrt(oracle.lane_sum(wide * wide)))
        units = oracle.unit(wide)
        coded = rows.scale[:, None].astype(np.float64) * codes[:, :dims]
        rest = np.linalg.norm(units - coded, axis=1)
        used = vectors.any(axis=1)
        assert (rest[used] + 2**-21 <= rows.error[used]).all()
        assert (rows.error[used] <= rest[used] * (1 + 2**-18) + 2**-19).all()
        assert (np.abs(codes).max(axis=1)[used] == 127).all()
        packed = encode.pack(vectors, 63, 16, 1)
        assert np.abs(packed.codes[:40]).max() == 63
        np.testing.assert_array_equal(packed.correction[:40], -128 * packed.codes[:40].sum(axis=1, dtype=int))
        assert (packed.packed.reshape(3, -1, 16, 4)[2, :, 8:] == 0).all()
        few_room = encode.room_for(2, dims)
        encode.encode_few(originals_of(vectors[:2], vectors), 63, few_room)
        for name in ("codes", "correction", "scale", "error", "norm"):
            np.testing.assert_array_equal(getattr(few_room.queries, name), getattr(packed, name)[:2])
        rows.codes[:] = 7
        for bad, value in ((-1, 0.0), (0, np.nan), (39, np.inf), (7, -np.inf)):
            wrong = vectors.copy()
            wrong[bad, dims - 1] = value
            assert encode.encode(wrong, rows, 2) == bad
        assert (rows.codes[40:] == 7).all()


def case_screen_codes(rng):
    """(6) and (10) of ``bound.py`` hold for every pair, and need what they have: measured in float64."""
    dims, p = 200, 192
    spread = 1 / (1 + np.arange(dims)) ** 0.5
    vectors = (rng.standard_normal((60, dims)) * spread).astype(np.float32)
    vectors[0], vectors[1], vectors[2] = (
        0,
        vectors[3] * np.float32(2.0**-70),
        vectors[3] * np.float32(2.0**61),
    )
    skewed = np.linalg.qr(rng.standard_normal((dims, p)))[0] * (1 + 2.0**-9)
    for matrix_, leading in [(skewed.astype(np.float32), True)]:
        basis = screen.measured(np.ascontiguousarray(matrix_), leading)
        rows = encoded_rows(vectors)
        screened = screen.empty(60, p, leading)
        screened = screened._replace(encoded=screened.encoded._replace(norm=rows.norm))
        with mock.patch.object(screen, "_rounded_up", wraps=screen._rounded_up) as rounded:
            screen.encode_rows(vectors, rows.norm, basis, screened, 1)
        reaches = [call.args[0] for call in rounded.call_args_list][-1:-115:-2][::-1]  # behind each scale
        assert screen.first_unproved(vectors, rows.norm, basis, screened) == -1
        v = basis.matrix.astype(np.float64)
        units = oracle.unit(vectors.astype(np.float64))
        coded = screened.encoded.scale[:, None].astype(np.float64) * (
            screened.encoded.codes[:60].astype(float) - 128
        )
        rest = np.linalg.norm(units - coded @ v.T, axis=1)
        inside = np.linalg.norm(units @ v - coded @ (v.T @ v), axis=1)
        far, checked = np.array([1, 2]), (3, 15, 16, 31, 40, 59)  # on both sides of borders of blocks
        for row in checked:  # a measure that is too small is found wherever its row is
            tail, slack = screened.encoded.error.copy(), screened.slack.copy()
            tail[row], slack[row] = 0.999 * rest[row], 0.999 * inside[row]
            encoded = screened.encoded._replace(error=tail)
            with interpreter.small(screen___BLOCK=16):
                for wrong in (screened._replace(encoded=encoded), screened._replace(slack=slack)):
                    assert screen.first_unproved(vectors, rows.norm, basis, wrong) == row
        assert (screened.encoded.error[far] >= 2.0**30).all()
        near = np.setdiff1d(np.arange(60), [0, 1, 2])
        # Nothing codes rows of no length or of one beyond the limits, all else has the largest codes.
        largest = np.abs(screened.encoded.codes[:60].astype(int) - 128).max(axis=1)
        assert largest.tolist() == [0] * 3 + [127] * 57
        assert (screened.encoded.scale[:3] == 0).all()
        assert screened.encoded.error[0] == np.float32(2**-20)
        assert (screened.slack[:3] == np.float32([basis.error + 2**-20, 2**-20, 2**-20])).all()
        # Not less than measured, with half of the slack to spare, nor than the terms for V and for roundings.
        length = np.linalg.norm(coded, axis=1)
        assert (screened.encoded.error[near] >= rest[near] + 2**-21).all()
        lengths_of_rows = rows.norm[:, None]
        products_at_hand = products.multiply(vectors, basis.matrix, 1)
        h = products_at_hand / np.where(lengths_of_rows > 0, lengths_of_rows, 1)
        for i in near:
            a, b = h[i] @ coded[i], length[i] ** 2
            square = 1 - 2 * a + 2 * basis.error * length[i] + (1 + basis.skew) * b
            if (screened.encoded.codes[i] != 128).any():
                assert abs(screened.encoded.error[i] - math.sqrt(square) - 2**-20) < 2**-22
                eta = basis.error + np.linalg.norm(h[i] - coded[i]) + basis.skew * length[i] + 2**-20
                assert abs(screened.slack[i] - eta) < 2**-21
        assert (screened.slack[near] >= inside[near]).all()
        words = screened.leading.words
        reach = (words << np.uint32(16)).view(np.float32).astype(np.float64)
        scale = (words & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)
        turned = v @ basis.leading.matrix.astype(np.float64)
        short = scale[:, None] * (screened.leading.codes[:60].astype(float) - 128)
        rest = np.linalg.norm(units - short @ turned.T, axis=1)
        inside = np.linalg.norm(units @ turned - short @ (turned.T @ turned), axis=1)
        lengths = np.linalg.norm(short, axis=1)
        within = reach < 2.0**30
        for row in np.intersect1d(checked, np.flatnonzero(within)):
            least = np.float32(0.99 * (rest + 3 * inside)[row]).view(np.uint32) >> np.uint32(16)
            wrong = words.copy()
            wrong[row] = words[row] & np.uint32(0xFFFF0000) | least
            wrong = screened._replace(leading=screened.leading._replace(words=wrong))
            with interpreter.small(screen___BLOCK=16):
                assert screen.first_unproved(vectors, rows.norm, basis, wrong) == row
                assert screen.first_unproved(vectors, rows.norm, basis, screened) == -1
        assert within.sum() > 40
        assert (
            reach[within & (np.arange(60) > 2)] >= (rest + 3 * inside)[within & (np.arange(60) > 2)]
        ).all()
        g = products.multiply(products_at_hand, basis.leading.matrix, 1) / np.where(
            lengths_of_rows > 0, lengths_of_rows, 1
        )
        for i in near[within[near]]:
            a, b, skew, error = g[i] @ short[i], lengths[i] ** 2, basis.leading.skew, basis.leading.error
            square = 1 - 2 * a + 2 * error * lengths[i] + (1 + skew) * b
            eta = error + np.linalg.norm(g[i] - short[i]) + skew * lengths[i] + 2**-20
            if (screened.leading.codes[i] != 128).any():
                least = math.sqrt(square) + 2**-20 + 3 * eta
                assert abs(reaches[i - 3] - least) < 2**-22
                assert least - 2**-22 <= reach[i] <= least * (1 + 2.0**-7) + 2**-22
        queries = np.concatenate([vectors[3:4], (turned[:, :2] @ [0.6, 0.8])[None].astype(np.float32)])
        units = oracle.unit(queries.astype(np.float64))
        asked = screen.few_queries(originals_of(queries, vectors), basis, 127)
        for q in range(2):
            whole, first = asked.whole, asked.first
            ghat = whole.coarse.scale[q] * whole.coarse.codes[q].astype(np.float64)
            assert whole.length[q] >= np.linalg.norm(ghat)
            assert whole.tail[q] >= np.linalg.norm(units[q] - v @ ghat)
            assert whole.coarse.error[q] >= np.linalg.norm(units[q] @ v - ghat)
            ghat = first.coarse.scale[q] * first.coarse.codes[q].astype(np.float64)
            tail = np.linalg.norm(units[q] - turned @ ghat)
            assert first.tail[q] >= max(tail, np.linalg.norm(ghat) / 3)
            assert first.length[q] == 0.0


def case_nothing_in_a_code(rng):
    """Rows and queries of which a screen sees nothing, or would be further off than by nothing."""
    vectors = hashed(4, 70, int(rng.integers(1000)))
    vectors[0, :64], vectors[1], vectors[2] = 0.0, 0.0, vectors[3] * np.float32(2.0**-70)
    norm, basis = encoded_rows(vectors).norm, screen.measured(np.eye(70, 64, dtype=np.float32), True)
    units = oracle.unit(vectors.astype(np.float64))
    inside = np.linalg.norm(units[:, :64], axis=1)
    for used, nothing in ((basis, [0, 1, 2]), (basis._replace(skew=1.0, error=0.01), [0, 1, 2, 3])):
        rows = screen.empty(4, 64, True)
        rows.encoded.codes[:] = 77
        screen.encode_rows(vectors, norm, used, rows, 1)
        coded = rows.encoded.codes[:4] != 128
        assert np.flatnonzero(~coded.any(axis=1)).tolist() == nothing
        assert (rows.encoded.scale[:4] == 0).tolist() == [i in nothing for i in range(4)]
        near = np.array([1.0, 0.0, 2.0**30]) + 2.0**-20
        np.testing.assert_allclose(rows.encoded.error[:3], near, rtol=2**-23)
        off = np.array([used.error, used.error, 0.0]) + 2.0**-20
        np.testing.assert_allclose(rows.slack[:3], off, rtol=2**-22)
        if len(nothing) == 4:
            assert rows.encoded.error[3] == np.float32(1 + 2.0**-20)
            assert abs(rows.slack[3] - (inside[3] + 0.01 + 2.0**-20)) < 2**-22
        few_ = encode.pack(vectors, 63, 16, 1)
        asked = screen.pack(vectors, few_, used, 63, 16, 1)
        assert (asked.coarse.scale[: len(nothing)] == 1.0).all()
        assert (asked.length[: len(nothing)] == 2.0**-20).all()
        np.testing.assert_allclose(asked.tail[:3], np.array([1.0, 0.0, 1.0]) + 2.0**-20, rtol=1e-12)
        off = np.array([used.error, used.error, 8.0]) + 2.0**-20
        np.testing.assert_allclose(asked.coarse.error[:3], off, rtol=1e-12)


def case_draining_of_screens(rng):
    """Rows that passed a screen: intervals, exact scores of those that may raise a threshold, and roots."""
    n, m, base = 50, 2, 5
    vectors, others = hashed(n, 20, int(rng.integers(1000))), hashed(base, 20, 9)
    queries, rows = np.ascontiguousarray(hashed(m, 20, 3)), encoded_rows(vectors)
    rows.error[:] += rng.uniform(0, 0.2, n)
    packed = encode.pack(queries, 127, 0, 1)
    asked = screen.ScreenQueries(packed, np.full(m, 0.1), np.ones(m), packed)
    block, limits = SimpleNamespace(fine=scan.rows_of(rows, base)), (1.0, 0.3, 1.0, 0.01, 0.001)
    exclusions = filters.Exclusions.of_runs(np.array([0, 2, 3]), np.array([3, 9, 30]) + base)
    for metric, k, at_hand in (
        ("cosine", 3, True),
        ("euclidean", 1, True),
        ("dot", 2, False),
        ("dot", 0, True),
    ):
        originals = originals_of(queries, np.concatenate([others, vectors]))
        exact = oracle.scores(queries, vectors, metric)
        if not at_hand:
            nothing = np.empty(0, np.int64)
            originals = originals._replace(vectors=matrix.Matrix(np.zeros(1, np.int64), nothing, nothing))
        state = log.new_state(m, 16, k, 1000)
        hits = [(q, i) for i in rng.permutation(n) for q in range(m)]
        ends = {}
        for q, i in hits:
            integer = (rows.codes[i].astype(int) - 128) @ packed.codes[q].astype(int)
            cosine = integer * (packed.scale[q] * np.float64(rows.scale[i]))
            error = bound.cosine_error(packed.error[q], np.float64(rows.error[i]))
            ends[q, i] = metrics.interval(metric, cosine, error, packed.norm[q], rows.norm[i])
        state.cursor[log.PASSED] = 100
        for q in range(m):  # an upper end that equals the root stays
            state.root[q] = sorted(ends[q, i][1] for i in range(n))[n // 3 * (q + 1)]
        state.query[0], state.row[0], state.cursor[[log.COUNT, log.DRAINED]] = 1, 777, 1  # drained before
        for q, i in hits:
            log.append(state, q, i, 0)
        closed = {(q, row - base) for q in range(m) for row in excluded_rows(exclusions, q)}
        kept = [hit for hit in hits if ends[hit][1] >= state.root[hit[0]] and hit not in closed]
        root, floors, wanted = state.root.copy(), [[-np.inf] * k for _ in range(m)], []
        for q, i in kept:
            low, up = ends[q, i]
            if k and at_hand and low + up > 2 * root[q]:
                low = up = exact[q, i]
            wanted.append((q, base + i, low, up))
            if k:
                floors[q] = sorted([*floors[q], low])[1:]
                root[q] = max(root[q], floors[q][0])
        raised = [bool(root[q] > state.root[q]) for q in range(m)]
        screen._drain("screen", "generic", metric, (block, asked, exclusions, originals), state, limits)
        assert entries(state)[1:] == wanted
        assert (state.query[0], state.row[0]) == (1, 777)
        assert state.root.tolist() == root.tolist()
        assert [sorted(floor) for floor in state.floor.tolist()] == floors
        assert raised == [k > 0] * m
        for q in range(m):
            theta = screen._theta(metric, q, asked, root[q], limits)[0] if k else np.inf
            assert state.threshold[q] == theta
        counts = state.cursor[[log.COUNT, log.DRAINED, log.PASSED, log.STALE]]
        assert counts.tolist() == [len(wanted) + 1, len(wanted) + 1, 100 + len(hits), -1]
        if at_hand and k:  # a row that was written to
            changed = next(i for q, i in kept if q == 1)
            some = np.concatenate([others, vectors])
            some[base + changed] += 50.0
            state.root[:], state.cursor[log.COUNT] = -np.inf, state.cursor[log.DRAINED]
            log.append(state, 1, changed, 0)
            screen._drain(
                "screen",
                "generic",
                metric,
                (block, asked, exclusions, originals_of(queries, some)),
                state,
                limits,
            )
            assert state.cursor[log.STALE] == base + changed
    for passed, narrowed, gives_up in ((1100, 0, False), (1101, 0, True), (0, 1200, False), (0, 1201, True)):
        state.cursor[[log.PASSED, log.NARROWED, log.SEEN]] = passed, narrowed, 0
        screen._saw("screen", state, 600)
        screen._saw("screen", state, 400)
        assert state.cursor[log.SEEN] == 1000
        with interpreter.small(screen___PATIENCE=1000):
            assert screen._gives_up("screen", SimpleNamespace(most=0.1, most_leading=0.2), state) == gives_up


def excluded_rows(exclusions, q):
    return [row for row in range(100) if filters.excluded(exclusions, q, row)]


def case_narrowing(rng):
    """Hits of leading codes stay where the upper end of all of the screen's codes reaches the root."""
    dims, p, n = 70, 64, 40
    vectors = hashed(n, dims, int(rng.integers(1000)))
    basis = screen.measured(np.linalg.qr(rng.standard_normal((dims, p)))[0].astype(np.float32), True)
    rows = encoded_rows(vectors)
    block = with_screen(vectors, rows, basis, 1.0, 1.0)
    coarse = block.coarse
    asked = screen.few_queries(originals_of(hashed(2, dims, 5), vectors), basis, 127).whole
    packed = asked.coarse
    for metric in metrics.BOUNDED:
        upper = np.empty((2, n))
        for q in range(2):
            for i in range(n):
                integer = (coarse.codes[i].astype(int) - 128) @ packed.codes[q].astype(int)
                slack = np.float64(block.slack[i])
                error = packed.error[q] * (1 + basis.skew + slack) + asked.length[q] * slack
                error += asked.tail[q] * np.float64(coarse.error[i])
                cosine = integer * (packed.scale[q] * np.float64(coarse.scale[i]))
                upper[q, i] = metrics.interval(metric, cosine, error, packed.norm[q], rows.norm[i])[1]
        for rank in (0, 5, n - 1):
            for above in (-(2.0**-40), 0.0, 2.0**-40):
                state = log.new_state(2, 2, 1, 1000)
                for q in range(2):
                    root = np.sort(upper[q])[rank]
                    state.root[q] = root + abs(root) * above
                    for i in range(n):
                        log.append(state, q, i, 0)
                screen.narrow("generic", metric, block, asked, state)
                count = state.cursor[log.COUNT]
                got = set(zip(state.query[:count].tolist(), state.row[:count].tolist(), strict=True))
                for q in range(2):
                    for i in range(n):
                        assert ((q, i) in got) == (upper[q, i] >= state.root[q])
                assert state.cursor[log.NARROWED] == 2 * n


def case_seeding(rng):
    """A threshold before a scan: the least of k exact scores of rows that may be returned, or none."""
    n, dims, k = 30, 9, 4
    vectors, queries = hashed(n, dims, int(rng.integers(1000))), np.ascontiguousarray(hashed(2, dims, 3))
    rows, packed = encoded_rows(vectors), encode.pack(queries, 127, 0, 1)
    rows.error[:] += rng.permutation(np.linspace(0, 0.9, n))  # so that ends are in another order than middles
    base, others = 3, hashed(3, dims, 9)  # rows of another block come first
    holder = SimpleNamespace(fine=scan.rows_of(rows, base))
    integer = (rows.codes[:n].astype(int) - 128) @ packed.codes[1].astype(int)
    cosine = integer * (packed.scale[1] * rows.scale[:n].astype(np.float64))
    error = bound.cosine_error(packed.error[1], rows.error[:n].astype(np.float64))
    for metric, at_hand in (("dot", True), ("euclidean", True), ("dot", False), ("euclidean", False)):
        exact = oracle.scores(queries, vectors, metric)[1]
        ends = [metrics.interval(metric, cosine[i], error[i], packed.norm[1], rows.norm[i]) for i in range(n)]
        lower, upper = np.array(ends).T
        originals = originals_of(queries, np.concatenate([others, vectors]))
        if not at_hand:
            nothing = np.empty(0, np.int64)
            originals = originals._replace(vectors=matrix.Matrix(np.zeros(1, np.int64), nothing, nothing))
        for count in (k - 1, k, 12):
            state, likely = log.new_state(2, 2, k, 1000), rng.permutation(n)[:count]
            nearest = exact[
                likely
            ].argmax()  # where a number of a query or a place might be taken for another
            likely[[1, nearest]] = likely[[nearest, 1]]
            seeds.raise_root("generic", metric, holder, packed, originals, state, 1, likely)
            assert state.root[0] == -np.inf
            if count < k:
                assert state.root[1] == -np.inf
                continue
            best = likely[np.argsort(-(lower + upper)[likely])[:k]]
            assert state.root[1] == (exact if at_hand else lower)[best].min()
            assert state.cursor[log.STALE] == -1
            state.root[1] = 1e9
            seeds.raise_root("generic", metric, holder, packed, originals, state, 1, likely)
            assert state.root[1] == 1e9
            if at_hand:  # a row that was written to
                vectors[best[1]] += 50.0
                changed = originals_of(queries, np.concatenate([others, vectors]))
                seeds.raise_root("generic", metric, holder, packed, changed, state, 1, likely)
                assert state.cursor[log.STALE] == base + best[1]
                vectors[best[1]] -= 50.0
    exclusions = filters.Exclusions.of_runs(np.array([0, 0, 3]), np.array([2, 5, 7]) + base)
    likely = np.array([5, 1, 2, 9, 7])
    assert seeds._without_excluded(holder, exclusions, 1, likely, 4) == 2
    assert likely[:2].tolist() == [1, 9]
    # By leading codes: the best of them by all codes, and of these the rows that may be returned.
    for by_leading in (False, True):
        state, seen = log.new_state(2, 2, k, 1000), []
        heap = seeds.Likely(np.zeros((2, 9)), np.tile([5, 1, 2, 9, 7, 8, 3, 4, 0], (2, 1)), np.array([9, 7]))

        def best(*given, seen=seen):
            seen.append(given)
            return 6

        with (
            mock.patch.object(seeds, "best_by_screen", best),
            mock.patch.object(seeds, "raise_root", lambda *given, seen=seen: seen.append(given)),
        ):
            block, asked = (
                SimpleNamespace(fine=holder.fine, coarse="a"),
                SimpleNamespace(coarse="b", fine="c"),
            )
            seeds.from_likely(
                "generic", "dot", block, asked, exclusions, originals, state, 1, heap, by_leading
            )
        *given, found = seen[-1]
        assert given == ["generic", "dot", block, "c", originals, state, 1]
        assert found.tolist() == ([1, 9, 8] if by_leading else [1, 9, 8, 3])
        if by_leading:
            *given, _, size, most = seen[0]
            assert given == ["generic", "dot", "a", "b", 1]
            assert (size, most) == (7, k + 4)


def case_pivots(rng):
    """Thresholds of many queries: the best of all neighbors of pivots, each once, that may be returned."""
    n, m, base = 40, 3, 5
    vectors, queries = hashed(n, 9, int(rng.integers(1000))), hashed(m, 9, 1)
    rows, packed = encoded_rows(vectors), encode.pack(queries, 127, 16, 1)
    allowed = rng.random(base + n) < 0.7
    block = SimpleNamespace(fine=scan.rows_of(rows, base), coarse=scan.rows_of(rows, base, allowed))
    asked = screen.ScreenQueries(packed, np.zeros(m), np.ones(m), packed)
    pivots = seeds.Pivots(scan.rows_of(encoded_rows(vectors[:4]), 0), rng.integers(0, n, (4, 12), np.int32))
    runs = np.cumsum([0, 3, 0, 4]), rng.integers(base, base + n, 7)
    exclusions = filters.Exclusions.of_runs(*runs)
    for m, k, probes, work in ((3, 1, 4, 1 << 29), (3, 2, 4, 1), (1, 2, 4, 1), (3, 1, 5, 1 << 29)):
        state, seen = log.new_state(m, 16, k, 10_000), {}

        def keep(scorer, metric, rows, queries, originals, state, q, likely, seen=seen):
            assert queries.codes.ctypes.data == packed.codes.ctypes.data
            seen[q] = likely.tolist()

        with (
            mock.patch.object(seeds, "raise_root", keep),
            interpreter.small(seeds___PROBES=probes, seeds___WORK=work, tiles__CHUNK=64, tiles__PANEL=32),
        ):
            seeds.from_pivots(block, pivots, asked.part(0, m), exclusions, None, state, "dot", GENERIC)
        if probes > 4:
            assert not seen
            continue
        assert list(seen) == list(range(m))
        open_ = [i for i in np.unique(pivots.neighbors) if allowed[base + i]]
        integer = packed.codes[:m].astype(int) @ (rows.codes[:n].astype(int) - 128).T
        scores = integer * packed.scale[:m, None] * (rows.scale[:n].astype(np.float64) * rows.norm)
        for q in range(m):
            best = sorted(open_, key=lambda i, q=q: -scores[q, i])[: 4 * k]
            closed = set(runs[1][runs[0][q] : runs[0][q + 1]].tolist())
            assert sorted(seen[q]) == sorted(i for i in best if base + i not in closed)


def case_lengths(rng):
    """Chunks of very different lengths and errors: every term of a threshold is that of its own chunk."""
    small = {"tiles__CHUNK": 64, "tiles__PANEL": 32, "scan___SEGMENT": 256}
    for metric in metrics.BOUNDED:
        for width in (0, 64):
            vectors = gaussian(150, 72, int(rng.integers(1000)))
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            at = np.repeat([0, 1, 2], 64)[:150]
            lengths = rng.permutation([1.0, 1000.0, 0.03])[at]
            vectors = (vectors * lengths[:, None] * rng.uniform(0.9, 1.1, (150, 1))).astype(np.float32)
            vectors[at == rng.integers(0, 3), :2] *= 40  # codes of these lose more
            queries = np.concatenate([vectors[rng.integers(0, 150, 16)], gaussian(2, 72, 1)])
            with interpreter.small(**small):
                index = fastvec.Index(vectors, metric=metric, screen=width or "off")
                for m in (1, 18):
                    some = np.ascontiguousarray(queries[-m:])
                    expected = oracle.knn(some, vectors, 5, metric)
                    assert_same_topk(index.search(some, 5, num_threads=1), expected)


def case_gathered(rng):
    """Rows that a filter leaves over are gathered, from all blocks, to the last."""
    from fastvec.kernels import cost

    vectors = mixed(200, 20, int(rng.integers(1000)))
    with (
        mock.patch.object(blocks, "BLOCK", 16),
        mock.patch.object(cost, "gathering_pays", return_value=True),
    ):
        index = fastvec.Index(vectors[:120])
        for start in range(120, 200, 40):
            index.add(vectors[start : start + 40])
        only = np.arange(200) == 130  # a piece of a single row
        assert_same_topk(
            index.search(vectors[:3], 2, where=only), oracle.knn(vectors[:3], vectors, 2, where=only)
        )
        for share in (0.9, 0.2):
            mask = rng.random(200) < share
            mask[[0, 119, 120, 199]] = True
            queries = vectors[[0, 119, 120, 199]]
            for m in (1, 4):
                expected = oracle.knn(queries[:m], vectors, 3, where=mask)
                for threads in (1, 2):
                    assert_same_topk(index.search(queries[:m], 3, where=mask, num_threads=threads), expected)
                least = float(expected.scores[0, 1])
                found, _ = index.range_search(queries[-1], least, where=mask), index
                scores = oracle.publish(oracle.scores(queries[-1:], vectors)[0])
                assert (
                    sorted(found.indices.tolist())
                    == np.flatnonzero(mask & (scores >= np.float32(least))).tolist()
                )


def case_direct(rng):
    """The direct pass, with masks, exclusions and several threads: ties stand at every border."""
    for metric in metrics.TABLE:
        vectors = np.repeat(mixed(40, 21, int(rng.integers(1000))), 3, axis=0)
        n = len(vectors)
        for m, k in ((1, int(rng.choice([1, 3, 7]))), (3, n), (5, 3), (7, int(rng.choice([1, 7])))):
            queries = related(vectors, m, int(rng.integers(1000)))
            allowed = rng.random(n) < 0.8 if rng.random() < 0.7 else np.empty(0, np.bool_)
            counts = (3 - np.arange(m)) % 4  # so that heaps of all rows are of different sizes
            exclude = [rng.choice(n, count, replace=False).tolist() for count in counts]
            runs = np.append(0, np.cumsum(counts)), np.concatenate(exclude).astype(np.int64)
            out = np.empty((m, k), np.float32), np.empty((m, k), np.int64)
            with (
                mock.patch.object(threads, "_FIRST_WORK", int(rng.choice([1, 1 << 26]))),  # in paces or not
                mock.patch.object(direct.cost, "sharing_rows_pays", return_value=bool(rng.integers(2))),
                interpreter.small(direct___ROWS_BYTES=1024, direct___SHARE=512),
            ):
                direct.search(
                    np.arange(m),
                    queries,
                    matrix.of([vectors[:50], vectors[50:]]),
                    21,
                    metric,
                    filters.Filters(allowed, filters.Exclusions.of_runs(*runs)),
                    *out,
                    2,
                )
            where = allowed if len(allowed) else None
            assert_same_topk(
                fastvec.TopK(*out), oracle.knn(queries, vectors, k, metric, None, where, exclude)
            )
    # The best rows come last, when products leave nearly all rows out.
    rows = hashed(90, 21, int(rng.integers(1000)))
    for m in (1, 5, 7):
        queries, out = rows[:-9:-1][:m].copy(), (np.empty((m, 1), np.float32), np.empty((m, 1), np.int64))
        none = filters.Filters(NONE, no_exclusions(m))
        with interpreter.small(direct___ROWS_BYTES=1024, direct___SHARE=512):
            direct.search(np.arange(m), queries, matrix.of([rows]), 21, "cosine", none, *out, 1)
        assert out[1][:, 0].tolist() == list(range(89, 89 - m, -1))
    queries = related(vectors, m, 3)
    vectors[17, 3] = np.nan
    assert direct.search(np.arange(m), queries, matrix.of([vectors]), 21, "dot", none, *out, 1) == 17


def case_products(rng):
    """3CosMul where many scores are equal but for some bits: float32 alone would leave rows out."""
    for dims in (7,):
        base = hashed(6, dims, int(rng.integers(1000)))
        near = base[rng.integers(0, 6, 90)] + rng.standard_normal((90, dims)).astype(np.float32) * np.float32(
            1e-6
        )
        vectors = np.concatenate([base, near.astype(np.float32)])
        positive = [rng.choice(6, 2, replace=False).tolist() for _ in range(6)]
        negative = [rng.choice(6, int(count)).tolist() for count in (1, 1, 2, 3, 0, 1)]
        for k in (1, 4):
            expected = oracle.analogy(vectors, positive, negative, k, "3cosmul")
            found = fastvec.analogy(vectors, positive, negative, k, method="3cosmul", num_threads=2)
            assert_same_topk(found, expected)
    # Rows opposite to a word: a half is far smaller than what float32 loses of its cosine.
    along, noise = gaussian(1, 130, 1), gaussian(400, 130, int(rng.integers(1000)))
    for size in (1e-3, 3e-4, 1e-4):
        vectors = np.concatenate([along, np.float32(size) * noise - along])
        for positive, negative in (([0], []), ([0, 0], [0])):
            expected = oracle.analogy(vectors, [positive], [negative], 3, "3cosmul")
            found = fastvec.analogy(vectors, [positive], [negative], 3, method="3cosmul", num_threads=1)
            assert_same_topk(found, expected)


def case_few(rng):
    """Few queries: which of them threads could not finish, and memory that threads keep."""
    vectors = hashed(150, 33, int(rng.integers(1000)))
    queries = np.ascontiguousarray(vectors[:2] + vectors[2:4])
    for k in (1, 4):
        index = fastvec.Index(vectors)
        for round_ in range(2):
            expected = oracle.knn(queries[round_:], vectors, k)
            assert_same_topk(index.search(queries[round_:], k, num_threads=1), expected)
            assert_same_topk(index.search(queries[round_:], k, num_threads=3), expected)
            mask = rng.random(150) < 0.6  # another one for each search
            expected = oracle.knn(queries, vectors, k, where=mask)
            assert_same_topk(index.search(queries, k, where=mask, num_threads=1), expected)
    # Indexes that are coded differently, in turn, on one thread.
    made = []
    for seed, lead in ((1, 64), (2, 128)):
        rows = sharing(60, 33, seed)
        along = direction.measured(mean_of(rows), lead)
        with mock.patch.object(directions, "direction_for", return_value=along):
            made.append((rows, fastvec.Index(rows)))
    for seed in (1, 2):
        rows = np.roll(decaying(60, 70, seed), 35 * seed, axis=1)
        made.append((rows, fastvec.Index(rows, screen=64)))
    for _ in range(2):
        for rows, index in made:
            query = rows[:1] + rows[1:2]
            assert_same_topk(index.search(query, 3, num_threads=1), oracle.knn(query, rows, 3))
    # More hits than a log may hold, as every row is better than those before.
    angles = np.linspace(1.5, 0.0, 360)[:, None]
    ties = (np.cos(angles) * hashed(1, 33, 3) + np.sin(angles) * hashed(1, 33, 4)).astype(np.float32)
    query = hashed(1, 33, 3)
    sizes = {"log__CAPACITY": 64, "log___ALWAYS_KEPT": 200, "log___SLACK": 140}
    with interpreter.small(**sizes, tiles__CHUNK=64, tiles__PANEL=32):
        index = fastvec.Index(ties, screen="off")
        for k in (1, 3):
            assert_same_topk(index.search(query, k, num_threads=1), oracle.knn(query, ties, k))
        with interpreter.small(log__CAPACITY=256):  # in tiles
            many = np.repeat(query, 16, axis=0)
            assert_same_topk(index.search(many, 1, num_threads=1), oracle.knn(many, ties, 1))
    # What one thread says of a query, and another one of another.
    heaps = [topk.Heaps.empty(2, 1) for _ in range(2)]
    said = [
        (heaps[0], np.array([True, False]), [1, 2, 3, 4, -1]),
        (heaps[1], np.array([False, True]), [10, 20, 30, 40, 7]),
    ]
    piece = scan.Piece(0, 150, scan.rows_of(encoded_rows(vectors), 0))
    with mock.patch.object(few.threads, "run", return_value=said):
        outcome = few.search(
            [few.ready(piece, None, None, None)],
            few.whole(matrix.of([vectors]), NONE),
            queries,
            1,
            "cosine",
            GENERIC,
            no_exclusions(2),
            2,
        )
    assert outcome.left.tolist() == [True, True]
    assert outcome[3:] == (11, 22, 33, 44, 7)
    for row in (0, 1):  # not finite any more
        wrong = queries.copy()
        wrong[row, 32] = np.inf
        with raises(RuntimeError, "queries changed"):
            few.search(
                [few.ready(piece, None, None, None)],
                few.whole(matrix.of([vectors]), NONE),
                wrong,
                1,
                "cosine",
                GENERIC,
                no_exclusions(2),
                1,
            )


def case_ranking_of_few(rng):
    """Of few queries: which entries are ranked, which query is left to others, and what is counted."""
    n, m, k = 30, 2, 3
    vectors, queries = hashed(n, 9, int(rng.integers(1000))), np.ascontiguousarray(hashed(m, 9, 1))
    exact = oracle.scores(queries, vectors, "dot")
    query, row = np.divmod(rng.permutation(m * n), n)
    for spread, root, over, gone, publish in (
        (1.0, -np.inf, 0, False, 1),
        (1.0, -np.inf, 1, False, 1),
        (0.0, None, 0, False, 0),
        (1e-3, None, 0, True, 1),
        (1e-3, None, n - 2 * k, False, 1),
        (1e-3, None, n - 2 * k + 1, False, 1),
    ):
        memory = few._new_memory(m, 9, k, m * n, encode.room_for(m, 9))
        memory.queries[:], memory.scores[:], memory.indices[:] = queries, 7.0, 7
        memory.left[:], memory.heaps.sizes[:], state = True, 9, memory.state
        state.root[:], state.cursor[:] = 5.0, 5
        originals = few._originals(memory, matrix.of([vectors]))
        assert few._begin(originals, memory)
        assert not memory.left.any()
        assert not memory.heaps.sizes.any()
        assert (state.cursor == memory.cursor).all()
        np.testing.assert_array_equal(memory.squares, oracle.lane_sum(queries.astype(np.float64) ** 2))
        scores = exact[query, row]
        state.query[:], state.row[:], state.lower[:], state.upper[:] = (
            query,
            row,
            scores - spread,
            scores + spread,
        )
        state.cursor[[log.COUNT, log.SEEN, log.PASSED, log.STALE]] = m * n, 70, 50, -1
        state.cursor[log.LIMIT], state.left[1] = n - over, gone
        if root is None:  # an upper end that equals it stays
            state.root[:] = np.sort(exact + spread, axis=1)[:, -2 * k]
        few._rank("dot", originals, state, memory, publish)
        keeps_more = (n if root is not None else 2 * k) > n - over
        left = [keeps_more, keeps_more or gone]
        assert memory.left.tolist() == left
        total, scored, *others = memory.counts.tolist()
        assert (total, others) == (m * n, [70, 50, -1, sum(left)])
        assert (k if spread else 0) * (m - sum(left)) <= scored <= n * (m - sum(left))
        for q in range(m):
            best = np.argsort(-exact[q])[:k]
            size = memory.heaps.sizes[q]
            assert size == (0 if left[q] else k)
            found = memory.heaps.rows[q, :size].tolist()
            if publish and not left[q]:
                assert found == memory.indices[q].tolist() == best.tolist()
                np.testing.assert_array_equal(memory.scores[q], oracle.publish(exact[q, best]))
            else:
                assert set(found) <= set(best.tolist())
                assert (memory.indices[q] == 7).all()
    # A row that was written to; and a query that is not finite.
    state.left[:], memory.left[:], state.cursor[log.LIMIT] = False, False, n
    few._rank("dot", originals._replace(vectors=matrix.of([vectors + 1])), state, memory, 1)
    assert memory.counts[4] >= 0
    for q in range(m):
        memory.queries[:] = queries
        memory.queries[q, 8] = np.nan
        assert not few._begin(originals, memory)


def case_kept_memory(rng):
    """A thread keeps memory of the last few sizes, if it is small, and what was written down of a piece."""
    vectors, queries = hashed(40, 9, int(rng.integers(1000))), np.ascontiguousarray(hashed(2, 9, 1))
    rows = encoded_rows(vectors)
    piece = scan.Piece(0, 40, scan.rows_of(rows, 0))
    known = few.ready(piece, None, None, None)
    assert (known.start, known.stop, known.basis, known.along) == (0, 40, None, None)
    grown = few.ready(piece._replace(start=3, stop=30), known, None, None)
    assert grown.rows is known.rows
    assert (grown.start, grown.stop) == (3, 30)
    basis = screen.measured(np.eye(9, 64, dtype=np.float32))
    screened = piece._replace(screened=with_screen(vectors, rows, basis, 1.0, 1.0))
    for other, known_of, own in (
        (piece._replace(rows=piece.rows._replace(base=1)), known, None),
        (piece._replace(rows=piece.rows._replace(error=rows.error.copy())), known, None),
        (screened, known, basis),
        (piece, few.ready(screened, None, basis, None), basis),
    ):
        made = few.ready(other, known_of, own, None)
        assert made.rows is not known_of.rows
        assert made.basis is (own if other.screened else None)
    made = few.ready(screened, None, basis, None)
    assert few.ready(screened, made, basis, None).rows is made.rows
    whole = few.whole(matrix.of([vectors]), NONE)
    numbers = rng.permutation(40)

    def search(pieces, k, count=0, used=1):
        offsets = np.array([0, count // 2, count])
        own = [np.sort(numbers[a:b]) for a, b in ((0, count // 2), (count // 2, count))]
        exclusions = filters.Exclusions(offsets, np.concatenate(own), filters.NO_MASK)
        found = few.search(pieces, whole, queries, k, "dot", GENERIC, exclusions, used)
        expected = oracle.knn(queries, vectors, k, "dot", exclude=[some.tolist() for some in own])
        assert_same_topk(fastvec.TopK(found.scores, found.indices), expected)
        assert found.candidates >= 2 * k
        assert len(found.left) == 0

    few._kept.memory.clear()
    for k in (1, 2, 3, 4, 5, 3, 6):
        search([known], k)
    assert [size[2] for size in few._kept.memory] == [4, 5, 3, 6]
    for bytes_, kept in ((0, 0), (log.nbytes(next(iter(few._kept.memory.values())).native.record.state), 1)):
        few._kept.memory.clear()
        with interpreter.small(few___KEPT_BYTES=bytes_):
            search([known], 4)
        assert len(few._kept.memory) == kept
    for count in (0, 1, 31, 32, 33, 40):  # in the memory's room for runs, or beside it
        search([known], 2, count)
        search([known], 2, count, 2)
    # Answers are no part of that memory; nor is what is said of queries that keep too many rows.
    mask = rng.random((2, 40)) < 0.5
    exclusions = no_exclusions(2)._replace(mask=mask)
    given = whole, queries, 2, "dot", GENERIC
    found = [few.search([known], *given, exclusions, used) for used in (1, 2)]
    expected = oracle.knn(queries, vectors, 2, "dot", where=mask)
    few.search([known], whole, -queries, 2, "dot", GENERIC, exclusions, 1)
    for some in found:
        assert_same_topk(fastvec.TopK(some.scores, some.indices), expected)
    same = few.ready(
        scan.Piece(0, 40, scan.rows_of(encoded_rows(vectors[:1].repeat(40, 0)), 0)), None, None, None
    )
    alike = few.whole(matrix.of([vectors[:1].repeat(40, 0)]), NONE)
    few._kept.memory.clear()
    with interpreter.small(log___ALWAYS_KEPT=0):
        left = few.search([same], alike, queries, 1, "dot", GENERIC, no_exclusions(2), 1).left
        assert left.tolist() == [True, True]
        few.search([known], *given[:2], 1, "dot", GENERIC, exclusions, 1)
    assert left.tolist() == [True, True]
    cut = [known._replace(stop=17), few.ready(piece._replace(start=17), None, None, None)]
    gives_up = piece._replace(screened=with_screen(vectors, rows, basis, -1.0, -1.0))
    other = few.ready(gives_up, None, basis, None)
    for used in (1, 2, 5):
        with interpreter.small(tiles__PANEL=16, tiles__CHUNK=16, scan___SEGMENT=16, screen___PATIENCE=1):
            for pieces in (cut, [made], [other]):
                search(pieces, 3, 6, used)


class Near(shards.Here):
    """Shards of this process that are asked as far ones are: with few queries at a time."""

    near, most = False, 300


def nothing_in_shards(dims):
    """An Index of two shards that have no rows."""
    none = np.empty((0, dims), np.float32)
    made = [shard.of_blocks([none], [(0, 0)], metric="cosine", screen="off") for _ in range(2)]
    return fastvec.Index._of(_snapshot.Snapshot(shards.store_of(Near(made))), "cosine")


def case_shards(rng):
    """Shards whose runs of rows alternate, of which some are empty, answer as one Index does."""
    vectors, dims, n = np.repeat(mixed(30, 21, int(rng.integers(1000))), 2, axis=0), 21, 60
    # Scores that differ in float64 alone, in the order of falling rows.
    vectors[[50, 33, 14], :2], vectors[[50, 33, 14], 2:] = (1.0, 2.0**-24), 0.0
    vectors[[33, 14], 1] = 2.0**-25, 2.0**-26
    runs = [[(0, 7), (20, 8), (28, 2)], [], [(7, 13), (40, 15)], [(30, 10), (55, 5)]]
    along = np.zeros((1, dims), np.float32)
    along[0, :2] = 1.0
    queries = np.concatenate([along, related(vectors, 6, int(rng.integers(1000)))])
    exclude = [rng.choice(n, int(count), replace=False).tolist() for count in (0, 3, 9, 1, 0, 4, 2)]
    for metric in ("dot", "cosine", "manhattan"):

        def made(some, metric=metric, rows=vectors):
            blocks = [rows[first : first + count] for first, count in some] or [rows[:0]]
            return shard.of_blocks(blocks, some or [(0, 0)], metric=metric, screen="off")

        store = shards.store_of(Near(list(map(made, runs))))
        assert [layout.rows for layout in store.layouts] == [17, 0, 28, 15]
        assert len(store.layouts[0].first) == 2
        index = fastvec.Index._of(_snapshot.Snapshot(store), metric)
        numbers = rng.permutation(n)[:20]
        assert_same_bits(store.fetch(numbers), vectors[numbers])
        options = {"where": rng.random(n) < 0.7, "exclude": exclude}
        for some in ({}, options, {**options, "where": rng.random((7, n)) < 0.6, "dims": 9}):
            expected = oracle.knn(queries, vectors, 9, metric, **some)
            assert_same_topk(index.search(queries, 9, **some), expected)
        assert_same_topk(index.search(queries, 70), oracle.knn(queries, vectors, 70, metric))
        alone = fastvec.Index._of(_snapshot.Snapshot(shards.store_of(Near([made([(0, n)])]))), metric)
        assert_same_topk(alone.search(queries, 4), oracle.knn(queries, vectors, 4, metric))
        mask = rng.random(n) < 0.5
        request = index._rows.now().request(queries[1:], 9, metric=metric)
        assert store._batches(request) == [(0, 3), (3, 6)]  # of 84 bytes a query
        masks = [layout.cut(mask) for layout in store.layouts]
        assert_same_topk(
            store.search(request, masks), oracle.knn(queries[1:], vectors, 9, metric, where=mask)
        )
        scores = oracle.scores(queries, vectors, metric)
        least = np.float32(np.sort(oracle.publish(scores), axis=None)[-90])
        assert_ranges(index.range_search(queries, least), scores, least)
    index = fastvec.Index._of(_snapshot.Snapshot(store), "cosine")
    positive = [rng.integers(0, n, count).tolist() for count in (1, 2, 3, 1, 2)]
    negative = [rng.integers(0, n, count).tolist() for count in (1, 0, 2, 2, 1)]
    for method, where in itertools.product(("3cosadd", "3cosmul"), (None, np.arange(n) < 5)):
        expected = oracle.analogy(vectors, positive, negative, 5, method, where=where)
        assert_same_topk(index.analogy(positive, negative, 5, method=method, where=where), expected)
    assert shards.first_numbers([("dot", 3, 9), ("dot", 0, 9), ("dot", 4, 9)]) == [0, 3, 3]
    for other, said in (
        (("cosine", 4, 9), "b has metric='cosine', and a 'dot'"),
        (("dot", 4, 8), "b has vectors of 8 dims, and a of 9"),
    ):
        with raises(ValueError, said):
            shards.metric_of(["a", "b"], [("dot", 3, 9), other])
    assert_same_bits(shards._published(np.array([-0.0, -1e-60])), np.zeros(2, np.float32))
    for some, asked in ((index, queries[:0]), (nothing_in_shards(dims), queries)):
        assert_same_topk(some.search(asked, 2), fastvec.Index(vectors[:0]).search(asked, 2))
        nothing = np.zeros(len(asked) + 1, np.int64), np.empty(0, np.float32), np.empty(0, np.int64)
        for actual, wanted in zip(some.range_search(asked, -2.0), nothing, strict=True):
            assert_same_bits(actual, wanted)
    with mock.patch.object(Near, "most", 1):
        assert_same_topk(index.search(queries, 3), oracle.knn(queries, vectors, 3))
    with raises(ValueError, "vectors have 9 and 21 dimensions"):
        shards.store_of(Near([*store.team.shards, *nothing_in_shards(9)._store.team.shards]))
    bad = vectors.copy()
    bad[44, 3] = np.nan
    with raises(ValueError, "row 44"):
        made(runs[2], rows=bad)
    with raises(ValueError, "vectors from row 1,007 on: 3 rows came where 4 were announced"):
        shard.once(bad[:3], (1007, 4))
    with raises(TypeError, "vectors has dtype bool"):
        shard.once(bad[:3] > 0, (0, 3))
    beyond = shard.Layout.of([(2, 3 << 30), (5 << 30, 2)])
    assert beyond.numbers(np.array([0, -1, 3 << 30])).tolist() == [2, -1, 5 << 30]
    wide = mixed(40, 65, 1)
    for metric, has in (("cosine", True), ("manhattan", False)):
        made_here = shard.of_blocks([wide], [(0, 40)], metric=metric, screen=64)
        assert (made_here.rows.store.screening is not None) is has


def case_shards_of_changed_rows(rng):
    """A shard whose rows are those left of an Index: places of a shard, positions and numbers all differ."""
    vectors = hashed(40, 9, int(rng.integers(1000)))
    index = fastvec.Index(vectors)
    index.remove([0, 3, 17])
    index.replace([5], -vectors[5:6])
    index.compact()
    left = index.vectors.copy()
    index.remove([1, 2, 30])
    left = np.delete(left, [1, 2, 30], axis=0)
    rows = index._rows.now()
    numbers = np.full(rows.top, -1)
    numbers[rows.numbered(rows.order)] = np.arange(len(left))
    renumbered = _snapshot.Snapshot(
        rows.store,
        open_=rows.open,
        numbers=numbers[rows.numbered(np.arange(rows.store.rows))],
        places=rows.order,
        top=len(left),
    )
    parts = [
        shard.of_blocks([vectors], [(0, 40)], metric="cosine", screen="off"),
        shard.Shard(renumbered, shard.Layout.of([(40, len(left))])),
    ]
    every = np.concatenate([vectors, left])
    found = fastvec.Index._of(_snapshot.Snapshot(shards.store_of(Near(parts))), "cosine")
    queries = related(every, 5, int(rng.integers(1000)))
    assert_same_topk(found.search(queries, 6), oracle.knn(queries, every, 6))
    changed = mock.patch.object(rows.store, "search", side_effect=base.RowChangedError(4))
    said = f"row {40 + int(rows.order.searchsorted(4))} "
    with changed, raises(RuntimeError, said):
        found.search(queries[0], 1)

    def scored(query, positions, originals, *how):
        """As if a row had changed after the search of its shard."""
        exact, bad = rescore.score_pairs(query, positions, originals, *how)
        return exact, 4 if originals.vectors.rows == rows.store.rows else bad

    for ask in (
        lambda: found.search(queries, 3),
        lambda: found.range_search(queries, 0.5),
        lambda: found.analogy([1], [2], method="3cosmul"),
    ):
        with (
            mock.patch.object(shard, "rescore", SimpleNamespace(score_pairs=scored)),
            raises(RuntimeError, said),
        ):
            ask()
    found.verify()
    rows.store.blocks[0].vectors[4] += 1
    with raises(RuntimeError, said):
        found.verify()


def case_missing(rng):
    """Lists of row numbers of which some are −1, to the last row."""
    vectors = gaussian(20, 5, int(rng.integers(1000)))
    exclude = np.array([[3, -1, 0], [-1, -1, 19], [7, 2, -1]])
    expected = oracle.knn(vectors[:3], vectors, 18, exclude=exclude)
    assert_same_topk(fastvec.knn(vectors[:3], vectors, 18, exclude=exclude), expected)
    for wrong in ([20], [-2], list(range(40))):
        with raises(IndexError, "must be from"):
            fastvec.knn(vectors[0], vectors, 1, exclude=wrong)


def case_verified(rng):
    """A damaged row of a later block is named by its number; integers are compared with their codes, too."""
    vectors = decaying(80, 70, int(rng.integers(1000)))
    with mock.patch.multiple(blocks, LOT=4, BLOCK=16):
        index = fastvec.Index(vectors[:40], screen=64)
        index.add(vectors[40:])
        index.verify()
        added = index._store.blocks[1]
        assert added.screened_rows == 40
        added.screened.encoded.error[7] = 0.0
        with raises(RuntimeError, "row 47 "):
            index.verify()
        integers = rng.integers(-100, 100, (40, 9)).astype(np.float32)
        index = fastvec.Index(integers)
        integers[33] = integers[33, ::-1].copy()
        with raises(RuntimeError, "row 33 "):
            index.verify()


def case_saved(rng):
    """Numbers go on after the highest that was ever given, also where only the first rows are left."""
    vectors = gaussian(12, 5, int(rng.integers(1000)))
    index = fastvec.Index(vectors[:10])
    index.remove(np.arange(4, 10))
    assert index._store.rows == 4
    with tempfile.TemporaryDirectory() as folder:
        index.save(folder + "/index")
        opened = fastvec.Index.open(folder + "/index")
    opened.add(vectors[10:])
    assert opened.numbers.tolist() == [0, 1, 2, 3, 10, 11]
    assert opened.search(vectors[10], 1).indices.tolist() == [10]


@contextlib.contextmanager
def raises(kind, said):
    """A block that raises an error which says something."""
    try:
        yield
    except kind as error:
        assert said in str(error), str(error)  # noqa: PT017 - no pytest in this process
    else:
        raise AssertionError(f"no {kind.__name__}")
