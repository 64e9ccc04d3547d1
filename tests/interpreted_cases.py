"""Searches by interpreted kernels (``interpreter.py``) with tiny buffers, against the oracle, bit for bit.

    python tests/interpreted_cases.py [name …] [--rounds N] [--seed S]

Prints a line a case. A hundred rows fill the logs, chunks and segments here that a million rows fill
elsewhere, so that what happens between them happens in every search.
"""

import argparse
import contextlib
import itertools
import os
import time
import traceback
from unittest import mock

os.environ["FASTVEC_MICRO_KERNEL"] = "generic"  # small tiles; every search scans
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # matrices are small

import interpreted_parts
import interpreted_twins
import interpreted_units
import interpreter  # before kernels are imported
import numpy as np
import oracle
from assertions import assert_same_bits, assert_same_topk
from data import KINDS, decaying, mean_of, mixed, related, sharing
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from test_int8 import int8_rows, near
from test_living import Living, Twin
from test_ranges import assert_ranges

import fastvec
from fastvec._stores import base, blocks, directions, screens
from fastvec.kernels import cost, direction, metrics, micro

METRICS = tuple(metrics.TABLE)
BOUNDED = tuple(metrics.BOUNDED)

TINY = {
    "tiles__CHUNK": 64,
    "tiles__PANEL": 32,
    "log___DRAIN": 64,
    "log___SLACK": 400,
    "log___ALWAYS_KEPT": 24,
    "log___DIRECT": 4,
    "scan___SEGMENT": 128,
    "scan___RANGE_LOG": 128,
    "scan___SCREEN_DRAIN": 32,
    "screen___PATIENCE": 64,
    "screen___BLOCK": 64,
    "rescore___DEEP": 2,
    "rescore___MANY": 8,
    "rescore___BINS": 4,
    "filters__FEW": 2,
    "ranking___COUNTED": 8,
    "direct___ROWS_BYTES": 1024,
    "direct___SHARE": 512,
    "join___LEFT": 16,
    "join___PAIRS": 64,
    "join___LEAST_PAIRS": 8,
    "seeds___PROBES": 2,
}


@contextlib.contextmanager
def tiny(capacity=4096, **sizes):
    """Buffers of some dozens of entries; every thread that is allowed takes part."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(interpreter.small(**TINY | {"log__CAPACITY": capacity} | sizes))
        for name, value in (
            ("scan_threads", lambda n, m, dims, num_threads, **_: num_threads),
            ("sharing_rows_pays", lambda *_, **__: True),
        ):
            stack.enter_context(mock.patch.object(cost, name, value))
        yield


def some_filters(rng, m, n):
    """``where`` and ``exclude`` as users pass them, or none."""
    options = {}
    kind = rng.integers(0, 6)
    if kind == 1:
        options["where"] = rng.random(n) < 0.5
    elif kind == 2:
        options["where"] = rng.random((m, n)) < 0.5
    elif kind == 3:
        options["where"] = rng.integers(0, n, n // 3)
    if rng.random() < 0.4:
        options["exclude"] = [rng.choice(n, rng.integers(0, 7), replace=False).tolist() for _ in range(m)]
    return options


def rows_for(rng, n, dims):
    """Rows that tie, rows in falling and rising order of what they score, or all kinds at once."""
    kind = rng.integers(0, 6)
    if kind == 5:  # nothing tells rows apart: queries leave the scan
        return np.repeat(KINDS["hashed"](1, dims, int(rng.integers(1000))), n, axis=0)
    if kind == 0:
        return mixed(n, dims, int(rng.integers(1000)))
    if kind == 1:
        return np.repeat(KINDS["gaussian"](-(-n // 4), dims, int(rng.integers(1000))), 4, axis=0)[:n].copy()
    vectors = KINDS["hashed"](n, dims, int(rng.integers(1000)))
    if n < 2:
        return vectors
    order = np.argsort(oracle.scores(vectors[:1] + vectors[1:2], vectors, "dot")[0])
    if kind == 2:
        return vectors[order]  # the best rows come last: every threshold rises to the end
    if kind == 3:
        return vectors[order[::-1]].copy()
    return KINDS["tied"](n, dims, int(rng.integers(1000)))


def queries_for(rng, vectors, m):
    queries = related(vectors, m, int(rng.integers(1000)))
    if m > 1:
        queries[0] = vectors[0] + vectors[1]
    return np.ascontiguousarray(queries)


def compared(index, queries, k, options, num_threads, vectors=None):
    vectors = index.vectors if vectors is None else vectors
    expected = oracle.knn(queries, vectors, k, index.metric, **options)
    assert_same_topk(index.search(queries, k, num_threads=num_threads, **options), expected)


def searched(rng, metric, make, n, dims, ms=(1, 2, 3, 17, 40)):
    m, k = int(rng.choice(ms)), int(rng.choice([1, 2, 5, 12]))
    vectors = rows_for(rng, n, dims)
    queries, threads = queries_for(rng, vectors, m), int(rng.integers(1, 4))
    with tiny(int(rng.choice([1024, 4096, 16384]))):
        compared(make(vectors, metric), queries, k, some_filters(rng, m, n), threads)


def case_search(rng):
    """Batches and few queries, over the codes of an Index."""
    make = lambda vectors, metric: fastvec.Index(vectors, metric=metric, screen="off")  # noqa: E731
    for metric in BOUNDED:
        searched(rng, metric, make, int(rng.integers(150, 300)), int(rng.choice([3, 31, 33, 65])))


def case_work(rng):
    """Few pairs pass the codes, and fewer get their exact scores: answers are as right where all do."""
    spread = 1 / (1 + np.arange(72))
    vectors = (np.random.default_rng(3).standard_normal((320, 72)) * spread).astype(np.float32)
    queries = related(vectors, 18, 1)
    ways = ("cosine", "off"), ("cosine", 64), ("dot", "off"), ("euclidean", 64)
    for (metric, screened), m in itertools.product(ways, (1, 18)):
        with tiny(16384):
            index = fastvec.Index(vectors, metric=metric, screen=screened)
            with (
                mock.patch.object(metrics, "interval", wraps=metrics.interval) as passed,
                mock.patch.object(metrics, "score", wraps=metrics.score) as exact,
            ):
                compared(index, queries[:m].copy(), 3, {}, 1)
        assert passed.call_count < 100 * m  # those of the first 64 rows, before there is a threshold, too
        assert exact.call_count < 16 * m


def case_one_shot(rng):
    for metric in METRICS:
        n, m, k = int(rng.integers(1, 200)), int(rng.choice([1, 3, 17])), int(rng.choice([1, 4]))
        vectors = rows_for(rng, n, 37)
        queries, options = queries_for(rng, vectors, m), some_filters(rng, m, n)
        for forced in ("generic", ""):  # by codes, and by whichever way is quicker: the direct pass
            in_blocks = mock.patch.object(blocks, "BLOCK", 64)
            first = mock.patch.object(cost, "encoding_first_pays", return_value=rng.random() < 0.5)
            scans = mock.patch.object(cost, "scan_pays", return_value=bool(forced))
            with (
                tiny(),
                in_blocks,
                first,
                scans,
                mock.patch.dict(os.environ, {"FASTVEC_MICRO_KERNEL": forced}),
            ):
                if not forced:
                    del os.environ["FASTVEC_MICRO_KERNEL"]
                actual = fastvec.knn(queries, vectors, k, metric=metric, num_threads=2, **options)
            assert_same_topk(actual, oracle.knn(queries, vectors, k, metric, **options))


def case_prefix(rng):
    for metric in BOUNDED:
        vectors = rows_for(rng, 180, 70)
        m, dims = int(rng.choice([1, 2, 17])), int(rng.choice([1, 31, 33, 64]))
        queries = queries_for(rng, vectors, m)
        with tiny():
            index = fastvec.Index(vectors, metric=metric, screen="off")
            for used in (queries, np.ascontiguousarray(queries[:, :dims])):
                compared(index, used, 4, {"dims": dims, **some_filters(rng, m, 180)}, 2)
            # Few queries find what earlier ones wrote down: of other columns, and of fewer rows.
            one, more = queries[:1], rows_for(rng, 20, 70)
            for options in ({}, {"dims": dims}, {}):
                compared(index, one, 3, options, 1)
            for start in (0, 10):  # the second time into the room of a block
                index.add(more[start : start + 10])
                compared(index, one, 3, {"dims": dims}, 1)
                compared(index, more[start : start + 1], 3, {"dims": dims}, 1)


def case_screen(rng):
    """Screens with and without leading codes, which give up or do not."""
    first = rng.integers(2)
    for place, metric in enumerate(BOUNDED):
        leading = (place + first) % 2 == 0
        width, n = (192, 130) if leading else (64, 200)
        dims = width + int(rng.integers(1, 9))
        spread = 1 / (1 + np.arange(dims)) ** 1.5
        vectors = (rng.standard_normal((n, dims)) * spread).astype(np.float32)
        vectors[rng.integers(0, n, n // 8)] = vectors[rng.integers(0, n, n // 8)]
        vectors[::17] = mixed(len(vectors[::17]), dims, int(rng.integers(1000)))
        with tiny(int(rng.choice([1024, 16384]))), mock.patch.multiple(screens, _PIVOTS=16, NEAREST=8):
            index = fastvec.Index(vectors, metric=metric, screen=width)
            for m in (int(rng.integers(1, 3)), 18):
                queries = queries_for(rng, vectors, m)
                compared(index, queries, int(rng.choice([1, 3, 9])), some_filters(rng, m, n), 2)
            mask = (
                rng.random(n) < 0.5
            )  # by pivots, of whose neighbors some are left out, and some are named twice
            compared(index, queries, 1, {"where": mask}, 1)
            compared(index, queries, 3, {}, 1)

            def giving_up(screening, n, dims, m):
                return blocks.Screens(screening.basis, -1.0, -1.0, screening.pivots, screening.neighbors)

            with mock.patch.object(screens.Screening, "of_search", giving_up):
                index = fastvec.Index(vectors, metric=metric, screen=width)  # nothing is written down yet
                for some in (vectors[128:129], vectors[128:130], queries):
                    compared(index, some.copy(), 2, {}, 1)


def case_wide_tiles(rng):
    """Tiles of several blocks of 16 queries, of which the last has fewer, as other processors have them."""
    ways = (
        ("avx512_vnni", "cosine", "off", 17),
        ("avx512_vnni", "dot", 64, 66),
        ("amx_int8", "euclidean", "off", 33),
    )
    for name, metric, screened, m in ways:
        vectors = decaying(75, 72, int(rng.integers(1000)))
        queries, exclude = queries_for(rng, vectors, m), [[q % 75, 7] for q in range(m)]
        wide = mock.patch.object(micro, "active", return_value=micro.TABLE[name])
        with tiny(16384, log___SLACK=4096), wide, mock.patch.multiple(screens, _PIVOTS=16, NEAREST=8):
            index = fastvec.Index(vectors, metric=metric, screen=screened)
            compared(index, queries, 3, {"exclude": exclude}, 2)
            scores = oracle.scores(queries, vectors, metric)
            least = np.float32(np.sort(oracle.publish(scores), axis=None)[-200])
            assert_ranges(index.range_search(queries, least, num_threads=1), scores, least)


def case_direction(rng):
    for metric in BOUNDED:
        vectors = sharing(170, 40, int(rng.integers(1000)))
        vectors[::5] = mixed(34, 40, int(rng.integers(1000)))
        vectors[1::11] *= -1
        along = direction.measured(mean_of(sharing(50, 40)), int(rng.choice([64, 128])))
        with tiny(), mock.patch.object(directions, "direction_for", return_value=along):
            index = fastvec.Index(vectors, metric=metric)
            assert index._store.blocks[0].direction is not None
            for m in (1, 17):
                compared(index, queries_for(rng, vectors, m), 4, some_filters(rng, m, 170), 2)


def case_ranges(rng):
    for metric in METRICS:
        n, m = 200, int(rng.choice([1, 2, 17]))
        vectors = rows_for(rng, n, 33)
        queries = queries_for(rng, vectors, m)
        scores = oracle.scores(queries, vectors, metric)
        published = np.sort(oracle.publish(scores), axis=None)
        mask = rng.random(n) < 0.6
        with tiny(1024):
            index = fastvec.Index(vectors, metric=metric)
            for place in (0.2, 0.9, 0.995):
                least = published[int(place * len(published))]
                found = index.range_search(queries, least, num_threads=2, where=mask)
                assert_ranges(found, scores, least, np.broadcast_to(mask, scores.shape))
    vectors = KINDS["gaussian"](60, 33, int(rng.integers(1000)))
    for metric in METRICS:  # scores that reach the least one only as float32
        vectors[1:] *= np.float32(2.0**-10) if metric == "euclidean" else 1  # bounds are narrow then
        scores = oracle.scores(vectors[:1], vectors, metric)
        short = np.flatnonzero(oracle.publish(scores[0]) > scores[0])
        index = fastvec.Index(vectors, metric=metric)
        for row in short[:4]:
            least = oracle.publish(scores[0])[row]
            assert_ranges(index.range_search(vectors[:1], least), scores, least)
            assert_pairs(index.pairs(least), oracle.pairs(vectors, least, metric))


def assert_pairs(actual, expected):
    for ours, theirs in zip(actual, expected, strict=True):
        assert_same_bits(ours, theirs)


def case_pairs(rng):
    for metric in METRICS:
        n = int(rng.integers(35, 55))
        vectors = rows_for(rng, n, 21)
        published = np.sort(oracle.publish(oracle.scores(vectors, vectors, metric)), axis=None)
        mask = rng.random(n) < 0.7
        with tiny(1024):
            index = fastvec.Index(vectors[: n // 2], metric=metric)
            index.add(vectors[n // 2 :])
            for place in (0.5, 0.97):
                least = published[int(place * len(published))]
                expected = oracle.pairs(vectors, least, metric, where=mask)
                assert_pairs(index.pairs(least, where=mask, num_threads=2), expected)
                groups = index.duplicates(least, num_threads=2)
                np.testing.assert_array_equal(groups, oracle.duplicates(vectors, least, metric))
            graph = index.knn_graph(3)
            itself = np.arange(n)[:, None]
            assert_same_topk(graph, oracle.knn(vectors, vectors, 3, metric, exclude=itself))
    # Equal rows that score too little with each other: alone, and joined by a third.
    for others in ([[0, 1]], [[2, 0]]):
        vectors = np.array([[0.6, 0], [0.6, 0], *others, [0, 3], [0, 3]], np.float32)
        groups = fastvec.Index(vectors, metric="dot").duplicates(1.0)
        np.testing.assert_array_equal(groups, oracle.duplicates(vectors, 1.0, "dot"))


def case_analogies(rng):
    for method in ("3cosadd", "3cosmul"):
        n = int(rng.integers(40, 150))
        vectors = rows_for(rng, n, 35)
        count = int(rng.integers(1, 12))
        positive = [rng.integers(0, n, rng.integers(1, 4)).tolist() for _ in range(count)]
        negative = [rng.integers(0, n, rng.integers(0, 3)).tolist() for _ in range(count)]
        options = {"method": method, "dims": int(rng.choice([20, 35])), "where": rng.random(n) < 0.8}
        k = int(rng.choice([1, 5]))
        expected = oracle.analogy(vectors, positive, negative, k, **options)
        with tiny():
            for answer in (
                fastvec.analogy(vectors, positive, negative, k, num_threads=2, **options),
                fastvec.Index(vectors).analogy(positive, negative, k, num_threads=2, **options),
            ):
                assert_same_topk(answer, expected)


def case_living(rng):
    """Rows added, removed, replaced and compacted, in lots of a few rows, between searches."""
    for metric in ("cosine", "euclidean"):
        vectors = rows_for(rng, 90, 20)
        with tiny(), mock.patch.multiple(blocks, LOT=4, BLOCK=16):
            index, twin = fastvec.Index(vectors, metric=metric), Twin(vectors)
            for _ in range(6):
                alive, more = twin.numbers, rows_for(rng, int(rng.integers(1, 40)), 20)
                if len(alive) and rng.random() < 0.5:  # rows that tie with others
                    more = twin.vectors[rng.integers(0, len(alive), len(more))]
                change = rng.integers(0, 4)
                if change == 0:
                    index.add(more)
                    twin.add(more)
                elif change == 1:
                    gone = rng.choice(alive, min(len(alive), int(rng.integers(1, 30))), replace=False)
                    index.remove(gone)
                    for number in gone.tolist():
                        del twin.rows[number]
                elif change == 2:
                    some = rng.choice(alive, min(len(alive), len(more)), replace=False)
                    index.replace(some, more[: len(some)])
                    twin.rows.update(zip(some.tolist(), more, strict=False))
                else:
                    np.testing.assert_array_equal(index.compact(), twin.compact())
                assert len(index) == len(twin.rows)
                for number in sorted(set(range(twin.top)) - set(twin.rows))[::5]:
                    with interpreted_parts.raises(IndexError, "removed"):
                        index.fetch([number])
                m = int(rng.choice([1, 2, 17]))
                queries = rows_for(rng, m, 20)
                options = {"exclude": [rng.choice(twin.numbers, 3).tolist() for _ in range(m)]}
                shape = [(m, twin.top), (twin.top,), None][rng.integers(0, 3)]
                if shape is not None:
                    options["where"] = rng.random(shape) < 0.6
                expected = twin.search(queries, 4, metric, **options)
                assert_same_topk(index.search(queries, 4, num_threads=2, **options), expected)
                every = twin.search(queries[:3], len(twin.rows), metric)
                least = every.scores[0, len(twin.rows) // 2]
                inside, found = every.scores >= least, index.range_search(queries[:3], least)
                assert_same_bits(found.indices, every.indices[inside])
                assert_same_bits(found.scores, every.scores[inside])
                assert found.offsets.tolist() == [0, *np.cumsum(inside.sum(axis=1)).tolist()]
                if metric == "cosine":
                    inputs = rng.choice(twin.numbers, (2, 3))
                    for method in ("3cosadd", "3cosmul"):
                        asked = inputs[:, :2], inputs[:, 2:], 3
                        expected = twin.analogy(*asked, method=method)
                        assert_same_topk(index.analogy(*asked, method=method, num_threads=1), expected)


def case_packed(rng):
    """Rows behind those of a file are packed, and the numbers of all find them, and so do filters."""
    vectors = KINDS["gaussian"](60, 9, int(rng.integers(1000)))
    with tiny(), mock.patch.object(blocks, "in_file", lambda block: len(block.vectors) == 32):
        index = fastvec.Index(vectors[:32])
        index.remove([1])
        index.search(vectors[:1], 1)
        index.remove([2, 28])
        assert len(index) == 29
        index.add(vectors[32:])
        gone = rng.permutation(np.arange(32, 60))[:20]
        index.remove(gone)
        assert index._store.rows == 40  # 32 in the file, 8 of those behind
        left = np.setdiff1d(np.arange(60), [1, 2, 28, *gone])
        assert_same_bits(index.numbers, left)
        assert_same_bits(index.fetch(left), vectors[left])
        mask, exclude = rng.random(60) < 0.7, [left[[0, 5, -1]].tolist()] * 3
        allowed = mask & np.isin(np.arange(60), left)
        expected = oracle.knn(vectors[:3], vectors, 5, where=allowed, exclude=exclude)
        assert_same_topk(index.search(vectors[:3], 5, where=mask, exclude=exclude), expected)
        changed = mock.patch.object(index._store, "search", side_effect=base.RowChangedError(35))
        with changed, interpreted_parts.raises(RuntimeError, f"row {left[left >= 32][3]} "):
            index.search(vectors[0], 1)
        assert_same_bits(index.compact(), left)
        with interpreted_parts.raises(IndexError, f"must be from 0 to {len(left) - 1}"):
            index.fetch([len(left)])


def case_replaced(rng):
    """The row of a low number lies behind others of its score: by number, it comes first."""
    vectors = KINDS["gaussian"](20, 9, int(rng.integers(1000)))
    vectors[8:10] = vectors[7]  # more in a row than the two best, and the first of all by number lies behind
    index, twin = fastvec.Index(vectors), Twin(vectors)
    for number, row in ((0, 5), (3, 7), (1, 5)):
        index.replace([number], vectors[row : row + 1])
        twin.rows[number] = vectors[row]
    index.remove([6])
    del twin.rows[6]
    assert not index._rows.now().rising
    queries = vectors[[5, 7, 5]]
    every = twin.search(queries, 19, "cosine")
    found = index.range_search(queries, every.scores[0, 4])
    inside = every.scores >= every.scores[0, 4]
    assert_same_bits(found.indices, every.indices[inside])
    assert found.indices[:3].tolist() == [0, 1, 5]
    for k in (2, 4):
        assert_same_topk(index.search(queries, k), twin.search(queries, k, "cosine"))
    for positive, negative in (([5, 2], [9]), ([7], []), ([19, 8], [0, 4])):
        asked = [positive], [negative], 4
        expected = twin.analogy(*asked, method="3cosmul", exclude_inputs=False)
        assert_same_topk(index.analogy(*asked, method="3cosmul", exclude_inputs=False), expected)


def case_history(rng):
    """The machine of ``test_living.py``: any changes in any order, between searches of every kind."""
    few = settings(
        max_examples=8,
        stateful_step_count=12,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    with tiny(), mock.patch.multiple(blocks, LOT=4, BLOCK=16):
        run_state_machine_as_test(Living, settings=few)


def case_int8(rng):
    for metric in METRICS:
        rows = int8_rows(150, 37, int(rng.integers(1000)))
        m = int(rng.choice([1, 2, 17]))
        queries = near(rows, m, int(rng.integers(1000)))
        with tiny():
            index, plain = fastvec.Index(rows, metric=metric), rows.astype(np.float32)
            compared(index, queries, 4, some_filters(rng, m, 150), 2, plain)
            dims = int(rng.choice([5, 33]))
            compared(index, queries, 3, {"dims": dims}, 1, plain)


def case_selection(rng):
    for kind in (np.float32, np.float64, np.int32, np.uint8):
        width = int(rng.integers(1, 250) if kind is np.uint8 else rng.integers(257, 400))
        scores = rng.integers(-3, 4, (3, width)).astype(kind)
        if kind is np.float64:
            scores += rng.standard_normal(scores.shape)
        for largest in (True, False):
            for k in (1, 3, 70):
                expected = oracle.topk(scores, k, largest)
                with tiny():
                    assert_same_topk(fastvec.topk(scores, k, largest=largest), expected)


def case_rows(rng):
    """Norms, unit rows, prefixes of rows, and conversion."""
    for width in (1, 31, 32, 33, 70):
        vectors = mixed(20, width, int(rng.integers(1000)))
        np.testing.assert_allclose(fastvec.normalize(vectors), oracle.normalize(vectors), rtol=2**-22)
    np.testing.assert_allclose(fastvec.normalize(vectors), oracle.normalize(vectors), rtol=2**-22)
    dims = max(1, vectors.shape[1] // 2)
    for unit in (True, False):
        actual = fastvec.truncate(vectors, dims, renormalize=unit)
        np.testing.assert_allclose(actual, oracle.truncate(vectors, dims, unit), rtol=2**-22)
    wide = np.asfortranarray(vectors.astype(np.float64))
    with tiny():
        found = fastvec.knn(wide[:3], wide, 2)
    assert_same_topk(found, oracle.knn(vectors[:3], vectors, 2))


CASES = {
    name.removeprefix("case_"): case
    for module in (vars(interpreted_parts), vars(interpreted_units), vars(interpreted_twins), globals())
    for name, case in module.items()
    if name.startswith("case_")
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="a case; all by default")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stop", action="store_true", help="stop at the first failure")
    arguments = parser.parse_args()
    failed = False
    for name in arguments.names or CASES:
        started, said = time.monotonic(), "passed"
        for round_ in range(arguments.rounds):
            try:
                CASES[name](np.random.default_rng([arguments.seed, round_]))
            except Exception:
                said, failed = f"failed in round {round_}\n{traceback.format_exc()}", True
                break
        print(f"{name}: {said} ({time.monotonic() - started:.1f} s)", flush=True)
        if failed and arguments.stop:
            break
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
