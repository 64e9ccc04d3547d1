"""A screen changes no answer: an Index with one, of 64 dimensions, and one without return the same bits.

The proof behind it is attacked in ``test_bound.py``, the thresholds before a scan in ``test_seeds.py``.
"""

import itertools
import pickle

import numpy as np
import oracle
import pytest
from assertions import assert_same_bits, assert_same_topk
from data import (
    KINDS,
    exclusions,
    filters,
    gaussian,
    hashed,
    matrices,
    metrics_and_micro_kernels,
    mixed,
    related,
    seeds,
    subnormal,
    thread_counts,
)
from hypothesis import given
from hypothesis import strategies as st

from fastvec import Index, machine
from fastvec._living import LivingRows
from fastvec._request import checked
from fastvec._snapshot import Snapshot
from fastvec._stores import blocks, cpu, screens, short_codes
from fastvec._stores.passes import search
from fastvec.kernels import cost, metrics, micro, screen

PAIRS = metrics_and_micro_kernels()


@pytest.fixture(autouse=True)
def forced(monkeypatch):
    """Every search scans, however little there is to do."""
    monkeypatch.setenv("FASTVEC_MICRO_KERNEL", machine.active_micro_kernel())


def embeddings(n, dims, seed=0):
    """Rows with most of their length in some directions, as real ones have."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((dims, dims)) / (1 + np.arange(dims))[:, None]
    return (rng.standard_normal((n, dims)) @ mixing).astype(np.float32)


def awkward(n, dims, seed=0):
    """Embeddings, and among them rows of every kind, equal ones in distant places, and lonely entries."""
    vectors = embeddings(n, dims, seed)
    vectors[::5] = mixed(len(vectors[::5]), dims, seed + 1)
    vectors[n // 2 :: 7] = vectors[: len(vectors[n // 2 :: 7])]
    vectors[1::11] = 0
    vectors[1::11, -1] = 1  # ties in all dimensions but one
    return vectors


@pytest.mark.parametrize("dims", [None, 200])
def test_one_search_of_many_queries_makes_a_screen(dims, monkeypatch):
    vectors, queries = embeddings(5000, 256), embeddings(600, 256, 1)
    store = cpu.one_shot(vectors)
    request = checked(store, queries, 10, metric="cosine", dims=dims)
    monkeypatch.setattr(cost, "screen_price", lambda *sizes, few: 0.5)
    without = search(store, request)
    assert without[1].screened == 0
    monkeypatch.setattr(cost, "screen_building_pays", lambda *sizes: True)
    by_screen = search(store, request)
    assert by_screen[1].screened > 0
    assert_same_bits(by_screen[0], without[0])


def test_making_a_screen_for_one_search_pays_for_many_queries():
    kernel = micro.TABLE["avx2"]
    pays = [cost.screen_building_pays(40_000, m, 768, 192, 0.7, kernel) for m in (64, 1024, 16_384)]
    assert pays == [False, False, True]


def counted(index, queries, k, **options):
    """The answer and what it took."""
    request = checked(index._store, queries, k, metric=index.metric, **options)
    found, done = search(index._store, request)
    return request.answer(found), done


def assert_screened(index, queries, k, **options):
    """The answer is the oracle's, and the screen of all pairs of queries and rows had a part in it."""
    answer, done = counted(index, queries, k, **options)
    options.pop("num_threads", None)
    assert_same_topk(answer, oracle.knn(queries, index.vectors, k, index.metric, **options))
    assert done.screened == done.scanned == len(queries) * len(index)
    assert done.rescored <= done.candidates
    return done


LEADING = 192
"""A width of screens with leading codes."""


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize(("metric", "name"), PAIRS)
def test_leading_codes_with_every_micro_kernel(metric, name, monkeypatch):
    monkeypatch.setenv("FASTVEC_MICRO_KERNEL", name)
    monkeypatch.setattr(blocks, "LOT", 1)
    vectors = awkward(4300, 197, 1)
    index = Index(vectors, metric=metric, screen=LEADING)
    assert index._store.screening.leading == 64
    queries = np.concatenate([related(vectors, 8, 2), mixed(4, 197, 3)])
    best = oracle.knn(queries, vectors, 20, metric).indices
    for m, k, num_threads in ((1, 10, 1), (2, 1, 2), (2, 100, 1), (1, 4300, 2), (2, 5000, 1), (3, 10, 1)):
        for first in range(0, 12, 4):
            some = slice(first, first + m)
            assert_screened(index, queries[some], k, num_threads=num_threads)
            assert_screened(index, queries[some], k, exclude=best[some], where=np.arange(4300) % 9 > 0)
    for addition in (vectors[:700], vectors[-9:]):
        index.add(addition)
        index.verify()
        assert_screened(index, queries[:2], 10)


def test_leading_codes_spare_most_rows_their_codes():
    vectors = embeddings(20_000, 260, 1)
    index = Index(vectors, screen=256)
    done = assert_screened(index, related(vectors, 1, 2), 10, num_threads=1)
    assert done.passed < 400


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize(("metric", "name"), PAIRS)
def test_every_micro_kernel_and_batch(metric, name, monkeypatch):
    monkeypatch.setenv("FASTVEC_MICRO_KERNEL", name)
    vectors = awkward(2150, 97, 1)
    index = Index(vectors, metric=metric, screen=64)
    queries = np.concatenate([related(vectors, 50, 2), mixed(15, 97, 3)])
    for m, k, num_threads in (
        (1, 10, 1),
        (1, 100, 2),
        (2, 1, 2),
        (3, 10, 1),
        (8, 100, 2),
        (65, 1, 1),
        (65, 10, 2),
        (2, 2150, 1),
        (3, 2150, 2),
    ):
        assert_screened(index, queries[-m:], k, num_threads=num_threads)


@pytest.mark.parametrize("metric", metrics.BOUNDED)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_row(kind, metric):
    vectors = KINDS[kind](500, 97, 1)
    index = Index(vectors, metric=metric, screen=64)
    index.verify()
    queries = np.concatenate([related(vectors, 20, 2), KINDS[kind](3, 97, 3)])
    for m, k in ((1, 10), (23, 1), (23, 10), (2, 501)):
        assert_screened(index, queries[:m], k)


@pytest.mark.parametrize("dims", [65, 128, 131])
def test_every_count_of_rows(dims):
    for n in (1, 2, 31, 32, 33, 63, 64, 65, 127, 1023, 1024, 1025, 2047, 2049, 4095, 4096, 4097):
        vectors = embeddings(n, dims, n)
        index = Index(vectors, screen=64)
        for m in (1, 5):
            assert_screened(index, related(vectors, m, 1), 3)


@pytest.mark.parametrize("width", screens.WIDTHS)
def test_every_width_of_a_screen(width):
    vectors = awkward(1100, 260, 1)
    index = Index(vectors, screen=width)
    for m in (1, 33):
        assert_screened(index, related(vectors, m, 1), 10)


@st.composite
def problems(draw):
    vectors = draw(matrices(counts=st.sampled_from((1, 33, 64, 300, 1030)), widths=st.sampled_from((65, 97))))
    n, dims = vectors.shape
    m = draw(st.sampled_from((1, 2, 3, 8, 40)))
    queries = related(vectors, m, draw(seeds)) if draw(st.booleans()) else mixed(m, dims, draw(seeds))
    filter_, exclude = draw(filters(n)), draw(exclusions(m, n))
    k = draw(st.sampled_from((1, 2, 10, n, n + 1)))
    return queries, vectors, k, draw(st.sampled_from(list(metrics.BOUNDED))), filter_, exclude


@pytest.mark.usefixtures("all_threads")
@given(problems(), thread_counts)
def test_any_problem(problem, num_threads):
    queries, vectors, k, metric, where, exclude = problem
    answer = Index(vectors, metric=metric, screen=64).search(
        queries, k, where=where, exclude=exclude, num_threads=num_threads
    )
    assert_same_topk(answer, oracle.knn(queries, vectors, k, metric, where=where, exclude=exclude))


@pytest.mark.parametrize("metric", metrics.BOUNDED)
@pytest.mark.parametrize("m", [1, 3, 20])
def test_filters(m, metric):
    vectors = awkward(1300, 97, 1)
    index, queries = Index(vectors, metric=metric, screen=64), related(awkward(1300, 97, 1), m, 2)
    best = oracle.knn(queries, vectors, 40, metric).indices
    rng = np.random.default_rng(3)
    most, each = rng.random(1300) < 0.9, rng.random((m, 1300)) < 0.3
    without_best = np.ones(1300, bool)
    without_best[best[:, :20]] = False
    for options in (
        {"where": most},
        {"where": without_best},
        {"where": np.flatnonzero(without_best)},
        {"where": each},
        {"where": np.zeros((m, 1300), bool)},
        {"exclude": best},
        {"exclude": [row[: 3 + i % 20].tolist() for i, row in enumerate(best)]},
        {"where": most, "exclude": best[:, ::2]},
        {"where": each, "exclude": best},
    ):
        assert_screened(index, queries, 10, **options)
    few = np.flatnonzero(most)[:50]
    answer, done = counted(index, queries, 10, where=few)
    assert_same_topk(answer, oracle.knn(queries, vectors, 10, metric, where=few))
    assert done.screened == 0, "codes of few rows are gathered, without a screen"


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_rows_added_later(metric, monkeypatch):
    monkeypatch.setattr(blocks, "IN_PLACE_BYTES", 97 * 4 * 400)
    monkeypatch.setattr(blocks, "LOT", 1)
    vectors = awkward(2500, 97, 1)
    index, queries = Index(vectors[:700], metric=metric, screen=64), related(vectors, 40, 2)
    cuts = (700, 703, 900, 901, 1301, 1310, 2500)
    for first, last in itertools.pairwise(cuts):
        index.add(vectors[first:last])
        for m in (1, 40):
            assert_screened(index, queries[:m], 10)
    assert len(index._store.blocks) > 3
    assert all(block.screened is not None for block in index._store.blocks)
    index.verify()
    again = pickle.loads(pickle.dumps(index))
    assert again._store.screening.width == 64
    assert_screened(again, queries, 10, where=np.arange(2500) % 9 != 0)
    with pytest.raises(ValueError, match="row 1"):
        index.add(np.array([[1] * 97, [np.nan] * 97]))
    assert_screened(index, queries, 10)


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_few_rows_added_later_get_their_screen_in_lots(metric, monkeypatch, tmp_path):
    monkeypatch.setattr(blocks, "IN_PLACE_BYTES", 97 * 4 * 400)
    monkeypatch.setattr(blocks, "LOT", 50)
    vectors = awkward(1500, 97, 1)
    index, queries = Index(vectors[:700], metric=metric, screen=64), related(vectors, 40, 2)
    left = []
    for first, last in itertools.pairwise((700, 701, 749, 750, 770, 1099, 1101, 1120, 1500)):
        index.add(vectors[first:last])
        screened = sum(block.screened_rows for block in index._store.blocks)
        left.append(last - screened)
        for m in (1, 40):
            answer, done = counted(index, queries[:m], 10)
            assert_same_topk(answer, oracle.knn(queries[:m], vectors[:last], 10, metric))
            assert (done.screened, done.scanned) == (m * screened, m * last)
        index.verify()
    assert left == [1, 49, 0, 20, 0, 2, 21, 0]
    index.add(vectors[:19])
    index.save(tmp_path / "index")
    opened = Index.open(tmp_path / "index")
    opened.verify()
    assert_screened(opened, queries, 10)
    assert counted(index, queries, 10)[1].screened == 40 * 1500, "a save leaves the Index as it is"
    index.remove(np.arange(1000))
    assert len(index._store.blocks) == 1, "packed"
    assert_same_topk(index.search(queries, 10), opened.search(queries, 10, where=np.arange(1000, 1519)))
    assert counted(index, queries, 10)[1].screened == 40 * 519
    index.verify()


def test_an_empty_index_gets_its_screen_with_its_first_rows(monkeypatch):
    monkeypatch.setattr(blocks, "LOT", 1)
    index, vectors = Index(np.empty((0, 97), np.float32), screen=64), embeddings(300, 97, 1)
    assert index.search(vectors[:2], 3).indices.tolist() == [[-1] * 3] * 2
    for first, last in ((0, 0), (0, 5), (5, 300)):
        index.add(vectors[first:last])
    assert_screened(index, vectors[:5], 3)


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_graphs_ranges_and_analogies(metric):
    vectors = awkward(900, 97, 1)
    pair = [Index(vectors, metric=metric, screen=choice) for choice in (64, "off")]
    assert_same_topk(*(index.knn_graph(5) for index in pair))
    queries = related(vectors, 30, 2)
    scores = np.sort(oracle.scores(queries, vectors, metric), axis=None)
    mask = np.arange(900) % 3 > 0
    for least in scores[[0, -30_000 // 2, -300, -1]]:
        for options in ({}, {"where": mask}, {"exclude": [[1, 2]] * 30}, {"num_threads": 2}):
            with np.errstate(over="ignore"):
                rounded = np.float32(least)
            found, expected = (index.range_search(queries, rounded, **options) for index in pair)
            for actual, wanted in zip(found, expected, strict=True):
                assert_same_bits(actual, wanted)
    if metric == "cosine":
        for count in (1, 20):
            question = ([[1, 2]] * count, [[3]] * count, 5)
            assert_same_topk(*(index.analogy(*question) for index in pair))


def test_fewer_columns_are_searched_without_the_screen():
    vectors = embeddings(700, 97, 1)
    index = Index(vectors, screen=64)
    for dims in (1, 64, 96):
        answer, done = counted(index, vectors[:5], 3, dims=dims)
        assert_same_topk(answer, oracle.knn(vectors[:5], vectors, 3, dims=dims))
        assert done.screened == done.passed == 0
    assert_screened(index, vectors[:5], 3, dims=97)


def beyond_the_range_of_products(lengths):
    vectors = embeddings(1500, 97, 1)
    vectors[3:1200:7] *= np.resize(np.float32(lengths), len(vectors[3:1200:7]))[:, None]
    return vectors


@pytest.mark.parametrize("metric", metrics.BOUNDED)
@pytest.mark.parametrize("lengths", [[1e-30], [1e30], [1e-44], [1e30, 1e-30, 2**-66, 2**66]])
def test_rows_that_pass_for_every_query_pass_for_no_more_than_these(lengths, metric):
    """A tile has lanes without a query, whose threshold is +inf: nothing may reach it."""
    vectors = beyond_the_range_of_products(lengths)
    index = Index(vectors, metric=metric, screen=64)
    assert ((index._store.screening.neighbors >= 0) & (index._store.screening.neighbors < 1500)).all()
    for m in (1, 3, 17):
        queries = vectors[np.arange(m) * 7 + 3]
        done = assert_screened(index, queries, 10)
        assert done.passed >= m * (np.log2(np.linalg.norm(vectors.astype(float), axis=1)).round() < -61).sum()


@pytest.mark.parametrize("metric", metrics.BOUNDED)
def test_a_query_that_the_screen_hardly_sees(metric):
    """Its codes would have a scale so small that its inverse is beyond float32."""
    vectors = np.zeros((400, 97), np.float32)
    vectors[:, :64] = hashed(400, 64, 1)
    vectors[::9] = 0
    index = Index(vectors, metric=metric, screen=64)
    show(index, with_basis(index._store, np.eye(97, 64, dtype=np.float32)))
    for tiny in (0, 1e-45, 1e-39, 1e-37, 1e-30, 1e-12, 1e-7):
        queries = np.zeros((3, 97), np.float32)
        queries[:, 80] = [1, -1, 100]
        queries[:, 5] = tiny
        for m in (1, 3):
            for k in (1, 10, 60):
                assert_screened(index, queries[:m], k)


def show(index, store):
    """Exchange the rows of an Index for those of a store."""
    index._rows = LivingRows(Snapshot(store))


def with_basis(store, matrix):
    """A store whose screen has another basis."""
    basis = screen.measured(matrix, store.screening.leading > 0)
    block = blocks.with_screen(store.blocks[0]._replace(screened=None), basis, 1)
    store.blocks, store.screening = (block,), store.screening._replace(basis=basis)
    return store


def bases(vectors, p):
    """V as it is, and as it must not be."""
    rng = np.random.default_rng(1)
    dims = vectors.shape[1]
    usual = screen.basis(screen.directions(screens.units(vectors, 300), p, 1)).matrix
    yield usual
    for kappa in (0.1, 0.6, 0.99):
        yield usual * np.sqrt(np.where(np.arange(p) == 3, 1 + kappa, 1)).astype(np.float32)
    yield usual * np.where(np.arange(p) == 3, 0, 1).astype(np.float32)
    for matrix in (
        np.zeros((dims, p)),
        np.ones((dims, p)),
        rng.standard_normal((dims, p)),
        np.full((dims, p), np.nan),
        np.full((dims, p), 1e38),
        np.eye(dims, p),
        np.eye(dims, p)[::-1],
        np.linalg.qr(rng.standard_normal((dims, p)))[0],
    ):
        yield matrix.astype(np.float32)


@pytest.mark.parametrize("metric", metrics.BOUNDED)
@pytest.mark.parametrize(("dims", "width", "p"), [(97, 64, 64), (193, LEADING, 128)])
def test_any_basis_serves(dims, width, p, metric):
    vectors = awkward(500, dims, 1)
    index, queries = Index(vectors, metric=metric, screen=width), related(awkward(500, dims, 1), 20, 2)
    for matrix in bases(vectors, p):
        show(index, with_basis(index._store, matrix))
        index.verify()
        for m in (1, 20):
            assert_screened(index, queries[:m], 10)


def test_verify_compares_the_screen_too():
    vectors = embeddings(5000, 197, 1)
    index = Index(vectors, screen=LEADING)
    index.verify()
    screened = index._store.blocks[0].screened
    for array, change in (
        (screened.leading.codes, lambda code: code ^ 64),
        (screened.leading.words, lambda word: word + np.uint32(1 << 16)),
        (screened.leading.words, lambda word: word - np.uint32(1 << 5)),
        (screened.encoded.codes, lambda code: code ^ 64),
        (screened.encoded.scale, lambda scale: scale * 2),
        (screened.encoded.error, lambda tail: tail * np.float32(0.5)),
        (screened.slack, lambda slack: slack * np.float32(0.5)),
    ):
        kept = array[4321].copy()
        array[4321] = change(kept)
        with pytest.raises(RuntimeError, match="row 4321"):
            index.verify()
        array[4321] = kept
        index.verify()


def isotropic(monkeypatch, share, limit):
    """An Index whose screen lets everything pass, with a share that was found in a sample."""
    index = Index(gaussian(9000, 97, 1), screen=64)
    show(index, with_basis(index._store, np.zeros((97, 64), np.float32)))
    index._store.screening = index._store.screening._replace(shares=screens.Shares(share, share))
    monkeypatch.setattr(cost, "screen_price", lambda *_, **__: 0.0)
    monkeypatch.setattr(cost, "screen_limit", lambda *_, **__: limit)
    return index


@pytest.mark.parametrize("m", [1, 20])
def test_a_screen_that_does_not_pay_is_given_up(m, monkeypatch):
    index, queries = isotropic(monkeypatch, 0.1, 0.0), gaussian(m, 97, 2)
    answer, done = counted(index, queries, 10, num_threads=1)
    assert_same_topk(answer, oracle.knn(queries, index.vectors, 10))
    assert 0 < done.passed <= done.screened < done.scanned == m * 9000
    where = np.arange(9000) % 3 > 0
    answer, done = counted(index, queries, 10, where=where, num_threads=1)
    assert_same_topk(answer, oracle.knn(queries, index.vectors, 10, where=where))
    assert 0 < done.screened < done.scanned
    assert_same_bits(index.range_search(queries, 0.1)[2], Index(index.vectors).range_search(queries, 0.1)[2])


@pytest.mark.parametrize("m", [1, 20])
def test_a_screen_that_was_asked_for_is_never_given_up(m, monkeypatch):
    index = isotropic(monkeypatch, 0.0, 0.0)
    assert_screened(index, gaussian(m, 97, 2), 10, num_threads=1)


def test_a_screen_is_left_off_where_its_price_is_too_high(monkeypatch):
    index = isotropic(monkeypatch, 0.1, 0.0)
    monkeypatch.setattr(cost, "screen_price", lambda *_, **__: 2.0)
    assert counted(index, gaussian(3, 97, 2), 10)[1].screened == 0


def test_auto_takes_the_width_of_the_least_price_or_none(monkeypatch):
    vectors = (gaussian(5000, 20, 1) @ gaussian(20, 260, 2)) + gaussian(5000, 260, 3) / 100
    prices = {64: 0.5, 128: 0.1}
    monkeypatch.setattr(cost, "screen_price", lambda n, dims, width, *_, few: 2.0 if few else prices[width])
    monkeypatch.setattr(cost, "leading_price", lambda n, dims, width, *_: 0.1)
    assert Index(vectors)._store.screening.width == 192, "128 for batches, 64 more for single queries"
    monkeypatch.setattr(cost, "leading_price", lambda n, dims, width, *_: 3.0)
    index = Index(vectors)
    assert index._store.screening.width == 128
    assert 0 < index._store.screening.shares.all < 0.1
    assert_same_topk(index.search(vectors[:5], 9), Index(vectors, screen="off").search(vectors[:5], 9))
    assert Index(vectors, screen="off")._store.screening is None
    assert Index(gaussian(5000, 260, 1))._store.screening is None, "isotropic rows"
    assert Index(vectors, metric="manhattan")._store.screening is None
    monkeypatch.setattr(cost, "screen_price", lambda *_, **__: 2.0)
    assert Index(vectors)._store.screening is None
    monkeypatch.setattr(cost, "leading_price", lambda n, dims, width, *_: width / 200)
    assert Index(vectors)._store.screening.width == 192, "for single queries alone"


@pytest.mark.parametrize("value", [True, 0, 32, 96, 128, 64.0, "64", "on", None, [64], np.array([64, 64])])
def test_other_settings_are_refused(value):
    with pytest.raises(ValueError, match=r"screen is .*'auto' or 'off', or one of 64$"):
        Index(gaussian(10, 97, 1), screen=value)
    with pytest.raises(ValueError, match=r"'auto' or 'off'$"):
        Index(gaussian(10, 64, 1), screen=64)


def test_a_numpy_integer_is_a_width(tmp_path):
    index = Index(embeddings(100, 97, 1), screen=np.int64(64))
    assert type(index._store.screen) is int
    index.save(tmp_path / "index")
    assert Index.open(tmp_path / "index")._store.screen == 64


@pytest.mark.parametrize("n", [1, 1000, 5000])
@pytest.mark.parametrize(("dims", "width", "terms"), [(97, 64, 12), (197, LEADING, 16)])
def test_nbytes_counts_the_screen(dims, width, terms, n):
    vectors = embeddings(n, dims, 1)
    plain, screened = Index(vectors, screen="off"), Index(vectors, screen=width)
    fixed = screens.nbytes(screened._store.screening)
    assert fixed < dims * width * 4 + n * 8 + 1
    assert screened.nbytes - plain.nbytes == n * (width + terms) + fixed
    codes = screened._store.blocks[0]
    assert codes.screened.encoded.norm is codes.encoded.norm


def test_pickles_keep_the_setting():
    vectors = embeddings(300, 97, 1)
    for setting in ("auto", "off", 64):
        again = pickle.loads(pickle.dumps(Index(vectors, screen=setting)))
        assert again._store.screen == setting
        assert (again._store.screening is not None) is (setting == 64)


def test_leading_directions_are_the_same_wherever_a_folder_is_opened():
    """No sum is rounded, so no BLAS makes others; those of a float32 product are near."""
    for p in (screen.LEADING, 128, 192):
        turned = screen._turned(p)
        for block in turned.reshape(-1, screen.LEADING, screen.LEADING):
            assert_same_bits(block, block[0, 0] * np.eye(screen.LEADING, dtype=np.float32))
        product = screen._mixing(p)[: screen.LEADING].T @ screen._mixing(screen.LEADING)
        assert np.linalg.norm(turned - product) < 2.0**-17


def test_a_caller_whose_numpy_raises_gets_the_same_index():
    vectors = gaussian(4200, 20, 1) @ gaussian(20, 128, 2)
    vectors[:, ::3] *= np.float32(1e-25)
    vectors[:, 1::7] *= np.float32(1e-38)
    along = np.abs(vectors) + vectors[:1]
    for rows, setting in ((vectors, "auto"), (vectors, 64), (along, "auto")):
        expected = Index(rows, screen=setting)
        with np.errstate(all="raise"):
            index = Index(rows, screen=setting)
        assert index.nbytes == expected.nbytes
        assert_same_topk(index.search(rows[:40], 5), expected.search(rows[:40], 5))
    with np.errstate(all="raise"):
        short_codes.of(Index(vectors)._store, "cosine", 128, 0.9, 10**12, 1)


@pytest.mark.parametrize("leading", [False, True])
def test_rows_of_which_no_direction_is_known_in_any_floating_point_mode(leading, flushing):
    """Rows of extreme lengths are zero in a sample, also for a caller who flushes subnormals to zero."""
    sample = screens.units(subnormal(70, 200, 1), 70)
    assert not sample.any()
    with flushing():
        basis = screen.basis(screen.directions(sample, 128, 1), leading)
    assert not basis.matrix.any()
