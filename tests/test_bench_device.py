"""The benchmark of devices: in Numba's simulator; compiled; and what it is made of, on the processor."""

import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from data import decaying, duplicate, gaussian

import fastvec
from fastvec.benchmark import Competitor, Limit, Race, device_peers, generated, measure, peers, record, report
from fastvec.benchmark import truth as truths
from fastvec.benchmark.corpus import Corpus
from fastvec.benchmark.truth import Search, Values
from fastvec.kernels.cuda import device

BENCH = Path(__file__).resolve().parents[1] / "bench"
CHECKOUT = pytest.mark.skipif(not BENCH.is_dir(), reason="the tests lie outside a checkout")
SIMULATED = "import cuda_simulator  # before bench_device, which imports kernels"
RUN = f"""
import sys; sys.path.insert(0, {str(BENCH)!r})
import bench_device, suite
plan = suite.Plan(False, [], {{}}, 1, 0.1)
found = []
for case in bench_device.CASES:
    if reason := suite.missing(case):
        print(reason)
    else:
        found.append(suite.run(case, plan)[1])
        suite.show(found[-1])
"""


STARVED = """
import numpy
from fastvec.benchmark import matrix_peers, peers
def starved(corpus):
    raise MemoryError("no room for rows")
def hungry(corpus):
    def run(queries):
        if len(queries) == 2:
            raise MemoryError("no room for scores")
        return search(queries)
    rows = corpus.vectors
    rows = rows.copy_to_host() if hasattr(rows, "copy_to_host") else numpy.asarray(rows)
    search = matrix_peers.numpy_search(corpus._replace(vectors=rows))
    return run
here = peers.on_device
peers.on_device = lambda *options: [
    *here(*options), peers.Peer("starved", "numpy", "", starved), peers.Peer("hungry", "numpy", "", hungry)
]
"""


@CHECKOUT
@pytest.mark.slow
def test_in_the_simulator(run_python, tmp_path):
    """One race, with peers for which there is not enough memory: at once, and for the batch."""
    file = tmp_path / "records.jsonl"
    save = f"from fastvec.benchmark import record; record.write(pathlib.Path({str(file)!r}), found)"
    code = f"{SIMULATED}{STARVED}{RUN}\nimport pathlib; {save}"
    result = run_python("-W", "error", "-c", code, NUMBA_ENABLE_CUDASIM="1")
    assert result.returncode == 0, result.stderr
    (found,) = record.read(file)
    facts, limits = found["facts"], found["limits"]
    assert facts["device"] == "Numba's CUDA simulator"
    assert min(facts["read_gb_s"], facts["int8_gop_s"], facts["index_s"]) > 0
    assert set(limits) == {"scan", "read codes", "int8 products"}
    assert set(limits["scan"]["shares"]) == {"read codes", "int8 products"}
    assert found["checked"] == "2 of 2 queries"
    competitors = {one["name"]: one for one in found["competitors"]}
    for name in ("Index", "Index, queries there"):
        assert competitors[name]["precision"] == "exact"
        assert competitors[name]["quality"]["recall"] == 1
        assert set(competitors[name]["shares"]) == set(limits)
    absent = found["absent"]
    asked = {"starved", "hungry", *(peer.name for peer in peers.on_device("cpu"))}
    assert set(absent) | set(competitors) == asked | {"Index", "Index, queries there"}
    assert absent["starved"] == "the device's memory does not suffice: no room for rows"
    assert absent["hungry"] == "the device's memory does not suffice: no room for scores"
    # What does not take part is named; so is the device, with what it does.
    assert [name for name in absent if name not in result.stdout] == []
    assert "Numba's CUDA simulator: " in result.stdout


@CHECKOUT
@pytest.mark.skipif(device.why_not() is None, reason="there is a device")
def test_what_is_missing_is_named(run_python):
    result = run_python("-W", "error", "-c", RUN)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 8
    for line in lines:
        assert line.startswith("device: ")
        assert line.endswith(f"skipped, no device to search on: {device.why_not()}")


@CHECKOUT
@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None or device.simulated(),
    reason="numba-cuda is not installed (pip install -e '.[cuda]')",
)
@pytest.mark.parametrize(("name", "part", "times"), [
    ("read_all", "ld.global.nc.L1::no_allocate.L2::128B.v4.u32", 4),
    ("multiply_all", "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32", 16),
])  # fmt: skip
def test_bare_loops_compile_to_the_scans_instructions(name, part, times, monkeypatch):
    from numba import types as numba_types
    from test_cuda_compile import ptx

    monkeypatch.syspath_prepend(BENCH)
    import device_loops

    words = numba_types.int32[::1]
    text = ptx(getattr(device_loops, name), (words, numba_types.int64, words), (9, 0))
    assert text.count(part) == times
    assert ".local" not in text


@pytest.mark.parametrize("peer", peers.on_device("cpu", 64), ids=lambda peer: peer.name)
def test_torch_on_a_device(peer):
    """On torch's processor: in chunks as at once; the rows may lie there already."""
    torch = pytest.importorskip("torch")
    vectors = fastvec.normalize(decaying(300, 48, 1))
    queries = fastvec.normalize(vectors[:5] + np.float32(0.01))
    assert peer.lacks() is None
    right = Search(queries, vectors, 7)
    before = torch.get_float32_matmul_precision()
    for rows in (vectors, device_peers.torch_rows(vectors, "cpu")):
        answer = peer.search(Corpus(rows, 7, "cosine", 1))(queries)
        assert right.judge(answer, peer.precision)["recall"] > 0.9
        assert answer[0].dtype == np.float32
    assert torch.get_float32_matmul_precision() == before
    assert issubclass(torch.cuda.OutOfMemoryError, device_peers.out_of_memory())


def test_torch_without_a_device_says_so():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("torch finds a device")
    assert "finds no device" in device_peers.torch_lacks("cuda")


def test_cupy_takes_part_on_a_device_only():
    names = [peer.name for peer in peers.on_device("cuda")]
    assert names[-1] == "cupy"
    assert len(set(names)) == len(names)
    assert "cupy" not in [peer.name for peer in peers.on_device("cpu")]


def test_what_cupy_is_asked(monkeypatch):
    """NumPy in its place: the functions that are called have the same names and meaning."""
    same = {name: getattr(np, name) for name in ("asarray", "argsort", "take_along_axis")}
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(asnumpy=np.asarray, **same))
    vectors = fastvec.normalize(decaying(300, 48, 1))
    answer = device_peers.cupy_search(Corpus(vectors, 7, "cosine", 1))(vectors[:5])
    assert Search(vectors[:5], vectors, 7).judge(answer, "float32")["recall"] == 1


def test_generated_rows_of_unit_length(monkeypatch):
    monkeypatch.setattr(generated, "_BLOCK", 100)
    vectors, queries = generated.unit(250, 40)
    whole = [fastvec.normalize(part) for part in generated.decaying.__wrapped__(250, 40)]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    for part, right in zip((vectors, queries), whole, strict=True):
        np.testing.assert_array_equal(part, right)
    monkeypatch.setattr(generated, "_BLOCK", 1000)
    np.testing.assert_allclose(generated.unit(250, 40)[0], vectors, atol=1e-6)


@pytest.mark.parametrize("rows", [decaying, duplicate, gaussian])
@pytest.mark.parametrize("k", [1, 9, 400])
def test_the_oracle_of_unit_rows_is_the_oracle(rows, k, monkeypatch):
    """Ties, more neighbors than rows, several blocks: the same rows and scores, of fewer rows."""
    monkeypatch.setattr(truths, "_SHORTLIST_ROWS", 100)
    vectors = fastvec.normalize(rows(350, 33, 1))
    queries = fastvec.normalize(rows(4, 33, 2))
    right = truths.oracle(queries, vectors, k)
    found = Search(queries, vectors, k, unit=True).right
    for part, whole in zip(found, right, strict=True):
        np.testing.assert_array_equal(part, whole)
    if k == 9 and rows is not duplicate:
        assert max(map(len, truths.shortlist(queries, vectors, k))) < 20


def test_the_oracle_of_unit_rows_takes_cosines_of_all_rows():
    x = gaussian(9, 4)
    for options in ({"metric": "dot"}, {"where": np.ones(9, bool)}, {"exclude": np.zeros((9, 1), int)}):
        with pytest.raises(ValueError, match="unit=True"):
            Search(x, x, 1, unit=True, **options)


def test_a_limit_of_a_limit():
    """A bare loop that does a part of another's work is a share of it, in the record and the table."""
    right = np.array([3.0])
    race = Race(
        {"task": "sum"},
        [Competitor("ours", right.copy, ours=True)],
        Values(right, 0.0),
        [Limit("most", right.copy, ["ours"]), Limit("a part", right.copy, ["ours", "most"])],
    )
    found = json.loads(json.dumps(measure("sums", race, rounds=1)))
    assert set(found["limits"]["most"]["shares"]) == {"a part"}
    assert "shares" not in found["limits"]["a part"]
    assert set(found["competitors"][0]["shares"]) == {"most", "a part"}
    assert [row[-1].endswith("% a part") for row in report.rows(found)[1:]] == [True, False]
