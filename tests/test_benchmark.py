"""The benchmarks' core: wrong answers are refused, right ones timed in turns, records complete."""

import importlib.machinery
import json
import re
import sys
import types
from pathlib import Path

import numpy as np
import oracle
import pytest
from click.testing import CliRunner
from data import KINDS, gaussian

import fastvec
from fastvec import _facts, cli
from fastvec.benchmark import (
    Competitor,
    Limit,
    Race,
    WrongAnswer,
    generated,
    index_peers,
    measure,
    memory,
    peers,
    record,
    report,
    searches,
)
from fastvec.benchmark.corpus import Corpus
from fastvec.benchmark.slack import SLACKS
from fastvec.benchmark.truth import Mismatch, Search, Values
from fastvec.benchmark.truth import oracle as plain
from fastvec.commands import bench as bench_command
from fastvec.kernels import metrics

METRICS = tuple(oracle.METRICS)
N, DIMS, M, K = 200, 33, 5, 6


@pytest.fixture(scope="module")
def vectors():
    return gaussian(N, DIMS, 1)


@pytest.fixture(scope="module")
def queries():
    return gaussian(M, DIMS, 2)


@pytest.fixture
def no_peaks(monkeypatch):
    """Measuring the machine takes seconds, and one test of it is enough."""
    none = {"read_gb_s": {}, "int8_gop_s": {}, "threads": 1, "float32_gflop_s": 1}
    monkeypatch.setattr("fastvec.benchmark.limits.measure", lambda: none)


@pytest.fixture
def threads():
    """Peers are given threads for the whole process."""
    before = fastvec.get_num_threads()
    yield
    fastvec.set_num_threads(before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", METRICS)
def test_the_oracle_is_that_of_the_tests_bit_for_bit(kind, metric):
    rows, asked = KINDS[kind](60, DIMS, 1), KINDS[kind](2, DIMS, 2)
    right = oracle.knn(asked, rows, 7, metric)
    values, indices = plain(asked, rows, 7, metric)
    np.testing.assert_array_equal(indices, right.indices)
    np.testing.assert_array_equal(oracle.publish(values), right.scores)


def test_the_oracle_goes_over_blocks_and_filters(monkeypatch):
    rows, asked = KINDS["duplicate"](150, DIMS, 1), gaussian(3, DIMS, 2)
    monkeypatch.setattr("fastvec.benchmark.truth._BLOCK_BYTES", 8 * DIMS * 7)
    where, exclude = np.arange(150) % 3 > 0, [[1, 2], [4], []]
    allowed = oracle.allowed_rows(3, 150, where, exclude)
    right = oracle.knn(asked, rows, 120, where=where, exclude=exclude)
    values, indices = plain(asked, rows, 120, allowed=allowed)
    np.testing.assert_array_equal(indices, right.indices)
    np.testing.assert_array_equal(oracle.publish(values), right.scores)


def right_answer(queries, vectors, metric="cosine"):
    return [np.array(part) for part in fastvec.knn(queries, vectors, K, metric=metric)]


def wrong_row(scores, indices):
    indices[2, 3] = next(i for i in range(N) if i not in indices[2])


def wrong_order(scores, indices):
    indices[2, [0, 5]] = indices[2, [5, 0]]


def wrong_score(scores, indices):
    scores[2, 0] += 1e-4


def a_nan(scores, indices):
    scores[2, 0] = np.nan


def no_row(scores, indices):
    indices[2, 0] = N


def row_twice(scores, indices):
    indices[2, 1] = indices[2, 0]


def too_few(scores, indices):
    indices[2, -1] = -1


MISTAKES = (wrong_row, wrong_order, wrong_score, a_nan, no_row, row_twice, too_few)
REFUSED_OF_ALL = (a_nan, no_row, row_twice)


@pytest.mark.parametrize("precision", ["exact", "float32", "inexact"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_competitor_is_refused(mistake, precision, queries, vectors):
    """Before it is timed, with names and values; of an inexact one only what is no answer at all."""
    good = right_answer(queries, vectors)
    bad = [part.copy() for part in good]
    mistake(*bad)
    calls = []
    competitors = [
        Competitor("good", lambda: good, "exact", ours=True),
        Competitor("bad", lambda: calls.append(1) or bad, precision),
    ]
    race = Race({}, competitors, Search(queries, vectors, K))
    if precision == "inexact" and mistake not in REFUSED_OF_ALL:
        found = measure("some case", race, rounds=1)
        assert found["competitors"][1]["quality"]["recall"] <= 1
        assert found["best_peer"] is None
        return
    with pytest.raises(WrongAnswer) as caught:
        measure("some case", race, rounds=1)
    assert (caught.value.case, caught.value.competitor, caught.value.query) == ("some case", "bad", 2)
    for part in ("some case", "bad", "query 2", "came, right is"):
        assert part in str(caught.value)
    assert len(calls) == 1


@pytest.mark.parametrize("metric", SLACKS)  # a metric of no peer needs no row there
def test_float32_may_differ_only_where_it_cannot_tell(metric):
    """Two rows one unit in the last place apart may change places; an exact competitor may not do that."""
    rows = gaussian(50, DIMS, 1)
    rows[10] = rows[20]
    rows[10, 0] = np.nextafter(rows[10, 0], np.float32(9))
    query = rows[20:21] + np.float32(0.01)
    truth = Search(query, rows, 3, metric)
    scores, indices = (np.array(part) for part in fastvec.knn(query, rows, 3, metric=metric))
    assert {10, 20} <= set(indices[0])
    swapped = np.array([[{10: 20, 20: 10}.get(i, i) for i in indices[0]]])
    truth.judge((scores, swapped), "float32")
    with pytest.raises(Mismatch):
        truth.judge((scores, swapped), "exact")
    with pytest.raises(Mismatch, match="tell"):
        truth.judge((scores, np.array([[indices[0, 0], indices[0, 1], 33]])), "float32")


def test_a_filtered_row_is_refused_and_missing_ones_are_right(queries, vectors):
    where = np.zeros(N, bool)
    where[[3, 4]] = True
    truth = Search(queries, vectors, K, where=where, exclude=np.full((M, 1), 4))
    answer = fastvec.knn(queries, vectors, K, where=where, exclude=[[4]] * M)
    assert truth.judge(tuple(answer), "exact")["recall"] == 1
    with pytest.raises(Mismatch, match="forbids"):
        truth.judge((None, np.where(answer.indices == 3, 4, answer.indices)), "inexact")


def test_only_a_sample_is_checked_and_it_says_so(vectors):
    truth = Search(vectors, vectors, 2, sample=8)
    assert truth.checked == f"8 of {N} queries"
    assert {0, N - 1} <= set(truth.sample.tolist())


def test_values():
    right = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert Values(right, 1e-3).judge(right + 1e-4, "float32")["error"] == pytest.approx(1e-4)
    for wrong in (right + 1e-2, right[:1], np.where(right == 3, np.nan, right)):
        with pytest.raises(Mismatch):
            Values(right, 1e-3).judge(wrong, "float32")
    with pytest.raises(Mismatch) as caught:
        Values(right[1:], 0.0, np.array([7])).judge(np.zeros((8, 2)), "exact")
    assert caught.value.query == 7


def sums(*competitors, limits=()):
    return Race({"task": "sum"}, competitors, Values(np.array([3.0]), 0.0), limits)


def three():
    return np.array([3.0])


def test_competitors_take_turns():
    """First every one is checked, then timed once; then rounds, each begun by the next competitor."""
    log = []

    def runner(name):
        return lambda: (log.append(name), three())[1]

    found = measure(
        "turns",
        sums(
            Competitor("a", runner("a"), ours=True),
            Competitor("b", runner("b")),
            limits=[Limit("c", runner("c"), ["a"])],
        ),
        rounds=4,
    )
    assert "".join(log[:5]) == "ababc"
    order = [name for i, name in enumerate(log[5:], 5) if log[i - 1] != name or i == 5]
    assert "".join(order) == "abcbcacababc"
    repeats = {c["name"]: c["repeats"] for c in found["competitors"]}
    assert all(1 <= number <= 200 for number in repeats.values())
    turns = "".join(log[5:])
    for name, count in repeats.items():
        assert turns.count(name) == 4 * count


def test_a_slow_right_one_is_admitted_and_ratios_are_of_rounds(monkeypatch):
    clock = iter(np.cumsum(np.tile([0.0, 1.0, 0.0, 4.0, 0.0, 0.5], 9)).tolist())
    monkeypatch.setattr("fastvec.benchmark.time.perf_counter", lambda: next(clock))
    race = sums(
        Competitor("quick", three, "exact", ours=True),
        Competitor("slow", three),
        limits=[Limit("bare", three, ["quick"], scale=0.5)],
    )
    found = measure("slow", race, rounds=1)
    quick, slow = found["competitors"]
    assert (quick["median"], slow["median"]) == (1000, 4000)
    assert quick["shares"] == {"bare": 0.25}
    assert slow["shares"] == {}
    assert found["best_peer"] == "slow"
    assert found["speedup"]["quick"] == {"median": 4.0, "of_minima": 4.0, "ratios": [4.0]}


def test_one_that_raises_is_named():
    def failing():
        raise RuntimeError("no longer matches its codes")

    with pytest.raises(WrongAnswer, match="some case: broken: it raised: RuntimeError: no longer"):
        measure("some case", sums(Competitor("broken", failing, ours=True)))


def test_the_last_answer_is_checked_too():
    answers = iter([3.0, 3.0, *[3.0] * 200, *[4.0] * 1000])
    race = sums(Competitor("turns bad", lambda: np.array([next(answers)]), ours=True))
    with pytest.raises(WrongAnswer, match="turns bad"):
        measure("later", race, rounds=3)


def test_what_is_measured_need_not_be_time():
    race = sums(Competitor("a", lambda: (7.0, three()), ours=True))._replace(unit="MiB")
    found = measure("memory", race)
    assert (found["unit"], found["competitors"][0]["values"]) == ("MiB", [7.0] * 3)


def test_races_that_make_no_sense():
    ours = Competitor("a", three, ours=True)
    for competitors, options, message in (
        ([ours, ours], {}, "different names"),
        ([Competitor("a", three)], {}, "ours"),
        ([ours._replace(precision="good")], {}, "precision"),
        ([ours], {"rounds": 0}, "at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            measure("none", sums(*competitors), **options)


def test_records(tmp_path, queries, vectors):
    chosen, absent = peers.chosen(["numpy", "gensim"])
    race = searches.race(vectors, queries, K, peers=[p for p in chosen if p.name == "numpy"], absent=absent)
    found = measure("small", race, rounds=3)
    assert set(found) == {
        *("format", "case", "facts", "date", "machine", "unit", "rounds", "checked", "limits"),
        *("competitors", "best_peer", "speedup", "absent"),
    }
    assert found["facts"]["n"] == N
    assert set(found["machine"]) >= {"cpu", "features", "threads", "versions", "micro_kernel", "python"}
    assert [c["name"] for c in found["competitors"]] == ["Index", "knn", "numpy"]
    for competitor in found["competitors"]:
        assert len(competitor["values"]) == 3
        assert competitor["min"] <= competitor["median"]
        assert competitor["quality"]["recall"] == 1
    assert found["competitors"][2]["facts"]["batch_changes_scores"] in (True, False)
    assert set(found["competitors"][0]["shares"]) < set(found["limits"])
    file = tmp_path / "records.jsonl"
    record.write(file, [found, found])
    assert len(file.read_text().splitlines()) == 2
    assert record.read(file) == [json.loads(json.dumps(found))] * 2
    found["data"] = "rows\u2028of\x85a file.npy"  # line ends elsewhere
    record.write(file, [found])
    assert record.read(file) == [json.loads(json.dumps(found))]
    assert len(report.rows(found)) == 3 + len(found["limits"])
    assert all(len(row) == len(report.COLUMNS) for row in report.rows(found))


def test_a_record_names_the_commit_of_a_checkout(monkeypatch, tmp_path):
    """None is named where the package lies outside of one, whatever repository is around it."""
    place = Path(_facts.__file__).resolve()
    found = _facts.commit.__wrapped__()
    if (place.parents[1] / ".git").exists():
        assert re.fullmatch(r"[0-9a-f]{12}( with changes)?", found)
    assert record.machine()["commit"] == found
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(_facts, "__file__", str(tmp_path / "site-packages" / "fastvec" / "_facts.py"))
    assert _facts.commit.__wrapped__() is None


def test_an_interrupted_file_does_not_appear(tmp_path):
    def interrupted():
        yield {"format": 1}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record.write(tmp_path / "records.jsonl", interrupted())
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_is_no_record_is_named(tmp_path):
    (tmp_path / "x").write_text('{"format": 1}\n{"format": 9}\n')
    with pytest.raises(ValueError, match="line 2"):
        record.read(tmp_path / "x")


def test_peers():
    assert len({peer.name for peer in peers.TABLE.values()}) == len(peers.TABLE)
    for peer in peers.TABLE.values():
        assert peer.search or peer.similarity or peer.select
        assert peer.setting
    with pytest.raises(ValueError, match="nonsense"):
        peers.chosen(["numpy", "nonsense"])
    installed, absent = peers.chosen()
    assert {peer.name for peer in installed} | set(absent) == set(peers.TABLE)
    assert "numpy" not in absent


INEXACT = [peer for peer in peers.TABLE.values() if peer.precision == "inexact"]
LEAST_RECALL = 0.6
EXACT = [peer for peer in peers.TABLE.values() if peer.precision != "inexact" and peer.search]


@pytest.mark.parametrize(("peer", "metric"), [(peer, metric) for peer in EXACT for metric in peer.metrics])
def test_a_peer_finds_what_is_right(peer, metric, threads):
    """By every metric that its row names, and with a filter if it takes one; the referee judges."""
    if reason := peer.missing():
        pytest.skip(reason)
    peers.equalize(1, [peer])
    rows, asked = gaussian(400, DIMS, 1), gaussian(M, DIMS, 2)
    if metric == "cosine":
        rows, asked = fastvec.normalize(rows), fastvec.normalize(asked)
    half = np.arange(400) % 2 == 0
    for where in (None, half, np.arange(400) < 30) if peer.filters else (None,):
        corpus = Corpus(rows, K, metric, 1, where)
        answer = peer.read(peer.search(corpus)(asked))
        truth = Search(asked, rows, K, metric, where=where)
        assert truth.judge(answer, peer.precision)["same_rows"] == 1


@pytest.mark.parametrize("peer", INEXACT)
def test_an_inexact_peer_finds_most(peer, threads):
    """Whatever the width; turbovec pads rows to a multiple of 8."""
    if reason := peer.missing():
        pytest.skip(reason)
    peers.equalize(1, [peer])
    for dims in (DIMS, 64):
        rows, asked = (fastvec.normalize(gaussian(n, dims, n)) for n in (400, M))
        answer = peer.read(searches.prepared(peer, Corpus(rows, K, "cosine", 1))(asked))
        assert Search(asked, rows, K).judge(answer, "inexact")["recall"] > LEAST_RECALL


PANORAMA = peers.TABLE["faiss-panorama"]


@pytest.mark.parametrize("metric", PANORAMA.metrics)
@pytest.mark.parametrize("kind", ["duplicate", "tied", "scaled_copy", "outlier", "zero"])
def test_panorama_finds_what_is_right_in_difficult_rows(kind, metric, threads):
    """The rotation of rows and queries is no further from the true scores than the slack of a float32 sum."""
    if reason := PANORAMA.missing():
        pytest.skip(reason)
    peers.equalize(1, [PANORAMA])
    for dims in (1, 17, 200):
        rows, asked = KINDS[kind](300, dims, 1), KINDS[kind](M, dims, 2)
        if metric == "cosine":
            rows, asked = fastvec.normalize(rows), fastvec.normalize(asked)
        answer = PANORAMA.search(Corpus(rows, K, metric, 1))(asked)
        Search(asked, rows, K, metric).judge(answer, "float32")


def test_rotated_rows_begin_with_what_is_largest():
    rows, _ = generated.decaying(500, 24)
    axes = index_peers.principal_axes(rows)
    squares = ((rows @ axes) ** 2).sum(axis=0)
    assert (np.diff(squares) <= 0).all()
    np.testing.assert_allclose(axes.T @ axes, np.eye(24), atol=1e-6)


def test_a_faiss_without_panorama_is_named(monkeypatch):
    old = types.ModuleType("faiss")
    old.__version__, old.IndexFlatL2Panorama = "1.13.0", None
    old.__spec__ = importlib.machinery.ModuleSpec("faiss", None)
    monkeypatch.setitem(sys.modules, "faiss", old)
    chosen, absent = peers.chosen(["faiss-panorama", "faiss"])
    assert [peer.name for peer in chosen] == ["faiss"]
    assert absent == {"faiss-panorama": "faiss 1.13.0 has no IndexFlatIPPanorama; 1.15 has"}
    result = bench("--peers", "faiss-panorama")
    assert result.exit_code == 2
    assert "--peers: faiss 1.13.0 has no IndexFlatIPPanorama; 1.15 has" in result.output


def test_turbovec_is_told_its_threads_once(run_python):
    """Before it is imported, which starts them; what is stated later stays true."""
    if reason := peers.TABLE["turbovec-4-bit"].missing():
        pytest.skip(reason)
    code = (
        "import os, numpy as np\nfrom fastvec.benchmark import peers\n"
        "from fastvec.benchmark.corpus import Corpus\n"
        "turbovec, rows = peers.TABLE['turbovec-4-bit'], np.eye(16, dtype=np.float32)\n"
        "tasks = '/proc/self/task'\n"
        "count = lambda: len(os.listdir(tasks)) if os.path.exists(tasks) else 0\n"
        "peers.equalize(3, [peers.TABLE['numpy']]); rows @ rows\n"
        "before = count(); print(peers.equalize(3, [turbovec])['turbovec'])\n"
        "turbovec.search(Corpus(rows, 1, 'cosine', 3))(rows); print(not before or count() - before < 7)\n"
        "print(peers.equalize(2, [turbovec])['turbovec'])\n"
        "peers._told.clear(); print(peers.equalize(2, [turbovec])['turbovec'])\n"
    )
    result = run_python("-c", code, RAYON_NUM_THREADS="7")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "RAYON_NUM_THREADS=3",
        "True",
        "RAYON_NUM_THREADS=3, which cannot change in a process",
        "its own number: it was imported before",
    ]


def test_peers_name_metrics_of_the_table():
    for peer in peers.TABLE.values():
        assert set(peer.metrics) <= set(metrics.TABLE)
        for metric in set(metrics.TABLE) - set(peer.metrics):
            assert searches.why_not(peer, 1, 1, metric, None) == f"no metric {metric!r}"
    assert {metric for peer in EXACT for metric in peer.metrics} <= set(SLACKS) <= set(metrics.TABLE)


def test_queries_are_asked_one_by_one(vectors, queries, monkeypatch):
    """Each competitor sees one query at a time, all answers are judged, and a time is that of one query."""
    asked = []
    search = fastvec.Index.search

    def counted(self, queries, *arguments, **options):
        asked.append(queries.shape)
        return search(self, queries, *arguments, **options)

    monkeypatch.setattr(fastvec.Index, "search", counted)
    chosen = [peers.TABLE["numpy"], *(peer for peer in (peers.TABLE["gensim"],) if peer.installed)]
    race = searches.race(vectors, queries, K, peers=chosen, singly=True)
    found = measure("singly", race, rounds=1)
    assert set(asked) == {(1, DIMS)}
    assert (found["facts"]["m"], found["facts"]["asked"]) == (1, M)
    assert found["checked"] == f"{M} of {M} queries"
    assert f"{M} asked one by one" in report.title(found)
    assert all(c["quality"]["recall"] == 1 for c in found["competitors"])
    assert [c.scale for c in race.competitors] == [1 / M] * len(race.competitors)
    assert "tiles" not in "".join(found["limits"])


def test_percentiles_are_over_queries_of_the_medians_of_rounds(monkeypatch):
    """A query that is slow in one round alone is not slow."""
    asked = iter([[1.0] * 99 + [5.0]] * 3 + [[1.0, 9.0] * 50])
    ours = Competitor("alone", three, "exact", ours=True, each=lambda answer: next(asked))
    found = measure("parts", sums(ours), rounds=4)["competitors"][0]["one_by_one"]
    assert found == {"queries": 100, "p50": 1.0, "p99": pytest.approx(1.0 + 0.01 * 4.0 * 1.0, abs=0.05)}


@pytest.mark.parametrize("screen", [64, "off"])
def test_a_screen_has_a_limit_of_its_own(screen, monkeypatch):
    """What a search by a screen reads at least is the screen, which no search can be quicker than."""
    make = fastvec.Index
    monkeypatch.setattr(fastvec, "Index", lambda rows, metric: make(rows, metric=metric, screen=screen))
    rows = gaussian(2000, 80, 1)
    limits = {limit.name: limit.holds_for for limit in searches.race(rows, rows[:16], K).limits}
    screened = screen == 64
    assert limits["read screen" if screened else "read codes"] == ["Index"]
    assert ("read codes" in limits) is not screened
    assert limits["read rows"] == ["knn"]
    (tiles,) = (who for name, who in limits.items() if name.startswith("tiles"))
    assert tiles == (["knn"] if screened else ["Index", "knn"])


OUTSIDE = """
import numpy as np
from fastvec.benchmark.peers import Peer

def build(corpus):
    return corpus.vectors.T.copy()

def search(corpus):
    def run(queries):
        scores = queries @ corpus.built
        order = np.argsort(-scores, axis=1, kind="stable")[:, : corpus.k]
        return np.take_along_axis(scores, order, 1), order
    return run

TOY = Peer("toy", "numpy", "a matrix product, and a sort", search, build=build, metrics=("cosine",))
NUMBER = 3

def made():
    alone = lambda corpus: search(corpus._replace(built=build(corpus)))
    return TOY._replace(name="made", build=None, search=alone)
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A module of a package that knows of peers, as its users write it."""
    (tmp_path / "my_library_peer.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_library_peer", None)


def test_a_peer_of_another_package_takes_part(outside, vectors, threads, no_peaks):
    np.save(outside / "own.npy", vectors)
    names = "numpy,my_library_peer:TOY,my_library_peer:made"
    arguments = (outside / "own.npy", "--peers", names, "--seconds", "0.1", "--json", "--threads", "1")
    result = bench(*arguments, "--no-memory")
    assert result.exit_code == 0, result.output
    records = json.loads(result.stdout)
    assert [c["name"] for c in records[1]["competitors"]] == ["Index", "knn", "numpy", "toy", "made"]
    assert records[1]["competitors"][3]["quality"]["recall"] == 1
    assert records[-1]["case"] == "search: one by one"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("no_such_module:TOY", "no peer is at no_such_module:TOY: No module named"),
        ("my_library_peer:LOST", "no peer is at my_library_peer:LOST"),
        ("my_library_peer:NUMBER", "my_library_peer:NUMBER is a int; it must be"),
        ("my_library_peer:TOY,my_library_peer:TOY", "several of these peers are named toy"),
        ("toy", "MODULE:NAME"),
    ],
)
def test_a_peer_that_is_not_there_is_named(outside, name, part):
    with pytest.raises(ValueError, match=re.escape(part)):
        peers.chosen(name.split(","))
    assert bench("--peers", name).exit_code == 2


def test_peers_share_what_is_built(vectors, queries, threads):
    """Its time counts for each of them."""
    built = []

    def build(corpus):
        built.append(len(corpus.vectors))
        return corpus.vectors

    numpy = peers.TABLE["numpy"]
    twins = [numpy._replace(name=name, build=build) for name in ("one", "two")]
    race = searches.race(vectors, queries, K, peers=twins)
    assert built.count(N) == 1
    assert [c.name for c in race.competitors if c.facts.get("build_s", 0) > 0] == ["Index", "one", "two"]


@pytest.mark.skipif(memory.missing() is not None, reason="memory is measured on Linux")
def test_memory_is_what_a_method_takes_beyond_its_rows(outside, threads, monkeypatch, tmp_path):
    """Of a search that writes all scores, these; of fastvec, less. Peers of other packages are found."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rows, asked = gaussian(40_000, 32, 1), gaussian(300, 32, 2)
    chosen, _ = peers.chosen(["my_library_peer:TOY"])
    race = memory.race(rows, asked, 5, peers=chosen, sample=2)
    assert [c.name for c in race.competitors] == ["Index", "knn", "toy"]
    race = race._replace(competitors=[race.competitors[0], race.competitors[2]])  # each is a process
    found = measure("memory", race, rounds=1)
    assert (found["unit"], found["rounds"]) == ("MiB", 1)
    took = {c["name"]: c["median"] for c in found["competitors"]}
    assert took["toy"] > 300 * 40_000 * 4 / 2**20
    assert took["Index"] < took["toy"] / 2
    assert took["Index"] > 40_000 * 64 / 2**20  # its codes
    (folder,) = tmp_path.glob("fastvec-bench-*")
    del race
    assert not folder.exists()


def test_memory_that_cannot_be_measured_is_said(monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    assert memory.missing() == "memory is measured on Linux alone"


def test_a_call_of_several_questions_is_recorded_as_one(monkeypatch):
    """The number of repeats follows the whole call."""
    clock = iter(np.cumsum(np.tile([0.0, 0.005], 50)).tolist())
    monkeypatch.setattr("fastvec.benchmark.time.perf_counter", lambda: next(clock))
    found = measure("parts", sums(Competitor("five", three, ours=True, scale=0.2)), rounds=2)
    assert found["competitors"][0]["repeats"] == 2
    assert found["competitors"][0]["values"] == pytest.approx([0.5, 0.5])


def test_limits_hold_for_what_reads_the_rows(vectors, queries):
    """By a metric without a bound, Index does, too."""
    for metric in ("cosine", "manhattan"):
        race = searches.race(vectors, queries, K, metric=metric, peers=[peers.TABLE["numpy"]])
        found = measure(metric, race, rounds=1)
        assert [c["name"] for c in found["competitors"]] == ["Index", "knn", "numpy"]
        limits = {limit.name: limit.holds_for for limit in race.limits}
        assert limits["read rows"] == (["knn"] if metric in metrics.BOUNDED else ["Index", "knn"])


def test_a_metric_that_is_no_product_is_asked_of_peers_in_small_races_only():
    torch = peers.TABLE["torch"]
    assert torch.too_slow(1e11) is torch.too_slow(1e9, "manhattan") is None
    assert "not asked for more than 1e+10" in torch.too_slow(1e11, "manhattan")
    assert "2e+09" in peers.TABLE["scipy"].too_slow(1e11, "manhattan")


def test_import_loads_no_compiler(run_python):
    code = "import sys, fastvec.benchmark; print({'numba', 'torch', 'sklearn'} & set(sys.modules))"
    assert run_python("-c", code).stdout == "set()\n"


def bench(*arguments):
    return CliRunner().invoke(cli.group(), ["bench", *map(str, arguments)])


def test_the_command_on_own_vectors(tmp_path, vectors, threads):
    np.save(tmp_path / "own.npy", vectors.astype(np.float64))
    arguments = (tmp_path / "own.npy", "--peers", "numpy", "--seconds", "0.2", "--threads", "1")
    result = bench(*arguments, "--records", tmp_path / "records.jsonl")
    assert result.exit_code == 0, result.output
    records = record.read(tmp_path / "records.jsonl")
    races = (*(f"search: batch {m}" for m in (1, 8, 64, 1024)), "search: one by one")
    assert [r["case"] for r in records] == ["roofline", *races]
    assert {c["name"] for c in records[-1]["competitors"]} == {"Index", "numpy"}
    for competitor in records[-1]["competitors"]:
        alone = competitor["one_by_one"]
        assert alone["queries"] >= 100
        assert 0 < alone["p50"] <= alone["p99"]
    assert "over queries, each timed alone: Index p50 " in result.output
    peaks = records[0]["peaks"]
    assert min(*peaks["read_gb_s"].values(), *peaks["int8_gop_s"].values(), peaks["float32_gflop_s"]) > 0
    assert records[1]["facts"]["data"] == "own.npy"
    assert records[1]["machine"]["threads"] == 1
    for part in ("batch 1024", "numpy", "Index", "share of limit", "reading memory"):
        assert part in result.output


def test_the_command_prints_records_as_json(tmp_path, vectors, threads, no_peaks):
    np.save(tmp_path / "own.npy", vectors)
    target = tmp_path / "records.jsonl"
    arguments = ("--peers", "numpy", "--seconds", "0.1", "--json", "--records", target)
    result = bench(tmp_path / "own.npy", *arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == record.read(target)


def test_rounds_are_counted():
    told = []
    ours = Competitor("ours", lambda: np.array([3.0]), ours=True)
    measure(
        "sums",
        Race({}, [ours], Values(np.array([3.0]), 0.0)),
        rounds=3,
        progress=lambda *n: told.append(n),
    )
    assert told == [(0, 3), (1, 3), (2, 3)]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--peers", "nonsense"), "nonsense"),
        (("--records", "/no/such/folder/x"), "/no/such/folder"),
        (("pyproject.toml",), "pyproject.toml: none of the formats"),
        (("pickled.npy",), "Python objects, which are never opened"),
    ],
)
def test_the_command_says_what_is_wrong(arguments, part, tmp_path, threads, no_peaks, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project]")
    np.save("pickled.npy", np.array([[None]]), allow_pickle=True)
    result = bench(*arguments)
    assert result.exit_code != 0
    assert part in str(result.exception) + result.output
    assert "allow_pickle" not in result.output


@pytest.mark.parametrize("suffix", [".vec", ".bin", ".txt", ".npy", ""])
def test_the_command_reads_every_format(tmp_path, suffix):
    rows = np.arange(24, dtype=np.float32).reshape(12, 2) + 1
    fastvec.files.write(tmp_path / f"rows{suffix}", [f"word{n}" for n in range(12)], rows)
    vectors, queries, facts = bench_command._of_file(tmp_path / f"rows{suffix}", None, 0.1, None)
    assert np.array_equal(vectors, rows)
    assert queries.shape == (1024, 2)
    assert facts["data"] == f"rows{suffix}"


def test_a_wrong_kernel_ends_the_command(tmp_path, threads, no_peaks, monkeypatch, vectors):
    """What a broken micro-kernel would do: the command fails and leaves no records."""
    np.save(tmp_path / "own.npy", vectors)
    search = fastvec.Index.search

    def broken(self, *arguments, **options):
        scores, indices = search(self, *arguments, **options)
        return scores, indices[:, ::-1]

    monkeypatch.setattr(fastvec.Index, "search", broken)
    result = bench(tmp_path / "own.npy", "--peers", "numpy", "--records", tmp_path / "records.jsonl")
    assert result.exit_code == 1
    assert "Index, query 0: other rows" in result.output
    assert not (tmp_path / "records.jsonl").exists()
