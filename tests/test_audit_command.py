"""`fastvec audit`: verdicts about files, and right answers that are written in pieces."""

import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from data import hashed
from test_vector_sets import write_counted, write_records

import fastvec
from fastvec import _answers, cli
from fastvec.commands import audit, ground_truth, partial_answers
from fastvec.files import vector_sets

VECTORS = np.random.default_rng(1).integers(0, 256, (90, 8)).astype(np.uint8)
QUERIES = np.random.default_rng(2).integers(0, 256, (17, 8)).astype(np.uint8)
K = 6


@pytest.fixture
def run(tmp_path):
    """Run the command on VECTORS and QUERIES; return its JSON, or the line that says what is wrong."""
    write_records(tmp_path / "base.bvecs", VECTORS)
    write_counted(tmp_path / "query.u8bin", QUERIES)

    def call(*arguments, status=0, queries="query.u8bin", as_json=True):
        files = ["--vectors", tmp_path / "base.bvecs", "--queries", tmp_path / queries]
        options = [*map(str, ["audit", *files, *arguments]), *(["--json"] if as_json else [])]
        result = CliRunner().invoke(cli.group(), options)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == status, result.output
        if status not in (0, 3):
            return result.output.splitlines()[-1]
        return json.loads(result.output) if as_json else result.output

    return call


@pytest.fixture
def found(tmp_path):
    """Write the right answer, or a spoiled one, to a file."""

    def write(name, metric="euclidean", k=K, spoil=False):
        indices = fastvec.knn(QUERIES, VECTORS, k, metric=metric).indices.astype(np.int32)
        if spoil:
            indices[5, 2] = indices[5, 0]
        path = tmp_path / name
        {".ivecs": write_records, ".ibin": write_counted, ".npy": np.save}[path.suffix](path, indices)
        return path

    return write


def test_exact_answers(run, found):
    answers = found("found.ivecs")
    report = run("--answers", answers, "--metric", "euclidean")
    indices = fastvec.knn(QUERIES, VECTORS, K, metric="euclidean").indices
    expected = fastvec.audit(QUERIES, VECTORS, indices, metric="euclidean")
    assert report["exact"] is True
    assert report["digest"] == expected.digest
    assert report["kth_score"] == expected.kth_score.tolist()
    assert [report[name] for name in ("queries", "rows", "k", "dims", "metric")] == [
        17,
        90,
        K,
        8,
        "euclidean",
    ]
    assert report["score_error"] is None
    lines = run("--answers", answers, "--metric", "euclidean", as_json=False).splitlines()
    assert lines[:3] == ["fact\tvalue", "exact\ttrue", "recall\t1"]
    assert lines[-1] == f"digest\t{expected.digest}"


def test_answers_that_are_not_exact_have_a_status_of_their_own(run, found, monkeypatch):
    answers = found("found.npy", spoil=True)
    report = run("--answers", answers, "--metric", "euclidean", status=3)
    assert (report["exact"], report["repeated"]) == (False, 1)
    assert report["first_wrong"] == [2 if query == 5 else -1 for query in range(17)]
    monkeypatch.setattr(audit, "is_terminal", lambda stream: True)
    table = run("--answers", answers, "--metric", "euclidean", status=3, as_json=False)
    assert "17 queries, 90 rows, euclidean, 8 dims, the first 6" in table
    assert ["first wrong query", "5"] in [line.rsplit(maxsplit=1) for line in table.splitlines()]
    assert run("--answers", answers, "--metric", "euclidean", "--k", 2)["exact"] is True
    assert run("--answers", answers, "--metric", "cosine", status=3)["recall"] < 1


@pytest.mark.parametrize(
    ("unit", "metric", "of"),
    [
        ("scores", "dot", lambda scores: scores),
        ("distances", "manhattan", lambda scores: -scores),
        ("squared-distances", "euclidean", lambda scores: scores**2),
        ("cosine-distances", "cosine", lambda scores: 1 - scores),
    ],
)
def test_scores_in_other_units(run, found, tmp_path, unit, metric, of):
    scores = fastvec.knn(QUERIES, VECTORS, K, metric=metric).scores.astype(np.float64)
    np.save(tmp_path / "scores.npy", of(scores))
    options = ["--answers", found("found.ibin", metric), "--metric", metric]
    report = run(*options, "--scores", tmp_path / "scores.npy", "--scores-are", unit)
    assert report["exact"]
    assert report["score_error"] < 1e-6 * np.abs(scores).max()


@pytest.mark.parametrize("name", ["truth.ivecs", "truth.ibin", "truth.hdf5"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_right_answers_are_written_and_judged_exact(run, tmp_path, monkeypatch, name, metric):
    if name.endswith("hdf5"):
        pytest.importorskip("h5py")
    monkeypatch.setattr(ground_truth, "QUERIES_AT_ONCE", 5)
    monkeypatch.setattr(_answers, "BLOCK_VALUES", 40 * 8)
    out = tmp_path / name
    options = ["--metric", metric, "--k", K]
    assert run(*options, "--ground-truth", out)["ground_truth"] == {
        "file": str(out),
        "queries": 17,
        "k": K,
        "kept_before": 0,
    }
    answer = fastvec.knn(QUERIES, VECTORS, K, metric=metric)
    assert vector_sets.read(out, "answers")[0:17].tolist() == answer.indices.tolist()
    distances = out.with_suffix(".fvecs") if name.endswith("ivecs") else out
    unit = {"euclidean": "squared-distances", "cosine": "scores"}[metric]
    if name.endswith("hdf5"):
        unit = {"euclidean": "distances", "cosine": "cosine-distances"}[metric]
    report = run(*options, "--answers", out, "--scores", distances, "--scores-are", unit)
    assert report["exact"]
    assert report["score_error"] < 1e-4
    assert not list(tmp_path.glob("*.partial*"))


def test_fewer_rows_than_neighbors_and_fewer_dims(run, tmp_path):
    out = tmp_path / "truth.ibin"
    both = run("--k", 95, "--dims", 3, "--ground-truth", out, "--answers", tmp_path / "x.npy", status=2)
    assert "x.npy" in both
    run("--k", 95, "--dims", 3, "--ground-truth", out)
    report = run("--answers", out, "--dims", 3)
    assert report["exact"]
    assert report["dims"] == 3
    assert set(report["best_left_out"]) == {None}
    assert (vector_sets.read(out, "answers")[0:17][:, 90:] == -1).all()


@pytest.fixture
def pieces(monkeypatch):
    """The work is done in 4 x 3 pieces, and the command is interrupted after some of them."""
    monkeypatch.setattr(ground_truth, "QUERIES_AT_ONCE", 5)
    monkeypatch.setattr(_answers, "BLOCK_VALUES", 40 * 8)
    keep = partial_answers.Partial.keep

    def stop_after(count):
        left = [count]

        def keep_and_stop(self, *arguments):
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            keep(self, *arguments)

        monkeypatch.setattr(partial_answers.Partial, "keep", keep_and_stop)
        return left

    return stop_after


def test_it_goes_on_after_an_interruption_at_any_piece(run, tmp_path, pieces):
    options = ["--metric", "euclidean", "--k", K]
    pieces(12)
    run(*options, "--ground-truth", tmp_path / "whole.ivecs")
    out = tmp_path / "truth.ivecs"
    for count in range(12):
        pieces(count)
        line = run(*options, "--ground-truth", out, status=130)
        assert "truth" in line
        assert "the same command goes on" in line
        assert not out.exists()
        left = pieces(12 - count)
        assert run(*options, "--ground-truth", out)["ground_truth"]["kept_before"] == min(count, 4)
        assert left == [0], "something was computed twice"
        for suffix in (".ivecs", ".fvecs"):
            whole = (tmp_path / "whole.ivecs").with_suffix(suffix).read_bytes()
            assert out.with_suffix(suffix).read_bytes() == whole
            out.with_suffix(suffix).unlink()
        assert not list(tmp_path.glob("*.partial*"))


@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_it_goes_on_after_an_interruption_while_it_writes(run, tmp_path, monkeypatch, moment):
    from fastvec.files import atomic

    out, put, puts = tmp_path / "truth.ivecs", atomic.put, []

    def interrupted(made, place):
        puts.append(place)
        if len(puts) == {"before": 1, "between": 2}.get(moment):
            raise KeyboardInterrupt
        put(made, place)
        if len(puts) == 2 and moment == "after":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "put", interrupted)
        run("--k", K, "--ground-truth", out, status=130)
    assert out.exists() == (moment != "before")
    run("--k", K, "--ground-truth", out)
    report = run("--answers", out, "--scores", out.with_suffix(".fvecs"))
    assert report["exact"]
    assert report["score_error"] < 1e-6
    assert not list(tmp_path.glob("*.partial*"))


@pytest.mark.parametrize(
    ("change", "named"),
    [(["--metric", "dot"], "metric"), (["--k", 5], "k"), (["--dims", 4], "dims"), ("file", "queries")],
)
def test_what_was_begun_with_something_else_is_not_mixed(run, tmp_path, pieces, change, named):
    out = tmp_path / "truth.ibin"
    pieces(3)
    run("--ground-truth", out, status=130)
    if change == "file":
        write_counted(tmp_path / "query.u8bin", QUERIES[::-1].copy())
        change = []
    line = run("--ground-truth", out, *change, status=1)
    assert f"begun with another {named};" in line
    assert "truth.ibin.partial" in line
    assert not out.exists()


def test_nothing_is_overwritten(run, tmp_path):
    for name in ("truth.ivecs", "truth.fvecs", "truth.ivecs.partial"):
        path = tmp_path / name
        path.write_text("mine")
        line = run("--ground-truth", tmp_path / "truth.ivecs", status=1)
        assert name in line
        assert path.read_text() == "mine"
        path.unlink()
    assert {path.name for path in tmp_path.iterdir()} == {"base.bvecs", "query.u8bin"}
    import sqlite3

    other = sqlite3.connect(tmp_path / "truth.ibin.partial")
    other.execute("create table facts (json)")
    other.close()
    assert "move it away" in run("--ground-truth", tmp_path / "truth.ibin", status=1)


def test_damage_of_what_is_kept_is_found(run, tmp_path, pieces):
    import sqlite3

    out = tmp_path / "truth.ibin"
    pieces(6)
    run("--ground-truth", out, status=130)
    path = tmp_path / "truth.ibin.partial"
    kept = sqlite3.connect(path, isolation_level=None)
    kept.execute("update answers set scores = zeroblob(length(scores)) where first = 10")
    kept.close()
    pieces(12)
    assert "is damaged; remove it" in run("--ground-truth", out, status=1)
    assert not out.exists()


@pytest.mark.parametrize(
    "damage",
    [
        "facts set json = '{'",
        "facts set json = '[1]'",
        """facts set json = '{"k": [1]}'""",
        f"facts set json = '{'[' * 100_000}'",
        "facts set json = 5",
        "facts set json = x'ff'",
        "facts set json = cast(x'ff' as text)",
        "answers set next_row = 'x'",
        "answers set scores = 'x'",
        "answers set scores = 5, indices = 2.5",
        "answers set checksum = 'x'",
    ],
)
def test_damage_may_change_the_type_of_what_is_kept(tmp_path, damage):
    import sqlite3

    path, facts = tmp_path / "truth.ibin.partial", {"k": "2"}
    partial = partial_answers.Partial(path, facts)
    partial.keep(0, 5, _answers.Answers(np.ones((3, 2)), np.ones((3, 2), np.int64)))
    partial.close()
    kept = sqlite3.connect(path, isolation_level=None)
    kept.execute(f"update {damage}")
    kept.close()

    def read():
        damaged = partial_answers.Partial(path, facts)
        damaged.reached()
        damaged.answers(0, 2)

    with pytest.raises(ValueError, match=r"truth\.ibin\.partial is damaged; remove it"):
        read()


def test_bad_vectors_leave_nothing_behind(run, tmp_path):
    vectors = hashed(20, 8, 1)
    vectors[7, 3] = np.inf
    np.save(tmp_path / "bad.npy", vectors)
    line = run("--ground-truth", tmp_path / "truth.ibin", "--vectors", tmp_path / "bad.npy", status=1)
    assert "vectors, row 7: inf" in line
    assert not list(tmp_path.glob("truth*"))


def test_words_and_vectors_serve_as_vectors(run, tmp_path, found):
    fastvec.files.write(tmp_path / "words.vec", [f"w{i}" for i in range(90)], VECTORS)
    assert run("--answers", found("found.npy", "cosine"), "--vectors", tmp_path / "words.vec")["exact"]


def test_mistakes_are_named(run, tmp_path, found):
    answers = found("found.ivecs")
    assert "--ground-truth" in run(status=2)
    assert "--answers" in run("--scores", answers, "--ground-truth", tmp_path / "x.ibin", status=2)
    assert "--k is 7" in run("--answers", answers, "--k", 7, status=2)
    assert "--dims is 9" in run("--answers", answers, "--dims", 9, status=2)
    assert ".ivecs" in run("--ground-truth", tmp_path / "x.csv", status=2)
    np.save(tmp_path / "few.npy", np.zeros((3, K), int))
    assert "3 answers, and there are 17 queries" in run("--answers", tmp_path / "few.npy", status=1)
    np.save(tmp_path / "wide.npy", np.zeros((17, 9), np.float32))
    assert "9 dimensions" in run("--answers", answers, queries="wide.npy", status=1)
    assert "integers" in run("--answers", tmp_path / "wide.npy", status=1)
    assert "shape (17, 9)" in run("--answers", answers, "--scores", tmp_path / "wide.npy", status=1)


def test_without_h5py_the_extra_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "fastvec[hdf5]" in run("--ground-truth", tmp_path / "x.hdf5", status=2)
    (tmp_path / "x.h5").write_bytes(b"\x89HDF")
    assert "fastvec[hdf5]" in run("--answers", tmp_path / "x.h5", status=2)
