"""Cases of ``interpreted_cases.py`` that compare single functions of kernels with what they are to return.

What a search only loses time by, or needs rarely, shows here: the first and the last row, one piece more, a
number of 19 digits.
"""

import contextlib
import ctypes
import itertools
import math
import re
import tempfile
from collections import Counter
from types import SimpleNamespace
from unittest import mock

import interpreter  # before kernels are imported
import numpy as np
import oracle
import pytest
from assertions import assert_same_topk
from data import decaying, gaussian, hashed, mean_of, sharing
from interpreted_parts import encoded_rows, entries, originals_of, with_screen
from test_int8 import int8_rows

import fastvec
from fastvec._stores import blocks
from fastvec.kernels import (
    bound,
    cosmul,
    direction,
    encode,
    equal,
    filters,
    join,
    log,
    matrix,
    metrics,
    micro,
    ranking,
    reading,
    refine,
    rescore,
    rows,
    scan,
    screen,
    seeds,
    selection,
    text,
    threads,
    tiles,
)


def some_runs(rng, lengths, n=40):
    """Offsets, and as many rows for each query."""
    runs = [rng.choice(n, length, replace=False).astype(np.int64) for length in lengths]
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), np.concatenate(runs), runs


def excluded_of(exclusions, m, n=40):
    return [[row for row in range(n) if filters.excluded(exclusions, q, row)] for q in range(m)]


def case_exclusions(rng):
    """Every row of a run is excluded for its query, and no other, however long runs are."""
    few = filters.FEW
    for lengths in ([few], [few + 1], [0, few + 1], [few, few, 3], [1, 0, 20, few + 1, 33, 2], [40, 40]):
        m = len(lengths)
        offsets, numbers, runs = some_runs(rng, lengths)
        before = numbers.copy()
        exclusions = filters.Exclusions.of_runs(offsets, numbers)
        assert (numbers == before).all()
        assert excluded_of(exclusions, m) == [sorted(run.tolist()) for run in runs]
        assert exclusions.rows.dtype == exclusions.offsets.dtype == np.int64
        for first in range(m):
            part = exclusions.part(first, first + 1)
            assert (len(part.offsets), len(part.mask)) == (2, 0)
            assert excluded_of(part, 1) == [sorted(runs[first].tolist())]
        joined = filters.Exclusions.joined([exclusions, exclusions.of(np.array([0])), exclusions])
        wanted = [*runs, runs[0], *runs]
        assert excluded_of(joined, len(wanted)) == [sorted(run.tolist()) for run in wanted]
        assert len(joined.offsets) == len(wanted) + 1
        chosen = rng.permutation(m)
        wanted = [sorted(runs[q].tolist()) for q in chosen]
        assert excluded_of(exclusions.of(chosen), m) == wanted
    far = rng.integers(0, 1 << 39, (3, filters.FEW + 1))
    sorted_ = filters.Exclusions.of_runs(np.arange(4) * (filters.FEW + 1), far.ravel()).rows
    assert (sorted_ == np.sort(far, axis=1).ravel()).all()
    for m in (0, 1, 2, 5):
        none = filters.Exclusions.none(m)
        assert excluded_of(none, m) == [[]] * m
        assert (len(none.offsets), len(none.rows), len(none.mask)) == (m + 1, 0, 0)
        assert none.offsets.dtype == none.rows.dtype == np.int64


def survivors_of(query, row, lower, upper, m):
    left = np.zeros(m, np.bool_)
    return log.Survivors(np.array(query, np.int32), np.array(row, np.int64), lower, upper, left, -1, 0, 0)


@contextlib.contextmanager
def in_pieces():
    """Each element of a range is a piece of its own."""

    def paced(start, stop, step, work, total=None):
        return [(at, min(at + step, stop)) for at in range(start, stop, step)]

    with mock.patch.object(threads, "paced", paced):
        yield


def case_changed_rows(rng):
    """A row that is not the one that was encoded is named, the first and the last too."""
    n, m, k = 24, 3, 2
    vectors = hashed(n, 9, int(rng.integers(1000)))
    queries = hashed(m, 9, 1)
    originals, exact = originals_of(queries, vectors), oracle.scores(queries, vectors, "dot")
    query, row = np.repeat(np.arange(m), n), np.tile(np.arange(n), m)
    out = np.empty((m, k), np.float32), np.empty((m, k), np.int64)
    for deep in (True, False):
        sizes = {"rescore___DEEP": 1, "rescore___MANY": 1, "rescore___BINS": 4} if deep else {}
        with interpreter.small(**sizes), in_pieces():
            for number in (None, 0, 1, n - 1):
                lower, upper = exact.ravel() - 1e-3, exact.ravel() + 1e-3
                if number is not None:  # it is scored first
                    lower[row == number], upper[row == number] = 1e3, 1e3 + 1
                for used in (1, 2):
                    ends = lower.copy(), upper.copy()
                    scored, stale = rescore.rescore(
                        survivors_of(query, row, *ends, m), originals, "dot", *out, used
                    )
                    assert stale == (-1 if number is None else number)
                    if number is None:
                        assert_same_topk(fastvec.TopK(*out), oracle.knn(queries, vectors, k, "dot"))
                        assert m * k <= scored <= m * n
                        _, every, *_ = rescore_all(survivors_of(query, row, *ends, m), originals, m)
                        assert (every == np.sort(oracle.publish(exact), axis=1)[:, ::-1].ravel()).all()
                    found = rescore.rescore_range(
                        survivors_of(query, row, lower, upper, m), originals, m, "dot", np.float32(0), used
                    )
                    assert found[3] == (-1 if number is None else number)
    # Of several parts, the one that has met such a row; and without it, what is near enough, query by query.
    some_parts = mock.patch.object(rescore, "_parts", lambda count, _: rows.split(count, 5))
    for number, query_of in ((0, 0), (n - 1, 1), (None, 0)):
        lower, upper = exact.ravel() - 1e-3, exact.ravel() + 1e-3
        if number is not None:
            wrong = (row == number) & (query == query_of)
            lower[wrong], upper[wrong] = 1e3, 1e3 + 1
        stale = -1 if number is None else number
        for deep in (1, 1 << 30):
            with interpreter.small(rescore___DEEP=deep, rescore___MANY=1), some_parts:
                survivors = survivors_of(query, row, lower.copy(), upper.copy(), m)
                assert rescore.rescore(survivors, originals, "dot", *out, 2)[1] == stale
        least = np.float32(np.median(exact))
        for parts_ in (some_parts, contextlib.nullcontext()):
            with parts_:
                found = rescore.rescore_range(
                    survivors_of(query, row, lower, upper, m), originals, m, "dot", least, 2
                )
            assert found[3] == stale
        if number is None:
            published = oracle.publish(exact)
            assert found[0].tolist() == [0, *np.cumsum((published >= least).sum(axis=1))]
            nearest = np.argsort(-exact, axis=1)
            ranked = np.take_along_axis(published, nearest, axis=1)
            np.testing.assert_array_equal(found[1], ranked[ranked >= least])
            np.testing.assert_array_equal(found[2], nearest[ranked >= least])
    lower, upper = exact.ravel() - 1e-3, exact.ravel() + 1e-3
    with in_pieces():  # a query's first two are scored, and no more: the others' upper ends are below them
        order = np.argsort(-exact, axis=1)[:, :k]
        lower[:], upper[:] = -1e3, exact.min() - 1.0
        for q in range(m):
            upper[q * n + order[q]] = 1e3
        scored, stale = rescore.rescore(survivors_of(query, row, lower, upper, m), originals, "dot", *out, 1)
        assert (scored, stale) == (m * k, -1)
    for number in (0, n - 1):
        vectors[number, 3] = np.nan
        pairs = np.zeros(n, np.int64), np.arange(n)
        assert rescore.score_pairs(*pairs, originals_of(queries, vectors), "dot", 2)[1] == number
        vectors[number, 3] = 0.0
    assert rescore.score_pairs(*pairs, originals_of(queries, vectors), "dot", 2)[1] == -1


def case_scoring_by_row(rng):
    """Entries that will be reached are scored ahead, in the order of rows; nothing else is, nor for few."""
    n, m, k = 60, 3, 4
    vectors, queries = hashed(n, 9, int(rng.integers(1000))), hashed(m, 9, 1)
    queries[1] *= 8
    originals, exact = originals_of(queries, vectors), oracle.scores(queries, vectors, "dot")
    query, row = np.repeat(np.arange(m), n)[: -n + k], np.tile(np.arange(n), m)[: -n + k]
    mixed_up = rng.permutation(len(query))
    query, row = query[mixed_up], row[mixed_up]
    scores = exact[query, row]
    lower, upper = scores - rng.random(len(row)), scores + rng.random(len(row))
    survivors = survivors_of(query, row, lower.copy(), upper.copy(), m)
    wanted = np.ones(len(row), np.bool_)
    for q in (0, 1):
        own = np.flatnonzero(query == q)
        wanted[own] = upper[own] >= np.sort((lower[own] + upper[own]) / 2)[-k]
    assert 2 * k < wanted.sum() < len(row) - k
    seen = []

    def score(order, *rest):
        seen.append(order)
        return -1

    groups = rescore.grouped(survivors.query, m)
    with mock.patch.object(rescore, "_score", score):
        for threads_ in (1, 3):
            with in_pieces():
                rescore._score_by_row(survivors, groups, originals, "dot", k, threads_)
        for bins in (1 << 16, 16):
            with interpreter.small(rescore___BINS=bins):
                rescore._score_by_row(survivors, groups, originals, "dot", k, 1)
    for order, shift in zip(seen, (0, 0, 0, 2), strict=True):
        assert sorted(order) == np.flatnonzero(wanted).tolist()
        assert (np.diff(row[order] >> shift) >= 0).all()
    for deep, many, ahead in ((k, len(row), 1), (k + 1, 1, 0), (1, len(row) + 1, 0)):
        with (
            interpreter.small(rescore___DEEP=deep, rescore___MANY=many),
            mock.patch.object(rescore, "_score_by_row", return_value=-1) as by_row,
        ):
            out = np.empty((m, k), np.float32), np.empty((m, k), np.int64)
            rescore.rescore(
                survivors_of(query, row, lower.copy(), upper.copy(), m), originals, "dot", *out, 1
            )
        assert by_row.call_count == ahead
    # A query that left is not ranked, and the others are; all that were scored are counted.
    survivors.left[1] = True
    for array, nothing in zip(out, (9.0, -9), strict=True):
        array[:] = nothing
    count, stale = rescore.rescore(survivors, originals, "dot", *out, 1)
    assert (count >= 2 * k, stale) == (True, -1)
    for q in range(m):
        if q == 1:
            assert (out[0][q] == 9.0).all()
            assert (out[1][q] == -9).all()
            continue
        own = np.flatnonzero(query == q)
        best = own[np.argsort(-scores[own])][:k]
        assert out[1][q].tolist() == row[best].tolist()
        np.testing.assert_array_equal(out[0][q], oracle.publish(scores[best]))
    # Ranges of queries are written where these have their room, in whatever order.
    sizes = np.bincount(query, minlength=m)
    found = np.zeros(len(row), np.float32), np.zeros(len(row), np.int64), np.zeros(m + 1, np.int64)
    least = np.float32(np.median(scores))
    for q in (2, 1, 0):
        at = q, q + 1, survivors, groups, originals, least
        assert rescore._rescore_ranges("dot")(*at, *found) == -1
    for q in range(m):
        own = np.flatnonzero((query == q) & (oracle.publish(scores) >= least))
        own = own[np.argsort(-scores[own])]
        here = slice(groups.offsets[q], groups.offsets[q] + sizes[q])
        assert found[2][q + 1] == len(own)
        assert found[1][here].tolist() == row[own].tolist() + [-1] * (sizes[q] - len(own))
        np.testing.assert_array_equal(found[0][here][: len(own)], oracle.publish(scores[own]))
    some = rng.permutation(len(row))[:50]
    assert rescore._score(some, survivors, originals, "dot", 2) == -1
    scored = np.isin(np.arange(len(row)), some)
    for ends, before in ((survivors.lower, lower), (survivors.upper, upper)):
        np.testing.assert_array_equal(ends, np.where(scored, scores, before))
    survivors.lower[some] += 1.0  # entries with equal ends were scored before
    survivors.upper[some] += 1.0
    assert rescore._score(some, survivors, originals, "dot", 2) == -1
    # Pairs of any query, and no pairs and queries at all.
    far = np.zeros((40_001, 9), np.float32)
    far[40_000] = queries[0]
    found = rescore.score_pairs(np.array([40_000, 0]), np.array([7, 3]), originals_of(far, vectors), "dot", 1)
    assert (found[0].tolist(), found[1]) == ([exact[0, 7], 0.0], -1)
    none = np.empty(0, np.int64)
    assert rescore.score_pairs(none, none, originals, "dot", 1)[1] == -1
    nothing = survivors_of(none, none, np.empty(0), np.empty(0), 0)
    found = rescore.rescore_range(nothing, originals, 0, "dot", np.float32(0), 2)
    assert [len(part) for part in found[:3]] == [1, 0, 0]
    assert found[3] == -1


def rescore_all(survivors, originals, m):
    return rescore.rescore_range(survivors, originals, m, "dot", np.float32(-np.inf), 2)


def case_zero_rows(rng):
    """Rows of length 0 have the interval [0, 0], and are scored all the same: they may have changed."""
    vectors = hashed(4, 9, 1)
    queries = hashed(1, 9, 2)
    originals = originals_of(queries, vectors)
    zero, rows_ = np.zeros(4), np.arange(4)
    best, ranked = np.empty(2), np.empty(2, np.int64)
    found = refine.rank("dot", originals, 0, np.arange(4), rows_, zero, zero, best, ranked)
    assert found[:2] == (0, 1)
    assert found[2] >= 0
    found = rescore.rescore(
        survivors_of([0] * 4, rows_, zero.copy(), zero.copy(), 1),
        originals,
        "dot",
        np.empty((1, 2), np.float32),
        np.empty((1, 2), np.int64),
        1,
    )
    assert found[1] >= 0
    order = rescore._score(
        np.arange(4), survivors_of([0] * 4, rows_, zero.copy(), zero.copy(), 1), originals, "dot", 1
    )
    assert order == 0
    cursor = np.full(log.FULL_AT + 1, -1)
    assert refine.checked(0.5, 0.4, 0.6, 7, cursor) == 0.5
    assert cursor[log.STALE] == -1
    assert refine.checked(0.7, 0.4, 0.6, 7, cursor) == 0.7
    assert cursor[log.STALE] == 7
    refine.checked(0.3, 0.4, 0.6, 0, cursor)
    assert cursor[log.STALE] == 0
    cursor[log.STALE] = -1
    for ends in ((0.5, 0.5), (0.5, 0.6), (0.4, 0.5)):
        refine.checked(0.5, *ends, 7, cursor)
    assert cursor[log.STALE] == -1
    # Rows of length 0 that did not change; and the queries from one on.
    still, asked = originals_of(np.repeat(queries, 3, axis=0), np.zeros((4, 9), np.float32)), 2
    found = refine.rank("dot", still, asked, np.arange(4), rows_, zero, zero, best, ranked)
    assert found == (2, 4, -1)
    survivors = survivors_of([asked] * 4, rows_, zero.copy(), zero.copy(), 3)
    assert rescore._score(np.arange(4), survivors, still, "dot", 1) == -1
    later = still.part(1)
    assert (later.queries, later.stride) == (still.queries + still.stride, still.stride)
    assert (len(later.held), len(later.squares), later.dims) == (2, 2, 9)
    assert later.squares.ctypes.data == still.squares.ctypes.data + 8
    assert later.vectors is still.vectors


def case_logs(rng):
    """A log's limits and its room are those that its text states; its columns are apart from each other."""
    sizes = {"log__CAPACITY": 4096, "log___ALWAYS_KEPT": 24, "log___SLACK": 100, "log___DIRECT": 4}
    with interpreter.small(**sizes, log___DRAIN=64):
        for m, k, pairs in itertools.product((1, 3, 200), (1, 2, 5, 300), (90, 447, 448, 449, 10**6)):
            state = log.new_state(m, 48, k, pairs)
            limit, capacity = max(8 * k, 24), max(4096, 16 * k * m)
            room = min(capacity, 2 * m * limit) + 200
            share, worth = max(8 * k, capacity // (4 * m)), min(limit, max(8 * k, pairs // (4 * m)))
            slack = 0 if pairs < room else 100
            wanted = [0, 0, 100, limit, share, capacity, slack, -1, 0, 0, 0, worth, log._NEVER]
            assert state.cursor.tolist() == wanted
            assert len(state.row) == min(pairs, room)
            assert (state.floor.shape, len(state.root), len(state.threshold)) == ((m, k), m, 48)
            assert (state.floor == -np.inf).all()
            assert (state.root == -np.inf).all()
            assert log.queries_at_once(k) == 4096 // (16 * k)
            assert log.hits_to_drain(state) == min(max(4 * m * k, 64), 64)
            for count in (capacity // 2, capacity // 2 + 1):
                state.cursor[log.COUNT] = count
                assert log.limit(state) == (limit if count <= capacity // 2 else min(limit, share))
            if pairs > room:
                for count in (0, 30, room - 100):
                    state.cursor[log.COUNT] = count
                    log.compacted(state)
                    assert state.cursor[log.COMPACT_AT] == min(2 * count + 100, capacity)
                state.cursor[log.COUNT] = room - 99
                with pytest.raises(AssertionError, match="no room"):
                    log.compacted(state)
    assert log.hits_to_drain(log.new_state(1000, 1008, 100, 10)) == log._DRAIN
    assert log.hits_to_drain(log.new_state(2, 2, 100, 10)) == 800
    for kept in (1 << 24, 1):
        with interpreter.small(log___KEPT_BYTES=kept):
            state = log.with_room(2, 16, 3, 50)
        columns = [getattr(state, name) for name in log._ENTRY]
        assert log.nbytes(state) == sum(column.nbytes for column in columns) == 50 * 32
        for place, column in enumerate(columns):
            column[:] = place + np.arange(50)
        assert all((column == place + np.arange(50)).all() for place, column in enumerate(columns))
    state.cursor[:] = 10 + np.arange(len(state.cursor))
    held = log.filled(state)
    assert (len(held.row), held.row.base, held.cursor.base) == (10, None, None)
    assert held.cursor is not state.cursor
    log.empty(state)
    gone = [log.COUNT, log.DRAINED, log.PASSED, log.SEEN, log.NARROWED]
    assert state.cursor.tolist() == [0 if z in gone else 10 + z for z in range(len(state.cursor))]
    fixed = log.fixed_state(3, 16, -0.5, 70, 40)
    assert (fixed.root.tolist(), fixed.floor.shape, len(fixed.row)) == ([-0.5] * 3, (3, 0), 70)
    assert fixed.cursor[log.COMPACT_AT] == log._NEVER
    for count in (40, 41):
        fixed.cursor[log.COUNT] = count
        assert log.is_full(fixed) == (count > 40)
    # Others go with a query that leaves: those with more entries than are worth their exact scores.
    for leaves in (False, True):
        state = log.new_state(3, 16, 1, 10_000)
        state.query[:9], state.upper[:9], state.cursor[log.COUNT] = np.repeat([0, 1, 2], [4, 3, 2]), 1.0, 9
        state.cursor[log._WORTH], state.left[2] = 3, leaves
        log.drop_beaten(state)
        log.let_more_go(state)
        assert state.left.tolist() == [leaves, False, leaves]
        assert state.live.tolist() == [0 if leaves else 4, 3, 2]
    # Without exact scores: who keeps more than the limit leaves.
    with interpreter.small(**sizes):
        state = log.new_state(2, 16, 1, 10_000)
        state.query[:70], state.upper[:70], state.cursor[log.COUNT] = np.repeat([0, 1], [25, 45]), 1.0, 70
        state.upper[:1], state.root[:] = 0.5, 0.75
        log.compact_log(state)
        assert state.left.tolist() == [False, True]
        assert state.cursor[[log.COUNT, log.COMPACT_AT]].tolist() == [24, 148]


def case_bases(rng):
    """Directions of a screen hold what most rows have in common, orthonormal, the first most of it."""
    for dims, p, count in ((70, 64, 70), (130, 64, 96), (200, 192, 200)):
        rows_ = decaying(250, dims, int(rng.integers(1000)))
        units = oracle.unit(rows_.astype(np.float64)).astype(np.float32)
        moments = units.T.astype(np.float64) @ units
        most = np.sort(np.linalg.eigvalsh(moments))[::-1]
        with mock.patch.object(screen, "_orthonormal", wraps=screen._orthonormal) as orthonormal:
            leading = screen.directions(units, p, 1)
        assert {call.args[0].shape for call in orthonormal.call_args_list} == {(dims, count)}
        assert (leading.shape, leading.dtype) == ((dims, p), np.float32)
        np.testing.assert_allclose(leading.T @ leading, np.eye(p), atol=1e-5)
        held = (leading * (moments @ leading)).sum(axis=0)
        assert held.sum() >= 0.999 * most[:p].sum()
        assert (np.diff(held) <= 1e-5 * held[0]).all()
        mixed_ = screen._mixing(p)
        np.testing.assert_allclose(mixed_.T @ mixed_, np.eye(p), atol=1e-5)
        assert np.abs(mixed_).max() <= math.sqrt(2 / p) + 1e-6
        assert 0.3 < (mixed_ > 0).mean() < 0.7
        basis = screen.basis(leading, True).matrix
        assert basis.dtype == np.float32
        np.testing.assert_allclose(basis @ basis.T, leading @ leading.T, atol=1e-5)
        turned = basis @ screen._turned(p)  # of the first 64 directions, and of no others
        np.testing.assert_allclose(turned @ turned.T, leading[:, :64] @ leading[:, :64].T, atol=1e-5)
    for spread in (1.0, 1e-4):  # columns that nearly depend on each other, or do
        columns = rng.standard_normal((50, 8)) * spread + rng.standard_normal((50, 1))
        made = screen._orthonormal(columns.astype(np.float32)).astype(np.float64)
        np.testing.assert_allclose(made.T @ made, np.eye(8), atol=1e-6)
        np.testing.assert_allclose(made @ (made.T @ columns), columns, atol=1e-5)
    for same in (np.zeros((50, 8)), np.repeat(columns[:, :1], 8, axis=1)):
        assert np.isfinite(screen._orthonormal(same.astype(np.float32))).all()


def case_parts_of_queries(rng):
    """Some of the queries of a screen, with all that belongs to them."""
    queries, basis = hashed(40, 70, 5), screen.measured(np.eye(70, 64, dtype=np.float32), True)
    fine = encode.pack(queries, 63, 16, 1)
    packed = screen.pack(queries, fine, basis, 63, 16, 1)
    some = packed.part(16, 33)
    for name in ("tail", "length"):
        np.testing.assert_array_equal(getattr(some, name), getattr(packed, name)[16:33])
    for of, whole in ((some.coarse, packed.coarse), (some.fine, fine)):
        np.testing.assert_array_equal(of.codes, whole.codes[16:33])
        np.testing.assert_array_equal(of.norm, whole.norm[16:33])
        np.testing.assert_array_equal(of.correction[:17], whole.correction[16:33])
    many = hashed(100, 70, 6)  # in blocks of 48, each as if it were alone
    every = screen.pack(many, encode.pack(many, 63, 16, 1), basis, 63, 16, 1)
    for q in (0, 47, 48, 95, 96, 99):
        own = many[q : q + 1]
        alone = screen.pack(own, encode.pack(own, 63, 16, 1), basis, 63, 16, 1)
        for of, whole in ((alone, every.part(q, q + 1)), (alone.coarse, every.coarse.part(q, q + 1))):
            for name in {"tail", "length", "scale", "error", "norm", "codes"} & {*of._fields}:
                np.testing.assert_array_equal(getattr(of, name)[:1], getattr(whole, name))
    few_ = screen.few_queries(originals_of(queries[:2], queries), basis, 63)
    for name in ("tail", "length"):  # as packed ones are, but for roundings of their products
        np.testing.assert_allclose(getattr(few_.whole, name), getattr(packed, name)[:2], atol=1e-6)
    np.testing.assert_allclose(few_.whole.coarse.error, packed.coarse.error[:2], atol=1e-6)
    last = few_.part(1, 2)
    for of, whole in ((last.whole, few_.whole), (last.first, few_.first)):
        np.testing.assert_array_equal(of.coarse.codes, whole.coarse.codes[1:])
        np.testing.assert_array_equal(of.fine.codes, whole.fine.codes[1:])
        np.testing.assert_array_equal(of.tail, whole.tail[1:])
        np.testing.assert_array_equal(of.length, whole.length[1:])
    plain = screen.few_queries(originals_of(queries[:2], queries), screen.measured(basis.matrix), 63)
    assert plain.first is plain.whole


def cut_at(piece, middle):
    """A piece in two."""
    yield piece._replace(stop=middle)
    yield piece._replace(start=middle)


def case_walks(rng):
    """A walk goes by the screen until it gives up, and on by the full codes; a full log ends both."""
    asked = screen.ScreenQueries(None, None, None, None), screen.FewQueries(None, None)
    piece = scan.Piece(0, 90, "rows", "screened", "pivots")
    for by_screen, screened, reached, full, goes in (
        (True, "screened", 90, False, [("screen", 10, 90, "screened", "short")]),
        (True, "screened", 90, True, [("screen", 10, 90, "screened", "short")]),
        (True, "screened", 50, True, [("screen", 10, 90, "screened", "short")]),
        (
            True,
            "screened",
            50,
            False,
            [("screen", 10, 90, "screened", "short"), ("codes", 50, 90, "rows", "all")],
        ),
        (True, None, 90, False, [("codes", 10, 90, "rows", "all")]),
        (False, "screened", 90, False, [("codes", 10, 90, "rows", "all")]),
        (False, "screened", 90, True, []),
    ):
        state, asked_of = log.new_state(1, 16, 1, 10), []
        packed = scan.Packed("all", "short" if by_screen else None)
        walk = scan._Walk(packed, "exclusions", "originals", state, "dot", "record", False)
        assert walk.by_screen == by_screen
        state.cursor[log.FULL_AT] = 3

        def by(*given, asked_of=asked_of, full=full, reached=reached, state=state):
            asked_of.append(given)
            state.cursor[log.COUNT] = 4 if full else 3
            return reached if given[0] == "screen" else given[2]

        if full and not goes:
            state.cursor[log.COUNT] = 4
        with mock.patch.object(walk, "_by", by):
            ends = walk.over(10, 90, piece._replace(screened=screened))
        assert asked_of == goes
        assert ends == (10 if not goes else reached if full else 90)
        assert walk.by_screen == (by_screen and not (reached == 50 and not full))
    for queries, some, seeded in (
        (asked[0], piece, 1),
        (asked[1], piece, 0),
        (None, piece, 0),
        (asked[0], piece._replace(pivots=None), 0),
        (asked[0], piece._replace(screened=None), 0),
    ):
        walk = scan._Walk(
            scan.Packed("all", queries), "without", "originals", "state", "dot", "record", False
        )
        with mock.patch.object(seeds, "from_pivots") as from_pivots:
            walk.seed(some)
        assert from_pivots.call_count == seeded
        if seeded:
            wanted = "screened", "pivots", queries, "without", "originals", "state", "dot", "record"
            assert from_pivots.call_args.args == wanted


def case_tasks(rng):
    """Queries and rows are cut without a gap, at borders of tiles, into parts that a log holds."""
    records, sizes = (micro.TABLE["generic"], micro.TABLE["avx512_vnni"]), (1, 2, 3, 40, 900)
    for record, m, k, n in itertools.product(records, sizes, (1, 5000, 8192, 9000, 1 << 18), (1, 129, 1000)):
        for used, encoded in ((1, True), (3, True), (3, False)):
            queries, tasks, tiles_of = np.zeros((m, 9), np.float32), [], []

            def run(_, some, *rest, tasks=tasks):
                tasks.append((some, *rest))
                return []

            def packed(originals, record, tile, *_, tiles_of=tiles_of):
                tiles_of.append(tile)

            with (
                mock.patch.object(threads, "run", run),
                mock.patch.object(scan, "packed", packed),
                mock.patch.object(log, "join", lambda _, count: count),
            ):
                asked = SimpleNamespace(held=queries)
                assert scan.scan(n, None, asked, k, "dot", record, None, used, encoded=encoded) == m
                assert scan.scan_range(n, None, asked, 0.5, "dot", record, None, used) == m
            most = log.queries_at_once(k)
            by_row = m <= 2 or most < 16
            assert tiles_of == [0 if by_row else record.tile_queries, record.tile_queries]
            for place, (some, threads_, held) in enumerate(tasks):
                assert threads_ == used
                assert held is queries
                of_queries, of_rows = (sorted(set(runs)) for runs in zip(*some, strict=True))
                assert some == list(itertools.product(of_queries, of_rows))
                assert [q for run in of_queries for q in range(*run)] == list(range(m))
                assert [row for run in of_rows for row in range(*run)] == list(range(n))
                assert all(first % tiles.PANEL == 0 for first, _ in of_rows)
                shared = place == 0 and encoded and m >= 2 * used * record.tile_queries
                assert len(of_rows) == (1 if shared else min(used, -(-n // tiles.PANEL)))
                assert len(of_queries) >= (min(used, -(-m // record.tile_queries)) if shared else 1)
                longest, least = max(last - first for first, last in of_queries), record.tile_queries
                limit = log.CAPACITY // tiles.CHUNK
                if place == 0:
                    least, limit = min(2, max(1, most)) if by_row else min(least, most // 16 * 16), most
                    assert longest <= max(least, most)
                assert all(first % least == 0 for first, _ in of_queries)
                assert shared or longest == m or 2 * longest > limit


def case_scans(rng):
    """What may win survives a scan, once, by rows and by tiles, by codes and by screens, in any pieces."""
    n, dims, k = 386, 140, 2  # both halves end with a row by itself
    plain, (a, b) = decaying(n, dims, int(rng.integers(1000))), hashed(2, dims, int(rng.integers(1000)))
    angles = np.linspace(1.5, 0.1, n, dtype=np.float32)[:, np.newaxis]
    rising = np.cos(angles) * a + np.sin(angles) * b  # every row is better than those before, for the queries
    columns = np.eye(dims, 128, dtype=np.float32)
    sizes = {"tiles__PANEL": 32, "scan___SEGMENT": 128, "scan___SCREEN_DRAIN": 32, "screen___PATIENCE": 32}
    logs = {"log__CAPACITY": 1024, "log___SLACK": 320, "log___ALWAYS_KEPT": 16, "log___DRAIN": 64}
    for m, metric, vectors, screened, used in (
        (2, "cosine", plain, None, 2),
        (2, "cosine", rising, None, 1),
        (17, "dot", plain, None, 1),
        (17, "cosine", rising, None, 2),
        (17, "euclidean", plain, (False, 1.0), 1),
        (1, "cosine", plain, (True, 1.0), 2),
        (2, "cosine", rising, (True, 1.0), 1),
        (2, "dot", plain, (True, -1.0), 1),
        (2, "euclidean", plain, (False, 1.0), 2),
        (18, "cosine", plain, (False, -1.0), 2),
    ):
        encoded, some = encoded_rows(vectors), (100 + 37 * np.arange(m)) % n
        queries = vectors[some] + 0.25 * vectors[some - 1]
        if vectors is rising:
            queries = a + hashed(m, dims, 7) / 16
        exact, asked = oracle.scores(queries, vectors, metric), originals_of(queries, vectors)
        closed = [[q, n - 1 - q] for q in range(m)]
        exclusions = filters.Exclusions.of_runs(np.arange(m + 1) * 2, np.concatenate(closed))
        basis = screened and screen.measured(columns, screened[0])
        block = screened and with_screen(vectors, encoded, basis, screened[1], screened[1])
        piece, seeded = scan.Piece(0, n, scan.rows_of(encoded, 0), block, "pivots"), []

        def source(start, stop, piece=piece):
            return cut_at(piece._replace(start=start, stop=stop), (start + stop) // 2)

        with (
            interpreter.small(**sizes, **logs, tiles__CHUNK=128 if screened is None and used == 1 else 64),
            in_pieces() if used == 2 else contextlib.nullcontext(),
            mock.patch.object(seeds, "from_pivots", lambda *given, seeded=seeded: seeded.append(given[:2])),
            mock.patch.object(scan, "_limits", wraps=scan._limits) as limits,
            mock.patch.object(screen, "set_thresholds", wraps=screen.set_thresholds) as set_,
        ):
            given = asked, k, metric, micro.TABLE["generic"], exclusions, used
            found = scan.scan(n, source, *given, encoded=False, basis=basis)
        assert seeded == ([(block, "pivots")] * 2 * used if m > 2 and screened else [])
        assert vectors is rising or not found.left.any()
        if m <= 2 and screened and screened[1] > 0:  # of a chunk they are the same when it is passed again
            counts = Counter(tuple(map(float, call.args[3])) for call in set_.call_args_list)
            assert counts
            assert not any(count % 2 for count in counts.values())
        for _, _, chunk, count, _ in (call.args for call in limits.call_args_list):
            assert 0 < count <= 128
            assert 0 <= chunk <= n - count
        for q in np.flatnonzero(~found.left):
            own = found.query == q
            own_rows, lower, upper = found.row[own], found.lower[own], found.upper[own]
            open_ = np.setdiff1d(np.arange(n), closed[q])
            assert len(set(own_rows.tolist())) == len(own_rows)
            best = open_[np.argsort(-exact[q, open_])[:k]]
            assert set(best) <= set(own_rows.tolist()) <= set(open_.tolist())
            assert ((lower <= exact[q, own_rows]) & (exact[q, own_rows] <= upper)).all()
            if used == 1:  # what the last thresholds beat is dropped
                assert upper.min() >= np.sort(lower)[-k]
        if screened is None:
            assert found.screened == 0
        else:  # it gives up early, or not at all
            assert (found.screened < m * n) == (screened[1] < 0)
            assert found.screened >= found.passed > 0


def case_walks_for_ranges(rng):
    """A walk for a range yields every pair that may reach it once, whatever fits into its log."""
    vectors, queries = hashed(400, 9, int(rng.integers(1000))), hashed(18, 9, 1)
    asked = scan.packed(originals_of(queries, vectors), micro.TABLE["generic"], 16, 1, None, None)
    encoded = encoded_rows(vectors)
    sizes = {"tiles__CHUNK": 64, "tiles__PANEL": 32, "scan___RANGE_LOG": 700}
    for n, m, room in (
        (1, 18, 32),
        (63, 2, 63 * 16),
        (64, 2, 64 * 16),
        (65, 18, 64 * 32 + 700),
        (400, 18, 64 * 32 + 700),
    ):
        paces = in_pieces() if n < 400 else contextlib.nullcontext()
        with interpreter.small(**sizes), paces:
            piece = scan.Piece(0, n, scan.rows_of(encoded, 0))
            few_ = asked.part(0, m), filters.Exclusions.none(m), originals_of(queries[:m], vectors)
            walk = scan.RangeWalk(*few_, -np.inf, "dot", micro.TABLE["generic"], n)
            assert len(walk.state.row) == room
            assert (walk.step, walk.work) == (
                scan._steps(walk.walk[5], m, 9, 1, m)[0],
                9 * m / walk.walk[5].speed,
            )
            found = [log.filled(state) for state in walk.over(cut_at(piece, n // 2))]
        pairs = [pair for state in found for pair in zip(state.query, state.row, strict=True)]
        assert sorted(pairs) == list(itertools.product(range(m), range(n)))
        assert all(len(state.row) <= room for state in found)
        assert walk.total == n
        if n == 400:  # in many runs
            with interpreter.small(**sizes), in_pieces():
                found = [log.filled(state) for state in walk.over(iter([piece]))]
            assert sum(len(state.row) for state in found) == m * n
        full = scan.RangeWalk(*few_, -np.inf, "dot", micro.TABLE["generic"], n)
        full.state.cursor[log.COUNT] = full.state.cursor[log.FULL_AT] + 1  # nothing more is scanned
        piece_of = full.walk[:-1]
        assert scan._Walk(*piece_of, False).over(0, n, piece) == 0


def case_shortening(rng):
    """No query keeps more than its limit; who keeps more leaves, and nothing else does."""
    vectors, m, k, hits = hashed(300, 9, 1), 3, 2, 300
    queries = hashed(m, 9, 2)
    originals = originals_of(queries, vectors)
    exact = oracle.scores(queries, vectors, "dot")
    for spread in (1e-3, 1e3):
        with interpreter.small(log___ALWAYS_KEPT=24, log___SLACK=100, log__CAPACITY=2048, log___DIRECT=999):
            state = log.new_state(m, m, k, 10_000)
            state.query[:hits] = np.where(np.arange(hits) < 280, 0, 1)
            state.row[:hits] = rng.permutation(hits)
            middle = exact[state.query[:hits], state.row[:hits]]
            state.lower[:hits], state.upper[:hits] = middle - spread, middle + spread
            state.cursor[[log.COUNT, log.DRAINED]] = hits
            most = log.limit(state)
            assert most == 24
            kept = set(entries(state))
            refine.finish("dot")(originals, state)
            count = state.cursor[log.COUNT]
            assert count <= hits
            assert state.cursor[log.DRAINED] == count
            assert state.left.tolist() == [spread > 1] * 2 + [False]  # the second's entries are not worth it
            assert not state.left[state.query[:count]].any()
            assert (np.bincount(state.query[:count], minlength=m) <= most).all()
            assert set(entries(state)) <= kept
            for q in range(m):
                if state.left[q]:
                    assert state.root[q] == state.threshold[q] == np.inf
                    continue
                own = {row for query, row, _, upper in entries(state) if query == q}
                wanted = {row for query, row, _, upper in kept if query == q and upper >= state.root[q]}
                assert own == wanted
            if spread < 1:  # the least of the exact scores of the k most promising entries
                first = [row for query, row, *_ in kept if query == 0]
                assert state.root[0] == np.sort(exact[0, first])[-k]
            assert state.cursor[log.COMPACT_AT] == min(2 * count + 100, 2048)


def case_estimates(rng):
    """The rows looked at before a scan are those of the best estimates, of all that may be returned."""
    n, m, dims, most, base = 150, 18, 40, 9, 3
    vectors = hashed(n, dims, int(rng.integers(1000))) * rng.uniform(0.5, 2.0, (n, 1)).astype(np.float32)
    queries = hashed(m, dims, 5)
    record = micro.TABLE["generic"]
    packed = encode.pack(queries, record.levels, record.tile_queries, 1)
    asked = screen.ScreenQueries(packed, np.zeros(m), np.ones(m), packed)
    few = encode.pack(queries, record.levels, 0, 1)
    allowed = rng.random(base + n) < 0.8
    encoded = encoded_rows(vectors)
    coarse = scan.rows_of(encoded, base, allowed)
    integer = (few.codes.astype(int)) @ (encoded.codes[:n].astype(int) - 128).T
    cosine = integer * few.scale[:, None] * encoded.scale[:n].astype(np.float64)
    tops = {
        "cosine": cosine,
        "dot": cosine * encoded.norm,
        "euclidean": 2.0 * cosine * few.norm[:, None] * encoded.norm - encoded.norm**2,
    }
    for metric, values in tops.items():
        estimates = np.where(allowed[base:], values, -np.inf)
        reached = np.sort(estimates, axis=1)[:, -most] - 1e-5
        sizes = {"tiles__CHUNK": 64, "tiles__PANEL": 32, "seeds___HITS": 16, "seeds___WORK": 1 << 16}
        with interpreter.small(**sizes):
            heaps = seeds.nearest(coarse, n, asked, most, metric, record)
            parts = seeds.nearest_in_parts(coarse, n, asked, most, metric, record, 2)
        assert (heaps.sizes == most).all()
        for q in range(m):
            for found in (heaps.rows[q], parts[q]):
                assert len(set(found.tolist())) == most
                assert (estimates[q, found] >= reached[q]).all()
        for count in (most, n):
            likely = rng.permutation(n)[:count]
            before = likely.copy()
            size = seeds.best_by_screen("generic", metric, coarse, few, 1, likely, count, most)
            assert size == most
            assert set(likely[:size].tolist()) <= set(before.tolist())
            assert (values[1, likely[:size]] >= np.sort(values[1, before])[-most] - 1e-5).all()
        state = log.new_state(2, 2, 2, 1000)
        likely = seeds.likely_rows(state, False)
        assert likely.best.shape == (2, seeds._room(2)) == (2, 8)
        kept, ends = [], np.empty(n + 16, np.float32)
        scale, margin = np.empty((2, 64 + encode.SPARE_ROWS), np.float32)
        for chunk in range(0, n, 64):
            count = min(64, n - chunk)
            power = tiles.row_terms(metric, chunk, count, coarse, scale, margin)[0]
            weight, other = np.float32(1.5), screen.estimate_weight(metric, asked, 1, power)
            scores = np.zeros(64, np.int32)
            scores[:count] = integer[1, chunk : chunk + count]
            out = ends[chunk:]
            seeds.offer_rows(chunk, count, 1, scores, (power, weight, other), scale, margin, likely, out)
            own = scores[:count].astype(np.float32) * scale[:count]
            np.testing.assert_array_equal(out[:count], own + margin[:count] * weight)
            open_ = margin[:count] > -np.inf
            kept += np.where(open_, (own + margin[:count] * other) / power, -np.inf).tolist()
        assert likely.sizes.tolist() == [0, 8]
        assert set(likely.rows[1].tolist()) <= set(np.flatnonzero(allowed[base:]).tolist())
        np.testing.assert_allclose(np.sort(likely.best[1]), np.sort(kept)[-8:], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(np.array(kept)[likely.rows[1]], likely.best[1], rtol=1e-5, atol=1e-6)
        # Where fewer rows are allowed than there is room for, no others are likely.
        open_ = coarse._replace(allowed=np.isin(np.arange(base + n), [base, base + 63, base + n - 1]))
        likely = seeds.likely_rows(state, False)
        for chunk in range(0, n, 64):
            count = min(64, n - chunk)
            power = tiles.row_terms(metric, chunk, count, open_, scale, margin)[0]
            scores[:count] = integer[1, chunk : chunk + count]
            weights = power, weight, screen.estimate_weight(metric, asked, 1, power)
            seeds.offer_rows(chunk, count, 1, scores, weights, scale, margin, likely, ends[chunk:])
        assert sorted(likely.rows[1, : likely.sizes[1]]) == [0, 63, n - 1]
        with interpreter.small(**sizes):
            heaps = seeds.nearest(open_, n, asked, most, metric, record)
        assert (heaps.sizes == 3).all()
        assert (np.sort(heaps.rows[:, :3], axis=1) == [0, 63, n - 1]).all()
    slots = np.full(seeds._slots_for(300), -1)
    assert len(slots) == 1024
    numbers = rng.integers(0, 200, 300)
    new = [bool(seeds._is_new(slots, number)) for number in numbers]
    assert new == [number not in numbers[:z] for z, number in enumerate(numbers)]


def case_cuts(rng):
    """Ranges are cut without a gap, at multiples of a step, into no more parts than were asked for."""
    for n in (0, 1, 2, 7, 64, 65, 1000):
        for parts in (1, 2, 3, 64, 2000):
            for step in (1, 2, 32, 5000):
                runs = rows.split(n, parts, step)
                assert [row for run in runs for row in range(*run)] == list(range(n))
                assert all(first < last for first, last in runs)
                assert all(first % step == 0 for first, _ in runs)
                assert len(runs) == min(parts, -(-n // step))
                lengths = [last - first for first, last in runs[:-1]]
                assert not lengths or max(lengths) - min(lengths) <= step
        for width in (0, 1, 100, 1 << 12):
            with interpreter.small(rows___BLOCK_BYTES=1024, rows___PACE_BYTES=1 << 13):
                runs = rows.blocks(n, width, 2)
                assert [row for run in runs for row in range(*run)] == list(range(n))
                if len(runs) > 1:
                    shortest = min(last - first for first, last in runs)
                    assert shortest >= max(1, 1024 // max(1, width))
                    longest = max(last - first for first, last in runs)
                    assert longest * width <= max(1 << 13, 2 * 1024, width) + width
    assert rows.first_bad([]) == rows.first_bad([-1, -1]) == -1
    assert rows.first_bad([-1, 5, 0, 3]) == 0
    assert rows.first_bad([7, -1, 5]) == 5
    with mock.patch.object(threads, "_FIRST_WORK", 100):
        for start, stop, step, work in (
            (0, 0, 1, 1.0),
            (5, 64, 1, 9.0),
            (3, 500, 16, 4.0),
            (0, 9, 4, 1e9),
            (2, 3, 1, 0.0),
        ):
            pieces = list(threads.paced(start, stop, step, work))
            assert [at for piece in pieces for at in range(*piece)] == list(range(start, stop))
            assert all((first - start) % step == 0 for first, _ in pieces)
            assert not pieces or pieces[0][1] - start <= max(step, 100 / max(work, 1.0))
    record = micro.TABLE["generic"]
    for m in (1, 40, 5000):
        for dims in (3, 1024, 1 << 17):
            for least, most in ((1, 64), (16, 16), (16, 5000)):
                with mock.patch.object(scan, "_PACE_WORK", 1 << 22):
                    step, queries = scan._steps(record, m, dims, least, most)
                width, work = encode.padded(dims), int(record.speed * (1 << 22))
                assert queries % least == 0
                assert least <= queries <= max(least, most)
                if m * tiles.CHUNK * width <= work:
                    assert (step, queries) == (tiles.CHUNK, most // least * least)
                    continue
                assert step == (tiles.CHUNK if tiles.CHUNK * least * width <= work else tiles.PANEL)
                assert queries == least or step * queries * width <= work
                assert queries + least > most or step * (queries + least) * width > work


def case_mapped_codes(rng):
    """Codes that may not be written to are passed as they are, and are held."""
    codes = rng.integers(0, 255, (7, 64), np.uint8)
    assert scan.writable(codes) is codes
    codes.flags.writeable = False
    passed = scan.writable(codes)
    assert passed.flags.writeable
    assert (passed.ctypes.data, passed.shape) == (codes.ctypes.data, codes.shape)
    assert passed.base.held is codes


def case_finite(rng):
    """The first row that is not finite, or that float32 cannot hold, is named; other rows are written."""
    for n, dims in ((1, 33), (24, 7)):
        vectors = gaussian(n, dims, int(rng.integers(1000)))
        with interpreter.small(rows___BLOCK_BYTES=128, rows___AT_ONCE=64):
            for bad in (None, 0, n // 2, n - 1):
                for value in (np.nan, np.inf, -np.inf):
                    some = vectors.copy()
                    if bad is not None:
                        some[bad:, dims - 1] = value
                    wanted = -1 if bad is None else bad
                    assert rows.first_not_finite(some, 2) == wanted
                    for write in (rows.unit_rows, rows.finite_rows):
                        assert write(some, np.empty_like(some), 2) == wanted
                    target = np.empty(some.shape, np.float32)
                    assert rows.round_to_float32(some.astype(np.float64), target, 2) == -1
                    np.testing.assert_array_equal(target, some)
                for value in (1e39, -1e39, 1e-50):
                    wide = np.zeros((n, dims))
                    if bad is not None:
                        wide[bad:, dims - 1] = value
                    target = np.empty((n, dims), np.float32)
                    assert rows.round_to_float32(wide, target, 2) == (-1 if bad is None else bad)
            wide = vectors.astype(np.float64) * (1 + 2.0**-26)
            wide[:, 0] = 1e-50  # becomes zero beside others that do not
            target = np.empty((n, dims), np.float32)
            assert rows.round_to_float32(np.asfortranarray(wide), target, 2) == -1
            np.testing.assert_array_equal(target, wide.astype(np.float32))
            sums = np.empty(n)
            assert rows.all_squares(vectors, sums, 2) == -1
            np.testing.assert_array_equal(sums, oracle.lane_sum(vectors.astype(np.float64) ** 2))


def case_blocks_of_rows(rng):
    """Addresses and runs of a matrix in several blocks."""
    whole = gaussian(60, 5, 1)
    for borders in ([0, 60], [0, 1, 60], [0, 20, 21, 59, 60]):
        cut = [whole[a:b].copy() for a, b in itertools.pairwise(borders)]
        of = matrix.of(cut)
        assert of.rows == 60
        assert of.starts.tolist() == borders
        assert len(of.origins) == len(of.strides) == len(cut)
        assert of.is_float32
        held = lambda at: np.frombuffer((ctypes.c_char * 20).from_address(int(at)), np.float32)  # noqa: E731
        for row in range(60):
            assert (held(matrix.address(of, row)) == whole[row]).all()
        for start in (0, 1, 19, 20, 21, 58, 59, 60):
            for stop in (start, start + 1, 21, 59, 60):
                if not start <= stop <= 60:
                    continue
                runs = list(of.runs(start, stop))
                assert [row for first, last, _ in runs for row in range(first, last)] == list(
                    range(start, stop)
                )
                for first, last, block in runs:
                    assert first < last
                    assert any(block.array is held_ for held_ in cut)
                    for row in (first, last - 1):
                        assert (held(matrix.row_at(block, row)) == whole[row]).all()
        (batch,) = of.batches()
        assert [(first, last) for first, last, _ in batch] == list(itertools.pairwise(borders))
    assert not matrix.of([whole[:0]]).rows
    strided = matrix.Strided.of(whole)
    assert strided.array is whole
    assert (held(matrix.row_at(strided, 7)) == whole[7]).all()


def case_orders(rng):
    """Ranking by counting and by digits, and the best of a buffer, for every number of blocks."""
    types = np.float32, np.float64, np.int32, np.int64
    for place, size in enumerate((1, 63, 65, 130, 256, 257)):
        for kind in {types[place % 4], types[(place + 1) % 4]}:
            values = rng.integers(-9, 9, size).astype(kind)
            if values.dtype.kind == "f":
                values[::3] *= kind(1.7)
                values += kind(0)
            sample = np.array([values.min() - 1], kind)
            right = np.lexsort((np.arange(size), -values))
            for wanted in {1, size // 2 + 1, size}:
                keys = np.empty(size + ranking.BLOCK, kind)
                keys[:size] = values
                order = np.empty(wanted, np.int64)
                ranking.rank(sample, keys, size, order)
                assert order.tolist() == right[:wanted].tolist()
                found, equal = ranking.best(sample, keys, size, wanted)
                nth = values[right[wanted - 1]]
                assert (found, equal) == (nth, wanted - (values > nth).sum())
                places = np.arange(size + ranking.BLOCK)
                assert ranking.keep(sample, keys, places, size, wanted) == nth
                assert places[:wanted].tolist() == sorted(right[:wanted].tolist())
                assert (keys[:wanted] == values[places[:wanted]]).all()
    # Every key once, so that a pivot is often next to the one that is sought; and equal digits below others.
    keys = np.concatenate([rng.permutation(65), np.zeros(ranking.BLOCK, np.int64)]) * 512
    for wanted in range(1, 66, 3):
        assert ranking.best(np.array([-1]), keys, 65, wanted) == (512 * (65 - wanted), 1)
    order = np.empty(65, np.int64)
    ranking._rank_by_digits(np.array([-1]), keys, 65, order)
    assert (keys[order] == 512 * np.arange(65)[::-1]).all()


def case_pieces(rng):
    """Selection from pieces of rows, from any strides and byte order, and where the first NaN is."""
    small = {"selection___PART_BYTES": 32, "selection___PACE_BYTES": 256, "selection___COPY_COLUMNS": 32}
    layouts = (
        np.asarray,
        np.asfortranarray,
        lambda some: np.repeat(some, 2, axis=1)[:, ::2],
        lambda some: some[:, ::-1],
    )
    kinds = (1, 300, "f4"), (3, 70, "<f8"), (2, 90, ">f4"), (3, 50, "f2"), (9, 20, "i8")
    with interpreter.small(**small):
        for place, (m, n, kind) in enumerate(kinds):
            plain = rng.integers(0, 50, (m, n)).astype(kind)
            for k, largest, used in ((1, True, 1), (5, False, 3), (n + 2, True, 2)):
                laid = layouts[(place + k) % 4](plain)
                scores, indices, nan = selection.select(laid, k, largest, used)
                assert nan is None
                expected = oracle.topk(laid.astype(np.float64), k, largest)
                assert_same_topk(fastvec.TopK(scores, indices), expected)
            if plain.dtype.kind == "f":
                for row, column in ((0, 0), (m - 1, n - 1), (m // 2, n // 2)):
                    some = plain.copy()
                    some[row, column:] = np.nan
                    laid = layouts[row % 2](some)
                    assert selection.select(laid, 3, True, 1 + column % 3)[2] == (row, column)


NUMBERS = """
    0 -0 +0.0 1 -1 .5 5. 1e3 1E-3 +1.25e+2 -7e-0 0.1 0.30000001192092896 16777217 16777219 123456789012345678
    1234567890123456789 12345678901234567890123 0.00000000000000000000000000000000000000000012 1e38
    3.4028235e38 1e-45 1.1754944e-38 00000000000000000000000000012.5 1e64 1e-64 4e00000000001 0e999999999
    9999999999999999999 99999999999999999995 0.000000000000000000001234567890123456789123
"""
ODD = """
    1e 1e+ 1e/5 1e5/ 1e5: 1/2 1:2 1,2 . - + 1e65 1e-65 3.5e38
    1.00000005960464477539 1x e5 1..2 nan inf 0x1 1_0 --1 1e5.0 1e9999999 12a
"""


def lines_of(data, count, dims, first=0):
    held = np.frombuffer(data + b"7e7", np.uint8)  # what stands behind the text is no part of it
    lines = text.Lines(
        np.zeros((count, dims), np.float32),
        *(np.zeros(count, np.int64) for _ in range(2)),
        np.full(count, 9, np.uint8),
    )
    text.parse_lines(first, len(data), 0, held.ctypes.data, lines)
    assert text.count_lines(first, len(data), held.ctypes.data) == data[first:].count(b"\n")
    return lines


def case_texts(rng):
    """Numbers of lines are those nearest to their text, or left to the caller; words are as they stand."""
    written = [f"{value:.{digits}g}" for value in rng.standard_normal(40) for digits in (3, 9, 17)]
    for number in (*NUMBERS.split(), *written):
        lines = lines_of(f"a {number} 1".encode(), 1, 2)
        assert lines.state[0] in (text.READ, text.UNSURE), number
        if lines.state[0] == text.READ:
            wanted = np.array([np.float32(float(number)), 1], np.float32)
            if wanted[0] == 0:
                wanted[0] = abs(wanted[0]) if "-" not in number[:1] else wanted[0]
            assert lines.vectors[0].tobytes() == wanted.tobytes(), number
        halfway_or_too_large = number in ("16777217", "16777219", "1e64")
        assert lines_of(f"a 1 {number}".encode(), 1, 2).state[0] == lines.state[0], number
        assert (lines.state[0] == text.UNSURE) == halfway_or_too_large, number
    for number in ODD.split():
        assert lines_of(f"a {number} 1".encode(), 1, 2).state[0] == text.UNSURE, number
        assert lines_of(f"a 1 {number}".encode(), 1, 2).state[0] == text.UNSURE, number
    for first in (b"", b"skipped 9 9\n"):
        data = first + b"a 1 2\n two words\t 3 4 \r\n5 6 7\nshort 8\n 9 10\nend  11 12"
        lines = lines_of(data, 7, 2, len(first))
        words = [data[a:b] for a, b in zip(lines.word_start[:6], lines.word_stop[:6], strict=True)]
        read, wrong = text.READ, text.WRONG_WIDTH
        assert lines.state.tolist() == [read, read, read, wrong, read, read, 9]
        assert words == [b"a", b" two words", b"5", b"", b"", b"end"]
        assert lines.vectors[[0, 1, 2, 5]].tolist() == [[1, 2], [3, 4], [6, 7], [11, 12]]
    assert lines_of(b"a b 1 2 3\na 1 2 3", 2, 2).state.tolist() == [text.WRONG_WIDTH] * 2
    assert lines_of(b"1 2 3\n\nb 4 5\n", 1, 2).vectors.tolist() == [[2, 3]]
    # Binary records, of which the last is cut.
    values = rng.standard_normal((3, 4)).astype("<f4")
    records = [
        word + b" " + row.tobytes() for word, row in zip((b"x", b"\xc3\xa9 "[:2], b"zz"), values, strict=True)
    ]
    for cut in (0, 1, 15):
        data = b"3 4\n" + b"\n".join(records) + b"\n"
        end = len(data) - 1 - cut
        held = np.frombuffer(data, np.uint8)
        starts, stops = np.zeros(3, np.int64), np.zeros(3, np.int64)
        found = text.scan_records(held.ctypes.data, 4, end, 3, 4, starts, stops)
        assert found == (2 if cut else 3)
        words = [data[a:b] for a, b in zip(starts, stops, strict=True)]
        assert words[:found] == [b"x", b"\xc3\xa9", b"zz"][:found]
        vectors = np.zeros((3, 4), np.float32)
        text.gather_records(1, found, held.ctypes.data, 4, stops, vectors)
        assert (vectors[1:found] == values[1:found]).all()
        assert not vectors[0].any()
        joined = np.zeros(sum(stops[:found] - starts[:found]) + found, np.uint8)
        text.gather_words(held.ctypes.data, starts[:found], stops[:found], joined, ord("|"))
        assert joined.tobytes() == b"".join(word + b"|" for word in words[:found])


def case_reading(rng):
    """Rows of a file, in runs and alone, in the system's memory or not, and what cannot be read at once."""
    system = ctypes.CDLL(None, use_errno=True)
    system.pread.argtypes = ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long
    system.pread.restype = ctypes.c_long
    rows_ = rng.integers(0, 255, (200, 12), np.uint8)
    sizes = {
        "reading___AT_ONCE": 16,
        "reading___WAITED_FOR": 8,
        "reading___AT_ONCE_BYTES": 170,
        "reading___WAITED_FOR_BYTES": 90,
        "reading___ALONE_BYTES": 64,
        "reading___RUN_BYTES": 48,
    }
    with tempfile.TemporaryFile() as file:
        before = 3007  # bytes, so that a wrong place is one in the file, too
        file.write(rng.bytes(before) + rows_.tobytes())
        file.flush()
        for failing in (0.0, 0.4, 1.0):
            asked, target = [], []

            def pread(descriptor, into, count, place, failing=failing):
                if rng.random() < failing:
                    return max(0, system.pread(int(descriptor), int(into), int(count) - 3, int(place)))
                return system.pread(int(descriptor), int(into), int(count), int(place))

            def preadv2(descriptor, vector, vectors, place, flags, pread=pread, target=target):
                at, count = np.frombuffer((ctypes.c_char * 16).from_address(int(vector)), np.int64)
                assert (vectors, flags) == (1, reading._NOWAIT)
                assert 0 <= at - target[0].ctypes.data < target[0].nbytes
                return pread(descriptor, at, count, place) if rng.random() < 0.5 else -1

            def advise(descriptor, place, count, what, asked=asked):
                assert what == reading._WILLNEED
                asked.append((int(place), int(count)))

            for numbers in (
                np.arange(200),
                np.sort(rng.choice(200, 70, replace=False)),
                np.array([0]),
                np.array([5, 5, 6, 6, 7, 9, 198, 199, 199]),
            ):
                target[:] = [into := np.zeros((len(numbers), 12), np.uint8)]

                def read(first, last, numbers=numbers, into=into):
                    assert first < last
                    assert (np.diff(numbers[first:last]) == 1).all()
                    into[first:last] = rows_[numbers[first:last]]

                with (
                    interpreter.small(**sizes),
                    mock.patch.multiple(reading, _pread=pread, _preadv2=preadv2, _fadvise=advise),
                    mock.patch.object(threads, "get_num_threads", return_value=2),
                    mock.patch.object(
                        reading, "_asks_ahead", return_value=bool(rng.integers(2)) or failing == 0
                    ),
                ):
                    reading.read_rows(file.fileno(), before, numbers, into, read)
                assert (into == rows_[numbers]).all()
            for place, count in asked:
                assert (place - before) % 12 == 0
                assert 0 < count <= 48
                assert count % 12 == 0
        with interpreter.small(**sizes):
            for numbers in ([0, 1, 2, 5, 6, 9], [3], [1, 3], [4, 4, 5], list(range(30))):
                for start in range(len(numbers)):
                    end = reading._end_of_run(start, len(numbers), 12, np.array(numbers))
                    most = [
                        z for z in range(start + 1, len(numbers)) if numbers[z] != numbers[start] + z - start
                    ]
                    assert end == min([*most, len(numbers), start + 4])


def case_cosines(rng):
    """3CosMul's score of exact cosines."""
    counts = np.array([1, 3, 2, 4, 0])
    first = np.array([4, 5, 8, 0, 0])
    cosines = rng.uniform(-1, 1, 10)
    positive = rng.random(10) < 0.6
    found = cosmul.of_cosines(cosines, first, counts, positive)
    for z in range(5):
        own = slice(first[z], first[z] + counts[z])
        half, above = (1.0 + cosines[own]) / 2.0, positive[own]
        wanted = math.prod(half[above]) / (math.prod(half[~above]) + 0.001)
        assert found[z] == pytest.approx(wanted, rel=1e-15)


def case_equal_rows(rng):
    """Each row is led to the lowest that is equal to it; rows that only have the same key are not equal."""
    weights = equal._weights(200).astype(np.float64)
    pairs = (weights[:, np.newaxis] + weights)[np.triu_indices(200, 1)]
    assert len(np.unique(pairs)) > 0.99 * len(pairs)  # so few rows of two ones have the same key
    for dims in (1, 9, 40):
        vectors = rng.integers(0, 2, (30, dims + 1)).astype(np.float32) * np.float32(-0.5)
        vectors[20:] = vectors[rng.permutation(30)[:10]]
        vectors[rng.random(vectors.shape) < 0.2] *= -1  # zeros of both signs are equal
        vectors[25] = vectors[0]
        vectors[25, dims - 1] += 1
        numbers = np.union1d(np.flatnonzero(rng.random(30) < 0.8), [0, 25])
        held = matrix.of([vectors[:11], vectors[11:]])
        alike = (vectors[numbers, None, :dims] == vectors[numbers, :dims]).all(axis=2)
        with interpreter.small(equal___SHARE=64):
            found = equal.first_equal(held, numbers, dims, 2)
            assert found.tolist() == numbers[alike.argmax(axis=1)].tolist()
            with mock.patch.object(equal, "_weights", lambda dims: np.zeros(dims, np.float32)):
                found = equal.first_equal(held, numbers, dims, 2)
            assert found.tolist() == np.where(alike[0], numbers[0], numbers).tolist()


def case_own_scores(rng):
    """Each row's score with itself."""
    vectors = hashed(50, 21, int(rng.integers(1000)))
    vectors[7] = 0.0
    for metric in metrics.TABLE:
        with interpreter.small(rows___BLOCK_BYTES=256):
            found = join.own_scores(matrix.of([vectors[:20], vectors[20:]]), metric, 21, 2)
        wanted = oracle.publish(np.diagonal(oracle.scores(vectors, vectors, metric)))
        np.testing.assert_array_equal(found, wanted)


def case_prefix_of_direction(rng):
    """The error of a prefix of codes beside a direction is what they are off, and never less."""
    vectors = sharing(40, 40, int(rng.integers(1000)))
    vectors[3] = 0.0
    vectors[5, :33] = 0.0  # nothing in the prefixes
    vectors[9] *= 2.0**70
    vectors[11, :20] *= -9.0
    for lead in (64, 128):
        along = direction.measured(mean_of(sharing(50, 40)), lead)
        encoded = encode.empty(40, direction.width(40, along))
        assert direction.encode_rows(vectors, encoded, 2, along) == -1
        for dims in (1, 31, 33):
            with interpreter.small(rows___BLOCK_BYTES=64):
                cut = direction.prefix(vectors, encoded, dims, 2, along.prefix(dims))
            assert cut.codes is encoded.codes
            rows_ = vectors[:, :dims].astype(np.float64)
            norm = np.sqrt((rows_**2).sum(axis=1))
            np.testing.assert_allclose(cut.norm, norm, rtol=1e-14)
            step = encoded.scale.astype(np.float64) * encoded.norm
            codes = encoded.codes[:40].astype(np.int64) - 128
            length = step * codes[:, :lead].sum(axis=1) / math.sqrt(lead)
            part = step[:, None] * codes[:, lead : lead + dims]
            stands = (length / along.length)[:, None] * along.vector[:dims].astype(np.float64) + part
            off = np.sqrt(((rows_ - stands) ** 2).sum(axis=1))
            coded = np.sqrt((part**2).sum(axis=1))
            for i in range(40):
                if norm[i] == 0.0:
                    assert cut.error[i] == 0.0
                    continue
                rough, reached = off[i] / norm[i] + bound.MEASURED_SLACK, coded[i] / norm[i]
                more = max(0.0, reached - along.reach) * bound.QUERY_ERROR
                wanted = rough + more + 2.0 * bound.MEASURED_SLACK
                if wanted >= 1.0 or reached > bound.LONGEST or abs(length[i]) > 2.0 * norm[i]:
                    wanted = encode.NO_CODES
                assert cut.error[i] == pytest.approx(wanted, rel=2.0**-22)
    assert along.prefix(40) is along
    assert [direction.lead_for(1.0, largest) for largest in (1.0, 0.09, 0.07, 0.0)] == [64, 64, 128, 256]
    for length, fits in ((0.49, False), (0.51, True), (1.0, True), (1.01, False)):
        assert direction.fits(np.float32([length, 0.0])) == fits


def case_leading_terms(rng):
    """The lanes' terms of leading codes, and their limits, are of all rows of a chunk, and of no others."""
    for count in (1, 15, 16, 17, 31, 32, 33, 47, 64):
        n, base, chunk = count + 40, 5, 9
        terms = rng.uniform(0.1, 0.5, (n, 2)).astype(np.float32)
        norm, allowed = rng.uniform(0.1, 0.5, n), rng.random(base + n) < 0.7
        for largest in (0, count // 2, count - 1):
            terms[chunk + largest, 1], norm[chunk + largest] = 0.75, 3.0
            terms[[chunk - 1, chunk + count]], norm[[chunk - 1, chunk + count]] = 0.9, 9.0
            words = terms.view(np.uint32) & np.uint32(0xFFFF0000)
            scale, margin = words.view(np.float32).T
            leading = SimpleNamespace(words=words[:, 0] | words[:, 1] >> np.uint32(16))
            for metric in metrics.BOUNDED:
                for some in (allowed, np.empty(0, np.bool_)):
                    coarse = SimpleNamespace(norm=norm, allowed=some, base=base)
                    rows_ = SimpleNamespace(coarse=coarse, leading=leading, leading_skew=0.125)
                    room = np.full((2, count + encode.SPARE_ROWS), 7.0, np.float32)
                    found = screen.leading_terms(metric, chunk, count, rows_, *room)
                    here = slice(chunk, chunk + count)
                    power, longest = (0.5, 1.0) if metric == "cosine" else (0.25, 3.0)
                    most = margin[here].max() if metric == "cosine" else terms[chunk + largest, 1]
                    assert found == (power, most, longest * power, screen._MOST_SLACK, 0.125)
                    own = norm[here] * power
                    wanted = {
                        "cosine": (scale[here], margin[here].copy()),
                        "dot": (scale[here] * own, margin[here] * own),
                        "euclidean": (scale[here] * own, -own * own),
                    }[metric]
                    if len(some):
                        wanted[1][~allowed[base + chunk : base + chunk + count]] = -np.inf
                    np.testing.assert_allclose(room[:, :count], wanted, rtol=2**-22)
                    assert (room[0, count:] == 0).all()
                    assert (room[1, count:] == -np.inf).all()
            terms[chunk + largest, 1], norm[chunk + largest] = 0.2, 0.2


def case_blocks(rng):
    """Rows that changed are found, the first and the last too; parts and copies of blocks are their rows."""
    plain = hashed(90, 70, int(rng.integers(1000)))
    made = {
        "float32": (plain, {"screen": "off"}),
        "screen": (plain, {"screen": 64}),
        "leading": (hashed(90, 200, 3), {"screen": 192}),
        "int8": (int8_rows(90, 37, 4), {}),
    }
    with mock.patch.multiple(blocks, LOT=4, BLOCK=16, IN_PLACE_BYTES=1 << 16):
        for vectors, options in made.values():
            index = fastvec.Index(vectors[:40], **options)
            for first, last in ((40, 41), (41, 80), (80, 90)):
                index.add(vectors[first:last])
            store = index._store
            basis = store.screening and store.screening.basis
            every = store._all_screened
            assert len(every) > 1
            assert blocks.first_changed(every, basis) == -1
            starts = store.matrix.starts.tolist()
            for row in {0, 15, 16, *starts[1:-1], *(start - 1 for start in starts[1:])}:
                home = int(np.searchsorted(starts, row, "right")) - 1
                block, inside = every[home], row - starts[home]
                changed = block.vectors.copy()
                changed[inside] = 1 - changed[inside]
                others = every[:home], every[home + 1 :]
                swapped = (*others[0], block._replace(vectors=changed), *others[1])
                assert blocks.first_changed(swapped, basis) == row
                if block.screened is not None:
                    tail = block.screened.encoded.error.copy()
                    tail[inside] *= np.float32(0.99)
                    encoded = block.screened.encoded._replace(error=tail)
                    wrong = block._replace(screened=block.screened._replace(encoded=encoded))
                    assert blocks.first_changed((*others[0], wrong, *others[1]), basis) in (-1, row)
            kept = np.sort(rng.choice(90, 50, replace=False))
            kept[[0, -1]] = 0, 89
            copied = blocks.gathered(every, store.matrix, kept)
            assert (copied.vectors == vectors[kept]).all()
            assert (copied.owned, copied.room, copied.prefixes) == (True, None, {})
            assert copied.screened_rows == (0 if basis is None else 50)
            assert blocks.first_changed((copied,), basis) == -1
            for block in every:
                n = len(block.vectors)
                for first, last in ((0, n), (n - 1, n), (n // 2, n)):
                    some = blocks.part(block, first, block.vectors[first:last])
                    assert some.screened_rows == (0 if basis is None else last - first)
                    assert not some.owned
                    assert blocks.first_changed((some,), basis) == -1
                held = [array[:n] for array in block.encoded[:4]]
                if block.screened is not None:
                    held += [*block.screened.encoded[:3], block.screened.slack, *block.screened.leading]
                size = sum(array[:n].nbytes for array in held) + (block.vectors.nbytes if block.owned else 0)
                assert block.nbytes == size
            if basis is not None:
                for block in every:
                    assert block.screened_rows == len(block.vectors)
                again = blocks.with_screen(every[-1]._replace(screened=None, screened_rows=0), basis, 1)
                known = every[-1].screened.encoded
                for old, new in zip(known[:3], again.screened.encoded[:3], strict=True):
                    count = again.screened_rows
                    assert (old[:count] == new[:count]).all()
    assert not blocks.is_mapped(plain[1:])
    with tempfile.NamedTemporaryFile() as file:
        mapped = np.memmap(file.name, np.float32, "w+", shape=(4, 3))
        assert blocks.is_mapped(mapped[1:])
        assert blocks.is_mapped(np.asarray(mapped)[:, 1:])


def case_rows_written_to(rng):
    """A search, a range and pairs name a row that was written to since it was encoded."""
    for row in (0, 59):
        for screened in ("off", 64):
            vectors = gaussian(60, 70, int(rng.integers(1000)))
            query = vectors[row : row + 1].copy()
            index = fastvec.Index(vectors, metric="dot", screen=screened)
            held = index._store.blocks[0].vectors
            held.flags.writeable = True
            held[row] *= 3
            many = np.repeat(query, 18, axis=0)
            for asked, k, threads_ in ((query, 1, 1), (many[:2], 3, 2), (many, 2, 1)):
                said = ""
                try:
                    index.search(asked, k, num_threads=threads_)
                except RuntimeError as error:
                    said = str(error)
                assert re.search(rf"row {row}\b", said)
                said = ""
                try:
                    index.range_search(asked, 0.0)
                except RuntimeError as error:
                    said = str(error)
                assert re.search(rf"row {row}\b", said)
