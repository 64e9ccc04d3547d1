"""Cases of ``interpreted_cases.py`` that compare kernels with plain twins of what each is to compute.

Joins and groups, codes beside a direction, of integers and of prefixes, targets of analogies, products of
matrices, and selection from long rows: searches use these as well, but many other bits give their answers.
"""

import itertools
import math
from types import SimpleNamespace
from unittest import mock

import interpreter  # before kernels are imported
import numpy as np
import oracle
import pytest
from assertions import assert_same_topk
from data import gaussian, hashed, mean_of, mixed, sharing
from interpreted_parts import GENERIC, NONE, encoded_rows, originals_of, raises
from test_int8 import int8_rows

import fastvec
from fastvec.kernels import (
    analogy,
    bound,
    cosmul,
    direct,
    direction,
    encode,
    join,
    log,
    matrix,
    metrics,
    products,
    scan,
    selection,
    tiles,
)


def join_of(left, right, metric, least, itself, allowed=NONE, codes_of=None, num_threads=2):
    """A join whose right rows come in two pieces, in one block or two; their codes may be of other rows."""
    numbers = np.flatnonzero(allowed) if itself and len(allowed) else np.arange(len(left))
    cut = len(right) // 3
    coded = right if codes_of is None else codes_of
    pieces = [
        (first, scan.rows_of(encoded_rows(coded[first:last]), first, allowed))
        for first, last in ((0, cut), (cut, len(right)))
    ]

    def source(start, stop):
        for first, rows_ in pieces:
            begin, end = max(start - first, 0), min(stop - first, len(rows_.norm))
            if begin < end:
                yield scan.Piece(begin, end, rows_)

    return join.Join(
        lambda first, last: join.Left(
            numbers[first:last], left[numbers[first:last]], int(numbers[first]) if itself else 0
        ),
        len(numbers),
        source,
        len(right),
        matrix.of([right[:cut], right[cut:]] if itself else [right]),
        allowed,
        itself,
        metric,
        left.shape[1],
        np.float32(least),
        float(np.nextafter(np.float32(least), np.float32(-np.inf))),
        lambda row: RuntimeError(f"row {row} changed"),
        GENERIC,
        None,
        None,
        num_threads,
    )


def groups_of(n, pairs):
    """The lowest row of each row's group."""
    group = np.arange(n)
    for a, b in pairs:
        low, high = sorted((group[a], group[b]))
        group[group == high] = low
    return group


SMALL_JOINS = {
    "tiles__CHUNK": 64,
    "tiles__PANEL": 32,
    "scan___RANGE_LOG": 128,
    "join___LEFT": 16,
    "join___SCORED": 64,
    "join___PAIRS": 64,
    "join___LEAST_PAIRS": 8,
}


def case_joins(rng):
    """Pairs in order, in parts of bounded size; groups of connected rows; rows that changed are named."""
    vectors = np.repeat(hashed(17, 9, int(rng.integers(1000))), 2, axis=0)
    others = np.concatenate([vectors[3:4], vectors[3:9:3], hashed(28, 9, 7)])[1:]  # behind one that would do
    allowed = rng.random(34) < 0.7
    allowed[[0, 33]] = True
    with interpreter.small(**SMALL_JOINS):
        for metric, itself, some, place in (
            ("dot", True, NONE, 0.2),
            ("dot", False, NONE, 0.9),
            ("euclidean", True, allowed, 0.9),
            ("manhattan", True, allowed, 0.3),
            ("manhattan", True, NONE, 0.97),
            ("manhattan", False, NONE, 0.9),
        ):
            right = vectors if itself else others
            scores = oracle.publish(oracle.scores(vectors, right, metric))
            least = np.sort(scores, axis=None)[int(place * scores.size)]
            wanted = scores >= least
            if itself:
                wanted &= np.arange(34) > np.arange(34)[:, None]
            if len(some):
                wanted &= some[:, None] & some
            joined = join_of(vectors, right, metric, least, itself, some)
            found = list(join.pairs(joined))
            for part in found:
                assert 0 < len(part.left) <= 8 or len(set(part.left.tolist())) == 1
            pairs = np.concatenate([np.stack(part[:2], axis=1) for part in found])
            assert (pairs == np.argwhere(wanted)).all()
            assert (np.concatenate([part.score for part in found]) == scores[wanted]).all()
            if itself:
                forest = np.arange(34)
                join.unite(joined, forest)
                assert (join.roots(forest) == groups_of(34, pairs)).all()
        for metric in ("dot", "manhattan"):
            for row in (0, 29):
                bad = others.copy()
                bad[row, 3] = np.nan
                with raises(RuntimeError, f"row {row} changed"):
                    list(join.pairs(join_of(vectors[:2], bad, metric, -1e30, False, codes_of=others)))
                left = join.Left(np.array([7]), bad[row : row + 1], 0)
                asked = join_of(bad[row : row + 1], others, metric, -1e30, False)
                with raises(RuntimeError, "row 7 changed"):
                    list(join.pairs(asked._replace(left=lambda *_, left=left: left)))
    # Where fewer than four left rows are left, the last is read again, and nothing past it.
    some = hashed(7, 9, 1)
    originals = originals_of(some, others)
    accumulate, asked = direct.accumulate_row, join._Sought(np.arange(6), False, np.float32(-1e9), NONE)

    def accumulated(metric, queries, *row):
        places = [(at - some.ctypes.data) / some.strides[0] for at in queries]
        assert places in ([0, 1, 2, 3], [4, 5, 5, 5])
        return accumulate(metric, queries, *row)

    with mock.patch.object(direct, "accumulate_row", accumulated):
        block, room = matrix.Strided.of(others), join._empty(24)
        assert join._score_block("manhattan")(3, 7, block, originals, NONE, asked, room) == (24, -1)
    for metric, num_threads, lefts, dims in itertools.product(
        ("dot", "manhattan"), (1, 2, 64), (1, 52, 10**6), (9, 4096)
    ):
        joined = join_of(vectors[:1], vectors[:3], metric, 0.0, True, num_threads=num_threads)
        joined = joined._replace(lefts=lefts, dims=dims)
        height, room, most = join._left_rows(joined), join._room(joined), join._most_scored(joined)
        assert type(height) is int
        assert 1 <= height <= 1024
        assert height * tiles.CHUNK <= room
        assert 1 << 18 <= room <= log.CAPACITY
        assert room * num_threads <= max(1 << 22, num_threads << 18)
        assert height % 16 == 0 or height == most
        assert height <= max(16, -(-lefts // (8 * num_threads)) + 15)
        assert 64 <= most <= 1 << 16
        assert most * dims <= 1 << 27
        assert height <= most or metric == "dot"


def case_forests(rng):
    """Trees are united while their lock is held, and lead from every row to a lower one."""
    locked = []

    class Lock:
        def __enter__(self):
            locked.append(True)

        def __exit__(self, *_):
            locked.pop()

    unite = join._unite

    def united(*arguments):
        assert locked
        unite(*arguments)

    vectors = hashed(9, 5, 1)
    joined = join_of(vectors, vectors, "dot", -1e9, True, num_threads=1)
    with (
        mock.patch.object(join, "threading", SimpleNamespace(Lock=Lock)),
        mock.patch.object(join, "_unite", united),
    ):
        forest = np.arange(9)
        join.unite(joined, forest)
    assert not locked
    assert not join.roots(forest).any()
    for _ in range(20):
        forest, numbers = np.arange(30), np.sort(rng.choice(30, 12, replace=False))
        left, right = rng.integers(0, 12, 15), rng.integers(0, 30, 15)
        for z in range(15):
            unite(numbers, left[z : z + 1], right[z : z + 1], forest)
            assert (forest <= np.arange(30)).all()
            for row in (numbers[left[z]], right[z]):  # what was met is a child of the root
                assert forest[forest[row]] == forest[row]
        assert (join.roots(forest) == groups_of(30, zip(numbers[left], right, strict=True))).all()
        assert (join.roots(join.roots(forest)) == join.roots(forest)).all()


def case_long_rows(rng):
    """Selection by thresholds: scores that rise, fall, tie and repeat fill buffers and raise thresholds."""
    n = 700
    rising = np.arange(n, dtype=np.float32)
    rows_ = np.stack(
        [
            rising,
            rising[::-1],
            np.zeros(n, np.float32),
            rising % 5,
            np.where(rising < 300, rising, 299 - rising % 7),
            rng.permutation(rising // 9),
            np.concatenate([np.full(n - 5, -np.inf, np.float32), rising[:5]]),
            np.repeat(rng.permutation(70), 10).astype(np.float32),
        ]
    )
    small = {"selection___ROUNDS": 2, "selection___CHUNK": 128, "selection___RANKED": 4}
    with interpreter.small(**small):
        for width in (700, 641, 256):
            some = rows_[:, :width].copy()
            for kind, largest, k in (("f4", True, 1), ("f4", False, 3), ("i4", True, 30), ("u8", False, 7)):
                typed = some.astype(kind) if kind[0] == "f" else np.maximum(some, 0).astype(kind)
                scores, indices, nan = selection.select(typed, k, largest, 1)
                assert nan is None
                assert_same_topk(
                    fastvec.TopK(scores, indices), oracle.topk(typed.astype(np.float64), k, largest)
                )
            for row, column in ((0, 0), (3, width - 1), (7, width // 2)):
                wrong = some.copy()
                wrong[row, column:] = np.nan
                assert selection.select(wrong, 3, True, 1)[2] == (row, column)


def case_int8_codes(rng):
    """int8 rows are their own codes; norms, scales and errors of them and of their prefixes."""
    for dims in (1, 33, 64):
        vectors = int8_rows(20, dims, int(rng.integers(1000)))
        vectors[[0, 19]] = 0
        vectors[7, : dims // 2] = 0
        into = encode.empty(20, dims)
        into.codes[:] = 7
        with interpreter.small(rows___BLOCK_BYTES=64):
            encode.encode_int8(vectors, into, 2)
        assert (into.codes[:20, :dims].astype(int) - 128 == vectors).all()
        assert (into.codes[:20, dims:] == 128).all()
        for cut in {dims, max(1, dims // 2)}:
            with interpreter.small(rows___BLOCK_BYTES=64):
                found = into if cut == dims else encode.prefix_int8(vectors, into, cut, 2)
            norm = np.sqrt((vectors[:, :cut].astype(np.float64) ** 2).sum(axis=1))
            np.testing.assert_array_equal(found.norm, norm)
            np.testing.assert_array_equal(found.error, np.where(norm > 0, bound.MEASURED_SLACK, 0))
            assert found.error.dtype == np.float32
            assert found.codes is into.codes
            for i in range(20):
                unit = 1.0 / norm[i] if norm[i] > 0 else 0.0
                assert encode.unit_scale(found, i) == pytest.approx(unit, rel=2.0**-23)


def case_prefix_codes(rng):
    """A prefix of codes: its norms and errors, and the scales of its unit rows; rows gathered from it."""
    vectors = mixed(30, 70, int(rng.integers(1000)))
    vectors[0], vectors[5, :33], vectors[29, :69] = 0.0, 0.0, 0.0
    vectors[9, :33] *= np.float32(1e-4)  # codes of the prefix are all zero
    vectors[11] *= np.float32(2.0**70)
    whole = encoded_rows(vectors)
    for dims in (1, 32, 33, 69):
        with interpreter.small(rows___BLOCK_BYTES=256):
            cut = encode.prefix(vectors, whole, dims, 2)
        assert cut.codes is whole.codes
        assert cut.whole is whole.norm
        for i, x in enumerate(vectors[:, :dims].astype(np.float64)):
            norm = math.sqrt(math.fsum(x * x))
            assert cut.norm[i] == pytest.approx(norm, rel=1e-14)
            unit = encode.unit_scale(cut, i)
            if norm == 0.0:
                assert (cut.error[i], unit) == (0.0, 0.0)
                continue
            off = x / norm - float(whole.scale[i]) * whole.norm[i] / norm * (whole.codes[i, :dims] - 128.0)
            wanted = math.sqrt(off @ off) + bound.MEASURED_SLACK
            assert (cut.error[i] == encode.NO_CODES) == (wanted >= 1.0)
            if wanted >= 1.0:
                assert unit == 0.0
                continue
            assert unit == pytest.approx(float(whole.scale[i]) * whole.norm[i] / norm, rel=1e-14)
            assert wanted <= cut.error[i] * (1 + 2.0**-23)
            assert cut.error[i] <= wanted * (1 + (dims / 32 + 9) * 2.0**-23)
        chosen = rng.permutation(30)[:7]
        for source in (whole, cut):
            room = encode.empty(9, 70)
            found = encode.gather(source, chosen, room)
            for ours, theirs in zip(found, source, strict=True):
                assert len(theirs) == 0 or (ours[:7] == theirs[chosen]).all()
            assert len(found.whole) == (0 if source is whole else 7)
    for m, tile in ((1, 16), (21, 16), (33, 32), (5, 0)):
        codes, packed, correction = encode.packed_codes(whole.codes[:m], tile)
        signed = whole.codes[:m].astype(int) - 128
        room = -(-m // tile) * tile if tile else m
        assert (codes.shape, codes.dtype, len(correction)) == ((room, 128), np.int8, room)
        assert (codes[:m] == signed).all()
        assert (codes[m:] == 0).all()
        assert correction.tolist() == [*(-128 * signed.sum(axis=1)), *[0] * (room - m)]
        laid = packed.reshape(-1, 32, 16, 4)
        assert len(laid) == (room // 16 if tile else 0)
        for q in range(room if tile else 0):
            assert (laid[q // 16, :, q % 16].ravel() == codes[q]).all()
        assert all(array.ctypes.data % 64 == 0 for array in (codes, correction) if array.size)
    every = encode.pack(vectors, 63, 16, 1)
    for first, last in ((0, 16), (16, 30), (16, 17)):
        part, end = every.part(first, last), -(-last // 16) * 16
        assert (part.packed == every.packed[128 * first : 128 * end]).all()
        assert (part.correction == every.correction[first:end]).all()
        for name in ("codes", "scale", "error", "norm"):
            assert (getattr(part, name) == getattr(every, name)[first:last]).all()
    assert (every.scale[(every.norm == 0.0)] == 1.0).all()
    assert every.scale.dtype == every.error.dtype == np.float64
    with raises(RuntimeError, "queries changed"):
        encode.packed(whole, 3, 16, 0)
    for dims in (1, 1 << 17):  # what float32 sums of so many dimensions lose
        error, growth = encode._rounded_error(0.25, 2.0, dims), 1.0 + (dims / 32 + 8) * 2.0**-24
        assert error == np.float32(0.25 * growth + bound.MEASURED_SLACK)


def case_targets(rng):
    """3CosAdd's targets, of unit rows in the order given; parts of questions; a row that is not finite."""
    vectors = hashed(20, 7, int(rng.integers(1000)))
    vectors[3] = 0.0
    wide = vectors.astype(np.float64)
    units = (
        wide * np.where(vectors.any(axis=1), 1 / np.maximum(np.linalg.norm(wide, axis=1), 1e-9), 0.0)[:, None]
    )
    asked = [([4, 3], [7]), ([0], []), ([], [19, 3]), ([5, 5, 6], [5, 1])]
    counts = [(len(a), len(b)) for a, b in asked]
    offsets = np.concatenate([[0], np.cumsum([a + b for a, b in counts])])
    inputs = analogy.InputRows(
        offsets,
        offsets[:-1] + [a for a, _ in counts],
        np.concatenate([a + b for a, b in asked]).astype(np.int64),
    )
    wanted = np.array([units[a].sum(axis=0) - units[b].sum(axis=0) for a, b in asked])
    for part_bytes, (first, last) in itertools.product((28, 1 << 18), ((0, 4), (1, 3), (3, 4), (2, 2))):
        part = inputs.part(first, last)
        assert (part.offsets[0], len(part.numbers)) == (0, part.offsets[-1])
        with interpreter.small(rows___BLOCK_BYTES=part_bytes):
            found, bad = analogy.targets(part, matrix.of([vectors[:5], vectors[5:]]), 7, 2)
        assert bad == -1
        np.testing.assert_allclose(found, wanted[first:last], atol=2.0**-23)
    with interpreter.small(rows___BLOCK_BYTES=28):
        for row, question in ((4, 0), (0, 1), (19, 2)):
            wrong = vectors.copy()
            wrong[row, 6] = np.nan
            assert analogy.targets(inputs, matrix.of([wrong]), 7, 2)[1] == row, question


def case_multiplied(rng):
    """Products of rows of any strides with columns of any number, for few and for many rows."""
    for n in (1, 5, 49, 260):
        for dims, count in ((1, 1), (7, products.COLUMNS), (5, products.COLUMNS + 3)):
            plain, columns = rng.standard_normal((n, dims)), rng.standard_normal((dims, count))
            columns = columns.astype(np.float32)
            for rows_ in (
                plain.astype(np.float32),
                np.asfortranarray(plain.astype(np.float32)),
                np.repeat(plain.astype(np.float32), 2, axis=0)[::2],
            ):
                found = products.multiply(rows_, columns, 2)
                assert (found.shape, found.dtype) == ((n, count), np.float32)
                np.testing.assert_allclose(found, rows_ @ columns, rtol=1e-5, atol=1e-5)
    with mock.patch.object(products, "_PART_WORK", 1 << 13):
        columns = products.Columns.of(np.zeros((3, products.COLUMNS + 1), np.float32), 10)
        for n in (1, 48, 500):
            runs = products.parts(n, columns, 2)
            assert [row for run in runs for row in range(*run)] == list(range(n))
            assert all(first % 48 == 0 for first, _ in runs)
            assert all((b - a - 48) * 6 * products.COLUMNS <= 1 << 13 for a, b in runs)
            assert len(runs) >= min(2, -(-n // 48))


def case_questions(rng):
    """3CosMul of more questions than are ranked at a time, with filters that leave whole blocks out."""
    vectors = hashed(70, 3, int(rng.integers(1000)))
    positive = [rng.integers(0, 70, rng.integers(1, 3)).tolist() for _ in range(67)]
    negative = [rng.integers(0, 70, rng.integers(0, 3)).tolist() for _ in range(67)]
    mask = np.arange(70) >= 64
    mask[3:5] = True
    for options in ({"where": mask}, {"where": rng.random((67, 70)) < 0.3}):
        with mock.patch.object(cosmul, "_VALUES", 1):
            found = fastvec.analogy(
                vectors, positive, negative, 2, method="3cosmul", num_threads=1, **options
            )
        assert_same_topk(found, oracle.analogy(vectors, positive, negative, 2, "3cosmul", **options))


def case_halves(rng):
    """Rows whose score may reach a heap's worst one pass, however far halves are off; others do not."""
    for factors, above in ((1, 1), (3, 2), (5, 0), (4, 4)):
        halves = rng.uniform(0.0, 1.0, (8, 32))
        numbers = rng.integers(0, 8, factors)
        exact = halves[numbers[:above]].prod(axis=0) / (halves[numbers[above:]].prod(axis=0) + 0.001)
        heaps = SimpleNamespace(sizes=[1], scores=np.empty((1, 1)), rows=np.zeros((1, 1), np.int64))
        inputs = analogy.InputRows(np.array([0, factors]), np.array([above]), numbers)
        for worst in (*exact[:3], 2.0**-91, -np.inf):
            with mock.patch.object(cosmul, "threshold", lambda *_, worst=worst: worst):
                root = cosmul._root(inputs, 0, heaps)
            lowest = 0.0 if worst < 2.0**-90 else worst * (1 - (factors + 4) * 2.0**-22)
            assert root == np.float32(lowest)
            for error in (np.float32(0.0), np.float32(0.01)):
                off = (halves + rng.choice([-0.999, 0.999], halves.shape) * float(error)).astype(np.float32)
                at = numbers.ctypes.data
                bits = cosmul._may_enter(at, at + 8 * above, at + 8 * factors, off.ctypes.data, error, root)
                passed = [bits >> j & 1 for j in range(32)]
                high = np.float64(off) + error, np.maximum(np.float64(off) - error, 0.0)
                most = high[0][numbers[:above]].prod(axis=0) / (high[1][numbers[above:]].prod(axis=0) + 0.001)
                assert all(passed[j] or exact[j] < worst for j in range(32))
                assert all(not passed[j] or most[j] >= root * (1 - 2.0**-18) for j in range(32))


def case_pair_scores(rng):
    """The score of a row with another, as it is published, and NaN where one is not finite."""
    vectors = hashed(12, 33, int(rng.integers(1000)))
    vectors[7] = 0.0
    for metric in metrics.TABLE:
        wrong = vectors.copy()
        wrong[[0, 11], 32] = np.nan, np.inf
        scores = oracle.publish(oracle.scores(vectors, vectors, metric))
        score = direct.pair_score(metric)
        of = [matrix.of([some[:5], some[5:]]) for some in (vectors, wrong)]
        right, bad = map(matrix.LAYOUT.of, of)
        for a, b in ((0, 11), (11, 0), (4, 5), (6, 6), (7, 1), (3, 7)):
            assert score(right.at, a, b, 33) == scores[a, b]
        assert all(np.isnan(score(bad.at, a, b, 33)) for a, b in ((0, 5), (5, 0), (11, 5), (5, 11)))


def case_upper_ends_of_products(rng):
    """(11) of ``bound.py``: what a float32 product says a score is at most is no less, and little more."""
    for dims, power in ((3, 1.0), (33, 2.0**-25), (70, 2.0**40)):
        queries, vectors = hashed(4, dims, int(rng.integers(1000))), hashed(9, dims, 2) * np.float32(power)
        error, narrow = direct.float_error(dims), vectors.astype(np.float64)
        assert error == pytest.approx((dims / 32 + 10) * 1.01 * 2.0**-24, rel=1e-15)
        for metric in metrics.BOUNDED:
            exact = oracle.scores(queries, vectors, metric)
            for q, x in itertools.product(range(4), range(9)):
                product = direct.float_products(queries[q].ctypes.data, vectors[x].ctypes.data, dims)
                q_squares = float(queries[q].astype(np.float64) @ queries[q])
                squares = np.float32(narrow[x] @ narrow[x])
                assert direct._in_range(squares)
                end = direct.upper_end(metric, product, q_squares, squares, error)
                assert end >= exact[q, x]
                size = {"cosine": 1.0, "dot": math.sqrt(q_squares * float(squares))}
                if metric in size:
                    assert end <= exact[q, x] + 6 * error * size[metric]
    for metric in metrics.BOUNDED:
        for length in (2.0**-81, 2.0**121):
            assert direct.upper_end(metric, np.float32(0), 1.0, length**2, 1e-6) == np.inf
    for squares, near in ((2.0**-60, False), (2.0**-59, True), (2.0**99, True), (2.0**100, False)):
        assert direct._in_range(np.float32(squares)) == near
    assert not direct._in_range(np.float32(np.nan))


def case_divided(rng):
    """Codes beside a direction are what ``direction.py`` says, of rows and of queries; and so are errors."""
    vectors = np.concatenate([sharing(8, 40, int(rng.integers(1000))), gaussian(3, 40, 2)])
    vectors[0] = 0.0
    vectors[2] *= -1
    vectors[3] = 0.0
    vectors[3, 39] = 9.0
    for lead in (64, 128):
        along = direction.measured(mean_of(sharing(50, 40)), lead)
        mean = along.vector.astype(np.float64)
        assert along.length == pytest.approx(np.linalg.norm(mean), rel=1e-15)
        assert along.reach == min(1.0, 1.2 * math.sqrt(1.0 - math.fsum(mean * mean)))
        assert direction.width(40, along) == 64 + lead
        assert direction.width(40, None) == 64
        rows_ = encode.empty(11, direction.width(40, along))
        rows_.codes[:] = 7
        assert direction.encode_rows(vectors, rows_, 2, along) == -1
        assert (rows_.codes[11:] == 7).all()
        checked_codes(vectors, rows_.codes[:11].astype(int) - 128, rows_, along, 127, False)
        for power in (2.0**-70, 2.0**-21, 2.0**21, 2.0**70):  # which changes norms, and nothing else
            scaled = encode.empty(11, direction.width(40, along))
            assert direction.encode_rows(vectors * np.float32(power), scaled, 1, along) == -1
            for ours, theirs in zip(scaled[:3], rows_[:3], strict=True):
                np.testing.assert_array_equal(ours[:11], theirs[:11])
            np.testing.assert_allclose(scaled.norm, rows_.norm * power, rtol=1e-14)
        for cut in (40, 33):
            own, some = along.prefix(cut), np.ascontiguousarray(vectors[:, :cut])
            assert (own.whole, own.length, len(own.vector)) == (cut == 40, along.length, cut)
            packed = direction.pack(some, 63, 16, 2, own)
            checked_codes(some, packed.codes[:11].astype(int), packed, own, 63, True)
            room = encode.room_for(2, direction.width(cut, own))
            direction.fill(room, some[:2], 63, own)
            for name in ("codes", "correction", "scale", "error", "norm"):
                np.testing.assert_array_equal(getattr(room.queries, name), getattr(packed, name)[:2])
            assert direction.full(room).encoded.codes.shape == (0, direction.width(cut, own))
    for bad in (0, 10):
        wrong = vectors.copy()
        wrong[bad:, 39] = np.inf
        assert direction.encode_rows(wrong, rows_, 2, along) == bad
    plain = encode.empty(11, 40)
    assert direction.encode_rows(vectors, plain, 1, None) == -1
    assert (plain.scale == encoded_rows(vectors).scale).all()
    # Codes of few levels, none of which is left for the direction, say too little.
    along = direction.Direction(np.eye(1, 33, 5, np.float32)[0] * np.float32(0.75), 64, 0.75, 0.5, True)
    some = np.zeros((3, 33), np.float32)
    some[:, [5, 9]] = (0.6, 0.8), (0.01, 1.0), (1.0, 0.0)
    for own in (along, along._replace(whole=False)):
        packed = direction.pack(some, 7, 0, 1, own)
        checked_codes(some, packed.codes.astype(int), packed, own, 7, True)
        assert (packed.error == encode.NO_CODES).tolist() == [True, False, not own.whole]
    assert direction._query_error(0.01, 0.5, 0.34, along) == 1.0
    assert direction._query_error(0.01, 0.5, 0.33, along) < 1.0


def checked_codes(vectors, codes, coded, along, levels, of_queries):
    """Compare codes beside a direction with rows that they stand for, and errors with what they are off."""
    mean, lead, length = along.vector.astype(np.float64), along.lead, along.length
    dims, root, divided = vectors.shape[1], math.sqrt(along.lead), along.whole or not of_queries
    assert (codes[:, lead + dims :] == 0).all()
    for i, x in enumerate(vectors.astype(np.float64)):
        own, used = math.sqrt(x @ x), coded.error[i] != encode.NO_CODES
        assert coded.norm[i] == pytest.approx(own, rel=1e-14)
        if own == 0.0 or not used:
            assert not codes[i].any()
            assert coded.scale[i] == (1.0 if of_queries else 0.0)
        if own == 0.0:
            assert coded.error[i] == 0.0
            continue
        reached = x @ mean / length
        edge, rest = abs(reached) / root, np.abs(x - (reached / length if divided else 0.0) * mean).max()
        if of_queries:
            units = min(levels, math.floor(edge * levels / max(rest, edge * 2.0**-20)))
            step = edge / units if units else np.abs(x).max() / levels
            total = math.copysign(units * lead, reached)
        else:
            step = max(rest, edge) / levels
            total = np.clip(np.rint(reached * root / step), -levels * lead, levels * lead)
        if used:
            assert coded.scale[i] * own == pytest.approx(step, rel=2.0**-21)
            step, front = float(coded.scale[i]) * own, codes[i, :lead].tolist()
            assert abs(sum(front) - total) <= (0 if of_queries else 1)
            assert front == sorted(front, reverse=True)
            assert front[0] - front[-1] <= 1
            total = sum(front)
        left = x - (step * total / (root * length) if divided else 0.0) * mean
        written = codes[i, lead : lead + dims] if used else np.rint(left / step)
        assert (np.abs(left - step * written) <= 0.5001 * step).all()
        off = abs(reached / own - step / own * total / root)
        rough = np.linalg.norm(left - step * written) / own + bound.MEASURED_SLACK
        beside = math.sqrt(max(0.0, 1.0 - (reached / own) ** 2 + off * off))
        usual, other, rest = bound.QUERY_ERROR, bound.ROW_ERROR, off if along.whole else 2.0 * off
        if not of_queries:
            usual, other, rest, beside = other, usual, 1.25 * off, beside + rough
        elif not along.whole:
            beside = 0.0
        wanted = bound.folded_error(rough, beside, along.reach, usual, other, rest)
        if of_queries and along.whole and 3.0 * off > 1.0:
            wanted = 1.0
        assert used == (wanted < 1.0)
        assert not used or coded.error[i] == pytest.approx(wanted, rel=2.0**-16, abs=2.0**-21)
