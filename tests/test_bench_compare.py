"""`fastvec bench compare`: medians, intervals, what is noise, and the exit status."""

import copy
import itertools
import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

from fastvec import cli
from fastvec.benchmark import Competitor, Race, comparison, measure, record
from fastvec.benchmark.comparison import Median
from fastvec.benchmark.truth import Values


@pytest.mark.parametrize("n", range(1, 26))
def test_an_interval_holds_the_median_as_often_as_it_says(n):
    """The chance that it does not is that of few heads in n throws; one value less would miss too often."""
    median = Median.of(list(range(n)))
    left_out = int(median.low)
    assert median.high == n - 1 - left_out

    def miss(i):
        return 2 * sum(math.comb(n, j) for j in range(i + 1)) / 2**n

    assert miss(left_out + 1) > 0.05
    assert left_out == 0 or miss(left_out) <= 0.05


def test_of_two_times_three_rounds_one_pair_in_ten_is_apart():
    """As the module says."""
    pairs = [(set(s), set(range(6)) - set(s)) for s in itertools.combinations(range(6), 3)]
    apart = sum(max(a) < min(b) or max(b) < min(a) for a, b in pairs)
    assert apart / len(pairs) == 0.1


@pytest.fixture(scope="module")
def base():
    """A record as it is written, with times of our own."""

    def three():
        return np.array([3.0])

    competitors = [Competitor("Index", three, ours=True), Competitor("knn", three, ours=True)]
    competitors += [Competitor(name, three) for name in ("numpy", "torch")]
    return measure("search: batch 1", Race({"n": 5, "m": 1}, competitors, Values(three(), 0.0)), rounds=1)


def timed(base, case="search: batch 1", machine=None, facts=None, **times):
    """A copy of the record in which competitors have these times."""
    found = copy.deepcopy(base)
    found["case"] = case
    found["machine"] |= machine or {}
    found["facts"] |= facts or {}
    found["competitors"] = [c for c in found["competitors"] if c["name"] in times]
    for competitor in found["competitors"]:
        competitor["values"] = times[competitor["name"]]
        competitor["median"] = float(np.median(competitor["values"]))
    return found


STEADY = [1.0, 1.01, 1.02, 1.0, 1.01]


def test_a_row_is_slower_only_beyond_the_noise(base):
    old = timed(base, Index=STEADY, knn=[1.0, 1.4, 1.2], numpy=STEADY, torch=STEADY)
    twice, same = [2 * t for t in STEADY], [1.3, 1.1, 1.5]
    new = timed(base, Index=twice, knn=same, numpy=[t / 2 for t in STEADY], torch=[t / 2 for t in STEADY])
    found = comparison.compare([old], [new]).changes
    assert [(c.method, c.verdict) for c in found] == [
        ("Index", "slower"),
        ("knn", ""),
        ("numpy", "quicker"),
        ("torch", "quicker"),
    ]
    index, knn, numpy, _ = found
    assert (index.ratio, index.beside_peers, index.peers) == (2.0, 4.0, 0.5)
    assert numpy.beside_peers is None
    assert index.beyond(1.9)
    assert not index.beyond(2.1)
    assert not knn.beyond(1.0)
    assert not timed_backwards(old, new).beyond(1.0)
    row = comparison.rows(found)[0]
    assert row == (
        "search: batch 1",
        "Index",
        "1.01",
        "1 to 1.02",
        "2.02",
        "2 to 2.04",
        "2.000",
        "4.000",
        "slower",
    )
    assert comparison.rows(found)[1][0] == ""


def timed_backwards(old, new):
    """numpy, which became slower, but is not ours."""
    return next(c for c in comparison.compare([new], [old]).changes if c.method == "numpy")


def test_what_differs_is_said(base):
    old = [timed(base, Index=STEADY), timed(base, "gone", Index=STEADY), {"case": "roofline", "peaks": {}}]
    new = [
        timed(base, Index=STEADY, machine={"threads": 99}, facts={"n": 6}),
        timed(base, "fresh", Index=STEADY),
    ]
    found = comparison.compare(old, new)
    assert found.only == (["gone"], ["fresh"])
    assert found.differences == [
        f"threads: {base['machine']['threads']} and 99",
        "search: batch 1: not the same question (n 5 and 6)",
    ]
    assert found.changes[0].peers is None


def compare(tmp_path, old, new, *arguments):
    for name, found in (("old", old), ("new", new)):
        record.write(tmp_path / f"{name}.jsonl", found)
    words = ["bench", "compare", tmp_path / "old.jsonl", tmp_path / "new.jsonl", *arguments]
    return CliRunner().invoke(cli.group(), [str(word) for word in words])


def test_the_command(base, tmp_path):
    old = [timed(base, Index=STEADY, numpy=STEADY)]
    new = [timed(base, Index=[1.2 * t for t in STEADY], numpy=STEADY, machine={"cpu": "another"})]
    result = compare(tmp_path, old, new)
    assert result.exit_code == 0, result.output
    assert "slower" in result.stdout
    assert "1.200" in result.stdout
    assert "differs: cpu: " in result.stderr
    assert compare(tmp_path, old, new, "--most", "1.25").exit_code == 0
    result = compare(tmp_path, old, new, "--most", "1.05")
    assert result.exit_code == 3
    assert "search: batch 1: Index takes 1.20 times as long, more than 1.05" in result.stderr
    assert compare(tmp_path, new, old, "--most", "1").exit_code == 0
    rows = json.loads(compare(tmp_path, old, new, "--json").stdout)
    assert [row["method"] for row in rows] == ["Index", "numpy"]
    assert rows[0]["verdict"] == "slower"
    assert rows[0]["ratio"] == pytest.approx(1.2)
    assert set(rows[0]["new"]) == {"value", "low", "high"}


def test_files_that_cannot_be_compared(base, tmp_path):
    result = compare(tmp_path, [timed(base, Index=STEADY)], [timed(base, "other", Index=STEADY)])
    assert result.exit_code == 1
    assert "have no race in common" in result.output
    (tmp_path / "new.jsonl").write_text('{"format": 9}\n')
    words = ["bench", "compare", str(tmp_path / "old.jsonl"), str(tmp_path / "new.jsonl")]
    result = CliRunner().invoke(cli.group(), words)
    assert result.exit_code == 1
    assert "line 1: no record of format 1" in result.output
    assert CliRunner().invoke(cli.group(), ["bench", "compare", "nowhere"]).exit_code == 2


def damaged(found):
    """Lines of a race, each with one thing wrong, and what is said of it."""
    yield from ((b"{", "not JSON"), (b"\xff", "not JSON"), (b"[" * 100_000, "not JSON"))
    yield b"[]", "no record of format 1"
    for name in record._RACE:
        yield {**found, name: None}, f"{name} of a race"
    one = found["competitors"][0]
    others = [
        *(({**one, name: value}, name) for name in record._COMPETITOR for value in (None, -1.0, math.nan)),
        *(({**one, "values": values}, "values") for values in ([], [math.inf], ["1"], [True])),
        (None, "name"),
    ]
    for other, name in others:
        yield {**found, "competitors": [other]}, rf"{name} of competitors\[0\] must be"


def test_a_damaged_record_is_named_with_its_line(base, tmp_path):
    found, path = timed(base, Index=STEADY), tmp_path / "records.jsonl"
    record.write(path, [found])
    good = path.read_bytes()
    assert len(record.read(path)) == 1
    for line, problem in damaged(found):
        path.write_bytes(good + (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n")
        with pytest.raises(ValueError, match=f"records.jsonl, line 2: {problem}"):
            record.read(path)


def test_what_took_nothing_can_be_compared(base):
    nothing, some = (timed(base, Index=values, numpy=values) for values in ([0.0] * 9, STEADY))
    for old, new, ratio in ((nothing, some, math.inf), (some, nothing, 0.0), (nothing, nothing, 1.0)):
        changes = comparison.compare([old], [new]).changes
        assert {change.ratio for change in changes} == {ratio}
        assert {change.beside_peers for change in changes} <= {1.0, None}
        assert comparison.rows(changes)
